"""Removes what is too old or too much: days of calls and texts as whole partitions, sums and conversations in small steps.

    care(session, Keep(days=90, ...), now_s)  -> Cared(more=True, notes=["..."])      one gateway at a time does it

A day goes when all of it is too old, so a call stays up to a day longer than `keep_days` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ...policy.budgets import day_of as day_text
from ..keep import FOREVER, Keep
from ..owned_rows import forget_owned
from ..query import DAY_S, HOUR_S, MINUTES_KEPT_S
from ..rollups import STEPS_S
from ..turn_rows import forget_too_many, forget_turns
from . import partitions
from .driver import Session

LOCK = 0x4C4C4D55  # of the one gateway that removes
ROWS = 5_000  # in one step
TURNS = 20  # of conversations, when they are too many; each may hold a picture
LOCK_S = 0.5  # to wait for readers of a day that is to go; then it goes the next time
LEDGERS_KEPT_S = 400 * DAY_S
WRITERS_KEPT = "30 days"  # a batch that waits in a file for longer than this would not be known again
SILENT_KEPT = "1 day"  # a replica that says nothing any more


class Cared(NamedTuple):
    more: bool  # there may be more to do at once
    notes: list[str]  # for the log


def drop_before(session: Session, table: str, before_ms: float) -> list[str]:
    """The oldest day that is over before a time."""
    limit = partitions.name_of(table, int(max(0.0, before_ms)) // partitions.DAY_MS)
    oldest = next((name for name in sorted(partitions.names(session, table)) if name < limit), None)
    if oldest is None:
        return []
    partitions.drop(session, table, oldest)
    return [oldest]


def drop_oldest(session: Session, max_bytes: float, today: str) -> list[str]:
    """The oldest day of calls with its texts, where the store is too large. The day that is being written stays."""
    if max_bytes == FOREVER or partitions.size(session) <= max_bytes:
        return []
    for table in ("bodies", "calls"):
        days = sorted(name for name in partitions.names(session, table) if name < f"{table}_{today}")
        if days:
            partitions.drop(session, table, days[0])
            return days[:1]
    return []


def forget_sums(session: Session, step_s: int, before_s: float) -> int:
    """Some of the oldest sums of a step."""
    count, before = 0, math.ceil(max(0.0, before_s))
    for table in ("totals", "rollups", "label_sums"):
        sql = (f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE step_s = ? AND at_s < ? "  # nosec B608
               "LIMIT ?))")  # fmt: skip
        count += session.execute(sql, (step_s, before, ROWS)).rowcount
    return count


def forget_small(session: Session, now_s: float) -> int:
    """What is left of days, writers and replicas that are long gone."""
    old = day_text(max(0.0, now_s - LEDGERS_KEPT_S))
    long_gone = f"at < now() - interval '{WRITERS_KEPT}'"
    session.execute(f"DELETE FROM writers WHERE {long_gone} AND NOT starts_with(id, 'copy:')")  # nosec B608  # of constants
    session.execute(f"DELETE FROM replicas WHERE seen < now() - interval '{SILENT_KEPT}'")  # nosec B608
    session.execute("DELETE FROM ledgers WHERE day < ?", (old,))
    return 0


def care(session: Session, keep: Keep, now_s: float) -> Cared:
    """One small step in a transaction of its own; none where another gateway is at it."""
    now_ms, dropped = now_s * 1_000, list[str]()
    days_ms = 1_000 * DAY_S
    steps: tuple[Callable[[], int], ...] = (
        lambda: forget_small(session, now_s),
        lambda: forget_sums(session, STEPS_S[0], now_s - MINUTES_KEPT_S),
        lambda: sum(forget_sums(session, step_s, now_s - keep.days * DAY_S - step_s) for step_s in STEPS_S[1:]),
        lambda: forget_turns(session, now_s - keep.turns_hours * HOUR_S, ROWS),
        lambda: forget_too_many(session, keep.turns_bytes, TURNS),
        lambda: forget_owned(session, now_s - keep.owned_days * DAY_S, ROWS),
        lambda: drops(drop_before(session, "bodies", now_ms - keep.bodies_days * days_ms)),
        lambda: drops(drop_before(session, "bodies", now_ms - keep.days * days_ms)),
        lambda: drops(drop_before(session, "calls", now_ms - keep.days * days_ms)),
        lambda: drops(drop_oldest(session, keep.max_bytes, day_text(now_s).replace("-", ""))),
    )

    def drops(names: list[str]) -> int:
        dropped.extend(names)
        return len(names)

    with session.raw.transaction():
        if not session.execute("SELECT pg_try_advisory_xact_lock(?)", (LOCK,)).fetchone()[0]:
            return Cared(False, [])
        session.execute(f"SET LOCAL lock_timeout = '{int(LOCK_S * 1_000)}ms'")
        day = partitions.day_of(int(now_ms))
        partitions.ensure(session, {day, day + 1})  # before its first call needs it
        done = any(step() for step in steps)
    return Cared(done, [f"removed {name}: too old, or the store too large" for name in dropped])
