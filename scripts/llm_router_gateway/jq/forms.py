"""The functions of the jq language that take programs: each makes a Code, once, when the program is compiled.

    FORMS["select/1"]([condition])              -> Code
    FORMS["limit/2"]([constant(2), iterate()])  -> Code, whose many([5, 6, 7], env) gives 5 and 6

JqRefused where a program cannot be run as jq runs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from .arithmetic import add, subtract
from .codes import Code, Env, Path, charge_value, constant, empty, fresh, identity, pipe, spend
from .control import array, select
from .functions import extreme, group_values, matches, scan, splits, tostream
from .matching import form_matching, form_split, form_test, form_test_one
from .prices import sorting as sorting_steps
from .reaching import item, iterate, recurse
from .updates import form_del, form_getpath, form_pick, path_lists
from .values import EXACT, NUMERIC, JqBudget, JqRefused, Value, brief, compare, double, fail, kind, normalize, truthy


def take_outputs(count: int, many: Iterable[Any]) -> Iterator[Any]:
    """The first so many, and not a step further."""
    if count > 0:
        for each in many:
            yield each
            count -= 1
            if count <= 0:
                return


def check_count(value: Value, what: str) -> Value:
    """How many `limit` and `skip` mean; jq counts down from it in steps of 1."""
    if compare(value, 0) < 0:
        raise fail(f"{what} doesn't support negative count")
    return value


def limit(count: Value, outputs: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """The first so many outputs; with none wanted nothing is run."""
    if compare(check_count(count, "limit"), 0) == 0:
        return
    if type(count) in NUMERIC:
        yield from take_outputs(math.ceil(min(double(count), 1e15)), outputs())
    else:
        for _ in outputs():
            subtract(count, 1)  # an error, and jq's


def skip(count: Value, outputs: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """The outputs after the first so many."""
    if compare(check_count(count, "skip"), 0) == 0:
        yield from outputs()
        return
    left = double(count) if type(count) in NUMERIC else 0.0
    for each in outputs():
        if type(count) not in NUMERIC:
            subtract(count, 1)  # an error, and jq's
        left -= 1
        if left < 0:
            yield each


def form_counted(part: Callable[[Value, Callable[[], Iterable[Any]]], Iterator[Any]]) -> Callable[[list[Code]], Code]:
    """`limit(count; body)` and `skip(count; body)`: once for each output of count."""

    def form(arguments: list[Code]) -> Code:
        count, body = arguments

        def many(value: Value, env: Env) -> Iterator[Value]:
            for number in count.many(value, env):
                yield from part(number, lambda: body.many(value, env))

        def paths(path: Path, value: Value, env: Env) -> Iterator[Any]:
            for number in count.many(value, env):
                yield from part(number, lambda: body.paths(path, value, env))

        return Code(None, many, paths, (body,))

    return form


def form_first(arguments: list[Code]) -> Code:
    body = arguments[0]
    if body.one is not None:
        return body
    return Code(
        None,
        lambda value, env: take_outputs(1, body.many(value, env)),
        lambda path, value, env: take_outputs(1, body.paths(path, value, env)),
        (body,),
    )


def form_last(arguments: list[Code]) -> Code:
    body = arguments[0]

    def many(value: Value, env: Env) -> Iterable[Value]:
        last: list[Value] = []
        for each in body.many(value, env):
            last = [each]
        return last

    return Code(body.one, None if body.one else many)


def form_isempty(arguments: list[Code]) -> Code:
    def one(value: Value, env: Env) -> Value:
        for _ in arguments[0].many(value, env):
            return False
        return True

    return Code(one)


def quantifier(arguments: list[Code], stop: bool) -> Code:
    """any(source; condition) where stop is True, all(...) where it is False."""
    source, condition = arguments

    def one(value: Value, env: Env) -> Value:
        for each in source.many(value, env):
            for answer in condition.many(each, env):
                if truthy(answer) is stop:
                    return stop
        return not stop

    if condition.one is None:
        return Code(one)
    ask = condition.one

    def quick(value: Value, env: Env) -> Value:
        for each in source.many(value, env):
            if truthy(ask(each, env)) is stop:
                return stop
        return not stop

    return Code(quick)


def form_map(arguments: list[Code]) -> Code:
    body = arguments[0]
    if body.one is None:
        return array(pipe(iterate(), body))
    only = body.one
    each = iterate().many
    return Code(lambda value, env: [only(item, env) for item in each(value, env)])


def numeric_range(start: Value, end: Value, env: Env) -> Iterator[Value]:
    if type(start) not in NUMERIC or type(end) not in NUMERIC:
        raise fail("Range bounds must be numeric")
    if start != start or end != end:
        raise JqRefused("a range from or to nan")
    if type(start) is int and -EXACT < start < EXACT:
        at = start
        limit = double(end)
        while at < limit:
            spend(env, 1)
            yield at
            at += 1
        return
    place, shown = double(start), start  # the first is as it was written
    while place < double(end):
        spend(env, 1)
        yield shown
        place += 1
        shown = normalize(place)


def form_range(arguments: list[Code]) -> Code:
    start, end = arguments if len(arguments) == 2 else [constant(0), arguments[0]]

    def many(value: Value, env: Env) -> Iterator[Value]:
        for first in start.many(value, env):
            for last in end.many(value, env):
                yield from numeric_range(first, last, env)

    return Code(None, many)


def step_range(first: Value, last: Value, step: Value, env: Env) -> Iterator[Value]:
    direction = compare(step, 0)
    at = first
    while direction and (compare(at, last) < 0 if direction > 0 else compare(at, last) > 0):
        spend(env, 1)
        yield at
        at = add(at, step)


def form_range3(arguments: list[Code]) -> Code:
    start, end, by = arguments

    def many(value: Value, env: Env) -> Iterator[Value]:
        for first in start.many(value, env):
            for last in end.many(value, env):
                for step in by.many(value, env):
                    yield from step_range(first, last, step, env)

    return Code(None, many)


Turn = tuple[bool, Callable[[], Iterable[Any]]]  # whether a value is an output, and what comes after it


def walk(value: Any, env: Env, turn: Callable[[Any], Turn]) -> Iterator[Any]:
    """Depth first from value: turn(item) says whether it is an output, and runs what comes after it."""
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for each in stack[-1]:
            spend(env, 1)
            shown, after = turn(each)
            if shown:
                yield each
            if len(stack) > 10_000:
                raise JqBudget("nested too deeply")
            stack.append(iter(after()))  # not before the output was taken: an error of it comes later
            break
        else:
            stack.pop()


def form_while(arguments: list[Code]) -> Code:
    """while(condition; update), as long as condition has one output."""
    condition, update = arguments
    if condition.one is None:
        raise JqRefused("while with a condition of several outputs")
    ask = condition.one

    def many(value: Value, env: Env) -> Iterable[Value]:
        def turn(each: Value) -> Turn:
            return (True, lambda: update.many(each, env)) if truthy(ask(each, env)) else (False, tuple)

        return walk(value, env, turn)

    def paths(path: Path, value: Value, env: Env) -> Iterable[Any]:
        def turn(each: Any) -> Turn:
            return (True, lambda: update.paths(each[0], each[1], env)) if truthy(ask(each[1], env)) else (False, tuple)

        return walk((path, value), env, turn)

    return Code(None, many, paths, (update,))


def form_until(arguments: list[Code]) -> Code:
    condition, update = arguments
    if condition.one is None:
        raise JqRefused("until with a condition of several outputs")
    ask = condition.one

    def many(value: Value, env: Env) -> Iterable[Value]:
        def turn(each: Value) -> Turn:
            return (True, tuple) if truthy(ask(each, env)) else (False, partial(update.many, each, env))

        return walk(value, env, turn)

    def paths(path: Path, value: Value, env: Env) -> Iterable[Any]:
        def turn(each: Any) -> Turn:
            return (True, tuple) if truthy(ask(each[1], env)) else (False, partial(update.paths, each[0], each[1], env))

        return walk((path, value), env, turn)

    return Code(None, many, paths, (update,))


def form_repeat(arguments: list[Code]) -> Code:
    body = arguments[0]

    def many(value: Value, env: Env) -> Iterator[Value]:
        while True:
            spend(env, 1)
            yield from body.many(value, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[Any]:
        while True:
            spend(env, 1)
            yield from body.paths(path, value, env)

    return Code(None, many, paths, (body,))


def form_recurse(arguments: list[Code]) -> Code:
    body = arguments[0] if len(arguments) == 1 else pipe(arguments[0], select(arguments[1]))

    def many(value: Value, env: Env) -> Iterable[Value]:
        return walk(value, env, lambda each: (True, lambda: body.many(each, env)))

    def paths(path: Path, value: Value, env: Env) -> Iterable[Any]:
        return walk((path, value), env, lambda each: (True, lambda: body.paths(each[0], each[1], env)))

    return Code(None, many, paths, (body,))


def form_add(arguments: list[Code]) -> Code:
    source = arguments[0] if arguments else iterate()

    def one(value: Value, env: Env) -> Value:
        total: Value = None
        for each in source.many(value, env):
            total = charge_value(add(total, each), env)
        return total

    return Code(one)


def key_outputs(body: Code) -> Callable[[Value, Env], list[Value]]:
    """What map([f]) gives: every item's outputs of f."""
    many = iterate().many
    return lambda value, env: [list(body.many(each, env)) for each in many(value, env)]


