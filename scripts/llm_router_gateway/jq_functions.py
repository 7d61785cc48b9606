"""jq's own functions: plain ones on values, forms that take programs, and what is left, written in jq.

    PLAIN["ltrimstr/1"](value, left)   called with the outputs of its arguments
    FORMS["select/1"]([code])  -> Code  called once, when the program is compiled
    DEFINED["todate/0"]                 compiled where it is used
    REFUSED["now/0"]                    why it is not here
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .jq_codes import (
    Code,
    Env,
    Lost,
    Many,
    Path,
    array,
    constant,
    empty,
    fresh,
    items_of,
    iterate,
    key_text,
    known,
    pipe,
    priced,
    produced,
    recurse,
    select,
    spend,
)
from .jq_dates import gmtime, mktime, strftime, strptime
from .jq_regex import pattern_of
from .jq_values import (
    EXACT,
    MAX_NESTING,
    NUMERIC,
    JqBudget,
    JqRaised,
    JqRefused,
    Value,
    add,
    brief,
    compare,
    delete_paths,
    double,
    equal,
    fail,
    get_path,
    index,
    kind,
    literal,
    made,
    negate,
    path_list,
    positions,
    set_path,
    sort_key,
    sorted_values,
    split_text,
    subtract,
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
    if kind(value) != kind(part):
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


def refuse_number(text: str) -> Value:
    raise JqRefused(f"{text} in JSON text")


def read_literal(text: str) -> Value:
    try:
        return literal(text)
    except ValueError:
        raise JqRefused("a number too large to keep exactly") from None


FROM_JSON = json.JSONDecoder(parse_float=read_literal, parse_int=read_literal, parse_constant=refuse_number)
STRICT = re.compile(r'[^"]*(?:"(?:[^"\\\x00-\x1f]|\\.)*"[^"]*)*', re.DOTALL)


def fromjson(value: Value) -> Value:
    """JSON text -> value. Text that is no JSON is an error in jq too, but not always with words we could repeat."""
    if type(value) is not str:
        raise fail(f"{brief(value)} only strings can be parsed")
    try:
        found = FROM_JSON.decode(value)
    except (ValueError, RecursionError):
        raise JqRefused("JSON text that cannot be read") from None
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


def trimmed(strip: Callable[[str, str], str]) -> Callable[[Value], Value]:
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


def cased(table: dict[int, int]) -> Callable[[Value], Value]:
    def run(value: Value) -> Value:
        if type(value) is not str:
            raise fail("explode input must be a string")
        return value.translate(table)

    return run


def sort(value: Value) -> list[Value]:
    if type(value) is not list:
        raise fail(f"{brief(value)} cannot be sorted, as it is not an array")
    return sorted_values(value)


def grouped(values: list[Value], by: list[Value]) -> list[list[Value]]:
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
    return [group[0] for group in grouped(value, value)] if type(value) is list else sort(value)


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
    return [index(value, made(double(length(value)) - 1))]  # an error, and jq's


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
    if type(value) is list and type(glue) is str and all(type(each) is str for each in value):
        return glue.join(value)
    result: Value = None
    for each in items_of(value):
        lead = "" if result is None else add(result, glue)
        if type(each) is bool or type(each) in NUMERIC:
            each = to_json(each)
        result = add(lead, each if truthy(each) else "")
    return result if truthy(result) else ""


def flattened(value: Value, depth: Value) -> list[Value]:
    if compare(depth, 0) < 0:
        raise fail("flatten depth must not be negative")
    return flat(value, depth, 0)


def flat(value: Value, depth: Value, level: int) -> list[Value]:
    if level > MAX_NESTING:
        raise JqBudget("a value nested too deeply")
    result: list[Value] = []
    for each in items_of(value):
        if type(each) is list and not equal(depth, 0):
            result.extend(flat(each, subtract(depth, 1), level + 1))
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
    low, high = 0, len(value) - 1
    while low <= high:
        middle = (low + high) // 2
        result = compare(value[middle], target)
        if result == 0:
            return middle
        low, high = (middle + 1, high) if result < 0 else (low, middle - 1)
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


def checked_number(value: Value) -> float:
    if type(value) not in NUMERIC:
        raise fail(f"{brief(value)} number required")
    return double(value)


def math1(work: Callable[[float], float]) -> Callable[[Value], Value]:
    """A function of <math.h>: outside its domain C answers nan or infinity where Python raises."""

    def run(value: Value) -> Value:
        x = checked_number(value)
        try:
            return made(float(work(x)))
        except OverflowError:
            raise JqRefused("a number too large") from None
        except ValueError:
            return made(-math.inf) if x == 0 else math.nan

    return run


def math2(work: Callable[[float, float], float]) -> Callable[[Value, Value, Value], Value]:
    def run(_: Value, a: Value, b: Value) -> Value:
        left, right = checked_number(a), checked_number(b)
        try:
            return made(float(work(left, right)))
        except (OverflowError, ValueError):
            raise JqRefused("a function outside its domain") from None

    return run


def rounded(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value) if abs(value) < 2**52 else value


def held(work: Callable[[float], int]) -> Callable[[float], float]:
    """floor and the like, which Python answers as an int: infinity and nan stay, -0.0 too."""
    return lambda x: math.copysign(float(work(x)), x) if math.isfinite(x) else x


def power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except ValueError:
        if x == 0:
            return math.copysign(math.inf, x) if y % 2 == 1 else math.inf
        return math.nan


MATH1: dict[str, Callable[[float], float]] = {
    "floor": held(math.floor),
    "ceil": held(math.ceil),
    "trunc": held(math.trunc),
    "round": rounded,
    "rint": held(round),
    "nearbyint": held(round),
    "fabs": abs,
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "exp": math.exp,
    "exp2": math.exp2,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")},
}
MATH2: dict[str, Callable[[float, float], float]] = {"pow": power, "atan2": math.atan2, "fmod": math.fmod}


def isinfinite(value: Value) -> bool:
    return math.isinf(checked_number(value))


def isnan(value: Value) -> bool:
    return math.isnan(checked_number(value))


def isnormal(value: Value) -> bool:
    x = checked_number(value)
    return math.isfinite(x) and abs(x) >= 2.2250738585072014e-308


def ascii_letter(value: Value) -> str:
    if type(value) is not int or not 0 <= value < 128:
        raise JqRefused("ascii of what is no ASCII code")
    return chr(value)


def raised(value: Value) -> Value:
    raise JqRaised(value)


# --------------------------------------------------------------------------------------------------------- formats


def csv_cell(value: Value, quote: Callable[[str], str], of: str) -> str:
    this = type(value)
    if this is str:
        return quote(value)
    if this in (list, dict):
        raise fail(f"{brief(value)} is not valid in a csv row")
    return "" if value is None else to_json(value)


def row_format(glue: str, quote: Callable[[str], str], name: str) -> Callable[[Value], str]:
    def run(value: Value) -> str:
        if type(value) is not list:
            raise fail(f"{brief(value)} cannot be {name}-formatted, only array")
        return glue.join(csv_cell(each, quote, name) for each in value)

    return run


def csv_text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


TSV = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\"})
HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&apos;", '"': "&quot;"})


def sh(value: Value) -> str:
    parts: list[str] = []
    for each in value if type(value) is list else [value]:
        if type(each) in (list, dict):
            raise fail(f"{brief(each)} can not be escaped for shell")
        parts.append("'" + each.replace("'", "'\\''") + "'" if type(each) is str else to_json(each))
    return " ".join(parts)


def base64_text(value: Value) -> str:
    return base64.b64encode(text_of(value).encode("utf-8", "surrogatepass")).decode()


def base64_read(value: Value) -> str:
    text = text_of(value)
    body = text.rstrip("=")
    if re.fullmatch(r"[A-Za-z0-9+/]*", body) is None or len(text) - len(body) > 2:
        raise JqRefused("base64 text with other characters in it")
    if len(body) % 4 == 1:
        raise fail(f"{brief(value if type(value) is str else text)} trailing base64 byte found")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4)).decode("utf-8")
    except (UnicodeDecodeError, binascii.Error):
        raise JqRefused("base64 of what is not text") from None


def uri_text(value: Value) -> str:
    return urllib.parse.quote(text_of(value).encode("utf-8", "replace"), safe="~-._")


def uri_read(value: Value) -> str:
    text = text_of(value)
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise fail(f"{brief(text)} is not a valid uri encoding")
    try:
        return urllib.parse.unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise fail(f"{brief(text)} is not a valid uri encoding") from None


FORMATS: dict[str, Callable[[Value], str]] = {
    "text": text_of,
    "json": to_json,
    "csv": row_format(",", csv_text, "csv"),
    "tsv": row_format("\t", lambda text: text.translate(TSV), "tsv"),
    "html": lambda value: text_of(value).translate(HTML),
    "uri": uri_text,
    "urid": uri_read,
    "sh": sh,
    "base64": base64_text,
    "base64d": base64_read,
}


def formatted(value: Value, name: Value) -> str:
    if type(name) is not str or name not in FORMATS:
        raise fail(f"{text_of(name)} is not a valid format")
    return FORMATS[name](value)


# ------------------------------------------------------------------------------------------------- regular expressions


def pattern_and_modes(value: Value, source: Value, modes: Value) -> Any:
    if type(value) is not str:
        raise fail(f"{brief(value)} cannot be matched, as it is not a string")
    if type(source) is not str:
        raise fail(f"{brief(source)} cannot be matched, as it is not a string")
    if modes is not None and type(modes) is not str:
        raise fail(f"{brief(modes)} is not a string")
    return pattern_of(source, modes or "")


def test(value: Value, source: Value, modes: Value) -> bool:
    return pattern_and_modes(value, source, modes).test(value)  # type: ignore[no-any-return]


def matches(value: Value, source: Value, modes: Value) -> list[Value]:
    return pattern_and_modes(value, source, modes).matches(value)  # type: ignore[no-any-return]


def either_form(given: Value) -> tuple[Value, Value]:
    """test("re") or test(["re", "flags"])"""
    if type(given) is str:
        return given, None
    if type(given) is list and given:
        return given[0], given[1] if len(given) > 1 else None
    raise fail(f"{kind(given)} not a string or array")


def scan(value: Value, source: Value, flags: Value) -> list[Value]:
    found = matches(value, source, add("g", flags))
    return [[each["string"] for each in match["captures"]] if match["captures"] else match["string"] for match in found]


def splits(value: Value, source: Value, flags: Value) -> list[Value]:
    parts: list[Value] = []
    last = 0
    for match in matches(value, source, add(flags, "g")):
        parts.append(value[last : match["offset"]] if match["offset"] >= last else "")
        last = match["offset"] + match["length"]
    return [*parts, value[last:]]


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
    "error/0": raised,
    "format/1": formatted,
    "bsearch/1": bsearch,
    "test/2": test,
    "trim/0": trimmed(str.strip),
    "ltrim/0": trimmed(str.lstrip),
    "rtrim/0": trimmed(str.rstrip),
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
    "ascii_downcase/0": cased(LOWER),
    "ascii_upcase/0": cased(UPPER),
    "ascii/0": ascii_letter,
    "toarray/0": lambda value: value if type(value) is list else [value],
    "reverse/0": reverse,
    "indices/1": indices,
    "index/1": first_index,
    "rindex/1": last_index,
    "join/1": join,
    "flatten/0": lambda value: flat(value, -1, 0),
    "flatten/1": flattened,
    "to_entries/0": to_entries,
    "from_entries/0": from_entries,
    "transpose/0": transpose,
    "test/1": lambda value, given: test(value, *either_form(given)),
    "split/2": splits,
}
# Written in jq: what is seldom used, or what is a path expression because it is made of others.
DEFINED = {
    "values/0": "select(. != null)",
    "nulls/0": "select(. == null)",
    "booleans/0": 'select(type == "boolean")',
    "numbers/0": 'select(type == "number")',
    "strings/0": 'select(type == "string")',
    "arrays/0": 'select(type == "array")',
    "objects/0": 'select(type == "object")',
    "iterables/0": 'select(type | . == "array" or . == "object")',
    "scalars/0": 'select(type | . != "array" and . != "object")',
    "finites/0": "select(isfinite)",
    "normals/0": "select(isnormal)",
    "isfinite/0": 'type == "number" and (isinfinite | not)',
    "ltrimstr/1 $left": "if startswith($left) then .[$left | length:] end",
    "rtrimstr/1 $right": "if endswith($right) then .[:length - ($right | length)] end",
    "trimstr/1 $part": "ltrimstr($part) | rtrimstr($part)",
    "abs/0": "if . < 0 then -. else . end",
    "error/1 message": "message | error",
    "first/0": ".[0]",
    "last/0": ".[-1]",
    "nth/1 $n": ".[$n]",
    "nth/2 $n g": 'if $n < 0 then error("nth doesn\'t support negative indices") else first(skip($n; g)) end',
    "in/1 xs": ". as $x | xs | has($x)",
    "inside/1 xs": ". as $x | xs | contains($x)",
    "any/0": "any(.[]; .)",
    "all/0": "all(.[]; .)",
    "any/1 f": "any(.[]; f)",
    "all/1 f": "all(.[]; f)",
    "map_values/1 f": ".[] |= f",
    "with_entries/1 f": "to_entries | map(f) | from_entries",
    "paths/0": "path(..) | select(length > 0)",
    "paths/1 f": "path(.. | select(f)) | select(length > 0)",
    "leaf_paths/0": "paths(scalars)",
    "todateiso8601/0": 'strftime("%Y-%m-%dT%H:%M:%SZ")',
    "fromdateiso8601/0": 'strptime("%Y-%m-%dT%H:%M:%SZ") | mktime',
    "todate/0": "todateiso8601",
    "fromdate/0": "fromdateiso8601",
    "combinations/0": "if length == 0 then [] else .[0][] as $x | (.[1:] | combinations) as $rest | [$x] + $rest end",
    "combinations/1 n": ". as $each | [range(n) | $each] | combinations",
    "walk/1 f": 'def w: if type == "object" then .[] |= w elif type == "array" then map(w) end | f; w',
    "fromstream/1 events": """{value: null, done: false} as $empty
        | foreach events as $event ($empty;
            (if .done then $empty end)
            | if $event | length == 2
              then setpath(["done"]; $event[0] | length == 0) | setpath(["value"] + $event[0]; $event[1])
              else setpath(["done"]; $event[0] | length == 1) end;
            if .done then .value else empty end)""",
    "truncate_stream/1 events": """. as $depth | null | events | . as $event
        | if (.[0] | length) > $depth then setpath([0]; $event[0][$depth:]) else empty end""",
    "match/1 $given": """($given | type) as $type
        | if $type == "string" then match($given; null)
          elif $type == "array" and ($given | length) > 1 then match($given[0]; $given[1])
          elif $type == "array" and ($given | length) > 0 then match($given[0]; null)
          else error($type + " not a string or array") end""",
    "capture/1 $given": """($given | type) as $type
        | if $type == "string" then capture($given; null)
          elif $type == "array" and ($given | length) > 1 then capture($given[0]; $given[1])
          elif $type == "array" and ($given | length) > 0 then capture($given[0]; null)
          else error($type + " not a string or array") end""",
    "capture/2 pattern flags": "match(pattern; flags) | [.captures[] | select(.name != null) | {(.name): .string}] | add // {}",
    "scan/1 $pattern": "scan($pattern; null)",
    "splits/1 $pattern": "splits($pattern; null)",
    "sub/2 $pattern replacement": 'sub($pattern; replacement; "")',
    "gsub/2 $pattern replacement": 'sub($pattern; replacement; "g")',
    "gsub/3 $pattern replacement flags": 'sub($pattern; replacement; flags + "g")',
    "sub/3 $pattern replacement $flags": """. as $in
        | (reduce match($pattern; $flags) as $edit ({parts: [], end: 0};
              $in[.end:($edit | .offset)] as $gap
              | [[$edit.captures[] | select(.name != null) | {(.name): .string}] | add // {} | replacement] as $new
              | reduce range(0; $new | length) as $i (.; .parts[$i] += $gap + $new[$i])
              | .end = $edit.offset + $edit.length)
           | .parts[] + $in[.end:]) // $in""",
    "INDEX/2 rows key": "reduce rows as $row ({}; .[$row | key | tostring] = $row)",
    "INDEX/1 key": "INDEX(.[]; key)",
    "GROUP_BY/1 f": "group_by(f)",
    "JOIN/2 $rows key": "[.[] | [., $rows[key]]]",
    "JOIN/3 $rows stream key": "stream | [., $rows[key]]",
    "JOIN/4 $rows stream key join": "stream | [., $rows[key]] | join",
    "IN/1 s": "any(s == .; .)",
    "IN/2 source s": "any(source == s; .)",
}
WORLD = "reaches outside the program"
REFUSED = {
    **dict.fromkeys(
        [
            "env/0", "input/0", "inputs/0", "input_filename/0",
            "input_line_number/0", "debug/0", "debug/1", "stderr/0", "halt/0",
            "halt_error/0", "halt_error/1", "now/0", "localtime/0", "strflocaltime/1", "modulemeta/0", "get_search_list/0",
            "get_jq_origin/0", "get_prog_origin/0", "builtins/0",
        ],
        WORLD,
    ),
    "have_decnum/0": "numbers are kept as written but compared as doubles: neither answer would be right",
    **dict.fromkeys(
        [
            "acosh/0", "asinh/0", "atanh/0", "copysign/2", "drem/2", "erf/0", "erfc/0", "exp10/0", "expm1/0", "fdim/2", "fma/3",
            "fmax/2", "fmin/2", "frexp/0", "gamma/0", "hypot/2", "j0/0", "j1/0", "jn/2",
            "ldexp/2", "lgamma/0", "lgamma_r/0",
            "log1p/0", "logb/0", "modf/0", "nextafter/2", "nexttoward/2", "pow10/0", "remainder/2", "scalb/2", "scalbln/2",
            "significand/0", "tgamma/0", "y0/0", "y1/0", "yn/2",
        ],
        "a function of C's mathematics that Python does not answer to the last digit",
    ),
}

