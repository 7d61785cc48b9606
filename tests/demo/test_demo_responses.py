"""The mock server's side of OpenAI's Responses API: answers, streams, stored conversations, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any, Dict, List

import pytest

from llm_router_demo import BEHAVIOURS, NOTICE, REASONING, DemoServer, Rejected
from llm_router_demo_protocols import RESPONSES_FIELDS, ResponseStore, check_responses, signature_of

ENDLESS = ("fail-stall", "fail-stall-mid", "fail-comments", "fail-comments-mid", "fail-drip")
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER: Any = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
CLOCK: Any = {"type": "function", "name": "get_time", "description": None, "parameters": {"type": "object"}, "strict": None}
EXEC: Any = {"type": "custom", "name": "exec", "format": {"type": "text"}}
AGENTS: Any = {"type": "namespace", "name": "agents", "description": "x", "tools": [{"type": "function", "name": "close"}]}
TOOLS = [WEATHER, CLOCK]
SEALED = "reasoning.encrypted_content"
USER: Any = {"role": "user", "content": "Hi"}
CALL: Any = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
OUTPUT: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
THOUGHT: Any = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": signature_of("x")}
SAID: Any = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAoAAAAHg"


def text_of(response: Any) -> str:
    parts = [part for item in response["output"] for part in item.get("content", ())]
    return "".join(part.get("text", "") for part in parts)


def rebuilt(events: List[Any]) -> List[Any]:
    """The output items that a stream's deltas add up to."""
    items: List[Any] = []
    for name, data in events:
        if name == "response.output_item.added":
            assert data["output_index"] == len(items)
            items.append(json.loads(json.dumps(data["item"])))
        if "item_id" in data:
            assert items[data["output_index"]]["id"] == data["item_id"]
        item = items[data["output_index"]] if "output_index" in data else {}
        if name.endswith("_part.added"):
            item["content" if "content_index" in data else "summary"].append(data["part"])
        if name in ("response.output_text.delta", "response.refusal.delta"):
            item["content"][data["content_index"]][name.split(".")[1].replace("output_", "")] += data["delta"]
        if name == "response.reasoning_summary_text.delta":
            item["summary"][data["summary_index"]]["text"] += data["delta"]
        if name == "response.function_call_arguments.delta":
            item["arguments"] += data["delta"]
        if name == "response.custom_tool_call_input.delta":
            item["input"] += data["delta"]
    return [{**item, "status": "completed"} if "status" in item else item for item in items]


# ------------------------------------------------------------------------------------------------------------ answers


