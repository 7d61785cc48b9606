"""What the real APIs refuse, the mock server refuses: a 400 in the vendor's shape and words. And what they take, it takes."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, Dict, Iterator, List

import pytest
from material import files_in, needs

from llm_router_demo import NOTICE, REASONING, CaseInsensitiveHeaders, DemoServer, Rejected, Request
from llm_router_demo_protocols import (
    ANTHROPIC_BETA,
    ANTHROPIC_COUNTED,
    ANTHROPIC_FIELDS,
    PROTO,
    check_anthropic,
    check_gemini,
    check_openai,
    read_proto,
    signature_of,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)).decode()
OBJECT: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
USER: Any = {"role": "user", "content": "Hi"}


# ---------------------------------------------------------------------------------------------------------- Anthropic

TOOL: Any = {"name": "f", "input_schema": OBJECT}
USE: Any = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
USE2: Any = {**USE, "id": "toolu_2"}
RESULT: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
RESULT2: Any = {**RESULT, "tool_use_id": "toolu_2"}
TEXT: Any = {"type": "text", "text": "So?"}
THOUGHT: Any = {"type": "thinking", "thinking": REASONING, "signature": signature_of(REASONING)}
THINK: Any = {"type": "enabled", "budget_tokens": 1024}
TEMPERATURE_THINK = "`temperature` may only be set to 1 when thinking is enabled"


def turns(*contents: Any) -> Any:
    """Messages by turns, from the user's on."""
    return [{"role": "assistant" if number % 2 else "user", "content": each} for number, each in enumerate(contents)]


def image(**source: Any) -> Any:
    return turns([{"type": "image", "source": source}])


@pytest.mark.parametrize("change, message", [
    ({"headers": {}}, "anthropic-version: header is required"),
    ({"headers": {"anthropic-version": "latest"}}, 'anthropic-version: "latest" is not a valid version'),
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ({"stream": 1}, "stream: Input should be a valid boolean"),
    ({"max_completion_tokens": 9}, "max_completion_tokens: Extra inputs are not permitted"),
    ({"response_format": {"type": "json_object"}}, "response_format: Extra inputs are not permitted"),
    ({"context_management": {"edits": []}}, "context_management: Extra inputs are not permitted"),
    ({"metadata": {"trace": "1"}}, "metadata.trace: Extra inputs are not permitted"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"top_p": -0.1}, "top_p: range: 0..1"),
    ({"stop_sequences": ["\n"]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    ({"say": []}, "messages: at least one message is required"),
    ({"say": [{"role": "assistant", "content": "Hi"}]}, 'messages: first message must use the "user" role'),
    ({"say": [{"role": "system", "content": "Hi"}, USER]}, 'messages: Unexpected role "system".'),
    ({"say": [USER, {"role": "tool", "content": "ok"}]}, "messages.1.role: Input should be 'user' or 'assistant'"),
    ({"say": [{**USER, "name": "Ann"}]}, "messages.0.name: Extra inputs are not permitted"),
    ({"say": [{"role": "user"}]}, "messages.0.content: Field required"),
    ({"say": turns("")}, "messages.0: all messages must have non-empty content"),
    ({"say": turns([])}, "messages.0: all messages must have non-empty content"),
    ({"say": turns([{"type": "text", "text": ""}])}, "messages: text content blocks must be non-empty"),
    ({"say": turns("Hi", [{"type": "text", "text": ""}, USE], [RESULT])}, "messages: text content blocks must be non-empty"),
    ({"say": turns(" \n")}, "messages: text content blocks must contain non-whitespace text"),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    ({"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
    ({"say": turns("Hi", "So ")}, "messages: final assistant content cannot end with trailing whitespace"),
    ({"say": turns([{"type": "image_url", "image_url": {}}])},
     "messages.0.content.0: Input tag 'image_url' found using 'type'"),
    ({"say": turns([{**TEXT, "cache": 1}])}, "messages.0.content.0.text.cache: Extra inputs are not permitted"),
    ({"say": turns([{"type": "text"}])}, "messages.0.content.0.text.text: Field required"),
    ({"say": turns([USE])}, "messages.0: `tool_use` blocks can only be in `assistant` messages"),
    ({"say": turns("Hi", [RESULT])}, "messages.1: `tool_result` blocks can only be in `user` messages"),
    ({"say": image(type="base64", media_type="image/bmp", data="AA==")},
     "image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"),
    ({"say": image(type="base64", media_type="image/png", data="???")}, "messages.0.content.0.image.source.base64.data: "),
    ({"say": image(type="base64", media_type="image/jpeg", data=PNG)}, "appears to be a image/png image"),
    ({"say": image(type="base64", data=PNG)}, "messages.0.content.0.image.source.base64.media_type: Field required"),
    ({"say": image(type="url", url="http://example.com/a.png")}, "Only HTTPS URLs are supported."),
    ({"say": turns("Hi", [USE])},
     "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."),
    ({"say": turns("Hi", [USE], "ok")}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    ({"say": turns("Hi", [USE, USE2], [RESULT])}, "immediately after: toolu_2."),
    ({"say": turns("Hi", [USE, USE2], [RESULT, TEXT, RESULT2])}, "immediately after: toolu_2."),
    ({"say": turns("Hi", [USE], [TEXT, RESULT])}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    ({"say": turns([RESULT])}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1."),
    ({"say": turns("Hi", [USE], [RESULT, RESULT2])}, "messages.2.content.1: unexpected `tool_use_id` found"),
    ({"say": turns("Hi", [USE], [RESULT, RESULT])}, "each tool_use must have a single result"),
    ({"say": turns("Hi", [USE, USE], [RESULT])}, "messages.1: `tool_use` ids must be unique"),
    ({"say": turns("Hi", [{**USE, "id": "a.b"}], [RESULT])}, "messages.1.content.0.tool_use.id: String should match pattern"),
    ({"say": turns("Hi", [{**USE, "input": "{}"}], [RESULT])}, "tool_use.input: Input should be a valid dictionary"),
    ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0: Input tag 'function' found using 'type'"),
    ({"tools": [{**TOOL, "parameters": {}}]}, "tools.0.custom.parameters: Extra inputs are not permitted"),
    ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{**TOOL, "name": "a.b"}]}, "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    ({"tools": [{**TOOL, "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{**TOOL, "input_schema": {**OBJECT, "oneOf": []}}]},
     "does not support oneOf, allOf, or anyOf at the top level"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice: tool_choice may only be specified while providing tools"),
    ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [TOOL]}, "tool_choice: Tool 'g' not found in provided tools"),
    ({"tool_choice": {"type": "required"}, "tools": [TOOL]}, "tool_choice: Input tag 'required' found using 'type'"),
    ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "`max_tokens` must be greater than `thinking.budget_tokens`."),
    ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "thinking.enabled.budget_tokens: Input should be greater than"),
    ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
    ({"thinking": THINK, "temperature": 0.5}, TEMPERATURE_THINK),
    ({"thinking": THINK, "top_k": 5}, "`top_k` must be unset when thinking is enabled."),
    ({"thinking": THINK, "tools": [TOOL], "tool_choice": {"type": "any"}},
     "Thinking may not be enabled when tool_choice forces"),
    ({"thinking": THINK, "say": turns("Hi", [USE], [RESULT])},
     "Expected `thinking` or `redacted_thinking`, but found `tool_use`."),
    ({"say": turns("Hi", [{**THOUGHT, "signature": "AAAA"}, TEXT])},
     "messages.1.content.0: Invalid `signature` in `thinking` block"),
    ({"say": turns("Hi", [{**THOUGHT, "thinking": "Else."}, TEXT])}, "Invalid `signature` in `thinking` block"),
    ({"output_config": {"format": {"type": "json_schema", "schema": OBJECT}}}, "'additionalProperties' must be explicitly set"),
    ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5}, "A maximum of 4 blocks"),
])  # fmt: skip
def test_anthropic_refuses(api: Any, change: Dict[str, Any], message: str) -> None:
    got = api.anthropic("demo-tools", **change)
    assert (got.status, got.json["type"], got.json["error"]["type"]) == (400, "error", "invalid_request_error")
    assert message in got.json["error"]["message"]


