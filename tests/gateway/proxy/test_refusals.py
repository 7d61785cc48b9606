"""Whose fault a refusal is, in every dialect, and what the gateway does about it: other keys, other members, other words."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import ANSWER, STREAM, Exchange, Upstream
from routed import SOON_S, Hosts, Ways, chat, group, model, ok, play, provider, refusal, stream, streamed, trio

from llm_router_gateway.errors import CONTEXT, GatewayError, StreamCut, of_status
from llm_router_gateway.proxy.attempts import AttemptRecord
from llm_router_gateway.proxy.model_list import windows_in
from llm_router_gateway.store.call import Call
from llm_router_gateway.wire.complaints import IMAGE, classify

Run = Callable[..., Ways]
CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
LONG = "This model's maximum context length is 8192 tokens. However, you requested 9256 tokens"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def runs(story: Any, document: dict[str, Any] | None = None, **scripts: Any) -> Ways:
        return play(story, document or trio(), Hosts(**scripts), tmp_path)

    return runs


def said(status: int, message: str, **more: Any) -> Upstream:
    return Upstream(status, json.dumps({"error": {"message": message, **more}}).encode())


def lone(api: str = "openai", **server: Any) -> dict[str, Any]:
    url = "http://a.example/v1" if api == "openai" else "http://a.example"
    return {"providers": [provider("a", api=api, base_url=url)], "models": [model("a")], "server": server}


# -- what a refusal means


@pytest.mark.parametrize(("status", "retry_after"), [(429, "7"), (401, None), (413, None)])
@pytest.mark.parametrize("ask", [chat, stream])
def test_a_refusal_whose_words_are_lost_has_its_status(run: Run, ask: Any, status: int, retry_after: str | None) -> None:
    """A server that closes before it has read the request's body resets the connection, and its answer may be lost in part."""
    headers = {"retry_after": retry_after} if retry_after else {}
    cut_short = [b'{"error":{"mess', StreamCut("a: the connection was closed in the middle of an answer")]

    async def story(ways: Ways) -> None:
        answer = await ways.ask(ask("a/m"))
        assert answer.status == status and answer.out_headers.get("retry-after") == retry_after
        assert f"the provider answered {status} and gave no reason" in answer.json["error"]["message"]

    run(story, lone(), a=Upstream(status, cut_short, **headers))


@pytest.mark.parametrize(("status", "message", "code", "details"), [
    (400, CREDIT, "no_credit", {}), (400, "You have reached your specified API usage limits.", "no_credit", {}),
    (400, "Billing hard limit has been reached", "no_credit", {}),
    (400, "This organization has been disabled.", "no_credit", {}),
    (400, "User location is not supported for the API use.", "no_credit", {}),
    (403, "Pre-deduction failed: the account has no credit left.", "no_credit", {}),
    (400, "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it", CONTEXT,
     {"tokens": 9000, "window": 8192}),
    (400, LONG, CONTEXT, {"tokens": 9256, "window": 8192}),
    (400, "prompt is too long: 210000 tokens > 200000 maximum", CONTEXT, {"tokens": 210000, "window": 200000}),
    (400, "The input token count (9000) exceeds the maximum number of tokens allowed (8192).", CONTEXT,
     {"tokens": 9000, "window": 8192}),
    (400, "Please reduce the length of the messages.", CONTEXT, {}),
    (500, "image input is not supported - hint: you may need to provide the mmproj", IMAGE, {}),
    (404, "Only 'text' content type is supported.", IMAGE, {}),
    (404, "model: claude-9", "model_not_found", {}),
    (404, "models/gemini-9 is not found for API version v1beta", "model_not_found", {}),
    (400, "temperature must be a number", "bad_request", {}), (429, CREDIT, "rate_limited", {}),
    (404, "no such path", "not_found", {}),
])  # fmt: skip
def test_a_refusal_is_understood_in_every_dialect(status: int, message: str, code: str, details: dict[str, int]) -> None:
    error = classify(of_status(status, message))
    assert (error.code, error.message, error.details) == (code, message, details)
    assert error.status == {"no_credit": 402, CONTEXT: 400, IMAGE: 400}.get(code, status)


