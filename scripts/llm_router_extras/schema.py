"""JSON schemas: what in an answer does not fit, and the one correction that a model gets.

Checked are the keywords in SCHEMA_RULES, `const` and `additionalProperties`; others go to the model, and that is all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    BadUpstreamError,
    IncompleteError,
    UsageError,
    as_dict,
    dump_json,
    one_line,
    parse_json,
)

from .collaborator import Collaborator
from .patterns import PATTERN_TIMEOUT_S, as_python, is_quick, match_slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_router_client import JSON, Attempt, LLMRouterError, Turns

    Matches = Callable[[str, str], bool]  # pattern, text

SCHEMA_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
BOUNDS = {  # type -> the keywords about it
    "number": ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
}
SCHEMA_RULES: JSON = {  # the schema of a schema
    "type": ["object", "boolean"],
    "properties": {
        "type": {"anyOf": [{"$ref": "#/$defs/kind"}, {"type": "array", "items": {"$ref": "#/$defs/kind"}}]},
        "enum": {"type": "array"},
        "required": {"type": "array", "items": {"type": "string"}},
        "pattern": {"type": "string"},
        "$ref": {"type": "string"},
        "items": {"$ref": "#"},
        "prefixItems": {"$ref": "#/$defs/some"},
        "additionalProperties": {"$ref": "#"},
        "properties": {"$ref": "#/$defs/named"},
        "$defs": {"$ref": "#/$defs/named"},
        "definitions": {"$ref": "#/$defs/named"},
        "anyOf": {"$ref": "#/$defs/some"},
        "oneOf": {"$ref": "#/$defs/some"},
        "allOf": {"$ref": "#/$defs/some"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "exclusiveMinimum": {"type": "number"},
        "exclusiveMaximum": {"type": "number"},
        "minLength": {"type": "integer"},
        "maxLength": {"type": "integer"},
        "minItems": {"type": "integer"},
        "maxItems": {"type": "integer"},
    },
    "$defs": {
        "kind": {"enum": list(SCHEMA_TYPES)},
        "named": {"type": "object", "additionalProperties": {"$ref": "#"}},
        "some": {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
    },
}


def follow_reference(root: Any, reference: str) -> Any:
    """What a $ref within the same schema points at; None where nothing is.

    follow_reference({"$defs": {"a": 1}}, "#/$defs/a") -> 1
    """
    start, *names = reference.split("/")
    for name in names:
        root = as_dict(root).get(name.replace("~1", "/").replace("~0", "~"))
    return root if start == "#" else None  # neither another document nor an $anchor


def is_type(value: Any, kind: str) -> bool:
    """is_type(1.0, "integer") -> True; is_type(True, "integer") -> False: as JSON sees it, not Python."""
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    return isinstance(value, SCHEMA_TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def is_same(value: Any, other: Any) -> bool:
    """is_same([1], [1.0]) -> True; is_same([1], [True]) -> False: as JSON sees it, not Python."""
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(is_same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(is_same(value[name], other[name]) for name in value)
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def matches_now(pattern: str, text: str) -> bool:
    return re.search(as_python(pattern), text) is not None


def own_faults(value: Any, schema: JSON, place: str, matches: Matches = matches_now) -> Iterator[str]:
    """Why a value does not fit a schema, what lies inside of both left out."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_type(value, kind) for kind in kinds):
        yield f"{place} must be {' or '.join(kinds)}"
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if not any(is_same(value, each) for each in choices):
        yield f"{place} must be one of {dump_json(choices).rstrip()}"
    for kind, words in BOUNDS.items():
        for word in (word for word in words if word in schema) if is_type(value, kind) else ():
            size, bound = value if kind == "number" else len(value), schema[word]  # compared, as a difference can overflow
            beyond = size > bound if "max" in word.lower() else size < bound
            if beyond or (size == bound and word[:3] == "exc"):
                yield f"{place} must have {word} {schema[word]}"
    if isinstance(value, str) and "pattern" in schema and not matches(schema["pattern"], value):
        yield f"{place} must match the pattern {schema['pattern']}"
    for name in schema.get("required", ()) if isinstance(value, dict) else ():
        if name not in value:
            yield f"{place}.{name} is missing"


def parts_of(value: Any, schema: JSON, place: str) -> list[tuple[Any, Any, str]]:
    """The members of an object or items of a list, each with the schema for it and its place.

    A name that `patternProperties` may describe is not held against `additionalProperties`.
    """
    if isinstance(value, list):
        first, rest = schema.get("prefixItems", []), schema.get("items", True)
        schemas = [*first, *[rest] * len(value)]
        return [(each, inner, f"{place}[{number}]") for number, (each, inner) in enumerate(zip(value, schemas))]
    known = schema.get("properties", {})
    others = True if "patternProperties" in schema else schema.get("additionalProperties", True)
    return [(each, known.get(name, others), f"{place}.{name}") for name, each in as_dict(value).items()]


