"""limiter/leased_budgets, leased_limiter, membership, memory: several processes on one engine, in one test without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from lease_town import CENT, DOLLAR, NOON, CommonLedger, Process, Town, UnreadableLedger, failure, opened, run

from llm_router_gateway.errors import GatewayError, NoCredit, RateLimited, Unavailable
from llm_router_gateway.limiter import leased_budgets
from llm_router_gateway.limiter.leased_budgets import AWAY
from llm_router_gateway.limiter.leased_limiter import LeasedLimiter, divide
from llm_router_gateway.limiter.leases import LEASE_S, EngineAway, periods_at
from llm_router_gateway.limiter.local import FREE
from llm_router_gateway.limiter.membership import NoLedger
from llm_router_gateway.limiter.memory import MemoryEngine
from llm_router_gateway.policy.budgets import Amount, Budget
from llm_router_gateway.policy.rate_limits import Limit, NoSlot

# -- budgets


def test_two_processes_spend_one_budget_to_its_end() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        spent = await first.spend_all()
        await town.pass_time(1.5)
        assert spent + await second.spend_all() == 100

    run(test)


def test_most_holds_need_no_message() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        large = Budget(usd_per_day=10_000.0)
        await (await first.hold(budget=large)).release()
        town.sent.clear()
        for _ in range(1_000):
            await (await first.hold(budget=large)).settle(CENT)
        assert len(town.sent) <= 30

    run(test)


def test_what_a_process_has_leased_is_the_sum_of_its_rooms_and_holds() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        assert first.budgets.leased() == (0, (0, 0))
        hold = await first.hold(Amount(0.3, 10))
        count, (usd, tokens) = first.budgets.leased()
        assert count == 1 and 300_000 <= usd <= 350_000 and tokens == 0  # which have no limit here
        await hold.settle(Amount(0.2, 10))
        await town.pass_time(2.0)  # what is idle goes back
        assert first.budgets.leased() == (0, (0, 0))

    run(test)


def test_concurrent_requests_share_the_messages_that_they_wait_for() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        large = Budget(usd_per_day=10_000.0)
        town.sent.clear()
        await asyncio.gather(*(first.hold(budget=large) for _ in range(200)))
        assert town.sent.count("exchange") <= 6

    run(test)


def test_a_caller_that_leaves_while_its_lease_is_on_its_way_loses_nothing() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        task = asyncio.ensure_future(first.hold())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await town.pass_time(1.5)
        assert await second.spend_all() == 100

    run(test)


def test_what_a_key_spends_is_reported_though_a_report_came_between_the_messages_for_its_lease() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        asked = asyncio.ensure_future(first.hold())
        for _ in range(100):  # turns of the loop, with a report in each
            await first.budgets.report()
            await asyncio.sleep(0)
        await asked.result().settle(CENT)
        await town.pass_time(4.0)
        assert first.budgets._active == set() and first.budgets.leased() == (0, (0, 0))
        assert await second.spend_all() == 99

    run(test)


def test_a_report_of_many_keys_does_not_overtake_the_lease_of_one() -> None:
    """It takes two messages; while the first is on its way, a key of the second gets a lease, whose answer comes late."""

    async def test(town: Town) -> None:
        first, second = await opened(town)
        for number in range(leased_budgets.MOST_PARTS // 2 + 10):
            hold = await first.budgets.hold(f"k{number}", DOLLAR, CENT, first.wall())
            await hold.settle(CENT)
        town.now += 3.0
        late = list(first.budgets._active)[-1]
        deliver, holds = town.send, list[asyncio.Task[Any]]()

        async def slow(name: str, values: Any) -> Any:
            if name == "exchange" and not holds:
                holds.append(asyncio.ensure_future(first.budgets.hold(late, DOLLAR, Amount(0.5), first.wall())))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            reply = await deliver(name, values)
            for _ in range(20 if name == "exchange" and values[4] else 0):
                await asyncio.sleep(0)
            return reply

        first.send_by(slow)
        await first.budgets.report()
        assert (await holds[0]).amount == Amount(0.5)
        assert (await failure(second.budgets.hold(late, DOLLAR, Amount(0.9), second.wall()))).status == 402

    run(test)


def test_what_the_ledger_says_counts_and_is_read_from_the_periods_begin() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        town.ledger.found = {"k": (0.95, 0.0), "other": (7.0, 0.0)}
        assert await first.spend_all() + await second.spend_all() == 5
        periods = periods_at(NOON)
        assert set(town.ledger.since) == {periods.day_since, periods.month_since}
        assert first.budgets.spent("k", first.wall())["usd_day"] == pytest.approx(1.0)

    run(test)


def test_an_hour_of_difference_between_clocks_changes_no_day() -> None:
    async def test(town: Town) -> None:
        town.now = 43_200 - 60.0
        late, early = await town.process(-3_600), await town.process(3_600)
        await town.pass_time(3.0)
        assert await late.spend_all() > 50
        await town.pass_time(1.5)
        assert (await failure(early.hold(Amount(0.9)))).status == 402
        await town.pass_time(60)
        assert await early.spend_all() + await late.spend_all() >= 90  # another day, by the engine's clock

    run(test)


def test_a_refusal_is_not_checked_again_for_a_tenth_of_a_second() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        await first.spend_all()
        town.now += 0.2
        town.sent.clear()
        for _ in range(50):
            assert (await failure(first.hold())).code == "budget_used_up"
        assert len(town.sent) <= 2

    run(test)


def test_a_budget_that_was_raised_is_not_refused_for_what_the_old_one_refused() -> None:
    """A reset of a key's spending raises what leases are held against."""

    async def test(town: Town) -> None:
        (one,) = await opened(town, 1)
        await one.spend_all()
        with pytest.raises(NoCredit):
            await one.hold()
        more = Budget(usd_per_day=2.0)
        await (await one.hold(budget=more)).settle(CENT)
        assert one.budgets.left("k", more, one.wall()).usd == pytest.approx(0.99)

    run(test)


