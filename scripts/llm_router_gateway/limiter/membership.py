"""One process among those that share an engine: its signs of life, its epoch, and whether the engine answers.

    membership = Membership(engine, holder="common/4f1c...", ledger=ledger, clock=time.monotonic, wall=time.time)
    await membership.beat()                     every BEAT_S, without end: this is how a returning engine is found
    await membership.call(engine.take(ask))     EngineAway at once where three messages in a row had no answer
    membership.count                            processes that share the limits, as last received; before that, a guess

Messages about leases and their order are in `leases`; what an epoch is, in `lease_table`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from .leases import LEASE_S, BeatAsk, BeatReply, Engine, EngineAway, Presence

BEAT_S = 0.5  # between two signs of life; `lease_table.QUARANTINE_MS` is four of them

Reply = TypeVar("Reply")


class Ledger(Protocol):
    """The log of calls, as far as budgets need it: what it says that a key has spent is the truth."""

    @property
    def name(self) -> str:
        """The same in every process that records its calls there."""

    @property
    def is_common(self) -> bool:
        """Whether all replicas record their calls there."""

    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        """US dollars and tokens of each key's calls that began at `since` or later, in Unix seconds. May raise OSError."""

    async def settle(self) -> None:
        """Returns once `sums` has every call of this process that ended before. OSError while it has not."""


class NoLedger:
    """Where no call is recorded: nothing outlives the engine's memory."""

    is_common = False

    def __init__(self, name: str) -> None:
        self.name = name

    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        return {}

    async def settle(self) -> None:
        """There is nothing to wait for."""


class Membership:
    """This process, as the engine knows it."""

    def __init__(
        self, engine: Engine, *, holder: str, ledger: Ledger, clock: Callable[[], float], wall: Callable[[], float],
        tell: Callable[[str], None] = lambda text: None, guess: Callable[[], int] = lambda: 1,
    ) -> None:  # fmt: skip
        """`tell` logs what changes: the engine goes away, comes back, or has lost its memory.

        `guess`: how many processes share the limits, as far as others than the engine know.
        """
        self.engine, self.holder, self.ledger, self.clock, self.wall, self.tell = engine, holder, ledger, clock, wall, tell
        self.presence = Presence()
        self.epoch = self.tick = 0
        self._count, self._guess = 0, guess
        self.is_open = False
        self.is_complete = True  # nothing that is leased is unreported in this epoch
        self.epoch_at = -math.inf  # when this process first heard of the epoch
        self.losses = 0  # of the engine's memory
        self.on_epoch: list[Callable[[], None]] = []
        self.on_back: list[Callable[[], None]] = []
        self.offset_s = 0.0  # the engine's clock less this process's
        self._holders: tuple[str, ...] = ()
        self._earlier: dict[str, float] = {}  # holders of earlier epochs, and until when their leases may be valid
        self._lost = 0

    # -- messages

    async def call(self, message: Awaitable[Reply], *, is_probe: bool = False) -> Reply:
        """The answer; EngineAway, at once where it is known not to come. Only a probe is sent then."""
        if self.presence.is_away and not is_probe:
            close = getattr(message, "close", None)  # a coroutine that nothing will run
            if close is not None:
                close()
            raise EngineAway(self.why())
        sent_at = self.clock()
        try:
            reply = await message
        except EngineAway as error:
            if self.presence.fail(self.clock(), str(error)):
                self.tell(f"{error}: leased parts of budgets are spent, then budgets refuse; "
                          f"rate limits go on at 1/{self.count} for this process")  # fmt: skip
            raise
        if self.presence.answer(sent_at):
            self.tell("the engine of [state] answers again: limits and budgets are shared")
            for call in self.on_back:
                call()
        return reply

    @property
    def count(self) -> int:
        return max(1, self._count or self._guess())

    def why(self) -> str:
        """Why the engine counts as away, for an error's text."""
        since = self.presence.away_since
        return self.presence.why + (f", for {self.clock() - since:.0f} s" if since is not None else "")

    def hear(self, epoch: int, tick: int, now_ms: int) -> None:
        """Takes from a reply what the next message must repeat."""
        self.offset_s = now_ms / 1_000 - self.wall()
        if epoch > self.epoch:
            until = self.clock() + LEASE_S
            self._earlier |= dict.fromkeys(self._holders, until)
            self._holders = ()
            if self.epoch:
                self.losses += 1
                self.tell("the engine of [state] has lost its memory: budgets are counted again, from leases and the call log")
            self.epoch_at = self.clock()
            self.epoch, self.tick, self.is_open, self.is_complete = epoch, tick, False, False
            for call in self.on_epoch:
                call()
        elif epoch == self.epoch:
            self.tick = max(self.tick, tick)

    def suspect(self) -> None:
        """There is proof that this epoch's memory was lost: the next sign of life begins another."""
        self._lost = self.epoch

    async def beat(self) -> BeatReply:
        now_s = self.clock()
        self._earlier = {holder: until for holder, until in self._earlier.items() if until > now_s}
        known = tuple(sorted({*self._holders, *self._earlier} - {self.holder}))
        ask = BeatAsk(self.holder, self.epoch, self.tick, self.is_complete, self._lost, known)
        reply = await self.call(self.engine.beat(ask), is_probe=True)
        self._lost = 0
        self.hear(reply.epoch, reply.tick, reply.now_ms)
        if reply.epoch == self.epoch:
            self._holders, self.is_open = reply.holders, reply.is_open
            # One that is there in this epoch is the engine's to remember; once it has left, the next need not wait for it.
            for holder in reply.holders:
                self._earlier.pop(holder, None)
        self._count = reply.processes
        return reply

    def engine_time(self, now: float) -> float:
        """A time of this process by the engine's clock, in Unix seconds."""
        return now + self.offset_s
