"""The name that the gateway was started by, for usage and examples."""

from __future__ import annotations

import io
import os
import sys

from .. import PROGRAM

AS_A_FOLDER = "python3 scripts/llm_router_gateway"  # how examples are written
INSTALLED = (PROGRAM, "llm-router", "llm_router.py")  # the last: `python3 -m llm_router`


def program_name() -> str:
    """The command as it was typed: "llm-router-gateway" (also as .exe), else "python3 scripts/llm_router_gateway"."""
    given = (sys.argv[0] if sys.argv else "").rstrip("/")
    name = os.path.basename(given)
    if name.removesuffix(".exe") in INSTALLED:
        return PROGRAM
    return f"python3 {given}" if name == "llm_router_gateway" else AS_A_FOLDER


def write_utf8() -> None:
    """What goes to a file or pipe is UTF-8 with plain line ends on every system; a terminal keeps its own, and nothing fails.

    Windows would write its code page there, which lacks most of what a model's name may hold.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):  # there is none, or somebody else's
            continue
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def as_typed(text: str) -> str:
    """Examples under the name that was typed."""
    return text.replace(AS_A_FOLDER, program_name())
