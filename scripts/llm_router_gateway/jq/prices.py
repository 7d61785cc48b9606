"""What functions cost before they begin, in steps of a run's budget; what they make is paid for by its size.

PRICES["tojson/0"]([1, 2, 3])   -> 2
sorting([[2], [1]])             -> 5
"""

from __future__ import annotations

from collections.abc import Callable

from .values import GROWING, HEAVY, Value, weight


def size(value: Value, *_: Value) -> int:
    """Steps for going once through what lies directly inside."""
    return len(value) if type(value) in (list, dict) else len(value) >> 6 if type(value) is str else 0


def both_sizes(value: Value, part: Value) -> int:
    return size(value) * max(1, size(part)) + writing(part)


def writing(value: Value, *_: Value) -> int:
    """Steps for writing a value as text, or looking at all of it."""
    return weight(value) >> 1 if type(value) in GROWING else 0


def sorting(value: Value, *_: Value) -> int:
    """Steps for comparing the items of an array until they are in order."""
    if type(value) is not list or {type(each) for each in value} <= {int, str}:
        return size(value)
    return weight(value) * max(1, len(value).bit_length() >> 1)


def transposing(value: Value) -> int:
    return size(value) * max((size(row) for row in value), default=0) if type(value) is list else 0


def reading(value: Value) -> int:
    return len(value) >> 2 if type(value) is str else 0


def containing(value: Value, part: Value) -> int:
    """Steps for looking for each part in each value, level by level."""
    total, stack = 0, [(value, part)]
    while stack and total < HEAVY:
        mine, wanted = stack.pop()
        total += 1 + (len(mine) >> 6 if type(mine) is str else 0)
        if type(mine) is dict and type(wanted) is dict:
            total += len(wanted)
            stack.extend((mine[name], each) for name, each in wanted.items() if name in mine)
        elif type(mine) is list and type(wanted) is list:
            nested = any(type(each) in (list, dict) for each in wanted)
            total += weight(mine) * weight(wanted) if nested else len(mine) * len(wanted)
    return total


# What these cost before they begin, in steps; what they make is paid for by its size.
PRICES: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("keys/0", "to_entries/0", "from_entries/0", "implode/0", "reverse/0"), size),
    **dict.fromkeys(("tojson/0", "tostring/0", "format/1", "join/1", "flatten/0", "flatten/1", "min/0", "max/0"), writing),
    **dict.fromkeys(("sort/0", "unique/0"), sorting),
    **dict.fromkeys(("indices/1", "index/1", "rindex/1"), both_sizes),
    "contains/1": containing,
    "delpaths/1": lambda value, paths: size(value) + 8 * writing(paths),
    "setpath/2": lambda value, path, new: size(value) + writing(path),
    "bsearch/1": lambda value, target: writing(target) * (1 + size(value).bit_length()),
    "transpose/0": transposing,
    "fromjson/0": reading,
}
