"""Prices: what tokens cost in US dollars by the user's configuration, and what a request may cost before it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from llm_router_client import LLMRouterError, SafetyError, as_dict, dump_json, is_amount, is_cost

from .collaborator import Collaborator
from .config import user_config

if TYPE_CHECKING:
    from llm_router_client import JSON, Attempt, LLMRouterClient

ANSWER_TOKENS = 1_000  # for --max-cost: an answer that max_tokens does not bound is taken to be so long
IMAGE_TOKENS = 2_000  # for --max-cost: an image; most models count fewer
MAX_TOKENS = 1_000_000_000  # of one answer; a server that counts more is wrong
CACHE_WRITE, CACHE_WRITE_1H = 1.25, 2.0  # times the price of input, where no other is configured; docs.claude.com, pricing


class TokenCounts(NamedTuple):
    """Tokens in disjoint classes: their sum is everything."""

    input: float = 0  # neither read from nor written to a cache
    output: float = 0  # thoughts included
    cache_read: float = 0
    cache_write: float = 0  # kept for five minutes
    cache_write_1h: float = 0

    @property
    def total_input(self) -> float:
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h


def first_count(fields: JSON, *names: str) -> float | None:
    """The first of the fields that is a count of tokens."""
    return next((fields[name] for name in names if is_amount(fields.get(name)) and fields[name] <= MAX_TOKENS), None)


def token_counts(usage: JSON) -> TokenCounts | None:
    """What a usage object of any vendor counts; None unless it says how much went in and how much came out.

    OpenAI    {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}
    Anthropic {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 7}
    Gemini    {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 5}
      -> TokenCounts(input=6, output=7, cache_read=4)

    Anthropic's input_tokens are those that no cache has to do with; the others' counts hold the cached ones.
    """
    fields = {**usage, **as_dict(usage.get("prompt_tokens_details")), **as_dict(usage.get("input_tokens_details"))}
    given = first_count(fields, "prompt_tokens", "input_tokens", "promptTokenCount")
    output = first_count(fields, "completion_tokens", "output_tokens", "candidatesTokenCount")
    if given is None or output is None:
        return None
    read = first_count(fields, "cached_tokens", "prompt_cache_hit_tokens", "cachedContentTokenCount", "cache_read_input_tokens")
    kept = as_dict(fields.get("cache_creation"))
    hour = first_count(kept, "ephemeral_1h_input_tokens") or 0
    written = first_count(fields, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
    written = written or hour + (first_count(kept, "ephemeral_5m_input_tokens") or 0)
    total = given + (read or 0) + written if is_anthropic(usage) else given
    read = min(read or 0, total)
    written = min(written, total - read)
    hour = min(hour, written)
    tools = first_count(fields, "toolUsePromptTokenCount") or 0  # Google counts them beside the prompt
    output = max(output, (first_count(fields, "total_tokens") or 0) - total) + (first_count(fields, "thoughtsTokenCount") or 0)
    return TokenCounts(total - read - written + tools, output, read, written - hour, hour)


def is_anthropic(usage: JSON) -> bool:
    return "prompt_tokens" not in usage and ("cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage)


def cost_usd(price: JSON, counts: TokenCounts) -> float:
    """What so many tokens cost at a price of the configuration (see config.CONFIG_RULES).

    Without a price of its own, a token read from a cache costs what input does, one written to it 1.25 times that (for an
    hour twice). Of `long_context` the price with the highest `above` that the input is over counts, for all tokens.
    """
    for tier in sorted(price.get("long_context", ()), key=lambda tier: tier["above"]):
        price = tier if counts.total_input > tier["above"] else price
    base = price["input"]
    rates = {"cached_input": base, "cache_write": base * CACHE_WRITE, "cache_write_1h": base * CACHE_WRITE_1H, **price}
    usd = counts.input * base + counts.output * rates["output"] + counts.cache_read * rates["cached_input"]
    usd += counts.cache_write * rates["cache_write"] + counts.cache_write_1h * rates["cache_write_1h"]
    return float(round(usd / 1e6, 10))


def attempt_usd(body: JSON, price: JSON) -> float:
    """What one attempt may cost, taken rather high: a token for three bytes, an answer as long as the body lets it be."""
    written = dump_json(body)
    tokens = len(re.sub(r'"(url|data)": "[^"]*"', "x" * 3 * IMAGE_TOKENS, written).encode("utf-8", "replace")) / 3
    asked = {**as_dict(body.get("generationConfig")), **body}
    limits = [asked[k] for k in ("max_tokens", "max_completion_tokens", "maxOutputTokens") if is_amount(asked.get(k))]
    answers = asked["n"] if is_amount(asked.get("n")) else 1
    output = min([*limits, ANSWER_TOKENS][0], MAX_TOKENS) * min(answers, MAX_TOKENS)
    if '"cache_control": {' not in written:
        return cost_usd(price, TokenCounts(tokens, output))
    for_an_hour = '"ttl": "1h"' in written
    return cost_usd(price, TokenCounts(0, output, 0, 0, tokens) if for_an_hour else TokenCounts(0, output, 0, tokens))


def estimated_usd(usage: JSON, price: JSON | None) -> float | None:
    """What an answer cost by its token counts; None where these or the price are not known, or the sum cannot be."""
    counts = token_counts(usage) if price else None
    cost = cost_usd(price, counts) if price and counts else None
    return cost if is_cost(cost) else None


def prices_of(client: LLMRouterClient) -> JSON:
    """The user's prices: model -> USD for a million tokens, see config.CONFIG_RULES; {} without a configuration."""
    if client.prices is None:
        client.prices = as_dict(user_config().get("prices"))
    return client.prices


def price_of(client: LLMRouterClient, model: str) -> JSON | None:
    """What the configuration says that a model costs. SafetyError under max_cost_usd where it says nothing."""
    prices = prices_of(client)
    if client.budget and model not in prices:
        price = f'{{"prices": {{"{model}": {{"input": 1.0, "output": 2.0}}}}}}'
        step = f"Set its price in the configuration, as {price}, or take it from a list: `prices import FILE`."
        raise SafetyError(f"{model} has no price, so --max-cost cannot be guaranteed", next_step=step)
    return prices.get(model)


class CostEstimate(Collaborator):
    """Where the endpoint does not say what an answer cost: its tokens at the user's price, marked as estimated."""

    def after(self, attempt: Attempt) -> None:
        answer, call = attempt.answer, attempt.call
        if answer is None or answer.cost is not None or token_counts(answer.usage) is None:
            return
        try:
            answer.cost = estimated_usd(answer.usage, price_of(call.client, attempt.model))
        except LLMRouterError as error:
            call.warnings.append(f"the cost could not be estimated: {error.message}")
        answer.cost_source = None if answer.cost is None else "estimated"
