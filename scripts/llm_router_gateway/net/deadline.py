"""A timeout that is often reset and seldom expires: a reset costs an assignment, not a timer.

    deadline = Deadline(loop.call_at, loop.time, on_timeout)
    deadline.set(600.0)   on_timeout() in 600 s, unless it is moved or cleared before
    deadline.clear()
    deadline.stop()       for good: drops the reference to on_timeout

The loop's timer stays as it was; when it fires too early, it is set again for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NEVER = float("inf")
EARLY_S = 0.001  # a loop's timer may fire this much early: its clock has a resolution


class Deadline:
    """One limit of one connection."""

    __slots__ = ("_at", "_call_at", "_clock", "_fires_at", "_on_timeout", "_timer")

    def __init__(self, call_at: Callable[..., Any], clock: Callable[[], float], on_timeout: Callable[[], None]) -> None:
        self._call_at, self._clock = call_at, clock
        self._on_timeout: Callable[[], None] | None = on_timeout
        self._at = self._fires_at = NEVER
        self._timer: Any = None

    def set(self, seconds: float) -> float:
        """`seconds` from now, whatever was set before; returns the time now."""
        now = self._clock()
        self._at = at = now + seconds
        if at < self._fires_at:
            if self._timer is not None:
                self._timer.cancel()
            self._schedule(at)
        return now

    def clear(self) -> None:
        self._at = NEVER

    def stop(self) -> None:
        """Stops for good and drops the callback."""
        self._at, self._fires_at, self._on_timeout = NEVER, -NEVER, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, at: float) -> None:
        self._fires_at = at
        self._timer = self._call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at = None, NEVER
        if self._at == NEVER or self._on_timeout is None:
            return
        if self._at > self._clock() + EARLY_S:
            self._schedule(self._at)
            return
        self._at = NEVER
        self._on_timeout()
