"""Mistakes that people make, and the one line that says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.commands.serve import count_text
from llm_router_gateway.config import config

UP = {"name": "up", "api": "openai", "base_url": "http://127.0.0.1:1", "any_model": False}
KEY = {"name": "ci", "key": "k" + "ey-" * 8}


def problems(document: dict[str, Any]) -> list[str]:
    with pytest.raises(config.ConfigError) as told:
        config.parse(document)
    return [str(problem) for problem in told.value.problems]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("requests_per_minute", "write max_requests with per_seconds = 60"),
        ("rpm", "write max_requests with per_seconds = 60"),
        ("requests_per_day", "write max_requests with per_seconds = 86400"),
        ("tpm", "write tokens_per_minute"),
        ("tokens_per_minutes", 'did you mean "tokens_per_minute"?'),
    ],
)
def test_a_limit_under_another_name_says_what_to_write(name: str, write: str) -> None:
    [problem] = problems({"providers": [{**UP, "limits": {name: 60}}]})
    assert f"limits.{name}: unknown key; {write}" in problem


def test_a_misspelt_protocol_is_one_problem() -> None:
    [problem] = problems({"providers": [{**UP, "api": "opnai"}]})
    assert "providers[0].api" in problem and "opnai" in problem
    assert len(problems({"providers": [{**UP, "api": "opnai", "type": "wrong"}]})) == 2


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"allowed_models": ["up/gpt-*", "up/qwen"]}, 'allowed_models has "up/qwen"'),
        ({"allowed_models": ["gpt-x", "gtp-x"]}, 'allowed_models has "gtp-x"'),
        ({"allowed_groups": ["all", "al"]}, 'allowed_groups has "al"'),
        ({"allowed_providers": ["up", "upp"]}, 'allowed_providers has "upp"'),
        ({"allowed_tags": ["Cod*", "coling"]}, 'allowed_tags has "coling"'),
        ({"allowed_models": ["up/*"], "allowed_groups": ["*"], "allowed_providers": ["u*"], "allowed_tags": ["CODING"]}, ""),
        ({}, ""),
    ],
)
def test_a_pattern_that_nothing_fits_is_a_note(terms: dict[str, Any], said: str) -> None:
    models = [{"name": "gpt-x", "provider": "up", "tags": ["coding"]}]
    groups = [{"name": "all", "members": [{"model": "up/gpt-x"}]}]
    made = config.parse({"providers": [UP], "models": models, "groups": groups, "keys": [{**KEY, **terms}]})
    notes = [note for note in made.notes if "nothing here fits" in note]
    assert len(notes) == bool(said) and said in "".join(notes)


def test_a_provider_that_takes_any_name_fits_any_pattern() -> None:
    made = config.parse({"providers": [{**UP, "any_model": True}], "keys": [{**KEY, "allowed_models": ["up/new", "bare"]}]})
    assert not [note for note in made.notes if "nothing here fits" in note]


def test_one_is_not_said_in_the_plural() -> None:
    assert (count_text(1, "listed model"), count_text(0, "provider"), count_text(2, "provider")) == (
        "1 listed model", "0 providers", "2 providers",
    )  # fmt: skip