def test_the_numbers_may_stand_in_the_body_alone() -> None:
    body = b'{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":8192}}'
    error = classify(of_status(400, "too long", details={"type": "exceed_context_size_error"}), body)
    assert (error.code, error.details["tokens"], error.details["window"]) == (CONTEXT, 9000, 8192)


# -- credit


@pytest.mark.parametrize("ask", [chat, stream])
def test_an_empty_purse_under_status_400_moves_on_by_key_then_by_member(run: Run, ask: Callable[..., Exchange]) -> None:
    document = trio()
    document["providers"][0] = provider("a", api_key="k1-" + "x" * 9 + ",k2-" + "x" * 9)

    async def story(ways: Ways) -> None:
        exchange = await ways.ask(ask("g"))
        assert exchange.status == 200 and b"hi" in exchange.out
        assert [key[:2] for key in ways.hosts.keys[:2]] == ["k1", "k2"]

    run(story, document, a=said(400, CREDIT), b=streamed() if ask is stream else ok())


@pytest.mark.parametrize(("path", "body", "kind"), [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "insufficient_quota"),
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}, "billing_error"),
])  # fmt: skip
@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_alone_it_is_no_credit_in_the_callers_words(run: Run, path: str, body: dict[str, Any], kind: str, api: str) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.post(path, {"model": "a/m", **body})
        assert (exchange.status, exchange.json["error"]["type"]) == (402, kind)

    run(story, lone(api), a=said(400, CREDIT, type="invalid_request_error"))


# -- prompts that are too long


def windows(*sizes: int | None) -> dict[str, Any]:
    document = trio()
    document["models"] = [model(name, config={"context_window": size} if size else {})
                          for name, size in zip("abc", sizes, strict=True)]  # fmt: skip
    return document


WORDS = "word " * 3_000


def long_chat(**more: Any) -> Exchange:
    body = {"model": "g", "messages": [{"role": "user", "content": WORDS}], **more}
    return Exchange("POST", "/v1/chat/completions", json.dumps(body).encode())


def test_members_whose_known_window_is_too_small_are_passed_over(run: Run) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.ask(long_chat())
        assert (exchange.status, exchange.out_headers["x-llm-router-attempts"]) == (200, "1")

    assert run(story, windows(1_000, 2_000, 200_000), c=ok()).hosts.hosts == ["c"]


def test_where_every_window_is_too_small_the_upstream_decides(run: Run) -> None:
    async def story(ways: Ways) -> None:
        assert (await ways.ask(long_chat())).status == 200

    assert run(story, windows(1_000, 1_000, 1_000), a=ok()).hosts.hosts == ["a"]


@pytest.mark.parametrize("ask", [chat, stream])
def test_a_prompt_that_was_too_long_goes_to_a_larger_window_and_is_held_against_no_member(
    run: Run, ask: Callable[..., Exchange]
) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.ask(ask("g"))
        assert exchange.status == 200 and b"hi" in exchange.out
        state = ways.gateway.routing_state.health("a/m")
        assert state.failures == 0 and ways.gateway.routing_state.windows["a/m"] == 8_192

    answer = streamed() if ask is stream else ok()
    assert run(story, windows(None, 4_000, 200_000), a=said(400, LONG), c=answer).hosts.hosts == ["a", "c"]


def test_without_numbers_it_is_reported_in_these_words_too(run: Run) -> None:
    """litellm and LangChain go by the message, since the openai SDK's errors no longer show the code."""

    async def story(ways: Ways) -> None:
        error = (await ways.ask(chat("a/m"))).json["error"]
        assert error["message"] == "This model's maximum context length is exceeded: Input is too long for requested model."
        assert error["code"] == CONTEXT

    run(story, lone("anthropic"), a=said(400, "Input is too long for requested model."))


GEMINI = "/v1beta/models/a/m:generateContent"


