"""overrides: what the configuration changes in a request on its way out."""

import copy
import json
from typing import Any

import pytest

from llm_router_gateway import json_body
from llm_router_gateway.policy import overrides
from llm_router_gateway.policy.overrides import Overrides, apply, compose, edits, merge_patch

RFC_7396 = [  # appendix A, whole
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_merge_patch_does_what_its_rfc_says(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == result
    assert (target, patch) == before


def test_a_nested_table_is_merged_not_replaced() -> None:
    body = {"generationConfig": {"temperature": 1, "maxOutputTokens": 9}}
    spec = Overrides(patches=({"generationConfig": {"temperature": 0}},))
    assert apply(body, spec) == {"generationConfig": {"temperature": 0, "maxOutputTokens": 9}}


def test_two_patches_are_applied_one_after_the_other() -> None:
    provider, model = Overrides(patches=({"a": None},)), Overrides(patches=({"a": {"x": 7}},))
    assert apply({"a": {"y": 1}}, compose(provider, model)) == {"a": {"x": 7}}  # no single patch can say that


def test_dropped_then_default_then_rewritten() -> None:
    spec = Overrides(drop=("a", "b"), defaults={"a": 1, "c": 1, "d": 1}, patches=({"c": 2, "d": None},))
    assert apply({"a": 0, "b": 0, "e": 0}, spec) == {"e": 0, "a": 1, "c": 2}


def test_a_path_drops_inside_a_table_and_leaves_the_rest() -> None:
    body = {"generationConfig": {"topK": 1, "topP": 1}, "x.y": 1, "n": 1}
    assert apply(body, Overrides(drop=("generationConfig.topK",))) == {**body, "generationConfig": {"topP": 1}}
    assert apply(body, Overrides(drop=("x.y", "n.deep", "absent.deep"))) == {
        "generationConfig": {"topK": 1, "topP": 1}, "n": 1,
    }  # fmt: skip
    assert body["generationConfig"] == {"topK": 1, "topP": 1}


def test_defaults_fill_tables_inside_tables() -> None:
    spec = Overrides(defaults={"generationConfig": {"temperature": 0, "topK": 3}})
    assert apply({"generationConfig": {"topK": 1}}, spec) == {"generationConfig": {"topK": 1, "temperature": 0}}


def test_the_models_own_come_after_its_providers() -> None:
    provider = Overrides(("a",), {"x": 1, "y": 1}, ({"p": {"q": 1, "r": 1}},), {"h": "1", "i": "1"})
    model = Overrides(("b",), {"x": 2}, ({"p": {"q": None}},), {"h": None})
    both = compose(provider, model)
    assert both == Overrides(("a", "b"), {"x": 2, "y": 1}, ({"p": {"q": 1, "r": 1}}, {"p": {"q": None}}), {"h": None, "i": "1"})
    assert compose(overrides.NONE, model) is model
    assert compose(provider, overrides.NONE) is provider


def test_headers_are_replaced_not_added_and_null_removes() -> None:
    spec = Overrides(headers={"authorization": "Bearer x", "x-gone": None, "x-new": "1"})
    given = [("Authorization", "Bearer y"), ("x-gone", "1"), ("x-kept", "1"), ("authorization", "z")]
    assert overrides.headers(given, spec) == [("x-kept", "1"), ("authorization", "Bearer x"), ("x-new", "1")]
    assert overrides.headers(given, overrides.NONE) == given


def test_a_relayed_body_keeps_the_bytes_that_nothing_concerns() -> None:
    body = json_body.read_body(b'{ "n":1.0, "top_k" : 5,"messages": [ 1e2 ], "t":{"x":1} }')
    changes, drop = edits(body.fields, Overrides(drop=("top_k",), defaults={"s": 1}, patches=({"t": {"x": None}},)))
    assert (changes, drop) == ({"s": 1, "t": {}}, {"top_k"})
    data = body.edit(changes, {}, drop)
    assert json.loads(data) == {"n": 1.0, "messages": [100.0], "t": {}, "s": 1}
    assert b'"n":1.0' in data and b"[ 1e2 ]" in data


def test_a_field_that_is_there_twice_is_dropped_twice() -> None:
    body = json_body.read_body(b'{"a":1,"b":2,"a":3}')
    assert body.edit({}, {}, frozenset({"a"})) == b'{"b":2}'
    assert body.edit({"c": 1}, {}, frozenset({"a", "b"})) == b'{"c":1}'


def test_nothing_to_do_changes_nothing() -> None:
    assert edits({"a": {"b": 1}}, Overrides(defaults={"a": {"b": 2}}, drop=("c", "a.d"))) == ({}, frozenset())
    assert overrides.NONE.empty and not Overrides(drop=("a",)).empty
