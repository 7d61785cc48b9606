"""wire/openai: requests, answers, errors and streams, read and written.

The tests under "golden" are the table of known conversion faults that touch this protocol, one test or a small family
each, numbered by row. Rows that are not here:

    3, 24 (call_id)  OpenAI Responses is not built yet         19, 21, 22, 37, 40 (Claude's), 47  the other wires' tests
    9, 16            streaming and server: test_streaming      48, 49  test_embeddings, test_estimate      50  policy
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from collected import answer_of

from llm_router_gateway.errors import BadRequest, GatewayError, RateLimited, StreamCut, UpstreamFailed, of_status
from llm_router_gateway.wire import chat_parts, ir
from llm_router_gateway.wire.names import unpack_id
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.openai import common
from llm_router_gateway.wire.registry import SPECS
from llm_router_gateway.wire.sse import Event, SSEParser

USER: dict[str, Any] = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
PIXEL = "iVBORw0KGgo="


def read(*messages: dict[str, Any], **fields: Any) -> ir.Request:
    return openai.read_request({"model": "m", "messages": list(messages) or [USER], **fields})


def asking(*parts: ir.Part, **fields: Any) -> ir.Request:
    return ir.Request("m", (ir.Message("user", parts or (ir.Text("hi"),)),), **fields)


def talking(*messages: ir.Message, **fields: Any) -> ir.Request:
    return ir.Request("m", messages, **fields)


def write(request: ir.Request, lost: list[str] | None = None, model: str = "gpt-4o", **quirks: Any) -> dict[str, Any]:
    return openai.write_request(request, model=model, quirks=quirks, lost=lost if lost is not None else [])


def user(*parts: ir.Part) -> ir.Message:
    return ir.Message("user", parts)


def assistant(*parts: ir.Part) -> ir.Message:
    return ir.Message("assistant", parts)


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> str:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    return json.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "gpt", "choices": choices, **more})


def streamed(*data: str, close: bool = True) -> list[ir.StreamEvent]:
    reader = openai.StreamReader()
    events = [out for each in data for out in reader.feed(Event("message", each))]
    return events + (reader.close() if close else [])


def collected(*data: str) -> ir.Answer:
    return answer_of(streamed(*data))


def calls_in(answer: ir.Answer) -> list[tuple[str, str, object]]:
    parts = answer.candidates[0].parts
    return [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ir.ToolCall)]


def call_delta(index: int | None, arguments: str, name: str | None = None, id_: str | None = None) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": arguments} | ({"name": name} if name else {})
    made: dict[str, Any] = {"function": function} | ({"index": index} if index is not None else {})
    return {"tool_calls": [made | ({"id": id_, "type": "function"} if id_ is not None else {})]}


def written(events: Iterable[ir.StreamEvent], request: ir.Request | None = None, lost: list[str] | None = None) -> list[Any]:
    """The chunks that a caller gets; "[DONE]" as it is."""
    writer = openai.StreamWriter(request or read(stream=True), lost=lost)
    data = b"".join(map(writer.feed, events))
    found = SSEParser().feed(data)
    return [each.data if each.data == "[DONE]" else json.loads(each.data) for each in found]


def deltas(chunks: Iterable[Any]) -> list[dict[str, Any]]:
    return [each["choices"][0]["delta"] for each in chunks if each != "[DONE]" and each["choices"]]


def answer_with(*parts: ir.Part, stop: ir.Stop | None = None, **fields: Any) -> ir.Answer:
    return ir.Answer("a1", "up", (ir.Candidate(parts, stop or ir.Stop("end", "end_turn")),), **fields)


def message_of(answer: ir.Answer, request: ir.Request | None = None, lost: list[str] | None = None) -> dict[str, Any]:
    body = openai.write_answer(answer, request or read(), lost if lost is not None else [])
    found: dict[str, Any] = body["choices"][0]["message"]
    return found


DONE = "[DONE]"

# --------------------------------------------------------------------------------------------------------------- requests


def test_every_field_of_a_request_is_read() -> None:
    request = read(
        temperature=0.5, top_p=0.9, top_k=5, n=2, seed=7, stop=["a", "b"], max_tokens=9, presence_penalty=0.1,
        frequency_penalty=0.2, logprobs=True, top_logprobs=3, user="u", metadata={"k": "v"}, service_tier="flex",
        prompt_cache_key="ck", parallel_tool_calls=False, stream=True, stream_options={"include_usage": True},
        reasoning_effort="low", logit_bias={"5": 1}, store=True, tools=[TOOL], tool_choice="required",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    )  # fmt: skip
    assert request == ir.Request(
        "m", (user(ir.Text("hi")),), tools=(ir.Tool("f", "d", SCHEMA),), tool_choice=ir.ToolChoice("required"),
        parallel_tool_calls=False, stream=True, include_usage=True, max_tokens=9, temperature=0.5, top_p=0.9, top_k=5,
        presence_penalty=0.1, frequency_penalty=0.2, seed=7, logprobs=True, top_logprobs=3, stop=("a", "b"), n=2,
        reasoning=ir.Reasoning("", effort="low"), response_format=ir.ResponseFormat("schema", SCHEMA, "n", "", True),
        user="u", metadata={"k": "v"}, service_tier="flex", cache_key="ck",
        extras={"openai": {"logit_bias": {"5": 1}, "store": True}},
    )  # fmt: skip


def test_what_was_read_is_written_as_it_was() -> None:
    body = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "see"},
                                         {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]},
            {"role": "assistant", "content": "calling", "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
            {"role": "tool", "tool_call_id": "t1", "content": "42"},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": True,
        "temperature": 0.5, "max_tokens": 9, "stop": ["###"], "logit_bias": {"5": 1}, "seed": 3, "n": 2,
    }  # fmt: skip
    lost: list[str] = []
    assert write(openai.read_request(body), lost) == body
    assert lost == []


def test_an_empty_object_that_switches_a_search_on_is_kept_and_other_empties_are_not() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "web_search_options": {}}
    request = openai.read_request({**body, "prediction": {}, "modalities": []})
    assert write(request) == body and request.extras == {}
    assert openai.read_request({**body, "web_search_options": None}).tools == ()
    with pytest.raises(BadRequest, match="web_search_options"):
        openai.read_request({**body, "web_search_options": True})


def test_the_requested_name_and_stream_win_over_the_body() -> None:
    request = openai.read_request({"model": "x", "messages": [USER], "stream": True}, model="y", stream=False)
    assert (request.model, request.stream) == ("y", False)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "bot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 1.5}, "n"),
        ({"stop": 5}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_wrong_request_is_refused_with_the_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        openai.read_request({"model": "m", "messages": [USER], **fields})
    assert caught.value.details["path"] == path


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
         ir.Text("a", cache_control={"type": "ephemeral"})),
        ({"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}},
         ir.Media("image", url="https://h/a.png", detail="low")),
        ({"type": "image_url", "image_url": f"data:image/PNG;base64,{PIXEL}"}, ir.Media("image", "image/png", PIXEL)),
        ({"type": "image_url", "image_url": {"url": "data:,a%20b"}}, ir.Media("image", "text/plain", "YSBi")),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}, ir.Media("audio", "audio/mpeg", "AA==")),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
         ir.Media("document", "application/pdf", "AA==", name="a.pdf")),
        ({"type": "file", "file": {"file_id": "file-1"}}, ir.Media("document", file_id="file-1", vendor="openai")),
        ({"type": "video_url", "video_url": {"url": "https://h/v"}}, ir.Media("video", url="https://h/v")),
        ({"type": "refusal", "refusal": "No."}, ir.Refusal("No.")),
        ({"type": "new_thing", "x": 1}, ir.Opaque("openai", "new_thing", {"type": "new_thing", "x": 1})),
    ],
)  # fmt: skip
def test_parts_are_read(part: dict[str, Any], expected: ir.Part) -> None:
    request = read({"role": "user", "content": [part]})
    assert request.messages[0].parts == (expected,)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": None}, ()),
        ({"content": ""}, ()),
        ({"content": "a", "reasoning_content": "Hm"}, (ir.Thinking("Hm"), ir.Text("a"))),
        ({"content": "a", "reasoning": "Hm"}, (ir.Thinking("Hm"), ir.Text("a"))),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "a"}]},
         (ir.Thinking("Hm"), ir.Text("a"))),
        ({"content": "a", "reasoning": "Hm", "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"}]},
         (ir.Thinking("Hm", "s", "anthropic"), ir.Text("a"))),
        ({"content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}]},
         (ir.Thinking("Hm", "s", "anthropic"), ir.Text("a"))),
        ({"content": None, "refusal": "No."}, (ir.Refusal("No."),)),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "one call"),
    ],
)  # fmt: skip
def test_what_an_assistant_said_is_read(message: dict[str, Any], expected: object) -> None:
    parts = read(USER, {"role": "assistant", **message}).messages[1].parts
    if expected == "one call":
        (part,) = parts
        assert isinstance(part, ir.ToolCall) and part.id and part.name == "f"
    else:
        assert parts == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("auto", ir.ToolChoice("auto")),
        ("none", ir.ToolChoice("none")),
        ("any", ir.ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ir.ToolChoice("required", ("f",))),
        ({"type": "custom", "custom": {"name": "f"}}, ir.ToolChoice("required", ("f",))),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}}, ir.ToolChoice("auto", ("f",))),
    ],
)
def test_tool_choice_is_read(value: Any, expected: ir.ToolChoice) -> None:
    assert read(tools=[TOOL], tool_choice=value).tool_choice == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "high"}, ir.Reasoning("", effort="high")),
        ({"reasoning": {"effort": "low"}}, ir.Reasoning("", effort="low")),
        ({"reasoning": {"max_tokens": 9, "exclude": True}}, ir.Reasoning("on", 9, shown=False)),
        ({"reasoning": {"enabled": False}}, ir.Reasoning("off")),
        ({"thinking": {"type": "disabled"}}, ir.Reasoning("off")),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, ir.Reasoning("on", 9)),
        ({"enable_thinking": True, "thinking_budget": 9}, ir.Reasoning("on", 9)),
        ({}, None),
    ],
)
def test_every_way_to_ask_for_thought_is_read(fields: dict[str, Any], expected: ir.Reasoning | None) -> None:
    assert read(**fields).reasoning == expected


@pytest.mark.parametrize(
    ("asked", "model", "quirks", "expected", "lost"),
    [
        (ir.Reasoning("", effort="high"), "gpt-5", {}, {"reasoning_effort": "high"}, []),
        (ir.Reasoning("on", 2_000), "o3", {}, {"reasoning_effort": "low"}, []),
        (ir.Reasoning("on", 10_000), "gpt-5.2", {}, {"reasoning_effort": "medium"}, []),
        (ir.Reasoning("on", 31_999), "openai/gpt-oss-120b", {}, {"reasoning_effort": "high"}, []),
        (ir.Reasoning("adaptive", effort="max"), "gpt-5.2", {}, {"reasoning_effort": "xhigh"}, ["reasoning.effort=max"]),
        (ir.Reasoning("adaptive", effort="xhigh"), "o3", {}, {"reasoning_effort": "high"}, ["reasoning.effort=xhigh"]),
        (ir.Reasoning("", effort="minimal"), "gpt-5.1", {}, {"reasoning_effort": "low"}, ["reasoning.effort=minimal"]),
        (ir.Reasoning("", effort="low"), "gpt-5-pro", {}, {"reasoning_effort": "high"}, ["reasoning.effort=low"]),
        (ir.Reasoning("", effort="high"), "gpt-5-chat-latest", {}, {"reasoning_effort": "medium"}, ["reasoning.effort=high"]),
        (ir.Reasoning("adaptive"), "gpt-5", {}, {}, []),
        (ir.Reasoning("off"), "gpt-5.1", {}, {"reasoning_effort": "none"}, []),
        (ir.Reasoning("off"), "gpt-5", {}, {"reasoning_effort": "minimal"}, ["reasoning=off"]),
        (ir.Reasoning("off"), "gpt-4o", {}, {}, []),
        (ir.Reasoning("on", 10_000), "gpt-4o", {}, {}, ["reasoning"]),
        (ir.Reasoning("on", 9), "m", {"reasoning": "openrouter"}, {"reasoning": {"max_tokens": 9}}, []),
        (ir.Reasoning("off"), "m", {"reasoning": "openrouter"}, {"reasoning": {"effort": "none"}}, []),
        (ir.Reasoning("", effort="low", shown=True), "m", {"reasoning": "openrouter"},
         {"reasoning": {"effort": "low", "exclude": False}}, []),
        (ir.Reasoning("on"), "m", {"reasoning": "thinking"}, {"thinking": {"type": "enabled"}}, []),
        (ir.Reasoning("off"), "m", {"reasoning": "thinking"}, {"thinking": {"type": "disabled"}}, []),
        (ir.Reasoning("on", 9), "m", {"reasoning": "enable_thinking"}, {"enable_thinking": True, "thinking_budget": 9}, []),
        (ir.Reasoning("on", 9), "o3", {"reasoning": "none"}, {}, ["reasoning"]),
    ],
)  # fmt: skip
def test_thought_is_requested_as_the_model_knows_it(
    asked: ir.Reasoning, model: str, quirks: dict[str, Any], expected: dict[str, Any], lost: list[str]
) -> None:
    named: list[str] = []
    body = write(asking(reasoning=asked), named, model, **quirks)
    asked_for = ("reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget")
    assert {name: body[name] for name in asked_for if name in body} == expected
    assert named == lost


def test_the_reasoning_models_own_sampling_is_left_alone() -> None:
    lost: list[str] = []
    body = write(asking(temperature=0.5, top_p=0.9, stop=("x",), seed=3), lost, "gpt-5")
    assert body.keys() == {"model", "messages", "seed"} and lost == ["stop", "temperature", "top_p"]
    assert write(asking(temperature=0.5), [], "gpt-5-chat-latest")["temperature"] == 0.5
    assert write(asking(temperature=0.5, reasoning=ir.Reasoning("off")), [], "gpt-5.1")["temperature"] == 0.5
    assert write(asking(temperature=0.5), [], "gpt-5", sampling=True)["temperature"] == 0.5


@pytest.mark.parametrize(
    ("part", "expected", "lost"),
    [
        (ir.Media("document", "text/plain", text="hi", name="t"),
         {"type": "text", "text": '<document title="t">\nhi\n</document>'}, []),
        (ir.Media("document", "text/csv", "YSxi"), {"type": "text", "text": "<document>\na,b\n</document>"}, []),
        (ir.Media("document", "application/pdf", "AA==", name="a.pdf"),
         {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}, []),
        (ir.Media("document", file_id="file-1", vendor="openai"), {"type": "file", "file": {"file_id": "file-1"}}, []),
        (ir.Media("document", file_id="f1", vendor="anthropic"), "told", ["document.file_id"]),
        (ir.Media("document", url="https://h/a.pdf"), "told", ["document.url"]),
        (ir.Media("image", url="gs://bucket/a.png"), "told", ["image.url"]),
        (ir.Media("audio", "audio/wav", "AA=="), {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, []),
        (ir.Media("audio", "audio/ogg", "AA=="), "told", ["audio.audio/ogg"]),
        (ir.Media("video", url="https://h/v"), "told", ["video.video"]),
        (ir.Opaque("anthropic", "search_result", {"type": "search_result"}, "found"), {"type": "text", "text": "found"}, []),
    ],
)  # fmt: skip
def test_parts_are_written_or_named(part: ir.Part, expected: object, lost: list[str]) -> None:
    named: list[str] = []
    (message,) = write(asking(ir.Text("see"), part), named)["messages"]
    if expected == "told":
        assert "could not be passed on" in message["content"][1]["text"]
    else:
        assert message["content"][1] == expected
    assert named == lost


def test_what_only_another_vendor_knows_is_named() -> None:
    lost: list[str] = []
    request = asking(
        ir.Text("hi", extras={"anthropic": {"citations": [1]}}), ir.Opaque("gemini", "videoMetadata", {}), top_k=5,
        service_tier="batch", metadata={"a": "b"}, extras={"gemini": {"safetySettings": []}, "anthropic": {"container": "c"}},
        tools=(ir.Tool("web_search", vendor="anthropic", value={"type": "web_search_20250305"}),),
    )  # fmt: skip
    body = write(request, lost)
    assert body.keys() == {"model", "messages"}
    assert set(lost) == {"citations", "videoMetadata", "top_k", "service_tier=batch", "metadata", "safetySettings", "container",
                         "tools=web_search"}  # fmt: skip


def test_a_server_says_in_its_quirks_what_it_takes() -> None:
    lost: list[str] = []
    body = write(asking(top_k=5, seed=1, stream=True), lost, top_k=True, drop=["seed"], stream_usage=False)
    assert body == {"model": "gpt-4o", "messages": [USER], "top_k": 5, "stream": True} and lost == ["seed"]


def test_stop_sequences_over_the_limit_are_named() -> None:
    lost: list[str] = []
    assert write(asking(stop=("a", "b", "c", "d", "e")), lost)["stop"] == ["a", "b", "c", "d"] and lost == ["stop[4:]"]


def test_a_long_user_stays_one_user() -> None:
    first, second = write(asking(user="u" * 300))["user"], write(asking(user="u" * 300))["user"]
    assert first == second and len(first) <= 64
    assert write(asking(user="u" * 64))["user"] == "u" * 64


# ----------------------------------------------------------------------------------------------------------------- answers


def test_a_whole_answer_is_read() -> None:
    body = {
        "id": "c1", "object": "chat.completion", "created": 5, "model": "gpt", "system_fingerprint": "fp",
        "service_tier": "default", "provider": "P",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": {"content": []}, "message": {
            "role": "assistant", "content": "a", "refusal": None, "reasoning": "Hm", "annotations": [{"type": "url_citation"}],
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17},
    }  # fmt: skip
    assert openai.read_answer(body) == ir.Answer(
        "c1", "gpt",
        (ir.Candidate((ir.Thinking("Hm"), ir.Text("a"), ir.ToolCall("t1", "f", '{"a":1}', {"a": 1})),
                      ir.Stop("tool_calls", "tool_calls"),
                      {"openai": {"logprobs": {"content": []}, "annotations": [{"type": "url_citation"}]}}),),
        ir.Usage(input=10, text=7), 5, "default", {"openai": {"provider": "P"}},
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": []}, {"choices": [{}]}, {"choices": ["a"]}, {"choices": [{"message": {"content": 5}}]},
     {"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]}],
)  # fmt: skip
def test_what_is_no_answer_is_the_upstreams_fault(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFailed):
        openai.read_answer(body)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"error": {"message": "slow", "code": 429}}, 429, "slow"),
        ({"error": {"message": "bad", "type": "invalid_request_error", "code": "unsupported_parameter"}}, 400, "bad"),
        ({"error": "it broke"}, 502, "it broke"),
        ({"object": "error", "message": "it broke", "code": 400}, 400, "it broke"),
        ({"detail": "it broke"}, 502, "it broke"),
    ],
)
def test_an_error_under_status_200_is_raised(body: dict[str, Any], status: int, message: str) -> None:
    with pytest.raises(GatewayError) as caught:
        openai.read_answer(body)
    assert (caught.value.status, caught.value.message) == (status, message)


def test_a_whole_answer_is_written() -> None:
    answer = answer_with(
        ir.Thinking("Hm", "c2ln", "anthropic"), ir.Text("Hel"), ir.Text("lo"), ir.ToolCall("t1", "f", "", {"a": 1}),
        stop=ir.Stop("tool_calls", "tool_use"), usage=ir.Usage(6, 4, 2, 1, 7, 5, 0.5), created=5,
    )  # fmt: skip
    assert openai.write_answer(answer, read(), []) == {
        "id": "a1", "object": "chat.completion", "created": 5, "model": "up",
        "choices": [{"index": 0, "logprobs": None, "finish_reason": "tool_calls", "native_finish_reason": "tool_use",
                     "message": {
            "role": "assistant", "content": "Hello", "refusal": None, "reasoning_content": "Hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "signature": "c2ln",
                                   "format": "anthropic-claude-v1", "index": 0}],
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]}}],
        "usage": {"prompt_tokens": 13, "completion_tokens": 12, "total_tokens": 25,
                  "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
                  "completion_tokens_details": {"reasoning_tokens": 5}, "cost": 0.5},
    }  # fmt: skip


def test_signed_thoughts_come_back_from_a_caller_that_returns_the_message() -> None:
    thoughts = (ir.Thinking("Hm", "c2ln", "anthropic"), ir.Thinking("", "", "anthropic", data="xx"))
    message = message_of(answer_with(*thoughts, ir.Text("a")))
    assert read(USER, message).messages[1].parts[:2] == (thoughts[0], ir.Thinking(
        "", "", "anthropic", "xx", {"openai": {"format": "anthropic-claude-v1"}}))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "message", "wait_s"),
    [
        (429, {"retry-after": "7"}, b'{"error":{"message":"slow down","type":"rate_limit_error"}}', "rate_limited",
         "slow down", 7.0),
        (429, {}, b'{"error":{"message":"pay","code":"insufficient_quota"}}', "no_credit", "pay", None),
        (401, {}, b'{"error":{"message":"no key"}}', "unauthorized", "no key", None),
        (400, {}, b'{"error":{"message":"m","code":"context_length_exceeded"}}', "context_length_exceeded", "m", None),
        (400, {}, b'{"error":{"message":"maximum context length is 8192 tokens"}}', "context_length_exceeded",
         "maximum context length is 8192 tokens", None),
        (404, {}, b'{"error":{"message":"m","code":"model_not_found"}}', "model_not_found", "m", None),
        (400, {}, b'[{"error":{"code":400,"message":"a list"}}]', "bad_request", "a list", None),
        (429, {}, b'{"error":{"message":"Provider returned error","metadata":{"raw":"busy"}}}', "rate_limited",
         "Provider returned error: busy", None),
        (502, {}, b"<html>\n<b>Bad gateway</b></html>", "upstream_failed", "<html> <b>Bad gateway</b></html>", None),
        (500, {}, b"", "internal", "the provider answered 500 and gave no reason", None),
        (422, {}, b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "bad_request",
         '[{"loc":["body"],"msg":"field required"}]', None),
    ],
)  # fmt: skip
def test_an_upstreams_refusal_is_read(
    status: int, headers: dict[str, str], body: bytes, code: str, message: str, wait_s: float | None
) -> None:
    error = openai.read_error(status, headers, body)
    assert (error.status, error.code, error.message, error.retry_after_s) == (status, code, message, wait_s)


def test_errors_are_written_as_openai_does() -> None:
    status, headers, body = openai.write_error(RateLimited("slow down", retry_after_s=6.2), "r1")
    assert (status, dict(headers)["retry-after"]) == (429, "7")
    told = {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    assert body == {"error": told}
    assert openai.write_error(of_status(529, "busy"), "r1")[0] == 503
    assert openai.write_error(BadRequest("b", details={"path": "tools[0]"}), "r1")[2]["error"]["param"] == "tools[0]"


def test_a_stream_that_failed_ends_in_an_error_and_no_done() -> None:
    data = openai.error_event(UpstreamFailed("it\nbroke \ud800"), "r1")
    (event,) = SSEParser().feed(data)
    assert json.loads(event.data)["error"]["type"] == "server_error" and b"[DONE]" not in data


# ------------------------------------------------------------------------------------------------------------------ usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}, ir.Usage(10, text=7)),
        ({"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4},
          "completion_tokens_details": {"reasoning_tokens": 5}}, ir.Usage(6, 4, text=2, reasoning=5)),
        ({"prompt_tokens": 10, "completion_tokens": 7, "prompt_cache_hit_tokens": 4}, ir.Usage(6, 4, text=7)),
        ({"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5}},
         ir.Usage(1, 4, 5, text=7)),
        # Gemini's and Grok's thoughts stand beside completion_tokens, not in it
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, ir.Usage(35, text=12, reasoning=62)),
        ({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 31,
          "completion_tokens_details": {"reasoning_tokens": 20}}, ir.Usage(10, text=1, reasoning=20)),
        ({"prompt_tokens": 10, "completion_tokens": 7, "cost": 0.5, "num_sources_used": 2},
         ir.Usage(10, text=7, cost=0.5, extras={"openai": {"num_sources_used": 2}})),
        ({"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None}, ir.Usage(10)),
        ({}, None), (None, None), ("many", None), ({"total_tokens": 5}, None),
    ],
)  # fmt: skip
def test_usage_is_read_in_disjoint_classes(usage: Any, expected: ir.Usage | None) -> None:
    assert openai.usage_in({"usage": usage}) == expected


def test_row_45_cached_tokens_are_counted_once_and_stay_counted() -> None:
    usage = ir.Usage(6, 4, 2, text=2, reasoning=5)
    written_usage = common.write_usage(usage)
    assert (written_usage["prompt_tokens"], written_usage["total_tokens"]) == (12, 19)
    assert common.read_usage(written_usage) == usage


# ------------------------------------------------------------------------------------------------------- golden: streams


def test_row_1_calls_that_come_interleaved_leave_one_after_the_other() -> None:
    events = streamed(
        chunk(call_delta(0, '{"x"', "f", "a")), chunk(call_delta(1, '{"y"', "g", "b")), chunk(call_delta(0, ":1}")),
        chunk(call_delta(1, ":2}")), chunk({}, "tool_calls"), DONE,
    )  # fmt: skip
    assert calls_in(answer_of(events)) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]
    opened: list[int] = []
    for event in events:
        if isinstance(event, ir.PartStart):
            assert not opened, "a part began before the last one ended"
            opened.append(event.index)
        elif isinstance(event, ir.PartEnd):
            assert opened.pop() == event.index
    first = [event.index for event in events if isinstance(event, ir.PartDelta)]
    assert first == [0, 0, 1, 1]


def test_row_1_a_call_that_never_becomes_whole_keeps_no_other_from_the_caller() -> None:
    got = collected(chunk(call_delta(0, '{"x"', "f", "a")), chunk(call_delta(1, "{}", "g", "b")), chunk({}, "tool_calls"), DONE)
    assert calls_in(got) == [("a", "f", None), ("b", "g", {})]


def test_row_2_calls_are_numbered_among_calls() -> None:
    answer = answer_with(ir.Thinking("Hm"), ir.Text("a"), ir.ToolCall("t1", "f", "{}"), ir.ToolCall("t2", "g", '{"a":1}'))
    found = [call for delta in deltas(written(ir.events_of(answer))) for call in delta.get("tool_calls", ())]
    assert [(call["index"], call.get("id")) for call in found] == [(0, "t1"), (0, None), (1, "t2"), (1, None)]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # neither index nor id repeated: a new id begins a call
        ([call_delta(None, '{"a":1}', "f", "x"), call_delta(None, '{"b":2}', "f", "y")], [("f", {"a": 1}), ("f", {"b": 2})]),
        # no ids at all: a new name begins a call
        ([call_delta(None, '{"a":1}', "f"), call_delta(None, '{"b":2}', "g")], [("f", {"a": 1}), ("g", {"b": 2})]),
        # the same name again, after whole arguments
        ([call_delta(None, '{"a":1}', "f", ""), call_delta(None, '{"b":2}', "f", "")], [("f", {"a": 1}), ("f", {"b": 2})]),
        # every call under index 0
        ([call_delta(0, '{"a":1}', "f", "x"), call_delta(0, '{"b":2}', "g", "y")], [("f", {"a": 1}), ("g", {"b": 2})]),
        # id and name repeated with every piece
        ([call_delta(0, '{"a"', "f", "x"), call_delta(0, ":1}", "f", "x")], [("f", {"a": 1})]),
        # another id with every piece, but no name
        ([call_delta(0, '{"a"', "f", "x"), call_delta(0, ":1}", None, "z")], [("f", {"a": 1})]),
        # pieces with nothing but arguments
        ([call_delta(None, '{"a"', "f", "x"), call_delta(None, ":1}")], [("f", {"a": 1})]),
    ],
)
def test_row_4_what_begins_a_call(pieces: list[dict[str, Any]], expected: list[tuple[str, object]]) -> None:
    got = calls_in(collected(*map(chunk, pieces), chunk({}, "tool_calls"), DONE))
    assert [(name, arguments) for _, name, arguments in got] == expected
    assert len({id_ for id_, _, _ in got}) == len(got) and all(id_ for id_, _, _ in got)


@pytest.mark.parametrize("empty", [{"tool_calls": []}, {"content": ""}, {"reasoning_content": ""}, {"content": None}, {},
                                   {"reasoning_details": []}, {"refusal": None}, {"tool_calls": None}])  # fmt: skip
def test_row_5_empty_is_absent(empty: dict[str, Any]) -> None:
    events = streamed(chunk({"content": "a", **({} if "content" in empty else empty)}), chunk(empty), chunk({}, "stop"), DONE)
    assert [type(event).__name__ for event in events] == ["Started", "PartStart", "PartDelta", "PartEnd", "Stopped", "Finished"]


def test_row_6_the_piece_that_opens_a_part_is_not_lost() -> None:
    got = collected(chunk({"role": "assistant", "content": "He"}), chunk({"content": "llo"}), chunk({}, "stop"), DONE)
    assert got.candidates[0].parts == (ir.Text("Hello"),)


def test_row_7_a_change_of_kind_ends_one_part_and_begins_the_next() -> None:
    events = streamed(
        chunk({"role": "assistant"}), chunk({"reasoning_content": "Hm"}), chunk({"content": "a"}), chunk({"reasoning": "Hm2"}),
        chunk({"content": "b"}), chunk({}, "stop"), DONE,
    )  # fmt: skip
    assert sum(isinstance(event, ir.Started) for event in events) == 1
    expected = (ir.Thinking("Hm"), ir.Text("a"), ir.Thinking("Hm2"), ir.Text("b"))
    assert answer_of(events).candidates[0].parts == expected


@pytest.mark.parametrize("said", [[], [chunk({"role": "assistant"})], [chunk({"content": "a"})]])
def test_row_8_a_stream_without_its_end_failed(said: list[str]) -> None:
    events = streamed(*said)
    assert isinstance(events[-1], ir.Failed) and isinstance(events[-1].error, StreamCut)
    assert not any(isinstance(event, ir.Stopped | ir.Finished) for event in events)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ('{"error":{"message":"busy","code":503}}', 503),
        (json.dumps({"id": "c", "error": {"code": 400, "message": "Token limit reached"}, "choices": [
            {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}), 400),
        ("{oops", 502), ("[1]", 502), ('{"choices":[5]}', 502), ('{"choices":[{"delta":{"content":5}}]}', 502),
        ('{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}', 502),
    ],
)  # fmt: skip
def test_row_8_an_error_in_mid_stream_ends_it(data: str, status: int) -> None:
    events = streamed(chunk({"content": "a"}), data, chunk({"content": "b"}), DONE)
    failed = [event for event in events if isinstance(event, ir.Failed)]
    assert len(failed) == 1 and failed[0] is events[-1] and failed[0].error.status == status


def test_row_8_done_without_an_answer_is_none() -> None:
    assert isinstance(streamed(DONE)[-1], ir.Failed)
    assert isinstance(streamed(chunk(usage={"prompt_tokens": 5, "completion_tokens": 0}), DONE)[-1], ir.Failed)


def test_row_8_servers_that_send_no_done_end_with_their_reason() -> None:
    assert isinstance(streamed(chunk({"content": "a"}, "stop"))[-1], ir.Finished)
    cut = streamed(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, index=1))
    assert isinstance(cut[-1], ir.Failed), "one of two choices never ended"


def test_rows_10_and_11_usage_counts_wherever_it_comes_and_ends_nothing() -> None:
    first, last = {"prompt_tokens": 5, "completion_tokens": 1}, {"prompt_tokens": 5, "completion_tokens": 3}
    ends: list[list[str]] = [
        [chunk({"content": "a"}, usage=first), chunk({"content": "b"}), chunk({}, "stop"), chunk(usage=last), DONE],
        [chunk({"role": "assistant", "content": "a"}, usage=last), chunk({"content": "b"}, "stop"), DONE],
        [chunk({"content": "a"}), chunk({"content": "b"}, "stop", usage=last), chunk(usage=None), DONE],
        [chunk({"content": "ab"}), chunk({}, "stop"), chunk(x_groq={"usage": last}), DONE],
        [chunk(usage=last), chunk({"content": "ab"}), chunk({}, "stop")],
    ]
    for data in ends:
        got = collected(*data)
        assert got.usage == ir.Usage(5, text=3) and got.candidates[0].parts == (ir.Text("ab"),), data


def test_row_12_the_usage_chunk_comes_on_request_and_once() -> None:
    events: list[ir.StreamEvent] = [*ir.events_of(answer_with(ir.Text("a"), usage=ir.Usage(5, text=3)))]
    events.insert(2, ir.UsageSeen(ir.Usage(5, text=1)))
    silent = written(events)
    assert all("usage" not in each for each in silent if each != DONE)
    asked = written(events, read(stream=True, stream_options={"include_usage": True}))
    (told,) = [each for each in asked if each != DONE and each.get("usage")]
    assert told["choices"] == [] and told["usage"]["completion_tokens"] == 3
    assert asked[-2:] == [told, DONE]


def test_row_10_an_upstream_always_gets_a_request_for_usage() -> None:
    assert write(asking(stream=True))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in write(asking())


def test_row_13_several_choices_end_before_usage_does() -> None:
    got = streamed(
        chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), chunk({}, "length", index=1),
        chunk(usage={"prompt_tokens": 5, "completion_tokens": 2}), DONE,
    )  # fmt: skip
    answer = answer_of(got)
    assert [each.parts for each in answer.candidates] == [(ir.Text("a"),), (ir.Text("b"),)]
    assert [each.stop.reason for each in answer.candidates] == ["end", "length"]
    request = read(stream=True, n=2, stream_options={"include_usage": True})
    chunks = written(got, request)
    ends = [each["choices"][0]["index"] for each in chunks if each != DONE and each["choices"]
            and each["choices"][0]["finish_reason"]]  # fmt: skip
    assert ends == [0, 1] and chunks[-2]["usage"]["total_tokens"] == 7


def test_row_14_any_cut_of_the_bytes_gives_the_same_answer() -> None:
    call = call_delta(0, '{"城":"東京 🗼"}', "f", "a")
    said = [chunk({"content": "naïve 天気 🌤 \u2028"}), chunk(call), chunk({}, "tool_calls"), DONE]
    data = "".join(f"data: {json.dumps(json.loads(each), ensure_ascii=False) if each != DONE else each}\n\n" for each in said)
    whole = data.encode()
    expected = collected(*said)
    for cut in range(len(whole) + 1):
        parser, reader, events = SSEParser(), openai.StreamReader(), []
        for piece in (whole[:cut], whole[cut:]):
            events += [out for each in parser.feed(piece) for out in reader.feed(each)]
        assert answer_of(events) == expected, cut


def test_row_15_the_sign_of_life_is_a_blank_line() -> None:
    assert SSEParser().feed(SPECS["openai"].keepalive * 3) == [] and SPECS["openai"].keepalive.strip() == b""


def test_the_last_reason_counts_where_every_chunk_has_one() -> None:
    got = collected(chunk({"content": "a"}, "length"), chunk({"content": "b"}, "length"), chunk({}, "stop"), DONE)
    assert got.candidates[0].parts == (ir.Text("ab"),) and got.candidates[0].stop.reason == "end"


def test_unknown_lists_of_a_choice_are_read_once_from_each_chunk() -> None:
    pieces = [json.loads(each) for each in (chunk({"content": "a"}), chunk({}, "stop"))]
    for number, piece in enumerate(pieces):
        piece["choices"][0] |= {"notes": [number], "content_filter_results": {"hate": number}}
    candidate = collected(*map(json.dumps, pieces), DONE).candidates[0]
    assert candidate.extras == {"openai": {"notes": [0, 1], "content_filter_results": {"hate": 1}}}


def test_of_a_list_that_every_chunk_repeats_the_last_one_counts() -> None:
    pieces = chunk({"content": "a"}, citations=["u"], other=1), chunk({}, "stop", citations=["u", "v"])
    assert collected(*pieces, DONE).extras == {"openai": {"citations": ["u", "v"], "other": 1}}


def test_chunks_before_the_first_choice_begin_nothing() -> None:
    events = streamed(chunk(id="", prompt_filter_results=[{}]), chunk({"content": "a"}), chunk({}, "stop"), DONE)
    assert events[0] == ir.Started("c1", "gpt", 5)


def test_a_streamed_refusal_and_its_logprobs_come_whole() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1}]}
    data = json.loads(chunk({"refusal": "I "}))
    data["choices"][0]["logprobs"] = logprobs
    got = collected(json.dumps(data), json.dumps(data), chunk({"refusal": "cannot"}), chunk({}, "stop"), DONE)
    candidate = got.candidates[0]
    assert candidate.parts == (ir.Refusal("I I cannot"),) and candidate.stop == ir.Stop("refusal", "stop")
    assert candidate.extras["openai"]["logprobs"]["content"] == logprobs["content"] * 2


def test_streamed_thoughts_keep_their_signature() -> None:
    def detail(**fields: Any) -> str:
        return chunk({"content": "", "reasoning_details": [{"format": "anthropic-claude-v1", "index": 0, **fields}]})

    got = collected(
        detail(type="reasoning.text", text="H"), detail(type="reasoning.text", text="m"),
        detail(type="reasoning.text", signature="c2ln"), detail(type="reasoning.encrypted", data="xx"), chunk({"content": "a"}),
        chunk({}, "stop"), DONE,
    )  # fmt: skip
    thought, secret, said = got.candidates[0].parts
    assert thought == ir.Thinking("Hm", "c2ln", "anthropic") and said == ir.Text("a")
    assert isinstance(secret, ir.Thinking) and secret.data == "xx"


def test_a_call_without_arguments_says_so_to_the_caller() -> None:
    found = deltas(written(ir.events_of(answer_with(ir.ToolCall("t1", "f", "", {})))))
    assert "".join(call["function"]["arguments"] for delta in found for call in delta.get("tool_calls", ())) == "{}"


def test_stream_and_plain_answers_agree_for_the_caller() -> None:
    answer = answer_with(
        ir.Thinking("Hm", "c2ln", "anthropic"), ir.Thinking("", "", "anthropic", "xx"), ir.Text("a\u2028\ud800"),
        ir.Refusal("No."),
        ir.ToolCall("t1", "f", '{"a":1}', {"a": 1}), ir.Media("image", "image/png", PIXEL),
        stop=ir.Stop("tool_calls", "tool_use"), usage=ir.Usage(5, text=3), created=5,
    )  # fmt: skip
    request = read(stream=True, stream_options={"include_usage": True})
    again = collected(*(each if each == DONE else json.dumps(each) for each in written(ir.events_of(answer), request)))
    plain = openai.read_answer(openai.write_answer(answer, request, []))
    kinds = (ir.Text, ir.Refusal, ir.ToolCall, ir.Media)
    for kind in kinds:
        ours = [part for part in plain.candidates[0].parts if isinstance(part, kind)]
        assert [part for part in again.candidates[0].parts if isinstance(part, kind)] == ours, kind
    assert (again.usage, again.candidates[0].stop) == (plain.usage, plain.candidates[0].stop)


# --------------------------------------------------------------------------------------------------------- golden: tools


def test_row_17_calls_without_ids_get_their_own_and_results_find_them_by_order() -> None:
    call = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "", "content": "1"}
    request = read(USER, {"role": "assistant", "content": None, "tool_calls": [call, call]}, result, {**result, "content": "2"})
    first, second = request.messages[1].parts
    assert isinstance(first, ir.ToolCall) and isinstance(second, ir.ToolCall) and first.id != second.id
    results = [part for part in request.messages[2].parts if isinstance(part, ir.ToolResult)]
    assert [(each.id, each.name, each.parts) for each in results] == [
        (first.id, "f", (ir.Text("1"),)), (second.id, "f", (ir.Text("2"),))]  # fmt: skip
    again = write(request)["messages"]
    assert [each["tool_call_id"] for each in again[2:]] == [each["id"] for each in again[1]["tool_calls"]]


def test_row_17_an_answer_without_ids_gets_different_ones() -> None:
    call = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {"id": "c1", "choices": [{"finish_reason": "stop", "message": {"tool_calls": [call, call]}}]}
    first, second = openai.read_answer(body).candidates[0].parts
    assert isinstance(first, ir.ToolCall) and isinstance(second, ir.ToolCall) and first.id and first.id != second.id


@pytest.mark.parametrize("keeps_extra", [True, False])
def test_rows_18_and_20_geminis_ids_and_signatures_come_back_through_the_call(keeps_extra: bool) -> None:
    call = ir.ToolCall("g1", "f", "{}", {}, signature="c2ln/+A=", vendor="gemini")
    message = message_of(answer_with(call))
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln/+A="}}
    if not keeps_extra:
        del message["tool_calls"][0]["extra_content"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "42"}
    request = read(USER, message, result)
    assert request.messages[1].parts == (call,)
    (answered,) = request.messages[2].parts
    assert isinstance(answered, ir.ToolResult) and (answered.id, answered.name, answered.vendor) == ("g1", "f", "gemini")


def test_row_20_a_text_keeps_geminis_signature_too() -> None:
    message = message_of(answer_with(ir.Text("a", "c2ln", "gemini")))
    assert read(USER, message).messages[1].parts == (ir.Text("a", "c2ln", "gemini"),)


def test_row_23_names_that_openai_refuses_go_up_changed_and_come_back_as_they_were() -> None:
    request = asking(tools=(ir.Tool("mcp.server:do"),), tool_choice=ir.ToolChoice("required", ("mcp.server:do",)))
    body = write(request)
    sent = body["tools"][0]["function"]["name"]
    assert set(sent) <= set("abcdefghijklmnopqrstuvwxyz_0123456789") and body["tool_choice"]["function"]["name"] == sent
    answer = answer_with(ir.ToolCall("t1", sent, "{}", {}))
    assert message_of(answer, request)["tool_calls"][0]["function"]["name"] == "mcp.server:do"
    (named,) = [call for delta in deltas(written(ir.events_of(answer), request)) for call in delta.get("tool_calls", ())
                if "id" in call]  # fmt: skip
    assert named["function"]["name"] == "mcp.server:do"


@pytest.mark.parametrize(("quirk", "form"), [({}, r"[A-Za-z0-9_-]{1,64}"), ({"id_form": "mistral"}, r"[A-Za-z0-9]{9}")])
def test_row_24_ids_are_made_fit_the_same_on_every_turn(quirk: dict[str, Any], form: str) -> None:
    ids = ["toolu_01ABC", "call:1", "x" * 80, "x" * 79 + "y"]
    seen: list[list[str]] = []
    for _ in range(2):
        messages = [message for id_ in ids for message in (
            assistant(ir.ToolCall(id_, "f", "{}")), user(ir.ToolResult(id_, (ir.Text("1"),))))]  # fmt: skip
        body = write(talking(*messages), **quirk)["messages"]
        calls = [each["tool_calls"][0]["id"] for each in body if each["role"] == "assistant"]
        assert calls == [each["tool_call_id"] for each in body if each["role"] == "tool"]
        assert len(set(calls)) == len(ids) and all(re.fullmatch(form, each) for each in calls)
        seen.append(calls)
    assert seen[0] == seen[1]


def test_row_25_results_come_first_then_what_the_user_said() -> None:
    calls = (ir.ToolCall("a", "f", "{}"), ir.ToolCall("b", "g", "{}"))
    results = (ir.ToolResult("b", (ir.Text("2"),)), ir.ToolResult("a", (ir.Text("1"),)))
    body = write(talking(assistant(*calls), user(ir.Text("and"), *results)))["messages"]
    assert [(each["role"], each.get("tool_call_id", each["content"])) for each in body] == [
        ("assistant", None), ("tool", "b"), ("tool", "a"), ("user", "and")]  # fmt: skip


def test_row_25_a_run_of_tool_messages_is_one_message() -> None:
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ("a", "b")]
    tools = [{"role": "tool", "tool_call_id": each, "content": each} for each in ("a", "b")]
    request = read(USER, {"role": "assistant", "content": None, "tool_calls": calls}, *tools, USER)
    assert [len(message.parts) for message in request.messages] == [1, 2, 2, 1]


def test_row_26_an_interrupted_call_and_an_orphan_result_do_not_break_the_conversation() -> None:
    lost: list[str] = []
    body = write(talking(assistant(ir.ToolCall("a", "f", "{}")), user(ir.ToolResult("z", (ir.Text("42"),)))), lost)["messages"]
    assert [each["role"] for each in body] == ["assistant", "tool", "user"]
    assert body[1]["tool_call_id"] == "a" and body[1]["content"].startswith("Error")
    assert "42" in json.dumps(body[2]["content"]) and sorted(lost) == ["tool_result=added", "tool_result=orphan"]


def test_row_27_a_forced_choice_gives_way_to_thinking_where_the_server_cannot_have_both() -> None:
    request = asking(tools=(ir.Tool("f"),), tool_choice=ir.ToolChoice("required"), reasoning=ir.Reasoning("on", 9))
    lost: list[str] = []
    quirks: dict[str, Any] = {"forced_choice_with_thinking": False, "reasoning": "thinking"}
    assert write(request, lost, **quirks)["tool_choice"] == "auto"
    assert lost == ["tool_choice=auto while thinking", "reasoning.budget_tokens=9"]
    assert write(request, [], "o3")["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("finish", "with_call", "expected"),
    [
        ("stop", True, "tool_calls"), ("tool_calls", True, "tool_calls"), ("tool_calls", False, "end"), ("stop", False, "end"),
        ("function_call", True, "tool_calls"), ("length", True, "length"), (None, True, "tool_calls"), ("eos", False, "end"),
        ("content_filter", True, "refusal"), ("brand_new", False, "other"),
    ],
)  # fmt: skip
def test_row_28_why_it_ended_is_derived_from_what_is_there(finish: str | None, with_call: bool, expected: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": "a", "tool_calls": [call] if with_call else None}
    plain = openai.read_answer({"id": "c1", "choices": [{"finish_reason": finish, "message": message}]})
    assert plain.candidates[0].stop == ir.Stop(expected, finish or "")  # type: ignore[arg-type]  # of the table
    called = [chunk(call_delta(0, "{}", "f", "a"))] if with_call else []
    stream = collected(chunk({"content": "a"}), *called, chunk({}, finish), DONE)
    assert stream.candidates[0].stop == plain.candidates[0].stop


def test_row_29_parallel_calls_and_allowed_tools_go_through() -> None:
    tools = (ir.Tool("f"), ir.Tool("g"), ir.Tool("h"))
    body = write(asking(tools=tools, tool_choice=ir.ToolChoice("auto", ("f", "g")), parallel_tool_calls=False))
    assert [each["function"]["name"] for each in body["tools"]] == ["f", "g"]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", False)
    lost: list[str] = []
    bare = write(asking(parallel_tool_calls=False, tool_choice=ir.ToolChoice("required")), lost)
    assert bare.keys() == {"model", "messages"} and lost == ["tool_choice"]  # both are refused without tools


def test_row_30_flags_that_only_claude_code_knows_are_named_and_left_out() -> None:
    lost: list[str] = []
    tool = ir.Tool("f", extras={"anthropic": {"defer_loading": True}})
    (sent,) = write(asking(tools=(tool,)), lost)["tools"]
    assert sent == {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    assert lost == ["tools.defer_loading"]


def test_row_31_server_tools_of_others_are_named_and_our_own_go_through() -> None:
    lost: list[str] = []
    theirs = ir.Tool("web_search", vendor="anthropic", value={"type": "web_search_20250305", "name": "web_search"})
    (ours,) = read(tools=[{"type": "openrouter:web_search", "parameters": {"max_uses": 1}}]).tools
    body = write(asking(tools=(theirs, ours, ir.Tool("f"))), lost)
    assert [each["type"] for each in body["tools"]] == ["openrouter:web_search", "function"] and lost == ["tools=web_search"]


# ------------------------------------------------------------------------------------- golden: messages, thinking, parameters


def test_row_32_empty_texts_are_no_parts_on_this_wire() -> None:
    assert read(USER, {"role": "assistant", "content": "", "tool_calls": []}).messages[1].parts == ()
    body = write(talking(user(ir.Text("")), assistant(), assistant(ir.Text(""))))["messages"]
    assert [each["content"] for each in body] == ["", "", ""]


def test_row_33_a_system_message_in_the_conversation_stays_where_it_is() -> None:
    system, late = {"role": "system", "content": "a"}, {"role": "system", "content": "c"}
    request = read(system, {"role": "developer", "content": "b"}, USER, late)
    assert request.system == (ir.Text("a"), ir.Text("b"))
    assert request.messages[1] == ir.Message("system", (ir.Text("c"),))
    body = write(request)["messages"]
    assert [each["role"] for each in body] == ["system", "user", "user"]
    assert body[0]["content"] == "a\n\nb" and body[2]["content"] == "<system-reminder>\nc\n</system-reminder>"
    body = write(request, late_system="developer", system_role="developer")["messages"]
    assert body[2] == {"role": "developer", "content": "c"} and body[0]["role"] == "developer"


def test_row_34_claude_codes_billing_line_does_not_spoil_the_cache() -> None:
    lost: list[str] = []
    system = (ir.Text("x-anthropic-billing-header: cc_version=2; cch=abc12;"), ir.Text("You are Claude Code."))
    body = write(asking(system=system), lost)
    assert body["messages"][0]["content"] == "You are Claude Code." and lost == ["system.x-anthropic-billing-header"]
    assert "prompt_cache_key" not in body


def test_row_35_marks_of_the_cache_are_read_and_kept_for_servers_that_know_them() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    request = read({"role": "system", "content": [{"type": "text", "text": "s", "cache_control": mark}]},
                   {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": mark}]},
                   tools=[{**TOOL, "cache_control": mark}])  # fmt: skip
    assert isinstance(request.system[0], ir.Text) and request.system[0].cache_control == mark
    assert request.tools[0].cache_control == mark
    body = write(request, cache_control=True)
    assert json.dumps(body).count('"ttl": "1h"') == 3
    lost: list[str] = []
    assert "cache_control" not in json.dumps(write(request, lost)) and lost == ["cache_control"]


def test_row_36_a_thought_that_is_only_a_signature_is_kept() -> None:
    thought = ir.Thinking("", "c2ln", "anthropic")
    answer = answer_with(thought, ir.Text("a"))
    assert read(USER, message_of(answer)).messages[1].parts == (thought, ir.Text("a"))
    again = collected(*(each if each == DONE else json.dumps(each) for each in written(ir.events_of(answer))))
    assert again.candidates[0].parts == (thought, ir.Text("a"))


def test_row_38_thoughts_of_tool_turns_go_back_to_those_that_want_them() -> None:
    turn = assistant(ir.Thinking("Hm", "s", "anthropic"), ir.ToolCall("a", "f", "{}"))
    request = talking(turn, user(ir.ToolResult("a", (ir.Text("1"),))))
    lost: list[str] = []
    assert write(request, lost, "deepseek-chat")["messages"][0]["reasoning_content"] == "Hm" and lost == ["thinking.signature"]
    lost = []
    assert "reasoning_content" not in write(request, lost, "gpt-4o")["messages"][0] and lost == ["thinking"]
    assert write(request, [], "m", reasoning_field="reasoning")["messages"][0]["reasoning"] == "Hm"
    details = write(request, [], "anthropic/claude", reasoning_field="reasoning_details")["messages"][0]["reasoning_details"]
    assert details[0]["signature"] == "s"


def test_row_39_thinking_is_not_requested_of_a_model_without_it() -> None:
    lost: list[str] = []
    assert "reasoning_effort" not in write(asking(reasoning=ir.Reasoning("adaptive", effort="high")), lost, "gpt-4o")
    assert lost == ["reasoning"]


@pytest.mark.parametrize(
    ("model", "quirks", "field"),
    [
        ("gpt-5", {}, "max_completion_tokens"), ("o4-mini", {}, "max_completion_tokens"),
        ("openai/gpt-5-mini", {}, "max_completion_tokens"), ("gpt-4o", {}, "max_tokens"), ("llama-3", {}, "max_tokens"),
        ("solo1", {}, "max_tokens"), ("llama-3", {"max_tokens_field": "max_completion_tokens"}, "max_completion_tokens"),
    ],
)  # fmt: skip
def test_row_41_the_limit_has_the_name_that_the_model_takes(model: str, quirks: dict[str, Any], field: str) -> None:
    body = write(asking(max_tokens=9), [], model, **quirks)
    assert body[field] == 9 and {"max_tokens", "max_completion_tokens"} & body.keys() == {field}
    assert read(max_tokens=5, max_completion_tokens=9).max_tokens == 9


def test_row_42_what_only_anthropic_knows_is_named() -> None:
    lost: list[str] = []
    body = write(asking(extras={"anthropic": {"context_management": {}, "betas": ["x"]}}), lost)
    assert body.keys() == {"model", "messages"} and lost == ["context_management", "betas"]


def test_row_43_the_form_of_the_answer_is_carried() -> None:
    asked = ir.ResponseFormat("schema", SCHEMA, "my answer", strict=True)
    made = write(asking(response_format=asked))["response_format"]
    assert made["type"] == "json_schema" and made["json_schema"]["schema"] == SCHEMA and made["json_schema"]["strict"] is True
    assert " " not in made["json_schema"]["name"]
    lost: list[str] = []
    body = write(asking(response_format=asked), lost, json_schema=False)
    assert body["response_format"] == {"type": "json_object"} and '"additionalProperties"' in body["messages"][0]["content"]
    assert lost == ["response_format.schema=in the system text"]


def test_row_43_json_is_requested_in_words_too() -> None:
    request = asking(response_format=ir.ResponseFormat("json"), system=(ir.Text("be brief"),))
    body = write(request)
    assert body["messages"][0]["content"] == "be brief\n\n" + chat_parts.JSON_HINT
    said = asking(ir.Text("as JSON, please"), response_format=ir.ResponseFormat("json"))
    assert write(said)["messages"] == [{"role": "user", "content": "as JSON, please"}]


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        (ir.Stop("refusal", "SAFETY"), "content_filter"), (ir.Stop("refusal", "refusal"), "content_filter"),
        (ir.Stop("context", "model_context_window_exceeded"), "length"), (ir.Stop("length", "MAX_TOKENS"), "length"),
        (ir.Stop("pause", "pause_turn"), "stop"), (ir.Stop("stop_sequence", "stop_sequence", "###"), "stop"),
        (ir.Stop("other", "MALFORMED_FUNCTION_CALL"), "stop"),
    ],
)  # fmt: skip
def test_row_44_the_reason_is_carried_and_the_upstreams_word_kept(stop: ir.Stop, finish: str) -> None:
    (choice,) = openai.write_answer(answer_with(stop=stop), read(), [])["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (finish, stop.native)
    assert bool(choice["message"]["refusal"]) == (stop.reason == "refusal") and choice["message"]["content"] is None
    chunks = written(ir.events_of(answer_with(stop=stop)))
    last = chunks[-2]["choices"][0]
    assert (last["finish_reason"], bool(last["delta"].get("refusal"))) == (finish, stop.reason == "refusal")


def test_row_44_a_refusal_is_one_and_anthropics_reason_is_stated() -> None:
    body = {"id": "c1", "choices": [{"finish_reason": "stop", "message": {"content": None, "refusal": "I cannot."}}]}
    answer = openai.read_answer(body)
    assert answer.candidates[0].parts == (ir.Refusal("I cannot."),) and answer.candidates[0].stop == ir.Stop("refusal", "stop")
    explained = ir.Stop("refusal", "refusal", extras={"anthropic": {"stop_details": {"explanation": "Not that."}}})
    assert message_of(answer_with(stop=explained))["refusal"] == "Not that."


def test_row_46_images_in_results_go_into_the_users_next_message() -> None:
    result = ir.ToolResult("a", (ir.Text("see"), ir.Media("image", "image/png", PIXEL)))
    body = write(talking(assistant(ir.ToolCall("a", "f", "{}")), user(result), user(ir.Text("well?"))))["messages"]
    assert [each["role"] for each in body] == ["assistant", "tool", "user", "user"]
    assert body[1]["content"].startswith("see\n[") and body[2]["content"][0]["type"] == "image_url"


def test_row_46_pictures_by_url_and_by_data_are_carried() -> None:
    parts = (ir.Media("image", url="https://h/a.png", detail="low"), ir.Media("image", "image/png", PIXEL))
    (message,) = write(asking(*parts))["messages"]
    assert [part["image_url"] for part in message["content"]] == [
        {"url": "https://h/a.png", "detail": "low"}, {"url": f"data:image/png;base64,{PIXEL}"}]  # fmt: skip


def test_an_error_result_says_so_in_its_text() -> None:
    failed = ir.ToolResult("a", (ir.Text("no such file"),), is_error=True)
    request = talking(assistant(ir.ToolCall("a", "f", "{}")), user(failed))
    assert write(request)["messages"][1]["content"] == "Error: no such file"


def test_the_seeds_fault_an_assistant_message_without_content_is_taken() -> None:
    for message in ({"role": "assistant"}, {"role": "assistant", "content": None}):
        assert read(USER, message).messages[1].parts == ()
    (tool,) = read(tools=[{"type": "function", "function": {"name": "f"}}]).tools
    assert tool == ir.Tool("f")


# ---------------------------------------------------------------------------------------------------------- relayed streams


@pytest.mark.parametrize("calls", ["5", '"x"', "true", '{"a":1}', "[5]", "[null]"])
def test_calls_of_a_relayed_stream_that_are_no_list_of_objects_are_no_calls(calls: str) -> None:
    scanner = scanned(f'{{"choices":[{{"index":0,"delta":{{"content":"a","tool_calls":{calls}}},"finish_reason":"stop"}}]}}')
    assert scanner.done and scanner.error is None


def scanned(*data: str) -> openai.Scanner:
    scanner = openai.Scanner()
    scanner.feed([Event("message", each) for each in data])
    return scanner


def test_a_relayed_stream_is_seen_to_its_end() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    scanner = scanned(chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}), chunk({"reasoning": "b"}))
    assert (scanner.outputs, scanner.done, scanner.usage, scanner.error) == (2, False, None, None)
    scanner.feed([Event("message", chunk({}, "stop"))])
    assert scanner.done
    scanner.feed([Event("message", chunk(usage=usage)), Event("message", DONE)])
    assert scanner.done and scanner.usage == ir.Usage(5, text=3)


def test_a_relayed_stream_of_two_choices_ends_with_both() -> None:
    assert not scanned(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop")).done
    assert scanned(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), chunk({}, "stop", 1)).done


def test_a_relayed_streams_error_is_seen() -> None:
    error = scanned(chunk({"content": "a"}), '{"error":{"message":"busy","code":503}}').error
    assert error is not None and error.status == 503
    assert isinstance(scanned("{oops").error, UpstreamFailed)


@pytest.mark.parametrize("data", ["null", "5", "[]", '""', '{"choices":5}', '{"choices":[null]}', '{"choices":[{"delta":5}]}'])
def test_a_relayed_stream_of_anything_is_looked_at_without_harm(data: str) -> None:
    scanned(data)
    streamed(data)


def test_a_count_has_the_shape_that_its_callers_know() -> None:
    assert openai.write_count(7) == {"input_tokens": 7}


def test_packed_ids_are_for_gemini_alone() -> None:
    call = message_of(answer_with(ir.ToolCall("toolu_1", "f", "{}")))["tool_calls"][0]
    assert unpack_id(call["id"]) == ("toolu_1", "", "")


# -------------------------------------------------------------------------------------------------------------- the corpus
# Streams as many servers send them, NAME.sse, beside what they say, NAME.sse.json: an answer or why there is none.

CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "wire" / "openai"


def corpus() -> list[str]:
    names = sorted(path.name.removesuffix(".json") for path in CORPUS.glob("*.sse.json"))
    assert names and names == sorted(path.name for path in CORPUS.glob("*.sse")), f"each case is a pair in {CORPUS}"
    return names


def plain(value: Any) -> Any:
    """A value as JSON: the class, then what is not the default.

    plain(Text("a")) -> {"is": "Text", "text": "a"}
    """
    if is_dataclass(value) and not isinstance(value, type):
        told = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"is": type(value).__name__} | {name: plain(each) for name, each in told.items() if each}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def told_by(*pieces: bytes) -> Any:
    """What a stream of bytes says, as the corpus has it."""
    parser, reader = SSEParser(), openai.StreamReader()
    events = [out for piece in pieces for each in parser.feed(piece) for out in reader.feed(each)]
    events += [out for each in parser.close() for out in reader.feed(each)]
    events += reader.close()
    last = events[-1]
    if isinstance(last, ir.Failed):
        said = "".join(event.text for event in events if isinstance(event, ir.PartDelta))
        return {"failed": {"status": last.error.status, "message": last.error.message, "said": said}}
    return plain(answer_of(events))


@pytest.mark.slow
@pytest.mark.parametrize("name", corpus())
def test_a_servers_stream_says_what_it_says_wherever_it_is_cut(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    expected = json.loads((CORPUS / f"{name}.json").read_text(encoding="utf-8"))
    for cut in range(len(data)):
        assert told_by(data[:cut], data[cut:]) == expected, cut


# Every chunk says that it was the last: behind the first one [DONE] alone could tell.
DOUBTFUL = {"openrouter-reason-on-every-chunk.sse", "reason-beside-every-piece-of-a-call.sse"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(corpus()) - DOUBTFUL))
def test_a_servers_stream_that_breaks_off_is_never_an_answer(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    whole = told_by(data)
    for cut in range(len(data)):
        said = told_by(data[:cut])
        assert "failed" in said or said.get("candidates") == whole.get("candidates"), cut


@pytest.mark.parametrize("name", corpus())
def test_a_relayed_servers_stream_is_seen_as_the_converted_one(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    parser, scanner = SSEParser(), openai.Scanner()
    scanner.feed([*parser.feed(data), *parser.close()])
    told = told_by(data)
    if "failed" in told:
        assert scanner.error is not None or not scanner.outputs or not scanner.done
    else:
        assert scanner.done and scanner.outputs and plain(scanner.usage) == told.get("usage")


@pytest.mark.parametrize(("model", "quirks", "kind"), [
    ("gpt-5.1", {}, "custom"), ("deepseek-chat", {}, "function"), ("deepseek-chat", {"custom_tools": True}, "custom"),
    ("gpt-5.1", {"custom_tools": False}, "function"),
])  # fmt: skip
def test_a_tool_that_takes_free_text_is_a_function_where_servers_know_no_other(model: str, quirks: Any, kind: str) -> None:
    grammar = {"openai": {"format": {"type": "grammar", "grammar": {}}}}
    call = ir.ToolCall("t1", "p", "*** begin", custom=True)
    request = ir.Request("m", (ir.Message("assistant", (call,)),), tools=(ir.Tool("p", custom=True, extras=grammar),),
                         tool_choice=ir.ToolChoice("required", ("p",)))  # fmt: skip
    lost: list[str] = []
    body = openai.write_request(request, model=model, quirks=quirks, lost=lost)
    made = body["messages"][0]["tool_calls"][0]
    assert body["tools"][0]["type"] == body["tool_choice"]["type"] == made["type"] == kind
    given = made[kind]["input"] if kind == "custom" else json.loads(made[kind]["arguments"])["input"]
    assert given == "*** begin" and ("tools.format" in lost) == (kind == "function")
