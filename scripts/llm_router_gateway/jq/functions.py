"""The functions of the jq language that take values: called with the outputs of their arguments.

    LAST["has/1"]({"a": 1}, "a")            -> True
    FIRST["join/1"](["a", 1], "-")          -> "a-1"
    SHORTER["ltrimstr/1"]("abc", "a")       -> "bc"
    list(scan("abab", "a", None, charge))   -> ["a", "a"]     charge(steps) is called for every match

JqRaised where a value does not fit, with jq's own words. What takes programs is in forms, what is written in jq in
defined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .access import delete_paths, index, path_list, positions, set_path
from .arithmetic import add, negate, split_text, subtract
from .control import key_text
from .dates import gmtime, mktime, strftime, strptime
from .formats import format_value
from .mathematics import MATH1, MATH2, isinfinite, isnan, isnormal, math1, math2
from .reaching import items_of
from .regex import Pattern, pattern_of
from .values import (
    MAX_NESTING,
    NUMERIC,
    JqBudget,
    JqRaised,
    JqRefused,
    JqUnknownError,
    Value,
    brief,
    compare,
    double,
    equal,
    fail,
    kind,
    literal,
    normalize,
    read,
    sort_key,
    sort_values,
    text_of,
    to_json,
    truthy,
)


# ------------------------------------------------------------------------------------------------------- of values
def abs_of(value: Value) -> Value:
    return negate(value) if compare(value, 0) < 0 else value


def length(value: Value) -> Value:
    this = type(value)
    if this in (str, list, dict):
        return len(value)
    if value is None:
        return 0
    if this in NUMERIC:
        return abs_of(value)
    raise fail(f"{brief(value)} has no length")


def keys_unsorted(value: Value) -> list[Value]:
    if type(value) is dict:
        return list(value)
    if type(value) is list:
        return list(range(len(value)))
    raise fail(f"{brief(value)} has no keys")


def keys(value: Value) -> list[Value]:
    return sorted(keys_unsorted(value))


def has(value: Value, key: Value) -> bool:
    if value is None:
        return False
    if type(value) is dict and type(key) is str:
        return key in value
    if type(value) is list and type(key) in NUMERIC:
        at = double(key)
        return -1 < at < len(value)
    raise fail(f"Cannot check whether {kind(value)} has a {kind(key)} key")


def contains(value: Value, part: Value) -> bool:
    if kind(value) != kind(part) or (type(value) is bool and value is not part):
        raise fail(f"{brief(value)} and {brief(part)} cannot have their containment checked")
    return holds(value, part)


def holds(value: Value, part: Value) -> bool:
    this = type(value)
    if this is dict and type(part) is dict:
        return all(name in value and holds(value[name], each) for name, each in part.items())
    if this is list and type(part) is list:
        return all(any(holds(mine, each) for mine in value) for each in part)
    if this is str and type(part) is str:
        return part in value
    return equal(value, part)


def tonumber(value: Value) -> Value:
    if type(value) in NUMERIC:
        return value
    if type(value) is str:
        found = number_in(value)
        if found is not None:
            return found
    raise fail(f"{brief(value)} cannot be parsed as a number")


NUMBER_TEXT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


def number_in(text: str) -> Value | None:
    """The number a string holds, or None; what jq reads beyond JSON's spelling is refused."""
    if NUMBER_TEXT.fullmatch(text):
        try:
            return literal(text.removeprefix("+"))
        except ValueError:
            raise JqRefused("a number too large to keep exactly") from None
    if re.fullmatch(r"[+-]?(nan|inf|infinity)[0-9]*", text, re.IGNORECASE):
        raise JqRefused(f"{text!r} as a number")
    return None


def toboolean(value: Value) -> Value:
    if type(value) is bool:
        return value
    if type(value) is str and value in ("true", "false"):
        return value == "true"
    raise fail(f"{brief(value)} cannot be parsed as a boolean")


