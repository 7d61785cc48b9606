"""Models as OpenAI lists them, in every one of its APIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .listing import Entry, present


def describe_model(entry: Entry) -> dict[str, Any]:
    """OpenAI's four fields, and the further ones that editors read (in OpenRouter's spelling)."""
    head = {"id": entry.name, "object": "model", "created": 0, "owned_by": entry.owner}
    model = entry.model
    if model is None:
        return head
    price = {"prompt": model.input_usd_per_mtok, "completion": model.output_usd_per_mtok,
             "input_cache_read": model.cached_input_usd_per_mtok}  # fmt: skip
    return head | present({
        "name": model.display_name, "description": model.description, "context_length": model.context_window,
        "max_output_tokens": model.max_output_tokens, "supports_tools": model.supports_tools,
        "architecture": present({"input_modalities": list(model.modalities)}),
        "pricing": {name: per_token(usd) for name, usd in price.items() if usd is not None},
        "tags": list(model.tags), **model.extra,
    } | head)  # fmt: skip


def per_token(usd_per_mtok: float) -> str:
    """US dollars a token as text, without an exponent: per_token(2.5) -> "0.0000025"."""
    return f"{usd_per_mtok / 1_000_000:.12f}".rstrip("0").rstrip(".") or "0"


def list_models(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    return {"object": "list", "data": [describe_model(entry) for entry in found]}
