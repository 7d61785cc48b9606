"""Provider keys taken out of what goes to callers: error texts, whole answers, streams; also where JSON escapes them.

    mask = mask_of(candidate.provider.secrets)
    mask(b'{"message": "bad key sk-abcdefgh"}')  -> b'{"message": "bad key ***"}'

A key shorter than MIN_SECRET stays: `x` would blot out words, codes and types that programs read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ..config.settings import Secret
from ..store.redaction import MIN_SECRET

STARS = "***"
ESCAPE = b"\\u00"
# An escaped letter, digit or sign of a key; what encoders escape for HTML's sake (< > & ') is none.
OF_A_KEY = re.compile(rb"\\u00(?:2[bdefBDEF]|3[0-9aAdD]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|40|7[eE])")
KNOWN_MASKS = 256  # lists of secrets, one for each provider


class Mask:
    """Takes secrets out of bytes or text."""

    __slots__ = ("_escaped", "_secrets", "_texts")

    def __init__(self, secrets: Sequence[str]) -> None:
        self._texts = [secret for secret in secrets if len(secret) >= MIN_SECRET]
        self._secrets = [secret.encode() for secret in self._texts]
        patterns = ("".join(map(escaped, secret)).encode() for secret in self._texts)
        self._escaped = re.compile(b"|".join(patterns)) if self._texts else None

    def __call__(self, data: bytes) -> bytes:
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, STARS.encode())
        if ESCAPE not in data:  # as nearly always
            return data
        if self._escaped is not None and OF_A_KEY.search(data):
            data = self._escaped.sub(STARS.encode(), data)
        return data

    def text(self, text: str) -> str:
        for secret in self._texts:
            text = text.replace(secret, STARS)
        return text

    def holds(self, text: str) -> bool:
        for secret in self._texts:  # noqa: SIM110 - no generator: this is done for every header of every answer
            if secret in text:
                return True
        return False


def escaped(character: str) -> str:
    """A pattern for a character as it is and as JSON may escape it."""
    code = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(character):04x}")
    also = rf"|\\{character}" if character == "/" else ""
    return rf"(?:{re.escape(character)}|\\u{code}{also})"


@lru_cache(maxsize=KNOWN_MASKS)
def mask_of(secrets: tuple[Secret, ...]) -> Mask:
    return Mask([secret.reveal() for secret in secrets])
