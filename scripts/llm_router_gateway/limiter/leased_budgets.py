"""The budgets of several processes: `policy.budgets.Budgets` on leases from an engine.

    budgets = LeasedBudgets(membership)
    hold = await budgets.hold("key_1", budget, Amount(0.02, 900), now)    from the lease; else one message to the engine
    await hold.settle(Amount(0.013, 640))                                 in this process's memory
    await budgets.report()                                                every REPORT_EVERY_S: spending, what is given back

One message at a time is under way about a key: a report that overtakes a lease would deny it. Requests that need the same
lease wait for the same message. Where the engine is away, what is leased is spent; then calls are refused with 503.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import GatewayError, Unavailable
from ..policy.budgets import SPANS, Amount, Budget, Remaining, Spent, budget_exhausted, next_start
from .leases import (
    GRANTED,
    LOST,
    MICRO,
    NOTHING,
    REFUSAL_S,
    REFUSED,
    UNSEEDED,
    WAITING,
    Base,
    Book,
    BudgetAsk,
    BudgetReply,
    EngineAway,
    Pair,
    Part,
    Purse,
    limits_of,
    micro,
    pair_of,
    periods_at,
)
from .membership import Membership

REPORT_EVERY_S = 0.2
LOGGED_S = 1.0  # in a new epoch, until this process makes sure that its calls are in the log: as a rule, they are
MOST_PARTS = 100  # in one report
SUMS_S = 1.0  # for the log of calls to say what was spent: a request waits for it, and is refused then
TRIES = 4  # answers without a lease that one hold may lead to: seed, turn of a day, a new epoch
# Between two looks at the leases of a silent process. It may be cut off and not dead, with calls in progress: these have
# ended, and are in the log, by the second look.
WRITE_OFF_S = 600.0
AWAY = "budget_unknown"  # the code of a refusal because the engine is away


class LeasedHold:
    """What one call may cost at most, taken from the day and the month of its begin."""

    __slots__ = ("_day", "_is_open", "_month", "_pair", "amount")

    def __init__(self, book: Book, pair: Pair, amount: Amount) -> None:
        self._day, self._month, self._pair, self.amount, self._is_open = book.day, book.month, pair, amount, True

    async def settle(self, spent: Amount) -> None:
        if self._is_open:
            self._is_open = False
            (held_usd, held_tokens), usd, tokens = self._pair, spent.usd * MICRO, spent.tokens
            self._day.settle(held_usd, held_tokens, usd, tokens)
            self._month.settle(held_usd, held_tokens, usd, tokens)

    async def release(self) -> None:
        if self._is_open:
            self._is_open = False
            self._day.release(*self._pair)
            self._month.release(*self._pair)


@dataclass(slots=True)
class Shelf:
    """A key's book, and the message about it that is under way."""

    book: Book
    budget: Budget | None = None
    busy: asyncio.Task[BudgetReply | None] | None = None
    waiting: int = 0
    answered_at: float = -math.inf
    stranded: dict[str, tuple[Pair, tuple[tuple[str, int, int], ...]]] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        return self.busy is not None and not self.busy.done()


