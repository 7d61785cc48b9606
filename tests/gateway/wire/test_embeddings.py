"""embeddings: the form that was asked for, and what of a request other protocols do not have."""

import base64
import json
import struct

import pytest

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire.gemini import embeddings as gemini
from llm_router_gateway.wire.openai import embeddings as openai
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


@pytest.mark.parametrize(("fields", "size", "lost"), [
    ({"input": "a", "dimensions": 8, "encoding_format": "base64"}, 8, ()),
    ({"input": ["a"], "user": "u", "zzunknown": 1, "none": None}, None, ("user", "zzunknown")),
])  # fmt: skip
def test_what_only_openai_knows_of_a_request_is_named(fields: dict[str, object], size: object, lost: tuple[str, ...]) -> None:
    found = openai.read_texts({"model": "m", **fields}, "")
    assert (found.texts, found.dimensions, found.lost) == (("a",), size, lost)


@pytest.mark.parametrize(("fields", "size", "lost"), [
    ({"output_dimensionality": 8}, 8, ()),
    ({"task_type": "QUERY", "title": "T", "zzunknown": 1}, None, ("taskType", "title", "zzunknown")),
    ({"content": {"role": "user", "parts": [{"text": "a", "zzunknown": 1}]}}, None, ("content.parts.zzunknown",)),
])  # fmt: skip
@pytest.mark.parametrize("batch", [False, True])
def test_what_only_gemini_knows_of_a_request_is_named(
    fields: dict[str, object], size: object, lost: tuple[str, ...], batch: bool
) -> None:
    request = {"model": "models/m", "content": {"parts": [{"text": "a"}]}, **fields}
    body = {"requests": [request, request]} if batch else request
    found = gemini.read_texts(body, "batchEmbedContents" if batch else "embedContent")
    assert (set(found.texts), found.dimensions, found.lost) == ({"a"}, size, lost)


def test_a_size_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest, match="dimensions must be a number"):
        openai.read_texts({"input": "a", "dimensions": "8"}, "")
    for size in ("8", []):
        with pytest.raises(BadRequest, match="outputDimensionality must be a number"):
            gemini.read_texts({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": size}, "embedContent")
