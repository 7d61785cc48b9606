"""JSON schemas of tools, where vendors agree in what they refuse. Pure; a schema is never changed, a new one is made.

object_at_root({"type": "object", "properties": {"v": ..., "w": ...}, "anyOf": [{"required": ["v"]}, {"required": ["w"]}]})
    -> {"type": "object", "properties": {"v": ..., "w": ...}, "description": "{anyOf: [...]}"}
fits_strict({"type": "object", "properties": {"a": ...}, "required": [], "additionalProperties": False})  -> False
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import ir
from .fields import compact
from .losses import name_lost

Schema = Mapping[str, Any]

UNIONS = ("allOf", "anyOf", "oneOf")
DEFINITIONS = ("$defs", "definitions")
MAX_DEPTH = 32  # of unions inside unions, and of what is looked through for `strict`
MAX_TOLD_CHARS = 2_000  # of the branches in a description; longer ones would cost more tokens than they are worth


def with_description(wanted: ir.ResponseFormat) -> Schema:
    """An answer's schema for a vendor that has no other place for what the answer is for: in the schema's description.

    with_description(ResponseFormat("schema", {"type": "object"}, description="A plan"))
        -> {"type": "object", "description": "A plan"}
    """
    schema: Schema = wanted.schema or {}
    words = schema.get("description")
    if not wanted.description or not isinstance(words, str | None):
        return schema
    return {**schema, "description": f"{wanted.description}\n\n{words}" if words else wanted.description}


def resolve_pointer(root: Schema, ref: str) -> Any:
    """What a local JSON pointer names; None where it names nothing. RFC 6901.

    resolve_pointer({"$defs": {"A": 1}}, "#/$defs/A") -> 1; the same for "$defs/A", "/$defs/A" and "A" (some libraries' forms)
    """
    steps = ref.removeprefix("#").strip("/").split("/")
    if len(steps) == 1 and steps[0]:
        return next((root[box][steps[0]] for box in DEFINITIONS
                     if isinstance(root.get(box), dict) and steps[0] in root[box]), None)  # fmt: skip
    found: Any = root
    for step in filter(None, steps):
        name = step.replace("~1", "/").replace("~0", "~").replace("%24", "$")
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def with_hashes(schema: Schema) -> Schema:
    """The schema with its references as RFC 6901 has them: {"$ref": "$defs/A"} -> {"$ref": "#/$defs/A"}."""
    if not any(name in schema for name in DEFINITIONS):
        return schema
    found: Schema = _hash(schema, schema, 0)
    return found


def _hash(value: Any, root: Schema, depth: int) -> Any:
    if depth > 2 * MAX_DEPTH:
        return value
    if isinstance(value, list):
        return [_hash(each, root, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: _hash(each, root, depth + 1) for name, each in value.items()}
    ref = value.get("$ref")
    if isinstance(ref, str) and ref and not ref.startswith("#") and resolve_pointer(root, ref) is not None:
        path = ref.strip("/")
        box = next((box for box in DEFINITIONS if box in root), "$defs")
        made["$ref"] = f"#/{path}" if "/" in path else f"#/{box}/{path}"
    return made


# ----------------------------------------------------------------------------------------------------- one object at the root


def object_at_root(schema: Schema, lost: list[str]) -> Schema:
    """A tool's schema without anyOf, oneOf, allOf at its top, where most APIs refuse the whole request for them.

    The properties of all branches are put together; required is what every branch of an anyOf requires, or any of an allOf.
    What the branches said goes into the description.
    """
    schema = with_hashes(schema)
    if "$ref" not in schema and not any(name in schema for name in UNIONS):
        return schema
    found = _follow(schema, schema)
    stated = {name: found[name] for name in ("anyOf", "oneOf") if name in found}
    made = _flat(found, schema, 0)
    for name in UNIONS:
        if name in found:
            name_lost(lost, f"tools.{name}")
    words = "{" + ", ".join(f"{name}: {compact(value)}" for name, value in stated.items()) + "}"
    if stated and len(words) <= MAX_TOLD_CHARS:
        made["description"] = f"{made['description']}\n\n{words}" if made.get("description") else words
    return made


def _follow(schema: Schema, root: Schema) -> dict[str, Any]:
    """The schema with what its $ref names in its place, as often as one leads to another."""
    found, seen = dict(schema), set()
    while isinstance(ref := found.get("$ref"), str) and ref not in seen:
        seen.add(ref)
        target = resolve_pointer(root, ref)
        del found["$ref"]
        found = {**target, **found} if isinstance(target, dict) else found
    found.pop("$ref", None)
    return found


def _flat(schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    """The schema as one object."""
    made = {name: value for name, value in schema.items() if name not in UNIONS}
    made["type"] = "object"
    if depth > MAX_DEPTH:
        return made
    properties = dict(made["properties"]) if isinstance(made.get("properties"), dict) else {}
    required = names_in(made.get("required"))
    for union in UNIONS:
        given = schema.get(union)
        parts = [part for part in given if isinstance(part, dict)] if isinstance(given, list) else []
        each = [_flat(_follow(part, root), root, depth + 1) for part in parts]
        for branch in each:
            for name, value in branch.get("properties", {}).items():
                properties[name] = _either(properties[name], value) if name in properties and union != "allOf" else (
                    properties.get(name, value))  # fmt: skip
        needed = [set(branch.get("required", ())) for branch in each]
        shared = (set.union if union == "allOf" else set.intersection)(*needed) if needed else set()
        required += sorted(shared - set(required))
        if each:
            made.pop("additionalProperties", None)  # said of one branch or of the root, it would refuse the others'
    made["properties"] = properties
    made.pop("required", None)
    return made | ({"required": required} if required else {})


def names_in(required: Any) -> list[str]:
    """The names of `required`; callers send anything there: names_in(["a", 1]) -> ["a"]; names_in(5) -> []"""
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _either(one: Any, other: Any) -> Any:
    """A property that two branches describe: as either of them."""
    if one == other:
        return one
    before = one["anyOf"] if isinstance(one, dict) and one.keys() == {"anyOf"} else [one]
    return one if other in before else {"anyOf": [*before, other]}


# ------------------------------------------------------------------------------------------------------------------- strict

# developers.openai.com/api/docs/guides/structured-outputs#supported-schemas
NOT_STRICT = frozenset({"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas",
                        "patternProperties", "propertyNames", "unevaluatedProperties", "default"})  # fmt: skip
HOLDERS = ("properties", *DEFINITIONS)


def fits_strict(schema: Any, depth: int = 0) -> bool:
    """Whether OpenAI takes a schema as `strict`: closed objects that require all they have, and no keyword that it lacks."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    if depth > MAX_DEPTH or not NOT_STRICT.isdisjoint(schema) or (depth == 0 and "anyOf" in schema):
        return False
    if "properties" in schema or schema.get("type") == "object":
        properties = schema.get("properties") or {}
        if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if properties.keys() != set(names_in(schema.get("required"))):
            return False
    inner = [each for name in HOLDERS if isinstance(schema.get(name), dict) for each in schema[name].values()]
    inner += [schema["items"]] if "items" in schema else []
    inner += schema["anyOf"] if isinstance(schema.get("anyOf"), list) else []
    return all(fits_strict(each, depth + 1) for each in inner)
