"""Whose files and batches are, in a store that speaks SQL: `store.owned.OwnedObjects`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from . import owned_rows
from .owned import Owned, Wanted


class Engine(Protocol):
    """What is needed of the store."""

    async def transact(self, function: Callable[[Any], Any]) -> Any: ...
    async def reading(self, function: Callable[[Any], Any]) -> Any: ...


class SqlOwned:
    """See `store.owned.OwnedObjects`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, objects: Sequence[Owned]) -> None:
        await self._engine.transact(lambda db: owned_rows.put(db, objects))

    async def find(self, owner: str, kind: str, name: str) -> Owned | None:
        found: Owned | None = await self._engine.reading(lambda db: owned_rows.find(db, owner, kind, name))
        return found

    async def owners(self, kind: str, name: str) -> list[str]:
        found: list[str] = await self._engine.reading(lambda db: owned_rows.owners(db, kind, name))
        return found

    async def page(self, wanted: Wanted) -> list[Owned]:
        found: list[Owned] = await self._engine.reading(lambda db: owned_rows.page(db, wanted))
        return found

    async def delete(self, owner: str, kind: str, name: str) -> bool:
        return bool(await self._engine.transact(lambda db: owned_rows.forget(db, owner, kind, name)))
