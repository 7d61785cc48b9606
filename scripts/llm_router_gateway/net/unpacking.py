"""Decompression of answers that come compressed although only identity was accepted, piece by piece, under the same limits.

response = decompress(response)     unchanged where it is not compressed
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

from ..errors import UpstreamFailed
from .client import Response

GZIP_OR_ZLIB = 47  # zlib's wbits: either header, the largest window
PIECE_BYTES = 65_536  # unpacked at once: a thousandfold more may come out than went in
GZIP = b"\x1f\x8b"  # begins a further member: RFC 1952 2.2 allows several, one behind the other
PACKED = frozenset({"gzip", "x-gzip", "deflate"})


def decompress(response: Response) -> Response:
    """UpstreamFailed for an encoding that the standard library cannot read; a refusal's status counts all the same."""
    encoding = response.header("content-encoding")
    if not encoding or encoding.strip().lower() == "identity":
        return response
    if encoding.strip().lower() not in PACKED and response.status == 200:
        response.close()
        text = f"the answer has the content-encoding {encoding[:40]!r}, though only identity was accepted"
        raise UpstreamFailed(f"{response.origin.name}: {text}")
    return DecompressedResponse(response)


class DecompressedResponse(Response):
    """A response whose body is decompressed as it arrives."""

    __slots__ = ("_packed",)

    def __init__(self, packed: Response) -> None:
        self.status, self.headers, self.origin, self.tap = packed.status, packed.headers, packed.origin, None
        self._packed = packed

    def pieces(self) -> AsyncIterator[bytes]:
        return self._unpack()

    async def _unpack(self) -> AsyncIterator[bytes]:
        unpacking = Unpacking()
        try:
            async for piece in self._packed.pieces():
                for part in unpacking.feed(piece):
                    yield part
        except zlib.error as wrong:
            raise UpstreamFailed(f"{self.origin.name}: the answer's content-encoding cannot be read: {wrong}") from None
        if not unpacking.is_whole:
            raise UpstreamFailed(f"{self.origin.name}: the compressed answer broke off")

    async def read(self, limit: int) -> bytes:
        out: list[bytes] = []
        size = 0
        async for piece in self._unpack():
            out.append(piece)
            size += len(piece)
            if size > limit:
                raise UpstreamFailed(f"{self.origin.name}: an answer of more than {limit} bytes")
        return b"".join(out)

    def close(self) -> None:
        self._packed.close()


class Unpacking:
    """zlib, or gzip in one or several members.

    What is directly behind a member and begins like one is one, and has to be whole: it may be half of the answer. Anything
    else is the end, and all bytes from there on are dropped, as gzip and other clients do.
    """

    __slots__ = ("_behind", "_first", "_is_over", "_stream")

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
        self._behind = b""  # the first byte behind a member, while the second is not here
        self._first = b""  # the first byte of all, which says whether it is gzip: zlib has no members
        self._is_over = False

    @property
    def is_whole(self) -> bool:
        """Whether what came so far ends where a member does."""
        return self._stream.eof

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What a piece holds, in parts of PIECE_BYTES at the most."""
        piece, self._behind = self._behind + piece, b""
        self._first = self._first or piece[:1]
        while piece and not self._is_over:
            if self._stream.eof:
                if self._first == piece == GZIP[:1]:
                    self._behind = piece
                    return
                self._is_over = self._first != GZIP[:1] or not piece.startswith(GZIP)
                if self._is_over:
                    return
                self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
            part = self._stream.decompress(piece, PIECE_BYTES)
            if part:
                yield part
            piece = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
