"""Callers' keys in the SQLite store: `store.keys.KeyRepository` over a transaction that the caller provides.

    SqliteKeys.of(store)                          in a running gateway, by the thread that writes
    with KeyFile("router.db", creates=True) as file:
        SqliteKeys(file.transact, "router.db")    on the command line, over a connection of its own

Every method is one transaction, on disk when it returns.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ...config.keys import Key
from ...errors import NotSaved, Unavailable
from ...policy.budgets import Spent
from ..keys import Change, Keys, Row
from . import key_rows
from .database import Store
from .file import MEMORY, Database, StoreBroken, is_busy, is_of_disk, open_writer, reason

Transact = Callable[[Callable[[Database], Any]], Awaitable[Any]]
Submit = Callable[[Callable[[Database], None]], object]  # done some time later


def ignore(work: Callable[[Database], None]) -> None:
    """For a command line, which uses no key."""


class SqliteKeys:
    """See `store.keys.KeyRepository`."""

    def __init__(self, transact: Transact, path: str, submit: Submit = ignore) -> None:
        self._transact, self._path, self._submit = transact, path, submit

    @classmethod
    def of(cls, store: Store) -> SqliteKeys:
        async def transact(work: Callable[[Database], Any]) -> Any:
            try:
                return await asyncio.wrap_future(store.write(work))
            except sqlite3.Error as wrong:
                if not (is_of_disk(wrong) or is_busy(wrong)):
                    raise
                if is_busy(wrong):
                    raise Unavailable(f"nothing was changed: another program holds {store.path}", retry_after_s=1) from None
                raise NotSaved(f"nothing was changed: {store.path} takes no more: {reason(wrong)}") from None
            except Unavailable as wrong:
                raise NotSaved(f"nothing was changed: {wrong.message}") from None

        return cls(transact, store.path, store.write)

    @property
    def place(self) -> str:
        return "memory" if self._path == MEMORY else self._path

    async def all(self) -> Keys:
        found: Keys = await self._transact(key_rows.keys)
        return found

    async def find(self, name: str) -> Row:
        row: Row = await self._transact(lambda db: key_rows.find(db, name))
        return row

    async def _changed(self, work: Callable[[Database], Row]) -> Change:
        change: Change = await self._transact(lambda db: Change(work(db), key_rows.keys(db)))
        return change

    async def insert(self, key: Key, digest: bytes) -> Change:
        return await self._changed(lambda db: key_rows.insert(db, key, digest))

    async def change(self, name: str, table: Mapping[str, Any]) -> Change:
        return await self._changed(lambda db: key_rows.change(db, name, table))

    async def rotate(self, name: str, digest: bytes, hint: str) -> Change:
        return await self._changed(lambda db: key_rows.rotate(db, name, digest, hint))

    async def delete(self, name: str) -> Change:
        return await self._changed(lambda db: key_rows.delete(db, name))

    async def spent(self, now: float) -> list[Spent]:
        found: list[Spent] = await self._transact(lambda db: key_rows.spent(db, now))
        return found

    def mark_used(self, used: Mapping[str, float]) -> None:
        self._submit(lambda db: key_rows.mark_used(db, used))


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
