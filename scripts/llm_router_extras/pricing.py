"""Prices: what tokens cost in US dollars by the user's configuration, and what a request may cost before it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_router_client import Collaborator, LLMRouterError, as_dict, dump_json, is_amount

if TYPE_CHECKING:
    from llm_router_client import JSON, Attempt

ANSWER_TOKENS = 1_000  # for --max-cost: an answer that max_tokens does not bound is taken to be so long
IMAGE_TOKENS = 2_000  # for --max-cost: an image; most models count fewer
COUNTS = (  # tokens of the prompt, of it cached, of the answer, of thoughts beside it: as the vendors call them
    ("prompt_tokens", "input_tokens", "promptTokenCount"),
    ("cached_tokens", "prompt_cache_hit_tokens", "cachedContentTokenCount"),
    ("completion_tokens", "output_tokens", "candidatesTokenCount"),
    ("thoughtsTokenCount",),
)


def token_counts(usage: JSON) -> tuple[float, float, float] | None:
    """(prompt, of it cached, answer) of a usage object; None unless it has the first and the last."""
    flat = {**usage, **as_dict(usage.get("prompt_tokens_details"))}
    prompt, cached, answer, thoughts = ([flat[k] for k in names if is_amount(flat.get(k))] for names in COUNTS)
    return (prompt[0], min([*cached, 0][0], prompt[0]), answer[0] + [*thoughts, 0][0]) if prompt and answer else None


def cost_usd(price: JSON, prompt: float, cached: float, answer: float) -> float:
    """What so many tokens cost at a price (see config.CONFIG_RULES)."""
    again = cached * (price["cached_input"] if "cached_input" in price else price["input"])
    return float(round(((prompt - cached) * price["input"] + again + answer * price["output"]) / 1e6, 10))


def attempt_usd(body: JSON, price: JSON) -> float:
    """What one attempt may cost, taken rather high: a token for three bytes, an answer as long as the body lets it be."""
    text = re.sub(r'"(url|data)": "[^"]*"', "x" * 3 * IMAGE_TOKENS, dump_json(body)).encode("utf-8", "replace")
    asked = {**as_dict(body.get("generationConfig")), **body}
    limits = [asked[k] for k in ("max_tokens", "max_completion_tokens", "maxOutputTokens") if is_amount(asked.get(k))]
    answers = asked["n"] if is_amount(asked.get("n")) else 1
    return cost_usd(price, len(text) / 3, 0, [*limits, ANSWER_TOKENS][0] * answers)


class CostEstimate(Collaborator):
    """Where the endpoint does not say what an answer cost: its tokens at the user's price, marked as estimated."""

    def after(self, attempt: Attempt) -> None:
        answer, call = attempt.answer, attempt.call
        counts = token_counts(answer.usage) if answer is not None and answer.cost is None else None
        if answer is None or counts is None:
            return
        try:
            price = call.client.price(attempt.model)
        except LLMRouterError as error:
            call.warnings.append(f"the cost could not be estimated: {error.message}")
            return
        if price:
            answer.cost, answer.cost_source = cost_usd(price, *counts), "estimated"
