"""embeddings: the form that was asked for."""

import base64
import json
import struct

import pytest

from llm_router_gateway.wire.openai.embeddings import in_requested_format


def answer(embedding: object) -> bytes:
    return json.dumps(
        {"object": "list", "data": [{"index": 0, "embedding": embedding}], "usage": {"prompt_tokens": 3}}
    ).encode()


def test_numbers_are_packed_when_base64_was_requested() -> None:
    numbers = [0.5, -1.25, 3.0]
    made = json.loads(in_requested_format(answer(numbers), "base64"))
    assert list(struct.unpack("<3f", base64.b64decode(made["data"][0]["embedding"]))) == numbers
    assert made["usage"] == {"prompt_tokens": 3}


@pytest.mark.parametrize("format_", [None, "float"])
def test_nothing_changes_otherwise(format_: object) -> None:
    assert in_requested_format(answer([0.5]), format_) == answer([0.5])
    assert in_requested_format(answer("AAAAPw=="), "base64") == answer("AAAAPw==")


@pytest.mark.parametrize("data", [b"[", b"[1]", b'{"data":[1]}', b'{"data":[{"embedding":["x"]}]}', b"[" * 100_000])
def test_what_is_no_such_answer_passes_as_it_is(data: bytes) -> None:
    assert in_requested_format(data, "base64") == data
