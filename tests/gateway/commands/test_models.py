"""models refresh: what a provider's list tells of a model becomes an entry of the configuration."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from running import command

from llm_router_gateway.commands.models import entries_of, listed_config, parser, proposals
from llm_router_gateway.config import config

SHAPES = {
    "OpenRouter": (
        {"id": "a/b", "context_length": 9, "pricing": {"prompt": "0.000001", "completion": "0.000002", "input_cache_read": "0"},
         "architecture": {"input_modalities": ["text", "image"]}, "top_provider": {"max_completion_tokens": 3},
         "supported_parameters": ["tools", "stop"]},
        {"context_window": 9, "max_output_tokens": 3, "modalities": ["text", "image"], "supports_tools": True,
         "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0, "cached_input_usd_per_mtok": 0.0},
    ),
    "a price that is not fixed": ({"id": "auto", "pricing": {"prompt": "-1", "completion": "-1"}}, {}),
    "vLLM": ({"id": "m", "max_model_len": 8192}, {"context_window": 8192}),
    "llama.cpp": ({"id": "m", "meta": {"n_ctx": 4096, "n_ctx_train": 131072}}, {"context_window": 4096}),
    "Gemini": ({"name": "models/m", "inputTokenLimit": 9, "outputTokenLimit": 3},
               {"context_window": 9, "max_output_tokens": 3}),
    "Anthropic": ({"id": "m", "max_input_tokens": 9, "max_tokens": 3}, {"context_window": 9, "max_output_tokens": 3}),
    "OpenAI": ({"id": "m", "object": "model", "created": 1, "owned_by": "x"}, {}),
    "more than any number": ({"id": "m", "context_length": float("inf"), "max_tokens": 1e300, "max_model_len": 7},
                             {"context_window": 7}),
    "more than a float holds": ({"id": "m", "context_length": 10**400, "pricing": {"prompt": 10**400}, "n_ctx": 7},
                                {}),
    "nonsense": ({"id": "m", "context_length": "many", "pricing": [], "meta": None, "supported_parameters": {}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("maker", SHAPES)
def test_every_makers_list_is_read(maker: str) -> None:
    entry, told = SHAPES[maker]
    assert listed_config(entry) == told


@pytest.mark.parametrize("answer", [None, [], {"data": 3}, {"data": [1, {"id": 2}, {}]}])
def test_what_is_no_list_has_no_models(answer: Any) -> None:
    assert entries_of(answer) == {}


def proposed(*words: str, known: frozenset[str] = frozenset(), prices: Any = None) -> list[Any]:
    [provider] = config.parse({"providers": [{"name": "up", "api": "openai", "base_url": "http://127.0.0.1:1"}]}).providers
    answer = {"data": [{"id": "chat-a"}, {"id": "chat-b", "max_model_len": 7}, {"id": "text-embedding-x"}]}
    return proposals(provider, answer, set(known), prices or {}, parser().parse_args(["refresh", *words]))


def test_what_the_file_has_and_what_is_no_chat_model_is_left_out() -> None:
    assert [each["name"] for each in proposed()] == ["chat-a", "chat-b"]
    assert [each["name"] for each in proposed(known=frozenset({"chat-a"}))] == ["chat-b"]
    assert len(proposed("--all")) == 3 and len(proposed("--search", "T-B")) == 1


def test_a_price_list_fills_in_what_the_provider_does_not_tell() -> None:
    prices = {"up/chat-a": {"input_cost_per_token": 1e-06}, "chat-b": {"input_cost_per_token": 3e-06, "max_input_tokens": 99}}
    first, second = proposed(prices=prices)
    assert first["config"] == {"input_usd_per_mtok": 1.0}
    assert second["config"] == {"input_usd_per_mtok": 3.0, "context_window": 7}  # the provider knows its own window


def test_the_proposals_are_entries_that_can_be_pasted(mock_server: Any, tmp_path: Path) -> None:
    text = f'[[providers]]\nname = "up"\napi = "openai"\nbase_url = "{mock_server.base_url}"\n'
    (tmp_path / "router.toml").write_text(text, "utf-8")
    (tmp_path / "prices.json").write_text(json.dumps({"demo": {"input_cost_per_token": 1e-06}}), "utf-8")
    done = command(tmp_path, "models", "refresh", "--prices", "prices.json")
    assert done.returncode == 0 and re.search(rb"(\d+) proposed, \d+ of them without a price", done.stderr), done.stderr
    pasted = config.parse(tomllib.loads(text + done.stdout.decode()))
    by_name = {model.name: model for model in pasted.models}
    assert by_name["demo"].input_usd_per_mtok == 1.0 and by_name["demo-window-100"].context_window == 100
    (tmp_path / "router.toml").write_text(text + done.stdout.decode(), "utf-8")
    assert command(tmp_path, "models", "refresh").stdout == b""


@pytest.mark.slow
def test_a_provider_that_does_not_answer_is_named(tmp_path: Path) -> None:
    text = '[[providers]]\nname = "gone"\napi = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n'
    (tmp_path / "router.toml").write_text(text, "utf-8")
    done = command(tmp_path, "models", "refresh")
    assert done.returncode == 1 and b"gone: " in done.stderr and not done.stdout
    assert command(tmp_path, "models", "refresh", "--provider", "other").returncode == 2
