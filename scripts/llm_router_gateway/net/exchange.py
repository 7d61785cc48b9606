"""One request and the way back to its caller, while the application answers it.

    body = await exchange.read_body(1_000_000)       TooLarge, RequestTooSlow, Malformed
    await exchange.respond(200, [("content-type", "text/plain")], body)
    exchange.start(200, headers); await exchange.send(piece); await exchange.end()     an answer in pieces

`Connection` feeds it the request's body and takes the answer's bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..errors import GatewayError, TooLarge
from . import http1
from .http1 import Headers, RequestHead

if TYPE_CHECKING:
    from .connection import Connection

READ_AHEAD = 65_536  # bytes of a body that are buffered before it is read
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(at: int) -> str:
    """http_date(784111777) -> "Sun, 06 Nov 1994 08:49:37 GMT", in any locale. RFC 9110 5.6.7."""
    when = time.gmtime(at)
    day = f"{DAYS[when.tm_wday]}, {when.tm_mday:02} {MONTHS[when.tm_mon - 1]} {when.tm_year}"
    return f"{day} {when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} GMT"


class DateHeader:
    """The date header, rendered once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def text(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, f"date: {http_date(now)}\r\n"
        return self._text


DATE_HEADER = DateHeader()


def answer_head(status: int, headers: Headers, extra: str) -> bytes:
    """As http1.response_head, with the date and with `extra` lines of our own."""
    text = http1.status_line(status) + DATE_HEADER.text() + http1.fields_text(headers) + extra
    return (text + "\r\n").encode("latin-1")


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is longer than {limit} bytes", details={"limit_bytes": limit})


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
        self.limit: int | None = None  # of the body; None until read_body
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

    def take_whole(self, body: bytes) -> None:
        """The whole body, before the application reads it."""
        if body:
            self._pieces.append(body)
            self._size = len(body)
        self.body_done = True

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
        head = answer_head(status, headers, length + self._connection_line())
        self.started = self.ended = True
        connection = self._connection
        connection.transport.write(head + body if has_body else head)
        if connection.is_paused:
            await connection.wait_until_drained()

    def start(self, status: int, headers: Headers) -> None:
        """The head of an answer whose body follows; it goes out with the first bytes of that."""
        has_body = http1.has_body(self.method, status)
        if has_body and not self._is_chunked:
            self._keep_alive = False  # HTTP/1.0: the connection's end is the body's
        self._framed = has_body and self._is_chunked
        framing = "transfer-encoding: chunked\r\n" if self._framed else ""
        self._head = answer_head(status, headers, framing + self._connection_line())
        self.started = True

    async def send(self, data: bytes) -> None:
        """A piece of the body; waits while the caller reads too slowly."""
        connection = self._connection
        if data or self._head:
            connection.transport.write(self._bytes_of(data))
            if connection.is_paused:
                await connection.wait_until_drained()

    @property
    def is_free(self) -> bool:
        """Whether everything written was sent."""
        connection = self._connection
        return not (connection.is_paused or connection.transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """A piece of the body without waiting: only while `is_free`, for what a caller does not read stays in memory."""
        self._connection.transport.write(self._bytes_of(data))

    def abort(self) -> None:
        """Ends the connection in the middle of the answer, so that the caller sees that something is missing."""
        self._connection.abort()
        self.ended = True

    async def end(self) -> None:
        """The answer is whole."""
        if self.ended:
            return
        last = http1.LAST_CHUNK if self._framed else b""
        data = self._bytes_of(b"") + last
        self.ended = True
        if data:
            self._connection.transport.write(data)
            await self._connection.wait_until_drained()

    def _bytes_of(self, data: bytes) -> bytes:
        """A piece with its framing, and with the head when it is the first."""
        if data and self._framed:
            data = http1.chunk(data)
        elif self.method == "HEAD":
            data = b""
        if self._head:
            data, self._head = self._head + data, b""
        return data

    def _connection_line(self) -> str:
        """The connection header of the answer; what it says is what happens afterwards."""
        if not (self._keep_alive and self.body_done) or self._connection.server.draining:
            self._keep_alive = False
            return "connection: close\r\n"
        return "" if self._is_chunked else "connection: keep-alive\r\n"  # HTTP/1.0 closes by default

    @property
    def ends_with_connection(self) -> bool:
        """Whether a caller would take the connection's end, now, for the end of the answer."""
        return self.started and not (self.ended or self._framed)

    @property
    def keeps_connection(self) -> bool:
        return self._keep_alive and self.body_done


App = Callable[[Exchange], Awaitable[None]]
