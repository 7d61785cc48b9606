"""A small world of processes that share budgets over an engine: no clock, no socket, one seed. What can go wrong, does.

    world = World(Random(7), processes=8, limit_usd=10.0)
    asyncio.run(world.run(seconds=60, faults=True))
    world.overspent        -> 0: at no moment were settled costs, holds and valid leases more than the limit

The engine is `LeaseTable`, to which the scripts for Redis are compared elsewhere. A message to it may be delayed, may be
applied with its answer lost, or may be applied long after the asker gave up. Processes die, the engine stops, restarts, is
flushed or comes back with an old snapshot; every process's wall clock is up to an hour off.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from llm_router_gateway.errors import GatewayError
from llm_router_gateway.limiter.lease_table import LeaseTable
from llm_router_gateway.limiter.leased_budgets import REPORT_EVERY_S, LeasedBudgets, LeasedHold
from llm_router_gateway.limiter.leases import (
    MICRO,
    Base,
    BeatAsk,
    BeatReply,
    BudgetAsk,
    BudgetReply,
    EngineAway,
    Pair,
    TakeAsk,
    TakeReply,
    micro,
)
from llm_router_gateway.limiter.membership import BEAT_S, Membership
from llm_router_gateway.policy.budgets import Amount, Budget, day_of

STEP_S = 0.05
FLUSH_S = 0.25  # how long a finished call waits for the log's next batch
NOON = 1_790_000_000 // 86_400 * 86_400 + 43_200
KEY = "key_1"


@dataclass
class SimulatedLedger:
    """The log of calls that all processes write to."""

    now: Callable[[], float]
    name: str = "common"
    is_common: bool = True
    calls: list[tuple[float, int]] = field(default_factory=list)  # when a call began, micro-USD

    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        return {KEY: (sum(usd for at, usd in self.calls if at >= since) / MICRO, 0.0)}

    async def settle(self) -> None:
        """A call is in it FLUSH_S after its end, long before an account is seeded."""


class SimulatedEngine:
    """The table behind a network that loses answers and delays messages."""

    def __init__(self, rng: Random, now: Callable[[], float]) -> None:
        self.rng, self.now, self.table = rng, now, LeaseTable()
        self.is_up, self.run, self.faults = True, "run-0", False
        self.late: list[tuple[float, Callable[[], Any]]] = []
        self.messages = 0

    def now_ms(self) -> int:
        return round(self.now() * 1_000)

    async def _carry(self, work: Callable[[], Any]) -> Any:
        self.messages += 1
        for _ in range(self.rng.randrange(3) if self.faults else 0):
            await asyncio.sleep(0)
        fate = self.rng.random() if self.faults else 1.0
        if not self.is_up:
            if fate < 0.3:  # it sits in a buffer of a frozen engine
                self.late.append((self.now() + self.rng.uniform(0.1, 40), work))
            raise EngineAway("the engine does not answer")
        if fate < 0.02:
            self.late.append((self.now() + self.rng.uniform(0.01, 5), work))
            raise EngineAway("no answer in time")
        result = work()
        for _ in range(self.rng.randrange(3) if self.faults else 0):
            await asyncio.sleep(0)
        if fate < 0.05:
            raise EngineAway("the answer was lost")
        return result

    def deliver_late(self) -> None:
        due = [work for at, work in self.late if at <= self.now() and self.is_up]
        self.late = [(at, work) for at, work in self.late if not (at <= self.now() and self.is_up)]
        self.rng.shuffle(due)
        for work in due:
            work()

    async def exchange(self, ask: BudgetAsk) -> BudgetReply:
        reply: BudgetReply = await self._carry(lambda: self.table.exchange(ask, self.now_ms(), self.run))
        return reply

    async def seed(self, epoch: int, ledger: str, bases: Sequence[Base]) -> None:
        await self._carry(lambda: self.table.seed(epoch, ledger, bases))

    async def beat(self, ask: BeatAsk) -> BeatReply:
        reply: BeatReply = await self._carry(lambda: self.table.beat(ask, self.now_ms(), self.run))
        return reply

    async def leave(self, holder: str) -> None:
        await self._carry(lambda: self.table.leave(holder))

    async def take(self, ask: TakeAsk) -> TakeReply:
        raise NotImplementedError

    async def stranded(self, account: str, epoch: int, ledger: str) -> tuple[Pair, tuple[tuple[str, int, int], ...]]:
        found: tuple[Pair, tuple[tuple[str, int, int], ...]]
        found = await self._carry(lambda: self.table.stranded(account, epoch, ledger))
        return found

    async def write_off(self, account: str, epoch: int, holder: str, spent: Pair) -> None:
        await self._carry(lambda: self.table.write_off(account, epoch, holder, spent))


@dataclass
class OpenCall:
    hold: LeasedHold
    began: float
    ends: float
    cost: int  # micro-USD


class Process:
    """One worker: its part of the budget, its calls, the rows that it has not yet logged."""

    def __init__(self, world: World, name: str, skew_s: float) -> None:
        self.world, self.skew_s = world, skew_s
        self.membership = Membership(
            world.engine, holder=f"common/{name}", ledger=world.ledger, clock=world.clock, wall=self.wall
        )
        self.budgets = LeasedBudgets(self.membership)
        self.calls: list[OpenCall] = []
        self.unlogged: list[tuple[float, float, int, str]] = []  # ready at, began, micro-USD, account
        self.next_beat = self.next_report = 0.0

    def wall(self) -> float:
        return self.world.now() + self.skew_s

    async def tend(self) -> None:
        """What the process does by its timer."""
        now = self.world.clock()
        if now >= self.next_beat:
            self.next_beat = now + BEAT_S
            await ignore(self.membership.beat())
        if now >= self.next_report:
            self.next_report = now + REPORT_EVERY_S
            await ignore(self.budgets.report())
            await ignore(self.budgets.write_off())
        for call in [call for call in self.calls if call.ends <= now]:
            self.calls.remove(call)
            await call.hold.settle(Amount(call.cost / MICRO, 0))
            account = call.hold._day.account
            self.world.settled_in[account] += call.cost
            self.unlogged.append((now + FLUSH_S, call.began, call.cost, account))
        ready = [row for row in self.unlogged if row[0] <= now]
        self.unlogged = [row for row in self.unlogged if row[0] > now]
        self.world.ledger.calls += [(began, cost) for _, began, cost, _ in ready]

    def is_due(self) -> bool:
        now = self.world.clock()
        return (
            now >= self.next_beat
            or now >= self.next_report
            or any(call.ends <= now for call in self.calls)
            or any(row[0] <= now for row in self.unlogged)
        )

    async def call(self, hold_usd: float, cost: int, seconds: float) -> GatewayError | None:
        """Begins a call; the refusal where there is one."""
        try:
            hold = await self.budgets.hold(KEY, self.world.budget, Amount(hold_usd, 0), self.wall())
        except GatewayError as error:
            return error
        self.calls.append(OpenCall(hold, self.world.now(), self.world.clock() + seconds, cost))
        return None

    @property
    def claimed(self) -> int:
        """Micro-USD on hold, and what may still be spent of a valid lease, of the day that is now."""
        found = 0
        valid = self.membership.presence.leases_are_valid(self.world.clock())
        for shelf in self.budgets._shelves.values():
            for purse in (shelf.book.day, *shelf.book.old):
                if purse.since <= self.world.now() < purse.until:
                    found += purse.held_usd + (max(0, purse.room_usd) if valid else 0)
        return found


async def ignore(work: Any) -> None:
    try:
        await work
    except (EngineAway, OSError):
        pass


class World:
    """All of it, and a record of the worst moment."""

    def __init__(self, rng: Random, *, processes: int, limit_usd: float, hold_usd: float = 0.02, start: float = NOON) -> None:
        self.rng, self.limit, self.hold_usd, self.start = rng, micro(limit_usd), hold_usd, start
        self.elapsed = 0.0
        self.budget = Budget(usd_per_day=limit_usd, usd_per_month=limit_usd * 20)
        self.engine = SimulatedEngine(rng, self.now)
        self.ledger = SimulatedLedger(self.now)
        self.settled_in: Counter[str] = Counter()  # by account
        self.lost_with_process = self.overspent = 0
        self.refusals = self.requests = self.born = 0
        self.first_refusal_at: int | None = None  # what was settled and on hold at the first refusal
        self.snapshot: LeaseTable | None = None
        self.processes = [self.spawn() for _ in range(processes)]

    def clock(self) -> float:
        return self.elapsed

    def now(self) -> float:
        return self.start + self.elapsed

    def spawn(self) -> Process:
        self.born += 1
        return Process(self, f"p{self.born}", self.rng.uniform(-3_600, 3_600))

    @property
    def settled(self) -> int:
        return sum(self.settled_in.values())

    def check(self) -> None:
        claimed = sum(process.claimed for process in self.processes)
        today = self.settled_in[f"{KEY}:{day_of(self.now())}"]
        self.overspent = max(self.overspent, today + claimed - self.limit)

    async def open(self) -> None:
        """Until the engine grants leases."""
        while not all(process.membership.is_open for process in self.processes):
            await self.step(rate=0.0)

    async def step(self, *, rate: float) -> None:
        """One step of time, in which each process begins `rate` calls on average."""
        self.elapsed = round(self.elapsed + STEP_S, 6)
        self.engine.deliver_late()
        work = [process.tend() for process in self.processes if process.is_due()]
        for process in self.processes:
            count = int(rate) + (self.rng.random() < rate % 1)
            work += [self._call(process) for _ in range(count)]
        self.rng.shuffle(work)
        await asyncio.gather(*work)
        self.check()

    async def _call(self, process: Process) -> None:
        hold = micro(self.hold_usd * self.rng.uniform(0.3, 1.7))
        cost = int(hold * self.rng.uniform(0.05, 1.0))
        self.requests += 1
        error = await process.call(hold / MICRO, cost, self.rng.uniform(0.05, 4.0))
        if process not in self.processes:
            return
        if error is not None:
            self.refusals += 1
            if error.status == 402 and self.first_refusal_at is None:
                on_hold = sum(purse.held_usd for each in self.processes for shelf in each.budgets._shelves.values()
                              for purse in (shelf.book.day,))  # fmt: skip
                self.first_refusal_at = self.settled + on_hold

    # -- faults

    def kill(self) -> None:
        """kill -9 of one process: its calls under way and the last batch of its log are lost; another one takes its place."""
        process = self.rng.choice(self.processes)
        self.processes.remove(process)
        self.lost_with_process += sum(call.cost for call in process.calls) + sum(row[2] for row in process.unlogged)
        # What nobody logged is not known to anyone, once the engine has lost its memory as well.
        for _, _, cost, account in process.unlogged:
            self.settled_in[account] -= cost
        for task in process.budgets._tasks:
            task.cancel()
        self.processes.append(self.spawn())

    def stop_engine(self) -> None:
        self.engine.is_up = False

    def start_engine(self) -> None:
        """With its memory, with none, or with an old one."""
        fate = self.rng.randrange(4)
        if not self.engine.is_up and fate:
            self.engine.run = f"run-{self.rng.random()}"  # else it was only frozen
            if fate == 2 and self.snapshot is not None:
                self.engine.table = copy.deepcopy(self.snapshot)
            elif fate == 3:
                self.engine.table = LeaseTable()
        self.engine.is_up = True

    def flush(self) -> None:
        self.engine.table = LeaseTable()

    def load_old_snapshot(self) -> None:
        """A fail-over to a copy that lags, without a moment's outage: the process behind the address is another one."""
        if self.snapshot is not None:
            self.engine.table = copy.deepcopy(self.snapshot)
            self.engine.run = f"run-{self.rng.random()}"

    def take_snapshot(self) -> None:
        self.snapshot = copy.deepcopy(self.engine.table)

    async def run(self, seconds: float, rate: float, *, faults: float = 0.0) -> None:
        """`faults`: how likely one of them is in a second."""
        await self.open()
        self.engine.faults = bool(faults)
        deeds: list[Callable[[], None]] = [
            self.kill, self.kill, self.stop_engine, self.flush, self.load_old_snapshot, self.take_snapshot, self.take_snapshot,
        ]  # fmt: skip
        until = self.elapsed + seconds
        while self.elapsed < until:
            if faults and self.rng.random() < faults * STEP_S:
                self.rng.choice(deeds)()
            if not self.engine.is_up and self.rng.random() < STEP_S / 2:
                self.start_engine()
            await self.step(rate=rate)