@pytest.mark.parametrize(("path", "body", "words"), [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "maximum context length is 8192 tokens"),
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
     "prompt is too long: 9256 tokens > 8192 maximum"),
    (GEMINI, {"contents": [{"parts": [{"text": "x"}]}]}, "exceeds the maximum number of tokens allowed (8192)"),
])  # fmt: skip
@pytest.mark.parametrize("refused", [said(400, LONG), said(
    400, "request (9256 tokens) exceeds the available context size (8192 tokens)", type="exceed_context_size_error", code=400
)])  # fmt: skip
def test_it_is_reported_in_the_words_that_the_callers_clients_compact_by(
    run: Run, path: str, body: dict[str, Any], words: str, refused: Upstream
) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.post(path, body if path == GEMINI else {"model": "a/m", **body})
        assert exchange.status == 400 and words in exchange.json["error"]["message"]
        assert exchange.json["error"].get("code") in (CONTEXT, 400, None)
        if path == "/v1/chat/completions":
            assert exchange.json["error"]["code"] == CONTEXT

    run(story, lone(), a=refused)


def test_one_in_the_callers_own_words_goes_on_as_it_came(run: Run) -> None:
    refused = said(400, "Too much.", code=CONTEXT, type="invalid_request_error", odd=1)

    async def story(ways: Ways) -> None:
        exchange = await ways.ask(chat("a/m"))
        assert (exchange.status, exchange.json["error"]["message"], exchange.json["error"]["odd"]) == (400, "Too much.", 1)

    run(story, lone(), a=refused)


def test_a_window_is_learnt_from_an_upstreams_list(run: Run) -> None:
    """vLLM's max_model_len, llama.cpp's meta.n_ctx; a member whose prompt was too long is passed over the next time."""
    listed = Upstream(200, b'{"data":[{"id":"m","max_model_len":2000}]}')
    tiny = Upstream(200, b'{"data":[{"id":"m","meta":{"n_ctx":1000}}]}')

    def answer(listing: Upstream) -> Callable[[dict[str, Any]], Upstream]:
        return lambda sent: listing if sent["method"] == "GET" else ok()

    async def story(ways: Ways) -> None:
        assert (await ways.ask(long_chat())).out_headers["x-llm-router-model"] == "a/m"
        for _ in range(20):
            await asyncio.sleep(0)
        assert ways.gateway.routing_state.windows == {"a/m": 2_000, "b/m": 1_000}
        assert (await ways.ask(long_chat())).out_headers["x-llm-router-model"] == "c/m"

    run(story, a=answer(listed), b=answer(tiny), c=answer(Upstream(200, b'{"data":[]}')))


@pytest.mark.parametrize("listing", [{}, [], {"data": 5}, {"data": [{"id": 5, "max_model_len": 9}, {"id": "a"}, 7]},
                                     {"data": [{"id": "a", "max_model_len": "9"}]}])  # fmt: skip
def test_a_list_without_windows_tells_none(listing: Any) -> None:
    assert windows_in(listing) == {}


# -- images


@pytest.mark.parametrize(("status", "message"), [
    (500, "image input is not supported - hint: mmproj"), (404, "Only 'text' content type is supported."),
])  # fmt: skip
def test_a_model_without_eyes_is_not_ill_and_another_may_see(run: Run, status: int, message: str) -> None:
    async def story(ways: Ways) -> None:
        assert (await ways.ask(chat("g"))).status == 200
        alone = await ways.ask(chat("a/m"))
        assert (alone.status, alone.json["error"]["code"]) == (400, IMAGE)
        assert ways.gateway.routing_state.health("a/m").failures == 0

    assert run(story, a=said(status, message), b=ok()).hosts.hosts == ["a", "b", "a"]


# -- an only member


@pytest.mark.parametrize("status", [502, 503, 529])
@pytest.mark.parametrize("ask", [partial(chat, "a/m"), partial(stream, "a/m"), partial(chat, "one")])
def test_an_only_member_is_sent_to_once_more(run: Run, ask: Callable[[], Exchange], status: int) -> None:
    document = lone(retry_alone_s=0.01)
    document["groups"] = [{**group("a/m"), "name": "one"}]

    async def story(ways: Ways) -> None:
        exchange = await ways.ask(ask())
        assert exchange.status == 200 and b"hi" in exchange.out

    answer = streamed() if b"stream" in ask().body_in else ok()
    assert run(story, document, a=[refusal(status), answer]).hosts.hosts == ["a", "a"]


