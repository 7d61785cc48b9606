"""Event loops for tests: one with a limit that only a hang reaches, and one whose time passes only while nothing happens."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


def run(story: Coroutine[Any, Any, None]) -> None:
    """Runs it; an error where it leaves a task behind."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await story
        for _ in range(3):
            await asyncio.sleep(0)  # closed transports are closed by the loop
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, others = await asyncio.wait(others, timeout=10)
        assert not others, f"left running: {others}"

    asyncio.run(limited())


class Skipper(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    """Never waits for a timer: `now` moves on to it instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout and 0)
        if timeout and not found:
            self.now += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands while tasks run, however slow the machine, and jumps to the next timer when all of them wait.

    For stories between fakes: work in threads and other processes takes no time on this clock, so a timer may be early for it.
    """

    def __init__(self) -> None:
        self._skipper = Skipper()
        super().__init__(self._skipper)

    def time(self) -> float:
        return self._skipper.now
