"""What a call cost, in US dollars: as the upstream says, else by the configured prices. Pure.

    cost(usage, model)  -> (0.0123, "upstream") | (0.0105, "prices") | (None, "")

A price is asked for every class of tokens that there were; where one is missing the cost is not known, and no guess is made.
Input that was read from a cache has its own price, else that of input. What was written to a cache is priced as input: its
surcharge is the upstream's to tell.
"""

from __future__ import annotations

from typing import Protocol

from ..wire.ir import Usage

UPSTREAM, PRICES, UNKNOWN = "upstream", "prices", ""
TOKENS = 1_000_000  # what a price is for


class Prices(Protocol):
    """What a configured model has of them: US dollars for a million tokens; None where the file says nothing."""

    @property
    def input_usd_per_mtok(self) -> float | None: ...
    @property
    def output_usd_per_mtok(self) -> float | None: ...
    @property
    def cached_input_usd_per_mtok(self) -> float | None: ...


def cost(usage: Usage | None, model: Prices | None) -> tuple[float | None, str]:
    """Dollars and who says so; (None, "") when nobody does."""
    if usage is None:
        return None, UNKNOWN
    if usage.cost is not None:
        return usage.cost, UPSTREAM
    if model is None:
        return None, UNKNOWN
    total = priced(usage, model.input_usd_per_mtok, model.output_usd_per_mtok, model.cached_input_usd_per_mtok)
    return total, UNKNOWN if total is None else PRICES


def priced(usage: Usage, input_price: float | None, output_price: float | None, cached_price: float | None) -> float | None:
    """priced(Usage(input=1000, text=500), 3.0, 15.0, None) -> 0.0105"""
    parts = (
        (usage.total_input - usage.cache_read, input_price),
        (usage.cache_read, input_price if cached_price is None else cached_price),
        (usage.output, output_price),
    )
    total = 0.0
    for tokens, price in parts:
        if tokens and price is None:
            return None
        total += tokens * (price or 0.0)
    if all(price is None for _, price in parts):
        return None  # no tokens and no prices: nothing is known
    return total / TOKENS
