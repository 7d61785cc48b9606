"""Values of the jq language: their order, their text, arithmetic on them, and reaching into them; errors and budgets.

    compare(None, 0)        -> -1     null < false < true < numbers < strings < arrays < objects
    to_json([1.0, "a"])     -> '[1.0,"a"]'
    add({"a": 1}, {"b": 2}) -> {"a": 1, "b": 2}
    index([1, 2], -1)       -> 2

A value is what json.loads makes: None, bool, int, float, str, list, dict; nothing here changes one in place. jq counts in
IEEE doubles and keeps a number that nobody computed with as it was written, so: an int is exact until computed with; what
is computed comes back as an int where it is whole and below 2**53; Number carries its own text where float would tell it
otherwise than jq does. Messages are jq's, because `try ... catch .` can read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import cmp_to_key
from typing import Any

Value = Any
EXACT = 9007199254740992  # 2**53: from here on a double may skip whole numbers
UNKNOWN = ""  # a number's text where only jq knows it
LARGEST = "1.7976931348623157e+308"  # how jq writes infinity
MAX_INDEX = 536870911  # jq's own limit on an array's index
BRIEF_BYTES = 29  # a value quoted in an error message
MAX_TEXT = 16_777_216  # characters of one string that a program makes; above this it is a runaway
MAX_GAP = 1_000_000  # nulls that setting one element of an array may put before it
MAX_NESTING = 200  # levels of a value that a program walks; jq allows more, Python's stack does not


class JqError(Exception):
    """A program that does not compile, or that ended in an error; `position` is the character it is about, if known."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class JqRaised(JqError):
    """An error of the language itself: `try` catches it, and `.value` is what `catch` sees.

    Its message says no more than that, because the value may quote what the program was given: a prompt, a header.
    """

    def __init__(self, value: Value) -> None:
        super().__init__("the program ended in an error")
        self.value = value

    @property
    def text(self) -> str:
        """The error as jq prints it; it may hold parts of the input."""
        return text_of(self.value)


class JqUntold(JqRaised):
    """An error of the language whose words only jq knows: `?` and `catch "constant"` take it, looking at it is refused."""

    def __init__(self) -> None:
        super().__init__("")

    @property
    def text(self) -> str:
        return "the program ended in an error"


class JqBudget(JqError):
    """Too many steps, too deep, or too large: no `try` catches it."""


class JqRefused(JqError):
    """jq has an answer, we cannot give it exactly: no `try` catches it."""


class JqFault(JqError):
    """A mistake of this module, not of the program: an exception that should have been one of the errors above."""


class Number(float):
    """A double that is written as `text`; `literal` if nobody has computed with it."""

    __slots__ = ("literal", "text")
    text: str
    literal: bool


def number(value: float, text: str, literal: bool) -> Number:
    made_number = Number(value)
    made_number.text = text
    made_number.literal = literal
    return made_number


def double_text(value: float) -> str:
    """How jq writes a double: 17 digits at most, an exponent from 1e-5 down and where more than 15 zeros would follow."""
    if value != value:
        return "null"
    if math.isinf(value):
        return LARGEST if value > 0 else "-" + LARGEST
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    if not digits:
        return sign + "0"
    if point <= -4 or point > len(digits) + 15:
        tail = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"


def made(value: float) -> Value:
    """A computed double as a value: 2.0 -> 2."""
    if -EXACT < value < EXACT:
        whole = int(value)
        if whole == value:
            return whole if whole or math.copysign(1.0, value) > 0 else number(-0.0, "-0", False)
        if not -0.0001 < value < 0.0001:
            return value
    elif value != value:
        return value
    return number(value, double_text(value), False)


def literal(text: str) -> Value:
    """A number as JSON or a program writes it; it keeps its text, in decNumber's form. ValueError where it is too large."""
    if text.isdigit():
        return int(text)
    try:
        decimal = Decimal(text)
        written, value = str(decimal), float(text)
    except (InvalidOperation, OverflowError) as error:
        raise ValueError(text) from error
    if text.lstrip("-").isdigit() and decimal:
        return int(text)
    return value if number_text(value) == written else number(value, written, True)


