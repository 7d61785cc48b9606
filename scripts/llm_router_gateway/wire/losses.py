"""The names of what a protocol has no place for, each once: they go into the x-llm-router-lost header."""

from __future__ import annotations

from ..errors import BadRequest
from . import ir


def name_lost(lost: list[str], name: str) -> None:
    """Each name once, in the order it was first met."""
    if name not in lost:
        lost.append(name)


# Parts of the conversation that a vendor keeps: an answer without them would be an answer to another question.
KEPT_ELSEWHERE = {
    "gemini": frozenset({"cachedContent"}), "responses": frozenset({"previous_response_id", "conversation", "prompt"}),
}  # fmt: skip


def lose_extras(extras: ir.Extras, own: str, lost: list[str], where: str = "") -> None:
    """Names what only another vendor's wire has a place for: lose_extras({"gemini": {"labels": ..}}, "openai", lost)."""
    for vendor, fields in extras.items():
        if vendor != own:
            for name in fields:
                if name in KEPT_ELSEWHERE.get(vendor, ()):
                    raise BadRequest(f"{name} is kept by {vendor} and not here: send what it holds", details={"path": name})
                name_lost(lost, f"{where}{name}")
