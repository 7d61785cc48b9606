"""The way to a collector: spans and metrics gathered, sent in batches, tried again, dropped and counted. No call waits for it.

    exporter = Exporter(telemetry, pool, warn=log.warn, info=log.info)
    exporter.add([span, ...])          at once; what does not fit into the queue is dropped and counted
    await exporter.run()               until it is cancelled
    await exporter.close(2.0)          what waits, as far as the time allows
    await exporter.send_now([span])    "" or what is wrong: for --check

A request is tried again after 429, 502, 503, 504 and where no answer came, with growing pauses or the collector's Retry-After,
for as long as one export may take; anything else that is no success drops the batch. Each trouble is logged when it begins and
when it ends. Encoding and compression take place in a thread.
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from random import uniform
from secrets import token_hex
from typing import Any

from ..config.telemetry import Telemetry
from ..errors import GatewayError
from ..net.client import Pool, Timeouts
from . import otlp
from .instruments import Instruments
from .otlp import METRICS, TRACES, Span

RETRIED = frozenset({429, 502, 503, 504})  # OTLP 1.x, "Retryable Response Codes"
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
SPREAD = (0.8, 1.2)  # of a pause: many gateways must not come back at once
MAX_ANSWER_BYTES = 65_536
MAX_SHOWN = 200  # characters of a collector's words in the log
NOT_KEPT = frozenset({404, 405, 501})  # of metrics: many LLM tools take traces alone
ADVICE = {
    401: "set its key in OTEL_EXPORTER_OTLP_HEADERS or [telemetry] headers",
    403: "set its key in OTEL_EXPORTER_OTLP_HEADERS or [telemetry] headers",
    404: "check the endpoint: /v1/traces is appended to endpoint, traces_endpoint is used as it is",
    405: "check the endpoint: /v1/traces is appended to endpoint, traces_endpoint is used as it is",
    413: "set a smaller batch_size (OTEL_BSP_MAX_EXPORT_BATCH_SIZE)",
    422: "the collector rejects it: MLflow needs the header x-mlflow-experiment-id, in OTEL_EXPORTER_OTLP_HEADERS or "
         "[telemetry] headers",
}  # fmt: skip
OTHER_PROTOCOL = {otlp.JSON: otlp.PROTOBUF, otlp.PROTOBUF: otlp.JSON}
SCOPE_NAME = "llm_router"

Say = Callable[[str], None]
Pause = Callable[[float], Awaitable[None]]


class Failed(Exception):
    """A batch was not taken; the text says why and what to do. `status` 0: no answer came."""

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def is_passing(self) -> bool:
        return not self.status or self.status in RETRIED


def advice(status: int, protocol: str) -> str:
    if status == 415:
        return (
            f"it does not accept {protocol}: set OTEL_EXPORTER_OTLP_PROTOCOL={OTHER_PROTOCOL[protocol]} or [telemetry] protocol"
        )
    return ADVICE.get(status, "")


def retry_after(text: str) -> float | None:
    """Whole seconds; a date is as good as nothing here, and the usual pause is taken."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


