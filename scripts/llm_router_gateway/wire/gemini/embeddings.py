"""Gemini's embedContent and batchEmbedContents <-> texts and vectors.

{"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8}           -> Texts(("a",), 8)
{"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}}]} -> Texts(("a",))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import BadRequest, UpstreamFailed
from ..embeddings import Texts, Vectors
from ..fields import integer
from ..ir import UNREAD
from ..losses import MAX_LOST
from ..shapes import both, shape, unread
from .common import fields_of, many, normalize

BATCH = "batchEmbedContents"
REQUEST = shape("model", "outputDimensionality", content=shape("role", parts=shape("text")))
BODY = shape("requests", *REQUEST.fields)


def text_in(request: Mapping[str, Any], path: str) -> str:
    """The text of a content; BadRequest where it holds anything else."""
    content = fields_of(request.get("content"), f"{path}content")
    texts = []
    for number, part in enumerate(many(content.get("parts"), f"{path}content.parts")):
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            where = f"{path}content.parts[{number}]"
            raise BadRequest(f"{where} is not text, and only text can be embedded here", details={"path": where})
        texts.append(text)
    return "".join(texts)


def read_texts(fields: Mapping[str, Any], action: str) -> Texts:
    body = fields_of(fields, "body")
    if action == BATCH:
        requests = [(fields_of(each, f"requests[{number}]"), f"requests[{number}].")
                    for number, each in enumerate(many(body.get("requests"), "requests"))]  # fmt: skip
    else:
        requests = [(body, "")]
    if not requests:
        raise BadRequest("requests is empty", details={"path": "requests"})
    sizes = {integer(request.get("outputDimensionality"), f"{path}outputDimensionality") for request, path in requests}
    if len(sizes) > 1:
        raise BadRequest("the requests ask for vectors of different sizes", details={"path": "requests"})
    lost = unread(body, BODY, spell=normalize)
    for request, _ in requests:
        lost = both(lost, unread(request, REQUEST, spell=normalize))
    texts = tuple(text_in(request, path) for request, path in requests)
    return Texts(texts, sizes.pop(), tuple(lost.get(UNREAD, ()))[:MAX_LOST])


def write_texts(texts: Texts, model: str) -> tuple[str, dict[str, Any]]:
    size = {} if texts.dimensions is None else {"outputDimensionality": texts.dimensions}
    requests = [{"model": f"models/{model}", "content": {"parts": [{"text": text}]}, **size} for text in texts.texts]
    return BATCH, {"requests": requests}


def read_vectors(body: Mapping[str, Any]) -> Vectors:
    found = body.get("embeddings") or [body.get("embedding")]
    values = [each.get("values") if isinstance(each, dict) else None for each in found]
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) < len(values):
        raise UpstreamFailed("the upstream's answer holds no embeddings")
    return Vectors(lists)


def write_vectors(vectors: Vectors, model: str, action: str) -> dict[str, Any]:
    if action == BATCH:
        return {"embeddings": [{"values": list(value)} for value in vectors.values]}
    return {"embedding": {"values": list(vectors.values[0])}}
