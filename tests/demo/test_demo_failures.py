"""What the mock server acts out in every protocol: money, odd streams, refusals in other servers' words, broken ends."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from typing import Any, Callable, Dict, List, NamedTuple

import pytest

from llm_router_demo import NOTICE, DemoServer, Step

VERSION = {"anthropic-version": "2023-06-01"}
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAoAAAAHg"


class Side(NamedTuple):
    """One protocol: how to send a message in it, and where its answers keep what the tests look at."""

    send: Callable[..., Any]  # (api, model, stream, **body)
    usage: str  # field of a plain answer
    tools: Dict[str, Any]
    image: Any  # a message with an image in it


def send_gemini(api: Any, model: str, stream: bool = False, **more: Any) -> Any:
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return api.gemini(model, action=action, **more)


ANTHROPIC_PNG = {"type": "base64", "media_type": "image/png", "data": PNG}
OPENAI_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SIDES: Dict[str, Side] = {
    "openai": Side(
        lambda api, model, stream=False, **more: api.openai(model, stream=stream, **more), "usage",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": CITY}}]},
        [{"role": "user", "content": [OPENAI_IMAGE]}],
    ),
    "responses": Side(
        lambda api, model, stream=False, **more: api.responses(model, stream=stream, **more), "usage",
        {"tools": [{"type": "function", "name": "f", "parameters": CITY}]},
        [{"role": "user", "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]}],
    ),
    "anthropic": Side(
        lambda api, model, stream=False, **more: api.anthropic(model, stream=stream, **more), "usage",
        {"tools": [{"name": "f", "input_schema": CITY}]},
        [{"role": "user", "content": [{"type": "image", "source": ANTHROPIC_PNG}]}],
    ),
    "gemini": Side(
        send_gemini, "usageMetadata", {"tools": [{"functionDeclarations": [{"name": "f", "parameters": CITY}]}]},
        [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}],
    ),
}  # fmt: skip
every_side = pytest.mark.parametrize("side", list(SIDES.values()), ids=list(SIDES))


# -------------------------------------------------------------------------------------------------------------- money


def test_usage_is_as_the_model_name_says_in_each_protocols_own_sums(api: Any) -> None:
    model = "demo-usage-1000i100o200r50w10h40t"
    openai = api.openai(model).json["usage"]
    assert (openai["prompt_tokens"], openai["completion_tokens"], openai["total_tokens"]) == (1260, 100, 1360)
    assert openai["prompt_tokens_details"] == {"cached_tokens": 200, "cache_write_tokens": 60}
    assert openai["completion_tokens_details"] == {"reasoning_tokens": 40} and "cost" not in openai
    anthropic = api.anthropic(model).json["usage"]
    assert (anthropic["input_tokens"], anthropic["output_tokens"], anthropic["cache_read_input_tokens"]) == (1000, 100, 200)
    assert anthropic["cache_creation"] == {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 10}
    gemini = api.gemini(model).json["usageMetadata"]
    assert gemini == {
        "promptTokenCount": 1260, "candidatesTokenCount": 60, "totalTokenCount": 1360, "thoughtsTokenCount": 40,
        "cachedContentTokenCount": 200,
    }  # fmt: skip
    responses = api.responses(model).json["usage"]
    assert (responses["input_tokens"], responses["output_tokens"], responses["total_tokens"]) == (1260, 100, 1360)
    assert api.openai("demo-usage-x").status == 404


@every_side
def test_a_stream_ends_in_the_usage_of_the_plain_answer(api: Any, side: Side) -> None:
    more: Any = {"stream_options": {"include_usage": True}} if side is SIDES["openai"] else {}
    last = [data for _, data in side.send(api, "demo-usage-7i5o", True, **more).events if isinstance(data, dict)]
    found = [data.get(side.usage) or (data.get("response") or {}).get("usage") for data in last]
    counts = [each for each in found if each][-1]
    assert {7, 5} <= {each for each in counts.values() if isinstance(each, int)}


def test_cache_writes_last_an_hour_where_model_or_request_say_so(api: Any) -> None:
    def hour(model: str, control: Any = None) -> Any:
        block = {"type": "text", "text": "one two three four", **({"cache_control": control} if control else {})}
        return api.anthropic(model, [{"role": "user", "content": [block]}]).json["usage"]["cache_creation"]

    five, sixty = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
    assert hour("demo-cached")[five] and not hour("demo-cached")[sixty]
    assert hour("demo-cached-1h")[sixty] and not hour("demo-cached-1h")[five]
    assert hour("demo-cached", {"type": "ephemeral", "ttl": "1h"})[sixty]
    assert hour("demo-cached", {"type": "ephemeral"})[five]


def test_openrouter_tells_its_fee_apart_from_what_the_callers_own_key_pays(api: Any) -> None:
    usage, whole = api.openai("demo-byok").json["usage"], api.openai("demo").json["usage"]["cost"]
    assert usage["is_byok"] is True and usage["cost_details"] == {"upstream_inference_cost": whole}
    assert usage["cost"] == pytest.approx(whole * 0.05) and "cost" not in api.openai("demo-nocost").json["usage"]


@every_side
@pytest.mark.parametrize("field, right", [
    ("nan", math.isnan), ("infinite", math.isinf), ("negative", lambda x: x == -100), ("huge", lambda x: x == 1e308),
    ("text", lambda x: x == "many"), ("null", lambda x: x is None),
])  # fmt: skip
def test_usage_is_nonsense_on_demand(api: Any, side: Side, field: str, right: Callable[[Any], bool]) -> None:
    usage = side.send(api, f"demo-usage-{field}").json[side.usage]
    numbers = [each for each in usage.values() if not isinstance(each, (dict, bool)) and each != "standard"]
    assert numbers and all(map(right, numbers))


# --------------------------------------------------------------------------------------------------- odd but whole answers


@every_side
@pytest.mark.parametrize("model, filler", [("null", b"data: null\n\n"), ("array", b"data: []\n\n"), ("blank", b"data: \n\n")])
def test_events_that_carry_nothing_stand_between_the_others(api: Any, side: Side, model: str, filler: bytes) -> None:
    body = side.send(api, f"demo-data-{model}", True).body
    assert body.count(filler) > 5 and b'"demo-data-' in body
    assert NOTICE.encode() in side.send(api, f"demo-data-{model}").body


@every_side
def test_a_stream_answers_a_plain_request_on_demand(api: Any, side: Side) -> None:
    got = side.send(api, "demo-sse")
    assert got.headers["content-type"] == "text/event-stream" and len(got.events) > 5


@every_side
@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_compressed_marked_or_unterminated_on_demand(api: Any, side: Side, stream: bool) -> None:
    packed = side.send(api, "demo-gzip", stream)
    assert packed.headers["content-encoding"] == "gzip" and b"mock" in gzip.decompress(packed.body)
    assert side.send(api, "demo-bom", stream).body.startswith(b"\xef\xbb\xbf")
    body = side.send(api, "demo-unterminated", True).body
    assert not body.endswith((b"\n", b"\r")) and body.rstrip() == body


def test_each_event_of_a_compressed_stream_can_be_read_as_it_comes(api: Any) -> None:
    body = api.openai("demo-gzip", stream=True).body
    assert zlib.decompressobj(wbits=31).decompress(body[: len(body) // 2]).count(b"data: ") > 2


@every_side
def test_an_answer_may_name_another_model_and_ignore_what_was_wanted(api: Any, side: Side) -> None:
    for stream in (False, True):
        assert b'"some-other-model"' in side.send(api, "demo-model-some-other-model", stream).body
    assert NOTICE.encode() in side.send(api, "demo-ignore", **side.tools).body


def test_n_schema_and_tool_choice_are_ignored_on_demand(api: Any) -> None:
    more = {**SIDES["openai"].tools, "tool_choice": "required", "n": 3, "response_format": {"type": "json_object"}}
    [choice] = api.openai("demo-ignore", **more).json["choices"]
    assert choice["message"]["content"].startswith(NOTICE) and choice["finish_reason"] == "stop"


def test_azures_first_chunk_has_no_choices(api: Any) -> None:
    first, second = (data for _, data in api.openai("demo-azure", stream=True).events[:2])
    assert first["choices"] == [] and "prompt_filter_results" in first and second["choices"]


# ------------------------------------------------------------------------------------------------------ broken answers


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "NO_IMAGE", "OTHER"])
def test_gemini_ends_in_a_reason_without_content(api: Any, reason: str) -> None:
    plain = api.gemini(f"fail-finish-{reason}").json["candidates"]
    [(_, event)] = send_gemini(api, f"fail-finish-{reason}", True).events
    for candidate in (plain[0], event["candidates"][0]):
        assert candidate["finishReason"] == reason and "parts" not in candidate["content"]


@pytest.mark.parametrize("word", ["error", "abort", "network_error", "insufficient_system_resource"])
@pytest.mark.parametrize("start", ["demo", "fail"])
def test_openai_ends_in_words_that_say_it_is_not_finished(api: Any, word: str, start: str) -> None:
    [choice] = api.openai(f"{start}-finish-{word}").json["choices"]
    chunks = [data for _, data in api.openai(f"{start}-finish-{word}", stream=True).events if isinstance(data, dict)]
    assert choice["finish_reason"] == chunks[-1]["choices"][0]["finish_reason"] == word
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert bool(choice["message"]["content"]) is bool(said) is (start == "demo")


def test_openrouters_own_reason_stands_beside_an_empty_stop(api: Any) -> None:
    [choice] = api.openai("fail-native-MALFORMED_FUNCTION_CALL").json["choices"]
    ends = [data["choices"][0] for _, data in api.openai("fail-native-X", stream=True).events if isinstance(data, dict)]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "MALFORMED_FUNCTION_CALL")
    assert choice["message"]["content"] == "" and ends[-1]["native_finish_reason"] == "X"


@every_side
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_stands_beside_a_whole_answer(api: Any, side: Side, stream: bool) -> None:
    got = side.send(api, "fail-error-beside", stream)
    last = [data for _, data in got.events if isinstance(data, dict)] if stream else [got.json]
    errors = [data.get("error") or (data.get("response") or {}).get("error") for data in last]
    assert got.status == 200 and any(errors) and b"You " in got.body


@every_side
def test_a_stream_starts_twice_with_two_ids(api: Any, side: Side) -> None:
    ids: List[str] = []
    for _, data in side.send(api, "fail-start-twice", True).events:
        if isinstance(data, dict):
            found = data.get("message") or data.get("response") or data
            ids.append(str(found.get("id") or found.get("responseId") or ""))
    assert len(set(filter(None, ids))) == 2


def test_half_a_tool_call_is_all_that_comes(api: Any) -> None:
    tools = {name: side.tools for name, side in SIDES.items()}
    events = api.openai("fail-tools-half", stream=True, **tools["openai"]).events
    chunks = [data for _, data in events if isinstance(data, dict)]
    pieces = [call["function"]["arguments"] for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(pieces) == '{"city"' and chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    names = [name for name, _ in api.anthropic("fail-tools-half", stream=True, **tools["anthropic"]).events]
    assert names[-3:] == ["content_block_delta", "message_delta", "message_stop"] and "content_block_stop" not in names
    [part] = api.gemini("fail-tools-half", **tools["gemini"]).json["candidates"][0]["content"]["parts"]
    assert "name" not in part["functionCall"]


@every_side
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_event_has_the_code_that_was_wanted_inside_http_200(api: Any, side: Side, stream: bool) -> None:
    got = side.send(api, "fail-event-context_length_exceeded", stream)
    assert got.status == 200 and b"error" in got.body and NOTICE.encode() not in got.body
    words = (b"context_length_exceeded", b"prompt is too long: ", b"exceeds the maximum number of tokens allowed")
    assert any(each in got.body for each in words)


# ------------------------------------------------------------------------------------------------- windows and headers


def test_a_window_is_listed_and_a_longer_prompt_refused(api: Any) -> None:
    with DemoServer(models=("demo-window-5", "demo-nctx-5", "/a name [x]")) as demo:
        other = type(api)(demo.port)
        listed = {model["id"]: model for model in other.send("GET", "/v1/models").json["data"]}
        assert list(listed) == ["demo-window-5", "demo-nctx-5", "/a name [x]"]
        assert listed["demo-window-5"]["max_model_len"] == listed["demo-nctx-5"]["meta"]["n_ctx"] == 5
        assert [each["id"] for each in other.send("GET", "/v1/models", headers=VERSION).json["data"]] == list(listed)
        other.connection.close()
    short, long = "one", "one two three four five six"
    vllm, llama = api.openai("demo-window-5", long).json["error"], api.openai("demo-nctx-5", long).json["error"]
    assert vllm["code"] == "context_length_exceeded" and "resulted in 7 tokens" in vllm["message"]
    assert (llama["n_prompt_tokens"], llama["n_ctx"]) == (7, 5)
    assert api.anthropic("demo-window-5", long).json["error"]["message"] == "prompt is too long: 7 tokens > 5 maximum"
    assert "(7) exceeds the maximum number of tokens allowed (5)" in api.gemini("demo-window-5", long).json["error"]["message"]
    assert api.openai("demo-window-5", short).status == api.openai("demo-nctx-5", short).status == 200


def test_unknown_models_are_named_as_each_vendor_names_them(api: Any) -> None:
    for model in ("nope", "fail-404"):
        openai, anthropic, gemini = (send(model) for send in (api.openai, api.anthropic, api.gemini))
        assert openai.status == anthropic.status == gemini.status == 404
        assert anthropic.json["error"] == {"type": "not_found_error", "message": f"model: {model}"}
        assert gemini.json["error"]["message"].startswith(f"models/{model} is not found for API version v1beta")
        assert openai.json["error"]["code"] == "model_not_found"


@every_side
@pytest.mark.parametrize("stream", [False, True])
def test_headers_that_pass_a_gateway_come_beside_those_that_do_not(api: Any, side: Side, stream: bool) -> None:
    headers = side.send(api, "demo-headers", stream).headers
    assert {"x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-reset", "openai-processing-ms"} <= set(headers)
    assert {"set-cookie", "x-internal-host"} <= set(headers)


def test_logprobs_are_sent_where_they_are_requested(api: Any) -> None:
    [choice] = api.openai(logprobs=True).json["choices"]
    tokens = [each["token"] for each in choice["logprobs"]["content"]]
    assert "".join(tokens) == choice["message"]["content"]
    chunks = [data["choices"][0] for _, data in api.openai(logprobs=True, stream=True).events if isinstance(data, dict)]
    assert [each["token"] for chunk in chunks if chunk.get("logprobs") for each in chunk["logprobs"]["content"]] == tokens
    include = ["message.output_text.logprobs"]
    part = api.responses(include=include).json["output"][0]["content"][0]
    assert [each["token"] for each in part["logprobs"]] == tokens
    events = api.responses(include=include, stream=True).events
    deltas = [data for name, data in events if name == "response.output_text.delta"]
    assert [each["token"] for data in deltas for each in data["logprobs"]] == tokens


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("model, openai, anthropic, gemini", [
    ("fail-400-credits", "Billing hard limit has been reached", "Your credit balance is too low", "Please enable billing"),
    ("fail-400-balance", *["Your credit balance is too low to access the Anthropic API."] * 3),
    ("fail-400-limit", *["You have reached your specified API usage limits."] * 3),
    ("fail-400-organization", *["This organization has been disabled."] * 3),
    ("fail-400-location", *["Country, region, or territory not supported"] * 2, "User location is not supported"),
    ("fail-context", "This model's maximum context length is", "prompt is too long: 9000 tokens > 8192 maximum",
     "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."),
    ("fail-context-vllm", *["However, you requested 9256 tokens (9000 in the messages"] * 3),
    ("fail-context-vllm-output", *["max_tokens=9000 cannot be greater than max_model_len=8192"] * 3),
    ("fail-context-openrouter", *["This endpoint's maximum context length is 8192 tokens."] * 3),
    ("fail-context-llamacpp", *["request (9000 tokens) exceeds the available context size (8192 tokens)"] * 3),
])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_with_status_400_have_each_vendors_words(
    api: Any, model: str, openai: str, anthropic: str, gemini: str, stream: bool
) -> None:
    for name, words in (("openai", openai), ("anthropic", anthropic), ("gemini", gemini)):
        got = SIDES[name].send(api, model, stream)
        assert got.status == 400 and words in got.json["error"]["message"], name


def test_google_says_when_to_retry_in_the_body_too(api: Any) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600s"}
    got = api.gemini("fail-429-long")
    assert got.json["error"]["details"] == [retry] and got.headers["retry-after"] == "3600"
    assert "details" not in api.gemini("fail-503").json["error"]


def test_codes_and_figures_of_those_refusals(api: Any) -> None:
    assert api.openai("fail-400-credits").json["error"]["code"] == "billing_hard_limit_reached"
    assert api.gemini("fail-400-location").json["error"]["status"] == "FAILED_PRECONDITION"
    llama = api.openai("fail-context-llamacpp").json["error"]
    assert (llama["code"], llama["type"], llama["n_prompt_tokens"], llama["n_ctx"]) == (
        400, "exceed_context_size_error", 9000, 8192
    )  # fmt: skip
    assert api.openai("fail-context-vllm").json["error"]["type"] == "BadRequestError"
    assert "exceeds the context window of this model" in api.responses("fail-context").json["error"]["message"]


@every_side
@pytest.mark.parametrize("status, words", [
    (400, b"image_url is only supported by certain models"), (404, b"Only 'text' content type is supported"),
    (500, b"image input is not supported"),
])  # fmt: skip
def test_images_are_refused_by_models_without_eyes(api: Any, side: Side, status: int, words: bytes) -> None:
    got = side.send(api, f"fail-image-{status}", say=side.image)
    assert got.status == status and words in got.body
    assert side.send(api, f"fail-image-{status}").status == 200


def test_a_last_turn_of_the_model_is_refused_by_newer_models(api: Any) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "So"}]
    got = api.anthropic("fail-prefill", turns)
    assert got.status == 400 and "does not support assistant message prefill" in got.json["error"]["message"]
    assert api.openai("fail-prefill", turns).status == 400 and api.openai("fail-prefill").status == 200


def test_unknown_fields_are_a_422_with_a_detail(api: Any) -> None:
    got = api.openai("fail-422-top_k", top_k=5)
    assert (got.status, got.json) == (422, {"detail": "Unexpected fields in the request: {'top_k'}"})
    assert api.openai("fail-422-top_k").status == 200


# ------------------------------------------------------------------------------------------------------------- scripts


def test_a_script_leads_through_a_conversation_in_every_protocol(api: Any) -> None:
    script = [Step(calls=[("f", {"city": "Rome"})], first="fail-503"), Step("Done.")]
    with DemoServer(script=script) as demo:
        other = type(api)(demo.port)
        for name, side in SIDES.items():
            model = f"agent-{name}"
            assert side.send(other, model, **side.tools).status == 503, name
            for stream in (False, True):
                assert b"Rome" in side.send(other, model, stream, **side.tools).body, name
            assert NOTICE.encode() in side.send(other, model).body, name  # a side question without tools
        first = other.responses("demo-script", **SIDES["responses"].tools)
        assert first.status == 503
        first = other.responses("demo-script", **SIDES["responses"].tools).json
        result = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "sun"}
        more = SIDES["responses"].tools
        second = other.responses("demo-script", [result], previous_response_id=first["id"], **more).json
        assert second["output"][0]["content"][0]["text"] == "Done."
        third = other.responses("demo-script", "And?", previous_response_id=second["id"], **more)
        assert f"{NOTICE} You said: And?" in third.body.decode()
        other.connection.close()


# --------------------------------------------------------------------------------------- text completions, embeddings


def test_text_is_completed_for_each_prompt_n_times(api: Any) -> None:
    got = api.complete(say=["one", "two"], n=2).json
    assert got["object"] == "text_completion"
    wanted = [f"{NOTICE} You said: {each}" for each in ("one", "one", "two", "two")]
    assert [choice["text"] for choice in got["choices"]] == wanted
    assert [choice["index"] for choice in got["choices"]] == [0, 1, 2, 3] and got["choices"][0]["finish_reason"] == "stop"
    middle = api.complete(say="def f(", suffix="return x", echo=True, logprobs=1).json["choices"][0]
    assert middle["text"] == f"def f({NOTICE} You said: def f( [...] return x"
    assert "".join(middle["logprobs"]["tokens"]) == middle["text"]


def test_a_text_stream_says_the_same_in_pieces(api: Any) -> None:
    events = [data for _, data in api.complete(stream=True, stream_options={"include_usage": True}).events]
    assert events[-1] == "[DONE]" and events[-2]["choices"] == [] and events[-2]["usage"] == api.complete().json["usage"]
    choices = [event["choices"][0] for event in events[:-2]]
    assert "".join(choice["text"] for choice in choices) == api.complete().json["choices"][0]["text"]
    assert [choice["finish_reason"] for choice in choices][-2:] == [None, "stop"]


@pytest.mark.parametrize("model, status", [("fail-429", 429), ("fail-context", 400), ("unknown", 404), ("demo", 200)])
def test_completions_fail_as_chat_does(api: Any, model: str, status: int) -> None:
    assert api.complete(model).status == api.openai(model).status == status
    assert api.complete("fail-length").json["choices"][0]["finish_reason"] == "length"
    assert "error" in api.complete("fail-error-mid", stream=True).events[-1][1]
    for wrong in ({"say": []}, {"say": 7}, {"model": None}):
        assert api.complete(**wrong).status == 400


def test_geminis_vectors_are_those_of_openai(api: Any) -> None:
    content = {"parts": [{"text": "a"}]}
    one = api.send("POST", "/v1beta/models/demo:embedContent", {"content": content, "outputDimensionality": 3}).json
    many = api.send("POST", "/v1beta/models/demo:batchEmbedContents", {"requests": [{"content": content}] * 2}).json
    openai = api.send("POST", "/v1/embeddings", {"model": "demo", "input": "a", "dimensions": 3}).json
    assert one == {"embedding": {"values": openai["data"][0]["embedding"]}}
    assert len(many["embeddings"]) == 2 and len(many["embeddings"][0]["values"]) == 8
    assert api.send("POST", "/v1beta/models/demo:batchEmbedContents", {"requests": []}).status == 400
    assert api.send("POST", "/v1beta/models/fail-429:embedContent", {"content": content}).status == 429
    assert json.loads(api.send("POST", "/v1beta/models/demo:embedContent", {"text": "a"}).body)["error"]["code"] == 400
