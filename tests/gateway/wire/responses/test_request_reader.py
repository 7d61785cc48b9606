"""A Responses caller's body -> ir: every item, tool, choice and setting."""

from __future__ import annotations

from typing import Any

import pytest
from responding import SEAL, read

from llm_router_gateway.errors import BadRequest, GatewayError, NotFound
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.ir import (
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llm_router_gateway.wire.responses import codec as responses

PIXEL = "iVBORw0KGgo="


def parts(*items: Any) -> list[list[ir.Part]]:
    return [list(message.parts) for message in read(list(items)).messages]


# ---------------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(("item", "expected"), [
    ({"role": "user", "content": "a"}, Message("user", (Text("a"),))),
    ({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}, Message("user", (Text("a"),))),
    ({"role": "assistant", "content": "a"}, Message("assistant", (Text("a"),))),
    ({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
      "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]}, Message("assistant",
      (Text("a"),))),
    ({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
     Message("assistant", (Refusal("no"),))),
    ({"role": "user", "content": ""}, Message("user", (Text(""),))),
    ({"type": "message", "role": "assistant", "phase": "commentary", "content": "a"},
     Message("assistant", (Text("a"),), extras={"responses": {"phase": "commentary"}})),
])  # fmt: skip
def test_a_message_with_and_without_its_type(item: dict[str, Any], expected: Message) -> None:
    assert read([item]).messages == (expected,)


def test_a_text_is_a_message_of_the_user() -> None:
    assert read("hi").messages == (Message("user", (Text("hi"),)),)


def test_what_stands_before_the_conversation_is_the_system_text() -> None:
    found = read([{"role": "developer", "content": "b"}, {"role": "system", "content": "c"}, {"role": "user", "content": "d"},
                  {"role": "developer", "content": "e"}], instructions="a")  # fmt: skip
    assert found.system == (Text("a"), Text("b"), Text("c"))
    assert [message.role for message in found.messages] == ["user", "developer"]


@pytest.mark.parametrize(("part", "expected"), [
    ({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}, Media("image", "image/png", PIXEL)),
    ({"type": "input_image", "image_url": "https://h/a.png", "detail": "low"}, Media("image", url="https://h/a.png",
     detail="low")),
    ({"type": "input_image", "file_id": "file-1", "image_url": None}, Media("image", file_id="file-1", vendor="openai")),
    ({"type": "input_file", "file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"},
     Media("document", "application/pdf", PIXEL, name="a.pdf")),
    ({"type": "input_file", "file_data": PIXEL}, Media("document", "application/pdf", PIXEL)),
    ({"type": "input_file", "file_url": "https://h/a.pdf"}, Media("document", url="https://h/a.pdf")),
    ({"type": "input_file", "file_id": "file-1"}, Media("document", file_id="file-1", vendor="openai")),
    ({"type": "input_audio", "input_audio": {"data": PIXEL, "format": "mp3"}}, Media("audio", "audio/mpeg", PIXEL)),
    ({"type": "new_part", "x": 1}, Opaque("responses", "new_part", {"type": "new_part", "x": 1})),
    ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
     Text("a", cache_control={"type": "ephemeral", "ttl": "1h"})),
])  # fmt: skip
def test_every_part_of_a_message(part: dict[str, Any], expected: ir.Part) -> None:
    assert parts({"role": "user", "content": [part]}) == [[expected]]


# ------------------------------------------------------------------------------------------------------- calls and results


def test_what_the_assistant_did_in_a_row_is_one_message() -> None:
    items = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "e"},
        {"type": "message", "role": "assistant", "content": "Let me look."},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "g", "input": "free text"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
    ]
    assert [list(message.parts) for message in read(items).messages] == [
        [Text("q")],
        [Thinking("Hm", vendor="openai"), Thinking("", "", "openai", "e", {"openai": {"id": "rs_1"}}), Text("Let me look."),
         ToolCall("c1", "f", '{"a":1}', {"a": 1}), ToolCall("c2", "g", "free text", None, True)],
        [ToolResult("c1", (Text("one"),), name="f"), ToolResult("c2", (Text("two"),), name="g")],
    ]  # fmt: skip


def test_two_texts_in_a_row_are_two_messages() -> None:
    said = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert parts(*said) == [[Text("a")], [Text("b")]]


