"""limiter/leased_limiter: requests that come while a message about slots is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from llm_router_gateway.errors import RateLimited
from llm_router_gateway.limiter.leased_limiter import LeasedLimiter
from llm_router_gateway.limiter.membership import Membership, NoLedger
from llm_router_gateway.limiter.memory import DistantEngine, MemoryEngine
from llm_router_gateway.policy.rate_limits import Limit

SCOPES = [("key:k", Limit(max_concurrent=1))]
MOST_LOOKS = 1_000  # at the clock: reached only by a loop that does not end


def test_a_request_that_begins_just_when_a_message_is_answered_does_not_wait_for_it() -> None:
    """The task of the message is done then, and its callbacks have not run."""

    async def both() -> list[Any]:
        looks, late = count(), list[asyncio.Task[Any]]()
        home = MemoryEngine(lambda: 1_790_000_000_000)

        def clock() -> float:
            assert next(looks) < MOST_LOOKS, "a request waits for a message that is answered, and nothing else can run"
            return 0.0

        async def send(name: str, values: Sequence[Any]) -> Any:
            reply = await home.handle(name, values)
            if name == "take" and not late:
                late.append(asyncio.ensure_future(limiter.acquire(SCOPES, float)))
            return reply

        membership = Membership(
            DistantEngine(send), holder="p", ledger=NoLedger("common"), clock=clock, wall=lambda: 1_790_000_000.0, tell=str,
            guess=lambda: 1,
        )  # fmt: skip
        limiter = LeasedLimiter(membership)
        await membership.beat()
        first = await limiter.acquire(SCOPES, float)
        return [first, *await asyncio.gather(*late, return_exceptions=True)]

    first, second = asyncio.run(both())
    assert first.used is False
    with pytest.raises(RateLimited, match="1 concurrent"):
        raise second
