"""Codes that decide, catch, loop and bind, and those that make arrays, objects and texts out of outputs.

choice(condition, then, otherwise)      `if condition then then else otherwise end`
attempt(body, handler)                  `try body catch handler`
reduce(source, bind, start, update)    `reduce source as <pattern> (start; update)`
array(body).one(value, env)             -> a list of body's outputs
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .access import index
from .codes import Bind, Code, Env, Many, One, Path, charge_value, empty, fresh, identity, output_path, single, spend
from .values import GROWING, JqRaised, JqRefused, JqUnknownError, Value, brief_text, fail, kind, truthy, weight


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


def caught_value(error: JqRaised | Broken, handler: Code) -> Value:
    """What `catch` gets; a `break` ends in the first `try` around it, as it does in jq 1.8."""
    if isinstance(error, Broken):
        return {"__jq": 0}
    if isinstance(error, JqUnknownError) and handler.constant is None:
        raise JqRefused("an error whose message only jq has")
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
                caught = caught_value(error, handler)
            return second(caught, env)

        one = either

    def many(value: Value, env: Env) -> Iterator[Value]:
        try:
            yield from body.many(value, env)
            return
        except (JqRaised, Broken) as error:
            if handler is None:
                return
            caught = caught_value(error, handler)
        yield from handler.many(caught, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        try:
            yield from body.paths(path, value, env)
            return
        except (JqRaised, Broken) as error:
            if handler is None:
                return
            caught = caught_value(error, handler)
        yield from handler.paths(*output_path(path, value, caught), env)

    return Code(one, single(one) if one else many, paths, (body, *([handler] if handler else [])))


def label(body: Code) -> Code:
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

    def form_text(value: Value, env: Env) -> str:
        if type(value) in GROWING:
            spend(env, weight(value) >> 1)
        return form(value)

    if all(isinstance(part, str) or part.one is not None for part in parts):
        ones: list[Any] = [part if isinstance(part, str) else part.one for part in reversed(parts)]

        def one(value: Value, env: Env) -> Value:  # jq begins with the last one, whose error is then the first
            texts = [part if type(part) is str else form_text(part(value, env), env) for part in ones]
            return charge_value("".join(texts[::-1]), env)

        return fresh(one)

    def many(value: Value, env: Env, upto: int = len(parts)) -> Iterator[Value]:
        if upto == 0:
            yield ""
            return
        last = parts[upto - 1]
        for tail in (last,) if isinstance(last, str) else (form_text(each, env) for each in last.many(value, env)):
            for head in many(value, env, upto - 1):
                yield charge_value(head + tail, env)

    return fresh(None, many)


def bind_pattern(source: Code, bind: Bind, body: Code) -> Code:
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


def reduce(source: Code, bind: Bind, start: Code, update: Code) -> Code:
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
