"""What each key spent since the beginning of a day or a month, as the stored calls say: the truth that budgets begin with.

    spent(session, now)  -> [("key_1", "day", 0.12, 5100.0), ("key_1", "month", 3.40, 91000.0)]

A row for each key and day is written in the same transaction as the calls (`rows.add_sums`), so both are there or neither.
As in SQLite there is no end: a call whose gateway's clock is ahead counts, too.
"""

from __future__ import annotations

from ...policy.budgets import Spent, day_of
from .driver import Session

SUMS = "SELECT key_id, sum(usd), sum(tokens)::float8 FROM ledgers WHERE day >= ? GROUP BY key_id ORDER BY key_id"


def spent(session: Session, now: float) -> list[Spent]:
    """Of the day and the month that `now` is in."""
    day = day_of(now)
    return [(key_id, span, usd, tokens) for span, since in (("day", day), ("month", f"{day[:7]}-01"))
            for key_id, usd, tokens in session.execute(SUMS, (since,))]  # fmt: skip
