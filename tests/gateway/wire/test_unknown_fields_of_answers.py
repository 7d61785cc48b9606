"""A field of an upstream's answer that the gateway does not know reaches the caller or is named as lost, whole or streamed.

Looked into are answers, choices, messages, their parts, calls and items. Not looked into, and not named, are what counts tokens
(a caller gets the counts in its own classes), single citations (their pages, titles and places are converted), what an answer
repeats of its request, and in a stream what frames a piece: the fields of the event around it. An item or a block that comes
whole in an event is looked into.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich_answers import ANSWERS, STREAMS, is_apart, sse
from rich_requests import objects_in, steps, with_field

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.registry import UPSTREAMS, wire
from llm_router_gateway.wire.sse import SSEParser

UNKNOWN = "zzunknown"
CALLERS = ("openai", "anthropic", "gemini", "responses", "ollama", "completions")
DIRECTIONS = [(one, other) for one in ANSWERS for other in CALLERS if one != other]
REQUEST = ir.Request("m", (ir.Message("user", (ir.Text("hi"),)),), reasoning=ir.Reasoning("on", shown=True))
# Named as a whole where it has no place: the field or type of an object.
WHOLE = frozenset({
    "annotations", "audio", "caller", "citationMetadata", "citations", "code_interpreter_call", "container",
    "context_management", "image", "logprobs", "logprobsResult", "promptFeedback", "safetyRatings", "server_tool_use",
    "web_fetch_tool_result",
})  # fmt: skip
# What frames a piece in a stream: an event, and a delta of Anthropic's.
FRAMES = {"anthropic": re.compile(r"events\[\d+\](\.delta)?"), "responses": re.compile(r"events\[\d+\]")}
LAST_DELTA = "stop_reason"  # that of message_delta says more than a piece


def write_whole(protocol: str, body: dict[str, Any], caller: str, lost: list[str]) -> str:
    return json.dumps(wire(caller).write_answer(wire(protocol).read_answer(body), REQUEST, lost))


def write_stream(protocol: str, body: dict[str, Any], caller: str, lost: list[str]) -> str:
    reader, writer = wire(protocol).StreamReader(), wire(caller).StreamWriter(REQUEST, lost=lost)
    events = [event for each in SSEParser().feed(sse(protocol, body["events"])) for event in reader.feed(each)]
    events += reader.close()
    assert isinstance(events[-1], ir.Finished), events[-1]
    return b"".join(writer.feed(event) for event in events).decode()


def wholes_along(body: dict[str, Any], path: str) -> set[str]:
    """What an object and those around it would be called as a whole."""
    place: Any = body
    found: set[str] = set()
    for step in steps(path):
        place = place[step]
        found |= {str(step)} | ({str(place.get("type"))} if isinstance(place, dict) else set())
    return found & WHOLE


def is_frame(protocol: str, body: dict[str, Any], path: str) -> bool:
    if protocol not in FRAMES or not FRAMES[protocol].fullmatch(path):
        return False
    return "delta" not in path or LAST_DELTA not in body["events"][int(str(steps(path)[1]))]["delta"]


def silent_losses(
    write: Callable[[str, dict[str, Any], str, list[str]], str], protocol: str, body: dict[str, Any], caller: str
) -> list[str]:
    """The objects of an answer in which an unknown field would be lost without a word."""
    found = []
    for path in objects_in(protocol, body):
        if is_apart(path) or is_frame(protocol, body, path):
            continue
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


@pytest.mark.parametrize("event", [
    {"type": "content_block_delta", "index": 0, "delta": {"type": "zzunknown", "words": "Hi"}}, {"type": "zzunknown"},
])  # fmt: skip
def test_an_unknown_event_or_delta_of_anthropics_is_named(event: dict[str, Any]) -> None:
    events, lost = list(STREAMS["anthropic"]), list[str]()
    write_stream("anthropic", {"events": [*events[:2], event, *events[2:]]}, "openai", lost)
    assert "zzunknown" in lost and "ping" not in lost


def test_a_quotation_of_a_file_which_chat_completions_do_not_have_is_named() -> None:
    lost: list[str] = []
    body = with_field(
        ANSWERS["responses"][0], "output[1].content[0]", "annotations", [{"type": "file_citation", "file_id": "f"}]
    )
    write_whole("responses", body, "openai", lost)
    assert lost.count("annotations=file_citation") == 1