@pytest.mark.parametrize(("server", "answer"), [
    ({"retry_alone_s": 0}, refusal(503)), ({"retry_alone_s": 0.01}, refusal(500)), ({"retry_alone_s": 0.01}, refusal(429)),
    ({"retry_alone_s": 0.01}, refusal(503, retry_after="60")),
])  # fmt: skip
def test_it_is_not_where_that_would_not_help(run: Run, server: dict[str, Any], answer: Upstream) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.ask(chat("a/m"))
        assert (exchange.status, exchange.out_headers["x-llm-router-attempts"]) == (answer.status, "1")

    assert run(story, lone(**server), a=answer).hosts.hosts == ["a"]


def test_a_second_failure_is_reported(run: Run) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.ask(chat("a/m"))
        assert (exchange.status, exchange.out_headers["x-llm-router-attempts"]) == (503, "2")

    assert run(story, lone(retry_alone_s=0.01), a=refusal(503)).hosts.hosts == ["a", "a"]


# -- answers that are none


BROKEN = [b'{"choices":[],"usage":{"prompt_tokens":0}}', ANSWER.replace(b'"stop"', b'"error"'),
          ANSWER[:-1] + b',"error":{"message":"upstream broke"}}']  # fmt: skip


@pytest.mark.parametrize("data", BROKEN)
def test_an_answer_that_is_none_moves_on_and_alone_is_502(run: Run, data: bytes) -> None:
    async def story(ways: Ways) -> None:
        assert (await ways.ask(chat("g"))).status == 200
        assert (await ways.ask(chat("a/m"))).status == 502
        assert ways.gateway.routing_state.health("a/m").failures

    run(story, trio(server={"retry_alone_s": 0}), a=Upstream(200, data), b=ok())


def test_a_broken_stream_moves_on_before_output_and_ends_in_an_error_after_it(run: Run) -> None:
    half = b'data: {"choices":[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}\n\n'
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}\n\ndata: [DONE]\n\n'

    async def story(ways: Ways) -> None:
        assert b"hi" in (await ways.ask(stream("g"))).out
        exchange = await ways.ask(stream("g"))
        assert exchange.out.startswith(half) and b"unfinished_abort" in exchange.out
        assert b"[DONE]" not in exchange.out and b'"abort"' not in exchange.out

    run(story, a=[streamed(end), streamed(half, end)], b=streamed())


def test_a_plain_request_gets_the_answer_that_unasked_events_make(run: Run) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.ask(chat("a/m"))
        assert exchange.json["object"] == "chat.completion"
        assert exchange.json["choices"][0]["message"]["content"] == "hi"
        assert exchange.out_headers["content-type"] == "application/json"

    run(story, lone(), a=[streamed(), Upstream(200, streamed().pieces_, content_type="application/json")])


# -- a stream's usage


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'


def told_usage() -> Upstream:
    first, text, last, done = streamed().pieces_
    return Upstream(200, [first, text, (last or b"") + USAGE + (done or b"")], **STREAM)


def test_a_streams_usage_is_requested_and_hidden_from_a_caller_that_did_not(run: Run) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.ask(stream("a/m"))
        assert b"usage" not in exchange.out and exchange.out.endswith(b"[DONE]\n\n")
        asked = await ways.ask(stream("a/m", ', "stream_options": {"include_usage": true}'))
        assert USAGE in asked.out
        assert ways.lines.count("in=7 out=2") == 2

    first, second = run(story, lone(), a=told_usage()).hosts.sent
    assert json.loads(first["body"])["stream_options"] == {"include_usage": True}
    assert json.loads(second["body"])["stream_options"] == {"include_usage": True}


def test_an_upstream_that_refuses_the_usage_request_gets_the_body_without_it(run: Run) -> None:
    refused = said(400, "Unrecognized request argument supplied: stream_options")

    async def story(ways: Ways) -> None:
        for _ in range(2):
            assert b"hi" in (await ways.ask(stream("a/m"))).out

    sent = run(story, lone(), a=[refused, streamed()]).hosts.sent
    assert ["stream_options" in json.loads(each["body"]) for each in sent] == [True, False, False]


