"""A worker process: it answers calls to models, with everything that it shares with others kept by the home.

    main()      the whole process, started by `commands/workers` with its settings in argv, until the home says drain

SIGTERM drains it, too. When the home is gone it accepts nothing more and ends once its open requests have ended: there is no
place for what it would record.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from .. import __version__
from ..access.authenticate import Authenticator
from ..cluster.forward import Forward, WorkerApp
from ..cluster.leases import WorkerLeases
from ..cluster.messages import unpack_logins, unpack_row
from ..cluster.routing import SharedRoutingState, absorb
from ..cluster.worker import Outbox, RemoteConversations, RemoteLog, RemoteOwned
from ..config.config import Config
from ..config.sources import from_portable
from ..errors import GatewayError, Unavailable
from ..limiter.leases import EngineAway
from ..net.client import Pool
from ..net.link import Link
from ..net.server import Server
from ..net.shares import Shares
from ..proxy.attempts import AttemptRecord
from ..proxy.faults import fault_line, to_log
from ..proxy.gateway import Gateway, prepare
from ..routing.notes import Notes, keys_by_mark
from .process import new_id, on_signals, raise_file_limit
from .program import say
from .telemetry import Sending

REPORT_S = 0.2  # how often members and open requests are reported to the home
ALIVE_S = 0.5  # how often it shows the home that its event loop goes on, whatever its calls to the home do
REFUSED, LOST = 4, 5  # exit codes: the home does not take this worker, or the address is taken; the home is gone
FLUSH_LIMIT_S = 10.0  # for the last batch


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is started with."""

    name: str
    link: str  # path of the socket for messages
    http: str  # path of the socket for requests that the home answers
    sockets: Sequence[int]  # descriptors of the listening sockets
    shares: int  # descriptor of the table of connections
    place: int  # in that table
    workers: int  # how many share the limits of one machine


