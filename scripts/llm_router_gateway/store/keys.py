"""The interface of the key repository, whatever stores it (by default `store/sql_keys` over SQLite).

    change = await keys.insert(key, digest)      on disk when it returns; Conflict when the name is taken
    change.row.key, change.keys                  the key as it is now, and all keys as they are after the change
    await keys.find("laptop")                    -> Row(key, digest, last_used); NotFound

A key itself is nowhere: its SHA-256 digest is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from ..config.keys import Key
from ..policy.budgets import Spent


class Row(NamedTuple):
    """A key of the store."""

    key: Key
    digest: bytes
    last_used: float | None


class Keys(NamedTuple):
    """All keys as they were at one moment; of two such moments the later one has the higher generation.

    Among them are the resets of keys that a configuration file has (`key.is_of_file`), which admit no caller.
    """

    rows: list[Row]
    generation: int


class Change(NamedTuple):
    """What a change led to: the key as it is now (as it was, where it is gone), and all keys after it."""

    row: Row
    keys: Keys


class KeyRepository(Protocol):
    """Callers' keys. `name` is a key's name or its id."""

    @property
    def place(self) -> str:
        """Where keys are stored, for messages: a path, or "memory"."""

    async def all(self) -> Keys: ...
    async def find(self, name: str) -> Row:
        """NotFound if there is none."""

    async def insert(self, key: Key, digest: bytes) -> Change:
        """Conflict when the name is taken."""

    async def change(self, name: str, table: Mapping[str, Any]) -> Change:
        """The key after a PATCH; BadRequest, Conflict, NotFound."""

    async def reset_of_file(self, key_id: str, table: Mapping[str, Any]) -> Change:
        """Keeps the reset (`config.keys.reset_now`) of a key that a configuration file has."""

    async def rotate(self, name: str, digest: bytes, hint: str) -> Change:
        """Another secret for the same key: the old one ends."""

    async def delete(self, name: str) -> Change: ...
    async def spent(self, now: float) -> list[Spent]:
        """What each key spent today and this month, by the sums of the call log."""

    def mark_used(self, used: Mapping[str, float]) -> None:
        """When keys were used last: their ids, and Unix seconds. Written when it can be; never waits, never raises."""


class KeyHolder(Protocol):
    """What admits callers by what the repository holds: `access.authenticate.Authenticator`."""

    sealed: str  # why anonymous callers are refused
    is_unread: bool  # the keys of the store are not known

    def take(self, rows: Iterable[Row], generation: int, is_new: bool = False, lost: str = "") -> None: ...
    def judge(self, unknown: str, expired: str) -> None: ...