# --------------------------------------------------------------------------------------------------------------- forms


def plain_many(work: Callable[..., Value], arguments: list[Code], last_outer: bool) -> Many:
    ordered = arguments[::-1] if last_outer else arguments

    def many(value: Value, env: Env, *given: Value) -> Iterator[Value]:
        if len(given) == len(ordered):
            yield priced(work(value, *(given[::-1] if last_outer else given)), env)
            return
        for each in ordered[len(given)].many(value, env):
            yield from many(value, env, *given, each)

    return many


def plain(work: Callable[..., Value], arguments: list[Code], last_outer: bool) -> Code:
    """A function on values, its arguments being programs. jq's functions in C make fresh values; those in jq need not."""
    make = fresh if last_outer else Code
    ones: list[Any] = [code.one for code in arguments]
    if None in ones:
        return make(None, plain_many(work, arguments, last_outer))
    if not ones:
        return make(lambda value, env: priced(work(value), env))
    if len(ones) == 1:
        only, fixed = ones[0], arguments[0].constant
        if fixed is not None:
            given = fixed[0]
            return make(lambda value, env: priced(work(value, given), env))
        return make(lambda value, env: priced(work(value, only(value, env)), env))

    def one(value: Value, env: Env) -> Value:
        return priced(work(value, *[code(value, env) for code in ones]), env)

    return make(one)


