"""Regular expressions of a schema, which may never end on a model's text: matched within a time limit.

Python's `re` backtracks, and nothing in the same process can stop it. So a pattern that is quick on its text whatever both are
is matched here, and all others in a process of their own, together, within PATTERN_TIMEOUT_S.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Tuple

    Pair = Tuple[str, str]  # pattern, text

PATTERN_TIMEOUT_S = 2.0  # for all slow pairs of one answer
QUICK_STEPS = 1_000_000  # about 10 ms
MATCHER = "import json, re, sys; print(json.dumps([bool(re.search(*pair)) for pair in json.load(sys.stdin)]))"


def is_quick(pattern: str, text: str) -> bool:
    """Whether the most steps that a match can take are few: a rough bound, never too low.

    is_quick("^[a-z]+$", "abc") -> True;  is_quick("^(a+)+$", "abc") -> False: a repetition of a group, which may hold another

    Each repetition may end anywhere in the text, as may the start of a match without ^; each | and ? is tried both ways.
    """
    bare = re.sub(r"\\[^\d]|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern)  # escapes and classes are one character each
    if re.search(r"\)[*+{]|\\\d|\(\?P=", bare):
        return False
    repetitions = len(re.findall(r"[*+]|\{\d*,\d*\}|\{\d{3,}\}", bare))
    both_ways = len(re.findall(r"\||(?<![(*+}])\?", bare))
    starts = 0 if bare.startswith("^") and "|" not in bare else 1
    return bool((len(text) + 1) ** (repetitions + starts) * 2**both_ways <= QUICK_STEPS)


def as_python(pattern: str) -> str:
    r"""A schema's pattern as Python reads it: `$` is the end of the text there, and not also the place before a last line feed.

    as_python(r"^[$]\$a$") -> r"^[$]\$a\Z"
    """
    return re.sub(r"(?s)\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", lambda found: r"\Z" if found[0] == "$" else found[0], pattern)


def match_slow(pairs: Sequence[Pair]) -> dict[Pair, bool] | None:
    """Which of the texts match; None where that is not known within PATTERN_TIMEOUT_S, or no process can be started."""
    import subprocess  # nosec B404  # of this Python alone; here, as 3 ms at each start with a configuration are too much

    sent = [(as_python(pattern), text) for pattern, text in pairs]
    words = [sys.executable, "-I", "-S", "-c", MATCHER]
    try:
        done = subprocess.run(  # nosec B603  # no shell, and no word of it is a caller's
            words, input=json.dumps(sent).encode("ascii"), capture_output=True, timeout=PATTERN_TIMEOUT_S, check=True
        )
        return dict(zip(pairs, json.loads(done.stdout)))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
