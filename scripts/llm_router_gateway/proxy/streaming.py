"""One streamed answer: held back, kept alive, timed by its content, and ended in the way of its protocol.

    watch = Watch(clock, loop.call_later)
    answer = StreamedAnswer(exchange, head, keepalive, limits, clock)
    with watch.over(answer):
        response = await ...                  # already kept alive, already timed
        await answer.run(response.pieces(), pipe)

Nothing goes out until the first real output, so that the caller gets a proper status if the upstream fails before that.
If it takes longer than `keepalive_s`, the head and a keep-alive go out, and the rest is still held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import GatewayError, UpstreamTimeout

MAX_HELD_BYTES = 1_048_576  # before the first output; more than that is output, whatever it is
TAIL_S = 5.0  # after the real end: for upstreams that forget to close
TICK_S = 0.25  # how often silence is checked
TICKS = 4  # looks in the shortest of the limits, so that one is late by a quarter at most

Headers = list[tuple[str, str]]


class Exchange(Protocol):
    """One request and the way back to its caller; `server` has the real one. Header names are in lower case."""

    @property
    def started(self) -> bool: ...
    @property
    def is_free(self) -> bool: ...
    def start(self, status: int, headers: Headers) -> None: ...
    async def send(self, data: bytes) -> None: ...
    def write(self, data: bytes) -> None:
        """Without waiting: only while `is_free`, that is while the caller reads."""


class Pipe(Protocol):
    """Upstream bytes -> caller bytes, in whole events."""

    outputs: int  # real outputs so far
    done: bool  # the upstream sent its final event
    error: GatewayError | None  # what it sent instead of (the rest of) an answer

    def feed(self, piece: bytes) -> bytes: ...
    def close(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: until the first output, between two, until a keep-alive."""

    first_output_s: float
    gap_s: float
    keepalive_s: float

    @property
    def tick_s(self) -> float:
        return min(TICK_S, *(limit / TICKS for limit in (self.first_output_s, self.gap_s, self.keepalive_s)))


