"""What a jq program becomes: closures that call one another. One Code per construct, three ways to run it.

    code.one(value, env)          -> the output, where there is always exactly one; else code.one is None
    code.many(value, env)         -> an iterable of outputs
    code.paths(path, value, env)  -> an iterable of (path, value), for path(...), assignments and del(...)

env is a tuple: the run's budget first, then what is bound around this place, each at an index known when compiling. Nothing
in it is ever changed (the budget's counter apart), so an output can be taken up again after others have been.
A path is a tuple of keys, or Lost where a value came from somewhere else than the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .values import GROWING, JqBudget, JqRefused, Value, brief_text, equal, fail

Env = tuple[Any, ...]
One = Callable[[Value, Env], Value]
Many = Callable[[Value, Env], Iterable[Value]]
Path = Any  # tuple[Value, ...] | Lost
Paths = Callable[[Path, Value, Env], Iterable[tuple[Path, Value]]]
Bind = Callable[[Value, Env], Iterable[Env]]

STEPS, DEPTH = 0, 1  # env[0] is [steps left, calls one inside another, see retries.LEFT]
MAX_CALLS = 200  # of a program's own functions inside one another; each takes some five frames of Python's stack


def spend(env: Env, steps: int) -> None:
    """Takes steps from the budget; JqBudget where it is used up."""
    run = env[0]
    run[STEPS] -= steps
    if run[STEPS] < 0:
        raise JqBudget("too many steps")


class Code:
    """One construct, compiled. `constant` holds a literal's value in a list of one.

    `tracked` where its paths are jq's to the letter; `of` are the parts that this depends on. What jq itself writes in jq, by
    ways of its own, is not tracked: as a path it is refused.
    """

    __slots__ = ("constant", "many", "one", "paths", "tracked")

    def __init__(
        self, one: One | None, many: Many | None = None, paths: Paths | None = None, of: tuple[Code, ...] = ()
    ) -> None:
        self.one = one
        self.many: Many = many or single(one)
        self.paths: Paths = paths or without_paths
        self.tracked: bool = paths is not None and all(part.tracked for part in of)
        self.constant: list[Value] | None = None


def without_paths(path: Path, value: Value, env: Env) -> Iterable[tuple[Path, Value]]:
    raise JqRefused("a path through an expression that is not a path")


def fresh(one: One | None, many: Many | None = None) -> Code:
    """Code whose outputs are values of its own: no path leads to them, which is an error only where one is needed."""
    run = many or single(one)
    return Code(one, run, paths_of_outputs(run))


def single(one: One | None) -> Many:
    if one is None:
        raise TypeError("code needs a function")
    run: One = one

    def many(value: Value, env: Env) -> Iterable[Value]:
        return (run(value, env),)

    return many


class LostPath:
    """A path that leads nowhere: the value was made on the way. `path` and `at` are the last place it was known."""

    __slots__ = ("at", "doubt", "path")

    def __init__(self, path: tuple[Value, ...], at: Value, doubt: bool) -> None:
        self.path = path
        self.at = at
        self.doubt = doubt


def output_path(path: Path, value: Value, output: Value) -> tuple[Path, Value]:
    """The path of a value that an expression made from `value`: still the old path where it is the very same value.

    jq asks whether it is the same object in memory. For null and booleans, and for an array or object that was only handed
    on, Python's `is` says the same; for another that is equal it is uncertain: a program that goes on with its path is refused.
    """
    base, at = (path.path, path.at) if type(path) is LostPath else (path, value)
    if output is at and (at is None or type(at) in (bool, list, dict)):
        return base, output
    return LostPath(base, at, equal(output, at)), output


def require_path(path: Path, value: Value, doing: str) -> tuple[Value, ...]:
    """The path, or the error that there is none."""
    if type(path) is LostPath:
        if path.doubt:
            raise JqRefused("a path through a value that may or may not be the input's own")
        raise fail(f"Invalid path expression {doing}{brief_text(value)}")
    return path  # type: ignore[no-any-return]


def paths_of_outputs(many: Many) -> Paths:
    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for output in many(value, env):
            yield output_path(path, value, output)

    return paths


# --------------------------------------------------------------------------------------------------- the simplest


def identity() -> Code:
    return Code(lambda value, env: value, None, lambda path, value, env: ((path, value),))


def constant(value: Value) -> Code:
    code = fresh(lambda _, env: value)
    code.constant = [value]
    return code


def variable(slot: int) -> Code:
    return fresh(lambda value, env: env[slot])


def empty() -> Code:
    return Code(None, lambda value, env: (), lambda path, value, env: ())


def pipe_many(first: Code, then: Code) -> Many:
    before, after, after_one = first.many, then.many, then.one
    if first.one is not None:
        only = first.one
        return lambda value, env: after(only(value, env), env)
    if after_one is not None:
        step = after_one

        def to_one(value: Value, env: Env) -> Iterator[Value]:
            for each in before(value, env):
                yield step(each, env)

        return to_one

    def many(value: Value, env: Env) -> Iterator[Value]:
        for each in before(value, env):
            yield from after(each, env)

    return many


def pipe(first: Code, then: Code) -> Code:
    one: One | None = None
    if first.one is not None and then.one is not None:
        before, after = first.one, then.one

        def both(value: Value, env: Env) -> Value:
            return after(before(value, env), env)

        one = both
    before_paths, after_paths = first.paths, then.paths

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for place, each in before_paths(path, value, env):
            yield from after_paths(place, each, env)

    return Code(one, single(one) if one else pipe_many(first, then), paths, (first, then))


def comma(left: Code, right: Code) -> Code:
    def many(value: Value, env: Env) -> Iterator[Value]:
        yield from left.many(value, env)
        yield from right.many(value, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        yield from left.paths(path, value, env)
        yield from right.paths(path, value, env)

    return Code(None, many, paths, (left, right))


def charge_value(value: Value, env: Env) -> Value:
    """The value; a step for each 64 of its parts, so that doubling a string does not get around the budget."""
    if type(value) in GROWING and len(value) >= 64:
        spend(env, len(value) >> 6)
    return value


# ----------------------------------------------------------------------------------------------------------- functions


class Function:
    """A function a program defines: its body is compiled after the name is known, because it may call itself."""

    __slots__ = ("base", "body")

    def __init__(self, base: int) -> None:
        self.base = base  # how much of a caller's env was there where the function was defined
        self.body: Code | None = None


def enter_call(env: Env) -> list[int]:
    """One call deeper; JqBudget where it is too deep. The caller takes it back."""
    run: list[int] = env[0]
    run[STEPS] -= 1
    if run[STEPS] < 0:
        raise JqBudget("too many steps")
    if run[DEPTH] >= MAX_CALLS:
        raise JqBudget("calls nested too deeply")
    run[DEPTH] += 1
    return run


def call(function: Function, arguments: list[Code]) -> Code:
    """Arguments are closures: (code, the caller's env), run as often as the function asks."""
    base = function.base

    def frame(env: Env) -> Env:
        return (*env[:base], *[(code, env) for code in arguments])

    def many(value: Value, env: Env) -> Iterator[Value]:
        run = enter_call(env)
        try:
            yield from function.body.many(value, frame(env))  # type: ignore[union-attr]  # compiled by now
        finally:
            run[DEPTH] -= 1

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        run = enter_call(env)
        try:
            yield from function.body.paths(path, value, frame(env))  # type: ignore[union-attr]  # compiled by now
        finally:
            run[DEPTH] -= 1

    body = function.body
    if body is None or body.one is None:
        return Code(None, many, paths, (body,) if body is not None else ())
    only = body.one

    def one(value: Value, env: Env) -> Value:
        spend(env, 1)
        return only(value, frame(env))

    return Code(one, None, paths, (body,))


def argument(slot: int) -> Code:
    """A call of one of the function's own arguments."""

    def many(value: Value, env: Env) -> Iterable[Value]:
        spend(env, 1)
        code, home = env[slot]
        return code.many(value, home)  # type: ignore[no-any-return]

    def paths(path: Path, value: Value, env: Env) -> Iterable[tuple[Path, Value]]:
        spend(env, 1)
        code, home = env[slot]
        return code.paths(path, value, home)  # type: ignore[no-any-return]

    return Code(None, many, paths)
