"""watch: what other gateways wrote may be unreadable; keys are followed all the same. Without a server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.store.postgres import watch as module
from llm_router_gateway.store.postgres.watch import ReplicaWatch
from llm_router_gateway.store.replicas import summary


def test_a_line_of_another_gateway_that_is_no_json_ends_no_look_at_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    monkeypatch.setattr(module, "is_away", lambda wrong: False)
    monkeypatch.setattr(module, "reason", lambda wrong, address: type(wrong).__name__)
    said, looks, holder = list[str](), list[float](), threading.Event()

    def deliver(function: Any, *arguments: Any) -> None:
        function(*arguments)

    class Holder:
        def judge(self, unknown: str, expired: str) -> None:
            """It is not what this is about."""

    authenticator: Any = Holder()
    made = ReplicaWatch(
        "postgresql://h/n", None, authenticator, LocalBudgets(), replica_id="gw-1", valid_s=60.0,  # type: ignore[arg-type]
        deliver=deliver, wall=time.time, clock=time.monotonic, warn=said.append,
    )  # fmt: skip

    def look(deliver: Any) -> bool:
        looks.append(0.0)
        if len(looks) == 3:
            holder.set()
            made._stop.set()
        return True

    def beat() -> bool:
        raise ValueError("no JSON")

    monkeypatch.setattr(made, "_look", look)
    monkeypatch.setattr(made, "_beat", beat)
    made.start()
    assert holder.wait(30)
    made.close()
    assert len(said) == 1 and said[0].endswith("cannot be read from the database: ValueError")


class Database:
    """The rows of the table replicas as a session finds them; the heartbeat's own row is always there."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Any, str]] = {}

    @contextmanager
    def within(self, seconds: float) -> Iterator[Database]:
        yield self

    def execute(self, sql: str, values: tuple[str, ...] = ()) -> Database:
        if sql == module.BEAT:
            self.rows[values[0]] = (0.0, values[1])
        return self

    def fetchall(self) -> list[tuple[str, Any, str]]:
        return [(name, age, report) for name, (age, report) in sorted(self.rows.items())]

    def close(self) -> None:
        """Nothing is open."""


def make_watch(database: Database, said: list[str], now: list[float]) -> ReplicaWatch:
    """The watch of the gateway gw-1, connected to the database."""
    made = ReplicaWatch(
        "postgresql://h/n", None, None, LocalBudgets(), replica_id="gw-1", valid_s=60.0,  # type: ignore[arg-type]
        deliver=lambda function, *values: function(*values), wall=time.time, clock=lambda: now[0], warn=said.append,
    )  # fmt: skip
    made._session = database  # type: ignore[assignment]
    made.say({"version": "1", "open_requests": 2})
    return made


@pytest.mark.parametrize("text", [
    "not json", "", "[1]", "null", "[" * 100_000, '{"open_requests": "many"}', '{"rows_waiting": null}',
    '{"open_requests": 1e999}',
])  # fmt: skip
def test_the_row_of_another_gateway_that_cannot_be_read_is_in_the_log_once_and_ends_no_heartbeat(text: str) -> None:
    database, said, now = Database(), list[str](), [0.0]
    database.rows["gw-2"] = (0.5, text)
    made = make_watch(database, said, now)
    for _ in range(3):
        now[0] += module.HEARTBEAT_S
        assert made._beat() and made._session is not None
    assert len(said) == 1 and "'gw-2'" in said[0] and "the same version" in said[0]
    assert [(each.id, each.is_silent) for each in made.replicas] == [("gw-1", False), ("gw-2", False)] and made.alive == 2
    known = summary(made.replicas)
    assert (known["open_requests"], known["configurations"], known["differences"]) == (2, 1, [])
    assert made.replicas[1].line() == {"id": "gw-2", "is_self": False, "is_silent": False, "age_s": 0.5}


def test_a_row_that_becomes_unreadable_again_is_in_the_log_again() -> None:
    database, said, now = Database(), list[str](), [0.0]
    made = make_watch(database, said, now)
    for text in ("no json", "no json", json.dumps({"version": "1", "config": ""}), "no json"):
        database.rows["gw-2"] = (0.5, text)
        now[0] += module.HEARTBEAT_S
        assert made._beat()
    assert len(said) == 2
    del database.rows["gw-2"]
    now[0] += module.HEARTBEAT_S
    assert made._beat() and made._unreadable == set()


def test_a_heartbeat_that_always_fails_after_reading_is_in_the_log_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    monkeypatch.setattr(module, "is_away", lambda wrong: False)
    monkeypatch.setattr(module, "reason", lambda wrong, address: type(wrong).__name__)
    database, said, looks, done = Database(), list[str](), list[float](), threading.Event()
    database.rows["gw-2"] = (None, "{}")  # no age: nothing that a gateway of this version can compute with
    made = make_watch(database, said, [10.0])

    def look(deliver: Any) -> bool:
        made._session = database  # type: ignore[assignment]
        looks.append(0.0)
        if len(looks) == 4:
            done.set()
            made._stop.set()
        return True

    monkeypatch.setattr(made, "_look", look)
    monkeypatch.setattr(made, "_judge", lambda deliver: None)
    made.start()
    assert done.wait(30)
    made.close()
    assert len(said) == 1 and said[0].endswith("TypeError")