# -- who answered


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("named,told", [("qwen2.5-7b", True), ("m", False), ("", False)])
@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_of_a_wholly_different_model_is_reported_in_the_log(
    run: Run, path: str, named: str, told: bool, streams: bool
) -> None:
    document = lone()
    document["models"] = [{**model("a"), "remote_identifier": "gpt-4o"}]
    field = f'"model":"{named}",'.encode()
    pieces = [piece.replace(b'"id"', field + b'"id"') for piece in streamed().pieces_ if piece is not None]
    answer = Upstream(200, pieces, **STREAM) if streams else Upstream(200, ANSWER.replace(b'"id"', field + b'"id"', 1))

    async def story(ways: Ways) -> None:
        body = {"model": "a/m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": streams}
        for _ in range(2):
            assert (await ways.post(path, body)).status == 200
        assert ways.lines.count("the upstream says that 'qwen2.5-7b' answered") == (1 if told else 0)

    run(story, document, a=answer)


# -- embeddings


def test_embeddings_are_converted_between_openai_and_gemini(run: Run) -> None:
    document = {"providers": [provider("a"), provider("b", api="gemini", base_url="http://b.example/v1beta")],
                "models": [model("a"), model("b")]}  # fmt: skip
    vectors = Upstream(200, b'{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":4}}')
    values = Upstream(200, b'{"embeddings":[{"values":[1.5]},{"values":[2.5]}]}')

    async def story(ways: Ways) -> None:
        openai = await ways.post("/v1/embeddings", {"model": "b/m", "input": ["x", "y"], "dimensions": 1})
        assert [each["embedding"] for each in openai.json["data"]] == [[1.5], [2.5]]
        batch = {"requests": [{"content": {"parts": [{"text": "x"}]}}, {"content": {"parts": [{"text": "y"}]}}]}
        gemini = await ways.post("/v1beta/models/a/m:batchEmbedContents", batch)
        assert gemini.json == {"embeddings": [{"values": [1]}, {"values": [2]}]}
        body = {"content": {"parts": [{"text": "x"}]}, "taskType": "RETRIEVAL_QUERY"}
        one = await ways.post("/v1beta/models/a/m:embedContent", body)
        assert one.json["embedding"]["values"] == [1] and "taskType" in one.out_headers["x-llm-router-lost"]

    sent = run(story, document, a=vectors, b=values).hosts.sent
    assert sent[0]["url"].endswith("/models/m:batchEmbedContents") and sent[1]["url"].endswith("/v1/embeddings")
    first = json.loads(sent[0]["body"])["requests"]
    assert first[1] == {"model": "models/m", "content": {"parts": [{"text": "y"}]}, "outputDimensionality": 1}
    assert json.loads(sent[1]["body"]) == {"model": "m", "input": ["x", "y"], "encoding_format": "float"}


def test_what_stays_unsupported_is_a_bad_request_that_no_sdk_repeats(run: Run) -> None:
    async def story(ways: Ways) -> None:
        exchange = await ways.post("/v1/embeddings", {"model": "a/m", "input": "x"})
        assert (exchange.status, exchange.out_headers["x-should-retry"]) == (400, "false")

    assert not run(story, lone("anthropic"), a=ok()).hosts.sent


def test_a_refusal_of_another_kind_is_itself() -> None:
    error = GatewayError("x", status=502)
    assert classify(error) is error


# -- what is refused here, before anything is sent


def callers() -> dict[str, Any]:
    """A provider with a model, one with a model that has a limit, one of another protocol; a key for each reason to refuse."""
    limit = {"max_requests": 1, "per_seconds": 1_000}
    terms: dict[str, Any] = {
        "plain": {}, "poor": {"budget": {"tokens_per_day": 100}}, "spent": {"budget": {"tokens_per_day": 0}},
        "dollars": {"budget": {"usd_per_day": 1}}, "slow": {"limits": limit}, "narrow": {"allowed_models": ["b/*"]},
        "off": {"is_active": False}, "capped": {"parameter_limits": {"max_tokens": 10}},
    }  # fmt: skip
    document = trio(keys=[{"name": name, "key": f"sk-of-{name}-{name}", **each} for name, each in terms.items()])
    document["providers"].append(provider("d", api="anthropic", base_url="http://d.example"))
    document["models"] += [{"name": "limited", "provider": "a", "limits": limit}, model("d")]
    return document


