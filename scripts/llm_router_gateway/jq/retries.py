"""`?//` of the jq language: what an error does after a pattern has matched.

    [3] as [$a] ?// $a | if $a == 3 then error("no") else $a end     -> [3]
    ([3] as [$a] ?// $a | $a) | if . == 3 then error("no") else . end -> [3]

An error goes on with the next pattern wherever it is raised while another pattern is left: in the body, and also in what
consumes the body's outputs. jq unwinds its stack to the last `?//`; here the consumer hands the error back to the generator
that the output came from. Only a program with `?//` in it is compiled with these forms. Where a consumer cannot hand an error
back (a key, a condition, an argument), or stops early, the pattern left over is counted and the program refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from .codes import Bind, Code, Env, Path, fresh, output_path, spend
from .control import Broken, caught_value
from .values import JqRaised, JqRefused, Value

LEFT = 2  # env[0][LEFT]: how many `?//` were left with a pattern that jq would have gone on with
DONE = object()


def try_patterns(binds: list[Bind], value: Value, env: Env, body: Callable[[Env], Iterable[Any]]) -> Iterator[Any]:
    """The body's outputs under the first pattern; an error in it, or in what consumes them, goes on with the next."""
    for bind in binds[:-1]:
        try:
            for inner in bind(value, env):
                yield from body(inner)
            return
        except (JqRaised, Broken):
            pass
        except GeneratorExit:  # the consumer failed without handing the error back, or has enough: to jq that is an error, too
            env[0][LEFT] += 1
            raise
    for inner in binds[-1](value, env):
        yield from body(inner)


def feed(outputs: Iterable[Any], use: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
    """use(each) for every output; an error of use is raised again where the output came from."""
    source = iter(outputs)
    each = next(source, DONE)
    while each is not DONE:
        try:
            yield from use(each)
        except (JqRaised, Broken) as error:
            try:
                each = source.throw(error)  # type: ignore[attr-defined]  # outputs is a generator, see late
                continue
            except StopIteration:
                return
        each = next(source, DONE)


def whole(program: Code) -> Code:
    """The program, refused where a `?//` was left that jq would have gone back to."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        outputs = late(program.many, value, env)
        try:
            for each in outputs:
                if env[0][LEFT]:
                    raise JqRefused(LEFT_OVER)
                yield each
        except (JqRaised, Broken) as error:
            # Lets go of the generators it came through: each `?//` among them that has a pattern left is then counted.
            error.__traceback__ = error.__context__ = None
            if env[0][LEFT]:
                raise JqRefused(LEFT_OVER) from None
            raise
        if env[0][LEFT]:
            raise JqRefused(LEFT_OVER)

    return Code(None, many)


LEFT_OVER = "an error, or a function that stops early, between ?// and what takes its outputs"


def late(run: Callable[..., Iterable[Any]], *given: Any) -> Generator[Any, None, None]:
    """The same outputs, the first step put off until the first is wanted."""
    yield from run(*given)


# ---------------------------------------------------------------------------------- the forms that hand errors back


def resumable_pipe(first: Code, then: Code) -> Code:
    """`first | then`"""

    def many(value: Value, env: Env) -> Iterator[Value]:
        return feed(late(first.many, value, env), lambda each: late(then.many, each, env))

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        return feed(late(first.paths, path, value, env), lambda place: late(then.paths, *place, env))

    return Code(None, many, paths, (first, then))


def resumable_attempt(body: Code, handler: Code | None) -> Code:
    """`try body catch handler`: an error handed back goes through to the body, and on if nothing there takes it."""

    def with_handler(outputs: Iterable[Any], handle: Callable[[JqRaised | Broken], Iterable[Any]]) -> Iterator[Any]:
        source, given = iter(outputs), None
        try:
            each = next(source, DONE)
            while each is not DONE:
                try:
                    yield each
                except (JqRaised, Broken) as error:
                    given = error
                    each = source.throw(error)  # type: ignore[attr-defined]  # outputs is a generator
                else:
                    each = next(source, DONE)
            return
        except StopIteration:
            return
        except (JqRaised, Broken) as error:
            if error is given:
                raise
            given, then = None, handle(error)
        yield from then

    def caught(error: JqRaised | Broken) -> Value:
        return caught_value(error, handler) if handler is not None else None

    def many(value: Value, env: Env) -> Iterator[Value]:
        run = handler.many if handler is not None else lambda value, env: ()
        return with_handler(late(body.many, value, env), lambda error: run(caught(error), env))

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        run = handler.paths if handler is not None else lambda path, value, env: ()
        return with_handler(
            late(body.paths, path, value, env), lambda error: run(*output_path(path, value, caught(error)), env)
        )

    return Code(None, many, paths, (body, *([handler] if handler else [])))


def resumable_binary(work: Callable[[Value, Value], Value], left: Code, right: Code) -> Code:
    """`left + right` and the like."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        def outer(second: Value) -> Iterator[Value]:
            return feed(late(left.many, value, env), lambda first: late(lambda: (work(first, second),)))

        return feed(late(right.many, value, env), outer)

    return fresh(None, many)


def resumable_bind(source: Code, binds: list[Bind], body: Code) -> Code:
    """`source as <pattern> ?// ... | body`"""

    def many(value: Value, env: Env) -> Iterator[Value]:
        def under(each: Value) -> Iterator[Value]:
            return try_patterns(binds, each, env, lambda inner: late(body.many, value, inner))

        return feed(late(source.many, value, env), under)

    return Code(None, many)


def resumable_bind_name(source: Code, body: Code) -> Code:
    """`source as $name | body`, whose paths are the body's."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        return feed(late(source.many, value, env), lambda each: late(body.many, value, (*env, each)))

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        return feed(late(source.many, value, env), lambda each: late(body.paths, path, value, (*env, each)))

    return Code(None, many, paths, (body,))


def resumable_reduce(source: Code, binds: list[Bind], start: Code, update: Code) -> Code:
    """`reduce source as <pattern> ?// ... (start; update)`; after an error the next pattern begins with null."""

    def fold(value: Value, env: Env, state: Value) -> Value:
        def step(inner: Env) -> Iterator[None]:
            nonlocal state
            spend(env, 1)
            before, state = state, None
            for state in update.many(before, inner):  # noqa: B007  # the last one is wanted
                pass
            return iter(())

        for _ in feed(late(source.many, value, env), lambda each: try_patterns(binds, each, env, step)):
            pass
        return state

    def many(value: Value, env: Env) -> Iterator[Value]:
        seen_by_source: Value = value
        for first in start.many(value, env):
            yield fold(seen_by_source, env, first)
            seen_by_source = None  # as in codes.reduced

    return Code(None, many)


def resumable_foreach(source: Code, binds: list[Bind], start: Code, update: Code, extract: Code | None) -> Code:
    """`foreach source as <pattern> ?// ... (start; update; extract)`"""

    def states(value: Value, env: Env, state: Value) -> Iterator[Value]:
        def step(inner: Env) -> Iterator[Value]:
            nonlocal state
            spend(env, 1)
            before, state = state, None
            for state in update.many(before, inner):
                if extract is None:
                    yield state
                else:
                    yield from extract.many(state, inner)

        return feed(late(source.many, value, env), lambda each: try_patterns(binds, each, env, step))

    def many(value: Value, env: Env) -> Iterator[Value]:
        for first in start.many(value, env):
            yield from states(value, env, first)

    return Code(None, many)
