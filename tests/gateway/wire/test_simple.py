"""The base of protocols that carry text only, as the toy protocol uses it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from collected import answer_of
from toy.codec import CODEC

from llm_router_gateway.errors import BrokenAnswer, GatewayError
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.sse import Event

USAGE = ir.Usage(input=3, text=2)
WHOLE = {"said": "yes", "why": "done", "spent": [3, 2]}
REQUEST = ir.Request("m", ())


def events(*bodies: Any) -> list[Event]:
    return [Event("message", body if isinstance(body, str) else json.dumps(body), "") for body in bodies]


def candidate(*parts: ir.Part, reason: ir.Reason = "end") -> ir.Candidate:
    return ir.Candidate(parts, ir.Stop(reason))


def test_a_whole_answer_goes_through_unchanged() -> None:
    lost: list[str] = []
    answer = CODEC.read_answer(WHOLE)
    assert (answer.candidates[0].parts, answer.usage) == ((ir.Text("yes"),), USAGE)
    assert CODEC.write_answer(answer, REQUEST, lost) == WHOLE and lost == []
    assert (CODEC.flaw_in(WHOLE), CODEC.usage_in(WHOLE), CODEC.finish_in(WHOLE)) == (None, USAGE, "done")


def test_what_it_has_no_place_for_is_named() -> None:
    lost: list[str] = []
    parts = (ir.Thinking("hm"), ir.Text("a"), ir.ToolCall("c", "f"), ir.Media("image", "image/png", "AA=="), ir.Refusal("no"))
    answer = ir.Answer("a1", "m", (candidate(*parts, reason="tool_calls"), candidate(ir.Text("b"))))
    assert CODEC.write_answer(answer, REQUEST, lost) == {"said": "ano", "why": "done"}
    assert lost == ["n", "thinking", "tool_calls", "image"]
    in_stream: list[str] = []
    writer = CODEC.StreamWriter(REQUEST, lost=in_stream)
    written = b"".join(map(writer.feed, ir.events_of(answer)))
    assert [json.loads(line[6:]) for line in written.split(b"\n\n")[:-1]] == [{"said": "a"}, {"said": "no"}, {"why": "done"}]
    assert in_stream == ["thinking", "tool_calls", "image", "n"]


def test_what_stands_beside_its_text_is_named_whole_and_streamed() -> None:
    usage = ir.Usage(3, text=2, extras={"unread": {"details.audio_tokens": True}})
    first = ir.Candidate(
        (ir.Text("a", "s", "gemini"),), ir.Stop("pause", "pause_turn"), {"openai": {"logprobs": {"content": []}}}
    )
    answer = ir.Answer("a1", "m", (first,), usage, service_tier="flex", extras={"gemini": {"promptFeedback": {"x": 1}}})
    whole: list[str] = []
    CODEC.write_answer(answer, REQUEST, whole)
    streamed: list[str] = []
    writer = CODEC.StreamWriter(REQUEST, lost=streamed)
    for event in ir.events_of(answer):
        writer.feed(event)
    named = {"signature", "stop_reason=pause_turn", "logprobs", "service_tier=flex", "promptFeedback"}
    assert set(whole) == set(streamed) == named | {"usage.details.audio_tokens"}


@pytest.mark.parametrize(("word", "reason"), [("full", "length"), ("done", "end"), ("odd", "other"), ("", None), (None, None)])
def test_a_word_is_a_reason(word: str | None, reason: ir.Reason | None) -> None:
    assert CODEC.reason(word) == reason


def test_a_stream_is_read_and_scanned() -> None:
    stream = events({"said": "y"}, "null", {"said": "es"}, {"why": "full", "spent": [3, 2]})
    reader, scanner = CODEC.StreamReader(), CODEC.Scanner()
    answer = answer_of(each for event in stream for each in [*reader.feed(event), *reader.close()])
    assert answer.candidates == (candidate(ir.Text("yes"), reason="length"),) and answer.usage == USAGE
    scanner.feed(stream)
    assert (scanner.outputs, scanner.done, scanner.finish, scanner.usage) == (2, True, "full", USAGE)


@pytest.mark.parametrize(
    ("event", "message"),
    [({"wrong": "too much"}, "too much"), ("{", "not JSON"), ("[1,2,3,4]", "not an object")],
    ids=str,
)  # fmt: skip
def test_an_event_that_is_an_error_ends_the_stream(event: Any, message: str) -> None:
    stream = events({"said": "y"}, event, {"why": "done"})
    scanner = CODEC.Scanner()
    scanner.feed(stream)
    assert isinstance(scanner.error, GatewayError) and message in scanner.error.message
    assert (scanner.fed, scanner.outputs, scanner.done) == (1, 1, False)
    [failed] = CODEC.StreamReader().feed(stream[1])
    assert isinstance(failed, ir.Failed) and message in failed.error.message


def test_an_answer_without_text_and_reason_is_none() -> None:
    assert isinstance(CODEC.flaw_in({}), BrokenAnswer)
    assert CODEC.flaw_in({"why": "done"}) is None


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [(b'{"wrong":"prompt is too long: 9 tokens"}', "context_length_exceeded", "prompt is too long: 9 tokens"),
     (b"<html>Bad</html>", "bad_request", "<html>Bad</html>"), (b"[]", "bad_request", "[]")],
)  # fmt: skip
def test_a_refusal_is_read(body: bytes, code: str, message: str) -> None:
    error = CODEC.read_error(400, {"retry-after": "7"}, body)
    assert (error.status, error.code, error.message, error.retry_after_s) == (400, code, message, 7.0)
    status, headers, written = CODEC.write_error(error, "r1")
    assert (status, written, dict(headers)["retry-after"]) == (400, {"wrong": message}, "7")
    assert json.loads(CODEC.error_event(error, "r1")[6:]) == {"wrong": message}


def test_counts_have_its_field() -> None:
    assert CODEC.write_count(5) == {"count": 5}
