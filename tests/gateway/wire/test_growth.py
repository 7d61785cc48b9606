"""What a request may hold many of costs what it holds: twice as much of it takes about twice as long."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from quick import every

from llm_router_gateway.wire.registry import wire

Body = dict[str, Any]
FEW, TIMES = 500, 8  # items of the smaller body, and how many times as many the larger one has
WORST = TIMES * TIMES / 2  # of the larger one's time: half of what a quadratic way would take


def tool_messages(count: int) -> Body:
    calls = [{"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for at in range(count)]
    results = [{"role": "tool", "tool_call_id": f"c{at}", "content": "1"} for at in reversed(range(count))]
    return {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "tool_calls": calls}, *results]}


def without_ids(count: int) -> Body:
    body = tool_messages(count)
    for call in body["messages"][1]["tool_calls"]:
        del call["id"]
    for message in body["messages"][2:]:
        del message["tool_call_id"]
    return body


def unanswered(count: int) -> Body:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {"messages": [{"role": "assistant", "tool_calls": [call]} for _ in range(count)]}


def gemini_calls(count: int) -> Body:
    calls = [{"functionCall": {"name": f"f{at}", "args": {}}} for at in range(count)]
    results = [{"functionResponse": {"name": f"f{at}", "response": {}}} for at in reversed(range(count))]
    return {"contents": [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]}


def chunks_of_gemini(count: int) -> Body:
    return {"contents": [{"role": "model", "parts": [{"text": "word " * 10}]} for _ in range(count)]}


def responses_items(count: int) -> Body:
    calls = [{"type": "function_call", "call_id": f"c{at}", "name": "f", "arguments": "{}"} for at in range(count)]
    results = [{"type": "function_call_output", "call_id": f"c{at}", "output": "1"} for at in reversed(range(count))]
    return {"input": [*calls, *results]}


def many_tools(count: int) -> Body:
    tools = [{"type": "function", "name": f"f{at}", "parameters": {"type": "object"}} for at in range(count)]
    return {"input": "hi", "tools": tools}


def chosen_tools(count: int) -> Body:
    declared = [{"name": f"f{at}"} for at in range(count)]
    config = {"mode": "AUTO", "allowedFunctionNames": [f"f{at}" for at in range(count)]}
    return {"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"functionDeclarations": declared}],
            "toolConfig": {"functionCallingConfig": config}}  # fmt: skip


def system_messages(count: int) -> Body:
    return {"messages": [*({"role": "system", "content": "s"} for _ in range(count)), {"role": "user", "content": "u"}]}


def additions(count: int) -> Body:
    added = [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": f"f{at}"}} for at in range(count)]
    return {"messages": [{"role": "user", "content": "u"}, {"role": "system", "content": added}]}


def unknown_fields(count: int) -> Body:
    return {"messages": [{"role": "user", "content": "u"}], **{f"x{at}": 1 for at in range(count)}}


def unknown_in_systems(count: int) -> Body:
    systems = [{"role": "system", "content": "s", f"x{at}": 1} for at in range(count)]
    return {"messages": [*systems, {"role": "user", "content": "u"}]}


def unknown_in_calls(count: int) -> Body:
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": "{}", f"x{at}": 1}} for at in range(count)
    ]
    turns = [{"role": "assistant", "tool_calls": [call]} for call in calls]
    return {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "tool_calls": calls}, *turns]}


def unknown_in_one_object(count: int) -> Body:
    picture = {"url": "https://h.example/a.png", **{f"x{at}": 1 for at in range(count)}}
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": picture}]}]}


def unknown_in_chunks(count: int) -> Body:
    return {"contents": [{"role": "model", f"y{at}": 1, "parts": [{"text": "word", f"x{at}": 1}]} for at in range(count)]}


CASES: list[tuple[str, Callable[[int], Body], str]] = [
    ("openai", tool_messages, "anthropic"), ("openai", tool_messages, "gemini"), ("openai", without_ids, "anthropic"),
    ("openai", unanswered, "anthropic"), ("openai", unknown_fields, "anthropic"), ("gemini", gemini_calls, "openai"),
    ("gemini", chunks_of_gemini, "openai"), ("gemini", chosen_tools, "anthropic"), ("gemini", chosen_tools, "openai"),
    ("responses", responses_items, "anthropic"), ("responses", many_tools, "gemini"), ("anthropic", system_messages, "openai"),
    ("anthropic", additions, "openai"), ("anthropic", unknown_fields, "gemini"), ("openai", unknown_in_systems, "anthropic"),
    ("openai", unknown_in_calls, "gemini"), ("openai", unknown_in_one_object, "responses"),
    ("gemini", unknown_in_chunks, "openai"),
]  # fmt: skip


def seconds(protocol: str, body: Body, api: str) -> float:
    """CPU of one conversion, the best of three; without the garbage collector, whose time depends on all other tests."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(3):
            began = time.process_time()
            request = wire(protocol).read_request(body, model="m", stream=None)
            wire(api).write_request(request, model="m", quirks={}, lost=[])
            best = min(best, time.process_time() - began)
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize(("protocol", "body", "api"), every(4, CASES))
def test_the_time_grows_with_the_body_and_not_with_its_square(protocol: str, body: Callable[[int], Body], api: str) -> None:
    few = max(0.003, seconds(protocol, body(FEW), api))  # a floor: below it the clock tells nothing
    assert seconds(protocol, body(FEW * TIMES), api) < WORST * few
