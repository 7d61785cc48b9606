"""Provider keys taken out of what goes to callers: error texts, whole answers, streams; also where JSON escapes them.

    mask = mask_of(candidate.provider.secrets)
    mask(b'{"message": "bad key sk-abcdefgh"}')  -> b'{"message": "bad key ***"}'

A key shorter than MIN_SECRET stays: `x` would blot out words, codes and types that programs read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ..config.kinds import Secret
from ..store.redaction import MIN_SECRET

STARS = "***"
# An escaped letter, digit or sign of a key; what encoders escape for HTML's sake (< > & ') is in hardly any.
OF_A_KEY = re.compile(rb"\\u00(?:2[bdefBDEF]|3[0-9aAdD]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|40|7[eE])")
DEPTH = 16  # characters of a key that a look at the end of a text knows; `stream_mask` knows all
KNOWN_MASKS = 256  # lists of secrets, one for each provider


class Mask:
    """Takes secrets out of bytes or text."""

    __slots__ = ("_escaped", "begin", "escape", "first", "longest", "secrets", "texts")

    def __init__(self, secrets: Sequence[str]) -> None:
        self.texts = [secret for secret in secrets if len(secret) >= MIN_SECRET]
        self.secrets = [secret.encode() for secret in self.texts]
        self.longest = 6 * max(map(len, self.secrets), default=0)  # bytes of a key, each character escaped
        patterns = ("".join(map(escape_pattern, secret)).encode() for secret in self.texts)
        self._escaped = re.compile(b"|".join(patterns)) if self.texts else None
        self.escape = escapes_of(self.texts)  # what shows that a character of a key may be escaped
        # A value in JSON that ends as a key begins, with two letters or more, or with one: what `stream_mask` looks for first.
        # Two patterns, for one of both would have no fixed letters at its start, and take ten times as long.
        self.begin = re.compile(rf'(?:{beginnings(self.texts)})"\s*[,}}\]]'.encode())
        first = "|".join(re.escape(letter) + r'"\s*[,}\]]' for letter in dict.fromkeys(secret[0] for secret in self.texts))
        self.first = re.compile(first.encode())

    def __call__(self, data: bytes) -> bytes:
        for secret in self.secrets:
            if secret in data:
                data = data.replace(secret, STARS.encode())
        if self._escaped is not None and b"\\" in data and self.escape.search(data) is not None:
            data = self._escaped.sub(STARS.encode(), data)
        return data

    def text(self, text: str) -> str:
        for secret in self.texts:
            text = text.replace(secret, STARS)
        return text

    def holds(self, text: str) -> bool:
        for secret in self.texts:  # noqa: SIM110 - no generator: this is done for every header of every answer
            if secret in text:
                return True
        return False


def escapes_of(secrets: Iterable[str]) -> re.Pattern[bytes]:
    """OF_A_KEY, and beside it what only keys with such characters need to be searched for: `\\/`, and the others' codes."""
    characters = sorted({character for secret in secrets for character in secret})
    others = [code_pattern(character) for character in characters if not OF_A_KEY.match(f"\\u{ord(character):04x}".encode())]
    others += [r"\\/"] if "/" in characters else []
    return re.compile(b"|".join([OF_A_KEY.pattern, *(other.encode() for other in others)])) if others else OF_A_KEY


def beginnings(secrets: Iterable[str], depth: int = 0) -> str:
    """A pattern for beginnings of two letters and more: beginnings(["sk-1", "sk-2"]) -> "sk(?:-(?:1|2)?)?" """
    follow: dict[str, list[str]] = {}
    for secret in secrets:
        if secret:
            follow.setdefault(secret[0], []).append(secret[1:])
    choices = []
    for letter, rests in follow.items():
        rest = rf'[^"\\]{{0,{max(map(len, rests))}}}' if depth == DEPTH else beginnings(rests, depth + 1)
        choices.append(re.escape(letter) + (f"(?:{rest}){'?' if depth else ''}" if rest else ""))
    return "|".join(choices)


def escape_pattern(character: str) -> str:
    """A pattern for a character as it is and as JSON may escape it."""
    also = rf"|\\{character}" if character == "/" else ""
    return rf"(?:{re.escape(character)}|{code_pattern(character)}{also})"


def code_pattern(character: str) -> str:
    r"""A pattern for a character's code: code_pattern("/") -> r"\\u002[fF]" """
    code = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(character):04x}")
    return rf"\\u{code}"


@lru_cache(maxsize=KNOWN_MASKS)
def mask_of(secrets: tuple[Secret, ...]) -> Mask:
    return Mask([secret.reveal() for secret in secrets])
