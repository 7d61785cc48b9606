"""Ollama's API: what is its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..spec import Line, Spec

VERSION = "0.12.0"  # of the API that is spoken here; clients compare it with what they need


def embeddings_request(body: Mapping[str, Any]) -> dict[str, Any]:
    from .listing import embeddings_request as as_carried  # not needed for anything else

    return as_carried(body)


def embeddings(data: bytes, body: Mapping[str, Any]) -> bytes:
    from ..fields import compact
    from .listing import write_embeddings

    return compact(write_embeddings(json.loads(data), body, str(body.get("model") or ""))).encode("utf-8", "backslashreplace")


SPEC = Spec(
    name="ollama",
    title="Ollama",
    lines=(
        Line("POST", "api/chat", "chat"),
        Line("POST", "api/generate", "chat"),
        Line("POST", "api/embed", "embeddings"),
        Line("POST", "api/embeddings", "embeddings"),  # the older form
        Line("GET", "api/tags", "models"),
        Line("POST", "api/show", "show"),
        Line("GET", "api/version", "fixed"),
        Line("GET", "api/ps", "fixed"),
    ),
    fixed={"api/version": {"version": VERSION}, "api/ps": {"models": []}},
    streams_by_default=True,
    stream_type="application/x-ndjson",
    keepalive=b" ",  # white space before the next object: an empty line ends ollama's Python client
    answer_field="done",
    embeddings_request=embeddings_request,
    embeddings=embeddings,
    reshapes=lambda body: True,
    carried={"embeddings": ("openai", "embeddings")},
)
