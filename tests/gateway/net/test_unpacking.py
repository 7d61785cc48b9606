"""unpacking: compressed answers whole, in members, and cut anywhere."""

import gzip
import zlib

import pytest

from llm_router_gateway.net.unpacking import Unpacking

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
    ],
)
def test_an_answer_in_one_member_or_several_is_whole_wherever_it_is_cut(data: bytes) -> None:
    for cut in range(len(data)):
        assert unpacked(data, cut) == (TEXT, True), cut


def test_a_member_without_its_end_is_not_whole() -> None:
    first, second = gzip.compress(TEXT[:9]), gzip.compress(TEXT[9:])
    for end in range(len(first) + 2, len(first) + len(second)):
        assert not unpacked((first + second)[:end], 1)[1], end
