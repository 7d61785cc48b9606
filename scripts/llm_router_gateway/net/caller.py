"""Who a request comes from, as far as its key says: a value that handlers see and that access control fills in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: the id and name of the key, whether it may administer, and what else is known of the key."""

    key_id: str = ""
    name: str = ""
    is_admin: bool = False
    key: Any = None  # keys.Key, where the caller has one of those
    is_cookie: bool = False  # known by a session's cookie


ANONYMOUS = Caller()
