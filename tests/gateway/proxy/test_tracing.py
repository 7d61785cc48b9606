"""tracing: which spans a call makes, where tokens and cost stand, what upstreams are sent of the trace. Fakes on both rims."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes import DONE, FIRST, LAST, TEXT, Exchange, Headers, Upstream
from routed import Hosts, Story, Ways, chat, group, model, ok, play, provider, refusal, stream, streamed
from spans import Sink

from llm_router_gateway.config.telemetry import Telemetry
from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.proxy.tracing import Tracing
from llm_router_gateway.telemetry.otlp import CLIENT, SERVER, Span

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # pragma: allowlist secret
GIVEN: Headers = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "a=1")]
CLAUDE = b'{"id":"m1","type":"message","role":"assistant","model":"claude-x-2","content":[{"type":"text","text":"yes"}],\
"stop_reason":"end_turn","usage":{"input_tokens":100,"cache_read_input_tokens":20,"output_tokens":50}}'
PRICES = {"input_usd_per_mtok": 1_000, "output_usd_per_mtok": 2_000, "cached_input_usd_per_mtok": 1_000}


def pair() -> dict[str, Any]:
    """Group `g`: a first, an OpenAI server, then b, an Anthropic one."""
    other = provider("b", api="anthropic", base_url="http://b.example:81")
    members = [{"model": "a/m", "priority": 2}, {"model": "b/m", "priority": 1}]
    return {"providers": [provider("a"), other], "models": [model("a", config=PRICES), model("b", config=PRICES)],
            "groups": [group(*members)], "server": {"retry_alone_s": 0}}  # fmt: skip


@pytest.fixture
def traced(tmp_path: Path) -> Callable[..., tuple[Sink, Ways]]:
    def runs(story: Story, document: dict[str, Any] | None = None, *, settings: dict[str, Any], **scripts: Any) -> Any:
        sink = Sink()

        async def with_tracing(ways: Ways) -> None:
            numbers = count(1)
            telemetry = Telemetry(**{"traces_url": "http://c/v1/traces", **settings})
            ways.gateway.tracing = Tracing(
                telemetry, sink, lambda size: next(numbers).to_bytes(size, "big"), clock=ways.gateway._clock, wall=lambda: 1e9
            )
            await story(ways)

        return sink, play(with_tracing, document or pair(), Hosts(**scripts), tmp_path)

    return runs


def ask(body: dict[str, Any] | None = None, headers: Headers | None = None) -> Exchange:
    fields = {"model": "g", "messages": [{"role": "user", "content": "hello?"}], **(body or {})}
    return Exchange("POST", "/v1/chat/completions", json.dumps(fields).encode(), headers)


def one(exchange: Exchange) -> Story:
    async def story(ways: Ways) -> None:
        await ways.ask(exchange)

    return story


def test_a_call_is_a_server_span_and_its_attempt_a_client_span(traced: Any) -> None:
    fields = {"user": "u-1", "temperature": 0.5, "max_tokens": 9, "metadata": {"team": "x"}}
    sink, ways = traced(one(ask(fields, [("x-session-id", "s-1")])), settings={}, a=ok())
    root, attempt = sink.spans
    assert (root.kind, root.parent_id, root.name, root.error) == (SERVER, "", "POST /v1/chat/completions", None)
    assert (attempt.kind, attempt.parent_id, attempt.name, attempt.error) == (CLIENT, root.span_id, "chat m", None)
    assert root.trace_id == attempt.trace_id and root.start_ns <= attempt.start_ns <= attempt.end_ns <= root.end_ns
    assert ways.hosts.sent[0]["headers"]["traceparent"] == f"00-{root.trace_id}-{attempt.span_id}-01"
    assert not [name for name in root.attributes if name.startswith("gen_ai.")], "receivers add up what stands on both"
    assert (root.attributes["openinference.span.kind"], root.attributes["llm_router.tags"]) == ("CHAIN", ["team:x"])
    for span in sink.spans:
        assert (span.attributes["session.id"], span.attributes["user.id"]) == ("s-1", "u-1")
    told = attempt.attributes
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("chat", "a", "m")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"], told["gen_ai.usage.cost"]) == (3, 4, 0.1)
    assert (told["server.address"], told["server.port"], told["gen_ai.conversation.id"]) == ("a.example", 80, "s-1")
    assert (told["gen_ai.request.temperature"], told["gen_ai.request.max_tokens"]) == (0.5, 9)
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert not [name for name in told if "messages" in name] and "hello?" not in str(sink.spans)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400])
def test_a_number_that_no_span_can_hold_is_left_out(traced: Any, number: str) -> None:
    body = (
        f'{{"model":"g","messages":[{{"role":"user","content":"hi"}}],"max_tokens":{number},"temperature":{number},"top_p":1}}'
    )
    sink, _ = traced(one(Exchange("POST", "/v1/chat/completions", body.encode())), settings={}, a=ok())
    told = sink.spans[1].attributes
    assert told["gen_ai.request.top_p"] == 1 and not {"gen_ai.request.max_tokens", "gen_ai.request.temperature"} & told.keys()


def test_a_failed_attempt_is_a_span_of_its_own_and_has_no_tokens(traced: Any) -> None:
    sink, ways = traced(one(ask(headers=GIVEN)), settings={}, a=refusal(503), b=Upstream(200, CLAUDE))
    root, failed, good = sink.spans
    assert (root.trace_id, root.parent_id, root.trace_state, root.error) == (TRACE, PARENT, "a=1", None)
    assert failed.error is not None and "no luck 503" in failed.error and failed.attributes["error.type"]
    assert not [name for name in failed.attributes if "usage" in name]
    assert (good.error, good.attributes["http.request.resend_count"]) == (None, 1)
    assert (good.attributes["gen_ai.response.model"], good.attributes["server.port"]) == ("claude-x-2", 81)
    assert good.attributes["gen_ai.usage.cache_read.input_tokens"] == 20
    assert json.loads(str(good.attributes["mlflow.llm.cost"])) == pytest.approx(
        {"input_cost": 0.12, "output_cost": 0.1, "total_cost": 0.22}
    )
    sent = [each["headers"]["traceparent"] for each in ways.hosts.sent]
    assert sent == [f"00-{TRACE}-{span.span_id}-01" for span in (failed, good)], "in a relay and in a conversion"
    assert [each["headers"]["tracestate"] for each in ways.hosts.sent] == ["a=1", "a=1"]


def test_a_stream_says_when_its_first_output_came(traced: Any) -> None:
    sink, _ = traced(one(stream()), settings={}, a=streamed(FIRST, TEXT, LAST, DONE))
    told = sink.spans[1].attributes
    assert told["gen_ai.request.stream"] is True and float(told["gen_ai.response.time_to_first_chunk"]) >= 0
    assert sink.metric("gen_ai.client.operation.time_to_first_chunk")[0]["count"] == "1"


def test_a_call_that_fails_fails_on_both(traced: Any) -> None:
    down = UpstreamFailed("cannot connect")
    sink, _ = traced(one(ask()), settings={}, a=down, b=down)
    root, first, second = sink.spans
    assert root.error and first.error and second.error
    assert root.attributes["error.type"] == first.attributes["error.type"] == "upstream_failed"


def test_what_the_gateway_refuses_is_a_call_without_an_attempt(traced: Any) -> None:
    sink, _ = traced(one(ask({"model": "nothing/such"})), settings={}, a=ok())
    (root,) = sink.spans
    assert (root.error, root.attributes["http.response.status_code"]) == (None, 404)  # of a server, 4xx is no failure
    sink, _ = traced(one(Exchange("GET", "/health")), settings={}, a=ok())
    assert not sink.spans


def test_the_measurements_of_attempts(traced: Any) -> None:
    sink, _ = traced(one(ask()), settings={}, a=refusal(503), b=Upstream(200, CLAUDE))
    points = sink.metric("gen_ai.client.operation.duration")
    assert [any(each["key"] == "error.type" for each in point["attributes"]) for point in points] == [True, False]
    assert sorted(point["sum"] for point in sink.metric("gen_ai.client.token.usage")) == [50, 120]
    assert sink.metric("llm_router.cost")[0]["asDouble"] == pytest.approx(0.22)
    assert sink.metric("http.server.request.duration")[0]["count"] == "1"


def test_a_trace_that_is_not_sampled_has_measurements_and_no_spans(traced: Any) -> None:
    sink, ways = traced(one(ask(headers=[("traceparent", f"00-{TRACE}-{PARENT}-00")])), settings={}, a=ok())
    assert not sink.spans and sink.metric("gen_ai.client.operation.duration")
    assert ways.hosts.sent[0]["headers"]["traceparent"].startswith(f"00-{TRACE}-")
    assert ways.hosts.sent[0]["headers"]["traceparent"].endswith("-00")


def test_without_telemetry_a_callers_trace_still_reaches_every_upstream(tmp_path: Path) -> None:
    hosts = Hosts(a=refusal(503), b=Upstream(200, CLAUDE))
    play(one(ask(headers=GIVEN)), pair(), hosts, tmp_path)
    for sent in hosts.sent:
        assert [sent["headers"][name] for name, _ in GIVEN] == [value for _, value in GIVEN]
    play(one(ask()), pair(), hosts := Hosts(a=refusal(503), b=Upstream(200, CLAUDE)), tmp_path)
    assert not [sent for sent in hosts.sent if "traceparent" in sent["headers"]]


def messages(span: Span, name: str) -> Any:
    return json.loads(str(span.attributes[f"gen_ai.{name}"]))


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TALK = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": [
        {"type": "text", "text": "hello?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]},
    {"role": "tool", "tool_call_id": "t1", "content": "done"},
]  # fmt: skip


@pytest.mark.parametrize("is_stream", [False, True])
def test_content_where_it_is_wanted_is_in_the_form_that_receivers_show(traced: Any, is_stream: bool) -> None:
    fields = {"messages": TALK, "tools": [TOOL], **({"stream": True} if is_stream else {})}
    sink, _ = traced(one(ask(fields)), settings={"content": True}, a=streamed() if is_stream else ok())
    root, attempt = sink.spans
    told = messages(attempt, "input.messages")
    assert [each["role"] for each in told] == ["user", "assistant", "tool"]
    assert told[0]["parts"] == [{"type": "text", "content": "hello?"}, {"type": "text", "content": "[image]"}]
    assert told[1]["parts"] == [{"type": "tool_call", "id": "t1", "name": "f", "arguments": {"a": 1}}]
    assert told[2]["parts"] == [{"type": "tool_call_response", "id": "t1", "response": "done"}]
    assert messages(attempt, "system_instructions") == [{"type": "text", "content": "Be brief."}]
    assert messages(attempt, "tool.definitions")[0]["name"] == "f"
    assert messages(attempt, "output.messages") == [
        {"role": "assistant", "parts": [{"type": "text", "content": "hi"}], "finish_reason": "stop"}
    ]
    assert root.attributes["output.value"] == "hi" and "AAAA" not in str(sink.spans)


def test_content_that_cannot_be_had_is_left_out(traced: Any) -> None:
    sink, _ = traced(one(ask()), settings={"content": True, "max_content_bytes": 20}, a=ok())
    assert "gen_ai.output.messages" not in sink.spans[1].attributes, "longer than it may be"
    assert "gen_ai.input.messages" in sink.spans[1].attributes
    sink, _ = traced(one(ask()), settings={"content": True}, a=refusal(400))
    assert "gen_ai.output.messages" not in sink.spans[1].attributes


def test_embeddings_and_counts(traced: Any) -> None:
    body = json.dumps({"model": "a/m", "input": "x"}).encode()
    answer = b'{"object":"list","data":[],"model":"e-1","usage":{"prompt_tokens":5,"total_tokens":5}}'
    sink, _ = traced(one(Exchange("POST", "/v1/embeddings", body)), settings={}, a=Upstream(200, answer))
    told = sink.spans[1].attributes
    assert (sink.spans[1].name, told["gen_ai.operation.name"], told["gen_ai.usage.input_tokens"]) == (
        "embeddings m",
        "embeddings",
        5,
    )
    body = json.dumps({"model": "b/m", "messages": [{"role": "user", "content": "x"}]}).encode()
    sink, _ = traced(
        one(Exchange("POST", "/v1/messages/count_tokens", body)), settings={}, b=Upstream(200, b'{"input_tokens":5}')
    )
    assert sink.spans[1].name == "count m" and not [name for name in sink.spans[1].attributes if name.startswith("gen_ai.")]


def test_a_plain_question_costs_nothing_where_telemetry_is_off(tmp_path: Path) -> None:
    async def story(ways: Ways) -> None:
        await ways.ask(chat())
        assert ways.gateway.tracing is None

    play(story, pair(), Hosts(a=ok()), tmp_path)
