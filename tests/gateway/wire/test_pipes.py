"""Piping: what is told of a relayed event by its bytes alone is what parsing it tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.pipes import ConvertPipe, RelayPipe, frame_error

CORPUS = Path(__file__).parents[2] / "corpus" / "wire" / "openai"
STREAMS = sorted(CORPUS.glob("*.sse"))


def chunk(delta: Any, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **more}, separators=(",", ":")).encode() + b"\n\n"


class Blind(openai.Scanner):
    """A scanner that parses every event."""

    def glance(self, event: bytes) -> bool:
        return False


def told(pipe: RelayPipe, events: list[bytes]) -> tuple[Any, ...]:
    seen = [(pipe.feed(event), pipe.outputs, pipe.done, pipe.usage, str(pipe.error)) for event in events]
    return seen, pipe.close(), pipe.outputs, pipe.done, pipe.usage, str(pipe.error)


def agree(events: list[bytes]) -> None:
    """Each event as it comes, and all of them in one piece."""
    for pieces in (events, [b"".join(events)]):
        assert told(RelayPipe(openai.Scanner()), pieces) == told(RelayPipe(Blind()), pieces)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_glance_tells_what_parsing_tells(path: Path) -> None:
    assert STREAMS
    data = path.read_bytes()
    agree([piece + b"\n\n" for piece in data.split(b"\n\n")])
    agree([data[at : at + 1] for at in range(len(data))])


MARKS = '"finish_reason":"stop" "finish_reason":null "error" "usage":{} "index":1 "content":""'


def test_what_the_model_says_cannot_pass_for_a_mark() -> None:
    agree([chunk({"content": "a"}), chunk({"content": MARKS}), chunk({"content": json.dumps(MARKS)}), chunk({}, "stop")])


def test_what_only_looks_like_text_is_parsed() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    for event in (
        chunk({"content": "b"}, "stop"), chunk({"content": ""}), chunk({"content": "b"}, usage=usage),
        chunk({"role": "assistant"}), chunk({"content": "b"}, usage=None), chunk({"content": "b", "usage": usage}, usage=None),
        b'data: {"error":{"message":"no"},"content":"x"}\n\n',
        b"data: [DONE]\n\n",
    ):  # fmt: skip
        agree([chunk({"content": "a"}), event])


def called(text: str | None, kind: str = "tool_calls", **function: str) -> bytes:
    """A chunk with a piece of a call that has no index, as some servers send them."""
    return chunk({"content": text, kind: [{"id": "c", "function": function}] if kind == "tool_calls" else function})


ENDED = {"index": 0, "delta": {"content": "b"}, "finish_reason": "stop", "vendor": {"finish_reason": None}}


@pytest.mark.parametrize("events", [
    [called("b", name="f", arguments='{"a":"b'), called(None, arguments='"}'), chunk({}, "tool_calls"), b"data: [DONE]\n\n"],
    [called("b", name="f", arguments='{"a":"b'), chunk({}, "tool_calls"), b"data: [DONE]\n\n"],
    [called("b", "function_call", arguments='{"a":"b'), called(None, "function_call", arguments='"}'), chunk({}, "stop")],
    [b"data: " + json.dumps({"id": "c", "choices": [ENDED]}, separators=(",", ":")).encode() + b"\n\n"],
    [b"data: [DONE]\n\n", chunk({"content": "b"})],
], ids=["a call", "half a call", "the older form", "a vendor's own reason", "text behind the end"])  # fmt: skip
def test_a_glance_passes_over_no_call_and_no_end(events: list[bytes]) -> None:
    agree([chunk({"content": "a"}), *events])


class Parsing(openai.Scanner):
    """A scanner that counts what it parses."""

    parsed = 0

    def _chunk(self, data: str) -> None:
        self.parsed += 1
        super()._chunk(data)


def test_events_that_come_together_are_not_parsed_either() -> None:
    scanner = Parsing()
    pipe = RelayPipe(scanner)
    pipe.feed(chunk({"content": "a"}) * 8)
    assert (pipe.outputs, scanner.parsed) == (8, 1)  # the first one is


class Told:
    """A reader whose upstream names no time."""

    done = False

    def feed(self, event: Any) -> list[ir.StreamEvent]:
        return [ir.Started("id", "m")]

    def close(self) -> list[ir.StreamEvent]:
        return []


def test_an_answer_without_a_time_gets_the_current_one() -> None:
    class Kept:
        seen: Any = None

        def feed(self, event: ir.StreamEvent) -> bytes:
            self.seen = event
            return b""

    kept = Kept()
    ConvertPipe(Told(), kept, 1_700_000_000).feed(b"data: {}\n\n")
    assert kept.seen.created == 1_700_000_000


# Google's API ends a broken stream with the error's JSON alone, outside of any event.
BARE = b'{\n  "error": {\n    "code": 503,\n    "message": "Overloaded.",\n    "status": "UNAVAILABLE"\n  }\n}\n'
SAID = b'data: {"candidates": [{"content": {"parts": [{"text": "Hal"}], "role": "model"}}]}\r\n\r\n'


def piped(pipe: RelayPipe | ConvertPipe, pieces: list[bytes]) -> tuple[bytes, str, int | None]:
    out = b"".join([pipe.feed(piece) for piece in pieces if pipe.error is None] + [pipe.close() if pipe.error is None else b""])
    assert isinstance(pipe.error, GatewayError)
    return out, pipe.error.message, pipe.error.status


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
@pytest.mark.parametrize("before", [SAID, b""])
def test_an_error_outside_of_any_event_is_that_error_and_no_cut(before: bytes, end: bytes) -> None:
    data = before + BARE + end
    for cut in range(len(data) + 1):
        pieces = [data[:cut], data[cut:]]
        out, *error = piped(RelayPipe(gemini.Scanner()), pieces)
        assert error == ["Overloaded.", 503], cut
        assert out == (
            before + b'data: {"error":{"code":503,"message":"Overloaded.","status":"UNAVAILABLE"}}\n\n' if before else b""
        )
        caller = openai.read_request({"model": "m", "messages": [{"role": "user", "content": "q"}], "stream": True})
        out, *error = piped(ConvertPipe(gemini.StreamReader(), openai.StreamWriter(caller)), pieces)
        assert error == ["Overloaded.", 503] and (b'"Hal"' in out) == bool(before), cut


@pytest.mark.parametrize("data", [b"{\n", b'{"a": 1}\n', b'{"error": "', b"{}", b'{"error":' + b"[" * 100_000])
def test_other_lines_that_look_like_json_are_passed_over(data: bytes) -> None:
    pipe = RelayPipe(gemini.Scanner())
    assert pipe.feed(SAID + data) == SAID and pipe.close() == b""
    assert "before its final event" in str(pipe.error)


def test_a_bare_error_is_found_wherever_it_stands_and_no_later_event_hides_it() -> None:
    data = b'data: \n{"message":"x"}\n\ndata: {}\r\n\r\n{"error":{"code":1}}\r\rdata: {}\n\n{"error":\n "y"}'
    whole = frame_error(data)
    assert whole == (b'data: \ndata: {"message":"x"}\n\ndata: {}\r\n\r\ndata: {"error":{"code":1}}\n\n'
                     b'data: {}\n\ndata: {"error":"y"}\n\n')  # fmt: skip
    ends = (data.index(b"\n\n") + 2, data.index(b"\r\n\r\n") + 4, data.index(b"\r\r") + 2, data.rindex(b"\n\n") + 2, len(data))
    assert b"".join(frame_error(data[start:end]) for start, end in zip((0, *ends), ends, strict=False)) == whole
