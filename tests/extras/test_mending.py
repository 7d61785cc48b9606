"""Mending: one repair of a request where an endpoint refuses one of its fields."""

from __future__ import annotations

from typing import Any

import pytest

import llm_router_client as c
from llm_router_extras.mending import repair


def refused(message: str, status: int = 400, code: str = "", param: str = "") -> c.LLMRouterError:
    return c.BadRequestError(f"HTTP {status}: {message}", status=status, code=code, param=param)


@pytest.mark.parametrize(
    "body,error,added,expected",
    [
        ({"stream_options": {}, "a": 1}, refused("Unknown field: stream_options"), ("stream_options",), {"a": 1}),
        ({"stream_options": {}}, refused("Unknown field: stream_options"), (), None),
        (
            {"max_tokens": 5},
            refused("'max_tokens' is not supported, use 'max_completion_tokens'"),
            (),
            {"max_completion_tokens": 5},
        ),
        ({"max_completion_tokens": 5}, refused("Extra inputs: max_completion_tokens", 422), (), {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 5}, refused("max_tokens"), (), {"max_completion_tokens": 5}),
        ({"temperature": 0.2}, refused("invalid temperature: only 1 is allowed for this model"), (), {}),
        ({"temperature": 0.2}, refused("no", param="temperature"), (), {}),
        ({"temperature": 9}, refused("temperature must be less than or equal to 2"), (), None),
        ({"max_tokens": 9}, refused("max_tokens is too large: 9"), (), None),
        ({"max_tokens": 9}, refused("max_tokens", 500), (), None),
        ({"max_tokens": 9}, refused("context, max_tokens", code="context_too_long"), (), None),
        ({"max_tokens": 9}, refused("the sky is blue"), (), None),
        ({"top_p": 9}, refused("top_p is not supported"), (), None),
    ],
)
def test_one_repair_where_a_field_with_a_twin_is_named(body: Any, error: Any, added: Any, expected: Any) -> None:
    fixed = repair(body, error, added)
    assert (fixed[0] if fixed else None) == expected
    assert not fixed or "was refused" in fixed[1]


def test_a_refused_schema_becomes_json_object_and_an_instruction_then_only_the_instruction() -> None:
    schema = {"type": "object"}
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    }
    first = repair(body, refused("response_format is not supported"))
    assert first and first[0]["response_format"] == {"type": "json_object"}
    assert '{"type": "object"}' in first[0]["messages"][0]["content"] and first[0]["messages"][1:] == body["messages"]
    second = repair({**body, "response_format": {"type": "json_object"}}, refused("response_format is not supported"))
    assert second and "response_format" not in second[0] and "JSON" in second[0]["messages"][0]["content"]
