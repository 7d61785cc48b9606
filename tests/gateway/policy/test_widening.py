"""widening: what the body of a bounded key may not carry, because some upstream reads more into it."""

import json
from typing import Any

import pytest

from llm_router_gateway.config.keys import Key, read_json
from llm_router_gateway.errors import BadRequest
from llm_router_gateway.json_body import read_body
from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.policy import parameter_limits
from llm_router_gateway.policy.widening import OTHER_MODELS, check_body, may_repeat, watch_names
from llm_router_gateway.proxy.request_budget import allowance_of


def refusal(text: str, api: str = "openai", **more: Any) -> str:
    """The field that is named; "" when the body passes."""
    try:
        check_body(read_body(text.encode()), api, **more)
    except BadRequest as error:
        assert error.details["path"] in error.message
        return str(error.details["path"])
    return ""


@pytest.mark.parametrize("name", sorted(OTHER_MODELS) + ["Models", "FALLBACKS"])
def test_fields_that_name_further_models_are_refused(name: str) -> None:
    assert refusal(json.dumps({"model": "m", name: ["dear"]})) == name


@pytest.mark.parametrize("text, api, field", [
    ('{"Model": "dear"}', "openai", "Model"), ('{"MAX_TOKENS": 9}', "openai", "MAX_TOKENS"), ('{"N": 9}', "openai", "N"),
    ('{"be\u017ft_of": 9}', "openai", "be\u017ft_of"),  # Go folds a long s, too
    ('{"generationConfig": {"topk": 9}}', "gemini", "generationConfig.topk"),
    ('{"GenerationConfig": {"topK": 9}}', "gemini", "GenerationConfig"),
    ('{"model": "m", "max_tokens": 9}', "openai", ""), ('{"messages": [{"Model": 1, "N": 2}]}', "openai", ""),
])  # fmt: skip
def test_bounded_fields_in_another_case_are_refused(text: str, api: str, field: str) -> None:
    assert refusal(text, api) == field


@pytest.mark.parametrize("text, api, field", [
    ('{"model": "dear", "model": "m"}', "openai", "model"), ('{"n": 1, "n": 9}', "openai", "n"),
    ('{"best_of": 1, "x": 1, "best_of": 9}', "openai", "best_of"), ('{"\\u006eum": 1, "\\u006e": 1, "n": 9}', "openai", "n"),
    ('{"generationConfig": {"candidateCount": 9, "candidateCount": 1}}', "gemini", "generationConfig.candidateCount"),
    ('{"generationConfig": {}, "generationConfig": {"topK": 1}}', "gemini", "generationConfig"),
    ('{"model": "m", "messages": [{"content": "\\"model\\" \\"n\\""}], "tools": [{"n": 1}, {"n": 2}], "n": 1}', "openai", ""),
    ('{"stop": 1, "stop": 2}', "openai", ""),
])  # fmt: skip
def test_bounded_fields_that_are_there_twice_are_refused(text: str, api: str, field: str) -> None:
    assert refusal(text, api) == field


def test_fields_that_are_written_anew_may_be_there_twice_and_further_ones_are_watched() -> None:
    assert refusal('{"n": 1, "n": 9}', written=frozenset({"n"})) == ""
    assert refusal('{"Seed": 1}', bounded=["seed"]) == "Seed"
    assert refusal('{"thinking": {"Budget_Tokens": 1}}', "anthropic", bounded=["thinking.budget_tokens"]).endswith("_Tokens")


def test_most_bodies_are_not_read_a_second_time() -> None:
    places = watch_names("openai", frozenset())
    assert not may_repeat('{"model": "m", "messages": [], "n": 1, "max_tokens": 5}', places)


KEYS = {"lists": {"allowed_models": ["o/*"]}, "bounds": {"parameter_limits": {"max_tokens": 9}},
        "budget": {"budget": {"tokens_per_day": 99}}}  # fmt: skip


@pytest.mark.parametrize("terms", KEYS.values(), ids=KEYS)
def test_every_kind_of_bound_key_is_checked_and_a_free_one_is_not(terms: dict[str, Any]) -> None:
    assert allowance_of(read_json({"name": "k", **terms}), LocalBudgets(), lambda: 0.0) is not None
    assert allowance_of(Key("k", "k"), LocalBudgets(), lambda: 0.0) is None


@pytest.mark.parametrize("value", ["9" * 400, "1e999", "-1e999", "1e16"])
@pytest.mark.parametrize("field", ["n", "best_of", "max_tokens", "temperature"])
def test_numbers_that_cannot_be_meant_are_a_400(value: str, field: str) -> None:
    body = read_body(f'{{"{field}": {value}}}'.encode())
    caps = parameter_limits.read_limits({"max_tokens": 100, "n": 2, "temperature": 1})
    with pytest.raises(BadRequest, match=field):
        parameter_limits.enforce(caps, "openai", body.fields, body=body)
        parameter_limits.output_of(body.fields, "openai")
        parameter_limits.choices_of(body.fields, "openai")
