"""overflow: a conversation that is too long is told in words by which the caller's SDK knows it, whoever said so first."""

import json

import pytest

from llm_router_gateway.errors import of_status
from llm_router_gateway.wire.overflow import CODE, is_overflow, worded
from llm_router_gateway.wire.registry import wire

SAID = {  # by an upstream of this protocol, as its API words it
    "openai": {"error": {"message": "This model's maximum context length is 8192 tokens.", "type": "invalid_request_error",
                         "param": "messages", "code": "context_length_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error",
                                             "message": "prompt is too long: 9000 tokens > 8192 maximum"}},
    "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT",
                         "message": "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."}},
    "responses": {"error": {"message": "Your input exceeds the context window of this model.",
                            "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"}},
}  # fmt: skip
KNOWN_BY = {  # what the SDKs and frameworks of a protocol look for in the body that they get
    "openai": '"context_length_exceeded"', "responses": '"context_length_exceeded"', "anthropic": "prompt is too long",
    "gemini": "exceeds the maximum number of tokens allowed",
}  # fmt: skip


@pytest.mark.parametrize("caller", KNOWN_BY)
@pytest.mark.parametrize("upstream", SAID)
def test_every_caller_knows_an_overflow_of_every_upstream(upstream: str, caller: str) -> None:
    error = wire(upstream).read_error(400, {}, json.dumps(SAID[upstream]).encode())
    assert (error.status, error.code) == (400, CODE)
    status, _, body = wire(caller).write_error(error, "r-1")
    assert status == 400
    assert KNOWN_BY[caller] in json.dumps(body)
    told = body["error"]["message"]
    assert told.endswith(error.message)  # what the upstream said stays: it may hold the numbers
    assert told.lower().count(KNOWN_BY[caller].lower()) <= 1  # and nothing is said twice


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "prompt is too long: 2 tokens > 1 maximum", True),
        (413, "Prompt Is Too Long", True),
        (400, "the request (9 tokens) exceeds the available context size (8 tokens)", True),
        (400, "messages: field required", False),
        (500, "prompt is too long", False),
        (429, "maximum context length", False),
    ],
)
def test_an_overflow_is_a_refusal_in_one_of_the_known_wordings(status: int, message: str, expected: bool) -> None:
    assert is_overflow(status, message) is expected


def test_words_are_put_before_an_overflow_and_nothing_else() -> None:
    assert worded(of_status(400, "Too much.", code=CODE), "prompt is too long") == "prompt is too long: Too much."
    assert worded(of_status(400, "Prompt is too long: 2 > 1", code=CODE), "prompt is too long") == "Prompt is too long: 2 > 1"
    assert worded(of_status(400, "Too much."), "prompt is too long") == "Too much."
