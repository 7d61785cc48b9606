"""Frameworks and SDKs as their users write them, through the gateway to an upstream of each protocol."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest
from conftest import ROOTS

ANSWER = "This is the mock server, not a model. You said: Hello"
SUM = "sum 2"  # the mock server fills both numbers with 1
MATRIX = bool(os.environ.get("LLM_ROUTER_MATRIX"))


class Case(NamedTuple):
    """One script, and the classes by which its users know two errors."""

    environment: str
    script: str
    words: tuple[str, ...]
    limited: str  # the class of a 429 that stays; "" where the framework tries for too long to wait for it
    long: str  # the class of a conversation that is too long
    small: str = ""  # the upstream of the small gate; "": only with LLM_ROUTER_MATRIX=1


CASES = {
    "openai-agents": Case("main", "openai_agents_default.py", (), "RateLimitError", "BadRequestError", "anthropic"),
    "pydantic-ai openai:": Case(
        "main", "pydantic_ai_any.py", ("openai",), "ModelRateLimitError", "ModelContextWindowExceededError", "gemini"
    ),
    "pydantic-ai openai-chat:": Case(
        "main", "pydantic_ai_any.py", ("openai-chat",), "ModelRateLimitError", "ModelContextWindowExceededError"
    ),
    "pydantic-ai anthropic:": Case(
        "main", "pydantic_ai_any.py", ("anthropic",), "ModelRateLimitError", "ModelContextWindowExceededError"
    ),
    "pydantic-ai google:": Case(
        "main", "pydantic_ai_any.py", ("google",), "ModelRateLimitError", "ModelContextWindowExceededError"
    ),
    "langchain openai": Case("main", "langchain_any.py", ("openai",), "OpenAIRateLimitError", "BadRequestError"),
    "langchain openai reasoning": Case(
        "main", "langchain_any.py", ("reasoning",), "OpenAIRateLimitError", "BadRequestError", "anthropic"
    ),
    "langchain anthropic": Case(
        "main", "langchain_any.py", ("anthropic",), "AnthropicRateLimitError", "AnthropicContextOverflowError"
    ),
    "langchain google": Case("main", "langchain_any.py", ("google",), "GoogleRateLimitError", "GoogleContextOverflowError"),
    "agent-framework": Case("main", "agent_framework_client.py", (), "ChatClientException", "ChatClientException", "openai"),
    "chatlas": Case("main", "chatlas_openai.py", (), "RateLimitError", "BadRequestError", "gemini"),
    "dspy": Case("main", "dspy_lm.py", (), "LMRateLimitError", "ContextWindowExceededError"),
    "litellm": Case("main", "litellm_any.py", (), "RateLimitError", "ContextWindowExceededError"),
    "strands openai": Case("main", "strands_any.py", ("openai",), "", "ContextWindowOverflowException"),
    "strands responses": Case("main", "strands_any.py", ("responses",), "", "ContextWindowOverflowException"),
    "smolagents": Case("main", "smolagents_openai.py", (), "RateLimitError", "BadRequestError"),
    "groq": Case("main", "groq_chat.py", (), "RateLimitError", "BadRequestError", "responses"),
    "mistralai": Case("main", "mistral_chat.py", (), "SDKError", "SDKError"),
    "ollama": Case("main", "ollama_client.py", (), "ResponseError", "ResponseError", "anthropic"),
    "instructor": Case("apart", "instructor_openai.py", (), "RateLimitError", "BadRequestError"),
    "llama-index": Case("apart", "llama_index_like.py", (), "RateLimitError", "BadRequestError"),
    "@ai-sdk/openai": Case("js", "ai_sdk.mjs", ("openai",), "status 429", "status 400", "gemini"),
    "@ai-sdk/openai-compatible": Case("js", "ai_sdk.mjs", ("compatible",), "status 429", "status 400"),
    "@ai-sdk/anthropic": Case("js", "ai_sdk.mjs", ("anthropic",), "status 429", "status 400"),
    "@ai-sdk/google": Case("js", "ai_sdk.mjs", ("google",), "status 429", "status 400", "openai"),
    "@langchain/google-genai": Case("js", "langchain_google.mjs", (), "status 429", "status 400"),
    "@google/genai": Case("js", "google_genai.mjs", (), "status 429", "status 400", "responses"),
}
CELLS = [(name, each) for name, case in CASES.items() for each in ROOTS if MATRIX or case.small == each]
# Streams of agent-framework end in the whole text once more, marked to replace what came; it does so for OpenAI's own API too.
REPEATS = {"agent-framework"}
FIXED: dict[str, Any] = {  # step -> what it returns
    "chat": ANSWER, "completion": ANSWER, "responses": ANSWER, "generate": ANSWER, "anthropic": ANSWER, "schema": ["mock", 1],
    "schema_native": ["mock", 1], "schema_by_json": ["mock", 1], "schema_by_responses": ["mock", 1], "partial": ["mock", 1],
    "listed": True, "calls": [["add", '{"first":1,"second":1}']], "session": ANSWER.replace("Hello", "Again"),
    "thinking": ANSWER.replace("Hello", "Again"),
}  # fmt: skip


def check_stream(name: str, pieces: list[str]) -> None:
    """Word by word, and together the answer."""
    pieces = pieces[:-1] if name in REPEATS else pieces
    assert "".join(pieces) == ANSWER
    assert len([piece for piece in pieces if piece]) > 2


def check_raised(step: str, found: Any, wanted: str) -> None:
    assert isinstance(found, dict) and wanted in found["raised"], (step, found)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "upstream"), CELLS)
def test_a_framework_does_what_its_users_write(name: str, upstream: str, outcomes: Any) -> None:
    case = CASES[name]
    found = outcomes(case.environment, case.script, case.words, upstream)
    if case.limited:
        check_raised("limited", found.pop("limited"), case.limited)
    check_raised("long", found.pop("long"), case.long)
    if "cut" in found:
        check_raised("cut", found.pop("cut"), "ApiError")
    for step, value in found.items():
        if "stream" in step and "tools" not in step:
            check_stream(name, value)
        elif "tools" in step:
            assert SUM in str(value), (step, value)
        else:
            assert value == FIXED[step], (step, value)
