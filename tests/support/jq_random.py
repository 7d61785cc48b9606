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
MORE_TEXT = r"""
    "" 1.10 1e2 -0 0.0 1e17 123456789012345678901234567890 nan infinite (-infinite) "1.10" "é" "aé,b" [1.10,1.1] [nan]
    {"a":1.10} abs? toboolean? ltrimstr("a")? rtrimstr("c")? trimstr("a")? trim? ltrim? rtrim? tonumber? isnan isnormal
    isinfinite isfinite gmtime? todate? fromdate? mktime? fromjson? @csv? @tsv? @sh? @uri @urid? @html @base64 @base64d?
    @json @text min_by(.a)? group_by(.a)? add(.[]?) getpath(["a"])? getpath([0])? paths(type=="number") first(.[]?)
    last(.[]?) nth(1)? nth(0;.[]?) isempty(.[]?) splits("a")? round? ceil? sqrt? log? exp? trunc? not to_entries?
    with_entries(.)? from_entries? tostream fromstream(tostream) combinations? walk(.) error(null)? $__loc__ limit(1;.[]?)
    skip(1;.[]?) have_literal_numbers type implode? splits(", ")? indices(1)? rindex("a")? has("a")? has(0)? in([1,2])?
    inside("abc")? infinite ([.[]?]|length) pow(.;2)? log2? unique_by(length)? del(.[0])? del(.a)? to_entries?[0]
    bsearch(1)? transpose? flatten(1)? range(3) range(0;2) range(3;0;-1) .[1.5:2]? .[-1:]? .[:-1]? .[1]?=5 .a?|=1
    (.[0]?)|=empty .[]?+=1 .. (..|numbers) (..|scalars) any all min? max? reverse? sort? unique? keys_unsorted?
    utf8bytelength?
"""
MORE_LEAVES = MORE_TEXT.split()  # of the wide comparison: numbers that keep their spelling, dates, formats, slices, updates
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
    '@json "\\({0})"',
    "[{0} | @text, @json, @html, @uri, @base64]?",
    "[{0} | @csv?, @tsv?, @sh?]",
    '[{0} | test("a")?, [match("[a-c]+"; "g")?]]',
    '[{0} | gsub("(?<l>[a-z])"; "<\\(.l)>")?]',
    '[{0} | [scan("[a-z]")?], [splits(", *")?]]',
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
MORE_WRAPS = [
    '[splits({0};"g")?]',
    '[match({0};"g")?]',
    "[match({0};{1})?]",
    'test({0};"ix")?',
    "sub({0};{1})?",
    'gsub({0};{1};"i")?',
    '[scan({0};"i")?]',
    "capture({0})?",
    "del({0},{1})",
    "del(.[{0}]?)",
    "delpaths([path({0}),path({1})])",
    "try delpaths([[{0}]]) catch .",
    "try setpath([{0}];{1}) catch .",
    "try getpath([{0},{1}]) catch .",
    "[paths({0})]",
    "pick({0})",
    "try pick({0}) catch .",
    "limit({0};{1})",
    "[skip({0};{1})]",
    "first({0},{1})",
    "nth({0};{1},{2})",
    "[until({0};{1})]|length",
    "isempty({0},{1})",
    "label $f|({0})|if {1} then break $f else {2} end",
    "reduce ({0}) as [$x,$y] ({1};{2})",
    "[foreach ({0}) as {{a:$x}} ({1};{2};[$x,.])]",
    "({0}) as [$x] ?// {{a:$x}} ?// $x|{1}",
    "(({0}) as [$x] ?// $x|{1})|{2}",
    "reduce ({0}) as [$x] ?// $x ({1};{2})",
    "[foreach ({0}) as [$x] ?// $x ({1};{2})]",
    "({0}) as {{$a,b:[$x]}}|[$a,$x,({1})]",
    "({0}) as {{({1}):$x}}|$x",
    '({0}) as {{"a":$x}} ?// [[$x]] ?// $x|{1}',
    "try ({0}) catch ({1})",
    "try error({0}) catch .",
    "({0})?//({1})",
    ".[{0}]?",
    ".[{0}:{1}]?",
    "try .[{0}:{1}] catch .",
    "try (.[{0}:{1}]={2}) catch .",
    "try (.[{0}]={1}) catch .",
    "try (({0})|=({1})) catch .",
    "to_entries?|map({0})",
    "try with_entries({0}) catch .",
    "try from_entries catch .",
    "try ({0}|from_entries) catch .",
    "try ({0}|ltrimstr({1})) catch .",
    "try ({0}|trimstr({1})) catch .",
    "try ({0}|{1}|abs) catch .",
    "try ({0}|@csv,@tsv,@sh) catch .",
    "try ({0}|implode) catch .",
    "try ({0}|split({1})) catch .",
    "try ({0}|join({1})) catch .",
    "try ({0}|flatten({1})) catch .",
    "try ({0}|has({1})) catch .",
    "try ({0}|contains({1})) catch .",
    "try ({0}|inside({1})) catch .",
    "try ({0}|indices({1})) catch .",
    "try ({0}|index({1}),rindex({1})) catch .",
    "try ({0}|bsearch({1})) catch .",
    "try ({0}|tonumber) catch .",
    "try ({0}|todate) catch .",
    "try ({0}|gmtime|mktime) catch .",
    "try ({0}|strftime({1})) catch .",
    "try ({0}|fromjson) catch .",
    "try ({0}|sort_by({1},{2})) catch .",
    "try ({0}|group_by({1})) catch .",
    "try ({0}|unique_by({1})) catch .",
    "try ({0}|min_by({1}),max_by({1})) catch .",
    "try ({0}|transpose) catch .",
    "try ({0}|combinations) catch .",
    "try ({0}|startswith({1})) catch .",
    "try ({0}|test({1})) catch .",
    "try ({0}|ascii_downcase) catch .",
    "try ({0}|explode) catch .",
    '"\\({0},{1})"',
    '@csv "\\([{0}])"?',
    '@uri "\\({0})x\\({1})"',
    '{{"\\({0})"}}',
    "{{({0}|tostring)}}?",
    '{{"a":{0},"b":({1},{2})}}',
    "{{$x,y:{0}}}",
    "[.[]?|{0}?]",
    "any({0};{1})",
    "all({0};{1})",
    "[range({0};{1};{2})]?",
    "[limit(5;range({0};{1};{2}))]?",
    "add({0})",
    "try add({0}) catch .",
    "INDEX({0};{1}|tostring)?",
    "[IN({0};{1})]",
    'getpath(["a",{0}])?',
    "[{0},{1}]|unique",
    "[{0},{1}]|sort",
    "[{0},{1}]|tojson",
    "({0})|tojson|fromjson",
    "[{0}]|map(tostring)",
    "({0}) < ({1})",
    "({0}) == ({1})",
    'walk(if type=="number" then {0} else . end)',
    "[limit(3;tostream)]",
    "[{0}|truncate_stream(1;tostream)]?",
    "try ({0} % {1}) catch .",
    "try ({0} / {1}) catch .",
    "try ({0} * {1}) catch .",
    "try ({0} - {1}) catch .",
    "def f($a;$b): [$a,$b]; f({0};{1})",
    "def f(g;$b): $b|g; f({0};{1})",
    "def f: if length>3 then . else .+[{0}] end; [{1}]|f",
    ".a as $y|{0}",
    ". as [$x,[$y]]|{0}",
]
RETRY_LEAVES = [
    ".", ".[]", ".[]?", ".a?", "$x", "$a", "error", 'error("e")', "1", "empty", ".[0]?", "tonumber", "keys", "[.]", "{a:.}",
    "(1,2)", "length", "(.,error)", "tostring", "null",
]  # fmt: skip
RETRY_WRAPS = [  # `?//`, and all that may consume its outputs
    "({0}) as [$a] ?// $a | {1}", "(({0}) as [$a] ?// $a | {1})", "(({0}) as {{a:$a}} ?// [$a] ?// $a | {1})",
    "({0})|({1})", "({0}),({1})", "[{0}]", "({0})+({1})", "try ({0}) catch ({1})", "({0})?", "({0}) as $x|{1}",
    "({0}) as [$x]|{1}", "reduce ({0}) as [$a] ?// $a ({1};{2})", "[foreach ({0}) as [$a] ?// $a ({1};{2})]",
    "[foreach ({0}) as $x ({1};{2};{0})]", "label $f|({0})|{1},break $f", "def f: {0};{1}|f", "def f(g): g|{0};f({1})",
    "if {0} then {1} else {2} end", "first({0})", "[limit(2;{0})]", "({0})//({1})", "({0})[0]", "({0}).a", "({0}) == ({1})",
    "map({0})?", "[.[]?|{0}]", "select({0})", "{{a:({0})}}", '"\\({0})"', "any({0};{1})", "isempty({0})", "path({0})",
    "[{0}]|length", "({0}) and ({1})", "error({0})", "-({0})", "recurse({0};false)", "reduce ({0}) as $x ({1};{2})",
]  # fmt: skip
MORE_INPUTS = [
    "[0,-0,0.0,1.50,1e3]",
    '{"a":1.50,"b":{"a":"1.10"}}',
    '"2015-03-05T23:51:47Z"',
    "1425599621.678",
    '["a","b"]',
    "[[1,2],[1]]",
    '"a1,b2, c3"',
    '[{"a":1},{"a":1},{"a":2}]',
    "[65,66,233]",
    '"{\\"a\\":1.10}"',
    '{"a":[{"b":2},{"b":1}]}',
    "[1e308,-1e308,1e400,5e-324,123456789012345678901234567890]",
]
NOISE = [*".[](){}|,;:?/\\\"'$@#=+-*%<>!&~ \n\t0aé\ud800\x00", "as ", "def ", " end", "?//", "..", "\\(", "reduce ", "e9999"]