def test_a_response_repeats_its_request_and_has_a_message(api: Any) -> None:
    got = api.responses(temperature=0.5, metadata={"a": "b"}, instructions="Be brief.", text={"verbosity": "low"}).json
    assert (got["object"], got["status"], got["model"], got["error"]) == ("response", "completed", "demo", None)
    assert got["id"].startswith("resp_") and got["created_at"] and got["temperature"] == 0.5 and got["metadata"] == {"a": "b"}
    assert got["text"] == {"format": {"type": "text"}, "verbosity": "low"} and got["instructions"] == "Be brief."
    [item] = got["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    part = {"type": "output_text", "text": f"{NOTICE} You said: Hello there", "annotations": [], "logprobs": []}
    assert item["content"] == [part]
    usage = got["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] == usage["output_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.parametrize("more", [
    {}, {"model": "demo-tools", "tools": [*TOOLS, EXEC, AGENTS]}, {"model": "fail-refusal"},
    {"model": "demo-reasoning", "reasoning": {"summary": "auto"}, "include": [SEALED]},
    {"model": "demo-reasoning-tools", "tools": TOOLS, "include": [SEALED], "store": False},
])  # fmt: skip
def test_deltas_items_and_the_last_event_say_the_same_as_the_plain_answer(api: Any, more: Any) -> None:
    plain, events = api.responses(**more).json["output"], api.responses(**more, stream=True).events
    done = [data["item"] for name, data in events if name == "response.output_item.done"]
    last = events[-1][1]["response"]["output"]
    assert rebuilt(events) == done == last

    def stripped(items: Any) -> Any:  # ids come from the body, and one body says stream
        return [{name: value for name, value in item.items() if name != "id"} for item in items]

    assert stripped(last) == stripped(plain)


def test_a_stream_numbers_its_events_and_has_them_in_the_order_of_the_api(api: Any) -> None:
    body = {"reasoning": {"summary": "auto"}, "tools": [CLOCK], "stream": True}
    text, calls = api.responses("demo-reasoning", **body), api.responses("demo-tools", **body)
    assert text.headers["content-type"] == "text/event-stream" and b"[DONE]" not in text.body
    for got in (text, calls):
        assert [data["sequence_number"] for _, data in got.events] == list(range(len(got.events)))
        assert all(name == data["type"] for name, data in got.events)
    names = [name.replace("response.", "") for name, _ in text.events]
    assert list(dict.fromkeys(names)) == [
        "created", "in_progress", "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "content_part.added",
        "output_text.delta", "output_text.done", "content_part.done", "completed",
    ]  # fmt: skip
    assert [name for name, _ in calls.events][2:] == [
        "response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    created, last = text.events[0][1]["response"], text.events[-1][1]["response"]
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert created["id"] == last["id"] and last["usage"]["output_tokens"] > 0


def test_reasoning_is_summed_up_and_sealed_only_on_request(api: Any) -> None:
    def thought(**more: Any) -> Any:
        return api.responses("demo-reasoning", **more).json["output"][0]

    assert thought()["summary"] == [] and "encrypted_content" not in thought()
    assert thought(reasoning={"summary": "auto"})["summary"] == [{"type": "summary_text", "text": REASONING}]
    assert thought(include=[SEALED])["encrypted_content"] == signature_of(REASONING)
    assert api.responses("demo-reasoning").json["usage"]["output_tokens_details"]["reasoning_tokens"] == 11


def test_json_is_answered_where_a_format_wants_it(api: Any) -> None:
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": CITY, "strict": True}}
    assert json.loads(text_of(api.responses(text=wanted).json)) == {"city": "mock"}
    assert json.loads(text_of(api.responses(say="As JSON", text={"format": {"type": "json_object"}}).json))["answer"] == NOTICE


@pytest.mark.parametrize("choice, names", [
    ("auto", []), ("none", []), ("required", ["get_weather", "get_time"]), (None, []),
    ({"type": "function", "name": "get_time"}, ["get_time"]),
    ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]}, ["get_time"]),
    ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get_time"}]}, []),
])  # fmt: skip
def test_tool_choice_decides(api: Any, choice: Any, names: List[str]) -> None:
    output = api.responses(tools=TOOLS, tool_choice=choice).json["output"]
    assert [item["name"] for item in output if item["type"] == "function_call"] == names


def test_calls_are_made_answered_and_quoted_whatever_their_kind(api: Any) -> None:
    extra = {"type": "additional_tools", "role": "developer", "tools": [AGENTS]}
    items = [extra, USER]
    more: Any = {"tools": [WEATHER, EXEC], "include": [SEALED], "store": False}
    output = api.responses("demo-reasoning-tools", items, **more).json["output"]
    kinds = [(item["type"], item.get("namespace"), item.get("name")) for item in output[1:]]
    assert kinds == [
        ("function_call", None, "get_weather"), ("custom_tool_call", None, "exec"), ("function_call", "agents", "close"),
    ]  # fmt: skip
    assert (output[1]["arguments"], output[2]["input"]) == ('{"city":"mock"}', "mock")
    results: List[Any] = []
    for item in output[1:]:
        results.append({"type": f"{item['type']}_output", "call_id": item["call_id"], "output": f"{item['name']} ok"})
    results[0]["output"] = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": PNG}]
    said = text_of(api.responses("demo-reasoning-tools", [*items, *output, *results], **more).json)
    assert said.startswith(f"{NOTICE} get_weather said: see Image 1: PNG") and said.endswith("close said: close ok")


