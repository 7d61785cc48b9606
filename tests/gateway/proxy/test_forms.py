"""A member that refuses one form of a request and is sent another: each request is an attempt, wherever they are counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import STREAM, Exchange, Upstream
from routed import Hosts, Shelf, Ways, group, ok, play, provider, refusal, stream, streamed
from running import PLAIN, ROOTS
from running import STREAM as STREAMS
from spans import Sink

from llm_router_gateway.config.telemetry import Telemetry
from llm_router_gateway.management.metrics import Gauges, Metrics
from llm_router_gateway.proxy.attempts import AttemptRecord
from llm_router_gateway.proxy.tracing import Tracing
from llm_router_gateway.store.call import Call

Body = dict[str, Any]
SLOW_S = 5.0
CHATS_ONLY = {"message": "This is a chat model and not supported in the v1/completions endpoint", "code": 404}
TEXTS, RESPONSES, COMPACT = "/v1/completions", "/v1/responses", "/v1/responses/compact"
COUNT, FROM_ANTHROPIC = "/v1/messages/count_tokens", [("anthropic-version", "2023-06-01")]


def said(status: int, error: Body) -> Upstream:
    return Upstream(status, json.dumps({"error": error}).encode())


def response(*, is_stream: bool = False, **more: Any) -> Upstream:
    if is_stream:
        return Upstream(200, [piece for part in STREAMS["responses"] for piece in part], **STREAM)
    return Upstream(200, json.dumps({**PLAIN["responses"], **more}).encode())


def post(path: str, **body: Any) -> Exchange:
    return Exchange("POST", path, json.dumps({"model": "g", **body}).encode())


class Case(NamedTuple):
    """A request whose first form is refused, and whose second one is answered."""

    exchange: Callable[[], Exchange]
    refused: Upstream
    answer: Upstream
    code: str
    api: str = "openai"


FORGOTTEN = said(400, {"message": "gone", "type": "invalid_request_error", "code": "previous_response_not_found"})
NO_TEXTS = Upstream(200, [b"data: " + json.dumps({"error": CHATS_ONLY}).encode() + b"\n\n"], **STREAM)
CASES = {
    "a text as a chat": Case(lambda: post(TEXTS, prompt="hi"), said(404, CHATS_ONLY), ok(), "not_found"),
    "a text as a chat, streamed": Case(
        lambda: post(TEXTS, prompt="hi", stream=True), said(404, CHATS_ONLY), streamed(), "not_found"
    ),
    "a text as a chat, refused in the stream": Case(
        lambda: post(TEXTS, prompt="hi", stream=True), NO_TEXTS, streamed(), "not_found"
    ),
    "a conversation as a whole": Case(
        lambda: post(RESPONSES, input="two", previous_response_id="resp_before"), FORGOTTEN, response(),
        "previous_response_not_found", "responses",
    ),
    "a conversation as a whole, streamed": Case(
        lambda: post(RESPONSES, input="two", previous_response_id="resp_before", stream=True), FORGOTTEN,
        response(is_stream=True), "previous_response_not_found", "responses",
    ),
    "a stream without its usage": Case(
        lambda: stream("g"), said(400, {"message": "Unknown field: stream_options"}), streamed(), "bad_request"
    ),
    "a summary for a compaction": Case(
        lambda: post(COMPACT, input="one"), said(404, {"message": "no such path"}), response(), "not_found", "responses"
    ),
    "a summary for a compaction, after 405": Case(
        lambda: post(COMPACT, input="one"), said(405, {"message": "not allowed"}), response(), "method_not_allowed",
        "responses",
    ),
}  # fmt: skip


class Seen:
    """What a gateway says of its calls, in each place that counts attempts."""

    def __init__(self, ways: Ways) -> None:
        self.ways, self.metrics, self.sink = ways, Metrics(), Sink()
        self.calls: list[Call] = []
        self.attempts: list[AttemptRecord] = []  # of the last call
        numbers = count(1)
        ways.gateway.on_call, ways.gateway.on_attempts = self._on_call, self._on_attempts
        ways.gateway.tracing = Tracing(
            Telemetry(traces_url="http://c/v1/traces"), self.sink, lambda size: next(numbers).to_bytes(size, "big"),
            clock=ways.gateway._clock, wall=lambda: 1e9,
        )  # fmt: skip

    def _on_call(self, call: Call, _: Any) -> None:
        self.calls.append(call)
        self.metrics.observe(call)

    def _on_attempts(self, attempts: Sequence[AttemptRecord]) -> None:
        self.attempts = list(attempts)
        self.metrics.observe_attempts(attempts)

    def total(self, name: str) -> float:
        lines = self.metrics.render(Gauges()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    @property
    def health(self) -> Any:
        return self.ways.gateway.routing_state.health("a/m")


def document(api: str, **more: Any) -> Body:
    """Group `g` of one member."""
    made = provider("a", api=api, base_url=f"http://a.example{ROOTS[api]}", any_model=True)
    return {"providers": [made], "groups": [group("a/m", strategy="latency")], "server": {"retry_alone_s": 0}, **more}


@pytest.fixture
def play_case(tmp_path: Path) -> Callable[..., None]:
    """Sends the exchange of a case; `look` then checks what was said of it."""

    def runs(case: Case, look: Callable[[Seen, Exchange], None], **more: Any) -> None:
        async def story(ways: Ways) -> None:
            if case.code == "previous_response_not_found":
                await ways.ask(post(RESPONSES, input="one"))
            seen, scripts = Seen(ways), ways.hosts.scripts
            ways.gateway.routing_state.healths.clear()

            def slow_refusal(_: object) -> Upstream:
                ways.skip(SLOW_S)
                return case.refused

            scripts["a"] = [slow_refusal, case.answer]
            ways.hosts.sent.clear()
            look(seen, await ways.ask(case.exchange()))

        play(story, document(case.api, **more), Hosts(a=response(id="resp_before")), tmp_path, Shelf())

    return runs


@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
def test_a_request_in_another_form_is_an_attempt_of_its_own(play_case: Callable[..., None], case: Case) -> None:
    def look(seen: Seen, exchange: Exchange) -> None:
        assert exchange.status == 200, exchange.out
        assert len(seen.ways.hosts.sent) == 2 and exchange.out_headers["x-llm-router-attempts"] == "2"
        (call,) = seen.calls
        assert (call.attempts, call.failed, call.error) == (2, f'["a/m {case.code}, in another form"]', "")
        assert f"attempts=2 (failed: a/m {case.code}, in another form)" in seen.ways.lines
        assert [(each.name, each.cause, each.is_caller_error) for each in seen.attempts] == [
            ("a/m", case.code, True), ("a/m", "", False),
        ]  # fmt: skip

    play_case(case, look)


@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
def test_the_two_counters_of_attempts_agree(play_case: Callable[..., None], case: Case) -> None:
    def look(seen: Seen, _: Exchange) -> None:
        assert seen.total("llm_router_upstream_attempts_total") == seen.total("llm_router_attempts_total") == 2
        assert seen.total("llm_router_attempt_caller_errors_total") == 1, "no alert about the provider"

    play_case(case, look)


@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
def test_each_form_has_its_span_and_its_own_place_in_the_trace(play_case: Callable[..., None], case: Case) -> None:
    def look(seen: Seen, _: Exchange) -> None:
        root, first, second = seen.sink.spans
        assert root.attributes["llm_router.attempts"] == 2 and root.error is None
        assert (first.attributes["error.type"], second.attributes.get("error.type")) == (case.code, None)
        assert second.attributes["http.request.resend_count"] == 1 and first.end_ns <= second.start_ns
        parents = [sent["headers"]["traceparent"].split("-")[2] for sent in seen.ways.hosts.sent]
        assert parents == [first.span_id, second.span_id]

    play_case(case, look)


@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
def test_the_refusal_is_no_part_of_the_members_latency_or_health(play_case: Callable[..., None], case: Case) -> None:
    def look(seen: Seen, _: Exchange) -> None:
        first, second = seen.attempts
        assert first.ended_at - first.started_at >= SLOW_S > second.ended_at - second.started_at
        if seen.calls[0].stream:
            assert second.first_output_s is not None and second.first_output_s < SLOW_S
        assert (seen.health.successes, seen.health.failures) == (1, 0)
        if case.exchange().path != COMPACT:  # whose time says nothing about answers
            assert seen.health.latency_s is not None and seen.health.latency_s < SLOW_S

    play_case(case, look)


def test_a_second_form_that_is_refused_too_counts_as_usual(play_case: Callable[..., None]) -> None:
    def look(seen: Seen, exchange: Exchange) -> None:
        assert (exchange.status, exchange.out_headers["x-llm-router-attempts"]) == (500, "2")
        assert seen.calls[0].failed == '["a/m not_found, in another form", "a/m internal"]'
        assert [(each.cause, each.is_caller_error) for each in seen.attempts] == [("not_found", True), ("internal", False)]
        assert seen.health.failures == 1

    play_case(CASES["a text as a chat"]._replace(answer=refusal(500)), look)


def test_a_second_form_that_cannot_be_written_is_no_attempt(play_case: Callable[..., None]) -> None:
    """What the caller sent has no place in a chat: nothing more was sent."""

    def look(seen: Seen, exchange: Exchange) -> None:
        assert (exchange.status, len(seen.ways.hosts.sent), seen.calls[0].attempts) == (400, 1, 1)
        assert [each.cause for each in seen.attempts] == ["not_found"]
        assert seen.total("llm_router_upstream_attempts_total") == seen.total("llm_router_attempts_total") == 1

    case = CASES["a text as a chat"]
    play_case(case._replace(exchange=lambda: post(TEXTS, prompt=["one", "two"])), look)


@pytest.mark.parametrize(("api", "refused", "code", "is_callers"), [
    ("anthropic", said(404, {"message": "no such path"}), "not_found", True),
    ("gemini", said(404, {"message": "no such path"}), "not_found", True),
    ("gemini", refusal(500), "internal", False),
])  # fmt: skip
def test_a_refused_count_that_is_estimated_is_one_attempt_that_failed(
    play_case: Callable[..., None], api: str, refused: Upstream, code: str, is_callers: bool
) -> None:
    def look(seen: Seen, exchange: Exchange) -> None:
        assert (exchange.status, exchange.out_headers["x-llm-router-estimated"]) == (200, "tokens")
        assert exchange.out_headers["x-llm-router-attempts"] == "1" and len(seen.ways.hosts.sent) == 1
        (call,) = seen.calls
        assert (call.attempts, call.failed, call.error) == (1, f'["a/m {code}, estimated"]', "")
        assert [(each.cause, each.is_caller_error) for each in seen.attempts] == [(code, is_callers)]
        assert seen.total("llm_router_upstream_attempts_total") == seen.total("llm_router_attempts_total") == 1
        assert (call.upstream_protocol, call.cost_usd, seen.health.failures) == (api, None, 0)

    body = {"model": "g", "messages": [{"role": "user", "content": "hello"}]}
    exchange = Exchange("POST", COUNT, json.dumps(body).encode(), list(FROM_ANTHROPIC))
    play_case(Case(lambda: exchange, refused, ok(), code, api), look)