def test_a_refusal_names_the_limit_and_when_it_resets() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        error = await failure(first.hold(Amount(1.5)))
        assert "1 USD a day" in error.message and error.details["resets_at"]
        left = first.budgets.left("k", DOLLAR, first.wall())
        assert left.usd == pytest.approx(1.0) and left.why == "1 USD a day"

    run(test)


def test_without_the_engine_the_lease_is_spent_and_then_calls_are_refused_with_the_reason() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        await (await first.hold()).release()
        town.is_away = True
        granted = 0
        while granted < 100:
            try:
                await (await first.hold()).settle(CENT)
                granted += 1
            except Unavailable as error:
                assert (error.status, error.code, error.retry_after_s) == (503, AWAY, 1.0)
                assert "redis://far does not answer: nothing within 50 ms" in error.message
                break
        assert 1 <= granted < 100
        for _ in range(5):
            await failure(first.hold())
        town.sent.clear()
        await failure(first.hold())
        assert town.sent == []  # after three such, no request asks
        assert any("leased parts of budgets are spent" in line for line in town.log)
        town.is_away = False
        await first.membership.beat()
        assert await first.spend_all() == 100 - granted
        assert any("answers again" in line for line in town.log)

    run(test)


def test_a_lease_is_worth_nothing_after_half_a_minute_without_a_word_from_its_home() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        await (await first.hold()).release()
        town.is_away = True
        town.now += LEASE_S
        assert (await failure(first.hold())).status == 503

    run(test)


def test_after_a_loss_of_memory_holds_are_reported_and_the_ledger_says_the_rest() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        open_hold = await first.hold(Amount(0.3))
        await (await first.hold(Amount(0.2))).settle(Amount(0.2))
        town.ledger.found = {"k": (0.2, 0.0)}
        town.home.table.__init__()  # type: ignore[misc]  # FLUSHALL
        await town.pass_time(0.5)
        assert (await failure(second.hold())).status == 503
        await town.pass_time(3.0)
        assert await second.spend_all() == 50
        await open_hold.settle(Amount(0.25))
        await town.pass_time(1.5)
        assert await second.spend_all() == 5
        assert first.membership.losses == 1 and any("lost its memory" in line for line in town.log)

    run(test)


