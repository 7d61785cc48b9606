"""The list of models as Gemini writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..listing import Entry, number, present

PAGE = 50  # entries when the caller names no number, as at the vendor


def describe_model(entry: Entry) -> dict[str, Any]:
    model = entry.model
    head = {
        "name": f"models/{entry.name}", "version": "1", "displayName": (model and model.display_name) or entry.name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }  # fmt: skip
    if model is None:
        return head
    return head | present({
        "description": model.description, "inputTokenLimit": model.context_window,
        "outputTokenLimit": model.max_output_tokens,
    })  # fmt: skip


def list_models(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    """A page from pageToken, which is the place of its first entry."""
    size = number(query, "pageSize", PAGE)
    token = query.get("pageToken", "")
    start = int(token) if token.isascii() and token.isdigit() and len(token) < 8 else 0
    page: dict[str, Any] = {"models": [describe_model(entry) for entry in found[start : start + size]]}
    return page | ({"nextPageToken": str(start + size)} if start + size < len(found) else {})