def number_text(value: Value) -> str:
    if type(value) is int:
        try:
            return str(value)
        except ValueError:  # Python's own limit on digits
            raise JqBudget("a number with too many digits") from None
    if type(value) is Number:
        if value.text is UNKNOWN:
            raise JqRefused("the sign of zero")  # jq writes -0 where the 0 was computed, 0 where it was written
        return value.text
    if value != value or math.isinf(value):
        return double_text(value)
    text = repr(value)
    return text if "e" not in text else str(Decimal(text))


def refuse_number(text: str) -> Value:
    raise JqRefused(f"{text} in JSON text")


def read_literal(text: str) -> Value:
    try:
        return literal(text)
    except ValueError:
        raise JqRefused("a number too large to keep exactly") from None


DECODER = json.JSONDecoder(parse_float=read_literal, parse_int=read_literal, parse_constant=refuse_number)


def read(text: str) -> Value:
    """JSON text -> value, its numbers as they are written; ValueError where it is no JSON.

    to_json(read('[1.10, 1e2]')) -> '[1.10,1E+2]'     json.loads would have made it [1.1,100.0]
    """
    try:
        return DECODER.decode(text)
    except RecursionError:
        raise JqBudget("a value nested too deeply") from None


def double(value: Value) -> float:
    """The double that jq computes with."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


ORDER = {type(None): 0, bool: 1, int: 3, float: 3, Number: 3, str: 4, list: 5, dict: 6}
KIND = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    Number: "number",
    str: "string",
    list: "array",
    dict: "object",
}
NUMERIC = frozenset({int, float, Number})


def kind(value: Value) -> str:
    try:
        return KIND[type(value)]
    except KeyError:
        raise JqError(f"a {type(value).__name__} is no JSON value") from None


STRING = json.encoder.encode_basestring


def string_text(value: str) -> str:
    return STRING(value).replace("\x7f", "\\u007f")


def write(value: Value, parts: list[str], depth: int) -> None:
    """Appends the JSON text of a value, object keys in their own order."""
    this = type(value)
    if this is str:
        parts.append(string_text(value))
    elif value is None:
        parts.append("null")
    elif this is bool:
        parts.append("true" if value else "false")
    elif this in NUMERIC:
        parts.append(number_text(value))
    elif depth > MAX_NESTING:
        raise JqBudget("a value nested too deeply")
    elif this is list:
        lead = "["
        for each in value:
            parts.append(lead)
            write(each, parts, depth + 1)
            lead = ","
        parts.append("]" if value else "[]")
    elif this is dict:
        lead = "{"
        for name, each in value.items():
            parts.append(lead + string_text(name) + ":")
            write(each, parts, depth + 1)
            lead = ","
        parts.append("}" if value else "{}")
    else:
        kind(value)


def to_json(value: Value) -> str:
    parts: list[str] = []
    write(value, parts, 0)
    return "".join(parts)


def text_of(value: Value) -> str:
    """jq's tostring: a string is itself."""
    return value if type(value) is str else to_json(value)


def brief(value: Value) -> str:
    """A value's kind and text as error messages quote it: 'string ("abc")', cut to BRIEF_BYTES."""
    return f"{kind(value)} ({brief_text(value)})"


def brief_text(value: Value) -> str:
    text = to_json(value)
    raw = text.encode("utf-8", "replace")
    if len(raw) <= BRIEF_BYTES:
        return text
    close = {"string": '"', "array": "]", "object": "}"}.get(kind(value), "")
    return raw[: BRIEF_BYTES - 3 - len(close)].decode("utf-8", "ignore") + "..." + close


def fail(message: str) -> JqRaised:
    return JqRaised(message)


# ------------------------------------------------------------------------------------------------------------ order


def compare_numbers(a: Value, b: Value) -> int:
    if type(a) is int and type(b) is int:
        return (a > b) - (a < b)
    left, right = double(a), double(b)
    if left != left:
        return -1  # nan sorts below every number, itself included
    if right != right or left > right:
        return 1
    if left < right:
        return -1
    if type(a) is Number or type(b) is Number or left >= EXACT or left <= -EXACT:
        return compare_literals(a, b)
    return 0


