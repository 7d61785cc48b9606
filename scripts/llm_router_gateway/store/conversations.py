"""The seam of kept conversations: turns that a caller may build on later, whatever keeps them (by default the SQLite store).

    kept.append(Turn("resp_1", "key_1", "", now, "p/m", "5f1c", text_of(value)))     at once; found from then on
    await kept.chain("key_1", "resp_2")      -> [the turn of resp_1, that of resp_2]: oldest first; [] for an unknown id
    await kept.holding("key_1", ["msg_7"])   -> the turns that these items belong to

A turn belongs to the key of the caller whose it is: another caller's id is an unknown one. `text` is the caller's own JSON,
texts on disk: how long they stay is the retention's business. It is read only where it is needed: a conversation may be as
large as a body, and is then read by a worker process.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

MAX_CHAIN = 1_000  # turns of one conversation; a longer one has been compacted long before
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, default=str)


def text_of(value: Mapping[str, Any]) -> bytes:
    """What a turn holds, as it is kept. Half of a surrogate pair stays what it is."""
    return ENCODER.encode(value).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Turn:
    """One answer, with the conversation before it.

    member, key   the upstream that gave it in the caller's own protocol, and so has its id: a model's full name and the mark
                  of the key that was sent; "" where it was converted and the id is the gateway's
    items         ids of its items by which a caller may name them
    """

    id: str
    owner: str  # the caller's key
    previous: str  # the turn before; "" for the first
    created: float  # Unix seconds
    member: str
    key: str
    text: bytes
    items: Sequence[str] = ()

    @cached_property
    def value(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.text.decode("utf-8", "surrogatepass"))
        return found


class Conversations(Protocol):
    """Kept turns."""

    @property
    def secret(self) -> bytes:
        """What signs the texts that callers bring back: the same after a restart, and for every process on this store."""

    def append(self, turn: Turn) -> None:
        """Never waits, never raises; found from now on."""

    async def find(self, owner: str, turn_id: str) -> Turn | None: ...
    async def chain(self, owner: str, turn_id: str) -> list[Turn]:
        """A turn and those before it, oldest first. A turn before it that is gone ends the chain: [] then."""

    async def holding(self, owner: str, items: Collection[str]) -> list[Turn]: ...
    async def delete(self, owner: str, turn_id: str) -> bool:
        """Whether it was there."""


class Unkept:
    """Where there is no store: nothing is kept, and what is signed is good until the stop."""

    def __init__(self) -> None:
        self.secret = secrets.token_bytes()

    def append(self, turn: Turn) -> None:
        pass

    async def find(self, owner: str, turn_id: str) -> Turn | None:
        return None

    async def chain(self, owner: str, turn_id: str) -> list[Turn]:
        return []

    async def holding(self, owner: str, items: Collection[str]) -> list[Turn]:
        return []

    async def delete(self, owner: str, turn_id: str) -> bool:
        return False
