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

from .values import (
    ARITHMETIC,
    EXACT,
    JqBudget,
    JqRaised,
    JqRefused,
    JqUntold,
    Value,
    brief_text,
    children,
    compare,
    equal,
    fail,
    index,
    kind,
    truthy,
)

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
        self.paths: Paths = paths or untracked
        self.tracked: bool = paths is not None and all(part.tracked for part in of)
        self.constant: list[Value] | None = None


def untracked(path: Path, value: Value, env: Env) -> Iterable[tuple[Path, Value]]:
    raise JqRefused("a path through an expression that is none")


def fresh(one: One | None, many: Many | None = None) -> Code:
    """Code whose outputs are values of its own: no path leads to them, which is an error only where one is asked for."""
    run = many or single(one)
    return Code(one, run, made_paths(run))


def single(one: One | None) -> Many:
    if one is None:
        raise TypeError("code needs a function")
    run: One = one

    def many(value: Value, env: Env) -> Iterable[Value]:
        return (run(value, env),)

    return many


class Lost:
    """A path that leads nowhere: the value was made on the way. `path` and `at` are the last place it was known."""

    __slots__ = ("at", "doubt", "path")

    def __init__(self, path: tuple[Value, ...], at: Value, doubt: bool) -> None:
        self.path = path
        self.at = at
        self.doubt = doubt


def produced(path: Path, value: Value, output: Value) -> tuple[Path, Value]:
    """The path of a value that an expression made from `value`: still the old path where it is the very same value.

    jq asks whether it is the same object in memory. For null and booleans, and for an array or object that was only handed
    on, Python's `is` says the same; for another that is equal nobody can say: a program that goes on with its path is refused.
    """
    base, at = (path.path, path.at) if type(path) is Lost else (path, value)
    if output is at and (at is None or type(at) in (bool, list, dict)):
        return base, output
    return Lost(base, at, equal(output, at)), output


def known(path: Path, value: Value, doing: str) -> tuple[Value, ...]:
    """The path, or the error that there is none."""
    if type(path) is Lost:
        if path.doubt:
            raise JqRefused("a path through a value that may or may not be the input's own")
        raise fail(f"Invalid path expression {doing}{brief_text(value)}")
    return path  # type: ignore[no-any-return]


def made_paths(many: Many) -> Paths:
    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for output in many(value, env):
            yield produced(path, value, output)

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


# ---------------------------------------------------------------------------------------------------- reaching in


def field(name: str) -> Code:
    """`.name` of the input."""

    def one(value: Value, env: Env) -> Value:
        if type(value) is dict:
            return value.get(name)
        return index(value, name)

    return Code(one, None, key_paths(name))


def key_paths(key: Value) -> Paths:
    def paths(path: Path, value: Value, env: Env) -> Iterable[tuple[Path, Value]]:
        known(path, value, f"near attempt to access element {brief_text(key)} of ")
        return (((*path, key), index(value, key)),)

    return paths


def item(key: Value) -> Code:
    """`.[key]` of the input, the key being known."""
    if type(key) is str:
        return field(key)

    def one(value: Value, env: Env) -> Value:
        if type(value) is list and type(key) is int and -len(value) <= key < len(value):
            return value[key]
        return index(value, key)

    return Code(one, None, key_paths(key))


def element(term: Code, key: Code) -> Code:
    """`term[key]`: both see the same input; the key's outputs are the outer loop."""
    if key.constant is not None:
        return pipe(term, item(key.constant[0]))
    one: One | None = None
    if term.one is not None and key.one is not None:
        base, which = term.one, key.one

        def both(value: Value, env: Env) -> Value:
            by = which(value, env)
            return index(base(value, env), by)

        one = both

    def many(value: Value, env: Env) -> Iterator[Value]:
        for by in key.many(value, env):
            for each in term.many(value, env):
                yield index(each, by)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for by in key.many(value, env):
            for place, each in term.paths(path, value, env):
                known(place, each, f"near attempt to access element {brief_text(by)} of ")
                yield (*place, by), index(each, by)

    return Code(one, single(one) if one else many, paths, (term,))


