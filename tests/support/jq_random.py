"""Programs of the jq language at random, from a seed: for the comparison with libjq and for what must never fail otherwise."""

from __future__ import annotations

from random import Random

INPUTS = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1.5",
    "5",
    '"abc"',
    '""',
    '"a,b, c"',
    '"aébc a1 ab-12"',
    "[]",
    "[1,2,3]",
    '["a","b","abc",""]',
    '[3,"x",null,true,1.5,{"a":1},[1]]',
    "[[1,2],[3,4]]",
    '[{"a":1,"b":2},{"a":null},{"a":3,"c":"x"}]',
    "{}",
    '{"a":1,"b":2}',
    '{"a":{"b":{"c":5}},"d":[1,{"e":2}]}',
    '{"a":[1,2,{"b":"x"}],"b":null}',
    '{"key":"v","a":"k","b":true}',
    '[{"name":"n","value":1},{"key":"k","value":null}]',
    "[1.0,2.5,100000000000000000000,-0.001]",
    '{"model":"gpt-4o","messages":[{"role":"system","content":"code review"},{"role":"user","content":[{"type":"text"}]}]}',
    '{"messages":[{"role":"user","content":"x"}],"max_tokens":2000,"temperature":0.7,"stream":true,"tools":[]}',
    '{"a":1.10,"b":[1e2,-0,0.0,1E-7,0.1000000000000000055511151231257827]}',
    "[1.10,1.1,100,1e2,-1.50]",
]
LEAF_TEXT = """
    . .a .b .[0] .[1] .[-1] .[] .[]? .a? .b? .[0]? .[1:] .[:2] .[-2:] .. 0 1 2 -1 1.5 null true false "a" "b" "abc"
    [] {} empty length? keys? type not tostring tojson add? first? last? sort? unique? reverse? to_entries? floor?
    $x $y .a.b .a[0]? .["a"]? ascii_upcase? min? max? any? all? flatten? tonumber? values strings numbers arrays
    objects scalars iterables nulls booleans length keys explode? implode? transpose? from_entries? join(",")? error
    [paths] path(..) tostream trim? split(",")? ascii_downcase? utf8bytelength? abs?
"""
LEAVES = LEAF_TEXT.split()
WRAPS = [
    "({0})",
    "[{0}]",
    "({0}) | ({1})",
    "({0}), ({1})",
    "({0}) + ({1})",
    "({0}) - ({1})",
    "({0}) * ({1})",
    "({0}) / ({1})",
    "({0}) % ({1})",
    "({0}) == ({1})",
    "({0}) != ({1})",
    "({0}) < ({1})",
    "({0}) >= ({1})",
    "({0}) and ({1})",
    "({0}) or ({1})",
    "({0}) // ({1})",
    "{0} + {1}",
    "{0} * {1} - {2}",
    "{0} // {1} | {2}",
    "{0}, {1} | {2}",
    "-({0})",
    "if {0} then {1} else {2} end",
    "if {0} then {1} end",
    "try ({0}) catch .",
    "try ({0}) catch ({1})",
    "({0})?",
    "{{a: ({0}), b: ({1})}}",
    "{{({0} | tostring): {1}}}",
    '"x\\({0})y\\({1})"',
    "map({0})",
    "map({0})?",
    "map_values({0})?",
    "select({0})",
    "[.[]? | {0}]",
    "[.[]? | select({0}) | {1}]",
    "first({0})",
    "last({0})",
    "[limit(2; {0})]",
    "[skip(1; {0})]",
    "isempty({0})",
    "any(.[]?; {0})",
    "all({0}; {1})",
    "reduce ({0}) as $x ({1}; {2})",
    "reduce .[]? as $x (0; . + ({0} | length? // 0))",
    "[foreach ({0}) as $x ({1}; {2})]",
    "[foreach .[]? as $x (0; . + 1; [., $x, ({0})])]",
    "({0}) as $x | {1}",
    "({0}) as $x | ({1}) as $y | {2}",
    "({0}) as [$x, $y] | {1}",
    "({0}) as {{a: $x, $b}} | {1}",
    "({0}) as [$x] ?// $x | {1}",
    "def f: {0}; {1} | f",
    "def f(g): {0} | g; f({1})",
    "def f($x; g): g | {0}; f({1}; {2})",
    "label $out | ({0}) | if {1} then break $out else . end",
    "[path({0})]",
    "[paths({0})]",
    "try path({0} | {1}) catch .",
    "({0}) = ({1})",
    "({0}) |= ({1})",
    "({0}) += ({1})",
    "({0}) //= ({1})",
    "({0}) -= ({1})",
    "del({0})",
    "delpaths([path({0})])",
    "to_entries? | map({0})",
    "with_entries({0})?",
    "sort_by({0})?",
    "group_by({0})?",
    "unique_by({0})?",
    "min_by({0})?, max_by({0})?",
    "walk({0})",
    "[recurse({0}; . != null)] | length",
    "[limit(5; recurse({0}))]",
    "[limit(4; repeat({0}))]",
    "[limit(5; range({0}; {1}))]?",
    "[.[]? | tojson]",
    "[{0} | tojson, @text]",
    "{0} | has({1})?",
    "{0} | contains({1})?",
    "{0} | inside({1})?",
    "{0} | index({1})?, indices({1})?",
    "{0} | startswith({1})?, endswith({1})?",
    "{0} | ltrimstr({1})?, rtrimstr({1})?",
    "getpath([{0}])?",
    "setpath([{0}]; {1})?",
    "{0} | split({1})?",
    "{0} | join({1})?",
    "[{0}] | add",
    "[{0}, {1}] | sort, unique, min, max",
    "[[{0}], [{1}]] | transpose",
    "IN({0})",
    "INDEX({0} | tostring)?",
    "pick({0})?",
    "try error({0}) catch .",
    "[tostream]",
    "({0})[{1}]",
    "({0})[{1}]?",
    "({0})[{1}:{2}]?",
    "({0}).a",
    "({0})[]?",
    "[({0})[]?]",
    "@json \"\\({0})\"",
    "[{0} | @text, @json, @html, @uri, @base64]?",
    "[{0} | @csv?, @tsv?, @sh?]",
    "[{0} | test(\"a\")?, [match(\"[a-c]+\"; \"g\")?]]",
    "[{0} | gsub(\"(?<l>[a-z])\"; \"<\\(.l)>\")?]",
    "[{0} | [scan(\"[a-z]\")?], [splits(\", *\")?]]",
    "limit({0}; {1})?",
    "flatten({0})?",
    "nth({0}; {1})?",
    "until({0}; empty)",
    "{0} | . as $x | [$x, {1}]",
    "while(. != null and {0}; empty)",
    "ascii_downcase? // {0}",
    "{0} |= empty",
    "tojson | fromjson | {0}",
    "[splits({0})]?",
    "{0} | tostring | length",
]
NOISE = [*".[](){}|,;:?/\\\"'$@#=+-*%<>!&~ \n\t0aé\ud800\x00", "as ", "def ", " end", "?//", "..", "\\(", "reduce ", "e9999"]


def program(dice: Random, depth: int) -> str:
    if depth <= 0 or dice.random() < 0.15:
        return dice.choice(LEAVES)
    shape = dice.choice(WRAPS)
    return shape.format(*(program(dice, depth - 1 - (dice.random() < 0.3)) for _ in range(3)))


def closed(dice: Random, depth: int) -> str:
    """A program in which $x and $y mean something everywhere."""
    return f". as $x | 1 as $y | {program(dice, depth)}"


def mutated(dice: Random, text: str) -> str:
    """The text with a few characters lost, doubled, swapped or put in."""
    letters = list(text)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(letters) + 1)
        what = dice.random()
        if what < 0.4 and letters:
            del letters[min(at, len(letters) - 1)]
        elif what < 0.8:
            letters.insert(at, dice.choice(NOISE))
        else:
            dice.shuffle(letters)
    return "".join(letters)
