"""The mock server does what its table says: requests go over plain sockets and http.client, never through our own client."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import pytest
from quick import every

import llm_router_demo
from llm_router_demo import BEHAVIOURS, NOTICE, WORD, WORDS, DemoServer, schema_value

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "llm_router_demo.py"
CHAT = "/v1/chat/completions"
TIMEOUT_S = 30.0  # a hang is a failure
ENDLESS = ("fail-stall", "fail-stall-mid", "fail-comments", "fail-comments-mid", "fail-drip")
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    },
}
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": CLOCK}]


class Got(NamedTuple):
    """A response as it came."""

    status: int
    headers: Dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> List[Any]:
        """The data of each server-sent event: JSON, else text."""
        blocks = self.body.replace(b"\r\n", b"\n").split(b"\n\n")
        found = [block[len(b"data: ") :].decode() for block in blocks if block.startswith(b"data: ")]
        return [json.loads(data) if data.startswith("{") else data for data in found]

    @property
    def choices(self) -> List[Any]:
        return [event["choices"][0] for event in self.events if isinstance(event, dict) and event.get("choices")]

    @property
    def text(self) -> str:
        """What was said, plain or streamed."""
        if self.body.startswith(b"{"):
            return str(self.json["choices"][0]["message"]["content"])
        return "".join(choice["delta"].get("content") or "" for choice in self.choices)

    @property
    def finish(self) -> Optional[str]:
        if self.body.startswith(b"{"):
            return self.json["choices"][0]["finish_reason"]
        return next((choice["finish_reason"] for choice in self.choices if choice["finish_reason"]), None)


class Client:
    """One keep-alive connection to the mock server."""

    def __init__(self, demo: DemoServer) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=TIMEOUT_S)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, method: str, path: str, body: Any = None, headers: Any = ()) -> Got:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            self.connection.request(method, path, data, dict(headers))
            response = self.connection.getresponse()
            return Got(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (http.client.HTTPException, OSError):
            self.connection.close()
            raise

    def chat(self, model: str, message: Any = "Hello there", headers: Any = (), **more: Any) -> Got:
        messages = message if isinstance(message, list) else [{"role": "user", "content": message}]
        return self.send("POST", CHAT, {"model": model, "messages": messages, **more}, headers)

    def gemini(self, model: str, action: str = "generateContent", **body: Any) -> Got:
        body.setdefault("contents", [{"role": "user", "parts": [{"text": "Hello there"}]}])
        return self.send("POST", f"/v1beta/models/{model}:{action}", body)


@pytest.fixture
def client(demo: DemoServer) -> Iterator[Client]:
    with Client(demo) as one:
        yield one


def parts(*images: str) -> List[Any]:
    """A user message with images."""
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return [{"role": "user", "content": [{"type": "text", "text": "Look"}, *shown]}]


def raw(demo: DemoServer, model: str, stream: bool = True, version: str = "1.1") -> socket.socket:
    """A socket on which a chat request was sent."""
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = f"POST {CHAT} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", demo.port), TIMEOUT_S)
    connection.sendall(head.encode() + body)
    return connection


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    for _ in range(200):
        data += connection.recv(65_536)
        if mark in data:
            return data
    raise AssertionError((mark, data))


def sample(name: str) -> str:
    """A model name for an entry of the table."""
    numbers = {"fail-redirect-N": "307", "fail-N": "418", "fail-image-N": "404", "demo-bytes-N": "900"}
    number = numbers.get(name, "3")
    return name.replace("-N", f"-{number}").replace("FIELD", "temperature").replace("...", "500")


# ------------------------------------------------------------------------------------------------------------ answers


def test_an_answer_says_that_it_comes_from_the_mock_server_and_repeats_the_message(client: Client) -> None:
    got = client.chat("demo", "Hello, wörld ✓")
    assert got.status == 200 and got.headers["content-type"] == "application/json"
    assert got.text == f"{NOTICE} You said: Hello, wörld ✓" and "not a model" in NOTICE
    assert got.finish == "stop" and got.json["model"] == "demo" and got.json["object"] == "chat.completion"


def test_a_stream_says_the_same_in_pieces(client: Client) -> None:
    plain, stream = client.chat("demo", "a  b\nc "), client.chat("demo", "a  b\nc ", stream=True)
    assert stream.headers["content-type"] == "text/event-stream" and stream.headers["transfer-encoding"] == "chunked"
    assert stream.text == plain.text and stream.finish == "stop" and stream.events[-1] == "[DONE]"
    assert sum(bool(choice["delta"].get("content")) for choice in stream.choices) > 5
    assert stream.choices[0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("model", ["demo", "demo-reasoning", "demo-tools", "fail-429", "fail-length"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_question_gets_the_same_bytes(client: Client, model: str, stream: bool) -> None:
    first, second = (client.chat(model, stream=stream, tools=TOOLS) for _ in range(2))
    assert first == second


def test_usage_counts_words_and_tells_cost_and_credits(client: Client) -> None:
    usage = client.chat("demo", "one two three").json["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (4, 13, 17)  # the role counts
    assert usage["cost"] == 0.000056 and usage["credits_remaining"] == 99.999944


def test_a_stream_tells_usage_last_and_only_when_first(client: Client) -> None:
    silent = client.chat("demo", stream=True)
    told = client.chat("demo", stream=True, stream_options={"include_usage": True})
    assert not any("usage" in event for event in silent.events[:-1])
    assert told.events[-2]["choices"] == [] and told.events[-2]["usage"] == client.chat("demo").json["usage"]
    assert all(event["usage"] is None for event in told.events[:-2])


def test_other_demo_names_answer_as_demo_and_unknown_models_are_404(client: Client) -> None:
    assert client.chat("demo-of-mine").text.startswith(NOTICE)
    unknown = ("gpt-4", "fail-nonsense", "fail-nonsense-once", "fail-99", "fail-redirect-200", "demo-words-99999999999")
    for model in unknown:
        got = client.chat(model)
        assert (got.status, got.json["error"]["code"]) == (404, "model_not_found"), model


def test_reasoning_comes_before_the_text(client: Client) -> None:
    plain, stream = client.chat("demo-reasoning"), client.chat("demo-reasoning", stream=True)
    reasoning = plain.json["choices"][0]["message"]["reasoning_content"]
    kinds = ["r" if "reasoning_content" in choice["delta"] else "t" for choice in stream.choices[1:-1]]
    assert "".join(choice["delta"].get("reasoning_content", "") for choice in stream.choices) == reasoning
    assert "".join(kinds).strip("r").strip("t") == "" and kinds[0] == "r" and kinds[-1] == "t"
    assert plain.json["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_words_burst_and_bytes_have_the_size_of_their_name(client: Client) -> None:
    words, burst = (client.chat(f"demo-{kind}-5000", stream=True) for kind in ("words", "burst"))
    assert words.text == burst.text == "".join(WORDS) * 1250
    assert sum(bool(choice["delta"].get("content")) for choice in words.choices) == 5000
    assert client.chat("demo-words-0", stream=True).finish == client.chat("demo-burst-1", stream=True).finish == "stop"
    for size in (1_000, 100_000):
        assert len(client.chat(f"demo-bytes-{size}").body) == size
    streamed, plain = client.chat("demo-bytes-100000", stream=True), client.chat("demo-bytes-100000")
    assert streamed.text == plain.text and plain.text.startswith(NOTICE)


def test_sleep_waits_and_slow_hands_over_each_event_at_once(demo: DemoServer, client: Client) -> None:
    begun = time.monotonic()
    client.chat("demo-sleep-60")
    assert time.monotonic() - begun >= 0.06
    with raw(demo, "demo-slow-30") as connection:
        head = read_until(connection, b"\n\n\r\n")
        begun = time.monotonic()
        assert head.count(b"data: ") == 1 and read_until(connection, b"\n\n\r\n").count(b"data: ") == 1
        assert time.monotonic() - begun >= 0.02


@pytest.mark.slow
def test_the_models_that_answer_are_listed(client: Client) -> None:
    listed = client.send("GET", "/v1/models").json
    names = [model["id"] for model in listed["data"]]
    assert listed["object"] == "list" and "demo" in names and "demo-tools" in names
    assert all(client.chat(name).status == 200 for name in names)
    assert [model["name"] for model in client.send("GET", "/v1beta/models").json["models"]] == [
        f"models/{name}" for name in names
    ]


def test_the_front_page_lists_the_behaviours(client: Client) -> None:
    page = client.send("GET", "/").body.decode()
    assert all(name in page for name in BEHAVIOURS)


# ------------------------------------------------------------------------------------------------------------- images

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", 30, 40) + b"\x03"
WEBP = b"RIFF\x00\x00\x00\x00WEBP"


@pytest.mark.parametrize("data, words", [
    (PNG, "PNG, 640x480 pixels"),
    (JPEG, "JPEG, 40x30 pixels"),
    (b"GIF89a" + struct.pack("<HH", 7, 9), "GIF, 7x9 pixels"),
    (WEBP + b"VP8 " + b"\0" * 10 + struct.pack("<HH", 5, 6), "WebP, 5x6 pixels"),
    (WEBP + b"VP8L" + b"\0" * 5 + struct.pack("<I", 4 | 7 << 14), "WebP, 5x8 pixels"),
    (WEBP + b"VP8X" + b"\0" * 8 + b"\x01\0\0\x02\0\0", "WebP, 2x3 pixels"),
    (b"\xff\xd8\xff", "JPEG, size not readable"),
    (PNG[:16], "PNG, size not readable"),
    (b"plain text", "unknown, size not readable"),
])  # fmt: skip
def test_an_images_type_and_size_are_in_the_answer(client: Client, data: bytes, words: str) -> None:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    assert client.chat("demo", parts(url)).text == f"{NOTICE} You said: Look Image 1: {words}."


def test_several_images_are_in_the_answer_and_a_url_is_not_fetched(demo: DemoServer, client: Client) -> None:
    url = f"{demo.url}/cat.png"
    text = client.chat("demo", parts(url, "data:image/png;base64,???")).text
    assert f"Image 1: given as a URL ({url}), which the mock server did not fetch." in text
    assert "Image 2: not readable" in text
    assert len(demo.requests) == 1


# -------------------------------------------------------------------------------------------------------------- tools


def calls_of(got: Got) -> List[Tuple[str, Any]]:
    calls = got.json["choices"][0]["message"].get("tool_calls", [])
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def test_every_tool_offered_is_called_with_arguments_from_its_schema(client: Client) -> None:
    got = client.chat("demo-tools", tools=TOOLS)
    assert calls_of(got) == [("get_weather", {"city": "mock", "days": 1, "unit": "C"}), ("get_time", {})]
    assert got.finish == "tool_calls" and got.json["choices"][0]["message"]["content"] is None
    ids = [call["id"] for call in got.json["choices"][0]["message"]["tool_calls"]]
    assert len(set(ids)) == 2


def test_streamed_calls_come_in_fragments_with_an_index(client: Client) -> None:
    plain, stream = client.chat("demo-tools", tools=TOOLS), client.chat("demo-tools", tools=TOOLS, stream=True)
    joined: Dict[int, Dict[str, str]] = {}
    fragments = [each for choice in stream.choices for each in choice["delta"].get("tool_calls", ())]
    for fragment in fragments:
        call = joined.setdefault(fragment["index"], {"id": "", "name": "", "arguments": ""})
        call["id"] += fragment.get("id", "")
        call["name"] += fragment["function"].get("name", "")
        call["arguments"] += fragment["function"]["arguments"]
    wanted = plain.json["choices"][0]["message"]["tool_calls"]
    assert list(joined.values()) == [{"id": call["id"], **call["function"]} for call in wanted]
    assert len(fragments) > 6 and stream.finish == "tool_calls"


@pytest.mark.parametrize("model, more, names", [
    ("demo", {}, []),
    ("demo", {"tool_choice": "auto"}, []),
    ("demo", {"tool_choice": "required"}, ["get_weather", "get_time"]),
    ("demo", {"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"]),
    ("demo-tools", {"tool_choice": "none"}, []),
    ("demo-tools", {"parallel_tool_calls": False}, ["get_weather"]),
    ("demo-reasoning", {"tool_choice": "required"}, ["get_weather", "get_time"]),
])  # fmt: skip
def test_tool_choice_decides(client: Client, model: str, more: Any, names: List[str]) -> None:
    assert [name for name, _ in calls_of(client.chat(model, tools=TOOLS, **more))] == names


def test_tool_results_are_quoted(client: Client) -> None:
    first = client.chat("demo-tools", tools=TOOLS).json["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"result {number}"}
        for number, call in enumerate(first["tool_calls"])
    ]
    got = client.chat("demo-tools", [{"role": "user", "content": "Weather?"}, first, *results], tools=TOOLS)
    assert got.text == f"{NOTICE} get_weather said: result 0; get_time said: result 1" and got.finish == "stop"


def test_rounds_call_tools_in_the_first_turns_only(client: Client) -> None:
    turns: List[Any] = [{"role": "user", "content": "Weather?"}]
    for _ in range(2):
        got = client.chat("demo-rounds-2", turns, tools=[TOOLS[1]])
        assert calls_of(got) == [("get_time", {})]
        message = got.json["choices"][0]["message"]
        turns += [message, {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "noon"}]
    assert client.chat("demo-rounds-2", turns, tools=[TOOLS[1]]).text == f"{NOTICE} get_time said: noon"
    assert calls_of(client.chat("demo-rounds-2")) == []


def test_a_schema_is_missed_in_the_first_turn_on_demand(client: Client) -> None:
    wish = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {}}}}}
    turns = [{"role": "user", "content": "?"}]
    first = client.chat("demo-schema-repair", turns, response_format=wish).text
    assert isinstance(json.loads(first), list)
    turns += [{"role": "assistant", "content": first}, {"role": "user", "content": "No."}]
    assert json.loads(client.chat("demo-schema-repair", turns, response_format=wish).text) == {"a": WORD}
    assert client.chat("demo-schema-repair").text.startswith(NOTICE)


def test_the_older_functions_are_called_one_at_a_time(client: Client) -> None:
    plain = client.chat("demo-tools", functions=[WEATHER, CLOCK])
    call = plain.json["choices"][0]["message"]["function_call"]
    stream = client.chat("demo-tools", functions=[WEATHER, CLOCK], stream=True)
    fragments = [choice["delta"]["function_call"] for choice in stream.choices if "function_call" in choice["delta"]]
    assert call["name"] == fragments[0]["name"] == "get_weather" and plain.finish == stream.finish == "function_call"
    assert "".join(fragment["arguments"] for fragment in fragments) == call["arguments"]
    named = client.chat("demo", functions=[WEATHER, CLOCK], function_call={"name": "get_time"})
    assert named.json["choices"][0]["message"]["function_call"] == {"name": "get_time", "arguments": "{}"}
    said = [{"role": "user", "content": "?"}, {"role": "function", "name": "get_time", "content": "noon"}]
    assert client.chat("demo-tools", said, functions=[CLOCK]).text == f"{NOTICE} get_time said: noon"


def fragments_of(client: Client, model: str) -> List[Any]:
    choices = client.chat(model, tools=TOOLS, stream=True).choices
    return [fragment for choice in choices for fragment in choice["delta"].get("tool_calls", ())]


def test_calls_are_streamed_in_odd_ways_on_demand(client: Client) -> None:
    assert all("index" not in each for each in fragments_of(client, "demo-tools-noindex"))
    zero = fragments_of(client, "demo-tools-index0")
    assert {each["index"] for each in zero} == {0} and len({each["id"] for each in zero if "id" in each}) == 2
    named = fragments_of(client, "demo-tools-sameindex-newname")
    assert {each["index"] for each in named} == {0} and not any("id" in each for each in named)
    assert [each["function"]["name"] for each in named if "name" in each["function"]] == ["get_weather", "get_time"]
    assert all("id" in each for each in fragments_of(client, "demo-tools-repeatid"))


@pytest.mark.parametrize("model, first", [
    ("demo-tools-null-args", None),
    ("demo-tools-empty-args", ""),
    ("demo-tools-cut-args", '{"city":"mock",'),
])  # fmt: skip
def test_arguments_are_null_empty_or_cut_on_demand(client: Client, model: str, first: Optional[str]) -> None:
    plain = client.chat(model, tools=TOOLS).json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    pieces = [each["function"]["arguments"] for each in fragments_of(client, model) if each["index"] == 0]
    assert (plain[: len(first)] if first else plain) == first
    assert pieces == [None] if first is None else "".join(pieces) == plain
    if first:
        with pytest.raises(ValueError):
            json.loads(plain)


@pytest.mark.parametrize("stream", [False, True])
def test_calls_come_beside_finish_reason_stop_on_demand(client: Client, stream: bool) -> None:
    got = client.chat("demo-tools-stop", tools=TOOLS, stream=stream)
    assert got.finish == "stop" and b"get_weather" in got.body


# ------------------------------------------------------------------------------------------------------- JSON schemas


@pytest.mark.parametrize("schema, value", [
    ({"type": "string"}, "mock"),
    ({"type": "string", "format": "date"}, "2026-01-01"),
    ({"type": "string", "minLength": 12}, "mock--------"),
    ({"type": "string", "maxLength": 3}, "moc"),
    ({"enum": ["b", "a"]}, "b"),
    ({"const": 7}, 7),
    ({"type": "boolean"}, True),
    ({"type": "null"}, None),
    ({"type": ["null", "integer"]}, 1),
    ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
    ({"type": "integer", "minimum": 5}, 5),
    ({"type": "integer", "maximum": -2}, -2),
    ({"type": "integer", "exclusiveMinimum": 5}, 6),
    ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
    ({"type": "array", "items": {"type": "integer"}}, [1]),
    ({"type": "array", "items": {"type": "null"}, "minItems": 3}, [None, None, None]),
    ({"type": "array", "maxItems": 0}, []),
    ({"properties": {"a": {"type": "integer"}}}, {"a": 1}),
    ({"type": "object", "required": ["x"]}, {"x": "mock"}),
    ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"const": "a"}}}, "a"),
    ({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}, {"n": 1}),  # Gemini's spelling
    (True, "mock"),
])  # fmt: skip
def test_a_schema_is_filled_the_same_way_each_time(schema: Any, value: Any) -> None:
    assert schema_value(schema) == value and type(schema_value(schema)) is type(value)


def test_a_schema_that_contains_itself_ends() -> None:
    tree = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    assert len(json.dumps(schema_value(tree))) < 200
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert len(json.dumps(schema_value(endless))) < 1000


def test_json_is_answered_where_json_is_first_for(client: Client) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}
    wish = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    for stream in (False, True):
        got = client.chat("demo", response_format=wish, stream=stream)
        assert json.loads(got.text) == {"name": "mock", "size": 1}
    anything = json.loads(client.chat("demo", "Hi", response_format={"type": "json_object"}).text)
    assert anything == {"answer": NOTICE, "you_said": "Hi"}


@pytest.mark.parametrize("schema", [
    {"type": "string", "minLength": "long"}, {"properties": []}, {"properties": 7}, {"type": "integer", "minimum": "x"},
    {"type": "integer", "multipleOf": 0}, {"required": 7, "type": "object"}, {"type": {}}, {"allOf": [{}, 7]},
    {"type": "array", "minItems": 1e400}, 7, "string",
])  # fmt: skip
def test_a_schema_that_is_none_gets_a_400_or_an_answer(client: Client, capfd: Any, schema: Any) -> None:
    wish = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert client.chat("demo", response_format=wish).status in (200, 400)
    assert capfd.readouterr().err == ""


# ----------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(set(BEHAVIOURS) - set(ENDLESS)))
def test_after_every_behaviour_the_server_answers_and_stderr_is_silent(
    demo: DemoServer, client: Client, capfd: Any, name: str, stream: bool
) -> None:
    try:
        got = client.chat(sample(name), stream=stream, tools=TOOLS, temperature=0.5)
        assert 200 <= got.status < 600
    except (http.client.HTTPException, OSError):
        assert name in ("fail-cut-plain", "fail-reset", "fail-drop") or name.startswith("break-")
    assert client.chat("demo").status == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("model, status, code, retry_after", [
    ("fail-401", 401, "invalid_api_key", None),
    ("fail-402", 402, "insufficient_credits", None),
    ("fail-403", 403, "permission_denied", None),
    ("fail-403-credits", 403, None, None),
    ("fail-404", 404, "model_not_found", None),
    ("fail-408", 408, "request_timeout", None),
    ("fail-413", 413, "request_too_large", None),
    ("fail-429", 429, "rate_limit_exceeded", "1"),
    ("fail-429-long", 429, "rate_limit_exceeded", "3600"),
    ("fail-429-quota", 429, "insufficient_quota", None),
    ("fail-500", 500, "internal_error", None),
    ("fail-503", 503, "overloaded", None),
    ("fail-503-channels", 503, None, None),
    ("fail-529", 529, "overloaded", None),
    ("fail-context", 400, "context_length_exceeded", None),
    ("fail-418", 418, None, None),
    ("fail-524", 524, None, None),
])  # fmt: skip
def test_http_errors(client: Client, model: str, status: int, code: Optional[str], retry_after: Optional[str]) -> None:
    for stream in (False, True):
        got = client.chat(model, stream=stream)
        assert (got.status, got.json["error"]["code"]) == (status, code)
        assert set(got.json["error"]) == {"message", "type", "param", "code"}
        assert got.headers.get("retry-after") == retry_after


def test_the_vendors_oddities_have_the_vendors_words(client: Client) -> None:
    assert "Pre-deduction failed" in client.chat("fail-403-credits").json["error"]["message"]
    assert "No available channels" in client.chat("fail-503-channels").json["error"]["message"]


def test_once_fails_once_for_each_idempotency_key_or_model(client: Client) -> None:
    for model, status in (("fail-429-once", 429), ("fail-500-once", 500), ("fail-429-long-once", 429)):
        first, second = client.chat(model), client.chat(model)
        assert (first.status, second.status) == (status, 200) and second.text.startswith(NOTICE)
        assert first.headers.get("retry-after") == ("0" if status == 429 else None)
    keyed = [client.chat("fail-503-once", headers={"Idempotency-Key": key}) for key in ("a", "b", "a", "b")]
    assert [got.status for got in keyed] == [503, 503, 200, 200]
    with pytest.raises(http.client.RemoteDisconnected):
        client.chat("fail-drop-once")
    assert client.chat("fail-drop-once").status == 200


@pytest.mark.parametrize("field, value", [
    ("stream_options", {"include_usage": True}), ("max_tokens", 5), ("max_completion_tokens", 5), ("temperature", 0.2),
    ("response_format", {"type": "json_object"}), ("seed", 1),
])  # fmt: skip
def test_a_strict_model_names_the_field_that_it_refuses(client: Client, field: str, value: Any) -> None:
    refused, taken = client.chat(f"fail-strict-{field}", **{field: value}), client.chat(f"fail-strict-{field}")
    assert (refused.status, refused.json["error"]["param"], taken.status) == (400, field, 200)
    assert field in refused.json["error"]["message"]


@pytest.mark.parametrize("model, finish, text", [
    ("fail-length", "length", True), ("fail-filter", "content_filter", False),
    ("fail-filter-mid", "content_filter", True), ("fail-empty", "stop", False),
])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_finish_reasons(client: Client, model: str, finish: str, text: bool, stream: bool) -> None:
    got = client.chat(model, stream=stream)
    assert got.finish == finish and bool(got.text) is text


def test_a_refusal_stands_in_place_of_content(client: Client) -> None:
    message = client.chat("fail-refusal").json["choices"][0]["message"]
    pieces = [choice["delta"].get("refusal") or "" for choice in client.chat("fail-refusal", stream=True).choices]
    assert message["content"] is None and message["refusal"] == "".join(pieces) != ""


@pytest.mark.parametrize("stream", [False, True])
def test_bodies_that_are_no_answer(client: Client, stream: bool) -> None:
    html, text, empty = (client.chat(f"fail-{name}", stream=stream) for name in ("html", "text", "empty-body"))
    assert html.status == 200 and html.body.startswith(b"<!DOCTYPE html>")
    assert html.headers["content-type"].startswith("text/html")
    assert text.status == 200 and text.headers["content-type"] == "text/plain"
    assert (empty.status, empty.body) == (200, b"")
    error = client.chat("fail-error-200", stream=stream)
    assert error.status == 200 and error.json["error"]["message"]
    assert error.headers["content-type"] == "application/json"


def test_errors_inside_an_answer(client: Client) -> None:
    assert set(client.chat("fail-error-first").json) == {"error"}
    for model in ("fail-error-mid", "fail-error-choice"):
        [choice] = client.chat(model).json["choices"]
        assert choice["finish_reason"] == "error" and choice["error"]["message"] and choice["message"]["content"]
    first, mid, inside = (client.chat(f"fail-error-{name}", stream=True) for name in ("first", "mid", "choice"))
    assert first.text == "" and "error" in first.events[-1]
    assert mid.text.startswith(NOTICE) and "error" in mid.events[-1] and mid.finish is None
    assert inside.text.startswith(NOTICE) and inside.finish == "error" and "error" in inside.choices[-1]


def test_odd_but_whole_answers(client: Client) -> None:
    plain = client.chat("fail-json-for-stream", stream=True)
    assert plain.headers["content-type"] == "application/json" and plain.finish == "stop"
    nofinish, nodone = client.chat("fail-nofinish", stream=True), client.chat("fail-nodone", stream=True)
    assert nofinish.finish is None and nofinish.events[-1] == "[DONE]" and nofinish.text.startswith(NOTICE)
    assert nodone.finish == "stop" and "[DONE]" not in nodone.events
    assert client.chat("fail-nofinish").finish == client.chat("fail-nodone").finish == "stop"


def test_no_choices_and_broken_json(client: Client) -> None:
    assert client.chat("fail-choices-empty").json["choices"] == []
    assert client.chat("fail-choices-empty", stream=True).choices == []
    with pytest.raises(ValueError):
        json.loads(client.chat("fail-badjson").body)
    lines = client.chat("fail-badjson", stream=True).body.decode().split("\n\n")
    broken = [line for line in lines if line.startswith("data: {") and not line.endswith("}")]
    assert len(broken) == 1 and "data: [DONE]" in lines


def test_redirects_lead_to_another_host(client: Client) -> None:
    for status in (301, 302, 303, 307, 308):
        got = client.chat(f"fail-redirect-{status}")
        assert (got.status, got.headers["location"]) == (status, f"http://127.0.0.2:1{CHAT}")
    with DemoServer(redirect_to="http://localhost:9") as other, Client(other) as client:
        assert client.chat("fail-redirect-307").headers["location"] == f"http://localhost:9{CHAT}"


# --------------------------------------------------------------------------------------------------- broken connections


def test_a_cut_ends_http_but_not_the_answer(client: Client) -> None:
    stream, plain = client.chat("fail-cut", stream=True), client.chat("fail-cut")
    assert stream.text.startswith(NOTICE) and stream.finish is None and "[DONE]" not in stream.events
    assert plain.body.startswith(b'{"id"') and len(plain.body) == int(plain.headers["content-length"])
    with pytest.raises(ValueError):
        json.loads(plain.body)


@pytest.mark.parametrize("stream", [False, True])
def test_less_comes_than_http_promised(client: Client, stream: bool) -> None:
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.chat("fail-cut-plain", stream=stream)
    assert b"id" in caught.value.partial


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_comes_after_some_text(demo: DemoServer, stream: bool) -> None:
    with raw(demo, "fail-reset", stream) as connection:
        assert b"HTTP/1.1 200" in read_until(connection, b'{"id"')
        with pytest.raises(ConnectionResetError):
            while connection.recv(65_536):
                pass


@pytest.mark.parametrize("count", [0, 1, 15, 200, 400])
def test_a_connection_breaks_at_the_byte_that_was_first_for(demo: DemoServer, count: int) -> None:
    for model in (f"break-reset-{count}", f"break-close-{count}"):
        data = b""
        with raw(demo, model) as connection:
            try:
                while len(data) <= count:
                    piece = connection.recv(65_536)
                    data += piece
                    if not piece:
                        assert "close" in model
                        break
            except ConnectionResetError:
                assert "reset" in model
        assert len(data) == count and b"HTTP/1.1 200 OK".startswith(data[:15]), model


def test_garbage_is_no_http(demo: DemoServer) -> None:
    with raw(demo, "break-garbage") as connection:
        assert not read_until(connection, b"\r\n\r\n").startswith(b"HTTP")


def test_a_drop_comes_before_any_byte(demo: DemoServer) -> None:
    with raw(demo, "fail-drop") as connection:
        assert connection.recv(1) == b""
    assert demo.requests[-1]["body"]["model"] == "fail-drop"


@pytest.mark.parametrize("model, stream, mark", [
    ("fail-stall", True, b"\r\n\r\n"), ("fail-stall", False, b"\r\n\r\n"),
    ("fail-stall-mid", True, b"mock"), ("fail-stall-mid", False, b'{"id"'),
])  # fmt: skip
def test_a_stall_is_silent_after_its_beginning(demo: DemoServer, model: str, stream: bool, mark: bytes) -> None:
    with raw(demo, model, stream) as connection:
        begun = read_until(connection, mark)
        connection.settimeout(0.05)
        with pytest.raises(socket.timeout):
            while True:
                piece = connection.recv(65_536)
                begun += piece
                assert piece and model == "fail-stall-mid"
    assert (b"data:" in begun or b'{"id"' in begun) is (model == "fail-stall-mid")


@pytest.mark.parametrize("model", ["fail-comments", "fail-comments-mid"])
def test_comments_go_on_for_ever(demo: DemoServer, model: str) -> None:
    with raw(demo, model) as connection:
        data = read_until(connection, b": keep-alive\n\n\r\ne\r\n: keep-alive\n\n\r\n")
        assert (b"data:" in data) is model.endswith("mid")
    with raw(demo, model, stream=False) as connection:
        data = read_until(connection, b" \n\r\n2\r\n \n\r\n2\r\n \n\r\n")
        assert (b'{"id"' in data) is model.endswith("mid")


@pytest.mark.parametrize("stream, mark", [(True, b"1\r\nd\r\n1\r\na\r\n1\r\nt\r\n"), (False, b'{"i')])
def test_a_drip_brings_one_byte_at_a_time(demo: DemoServer, stream: bool, mark: bytes) -> None:
    with raw(demo, "fail-drip", stream) as connection:
        begun = time.monotonic()
        read_until(connection, mark)
        assert time.monotonic() - begun >= 0.09


def test_a_client_that_hangs_up_is_not_mentioned(demo: DemoServer, client: Client, capfd: Any) -> None:
    for model in ("demo-words-200000", "demo-burst-200000", "fail-drip", "fail-comments", "fail-stall"):
        with raw(demo, model) as connection:
            read_until(connection, b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", demo.port)) as half:
        half.sendall(f"POST {CHAT} HTTP/1.1\r\nContent-Length: 9\r\n\r\n{{".encode())
    with socket.create_connection(("127.0.0.1", demo.port)) as nonsense:
        nonsense.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
    assert client.chat("demo").status == 200
    demo.close()
    assert capfd.readouterr().err == ""


# -------------------------------------------------------------------------------------------------------- HTTP, closing


def test_requests_are_recorded_as_they_came(demo: DemoServer, client: Client) -> None:
    client.chat("demo", headers={"Authorization": "Bearer x", "X-Note": "y"})
    client.send("POST", CHAT, b"\xff not json")
    client.send("GET", "/v1/models?a=b")
    chat, broken, models = demo.requests
    assert (chat["method"], chat["path"], chat["body"]["model"], chat["connection"]) == ("POST", CHAT, "demo", 1)
    assert chat["headers"]["Authorization"] == chat["headers"]["authorization"] == "Bearer x"
    assert chat["headers"].get("X-NOTE") == "y" and "x-note" in chat["headers"] and chat["headers"].get("none") is None
    assert broken["body"] == b"\xff not json"
    assert (models["method"], models["path"], models["body"]) == ("GET", "/v1/models?a=b", b"")


def test_connections_are_kept_alive_and_counted(demo: DemoServer) -> None:
    with Client(demo) as one, Client(demo) as two:
        for client in (one, one, two, one):
            assert client.chat("demo", stream=True).finish == "stop"
    assert [request["connection"] for request in demo.requests] == [1, 1, 2, 1] and demo.connections == 2


def test_many_clients_are_answered_at_the_same_time(demo: DemoServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(raw(demo, "demo-sleep-60000"))
        until = time.monotonic() + TIMEOUT_S
        while len(demo.requests) < 8 and time.monotonic() < until:
            time.sleep(0.001)
    assert len(demo.requests) == 8, "a second request waits until the first is answered"


@pytest.mark.parametrize("body", [
    b"", b"[]", b"nonsense", b"{}", b'{"model": "demo"}', b'{"model": "demo", "messages": []}', b"[" * 100_000,
    b'{"model": "demo", "messages": "Hi"}', b'{"model": "demo", "messages": ["Hi"]}', b'{"messages": [{}]}',
])  # fmt: skip
def test_a_wrong_request_is_a_400(client: Client, body: bytes) -> None:
    got = client.send("POST", CHAT, body)
    assert got.status == 400 and got.json["error"]["message"] and client.chat("demo").status == 200


def test_odd_messages_are_survived(client: Client) -> None:
    for content in (None, 7, [], [7, {"type": "text"}, {"image_url": 7}], {"a": 1}, "\ud800 half a pair"):
        assert client.chat("demo", [{"role": "user", "content": content}, {"role": 7}]).status == 200, content
    shapes: Any = ([], {}, 7, "x", None)
    for odd in shapes:
        message = {"role": "tool", "tool_call_id": odd, "tool_calls": [{"id": odd, "function": odd}], "content": odd}
        chat = client.chat("demo", [message], tool_choice=odd, response_format=odd, stream_options=odd)
        gemini = client.gemini("demo", contents=[{"parts": odd}], tools=odd, toolConfig=odd, generationConfig=odd)
        assert chat.status in (200, 400) and gemini.status in (200, 400), odd
    for tools in (None, 7, [7], [{"function": 7}], [{"function": {}}], [{"function": {"name": 7, "parameters": 7}}]):
        assert client.chat("demo-tools", tools=tools).status == 200, tools


def test_unknown_paths_are_404(client: Client) -> None:
    for method, path in (("POST", "/v1/nothing"), ("GET", CHAT), ("POST", "/v1beta/models/demo:predict")):
        assert client.send(method, path, {} if method == "POST" else None).status == 404


def test_a_chunked_request_is_read(client: Client) -> None:
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "In chunks"}]}).encode()
    client.connection.request("POST", CHAT, iter([body[:10], body[10:]]), encode_chunked=True)
    assert b"In chunks" in client.connection.getresponse().read()
    assert client.chat("demo").status == 200


@pytest.mark.parametrize("header", [
    "Content-Length: -1", "Content-Length: x", "Content-Length: 99999999999", "Transfer-Encoding: chunked",
])  # fmt: skip
def test_a_body_of_wrong_length_is_refused_and_the_connection_closed(demo: DemoServer, header: str) -> None:
    with socket.create_connection(("127.0.0.1", demo.port), TIMEOUT_S) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\n{header}\r\n\r\nxyz\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        data = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert data.startswith(b"HTTP/1.1 413 ") and b"Connection: close" in data


def test_http_1_0_gets_no_chunks(demo: DemoServer) -> None:
    with raw(demo, "demo", version="1.0") as connection:
        data = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head and body.startswith(b"data: {") and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("model", ["fail-stall", "fail-stall-mid", "fail-comments", "fail-drip", "demo-sleep-60000"])
def test_close_does_not_wait_for_an_answer_that_never_comes(model: str) -> None:
    demo = DemoServer()
    with raw(demo, model) as connection, socket.create_connection(("127.0.0.1", demo.port)) as idle:
        while not demo.requests or demo.connections < 2:
            time.sleep(0.001)
        begun = time.monotonic()
        demo.close()
        assert time.monotonic() - begun < 20
        assert idle.recv(1) == b""
        while connection.recv(65_536):
            pass
    demo.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", demo.port), 1.0)


def test_it_listens_on_loopback_only_and_can_have_its_port_again() -> None:
    with DemoServer() as demo, Client(demo) as client:
        assert demo.server_address == ("127.0.0.1", demo.port)
        assert demo.url == f"http://127.0.0.1:{demo.port}" and demo.base_url == f"{demo.url}/v1"
        assert client.chat("demo").status == 200
    with DemoServer(demo.port, record=False) as again, Client(again) as client:
        assert client.chat("demo").status == 200 and again.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tuple[str, str]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return cert, key


def test_tls(certificate: Tuple[str, str], capfd: Any) -> None:
    with DemoServer(tls=certificate) as demo:
        assert demo.url.startswith("https://127.0.0.1:")
        socket.create_connection(("127.0.0.1", demo.port)).close()  # no handshake: the next one is served all the same
        context = ssl.create_default_context(cafile=certificate[0])
        connection = http.client.HTTPSConnection("127.0.0.1", demo.port, timeout=TIMEOUT_S, context=context)
        body = json.dumps({"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
        for _ in range(3):
            connection.request("POST", CHAT, body)
            assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
        assert {request["connection"] for request in demo.requests} == {demo.connections}
        connection.close()
        stranger = http.client.HTTPSConnection("127.0.0.1", demo.port, timeout=TIMEOUT_S)
        with pytest.raises(ssl.SSLError):
            stranger.request("GET", "/")
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------------------------------------------------- Gemini


def gemini_text(*chunks: Any) -> str:
    shown = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    return "".join(part.get("text", "") for part in shown if not part.get("thought"))


def test_gemini_answers_plain_and_streamed(client: Client) -> None:
    plain = client.gemini("demo").json
    assert gemini_text(plain) == f"{NOTICE} You said: Hello there" and plain["modelVersion"] == "demo"
    assert plain["candidates"][0]["finishReason"] == "STOP"
    assert plain["usageMetadata"]["totalTokenCount"] == sum(
        plain["usageMetadata"][name] for name in ("promptTokenCount", "candidatesTokenCount")
    )
    events = client.gemini("demo", "streamGenerateContent?alt=sse").events
    assert gemini_text(*events) == gemini_text(plain) and len(events) > 5
    assert [event["candidates"][0].get("finishReason") for event in events][-2:] == [None, "STOP"]
    assert events[-1]["usageMetadata"] == plain["usageMetadata"]


def test_gemini_without_sse_streams_one_json_array(client: Client) -> None:
    got = client.gemini("demo", "streamGenerateContent")
    assert got.headers["content-type"] == "application/json"
    assert got.json == client.gemini("demo", "streamGenerateContent?alt=sse").events


def test_gemini_answers_at_both_versions_and_escaped_paths(client: Client) -> None:
    body = {"contents": [{"parts": [{"text": "Hello there"}]}]}
    for path in ("/v1/models/demo:generateContent", "/v1beta/models/demo%3AgenerateContent"):
        assert client.send("POST", path, body).status == 200


def test_gemini_calls_tools_and_quotes_results(client: Client) -> None:
    tools = [{"functionDeclarations": [WEATHER]}]
    first = client.gemini("demo-tools", tools=tools).json["candidates"][0]["content"]
    arguments = {"city": "mock", "days": 1, "unit": "C"}
    assert first["parts"] == [{"functionCall": {"name": "get_weather", "args": arguments}}]
    said = {"functionResponse": {"name": "get_weather", "response": {"sky": "blue"}}}
    contents = [{"role": "user", "parts": [{"text": "?"}]}, first, {"role": "user", "parts": [said]}]
    assert gemini_text(client.gemini("demo-tools", tools=tools, contents=contents).json) == (
        f'{NOTICE} get_weather said: {{"sky":"blue"}}'
    )
    for mode, called in (("ANY", True), ("NONE", False), ("AUTO", False)):
        got = client.gemini("demo", tools=tools, toolConfig={"functionCallingConfig": {"mode": mode}})
        assert (b"functionCall" in got.body) is called, mode


def test_gemini_reasons_sees_images_and_answers_json(client: Client) -> None:
    thought = client.gemini("demo-reasoning").json["candidates"][0]["content"]["parts"][0]
    assert thought["thought"] is True and thought["text"]
    image = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
    link = {"fileData": {"fileUri": "https://example.com/a.png"}}
    seen = gemini_text(client.gemini("demo", contents=[{"parts": [{"text": "Look"}, image, link]}]).json)
    assert "Image 1: PNG, 640x480 pixels." in seen and "Image 2: given as a URL (https://example.com/a.png)" in seen
    wish = {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"n": {}}}}
    assert json.loads(gemini_text(client.gemini("demo", generationConfig=wish).json)) == {"n": "mock"}


def test_gemini_fails_in_its_own_words(client: Client) -> None:
    for model, status, word in (
        ("fail-401", 401, "UNAUTHENTICATED"), ("fail-429", 429, "RESOURCE_EXHAUSTED"), ("fail-503", 503, "UNAVAILABLE"),
        ("unknown", 404, "NOT_FOUND"), ("fail-500", 500, "INTERNAL"), ("fail-context", 400, "INVALID_ARGUMENT"),
    ):  # fmt: skip
        got = client.gemini(model, "streamGenerateContent?alt=sse")
        assert (got.status, got.json["error"]["code"], got.json["error"]["status"]) == (status, status, word)
    assert client.gemini("demo", contents=[]).json["error"]["status"] == "INVALID_ARGUMENT"
    for model, reason in (("fail-length", "MAX_TOKENS"), ("fail-filter", "SAFETY")):
        assert client.gemini(model).json["candidates"][0]["finishReason"] == reason
    mid = client.gemini("fail-error-mid", "streamGenerateContent?alt=sse").events
    assert "error" in mid[-1] and gemini_text(*mid[:-1]).startswith(NOTICE)
    cut = client.gemini("fail-cut", "streamGenerateContent?alt=sse").events
    assert gemini_text(*cut).startswith(NOTICE) and not any("finishReason" in each["candidates"][0] for each in cut)


@pytest.mark.parametrize("name", sorted(set(BEHAVIOURS) - set(ENDLESS)))
@pytest.mark.slow
def test_every_behaviour_has_a_gemini_side(client: Client, capfd: Any, name: str) -> None:
    for action in ("generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent"):
        try:
            assert client.gemini(sample(name), action, tools=[{"functionDeclarations": [WEATHER]}]).status >= 200
        except (http.client.HTTPException, OSError):
            assert name in ("fail-cut-plain", "fail-reset", "fail-drop") or name.startswith("break-")
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------------------------------------------- command line


def started(*words: str) -> Any:
    return subprocess.Popen([sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", every(2, [signal.SIGINT, signal.SIGTERM]))
def test_the_command_serves_until_it_is_stopped(number: int) -> None:
    process = started("--port", "0")
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        line = process.stdout.readline().decode()
        port = re.search(r"http://127\.0\.0\.1:(\d+)/v1 ", line)
        assert port and "--base-url" in line and "demo" in line
        connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=TIMEOUT_S)
        stack.callback(connection.close)
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 200
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0 and time.monotonic() - begun < 20
        assert process.stdout.read() == b"" and process.stderr.read() == b""


@pytest.mark.slow
def test_the_command_says_when_it_cannot_serve(demo: DemoServer) -> None:
    for port in (str(demo.port), "70000"):
        done = subprocess.run([sys.executable, str(SCRIPT), "--port", port], capture_output=True, timeout=TIMEOUT_S)
        assert done.returncode == 1 and done.stdout == b"" and b"cannot serve" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_help_lists_every_behaviour_with_its_line() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, timeout=TIMEOUT_S)
    page = done.stdout.decode()
    assert done.returncode == 0 and all(name in page and entry.line in page for name, entry in BEHAVIOURS.items())
    assert all(entry.line.endswith(".") and len(entry.line) < 90 for entry in BEHAVIOURS.values())
    assert subprocess.run([sys.executable, str(SCRIPT), "--prot", "1"], capture_output=True).returncode == 2


def test_alone_it_speaks_openais_chat_and_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(str(llm_router_demo.__file__), tmp_path)
    program = (
        "import urllib.request, urllib.error\n"
        "from llm_router_demo import DemoServer\n"
        "with DemoServer() as demo:\n"
        "    def post(path, data):\n"
        "        try:\n"
        "            return urllib.request.urlopen(urllib.request.Request(demo.url + path, data)).read().decode()\n"
        "        except urllib.error.HTTPError as error:\n"
        "            return f'{error.code} {error.read().decode()}'\n"
        '    message = b\'"messages": [{"role": "user", "content": "Hi"}]}\'\n'
        "    print(post('/v1/chat/completions', b'{\"model\": \"demo\", ' + message))\n"
        "    print(post('/v1/chat/completions', b'{\"model\": \"demo-strict\", ' + message))\n"
        '    print(post(\'/v1/messages\', b\'{"model": "demo", "max_tokens": 9, \' + message))\n'
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, cwd=tmp_path, text=True, timeout=30)
    chat, strict, messages = run.stdout.splitlines()
    assert "You said: Hi" in chat
    assert strict.startswith("404 ") and "llm_router_demo_protocols.py" in strict
    assert messages.startswith("404 ") and "Unknown request URL" in messages
