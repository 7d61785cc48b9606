"""The vendors' own SDKs, each to each upstream protocol: what an application sees must not depend on what is behind.

Every test runs 20 times: three SDKs, OpenAI's with both of its APIs, each direct to its side of the mock server and through
the gateway to all four.
"""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from typing import Any

import pytest
from running import until
from sdks import ARGUMENTS, GeminiSDK, base64_of, nothing_to_test, opened, require, trip
from seen import key_of, limits_of, system_of, turns_of

if nothing_to_test():
    pytest.skip("none of the vendors' SDKs is installed (tests/interop/README.md)", allow_module_level=True)

WHO = "This is the mock server, not a model."
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
THROUGH = pytest.mark.parametrize("upstream", ["openai", "anthropic", "gemini", "responses"], indirect=True)


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\0" * 3 * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------------ plain and stream


@STREAMS
def test_a_question_is_answered_whole(way: Any, stream: bool) -> None:
    chat = way.chat(stream=stream)
    said = chat.say("Caf\u00e9 \u65e5\u672c?")
    assert (said.text, said.finish, said.calls) == (f"{WHO} You said: Caf\u00e9 \u65e5\u672c?", "end", [])
    assert said.input_tokens > 0
    assert said.output_tokens == len(said.text.split())  # the mock server's token is a word
    if stream:
        assert "".join(chat.heard) == said.text
        assert len(chat.heard) > 3, "the stream came in one piece"
    assert len(way.asked) == 1


@STREAMS
def test_a_long_answer_keeps_every_word(way: Any, stream: bool) -> None:
    chat = way.chat("demo-words-3000", stream=stream)
    text = chat.say("Hello").text
    assert text == "mock, not a model. " * 750
    assert not stream or "".join(chat.heard) == text


@STREAMS
def test_tokens_from_a_cache_are_reported_and_counted_once(way: Any, stream: bool) -> None:
    said = way.chat("demo-cached", stream=stream).say("One two three four five six seven eight.")
    assert 4 <= said.cached < said.input_tokens < 16


@STREAMS
@pytest.mark.parametrize(("model", "finish"), [("fail-length", "length"), ("fail-filter-mid", "refused")])
def test_the_reason_of_an_answers_end_arrives(way: Any, model: str, finish: str, stream: bool) -> None:
    said = way.chat(model, stream=stream).say("Hello")
    assert (said.finish, said.text) == (finish, f"{WHO} You said: Hello")


@STREAMS
def test_system_text_and_every_turn_reach_the_model(way: Any, stream: bool) -> None:
    chat = way.chat(system="Answer in French.", stream=stream)
    answers = [chat.say(text).text for text in ("One.", "Two.", "Three.")]
    body = way.asked[-1]["body"]
    assert system_of(way.upstream, body) == "Answer in French."
    turns = [("user", "One."), ("model", answers[0]), ("user", "Two."), ("model", answers[1]), ("user", "Three.")]
    assert turns_of(way.upstream, body) == turns
    assert answers[2].endswith("Three.")


def test_limits_reach_the_model_in_its_own_words(way: Any) -> None:
    way.chat(**way.sdk.limits).say("Hello")
    stops = [] if "responses" in (way.sdk.api, way.upstream) else ["END"]  # Responses have none
    assert limits_of(way.upstream, way.asked[0]["body"]) == (64, stops)


@STREAMS
def test_thinking_comes_apart_from_the_text(way: Any, stream: bool) -> None:
    if (way.sdk.api, way.upstream) == ("openai", "responses"):
        pytest.skip("chat completions have no way to ask OpenAI's Responses for a summary")
    said = way.chat("demo-reasoning", stream=stream, **way.sdk.thinks).say("Hello")
    assert said.text == f"{WHO} You said: Hello"
    assert said.thinking.startswith("The mock server does not think.")


@pytest.mark.parametrize("keepalive_s", [0.02], indirect=True, ids=["impatient"])
def test_silence_in_a_stream_is_filled_with_what_the_sdk_reads_over(way: Any) -> None:
    chat = way.chat("demo-slow-60", stream=True)
    assert chat.say("Hello").text == f"{WHO} You said: Hello"
    assert "".join(chat.heard) == f"{WHO} You said: Hello"


