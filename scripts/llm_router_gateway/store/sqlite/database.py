"""The store in SQLite: one file, one thread that writes it, and what happens when a disk fails.

    store = Store.open("router.db", now=time.time())   never raises for what is wrong with a disk: store.broken says it
    store.add(call)                                    at once; a batch is committed within half a second
    await store.reading(lambda db: ...)                in a thread, over a connection that only reads
    store.write(lambda db: ...)                        a small transaction of its own; a concurrent.futures.Future
    store.close()                                      what was added is in the file, or counted as dropped

Traffic never waits for the store and never fails with it. What cannot be written waits, up to MAX_WAITING calls; what is
above that is dropped and counted. `take_notes()` has what the log should say, each trouble once.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from ...errors import NotSaved, Unavailable
from .. import recorder
from ..keep import Keep
from ..recorder import Recorder, Result, Work
from ..rollups import Entry
from .file import (
    MEMORY,
    Database,
    StoreBroken,
    check_pages,
    connect,
    identity,
    is_busy,
    is_damage,
    is_of_disk,
    is_passing,
    lock,
    may_be_moved,
    move_aside,
    open_writer,
    reason,
    rescue_rows,
)
from .retention import care
from .rows import put

BATCH = 512  # calls in one transaction
AGAIN_S = 5.0  # between two attempts at a file that another process writes
ASIDE_S = 60.0  # between two files that are moved aside: more often, it is the disk that is broken
CARE_S = 30.0  # between two looks at what is too old or too much
CARE_PAUSE_S = 0.05  # between two small steps of that
MEMORY_BYTES = 67_108_864  # the most that a store without a file keeps
MAX_JUMP_S = 86_400  # how far a clock that was set forward may age what is kept


class Store(Recorder):
    """See the module. Every method may be called from any thread."""

    def __init__(
        self, path: str, now: float | None, *, owner: bool, wall: Callable[[], float], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """`owner`: this process is the one that records calls there. Others may do small writes."""
        super().__init__("store", clock)
        self.path, self.owner = path, owner
        self.keep = Keep()
        self.moved_to = ""  # the damaged file that was moved aside last
        self.keys_lost = False  # keys or conversations could not be recovered from it
        self._wall = wall
        self._began = (wall() if now is None else now, clock())
        self._set_now = now
        self._db: Database | None = None
        self._identity: tuple[int, int] | None = None
        self._lock: int | None = None
        self._generation = 0  # of the file: readers reopen it when it changes
        self._suspect = False
        self._aside_at = float("-inf")
        self._readers: ThreadPoolExecutor | None = None
        self._reading: dict[int, tuple[int, Database]] = {}  # thread -> (generation, connection)

    @property
    def place(self) -> str:
        return "memory" if self.path == MEMORY else self.path

    @classmethod
    def open(
        cls, path: str, now: float | None = None, keep: Keep | None = None, *, owner: bool = True,
        wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    ) -> Store:  # fmt: skip
        """Opens the file, or says in `broken` and `notes` why it cannot; it is tried again while the store is open."""
        store = cls(path, now, owner=owner, wall=wall, clock=clock)
        store.keeps(keep or Keep())
        store._ready()
        store._care_at = clock() + CARE_S / 6
        store._thread.start()
        return store

    # -- what others do with it

    def keeps(self, keep: Keep) -> None:
        """How much, from now on."""
        if self.path == MEMORY:
            keep = Keep(keep.days, keep.bodies_days, min(keep.max_bytes, MEMORY_BYTES), owned_days=keep.owned_days)
        self.keep = keep

    async def transact(self, function: Callable[[Database], Result]) -> Result:
        """As `write`, awaited. NotSaved where the disk takes no more, Unavailable while others hold the file."""
        try:
            return await asyncio.wrap_future(self.write(function))
        except sqlite3.Error as wrong:
            if is_busy(wrong):
                raise Unavailable(f"nothing was changed: another program holds {self.path}", retry_after_s=1) from None
            if not is_of_disk(wrong):
                raise
            raise NotSaved(f"nothing was changed: {self.path} accepts no changes: {reason(wrong)}") from None
        except Unavailable as wrong:
            raise NotSaved(f"nothing was changed: {wrong.message}") from None

    async def reading(self, function: Callable[[Database], Result]) -> Result:
        """What `function` reads. Unavailable when the file cannot be read."""
        if self.path == MEMORY:
            return await asyncio.wrap_future(self._submit(Work(function, Future(), reads=True)))
        if self._readers is None:
            self._readers = ThreadPoolExecutor(2, "store-reader")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def health(self) -> dict[str, Any]:
        return {
            "path": self.path, "broken": self.broken, "rows_waiting": self.waiting, "written": self.written,
            "dropped": self.dropped, "last_error": self.last_error, "bytes": self._bytes(),
        }  # fmt: skip

    def _bytes(self) -> int:
        size = 0
        for tail in ("", "-wal"):
            with suppress(OSError):
                size += os.stat(self.path + tail).st_size
        return size

    # -- reading, in threads of its own

    def _read(self, function: Callable[[Database], Result]) -> Result:
        me, generation = threading.get_ident(), self._generation
        known = self._reading.get(me)
        try:
            if known is None or known[0] != generation:
                if known is not None:
                    known[1].close()
                db = connect(self.path, reads=True)
                db.execute("PRAGMA query_only = ON")
                self._reading[me] = known = (generation, db)
            return function(known[1])
        except (sqlite3.Error, StoreBroken) as wrong:
            if is_damage(wrong):
                self._suspect = True
                self._woken.set()
            raise Unavailable(f"the store cannot be read: {reason(wrong)}", code="store_unreadable") from wrong

    def _end_readers(self) -> None:
        for _, db in tuple(self._reading.values()):
            with suppress(sqlite3.Error):
                db.interrupt()
        if self._readers is not None:
            self._readers.shutdown(wait=True, cancel_futures=True)
        for _, db in tuple(self._reading.values()):
            with suppress(sqlite3.Error):
                db.close()
        self._reading.clear()

    # -- the thread that writes

    def _turn(self) -> None:
        if self._ready():
            self._check_suspect()
            while self._db is not None and (self._waiting or self._batch) and self._write_batch():
                self._do_work()
        self._do_work()
        if self._db is not None and self.owner and self._clock() >= self._care_at:
            self._take_care(self._db)

    def _now_s(self) -> float:
        """The time by the clock on the wall, but never much later than it can be: forgetting cannot be undone."""
        begun_s, begun_at = self._began
        return min(self._wall(), begun_s + (self._clock() - begun_at) + MAX_JUMP_S)

    def _ready(self) -> bool:
        """Whether there is a file to write to; opens it when there is none and it is time to try."""
        if self._db is not None and self.path != MEMORY and identity(self.path) != self._identity:
            self.notes.append(f"{self.path} was deleted or replaced while it was in use: a new one was created")
            self._let_go()
        if self._db is not None:
            return not self.broken or self._stopping or self._clock() >= self._try_at
        if self._clock() < self._try_at and not self._stopping:
            return False
        for _ in range(2):
            try:
                self._open()
            except StoreBroken as wrong:
                self._cannot(str(wrong), AGAIN_S)
            except (sqlite3.Error, OSError) as wrong:
                if not is_damage(wrong):
                    self._cannot(f"{self.path} cannot be opened: {reason(wrong)}", recorder.RETRY_S)
                elif self._aside(wrong):
                    continue
            break
        return self._db is not None

    def _open(self) -> None:
        if self.path != MEMORY and self.owner and self._lock is None:
            if os.path.isdir(self.path):
                raise StoreBroken(f"{self.path} is a directory: name a file in store")
            self._lock = lock(self.path)
            if self._lock is None:
                raise StoreBroken(f"{self.path} is in use by another gateway: one of the two needs a store of its own")
        now = self._set_now if self._set_now is not None else self._wall()
        self._db = open_writer(self.path, int(now * 1000))
        self._identity = identity(self.path) if self.path != MEMORY else None
        self._generation += 1
        if self.moved_to:
            count, whole = rescue_rows(self._db, self.moved_to)
            self.keys_lost = not whole
            self.notes.append(f"{count} rows of keys and the like were recovered from it" + (
                "" if whole else "; not all of it could be read: check your keys"))  # fmt: skip
            self.moved_to = ""
        self._try_at = 0.0
        if not self.waiting:  # else once they are written
            self._recovered()

    def _aside(self, wrong: BaseException) -> bool:
        """Moves a damaged file out of the way; whether it is."""
        try:
            if not self.owner:
                self._cannot(f"{self.path} is damaged ({reason(wrong)}): start the gateway, which moves it aside", AGAIN_S)
                return False
            if self._clock() < self._aside_at + ASIDE_S:
                self._cannot(f"{self.path} is damaged again: check the disk", AGAIN_S)
                return False
            if not may_be_moved(self.path):
                self._cannot(f"{self.path} is not an SQLite file and was not touched: name another file in store", AGAIN_S)
                return False
            self.moved_to = move_aside(self.path, self._wall())
            self._aside_at = self._clock()
        except OSError as why:
            self._cannot(f"{self.path} is damaged and cannot be moved aside: {reason(why)}", AGAIN_S)
            return False
        self.notes.append(f"{self.path} is damaged ({reason(wrong)}): it is kept as {self.moved_to}, and a new one was created")
        return True

    def _let_go(self) -> None:
        """Closes the file; the next turn opens what is there."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db, self._identity = None, None
        self._generation += 1

    def _cannot(self, text: str, again_s: float) -> None:
        """Notes a trouble, once for as long as it lasts."""
        if text != self.broken:
            self.notes.append(f"calls cannot be stored: {text}. Up to {recorder.MAX_WAITING} wait in memory; traffic goes on")
        self.broken = self.last_error = text
        self._try_at = self._clock() + again_s

    def _recovered(self) -> None:
        if self.broken:
            dropped = f"; {self.dropped} were dropped" if self.dropped else ""
            self.notes.append(f"calls are stored again in {self.path}{dropped}")
        self.broken, self._try_at = "", 0.0

    def _failed(self, wrong: BaseException) -> None:
        """After a transaction that failed: as before it, and what is to be done next."""
        self._undo()
        if is_damage(wrong):
            self._let_go()
            if self._aside(wrong):
                self.broken, self.last_error, self._try_at = "damaged", reason(wrong), 0.0
            return
        if not is_passing(wrong) and self.path != MEMORY:
            self._let_go()
        self._cannot(f"{self.path}: {reason(wrong)}", recorder.RETRY_S)

    def _check_suspect(self) -> None:
        """A reader met a damaged page: whether the file is damaged, and not only its reading."""
        if not self._suspect or self._db is None:
            return
        self._suspect = False
        try:
            check_pages(self._db, self.path, any_size=True)
        except sqlite3.Error as wrong:
            self._failed(wrong)
            self._ready()

    # -- calls

    def _write_batch(self) -> bool:
        """The oldest that wait, all or none; whether it went well."""
        while self._waiting and len(self._batch) < BATCH:
            self._batch.append(self._waiting.popleft())
        try:
            self._commit(self._batch)
        except (sqlite3.Error, OSError) as wrong:
            self._failed(wrong)
            return self._ready() and self._db is not None and not self.broken
        self._batch_done()
        self._recovered()
        return True

    def _commit(self, batch: list[Entry]) -> None:
        """All of them in one transaction. A call that no column takes is dropped, the others are not."""
        try:
            self._put(batch)
        except (sqlite3.OperationalError, OSError):
            raise
        except Exception as wrong:
            if is_damage(wrong):
                raise
            self._undo()
            if len(batch) == 1:
                self.last_error = f"a call could not be stored: {type(wrong).__name__}"
                self.dropped += 1
                return
            while batch:
                self._commit(batch[:1])
                self._count_out(batch[:1])
                del batch[0]

    def _put(self, batch: list[Entry]) -> None:
        db = self._db
        if db is None:
            raise sqlite3.OperationalError(self.broken)
        db.execute("BEGIN IMMEDIATE")
        put(db, batch)
        db.execute("COMMIT")
        self.written += len(batch)

    def _undo(self) -> None:
        if self._db is not None and self._db.in_transaction:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    # -- small writes, and what is too old

    def _do_work(self) -> None:
        while self._work:
            work = self._work.popleft()
            if not work.future.set_running_or_notify_cancel():
                continue
            try:
                if self._db is None:
                    raise Unavailable(f"the store cannot be used: {self.broken}", code="store_unreadable")
                work.future.set_result(self._done(self._db, work))
            except BaseException as wrong:
                self._undo()
                if is_of_disk(wrong) and not work.reads:
                    self._failed(wrong)
                work.future.set_exception(wrong)

    @staticmethod
    def _done(db: Database, work: Work) -> Any:
        if work.reads:
            db.execute("PRAGMA query_only = ON")
            try:
                return work.function(db)
            finally:
                db.execute("PRAGMA query_only = OFF")
        if work.durable:
            db.execute("PRAGMA synchronous = FULL")  # a key that was revoked stays so, even when the power fails
        try:
            db.execute("BEGIN IMMEDIATE")
            result = work.function(db)
            db.execute("COMMIT")
        finally:
            if work.durable and not db.in_transaction:
                db.execute("PRAGMA synchronous = NORMAL")
        return result

    def _take_care(self, db: Database) -> None:
        try:
            more = care(db, self.keep, self._now_s())
            self._recovered()
        except sqlite3.Error as wrong:
            self._failed(wrong)
            more = False
        self._care_at = self._clock() + (CARE_PAUSE_S if more else CARE_S)

    def _end(self) -> None:
        """The thread's last: the file is whole, and free for others."""
        self._refuse_work()
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
