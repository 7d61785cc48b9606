"""The listener: callers' bytes become exchanges, one task each; answers go back in the order of the requests.

    server = Server(app, max_connections=4096)
    port = await server.start("127.0.0.1", 8000)     OSError when the address cannot be bound
    server.listen(sockets, shares)                   the same with sockets that are open, and that other processes may share
    await server.drain(30.0)                         no new requests; what is open may end until the limit

    async def app(exchange):                         cancelled as soon as the caller's connection is lost
        body = await exchange.read_body(1_000_000)   TooLarge, RequestTooSlow, Malformed
        await exchange.respond(200, [("content-type", "text/plain")], body)

`connection` handles one caller's connection, `exchange` one request and its answer; this module accepts connections.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

from . import http1
from .connection import SERVER_TIMEOUTS, Connection, ServerTimeouts
from .exchange import App
from .shares import Shares

BACKLOG = 1_024  # connections waiting to be accepted; the system may allow fewer
OVERFLOW = 64  # connections above the budget, each answered with 503
SPARE_FILES = 64  # descriptors for everything that is no connection
SHORT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ACCEPT_RETRY_S = 0.05  # between two looks whether there are descriptors again
RECENT_S = 0.5  # how long a kept connection is left open in a drain after its last answer: proxies use the latest one first
SILENT_S = 1.0  # after which a connection that never sent a byte makes room for another
PACE_S = 0.0005  # after a connection, for a process that has more than the others: one of them takes the next
PROBE_AFTER_S, PROBE_EVERY_S, PROBES = 60, 15, 4  # TCP keep-alive: detects callers that vanished
BUSY = http1.response_head(503, [("content-length", "0"), ("retry-after", "1"), ("connection", "close")])


def file_limit() -> int:
    """How many descriptors this process may have."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError, ValueError):
        return sys.maxsize
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def budget(max_connections: int, files: int) -> int:
    """Callers at once: each may need a descriptor of its own and one for its upstream.

    budget(4096, 1024) -> 480;  budget(100, 1024) -> 100
    """
    return max(1, min(max_connections, (files - SPARE_FILES) // 2))


async def listeners(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """One socket for each address of `host`; with port 0 all get the same. OSError when none can be bound.

    They listen with the server that accepts from them (`Server.listen`): what the system connects before, would wait in vain
    where another gateway could answer. `reuse_port`: others may listen there too, and the system deals connections out to them.
    """
    infos = await asyncio.get_running_loop().getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    failed: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(infos):
        with_port = (address[0], made[0].getsockname()[1] if made else port, *address[2:])
        try:
            made.append(listener(family, with_port, reuse_port=reuse_port))
        except OSError as error:
            failed = failed or error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    if made and (failed is None or failed.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)):
        return made  # a machine without IPv6 may still resolve an IPv6 address
    for each in made:
        each.close()
    raise failed or OSError(errno.EADDRNOTAVAIL, "no such address")


def listener(family: int, address: tuple[Any, ...], *, reuse_port: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sys.platform != "win32":  # there it would let others take the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # without it they could do so by that option of theirs
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe_peers(made)
        made.setblocking(False)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def probe_peers(sock: socket.socket) -> None:
    """TCP keep-alive; on Linux what a listener has, accepted connections inherit."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", PROBE_AFTER_S), ("TCP_KEEPINTVL", PROBE_EVERY_S), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def accept_from(listening: socket.socket) -> tuple[socket.socket, Any]:
    """The next connection. Cancelling it loses none.

    The loop's own sock_accept may take a connection and then find that it was cancelled.
    """
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        return await loop.sock_accept(listening)
    while True:
        try:
            sock, address = listening.accept()
        except (BlockingIOError, InterruptedError):
            await readable(loop, listening)
        else:
            sock.setblocking(False)
            return sock, address


async def readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    waiter = loop.create_future()
    loop.add_reader(sock, lambda: None if waiter.done() else waiter.set_result(None))
    try:
        await waiter
    finally:
        loop.remove_reader(sock)


def turn_away(sock: socket.socket) -> None:
    """The answer to a caller for which there is no room."""
    with suppress(OSError), sock:
        sock.setblocking(False)
        sock.send(BUSY)
        sock.shutdown(socket.SHUT_WR)


class Server:
    """Listening sockets, the connections that came from them, and how many there may be."""

    def __init__(
        self, app: App, *, max_connections: int = 4_096, limits: http1.Limits = http1.LIMITS,
        timeouts: ServerTimeouts = SERVER_TIMEOUTS, max_per_address: int = 0,
    ) -> None:  # fmt: skip
        """`max_per_address`: connections of one address at once; 0 for as many as in all."""
        self._max_per_address = max_per_address
        self._addresses: Counter[str] = Counter()  # connections of each, while they are limited
        self.app, self.limits, self.timeouts = app, limits, timeouts
        self.draining = False
        self._max_connections = self._budget = max_connections
        self._connections: dict[Connection, None] = {}  # in the order they came
        self._idle: dict[Connection, float] = {}  # since when; in that order
        self._silent: dict[Connection, float] = {}  # have no whole request, since when; in that order
        self._making: set[asyncio.Task[None]] = set()  # accepted, not yet connections
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._change: asyncio.Event = asyncio.Event()  # a connection is gone
        self._spare: socket.socket | None = None  # a descriptor for the moment when there is none
        self._shares: Shares | None = None  # where other processes accept from the same sockets

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._connections) + len(self._making)

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port, a free one for 0. OSError when the address cannot be bound."""
        sockets = await listeners(host, port)
        self.listen(sockets)
        return int(sockets[0].getsockname()[1])

    def listen(self, sockets: list[socket.socket], shares: Shares | None = None) -> None:
        """Listens and accepts at sockets that are bound; they are closed with the server. `shares`: other processes do so, too.

        OSError where another process listens there since they were bound.
        """
        for each in sockets:
            each.listen(BACKLOG)
        self._listening = sockets
        self._budget = budget(self._max_connections, file_limit())
        self._shares = shares
        if shares is not None:
            shares.set(0)
        self._spare = socket.socket()
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets]

    async def drain(self, limit_s: float) -> None:
        """Stops accepting; open requests may end until the limit, then they are cancelled."""
        self.draining = True
        await self._stop_accepting()
        for connection in tuple(self._connections):
            self._drain(connection)
        try:
            async with asyncio.timeout(limit_s):
                while self.open:
                    await self._next_change()
        except TimeoutError:
            await self._abort_all()

    def _drain(self, connection: Connection) -> None:
        """One that has just come gets a moment for its request: it is on its way, and nothing else would answer it.

        So does one that has just answered: the next request may be written at the moment when it is closed, and a proxy does
        not send a POST again. Its answer says `connection: close`.
        """
        loop = asyncio.get_running_loop()
        left_s = max(self._silent.get(connection, 0.0) + SILENT_S, self._idle.get(connection, 0.0) + RECENT_S) - loop.time()
        if left_s > 0:
            loop.call_later(left_s, connection.drain)
        else:
            connection.drain()

    async def _stop_accepting(self) -> None:
        if self._shares is not None:
            self._shares.leave()
            self._shares = None
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._accepting = []
        for listening in self._listening:
            with listening, suppress(OSError):  # closing would reset those that the system has connected already
                while self.open < self._room + OVERFLOW:
                    self._take(*listening.accept())
        self._listening = []
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    async def _abort_all(self) -> None:
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for connection in tuple(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        await asyncio.sleep(0)  # lets the connections see that they are lost

    # -- accepting

    async def _accept(self, listening: socket.socket) -> None:
        """Accepts connections until cancelled. A lack of system resources does not end the loop."""
        while True:
            while self.open >= self._room + OVERFLOW and not self._make_room():
                await self._next_change(SILENT_S)
            try:
                sock, address = await accept_from(listening)
            except OSError as error:
                if error.errno in SHORT_OF_FILES:
                    await self._short_of_files(listening)
                continue
            self._take(sock, address)
            if self._shares is not None:
                await self._pace(self._shares)

    def _take(self, sock: socket.socket, address: Any) -> None:
        """Makes a connection of one that was accepted, where there is room for its caller."""
        sock.setblocking(False)
        client = str(address[0]) if address else ""  # a Unix socket's has no address
        if self._is_crowded(client):
            turn_away(sock)
            return
        task = asyncio.get_running_loop().create_task(self._connect(sock, client))
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        while self.open > self._room and self._make_room():
            pass

    async def _pace(self, shares: Shares) -> None:
        """Leaves the next connection to another process, where this one has more than its share."""
        shares.set(self.open)
        if shares.is_ahead:
            await asyncio.sleep(PACE_S)

    async def _connect(self, sock: socket.socket, client: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self, loop, client), sock)
        except OSError:
            sock.close()  # gone already
            self._left(client)
        self._change.set()

    def _is_crowded(self, client: str) -> bool:
        """Whether an address has all the connections that it may have; else this one is counted."""
        if not self._max_per_address:
            return False
        if self._addresses[client] >= self._max_per_address:
            return True
        self._addresses[client] += 1
        return False

    def _left(self, client: str) -> None:
        if client in self._addresses:
            self._addresses[client] -= 1
            if not self._addresses[client]:
                del self._addresses[client]

    def _make_room(self) -> bool:
        """Closes the connection that was idle longest, else one that was always silent; False when there is none."""
        connection = next(iter(self._idle), None) or self._longest_silent()
        if connection is None:
            return False
        self.mark_busy(connection)
        self._connections.pop(connection, None)  # counted out now, though the loop closes it a moment later
        connection.close()
        return True

    def _longest_silent(self) -> Connection | None:
        """Not one that has just come: its first bytes may be here, not read yet."""
        connection, since = next(iter(self._silent.items()), (None, 0.0))
        return connection if asyncio.get_running_loop().time() - since >= SILENT_S else None

    async def _short_of_files(self, listening: socket.socket) -> None:
        """No descriptor is left: the waiting caller gets a 503 through the spare one."""
        while self._make_room():
            pass
        if self._spare is not None:
            self._spare.close()
            self._spare = None
            self._turn_away(listening)
        await asyncio.sleep(ACCEPT_RETRY_S)
        with suppress(OSError):
            self._spare = self._spare or socket.socket()

    def _turn_away(self, listening: socket.socket) -> None:
        with suppress(OSError):
            turn_away(listening.accept()[0])

    async def _next_change(self, limit_s: float | None = None) -> None:
        self._change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._change.wait()

    # -- called by connections

    def register(self, connection: Connection) -> None:
        self._connections[connection] = None
        self._silent[connection] = asyncio.get_running_loop().time()
        connection.is_surplus = self.is_over_budget
        if self.draining:
            self._drain(connection)

    def unregister(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self.mark_busy(connection)
        self._left(connection.client)
        if self._shares is not None:
            self._shares.set(self.open)
        self._change.set()

    def mark_idle(self, connection: Connection, now: float) -> None:
        self._idle[connection] = now
        if self.draining:
            self._drain(connection)

    def mark_begun(self, connection: Connection) -> None:
        """The head of a request has begun to come: until it is here, the connection is silent as far as we can use it."""
        self._idle.pop(connection, None)
        self._silent.setdefault(connection, asyncio.get_running_loop().time())

    def mark_busy(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._silent.pop(connection, None)

    @property
    def _room(self) -> int:
        """The connections that this process may have now."""
        if self._shares is None:
            return self._budget
        return min(self._budget, self._max_connections - self._shares.others)

    @property
    def is_over_budget(self) -> bool:
        return len(self._connections) > self._room

    def report(self, error: Exception) -> None:
        """Reports a fault of the application to the loop's exception handler."""
        context = {"message": "the application failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
