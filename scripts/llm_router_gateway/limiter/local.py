"""The limits of one process: buckets and slots in its own memory.

    limiter = LocalLimiter(time.monotonic)
    permit = await limiter.acquire([("model:p/m", limit)], tokens=lambda: 120)
    await permit.settle(140)
    await permit.release()

An acquire that need not wait never yields to the event loop. `Meters` is the state and its arithmetic, without a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from ..policy.rate_limits import (
    BUSY_RETRY_S,
    CONCURRENT,
    GO,
    Bucket,
    Forecast,
    Idle,
    Level,
    NoSlot,
    Rate,
    Scope,
    Tokens,
    dues,
    give_back,
    level_in,
    limit_text,
    refusal,
    take,
    wait_for,
)


@dataclass(slots=True)
class Gauge:
    """The slots of one scope."""

    active: int = 0
    waiting: list[Permit] = field(default_factory=list)


class Permit:
    """One request's slots, held until it ends, and its reservations in the buckets."""

    __slots__ = ("_debts", "_meters", "_on_slot", "_slots", "queue_wait_s", "queued", "starts_at", "wait_s")

    def __init__(self, meters: Meters, slots: list[tuple[str, int]], debts: list[tuple[str, Rate, float]]) -> None:
        self._meters, self._slots, self._debts = meters, slots, debts
        self._on_slot: Callable[[], None] | None = None
        self.queued = False
        self.wait_s = self.queue_wait_s = self.starts_at = 0.0

    def on_slot(self, callback: Callable[[], None]) -> None:
        """Calls it once when the slot is granted; immediately when it already is."""
        if not self.queued:
            callback()
        else:
            self._on_slot = callback

    def grant(self) -> None:
        callback, self._on_slot, self.queued = self._on_slot, None, False
        if callback is not None:
            callback()

    def settle(self, now: float, tokens: float) -> None:
        """Replaces the estimate by the true number of tokens."""
        self._meters.settle(self._debts, tokens, now)

    def end(self, now: float) -> None:
        """Frees the slots, and refunds reservations that were never used. A second call does nothing."""
        unused = self.queued or now < self.starts_at
        self._meters.release(self, self._slots, now)
        if unused:
            self._meters.refund(self._debts, now)
        self._slots, self._debts, self._on_slot, self.queued = [], [], None, False


class Meters:
    """Every bucket and gauge, by name. No clock: each call passes the time."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.gauges: dict[str, Gauge] = {}

    def forecast(self, scopes: Sequence[Scope], tokens: Tokens, now: float) -> Forecast:
        """What `take` would do; changes nothing."""
        worst = GO
        for name, limit in scopes:
            for what, rate, amount in dues(limit, tokens):
                wait_s = wait_for(self.buckets.get(f"{name} {what}"), rate, amount, now)
                if wait_s > worst.wait_s:
                    state = "wait" if wait_s <= limit.wait_s and worst.state != "refuse" else "refuse"
                    worst = Forecast(state, wait_s, f"{name}: {limit_text(limit, what)}")
                elif wait_s > limit.wait_s:
                    worst = Forecast("refuse", worst.wait_s, worst.why)
        return worst if worst.state == "refuse" else self._slot_forecast(scopes, worst)

    def levels(self, scope: Scope, now: float) -> list[Level]:
        name, limit = scope
        return [level_in(what, self.buckets.get(f"{name} {what}"), rate, now) for what, rate, _ in dues(limit, lambda: 0.0)]

    def _slot_forecast(self, scopes: Sequence[Scope], so_far: Forecast) -> Forecast:
        for name, limit in scopes:
            gauge = self.gauges.get(name)
            if limit.max_concurrent is None or gauge is None or gauge.active < limit.max_concurrent:
                continue
            why = f"{name}: {limit.max_concurrent} {CONCURRENT}"
            if len(gauge.waiting) >= limit.queue or limit.wait_s <= 0:
                return Forecast("refuse", max(BUSY_RETRY_S, so_far.wait_s), why)
            so_far = Forecast("queue", so_far.wait_s, why)
        return so_far

    def take(self, scopes: Sequence[Scope], tokens: Tokens, now: float) -> Permit:
        """The permit, which may have to wait; RateLimited when a limit is reached."""
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
            self.buckets[name], _ = take(self.buckets.get(name), rate, amount, now)
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
        """Frees the slots and grants them to the permits that have waited longest."""
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
        permit.grant()

    def settle(self, debts: Sequence[tuple[str, Rate, float]], tokens: float, now: float) -> None:
        for name, rate, amount in debts:
            if name.endswith(" tokens"):
                self.buckets[name] = give_back(self.buckets[name], rate, amount - tokens, now)

    def refund(self, debts: Sequence[tuple[str, Rate, float]], now: float) -> None:
        for name, rate, amount in debts:
            self.buckets[name] = give_back(self.buckets[name], rate, amount, now)


class HeldPermit:
    """A permit of this process."""

    __slots__ = ("_clock", "_permit")

    def __init__(self, permit: Permit, clock: Callable[[], float]) -> None:
        self._permit, self._clock = permit, clock

    async def settle(self, tokens: float) -> None:
        self._permit.settle(self._clock(), tokens)

    async def release(self) -> None:
        self._permit.end(self._clock())


class FreePermit:
    """The permit of a request without limits."""

    async def settle(self, tokens: float) -> None:
        pass

    async def release(self) -> None:
        pass


FREE = FreePermit()


class LocalLimiter:
    """`policy.rate_limits.Limiter`, for one process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.meters, self._clock = Meters(), clock

    def forecast(self, scopes: Sequence[Scope], tokens: Tokens, now: float) -> Forecast:
        return self.meters.forecast(scopes, tokens, now)

    def levels(self, scope: Scope) -> Sequence[Level]:
        return self.meters.levels(scope, self._clock())

    async def acquire(self, scopes: Sequence[Scope], tokens: Tokens, idle: Idle = nullcontext) -> HeldPermit | FreePermit:
        if not scopes:
            return FREE
        permit = self.meters.take(scopes, tokens, self._clock())
        if permit.wait_s > 0 or permit.queued:
            try:
                await wait_turn(permit, idle)
            except BaseException:
                permit.end(self._clock())
                raise
        return HeldPermit(permit, self._clock)


async def wait_turn(permit: Permit, idle: Idle) -> None:
    """Waits for the bucket, then for a slot; NoSlot when none became free in time."""
    if permit.wait_s > 0:
        with idle():
            await asyncio.sleep(permit.wait_s)
    if not permit.queued:
        return
    slot = asyncio.get_running_loop().create_future()
    permit.on_slot(lambda: None if slot.done() else slot.set_result(None))
    try:
        with idle():
            async with asyncio.timeout(permit.queue_wait_s):
                await slot
    except TimeoutError:
        raise NoSlot("no slot became free in time; try again", retry_after_s=permit.queue_wait_s) from None
