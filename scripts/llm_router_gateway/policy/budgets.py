"""What keys have spent and have on hold, by UTC day and calendar month, in US dollars and tokens. Pure: `now` is Unix seconds.

    books = Budgets()
    books.left("key_1", Budget(usd_per_day=5.0), now)   -> Left(usd=5.0, ...)
    hold = books.hold("key_1", Amount(0.02, 900), now)  before the call: counts as spent until it is settled
    hold.settle(Amount(0.013, 640))                     after it; hold.release() when there was none

A hold belongs to the day and month that its call began in, as its row in the call log does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ..errors import NoCredit

DAY_S = 86_400
SPANS = ("day", "month")
MIN_OUTPUT = 256  # tokens: with room for less than this (and than was asked for) a call is not worth making


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a key may spend; None = as much as it likes."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None

    @property
    def in_usd(self) -> bool:
        return self.usd_per_day is not None or self.usd_per_month is not None


@dataclass(frozen=True, slots=True)
class Amount:
    usd: float = 0.0
    tokens: float = 0.0


@dataclass(slots=True)
class Period:
    """One day, or one month, of one key."""

    starts: str = ""  # "2026-11-21", "2026-11"
    usd: float = 0.0
    tokens: float = 0.0
    held_usd: float = 0.0
    held_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a key may still spend, and which of its limits says so."""

    usd: float = math.inf
    tokens: float = math.inf
    why: str = ""          # "5 USD a day"
    again_at: float = 0.0  # when that limit starts anew
    is_held: bool = False  # part of it is on hold for calls under way


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


@dataclass(slots=True)
class Hold:
    """What one call may cost at most, taken from both periods until it is known. Settling twice does no harm."""

    periods: tuple[Period, ...]
    amount: Amount
    is_open: bool = True

    def settle(self, spent: Amount) -> None:
        if self.is_open:
            self.release()
            for period in self.periods:
                period.usd += spent.usd
                period.tokens += spent.tokens

    def release(self) -> None:
        if self.is_open:
            self.is_open = False
            for period in self.periods:
                period.held_usd = max(0.0, period.held_usd - self.amount.usd)
                period.held_tokens = max(0.0, period.held_tokens - self.amount.tokens)


@dataclass(slots=True)
class Budgets:
    """Every key's day and month, by the key's id. Outlives every configuration."""

    _books: dict[str, dict[str, Period]] = field(default_factory=dict)
    _today: tuple[float, str] = (-DAY_S, "")  # when it began, and its name

    def periods(self, key_id: str, now: float) -> tuple[Period, Period]:
        """The day and the month that `now` is in; new ones when they have begun."""
        began, day = self._today
        if not began <= now < began + DAY_S:
            began, day = self._today = (now // DAY_S * DAY_S, day_of(now))
        book = self._books.get(key_id)
        if book is None:
            book = self._books[key_id] = {"day": Period(day), "month": Period(day[:7])}
        if book["day"].starts != day:
            book["day"] = Period(day)
            if book["month"].starts != day[:7]:
                book["month"] = Period(day[:7])
        return book["day"], book["month"]

    def load(self, rows: Iterable[tuple[str, str, float, float]], now: float) -> None:
        """What was spent before this start: ("key_1", "day" or "month", usd, tokens), added to what is known."""
        for key_id, span, usd, tokens in rows:
            period = self.periods(key_id, now)[SPANS.index(span)]
            period.usd += usd
            period.tokens += tokens

    def forget(self, key_id: str) -> None:
        self._books.pop(key_id, None)

    def spent(self, key_id: str, now: float) -> dict[str, float | int]:
        """Without what is on hold."""
        day, month = self.periods(key_id, now)
        return {"usd_day": round(day.usd, 9), "usd_month": round(month.usd, 9),
                "tokens_day": round(day.tokens), "tokens_month": round(month.tokens)}  # fmt: skip

    def left(self, key_id: str, budget: Budget, now: float) -> Left:
        """The tightest of its limits; `why` names the one that is used up furthest."""
        usd = tokens = math.inf
        worst, why, again_at, is_held = math.inf, "", 0.0, False
        for span, period in zip(SPANS, self.periods(key_id, now), strict=True):
            for unit, limit in (("USD", getattr(budget, f"usd_per_{span}")), ("tokens", getattr(budget, f"tokens_per_{span}"))):
                if limit is None:
                    continue
                held = period.held_usd if unit == "USD" else period.held_tokens
                free = limit - (period.usd if unit == "USD" else period.tokens) - held
                if unit == "USD":
                    usd = min(usd, free)
                else:
                    tokens = min(tokens, free)
                share = free / limit if limit else -math.inf
                if share < worst:
                    worst, why, again_at = share, f"{limit:.12g} {unit} a {span}", next_start(span, now)
                    is_held = held > 0
        return Left(usd, tokens, why, again_at, is_held)

    def spend(self, key_id: str, amount: Amount, now: float) -> None:
        """Of a call that nothing was put on hold for."""
        for period in self.periods(key_id, now):
            period.usd += amount.usd
            period.tokens += amount.tokens

    def hold(self, key_id: str, amount: Amount, now: float) -> Hold:
        periods = self.periods(key_id, now)
        for period in periods:
            period.held_usd += amount.usd
            period.held_tokens += amount.tokens
        return Hold(periods, amount)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for one token."""

    input: float
    output: float


def granted(left: Left, input_tokens: float, wanted: float, price: Price | None) -> float:
    """How many output tokens there is room for, at most `wanted`; below zero when not even the input fits.

    granted(Left(tokens=1000), 300, 4096, None) -> 700
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


def used_up(left: Left, now: float) -> NoCredit:
    """The refusal, with the time at which the limit starts anew."""
    again = utc_text(left.again_at)
    held = ", part of it held for calls under way" if left.is_held else ""
    return NoCredit(
        f"the budget of this key, {left.why}, has no room for this call{held}; it starts anew at {again}",
        code="budget_used_up", retry_after_s=1.0 if left.is_held else math.ceil(left.again_at - now),
        details={"resets_at": again},
    )  # fmt: skip


def no_price(name: str) -> NoCredit:
    return NoCredit(
        f"{name} has no price, and this key's budget is in US dollars: set input_usd_per_mtok and output_usd_per_mtok of the "
        "model (0 where it is free), or give the key a budget in tokens", code="no_price",
    )  # fmt: skip
