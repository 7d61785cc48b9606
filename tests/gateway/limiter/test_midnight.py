"""limiter/leases, leased_budgets, budgets: what is under way when a day turns, and a day that comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from lease_town import CENT, DOLLAR, NOON, Process, Town, opened, run
from lease_traffic import RandomCalls

from llm_router_gateway.errors import NoCredit
from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.policy.budgets import Amount, Budget

MIDNIGHT_S = 43_200.0  # by the town's clock, which begins at noon
MICRO_DOLLAR = 1_000_000


def test_a_day_may_turn_while_the_first_lease_of_a_key_is_on_its_way() -> None:
    async def test(town: Town) -> None:
        (one,) = await opened(town, 1)
        town.now = MIDNIGHT_S - 0.01
        await one.membership.beat()
        deliver = town.send

        async def slow(name: str, values: Any) -> Any:
            reply = await deliver(name, values)
            town.now = MIDNIGHT_S + 0.02
            one.budgets.spent("k", one.wall())  # as another request of the key would: its day is the new one from here on
            return reply

        one.send_by(slow)
        await (await one.hold()).settle(CENT)
        await one.budgets.report()
        assert one.budgets.spent("k", one.wall())["usd_day"] == pytest.approx(0.01)

    run(test)


def test_a_call_gets_its_lease_of_the_new_day_when_the_old_one_ends_under_its_message() -> None:
    async def test(town: Town) -> None:
        (one,) = await opened(town, 1)
        town.now = MIDNIGHT_S - 0.001
        deliver = town.send

        async def slow(name: str, values: Any) -> Any:
            town.now += 0.002
            return await deliver(name, values)

        one.send_by(slow)
        await (await one.hold()).settle(CENT)
        assert one.budgets.spent("k", one.wall()) == {"usd_day": 0.01, "usd_month": 0.01, "tokens_day": 10, "tokens_month": 10}

    run(test)


def test_a_day_that_comes_back_is_reported_on_from_where_it_stood() -> None:
    """The engine's clock is known as well as an answer took: an answer that is 30 ms late puts it 30 ms back."""

    async def test(town: Town) -> None:
        first, second = await opened(town)
        await (await first.hold(Amount(0.2))).settle(Amount(0.2))
        for step in range(6):
            town.now = MIDNIGHT_S - 0.02 + step * 0.01
            now_ms = round((first.wall() - (0.03 if step % 2 else 0.0)) * 1_000)
            first.membership.hear(first.membership.epoch, 0, now_ms)
            first.budgets.left("k", DOLLAR, first.wall())
            await (await first.hold(Amount(0.1))).settle(Amount(0.1))
        day = first.budgets._shelves["k"].book.day
        accounts = [purse.account for purse in first.budgets._shelves["k"].book.purses]
        assert len(set(accounts)) == len(accounts)
        await town.pass_time(4.0)
        assert town.home.table.accounts[day.account].spent[0] + town.home.table.accounts["k:2026-09-21"].spent[0] == 800_000
        assert first.membership.losses == 0
        rest = MICRO_DOLLAR - town.home.table.accounts["k:2026-09-22"].spent[0]
        assert await second.spend_all() == rest // 10_000

    run(test)


@pytest.mark.parametrize("back_s", [0.5, 5.0, 3_600.0])
def test_a_clock_that_is_set_back_over_midnight_loses_no_spending(back_s: float) -> None:
    async def test() -> None:
        books, midnight = LocalBudgets(), NOON + MIDNIGHT_S
        await books.spend("k", Amount(3.0, 30), midnight - 10)
        await books.spend("k", Amount(0.5, 5), midnight + 0.1)
        assert books.spent("k", midnight + 0.2 - back_s)["usd_day"] == 3.0
        await books.spend("k", Amount(1.0, 10), midnight + 0.2 - back_s)
        assert books.spent("k", midnight + 1.0)["usd_day"] == 0.5
        assert books.spent("k", midnight + 1.0)["usd_month"] == 4.5
        assert books.spent("k", midnight - 0.1)["usd_day"] == 4.0

    asyncio.run(test())


# -- at random


class Spending(RandomCalls):
    """Calls of several processes around midnight: they wait, leave, cost less than their hold; messages take their time."""

    LEAVES = REPORTS = 0.1
    TURNS = 4
    PASSES = (0.0, 0.001, 0.01, 0.05)

    def __init__(self, town: Town, processes: list[Process], rng: Random) -> None:
        super().__init__(town, processes, rng, [f"k{number}" for number in range(rng.choice([1, 3, 70]))])
        self.spent: Counter[str] = Counter()  # micro-USD

    async def deliver(self, name: str, values: Sequence[Any]) -> Any:
        self.town.now += self.rng.choice([0.0, 0.0, 0.0005, 0.003])
        reply = await super().deliver(name, values)
        self.town.now += self.rng.choice([0.0, 0.0, 0.0005, 0.003])
        return reply

    async def call(self, process: Process, key: str) -> None:
        most = Amount(self.rng.choice([0.01, 0.05]), 10)
        try:
            hold = await process.budgets.hold(key, BUDGET, most, process.wall())
        except NoCredit:
            return
        try:
            await self.turns(10)
        finally:
            if self.rng.random() < 0.2:
                await hold.release()
            else:
                usd = most.usd * self.rng.choice([0.3, 1.0])
                self.spent[key] += round(usd * MICRO_DOLLAR)
                await hold.settle(Amount(usd, 5))

    async def report(self, process: Process) -> None:
        await process.membership.beat()
        await process.budgets.report()

    async def run(self, steps: int) -> None:
        await self.begin_calls(steps)
        found = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert not [each for each in found if isinstance(each, Exception)]
        await self.town.pass_time(6.0)


BUDGET = Budget(usd_per_day=1.0, usd_per_month=1.5)


def check_midnight(seed: int) -> None:
    async def test(town: Town) -> None:
        rng = Random(seed)
        town.now = MIDNIGHT_S - 6.0
        spending = Spending(town, [await town.process(rng.uniform(-0.5, 0.5)) for _ in range(rng.randint(1, 3))], rng)
        await town.pass_time(3.5)
        await spending.run(300)
        accounts = town.home.table.accounts
        for key in spending.names:
            days = sum(found.spent[0] for name, found in accounts.items() if name.startswith(f"{key}:2026-09-"))
            assert days == pytest.approx(spending.spent[key], abs=10), (seed, key)
            month = accounts.get(f"{key}:2026-09")
            assert (month.spent[0] if month is not None else 0) == pytest.approx(spending.spent[key], abs=10), (seed, key)
        assert not any(any(account.leased) for account in accounts.values()), seed
        assert not any(process.membership.losses for process in spending.processes), seed
        most = {len("2026-09-22"): MICRO_DOLLAR, len("2026-09"): 1.5 * MICRO_DOLLAR}
        assert all(account.spent[0] <= most[len(name.partition(":")[2])] for name, account in accounts.items()), seed

    run(test)


@pytest.mark.slow
def test_around_midnight_every_cost_is_in_one_day_and_nothing_stays_leased() -> None:
    for seed in range(30):
        check_midnight(seed)
