"""The functions of jq that take programs, those written in jq, those that are refused, and the assignments.

    FORMS["select/1"]([code])  -> Code  called once, when the program is compiled
    DEFINED["todate/0"]                 compiled where it is used
    REFUSED["now/0"]                    why it is not here
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .codes import (
    Code,
    Env,
    Lost,
    Many,
    One,
    Path,
    array,
    constant,
    empty,
    fresh,
    identity,
    item,
    iterate,
    known,
    pipe,
    priced,
    produced,
    recurse,
    select,
    spend,
)
from .functions import extreme, grouped, match_steps, matches, pattern_for, scan, scan_steps, splits, test, tostream
from .values import (
    EXACT,
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
    fail,
    get_path,
    kind,
    made,
    path_list,
    set_path,
    subtract,
    truthy,
)

# Written in jq: what is seldom used, or what is a path expression because it is made of others.
DEFINED = {
    "finites/0": "select(isfinite)",
    "normals/0": "select(isnormal)",
    "isfinite/0": 'type == "number" and (isinfinite | not)',
    "ltrimstr/1 $left": "if startswith($left) then .[$left | length:] end",
    "rtrimstr/1 $right": "if endswith($right) then .[:length - ($right | length)] end",
    "trimstr/1 $part": "ltrimstr($part) | rtrimstr($part)",
    "abs/0": "if . < 0 then -. else . end",
    "error/1 message": "message | error",
    "nth/1 $n": ".[$n]",
    "nth/2 $n g": 'if $n < 0 then error("nth doesn\'t support negative indices") else first(skip($n; g)) end',
    "in/1 xs": ". as $x | xs | has($x)",
    "inside/1 xs": ". as $x | xs | contains($x)",
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


def plain_many(work: Callable[..., Value], arguments: list[Code], last_outer: bool, price: Callable[..., int]) -> Many:
    ordered = arguments[::-1] if last_outer else arguments

    def many(value: Value, env: Env, *given: Value) -> Iterator[Value]:
        if len(given) == len(ordered):
            inputs = given[::-1] if last_outer else given
            spend(env, price(value, *inputs))
            yield priced(work(value, *inputs), env)
            return
        for each in ordered[len(given)].many(value, env):
            yield from many(value, env, *given, each)

    return many


def no_price(*_: Value) -> int:
    return 0


def plain(
    work: Callable[..., Value], arguments: list[Code], last_outer: bool, price: Callable[..., int] | None = None
) -> Code:
    """A function on values, its arguments being programs. jq's functions in C make fresh values; those in jq need not."""
    make = fresh if last_outer else Code
    ones: list[Any] = [code.one for code in arguments]
    if None in ones:
        return make(None, plain_many(work, arguments, last_outer, price or no_price))
    if price is not None:
        return make(paid(work, ones, price))
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


def paid(work: Callable[..., Value], arguments: list[Any], price: Callable[..., int]) -> One:
    """A function that costs steps before it begins."""

    def one(value: Value, env: Env) -> Value:
        given = [code(value, env) for code in arguments]
        spend(env, price(value, *given))
        return priced(work(value, *given), env)

    return one


def taken(count: int, many: Iterable[Any]) -> Iterator[Any]:
    """The first so many, and not a step further."""
    if count > 0:
        for each in many:
            yield each
            count -= 1
            if count <= 0:
                return


def counted(value: Value, what: str) -> Value:
    """How many `limit` and `skip` mean; jq counts down from it in steps of 1."""
    if compare(value, 0) < 0:
        raise fail(f"{what} doesn't support negative count")
    return value


def limited(count: Value, outputs: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """The first so many outputs; with none wanted nothing is run."""
    if compare(counted(count, "limit"), 0) == 0:
        return
    if type(count) in NUMERIC:
        yield from taken(math.ceil(min(double(count), 1e15)), outputs())
    else:
        for _ in outputs():
            subtract(count, 1)  # an error, and jq's


def skipped(count: Value, outputs: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """The outputs after the first so many."""
    if compare(counted(count, "skip"), 0) == 0:
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


def form_test(arguments: list[Code]) -> Code:
    """test(pattern; flags); with both written in the program the pattern is ready before the first run."""
    source, modes = arguments
    if source.constant is None or type(source.constant[0]) is not str or modes.constant is None:
        return plain(test, arguments, True, match_steps)
    try:
        pattern = pattern_for("", source.constant[0], modes.constant[0])
    except JqRaised:
        return plain(test, arguments, True, match_steps)  # jq complains when it runs
    check, steps = pattern.test, pattern.steps

    def one(value: Value, env: Env) -> Value:
        if type(value) is not str:
            raise fail(f"{brief(value)} cannot be matched, as it is not a string")
        spend(env, steps(value))
        return check(value)

    return fresh(one)


def form_test_one(arguments: list[Code]) -> Code:
    """test("pattern") or test(["pattern", "flags"])"""
    given = arguments[0].constant
    if given is not None and type(given[0]) is str:
        return Code(form_test([arguments[0], constant(None)]).one)
    return plain(
        lambda value, given: test(value, *either_form(given)),
        arguments,
        False,
        lambda value, given: match_steps(value, *either_form(given)),
    )


def either_form(given: Value) -> tuple[Value, Value]:
    if type(given) is str:
        return given, None
    if type(given) is list and given:
        return given[0], given[1] if len(given) > 1 else None
    raise fail(f"{kind(given)} not a string or array")


def form_match(arguments: list[Code]) -> Code:
    return pipe(plain(matches, arguments, True, match_steps), iterate())


def form_scan(arguments: list[Code]) -> Code:
    return pipe(plain(scan, arguments, False, scan_steps), iterate())


def form_splits(arguments: list[Code]) -> Code:
    return pipe(plain(splits, arguments, False, scan_steps), iterate())


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
    "any/0": lambda arguments: quantified([iterate(), identity()], True),
    "all/0": lambda arguments: quantified([iterate(), identity()], False),
    "any/1": lambda arguments: quantified([iterate(), *arguments], True),
    "all/1": lambda arguments: quantified([iterate(), *arguments], False),
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
    "limit/2": form_counted(limited),
    "skip/2": form_counted(skipped),
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
    "test/1": form_test_one,
    "test/2": form_test,
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


