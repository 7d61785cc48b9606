"""Kept turns in the store: rows of `turns` and `turn_items` <-> store.conversations.Turn. Each function takes a connection.

put(db, [turn])
find(db, "key_1", "resp_1")        -> Turn, or None: another owner's is none
turn_of_item(db, "key_1", "msg_7")  -> "resp_1"
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterable
from typing import Any

from .conversations import Turn

SECRET = "seal_secret"  # nosec B105  # its name in the table, not itself  # pragma: allowlist secret
SECRET_BYTES = 32
SQUEEZED = 1  # zlib's fastest: texts shrink to a third
SMALL_BYTES = 8_192  # a turn that is no longer stays as it is: squeezing costs more CPU than all else that keeps it
TEXT_START = b"{"  # of a turn that was not squeezed
COLUMNS = "id, owner, previous, created_s, member, key, value"
FOREVER = float("inf")
PUT_TURN = """INSERT INTO turns (id, owner, previous, created_s, member, key, bytes, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, previous = excluded.previous, created_s = excluded.created_s,
    member = excluded.member, key = excluded.key, bytes = excluded.bytes, value = excluded.value"""
PUT_ITEM = """INSERT INTO turn_items (owner, item_id, turn_id) VALUES (?, ?, ?)
    ON CONFLICT (owner, item_id) DO UPDATE SET turn_id = excluded.turn_id"""

Database = Any  # a connection that takes `?` for a parameter


def squeeze(text: bytes) -> bytes:
    return text if len(text) <= SMALL_BYTES else zlib.compress(text, SQUEEZED)


def turn_of(row: tuple[Any, ...]) -> Turn:
    turn_id, owner, previous, created, member, key, data = row
    text = data if data.startswith(TEXT_START) else zlib.decompress(data)
    return Turn(turn_id, owner, previous, created, member, key, text)


def put(db: Database, turns: Iterable[Turn]) -> None:
    for turn in turns:
        data = squeeze(turn.text)
        db.execute(
            PUT_TURN,
            (turn.id, turn.owner, turn.previous, turn.created, turn.member, turn.key, len(data), data),
        )
        db.executemany(
            PUT_ITEM,
            [(turn.owner, item, turn.id) for item in turn.items],
        )


def find(db: Database, owner: str, turn_id: str) -> Turn | None:
    row = db.execute(f"SELECT {COLUMNS} FROM turns WHERE id = ? AND owner = ?", (turn_id, owner)).fetchone()  # nosec B608
    return None if row is None else turn_of(row)


def turn_of_item(db: Database, owner: str, item: str) -> str:
    row = db.execute("SELECT turn_id FROM turn_items WHERE owner = ? AND item_id = ?", (owner, item)).fetchone()
    return "" if row is None else str(row[0])


def forget(db: Database, owner: str, turn_id: str) -> bool:
    return bool(db.execute("DELETE FROM turns WHERE id = ? AND owner = ?", (turn_id, owner)).rowcount)


def kept_secret(db: Database) -> bytes:
    """The secret of this store, created at first use."""
    db.execute("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (SECRET, secrets.token_hex(SECRET_BYTES)))
    return bytes.fromhex(db.execute("SELECT value FROM meta WHERE name = ?", (SECRET,)).fetchone()[0])


def forget_turns(db: Database, before_s: float, rows: int) -> int:
    """The oldest of those made before a time: a step of the retention."""
    sql = "DELETE FROM turns WHERE id IN (SELECT id FROM turns WHERE created_s < ? ORDER BY created_s LIMIT ?)"
    return int(db.execute(sql, (before_s, rows)).rowcount)


def forget_too_many(db: Database, max_bytes: float, rows: int) -> int:
    """A step towards what conversations may hold together: the oldest go."""
    if max_bytes == FOREVER or db.execute("SELECT COALESCE(SUM(bytes), 0) FROM turns").fetchone()[0] <= max_bytes:
        return 0
    sql = "DELETE FROM turns WHERE id IN (SELECT id FROM turns ORDER BY created_s LIMIT ?)"
    return int(db.execute(sql, (rows,)).rowcount)
