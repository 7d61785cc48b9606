"""The name of the model in an answer that passes: as the caller wrote it, in the place of the upstream's.

    renaming = Renaming("fast", (("model",),))
    renaming.whole(b'{"id":"1", "model":"gpt-x"}')             -> b'{"id":"1", "model":"fast"}'
    renaming.events(b'data: {"model":"gpt-x","n":1.0}\\n\\n')    -> b'data: {"model":"fast","n":1.0}\\n\\n'

Everything else stays to the byte, and what has no such name, or cannot be read, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..json_body import Member, apply_edits, dump, members_of
from .sse import Event, SSEParser
from .verdict import raw_events

DATA = b"data:"
MAX_EVENT_BYTES = 16_777_216  # as of `pipes`, which has split the events already


class Renaming(NamedTuple):
    """`paths` lead to the name in an answer, or in an event of one: ("message", "model")."""

    name: str
    paths: Sequence[tuple[str, ...]]

    def text(self, text: str) -> str:
        """A JSON object."""
        if not any(f'"{path[-1]}"' in text for path in self.paths):  # as most events of some protocols
            return text
        try:
            top = members_of(text)
            edits = [
                (member.start, member.end, dump(self.name)) for path in self.paths for member in find_members(text, top, path)
            ]
        except (ValueError, StopIteration, RecursionError):
            return text
        return apply_edits(text, edits)

    def whole(self, data: bytes) -> bytes:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        made = self.text(text)
        return data if made is text else made.encode("utf-8", "surrogatepass")

    def event(self, event: Event) -> Event:
        made = self.text(event.data)
        return event if made is event.data else Event(event.event, made, event.id, event.retry)

    def events(self, data: bytes) -> bytes:
        """Whole events as they came."""
        return b"".join(map(self._raw, raw_events(data))) if data else data

    def _raw(self, raw: bytes) -> bytes:
        """One event. Its JSON is on one line, or is rewritten on one."""
        parsed = SSEParser(MAX_EVENT_BYTES).feed(raw)
        if len(parsed) != 1:
            return raw
        text = parsed[0].data
        made = self.text(text)
        if made is text or made == text:
            return raw
        old = text.encode("utf-8", "surrogatepass")
        if raw.count(old) == 1:
            return raw.replace(old, made.encode("utf-8", "surrogatepass"))
        kept = [line for line in raw.splitlines() if line and not line.startswith(DATA)]
        lines = [*kept, *(DATA + b" " + line.encode("utf-8", "surrogatepass") for line in made.splitlines())]
        return b"\n".join(lines) + b"\n\n"


def find_members(text: str, members: Sequence[Member], path: Sequence[str]) -> list[Member]:
    """The members of an object that a path leads to; more than one where a name is there twice."""
    named = [member for member in members if member.name == path[0]]
    if len(path) == 1:
        return [member for member in named if isinstance(member.value, str)]
    return [deeper for member in named if isinstance(member.value, dict)
            for deeper in find_members(text, members_of(text, member.start), path[1:])]  # fmt: skip
