"""losses: what could not be carried over, as it is named to the caller."""

import time

import pytest

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.losses import (
    MAX_HEADER_CHARS,
    MAX_LOST,
    header_of,
    lose_extras,
    name_lost,
    rank_losses,
    with_value,
)
from llm_router_gateway.wire.shapes import both, shape, unread, within

PICTURE = shape("type", image_url=shape("url", "detail"))

LINEAR_S = 15  # of the processor: half a second if the time grows with the number of fields, an hour with its square


def test_each_name_is_kept_once_in_its_order() -> None:
    lost: list[str] = []
    for name in ("top_k", "stop", "top_k"):
        name_lost(lost, name)
    assert lost == ["top_k", "stop"]


def test_half_a_million_unknown_fields_cost_next_to_no_time() -> None:
    lost: list[str] = []
    began = time.process_time()
    lose_extras({"openai": {f"unknown_{number}": 1 for number in range(420_000)}}, "anthropic", lost)
    assert time.process_time() - began < LINEAR_S and len(lost) == MAX_LOST


def test_the_same_number_deep_in_an_object_and_in_many_objects_does_not_either() -> None:
    began = time.process_time()
    one = unread({"image_url": {f"unknown_{number}": 1 for number in range(210_000)}}, PICTURE)
    many = unread({"image_url": [{f"unknown_{number}": 1} for number in range(210_000)]}, PICTURE)
    assert time.process_time() - began < LINEAR_S
    assert len(one[ir.UNREAD]) == len(many[ir.UNREAD]) == MAX_LOST
    assert both(one, {ir.UNREAD: {"image_url.x": True}}) is one  # enough is known


@pytest.mark.parametrize(("fields", "names"), [
    ({"type": "image_url", "image_url": {"url": "u"}}, []),
    ({"type": "image_url", "x": 1, "image_url": {"url": "u", "y": 0, "z": False}}, ["x", "image_url.y", "image_url.z"]),
    ({"x": None, "y": {}, "z": "", "image_url": [{"a": []}, 5, {"url": {"b": 1}, "c": "c"}]}, ["image_url.c"]),
    ({"image_url": "https://h.example/a.png"}, []),
])  # fmt: skip
def test_unknown_fields_have_their_paths_as_names(fields: dict[str, object], names: list[str]) -> None:
    assert list(unread(fields, PICTURE).get(ir.UNREAD, ())) == names


def test_an_object_that_others_look_through_is_looked_below() -> None:
    outer = within(format=shape("type"))
    assert unread({"any": 1, "format": {"type": "t", "x": 1}}, outer, "text.") == {ir.UNREAD: {"text.format.x": True}}
    assert unread({"any": 1}, outer) is ir.NOTHING


@pytest.mark.parametrize(("lost", "told"), [
    (["top_k", "tools[0]=web_search", "image.url"], ["tools[0]=web_search", "image.url", "top_k"]),
    (["tools[0].parameters.$schema", "tools[1].parameters.$schema", "seed"], ["seed", "$schema"]),
    (["tools[0].parameters.additionalProperties", "tools[4].parameters.oneOf=anyOf", "tools[7].parameters.oneOf=anyOf"],
     ["tools[*].parameters.oneOf=anyOf", "additionalProperties"]),
    (["tools[3].parameters.pattern"], ["tools[3].parameters.pattern"]),
    (["schema.$schema", "reasoning.effort=max", "groundingMetadata"], ["groundingMetadata", "reasoning.effort=max", "$schema"]),
])  # fmt: skip
def test_what_matters_most_comes_first_and_noise_last_and_grouped(lost: list[str], told: list[str]) -> None:
    assert rank_losses(lost) == told


def test_the_header_ends_with_whole_names_and_how_many_more_there_are() -> None:
    text = header_of(f"field_{number:04d}" for number in range(1_000))
    assert len(text) <= MAX_HEADER_CHARS
    names = text.split(", ")
    assert names[0] == "field_0000" and names[-1] == f"and {1_000 - len(names) + 1} more"
    assert len(header_of(["x" * 5_000])) < 200
    assert header_of(["top_k", "stop"]) == "top_k, stop" and header_of([]) == ""


@pytest.mark.parametrize(("value", "name"), [
    ("flex", "tier=flex"), (5, "tier=5"), ("two words", "tier"), ("a\r\nb", "tier"), ("x" * 61, "tier"), ([], "tier"),
    ("", "tier"),
])  # fmt: skip
def test_a_name_holds_a_word_and_no_content(value: object, name: str) -> None:
    assert with_value("tier", value) == name
