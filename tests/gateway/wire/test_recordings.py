"""Recorded exchanges with real providers pass through every conversion: what was said survives, streamed or whole.

They are outside the repository, in the folder that LLM_ROUTER_RECORDINGS names. Without them the
tests are skipped; what they teach is in tests/corpus/wire and the tests of the wires.

Per exchange, for each caller's protocol:
    request    read, written for each upstream, read again there: texts, calls, results and tools are those that were sent
    answer     read, written for the caller, read again as the caller would: text, calls, usage, stop reason
    stream     the same, and it says what the whole answer says; cut anywhere it says the same
    refusal    keeps its status and its words
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from collected import answer_of
from material import material, needs
from strict_responses import refusal_of

from llm_router_gateway.errors import GatewayError
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.chat_parts import refusal_text
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.names import safe_name
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.sse import SSEParser

pytestmark = pytest.mark.slow  # thousands of conversions
FOLDER = material("LLM_ROUTER_RECORDINGS")
WIRES: dict[str, ModuleType] = {"openai": openai, "anthropic": anthropic, "gemini": gemini, "responses": responses}
PROTOCOLS = {
    "openai-chat": "openai", "anthropic-messages": "anthropic", "gemini": "gemini", "openai-responses": "responses",
}  # fmt: skip
SMALL_STREAM_BYTES = int(os.environ.get("LLM_ROUTER_CUT_BYTES", "3000"))  # cut at every byte; longer ones in CUTS places
CUTS = 40

ANSWERING = {"llm_router_answer"}  # stands for a response format on Claude models that have none
# What one protocol has no word for becomes the nearest it has.
NEAREST = {"context": "length", "pause": "end", "other": "end", "stop_sequence": "end"}


class Exchange(NamedTuple):
    name: str
    wire: str
    request: Mapping[str, Any]
    path: str
    status: int
    streamed: bool
    body: bytes
    headers: Mapping[str, str]


def exchanges_of(path: Path) -> Iterator[Exchange]:
    recording = json.loads(path.read_text(encoding="utf-8"))
    wire = PROTOCOLS.get(recording["protocol"])
    for number, each in enumerate(recording["exchanges"] if wire else ()):
        asked, answer = each["request"], each["response"]
        body = answer.get("body") or ""
        if wire == "gemini" and answer["status"] == 200 and body.lstrip().startswith("["):
            body = "".join(f"data: {json.dumps(item)}\n\n" for item in json.loads(body))  # its other form of a stream
        if wire == "anthropic" and body.rstrip().endswith("}") and "data:" in body:
            body = body.rstrip() + "\n\n"  # some were written down without their last blank line
        streamed = "event-stream" in (answer.get("content_type") or "") or body.lstrip().startswith(("data:", "event:"))
        headers = {"retry-after": answer["retry_after"]} if answer.get("retry_after") else {}
        yield Exchange(
            f"{path.name[:3]}-{number}", str(wire), asked.get("body") or {}, asked.get("path") or "", answer["status"],
            streamed, body.encode(), headers,
        )  # fmt: skip


@functools.cache
def exchanges() -> list[Exchange]:
    if FOLDER is None:
        return []
    listed = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    return [each for entry in listed for each in exchanges_of(FOLDER / entry["file"])]


def chosen(*, streamed: bool | None = None, good: bool = True) -> list[Any]:
    """The exchanges a test is about, as parameters; one that is skipped, with its reason, where there are none."""
    found = [each for each in exchanges() if (each.status == 200) == good and streamed in (None, each.streamed)]
    if not found:
        return [pytest.param(None, marks=needs("LLM_ROUTER_RECORDINGS"))]
    return [pytest.param(each, id=f"{each.wire}-{each.name}") for each in found]


# ---------------------------------------------------------------------------------------------------------------- what was said


OPAQUE = {"openai": "\n{}\n"}  # where a message has one text, another vendor's part stands on lines of its own


class Said(NamedTuple):
    """What must survive of an answer."""

    text: str
    calls: tuple[tuple[str, str], ...]
    stop: str
    usage: tuple[int, int, int] | None


def nearest(reason: str) -> str:
    return NEAREST.get(reason, reason)


def texts(parts: Iterable[ir.Part], opaque: str = "{}") -> str:
    """What is shown as text anywhere: texts, refusals, and a part that only its vendor knows, as `opaque` says."""
    return "".join(opaque.format(part.text) if isinstance(part, ir.Opaque) and part.text else part.text
                   for part in parts if isinstance(part, ir.Text | ir.Refusal | ir.Opaque))  # fmt: skip


def called(call: ir.ToolCall) -> tuple[str, str]:
    """Name and arguments; names as every protocol takes them."""
    return safe_name(call.name), json.dumps(call.arguments, sort_keys=True)


def stream_cut(answer: ir.Answer) -> frozenset[str]:
    """The tools whose calls the end of the tokens cut off: no wire but OpenAI's can hold half an object."""
    calls = [part for part in answer.candidates[0].parts if isinstance(part, ir.ToolCall)]
    return frozenset(call.name for call in calls if call.arguments is None)


