#!/usr/bin/env bash
# The input inside the initial value of `reduce` is gone once `reduce` starts again.
#
# Expected: a `reduce` whose initial value has several outputs runs once for each, each time over the same input, as `foreach` does.
# Happens:  from the second run on, `.` in the source and in the initial value's collected form is null; `foreach` keeps it.
# Package:  jq 1.13.0 from PyPI, which holds libjq 1.8; seen on 2026-11-28 with CPython 3.11 on Linux x86_64.
# Source:   found by comparing random programs with libjq; the manual says of `reduce` nothing about several initial values.
# For us:   the gateway's selectors answer as libjq does, null included, so that a selector means the same in both.
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
    ("[reduce . as $x (0, 1; [., $x])]", "7", "[[0, 7], [1, null]]"),
    ("[foreach . as $x (0, 1; [., $x])]", "7", "[[0, 7], [1, 7]]"),
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
