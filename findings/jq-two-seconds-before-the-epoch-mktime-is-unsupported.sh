#!/usr/bin/env bash
# Two moments just before 1970 cannot be turned into seconds, each with an error of its own that names another reason.
#
# Expected: fromdate of 1969-12-31T23:59:58Z is -2 and of 23:59:59 is -1, as for every other date before 1970.
# Happens:  -2 and -1 are what the C functions inside return for "no such function" and "not a valid time": the errors say that the
#           platform has no mktime, and that the representation is invalid; -3 and older dates work.
# Package:  jq 1.13.0 from PyPI, which holds libjq 1.8; seen on 2026-11-28 with CPython 3.11 on Linux x86_64.
# Source:   found by comparing dates with libjq; manual, "Dates".
# For us:   the gateway's date functions raise the same two errors.
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
    ("fromdate", '"1969-12-31T23:59:57Z"', "-3"),
    ("fromdate", '"1969-12-31T23:59:58Z"', "error: mktime not supported on this platform"),
    ("fromdate", '"1969-12-31T23:59:59Z"', "error: invalid gmtime representation"),
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
