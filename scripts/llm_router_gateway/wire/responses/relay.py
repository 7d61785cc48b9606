"""A Responses body that goes to a Responses upstream as it is, but for what the gateway put into the conversation itself.

    if is_marked(text):                     one look at the body's text: hardly ever
        fields = fit(fields, seal, lost)    the same body without our seals and packed ids

What another vendor answered earlier in the conversation carries seals and ids that OpenAI would refuse: sealed thoughts are
left out and named, a sealed compaction becomes the summary that it is, ids lose what was packed into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import ir
from ..losses import name_lost
from ..names import safe_id, unpack_id
from .compaction import SUMMARY_HEAD, summary_in
from .seal import MAGIC, is_sealed, refusal

PACKED = "__gemini"  # in an id that carries a signature


def is_marked(text: str) -> bool:
    """Whether a body may hold something that the gateway wrote; a text that only mentions it does no harm."""
    return f'"{MAGIC}.' in text or PACKED in text


def fit_item(item: Mapping[str, Any], seal: ir.Seal | None, lost: list[str]) -> dict[str, Any] | None:
    """An item as the upstream takes it; None for one that says nothing to it."""
    encrypted: Any = item.get("encrypted_content")
    if is_sealed(encrypted):
        value = seal.open(encrypted) if seal is not None else None
        if item.get("type") != "compaction":
            name_lost(lost, "thinking")
            return None
        summary = summary_in(value) if value is not None else None
        if summary is None:
            raise refusal()
        return {"type": "message", "role": "user", "content": f"{SUMMARY_HEAD}\n\n{summary}"}
    call_id = item.get("call_id")
    if isinstance(call_id, str) and PACKED in call_id:
        return {**item, "call_id": safe_id(unpack_id(call_id)[0])}
    return dict(item)


def portable(turn: Mapping[str, Any], knows_thoughts: bool, lost: list[str]) -> dict[str, Any]:
    """A kept turn for an upstream that has no item of it: without ids and states, and without thoughts that it cannot read.

    `knows_thoughts`: it made them itself, with the same key.
    """
    return {**turn, **{side: portable_items(turn.get(side, ()), knows_thoughts, lost) for side in ("input", "output")}}


def portable_items(items: Any, knows_thoughts: bool, lost: list[str]) -> list[dict[str, Any]]:
    made = []
    for item in items:
        if item.get("type") == "reasoning" and not (knows_thoughts and item.get("encrypted_content")):
            name_lost(lost, "thinking")
            continue
        made.append({name: each for name, each in item.items() if name not in ("id", "status")})
    return made


def fit(fields: Mapping[str, Any], seal: ir.Seal | None, lost: list[str]) -> dict[str, Any]:
    """The body for an upstream of the same protocol. BadRequest for a compaction that was changed or is another key's."""
    given = fields.get("input")
    if not isinstance(given, list):
        return dict(fields)
    made = [fit_item(item, seal, lost) if isinstance(item, dict) else item for item in given]
    return {**fields, "input": [item for item in made if item is not None]}
