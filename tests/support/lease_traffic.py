"""Calls at the processes of a town (`lease_town`) that come, wait, leave and end at random, all from one seed.

class Spending(RandomCalls):
    async def call(self, process: Process, name: str) -> None: ...     from its hold, or its permit, to its end
    async def report(self, process: Process) -> None: ...              what a process does by its timer

await Spending(town, processes, Random(7), ["k1", "k2"]).begin_calls(300)

A message to the engine takes its time: turns of the event loop, before it is there and before its answer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from lease_town import Process, Town


class RandomCalls:
    """A class derives from it for each thing that processes share."""

    LEAVES = REPORTS = 0.0  # how likely it is in one step that a caller leaves, and that a process reports
    TURNS = 1  # of the event loop: one step takes fewer than this
    PASSES: Sequence[float] = (0.0,)  # seconds, of which one step takes one

    def __init__(self, town: Town, processes: list[Process], rng: Random, names: Sequence[str]) -> None:
        """`names`: of what calls are charged to."""
        self.town, self.processes, self.rng, self.names = town, processes, rng, names
        self.tasks: list[asyncio.Task[None]] = []

    async def call(self, process: Process, name: str) -> None:
        raise NotImplementedError

    async def report(self, process: Process) -> None:
        raise NotImplementedError

    async def turns(self, most: int) -> None:
        for _ in range(self.rng.randrange(most)):
            await asyncio.sleep(0)

    async def deliver(self, name: str, values: Sequence[Any]) -> Any:
        return await self.town.send(name, values)

    async def send(self, name: str, values: Sequence[Any]) -> Any:
        await self.turns(4)
        reply = await self.deliver(name, values)
        await self.turns(4)
        return reply

    async def begin_calls(self, steps: int) -> None:
        """One call in each step; some of them are under way at the end."""
        rng = self.rng
        for each in self.processes:
            each.send_by(self.send)
        for _ in range(steps):
            self.tasks.append(asyncio.ensure_future(self.call(rng.choice(self.processes), rng.choice(self.names))))
            if rng.random() < self.LEAVES:
                rng.choice(self.tasks).cancel()
            await self.turns(self.TURNS)
            self.town.now += rng.choice(self.PASSES)
            if rng.random() < self.REPORTS:
                await self.report(rng.choice(self.processes))
