"""An engine in this process's memory, and one at the other end of a connection that carries JSON.

    home = MemoryEngine(clock_ms)                         what the parent of the workers keeps
    await home.handle("exchange", [...])                  -> the answer to a message, as JSON has it
    engine = DistantEngine(send)                          a worker's: `send(name, values)` carries a message to `handle`

`send` returns what `handle` returned, or raises EngineAway.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ..policy.budgets import Spent
from .lease_table import LeaseTable, RateTable
from .leases import (
    Base,
    BeatAsk,
    BeatReply,
    BudgetAsk,
    BudgetReply,
    Engine,
    Pair,
    TakeAsk,
    TakeReply,
    bases_of,
    beat_ask,
    beat_reply,
    budget_ask,
    budget_reply,
    micro,
    periods_at,
    take_ask,
    take_reply,
)

FORGET_EVERY_MS = 3_600_000
Stranded = tuple[Pair, tuple[tuple[str, int, int], ...]]


class MemoryEngine:
    """`leases.Engine`, in memory. One process's memory lasts as long as the process: its epoch is its own."""

    def __init__(self, clock_ms: Callable[[], int], run: str = "") -> None:
        """`clock_ms`: Unix milliseconds, the clock that days are counted by."""
        self.table, self.rates = LeaseTable(), RateTable()
        self._clock_ms, self._run = clock_ms, run
        self._forgot_at = 0
        self._heard_on = ""  # the day of what was heard last

    async def exchange(self, ask: BudgetAsk) -> BudgetReply:
        return self.table.exchange(ask, self._clock_ms(), self._run)

    async def seed(self, epoch: int, ledger: str, bases: Sequence[Base]) -> None:
        self.table.seed(epoch, ledger, bases)

    async def beat(self, ask: BeatAsk) -> BeatReply:
        now_ms = self._clock_ms()
        if now_ms - self._forgot_at >= FORGET_EVERY_MS:
            self._forgot_at = now_ms
            self.table.end(now_ms)
        return self.table.beat(ask, now_ms, self._run)

    async def leave(self, holder: str) -> None:
        self.table.leave(holder)
        self.rates.leave(holder)

    async def take(self, ask: TakeAsk) -> TakeReply:
        return self.rates.take(ask, self._clock_ms() * 1_000)

    async def stranded(self, account: str, epoch: int, ledger: str) -> Stranded:
        return self.table.stranded(account, epoch, ledger)

    async def write_off(self, account: str, epoch: int, holder: str, spent: Pair) -> None:
        self.table.write_off(account, epoch, holder, spent)

    def hear(self, rows: Iterable[Spent], now: float) -> None:
        """What gateways that have no lease here have spent today and this month, as `Budgets.load` takes it."""
        periods, table = periods_at(now), self.table
        names = {"day": periods.day, "month": periods.month}
        if table.elsewhere and periods.day != self._heard_on:
            ends = tuple(f":{name}" for name in names.values())
            table.elsewhere = {name: pair for name, pair in table.elsewhere.items() if name.endswith(ends)}
        self._heard_on = periods.day
        table.hear({f"{key_id}:{names[span]}": (micro(usd), math.ceil(tokens)) for key_id, span, usd, tokens in rows})

    def open_at_once(self) -> None:
        """Begins an epoch that waits for no holder: of a parent whose workers have not begun yet."""
        self.table.beat(BeatAsk("", 0, 0, True, 0, ()), self._clock_ms(), self._run)
        if self.table.epoch is not None:  # as after any sign of life
            self.table.epoch.began_ms = 0
        self.table.leave("")

    async def handle(self, name: str, values: Sequence[Any]) -> Any:
        return await answer(self, name, values)


async def answer(engine: Engine, name: str, values: Sequence[Any]) -> Any:
    """An engine's answer to one message, as JSON has both; ValueError for one that is not known."""
    if name == "exchange":
        return await engine.exchange(budget_ask(values))
    if name == "take":
        return await engine.take(take_ask(values))
    if name == "beat":
        return await engine.beat(beat_ask(values))
    if name == "seed":
        return await engine.seed(values[0], values[1], bases_of(values[2]))
    if name == "leave":
        return await engine.leave(values[0])
    if name == "stranded":
        return await engine.stranded(values[0], values[1], values[2])
    if name == "write_off":
        return await engine.write_off(values[0], values[1], values[2], (values[3][0], values[3][1]))
    raise ValueError(f"{name!r} is not a message about leases")


class DistantEngine:
    """`leases.Engine`, through a function that carries messages."""

    def __init__(self, send: Callable[[str, Sequence[Any]], Awaitable[Any]]) -> None:
        self._send = send

    async def exchange(self, ask: BudgetAsk) -> BudgetReply:
        return budget_reply(await self._send("exchange", ask))

    async def seed(self, epoch: int, ledger: str, bases: Sequence[Base]) -> None:
        await self._send("seed", [epoch, ledger, bases])

    async def beat(self, ask: BeatAsk) -> BeatReply:
        return beat_reply(await self._send("beat", ask))

    async def leave(self, holder: str) -> None:
        await self._send("leave", [holder])

    async def take(self, ask: TakeAsk) -> TakeReply:
        return take_reply(await self._send("take", ask))

    async def stranded(self, account: str, epoch: int, ledger: str) -> Stranded:
        (usd, tokens), leases = await self._send("stranded", [account, epoch, ledger])
        return (usd, tokens), tuple((holder, more_usd, more_tokens) for holder, more_usd, more_tokens in leases)

    async def write_off(self, account: str, epoch: int, holder: str, spent: Pair) -> None:
        await self._send("write_off", [account, epoch, holder, spent])
