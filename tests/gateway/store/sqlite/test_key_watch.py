"""key_watch: it goes on whatever another program puts into the file, and takes over the next change."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.store.keys import Row
from llm_router_gateway.store.sqlite import key_watch
from llm_router_gateway.store.sqlite.file import open_writer
from llm_router_gateway.store.sqlite.key_watch import KeyWatch

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
