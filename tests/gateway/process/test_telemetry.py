"""Telemetry from end to end: a gateway, an upstream, and a collector on loopback that keeps what it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running import PLAIN, Asked, Process, Upstream, command, http, made_up, sends, until, whole_stream

from llm_router_gateway.telemetry import protobuf

TOKEN, ADMIN, KEY = made_up("caller"), made_up("admin"), made_up("collector")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # pragma: allowlist secret
TAKEN = http(b"{}")


@pytest.fixture
def collector() -> Iterator[Upstream]:
    """Named before `start` by its tests, so that it outlives the gateway, which sends it the rest at its end."""
    with Upstream() as server:
        server.act = sends(TAKEN)
        yield server


def config(upstream: Upstream, collector: Upstream, telemetry: str = "") -> str:
    return (
        f'[server]\ntoken = "{TOKEN}"\nadmin_token = "{ADMIN}"\nretry_alone_s = 0\n[[providers]]\nname = "up"\napi = "openai"\n'
        f'base_url = "{upstream.url}/v1"\napi_key = "x"\n[[models]]\nname = "m"\nprovider = "up"\n'
        f'[telemetry]\nendpoint = "{collector.url}"\nprotocol = "http/json"\ndelay_ms = 20\nmetric_interval_ms = 20\n'
        f'headers = {{"api-key" = "{KEY}"}}\n{telemetry}'
    )


def spans_in(asked: list[Asked]) -> list[dict[str, Any]]:
    bodies = [each.json for each in asked if "/v1/traces" in each.line]
    return [span for body in bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def metrics_in(asked: list[Asked]) -> set[str]:
    bodies = [each.json for each in asked if "/v1/metrics" in each.line]
    return {metric["name"] for body in bodies for metric in body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]}


def counters(gateway: Process) -> str:
    answer = gateway.get("/metrics", authorization=f"Bearer {ADMIN}")
    assert answer.status == 200
    return answer.data.decode()


def test_a_call_reaches_the_collector_and_its_trace_the_upstream(
    collector: Upstream, start: Callable[..., Process], upstream: Upstream
) -> None:
    gateway = start(config(upstream, collector))
    gateway.token = TOKEN
    upstream.does(sends(http(json.dumps({**PLAIN["openai"], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode())))
    data = json.dumps({"model": "up/m", "messages": [{"role": "user", "content": "secret words"}], "user": "u-1"}).encode()
    assert gateway.send("POST", "/v1/chat/completions", data, traceparent=f"00-{TRACE}-{PARENT}-01").status == 200
    until(lambda: len(spans_in(collector.requests)) >= 2, "the spans")
    until(lambda: "gen_ai.client.token.usage" in metrics_in(collector.requests), "the metrics")
    root, attempt = spans_in(collector.requests)
    assert (root["traceId"], root["parentSpanId"], attempt["parentSpanId"]) == (TRACE, PARENT, root["spanId"])
    assert upstream.requests[-1].headers["traceparent"] == f"00-{TRACE}-{attempt['spanId']}-01"
    told = {each["key"]: each["value"] for each in attempt["attributes"]}
    assert (told["gen_ai.usage.input_tokens"], told["user.id"]) == ({"intValue": "3"}, {"stringValue": "u-1"})
    assert {each.headers["api-key"] for each in collector.requests} == {KEY}
    assert "secret words" not in str(collector.requests) and TOKEN not in str(collector.requests)
    until(lambda: "llm_router_telemetry_spans_exported_total 2" in counters(gateway), "the counter")
    assert KEY not in gateway.log


@pytest.mark.slow
def test_calls_do_not_notice_a_collector_that_is_away(
    collector: Upstream, start: Callable[..., Process], upstream: Upstream
) -> None:
    collector.act = sends(http(b"no", status="415 Unsupported Media Type"))
    gateway = start(config(upstream, collector))
    gateway.token = TOKEN
    for _ in range(3):
        upstream.does(sends(whole_stream("openai")))
        with gateway.streaming("openai", "up/m") as response:
            assert response.status == 200 and b"[DONE]" in response.read()
    until(lambda: "llm_router_telemetry_spans_dropped_total 6" in counters(gateway), "the counter")
    gateway.logged("set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    assert gateway.log.count("traces cannot be sent") == 1


@pytest.mark.slow
def test_the_last_spans_go_out_at_the_end(collector: Upstream, start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config(upstream, collector).replace("delay_ms = 20", "delay_ms = 3600000"))
    gateway.token = TOKEN
    upstream.does(sends(http(json.dumps(PLAIN["openai"]).encode())))
    gateway.chat("openai", "up/m")
    assert not spans_in(collector.requests)
    assert gateway.end() == 0
    assert len(spans_in(collector.requests)) == 2


@pytest.mark.slow
def test_every_worker_sends_its_own_and_the_counters_are_of_all(
    collector: Upstream, start: Callable[..., Process], upstream: Upstream
) -> None:
    gateway = start(config(upstream, collector).replace("[server]", "[server]\nworkers = 2", 1))
    gateway.token = TOKEN
    upstream.does(sends(http(json.dumps(PLAIN["openai"]).encode())))
    for _ in range(6):
        assert gateway.chat("openai", "up/m").status == 200
    until(lambda: len(spans_in(collector.requests)) >= 12, "the spans")
    until(
        lambda: 'llm_router_attempts_total{provider="up",model="up/m",cause="success"} 6' in counters(gateway), "the attempts"
    )
    until(lambda: "llm_router_telemetry_spans_exported_total 12" in counters(gateway), "the counter")
    upstream.does(sends(http(b'{"error": {"message": "no such field"}}', status="400 Bad Request")))
    for _ in range(3):
        assert gateway.chat("openai", "up/m").status == 400
    until(
        lambda: 'llm_router_attempt_caller_errors_total{provider="up",model="up/m"} 3' in counters(gateway), "the callers' own"
    )
    calls = 'llm_router_caller_errors_total{kind="chat",protocol="openai",provider="up",model="up/m"} 3'
    until(lambda: calls in counters(gateway), "their calls")
    assert gateway.get("/health/ready", authorization="").json["status"] == "ready"


@pytest.mark.slow
def test_the_usual_variables_are_enough_and_check_sends_a_test_span(
    tmp_path: Any, mock_server: Any, collector: Upstream
) -> None:
    (tmp_path / "router.toml").write_text(
        f'[[providers]]\nname = "up"\napi = "openai"\nbase_url = "{mock_server.base_url}"\nany_model = true\n'
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k"}
    done = command(tmp_path, "--check", **variables)
    assert done.returncode == 0 and f"a test span went to {collector.url}/v1/traces (http/protobuf)" in done.stdout.decode()
    (asked,) = collector.requests
    assert (asked.headers["content-type"], asked.headers["api-key"]) == ("application/x-protobuf", "k")
    assert [number for number, _ in protobuf.fields(asked.body)] == [1]
    collector.act = sends(http(b"", status="422 Unprocessable Content"))
    done = command(tmp_path, "--check", **variables)
    line = next(line for line in done.stdout.decode().splitlines() if "telemetry" in line)
    assert done.returncode == 1 and line.startswith("FAIL ") and "x-mlflow-experiment-id" in line
