"""Routing: the user's tables, the score of a request, the choice with its fallback chain, `route` and --model auto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Tuple

import pytest

import llm_router_client as c

WHOLE = {
    "tiers": {"cheap": ["small"], "middle": ["medium", "other/medium"], "strong": ["large"]},
    "tasks": {"code": ["coder"], "my task": ["large"]},
    "prices": {"small": {"input": 1, "output": 2.5}, "large": {"input": 3, "output": 4, "cached_input": 0.5}},
}
NOT_CONFIGURATIONS: Tuple[Tuple[Any, str], ...] = (
    ([], "the configuration must be a JSON object"),
    ({"tier": {}}, "the configuration has the unknown key 'tier'"),
    ({"tiers": []}, "tiers must be a JSON object"),
    ({"tiers": {"best": ["a"]}}, "tiers has the unknown key 'best'"),
    ({"tiers": {"cheap": "a"}}, "tiers.cheap must be a list of model names"),
    ({"tiers": {"cheap": []}}, "tiers.cheap must be a list of model names"),
    ({"tiers": {"cheap": [1]}}, "not a model name: '1'"),
    ({"tasks": {"code": ["a b"]}}, "not a model name: 'a b'"),
    ({"prices": {"a": 1}}, "prices.a must be a JSON object"),
    ({"prices": {"a": {"input": 1}}}, "prices.a.output must be a number"),
    ({"prices": {"a": {"input": True, "output": 1}}}, "prices.a.input must be a number"),
    ({"prices": {"a": {"input": -1, "output": 1}}}, "prices.a.input must be a number"),
    ({"prices": {"a": {"input": 1, "output": 1e9}}}, "prices.a.output must be a number"),
    ({"prices": {"a": {"input": 1, "output": 1, "cached_input": "free"}}}, "prices.a.cached_input must be a number"),
    ({"prices": {"a": {"input": 1, "output": 1, "cached": 1}}}, "prices.a has the unknown key 'cached'"),
)


# ------------------------------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize("config", [{}, WHOLE, {"prices": {}}])
def test_a_configuration_is_taken_as_it_is(config: Any) -> None:
    assert c.check_config(config) == config


@pytest.mark.parametrize("config,said", NOT_CONFIGURATIONS, ids=[said for _, said in NOT_CONFIGURATIONS])
def test_what_is_wrong_in_a_configuration_is_named_with_its_place(config: Any, said: str) -> None:
    with pytest.raises(c.UsageError) as caught:
        c.check_config(config)
    assert said in caught.value.message


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_configuration_comes_from_the_named_file_else_from_the_users_directory(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert c.user_config() == {}
    monkeypatch.setenv("APPDATA" if c.os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path / "own"))
    assert c.user_config() == {}
    write(tmp_path / "own" / "llm-router" / "config.json", '\ufeff{"tasks": {"own": ["a"]}}')
    assert c.user_config() == {"tasks": {"own": ["a"]}}
    monkeypatch.setenv("LLM_ROUTER_CONFIG", write(tmp_path / "named.json", json.dumps(WHOLE)))
    assert c.user_config() == WHOLE


def test_no_configuration_is_read_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("", "llm-router", ".config/llm-router", "~/.config/llm-router"):
        write(tmp_path / folder / "config.json", '{"tasks": {"own": ["a"]}}')
    monkeypatch.chdir(tmp_path)
    for relative in ("", ".", ".config"):
        monkeypatch.setenv("XDG_CONFIG_HOME", relative)
        monkeypatch.setenv("APPDATA", relative)
        assert c.user_config() == {}
    monkeypatch.setattr(c.os.path, "expanduser", lambda path: path)  # what it does where no home is known
    assert c.user_config() == {}


@pytest.mark.parametrize("text,said", [
    ("{", "is not JSON"), ('{"prices": NaN}', "is not JSON"), ("", "is not JSON"), ("[" * 100_000, "is not JSON"),
    ("[]", "must be a JSON object"), ('{"tiers": {"best": []}}', "unknown key 'best'"), (None, "cannot read"),
])  # fmt: skip
def test_a_damaged_configuration_is_a_clear_error_that_names_the_file(
    text: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "c.json") if text is None else write(tmp_path / "c.json", text)
    monkeypatch.setenv("LLM_ROUTER_CONFIG", path)
    with pytest.raises(c.UsageError) as caught:
        c.user_config()
    assert said in caught.value.message and path in caught.value.message


def test_a_configuration_over_the_limit_or_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ROUTER_CONFIG", write(tmp_path / "c.json", " " * (c.MAX_CONFIG_BYTES + 1)))
    with pytest.raises(c.SafetyError):
        c.user_config()
    monkeypatch.setenv("LLM_ROUTER_CONFIG", str(tmp_path))
    with pytest.raises(c.SafetyError):
        c.user_config()
