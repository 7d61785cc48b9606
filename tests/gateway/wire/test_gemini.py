"""wire/gemini: every rule of the conversion to and from Gemini, as bodies and streams that go in and come out.

Streams are in tests/corpus/wire/gemini: NAME.sse is what came, NAME.sse.json what it says: parts, stop, usage, or the error.
What Gemini's OpenAI-compatible door does (parallel calls without an index) is the OpenAI reader's; pictures behind a URL are
never fetched here, so nothing here can be sent to where it should not go.
"""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collected import answer_of

from llm_router_gateway.errors import BadRequest, GatewayError, Overloaded, RateLimited, StreamCut, UpstreamFailed
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.gemini import common
from llm_router_gateway.wire.gemini.answer import write_stop, write_usage
from llm_router_gateway.wire.gemini.schema import from_gemini, to_gemini
from llm_router_gateway.wire.names import mint_id, pack_id, safe_name, unpack_id
from llm_router_gateway.wire.registry import SPECS
from llm_router_gateway.wire.sse import Event, SSEParser
from llm_router_gateway.wire.verdict import finish_failure

CORPUS = Path(__file__).parents[2] / "corpus" / "wire" / "gemini"
STREAMS = sorted(path.stem for path in CORPUS.glob("*.sse"))
assert STREAMS, f"no streams in {CORPUS}"

Body = dict[str, Any]


def read(body: Body) -> ir.Request:
    return gemini.read_request(body, model="m")


def contents(*parts: Body, role: str = "user") -> Body:
    return {"contents": [{"role": role, "parts": list(parts)}]}


def ask(*messages: ir.Message, **told: Any) -> ir.Request:
    return ir.Request("m", messages or (user("hi"),), **told)


def user(*parts: Any) -> ir.Message:
    return ir.Message("user", tuple(ir.Text(part) if isinstance(part, str) else part for part in parts))


def model(*parts: Any) -> ir.Message:
    return replace(user(*parts), role="assistant")


def call(id: str, name: str = "f", arguments: Body | None = None, **told: Any) -> ir.ToolCall:
    return ir.ToolCall(id, name, json.dumps(arguments or {}), arguments or {}, **told)


def result(id: str, words: str = "ok", **told: Any) -> ir.ToolResult:
    return ir.ToolResult(id, (ir.Text(words),), **told)


def written(request: ir.Request, name: str = "gemini-2.5-flash", **quirks: Any) -> tuple[Body, list[str]]:
    lost: list[str] = []
    return gemini.write_request(request, model=name, quirks=quirks, lost=lost), lost


def body_of(request: ir.Request, name: str = "gemini-2.5-flash", **quirks: Any) -> Body:
    return written(request, name, **quirks)[0]


SHOWN = ask(reasoning=ir.Reasoning(shown=True))


# ---------------------------------------------------------------------------------------------------------- requests, read


