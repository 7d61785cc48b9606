"""Worker processes for large bodies: to read and convert one takes as long as many small requests, and blocks the event loop.

    offload = Offload()
    large = await offload.open(data, "openai", wants_text=False)   LargeBody, read; BadRequest as `read_body`
    large.head.fields["model"]                                     what decisions are made by: see large_jobs.Head
    await large.edit({"model": "m"}, frozenset())                  the bytes of the body, changed
    large.close(); await offload.close()

A thread would not help: the interpreter's lock is held while C code reads JSON. Workers start with the first large body and
stay. One that dies or takes too long is replaced, and what it was doing fails alone.
"""

from __future__ import annotations

import asyncio
import os
import pickle  # nosec B403  # between a process and its child
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import GatewayError, Unavailable
from ..json_body import Body
from ..wire import ir
from ..wire.conversion import Wish
from ..wire.losses import name_lost
from .faults import WorkerFault
from .offload_worker import LENGTHS, pack

if TYPE_CHECKING:
    from .large_jobs import Head
    from .request_budget import Allowance

LARGE_BYTES = 524_288  # a body of small messages of this size takes 15 to 25 ms to read and convert (tests/bench/large_bodies)
MOST_WORKERS = 4
JOB_S = 60.0  # the longest that one job may take
PIECE_BYTES = 262_144  # written to a worker at once: between two the loop does other things
START = "import sys; sys.path.insert(0, sys.argv[1]); from {package}.proxy.offload_worker import main; main()"


def is_large(size: int) -> bool:
    """Whether so many bytes of JSON are read by a worker."""
    return size > LARGE_BYTES


