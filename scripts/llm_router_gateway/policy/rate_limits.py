"""How much may go through: token buckets, and slots with a bounded queue. Pure: state and `now` in, state out.

    taken(None, Rate(2, 0.5), 1, now=0.0)     -> (Bucket(level=1.0, at=0.0), 0.0)    two at once, one more every 2 s
    taken(bucket, rate, 1, now)               -> (Bucket(level=-1.0, ...), 2.0)      ours in 2 s: a reservation
    meters.take([("model:p/m", limit)], tokens=lambda: 120, now=now)  -> Permit, or raises RateLimited

An empty bucket is refused with the time to come back, or waited for as long as `wait_s` allows, never longer.
A reservation is taken from the bucket when it is made, so that waiting callers are served in turn and at their time.
State is kept by name: a new configuration finds its buckets as full as the old one left them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import RateLimited

BUSY_RETRY_S = 1.0  # Retry-After where nobody can know when a slot will be free
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What one model, provider or key may take; None = as much as it likes."""

    max_requests: int | None = None
    per_seconds: float = MINUTE_S
    burst_size: int | None = None
    tokens_per_minute: int | None = None
    wait_s: float = 0.0
    max_concurrent: int | None = None
    queue: int = 0


Scope = tuple[str, Limit]  # ("model:openai/gpt-4.1", Limit(...)): whose limit, and the limit


@dataclass(frozen=True, slots=True)
class Rate:
    """One bucket's size and how fast it fills."""

    capacity: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """How full it was at a time; below zero when the next ones are promised already."""

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
    """How full it is now; a bucket never seen is full, one that the new limit made smaller spills."""
    if bucket is None:
        return rate.capacity
    return min(rate.capacity, bucket.level + max(0.0, now - bucket.at) * rate.per_s)


def wait_for(bucket: Bucket | None, rate: Rate, amount: float, now: float) -> float:
    """Seconds until `amount` may be taken. More than a full bucket is let through when it is full, and owed."""
    missing = min(amount, rate.capacity) - level_of(bucket, rate, now)
    return missing / rate.per_s if missing > 1e-9 else 0.0


def taken(bucket: Bucket | None, rate: Rate, amount: float, now: float) -> tuple[Bucket, float]:
    """The bucket without `amount`, and the seconds to wait before using it."""
    return Bucket(level_of(bucket, rate, now) - amount, now), wait_for(bucket, rate, amount, now)


