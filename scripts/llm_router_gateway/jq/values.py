"""Values of the jq language: how they are read and written, their order and their weight; errors and budgets.

    compare(None, 0)        -> -1     null < false < true < numbers < strings < arrays < objects
    to_json([1.0, "a"])     -> '[1.0,"a"]'
    read("[1.10]")          -> [1.10]  whose text stays "1.10"
    weight([1, [2]])        -> 4

A value is what json.loads makes: None, bool, int, float, str, list, dict; nothing here changes one in place. jq counts in
IEEE doubles and keeps a number that was not computed with as it was written, so: an int is exact until computed with; what
is computed comes back as an int where it is whole and below 2**53; Number carries its own text where float would tell it
otherwise than jq does. Messages are jq's, because `try ... catch .` can read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
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
HEAVY = 400_000  # values inside one another, beyond which counting stops: no budget pays for them
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
        try:
            return text_of(self.value)
        except JqError:  # a value that only jq can write, or one too deep
            return "the program ended in an error"


class JqUnknownError(JqRaised):
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
    """A double that is written as `text`; `literal` if it was not computed with."""

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


def normalize(value: float) -> Value:
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
    """JSON text -> value, its numbers as they are written; ValueError if it is not JSON.

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
GROWING = frozenset({str, list, dict})  # what can be large


def kind(value: Value) -> str:
    try:
        return KIND[type(value)]
    except KeyError:
        raise JqError(f"a {type(value).__name__} is not a JSON value") from None


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
    """A value's text, cut to BRIEF_BYTES; no more of it is written than that, however large it is."""
    parts: list[str] = []
    size = 0
    for part in pieces(value):
        parts.append(part)
        size += len(part)
        if size > BRIEF_BYTES:
            break
    raw = "".join(parts).encode("utf-8", "replace")
    if len(raw) <= BRIEF_BYTES:
        return "".join(parts)
    close = {"string": '"', "array": "]", "object": "}"}.get(kind(value), "")
    return raw[: BRIEF_BYTES - 3 - len(close)].decode("utf-8", "ignore") + "..." + close


def pieces(value: Value) -> Iterator[str]:
    """The JSON text of a value bit by bit; of a long string its beginning."""
    this = type(value)
    if this is list:
        lead = "["
        for each in value:
            yield lead
            yield from pieces(each)
            lead = ","
        yield "]" if value else "[]"
    elif this is dict:
        lead = "{"
        for name, each in value.items():
            yield lead + string_text(name[: BRIEF_BYTES + 1]) + ":"
            yield from pieces(each)
            lead = ","
        yield "}" if value else "{}"
    else:
        yield to_json(value[: BRIEF_BYTES + 1] if this is str else value)


def weight(value: Value) -> int:
    """How many values lie in this one, itself included, with one more for each 64 characters of a text; HEAVY at most.

    weight([1, [2]]) -> 4
    """
    if type(value) not in (list, dict):
        return 1 + (len(value) >> 6 if type(value) is str else 0)
    total, stack = 0, [value]
    while stack and total < HEAVY:
        each = stack.pop()
        if type(each) is str:
            total += len(each) >> 6
            continue
        total += 1 + len(each)
        if total < HEAVY:
            inside = each if type(each) is list else each.values()
            stack.extend(one for one in inside if type(one) in GROWING)
    return min(total, HEAVY)


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
    """Two numbers that are one double: as decimals where neither was computed with."""
    if not all(each.literal for each in (a, b) if type(each) is Number) or math.isinf(double(a)):
        return 0
    left, right = Decimal(number_text(a)), Decimal(number_text(b))
    return (left > right) - (left < right)


def compare(a: Value, b: Value) -> int:
    """-1, 0 or 1 in jq's order of all values."""
    try:
        left, right = ORDER[type(a)], ORDER[type(b)]
    except KeyError:
        return len(kind(a)) - len(kind(b))  # raises for the one that is not a value
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


def sort_values(values: list[Value]) -> list[Value]:
    kinds = {type(each) for each in values}
    if kinds == {str} or kinds == {int}:
        return sorted(values)
    return sorted(values, key=sort_key)
