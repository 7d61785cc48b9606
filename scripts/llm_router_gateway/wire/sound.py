"""Numbers from an upstream, before anything is counted, booked or limited by them: finite, not negative, plausible.

sound(Usage(input=10**12))                  -> None: no usage at all
sound(Usage(input=5, cost=-100.0))          -> Usage(input=5): the tokens are believed, the cost is not
cost_in({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}})  -> 0.3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from .ir import Usage

MAX_TOKENS = 1_000_000_000  # of one answer; an upstream that counts more is wrong
WHOLE = frozenset({int})
MAX_USD = 10_000.0  # of one answer: the longest ones cost some hundred


def is_number(value: object, most: float) -> TypeGuard[float]:
    """Whether it is a number from 0 to `most`; true, NaN and text are none.

    Only compared: a whole number of 400 digits, which JSON may hold, is too large to become a float.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def is_count(value: object) -> bool:
    if type(value) is int:  # as nearly always
        return 0 <= value <= MAX_TOKENS
    return is_number(value, MAX_TOKENS)


def is_cost(value: object) -> TypeGuard[float]:
    return is_number(value, MAX_USD)


def sound(usage: Usage | None) -> Usage | None:
    """A usage whose figures may move an account; None for what is none."""
    if usage is None:
        return None
    classes = (usage.input, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.text, usage.reasoning)
    try:
        if not (min(classes) >= 0 and sum(classes) <= MAX_TOKENS):  # NaN is neither
            return None
    except TypeError:  # a text
        return None
    return usage if usage.cost is None or is_cost(usage.cost) else replace(usage, cost=None)


def cost_in(usage: Mapping[str, Any]) -> float | None:
    """The total cost that a usage object states, in US dollars; None without one, or if it is impossible.

    OpenRouter with your own vendor key (`is_byok`): `cost` is the fee alone, and what that key pays is in a field beside it.
    """
    cost = usage.get("cost")
    if not is_cost(cost):
        return None
    if usage.get("is_byok") is not True:
        return float(cost)
    details = usage.get("cost_details")
    paid = details.get("upstream_inference_cost") if isinstance(details, dict) else None
    return float(cost + paid) if is_cost(paid) and is_cost(cost + paid) else None
