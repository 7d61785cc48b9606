"""Rate limits as token buckets, concurrency limits as slots with a bounded queue. Pure: state and `now` in, state out.

    take(None, Rate(2, 0.5), 1, now=0.0)     -> (Bucket(level=1.0, at=0.0), 0.0)    two at once, one more every 2 s
    take(bucket, rate, 1, now)               -> (Bucket(level=-1.0, ...), 2.0)      ours in 2 s: a reservation

`Limiter` is the interface that decisions use; `limiter/` has the implementations, `commands/serve` chooses one.

    limiter.forecast([("model:p/m", limit)], tokens, now)        -> Forecast; reads local state, changes nothing
    permit = await limiter.acquire([("model:p/m", limit)], tokens)   waits as long as the limit allows; RateLimited
    await permit.settle(640)                                     replaces the estimate by the true number of tokens
    await permit.release()                                       always, whatever happened

An empty bucket refuses with Retry-After, or makes the request wait, for `wait_s` at most.
A reservation is taken from the bucket when it is made, so that waiting requests are served in order and on time.
State is kept by name: after a reload every bucket has the level it had before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ..errors import RateLimited

BUSY_RETRY_S = 1.0  # Retry-After where it is unknown when a slot becomes free
MINUTE_S = 60.0
CONCURRENT = "concurrent requests"


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits of one model, provider or key; None = unlimited."""

    max_requests: int | None = None
    per_seconds: float = MINUTE_S
    burst_size: int | None = None
    tokens_per_minute: int | None = None
    wait_s: float = 0.0
    max_concurrent: int | None = None
    queue: int = 0


Scope = tuple[str, Limit]  # ("model:openai/gpt-4.1", Limit(...)): what the limit belongs to, and the limit


@dataclass(frozen=True, slots=True)
class Rate:
    """One bucket's capacity and refill rate."""

    capacity: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Its level at a time; below zero when coming tokens are already reserved."""

    level: float
    at: float


def request_rate(limit: Limit) -> Rate | None:
    if limit.max_requests is None:
        return None
    return Rate(float(limit.burst_size or limit.max_requests), limit.max_requests / limit.per_seconds)


def token_rate(limit: Limit) -> Rate | None:
    per_minute = limit.tokens_per_minute
    return None if per_minute is None else Rate(float(per_minute), per_minute / MINUTE_S)


def level_of(bucket: Bucket | None, rate: Rate, now: float) -> float:
    """Its level now; an unknown bucket is full, and a level above a smaller new capacity is cut to it."""
    if bucket is None:
        return rate.capacity
    return min(rate.capacity, bucket.level + max(0.0, now - bucket.at) * rate.per_s)


def wait_for(bucket: Bucket | None, rate: Rate, amount: float, now: float) -> float:
    """Seconds until `amount` may be taken. A larger amount than fits passes when the bucket is full, as a debt."""
    missing = min(amount, rate.capacity) - level_of(bucket, rate, now)
    return missing / rate.per_s if missing > 1e-9 else 0.0


def take(bucket: Bucket | None, rate: Rate, amount: float, now: float) -> tuple[Bucket, float]:
    """The bucket without `amount`, and the seconds to wait before using it."""
    return Bucket(level_of(bucket, rate, now) - amount, now), wait_for(bucket, rate, amount, now)


def give_back(bucket: Bucket, rate: Rate, amount: float, now: float) -> Bucket:
    """The bucket with `amount` more. `rate` is that of its taking: what a larger one has brought since then stays."""
    level = max(bucket.level, level_of(bucket, rate, now))
    return Bucket(min(max(rate.capacity, level), level + amount), now)


@dataclass(frozen=True, slots=True)
class Level:
    """What is left of one limit: Level("requests", 60, 59, 1.0), full again after `reset_s`."""

    what: str  # requests, tokens
    limit: int
    remaining: int
    reset_s: float


def level_in(what: str, bucket: Bucket | None, rate: Rate, now: float) -> Level:
    level = level_of(bucket, rate, now)
    return Level(what, int(rate.capacity), max(0, int(level + 1e-9)), max(0.0, rate.capacity - level) / rate.per_s)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outcome that an acquire would have now."""

    state: str = "go"  # go, wait (wait_s allows it), queue (for a slot), refuse
    wait_s: float = 0.0  # until it can proceed; of a refusal, until a retry can
    why: str = ""  # "model:openai/gpt-4.1: 10 requests in 60 s"


GO = Forecast()


Tokens = Callable[[], float]  # the estimate of a request; called when a limit counts tokens
Idle = Callable[[], AbstractContextManager[object]]  # what is done while a request waits: signs of life on a stream


class NoSlot(RateLimited):
    """No slot became free in the time that the limit allows. `retry_after_s` is that time."""


class Permit(Protocol):
    """What one request holds: slots until it is released, and its share of the buckets."""

    async def settle(self, tokens: float) -> None:
        """Puts the true number of tokens in the place of the estimate."""

    async def release(self) -> None:
        """Gives back the slots. A second time does no harm."""


class Limiter(Protocol):
    """Every bucket and every slot, by name."""

    def forecast(self, scopes: Sequence[Scope], tokens: Tokens, now: float) -> Forecast:
        """The outcome of `acquire` as far as is known locally; changes nothing."""

    def levels(self, scope: Scope) -> Sequence[Level]:
        """What is left of a scope's limits, as far as is known locally; () where the buckets are elsewhere."""

    async def acquire(self, scopes: Sequence[Scope], tokens: Tokens, idle: Idle) -> Permit:
        """A permit, after a wait where the limits allow one. RateLimited, or NoSlot after a wait in vain."""


def unlimited(scopes: Sequence[Scope], tokens: Tokens, now: float) -> Forecast:
    """The forecast where nothing is limited."""
    return GO


def dues(limit: Limit, tokens: Callable[[], float]) -> list[tuple[str, Rate, float]]:
    """The amounts that one request takes from the buckets of a limit: [("requests", rate, 1), ("tokens", rate, 120)]."""
    found = []
    rate = request_rate(limit)
    if rate is not None:
        found.append(("requests", rate, 1.0))
    rate = token_rate(limit)
    if rate is not None:
        found.append(("tokens", rate, float(tokens())))
    return found


def limit_text(limit: Limit, what: str) -> str:
    if what == "tokens":
        return f"{limit.tokens_per_minute} tokens a minute"
    return f"{limit.max_requests} request{'s' * (limit.max_requests != 1)} in {limit.per_seconds:g} s"


def refusal(forecast: Forecast) -> RateLimited:
    """The error for a caller: which limit was reached, and Retry-After in whole seconds."""
    after_s = float(max(1, math.ceil(forecast.wait_s)))
    scope, _, limit = forecast.why.partition(": ")
    kind, _, name = scope.partition(":")
    what = "concurrency" if limit.endswith(CONCURRENT) else "rate"
    owner = "this key" if kind == "key" else f"{kind} {name}".strip()
    return RateLimited(f"{what} limit reached for {owner}: {limit}; retry in {after_s:.0f} s", retry_after_s=after_s)