def said(answer: ir.Answer, half: frozenset[str] = frozenset(), opaque: str = "{}") -> Said:
    first = answer.candidates[0]
    calls = tuple(called(part) for part in first.parts if isinstance(part, ir.ToolCall) and part.name not in half)
    used = answer.usage
    usage = (used.total_input, used.output, used.cache_read) if used is not None else None
    return Said(texts(first.parts, opaque), calls, nearest(first.stop.reason), usage)


def request_of(exchange: Exchange) -> ir.Request:
    stream = "stream" in exchange.path if exchange.wire == "gemini" else None
    read: ir.Request = WIRES[exchange.wire].read_request(exchange.request, model="m", stream=stream)
    return read


def caller_of(wire: str, stream: bool = False) -> ir.Request:
    """A caller of a protocol who wants to know everything."""
    bodies: dict[str, dict[str, Any]] = {
        "openai": {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}},
        "anthropic": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        "responses": {"input": "hi"},
    }
    read: ir.Request = WIRES[wire].read_request(bodies[wire], model="m", stream=stream)
    return read


def events_in(wire: str, *pieces: bytes) -> list[ir.StreamEvent]:
    """A stream as it comes from an upstream, up to its close."""
    parser, reader = SSEParser(), WIRES[wire].StreamReader()
    events: list[ir.StreamEvent] = []
    for piece in pieces:
        events += [out for event in parser.feed(piece) for out in reader.feed(event)]
    events += [out for event in parser.close() for out in reader.feed(event)]
    return events + list(reader.close())


def answer_in(exchange: Exchange) -> ir.Answer:
    """The answer of an exchange; skips what is none (an error under status 200, a stream that the recording cuts)."""
    try:
        if exchange.streamed:
            return answer_of(events_in(exchange.wire, exchange.body))
        read: ir.Answer = WIRES[exchange.wire].read_answer(json.loads(exchange.body))
    except (GatewayError, json.JSONDecodeError) as error:
        pytest.skip(f"no whole answer: {error}")
    return read


# ------------------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("to", WIRES)
@pytest.mark.parametrize("exchange", chosen())
def test_an_answer_says_the_same_in_every_protocol(exchange: Exchange, to: str) -> None:
    answer = answer_in(exchange)
    lost: list[str] = []
    body = WIRES[to].write_answer(answer, caller_of(to), lost)
    json.dumps(body)
    half = stream_cut(answer)
    got, expected = said(WIRES[to].read_answer(json.loads(json.dumps(body))), half), said(answer, half, OPAQUE.get(to, "{}"))
    assert got == refused(expected, answer, to), lost
    assert lost or not half or to in ("openai", "responses")


def refused(expected: Said, answer: ir.Answer, to: str) -> Said:
    """A refusal is told in words where the protocol has words for it: OpenAI's always, Responses' where nothing was said."""
    first = answer.candidates[0]
    worded = to == "openai" or (to == "responses" and not texts(first.parts))
    if worded and first.stop.reason == "refusal" and not any(isinstance(part, ir.Refusal) for part in first.parts):
        return expected._replace(text=expected.text + refusal_text(first.stop))
    return expected


