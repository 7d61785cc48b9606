"""A test's coroutine in an event loop of its own, within a time that only a hang reaches."""

from __future__ import annotations

import asyncio
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