def taken(count: int, many: Iterable[Any]) -> Iterator[Any]:
    """The first so many, and not a step further."""
    if count > 0:
        for each in many:
            yield each
            count -= 1
            if count <= 0:
                return


def counted(value: Value, what: str) -> float:
    """How many `limit` and `skip` mean; jq counts down from it in steps of 1."""
    if compare(value, 0) < 0:
        raise fail(f"{what} doesn't support negative count")
    if type(value) not in NUMERIC:
        raise JqRefused(f"{what} with a count that is no number")
    return double(value)


def form_limit(arguments: list[Code]) -> Code:
    count, body = arguments

    def many(value: Value, env: Env) -> Iterator[Value]:
        for number in count.many(value, env):
            yield from taken(math.ceil(min(counted(number, "limit"), 1e15)), body.many(value, env))

    def paths(path: Path, value: Value, env: Env) -> Iterator[Any]:
        for number in count.many(value, env):
            yield from taken(math.ceil(min(counted(number, "limit"), 1e15)), body.paths(path, value, env))

    return Code(None, many, paths, (body,))


def form_skip(arguments: list[Code]) -> Code:
    count, body = arguments

    def rest(number: Value, outputs: Iterable[Any]) -> Iterator[Any]:
        left = counted(number, "skip")
        for each in outputs:
            left -= 1
            if left < 0:
                yield each

    def many(value: Value, env: Env) -> Iterator[Value]:
        for number in count.many(value, env):
            yield from rest(number, body.many(value, env))

    def paths(path: Path, value: Value, env: Env) -> Iterator[Any]:
        for number in count.many(value, env):
            yield from rest(number, body.paths(path, value, env))

    return Code(None, many, paths, (body,))


