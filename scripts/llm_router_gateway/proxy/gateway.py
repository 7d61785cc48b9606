"""One request's life, from the exchange to its record.

    gateway = Gateway(config, pool, log, clock=time.monotonic, call_later=loop.call_later, new_id=...)
    await gateway(exchange)      answers it in every case, unless the caller disconnects first
    gateway.swap(prepare(config))   requests in flight keep the one they began with

The steps in order, each with the modules that do it:

    admit             gateway            the call that the path means, the caller, the rights of its key; `access/`
    dispatch          gateway            to chat, count, embeddings, or one of the gateway's own calls
    choose            failover           the members that may answer, best first; `routing/plan`
    acquire           failover           the limits of the caller's key and of the member
    send              outgoing, upstream the body as the member's protocol has it, and the exchange with it
    relay or convert  plain_answer, stream_answer    same protocol on both sides: the bytes pass, with the model's name,
                                         the overrides and the credentials changed. Otherwise through `wire/ir`; what cannot
                                         be carried is named in the x-llm-router-lost header and in the log
    settle            failover           limits, budget and the member's health are updated with the outcome
    refuse            gateway            an error, in the shape of the caller's protocol
    record            gateway, recording the line in the log, the row in the call log
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import time as unix_s
from typing import Any
from urllib.parse import parse_qsl

from ..access import browser, sessions
from ..access.authenticate import Authenticator, Entries, entries_of
from ..config.config import Config
from ..errors import BadRequest, GatewayError, Unsupported
from ..json_body import read_body
from ..limiter.budgets import LocalBudgets
from ..limiter.local import LocalLimiter
from ..net.client import Pool
from ..net.router import OPEN, Router
from ..policy.budgets import Budgets
from ..policy.rate_limits import Limiter
from ..policy.tag_query import TAG
from ..routing.permissions import rights_of
from ..routing.plan import RoutingRequest, RoutingState, served_name
from ..routing.snapshot import Snapshot, snapshot_of
from ..store.call import Call
from ..store.conversations import Conversations as KeptConversations
from ..store.owned import OwnedObjects
from ..store.redaction import Bodies
from ..wire.registry import SPECS, wire
from ..wire.spec import RELAYED_KINDS
from . import paths, route_api
from .answer_cache import AnswerCache, is_on
from .attempts import AttemptRecord
from .conversations import Conversations
from .failover import Failover
from .faults import fault_line
from .files import OwnedFiles
from .headers import is_request_id
from .in_flight import BytesInFlight
from .key_commands import KeyCommands
from .log import Log
from .model_list import LiveLists
from .offload import LargeBody, Offload, is_large
from .own_api import OwnApi, only_monitoring
from .plain_answer import PlainAnswers
from .readiness import readiness
from .recording import RecordedExchange, bodies_of, call_of, is_call
from .refusals import for_caller
from .relays import RelayedCalls
from .request import JSON_TYPE, NO_STORE, Exchange, Record, RequestContext, dump_json
from .request_budget import allowance_of
from .services import Services
from .stream_answer import StreamAnswers
from .streaming import Headers, Watch
from .tracing import Tracing
from .upstream import RelayedRefusal, Upstream

OFFLOADED = frozenset({"chat", "count", "embeddings", "compact"})  # calls whose large bodies are read by workers
TAGS_HEADER = "x-llm-router-tags"  # a tag query, which replaces the model name of the request
MONITORED = frozenset({"management", "models_health"})  # the calls of keys for monitoring; routes of management say more
CLIENT_GONE = 499  # only for the log: no caller is left to read a status


@dataclass(frozen=True, slots=True)
class Prepared:
    """A Config with what is computed from it before it takes effect."""

    state: Snapshot
    entries: Entries


def prepare(config: Config) -> Prepared:
    """What `swap` takes; made in a thread, since a thousand models and keys take longer than a request should wait."""
    return Prepared(snapshot_of(config), entries_of(config))


class Gateway:
    """The application that `server` calls for each request."""

    def __init__(
        self, config: Config, pool: Pool, log: Log, *, clock: Callable[[], float], call_later: Callable[..., Any],
        new_id: Callable[[], str], rng: Random | None = None, router: Router | None = None,
        authenticator: Authenticator | None = None, wall: Callable[[], float] = unix_s, limiter: Limiter | None = None,
        budgets: Budgets | None = None, kept: KeptConversations | None = None, routing_state: RoutingState | None = None,
        owned: OwnedObjects | None = None,
    ) -> None:  # fmt: skip
        """`limiter`, `budgets`, `kept`, `owned`: implementations of these seams; by default in-process, nothing stored."""
        self.limiter: Limiter = limiter or LocalLimiter(clock)
        self.budgets: Budgets = budgets or LocalBudgets()
        self.state = snapshot_of(config)
        self.routing_state = routing_state or RoutingState()
        self.authenticator = authenticator or Authenticator(config)
        self.watch = Watch(clock, call_later)
        self.router = router or Router(())
        self.on_call: Callable[[Call, Bodies | None], None] | None = None  # is called with each call at its end
        self.on_attempts: Callable[[Sequence[AttemptRecord]], None] | None = None  # those of each call, at its end
        self.tracing: Tracing | None = None
        self.store_health: Callable[[], Mapping[str, Any]] | None = None  # health of the store; None: calls are not stored
        self.is_config_refused = False  # the configuration was changed, and the change is invalid
        self._contexts: dict[asyncio.Task[Any] | None, RequestContext] = {}  # requests being answered
        self._log, self._clock, self._wall, self._new_id = log, clock, wall, new_id
        rng = rng or Random()  # nosec B311  # it distributes requests; no secret comes from it
        self.offload = Offload()
        self.bodies = BytesInFlight()
        self.key_commands = KeyCommands(clock=clock, wall=wall, warn=log.warn)
        self._services = services = Services(
            pool, log, self.routing_state, self.watch, self.authenticator, self.limiter, self.budgets, clock, wall, new_id, rng,
            self.offload, self.key_commands,
        )  # fmt: skip
        upstream, failover = Upstream(pool), Failover(services)
        self._lists = LiveLists(services, upstream)
        self._plain = PlainAnswers(services, upstream, failover)
        self._streams = StreamAnswers(services, upstream, failover)
        self._relays = RelayedCalls(services, upstream, failover)
        self._answers = AnswerCache(failover, clock, lambda: self.state)
        self._files = OwnedFiles(services, upstream, failover, owned, self._receive)
        self._own = own = OwnApi(services, self._lists, self._receive)
        self._conversations = talks = Conversations(services, upstream, kept)
        routes = route_api.RouteCalls(services, failover, self._plain, self._streams, self._files, self._receive)
        self._handlers: Mapping[str, Callable[[RequestContext], Awaitable[None]]] = {
            "chat": self._chat, "count": self._count, "embeddings": self._embeddings, "route": routes.route,
            "invoke": routes.invoke, "models": own.models, "model": own.model, "models_health": own.models_health,
            "health": own.health, "live": own.live, "ready": self._ready, "root": own.health, "ignored": own.discard,
            "show": own.show, "fixed": own.answer_fixed, "socket": own.socket, "management": self._management,
            "kept": talks.get, "kept_input": talks.input_items, "forget": talks.delete, "cancel": talks.cancel,
            "compact": self._compact, **dict.fromkeys(RELAYED_KINDS, self._relayed),
            **self._files.handlers,
        }  # fmt: skip

    def swap(self, prepared: Prepared) -> None:
        self.state = prepared.state
        self.authenticator.configure(prepared.state.config, prepared.entries)
        self._lists.forget()
        self._answers.clear()
        self.key_commands.forget()

    @property
    def open(self) -> int:
        """Requests being answered."""
        return len(self._contexts)

    def end_all(self, error: GatewayError) -> None:
        """Ends open requests: streams with their protocol's error event, others with a status."""
        watched = self.watch.end_all(error)
        for task, context in self._contexts.items():
            context.ending = error
            if task is not None and task not in watched and not context.exchange.started:
                context.cut = error
                task.cancel()

    # -- from first to last

    async def __call__(self, exchange: Exchange) -> None:
        context, task = self._begin(exchange), asyncio.current_task()
        self._contexts[task] = context
        try:
            await self._answer(context)
        except asyncio.CancelledError:
            if context.cut is None or (task is not None and task.uncancel()):
                caller_left(context.record)
                raise
            await self._refuse(context, context.cut)
        finally:
            del self._contexts[task]
            self._record(context)
            self.bodies.give_back(context.reserved)
            if context.large is not None:
                context.large.close()
            if context.conversation is not None:
                context.conversation.close()

    def _begin(self, exchange: Exchange) -> RequestContext:
        if self.state.config.server.log_bodies or self.tracing is not None:
            exchange = self._recorded(exchange)
        headers = dict(exchange.headers)
        given = headers.get("x-request-id", "")
        request_id = given if given and is_request_id(given) else self._new_id()
        client = self.authenticator.client(exchange.client, headers)
        protocol = paths.protocol_of(exchange.path, headers)
        record = Record(request_id, exchange.method, exchange.path, client, self._clock(), protocol)
        query = dict(parse_qsl(exchange.query, keep_blank_values=True)) if exchange.query else {}
        return RequestContext(exchange, self.state, record, headers, query, paths.UNREAD[protocol])

    def _recorded(self, exchange: Exchange) -> Exchange:
        """The exchange, which records its texts if they are logged or traced."""
        server = self.state.config.server
        kept_bytes = server.log_body_bytes if server.log_bodies and self.on_call is not None else 0
        if self.tracing is not None and self.tracing.settings.content:
            kept_bytes = max(kept_bytes, self.tracing.settings.max_content_bytes)
        return RecordedExchange(exchange, kept_bytes) if kept_bytes else exchange

    async def _answer(self, context: RequestContext) -> None:
        """The answer, or the error in the caller's shape."""
        try:
            if self._admit(context):
                await self._handlers[context.call.kind](context)
            else:
                await self._own.preflight(context)
        except GatewayError as error:
            await self._refuse(context, error)
        except Exception as error:
            await self._refuse(context, self._services.internal_error(context.record.request_id, error))

    # -- admit

    def _admit(self, context: RequestContext) -> bool:
        """Reads the call, the caller and the rights of its key; False for a CORS preflight."""
        exchange, server = context.exchange, context.state.config.server
        if context.state.on_loopback:
            browser.check_host(context.headers, server.allowed_hosts)
            if "origin" in context.headers:
                browser.check_origin(context.headers, server.allowed_hosts, server.cors_origins)
        if exchange.method == "OPTIONS":
            return False
        context.call = paths.read_call(exchange.method, exchange.path, context.query, context.headers)
        context.record.protocol = context.call.protocol
        if self.tracing is not None and is_call(context):
            context.trace = self.tracing.begin(context.headers)
        if context.call.kind not in paths.OPEN_CALLS:
            self._identify(context)
        return True

    def _identify(self, context: RequestContext) -> None:
        """Authenticates the caller. Open pages of the management API need no key."""
        exchange, now = context.exchange, self._wall()
        try:
            query = {} if context.call.kind == "management" else context.query  # there `key` filters calls
            context.caller = caller = self.authenticator.admit(context.headers, query, exchange.client, now)
        except GatewayError:
            if self._is_open_page(context):
                return
            raise
        if context.call.kind == "management" and not caller.key_id:
            browser.check_own_page(context.headers, context.state.config.server.allowed_hosts)
        if caller.is_cookie:
            sessions.check_csrf(exchange.method, context.headers, context.state.config.server.allowed_hosts)
        context.key_name = caller.name
        if caller.key is None:
            return
        if caller.is_monitor and context.call.kind not in MONITORED:
            raise only_monitoring()
        context.rights = rights_of(caller.key)
        context.allowance = allowance_of(caller.key, self.budgets, self._wall)

    def _is_open_page(self, context: RequestContext) -> bool:
        if context.call.kind != "management":
            return False
        return self.router.find(context.exchange.method, context.call.model)[0].access == OPEN

    # -- read

    async def _receive(self, context: RequestContext) -> bytes:
        """The bytes of a body, counted among those in flight."""
        server = context.state.config.server
        declared = min(int(context.headers.get("content-length", 0)), server.max_body_bytes)
        context.reserved = self.bodies.reserve(declared, server.max_bytes_in_flight)
        data = await context.exchange.read_body(server.max_body_bytes)
        if len(data) != declared:  # its length was not declared
            context.reserved += self.bodies.reserve(len(data) - declared, server.max_bytes_in_flight)
        return data

    async def _read(self, context: RequestContext) -> None:
        """The body of a call to a model, the model's name, and the conversation that it belongs to."""
        data = await self._receive(context)
        if is_large(len(data)) and context.call.kind in OFFLOADED:
            keeper = context.call.protocol if SPECS[context.call.protocol].keeps_answers else ""
            context.large = await self.offload.open(data, wants_text=context.allowance is not None, protocol=keeper)
            context.body = context.large.head_body
        else:
            context.body = read_body(data)
        name_model(context)
        names = self._files.names_in(context)
        if names:
            await self._files.look_up(context, names)
        if SPECS[context.call.protocol].keeps_answers:
            context.conversation = await self._conversations.begin(context)
        if context.large is not None:
            await ask_selectors(context, context.large)

    # -- dispatch

    async def _chat(self, context: RequestContext) -> None:
        await self._read(context)
        context.record.stream = context.call.stream or SPECS[context.call.protocol].wants_stream(context.fields)
        self._lists.learn_windows(context)
        if is_on(context) and await self._answers.replay(context):
            return
        if context.record.stream:
            with self._answers.record(context):
                await self._streams.answer(context)
        else:
            await self._respond(context, *await self._plain.chat(context))

    async def _compact(self, context: RequestContext) -> None:
        await self._read(context)
        await context.respond(200, *await self._plain.compact(context))

    async def _count(self, context: RequestContext) -> None:
        await self._read(context)
        await context.respond(200, *await self._plain.count(context))

    async def _embeddings(self, context: RequestContext) -> None:
        await self._read(context)
        if not (is_on(context) and await self._answers.replay(context)):
            await self._respond(context, *await self._plain.embeddings(context))

    def _respond(self, context: RequestContext, headers: Headers, data: bytes) -> Awaitable[None]:
        """Sends a whole answer, and keeps it in the answer cache if this call may use that."""
        if context.cache_key is not None:
            self._answers.keep(context, headers, data)
        return context.respond(200, headers, data)

    async def _relayed(self, context: RequestContext) -> None:
        self._relays.read(context, await self._receive(context))
        name_model(context)
        await self._relays.answer(context)

    async def _ready(self, context: RequestContext) -> None:
        store = self.store_health() if self.store_health is not None else None
        found = readiness(context.state.config, store, is_refused=self.is_config_refused)
        await context.respond(found.status, [JSON_TYPE, NO_STORE], dump_json(found.view()))

    async def _management(self, context: RequestContext) -> None:
        await self._own.management(context, self.router)

    # -- refuse

    async def _refuse(self, context: RequestContext, error: GatewayError) -> None:
        """Sends the error as a status, or breaks off an answer that has begun, so that it does not look complete."""
        record = context.record
        for_caller(error, context)
        record.error, record.message = error.code, error.message
        if context.exchange.started:
            context.exchange.abort()
            return
        if isinstance(error, RelayedRefusal):
            await context.respond(error.status, error.headers, error.data)
            return
        status, headers, body = wire(record.protocol).write_error(error, record.request_id)
        if error.code == Unsupported.code:
            headers = [*headers, ("x-should-retry", "false")]  # the vendors' SDKs obey it
        if "allow" in error.details:
            headers = [*headers, ("allow", str(error.details["allow"]))]
        await context.respond(status, list(headers), dump_json(body))

    # -- record

    def _record(self, context: RequestContext) -> None:
        record = context.record
        record.seconds = self._clock() - record.started_at
        call = self._keep(context)
        cost_usd = call.cost_usd if call is not None else None
        self._log.request(record, key_id=context.caller.key_id, cost_usd=cost_usd, cache=record.cached)

    def _keep(self, context: RequestContext) -> Call | None:
        """Passes the call to the call log, the counters and the traces; a fault there does not affect the caller."""
        if not is_call(context) or (self.on_call is None and self.tracing is None):
            return None
        try:
            call = call_of(context, self._wall())
            if self.on_call is not None:
                self.on_call(call, bodies_of(context))
            if self.on_attempts is not None:
                self.on_attempts(context.attempts)
            if self.tracing is not None:
                self.tracing.finish(context, call)
            return call
        except Exception as error:
            where = f"the record of request {context.record.request_id}"
            self._log.error(fault_line(where, error, "the log of calls may lack it; its caller has the answer"))
            return None


