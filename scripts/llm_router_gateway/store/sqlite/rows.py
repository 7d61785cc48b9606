"""What a batch of calls is in the file: its rows, the sums of its minutes, hours and days, its texts.

put(db, [(call, None), (call, bodies)])   within a transaction of the caller's: all of them, with ids in order
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from ..call import SUMS, Call
from ..query import DAY_S
from ..rollups import Entry, bodies_row, rollups, sums_of, totals


def rows_of(count: int, width: int) -> str:
    return ", ".join(["(" + ", ".join("?" * width) + ")"] * count)


CHUNK = 32  # rows of one statement: fewer steps, fewer times that another thread waits for us
_WIDTH = len(Call._fields) + 1
INSERT_CALLS = f"INSERT INTO calls VALUES {rows_of(CHUNK, _WIDTH)}"  # nosec B608  # of constants only
INSERT_CALL = f"INSERT INTO calls VALUES {rows_of(1, _WIDTH)}"  # nosec B608
INSERT_BODIES = "INSERT INTO bodies VALUES (?, ?, ?, ?, ?, ?)"
_KEY = ("step_s", "at_s", "provider", "model", "key_id")
_BINS = ("duration_bins", "first_bins")
UPSERT, UPSERT_TOTALS, UPSERT_LABELS = (
    f"INSERT INTO {table} ({', '.join((*_KEY, *SUMS, *_BINS))}) VALUES {rows_of(1, len(_KEY) + len(SUMS) + len(_BINS))} "  # nosec B608
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}, "
    f"{', '.join(f'{name} = bins_add({name}, excluded.{name})' for name in _BINS)}"
    for table in ("rollups", "totals", "label_sums")
)
MAX_LABELS = 5_000  # of one kind in a day; what comes after them is summed up as OTHER_LABELS
OTHER_LABELS = "(other)"
KNOWN_LABELS = "SELECT model FROM label_sums WHERE step_s = ? AND at_s = ? AND provider = ?"


def labels_of(call: Call) -> list[tuple[str, str]]:
    """labels_of(call) -> [("tag", "team-a"), ("user", "u-17")]"""
    tags = json.loads(call.tags) if call.tags != "[]" else []
    return [*(("tag", tag) for tag in dict.fromkeys(tags)), *([("user", call.end_user)] if call.end_user else [])]


def label_sums(db: sqlite3.Connection, calls: Iterable[Call]) -> list[tuple[Any, ...]]:
    """The rows that a batch adds to `label_sums`: a day of a tag, a day of an end user."""
    found: dict[tuple[int, str], dict[str, list[Call]]] = {}
    for call in calls:
        for kind, label in labels_of(call):
            found.setdefault((call.started_ms // 86_400_000 * DAY_S, kind), {}).setdefault(label, []).append(call)
    rows: list[tuple[Any, ...]] = []
    for (at_s, kind), by_label in found.items():
        known = {label for (label,) in db.execute(KNOWN_LABELS, (DAY_S, at_s, kind))}
        others: dict[int, Call] = {}
        for label, members in by_label.items():
            if label in known or len(known) < MAX_LABELS:
                known.add(label)
                numbers, *bins = sums_of(members)
                rows.append((DAY_S, at_s, kind, label, "", *numbers, *bins))
            else:
                others |= {id(call): call for call in members}
        if others:
            numbers, *bins = sums_of(list(others.values()))
            rows.append((DAY_S, at_s, kind, OTHER_LABELS, "", *numbers, *bins))
    return rows


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
    labelled = [call for call, _ in batch if call.end_user or call.tags != "[]"]
    if labelled:
        db.executemany(UPSERT_LABELS, label_sums(db, labelled))
    texts = [bodies_row(number, call, bodies) for number, (call, bodies) in enumerate(batch, first) if bodies]
    if texts:
        db.executemany(INSERT_BODIES, texts)
