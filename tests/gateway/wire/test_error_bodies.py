"""Errors in OpenAI's words, for the callers of all its APIs."""

import json
from typing import Any

import pytest

from llm_router_gateway.errors import BadRequest, GatewayError, UpstreamFailed
from llm_router_gateway.wire.complaints import classify
from llm_router_gateway.wire.registry import UPSTREAMS, wire

TOO_LONG = {
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error",
                                             "message": "prompt is too long: 9000 tokens > 8192 maximum"}},
    "openai": {"error": {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}},
    "responses": {"error": {"message": "Your input exceeds the context window of this model.",
                            "code": "context_length_exceeded"}},
    "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT",
                         "message": "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."}},
}  # fmt: skip


@pytest.mark.parametrize("caller", ["openai", "responses", "completions"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_input_that_is_too_long_has_the_code_that_clients_act_on(upstream: str, caller: str) -> None:
    data = json.dumps(TOO_LONG[upstream]).encode()
    error = classify(wire(upstream).read_error(400, {}, data), data)
    body: dict[str, Any] = wire(caller).write_error(error, "r1")[2]
    assert body["error"]["code"] == "context_length_exceeded"
    assert body["error"]["message"] == error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadRequest("prompt is too long: 9 tokens"), "context_length_exceeded"), (BadRequest("bad"), "bad_request"),
     (UpstreamFailed("the context window was not opened"), "upstream_failed")],
)  # fmt: skip
def test_only_a_refusal_can_be_of_an_input_that_is_too_long(error: GatewayError, code: str) -> None:
    assert classify(error).code == code
