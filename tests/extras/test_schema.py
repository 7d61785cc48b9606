"""Structured output: what a schema allows, what is no schema, the repair round, --schema and .data."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any, Callable, Dict, List

import pytest
from raw_server import DONE, RawServer, StillTransport, completion, delta, http, stream

import llm_router_client as c
from llm_router_extras import patterns
from llm_router_extras.patterns import is_quick
from llm_router_extras.schema import check_schema, correction_turns, first_fault, follow_reference, read_answer, schema_faults

Serve = Callable[..., RawServer]
ASK = [{"role": "user", "content": "Who?"}]
PERSON = {
    "type": "object", "required": ["name"], "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
}  # fmt: skip
TREE = {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}},
        "$ref": "#/$defs/node"}  # fmt: skip


def wish(schema: Any) -> Dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}


def fault(value: Any, schema: Any) -> str:
    return next(schema_faults(value, schema, schema), "")


@pytest.mark.parametrize("value,schema", [
    (1, {}), (None, True), ({"a": 1}, {"type": "object"}), (1, {"type": "integer"}), (1.0, {"type": "integer"}),
    (1, {"type": "number"}), (1.5, {"type": ["null", "number"]}), (None, {"type": ["null", "number"]}),
    (True, {"type": "boolean"}),
    ([], {"type": "array"}), ("a", {"enum": ["a", 1]}), (1.0, {"enum": [1]}), (1, {"const": 1}),
    (5, {"minimum": 5, "maximum": 5}),
    ("abc", {"minLength": 3, "maxLength": 3}), ([1], {"minItems": 1, "maxItems": 1}), ("x", {"minimum": 5, "minItems": 2}),
    (True, {"minimum": 5}), ("a1", {"pattern": "[0-9]"}), (1, {"pattern": "[0-9]"}), ({"name": "A", "age": 0}, PERSON),
    ([1, 2], {"items": {"type": "integer"}}), ({"a": 1, "b": "x"}, {"additionalProperties": {"type": ["integer", "string"]}}),
    (1, {"anyOf": [{"type": "string"}, {"type": "integer"}]}), ("x", {"oneOf": [{"type": "string"}, {"type": "null"}]}),
    (1, {"allOf": [{"minimum": 1}, {"maximum": 1}]}), ({"n": 1, "next": {"next": {}}}, TREE),
    (1, {"format": "date", "not": {}}),
    ({"a": [1]}, {"required": ["a"], "items": False}),
    (["a", 1], {"prefixItems": [{"type": "string"}], "items": {"minimum": 1}}),
    (["a"], {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False}), ([1, "a"], {"items": True}),
    ({"x1": 1}, {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}),
    (10**400, {"minimum": 1.5}), ([{"a": 1.0}], {"enum": [[{"a": 1}]]}),
])  # fmt: skip
def test_what_fits(value: Any, schema: Any) -> None:
    assert fault(value, schema) == ""
    check_schema(schema)


@pytest.mark.parametrize("value,schema,said", [
    (1, False, "$ is not allowed"), ("1", {"type": "integer"}, "$ must be integer"),
    (1.5, {"type": "integer"}, "$ must be integer"),
    (True, {"type": "integer"}, "$ must be integer"), (1, {"type": "boolean"}, "$ must be boolean"),
    ({}, {"type": ["array", "null"]}, "$ must be array or null"), ("c", {"enum": ["a", "b"]}, '$ must be one of ["a", "b"]'),
    (True, {"enum": [1]}, "$ must be one of [1]"), (2, {"const": 1}, "$ must be one of [1]"), (4, {"minimum": 5}, "minimum 5"),
    (6, {"maximum": 5}, "maximum 5"), (5, {"exclusiveMinimum": 5}, "exclusiveMinimum 5"),
    (5, {"exclusiveMaximum": 5}, "exclusiveMaximum 5"),
    ("ab", {"minLength": 3}, "minLength 3"), ("abc", {"maxLength": 2}, "maxLength 2"),
    ([], {"minItems": 1}, "minItems 1"), ([1, 2], {"maxItems": 1}, "maxItems 1"),
    ("ab", {"pattern": "^[0-9]+$"}, "$ must match the pattern ^[0-9]+$"), ({}, PERSON, "$.name is missing"),
    ({"name": "A", "x": 1}, PERSON, "$.x is not allowed"), ({"name": "A", "age": -1}, PERSON, "$.age must have minimum 0"),
    ({"a": {"b": [1, "x"]}}, {"properties": {"a": {"properties": {"b": {"items": {"type": "integer"}}}}}}, "$.a.b[1] must be"),
    (1.5, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "$ must be string; or $ must be integer"),
    ([], {"oneOf": [{"type": "string"}]}, "$ must be string"), (2, {"allOf": [{"minimum": 1}, {"maximum": 1}]}, "maximum 1"),
    ({"next": {"next": {"n": "x"}}}, TREE, "$.next.next.n must be integer"),
    ([1], {"prefixItems": [{"type": "string"}]}, "$[0] must be string"),
    (["a", "b"], {"prefixItems": [{"type": "string"}], "items": False}, "$[1] is not allowed"),
    (10**400, {"maximum": 1.5}, "maximum 1.5"), (2**53 + 1, {"maximum": 2.0**53}, "maximum"),
    ([True], {"enum": [[1]]}, "$ must be one of"),
    ({"a": [False]}, {"const": {"a": [0]}}, "$ must be one of"), ({"a": 1, "b": 1}, {"const": {"a": 1}}, "$ must be one of"),
])  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place(value: Any, schema: Any, said: str) -> None:
    assert said in fault(value, schema)
    check_schema(schema)


@pytest.mark.parametrize("schema,said", [
    ([], "the schema must be object or boolean"), (None, "must be object or boolean"), ({"type": "strng"}, "the schema.type"),
    ({"type": 5}, "the schema.type"), ({"type": ["string", {}]}, "type[1] must be one of"),
    ({"type": [["x"]]}, "type[0] must be"),
    ({"properties": []}, "properties must be object"), ({"properties": {"a": 5}}, "properties.a must be object or boolean"),
    ({"required": "a"}, "required must be array"), ({"required": [1]}, "required[0] must be string"),
    ({"minimum": "5"}, "minimum must be number"), ({"minLength": 1.5}, "minLength must be integer"),
    ({"anyOf": []}, "minItems 1"),
    ({"items": [{}]}, "items must be object or boolean"), ({"pattern": "["}, 'pattern "["'),
    ({"pattern": 5}, "pattern must be string"),
    ({"$ref": "#/$defs/none"}, "$ref #/$defs/none leads nowhere"), ({"$ref": "https://example.com/s"}, "leads nowhere"),
    ({"properties": {"a": {"items": {"pattern": "("}}}}, 'pattern "("'),
    ({"$ref": "#/type/x", "type": "object"}, "leads nowhere"), ({"prefixItems": {}}, "prefixItems must be array"),
    ({"$ref": "#node", "$defs": {"a": {"$anchor": "node"}}}, "$ref #node leads nowhere"),
])  # fmt: skip
def test_what_is_no_schema_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(c.UsageError) as caught:
        check_schema(schema)
    assert said in caught.value.message


@pytest.mark.parametrize("pattern,text,quick", [
    (r"^\d{4}-\d{2}-\d{2}$", "2026-01-31", True), ("^[A-Z]{2,5}$", "USD" * 1000, True), ("a", "a" * 900_000, True),
    ("^[^@]+@[^@]+$", "a@b" * 300, True), (r"^\(x\)+$", "(x))", True), ("[)*+]", "x" * 999, True), ("^(a|b)?c", "abc", True),
    ("^(a+)+$", "a", False), ("^(a|aa)*$", "a", False), ("(?:x{2}){9}", "a", False), (r"^(a*)\1$", "a", False),
    ("a*a*b", "a" * 999, False), ("a+b", "a" * 9_999, False), ("a?" * 30 + "b", "a", False), ("(?P<x>a)(?P=x)", "a", False),
])  # fmt: skip
def test_a_pattern_is_quick_only_where_its_steps_are_few_at_the_most(pattern: str, text: str, quick: bool) -> None:
    assert is_quick(pattern, text) is quick
    re.compile(pattern)


@pytest.mark.parametrize("pattern,text,fits", [
    ("^a$", "a", True), ("^a$", "a\n", False), ("^(a|b$)", "b\n", False), (r"a\$$", "a$", True), (r"a\$$", "a$\n", False),
    ("^[$a]$", "$", True), ("[^$]$", "a\n", True), ("^(a+)+$", "aa", True), ("^(a+)+$", "aa\n", False),
])  # fmt: skip
def test_the_end_of_a_pattern_is_the_end_of_the_text(pattern: str, text: str, fits: bool) -> None:
    assert (first_fault(text, {"pattern": pattern}) == "") is fits


@pytest.mark.parametrize("value,said", [
    ("ab-cd", ""), ("ab-", "$ must match the pattern"), (["ab", "ab-"], "$[1] must match"), (["ab", "ab-cd"], ""),
    ([1], "[0] must be"),
])  # fmt: skip
def test_a_slow_pattern_is_matched_all_the_same(value: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "PATTERN_TIMEOUT_S", 60.0)  # of a busy machine: its processes begin late
    word: Any = {"type": "string", "pattern": "^([a-z]+-)*[a-z]+$"}
    schema = {"type": "array", "items": word} if isinstance(value, list) else word
    assert said in first_fault(value, schema) and bool(first_fault(value, schema)) == bool(said)
    assert bool(first_fault(value, {"anyOf": [schema, {"type": "null"}]})) == bool(said)


@pytest.mark.slow
def test_a_pattern_without_end_is_a_fault_in_time() -> None:
    began = time.monotonic()
    fault = first_fault({"name": "a" * 60}, {"properties": {"name": {"pattern": "^(a+)+!$"}}})
    assert "could not be checked against the pattern ^(a+)+!$ in 2 s" in fault and time.monotonic() - began < 20


def test_where_no_process_can_be_started_it_is_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert "could not be checked against" in first_fault("ab", {"pattern": "^(a+)+$"})
    assert first_fault("ab", {"pattern": "^a+b$"}) == ""


def test_a_schema_without_end_is_refused() -> None:
    schema: Any = {}
    for _ in range(2_000):
        schema = {"items": schema}
    with pytest.raises(c.UsageError, match="nested too deeply"):
        check_schema(schema)


def test_where_a_request_keeps_its_schema() -> None:
    assert c.schema_of({"response_format": wish(PERSON)}) == PERSON
    for body in ({}, {"response_format": {"type": "json_object"}}, {"response_format": {"json_schema": 5}}):
        assert c.schema_of(body) is None


def test_a_pointer_may_hold_slashes() -> None:
    assert follow_reference({"$defs": {"a/b~c": 1}}, "#/$defs/a~1b~0c") == 1
    assert follow_reference({"a": 1}, "#") == {"a": 1}


@pytest.mark.parametrize("text", ['{"name": "A"}', ' {"name": "A"}\n', '```json\n{"name": "A"}\n```', '```\n{"name": "A"}```'])
def test_an_answer_is_parsed_with_or_without_a_fence(text: str) -> None:
    assert read_answer(text, PERSON) == {"name": "A"}


@pytest.mark.parametrize("text,said", [
    ("Sure! Here it is: {}", "not JSON"), ("", "not JSON"), ('{"name": NaN}', "not JSON"),
    ('{"name": 5}', "$.name must be string"),
    ("[" * 100_000, "not JSON: nested too deeply"), ("```", "not JSON"),
])  # fmt: skip
def test_an_answer_that_does_not_fit_says_why(text: str, said: str) -> None:
    with pytest.raises(c.BadUpstreamError) as caught:
        read_answer(text, PERSON)
    assert said in caught.value.message and caught.value.exit_code == 9


def test_the_turns_of_a_repair_round_hold_answer_and_error() -> None:
    first, second = correction_turns("text", c.BadUpstreamError("$ must be object"))
    assert first == {"role": "assistant", "content": "text"}
    assert second["role"] == "user" and "$ must be object" in second["content"]


def test_a_schema_that_refers_to_itself_without_end_is_no_crash() -> None:
    with pytest.raises(c.BadUpstreamError, match="nested too deeply"):
        read_answer("1", {"$ref": "#"})


def test_an_answer_cut_at_the_token_limit_is_incomplete() -> None:
    assert read_answer('{"name": "A"}', PERSON, "length") == {"name": "A"}
    with pytest.raises(c.IncompleteError) as caught:
        read_answer('{"name": "A', PERSON, "length")
    assert caught.value.code == "length"


# ------------------------------------------------------------------------------------------------------------ library


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"transport": StillTransport(), **options})


def test_an_answer_that_fits_is_data(demo: Any) -> None:
    answer = client(demo).chat("demo", ASK, response_format=wish(PERSON))
    assert answer.data == {"name": "mock", "age": 1} == json.loads(answer.text) and answer.warnings == []
    assert client(demo).chat("demo", ASK).data is None


def test_one_repair_round_shows_the_model_its_error(demo: Any) -> None:
    answer = client(demo).chat("demo-schema-repair", ASK, response_format=wish(PERSON))
    assert answer.data == {"name": "mock", "age": 1}
    assert [(each["model"], each["cause"]) for each in answer.attempts] == [
        ("demo-schema-repair", "bad_upstream"), ("demo-schema-repair", "ok"),
    ]  # fmt: skip
    first, second = (request["body"]["messages"] for request in demo.requests)
    assert second[:1] == first and second[1]["role"] == "assistant" and "$ must be object" in second[2]["content"]
    assert len(answer.warnings) == 1 and "sent again" in answer.warnings[0]
    assert len({request["headers"]["Idempotency-Key"] for request in demo.requests}) == 2


def test_a_second_misfit_is_an_error_with_the_text(serve: Serve) -> None:
    server = serve(http(completion('{"name": 1}')), http(completion('{"name": 2}')))
    with pytest.raises(c.BadUpstreamError, match=r"\$\.name must be string") as caught:
        client(server).chat("m", ASK, response_format=wish(PERSON))
    assert caught.value.response and caught.value.response.text == '{"name": 2}' and not caught.value.response.complete
    assert len(server.requests) == 2 and "doctor" not in caught.value.next_step


def test_after_two_misfits_the_fallback_gets_the_first_question(serve: Serve) -> None:
    server = serve(http(completion("no")), http(completion("no")), http(completion('{"name": "B"}')))
    answer = client(server).chat("a", ASK, fallback="b", response_format=wish(PERSON))
    assert answer.data == {"name": "B"} and answer.model_used == "b" and server.bodies()[2]["messages"] == ASK


def test_a_refused_schema_becomes_an_instruction_and_is_checked_all_the_same(serve: Serve) -> None:
    refusal = http({"error": {"message": "response_format is not supported"}}, "400 Bad")
    server = serve(refusal, http(completion("no")), http(completion('{"name": "B"}')))
    answer = client(server).chat("a", ASK, response_format=wish(PERSON))
    assert answer.data == {"name": "B"} and len(server.requests) == 3 and len(answer.warnings) == 2


def test_a_cut_answer_is_not_repaired(serve: Serve) -> None:
    server = serve(http(completion('{"name": "A', "length")))
    with pytest.raises(c.IncompleteError):
        client(server).chat("m", ASK, response_format=wish(PERSON))
    assert len(server.requests) == 1


def test_tool_calls_are_not_held_against_the_schema(demo: Any) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    answer = client(demo).chat("demo-tools", ASK, tools=tools, response_format=wish(PERSON))
    assert answer.tool_calls and answer.data is None


@pytest.mark.parametrize("text,fits", [('{"name": "A"}', True), ('{"name": 1}', False)])
def test_a_stream_is_checked_at_its_end_and_never_repaired(serve: Serve, text: str, fits: bool) -> None:
    server = serve(stream(delta(text), delta("", "stop"), DONE))
    asked = client(server).chat_stream("m", ASK, response_format=wish(PERSON))
    if fits:
        assert "".join(asked) == text and asked.response and asked.response.data == {"name": "A"}
        return
    with pytest.raises(c.BadUpstreamError) as caught:
        list(asked)
    assert caught.value.response and caught.value.response.text == text and len(server.requests) == 1


def test_a_broken_schema_is_refused_before_anything_is_sent(demo: Any) -> None:
    for schema in ({"type": "strng"}, 5):
        with pytest.raises(c.UsageError):
            client(demo).chat("demo", ASK, response_format=wish(schema))
    assert demo.requests == []


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def at_demo(cli: Any, demo: Any) -> Any:
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    (cli.cwd / "s.json").write_text(json.dumps(PERSON), encoding="utf-8")
    return cli


def test_schema_prints_the_json_and_the_envelope_has_data(at_demo: Any, demo: Any) -> None:
    for model in ("demo", "demo-schema-repair"):
        words = ["chat", "-m", model, "--message", "Who?", "--schema", "s.json"]
        assert at_demo(*words).json == {"name": "mock", "age": 1}
        result = at_demo(*words, "--json").json
        assert result["data"] == {"name": "mock", "age": 1} and result["ok"]
    assert demo.requests[0]["body"]["response_format"] == {**wish(0), "json_schema": {"name": "answer", "schema": PERSON}}
    assert at_demo("chat", "-m", "demo", "--message", "Who?", "--json").json["data"] is None
    assert at_demo("chat", "-m", "demo", "--message", "Who?", "--schema", "s.json", "--json", "--stream").events[-1]["data"]


@pytest.mark.slow
def test_an_answer_that_never_fits_is_exit_9_with_the_reason(at_demo: Any, serve: Serve) -> None:
    server = serve(http(completion("I would rather not.")))
    words = ["chat", "-m", "m", "--message", "Who?", "--schema", "s.json"]
    ran = at_demo(*words, "--json", env={"LLM_ROUTER_BASE_URL": server.base_url})
    result = ran.json
    assert ran.code == 9 and result["error"]["code"] == "bad_upstream" and "not JSON" in result["error"]["message"]
    assert result["text"] == "I would rather not." and result["data"] is None and len(result["attempts"]) == 2
    shown = at_demo(*words, "--output", "o.json", env={"LLM_ROUTER_BASE_URL": server.base_url})
    assert b"does not fit the schema" in shown.err and not (at_demo.cwd / "o.json").exists()


BAD_FILES: Dict[str, str] = {
    "{": "--schema is not JSON", "[]": "--schema must be a JSON object", '{"type": "strng"}': "not a JSON schema",
    '{"pattern": "("}': "not a JSON schema", '{"$ref": "x"}': "leads nowhere",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_schema_file_is_wrong_usage(at_demo: Any, demo: Any, text: str) -> None:
    (at_demo.cwd / "s.json").write_text(text, encoding="utf-8")
    ran = at_demo("chat", "-m", "demo", "--message", "Who?", "--schema", "s.json")
    assert ran.code == 2 and ran.out == b"" and BAD_FILES[text] in ran.err.decode() and demo.requests == []


def test_schema_files_lie_inside_and_have_no_rival(at_demo: Any, tmp_path: Any) -> None:
    rival: List[str] = ["chat", "-m", "demo", "--message", "x", "--schema", "s.json", "--response-format", "json"]
    assert b"not both" in at_demo(*rival).err
    assert at_demo("chat", "-m", "demo", "--message", "x", "--schema", "missing").code == 2
    assert at_demo("chat", "-m", "demo", "--message", "x", "--schema", "../s.json").code == 8