def compare_literals(a: Value, b: Value) -> int:
    """Two numbers that are one double: as decimals where nobody computed with either."""
    if not all(each.literal for each in (a, b) if type(each) is Number) or math.isinf(double(a)):
        return 0
    left, right = Decimal(number_text(a)), Decimal(number_text(b))
    return (left > right) - (left < right)


def compare(a: Value, b: Value) -> int:
    """-1, 0 or 1 in jq's order of all values."""
    try:
        left, right = ORDER[type(a)], ORDER[type(b)]
    except KeyError:
        return len(kind(a)) - len(kind(b))  # raises for the one that is no value
    if left != right:
        return -1 if left < right else 1
    if left == 3:
        return compare_numbers(a, b)
    if left == 5:
        return compare_arrays(a, b)
    if left == 6:
        return compare_objects(a, b)
    if left == 0:
        return 0
    return int(a > b) - int(a < b)


def compare_arrays(a: list[Value], b: list[Value]) -> int:
    for each, other in zip(a, b, strict=False):
        result = compare(each, other)
        if result:
            return result
    return (len(a) > len(b)) - (len(a) < len(b))


def compare_objects(a: dict[str, Value], b: dict[str, Value]) -> int:
    names, others = sorted(a), sorted(b)
    if names != others:
        return -1 if names < others else 1
    for name in names:
        result = compare(a[name], b[name])
        if result:
            return result
    return 0


def equal(a: Value, b: Value) -> bool:
    this = type(a)
    if this is str or this is bool or a is None:
        return this is type(b) and bool(a == b)
    return compare(a, b) == 0


def truthy(value: Value) -> bool:
    return value is not None and value is not False


def sort_compare(a: Value, b: Value) -> int:
    """compare, but 0 where each sorts below the other, as nan and nan do: a stable sort leaves them where they are."""
    result = compare(a, b)
    return 0 if result < 0 and compare(b, a) < 0 else result


sort_key = cmp_to_key(sort_compare)


def sorted_values(values: list[Value]) -> list[Value]:
    kinds = {type(each) for each in values}
    if kinds == {str} or kinds == {int}:
        return sorted(values)
    return sorted(values, key=sort_key)


# ------------------------------------------------------------------------------------------------------- arithmetic


def unfit(a: Value, b: Value, what: str) -> JqRaised:
    return fail(f"{brief(a)} and {brief(b)} cannot be {what}")


