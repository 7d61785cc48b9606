"""What each key spent in a day or a month, as the calls that are stored say: the truth that budgets begin with.

    spent(session, now)  -> [("key_1", "day", 0.12, 5100.0), ("key_1", "month", 3.40, 91000.0)]

The rows are written in the same transaction as the calls (`rows.add_sums`), so both are there or neither.
"""

from __future__ import annotations

from ...policy.budgets import Spent, day_of
from .driver import Session

SUMS = """SELECT key_id, CASE WHEN length(period) = 7 THEN 'month' ELSE 'day' END, sum(usd), sum(tokens)::float8
    FROM ledgers WHERE period IN (?, ?) GROUP BY period, key_id ORDER BY key_id, period DESC"""


def spent(session: Session, now: float) -> list[Spent]:
    """Of the day and the month that `now` is in."""
    day = day_of(now)
    return [(key_id, span, usd, tokens) for key_id, span, usd, tokens in session.execute(SUMS, (day, day[:7]))]