@pytest.mark.parametrize(("key", "name", "extra", "status", "ended"), [
    ("poor", "a/m", "", 402, "refused"), ("poor", "g", "", 402, "refused"), ("poor", "d/m", "", 402, "refused"),
    ("poor", "a/m", ', "stream": true', 402, "refused"), ("poor", "g", ', "stream": true', 402, "refused"),
    ("spent", "a/m", "", 402, "refused"), ("dollars", "a/m", "", 402, "refused"), ("dollars", "g", "", 402, "refused"),
    ("slow", "a/m", "", 429, "refused"), ("plain", "a/limited", "", 429, "refused"),
    ("narrow", "a/m", "", 403, "refused"), ("off", "a/m", "", 403, "refused"), ("unknown", "a/m", "", 401, "refused"),
    ("plain", "x/y", "", 404, "error"), ("capped", "a/m", ', "models": ["x"]', 400, "error"),
    ("capped", "a/m", ', "max_tokens": "x"', 400, "error"), ("plain", "d/m", ', "tools": 5', 400, "error"),
])  # fmt: skip
def test_what_was_never_sent_has_no_attempt_and_is_the_callers(
    run: Run, key: str, name: str, extra: str, status: int, ended: str
) -> None:
    async def story(ways: Ways) -> None:
        calls: list[Call] = []
        ways.gateway.on_call = lambda call, bodies: calls.append(call)
        credential = [("authorization", f"Bearer sk-of-{key}-{key}")]
        if status == 429:
            assert (await ways.ask(chat(name, extra, list(credential)))).out_headers["x-llm-router-attempts"] == "1"
        before = len(ways.hosts.sent)
        exchange = await ways.ask(chat(name, extra, list(credential)))
        call = calls[-1]
        assert (exchange.status, len(ways.hosts.sent), exchange.json["error"]["code"] != "") == (status, before, True)
        assert "x-llm-router-attempts" not in exchange.out_headers and "x-llm-router-model" not in exchange.out_headers
        assert (call.status, call.attempts, call.ended, call.is_caller_error) == (status, 0, ended, True)
        assert (call.cost_usd, call.input_tokens) == (None, None)

    run(story, callers(), **{host: ok() for host in "abc"}, d=said(500, "never reached"))


def test_a_member_that_failed_is_an_attempt_and_one_that_was_too_dear_is_none(run: Run) -> None:
    document = callers()
    document["models"][0]["config"], document["models"][1]["config"] = [
        {"input_usd_per_mtok": price, "output_usd_per_mtok": price} for price in (0, 1_000_000)
    ]
    document["groups"] = [group({"model": "a/m", "priority": 2}, "b/m")]

    async def story(ways: Ways) -> None:
        calls: list[Call] = []
        ways.gateway.on_call = lambda call, bodies: calls.append(call)
        exchange = await ways.ask(chat("g", headers=[("authorization", "Bearer sk-of-dollars-dollars")]))
        assert (exchange.status, exchange.out_headers["x-llm-router-attempts"]) == (500, "1")
        assert (calls[0].attempts, calls[0].failed) == (1, '["a/m internal", "b/m budget_used_up"]')

    run(story, document, a=refusal(500), b=ok())


@pytest.mark.parametrize(("answer", "expected"), [
    (ok(), False), (refusal(400), True), (refusal(413), True), (refusal(422), True), (said(400, LONG), True),
    (said(400, CREDIT), False), *((refusal(status), False) for status in (401, 402, 403, 404, 408, 429, 500, 503)),
])  # fmt: skip
def test_an_attempt_is_the_callers_error_where_a_provider_sends_the_request_back(
    run: Run, answer: Upstream, expected: bool
) -> None:
    async def story(ways: Ways) -> None:
        calls: list[Call] = []
        attempts: list[AttemptRecord] = []
        ways.gateway.on_call, ways.gateway.on_attempts = (lambda call, bodies: calls.append(call)), attempts.extend
        await ways.ask(chat("a/m"))
        assert {attempt.is_caller_error for attempt in attempts} == {calls[0].is_caller_error} == {expected}

    run(story, lone(retry_alone_s=SOON_S), a=answer)
