"""unpacking: compressed answers whole, in members, and cut anywhere."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.net.client import Response
from llm_router_gateway.net.http1 import ResponseHead
from llm_router_gateway.net.origin import Origin
from llm_router_gateway.net.unpacking import Unpacking, decompress

TEXT = b'{"answer": "' + bytes(range(32, 34)) * 50 + b'"}'


def unpacked(data: bytes, cut: int) -> tuple[bytes, bool]:
    made = Unpacking()
    return b"".join(part for piece in (data[:cut], data[cut:]) for part in made.feed(piece)), made.is_whole


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(TEXT),
        zlib.compress(TEXT),
        gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]),
        gzip.compress(TEXT[:9]) + gzip.compress(b"") + gzip.compress(TEXT[9:]),
        gzip.compress(TEXT) + bytes(3),
        zlib.compress(TEXT) + b"\r\n",
        gzip.compress(TEXT) + b"\x1f",
        gzip.compress(TEXT) + b"\r\n" + gzip.compress(b"later"),
        gzip.compress(TEXT) + bytes(3) + b"\x1f\x8bjunk",
        gzip.compress(TEXT) + b"\x1f\r\n\x1f\x8bjunk",
        gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]) + b"junk\x1f\x8b" * 3,
        zlib.compress(TEXT) + b"\x1f\x8bjunk",
    ],
)
def test_an_answer_in_one_member_or_several_is_whole_wherever_it_is_cut(data: bytes) -> None:
    for cut in range(len(data)):
        assert unpacked(data, cut) == (TEXT, True), cut
    made = Unpacking()
    assert b"".join(part for at in range(len(data)) for part in made.feed(data[at : at + 1])) == TEXT and made.is_whole


def test_a_member_that_is_damaged_fails_the_answer_wherever_it_is_cut() -> None:
    data = gzip.compress(TEXT[:9]) + b"\x1f\x8bjunk"
    for cut in range(len(data)):
        with pytest.raises(zlib.error):
            unpacked(data, cut)


def test_a_member_without_its_end_is_not_whole() -> None:
    first, second = gzip.compress(TEXT[:9]), gzip.compress(TEXT[9:])
    for end in range(len(first) + 2, len(first) + len(second)):
        assert not unpacked((first + second)[:end], 1)[1], end


def test_an_encoding_that_cannot_be_read_leaves_a_refusal_its_status() -> None:
    unread: Any = None

    def response(status: int) -> Response:
        return Response(Origin("http", "127.0.0.1", 9), ResponseHead(status, [("content-encoding", "br")], 1, 5, True), unread)

    async def story() -> None:
        with pytest.raises(UpstreamFailed, match="only identity was accepted"):
            decompress(response(200))
        refusal = response(429)
        refusal.take(b"\x0b\x02\x80hi\x03")
        refusal.finish()
        assert decompress(refusal).status == 429
        with pytest.raises(UpstreamFailed, match="cannot be read"):
            await decompress(refusal).read(1_000)

    asyncio.run(story())