@pytest.mark.parametrize("to", WIRES)
@pytest.mark.parametrize("exchange", chosen())
def test_a_stream_says_what_the_whole_answer_says(exchange: Exchange, to: str) -> None:
    answer = answer_in(exchange)
    caller = caller_of(to, stream=True)
    writer = WIRES[to].StreamWriter(caller, lost=[])
    events = events_in(exchange.wire, exchange.body) if exchange.streamed else ir.events_of(answer)
    streamed = answer_of(events_in(to, b"".join(map(writer.feed, events))))
    whole = WIRES[to].read_answer(json.loads(json.dumps(WIRES[to].write_answer(answer, caller, []))))
    half = stream_cut(answer)
    assert said(streamed, half) == said(whole, half) == refused(said(answer, half, OPAQUE.get(to, "{}")), answer, to)


# ------------------------------------------------------------------------------------------------------------------ streams


@pytest.mark.parametrize("exchange", chosen(streamed=True))
def test_a_stream_says_the_same_wherever_it_is_cut(exchange: Exchange) -> None:
    expected, size = events_in(exchange.wire, exchange.body), len(exchange.body)
    each = (exchange.body[at : at + 1] for at in range(size))
    assert shown(events_in(exchange.wire, *each)) == shown(expected)  # cut at every byte at once
    for cut in range(size) if size <= SMALL_STREAM_BYTES else range(1, size, size // CUTS):
        got = events_in(exchange.wire, exchange.body[:cut], exchange.body[cut:])
        assert shown(got) == shown(expected), cut


def shown(events: Iterable[ir.StreamEvent]) -> list[object]:
    """Events to be compared: errors are equal by their words."""
    return [str(event.error) if isinstance(event, ir.Failed) else event for event in events]


@pytest.mark.parametrize("exchange", chosen(streamed=True))
def test_a_stream_without_its_end_is_never_an_answer(exchange: Exchange) -> None:
    whole = events_in(exchange.wire, exchange.body)
    if not isinstance(whole[-1], ir.Finished):
        pytest.skip("this one has no end")
    last = len(exchange.body) - 1
    for cut in range(0, last, max(1, last // CUTS)):
        events = events_in(exchange.wire, exchange.body[:cut])
        ended = isinstance(events[-1], ir.Finished)
        assert isinstance(events[-1], ir.Finished | ir.Failed), cut
        assert not ended or said(answer_of(events)).text == said(answer_of(whole)).text, cut


@pytest.mark.parametrize("exchange", chosen(streamed=True))
def test_a_stream_keeps_the_rules_of_the_neutral_form(exchange: Exchange) -> None:
    events = events_in(exchange.wire, exchange.body)
    assert sum(isinstance(event, ir.Started) for event in events) <= 1
    assert sum(isinstance(event, ir.Finished | ir.Failed) for event in events) == 1
    assert isinstance(events[-1], ir.Finished | ir.Failed)
    parts_in_order(events)


def parts_in_order(events: Iterable[ir.StreamEvent]) -> None:
    """At most one part open per candidate, counted from 0, no empty delta."""
    opened: dict[int, int] = {}
    following: dict[int, int] = {}
    for event in events:
        if isinstance(event, ir.PartStart):
            assert event.candidate not in opened and event.index == following.get(event.candidate, 0)
            opened[event.candidate] = event.index
            following[event.candidate] = event.index + 1
        elif isinstance(event, ir.PartDelta):
            assert opened[event.candidate] == event.index and (event.text or event.signature or event.extras)
        elif isinstance(event, ir.PartEnd):
            assert opened.pop(event.candidate) == event.index
        elif isinstance(event, ir.Stopped):
            assert event.candidate not in opened


@pytest.mark.parametrize("exchange", chosen(streamed=True))
def test_a_relayed_stream_is_seen_as_the_converted_one_is(exchange: Exchange) -> None:
    scanner = WIRES[exchange.wire].Scanner()
    parser = SSEParser()
    scanner.feed([*parser.feed(exchange.body), *parser.close()])
    events = events_in(exchange.wire, exchange.body)
    last = events[-1]
    assert (scanner.outputs > 0) == any(map(ir.is_output, events))
    if isinstance(last, ir.Finished):
        usages = [event.usage for event in events if isinstance(event, ir.UsageSeen)]
        assert scanner.done and scanner.error is None and scanner.usage == (usages[-1] if usages else None)
    else:
        assert scanner.error is not None or not scanner.done


@pytest.mark.parametrize("exchange", chosen(streamed=False))
def test_a_relayed_answers_usage_is_that_of_the_converted_one(exchange: Exchange) -> None:
    answer = answer_in(exchange)
    assert WIRES[exchange.wire].usage_in(json.loads(exchange.body)) == answer.usage


# ----------------------------------------------------------------------------------------------------------------- requests


class Asked(NamedTuple):
    """What must survive of a request."""

    texts: tuple[str, ...]
    calls: tuple[tuple[str, str], ...]
    results: tuple[str, ...]
    pictures: int
    tools: frozenset[str]


def asked(request: ir.Request) -> Asked:
    parts = [part for message in request.messages for part in message.parts]
    spoken = [part.text for part in parts if isinstance(part, ir.Text) and part.text.strip()]
    calls = [called(part) for part in parts if isinstance(part, ir.ToolCall)]
    results = [texts(part.parts) for part in parts if isinstance(part, ir.ToolResult)]
    inside = [each for part in parts if isinstance(part, ir.ToolResult) for each in part.parts]
    pictures = sum(isinstance(part, ir.Media) and part.kind == "image" for part in parts + inside)
    only = request.tool_choice.names if request.tool_choice is not None else ()
    tools = frozenset(safe_name(tool.name) for tool in request.tools if tool.value is None and (not only or tool.name in only))
    return Asked(tuple(spoken), tuple(calls), tuple(results), pictures, tools)


@pytest.mark.parametrize("to", WIRES)
@pytest.mark.parametrize("exchange", chosen())
def test_a_request_asks_the_same_in_every_protocol(exchange: Exchange, to: str) -> None:
    if not exchange.request:
        pytest.skip("the request was not recorded")
    request = request_of(exchange)
    lost: list[str] = []
    body = WIRES[to].write_request(request, model="m", quirks={}, lost=lost)
    again = WIRES[to].read_request(json.loads(json.dumps(body)), model="m", stream=request.stream)
    got, expected = asked(again), asked(request)
    later = {safe_name(tool.name) for tool in request.tools if tool.deferred}  # placeholders, for their own vendor alone
    assert got.calls == expected.calls and got.tools - ANSWERING - later == expected.tools - later, lost
    joined = "\n".join([*got.texts, *got.results, *(part.text for part in again.system if isinstance(part, ir.Text))])
    for told in [*expected.texts, *expected.results, *(part.text for part in request.system if isinstance(part, ir.Text))]:
        assert told.strip() in joined or json.dumps(told)[1:-1] in joined, (told, lost)
    assert got.pictures == expected.pictures or lost, "a picture was lost in silence"
    assert request.response_format is None or again.response_format is not None or got.tools & ANSWERING or lost
    for name in ("temperature", "top_p", "max_tokens", "stop"):
        if getattr(request, name):
            assert getattr(again, name) == getattr(request, name) or lost, name


@pytest.mark.parametrize("model", ["gpt-5.5", "gpt-4o"])
@pytest.mark.parametrize("exchange", chosen())
def test_a_request_keeps_the_rules_of_the_responses_api(exchange: Exchange, model: str) -> None:
    if not exchange.request:
        pytest.skip("the request was not recorded")
    body = responses.write_request(request_of(exchange), model=model, quirks={}, lost=[])
    assert refusal_of(json.loads(json.dumps(body))) is None


# ----------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("to", WIRES)
@pytest.mark.parametrize("exchange", chosen(good=False))
def test_a_refusal_keeps_its_status_and_its_words(exchange: Exchange, to: str) -> None:
    error = WIRES[exchange.wire].read_error(exchange.status, exchange.headers, exchange.body)
    assert error.status == exchange.status and error.message
    status, _, body = WIRES[to].write_error(error, "r1")
    assert status == exchange.status
    again = WIRES[to].read_error(status, {}, json.dumps(body).encode())
    assert error.message in again.message
