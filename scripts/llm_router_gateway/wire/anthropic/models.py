"""The list of models as Anthropic writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..listing import Entry, number, present

PAGE = 20  # entries when the caller names no number, as at the vendor
NO_DATE = "1970-01-01T00:00:00Z"  # the vendor's word for "unknown"


def describe_model(entry: Entry) -> dict[str, Any]:
    model = entry.model
    head = {"type": "model", "id": entry.short, "created_at": NO_DATE,
            "display_name": (model and model.display_name) or entry.short}  # fmt: skip
    known = {"max_input_tokens": model.context_window, "max_tokens": model.max_output_tokens} if model else {}
    return head | present(known)


def list_models(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    """A page between after_id and before_id."""
    ids = [entry.short for entry in found]
    limit = number(query, "limit", PAGE)
    start = ids.index(query["after_id"]) + 1 if query.get("after_id") in ids else 0
    stop = ids.index(query["before_id"]) if query.get("before_id") in ids else len(ids)
    if query.get("before_id") and not query.get("after_id"):
        start = max(start, stop - limit)
    page = [describe_model(entry) for entry in found[start : min(stop, start + limit)]]
    return {"data": page, "has_more": start + len(page) < stop,
            "first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}  # fmt: skip
