"""Reaching into values of the jq language: `.[key]`, slices, setting and deleting at paths. Nothing is changed in place.

index([1, 2], -1)                            -> 2
set_path({"a": 1}, ["b", 0], 2)              -> {"a": 1, "b": [2]}
delete_paths([1, 2, 3], [[0], [0], [-1]])    -> [2]
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .values import (
    MAX_GAP,
    MAX_INDEX,
    MAX_NESTING,
    NUMERIC,
    JqBudget,
    JqRaised,
    Value,
    brief,
    double,
    equal,
    fail,
    kind,
    sort_values,
)


def slice_bounds(length: int, key: dict[str, Value]) -> tuple[int, int]:
    """Where a slice begins and ends: the start rounded down, the end up, both counted from the end where negative."""
    start, end = key.get("start", ""), key.get("end", "")
    if not (start is None or type(start) in NUMERIC) or not (end is None or type(end) in NUMERIC):
        raise fail("Array/string slice indices must be integers")
    low = 0.0 if start is None else double(start)
    high = float(length) if end is None else double(end)
    low = low + length if low < 0 else low
    high = high + length if high < 0 else high
    low = 0.0 if low != low or low < 0 else min(low, float(length))
    high = float(length) if high != high else min(high, float(length))
    first = int(low)
    return first, max(first, math.ceil(high))


def positions(values: list[Value], wanted: list[Value]) -> list[Value] | None:
    """Where `wanted` begins in `values`; jq's null for an empty one is the caller's."""
    if not wanted:
        return []
    size = len(wanted)
    heads = (at for at in range(len(values) - size + 1) if equal(values[at], wanted[0]))
    return [at for at in heads if all(equal(values[at + step], wanted[step]) for step in range(1, size))]


def unreachable(value: Value, key: Value) -> JqRaised:
    return fail(f"Cannot index {kind(value)} with {brief(key)}")


def index(value: Value, key: Value) -> Value:
    """value[key] as `.[key]` means it."""
    this, by = type(value), type(key)
    if this is dict and by is str:
        return value.get(key)
    if this is list and by in NUMERIC:
        return element_at(value, key)
    if by is dict and (this is list or this is str or value is None):
        if value is None:
            return None
        first, last = slice_bounds(len(value), key)
        return value[first:last]
    if this is list and by is list:
        return positions(value, key)
    if value is None and (by is str or by in NUMERIC):
        return None
    raise unreachable(value, key)


def element_at(value: list[Value], key: Value) -> Value:
    at = double(key)
    if at != at or math.isinf(at):
        return None
    place = math.trunc(at)
    if place < 0:
        place += len(value)
    return value[place] if 0 <= place < len(value) else None


def with_element(value: list[Value] | None, key: Value, new: Value) -> list[Value]:
    old = value or []
    at = double(key)
    if at != at:
        raise fail("Cannot set array element at NaN index")
    place = math.trunc(max(-1e18, min(1e18, at)))
    if place < 0:
        place += len(old)
        if place < 0:
            raise fail("Out of bounds negative array index")
    if place > MAX_INDEX:
        raise fail("Array index too large")
    if place > len(old) + MAX_GAP:
        raise JqBudget("a value grew too large")
    result = old + [None] * (place + 1 - len(old))
    result[place] = new
    return result


def with_slice(value: Value, key: dict[str, Value], new: Value) -> list[Value]:
    if type(value) is str:
        raise fail("Cannot update string slices")
    old: list[Value] = value or []
    first, last = slice_bounds(len(old), key)
    if type(new) is not list:
        raise fail("A slice of an array can only be assigned another array")
    return old[:first] + new + old[last:]


def with_key(value: Value, key: Value, new: Value) -> Value:
    """A copy of value in which value[key] is new."""
    this, by = type(value), type(key)
    if by is str and (this is dict or value is None):
        return {**value, key: new} if value is not None else {key: new}
    if by in NUMERIC and (this is list or value is None):
        return with_element(value, key, new)
    if by is dict and (this is list or this is str or value is None):
        return with_slice(value, key, new)
    if by is list and this is list:
        raise fail("Cannot update field at array index of array")
    raise unreachable(value, key)


def path_list(path: Value) -> list[Value]:
    if type(path) is not list:
        raise fail("Path must be specified as an array")
    return path


def get_path(value: Value, path: list[Value]) -> Value:
    for key in path:
        value = index(value, key)
    return value


def set_path(value: Value, path: list[Value], new: Value, at: int = 0) -> Value:
    if at == len(path):
        return new
    if at > MAX_NESTING:
        raise JqBudget("a path too long")
    inner = index(value, path[at])
    return with_key(value, path[at], set_path(inner, path, new, at + 1))


def without(value: Value, keys: list[Value]) -> Value:
    """A copy of value without these keys of its own, which are in order; each is deleted once, whatever names it twice."""
    if value is None or not keys:
        return value
    if type(value) is dict:
        return without_fields(value, keys)
    if type(value) is not list:
        raise fail(f"Cannot delete fields from {kind(value)}")
    drop: set[int] = set()
    for key in keys:
        if type(key) is dict:
            drop.update(range(*slice_bounds(len(value), key)))
        elif type(key) in NUMERIC:
            at = math.trunc(double(key)) if math.isfinite(double(key)) else len(value)
            drop.add(at + len(value) if double(key) < 0 else at)
        else:
            raise fail(f"Cannot delete {kind(key)} element of array")
    return [each for at, each in enumerate(value) if at not in drop]


def without_fields(value: dict[str, Value], keys: list[Value]) -> dict[str, Value]:
    result = dict(value)
    for key in keys:
        if type(key) is not str:
            raise fail(f"Cannot delete {kind(key)} field of object")
        result.pop(key, None)
    return result


def delete_paths(value: Value, paths: Value) -> Value:
    """A copy of value without what these paths lead to; all are found before anything goes, so no index moves."""
    if type(paths) is not list:
        raise fail("Paths must be specified as an array")
    for path in paths:
        if type(path) is not list:
            raise fail(f"Path must be specified as array, not {kind(path)}")
    ordered = sort_values(paths)
    if not ordered:
        return value
    return delete_sorted(value, ordered, 0) if ordered[0] else None


def delete_sorted(value: Value, paths: list[list[Value]], at: int) -> Value:
    """The same for sorted paths that are alike before `at`; paths that go on below a deleted key say nothing more."""
    if at > MAX_NESTING:
        raise JqBudget("a path too long")
    gone: list[Value] = []
    first = 0
    while first < len(paths):
        key, end = paths[first][at], first + 1
        while end < len(paths) and equal(key, paths[end][at]):
            end += 1
        if len(paths[first]) == at + 1:
            gone.append(key)
        else:
            inner = index(value, key)
            if inner is not None:
                value = with_key(value, key, delete_sorted(inner, paths[first:end], at + 1))
        first = end
    return without(value, gone)


def children(value: Value) -> Iterator[tuple[Value, Value]]:
    """(key, value) of everything directly inside; nothing inside a scalar."""
    if type(value) is list:
        return enumerate(value)
    return iter(value.items() if type(value) is dict else ())
