"""schemas: JSON schemas of tools, where vendors agree in what they refuse."""

from typing import Any

import pytest

from llm_router_gateway.wire.schemas import fits_strict, object_at_root, resolve_pointer, with_hashes

TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.mark.parametrize(("schema", "properties", "required", "named"), [
    ({"anyOf": [{"properties": {"a": TEXT}, "required": ["a", "b"]}, {"properties": {"b": TEXT}, "required": ["b"]}]},
     {"a": TEXT, "b": TEXT}, ["b"], ["tools.anyOf"]),
    ({"oneOf": [{"properties": {"a": TEXT}}, {"properties": {"a": NUMBER}}, {"properties": {"a": TEXT}}]},
     {"a": {"anyOf": [TEXT, NUMBER]}}, None, ["tools.oneOf"]),
    ({"properties": {"c": TEXT}, "required": ["c"],
      "allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}, "required": ["b"]}]},
     {"c": TEXT, "a": TEXT, "b": TEXT}, ["c", "a", "b"], ["tools.allOf"]),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}}},
     {"a": TEXT}, ["a"], []),
    ({"anyOf": [{"$ref": "$defs/A"}, {"type": "null"}], "$defs": {"A": {"properties": {"a": TEXT}, "required": ["a"]}}},
     {"a": TEXT}, None, ["tools.anyOf"]),
    ({"anyOf": [{"anyOf": [{"properties": {"a": TEXT}}, {"properties": {"b": TEXT}}]}]}, {"a": TEXT, "b": TEXT}, None,
     ["tools.anyOf"]),
])  # fmt: skip
def test_branches_at_the_root_become_one_object(schema: Any, properties: Any, required: Any, named: Any) -> None:
    lost: list[str] = []
    made = object_at_root(schema, lost)
    assert made["type"] == "object" and made["properties"] == properties and made.get("required") == required
    assert not {"anyOf", "oneOf", "allOf", "$ref"} & made.keys() and lost == named


def test_a_plain_object_is_left_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [TEXT, NUMBER]}}}
    assert object_at_root(schema, []) is schema


def test_what_the_branches_said_is_reported_unless_it_is_long() -> None:
    made = object_at_root({"description": "d", "anyOf": [{"required": ["a"]}]}, [])
    assert made["description"] == 'd\n\n{anyOf: [{"required":["a"]}]}'
    long = {"anyOf": [{"required": ["a" * 3_000]}]}
    assert "description" not in object_at_root(long, [])


def test_references_in_circles_end() -> None:
    circle: dict[str, Any] = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]},
                                                             "B": {"$ref": "#/$defs/B"}}}  # fmt: skip
    assert object_at_root(circle, [])["type"] == "object"


@pytest.mark.parametrize("ref", ["#/$defs/a~1b", "$defs/a~1b", "/$defs/a~1b", "a/b"])
def test_a_pointer_is_followed_with_and_without_its_hash(ref: str) -> None:
    assert resolve_pointer({"$defs": {"a/b": TEXT}}, ref) == (TEXT if "~" in ref else None)


def test_references_get_their_hash_and_others_stay() -> None:
    schema = {"properties": {"a": {"$ref": "A"}, "b": {"$ref": "https://h/x"}, "c": {"$ref": "definitions/A"}},
              "definitions": {"A": TEXT}}  # fmt: skip
    refs = [each["$ref"] for each in with_hashes(schema)["properties"].values()]
    assert refs == ["#/definitions/A", "https://h/x", "#/definitions/A"]


@pytest.mark.parametrize("wrong", [5, "a", True, {"a": 1}, [1, ["a"]]])
def test_what_is_no_list_of_names_requires_nothing(wrong: Any) -> None:
    lost: list[str] = []
    made = object_at_root({"type": "object", "required": wrong, "anyOf": [{"required": wrong}, wrong], "oneOf": wrong}, lost)
    assert "required" not in made and made["type"] == "object"


CLOSED = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(("schema", "fits"), [
    (CLOSED, True), ({**CLOSED, "required": []}, False), ({**CLOSED, "additionalProperties": True}, False),
    ({"type": "object", "additionalProperties": False}, True), ({"type": "object"}, False),
    ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}}, True),
    ({**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"x": TEXT}}}}}, False),
    ({**CLOSED, "properties": {"a": {"anyOf": [TEXT, CLOSED]}}}, True), ({**CLOSED, "anyOf": [CLOSED]}, False),
    ({**CLOSED, "properties": {"a": {"oneOf": [TEXT]}}}, False),
    ({**CLOSED, "properties": {"a": {**TEXT, "default": ""}}}, False),
    ({**CLOSED, "$defs": {"A": {"type": "object"}}}, False), (None, False), (True, True),
    ({**CLOSED, "required": 5}, False), ({**CLOSED, "required": [["a"]]}, False), ({**CLOSED, "properties": "a"}, False),
    ({**CLOSED, "properties": {}, "required": {"a": 1}}, True),  # no name is required, and there is none
])  # fmt: skip
def test_strict_wants_closed_objects_that_require_all_they_have(schema: Any, fits: bool) -> None:
    assert fits_strict(schema) is fits
