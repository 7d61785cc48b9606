"""What the tests of Responses share: callers, answers, what a stream of bytes says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.responses.seal import Seal
from llm_router_gateway.wire.sse import SSEParser

SEAL = Seal(b"0123456789abcdef0123456789abcdef", "key-1")


def read(input: Any = "hi", *, seal: Seal | None = SEAL, **fields: Any) -> ir.Request:
    return responses.read_request({"model": "m", "input": input, **fields}, seal=seal, reply_id="resp_abc")


def written(request: ir.Request, model: str = "m", **quirks: Any) -> tuple[dict[str, Any], list[str]]:
    """(the body for an upstream, what was lost)"""
    lost: list[str] = []
    body = responses.write_request(request, model=model, quirks=quirks, lost=lost)
    return json.loads(json.dumps(body)), lost


def answer(*parts: ir.Part, reason: ir.Reason = "end", usage: ir.Usage | None = None, **fields: Any) -> ir.Answer:
    return ir.Answer("up-1", "m-1", (ir.Candidate(parts, ir.Stop(reason), **fields),), usage, 1_700_000_000)


def output_of(given: ir.Answer, request: ir.Request | None = None, lost: list[str] | None = None) -> list[dict[str, Any]]:
    """The output items of the body for a caller."""
    body = responses.write_answer(given, request or read(), lost if lost is not None else [])
    output: list[dict[str, Any]] = json.loads(json.dumps(body))["output"]
    return output


def events_in(data: bytes) -> list[dict[str, Any]]:
    """The data of each event of a stream; its name is its type."""
    parser = SSEParser()
    found = [*parser.feed(data), *parser.close()]
    made = [json.loads(event.data) for event in found]
    assert [event.event for event in found] == [each["type"] for each in made]
    return made


def streamed(
    given: ir.Answer | Iterable[ir.StreamEvent], request: ir.Request | None = None, lost: list[str] | None = None
) -> bytes:
    events = ir.events_of(given) if isinstance(given, ir.Answer) else given
    writer = responses.StreamWriter(request or read(), lost=lost if lost is not None else [])
    return b"".join(map(writer.feed, events))


def told_by(*pieces: bytes) -> list[ir.StreamEvent]:
    """What an upstream's stream says, up to its close."""
    parser, reader = SSEParser(), responses.StreamReader()
    events = [out for piece in pieces for each in parser.feed(piece) for out in reader.feed(each)]
    events += [out for each in parser.close() for out in reader.feed(each)]
    return events + list(reader.close())


def sse(*events: Mapping[str, Any]) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)
