"""What a call cost: the upstream's word, else the configured prices, else nothing; never a guess."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.config import config
from llm_router_gateway.store.pricing import cost, highest_price
from llm_router_gateway.wire.ir import Usage
from llm_router_gateway.wire.registry import wire
from llm_router_gateway.wire.sound import sound

CORPUS = Path(__file__).parents[2] / "corpus" / "pricing" / "cases.json"  # holds the client to the same sums
CASES: list[dict[str, Any]] = json.loads(CORPUS.read_text(encoding="utf-8"))
assert CASES, f"{CORPUS} is empty"


@dataclass
class Prices:
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    cached_input_usd_per_mtok: float | None = None
    cache_write_usd_per_mtok: float | None = None
    cache_write_1h_usd_per_mtok: float | None = None
    long_context: tuple[Any, ...] = ()


USAGE = Usage(input=1_000_000, cache_read=2_000_000, cache_write=500_000, text=90_000, reasoning=10_000)


def test_what_the_upstream_says_wins() -> None:
    assert cost(Usage(input=5, cost=0.5), Prices(1.0, 1.0)) == (0.5, "upstream")
    assert cost(Usage(input=5, cost=0.0), Prices(1.0, 1.0)) == (0.0, "upstream")


@pytest.mark.parametrize("prices, expected", [
    (Prices(3.0, 15.0, 0.3), 3.0 + 0.6 + 1.875 + 1.5),  # writing to a cache costs a quarter more than input
    (Prices(3.0, 15.0), 3.0 + 6.0 + 1.875 + 1.5),       # what came from a cache costs what input costs
    (Prices(3.0, 15.0, 0.3, 4.0), 3.0 + 0.6 + 2.0 + 1.5),
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


# -- the same sums as the client's


def setting(prices: dict[str, Any]) -> dict[str, Any]:
    """A price of the corpus as the configuration has it."""
    return {
        name if name == "above" else f"{name}_usd_per_mtok" if name != "long_context" else name:
        [setting(tier) for tier in value] if name == "long_context" else value
        for name, value in prices.items()
    }  # fmt: skip


def configured(prices: dict[str, Any] | None) -> config.Model:
    entry = {"name": "m", "provider": "p", "config": setting(prices or {})}
    provider = {"name": "p", "api": "openai", "base_url": "http://a.example"}
    return config.parse({"providers": [provider], "models": [entry]}).models[0]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_call_costs_what_the_corpus_says(case: dict[str, Any]) -> None:
    name = "usageMetadata" if case["protocol"] == "gemini" else "usage"
    usage = sound(wire(case["protocol"]).usage_in({name: case["usage"]}))
    dollars, source = cost(usage, configured(case["price"]))
    assert (dollars, source) == (None if case["usd"] is None else pytest.approx(case["usd"], abs=1e-10), case["source"])


@pytest.mark.parametrize("tokens, kept, price", [
    (10, "", 3.0), (10, "5m", 3.75), (10, "1h", 6.0), (200_001, "", 6.0), (200_001, "1h", 12.0),
])  # fmt: skip
def test_the_dearest_that_input_may_be_is_what_a_hold_takes(tokens: int, kept: str, price: float) -> None:
    model = configured({"input": 3, "output": 15, "long_context": [{"above": 200_000, "input": 6, "output": 22.5}]})
    found = highest_price(model, tokens, kept)
    assert found is not None and found.input * 1e6 == pytest.approx(price)


def test_without_both_prices_there_is_no_dearest() -> None:
    assert highest_price(None, 1) is None and highest_price(configured({"input": 3}), 1) is None


@pytest.mark.parametrize("usage", [Usage(input=-1), Usage(text=10**12), Usage(input=float("nan")), Usage(cache_read="5")])  # type: ignore[arg-type]
def test_tokens_that_cannot_be_are_no_usage(usage: Usage) -> None:
    assert sound(usage) is None and sound(None) is None


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -100.0, 1e308, "0.5", True])
def test_a_cost_that_cannot_be_is_not_believed_and_the_tokens_are(told: Any) -> None:
    assert sound(Usage(input=5, cost=told)) == Usage(input=5)