@pytest.mark.parametrize(("call", "result"), [
    ({"call_id": "c1"}, {"call_id": "c1"}),
    ({"call_id": "fc_1"}, {"call_id": "fc_1"}),                    # chatlas: the item's id in both
    ({"id": "fc_1", "call_id": "c1"}, {"call_id": "fc_1"}),        # the same, where the call was kept here
    ({"id": "fc_1"}, {"call_id": "fc_1"}),
    ({"id": "fc_1", "call_id": "c1"}, {"id": "fc_1"}),
    ({}, {}),
])  # fmt: skip
def test_a_result_finds_its_call(call: dict[str, str], result: dict[str, str]) -> None:
    made = parts({"type": "function_call", "name": "f", "arguments": "{}", **call},
                 {"type": "function_call_output", "output": "1", **result})  # fmt: skip
    (called,), (answered,) = made
    assert isinstance(called, ToolCall) and isinstance(answered, ToolResult)
    assert called.id == answered.id != "" and answered.name == "f"


@pytest.mark.parametrize(("output", "expected"), [
    ("", ()), ("a", (Text("a"),)), ([], (Text("[]"),)), ({"a": 1}, (Text('{"a":1}'),)), ([1], (Text("[1]"),)),
    ([{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://h"}],
     (Text("a"), Media("image", url="https://h"))),
    ([{"city": "Oslo"}], (Text('[{"city":"Oslo"}]'),)),
])  # fmt: skip
def test_a_result_is_text_or_parts_or_any_json(output: Any, expected: tuple[ir.Part, ...]) -> None:
    made = parts({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                 {"type": "function_call_output", "call_id": "c", "output": output})  # fmt: skip
    result = made[1][0]
    assert isinstance(result, ToolResult) and result.parts == expected


def test_geminis_signature_comes_back_in_the_calls_id() -> None:
    made = parts({"type": "function_call", "call_id": "x__gemini_c2ln", "name": "f", "arguments": "{}"},
                 {"type": "function_call_output", "call_id": "x__gemini_c2ln", "output": "1"})  # fmt: skip
    assert made[0] == [ToolCall("x", "f", "{}", {}, signature="c2ln", vendor="gemini")]
    assert made[1] == [ToolResult("x", (Text("1"),), name="f", vendor="gemini")]


@pytest.mark.parametrize(("kind", "role"), [
    ("web_search_call", "assistant"), ("mcp_list_tools", "assistant"), ("shell_call", "assistant"),
    ("not_yet_known", "assistant"),
    ("shell_call_output", "user"), ("computer_call_output", "user"), ("mcp_approval_response", "user"),
])  # fmt: skip
def test_what_only_openai_knows_stays_as_it_is(kind: str, role: str) -> None:
    item = {"type": kind, "id": "x", "more": [1]}
    assert read([item]).messages == (Message(role, (Opaque("responses", kind, item),)),)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------------- thoughts


@pytest.mark.parametrize(("value", "expected"), [
    ({"kind": "thinking", "vendor": "anthropic", "text": "Hm", "signature": "s"}, Thinking("Hm", "s", "anthropic")),
    ({"kind": "thinking", "vendor": "anthropic", "data": "d"}, Thinking("", "", "anthropic", "d")),
    ({"kind": "signature", "vendor": "gemini", "signature": "c2ln"}, Text("", "c2ln", "gemini")),
])  # fmt: skip
def test_a_sealed_thought_is_opened_whatever_its_summary_says(value: dict[str, str], expected: ir.Part) -> None:
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": SEAL.close(value), "content": None,
            "summary": [{"type": "summary_text", "text": "changed"}]}  # fmt: skip
    assert parts(item) == [[expected]]


def test_without_a_seal_only_the_summary_is_left() -> None:
    sealed = SEAL.close({"kind": "thinking", "vendor": "anthropic", "text": "Hm", "signature": "s"})
    item = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": sealed}
    assert read([item], seal=None).messages == (Message("assistant", (Thinking("Hm"),)),)


def test_a_changed_seal_is_refused() -> None:
    sealed = SEAL.close({"kind": "thinking", "vendor": "anthropic", "text": "Hm", "signature": "s"})
    with pytest.raises(BadRequest, match="was changed"):
        read([{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": sealed[:-9]}])


def test_a_plain_thought_is_nobodys() -> None:
    content = [{"type": "reasoning_text", "text": "whole"}]
    assert parts({"type": "reasoning", "id": "r", "summary": [{"text": "short"}], "content": content}) == [[Thinking("whole")]]
    assert parts({"type": "reasoning", "id": "r", "summary": [{"text": "a"}, {"text": "b"}]}) == [
        [Thinking("a"), Thinking("b")]
    ]
    assert parts({"type": "reasoning", "id": "r", "summary": []}) == []


# -------------------------------------------------------------------------------------------------------------------- tools


def test_every_kind_of_tool() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    found = read(tools=[
        {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}, "strict": None},
        {"type": "function", "name": "g", "strict": True, "defer_loading": True},
        {"type": "custom", "name": "c", "description": "d", "format": grammar},
        {"type": "web_search", "filters": None},
    ]).tools  # fmt: skip
    assert found == (
        ir.Tool("f", parameters={"type": "object"}),
        ir.Tool("g", strict=True, extras={"responses": {"defer_loading": True}}),
        ir.Tool("c", "d", custom=True, extras={"openai": {"format": {
            "type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}}}),
        ir.Tool("web_search", vendor="responses", value={"type": "web_search", "filters": None}),
    )  # fmt: skip


def test_a_tool_in_a_namespace_has_one_name_and_leads_back() -> None:
    tools = [{"type": "namespace", "name": "ns", "description": "for agents", "tools": [
        {"type": "function", "name": "f", "description": "d"}, {"type": "function", "name": "g"}]}]  # fmt: skip
    found = read([{"role": "user", "content": "q"},
                  {"type": "function_call", "call_id": "c", "namespace": "ns", "name": "f", "arguments": "{}"}],
                 tools=tools, tool_choice={"type": "function", "namespace": "ns", "name": "g"})  # fmt: skip
    assert [tool.name for tool in found.tools] == ["ns__f", "ns__g"]
    assert found.tools[0].description == "d\n\n[ns: for agents]"
    assert found.reply.namespaces == {"ns__f": ("ns", "f"), "ns__g": ("ns", "g")}
    assert found.messages[1].parts == (ToolCall("c", "ns__f", "{}", {}),)
    assert found.tool_choice == ToolChoice("required", ("ns__g",))


def test_tools_that_come_with_the_conversation_are_tools() -> None:
    items = [{"type": "additional_tools", "role": "developer", "tools": [
                 {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}]},
             {"role": "user", "content": "q"},
             {"type": "tool_search_output", "call_id": "t", "tools": [{"type": "function", "name": "found"}]}]  # fmt: skip
    found = read(items, tools=[{"type": "function", "name": "found", "description": "old"}])
    assert [(tool.name, tool.custom) for tool in found.tools] == [("found", False), ("functions__exec", True)]
    assert found.tools[0].description == ""  # the later one counts


@pytest.mark.parametrize(("choice", "expected"), [
    (None, None), ("auto", ToolChoice("auto")), ("none", ToolChoice("none")), ("required", ToolChoice("required")),
    ({"type": "function", "name": "f"}, ToolChoice("required", ("f",))),
    ({"type": "function", "function": {"name": "f"}}, ToolChoice("required", ("f",))),
    ({"type": "custom", "name": "c"}, ToolChoice("required", ("c",))),
    ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, ToolChoice("auto", ("f",))),
    ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}, {"type": "custom",
     "name": "c"}]},
     ToolChoice("required", ("f", "c"))),
])  # fmt: skip
def test_every_tool_choice(choice: Any, expected: ToolChoice | None) -> None:
    found = read(tool_choice=choice)
    assert found.tool_choice == expected and not found.extras


@pytest.mark.parametrize("choice", [{"type": "web_search_preview"}, {"type": "mcp", "server_label": "s"}, {"type": "shell"}])
def test_a_choice_of_openais_own_tools_is_openais(choice: dict[str, str]) -> None:
    found = read(tool_choice=choice)
    assert found.tool_choice is None and found.extras == {"responses": {"tool_choice": choice}}


def test_a_forced_call_wins_over_a_format() -> None:
    wanted = {"format": {"type": "json_schema", "name": "n", "schema": {}}}
    assert read(text=wanted, tool_choice={"type": "function", "name": "f"}).response_format is None
    assert read(text=wanted, tool_choice="required").response_format is not None


# ----------------------------------------------------------------------------------------------------------------- settings


def test_every_setting() -> None:
    found = read(
        stream=True, max_output_tokens=50, temperature=0.5, top_p=0.9, top_logprobs=3, parallel_tool_calls=False,
        safety_identifier="u", metadata={"a": "b"}, service_tier="flex", prompt_cache_key="k",
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto", "context": "all_turns"}, include=["reasoning.encrypted_content"],
        truncation="auto", store=False,
    )  # fmt: skip
    assert found == ir.Request(
        "m", (Message("user", (Text("hi"),)),), stream=True, include_usage=True, max_tokens=50, temperature=0.5, top_p=0.9,
        logprobs=True, top_logprobs=3, parallel_tool_calls=False, user="u", metadata={"a": "b"}, service_tier="flex",
        cache_key="k", response_format=ir.ResponseFormat("schema", {"type": "object"}, "n", strict=True),
        reasoning=Reasoning("", None, "high", True),
        extras={"responses": {"reasoning.context": "all_turns", "truncation": "auto"}, "openai": {"verbosity": "low"}},
    )  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), [
    ({"reasoning": {}}, None), ({"reasoning": {"effort": None, "summary": None}}, None),
    ({"reasoning": {"effort": "none"}}, Reasoning(effort="none")), ({"reasoning": {"summary": "auto"}}, Reasoning(shown=True)),
])  # fmt: skip
def test_an_empty_reasoning_says_nothing(fields: dict[str, Any], expected: Reasoning | None) -> None:
    assert read(**fields).reasoning == expected


@pytest.mark.parametrize(("field", "value"), [
    ("store", True), ("stream_options", {"include_obfuscation": False}), ("truncation", "disabled"), ("include", []),
    ("background", False), ("user", None), ("text", {"verbosity": "medium"}), ("text", {"format": None}), ("tools", None),
])  # fmt: skip
def test_what_says_nothing_leaves_nothing(field: str, value: Any) -> None:
    assert read(**{field: value}) == read()


def test_the_answer_repeats_the_request() -> None:
    given = {"instructions": "i", "temperature": 0.5, "tools": [{"type": "web_search"}], "metadata": {"a": "b"}, "store": True}
    found = responses.read_request({"model": "m", "input": "hi", **given}, echo={"previous_response_id": "resp_1"})
    assert found.reply.echo == {**given, "previous_response_id": "resp_1"}


# ----------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("fields", "path"), [
    ({"input": []}, "input"), ({"input": None}, "input"), ({"input": 5}, "input"), ({"input": ["a"]}, "input[0]"),
    ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"), ({"tools": [5]}, "tools[0]"),
    ({"tool_choice": "all"}, "tool_choice"), ({"text": {"format": {"type": "x"}}}, "text.format.type"),
    ({"temperature": "hot"}, "temperature"), ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"background": True}, "background"),
    ({"stream": "yes"}, "stream"), ({"reasoning": "high"}, "reasoning"), ({"model": None}, "model"),
    ({"include": [5]}, "include[0]"),
    ({"input": [{"type": "compaction_trigger"}, {"role": "user", "content": "a"}]}, "input[0]"),
    ({"input": [{"type": "compaction", "encrypted_content": "gAAA"}]}, "input[0]"),
])  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        responses.read_request({"model": "m", "input": "hi", **fields}, seal=SEAL)
    assert caught.value.details["path"] == path


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "rs_1"}, {"id": "rs_1"}])
def test_a_reference_that_was_not_resolved_is_not_left_out(item: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="Item with id 'rs_1' not found"):
        read([item])


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
@pytest.mark.parametrize("protocol", ["openai", "anthropic", "gemini"])
def test_what_is_kept_at_openai_is_refused_elsewhere(name: str, protocol: str) -> None:
    from llm_router_gateway.wire.registry import wire

    request = read(**{name: "x"})
    with pytest.raises(GatewayError, match="kept by responses"):
        wire(protocol).write_request(request, model="m", quirks={}, lost=[])