def test_after_a_loss_of_memory_nothing_is_granted_before_every_call_is_in_the_ledger() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        late = CommonLedger()
        late.is_late = True
        first.membership.ledger = late  # what this one's calls cost waits to be stored
        await (await first.hold(Amount(0.6))).settle(Amount(0.6))
        town.home.table.__init__()  # type: ignore[misc]  # FLUSHALL
        await town.pass_time(10.0)
        assert (await failure(second.hold())).status == 503
        late.is_late, town.ledger.found = False, {"k": (0.6, 0.0)}
        await town.pass_time(1.0)
        assert await second.spend_all() == 40

    run(test)


def test_a_process_that_left_is_not_waited_for_when_the_engine_loses_its_memory_again() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        town.home.table.__init__()  # type: ignore[misc]  # FLUSHALL
        await town.pass_time(1.0)
        await first.budgets.close()
        town.processes.remove(first)
        await town.pass_time(3.0)
        town.home.table.__init__()  # type: ignore[misc]
        await town.pass_time(4.0)
        assert second.membership.is_open and await second.spend_all() == 100

    run(test)


def test_a_process_whose_calls_wait_to_be_stored_gives_back_what_it_does_not_need() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        late = CommonLedger()
        late.is_late = True
        third = await town.process(ledger=late)
        await (await third.hold(Amount(0.3))).settle(Amount(0.3))
        await town.pass_time(4.0)
        assert not third.membership.is_complete
        assert await first.spend_all() + await second.spend_all() == 70

    run(test)


def test_where_each_replica_has_a_ledger_of_its_own_all_of_them_are_counted() -> None:
    async def test(town: Town) -> None:
        for usd in (0.4, 0.5):
            ledger = CommonLedger()
            ledger.name, ledger.is_common, ledger.found = f"file-{usd}", False, {"k": (usd, 0.0)}
            each = await town.process(ledger=ledger)
            each.budgets.load([("k", "day", usd, 0.0)], each.wall())
        first, second = town.processes
        await town.pass_time(3.0)
        assert await first.spend_all() + await second.spend_all() == 10

    run(test)


def test_what_gateways_without_a_lease_here_spend_comes_from_the_ledger_and_counts_once() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        town.home.hear([("k", "day", 0.2, 0.0), ("k", "month", 0.2, 0.0)], NOON)
        town.ledger.found = {"k": (0.3, 0.0)}  # a tenth of it was spent since it was heard
        await (await first.hold()).settle(CENT)
        await town.pass_time(2.0)
        for usd in (0.2, 0.5, 0.5):
            town.home.hear([("k", "day", usd, 0.0), ("k", "month", usd, 0.0)], NOON)
        assert await first.spend_all() + await second.spend_all() == 39
        town.home.hear([("k", "day", 0.2, 0.0)], NOON)  # a reading that is behind takes nothing back that was spent here
        assert (await failure(second.hold(Amount(0.4)))).status == 402

    run(test)


def test_a_home_without_news_when_a_budget_begins_counts_from_the_first_news() -> None:
    async def test(town: Town) -> None:
        town.ledger.found = {"k": (0.5, 0.0)}
        first, _ = await opened(town)
        await (await first.hold()).release()
        for usd in (0.5, 0.7):
            town.home.hear([("k", "day", usd, 0.0), ("k", "month", usd, 0.0)], NOON)
        await town.pass_time(2.0)
        assert await first.spend_all() == 30

    run(test)


def test_a_budget_that_begins_after_the_news_counts_what_others_spend_from_then_on() -> None:
    async def test(town: Town) -> None:
        town.home.hear([("k", "day", 0.4, 0.0), ("k", "month", 0.4, 0.0), ("other", "day", 9.0, 0.0)], NOON)
        town.home.hear([], NOON)
        town.ledger.found = {"k": (0.4, 0.0)}
        first, _ = await opened(town)
        assert first.budgets.left("k", DOLLAR, first.wall()).usd == pytest.approx(1.0)
        await (await first.hold()).release()
        town.home.hear([("k", "day", 0.7, 0.0), ("k", "month", 0.7, 0.0)], NOON)
        await town.pass_time(2.0)
        assert await first.spend_all() == 30
        town.home.hear([("k", "day", 0.1, 0.0)], NOON + 86_400)
        assert set(town.home.table.elsewhere or ()) == {"k:2026-09", "k:2026-09-22"}

    run(test)


