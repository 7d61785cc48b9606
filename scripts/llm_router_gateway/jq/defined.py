"""Functions of the jq language that are written in it, and those that are refused.

DEFINED["todate/0"]    compiled where it is first used
REFUSED["now/0"]       why it is not here
"""

from __future__ import annotations

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
            "env/0",
            "input/0",
            "inputs/0",
            "input_filename/0",
            "input_line_number/0",
            "debug/0",
            "debug/1",
            "stderr/0",
            "halt/0",
            "halt_error/0",
            "halt_error/1",
            "now/0",
            "localtime/0",
            "strflocaltime/1",
            "modulemeta/0",
            "get_search_list/0",
            "get_jq_origin/0",
            "get_prog_origin/0",
            "builtins/0",
        ],
        WORLD,
    ),
    "have_decnum/0": "numbers are kept as written but compared as doubles: neither answer would be right",
    **dict.fromkeys(
        [
            "acosh/0",
            "asinh/0",
            "atanh/0",
            "copysign/2",
            "drem/2",
            "erf/0",
            "erfc/0",
            "exp10/0",
            "expm1/0",
            "fdim/2",
            "fma/3",
            "fmax/2",
            "fmin/2",
            "frexp/0",
            "gamma/0",
            "hypot/2",
            "j0/0",
            "j1/0",
            "jn/2",
            "ldexp/2",
            "lgamma/0",
            "lgamma_r/0",
            "log1p/0",
            "logb/0",
            "modf/0",
            "nextafter/2",
            "nexttoward/2",
            "pow10/0",
            "remainder/2",
            "scalb/2",
            "scalbln/2",
            "significand/0",
            "tgamma/0",
            "y0/0",
            "y1/0",
            "yn/2",
        ],
        "a mathematical function of C that Python does not compute to the last digit",
    ),
}