def given_back(bucket: Bucket, rate: Rate, amount: float, now: float) -> Bucket:
    return Bucket(min(rate.capacity, level_of(bucket, rate, now) + amount), now)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What asking now would come to."""

    state: str = "go"      # go, wait (wait_s allows it), queue (for a slot), refuse
    wait_s: float = 0.0    # until it would go; of a refusal, when to come back
    why: str = ""          # "model:openai/gpt-4.1: 10 requests in 60 s"


GO = Forecast()


@dataclass(slots=True)
class Gauge:
    """The slots of one scope."""

    active: int = 0
    waiting: list[Permit] = field(default_factory=list)


class Permit:
    """What one request holds: slots until it ends, and its share of the buckets."""

    __slots__ = ("_debts", "_meters", "_on_slot", "_slots", "queue_wait_s", "queued", "starts_at", "wait_s")

    def __init__(self, meters: Meters, slots: list[tuple[str, int]], debts: list[tuple[str, Rate, float]]) -> None:
        self._meters, self._slots, self._debts = meters, slots, debts
        self._on_slot: Callable[[], None] | None = None
        self.queued = False
        self.wait_s = self.queue_wait_s = self.starts_at = 0.0

    def on_slot(self, callback: Callable[[], None]) -> None:
        """Calls it once when the slot is there; at once when it is."""
        if not self.queued:
            callback()
        else:
            self._on_slot = callback

    def granted(self) -> None:
        callback, self._on_slot, self.queued = self._on_slot, None, False
        if callback is not None:
            callback()

    def settle(self, now: float, tokens: float) -> None:
        """Puts the true number of tokens in the place of the estimate."""
        self._meters.settle(self._debts, tokens, now)

    def end(self, now: float) -> None:
        """Gives back the slots, and the reservations when their time had not come. Again: nothing."""
        unused = self.queued or now < self.starts_at
        self._meters.release(self, self._slots, now)
        if unused:
            self._meters.refund(self._debts, now)
        self._slots, self._debts, self._on_slot, self.queued = [], [], None, False


class Meters:
    """Every bucket and gauge, by name. Knows no clock: each call says when it is."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.gauges: dict[str, Gauge] = {}

    def forecast(self, scopes: Sequence[Scope], tokens: Callable[[], float], now: float) -> Forecast:
        """What `take` would do; changes nothing."""
        worst = GO
        for name, limit in scopes:
            for what, rate, amount in dues(limit, tokens):
                wait_s = wait_for(self.buckets.get(f"{name} {what}"), rate, amount, now)
                if wait_s > worst.wait_s:
                    state = "wait" if wait_s <= limit.wait_s and worst.state != "refuse" else "refuse"
                    worst = Forecast(state, wait_s, f"{name}: {said(limit, what)}")
                elif wait_s > limit.wait_s:
                    worst = Forecast("refuse", worst.wait_s, worst.why)
        return worst if worst.state == "refuse" else self._slot_forecast(scopes, worst)

    def _slot_forecast(self, scopes: Sequence[Scope], so_far: Forecast) -> Forecast:
        for name, limit in scopes:
            gauge = self.gauges.get(name)
            if limit.max_concurrent is None or gauge is None or gauge.active < limit.max_concurrent:
                continue
            why = f"{name}: {limit.max_concurrent} at once"
            if len(gauge.waiting) >= limit.queue or limit.wait_s <= 0:
                return Forecast("refuse", max(BUSY_RETRY_S, so_far.wait_s), why)
            so_far = Forecast("queue", so_far.wait_s, why)
        return so_far

    def take(self, scopes: Sequence[Scope], tokens: Callable[[], float], now: float) -> Permit:
        """The permit, perhaps to be waited for; RateLimited when the limit is reached."""
        if not scopes:
            return Permit(self, [], [])
        forecast = self.forecast(scopes, tokens, now)
        if forecast.state == "refuse":
            raise refusal(forecast)
        slots = [(name, limit.max_concurrent) for name, limit in scopes if limit.max_concurrent is not None]
        debts = [(f"{name} {what}", rate, amount)
                 for name, limit in scopes for what, rate, amount in dues(limit, tokens)]  # fmt: skip
        permit = Permit(self, slots, debts)
        for name, rate, amount in debts:
            self.buckets[name], _ = taken(self.buckets.get(name), rate, amount, now)
        permit.wait_s, permit.starts_at = forecast.wait_s, now + forecast.wait_s
        if forecast.state == "queue":
            permit.queued = True
            permit.queue_wait_s = min(limit.wait_s for _, limit in scopes if limit.max_concurrent is not None)
        for name, _ in slots:
            gauge = self.gauges.setdefault(name, Gauge())
            if permit.queued:
                gauge.waiting.append(permit)
            else:
                gauge.active += 1
        return permit

    def release(self, permit: Permit, slots: Sequence[tuple[str, int]], now: float) -> None:
        """Lets go of the slots and gives them to those who wait longest."""
        for name, _ in slots:
            gauge = self.gauges[name]
            if permit.queued:
                gauge.waiting.remove(permit)
            else:
                gauge.active -= 1
        for name, _ in () if permit.queued else slots:
            for waiter in list(self.gauges[name].waiting):
                self._grant(waiter)

    def _grant(self, permit: Permit) -> None:
        """The slots, if all of them are free."""
        if not permit.queued or any(self.gauges[name].active >= most for name, most in permit._slots):
            return
        for name, _ in permit._slots:
            self.gauges[name].waiting.remove(permit)
            self.gauges[name].active += 1
        permit.granted()

    def settle(self, debts: Sequence[tuple[str, Rate, float]], tokens: float, now: float) -> None:
        for name, rate, amount in debts:
            if name.endswith(" tokens"):
                self.buckets[name] = given_back(self.buckets[name], rate, amount - tokens, now)

    def refund(self, debts: Sequence[tuple[str, Rate, float]], now: float) -> None:
        for name, rate, amount in debts:
            self.buckets[name] = given_back(self.buckets[name], rate, amount, now)


def dues(limit: Limit, tokens: Callable[[], float]) -> list[tuple[str, Rate, float]]:
    """What one request takes from the buckets of a limit: [("requests", rate, 1), ("tokens", rate, 120)]."""
    found = []
    rate = request_rate(limit)
    if rate is not None:
        found.append(("requests", rate, 1.0))
    rate = token_rate(limit)
    if rate is not None:
        found.append(("tokens", rate, float(tokens())))
    return found


def said(limit: Limit, what: str) -> str:
    if what == "tokens":
        return f"{limit.tokens_per_minute} tokens a minute"
    return f"{limit.max_requests} requests in {limit.per_seconds:g} s"


def refusal(forecast: Forecast) -> RateLimited:
    """The error for a caller: what is used up, and when to come back (whole seconds, as Retry-After has them)."""
    after_s = float(max(1, math.ceil(forecast.wait_s)))
    return RateLimited(f"the limit of {forecast.why} is reached; come back in {after_s:.0f} s", retry_after_s=after_s)
