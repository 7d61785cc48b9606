"""What a batch of calls is in PostgreSQL: its rows and texts by binary COPY, its sums and histograms, what its keys spent.

    ids = Ids()
    put(session, ids, Labels(), calls, texts)   within a transaction of the caller's; `texts` are rows of `bodies` that begin
                                                with the call's place in the batch
    is_new(session, "5f1c...", 17)   -> False for a batch of that writer that is stored already

Sums are added under the lock of a shard: gateways that commit at the same moment take different ones, and none waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ...policy.budgets import DAY_S
from ...policy.budgets import day_of as day_text
from .. import histogram
from ..call import SUMS, Call
from ..rollups import MAX_LABELS, Row, alone, label_sums, minutes, rows_of
from . import partitions
from .driver import PAIR_STEP_S, Session
from .migrations import ID_BLOCK

SHARDS = 16  # rows of one sum, at most
SHARD_LOCK = 0x4C4C4D54
MAX_MS = 253_402_300_799_999  # the year 9999
TYPES = {
    "started_ms": "int8", "first_ms": "float8", "duration_ms": "float8", "stream": "int2", "attempts": "int4",
    "status": "int4", "input_tokens": "int8", "output_tokens": "int8", "cached_tokens": "int8", "cache_write_tokens": "int8",
    "reasoning_tokens": "int8", "cost_usd": "float8",
}  # fmt: skip
COPY_CALLS = f"COPY calls (id, {', '.join(Call._fields)}) FROM STDIN (FORMAT BINARY)"
CALL_TYPES = ["int8", *(TYPES.get(name, "text") for name in Call._fields)]
COPY_BODIES = "COPY bodies (call_id, started_ms, request, response, request_cut, response_cut) FROM STDIN (FORMAT BINARY)"
BODY_TYPES = ["int8", "int8", "bytea", "bytea", "int2", "int2"]
_KEY = ("step_s", "at_s", "provider", "model", "key_id")
_KEY_TYPES = ["int4", "int8", "text", "text", "text"]
_FLOATS = frozenset({"cost_usd", "duration_ms", "first_ms"})
_BINS = ("duration_bins", "first_bins")
COPY_SUMS = f"COPY new_sums (target, {', '.join((*_KEY, *SUMS, *_BINS))}) FROM STDIN (FORMAT BINARY)"
SUM_TYPES = ["text", *_KEY_TYPES, *("float8" if name in _FLOATS else "int8" for name in SUMS), "text", "text"]
# Filled and read within one transaction, and empty after it. Histograms are texts there: "{0,0,7}".
STAGING = (
    """CREATE TEMP TABLE IF NOT EXISTS new_sums (target text, LIKE rollups, duration_bins text, first_bins text)
        ON COMMIT DELETE ROWS""",
    "ALTER TABLE new_sums ALTER COLUMN shard DROP NOT NULL",
)


def add_to(table: str) -> str:
    """The statement that adds what was staged for a table to its rows; its parameters are the shard and the table's name."""
    bins = [] if table == "rollups" else _BINS
    into = ", ".join((*_KEY, *SUMS, *bins))
    found = ", ".join((*_KEY, *SUMS, *(f"{name}::integer[]" for name in bins)))
    both = [*(f"{name} = old.{name} + excluded.{name}" for name in SUMS),
            *(f"{name} = bins_add(old.{name}, excluded.{name})" for name in bins)]  # fmt: skip
    return (f"INSERT INTO {table} AS old (shard, {into}) SELECT ?, {found} FROM new_sums WHERE target = ? "  # nosec B608
            f"ON CONFLICT ({', '.join(_KEY)}, shard) DO UPDATE SET {', '.join(both)}")  # fmt: skip


ADD_SUMS = {table: add_to(table) for table in ("totals", "rollups", "label_sums")}
KNOWN_LABELS = "SELECT DISTINCT model FROM label_sums WHERE step_s = ? AND at_s = ? AND provider = ?"
MAX_LABEL_DAYS = 16  # whose labels a writer remembers
ADD_SPENT = """INSERT INTO ledgers AS old (day, key_id, shard, usd, tokens) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (day, key_id, shard) DO UPDATE SET usd = old.usd + excluded.usd, tokens = old.tokens + excluded.tokens"""
MARK = """INSERT INTO writers AS old (id, last) VALUES (?, ?)
    ON CONFLICT (id) DO UPDATE SET last = excluded.last, at = now() WHERE old.last < excluded.last"""

Sums = Mapping[str, Sequence[Row]]  # rows of `rollups.rows_of`, by their table
Text = tuple[Any, ...]  # (place in the batch, started_ms, request, response, request_cut, response_cut)


