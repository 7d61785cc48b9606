"""One request's life: who is it, may they, which model, convert, call, convert, record.

    gateway = Gateway(config, pool, log, clock=time.monotonic, call_later=loop.call_later, new_id=...)
    await gateway(exchange)      answers it, whatever happens; only the caller going away leaves it unanswered
    gateway.swap(config)         requests in flight keep the one they began with

Same protocol on both sides: the bytes pass, with the model's name, the defaults and the credentials changed.
Otherwise through `ir`; what cannot be carried is named in the x-llm-router-lost header and in the log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from time import time as unix_s
from typing import Any
from urllib.parse import parse_qsl

from . import __version__, auth, catalog, forward, ir, surface
from .config import Config
from .embeddings import as_asked
from .errors import BadRequest, GatewayError, Unavailable, Unsupported, UpstreamFailed
from .estimate import input_tokens
from .job import Exchange, Job, Outgoing, Record, State, converted, dumped, relayed, state_of, wire
from .log import Log
from .piping import Array, ConvertPipe, RelayPipe
from .policy import Candidate, candidates
from .splice import read_body
from .streaming import Headers, Limits, StreamedAnswer, Watch
from .upstream import Pool, Response, Timeouts

MAX_ANSWER_BYTES = 134_217_728  # a plain answer; pictures come in base64
MAX_ERROR_BYTES = 1_048_576     # an upstream's refusal
LIST_TIMEOUT_S = 2.0            # for an upstream's list of models; clients wait 3 s for ours
LIST_KEPT_S = 300.0             # how long such a list is believed
LIST_RETRY_S = 20.0             # how long a failure to get one is
CLIENT_GONE = 499               # for the log alone: nobody is there to read a status
JSON_TYPE = ("content-type", "application/json")
STREAM_HEADERS: Headers = [
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),  # nginx would hold the events back
]


class Relayed(GatewayError):
    """An upstream's refusal in the caller's own protocol: it goes on as it came."""

    def __init__(self, error: GatewayError, headers: Headers, data: bytes) -> None:
        super().__init__(error.message, status=error.status, code=error.code, retry_after_s=error.retry_after_s)
        self.headers, self.data = headers, data


def check_key(candidate: Candidate) -> None:
    provider = candidate.provider
    if provider.needs_key and not provider.keys:
        raise Unavailable(f"{candidate.name}: {provider.name} has no key: set {provider.key_hint}", code="no_key")


def parsed(data: bytes, name: str) -> dict[str, Any]:
    """An upstream's JSON object; UpstreamFailed when it is none."""
    value = parsed_or_none(data)
    if value is None:
        raise UpstreamFailed(f"{name}: the upstream answered with something that is no JSON object; check base_url")
    return value


def parsed_or_none(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_error(answer: Mapping[str, Any]) -> bool:
    """A status of 200 over an error: some servers and proxies do that."""
    return bool(answer.get("error")) and not any(name in answer for name in ("choices", "content", "candidates"))


def status_in(answer: Mapping[str, Any]) -> int:
    """The status that such an error names itself, else 502."""
    error = answer["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def fault(error: BaseException) -> str:
    """Where a fault of ours is: its type and the places it came through; no message, which may hold a prompt."""
    places, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{at.tb_lineno} {code.co_name}")
        at = at.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(places[-8:]))}"


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    yield data


def is_event_stream(response: Response) -> bool:
    kind: str = response.header("content-type")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


