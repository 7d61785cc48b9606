"""The scripts in a real Redis and Valkey do what `lease_table` does, message by message, by the engine's own clock."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from engines import RedisServer, programs

from llm_router_gateway.limiter.lease_table import LeaseTable, RateTable
from llm_router_gateway.limiter.leases import (
    LOST,
    MICRO,
    UNLIMITED,
    Base,
    BeatAsk,
    BudgetAsk,
    Part,
    RatePart,
    SlotPart,
    TakeAsk,
    periods_at,
)
from llm_router_gateway.limiter.redis import RedisEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("redis") is None, reason="the package redis is not installed"),
]
ENGINES = sorted(programs()) or ["redis"]
PATIENT_S = 20.0


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> RedisServer:
    if request.param not in programs():
        pytest.skip("neither redis-server nor valkey-server is installed")
    started = RedisServer.start(tmp_path / "engine", program=programs()[request.param])
    request.addfinalizer(lambda: started.__exit__(None, None, None))
    return started


def random_part(rng: Random, name: str, since: int, until: int, numbers: dict[tuple[str, str], int], holder: str) -> Part:
    number = numbers.get((holder, name), 0) + rng.choice([1, 1, 1, 0])
    known = min(number, numbers.get((holder, name), 0))
    numbers[holder, name] = max(number, known)
    limits = rng.choice([(MICRO, UNLIMITED), (MICRO, 5_000), (UNLIMITED, 5_000)])
    return Part(name, since, until, *limits, number, known if rng.random() < 0.9 else 0,
                rng.randrange(MICRO // 4), rng.randrange(1_000), rng.randrange(MICRO // 20), rng.randrange(300))  # fmt: skip


async def with_engine(server: RedisServer, work: Callable[[RedisEngine], Awaitable[dict[str, int]]]) -> dict[str, int]:
    engine = RedisEngine(server.url, timeout_s=PATIENT_S)
    try:
        return await work(engine)
    finally:
        await engine.close()


async def compare_budgets(server: RedisServer, engine: RedisEngine, seed: int, steps: int) -> dict[str, int]:
    """Random messages to both; how often each status came."""
    rng, table = Random(seed), LeaseTable()
    seen: dict[str, int] = {}
    epochs = {f"l/{n}": 0 for n in range(4)}
    numbers: dict[tuple[str, str], int] = {}
    run = "same"
    for _ in range(steps):
        holder = rng.choice(sorted(epochs))
        deed = rng.random()
        if deed < 0.3:
            ask = BeatAsk(holder, epochs[holder], 0, rng.random() < 0.9, 0, tuple(rng.sample(sorted(epochs), rng.randrange(3))))
            told = await engine.beat(ask)
            assert table.beat(ask, told.now_ms, run) == told
            if epochs[holder] != told.epoch:
                numbers = dict.fromkeys(numbers, 0)
            epochs[holder] = told.epoch
        elif deed < 0.4:
            now = table.epoch.began_ms // 1_000 if table.epoch else 1
            periods = periods_at(now)
            bases = [Base(f"k:{periods.day}", periods.day_until, rng.randrange(9_999), 7)]
            await engine.seed(epochs[holder], "l", bases)
            table.seed(epochs[holder], "l", bases)
        elif deed < 0.42 and table.epoch is not None:
            server.say("FLUSHALL")
            table = LeaseTable()
            numbers = {}
        elif deed < 0.46:
            name = f"k:{periods_at(table.epoch.began_ms / 1_000).day}" if table.epoch else "k"
            told_stranded = await engine.stranded(name, epochs[holder], "l")
            assert table.stranded(name, epochs[holder], "l") == told_stranded
            await engine.leave("l/3")
            table.leave("l/3")
            await engine.write_off(name, epochs[holder], "l/3", (500, 5))
            table.write_off(name, epochs[holder], "l/3", (500, 5))
        else:
            periods = periods_at(table.epoch.began_ms / 1_000 if table.epoch else 1.0)
            spans = (
                (periods.day, periods.day_since, periods.day_until),
                (periods.month, periods.month_since, periods.month_until),
            )
            parts = tuple(random_part(rng, f"k:{name}", since, until, numbers, holder) for name, since, until in spans)
            need = rng.choice([(0, 0), (20_000, 0), (0, 60), (20_000, 60), (400_000, 1)])
            tick = rng.choice([0, 0, 0, table.epoch.tick if table.epoch else 0, 10**9 if rng.random() < 0.05 else 0])
            exchange = BudgetAsk(holder, epochs[holder], tick, "l", *need, need[0] * 8, need[1] * 8, parts)
            reply = await engine.exchange(exchange)
            assert table.exchange(exchange, reply.now_ms, run) == reply
            seen[reply.status] = seen.get(reply.status, 0) + 1
            if reply.status == LOST and rng.random() < 0.5:
                table = LeaseTable()
                server.say("FLUSHALL")
        if table.epoch is not None and rng.random() < 0.2 and not table.epoch.is_open:  # as if the quarantine were over
            server.say("HSET", "{llm-router:budgets}:epoch", "open", "1")
            table.epoch.is_open = True
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_budgets_in_the_engine_are_those_of_the_table(server: RedisServer, seed: int) -> None:
    seen = asyncio.run(with_engine(server, lambda engine: compare_budgets(server, engine, seed, 500)))
    assert len(seen) >= 5, seen


async def compare_rates(engine: RedisEngine, seed: int, steps: int) -> dict[str, int]:
    rng, table = Random(seed), RateTable()
    seen: dict[str, int] = {}
    have: dict[tuple[str, str], int] = {}
    for _ in range(steps):
        holder = f"l/{rng.randrange(3)}"
        rates = tuple(
            RatePart(f"model:p/m {what}", size * MICRO, rng.choice([1, 50, 7_000]) * MICRO, need * MICRO, need * 8 * MICRO,
                     rng.choice([0, 0, 2, -3]) * MICRO, rng.choice([0, 0, MICRO // 100, 60 * MICRO]))
            for what, size, need in (("requests", 10, rng.choice([0, 1, 1])), ("tokens", 500, rng.choice([0, 40, 700])))
            if rng.random() < 0.8
        )  # fmt: skip
        names = [name for name in ("model:p/m", "provider:p") if rng.random() < 0.5]
        slots = tuple(SlotPart(name, 6, have.get((holder, name), 0), rng.choice([0, 1, 1]), 4) for name in names)
        reply = await engine.take(TakeAsk(holder, rates, slots))
        assert table.take(TakeAsk(holder, rates, slots), reply.now_us) == reply
        seen[reply.status] = seen.get(reply.status, 0) + 1
        for slot, granted in zip(slots, reply.slots, strict=False):
            have[holder, slot.name] = rng.randrange(slot.have + granted + 1)
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_rates_and_slots_in_the_engine_are_those_of_the_table(server: RedisServer, seed: int) -> None:
    assert set(asyncio.run(with_engine(server, lambda engine: compare_rates(engine, seed, 800)))) == {
        "granted",
        "refused",
        "full",
    }
