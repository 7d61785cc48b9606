"""The protocols by name, each loaded when it is first needed.

    wire("openai").read_request(body, model="m") -> ir.Request
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


@cache
def wire(protocol: str) -> Any:
    """The module of a protocol, loaded when it is first needed."""
    return import_module(f".{protocol}", __package__)