def test_the_asynchronous_client_reads_the_same_stream(way: Any) -> None:
    text = asyncio.run(way.sdk.ask_async(way.url, way.key, f"{way.prefix}demo", "Hello"))
    assert text == f"{WHO} You said: Hello"


# ---------------------------------------------------------------------------------------------- tools, images, JSON schema


@STREAMS
def test_two_rounds_of_parallel_tool_calls(way: Any, stream: bool) -> None:
    chat = way.chat("demo-tools", tools=True, stream=stream)
    ids: set[str] = set()
    for round_number in (1, 2):
        said = chat.say(f"Round {round_number}: weather and time?")
        assert said.finish == "tools"
        assert {call.name: call.arguments for call in said.calls} == ARGUMENTS
        ids |= {call.id for call in said.calls if call.id}
        told = chat.results([(call, f"result-{round_number}-{call.name}") for call in said.calls])
        assert (told.finish, told.calls) == ("end", [])
        for name in ARGUMENTS:
            assert f"{name} said: " in told.text
            assert f"result-{round_number}-{name}" in told.text
    assert len(ids) in (0, 4)  # Gemini's own calls have none; where there are ids, each call has its own
    assert len(way.asked) == 4


@STREAMS
def test_a_thinking_model_gets_its_signatures_back_with_the_results(way: Any, stream: bool) -> None:
    if way.sdk.api == "openai" and way.upstream in ("openai", "responses"):
        pytest.skip("api.openai.com neither tells callers of chat completions thoughts nor takes them back")
    chat = way.chat("demo-reasoning-tools", tools=True, stream=stream, **way.sdk.thinks)
    for round_number in (1, 2):
        said = chat.say(f"Round {round_number}.")
        assert {call.name: call.arguments for call in said.calls} == ARGUMENTS
        assert said.thinking
        assert "result-get_time" in chat.results([(call, f"result-{call.name}") for call in said.calls]).text


@STREAMS
@pytest.mark.parametrize("vendor", ["responses"], indirect=True)  # the others know nothing of the kind
def test_a_conversation_with_tools_goes_on_by_the_id_of_its_last_answer(way: Any, stream: bool) -> None:
    chat = way.chat("demo-reasoning-tools", tools=True, stream=stream, store=True, reasoning={"summary": "auto"})
    for round_number in (1, 2):
        said = chat.say(f"Round {round_number}: weather and time?")
        assert {call.name: call.arguments for call in said.calls} == ARGUMENTS
        told = chat.results([(call, f"result-{round_number}-{call.name}") for call in said.calls])
        assert all(f"result-{round_number}-{name}" in told.text for name in ARGUMENTS)
    assert len(way.asked) == 4


@pytest.mark.parametrize("vendor", ["anthropic", "gemini"], indirect=True)  # OpenAI's SDK has no such loop for chats
def test_the_sdks_own_loop_calls_the_functions(way: Any) -> None:
    text = way.sdk.run_tools(f"{way.prefix}demo-tools", "Sum and time?")
    assert "add said: " in text
    assert "sum 2" in text
    assert "get_time said: " in text


@STREAMS
def test_a_call_can_be_demanded_of_any_tool_or_of_one(way: Any, stream: bool) -> None:
    for name, called in (("", list(ARGUMENTS)), ("get_time", ["get_time"])):
        said = way.chat(tools=True, stream=stream, **way.sdk.must_call(name)).say("Call.")
        assert [call.name for call in said.calls] == called


@pytest.mark.parametrize("vendor", ["anthropic", "gemini"], indirect=True)  # OpenAI's own SDK gets such a stream as it came
@pytest.mark.parametrize("upstream", ["openai"], indirect=True)
@pytest.mark.parametrize("oddity", ["noindex", "index0", "sameindex-newname", "repeatid", "null-args", "empty-args", "stop"])
@STREAMS
def test_odd_calls_of_openai_compatible_servers_become_whole_calls(way: Any, oddity: str, stream: bool) -> None:
    said = way.chat(f"demo-tools-{oddity}", tools=True, stream=stream).say("Call.")
    arguments = {name: {} for name in ARGUMENTS} if oddity.endswith("args") else ARGUMENTS
    assert {call.name: call.arguments for call in said.calls} == arguments
    assert said.finish == "tools"


