"""test, match, scan, splits and split of the jq language as Codes; every match is paid for when it is found.

form_test([constant("a+"), constant(None)]).one("baa", env)   -> True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .codes import Code, Env, charge_value, constant, fresh, pipe, spend
from .control import array
from .functions import match_steps, pattern_for, splits, test
from .plain import plain
from .reaching import iterate
from .values import JqRaised, JqRefused, Value, brief, fail, kind


def form_test(arguments: list[Code]) -> Code:
    """test(pattern; flags); with both written in the program the pattern is ready before the first run."""
    source, modes = arguments
    if source.constant is None or type(source.constant[0]) is not str or modes.constant is None:
        return plain(test, arguments, True, match_steps)
    try:
        pattern = pattern_for("", source.constant[0], modes.constant[0])
    except JqRaised:
        return plain(test, arguments, True, match_steps)  # jq complains when it runs
    check, steps = pattern.test, pattern.steps

    def one(value: Value, env: Env) -> Value:
        if type(value) is not str:
            raise fail(f"{brief(value)} cannot be matched, as it is not a string")
        spend(env, steps(value))
        return check(value)

    return fresh(one)


def form_test_one(arguments: list[Code]) -> Code:
    """test("pattern") or test(["pattern", "flags"])"""
    given = arguments[0].constant
    if given is not None and type(given[0]) is str:
        return Code(form_test([arguments[0], constant(None)]).one)
    return plain(
        lambda value, given: test(value, *either_form(given)),
        arguments,
        False,
        lambda value, given: match_steps(value, *either_form(given)),
    )


def either_form(given: Value) -> tuple[Value, Value]:
    if type(given) is str:
        return given, None
    if type(given) is list and given:
        return given[0], given[1] if len(given) > 1 else None
    raise fail(f"{kind(given)} not a string or array")


def form_matching(work: Callable[..., Iterator[Value]], last_outer: bool) -> Callable[[list[Code]], Code]:
    """match, scan, splits: every match is paid for when it is found, so that a long text cannot have more than the budget."""

    def form(arguments: list[Code]) -> Code:
        ordered = arguments[::-1] if last_outer else arguments

        def many(value: Value, env: Env) -> Iterator[Value]:
            for outer in ordered[0].many(value, env):
                for inner in ordered[1].many(value, env):
                    source, modes = (inner, outer) if last_outer else (outer, inner)
                    yield from work(value, source, modes, lambda steps: spend(env, steps))

        if not last_outer:
            return Code(None, many)
        whole = array(Code(None, many))  # jq makes an array and goes through it: so says its error where a path is needed
        return Code(None, many, pipe(fresh(whole.one), iterate()).paths)

    return form


def form_split(arguments: list[Code]) -> Code:
    """split(pattern; flags): what splits gives, in an array."""
    parts = form_matching(splits, False)(arguments)
    if any(code.one is None for code in arguments):
        raise JqRefused("split with several patterns")
    return Code(lambda value, env: charge_value(list(parts.many(value, env)), env))