class Stream:
    """What one streamed answer is made with: its head, its pipe, its signs of life, its last words."""

    def __init__(self, job: Job, outgoing: Outgoing) -> None:
        self.job, self.outgoing = job, outgoing
        self.pipe: RelayPipe | ConvertPipe | None = None
        self._module = wire(job.call.protocol)
        self._array = Array() if job.call.array else None
        self._array_writer: Any = None  # of a converted array, which knows what it has written
        self._passed: Headers = []
        self.keepalive: bytes = b"\n" if self._array else self._module.KEEPALIVE

    def head(self) -> Headers:
        kind = "application/json" if self._array else "text/event-stream"
        own = [("content-type", kind), *STREAM_HEADERS, *self.job.own_headers]
        names = {name for name, _ in own}
        return own + [pair for pair in self._passed if pair[0] not in names]

    def open(self, response: Response) -> RelayPipe | ConvertPipe:
        """The pipe for an upstream's event stream."""
        if self.outgoing.request is None:
            candidate = self.outgoing.candidate
            self._passed = forward.caller_headers(response.headers, candidate)
            self.pipe = RelayPipe(self._module.Scanner(), self._array, lambda data: forward.masked(data, candidate))
        else:
            reader = wire(self.outgoing.candidate.provider.api).StreamReader()
            self.pipe = ConvertPipe(reader, self._writer(self.outgoing.request), int(unix_s()))
        return self.pipe

    def _writer(self, request: ir.Request) -> Any:
        writer = self._module.StreamWriter(request, lost=self.job.record.lost, array=self._array is not None)
        self._array_writer = writer if self._array is not None else None
        return writer

    def replayed(self, data: bytes) -> bytes:
        """A whole answer that came where a stream was asked for, as the stream that it should have been."""
        name, api = self.outgoing.candidate.name, self.outgoing.candidate.provider.api
        answer = wire(api).read_answer(parsed(data, name))
        self.job.record.usage = answer.usage
        request = self.outgoing.request or self._module.read_request(self.job.fields, model=name, stream=True)
        writer = self._writer(request)
        return b"".join(map(writer.feed, ir.events_of(answer)))

    def fail(self, error: GatewayError) -> bytes:
        """The stream's last words after a failure."""
        if self.pipe is not None and self.pipe.error_passed:
            return b""  # the upstream's own error event went on already
        request_id = self.job.record.request_id
        if self._array_writer is not None:
            last: bytes = self._array_writer.fail(error, request_id)
            return last
        if self._array is not None:
            return self._array.failure(dumped(self._module.write_error(error, request_id)[2]).decode())
        data: bytes = self._module.error_event(error, request_id)
        return data


# --------------------------------------------------------------------------------------------------- one request's life