def test_both_spellings_of_every_field_are_the_same_request() -> None:
    snake = {
        "contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}]}],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": 9, "top_p": 0.5, "stop_sequences": ["x"], "candidate_count": 2,
                              "thinking_config": {"thinking_budget": 5, "include_thoughts": True}},
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }  # fmt: skip
    camel = {
        "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"maxOutputTokens": 9, "topP": 0.5, "stopSequences": ["x"], "candidateCount": 2,
                             "thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }  # fmt: skip
    assert read(snake) == read(camel)
    found = read(camel)
    assert found.system == (ir.Text("Be brief."),)
    assert (found.max_tokens, found.top_p, found.stop, found.n) == (9, 0.5, ("x",), 2)
    assert found.tool_choice == ir.ToolChoice("required", ("f",))
    assert found.reasoning == ir.Reasoning("on", 5, "", True)
    assert found.extras == {"gemini": {"safetySettings": camel["safetySettings"]}}


def test_a_property_that_is_named_like_a_field_of_geminis_keeps_its_name() -> None:
    schema = {"type": "object", "properties": {"mime_type": {"type": "string"}}}
    found = read(contents({"function_call": {"name": "f", "args": {"mime_type": "x", "none": None}}}, role="model")
                 | {"tools": {"function_declarations": {"name": "f", "parameters": schema}}})  # fmt: skip
    assert found.messages[0].parts[0].arguments == {"mime_type": "x", "none": None}  # type: ignore[union-attr]
    assert found.tools[0].parameters == schema


@pytest.mark.parametrize(("part", "expected"), [
    ({"text": "hi"}, ir.Text("hi")),
    ({"text": "hi", "thoughtSignature": "c2ln"}, ir.Text("hi", "c2ln", "gemini")),
    ({"text": "hm", "thought": True, "thoughtSignature": "c2ln"}, ir.Thinking("hm", "c2ln", "gemini")),
    ({"thoughtSignature": "c2ln"}, ir.Text("", "c2ln", "gemini")),
    ({"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}, ir.Media("audio", "audio/wav", data="AA==")),
    ({"inlineData": {"mime_type": "image/png", "data": "_-8"}}, ir.Media("image", "image/png", data="/+8=")),
    ({"fileData": {"fileUri": "https://h/a.pdf"}}, ir.Media("document", "application/pdf", url="https://h/a.pdf")),
    ({"fileData": {"fileUri": "https://youtu.be/x"}}, ir.Media("video", url="https://youtu.be/x")),
    ({"fileData": {"mimeType": "image/png", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
     ir.Media("image", "image/png", file_id="https://generativelanguage.googleapis.com/v1beta/files/x", vendor="gemini")),
    ({"functionCall": {"id": "c1", "name": "f", "args": {"a": "ü"}}, "thoughtSignature": "c2ln"},
     ir.ToolCall("c1", "f", '{"a":"ü"}', {"a": "ü"}, signature="c2ln", vendor="gemini")),
    ({"executableCode": {"code": "1"}}, ir.Opaque("gemini", "executableCode", {"executableCode": {"code": "1"}},
                                                  "```python\n1\n```")),
    ({"newThing": {"a": 1}}, ir.Opaque("gemini", "newThing", {"newThing": {"a": 1}})),
])  # fmt: skip
def test_every_kind_of_part_is_read(part: Body, expected: ir.Part) -> None:
    assert read(contents(part)).messages[0].parts == (expected,)


@pytest.mark.parametrize(("response", "expected"), [
    ({"output": "42"}, result("c1", "42", name="f", vendor="gemini")),
    ({"result": "42"}, result("c1", "42", name="f", vendor="gemini")),
    ({"error": "no"}, result("c1", "no", is_error=True, name="f", vendor="gemini")),
    ({"a": 1, "b": "x"}, result("c1", '{"a":1,"b":"x"}', name="f", vendor="gemini", data={"a": 1, "b": "x"})),
])  # fmt: skip
def test_a_functions_response_is_its_text_or_its_object(response: Body, expected: ir.ToolResult) -> None:
    found = read(contents({"functionResponse": {"id": "c1", "name": "f", "response": response}}))
    assert found.messages[0].parts == (expected,)


def ids(*turns: tuple[str, list[Body]]) -> list[list[str]]:
    found = read({"contents": [{"role": role, "parts": parts} for role, parts in turns]})
    return [[part.id for part in message.parts if isinstance(part, ir.ToolCall | ir.ToolResult)] for message in found.messages]


def test_results_without_ids_belong_to_their_calls_by_name_and_order() -> None:
    asked = [{"functionCall": {"name": name, "args": {}}} for name in ("f", "f", "g")]
    answered = [{"functionResponse": {"name": name, "response": {}}} for name in ("g", "f", "f")]
    calls, results = ids(("model", asked), ("user", answered))
    assert len(set(calls)) == 3  # two calls of one name are two calls (row 17)
    assert results == [calls[2], calls[0], calls[1]]
    again = ids(("model", asked), ("user", answered), ("model", asked), ("user", answered))
    assert again[:2] == [calls, results] and not set(again[2]) & set(calls)  # the same each time it is sent; never twice


def test_a_result_of_another_name_or_id_finds_the_call_that_waits() -> None:
    calls, results = ids(("model", [{"functionCall": {"name": "f"}}]), ("user", [{"functionResponse": {"name": "renamed"}}]))
    assert results == calls
    asked = [{"functionCall": {"name": "f", "id": "a"}}, {"functionCall": {"name": "f", "id": "b"}}]
    _, results = ids(("model", asked), ("user", [{"functionResponse": {"name": "f", **id}} for id in ({"id": "b"}, {})]))
    assert results == ["b", "a"]


def test_a_stream_kept_chunk_by_chunk_is_one_turn_again() -> None:
    chunks = [{"text": "H", "thought": True}, {"text": "m", "thought": True}, {"text": "", "thought": True,
              "thoughtSignature": "c2ln"}, {"text": "Hel"}, {"text": "lo"}, {"functionCall": {"name": "f", "id": "a"}},
              {"text": ""}]  # fmt: skip
    turns = [{"role": "model", "parts": [chunk]} for chunk in chunks]
    found = read({"contents": [{"parts": [{"text": "x"}]}, *turns, {"parts": [{"text": "y"}]}, {"parts": [{"text": "z"}]}]})
    assert [message.role for message in found.messages] == ["user", "assistant", "user", "user"]
    assert found.messages[1].parts == (
        ir.Thinking("Hm", "c2ln", "gemini"), ir.Text("Hello"), ir.ToolCall("a", "f", "{}", {}, vendor="gemini"), ir.Text(""),
    )  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), [
    ({"mode": "AUTO"}, ir.ToolChoice("auto")),
    ({"mode": "VALIDATED"}, ir.ToolChoice("auto")),
    ({"mode": "ANY"}, ir.ToolChoice("required")),
    ({"mode": "any", "allowedFunctionNames": ["f"]}, ir.ToolChoice("required", ("f",))),
    ({"mode": "NONE"}, ir.ToolChoice("none")),
    ({"mode": "MODE_UNSPECIFIED"}, None),
    ({}, None),
])  # fmt: skip
def test_modes_of_calling(config: Body, expected: ir.ToolChoice | None) -> None:
    assert read(contents({"text": "x"}) | {"toolConfig": {"functionCallingConfig": config}}).tool_choice == expected


@pytest.mark.parametrize(("config", "expected"), [
    ({"thinkingBudget": -1}, ir.Reasoning("adaptive")),
    ({"thinkingBudget": 0}, ir.Reasoning("off", 0)),
    ({"thinkingLevel": "LOW"}, ir.Reasoning("", effort="low")),
    ({"includeThoughts": True}, ir.Reasoning(shown=True)),
])  # fmt: skip
def test_how_much_to_think(config: Body, expected: ir.Reasoning) -> None:
    assert read(contents({"text": "x"}) | {"generationConfig": {"thinkingConfig": config}}).reasoning == expected


@pytest.mark.parametrize(("config", "expected"), [
    ({"responseMimeType": "application/json"}, ir.ResponseFormat("json")),
    ({"responseMimeType": "text/plain"}, None),
    ({"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}},
     ir.ResponseFormat("schema", {"type": "array", "items": {"type": "string"}})),
    ({"responseJsonSchema": {"type": "object", "$defs": {}}}, ir.ResponseFormat("schema", {"type": "object", "$defs": {}})),
])  # fmt: skip
def test_answers_in_json(config: Body, expected: ir.ResponseFormat | None) -> None:
    assert read(contents({"text": "x"}) | {"generationConfig": config}).response_format == expected


def test_what_has_no_neutral_place_is_kept_under_its_path_and_comes_back() -> None:
    body = contents({"text": "x"}) | {
        "cachedContent": "cachedContents/1",
        "labels": {"team": "a"},
        "generationConfig": {"speechConfig": {"x": 1}, "responseModalities": ["IMAGE"], "responseMimeType": "text/x.enum"},
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {"languageCode": "no"}},
        "tools": [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]}],
    }
    found = read(body)
    assert sorted(found.extras["gemini"]) == [
        "cachedContent", "generationConfig.responseMimeType", "generationConfig.responseModalities",
        "generationConfig.speechConfig", "toolConfig.functionCallingConfig.mode", "toolConfig.retrievalConfig",
    ]  # fmt: skip
    back, lost = written(found, labels=True)
    assert {name: back[name] for name in ("cachedContent", "labels", "generationConfig", "toolConfig")} == {
        name: body[name] for name in ("cachedContent", "labels", "generationConfig", "toolConfig")}  # fmt: skip
    assert back["tools"] == [body["tools"][1], body["tools"][0]] and not lost


@pytest.mark.parametrize(("body", "path"), [
    ({}, "contents"),
    ({"contents": "hi"}, "contents"),
    ({"contents": [3]}, "contents[0]"),
    ({"contents": [{"role": "wizard", "parts": []}]}, "contents[0].role"),
    (contents({"text": 3}), "contents[0].parts[0].text"),
    (contents({"functionCall": {"name": "f", "args": []}}), "contents[0].parts[0].functionCall.args"),
    (contents({"text": "x"}) | {"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
    (contents({"text": "x"}) | {"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_path(body: Body, path: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(body)
    assert refused.value.details["path"] == path


# ------------------------------------------------------------------------------------------------------ requests, written


def test_a_conversation_is_written_with_geminis_words() -> None:
    body, lost = written(ask(
        user("hi", ir.Media("image", "image/png", data="AA==")), model("yes"), user("go"),
        system=(ir.Text("Be brief."),), temperature=0.5, top_p=0.9, top_k=3, max_tokens=99, stop=("x",), n=2, seed=7,
        presence_penalty=0.1, frequency_penalty=0.2, logprobs=True, top_logprobs=4,
    ))  # fmt: skip
    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]},
            {"role": "model", "parts": [{"text": "yes"}]},
            {"role": "user", "parts": [{"text": "go"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 3, "maxOutputTokens": 99, "candidateCount": 2, "seed": 7,
            "presencePenalty": 0.1, "frequencyPenalty": 0.2, "responseLogprobs": True, "logprobs": 4, "stopSequences": ["x"],
        },
    }  # fmt: skip
    assert not lost


def test_all_results_of_a_turn_are_one_content_with_nothing_beside_them() -> None:  # rows 17, 18, 19
    messages = (
        user("go"), model(call("a"), call("b", "g"), call("c")),
        user("text first", result("c", "3"), result("b", "2", is_error=True)), user(result("a", "1")),
    )  # fmt: skip
    body, lost = written(ask(*messages))
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user", "user"]
    assert [part["functionResponse"] for part in body["contents"][2]["parts"]] == [
        {"name": "f", "response": {"output": "1"}},
        {"name": "g", "response": {"error": "2"}},
        {"name": "f", "response": {"output": "3"}},
    ]
    assert body["contents"][3]["parts"] == [{"text": "text first"}] and not lost


def test_an_id_goes_back_only_where_gemini_gave_it() -> None:  # row 18
    own, minted, foreign = "fc-1", mint_id("x"), "toolu_1"
    calls = [call(own, vendor="gemini"), call(minted, vendor="gemini"), call(foreign)]
    body = body_of(ask(user("x"), model(*calls), user(*(result(each.id) for each in calls))))
    for place, kind in ((1, "functionCall"), (2, "functionResponse")):
        assert [part[kind].get("id") for part in body["contents"][place]["parts"]] == [own, None, None]


def test_a_signature_comes_back_through_the_id_that_another_protocol_kept() -> None:  # row 20
    answer = gemini.read_answer({"candidates": [{"content": {"parts": [
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln+/8="}]}, "finishReason": "STOP"}]})  # fmt: skip
    first = answer.candidates[0].parts[0]
    assert isinstance(first, ir.ToolCall)
    id, vendor, signature = unpack_id(pack_id(first))
    back = call(id, vendor=vendor, signature=signature)
    body, lost = written(ask(user("x"), model(back), user(result(id))), "gemini-3-pro")
    assert body["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln+/8="}]
    assert not lost


def test_a_lost_signature_is_replaced_by_googles_own_word_where_one_is_needed() -> None:  # row 20
    request = ask(user("x"), model(call("a"), call("b")), user(result("a"), result("b")))
    parts = body_of(request, "gemini-3-pro")["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["skip_thought_signature_validator", None]
    assert "thoughtSignature" not in json.dumps(body_of(request, "gemini-2.5-pro"))
    assert "thoughtSignature" not in json.dumps(body_of(request, "gemini-3-pro", signatures=False))


def test_a_call_without_a_result_and_a_result_without_a_call_do_not_end_the_conversation() -> None:  # row 26
    body, lost = written(ask(user("x"), model(call("a")), user("never mind", result("z", "late"))))
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"].keys() == {"error"}
    assert "late" in json.dumps(body["contents"][3]) and "functionResponse" not in json.dumps(body["contents"][3])
    assert lost == ["tool_result=orphan", "tool_result=added"]


def test_names_that_gemini_refuses_are_made_fit_and_come_back() -> None:  # row 23
    tool = ir.Tool("9 lives/" + "x" * 80)
    request = ask(user("x"), model(call("a", tool.name)), user(result("a")), tools=(tool,),
                  tool_choice=ir.ToolChoice("required", (tool.name,)))  # fmt: skip
    body, safe = body_of(request), safe_name(tool.name)
    assert body["tools"][0]["functionDeclarations"][0]["name"] == safe != tool.name and len(safe) <= 64
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == [safe]
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == safe
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == safe
    answer = ir.Answer("a", "m", (ir.Candidate((call("b", safe),), ir.Stop("tool_calls")),))
    assert gemini.write_answer(answer, request, [])["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == tool.name


@pytest.mark.parametrize(("choice", "expected", "declared"), [
    (ir.ToolChoice("auto"), {"mode": "AUTO"}, ["f", "g"]),
    (ir.ToolChoice("none"), {"mode": "NONE"}, ["f", "g"]),
    (ir.ToolChoice("required"), {"mode": "ANY"}, ["f", "g"]),
    (ir.ToolChoice("required", ("g",)), {"mode": "ANY", "allowedFunctionNames": ["g"]}, ["f", "g"]),
    (ir.ToolChoice("auto", ("g",)), {"mode": "AUTO"}, ["g"]),  # row 29: the others are not offered
])  # fmt: skip
def test_tool_choice(choice: ir.ToolChoice, expected: Body, declared: list[str]) -> None:
    body = body_of(ask(tools=(ir.Tool("f"), ir.Tool("g")), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": expected}
    assert [each["name"] for each in body["tools"][0]["functionDeclarations"]] == declared


def test_tools_that_run_elsewhere_are_not_sent_and_named() -> None:  # rows 29, 30, 31
    body, lost = written(ask(
        tools=(
            ir.Tool("web_search_20250305", vendor="anthropic", value={"type": "web_search_20250305"}),
            ir.Tool("edit", custom=True),
            ir.Tool("f", extras={"anthropic": {"defer_loading": True}}, cache_control={"type": "ephemeral"}, strict=True),
        ),
        parallel_tool_calls=False,
    ))  # fmt: skip
    free_text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    assert body["tools"] == [{"functionDeclarations": [{"name": "edit", "parameters": free_text}, {"name": "f"}]}]
    assert lost == ["tools[0]=web_search_20250305", "strict", "cache_control", "defer_loading",
                    "parallel_tool_calls=false"]  # fmt: skip


def test_empty_texts_are_left_out_and_something_is_always_there() -> None:  # row 32
    assert body_of(ask(user("", "a"), model(""), user("b")))["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]  # fmt: skip
    assert body_of(ask(user(""), system=(ir.Text("Go."),))) == {"contents": [{"role": "user", "parts": [{"text": "Go."}]}]}
    assert body_of(ask(user(""))) == {"contents": [{"role": "user", "parts": [{"text": " "}]}]}
    assert [each["role"] for each in body_of(ask(model("Hello"), user("hi")))["contents"]] == ["user", "model", "user"]


def test_a_system_message_on_the_way_stays_where_it_was() -> None:  # row 33
    body, lost = written(ask(user("a"), replace(user("Be kind."), role="system"), model("b"), user("c")))
    assert body["contents"][0]["parts"] == [{"text": "a"}, {"text": "<system-reminder>\nBe kind.\n</system-reminder>"}]
    assert "systemInstruction" not in body and lost == ["role=system"]


def test_thoughts_go_back_to_gemini_only_when_they_are_its_own() -> None:  # rows 36, 37
    own, signed = ir.Thinking("Hm", "", "gemini"), ir.Thinking("", "c2ln", "gemini")
    foreign = ir.Thinking("Hm", "s", "anthropic"), ir.Thinking("", "", "anthropic", data="x"), ir.Thinking("Hm")
    body, lost = written(ask(user("x"), model(own, signed, *foreign, "yes"), user("y")))
    assert body["contents"][1]["parts"] == [
        {"text": "Hm", "thought": True}, {"text": "", "thought": True, "thoughtSignature": "c2ln"}, {"text": "yes"},
    ]  # fmt: skip
    assert lost == ["thinking"]


@pytest.mark.parametrize(("name", "reasoning", "expected", "lost"), [
    ("gemini-2.5-flash", ir.Reasoning("", effort="high"), {"thinkingBudget": 24_576}, []),
    ("gemini-2.5-flash", ir.Reasoning("", effort="none"), {"thinkingBudget": 0}, []),
    ("gemini-2.5-flash", ir.Reasoning("on", 99_999), {"includeThoughts": True, "thinkingBudget": 24_576},
     ["reasoning.budget_tokens=99999"]),
    ("gemini-2.5-pro", ir.Reasoning("adaptive", shown=False), {"thinkingBudget": -1}, []),
    ("gemini-2.5-pro", ir.Reasoning("off"), {"thinkingBudget": 128}, ["reasoning=off"]),
    ("gemini-2.5-pro", ir.Reasoning("", effort="none"), {"thinkingBudget": 128}, ["reasoning=off"]),
    ("gemini-2.5-pro", ir.Reasoning("on", 9), {"includeThoughts": True, "thinkingBudget": 128}, ["reasoning.budget_tokens=9"]),
    ("gemini-2.5-flash-lite", ir.Reasoning("off"), {"thinkingBudget": 0}, []),
    ("gemini-2.5-flash-lite", ir.Reasoning("on", 9, shown=False), {"thinkingBudget": 512}, ["reasoning.budget_tokens=9"]),
    ("gemini-3-pro-preview", ir.Reasoning("", effort="medium"), {"thinkingLevel": "high"}, ["reasoning.effort=medium"]),
    ("gemini-3-flash", ir.Reasoning("", effort="none"), {"thinkingLevel": "minimal"}, ["reasoning=off"]),
    ("gemini-3.1-pro", ir.Reasoning("off"), {"thinkingLevel": "low"}, ["reasoning=off"]),
    ("gemini-3-pro", ir.Reasoning("on", 1024), {"includeThoughts": True, "thinkingLevel": "low"}, []),
    ("gemini-3-pro", ir.Reasoning("adaptive"), {"includeThoughts": True}, []),
    ("gemini-2.0-flash", ir.Reasoning("", effort="low"), None, ["reasoning"]),
    ("gemini-2.0-flash", ir.Reasoning("off"), None, []),
])  # fmt: skip
def test_effort_and_budget_become_what_the_model_knows(  # row 39
    name: str, reasoning: ir.Reasoning, expected: Body | None, lost: list[str]
) -> None:
    body, told = written(ask(reasoning=reasoning), name)
    assert body.get("generationConfig", {}).get("thinkingConfig") == expected and told == lost


def test_json_answers_are_requested_or_stated_in_words_beside_tools() -> None:  # row 43
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    wanted = ir.ResponseFormat("schema", schema)
    body, lost = written(ask(response_format=wanted))
    assert body["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
    }
    assert lost == ["response_format.additionalProperties"]
    assert body_of(ask(response_format=wanted), json_schema=True)["generationConfig"]["responseJsonSchema"] == schema
    assert body_of(ask(response_format=ir.ResponseFormat("json")))["generationConfig"] == {
        "responseMimeType": "application/json"}  # fmt: skip
    body, lost = written(ask(response_format=wanted, tools=(ir.Tool("f"),)))
    assert "generationConfig" not in body and '"a"' in body["systemInstruction"]["parts"][0]["text"]
    assert lost == ["response_format=system"]
    assert "responseSchema" in body_of(ask(response_format=wanted, tools=(ir.Tool("f"),)), "gemini-3-pro")["generationConfig"]


def test_pictures_by_url_are_passed_on_and_those_in_results_follow_them() -> None:  # rows 46, 47
    body, lost = written(ask(
        user(ir.Media("image", url="https://h/a.webp?x=1", detail="high"), ir.Media("image", file_id="file-1", vendor="openai"),
             ir.Media("document", "text/plain", text="words", name="notes")),
        model(call("a")),
        user(ir.ToolResult("a", (ir.Text("seen"), ir.Media("image", "image/png", data="AA==")))),
    ))  # fmt: skip
    assert body["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://h/a.webp?x=1"}}, {"text": "notes\nwords"}]  # fmt: skip
    assert body["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "seen"}}}]
    assert body["contents"][3]["parts"] == [
        {"text": "[from the result of f]"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]  # fmt: skip
    assert lost == ["image.detail=high", "image.file_id"]


def test_what_gemini_has_no_place_for_is_named_once() -> None:
    cached = ir.Text("x", cache_control={"type": "ephemeral"})
    _, lost = written(ask(
        user(cached, cached), replace(user("y"), name="bob"), user="u1", metadata={"a": "b"}, service_tier="scale",
        cache_key="k", seed=2**40, stop=("a", "b", "c", "d", "e", "f"), tool_choice=ir.ToolChoice("required"),
        extras={"openai": {"logit_bias": {}}, "gemini": {"safetySettings": []}},
    ))  # fmt: skip
    assert lost == ["cache_control", "name", "tool_choice", "seed", "stop[5:]", "user", "cache_key", "metadata",
                    "service_tier=scale", "logit_bias"]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize(("schema", "expected", "lost"), [
    ({"type": ["string", "null"], "$schema": "x", "format": "uri"}, {"type": "string", "nullable": True},
     ["$schema", "format=uri"]),
    ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}, []),
    ({"type": "object", "properties": {"additionalProperties": {"type": "string"}}, "additionalProperties": False,
      "required": ["additionalProperties", "gone"]},
     {"type": "object", "properties": {"additionalProperties": {"type": "string"}}, "required": ["additionalProperties"]},
     ["additionalProperties", "required"]),  # the keyword goes, the property of that name stays
    ({"type": "array"}, {"type": "array", "items": {"type": "string"}}, ["items=string"]),  # row 22
    ({"type": "object", "properties": []}, {"type": "object"}, []),                         # row 22
    ({"const": "a"}, {"type": "string", "enum": ["a"]}, []),
    ({"enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2"}, ["enum"]),
    ({"enum": ["a", "", None]}, {"type": "string", "description": "One of: a, ", "nullable": True}, ["enum"]),
    ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}, []),
    ({"type": "number", "exclusiveMaximum": 1.5}, {"type": "number", "maximum": 1.5}, ["exclusiveMaximum"]),
    ({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"},
     {"type": "string", "description": "d", "nullable": True}, []),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}], "default": 1},
     {"anyOf": [{"type": "string"}, {"type": "integer"}]}, ["oneOf=anyOf", "default"]),
    ({"type": ["string", "integer"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, []),
    ({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "boolean"}}}]},
     {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}, "required": ["a"]}, ["allOf"]),
    ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
     {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, ["prefixItems"]),
    ({"type": "object", "propertyNames": {}, "patternProperties": {}}, {"type": "object"},
     ["patternProperties", "propertyNames"]),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "string", "title": "A"}}, "description": "own"},
     {"type": "string", "title": "A", "description": "own"}, []),
    ({"$ref": "https://elsewhere/schema"}, {"type": "object"}, ["$ref"]),
    (True, {"type": "string"}, ["type"]),
    ({}, {"type": "string"}, ["type"]),
])  # fmt: skip
def test_a_schema_has_only_what_gemini_takes(schema: Any, expected: Body, lost: list[str]) -> None:  # row 21
    told: list[str] = []
    assert to_gemini(schema, "s", told) == expected
    assert sorted(told) == sorted(f"s.{name}" for name in lost)


def test_a_schema_that_holds_itself_ends() -> None:
    tree = {"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": {
        "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/T"}}}}}}  # fmt: skip
    lost: list[str] = []
    assert to_gemini(tree, "s", lost) == {"type": "object", "properties": {
        "name": {"type": "string"}, "children": {"type": "array", "items": {"type": "object"}}}}  # fmt: skip
    assert lost == ["s.$ref"]


