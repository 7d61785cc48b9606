"""The mock server's Anthropic side: messages, plain and streamed, tokens counted, models listed, and every failure."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
from typing import Any, Dict, List

import pytest

from llm_router_demo import BEHAVIOURS, NOTICE, REASONING
from llm_router_demo_protocols import signature_of

ENDLESS = ("fail-stall", "fail-stall-mid", "fail-comments", "fail-comments-mid", "fail-drip")
VERSION = {"anthropic-version": "2023-06-01"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)).decode()
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
CLOCK = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
TOOLS = [WEATHER, CLOCK]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def joined(got: Any) -> Dict[str, Any]:
    """The message that a stream's events add up to, in the form of a plain answer."""
    message: Dict[str, Any] = {}
    for name, data in got.events:
        assert name == data["type"]
        if name == "message_start":
            message = data["message"]
        elif name == "content_block_start":
            assert data["index"] == len(message["content"])
            message["content"].append(data["content_block"])
        elif name == "content_block_delta":
            add(message["content"][data["index"]], data["delta"])
        elif name == "message_delta":
            message.update(data["delta"])
            message["usage"].update(data["usage"])
    for block in message["content"]:
        if isinstance(block.get("input"), str):
            block["input"] = json.loads(block["input"] or "{}")
    return message


def add(block: Dict[str, Any], delta: Dict[str, Any]) -> None:
    kind = delta["type"]
    if kind == "input_json_delta":
        block["input"] = (block["input"] or "") + delta["partial_json"]
    else:
        name = kind.replace("_delta", "")
        block[name] += delta[name]


def text_of(message: Any) -> str:
    return "".join(block.get("text", "") for block in message["content"])


# ------------------------------------------------------------------------------------------------------------ answers


def test_a_message_is_answered_in_anthropics_shape(api: Any) -> None:
    got = api.anthropic()
    message = got.json
    assert got.status == 200 and got.headers["request-id"].startswith("req_")
    assert message["content"] == [{"type": "text", "text": f"{NOTICE} You said: Hello there"}]
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "demo")
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert message["id"].startswith("msg_") and message["usage"]["output_tokens"] == 12


@pytest.mark.parametrize("more", [
    {}, {"model": "demo-reasoning"}, {"model": "demo-tools", "tools": TOOLS},
    {"model": "demo-reasoning-tools", "tools": TOOLS}, {"model": "demo-cached"}, {"model": "fail-length"},
    {"model": "fail-filter"}, {"model": "fail-empty"}, {"stop_sequences": ["You"]}, {"model": "demo-finish-pause_turn"},
])  # fmt: skip
def test_a_stream_adds_up_to_the_plain_answer(api: Any, more: Any) -> None:
    plain, stream = api.anthropic(**more).json, api.anthropic(**more, stream=True)
    assert stream.headers["content-type"] == "text/event-stream"
    message = joined(stream)
    for each in (plain, message):  # their ids come from the body, and one body says stream
        del each["id"]
    assert message == plain