class Worker:
    """One child process, and what it was given."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.keys: set[int] = set()  # bodies that it may still have
        self.drops: list[int] = []  # those that are no longer needed; sent with the next job
        self._is_killed = False  # the system may say so only later

    @property
    def is_alive(self) -> bool:
        return not self._is_killed and self.process.returncode is None

    async def exchange(self, job: str, key: int, arguments: tuple[Any, ...], data: bytes) -> tuple[Any, bytes]:
        """One job. EOFError when the process is gone, TimeoutError when it takes too long."""
        sink, source = self.process.stdin, self.process.stdout
        if sink is None or source is None:
            raise EOFError
        drops, self.drops = self.drops, []
        async with asyncio.timeout(JOB_S):
            for piece in pack((job, key, arguments, drops), data):
                for at in range(0, len(piece), PIECE_BYTES):
                    sink.write(piece[at : at + PIECE_BYTES])
                    await sink.drain()
            try:
                head, size = LENGTHS.unpack(await source.readexactly(LENGTHS.size))
                reply = pickle.loads(await source.readexactly(head))  # nosec B301  # from our own child
                return reply, await source.readexactly(size) if size else b""
            except asyncio.IncompleteReadError:
                raise EOFError from None

    def kill(self) -> None:
        self._is_killed = True
        with suppress(ProcessLookupError):
            self.process.kill()


class Offload:
    """The workers, and whose turn it is."""

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers if workers is not None else max(1, min(MOST_WORKERS, (os.cpu_count() or 2) - 1))
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = 0
        self._keys = count(1)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self, data: bytes, *, wants_text: bool = False, protocol: str = "") -> LargeBody:
        """A body, read by a worker. BadRequest where it is not a JSON object. `protocol`: see large_jobs.read."""
        large = LargeBody(self, next(self._keys), data)
        try:
            await large.read(wants_text, protocol)
        except BaseException:
            large.close()
            raise
        return large

    async def once(self, data: bytes, job: str, *arguments: Any) -> tuple[Any, bytes]:
        """One job on bytes that are not needed afterwards; the bytes that came where it made none."""
        large = LargeBody(self, next(self._keys), data)
        try:
            said, made = await self.run(large, job, *arguments)
            return said, made or data
        finally:
            large.close()

    async def work(self, data: bytes, work: Callable[..., tuple[Any, bytes]], *arguments: Any) -> tuple[Any, bytes]:
        """What a function of `whole_answers` makes of some bytes: done here where they are small, else by a worker."""
        return await self.once(data, work.__name__, *arguments) if is_large(len(data)) else work(data, *arguments)

    async def derive(self, large: LargeBody, job: str, *arguments: Any, wants_text: bool = False) -> LargeBody:
        """Another body, which a job makes of a large one."""
        return await self.open((await self.run(large, job, *arguments))[1], wants_text=wants_text)

    async def run(self, large: LargeBody, job: str, *arguments: Any) -> tuple[Any, bytes]:
        """(what a job says, the bytes that it made). It goes on when the caller goes away: its worker cannot be stopped."""
        task = asyncio.ensure_future(self._run(large, job, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that went away does not get it

    async def _run(self, large: LargeBody, job: str, arguments: tuple[Any, ...]) -> tuple[Any, bytes]:
        worker = await self._take(large.key)
        try:
            reply, data = await self._exchange(worker, large, job, arguments)
        except (EOFError, OSError):
            worker.kill()
            raise GatewayError("the process that was reading a large body ended; try again", code="worker_died") from None
        except TimeoutError:
            worker.kill()
            raise Unavailable(f"reading a large body took more than {JOB_S:g} s", retry_after_s=1) from None
        except BaseException:
            worker.kill()
            raise
        finally:
            self._give_back(worker)
        if reply[0] == "error":
            _, kind, message, facts = reply
            raise kind(message, **facts)
        if reply[0] != "ok":
            raise WorkerFault(reply[-1])
        return reply[1], data

    async def _exchange(self, worker: Worker, large: LargeBody, job: str, arguments: tuple[Any, ...]) -> tuple[Any, bytes]:
        if large.key in worker.keys:
            reply, data = await worker.exchange(job, large.key, arguments, b"")
            if reply[0] != "missing":
                return reply, data
        worker.keys.add(large.key)
        return await worker.exchange(job, large.key, arguments, large.data)

    # -- whose turn

    async def _take(self, key: int) -> Worker:
        """A worker that has this body, else any; in the order of the requests, when all are busy."""
        while self._busy >= self._most:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        self._busy += 1
        try:
            self._idle = [worker for worker in self._idle if worker.is_alive]
            found = next((worker for worker in self._idle if key in worker.keys), None) or next(iter(self._idle), None)
            if found is None:
                return await self._start()
            self._idle.remove(found)
            return found
        except BaseException:
            self._busy -= 1
            self._next()
            raise

    async def _start(self) -> Worker:
        folder = Path(__file__).resolve().parents[2]
        code = START.format(package=__package__.partition(".")[0])
        worker = Worker(await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", code, str(folder), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, limit=4 * PIECE_BYTES,
        ))  # fmt: skip
        self._all = {each for each in self._all if each.is_alive} | {worker}
        return worker

    def _give_back(self, worker: Worker) -> None:
        self._busy -= 1
        if worker.is_alive:
            self._idle.append(worker)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def forget(self, key: int) -> None:
        """A body is no longer needed: read, it takes many times its bytes, so an idle worker drops it at once."""
        for worker in self._all:
            if key not in worker.keys:
                continue
            worker.keys.discard(key)
            worker.drops.append(key)
            if worker in self._idle and self._busy < self._most:
                self._idle.remove(worker)
                self._busy += 1
                task = asyncio.ensure_future(self._tell(worker))
                self._tasks.add(task)
                task.add_done_callback(self._done)

    async def _tell(self, worker: Worker) -> None:
        try:
            await worker.exchange("forget", 0, (), b"")
        except (EOFError, OSError, TimeoutError):
            worker.kill()
        except BaseException:
            worker.kill()
            raise
        finally:
            self._give_back(worker)

    async def close(self) -> None:
        """Ends the workers; what they are doing is lost."""
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            await worker.process.wait()
        self._all, self._idle = set(), []


class LargeBody:
    """One body that workers have: what is known of it here, and what they can do with it."""

    def __init__(self, offload: Offload, key: int, data: bytes) -> None:
        self.key, self.data = key, data
        self._offload = offload
        self._head: Head | None = None

    @property
    def head(self) -> Head:
        if self._head is None:
            raise RuntimeError("the body was not read yet")
        return self._head

    @property
    def head_body(self) -> Body:
        """The head as a body, for code that looks at how fields are written."""
        return Body(self.head.text, self.head.fields)

    async def read(self, wants_text: bool, protocol: str = "") -> None:
        self._head = (await self._offload.run(self, "read", wants_text, protocol))[0]

    async def carry(self, protocol: str) -> None:
        """Texts to be embedded, as upstreams of another protocol take them: see Spec.carried."""
        self._head, self.data = await self._offload.run(self, "carry", protocol)

    async def edit(
        self, changes: Mapping[str, Any], dropped: frozenset[str], lost: list[str], protocol: str, seal: ir.Seal | None = None
    ) -> bytes:
        """The body's bytes, with `changes` in their place and `dropped` left out; see large_jobs.change."""
        return await self.write_job(lost, "change", changes, dropped, protocol, seal) or self.data

    async def write_job(self, lost: list[str], job: str, *arguments: Any) -> bytes:
        """The bytes that a job made, which names what it lost."""
        named, data = await self._offload.run(self, job, *arguments)
        for name in named:
            name_lost(lost, name)
        return data

    async def texts(
        self, reader: tuple[str, str], writer: tuple[str, str], changes: Mapping[str, Any] | None
    ) -> tuple[str, list[str], dict[str, Any], bytes]:
        """(the upstream's call, what was lost, the head of the body, its bytes): see large_answers.texts."""
        (call, lost, head), data = await self._offload.run(self, "texts", reader, writer, changes)
        return call, lost, head, data

    async def convert(
        self, wish: Wish, allowance: Allowance | None, more: Mapping[str, Any]
    ) -> tuple[ir.Request, list[str], Mapping[str, Any]]:
        """(the request without its texts, what was lost, the head of the converted body), which waits for `finish`."""
        (request, lost, out, tokens), _ = await self._offload.run(self, "convert", wish, allowance is not None, more)
        if allowance is not None:
            allowance.measured = (tokens, self.head.kept)
        return request, lost, out

    async def finish(
        self, wish: Wish, changes: Mapping[str, Any], dropped: frozenset[str], lost: list[str], *, counts: bool,
        more: Mapping[str, Any],
    ) -> bytes:  # fmt: skip
        """The bytes of what was converted, with `changes`; with `counts`, those of the call that counts its tokens."""
        return await self.write_job(lost, "finish", wish, changes, dropped, counts, more)

    async def select(
        self, texts: list[str], names: list[str], variables: Mapping[str, Any]
    ) -> tuple[Mapping[str, tuple[bool, str]], Mapping[str, tuple[str, str]]]:
        """What selectors and affinity expressions say of it, by their texts."""
        found: tuple[Any, Any] = (await self._offload.run(self, "select", texts, names, variables))[0]
        return found

    def close(self) -> None:
        self._offload.forget(self.key)
