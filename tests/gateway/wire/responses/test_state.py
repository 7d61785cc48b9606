"""state: what is kept of a conversation, and the request with the conversation in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from responding import SEAL, answer, read

from llm_router_gateway.errors import BadRequest, NotFound
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.error_bodies import error_body
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.responses import common, compaction, state

USER = {"role": "user", "content": "q"}
KEPT_USER = {"id": "in_1_0", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]}
TEXT = {"id": "msg_1_0", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
CALL = {"id": "fc_1_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "42"}
TURN = {"id": "resp_1", "previous": "", "input": [KEPT_USER], "output": [TEXT, CALL]}


def test_what_a_request_builds_on() -> None:
    assert state.references({"input": "hi"}) == state.References("", ()) and not state.references({})
    body = {"previous_response_id": "resp_1", "input": [USER, {"type": "item_reference", "id": "msg_1"}, {"id": "rs_1"}]}
    assert state.references(body) == state.References("resp_1", ("msg_1", "rs_1"))
    with pytest.raises(BadRequest):
        state.references({"previous_response_id": 5})


@pytest.mark.parametrize(
    ("fields", "wanted"), [({}, True), ({"store": None}, True), ({"store": True}, True), ({"store": False}, False)]
)
def test_an_answer_is_kept_unless_the_caller_says_no(fields: dict[str, Any], wanted: bool) -> None:
    assert state.wants_store(fields) is wanted


def test_a_turn_keeps_what_it_added() -> None:
    body = {"input": [USER, {"type": "compaction_trigger"}], "previous_response_id": "resp_0", "store": True}
    turn = state.turn_to_keep(body, {"id": "resp_1", "output": [TEXT, CALL]})
    assert turn == {"id": "resp_1", "previous": "resp_0", "input": [KEPT_USER], "output": [TEXT, CALL],
                    "response": {"id": "resp_1"}}  # fmt: skip
    assert state.response_of(turn) == {"id": "resp_1", "output": [TEXT, CALL]}
    assert json.loads(json.dumps(turn)) == turn
    assert state.turn_to_keep({"input": "q"}, {"id": "resp_1"})["input"] == [KEPT_USER]


@pytest.mark.parametrize(("input", "expected"), [
    ([OUTPUT], [KEPT_USER, TEXT, CALL, OUTPUT]),                                     # agent-framework, inside its tool loop
    ("more", [KEPT_USER, TEXT, CALL, {"type": "message", "role": "user", "content": "more"}]),
    ("", [KEPT_USER, TEXT, CALL]),
    ([{"type": "item_reference", "id": "msg_1_0"}, OUTPUT], [KEPT_USER, TEXT, CALL, OUTPUT]),  # not said twice
])  # fmt: skip
def test_a_turn_unfolds_before_what_is_new(input: Any, expected: list[Any]) -> None:
    body = state.unfold({"previous_response_id": "resp_1", "input": input, "model": "m"}, [TURN])
    assert body == {"model": "m", "input": expected}
    assert responses.read_request(body).messages


def test_turns_unfold_oldest_first() -> None:
    second = {"id": "resp_2", "previous": "resp_1", "input": [OUTPUT], "output": [TEXT | {"id": "msg_2_0"}]}
    body = state.unfold({"previous_response_id": "resp_2", "input": "x"}, [TURN, second])
    assert [item.get("id") for item in body["input"]] == ["in_1_0", "msg_1_0", "fc_1_1", None, "msg_2_0", None]


def test_references_alone_are_resolved_in_their_places() -> None:
    """@ai-sdk/openai's default: the model's words and thoughts as references, calls whole."""
    body = {"input": [USER, {"type": "item_reference", "id": "msg_1_0"}, CALL, OUTPUT]}
    assert state.unfold(body, [], state.by_id([TURN]))["input"] == [USER, TEXT, CALL, OUTPUT]
    with pytest.raises(NotFound, match="Item with id 'msg_9' not found") as caught:
        state.unfold({"input": [{"type": "item_reference", "id": "msg_9"}]}, [], {})
    assert caught.value.details["path"] == "input[0].id"


def test_a_compaction_stands_for_all_before_it() -> None:
    item = {"id": "cmp_1_0", **compaction.compaction_item("cmp_1_0", "sum", SEAL)}
    turns = [TURN, {"id": "resp_2", "previous": "resp_1", "input": [], "output": [item]}]
    body = state.unfold({"previous_response_id": "resp_2", "input": "go on"}, turns)
    assert [each["type"] for each in body["input"]] == ["compaction", "message"]


@pytest.mark.parametrize(("asked", "ids", "more"), [
    ({}, ["in_2_0", "fc_1_1", "msg_1_0", "in_1_0"], False), ({"order": "asc", "limit": 2}, ["in_1_0", "msg_1_0"], True),
    ({"after": "fc_1_1"}, ["msg_1_0", "in_1_0"], False), ({"after": "in_1_0"}, [], False),
])  # fmt: skip
def test_input_items_are_listed(asked: dict[str, Any], ids: list[str], more: bool) -> None:
    last = state.turn_to_keep({"input": [OUTPUT]}, {"id": "resp_2", "output": [TEXT]})
    found = state.input_items_page([TURN, last], **asked)
    assert [item["id"] for item in found["data"]] == ids and found["has_more"] is more and found["object"] == "list"
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 101}, {"order": "up"}])
def test_a_page_that_the_api_does_not_have(asked: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        state.input_items_page([TURN], **asked)


def test_an_unknown_place_in_the_list() -> None:
    with pytest.raises(NotFound):
        state.input_items_page([TURN], after="nowhere")


def test_the_apis_words() -> None:
    assert (
        state.not_found("resp_9").status == 404 and "Response with id 'resp_9' not found." in state.not_found("resp_9").message
    )
    error = state.previous_not_found("resp_9")
    assert (error.status, error.code) == (400, "previous_response_not_found")
    assert error_body(error)["error"]["param"] == "previous_response_id"
    assert state.cannot_cancel().message == "Cannot cancel a synchronous response."
    assert state.deletion("resp_1") == {"id": "resp_1", "object": "response", "deleted": True}


def test_an_items_id_tells_whose_it_is() -> None:
    body = responses.write_answer(answer(ir.Thinking("t"), ir.Text("a"), ir.ToolCall("t", "f")), read(), [])
    assert [item["id"].split("_")[1] for item in body["output"]] == ["abc"] * 3


def test_an_upstreams_id_becomes_a_responses_one() -> None:
    assert common.response_id("resp_x1") == "resp_x1"
    made = common.response_id("chatcmpl-1", "m", 5)
    assert made == common.response_id("chatcmpl-1", "m", 5) != common.response_id("chatcmpl-1", "m", 6)
    assert made.startswith("resp_") and made.removeprefix("resp_").isalnum()


def test_compact_is_an_answer_with_a_trigger() -> None:
    body = compaction.compact_request({"model": "m", "input": [USER, TEXT], "stream": True})
    assert body == {"model": "m", "input": [USER, TEXT, {"type": "compaction_trigger"}]}
    request = responses.read_request(body, seal=SEAL, reply_id="resp_1")
    made = responses.write_answer(answer(ir.Text("sum"), usage=ir.Usage(3, text=1)), request, [])
    found = compaction.compaction_response(made, [USER, TEXT])
    assert found["object"] == "response.compaction" and [item["type"] for item in found["output"]] == ["message", "compaction"]
    assert found["output"][0]["role"] == "user" and found["usage"]["total_tokens"] == 4 and found["created_at"] == 1_700_000_000


def test_tokens_are_counted_in_the_apis_shape() -> None:
    assert responses.write_count(7) == {"object": "response.input_tokens", "input_tokens": 7}
