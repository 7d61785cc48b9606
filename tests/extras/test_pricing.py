"""Prices and budget: what tokens cost, what an attempt may cost, what may still be spent."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Dict, List

import pytest
from raw_server import completion, http

import llm_router_client as c
from llm_router_extras import cache, usage
from llm_router_extras.pricing import (
    ANSWER_TOKENS,
    IMAGE_TOKENS,
    MAX_TOKENS,
    TokenCounts,
    attempt_usd,
    cost_usd,
    estimated_usd,
    token_counts,
)

PRICE = {"input": 2.0, "output": 8.0, "cached_input": 0.5}


@pytest.mark.parametrize("text,seconds", [("1s", 1), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("2w", 1209600)])
def test_a_time_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert cache.seconds_in(text, "--since") == seconds


@pytest.mark.parametrize("text", ["", "h", "24", "0h", "-1h", "1.5h", "1 h", "1y", "\u0661h", "\u00b2h", "1234567d", "1H"])
def test_what_is_no_time_is_named_with_its_flag(text: str) -> None:
    with pytest.raises(c.UsageError, match="--since takes a time like"):
        cache.seconds_in(text, "--since")


@pytest.mark.parametrize("usage,counts", [
    ({"prompt_tokens": 9, "completion_tokens": 2}, TokenCounts(9, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, TokenCounts(5, 2, 4)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": None}}, TokenCounts(9, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 99}, TokenCounts(0, 2, 9)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 16}, TokenCounts(9, 7)),  # thoughts that were left out
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}},
     TokenCounts(2, 2, 4, 3)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 1},
     TokenCounts(4, 2, 1, 4)),
    ({"input_tokens": 9, "output_tokens": 0}, TokenCounts(9, 0)),
    ({"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 4}}, TokenCounts(5, 1, 4)),
    ({"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5,
      "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}}, TokenCounts(9, 1, 4, 2, 3)),
    ({"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 5, "cachedContentTokenCount": 1},
     TokenCounts(8, 7, 1)),
    ({"promptTokenCount": 9, "candidatesTokenCount": 2, "toolUsePromptTokenCount": 3}, TokenCounts(12, 2)),
    ({}, None), ({"total_tokens": 11}, None), ({"prompt_tokens": 9}, None), ({"completion_tokens": 9}, None),
    ({"prompt_tokens": "9", "completion_tokens": 2}, None), ({"prompt_tokens": True, "completion_tokens": 2}, None),
    ({"prompt_tokens": -1, "completion_tokens": 2}, None), ({"prompt_tokens": 9, "completion_tokens": [2]}, None),
    ({"prompt_tokens": 1e308, "completion_tokens": 2}, None), ({"prompt_tokens": 10**400, "completion_tokens": 2}, None),
])  # fmt: skip
def test_tokens_are_counted_under_any_vendors_names_and_never_guessed(usage: Dict[str, Any], counts: Any) -> None:
    assert token_counts(usage) == counts


def test_a_cost_is_tokens_times_prices_per_million() -> None:
    assert cost_usd(PRICE, TokenCounts(1_000_000)) == 2.0
    assert cost_usd(PRICE, TokenCounts(500_000, 250_000, 500_000)) == 1.0 + 0.25 + 2.0
    assert cost_usd({"input": 2.0, "output": 8.0}, TokenCounts(500_000, 0, 500_000)) == 2.0
    assert cost_usd({"input": 0, "output": 0}, TokenCounts(9, 9, 9, 9, 9)) == 0.0


def test_the_tier_with_the_highest_bound_that_the_input_is_over_counts_however_large_a_bound_is() -> None:
    tiers = [{"above": above, "input": usd, "output": 0.0} for above, usd in ((10**400, 9.0), (200_000.0, 3.0), (100_000, 2.0))]
    price = {"input": 1.0, "output": 0.0, "long_context": tiers}
    costs = [cost_usd(price, TokenCounts(tokens)) * 1e6 / tokens for tokens in (100_000, 100_001, 200_001, 10**9)]
    assert costs == pytest.approx([1.0, 2.0, 3.0, 3.0])


def test_a_request_that_writes_to_a_cache_may_cost_what_writing_does() -> None:
    price = {"input": 1e6, "output": 0.0}
    plain = attempt_usd({"messages": [{"content": [{"type": "text", "text": "x" * 3000}]}]}, price)
    for control, times in (({"type": "ephemeral"}, 1.25), ({"type": "ephemeral", "ttl": "1h"}, 2.0)):
        body = {"messages": [{"content": [{"type": "text", "text": "x" * 3000, "cache_control": control}]}]}
        assert plain * times < attempt_usd(body, price) < plain * times * 1.1


def shared_cases() -> List[Any]:
    """The table that holds this client and the gateway to the same sums."""
    cases = json.loads((Path(__file__).parents[1] / "corpus" / "pricing" / "cases.json").read_text(encoding="utf-8"))
    assert cases
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", shared_cases())
def test_the_prices_of_the_shared_table_come_to_its_sums(case: Dict[str, Any]) -> None:
    expected = None if case["usd"] is None else pytest.approx(case["usd"], rel=1e-9)
    assert case["source"] == "upstream" or estimated_usd(case["usage"], case["price"]) == expected


def test_a_sum_that_no_answer_costs_is_not_estimated() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    assert estimated_usd(usage, {"input": 10_000, "output": 0}) == 10_000.0
    assert estimated_usd(usage, {"input": 10_001, "output": 0}) is None


@pytest.mark.parametrize("case", shared_cases())
def test_the_client_comes_to_the_sums_of_the_shared_table(
    case: Dict[str, Any], serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a whole call: `cost` and `cost_source` of the answer. Gemini's own format has a call of its own."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"prices": {"m": case["price"]} if case["price"] else {}}))
    monkeypatch.setenv("LLM_ROUTER_CONFIG", str(config))
    gemini = case["protocol"] == "gemini"
    part = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
    answer = {**part, "usageMetadata": case["usage"]} if gemini else {**completion("x"), "usage": case["usage"]}
    client = c.LLMRouterClient(base_url=serve(http(answer)).base_url)
    found = client.generate_content("m", "Hi") if gemini else client.chat("m", [{"role": "user", "content": "Hi"}])
    assert found.cost == (None if case["usd"] is None else pytest.approx(case["usd"], rel=1e-9))
    assert found.cost_source == {"upstream": "endpoint", "prices": "estimated", "": None}[case["source"]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -100, -0.01, 1e308, 10**400, 10_001, "0.5", True, [1], {}])
def test_what_no_answer_can_cost_is_not_its_cost(value: Any) -> None:
    assert c.stated_cost({"cost": value}) is None
    assert c.stated_cost({"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": value}}) is None


@pytest.mark.parametrize("content,tokens", [
    ("abc" * 1000, 1000), ("\u4e2d" * 1000, 1000), ("\ud800", 2), ('"url": "' * 300, 1100),
    ([{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}], IMAGE_TOKENS),
    ([{"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}] * 2, 2 * IMAGE_TOKENS),
    ({"parts": [{"inlineData": {"mimeType": "image/png", "data": "A" * 99999}}]}, IMAGE_TOKENS),
])  # fmt: skip
def test_the_tokens_of_a_request_are_taken_rather_high(content: Any, tokens: float) -> None:
    found = attempt_usd({"messages": [{"role": "user", "content": content}]}, {"input": 1e6, "output": 0.0})
    assert tokens <= found < tokens + 80


@pytest.mark.parametrize("body,answer_tokens", [
    ({}, ANSWER_TOKENS), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 7}, 7), ({"max_tokens": 7, "n": 3}, 21),
    ({"max_tokens": 10**400}, MAX_TOKENS), ({"max_tokens": 1, "n": 10**400}, MAX_TOKENS),
    ({"generationConfig": {"maxOutputTokens": 7}}, 7), ({"max_tokens": "7"}, ANSWER_TOKENS),
    ({"max_tokens": -7, "n": -1}, ANSWER_TOKENS),
])  # fmt: skip
def test_an_attempt_may_cost_as_much_as_its_body_allows(body: Dict[str, Any], answer_tokens: int) -> None:
    assert attempt_usd(body, {"input": 0.0, "output": 1e6}) == answer_tokens
    assert attempt_usd({"messages": "abc" * 1000}, {"input": 1e6, "output": 0.0}) >= 1000


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
    reserved.join(30)
    assert not reserved.is_alive() and (budget.spent, budget.reserved) == (0.2, 0.5)
