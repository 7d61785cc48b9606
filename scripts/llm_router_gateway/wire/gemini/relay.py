"""A caller's body for an upstream of Gemini's own, where another vendor answered earlier in the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..envelope import is_envelope
from ..losses import name_lost
from .common import SIGNATURE_UNKNOWN, Fields


def remove_foreign(fields: Mapping[str, Any], lost: list[str]) -> Fields:
    """The same body without other vendors' signatures, which Gemini would refuse: their thoughts go, all else loses them."""
    given, contents = fields.get("contents"), []
    for content in given if isinstance(given, list) else ():
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list):
            kept = [fit for part in parts if (fit := fit_part(part, lost)) is not None]
            content = {**content, "parts": kept} if kept else None
        contents += [content] if content is not None else []
    return {**fields, "contents": contents} if isinstance(given, list) else dict(fields)


def fit_part(part: Any, lost: list[str]) -> Any:
    """A part as Gemini takes it; None for one that says nothing to it."""
    if not isinstance(part, dict) or not is_envelope(part.get("thoughtSignature")):
        return part
    name_lost(lost, "thinking" if part.get("thought") else "signature")
    rest = {name: value for name, value in part.items() if name != "thoughtSignature"}
    if "functionCall" in rest:  # which must be signed from Gemini 3 on
        return {**rest, "thoughtSignature": SIGNATURE_UNKNOWN}
    return None if part.get("thought") or rest == {"text": ""} else rest