class LeasedBudgets:
    """`policy.budgets.Budgets`, for one of several processes."""

    def __init__(self, membership: Membership) -> None:
        self._membership, self._engine, self._clock = membership, membership.engine, membership.clock
        self._shelves: dict[str, Shelf] = {}
        self._active: set[str] = set()  # keys with something to report or to give back, now or soon
        # (key, account) -> what the call log had when it was read last, and what of it this process had spent since its start
        self._logged: dict[tuple[str, str], tuple[Pair, Pair]] = {}
        self._tasks: set[asyncio.Task[BudgetReply | None]] = set()
        self._looked_at = -math.inf
        self.messages = 0  # to the engine
        membership.on_epoch.append(self._begin_anew)

    # -- the interface

    def left(self, key_id: str, budget: Budget, now: float) -> Remaining:
        """What is free at the engine, as last received, and what is leased here. Optimistic where that is not known."""
        shelf = self._shelf(key_id, budget, now)
        book = shelf.book
        limits = book.limits
        found = [math.inf, math.inf]
        worst, why, again_at, is_held = math.inf, "", 0.0, False
        is_low = False
        for span, purse, ends in zip(SPANS, (book.day, book.month), (limits[:2], limits[2:]), strict=True):
            for unit, limit in enumerate(ends):
                if limit < 0:
                    continue
                held = purse.held_usd if unit == 0 else purse.held_tokens
                room = purse.room_usd if unit == 0 else purse.room_tokens
                spent, leased = (purse.state[unit], purse.state[2 + unit]) if purse.state else (0, 0)
                free = limit - spent - leased + room if purse.state else limit - held
                if self._membership.presence.is_away and limit:
                    free = max(free, limit)  # whether the lease is enough is decided by the hold, which also has the reason
                is_low = is_low or free < limit / 4
                found[unit] = min(found[unit], free)
                share = free / limit if limit else -math.inf
                if share < worst:
                    worst, is_held = share, leased > 0 or held > 0
                    why = f"{limit / MICRO:.12g} USD a {span}" if unit == 0 else f"{limit} tokens a {span}"
                    again_at = next_start(span, self._membership.engine_time(now)) - self._membership.offset_s
        if is_low and not shelf.is_busy and self._clock() - shelf.answered_at > REFUSAL_S:
            self._refresh(shelf)
        return Remaining(found[0] / MICRO, found[1], why, again_at, is_held)

    def spent(self, key_id: str, now: float) -> dict[str, float | int]:
        shelf = self._shelf(key_id, None, now)
        result: dict[str, float | int] = {}
        for span, purse in zip(SPANS, (shelf.book.day, shelf.book.month), strict=True):
            (usd, tokens), (had_usd, had_tokens) = self._logged.get((key_id, purse.account), (NOTHING, NOTHING))
            if purse.state is None:
                usd, tokens = usd + max(0, purse.spent_usd - had_usd), tokens + max(0, purse.spent_tokens - had_tokens)
            else:  # what the engine said last may be old: of a key that is used elsewhere by now
                usd = max(usd, purse.state[0] + purse.spent_usd - purse.reported_usd)
                tokens = max(tokens, purse.state[1] + purse.spent_tokens - purse.reported_tokens)
            result[f"usd_{span}"], result[f"tokens_{span}"] = round(usd / MICRO, 9), tokens
        return result

    def leased(self) -> tuple[int, Pair]:
        """Of how many keys this process has a lease, and how much in all; what calls have on hold is part of it."""
        found = [self._shelves[key_id].book.leased for key_id in self._active]
        usd, tokens = sum(each[0] for each in found), sum(each[1] for each in found)
        return sum(any(each) for each in found), (usd, tokens)

    async def hold(self, key_id: str, budget: Budget, amount: Amount, now: float) -> LeasedHold:
        shelf = self._shelf(key_id, budget, now)
        book, pair, now_s = shelf.book, pair_of(amount), self._clock()
        self._active.add(key_id)
        if self._membership.presence.leases_are_valid(now_s):
            if book.hold(book.limits, *pair):
                book.used_at = now_s
                return LeasedHold(book, pair, amount)
        else:
            book.void()
        shelf.waiting += 1
        try:
            return await self._lease(shelf, pair, amount)
        finally:
            shelf.waiting -= 1

    async def spend(self, key_id: str, amount: Amount, now: float) -> None:
        book = self._shelf(key_id, None, now).book
        for purse in (book.day, book.month):
            purse.spend(amount.usd * MICRO, amount.tokens)
        if book.day.known:
            self._active.add(key_id)

    def load(self, rows: Iterable[Spent], now: float) -> None:
        """For what is shown; what budgets are checked against is read when an account is seeded."""
        self._logged.clear()
        for key_id, span, usd, tokens in rows:
            book = self._shelf(key_id, None, now).book
            purse = book.day if span == "day" else book.month
            logged, had = (micro(usd), math.ceil(tokens)), (purse.spent_usd, purse.spent_tokens)
            self._logged[key_id, purse.account] = logged, had

    def forget(self, key_id: str) -> None:
        self._shelves.pop(key_id, None)
        self._active.discard(key_id)

    # -- books

    def _shelf(self, key_id: str, budget: Budget | None, now: float) -> Shelf:
        shelf = self._shelves.get(key_id)
        if shelf is None:
            shelf = self._shelves[key_id] = Shelf(Book(key_id))
        if budget is not None and shelf.budget is not budget:
            limits = limits_of(budget)
            if limits != shelf.book.limits:
                shelf.book.refused_until = -math.inf  # a refusal under the old limits says nothing about these
            shelf.budget, shelf.book.limits = budget, limits
        at = now + self._membership.offset_s
        if not shelf.book.day.since <= at < shelf.book.day.until:
            shelf.book.turn(periods_at(at))
        return shelf

    def _begin_anew(self) -> None:
        """The engine's memory is empty: unused leases are given up, holds are reported."""
        for shelf in self._shelves.values():
            for purse in (*shelf.book.purses, *shelf.book.before.values()):
                purse.begin_anew()
            shelf.book.old = [purse for purse in shelf.book.old if purse.held_usd or purse.held_tokens]
            shelf.stranded.clear()

    # -- leases

    async def _lease(self, shelf: Shelf, pair: Pair, amount: Amount) -> LeasedHold:
        """A hold after as many messages as it takes; NoCredit, or Unavailable where the engine cannot decide."""
        book, tries = shelf.book, 0
        while True:
            now_s, now = self._clock(), self._membership.wall()
            self._shelf(book.key_id, None, now)  # the day may have turned while the call waited
            if self._membership.presence.leases_are_valid(now_s) and book.hold(book.limits, *pair):
                book.used_at = now_s
                return LeasedHold(book, pair, amount)
            try:
                if shelf.busy is not None and not shelf.busy.done():
                    await asyncio.shield(shelf.busy)
                    continue
                missing = book.missing(book.limits, *pair)
                if not self._membership.presence.is_away and book.is_refused(missing, now_s):
                    raise self._exhausted(shelf, now)
                if tries == TRIES:
                    raise unavailable("its home changes too fast", 1.0)
                shelf.busy = self._start(self._exchange(shelf, pair))
                reply = await asyncio.shield(shelf.busy)
                # A lease that other requests took first is not a failure: this one tries again.
                tries += reply is None or reply.status != GRANTED
            except EngineAway as away:
                raise unavailable(str(away), 1.0) from None
            if reply is not None and reply.status == REFUSED:
                raise self._exhausted(shelf, now)
            if reply is not None and reply.status in (WAITING, LOST):
                raise unavailable("the engine of [state] has lost its memory and is restoring it", 2.0)

    def _exhausted(self, shelf: Shelf, now: float) -> GatewayError:
        budget = shelf.budget or Budget()
        return budget_exhausted(self.left(shelf.book.key_id, budget, now), now)

    def _start(self, work: Coroutine[object, object, BudgetReply | None]) -> asyncio.Task[BudgetReply | None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[BudgetReply | None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # those that wait for it have it; it is read here so that asyncio does not warn

    async def _exchange(self, shelf: Shelf, pair: Pair) -> BudgetReply | None:
        """One message for a lease, and what its answer requires: a seed, or a report in a new epoch."""
        book, membership, now_s = shelf.book, self._membership, self._clock()
        purses, parts = (book.day, book.month), book.parts(book.limits)
        need = book.missing(book.limits, *pair)
        want = book.next_size(need, pair, now_s, shelf.waiting, membership.count)
        epoch = membership.epoch
        reply = await self._send(parts, need, want)
        shelf.answered_at = self._clock()
        membership.hear(reply.epoch, reply.tick, reply.now_ms)
        if membership.epoch != epoch:
            return None  # an answer of an earlier epoch is void: the next try reports in the new one
        if reply.status == LOST:
            membership.suspect()
        elif reply.status == UNSEEDED:
            await self._seed([(book.key_id, part.account, part.since, part.until) for part in parts])
        else:
            book.take(purses, parts, reply, need, now_s)
            self._active.add(book.key_id)  # a report before the lease arrived may have removed it as empty
        return reply

    async def _send(self, parts: tuple[Part, ...], need: Pair, want: Pair) -> BudgetReply:
        membership = self._membership
        ask = BudgetAsk(membership.holder, membership.epoch, membership.tick, membership.ledger.name, *need, *want, parts)
        self.messages += 1
        return await membership.call(self._engine.exchange(ask))

    async def _seed(self, parts: Sequence[tuple[str, str, int, int]]) -> None:
        """Sends the engine the ledger's sums of accounts: (key, account, since, until) each. It takes them once."""
        membership = self._membership
        try:
            async with asyncio.timeout(SUMS_S):
                sums = {since: await membership.ledger.sums(since) for since in {since for _, _, since, _ in parts}}
        except TimeoutError:
            raise EngineAway(f"the log of calls did not report within {SUMS_S:g} s what was spent") from None
        except OSError as wrong:
            raise EngineAway(f"the log of calls cannot report what was spent: {wrong}") from None
        bases = []
        for key_id, account, since, until in parts:
            usd, tokens = sums[since].get(key_id, (0.0, 0.0))
            bases.append(Base(account, until, micro(usd), math.ceil(tokens)))
        for start in range(0, len(bases), MOST_PARTS):
            self.messages += 1
            some = bases[start : start + MOST_PARTS]
            await membership.call(self._engine.seed(membership.epoch, membership.ledger.name, some))

    async def _seed_all(self) -> None:
        """Where each replica has a ledger of its own, the others' leases depend on it: all that it knows, at once."""
        if self._membership.ledger.is_common:
            return  # any process reads it, for the key that it needs
        at = self._membership.engine_time(self._membership.wall())
        periods = periods_at(at)
        keys = {key_id for key_id, _ in self._logged} | set(self._shelves)
        await self._seed([row for key in sorted(keys) for row in (
            (key, f"{key}:{periods.day}", periods.day_since, periods.day_until),
            (key, f"{key}:{periods.month}", periods.month_since, periods.month_until),
        )])  # fmt: skip

    def _refresh(self, shelf: Shelf) -> None:
        """Fetches how much is free, for the next request: budgets near their end change from one second to the next."""
        if not self._membership.presence.is_away and shelf.book.day.known:
            shelf.answered_at = self._clock()
            purses = [shelf.book.day, shelf.book.month]
            shelf.busy = self._start(self._report([(shelf, purse) for purse in purses]))

    # -- reports

    async def report(self) -> None:
        """Reports what was spent and gives back what is idle, in as few messages as it takes."""
        membership, now_s = self._membership, self._clock()
        if membership.presence.is_away:
            return  # nothing is given back: what is leased may be spent
        is_anew = not membership.is_complete
        news: list[tuple[Shelf, Purse]] = []
        for shelf in [self._shelves[key_id] for key_id in self._active]:
            # Its own message reports the rest. A new lease is not given back before the waiting call has used it.
            if shelf.is_busy or (shelf.waiting and membership.is_complete):
                is_anew = False  # checked again later
                continue
            purses = shelf.book.news(now_s, membership.count)
            if not membership.is_complete:  # in a new epoch every hold is reported, before anything is granted
                purses = [purse for purse in shelf.book.purses if purse.held_usd or purse.held_tokens or purse in purses]
            news += [(shelf, purse) for purse in purses]
            if not purses and all(purse.is_idle for purse in shelf.book.purses):
                self._active.discard(shelf.book.key_id)
        epoch = membership.epoch
        for start in range(0, len(news), MOST_PARTS):
            # A key that got a message of its own while earlier ones were on their way: that has reported it, too.
            due = news[start : start + MOST_PARTS]
            some = [(shelf, purse) for shelf, purse in due if not shelf.is_busy]
            is_anew = is_anew and len(some) == len(due)
            if not some:
                continue
            task = self._start(self._report(some))
            for shelf, _ in some:
                shelf.busy = task
            await asyncio.shield(task)
        if is_anew and membership.epoch == epoch and now_s - membership.epoch_at >= LOGGED_S:
            await self._complete(epoch)

    async def _complete(self, epoch: int) -> None:
        """A new epoch grants leases once every process has said that its holds are reported and its calls logged."""
        membership = self._membership
        try:
            await membership.ledger.settle()
        except OSError:
            return  # tried again with the next report; the engine waits as long as leases live
        await self._seed_all()
        membership.is_complete = membership.epoch == epoch

    async def _report(self, news: list[tuple[Shelf, Purse]]) -> BudgetReply:
        membership, now_s = self._membership, self._clock()
        parts = tuple(purse.part(*shelf.book.limit_of(purse)) for shelf, purse in news)
        epoch = membership.epoch
        reply = await self._send(parts, (0, 0), (0, 0))
        membership.hear(reply.epoch, reply.tick, reply.now_ms)
        if reply.status == LOST:
            membership.suspect()
        if reply.states and membership.epoch == epoch:
            for (shelf, purse), part, state in zip(news, parts, reply.states, strict=True):
                purse.confirm(part, state)
                shelf.book.reported_at = shelf.answered_at = now_s
        return reply

    # -- leases of processes that died

    async def write_off(self) -> None:
        """Ends the leases of processes that died: what their calls cost is in the log by the second look."""
        membership, now_s = self._membership, self._clock()
        if now_s - self._looked_at < WRITE_OFF_S or membership.presence.is_away or not membership.is_open:
            return
        self._looked_at = now_s
        for shelf in [each for each in self._shelves.values() if each.budget is not None and each.book.day.known]:
            for purse in (shelf.book.day, shelf.book.month):
                await self._write_off(shelf, purse)

    async def _write_off(self, shelf: Shelf, purse: Purse) -> None:
        membership = self._membership
        epoch, ledger = membership.epoch, membership.ledger
        before, before_silent = shelf.stranded.pop(purse.account, ((0, 0), ()))
        spent, silent = await membership.call(self._engine.stranded(purse.account, epoch, ledger.name))
        again = [lease for lease in silent if lease in before_silent]
        if not again:
            if silent:
                shelf.stranded[purse.account] = (spent, silent)
            return
        try:
            usd, tokens = (await ledger.sums(purse.since)).get(shelf.book.key_id, (0.0, 0.0))
        except OSError:  # the log cannot be read: the leases are looked at again with the next
            shelf.stranded[purse.account] = (before, before_silent)
            return
        # The log has all that was spent at the first look, and what the silent ones did not report.
        rest = [max(0, micro(usd) - before[0]), max(0, math.ceil(tokens) - before[1])]
        for holder, kept_usd, kept_tokens in again:
            lost = (min(rest[0], kept_usd), min(rest[1], kept_tokens))
            rest = [rest[0] - lost[0], rest[1] - lost[1]]
            await membership.call(self._engine.write_off(purse.account, epoch, holder, lost))

    async def close(self) -> None:
        """Gives everything back."""
        for shelf in self._shelves.values():
            shelf.book.void()
            shelf.book.is_tight = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        purses = [(shelf, purse) for shelf in self._shelves.values() for purse in shelf.book.purses if purse.known]
        for start in range(0, len(purses), MOST_PARTS):
            await self._report(purses[start : start + MOST_PARTS])
        await self._membership.call(self._engine.leave(self._membership.holder))


def unavailable(why: str, retry_after_s: float) -> Unavailable:
    return Unavailable(f"the budget of this key cannot be checked: {why}; retry in {retry_after_s:.0f} s", code=AWAY,
                       retry_after_s=retry_after_s)  # fmt: skip
