"""What a gateway passes on to others, through an engine that does not take everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from configs import parse
from lines import Lines

from llm_router_gateway.access.authenticate import Authenticator
from llm_router_gateway.commands import replica as module
from llm_router_gateway.commands import serve
from llm_router_gateway.commands.replica import Replica
from llm_router_gateway.commands.serve import Backends
from llm_router_gateway.limiter.leases import EngineAway
from llm_router_gateway.routing.state import RoutingState


class Engine:
    """Takes notes while `takes` says so."""

    where, messages = "redis://h:6379/0", 0

    def __init__(self, *_: object, **__: object) -> None:
        self.takes, self.taken = True, list[dict[str, Any]]()
        self.others: list[str] = []  # what other gateways wrote

    async def publish(self, notes: list[str]) -> None:
        for note in notes:
            if not self.takes:
                raise EngineAway(f"{self.where} refuses: NoPermissionError")
            self.taken.append(json.loads(note))

    async def notes(self, now_ms: int) -> list[tuple[float, str]]:
        return [(0.0, text) for text in self.others]

    def reread_notes(self) -> None:
        """There are none."""

    def kinds(self) -> list[str]:
        return [note["kind"] for note in self.taken]


def test_what_other_gateways_spend_is_read_where_an_engine_counts_budgets_and_a_fault_ends_nothing() -> None:
    taken: list[Any] = []

    async def run() -> None:
        done, answers = asyncio.Event(), iter([OSError("a fault"), [("key_1", "day", 1.0, 2.0)]])

        async def spent(now: float) -> Any:
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        def take(rows: Any, now: float) -> None:
            taken.append(rows)
            done.set()

        log: Any = Lines()
        backends: Any = SimpleNamespace(
            _elsewhere=None, replica=object(), keys=SimpleNamespace(spent=spent), on_spent=[take], _log=log
        )
        reading = asyncio.create_task(Backends.follow_spending(backends))
        async with asyncio.timeout(30):
            await done.wait()
        reading.cancel()
        assert any("reading what other gateways have spent" in line for line in log.lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "SHOWN_S", 0.0)
        asyncio.run(run())
    assert taken == [[("key_1", "day", 1.0, 2.0)]]


def with_replica(body: Callable[[Any, Any, Any], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RedisEngine", Engine)
    state: Any = SimpleNamespace(url=SimpleNamespace(reveal=str), prefix="p", timeout_s=0.05)
    log: Any = Lines()

    async def run() -> None:
        made = Replica(state, ledger=None, log=log)
        config = parse()
        made._routing_state, made._authenticator, made._config = RoutingState(), Authenticator(config), lambda: config
        await body(made, made.engine, log)

    asyncio.run(run())


def test_a_breaker_and_a_logout_that_were_not_taken_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(made: Any, engine: Engine, log: Lines) -> None:
        state, sessions = made._routing_state, made._authenticator.sessions
        sessions.secret = b"s" * 32
        sessions.begin(b"d", "token", 0.0)
        await made._exchange_notes()
        engine.taken.clear()
        engine.takes = False
        state.keep("p/m", state.health("p/m")._replace(open_until=1e12, opens=1))
        sessions.end("token")
        for _ in range(2):
            with pytest.raises(EngineAway):
                await made._exchange_notes()
        engine.takes = True
        await made._exchange_notes()
        assert sorted(engine.kinds()) == ["logout", "member"]
        await made._exchange_notes()
        assert len(engine.taken) == 2, "once is enough"
        for call in made.membership.on_epoch:  # the engine has lost its memory: one that begins later must hear of both
            call()
        await made._exchange_notes()
        assert sorted(engine.kinds()) == ["logout", "logout", "member", "member"]

    with_replica(body, monkeypatch)


def test_notes_of_other_gateways_that_cannot_be_read_keep_none_from_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    member = {"from": "gw-2", "kind": "member", "name": "p/m", "open_s": 5.0, "cool_s": 0.0, "opens": 1, "why": "down"}
    huge, other = json.dumps({**member, "open_s": 10**400}), json.dumps({"kind": "logout", "login": 5})
    worse = ["no json", "[1]", "null", "[" * 100_000, "{}", huge, other]

    async def body(made: Any, engine: Engine, log: Lines) -> None:
        engine.others = [*worse, json.dumps(member)]
        await made._exchange_notes()
        assert made._routing_state.health("p/m").last_error == "down"

    with_replica(body, monkeypatch)


def test_what_an_engine_that_answers_does_not_take_is_in_the_log_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(made: Any, engine: Engine, log: Lines) -> None:
        calls = []

        async def work() -> None:
            calls.append(1)
            if len(calls) < 3 * module.REFUSALS:
                raise EngineAway("redis://h:6379/0 refuses: NoPermissionError")

        task = asyncio.create_task(made._repeat(0, work, "logouts"))
        async with asyncio.timeout(15):
            while len(calls) <= 3 * module.REFUSALS + 1:
                await asyncio.sleep(0)
        task.cancel()
        assert log.lines == [
            "redis://h:6379/0 refuses: NoPermissionError. Not shared with other gateways: logouts",
            "shared with other gateways again: logouts",
        ]

    with_replica(body, monkeypatch)
