"""limiter/leases, leased_budgets, budgets: what is under way when a day turns, and a day that comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lease_town import CENT, DOLLAR, NOON, Town, opened, run

from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.policy.budgets import Amount

MIDNIGHT_S = 43_200.0  # by the town's clock, which begins at noon


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

        one.budgets._engine._send = slow  # type: ignore[attr-defined]
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

        one.budgets._engine._send = slow  # type: ignore[attr-defined]
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


MICRO_DOLLAR = 1_000_000


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