def name_model(context: RequestContext) -> None:
    tags = context.headers.get(TAGS_HEADER)
    name = TAG + tags if tags else context.call.model or context.fields.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("model is missing: name one; GET /v1/models lists them", details={"path": "model"})
    context.record.asked = name


async def ask_selectors(context: RequestContext, large: LargeBody) -> None:
    """Evaluates the selectors and affinity expressions of a group over a body that a worker holds."""
    table = context.state.table
    pools = table.chains.get(served_name(table, context.record.asked.removeprefix("models/")), ())
    selectors = {target.selector.text for pool in pools for target in pool.targets if target.selector is not None}
    groups = [pool.group for pool in pools if pool.group is not None and pool.group.affinity is not None]
    names = {group.affinity.expression.text for group in groups if group.affinity and group.affinity.expression is not None}
    if selectors or names:
        stream = context.call.stream or SPECS[context.call.protocol].wants_stream(context.fields)
        ask = RoutingRequest(name=context.record.asked, protocol=context.call.protocol, stream=stream, headers=context.headers,
                  key_name=context.key_name)  # fmt: skip
        context.verdicts, context.session_names = await large.select(sorted(selectors), sorted(names), ask.variables())


def caller_left(record: Record) -> None:
    """Writes the outcome of a request whose caller disconnected on its record."""
    if not record.whole:  # some SDKs hang up at the last event, before the stream's own end
        record.error, record.message = "client_gone", "the caller disconnected"
    record.status = record.status or CLIENT_GONE
