"""Messages between two processes of one gateway: JSON values, each behind its length. Pure: bytes in, values out.

    frame([0, "open", [3]])          -> b"\\x00\\x00\\x00\\x0e" b'[0,"open",[3]]'
    reader = FrameReader()
    reader.feed(data)                -> the values that are whole now; BrokenFrame when the bytes can be no message

The length has four bytes, the highest first; the text is UTF-8, half a pair of surrogates included: names that callers make up
are passed on as they came. Nothing is read of a frame that announces more than the limit, so that a peer that lost its place
costs no memory.
"""

from __future__ import annotations

import json
from typing import Any

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 67_108_864  # a batch of calls with their bodies, or everything that a new worker gets


class BrokenFrame(Exception):
    """The bytes are no message of this protocol: the connection cannot be used any further."""


class FrameTooLarge(Exception):
    """A value is longer than a frame may be; nothing was sent."""


def frame(value: object, limit: int = MAX_FRAME_BYTES) -> bytes:
    """A value as it is sent. FrameTooLarge; values that JSON lacks are written as text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")
    if len(text) > limit:
        raise FrameTooLarge(f"a message of {len(text)} bytes is longer than {limit}")
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


class FrameReader:
    """The bytes of one connection, cut anywhere, become values."""

    __slots__ = ("_data", "_limit")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._data, self._limit = bytearray(), limit

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._data)

    def feed(self, data: bytes) -> list[Any]:
        """The values that these bytes complete, in order."""
        buffer = self._data
        buffer += data
        values, at = [], 0
        while len(buffer) - at >= LENGTH_BYTES:
            size = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if size > self._limit:
                raise BrokenFrame(f"a message announces {size} bytes; the limit is {self._limit}")
            end = at + LENGTH_BYTES + size
            if len(buffer) < end:
                break
            try:
                values.append(json.loads(buffer[at + LENGTH_BYTES : end].decode("utf-8", "surrogatepass")))
            except (ValueError, RecursionError):
                raise BrokenFrame("a message is not JSON in UTF-8") from None
            at = end
        del buffer[:at]
        return values
