"""Wire shapes: JSON in and out, answers whole and in chunks, tool calls, error bodies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
from raw_server import completion

import llm_router_client as c


def chunk(finish: Any = None, **delta: Any) -> Dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def calls_from(*fragments: Dict[str, Any]) -> List[Any]:
    reader = c.Reader()
    for fragment in fragments:
        reader.take(chunk(tool_calls=[fragment]))
    return [(call["id"], call["name"], call["arguments"], call["parsed"]) for call in reader.tool_calls()]


def part(arguments: Any = "", **rest: Any) -> Dict[str, Any]:
    name = rest.pop("name", None)
    return {**rest, "function": {**({"name": name} if name else {}), "arguments": arguments}}


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e999", "[" * 100_000, "9" * 5000 + "x", "{", "", "\x00", '{"a":1}x']
)
def test_what_is_not_json_is_a_value_error_never_a_crash(text: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(ValueError):
            c.parse_json(form)


def test_json_is_read_whatever_its_byte_order_mark_and_broken_utf8() -> None:
    assert c.parse_json(b'\xef\xbb\xbf{"a": 1.5}') == {"a": 1.5}
    assert c.parse_json(b'["\xff"]') == ["\ufffd"]


def test_written_json_cannot_steer_a_terminal_and_keeps_every_script() -> None:
    steering = "\x1b]52;c;\x07 \x9b2J \x7f \u202e\u2066 \ud800 \u2028"
    written = c.dump_json({"t": steering + "中文 \u200d é"})
    assert json.loads(written)["t"] == steering + "中文 \u200d é"
    assert "中文" in written and "\u200d" in written and "é" in written
    assert not any(ch in written for ch in "\x1b\x9b\x7f\u202e\u2066\ud800\u2028")
    assert c.dump_json({"a": 1}) == '{"a": 1}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_a_request_that_is_no_json_is_a_usage_error(value: Any) -> None:
    with pytest.raises(c.UsageError):
        c.encode_body({"temperature": value})


def test_the_first_argument_that_is_wrong_is_named() -> None:
    c.check("a text", str, one="x", two=None)
    with pytest.raises(c.UsageError, match=r"^two must be a text"):
        c.check("a text", str, one="x", two=5, three=6)
    with pytest.raises(c.UsageError, match=r"^two must be a short text"):
        c.check("a short text", str, lambda text: len(text) < 9, one="x", two="x" * 9)


def test_paths_come_in_any_collection_but_a_text() -> None:
    assert c.path_list(None) == () and c.path_list(iter(["/a"])) == ("/a",)
    for wrong in ("/tmp", b"/tmp", 5, ["/a", 5]):
        with pytest.raises(c.UsageError, match=r"^allow_paths must be a list of paths"):
            c.path_list(wrong)


def test_a_request_is_compact_ascii() -> None:
    assert c.encode_body({"a": "\u00e9", "b": [1]}) == b'{"a":"\\u00e9","b":[1]}'


def test_a_request_over_the_limit_and_one_nested_for_ever_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "MAX_BODY_BYTES", 10)
    with pytest.raises(c.SafetyError):
        c.encode_body({"a": "b" * 20})
    loop: List[Any] = []
    loop.append(loop)
    with pytest.raises(c.UsageError):
        c.encode_body({"a": loop})


@pytest.mark.parametrize(
    "name", ["", " ", None, 5, "a b", "a\nb", "../x", "a/../b", "a?b", "a%2e", "-m", "..", "/..", "é", "x" * 201]
)
def test_what_cannot_be_a_model_name_is_a_usage_error(name: Any) -> None:
    with pytest.raises(c.UsageError):
        c.check_model(name)


@pytest.mark.parametrize("name", [
    "gpt-4.1", "openai/gpt-4.1", "@cf/meta/llama-3.1-8b-instruct", "hf.co/user/model:Q4_K_M", "~anthropic/claude-sonnet-latest",
    "/models/phi-4.gguf", "./merged", "deepseek-r1@q4",
])  # fmt: skip
def test_the_names_of_models_that_servers_have_are_taken(name: str) -> None:
    assert c.check_model(f" {name} ") == name


def test_model_names_come_as_a_list_or_separated_by_commas() -> None:
    assert c.model_names(" a , b/c:free ") == ["a", "b/c:free"]
    assert c.model_names(["a", "b"]) == ["a", "b"]
    assert c.model_names(None) == []
    with pytest.raises(c.UsageError):
        c.model_names("a,,b")


@pytest.mark.parametrize("messages", [None, [], {}, "hi", [1], [{"content": "x"}], [{"role": 1}]])
def test_messages_that_are_none_are_refused_with_their_place(messages: Any) -> None:
    with pytest.raises(c.UsageError):
        c.check_messages(messages)
    assert c.check_messages(({"role": "user"},)) == [{"role": "user"}]


@pytest.mark.parametrize(
    "model,family",
    [
        ("gpt-4o", "gpt"),
        ("o3-mini", "gpt"),
        ("openai/o1", "gpt"),
        ("Claude-3", "claude"),
        ("qwen2.5", "qwen"),
        ("x/grok-2", "grok"),
        ("omni", "other"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert c.family_of(model) == family


@pytest.mark.parametrize(
    "start,kind",
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF1234WEBP", "image/webp"),
        (b"RIFF1234WAVE", ""),
        (b"<svg", ""),
        (b"", ""),
    ],
)
def test_images_are_known_by_their_first_bytes(start: bytes, kind: str) -> None:
    assert c.image_type(start + b"rest" if start else start) == kind


def test_a_data_url_is_made_only_of_an_image_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert c.data_url(b"GIF89a", "a") == "data:image/gif;base64,R0lGODlh"
    monkeypatch.setattr(c, "MAX_IMAGE_BYTES", 5)
    for data in (b"GIF89a", b"text"):
        with pytest.raises(c.SafetyError):
            c.data_url(data, "a")


def test_text_is_found_in_every_form_of_content() -> None:
    assert c.text_of("a") == "a"
    assert c.text_of([{"type": "text", "text": "a"}, {"type": "image_url"}, 5, {"text": None}, {"text": "b"}]) == "ab"
    assert c.text_of(None) == c.text_of({"text": "x"}) == c.text_of(7) == ""


def test_one_line_shows_no_key_no_control_character_and_an_end() -> None:
    looks_like_one = "sk-" + "abcd" * 5
    assert c.one_line(f"bad\n\x1b[2J  key {looks_like_one} Bearer xyz") == "bad [2J key [key] [key]"
    assert c.one_line("x" * 400) == "x" * 297 + "..."


# ------------------------------------------------------------------------------------------------ tool calls


def test_tool_calls_in_order_and_by_index() -> None:
    assert calls_from(
        part(index=0, id="a", name="f"), part('{"x"', index=0), part(":1}", index=0), part("{}", index=1, id="b", name="g")
    ) == [
        ("a", "f", '{"x":1}', {"x": 1}),
        ("b", "g", "{}", {}),
    ]


def test_tool_calls_interleaved_by_index() -> None:
    got = calls_from(part(index=0, id="a", name="f"), part(index=1, id="b", name="f"), part("{}", index=1), part("[]", index=0))
    assert got == [("a", "f", "[]", None), ("b", "f", "{}", {})]


def test_tool_calls_without_index_go_by_id_then_to_the_last() -> None:
    got = calls_from(part(id="a", name="f"), part('{"x":', id="a"), part("1}"), part(id="b", name="g"), part("{}", id="b"))
    assert got == [("a", "f", '{"x":1}', {"x": 1}), ("b", "g", "{}", {})]


def test_tool_calls_that_all_have_index_0_are_distinguished_by_id() -> None:
    got = calls_from(part("{}", index=0, id="a", name="f"), part("{}", index=0, id="b", name="f"))
    assert got == [("a", "f", "{}", {}), ("b", "f", "{}", {})]


def test_a_new_name_under_one_index_is_a_new_call() -> None:
    assert calls_from(part("{}", index=0, name="f"), part("{}", index=0, name="g")) == [
        ("call_0", "f", "{}", {}),
        ("call_1", "g", "{}", {}),
    ]


def test_the_same_name_again_is_a_new_call_only_once_the_arguments_are_whole() -> None:
    assert calls_from(part('{"x":', index=0, name="f"), part("1}", index=0, name="f")) == [("call_0", "f", '{"x":1}', {"x": 1})]
    assert len(calls_from(part('{"x":1}', index=0, name="f"), part('{"x":2}', index=0, name="f"))) == 2
    assert len(calls_from(part('{"x":"}', index=0, name="f"), part('"}', index=0, name="f"))) == 1


def test_one_id_for_two_indexes_stays_two_calls() -> None:
    assert len(calls_from(part("{}", index=0, id="a", name="f"), part("{}", index=1, id="a", name="g"))) == 2


@pytest.mark.parametrize("arguments,raw,parsed", [
    (None, "", {}), ("", "", {}), ("null", "null", {}), ('{"x":', '{"x":', None), ({"x": 1}, '{"x": 1}', {"x": 1}),
    ("[1]", "[1]", None), ('"x"', '"x"', None), ("7", "7", None), (True, "true", None), ([{}], "[{}]", None),
])  # fmt: skip
def test_arguments_are_given_raw_and_parsed(arguments: Any, raw: str, parsed: Any) -> None:
    assert calls_from(part(arguments, index=0, id="a", name="f")) == [("a", "f", raw, parsed)]


def test_the_assembled_message_has_the_calls_with_their_unknown_fields() -> None:
    reader = c.Reader()
    reader.take(chunk(role="assistant", tool_calls=[{**part("{}", index=0, name="f"), "extra_content": {"sig": "s"}}]))
    reader.take(chunk("tool_calls"))
    message = reader.body()["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"sig": "s"}}
        ],
    }


def test_a_call_in_both_forms_is_one_call() -> None:
    reader = c.Reader()
    reader.take(
        chunk("tool_calls", tool_calls=[part("{}", index=0, id="a", name="f")], function_call={"name": "f", "arguments": "{}"})
    )
    assert [(call["id"], call["name"]) for call in reader.tool_calls()] == [("a", "f")]


def test_the_older_function_call_is_a_call_too() -> None:
    reader = c.Reader()
    reader.take(chunk(function_call={"name": "f", "arguments": '{"a"'}))
    reader.take(chunk("function_call", function_call={"arguments": ":1}"}))
    assert reader.tool_calls() == [{"id": "call_0", "name": "f", "arguments": '{"a":1}', "parsed": {"a": 1}}]
    assert reader.body()["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}


# --------------------------------------------------------------------------------------------------- answers


def test_chunks_become_the_answer_that_would_have_come_whole() -> None:
    reader = c.Reader()
    events = reader.take(chunk(role="assistant", content=None)) + reader.take(chunk(reasoning_content="hm"))
    events += (
        reader.take(chunk(content="Hel"))
        + reader.take(chunk(content=[{"type": "text", "text": "lo"}]))
        + reader.take(chunk("stop"))
    )
    reader.take({"choices": [], "usage": {"total_tokens": 3}})
    assert events == [
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "Hel"},
        {"type": "text", "text": "lo"},
        {"type": "finish", "reason": "stop"},
    ]
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    assert reader.body() == {
        "id": "c1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    }


STREAMS = sorted((Path(__file__).parents[1] / "corpus" / "wire" / "openai").glob("*.sse"))


def read_stream(data: bytes) -> c.Reader:
    """The reader of a whole stream, judged."""
    reader, parser, ended = c.Reader(), c.SSEParser(), False
    for event in [*parser.feed(data), *parser.close()]:
        ended = event.data.startswith("[DONE]")
        if ended:
            break
        c.events_of(event, reader)
    c.judge(reader, ended)
    return reader


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_the_streams_that_the_gateway_is_held_to_are_read_alike(path: Path) -> None:
    expected = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    if "failed" in expected:
        with pytest.raises((c.LLMRouterError, ValueError)):  # the latter is what a Call makes a BadUpstreamError of
            read_stream(path.read_bytes())
        return
    first = expected["candidates"][0]
    if first["stop"]["reason"] in ("refusal", "content_filter"):
        with pytest.raises(c.ContentFilterError):
            read_stream(path.read_bytes())
        return
    reader = read_stream(path.read_bytes())
    said = {kind: "".join(part["text"] for part in first["parts"] if part["is"] == kind) for kind in ("Text", "Thinking")}
    assert (reader.text(), reader.text("reasoning")) == (said["Text"], said["Thinking"])
    calls = [(part["name"], part["arguments_text"].replace(" ", "")) for part in first["parts"] if part["is"] == "ToolCall"]
    assert [(call["name"], call["arguments"].replace(" ", "")) for call in reader.tool_calls()] == calls
    assert (len(reader.choices), reader.finish) == (len(expected["candidates"]), first["stop"]["native"])
    assert bool(reader.usage) is ("usage" in expected)


@pytest.mark.parametrize("chunks,text,finish", [
    ([chunk("length", content="a"), chunk("length", content="b"), chunk("stop")], "ab", "stop"),
    ([chunk("stop", content="a"), chunk(content="b")], "ab", ""), ([chunk("stop", content="a"), chunk()], "a", "stop"),
    ([chunk("stop", reasoning="a"), chunk("length", content="b")], "b", "length"),
])  # fmt: skip
def test_a_finish_reason_that_output_follows_was_none(chunks: Any, text: str, finish: str) -> None:
    reader = c.Reader()
    for each in chunks:
        reader.take(each)
    assert (reader.text(), reader.finish, reader.is_finished()) == (text, finish, text == "a")


@pytest.mark.parametrize("last", [
    {"object": "error", "message": "EngineCore died", "code": 500}, {"message": "EngineCore died"},
    {"base_resp": {"status_msg": "EngineCore died"}}, {"detail": "EngineCore died"}, {"x_groq": {"error": "EngineCore died"}},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "x_groq": {"error": "EngineCore died"}},
])  # fmt: skip
def test_done_after_an_error_does_not_make_the_text_before_it_an_answer(last: Any) -> None:
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in (chunk(content="half"), last))
    with pytest.raises(c.ServerError, match="EngineCore died"):
        read_stream(data + b"data: [DONE]\n\n")


def test_arguments_without_an_end_are_a_bad_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "MAX_KEPT_CHARS", 1_000)
    reader, piece = c.Reader(), chunk(tool_calls=[part("x" * 100, index=0, name="f")])
    for _ in range(10):
        reader.take(piece)
    with pytest.raises(c.BadUpstreamError, match="arguments of tool calls are longer than 1000 characters"):
        reader.take(piece)


def test_the_input_of_a_custom_tool_is_a_text() -> None:
    reader = c.Reader()
    named = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": ""}}
    for piece in (named, {"custom": {"input": "{ *** "}}, {"custom": {"input": "Begin"}}):
        reader.take(chunk(tool_calls=[{"index": 0, **piece}]))
    reader.take(chunk("tool_calls"))
    c.judge(reader, False)
    assert reader.tool_calls() == [{"id": "c1", "name": "patch", "arguments": "{ *** Begin", "parsed": None}]
    assert reader.broken_calls() == []
    [call] = reader.body()["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "{ *** Begin"}}


@pytest.mark.parametrize("change", [
    {"reasoning_content": "hm"}, {"reasoning": "hm"}, {"reasoning_content": "hm", "reasoning": "hm"},
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    {"content": [{"type": "thinking", "thinking": "h"}, {"type": "thinking", "thinking": "m"}]},
])  # fmt: skip
def test_reasoning_is_read_in_every_field_that_servers_use(change: Any) -> None:
    reader = c.Reader()
    assert reader.take(chunk(**change)) == [{"type": "reasoning", "text": "hm"}]
    reader.take(chunk("stop", content=[{"type": "text", "text": "Hello"}]))
    assert (reader.text("reasoning"), reader.text()) == ("hm", "Hello")


def test_with_several_choices_the_first_is_the_text_and_all_are_in_the_body() -> None:
    reader = c.Reader()
    for index, text in ((1, "b"), (0, "a")):
        reader.take({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": "stop"}]})
    assert reader.text() == "a"
    assert [choice["message"]["content"] for choice in reader.body()["choices"]] == ["a", "b"]


def test_the_first_finish_reason_counts() -> None:
    reader = c.Reader()
    reader.take(chunk("tool_calls", tool_calls=[part("{}", index=0, name="f")]))
    assert reader.take(chunk("stop")) == [] and reader.finish == "tool_calls"


def test_a_long_text_is_kept_in_one_piece_and_only_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "MAX_KEPT_CHARS", 1200)
    reader = c.Reader()
    for _ in range(2000):
        assert reader.take(chunk(content="x")) == [{"type": "text", "text": "x"}]
    assert reader.text() == "x" * 1200 and reader.kept_chars == 2000
    assert len(reader.choices[0]["text"]) <= 513


@pytest.mark.parametrize("body", [[], 5, "x", None])
def test_json_that_is_no_object_is_no_answer(body: Any) -> None:
    for reader in (c.Reader(), c.Reader(gemini=True)):
        with pytest.raises(c.BadUpstreamError):
            reader.take(body)


def test_answers_survive_every_wrong_type_inside() -> None:
    wrong: List[Any] = [None, 5, "x", [], [5], {}, {"a": 1}, True]
    for value in wrong:
        for body in (
            {"choices": value}, {"choices": [value]}, chunk(content=value),
            {"choices": [{"index": value, "delta": {"content": "x"}}]},
            {"choices": [{"delta": value, "message": value, "finish_reason": None}], "usage": value}, chunk(tool_calls=value),
            chunk(tool_calls=[{"index": value, "id": value, "function": {"name": value, "arguments": value}}]),
            chunk(tool_calls=[part("{}", index=0), {"index": 0, "custom": {}, "function": value}, {"custom": value}]),
            chunk(refusal=value, reasoning=value, function_call=value), {"candidates": value, "promptFeedback": value},
            {"candidates": [{"content": value, "finishReason": value}]},
            {"candidates": [{"content": {"parts": [value, {"text": value, "functionCall": value}]}}]},
        ):  # fmt: skip
            for reader in (c.Reader(), c.Reader(gemini=True)):
                reader.take(body)
                calls = c.Answer(reader, "m").tool_calls
                assert all(isinstance(call[field], str) for call in calls for field in ("id", "name", "arguments"))


def test_the_answer_is_exactly_the_api_s_json_with_attributes() -> None:
    reader = c.Reader()
    body = {**completion("hi"), "x-unknown": [1]}
    reader.raw = b"{}"
    reader.take(body)
    answer = c.Answer(reader, "asked")
    assert answer == body and answer["choices"][0]["message"]["content"] == "hi"
    assert (answer.text, answer.finish_reason, answer.model, answer.request_id, answer.tokens, answer.cost) == (
        "hi",
        "stop",
        "m-2026",
        "c1",
        3,
        0.5,
    )
    assert answer.credits_remaining is None and answer.complete and answer.tool_calls == []


def test_credits_are_found_beside_and_inside_usage() -> None:
    for body in ({**completion(), "credits_remaining": 7}, {**completion(), "usage": {"credits_remaining": 7}}):
        reader = c.Reader()
        reader.take(body)
        assert c.Answer(reader).credits_remaining == 7


# ---------------------------------------------------------------------------------------------------- errors

QUOTA = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}}
CASES: List[Any] = [
    (401, {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}, c.AuthenticationError, "key_refused", False),
    (401, "", c.AuthenticationError, "key_refused", False),
    (403, {"error": "forbidden"}, c.AuthenticationError, "key_refused", False),
    (403, {"error": {"message": "Pre-deduction failed, balance"}}, c.CreditsError, "no_credit", False),
    (403, {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["x"]}}},
     c.ContentFilterError, "content_filter", False),
    (402, {}, c.CreditsError, "no_credit", False),
    (429, QUOTA, c.CreditsError, "no_credit", False),
    (429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, c.RateLimitError, "rate_limited", True),
    (429, "<html>", c.RateLimitError, "rate_limited", True),
    (404, {"detail": "Not Found"}, c.UnknownModelError, "model_not_found", False),
    (400, {"error": {"message": "unknown model x"}}, c.UnknownModelError, "model_not_found", False),
    (503, {"error": {"message": "No available channels for model x"}}, c.UnknownModelError, "model_not_found", False),
    (503, {"error": {"message": "The model is overloaded", "status": "UNAVAILABLE"}}, c.ServerError, "overloaded", True),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, c.ServerError, "overloaded", True),
    (500, "Internal", c.ServerError, "server_error", True),
    (501, "", c.ServerError, "server_error", False),
    (408, "", c.RequestTimeout, "timeout", True),
    (409, {"message": "conflict"}, c.BadRequestError, "bad_request", True),
    (400, {"error": {"message": "This model's maximum context length is 10", "code": "context_length_exceeded"}},
     c.BadRequestError, "context_too_long", False),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size"}},
     c.BadRequestError, "context_too_long", False),
    (400, [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}], c.BadRequestError, "bad_request", False),
    (400, "just text", c.BadRequestError, "bad_request", False),
    (422, {"detail": [{"loc": ["body", "stop"], "msg": "bad stop", "type": "missing"}]},
     c.BadRequestError, "bad_request", False),
    (418, b"\xff\xfe", c.BadRequestError, "bad_request", False),
    (302, "", c.BadUpstreamError, "bad_upstream", False),
    (500, {"error": {"code": 500, "type": "server_error", "message": "image input is not supported - hint: mmproj"}},
     c.BadRequestError, "bad_request", False),
    (404, {"error": "Only 'text' content type is supported."}, c.BadRequestError, "bad_request", False),
]  # fmt: skip


NO_CREDIT = [  # (status, type or code, text) as vendors report an account that will not pay
    (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
    (400, "invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2026-12-01."),
    (400, "invalid_request_error", "This organization has been disabled."),
    (400, "billing_hard_limit_reached", "Billing hard limit has been reached"),
    (429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
    (400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
]


@pytest.mark.parametrize("status,name,text", NO_CREDIT)
def test_an_account_that_will_not_pay_is_no_credit_whatever_the_status(status: int, name: str, text: str) -> None:
    for error in ({"type": name, "message": text}, {"code": name, "message": text}, {"status": name, "message": text}):
        for body in ({"error": error}, [{"error": error}], {"type": "error", "error": error}):
            failure = c.response_error(status, {}, json.dumps(body).encode(), 0.0)
            assert (failure.code, failure.exit_code, failure.retryable) == ("no_credit", 4, False)
    assert "no_credit" in c.FALLBACK_CODES


TOO_LONG = [  # (status, type or code, text) as servers say that the input does not fit
    (400, "context_length_exceeded", "This model's maximum context length is 128000 tokens. However, your messages have more."),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
    (400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    (400, "exceed_context_size_error", "request (900 tokens) exceeds the available context size (512 tokens)"),
    (500, "server_error", "the request exceeds the available context size. try increasing the context size"),
    (400, "invalid_request_error", "prompt (900 tokens) is longer than n_ctx (512)"),
    (400, "BadRequestError", "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    (400, "BadRequestError", "You passed 5000 input tokens. However, the model's context length is only 4096 tokens."),
    (422, "validation", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"),
    (400, "invalid_request_error", "This model's maximum prompt length is 131072 but the request contains 200000 tokens."),
    (400, "invalid_request_message", "Please reduce the length of the messages or completion."),
    (400, "InvalidParameter", "Range of input length should be [1, 30720]"),
    (400, "1261", "Prompt exceeds max length"),
    (400, "invalid_request_error", "Invalid request: Your request exceeded model token limit: 131072"),
    (400, "ValidationException", "Input is too long for requested model."),
    (400, "bad_request", "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
    (413, "request_too_large", "Request exceeds the maximum size"),
]


@pytest.mark.parametrize("status,name,text", TOO_LONG)
def test_an_input_that_is_too_long_is_known_in_every_dialect(status: int, name: str, text: str) -> None:
    for body in ({"error": {"type": name, "message": text}}, {"error": {"code": name, "message": text}}, {"detail": text}):
        if name != "request_too_large" or "error" in body:
            failure = c.response_error(status, {}, json.dumps(body).encode(), 0.0)
            assert (failure.code, failure.exit_code, failure.retryable) == ("context_too_long", 1, False), failure.message
    assert "context_too_long" in c.FALLBACK_CODES


def test_a_budget_that_starts_again_is_not_tried_again_at_once() -> None:
    failure = c.response_error(402, {"retry-after": "55127"}, b'{"error":{"message":"no room","code":"budget_used_up"}}', 0.0)
    assert (failure.code, failure.retryable, failure.retry_after_s) == ("no_credit", False, 55127.0)
    assert "waiting helps only if the message says until when" in failure.next_step


@pytest.mark.parametrize("text", ["Too many tokens per minute, slow down", "Rate limit reached: 30000 tokens per min"])
def test_a_limit_of_tokens_per_minute_is_not_taken_for_an_input_that_is_too_long(text: str) -> None:
    failure = c.response_error(429, {}, json.dumps({"error": {"message": text}}).encode(), 0.0)
    assert (failure.code, failure.retryable) == ("rate_limited", True)


@pytest.mark.parametrize("status,body,kind,code,retryable", CASES)
def test_every_error_body_becomes_an_exception_class(status: int, body: Any, kind: Any, code: str, retryable: bool) -> None:
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = c.response_error(status, {}, data, 0.0)
    assert (type(error), error.code, error.status, error.retryable) == (kind, code, status, retryable)
    assert error.next_step and error.message.startswith(f"HTTP {status}: ")


def test_a_model_that_needs_another_endpoint_is_an_error_that_says_so() -> None:
    for message in ("This model is only supported in v1/responses and not in v1/chat/completions.", "Use the Responses API."):
        for status, code in ((404, "model_not_found"), (400, "bad_request")):
            error = c.response_error(status, {}, json.dumps({"error": {"message": message}}).encode(), 0.0)
            assert (error.code, error.next_step) == (code, c.RESPONSES_STEP)
            assert c.inner_error({"message": message, "code": status}).next_step == c.RESPONSES_STEP
    assert c.response_error(404, {}, b"no such model", 0.0).next_step == c.ERRORS["model_not_found"][1]


def test_the_deepest_text_is_the_message_json_inside_strings_too() -> None:
    raw = json.dumps({"error": {"message": "the real cause", "code": "rate_limit_exceeded"}})
    body = {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": raw, "provider_name": "X"}}}
    assert c.complaint_of(body)["message"] == "the real cause"
    assert c.complaint_of({"error": "{broken json"})["message"] == "{broken json"
    nested: Any = "end"
    for _ in range(50):
        nested = {"error": nested}
    assert c.complaint_of(nested)["message"] == ""


def test_a_redirect_names_the_other_host_and_nothing_else_of_it() -> None:
    error = c.response_error(307, {"location": "https://user:pw@evil.example:8/secret?x=1"}, b"", 0.0)
    assert "evil.example:8" in error.message and "pw" not in error.message and "secret" not in error.message
    assert "another path" in c.response_error(301, {"location": "/x"}, b"", 0.0).message


@pytest.mark.parametrize(
    "told,status,retryable", [("true", 400, True), ("false", 500, False), ("TRUE ", 400, True), ("maybe", 500, True)]
)
def test_x_should_retry_is_obeyed(told: str, status: int, retryable: bool) -> None:
    assert c.response_error(status, {"x-should-retry": told}, b"", 0.0).retryable is retryable


@pytest.mark.parametrize(
    "inner,kind,status,retryable",
    [
        ({"type": "overloaded_error", "message": "busy"}, c.ServerError, None, True),
        ({"code": 429, "message": "slow"}, c.RateLimitError, 429, True),
        ({"code": "invalid_api_key", "message": "no"}, c.AuthenticationError, None, False),
        ("broken", c.ServerError, None, True),
        (None, c.ServerError, None, True),
        ({"code": 400, "message": "bad"}, c.BadRequestError, 400, False),
    ],
)
def test_an_error_inside_an_answer_has_the_status_it_would_have_had(
    inner: Any, kind: Any, status: Any, retryable: bool
) -> None:
    error = c.inner_error(inner)
    assert (type(error), error.status, error.retryable) == (kind, status, retryable)


@pytest.mark.parametrize(
    "body",
    [{"error": {"message": "no"}}, {"choices": [{"error": {"message": "no"}}]},
     {"choices": [{"error": {"message": "no"}, "finish_reason": "error"}]}],
)  # fmt: skip
def test_an_error_inside_a_200_is_raised(body: Any) -> None:
    with pytest.raises(c.ServerError):
        c.Reader().take(body)


@pytest.mark.parametrize("body,code,message", [
    ({"code": 401, "msg": "token expired", "success": False}, "key_refused", "token expired"),
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "no_credit", "insufficient"),
    ({"detail": "upstream is overloaded"}, "overloaded", "is overloaded"), ({"status": 429}, "rate_limited", "without a"),
    ({"message": "pong"}, "bad_upstream", "contains no choices; it says: pong"), ({}, "bad_upstream", "contains no choices"),
    ({"message": {"role": "assistant", "content": "Hi"}, "done": True}, "bad_upstream", "contains no choices"),
])  # fmt: skip
def test_an_error_in_place_of_an_answer_is_read_in_whatever_field_it_stands(body: Any, code: str, message: str) -> None:
    for raw in (b"{}", b""):
        reader = c.Reader()
        reader.raw = raw
        reader.take(body)
        with pytest.raises(c.LLMRouterError, match=message) as caught:
            c.judge(reader, False)
        assert caught.value.code == code


@pytest.mark.parametrize("data,what", [(b"", "empty"), (b" \n", "empty"), (b"<html>", "HTML"), (b"oops", "not JSON")])
def test_what_came_instead_of_json_is_named(data: bytes, what: str) -> None:
    with pytest.raises(c.BadUpstreamError, match=what):
        c.parse_answer(data)


def test_an_answer_is_judged_by_what_the_server_said() -> None:
    def reader(*chunks: Dict[str, Any]) -> c.Reader:
        made = c.Reader()
        for item in chunks:
            made.take(item)
        return made

    c.judge(reader(chunk("stop", content="x")), False)
    c.judge(reader(chunk(content="x")), True)
    c.judge(reader(chunk("tool_calls", tool_calls=[part("{}", index=0, name="f")])), False)
    c.judge(reader(chunk("length", tool_calls=[part('{"a": ', index=0, name="f")])), False)
    c.judge(reader(chunk("tool_calls", tool_calls=[part("[1]", index=0, name="f")])), False)
    for bad, kind in (
        (reader(chunk("tool_calls", tool_calls=[part('{"a": ', index=0, name="f")])), c.IncompleteError),
        (reader(), c.BadUpstreamError),
        (reader(chunk(content="x")), c.IncompleteError),
        (reader(chunk("content_filter", content="x")), c.ContentFilterError),
        (reader(chunk("stop", refusal="no")), c.ContentFilterError),
        (reader(chunk("stop", reasoning="hm")), c.BadUpstreamError),
        (reader(chunk(content="")), c.BadUpstreamError),
    ):
        with pytest.raises(kind):
            c.judge(bad, kind is not c.IncompleteError)


def test_a_long_data_url_that_is_not_base64_is_refused_at_once() -> None:
    with pytest.raises(c.UsageError, match="not base64"):
        c.image_part("data:image/png;base64,AAAA" + " " * 500_000 + "!")
