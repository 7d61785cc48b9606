"""Limits and budgets that one process keeps for several on the same machine: the home's side and the workers'.

    desk = Holdings(LocalLimiter(...), LocalBudgets(), wall=time.time)      in the home, one for each worker's link
    link.handlers |= desk.handlers()
    await desk.end()                          the worker is gone: slots are free, and what it had on hold counts as spent

    RemoteLimiter(link), RemoteBudgets(link)  in a worker: see `policy.rate_limits.Limiter` and `policy.budgets.Budgets`

Messages of a worker, `number` being one that it counts up itself, so that it can give back what it never heard of:

    call  acquire(number, scopes, tokens)    -> ["granted", [[name, levels], ...]], or ["refused", wait_s, why]; waits in the
                                                home as the limit allows
    send  settle(number, tokens)             send  release(number)
    call  hold(number, key, budget, usd, tokens)       -> the key's ledger; NoCredit
    send  settle_hold(number, usd, tokens)   send  release_hold(number)      send  spend(key, usd, tokens)

Of the home, several times a second: send budgets({key: ledger}) of the keys whose ledgers changed. A ledger is
[[the day's name, usd, tokens, usd on hold, tokens on hold], [the month's ...]].

A worker decides by what it last heard how much a call may cost, and the home, which hears of all of them, whether it may: a
request for which several workers saw room is refused by the home. A limit that refused is not asked about again for 100 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import astuple, dataclass
from itertools import count
from typing import Any

from ..errors import RateLimited
from ..net.link import CALL_S, Handler, Link
from ..policy.budgets import Amount, Budget, Hold, Remaining, Spent
from ..policy.rate_limits import (
    GO,
    Forecast,
    Idle,
    Level,
    Limit,
    Limiter,
    NoSlot,
    Permit,
    Scope,
    Tokens,
    limit_text,
    refusal,
)
from .budgets import LocalBudgets
from .local import FREE, FreePermit

REFUSED_S = 0.1  # for so long a refusal stands without another question
REFUSED, GRANTED = "refused", "granted"
SHOWN = "key:"  # scopes whose levels callers are sent
MAX_REFUSALS = 10_000  # names whose refusals are remembered

Ledger = Sequence[Sequence[Any]]


def packed_levels(levels: Sequence[Level]) -> list[list[Any]]:
    return [[each.what, each.limit, each.remaining, each.reset_s] for each in levels]


def packed_scopes(scopes: Sequence[Scope]) -> list[Any]:
    return [[name, *astuple(limit)] for name, limit in scopes]


def unpacked_scopes(values: Sequence[Sequence[Any]]) -> list[Scope]:
    return [(name, Limit(*fields)) for name, *fields in values]


def ledger_of(books: LocalBudgets, key_id: str, now: float) -> list[list[Any]]:
    return [[each.starts, each.usd, each.tokens, each.held_usd, each.held_tokens] for each in books.periods(key_id, now)]


def take_ledger(books: LocalBudgets, key_id: str, ledger: Ledger, now: float) -> None:
    """Puts another process's ledger in the place of ours, for the periods that we are in."""
    for period, (starts, usd, tokens, held_usd, held_tokens) in zip(books.periods(key_id, now), ledger, strict=True):
        if period.starts == starts:
            period.usd, period.tokens, period.held_usd, period.held_tokens = usd, tokens, held_usd, held_tokens


# ---------------------------------------------------------------------------------------------------------- the home's