def test_a_small_schema_that_stands_for_a_huge_one_is_cut() -> None:
    defs = {f"D{i}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/D{i + 1}"}, "b": {"$ref": f"#/$defs/D{i + 1}"}}}
            for i in range(40)}  # fmt: skip
    lost: list[str] = []
    to_gemini({"$ref": "#/$defs/D0", "$defs": defs}, "s", lost)
    assert "s.depth" in lost
    deep: Body = {}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    to_gemini(deep, "s", lost)


def test_geminis_schema_becomes_json_schema() -> None:
    assert from_gemini({
        "type": "OBJECT", "property_ordering": ["a"], "nullable": True,
        "properties": {"a": {"type": "STRING", "enum": ["x"], "format": "enum", "nullable": True, "maxLength": "9"},
                       "max_items": {"anyOf": [{"type": "INTEGER"}, {"type": "NUMBER"}], "example": 1}},
    }) == {
        "type": ["object", "null"],
        "properties": {"a": {"type": ["string", "null"], "enum": ["x", None], "maxLength": 9},
                       "max_items": {"anyOf": [{"type": "integer"}, {"type": "number"}], "examples": [1]}},
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- answers


def answered(*parts: Body, finish: str = "STOP", **more: Any) -> ir.Answer:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}
    return gemini.read_answer({"candidates": [candidate], "responseId": "r1", "modelVersion": "m", **more})


