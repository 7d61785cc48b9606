"""The selector language: what a program means, what is refused and where, and what a run may cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from quick import every

from llm_router_gateway.jq import compiler as jq
from llm_router_gateway.jq import functions

BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": 2000,
    "stream": True,
    "messages": [{"role": "system", "content": "review my code"}, *[{"role": "user", "content": "x"}] * 3],
    "tools": [{"name": "t"}],
}
LANGUAGE = [  # program, input, outputs
    (".", 1, [1]),
    (".messages | length", BODY, [4]),
    (".messages[0].role", BODY, ["system"]),
    (".messages[-1].content", BODY, ["x"]),
    (".messages[1:3] | length", BODY, [2]),
    (".absent.deeper", BODY, [None]),
    ('."max_tokens", .["model"]', BODY, [2000, "m"]),
    (".a?", 1, []),
    (".[]?", 1, []),
    (".a, .b | tojson", {"a": 1, "b": "x"}, ["1", '"x"']),
    (".a // 5", {"a": None}, [5]),
    ("[.[] | . * 2 + 1]", [1, 2], [[3, 5]]),
    ('[null, true, 1, "a", [1], {}] | sort | length', None, [6]),
    ('[[], {}, "a", 1, true, false, null] | sort', None, [[None, False, True, 1, "a", [], {}]]),
    ('if . > 1 then "big" elif . == 1 then "one" else "small" end', 1, ["one"]),
    ("if . then 1 end", None, [None]),
    ('try error("x") catch .', None, ["x"]),
    ("[.[] | tonumber?]", ["1", "a"], [[1]]),
    ("reduce .[] as $n (0; . + $n)", [1, 2, 3], [6]),
    ("[foreach .[] as $n (0; . + $n)]", [1, 2, 3], [[1, 3, 6]]),
    ("[foreach .[] as $n (0; . + $n; [$n, .])]", [1, 2], [[[1, 1], [2, 3]]]),
    ("[label $out | .[] | if . > 1 then break $out else . end]", [1, 2, 1], [[1]]),
    (". as [$a, {b: $c}] | $a + $c", [1, {"b": 2}], [3]),
    ("[.[] as [$a] ?// $a | $a]", [[1], 2], [[1, 2]]),
    ("def f(g): [g, g]; f(.a)", {"a": 1}, [[1, 1]]),
    ("def f: 1; def f(x): x + 1; [f, f(f)]", None, [[1, 2]]),
    ("def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; fac", 10, [3628800]),
    ('"\\(.a) and \\(.b + 1)"', {"a": "x", "b": 1}, ["x and 2"]),
    ('@base64 "\\(.)", (@base64 | @base64d)', "hé", ["aMOp", "hé"]),
    ("@csv, @json", [1, 'a"b'], ['1,"a""b"', '[1,"a\\"b"]']),
    ("@uri, @html, @sh", "a&'b", ["a%26%27b", "a&amp;&apos;b", "'a&'\\''b'"]),
    (".a = 1 | .b += 2 | .c |= 3 | .d //= 4", {"b": 1}, [{"b": 3, "a": 1, "c": 3, "d": 4}]),
    ('.[1:3] = ["x"]', [1, 2, 3, 4], [[1, "x", 4]]),
    ("(.. | numbers) |= . + 1", [1, {"a": 2}], [[2, {"a": 3}]]),
    (".[] |= empty", [1, 2], [[]]),
    ("[limit(2; .[])], first(.[]), last(.[]), nth(1; .[])", [1, 2, 3], [[1, 2], 1, 3, 2]),
    ("[until(. > 100; . * 2)], [while(. < 10; . * 2)]", 3, [[192], [3, 6]]),
    ("[range(3)], [range(1; 3)], [range(0; 10; 4)]", None, [[0, 1, 2], [1, 2], [0, 4, 8]]),
    ("any(.[]; . > 2), all(. > 0), any, all", [1, 2, 3], [True, True, True, True]),
    ("[paths], [leaf_paths]", {"a": [1]}, [[["a"], ["a", 0]], [["a", 0]]]),
    ('getpath(["a", 0]), setpath(["a", 0]; 5), delpaths([["a"]])', {"a": [1]}, [1, {"a": [5]}, {}]),
    ("del(.a, .b), to_entries, with_entries(.value += 1)", {"a": 1}, [{}, [{"key": "a", "value": 1}], {"a": 2}]),
    ("pick(.a.b)", {"a": {"b": 1, "c": 2}}, [{"a": {"b": 1}}]),
    ('walk(if type == "number" then . + 1 end)', [1, [2]], [[2, [3]]]),
    ('test("B"; "i"), [match("(?<x>b)").captures[].name], capture("(?<n>[0-9]+)")', "ab12", [True, ["x"], {"n": "12"}]),
    ('[scan("[a-z]")], split("1"), [splits("[0-9]")]', "a1b", [["a", "b"], ["a", "b"], ["a", "b"]]),
    ('sub("(?<d>[0-9])"; "<\\(.d)>"), gsub("[0-9]"; "")', "a1b2", ["a<1>b2", "ab"]),
    ("todate, gmtime, (gmtime | mktime)", 0, ["1970-01-01T00:00:00Z", [1970, 0, 1, 0, 0, 0, 4, 0], 0]),
    ('fromdate, (strptime("%Y-%m-%dT%H:%M:%SZ") | mktime)', "2015-03-05T23:51:47Z", [1425599507, 1425599507]),
    (
        "sort_by(.a), group_by(.a), unique_by(.a), min_by(.a)",
        [{"a": 2}, {"a": 1}],
        [[{"a": 1}, {"a": 2}], [[{"a": 1}], [{"a": 2}]], [{"a": 1}, {"a": 2}], {"a": 1}],
    ),
    ('ltrimstr("a"), rtrimstr("c"), trimstr("a"), (" x " | trim, ltrim, rtrim)', "abc", ["bc", "ab", "bc", "x", "x ", " x"]),
    ("ascii_downcase, ascii_upcase, explode, (explode | implode), utf8bytelength", "Aé", ["aé", "Aé", [65, 233], "Aé", 3]),
    ("tojson, (tojson | fromjson)", {"a": [1.5, None]}, ['{"a":[1.5,null]}', {"a": [1.5, None]}]),
    ('contains({a: [1]}), inside({a: [1, 2], b: 3}), has("a")', {"a": [1]}, [True, True, True]),
    ("indices(1), index(1), rindex(1)", [1, 2, 1], [[0, 2], 0, 2]),
    ("transpose, flatten, add, reverse", [[1, 2], [3]], [[[1, 3], [2, None]], [1, 2, 3], [1, 2, 3], [[3], [1, 2]]]),
    ("[combinations]", [[1, 2], [3]], [[[1, 3], [2, 3]]]),
    ('INDEX(.id) | keys, IN({"1": {"id": 1}})', [{"id": 1}], [["1"], True]),
    ("[tostream] | fromstream(.[])", {"a": [1, 2]}, [{"a": [1, 2]}]),
    ("65 | ascii, toarray", None, ["A", [65]]),
    ("-5 | abs, toarray, have_literal_numbers", None, [5, [-5], True]),
    ("$__loc__.line", None, [1]),
    ('{a: 1, "b": 2, ("c"): 3, @base64 "d": 4, if: 5} | keys', None, [["a", "b", "c", "d", "if"]]),
    (". as $x | {$x, a}", {"a": 1}, [{"x": {"a": 1}, "a": 1}]),
    ("1 # a comment", None, [1]),
    ("1 + . as $x | $x * 2", 3, [8]),
    ("[.[] | (1 / .)?]", [1, 0], [[1]]),
    ('[splits(", *")] | join("-")', "a, b,c", ["a-b-c"]),
]


@pytest.mark.parametrize(("program", "value", "outputs"), LANGUAGE, ids=[program for program, _, _ in LANGUAGE])
def test_the_language(program: str, value: Any, outputs: list[Any]) -> None:
    before = json.dumps(value)
    assert list(jq.compile(program).outputs(value)) == outputs
    assert json.dumps(value) == before  # nothing is changed in place


WRITTEN = [  # program, its output as text: numbers as jq writes them
    ("1.0 | tojson", "1.0"),
    ("1.0 + 0 | tojson", "1"),
    ("100000000000000000001 | tojson", "100000000000000000001"),
    ("100000000000000000001 + 0 | tojson", "1e+20"),
    ("1e1000 | tojson", "1E+1000"),
    ("1e17 * 3 | tojson", "3e+17"),
    ("1e-5 * 1 | tojson", "1e-05"),
    ("0.1 + 0.2 | tojson", "0.30000000000000004"),
    ("infinite, nan | tojson", "1.7976931348623157e+308"),
    ("[1.50, -0.0] | tojson", "[1.50,0.0]"),
    ('"\\u007f\\u0000é" | tojson', '"\\u007f\\u0000é"'),
]


@pytest.mark.parametrize(("program", "text"), WRITTEN)
def test_numbers_and_strings_are_written_as_jq_writes_them(program: str, text: str) -> None:
    assert next(jq.compile(program).outputs(None)) == text


LIBJQ = [  # program, input as text, libjq 1.8's outputs as text or its error
    ("del(.[0], .[0])", "[1,2,3]", "[2,3]"),
    ("del(.[0], .[0:2])", "[1,2,3]", "[3]"),
    ("del(.[-1], .[2])", "[1,2,3]", "[1,2]"),
    ("del(.[0].a, .[0])", '[{"a":1},2]', "[2]"),
    ("delpaths([[0], [0]])", "[1,2,3]", "[2,3]"),
    (".[1.5:1]", "[0,1,2,3]", "[]"),
    (".[1.5:1.5]", "[0,1,2,3]", "[1]"),
    ('.[1.5:1] = ["x"]', "[0,1,2]", '[0,"x",1,2]'),
    ("false | contains(true)", "null", "boolean (false) and boolean (true) cannot have their containment checked"),
    ("true | contains(true)", "null", "true"),
    ("[limit(0; error)]", "null", "[]"),
    ('limit("a"; 1)', "null", 'string ("a") and number (1) cannot be subtracted'),
    ("skip(-1; error)", "null", "skip doesn't support negative count"),
    ('[{"\\(.b[])"}]', '{"b":["x","y"],"x":1}', '[{"x":1},{"y":null}]'),
    ('[{"a\\(1, 2)", c: (3, 4)}]', '{"a1":5}', '[{"a1":5,"c":3},{"a1":5,"c":4},{"a2":null,"c":3},{"a2":null,"c":4}]'),
    ('. as [$a] ?// $a | if $a == 3 then error("no") else $a end', "[3]", "[3]"),
    ('(. as [$a] ?// $a | $a) | if . == 3 then error("no") else . end', "[3]", "[3]"),
    ("(. as [$a] ?// $a | $a) + [1]", "[3]", "[3,1]"),
    ('(. as [$a] ?// $a | $a) as $x | if $x == 3 then error("no") else $x end', "[3]", "[3]"),
    ('try ((. as [$a] ?// $a | $a) | error("q\\(.)")) catch .', "[3]", '"q[3]"'),
    ('(try (. as [$a] ?// $a | $a) catch "c") | error', '["a"]', '["a"]'),
    ("[label $f | (. as [$a] ?// $a | $a) | ., break $f]", "[3]", "[3,[3]]"),
    ('reduce .[] as [$a] ?// $a (0; if $a == 3 then error("no") else [., $a] end)', "[[3]]", "[null,[3]]"),
    ('[foreach .[] as [$a] ?// $a (0; . + 1; if $a == 3 then error("no") else [., $a] end)]', "[[3]]", "[[2,[3]]]"),
    ("[reduce . as $x (0, 1; [., $x])]", "7", "[[0,7],[1,null]]"),
    ("[foreach . as $x (0, 1; [., $x])]", "7", "[[0,7],[1,7]]"),
    ("[.[] | isnan, isinfinite, isnormal]", '["a",null,[],{},true]', "[" + ",".join(["false"] * 15) + "]"),
    (".t | tostring", '{"t":1.10}', '"1.10"'),
    ("[.[] | tojson]", "[1.10,1e2,-0,1E-5,1e400,0.0]", '["1.10","1E+2","-0","0.00001","1E+400","0.0"]'),
    ("[.[] | . + 0 | tojson]", "[1.10,1e2]", '["1.1","100"]'),
    ('"\\(.t)", @csv "\\([.t])"', '{"t":1.10}', '"1.10" "1.10"'),
    ('join(" ")', "[1.10,2]", '"1.10 2"'),
    (". == 1.1", "1.10", "true"),
    ("unique", "[1.10,1.1]", "[1.10]"),
    ('1e300 * ""', "null", '""'),
]


@pytest.mark.parametrize(("program", "text", "told"), LIBJQ, ids=[f"{program} on {text}" for program, text, _ in LIBJQ])
def test_answers_are_those_of_libjq(program: str, text: str, told: str) -> None:
    outputs: list[str] = []
    try:
        outputs = list(jq.compile(f"({program}) | tojson").outputs(jq.read(text)))
    except jq.JqRaised as error:
        outputs = [str(error.value)] if isinstance(error.value, str) and error.value[:1] != "[" else [json.dumps(error.value)]
    assert " ".join(outputs) == told


@pytest.mark.parametrize("program", [
    "[first(. as [$a] ?// $a | $a)]", "isempty(. as [$a] ?// $a | $a)", "{}[(. as [$a] ?// $a | $a)]",
    "if (. as [$a] ?// $a | $a) == 3 then error else 1 end",
])  # fmt: skip
def test_an_error_that_cannot_be_handed_back_to_a_pattern_is_refused(program: str) -> None:
    with pytest.raises(jq.JqRefused, match=r"\?//"):
        list(jq.compile(program).outputs([3]))


def test_a_program_knows_whether_it_can_tell_how_a_number_is_written() -> None:
    for program, spells in ((".t | tostring", True), ('"\\(.t)"', True), ("@text", True), ("try .a catch .", True),
                            (".t > 1", False), ('.model == "m"', False), ("[.t] | length", False)):  # fmt: skip
        assert jq.compile(program).spells is spells, program


def test_any_exception_inside_a_program_is_an_error_of_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in (OverflowError("1"), ValueError("x" * 9), UnicodeError(), TypeError(), KeyError("k"), ZeroDivisionError()):

        def failing(*_: object, fault: Exception = fault) -> Any:
            raise fault

        monkeypatch.setitem(functions.LAST, "length/0", failing)
        for program in ("length", ".[] | length", "try length catch 1", "first(length)"):
            chosen = jq.compile(program)
            for run in (chosen.selects, chosen.name_of, lambda value, chosen=chosen: list(chosen.outputs(value))):
                with pytest.raises(jq.JqFault, match=type(fault).__name__) as caught:
                    run([1])
                assert "x" * 9 not in str(caught.value)
    monkeypatch.setitem(functions.LAST, "length/0", lambda value: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(jq.JqBudget):
        jq.compile("length").selects(1)


SYNTAX = [  # program, where it is wrong
    ("", 0),
    (".a |", 4),
    (".a b", 3),
    ("foo", 0),
    (".a | bar(1)", 5),
    ("map(.a; .b)", 0),
    ("1 + ", 4),
    (". == 1 == 2", 7),
    ("(1", 2),
    ("[1, ]", 4),
    ("{a: }", 4),
    ("{(1): 2}", 1),
    ('"abc', 0),
    ('"\\x"', 1),
    ("$nope", 0),
    ("break $x", 0),
    ("if 1 then 2", 11),
    ("reduce . as $x (1)", 0),
    (". as [] | 1", 6),
    ("@nope", 0),
    ("def f: 1;", 9),
    ("é", 0),
    ("1 | !", 4),
    ('import "a" as a; 1', 0),
]


@pytest.mark.parametrize(("program", "position"), SYNTAX)
def test_what_is_no_program_is_an_error_with_its_position(program: str, position: int) -> None:
    with pytest.raises(jq.JqError) as caught:
        jq.compile(program)
    assert caught.value.position == position
    assert not isinstance(caught.value, jq.JqRaised)


@pytest.mark.parametrize(
    "program",
    ["env", "$ENV", "input", "inputs", "debug", "stderr", "input_line_number", "input_filename", "halt", "halt_error",
     "now", "localtime", "have_decnum", "exp10", 'test("(a+)+")', 'test("\\\\p{L}")', 'test("é"; "i")', 'test("a{2}{3}")',
     "path(map(.a))",
     "map(.a) = 1", ". as [$x, $x] | $x"],
)  # fmt: skip
def test_what_could_be_answered_wrongly_or_reaches_outside_is_refused_when_compiling(program: str) -> None:
    with pytest.raises(jq.JqRefused) as caught:
        jq.compile(f"1 | {program}")
    assert caught.value.position is not None
    assert caught.value.position >= 4


def test_what_comes_after_an_output_is_run_after_it_was_taken() -> None:
    for program in ("recurse(isempty(error))", "recurse(length | error)", "while(true; length | error)"):
        outputs = jq.compile(program).outputs([1])
        assert next(outputs) == [1], program
        with pytest.raises(jq.JqRaised):
            next(outputs)


def test_an_error_whose_value_cannot_be_written_has_a_text_all_the_same() -> None:
    with pytest.raises(jq.JqRaised) as caught:
        list(jq.compile("error([-(0)])").outputs(None))
    assert caught.value.text


def test_only_true_selects() -> None:
    for program, selects in (("true", True), ("1", False), ('"true"', False), ("[]", False), ("null", False), ("empty", False),
                             ("true, false", True), ("false, true", False), (".stream", True)):  # fmt: skip
        assert jq.compile(program).selects(BODY) is selects, program
    with pytest.raises(jq.JqRaised):
        jq.compile("error").selects(BODY)


def test_variables_are_named_when_compiling_and_given_when_running() -> None:
    chosen = jq.compile('$model == "m" and $headers["x-team"] == "red"', ["model", "headers"])
    assert chosen.selects(None, {"model": "m", "headers": {"x-team": "red"}, "more": 1})
    assert not chosen.selects(None, {"model": "n", "headers": {}})
    with pytest.raises(jq.JqError, match=r"\$headers"):
        chosen.selects(None, {"model": "m"})
    with pytest.raises(jq.JqError, match=r"\$other"):
        jq.compile("$other", ["model"])


RUNAWAYS = [
    "repeat(1) | empty",
    "[range(1e9)]",
    "def f: f; f",
    "def f: 1 + f; f",
    "def f: [f]; f",
    "last(range(1e9))",
    "reduce range(1e6) as $i (0; . + 1)",
    'reduce range(100) as $i ("ab"; . + .)',
    "reduce range(100) as $i ([1]; . + .)",
    '"abcdefgh" * 1e8 | length',
    "[limit(1e9; repeat(1))]",
    "until(false; . + 1)",
    "0 | [while(true; . + 1)]",
    "[recurse(. + 1)]",
    "null | .[400000000] = 1",
    "[range(300)] | combinations(3) | empty",
    "[range(1000) as $a | range(1000) as $b | 1]",
    "reduce range(100000) as $i (null; [.])",
    "first(range(1e9) | select(. < 0))",
    "try repeat(1) catch 1",
    "[.[]?, (def r: ., ([.] | r); r)]",
    'reduce range(30) as $i ("x"; @json)',
]


@pytest.mark.parametrize("program", every(4, RUNAWAYS))
def test_a_run_has_a_budget_that_no_try_catches(program: str) -> None:
    compiled = jq.compile(program)
    with pytest.raises(jq.JqBudget):
        for _ in compiled.outputs(1):
            pass


def test_a_budget_is_per_run_and_can_be_given() -> None:
    counting = jq.compile("[range(50)] | length")
    for _ in range(3):
        assert list(counting.outputs(None, max_steps=100)) == [50]
    with pytest.raises(jq.JqBudget):
        list(counting.outputs(None, max_steps=20))
    assert list(jq.compile("first(repeat(1))").outputs(None)) == [1]


def test_deep_programs_and_deep_values_are_errors_and_no_crash() -> None:
    for text in ("(" * 5000, "[" * 5000 + "]" * 5000, "-" * 5000 + "1", "." + "|." * 50_000, "try " * 5000,
                 "1" + "+1" * 30_000,
                 "." + "[0]" * 20_000,
                 "def f:" * 3000, '"\\(' * 3000, "if " * 3000, "{a:" * 3000, ". as [" * 3000):  # fmt: skip
        with pytest.raises(jq.JqError):
            list(jq.compile(text).outputs(1))
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for program in ("tojson", "flatten", ". == .", "[paths] | length", "walk(.)", "[..] | length", "tostream", ".[0] = 1"):
        try:
            list(jq.compile(program).outputs(deep))
        except jq.JqBudget:
            pass


HEAVY = ["(a*)*b", "(a|a)*b", "(a|aa)+$", "(.*)*x", "(a+)+$", "([a-z]+)*=", "(x+x+)+y", "(a?){30}a{30}", "(.|a)+b"]


@pytest.mark.parametrize("pattern", HEAVY)
def test_a_pattern_that_can_take_for_ever_is_refused_when_compiling(pattern: str) -> None:
    with pytest.raises(jq.JqRefused):
        jq.compile(f"test({json.dumps(pattern)})")


def test_a_pattern_whose_work_grows_with_the_text_stops_at_long_texts() -> None:
    trailing = jq.compile('test("\\\\s+$")')
    assert list(trailing.outputs("a b " * 10_000)) == [True]  # no long run of spaces
    with pytest.raises(jq.JqBudget):
        list(trailing.outputs(" " * 100_000 + "x"))
    assert list(jq.compile('test("code")').outputs("x" * 1_000_000)) == [False]
    assert list(jq.compile('test("foo.*bar")').outputs("x" * 1_000_000)) == [False]


def test_texts_that_the_two_engines_read_differently_are_refused_when_running() -> None:
    for program, text in (('test("s"; "i")', "\u017f"), ('test("[\\\\w]")', "\u00b2"), ('[match(""; "g")]', "é")):
        with pytest.raises(jq.JqRefused):
            list(jq.compile(program).outputs(text))
    assert list(jq.compile('test("review"; "i")').outputs("Überprüfen: REVIEW")) == [True]
    assert list(jq.compile('[match("\\\\w+"; "g").string]').outputs("Größe, 数字!")) == [["Größe", "数字"]]
    assert list(jq.compile('[match("\\\\w+"; "g").string]').outputs("e\u0301a 🎉b")) == [["e\u0301a", "b"]]
