"""What a batch of calls is in the file: its rows, the sums of its minutes, hours and days, its texts.

put(db, [(call, None), (call, bodies)])   within a transaction of the caller's: all of them, with ids in order
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..call import SUMS, Call
from ..rollups import Entry, bodies_row, rollups, totals


def rows_of(count: int, width: int) -> str:
    return ", ".join(["(" + ", ".join("?" * width) + ")"] * count)


CHUNK = 32  # rows of one statement: fewer steps, fewer times that another thread waits for us
_WIDTH = len(Call._fields) + 1
INSERT_CALLS = f"INSERT INTO calls VALUES {rows_of(CHUNK, _WIDTH)}"  # nosec B608  # of constants only
INSERT_CALL = f"INSERT INTO calls VALUES {rows_of(1, _WIDTH)}"  # nosec B608
INSERT_BODIES = "INSERT INTO bodies VALUES (?, ?, ?, ?, ?, ?)"
_KEY = ("step_s", "at_s", "provider", "model", "key_id")
_BINS = ("duration_bins", "first_bins")
UPSERT, UPSERT_TOTALS = (
    f"INSERT INTO {table} ({', '.join((*_KEY, *SUMS, *_BINS))}) VALUES {rows_of(1, len(_KEY) + len(SUMS) + len(_BINS))} "  # nosec B608
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}, "
    f"{', '.join(f'{name} = bins_add({name}, excluded.{name})' for name in _BINS)}"
    for table in ("rollups", "totals")
)


def put(db: sqlite3.Connection, batch: Sequence[Entry]) -> None:
    first = (db.execute("SELECT max(id) FROM calls").fetchone()[0] or 0) + 1
    rows = [(number, *call) for number, (call, _) in enumerate(batch, first)]
    whole = len(rows) - len(rows) % CHUNK
    for at in range(0, whole, CHUNK):
        db.execute(INSERT_CALLS, [value for row in rows[at : at + CHUNK] for value in row])
    db.executemany(INSERT_CALL, rows[whole:])
    sums = rollups(call for call, _ in batch)
    db.executemany(UPSERT, sums)
    db.executemany(UPSERT_TOTALS, totals(sums))
    texts = [bodies_row(number, call, bodies) for number, (call, bodies) in enumerate(batch, first) if bodies]
    if texts:
        db.executemany(INSERT_BODIES, texts)