@STREAMS
def test_images_arrive_with_every_byte(way: Any, stream: bool) -> None:
    said = way.chat(stream=stream).say("Look.", images=[png(64, 48), png(3, 2)])
    assert "Image 1: PNG, 64x48 pixels." in said.text
    assert "Image 2: PNG, 3x2 pixels." in said.text


def test_a_document_arrives_with_every_byte(way: Any) -> None:
    pdf = b"%PDF-1.4\n" + bytes(range(256)) + b"\n%%EOF\n"
    way.chat().say("Read.", pdf=pdf)
    sent = json.dumps(way.asked[0]["body"])
    assert base64_of(pdf) in sent or base64_of(pdf).replace("+", "-").replace("/", "_") in sent


def test_an_image_by_its_address_arrives_or_is_refused(way: Any) -> None:
    address = "https://pictures.example/cat.png"
    try:
        said = way.chat().say("Look.", urls=[address])
    except way.sdk.error as error:
        assert way.sdk.problem(error).status == 400
        assert not way.direct
        assert way.upstream == "gemini"  # it fetches only from Google's own store
    else:
        assert address in said.text


@STREAMS
def test_an_answer_fits_the_requested_schema(way: Any, stream: bool) -> None:
    said = way.chat(schema=trip(), stream=stream).say("Plan a trip.")
    assert said.parsed.title == "mock"
    assert said.parsed.mode == "train"
    assert [(leg.city, leg.nights) for leg in said.parsed.legs] == [("mock", 1)]
    assert json.loads(said.text) == said.parsed.model_dump()


# ------------------------------------------------------------------------------------------------------------- failures


@STREAMS
@pytest.mark.parametrize("status", [401, 404, 429, 529])
def test_an_error_of_the_model_is_the_sdks_own_error(way: Any, status: int, stream: bool) -> None:
    with pytest.raises(way.sdk.error) as caught:
        way.chat(f"fail-{status}", stream=stream).say("Hello")
    problem = way.sdk.problem(caught.value)
    foreign = status == 529 and way.sdk.api not in (way.upstream, "anthropic")  # 529 is Anthropic's word for 503
    assert problem.status == (503 if foreign else status)
    assert problem.kind == way.sdk.kinds[status] or not way.sdk.kinds[status]
    assert problem.retry_after == ("1" if status == 429 else "")
    missing = {"anthropic": "model: ", "gemini": "is not found"}.get(way.upstream, "does not exist")
    words = {401: "Incorrect API key", 404: missing, 429: "Rate limit", 529: "Overloaded"}
    assert words[status] in problem.message
    assert len(way.asked) == 1


@STREAMS
def test_a_conversation_that_is_too_long_is_refused_in_the_words_that_the_sdks_users_look_for(way: Any, stream: bool) -> None:
    with pytest.raises(way.sdk.error) as caught:
        way.chat("fail-context", stream=stream).say("Hello")
    problem = way.sdk.problem(caught.value)
    assert problem.status == 400 and way.sdk.too_long in problem.message
    assert getattr(caught.value, "code", "") == "context_length_exceeded" or way.sdk.api not in ("openai", "responses")


@THROUGH
def test_a_stream_that_its_reader_closes_is_ended_at_the_upstream(way: Any, gateway: Any) -> None:
    """At 60 pieces a second the answer would go on; the log says that the caller disconnected."""
    before = sum("error=client_gone" in line for line in gateway.lines)
    assert f"{WHO} You said".startswith(way.sdk.first_piece(f"{way.prefix}demo-slow-200", "Hello").strip())
    until(lambda: sum("error=client_gone" in line for line in gateway.lines) > before, "the caller's leaving is in the log")
    assert len(way.asked) == 1


@pytest.mark.parametrize("model", ["fail-cut", "fail-cut-plain", "fail-reset", "fail-badjson", "fail-error-mid"])
@THROUGH
def test_a_stream_that_breaks_is_an_error_after_its_text(way: Any, model: str) -> None:
    chat = way.chat(model, stream=True)
    garbage = ValueError if model == "fail-badjson" and way.upstream == way.sdk.api else way.sdk.error  # relayed as it came
    with pytest.raises((way.sdk.error, garbage)):
        chat.say("Hello")
    heard = "".join(chat.heard)
    assert f"{WHO} You said: Hello".startswith(heard)
    assert heard.endswith("Hello") or model == "fail-reset"  # a reset may overtake the text


