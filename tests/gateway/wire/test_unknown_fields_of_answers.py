"""A field of an upstream's answer that the gateway does not know reaches the caller or is named as lost, whole or streamed.

Looked into are answers, choices, messages, their parts, calls and items, single citations, counts of tokens, and in a stream
the events around what is said; not what an answer repeats of its request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from collected import answer_of
from rich_answers import ANSWERS, STREAMS, sse
from rich_requests import objects_in, steps, with_field

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.citations import QUOTING
from llm_router_gateway.wire.registry import UPSTREAMS, wire
from llm_router_gateway.wire.sse import Event, SSEParser

UNKNOWN = "zzunknown"
CALLERS = ("openai", "anthropic", "gemini", "responses", "ollama", "completions")
DIRECTIONS = [(one, other) for one in ANSWERS for other in CALLERS if one != other]
REQUEST = ir.Request("m", (ir.Message("user", (ir.Text("hi"),)),), include_usage=True, reasoning=ir.Reasoning("on", shown=True))
# Named as a whole where it has no place: the field or type of an object.
WHOLE = frozenset({
    "annotations", "audio", "caller", "citationMetadata", "citations", "code_interpreter_call", "container",
    "context_management", "groundingMetadata", "image", "logprobs", "logprobsResult", "promptFeedback", "safetyRatings",
    "server_tool_use", "web_fetch_tool_result",
})  # fmt: skip


def write_whole(protocol: str, body: dict[str, Any], caller: str, lost: list[str]) -> str:
    return json.dumps(wire(caller).write_answer(wire(protocol).read_answer(body), REQUEST, lost))


def read_stream(protocol: str, said: list[dict[str, Any]]) -> list[ir.StreamEvent]:
    reader = wire(protocol).StreamReader()
    events = [event for each in SSEParser().feed(sse(protocol, said)) for event in reader.feed(each)]
    events += reader.close()
    assert isinstance(events[-1], ir.Finished), events[-1]
    return events


def write_stream(protocol: str, body: dict[str, Any], caller: str, lost: list[str]) -> str:
    writer = wire(caller).StreamWriter(REQUEST, lost=lost)
    return b"".join(map(writer.feed, read_stream(protocol, body["events"]))).decode()


def wholes_along(body: dict[str, Any], path: str) -> set[str]:
    """What an object and those around it would be called as a whole."""
    place: Any = body
    found: set[str] = set()
    for step in steps(path):
        place = place[step]
        found |= {str(step)} | ({str(place.get("type"))} if isinstance(place, dict) else set())
    return (found & WHOLE) | ({"citations"} if found & QUOTING else set())  # as they are called where there is no place for any


def silent_losses(
    write: Callable[[str, dict[str, Any], str, list[str]], str], protocol: str, body: dict[str, Any], caller: str
) -> list[str]:
    """The objects of an answer in which an unknown field would be lost without a word."""
    found = []
    for path in objects_in(protocol, body):
        lost: list[str] = []
        out = write(protocol, with_field(body, path, UNKNOWN, 1), caller, lost)
        assert f'.{UNKNOWN}"' not in out, "a path went out as a field"
        words = {word for name in lost for word in re.split(r"[.=\[\]]", name)}
        if UNKNOWN not in out and UNKNOWN not in words and words.isdisjoint(wholes_along(body, path)):
            found.append(path)
    return found


def test_the_answers_are_those_of_every_upstream() -> None:
    assert set(ANSWERS) == set(STREAMS) == set(UPSTREAMS)


@pytest.mark.parametrize(("protocol", "caller"), DIRECTIONS)
def test_an_unknown_field_of_any_object_of_an_answer_reaches_the_caller_or_is_named(protocol: str, caller: str) -> None:
    for body in ANSWERS[protocol]:
        assert silent_losses(write_whole, protocol, body, caller) == []


@pytest.mark.parametrize(("protocol", "caller"), DIRECTIONS)
def test_an_unknown_field_of_any_object_of_a_stream_reaches_the_caller_or_is_named(protocol: str, caller: str) -> None:
    body = {"events": STREAMS[protocol]}
    assert "" in objects_in(protocol, body)
    inner = [path for path in silent_losses(write_stream, protocol, body, caller) if path]
    assert inner == []


@pytest.mark.parametrize("caller", CALLERS[2:])
def test_a_call_that_the_model_made_itself_is_as_usual_and_its_caller_not_named(caller: str) -> None:
    lost: list[str] = []
    write_whole("anthropic", ANSWERS["anthropic"][0], caller, lost)
    assert "caller" not in lost


PIECE = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}}


@pytest.mark.parametrize("event", [
    {**PIECE, "delta": {"type": "zzunknown", "words": "Hi"}}, {"type": "zzunknown"}, {**PIECE, "zzunknown": 1},
    {**PIECE, "delta": {**PIECE["delta"], "zzunknown": 1}}, {**PIECE, "delta": {"type": "thinking_delta", "zzunknown": 1}},
    {"type": "content_block_delta", "delta": PIECE["delta"], "zzunknown": 1},
])  # fmt: skip
@pytest.mark.parametrize("names_type", [True, False])
def test_an_unknown_event_or_delta_or_a_field_of_one_of_anthropics_is_named(event: dict[str, Any], names_type: bool) -> None:
    """The type may stand in the event's name alone."""
    events, lost = list(STREAMS["anthropic"]), list[str]()
    reader, writer = wire("anthropic").StreamReader(), wire("openai").StreamWriter(REQUEST, lost=lost)
    for each in [*events[:2], event, *events[2:]]:
        stated = {name: value for name, value in each.items() if name != "type" or each is not event or names_type}
        for found in reader.feed(Event(each["type"], json.dumps(stated))):
            writer.feed(found)
    assert "zzunknown" in " ".join(lost) and "ping" not in lost


