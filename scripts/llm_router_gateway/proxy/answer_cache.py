"""Answers that are given again to the same request of the same key, for as long as the configuration says. Off by default.

    cache = AnswerCache(failover, clock, current)
    if await cache.replay(context): return         answered, at no cost
    cache.keep(context, headers, data)             a whole answer, for the next time
    with cache.record(context): ...                a streamed one, where it ends as it should

The same request: the same key with the same terms, path, model (a name means what the configuration says now: a new one
empties the cache, and what began before is neither kept nor answered from it), query, body as JSON, and headers that may change
an answer. Only what nothing else depends on is kept: no request with tools, which act or look at the world, none that builds on
kept conversations or is to be kept as one, and no body that is so large that a worker reads it. Kept are complete answers with
status 200, in this process's memory, the longest unused ones given up first.

`Cache-Control: no-cache` (or `max-age=0`) asks for a new answer, which is kept; with `no-store` nothing is kept either.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..routing.plan import served_name
from ..routing.snapshot import Snapshot
from ..wire import ir
from ..wire.registry import ACTING_FIELDS, OWN_QUERY, PRIVATE_HEADERS, SPECS
from .failover import Failover
from .heard_exchange import HeardExchange
from .request import Exchange, RequestContext
from .streaming import Headers

HIT, MISS = "hit", "miss"  # values of the header x-llm-router-cache
ENTRY_BYTES = 1_024  # about what an entry takes beside its answer
MOST_OF_ALL = 8  # the part of the whole that one answer may take: 1/8
STEERING = frozenset(name for spec in SPECS.values() for name in spec.steering_headers)
CUSTOM = "x-"  # begins headers that groups may select by, and that upstreams may know
# Of these, what differs with every request, or says nothing about what is wanted.
PASSING = PRIVATE_HEADERS.union(*(spec.marks for spec in SPECS.values()))
PASSING_STARTS = ("x-request-id", "x-stainless-", "x-forwarded-", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer, as its caller got it."""

    until: float  # of the clock
    content_type: str
    data: bytes
    is_stream: bool
    served: str
    finish: ir.Stop | str
    lost: tuple[str, ...]
    clamped: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.data) + ENTRY_BYTES