def test_anthropic_takes_null_only_where_its_api_has_it(api: Any) -> None:
    for name in ("cache_control", "container", "inference_geo", "speed"):
        body = {"model": "demo", "max_tokens": 9, "messages": [USER], name: None}
        assert api.send("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01"}).status == 200, name
    body = {"model": "demo", "max_tokens": 9, "messages": [USER], "system": None}
    got = api.send("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01"})
    assert (got.status, got.json["error"]["message"]) == (400, "system: Input should be a valid list")


@pytest.mark.parametrize("change", [
    {"say": turns("Hi", "")}, {"say": turns("Hi", [])}, {"say": [USER, USER]}, {"say": turns("Hi", [USE], [RESULT, TEXT])},
    {"say": turns("Hi", [USE, USE2], [RESULT2, RESULT, TEXT])}, {"say": turns("Hi", [USE], [{**RESULT, "content": ""}])},
    {"say": turns("Hi", [USE], [{**RESULT, "content": [TEXT], "is_error": True}])}, {"system": ""}, {"top_k": 3},
    {"say": turns("Hi", [THOUGHT, USE], [RESULT]), "thinking": THINK},
    {"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": {"type": "any"}},
    {"say": turns("Hi", [{**TEXT, "text": " "}, USE], [RESULT])},
    {"say": turns("Hi", [{**THOUGHT, "thinking": ""}, TEXT])}, {"temperature": 1, "thinking": THINK},
    {"say": turns("Hi", [{"type": "redacted_thinking", "data": "x"}, TEXT])}, {"metadata": {"user_id": "u"}},
    {"tools": [{"type": "web_search_20250305", "name": "web_search"}, {**TOOL, "type": "custom"}]},
    {"context_management": {"edits": []},
     "headers": {"anthropic-version": "2023-06-01", "anthropic-beta": "x,context-management-2025-06-27"}},
    {"say": [USER, {"role": "system", "content": "Now"}],
     "headers": {"anthropic-version": "2026-10-21", "anthropic-beta": "mid-conversation-system-2026-04-07"}},
    {"say": turns([{**TEXT, "cache_control": {"type": "ephemeral"}}]), "service_tier": "auto", "stop_sequences": ["x"]},
    {"say": turns([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}, TEXT])},
    {"say": [USER, {"role": "system", "content": [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}]}],
     "headers": {"anthropic-version": "2026-10-21", "anthropic-beta": "mid-conversation-tool-changes-2026-07-01"}},
    {"say": turns([{**TEXT, "cache_control": None, "citations": None}]),
     "tools": [{**TOOL, "type": None, "cache_control": None}]},
])  # fmt: skip
def test_anthropic_takes(api: Any, change: Any) -> None:
    got = api.anthropic(**change)
    assert got.status == 200, got.json


def test_a_conversation_kept_by_the_server_is_refused_in_the_words_of_anthropics_api(api: Any) -> None:
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "message-threads-2026-08-12"}
    got = api.anthropic(headers=headers, thread={"type": "create"})
    facts = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert (got.status, got.json["error"]["details"]) == (400, facts)
    assert api.anthropic(thread={"type": "create"}).json["error"]["message"] == "thread: Extra inputs are not permitted"


