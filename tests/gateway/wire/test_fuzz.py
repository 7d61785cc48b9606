"""The wires under damaged input: any JSON gives values or our own error, never another exception; any stream one end.

Damage is drawn from a seed, so that a failure comes back. More of it:

    LLM_ROUTER_FUZZ=20000 python3 -m pytest tests/gateway/wire/test_fuzz.py
"""

from __future__ import annotations

import copy
import json
import os
import random
from types import ModuleType
from typing import Any

import pytest

from llm_router_gateway.errors import BadRequest, GatewayError
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.completions import codec as completions
from llm_router_gateway.wire.envelope import pack_envelope
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.ollama import codec as ollama
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.sse import Event, SSEParser

ROUNDS = int(os.environ.get("LLM_ROUTER_FUZZ", "300"))  # per case; a second or two in all
WIRES: dict[str, ModuleType] = {"openai": openai, "anthropic": anthropic, "gemini": gemini, "responses": responses}
MODELS = {"openai": "gpt-5", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-3-pro", "responses": "gpt-5.5"}

# What takes the place of a value.
ODD: list[Any] = [None, True, False, 0, -1, 1.5, 10**30, "", "x", "\ud800", "data:", "data:;base64,!", [], {}, [None],
                  [[]], [5], ["x"], {"type": "x"}, {"text": 5}, [{}], {"": None},
                  {"type": None, "text": None, "name": []}]  # fmt: skip

PIXEL = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": ["string", "null"]}}}

REQUESTS: dict[str, dict[str, Any]] = {
    "openai": {
        "model": "m", "temperature": 0.5, "stop": ["a"], "n": 1, "max_tokens": 5, "metadata": {"a": "b"}, "user": "u",
        "stream_options": {"include_usage": True}, "reasoning": {"effort": "low"}, "thinking": {"type": "enabled"},
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "f"}},
                {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}}]},
            {"role": "assistant", "content": None, "reasoning_details": [{"type": "reasoning.text", "text": "t"}],
             "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"},
                 "extra_content": {"google": {"thought_signature": "c2ln"}}}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    },
    "anthropic": {
        "model": "m", "max_tokens": 5, "temperature": 0.5, "stop_sequences": ["a"], "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
                                              {"type": "redacted_thinking", "data": "d"},
                                              {"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [
                {"type": "text", "text": "1"}]}]}],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "w"}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                                       {"fileData": {"fileUri": "https://h/a", "mimeType": "image/png"}}]},
            {"role": "model", "parts": [{"text": "t", "thought": True},
                                        {"functionCall": {"name": "f", "args": {}, "id": "a"}, "thoughtSignature": "c2ln"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "id": "a", "response": {"output": 1}}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA},
                                            {"name": "g", "parametersJsonSchema": SCHEMA}]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"temperature": 0.5, "stopSequences": ["a"], "candidateCount": 1, "responseSchema": SCHEMA,
                             "responseMimeType": "application/json", "thinkingConfig": {"thinkingBudget": 5}},
        "safetySettings": [{"category": "c", "threshold": "t"}], "labels": {"a": "b"},
    },
    "responses": {
        "model": "m", "instructions": "s", "temperature": 0.5, "max_output_tokens": 50, "metadata": {"a": "b"}, "user": "u",
        "include": ["reasoning.encrypted_content", "web_search_call.results"], "truncation": "auto", "top_logprobs": 2,
        "reasoning": {"effort": "low", "summary": "auto", "context": "all_turns"}, "parallel_tool_calls": True,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
        "input": [
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
                {"type": "input_file", "file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "f"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "e"},
            {"type": "message", "role": "assistant", "id": "msg_1", "phase": "commentary", "content": [
                {"type": "output_text", "text": "b", "annotations": [{"type": "url_citation", "url": "u"}]},
                {"type": "refusal", "refusal": "r"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "a", "namespace": "ns", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "b", "name": "c", "input": "x"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "1"}]},
            {"type": "custom_tool_call_output", "call_id": "b", "output": "2"},
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "h"}]}],
        "tools": [
            {"type": "function", "name": "g", "description": "d", "parameters": SCHEMA, "strict": True},
            {"type": "namespace", "name": "ns", "description": "d", "tools": [{"type": "function", "name": "f"}]},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "web_search"}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
    },
}  # fmt: skip