def test_a_process_that_goes_down_gives_everything_back() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        await (await first.hold()).settle(CENT)
        await first.budgets.close()
        town.processes.remove(first)
        assert await second.spend_all() == 99
        assert (await second.membership.beat()).processes == 1

    run(test)


async def survivor(town: Town) -> Process:
    """The other process of two, when the first has died with a hold and its lease has run out."""
    first, second = await opened(town)
    await first.hold(Amount(0.4))
    town.processes.remove(first)
    await (await second.hold()).settle(CENT)
    await town.pass_time(LEASE_S + 5)
    return second


def test_a_dead_processes_lease_comes_back_when_the_log_has_said_what_it_spent() -> None:
    async def test(town: Town) -> None:
        second = await survivor(town)
        assert await second.spend_all() == 57  # the dead one's hold, and the little that it had to spare
        await second.budgets.write_off()
        town.ledger.found = {"k": (0.6 + 0.1, 0.0)}  # a quarter of its hold was spent, by the log
        town.now += 601
        await town.pass_time(0.5)
        await second.budgets.write_off()
        town.now += 1
        assert 28 <= await second.spend_all() <= 30

    run(test)


def test_no_request_waits_for_a_log_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_budgets, "SUMS_S", 0.01)

    class SilentLedger(CommonLedger):
        async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
            await asyncio.Event().wait()
            return {}

    async def test(town: Town) -> None:
        first = await town.process(ledger=SilentLedger())
        await town.pass_time(3.0)
        refused = await failure(first.hold())
        assert (refused.status, refused.code) == (503, AWAY) and "did not report within" in refused.message
        assert not first.membership.presence.failures, "the engine is there"

    run(test)


def test_a_dead_processes_lease_waits_for_a_log_that_cannot_be_read() -> None:
    async def test(town: Town) -> None:
        second = await survivor(town)
        await second.budgets.write_off()
        readable, second.membership.ledger = second.membership.ledger, UnreadableLedger()
        for _ in range(2):
            town.now += 601
            await town.pass_time(0.5)
            await second.budgets.write_off()
        second.membership.ledger = readable
        town.now += 601
        await town.pass_time(0.5)
        await second.budgets.write_off()
        assert await second.spend_all() >= 95, "the log has none of what was on hold"

    run(test)


def test_keys_without_a_budget_cost_no_message() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        first.budgets.load([("free", "day", 1.0, 5.0)], first.wall())
        town.sent.clear()
        await first.budgets.spend("free", Amount(0.5, 100), first.wall())
        assert first.budgets.spent("free", first.wall())["usd_day"] == 1.5
        await first.budgets.report()
        assert town.sent == []

    run(test)


def test_spending_of_other_processes_is_shown_as_the_call_log_has_it() -> None:
    """A key that this process has not seen, or not for some time, may be in use elsewhere."""

    async def test(town: Town) -> None:
        first, second = await opened(town)
        await (await second.hold(Amount(0.1, 5))).settle(Amount(0.1, 5))
        await town.pass_time(3.0)
        await (await first.hold(Amount(0.6, 30))).settle(Amount(0.6, 30))
        await second.budgets.spend("free", Amount(0.5, 9), second.wall())
        assert second.budgets.spent("k", second.wall())["usd_day"] == 0.1
        for _ in range(2):
            logged = [(key, span, usd, tokens) for span in ("day", "month")
                      for key, usd, tokens in (("k", 0.7, 35.0), ("free", 1.5, 20.0))]  # fmt: skip
            second.budgets.load(logged, second.wall())
        shown = {"usd_day": 0.7, "tokens_day": 35, "usd_month": 0.7, "tokens_month": 35}
        assert second.budgets.spent("k", second.wall()) == shown
        assert second.budgets.spent("free", second.wall())["usd_day"] == 1.5, "its own call is in the log already"
        await second.budgets.spend("free", Amount(0.25, 1), second.wall())
        assert second.budgets.spent("free", second.wall())["usd_day"] == 1.75

    run(test)


