"""Terminal: whole escape sequences are taken out of a model's text, also where its pieces cut them."""

from __future__ import annotations

import re

from llm_router_client import ODD

# OSC and its kin, up to BEL or ST. Another control inside ends it, as in terminals: so each character is read once.
STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x18\x1a\x1b\x80-\x9f]{0,1024}"
CONTROL = r"(?:\x1b\[|\x9b)[0-?]{0,1024}[ -/]{0,1024}"  # CSI, up to its final letter
ESCAPE = r"\x1b[ -/]{0,1024}"
WHOLE = re.compile(rf"{CONTROL}[@-~]|{STRING}(?:\x07|\x1b\\|\x9c)|{ESCAPE}[0-~]|{ODD}")
BEGUN = re.compile(rf"(?:{STRING}\x1b?|{CONTROL}|{ESCAPE})\Z")


class Sequences:
    """Text in pieces without its escape sequences; close() gives what was held back.

    Of a sequence longer than any real one the opening is dropped, and the rest is text.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        text, self._held = self._held + text, ""
        unfinished = BEGUN.search(text) if re.search(ODD, text) else None
        if unfinished:
            text, self._held = text[: unfinished.start()], text[unfinished.start() :]
        return WHOLE.sub("", text)

    def close(self) -> str:
        text, self._held = self._held, ""
        return WHOLE.sub("", text)
