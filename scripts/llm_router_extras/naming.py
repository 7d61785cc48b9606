"""Naming: whether the model that an answer names differs from the requested one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_router_client import family_of, one_line

if TYPE_CHECKING:
    from llm_router_client import Answer, Attempt

CHOSEN = "x-llm-router-model"  # header of an answer whose model a group of the gateway chose
# words that tell no models apart
ANY_MODEL = frozenset({"any", "auto", "chat", "default", "instruct", "latest", "local", "model", "preview"})


def other_model(asked: str, named: str) -> bool:
    """Whether an answer names a wholly different model: some servers answer every name with the one model they have.

    other_model("gpt-4.1", "Qwen2.5-7B-Instruct.gguf") -> True
    other_model("gpt-4o", "gpt-4o-2024-08-06"), other_model("phi4", "/models/phi-4.gguf"), other_model("any", "o3") -> False
    """
    families = {family_of(asked), family_of(named)}
    if "other" not in families:
        return len(families) == 2
    plain = [re.sub(r"[^a-z0-9]", "", name.lower().rsplit("/", 1)[-1]) for name in (asked, named)]
    words = [set(re.findall(r"[a-z]{3,}", name.lower())) - ANY_MODEL for name in (asked, named)]
    return all(words) and not words[0] & words[1] and plain[0] not in plain[1] and plain[1] not in plain[0]


def check(attempt: Attempt, answer: Answer) -> None:
    """Record which model answered, with a warning if it is not the requested one; a group's choice is no surprise."""
    if CHOSEN not in getattr(attempt.response, "headers", {}) and other_model(attempt.model, answer.model):
        attempt.call.model_used = answer.model_used = one_line(answer.model, 100)
        attempt.call.warnings.append(f"{attempt.model} was requested, but {answer.model_used} answered")
