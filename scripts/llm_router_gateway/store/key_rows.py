"""Keys in the store: rows of `api_keys` <-> store.keys.Row. Each function takes a connection and is one part of a transaction.

rows(db)                        -> [Row(key, digest, last_used), ...]
insert(db, key, digest)         -> Row; Conflict when the name is taken
reset_of_file(db, key_id, {})   -> Row; all that a key of a configuration file has here
generation(db)                  changes when any program changed a key
spent(db, now)                  -> [("key_1", "day", 0.12, 5100.0), ...] of the call log
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..config.keys import CONFIG_ID, Key, read_json, terms_json
from ..errors import BadRequest, Conflict, NotFound
from ..policy.budgets import DAY_S, Spent
from .keys import Keys, Row

COLUMNS = "id, name, digest, hint, created_s, terms, last_used_s"
GENERATION = "SELECT value FROM meta WHERE name = 'keys_generation'"
IS_KEY = f"substr(id, 1, {len(CONFIG_ID)}) <> '{CONFIG_ID}'"  # the other rows are resets of keys that a file has


def row_of(values: tuple[Any, ...]) -> Row:
    """A row that cannot be read is a key that is refused, not one that is forgotten."""
    key_id, name, digest, hint, created, terms, last_used = values
    try:
        key = read_json(json.loads(terms))
    except (ValueError, BadRequest, RecursionError):
        key = Key(key_id, name, note="its row in the store cannot be read", is_active=False)
    if isinstance(digest, str):  # no digest, but a text that somebody put there: no secret leads to it
        digest = digest.encode()
    if key_id.startswith(CONFIG_ID):
        name = name_of_file(key_id)
    return Row(replace(key, id=key_id, name=name, hint=hint, created=created), bytes(digest), last_used)


def name_of_file(key_id: str) -> str:
    """name_of_file("config:ci") -> "ci" """
    return key_id.removeprefix(CONFIG_ID)


def rows(db: Any) -> list[Row]:
    return [row_of(each) for each in db.execute(f"SELECT {COLUMNS} FROM api_keys ORDER BY created_s, name")]  # nosec B608


def generation(db: Any) -> str:
    found = db.execute(GENERATION).fetchone()
    return str(found[0]) if found else ""


def ledger_name(db: Any) -> str:
    """What this file is called among gateways that share budgets; it outlives moves and restarts."""
    db.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('ledger', lower(hex(randomblob(8))))")
    return str(db.execute("SELECT value FROM meta WHERE name = 'ledger'").fetchone()[0])


def keys(db: Any) -> Keys:
    return Keys(rows(db), int(generation(db) or 0))


def look(db: Any, known: str | None) -> tuple[str, list[Row] | None]:
    """(generation, the keys, or None when that is the known one)."""
    current = generation(db)
    return current, None if current == known else rows(db)


def find(db: Any, name: str) -> Row:
    """A key by its id or its name; NotFound."""
    sql = f"SELECT {COLUMNS} FROM api_keys WHERE (id = ? OR name = ?) AND {IS_KEY} ORDER BY id <> ?"  # nosec B608
    found = db.execute(sql, (name, name, name)).fetchone()
    if found is None:
        raise NotFound(f"no key {name[:100]!r} in the store")
    return row_of(found)


def check_name(db: Any, name: str, key_id: str) -> None:
    if db.execute("SELECT 1 FROM api_keys WHERE name = ? AND id <> ?", (name, key_id)).fetchone():
        raise Conflict(f"a key is called {name!r} already", details={"path": "name"})


def text_of(key: Key) -> str:
    return json.dumps(terms_json(key))  # in ASCII: half of a character, in a note, has no other form


def insert(db: Any, key: Key, digest: bytes) -> Row:
    check_name(db, key.name, key.id)
    db.execute(
        "INSERT INTO api_keys (id, name, digest, hint, created_s, terms) VALUES (?, ?, ?, ?, ?, ?)",
        (key.id, key.name, digest, key.hint, key.created, text_of(key)),
    )
    return Row(key, digest, None)


def change(db: Any, name: str, table: Mapping[str, Any]) -> Row:
    """The key with what a PATCH says."""
    row = find(db, name)
    key = read_json(table, row.key)
    check_name(db, key.name, key.id)
    db.execute("UPDATE api_keys SET name = ?, terms = ? WHERE id = ?", (key.name, text_of(key), key.id))
    return row._replace(key=key)


def reset_of_file(db: Any, key_id: str, table: Mapping[str, Any]) -> Row:
    """The reset of a key that a configuration file has: a row that no secret opens, under a name that no key can have.

    A gateway of an older version takes it for a disabled key.
    """
    key = replace(read_json({"name": name_of_file(key_id), "is_active": False, **table}), id=key_id, created=0.0)
    row = Row(key, key_id.encode(), None)
    db.execute(
        "INSERT INTO api_keys (id, name, digest, hint, created_s, terms) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET terms = excluded.terms",
        (key.id, f"{key.id}/reset", row.digest, key.hint, key.created, text_of(key)),
    )
    return row


def rotate(db: Any, name: str, digest: bytes, hint: str) -> Row:
    """Another secret for the same key: the old one ends."""
    row = find(db, name)
    key = replace(row.key, hint=hint)
    db.execute("UPDATE api_keys SET digest = ?, hint = ? WHERE id = ?", (digest, hint, key.id))
    return row._replace(key=key, digest=digest)


def delete(db: Any, name: str) -> Row:
    row = find(db, name)
    db.execute("DELETE FROM api_keys WHERE id = ?", (row.key.id,))
    return row


def mark_used(db: Any, used: Mapping[str, float]) -> None:
    db.executemany(
        "UPDATE api_keys SET last_used_s = ? WHERE id = ? AND (last_used_s IS NULL OR last_used_s < ?)",
        [(at, key_id, at) for key_id, at in used.items()],
    )


def starts(now: float) -> dict[str, float]:
    """When the day and the month of `now` began."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return {"day": now // DAY_S * DAY_S, "month": first.timestamp()}


def spent(db: Any, now: float) -> list[Spent]:
    """What each key spent today and this month, by the sums of the call log: (key id, "day" or "month", usd, tokens)."""
    sql = ("SELECT key_id, SUM(cost_usd), SUM(input_tokens + output_tokens) FROM rollups "
           "WHERE step_s = ? AND at_s >= ? AND key_id <> '' GROUP BY key_id")  # fmt: skip
    return [(key_id, span, usd or 0.0, tokens or 0.0) for span, since in starts(now).items()
            for key_id, usd, tokens in db.execute(sql, (DAY_S, int(since)))]  # fmt: skip


def spent_before(db: Any, now: float, began: float) -> list[Spent]:
    """The same without the calls that began at `began` or later: their process counts them itself. In SQLite."""
    own = ("SELECT key_id, SUM(cost_usd), SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) FROM calls "
           "WHERE started_ms >= ? AND key_id <> '' GROUP BY key_id")  # fmt: skip
    later = {(span, key_id): (usd or 0.0, tokens or 0.0) for span, since in starts(now).items()
             for key_id, usd, tokens in db.execute(own, (int(max(began, since) * 1_000),))}  # fmt: skip
    found = []
    for key_id, span, usd, tokens in spent(db, now):
        own_usd, own_tokens = later.get((span, key_id), (0.0, 0.0))
        found.append((key_id, span, max(0.0, usd - own_usd), max(0.0, tokens - own_tokens)))
    return found
