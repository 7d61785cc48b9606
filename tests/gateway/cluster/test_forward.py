"""forward: what a caller gets of an answer of the home that breaks off. No socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes import Exchange, Pool, Upstream

from llm_router_gateway.cluster.forward import Forward
from llm_router_gateway.errors import StreamCut


@pytest.mark.parametrize("headers", [{}, {"content_length": "100"}])
def test_an_answer_of_the_home_that_breaks_off_is_no_whole_one_and_no_fault(headers: dict[str, str]) -> None:
    rows = [b"first\n", StreamCut("gateway: the connection was closed in the middle of an answer")]

    async def story() -> Exchange:
        forward, exchange = Forward("", lambda: "made"), Exchange("GET", "/monitor/export.csv")
        pool: Any = Pool(Upstream(200, rows, **headers))
        forward.pool = pool
        await forward(exchange)  # type: ignore[arg-type]
        return exchange

    exchange = asyncio.run(story())
    if headers:
        assert exchange.status == 502 and exchange.ended
    else:
        assert exchange.status == 200 and exchange.out == b"first\n" and exchange.aborted and not exchange.ended