def program(rng: Random, depth: int, leaves: list[str], wraps: list[str]) -> str:
    if depth <= 0 or rng.random() < 0.15:
        return rng.choice(leaves)
    shape = rng.choice(wraps)
    return shape.format(*(program(rng, depth - 1 - (rng.random() < 0.3), leaves, wraps) for _ in range(3)))


def closed(rng: Random, depth: int) -> str:
    """A program in which $x and $y mean something everywhere."""
    return f". as $x | 1 as $y | {program(rng, depth, LEAVES, WRAPS)}"


def wide(rng: Random, depth: int) -> str:
    """The same out of nearly every function of the language."""
    return f". as $x | 1 as $y | {program(rng, depth, LEAVES + MORE_LEAVES, WRAPS + MORE_WRAPS)}"


def retrying(rng: Random, depth: int) -> str:
    """A program that holds ?//, more often than not with errors behind it."""
    while True:
        made = f". as $x | null as $a | {program(rng, depth, RETRY_LEAVES, RETRY_WRAPS)}"
        if "?//" in made:
            return made


def mutated(rng: Random, text: str) -> str:
    """The text with a few characters lost, doubled, swapped or put in."""
    letters = list(text)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(letters) + 1)
        what = rng.random()
        if what < 0.4 and letters:
            del letters[min(at, len(letters) - 1)]
        elif what < 0.8:
            letters.insert(at, rng.choice(NOISE))
        else:
            rng.shuffle(letters)
    return "".join(letters)
