"""One caller's connection: requests one after the other, each an `Exchange`, the next one read when the last is answered.

What is wrong before there is an exchange (400, 408, 414, 431, 501, 503, 505) is answered here, in plain text. After an
answer that left part of the request unread the connection is closed, slowly: so that the caller can read the answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast

from ..errors import GatewayError, RequestTooSlow, Unavailable
from . import http1
from .deadline import Deadline
from .exchange import READ_AHEAD, Exchange, answer_head
from .http1 import END, Malformed, RequestHead

if TYPE_CHECKING:
    from .server import Server

HEAD_S = 20.0  # for a whole head, from its first byte
IDLE_S = 75.0  # between two requests; nginx's default
BODY_S = 30.0  # for a body, and a second more for each BODY_RATE bytes
BODY_RATE = 1_024  # bytes a second that a body must come at, on average
STALL_S = 120.0  # for a caller that reads nothing of what is ready for it
LINGER_S = 2.0  # reading on after an answer that left part of the request unread
LINGER_BYTES = 16_777_216  # as long as this is not reached
WRITE_HIGH = 32_768  # bytes waiting for a caller that reads slowly; then `send` waits
WRITE_LOW = 8_192
NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # closing drops what is unsent, and resets


class ServerTimeouts(NamedTuple):
    """Time limits for callers, in seconds."""

    head_s: float = HEAD_S
    body_s: float = BODY_S
    idle_s: float = IDLE_S
    stall_s: float = STALL_S
    linger_s: float = LINGER_S


SERVER_TIMEOUTS = ServerTimeouts()


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
        self._deadline = Deadline(loop.call_at, loop.time, self._on_timeout)
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._head_began = self._lingers = False
        self.is_paused = False  # the caller reads more slowly than the gateway writes
        self._is_reading = True
        self._is_cancelled = False
        self._body_began = 0.0
        self._stalled_at = 0  # bytes that were unsent at the last check
        self._dropped = 0  # bytes that came while we linger
        self.is_surplus = False  # it was accepted above the connection budget

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self.server.register(self)
        self._deadline.set(self.server.timeouts.head_s)

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
        """The caller closed its side, which counts as gone: no client half-closes and still waits for an answer."""
        self._cancel()
        return False  # the transport closes, once what is written is sent

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.stop()
        self.server.unregister(self)
        self._cancel()
        self._exchange = None

    def _cancel(self) -> None:
        """Cancels the application's task, once: a second time would interrupt its cleanup."""
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()

    def pause_writing(self) -> None:
        self.is_paused = True
        self._stalled_at = self.transport.get_write_buffer_size()
        self._deadline.set(self.server.timeouts.stall_s)

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
        body = self._reader.whole_body()
        if body is not None:  # as of most requests
            exchange.take_whole(body)
        else:
            self._body_began = self._loop.time()
            self._read_body(exchange)
        self.server.mark_busy(self)
        self._task = self._loop.create_task(self._answer(exchange))

    def _wait_for_head(self) -> None:
        """The timeout runs from the first byte of the head: dripping does not extend it."""
        if self._reader.buffered and not self._head_began:
            self._head_began = True
            self.server.mark_begun(self)
            self._deadline.set(self.server.timeouts.head_s)

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
        """Sets the deadline of the body by a minimum speed: slow dripping does not hold a connection for ever."""
        due = self._body_began + self.server.timeouts.body_s + exchange.size / BODY_RATE
        self._deadline.set(max(due - self._loop.time(), 0.0))

    async def _answer(self, exchange: Exchange) -> None:
        """Runs the application for one request and handles the way it ended."""
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
        self._finish_exchange(exchange)

    async def _after_fault(self, exchange: Exchange) -> None:
        if not exchange.started:
            await exchange.respond(500, [], b"")
        elif not exchange.ended:
            self.abort()  # no end is written: the caller sees that something is missing

    def _finish_exchange(self, exchange: Exchange) -> None:
        if self.transport.is_closing():
            return
        if not exchange.body_done:
            self._linger()
        elif not exchange.keeps_connection:
            self.close()
        else:
            if not self._is_reading:
                self._go_on_reading()
            self.server.mark_idle(self, self._loop.time())
            self._deadline.set(self.server.timeouts.idle_s)
            if self._reader.buffered:
                self._next_request()

    # -- the end

    def _refuse(self, error: GatewayError) -> None:
        """Answers a request that never reaches the application."""
        body = (error.message + "\n").encode()
        extra = [("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"), ("connection", "close")]
        if error.retry_after_s is not None:
            extra.append(("retry-after", f"{error.retry_after_s:g}"))
        self.transport.write(answer_head(error.status, extra, f"content-length: {len(body)}\r\n") + body)
        self._linger()

    def _linger(self) -> None:
        """Sends nothing more and drops what still comes: closing now could reset the connection and lose the answer."""
        self._lingers = True
        self._go_on_reading()
        self.server.mark_busy(self)
        with suppress(OSError, NotImplementedError):
            self.transport.write_eof()
        self._deadline.set(self.server.timeouts.linger_s)

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES:
            self._stop_reading()

    def _on_timeout(self) -> None:
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
        self._deadline.set(self.server.timeouts.stall_s)

    def drain(self) -> None:
        """No further request: an idle connection is closed now, another after its answer."""
        if self._exchange is None and not self._reader.buffered and not self._lingers:
            self.close()

    def close(self) -> None:
        """Once what waits for the caller is sent, if it is read in time."""
        self.transport.close()
        self._stalled_at = self.transport.get_write_buffer_size()
        self._deadline.set(self.server.timeouts.stall_s)

    def abort(self) -> None:
        """Now. An answer to HTTP/1.0 that is not whole ends in a reset: its caller would see no other sign of that."""
        if self._exchange is not None and self._exchange.ends_with_connection:
            with suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The application's task, while it runs."""
        return self._task

    # -- flow control

    async def wait_until_drained(self) -> None:
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
