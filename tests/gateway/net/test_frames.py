"""Messages between processes: the values depend on the bytes, never on the cuts; what is no message is refused."""

import json

import pytest

from llm_router_gateway.net.frames import BrokenFrame, FrameReader, FrameTooLarge, frame

VALUES = [[0, "open", [3]], [1, 7, "acquire", [[], 1.5]], {"café": "\u2028 \ud83d \U0001f600"}, None, "", [[]] * 100]


def test_values_come_back_wherever_their_bytes_are_cut() -> None:
    stream = b"".join(map(frame, VALUES))
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == VALUES, cut
        assert reader.buffered == 0


def test_values_come_back_byte_by_byte() -> None:
    reader = FrameReader()
    stream = b"".join(map(frame, VALUES))
    assert [value for at in range(len(stream)) for value in reader.feed(stream[at : at + 1])] == VALUES


def test_what_json_lacks_is_written_as_text() -> None:
    assert FrameReader().feed(frame([object])) == [[str(object)]]


def test_a_value_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(FrameTooLarge):
        frame("x" * 100, limit=50)


def test_a_frame_that_announces_too_much_is_refused_before_it_comes() -> None:
    reader = FrameReader(limit=1_000)
    assert reader.feed(frame("x" * 990)) == ["x" * 990]
    with pytest.raises(BrokenFrame, match="1001 bytes"):
        reader.feed((1_001).to_bytes(4, "big"))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"a":1}x', b"[" * 100_000])
def test_a_frame_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BrokenFrame):
        FrameReader().feed(len(text).to_bytes(4, "big") + text)


def test_a_frame_is_its_length_and_compact_json() -> None:
    data = frame({"a": [1, 2]})
    assert data[:4] == b"\x00\x00\x00\x0b" and json.loads(data[4:]) == {"a": [1, 2]}
