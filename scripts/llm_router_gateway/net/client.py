"""Connections to providers: kept for the next request, verified, proxied, each phase with its own time limit.

    pool = Pool()
    response = await pool.request("POST", url, headers, body, timeouts=Timeouts(10, 600, 600), proxy="")
    response.status, response.headers            as soon as the head is here
    async for piece in response.pieces(): ...    as they come, out of their chunks; StreamCut when the end is missing
    await response.read(1_000_000)               the rest as a whole
    response.close()                             always; a body that was not read to its end costs the connection
    await pool.close()

UpstreamFailed and UpstreamTimeout name the host and the failure; never a query, a header or a body. An idle connection that
turns out to be closed is replaced once, and only when that shows at once, before a byte of an answer. While the pieces are not
fetched, reading pauses: a slow caller slows the upstream.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from ..errors import BadRequest, GatewayError, StreamCut, Unavailable, UpstreamFailed, UpstreamTimeout
from . import http1
from .deadline import Deadline
from .http1 import END, CutShort, Headers, Malformed, ResponseHead
from .origin import DEFAULT_PORTS, Origin, address_of, is_loopback
from .tunnels import open_through_proxy, proxy_credentials

READ_BYTES = 65_536  # one read; also roughly what is buffered for a slow caller, beside READ_AHEAD
READ_AHEAD = 65_536  # unread bytes of an answer; above this, reading pauses
WRITE_HIGH = 65_536
IDLE_S = 60.0  # how long an unused connection is kept; servers close theirs after 5 to 350 s
STALE_S = 5.0  # an end that comes later is none that crossed the request: the upstream had it, and may have worked on it
MAX_IDLE = 256  # unused connections to one address
NEXT_ADDRESS_S = 0.25  # then the name's next address is tried as well; RFC 8305 5
KNOWN_URLS = 256  # cached origins
SHORT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


class Timeouts(NamedTuple):
    """Seconds: to connect (name, TCP, proxy, TLS), until an answer begins, between two reads of it."""

    connect_s: float
    first_byte_s: float
    between_bytes_s: float


class StaleConnection(Exception):
    """An idle connection was closed as the request was sent: it may use another one."""


# ------------------------------------------------------------------------------------------------------------------ pure


@lru_cache(maxsize=KNOWN_URLS)
def origin_of(base: str, proxy: str) -> Origin:
    """origin_of("https://h:8443", "") -> Origin("https", "h", 8443, ""); loopback loses its proxy."""
    try:
        parts = urlsplit(base)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("http", "https"):
        raise mark_unsent(UpstreamFailed("the provider's base_url is not http://... or https://..."))
    return Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], "" if is_loopback(host) else proxy)


def mark_unsent(error: GatewayError) -> GatewayError:
    """The error of a request of which the upstream has seen nothing."""
    error.unpaid = True
    return error


def split_url(url: str) -> tuple[str, str]:
    """split_url("http://h/a?b") -> ("http://h", "/a?b"). Only the first half may be remembered."""
    start = url.find("/", url.find("://") + 3)
    return (url[:start], url[start:]) if start > 0 else (url, "/")


def request_bytes(method: str, origin: Origin, target: str, headers: Headers, body: bytes) -> bytes:
    """The whole request. BadRequest for a path or header that cannot be sent."""
    length = f"content-length: {len(body)}\r\n" if body or method not in ("GET", "HEAD") else ""
    try:
        first = head_start(method, origin, target) if "?" in target else cached_head_start(method, origin, target)
        return f"{first}{length}{http1.fields_text(headers)}\r\n".encode("latin-1") + body
    except ValueError as wrong:
        raise mark_unsent(BadRequest(f"{origin.name}: the request cannot be sent: {wrong}")) from None


def head_start(method: str, origin: Origin, target: str) -> str:
    """A request's first lines: all that depends on the address alone. ValueError for what cannot be sent."""
    own = [("host", origin.name)]
    if origin.proxy and origin.scheme == "http" and origin.proxy.startswith("http"):
        target = f"http://{origin.name}{target}"  # a proxy needs the absolute form; RFC 9112 3.2.2
        own += proxy_credentials(origin.proxy)
    return http1.request_line(method, target) + http1.fields_text(own)