def form_first(arguments: list[Code]) -> Code:
    body = arguments[0]
    if body.one is not None:
        return body
    return Code(
        None,
        lambda value, env: taken(1, body.many(value, env)),
        lambda path, value, env: taken(1, body.paths(path, value, env)),
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


def quantified(arguments: list[Code], stop: bool) -> Code:
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
    place = double(start)
    while place < double(end):
        spend(env, 1)
        yield made(place)
        place += 1


def form_range(arguments: list[Code]) -> Code:
    start, end = arguments if len(arguments) == 2 else [constant(0), arguments[0]]

    def many(value: Value, env: Env) -> Iterator[Value]:
        for first in start.many(value, env):
            for last in end.many(value, env):
                yield from numeric_range(first, last, env)

    return Code(None, many)


def stepped(first: Value, last: Value, step: Value, env: Env) -> Iterator[Value]:
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
                    yield from stepped(first, last, step, env)

    return Code(None, many)


def walked(value: Any, env: Env, turn: Callable[[Any], tuple[bool, Iterable[Any]]]) -> Iterator[Any]:
    """Depth first from value: turn(item) says whether it is an output and what comes after it."""
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for each in stack[-1]:
            spend(env, 1)
            shown, after = turn(each)
            if shown:
                yield each
            if len(stack) > 10_000:
                raise JqBudget("nested too deeply")
            stack.append(iter(after))
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
        def turn(each: Value) -> tuple[bool, Iterable[Value]]:
            return (True, update.many(each, env)) if truthy(ask(each, env)) else (False, ())

        return walked(value, env, turn)

    def paths(path: Path, value: Value, env: Env) -> Iterable[Any]:
        def turn(each: Any) -> tuple[bool, Iterable[Any]]:
            return (True, update.paths(each[0], each[1], env)) if truthy(ask(each[1], env)) else (False, ())

        return walked((path, value), env, turn)

    return Code(None, many, paths, (update,))


def form_until(arguments: list[Code]) -> Code:
    condition, update = arguments
    if condition.one is None:
        raise JqRefused("until with a condition of several outputs")
    ask = condition.one

    def many(value: Value, env: Env) -> Iterable[Value]:
        def turn(each: Value) -> tuple[bool, Iterable[Value]]:
            return (True, ()) if truthy(ask(each, env)) else (False, update.many(each, env))

        return walked(value, env, turn)

    def paths(path: Path, value: Value, env: Env) -> Iterable[Any]:
        def turn(each: Any) -> tuple[bool, Iterable[Any]]:
            return (True, ()) if truthy(ask(each[1], env)) else (False, update.paths(each[0], each[1], env))

        return walked((path, value), env, turn)

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
        return walked(value, env, lambda each: (True, body.many(each, env)))

    def paths(path: Path, value: Value, env: Env) -> Iterable[Any]:
        return walked((path, value), env, lambda each: (True, body.paths(each[0], each[1], env)))

    return Code(None, many, paths, (body,))


def path_lists(body: Code) -> Many:
    """The paths of body's outputs as arrays; JqRefused where body can have none."""
    if not body.tracked:
        raise JqRefused("a path through an expression that is none")

    def many(value: Value, env: Env) -> Iterator[Value]:
        for path, output in body.paths((), value, env):
            yield list(known(path, output, "with result "))

    return many


def form_del(arguments: list[Code]) -> Code:
    places = path_lists(arguments[0])
    return Code(lambda value, env: delete_paths(value, list(places(value, env))))


def form_pick(arguments: list[Code]) -> Code:
    places = path_lists(arguments[0])

    def one(value: Value, env: Env) -> Value:
        result: Value = None
        for path in places(value, env):
            spend(env, 1)
            result = priced(set_path(result, path, get_path(value, path)), env)
        return result

    return Code(one)


def form_getpath(arguments: list[Code]) -> Code:
    which = arguments[0]

    def paths(path: Path, value: Value, env: Env) -> Iterator[Any]:
        for keys_given in which.many(value, env):
            keys_list = path_list(keys_given)
            found = get_path(value, keys_list)
            yield produced(path, value, found) if type(path) is Lost else ((*path, *keys_list), found)

    code = plain(lambda value, path: get_path(value, path_list(path)), arguments, True)
    return Code(code.one, code.many, paths)


def form_add(arguments: list[Code]) -> Code:
    source = arguments[0] if arguments else iterate()

    def one(value: Value, env: Env) -> Value:
        total: Value = None
        for each in source.many(value, env):
            total = priced(add(total, each), env)
        return total

    return Code(one)


def keyed(body: Code) -> Callable[[Value, Env], list[Value]]:
    """What map([f]) gives: every item's outputs of f."""
    many = iterate().many
    return lambda value, env: [list(body.many(each, env)) for each in many(value, env)]


def form_by(work: Callable[[list[Value], list[Value]], Value], name: str) -> Callable[[list[Code]], Code]:
    def form(arguments: list[Code]) -> Code:
        by = keyed(arguments[0])

        def one(value: Value, env: Env) -> Value:
            sorting = by(value, env)
            if type(value) is not list:
                what = "cannot be sorted, as they are not both arrays" if name == "sort" else "cannot be iterated over"
                raise fail(f"{brief(value)} and {brief(sorting)} {what}")
            spend(env, len(sorting))
            return work(value, sorting)

        return Code(one)

    return form


def form_match(arguments: list[Code]) -> Code:
    found = plain(matches, arguments, True)
    return pipe(found, iterate())


def form_scan(arguments: list[Code]) -> Code:
    return pipe(plain(scan, arguments, False), iterate())


def form_splits(arguments: list[Code]) -> Code:
    return pipe(plain(splits, arguments, False), iterate())


def form_tostream(arguments: list[Code]) -> Code:
    def many(value: Value, env: Env) -> Iterator[Value]:
        for event in tostream(value):
            spend(env, 1)
            yield event

    return Code(None, many)


FORMS: dict[str, Callable[[list[Code]], Code]] = {
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
    "limit/2": form_limit,
    "skip/2": form_skip,
    "first/1": form_first,
    "last/1": form_last,
    "isempty/1": form_isempty,
    "any/2": lambda arguments: quantified(arguments, True),
    "all/2": lambda arguments: quantified(arguments, False),
    "range/1": form_range,
    "range/2": form_range,
    "range/3": form_range3,
    "while/2": form_while,
    "until/2": form_until,
    "repeat/1": form_repeat,
    "add/0": form_add,
    "add/1": form_add,
    "sort_by/1": form_by(lambda values, by: [each for group in grouped(values, by) for each in group], "sort"),
    "group_by/1": form_by(grouped, "sort"),
    "unique_by/1": form_by(lambda values, by: [group[0] for group in grouped(values, by)], "sort"),
    "min_by/1": form_by(lambda values, by: extreme(values, by, False), "extreme"),
    "max_by/1": form_by(lambda values, by: extreme(values, by, True), "extreme"),
    "match/2": form_match,
    "scan/2": form_scan,
    "splits/2": form_splits,
    "tostream/0": form_tostream,
    "infinite/0": lambda arguments: constant(made(math.inf)),
    "nan/0": lambda arguments: constant(math.nan),
    "null/0": lambda arguments: constant(None),
    "true/0": lambda arguments: constant(True),
    "false/0": lambda arguments: constant(False),
    "have_literal_numbers/0": lambda arguments: constant(True),
}

# ------------------------------------------------------------------------------------------------------- assignments


def assigned(target: Code, source: Code) -> Code:
    """`target = source`: once for every output of source, which sees the whole input."""
    places = path_lists(target)

    def put(value: Value, env: Env, new: Value) -> Value:
        result = value
        for path in places(value, env):
            spend(env, 1)
            result = priced(set_path(result, path, new), env)
        return result

    if source.one is not None:
        only = source.one
        return Code(lambda value, env: put(value, env, only(value, env)))

    def many(value: Value, env: Env) -> Iterator[Value]:
        for new in source.many(value, env):
            yield put(value, env, new)

    return Code(None, many)


def modified(target: Code, update: Code) -> Code:
    """`target |= update`: the first output takes the place, and what has none is deleted in the end."""
    places = path_lists(target)

    def one(value: Value, env: Env) -> Value:
        result, gone = value, []
        for path in places(value, env):
            spend(env, 1)
            for new in update.many(get_path(result, path), env):
                result = priced(set_path(result, path, new), env)
                break
            else:
                gone.append(path)
        return delete_paths(result, gone)

    return Code(one)


def updated(target: Code, source: Code, work: Callable[[Value, Value], Value]) -> Code:
    """`target += source` and the like: source sees the whole input, once for each of its outputs."""
    places = path_lists(target)

    def put(value: Value, env: Env, new: Value) -> Value:
        result = value
        for path in places(value, env):
            spend(env, 1)
            result = priced(set_path(result, path, priced(work(get_path(result, path), new), env)), env)
        return result

    def many(value: Value, env: Env) -> Iterator[Value]:
        for new in source.many(value, env):
            yield put(value, env, new)

    if source.one is not None:
        only = source.one
        return Code(lambda value, env: put(value, env, only(value, env)))
    return Code(None, many)


