"""+ - * / % of the jq language, on every kind of value that they take.

add({"a": 1}, {"b": 2}) -> {"a": 1, "b": 2}
subtract([1, 2, 1], [1]) -> [2]
divide("a,b", ",")       -> ["a", "b"]
multiply("ab", 2)        -> "abab"
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .values import (
    EXACT,
    MAX_TEXT,
    NUMERIC,
    UNKNOWN,
    JqBudget,
    JqRaised,
    Number,
    Value,
    brief,
    double,
    equal,
    fail,
    normalize,
    number,
)


def type_error(a: Value, b: Value, what: str) -> JqRaised:
    return fail(f"{brief(a)} and {brief(b)} cannot be {what}")


def add(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left is int and right is int:
        total = a + b
        return total if -EXACT < total < EXACT else normalize(double(a) + double(b))
    if left in NUMERIC and right in NUMERIC:
        return normalize(double(a) + double(b))
    if a is None:
        return b
    if b is None:
        return a
    if left is not right or left is bool:
        raise type_error(a, b, "added")
    if left is dict:
        return {**a, **b}
    if len(a) + len(b) > MAX_TEXT:
        raise JqBudget("a value grew too large")
    return a + b


def subtract(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left in NUMERIC and right in NUMERIC:
        return normalize(double(a) - double(b))
    if left is list and right is list:
        return [each for each in a if not any(equal(each, other) for other in b)]
    raise type_error(a, b, "subtracted")


def repeat(text: str, times: Value) -> Value:
    count = double(times)
    if count < 0 or count != count:
        return None
    if not text:
        return text
    if len(text) * count > 2147483647:
        raise fail("Repeat string result too long")
    if len(text) * count > MAX_TEXT:
        raise JqBudget("a value grew too large")
    return text * int(count)


def merge(a: dict[str, Value], b: dict[str, Value]) -> dict[str, Value]:
    result = dict(a)
    for name, each in b.items():
        old = result.get(name)
        result[name] = merge(old, each) if type(old) is dict and type(each) is dict else each
    return result


def multiply(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left in NUMERIC and right in NUMERIC:
        return normalize(double(a) * double(b))
    if left is str and right in NUMERIC:
        return repeat(a, b)
    if right is str and left in NUMERIC:
        return repeat(b, a)
    if left is dict and right is dict:
        return merge(a, b)
    raise type_error(a, b, "multiplied")


def split_text(text: str, separator: str) -> list[Value]:
    if not text:
        return []
    return text.split(separator) if separator else list(text)


def divide(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left in NUMERIC and right in NUMERIC:
        divisor = double(b)
        if divisor == 0:
            raise type_error(a, b, "divided because the divisor is zero")
        try:
            return normalize(double(a) / divisor)
        except OverflowError:
            return normalize(math.copysign(math.inf, double(a)) * math.copysign(1, divisor))
    if left is str and right is str:
        return split_text(a, b)
    raise type_error(a, b, "divided")


def whole(value: float) -> int:
    """As C casts a double to 64 bits, held to their range."""
    return max(-(2**63), min(2**63 - 1, int(value))) if math.isfinite(value) else (2**63 - 1 if value > 0 else -(2**63))


def modulo(a: Value, b: Value) -> Value:
    if type(a) not in NUMERIC or type(b) not in NUMERIC:
        raise type_error(a, b, "divided (remainder)")
    left, right = double(a), double(b)
    if left != left or right != right:
        return math.nan
    divisor = abs(whole(right))
    if divisor == 0:
        raise type_error(a, b, "divided (remainder) because the divisor is zero")
    dividend = whole(left)
    rest = abs(dividend) % divisor
    return normalize(float(rest if dividend >= 0 else -rest))


def negate(value: Value) -> Value:
    """-value; a number that was not computed with keeps its digits: -1.0 is written -1.0."""
    this = type(value)
    if this is int:
        return -value or number(-0.0, UNKNOWN, False)
    if this not in NUMERIC:
        raise fail(f"{brief(value)} cannot be negated")
    if this is Number and not value.literal:
        return normalize(-value)
    if this is float:
        return -value or 0.0
    return number(-value, value.text[1:] if value.text.startswith("-") else "-" + value.text, True)


ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
}