@pytest.mark.parametrize(("event", "name"), [
    ({"type": "response.audio.delta", "delta": "AAAA"}, "response.audio.delta"),
    ({"type": "response.zzunknown.done", "text": "Hi"}, "response.zzunknown.done"),
    ({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "", "zzunknown": 1}, "zzunknown"),
    ({"type": "response.web_search_call.searching", "item_id": "ws_1", "zzunknown": 1}, "zzunknown"),
    ({"type": "response.content_part.done", "item_id": "msg_1", "part": {"type": "output_text", "zzunknown": 1}},
     "part.zzunknown"),
])  # fmt: skip
def test_an_unknown_event_or_a_field_of_one_of_responses_is_named(event: dict[str, Any], name: str) -> None:
    events, lost = list(STREAMS["responses"]), list[str]()
    write_stream("responses", {"events": [*events[:2], event, *events[2:]]}, "openai", lost)
    assert name in lost


@pytest.mark.parametrize("event", [
    {"type": "keepalive", "sequence_number": 1}, {"type": "response.mcp_list_tools.in_progress", "item_id": "m"},
    {"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA", "partial_image_index": 0},
    {"type": "response.refusal.delta", "item_id": "msg_1", "delta": "No"},
])  # fmt: skip
def test_events_of_responses_whose_content_comes_again_are_not_named(event: dict[str, Any]) -> None:
    events, lost, usual = list(STREAMS["responses"]), list[str](), list[str]()
    write_stream("responses", {"events": [*events[:2], event, *events[2:]]}, "openai", lost)
    write_stream("responses", {"events": events}, "openai", usual)
    assert lost == usual


def test_the_same_unknown_field_of_every_piece_is_named_once() -> None:
    events = list(STREAMS["anthropic"])
    pieces = [{**PIECE, "zzunknown": at} for at in range(50)]
    lost: list[str] = []
    write_stream("anthropic", {"events": [*events[:2], *pieces, *events[2:]]}, "openai", lost)
    assert lost.count("zzunknown") == 1


def test_citations_in_the_beginning_of_a_text_reach_the_caller() -> None:
    page = {"type": "web_search_result_location", "url": "https://h.example", "title": "T", "encrypted_index": "e"}
    begun = {"type": "content_block_start", "index": 9, "content_block": {"type": "text", "text": "Hi", "citations": [page]}}
    events = list(STREAMS["anthropic"])
    bare = [event for event in events if "citations" not in event.get("content_block", {})]
    out = write_stream("anthropic", {"events": [bare[0], begun, *bare[-2:]]}, "openai", [])
    assert '"url":"https://h.example","title":"T","start_index":0,"end_index":2' in out


def test_a_stream_that_becomes_a_whole_answer_has_each_citation_once() -> None:
    pages = [{"type": "web_search_result_location", "url": f"https://h.example/{at}"} for at in range(3)]
    begun = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}}
    deltas = [{"type": "citations_delta", "citation": page} for page in pages]
    cited = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    said = read_stream("anthropic", [STREAMS["anthropic"][0], begun, *cited, *STREAMS["anthropic"][-2:]])
    assert answer_of(said).candidates[0].parts == (ir.Text("Hi", extras={"anthropic": {"citations": pages}}),)


def test_a_quotation_of_a_file_which_chat_completions_do_not_have_is_named() -> None:
    lost: list[str] = []
    body = with_field(
        ANSWERS["responses"][0], "output[1].content[0]", "annotations", [{"type": "file_citation", "file_id": "f"}]
    )
    write_whole("responses", body, "openai", lost)
    assert lost.count("annotations=file_citation") == 1