def form_by(work: Callable[[list[Value], list[Value]], Value], name: str) -> Callable[[list[Code]], Code]:
    def form(arguments: list[Code]) -> Code:
        by = key_outputs(arguments[0])

        def one(value: Value, env: Env) -> Value:
            sorting = by(value, env)
            if type(value) is not list:
                what = "cannot be sorted, as they are not both arrays" if name == "sort" else "cannot be iterated over"
                raise fail(f"{brief(value)} and {brief(sorting)} {what}")
            spend(env, sorting_steps(sorting))
            return work(value, sorting)

        return Code(one)

    return form


def form_tostream(arguments: list[Code]) -> Code:
    def many(value: Value, env: Env) -> Iterator[Value]:
        for event in tostream(value):
            spend(env, 1)
            yield event

    return Code(None, many)


def kinds(*names: str) -> Callable[[list[Code]], Code]:
    """select(type == ...)"""
    return lambda arguments: select(Code(lambda value, env: kind(value) in names))


FORMS: dict[str, Callable[[list[Code]], Code]] = {
    "values/0": lambda arguments: select(Code(lambda value, env: value is not None)),
    "nulls/0": lambda arguments: select(Code(lambda value, env: value is None)),
    "booleans/0": kinds("boolean"),
    "numbers/0": kinds("number"),
    "strings/0": kinds("string"),
    "arrays/0": kinds("array"),
    "objects/0": kinds("object"),
    "iterables/0": kinds("array", "object"),
    "scalars/0": kinds("null", "boolean", "number", "string"),
    "first/0": lambda arguments: item(0),
    "last/0": lambda arguments: item(-1),
    "any/0": lambda arguments: quantifier([iterate(), identity()], True),
    "all/0": lambda arguments: quantifier([iterate(), identity()], False),
    "any/1": lambda arguments: quantifier([iterate(), *arguments], True),
    "all/1": lambda arguments: quantifier([iterate(), *arguments], False),
    "empty/0": lambda arguments: empty(),
    "recurse/0": lambda arguments: recurse(),
    "recurse/1": form_recurse,
    "recurse/2": form_recurse,
    "select/1": lambda arguments: select(arguments[0]),
    "map/1": form_map,
    "path/1": lambda arguments: fresh(None, path_lists(arguments[0])),
    "getpath/1": form_getpath,
    "del/1": form_del,
    "pick/1": form_pick,
    "limit/2": form_counted(limit),
    "skip/2": form_counted(skip),
    "first/1": form_first,
    "last/1": form_last,
    "isempty/1": form_isempty,
    "any/2": lambda arguments: quantifier(arguments, True),
    "all/2": lambda arguments: quantifier(arguments, False),
    "range/1": form_range,
    "range/2": form_range,
    "range/3": form_range3,
    "while/2": form_while,
    "until/2": form_until,
    "repeat/1": form_repeat,
    "add/0": form_add,
    "add/1": form_add,
    "sort_by/1": form_by(lambda values, by: [each for group in group_values(values, by) for each in group], "sort"),
    "group_by/1": form_by(group_values, "sort"),
    "unique_by/1": form_by(lambda values, by: [group[0] for group in group_values(values, by)], "sort"),
    "min_by/1": form_by(lambda values, by: extreme(values, by, False), "extreme"),
    "max_by/1": form_by(lambda values, by: extreme(values, by, True), "extreme"),
    "test/1": form_test_one,
    "test/2": form_test,
    "match/2": form_matching(matches, True),
    "scan/2": form_matching(scan, False),
    "splits/2": form_matching(splits, False),
    "split/2": form_split,
    "tostream/0": form_tostream,
    "infinite/0": lambda arguments: constant(normalize(math.inf)),
    "nan/0": lambda arguments: constant(math.nan),
    "null/0": lambda arguments: constant(None),
    "true/0": lambda arguments: constant(True),
    "false/0": lambda arguments: constant(False),
    "have_literal_numbers/0": lambda arguments: constant(True),
}