def test_count_tokens_takes_no_sampling(api: Any) -> None:
    body = {"model": "demo", "messages": [USER]}
    version = {"anthropic-version": "2023-06-01"}
    assert api.send("POST", "/v1/messages/count_tokens", body, version).status == 200
    got = api.send("POST", "/v1/messages/count_tokens", {**body, "max_tokens": 5}, version)
    assert (got.status, got.json["error"]["message"]) == (400, "max_tokens: Extra inputs are not permitted")


# ------------------------------------------------------------------------------------------------------------- OpenAI

FUNCTION: Any = {"type": "function", "function": {"name": "f", "parameters": OBJECT}}
CALL: Any = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL2: Any = {**CALL, "id": "call_2"}
SAID: Any = {"role": "tool", "tool_call_id": "call_1", "content": "ok"}


CUSTOM: Any = {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}
CUSTOM_CALL: Any = {"id": "call_1", "type": "custom", "custom": {"name": "g", "input": "print(1)"}}
ALLOWED: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
    {"type": "function", "function": {"name": "f"}}]}}  # fmt: skip


def assistant(*calls: Any) -> Any:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def named(name: str) -> Any:
    return [{"type": "function", "function": {"name": name}}]


def part(kind: str, **more: Any) -> Any:
    return [{"role": "user", "content": [{"type": kind, **more}]}]


CLOSED = {**OBJECT, "additionalProperties": False}


def wish(schema: Any, **more: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True, **more}}