class Gateway:
    """The application that `server` calls for each request."""

    def __init__(
        self, config: Config, pool: Pool, log: Log, *, clock: Callable[[], float], call_later: Callable[..., Any],
        new_id: Callable[[], str],
    ) -> None:  # fmt: skip
        self.state = state_of(config)
        self.watch = Watch(clock, call_later)
        self._jobs: dict[asyncio.Task[Any] | None, Job] = {}  # requests being answered
        self._pool, self._log, self._clock, self._new_id = pool, log, clock, new_id
        self._lists: dict[str, tuple[float, tuple[str, ...]]] = {}  # provider -> (believed until, names)
        self._handlers: Mapping[str, Callable[[Job], Awaitable[None]]] = {
            "chat": self._chat, "count": self._count, "embeddings": self._embeddings, "models": self._models,
            "model": self._model, "health": self._health, "root": self._health, "ignored": self._ignored,
        }  # fmt: skip

    def swap(self, config: Config) -> None:
        self.state = state_of(config)
        self._lists.clear()

    @property
    def open(self) -> int:
        """Requests being answered."""
        return len(self._jobs)

    def end_all(self, error: GatewayError) -> None:
        """Ends what is open: streams with their protocol's error event, what has no answer yet with a status."""
        watched = self.watch.end_all(error)
        for task, job in self._jobs.items():
            if task is not None and task not in watched and not job.exchange.started:
                job.cut = error
                task.cancel()

    async def __call__(self, exchange: Exchange) -> None:
        headers = dict(exchange.headers)
        given = headers.get("x-request-id", "")
        request_id = given if forward.is_request_id(given) else self._new_id()
        record = Record(request_id, exchange.method, exchange.path, exchange.client, self._clock())
        record.protocol = surface.protocol_of(exchange.path, headers)
        query = dict(parse_qsl(exchange.query, keep_blank_values=True)) if exchange.query else {}
        job = Job(exchange, self.state, record, headers, query, surface.Call("", record.protocol))
        task = asyncio.current_task()
        self._jobs[task] = job
        try:
            await self._answer(job)
        except asyncio.CancelledError:
            if job.cut is None or (task is not None and task.uncancel()):
                if not record.whole:  # some SDKs hang up at the last event, before the stream's own end
                    record.error, record.message = "client_gone", "the caller went away"
                record.status = record.status or CLIENT_GONE
                raise
            await self._refuse(job, job.cut)
        finally:
            del self._jobs[task]
            record.seconds = self._clock() - record.started_at
            self._log.info(record.line())

    async def _answer(self, job: Job) -> None:
        """The answer, or the error in the caller's shape."""
        try:
            await self._admit_and_handle(job)
        except GatewayError as error:
            await self._refuse(job, error)
        except Exception as error:
            await self._refuse(job, self._fault(job, error))

    def _fault(self, job: Job, error: Exception) -> GatewayError:
        self._log.error(f"a fault of ours in request {job.record.request_id}: {fault(error)}")
        return GatewayError("the gateway failed; its log has the reason")

    async def _admit_and_handle(self, job: Job) -> None:
        exchange, server = job.exchange, job.state.config.server
        if job.state.on_loopback:
            auth.check_host(job.headers, server.allowed_hosts)
            auth.check_origin(job.headers, server.allowed_hosts, server.cors_origins)
        if exchange.method == "OPTIONS":
            await self._options(job)
            return
        job.call = surface.read_call(exchange.method, exchange.path, job.query, job.headers)
        job.record.protocol = job.call.protocol
        if job.call.kind not in surface.OPEN_CALLS:
            auth.admit(job.headers, job.query, server.tokens)
        await self._handlers[job.call.kind](job)

    async def _refuse(self, job: Job, error: GatewayError) -> None:
        """The error, as a status when none has been sent yet, else as the stream's last event."""
        record = job.record
        forward.without_keys(error, job.state.config.providers)
        record.error, record.message = error.code, error.message
        if isinstance(error, Relayed):
            await self._respond(job, error.status, error.headers, error.data)
            return
        status, headers, body = wire(record.protocol).write_error(error, record.request_id)
        if "allow" in error.details:
            headers = [*headers, ("allow", str(error.details["allow"]))]
        await self._respond(job, status, list(headers), dumped(body))

    async def _respond(self, job: Job, status: int, headers: Headers, body: bytes) -> None:
        job.record.status = status
        known = {name for name, _ in headers}
        own = [pair for pair in job.own_headers if pair[0] not in known]
        await job.exchange.respond(status, [*headers, *own], body)

    async def _json(self, job: Job, value: object) -> None:
        await self._respond(job, 200, [JSON_TYPE], dumped(value))

    # -- the small ones

    async def _options(self, job: Job) -> None:
        headers = auth.preflight_headers(job.headers, job.state.config.server.cors_origins)
        await self._respond(job, 204, [*headers, ("allow", "GET, HEAD, POST, OPTIONS")], b"")

    async def _health(self, job: Job) -> None:
        await self._json(job, {"status": "ok", "name": "llm-router-gateway", "version": __version__})

    async def _ignored(self, job: Job) -> None:
        await job.exchange.read_body(job.state.config.server.max_body_bytes)
        await self._json(job, {})

    async def _models(self, job: Job) -> None:
        found = catalog.entries(job.state.routes, await self._live_lists(job.state))
        await self._json(job, catalog.SHAPES[job.call.protocol].listing(found, job.query))

    async def _model(self, job: Job) -> None:
        found = catalog.entries(job.state.routes, await self._live_lists(job.state))
        await self._json(job, catalog.SHAPES[job.call.protocol].entry(catalog.one(found, job.call.model)))

    async def _live_lists(self, state: State) -> dict[str, tuple[str, ...]]:
        """What providers that take any name say they have; asked at once, remembered for a while."""
        now = self._clock()
        stale = [name for name in state.routes.open if self._lists.get(name, (0.0,))[0] <= now]
        await asyncio.gather(*(self._ask_for_list(state, name) for name in stale))
        return {name: self._lists[name][1] for name in state.routes.open if name in self._lists}

    async def _ask_for_list(self, state: State, name: str) -> None:
        candidate = Candidate(state.routes.open[name], "")
        names: tuple[str, ...] = ()
        try:
            check_key(candidate)
            async with asyncio.timeout(LIST_TIMEOUT_S):
                names = catalog.names_in(json.loads(await self._get(candidate, candidate.url("models"))))
        except (GatewayError, TimeoutError, ValueError, RecursionError) as error:
            self._log.debug(f"{name}: no list of models: {type(error).__name__}")
        self._lists[name] = (self._clock() + (LIST_KEPT_S if names else LIST_RETRY_S), names)

    async def _get(self, candidate: Candidate, url: str) -> bytes:
        headers = forward.upstream_headers(candidate, (), self._new_id(), same=False)
        response = await self._send("GET", Outgoing(candidate, url, headers, b""))
        try:
            if response.status != 200:
                raise UpstreamFailed(f"status {response.status}")
            data: bytes = await response.read(MAX_ANSWER_BYTES)
            return data
        finally:
            response.close()

    # -- calls that go to an upstream

    async def _read(self, job: Job) -> Candidate:
        """The body and whom it is for."""
        data = await job.exchange.read_body(job.state.config.server.max_body_bytes)
        job.body = read_body(data)
        name = job.call.model or job.body.fields.get("model")
        if not isinstance(name, str) or not name:
            raise BadRequest("model is missing: name one; GET /v1/models lists them", details={"path": "model"})
        job.record.asked = name
        candidate = candidates(job.state.routes, name)[0]
        job.record.served = candidate.name
        return candidate

    async def _chat(self, job: Job) -> None:
        candidate = await self._read(job)
        check_key(candidate)
        job.record.stream = job.call.stream or (not job.call.action and job.read.fields.get("stream") is True)
        same = candidate.provider.api == job.call.protocol
        streams_apart = job.record.stream and same and job.call.protocol == "gemini"
        outgoing = relayed(job, candidate, "stream" if streams_apart else "chat") if same else converted(job, candidate)
        await (self._streamed(job, outgoing) if job.record.stream else self._plain(job, outgoing))

    async def _plain(self, job: Job, outgoing: Outgoing) -> None:
        headers, data = await self._fetch(job, outgoing)
        answer = parsed(data, outgoing.candidate.name)
        if is_error(answer):
            raise self._read_error(outgoing, status_in(answer), {}, data)
        if outgoing.request is None:
            job.record.usage = wire(job.call.protocol).usage_in(answer)
            await self._respond(job, 200, headers, data)
            return
        result = wire(outgoing.candidate.provider.api).read_answer(answer)
        result = result if result.created else replace(result, created=int(unix_s()))
        job.record.usage = result.usage
        await self._json(job, wire(job.call.protocol).write_answer(result, outgoing.request, job.record.lost))

    async def _fetch(self, job: Job, outgoing: Outgoing) -> tuple[Headers, bytes]:
        """A whole answer: the headers that go on, and the body. A refusal is raised."""
        response = await self._send("POST", outgoing)
        try:
            if response.status != 200:
                raise await self._refusal(outgoing, response)
            return forward.caller_headers(response.headers, outgoing.candidate), await response.read(MAX_ANSWER_BYTES)
        finally:
            response.close()

    async def _send(self, method: str, outgoing: Outgoing) -> Response:
        provider = outgoing.candidate.provider
        timeouts = Timeouts(provider.connect_timeout_s, provider.timeout_s, provider.timeout_s)
        return await self._pool.request(
            method, outgoing.url, outgoing.headers, outgoing.body, timeouts=timeouts, proxy=provider.proxy
        )

    async def _refusal(self, outgoing: Outgoing, response: Response) -> GatewayError:
        """What an upstream said instead of an answer, without our key in it."""
        name, status = outgoing.candidate.name, response.status
        if not 400 <= status <= 599:
            return UpstreamFailed(f"{name}: the upstream answered {status}, not 200; check base_url (redirects are not "
                                  "followed)")  # fmt: skip
        data = forward.masked(await response.read(MAX_ERROR_BYTES), outgoing.candidate)
        error = self._read_error(outgoing, status, dict(response.headers), data)
        if outgoing.request is None and parsed_or_none(data) is not None:
            return Relayed(error, forward.caller_headers(response.headers, outgoing.candidate), data)
        return error

    def _read_error(self, outgoing: Outgoing, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
        data = forward.masked(data, outgoing.candidate)
        error: GatewayError = wire(outgoing.candidate.provider.api).read_error(status, headers, data)
        return error

    async def _count(self, job: Job) -> None:
        """Asked of an upstream that speaks the caller's protocol, else estimated."""
        candidate = await self._read(job)
        if candidate.provider.api == job.call.protocol:
            check_key(candidate)
            try:
                headers, data = await self._fetch(job, relayed(job, candidate, "count"))
            except GatewayError as error:
                if error.status != 404:
                    raise  # compatible servers often lack this call: an estimate serves better than a refusal
            else:
                await self._respond(job, 200, headers, data)
                return
        await self._json(job, wire(job.call.protocol).write_count(input_tokens(job.fields)))

    async def _embeddings(self, job: Job) -> None:
        candidate = await self._read(job)
        provider = candidate.provider
        check_key(candidate)
        if provider.api != job.call.protocol:
            raise Unsupported(f"{candidate.name}: embeddings are relayed, and {provider.name} speaks another protocol")
        headers, data = await self._fetch(job, relayed(job, candidate, job.call.action or "embeddings"))
        data = as_asked(data, job.fields.get("encoding_format"))
        await self._respond(job, 200, headers, data)

    # -- streams

    async def _streamed(self, job: Job, outgoing: Outgoing) -> None:
        provider, record, exchange = outgoing.candidate.provider, job.record, job.exchange
        keepalive_s = job.state.config.server.keepalive_s
        limits = Limits(provider.first_output_timeout_s, provider.output_gap_timeout_s, keepalive_s)
        stream = Stream(job, outgoing)
        answer = StreamedAnswer(exchange, stream.head, stream.keepalive, limits, self._clock)
        try:
            with self.watch.over(answer):
                await self._run(stream, answer)
        except Exception as error:
            if not exchange.started:
                raise
            told = error if isinstance(error, GatewayError) else self._fault(job, error)
            forward.without_keys(told, job.state.config.providers)
            record.error, record.message = told.code, told.message
            await exchange.send(stream.fail(told))
        finally:
            record.status = 200 if exchange.started else 0
            if stream.pipe is not None:
                record.usage = stream.pipe.usage
                record.whole = stream.pipe.done and stream.pipe.error is None
            if answer.first_output_at is not None:
                record.first_output_s = answer.first_output_at - record.started_at
        await exchange.end()

    async def _run(self, stream: Stream, answer: StreamedAnswer) -> None:
        response = await self._send("POST", stream.outgoing)
        try:
            if response.status != 200:
                raise await self._refusal(stream.outgoing, response)
            if is_event_stream(response):
                response.tap = answer.tap
                await answer.run(response.pieces(), stream.open(response))
            else:
                await answer.whole(stream.replayed(await response.read(MAX_ANSWER_BYTES)))
        finally:
            response.close()
