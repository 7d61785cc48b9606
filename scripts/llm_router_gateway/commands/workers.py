"""`--workers N`: one gateway in several processes on one machine.

    python3 scripts/llm_router_gateway --config router.toml --workers 2

The process that was started is the home. It opens the listening sockets, and owns all that is written or must be one: the store
with calls, keys and conversations, limits and budgets, the management API and the page, logins, the sums of the metrics, the
overlay, the log. The workers inherit the sockets and answer calls to models. They pass requests about the gateway itself on to
the home (`cluster/forward`) and share everything else with it by messages (`cluster/messages`), both over Unix sockets in a
folder that only its user can read.

What a user sees:

    the same address, page, metrics, log file and API as of one process; /health answers for all
    SIGTERM, Ctrl-C    all drain, then the exit code is 0; a second signal ends them at once
    SIGHUP             the configuration is reloaded: by all or, if it is invalid, by none
    SIGUSR2            new workers in the place of the old ones, which drain: no connection is refused
    a worker dies      another is there within a second, and a line in the log; the calls that it had not handed over are lost
                       (a tenth of a second's), and what it had leased of budgets counts as spent
    a worker hangs     it is ended after some five seconds (`cluster/silence`), and then as above
    the home dies      the workers stop accepting and end; the service manager has to start the gateway again

A worker that cannot serve ends the gateway at its start (exit code 1). Later it is started again, after longer pauses where it
dies as soon as it is there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any

from .. import PROGRAM, __version__
from ..access.authenticate import Authenticator
from ..cluster.forward import HomeApp
from ..cluster.home import Home, HomeParts, SharedAuthenticator, SharedSessions
from ..cluster.leases import LeaseDesk, note_spending, own_engine
from ..config.config import Config
from ..config.sources import Source, from_portable
from ..limiter.budgets import LocalBudgets
from ..net.server import Server, listeners
from ..net.shares import PLACES, Shares, shared_memory
from ..policy.budgets import Budgets, Spent
from ..proxy.faults import fault_line, to_log
from ..store.call import Call
from ..store.redaction import Bodies
from .process import doing_of, inherited_sockets, notify, on_signals, raise_file_limit
from .program import say
from .replica import COMMON
from .serve import UNUSABLE, GatewayProcess, cannot_listen, count_text, ready_lines, say_unusable
from .worker import Start

START = "import sys; sys.path.insert(0, {folder!r}); from {package}.commands.worker import main; main()"
FOLDER = Path(__file__).resolve().parents[2]
READY_S = 60.0  # for a worker to accept callers, on a very busy machine, too
AGAIN_S = (0.0, 0.2, 1.0, 3.0, 10.0)  # before the next start, by the number of failures in a row
STEADY_S = 1.0  # a worker that dies sooner after it was ready failed
TOLD_S = 1.0  # a pause that the log mentions
LOOK_S = 1.0  # between two looks whether workers show signs of life; `silence` counts them
TEND_S = 0.1  # between two looks at what other gateways found
SILENT_END_S = 5.0  # beyond drain_s, for a worker that is to end
PATH_CHARS = 100  # of a Unix socket: some systems take 103
UNIX = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
NO_WORKERS = "workers: this system has no Unix sockets that processes can share; leave it at 1"


@dataclass(slots=True, eq=False)
class Child:
    """One worker process."""

    name: str
    turn: int  # which of the workers it is; a replacement has the same
    generation: int  # a restart begins the next
    place: int
    process: asyncio.subprocess.Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ready_at: float = math.inf
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: bool = False  # it was sent SIGTERM to drain
    why: str = ""  # it was ended by the home


def remove_stale(parent: str) -> None:
    """Removes the folders of this user's homes that were killed: they have sockets that nothing listens at."""
    for folder in Path(parent).glob(f"{PROGRAM}-*"):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            link = folder / "link"
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not link.is_socket():
                continue
            probe.setblocking(False)
            try:
                probe.connect(str(link))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)


