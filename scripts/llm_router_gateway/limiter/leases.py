"""Leases: what several processes share of one limit, and how each of them spends its share without a message. Pure.

A budget or a limit that many processes count has one home: the parent of the workers (`lease_table`) or Redis (`redis`). A
request cannot wait for it each time, so a process takes a part in advance, a lease, and spends that from its own memory:

    book = Book("key_1")                                  one process's part of a key's day and month
    book.hold(limits, 20_000, 900)          -> False      nothing leased yet: exchange, then try again
    parts = book.parts(limits)                            what this process has spent and keeps
    need = book.missing(limits, 20_000, 900)              what a lease must be at least
    book.take(purses, parts, reply, need, now_s)          the lease tops up the purses of the day and the month
    book.hold(limits, 20_000, 900)          -> True       from here on no message, until the lease is used up
    book.day.settle(20_000, 900, 13_100.0, 640)           the actual cost; the rest of the hold is free again, here

Amounts are whole numbers, in pairs: micro-USD and tokens. Five rules keep the sum of all parts under the limit:

1. A report is absolute, never a difference: "I have spent 4,210 of this day and keep 800", with a number that grows. A reply
   that is lost, or a report that arrives twice or late, changes nothing that the next report does not put right.
2. What is given back is gone here before the message leaves, whether or not it arrives.
3. The home grants min(want, free / (2 x holders)), and near the end what one call needs and no more: so leases shrink as the
   limit nears, and little is left stranded in processes that have no use for it.
4. A lease is worth something for LEASE_S after the last word from its home, by the holder's own monotonic clock. A home that
   has lost its memory waits for those it knows of to report again, at most that long (see `lease_table`).
5. The leases of a process that died count as spent until the log of calls shows what became of them.

No clock, random source or socket: times and numbers are arguments. `now_s` is the process's monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..policy.budgets import Amount, Budget, day_of, next_start

MICRO = 1_000_000
LEASE_S = 30.0  # how long a lease is valid without a word from its home
IDLE_S = 1.0  # after which what is not used is given back
REFUSAL_S = 0.1  # how long a refusal is remembered: a key at its end would ask for each request
REPORT_S = 2.0  # how late a report of what is spent from a lease may be
SPARE_PART = 32  # all processes together have no more than this part of a limit in leases that no call holds
FIRST_HOLDS, MOST_HOLDS = 8, 256  # how many calls' holds a lease is for: at first, and where it is used up within a second
UNLIMITED = -1

Pair = tuple[int, int]  # micro-USD, tokens
NOTHING: Pair = (0, 0)


def ledger_of(holder: str) -> str:
    """The ledger that a holder's calls are recorded in: ledger_of("common/4f1c") -> "common" """
    return holder.rpartition("/")[0]


class EngineAway(Exception):
    """The home of the leases did not answer in time; the message says which and why."""


# ------------------------------------------------------------------------------------------------------- messages


class Part(NamedTuple):
    """One account in an exchange: its limits, and the current state of the holder's row."""

    account: str  # "key_1:2026-11-28", "key_1:2026-11"
    since: int  # when its period begins and ends, in Unix seconds
    until: int
    limit_usd: int  # micro-USD; UNLIMITED
    limit_tokens: int
    number: int  # of this report: the home ignores an older one that arrives late
    known: int  # the last number that the home has confirmed
    spent_usd: int  # all that this process has spent since it joined the account
    spent_tokens: int
    kept_usd: int  # what it still has of its leases, holds included
    kept_tokens: int


class BudgetAsk(NamedTuple):
    holder: str  # one process, by a name that no other ever has
    epoch: int  # of the home's memory, as last received
    tick: int  # the highest number of an exchange that was received in that epoch
    ledger: str  # where the holder's calls are recorded
    need_usd: int
    need_tokens: int
    want_usd: int
    want_tokens: int
    parts: tuple[Part, ...]


GRANTED, REFUSED, REPORTED = "granted", "refused", "reported"
WAITING = "waiting"  # the home has lost its memory, and collects what is left in processes
UNSEEDED = "unseeded"  # it does not know what the ledger has of an account: send that first
LOST, REJOIN = "lost", "rejoin"  # it has lost its memory; it has restarted, and the holder has not reported since
WRONG_PERIOD = "wrong_period"  # by its clock the day is another one


