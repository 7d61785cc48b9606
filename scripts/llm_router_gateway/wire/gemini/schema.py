"""JSON schema <-> the part of it that Gemini's `Schema` knows. Pure; a whitelist, since unknown keywords are answered with 400.

    to_gemini({"type": ["string", "null"], "format": "uri"}, "tools[0]", lost)
        -> {"type": "string", "nullable": True}                         lost == ["tools[0].format=uri"]
    from_gemini({"type": "STRING", "nullable": True, "max_length": "9"})
        -> {"type": ["string", "null"], "maxLength": 9}

Source: ai.google.dev/api/caching#Schema. References are inlined (Gemini has none); what is lost is named once per keyword.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fields import compact
from ..losses import name_lost, with_value
from ..schemas import resolve_pointer

Schema = Mapping[str, Any]

MAX_DEPTH = 48  # no real tool is nested deeper; the rest becomes {"type": "object"}
MAX_NODES = 20_000  # references that multiply: a schema of 1 kB can stand for 2**100 nodes
COPIED = frozenset({"title", "description", "default", "example", "pattern", "minimum", "maximum", "minLength", "maxLength",
                    "minItems", "maxItems", "minProperties", "maxProperties", "propertyOrdering", "nullable"})  # fmt: skip
HANDLED = frozenset({"type", "enum", "const", "properties", "required", "items", "anyOf", "oneOf", "allOf", "format",
                     "$ref", "$defs", "definitions", "exclusiveMinimum", "exclusiveMaximum", "prefixItems"})  # fmt: skip
# What may stand beside a union: the union itself, what was followed already, and what says nothing of the value.
BESIDE_UNIONS = frozenset({"anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "title", "nullable"})
FORMATS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"date-time", "enum"}),
    "number": frozenset({"float", "double"}),
    "integer": frozenset({"int32", "int64"}),
}
TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object"})
WHOLE = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})  # int64: text in JSON
UNREAD = frozenset({"nullable", "propertyOrdering"})  # the one is said otherwise, the other by the order itself
SNAKE = {"any_of": "anyOf", "min_items": "minItems", "max_items": "maxItems", "min_length": "minLength",
         "max_length": "maxLength", "min_properties": "minProperties", "max_properties": "maxProperties",
         "property_ordering": "propertyOrdering"}  # fmt: skip


def as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def guess_type(schema: Schema) -> str:
    """The type of a schema that does not state it; "" where it cannot be derived."""
    values = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if values:
        by_type = {bool: "boolean", int: "integer", float: "number"}
        return by_type.get(type(values[0]), "string")
    return ""


class Conversion:
    """One schema on its way to Gemini: its root (for references), its place, and what it may still cost."""

    __slots__ = ("_left", "_lost", "_root", "_where")

    def __init__(self, root: Schema, where: str, lost: list[str]) -> None:
        self._root, self._where, self._lost, self._left = root, where, lost, MAX_NODES

    def note(self, what: str) -> None:
        name_lost(self._lost, f"{self._where}.{what}")

    def node(self, schema: Any, refs: tuple[str, ...] = (), depth: int = 0) -> dict[str, Any]:
        """One (sub)schema. `refs` are the references that enclose it: one of them again is a cycle."""
        self._left -= 1
        if not isinstance(schema, dict):  # true: anything; false: nothing
            self.note("type")
            return {"type": "string"}
        schema, refs = self._inline(schema, refs)
        if depth > MAX_DEPTH or self._left < 0 or "$ref" in schema:
            self.note("$ref" if "$ref" in schema else "depth")
            return {"type": "object", **{name: schema[name] for name in ("description",) if name in schema}}
        for part in as_list(schema.get("allOf")):
            schema = self._both(schema, self._inline(part, refs)[0] if isinstance(part, dict) else {})
        union = as_list(schema.get("anyOf")) or as_list(schema.get("oneOf"))
        if "oneOf" in schema:
            self.note("oneOf=anyOf")
        kinds = [kind for kind in as_list(schema.get("type")) if kind != "null"]
        nullable = len(kinds) < len(as_list(schema.get("type"))) or schema.get("nullable") is True
        if union and "properties" not in schema:
            return self._union(schema, union, nullable, refs, depth)
        if len(kinds) > 1:
            return self._union({}, [{**schema, "type": kind} for kind in kinds], nullable, refs, depth)
        if union:
            self.note("anyOf")
        made = self._plain(schema, kinds[0] if kinds else None, refs, depth)
        return {**made, "nullable": True} if nullable else made

    def _inline(self, schema: Schema, refs: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The schema with what its $ref points at; the $ref is left where it cannot be followed."""
        found = dict(schema)
        while isinstance(ref := found.get("$ref"), str) and ref not in refs:
            target = resolve_pointer(self._root, ref)
            if not isinstance(target, dict):
                break
            found = {**target, **{name: value for name, value in found.items() if name != "$ref"}}
            if "$ref" in target:
                found["$ref"] = target["$ref"]
            refs = (*refs, ref)
        return found, refs

    def _both(self, one: Schema, other: Schema) -> dict[str, Any]:
        """allOf, as far as it can be said in one schema: properties and required together, else the first that says it."""
        self.note("allOf")
        made = {**other, **{name: value for name, value in one.items() if name != "allOf"}}
        for name in ("properties", "$defs"):
            if isinstance(one.get(name), dict) and isinstance(other.get(name), dict):
                made[name] = {**other[name], **one[name]}
        if one.get("required") and other.get("required"):
            made["required"] = list(dict.fromkeys([*as_list(one["required"]), *as_list(other["required"])]))
        return made

    def _union(self, schema: Schema, union: list[Any], nullable: bool, refs: tuple[str, ...], depth: int) -> dict[str, Any]:
        """Gemini allows nothing beside anyOf: its neighbours go into its branches; a null branch becomes `nullable`."""
        branches = [branch for branch in union if not (isinstance(branch, dict) and branch.get("type") == "null")]
        nullable = nullable or len(branches) < len(union)
        shared = {name: schema[name] for name in ("type", "description") if schema.get(name) is not None}
        for name in sorted(schema.keys() - shared.keys() - BESIDE_UNIONS):
            self.note(name)
        branches = [{**shared, **each} if isinstance(each, dict) and "$ref" not in each else each for each in branches]
        made = [self.node(branch, refs, depth + 1) for branch in branches]
        if nullable:
            made = [{**branch, "nullable": True} for branch in made]
        return made[0] if len(made) == 1 else {"anyOf": made} if made else {"type": "string", "nullable": True}

    def _plain(self, schema: Schema, kind: Any, refs: tuple[str, ...], depth: int) -> dict[str, Any]:
        kind = kind.lower() if isinstance(kind, str) else guess_type(schema)
        if kind not in TYPES:
            self.note("type")
            kind = "string"
        made: dict[str, Any] = {"type": kind}
        made.update((name, value) for name, value in schema.items() if name in COPIED and value is not None)
        for name in sorted(schema.keys() - HANDLED - COPIED):
            self.note(name)
        self._format(schema, kind, made)
        self._enum(schema, kind, made)
        self._bounds(schema, kind, made)
        if kind == "object":
            self._object(schema, made, refs, depth)
        elif kind == "array":
            self._array(schema, made, refs, depth)
        return made

    def _format(self, schema: Schema, kind: str, made: dict[str, Any]) -> None:
        found = schema.get("format")
        if isinstance(found, str) and found in FORMATS.get(kind, ()):
            made["format"] = found
        elif found is not None:
            self.note(with_value("format", found))

    def _enum(self, schema: Schema, kind: str, made: dict[str, Any]) -> None:
        """Gemini's choices are strings; others go into the description."""
        values = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
        texts = [value for value in values if isinstance(value, str) and value]
        if None in values:
            made["nullable"] = True
        if len(texts) < len([value for value in values if value is not None]):
            self.note("const" if "const" in schema else "enum")
            stated = "One of: " + ", ".join(value if isinstance(value, str) else compact(value)
                                          for value in values if value is not None)  # fmt: skip
            made["description"] = f"{made['description']} {stated}" if made.get("description") else stated
        elif texts and kind == "string":
            made["enum"] = texts

    def _bounds(self, schema: Schema, kind: str, made: dict[str, Any]) -> None:
        """Exclusive bounds are plain ones for whole numbers, one further in."""
        for name, plain, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            bound = schema.get(name)
            if isinstance(bound, int | float) and not isinstance(bound, bool):
                if kind == "integer" and isinstance(bound, int):
                    bound += step
                else:
                    self.note(name)
                given = made.get(plain)
                if isinstance(given, int | float) and not isinstance(given, bool):  # both are stated: the narrower one holds
                    bound = max(bound, given) if step > 0 else min(bound, given)
                made[plain] = bound
            elif bound is not None:
                self.note(name)

    def _object(self, schema: Schema, made: dict[str, Any], refs: tuple[str, ...], depth: int) -> None:
        properties = schema.get("properties")
        if isinstance(properties, dict) and properties:  # PHP writes [] for none
            made["properties"] = {name: self.node(value, refs, depth + 1) for name, value in properties.items()}
        known = made.get("properties", {})
        wanted = [name for name in as_list(schema.get("required")) if isinstance(name, str)]
        required = [name for name in wanted if name in known]
        if required:
            made["required"] = required
        if len(required) < len(wanted):  # Gemini refuses one that is not among the properties
            self.note("required")

    def _array(self, schema: Schema, made: dict[str, Any], refs: tuple[str, ...], depth: int) -> None:
        items = schema.get("items")
        first = schema.get("prefixItems") or (items if isinstance(items, list) else None)
        if first:
            self.note("prefixItems")
            items = {"anyOf": as_list(first)} if len(as_list(first)) > 1 else as_list(first)[0]
        elif not isinstance(items, dict) or not items:
            self.note("items=string")  # Gemini refuses an array when it is not said of what
            items = {"type": "string"}
        made["items"] = self.node(items, refs, depth + 1)


