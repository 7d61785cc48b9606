"""The budgets of one process: what each key has spent and has on hold, in its own memory.

books = LocalBudgets()
books.load(rows, now)                                        what was spent before or elsewhere, from the call log
hold = await books.hold("key_1", budget, Amount(0.02, 900), now)   counts as spent until it is settled
await hold.settle(Amount(0.013, 640))
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..policy.budgets import DAY_S, SPANS, Amount, Budget, Remaining, Spent, budget_exhausted, day_of, next_start

ROUNDING_USD = 1e-9  # what the sum of a price and its parts may differ by


@dataclass(slots=True)
class Period:
    """One day, or one month, of one key."""

    starts: str = ""  # "2026-11-21", "2026-11"
    usd: float = 0.0
    tokens: float = 0.0
    held_usd: float = 0.0
    held_tokens: float = 0.0
    more_usd: float = 0.0  # spent before this start, or elsewhere
    more_tokens: float = 0.0


@dataclass(slots=True)
class LocalHold:
    """What one call may cost at most, taken from both periods until it is known."""

    periods: tuple[Period, ...]
    amount: Amount
    is_open: bool = True

    async def settle(self, spent: Amount) -> None:
        if self.is_open:
            self._close()
            for period in self.periods:
                period.usd += spent.usd
                period.tokens += spent.tokens

    async def release(self) -> None:
        if self.is_open:
            self._close()

    def _close(self) -> None:
        self.is_open = False
        for period in self.periods:
            period.held_usd = max(0.0, period.held_usd - self.amount.usd)
            period.held_tokens = max(0.0, period.held_tokens - self.amount.tokens)


def turn(book: dict[str, Period], span: str, starts: str) -> None:
    """Another day or month begins; the one before the last turn may come back: a clock on a wall is set, at midnight, too."""
    before, book[f"{span} before"] = book.get(f"{span} before"), book[span]
    book[span] = before if before is not None and before.starts == starts else Period(starts)


@dataclass(slots=True)
class LocalBudgets:
    """`policy.budgets.Budgets`, for one process. Outlives every configuration."""

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
            turn(book, "day", day)
            if book["month"].starts != day[:7]:
                turn(book, "month", day[:7])
        return book["day"], book["month"]

    def load(self, rows: Iterable[Spent], now: float) -> None:
        """All that this process did not spend itself, before this start or elsewhere; instead of what was known of it."""
        for key_id, span, usd, tokens in rows:
            period = self.periods(key_id, now)[SPANS.index(span)]
            period.more_usd, period.more_tokens = usd, tokens

    def begin_anew(self) -> None:
        """Forgets every key."""
        self._books.clear()

    def forget(self, key_id: str) -> None:
        self._books.pop(key_id, None)

    def spent(self, key_id: str, now: float) -> dict[str, float | int]:
        """Without what is on hold."""
        day, month = self.periods(key_id, now)
        return {
            "usd_day": round(day.usd + day.more_usd, 9), "usd_month": round(month.usd + month.more_usd, 9),
            "tokens_day": round(day.tokens + day.more_tokens), "tokens_month": round(month.tokens + month.more_tokens),
        }  # fmt: skip

    def left(self, key_id: str, budget: Budget, now: float) -> Remaining:
        """The tightest of its limits; `why` names the one that is used up furthest."""
        usd = tokens = math.inf
        worst, why, again_at, is_held = math.inf, "", 0.0, False
        for span, period in zip(SPANS, self.periods(key_id, now), strict=True):
            for unit, limit in (("USD", getattr(budget, f"usd_per_{span}")), ("tokens", getattr(budget, f"tokens_per_{span}"))):
                if limit is None:
                    continue
                if unit == "USD":
                    held = period.held_usd
                    free = limit - period.usd - period.more_usd - held
                    usd = min(usd, free)
                else:
                    held = period.held_tokens
                    free = limit - period.tokens - period.more_tokens - held
                    tokens = min(tokens, free)
                share = free / limit if limit else -math.inf
                if share < worst:
                    worst, why, again_at = share, f"{limit:.12g} {unit} a {span}", next_start(span, now)
                    is_held = held > 0
        return Remaining(usd, tokens, why, again_at, is_held)

    async def spend(self, key_id: str, amount: Amount, now: float) -> None:
        for period in self.periods(key_id, now):
            period.usd += amount.usd
            period.tokens += amount.tokens

    async def hold(self, key_id: str, budget: Budget, amount: Amount, now: float) -> LocalHold:
        left = self.left(key_id, budget, now)
        if amount.usd > left.usd + ROUNDING_USD or amount.tokens > left.tokens:
            raise budget_exhausted(left, now)
        periods = self.periods(key_id, now)
        for period in periods:
            period.held_usd += amount.usd
            period.held_tokens += amount.tokens
        return LocalHold(periods, amount)


def logged_budgets(rows: Iterable[Spent], now: float) -> LocalBudgets:
    """What each key has spent, by the rows of the call log alone."""
    books = LocalBudgets()
    books.load(rows, now)
    return books