class Ids:
    """Numbers of calls, taken from the sequence a block at a time."""

    def __init__(self) -> None:
        self._left: list[int] = []

    def take(self, session: Session, count: int) -> list[int]:
        blocks = -(-(count - len(self._left)) // ID_BLOCK)
        if blocks > 0:
            firsts = session.execute("SELECT nextval('call_ids') FROM generate_series(1, ?)", (blocks,)).fetchall()
            for (first,) in firsts:
                self._left.extend(range(first, first + ID_BLOCK))
        taken, self._left = self._left[:count], self._left[count:]
        return taken


class Labels:
    """Which tags and end users have sums of a day, so that their number stays bounded. It only grows: it is remembered."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], set[str]] = {}

    def known(self, session: Session, at_s: int, kind: str, labels: Iterable[str]) -> set[str]:
        have = self._known.get((at_s, kind), set())
        if len(have) >= MAX_LABELS or have.issuperset(labels):
            return have
        if len(self._known) >= MAX_LABEL_DAYS:
            self._known.clear()
        found = {label for (label,) in session.execute(KNOWN_LABELS, (DAY_S, at_s, kind))}
        self._known[at_s, kind] = found
        return found


def clean(call: Call) -> Call:
    """A call as PostgreSQL can hold it: no zero characters, no half surrogates, a time of the calendar."""
    values = [value.encode("utf-8", "replace").decode().replace("\0", "\ufffd") if isinstance(value, str) else value
              for value in call]  # fmt: skip
    return Call._make(values)._replace(started_ms=min(MAX_MS, max(0, call.started_ms)))


def is_new(session: Session, writer: str, number: int) -> bool:
    """Marks a batch as stored with the transaction; False when it is already. The numbers of a writer only grow."""
    return bool(session.execute(MARK, (writer, number)).rowcount)


def copy(session: Session, statement: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with session.raw.cursor() as cursor, cursor.copy(statement) as into:
        into.set_types(types)
        write = into.write_row
        for row in rows:
            write(row)


def put(
    session: Session, ids: Ids, labels: Labels, calls: Sequence[Call], texts: Sequence[Text], sums: Sums | None = None
) -> list[int]:
    """Everything that a batch adds; the ids of its calls. `sums`: those of `sums_of`, where they are known."""
    numbers = put_calls(session, ids, calls, texts)
    add_sums(session, {**(sums or sums_of(calls)), "label_sums": label_sums(calls, partial(labels.known, session))})
    return numbers


def put_calls(session: Session, ids: Ids, calls: Sequence[Call], texts: Sequence[Text]) -> list[int]:
    """The rows alone."""
    numbers = ids.take(session, len(calls))
    copy(session, COPY_CALLS, CALL_TYPES, ((number, *call) for number, call in zip(numbers, calls, strict=True)))
    if texts:
        copy(session, COPY_BODIES, BODY_TYPES, ((numbers[text[0]], *text[1:]) for text in texts))
    return numbers


def sums_of(calls: Iterable[Call]) -> Sums:
    """The rows of `rollups` (without histograms) and of `totals` that calls add up to."""
    pairs = minutes(calls)
    bare = {key: (numbers, 0, 0) for key, (numbers, _, _) in pairs.items()}
    return {"totals": rows_of(alone(pairs)), "rollups": rows_of(bare, (PAIR_STEP_S,))}


def add_sums(session: Session, sums: Sums) -> None:
    """Adds rows, by their table, to those that are there. Last in a transaction: what it locks, others may be waiting for."""
    copy(session, COPY_SUMS, SUM_TYPES, (
        (table, *row[:5], *whole(row[5:-2]), array_text(row[-2]), array_text(row[-1]))
        for table, rows in sums.items() for row in rows
    ))  # fmt: skip
    shard = own_shard(session)
    for table in [table for table, rows in sums.items() if rows]:
        session.execute(ADD_SUMS[table], (shard, table))
    spent = spent_by(sums.get("totals", ()))
    if spent:
        session.executemany(ADD_SPENT, [(day, key_id, shard, *amounts) for (day, key_id), amounts in spent])


def array_text(bins: bytes) -> str:
    """A histogram as PostgreSQL reads an array: "{0,0,7}"."""
    return "{" + ",".join(map(str, histogram.counts_from_zero(bins))) + "}"


_IS_FLOAT = tuple(name in _FLOATS for name in SUMS)
_USD, _INPUT, _OUTPUT = 5 + SUMS.index("cost_usd"), 5 + SUMS.index("input_tokens"), 5 + SUMS.index("output_tokens")


def whole(numbers: Sequence[float]) -> Iterable[float]:
    """The numbers of SUMS in the types of their columns."""
    return (float(number) if is_float else int(number) for number, is_float in zip(numbers, _IS_FLOAT, strict=True))


def own_shard(session: Session) -> int:
    """The first shard that no other transaction has at the moment; where all are taken, this session's in its turn."""
    for shard in range(SHARDS):
        if session.execute("SELECT pg_try_advisory_xact_lock(?::int, ?::int)", (SHARD_LOCK, shard)).fetchone()[0]:
            return shard
    shard = int(session.raw.info.backend_pid) % SHARDS
    session.execute("SELECT pg_advisory_xact_lock(?::int, ?::int)", (SHARD_LOCK, shard))
    return shard


Spending = tuple[tuple[str, str], tuple[float, int]]


def spent_by(rows: Iterable[Row]) -> list[Spending]:
    """(("2026-11-29", "key_1"), (usd, tokens)), in the order of their keys."""
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for row in rows:
        step_s, at_s, key_id = row[0], row[1], row[4]
        if step_s != DAY_S or key_id in ("", "*"):
            continue
        day = day_text(at_s)
        usd, tokens = found.get((day, key_id), (0.0, 0))
        found[day, key_id] = usd + row[_USD], tokens + int(row[_INPUT] + row[_OUTPUT])
    return sorted(found.items())


def days_of(calls: Iterable[Call]) -> set[int]:
    """The days whose partitions the calls need."""
    return {partitions.day_of(call.started_ms) for call in calls}