# -- rates


def granted(limiter: LeasedLimiter, limit: Limit, times: int, tokens: float = 1) -> Coroutine[Any, Any, int]:
    async def work() -> int:
        count = 0
        for _ in range(times):
            try:
                permit = await limiter.acquire([("key:k", limit)], lambda: tokens)
                await permit.release()
                count += 1
            except RateLimited:
                pass
        return count

    return work()


def test_a_rate_is_one_for_all_processes() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        limit = Limit(60, 60)
        seen = [await granted(process.limiter, limit, 5) for _ in range(20) for process in (first, second)]
        await town.pass_time(0.25)
        assert 55 <= sum(seen) <= 60

    run(test)


def test_over_any_window_no_more_goes_through_than_the_limit_and_a_second_of_refill() -> None:
    async def test(town: Town) -> None:
        processes = await opened(town, 4)
        limit, went = Limit(50, 10), list[float]()
        for step in range(200):
            for process in processes:
                count = await granted(process.limiter, limit, 3)
                went += [town.now] * count
            if step % 3 == 0:
                await town.pass_time(0.25)
        for begin in went:
            assert sum(begin <= at < begin + 10 for at in went) <= 50 + 50 + 5
        assert len(went) >= 50 + 5 * (town.now - 4)

    run(test)


def test_tokens_are_corrected_and_a_debt_reaches_the_others() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        limit = Limit(tokens_per_minute=1_000)
        permit = await first.limiter.acquire([("key:k", limit)], lambda: 100)
        await permit.settle(950)
        await town.pass_time(1.25)
        assert (await failure(second.limiter.acquire([("key:k", limit)], lambda: 200))).status == 429

    run(test)


def test_slots_are_shared_and_a_waiting_request_gets_the_next_one() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        limit = Limit(max_concurrent=1, queue=4, wait_s=5.0)
        alive: list[str] = []

        @contextmanager
        def idle() -> Any:
            alive.append("waits")
            yield

        permit = await first.limiter.acquire([("key:k", limit)], float)
        waiting = asyncio.ensure_future(second.limiter.acquire([("key:k", limit)], float, idle))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done() and alive
        await permit.release()
        await (await waiting).release()
        for each in (first, second):
            if each.limiter._tasks:
                await asyncio.wait(each.limiter._tasks)
        assert (await failure_of_slot(first, Limit(max_concurrent=1))) is None

    run(test)


async def failure_of_slot(process: Process, limit: Limit) -> GatewayError | None:
    try:
        await (await process.limiter.acquire([("key:k", limit)], float)).release()
    except GatewayError as error:
        return error
    return None


def test_a_request_that_comes_when_the_message_about_its_slots_is_just_over_sends_the_next() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        limit = [("key:k", Limit(max_concurrent=2))]
        taken = [await first.limiter.acquire(limit, tokens=lambda: 0)]
        over = asyncio.ensure_future(asyncio.sleep(0))
        await over
        first.limiter._taking["key:k"] = over  # type: ignore[assignment]  # its callbacks come in the next turn of the loop
        taken.append(await first.limiter.acquire(limit, tokens=lambda: 0))
        assert (await failure(first.limiter.acquire(limit, tokens=lambda: 0))).status == 429
        for each in taken:
            await each.release()

    run(test)


def test_a_request_that_waited_in_vain_for_a_slot_gets_an_error_that_says_so() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        await first.limiter.acquire([("key:k", Limit(max_concurrent=1))], float)
        waiting = asyncio.ensure_future(
            second.limiter.acquire([("key:k", Limit(max_concurrent=1, queue=1, wait_s=0.2))], float)
        )
        while not second.limiter._waiting.get("key:k"):
            await asyncio.sleep(0)
        town.now += 1.0
        with pytest.raises(NoSlot):
            await waiting

    run(test)


