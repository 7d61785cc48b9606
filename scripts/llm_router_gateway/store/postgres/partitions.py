"""A partition for each UTC day of `calls` and `bodies`: made before its first call, dropped as a whole when the day is too old.

ensure(session, {20_786})       the partitions of that day (days since 1970-01-01), in the caller's transaction
days(session, "calls")       -> [20_700, ..., 20_786]
drop(session, "calls", 20_700)
"""

from __future__ import annotations

from collections.abc import Iterable

from ..call import civil
from .driver import Session

DAY_MS = 86_400_000
TABLES = ("calls", "bodies")
LOCK = 0x4C4C4D53  # of the session that makes or drops one

# Attached, not created as a part: that would wait for every query that reads another day, and make all others wait for it.
OF_TABLE = {
    "calls": "CREATE TABLE IF NOT EXISTS {name} (LIKE calls INCLUDING ALL)",
    "bodies": "CREATE TABLE IF NOT EXISTS {name} (LIKE bodies INCLUDING ALL)",
}
PARTS = """SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(?) ORDER BY c.relname"""


def name_of(table: str, day: int) -> str:
    """name_of("calls", 20_786) -> "calls_20261129" """
    year, month, date = civil(day)
    return f"{table}_{year:04d}{month:02d}{date:02d}"


def day_of(started_ms: int) -> int:
    return started_ms // DAY_MS


def names(session: Session, table: str) -> set[str]:
    return {name for (name,) in session.execute(PARTS, (table,))}


def ensure(session: Session, days: Iterable[int]) -> None:
    """Makes what is missing; nothing when all are there."""
    session.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))
    for table in TABLES:
        have = names(session, table)
        for day in sorted(days):
            name = name_of(table, day)
            if name not in have:
                session.execute(OF_TABLE[table].format(name=name))
                session.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} "
                                f"FOR VALUES FROM ({day * DAY_MS}) TO ({(day + 1) * DAY_MS})")  # fmt: skip


def drop(session: Session, table: str, name: str) -> None:
    """In a transaction of the caller's. Waits at most as long as `lock_timeout` says for its readers."""
    session.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))
    session.execute(f"DROP TABLE IF EXISTS {name}")


def size(session: Session) -> int:
    """Bytes of all that the gateway has in the database."""
    found = session.execute("SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
                            "WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = "
                            "to_regclass('calls'))").fetchone()  # fmt: skip
    return int(found[0])