def optional_element(term: Code, key: Code) -> Code:
    """`term[key]?`: no output where the term's value has no such key; errors of term and key themselves pass."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for by in key.many(value, env):
            for each in term.many(value, env):
                try:
                    found = index(each, by)
                except JqRaised:
                    continue
                yield found

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for by in key.many(value, env):
            for place, each in term.paths(path, value, env):
                known(place, each, f"near attempt to access element {brief_text(by)} of ")
                try:
                    found = index(each, by)
                except JqRaised:
                    continue
                yield (*place, by), found

    return Code(None, many, paths, (term,))


def slice_key(start: Code, end: Code) -> Code:
    """{"start": ..., "end": ...}; jq turns the end's outputs fastest."""
    one: One | None = None
    if start.one is not None and end.one is not None:
        low, high = start.one, end.one
        one = lambda value, env: {"start": low(value, env), "end": high(value, env)}  # noqa: E731

    def many(value: Value, env: Env) -> Iterator[Value]:
        for first in start.many(value, env):
            for last in end.many(value, env):
                yield {"start": first, "end": last}

    code = fresh(one, single(one) if one else many)
    if start.constant is not None and end.constant is not None:
        code.constant = [{"start": start.constant[0], "end": end.constant[0]}]
    return code


def items_of(value: Value) -> Iterable[Value]:
    if type(value) is list:
        return value
    if type(value) is dict:
        return list(value.values())
    raise fail(f"Cannot iterate over {kind(value)} ({brief_text(value)})")


def iterate() -> Code:
    def many(value: Value, env: Env) -> Iterable[Value]:
        spend(env, 1 + (len(value) if type(value) in (list, dict) else 0))
        return items_of(value)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        known(path, value, "near attempt to iterate through ")
        many(value, env)
        for key, each in children(value):
            yield (*path, key), each

    return Code(None, many, paths)


def optional_iterate() -> Code:
    """`.[]?`: nothing where there is nothing to go through."""
    each = iterate()

    def many(value: Value, env: Env) -> Iterable[Value]:
        return each.many(value, env) if type(value) in (list, dict) else ()

    def paths(path: Path, value: Value, env: Env) -> Iterable[tuple[Path, Value]]:
        known(path, value, "near attempt to iterate through ")
        return each.paths(path, value, env) if type(value) in (list, dict) else ()

    return Code(None, many, paths)


def descendants(value: Value) -> Iterator[Value]:
    """value and everything inside, each before what is inside it."""
    stack = [iter((value,))]
    while stack:
        for each in stack[-1]:
            yield each
            if type(each) is list:
                stack.append(iter(each))
                break
            if type(each) is dict:
                stack.append(iter(list(each.values())))
                break
        else:
            stack.pop()


def recurse() -> Code:
    """`..`"""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for each in descendants(value):
            spend(env, 1)
            yield each

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        spend(env, 1)
        yield path, value
        if type(value) in (list, dict):
            known(path, value, "near attempt to iterate through ")
            for key, each in children(value):
                yield from paths((*path, key), each, env)

    return Code(None, many, paths)


# --------------------------------------------------------------------------------------------------------- operators


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


def arithmetic(sign: str, left: Code, right: Code) -> Code:
    """+ - * / %; what grows costs steps by its size."""
    work = ARITHMETIC[sign]
    if sign not in "+*":
        return binary(work, left, right)

    def many(value: Value, env: Env) -> Iterator[Value]:
        for second in right.many(value, env):
            for first in left.many(value, env):
                yield priced(work(first, second), env)

    if left.one is None or right.one is None:
        return fresh(None, many)
    before, after = left.one, right.one

    def one(value: Value, env: Env) -> Value:
        last = after(value, env)
        return priced(work(before(value, env), last), env)

    return fresh(one)


def priced(value: Value, env: Env) -> Value:
    """The value; a step for each 64 of its parts, so that doubling a string is no way around the budget."""
    if type(value) in (str, list, dict) and len(value) >= 64:
        spend(env, len(value) >> 6)
    return value


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
        return binary(work, left, right)
    quick = against(sign, fixed, type(fixed))
    if quick is None:
        return binary(work, left, right)
    check, this = quick, type(fixed)

    def one(value: Value, env: Env) -> Value:
        found = first(value, env)
        return check(found) if type(found) is this else work(found, fixed)

    return fresh(one)


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
    """`left // right`: every output of left that is neither null nor false; right where there is none."""
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


