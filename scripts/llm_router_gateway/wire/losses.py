"""The names of what a protocol has no place for, each once: they go into the x-llm-router-lost header."""

from __future__ import annotations

from ..errors import BadRequest
from . import ir
from .registry import SPECS


def name_lost(lost: list[str], name: str) -> None:
    """Each name once, in the order it was first met."""
    if name not in lost:
        lost.append(name)


def lose_extras(extras: ir.Extras, own: str, lost: list[str], where: str = "") -> None:
    """Names what only another vendor's wire has a place for: lose_extras({"gemini": {"labels": ..}}, "openai", lost)."""
    for vendor, fields in extras.items():
        if vendor != own:
            for name in fields:
                # A part of the conversation: an answer without it would be an answer to another question.
                if vendor in SPECS and name in SPECS[vendor].kept_fields:
                    raise BadRequest(f"{name} is kept by {vendor} and not here: send what it holds", details={"path": name})
                name_lost(lost, f"{where}{name}")
