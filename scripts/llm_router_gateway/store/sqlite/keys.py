"""The keys of a SQLite store on the command line, beside a gateway that may have it open.

with KeyFile("router.db", creates=True) as file:
    SqlKeys(file.transact, "router.db")
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from ..key_rows import IS_KEY
from .file import MEMORY, Database, StoreBroken, connect, open_writer, reason


def count_keys(path: str) -> int | None:
    """The keys of a store; None where they cannot be read."""
    if path in ("", MEMORY) or not os.path.lexists(path):
        return 0
    try:
        with closing(connect(path, reads=True)) as db:
            return int(db.execute(f"SELECT count(*) FROM api_keys WHERE {IS_KEY}").fetchone()[0])  # nosec B608
    except (sqlite3.Error, OSError, StoreBroken):
        return None


class KeyFile:
    """A connection of the command line's own, to a store that a gateway may have open. StoreBroken with what to do."""

    def __init__(self, path: str, *, creates: bool) -> None:
        self._path = path
        if not creates and not os.path.exists(path):
            raise StoreBroken(f"there is no store {path}: `keys create` makes one")
        try:
            self._db = open_writer(path, int(time.time() * 1000))
        except (sqlite3.Error, OSError) as wrong:
            raise StoreBroken(f"{path} cannot be used: {reason(wrong)}") from None

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    async def transact(self, work: Callable[[Database], Any]) -> Any:
        """`work` in one transaction, on disk when it is done."""
        db = self._db
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            return result
        except sqlite3.Error as wrong:
            raise StoreBroken(f"{self._path} cannot be used: {reason(wrong)}") from None
