"""A time limit that is moved often and met seldom: moving it costs an assignment, not a timer.

    deadline = Deadline(loop.call_at, loop.time, on_time)
    deadline.set(600.0)   on_time() in 600 s, unless it is moved or cleared before
    deadline.clear()
    deadline.stop()       for good: lets go of on_time

The loop's timer stays where it was; when it rings too early, it is set again for what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NEVER = float("inf")
EARLY_S = 0.001  # a loop's timer may ring this much before its time: its clock has steps


class Deadline:
    """One limit of one connection."""

    __slots__ = ("_at", "_call_at", "_clock", "_on_time", "_rings_at", "_timer")

    def __init__(self, call_at: Callable[..., Any], clock: Callable[[], float], on_time: Callable[[], None]) -> None:
        self._call_at, self._clock = call_at, clock
        self._on_time: Callable[[], None] | None = on_time
        self._at = self._rings_at = NEVER
        self._timer: Any = None

    def set(self, seconds: float) -> None:
        """`seconds` from now, whatever was set before."""
        self._at = at = self._clock() + seconds
        if at < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._ring_at(at)

    def clear(self) -> None:
        self._at = NEVER

    def stop(self) -> None:
        """No more time: what it would have called is let go."""
        self._at, self._rings_at, self._on_time = NEVER, -NEVER, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring_at(self, at: float) -> None:
        self._rings_at = at
        self._timer = self._call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, NEVER
        if self._at == NEVER or self._on_time is None:
            return
        if self._at > self._clock() + EARLY_S:
            self._ring_at(self._at)
            return
        self._at = NEVER
        self._on_time()
