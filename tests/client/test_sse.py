"""Server-sent events: the same bytes give the same events, however they were cut."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List

import pytest
from material import material, needs

from llm_router_client import Event, SSEParser

CORPUS = Path(__file__).parents[1] / "corpus" / "sse"
COLLECTED = material("LLM_ROUTER_SSE_CASES")


def parse(pieces: Iterable[bytes], **options: int) -> List[Event]:
    parser = SSEParser(**options)
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


def plain(events: Iterable[Event]) -> List[Dict[str, Any]]:
    return [{"event": e.event, "data": e.data, "id": e.id, "retry": e.retry} for e in events]


def corpus() -> List[Path]:
    found = sorted(path for path in CORPUS.iterdir() if path.suffix != ".json")
    assert found, "the corpus is empty"
    return found


@pytest.mark.parametrize("path", corpus(), ids=lambda path: path.name)
def test_events_depend_on_the_bytes_never_on_how_the_network_cut_them(path: Path) -> None:
    data = path.read_bytes()
    expected = json.loads(path.with_name(path.name + ".json").read_text())
    assert plain(parse([data])) == expected
    assert plain(parse(data[i : i + 1] for i in range(len(data)))) == expected
    for cut in range(len(data) + 1):
        assert plain(parse([data[:cut], data[cut:]])) == expected, cut
        assert plain(parse([data[:cut], b"", data[cut:]])) == expected, cut


@pytest.mark.slow
@needs("LLM_ROUTER_SSE_CASES")
def test_the_collected_cases_of_other_parsers_hold_whole_byte_by_byte_and_cut_everywhere() -> None:
    assert COLLECTED
    for case in json.loads(COLLECTED.read_text()):
        data = base64.b64decode(case["input_base64"])
        cuts = [[data], [data[i : i + 1] for i in range(len(data))], *([data[:i], data[i:]] for i in range(len(data)))]
        for pieces in cuts:
            parser = SSEParser()
            events = [event for piece in pieces for event in parser.feed(piece)]
            assert [{"event": e.event, "data": e.data, "id": e.id} for e in events] == case["expected"], case["name"]
        if "retry" in case:
            assert [e.retry for e in events if e.retry is not None] == case["retry"], case["name"]


ENDS = {  # the end of input, without a blank line -> (the last event's data or None, whether an event was cut)
    b'data: {"a":1}': ('{"a":1}', False), b'data: {"a":1}\n': ('{"a":1}', False),
    b'data: {"a":\ndata: 1}': ('{"a":\n1}', False),
    b"data: [DONE]": ("[DONE]", False), b"data:[DONE]\n": ("[DONE]", False), b'event: x\ndata: {"a":1}\nid': ('{"a":1}', False),
    b'data: {"a":': (None, True), b"data: [DO": (None, True), b"data: a\n": (None, True), b"data: 12": (None, True),
    b'data: {"a":1}\ndata: ': ('{"a":1}\n', False), b'data: {"a":1}\ndata: {': (None, True),
    b"dat": (None, False), b": ping": (None, False), b"event: x\n": (None, False), b"": (None, False),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_without_its_blank_line_a_last_event_counts_only_where_its_data_is_whole(end: bytes) -> None:
    data, cut = ENDS[end]
    for before in (b"", b"data: first\n\n"):
        parser = SSEParser()
        events = [event.data for event in parser.feed(before + end)] + [event.data for event in parser.close()]
        assert events == ["first"] * bool(before) + ([] if data is None else [data]) and parser.cut is cut


def test_an_event_over_the_limit_is_refused_whether_it_is_one_line_or_many() -> None:
    for endless in ([b"data: " + b"x" * 200], [b"data: xxxxx\n"] * 40, [b"x"] * 200):
        with pytest.raises(ValueError, match="longer than 100 bytes"):
            parse(endless, max_event_bytes=100)
    assert [e.data for e in parse([b"data: 1\n\n"] * 100, max_event_bytes=100)] == ["1"] * 100


def test_a_long_line_in_small_pieces_is_joined_in_linear_time() -> None:
    pieces = [b"data: "] + [b"x" * 10] * 40_000 + [b"\n\n"]
    assert len(parse(pieces)[0].data) == 400_000


def test_the_event_shows_itself_to_a_debugger() -> None:
    assert Event("message", "1").data == "1"