def test_a_stream_has_its_events_in_anthropics_order(api: Any) -> None:
    names = [name for name, _ in api.anthropic("demo-reasoning-tools", stream=True, tools=TOOLS).events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert names.count("content_block_start") == names.count("content_block_stop") == 3
    assert [name for name in names if names.count(name) == 1] == ["message_start", "ping", "message_delta", "message_stop"]


def test_a_thought_is_signed_in_a_delta_of_its_own(api: Any) -> None:
    events = [data for _, data in api.anthropic("demo-reasoning", stream=True).events]
    kinds = [data["delta"]["type"] for data in events if data["type"] == "content_block_delta"]
    assert kinds.count("signature_delta") == 1
    assert kinds[: kinds.index("signature_delta")] == ["thinking_delta"] * kinds.index("signature_delta")
    block = api.anthropic("demo-reasoning").json["content"][0]
    assert block == {"type": "thinking", "thinking": REASONING, "signature": signature_of(REASONING)}
    assert api.anthropic("demo-reasoning", thinking={"type": "disabled"}).json["content"][0]["type"] == "text"


@pytest.mark.parametrize("model, stop", [
    ("demo", "end_turn"), ("fail-length", "max_tokens"), ("fail-filter", "refusal"), ("fail-filter-mid", "refusal"),
    ("fail-refusal", "refusal"), ("demo-finish-pause_turn", "pause_turn"), ("demo-tools", "tool_use"),
    ("demo-finish-model_context_window_exceeded", "model_context_window_exceeded"), ("demo-tools-stop", "end_turn"),
])  # fmt: skip
def test_stop_reasons(api: Any, model: str, stop: str) -> None:
    assert api.anthropic(model, tools=TOOLS).json["stop_reason"] == stop


def test_a_stop_sequence_ends_the_answer(api: Any) -> None:
    message = api.anthropic(say="one END two", stop_sequences=["two", " END"]).json
    assert text_of(message) == f"{NOTICE} You said: one"
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", " END")


def test_usage_keeps_the_cache_apart_and_count_tokens_tells_the_whole(api: Any) -> None:
    body: Any = {"model": "demo-cached", "system": "Be brief.", "tools": TOOLS,
                 "messages": [{"role": "user", "content": "one two three"}]}  # fmt: skip
    counted = api.send("POST", "/v1/messages/count_tokens", body, VERSION)
    usage = api.send("POST", "/v1/messages?beta=true", {**body, "max_tokens": 9}, VERSION).json["usage"]
    parts = [usage[name] for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")]
    assert min(parts) > 0 and counted.json == {"input_tokens": sum(parts)}
    assert usage["cache_creation"]["ephemeral_5m_input_tokens"] == parts[2]


def test_json_is_answered_where_a_schema_is_given(api: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    wish = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads(text_of(api.anthropic(output_config=wish).json)) == {"n": 1}


# ------------------------------------------------------------------------------------------------- images and tools


def test_images_are_seen_as_bytes_and_not_fetched_as_urls(api: Any) -> None:
    link = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    text = text_of(api.anthropic(say=[{"role": "user", "content": [IMAGE, link, {"type": "text", "text": "Look"}]}]).json)
    assert "You said: Look Image 1: PNG, 640x480 pixels." in text and "given as a URL (https://example.com/a.png)" in text


@pytest.mark.parametrize("choice, names", [
    (None, []), ({"type": "auto"}, []), ({"type": "any"}, ["get_weather", "get_time"]), ({"type": "none"}, []),
    ({"type": "tool", "name": "get_time"}, ["get_time"]),
    ({"type": "any", "disable_parallel_tool_use": True}, ["get_weather"]),
])  # fmt: skip
def test_tool_choice_decides(api: Any, choice: Any, names: List[str]) -> None:
    content = api.anthropic(tools=TOOLS, tool_choice=choice).json["content"]
    assert [block["name"] for block in content if block["type"] == "tool_use"] == names


def test_calls_are_made_answered_and_quoted_with_their_images(api: Any) -> None:
    first = api.anthropic("demo-reasoning-tools", tools=TOOLS).json
    calls = [block for block in first["content"] if block["type"] == "tool_use"]
    assert [call["input"] for call in calls] == [{"city": "mock", "days": 1}, {}]
    assert all(call["id"].startswith("toolu_") for call in calls)
    results: List[Any] = [
        {"type": "tool_result", "tool_use_id": calls[1]["id"], "content": "noon"},
        {"type": "tool_result", "tool_use_id": calls[0]["id"], "content": [{"type": "text", "text": "Rain."}, IMAGE]},
    ]
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [*results, {"type": "text", "text": "So?"}]},
    ]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    got = api.anthropic("demo-reasoning-tools", turns, tools=TOOLS, thinking=thinking)
    said = "get_time said: noon; get_weather said: Rain. Image 1: PNG, 640x480 pixels."
    assert text_of(got.json) == f"{NOTICE} {said}"


def test_arguments_come_in_pieces_and_may_break_off(api: Any) -> None:
    def pieces(model: str) -> List[str]:
        events = [data for _, data in api.anthropic(model, tools=[WEATHER], stream=True).events]
        return [data["delta"]["partial_json"] for data in events if data["type"] == "content_block_delta"]

    assert pieces("demo-tools")[0] == "" and json.loads("".join(pieces("demo-tools"))) == {"city": "mock", "days": 1}
    with pytest.raises(ValueError):
        json.loads("".join(pieces("demo-tools-cut-args")))
    assert pieces("demo-tools-empty-args") == pieces("demo-tools-null-args") == [""]


# ----------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("model, status, kind", [
    ("fail-401", 401, "authentication_error"), ("fail-402", 402, "billing_error"), ("fail-403", 403, "permission_error"),
    ("fail-404", 404, "not_found_error"), ("fail-413", 413, "request_too_large"), ("fail-429", 429, "rate_limit_error"),
    ("fail-500", 500, "api_error"), ("fail-503", 503, "api_error"), ("fail-529", 529, "overloaded_error"),
    ("fail-context", 400, "invalid_request_error"), ("unknown", 404, "not_found_error"),
])  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_errors_have_anthropics_shape(api: Any, model: str, status: int, kind: str, path: str) -> None:
    body: Any = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    got = api.send("POST", path, {**body, "max_tokens": 9, "stream": True} if path == "/v1/messages" else body, VERSION)
    assert (got.status, got.json["type"], got.json["error"]["type"]) == (status, "error", kind)
    assert set(got.json) == {"type", "error", "request_id"} and set(got.json["error"]) == {"type", "message"}
    assert got.json["request_id"] == got.headers["request-id"]
    assert got.headers.get("retry-after") == ("1" if status == 429 else None)


def test_a_prompt_that_is_too_long_is_refused_in_anthropics_words(api: Any) -> None:
    assert api.anthropic("fail-context").json["error"]["message"].startswith("prompt is too long: ")


