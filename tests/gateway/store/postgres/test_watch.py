"""watch: what other gateways wrote may be unreadable; keys are followed all the same. Without a server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.store.postgres import watch as module
from llm_router_gateway.store.postgres.watch import ReplicaWatch


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