class AnswerCache:
    """The answers of one process."""

    def __init__(self, failover: Failover, clock: Callable[[], float], current: Callable[[], Snapshot]) -> None:
        """`current`: the configuration in force."""
        self._failover, self._clock, self._current = failover, clock, current
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()  # the one that was used last at the end
        self.bytes = 0

    def clear(self) -> None:
        self._entries.clear()
        self.bytes = 0

    # -- give again

    async def replay(self, context: RequestContext) -> bool:
        """Whether the request was answered, where the cache is on for it. Its name in the cache is in the context from now on,
        where it may be kept."""
        control = directives(context)
        if "no-store" in control or context.state is not self._current() or not may_keep(context):
            return False
        context.cache_key, context.record.cached = key_of(context), MISS
        entry = None if control & {"no-cache", "max-age=0"} else self._find(context.cache_key)
        if entry is None:
            return False
        async with self._failover.within_limits(context):
            await self._answer(context, entry)
        return True

    def _find(self, key: bytes) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.until <= self._clock():
            self._drop(key)
            return None
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    async def _answer(self, context: RequestContext, entry: Entry) -> None:
        record = context.record
        record.cached, record.served, record.finish, record.lost[:] = HIT, entry.served, entry.finish, entry.lost
        if context.allowance is not None:
            context.allowance.clamped = list(entry.clamped)
        headers = [("content-type", entry.content_type)]
        if not entry.is_stream:
            await context.respond(200, headers, entry.data)
            return
        record.status, record.whole, context.answering = 200, True, True
        record.first_output_s = self._clock() - record.started_at
        unbuffered = [("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no")]
        context.exchange.start(200, [*headers, *unbuffered, *context.own_headers])
        await context.exchange.send(entry.data)
        await context.exchange.end()

    # -- keep

    def keep(self, context: RequestContext, headers: Headers, data: bytes, *, is_stream: bool = False) -> None:
        """Nothing where the request is none to be kept, or its model forbids it."""
        ttl_s, most = ttl_of(context), context.state.config.server.max_cache_bytes
        if context.cache_key is None or ttl_s <= 0 or context.state is not self._current():
            return
        clamped = tuple(context.allowance.clamped) if context.allowance is not None else ()
        record = context.record
        entry = Entry(self._clock() + ttl_s, dict(headers).get("content-type", ""), data, is_stream, record.served,
                      record.finish, tuple(record.lost), clamped)  # fmt: skip
        if entry.size * MOST_OF_ALL > most:
            return
        self._drop(context.cache_key)
        self._entries[context.cache_key] = entry
        self.bytes += entry.size
        while self.bytes > most:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size

    @contextmanager
    def record(self, context: RequestContext) -> Iterator[None]:
        """Keeps the stream that goes out meanwhile, if it is whole at the end."""
        if context.cache_key is None:
            yield
            return
        heard = context.exchange
        taped = Taped(heard, context.state.config.server.max_cache_bytes // MOST_OF_ALL)
        context.exchange = taped
        try:
            yield
        finally:
            context.exchange = heard
        if context.record.whole and not context.record.error and taped.data is not None:
            self.keep(context, taped.head, taped.data, is_stream=True)


class Taped(HeardExchange):
    """An exchange that remembers the stream that goes out over it."""

    def __init__(self, exchange: Exchange, most: int) -> None:
        super().__init__(exchange)
        self._room = most
        self._pieces: list[bytes] = []
        self.head: Headers = []

    @property
    def data(self) -> bytes | None:
        """None where it was longer than what may be kept."""
        return b"".join(self._pieces) if self._room >= 0 else None

    def hear(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room >= 0:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def start(self, status: int, headers: Headers) -> None:
        self.head = headers
        super().start(status, headers)


def directives(context: RequestContext) -> frozenset[str]:
    """Of the caller's Cache-Control, in lower case."""
    said = context.headers.get("cache-control", "")
    return frozenset(part.strip().lower() for part in said.split(",")) if said else frozenset()


def is_on(context: RequestContext) -> bool:
    """Whether an answer to this caller may be kept at all; its model may forbid it later."""
    key = context.caller.key
    if key is not None and key.cache_ttl_s is not None:
        return bool(key.cache_ttl_s)
    return context.state.has_cache


def ttl_of(context: RequestContext) -> float:
    """How long the answer that was given now is kept: the key's own time, else the model's, else the server's; 0 forbids it."""
    key, candidate = context.caller.key, context.candidate
    of_key = key.cache_ttl_s if key is not None else None
    of_model = candidate.model.cache_ttl_s if candidate is not None and candidate.model is not None else None
    if of_model == 0:
        return 0.0
    found = of_key if of_key is not None else of_model if of_model is not None else context.state.config.server.cache_ttl_s
    return float(found)


def may_keep(context: RequestContext) -> bool:
    """Whether nothing depends on the answer but its text."""
    talk = context.conversation
    if context.large is not None or (talk is not None and (talk.keeps or talk.builds)):
        return False
    return not any(context.fields.get(name) for name in ACTING_FIELDS)


def key_of(context: RequestContext) -> bytes:
    """What the same request has in common, as a digest."""
    call, key, table = context.call, context.caller.key, context.state.table
    terms: Any = None
    if key is not None:
        terms = repr((key.allowed_models, key.allowed_groups, key.allowed_providers, key.allowed_tags, key.parameter_limits))
    query = sorted(pair for pair in context.query.items() if pair[0] not in OWN_QUERY)
    labels = context.state.config.server.labels_header
    headers = sorted(pair for pair in context.headers.items() if pair[0] != labels and is_steering(pair[0]))
    asked = context.record.asked
    name = asked if context.is_query else served_name(table, asked.removeprefix("models/"))
    parts = [context.caller.key_id, terms, call.kind, call.protocol, call.action, call.array, call.stream, name, call.model,
             query, headers, context.fields]  # fmt: skip
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def is_steering(name: str) -> bool:
    """Whether a header may change an answer: the protocols' own, and what groups select by."""
    if name in STEERING:
        return True
    return name.startswith(CUSTOM) and name not in PASSING and not name.startswith(PASSING_STARTS)