def test_rounds_images_and_every_shape_of_a_message_are_read(api: Any) -> None:
    turns: List[Any] = [USER]
    for _ in range(2):
        output = api.responses("demo-rounds-2", turns, tools=[CLOCK]).json["output"]
        turns += [*output, {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "noon"}]
    assert text_of(api.responses("demo-rounds-2", turns, tools=[CLOCK]).json) == f"{NOTICE} get_time said: noon"
    parts = [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": "https://example.com/a.png"}]
    said = text_of(api.responses(say=[{"type": "message", "role": "user", "content": parts}]).json)
    assert "You said: Look Image 1: given as a URL (https://example.com/a.png)" in said


# -------------------------------------------------------------------------------------------------------------- state


def test_a_response_is_continued_by_its_id_or_by_references_to_its_items(api: Any) -> None:
    first = api.responses("demo-reasoning-tools", tools=[CLOCK]).json
    thought, call = first["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "noon"}
    more: Any = {"tools": [CLOCK]}
    by_id = api.responses("demo-tools", [result], previous_response_id=first["id"], **more).json
    assert text_of(by_id) == f"{NOTICE} get_time said: noon" and by_id["previous_response_id"] == first["id"]
    references = [{"type": "item_reference", "id": thought["id"]}, {"id": call["id"]}]
    assert text_of(api.responses("demo-tools", [USER, *references, result], **more).json) == f"{NOTICE} get_time said: noon"
    assert api.responses("demo-tools", [USER, thought, call, result], **more).status == 200  # stored: nothing need be sealed
    lone = api.responses("demo-tools", [USER, call, result], **more)
    assert f"was provided without its required 'reasoning' item: '{thought['id']}'" in lone.json["error"]["message"]


def test_what_was_not_stored_cannot_be_named(api: Any) -> None:
    kept = api.responses("demo-reasoning", "Hi", store=False).json
    missing = api.responses(previous_response_id=kept["id"])
    assert (missing.status, missing.json["error"]["code"]) == (400, "previous_response_not_found")
    assert api.send("GET", f"/v1/responses/{kept['id']}").status == 404
    for item in ({"type": "item_reference", "id": "msg_1"}, kept["output"][0]):
        got = api.responses(say=[USER, item, SAID], store=False)
        assert got.status == 404
        assert got.json["error"]["message"].startswith(f"Item with id '{item['id']}' not found. Items are")
    assert "Items are" not in api.responses(say=[USER, {"id": "msg_1"}]).json["error"]["message"]


def test_stored_responses_are_read_listed_and_deleted(api: Any) -> None:
    first = api.responses(say="one").json
    second = api.responses(say="two", previous_response_id=first["id"]).json
    path = f"/v1/responses/{second['id']}"
    assert api.send("GET", path).json == second
    items = api.send("GET", f"{path}/input_items?order=asc").json
    assert [item["type"] for item in items["data"]] == ["message"] * 3 and items["has_more"] is False
    assert items["data"][0]["content"] == "one" and items["data"][1] == first["output"][0]
    page = api.send("GET", f"{path}/input_items?limit=2").json
    assert [item["id"] for item in page["data"]] == [item["id"] for item in items["data"][:0:-1]] and page["has_more"] is True
    after = api.send("GET", f"{path}/input_items?after={page['last_id']}").json
    assert [item["id"] for item in after["data"]] == [items["data"][0]["id"]]
    assert api.send("DELETE", path).json == {"id": second["id"], "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        gone = api.send(method, path)
        assert (gone.status, gone.json["error"]["message"]) == (404, f"Response with id '{second['id']}' not found.")
    assert api.send("GET", "/v1/responses/abc").json["error"]["message"].endswith("Expected an ID that begins with 'resp'.")


def test_a_stored_stream_is_played_again_from_any_event(api: Any) -> None:
    events = api.responses(stream=True).events
    path = f"/v1/responses/{events[0][1]['response']['id']}?stream=true"
    assert api.send("GET", path).events == events
    assert api.send("GET", f"{path}&starting_after=4").events == events[5:]


def test_a_background_response_is_queued_then_read_or_cancelled(api: Any) -> None:
    queued = api.responses(say="one", background=True).json
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    assert api.send("GET", f"/v1/responses/{queued['id']}").json["status"] == "completed"
    other = api.responses(say="two", background=True).json
    assert api.send("POST", f"/v1/responses/{other['id']}/cancel", {}).json["status"] == "cancelled"
    assert api.send("GET", f"/v1/responses/{other['id']}").json["status"] == "cancelled"
    plain = api.responses(say="three").json
    refused = api.send("POST", f"/v1/responses/{plain['id']}/cancel", {})
    assert (refused.status, refused.json["error"]["message"]) == (400, "Cannot cancel a synchronous response.")


def test_tokens_are_counted_as_the_answer_counts_them(api: Any) -> None:
    body = {"model": "demo", "input": "one two three", "instructions": "Be brief."}
    counted = api.send("POST", "/v1/responses/input_tokens", body).json
    assert counted == {"object": "response.input_tokens", "input_tokens": api.responses(**body).json["usage"]["input_tokens"]}
    assert api.send("POST", "/v1/responses/input_tokens", {**body, "stream": True}).json["error"]["code"] == "unknown_parameter"
    assert api.send("POST", "/v1/responses/input_tokens", {**body, "model": "fail-429"}).status == 429


def test_a_conversation_is_compacted_into_one_sealed_item(api: Any) -> None:
    [item] = api.responses(say=[USER, SAID, {"type": "compaction_trigger"}], store=False).json["output"]
    assert item["type"] == "compaction" and item["encrypted_content"] == signature_of("Hi")
    names = [name for name, _ in api.responses(say=[USER, {"type": "compaction_trigger"}], stream=True).events]
    assert names[2:] == ["response.output_item.added", "response.output_item.done", "response.completed"]
    compact = api.send("POST", "/v1/responses/compact", {"model": "demo", "input": [USER, SAID]}).json
    assert compact["object"] == "response.compaction"
    assert [each["type"] for each in compact["output"]] == ["message", "compaction"]
    for items in ([item, USER], [*compact["output"], {"role": "user", "content": "Go on"}]):
        assert api.responses(say=items).status == 200
    early = api.responses(say=[{"type": "compaction_trigger"}, USER])
    assert "must be the last item" in early.json["error"]["message"]


def test_only_so_many_responses_are_kept(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_router_demo_protocols.MAX_STORED", 2)
    ids = [api.responses(say=text).json["id"] for text in "abc"]
    assert [api.send("GET", f"/v1/responses/{id}").status for id in ids] == [404, 200, 200]


def test_a_websocket_is_refused_with_the_status_that_makes_clients_post(demo: Any) -> None:
    head = "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with socket.create_connection(("127.0.0.1", demo.port), 10.0) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 426 ")


# ------------------------------------------------------------------------------------------------------- what is refused


def invalid(path: str, value: str) -> str:
    return f"Invalid value: '{value}'. Supported values are: "


REFUSES: List[Any] = [
    ({"n": 2}, "Unknown parameter: 'n'.", "n", "unknown_parameter"),
    ({"max_tokens": 5}, "this parameter has moved to 'max_output_tokens'.", "max_tokens", "unsupported_parameter"),
    ({"messages": []}, "this parameter has moved to 'input'.", "messages", "unsupported_parameter"),
    ({"response_format": {}}, "this parameter has moved to 'text.format'.", "response_format", "unsupported_parameter"),
    ({"model": ""}, "Missing required parameter: 'model'.", "model", "missing_required_parameter"),
    ({"say": None}, 'One of "input" or "previous_response_id" or', "input", "missing_required_parameter"),
    ({"say": 7}, "Invalid type for 'input'", "input", "invalid_type"),
    ({"say": ["Hi"]}, "Invalid type for 'input[0]': expected an object.", "input[0]", "invalid_type"),
    ({"stream": "yes"}, "Invalid type for 'stream': expected a boolean.", "stream", "invalid_type"),
    ({"say": [{**USER, "name": "Ann"}]}, "Unknown parameter: 'input[0].name'.", "input[0].name", "unknown_parameter"),
    ({"say": [{"role": "tool", "content": "x"}]}, invalid("", "tool"), "input[0].role", "invalid_value"),
    ({"say": [{"role": "user"}]}, "Missing required parameter: 'input[0].content'.", "input[0].content",
     "missing_required_parameter"),
    ({"say": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, invalid("", "text"), "input[0].content[0].type",
     "invalid_value"),
    ({"say": [USER, {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
     "Supported values are: 'output_text' and 'refusal'.", "input[1].content[0].type", "invalid_value"),
    ({"say": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "x"}}]}]}, "expected an image URL",
     "input[0].content[0].image_url", "invalid_type"),
    ({"say": [{"role": "user", "content": [{"type": "input_image", "image_url": "a.png"}]}]}, "Expected a valid URL",
     "input[0].content[0].image_url", "invalid_value"),
    ({"say": [{"type": "tool_use", "id": "x"}]}, invalid("", "tool_use"), "input[0].type", "invalid_value"),
    ({"say": [USER, {**CALL, "id": "call_1"}, OUTPUT]},
     "Invalid 'input[1].id': 'call_1'. Expected an ID that begins with 'fc'.", "input[1].id", "invalid_value"),
    ({"say": [USER, {**SAID, "id": "chatcmpl-1"}]}, "Expected an ID that begins with 'msg'.", "input[1].id", "invalid_value"),
    ({"say": [USER, {**CALL, "call_id": "c" * 65}, OUTPUT]}, "string too long. Expected a string with maximum length 64",
     "input[1].call_id", "string_above_max_length"),
    ({"say": [USER, {**CALL, "name": "a.b"}, OUTPUT]}, "string does not match pattern", "input[1].name", "invalid_value"),
    ({"say": [USER, {**CALL, "arguments": {}}, OUTPUT]}, "Invalid type for 'input[1].arguments'", "input[1].arguments",
     "invalid_type"),
    ({"say": [USER, OUTPUT]}, "No tool call found for function call output with call_id call_1.", "input", None),
    ({"say": [USER, OUTPUT, CALL]}, "No tool call found for function call output with call_id call_1.", "input", None),
    ({"say": [USER, CALL, {**OUTPUT, "type": "custom_tool_call_output"}]},
     "No tool call found for custom tool call output with call_id call_1.", "input", None),
    ({"say": [USER, CALL]}, "No tool output found for function call call_1.", "input", None),
    ({"say": [USER, THOUGHT]}, "Item 'rs_1' of type 'reasoning' was provided without its required following item.", "input",
     None),
    ({"say": [THOUGHT, USER]}, "was provided without its required following item.", "input", None),
    ({"say": [USER, THOUGHT, SAID, THOUGHT, SAID]}, "Duplicate item found with id rs_1.", "input", None),
    ({"say": [USER, {**THOUGHT, "encrypted_content": "gAAAAAB"}, SAID]}, "The encrypted content gAAA... could not be verified.",
     "input[1]", "invalid_encrypted_content"),
    ({"say": [USER, {**THOUGHT, "id": None}, SAID]}, "Missing required parameter: 'input[1].id'.", "input[1].id",
     "missing_required_parameter"),
    ({"previous_response_id": "resp_1"}, "Previous response with id 'resp_1' not found.", "previous_response_id",
     "previous_response_not_found"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "Missing required parameter: 'tools[0].name'.",
     "tools[0].name", "missing_required_parameter"),
    ({"tools": [{"type": "functions", "name": "f"}]}, invalid("", "functions"), "tools[0].type", "invalid_value"),
    ({"tools": [{**WEATHER, "parameters": {"type": "object"}}]}, "Invalid schema for function 'get_weather': In context=()",
     "tools[0].parameters", None),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "g"}}, "Tool choice 'g' not found", "tool_choice", None),
    ({"tool_choice": "required"}, "must be specified with 'tools' parameter.", "tool_choice", None),
    ({"tools": TOOLS, "tool_choice": "any"}, invalid("", "any"), "tool_choice", "invalid_value"),
    ({"max_output_tokens": 1}, "integer below minimum value. Expected a value >= 16, but got 1 instead.", "max_output_tokens",
     "integer_below_min_value"),
    ({"temperature": 3}, "decimal above maximum value.", "temperature", "decimal_above_max_value"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled.", "stream_options", None),
    ({"reasoning": {"budget": 1}}, "Unknown parameter: 'reasoning.budget'.", "reasoning.budget", "unknown_parameter"),
    ({"text": {"format": {"type": "json_schema", "schema": CITY}}}, "Missing required parameter: 'text.format.name'.",
     "text.format.name", "missing_required_parameter"),
    ({"text": {"format": {"type": "json_object"}}}, "must contain the word 'json' in some form", "input", None),
    ({"text": {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": {"type": "object"}}}},
     "Invalid schema for response_format 'x'", "text.format.schema", None),
    ({"include": ["logprobs"]}, invalid("", "logprobs"), "include[0]", "invalid_value"),
    ({"background": True, "store": False}, "Background mode requires 'store' to be true.", "background", None),
]  # fmt: skip


@pytest.mark.parametrize("change, message, param, code", REFUSES)
def test_responses_refuses(api: Any, change: Dict[str, Any], message: str, param: Any, code: Any) -> None:
    got = api.responses(**change)
    error = got.json["error"]
    assert (got.status, error["type"], error["param"], error["code"]) == (400, "invalid_request_error", param, code)
    assert message in error["message"]


@pytest.mark.parametrize("change", [
    {"say": ""}, {"say": [{"role": "developer", "content": "x"}, {"role": "system", "content": "x"}, USER]},
    {"say": [USER, {"role": "assistant", "content": "x"}, USER]}, {"say": [USER, CALL, OUTPUT], "tools": [WEATHER]},
    {"say": [USER, THOUGHT, CALL, OUTPUT], "store": False}, {"say": [USER, {**THOUGHT, "content": None, "status": None}, SAID]},
    {"say": [USER, {**SAID, "id": "msg_1", "status": "completed", "phase": "final_answer"}]},
    {"say": [USER, {**CALL, "call_id": "fc_1", "id": None, "status": "completed"}, {**OUTPUT, "call_id": "fc_1"}]},
    {"say": [USER, CALL, {**CALL, "call_id": "call_2"}, {**OUTPUT, "call_id": "call_2"}, OUTPUT]},
    {"say": [USER, {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}, SAID]},
    {"say": [{"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,AA=="}]}]},
    {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "include": [], "reasoning": {}},
    {"tools": [{"type": "web_search", "filters": None, "user_location": None}, CLOCK], "client_metadata": {"a": "b"}},
    dict.fromkeys(("instructions", "max_output_tokens", "metadata", "previous_response_id", "reasoning", "store", "stream",
                   "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user")),
    {"text": {"format": {"type": "text"}, "verbosity": "low"}, "service_tier": "auto", "prompt_cache_key": "k"},
    {"say": [USER], "instructions": "x", "truncation": "auto", "max_output_tokens": 16, "top_logprobs": 0, "user": "u"},
])  # fmt: skip
def test_responses_takes(api: Any, change: Any) -> None:
    got = api.responses(**change)
    assert got.status == 200, got.body


