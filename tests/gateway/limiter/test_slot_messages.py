"""limiter/leased_limiter: requests that come while a message about slots is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import pytest
from lease_town import NOON, Process, Town, opened, run
from lease_traffic import RandomCalls

from llm_router_gateway.errors import RateLimited
from llm_router_gateway.limiter.lease_table import SLOT_MS
from llm_router_gateway.limiter.leased_limiter import LeasedLimiter
from llm_router_gateway.limiter.leases import EngineAway
from llm_router_gateway.limiter.membership import Membership, NoLedger
from llm_router_gateway.limiter.memory import DistantEngine, MemoryEngine
from llm_router_gateway.policy.rate_limits import Limit

SCOPES = [("key:k", Limit(max_concurrent=1))]
MOST_LOOKS = 1_000  # at the clock: reached only by a loop that does not end


def test_a_request_that_begins_just_when_a_message_is_answered_does_not_wait_for_it() -> None:
    """The task of the message is done then, and its callbacks have not run."""

    async def both() -> list[Any]:
        looks, late = count(), list[asyncio.Task[Any]]()
        home = MemoryEngine(lambda: 1_790_000_000_000)

        def clock() -> float:
            assert next(looks) < MOST_LOOKS, "a request waits for a message that is answered, and nothing else can run"
            return 0.0

        async def send(name: str, values: Sequence[Any]) -> Any:
            reply = await home.handle(name, values)
            if name == "take" and not late:
                late.append(asyncio.ensure_future(limiter.acquire(SCOPES, float)))
            return reply

        membership = Membership(
            DistantEngine(send), holder="p", ledger=NoLedger("common"), clock=clock, wall=lambda: 1_790_000_000.0, tell=str,
            guess=lambda: 1,
        )  # fmt: skip
        limiter = LeasedLimiter(membership)
        await membership.beat()
        first = await limiter.acquire(SCOPES, float)
        return [first, *await asyncio.gather(*late, return_exceptions=True)]

    first, second = asyncio.run(both())
    assert first.used is False
    with pytest.raises(RateLimited, match="1 concurrent"):
        raise second


# -- several processes


KEY = "key:k"


def loose(town: Town) -> list[int]:
    """Slots that the engine has given away, by process."""
    return [slots for slots, _ in town.home.rates.slots.get(KEY, {}).values()]


@pytest.mark.parametrize("turns", range(4))
def test_a_caller_that_leaves_while_its_slot_is_on_its_way_gives_it_back(turns: int) -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        limit = [(KEY, Limit(3, 3_600, max_concurrent=1))]
        for _ in range(3):
            leaving = asyncio.ensure_future(first.limiter.acquire(limit, float))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await town.pass_time(0.25)
        assert not any(loose(town))
        await (await second.limiter.acquire(limit, float)).release()  # nor is one of the three requests used up

    run(test)


def test_a_slot_is_free_for_other_processes_as_soon_as_a_long_call_has_ended() -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        limit = [(KEY, Limit(max_concurrent=1))]
        permit = await first.limiter.acquire(limit, float)
        await town.pass_time(10.0)
        with pytest.raises(RateLimited):
            await second.limiter.acquire(limit, float)
        await permit.release()
        await asyncio.wait(first.limiter._tasks)
        await (await second.limiter.acquire(limit, float)).release()

    run(test)


def test_a_request_that_waits_gets_the_slot_of_a_long_call_of_its_own_process() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        limit = [(KEY, Limit(max_concurrent=2, queue=4, wait_s=5.0))]
        permits = [await first.limiter.acquire(limit, float) for _ in range(2)]
        await town.pass_time(10.0)
        waiting = asyncio.ensure_future(first.limiter.acquire(limit, float))
        while not first.limiter._waiting.get(KEY):
            await asyncio.sleep(0)
        town.sent.clear()
        await permits[0].release()
        for _ in range(10):
            await asyncio.sleep(0)
        assert waiting.done() and town.sent == [], "the slot is this process's already"

    run(test)


def test_a_spare_slot_of_one_scope_is_enough_where_another_scope_needs_a_message() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        provider = ("provider:p", Limit(max_concurrent=4))
        permits = [await first.limiter.acquire([("model:p/a", Limit(max_concurrent=8)), provider], float) for _ in range(4)]
        first.limiter._slots["provider:p"].is_tight = False  # others need none, so that a free one stays here for a second
        await permits[0].release()
        narrow = ("model:p/b", Limit(max_concurrent=1))
        await first.limiter.acquire([narrow, provider], float)
        with pytest.raises(RateLimited, match="model p/b"):
            await first.limiter.acquire([narrow, provider], float)
        await permits[1].release()
        with pytest.raises(RateLimited, match="model p/b"):
            await first.limiter.acquire([narrow, provider], float)
        assert first.limiter._slots["provider:p"].used == 3, "what was reserved for a request that was refused is spare again"

    run(test)


@pytest.mark.parametrize("is_tight", [False, True])
def test_a_limit_that_was_lowered_holds_for_the_slots_that_a_process_has(is_tight: bool) -> None:
    async def test(town: Town) -> None:
        first, second = await opened(town)
        before, after = [(KEY, Limit(max_concurrent=8))], [(KEY, Limit(max_concurrent=2))]
        permits = [await first.limiter.acquire(before, float) for _ in range(6)]
        first.limiter._slots[KEY].is_tight = is_tight
        for _ in range(4):
            with pytest.raises(RateLimited):
                await first.limiter.acquire(after, float)
            await permits.pop().release()
            await town.pass_time(0.25)
        with pytest.raises(RateLimited):
            await first.limiter.acquire(after, float)
        await permits.pop().release()
        await (await first.limiter.acquire(after, float)).release()
        await permits.pop().release()
        await town.pass_time(1.5)  # what is idle for a second goes back
        for permit in [await second.limiter.acquire(after, float) for _ in range(2)]:
            await permit.release()

    run(test)


def test_a_slot_that_was_reserved_is_spare_again_when_the_engine_does_not_answer() -> None:
    async def test(town: Town) -> None:
        first, _ = await opened(town)
        provider = ("provider:p", Limit(max_concurrent=4))
        permit = await first.limiter.acquire([provider], float)
        used = first.limiter._slots["provider:p"].used
        town.is_away = True
        await (await first.limiter.acquire([("model:p/b", Limit(max_concurrent=2)), provider], float)).release()
        assert first.limiter._slots["provider:p"].used == used
        await permit.release()

    run(test)


class Traffic(RandomCalls):
    """Requests at several processes that come, wait, leave and end at random; messages take their time, and some are lost."""

    LEAVES, REPORTS = 0.25, 0.15
    TURNS = 5
    PASSES = (0.0, 0.0, 0.05, 0.3)
    LIMITS = ("provider:p", "model:p/a", "model:p/b")

    def __init__(self, town: Town, processes: list[Process], rng: Random, losses: float) -> None:
        super().__init__(town, processes, rng, self.LIMITS[1:])
        self.losses = losses
        self.most = {name: rng.randint(1, 5) for name in self.LIMITS}
        self.queue, self.wait_s = rng.choice([0, 4]), rng.choice([0.0, 0.02])
        self.open, self.at_once = dict.fromkeys(self.LIMITS, 0), dict.fromkeys(self.LIMITS, 0)

    async def send(self, name: str, values: Sequence[Any]) -> Any:
        reply = await super().send(name, values)
        if self.rng.random() < self.losses:
            raise EngineAway("the answer was lost")
        return reply

    async def call(self, process: Process, model: str) -> None:
        scopes = [(name, Limit(max_concurrent=self.most[name], queue=self.queue, wait_s=self.wait_s))
                  for name in (model, "provider:p")]  # fmt: skip
        try:
            permit = await process.limiter.acquire(scopes, float)
        except RateLimited:
            return
        try:
            for name, _ in scopes:
                self.open[name] += 1
                self.at_once[name] = max(self.at_once[name], self.open[name])
            await self.turns(12)
        finally:
            for name, _ in scopes:
                self.open[name] -= 1
            await permit.release()

    async def report(self, process: Process) -> None:
        with suppress(EngineAway):
            await process.membership.beat()
            await process.limiter.report()

    async def run(self, steps: int) -> None:
        await self.begin_calls(steps)
        while not all(task.done() for task in self.tasks):
            self.town.now += 0.05
            for process in self.processes:
                await self.report(process)
            await asyncio.sleep(0)
        self.losses = 0.0
        await self.town.pass_time(SLOT_MS / 1_000 + 2.0)


def check_traffic(seed: int, losses: float) -> None:
    async def test(town: Town) -> None:
        rng = Random(seed)
        traffic = Traffic(town, await opened(town, rng.randint(1, 3)), rng, losses)
        await traffic.run(200)
        assert not any(slot.used for each in traffic.processes for slot in each.limiter._slots.values()), seed
        now_ms = (NOON + town.now) * 1_000
        rows = [row for scope in town.home.rates.slots.values() for row in scope.values()]
        assert not any(slots for slots, until in rows if until > now_ms), seed
        if not losses:
            assert all(0 < traffic.at_once[name] <= most for name, most in traffic.most.items()), seed

    run(test)


@pytest.mark.slow
@pytest.mark.parametrize("losses", [0.0, 0.05])
def test_whatever_happens_to_requests_no_slot_is_given_twice_and_all_come_back(losses: float) -> None:
    for seed in range(20):
        check_traffic(seed, losses)
