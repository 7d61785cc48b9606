"""The mathematics of the jq language: functions of <math.h> that Python answers to the last digit.

MATH1["floor"](1.5)     -> 1.0
math1(math.sqrt)(4)     -> 2        (a value in, a value out; JqRaised if it is not a number)
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .values import NUMERIC, JqRefused, Value, brief, double, fail, normalize


def check_number(value: Value) -> float:
    if type(value) not in NUMERIC:
        raise fail(f"{brief(value)} number required")
    return double(value)


def math1(work: Callable[[float], float]) -> Callable[[Value], Value]:
    """A function of <math.h>: outside its domain C answers nan or infinity where Python raises."""

    def run(value: Value) -> Value:
        x = check_number(value)
        try:
            return normalize(float(work(x)))
        except OverflowError:
            raise JqRefused("a number too large") from None
        except ValueError:
            return normalize(-math.inf) if x == 0 else math.nan

    return run


def math2(work: Callable[[float, float], float]) -> Callable[[Value, Value, Value], Value]:
    def run(_: Value, a: Value, b: Value) -> Value:
        left, right = check_number(a), check_number(b)
        try:
            return normalize(float(work(left, right)))
        except (OverflowError, ValueError):
            raise JqRefused("a function outside its domain") from None

    return run


SMALLEST_NORMAL = 2.2250738585072014e-308  # below it a double loses digits


def rounding(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value) if abs(value) < 2**52 else value


def integer_rounding(work: Callable[[float], int]) -> Callable[[float], float]:
    """floor and the like, which Python answers as an int: infinity and nan stay, -0.0 too."""
    return lambda x: math.copysign(float(work(x)), x) if math.isfinite(x) else x


def power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except ValueError:
        if x == 0:
            return math.copysign(math.inf, x) if y % 2 == 1 else math.inf
        return math.nan


MATH1: dict[str, Callable[[float], float]] = {
    "floor": integer_rounding(math.floor),
    "ceil": integer_rounding(math.ceil),
    "trunc": integer_rounding(math.trunc),
    "round": rounding,
    "rint": integer_rounding(round),
    "nearbyint": integer_rounding(round),
    "fabs": abs,
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "exp": math.exp,
    "exp2": math.exp2,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")},
}
MATH2: dict[str, Callable[[float, float], float]] = {"pow": power, "atan2": math.atan2, "fmod": math.fmod}


def number_check(check: Callable[[float], bool]) -> Callable[[Value], bool]:
    """What asks something of a number says false of everything else."""
    return lambda value: type(value) in NUMERIC and check(double(value))


isinfinite = number_check(math.isinf)
isnan = number_check(math.isnan)
isnormal = number_check(lambda x: math.isfinite(x) and abs(x) >= SMALLEST_NORMAL)