# Spoken by callers alone.
INBOUND: dict[str, tuple[ModuleType, dict[str, Any]]] = {
    "completions": (completions, {
        "model": "m", "prompt": ["a"], "max_tokens": 5, "temperature": 0.5, "stop": ["a"], "n": 1, "best_of": 1, "suffix": None,
        "stream_options": {"include_usage": True}, "logit_bias": {"5": 1}, "user": "u"}),
    "ollama": (ollama, {
        "model": "m", "think": "low", "format": SCHEMA, "options": {"num_predict": 5, "stop": ["a"], "temperature": 0.5},
        "messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "a", "images": [PIXEL]},
            {"role": "assistant", "content": "", "thinking": "t", "tool_calls": [
                {"id": "x", "function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_name": "f", "content": "1"}, {"role": "tool", "content": "2"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}]}),
}  # fmt: skip

ANSWER = ir.Answer(
    "a1", "m",
    (ir.Candidate((ir.Thinking("t", "c2ln", "anthropic"), ir.Text("a"), ir.ToolCall("t1", "f", '{"a":1}', {"a": 1}),
                   ir.ToolCall("t2", "g", "{}", {}, vendor="gemini", signature="c2ln")), ir.Stop("tool_calls", "tool_use")),),
    ir.Usage(6, 4, 2, text=7, reasoning=5), 5,
)  # fmt: skip


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in pairs:
        found.append((value, key))
        places(inner, found)
    return found


def damaged(value: Any, rng: random.Random) -> Any:
    """A copy in which one to three things are replaced, left out, doubled or swapped."""
    made = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        container, key = rng.choice(places(made, []) or [({0: made}, 0)])
        deed = rng.randrange(4)
        if deed == 0 and isinstance(container, dict):
            del container[key]
        elif deed == 1 and isinstance(container, list):
            container.insert(key, container[key])
        elif deed == 2:
            other, place = rng.choice(places(made, []) or [(container, key)])
            container[key] = copy.deepcopy(other[place])
        elif isinstance(container, list) or key in container:
            container[key] = copy.deepcopy(rng.choice(ODD))
    return made


def caller(wire: str) -> ir.Request:
    request: ir.Request = WIRES[wire].read_request(REQUESTS[wire], model="m", stream=True)
    return request


@pytest.mark.parametrize("wire", WIRES)
def test_the_whole_request_is_read(wire: str) -> None:
    assert caller(wire).tools and caller(wire).messages


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_any_request_gives_a_value_or_names_what_is_wrong(wire: str) -> None:
    rng = random.Random(f"{wire} request")
    for _ in range(ROUNDS):
        body = damaged(REQUESTS[wire], rng)
        try:
            request = WIRES[wire].read_request(body, model="m", stream=False)
        except BadRequest as error:
            assert error.details.get("path"), error
            continue
        for other, module in WIRES.items():
            try:
                json.dumps(module.write_request(request, model=MODELS[other], quirks={}, lost=[]))
            except GatewayError:
                pass


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_any_answer_gives_a_value_or_an_error(wire: str) -> None:
    rng = random.Random(f"{wire} answer")
    whole = json.loads(json.dumps(WIRES[wire].write_answer(ANSWER, caller(wire), [])))
    for _ in range(ROUNDS):
        body = damaged(whole, rng)
        try:
            answer = WIRES[wire].read_answer(body)
        except GatewayError:
            continue
        WIRES[wire].usage_in(body)
        for other, module in WIRES.items():
            json.dumps(module.write_answer(answer, caller(other), []))


def stream_of(wire: str) -> list[Event]:
    """A stream as this wire has it."""
    writer = WIRES[wire].StreamWriter(caller(wire), lost=[])
    parser = SSEParser()
    return [*parser.feed(b"".join(map(writer.feed, ir.events_of(ANSWER)))), *parser.close()]


def damaged_stream(events: list[Event], rng: random.Random) -> list[Event]:
    """Events left out, doubled, moved; their data damaged, or no JSON any more."""
    made = [Event(each.event, each.data) for each in events]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(made))
        deed = rng.randrange(5)
        if deed == 0 and len(made) > 1:
            del made[at]
        elif deed == 1:
            made.insert(rng.randrange(len(made)), made[at])
        elif deed == 2:
            made[at] = Event(made[at].event, made[at].data[: rng.randrange(len(made[at].data) + 1)])
        elif made[at].data.startswith("{"):
            try:
                data = json.dumps(damaged(json.loads(made[at].data), rng))
            except ValueError:
                continue
            made[at] = Event(made[at].event, data)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_any_stream_has_one_end_and_can_be_written(wire: str) -> None:
    rng = random.Random(f"{wire} stream")
    whole = stream_of(wire)
    for _ in range(ROUNDS):
        events = damaged_stream(whole, rng)
        reader = WIRES[wire].StreamReader()
        found: list[ir.StreamEvent] = [out for each in events for out in reader.feed(each)]
        found += reader.close()
        ends = [event for event in found if isinstance(event, ir.Finished | ir.Failed)]
        assert len(ends) == 1 and found[-1] is ends[0]
        in_order(found)
        for other, module in WIRES.items():
            writer = module.StreamWriter(caller(other), lost=[])
            for event in found[:-1] if isinstance(found[-1], ir.Failed) else found:
                writer.feed(event)
        WIRES[wire].Scanner().feed(events)