def test_without_the_engine_each_process_goes_on_at_its_part_of_the_limit() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        limit = Limit(40, 3_600, max_concurrent=4, tokens_per_minute=9_000)
        town.is_away = True
        await town.pass_time(1.0)
        assert first.membership.presence.is_away and first.membership.count == 2
        town.sent.clear()
        assert await granted(first.limiter, limit, 60) == 20 and await granted(second.limiter, limit, 60) == 20
        assert town.sent == []
        assert first.limiter.forecast([("key:k", limit)], float, town.now).state == "refuse"

    run(test)


@pytest.mark.parametrize("fails", range(1, 4))
def test_a_single_lost_message_lets_the_request_go_on_by_this_processes_own_count(fails: int) -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        town.is_away = True
        for _ in range(fails):
            assert await granted(first.limiter, Limit(100, 60), 1) == 1
        town.is_away = False
        assert first.membership.presence.is_away == (fails == 3)

    run(test)


def test_a_process_that_begins_without_the_engine_divides_by_what_others_know() -> None:
    async def test(town: Town) -> None:
        town.is_away = True
        late = Process(town, 0, 0.0, town.ledger, guess=lambda: 4)
        for _ in range(3):
            with pytest.raises(EngineAway):
                await late.membership.beat()
        limit = [("key:k", Limit(40, 3_600))]
        for _ in range(10):
            await (await late.limiter.acquire(limit, tokens=lambda: 0)).release()
        await failure(late.limiter.acquire(limit, tokens=lambda: 0))
        town.is_away = False
        await late.membership.beat()
        assert late.membership.count == 1

    run(test)


def test_a_divided_limit_keeps_its_rate_exactly() -> None:
    one = divide(Limit(60, 60, burst_size=10, tokens_per_minute=900, max_concurrent=8, queue=5), 3, used=1)
    assert (one.max_requests, one.per_seconds, one.burst_size) == (60, 180, 3)
    assert (one.tokens_per_minute, one.max_concurrent, one.queue) == (300, 1, 2)
    assert divide(Limit(max_concurrent=2), 5, used=0).max_concurrent == 1


def test_no_limit_no_message() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        town.sent.clear()
        assert await first.limiter.acquire((), float) is FREE
        assert town.sent == []

    run(test)


def test_without_a_ledger_nothing_outlives_the_engine() -> None:
    assert asyncio.run(NoLedger("p").sums(0)) == {}


def test_a_message_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="not a message about leases"):
        asyncio.run(MemoryEngine(lambda: 0).handle("other", []))


def test_a_hold_is_made_before_the_call_so_that_calls_at_once_cannot_all_pass() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        work = [process.hold() for process in (first, second) for _ in range(150)]
        found = await asyncio.gather(*work, return_exceptions=True)
        assert sum(not isinstance(each, Exception) for each in found) <= 100
        assert sum(not isinstance(each, Exception) for each in found) >= 90
        assert all(isinstance(each, NoCredit) for each in found if isinstance(each, Exception))

    run(test)


def test_what_calls_cost_while_the_engine_was_away_is_reported_when_it_is_back() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        hold = await first.hold(Amount(0.4))
        town.is_away = True
        await hold.settle(Amount(0.4))
        await town.pass_time(2.0)
        town.is_away = False
        await town.pass_time(3.0)
        assert second.budgets.left("k", DOLLAR, second.wall()).usd == pytest.approx(1.0)  # not asked yet
        assert await second.spend_all() == 60

    run(test)


def test_keys_that_rest_cost_no_look_and_a_lease_is_kept_while_the_engine_is_away() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        await (await first.hold()).settle(CENT)
        assert first.budgets._active == {"k"}
        town.is_away = True
        await town.pass_time(5.0)
        await (await first.hold()).settle(CENT)  # from the lease, after more than a second of rest
        town.is_away = False
        await town.pass_time(5.0)
        assert first.budgets._active == set()
        assert await second.spend_all() == 98

    run(test)
