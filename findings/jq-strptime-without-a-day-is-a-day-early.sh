#!/usr/bin/env bash
# A year or a month read by `strptime` without a day becomes the last day of the period before it.
#
# Expected: "2020" read with "%Y" is the first of January 2020, "2020-03" with "%Y-%m" the first of March.
# Happens:  the day of the month that the format does not name stays 0, and mktime counts that as the day before the first.
# Package:  jq 1.13.0 from PyPI, which holds libjq 1.8; seen on 2026-11-28 with CPython 3.11 on Linux x86_64.
# Source:   manual, "Dates"; struct tm counts days of the month from 1, and jq leaves the field as it was initialised.
# For us:   a selector whose strptime names no year, month and day is refused, and never answers with another date.
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
    ('strptime("%Y") | mktime | todate', '"2020"', '"2019-12-31T00:00:00Z"'),
    ('strptime("%Y-%m") | mktime | todate', '"2020-03"', '"2020-02-29T00:00:00Z"'),
    ('strptime("%Y-%m-%d") | mktime | todate', '"2020-03-01"', '"2020-03-01T00:00:00Z"'),
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
