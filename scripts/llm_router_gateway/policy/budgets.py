"""Budgets of keys by UTC day and calendar month, in US dollars and tokens. Pure: `now` is Unix seconds.

    affordable_output(Remaining(tokens=1000), 300, 4096, None)   -> 700: the output tokens that still fit

`Budgets` is the interface that decisions use; `limiter/` has the implementations, `commands/serve` chooses one.

    budgets.left("key_1", Budget(usd_per_day=5.0), now)                      -> Remaining(usd=5.0, ...), reserving nothing
    hold = await budgets.hold("key_1", budget, Amount(0.02, 900), now)       before the call; NoCredit
    await hold.settle(Amount(0.013, 640))          after the call; `await hold.release()` where nothing was spent

A hold belongs to the day and month that its call began in, as its row in the call log does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Protocol

from ..errors import NoCredit

DAY_S = 86_400
SPANS = ("day", "month")
MIN_OUTPUT = 256  # tokens: with room for less than this (and less than was requested) a call is not worth making


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a key may spend; None = unlimited."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None

    @property
    def in_usd(self) -> bool:
        return self.usd_per_day is not None or self.usd_per_month is not None


@dataclass(frozen=True, slots=True)
class Reset:
    """What a key had spent on a day and in its month when its spending was set to nothing, at that time (Unix seconds)."""

    at: float
    usd_day: float = 0.0
    usd_month: float = 0.0
    tokens_day: float = 0.0
    tokens_month: float = 0.0


@dataclass(frozen=True, slots=True)
class Amount:
    usd: float = 0.0
    tokens: float = 0.0


Spent = tuple[str, str, float, float]  # ("key_1", "day" or "month", usd, tokens)


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a key may still spend, and the limit that decides it."""

    usd: float = math.inf
    tokens: float = math.inf
    why: str = ""  # "5 USD a day"
    again_at: float = 0.0  # when that limit resets
    is_held: bool = False  # part of it is on hold for calls under way


def is_since(reset: Reset, span: str, now: float) -> bool:
    """Whether the day or the month of a reset is still going on."""
    length = len("2026-11-29") if span == "day" else len("2026-11")
    return day_of(reset.at)[:length] == day_of(now)[:length]


def raise_by_reset(budget: Budget, reset: Reset | None, now: float) -> Budget:
    """The budget that ledgers are held against, which know of no reset: with what was spent before it on top.

    raise_by_reset(Budget(usd_per_day=5), Reset(now, usd_day=4), now) -> Budget(usd_per_day=9); on the next day 5
    """
    if reset is None:
        return budget
    return raise_amounts(budget, reset, is_since(reset, "day", now), is_since(reset, "month", now))


@lru_cache(maxsize=4_096)
def raise_amounts(budget: Budget, reset: Reset, of_day: bool, of_month: bool) -> Budget:
    """The same object for the same budget: what is leased against it is known by it."""
    values = {}
    for span, counts in (("day", of_day), ("month", of_month)):
        for unit in ("usd", "tokens"):
            limit, more = getattr(budget, f"{unit}_per_{span}"), getattr(reset, f"{unit}_{span}") if counts else 0
            values[f"{unit}_per_{span}"] = None if limit is None else limit + more
    return Budget(**values)


def since_reset(spent: Mapping[str, float | int], reset: Reset | None, now: float) -> dict[str, float | int]:
    """What of a key's spending counts: {"usd_day": 5.0, ...} -> {"usd_day": 1.0, ...}"""
    counted = dict(spent)
    for span in SPANS if reset is not None else ():
        for name in (f"usd_{span}", f"tokens_{span}") if is_since(reset, span, now) else ():  # type: ignore[arg-type]
            left = max(0.0, counted[name] - getattr(reset, name))
            counted[name] = round(left) if name.startswith("tokens") else round(left, 9)
    return counted


LIMITS = ("usd_per_day", "usd_per_month", "tokens_per_day", "tokens_per_month")


