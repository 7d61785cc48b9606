"""Calls in PostgreSQL: one thread that writes them, two that read, and a file on this machine while the server is away.

    store = PostgresStore.open(address, keep, spill=SpillFile("router.spill.db"))
    store.add(call)                        at once; on the server's disk within half a second
    await store.reading(lambda db: ...)    Unavailable where the server is away
    store.close()                          what the server did not take is in the file, for the next start

Every batch has a number of its writer, which is stored with it: a batch whose commit may have been lost is sent again and is
known by it. While the server is away batches go to the file under their numbers, and are carried over when it is back; what
comes behind a batch of the file has a new writer's name, since of one name only higher numbers are taken. So each call is
stored once, whatever happened in between. Connecting is tried without a limit.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from secrets import token_hex
from typing import Any

from ...config.addresses import without_password
from ...errors import GatewayError, Unavailable
from .. import recorder
from ..call import Call
from ..keep import Keep
from ..recorder import Recorder, Result, StoreUnusable, Work
from ..rollups import bodies_row
from ..spilling import Spill, Spilled
from . import migrations, partitions, retention, rows
from .driver import Guard, Session, connect, is_away, is_unfit, psycopg, reason, unreadable

BATCH = 8_192  # calls in one transaction
MAX_WAITING = 100_000  # calls in memory: some seconds of a server that does not answer, at full load
BATCH_S, WORK_S, READ_S, CARE_LIMIT_S = 5.0, 5.0, 30.0, 60.0  # until a connection is given up
CARE_S = 30.0  # between two looks at what is too old or too much
CARE_PAUSE_S = 0.05  # between two small steps of that
SPILL_AFTER_S = 2.0  # of trying, before what waits goes to the file
SPILL_CALLS = 10_000  # so many that wait do so at once
MAX_JUMP_S = 86_400  # how far a clock that was set forward may age what is kept
READERS = 2
CARRY_S = 3.0  # after an outage, for the other gateways to carry over what they kept: they look for the server each second
SPENDING_DAYS = 40  # of a month, and what clocks that differ add to it


class PostgresStore(Recorder):
    """See the module. Every method may be called from any thread."""

    def __init__(
        self, address: str, keep: Keep, spill: Spill | None, *, wall: Callable[[], float], clock: Callable[[], float]
    ) -> None:  # fmt: skip
        super().__init__("store", clock)
        self.address, self.keep, self.path = address, keep, without_password(address)
        self.most_waiting = MAX_WAITING
        self._spill, self._wall = spill, wall
        self._began = wall(), clock()
        self._writer, self._number = token_hex(8), 0  # of the batch that was taken last
        self._booked = {self._writer: 0}  # of each name that this process has had, the last batch in `stored_spending`
        self.stored_spending: dict[str, dict[str, tuple[float, int]]] = {}  # day -> key -> what its calls cost that are stored
        self._is_clean = False  # the batch was changed to what the server can hold
        self._suspects = 0  # calls at the front of those that wait, to be stored one by one
        self._was_there = False  # since the start: keys and tables were read
        self._away_at: float | None = None  # since when batches cannot be written
        self._back_at = float("-inf")  # when the last outage ended
        self._db: Session | None = None
        self._ids, self._labels = rows.Ids(), rows.Labels()
        self._days: set[int] = set()  # whose partitions are known to be there
        self._bytes = 0
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._reading: dict[int, Session] = {}
        self.guard = Guard(clock)

    @property
    def place(self) -> str:
        return self.path

    @classmethod
    def open(
        cls, address: str, keep: Keep | None = None, *, spill: Spill | None = None,
        wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    ) -> PostgresStore:  # fmt: skip
        """Connects, or says in `broken` and `notes` why it cannot. StoreUnusable for what no waiting mends."""
        psycopg()
        store = cls(address, keep or Keep(), spill, wall=wall, clock=clock)
        store.guard.__enter__()
        store._ready()
        store._care_at = clock() + CARE_S / 6
        store._thread.start()
        return store

    # -- what others do with it

    def keeps(self, keep: Keep) -> None:
        """How much, from now on."""
        self.keep = keep

    async def transact(self, function: Callable[[Session], Result]) -> Result:
        """As `write`, awaited. Unavailable while the server is away: nothing was changed."""
        return await asyncio.wrap_future(self.write(function))

    async def reading(self, function: Callable[[Session], Result]) -> Result:
        """What `function` reads, in a thread. Unavailable when the server cannot be read from."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def health(self) -> dict[str, Any]:
        return {
            "path": self.path, "broken": self.broken, "rows_waiting": self.waiting + self._spilled, "written": self.written,
            "dropped": self.dropped, "last_error": self.last_error, "bytes": self._bytes, "spilled": self._spilled,
            "bridged": bool(self.broken) and self._spill is not None and self._was_there,
        }  # fmt: skip

    @property
    def _spilled(self) -> int:
        return self._spill.waiting if self._spill is not None else 0

    @property
    def is_current(self) -> bool:
        """False while calls of an outage may be in this gateway's file, or in another's."""
        return not self.broken and not self._spilled and self._clock() >= self._back_at + CARRY_S

    # -- reading, in threads of its own

    def _read(self, function: Callable[[Session], Result]) -> Result:
        me = threading.get_ident()
        try:
            while True:
                session = self._reading.get(me)
                is_fresh = session is None
                if session is None:
                    session = self._reading[me] = connect(self.address, "reader", self.guard, reads=True, statement_s=READ_S)
                try:
                    with session.within(READ_S + 1):
                        return function(session)
                except Exception as wrong:
                    if is_away(wrong):
                        session.close()
                        del self._reading[me]
                    if is_fresh or not is_away(wrong):  # one that was kept may have been lost meanwhile
                        raise
        except (psycopg().Error, OSError, StoreUnusable) as wrong:
            raise unreadable(wrong, self.address) from None

    def _end_readers(self) -> None:
        for session in tuple(self._reading.values()):
            with suppress(Exception):
                session.raw.cancel_safe(timeout=1.0)
        self._readers.shutdown(wait=True, cancel_futures=True)
        for session in tuple(self._reading.values()):
            session.close()
        self._reading.clear()

    # -- the thread that writes

    def _turn(self) -> None:
        is_ready = self._ready()
        while is_ready and (self._waiting or self._batch):
            is_ready = self._write_batch()
            self._do_work()
        if not is_ready:
            self._spill_all()
        self._do_work()
        if is_ready:
            self._carry_over()
        if self._db is not None and not self._stopping and self._clock() >= self._care_at:
            self._take_care(self._db)

    def _ready(self) -> bool:
        """Whether there is a connection to write on; makes one when there is none and it is time to try."""
        if self._db is not None:
            return True
        if self._clock() < self._try_at and not (self._stopping and self._spill is None):
            return False
        try:
            self._db = self._connected()
        except Exception as wrong:
            self._cannot(wrong)
            return False
        self._try_at, self._was_there = 0.0, True
        if not self.waiting and not self._spilled:  # else once some of them are written
            self._recovered()
        return True

    def _connected(self) -> Session:
        """A connection to a database that is up to date."""
        session = connect(self.address, "writer", self.guard)
        try:
            with session.within(CARE_LIMIT_S):  # another gateway may be at the migrations
                applied = migrations.apply(session)
                for statement in rows.STAGING:
                    session.execute(statement)
        except BaseException:
            session.close()
            raise
        if applied.done:
            self.notes.append(f"{self.path}: made {', '.join(applied.done)}")
        if applied.unknown:
            self.notes.append(
                f"{self.path} has steps of a newer version ({', '.join(applied.unknown)}): this version works beside it"
            )
        self._days.clear()
        return session

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _cannot(self, wrong: BaseException) -> None:
        """Notes a trouble, once for as long as it lasts."""
        text = str(wrong) if isinstance(wrong, StoreUnusable) else reason(wrong, self.address)
        if not self.broken:
            where = f"then they go to {self._spill.place}" if self._spill is not None else "then they are dropped"
            self.notes.append(f"calls cannot be stored in {self.path}: {text}. They wait in memory, {where}; traffic goes on")
        self.broken = self.last_error = text
        if self._away_at is None:
            self._away_at = self._clock()
        self._try_at = self._clock() + recorder.RETRY_S
        self._care_at = min(self._care_at, self._try_at)  # the thread wakes then, with calls or without

    def _recovered(self) -> None:
        if self.broken:
            dropped = f"; {self.dropped} were dropped" if self.dropped else ""
            self.notes.append(f"calls are stored again in {self.path}{dropped}")
            self._back_at = self._clock()
        self.broken, self._try_at, self._away_at = "", 0.0, None

    def _failed(self, wrong: BaseException) -> None:
        self._let_go()
        self._cannot(wrong)

    # -- calls

    def _take_batch(self) -> None:
        """Those that wait, under a number of their own. A batch that was taken stays as it is until it is stored somewhere."""
        if self._batch:
            return
        most = 1 if self._suspects else BATCH
        while self._waiting and len(self._batch) < most:
            self._batch.append(self._waiting.popleft())
        self._suspects = max(0, self._suspects - 1)
        self._number += 1
        self._is_clean = False

    def _write_batch(self) -> bool:
        """The oldest that wait, all or none; whether it may go on with the next."""
        db = self._db
        if db is None:
            return False
        self._take_batch()
        calls = [call for call, _ in self._batch]
        texts = [bodies_row(place, call, bodies) for place, (call, bodies) in enumerate(self._batch) if bodies]
        began = self._clock()
        try:
            self._store(db, self._writer, self._number, calls, texts)
        except Exception as wrong:
            if is_unfit(wrong):
                self._away_at = self._away_at or began  # a server that answers nothing has been away for that long
                self._failed(wrong)
                return False
            self._refused(wrong)
            return True
        self.written += len(calls)
        self._batch_done()
        self._recovered()
        return True

    def _refused(self, wrong: Exception) -> None:
        """After a batch that the server cannot hold: cleaned, then each call alone; one that is refused even so goes."""
        self._days.clear()  # a partition may have been removed by hand
        if not self._is_clean:
            self._batch = [(rows.clean(call), bodies) for call, bodies in self._batch]
            self._is_clean = True
        elif len(self._batch) > 1:
            self._waiting.extendleft(reversed(self._batch[1:]))
            self._suspects += len(self._batch) - 1
            del self._batch[1:]
        else:
            self.last_error = f"a call could not be stored: {type(wrong).__name__}"
            self.dropped += 1
            self._batch_done()

    def _store(self, db: Session, writer: str, number: int, calls: Sequence[Call], texts: Sequence[rows.Text]) -> None:
        """A batch in one transaction, unless it is stored already."""
        sums = rows.sums_of(calls)
        with db.within(BATCH_S + len(calls) / 1_000):
            days = rows.days_of(calls) - self._days
            if days:
                with db.raw.transaction():
                    partitions.ensure(db, days)
                self._days |= days
            with db.raw.transaction():
                if rows.is_new(db, writer, number):
                    rows.put(db, self._ids, self._labels, calls, texts, sums)
        if number > self._booked.get(writer, number):
            self._booked[writer] = number
            if writer != self._writer:  # from the file: nothing further comes under that name
                del self._booked[writer]
            self._book(rows.spent_by(sums["totals"]))

    def _book(self, spent: Sequence[rows.Spending]) -> None:
        """Remembers what this process's stored calls cost, as long as a month may need it."""
        booked = self.stored_spending
        for (day, key_id), (usd, tokens) in spent:
            of_day = booked.setdefault(day, {})
            have_usd, have_tokens = of_day.get(key_id, (0.0, 0))
            of_day[key_id] = have_usd + usd, have_tokens + tokens
        while len(booked) > SPENDING_DAYS:
            del booked[min(booked)]

    # -- while the server is away

    def _spill_all(self) -> None:
        """Puts what waits into the file, when it has waited long enough or is much."""
        if self._spill is None or not self.waiting or self._away_at is None:
            return
        is_time = self._clock() >= self._away_at + SPILL_AFTER_S or self.waiting >= SPILL_CALLS or self._stopping
        while is_time and (self._waiting or self._batch):
            self._take_batch()
            try:
                self._spill.put(self._writer, self._number, [(rows.clean(call), bodies) for call, bodies in self._batch])
            except OSError as wrong:
                self.last_error = f"{self._spill.place} cannot be written: {wrong}"
                self._say_once(self.last_error)
                return
            self._batch_done()
            # The file may fail at the next batch, and the server be back for it before this one is carried over.
            self._writer, self._number = token_hex(8), 0
            self._booked[self._writer] = 0

    def _say_once(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _carry_over(self) -> None:
        """A batch of the file, between two of now."""
        if self._spill is None or self._db is None:
            return
        while not self._waiting and not self._work and (batch := self._oldest()) is not None:
            try:
                self._store_spilled(self._db, batch)
                self._spill.forget(batch)
            except Exception as wrong:
                if is_unfit(wrong):
                    self._failed(wrong)
                else:
                    self._say_once(f"a batch in {self._spill.place} cannot be stored: {reason(wrong, self.address)}")
                return
            self._recovered()
            if not self._spill.waiting:
                self.notes.append(f"all calls of {self._spill.place} are stored in {self.path}")

    def _store_spilled(self, db: Session, batch: Spilled) -> None:
        """A batch of the file, but for calls that the server cannot hold: they must not keep all others waiting."""
        try:
            self._store(db, batch.writer, batch.number, batch.calls, batch.texts)
            self.written += len(batch.calls)
            return
        except Exception as wrong:
            if is_unfit(wrong):
                raise
        self._days.clear()  # a partition may have been removed by hand
        texts = {text[0]: text for text in batch.texts}
        held = [place for place, call in enumerate(batch.calls) if self._can_hold(db, call, texts.get(place))]
        calls = [batch.calls[place] for place in held]
        some = [(at, *texts[place][1:]) for at, place in enumerate(held) if place in texts]
        self._store(db, batch.writer, batch.number, calls, some)
        self.written += len(calls)
        self.dropped += len(batch.calls) - len(calls)

    def _can_hold(self, db: Session, call: Call, text: rows.Text | None) -> bool:
        """Tried alone, and taken back."""
        try:
            with db.within(BATCH_S), db.raw.transaction():
                partitions.ensure(db, rows.days_of([call]))
            with db.within(BATCH_S), db.raw.transaction(force_rollback=True):
                rows.put(db, self._ids, self._labels, [call], [(0, *text[1:])] if text else [])
        except Exception as wrong:
            if is_unfit(wrong):
                raise
            self.last_error = f"a call could not be stored: {type(wrong).__name__}"
            return False
        return True

    def _oldest(self) -> Spilled | None:
        if self._spill is None:
            return None
        try:
            return self._spill.oldest()
        except OSError as wrong:
            self._say_once(f"{self._spill.place} cannot be read: {wrong}")
            return None

    # -- small writes, and what is too old

    def _do_work(self) -> None:
        while self._work:
            work = self._work.popleft()
            if not work.future.set_running_or_notify_cancel():
                continue
            try:
                work.future.set_result(self._done(work))
            except BaseException as wrong:
                if is_away(wrong):
                    self._failed(wrong)
                is_ours = isinstance(wrong, (GatewayError, StoreUnusable)) or not isinstance(wrong, psycopg().Error)
                text = f"the store cannot be used: {reason(wrong, self.address)}"
                work.future.set_exception(wrong if is_ours else Unavailable(text, code="store_unreadable"))

    def _done(self, work: Work) -> Any:
        db = self._db
        if db is None:
            raise Unavailable(f"the store cannot be used: {self.broken}", code="store_unreadable")
        with db.within(WORK_S), db.raw.transaction():
            return work.function(db)

    def _now_s(self) -> float:
        """The time by the clock on the wall, but never much later than it can be: forgetting cannot be undone."""
        began_s, began_at = self._began
        return min(self._wall(), began_s + (self._clock() - began_at) + MAX_JUMP_S)

    def _take_care(self, db: Session) -> None:
        more = False
        try:
            with db.within(CARE_LIMIT_S):
                more, notes = retention.care(db, self.keep, self._now_s())
                self._bytes = partitions.size(db)
            self.notes.extend(notes)
            if any(name.startswith("removed") for name in notes):
                self._days.clear()
        except Exception as wrong:
            if is_away(wrong) and getattr(wrong, "sqlstate", None) != "55P03":  # it is being read
                self._failed(wrong)
        self._care_at = self._clock() + (CARE_PAUSE_S if more else CARE_S)

    def _end(self) -> None:
        """The thread's last."""
        self._refuse_work()
        self._let_go()
        self.guard.__exit__()
        if self._spill is not None:
            self._spill.close()
