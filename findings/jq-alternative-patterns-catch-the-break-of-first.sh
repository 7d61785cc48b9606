#!/usr/bin/env bash
# `first` gives two outputs when its program holds the alternative operator `?//`.
#
# Expected: first(f) gives one output at most, and isempty(f) one boolean.
# Happens:  `first` stops its program by a `break`, which is an error inside libjq; `?//` takes any error as a reason to try the next
#           pattern, so the program goes on after it was stopped.
# Package:  jq 1.13.0 from PyPI, which holds libjq 1.8; seen on 2026-11-28 with CPython 3.11 on Linux x86_64.
# Source:   found by comparing random programs with libjq; manual, "Destructuring Alternative Operator: ?//".
# For us:   a selector in which `?//` stands under `first` or `isempty` is refused when the configuration is read.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check jq==1.13.0

"$folder/env/bin/python" - <<'PROGRAM'
import importlib.metadata
import sys

import jq

CASES = [  # program, input as JSON text, output seen
    ("[first([[3]][] as [$a] ?// $a | $a)]", "null", "[3, [3]]"),
    ("[isempty([[3]][] as [$a] ?// $a | $a)]", "null", "[false, false]"),
    ("[first([[3]][] as [$a] | $a)]", "null", "[3]"),
]
print("jq", importlib.metadata.version("jq"))
changed = 0
for program, text, seen in CASES:
    try:
        output = jq.compile(program).input_text(text).text()
    except ValueError as error:
        output = f"error: {error}"
    print(f"{text} | {program}  ->  {output}")
    if output != seen:
        print(f"    changed: it was {seen}")
        changed = 1
sys.exit(changed)
PROGRAM
