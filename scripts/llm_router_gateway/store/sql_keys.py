"""Callers' keys in a store that speaks SQL: `store.keys.KeyRepository` over a transaction that the caller provides.

    SqlKeys(store.transact, "router.db", store.write)    in a running gateway
    SqlKeys(file.transact, "router.db")                  on the command line

Every method is one transaction, on disk when it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..config.keys import Key
from ..policy.budgets import Spent
from . import key_rows
from .keys import Change, Keys, Row

Database = Any  # what `store.key_rows` executes its statements with
Transact = Callable[[Callable[[Database], Any]], Awaitable[Any]]
Submit = Callable[[Callable[[Database], None]], object]  # done some time later
Ledger = Callable[[Database, float], list[Spent]]


def ignore(work: Callable[[Database], None]) -> None:
    """For a command line, which uses no key."""


class SqlKeys:
    """See `store.keys.KeyRepository`."""

    def __init__(self, transact: Transact, place: str, submit: Submit = ignore, spent: Ledger = key_rows.spent) -> None:
        self._transact, self.place, self._submit, self._spent = transact, place, submit, spent

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

    async def reset_of_file(self, key_id: str, table: Mapping[str, Any]) -> Change:
        return await self._changed(lambda db: key_rows.reset_of_file(db, key_id, table))

    async def rotate(self, name: str, digest: bytes, hint: str) -> Change:
        return await self._changed(lambda db: key_rows.rotate(db, name, digest, hint))

    async def delete(self, name: str) -> Change:
        return await self._changed(lambda db: key_rows.delete(db, name))

    async def spent(self, now: float) -> list[Spent]:
        found: list[Spent] = await self._transact(lambda db: self._spent(db, now))
        return found

    def mark_used(self, used: Mapping[str, float]) -> None:
        self._submit(lambda db: key_rows.mark_used(db, used))