# What jq reads although JSON does not have it: nan, infinity, +1, .5, 1., 007. Outside strings, or a string that never ends.
LENIENT = re.compile(r"nan|inf|\+|(?<![0-9])\.|\.(?![0-9])|(?<![0-9.eE])0[0-9]|\ufeff", re.IGNORECASE)
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def fromjson(value: Value) -> Value:
    """JSON text -> value. Other text is an error in jq too, though not with words that we could repeat."""
    if type(value) is not str:
        raise fail(f"{brief(value)} only strings can be parsed")
    try:
        found = read(value)
    except ValueError:
        if LENIENT.search(QUOTED.sub('""', value)):
            raise JqRefused("JSON text that only jq reads") from None
        raise JqUnknownError from None
    if "\\u" in value and any("\ud800" <= letter <= "\udfff" for letter in to_json(found)):
        raise JqRefused("half a surrogate pair")
    return found


def utf8bytelength(value: Value) -> int:
    if type(value) is not str:
        raise fail(f"{brief(value)} only strings have UTF-8 byte length")
    return len(value.encode("utf-8", "surrogatepass"))


def startswith(value: Value, part: Value) -> bool:
    if type(value) is not str or type(part) is not str:
        raise fail("startswith() requires string inputs")
    return value.startswith(part)


def endswith(value: Value, part: Value) -> bool:
    if type(value) is not str or type(part) is not str:
        raise fail("endswith() requires string inputs")
    return value.endswith(part)


def ltrimstr(value: Value, part: Value) -> Value:
    return value[len(part) :] if startswith(value, part) else value


def rtrimstr(value: Value, part: Value) -> Value:
    return value[: len(value) - len(part)] if endswith(value, part) else value


def trimstr(value: Value, part: Value) -> Value:
    return rtrimstr(ltrimstr(value, part), part)


