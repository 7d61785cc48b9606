"""The name that the gateway was started by, for usage and examples."""

from __future__ import annotations

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


def as_typed(text: str) -> str:
    """Examples under the name that was typed."""
    return text.replace(AS_A_FOLDER, program_name())
