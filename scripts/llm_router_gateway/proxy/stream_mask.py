"""Provider keys in streams: also one that is spread over several events, as models' words are.

    mask = StreamMask(mask_of(secrets))
    mask(b'data: {"text":"sk-abc"}\\n\\n')  -> b""                             it may be the beginning of a key
    mask(b'data: {"text":"defgh"}\\n\\n')   -> b'data: {"text":"***"}\\n\\n' + b'data: {"text":""}\\n\\n'
    mask.flush()                           -> what is still held, at the end of the stream

Only an event whose text ends as a key begins is held, until the next text of the same place shows that it is none. Everything
else passes at once and to the byte. The mask reads no protocol: a place is a field's name and the indexes on its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .mask import STARS, Mask

MAX_HELD_BYTES = 1_048_576  # more than that goes on, whatever it is
MAX_OTHERS = 4  # events without the held place, after which nothing of it is expected any more
VALUE = re.compile(rb'"(\w+)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')
LINE = re.compile(rb"[^\r\n]+")
INDEX = re.compile(rb'"(\w*[iI]ndex)"\s*:\s*(\d+)')
CHARACTER = re.compile(rb"\\u([0-9a-fA-F]{4})|\\(.)|(.)", re.DOTALL)
EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")

Place = tuple[bytes, ...]


class Token(NamedTuple):
    """One character of a text, and its position in the bytes that are held."""

    letter: bytes
    start: int
    end: int


def tokens_of(data: bytes, start: int, end: int) -> Iterator[Token]:
    for found in CHARACTER.finditer(data, start, end):
        code, mark, plain = found.groups()
        letter = chr(int(code, 16)).encode("utf-8", "replace") if code else mark or plain
        yield Token(letter, found.start(), found.end())


def event_start(data: bytes, at: int) -> int:
    """Where the event begins that position `at` is in."""
    return max(data.rfind(mark, 0, at) + len(mark) if data.rfind(mark, 0, at) >= 0 else 0 for mark in EVENT_ENDS)


class StreamMask:
    """One stream's mask. It gets whole events, one or more at once."""

    __slots__ = ("_begin", "_escape", "_first", "_held", "_longest", "_mask", "_others", "_secrets", "_tails")

    def __init__(self, mask: Mask) -> None:
        self._mask, self._secrets, self._longest = mask, mask.secrets, mask.longest
        self._begin, self._first, self._escape = mask.begin, mask.first, mask.escape
        self._held = b""
        self._tails: dict[Place, list[Token]] = {}  # places whose text ends as a key begins, by its last characters
        self._others = 0

    def __call__(self, data: bytes) -> bytes:
        if not self._secrets or not data:
            return data
        is_escaped = b"\\" in data and self._escape.search(data) is not None
        for secret in self._secrets:  # no generator: this is done for every piece
            if is_escaped or secret in data:
                data = self._mask(data)
                break
        if is_escaped or self._tails or self._begin.search(data) or self._first.search(data):
            return self._look(data)
        return data

    def flush(self) -> bytes:
        held, self._held, self._others = self._held, b"", 0
        self._tails.clear()
        return held

    def _look(self, new: bytes) -> bytes:
        """The slow way: holds what may be a beginning, masks what was one."""
        at, data = len(self._held), self._held + new
        known, edits = set(self._tails), list[tuple[int, int, bytes]]()
        touched = False
        for line_start, line in lines_of(data, at):
            indexes = INDEX.findall(line)
            for value in VALUE.finditer(line):
                place: Place = (value[1], *(part for pair in indexes for part in pair))
                touched = touched or place in known
                if place in self._tails or self._may_begin(value[2]):
                    edits += self._read(place, self._ends_of(data, line_start + value.start(2), line_start + value.end(2)))
        self._others = 0 if touched else self._others + 1
        if edits:
            data = self._edited(data, edits)
        if not self._tails or self._others > MAX_OTHERS or len(data) > MAX_HELD_BYTES:
            self.flush()
            return data
        return self._keep(data, min(tokens[0].start for tokens in self._tails.values()))

    def _may_begin(self, text: bytes) -> bool:
        """Whether a text as it is written may end as a key begins."""
        return b"\\" in text or any(overlap(text, secret) for secret in self._secrets)

    def _ends_of(self, data: bytes, start: int, end: int) -> Iterator[Token]:
        """The characters of a text; of a long one those at its ends, for a key inside it is masked already."""
        size = self._longest
        if end - start > 2 * size:
            yield from tokens_of(data, start, start + size)
            start = end - size
        yield from tokens_of(data, start, end)

    def _read(self, place: Place, more: Iterable[Token]) -> list[tuple[int, int, bytes]]:
        """The edits that a place's further text makes necessary; its tail is then what may be a key's beginning."""
        tokens = [*self._tails.pop(place, ()), *more]
        text, edits = b"".join(token.letter for token in tokens), list[tuple[int, int, bytes]]()
        for secret in self._secrets:
            while (found := text.find(secret)) >= 0:
                first, last = letter_at(tokens, found), letter_at(tokens, found + len(secret))
                edits += [(token.start, token.end, b"") for token in tokens[first + 1 : last]]
                edits.append((tokens[first].start, tokens[first].end, STARS.encode()))
                tokens = tokens[last:]
                text = b"".join(token.letter for token in tokens)
        size = max((overlap(text, secret) for secret in self._secrets), default=0)
        if size:
            self._tails[place] = tokens[letter_at(tokens, len(text) - size) :]
        return edits

    def _edited(self, data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
        """The bytes with the edits, and the tails where they are afterwards."""
        out, at, ordered = [], 0, sorted(edits)
        for start, end, new in ordered:
            out += [data[at:start], new]
            at = end
        moved = {}
        for place, tokens in self._tails.items():
            shift = sum(len(new) - (end - start) for start, end, new in ordered if end <= tokens[0].start)
            moved[place] = [Token(letter, start + shift, end + shift) for letter, start, end in tokens]
        self._tails = moved
        return b"".join([*out, data[at:]])

    def _keep(self, data: bytes, first: int) -> bytes:
        """Holds the bytes from the event on that a tail begins in; those before it go on."""
        start = event_start(data, first)
        self._held = data[start:]
        for place, tokens in self._tails.items():
            self._tails[place] = [Token(letter, begin - start, end - start) for letter, begin, end in tokens]
        return data[:start]


class PieceMask:
    """A mask for bytes that are no events and are cut anywhere: what may begin a key waits for the next piece."""

    __slots__ = ("_held", "_longest", "_mask", "_secrets")

    def __init__(self, mask: Mask) -> None:
        self._mask, self._secrets, self._longest = mask, mask.secrets, mask.longest
        self._held = b""

    def __call__(self, data: bytes) -> bytes:
        if not self._secrets:
            return data
        data = self._mask(self._held + data)
        tail = data[max(0, len(data) - self._longest + 1) :]
        size = len(tail) if b"\\" in tail else max(overlap(tail, secret) for secret in self._secrets)
        self._held = data[len(data) - size :]
        return data[: len(data) - size]

    def flush(self) -> bytes:
        held, self._held = self._held, b""
        return held


def lines_of(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """(where it begins, a line) for the lines from `at` on; a line may end in CR, too."""
    for found in LINE.finditer(data, at):
        yield found.start(), found[0]


def letter_at(tokens: Sequence[Token], size: int) -> int:
    """Which token begins after so many bytes of their text."""
    number = 0
    while number < len(tokens) and size > 0:
        size -= len(tokens[number].letter)
        number += 1
    return number


def overlap(text: bytes, secret: bytes) -> int:
    """How much of a text's end is the beginning of a key: overlap(b"ask-", b"sk-1") -> 3"""
    at = max(0, len(text) - len(secret) + 1)
    while (at := text.find(secret[:1], at)) >= 0:
        if secret.startswith(text[at:]):
            return len(text) - at
        at += 1
    return 0