SPACES = (  # what Oniguruma and jq call white space
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def trimmer(strip: Callable[[str, str], str]) -> Callable[[Value], Value]:
    def run(value: Value) -> Value:
        if type(value) is not str:
            raise fail("trim input must be a string")
        return strip(value, SPACES)

    return run


def split(value: Value, separator: Value) -> list[Value]:
    if type(value) is not str or type(separator) is not str:
        raise fail("split input and separator must be strings")
    return split_text(value, separator)


def explode(value: Value) -> list[Value]:
    if type(value) is not str:
        raise fail("explode input must be a string")
    return list(map(ord, value))


def implode(value: Value) -> str:
    if type(value) is not list:
        raise fail("implode input must be an array")
    letters: list[str] = []
    for each in value:
        if type(each) not in NUMERIC or double(each) != double(each):
            raise fail(f"{brief(each)} can't be imploded, unicode codepoint needs to be numeric")
        code = int(max(-1.0, min(2e6, double(each))))
        letters.append(chr(code) if 0 <= code < 0xD800 or 0xE000 <= code < 0x110000 else "\ufffd")
    return "".join(letters)


UPPER = {code: code - 32 for code in range(97, 123)}
LOWER = {code: code + 32 for code in range(65, 91)}


def case_mapper(table: dict[int, int]) -> Callable[[Value], Value]:
    def run(value: Value) -> Value:
        if type(value) is not str:
            raise fail("explode input must be a string")
        return value.translate(table)

    return run


def sort(value: Value) -> list[Value]:
    if type(value) is not list:
        raise fail(f"{brief(value)} cannot be sorted, as it is not an array")
    return sort_values(value)


def group_values(values: list[Value], by: list[Value]) -> list[list[Value]]:
    """values in the order of `by`, those with equal ones together; a stable sort."""
    order = sorted(range(len(values)), key=lambda at: sort_key(by[at]))
    groups: list[list[Value]] = []
    last: list[Value] = []
    for at in order:
        if not last or not equal(last[0], by[at]):
            groups.append([])
            last = [by[at]]
        groups[-1].append(values[at])
    return groups


def unique(value: Value) -> list[Value]:
    return [group[0] for group in group_values(value, value)] if type(value) is list else sort(value)


def extreme(value: Value, by: Value, largest: bool) -> Value:
    """jq takes the last of several largest and the first of several smallest."""
    if type(value) is not list or type(by) is not list:
        raise fail(f"{brief(value)} and {brief(by)} cannot be iterated over")
    best = -1
    for at, each in enumerate(by):
        if best < 0 or (compare(each, by[best]) >= 0) is largest:
            best = at
    return value[best] if best >= 0 else None


def reverse(value: Value) -> list[Value]:
    if type(value) is list:
        return value[::-1]
    if value is None or (type(value) in (dict, str) and not value) or (type(value) in NUMERIC and not length(value)):
        return []
    return [index(value, normalize(double(length(value)) - 1))]  # an error, and jq's


def indices(value: Value, part: Value) -> Value:
    if type(value) is list:
        return positions(value, part if type(part) is list else [part])
    if type(value) is str and type(part) is str:
        return string_positions(value, part)
    return index(value, part)


def string_positions(value: str, part: str) -> list[Value]:
    found: list[Value] = []
    at = value.find(part) if part else -1
    while at >= 0:
        found.append(at)
        at = value.find(part, at + 1)
    return found


def first_index(value: Value, part: Value) -> Value:
    return index(indices(value, part), 0)


def last_index(value: Value, part: Value) -> Value:
    found = index(indices(value, part), {"start": -1, "end": None})
    return index(found, 0)


def join(value: Value, glue: Value) -> Value:
    """Strings, numbers, booleans and nulls with glue between them."""
    if type(value) is list and type(glue) in (str, type(None)) and not any(type(each) in (list, dict) for each in value):
        return (glue or "").join(each if type(each) is str else "" if each is None else to_json(each) for each in value)
    result: Value = None
    for each in items_of(value):
        lead = "" if result is None else add(result, glue)
        if type(each) is bool or type(each) in NUMERIC:
            each = to_json(each)
        result = add(lead, each if truthy(each) else "")
    return result if truthy(result) else ""


def flatten(value: Value, depth: Value) -> list[Value]:
    if compare(depth, 0) < 0:
        raise fail("flatten depth must not be negative")
    return flatten_into(value, depth, 0)


def flatten_into(value: Value, depth: Value, level: int) -> list[Value]:
    if level > MAX_NESTING:
        raise JqBudget("a value nested too deeply")
    result: list[Value] = []
    for each in items_of(value):
        if type(each) is list and not equal(depth, 0):
            result.extend(flatten_into(each, subtract(depth, 1), level + 1))
        else:
            result.append(each)
    return result


def to_entries(value: Value) -> list[Value]:
    return [{"key": key, "value": index(value, key)} for key in keys_unsorted(value)]


def from_entries(value: Value) -> Value:
    result: dict[str, Value] = {}
    for each in items_of(value):
        key: Value = None
        for name in ("key", "Key", "name", "Name"):
            key = index(each, name)
            if truthy(key):
                break
        key_text(key)
        result[key] = each["value"] if "value" in each else each.get("Value")
    return result


def transpose(value: Value) -> list[Value]:
    rows = items_of(value)
    if any(type(row) not in (list, type(None)) for row in rows):
        raise JqRefused("transpose of what is not an array of arrays")
    width = max(map(length, rows), default=0)
    return [[index(row, at) for row in rows] for at in range(width)]


def bsearch(value: Value, target: Value) -> int:
    if type(value) is not list:
        raise fail(f"{brief(value)} cannot be searched from")
    low, high = 0, len(value)
    while low < high:
        middle = (low + high) // 2
        result = compare(target, value[middle])
        if result == 0:
            return middle
        low, high = (low, middle) if result < 0 else (middle + 1, high)
    return -1 - low


def tostream(value: Value) -> Iterator[Value]:
    """Every leaf with its path, and the end of every array and object."""
    for path, leaf, last in leaves(value, ()):
        yield [list(path), leaf] if not last else [list(path)]


def leaves(value: Value, path: tuple[Value, ...]) -> Iterator[tuple[tuple[Value, ...], Value, bool]]:
    if type(value) not in (list, dict) or not value:
        yield path, value, False
        return
    if len(path) > MAX_NESTING:
        raise JqBudget("a value nested too deeply")
    key: Value = None
    for key in keys_unsorted(value):
        yield from leaves(value[key], (*path, key))
    yield (*path, key), None, True


def ascii_letter(value: Value) -> str:
    if type(value) is not int or not 0 <= value < 128:
        raise JqRefused("ascii of what is not an ASCII code")
    return chr(value)


def raise_error(value: Value) -> Value:
    raise JqRaised(value)


# ------------------------------------------------------------------------------------------------- regular expressions


def pattern_for(value: Value, source: Value, modes: Value) -> Pattern:
    """The pattern of a call, or jq's complaint about what it was given."""
    if type(value) is not str:
        raise fail(f"{brief(value)} cannot be matched, as it is not a string")
    if type(source) is not str:
        raise fail(f"{brief(source)} is not a string")
    if modes is not None and type(modes) is not str:
        raise fail(f"{brief(modes)} is not a string")
    return pattern_of(source, modes or "")


def test(value: Value, source: Value, modes: Value) -> bool:
    return pattern_for(value, source, modes).test(value)


Charge = Callable[[int], None]  # takes steps from the budget of the run; JqBudget where it is used up


def matches(value: Value, source: Value, modes: Value, charge: Charge) -> Iterator[Value]:
    pattern = pattern_for(value, source, modes)
    charge(pattern.steps(value))
    return pattern.matches(value, charge)


def scan(value: Value, source: Value, flags: Value, charge: Charge) -> Iterator[Value]:
    for match in matches(value, source, add("g", flags), charge):
        yield [each["string"] for each in match["captures"]] if match["captures"] else match["string"]


def splits(value: Value, source: Value, flags: Value, charge: Charge) -> Iterator[Value]:
    last = 0
    for match in matches(value, source, add(flags, "g"), charge):
        yield value[last : match["offset"]] if match["offset"] >= last else ""
        last = match["offset"] + match["length"]
    yield value[last:]


def match_steps(value: Value, source: Value, modes: Value) -> int:
    return pattern_for(value, source, modes).steps(value)


# ------------------------------------------------------------------------------------------------------------- tables

# Arguments are programs; the plain functions get their outputs. LAST: the last argument's outputs are the outer loop, as in
# jq's functions written in C; FIRST: the first one's, as in those written in jq.
LAST: dict[str, Callable[..., Value]] = {
    "length/0": length,
    "keys/0": keys,
    "keys_unsorted/0": keys_unsorted,
    "has/1": has,
    "contains/1": contains,
    "tonumber/0": tonumber,
    "tostring/0": text_of,
    "toboolean/0": toboolean,
    "tojson/0": to_json,
    "fromjson/0": fromjson,
    "type/0": kind,
    "not/0": lambda value: not truthy(value),
    "utf8bytelength/0": utf8bytelength,
    "startswith/1": startswith,
    "endswith/1": endswith,
    "split/1": split,
    "explode/0": explode,
    "implode/0": implode,
    "sort/0": sort,
    "unique/0": unique,
    "min/0": lambda value: extreme(value, value, False),
    "max/0": lambda value: extreme(value, value, True),
    "setpath/2": lambda value, path, new: set_path(value, path_list(path), new),
    "delpaths/1": delete_paths,
    "error/0": raise_error,
    "format/1": format_value,
    "bsearch/1": bsearch,
    "trim/0": trimmer(str.strip),
    "ltrim/0": trimmer(str.lstrip),
    "rtrim/0": trimmer(str.rstrip),
    "isinfinite/0": isinfinite,
    "isnan/0": isnan,
    "isnormal/0": isnormal,
    "gmtime/0": gmtime,
    "mktime/0": mktime,
    "strftime/1": strftime,
    "strptime/1": strptime,
    **{f"{name}/0": math1(work) for name, work in MATH1.items()},
    **{f"{name}/2": math2(work) for name, work in MATH2.items()},
}
FIRST: dict[str, Callable[..., Value]] = {
    "ascii_downcase/0": case_mapper(LOWER),
    "ascii_upcase/0": case_mapper(UPPER),
    "ascii/0": ascii_letter,
    "toarray/0": lambda value: value if type(value) is list else [value],
    "reverse/0": reverse,
    "indices/1": indices,
    "index/1": first_index,
    "rindex/1": last_index,
    "join/1": join,
    "flatten/0": lambda value: flatten_into(value, -1, 0),
    "flatten/1": flatten,
    "to_entries/0": to_entries,
    "from_entries/0": from_entries,
    "transpose/0": transpose,
}
# Those that jq writes in jq by a path of their own: this for their values, DEFINED for their paths.
SHORTER: dict[str, Callable[..., Value]] = {
    "ltrimstr/1": ltrimstr,
    "rtrimstr/1": rtrimstr,
    "trimstr/1": trimstr,
    "abs/0": abs_of,
}
