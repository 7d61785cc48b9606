"""ir -> the body for a Responses upstream: what goes where, and what is named as lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from responding import read, written
from strict_responses import refusal_of

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.ir import Media, Message, Opaque, Refusal, Text, Thinking, Tool, ToolCall, ToolChoice, ToolResult
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses

PIXEL = "iVBORw0KGgo="
CORPUS = Path(__file__).resolve().parents[3] / "corpus" / "wire" / "anthropic"


def user(*parts: ir.Part) -> Message:
    return Message("user", parts)


def assistant(*parts: ir.Part) -> Message:
    return Message("assistant", parts)


def asked(*messages: Message, **fields: Any) -> ir.Request:
    return ir.Request("m", messages or (user(Text("q")),), **fields)


def items(*messages: Message, model: str = "m", **quirks: Any) -> tuple[list[dict[str, Any]], list[str]]:
    body, lost = written(asked(*messages), model, **quirks)
    return body["input"], lost


def test_the_smallest_request() -> None:
    body, lost = written(asked())
    assert body == {"model": "m", "input": [{"type": "message", "role": "user", "content": "q"}], "store": False} and not lost


def test_a_conversation_becomes_items() -> None:
    found, lost = items(
        user(Text("q")),
        assistant(Thinking("a", vendor="openai"), Thinking("b", vendor="openai"),
                  Thinking("", "", "openai", "e", {"openai": {"id": "rs_1"}}),
                  Text("Let me "), Text("look."), ToolCall("c1", "f", '{"a": 1}', {"a": 1}), ToolCall("c2", "g", "x",
                  None, True)),
        user(ToolResult("c1", (Text("one"),)), ToolResult("c2", (Text("two"),), True), Text("go on")),
        assistant(Refusal("no")), Message("system", (Text("s"),)),
    )  # fmt: skip
    assert found == [
        {"type": "message", "role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "e",
         "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
        {"type": "message", "role": "assistant", "content": "Let me look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "Error: two"},
        {"type": "message", "role": "user", "content": "go on"},
        {"type": "message", "role": "assistant", "id": found[8]["id"], "status": "completed",
         "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "message", "role": "system", "content": "s"},
    ]  # fmt: skip
    assert not lost


@pytest.mark.parametrize(("part", "expected"), [
    (Media("image", "image/png", PIXEL, detail="low"),
     {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"}),
    (Media("image", url="https://h/a.png"), {"type": "input_image", "image_url": "https://h/a.png", "detail": "auto"}),
    (Media("image", file_id="file-1", vendor="openai"), {"type": "input_image", "file_id": "file-1", "detail": "auto"}),
    (Media("document", "application/pdf", PIXEL, name="a.pdf"),
     {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}),
    (Media("document", url="https://h/a.pdf"), {"type": "input_file", "file_url": "https://h/a.pdf"}),
    (Media("audio", "audio/wav", PIXEL), {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}}),
])  # fmt: skip
def test_media(part: Media, expected: dict[str, Any]) -> None:
    found, lost = items(user(Text("q"), part))
    assert found[0]["content"] == [{"type": "input_text", "text": "q"}, expected] and not lost


@pytest.mark.parametrize(("part", "name"), [
    (Media("image", file_id="f", vendor="anthropic"), "image.file_id"), (Media("image", url="gs://b/a"), "image.url"),
    (Media("video", "video/mp4", PIXEL), "video.video"), (Media("document", file_id="f", vendor="gemini"), "document.file_id"),
])  # fmt: skip
def test_media_that_cannot_go_is_reported_and_named(part: Media, name: str) -> None:
    found, lost = items(user(part))
    assert "could not be passed on" in found[0]["content"] and lost == [name]


def test_a_text_document_is_text() -> None:
    found, _ = items(user(Media("document", "text/plain", text="hi", name="a.txt")))
    assert found[0]["content"] == '<document title="a.txt">\nhi\n</document>'


def test_pictures_in_a_result_stay_in_it() -> None:
    found, lost = items(user(Text("q")), assistant(ToolCall("c", "f", "{}", {})),
                        user(ToolResult("c", (Text("see"), Media("image", url="https://h")))))  # fmt: skip
    assert [part["type"] for part in found[2]["output"]] == ["input_text", "input_image"] and not lost


@pytest.mark.parametrize(("thought", "quirks", "kind"), [
    (Thinking("Hm", "s", "anthropic"), {}, None), (Thinking("", "", "anthropic", "d"), {}, None), (Thinking("Hm"), {}, None),
    (Thinking("Hm"), {"unsigned_thinking": True}, "reasoning_text"),
])  # fmt: skip
def test_another_vendors_thought_does_not_go_to_openai(thought: Thinking, quirks: dict[str, Any], kind: str | None) -> None:
    found, lost = items(user(Text("q")), assistant(thought, Text("a")), **quirks)
    reasoning = [item for item in found if item["type"] == "reasoning"]
    assert [part["type"] for item in reasoning for part in item["content"]] == ([kind] if kind else [])
    assert lost == ([] if kind else ["thinking"])


def test_a_call_without_result_and_a_result_without_call_are_repaired() -> None:
    found, lost = items(assistant(ToolCall("c", "f", "{}", {})), user(ToolResult("x", (Text("r"),))))
    assert [item["type"] for item in found] == ["function_call", "function_call_output", "message"]
    assert lost == ["tool_result=orphan", "tool_result=added"]


# -------------------------------------------------------------------------------------------------------------------- tools


def test_tools() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}
    body, lost = written(asked(tools=(
        Tool("f", "d", {"type": "object", "additionalProperties": False}, True), Tool("a.b"),
        Tool("c", custom=True, extras={"openai": {"format": grammar}}),
        Tool("web_search", vendor="responses", value={"type": "web_search"}),
        Tool("w", vendor="anthropic", value={"type": "web_search_20250305", "name": "w"}),
    )))  # fmt: skip
    assert body["tools"][0] == {
        "type": "function",
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "additionalProperties": False},
        "strict": True,
    }
    assert body["tools"][1]["name"].startswith("a_b_") and body["tools"][1]["strict"] is False
    assert body["tools"][2] == {
        "type": "custom",
        "name": "c",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    }
    assert body["tools"][3] == {"type": "web_search"} and lost == ["tools=w"]


@pytest.mark.parametrize(("choice", "expected"), [
    (ToolChoice("auto"), "auto"), (ToolChoice("required"), "required"), (ToolChoice("none"), "none"),
    (ToolChoice("required", ("f",)), {"type": "function", "name": "f"}),
    (ToolChoice("required", ("c",)), {"type": "custom", "name": "c"}),
    (ToolChoice("auto", ("f",)), {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
    (ToolChoice("required", ("f", "c")), {"type": "allowed_tools", "mode": "required", "tools": [
        {"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]}),
])  # fmt: skip
def test_tool_choice(choice: ToolChoice, expected: Any) -> None:
    body, _ = written(asked(tools=(Tool("f"), Tool("c", custom=True)), tool_choice=choice, parallel_tool_calls=False))
    assert body["tool_choice"] == expected and body["parallel_tool_calls"] is False


SEARCH = Tool("web_search", vendor="anthropic", value={"type": "web_search_20250305"}, search=ir.WebSearch())


@pytest.mark.parametrize(("choice", "expected"), [
    (ToolChoice("required", ("web_search",)), {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}),
    (ToolChoice("auto", ("f", "web_search")), {"type": "allowed_tools", "mode": "auto", "tools": [
        {"type": "function", "name": "f"}, {"type": "web_search"}]}),
    (ToolChoice("required", ("docs",)), {"type": "allowed_tools", "mode": "required", "tools": [
        {"type": "mcp", "server_label": "docs"}]}),
])  # fmt: skip
def test_a_tool_that_runs_at_openai_is_chosen_by_its_type(choice: ToolChoice, expected: Any) -> None:
    mcp = Tool("docs", vendor="responses", value={"type": "mcp", "server_label": "docs", "server_url": "https://h.example"})
    body, lost = written(asked(tools=(Tool("f"), SEARCH, mcp), tool_choice=choice))
    assert body["tool_choice"] == expected and not lost


def test_a_choice_without_tools_is_not_sent() -> None:
    body, lost = written(asked(tool_choice=ToolChoice("required"), parallel_tool_calls=True))
    assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"} and lost == ["tool_choice"]


# ----------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(("model", "fields", "expected", "named"), [
    ("gpt-4o", {"max_tokens": 50, "temperature": 0.5, "top_p": 0.9},
     {"max_output_tokens": 50, "temperature": 0.5, "top_p": 0.9}, []),
    ("gpt-4o", {"max_tokens": 5}, {"max_output_tokens": 16}, ["max_tokens=16 at least"]),
    ("gpt-5.5", {"temperature": 0.5}, {}, ["temperature"]),
    ("gpt-5.5", {"temperature": 0.5, "reasoning": ir.Reasoning(effort="none")},
     {"temperature": 0.5, "reasoning": {"effort": "none"}}, []),
    ("gpt-4o", {"stop": ("x",), "seed": 1, "n": 2, "top_k": 4}, {}, ["seed", "top_k", "stop", "n"]),
    ("gpt-4o", {"user": "u", "cache_key": "k", "metadata": {"a": "b"}, "service_tier": "standard"},
     {"safety_identifier": "u", "prompt_cache_key": "k", "metadata": {"a": "b"}, "service_tier": "default"}, []),
    ("gpt-4o", {"service_tier": "batch"}, {}, ["service_tier=batch"]),
    ("gpt-4o", {"logprobs": True, "top_logprobs": 2}, {"include": ["message.output_text.logprobs"], "top_logprobs": 2}, []),
    ("gpt-5.5", {"reasoning": ir.Reasoning("on", 9_000)}, {"reasoning": {"effort": "medium", "summary": "auto"}}, []),
    ("gpt-5.5", {"reasoning": ir.Reasoning(effort="max")}, {"reasoning": {"effort": "xhigh"}}, ["reasoning.effort=max"]),
    ("gpt-5", {"reasoning": ir.Reasoning("off")}, {"reasoning": {"effort": "minimal"}}, ["reasoning=off"]),
    ("o3", {"reasoning": ir.Reasoning("off")}, {"reasoning": {"effort": "low"}}, ["reasoning=off"]),
    ("gpt-4o", {"reasoning": ir.Reasoning(effort="high")}, {}, ["reasoning"]),
    ("gpt-4o", {"stream": True}, {"stream": True}, []),
    ("gpt-4o", {"extras": {"openai": {"verbosity": "low", "store": True, "logit_bias": {"5": 1}}}},
     {"text": {"verbosity": "low"}, "store": True}, ["logit_bias"]),
    ("gpt-4o", {"extras": {"anthropic": {"container": 1}}}, {}, ["container"]),
])  # fmt: skip
def test_settings(model: str, fields: Mapping[str, Any], expected: Mapping[str, Any], named: list[str]) -> None:
    body, lost = written(asked(**fields), model)
    thinking = {"include": ["reasoning.encrypted_content"]} if model != "gpt-4o" else {}
    plain = {"model": model, "input": [{"type": "message", "role": "user", "content": "q"}], "store": False}
    assert body == {**plain, **thinking, **expected} and lost == named


def test_a_local_server_takes_more() -> None:
    body, lost = written(asked(stop=("x",), seed=1, top_k=4, max_tokens=5), local=True, min_output_tokens=1, drop=["store"])
    assert (body["stop"], body["seed"], body["top_k"], body["max_output_tokens"]) == (["x"], 1, 4, 5)
    assert "store" not in body and lost == ["store"]


@pytest.mark.parametrize("quirks", [{"summary": ""}, {"summary": "detailed"}])
def test_the_word_for_shown_thoughts_can_be_set(quirks: dict[str, str]) -> None:
    body, _ = written(asked(reasoning=ir.Reasoning(shown=True)), "gpt-5.5", **quirks)
    assert body.get("reasoning", {}).get("summary", "") == quirks["summary"]


def test_a_schema_and_a_bare_json() -> None:
    schema = ir.ResponseFormat("schema", {"type": "object", "additionalProperties": False}, "my name", "d", True)
    body, _ = written(asked(response_format=schema))
    form = body["text"]["format"]
    assert form == {
        "type": "json_schema",
        "name": form["name"],
        "schema": {"type": "object", "additionalProperties": False},
        "strict": True,
        "description": "d",
    }
    body, _ = written(asked(response_format=ir.ResponseFormat("json")))
    assert body["text"] == {"format": {"type": "json_object"}} and body["input"][0]["role"] == "developer"
    body, _ = written(asked(user(Text("as JSON please")), response_format=ir.ResponseFormat("json")))
    assert len(body["input"]) == 1  # the API asks for the word only


def test_the_system_text_is_the_instructions() -> None:
    body, lost = written(asked(system=(Text("x-anthropic-billing-header: cch=1"), Text("a"), Text("b"))))
    assert body["instructions"] == "a\n\nb" and lost == ["system.x-anthropic-billing-header"]


# -------------------------------------------------------------------------------------------------- to and from the others

BODY: dict[str, Any] = {
    "instructions": "Be brief.", "max_output_tokens": 100, "temperature": 0.5,
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "q"},
                                     {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}]},
        {"type": "message", "role": "assistant", "content": "Let me look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
    ],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
              {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}}],
    "tool_choice": "required", "parallel_tool_calls": True,
}  # fmt: skip


def test_golden_to_openai() -> None:
    lost: list[str] = []
    body = openai.write_request(read(BODY["input"], **{k: v for k, v in BODY.items() if k != "input"}), model="gpt-4o",
    quirks={},
                                lost=lost)  # fmt: skip
    assert not lost and body == {
        "model": "gpt-4o", "max_tokens": 100, "temperature": 0.5, "tool_choice": "required", "parallel_tool_calls": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "q"},
                                         {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"}, {"role": "tool", "tool_call_id": "c2", "content": "two"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object",
            "properties": {}}}},
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}],
    }  # fmt: skip


def test_golden_to_anthropic() -> None:
    lost: list[str] = []
    request = read(BODY["input"], **{k: v for k, v in BODY.items() if k != "input"})
    body = anthropic.write_request(request, model="claude-sonnet-4-0", quirks={}, lost=lost)
    assert not lost and body["system"] == "Be brief." and body["max_tokens"] == 100
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me look."}, {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                                     {"type": "tool_result", "tool_use_id": "c2", "content": "two"}]},
    ]  # fmt: skip
    assert body["tool_choice"]["type"] == "any"


@pytest.mark.parametrize(
    ("module", "model"), [(openai, "gpt-4o"), (anthropic, "claude-sonnet-4-0"), (gemini, "gemini-2.5-pro")]
)
def test_there_and_back_is_the_same_request(module: Any, model: str) -> None:
    """Responses -> another protocol -> Responses: the same items, but for what the other has no word for."""
    request = read(BODY["input"], **{k: v for k, v in BODY.items() if k != "input"})
    other = json.loads(json.dumps(module.write_request(request, model=model, quirks={}, lost=[])))
    body, _ = written(module.read_request(other, model="m", stream=False))
    again = responses.read_request(body)
    assert again.system == request.system and [tool.name for tool in again.tools] == ["f", "g"]
    assert again.tool_choice == request.tool_choice
    assert [
        (type(part), getattr(part, "text", getattr(part, "name", ""))) for each in again.messages for part in each.parts
    ] == [(type(part), getattr(part, "text", getattr(part, "name", ""))) for each in request.messages for part in each.parts]


def test_there_and_back_through_ir_is_the_same_body() -> None:
    given = {**BODY, "tools": [{**tool, "strict": False} for tool in BODY["tools"]]}
    body, lost = written(read(given["input"], **{k: v for k, v in given.items() if k != "input"}))
    picture = body["input"][0]["content"][1]
    assert picture.pop("detail") == "auto" and not lost
    first = {"type": "message", **BODY["input"][0]}
    assert body == {**given, "input": [first, *BODY["input"][1:]], "model": "m", "store": False}


def test_openais_own_items_go_back_to_openai_and_are_named_elsewhere() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    request = read([{"role": "user", "content": "q"}, item, {"role": "assistant", "content": "a"}])
    assert written(request)[0]["input"][1] == item
    lost: list[str] = []
    openai.write_request(request, model="gpt-4o", quirks={}, lost=lost)
    assert lost == ["web_search_call"]


def test_an_opaque_result_item_stays_an_item() -> None:
    item = {"type": "shell_call_output", "call_id": "c", "output": []}
    found, _ = items(user(Opaque("responses", "shell_call_output", item), Text("go on")))
    assert found[0] == item and found[1]["content"] == "go on"


def test_the_callers_reply_is_not_part_of_the_question() -> None:
    request = read("hi")
    assert request == replace(request, reply=ir.NO_REPLY)


# ------------------------------------------------------------------------------------------------------------ the API's rules

BODIES = sorted(each for each in CORPUS.glob("request-*") if each.suffix != ".json")


@pytest.mark.parametrize("model", ["gpt-5.5", "gpt-4o"])
@pytest.mark.parametrize("path", BODIES, ids=lambda each: each.name)
def test_what_is_written_keeps_the_rules_of_the_api(path: Path, model: str) -> None:
    body, _ = written(anthropic.read_request(json.loads(path.read_bytes()), model="m"), model)
    assert refusal_of(body) is None


@pytest.mark.parametrize(("body", "words"), [
    ({"stop": ["a"]}, "Unknown parameter"), ({"max_output_tokens": 5}, "below minimum"), ({"temperature": 1}, "not supported"),
    ({"tool_choice": {"type": "function", "name": "f"}}, "alongside tools"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "No tool call found"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "No tool output found"),
    ({"input": [{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "e"}]}, "required following item"),
    ({"input": [{"type": "reasoning", "id": "r", "summary": []}, {"role": "assistant", "content": "a"}]}, "not found"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "not found"),
    ({"previous_response_id": "resp_1", "input": []}, "not found"), ({"input": []}, "Missing"),
    ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}]}, "Invalid value"),
])  # fmt: skip
def test_the_rules_refuse_what_the_api_refuses(body: dict[str, Any], words: str) -> None:
    found = refusal_of({"model": "gpt-5.5", "input": [{"role": "user", "content": "q"}], **body})
    assert found is not None and words in found[1]


def test_the_same_thought_in_two_turns_is_two_items() -> None:
    thought = ir.Thinking("", data="gAAAA", vendor="openai")
    turn = ir.Message("assistant", (thought, ir.Text("a")))
    asked = ir.Message("user", (ir.Text("b"),))
    body, _ = written(ir.Request("m", (asked, turn, asked, turn, asked)), model="gpt-5.5")
    ids = [item["id"] for item in body["input"] if item["type"] == "reasoning"]
    assert len(ids) == len(set(ids)) == 2
    assert ids == [item["id"] for item in written(ir.Request("m", (asked, turn, asked, turn)), model="gpt-5.5")[0]["input"]
                   if item["type"] == "reasoning"], "the same ids again, for the cache of prefixes"  # fmt: skip
