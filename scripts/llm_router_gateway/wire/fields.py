"""Reads single values of a caller's JSON; a BadRequest names the path of what is wrong.

text("hi", "messages[0].content")  -> "hi"
refuse("messages[0].role", "must be text") -> BadRequest("messages[0].role must be text")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import BadRequest
from ..json_body import dump

compact = dump  # JSON without spaces


def refuse(path: str, wanted: str) -> NoReturn:
    """refuse("messages[0].role", "must be text") -> BadRequest("messages[0].role must be text")"""
    raise BadRequest(f"{path} {wanted}", details={"path": path})


def text(value: Any, path: str) -> str:
    return value if isinstance(value, str) else refuse(path, "must be text")


def number(value: Any, path: str) -> float | None:
    """A number, None where it is null or absent; true is not a number."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return refuse(path, "must be a number")


def integer(value: Any, path: str) -> int | None:
    """A whole number, 8.0 too; None where it is null or absent."""
    found = number(value, path)
    if found is None or isinstance(found, int) or found.is_integer():
        return None if found is None else int(found)
    return refuse(path, "must be a whole number")


def truth(value: Any, path: str) -> bool | None:
    return value if value is None or isinstance(value, bool) else refuse(path, "must be true or false")


def obj(value: Any, path: str) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else refuse(path, "must be an object")


def items(value: Any, path: str) -> list[Any]:
    """A list; [] where it is null or absent."""
    if value is None:
        return []
    return value if isinstance(value, list) else refuse(path, "must be a list")
