"""exporter: batches, bounds, what is tried again and what is dropped, and what the log says of it. No socket, no clock."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fakes import Pool, Upstream

from llm_router_gateway.config.kinds import Secret
from llm_router_gateway.config.telemetry import Telemetry
from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.telemetry.exporter import Exporter
from llm_router_gateway.telemetry.instruments import COST
from llm_router_gateway.telemetry.otlp import CLIENT, Span

URL = "http://collector.example/v1"
AWAY = UpstreamFailed("collector.example: cannot connect: connection refused")
TAKEN = Upstream(200, b"{}")


def span(number: int = 0) -> Span:
    return Span("a" * 32, f"{number:016x}", "", "", "chat m", CLIENT, 1, 2, {})


class Sending:
    """An exporter, its collector's script, its log, and the pauses that it made."""

    def __init__(self, *answers: Upstream | Exception, **settings: Any) -> None:
        self.pool, self.warned, self.told, self.pauses = Pool(*(answers or (TAKEN,))), [], [], []  # type: ignore[var-annotated]
        self.now = 0.0
        own = {"traces_url": f"{URL}/traces", "metrics_url": f"{URL}/metrics", "protocol": "http/json", **settings}
        self.exporter = Exporter(
            Telemetry(**own), self.pool, version="1", warn=self.warned.append, info=self.told.append,  # type: ignore[arg-type]
            wall=lambda: 1_000.0, clock=lambda: self.now, pause=self.pause,
        )  # fmt: skip

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def add(self, count: int, first: int = 1) -> None:
        for number in range(first, first + count):
            self.exporter.add([span(number)])

    @property
    def sent(self) -> list[list[int]]:
        """The numbers of the spans of each request."""
        bodies = [json.loads(each["body"]) for each in self.pool.sent if each["url"].endswith("/traces")]
        return [[int(one["spanId"], 16) for one in body["resourceSpans"][0]["scopeSpans"][0]["spans"]] for body in bodies]


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_spans_go_in_batches_with_headers_and_resource() -> None:
    async def story() -> None:
        sending = Sending(batch_size=2, headers={"api-key": Secret("k")}, traces_headers={"x-project-name": Secret("p")},
                          resource={"team": "a"}, service_name="mine")  # fmt: skip
        sending.add(3)
        assert await sending.exporter.send_batch() and await sending.exporter.send_batch()
        assert not await sending.exporter.send_batch(), "an empty batch is refused by some receivers"
        assert sending.sent == [[1, 2], [3]]
        headers = sending.pool.sent[0]["headers"]
        assert (headers["content-type"], headers["api-key"], headers["x-project-name"]) == ("application/json", "k", "p")
        resource = json.loads(sending.pool.sent[0]["body"])["resourceSpans"][0]["resource"]["attributes"]
        told = {each["key"]: each["value"]["stringValue"] for each in resource}
        assert (told["service.name"], told["service.version"], told["team"]) == ("mine", "1", "a")
        assert sending.exporter.health() == {"exported": 3, "dropped": 0, "waiting": 0}

    run(story)


def test_gzip_and_protobuf() -> None:
    async def story() -> None:
        sending = Sending(protocol="http/protobuf", compression="gzip")
        sending.add(1)
        await sending.exporter.send_batch()
        sent = sending.pool.sent[0]
        assert (sent["headers"]["content-encoding"], sent["headers"]["content-type"]) == ("gzip", "application/x-protobuf")
        assert b"chat m" in gzip.decompress(sent["body"])

    run(story)


def test_a_full_queue_drops_whole_traces_and_counts_their_spans() -> None:
    async def story() -> None:
        sending = Sending(queue_size=3)
        sending.exporter.add([span(1), span(2)])
        sending.exporter.add([span(3), span(4)])
        sending.exporter.add([span(5)])
        assert sending.exporter.health() == {"exported": 0, "dropped": 2, "waiting": 3}
        await sending.exporter.send_batch()
        assert sending.sent == [[1, 2, 5]]

    run(story)


@pytest.mark.parametrize("trouble", [AWAY, *(Upstream(status, b"busy") for status in (429, 502, 503, 504))])
def test_what_may_pass_is_tried_again_with_growing_pauses(trouble: Upstream | Exception) -> None:
    async def story() -> None:
        sending = Sending(trouble, trouble, TAKEN)
        sending.add(1)
        await sending.exporter.send_batch()
        assert sending.sent == [[1], [1], [1]] and sending.exporter.exported == 1
        first, second = sending.pauses
        assert 0.8 <= first <= 1.2 and 1.6 <= second <= 2.4
        assert not sending.warned, "it went well in the end"

    run(story)