class StreamedAnswer:
    """The state of one streamed answer; `tick` looks at it from outside."""

    __slots__ = (
        "_clock", "_exchange", "_head", "_held", "_held_bytes", "_keepalive", "_released", "_sending", "_task",
        "cut", "first_output_at", "last_output_at", "last_sent_at", "limits", "on_output", "pipe", "settle",
        "started_at", "tail_over",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, head: Callable[[], Headers], keepalive: bytes, limits: Limits,
        clock: Callable[[], float], on_output: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        """`on_output` is called with the time of the first output, before anything of it goes out."""
        self.on_output = on_output
        self.settle: Callable[[], Awaitable[None]] | None = None  # awaited before what may be an end goes on
        self._exchange, self._head, self._keepalive, self._clock = exchange, head, keepalive, clock
        self.limits = limits
        self.pipe: Pipe | None = None
        self.started_at = self.last_output_at = self.last_sent_at = clock()
        self.first_output_at: float | None = None
        self.cut: GatewayError | None = None  # why the watch ended it
        self.tail_over = False
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._released = self._sending = False

    async def run(self, pieces: AsyncIterator[bytes], pipe: Pipe) -> None:
        """Until the upstream's end. Raises what went wrong; the caller of this writes it in the right form.

        asyncio.CancelledError passes through unless the watch made it.
        """
        self.pipe = pipe
        self._take_held()  # of an attempt before, which is as if it had never been
        try:
            await self._relay(pieces, pipe)
        except asyncio.CancelledError:
            if not self.tail_over or (self._task is not None and self._task.uncancel()):
                raise  # not the watch's doing, or not only
        except GatewayError:
            if not pipe.done:
                raise  # else the upstream had said all: only HTTP's own end is missing, and a stream has one end
        await self._finish(pipe)

    async def whole(self, data: bytes) -> None:
        """All of it at once, from an upstream that did not stream."""
        self._had_output()
        await self._send(data)

    async def _relay(self, pieces: AsyncIterator[bytes], pipe: Pipe) -> None:
        async for piece in pieces:
            seen = pipe.outputs
            data = pipe.feed(piece)
            if pipe.outputs != seen:
                self._had_output()
            if self.settle is not None:
                await self._settled(self.settle)
            if data:
                await self._pass_on(data)
            if pipe.error is not None:
                raise pipe.error

    async def _settled(self, settle: Callable[[], Awaitable[None]]) -> None:
        """Waits for what the pipe has begun at the end; no silence is counted meanwhile."""
        self._sending = True
        try:
            await settle()
        finally:
            self._sending = False

    async def _finish(self, pipe: Pipe) -> None:
        data = pipe.close()
        if self.settle is not None:
            await self._settled(self.settle)
        if pipe.error is not None:
            if data:
                await self._pass_on(data)
            raise pipe.error
        self._released = True
        await self._send(self._take_held() + data)

    @property
    def released(self) -> bool:
        """Whether held bytes were sent: then no other member can answer."""
        return self._released

    @property
    def is_in_tail(self) -> bool:
        """Whether the caller has the last event, and only the upstream's own end is waited for."""
        return self.pipe is not None and self.pipe.done and not self._sending

    def _had_output(self) -> None:
        self.last_output_at = self._clock()
        if self.first_output_at is None:
            self.first_output_at = self.last_output_at
            if self.on_output is not None:
                self.on_output(self.last_output_at)
        self._released = True

    def tap(self, piece: bytes) -> bool:
        """Passes on at once a piece that comes while this waits for one, without waking a task: nearly every piece of a stream.

        False where it has to wait its turn. Raises what is wrong with it.
        """
        exchange, pipe = self._exchange, self.pipe
        if pipe is None or not self._released or self._held or not exchange.started or not exchange.is_free or self.settle:
            return False
        seen = pipe.outputs
        data = pipe.feed(piece)
        now = self._clock()
        if pipe.outputs != seen:
            self.last_output_at = now
        if data:
            exchange.write(data)
            self.last_sent_at = now
        if pipe.error is not None:
            raise pipe.error
        return True

    async def _pass_on(self, data: bytes) -> None:
        if self._released:
            await self._send(self._take_held() + data if self._held else data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES:
            self._released = True

    def _take_held(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return data

    async def _send(self, data: bytes) -> None:
        self.begin()
        if not data:
            return
        before, self._sending = self._clock(), True
        try:
            await self._exchange.send(data)
        finally:
            self._sending = False
        self.last_sent_at = self._clock()
        self.last_output_at += self.last_sent_at - before  # a caller's slow reading is not the upstream's silence

    def begin(self) -> None:
        """The head, once."""
        if not self._exchange.started:
            self._exchange.start(200, self._head())

    def tick(self, now: float) -> None:
        """Reacts to silence: a keep-alive, or the end."""
        if self._sending or self.cut is not None or self.tail_over:
            return
        if self.is_in_tail:
            if now - self.last_sent_at >= TAIL_S:
                self.tail_over = True
                self._stop()
            return
        self._check_content(now)
        if self.cut is None and now - self.last_sent_at >= self.limits.keepalive_s:
            self.begin()
            if self._exchange.is_free:
                self._exchange.write(self._keepalive)
                self.last_sent_at = now

    def _check_content(self, now: float) -> None:
        first = self.first_output_at is None
        limit = self.limits.first_output_s if first else self.limits.gap_s
        if now - self.last_output_at >= limit:
            what = "no output" if first else "no further output"
            self.cut = UpstreamTimeout(f"the upstream gave {what} for {limit:g} s")
            self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


class Watch:
    """The timeouts of all open streams: one timer for any number of them."""

    def __init__(self, clock: Callable[[], float], call_later: Callable[..., Any]) -> None:
        self._clock, self._call_later = clock, call_later
        self._answers: set[StreamedAnswer] = set()
        self._timer: Any = None
        self._interval = TICK_S

    @contextmanager
    def over(self, answer: StreamedAnswer) -> Iterator[None]:
        """Watches `answer` inside the block; what the watch decided leaves it as an error, not as a cancellation."""
        self._answers.add(answer)
        self._interval = min(self._interval, answer.limits.tick_s)
        if self._timer is None:
            self._timer = self._call_later(self._interval, self._tick)
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if answer.cut is None or (task is not None and task.uncancel()):
                raise  # cancelled from outside: the caller is gone, or the gateway shuts down
            raise answer.cut from None
        finally:
            self._answers.discard(answer)

    def _tick(self) -> None:
        now = self._clock()
        for answer in tuple(self._answers):
            answer.tick(now)
        again = bool(self._answers)
        self._interval = self._interval if again else TICK_S
        self._timer = self._call_later(self._interval, self._tick) if again else None

    def end_all(self, error: GatewayError) -> set[asyncio.Task[Any] | None]:
        """Ends every stream: the drain's limit is over. The tasks of those that it watches.

        It ends with an error event, unless its last event is out already and only HTTP's own end is missing.
        """
        for answer in tuple(self._answers):
            if answer.cut is None and not answer.tail_over:
                answer.tail_over = answer.is_in_tail
                answer.cut = None if answer.tail_over else error
                answer._stop()
        return {answer._task for answer in self._answers}