def schema_faults(value: Any, schema: Any, root: Any, place: str = "$", matches: Matches = matches_now) -> Iterator[str]:
    """Why a JSON value does not fit a schema, which is a part of `root`, place by place.

    schema_faults({"age": "x"}, {"properties": {"age": {"type": "integer"}}}, schema) -> "$.age must be integer"
    """
    if schema is False:
        yield f"{place} is not allowed"
    if isinstance(schema, bool):
        return
    yield from own_faults(value, schema, place, matches)
    for inner in (*schema.get("allOf", ()), *([follow_reference(root, schema["$ref"])] if "$ref" in schema else ())):
        yield from schema_faults(value, inner, root, place, matches)
    for word in ("anyOf", "oneOf"):
        faults = [next(schema_faults(value, inner, root, place, matches), "") for inner in schema.get(word, ())]
        if faults and all(faults):
            yield "; or ".join(faults)
    for part, inner, where in parts_of(value, schema, place):
        yield from schema_faults(part, inner, root, where, matches)


def first_fault(value: Any, schema: Any, place: str = "$") -> str:
    """The first reason why a JSON value does not fit a schema, "" if there is none.

    Slow patterns are taken to match at first: where even so nothing fits, that is the answer; else they are matched in time.
    """
    slow: dict[tuple[str, str], bool] = {}

    def matches(pattern: str, text: str) -> bool:
        quick = is_quick(pattern, text)
        return matches_now(pattern, text) if quick else slow.setdefault((pattern, text), True)

    fault = next(schema_faults(value, schema, schema, place, matches), "")
    if fault or not slow:
        return fault
    found = match_slow(list(slow))
    if found is None:
        return f"{place} could not be checked against the pattern {next(iter(slow))[0]} in {PATTERN_TIMEOUT_S:g} s"
    slow.update(found)
    return next(schema_faults(value, schema, schema, place, matches), "")


def check_schema(schema: Any) -> None:
    """UsageError where a JSON schema says what cannot be meant: {"type": "strng"}, a broken pattern, a $ref to nowhere."""
    string, fault = r'("(?:[^"\\]|\\.)*")', ""
    try:
        text = dump_json(schema)
        for each in map(parse_json, re.findall(rf'"\$ref": {string}', text)):
            fault = f"$ref {each} leads nowhere" if follow_reference(schema, each) is None else fault
        for raw in re.findall(rf'"pattern": {string}', text):
            re.compile(parse_json(raw))
        fault = first_fault(schema, SCHEMA_RULES, "the schema") or fault
    except re.error as error:
        fault = f"pattern {raw}: {error}"
    except RecursionError:
        fault = "nested too deeply"
    if fault:
        raise UsageError(f"not a JSON schema: {one_line(fault, 160)}")


def read_answer(text: str, schema: Any, finish: str = "stop") -> Any:
    """The JSON value that an answer is, if it fits the schema; a Markdown fence around it is taken off.

    BadUpstreamError with param "response_format" says why it does not; where it was cut, IncompleteError.
    """
    text = text.strip()
    if text[:3] == "```" and text[-3:] == "```":
        text = text[:-3].partition("\n")[2]
    try:
        value = parse_json(text)
        fault = first_fault(value, schema)
    except RecursionError:
        fault = "it is nested too deeply"
    except ValueError as error:
        fault = f"it is not JSON: {error}"
    if fault and finish == "length":
        raise IncompleteError("the answer was cut at the token limit, before its JSON ended", code="length")
    if fault:
        message, step = one_line(f"the answer does not fit the schema: {fault}"), "Loosen the schema, or ask another model."
        raise BadUpstreamError(message, param="response_format", next_step=step)
    return value


def correction_turns(answer: str, error: LLMRouterError) -> Turns:
    """The turns that show a model what is wrong with the JSON that it gave."""
    wish = f"Not usable: {error.message}. Answer again: the corrected JSON and nothing else."
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": wish}]


class SchemaCheck(Collaborator):
    """An answer that does not fit its schema goes back to the model once; the second is an error. Sets Answer.data."""

    def __init__(self, schema: Any) -> None:
        check_schema(schema)
        self.schema = schema
        self._misfits: dict[str, LLMRouterError] = {}  # model -> why its answer went back

    def before(self, attempt: Attempt) -> None:
        misfit = self._misfits.get(attempt.model)
        if misfit and misfit.response is not None:
            turns = correction_turns(misfit.response.text, misfit)
            attempt.body = {**attempt.body, "messages": [*attempt.body["messages"], *turns]}

    def after(self, attempt: Attempt) -> None:
        answer, error, misfit = attempt.answer, attempt.error, self._misfits.get(attempt.model)
        if error is None:
            if answer is not None and not answer.tool_calls:
                answer.data = read_answer(answer.text, self.schema, answer.finish_reason)
        elif misfit and error.code == "over_budget":
            attempt.call.warnings.append(f"{attempt.model}: not sent again, as {error.message}")
            attempt.error = misfit
        elif error.param == "response_format" and error.response and not (misfit or attempt.kept or attempt.call.handed_over):
            attempt.call.warnings.append(f"{error}; sent again")
            attempt.again = True
            self._misfits[attempt.model] = error
