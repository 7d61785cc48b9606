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
PACKED = frozenset({"gzip", "x-gzip", "deflate"})


def decompress(response: Response) -> Response:
    """UpstreamFailed for an encoding that the standard library cannot read."""
    encoding = response.header("content-encoding")
    if not encoding or encoding.strip().lower() == "identity":
        return response
    if encoding.strip().lower() not in PACKED:
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
        stream = zlib.decompressobj(GZIP_OR_ZLIB)
        try:
            async for piece in self._packed.pieces():
                for part in inflate(stream, piece):
                    yield part
        except zlib.error as wrong:
            raise UpstreamFailed(f"{self.origin.name}: the answer's content-encoding cannot be read: {wrong}") from None
        if not stream.eof:
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


def inflate(stream: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    """What a piece holds, in parts of PIECE_BYTES at the most."""
    while piece:
        part = stream.decompress(piece, PIECE_BYTES)
        if part:
            yield part
        piece = stream.unconsumed_tail
