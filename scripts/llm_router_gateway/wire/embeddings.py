"""Embeddings in no vendor's shape: texts in, vectors out. Protocols with such a call have a module `embeddings`:

read_texts(fields, action) -> Texts                  a caller's body; BadRequest for what is not text
write_texts(texts, model) -> (call, body)            for an upstream: the call's name in its spec, and the body
read_vectors(body) -> Vectors                        an upstream's answer; UpstreamFailed if it is not one
write_vectors(vectors, model, action) -> body        for a caller
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texts:
    """What is to be embedded; `lost` names what has no place in other protocols: Gemini's task type, OpenAI's user, ..."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vectors:
    """One for each text, in their order; `tokens` of all texts, None where the upstream does not say."""

    values: Sequence[Sequence[float]]
    tokens: int | None = None