@pytest.mark.parametrize(("finish", "reason"), [
    ("STOP", "end"), ("MAX_TOKENS", "length"), ("SAFETY", "refusal"), ("RECITATION", "refusal"), ("BLOCKLIST", "refusal"),
    ("PROHIBITED_CONTENT", "refusal"), ("SPII", "refusal"), ("MODEL_ARMOR", "refusal"), ("IMAGE_SAFETY", "refusal"),
    ("LANGUAGE", "other"), ("OTHER", "other"), ("MALFORMED_FUNCTION_CALL", "other"), ("NEW_WORD", "other"),
])  # fmt: skip
def test_finish_reasons(finish: str, reason: str) -> None:  # row 44
    assert answered({"text": "x"}, finish=finish).candidates[0].stop == ir.Stop(reason, finish)  # type: ignore[arg-type]


def test_calls_are_the_reason_whatever_gemini_says() -> None:  # row 28
    call_ = {"functionCall": {"name": "f", "args": {}}}
    assert answered(call_).candidates[0].stop.reason == "tool_calls"
    assert answered(call_, finish="MAX_TOKENS").candidates[0].stop.reason == "length"


def test_calls_without_ids_get_one_each_that_no_other_answer_has() -> None:  # row 17
    call_ = {"functionCall": {"name": "f", "args": {}}}
    first, second = answered(call_, call_), answered(call_, call_, responseId="r2")
    made = [part.id for answer in (first, second) for part in answer.candidates[0].parts if isinstance(part, ir.ToolCall)]
    assert len(set(made)) == 4 and answered(call_, call_) == first