def to_gemini(schema: Schema, where: str, lost: list[str]) -> dict[str, Any]:
    """A JSON schema as Gemini's Schema; `where` begins the names of what is lost."""
    return Conversion(schema, where, lost).node(schema)


def plain_keyword(name: str, value: Any) -> Any:
    """plain_keyword("type", "STRING") -> "string"; plain_keyword("maxLength", "9") -> 9"""
    if name == "type" and isinstance(value, str):
        return value.lower()
    return int(value) if name in WHOLE and isinstance(value, str) and value.isdigit() else value


def with_null(made: dict[str, Any]) -> dict[str, Any]:
    """{"type": "string"} -> {"type": ["string", "null"]}; choices and branches get null too."""
    if isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    if isinstance(made.get("enum"), list):
        made["enum"] = [*made["enum"], None]
    if isinstance(made.get("anyOf"), list):
        made["anyOf"] = [*made["anyOf"], {"type": "null"}]
    return made


def from_gemini(schema: Any, depth: int = 0) -> dict[str, Any]:
    """Gemini's Schema (OpenAPI words, either spelling of its fields) as JSON schema."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    made: dict[str, Any] = {}
    for name, value in schema.items():
        field: str = SNAKE.get(name) or name
        if field == "properties":
            properties = value if isinstance(value, dict) else {}
            made[field] = {own: from_gemini(each, depth + 1) for own, each in properties.items()}
        elif field == "items":
            made[field] = from_gemini(value, depth + 1)
        elif field == "anyOf":
            made[field] = [from_gemini(each, depth + 1) for each in as_list(value)]
        elif field == "example":
            made["examples"] = [value]
        elif value is not None and (field, value) != ("format", "enum") and field not in UNREAD:
            made[field] = plain_keyword(field, value)
    return with_null(made) if schema.get("nullable") is True else made
