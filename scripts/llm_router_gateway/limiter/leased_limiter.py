"""The rate limits of several processes: `policy.rate_limits.Limiter` on buckets and slots that an engine keeps.

    limiter = LeasedLimiter(membership)
    permit = await limiter.acquire([("model:p/m", limit)], tokens=lambda: 120)     from this process's part, or one message
    await permit.settle(140)
    await permit.release()

A part that was taken in advance is valid for a second. So no window sees more than the limit and what a bucket gains in one
second more. Where the engine is away, this process goes on at 1/n of each limit, n being the last known number of processes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from ..policy.rate_limits import (
    BUSY_RETRY_S,
    CONCURRENT,
    GO,
    Forecast,
    Idle,
    Level,
    Limit,
    NoSlot,
    Rate,
    Scope,
    Tokens,
    dues,
    limit_text,
    refusal,
)
from .leases import FULL, MICRO, REFUSAL_S, REFUSED, EngineAway, RatePart, Share, SlotPart, Slots, TakeAsk, TakeReply
from .local import FREE, FreePermit, HeldPermit, LocalLimiter
from .membership import Membership

SLOTS_EVERY_S = 2.0  # how often slots in use are renewed: `lease_table.SLOT_MS` is five of these
WANTED_SLOTS = 4  # of a scope, with each message
MAX_RATE = 2**53 // MICRO  # what a double can count in millionths

Due = tuple[str, Share, Rate, int, float]  # bucket, this process's part of it, its rate, millionths, how long it may wait


def millionths(amount: float) -> int:
    return math.ceil(min(amount, MAX_RATE) * MICRO)


def divide(limit: Limit, count: int, used: int) -> Limit:
    """The limit of one process of `count`, while no engine counts what the others use.

    divide(Limit(60, 60, max_concurrent=8), 3, used=1) -> Limit(60, 180, burst_size=20, max_concurrent=1)
    """
    return replace(
        limit,
        per_seconds=limit.per_seconds * count,
        burst_size=None if limit.max_requests is None else max(1, (limit.burst_size or limit.max_requests) // count),
        tokens_per_minute=None if limit.tokens_per_minute is None else max(1, limit.tokens_per_minute // count),
        max_concurrent=None if limit.max_concurrent is None else max(0, max(1, limit.max_concurrent // count) - used),
        queue=-(-limit.queue // count),
    )


class LeasedPermit:
    """What one request holds: its slots, and what it took from buckets."""

    __slots__ = ("_dues", "_is_open", "_limiter", "_slots", "used")

    def __init__(self, limiter: LeasedLimiter, taken: Sequence[Due], slots: Sequence[str]) -> None:
        self._limiter, self._dues, self._slots = limiter, taken, slots
        self._is_open, self.used = True, False

    async def settle(self, tokens: float) -> None:
        for name, share, _, amount, _ in self._dues:
            if name.endswith(" tokens"):
                share.room += amount - millionths(tokens)

    async def release(self) -> None:
        self._free()

    def _free(self) -> None:
        if self._is_open:
            self._is_open = False
            self._limiter.free(self._slots)

    def refund(self) -> None:
        """The request left before its turn."""
        for _, share, _, amount, _ in self._dues:
            share.room += amount
        self._free()


class LeasedLimiter:
    """`policy.rate_limits.Limiter`, for one of several processes."""

    def __init__(self, membership: Membership) -> None:
        self._membership, self._engine, self._clock = membership, membership.engine, membership.clock
        self.alone = LocalLimiter(membership.clock)  # counts while the engine is away
        self._shares: dict[str, Share] = {}
        self._sizes: dict[str, tuple[Rate, float]] = {}  # of the buckets that this process has a part of
        self._slots: dict[str, Slots] = {}
        self._refused: dict[str, tuple[float, float, str]] = {}  # bucket or scope -> until when, wait, reason
        self._waiting: dict[str, list[asyncio.Event]] = {}  # requests that wait for a slot, oldest first
        self._taking: dict[str, asyncio.Task[TakeReply]] = {}  # scope -> the message about its slots that is under way
        self._tasks: set[asyncio.Task[TakeReply]] = set()
        self.messages = 0

    # -- the interface

    def levels(self, scope: Scope) -> Sequence[Level]:
        """Nothing: the buckets are shared, and what is here is a part of them."""
        return ()

    def forecast(self, scopes: Sequence[Scope], tokens: Tokens, now: float) -> Forecast:
        """The outcome as far as this process knows: refusals of the last tenth of a second, or its own counts."""
        if self._membership.presence.is_away:
            return self.alone.forecast(self._divided(scopes), tokens, now)
        worst = GO
        for name, limit in scopes:
            for key in (f"{name} requests", f"{name} tokens", name):
                until, wait_s, why = self._refused.get(key, (0.0, 0.0, ""))
                if now < until and not self._has_more(key, now):
                    state = "queue" if key == name and limit.queue and limit.wait_s > 0 else "refuse"
                    if worst.state != "refuse":
                        worst = Forecast(state, wait_s, why)
        return worst

    async def acquire(
        self, scopes: Sequence[Scope], tokens: Tokens, idle: Idle = nullcontext
    ) -> LeasedPermit | HeldPermit | FreePermit:
        if not scopes:
            return FREE
        if self._membership.presence.is_away:
            return await self.alone.acquire(self._divided(scopes), tokens, idle)
        now = self._clock()
        taken = self._dues(scopes, tokens)
        slots = []
        for name, limit in scopes:
            if limit.max_concurrent is not None:
                slots.append(name)
                self._slot(name).most = limit.max_concurrent
        if self._has_all(taken, slots, now):
            self._take_own(taken, slots, now)
            return LeasedPermit(self, taken, slots)
        try:
            return await self._take(scopes, taken, slots, idle)
        except EngineAway:
            return await self.alone.acquire(self._divided(scopes), tokens, idle)

    @property
    def slots(self) -> int:
        """Those that this process has, of all scopes."""
        return sum(slot.have for slot in self._slots.values())

    # -- this process's part

    def _dues(self, scopes: Sequence[Scope], tokens: Tokens) -> list[Due]:
        found = []
        for name, limit in scopes:
            for what, rate, amount in dues(limit, tokens):
                key = f"{name} {what}"
                share = self._shares.get(key)
                if share is None:
                    share = self._shares[key] = Share()
                self._sizes[key] = (rate, limit.wait_s)
                found.append((key, share, rate, millionths(amount), limit.wait_s))
        return found

    def _slot(self, name: str) -> Slots:
        found = self._slots.get(name)
        if found is None:
            found = self._slots[name] = Slots()
        return found

    def _has_all(self, taken: Sequence[Due], slots: Sequence[str], now: float) -> bool:
        for _, share, _, amount, _ in taken:
            if not share.has(amount, now):
                return False
        return all(self._slot(name).spare() > 0 for name in slots)

    def _has_more(self, key: str, now: float) -> bool:
        share = self._shares.get(key)
        if share is not None:
            return share.has(1, now)
        return key in self._slots and self._slots[key].spare() > 0

    def _take_own(self, taken: Sequence[Due], slots: Sequence[str], now: float) -> None:
        for _, share, _, amount, _ in taken:
            share.room -= amount
            share.used_at = now
        for name in slots:
            slot = self._slots[name]
            slot.used += 1
            slot.used_at = now

    def _divided(self, scopes: Sequence[Scope]) -> list[Scope]:
        count = self._membership.count
        return [(name, divide(limit, count, self._slots[name].used if name in self._slots else 0)) for name, limit in scopes]

    # -- the engine's

    async def _take(self, scopes: Sequence[Scope], taken: list[Due], slots: list[str], idle: Idle) -> LeasedPermit:
        """One message, and for a slot further ones while the limit lets the request wait."""
        give_up: float | None = None
        while True:
            now = self._clock()
            if self._has_all(taken, slots, now):  # by now: another's message has brought it, or a request here has ended
                self._take_own(taken, slots, now)
                return LeasedPermit(self, taken, slots)
            busy = self._under_way(slots)
            if busy is not None:
                await asyncio.shield(busy)  # EngineAway is this request's, too
                continue
            self._check_refusals(taken)
            reply = await self._ask(scopes, taken, slots)
            now = self._clock()
            if reply.status == REFUSED:
                raise self._refusal(scopes, taken, reply, now)
            if reply.status != FULL:
                permit = LeasedPermit(self, taken, slots)
                if reply.wait_us:
                    await self._wait_turn(permit, reply.wait_us / MICRO, idle)
                return permit
            name, limit = self._full(scopes, taken, reply, now)
            give_up = give_up if give_up is not None else now + limit.wait_s
            await self._wait_slot(name, limit, give_up, idle)

    def _under_way(self, slots: Sequence[str]) -> asyncio.Task[TakeReply] | None:
        """The message about one of these scopes that has no answer yet.

        A task that is done stays in `_taking` until the event loop runs its callbacks. Waiting for it would not suspend, so
        that a loop around it would keep the callbacks from ever running.
        """
        found = (self._taking[name] for name in slots if name in self._taking)
        return next((task for task in found if not task.done()), None)

    async def _ask(self, scopes: Sequence[Scope], taken: list[Due], slots: list[str]) -> TakeReply:
        now = self._clock()
        rates = tuple(
            RatePart(key, millionths(rate.capacity), max(1, millionths(rate.per_s)), amount, share.next_size(amount, now),
                     share.back(), round(wait_s * MICRO))
            for key, share, rate, amount, wait_s in taken
        )  # fmt: skip
        most = {name: limit.max_concurrent or 0 for name, limit in scopes}
        parts = tuple(self._slot_part(name, most[name], now) for name in slots)
        reserved = [part.name for part in parts if not part.need]
        task = self._send(TakeAsk(self._membership.holder, rates, parts), taken, slots, reserved)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._take_back(done, taken, slots))
            raise

    def _slot_part(self, name: str, most: int, now: float) -> SlotPart:
        """What a request needs of a scope; a slot that is spare here is reserved for it, and no other is requested."""
        slot = self._slot(name)
        if slot.spare() <= 0:
            return SlotPart(name, most, slot.have, 1, WANTED_SLOTS)
        slot.used += 1
        slot.used_at = now
        return SlotPart(name, most, slot.have, 0, 0)

    def _take_back(self, done: asyncio.Task[TakeReply], taken: Sequence[Due], slots: Sequence[str]) -> None:
        """The caller left while its message was under way: what that was granted goes back."""
        if not done.cancelled() and done.exception() is None and done.result().status not in (REFUSED, FULL):
            LeasedPermit(self, taken, slots).refund()

    def _send(
        self, ask: TakeAsk, taken: Sequence[Due], slots: Sequence[str], reserved: Sequence[str] = ()
    ) -> asyncio.Task[TakeReply]:  # fmt: skip
        """One message in a task of its own: a caller that leaves must not lose what was granted."""
        task = asyncio.ensure_future(self._exchange(ask, taken, reserved))
        self._tasks.add(task)
        for name in slots:
            self._taking[name] = task

        def end(done: asyncio.Task[TakeReply]) -> None:
            self._tasks.discard(done)
            for name in slots:
                if self._taking.get(name) is done:
                    del self._taking[name]
            if not done.cancelled():
                done.exception()

        task.add_done_callback(end)
        return task

    async def _exchange(self, ask: TakeAsk, taken: Sequence[Due], reserved: Sequence[str]) -> TakeReply:
        self.messages += 1
        sent_at = self._clock()
        is_granted = False
        try:
            reply = await self._membership.call(self._engine.take(ask))
            is_granted = reply.status not in (REFUSED, FULL)
        finally:
            for name in reserved if not is_granted else ():
                self._slots[name].used -= 1
        if not is_granted:
            return reply
        for (_, share, _, amount, _), granted in zip(taken, reply.rates, strict=False):
            share.take(granted, amount, sent_at)
        for part, granted in zip(ask.slots, reply.slots, strict=True):
            slot = self._slot(part.name)
            slot.have = part.have + granted
            slot.used += part.need
            slot.used_at = slot.sent_at = sent_at
            if part.need:  # a renewal says nothing of what others need
                slot.is_tight = granted <= part.need
        return reply

    # -- refusals

    def _check_refusals(self, taken: Sequence[Due]) -> None:
        """RateLimited where the engine has just refused the same."""
        now = self._clock()
        for name in [due[0] for due in taken]:
            until, wait_s, why = self._refused.get(name, (0.0, 0.0, ""))
            if now < until:
                raise refusal(Forecast("refuse", wait_s, why))

    def _refusal(self, scopes: Sequence[Scope], taken: Sequence[Due], reply: TakeReply, now: float) -> Exception:
        key = taken[reply.at][0]
        scope, _, what = key.rpartition(" ")
        limit = next(limit for name, limit in scopes if name == scope)
        why, wait_s = f"{scope}: {limit_text(limit, what)}", reply.wait_us / MICRO
        self._refused[key] = (now + min(REFUSAL_S, wait_s), wait_s, why)
        return refusal(Forecast("refuse", wait_s, why))

    def _full(self, scopes: Sequence[Scope], taken: Sequence[Due], reply: TakeReply, now: float) -> Scope:
        """The scope without a free slot, where the request may wait for one; RateLimited where it may not."""
        with_slots = [(name, limit) for name, limit in scopes if limit.max_concurrent is not None]
        name, limit = with_slots[reply.at - len(taken)]
        why = f"{name}: {limit.max_concurrent} {CONCURRENT}"
        self._refused[name] = (now + REFUSAL_S, BUSY_RETRY_S, why)
        share_of_queue = -(-limit.queue // self._membership.count)
        if len(self._waiting.get(name, ())) >= share_of_queue or limit.wait_s <= 0:
            raise refusal(Forecast("refuse", BUSY_RETRY_S, why))
        return name, limit

    # -- waiting

    async def _wait_turn(self, permit: LeasedPermit, wait_s: float, idle: Idle) -> None:
        try:
            with idle():
                await asyncio.sleep(wait_s)
        except BaseException:
            permit.refund()
            raise

    async def _wait_slot(self, name: str, limit: Limit, give_up: float, idle: Idle) -> None:
        """Until a slot of this process is free, or it is time for the next message; NoSlot when the limit's wait is over."""
        now = self._clock()
        if now >= give_up:
            raise NoSlot("no slot became free in time; try again", retry_after_s=limit.wait_s)
        event = asyncio.Event()
        waiting = self._waiting.setdefault(name, [])
        waiting.append(event)
        try:
            with idle():
                async with asyncio.timeout(min(REFUSAL_S, give_up - now)):
                    await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.remove(event)

    def free(self, slots: Sequence[str]) -> None:
        """A request has ended: its slots go to those that wait here, or back where others need them."""
        for name in slots:
            slot = self._slots[name]
            slot.used -= 1
            slot.used_at = self._clock()
            waiting = self._waiting.get(name)
            if waiting:
                waiting[0].set()
            elif slot.is_tight and self._under_way([name]) is None and not self._membership.presence.is_away:
                slot.shrink(slot.used_at)
                self._renew([name])

    # -- periodic work

    def _renew(self, names: Sequence[str]) -> None:
        parts = tuple(SlotPart(name, self._slots[name].most, self._slots[name].have, 0, 0) for name in names)
        self._send(TakeAsk(self._membership.holder, (), parts), (), names)

    async def report(self) -> None:
        """Renews slots, gives idle parts back."""
        now = self._clock()
        if self._membership.presence.is_away:
            return
        late = [name for name, slot in self._slots.items()
                if self._under_way([name]) is None
                and (slot.shrink(now) or (slot.have and now - slot.sent_at >= SLOTS_EVERY_S))]  # fmt: skip
        for name in late:
            self._renew([name])
        idle = [name for name, share in self._shares.items() if share.room and now - share.granted_at >= 1.0]
        rates = tuple(
            RatePart(name, millionths(self._sizes[name][0].capacity), max(1, millionths(self._sizes[name][0].per_s)), 0, 0,
                     self._shares[name].back(), 0)
            for name in idle
        )  # fmt: skip
        self._refused = {name: row for name, row in self._refused.items() if row[0] > now}
        for part in rates:
            self._send(TakeAsk(self._membership.holder, (part,), ()), (), ())
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Gives everything back."""
        for share in self._shares.values():
            share.granted_at = -math.inf
        for slot in self._slots.values():
            slot.is_tight = True
        await self.report()
