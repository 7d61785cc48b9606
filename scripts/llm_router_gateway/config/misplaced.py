"""A key where the name of its variable or file belongs, and the name of a variable where a key belongs. Pure.

    read_variable("OPENAI_API_KEY")      -> the same; of a key ValueError, which does not repeat it
    names_variable("${OPENAI_API_KEY}")  -> True: other tools look such a name up, and here it would be sent as the key

A name is shown in errors and in the log, so a key must not come to stand in its place.
"""

from __future__ import annotations

import re

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# Whole values in which other routers, shells and container tools write "the value of this variable".
REFERENCE = re.compile(r"os\.environ/.+|\$\{[^}]*\}|\$[A-Z_][A-Z0-9_]*|\$?\{\{[^}]*\}\}|\{env:[^}]*\}|env[:/]\w+")
# How the keys of well-known vendors begin, and this gateway's own.
BEGINS = re.compile(r"(?:sk|xai|nvapi|pplx|csk|pk)-|(?:sk|gsk|hf|llmr|ghp|fw)_|AIza|eyJ")
MIN_BEGUN = 20  # characters of a key that begins so
FILE_NAME = re.compile(r".*\.[a-z]{1,5}", re.DOTALL)  # "sk-production.txt": no vendor's keys end so
RANDOM = re.compile(r"(?=[a-zA-Z]*\d[a-zA-Z]*\d[a-zA-Z]*\d)(?=[A-Z\d]*[a-z])(?=[a-z\d]*[A-Z])[a-zA-Z\d]{24,}|[0-9a-f]{32,}")


def names_variable(text: str) -> bool:
    """Whether other tools would take it for the name of a variable."""
    return REFERENCE.fullmatch(text) is not None


def looks_like_key(text: str) -> bool:
    """Whether it begins as a vendor's keys do, or is long and without sense."""
    if len(text) >= MIN_BEGUN and BEGINS.match(text):
        return True
    return any(map(RANDOM.fullmatch, re.split("[._-]", text)))


def read_variable(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    if looks_like_key(value):
        raise ValueError("is apparently a key: give the name of the variable that holds it")
    if not VARIABLE.fullmatch(value):
        raise ValueError("is not the name of a variable: write it alone, as in OPENAI_API_KEY")
    return value


def check_path(path: str) -> str:
    """A path, as it is."""
    if looks_like_key(path) and not FILE_NAME.fullmatch(path):
        raise ValueError("is apparently a key: give the path of the file that holds it")
    return path
