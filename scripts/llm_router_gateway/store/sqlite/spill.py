"""A file for calls whose store is away: batches under the numbers of their writer, until they are carried over.

    spill = SpillFile("router.spill.db")          nothing is made before the first batch
    spill.put("5f1c...", 17, [(call, bodies)])    OSError where the disk does not take it
    batch = spill.oldest(); ...; spill.forget(batch)

It is a store like any other (`keys` and `store copy` read it), with one more table. Two gateways beside each other have two
files; one that a dead gateway left is carried over by the next that starts.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..call import COLUMNS, Call
from ..rollups import Entry
from ..spilling import Spilled
from .file import Database, StoreBroken, is_damage, lock, move_aside, open_writer, reason
from .rows import put

FILES = 16  # gateways with the same configuration file on one machine
TABLE = """CREATE TABLE IF NOT EXISTS spilled (
    place INTEGER PRIMARY KEY, writer TEXT NOT NULL, number INTEGER NOT NULL, first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL)"""
OLDEST = "SELECT place, writer, number, first_id, last_id FROM spilled ORDER BY place LIMIT 1"


class Place(NamedTuple):
    """Where a batch is."""

    file: int
    row: int
    first_id: int
    last_id: int


class SpillFile:
    """The first of the files that no other gateway has, and those that are left over."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._locks: dict[int, int] = {}  # number of the file -> the lock that this process holds
        self._open: dict[int, Database] = {}
        self._counts: dict[int, int] = {}
        self._claim()

    def _name(self, number: int) -> str:
        return self._path if number == 1 else f"{self._path}-{number}"

    def _claim(self) -> None:
        """Takes the files with calls that no gateway has any more."""
        for number in range(1, FILES + 1):
            if os.path.exists(self._name(number)) and self._take(number):
                with suppress(OSError):
                    self._db(number)

    def _take(self, number: int) -> bool:
        if number in self._locks:
            return True
        with suppress(OSError):
            found = lock(self._name(number))
            if found is not None:
                self._locks[number] = found
                return True
        return False

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """What SQLite says as an OSError."""
        try:
            yield
        except (sqlite3.Error, StoreBroken) as wrong:
            raise OSError(reason(wrong)) from None

    def _db(self, number: int) -> Database:
        if number not in self._open:
            path = self._name(number)
            with self._disk():
                try:
                    db = open_writer(path, int(time.time() * 1_000))
                except sqlite3.Error as wrong:
                    if not is_damage(wrong):
                        raise
                    move_aside(path, time.time())
                    db = open_writer(path, int(time.time() * 1_000))
                db.execute("PRAGMA synchronous = FULL")
                db.execute(TABLE)
                self._counts[number] = db.execute("SELECT coalesce(sum(last_id - first_id + 1), 0) FROM spilled").fetchone()[0]
            self._open[number] = db
        return self._open[number]

    @property
    def place(self) -> str:
        return self._name(min(self._locks, default=1))

    @property
    def waiting(self) -> int:
        return sum(self._counts.values())

    def put(self, writer: str, number: int, batch: Sequence[Entry]) -> None:
        """A batch, on disk when it returns; nothing when it is there already."""
        file = next((each for each in range(1, FILES + 1) if self._take(each)), None)
        if file is None:
            raise OSError(f"{FILES} gateways have a file beside {self._path}: give this one its own spill_file")
        db = self._db(file)
        with self._disk(), transaction(db):
            if db.execute("SELECT 1 FROM spilled WHERE writer = ? AND number = ?", (writer, number)).fetchone():
                return
            put(db, batch)
            last = db.execute("SELECT max(id) FROM calls").fetchone()[0]
            db.execute("INSERT INTO spilled (writer, number, first_id, last_id) VALUES (?, ?, ?, ?)",
                       (writer, number, last - len(batch) + 1, last))  # fmt: skip
        self._counts[file] += len(batch)

    def oldest(self) -> Spilled | None:
        for file in sorted(self._locks):
            if not self._counts.get(file) and not os.path.exists(self._name(file)):
                continue
            db = self._db(file)
            with self._disk():
                row = db.execute(OLDEST).fetchone()
                if row is None:
                    continue
                place, writer, number, first, last = row
                found = db.execute(f"SELECT id, {COLUMNS} FROM calls WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))  # nosec B608
                rows = found.fetchall()
                places = {each[0]: at for at, each in enumerate(rows)}
                kept = db.execute("SELECT * FROM bodies WHERE call_id BETWEEN ? AND ?", (first, last)).fetchall()
            texts = [(places[each[0]], *each[1:]) for each in kept if each[0] in places]
            calls = [Call._make(each[1:]) for each in rows]
            return Spilled(writer, number, calls, texts, Place(file, place, first, last))
        return None

    def forget(self, batch: Spilled) -> None:
        place: Place = batch.place
        db = self._db(place.file)
        with self._disk(), transaction(db):
            db.execute("DELETE FROM bodies WHERE call_id BETWEEN ? AND ?", (place.first_id, place.last_id))
            db.execute("DELETE FROM calls WHERE id BETWEEN ? AND ?", (place.first_id, place.last_id))
            db.execute("DELETE FROM spilled WHERE place = ?", (place.row,))
        self._counts[place.file] -= place.last_id - place.first_id + 1

    def close(self) -> None:
        """A file without calls goes."""
        for number, db in self._open.items():
            with suppress(sqlite3.Error):
                db.close()
            if not self._counts.get(number):
                for tail in ("", "-wal", "-shm"):
                    with suppress(OSError):
                        os.unlink(self._name(number) + tail)
        for number, mark in self._locks.items():
            os.close(mark)
            if not self._counts.get(number):
                with suppress(OSError):
                    os.unlink(self._name(number) + ".lock")
        self._open.clear()
        self._locks.clear()


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
