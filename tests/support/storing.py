"""Calls for the tests of the store, and a look into a store from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llm_router_gateway.config.addresses import is_postgres
from llm_router_gateway.store.call import COLUMNS, Call
from llm_router_gateway.store.sqlite.database import Store
from llm_router_gateway.store.sqlite.file import connect

AT_MS = 1_792_567_680_123  # 2026-10-21T07:28:00.123Z


def call(**changes: Any) -> Call:
    """A call that went well."""
    plain: dict[str, Any] = {
        "request_id": "r1", "started_ms": AT_MS, "first_ms": 320.5, "duration_ms": 812.25, "kind": "chat",
        "protocol": "openai", "upstream_protocol": "anthropic", "stream": 1, "asked": "fast", "served": "p/m", "provider": "p",
        "model": "m", "attempts": 1, "failed": "[]", "status": 200, "error": "", "message": "", "ended": "complete",
        "finish": "stop", "input_tokens": 10, "output_tokens": 5, "cached_tokens": 4, "cache_write_tokens": 0,
        "reasoning_tokens": 2, "cost_usd": 0.25, "cost_source": "prices", "key_id": "k", "key_name": "team",
        "client": "127.0.0.1", "lost": "[]",
    }  # fmt: skip
    return Call(**{**plain, **changes})


def kept(path: Path | str) -> list[Call]:
    """What the file holds, in the order of its ids."""
    with closing(sqlite3.connect(path)) as db:
        return [Call._make(row) for row in db.execute(f"SELECT {COLUMNS} FROM calls ORDER BY id")]


COUNTED = (
    "SELECT count(*), coalesce(sum(error = ''), 0), coalesce(sum(error <> '' AND ended <> 'client_gone'), 0), "
    "coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), "
    "coalesce(sum(CASE WHEN error = '' AND kind <> 'count' THEN 1 END), 0) FROM calls"
)
SUMMED = (
    "SELECT coalesce(sum(calls), 0), coalesce(sum(success), 0), coalesce(sum(errors), 0), coalesce(sum(input_tokens), 0), "
    "coalesce(sum(output_tokens), 0), coalesce(sum(timed), 0) FROM {} WHERE step_s = {} AND {}"
)


def differences(path: Path | str) -> list[str]:
    """Where the sums of the file are not those of its rows; and what SQLite says of its pages."""
    found = []
    with closing(connect(str(path), reads=True)) as db:
        check = db.execute("PRAGMA integrity_check").fetchone()[0]
        if check != "ok":
            found.append(check)
        rows = db.execute(COUNTED).fetchone()
        for step_s in (60, 3_600, 86_400):
            for table, which in (("rollups", "1"), ("totals", "provider = '*' AND model = '*' AND key_id = '*'")):
                sums = db.execute(SUMMED.format(table, step_s, which)).fetchone()
                if sums != rows:
                    found.append(f"{table} {step_s}: {sums} is not {rows}")
    return found


def open_store(place: str) -> Any:
    if not is_postgres(place):
        return Store.open(place)
    from llm_router_gateway.store.postgres.database import PostgresStore

    return PostgresStore.open(place)


@contextmanager
def beside(place: str) -> Iterator[Any]:
    """A connection of another process on this store."""
    if not is_postgres(place):
        with closing(connect(place)) as db:
            yield db
        return
    from llm_router_gateway.store.postgres import driver

    with driver.Guard() as guard, closing(driver.connect(place, "test", guard)) as session:
        yield session
