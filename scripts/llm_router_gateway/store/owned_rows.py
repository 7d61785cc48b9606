"""Rows of `owned` <-> store.owned.Owned. Each function takes a connection, and serves every engine.

put(db, [owned])
find(db, "key_1", "file", "file-1")   -> Owned, or None
page(db, Wanted("key_1", "file"))     -> [Owned, ...]
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .owned import Owned, Wanted

COLUMNS = "owner, kind, id, created_s, provider, key, label, value"
PUT = f"""INSERT INTO owned ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (owner, kind, id) DO UPDATE SET provider = excluded.provider, key = excluded.key, label = excluded.label,
    value = excluded.value"""  # nosec B608  # of constants
MINE = "owner = ? AND kind = ?"

Database = Any  # a connection that takes `?` for a parameter


def row_of(owned: Owned) -> tuple[Any, ...]:
    value = json.dumps(owned.value, separators=(",", ":"))
    return (owned.owner, owned.kind, owned.id, owned.created, owned.provider, owned.key, owned.label, value)


def owned_of(row: tuple[Any, ...]) -> Owned:
    owner, kind, name, created, provider, key, label, value = row
    return Owned(owner, kind, name, created, provider, key, json.loads(value), label)


def put(db: Database, objects: Iterable[Owned]) -> None:
    for owned in objects:
        db.execute(PUT, row_of(owned))


def find(db: Database, owner: str, kind: str, name: str) -> Owned | None:
    row = db.execute(f"SELECT {COLUMNS} FROM owned WHERE {MINE} AND id = ?", (owner, kind, name)).fetchone()  # nosec B608
    return None if row is None else owned_of(row)


def owners(db: Database, kind: str, name: str) -> list[str]:
    return [str(row[0]) for row in db.execute("SELECT owner FROM owned WHERE kind = ? AND id = ?", (kind, name)).fetchall()]


def page(db: Database, wanted: Wanted) -> list[Owned]:
    """The rows behind `after`; [] if that row is not this owner's."""
    where, values = [MINE], list[Any]([wanted.owner, wanted.kind])
    if wanted.label:
        where.append("label = ?")
        values.append(wanted.label)
    if wanted.after:
        last = find(db, wanted.owner, wanted.kind, wanted.after)
        if last is None:
            return []
        where.append(f"(created_s, id) {'>' if wanted.is_ascending else '<'} (?, ?)")
        values += [last.created, last.id]
    order = "created_s, id" if wanted.is_ascending else "created_s DESC, id DESC"
    sql = f"SELECT {COLUMNS} FROM owned WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?"  # nosec B608  # of constants
    return [owned_of(row) for row in db.execute(sql, (*values, wanted.limit)).fetchall()]


def forget(db: Database, owner: str, kind: str, name: str) -> bool:
    return bool(db.execute(f"DELETE FROM owned WHERE {MINE} AND id = ?", (owner, kind, name)).rowcount)  # nosec B608


def forget_owned(db: Database, before_s: float, rows: int) -> int:
    """The oldest of those made before a time: a step of the retention."""
    sql = ("DELETE FROM owned WHERE (owner, kind, id) IN "
           "(SELECT owner, kind, id FROM owned WHERE created_s < ? ORDER BY created_s LIMIT ?)")  # fmt: skip
    return int(db.execute(sql, (before_s, rows)).rowcount)