def add(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left is int and right is int:
        total = a + b
        return total if -EXACT < total < EXACT else made(double(a) + double(b))
    if left in NUMERIC and right in NUMERIC:
        return made(double(a) + double(b))
    if a is None:
        return b
    if b is None:
        return a
    if left is not right or left is bool:
        raise unfit(a, b, "added")
    if left is dict:
        return {**a, **b}
    if len(a) + len(b) > MAX_TEXT:
        raise JqBudget("a value grew too large")
    return a + b


def subtract(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left in NUMERIC and right in NUMERIC:
        return made(double(a) - double(b))
    if left is list and right is list:
        return [each for each in a if not any(equal(each, other) for other in b)]
    raise unfit(a, b, "subtracted")


def repeated(text: str, times: Value) -> Value:
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


def merged(a: dict[str, Value], b: dict[str, Value]) -> dict[str, Value]:
    result = dict(a)
    for name, each in b.items():
        old = result.get(name)
        result[name] = merged(old, each) if type(old) is dict and type(each) is dict else each
    return result


def multiply(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left in NUMERIC and right in NUMERIC:
        return made(double(a) * double(b))
    if left is str and right in NUMERIC:
        return repeated(a, b)
    if right is str and left in NUMERIC:
        return repeated(b, a)
    if left is dict and right is dict:
        return merged(a, b)
    raise unfit(a, b, "multiplied")


def split_text(text: str, separator: str) -> list[Value]:
    if not text:
        return []
    return text.split(separator) if separator else list(text)


def divide(a: Value, b: Value) -> Value:
    left, right = type(a), type(b)
    if left in NUMERIC and right in NUMERIC:
        divisor = double(b)
        if divisor == 0:
            raise unfit(a, b, "divided because the divisor is zero")
        try:
            return made(double(a) / divisor)
        except OverflowError:
            return made(math.copysign(math.inf, double(a)) * math.copysign(1, divisor))
    if left is str and right is str:
        return split_text(a, b)
    raise unfit(a, b, "divided")


def whole(value: float) -> int:
    """As C casts a double to 64 bits, held to their range."""
    return max(-(2**63), min(2**63 - 1, int(value))) if math.isfinite(value) else (2**63 - 1 if value > 0 else -(2**63))


def modulo(a: Value, b: Value) -> Value:
    if type(a) not in NUMERIC or type(b) not in NUMERIC:
        raise unfit(a, b, "divided (remainder)")
    left, right = double(a), double(b)
    if left != left or right != right:
        return math.nan
    divisor = abs(whole(right))
    if divisor == 0:
        raise unfit(a, b, "divided (remainder) because the divisor is zero")
    dividend = whole(left)
    rest = abs(dividend) % divisor
    return made(float(rest if dividend >= 0 else -rest))


def negate(value: Value) -> Value:
    """-value; a number nobody computed with keeps its digits: -1.0 is written -1.0."""
    this = type(value)
    if this is int:
        return -value or number(-0.0, UNKNOWN, False)
    if this not in NUMERIC:
        raise fail(f"{brief(value)} cannot be negated")
    if this is Number and not value.literal:
        return made(-value)
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


# --------------------------------------------------------------------------------------------------------- reaching in


def slice_bounds(length: int, key: dict[str, Value]) -> tuple[int, int]:
    """Where a slice begins and ends: the start rounded down, the end up, both counted from the end where negative."""
    start, end = key.get("start", ""), key.get("end", "")
    if not (start is None or type(start) in NUMERIC) or not (end is None or type(end) in NUMERIC):
        raise fail("Array/string slice indices must be integers")
    low = 0.0 if start is None else double(start)
    high = float(length) if end is None else double(end)
    low = low + length if low < 0 else low
    high = high + length if high < 0 else high
    low = 0.0 if low != low or low < 0 else min(low, float(length))
    high = float(length) if high != high else min(high, float(length))
    first = int(low)
    return first, max(first, math.ceil(high))


def positions(values: list[Value], wanted: list[Value]) -> list[Value] | None:
    """Where `wanted` begins in `values`; jq's null for an empty one is the caller's."""
    if not wanted:
        return []
    size = len(wanted)
    heads = (at for at in range(len(values) - size + 1) if equal(values[at], wanted[0]))
    return [at for at in heads if all(equal(values[at + step], wanted[step]) for step in range(1, size))]


def unreachable(value: Value, key: Value) -> JqRaised:
    return fail(f"Cannot index {kind(value)} with {brief(key)}")


def index(value: Value, key: Value) -> Value:
    """value[key] as `.[key]` means it."""
    this, by = type(value), type(key)
    if this is dict and by is str:
        return value.get(key)
    if this is list and by in NUMERIC:
        return element(value, key)
    if by is dict and (this is list or this is str or value is None):
        if value is None:
            return None
        first, last = slice_bounds(len(value), key)
        return value[first:last]
    if this is list and by is list:
        return positions(value, key)
    if value is None and (by is str or by in NUMERIC):
        return None
    raise unreachable(value, key)


def element(value: list[Value], key: Value) -> Value:
    at = double(key)
    if at != at or math.isinf(at):
        return None
    place = math.trunc(at)
    if place < 0:
        place += len(value)
    return value[place] if 0 <= place < len(value) else None


def with_element(value: list[Value] | None, key: Value, new: Value) -> list[Value]:
    old = value or []
    at = double(key)
    if at != at:
        raise fail("Cannot set array element at NaN index")
    place = math.trunc(max(-1e18, min(1e18, at)))
    if place < 0:
        place += len(old)
        if place < 0:
            raise fail("Out of bounds negative array index")
    if place > MAX_INDEX:
        raise fail("Array index too large")
    if place > len(old) + MAX_GAP:
        raise JqBudget("a value grew too large")
    result = old + [None] * (place + 1 - len(old))
    result[place] = new
    return result


def with_slice(value: Value, key: dict[str, Value], new: Value) -> list[Value]:
    if type(value) is str:
        raise fail("Cannot update string slices")
    old: list[Value] = value or []
    first, last = slice_bounds(len(old), key)
    if type(new) is not list:
        raise fail("A slice of an array can only be assigned another array")
    return old[:first] + new + old[last:]


def with_key(value: Value, key: Value, new: Value) -> Value:
    """A copy of value in which value[key] is new."""
    this, by = type(value), type(key)
    if by is str and (this is dict or value is None):
        return {**value, key: new} if value is not None else {key: new}
    if by in NUMERIC and (this is list or value is None):
        return with_element(value, key, new)
    if by is dict and (this is list or this is str or value is None):
        return with_slice(value, key, new)
    if by is list and this is list:
        raise fail("Cannot update field at array index of array")
    raise unreachable(value, key)


def path_list(path: Value) -> list[Value]:
    if type(path) is not list:
        raise fail("Path must be specified as an array")
    return path


def get_path(value: Value, path: list[Value]) -> Value:
    for key in path:
        value = index(value, key)
    return value


def set_path(value: Value, path: list[Value], new: Value, at: int = 0) -> Value:
    if at == len(path):
        return new
    if at > MAX_NESTING:
        raise JqBudget("a path too long")
    inner = index(value, path[at])
    return with_key(value, path[at], set_path(inner, path, new, at + 1))


def without(value: Value, keys: list[Value]) -> Value:
    """A copy of value without these keys of its own, which are in order; each is deleted once, whatever names it twice."""
    if value is None or not keys:
        return value
    if type(value) is dict:
        return without_fields(value, keys)
    if type(value) is not list:
        raise fail(f"Cannot delete fields from {kind(value)}")
    drop: set[int] = set()
    for key in keys:
        if type(key) is dict:
            drop.update(range(*slice_bounds(len(value), key)))
        elif type(key) in NUMERIC:
            at = math.trunc(double(key)) if math.isfinite(double(key)) else len(value)
            drop.add(at + len(value) if double(key) < 0 else at)
        else:
            raise fail(f"Cannot delete {kind(key)} element of array")
    return [each for at, each in enumerate(value) if at not in drop]


def without_fields(value: dict[str, Value], keys: list[Value]) -> dict[str, Value]:
    result = dict(value)
    for key in keys:
        if type(key) is not str:
            raise fail(f"Cannot delete {kind(key)} field of object")
        result.pop(key, None)
    return result


def delete_paths(value: Value, paths: Value) -> Value:
    """A copy of value without what these paths lead to; all are found before anything goes, so no index moves."""
    if type(paths) is not list:
        raise fail("Paths must be specified as an array")
    for path in paths:
        if type(path) is not list:
            raise fail(f"Path must be specified as array, not {kind(path)}")
    ordered = sorted_values(paths)
    if not ordered:
        return value
    return delete_sorted(value, ordered, 0) if ordered[0] else None


def delete_sorted(value: Value, paths: list[list[Value]], at: int) -> Value:
    """The same for sorted paths that are alike before `at`; paths that go on below a deleted key say nothing more."""
    if at > MAX_NESTING:
        raise JqBudget("a path too long")
    gone: list[Value] = []
    first = 0
    while first < len(paths):
        key, end = paths[first][at], first + 1
        while end < len(paths) and equal(key, paths[end][at]):
            end += 1
        if len(paths[first]) == at + 1:
            gone.append(key)
        else:
            inner = index(value, key)
            if inner is not None:
                value = with_key(value, key, delete_sorted(inner, paths[first:end], at + 1))
        first = end
    return without(value, gone)


def children(value: Value) -> Iterator[tuple[Value, Value]]:
    """(key, value) of everything directly inside; nothing inside a scalar."""
    if type(value) is list:
        return enumerate(value)
    return iter(value.items() if type(value) is dict else ())