RECORDINGS = Path(os.environ.get("LLM_ROUTER_RECORDINGS") or "/nonexistent")


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="LLM_ROUTER_RECORDINGS names no folder of recorded exchanges")
def test_requests_that_the_real_api_took_are_taken() -> None:
    taken = 0
    for path in sorted(RECORDINGS.glob("[0-9]*.json")):
        recording = json.loads(path.read_text(encoding="utf-8"))
        for exchange in recording["exchanges"] if recording["protocol"] == "openai-responses" else ():
            body = exchange["request"]["body"]
            if exchange["response"]["status"] != 200 or not isinstance(body, dict) or body.get("previous_response_id"):
                continue
            for item in body["input"] if isinstance(body["input"], list) else ():
                if item.get("encrypted_content"):
                    item["encrypted_content"] = signature_of("")
            try:
                check_responses(body, RESPONSES_FIELDS, ResponseStore())
            except Rejected as error:
                raise AssertionError(path.name) from error
            taken += 1
    assert taken > 10


# ----------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("model, status, detail", [
    ("fail-length", "incomplete", "max_output_tokens"), ("fail-filter", "incomplete", "content_filter"),
    ("fail-filter-mid", "incomplete", "content_filter"), ("fail-finish-abort", "incomplete", "abort"),
    ("fail-error-mid", "failed", "server_error"), ("fail-event-rate_limit_exceeded", "failed", "rate_limit_exceeded"),
    ("fail-event-context_length_exceeded", "failed", "context_length_exceeded"),
])  # fmt: skip
def test_ends_that_are_none(api: Any, model: str, status: str, detail: str) -> None:
    plain, (name, last) = api.responses(model).json, api.responses(model, stream=True).events[-1]
    assert name == f"response.{status}"
    for response in (plain, last["response"]):
        assert response["status"] == status
        assert detail == (response["error"] or {}).get("code", (response["incomplete_details"] or {}).get("reason"))


