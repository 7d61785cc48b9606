"""A process's part in what several share, kept up: its signs of life, its reports, and what it gives back when it leaves."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from .leased_budgets import LeasedBudgets
from .leased_limiter import LeasedLimiter
from .leases import MICRO, EngineAway
from .membership import Membership


def clock_s() -> float:
    """Seconds that go on while the machine is suspended: a lease must not outlive a laptop's night."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(boottime) if boottime is not None else time.monotonic()


class Participant:
    """The limiter and the budgets of a membership. `tasks`: what repeats its work, ended when it leaves."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.limiter, self.budgets = LeasedLimiter(membership), LeasedBudgets(membership)
        self.tasks: list[asyncio.Task[None]] = []

    async def beat(self) -> None:
        """A sign of life; two where the engine wants a report in between. EngineAway."""
        await self.membership.beat()
        if not self.membership.is_complete:
            await self.budgets.report()
            await self.membership.beat()

    async def report(self) -> None:
        """What was spent and what is not needed goes back. EngineAway."""
        await self.budgets.report()
        await self.limiter.report()
        await self.budgets.write_off()

    def leased(self) -> dict[str, float]:
        """What this process has of what is shared: {"keys": 2, "usd": 0.0121, "tokens": 900, "slots": 1}"""
        keys, (usd, tokens) = self.budgets.leased()
        return {"keys": keys, "usd": round(usd / MICRO, 6), "tokens": tokens, "slots": self.limiter.slots}

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        with suppress(EngineAway):
            await self.limiter.close()
            await self.budgets.close()
