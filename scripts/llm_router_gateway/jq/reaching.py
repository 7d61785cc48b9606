"""Codes that reach into the input: `.name`, `.[key]`, slices, `.[]`, `..`, each with the paths it leads along.

element(identity(), constant("a")).one({"a": 1}, env)  -> 1
list(iterate().paths((), [5], env))                    -> [((0,), 5)]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .access import children, index
from .codes import Code, Env, One, Path, Paths, charge_value, fresh, pipe, require_path, single, spend
from .values import JqRaised, Value, brief_text, fail, kind, weight


def field(name: str) -> Code:
    """`.name` of the input."""

    def one(value: Value, env: Env) -> Value:
        if type(value) is dict:
            return value.get(name)
        return index(value, name)

    return Code(one, None, key_paths(name))


def key_paths(key: Value) -> Paths:
    def paths(path: Path, value: Value, env: Env) -> Iterable[tuple[Path, Value]]:
        require_path(path, value, f"near attempt to access element {brief_text(key)} of ")
        return (((*path, key), index(value, key)),)

    return paths


def reach(value: Value, key: Value, env: Env) -> Value:
    """value[key]; a slice costs steps by its length, a search for an array by the lengths of both."""
    if type(key) is dict:
        return charge_value(index(value, key), env)
    if type(key) is list and type(value) is list:
        spend(env, len(value) * max(1, len(key)) + weight(key))
    return index(value, key)


def item(key: Value) -> Code:
    """`.[key]` of the input, the key being known."""
    if type(key) is str:
        return field(key)
    if type(key) in (dict, list):
        return Code(lambda value, env: reach(value, key, env), None, key_paths(key))

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
            return reach(base(value, env), by, env)

        one = both

    def many(value: Value, env: Env) -> Iterator[Value]:
        for by in key.many(value, env):
            for each in term.many(value, env):
                yield reach(each, by, env)

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for by in key.many(value, env):
            for place, each in term.paths(path, value, env):
                require_path(place, each, f"near attempt to access element {brief_text(by)} of ")
                yield (*place, by), index(each, by)

    return Code(one, single(one) if one else many, paths, (term,))


def optional_element(term: Code, key: Code) -> Code:
    """`term[key]?`: no output where the term's value has no such key; errors of term and key themselves pass."""

    def many(value: Value, env: Env) -> Iterator[Value]:
        for by in key.many(value, env):
            for each in term.many(value, env):
                try:
                    found = reach(each, by, env)
                except JqRaised:
                    continue
                yield found

    def paths(path: Path, value: Value, env: Env) -> Iterator[tuple[Path, Value]]:
        for by in key.many(value, env):
            for place, each in term.paths(path, value, env):
                require_path(place, each, f"near attempt to access element {brief_text(by)} of ")
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
        require_path(path, value, "near attempt to iterate through ")
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
        require_path(path, value, "near attempt to iterate through ")
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
            require_path(path, value, "near attempt to iterate through ")
            for key, each in children(value):
                yield from paths((*path, key), each, env)

    return Code(None, many, paths)
