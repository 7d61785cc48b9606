"""LLMRouterClient: one logical call through the mock server: retries, repair, fallback, streams, comparing, the other calls."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

import pytest
from failures import OUTCOMES, PATTERNS, Outcome
from quick import slow
from raw_server import DONE, RawServer, StillTransport, completion, delta, http, stream

import llm_router_client as c
from llm_router_demo import BEHAVIOURS

Serve = Callable[..., RawServer]
ASK = [{"role": "user", "content": "Hello"}]
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAIAAAA2iEnWAAAAEklEQVR4nGP4z8AARAwQCgwANr4F+1YbV4AAAAAASUVORK5CYII=")
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("add", "look_up")]


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"transport": StillTransport(), **options})


def outcome(server: Any, model: str, streamed: bool) -> Outcome:
    """What one call came to; a stream that fails must have handed over no more than its error keeps."""
    before, handed = len(server.requests), ""
    times_out = OUTCOMES[model][streamed][:2] == ("timeout", None)
    clocks = {"first_event_timeout_s": 30 if model.endswith("-mid") and streamed else 0.15, "progress_timeout_s": 0.3}
    try:
        with client(server, **(clocks if times_out else {})) as asked:
            answer = asked.chat(model, ASK, stream=streamed, max_tokens=9)
            for piece in answer if streamed else ():
                handed += piece
            whole = answer.response if streamed else answer
        assert whole.complete and (handed == whole.text or not streamed)
        return "", None, bool(whole.text), len(server.requests) - before
    except c.LLMRouterError as error:
        kept = error.response.text if error.response else ""
        assert error.next_step and str(error).startswith(f"{model}: ") and kept.startswith(handed)
        assert error.response is None or not error.response.complete
        assert [attempt["model"] for attempt in error.attempts] == [model] * (len(server.requests) - before)
        return error.code, error.status, bool(kept), len(server.requests) - before


WAITING = ("fail-comments", "fail-comments-mid", "fail-drip", "fail-stall-mid")  # each of them for a timeout


@pytest.mark.parametrize("model", [*sorted(OUTCOMES.keys() - WAITING), *slow(*WAITING)])
def test_every_failure_of_the_stand_in_through_the_library(demo: Any, model: str) -> None:
    assert (outcome(demo, model, False), outcome(demo, model, True)) == OUTCOMES[model]


def test_no_failure_of_the_stand_in_is_left_out() -> None:
    shown = {PATTERNS.get(name, name) for name in BEHAVIOURS if name.startswith("fail-")} - {"fail-...-once"}
    assert shown <= set(OUTCOMES)


# --------------------------------------------------------------------------------------------------- retries, repair


@pytest.mark.parametrize("failing", ["fail-429-once", "fail-500-once", "fail-503-once", "fail-drop-once", "fail-529-once"])
def test_a_passing_failure_is_retried_under_the_same_idempotency_key(demo: Any, failing: str) -> None:
    transport = StillTransport()
    answer = client(demo, transport=transport).chat(failing, ASK)
    assert answer.text and [attempt["cause"] == "ok" for attempt in answer.attempts] == [False, True]
    assert transport.slept == [0.0 if failing == "fail-429-once" else 0.5]
    keys = [request["headers"]["Idempotency-Key"] for request in demo.requests]
    assert len(keys) == 2 and len(set(keys)) == 1
    client(demo).chat("demo", ASK)
    assert "Idempotency-Key" in demo.requests[-1]["headers"]


def test_a_retry_after_is_waited_for_and_a_long_one_reported_at_once(serve: Serve) -> None:
    transport = StillTransport()
    limited = http(b'{"error":{"message":"slow down"}}', "429 Too Many", Retry_After="2")
    assert client(serve(limited, http(completion())), transport=transport).chat("m", ASK).text == "hello"
    assert transport.slept == [2.0]
    for wait, clocks in (("121", {}), ("60", {"deadline_s": 30.0})):
        server = serve(http(b"{}", "503 Busy", Retry_After=wait))
        with pytest.raises(c.ServerError) as caught:
            client(server, **clocks).chat("m", ASK)
        assert caught.value.retry_after_s == float(wait) and len(server.requests) == 1


def test_a_read_timeout_may_have_been_billed_and_is_retried_only_where_allowed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent_s, waits, arm = 0.0, threading.Event(), c.ClockedSocket.arm

    def clock() -> float:
        return time.monotonic() + spent_s

    def arm_and_tell(sock: Any, waiting: str, seconds: Any = None) -> None:
        arm(sock, waiting, seconds)
        if waiting == "the answer":
            waits.set()

    def late(_: Any) -> bytes:
        """The beginning of an answer, after the time that the client has for it from when it waits."""
        nonlocal spent_s
        assert waits.wait(15)
        waits.clear()
        spent_s += 30.0
        return b"H"

    monkeypatch.setattr(c.ClockedSocket, "arm", arm_and_tell)
    monkeypatch.setattr(c, "time", SimpleNamespace(**{**vars(time), "monotonic": clock}))
    monkeypatch.setattr(StillTransport, "monotonic", staticmethod(clock))
    for told, requests in ((False, 1), (True, 2)):
        server = serve(late, hold=True)
        with pytest.raises(c.RequestTimeout) as caught:
            client(server, timeout_s=20, retry_timeouts=told, max_retries=1).chat("m", ASK)
        assert len(server.requests) == requests and all(attempt["maybe_billed"] for attempt in caught.value.attempts)


def test_no_retries_when_none_are_wanted(demo: Any) -> None:
    with pytest.raises(c.ServerError):
        client(demo, max_retries=0).chat("fail-500", ASK)
    assert len(demo.requests) == 1


@pytest.mark.parametrize("field,value", [
    ("max_tokens", 5), ("max_completion_tokens", 5), ("temperature", 0.5), ("response_format", {"type": "json_object"}),
])  # fmt: skip
def test_a_refused_parameter_is_repaired_once_with_a_warning(demo: Any, field: str, value: Any) -> None:
    answer = client(demo).chat(f"fail-strict-{field}", ASK, **{field: value})
    assert answer.text and len(demo.requests) == 2
    assert answer.warnings == [f"fail-strict-{field}: {answer.warnings[0].partition(': ')[2]}"] and field in answer.warnings[0]
    assert field not in demo.requests[1]["body"]
    assert len({request["headers"]["Idempotency-Key"] for request in demo.requests}) == 2  # another body, another request


def test_a_server_that_knows_no_stream_options_gets_none(demo: Any) -> None:
    answer = client(demo).chat_stream("fail-strict-stream_options", ASK)
    assert "".join(answer) and "stream_options" not in demo.requests[1]["body"]
    assert "stream_options" in answer.warnings[0]


def test_the_second_complaint_is_not_repaired(serve: Serve) -> None:
    refusals = [http({"error": {"message": f"{name} is not supported"}}, "400 Bad") for name in ("max_tokens", "temperature")]
    server = serve(*refusals)
    with pytest.raises(c.BadRequestError, match="temperature"):
        client(server).chat("m", ASK, max_tokens=1, temperature=1)
    assert len(server.requests) == 2


def test_a_repaired_body_stays_repaired_for_the_fallback(serve: Serve) -> None:
    refusal = http({"error": {"message": "max_tokens is not supported"}}, "400 Bad")
    server = serve(refusal, http({"error": {"message": "no"}}, "402 Pay"), http(completion()))
    client(server).chat("a", ASK, max_tokens=7, fallback="b")
    assert [(body["model"], body.get("max_completion_tokens")) for body in server.bodies()] == [("a", None), ("a", 7), ("b", 7)]


# --------------------------------------------------------------------------------------------------------- fallback


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("failing", [
    "fail-402", "fail-404", "fail-408", "fail-429", "fail-429-quota", "fail-500", "fail-503-channels", "fail-529",
    "fail-context", "fail-drop", "fail-html", "fail-empty", "fail-empty-body", "fail-error-200", "fail-error-first",
    "fail-filter", "fail-redirect-302", *slow("fail-stall"),
])  # fmt: skip
def test_the_next_model_answers_where_the_first_cannot(demo: Any, failing: str, streamed: bool) -> None:
    clocks = {"first_event_timeout_s": 3.0} if failing == "fail-stall" else {}  # of the model that answers as well
    asked = client(demo, max_retries=0, **clocks)
    answer = asked.chat(failing, ASK, fallback="demo", stream=streamed)
    if streamed:
        assert "You said: Hello" in "".join(answer)
        answer = answer.response
    assert answer.text.endswith("You said: Hello")
    assert (answer.model_requested, answer.model_used) == (failing, "demo")
    assert [attempt["model"] for attempt in answer.attempts] == [failing, "demo"]
    assert answer.warnings[0].startswith(f"{failing} failed (") and answer.warnings[0].endswith("; tried demo next")


@pytest.mark.parametrize("failing", ["fail-401", "fail-403", "fail-400", "fail-418"])
def test_a_refused_key_and_a_bad_request_never_fall_back(demo: Any, failing: str) -> None:
    with pytest.raises(c.LLMRouterError) as caught:
        client(demo).chat(failing, ASK, fallback=["demo"])
    assert caught.value.code in ("key_refused", "bad_request") and len(demo.requests) == 1


@pytest.mark.parametrize("failing", ["fail-cut", "fail-reset", "fail-error-mid", "fail-stall-mid", "fail-filter-mid"])
def test_never_another_model_after_the_first_text(demo: Any, failing: str) -> None:
    answer = client(demo, progress_timeout_s=0.3).chat_stream(failing, ASK, fallback="demo")
    with pytest.raises(c.LLMRouterError) as caught:
        list(answer)
    assert len(demo.requests) == 1 and not caught.value.retryable
    assert caught.value.response and caught.value.response.text


def test_retries_come_before_the_fallback_and_the_last_error_is_raised_with_all_attempts(demo: Any) -> None:
    with pytest.raises(c.CreditsError) as caught:
        client(demo).fallback(["fail-500", "fail-404", "fail-402"], ASK)
    models = [attempt["model"] for attempt in caught.value.attempts]
    assert models == ["fail-500"] * 3 + ["fail-404", "fail-402"]
    assert [attempt["status"] for attempt in caught.value.attempts] == [500, 500, 500, 404, 402]
    assert caught.value.to_dict()["code"] == "no_credit" and caught.value.model == "fail-402"
    assert len({request["headers"]["Idempotency-Key"] for request in demo.requests}) == 3  # one for each model


def test_an_empty_list_of_models_and_an_empty_name_in_it_are_usage_errors(demo: Any) -> None:
    for models in ([], "", "a,,b", ["a", ""]):
        with pytest.raises(c.UsageError):
            client(demo).fallback(models, ASK)
    assert demo.requests == []


# ------------------------------------------------------------------------------------------------- answers and streams


def test_the_answer_is_the_api_s_json_with_attributes(demo: Any) -> None:
    answer = client(demo).chat("demo", ASK, temperature=0.1, top_k=3)
    assert (
        answer["choices"][0]["message"]["content"] == answer.text == json.loads(answer.raw)["choices"][0]["message"]["content"]
    )
    assert answer.cost is not None and answer.credits_remaining is not None and answer.usage["total_tokens"] == answer.tokens
    assert answer.finish_reason == "stop" and answer.latency_s >= 0 and answer.request_id.startswith("chatcmpl")
    body = demo.requests[0]["body"]
    assert (body["top_k"], body["temperature"], body["stream"]) == (3, 0.1, False) and "max_tokens" not in body


def test_a_stream_gives_text_events_and_at_its_end_the_assembled_answer(demo: Any) -> None:
    answer: Any = client(demo).chat_stream("demo-reasoning", ASK)
    assert [answer.response] == [None]
    events = list(answer.events())
    assert [event["type"] for event in events if event["type"] not in ("text", "reasoning")] == ["finish", "usage"]
    assert events[0]["type"] == "reasoning"
    assert "".join(event["text"] for event in events if event["type"] == "text") == answer.response.text
    plain = client(demo).chat("demo-reasoning", ASK)
    assert (answer.response.text, answer.response.reasoning) == (plain.text, plain.reasoning) and plain.reasoning
    assert answer.response["choices"][0]["message"]["content"] == plain.text and answer.response.usage == plain.usage
    assert answer.response.first_s is not None and plain.first_s is None


@pytest.mark.parametrize("model", [name for name in BEHAVIOURS if name.startswith("demo-tools") and "cut" not in name])
def test_streamed_tool_calls_are_those_of_the_plain_answer(demo: Any, model: str) -> None:
    plain = client(demo).chat(model, ASK, tools=TOOLS)
    answer = client(demo).chat_stream(model, ASK, tools=TOOLS)
    assert list(answer) == []
    for call, other in zip(answer.response.tool_calls, plain.tool_calls):
        assert {**call, "id": ""} == {**other, "id": ""} and call["id"]
    assert [call["name"] for call in plain.tool_calls] == ["add", "look_up"]
    assert all(call["parsed"] is not None for call in plain.tool_calls)


@pytest.mark.parametrize("model", ["demo-tools-cut-args", "fail-tools-half"])
@pytest.mark.parametrize("streamed", [False, True])
def test_half_a_tool_call_is_a_cut_answer_that_keeps_what_came(demo: Any, model: str, streamed: bool) -> None:
    with pytest.raises(c.IncompleteError, match="inside a tool call") as caught:
        given = client(demo, max_retries=0).chat(model, ASK, tools=TOOLS, stream=streamed)
        given.answer()
    assert caught.value.code == "stream_cut" and not caught.value.response.complete
    assert [call["parsed"] for call in caught.value.response.tool_calls][-1:] == [None]
    assert client(demo, max_retries=0).chat(model, ASK, tools=TOOLS, fallback="demo").model_used == "demo"


def test_a_server_that_never_finishes_needs_lenient_end(serve: Serve) -> None:
    server = serve(stream(delta("all there is")))
    with pytest.raises(c.IncompleteError) as caught:
        list(client(server).chat_stream("m", ASK))
    assert caught.value.response.text == "all there is"
    lenient = client(server, lenient_end=True).chat_stream("m", ASK)
    assert "".join(lenient) == "all there is" and lenient.response.complete


def test_done_without_a_word_is_no_answer(serve: Serve) -> None:
    for reply in (stream(DONE), stream(delta("", "stop"), DONE), http(completion("")), http(completion(None))):
        with pytest.raises(c.BadUpstreamError):
            list(client(serve(reply)).chat_stream("m", ASK))


def test_an_abandoned_stream_and_a_with_block_hang_up(demo: Any) -> None:
    with client(demo).chat_stream("demo-slow-10", ASK) as answer:
        next(answer)
    assert list(answer) == [] and answer.response is None


def test_a_message_in_an_error_never_holds_the_key(serve: Serve) -> None:
    key = "canary-" + "k" * 20
    echo = http({"error": {"message": f"bad key {key} and {base64.b64encode(key.encode()).decode()}"}}, "401 No")
    with pytest.raises(c.AuthenticationError) as caught:
        client(serve(echo), api_key=key).chat("m", ASK)
    assert key not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}" and "[key]" in str(caught.value)


def test_many_threads_share_one_client(demo: Any) -> None:
    asked, texts = client(demo), []

    def work(number: int) -> None:
        for turn in range(5):
            texts.append(asked.chat("demo", [{"role": "user", "content": f"{number}-{turn}"}]).text.rsplit(": ")[-1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    assert sorted(texts) == sorted(f"{number}-{turn}" for number in range(8) for turn in range(5))
    assert demo.connections <= 8
    asked.close()
    assert asked.chat("demo", ASK).text  # closed is not finished


@pytest.mark.parametrize("options", [
    {"timeout_s": 0}, {"deadline_s": -1}, {"connect_timeout_s": "1"}, {"progress_timeout_s": float("nan")},
    {"max_retries": -1}, {"max_retries": 1.5}, {"max_retries": 11}, {"headers": {"Host": "x"}}, {"base_url": "nonsense"},
])  # fmt: skip
def test_nonsense_is_refused_when_the_client_is_made(options: Dict[str, Any]) -> None:
    with pytest.raises(c.UsageError):
        c.LLMRouterClient("key", **options)


def test_the_environment_is_read_and_arguments_win(demo: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ROUTER_BASE_URL", demo.base_url)
    monkeypatch.setenv("LLM_ROUTER_API_KEY", "from-the-environment")
    c.LLMRouterClient().chat("demo", ASK)
    c.LLMRouterClient("given").chat("demo", ASK)
    sent = [request["headers"]["Authorization"] for request in demo.requests]
    assert sent == ["Bearer from-the-environment", "Bearer given"]


# ------------------------------------------------------------------------------------------------------------- vision


@pytest.mark.parametrize("streamed", [False, True])
def test_images_as_bytes_paths_data_urls_and_urls(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(PNG)
    inline = "data:image/jpeg;base64," + base64.b64encode(PNG).decode()  # its bytes say PNG, and are believed
    sources = [PNG, "cat.png", tmp_path / "cat.png", inline, "https://example.com/dog.jpg"]
    answer = client(demo).vision("demo", sources, "What?", detail="low", system="Be brief.", stream=streamed)
    text = "".join(answer) if streamed else answer.text
    assert text.count("PNG, 2x3 pixels") == 4
    system, user = demo.requests[0]["body"]["messages"]
    parts = user["content"]
    assert system["content"] == "Be brief." and parts[0] == {"type": "text", "text": "What?"}
    assert all(part["image_url"]["detail"] == "low" for part in parts[1:])
    assert parts[4]["image_url"]["url"].startswith("data:image/png;") and parts[5]["image_url"]["url"] == sources[4]


@pytest.mark.parametrize("source,kind", [
    (b"no image", c.SafetyError), ("data:image/png;base64,AAAA", c.SafetyError), ("data:image/png;base64,A", c.UsageError),
    ("data:image/png;base64,!!!", c.UsageError), ("data:image/png,iVBORw0KGgo", c.UsageError), ("data:", c.UsageError),
    ("data:image/png;base64,iVBORw0K-_8=", c.UsageError), ("data:image/png;base64,", c.UsageError),
    ("ftp://example.com/x.png", c.SafetyError), ("file:///etc/hosts", c.SafetyError), ("missing.png", c.UsageError),
    ("", c.UsageError), (7, c.UsageError), ([], c.UsageError), ("a\0b.png", c.UsageError), ("\ud800.png", c.UsageError),
])  # fmt: skip
def test_what_is_no_image_is_refused_and_nothing_sent(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, kind: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind):
        client(demo).vision("demo", [source], "What?")
    assert demo.requests == []


# ------------------------------------------------------------------------------------------------------------ compare

KEYS = [
    "model_used", "success", "response", "latency", "ttft", "tokens", "cost", "cost_source", "cached", "finish_reason",
    "warnings", "error",
]  # fmt: skip


@pytest.mark.slow
def test_compare_sends_all_at_once_and_keeps_the_order_given(demo: Any) -> None:
    models = [f"demo-sleep-{wait}" for wait in (300, 100, 200)] + ["fail-402"]
    began = time.monotonic()
    results = client(demo).compare_models(models, "Hello", system="Be brief.")
    took = time.monotonic() - began
    assert took < sum(result["latency"] for result in results.values() if result["success"])  # not one after the other
    assert list(results) == models and all(list(result) == KEYS for result in results.values())
    assert [result["success"] for result in results.values()] == [True, True, True, False]
    assert results["fail-402"]["error"]["code"] == "no_credit" and results["fail-402"]["response"] == ""
    assert all(request["body"]["messages"][0]["content"] == "Be brief." for request in demo.requests)


def test_compare_streamed_measures_the_first_text_and_keeps_the_text_of_a_cut(demo: Any) -> None:
    results = client(demo).compare_models("demo,fail-cut", [{"role": "user", "content": "Hello"}], stream=True, max_workers=1)
    assert results["demo"]["ttft"] is not None and results["demo"]["tokens"]
    assert (
        not results["fail-cut"]["success"]
        and results["fail-cut"]["response"]
        and results["fail-cut"]["error"]["code"] == "stream_cut"
    )


def test_compare_falls_back_for_every_model(demo: Any) -> None:
    results = client(demo).compare_models(["fail-402", "fail-404"], "Hello", fallback="demo")
    assert all(result["success"] for result in results.values())


@pytest.mark.parametrize("models", ["", [], ["demo", "demo"], "demo,", ["not a model"]])
def test_models_to_compare_are_named_each_once(demo: Any, models: Any) -> None:
    with pytest.raises(c.UsageError):
        client(demo).compare_models(models, "Hello")
    assert demo.requests == []


@pytest.mark.parametrize("message", [None, 5, "", " \n", [], {"role": "user", "content": "Hello"}])
def test_what_is_no_question_is_compared_by_no_model(demo: Any, message: Any) -> None:
    with pytest.raises(c.UsageError, match="message must be a text, or a list"):
        client(demo).compare_models(["demo", "demo-reasoning"], message)
    assert demo.requests == []


# ------------------------------------------------------------------------------------------------- models


def test_models_are_live_with_their_family(demo: Any, serve: Serve) -> None:
    listed = client(demo).list_models()
    assert listed.source == "live" and {"id", "family"} <= set(listed[0]) and listed[0]["family"] == "demo"
    for body in ({"data": [{"id": "gpt-5"}, {"no": "id"}, 7]}, {"models": [{"id": "gpt-5"}]}, [{"id": "gpt-5"}]):
        data = json.dumps(body).encode()
        assert [(model["id"], model["family"]) for model in client(serve(http(data))).list_models()] == [("gpt-5", "gpt")]


def test_another_endpoint_s_list_is_never_made_up(serve: Serve) -> None:
    for reply, kind in (
        (http(b"{}"), c.BadUpstreamError),
        (http(b"{}", "404 No"), c.UnknownModelError),
        (http(b"<html>"), c.BadUpstreamError),
    ):
        with pytest.raises(kind):
            client(serve(reply)).list_models()


def test_the_built_in_list_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = c.LLMRouterClient("key", transport=StillTransport(), max_retries=0)
    assert asked.list_models(offline=True).source == "builtin"

    def refuse(*_: Any) -> Any:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(asked.transport, "dial", refuse)
    listed = asked.list_models()
    assert listed.source == "builtin" and "Connection refused" in listed.reason and {"id": "gpt-4.1", "family": "gpt"} in listed


def test_a_preview_is_what_is_sent_with_the_key_masked(demo: Any) -> None:
    asked = client(demo, api_key="k" * 12 + "tail")
    shown = asked.preview("demo", ASK, stream=True, temperature=0.5)
    list(asked.chat_stream("demo", ASK, temperature=0.5))
    assert shown["body"] == demo.requests[0]["body"] and shown["headers"]["Authorization"] == "Bearer ********tail"
    sent = {name.lower(): value for name, value in demo.requests[0]["headers"].items()}
    hidden = ("Authorization", "Idempotency-Key")
    assert all(sent[name.lower()] == value for name, value in shown["headers"].items() if name not in hidden)
    assert asked.preview()["url"] == f"{demo.base_url}/models" and len(demo.requests) == 1


def test_headers_of_the_caller_are_sent(demo: Any) -> None:
    client(demo, headers={"X-Team": "blue"}).chat("demo", ASK)
    assert demo.requests[0]["headers"]["X-Team"] == "blue"


MESSAGES: List[Any] = [None, [], "Hello", [7], [{"content": "x"}], [{"role": 1, "content": "x"}]]


@pytest.mark.parametrize("messages", MESSAGES)
def test_messages_that_are_none_are_refused_before_anything_is_sent(demo: Any, messages: Any) -> None:
    with pytest.raises(c.UsageError):
        client(demo).chat("demo", messages)
    assert demo.requests == []
