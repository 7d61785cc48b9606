"""Deletes what is too old or too much, in steps so small that no request waits for one.

    care(db, Keep(days=90, bodies_days=7, max_bytes=1 << 30), now_s)  -> True: call it again soon

By age: calls with their texts, texts alone, sums. By size: the oldest calls first; their sums stay until they are too old.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from ..keep import FOREVER, Keep
from ..owned_rows import forget_owned
from ..query import MINUTES_KEPT_S
from ..rollups import STEPS_S
from ..turn_rows import forget_too_many, forget_turns

ROWS = 500  # in one step
BODIES = 100  # they are larger
VACUUM_PAGES = 256  # given back in one step
TURNS = 20  # of conversations, when they are too many; each may hold a picture
DAY_S, HOUR_S = 86_400, 3_600

Database = sqlite3.Connection


def old_calls(db: Database, before_ms: float) -> list[tuple[int]]:
    found = db.execute("SELECT id FROM calls WHERE started_ms < ? ORDER BY started_ms LIMIT ?", (before_ms, ROWS))
    return found.fetchall()


def forget_calls(db: Database, numbers: list[tuple[int]]) -> int:
    db.executemany("DELETE FROM bodies WHERE call_id = ?", numbers)
    db.executemany("DELETE FROM calls WHERE id = ?", numbers)
    return len(numbers)


def forget_bodies(db: Database, before_ms: float) -> int:
    return db.execute(
        "DELETE FROM bodies WHERE call_id IN (SELECT call_id FROM bodies WHERE started_ms < ? ORDER BY started_ms LIMIT ?)",
        (before_ms, BODIES),
    ).rowcount


def forget_rollups(db: Database, step_s: int, before_s: float, table: str = "rollups") -> int:
    """The oldest of one step, as many as there are at about ROWS' times."""
    last = db.execute(
        f"SELECT max(at_s) FROM (SELECT at_s FROM {table} WHERE step_s = ? AND at_s < ? ORDER BY at_s LIMIT ?)",  # nosec B608
        (step_s, before_s, ROWS),
    ).fetchone()[0]
    if last is None:
        return 0
    return db.execute(f"DELETE FROM {table} WHERE step_s = ? AND at_s <= ?", (step_s, last)).rowcount  # nosec B608


def used_bytes(db: Database) -> tuple[int, int]:
    """(what is in the file, what of it is free)."""
    size, pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count"))
    return size * pages, size * free


def forget_oldest(db: Database, max_bytes: float) -> int:
    """One step towards what the store may hold: the oldest calls, and once there are none, the oldest sums."""
    size, free = used_bytes(db)
    if size - free <= max_bytes:
        return 0
    oldest = db.execute("SELECT id FROM calls ORDER BY id LIMIT ?", (ROWS,)).fetchall()
    if oldest:
        return forget_calls(db, oldest)
    labels = forget_rollups(db, DAY_S, FOREVER, "label_sums")
    return labels or forget_rollups(db, STEPS_S[0], FOREVER) or forget_rollups(db, STEPS_S[1], FOREVER)


def give_back(db: Database, max_bytes: float) -> bool:
    """One step of shrinking the file, when much of it is free or it is too large; whether there is more to do."""
    size, free = used_bytes(db)
    if not free or (size <= max_bytes and free * 4 <= size):
        return False
    db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
    return used_bytes(db)[1] < free


def care(db: Database, keep: Keep, now_s: float) -> bool:
    """One small step of forgetting, in a transaction of its own; whether there may be more to do."""
    now_ms = now_s * 1000
    steps: tuple[Callable[[], int], ...] = (
        lambda: forget_rollups(db, STEPS_S[0], now_s - MINUTES_KEPT_S),
        lambda: sum(forget_rollups(db, step_s, now_s - keep.days * DAY_S - step_s) for step_s in STEPS_S[1:]),
        lambda: forget_rollups(db, DAY_S, now_s - keep.days * DAY_S - DAY_S, "label_sums"),
        lambda: forget_bodies(db, now_ms - keep.bodies_days * DAY_S * 1000),
        lambda: forget_calls(db, old_calls(db, now_ms - keep.days * DAY_S * 1000)),
        lambda: forget_turns(db, now_s - keep.turns_hours * HOUR_S, ROWS),
        lambda: forget_too_many(db, keep.turns_bytes, TURNS),
        lambda: forget_owned(db, now_s - keep.owned_days * DAY_S, ROWS),
        lambda: forget_oldest(db, keep.max_bytes),
    )
    db.execute("BEGIN IMMEDIATE")
    done = next((count for step in steps if (count := step())), 0)
    db.execute("COMMIT")
    return bool(done) or give_back(db, keep.max_bytes)