OPENAI_REFUSES: List[Any] = [
    ({"top_k": 5}, "Unrecognized request argument supplied: top_k", None),
    ({"top_k": 5, "system": "x"}, "Unrecognized request arguments supplied: top_k, system", None),
    ({"say": [{"role": "model", "content": "x"}]},
     "Invalid value: 'model'. Supported values are: 'system', ", "messages[0].role"),
    ({"say": [{**USER, "cache_control": {}}]}, "Unknown parameter: 'messages[0].cache_control'.", "messages[0].cache_control"),
    ({"say": [USER, {"role": "assistant", "content": None}]}, "expected a string, got null.", "messages[1].content"),
    ({"say": [USER, {"role": "assistant"}]},
     "Invalid value for 'content': expected a string, got null.", "messages[1].content"),
    ({"say": [USER, {"role": "assistant", "tool_calls": []}]}, "Invalid 'messages[1].tool_calls': empty array.",
     "messages[1].tool_calls"),
    ({"say": [USER, {"role": "assistant", "content": "Hi", "tool_calls": None}]},
     "Invalid type for 'messages[1].tool_calls': expected an array of objects, but got null", "messages[1].tool_calls"),
    ({"say": [USER, {"role": "assistant", "content": None, "function_call": None}]},
     "Invalid value for 'content': expected a string, got null.", "messages[1].content"),
    ({"tools": [CUSTOM], "tool_choice": {"type": "custom", "custom": {"name": "h"}}},
     "Tool choice 'h' not found", "tool_choice"),
    ({"say": part("image", source={})},
     "Invalid value: 'image'. Supported values are: 'text', ", "messages[0].content[0].type"),
    ({"say": part("text")}, "Missing required parameter: 'messages[0].content[0].text'.", "messages[0].content[0].text"),
    ({"say": part("text", text="x", cache_control={})}, "Unknown parameter: 'messages[0].content[0].cache_control'.",
     "messages[0].content[0].cache_control"),
    ({"say": [{"role": "system", "content": part("image_url", image_url={"url": "x"})[0]["content"]}]},
     "Image URLs are only allowed for messages with role 'user'", "messages[0].content[0]"),
    ({"say": [USER, SAID]}, "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
     "messages.[1].role"),
    ({"say": [USER, assistant(CALL), {**SAID, "tool_call_id": "call_9"}]}, "'tool_call_id' of 'call_9' not found",
     "messages.[2].tool_call_id"),
    ({"say": [USER, assistant(CALL, CALL2), SAID]}, "did not have response messages: call_2", "messages.[3].role"),
    ({"say": [USER, assistant(CALL), USER]}, "must be followed by tool messages responding to each", "messages.[2].role"),
    ({"say": [USER, assistant(CALL)]}, "did not have response messages: call_1", "messages.[2].role"),
    ({"say": [USER, assistant({**CALL, "id": "x" * 41}), SAID]}, "string too long. Expected a string with maximum length 40",
     "messages[1].tool_calls[0].id"),
    ({"say": [USER, assistant({**CALL, "function": {"name": "f", "arguments": {}}}), SAID]}, "expected a string",
     "messages[1].tool_calls[0].function.arguments"),
    ({"say": [USER, assistant({**CALL, "extra_content": {}}), SAID]},
     "Unknown parameter", "messages[1].tool_calls[0].extra_content"),
    ({"tool_choice": "auto"}, "'tool_choice' is only allowed when 'tools' are specified.", "tool_choice"),
    ({"parallel_tool_calls": True}, "'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls"),
    ({"tools": []}, "Invalid 'tools': empty array.", "tools"),
    ({"tools": named("a.b")}, "Invalid 'tools[0].function.name': string does not match pattern.", "tools[0].function.name"),
    ({"tools": named("a" * 65)}, "Invalid 'tools[0].function.name': string too long.", "tools[0].function.name"),
    ({"tools": [{"name": "f", "input_schema": {}}]}, "Missing required parameter: 'tools[0].type'.", "tools[0].type"),
    ({"tools": named("f"), "tool_choice": {"type": "function", "function": {"name": "g"}}}, "Tool choice 'g' not found",
     "tool_choice"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled.", "stream_options"),
    ({"temperature": 3}, "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
     "temperature"),
    ({"max_tokens": 0}, "Invalid 'max_tokens': integer below minimum value.", "max_tokens"),
    ({"stop": ["a"] * 5}, "Invalid 'stop': array too long. Expected an array with maximum length 4", "stop"),
    ({"response_format": {"type": "json"}}, "Supported values are: 'json_object', 'json_schema' and 'text'",
     "response_format.type"),
    ({"response_format": {"type": "json_object"}}, "'messages' must contain the word 'json' in some form", "messages"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "Missing required parameter",
     "response_format.json_schema.name"),
    ({"response_format": wish(OBJECT)},
     "'additionalProperties' is required to be supplied and to be false.", "response_format"),
    ({"response_format": wish(CLOSED)}, "Missing 'city'.", "response_format"),
]  # fmt: skip


@pytest.mark.parametrize("change, message, param", OPENAI_REFUSES)
def test_openai_refuses(api: Any, change: Dict[str, Any], message: str, param: Any) -> None:
    got = api.openai("demo-strict", **change)
    assert (got.status, got.json["error"]["type"], got.json["error"]["param"]) == (400, "invalid_request_error", param)
    assert message in got.json["error"]["message"]


def test_codes_say_which_rule_it_was(api: Any) -> None:
    def code(**change: Any) -> Any:
        return api.openai("demo-strict", **change).json["error"]["code"]

    assert code(temperature=3) == "decimal_above_max_value" and code(max_tokens=0) == "integer_below_min_value"
    assert code(tools=[]) == "empty_array" and code(tools=named("a" * 65)) == "string_above_max_length"
    assert code(say=part("text", text="x", a=1)) == "unknown_parameter" and code(top_k=1) is None


def test_openai_is_strict_for_models_called_so_and_for_a_strict_server(api: Any) -> None:
    for change, _, _ in OPENAI_REFUSES[:2]:
        assert api.openai("demo", **change).status == 200
    assert api.openai("demo-strict-tools", tools=[FUNCTION], top_k=1).status == 400
    called = api.openai("demo-strict-tools", tools=[FUNCTION])
    assert called.json["choices"][0]["finish_reason"] == "tool_calls" and called.json["model"] == "demo-strict-tools"
    with DemoServer(strict=True) as demo:
        other = type(api)(demo.port)
        assert other.openai("demo", top_k=1).status == 400 and other.openai("demo").status == 200
        assert other.openai("fail-429", top_k=1).status == 400 and other.openai("fail-429").status == 429
        other.connection.close()


@pytest.mark.parametrize("change", [
    {"say": [USER, assistant(CALL, CALL2), SAID, {**SAID, "tool_call_id": "call_2"}, USER], "tools": [FUNCTION]},
    {"say": [{"role": "developer", "content": "x"}, {"role": "system", "content": [{"type": "text", "text": "x"}]}, USER]},
    {"say": part("image_url", image_url={"url": "https://example.com/a.png", "detail": "low"})}, {"response_format": None},
    {"say": [USER, {"role": "assistant", "content": ""}]}, {"max_completion_tokens": 9, "reasoning_effort": "low", "n": 2},
    {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False}, {"temperature": None, "stop": "x"},
    {"stream": True, "stream_options": {"include_usage": True}}, {"response_format": wish({**CLOSED, "required": ["city"]})},
    {"say": "as json", "response_format": {"type": "json_object"}}, {"metadata": {"a": "b"}, "store": False, "user": "u"},
    dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls", "stream_options", "functions", "metadata", "seed")),
    {"say": part("image_url", image_url="https://example.com/a.png")}, {"tools": [FUNCTION], "tool_choice": ALLOWED},
    {"say": [USER, {**assistant(CALL), "refusal": None, "audio": None, "function_call": None}, {**SAID, "name": None}]},
    {"say": [USER, assistant(CUSTOM_CALL), SAID], "tools": [CUSTOM],
     "tool_choice": {"type": "custom", "custom": {"name": "g"}}},
    {"tools": [{"type": "function", "function": {"name": "f", "description": None, "parameters": None, "strict": None}}]},
])  # fmt: skip
def test_openai_takes(api: Any, change: Any) -> None:
    got = api.openai("demo-strict", **change)
    assert got.status == 200, got.body


def test_more_choices_than_one_are_distinguished_by_their_index(api: Any) -> None:
    plain = api.openai(n=2).json["choices"]
    assert [choice["index"] for choice in plain] == [0, 1] and plain[0]["message"] == plain[1]["message"]
    chunks = [data for _, data in api.openai(n=2, stream=True).events if isinstance(data, dict)]
    ends = [choice["index"] for each in chunks for choice in each["choices"] if choice["finish_reason"]]
    assert ends == [0, 1] and all(len(each["choices"]) == 1 for each in chunks)
    assert [each["index"] for each in api.gemini(generationConfig={"candidateCount": 2}).json["candidates"]] == [0, 1]


def test_stops_cached_tokens_and_images_in_results(api: Any) -> None:
    assert api.openai(say="one two", stop="two").json["choices"][0]["message"]["content"] == f"{NOTICE} You said: one "
    usage = api.openai("demo-cached", "one two three").json["usage"]
    prompt = usage["prompt_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": prompt // 2, "cache_write_tokens": prompt // 4}
    shown = {**SAID, "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}
    assert "f said:  Image 1: PNG, 640x480" in api.openai(say=[USER, assistant(CALL), shown]).body.decode()


def test_embeddings_depend_on_the_text_alone_and_come_as_numbers_or_bytes(api: Any) -> None:
    def embed(**body: Any) -> Any:
        return api.send("POST", "/v1/embeddings", {"model": "demo", **body}).json

    numbers = embed(input=["a", "b"], dimensions=3)
    assert [each["index"] for each in numbers["data"]] == [0, 1] and numbers["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    vector = numbers["data"][1]["embedding"]
    assert len(vector) == 3 and vector != numbers["data"][0]["embedding"] and all(-1 <= each <= 1 for each in vector)
    packed = embed(input="b", dimensions=3, encoding_format="base64")["data"][0]["embedding"]
    assert struct.unpack("<3f", base64.b64decode(packed)) == pytest.approx(vector)
    assert api.send("POST", "/v1/embeddings", {"model": "fail-429", "input": "a"}).status == 429
    assert api.send("POST", "/v1/embeddings", {"model": "demo", "input": []}).json["error"]["param"] == "input"


# ------------------------------------------------------------------------------------------------------------- Gemini

ASK: Any = {"role": "user", "parts": [{"text": "Hi"}]}
GCALL: Any = {"functionCall": {"name": "f", "args": {}}}
GSAID: Any = {"functionResponse": {"name": "f", "response": {"result": "ok"}}}
SIGNED: Any = {**GCALL, "thoughtSignature": signature_of(REASONING)}
CANNOT = "Cannot find field."


def model(*parts: Any) -> Any:
    return {"role": "model", "parts": list(parts)}


def user(*parts: Any) -> Any:
    return {"role": "user", "parts": list(parts)}


def declared(parameters: Any, **more: Any) -> Any:
    return {"tools": [{"functionDeclarations": [{"name": "f", "parameters": parameters, **more}]}]}


def answer_schema(schema: Any, kind: str = "responseSchema") -> Any:
    return {"generationConfig": {"responseMimeType": "application/json", kind: schema}}


PARAMETERS = "tools[0].function_declarations[0].parameters"
IN_TURN = "Please ensure that function response turn comes immediately after a function call turn."
IN_NUMBER = "Please ensure that the number of function response parts is equal to the number of function call parts"


def unknown(name: str, place: str = "", why: str = CANNOT) -> str:
    where = f" at '{place}'" if place else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{where}: {why}'


@pytest.mark.parametrize("change, message", [
    ({"max_tokens": 5}, unknown("max_tokens")),
    ({"labels": {}}, unknown("labels")),
    ({"generationConfig": {"max_tokens": 5}}, unknown("max_tokens", "generation_config")),
    ({"generationConfig": {"temperature": "hot"}}, "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\""),
    ({"say": [{"role": "user", "content": "Hi"}]}, unknown("content", "contents[0]")),
    ({"say": [user({"type": "text", "text": "Hi"})]}, unknown("type", "contents[0].parts[0]")),
    ({"say": [user({"inlineData": {"mimeType": "image/png", "data": "???"}})]},
     "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed for \"???\""),
    ({"say": [user({"inlineData": {"data": PNG}})]}, "contents[0].parts[0].inline_data.mime_type: mimeType must not be empty."),
    *[(declared({**OBJECT, name: value}), unknown(name, PARAMETERS)) for name, value in (
        ("$schema", "x"), ("additionalProperties", False), ("$ref", "#"), ("oneOf", []), ("allOf", []), ("const", 1),
        ("$defs", {}), ("exclusiveMinimum", 1), ("propertyNames", {}), ("multipleOf", 2), ("uniqueItems", True), ("not", {}),
    )],
    (declared({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "const": 1}}}),
     unknown("const", f"{PARAMETERS}.properties[1].value")),
    (declared({"anyOf": [{"type": "string"}, {"const": 1}]}), unknown("const", f"{PARAMETERS}.any_of[1]")),
    (declared({"type": "array", "items": {"const": 1}}), unknown("const", f"{PARAMETERS}.items")),
    (declared({"type": ["string", "null"]}), unknown("type", PARAMETERS, "Proto field is not repeating, cannot start list.")),
    (declared({"type": "string", "enum": [1]}), f"Invalid value at '{PARAMETERS}.enum[0]' (TYPE_STRING), 1"),
    (declared({"type": "float"}), f"Invalid value at '{PARAMETERS}.type' (type.googleapis.com/google.ai.generativelanguage"),
    (declared({"type": "object", "properties": []}), unknown("properties", PARAMETERS, "Proto field is not repeating, cannot")),
    (declared({"type": "array"}), f"* GenerateContentRequest.{PARAMETERS}.items: missing field."),
    (declared({"type": "object", "properties": {"x": {"type": "array"}}}), f"{PARAMETERS}.properties[x].items: missing field."),
    (declared({"type": "integer", "enum": ["1"]}), f"{PARAMETERS}.enum: only allowed for STRING type"),
    (declared({"type": "string", "enum": ["a", ""]}), f"{PARAMETERS}.enum[1]: cannot be empty"),
    (declared({"type": "string", "format": "uuid"}), f"{PARAMETERS}.format: only 'enum' and 'date-time' are supported"),
    (declared({**OBJECT, "required": ["town"]}), f"{PARAMETERS}.required[0]: property is not defined"),
    (declared(OBJECT, name="1st"), "tools[0].function_declarations[0].name: Invalid function name."),
    (declared(OBJECT, name="f" * 65), "tools[0].function_declarations[0].name: Invalid function name."),
    (declared(OBJECT, parametersJsonSchema=OBJECT), "mutually exclusive"),
    ({"tools": [{"function_declarations": [{"name": "f"}, {"name": "f"}]}]}, "Duplicate function declaration found: f"),
    (answer_schema({**OBJECT, "additionalProperties": False}),
     unknown("additionalProperties", "generation_config.response_schema")),
    ({"generationConfig": {"responseSchema": OBJECT}},
     "generation_config.response_schema: only allowed when response_mime_type"),
    ({"generationConfig": {"responseMimeType": "json"}}, "generation_config.response_mime_type: allowed mimetypes are"),
    ({"generationConfig": {"temperature": 2.5}}, "generation_config.temperature: must be in the range [0.0, 2.0]."),
    ({"generationConfig": {"stopSequences": ["a"] * 6}}, "generation_config.stop_sequences: must have at most 5 elements."),
    ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
     "Function calling config is set without function_declarations."),
    ({**declared(OBJECT), "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}},
     "Please set allowed_function_names only when function calling mode is ANY."),
    ({**declared(OBJECT), "toolConfig": {"functionCallingConfig": {"mode": "any"}}}, "Invalid value at 'tool_config.function_"),
    ({"say": []}, "* GenerateContentRequest.contents: contents is not specified"),
    ({"say": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "Please use a valid role: user, model."),
    ({"say": [{"role": "user"}]}, "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty."),
    ({"say": [ASK, model({})]}, "contents[1].parts[0].data: required oneof field 'data' must have one initialized field"),
    ({"say": [user({"thought": True})]}, "contents[0].parts[0].data: required oneof field 'data' must have one initialized"),
    ({"say": [user({"text": "x", **GSAID})]}, "oneof field 'data' is already set."),
    ({"say": [ASK, user(GSAID)]}, IN_TURN),
    ({"say": [ASK, model({"text": "x"}), user(GSAID)]}, IN_TURN),
    ({"say": [ASK, model(GCALL)]}, IN_TURN),
    ({"say": [ASK, model(GCALL), ASK]}, IN_NUMBER),
    ({"say": [ASK, model(GCALL, GCALL), user(GSAID)]}, IN_NUMBER),
    ({"say": [ASK, model(GCALL), user(GSAID, GSAID)]}, IN_NUMBER),
    ({"say": [ASK, model(GCALL, GCALL), user(GSAID), user(GSAID)]}, IN_NUMBER),
    ({"say": [ASK, model(GCALL), model(GSAID)]}, IN_TURN),
    ({"say": [ASK, model(GCALL), user(GSAID, {"text": "So?"})]}, IN_TURN),
    ({"say": [ASK, model(GCALL), user({"functionResponse": {"name": "g", "response": {}}})]}, "does not match the name"),
    ({"say": [ASK, model(GCALL), user({"functionResponse": {"response": {}}})]},
     "function_response.name: Name cannot be empty."),
    ({"say": [ASK, model(GCALL), user({"functionResponse": {"name": "f", "response": "ok"}})]},
     "google.protobuf.Struct), \"ok\""),
    ({"say": [model(GCALL), user(GSAID)]}, "Please ensure that function call turn comes immediately after a user turn"),
    ({"say": [ASK, model({**GCALL, "thoughtSignature": "AAAA"}), user(GSAID)]}, "Corrupted thought signature."),
    ({"model": "demo-reasoning", "say": [ASK, model(GCALL), user(GSAID)]}, "Function call is missing a thought_signature"),
])  # fmt: skip
def test_gemini_refuses(api: Any, change: Dict[str, Any], message: str) -> None:
    error = api.gemini(**change).json["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT") and message in error["message"]


def test_google_tells_every_unknown_name_at_once_and_where_it_stands(api: Any) -> None:
    error = api.gemini(top_k=1, generationConfig={"seed": 1, "n": 1}).json["error"]
    assert error["message"] == "\n".join([unknown("top_k"), unknown("n", "generation_config")])
    [details] = error["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert sorted(each["field"] for each in details["fieldViolations"]) == ["", "generation_config"]


@pytest.mark.parametrize("change", [
    {"say": [ASK, model(GCALL), user(GSAID), model({"text": "x"}), ASK]},
    {"say": [ASK, model(GCALL, GCALL), user(GSAID, GSAID)]},
    {"say": [ASK, model({"text": "x"}, GCALL), {"parts": [GSAID]}]}, {"systemInstruction": {"parts": [{"text": "x"}]}},
    {"system_instruction": {"parts": {"text": "x"}}, "generation_config": {"max_output_tokens": 5, "thinking_config": {}}},
    {"model": "demo-reasoning", "say": [ASK, model(SIGNED, GCALL), user(GSAID, GSAID)]},
    {"model": "demo-reasoning", "say": [ASK, model(GCALL), user(GSAID), model({"text": "x"}), ASK]},
    {"model": "demo-reasoning",
     "say": [ASK, model({**GCALL, "thoughtSignature": "skip_thought_signature_validator"}), user(GSAID)]},
    {"say": [ASK, model(GCALL), model(GCALL), model({"text": ""}), user(GSAID, GSAID)]},
    {"model": "demo-reasoning", "say": [ASK, model(SIGNED), model(GCALL), user(GSAID, GSAID)]},
    {"say": [user({"text": ""})]}, declared({"type": "OBJECT", "properties": {}}),
    {"say": [ASK, model({"text": "", "thoughtSignature": signature_of("x")}), ASK]},
    {"tools": [{"functionDeclarations": [{"name": "f"}]}]}, {"safetySettings": [], "cachedContent": "x"},
    {"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {
        "$schema": "x", "type": "object", "additionalProperties": False, "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"oneOf": [{"const": 1}]}}}}]}]},
    declared({"type": "OBJECT", "properties": {"const": {"type": "STRING"}, "$ref": {"type": "string"}}}),
    answer_schema({"type": "object", "additionalProperties": False, "properties": {}}, "responseJsonSchema"),
    answer_schema({"type": "ARRAY", "items": {"type": "string", "format": "date-time", "nullable": True}, "minItems": "1"}),
    {"tools": [{"googleSearch": {}}, {"codeExecution": {}}]},
    {"say": [ASK, model({"functionCall": {"name": "f", "id": "made_up_0"}}), user(GSAID)]},
    {"say": [ASK, model({"functionCall": {"name": "f", "id": "x"}}),
             user({"functionResponse": {"name": "f", "id": "x", "response": {}}})]},
    {"tools": None, "toolConfig": None, "systemInstruction": None, "generationConfig": {"temperature": None}},
])  # fmt: skip
def test_gemini_takes(api: Any, change: Any) -> None:
    got = api.gemini(**change)
    assert got.status == 200, got.body


def test_thoughts_are_signed_on_the_first_call_or_the_last_text(api: Any) -> None:
    signature = signature_of(REASONING)

    def parts(name: str, action: str = "generateContent") -> List[Any]:
        got = api.gemini(name, action=action, **declared(OBJECT))
        chunks = [got.json] if action == "generateContent" else [data for _, data in got.events]
        return [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]

    assert [each.get("thoughtSignature") for each in parts("demo-reasoning")] == [None, signature]
    assert parts("demo-reasoning-tools")[-1]["thoughtSignature"] == signature
    streamed = parts("demo-reasoning", "streamGenerateContent?alt=sse")
    assert streamed[-1] == {"text": "", "thoughtSignature": signature}
    calls = [each for each in parts("demo-reasoning-tools", "streamGenerateContent?alt=sse") if "functionCall" in each]
    assert calls[0]["thoughtSignature"] == signature
    assert not any("thoughtSignature" in each for each in parts("demo-tools"))


def test_a_model_with_ids_wants_them_back(api: Any) -> None:
    tools = declared(OBJECT)
    content = api.gemini("demo-tools-ids", **tools).json["candidates"][0]["content"]
    call = content["parts"][0]["functionCall"]
    response = {"name": "f", "response": {}}
    right = [ASK, content, user({"functionResponse": {**response, "id": call["id"]}})]
    assert api.gemini("demo-tools-ids", right, **tools).status == 200
    wrong = api.gemini("demo-tools-ids", [ASK, content, user({"functionResponse": response})])
    assert "does not match the id" in wrong.json["error"]["message"]
    assert api.gemini("demo-tools", right, **tools).status == 200  # older models ignore ids


def test_tokens_are_counted_for_contents_or_a_whole_request(api: Any) -> None:
    def count(**body: Any) -> Any:
        return api.send("POST", "/v1beta/models/demo:countTokens", body)

    prompt = api.gemini(say="one two").json["usageMetadata"]["promptTokenCount"]
    contents = [{"role": "user", "parts": [{"text": "one two"}]}]
    assert count(contents=contents).json["totalTokens"] == prompt
    whole = {"model": "models/demo", "contents": contents, "systemInstruction": {"parts": [{"text": "three"}]}}
    assert count(generateContentRequest=whole).json["totalTokens"] == prompt + 1
    assert count(contents=contents, generationConfig={}).status == 400 and count().status == 400
    assert api.send("POST", "/v1beta/models/fail-429:countTokens", {"contents": contents}).status == 429


def test_google_counts_thoughts_and_cached_tokens_apart(api: Any) -> None:
    usage = api.gemini("demo-reasoning").json["usageMetadata"]
    counted = [usage[name] for name in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")]
    assert min(counted) > 0 and usage["totalTokenCount"] == sum(counted)
    assert api.gemini("demo-cached").json["usageMetadata"]["cachedContentTokenCount"] == counted[0] // 2


def test_google_has_more_ends_than_others(api: Any) -> None:
    blocked = api.gemini("demo-blocked").json
    assert "candidates" not in blocked and blocked["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert api.gemini("demo-finish-RECITATION").json["candidates"][0]["finishReason"] == "RECITATION"
    assert api.gemini("fail-context").json["error"]["message"].startswith("The input token count")


def test_images_beside_and_within_function_responses_are_seen(api: Any) -> None:
    shown = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    within = {"functionResponse": {**GSAID["functionResponse"], "parts": [shown]}}
    for parts in ([within], [GSAID, shown]):
        assert "Image 1: PNG, 640x480 pixels." in api.gemini(say=[ASK, model(GCALL), user(*parts)]).body.decode()


def test_gemini_takes_bytes_in_either_alphabet_of_base64(api: Any) -> None:
    png = base64.b64encode(base64.b64decode(PNG) + b"\xff\xfe\xfd").decode()
    for data in (png, png.replace("+", "-").replace("/", "_")):
        say = [user({"inlineData": {"mimeType": "image/png", "data": data}})]
        assert "Image 1: PNG, 640x480 pixels." in api.gemini(say=say).body.decode()


def test_the_protobuf_of_gemini_names_only_what_it_has() -> None:
    kinds = {"string", "bool", "float", "int", "bytes", "struct", "any", "type", *PROTO}
    for fields in PROTO.values():
        for shape in fields.values():
            one = shape[0] if isinstance(shape, list) else shape[""] if isinstance(shape, dict) else shape
            assert one in kinds


# ------------------------------------------------------------------------------------------------- what was once taken

OTHER_RULES = {  # recordings whose requests the mock server refuses all the same
    "081": "newer Claude models let the assistant begin; older ones do not",
    "134": "Vertex alone has modelArmorConfig", "164": "Vertex alone has labels",
}  # fmt: skip


def resigned(value: Any) -> Any:
    """The value with the signatures of real models replaced by the mock server's."""
    if isinstance(value, list):
        return [resigned(each) for each in value]
    if not isinstance(value, dict):
        return value
    copy = {name: resigned(each) for name, each in value.items()}
    if copy.get("type") == "thinking":
        copy["signature"] = signature_of(copy["thinking"])
    return {**copy, "thoughtSignature": signature_of("")} if "thoughtSignature" in copy else copy


def check_recorded(protocol: str, body: Any) -> None:
    beta = ",".join(ANTHROPIC_BETA.values())
    headers = CaseInsensitiveHeaders([("anthropic-version", "2023-06-01"), ("anthropic-beta", beta)])
    if protocol == "openai-chat":
        check_openai(body)
    elif protocol == "gemini":
        check_gemini(read_proto("GenerateContentRequest", body), "demo-ids")
    else:
        fields = ANTHROPIC_COUNTED if protocol == "anthropic-count" else ANTHROPIC_FIELDS
        check_anthropic(Request("POST", "/", "", headers, body), fields)


@needs("LLM_ROUTER_RECORDINGS")
def test_requests_that_the_real_apis_took_are_taken() -> None:
    hosts = {"openai-chat": "api.openai.com", "anthropic-messages": "", "anthropic-count": "", "gemini": ""}
    taken = 0
    for path in files_in("LLM_ROUTER_RECORDINGS", "[0-9]*.json"):
        recording = json.loads(path.read_text(encoding="utf-8"))
        protocol = recording["protocol"]
        if hosts.get(protocol) not in ("", recording["provider"]) or path.name[:3] in OTHER_RULES:
            continue
        for exchange in recording["exchanges"]:
            body = exchange["request"]["body"]
            if exchange["response"]["status"] == 200 and isinstance(body, dict):
                try:
                    check_recorded(protocol, resigned(body))
                except Rejected as error:
                    raise AssertionError(path.name) from error
                taken += 1
    assert taken > 200


# --------------------------------------------------------------------------------------------------------- odd shapes


def spoiled(value: Any, odd: Any) -> Iterator[Any]:
    """The value with each of the values in it replaced by an odd one, one at a time."""
    yield odd
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        for other in spoiled(each, odd):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = other
            yield copy


BODIES: List[Any] = [
    ("/v1/messages", {
        "model": "demo", "max_tokens": 2048, "system": [{"type": "text", "text": "x"}], "stop_sequences": ["a"],
        "messages": turns([TEXT, *image(type="base64", media_type="image/png", data=PNG)[0]["content"]],
                          [THOUGHT, USE], [{**RESULT, "content": [TEXT]}, TEXT]),
        "tools": [TOOL], "tool_choice": {"type": "auto"}, "thinking": THINK, "metadata": {"user_id": "u"},
        "output_config": {"format": {"type": "json_schema", "schema": {**OBJECT, "additionalProperties": False}}},
    }),
    ("/v1/chat/completions", {
        "model": "demo-strict", "messages": [*part("image_url", image_url={"url": "x"}), assistant(CALL), SAID], "stop": ["a"],
        "tools": [FUNCTION], "tool_choice": "auto", "temperature": 1, "n": 1, "stream_options": {"include_usage": True},
        "stream": True, "response_format": wish({**CLOSED, "required": ["city"]}),
    }),
    ("/v1beta/models/demo-reasoning:generateContent", {
        "contents": [ASK, model(SIGNED), user({"functionResponse": {"name": "f", "response": {}, "parts": []}})],
        **declared({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "enum": ["x"]}}}}),
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        **answer_schema({"anyOf": [OBJECT]}), "systemInstruction": {"parts": [{"text": "x"}]},
    }),
    ("/v1/responses", {
        "model": "demo", "instructions": "x", "store": False, "stream": False, "include": ["reasoning.encrypted_content"],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"},
                                         {"type": "input_image", "image_url": "data:image/"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}],
             "encrypted_content": signature_of("x")},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "ok"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": OBJECT},
                  {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "g"}]}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": OBJECT}}, "reasoning": {"summary": "auto"},
        "temperature": 1, "metadata": {"a": "b"}, "previous_response_id": None,
    }),
    ("/v1/responses/compact", {"model": "demo", "input": [{"role": "user", "content": "Hi"}]}),
    ("/v1/responses/input_tokens", {"model": "demo", "input": "Hi"}),
    ("/v1/completions", {
        "model": "demo", "prompt": ["a", [1, 2]], "suffix": "b", "echo": True, "n": 2, "stop": ["x"], "logprobs": 1,
        "stream": True, "stream_options": {"include_usage": True},
    }),
    ("/v1beta/models/demo:embedContent", {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 4}),
    ("/v1beta/models/demo:batchEmbedContents", {"requests": [{"model": "models/demo", "content": {"parts": [{"text": "a"}]}}]}),
    ("/v1/embeddings", {"model": "demo", "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}),
    ("/v1/messages/count_tokens", {"model": "demo", "messages": turns("Hi")}),
    ("/v1beta/models/demo:countTokens", {"generateContentRequest": {"model": "models/demo", "contents": [ASK]}}),
]  # fmt: skip


@pytest.mark.parametrize("path, body", BODIES)
@pytest.mark.slow
def test_any_value_of_a_wrong_type_gets_a_400_or_an_answer(api: Any, capfd: Any, path: str, body: Any) -> None:
    version = {"anthropic-version": "2023-06-01"}
    whole = api.send("POST", path, body, version)
    assert whole.status == 200, whole.body
    for odd in (None, 7, "", "x", [], {}, [[]], [{}], True, -1.5):
        for other in spoiled(body, odd):
            assert api.send("POST", path, other, version).status in (200, 400, 404), other
    assert api.send("POST", path, b"{", version).status == 400
    assert capfd.readouterr().err == ""
