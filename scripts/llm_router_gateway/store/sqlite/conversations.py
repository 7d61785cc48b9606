"""Kept conversations in the SQLite store: `store.conversations.Conversations`. Written behind the caller's back, found at once.

A turn that was appended waits in memory until the thread that writes has put it into the file, with all others that wait; until
then it is found there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from concurrent.futures import Future

from ..conversations import MAX_CHAIN, Turn
from .database import Store
from .file import Database
from .turn_rows import forget, found, kept_secret, packed, put, turn_of_item

MAX_WAITING_BYTES = 67_108_864  # of texts that the file cannot take just now; what comes then is not kept


class SqliteConversations:
    """See `store.conversations.Conversations`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, tuple[Turn, bytes]] = {}  # not in the file yet
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
        data = packed(turn)
        if self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            return
        self._waiting[turn.id] = turn, data
        self._waiting_bytes += len(data)
        self._submit()

    def _submit(self) -> None:
        """All that wait when it is its turn are written by one transaction; later ones need another."""
        if self._submitted:
            return
        self._submitted = True
        loop = asyncio.get_running_loop()
        future = self._store.write(self._put)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._written, done))

    def _put(self, db: Database) -> dict[str, tuple[Turn, bytes]]:
        """In the thread that writes."""
        self._submitted = False
        batch = dict(self._waiting)
        put(db, batch.values())
        return batch

    def _written(self, done: Future[dict[str, tuple[Turn, bytes]]]) -> None:
        if done.exception() is not None:
            self._submitted = False
            return  # they wait for the next that comes
        for turn_id, entry in done.result().items():
            if self._waiting.get(turn_id) is entry:
                del self._waiting[turn_id]
                self._waiting_bytes -= len(entry[1])

    async def find(self, owner: str, turn_id: str) -> Turn | None:
        entry = self._waiting.get(turn_id)
        if entry is not None and entry[0].owner == owner:
            return entry[0]
        return await self._store.reading(lambda db: found(db, owner, turn_id))

    async def chain(self, owner: str, turn_id: str) -> list[Turn]:
        waiting = {each: entry[0] for each, entry in self._waiting.items() if entry[0].owner == owner}

        def read(db: Database) -> list[Turn]:
            turns: list[Turn] = []
            name = turn_id
            while name and len(turns) < MAX_CHAIN:
                turn = waiting.get(name) or found(db, owner, name)
                if turn is None:
                    return []
                turns.append(turn)
                name = turn.previous
            return turns[::-1]

        return await self._store.reading(read)

    async def holding(self, owner: str, items: Collection[str]) -> list[Turn]:
        waiting = [entry[0] for entry in self._waiting.values() if entry[0].owner == owner]
        wanted = set(items)
        turns = {turn.id: turn for turn in waiting if not wanted.isdisjoint(turn.items)}

        def read(db: Database) -> list[Turn]:
            for item in wanted:
                name = turn_of_item(db, owner, item)
                turn = found(db, owner, name) if name and name not in turns else None
                if turn is not None:
                    turns[turn.id] = turn
            return list(turns.values())

        return await self._store.reading(read)

    async def delete(self, owner: str, turn_id: str) -> bool:
        entry = self._waiting.get(turn_id)
        was_waiting = entry is not None and entry[0].owner == owner
        if was_waiting:
            self._waiting_bytes -= len(self._waiting.pop(turn_id)[1])
        work = self._store.write(lambda db: forget(db, owner, turn_id))  # after those that are being written
        return await asyncio.wrap_future(work) or was_waiting
