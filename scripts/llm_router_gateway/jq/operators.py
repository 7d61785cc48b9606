"""Codes of the operators: arithmetic, comparisons, `and`, `or`, `//`.

arithmetic("+", identity(), constant(1)).one(2, env)   -> 3
comparison("<", identity(), constant(1)).one(2, env)   -> False
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .arithmetic import ARITHMETIC
from .codes import Code, Env, Many, One, Path, charge_value, fresh, single, spend
from .values import EXACT, Value, compare, equal, truthy, weight


def binary_many(work: Callable[[Value, Value], Value], left: Code, right: Code) -> Many:
    def many(value: Value, env: Env) -> Iterator[Value]:
        for second in right.many(value, env):
            for first in left.many(value, env):
                yield work(first, second)

    return many


def binary(work: Callable[[Value, Value], Value], left: Code, right: Code) -> Code:
    """Both sides see the same input; the right one's outputs are the outer loop."""
    if left.one is None or right.one is None:
        return fresh(None, binary_many(work, left, right))
    first, second = left.one, right.one
    if right.constant is not None:
        fixed = right.constant[0]
        return fresh(lambda value, env: work(first(value, env), fixed))

    def one(value: Value, env: Env) -> Value:
        last = second(value, env)
        return work(first(value, env), last)

    return fresh(one)


def pairwise(work: Callable[[Value, Value, Env], Value], left: Code, right: Code) -> Code:
    """`work` on each output of both sides, of which the right one runs first and turns slowest."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for second in right.many(value, env):
            for first in left.many(value, env):
                yield work(first, second, env)

    if left.one is None or right.one is None:
        return fresh(None, many)
    before, after = left.one, right.one

    def one(value: Value, env: Env) -> Value:
        last = after(value, env)
        return work(before(value, env), last, env)

    return fresh(one)


def arithmetic(sign: str, left: Code, right: Code) -> Code:
    """+ - * / %; what grows costs steps by its size, what is gone through costs them before."""
    work = ARITHMETIC[sign]

    def charge_and_work(first: Value, second: Value, env: Env) -> Value:
        if type(first) in (list, dict) and sign in "-*":
            spend(env, both_weights(first, second, sign == "-"))
        return charge_value(work(first, second), env)

    return pairwise(charge_and_work, left, right)


def both_weights(first: Value, second: Value, pairs: bool) -> int:
    """Steps for two containers: for each pair of their items, or for all that lies in the lighter one."""
    if type(first) is not type(second):
        return 0
    return len(first) * len(second) + min(weight(first), weight(second)) if pairs else min(weight(first), weight(second))


COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "==": equal,
    "!=": lambda a, b: not equal(a, b),
    "<": lambda a, b: compare(a, b) < 0,
    "<=": lambda a, b: compare(a, b) <= 0,
    ">": lambda a, b: compare(a, b) > 0,
    ">=": lambda a, b: compare(a, b) >= 0,
}


def comparison(sign: str, left: Code, right: Code) -> Code:
    work = COMPARISONS[sign]
    fixed = right.constant[0] if right.constant is not None else None
    first = left.one
    if first is None or not (type(fixed) is str or (type(fixed) is int and -EXACT < fixed < EXACT)):
        return (binary if is_scalar(left) or is_scalar(right) else priced_comparison)(work, left, right)
    quick = against(sign, fixed, type(fixed))
    if quick is None:
        return binary(work, left, right)
    check, this = quick, type(fixed)

    def one(value: Value, env: Env) -> Value:
        found = first(value, env)
        return check(found) if type(found) is this else work(found, fixed)

    return fresh(one)


def priced_comparison(work: Callable[[Value, Value], bool], left: Code, right: Code) -> Code:
    """A comparison; two arrays or objects cost steps by what lies in the lighter one."""

    def charge_and_work(first: Value, second: Value, env: Env) -> Value:
        if type(first) in (list, dict) and type(first) is type(second):
            spend(env, min(weight(first), weight(second)) >> 1)
        return work(first, second)

    return pairwise(charge_and_work, left, right)


def is_scalar(code: Code) -> bool:
    """A constant that costs nothing to compare with."""
    return code.constant is not None and type(code.constant[0]) not in (list, dict)


def against(sign: str, fixed: Any, this: type) -> Callable[[Any], bool] | None:
    """A comparison with a value of the same type, by Python's own operators, which agree there."""
    methods = {"==": "__eq__", "!=": "__ne__", "<": "__gt__", "<=": "__ge__", ">": "__lt__", ">=": "__le__"}
    return getattr(fixed, methods[sign]) if this in (str, int) else None  # fixed.__gt__(x) is x < fixed


def logic(left: Code, right: Code, stop: bool) -> Code:
    """`or` where stop is True, `and` where it is False: an output of the left side that decides leaves the right alone."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for each in left.many(value, env):
            if truthy(each) is stop:
                yield stop
            else:
                for other in right.many(value, env):
                    yield truthy(other)

    if left.one is None or right.one is None:
        return Code(None, many)
    first, second = left.one, right.one

    def either(value: Value, env: Env) -> Value:
        found = first(value, env)
        if found is not None and found is not False:
            return True
        found = second(value, env)
        return found is not None and found is not False

    def both(value: Value, env: Env) -> Value:
        found = first(value, env)
        if found is None or found is False:
            return False
        found = second(value, env)
        return found is not None and found is not False

    return Code(either if stop else both)


def alternative(left: Code, right: Code) -> Code:
    """`left // right`: every output of left that is neither null nor false; right if there is none."""
    one: One | None = None
    if left.one is not None and right.one is not None:
        first, second = left.one, right.one

        def either(value: Value, env: Env) -> Value:
            found = first(value, env)
            return found if found is not None and found is not False else second(value, env)

        one = either

    def many(value: Value, env: Env) -> Iterator[Value]:
        some = False
        for each in left.many(value, env):
            if truthy(each):
                some = True
                yield each
        if not some:
            yield from right.many(value, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        some = False
        for place, each in left.paths(path, value, env):
            if truthy(each):
                some = True
                yield place, each
        if not some:
            yield from right.paths(path, value, env)

    return Code(one, single(one) if one else many, paths, (left, right))
