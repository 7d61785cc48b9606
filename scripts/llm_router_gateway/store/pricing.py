"""The cost of a call in US dollars: as the upstream reports it, else by the configured prices. The only such place. Pure.

    cost(usage, model)              -> (0.0123, "upstream") | (0.0105, "prices") | (None, "")
    highest_price(model, 5_000, "1h") -> Price for one token, the most that input of that size may cost; None without prices

Every class of tokens in use needs a price; where one is missing the cost is unknown, never a guess.
Input that was read from a cache costs what `cached_input_usd_per_mtok` says, else what input costs; input that was written to
one what `cache_write_usd_per_mtok` says, else 1.25 times input (for an hour: twice). Of `long_context` the price with the
highest `above` that the whole input exceeds counts, for all tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..policy.budgets import Price
from ..wire.ir import Usage

UPSTREAM, PRICES, UNKNOWN = "upstream", "prices", ""
CACHE = "cache"  # of an answer that was given again: it costs nothing
TOKENS = 1_000_000  # what a price is for
CACHE_WRITE = {"5m": 1.25, "1h": 2.0}  # times the price of input; docs.claude.com, pricing
DIGITS = 10  # of US dollars: below that is the rounding of binary fractions


class Rates(Protocol):
    """US dollars for a million tokens of each class; None where none is configured."""

    @property
    def input_usd_per_mtok(self) -> float | None: ...
    @property
    def output_usd_per_mtok(self) -> float | None: ...
    @property
    def cached_input_usd_per_mtok(self) -> float | None: ...
    @property
    def cache_write_usd_per_mtok(self) -> float | None: ...
    @property
    def cache_write_1h_usd_per_mtok(self) -> float | None: ...


class Tier(Rates, Protocol):
    """The rates of requests with more than `above` input tokens."""

    @property
    def above(self) -> int: ...


class Prices(Rates, Protocol):
    """What a configured model has of them."""

    @property
    def long_context(self) -> Sequence[Tier]: ...


def rates_at(model: Prices, input_tokens: float) -> Rates:
    """The rates of a request of that size."""
    if not model.long_context:
        return model
    over = [tier for tier in model.long_context if input_tokens > tier.above]
    return max(over, key=lambda tier: tier.above) if over else model


def write_rate(rates: Rates, kept: str) -> float | None:
    """What writing to a cache costs: write_rate(rates, "1h")."""
    own = rates.cache_write_1h_usd_per_mtok if kept == "1h" else rates.cache_write_usd_per_mtok
    base = rates.input_usd_per_mtok
    return own if own is not None or base is None else base * CACHE_WRITE[kept]


def classes(usage: Usage, rates: Rates) -> Iterator[tuple[int, float | None]]:
    """Each class of tokens with its rate."""
    base, cached = rates.input_usd_per_mtok, rates.cached_input_usd_per_mtok
    yield usage.input, base
    yield usage.cache_read, base if cached is None else cached
    yield usage.cache_write, write_rate(rates, "5m")
    yield usage.cache_write_1h, write_rate(rates, "1h")
    yield usage.output, rates.output_usd_per_mtok


def cost(usage: Usage | None, model: Prices | None) -> tuple[float | None, str]:
    """Dollars and their source; (None, "") when the cost is unknown."""
    if usage is None:
        return None, UNKNOWN
    if usage.cost is not None:
        return usage.cost, UPSTREAM
    total = None if model is None else usage_cost(usage, rates_at(model, usage.total_input))
    return total, UNKNOWN if total is None else PRICES


def usage_cost(usage: Usage, rates: Rates) -> float | None:
    """usage_cost(Usage(input=1000, text=500), rates) -> 0.0105 where input is 3 and output 15"""
    total, is_known = 0.0, False
    for tokens, rate in classes(usage, rates):
        if tokens and rate is None:
            return None
        is_known = is_known or rate is not None
        total += tokens * (rate or 0.0)
    return round(total / TOKENS, DIGITS) if is_known else None  # no tokens and no prices: nothing is known


def input_share(usage: Usage, model: Prices | None) -> float | None:
    """The input's part of what a usage costs by the configured prices, 0 to 1; None where they do not say."""
    if model is None:
        return None
    rates = rates_at(model, usage.total_input)
    total, written = usage_cost(usage, rates), rates.output_usd_per_mtok
    if not total or written is None:
        return None
    return min(1.0, max(0.0, 1.0 - usage.output * written / TOKENS / total))


def highest_price(model: Prices | None, input_tokens: float, kept: str = "") -> Price | None:
    """The most that a token of a request may cost; `kept` is how long it asks a cache to keep it: "", "5m", "1h".

    None unless both directions have a price.
    """
    if model is None:
        return None
    rates = rates_at(model, input_tokens)
    base, output = rates.input_usd_per_mtok, rates.output_usd_per_mtok
    if base is None or output is None:
        return None
    dear = max(base, write_rate(rates, kept) or 0.0) if kept else base
    return Price(dear / TOKENS, output / TOKENS)
