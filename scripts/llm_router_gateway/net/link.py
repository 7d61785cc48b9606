"""A connection between two processes of one gateway: messages, and calls that are answered. Both sides are equal.

    link = Link({"open": count_open, "acquire": acquire}, on_lost=ended)      handlers by name; or later: link.handle({...})
    await loop.create_unix_connection(lambda: link, path)
    link.send("open", 3)                          one way, in order; what is sent in one turn of the loop leaves together
    permit = await link.call("acquire", scopes)   its handler's result, or the GatewayError that it raised
    link.close()                                  after everything that was sent before

Messages, each a frame (see `frames`):

    [0, name, arguments]             one way
    [1, number, name, arguments]     a call
    [2, number, result]              its result
    [3, number, error]               its error: [class, message, status, code, retry_after_s, details]
    [4, number]                      the caller no longer waits: the handler is cancelled

A handler is called with the arguments, in the order in which messages come; where it is a coroutine function, it runs in a task
of its own. A name that is unknown here is ignored one way and an error as a call: of two builds side by side one lacks
some. What is no message at all ends the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from itertools import count
from typing import Any, cast

from ..errors import GatewayError, Unavailable
from .frames import BrokenFrame, FrameReader, FrameTooLarge, frame

SEND, CALL, RESULT, ERROR, CANCEL = range(5)
CALL_S = 15.0  # for a result; the other side is on this machine, and answers at once or not at all
SIZES = {SEND: 3, CALL: 4, RESULT: 3, ERROR: 3, CANCEL: 2}

Handler = Callable[..., Any]


class LinkLost(Unavailable):
    """The other process is gone, or does not answer."""

    code = "no_home"


def pack_error(error: GatewayError) -> list[Any]:
    return [type(error).__name__, error.message, error.status, error.code, error.retry_after_s, error.details]


def error_class(name: str) -> type[GatewayError]:
    """A subclass of GatewayError by its name; GatewayError where this build has none of it."""
    waiting: list[type[GatewayError]] = [GatewayError]
    while waiting:
        each = waiting.pop()
        if each.__name__ == name:
            return each
        waiting += each.__subclasses__()
    return GatewayError


def unpack_error(values: object) -> GatewayError:
    """The error of the other side; one without details where the message is of an unknown kind."""
    if not isinstance(values, list) or len(values) != 6:
        return GatewayError("another process of the gateway failed")
    name, message, status, code, retry_after_s, details = values
    return error_class(name)(message, status=status, code=code, retry_after_s=retry_after_s, details=details)


def is_message(value: object) -> bool:
    if not isinstance(value, list) or not value or SIZES.get(value[0] if type(value[0]) is int else -1) != len(value):
        return False
    kind = value[0]
    if kind == SEND:
        return isinstance(value[1], str) and isinstance(value[2], list)
    if type(value[1]) is not int:
        return False
    return kind != CALL or (isinstance(value[2], str) and isinstance(value[3], list))


class Link(asyncio.Protocol):
    """One side of a connection."""

    def __init__(
        self, handlers: Mapping[str, Handler] | None = None, *, on_lost: Callable[[Link], None] | None = None,
        on_made: Callable[[Link], None] | None = None, report: Callable[[str, Exception], None] | None = None,
    ) -> None:  # fmt: skip
        """Without `handlers`, what comes waits for `handle`.

        `report(name, error)` gets the faults of handlers; without it they go to the loop's exception handler.
        """
        self.handlers = dict(handlers or {})
        self._waiting: list[list[Any]] | None = [] if handlers is None else None  # what came before there were handlers
        self._on_lost, self._on_made, self._report = on_lost, on_made, report
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self._numbers = count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}  # sent from here, that wait for their results
        self._tasks: dict[int, asyncio.Task[Any]] = {}  # calls of the other side, while they are handled
        self._loose: set[asyncio.Task[Any]] = set()  # one-way messages, while they are handled
        self._out: list[bytes] = []  # of this turn of the loop
        self.is_lost = False

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            values = self._reader.feed(data)
        except BrokenFrame as wrong:
            self._broken(wrong)
            return
        for value in values:
            if not is_message(value):
                self._broken(BrokenFrame("a message has an unknown form"))
                return
            self._take(value)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(link_lost())
        for task in (*self._tasks.values(), *self._loose):
            task.cancel()
        if self._on_lost is not None:
            self._on_lost(self)

    def _broken(self, wrong: Exception) -> None:
        self._fault("a message", wrong)
        self._transport.abort()

    def _fault(self, name: str, error: Exception) -> None:
        if self._report is not None:
            self._report(name, error)
        else:
            self._loop.call_exception_handler({"message": f"{name} was not handled", "exception": error})

    # -- what comes in

    def handle(self, handlers: Mapping[str, Handler]) -> None:
        """Sets the handlers; what came before them is taken now, in order."""
        self.handlers = dict(handlers)
        waiting, self._waiting = self._waiting or (), None
        for value in waiting:
            self._take(value)

    def _take(self, value: list[Any]) -> None:
        kind, number = value[0], value[1]
        if self._waiting is not None and kind in (SEND, CALL, CANCEL):
            self._waiting.append(value)
        elif kind == SEND:
            self._one_way(number, value[2])
        elif kind == CALL:
            self._answer(number, value[2], value[3])
        elif kind == CANCEL:
            task = self._tasks.get(number)
            if task is not None:
                task.cancel()
        else:
            future = self._calls.pop(number, None)
            if future is None or future.done():
                return  # it no longer waits
            if kind == RESULT:
                future.set_result(value[2])
            else:
                future.set_exception(unpack_error(value[2]))

    def _one_way(self, name: str, arguments: list[Any]) -> None:
        handler = self.handlers.get(name)
        if handler is None:
            return
        try:
            result = handler(*arguments)
        except Exception as error:
            self._fault(name, error)
            return
        if isawaitable(result):
            task = self._loop.create_task(self._finish(name, result))
            self._loose.add(task)
            task.add_done_callback(self._loose.discard)

    async def _finish(self, name: str, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception as error:
            self._fault(name, error)

    def _answer(self, number: int, name: str, arguments: list[Any]) -> None:
        handler = self.handlers.get(name)
        if handler is None:
            self._put([ERROR, number, pack_error(Unavailable(f"another process of the gateway has no {name!r}"))])
            return
        try:
            result = handler(*arguments)
        except Exception as error:
            self._put_error(number, name, error)
            return
        if isawaitable(result):
            task = self._loop.create_task(self._result_of(number, name, result))
            self._tasks[number] = task
            task.add_done_callback(lambda _: self._tasks.pop(number, None))
        else:
            self._put([RESULT, number, result])

    async def _result_of(self, number: int, name: str, work: Awaitable[Any]) -> None:
        try:
            self._put([RESULT, number, await work])
        except Exception as error:
            self._put_error(number, name, error)

    def _put_error(self, number: int, name: str, error: Exception) -> None:
        if not isinstance(error, GatewayError):
            self._fault(name, error)
            error = GatewayError("another process of the gateway failed; its log has the reason")
        self._put([ERROR, number, pack_error(error)])

    # -- what goes out

    def send(self, name: str, *arguments: object) -> None:
        """One way. Nothing happens when the connection is lost. FrameTooLarge."""
        self._put([SEND, name, arguments])

    async def call(self, name: str, *arguments: object, limit_s: float = CALL_S) -> Any:
        """The result of the other side's handler. LinkLost when there is none within the limit."""
        if self.is_lost:
            raise link_lost()
        number = next(self._numbers)
        future = self._calls[number] = self._loop.create_future()
        try:
            self._put([CALL, number, name, arguments])
            async with asyncio.timeout(limit_s):
                return await future
        except TimeoutError:
            self._put([CANCEL, number])
            raise LinkLost(f"another process of the gateway did not answer within {limit_s:g} s", retry_after_s=1) from None
        except asyncio.CancelledError:
            self._put([CANCEL, number])
            raise
        finally:
            self._calls.pop(number, None)

    def _put(self, message: list[Any]) -> None:
        if self.is_lost:
            return
        try:
            data = frame(message)
        except FrameTooLarge:
            if message[0] not in (RESULT, ERROR):
                raise
            data = frame([ERROR, message[1], pack_error(GatewayError("the result is too large"))])
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Hands what was sent to the system now."""
        out, self._out = self._out, []
        if out and not self.is_lost:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def close(self) -> None:
        self.flush()
        if not self.is_lost:
            self._transport.close()


def link_lost() -> LinkLost:
    return LinkLost("the gateway's main process is gone; try again", retry_after_s=1)