class BudgetReply(NamedTuple):
    status: str
    now_ms: int  # by the home's clock
    epoch: int
    tick: int
    grant_usd: int = 0
    grant_tokens: int = 0
    at: int = -1  # index of the part that decided
    states: tuple[tuple[int, int, int, int], ...] = ()  # of each part: spent USD, spent tokens, leased USD, leased tokens


class Base(NamedTuple):
    """What was spent in an account, by a ledger."""

    account: str
    until: int
    usd: int
    tokens: int


class BeatAsk(NamedTuple):
    """A sign of life."""

    holder: str
    epoch: int
    tick: int
    is_complete: bool  # everything leased has been reported in this epoch
    lost: int  # an epoch of which there is proof that its memory was lost; 0
    known: tuple[str, ...]  # holders, as last received


class BeatReply(NamedTuple):
    now_ms: int
    epoch: int
    tick: int
    is_open: bool  # grants are made
    processes: int  # that showed life within the last seconds
    holders: tuple[str, ...]  # those whose leases may still be valid


class RatePart(NamedTuple):
    """One bucket in an acquire. Amounts are millionths of a request or token."""

    name: str
    capacity: int
    per_s: int
    need: int
    want: int
    back: int  # what is given back first; below zero where more was used than had been taken
    wait_us: int  # how long the request may wait for its turn


class SlotPart(NamedTuple):
    """The slots of one scope: `used` and spare ones that this process has are `have`."""

    name: str
    most: int
    have: int
    need: int
    want: int


class TakeAsk(NamedTuple):
    holder: str
    rates: tuple[RatePart, ...]
    slots: tuple[SlotPart, ...]


class TakeReply(NamedTuple):
    status: str  # granted; refused, for `wait_us` at least; full: no slot is free
    now_us: int
    wait_us: int = 0
    at: int = -1  # index of the part that decided, rates first
    rates: tuple[int, ...] = ()  # granted, of each bucket
    slots: tuple[int, ...] = ()


FULL = "full"


class Engine(Protocol):
    """The home of leases, wherever it is: each message is one atomic step there. Raises EngineAway."""

    async def exchange(self, ask: BudgetAsk) -> BudgetReply: ...

    async def seed(self, epoch: int, ledger: str, bases: Sequence[Base]) -> None:
        """Sets what the ledger has, once in an epoch: a second call changes nothing."""

    async def beat(self, ask: BeatAsk) -> BeatReply: ...

    async def leave(self, holder: str) -> None:
        """The holder is going down, and has given everything back."""

    async def take(self, ask: TakeAsk) -> TakeReply: ...

    async def stranded(self, account: str, epoch: int, ledger: str) -> tuple[Pair, tuple[tuple[str, int, int], ...]]:
        """What a ledger's holders have spent, and the leases of silent ones: (holder, micro-USD, tokens)."""

    async def write_off(self, account: str, epoch: int, holder: str, spent: Pair) -> None:
        """Ends a silent holder's lease: `spent` of it counts as spent, the rest is free."""


# ------------------------------------------------------------------------------------------- a process's part of a budget


def micro(usd: float) -> int:
    """Micro-USD, rounded up, but not for what floating point adds at the end of a sum.

    micro(0.0200001) -> 20_001;  micro(0.1 + 0.2) -> 300_000
    """
    return math.ceil(usd * MICRO - 1e-6)


def pair_of(amount: Amount) -> Pair:
    return micro(amount.usd), math.ceil(amount.tokens)


class Limits(NamedTuple):
    """A Budget in whole numbers; UNLIMITED if there is no limit."""

    usd_day: int
    tokens_day: int
    usd_month: int
    tokens_month: int


NO_LIMITS = Limits(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)


def limits_of(budget: Budget) -> Limits:
    def whole(limit: float | None, unit: int) -> int:
        return UNLIMITED if limit is None else int(limit * unit + 1e-6)

    return Limits(
        whole(budget.usd_per_day, MICRO), whole(budget.tokens_per_day, 1),
        whole(budget.usd_per_month, MICRO), whole(budget.tokens_per_month, 1),
    )  # fmt: skip


