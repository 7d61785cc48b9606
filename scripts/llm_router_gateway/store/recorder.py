"""What records calls beside the traffic: a queue, a thread that writes batches of it, and what happens to both at the end.

    recorder.add(call, bodies)                at once; a batch is written within half a second
    recorder.write(lambda db: ...)            a small transaction of its own; a concurrent.futures.Future
    recorder.close()                          what was added is stored, or counted as dropped

A store derives from it and says how a turn of the thread goes. Traffic never waits for a store and never fails with it. What
cannot be written waits, up to MAX_WAITING calls; what is above that is dropped and counted.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import Unavailable
from .call import Call
from .redaction import Bodies
from .rollups import Entry

GATHER_S = 0.25  # calls are collected so long before they are written together
MAX_WAITING = 20_000  # calls in memory while they cannot be written
MAX_WAITING_BYTES = 67_108_864  # of their bodies; then calls go without
MAX_NOTES = 100
RETRY_S = 1.0  # between two attempts at a store that failed
MAX_REST_S = 30.0  # without a call: the store is looked after
SETTLE_S = 0.5  # for calls that wait to be stored; what waits for them tries again
FLUSH_PAUSE_S = 0.02  # between two looks whether a store that failed works now

Result = TypeVar("Result")
Database = Any  # the connection of the store


class StoreUnusable(Exception):
    """The store cannot be used as it is configured; the text says why and what to do, and holds no password."""


@dataclass(slots=True)
class Work:
    """A function that waits for the thread that writes."""

    function: Callable[[Database], Any]
    future: Future[Any]
    reads: bool = False  # of a store without a file: there is one connection
    durable: bool = True


class Recorder:
    """See the module. Every method may be called from any thread."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.broken = ""  # why nothing can be stored at the moment; "" when it works
        self.last_error = ""
        self.notes: deque[str] = deque(maxlen=MAX_NOTES)
        self.written = self.dropped = 0
        self.most_waiting = MAX_WAITING
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._bytes_in = self._bytes_out = 0  # of bodies: each counted by one thread
        self._batch: list[Entry] = []  # taken from there and not written yet
        self._work: deque[Work] = deque()
        self._stopping = False
        self._try_at = self._care_at = 0.0  # when a store that failed is tried again, and when it is looked after
        self._woken, self._urgent = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def add(self, call: Call, bodies: Bodies | None = None) -> None:
        """Never waits, never raises."""
        if len(self._waiting) >= self.most_waiting or self._stopping:
            self.dropped += 1
            return
        if bodies is not None:
            if self._bytes_in + bodies.size - self._bytes_out > MAX_WAITING_BYTES:
                bodies = None
            else:
                self._bytes_in += bodies.size
        self._waiting.append((call, bodies))
        if not self._woken.is_set():
            self._woken.set()

    def write(self, function: Callable[[Database], Result], *, durable: bool = True) -> Future[Result]:
        """`function` in a transaction of its own, on disk when the future has its result. It must not commit.

        Not `durable`: it may be lost when the power fails within seconds, and costs a sixth.
        """
        return self._submit(Work(function, Future(), durable=durable))

    async def transact(self, function: Callable[[Database], Result]) -> Result:
        """As `write`, awaited."""
        return await asyncio.wrap_future(self.write(function))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Whether all that was added before is in the file now."""
        goal, limit = self.written + self.dropped + self.waiting, self._clock() + timeout_s
        while self.written + self.dropped < goal:
            if self._clock() >= limit or self._stopping:
                return False
            with suppress(Exception):
                self._submit(Work(lambda db: None, Future(), reads=True)).result(limit - self._clock())
            if self.broken:
                time.sleep(FLUSH_PAUSE_S)
        return True

    @property
    def is_current(self) -> bool:
        """Whether what the log says is all that there is to say: nothing waits for the end of an outage."""
        return not self.broken

    async def settle(self) -> None:
        """Returns once every call that was added before is stored. OSError where that takes longer than SETTLE_S."""
        if not await asyncio.to_thread(self.flush, SETTLE_S) or not self.is_current:
            raise OSError(f"calls wait to be stored{self.broken and ': '}{self.broken}")

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes what waits, and counts as dropped what cannot be."""
        if self._stopping:
            return
        self._stopping = True
        self._woken.set()
        self._urgent.set()
        self._end_readers()
        self._thread.join(timeout_s)
        lost = self.waiting
        if lost:
            self.dropped += lost
            self.notes.append(f"{lost} calls could not be stored before the stop: {self.broken or self.last_error}")

    def take_notes(self) -> list[str]:
        """What the log should say now."""
        notes = []
        while self.notes:
            notes.append(self.notes.popleft())
        return notes

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._batch)

    def _count_out(self, entries: Iterable[Entry]) -> None:
        """Their bodies are in memory no more."""
        self._bytes_out += sum(bodies.size for _, bodies in entries if bodies is not None)

    def _batch_done(self) -> None:
        """It is stored, here or in a file beside, or was dropped."""
        self._count_out(self._batch)
        self._batch = []

    def _submit(self, work: Work) -> Future[Any]:
        if self._stopping:
            work.future.set_exception(Unavailable("the store is closed"))
            return work.future
        self._work.append(work)
        self._urgent.set()
        self._woken.set()
        return work.future

    # -- the thread that writes

    def _run(self) -> None:
        while True:
            self._woken.wait(max(0.0, min(self._care_at - self._clock(), MAX_REST_S)))
            if not self._stopping and self.waiting:
                self._urgent.wait(GATHER_S)
            stopping = self._stopping
            self._urgent.clear()
            self._woken.clear()
            try:
                self._turn()
            except Exception as wrong:  # an internal fault must not end the thread: its work is reported as failed
                self._failed(wrong)
            if stopping:
                self._end()
                return
            if self.broken and self.waiting and not self._work:
                self._urgent.wait(max(0.05, min(RETRY_S, self._try_at - self._clock())))
                self._woken.set()

    def _turn(self) -> None:
        """Writes what waits, and does the small work."""
        raise NotImplementedError

    def _failed(self, wrong: BaseException) -> None:
        """After a turn that failed: as before it, and what is to be done next."""
        raise NotImplementedError

    def _end(self) -> None:
        """The thread's last."""
        raise NotImplementedError

    def _end_readers(self) -> None:
        """Before the thread's last turn."""
        raise NotImplementedError

    def _refuse_work(self) -> None:
        """What comes too late for the thread."""
        for work in self._work:
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(Unavailable("the store is closed"))
