"""The caller of a request, as its key identifies it: a value that access control creates and handlers read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """The id and name of the caller's key, whether it may administer, and the key itself."""

    key_id: str = ""
    name: str = ""
    is_admin: bool = False
    key: Any = None  # keys.Key, where the caller has one of those
    is_cookie: bool = False  # known by a session's cookie

    @property
    def is_monitor(self) -> bool:
        """Whether it may read monitoring, and nothing else."""
        return self.key is not None and self.key.is_monitor


ANONYMOUS = Caller()