def test_an_error_within_a_stream_ends_it(api: Any) -> None:
    first, mid = api.anthropic("fail-error-first", stream=True), api.anthropic("fail-error-mid", stream=True)
    assert [name for name, _ in first.events] == ["message_start", "error"]
    assert mid.events[-1][0] == "error" and mid.events[-1][1]["error"]["type"] == "api_error"
    names = [name for name, _ in mid.events]
    assert "content_block_delta" in names and "content_block_stop" not in names and "message_stop" not in names
    assert api.anthropic("fail-error-200", stream=True).json["type"] == "error"


def test_streams_that_end_too_early_or_oddly(api: Any) -> None:
    cut, nodone, nofinish, bad = (
        api.anthropic(f"fail-{name}", stream=True).events for name in ("cut", "nodone", "nofinish", "badjson")
    )
    assert cut[-1][0] == "content_block_delta" and nodone[-1][0] == "message_delta"
    assert nofinish[-1][0] == "message_stop" and nofinish[-2][1]["delta"]["stop_reason"] is None
    broken = [(name, data) for name, data in bad if isinstance(data, str)]
    assert len(broken) == 1 and broken[0][0] == "content_block_delta" and bad[-1][0] == "message_stop"
    assert [name for name, _ in api.anthropic("fail-choices-empty", stream=True).events] == [
        "message_start", "message_delta", "message_stop"
    ]  # fmt: skip


@pytest.mark.parametrize("path, sign", [
    ("/v1/messages", b'event: ping\ndata: {"type": "ping"}\n\n'),
    ("/v1/chat/completions", b": keep-alive\n\n"),
    ("/v1beta/models/fail-comments:streamGenerateContent?alt=sse", b"\r\n"),
])  # fmt: skip
def test_signs_of_life_are_those_that_the_vendors_clients_take(demo: Any, path: str, sign: bytes) -> None:
    body: Any = {"model": "fail-comments", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    data = json.dumps({"contents": [{"parts": [{"text": "Hi"}]}]} if "v1beta" in path else body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nanthropic-version: 2023-06-01\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", demo.port), 10.0) as connection:
        connection.sendall(head.encode() + data)
        got = b""
        while got.count(b"%x\r\n%b\r\n" % (len(sign), sign)) < 2:
            piece = connection.recv(65_536)
            assert piece, got
            got += piece


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(set(BEHAVIOURS) - set(ENDLESS)))
@pytest.mark.slow
def test_every_behaviour_has_an_anthropic_side(api: Any, capfd: Any, name: str, stream: bool) -> None:
    numbers = {"fail-redirect-N": "307", "fail-N": "418", "fail-image-N": "404", "demo-bytes-N": "900"}
    number = numbers.get(name, "3")
    model = name.replace("-N", f"-{number}").replace("FIELD", "temperature").replace("...", "500")
    try:
        got = api.anthropic(model, tools=TOOLS, stream=stream, temperature=0.5)
        assert got.status >= 200 and (name != "demo-bytes-N" or stream or len(got.body) == 900)
    except (http.client.HTTPException, OSError):
        assert name in ("fail-cut-plain", "fail-reset", "fail-drop") or name.startswith("break-")
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------------------------------------------------- models


def test_models_are_listed_in_the_shape_of_the_callers_protocol(api: Any) -> None:
    ours = api.send("GET", "/v1/models").json["data"]
    listed = api.send("GET", "/v1/models?limit=1000", headers=VERSION).json
    assert [model["id"] for model in listed["data"]] == [model["id"] for model in ours]
    assert {model["type"] for model in listed["data"]} == {"model"} and listed["has_more"] is False
    google = api.send("GET", "/v1/models", headers={"x-goog-api-key": "x"}).json["models"]
    assert google == api.send("GET", "/v1beta/models").json["models"] and google[0]["name"] == f"models/{ours[0]['id']}"
    assert (listed["first_id"], listed["last_id"]) == (ours[0]["id"], ours[-1]["id"])
    page = api.send("GET", f"/v1/models?limit=2&after_id={ours[0]['id']}", headers=VERSION).json
    assert [model["id"] for model in page["data"]] == [model["id"] for model in ours[1:3]] and page["has_more"] is True


def test_one_model_is_described_by_its_name(api: Any) -> None:
    assert api.send("GET", "/v1/models/demo").json["object"] == "model"
    assert api.send("GET", "/v1/models/demo", headers=VERSION).json["type"] == "model"
    assert api.send("GET", "/v1beta/models/demo").json["name"] == "models/demo"
    missing = [api.send("GET", path, headers=head) for path, head in (
        ("/v1/models/no", {}), ("/v1/models/no", VERSION), ("/v1beta/models/no", {}),
    )]  # fmt: skip
    assert [got.status for got in missing] == [404] * 3
    assert [got.json["error"].get(name) for got, name in zip(missing, ("code", "type", "status"))] == [
        "model_not_found", "not_found_error", "NOT_FOUND"
    ]  # fmt: skip
