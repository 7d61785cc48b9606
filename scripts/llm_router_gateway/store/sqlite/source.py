"""A SQLite store that is read from one end to the other, by one program alone: the source of `store copy`.

with StoreSource("router.db") as source:          StoreBroken where it cannot be, or a gateway records its calls there
    source.begin("target's id")                   StoreBroken when it was changed since a copy to there began
    for rows in source.sums("totals", 500): ...   each a list, in the same order every time
    for batch in source.calls(after=4096, count=1024): ...
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, NamedTuple

from ..call import COLUMNS, SUMS, Call
from ..owned_rows import COLUMNS as OWNED_COLUMNS
from .file import Database, StoreBroken, lock, open_writer, reason

IN_USE = "is in use by a gateway: stop it, or let it use the new store and copy this file then"
SUM_COLUMNS = ("step_s", "at_s", "provider", "model", "key_id", *SUMS, "duration_bins", "first_bins")
TURN_COLUMNS = ("id", "owner", "previous", "created_s", "member", "key", "bytes", "value")
KEY_COLUMNS = ("id", "name", "digest", "hint", "created_s", "terms", "last_used_s")
CHECKED = "count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cost_usd), 0.0)"

Row = tuple[Any, ...]


class Batch(NamedTuple):
    """Calls with their texts, as rows of `bodies` that begin with the call's place in the batch."""

    last_id: int
    calls: list[Call]
    texts: list[Row]


class StoreSource:
    """See the module."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> StoreSource:
        if not os.path.exists(self.path):
            raise StoreBroken(f"there is no store {self.path}")
        mark = lock(self.path)
        if mark is None:
            raise StoreBroken(f"{self.path} {IN_USE}")
        self._lock = mark
        try:
            self._db: Database = open_writer(self.path, int(time.time() * 1_000))
        except (sqlite3.Error, OSError) as wrong:
            os.close(mark)
            raise StoreBroken(f"{self.path} cannot be used: {reason(wrong)}") from None
        self._db.execute("INSERT INTO meta (name, value) VALUES ('store_id', ?) ON CONFLICT DO NOTHING", (token_hex(8),))
        self.id = str(self._meta("store_id"))
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()
        os.close(self._lock)

    def _meta(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def begin(self, target: str) -> None:
        """Marks where a copy to a target began; a copy that goes on must find the same."""
        name, now = f"copied_to:{target}", self._state()
        self._db.execute("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, now))
        if self._meta(name) != now:
            raise StoreBroken(f"{self.path} was changed since its copy to this database began: sums would be counted twice. "
                              "Copy it into an empty database")  # fmt: skip

    def _state(self) -> str:
        """What changes with every call that is recorded, and not with what is forgotten."""
        return str(self._db.execute("SELECT coalesce(max(id), 0) FROM calls").fetchone()[0])

    @property
    def secret(self) -> str | None:
        """What signs the texts that callers bring back."""
        return self._meta("seal_secret")

    def totals(self) -> Row:
        """(calls, input tokens, output tokens, cost)"""
        row: Row = self._db.execute(f"SELECT {CHECKED} FROM calls").fetchone()  # nosec B608
        return row

    def keys(self) -> list[Row]:
        found = self._db.execute(f"SELECT {', '.join(KEY_COLUMNS)} FROM api_keys ORDER BY created_s, name")  # nosec B608
        return found.fetchall()

    def sums(self, table: str, count: int) -> Iterator[list[Row]]:
        yield from self._pieces(f"SELECT {', '.join(SUM_COLUMNS)} FROM {table} "  # nosec B608
                                "ORDER BY step_s, at_s, provider, model, key_id", count)  # fmt: skip

    def turns(self, count: int) -> Iterator[list[Row]]:
        yield from self._pieces(f"SELECT {', '.join(TURN_COLUMNS)} FROM turns ORDER BY created_s, id", count)  # nosec B608

    def items(self, turn_ids: list[str]) -> list[Row]:
        marks = ", ".join("?" * len(turn_ids))
        found = self._db.execute(f"SELECT owner, item_id, turn_id FROM turn_items WHERE turn_id IN ({marks})", turn_ids)  # nosec B608
        return found.fetchall()

    def owned(self, count: int) -> Iterator[list[Row]]:
        """Whose files and batches are."""
        sql = f"SELECT {OWNED_COLUMNS} FROM owned ORDER BY created_s, owner, kind, id"  # nosec B608
        yield from self._pieces(sql, count)

    def _pieces(self, sql: str, count: int) -> Iterator[list[Row]]:
        cursor = self._db.execute(sql)
        while rows := cursor.fetchmany(count):
            yield rows

    def calls(self, after: int, count: int) -> Iterator[Batch]:
        """Those with a higher id, in order."""
        sql = f"SELECT id, {COLUMNS} FROM calls WHERE id > ? ORDER BY id LIMIT ?"  # nosec B608
        while rows := self._db.execute(sql, (after, count)).fetchall():
            places = {row[0]: place for place, row in enumerate(rows)}
            kept = self._db.execute("SELECT * FROM bodies WHERE call_id BETWEEN ? AND ?", (rows[0][0], rows[-1][0])).fetchall()
            texts = [(places[row[0]], *row[1:]) for row in kept if row[0] in places]
            after = rows[-1][0]
            yield Batch(after, [Call._make(row[1:]) for row in rows], texts)
