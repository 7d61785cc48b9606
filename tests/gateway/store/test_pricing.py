"""What a call cost: the upstream's word, else the configured prices, else nothing; never a guess."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from llm_router_gateway.store.pricing import cost
from llm_router_gateway.wire.ir import Usage


@dataclass
class Prices:
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    cached_input_usd_per_mtok: float | None = None


USAGE = Usage(input=1_000_000, cache_read=2_000_000, cache_write=500_000, text=90_000, reasoning=10_000)


def test_what_the_upstream_says_wins() -> None:
    assert cost(Usage(input=5, cost=0.5), Prices(1.0, 1.0)) == (0.5, "upstream")
    assert cost(Usage(input=5, cost=0.0), Prices(1.0, 1.0)) == (0.0, "upstream")


@pytest.mark.parametrize("prices, expected", [
    (Prices(3.0, 15.0, 0.3), 3.0 + 0.6 + 1.5 + 1.5),
    (Prices(3.0, 15.0), 3.0 + 6.0 + 1.5 + 1.5),  # what came from a cache costs what input costs
    (Prices(0.0, 0.0), 0.0),                      # a model of one's own
])  # fmt: skip
def test_each_kind_of_token_has_its_price(prices: Prices, expected: float) -> None:
    dollars, source = cost(USAGE, prices)
    assert (dollars, source) == (pytest.approx(expected), "prices")


@pytest.mark.parametrize("usage, prices", [
    (None, Prices(1.0, 1.0)), (USAGE, None), (USAGE, Prices()), (USAGE, Prices(3.0)), (USAGE, Prices(None, 15.0)),
    (USAGE, Prices(None, 15.0, 0.3)), (Usage(), Prices()), (Usage(), None),
])  # fmt: skip
def test_what_has_no_price_has_no_cost(usage: Usage | None, prices: Prices | None) -> None:
    assert cost(usage, prices) == (None, "")


def test_a_price_that_no_token_needs_may_be_missing() -> None:
    assert cost(Usage(input=1_000), Prices(2.0)) == (0.002, "prices")
    assert cost(Usage(cache_read=1_000), Prices(None, None, 1.0)) == (0.001, "prices")