cached_head_start = lru_cache(maxsize=KNOWN_URLS)(head_start)  # only for targets without a query, which may hold a caller's key


def reason(error: BaseException) -> str:
    """Why a connection failed, for error messages."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no common version'}"
    if isinstance(error, socket.gaierror):
        return "the host name was not found"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return "no address answered" if isinstance(error, OSError) else type(error).__name__


# -------------------------------------------------------------------------------------------------------------- answers


class Response:
    """An answer: its head, and the body as it comes.

    tap(piece) -> bool may consume a piece while a reader waits for one: the reader then never sees it, and no task wakes up.
    What tap raises is raised by the reader's wait.
    """

    __slots__ = ("_connection", "_ended", "_error", "_pieces", "_size", "_waiter", "headers", "origin", "status", "tap")

    def __init__(self, origin: Origin, head: ResponseHead, connection: Connection) -> None:
        self.status, self.headers, self.origin = head.status, head.headers, origin
        self._connection: Connection | None = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.tap: Callable[[bytes], bool] | None = None

    def header(self, name: str, default: str = "") -> str:
        """By its lower-case name."""
        for each, value in self.headers:
            if each == name:
                return value
        return default

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes: all that is here, else what comes next. StreamCut, UpstreamTimeout."""
        return self  # no generator: one that is left early would need a task to be closed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            await self._next_change()
        return self._taken()

    def _next_change(self) -> asyncio.Future[None]:
        """Resolved when a piece arrives, or the body is over."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _taken(self) -> bytes:
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._connection is not None:
            self._connection.go_on_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self, limit: int) -> bytes:
        """The rest of the body as a whole. UpstreamFailed above `limit` bytes."""
        if self._ended and self._error is None and self._size <= limit:  # as most are: all of it is here
            return self._taken()
        out: list[bytes] = []
        size = 0
        async for piece in self:
            out.append(piece)
            size += len(piece)
            if size > limit:
                raise UpstreamFailed(f"{self.origin.name}: an answer of more than {limit} bytes")
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> None:
        """Drops the rest of the body. A body that was complete has returned its connection already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # -- from the connection

    def take(self, piece: bytes) -> bool:
        """Buffers a piece; False when reading should pause."""
        if self.tap is not None and self._waiter is not None and not self._waiter.done() and self.tap(piece):
            return True
        self._pieces.append(piece)
        self._size += len(piece)
        if self._waiter is not None:
            self._wake()
        return self._size <= READ_AHEAD

    def finish(self, error: Exception | None = None) -> None:
        """The body is complete, or broke off with `error`."""
        self._ended, self._error, self._connection = True, error, None
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


# ------------------------------------------------------------------------------------------------------- one connection


