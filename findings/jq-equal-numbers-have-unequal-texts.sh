#!/usr/bin/env bash
# Two numbers that are equal to jq and are sorted and grouped as one have different texts.
#
# Expected: 1000 and 1e3 in a document are one number: `==` says true, so `tostring` gives one text.
# Happens:  a literal keeps its spelling, in the canonical form of decimal arithmetic, until something is computed with it: "1E+3",
#           "1000"; the first spelling of equals is the one that `unique` keeps.
# Package:  jq 1.13.0 from PyPI, which holds libjq 1.8; seen on 2026-11-28 with CPython 3.11 on Linux x86_64.
# Source:   manual, "Identity" (number literals keep their precision); how a text of such a number looks is not said there.
# For us:   selectors that compare `tostring` of a number see what the caller wrote, as with libjq.
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
    (".[0] == .[1]", "[1e3,1000]", "true"),
    ("map(tostring)", "[1e3,1000,1.10,0.1e1,-0]", '["1E+3", "1000", "1.10", "1", "-0"]'),
    ("unique | map(tostring)", "[1.0,1]", '["1.0"]'),
    ("map(. + 0 | tostring)", "[1e3,1e17]", '["1000", "1e+17"]'),
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
