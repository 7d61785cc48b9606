"""The message of an answer, as it goes back to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_router_client import as_dict, dicts

if TYPE_CHECKING:
    from llm_router_client import JSON, Answer


def message_of(answer: Answer) -> JSON:
    """The first choice's message; {} if there is none, as in Gemini's format."""
    return as_dict(next(iter(dicts(answer.get("choices"))), {}).get("message"))
