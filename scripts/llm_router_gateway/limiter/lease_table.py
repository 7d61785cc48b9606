"""The home of leases in one process's memory: what the parent of the workers keeps, and what Redis is held to. Pure.

    table = LeaseTable()
    table.beat(ask, now_ms, run)         -> BeatReply        a sign of life; begins a new epoch where memory was lost
    table.exchange(ask, now_ms, run)     -> BudgetReply      a report and a lease, in one step
    table.seed(epoch, "ledger", bases)                       what the ledger says, once
    rates = RateTable()
    rates.take(ask, now_us)              -> TakeReply        buckets and slots of one acquire: all of them or none

**Epochs.** What the home remembers is worth nothing after a flush, a restart, a fail-over, or from an old snapshot. Three marks
give that away: the epoch itself is missing or lower than a holder knows, the process behind it (`run`) is another one, or its
number of exchanges (`tick`) has gone back. Then a new epoch begins. In it nothing is granted until QUARANTINE_S are over and
every holder that anyone knows of has reported its leases again, or LEASE_S are over, after which unreported leases are void.
Then each account is seeded from the ledger. `limiter/redis_scripts` does the same in Lua; tests compare the two step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .leases import (
    FULL,
    GRANTED,
    LEASE_S,
    LOST,
    MICRO,
    REFUSED,
    REJOIN,
    REPORTED,
    UNLIMITED,
    UNSEEDED,
    WAITING,
    WRONG_PERIOD,
    Base,
    BeatAsk,
    BeatReply,
    BudgetAsk,
    BudgetReply,
    Pair,
    Part,
    RatePart,
    TakeAsk,
    TakeReply,
    ledger_of,
)

QUARANTINE_MS = 2_000  # four signs of life: every holder that runs and reaches the home has reported by then
SILENT_MS = int(LEASE_S * 1_000) + 2_000  # after which a holder's leases are void by its own clock; 2 s for a slow one
PRESENT_MS = 3_000  # a process counts as running for so long after its last sign of life
FORGET_MS = 2 * 86_400_000  # after its end an account is still reported to: by calls that began in it
SLOT_MS = 10_000  # how long a slot belongs to a process that shows no sign of life


@dataclass(slots=True)
class Row:
    """One holder's, in one account."""

    number: int = 0
    spent: Pair = (0, 0)
    kept: Pair = (0, 0)


@dataclass(slots=True)
class Account:
    """One day or month of one key."""

    epoch: int
    until: int  # Unix seconds
    bases: dict[str, Pair] = field(default_factory=dict)  # of each ledger
    rows: dict[str, Row] = field(default_factory=dict)
    more: Pair = (0, 0)  # spent elsewhere since then, by gateways that have no lease here
    origin: Pair | None = None  # what of that was in the ledger before

    @property
    def spent(self) -> Pair:
        pairs = [self.more, *self.bases.values(), *(row.spent for row in self.rows.values())]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    @property
    def leased(self) -> Pair:
        return sum(row.kept[0] for row in self.rows.values()), sum(row.kept[1] for row in self.rows.values())

    def holders(self, holder: str) -> int:
        """Those that have a lease, and the one that asks."""
        return 1 + sum(any(row.kept) for name, row in self.rows.items() if name != holder)


@dataclass(slots=True)
class Epoch:
    """What the home knows of its own memory."""

    number: int
    run: str
    began_ms: int
    tick: int = 0
    is_open: bool = False  # once it is, for good
    waits_for: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)


