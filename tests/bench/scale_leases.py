#!/usr/bin/env python3
"""CPU of one request's limits and budget: in this process alone, from a lease, and with a message to Redis for each.

    python3 tests/bench/scale_leases.py              needs redis-server and the package redis (8 or newer)

A round is a hold on a budget and its settlement, or an acquire of a rate limit and its release. CPU is this process's, in
microseconds for one round; rounds of the three kinds take turns. Without a lease, 16 requests are under way at once.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]

from engines import RedisServer, programs  # noqa: E402  (the path above is what makes it importable)

from llm_router_gateway.limiter.budgets import LocalBudgets  # noqa: E402
from llm_router_gateway.limiter.leased_budgets import LeasedBudgets  # noqa: E402
from llm_router_gateway.limiter.leased_limiter import LeasedLimiter  # noqa: E402
from llm_router_gateway.limiter.local import LocalLimiter  # noqa: E402
from llm_router_gateway.limiter.membership import Membership, NoLedger  # noqa: E402
from llm_router_gateway.limiter.redis import RedisEngine  # noqa: E402
from llm_router_gateway.policy.budgets import Amount, Budget  # noqa: E402
from llm_router_gateway.policy.rate_limits import Limit  # noqa: E402

ROUNDS, REPEATS, AT_ONCE = 4_000, 9, 16
BUDGET, COST = Budget(usd_per_day=1e6), Amount(0.001, 100)
LIMIT = Limit(10**9, 1.0)


async def budget_round(budgets: Any) -> None:
    hold = await budgets.hold("k", BUDGET, COST, time.time())
    await hold.settle(COST)


async def rate_round(limiter: Any) -> None:
    permit = await limiter.acquire((("key:k", LIMIT),), lambda: 1.0)
    await permit.release()


async def cpu_us(work: Callable[[int], Awaitable[None]], at_once: int, rounds: int) -> float:
    """CPU of one round; `work` gets the number of the caller, of which `at_once` are under way."""

    async def some(caller: int) -> None:
        for _ in range(rounds // at_once):
            await work(caller)

    began = time.process_time()
    await asyncio.gather(*map(some, range(at_once)))
    return (time.process_time() - began) / rounds * 1e6


async def main() -> int:
    if not programs():
        print("redis-server is not installed: apt install redis-server")
        return 1
    with tempfile.TemporaryDirectory() as folder, RedisServer.start(Path(folder)) as server:
        engine = RedisEngine(server.url, timeout_s=5.0)
        member = Membership(engine, holder="bench/1", ledger=NoLedger("bench"), clock=time.monotonic, wall=time.time)
        while not member.is_open:
            await member.beat()
            member.is_complete = True
            await asyncio.sleep(0.1)
        budgets, limiter = LeasedBudgets(member), LeasedLimiter(member)
        local_budgets, local_limiter = LocalBudgets(), LocalLimiter(time.monotonic)

        async def budget_asked(caller: int) -> None:
            """Each caller with a key of its own, and nothing leased."""
            hold = await budgets.hold(f"k{caller}", BUDGET, COST, time.time())
            await hold.settle(COST)
            budgets._shelves[f"k{caller}"].book.void()

        async def rate_asked(caller: int) -> None:
            limit = (f"key:k{caller}", LIMIT)
            await (await limiter.acquire((limit,), lambda: 1.0)).release()
            limiter._shares[f"key:k{caller} requests"].room = 0

        kinds: dict[str, tuple[Callable[[int], Awaitable[None]], int, int]] = {
            "budget, one process": (lambda caller: budget_round(local_budgets), 1, ROUNDS),
            "budget, leased": (lambda caller: budget_round(budgets), 1, ROUNDS),
            "budget, a message each": (budget_asked, AT_ONCE, ROUNDS // 4),
            "rate, one process": (lambda caller: rate_round(local_limiter), 1, ROUNDS),
            "rate, leased": (lambda caller: rate_round(limiter), 1, ROUNDS),
            "rate, a message each": (rate_asked, AT_ONCE, ROUNDS // 4),
        }
        found: dict[str, list[float]] = {name: [] for name in kinds}
        messages: dict[str, float] = {}
        for _ in range(REPEATS):
            for name, (work, at_once, rounds) in kinds.items():
                before = engine.messages
                found[name].append(await cpu_us(work, at_once, rounds))
                messages[name] = (engine.messages - before) / rounds
        for name, values in found.items():
            print(f"{name:24} {statistics.median(values):7.1f} us  (least {min(values):.1f}); {messages[name]:.3f} messages")
        await engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