class Connection(asyncio.BufferedProtocol):
    """One connection to an upstream: one request at a time, then kept for the next."""

    __slots__ = (
        "_answer", "_between_s", "_deadline", "_first_s", "_is_reading", "_keep_alive", "_loop", "_pool", "_reader",
        "_response", "_sent_at", "_transport", "_unsent", "_used", "_view", "origin",
    )  # fmt: skip

    def __init__(self, pool: Pool, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self._pool, self._loop, self._view = pool, loop, pool.buffer
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self._reader = http1.ResponseReader()
        self._deadline = Deadline(loop.call_at, loop.time, self._on_timeout)
        self._answer: asyncio.Future[Response] | None = None  # while an answer's head is waited for
        self._response: Response | None = None  # while its body comes
        self._first_s = self._between_s = self._sent_at = 0.0
        self._keep_alive = self._used = False
        self._is_reading = True
        self._unsent = 0  # bytes of the request that waited when its clock was last looked at

    async def send(self, method: str, data: bytes, timeouts: Timeouts) -> Response:
        """The answer to a request, as soon as its head is here. StaleConnection when a kept connection was closed."""
        if self._transport.is_closing():
            raise StaleConnection
        self._first_s, self._between_s = timeouts.first_byte_s, timeouts.between_bytes_s
        self._reader.expect(method)
        answer: asyncio.Future[Response] = self._loop.create_future()
        self._answer = answer
        self._sent_at = self._deadline.set(self._first_s)
        self._transport.write(data)
        self._unsent = self._transport.get_write_buffer_size()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.cancelled():
                self.abort()
            elif answer.exception() is None:  # it came in the same turn: whole, its connection may serve another by now
                answer.result().close()
            raise

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH)
        self._pool.register(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view  # one for all: what is read is taken out before the loop reads again

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._view[:nbytes])
        if self._response is not None and (piece := self._reader.lone_chunk(data)):
            self._take(piece)
            if self._is_reading:
                self._deadline.set(self._between_s)
            return
        self._reader.feed(data)
        if self._answer is None and self._response is None:
            self.abort()  # no request is open: the bytes could be taken for the next answer
            return
        self._read()

    def eof_received(self) -> bool:
        self._reader.feed_end()
        if self._response is not None or self._reader.buffered:
            self._read()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.stop()
        self._pool.unregister(self)
        is_stale = self._used and not self._reader.has_begun and self._loop.time() - self._sent_at < STALE_S
        wrong = f"{self.origin.name}: the connection was closed without an answer{f' ({reason(exc)})' if exc else ''}"
        self._refuse(StaleConnection() if is_stale else UpstreamFailed(wrong))
        self._cut(StreamCut(f"{self.origin.name}: the connection was closed in the middle of an answer"))

    # -- answers

    def _read(self) -> None:
        try:
            while (item := self._reader.next()) is not None:
                if type(item) is bytes:
                    self._take(item)
                elif item is END:
                    self._ended()
                    return
                else:
                    self._begin(cast(ResponseHead, item))
                    if (body := self._reader.whole_body()) is not None:  # as of most answers that are no streams
                        if body:
                            self._take(body)
                        self._ended()
                        return
        except Malformed as error:
            self._broken(error)
            return
        if self._response is not None and self._is_reading:
            self._deadline.set(self._between_s)

    def _begin(self, head: ResponseHead) -> None:
        self._keep_alive = head.keep_alive
        answer, self._answer = self._answer, None
        if answer is None or answer.done():  # its request was cancelled in this turn
            self.abort()
            return
        self._response = Response(self.origin, head, self)
        answer.set_result(self._response)

    def _take(self, piece: bytes) -> None:
        if self._response is None:
            return
        try:
            wants_more = self._response.take(piece)
        except Exception as error:
            self._cut(error)
            self.abort()
            return
        if not wants_more and self._is_reading:
            self._is_reading = False
            self._deadline.clear()  # the upstream is not slow: the caller is
            self._transport.pause_reading()

    def go_on_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._deadline.set(self._between_s)
            self._transport.resume_reading()

    def _ended(self) -> None:
        response, self._response = self._response, None
        if not self._is_reading:
            self.go_on_reading()
        reusable = self._keep_alive and not self._reader.buffered and not self._transport.get_write_buffer_size()
        if reusable and not self._transport.is_closing() and self._pool.keep(self):
            self._used = True
            self._deadline.set(IDLE_S)
        else:
            self._deadline.clear()
            self.abort()
        if response is not None:
            response.finish()

    def _broken(self, error: Malformed) -> None:
        what = f"the answer is not HTTP/1.1: {error.message}"
        if isinstance(error, CutShort):  # an upstream that died is no upstream that speaks something else
            what = "the connection was closed in the middle of an answer"
        wrong = f"{self.origin.name}: {what}"
        self._cut(StreamCut(wrong))
        self._refuse(UpstreamFailed(wrong))
        self.abort()

    def _refuse(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _cut(self, error: Exception) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.finish(error)

    # -- time, and the end

    def _on_timeout(self) -> None:
        if self._answer is not None:
            self._check_first_byte()
        elif self._response is not None:
            self._cut(UpstreamTimeout(f"{self.origin.name}: nothing came for {self._between_s:g} s"))
            self.abort()
        else:
            self.abort()  # unused for long enough

    def _check_first_byte(self) -> None:
        """The timeout runs from the end of the request: a long body on a slow line takes its time."""
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent = unsent
            self._deadline.set(self._first_s)
            return
        self._refuse(UpstreamTimeout(f"{self.origin.name}: no answer began within {self._first_s:g} s"))
        self.abort()

    def abort(self) -> None:
        """Closes at once and drops unsent data."""
        self._pool.forget(self)
        self._transport.abort()


# -------------------------------------------------------------------------------------------------------------- the pool


class Pool:
    """All connections to upstreams."""

    def __init__(self, *, tls: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[Origin, list[Connection]] = {}  # the last used is the first reused
        self._connections: set[Connection] = set()
        self._closing = False

    @property
    def open(self) -> int:
        """The number of open connections, in use or idle."""
        return len(self._connections)

    async def request(
        self, method: str, url: str, headers: Headers, body: bytes, *, timeouts: Timeouts, proxy: str = ""
    ) -> Response:
        """The answer's head; its body comes with the Response. UpstreamFailed, UpstreamTimeout, Unavailable."""
        base, target = split_url(url)
        origin = origin_of(base, proxy)
        data = request_bytes(method, origin, target, headers, body)
        kept = self._idle.get(origin)
        if kept:
            try:
                return await kept.pop().send(method, data, timeouts)
            except StaleConnection:
                pass
        try:
            return await (await self._connect(origin, timeouts.connect_s)).send(method, data, timeouts)
        except StaleConnection:
            raise UpstreamFailed(f"{origin.name}: the connection was closed without an answer") from None

    async def close(self) -> None:
        """Drops every connection."""
        self._closing = True
        for connection in tuple(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)

    # -- connecting

    async def _connect(self, origin: Origin, limit_s: float) -> Connection:
        try:
            async with asyncio.timeout(limit_s):
                return await self._open_or_make_room(origin)
        except TimeoutError:
            raise mark_unsent(UpstreamTimeout(f"{origin.name}: no connection within {limit_s:g} s")) from None
        except (OSError, UnicodeError, Malformed) as error:
            if isinstance(error, OSError) and error.errno in SHORT_OF_FILES:
                raise mark_unsent(Unavailable("the gateway is out of file descriptors; try again", retry_after_s=1)) from None
            raise mark_unsent(UpstreamFailed(f"{origin.name}: cannot connect: {reason(error)}")) from None
        except GatewayError as error:  # of the proxy in between
            mark_unsent(error)
            raise

    async def _open_or_make_room(self, origin: Origin) -> Connection:
        try:
            return await self._open(origin)
        except OSError as error:
            if error.errno not in SHORT_OF_FILES or not self._drop_idle():
                raise
        await asyncio.sleep(0)  # the dropped ones are closed by the loop
        return await self._open(origin)

    async def _open(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(self, origin, loop)
        if origin.proxy:
            await open_through_proxy(origin, connection, self._tls_for)
        else:
            race = None if is_loopback(origin.host) or address_of(origin.host) else NEXT_ADDRESS_S
            await loop.create_connection(
                lambda: connection, origin.host, origin.port, ssl=self._tls_for(origin.scheme), happy_eyeballs_delay=race
            )
        return connection

    def _tls_for(self, scheme: str) -> ssl.SSLContext | None:
        """The TLS context, created at first use: loading the certificates takes 30 ms."""
        if scheme != "https":
            return None
        if self._tls is None:
            self._tls = self._make_tls()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _drop_idle(self) -> bool:
        """Closes idle connections; False when there were none."""
        idle = [connection for kept in self._idle.values() for connection in kept]
        for connection in idle:
            connection.abort()
        return bool(idle)

    # -- called by connections

    def register(self, connection: Connection) -> None:
        self._connections.add(connection)

    def keep(self, connection: Connection) -> bool:
        """Keeps it for the next request; False when there are enough."""
        kept = self._idle.setdefault(connection.origin, [])
        if self._closing or len(kept) >= MAX_IDLE:
            return False
        kept.append(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """Removes it from the idle connections."""
        kept = self._idle.get(connection.origin)
        if kept and connection in kept:
            kept.remove(connection)

    def unregister(self, connection: Connection) -> None:
        self.forget(connection)
        self._connections.discard(connection)
