#!/usr/bin/env bash
# An empty regular expression matches at a place more than once where a letter takes several bytes.
#
# Expected: gsub("";"x") puts one x between all letters, whatever the letters are: "ea" gives "xexax", so "\u00e9a" gives "x\u00e9xax".
# Happens:  the search goes on one byte behind an empty match, not one letter: a letter of two bytes is matched twice behind itself.
# Package:  jq 1.13.0 from PyPI, which holds libjq 1.8; seen on 2026-11-28 with CPython 3.11 on Linux x86_64.
# Source:   found by comparing random patterns with libjq; manual, "Regular expressions" (offsets are in codepoints).
# For us:   an empty match before a character beyond ASCII is refused in selectors, and never counted otherwise than in libjq.
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
    ('gsub(""; "x")', '"ea"', '"xexax"'),
    ('gsub(""; "x")', '"\u00e9a"', '"x\\u00e9xxax"'),
    ('[match(""; "g").offset]', '"a\u00e9b"', "[0, 1, 2, 2, 3]"),
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
