"""What each key spent since the beginning of a day or a month, as the stored calls say: the truth that budgets begin with.

    spent(session, now)                   -> [("key_1", "day", 0.12, 5100.0), ("key_1", "month", 3.40, 91000.0)]
    await Elsewhere(store).news(now)      -> the same without what this process has spent since it began, where it has changed

Gateways that share nothing but the database learn each other's spending by the second: no call waits for it, and budgets are
exceeded at most by what calls in progress cost and by what the others spend until that is stored, a second or so.

A row for each key and day is written in the same transaction as the calls (`rows.add_sums`), so both are there or neither.
As in SQLite there is no end: a call whose gateway's clock is ahead counts, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...policy.budgets import Spent, day_of
from .driver import Session

if TYPE_CHECKING:
    from .database import PostgresStore

MONTH_EVERY_S = 60.0  # the days before today seldom change: by calls that waited in a file
SUMS = "SELECT key_id, sum(usd), sum(tokens)::float8 FROM ledgers WHERE day >= ? GROUP BY key_id ORDER BY key_id"
BETWEEN = "SELECT key_id, sum(usd), sum(tokens)::float8 FROM ledgers WHERE day >= ? AND day < ? GROUP BY key_id"

Sums = dict[str, tuple[float, float]]  # key -> US dollars, tokens


def month_of(day: str) -> str:
    """month_of("2026-11-29") -> "2026-11-01" """
    return f"{day[:7]}-01"


def spent(session: Session, now: float) -> list[Spent]:
    """Of the day and the month that `now` is in."""
    day = day_of(now)
    return [(key_id, span, usd, tokens) for span, since in (("day", day), ("month", month_of(day)))
            for key_id, usd, tokens in session.execute(SUMS, (since,))]  # fmt: skip


class Elsewhere:
    """What keys have spent by the database, less what this process stored there: before its start, and at other gateways."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._earlier: Sums = {}  # of this month, before today
        self._day, self._read_at = "", float("-inf")
        self._known: tuple[str, set[Spent]] = ("", set())  # what was returned last, and of which day

    async def news(self, now: float) -> list[Spent]:
        """What has changed since the last call, of the day and the month of `now`. Unavailable while the server is away."""
        found, day = set(await self._store.transact(lambda session: self._sums(session, now))), day_of(now)
        known = self._known[1] if self._known[0] == day else set()
        self._known = day, found
        return list(found - known)

    def _sums(self, session: Session, now: float) -> list[Spent]:
        """In the thread that writes: nothing is stored between the sums and the account of what was stored."""
        day = day_of(now)
        mine = self._store.stored_spending
        if day != self._day or not self._read_at <= now < self._read_at + MONTH_EVERY_S:
            self._earlier = less(sums_of(session, BETWEEN, month_of(day), day),
                                 *(mine[each] for each in mine if month_of(day) <= each < day))  # fmt: skip
            self._day, self._read_at = day, now
        today = less(sums_of(session, SUMS, day), *(mine[each] for each in mine if each >= day))
        found: list[Spent] = [(key_id, "day", usd, tokens) for key_id, (usd, tokens) in today.items()]
        for key_id in {**self._earlier, **today}:
            (usd, tokens), (more_usd, more_tokens) = (sums.get(key_id, (0.0, 0.0)) for sums in (self._earlier, today))
            found.append((key_id, "month", usd + more_usd, tokens + more_tokens))
        return found


def sums_of(session: Session, sql: str, *days: str) -> Sums:
    return {key_id: (usd, tokens) for key_id, usd, tokens in session.execute(sql, days)}


def less(sums: Sums, *parts: Mapping[str, tuple[float, float]]) -> Sums:
    """less({"k": (3.0, 90.0)}, {"k": (1.0, 30.0)}) -> {"k": (2.0, 60.0)}"""
    for part in parts:
        for key_id, (usd, tokens) in part.items():
            have_usd, have_tokens = sums.get(key_id, (0.0, 0.0))
            sums[key_id] = max(0.0, have_usd - usd), max(0.0, have_tokens - tokens)
    return sums
