"""Several processes on one engine, with a clock that only the test moves: a town of them, for tests of limiter/.

def test_a_rule() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        await (await first.hold()).settle(CENT)
    run(test)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError, NoCredit
from llm_router_gateway.limiter.leased_budgets import LeasedBudgets
from llm_router_gateway.limiter.leased_limiter import LeasedLimiter
from llm_router_gateway.limiter.leases import EngineAway
from llm_router_gateway.limiter.membership import Membership
from llm_router_gateway.limiter.memory import DistantEngine, MemoryEngine
from llm_router_gateway.policy.budgets import Amount, Budget

NOON = 1_790_000_000 // 86_400 * 86_400 + 43_200
DOLLAR = Budget(usd_per_day=1.0)
CENT = Amount(0.01, 10)


class CommonLedger:
    def __init__(self) -> None:
        self.name, self.is_common = "common", True
        self.found: dict[str, tuple[float, float]] = {}
        self.since: list[int] = []
        self.is_late = False  # calls wait to be stored

    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        self.since.append(since)
        return self.found

    async def settle(self) -> None:
        if self.is_late:
            raise OSError("calls wait to be stored")


class UnreadableLedger(CommonLedger):
    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        raise OSError("the server is away")


class Town:
    """An engine, a clock that only tests move, and the processes that share the engine."""

    def __init__(self) -> None:
        self.now = 0.0
        self.home = MemoryEngine(lambda: round((NOON + self.now) * 1_000))
        self.is_away, self.sent = False, list[str]()
        self.ledger, self.log = CommonLedger(), list[str]()
        self.processes: list[Process] = []

    async def send(self, name: str, values: Sequence[Any]) -> Any:
        """As messages travel: in JSON, both ways."""
        self.sent.append(name)
        if self.is_away:
            raise EngineAway("redis://far does not answer: nothing within 50 ms")
        return json.loads(json.dumps(await self.home.handle(name, json.loads(json.dumps(values)))))

    async def process(self, skew_s: float = 0.0, ledger: CommonLedger | None = None) -> Process:
        made = Process(self, len(self.processes), skew_s, ledger or self.ledger)
        self.processes.append(made)
        await made.membership.beat()
        return made

    async def pass_time(self, seconds: float) -> None:
        """In steps, with what each process does by its timer."""
        until = self.now + seconds
        while self.now < until:
            self.now = round(self.now + 0.25, 6)
            for each in self.processes:
                try:
                    await each.membership.beat()
                    await each.budgets.report()
                    await each.limiter.report()
                except EngineAway:
                    pass


class Process:
    def __init__(
        self, town: Town, number: int, skew_s: float, ledger: CommonLedger, guess: Callable[[], int] = lambda: 1
    ) -> None:  # fmt: skip
        self.town, self.skew_s = town, skew_s
        name = f"{ledger.name}/p{number}"
        self.membership = Membership(
            DistantEngine(town.send), holder=name, ledger=ledger, clock=lambda: town.now, wall=self.wall, tell=town.log.append,
            guess=guess,
        )  # fmt: skip
        self.budgets, self.limiter = LeasedBudgets(self.membership), LeasedLimiter(self.membership)

    def wall(self) -> float:
        return NOON + self.town.now + self.skew_s

    def send_by(self, send: Callable[[str, Sequence[Any]], Awaitable[Any]]) -> None:
        """Its messages take another way, as a rule one that ends in `Town.send`."""
        self.membership.engine._send = send  # type: ignore[attr-defined]

    async def hold(self, amount: Amount = CENT, budget: Budget = DOLLAR) -> Any:
        return await self.budgets.hold("k", budget, amount, self.wall())

    async def spend_all(self, amount: Amount = CENT) -> int:
        """How many such calls are granted before a refusal; each costs its hold."""
        for count in range(10_000):
            try:
                await (await self.hold(amount)).settle(amount)
            except NoCredit:
                return count
        raise AssertionError("no end")


def run(test: Callable[[Town], Coroutine[Any, Any, None]]) -> None:
    async def begin() -> None:
        town = Town()
        await test(town)
        for each in town.processes:
            if each.budgets._tasks:
                await asyncio.wait(each.budgets._tasks)

    asyncio.run(begin())


async def opened(town: Town, count: int = 2) -> list[Process]:
    processes = [await town.process() for _ in range(count)]
    await town.pass_time(3.0)
    assert all(each.membership.is_open for each in processes)
    return processes


async def failure(work: Awaitable[Any]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await work
    return caught.value
