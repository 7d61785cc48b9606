"""Limits and budgets that workers share: the home keeps what there is, each worker spends leases of it (see `limiter/leases`).

In the home:
    desk = LeaseDesk(engine, keys)                             `engine` has the leases: this process's memory, or Redis
    await desk.handle("exchange", values)                      a message about leases -> its answer
    await desk.sums(since)                                     what the call log says that each key has spent
    await desk.leave("worker-1-5f1c")                          it is gone: its slots are free, its leases are not
    note_spending(books, call, now)                            what administrators see, from each call's record

In a worker:
    leases = WorkerLeases(link, name, desk.ledger, warn)
    await leases.start()                                       before the first request
    leases.limiter, leases.budgets                             what stands behind the seams
    await leases.report()                                      so that the home knows what was spent
    await leases.close()                                       gives everything back

Messages of a worker: call lease(name, values), see `limiter.memory`; call sums(since) -> {key: [usd, tokens]}; call settle().

What a worker that died had leased counts as spent until another worker finds in the call log what it did spend, ten minutes
later: `limiter.leased_budgets` says why not at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import GatewayError, Unavailable
from ..limiter.budgets import LocalBudgets
from ..limiter.leased_budgets import REPORT_EVERY_S
from ..limiter.leases import Engine, EngineAway
from ..limiter.membership import BEAT_S, Membership
from ..limiter.memory import DistantEngine, MemoryEngine, answer
from ..limiter.participant import Participant, clock_s
from ..net.link import Link
from ..proxy.faults import fault_line
from ..store.call import Call
from ..store.keys import KeyRepository
from ..store.recorder import Recorder

HERE = "here"  # the name of the one call log that all workers write to
ANSWER_S = 2.0  # for an answer of the home: it is on this machine


# ---------------------------------------------------------------------------------------------------------- the home's


class LeaseDesk:
    """Answers what workers say about leases."""

    def __init__(
        self, engine: Engine, keys: KeyRepository | None, store: Recorder | None = None, *, ledger: str = HERE,
        is_common: bool = True, processes: Callable[[], int] = lambda: 1,
    ) -> None:  # fmt: skip
        """`keys` has the sums of the call log, which `store` writes; `processes`: how many share the limits."""
        self.processes = processes
        self.engine, self._keys, self._store, self.ledger = engine, keys, store, (ledger, is_common)

    async def handle(self, name: str, values: Sequence[Any]) -> Any:
        try:
            return await answer(self.engine, name, values)
        except EngineAway as away:
            raise Unavailable(str(away), code="engine_away") from None

    async def sums(self, since: int) -> dict[str, tuple[float, float]]:
        if self._keys is None:
            return {}
        if self._store is not None and not self._store.is_current:
            raise Unavailable("calls of an outage are not stored yet", code="store_unreadable")
        rows = await self._keys.spent(float(since))  # its day begins at `since`, and has no end
        return {key_id: (usd, tokens) for key_id, span, usd, tokens in rows if span == "day"}

    async def settle(self) -> bool:
        """True once the log has every call that workers have handed over."""
        if self._store is not None:
            try:
                await self._store.settle()
            except OSError as late:
                raise Unavailable(str(late), code="store_unreadable") from None
        return True

    async def leave(self, worker: str) -> None:
        with suppress(EngineAway):
            await self.engine.leave(f"{self.ledger[0]}/{worker}")


def note_spending(books: LocalBudgets, call: Call, now: float) -> None:
    """Adds a call's cost to what its key has spent."""
    if not call.key_id:
        return
    for period in books.periods(call.key_id, now):
        period.usd += call.cost_usd or 0.0
        period.tokens += (call.input_tokens or 0) + (call.output_tokens or 0)


def own_engine(wall: Callable[[], float]) -> MemoryEngine:
    """The engine of a home that shares nothing with other gateways."""
    made = MemoryEngine(lambda: round(wall() * 1_000))
    made.open_at_once()
    return made


# ---------------------------------------------------------------------------------------------------------- a worker's


class HomeLedger:
    """`limiter.membership.Ledger`, over the home's call log."""

    def __init__(self, link: Link, hand_over: Callable[[], Awaitable[object]], name: str, is_common: bool) -> None:
        """`hand_over` gives the home the calls that it does not have yet."""
        self._link, self._hand_over, self.name, self.is_common = link, hand_over, name, is_common

    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        try:
            found: Mapping[str, tuple[float, float]] = await self._link.call("sums", since)
        except GatewayError as wrong:
            raise OSError(wrong.message) from None
        return found

    async def settle(self) -> None:
        handed = asyncio.ensure_future(self._hand_over())  # not to be cancelled: it has records that are on their way
        await asyncio.wait((handed,), timeout=ANSWER_S)
        if not handed.done() or handed.exception() is not None:
            raise OSError("the home does not accept records")
        try:
            await self._link.call("settle", limit_s=ANSWER_S)
        except GatewayError as wrong:
            raise OSError(wrong.message) from None


class WorkerLeases:
    """This worker's part of limits and budgets."""

    def __init__(
        self, link: Link, name: str, ledger: Sequence[Any], warn: Callable[[str], None],
        hand_over: Callable[[], Awaitable[object]], processes: int = 1,
    ) -> None:  # fmt: skip
        """`ledger`: its name, and whether it is common to all gateways; `hand_over` gives the home what it is to record.

        `processes`: how many share the limits, as the home knows it now.
        """
        self._link, self._warn = link, warn
        book = HomeLedger(link, hand_over, *ledger)
        self.membership = Membership(
            DistantEngine(self._send), holder=f"{book.name}/{name}", ledger=book, clock=clock_s, wall=time.time, tell=warn,
            guess=lambda: processes,
        )  # fmt: skip
        self._part = part = Participant(self.membership)
        self.limiter, self.budgets = part.limiter, part.budgets

    async def _send(self, name: str, values: Sequence[Any]) -> Any:
        try:
            return await self._link.call("lease", name, values, limit_s=ANSWER_S)
        except GatewayError as error:
            raise EngineAway(error.message) from None

    async def start(self) -> None:
        with suppress(EngineAway):
            await self._part.beat()
        loop = asyncio.get_running_loop()
        self._part.tasks = [loop.create_task(self._repeat(every_s, work))
                       for every_s, work in ((BEAT_S, self._part.beat), (REPORT_EVERY_S, self._part.report))]  # fmt: skip

    async def _repeat(self, every_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except EngineAway:
                pass  # the link says the same
            except Exception as error:
                self._warn(fault_line("what the processes share", error, f"it is tried again in {every_s:g} s"))

    def leased(self) -> dict[str, float]:
        return self._part.leased()

    async def report(self) -> None:
        await self.budgets.report()

    async def close(self) -> None:
        await self._part.leave()