@pytest.mark.parametrize("candidate", [{"finishReason": "SAFETY", "index": 0}, {"content": {}, "finishReason": "SAFETY"}])
def test_an_answer_without_content_is_a_refusal_and_no_fault(candidate: Body) -> None:  # row 44
    found = gemini.read_answer({"candidates": [candidate]}).candidates
    assert found == (ir.Candidate((), ir.Stop("refusal", "SAFETY")),)


def test_a_blocked_prompt_is_a_refusal() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}}
    found = gemini.read_answer(body)
    assert found.candidates == (ir.Candidate((), ir.Stop("refusal", "SAFETY")),) and found.usage == ir.Usage(input=4)


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"candidates": 3}, {"candidates": [{"content": {"parts": [3]}}]}])
def test_an_answer_that_is_none_is_the_upstreams_fault(body: Body) -> None:
    with pytest.raises(UpstreamFailed):
        gemini.read_answer(body)


def test_an_error_under_status_200_is_one() -> None:
    with pytest.raises(RateLimited):
        gemini.read_answer({"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}})


@pytest.mark.parametrize(("counts", "expected"), [
    ({"promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2,
      "thoughtsTokenCount": 5, "totalTokenCount": 20},
     ir.Usage(input=9, cache_read=4, text=2, reasoning=5, extras={"gemini": {"toolUsePromptTokenCount": 3}})),
    ({"promptTokenCount": 4, "totalTokenCount": 4}, ir.Usage(input=4)),
    ({"trafficType": "ON_DEMAND"}, None),
    (None, None),
])  # fmt: skip
def test_usage_counts_every_token_once(counts: Body | None, expected: ir.Usage | None) -> None:  # row 45
    found = gemini.usage_in({"usageMetadata": counts} if counts else {})
    assert found == expected
    if found is not None and counts is not None:
        assert found.total == counts["totalTokenCount"]
        assert write_usage(found)["totalTokenCount"] == counts["totalTokenCount"]


def test_an_answer_is_written_as_gemini_would() -> None:
    answer = ir.Answer("a1", "claude-x", (ir.Candidate(
        (ir.Thinking("Hm", "s", "anthropic"), ir.Text("Hi"), call("toolu_1", "f", {"a": 1})), ir.Stop("tool_calls", "tool_use"),
    ),), ir.Usage(input=6, cache_read=4, text=7))  # fmt: skip
    lost: list[str] = []
    assert gemini.write_answer(answer, ask(), lost) == {
        "candidates": [{
            "content": {"role": "model", "parts": [
                {"text": "Hi"}, {"functionCall": {"id": "toolu_1", "name": "f", "args": {"a": 1}}}]},
            "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 7,
                          "totalTokenCount": 17},
        "modelVersion": "claude-x", "responseId": "a1",
    }  # fmt: skip
    assert lost == ["thinking.signature"]  # it would go with the thought, which is shown only on request
    lost.clear()
    first = gemini.write_answer(answer, SHOWN, lost)["candidates"][0]["content"]["parts"][0]
    assert (first["text"], first["thought"]) == ("Hm", True) and not lost


@pytest.mark.parametrize("url_safe", [False, True])
@pytest.mark.parametrize("part", [
    ir.Thinking("Hm", "EqQB+/x==", "anthropic"),
    ir.Thinking("", "", "anthropic", data="ErUB?>"),
    ir.Thinking("Hm", "c2ln", "gemini"),
])  # fmt: skip
def test_another_vendors_signature_comes_back_through_a_gemini_client(part: ir.Thinking, url_safe: bool) -> None:
    answer = ir.Answer("a", "m", (ir.Candidate((part, ir.Text("x")), ir.Stop("end")),))
    content = gemini.write_answer(answer, SHOWN, [])["candidates"][0]["content"]
    signature = content["parts"][0]["thoughtSignature"]
    base64.b64decode(signature, validate=True)
    if url_safe:  # as Google's Python SDK sends bytes back
        content["parts"][0]["thoughtSignature"] = signature.replace("+", "-").replace("/", "_")
    assert read({"contents": [content]}).messages[0].parts[0] == part


@pytest.mark.parametrize(("stop", "expected", "lost"), [
    (ir.Stop("end", "end_turn"), {"finishReason": "STOP"}, []),
    (ir.Stop("length", "max_tokens"), {"finishReason": "MAX_TOKENS"}, []),
    (ir.Stop("refusal", "content_filter"), {"finishReason": "SAFETY", "finishMessage": "content_filter"},
     ["stop_reason=content_filter"]),
    (ir.Stop("refusal", "RECITATION"), {"finishReason": "RECITATION"}, []),
    (ir.Stop("other", "LANGUAGE"), {"finishReason": "LANGUAGE"}, []),
    (ir.Stop("context", "model_context_window_exceeded"),
     {"finishReason": "MAX_TOKENS", "finishMessage": "model_context_window_exceeded"},
     ["stop_reason=model_context_window_exceeded"]),
    (ir.Stop("pause", "pause_turn"), {"finishReason": "STOP", "finishMessage": "pause_turn"}, ["stop_reason=pause_turn"]),
])  # fmt: skip
def test_why_it_ended_is_said_in_geminis_words(stop: ir.Stop, expected: Body, lost: list[str]) -> None:
    told: list[str] = []
    assert write_stop(stop, "", told) == expected and told == lost


def test_arguments_that_are_no_object_are_a_malformed_call_and_no_empty_one() -> None:
    broken = ir.ToolCall("t", "f", '{"a"', None)
    lost: list[str] = []
    answer = ir.Answer("a", "m", (ir.Candidate((broken,), ir.Stop("tool_calls")),))
    candidate = gemini.write_answer(answer, ask(), lost)["candidates"][0]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL" and "functionCall" not in json.dumps(candidate["content"])
    assert lost == ["functionCall.args"]


# ---------------------------------------------------------------------------------------------------------------- streams


def events_in(data: bytes, cut: int | None = None) -> list[Event]:
    parser = SSEParser()
    pieces = [data] if cut is None else [data[:cut], data[cut:]]
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


def read_all(events: list[Event]) -> list[ir.StreamEvent]:
    reader = gemini.StreamReader()
    return [found for event in events for found in reader.feed(event)] + reader.close()


def shape(part: ir.Part) -> list[Any]:
    if isinstance(part, ir.Text | ir.Thinking):
        return [type(part).__name__.lower(), part.text, *([part.signature] if part.signature else [])]
    if isinstance(part, ir.ToolCall):
        given = [] if part.id.startswith("call_m_") else [part.id]
        return ["call", part.name, part.arguments, part.signature, *given]
    if isinstance(part, ir.Media):
        return ["media", part.kind, part.media_type, part.data]
    assert isinstance(part, ir.Opaque)
    return ["opaque", part.kind]


def said(answer: ir.Answer) -> Body:
    """What a corpus file says of an answer."""
    candidate, usage = answer.candidates[0], answer.usage or ir.Usage()
    counts = {name: getattr(usage, name) for name in ("input", "cache_read", "text", "reasoning") if getattr(usage, name)}
    parts = [shape(part) for part in candidate.parts if part != ir.Text("")]
    return {"parts": parts, "stop": [candidate.stop.reason, candidate.stop.native], "usage": counts}


def told_by(events: list[ir.StreamEvent]) -> Body:
    try:
        return said(answer_of(events))
    except GatewayError as error:
        return {"error": [error.status, error.code]}


def check_order(events: list[ir.StreamEvent]) -> None:
    """The rules of ir: one start first, one end last, one open part at a time, no empty delta."""
    kinds = [type(event) for event in events]
    assert kinds[-1] in (ir.Finished, ir.Failed) and sum(kind in (ir.Finished, ir.Failed) for kind in kinds) == 1
    assert ir.Started not in kinds[1:] and (kinds[0] is ir.Started or kinds == [ir.Failed])
    open_: dict[int, int] = {}
    for event in events:
        if isinstance(event, ir.PartStart):
            assert event.candidate not in open_
            open_[event.candidate] = event.index
        elif isinstance(event, ir.PartDelta):
            assert open_[event.candidate] == event.index and (event.text or event.signature)
        elif isinstance(event, ir.PartEnd):
            assert open_.pop(event.candidate) == event.index
    assert not open_ or kinds[-1] is ir.Failed


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_says_what_it_says_wherever_it_is_cut(name: str) -> None:  # rows 8, 10, 11, 14
    data = (CORPUS / f"{name}.sse").read_bytes()
    expected = json.loads((CORPUS / f"{name}.sse.json").read_text(encoding="utf-8"))
    events = read_all(events_in(data))
    check_order(events)
    assert told_by(events) == expected
    for cut in range(len(data) + 1):
        assert repr(read_all(events_in(data, cut))) == repr(events), cut


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_lacks_its_end_is_never_an_answer(name: str) -> None:  # row 8
    chunks = events_in((CORPUS / f"{name}.sse").read_bytes())
    for count in range(len(chunks)):
        events = read_all(chunks[:count])
        check_order(events)
        assert isinstance(events[-1], ir.Failed) or any('"finishReason"' in chunk.data for chunk in chunks[:count])


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("array", [False, True])
def test_a_stream_written_says_the_same_again(name: str, array: bool) -> None:
    events = read_all(events_in((CORPUS / f"{name}.sse").read_bytes()))
    if isinstance(events[-1], ir.Failed):
        return
    writer = gemini.StreamWriter(SHOWN, lost=[], array=array)
    data = b"".join(map(writer.feed, events))
    chunks = [Event("", json.dumps(item)) for item in json.loads(data)] if array else events_in(data)
    assert told_by(read_all(chunks)) == told_by(events)
    whole = gemini.read_answer(json.loads(json.dumps(gemini.write_answer(answer_of(events), SHOWN, []))))
    assert said(whole) == told_by(events)  # plain and streamed agree


@pytest.mark.parametrize("name", STREAMS)
def test_a_relayed_stream_is_understood_beside_it(name: str) -> None:
    chunks = events_in((CORPUS / f"{name}.sse").read_bytes())
    expected = json.loads((CORPUS / f"{name}.sse.json").read_text(encoding="utf-8"))
    scanner = gemini.Scanner()
    scanner.feed(chunks)
    if "error" in expected:
        assert not scanner.done
        assert scanner.error is None or [scanner.error.status, scanner.error.code] == expected["error"]
    elif finish_failure(expected["stop"][1]):
        assert scanner.error is not None and scanner.flawed and not scanner.outputs
    else:
        assert scanner.done and scanner.error is None and bool(scanner.outputs) == bool(expected["parts"])
        assert scanner.usage is not None and scanner.usage.total == sum(expected["usage"].values())


def test_an_error_at_once_comes_before_anything_else() -> None:  # row 9
    events = read_all([Event("", '{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}')])
    assert [type(event) for event in events] == [ir.Failed]


def test_the_reader_knows_when_nothing_more_is_needed() -> None:
    reader = gemini.StreamReader()
    assert not reader.done
    reader.feed(Event("", '{"candidates":[{"content":{"parts":[{"text":"a"}]},"index":0}]}'))
    assert not reader.done
    reader.feed(Event("", '{"candidates":[{"content":{"parts":[{"text":"b"}]},"index":0,"finishReason":"STOP"}]}'))
    assert reader.done


def test_candidates_that_come_mixed_are_kept_apart_and_all_must_end() -> None:  # row 13
    def chunk(index: int, words: str, **more: str) -> Event:
        candidate = {"content": {"parts": [{"text": words}]}, "index": index, **more}
        return Event("", json.dumps({"candidates": [candidate]}))

    chunks = [chunk(0, "a"), chunk(1, "x"), chunk(0, "b", finishReason="STOP"), chunk(1, "y")]
    assert isinstance(read_all(chunks)[-1], ir.Failed)
    events = read_all([*chunks, chunk(1, "z", finishReason="MAX_TOKENS")])
    found = answer_of(events).candidates
    assert [(each.parts[0].text, each.stop.reason) for each in found] == [("ab", "end"), ("xyz", "length")]  # type: ignore[union-attr]
    writer = gemini.StreamWriter(SHOWN, lost=[])
    assert answer_of(read_all(events_in(b"".join(map(writer.feed, events))))).candidates == found


FOREIGN: list[ir.StreamEvent] = [  # as an Anthropic upstream streams
    ir.Started("msg_1", "claude-x"),
    ir.PartStart(0, ir.Thinking("", vendor="anthropic")), ir.PartDelta(0, "Hm"), ir.PartDelta(0, "", "EqQB"), ir.PartEnd(0),
    ir.PartStart(1, ir.Text("")), ir.PartDelta(1, "Hel"), ir.PartDelta(1, "lo \ud83d"), ir.PartEnd(1),
    ir.PartStart(2, ir.ToolCall("toolu_1", "f")), ir.PartDelta(2, '{"a"'), ir.PartDelta(2, ":1}"), ir.PartEnd(2),
    ir.PartStart(3, ir.ToolCall("toolu_2", "f")), ir.PartEnd(3),
    ir.Stopped(ir.Stop("tool_calls", "tool_use")), ir.UsageSeen(ir.Usage(input=9, text=7)), ir.Finished(),
]  # fmt: skip


def test_calls_in_fragments_leave_whole_and_the_last_chunk_says_why() -> None:
    writer = gemini.StreamWriter(ask(), lost=[])
    chunks = [json.loads(event.data) for event in events_in(b"".join(map(writer.feed, FOREIGN)))]
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    assert parts == [
        {"text": "Hel"}, {"text": "lo \ud83d"},
        {"functionCall": {"id": "toolu_1", "name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "toolu_2", "name": "f", "args": {}}},
        {"text": ""},
    ]  # fmt: skip
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None] * 4 + ["STOP"]
    assert chunks[-1]["usageMetadata"] == {"promptTokenCount": 9, "candidatesTokenCount": 7, "totalTokenCount": 16}
    assert all((chunk["responseId"], chunk["modelVersion"]) == ("msg_1", "claude-x") for chunk in chunks)


def test_thoughts_and_their_signature_are_streamed_on_request() -> None:
    writer = gemini.StreamWriter(SHOWN, lost=[])
    chunks = [json.loads(event.data) for event in events_in(b"".join(map(writer.feed, FOREIGN)))]
    first, second = chunks[0]["candidates"][0]["content"]["parts"][0], chunks[1]["candidates"][0]["content"]["parts"][0]
    assert first == {"text": "Hm", "thought": True}
    assert common.unpack_signature(second["thoughtSignature"]) == ("anthropic", "EqQB", "")


def test_the_frames_are_the_only_ones_that_googles_sdks_take() -> None:  # row 15 and the table of what SDKs tolerate
    writer = gemini.StreamWriter(SHOWN, lost=[])
    for event in FOREIGN:
        data = writer.feed(event)
        assert data == b"" or (data.startswith(b"data: {") and data.endswith(b"}\r\n\r\n") and data.count(b"\r\n") == 2)
    assert SPECS["gemini"].keepalive.strip() == b""


def test_a_stream_that_fails_ends_in_an_error_in_its_own_form() -> None:  # row 8
    error = StreamCut("the upstream went away")
    for array in (False, True):
        writer = gemini.StreamWriter(SHOWN, lost=[], array=array)
        data = b"".join(map(writer.feed, FOREIGN[:8])) + writer.fail(error, "req-1")
        items = json.loads(data) if array else [json.loads(event.data) for event in events_in(data)]
        assert items[-1]["error"]["code"] == 502 and "finishReason" not in json.dumps(items)
    assert json.loads(gemini.StreamWriter(SHOWN, lost=[], array=True).fail(error)) != []
    assert gemini.error_event(error, "").startswith(b'data: {"error":{"code":502,')


# ----------------------------------------------------------------------------------------------------------------- errors


def failure(**told: Any) -> bytes:
    return json.dumps({"error": told}).encode()


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(("status", "headers", "body", "expected"), [
    (429, {}, failure(code=429, message="slow", status="RESOURCE_EXHAUSTED", details=[RETRY]), (429, "slow", 34.5)),
    (429, {"retry-after": "7"}, failure(code=429, message="slow"), (429, "slow", 7.0)),
    (400, {}, failure(code=400, message="bad key", status="INVALID_ARGUMENT", details=[BAD_KEY]), (401, "bad key", None)),
    (404, {}, b'[{"error":{"code":404,"message":"no such model"}}]', (404, "no such model", None)),
    (503, {}, b"<html>", (503, "the upstream answered with status 503", None)),
    (500, {}, b'{"error":"boom"}', (500, "boom", None)),
    (502, {}, b'{"error":{"details":[3,{"retryDelay":"soon"}]}}', (502, "the provider answered 502 and gave no reason", None)),
])  # fmt: skip
def test_an_upstreams_refusal_is_read(status: int, headers: dict[str, str], body: bytes, expected: tuple[Any, ...]) -> None:
    error = gemini.read_error(status, headers, body)
    assert (error.status, error.message, error.retry_after_s) == expected


def test_an_error_is_written_for_googles_sdks() -> None:
    status, headers, body = gemini.write_error(RateLimited("slow down", retry_after_s=2.5), "req-1")
    assert (status, headers) == (429, [("content-type", "application/json; charset=UTF-8"), ("retry-after", "3")])
    assert body["error"]["status"] == "RESOURCE_EXHAUSTED"
    kinds = [detail["@type"].rpartition(".")[2] for detail in body["error"]["details"]]
    assert kinds == ["ErrorInfo", "RetryInfo", "RequestInfo"]
    assert gemini.read_error(status, {}, json.dumps(body).encode()).retry_after_s == 2.5
    assert gemini.write_error(Overloaded("busy"), "")[0] == 503  # Google's clients do not know 529


def test_a_count_is_written() -> None:  # row 49
    assert gemini.write_count(12) == {"totalTokens": 12}


@pytest.mark.parametrize("chunk", [
    "3", "null", "[]", '"x"', "{}", '{"candidates":3}', '{"candidates":[3]}', '{"candidates":[{"content":3}]}',
    '{"candidates":[{"content":{"parts":[{"text":3}]}}]}', '{"candidates":[{"index":"x"}]}',
    '{"candidates":[{"content":{"parts":[{"functionCall":3}]}}]}', '{"candidates":[{"index":{}}]}',
    '{"candidates":[{"content":{"parts":[{"functionCall":{"args":3}}]}}]}', '{"usageMetadata":3}', '{"promptFeedback":3}',
    '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","partialArgs":3}}]}}]}',
    '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$.a[99999999]"}]}}]}}]}',
    '{"candidates":[{"content":{"parts":[{"inlineData":3}]},"finishReason":3}]}', '{"error":3}', "[" * 5000,
    '{"usageMetadata":{"promptTokenCount":"x","totalTokenCount":true}}', '{"createTime":3,"responseId":{},"modelVersion":3}',
])  # fmt: skip
def test_any_chunk_gives_events_or_our_own_error(chunk: str) -> None:
    events = read_all([Event("", chunk)])
    assert isinstance(events[-1], ir.Failed | ir.Finished)
    gemini.Scanner().feed([Event("", chunk)])