# ----------------------------------------------------------------------------------------------------- control


def choice(condition: Code, then: Code, otherwise: Code) -> Code:
    one: One | None = None
    if condition.one is not None and then.one is not None and otherwise.one is not None:
        ask, yes, no = condition.one, then.one, otherwise.one
        one = lambda value, env: yes(value, env) if truthy(ask(value, env)) else no(value, env)  # noqa: E731

    def many(value: Value, env: Env) -> Iterator[Value]:
        for answer in condition.many(value, env):
            yield from (then if truthy(answer) else otherwise).many(value, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for answer in condition.many(value, env):
            yield from (then if truthy(answer) else otherwise).paths(path, value, env)

    return Code(one, single(one) if one else many, paths, (then, otherwise))


def select(condition: Code) -> Code:
    if condition.one is not None:
        ask = condition.one
        quick: Many = lambda value, env: (value,) if truthy(ask(value, env)) else ()  # noqa: E731
        return Code(None, quick, lambda path, value, env: [(path, each) for each in quick(value, env)])
    return choice(condition, identity(), empty())


class Broken(Exception):  # not an error: `break` on its way to its label
    """`break $name`; `label` is the very label it belongs to."""

    def __init__(self, label: object) -> None:
        super().__init__()
        self.label = label


def seen(error: JqRaised | Broken, handler: Code) -> Value:
    """What `catch` gets; a `break` ends in the first `try` around it, as it does in jq 1.8."""
    if isinstance(error, Broken):
        return {"__jq": 0}
    if isinstance(error, JqUntold) and handler.constant is None:
        raise JqRefused("an error whose words only jq knows")
    return error.value


def attempt(body: Code, handler: Code | None) -> Code:
    """`try body catch handler`; errors raised by what consumes the outputs are not body's and pass."""
    one: One | None = None
    if body.one is not None and handler is not None and handler.one is not None:
        first, second = body.one, handler.one

        def either(value: Value, env: Env) -> Value:
            try:
                return first(value, env)
            except JqRaised as error:
                caught = seen(error, handler)
            return second(caught, env)

        one = either

    def many(value: Value, env: Env) -> Iterator[Value]:
        try:
            yield from body.many(value, env)
            return
        except (JqRaised, Broken) as error:
            if handler is None:
                return
            caught = seen(error, handler)
        yield from handler.many(caught, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        try:
            yield from body.paths(path, value, env)
            return
        except (JqRaised, Broken) as error:
            if handler is None:
                return
            caught = seen(error, handler)
        yield from handler.paths(*produced(path, value, caught), env)

    return Code(one, single(one) if one else many, paths, (body, *([handler] if handler else [])))


def labelled(body: Code) -> Code:
    """`label $x | body`; the label is bound as one more value of env."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        label = object()
        try:
            yield from body.many(value, (*env, label))
        except Broken as broken:
            if broken.label is not label:
                raise

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        label = object()
        try:
            yield from body.paths(path, value, (*env, label))
        except Broken as broken:
            if broken.label is not label:
                raise

    return Code(None, many, paths, (body,))


def break_to(slot: int) -> Code:
    def many(value: Value, env: Env) -> Iterable[Value]:
        raise Broken(env[slot])

    return Code(None, many, lambda path, value, env: many(value, env))


# ------------------------------------------------------------------------------------------------------- making values


def array(body: Code | None) -> Code:
    if body is None:
        return fresh(lambda value, env: [])
    if body.one is not None:
        only = body.one
        return Code(lambda value, env: [only(value, env)])
    each = body.many
    return Code(lambda value, env: list(each(value, env)))


def key_text(key: Value) -> str:
    if type(key) is not str:
        raise fail(f"Cannot use {kind(key)} ({brief_text(key)}) as object key")
    return key


def mapping(entries: list[tuple[Code, Code | None]]) -> Code:
    """An object; with several outputs the last entry turns fastest, within an entry the value.

    An entry without a value is `{"name"}`: what lies in the input under the key that has just been made.
    """
    if all(key.one is not None and each is not None and each.one is not None for key, each in entries):
        ones: list[tuple[Any, Any]] = [(key.one, each.one) for key, each in entries if each is not None]

        def one(value: Value, env: Env) -> Value:
            return {key_text(key(value, env)): each(value, env) for key, each in ones}

        return fresh(one)

    def many(value: Value, env: Env, at: int = 0) -> Iterator[Value]:
        if at == len(entries):
            yield {}
            return
        key, each = entries[at]
        for name in key.many(value, env):
            for content in (index(value, key_text(name)),) if each is None else each.many(value, env):
                first = key_text(name)
                for rest in many(value, env, at + 1):
                    spend(env, 1)
                    yield {first: content, **rest}  # a later entry of the same name wins, at the first one's place

    return fresh(None, many)


def text(parts: list[str | Code], form: Callable[[Value], str]) -> Code:
    """A string with programs in it; the first one's outputs turn fastest."""
    if all(isinstance(part, str) or part.one is not None for part in parts):
        ones: list[Any] = [part if isinstance(part, str) else part.one for part in reversed(parts)]

        def one(value: Value, env: Env) -> Value:  # jq begins with the last one, whose error is then the first
            texts = [part if type(part) is str else form(part(value, env)) for part in ones]
            return priced("".join(texts[::-1]), env)

        return fresh(one)

    def many(value: Value, env: Env, upto: int = len(parts)) -> Iterator[Value]:
        if upto == 0:
            yield ""
            return
        last = parts[upto - 1]
        for tail in (last,) if isinstance(last, str) else map(form, last.many(value, env)):
            for head in many(value, env, upto - 1):
                yield priced(head + tail, env)

    return fresh(None, many)


# -------------------------------------------------------------------------------------------------- binding and loops


def bound(source: Code, bind: Bind, body: Code) -> Code:
    """`source as <pattern> | body`"""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for each in source.many(value, env):
            for inner in bind(each, env):
                yield from body.many(value, inner)

    return Code(None, many)


def bound_name(source: Code, body: Code) -> Code:
    """`source as $name | body`"""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for each in source.many(value, env):
            yield from body.many(value, (*env, each))

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for each in source.many(value, env):
            yield from body.paths(path, value, (*env, each))

    if source.one is None:
        return Code(None, many, paths, (body,))
    first, run = source.one, body.many
    if body.one is None:
        return Code(None, lambda value, env: run(value, (*env, first(value, env))), paths, (body,))
    then = body.one
    return Code(lambda value, env: then(value, (*env, first(value, env))), None, paths, (body,))


def reduced(source: Code, bind: Bind, start: Code, update: Code) -> Code:
    """`reduce source as <pattern> (start; update)`; the state is update's last output, null where it has none."""
    step = update.one

    def fold(value: Value, env: Env, state: Value) -> Value:
        for each in source.many(value, env):
            for inner in bind(each, env):
                spend(env, 1)
                if step is not None:
                    state = step(state, inner)
                else:
                    outputs, state = update.many(state, inner), None
                    for state in outputs:  # noqa: B007  # the last one is wanted
                        pass
        return state

    if start.one is not None:
        first = start.one
        return Code(lambda value, env: fold(value, env, first(value, env)))

    def many(value: Value, env: Env) -> Iterator[Value]:
        seen: Value = value
        for state in start.many(value, env):
            yield fold(seen, env, state)
            seen = None  # jq's source has used its input up: under a second start it sees null

    return Code(None, many)


def each_state(source: Code, bind: Bind, start: Code, update: Code, extract: Code | None) -> Code:
    """`foreach source as <pattern> (start; update; extract)`; the state is update's last output, null where it has none."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for first in start.many(value, env):
            state = first
            for each in source.many(value, env):
                for inner in bind(each, env):
                    spend(env, 1)
                    outputs, state = update.many(state, inner), None
                    for state in outputs:
                        if extract is None:
                            yield state
                        else:
                            yield from extract.many(state, inner)

    return Code(None, many)


# ----------------------------------------------------------------------------------------------------------- functions


class Function:
    """A function a program defines: its body is compiled after the name is known, because it may call itself."""

    __slots__ = ("base", "body")

    def __init__(self, base: int) -> None:
        self.base = base  # how much of a caller's env was there where the function was defined
        self.body: Code | None = None


def entered(env: Env) -> list[int]:
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
        run = entered(env)
        try:
            yield from function.body.many(value, frame(env))  # type: ignore[union-attr]  # compiled by now
        finally:
            run[DEPTH] -= 1

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        run = entered(env)
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
