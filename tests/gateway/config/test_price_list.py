"""LiteLLM's words for prices and sizes, as `[models.config]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.config import config
from llm_router_gateway.config.price_list import PRICES, is_carried, price_config

CASES = json.loads((Path(__file__).parents[2] / "corpus" / "pricing" / "lists.json").read_text(encoding="utf-8"))
NAMES = {name: f"{name}_usd_per_mtok" for name in ("input", "output", "cached_input", "cache_write", "cache_write_1h")}


def named(price: Any) -> Any:
    """A price of the client's, with the names that the gateway's settings have."""
    if isinstance(price, dict):
        return {NAMES.get(name, name): named(value) for name, value in price.items()}
    return [named(each) for each in price] if isinstance(price, list) else price


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_entry_of_the_list_is_what_the_client_takes_it_for(case: Any) -> None:
    found = price_config(case["entry"])
    assert found == named(case["price"])
    providers = [{"name": "up", "api": "openai", "base_url": "http://127.0.0.1:1/v1"}]
    model = config.parse({"providers": providers, "models": [{"provider": "up", "name": "m", "config": found}]}).models[0]
    assert [tier.above for tier in model.long_context] == [tier["above"] for tier in found.get("long_context", ())]


def test_every_name_that_is_read_counts_as_carried_and_no_other() -> None:
    names = {*PRICES.values(), "tiered_pricing", "cache_read_input_token_cost_above_100k_tokens", "max_input_tokens"}
    assert all(map(is_carried, names))
    assert not any(map(is_carried, ("input_cost_per_image", "input_cost_per_token_priority", "input_cost_per_token_above_1k")))


@pytest.mark.parametrize(
    "table", [[], ["no range"], [{"range": 3}], [{"range": [0]}], [{"range": [-1, 5]}], [{"range": ["0", "5"]}]]
)
def test_a_table_without_ranges_leaves_the_flat_prices(table: Any) -> None:
    flat = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "tiered_pricing": table}
    assert price_config(flat) == {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