def in_order(events: list[ir.StreamEvent]) -> None:
    """One part open at a time, a start before all."""
    opened: dict[int, int] = {}
    begun = False
    for event in events:
        begun = begun or isinstance(event, ir.Started | ir.Failed)
        assert begun
        if isinstance(event, ir.PartStart):
            assert event.candidate not in opened
            opened[event.candidate] = event.index
        elif isinstance(event, ir.PartDelta):
            assert opened[event.candidate] == event.index
        elif isinstance(event, ir.PartEnd):
            assert opened.pop(event.candidate) == event.index


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_any_refusal_is_read(wire: str) -> None:
    rng = random.Random(f"{wire} refusal")
    details = [{"@type": "t", "retryDelay": "5s"}]
    told: Any = {"error": {"message": "m", "type": "t", "code": 400, "status": "s", "details": details}}
    for _ in range(ROUNDS):
        body = json.dumps(damaged(told, rng)).encode()
        cut = body[: rng.randrange(len(body) + 1)]
        for data in (body, cut, bytes(rng.randrange(256) for _ in range(20))):
            error = WIRES[wire].read_error(rng.choice([400, 429, 500, 529]), {"retry-after": rng.choice(["5", "x"])}, data)
            assert isinstance(error, GatewayError) and error.message
            json.dumps(WIRES[wire].write_error(error, "r1")[2])
            WIRES[wire].error_event(error, "r1")


@pytest.mark.parametrize("wire", INBOUND)
def test_any_request_of_a_callers_protocol_gives_a_value_or_names_what_is_wrong(wire: str) -> None:
    rng = random.Random(f"{wire} request")
    module, whole = INBOUND[wire]
    assert module.read_request(whole).messages
    for _ in range(ROUNDS):
        try:
            request = module.read_request(damaged(whole, rng), model="m")
        except BadRequest as error:
            assert error.details.get("path"), error
            continue
        json.dumps(module.write_answer(ANSWER, request, []))
        writer = module.StreamWriter(request, lost=[])
        b"".join(map(writer.feed, ir.events_of(ANSWER)))
        for other, each in WIRES.items():
            try:
                json.dumps(each.write_request(request, model=MODELS[other], quirks={}, lost=[]))
            except GatewayError:
                pass


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["anthropic", "gemini"])
def test_other_vendors_thoughts_are_taken_out_of_any_body(wire: str) -> None:
    """What `remove_foreign` is given was not read before: any JSON."""
    rng = random.Random(f"{wire} relay")
    envelope = pack_envelope("openai", "s", "d")
    told = json.dumps(REQUESTS[wire])
    for signed in ('"signature": "s"', '"redacted_thinking", "data": "d"', '"thoughtSignature": "c2ln"'):
        told = told.replace(signed, f'{signed.rpartition(": ")[0]}: "{envelope}"')
    whole = json.loads(told)
    assert envelope in json.dumps(whole) and envelope not in json.dumps(WIRES[wire].remove_foreign(whole, []))
    for _ in range(ROUNDS):
        json.dumps(WIRES[wire].remove_foreign(damaged(whole, rng), []))
