"""key_watch: it goes on whatever another program puts into the file, and takes over the next change."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from storing import AT_MS, call

from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.policy.budgets import Amount
from llm_router_gateway.store.keys import Row
from llm_router_gateway.store.sqlite import file as storefile
from llm_router_gateway.store.sqlite import key_watch
from llm_router_gateway.store.sqlite.file import open_writer
from llm_router_gateway.store.sqlite.key_watch import KeyWatch
from llm_router_gateway.store.sqlite.rows import put

LIMIT_S = 30.0
INSERT = "INSERT INTO api_keys (id, name, digest, hint, created_s, terms) VALUES (?, ?, ?, '', 1.0, '{}')"


class Holder:
    """Notes the keys that it is given."""

    def __init__(self) -> None:
        self.sealed, self.is_unread = "", False
        self.taken: Queue[list[Row]] = Queue()

    def take(self, rows: list[Row], *rest: Any) -> None:
        self.taken.put(rows)

    def judge(self, unknown: str, expired: str) -> None:
        """Only a server may be out of reach."""


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    monkeypatch.setattr(key_watch, "LOOK_S", 0.005)
    path, made = str(tmp_path / "router.db"), Holder()
    open_writer(path, 0).close()
    watch = KeyWatch(made, path, LocalBudgets(), deliver=lambda function, *rest: function(*rest), wall=time.time)
    watch.load()
    assert made.taken.get(timeout=LIMIT_S) == []
    watch.start()
    yield made
    watch.close()


def test_what_keys_had_spent_is_read_once_a_file_that_was_locked_at_the_start_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(storefile, "BUSY_S", 0.05)
    path, now = str(tmp_path / "router.db"), AT_MS / 1_000 + 60
    with closing(open_writer(path, 0)) as db:
        db.execute("BEGIN")
        put(db, [(call(cost_usd=4.0), None), (call(started_ms=AT_MS - 2 * 86_400_000, cost_usd=2.0), None)])
        db.execute("COMMIT")
    books, holder = LocalBudgets(), Holder()
    watch = KeyWatch(holder, path, books, deliver=lambda function, *rest: function(*rest), wall=lambda: now)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        watch.load()
        assert holder.sealed and books.spent("k", now)["usd_day"] == 0.0
        other.execute("COMMIT")
    asyncio.run(books.spend("k", Amount(1.0, 7), now))  # a call of this process, in the file by now
    with closing(open_writer(path, 0)) as db:
        db.execute("BEGIN")
        put(db, [(call(started_ms=int(now * 1_000), cost_usd=1.0), None)])
        db.execute("COMMIT")
    for _ in range(2):
        assert watch._look(lambda function, *rest: function(*rest))
        assert books.spent("k", now)["usd_day"] == 5.0 and books.spent("k", now)["usd_month"] == 7.0
    watch.close()


def write(folder: Path, sql: str, values: tuple[Any, ...] = ()) -> None:
    with closing(sqlite3.connect(folder / "router.db", isolation_level=None)) as db:
        db.execute(sql, values)


def names(rows: list[Row]) -> list[str]:
    return [row.key.name for row in rows]


def test_a_row_without_a_digest_is_a_key_that_no_secret_opens(holder: Holder, tmp_path: Path) -> None:
    write(tmp_path, INSERT, ("key_1", "odd", "a text"))
    assert names(holder.taken.get(timeout=LIMIT_S)) == ["odd"]
    write(tmp_path, INSERT, ("key_2", "sound", b"d" * 32))
    assert names(holder.taken.get(timeout=LIMIT_S)) == ["odd", "sound"]


def test_a_generation_that_is_no_number_changes_nothing_and_the_next_change_is_seen(
    holder: Holder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: Queue[bool] = Queue()
    look = KeyWatch._look

    def noted(watch: KeyWatch, deliver: Any) -> bool:
        found = look(watch, deliver)
        looks.put(found)
        return found

    monkeypatch.setattr(KeyWatch, "_look", noted)
    write(tmp_path, "UPDATE meta SET value = 'x' WHERE name = 'keys_generation'")
    while looks.get(timeout=LIMIT_S):
        pass
    write(tmp_path, "UPDATE meta SET value = '7' WHERE name = 'keys_generation'")
    write(tmp_path, INSERT, ("key_1", "sound", b"d" * 32))
    while names(holder.taken.get(timeout=LIMIT_S)) != ["sound"]:
        pass
