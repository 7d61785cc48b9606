"""What a batch of calls is in the store: its rows, the sums of its minutes, hours and days, its texts.

put(db, [(call, None), (call, bodies)])   within a transaction of the caller's: all of them, with ids in order
unpack(data)                            -> a text of `bodies`, as it was kept
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from .. import histogram
from ..call import SUMS, Call, counts_of
from ..query import DAY_S
from ..redaction import Bodies, redact
from .migrations import ALL, STEPS_S

Key = tuple[int, str, str, str]  # at_s, provider, model, key_id
Entry = tuple[Call, Bodies | None]


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

Sums = tuple[tuple[float, ...], bytes, bytes]  # SUMS, and the two histograms


def sums_of(calls: Sequence[Call]) -> Sums:
    """What calls of the same minute, model and key add to its row."""
    timed = [call for call in calls if call.is_timed]
    return (
        tuple(map(sum, zip(*map(counts_of, calls), strict=True))),
        histogram.of([call.duration_ms for call in timed]),
        histogram.of([call.first_ms for call in timed if call.first_ms is not None]),
    )


def both(one: Sums, other: Sums) -> Sums:
    numbers = tuple(map(sum, zip(one[0], other[0], strict=True)))
    return numbers, histogram.add_counts(one[1], other[1]), histogram.add_counts(one[2], other[2])


def rollups(calls: Iterable[Call]) -> list[tuple[Any, ...]]:
    """The rows that a batch adds to `rollups`: of minutes, and of the hours and days that they are in."""
    minutes: dict[Key, list[Call]] = {}
    for call in calls:
        at_s = call.started_ms // 60_000 * 60
        minutes.setdefault((at_s, call.provider, call.model, call.key_id), []).append(call)
    found: dict[tuple[int, Key], Sums] = {}
    for (at_s, provider, model, key_id), members in minutes.items():
        sums = sums_of(members)
        for step_s in STEPS_S:
            key = (step_s, (at_s // step_s * step_s, provider, model, key_id))
            found[key] = both(found[key], sums) if key in found else sums
    return [(step_s, *key, *numbers, *bins) for (step_s, key), (numbers, *bins) in found.items()]


def totals(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows that rows of `rollups` add to `totals`: of all calls, of each model, of each key."""
    found: dict[tuple[Any, ...], Sums] = {}
    for step_s, at_s, provider, model, key_id, *rest in rows:
        sums = (tuple(rest[:-2]), rest[-2], rest[-1])
        for names in ((ALL, ALL, ALL), (provider, model, ALL), (ALL, ALL, key_id)):
            key = (step_s, at_s, *names)
            found[key] = both(found[key], sums) if key in found else sums
    return [(*key, *numbers, *bins) for key, (numbers, *bins) in found.items()]


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


def bodies_row(number: int, call: Call, bodies: Bodies) -> tuple[Any, ...]:
    """A row of `bodies`: redacted, cut, packed."""
    packed: list[bytes | None] = []
    cuts = []
    for text in (bodies.request, bodies.response):
        short, cut = (None, False) if text is None else redact(text, bodies.limit, bodies.secrets)
        packed.append(None if short is None else zlib.compress(short, 6))
        cuts.append(cut)
    return (number, call.started_ms, *packed, *cuts)


def unpack(data: bytes | None) -> str | None:
    """A text of `bodies`, as it was kept."""
    return None if data is None else zlib.decompress(data).decode("utf-8", "replace")


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
