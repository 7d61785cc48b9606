"""Mistakes that people make, and the one line that says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.commands.serve import count_text
from llm_router_gateway.config import config, keys
from llm_router_gateway.config.keys import read_json
from llm_router_gateway.errors import BadRequest

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


@pytest.mark.parametrize("name", [None, "", " ", " x", "a\nb", 5])
def test_a_name_that_cannot_be_is_one_problem(name: object) -> None:
    given = {} if name is None else {"name": name}
    models = [{"name": "gpt-x", "provider": "up"}]
    tables: list[dict[str, Any]] = [
        {"providers": [UP, {"api": "openai", "base_url": "http://127.0.0.1:1/v1", **given}]},
        {"providers": [UP], "keys": [{"key": "a-key-of-the-file", **given}, {"key": "another-key-of-it", **given}]},
        {"providers": [UP], "models": [*models, {"provider": "up", **given}]},
        {"providers": [UP], "models": models, "groups": [{"members": [{"model": "gpt-x"}], **given}]},
    ]
    for table in tables:
        found = [problem.partition(": ")[0] for problem in problems(table)]
        assert found and len(set(found)) == len(found) and all(path.endswith("].name") for path in found), found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "is missing"), (" ", "is missing"), (5, "5 is not a text"), ("a\nb", '"a\\nb" holds a control character'),
        ("ci/cd", '"ci/cd" holds a slash'), (" ci", '" ci" begins or ends with white space'), ("x" * 101, "has 101 characters"),
    ],
)  # fmt: skip
def test_a_name_of_a_key_is_refused_with_its_reason_and_once(name: object, told: str) -> None:
    with pytest.raises(BadRequest) as wrong:
        read_json({"name": name})
    assert wrong.value.message.startswith(f"name: {told}") and wrong.value.message.count("name:") == 1
    assert keys.name_problem("ci.cd") == ""


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
    notes = [note for note in made.notes if "matches nothing in the configuration" in note]
    assert len(notes) == bool(said) and said in "".join(notes)


def test_a_provider_that_takes_any_name_fits_any_pattern() -> None:
    made = config.parse({"providers": [{**UP, "any_model": True}], "keys": [{**KEY, "allowed_models": ["up/new", "bare"]}]})
    assert not [note for note in made.notes if "matches nothing in the configuration" in note]


def test_one_is_not_said_in_the_plural() -> None:
    assert (count_text(1, "listed model"), count_text(0, "provider"), count_text(2, "provider")) == (
        "1 listed model", "0 providers", "2 providers",
    )  # fmt: skip