def test_the_collector_says_how_long_to_wait() -> None:
    async def story() -> None:
        sending = Sending(Upstream(503, b"", retry_after="7"), TAKEN)
        sending.add(1)
        await sending.exporter.send_batch()
        assert sending.pauses == [7.0]

    run(story)


def test_a_collector_that_is_away_is_reported_once_and_its_return_too() -> None:
    async def story() -> None:
        sending = Sending(AWAY, export_timeout_s=5.0)
        for number in range(3):
            sending.add(1, number)
            await sending.exporter.send_batch()
        assert sending.exporter.health() == {"exported": 0, "dropped": 3, "waiting": 0}
        assert len(sending.warned) == 1 and "connection refused" in sending.warned[0]
        sending.pool.answers = [TAKEN]
        sending.add(2)
        await sending.exporter.send_batch()
        assert sending.exporter.exported == 2 and len(sending.warned) == 1
        assert sending.told == [f"telemetry: traces are sent again to {URL}/traces"]

    run(story)


@pytest.mark.parametrize(
    "status, protocol, mended_by",
    [
        (415, "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        (415, "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"),
        (422, "http/json", "x-mlflow-experiment-id"),
        (401, "http/json", "OTEL_EXPORTER_OTLP_HEADERS"),
        (404, "http/json", "traces_endpoint"),
        (413, "http/json", "batch_size"),
        (500, "http/json", "status 500 broken"),
    ],
)
def test_a_refusal_is_reported_once_with_what_mends_it_and_not_tried_again(status: int, protocol: str, mended_by: str) -> None:
    async def story() -> None:
        sending = Sending(Upstream(status, b"broken"), protocol=protocol)
        for _ in range(2):
            sending.exporter.add([span()])
            await sending.exporter.send_batch()
        assert not sending.pauses and len(sending.pool.sent) == 2 and sending.exporter.dropped == 2
        assert len(sending.warned) == 1 and mended_by in sending.warned[0]

    run(story)


def test_spans_that_a_collector_refuses_one_by_one_are_counted() -> None:
    async def story() -> None:
        sending = Sending(Upstream(200, b'{"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too old"}}'))
        for _ in range(2):
            sending.add(2)
            await sending.exporter.send_batch()
        assert sending.exporter.health() == {"exported": 2, "dropped": 2, "waiting": 0}
        assert len(sending.warned) == 1 and "too old" in sending.warned[0]

    run(story)


@pytest.mark.parametrize("status", [404, 405])
def test_a_collector_without_a_place_for_metrics_gets_none_any_more(status: int) -> None:
    async def story() -> None:
        sending = Sending(Upstream(status, b""))
        sending.exporter.instruments.record(COST, 1.0, ())
        for _ in range(2):
            await sending.exporter.send_metrics()
        assert len(sending.pool.sent) == 1 and not sending.warned
        assert len(sending.told) == 1 and "OTEL_METRICS_EXPORTER=none" in sending.told[0]

    run(story)


def test_metrics_are_sent_once_there_are_some() -> None:
    async def story() -> None:
        sending = Sending()
        await sending.exporter.send_metrics()
        sending.exporter.instruments.record(COST, 1.0, ())
        await sending.exporter.send_metrics()
        (sent,) = sending.pool.sent
        assert sent["url"] == f"{URL}/metrics"
        assert json.loads(sent["body"])["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["name"] == "llm_router.cost"

    run(story)


def test_the_end_sends_what_waits_as_far_as_its_time_allows() -> None:
    async def story() -> None:
        sending = Sending(batch_size=2)
        sending.add(5)
        sending.exporter.instruments.record(COST, 1.0, ())
        await sending.exporter.close(15.0)
        assert sending.sent == [[1, 2], [3, 4], [5]] and sending.pool.sent[-1]["url"].endswith("/metrics")
        stuck = Sending(AWAY, export_timeout_s=1e9)
        stuck.add(2)
        await stuck.exporter.close(0.02)
        assert stuck.exporter.health() == {"exported": 0, "dropped": 2, "waiting": 0}
        assert len(stuck.warned) == 1 and "2 spans could not be sent to" in stuck.warned[0] and not sending.warned

    run(story)


def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    async def story() -> None:
        sending = Sending(batch_size=2, delay_s=1e6, metrics_url="")
        task = asyncio.create_task(sending.exporter.run())
        sending.add(2)
        async with asyncio.timeout(15):
            while sending.exporter.exported < 2:
                await asyncio.sleep(0)
        task.cancel()
        assert sending.sent == [[1, 2]]

    run(story)


def test_one_attempt_for_a_check() -> None:
    async def story() -> None:
        assert await Sending().exporter.send_now([span()]) == ""
        assert "connection refused" in await Sending(AWAY).exporter.send_now([span()])
        assert "http/protobuf" in await Sending(Upstream(415, b"")).exporter.send_now([span()])

    run(story)
