"""Anthropic Messages: JSON schemas as its constrained decoder takes them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..fields import compact
from ..losses import name_lost
from .common import Lost

# What the constrained decoder accepts; the rest goes into the description, as in the vendor's own SDK.
SCHEMA_KEYS = frozenset({
    "type", "properties", "required", "items", "anyOf", "allOf", "$ref", "$defs", "definitions",
    "description", "title", "enum", "const", "default",
})  # fmt: skip
SCHEMA_FORMATS = frozenset({
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
})  # fmt: skip
SCHEMA_MAPS = ("properties", "$defs", "definitions")
SCHEMA_SILENT = frozenset({"$schema", "$id", "$comment", "examples"})  # constrain nothing
MAX_SCHEMA_DEPTH = 64  # no real answer is deeper, and it would exceed the interpreter's stack


def keeps(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in SCHEMA_FORMATS
    if name == "additionalProperties":  # the decoder knows closed objects alone, and no maps
        return value is False
    return name in SCHEMA_KEYS or (name == "minItems" and value in (0, 1))


def fit_value(name: str, value: Any, fit: Callable[[Any], Any]) -> Any:
    """What a keyword holds, with `fit` done to the schemas in it."""
    if name in SCHEMA_MAPS and isinstance(value, dict):
        return {key: fit(each) for key, each in value.items()}
    if name in ("anyOf", "allOf") and isinstance(value, list):
        return [fit(each) for each in value]
    return fit(value) if name == "items" else value


def fit_schema(schema: Any, lost: Lost, depth: int = 0) -> Any:
    """A schema that the API takes: closed objects, known keywords; the others in the description and in `lost`.

    {"type": "number", "minimum": 0} -> {"type": "number", "description": "{minimum: 0}"}
    """
    if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH:
        return schema
    fields = {("anyOf" if name == "oneOf" else name): value for name, value in schema.items() if name not in SCHEMA_SILENT}

    def fit(inner: Any) -> Any:
        return fit_schema(inner, lost, depth + 1)

    out = {name: fit_value(name, value, fit) for name, value in fields.items() if keeps(name, value)}
    dropped = {name: value for name, value in fields.items() if not keeps(name, value)}
    if dropped:
        for name in dropped:
            name_lost(lost, f"schema.{name}")
        stated = "{" + ", ".join(f"{name}: {compact(value)}" for name, value in dropped.items()) + "}"
        out["description"] = f"{out['description']}\n\n{stated}" if out.get("description") else stated
    if out.get("type") == "object" or "properties" in out:
        out["additionalProperties"] = False
    return out
