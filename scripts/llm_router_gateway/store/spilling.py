"""The seam of what waits on this machine while a store's server is away: batches of calls under their writer's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from .call import Call
from .rollups import Entry


class Spilled(NamedTuple):
    """A batch that waits."""

    writer: str
    number: int
    calls: Sequence[Call]
    texts: Sequence[tuple[Any, ...]]  # rows of `bodies` that begin with the call's place in the batch
    place: Any  # where it is


class Spill(Protocol):
    """Where batches wait: `store.sqlite.spill.SpillFile`. OSError where it cannot be used."""

    @property
    def place(self) -> str:
        """For messages."""

    @property
    def waiting(self) -> int:
        """Calls in it."""

    def put(self, writer: str, number: int, batch: Sequence[Entry]) -> None:
        """On disk when it returns; once, however often it is put."""

    def oldest(self) -> Spilled | None: ...
    def forget(self, batch: Spilled) -> None: ...
    def close(self) -> None: ...
