"""What a batch of calls is in the file: its rows, the sums of its minutes, hours and days, its texts.

put(db, [(call, None), (call, bodies)])   within a transaction of the caller's: all of them, with ids in order
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain

from ..call import SUMS, Call
from ..query import DAY_S
from ..rollups import Entry, alone, bodies_row, label_sums, minutes, rows_of


def marks(count: int, width: int) -> str:
    return ", ".join(["(" + ", ".join("?" * width) + ")"] * count)


CHUNK = 32  # rows of one statement: fewer steps, fewer times that another thread waits for us
_WIDTH = len(Call._fields) + 1
INSERT_CALLS = f"INSERT INTO calls VALUES {marks(CHUNK, _WIDTH)}"  # nosec B608  # of constants only
INSERT_CALL = f"INSERT INTO calls VALUES {marks(1, _WIDTH)}"  # nosec B608
INSERT_BODIES = "INSERT INTO bodies VALUES (?, ?, ?, ?, ?, ?)"
_KEY = ("step_s", "at_s", "provider", "model", "key_id")
_BINS = ("duration_bins", "first_bins")
UPSERT, UPSERT_TOTALS, UPSERT_LABELS = (
    f"INSERT INTO {table} ({', '.join((*_KEY, *SUMS, *_BINS))}) VALUES {marks(1, len(_KEY) + len(SUMS) + len(_BINS))} "  # nosec B608
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}, "
    f"{', '.join(f'{name} = bins_add({name}, excluded.{name})' for name in _BINS)}"
    for table in ("rollups", "totals", "label_sums")
)
KNOWN_LABELS = "SELECT model FROM label_sums WHERE step_s = ? AND at_s = ? AND provider = ?"


def put(db: sqlite3.Connection, batch: Sequence[Entry]) -> None:
    def known_labels(at_s: int, kind: str, labels: Iterable[str]) -> set[str]:
        return {label for (label,) in db.execute(KNOWN_LABELS, (DAY_S, at_s, kind))}

    first = (db.execute("SELECT max(id) FROM calls").fetchone()[0] or 0) + 1
    rows = [(number, *call) for number, (call, _) in enumerate(batch, first)]
    whole = len(rows) - len(rows) % CHUNK
    for at in range(0, whole, CHUNK):
        db.execute(INSERT_CALLS, list(chain.from_iterable(rows[at : at + CHUNK])))
    db.executemany(INSERT_CALL, rows[whole:])
    sums = minutes(call for call, _ in batch)
    db.executemany(UPSERT, rows_of(sums))
    db.executemany(UPSERT_TOTALS, rows_of(alone(sums)))
    db.executemany(UPSERT_LABELS, label_sums((call for call, _ in batch), known_labels))
    texts = [bodies_row(number, call, bodies) for number, (call, bodies) in enumerate(batch, first) if bodies]
    if texts:
        db.executemany(INSERT_BODIES, texts)