class Holdings:
    """What one worker has of the limits and budgets."""

    def __init__(
        self, limiter: Limiter, budgets: LocalBudgets, *, wall: Callable[[], float], changed: set[str] | None = None
    ) -> None:  # fmt: skip
        """`changed` gets the keys whose ledgers changed."""
        self._limiter, self._budgets, self._wall = limiter, budgets, wall
        self._changed = set() if changed is None else changed
        self._permits: dict[int, Permit] = {}
        self._holds: dict[int, tuple[str, Hold]] = {}
        self._is_over = False

    def handlers(self) -> dict[str, Handler]:
        return {
            "acquire": self.acquire, "settle": self.settle, "release": self.release, "hold": self.hold,
            "settle_hold": self.settle_hold, "release_hold": self.release_hold, "spend": self.spend,
        }  # fmt: skip

    async def acquire(self, number: int, scopes: Sequence[Sequence[Any]], tokens: float) -> list[Any]:
        wanted = unpacked_scopes(scopes)
        forecast = self._limiter.forecast(wanted, lambda: tokens, asyncio.get_running_loop().time())
        try:
            permit = await self._limiter.acquire(wanted, lambda: tokens, nullcontext)
        except NoSlot:
            raise
        except RateLimited as error:
            return [REFUSED, error.retry_after_s or forecast.wait_s, forecast.why or why_of(wanted)]
        if self._is_over:
            await permit.release()
        else:
            self._permits[number] = permit
        return [GRANTED, [(name, packed_levels(self._limiter.levels((name, limit)))) for name, limit in wanted
                          if name.startswith(SHOWN)]]  # fmt: skip

    async def settle(self, number: int, tokens: float) -> None:
        permit = self._permits.get(number)
        if permit is not None:
            await permit.settle(tokens)

    async def release(self, number: int) -> None:
        permit = self._permits.pop(number, None)
        if permit is not None:
            await permit.release()

    async def hold(self, number: int, key_id: str, budget: Sequence[Any], usd: float, tokens: float) -> list[list[Any]]:
        now = self._wall()
        self._holds[number] = key_id, await self._budgets.hold(key_id, Budget(*budget), Amount(usd, tokens), now)
        self._changed.add(key_id)
        return ledger_of(self._budgets, key_id, now)

    async def settle_hold(self, number: int, usd: float, tokens: float) -> None:
        key_id, hold = self._holds.pop(number, ("", None))
        if hold is not None:
            await hold.settle(Amount(usd, tokens))
            self._changed.add(key_id)

    async def release_hold(self, number: int) -> None:
        key_id, hold = self._holds.pop(number, ("", None))
        if hold is not None:
            await hold.release()
            self._changed.add(key_id)

    async def spend(self, key_id: str, usd: float, tokens: float) -> None:
        await self._budgets.spend(key_id, Amount(usd, tokens), self._wall())
        self._changed.add(key_id)

    async def end(self) -> int:
        """The worker is gone. The calls that it had under way may have cost all that was on hold for them: their number."""
        self._is_over = True
        permits, self._permits = self._permits, {}
        holds, self._holds = self._holds, {}
        for permit in permits.values():
            await permit.release()
        for key_id, hold in holds.values():
            await hold.settle(hold.amount)
            self._changed.add(key_id)
        return len(holds)


def why_of(scopes: Sequence[Scope]) -> str:
    """A refusal's reason where the limit had room a moment ago."""
    name, limit = scopes[0]
    return f"{name}: {limit_text(limit, 'requests' if limit.max_requests is not None else 'tokens')}"


# ---------------------------------------------------------------------------------------------------------- a worker's


class RemotePermit:
    """A permit that the home has for this process."""

    __slots__ = ("_is_open", "_link", "_number")

    def __init__(self, link: Link, number: int) -> None:
        self._link, self._number, self._is_open = link, number, True

    async def settle(self, tokens: float) -> None:
        if self._is_open:
            self._link.send("settle", self._number, tokens)

    async def release(self) -> None:
        if self._is_open:
            self._is_open = False
            self._link.send("release", self._number)


