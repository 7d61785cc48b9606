"""Numbers in settings and in the terms of keys: none is infinite, or more than what counts them can hold.

read_whole(8000) -> 8000        read_number(0.5) -> 0.5        read_number(1e400) -> ValueError("is too large; ...")
"""

from __future__ import annotations

from typing import TypeVar

MAX_WHOLE = 2**53  # what a double, and with it JSON and Redis, counts exactly
MAX_NUMBER = 1e12  # in millionths, as budgets are counted, still within 64 bits

Number = TypeVar("Number", int, float)


def within_reach(value: Number, most: float) -> Number:
    """Infinity has no place in JSON, and larger numbers none in a database or in what processes count together."""
    if abs(value) > most:
        raise ValueError("is too large; where it is a limit, leave it out to have none")
    return value


def read_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not a whole number")
    return within_reach(value, MAX_WHOLE)


def read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError("is not a number")
    return within_reach(value, MAX_NUMBER)