def private_folder() -> str:
    """A folder of this user's own for the sockets, with a path that is short enough for them."""
    for parent in {tempfile.gettempdir(), "/tmp"}:  # nosec B108  # where it may be made
        remove_stale(parent)
    made = tempfile.mkdtemp(prefix=f"{PROGRAM}-")  # with mode 0700
    if len(made) < PATH_CHARS - 10:
        return made
    shutil.rmtree(made)
    return tempfile.mkdtemp(prefix=f"{PROGRAM}-", dir="/tmp")  # nosec B108  # a folder of our own in it


def unix_listener(path: str) -> socket.socket:
    """A listening Unix socket that only this user may connect to. It listens by the time that it has its name."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        made.bind(f"{path}-")
    finally:
        os.umask(mask)
    made.setblocking(False)
    made.listen(1_024)
    os.rename(f"{path}-", path)
    return made


class Workers:
    """The child processes: started, watched, replaced, ended."""

    def __init__(self, process: HomeProcess, sockets: Sequence[Sequence[socket.socket]], folder: str) -> None:
        """`sockets`: for each worker in turn, the listening sockets that it accepts from."""
        self._home, self._log, self._folder = process, process.log, folder
        self._sockets = sockets
        self._memory = shared_memory()
        self._shares = Shares(self._memory, PLACES - 1)  # a place that no worker has
        self._children: dict[str, Child] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._failures = self.ended = 0
        self._serial = self._generation = 0
        self._end = asyncio.Event()
        self._restarting: asyncio.Task[None] | None = None
        self._has_started = False

    @property
    def _is_ending(self) -> bool:
        return self._end.is_set()

    @property
    def count(self) -> int:
        return self._home.config.server.workers

    @property
    def ready(self) -> int:
        return sum(child.ready.is_set() and not child.is_leaving for child in self._children.values())

    def expects(self, name: str) -> bool:
        return name in self._children

    def is_ready(self, name: str) -> None:
        child = self._children.get(name)
        if child is not None:
            child.ready_at = time.monotonic()
            child.ready.set()

    def end_child(self, name: str, why: str) -> None:
        """Ends one that cannot go on; another takes its place."""
        child = self._children.get(name)
        if child is not None and not child.why:
            child.why = why
            with suppress(ProcessLookupError):
                child.process.kill()

    # -- starting

    async def start_all(self) -> bool:
        """Whether all of them accept callers."""
        for turn in range(self.count):
            await self._start(turn, self._generation)
        self._has_started = await self._are_ready(tuple(self._children.values()))
        return self._has_started

    async def _are_ready(self, children: Sequence[Child]) -> bool:
        """False as soon as one of them ends: by itself, or because it took too long."""

        async def all_ready() -> None:
            for child in children:
                await child.ready.wait()

        async def one_ended(child: Child) -> None:
            await child.ended.wait()

        tasks = [asyncio.create_task(each) for each in (all_ready(), *(one_ended(child) for child in children))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        return all(child.ready.is_set() for child in children)

    async def _start(self, turn: int, generation: int) -> Child:
        """Starts a worker. OSError."""
        self._serial += 1
        place = min(set(range(PLACES - 1)) - {child.place for child in self._children.values()})
        sockets = [sock.fileno() for sock in self._sockets[turn % len(self._sockets)]]
        name = f"worker-{self._serial}-{token_hex(4)}"
        start = Start(name, f"{self._folder}/link", f"{self._folder}/http", sockets, self._memory, place, self.count)
        code = START.format(folder=str(FOLDER), package=__package__.partition(".")[0])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", code, json.dumps(asdict(start)), pass_fds=(*sockets, self._memory),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        child = self._children[name] = Child(name, turn, generation, place, process)
        self._keep(self._watch(child))
        self._keep(self._await_ready(child))
        if self._is_ending or generation < self._generation:  # what was decided while it was started
            self._leave(child)
        return child

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _await_ready(self, child: Child) -> None:
        """Ends one that takes too long to accept callers."""
        waits = [asyncio.create_task(each.wait()) for each in (child.ready, child.ended)]
        await asyncio.wait(waits, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        if not child.ready.is_set() and not child.ended.is_set():
            self.end_child(child.name, f"did not accept callers within {READY_S:g} s and was ended")

    async def _watch(self, child: Child) -> None:
        """Until the worker ends; then starts another, unless it was to end."""
        code = await child.process.wait()
        self._shares.clear(child.place)
        del self._children[child.name]
        child.ended.set()
        if self._is_ending or child.is_leaving:
            return
        what = child.why or (f"was ended by signal {-code}" if code < 0 else f"ended with code {code}")
        what = f"{child.name} (process {child.process.pid}) {what}"
        if not self._has_started:
            self._log.error(f"{what}: the gateway cannot start")
            return
        self.ended += 1
        if child.generation > self._generation:
            self._log.error(f"{what}: the restart of the workers is given up")
            return
        self._failures = 0 if time.monotonic() - child.ready_at >= STEADY_S else self._failures + 1
        pause_s = AGAIN_S[min(self._failures, len(AGAIN_S) - 1)]
        self._log.error(f"{what}: another is started{f' in {pause_s:g} s' if pause_s >= TOLD_S else ''}")
        await self._pause(pause_s)
        await self._start_again(child)

    def _is_needed(self, child: Child) -> bool:
        """Whether another is to take the place of one that died: a restart may have brought all that there are to be."""
        return not self._is_ending and child.generation == self._generation

    async def _start_again(self, child: Child) -> None:
        while self._is_needed(child):
            try:
                await self._start(child.turn, child.generation)
                return
            except OSError as error:
                self._log.error(f"a worker cannot be started: {error.strerror or error}; next attempt in {AGAIN_S[-1]:g} s")
                await self._pause(AGAIN_S[-1])

    async def _pause(self, seconds: float) -> None:
        """Ends sooner where all end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    # -- replacing and ending

    def restart(self) -> None:
        """New workers in the place of the old ones."""
        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        old = [child for child in self._children.values() if not child.is_leaving]
        self._log.info(f"starting {count_text(self.count, 'new worker')}; {count_text(len(old), 'old one')} will drain")
        new: list[Child] = []
        try:
            for turn in range(self.count):
                new.append(await self._start(turn, self._generation + 1))
        except OSError as error:
            self._log.error(f"new workers cannot be started: {error.strerror or error}; the old ones stay")
            self._leave_all(new)
            return
        if not await self._are_ready(new):
            if not self._is_ending:
                self._log.error("new workers did not become ready: the old ones stay")
            self._leave_all(new)
            return
        self._generation += 1
        self._failures = 0
        self._leave_all([child for child in self._children.values() if child.generation < self._generation])

    def _leave_all(self, children: Iterable[Child]) -> None:
        for child in children:
            if not child.is_leaving:
                self._leave(child)

    def _leave(self, child: Child) -> None:
        """It drains and ends; by force where it does not."""
        child.is_leaving = True
        worker = self._home.home.workers.get(child.name)
        if worker is not None:
            worker.link.send("drain")
        else:
            with suppress(ProcessLookupError):
                child.process.terminate()
        self._keep(self._see_off(child, self._home.config.server.drain_s + SILENT_END_S))

    async def _see_off(self, child: Child, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await child.ended.wait()
                return
        self._log.error(f"{child.name} did not end within {limit_s:g} s: it is killed")
        with suppress(ProcessLookupError):
            child.process.kill()

    async def end(self) -> None:
        """All of them drain and end."""
        self._end.set()
        self._leave_all(tuple(self._children.values()))
        if self._restarting is not None:
            await self._restarting
        while self._watches:
            await asyncio.wait(tuple(self._watches))

    def kill(self) -> None:
        self._end.set()
        for child in tuple(self._children.values()):
            with suppress(ProcessLookupError):
                child.process.kill()


class HomeProcess(GatewayProcess):
    """The home: a gateway whose callers are its workers."""

    def __init__(self, config: Config, source: Source, *, demo: bool = False) -> None:
        super().__init__(config, source, demo=demo)
        backends, gateway = self.backends, self.gateway
        self.workers: Workers | None = None
        self._sharing: asyncio.Task[None] | None = None
        self.home = Home(HomeParts(
            authenticator=self.authenticator, leases=self.leases,
            routing_state=gateway.routing_state, conversations=backends.conversations, owned=backends.owned,
            log=self.log, keep=self.keep, count_attempts=backends.metrics.add_attempts,
            config_text=source.portable, clock=time.monotonic, expects=self._expects, on_ready=self._is_ready,
            end_worker=self._end_worker, doing=doing_of,
        ))  # fmt: skip
        self.authenticator.on_keys = self.home.push_keys
        self.authenticator.sessions = SharedSessions(self.home.push_sessions)
        self.server = Server(
            HomeApp(gateway, self.home.refresh, self.home.in_force), max_connections=config.server.max_connections
        )

    def make_authenticator(self) -> Authenticator:
        self.authenticator = SharedAuthenticator(self.config)
        return self.authenticator

    @cached_property
    def leases(self) -> LeaseDesk:
        """What the workers share is kept by this process, or by the engine of [state] for all gateways."""
        backends = self.backends
        if backends.replica is None:
            engine = own_engine(time.time)
            backends.on_spent.append(engine.hear)
            return LeaseDesk(engine, backends.keys, backends.store)
        membership = backends.replica.membership
        ledger = membership.ledger.name
        return LeaseDesk(
            membership.engine, backends.keys, backends.store, ledger=ledger, is_common=ledger == COMMON,
            processes=lambda: membership.count,
        )  # fmt: skip

    @cached_property
    def spending(self) -> LocalBudgets:
        """What each key has spent, from the records of all workers: for administrators, nothing is decided by it."""
        budgets = self.backends.budgets
        return budgets if isinstance(budgets, LocalBudgets) else LocalBudgets()

    @property
    def shown_budgets(self) -> Budgets:
        return self.spending

    def keep(self, call: Call, bodies: Bodies | None) -> None:
        note_spending(self.spending, call, time.time())
        super().keep(call, bodies)

    def count_workers(self) -> Mapping[str, int]:
        return {"ready": self.workers.ready, "ended": self.workers.ended} if self.workers is not None else {}

    @property
    def open(self) -> int:
        return self.gateway.open + self.home.open

    @property
    def leased(self) -> Mapping[str, float]:
        return self.home.leased

    def telemetry_health(self) -> Mapping[str, int]:
        """Of the spans of all workers."""
        total: Counter[str] = Counter()
        for health in (self.sending.health(), *self.home.telemetry.values()):
            total.update(health)
        return total

    def _expects(self, name: str) -> bool:
        return self.workers is not None and self.workers.expects(name)

    def _is_ready(self, name: str) -> None:
        if self.workers is not None:
            self.workers.is_ready(name)

    def _end_worker(self, name: str, why: str) -> None:
        if self.workers is not None:
            self.workers.end_child(name, why)

    def load(self) -> Config:
        """Also read as the workers will read it: for all of them, or for none."""
        config = super().load()
        from_portable(self.source.portable())
        return config

    async def take_over(self, config: Config) -> None:
        await super().take_over(config)
        self.home.push_config()

    async def look_after(self) -> None:
        care = asyncio.create_task(super().look_after())
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                self.home.look()
        finally:
            care.cancel()

    async def join(self) -> None:
        """Shares with other gateways, where [state] says so."""
        replica = self.backends.replica
        if replica is None:
            return
        # What administrators see is the call log's: with a common one, other gateways' calls as well.
        self.backends.on_spent = [self.show_spending]
        await replica.start(self.gateway.routing_state, self.authenticator, lambda: self.config)
        self._sharing = asyncio.create_task(self._share())

    async def _share(self) -> None:
        while True:
            await asyncio.sleep(TEND_S)
            try:
                self.home.tend()
            except Exception as error:
                where, effect = "passing on to the workers what other gateways found", f"it is tried again in {TEND_S:g} s"
                self.log.error(fault_line(where, error, effect))

    def show_spending(self, rows: Iterable[Spent], now: float) -> None:
        self.spending.begin_anew()
        self.spending.load(rows, now)

    async def leave(self) -> None:
        if self._sharing is not None:
            self._sharing.cancel()
        if self.backends.replica is not None:
            await self.backends.replica.close()

    def end_now(self) -> None:
        if self.workers is not None:
            self.workers.kill()
        super().end_now()


async def sockets_for(config: Config) -> list[list[socket.socket]]:
    """The listening sockets: one list that all workers share, or with reuse_port one for each. OSError, ValueError."""
    server = config.server
    given = inherited_sockets(os.environ, os.getpid())
    if given or not server.reuse_port:
        return [given or await listeners(server.host, server.port)]
    first = await listeners(server.host, server.port, reuse_port=True)
    port = first[0].getsockname()[1]
    return [first, *[await listeners(server.host, port, reuse_port=True) for _ in range(server.workers - 1)]]


async def serve_with_workers(config: Config, source: Source, *, demo: bool = False) -> int:
    """Serves until a signal, then drains. Returns 3 when the address cannot be bound, 2 without its log file.

    1 when no worker can be started.
    """
    if not UNIX:
        say(NO_WORKERS)
        return 2
    raise_file_limit()
    try:
        process = HomeProcess(config, source, demo=demo)
    except UNUSABLE as wrong:
        say_unusable(config, wrong)
        return 2
    try:
        sockets = await sockets_for(config)
    except (OSError, ValueError) as wrong:
        process.backends.close()
        process.say_at_start("error", "problem", [cannot_listen(config, wrong)])
        return 3
    folder = private_folder()
    try:
        return await serve_from(process, sockets, folder, demo=demo)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def serve_from(process: HomeProcess, sockets: list[list[socket.socket]], folder: str, *, demo: bool) -> int:
    """The same, once everything is open."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(to_log(process.log))
    process.server.listen([unix_listener(f"{folder}/http")])
    links = await loop.create_unix_server(process.home.accept, sock=unix_listener(f"{folder}/link"))
    workers = process.workers = Workers(process, sockets, folder)
    on_signals(loop, signals(process, workers))
    await process.join()
    care = asyncio.create_task(process.look_after())
    if await workers.start_all() and not process.stop.is_set():
        gc.freeze()  # what is here now stays: the collector need not look at it again
        port = int(sockets[0][0].getsockname()[1])
        lines = ready_lines(process.config, port, demo, process.backends.authenticator.is_open)
        process.say_at_start("info", "listening", lines, host=process.config.server.host, port=port, version=__version__)
        process.sending.start()
        notify("READY=1")
        await process.stop.wait()
        code = 0
    else:
        code = 0 if process.stop.is_set() else 1
    notify("STOPPING=1")
    on_signals(loop, {"SIGTERM": process.end_now, "SIGINT": process.end_now})  # a second signal stops at once
    for sock in (each for some in sockets for each in some):
        sock.close()  # once the workers have closed theirs, too, new callers are refused at once
    await process.home.refresh()
    process.log.info(f"stopping: {process.open} open requests, waiting up to {process.config.server.drain_s:g} s")
    process.log.flush()
    await workers.end()
    await process.server.drain(1.0)
    await process.home.wait_settled()
    links.close()
    care.cancel()
    await process.leave()
    await process.sending.close()
    await process.pool.close()
    process.backends.close()
    process.log.close()
    return code


def signals(process: HomeProcess, workers: Workers) -> dict[str, Callable[[], None]]:
    return {"SIGTERM": process.stop.set, "SIGINT": process.stop.set, "SIGHUP": process.reload, "SIGUSR2": workers.restart}
