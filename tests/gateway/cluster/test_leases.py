"""A worker's view of the home's call log: it is complete once everything was handed over, and not before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llm_router_gateway.cluster import leases
from llm_router_gateway.cluster.leases import HomeLedger
from llm_router_gateway.net.link import LinkLost


class Home:
    """A link whose other side stores what it was given, or is gone."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    async def call(self, name: str, **how: Any) -> bool:
        assert name == "settle"
        if self.fault is not None:
            raise self.fault
        return True


def settle(home: Home, hand_over: Any) -> None:
    async def run() -> None:
        await HomeLedger(home, hand_over, "here", True).settle()  # type: ignore[arg-type]

    asyncio.run(run())


async def handed() -> int:
    return 0


async def broken() -> int:
    raise TypeError("a fault")


async def late() -> int:
    await asyncio.Event().wait()
    return 0


@pytest.mark.parametrize("hand_over, fault", [(broken, None), (late, None), (handed, LinkLost("gone"))])
def test_calls_that_were_not_handed_over_are_not_in_the_log(
    monkeypatch: pytest.MonkeyPatch, hand_over: Any, fault: Exception | None
) -> None:
    monkeypatch.setattr(leases, "ANSWER_S", 0.01)
    with pytest.raises(OSError):
        settle(Home(fault), hand_over)


def test_the_log_is_complete_once_everything_was_handed_over() -> None:
    settle(Home(), handed)