def share_of(config: Config, workers: int) -> Config:
    """The configuration with this worker's part of what is memory: bodies in flight, of which one of full length always fits,
    and answers that are kept."""
    server = config.server
    most = max(server.max_body_bytes, server.max_bytes_in_flight // workers)
    return replace(config, server=replace(server, max_bytes_in_flight=most, max_cache_bytes=server.max_cache_bytes // workers))


class WorkerProcess:
    """The process while it serves."""

    def __init__(self, start: Start, link: Link, welcome: Mapping[str, Any]) -> None:
        self.start, self.link = start, link
        self.config = share_of(from_portable(welcome["config"]), start.workers)
        self.authenticator = Authenticator(self.config)
        self.take_keys(*welcome["keys"])
        self.take_sessions(welcome["sessions"])
        self.outbox = Outbox(link, self.authenticator.take_all_used)
        self.log = RemoteLog(self.config.server, self.outbox)
        asyncio.get_running_loop().set_exception_handler(to_log(self.log))
        self.pool = Pool()
        self.leases = WorkerLeases(
            link, start.name, welcome["ledger"], self.log.warn, self.outbox.flush, welcome["processes"]
        )  # fmt: skip
        self._urgent = asyncio.Event()
        self.routing_state, self._notes = SharedRoutingState(self._urgent.set), Notes(start.name)
        self.gateway = Gateway(
            self.config, self.pool, self.log, clock=time.monotonic, call_later=asyncio.get_running_loop().call_later,
            new_id=new_id, authenticator=self.authenticator, limiter=self.leases.limiter, budgets=self.leases.budgets,
            kept=RemoteConversations(link, bytes.fromhex(welcome["secret"])) if welcome["is_kept"] else None,
            routing_state=self.routing_state, owned=RemoteOwned(link) if welcome["is_kept"] else None,
        )  # fmt: skip
        self.gateway.on_call = self.outbox.add
        self.gateway.on_attempts = self.count
        self._tried: Counter[tuple[str, str, str, bool]] = Counter()  # as add_attempts takes them: not yet reported
        self._sent_health: Mapping[str, int] = {}
        self.sending = Sending(self.config, self.gateway, self.pool, self.log)
        self.forward = Forward(start.http, new_id)
        server = self.config.server
        self.server = Server(
            WorkerApp(self.gateway, self.forward), max_connections=server.max_connections,
            max_per_address=server.max_connections_per_address,
        )  # fmt: skip
        self.stop = asyncio.Event()
        self._reading = asyncio.Lock()
        self._sent_open = 0
        self._sent_leased: Mapping[str, float] = {}
        self.take_routing(welcome["routing"])
        link.handle({
            "config": self.take_config, "keys": self.take_keys, "sessions": self.take_sessions, "routing": self.take_routing,
            "notes": self.take_notes, "drain": self.stop.set, "report": self.report,
        })  # fmt: skip

    # -- what the home says

    async def take_config(self, text: str) -> bool:
        """One after the other, in the order in which they came; read in a thread, as the home does."""
        async with self._reading:
            self.config = share_of(await asyncio.to_thread(from_portable, text), self.start.workers)
            self.gateway.swap(await asyncio.to_thread(prepare, self.config))
        return True

    def take_keys(self, rows: Sequence[Sequence[Any]], generation: int, sealed: str, unknown: str, expired: str) -> bool:
        self.authenticator.sealed, self.authenticator.is_unread = sealed, False
        self.authenticator.take([unpack_row(row) for row in rows], generation, True)
        self.authenticator.judge(unknown, expired)
        return True

    def take_sessions(self, found: Sequence[Any]) -> bool:
        self.authenticator.sessions.adopt(unpack_logins(found))
        return True

    def take_routing(self, changes: Mapping[str, Any]) -> None:
        absorb(self.routing_state, changes, keys_by_mark(self.config), time.monotonic())

    def take_notes(self, notes: Sequence[Mapping[str, Any]]) -> None:
        keys, now = keys_by_mark(self.config), time.monotonic()
        for note in notes:
            self._notes.absorb(self.routing_state, note, 0.0, keys, now)

    # -- reports to the home

    async def keep_reporting(self) -> None:
        """Members and open requests, several times a second, and at once where others must know. Until it is cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._urgent.wait()
            self._urgent.clear()
            try:
                self.report_now()
            except Exception as error:  # the log's lines go on their way all the same
                self.log.error(fault_line("what a worker reports", error, f"it is tried again in {REPORT_S:g} s"))
            self.log.flush()

    async def show_life(self) -> None:
        """From the first caller to the last record. Until it is cancelled."""
        while True:
            self.link.send("alive")
            await asyncio.sleep(ALIVE_S)

    async def report(self) -> bool:
        """Everything that the home does not have yet."""
        self.report_now()
        self.log.flush()
        with suppress(EngineAway):
            await self.leases.report()
        await self.outbox.flush()
        return True

    def count(self, attempts: Sequence[AttemptRecord]) -> None:
        """Requests to upstreams, for the metrics that the home has."""
        for attempt in attempts:
            self._tried[attempt.name, attempt.provider, attempt.cause, attempt.is_caller_error] += 1

    def report_now(self) -> None:
        if self._tried:
            self.link.send("attempts", [[*key, count] for key, count in self._tried.items()])
            self._tried.clear()
        health = self.sending.health()
        if health != self._sent_health:
            self._sent_health = health
            self.link.send("telemetry", health)
        changes = self.routing_state.take_changes(time.monotonic())
        if changes is not None:
            self.link.send("routing", changes)
        if self.gateway.open != self._sent_open:
            self._sent_open = self.gateway.open
            self.link.send("open", self._sent_open)
        leased = self.leases.leased()
        if leased != self._sent_leased:
            self._sent_leased = leased
            self.link.send("leased", leased)

    # -- from the first caller to the last record

    async def run(self) -> int:
        """Serves until it is to stop, then drains; the exit code."""
        descriptors = [socket.socket(fileno=number) for number in self.start.sockets]
        for sock in descriptors:
            sock.setblocking(False)
        shares = Shares(self.start.shares, self.start.place)
        await self.leases.start()
        try:
            self.server.listen(descriptors, shares)
        except OSError as wrong:  # another gateway was quicker
            say(f"{self.start.name}: cannot listen: {wrong.strerror}")
            return REFUSED
        gc.freeze()  # what is here now stays: the collector need not look at it again
        self.link.send("ready")
        life = asyncio.create_task(self.show_life())
        self.sending.start()
        tasks = [asyncio.create_task(self.keep_reporting()), asyncio.create_task(self.outbox.run())]
        await self.stop.wait()
        await self.drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        code = await self.end()
        life.cancel()
        return code

    async def drain(self) -> None:
        """Refuses new requests; open ones may finish until the limit, then their streams get an error event."""
        limit_s = self.config.server.drain_s
        limit = asyncio.get_running_loop().call_later(
            limit_s, self.gateway.end_all, Unavailable("the gateway is shutting down")
        )
        await self.server.drain(limit_s + 1)
        limit.cancel()

    async def end(self) -> int:
        asyncio.get_running_loop().set_exception_handler(None)  # the home takes no more lines
        await self.sending.close()
        await self.gateway.offload.close()
        await self.gateway.key_commands.close()
        await self.pool.close()
        await self.forward.pool.close()
        await self.leases.close()
        self.report_now()
        self.log.flush()
        left = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_LIMIT_S):
                left = await self.outbox.flush()
        self.outbox.spill()
        left += self.outbox.lost
        if left:
            say(f"{self.start.name}: {left} calls could not be recorded: the gateway's main process did not take them")
        self.link.close()
        return LOST if self.link.is_lost else 0


async def serve(start: Start) -> int:
    """The worker's exit code."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    process: list[WorkerProcess] = []

    def end(_: object = None) -> None:
        stop.set()
        for each in process:
            each.stop.set()

    on_signals(loop, {"SIGTERM": end})
    link = Link(on_lost=end)  # what comes together with the welcome waits for the process that it makes
    try:
        await loop.create_unix_connection(lambda: link, start.link)
        welcome = await link.call("hello", start.name, os.getpid(), __version__)
    except (OSError, GatewayError) as error:
        say(f"{start.name}: the gateway's main process does not take it: {error}")
        return REFUSED
    process.append(WorkerProcess(start, link, welcome))
    if stop.is_set():
        end()
    return await process[0].run()


def main() -> None:
    """The process: `python3 -c ... SETTINGS`, a JSON object with the fields of Start."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR2"):  # the terminal sends the first to all: the home decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise_file_limit()
    sys.exit(asyncio.run(serve(Start(**json.loads(sys.argv[1])))))