def amounts_of(spent: Mapping[str, float | int]) -> dict[str, float]:
    """What a key has spent, by LIMITS: {"usd_day": 4.0, ...} -> {"usd_per_day": 4.0, ...}"""
    return {f"{unit}_per_{span}": float(spent[f"{unit}_{span}"]) for unit in ("usd", "tokens") for span in SPANS}


class Crossing(NamedTuple):
    """A part of a limit that is used up now and was not before."""

    limit: str  # one of LIMITS
    most: float
    share: float
    spent: float


def crossings(
    budget: Budget | None, before: Mapping[str, float], after: Mapping[str, float], shares: Sequence[float]
) -> list[Crossing]:
    """Those of each limit; of several parts that were passed at once the largest.

    crossings(Budget(usd_per_day=5), {"usd_per_day": 3.9, ...}, {"usd_per_day": 4.1, ...}, (0.8, 1.0))
        -> [Crossing("usd_per_day", 5, 0.8, 4.1)]
    """
    found = []
    for name in LIMITS if budget is not None else ():
        most = getattr(budget, name)
        passed = [share for share in shares if most and before[name] < share * most <= after[name]]
        if passed:
            found.append(Crossing(name, most, max(passed), after[name]))
    return found


def day_of(now: float) -> str:
    """day_of(0) -> "1970-01-01" """
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def next_start(span: str, now: float) -> float:
    """When the next day or month begins, in UTC."""
    if span == "day":
        return (now // DAY_S + 1) * DAY_S
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1).timestamp()


def utc_text(at: float) -> str:
    """utc_text(0) -> "1970-01-01T00:00:00Z" """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Hold(Protocol):
    """The most that one call may cost, counted as spent until `settle` or `release`, whichever comes first."""

    @property
    def amount(self) -> Amount: ...

    async def settle(self, spent: Amount) -> None:
        """Books the actual cost."""

    async def release(self) -> None:
        """Frees the hold: nothing was spent."""


class Budgets(Protocol):
    """Every key's day and month, by the key's id."""

    def left(self, key_id: str, budget: Budget, now: float) -> Remaining:
        """What is left as far as is known locally; reserves nothing."""

    def spent(self, key_id: str, now: float) -> dict[str, float | int]:
        """{"usd_day": ..., "usd_month": ..., "tokens_day": ..., "tokens_month": ...}, without what is on hold."""

    async def hold(self, key_id: str, budget: Budget, amount: Amount, now: float) -> Hold:
        """Reserves an amount before a call; NoCredit where there is no room for it."""

    async def spend(self, key_id: str, amount: Amount, now: float) -> None:
        """Books a call without a hold."""

    def load(self, rows: Iterable[Spent], now: float) -> None:
        """What was spent before this start, or elsewhere; instead of what was known of it."""

    def forget(self, key_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for one token."""

    input: float
    output: float


def affordable_output(left: Remaining, input_tokens: float, wanted: float, price: Price | None) -> float:
    """How many output tokens still fit, at most `wanted`; below zero when not even the input fits.

    affordable_output(Remaining(tokens=1000), 300, 4096, None) -> 700
    """
    room = min(wanted, left.tokens - input_tokens)
    if left.usd == math.inf or price is None:
        return room
    spare = left.usd - input_tokens * price.input
    if spare < 0:
        return -1.0
    return min(room, spare / price.output) if price.output else room


def is_enough(room: float, wanted: float) -> bool:
    return room >= min(wanted, MIN_OUTPUT)


def budget_exhausted(left: Remaining, now: float) -> NoCredit:
    """The refusal, with the time at which the limit resets."""
    again = utc_text(left.again_at)
    held = ", part of it on hold for calls in progress" if left.is_held else ""
    return NoCredit(
        f"the budget of this key, {left.why}, has no room for this call{held}; it resets at {again}",
        code="budget_used_up", retry_after_s=1.0 if left.is_held else math.ceil(left.again_at - now),
        details={"resets_at": again},
    )  # fmt: skip


def no_price(name: str) -> NoCredit:
    return NoCredit(
        f"{name} has no price, and this key's budget is in US dollars: set input_usd_per_mtok and output_usd_per_mtok of the "
        "model (0 where it is free), or give the key a budget in tokens", code="no_price",
    )  # fmt: skip
