"""Codes that change what lies at paths: the assignments, del, pick, getpath.

modify(target, update)   `target |= update`
update_with(target, source, add)   `target += source`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .access import delete_paths, get_path, index, path_list, set_path
from .codes import Code, Env, LostPath, Many, Path, charge_value, output_path, require_path, spend
from .plain import plain
from .prices import size, writing
from .values import JqRefused, Value


def path_lists(body: Code) -> Many:
    """The paths of body's outputs as arrays; JqRefused where body can have none."""
    if not body.tracked:
        raise JqRefused("a path through an expression that is not a path")

    def many(value: Value, env: Env) -> Iterator[Value]:
        for path, output in body.paths((), value, env):
            yield list(require_path(path, output, "with result "))

    return many


def form_del(arguments: list[Code]) -> Code:
    places = path_lists(arguments[0])

    def one(value: Value, env: Env) -> Value:
        paths = list(places(value, env))
        spend(env, deleting(value, paths))
        return delete_paths(value, paths)

    return Code(one)


def deleting(value: Value, paths: list[list[Value]]) -> int:
    """Steps for deleting at these paths: each is sorted in, and what it leads through is copied."""
    return 4 * len(paths) + sum(copying(value, path[:-1]) for path in paths if len(path) > 1) + size(value)


def form_pick(arguments: list[Code]) -> Code:
    places = path_lists(arguments[0])

    def one(value: Value, env: Env) -> Value:
        result: Value = None
        for path in places(value, env):
            spend(env, copying(result, path))
            result = charge_value(set_path(result, path, get_path(value, path)), env)
        return result

    return Code(one)


def form_getpath(arguments: list[Code]) -> Code:
    which = arguments[0]

    def paths(path: Path, value: Value, env: Env) -> Iterator[Any]:
        for keys_given in which.many(value, env):
            keys_list = path_list(keys_given)
            spend(env, writing(keys_list))
            found = get_path(value, keys_list)
            yield output_path(path, value, found) if type(path) is LostPath else ((*path, *keys_list), found)

    code = plain(lambda value, path: get_path(value, path_list(path)), arguments, True, lambda value, path: writing(path))
    return Code(code.one, code.many, paths)


def copying(value: Value, path: list[Value]) -> int:
    """Steps for the copies that changing the place at this path makes: of every array and object on the way."""
    steps = 1
    for key in path:
        if type(value) is list:
            steps += len(value) >> 6
        elif type(value) is dict:
            steps += len(value) >> 4
        else:
            break
        value = index(value, key)
    return steps


def assign(target: Code, source: Code) -> Code:
    """`target = source`: once for every output of source, which sees the whole input."""
    places = path_lists(target)

    def put(value: Value, env: Env, new: Value) -> Value:
        result = value
        for path in places(value, env):
            spend(env, copying(result, path))
            result = charge_value(set_path(result, path, new), env)
        return result

    if source.one is not None:
        only = source.one
        return Code(lambda value, env: put(value, env, only(value, env)))

    def many(value: Value, env: Env) -> Iterator[Value]:
        for new in source.many(value, env):
            yield put(value, env, new)

    return Code(None, many)


def modify(target: Code, update: Code) -> Code:
    """`target |= update`: the first output takes the place, and what has none is deleted in the end."""
    places = path_lists(target)

    def one(value: Value, env: Env) -> Value:
        result, gone = value, []
        for path in places(value, env):
            spend(env, copying(result, path))
            for new in update.many(get_path(result, path), env):
                result = charge_value(set_path(result, path, new), env)
                break
            else:
                gone.append(path)
        if gone:
            spend(env, deleting(result, gone))
        return delete_paths(result, gone)

    return Code(one)


def update_with(target: Code, source: Code, work: Callable[[Value, Value], Value]) -> Code:
    """`target += source` and the like: source sees the whole input, once for each of its outputs."""
    places = path_lists(target)

    def put(value: Value, env: Env, new: Value) -> Value:
        result = value
        for path in places(value, env):
            spend(env, copying(result, path))
            result = charge_value(set_path(result, path, charge_value(work(get_path(result, path), new), env)), env)
        return result

    def many(value: Value, env: Env) -> Iterator[Value]:
        for new in source.many(value, env):
            yield put(value, env, new)

    if source.one is not None:
        only = source.one
        return Code(lambda value, env: put(value, env, only(value, env)))
    return Code(None, many)
