"""Naming: whether an answer names a wholly different model."""

from __future__ import annotations

import pytest

from llm_router_extras.naming import other_model


@pytest.mark.parametrize("asked,named,other", [
    ("gpt-4.1", "Qwen2.5-7B-Instruct-Q4_K_M.gguf", True), ("claude-3-opus", "gpt-4o", True), ("mistral-large", "phi-4", True),
    ("mistral-instruct", "/models/phi-4-instruct.gguf", True), ("gpt-4o", "gpt-4o-2024-08-06", False), ("o3", "gpt-4o", False),
    ("claude-3-opus", "us.anthropic.claude-3-opus-v1:0", False), ("openai/gpt-4.1", "gpt-4.1", False),
    ("phi4", "/models/phi-4-Q4.gguf", False), ("mistral-small", "mistralai/Mistral-Small-24B", False),
    ("default", "Qwen2.5-7B", False), ("auto", "gpt-4o", False), ("m", "gpt-4o", False), ("gpt-4o", "", False),
])  # fmt: skip
def test_a_wholly_different_model_is_distinguished_from_a_longer_name(asked: str, named: str, other: bool) -> None:
    assert other_model(asked, named) is other