class Purse:
    """One process's row of one account: its room to spend, its holds, and all that it has spent."""

    __slots__ = (
        "account",
        "exact_tokens",
        "exact_usd",
        "has_joined",
        "held_tokens",
        "held_usd",
        "known",
        "number",
        "reported_tokens",
        "reported_usd",
        "room_tokens",
        "room_usd",
        "since",
        "spent_tokens",
        "spent_usd",
        "state",
        "until",
    )  # fmt: skip

    def __init__(self, account: str, since: int, until: int) -> None:
        self.account, self.since, self.until = account, since, until
        self.room_usd = self.room_tokens = 0  # leased, neither held nor spent
        self.held_usd = self.held_tokens = 0
        self.spent_usd = self.spent_tokens = 0  # rounded up, of the exact sums
        self.exact_usd = self.exact_tokens = 0.0
        self.number = self.known = 0  # of reports: the last one, and the last that was confirmed
        self.has_joined = False
        self.reported_usd = self.reported_tokens = 0  # of what was spent, in the last report that was confirmed
        self.state: tuple[int, int, int, int] | None = None  # the whole account's, as last received

    def hold(self, usd: int, tokens: int) -> None:
        self.room_usd -= usd
        self.room_tokens -= tokens
        self.held_usd += usd
        self.held_tokens += tokens

    def release(self, usd: int, tokens: int) -> None:
        self.room_usd += usd
        self.room_tokens += tokens
        self.held_usd -= usd
        self.held_tokens -= tokens

    def spend(self, usd: float, tokens: float) -> None:
        """Books an actual cost, in micro-USD; the sum is rounded, not each call."""
        self.settle(0, 0, usd, tokens)

    def settle(self, held_usd: int, held_tokens: int, usd: float, tokens: float) -> None:
        """Puts an actual cost in the place of a hold."""
        self.exact_usd = exact_usd = self.exact_usd + usd
        self.exact_tokens = exact_tokens = self.exact_tokens + tokens
        spent_usd, spent_tokens = math.ceil(exact_usd - 1e-6), math.ceil(exact_tokens - 1e-6)
        self.room_usd += held_usd - (spent_usd - self.spent_usd)
        self.room_tokens += held_tokens - (spent_tokens - self.spent_tokens)
        self.held_usd -= held_usd
        self.held_tokens -= held_tokens
        self.spent_usd, self.spent_tokens = spent_usd, spent_tokens

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing in it that a report would change."""
        return not (self.held_usd or self.held_tokens or self.room_usd > 0 or self.room_tokens > 0 or self.is_unreported)

    @property
    def is_unreported(self) -> bool:
        return self.spent_usd != self.reported_usd or self.spent_tokens != self.reported_tokens

    def part(self, limit_usd: int, limit_tokens: int) -> Part:
        """The current row. What calls cost beyond their holds is in `spent`; it does not reduce the room a second time."""
        self.room_usd = max(self.room_usd, -self.held_usd)
        self.room_tokens = max(self.room_tokens, -self.held_tokens)
        if not self.has_joined:  # what was spent before is in the ledger
            self.exact_usd = self.exact_tokens = 0.0
            self.spent_usd = self.spent_tokens = 0
            self.has_joined = True
        self.number += 1
        return Part(
            self.account, self.since, self.until, limit_usd, limit_tokens, self.number, self.known,
            self.spent_usd, self.spent_tokens, self.room_usd + self.held_usd, self.room_tokens + self.held_tokens,
        )  # fmt: skip

    def confirm(self, part: Part, state: tuple[int, int, int, int] | None) -> None:
        """A report has arrived."""
        self.known = max(self.known, part.number)
        self.reported_usd, self.reported_tokens = part.spent_usd, part.spent_tokens
        self.state = state or self.state

    def begin_anew(self) -> None:
        """In an account of a new epoch: holds go on, what was spent is in the ledger, spare room is given up."""
        self.room_usd = self.room_tokens = 0
        self.spent_usd = self.spent_tokens = self.reported_usd = self.reported_tokens = 0
        self.exact_usd = self.exact_tokens = 0.0
        self.number = self.known = 0
        self.state = None


class Periods(NamedTuple):
    """The day and the month at a time: names, and when they begin and end."""

    day: str
    day_since: int
    day_until: int
    month: str
    month_since: int
    month_until: int


def periods_at(at: float) -> Periods:
    """periods_at(0) -> Periods("1970-01-01", 0, 86400, "1970-01", 0, 2678400)"""
    day = day_of(at)
    day_until, month_until = int(next_start("day", at)), int(next_start("month", at))
    month_since = day_until - 86_400 * int(day[8:])
    return Periods(day, day_until - 86_400, day_until, day[:7], month_since, month_until)


@dataclass(slots=True)
class Book:
    """One process's part of a key's budget: a purse for the day, one for the month, and those of days that are over."""

    key_id: str
    day: Purse = field(default_factory=lambda: Purse("", 0, 0))
    month: Purse = field(default_factory=lambda: Purse("", 0, 0))
    old: list[Purse] = field(default_factory=list)  # with holds, or with reports that were not confirmed
    # The day and the month before the last turn. The home's clock is known as well as an answer took, and one on a wall is set:
    # around midnight a day may come back, and is reported on from where it stood.
    before: dict[str, Purse] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    holds: int = FIRST_HOLDS  # how many calls the next lease is for
    asked_at: float = -math.inf
    used_at: float = -math.inf
    reported_at: float = -math.inf
    refused_until: float = -math.inf
    refused: Pair = NOTHING  # what did not fit
    is_tight: bool = False  # the last lease was for one call: what is left over goes back at once

    def turn(self, periods: Periods) -> None:
        """Takes the purses of these periods; earlier ones stay until their holds are settled and reported."""
        if self.day.until != periods.day_until:
            self.day = self._turned("day", self.day, f"{self.key_id}:{periods.day}", periods.day_since, periods.day_until)
            self.refused_until = -math.inf  # yesterday's refusal says nothing about today
        if self.month.until != periods.month_until:
            month = f"{self.key_id}:{periods.month}"
            self.month = self._turned("month", self.month, month, periods.month_since, periods.month_until)

    def _turned(self, span: str, purse: Purse, account: str, since: int, until: int) -> Purse:
        """The purse of another period in the place of one."""
        before, self.before[span] = self.before.get(span), purse
        if purse.known and not purse.is_idle:
            self.old.append(purse)
        if before is None or before.account != account:
            return Purse(account, since, until)
        self.old = [each for each in self.old if each is not before]
        return before

    @property
    def purses(self) -> tuple[Purse, ...]:
        return (self.day, self.month, *self.old)

    @property
    def leased(self) -> Pair:
        """What this process has of the key's budget now, holds included. A lease is in the day and in the month."""
        day, month = self.day, self.month
        return (
            max(0, day.room_usd + day.held_usd, month.room_usd + month.held_usd),
            max(0, day.room_tokens + day.held_tokens, month.room_tokens + month.held_tokens),
        )

    def missing(self, limits: Limits, usd: int, tokens: int) -> Pair:
        """How much more must be leased before such a hold fits; NOTHING when it does."""
        day, month = self.day, self.month
        more_usd = more_tokens = 0
        if limits.usd_day >= 0:
            more_usd = usd - day.room_usd
        if limits.usd_month >= 0 and usd - month.room_usd > more_usd:
            more_usd = usd - month.room_usd
        if limits.tokens_day >= 0:
            more_tokens = tokens - day.room_tokens
        if limits.tokens_month >= 0 and tokens - month.room_tokens > more_tokens:
            more_tokens = tokens - month.room_tokens
        return (more_usd if more_usd > 0 else 0), (more_tokens if more_tokens > 0 else 0)

    def hold(self, limits: Limits, usd: int, tokens: int) -> bool:
        """Takes a hold from what is leased; False when that is not enough."""
        day, month = self.day, self.month
        if (
            (limits.usd_day >= 0 and usd > day.room_usd)
            or (limits.usd_month >= 0 and usd > month.room_usd)
            or (limits.tokens_day >= 0 and tokens > day.room_tokens)
            or (limits.tokens_month >= 0 and tokens > month.room_tokens)
        ):
            return False
        day.hold(usd, tokens)
        month.hold(usd, tokens)
        return True

    def is_refused(self, missing: Pair, now_s: float) -> bool:
        """Whether the home has just refused as much, or less."""
        return now_s < self.refused_until and (missing[0] >= self.refused[0] > 0 or missing[1] >= self.refused[1] > 0)

    def parts(self, limits: Limits) -> tuple[Part, ...]:
        return self.day.part(limits.usd_day, limits.tokens_day), self.month.part(limits.usd_month, limits.tokens_month)

    def next_size(self, need: Pair, amount: Pair, now_s: float, others: int, processes: int) -> Pair:
        """What a lease is worth asking for: twice as much as last time where that lasted less than a second.

        `others`: further requests of this process that wait for the same lease.
        """
        if now_s - self.asked_at < IDLE_S:
            self.holds = min(MOST_HOLDS, self.holds * 2)
        elif now_s - self.asked_at > 2 * IDLE_S:
            self.holds = FIRST_HOLDS
        self.asked_at = now_s
        more, most = max(self.holds - 1, others), self.spare(processes)
        return need[0] + min(amount[0] * more, most[0]), need[1] + min(amount[1] * more, most[1])

    def spare(self, processes: int) -> Pair:
        """How much this process may have leased beyond its holds: little in each, so that little is stranded in all."""
        parts = SPARE_PART * processes
        limits = self.limits
        usd = [limit for limit in (limits.usd_day, limits.usd_month) if limit >= 0]
        tokens = [limit for limit in (limits.tokens_day, limits.tokens_month) if limit >= 0]
        return min(usd, default=0) // parts, min(tokens, default=0) // parts

    def take(self, purses: Sequence[Purse], parts: Sequence[Part], reply: BudgetReply, need: Pair, now_s: float) -> None:
        """The answer to an exchange about a day and a month, which may be over by now."""
        if reply.status in (GRANTED, REFUSED, REPORTED, WRONG_PERIOD):
            for place, (purse, part) in enumerate(zip(purses, parts, strict=True)):
                purse.confirm(part, reply.states[place] if place < len(reply.states) else None)
            self.reported_at = now_s
        if reply.status == REFUSED:
            self.refused_until, self.refused = now_s + REFUSAL_S, need
        if reply.status != GRANTED:
            return
        for purse in purses:
            purse.room_usd += reply.grant_usd
            purse.room_tokens += reply.grant_tokens
        self.is_tight = (reply.grant_usd, reply.grant_tokens) == need
        self.refused_until = -math.inf

    # -- what is given back and reported

    def give_back(self, now_s: float, processes: int) -> bool:
        """Gives up what was not used for a second, and what calls left over of their holds; whether there was anything."""
        most = self.spare(processes)
        if self.is_tight or now_s - self.used_at >= IDLE_S:
            most = NOTHING
        spare = [purse for purse in (self.day, self.month) if purse.room_usd > most[0] or purse.room_tokens > most[1]]
        for purse in spare:
            purse.room_usd, purse.room_tokens = min(purse.room_usd, most[0]), min(purse.room_tokens, most[1])
        return bool(spare)

    def news(self, now_s: float, processes: int) -> list[Purse]:
        """The purses whose report is due."""
        given = self.give_back(now_s, processes)
        self.old = [purse for purse in self.old if not purse.is_idle]
        for purse in self.old:
            purse.room_usd, purse.room_tokens = min(purse.room_usd, 0), min(purse.room_tokens, 0)
        is_late = now_s - self.reported_at >= REPORT_S
        current = [purse for purse in (self.day, self.month) if purse.known and (given or (is_late and purse.is_unreported))]
        return [*current, *self.old]

    def void(self) -> None:
        """The leases are no longer valid: only holds that were made in time remain."""
        for purse in self.purses:
            purse.room_usd, purse.room_tokens = min(purse.room_usd, 0), min(purse.room_tokens, 0)

    def limit_of(self, purse: Purse) -> Pair:
        if purse is self.day:
            return self.limits.usd_day, self.limits.tokens_day
        if purse is self.month:
            return self.limits.usd_month, self.limits.tokens_month
        return UNLIMITED, UNLIMITED


