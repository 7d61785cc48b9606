"""json_body: a JSON body keeps its bytes, except in the fields that change."""

import itertools
import json
import random
import time
from typing import Any

import pytest

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.json_body import apply_edits, read_body


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"model":"p/m"}', '{"model":"m"}'),
        (
            '{ "x" : 1.0e0 ,\n\t"model" : "p/m" , "y":"\\u00e9é\\ud83d" }\n',
            '{ "x" : 1.0e0 ,\n\t"model" : "m" , "y":"\\u00e9é\\ud83d" }\n',
        ),
        (
            '{"tools":[{"model":"p/m"}],"model":"p/m","s":"\\"model\\":\\"p/m\\""}',
            '{"tools":[{"model":"p/m"}],"model":"m","s":"\\"model\\":\\"p/m\\""}',
        ),
        ('{"model":"a","model":"b"}', '{"model":"m","model":"m"}'),
        ('{"model":"a","mod\\u0065l":"b"}', '{"model":"m","mod\\u0065l":"m"}'),
        ('{"x":1}', '{"model":"m","x":1}'),
        ("{}", '{"model":"m"}'),
    ],
)  # fmt: skip
def test_only_the_model_changes(before: str, after: str) -> None:
    assert read_body(before.encode()).edit({"model": "m"}) == after.encode()


def test_defaults_are_added_where_nothing_is_said_inside_tables_too() -> None:
    body = read_body(b'{"generationConfig": {"topK": 1}, "temperature": null}')
    changed = body.edit({}, {"generationConfig": {"topK": 5, "topP": 0.5}, "temperature": 1, "n": 2})
    assert changed == b'{"n":2,"generationConfig": {"topP":0.5,"topK": 1}, "temperature": null}'
    assert read_body(b'{"a":{}}').edit({}, {"a": {"b": 1}}) == b'{"a":{"b":1}}'


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"1", b"null", b'"x"', b"{", b"{}x", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{a:1}', b'{"a":1 "b":2}',
        b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":"\xff"}', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'{"a":"\n"}',
        b'{"a":' + b"[" * 100_000, b'{"a":' + b"1" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read_body(data)
    assert len(caught.value.message) < 200


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        names = ["model", "x", "", 'q"', "é", "\\"]
        return {rng.choice(names): random_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [None, True, rng.randrange(-9, 9), rng.random(), "mod\u2028el", 'a"\\b{}[]:,'][kind]


def test_it_reads_what_json_reads_and_changes_what_a_dict_would_change() -> None:
    rng = random.Random(7)
    for _ in range(2_000):
        value = {f"k{index}": random_value(rng) for index in range(rng.randrange(4))}
        value.update(rng.choice([{}, {"model": "p/m"}]))
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
        body = read_body(text.encode())
        assert body.fields == value
        assert body.edit({}) == text.encode()
        assert json.loads(body.edit({"model": "m"})) == {**value, "model": "m"}


def test_an_object_that_is_replaced_is_replaced_whole() -> None:
    """It was written over and into at once, where the new one had names that the old one had not."""
    body = read_body(b'{"a": {"b": 1}, "c": 2}')
    assert json.loads(body.edit({"a": {"b": 1, "x": 3}})) == {"a": {"b": 1, "x": 3}, "c": 2}
    assert json.loads(body.edit({"a": {"x": 3}, "d": {}}, {"a": {"y": 1}, "c": 3, "e": 4})) == {
        "a": {"x": 3}, "c": 2, "d": {}, "e": 4,
    }  # fmt: skip


PIECES = (
    '"model":"a"', '"mod\\u0065l":"b"', '"x":"model"', '"x":{"model":"n"}', '"x":["model"]', '"model":1', '"model":"a\\"b"',
    '"m":"\\"model\\":\\"q\\""', '"model" \n:\t"a b"', '"y":"\\u00e9"', '"model":null', '"model":{"model":"a"}',
)  # fmt: skip


def test_the_short_way_to_the_model_and_the_long_one_agree() -> None:
    """Every body of up to three odd members, changed by one look, is what a walk over its members gives."""
    for pieces in itertools.product(("", *PIECES), repeat=3):
        text = "{" + ", ".join(filter(None, pieces)) + "}"
        body = read_body(text.encode())
        edits = [(each.start, each.end, '"m"') for each in body.members if each.name == "model"]
        if not edits:
            edits = [(1, 1, '"model":"m"' + ("," if body.members else ""))]
        assert body.edit({"model": "m"}) == apply_edits(text, edits).encode()
        assert body.fields == json.loads(text)


@pytest.mark.slow
def test_a_field_that_is_there_a_hundred_thousand_times_is_replaced_in_no_time() -> None:
    """Each replacement used to copy the whole body: half a megabyte held the gateway for seconds."""
    text = "{" + ",".join(['"model":"a"'] * 100_000) + "}"
    began = time.thread_time()
    changed = read_body(text.encode()).edit({"model": "b"})
    assert changed == text.replace('"a"', '"b"').encode()
    assert time.thread_time() - began < 5
