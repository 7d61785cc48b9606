"""Which words for effort a model accepts, and whether its reasoning can be switched off: one table, a row per family.

    efforts_of("openai/gpt-5.1")                        -> ("none", "low", "medium", "high")
    efforts_of("glm-4.6")                               -> None: nothing is known, so the caller's word goes as it is
    nearest("minimal", ("none", "low", "medium"))       -> "low"
    nearest_effort("xhigh", ("low", "medium", "high"), lost)    -> "high", and lost == ["reasoning.effort=xhigh"]

A vendor's new model is a new row here. The first row that fits decides. Names may have a provider before them
("openai/o3"), and the vendor's own names are matched in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from . import ir
from .losses import name_lost, with_value

ORDER = ("none", "minimal", "low", "medium", "high", "xhigh", "max")  # every word there is, least thought first
EXTREMES = frozenset({"none", "max"})  # only for requests that name them
OFF_LOST = "reasoning=off"  # the name of the loss where a model cannot but think

LOW_BELOW, MEDIUM_BELOW = 4_096, 16_384  # tokens of a thinking budget -> the effort that comes closest

LOW_TO_HIGH = ("low", "medium", "high")
MINIMAL_TO_HIGH = ("minimal", *LOW_TO_HIGH)


class Row(NamedTuple):
    """A family of models, by a pattern for the name without its provider, and the words that it takes."""

    name: str
    efforts: tuple[str, ...]
    source: str


MODELS_DEV = "models.dev #2351, anomalyco/opencode #4451"
OPENCODE = "models.dev #2351, anomalyco/opencode #26268"
O_SERIES = "kaitranntt/ccs #344"
GOOGLE = "ai.google.dev/gemini-api/docs/openai#thinking"

ROWS: tuple[Row, ...] = (
    Row(r"(?:gpt-[5-9]|chatgpt-).*chat-latest", ("medium",), MODELS_DEV),
    Row(r"gpt-5-pro", ("high",), MODELS_DEV),
    Row(r"gpt-(?:5\.[2-9]|[6-9][\d.]*)-pro", ("medium", "high", "xhigh"), OPENCODE),
    Row(r"gpt-5\.1-codex-max", (*LOW_TO_HIGH, "xhigh"), MODELS_DEV),
    Row(r"gpt-5(?:\.1)?-codex", LOW_TO_HIGH, MODELS_DEV),
    Row(r"gpt-5\.1", ("none", *LOW_TO_HIGH), MODELS_DEV),
    Row(r"gpt-(?:5\.\d|[6-9])", ("none", *LOW_TO_HIGH, "xhigh"), OPENCODE),
    Row(r"gpt-5", MINIMAL_TO_HIGH, MODELS_DEV),
    Row(r"(?:o[1-9]|gpt-oss|codex)", LOW_TO_HIGH, O_SERIES),
    Row(r"grok-3-mini", ("low", "high"), "docs.x.ai/docs/guides/reasoning"),
    Row(r"gemini-(?:2\.5-pro|[3-9])", MINIMAL_TO_HIGH, GOOGLE),
    Row(r"gemini-2\.5", ("none", *MINIMAL_TO_HIGH), GOOGLE),
)
PATTERNS = tuple((re.compile(rf"(?:^|/){row.name}"), row.efforts) for row in ROWS)
KNOWN_NAMES = 1_024  # that are remembered with their row


@lru_cache(maxsize=KNOWN_NAMES)
def efforts_of(model: str) -> tuple[str, ...] | None:
    """The words for OpenAI's reasoning_effort that a model takes; None where the table knows no such model."""
    name = model.lower()
    return next((efforts for pattern, efforts in PATTERNS if pattern.search(name)), None)


def can_be_off(model: str) -> bool:
    """Whether a model is known to take effort "none"."""
    return "none" in (efforts_of(model) or ())


def effort_of(reasoning: ir.Reasoning) -> str:
    """Reasoning("on", 10_000) -> "medium"; Reasoning("", effort="low") -> "low"; Reasoning("off") -> "none"; else "" """
    if reasoning.mode == "off" or reasoning.budget_tokens == 0:
        return "none"
    if reasoning.effort or reasoning.budget_tokens is None or reasoning.budget_tokens < 0:
        return reasoning.effort
    if reasoning.budget_tokens < LOW_BELOW:
        return "low"
    return "medium" if reasoning.budget_tokens < MEDIUM_BELOW else "high"


def lose_effort(reasoning: ir.Reasoning, lost: list[str]) -> None:
    """Names a word that says nothing to the model: it takes a budget that was stated as well, or does not know the word."""
    if reasoning.effort and reasoning.mode != "off":
        name_lost(lost, with_value("reasoning.effort", reasoning.effort))


def lose_budget(reasoning: ir.Reasoning, lost: list[str]) -> None:
    """Names a limit in tokens that says nothing to the model: it takes a word that was stated as well, or neither."""
    if reasoning.mode != "off" and (reasoning.budget_tokens or 0) > 0:
        name_lost(lost, f"reasoning.budget_tokens={reasoning.budget_tokens}")


def nearest(word: str, known: Sequence[str]) -> str:
    """The nearest known word in ORDER, the greater one of two; the word itself if it is not in ORDER.

    nearest("medium", ("low", "high")) -> "high";  nearest("xhigh", ("low", "high", "max")) -> "high"
    """
    if word in known or word not in ORDER or not known:
        return word
    place = ORDER.index(word)
    usual = [each for each in known if each not in EXTREMES] or list(known)
    return min(usual, key=lambda each: (abs(ORDER.index(each) - place), -ORDER.index(each)))


def nearest_effort(word: str, known: Sequence[str], lost: list[str]) -> str:
    """The nearest known word; where it is another one, the caller's is named as lost."""
    found = nearest(word, known)
    if found != word:
        name_lost(lost, OFF_LOST if word == "none" else f"reasoning.effort={word}")
    return found