@dataclass(slots=True)
class LeaseTable:
    """Every account, by name, in one epoch of memory."""

    epoch: Epoch | None = None
    accounts: dict[str, Account] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)  # holder -> its last sign of life
    elsewhere: dict[str, Pair] | None = None  # account -> what others have spent by the ledger; None: not followed

    # -- epochs

    def _is_lost(self, epoch: int, tick: int, run: str) -> bool:
        known = self.epoch
        if known is None or known.run != run or epoch > known.number:
            return True
        return epoch == known.number and tick > known.tick

    def beat(self, ask: BeatAsk, now_ms: int, run: str = "") -> BeatReply:
        epoch = self.epoch
        if epoch is None or self._is_lost(ask.epoch, ask.tick, run) or ask.lost == epoch.number:
            number = max(now_ms, ask.epoch + 1, epoch.number + 1 if epoch is not None else 0)
            epoch = self.epoch = Epoch(number, run, now_ms)
            self.seen = {}
        epoch.tick += 1
        self.seen[ask.holder] = now_ms
        self.seen = {holder: at for holder, at in self.seen.items() if now_ms - at <= SILENT_MS}
        is_open = self.is_open(now_ms)
        if not is_open:
            epoch.waits_for |= set(ask.known)
            if ask.epoch == epoch.number and ask.is_complete:
                epoch.reported.add(ask.holder)
            is_open = self.is_open(now_ms)
        count = sum(now_ms - at <= PRESENT_MS for at in self.seen.values())
        return BeatReply(now_ms, epoch.number, epoch.tick, is_open, count, tuple(sorted(self.seen)))

    def is_open(self, now_ms: int) -> bool:
        epoch = self.epoch
        if epoch is None:
            return False
        since_ms = now_ms - epoch.began_ms
        if not epoch.is_open and not 0 <= since_ms < QUARANTINE_MS:
            epoch.is_open = epoch.waits_for <= epoch.reported or not 0 <= since_ms < SILENT_MS
        return epoch.is_open

    def leave(self, holder: str) -> None:
        self.seen.pop(holder, None)
        if self.epoch is not None:
            self.epoch.reported.add(holder)

    # -- budgets

    def exchange(self, ask: BudgetAsk, now_ms: int, run: str = "") -> BudgetReply:
        epoch = self.epoch
        if epoch is None or self._is_lost(ask.epoch, ask.tick, run):
            return BudgetReply(LOST, now_ms, epoch.number if epoch is not None else 0, 0)
        if ask.epoch < epoch.number:
            return BudgetReply(REJOIN, now_ms, epoch.number, epoch.tick)
        accounts = [self._account(part.account, part.until, epoch.number) for part in ask.parts]
        for account, part in zip(accounts, ask.parts, strict=True):
            row = account.rows.get(ask.holder)
            if part.known > (row.number if row is not None else 0):
                return BudgetReply(LOST, now_ms, epoch.number, epoch.tick)
        epoch.tick += 1
        is_stale = False
        for account, part in zip(accounts, ask.parts, strict=True):
            row = account.rows.setdefault(ask.holder, Row())
            if part.number > row.number:
                row.number, row.spent, row.kept = part.number, (part.spent_usd, part.spent_tokens), kept_pair(part)
            else:
                is_stale = True
        status, at, grant = REPORTED, -1, (0, 0)
        if not is_stale and (ask.need_usd or ask.need_tokens):
            status, at, grant = self._grant(ask, accounts, now_ms)
        for account in accounts if status == GRANTED else ():
            row = account.rows[ask.holder]
            row.kept = (row.kept[0] + grant[0], row.kept[1] + grant[1])
        states = tuple((*account.spent, *account.leased) for account in accounts)
        return BudgetReply(status, now_ms, epoch.number, epoch.tick, *grant, at, states)

    def _account(self, name: str, until: int, epoch: int) -> Account:
        found = self.accounts.get(name)
        if found is None or found.epoch != epoch:  # of an earlier epoch: an old snapshot, or a restart
            found = self.accounts[name] = Account(epoch, until)
        return found

    def _grant(self, ask: BudgetAsk, accounts: Sequence[Account], now_ms: int) -> tuple[str, int, Pair]:
        """The lease, and which part decided if there is none."""
        if not self.is_open(now_ms):
            return WAITING, -1, (0, 0)
        grant = [ask.want_usd, ask.want_tokens]
        need = (ask.need_usd, ask.need_tokens)
        for at, (account, part) in enumerate(zip(accounts, ask.parts, strict=True)):
            if not part.since * 1_000 <= now_ms < part.until * 1_000:
                return WRONG_PERIOD, at, (0, 0)
            if ask.ledger not in account.bases:
                return UNSEEDED, at, (0, 0)
            limits, spent, leased = (part.limit_usd, part.limit_tokens), account.spent, account.leased
            holders = account.holders(ask.holder)
            for unit in (0, 1):
                if limits[unit] == UNLIMITED or not need[unit]:
                    continue
                free = limits[unit] - spent[unit] - leased[unit]
                if need[unit] > free:
                    return REFUSED, at, (0, 0)
                grant[unit] = min(grant[unit], max(need[unit], free // (2 * holders)))
        return GRANTED, -1, (grant[0] if need[0] else 0, grant[1] if need[1] else 0)

    def seed(self, epoch: int, ledger: str, bases: Sequence[Base]) -> None:
        if self.epoch is None or self.epoch.number != epoch:
            return
        for base in bases:
            account = self._account(base.account, base.until, epoch)
            account.bases.setdefault(ledger, (base.usd, base.tokens))
            if account.origin is None and self.elsewhere is not None:  # what was heard after it is in the base: counted twice
                account.origin = self.elsewhere.get(base.account, (0, 0))

    def hear(self, news: Mapping[str, Pair]) -> None:
        """What gateways that have no lease here have spent by now, by account, where it has changed."""
        if self.elsewhere is None:  # accounts that were seeded before count from here
            for name, account in self.accounts.items():
                account.origin = news.get(name, (0, 0))
            self.elsewhere = {}
        self.elsewhere.update(news)
        for name, (usd, tokens) in news.items():
            found = self.accounts.get(name)
            if found is not None and found.origin is not None:
                found.more = max(0, usd - found.origin[0]), max(0, tokens - found.origin[1])

    # -- holders that died

    def stranded(self, account: str, epoch: int, ledger: str) -> tuple[Pair, tuple[tuple[str, int, int], ...]]:
        """What was spent by a ledger's holders, and the leases of those that are silent."""
        found = self.accounts.get(account)
        if found is None or found.epoch != epoch or self.epoch is None or self.epoch.number != epoch:
            return (0, 0), ()
        rows = [(name, row) for name, row in found.rows.items() if ledger_of(name) == ledger]
        pairs = [found.more, found.bases.get(ledger, (0, 0)), *(row.spent for _, row in rows)]
        silent = [(name, *row.kept) for name, row in rows if any(row.kept) and name not in self.seen]
        return (sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)), tuple(sorted(silent))

    def write_off(self, account: str, epoch: int, holder: str, spent: Pair) -> None:
        """Ends a silent holder's lease: so much of it was spent, the rest is free."""
        found = self.accounts.get(account)
        row = found.rows.get(holder) if found is not None and found.epoch == epoch else None
        if row is None or holder in self.seen:
            return
        usd, tokens = (row.spent[unit] + max(0, min(spent[unit], row.kept[unit])) for unit in (0, 1))
        row.spent, row.kept = (usd, tokens), (0, 0)

    def end(self, now_ms: int) -> None:
        """Forgets accounts whose period is long over."""
        for name in [name for name, account in self.accounts.items() if account.until * 1_000 + FORGET_MS < now_ms]:
            del self.accounts[name]


def kept_pair(part: Part) -> Pair:
    return part.kept_usd, part.kept_tokens


# ------------------------------------------------------------------------------------------------- rates and slots


@dataclass(slots=True)
class RateTable:
    """Every bucket and the slots of every scope, by name. Not worth an epoch: a lost bucket is one burst more."""

    buckets: dict[str, tuple[int, int, dict[str, int]]] = field(default_factory=dict)  # level, at, holder -> its last take
    slots: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)  # scope -> holder -> (slots, until, in ms)

    def take(self, ask: TakeAsk, now_us: int) -> TakeReply:
        """What is given back is given back in any case; the rest is taken from all buckets and scopes, or from none."""
        levels = [self._refill(part, now_us) for part in ask.rates]
        wait_us = 0
        for at, (part, level) in enumerate(zip(ask.rates, levels, strict=True)):
            missing = min(part.need, part.capacity) - level
            part_wait = -(-missing * MICRO // part.per_s) if missing > 0 and part.need else 0
            if part_wait > part.wait_us:
                return TakeReply(REFUSED, now_us, part_wait, at)
            wait_us = max(wait_us, part_wait)
        free = []
        for at, slot in enumerate(ask.slots):
            others = self._others(slot.name, ask.holder, now_us // 1_000)
            left = slot.most - sum(others.values()) - slot.have
            if slot.need and slot.need > left:
                return TakeReply(FULL, now_us, wait_us, len(ask.rates) + at)
            free.append((left, 1 + sum(count > 0 for count in others.values())))
        rates = tuple(self._grant(part, level, wait_us, ask.holder, now_us)
                      for part, level in zip(ask.rates, levels, strict=True))  # fmt: skip
        slots = []
        for slot, (left, holders) in zip(ask.slots, free, strict=True):
            granted = max(slot.need, min(slot.want, left // (2 * holders)))
            self.slots.setdefault(slot.name, {})[ask.holder] = (slot.have + granted, now_us // 1_000 + SLOT_MS)
            slots.append(granted)
        return TakeReply(GRANTED, now_us, wait_us, -1, rates, tuple(slots))

    def _refill(self, part: RatePart, now_us: int) -> int:
        level, at, takers = self.buckets.get(part.name, (part.capacity, now_us, {}))
        # A clock that went back refills nothing, and must not stop the bucket until it has caught up.
        refill = max(0, now_us - at) * part.per_s // MICRO
        level += refill + part.back
        if level < part.capacity:
            # Only the time that a whole refill took is over: a slow bucket that is looked at often would never fill otherwise.
            at = min(now_us, at + -(-refill * MICRO // part.per_s))
        else:
            level, at = part.capacity, now_us
        self.buckets[part.name] = (level, at, takers)
        return level

    def _grant(self, part: RatePart, level: int, wait_us: int, holder: str, now_us: int) -> int:
        """Takes from one bucket. Where the request must wait, or is larger than the bucket, it leaves a debt."""
        _, at, before = self.buckets[part.name]
        takers = {name: taken_at for name, taken_at in before.items() if 0 <= now_us - taken_at <= MICRO}
        if part.need:
            takers[holder] = now_us
        granted = part.need
        if not wait_us and part.need <= level:
            whole = level // (2 * max(1, len(takers))) // MICRO * MICRO  # no part of a request or token
            granted = max(part.need, min(part.want, whole))
        self.buckets[part.name] = (level - granted, at, takers)
        return granted

    def _others(self, name: str, holder: str, now_ms: int) -> dict[str, int]:
        rows = self.slots.get(name, {})
        self.slots[name] = rows = {each: row for each, row in rows.items() if row[1] > now_ms}
        return {each: row[0] for each, row in rows.items() if each != holder}

    def leave(self, holder: str) -> None:
        for rows in self.slots.values():
            rows.pop(holder, None)
