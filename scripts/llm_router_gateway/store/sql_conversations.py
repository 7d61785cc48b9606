"""Kept conversations in a store that speaks SQL: `store.conversations.Conversations`. Written later, found at once.

A turn that was appended waits in memory until the thread that writes has stored it, with all others that wait; until then it is
found there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from .conversations import MAX_CHAIN, Turn
from .turn_rows import find, forget, kept_secret, put, turn_of_item

GATHER_S = 0.2  # turns that come within it share one transaction; waking the thread that writes costs more than a turn
AGAIN_S = (0.3, 0.7)  # after which an unknown turn is looked for again: another process may be about to write it
RETRY_S = 1.0  # after a store that could not be written to
Found = TypeVar("Found")
MAX_WAITING_BYTES = 67_108_864  # of texts that the store cannot take just now; what comes then is not kept


Database = Any  # what `store.turn_rows` executes its statements with


class Turns(Protocol):
    """What is needed of the store."""

    def write(self, function: Callable[[Any], Any], *, durable: bool = True) -> Future[Any]: ...
    async def reading(self, function: Callable[[Any], Any]) -> Any: ...


class SqlConversations:
    """See `store.conversations.Conversations`."""

    def __init__(self, store: Turns) -> None:
        self._store = store
        self._waiting: dict[str, Turn] = {}  # not stored yet
        self._waiting_bytes = 0
        self._submitted = False
        self._secret = b""

    @property
    def secret(self) -> bytes:
        if not self._secret:
            try:
                self._secret = self._store.write(kept_secret).result()
            except Exception:  # a store that cannot be used now: texts made until the next start are good until then
                self._secret = secrets.token_bytes()
        return self._secret

    def append(self, turn: Turn) -> None:
        if self._waiting_bytes + len(turn.text) > MAX_WAITING_BYTES:
            return
        self._waiting[turn.id] = turn
        self._waiting_bytes += len(turn.text)
        if not self._submitted:
            self._submitted = True
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """All that wait when it is its turn are written by one transaction; later ones need another."""
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        future = self._store.write(self._put, durable=False)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._written, done))

    def _put(self, db: Database) -> dict[str, Turn]:
        """In the thread that writes."""
        self._submitted = False
        batch = dict(self._waiting)
        put(db, batch.values())
        return batch

    def _written(self, done: Future[dict[str, Turn]]) -> None:
        if done.exception() is not None:  # they wait in memory, here alone
            self._submitted = True
            asyncio.get_running_loop().call_later(RETRY_S, self.flush)
            return
        for turn_id, turn in done.result().items():
            if self._waiting.get(turn_id) is turn:
                del self._waiting[turn_id]
                self._waiting_bytes -= len(turn.text)

    async def find(self, owner: str, turn_id: str) -> Turn | None:
        waiting = self._waiting.get(turn_id)
        if waiting is not None and waiting.owner == owner:
            return waiting
        return await self._looked_up(lambda db: find(db, owner, turn_id), lambda turn: turn is not None)

    async def chain(self, owner: str, turn_id: str) -> list[Turn]:
        waiting = {each: turn for each, turn in self._waiting.items() if turn.owner == owner}

        def read(db: Database) -> list[Turn]:
            turns: list[Turn] = []
            name = turn_id
            while name and len(turns) < MAX_CHAIN:
                turn = waiting.get(name) or find(db, owner, name)
                if turn is None:
                    return []
                turns.append(turn)
                name = turn.previous
            return turns[::-1]

        return await self._looked_up(read, bool)

    async def holding(self, owner: str, items: Collection[str]) -> list[Turn]:
        waiting = [turn for turn in self._waiting.values() if turn.owner == owner]
        wanted = set(items)
        turns = {turn.id: turn for turn in waiting if not wanted.isdisjoint(turn.items)}
        left = wanted.difference(*(turn.items for turn in turns.values()))

        def read(db: Database) -> dict[str, str]:
            return {item: name for item in left if (name := turn_of_item(db, owner, item))}

        places = await self._looked_up(read, lambda known: len(known) == len(left))
        names = set(places.values()) - turns.keys()
        more = await self._store.reading(lambda db: [find(db, owner, name) for name in names]) if names else []
        return [*turns.values(), *(turn for turn in more if turn is not None)]

    async def _looked_up(self, read: Callable[[Database], Found], is_all: Callable[[Found], bool]) -> Found:
        """What is read; where that is not all, again when others on this store have written theirs."""
        known: Found = await self._store.reading(read)
        for pause_s in AGAIN_S:
            if is_all(known):
                break
            await asyncio.sleep(pause_s)
            known = await self._store.reading(read)
        return known

    async def delete(self, owner: str, turn_id: str) -> bool:
        waiting = self._waiting.get(turn_id)
        was_waiting = waiting is not None and waiting.owner == owner
        if was_waiting:
            self._waiting_bytes -= len(self._waiting.pop(turn_id).text)
        work = self._store.write(lambda db: forget(db, owner, turn_id))  # after those that are being written
        return await asyncio.wrap_future(work) or was_waiting
