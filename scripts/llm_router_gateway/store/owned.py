"""The seam of what callers keep at providers: whose each file and batch is, and where it lives.

    await owned.put([Owned("key_1", "file", "file-1", 100.0, "openai", "5f1c", {"id": "file-1", ...}, "batch")])
    await owned.find("key_1", "file", "file-1")              -> the same; None for an unknown id, and for another owner's
    await owned.page(Wanted("key_1", "file", limit=2))       -> at most so many, newest first
    await owned.delete("key_1", "file", "file-1")            -> whether it was there

What is put is on disk when it returns: a file that no caller could find again would stay at its provider for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Owned:
    """One object at a provider."""

    owner: str  # the caller's key
    kind: str  # in its protocol's word: "file", "batch"
    id: str
    created: float  # Unix seconds; its place in lists
    provider: str
    key: str  # the mark of the provider's key that it was made with
    value: Mapping[str, Any]  # as the provider described it last; {} for one that was only named
    label: str = ""  # by which lists are filtered: a file's purpose


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page of what an owner has."""

    owner: str
    kind: str
    after: str = ""  # an id of this owner's: the page begins behind it
    limit: int = 20
    is_ascending: bool = False  # oldest first
    label: str = ""  # only those with it; "" for all


class OwnedObjects(Protocol):
    """What is remembered. Each method raises NotSaved or Unavailable where the store cannot be used."""

    async def put(self, objects: Sequence[Owned]) -> None:
        """New ones, and what is known anew of old ones, which keep their place in lists."""

    async def find(self, owner: str, kind: str, name: str) -> Owned | None: ...
    async def owners(self, kind: str, name: str) -> list[str]:
        """Whose an id is: of several, where providers give the same one twice."""

    async def page(self, wanted: Wanted) -> list[Owned]: ...
    async def delete(self, owner: str, kind: str, name: str) -> bool: ...
