"""Leases in a simulated world, with everything that can go wrong: granted and settled leases never exceed the limit."""

from __future__ import annotations

import asyncio
import os
from random import Random

import pytest
from lease_world import World

RUNS = 1_000 if os.environ.get("LLM_ROUTER_MATRIX") else 100  # with --all of the gate, and without
RUNS_AT_ONCE = 20


def run_with_faults(seed: int, seconds: float) -> World:
    rng = Random(seed)
    world = World(rng, processes=rng.randint(1, 8), limit_usd=rng.choice([0.5, 2, 10, 40]))
    asyncio.run(world.run(seconds, rate=rng.choice([0.02, 0.1, 0.3]), faults=rng.choice([0.05, 0.2, 0.5])))
    return world


def before_midnight(seed: int) -> World:
    rng = Random(seed)
    world = World(rng, processes=4, limit_usd=2.0, start=1_790_035_200 // 86_400 * 86_400 + 86_400 - 15)
    asyncio.run(world.run(30, rate=0.1, faults=0.1))
    return world


def test_no_fault_makes_a_budget_over_spent() -> None:
    world = run_with_faults(3, 8)
    assert world.requests > 5 and world.settled > 0
    assert world.overspent <= 0


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, RUNS, RUNS_AT_ONCE))
def test_no_fault_makes_a_budget_over_spent_in_a_thousand_runs(first: int) -> None:
    for seed in range(first, first + RUNS_AT_ONCE):
        world = run_with_faults(seed, 30 + 30 * Random(seed).random())
        assert world.overspent <= 0, f"seed {seed}: {world.overspent} micro-USD over {world.limit}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_day_turns_by_the_engines_clock_and_not_by_that_of_any_process(seed: int) -> None:
    assert before_midnight(seed).overspent <= 0


def spent_before_the_first_refusal(seed: int, limit_usd: float, rate: float) -> float:
    world = World(Random(seed), processes=8, limit_usd=limit_usd)

    async def run() -> None:
        await world.open()
        while world.first_refusal_at is None:
            await world.step(rate=rate)

    asyncio.run(run())
    assert world.first_refusal_at is not None
    return world.first_refusal_at / world.limit


def test_eight_processes_spend_nearly_all_of_a_budget_before_the_first_refusal() -> None:
    assert spent_before_the_first_refusal(1, 2.0, 1.0) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("limit_usd", [2, 10, 40])
def test_eight_processes_spend_nearly_all_of_any_budget(limit_usd: float, rate: float) -> None:
    for seed in range(5):
        assert spent_before_the_first_refusal(seed, limit_usd, rate) >= 0.95, seed


@pytest.mark.parametrize("damage", ["none", "flush"])
def test_the_world_notices_an_over_spent_budget(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the quarantine after a loss of memory, budgets are over-spent: the simulation sees it."""
    from llm_router_gateway.limiter import lease_table

    monkeypatch.setattr(lease_table, "QUARANTINE_MS", 0 if damage == "flush" else lease_table.QUARANTINE_MS)
    world = World(Random(5), processes=6, limit_usd=2.0)

    async def run() -> None:
        await world.open()
        for _ in range(6):
            for _ in range(8):
                await world.step(rate=0.4)
            world.engine.table = lease_table.LeaseTable()
            world.engine.table.epoch = lease_table.Epoch(world.engine.now_ms(), "run-0", 0, is_open=damage == "flush")

    asyncio.run(run())
    assert (world.overspent > 0) == (damage == "flush")
