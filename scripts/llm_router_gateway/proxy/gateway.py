"""One request's life: who is it, may they, which model, convert, call, convert, record.

    gateway = Gateway(config, pool, log, clock=time.monotonic, call_later=loop.call_later, new_id=...)
    await gateway(exchange)      answers it, whatever happens; only the caller going away leaves it unanswered
    gateway.swap(config)         requests in flight keep the one they began with

Same protocol on both sides: the bytes pass, with the model's name, the overrides and the credentials changed.
Otherwise through `ir`; what cannot be carried is named in the x-llm-router-lost header and in the log.
Who answers is for `routing/plan` to say; `failover` asks them one after the other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from random import Random
from time import time as unix_s
from typing import Any
from urllib.parse import parse_qsl

from .. import __version__
from ..access import browser, sessions
from ..access.authenticate import Keyring
from ..config.config import Config
from ..errors import (
    BadMethod,
    BadRequest,
    Forbidden,
    GatewayError,
    NoCredit,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamFailed,
)
from ..json_body import read_body
from ..limiter.budgets import LocalBudgets
from ..limiter.local import LocalLimiter
from ..net.client import Pool, Response, Timeouts
from ..net.router import ADMIN, OPEN, Desk, Reply, Visit
from ..policy.budgets import Amount, Budgets
from ..policy.circuit_breaker import moves_on
from ..policy.rate_limits import Idle, Limit, Limiter, NoSlot
from ..policy.tag_query import TAG
from ..routing.permissions import rights_of
from ..routing.plan import Ask, Attempt, Board, Plan, plan
from ..routing.resolve import Candidate
from ..routing.snapshot import State, state_of
from ..store import pricing
from ..store.call import Call
from ..store.redaction import Bodies
from ..wire.registry import DEFAULT, SPECS, wire
from ..wire.sound import sound
from ..wire.token_estimate import input_tokens
from . import headers as forward
from . import model_list, paths, route_api
from .answers import check_key, is_error, is_event_stream, parsed, parsed_or_none, status_in
from .failover import Answer, asked, asked_alone, lone_attempt, settled
from .log import Log
from .outgoing import Outgoing, converted, relayed, relayed_call
from .recording import Overheard, bodies_of, call_of, is_call
from .request import Exchange, Job, Record, dumped
from .request_budget import allowance_of
from .stream_answer import Stream
from .streaming import Headers, Limits, StreamedAnswer, Watch

MAX_ANSWER_BYTES = 134_217_728  # a plain answer; pictures come in base64
MAX_ERROR_BYTES = 1_048_576     # an upstream's refusal
MAX_DESK_BYTES = 1_048_576      # a request about the gateway itself
LIST_TIMEOUT_S = 2.0            # for an upstream's list of models; clients wait 3 s for ours
LIST_KEPT_S = 300.0             # how long such a list is believed
LIST_RETRY_S = 20.0             # how long a failure to get one is
NEVER_S = float("inf")
CLIENT_GONE = 499               # for the log alone: nobody is there to read a status
JSON_TYPE = ("content-type", "application/json")


class Relayed(GatewayError):
    """An upstream's refusal in the caller's own protocol: it goes on as it came."""

    def __init__(self, error: GatewayError, headers: Headers, data: bytes) -> None:
        super().__init__(error.message, status=error.status, code=error.code, retry_after_s=error.retry_after_s)
        self.headers, self.data = headers, data


def fault(error: BaseException) -> str:
    """Where a fault of ours is: its type and the places it came through; no message, which may hold a prompt."""
    places, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{at.tb_lineno} {code.co_name}")
        at = at.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(places[-8:]))}"


# --------------------------------------------------------------------------------------------------- one request's life


class Gateway:
    """The application that `server` calls for each request."""

    def __init__(
        self, config: Config, pool: Pool, log: Log, *, clock: Callable[[], float], call_later: Callable[..., Any],
        new_id: Callable[[], str], rng: Random | None = None, desk: Desk | None = None,
        keyring: Keyring | None = None, wall: Callable[[], float] = unix_s, limiter: Limiter | None = None,
        budgets: Budgets | None = None,
    ) -> None:  # fmt: skip
        """`limiter` and `budgets`: what stands behind these seams; without them, this process's own."""
        self.limiter: Limiter = limiter or LocalLimiter(clock)
        self.budgets: Budgets = budgets or LocalBudgets()
        self.desk = desk or Desk(())
        self.keyring, self._wall = keyring or Keyring(config), wall
        self.on_call: Callable[[Call, Bodies | None], None] | None = None  # what is told of each call at its end
        self.state = state_of(config)
        self.board = Board()  # what is known of models, limits and conversations, by name: it outlives every Config
        self.watch = Watch(clock, call_later)
        self._jobs: dict[asyncio.Task[Any] | None, Job] = {}  # requests being answered
        self._pool, self._log, self._clock, self._new_id = pool, log, clock, new_id
        self._rng = rng or Random()  # nosec B311  # it shares out requests, and makes no secret
        self._lists: dict[str, tuple[float, tuple[str, ...]]] = {}  # provider -> (believed until, names)
        self._handlers: Mapping[str, Callable[[Job], Awaitable[None]]] = {
            "chat": self._chat, "count": self._count, "embeddings": self._embeddings, "models": self._models,
            "model": self._model, "health": self._health, "root": self._health, "ignored": self._ignored,
            "show": self._show, "fixed": self._fixed, "socket": self._socket,
            "route": self._route, "invoke": self._invoke, "models_health": self._models_health,
            "desk": self._at_the_desk,
        }  # fmt: skip

    def swap(self, config: Config) -> None:
        self.state = state_of(config)
        self.keyring.configure(config)
        self._lists.clear()

    @property
    def open(self) -> int:
        """Requests being answered."""
        return len(self._jobs)

    def end_all(self, error: GatewayError) -> None:
        """Ends what is open: streams with their protocol's error event, what has no answer yet with a status."""
        watched = self.watch.end_all(error)
        for task, job in self._jobs.items():
            job.ending = error
            if task is not None and task not in watched and not job.exchange.started:
                job.cut = error
                task.cancel()

    async def __call__(self, exchange: Exchange) -> None:
        server = self.state.config.server
        if server.log_bodies and self.on_call is not None:
            exchange = Overheard(exchange, server.log_body_bytes)
        headers = dict(exchange.headers)
        given = headers.get("x-request-id", "")
        request_id = given if forward.is_request_id(given) else self._new_id()
        client = self.keyring.client(exchange.client, headers)
        record = Record(request_id, exchange.method, exchange.path, client, self._clock())
        record.protocol = paths.protocol_of(exchange.path, headers)
        query = dict(parse_qsl(exchange.query, keep_blank_values=True)) if exchange.query else {}
        job = Job(exchange, self.state, record, headers, query, paths.UNREAD[record.protocol])
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
            call = self._tell(job)
            self._log.request(record, key_id=job.caller.key_id, cost_usd=call.cost_usd if call else None)

    def _tell(self, job: Job) -> Call | None:
        """The call, to whoever keeps it: a fault there is not the caller's."""
        if self.on_call is None or not is_call(job):
            return None
        try:
            call = call_of(job, self._wall())
            self.on_call(call, bodies_of(job))
            return call
        except Exception as error:
            self._log.error(f"a fault of ours in the record of {job.record.request_id}: {fault(error)}")
            return None

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
            browser.check_host(job.headers, server.allowed_hosts)
            browser.check_origin(job.headers, server.allowed_hosts, server.cors_origins)
        if exchange.method == "OPTIONS":
            await self._options(job)
            return
        job.call = paths.read_call(exchange.method, exchange.path, job.query, job.headers)
        job.record.protocol = job.call.protocol
        if job.call.kind not in paths.OPEN_CALLS:
            self._admit(job)
        await self._handlers[job.call.kind](job)

    def _admit(self, job: Job) -> None:
        """Who is calling, and what that key may do. Open pages of the desk are there for nobody too."""
        exchange, now = job.exchange, self._wall()
        try:
            query = {} if job.call.kind == "desk" else job.query  # there `key` is whose calls are asked for
            job.caller = caller = self.keyring.admit(job.headers, query, exchange.client, now)
        except GatewayError:
            if self._is_open_desk(job):
                return
            raise
        if caller.is_cookie:
            sessions.check_csrf(exchange.method, job.headers, job.state.config.server.allowed_hosts)
        job.key_name = caller.name
        if caller.key is not None:
            job.rights = rights_of(caller.key)
            job.allowance = allowance_of(caller.key, self.budgets, self._wall)

    async def _refuse(self, job: Job, error: GatewayError) -> None:
        """The error, as a status when none has been sent yet, else as the stream's last event."""
        record = job.record
        forward.without_secrets(error, job.state.config.providers)
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
        headers = browser.preflight_headers(job.headers, job.state.config.server.cors_origins)
        await self._respond(job, 204, [*headers, ("allow", browser.METHODS)], b"")

    async def _health(self, job: Job) -> None:
        await self._json(job, {"status": "ok", "name": "llm-router-gateway", "version": __version__})

    async def _ignored(self, job: Job) -> None:
        await job.exchange.read_body(job.state.config.server.max_body_bytes)
        await self._json(job, {})

    async def _models(self, job: Job) -> None:
        found = model_list.entries(job.state.routes, await self._live_lists(job.state), job.state.table)
        found = model_list.for_key(found, job.rights, job.state.table)
        await self._json(job, wire(job.call.protocol).list_models(found, job.query))

    async def _model(self, job: Job) -> None:
        found = model_list.entries(job.state.routes, await self._live_lists(job.state), job.state.table)
        entry = model_list.one(found, job.call.model)
        if job.rights is not None and not model_list.is_for(entry, job.rights, job.state.table):
            raise job.rights.key.refuse(entry.name)
        await self._json(job, wire(job.call.protocol).describe_model(entry))

    async def _show(self, job: Job) -> None:
        """A model that the body names, in either of the ways that callers have."""
        fields = read_body(await job.exchange.read_body(job.state.config.server.max_body_bytes)).fields
        name = fields.get("model") or fields.get("name")
        if not isinstance(name, str) or not name:
            raise BadRequest("model is missing: name one; GET /v1/models lists them", details={"path": "model"})
        job.call = replace(job.call, model=name)
        await self._model(job)

    async def _fixed(self, job: Job) -> None:
        fixed = SPECS[job.call.protocol].fixed
        await self._json(job, next(value for path, value in fixed.items() if job.exchange.path.endswith(path)))

    async def _socket(self, job: Job) -> None:
        """A websocket is refused with the one status after which callers fall back to POST at once."""
        if "upgrade" in job.headers:
            raise GatewayError("there are no websockets here: send a POST", status=426, code="no_websocket")
        raise BadMethod("this path takes POST", details={"allow": "POST, OPTIONS"})

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
                names = model_list.names_in(json.loads(await self._get(candidate, candidate.url("models"))))
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

    async def _models_health(self, job: Job) -> None:
        lines = self.board.report(job.state.table, self._clock())
        if job.rights is not None:
            lines = [line for line in lines if job.rights.may_see(job.state.routes.full.get(line["model"]), line["model"])]
        await self._json(job, {"models": lines})

    # -- who answers

    async def _read(self, job: Job) -> None:
        """The body and the model's name."""
        job.body = read_body(await job.exchange.read_body(job.state.config.server.max_body_bytes))
        tags = job.headers.get(route_api.TAGS_HEADER)
        name = TAG + tags if tags else job.call.model or job.body.fields.get("model")
        if not isinstance(name, str) or not name:
            raise BadRequest("model is missing: name one; GET /v1/models lists them", details={"path": "model"})
        job.record.asked = name

    def _plan(self, job: Job) -> Plan:
        """Those who may answer; who comes first is found when they are asked."""
        ask = Ask(
            name="" if job.tags else job.record.asked, body=job.fields, protocol=job.call.protocol, stream=job.record.stream,
            headers=job.headers, key_name=job.key_name, tokens=partial(input_tokens, job.fields), query=job.tags,
            rights=job.rights, text=job.body.text if job.body else "",
        )  # fmt: skip
        job.plan = made = plan(job.state.table, self.board, ask, self._clock(), self._rng, self.limiter.forecast)
        if self.board.complaints:
            for complaint in self.board.take_complaints():
                self._log.warn(complaint)
        return made

    def _lone(self, job: Job) -> Attempt | None:
        if job.tags is not None:
            return None
        return lone_attempt(job.state.table, self.board, job.state.lone, job.record.asked, self._clock(), job.rights)

    def _asked(
        self, job: Job, once: Callable[[Attempt], Awaitable[Answer]], idle: Idle = nullcontext
    ) -> Awaitable[Answer]:
        """The answer of whoever gives one, within the caller's budget and limit."""
        return (self._asked_within if job.caller.key is None else self._asked_and_booked)(job, once, idle)

    async def _asked_and_booked(self, job: Job, once: Callable[[Attempt], Awaitable[Answer]], idle: Idle) -> Answer:
        """The same, within the caller's budget; what it cost is booked."""
        if job.allowance is not None and job.call.kind != "count":
            job.allowance.check()
        is_whole = False
        try:
            answer = await self._asked_within(job, once, idle)
            is_whole = True
            return answer
        finally:
            await self._book(job, is_whole=is_whole or job.record.whole)

    async def _book(self, job: Job, *, is_whole: bool) -> None:
        """Puts what a call cost on its key's account."""
        usage, key = sound(job.record.usage), job.caller.key
        candidate = job.state.routes.full.get(job.record.served)
        cost, _ = pricing.cost(usage, candidate.model if candidate else None)
        if key.budget is not None and job.allowance is not None:
            answered = is_whole or job.answering
            await job.allowance.settle(usage, cost, answered=answered, whole=is_whole, outputs=job.outputs)
        elif usage is not None and job.call.kind != "count":
            await self.budgets.spend(key.id, Amount(cost or 0.0, usage.total), self._wall())

    def _asked_within(self, job: Job, once: Callable[[Attempt], Awaitable[Answer]], idle: Idle) -> Awaitable[Answer]:
        """The same, within the limit of the caller's key."""
        key = job.caller.key
        limit = (key.limits if key is not None else None) or job.state.config.server.key_limits
        if limit is not None:
            return self._asked_in_turn(job, limit, once, idle)
        attempt = self._lone(job)
        if attempt is not None:
            return asked_alone(job, attempt, once, self._clock)
        return self._asked_several(job, once, idle)

    async def _asked_in_turn(
        self, job: Job, limit: Limit, once: Callable[[Attempt], Awaitable[Answer]], idle: Idle
    ) -> Answer:
        """The same, when the limit lets it through."""
        scopes = ((f"key:{job.caller.key_id}", limit),)
        try:
            permit = await self.limiter.acquire(scopes, partial(input_tokens, job.fields), idle)
        except NoSlot as error:
            raise RateLimited("this key has as many requests open as it may", retry_after_s=error.retry_after_s) from None
        try:
            return await self._asked_several(job, once, idle)
        finally:
            await settled(job, permit)
            await permit.release()

    async def _asked_several(self, job: Job, once: Callable[[Attempt], Awaitable[Answer]], idle: Idle) -> Answer:
        made = self._plan(job)
        unwell = job.is_query and not made.healthy()
        try:
            return await asked(job, made, once, self.limiter, self._clock, idle)
        except GatewayError as error:
            if not unwell or job.answering or error.status in (429, 503) or not moves_on(error):
                raise
            raise Unavailable(f"{job.record.asked}: no model that fits is well: {error.message}", code="no_member") from None

    async def _outgoing(self, job: Job, attempt: Attempt, call: str = "chat") -> Outgoing:
        """What a member is sent; what an earlier one lost of it is not lost any more."""
        candidate = attempt.candidate.speaking(job.call.protocol)
        check_key(candidate)
        job.record.lost.clear()
        same = relayed_call(job.call.protocol, candidate, call, job.record.stream)
        try:
            if job.allowance is not None:
                await job.allowance.release()  # of the member before this one
            make = partial(relayed, job, candidate, same) if same else partial(converted, job, candidate)
            outgoing = make(key=attempt.key)
            if job.allowance is not None:
                await job.allowance.hold()
            return outgoing
        except GatewayError as error:
            if not same or isinstance(error, NoCredit):  # another member may do it, or for less
                job.unasked = error
            raise

    async def _chat(self, job: Job) -> None:
        await self._read(job)
        job.record.stream = job.call.stream or SPECS[job.call.protocol].wants_stream(job.fields)
        if job.record.stream:
            await self._streamed(job)
            return
        headers, data = await self._asked(job, partial(self._plain, job))
        await self._respond(job, 200, headers, data)

    async def _plain(self, job: Job, attempt: Attempt) -> tuple[Headers, bytes]:
        """One member's whole answer, in the caller's protocol."""
        outgoing = await self._outgoing(job, attempt)
        headers, data = await self._fetch(outgoing)
        answer = parsed(data, outgoing.candidate.name)
        if is_error(answer):
            raise self._read_error(outgoing, status_in(answer), {}, data)
        if job.plan is not None:  # who stands alone is never compared
            attempt.output(self._clock())
        if outgoing.request is None:
            own = wire(job.call.protocol)
            job.record.usage, job.record.finish = own.usage_in(answer), own.finish_in(answer)
            return headers, data
        result = wire(outgoing.candidate.provider.api).read_answer(answer)
        result = result if result.created else replace(result, created=int(unix_s()))
        job.record.usage = result.usage
        written = wire(job.call.protocol).write_answer(result, outgoing.request, job.record.lost)
        job.record.finish = wire(job.call.protocol).finish_in(written)
        return [JSON_TYPE], dumped(written)

    async def _fetch(self, outgoing: Outgoing) -> tuple[Headers, bytes]:
        """A whole answer: the headers that go on, and the body. A refusal is raised."""
        response = await self._send("POST", outgoing)
        try:
            if response.status != 200:
                raise await self._refusal(outgoing, response)
            return forward.caller_headers(response.headers, outgoing.candidate), await response.read(MAX_ANSWER_BYTES)
        finally:
            response.close()

    def _send(self, method: str, outgoing: Outgoing) -> Awaitable[Response]:
        provider = outgoing.candidate.provider
        timeouts = Timeouts(provider.connect_timeout_s, provider.timeout_s, provider.timeout_s)
        return self._pool.request(
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
        await self._read(job)
        headers, data = await self._asked(job, partial(self._counted, job))
        await self._respond(job, 200, headers, data)

    async def _counted(self, job: Job, attempt: Attempt) -> tuple[Headers, bytes]:
        """Asked of an upstream that speaks the caller's protocol, else estimated."""
        provider = attempt.candidate.speaking(job.call.protocol).provider
        if provider.api == job.call.protocol and "count" in provider.paths:
            try:
                return await self._fetch(await self._outgoing(job, attempt, "count"))
            except GatewayError as error:
                if error.status != 404:
                    raise  # compatible servers often lack this call: an estimate serves better than a refusal
        attempt.end(self._clock())  # nobody was asked, or nothing was learnt
        return [JSON_TYPE], dumped(wire(job.call.protocol).write_count(input_tokens(job.fields)))

    async def _embeddings(self, job: Job) -> None:
        spec = SPECS[job.call.protocol]
        await self._read(job)
        asked = job.fields
        if "embeddings" in spec.carried:
            job.body = read_body(dumped(spec.embeddings_request(asked)))
        headers, data = await self._asked(job, partial(self._embedded, job))
        await self._respond(job, 200, headers, spec.embeddings(data, asked))

    async def _embedded(self, job: Job, attempt: Attempt) -> tuple[Headers, bytes]:
        candidate, call = attempt.candidate, job.call.action or "embeddings"
        check_key(candidate)
        if not relayed_call(job.call.protocol, candidate, call, stream=False):
            name = candidate.provider.name
            raise Unsupported(f"{candidate.name}: embeddings are relayed, and {name} speaks another protocol")
        return await self._fetch(await self._outgoing(job, attempt, call))

    # -- streams

    async def _streamed(self, job: Job) -> None:
        record, exchange = job.record, job.exchange
        streams: list[Stream] = []  # one for each member that was asked
        try:
            await self._asked(job, partial(self._stream_from, job, streams), partial(self._signs_of_life, job))
        except Exception as error:
            if not exchange.started:
                raise
            told = error if isinstance(error, GatewayError) else self._fault(job, error)
            forward.without_secrets(told, job.state.config.providers)
            record.error, record.message = told.code, told.message
            last = streams[-1] if job.answering else Stream(job)  # what was held back is as if it had never been
            await exchange.send(last.fail(told))
        finally:
            record.status = 200 if exchange.started else 0
        await exchange.end()

    @contextmanager
    def _signs_of_life(self, job: Job) -> Iterator[None]:
        """Keeps a caller's stream alive while it waits for its turn."""
        stream = Stream(job)
        answer = self._answer_of(stream, Limits(NEVER_S, NEVER_S, job.state.config.server.keepalive_s))
        try:
            with self.watch.over(answer):
                yield
        finally:
            job.last_sent_at = answer.last_sent_at

    def _answer_of(self, stream: Stream, limits: Limits, on_output: Callable[[float], None] | None = None) -> StreamedAnswer:
        """The stream on its way; its silence began when the caller last heard of us."""
        job = stream.job
        answer = StreamedAnswer(job.exchange, stream.head, stream.keepalive, limits, self._clock, on_output)
        if job.last_sent_at is not None:
            answer.last_sent_at = job.last_sent_at
        return answer

    async def _stream_from(self, job: Job, streams: list[Stream], attempt: Attempt) -> None:
        """One member's stream, to its end."""
        record, provider, outgoing = job.record, attempt.candidate.provider, await self._outgoing(job, attempt)
        first_s = (job.plan and job.plan.first_output_timeout_s) or provider.first_output_timeout_s
        limits = Limits(first_s, provider.output_gap_timeout_s, job.state.config.server.keepalive_s)
        stream = Stream(job)
        streams.append(stream)

        def on_output(now: float) -> None:
            job.answering = True
            attempt.output(now)

        answer = self._answer_of(stream, limits, on_output)
        try:
            with self.watch.over(answer):
                await self._run(stream, answer, outgoing)
        finally:
            job.answering, job.last_sent_at = answer.released, answer.last_sent_at
            if stream.pipe is not None:
                record.usage, record.finish = stream.pipe.usage, stream.pipe.finish
                record.whole = stream.pipe.done and stream.pipe.error is None
                job.outputs = stream.pipe.outputs
            if answer.first_output_at is not None:
                record.first_output_s = answer.first_output_at - record.started_at

    async def _run(self, stream: Stream, answer: StreamedAnswer, outgoing: Outgoing) -> None:
        response = await self._send("POST", outgoing)
        try:
            if response.status != 200:
                raise await self._refusal(outgoing, response)
            if is_event_stream(response):
                response.tap = answer.tap
                await answer.run(response.pieces(), stream.open(response, outgoing))
            else:
                await answer.whole(stream.replayed(await response.read(MAX_ANSWER_BYTES), outgoing))
        finally:
            response.close()

    # -- what is asked of the gateway itself

    def _is_open_desk(self, job: Job) -> bool:
        return job.call.kind == "desk" and self.desk.find(job.exchange.method, job.call.model)[0].access == OPEN

    async def _at_the_desk(self, job: Job) -> None:
        """The monitor, keys, administration: `net/router` has the routes, this their reading and writing."""
        route, args = self.desk.find(job.exchange.method, job.call.model)
        if route.access == ADMIN and not job.caller.is_admin:
            raise Forbidden("this is for administrators: use an admin key; references/gateway.md tells how to have one")
        body = None
        if job.exchange.method in ("POST", "PATCH", "PUT"):
            body = self._desk_body(await job.exchange.read_body(min(MAX_DESK_BYTES, job.state.config.server.max_body_bytes)))
        visit = Visit(job.exchange.method, job.call.model, args, job.query, job.headers, body, job.record.client, job.caller,
                      job.caller.is_cookie, self._is_secure(job), parse_qsl(job.exchange.query, keep_blank_values=True))
        await self._reply(job, await route.handler(visit))

    def _is_secure(self, job: Job) -> bool:
        """Whether a proxy that is trusted says that the caller came over TLS."""
        is_told = job.headers.get("x-forwarded-proto", "").strip().lower() == "https"
        return is_told and self.keyring.is_proxy(job.exchange.client)

    @staticmethod
    def _desk_body(data: bytes) -> Any:
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise BadRequest("the body is not JSON") from None

    async def _reply(self, job: Job, reply: Reply) -> None:
        if not reply.is_stream:
            is_raw = isinstance(reply.body, bytes)
            data = reply.body if is_raw else b"" if reply.status == 204 else dumped(reply.body)
            kind = [] if is_raw or reply.status == 204 else [JSON_TYPE]
            await self._respond(job, reply.status, [*kind, *reply.headers], data)
            return
        job.record.status = reply.status
        pieces = aiter(reply.body)
        first = await anext(pieces, b"")  # what is wrong before it is told with a status
        job.exchange.start(reply.status, [*reply.headers, *job.own_headers])
        await job.exchange.send(first)
        async for piece in pieces:
            await job.exchange.send(piece)
        await job.exchange.end()

    # -- who would answer

    async def _route(self, job: Job) -> None:
        """Decides as a request would, and asks nobody."""
        await self._wish(job, needs_request=False)
        job.call = replace(job.call, protocol=paths.protocol_of(job.exchange.path, job.headers))
        made = self._plan(job)
        decision = route_api.decision(made.explain(self._clock()))
        if made.healthy():
            await self._json(job, decision)
            return
        error = forward.without_secrets(made.refusal(self._clock()), job.state.config.providers)
        job.record.error, job.record.message = error.code, error.message
        status, headers, body = wire(DEFAULT).write_error(error, job.record.request_id)
        await self._respond(job, status, list(headers), dumped({**body, **decision}))

    async def _invoke(self, job: Job) -> None:
        """As a chat request with the same query would be answered; plain answers in a shape of their own."""
        await self._wish(job, needs_request=True)
        if job.record.stream:
            await self._streamed(job)
            return
        _, data = await self._asked(job, partial(self._plain, job))
        candidate = job.state.routes.full.get(job.record.served)
        model = candidate.model if candidate else None
        raw = parsed(data, job.record.served)
        await self._json(job, route_api.invoked(raw, job.record.served, sound(job.record.usage), model))

    async def _wish(self, job: Job, *, needs_request: bool) -> None:
        """The body of a routing call, made into a chat request's."""
        body = read_body(await job.exchange.read_body(job.state.config.server.max_body_bytes))
        wish = route_api.read_wish(body.fields, needs_request=needs_request)
        job.body = body if wish.body is body.fields else read_body(dumped(wish.body))
        job.record.asked, job.record.stream, job.tags = wish.name, wish.stream, wish.query
