"""LiteLLM's words for a model's prices and sizes, as `[models.config]`; its price list and its configuration have the same.

    price_config({"input_cost_per_token": 2.5e-06, "max_input_tokens": 128000})
        -> {"input_usd_per_mtok": 2.5, "context_window": 128000}

Requests with a long input have prices of their own there, for all of their tokens, in two forms. Names that
end in `_above_200k_tokens` change some of the entry's prices. A table `tiered_pricing` replaces them: its ranges are
(more than, up to), and what a range does not say of caches costs what its input does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PRICES = {  # ours, USD a million tokens -> LiteLLM's, USD a token
    "input_usd_per_mtok": "input_cost_per_token",
    "output_usd_per_mtok": "output_cost_per_token",
    "cached_input_usd_per_mtok": "cache_read_input_token_cost",
    "cache_write_usd_per_mtok": "cache_creation_input_token_cost",
    "cache_write_1h_usd_per_mtok": "cache_creation_input_token_cost_above_1hr",
}
NEEDED = {"input_usd_per_mtok", "output_usd_per_mtok"}  # of a long input's prices
ABOVE = re.compile(rf"(?:{'|'.join(PRICES.values())})(_above_([0-9]{{1,9}})k_tokens)")
SIZES = {"max_input_tokens", "max_tokens", "max_output_tokens", "supports_vision", "supports_function_calling"}


def is_carried(name: str) -> bool:
    """Whether a field of an entry is one that price_config reads."""
    return name in SIZES or name == "tiered_pricing" or name in PRICES.values() or ABOVE.fullmatch(name) is not None


def per_million(value: Any) -> Any:
    """Dollars a token -> dollars a million tokens: per_million(2.5e-06) -> 2.5"""
    return round(value * 1_000_000, 6) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def rates(info: Mapping[str, Any], ending: str = "") -> dict[str, Any]:
    """What an entry says of each kind of token under names that end so."""
    found = {ours: per_million(info.get(theirs + ending)) for ours, theirs in PRICES.items()}
    return {name: value for name, value in found.items() if value is not None}


def tiers_of(info: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Tokens of input -> the prices of a request that has more."""
    flat, table = rates(info), info.get("tiered_pricing")
    if isinstance(table, list):
        own = {name: value for name, value in flat.items() if name == "output_usd_per_mtok"}
        steps = [step for step in table if isinstance(step, dict) and is_range(step.get("range"))]
        return {int(step["range"][0]): {**own, **rates(step)} for step in steps} or {0: flat}
    endings = filter(None, map(ABOVE.fullmatch, info))
    return {0: flat, **{int(found[2]) * 1_000: {**flat, **rates(info, found[1])} for found in endings}}


def is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], (int, float)) and 0 <= value[0] < 1e12


def price_config(info: Mapping[str, Any]) -> dict[str, Any]:
    """`[models.config]` of one entry: prices, those of long inputs, window, largest answer, abilities."""
    tiers, window = tiers_of(info), info.get("max_input_tokens") or info.get("max_tokens")
    long_context = [{"above": above, **tiers[above]} for above in sorted(tiers) if above and tiers[above].keys() >= NEEDED]
    found = {
        **tiers.get(0, {}),
        "long_context": long_context or None,
        "context_window": window if isinstance(window, int) else None,
        "max_output_tokens": info.get("max_output_tokens") if isinstance(info.get("max_output_tokens"), int) else None,
        "supports_vision": info.get("supports_vision"), "supports_tools": info.get("supports_function_calling"),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}
