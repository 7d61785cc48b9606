"""relay: a conversation that another vendor answered goes on at OpenAI."""

from __future__ import annotations

import json
from typing import Any

import pytest
from responding import SEAL

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire.responses import relay
from llm_router_gateway.wire.responses.compaction import compaction_item
from llm_router_gateway.wire.responses.seal import Seal

USER = {"role": "user", "content": "q"}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEAL.close({"kind": "thinking", "text": "Hm"})}
THEIRS = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"}
CALL = {"type": "function_call", "call_id": "x__gemini_c2ln", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "x__gemini_c2ln", "output": "1"}


@pytest.mark.parametrize(("item", "marked"), [(SEALED, True), (CALL, True), (THEIRS, False), (USER, False)])
def test_one_look_finds_whether_the_gateway_wrote_anything(item: dict[str, Any], marked: bool) -> None:
    assert relay.is_marked(json.dumps({"model": "m", "input": [item]}, separators=(",", ":"))) is marked
    assert relay.is_marked(json.dumps({"model": "m", "input": [item]}, indent=1)) is marked


def test_what_the_gateway_wrote_is_taken_out_and_the_rest_stays() -> None:
    lost: list[str] = []
    body = relay.fit({"model": "m", "input": [USER, SEALED, THEIRS, CALL, OUTPUT]}, SEAL, lost)
    assert body == {"model": "m", "input": [USER, THEIRS, {**CALL, "call_id": "x"}, {**OUTPUT, "call_id": "x"}]}
    assert lost == ["thinking"]


def test_a_sealed_compaction_is_reported() -> None:
    body = relay.fit({"input": [compaction_item("cmp_1", "sum", SEAL)]}, SEAL, [])
    assert body["input"][0]["role"] == "user" and body["input"][0]["content"].endswith("sum")
    for seal in (None, Seal(b"f" * 32, "key-2")):
        with pytest.raises(BadRequest):
            relay.fit({"input": [compaction_item("cmp_1", "sum", SEAL)]}, seal, [])


@pytest.mark.parametrize("fields", [{"input": "llmr1."}, {"input": [USER, "odd", 5]}, {}])
def test_any_other_body_stays(fields: dict[str, Any]) -> None:
    assert relay.fit(fields, SEAL, []) == fields