class RemoteLimiter:
    """`policy.rate_limits.Limiter`, kept by the home."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link, self._clock = link, clock
        self._numbers = count(1)
        self._levels: dict[str, Sequence[Level]] = {}
        self._refused: dict[tuple[str, ...], tuple[float, Forecast]] = {}  # names -> (until, why)

    def levels(self, scope: Scope) -> Sequence[Level]:
        """As they were when the home last granted something."""
        return self._levels.get(scope[0], ())

    def forecast(self, scopes: Sequence[Scope], tokens: Tokens, now: float) -> Forecast:
        """A refusal that is not over; nothing else is known here."""
        if not self._refused:
            return GO
        until, forecast = self._refused.get(tuple(name for name, _ in scopes), (0.0, GO))
        return forecast if self._clock() < until else GO

    async def acquire(self, scopes: Sequence[Scope], tokens: Tokens, idle: Idle = nullcontext) -> RemotePermit | FreePermit:
        if not scopes:
            return FREE
        known = self.forecast(scopes, tokens, 0.0)
        if known.state == "refuse":
            raise refusal(known)
        number = next(self._numbers)
        estimate = tokens() if any(limit.tokens_per_minute is not None for _, limit in scopes) else 0.0
        longest_s = CALL_S + 2 * sum(limit.wait_s for _, limit in scopes)
        try:
            with idle():
                reply = await self._link.call("acquire", number, packed_scopes(scopes), estimate, limit_s=longest_s)
        except BaseException:
            self._link.send("release", number)  # it may have been granted in the meantime
            raise
        if reply[0] == REFUSED:
            raise refusal(self._remember(scopes, Forecast("refuse", reply[1], reply[2])))
        if len(self._levels) >= MAX_REFUSALS:
            self._levels.clear()
        self._levels.update((name, [Level(*each) for each in levels]) for name, levels in reply[1])
        return RemotePermit(self._link, number)

    def _remember(self, scopes: Sequence[Scope], forecast: Forecast) -> Forecast:
        if len(self._refused) >= MAX_REFUSALS:
            self._refused.clear()
        self._refused[tuple(name for name, _ in scopes)] = self._clock() + min(REFUSED_S, forecast.wait_s), forecast
        return forecast


@dataclass(slots=True)
class RemoteHold:
    """An amount that the home holds for a call of this process."""

    link: Link
    number: int
    amount: Amount
    is_open: bool = True

    async def settle(self, spent: Amount) -> None:
        if self.is_open:
            self.is_open = False
            self.link.send("settle_hold", self.number, spent.usd, spent.tokens)

    async def release(self) -> None:
        if self.is_open:
            self.is_open = False
            self.link.send("release_hold", self.number)


class RemoteBudgets:
    """`policy.budgets.Budgets`, kept by the home. `left` and `spent` are as of the last message."""

    def __init__(self, link: Link, wall: Callable[[], float]) -> None:
        self._link, self._wall = link, wall
        self._numbers = count(1)
        self._mirror = LocalBudgets()

    def take(self, ledgers: Mapping[str, Ledger]) -> None:
        now = self._wall()
        for key_id, ledger in ledgers.items():
            with suppress(ValueError, TypeError):  # a ledger of another build
                take_ledger(self._mirror, key_id, ledger, now)

    def left(self, key_id: str, budget: Budget, now: float) -> Remaining:
        return self._mirror.left(key_id, budget, now)

    def spent(self, key_id: str, now: float) -> dict[str, float | int]:
        return self._mirror.spent(key_id, now)

    async def hold(self, key_id: str, budget: Budget, amount: Amount, now: float) -> RemoteHold:
        number = next(self._numbers)
        try:
            ledger = await self._link.call("hold", number, key_id, astuple(budget), amount.usd, amount.tokens)
        except BaseException:
            self._link.send("release_hold", number)  # it may have been granted in the meantime
            raise
        self.take({key_id: ledger})
        return RemoteHold(self._link, number, amount)

    async def spend(self, key_id: str, amount: Amount, now: float) -> None:
        self._link.send("spend", key_id, amount.usd, amount.tokens)

    def load(self, rows: Iterable[Spent], now: float) -> None:
        """The home has loaded them."""

    def forget(self, key_id: str) -> None:
        self._mirror.forget(key_id)