class Channel:
    """The requests of one signal."""

    def __init__(self, signal: str, url: str, settings: Telemetry, pool: Pool, warn: Say, info: Say) -> None:
        self.signal, self.url = signal, url
        self._settings, self._pool, self._warn, self._info = settings, pool, warn, info
        own = settings.traces_headers if signal == TRACES else settings.metrics_headers
        secrets = {**settings.headers, **own}
        self._headers = [
            ("content-type", otlp.CONTENT_TYPES[settings.protocol]),
            *([("content-encoding", "gzip")] if settings.compression == "gzip" else []),
            ("user-agent", f"OTel-OTLP-Exporter-{SCOPE_NAME}"),
            *((name, value.reveal()) for name, value in secrets.items()),
        ]
        self.trouble = ""  # the one that was logged last and is not over
        self.is_over = False  # the collector has no place for this signal

    async def post(self, data: bytes) -> bytes:
        """One attempt: the answer's body. Failed."""
        settings = self._settings
        timeouts = Timeouts(settings.timeout_s, settings.timeout_s, settings.timeout_s)
        try:
            async with asyncio.timeout(settings.timeout_s):
                response = await self._pool.request(
                    "POST", self.url, self._headers, data, timeouts=timeouts, proxy=settings.proxy
                )
                try:
                    answer = await response.read(MAX_ANSWER_BYTES)
                finally:
                    response.close()
        except GatewayError as error:
            raise Failed(error.message) from None
        except TimeoutError:
            raise Failed(f"no answer within {settings.timeout_s:g} s") from None
        if 200 <= response.status < 300:
            return answer
        words = " ".join(answer.decode("utf-8", "replace").split())[:MAX_SHOWN] if answer.isascii() else ""
        what = "; ".join(
            filter(None, (f"status {response.status} {words}".strip(), advice(response.status, settings.protocol)))
        )
        raise Failed(what, response.status, retry_after(response.header("retry-after")))

    async def send(self, request: Mapping[str, Any], pause: Pause, clock: Callable[[], float]) -> int:
        """Sends until it is taken or the time for it is over; how many entries the collector says it refused. Failed."""
        data = await asyncio.to_thread(self._encode, request)
        give_up, pause_s = clock() + self._settings.export_timeout_s, FIRST_PAUSE_S
        while True:
            try:
                answer = await self.post(data)
            except Failed as error:
                wait_s = error.retry_after_s if error.retry_after_s is not None else pause_s * uniform(*SPREAD)  # nosec B311
                if not error.is_passing or clock() + wait_s >= give_up:
                    self.note_failure(error)
                    raise
                await pause(wait_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
                continue
            count, why = otlp.rejection_in(answer, self._settings.protocol == otlp.JSON)
            self.note_success(f"the collector refused {count} of them: {why[:MAX_SHOWN]}" if count else "")
            return count

    def _encode(self, request: Mapping[str, Any]) -> bytes:
        data = otlp.body(request, self.signal, self._settings.protocol)
        return gzip.compress(data, 1) if self._settings.compression == "gzip" else data

    # -- what the log says, once

    def note_failure(self, error: Failed) -> None:
        if self.signal == METRICS and error.status in NOT_KEPT:
            self.is_over = True
            self._info(f"telemetry: {self.url} accepts no metrics (status {error.status}): none are sent until the next start; "
                       "OTEL_METRICS_EXPORTER=none or [telemetry] metrics = false turns them off")  # fmt: skip
        elif self.trouble != str(error):
            self.trouble = str(error)
            self._warn(f"telemetry: {self.signal} cannot be sent to {self.url}: {self.trouble}. Waiting ones are dropped "
                       "when there are too many; calls are not affected")  # fmt: skip

    def note_success(self, complaint: str) -> None:
        if complaint != self.trouble:
            if complaint:
                self._warn(f"telemetry: {self.signal}: {complaint}")
            else:
                self._info(f"telemetry: {self.signal} are sent again to {self.url}")
        self.trouble = complaint


class Exporter:
    """Both signals of one process."""

    def __init__(
        self, settings: Telemetry, pool: Pool, *, version: str, warn: Say, info: Say,
        wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic, pause: Pause = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.instruments = Instruments(int(wall() * 1e9))
        self.exported = self.dropped = 0  # spans
        self._wall, self._clock, self._pause, self._warn = wall, clock, pause, warn
        self._queue: deque[Span] = deque()
        self._sending: Sequence[Span] = ()
        self._full = asyncio.Event()
        self._traces = Channel(TRACES, settings.traces_url, settings, pool, warn, info) if settings.traces_url else None
        self._metrics = Channel(METRICS, settings.metrics_url, settings, pool, warn, info) if settings.metrics_url else None
        self._resource: Mapping[str, otlp.Value] = {
            "service.name": settings.service_name, "service.version": version,
            "service.instance.id": token_hex(8),  # several processes count apart, each from its own start
            "telemetry.sdk.name": SCOPE_NAME, "telemetry.sdk.language": "python", **settings.resource,
        }  # fmt: skip
        self._scope = {"name": SCOPE_NAME, "version": version}

    def add(self, spans: Sequence[Span]) -> None:
        """Never waits, never raises."""
        if self._traces is None:
            return
        room = self.settings.queue_size - len(self._queue)
        if len(spans) > room:  # a trace without some of its spans would mislead
            self.dropped += len(spans)
            return
        self._queue.extend(spans)
        if len(self._queue) >= self.settings.batch_size:
            self._full.set()

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._sending)

    def health(self) -> dict[str, int]:
        return {"exported": self.exported, "dropped": self.dropped, "waiting": self.waiting}

    async def run(self) -> None:
        """Both signals, each at its own pace: one whose receiver is away does not hold up the other."""
        await asyncio.gather(self._run_traces(), self._run_metrics())

    async def _run_traces(self) -> None:
        while self._traces is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.delay_s):
                    await self._full.wait()
            self._full.clear()
            while await self.send_batch():
                if len(self._queue) < self.settings.batch_size:
                    break  # the rest waits for others

    async def _run_metrics(self) -> None:
        while self._metrics is not None and not self._metrics.is_over:
            await self._pause(self.settings.metric_interval_s)
            await self.send_metrics()

    async def send_batch(self) -> bool:
        """The oldest that wait, sent or dropped; whether there were any."""
        if self._traces is None or not self._queue:
            return False
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self.settings.batch_size))]
        self._sending = batch
        try:
            refused = await self._traces.send(otlp.traces(batch, self._resource, self._scope), self._pause, self._clock)
            self.exported += len(batch) - refused
            self.dropped += refused
        except Failed:
            self.dropped += len(batch)
        except asyncio.CancelledError:
            self._queue.extendleft(reversed(batch))  # to be sent at the end: receivers keep a span once
            raise
        finally:
            self._sending = ()
        return True

    async def send_metrics(self) -> None:
        found = self.instruments.collect(int(self._wall() * 1e9))
        if self._metrics is not None and found and not self._metrics.is_over:
            with suppress(Failed):
                await self._metrics.send(otlp.metrics(found, self._resource, self._scope), self._pause, self._clock)

    async def send_now(self, spans: Sequence[Span]) -> str:
        """One attempt at once; "" or what is wrong."""
        if self._traces is None:
            return ""
        try:
            data = otlp.body(otlp.traces(spans, self._resource, self._scope), TRACES, self.settings.protocol)
            await self._traces.post(gzip.compress(data, 1) if self.settings.compression == "gzip" else data)
        except Failed as error:
            return str(error)
        return ""

    async def close(self, limit_s: float) -> None:
        """Sends what waits, metrics last, and counts as dropped what could not be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while await self.send_batch():
                    pass
                await self.send_metrics()
        if self.waiting:
            where = self._traces.url if self._traces else ""
            self._warn(f"telemetry: {self.waiting} spans could not be sent to {where} before the stop, and are lost")
        self.dropped += self.waiting
        self._queue.clear()
