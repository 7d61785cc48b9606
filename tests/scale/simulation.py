#!/usr/bin/env python3
"""Figures for references/scaling.md: many processes that share budgets, in the simulated world of tests/support/lease_world.

    python3 tests/scale/simulation.py                      64 replicas x 8 workers, 10,000 requests a second
    python3 tests/scale/simulation.py 8 100 20             processes, requests a second in all, seconds

No clock and no socket: the figures depend on the seed alone. Printed are the engine's messages per request, without and with
signs of life, how evenly the processes share, and by how much the limit was exceeded.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]

from lease_world import STEP_S, Process, World  # noqa: E402  (the path above is what makes it importable)

from llm_router_gateway.limiter.membership import BEAT_S  # noqa: E402


async def measure(processes: int, per_s: float, seconds: float, limit_usd: float) -> dict[str, float]:
    world = World(Random(1), processes=processes, limit_usd=limit_usd)
    shares: Counter[str] = Counter()
    call = Process.call

    async def counted(self: Process, hold_usd: float, cost: int, duration: float) -> object:
        error = await call(self, hold_usd, cost, duration)
        shares[self.membership.holder] += error is None
        return error

    Process.call = counted  # type: ignore[method-assign, assignment]  # this program's own world
    await world.open()
    before, began, requests = world.engine.messages, world.elapsed, world.requests
    while world.elapsed < began + seconds:
        await world.step(rate=per_s * STEP_S / processes)
    Process.call = call  # type: ignore[method-assign]
    beats = processes * seconds / BEAT_S
    messages, calls = world.engine.messages - before, world.requests - requests
    answered = sorted(shares[process.membership.holder] for process in world.processes)
    return {
        "requests": calls, "refused": world.refusals, "messages/request": messages / calls,
        "without signs of life": (messages - beats) / calls, "least share": answered[0] / (sum(answered) / processes),
        "most share": answered[-1] / (sum(answered) / processes), "overspent": max(0, world.overspent),
        "spent": world.settled / world.limit,
    }  # fmt: skip


def main(words: list[str]) -> int:
    processes, per_s, seconds = (float(word) for word in words or ("512", "10000", "10"))
    for limit_usd in (50.0, 1_000.0, 100_000.0):
        found = asyncio.run(measure(int(processes), per_s, seconds, limit_usd))
        print(f"{limit_usd:>9,.0f} USD a day: " + ", ".join(f"{name} {value:,.3f}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