def test_errors_come_as_a_failed_response_or_as_either_shape_of_the_error_event(api: Any) -> None:
    first, mid, choice = (api.responses(f"fail-error-{name}", stream=True).events for name in ("first", "mid", "choice"))
    assert first[-1][0] == choice[-1][0] == "error" and mid[-1][0] == "response.failed"
    assert set(first[-1][1]) == {"type", "sequence_number", "error"} and first[-1][1]["error"]["message"]
    assert set(choice[-1][1]) == {"type", "sequence_number", "code", "message", "param"}
    assert len(first) == 3 and len(choice) == len(mid) > 10


def test_streams_that_end_too_early(api: Any) -> None:
    assert api.responses("fail-cut", stream=True).events[-1][0] == "response.output_text.delta"
    assert api.responses("fail-nofinish", stream=True).events[-1][0] == "response.output_item.done"
    assert api.responses("fail-choices-empty").json["output"] == []
    assert api.responses("fail-error-200", stream=True).json["status"] == "failed"
    twice = [data["response"]["id"] for name, data in api.responses("fail-start-twice", stream=True).events
             if name == "response.created"]  # fmt: skip
    assert len(set(twice)) == 2
    half = api.responses("fail-tools-half", tools=[WEATHER], stream=True).events
    assert [name for name, _ in half][-2:] == ["response.function_call_arguments.delta", "response.completed"]
    assert half[-1][1]["response"]["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("model, status, code", [
    ("fail-401", 401, "invalid_api_key"), ("fail-429", 429, "rate_limit_exceeded"), ("fail-503", 503, "overloaded"),
    ("fail-context", 400, "context_length_exceeded"), ("unknown", 404, "model_not_found"),
])  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"])
def test_errors_have_openais_shape(api: Any, path: str, model: str, status: int, code: str) -> None:
    got = api.send("POST", path, {"model": model, "input": "Hi"})
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert set(got.json["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(set(BEHAVIOURS) - set(ENDLESS)))
@pytest.mark.slow
def test_every_behaviour_has_a_responses_side(api: Any, capfd: Any, name: str, stream: bool) -> None:
    number = "307" if "redirect" in name else "418" if name == "fail-N" else "400" if "image" in name else "3"
    model = name.replace("-N", f"-{number}").replace("FIELD", "1i2o" if "usage" in name else "temperature")
    try:
        got = api.responses(model.replace("...", "500"), tools=TOOLS, stream=stream, temperature=0.5)
        assert got.status >= 200
    except (http.client.HTTPException, OSError):
        assert name in ("fail-cut-plain", "fail-reset", "fail-drop") or name.startswith("break-")
    assert capfd.readouterr().err == ""


def test_unknown_models_answer_where_the_server_is_set_to(api: Any) -> None:
    with DemoServer(any_model=True) as demo:
        other = type(api)(demo.port)
        for got in (other.responses("gpt-6"), other.openai("gpt-6"), other.anthropic("claude-x"), other.gemini("gemini-9")):
            assert got.status == 200 and NOTICE in got.body.decode()
        assert other.openai("fail-nonsense").status == 404
        other.connection.close()
