"""Embeddings in the requested form: some upstreams ignore `encoding_format`.

    in_requested_format(b'{"data":[{"embedding":[0.5]}]}', "base64") -> b'{"data":[{"embedding":"AAAAPw=="}]}'

OpenAI's SDKs ask for base64 when their user named no format, and the JavaScript one reads a list of numbers
as an empty vector without a word.
"""

from __future__ import annotations

import binascii
import json
from array import array
from collections.abc import Mapping
from sys import byteorder
from typing import Any

from ...errors import BadRequest, UpstreamFailed
from ..embeddings import Texts, Vectors
from ..fields import integer
from ..ir import UNREAD
from ..shapes import shape, unread

REQUEST = shape("model", "input", "dimensions", "encoding_format")


def pack(numbers: list[float]) -> str:
    """Little-endian 32-bit floats in base64: pack([0.5]) -> "AAAAPw=="."""
    floats = array("f", numbers)
    if byteorder == "big":
        floats.byteswap()
    return binascii.b2a_base64(floats.tobytes(), newline=False).decode()


def in_requested_format(data: bytes, encoding_format: object) -> bytes:
    """The answer's bytes; unchanged unless base64 was requested and lists of numbers came."""
    if encoding_format != "base64" or b"[" not in data:
        return data
    try:
        answer = json.loads(data)
        items = [item for item in answer["data"] if isinstance(item["embedding"], list)]
        for item in items:
            item["embedding"] = pack(item["embedding"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return data  # not the answer that we know: the caller gets it as it is
    return json.dumps(answer, separators=(",", ":")).encode() if items else data


def read_texts(fields: Mapping[str, Any], action: str) -> Texts:
    """{"input": ["a", "b"], "dimensions": 8} -> Texts(("a", "b"), 8); BadRequest for tokens, which no other vendor reads."""
    given = fields.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("input is not a text or a list of texts", details={"path": "input"})
    lost = unread(fields, REQUEST).get(UNREAD, ())
    return Texts(tuple(texts), integer(fields.get("dimensions"), "dimensions"), tuple(lost))


def write_texts(texts: Texts, model: str) -> tuple[str, dict[str, Any]]:
    size = {} if texts.dimensions is None else {"dimensions": texts.dimensions}
    return "embeddings", {"model": model, "input": list(texts.texts), "encoding_format": "float", **size}


def read_vectors(body: Mapping[str, Any]) -> Vectors:
    data = body.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    values = [item.get("embedding") for item in sorted(items, key=lambda item: item.get("index") or 0)]
    lists = [value for value in values if isinstance(value, list)]
    if not lists or len(lists) < len(values):
        raise UpstreamFailed("the upstream's answer holds no embeddings")
    usage = body.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return Vectors(lists, tokens if isinstance(tokens, int) else None)


def write_vectors(vectors: Vectors, model: str, action: str) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": list(value)} for index, value in enumerate(vectors.values)]
    tokens = vectors.tokens or 0
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