@pytest.mark.parametrize("model", ["fail-cut-plain", "fail-reset"])
@pytest.mark.parametrize("upstream", ["direct"], indirect=True)
def test_a_connection_that_breaks_is_an_error_without_the_gateway_too(way: Any, model: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - of the SDK, or of the HTTP library under it
        way.chat(model, stream=True).say("Hello")


@pytest.mark.parametrize("model", ["fail-cut", "fail-cut-plain", "fail-reset", "fail-drop", "fail-html", "fail-empty-body"])
@THROUGH
def test_a_plain_answer_that_breaks_is_a_bad_gateway(way: Any, model: str) -> None:
    with pytest.raises(way.sdk.error) as caught:
        way.chat(model).say("Hello")
    assert way.sdk.problem(caught.value).status == 502


@pytest.mark.parametrize("model", ["fail-error-first", "fail-drop", "fail-empty-body", "fail-html"])
@THROUGH
def test_a_stream_that_fails_before_its_text_is_answered_with_a_status(way: Any, model: str) -> None:
    chat = way.chat(model, stream=True)
    with pytest.raises(way.sdk.error) as caught:
        chat.say("Hello")
    assert way.sdk.problem(caught.value).status in (500, 502)  # 500 is what OpenAI's "server_error" means
    assert chat.heard == []


@THROUGH
def test_a_wrong_token_is_refused_before_anything_is_sent(vendor: str, upstream: str, gateway: Any, mock_server: Any) -> None:
    require(vendor)
    begun = len(mock_server.requests)
    with opened(vendor, gateway.url, "wrong-" + gateway.token) as sdk:
        with pytest.raises(sdk.error) as caught:
            sdk.chat(f"to-{upstream}/demo").say("Hello")
        assert sdk.problem(caught.value).status == 401
    assert len(mock_server.requests) == begun


@THROUGH
def test_a_provider_that_is_not_there_is_404(way: Any) -> None:
    with pytest.raises(way.sdk.error) as caught:
        way.sdk.chat("nobody/demo").say("Hello")
    assert way.sdk.problem(caught.value).status == 404
    assert way.asked == []


# ------------------------------------------------------------------------------------------------- keys, counts and lists


@THROUGH
def test_the_callers_key_stays_here_and_the_upstreams_key_stays_there(way: Any) -> None:
    way.chat().say("Hello")
    request = way.asked[0]
    assert key_of(request["headers"]) == way.upstream_key
    assert way.key not in repr(request)


@pytest.mark.parametrize("vendor", ["anthropic", "gemini", "responses"], indirect=True)  # OpenAI's chat API counts nothing
def test_tokens_are_counted_without_asking_the_model(way: Any) -> None:
    short, long = (way.sdk.count(f"{way.prefix}demo", text) for text in ("Hello", "Hello there, world! " * 40))
    assert 0 < short < long
    assert not any(each["path"].endswith(("completions", "messages", "generateContent")) for each in way.asked)


@pytest.mark.parametrize("vendor", ["openai"], indirect=True)
@pytest.mark.parametrize("upstream", ["direct", "openai"], indirect=True)
def test_embeddings_are_relayed(way: Any) -> None:
    vector = way.sdk.embed(f"{way.prefix}demo", "Hello")
    assert len(vector) > 1
    assert all(isinstance(number, float) for number in vector)


def test_models_are_listed_and_found_by_the_name_that_a_call_takes(way: Any) -> None:
    names = way.sdk.models()
    assert f"{way.prefix}demo" in names
    assert f"{way.prefix}demo-tools" in names
    if not way.direct:
        assert way.sdk.model(f"{way.prefix}demo") == f"{way.prefix}demo"


@pytest.mark.parametrize("vendor", ["gemini"], indirect=True)
@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_googles_sdk_may_use_either_version_of_the_path(way: Any, version: str) -> None:
    sdk = GeminiSDK(way.url, way.key, version)
    try:
        assert sdk.chat(f"{way.prefix}demo").say("Hello").text == f"{WHO} You said: Hello"
        assert sdk.chat(f"{way.prefix}demo", stream=True).say("Hello").text == f"{WHO} You said: Hello"
        assert f"{way.prefix}demo" in sdk.models()
    finally:
        sdk.close()
