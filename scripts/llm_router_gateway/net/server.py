"""The listener: callers' bytes become exchanges, one task each; answers go back in the order of the requests.

    server = Server(app, max_connections=4096)
    port = await server.start("127.0.0.1", 8000)     OSError when the address cannot be had
    await server.drain(30.0)                         no new requests; what is open may end until the limit

    async def app(exchange):                         cancelled as soon as the caller's connection is lost
        body = await exchange.read_body(1_000_000)   TooLarge, RequestTooSlow, Malformed
        await exchange.respond(200, [("content-type", "text/plain")], body)

What is wrong before there is an exchange (400, 408, 414, 431, 501, 503, 505) is answered here, in plain text. After an
answer that left part of the request unread the connection is closed, slowly: so that the caller can read the answer.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

from ..errors import GatewayError, RequestTooSlow, TooLarge, Unavailable
from . import http1
from .deadline import Deadline
from .http1 import END, Headers, Malformed, RequestHead

HEAD_S = 20.0       # for a whole head, from its first byte
IDLE_S = 75.0       # between two requests; nginx's default
BODY_S = 30.0       # for a body, and a second more for each BODY_RATE bytes
BODY_RATE = 1_024   # bytes a second that a body must come at, on average
STALL_S = 120.0     # a caller that reads nothing of what waits for it
LINGER_S = 2.0      # reading on after an answer that left part of the request unread
LINGER_BYTES = 16_777_216  # as long as this is not reached

READ_AHEAD = 65_536       # bytes of a request that nobody asked for yet
WRITE_HIGH = 32_768       # bytes waiting for a caller that reads slowly; then `send` waits
WRITE_LOW = 8_192
BACKLOG = 1_024           # connections waiting to be accepted; the system may allow fewer
OVERFLOW = 64             # connections above the budget, each answered with 503
SPARE_FILES = 64          # descriptors for everything that is no connection
SHORT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ACCEPT_RETRY_S = 0.05     # between two looks whether there are descriptors again
SILENT_S = 1.0            # after which a connection that never said anything makes room for another
PROBE_AFTER_S, PROBE_EVERY_S, PROBES = 60, 15, 4  # TCP keep-alive: a caller that vanished without a word

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

BUSY = http1.response_head(503, [("content-length", "0"), ("retry-after", "1"), ("connection", "close")])


class Patience(NamedTuple):
    """How long callers may take, in seconds."""

    head_s: float = HEAD_S
    body_s: float = BODY_S
    idle_s: float = IDLE_S
    stall_s: float = STALL_S
    linger_s: float = LINGER_S


PATIENCE = Patience()


def http_date(at: int) -> str:
    """http_date(784111777) -> "Sun, 06 Nov 1994 08:49:37 GMT", in any locale. RFC 9110 5.6.7."""
    when = time.gmtime(at)
    day = f"{DAYS[when.tm_wday]}, {when.tm_mday:02} {MONTHS[when.tm_mon - 1]} {when.tm_year}"
    return f"{day} {when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} GMT"


class Stamp:
    """The date header, made once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def text(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, f"date: {http_date(now)}\r\n"
        return self._text


STAMP = Stamp()


def answer_head(status: int, headers: Headers, extra: str) -> bytes:
    """As http1.response_head, with the date and with `extra` lines of our own."""
    text = http1.status_line(status) + STAMP.text() + http1.fields_text(headers) + extra
    return (text + "\r\n").encode("latin-1")


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is longer than {limit} bytes", details={"limit_bytes": limit})


# --------------------------------------------------------------------------------------------------------- one exchange


class Exchange:
    """One request and the way back to its caller. Header names are in lower case, each once."""

    __slots__ = (
        "_connection", "_error", "_framed", "_head", "_is_chunked", "_keep_alive", "_length", "_pieces", "_size",
        "_waiter", "_waits_for_body", "body_done", "client", "ended", "expects", "headers", "limit", "method", "path",
        "query", "started",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self.method, self.path, self.query, self.headers = head.method, head.path, head.query, head.headers
        self.client = connection.client
        self.started = self.ended = self.body_done = False
        self.expects = head.expects
        self.limit: int | None = None  # of the body; None while nobody asked for it
        self._connection = connection
        self._length, self._keep_alive = head.length, head.keep_alive
        self._is_chunked = head.minor >= 1
        self._pieces: list[bytes] = []
        self._size = 0
        self._error: GatewayError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""  # of a streamed answer; goes out with its first bytes
        self._framed = self._is_chunked

    # -- the request's body, from the connection

    def take(self, piece: bytes) -> bool:
        """A piece of the body. False: no more of it, for now."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self.limit is None:
            return self._size <= READ_AHEAD
        if self._size > self.limit:
            self.fail(too_large(self.limit))
            return False
        return True

    def body_ended(self) -> None:
        self.body_done = True
        self._wake()

    def fail(self, error: GatewayError) -> None:
        """The rest of the body will not come."""
        self._error = self._error or error
        self._wake()

    @property
    def failed(self) -> bool:
        return self._error is not None

    @property
    def size(self) -> int:
        return self._size

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- what the application calls

    async def read_body(self, limit: int) -> bytes:
        """The whole body. TooLarge above `limit` bytes, RequestTooSlow, or Malformed when its framing is broken."""
        self.limit = limit
        if self._length > limit or self._size > limit:
            raise too_large(limit)
        if not self.body_done:
            await self._rest_of_body()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        return data

    async def _rest_of_body(self) -> None:
        while not self.body_done:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            self._connection.want_body(self)
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer. HEAD and 204 get no body; content-length and date are added here."""
        has_body = http1.has_body(self.method, status)
        length = f"content-length: {len(body)}\r\n" if has_body or self.method == "HEAD" else ""
        head = answer_head(status, headers, length + self._fate())
        self.started = self.ended = True
        connection = self._connection
        connection.transport.write(head + body if has_body else head)
        if connection.is_paused:
            await connection.drained()

    def start(self, status: int, headers: Headers) -> None:
        """The head of an answer whose body follows; it goes out with the first bytes of that."""
        has_body = http1.has_body(self.method, status)
        if has_body and not self._is_chunked:
            self._keep_alive = False  # HTTP/1.0: the connection's end is the body's
        self._framed = has_body and self._is_chunked
        framing = "transfer-encoding: chunked\r\n" if self._framed else ""
        self._head = answer_head(status, headers, framing + self._fate())
        self.started = True

    async def send(self, data: bytes) -> None:
        """A piece of the body; waits while the caller reads too slowly."""
        connection = self._connection
        if data or self._head:
            connection.transport.write(self._bytes_of(data))
            if connection.is_paused:
                await connection.drained()

    @property
    def is_free(self) -> bool:
        """Whether the caller has read all that was written."""
        return not self._connection.has_unsent

    def write_now(self, data: bytes) -> bool:
        """Without waiting; False, and nothing written, when the caller is not reading."""
        if self._connection.has_unsent:
            return False
        self._connection.transport.write(self._bytes_of(data))
        return True

    async def end(self) -> None:
        """The answer is whole."""
        if self.ended:
            return
        last = http1.LAST_CHUNK if self._framed else b""
        data = self._bytes_of(b"") + last
        self.ended = True
        if data:
            self._connection.transport.write(data)
            await self._connection.drained()

    def _bytes_of(self, data: bytes) -> bytes:
        """A piece with its framing, and with the head when it is the first."""
        if data and self._framed:
            data = http1.chunk(data)
        elif self.method == "HEAD":
            data = b""
        if self._head:
            data, self._head = self._head + data, b""
        return data

    def _fate(self) -> str:
        """What the answer says about the connection."""
        if not self.keeps_connection:
            return "connection: close\r\n"
        return "" if self._is_chunked else "connection: keep-alive\r\n"  # HTTP/1.0 has to be told

    @property
    def keeps_connection(self) -> bool:
        return self._keep_alive and self.body_done and not self._connection.server.draining


App = Callable[[Exchange], Awaitable[None]]


# -------------------------------------------------------------------------------------------------------- one connection


class Connection(asyncio.Protocol):
    """One caller: requests one after the other, the next one read when the last is answered."""

    __slots__ = (
        "_body_began", "_deadline", "_drained", "_dropped", "_exchange", "_head_began", "_is_cancelled", "_is_reading",
        "_lingers", "_loop", "_reader", "_stalled_at", "_task", "client", "is_paused", "is_surplus", "server", "transport",
    )  # fmt: skip

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, client: str) -> None:
        self.server, self.client = server, client
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self._loop = loop
        self._reader = http1.RequestReader(server.limits)
        self._deadline = Deadline(loop.call_at, loop.time, self._on_time)
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._head_began = self._lingers = False
        self.is_paused = False  # the caller reads more slowly than we write
        self._is_reading = True
        self._is_cancelled = False
        self._body_began = 0.0
        self._stalled_at = 0     # bytes that waited when the caller was last looked at
        self._dropped = 0        # bytes that came while we linger
        self.is_surplus = False  # there were too many when it came

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self.server.opened(self)
        self._deadline.set(self.server.patience.head_s)

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            self._drop(data)
            return
        self._reader.feed(data)
        exchange = self._exchange
        if exchange is None:
            self._next_request()
        elif not exchange.body_done and not exchange.failed:
            self._read_body(exchange)
        elif self._reader.buffered > READ_AHEAD:
            self._stop_reading()

    def eof_received(self) -> bool:
        """A caller that will say no more is gone; one that only half-closes looks the same, and nobody's client does."""
        self._cancel()
        return False  # the transport closes, once what is written is sent

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.stop()
        self.server.closed(self)
        self._cancel()
        self._exchange = None

    def _cancel(self) -> None:
        """Ends the application's run, once: a second time would cut its cleaning up short."""
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()

    def pause_writing(self) -> None:
        self.is_paused = True
        self._stalled_at = self.transport.get_write_buffer_size()
        self._deadline.set(self.server.patience.stall_s)

    def resume_writing(self) -> None:
        self.is_paused = False
        self._deadline.clear()
        exchange = self._exchange
        if exchange is not None and exchange.limit is not None and not exchange.body_done:
            self._time_body(exchange)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- requests

    def _next_request(self) -> None:
        """The next one, when its head is here."""
        try:
            head = self._reader.next()
        except Malformed as error:
            self._refuse(error)
            return
        if head is None:
            self._wait_for_head()
            return
        self._head_began = False
        self._deadline.clear()
        if self.is_surplus and self.server.is_over_budget:
            self._refuse(Unavailable("too many connections; try again", retry_after_s=1))
            return
        exchange = self._exchange = Exchange(self, cast(RequestHead, head))
        self._body_began = self._loop.time()
        self._read_body(exchange)
        self.server.busy(self)
        self._task = self._loop.create_task(self._answer(exchange))

    def _wait_for_head(self) -> None:
        """The clock runs from a head's first byte: dripping does not move it."""
        if self._reader.buffered and not self._head_began:
            self._head_began = True
            self.server.busy(self)
            self._deadline.set(self.server.patience.head_s)

    def _read_body(self, exchange: Exchange) -> None:
        reader, more = self._reader, True
        try:
            while more:
                item = reader.next()
                if item is None:
                    break
                if item is END:
                    exchange.body_ended()
                    self._deadline.clear()
                    return
                more = exchange.take(cast(bytes, item))
        except Malformed as error:
            exchange.fail(error)
        if not more or exchange.failed:
            self._stop_reading()
        elif exchange.limit is not None:
            self._time_body(exchange)

    def want_body(self, exchange: Exchange) -> None:
        """The application waits for the rest of the body."""
        if exchange.expects and not exchange.size:
            self.transport.write(http1.CONTINUE)
        exchange.expects = False
        self._go_on_reading()
        self._time_body(exchange)
        self._read_body(exchange)

    def _time_body(self, exchange: Exchange) -> None:
        """A floor under the speed: bytes that drip do not keep a connection for ever."""
        due = self._body_began + self.server.patience.body_s + exchange.size / BODY_RATE
        self._deadline.set(max(due - self._loop.time(), 0.0))

    async def _answer(self, exchange: Exchange) -> None:
        """The application's run for one request, and what follows from how it ended."""
        try:
            await self.server.app(exchange)
            if not exchange.ended:
                raise RuntimeError("the application left a request without its whole answer")
        except asyncio.CancelledError:
            self.abort()
        except Exception as error:
            self.server.report(error)
            await self._after_fault(exchange)
        finally:
            self._task = self._exchange = None
        self._answered(exchange)

    async def _after_fault(self, exchange: Exchange) -> None:
        if not exchange.started:
            await exchange.respond(500, [], b"")
        elif not exchange.ended:
            self.abort()  # no end is written: the caller sees that something is missing

    def _answered(self, exchange: Exchange) -> None:
        if self.transport.is_closing():
            return
        if not exchange.body_done:
            self._linger()
        elif not exchange.keeps_connection:
            self.close()
        else:
            self._go_on_reading()
            self.server.idle(self)
            self._deadline.set(self.server.patience.idle_s)
            if self._reader.buffered:
                self._next_request()

    # -- the end

    def _refuse(self, error: GatewayError) -> None:
        """An answer to what is no request that an application could see."""
        body = (error.message + "\n").encode()
        extra = [("content-type", "text/plain; charset=utf-8"), ("connection", "close")]
        if error.retry_after_s is not None:
            extra.append(("retry-after", f"{error.retry_after_s:g}"))
        self.transport.write(answer_head(error.status, extra, f"content-length: {len(body)}\r\n") + body)
        self._linger()

    def _linger(self) -> None:
        """Nothing more is said; what still comes is dropped, for closing now could take the answer away (a reset)."""
        self._lingers = True
        self._go_on_reading()
        self.server.busy(self)
        with suppress(OSError, NotImplementedError):
            self.transport.write_eof()
        self._deadline.set(self.server.patience.linger_s)

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES:
            self._stop_reading()

    def _on_time(self) -> None:
        exchange = self._exchange
        if self.is_paused or self.transport.is_closing():
            self._check_stall()
        elif self._lingers:
            self.abort()
        elif exchange is not None:
            exchange.fail(RequestTooSlow("the body came too slowly"))
        elif self._head_began:
            self._refuse(RequestTooSlow("the request's head came too slowly"))
        else:
            self.close()

    def _check_stall(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting >= self._stalled_at:
            self.abort()
            return
        self._stalled_at = waiting
        self._deadline.set(self.server.patience.stall_s)

    def drain(self) -> None:
        """No further request: an idle connection is closed now, another after its answer."""
        if self._exchange is None and not self._reader.buffered and not self._lingers:
            self.close()

    def close(self) -> None:
        """Once what waits for the caller is sent, if it is read in time."""
        self.transport.close()
        self._stalled_at = self.transport.get_write_buffer_size()
        self._deadline.set(self.server.patience.stall_s)

    def abort(self) -> None:
        self.transport.abort()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The application's run, while there is one."""
        return self._task

    # -- flow control

    @property
    def has_unsent(self) -> bool:
        return self.is_paused or self.transport.get_write_buffer_size() > 0

    async def drained(self) -> None:
        """Waits until the caller has read most of what waits for it."""
        while self.is_paused:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    def _stop_reading(self) -> None:
        if self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self.transport.pause_reading()

    def _go_on_reading(self) -> None:
        if not self._is_reading and not self.transport.is_closing():
            self._is_reading = True
            self.transport.resume_reading()


# --------------------------------------------------------------------------------------------------------- the listener


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


async def listeners(host: str, port: int) -> list[socket.socket]:
    """One listening socket for each address of `host`; with port 0 all get the same. OSError when none can be had."""
    infos = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[socket.socket] = []
    failed: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(infos):
        with_port = (address[0], made[0].getsockname()[1] if made else port, *address[2:])
        try:
            made.append(listener(family, with_port))
        except OSError as error:
            failed = failed or error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    if made and (failed is None or failed.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)):
        return made  # a machine without IPv6 has a name for it all the same
    for each in made:
        each.close()
    raise failed or OSError(errno.EADDRNOTAVAIL, "no such address")


def listener(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let others take the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe_peers(made)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
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


class Server:
    """Listening sockets, the connections that came from them, and how many there may be."""

    def __init__(
        self, app: App, *, max_connections: int = 4_096, limits: http1.Limits = http1.LIMITS,
        patience: Patience = PATIENCE,
    ) -> None:  # fmt: skip
        self.app, self.limits, self.patience = app, limits, patience
        self.draining = False
        self._max_connections = self._budget = max_connections
        self._connections: dict[Connection, None] = {}  # in the order they came
        self._idle: dict[Connection, None] = {}         # in the order they fell idle
        self._silent: dict[Connection, float] = {}      # never said anything, since when; in that order
        self._making: set[asyncio.Task[None]] = set()   # accepted, not yet connections
        self._accepting: list[asyncio.Task[None]] = []
        self._change: asyncio.Event = asyncio.Event()   # a connection is gone
        self._spare: socket.socket | None = None        # a descriptor for the moment when there is none

    @property
    def open(self) -> int:
        """Connections there are."""
        return len(self._connections) + len(self._making)

    async def start(self, host: str, port: int) -> int:
        """Listens; the port, which matters when 0 was asked for. OSError when the address cannot be had."""
        self._budget = budget(self._max_connections, file_limit())
        sockets = await listeners(host, port)
        self._spare = socket.socket()
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets]
        return int(sockets[0].getsockname()[1])

    async def drain(self, limit_s: float) -> None:
        """Stops accepting; open requests may end until the limit, then they are cancelled."""
        self.draining = True
        await self._stop_accepting()
        for connection in tuple(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(limit_s):
                while self.open:
                    await self._next_change()
        except TimeoutError:
            await self._abort_all()

    async def _stop_accepting(self) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._accepting = []
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
        """For as long as we serve. What the system cannot give us ends no loop."""
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                while self.open >= self._budget + OVERFLOW and not self._make_room():
                    await self._next_change(SILENT_S)
                try:
                    sock, address = await loop.sock_accept(listening)
                except OSError as error:
                    if error.errno in SHORT_OF_FILES:
                        await self._short_of_files(listening)
                    continue
                task = loop.create_task(self._connect(sock, str(address[0])))
                self._making.add(task)
                task.add_done_callback(self._making.discard)
                while self.open > self._budget and self._make_room():
                    pass

    async def _connect(self, sock: socket.socket, client: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self, loop, client), sock)
        except OSError:
            sock.close()  # gone already
        self._change.set()

    def _make_room(self) -> bool:
        """Closes the connection that was idle longest, else one that was always silent; False when there is none."""
        connection = next(iter(self._idle), None) or self._longest_silent()
        if connection is None:
            return False
        self.busy(connection)
        self._connections.pop(connection, None)  # counted out now, though the loop closes it a moment later
        connection.close()
        return True

    def _longest_silent(self) -> Connection | None:
        """Not one that has just come: its first bytes may be here, not read yet."""
        connection, since = next(iter(self._silent.items()), (None, 0.0))
        return connection if asyncio.get_running_loop().time() - since >= SILENT_S else None

    async def _short_of_files(self, listening: socket.socket) -> None:
        """No descriptor is left: the caller at the door is told so with the spare one."""
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
            sock, _ = listening.accept()
            with sock:
                sock.setblocking(False)
                sock.send(BUSY)
                sock.shutdown(socket.SHUT_WR)

    async def _next_change(self, limit_s: float | None = None) -> None:
        self._change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._change.wait()

    # -- what connections tell

    def opened(self, connection: Connection) -> None:
        self._connections[connection] = None
        self._silent[connection] = asyncio.get_running_loop().time()
        connection.is_surplus = self.is_over_budget

    def closed(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self.busy(connection)
        self._change.set()

    def idle(self, connection: Connection) -> None:
        self._idle[connection] = None

    def busy(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._silent.pop(connection, None)

    @property
    def is_over_budget(self) -> bool:
        return len(self._connections) > self._budget

    def report(self, error: Exception) -> None:
        """A fault of the application, for whoever watches the loop."""
        context = {"message": "the application failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
