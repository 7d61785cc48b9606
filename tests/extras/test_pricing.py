"""Prices and budget: what tokens cost, what an attempt may cost, what may still be spent."""

from __future__ import annotations

import threading
from typing import Any, Dict

import pytest

import llm_router_client as c
from llm_router_extras import cache, pricing, usage

PRICE = {"input": 2.0, "output": 8.0, "cached_input": 0.5}


@pytest.mark.parametrize("text,seconds", [("1s", 1), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("2w", 1209600)])
def test_a_time_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert cache.seconds_in(text, "--since") == seconds


@pytest.mark.parametrize("text", ["", "h", "24", "0h", "-1h", "1.5h", "1 h", "1y", "\u0661h", "\u00b2h", "1234567d", "1H"])
def test_what_is_no_time_is_named_with_its_flag(text: str) -> None:
    with pytest.raises(c.UsageError, match="--since takes a time like"):
        cache.seconds_in(text, "--since")


@pytest.mark.parametrize("usage,counts", [
    ({"prompt_tokens": 9, "completion_tokens": 2}, (9, 0, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, (9, 4, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": None}}, (9, 0, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 99}, (9, 9, 2)),
    ({"input_tokens": 9, "output_tokens": 0}, (9, 0, 0)),
    ({"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 5, "cachedContentTokenCount": 1}, (9, 1, 7)),
    ({}, None), ({"total_tokens": 11}, None), ({"prompt_tokens": 9}, None), ({"completion_tokens": 9}, None),
    ({"prompt_tokens": "9", "completion_tokens": 2}, None), ({"prompt_tokens": True, "completion_tokens": 2}, None),
    ({"prompt_tokens": -1, "completion_tokens": 2}, None), ({"prompt_tokens": 9, "completion_tokens": [2]}, None),
])  # fmt: skip
def test_tokens_are_counted_under_any_vendors_names_and_never_guessed(usage: Dict[str, Any], counts: Any) -> None:
    assert pricing.token_counts(usage) == counts


def test_a_cost_is_tokens_times_prices_per_million() -> None:
    assert pricing.cost_usd(PRICE, 1_000_000, 0, 0) == 2.0
    assert pricing.cost_usd(PRICE, 1_000_000, 500_000, 250_000) == 1.0 + 0.25 + 2.0
    assert pricing.cost_usd({"input": 2.0, "output": 8.0}, 1_000_000, 500_000, 0) == 2.0
    assert pricing.cost_usd({"input": 0, "output": 0}, 9, 9, 9) == 0.0


@pytest.mark.parametrize("content,tokens", [
    ("abc" * 1000, 1000), ("\u4e2d" * 1000, 1000), ("\ud800", 2), ('"url": "' * 300, 1100),
    ([{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}], pricing.IMAGE_TOKENS),
    ([{"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}] * 2, 2 * pricing.IMAGE_TOKENS),
    ({"parts": [{"inlineData": {"mimeType": "image/png", "data": "A" * 99999}}]}, pricing.IMAGE_TOKENS),
])  # fmt: skip
def test_the_tokens_of_a_request_are_taken_rather_high(content: Any, tokens: float) -> None:
    found = pricing.attempt_usd({"messages": [{"role": "user", "content": content}]}, {"input": 1e6, "output": 0.0})
    assert tokens <= found < tokens + 80


@pytest.mark.parametrize("body,answer_tokens", [
    ({}, pricing.ANSWER_TOKENS), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 7}, 7), ({"max_tokens": 7, "n": 3}, 21),
    ({"generationConfig": {"maxOutputTokens": 7}}, 7), ({"max_tokens": "7"}, pricing.ANSWER_TOKENS),
    ({"max_tokens": -7, "n": -1}, pricing.ANSWER_TOKENS),
])  # fmt: skip
def test_an_attempt_may_cost_as_much_as_its_body_allows(body: Dict[str, Any], answer_tokens: int) -> None:
    assert pricing.attempt_usd(body, {"input": 0.0, "output": 1e6}) == answer_tokens
    assert pricing.attempt_usd({"messages": "abc" * 1000}, {"input": 1e6, "output": 0.0}) >= 1000


def test_a_budget_is_spent_to_the_last_cent_and_no_further() -> None:
    budget = usage.Budget(0.3)
    for _ in range(3):
        budget.reserve(0.1, 0.0)
        budget.settle(0.1, 0.1)
    with pytest.raises(c.SafetyError, match=r"may cost about \$0.010000, and \$0.300000 of \$0.3 is spent") as caught:
        budget.reserve(0.01, 0.0)
    assert (caught.value.code, caught.value.exit_code) == ("over_budget", 8)
    budget.reserve(0.0, 0.0)  # what costs nothing may still be asked
    assert usage.Budget(0.0).spent == 0.0


def test_what_others_set_aside_is_waited_for_and_what_is_too_much_alone_is_not() -> None:
    budget = usage.Budget(1.0)
    budget.reserve(0.9, 0.0)
    with pytest.raises(c.SafetyError):
        budget.reserve(1.1, 60.0)  # at once
    with pytest.raises(c.SafetyError):
        budget.reserve(0.5, 0.01)
    reserved = threading.Thread(target=budget.reserve, args=(0.5, 60.0))
    reserved.start()
    budget.settle(0.9, 0.2)
    reserved.join(10)
    assert not reserved.is_alive() and (budget.spent, budget.reserved) == (0.2, 0.5)