# ------------------------------------------------------------------------------------------- a process's part of a rate


class Share:
    """One process's part of a bucket: what it took in advance, valid for a second."""

    __slots__ = ("asked_at", "granted_at", "holds", "room", "used_at")

    def __init__(self) -> None:
        self.room = 0  # millionths; below zero where a call used more than was taken for it
        self.granted_at = self.asked_at = self.used_at = -math.inf
        self.holds = 1

    def has(self, need: int, now_s: float) -> bool:
        """Whether so much may be used now. What is older than a second is not: other processes count on it."""
        return self.room >= need and now_s - self.granted_at < IDLE_S

    def back(self) -> int:
        """What goes back to the bucket with the next message; gone from here whether or not it arrives."""
        back, self.room = self.room, 0
        return back

    def next_size(self, need: int, now_s: float) -> int:
        """Twice as much as last time where that lasted less than a tenth of a second, half where it was not used up."""
        if now_s - self.asked_at < IDLE_S / 10:
            self.holds = min(MOST_HOLDS, self.holds * 2)
        elif now_s - self.asked_at > IDLE_S / 2:
            self.holds = max(1, self.holds // 2)
        self.asked_at = now_s
        return need * self.holds

    def take(self, granted: int, need: int, now_s: float) -> None:
        self.room += granted - need
        self.granted_at = now_s


class Slots:
    """One process's part of the slots of a scope."""

    __slots__ = ("have", "is_tight", "most", "sent_at", "used", "used_at")

    def __init__(self) -> None:
        self.have = self.used = 0
        self.most = 0  # from the configuration of the last request; after a reduction less than `have`
        self.is_tight = False  # the last grant was a single slot: it goes back as soon as it is free
        self.used_at = self.sent_at = -math.inf

    def spare(self) -> int:
        return min(self.have, self.most) - self.used

    def shrink(self, now_s: float) -> bool:
        """Gives up spare slots: unused for a second, needed elsewhere, or above the limit. True if there were any."""
        is_idle = self.is_tight or now_s - self.used_at >= IDLE_S
        keep = self.used if is_idle else max(self.used, self.most)
        if self.have <= keep:
            return False
        self.have = keep
        return True


# ------------------------------------------------------------------------------------------- the presence of the home


@dataclass(slots=True)
class Presence:
    """Whether the home answers: after three failures in a row no request waits for it, until it has answered again."""

    failures: int = 0
    away_since: float | None = None
    heard_at: float = -math.inf  # when the last message that was answered had been sent
    why: str = ""
    outages: int = 0

    @property
    def is_away(self) -> bool:
        return self.away_since is not None

    def fail(self, now_s: float, why: str) -> bool:
        """Counts a failure; True when it is the one from which on the home counts as away."""
        self.failures += 1
        self.why = why
        if self.failures < 3 or self.away_since is not None:
            return False
        self.away_since = now_s
        self.outages += 1
        return True

    def answer(self, sent_at: float) -> bool:
        """Counts an answer; True when the home was away until now."""
        was_away, self.failures, self.away_since = self.is_away, 0, None
        self.heard_at = max(self.heard_at, sent_at)
        return was_away

    def leases_are_valid(self, now_s: float) -> bool:
        return now_s - self.heard_at < LEASE_S


# ------------------------------------------------------------------------------------------- messages as JSON has them


def budget_ask(values: Sequence[Any]) -> BudgetAsk:
    """A BudgetAsk from a JSON array."""
    return BudgetAsk._make([*values[:8], tuple(Part(*part) for part in values[8])])


def budget_reply(values: Sequence[Any]) -> BudgetReply:
    return BudgetReply._make([*values[:7], tuple(tuple(state) for state in values[7])])


def beat_ask(values: Sequence[Any]) -> BeatAsk:
    return BeatAsk._make([*values[:5], tuple(values[5])])


def beat_reply(values: Sequence[Any]) -> BeatReply:
    return BeatReply._make([*values[:5], tuple(values[5])])


def take_ask(values: Sequence[Any]) -> TakeAsk:
    return TakeAsk(values[0], tuple(RatePart(*part) for part in values[1]), tuple(SlotPart(*part) for part in values[2]))


def take_reply(values: Sequence[Any]) -> TakeReply:
    return TakeReply._make([*values[:4], tuple(values[4]), tuple(values[5])])


def bases_of(values: Iterable[Sequence[Any]]) -> tuple[Base, ...]:
    return tuple(Base(*each) for each in values)
