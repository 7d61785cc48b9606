"""A database that another store is copied into: each part once, however often the copy is begun again; and checked.

    target = CopyTarget(session, "source's id")
    target.add_calls(last_id, calls, texts)     True; False when they were there
    target.totals()                         -> (calls, input tokens, output tokens, cost) of what came from this source

What was there before stays, and sums are added to it; so gateways may use the database already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..call import Call
from ..owned_rows import PUT as PUT_OWNED
from ..turn_rows import PUT_ITEM, PUT_TURN, SECRET
from . import partitions, rows
from .driver import PAIR_STEP_S, Session, psycopg
from .migrations import ID_BLOCK

CHECKED = """count(*), coalesce(sum(input_tokens), 0)::bigint, coalesce(sum(output_tokens), 0)::bigint,
    coalesce(sum(cost_usd), 0)::float8"""
PUT_KEY = """INSERT INTO api_keys (id, name, digest, hint, created_s, terms, last_used_s) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""
CALLS_AT_ONCE = ID_BLOCK  # so that the ids of a piece are one after the other, and it is found again to be checked
COST_IS_NEAR = 1e-9  # the order of adding is not the same

Row = tuple[Any, ...]


class CopyTarget:
    """See the module."""

    def __init__(self, session: Session, source: str) -> None:
        self._db, self._source = session, source
        self._days: set[int] = set()
        self.id = str(session.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()[0])

    def _writer(self, part: str) -> str:
        return f"copy:{self._source}:{part}"

    def done(self, part: str) -> int:
        """The number of the last piece of a part that is here."""
        row = self._db.execute("SELECT last FROM writers WHERE id = ?", (self._writer(part),)).fetchone()
        return int(row[0]) if row else 0

    def add_secret(self, secret: str | None) -> bool:
        """Whether texts that callers bring back stay good: another secret may be in use here."""
        if secret is None:
            return True
        self._db.execute("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (SECRET, secret))
        return bool(self._db.execute("SELECT value FROM meta WHERE name = ?", (SECRET,)).fetchone()[0] == secret)

    def add_keys(self, keys: Sequence[Row]) -> list[str]:
        """The names of those that could not be added: others are called so."""
        refused = []
        for key in keys:
            try:
                self._db.execute(PUT_KEY, key)
            except psycopg().errors.UniqueViolation:
                refused.append(str(key[1]))
        return refused

    def add_sums(self, table: str, number: int, found: Sequence[Row]) -> bool:
        kept = [row for row in found if table != "rollups" or row[0] == PAIR_STEP_S]
        with self._db.raw.transaction():
            if not rows.is_new(self._db, self._writer(table), number):
                return False
            if kept:
                rows.add_sums(self._db, {table: kept})
        return True

    def add_turns(self, turns: Sequence[Row], items: Sequence[Row]) -> None:
        """The same turn again is the same."""
        with self._db.raw.transaction():
            self._db.executemany(PUT_TURN, turns)
            if items:
                self._db.executemany(PUT_ITEM, items)

    def add_owned(self, objects: Sequence[Row]) -> None:
        """The same object again is the same."""
        with self._db.raw.transaction():
            self._db.executemany(PUT_OWNED, objects)

    def add_calls(self, last_id: int, calls: Sequence[Call], texts: Sequence[Row]) -> bool:
        """A piece of at most CALLS_AT_ONCE, with the calls' texts, without their sums."""
        try:
            return self._add_calls(last_id, calls, texts)
        except psycopg().DataError:
            cleaned = [rows.clean(call) for call in calls]
            return self._add_calls(last_id, cleaned, [(text[0], cleaned[text[0]].started_ms, *text[2:]) for text in texts])

    def _add_calls(self, last_id: int, calls: Sequence[Call], texts: Sequence[Row]) -> bool:
        days = rows.days_of(calls) - self._days
        with self._db.raw.transaction():
            if days:
                partitions.ensure(self._db, days)
            if not rows.is_new(self._db, self._writer("calls"), last_id):
                return False
            numbers = rows.put_calls(self._db, rows.Ids(), calls, texts)
            times = [call.started_ms for call in calls]
            self._db.execute("INSERT INTO copied (source, first_id, last_id, from_ms, to_ms) VALUES (?, ?, ?, ?, ?)",
                             (self._source, numbers[0], numbers[-1], min(times), max(times)))  # fmt: skip
        self._days |= days
        return True

    def totals(self) -> Row:
        """The totals of the calls that came from the source, computed here."""
        pieces = self._db.execute("SELECT first_id, last_id, from_ms, to_ms FROM copied WHERE source = ? ORDER BY first_id",
                                  (self._source,)).fetchall()  # fmt: skip
        total: list[float] = [0, 0, 0, 0.0]
        sql = f"SELECT {CHECKED} FROM calls WHERE id BETWEEN ? AND ? AND started_ms BETWEEN ? AND ?"  # nosec B608
        for piece in pieces:
            row = self._db.execute(sql, piece).fetchone()
            total = [have + more for have, more in zip(total, row, strict=True)]
        return tuple(total)


def are_equal(one: Row, other: Row) -> bool:
    """Whether two counts are the same; of the costs, as near as adding in another order can be."""
    return one[:3] == other[:3] and math.isclose(one[3], other[3], rel_tol=COST_IS_NEAR, abs_tol=1e-6)
