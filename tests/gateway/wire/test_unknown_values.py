"""What a request says in known fields is converted or named as lost: words and numbers that another protocol has no equal of,
settings that exclude each other there, and what only looks like nothing (a seed of 0).
"""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire.conversion import Wish, read_as, write_as

SAID: dict[str, dict[str, Any]] = {
    "openai": {"messages": [{"role": "user", "content": "x"}]},
    "anthropic": {"max_tokens": 4000, "messages": [{"role": "user", "content": "x"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    "responses": {"input": "x"},
    "ollama": {"messages": [{"role": "user", "content": "x"}]},
}
CLAUDE, NEWEST_CLAUDE, FLASH, PRO_3 = "claude-sonnet-4-5", "claude-opus-4-7", "gemini-2.5-flash", "gemini-3-pro"


def converted(
    protocol: str, body: dict[str, Any], api: str, model: str, quirks: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """(what the upstream gets, what is named as lost)"""
    wish, lost = Wish(protocol, api, "m", model, False, quirks or {}), list[str]()
    return write_as(read_as({"model": "m", **SAID[protocol], **body}, wish), wish, lost), lost


# --------------------------------------------------------------------------------------------------- whether thoughts are shown


def adaptive(display: Any, **more: Any) -> dict[str, Any]:
    return {"thinking": {"type": "adaptive", "display": display}, **more}


@pytest.mark.parametrize(("api", "model", "quirks", "place", "shown"), [
    ("gemini", FLASH, {}, ("generationConfig", "thinkingConfig", "includeThoughts"), {True: True, False: None}),
    ("gemini", PRO_3, {}, ("generationConfig", "thinkingConfig", "includeThoughts"), {True: True, False: None}),
    ("responses", "gpt-5.2", {}, ("reasoning", "summary"), {True: "auto", False: None}),
    ("openai", "any", {"reasoning": "openrouter"}, ("reasoning", "exclude"), {True: False, False: True}),
    ("anthropic", NEWEST_CLAUDE, {}, ("thinking", "display"), {True: "summarized", False: "omitted"}),
])  # fmt: skip
@pytest.mark.parametrize(("display", "is_shown"), [("summarized", True), ("omitted", False)])
def test_whether_thoughts_are_shown_goes_where_there_is_a_place_for_it(
    api: str, model: str, quirks: dict[str, Any], place: tuple[str, ...], shown: dict[bool, Any], display: str, is_shown: bool
) -> None:
    found, lost = converted("anthropic", adaptive(display), api, model, quirks)
    for name in place:
        found = found.get(name) or {} if name != place[-1] else found.get(name)  # type: ignore[assignment]
    assert found == shown[is_shown] and not any("shown" in name or "display" in name for name in lost)


@pytest.mark.parametrize(("api", "model", "quirks", "display", "name"), [
    ("openai", "deepseek-chat", {"reasoning": "thinking"}, "omitted", "reasoning.shown=false"),
    ("openai", "any-model", {}, "omitted", "reasoning.shown=false"),
    ("openai", "gpt-5.2", {}, "summarized", "reasoning.shown"),
    ("responses", "gpt-4o", {}, "summarized", "reasoning"),
    ("responses", "gpt-5.2", {"summary": ""}, "summarized", "reasoning.shown"),
    ("responses", "any", {"local": True, "encrypted": False}, "omitted", "reasoning.shown=false"),
    ("gemini", FLASH, {}, "updates", "thinking.display=updates"),
    ("openai", "gpt-5.2", {}, "zzunknown", "thinking.display=zzunknown"),
    ("responses", "gpt-5.2", {}, 5, "thinking.display=5"),
    ("responses", "gpt-5.2", {}, ["zzunknown"], "thinking.display"),
])  # fmt: skip
def test_whether_thoughts_are_shown_is_named_where_there_is_none(
    api: str, model: str, quirks: dict[str, Any], display: Any, name: str
) -> None:
    assert name in converted("anthropic", adaptive(display), api, model, quirks)[1]


def test_openais_own_models_show_no_thoughts_and_to_hide_them_loses_nothing() -> None:
    assert converted("anthropic", adaptive("omitted"), "openai", "gpt-5.2")[1] == []


# ---------------------------------------------------------------------------------------------------- how much is to be thought


@pytest.mark.parametrize(("api", "model", "quirks"), [
    ("anthropic", CLAUDE, {}), ("anthropic", NEWEST_CLAUDE, {}), ("gemini", FLASH, {}), ("gemini", PRO_3, {}),
    ("openai", "deepseek-chat", {"reasoning": "thinking"}), ("openai", "qwen3", {"reasoning": "enable_thinking"}),
])  # fmt: skip
def test_an_unknown_word_for_effort_is_named(api: str, model: str, quirks: dict[str, Any]) -> None:
    protocol = "responses" if api == "openai" else "openai"
    body = {"reasoning": {"effort": "zzunknown"}} if api == "openai" else {"reasoning_effort": "zzunknown"}
    assert "reasoning.effort=zzunknown" in converted(protocol, body, api, model, quirks)[1]


BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 3000}}
LOW = {"output_config": {"effort": "low"}}


@pytest.mark.parametrize(("body", "api", "model", "quirks", "lost"), [
    (BUDGET, "openai", "gpt-5.2", {}, []),  # it becomes the nearest word
    ({**BUDGET, **LOW}, "openai", "gpt-5.2", {}, ["reasoning.budget_tokens=3000"]),
    ({**BUDGET, **LOW}, "responses", "gpt-5.2", {}, ["reasoning.budget_tokens=3000"]),
    ({**BUDGET, **LOW}, "gemini", PRO_3, {}, ["reasoning.budget_tokens=3000"]),
    (BUDGET, "openai", "deepseek-chat", {"reasoning": "thinking"}, ["reasoning.budget_tokens=3000"]),
    (BUDGET, "openai", "qwen3", {"reasoning": "enable_thinking"}, []),
    (BUDGET, "gemini", FLASH, {}, []),
    ({**BUDGET, **LOW}, "gemini", FLASH, {}, ["reasoning.effort=low"]),
    ({**BUDGET, **LOW}, "anthropic", CLAUDE, {}, ["reasoning.effort=low"]),
    ({**BUDGET, **LOW}, "openai", "any", {"reasoning": "openrouter"}, ["reasoning.effort=low"]),
    (LOW, "openai", "deepseek-chat", {"reasoning": "thinking"}, ["reasoning.effort=low"]),
    (LOW, "openai", "qwen3", {"reasoning": "enable_thinking"}, []),
    ({"thinking": {"type": "disabled"}}, "openai", "deepseek-chat", {"reasoning": "thinking"}, []),
])  # fmt: skip
def test_what_of_effort_and_budget_a_model_does_not_take_is_named(
    body: dict[str, Any], api: str, model: str, quirks: dict[str, Any], lost: list[str]
) -> None:
    assert converted("anthropic", body, api, model, quirks)[1] == lost


@pytest.mark.parametrize(("body", "name"), [
    ({"thinking": {"type": "zzunknown"}}, "thinking.type=zzunknown"), ({"thinking": "on"}, "thinking"),
    ({"thinking": {"type": ["zzunknown"]}}, "thinking.type"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    ({"reasoning": "high"}, "reasoning"), ({"user": "a", "safety_identifier": "b"}, "user"),
])  # fmt: skip
@pytest.mark.parametrize(("api", "model"), [("anthropic", CLAUDE), ("gemini", FLASH), ("responses", "gpt-5.2")])
def test_known_fields_of_a_chat_that_say_what_is_not_known_are_named(
    api: str, model: str, body: dict[str, Any], name: str
) -> None:
    assert name in converted("openai", body, api, model)[1]


def test_thinking_that_the_model_decides_on_is_adaptive_in_either_word() -> None:
    one, other = ({"thinking": {"type": word}} for word in ("auto", "adaptive"))
    assert converted("openai", one, "gemini", FLASH) == converted("openai", other, "gemini", FLASH)


@pytest.mark.parametrize(("body", "name"), [
    ({"reasoning": {"summary": "concise"}}, "reasoning.summary=concise"), ({"user": "a", "safety_identifier": "b"}, "user"),
])  # fmt: skip
@pytest.mark.parametrize(("api", "model"), [("anthropic", CLAUDE), ("gemini", FLASH), ("openai", "gpt-5.2")])
def test_the_same_of_responses(api: str, model: str, body: dict[str, Any], name: str) -> None:
    assert name in converted("responses", body, api, model)[1]


# --------------------------------------------------------------------------------------------------------------- other settings


def test_a_seed_of_zero_is_one_like_any_other() -> None:
    assert converted("openai", {"seed": 0}, "anthropic", CLAUDE)[1] == ["seed"]
    assert converted("openai", {"seed": 0}, "gemini", FLASH)[0]["generationConfig"] == {"seed": 0}


@pytest.mark.parametrize(("tier", "sent", "lost"), [
    ("flex", "flex", []), ("priority", "priority", []), ("default", None, []), ("auto", None, []),
    ("scale", None, ["service_tier=scale"]),
])  # fmt: skip
def test_gemini_gets_the_service_tiers_that_it_has(tier: str, sent: str | None, lost: list[str]) -> None:
    out, named = converted("openai", {"service_tier": tier}, "gemini", FLASH)
    assert (out.get("serviceTier"), named) == (sent, lost)


@pytest.mark.parametrize(("tier", "sent"), [("FLEX", "flex"), ("standard", "default"), ("unspecified", None)])
def test_geminis_service_tiers_reach_others_in_any_case(tier: str, sent: str | None) -> None:
    out, lost = converted("gemini", {"serviceTier": tier}, "openai", "gpt-4o")
    assert (out.get("service_tier"), lost) == (sent, [])


@pytest.mark.parametrize(("body", "name"), [
    ({"generationConfig": {"responseMimeType": "application/xml"}}, "generationConfig.responseMimeType"),
    ({"generationConfig": {"responseMimeType": ["application/json"]}}, "generationConfig.responseMimeType"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "zzunknown"}}}, "toolConfig.functionCallingConfig.mode"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "validated"}}}, "toolConfig.functionCallingConfig.mode"),
])  # fmt: skip
def test_geminis_words_that_others_have_no_equal_of_are_named(body: dict[str, Any], name: str) -> None:
    assert converted("gemini", body, "openai", "gpt-4o")[1] == [name]
    usual = {"generationConfig": {"responseMimeType": "text/plain"}, "toolConfig": {"functionCallingConfig": {"mode": "auto"}}}
    assert converted("gemini", usual, "openai", "gpt-4o")[1] == []


def test_log_probabilities_that_a_model_refuses_are_not_requested_of_it() -> None:
    out, lost = converted("openai", {"logprobs": True}, "responses", "gpt-5.2")
    assert "message.output_text.logprobs" not in out.get("include", ()) and lost == ["logprobs"]
    assert "message.output_text.logprobs" in converted("openai", {"logprobs": True}, "responses", "gpt-4o")[0]["include"]


def test_of_two_lists_of_domains_anthropic_takes_one_and_the_other_is_named() -> None:
    lists = {"allowed_domains": ["a.example"], "blocked_domains": ["b.a.example"]}
    out, lost = converted("responses", {"tools": [{"type": "web_search", "filters": lists}]}, "anthropic", CLAUDE)
    assert out["tools"][0]["allowed_domains"] == ["a.example"] and lost == ["web_search.blocked_domains"]


def test_settings_of_ollama_that_hold_a_conversation_are_named() -> None:
    assert converted("ollama", {"context": [1, 2]}, "openai", "gpt-4o")[1] == ["context"]


# ---------------------------------------------------------------------------------------------------- schemas and conversations


def formatted(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, **more}}}


PLAN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(("api", "model", "tools"), [
    ("anthropic", CLAUDE, []), ("anthropic", "glm-4.6", []), ("gemini", FLASH, []), ("gemini", PRO_3, []),
    ("gemini", FLASH, [{"type": "function", "function": {"name": "f"}}]),
    ("anthropic", "glm-4.6", [{"type": "function", "function": {"name": "f"}}]),
])  # fmt: skip
@pytest.mark.parametrize("schema", [PLAN, {**PLAN, "description": "two steps"}])
def test_what_an_answers_form_is_for_reaches_the_model(api: str, model: str, tools: list[Any], schema: dict[str, Any]) -> None:
    out, _ = converted("openai", {**formatted(schema, description="a plan"), "tools": tools}, api, model)
    assert "a plan" in str(out) and ("two steps" in str(out)) == ("description" in schema)


def test_a_map_which_anthropics_decoder_does_not_know_is_named_and_described() -> None:
    table = {"type": "object", "properties": {"ages": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    out, lost = converted("openai", formatted(table), "anthropic", CLAUDE)
    made = out["output_config"]["format"]["schema"]["properties"]["ages"]
    assert lost == ["schema.additionalProperties"] and made["additionalProperties"] is False
    assert made["description"] == '{additionalProperties: {"type":"integer"}}'


@pytest.mark.parametrize(("schema", "made", "lost"), [
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]},
     {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, ["required"]),
    ({"type": "string", "enum": ["a"], "anyOf": [{"minLength": 1}]}, {"type": "string", "minLength": 1}, ["enum"]),
    ({"type": "integer", "minimum": 5, "exclusiveMinimum": 0, "maximum": 9, "exclusiveMaximum": 7},
     {"type": "integer", "minimum": 5, "maximum": 6}, []),
])  # fmt: skip
def test_a_schema_for_gemini_keeps_what_it_can_and_names_the_rest(
    schema: dict[str, Any], made: dict[str, Any], lost: list[str]
) -> None:
    body = formatted({"type": "object", "properties": {"v": schema}})
    out, named = converted("openai", body, "gemini", FLASH)
    assert out["generationConfig"]["responseSchema"]["properties"]["v"] == made
    assert named == [f"response_format.{name}" for name in lost]


OFFER = {"tools": [{"type": "function", "function": {"name": "f"}}]}
ASKED = [{"role": "user", "content": "x"},
         {"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}]  # fmt: skip


@pytest.mark.parametrize(("api", "model"), [("anthropic", CLAUDE), ("gemini", FLASH), ("responses", "gpt-4o")])
def test_all_words_of_a_tools_result_reach_the_model(api: str, model: str) -> None:
    parts = [{"type": "text", "text": "so far"}, {"type": "refusal", "refusal": "but no further", "zzunknown": 1}]
    turns = [*ASKED, {"role": "tool", "tool_call_id": "t", "content": parts}]
    out, lost = converted("openai", {**OFFER, "messages": turns}, api, model)
    assert "so far" in str(out) and "but no further" in str(out) and "zzunknown" in lost


def test_all_words_of_a_result_of_responses_reach_the_model() -> None:
    output = [{"type": "input_text", "text": "so far"}, {"type": "refusal", "refusal": "but no further"}]
    items = [{"type": "function_call", "call_id": "t", "name": "f", "arguments": "{}"},
             {"type": "function_call_output", "call_id": "t", "output": output}]  # fmt: skip
    assert "but no further" in str(converted("responses", {"input": items}, "openai", "gpt-4o")[0])


@pytest.mark.parametrize(("api", "model"), [("anthropic", CLAUDE), ("openai", "gpt-4o"), ("responses", "gpt-4o")])
def test_pictures_in_a_result_and_names_of_speakers_of_ollama_are_kept_or_named(api: str, model: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    tool = {"role": "tool", "content": "seen", "images": ["iVBORw0KGgo="]}
    turns = [{"role": "user", "name": "Ada", "content": "x"}, call, tool]
    out, lost = converted("ollama", {"messages": turns}, api, model)
    assert "iVBORw0KGgo=" in str(out) and ("Ada" in str(out) or "name" in lost)


def test_a_documents_name_in_a_result_reaches_gemini() -> None:
    document = {"type": "document", "title": "a.txt", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [
        {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [document]}]}]  # fmt: skip
    out, _ = converted("anthropic", {"messages": turns}, "gemini", FLASH)
    assert out["contents"][2]["parts"][0]["functionResponse"]["response"] == {"output": "a.txt\nwords"}


@pytest.mark.parametrize(("result", "told"), [
    ({"outcome": "OUTCOME_OK", "output": "1"}, "```\n1\n```"),
    ({"outcome": "OUTCOME_FAILED", "output": "1/0"}, "```\nOUTCOME_FAILED\n1/0\n```"),
    ({"outcome": "OUTCOME_DEADLINE_EXCEEDED"}, "```\nOUTCOME_DEADLINE_EXCEEDED\n```"),
])  # fmt: skip
def test_how_code_of_geminis_ended_reaches_other_models(result: dict[str, Any], told: str) -> None:
    turns = [*SAID["gemini"]["contents"], {"role": "model", "parts": [{"codeExecutionResult": result}]},
             *SAID["gemini"]["contents"]]  # fmt: skip
    out, _ = converted("gemini", {"contents": turns}, "openai", "gpt-4o")
    assert out["messages"][1]["content"] == told


def test_the_language_of_code_of_geminis_reaches_other_models() -> None:
    for language, told in (("PYTHON", "python"), ("ZZUNKNOWN", "zzunknown"), (None, "python")):
        code = {"executableCode": {"language": language, "code": "1"}}
        turns = [*SAID["gemini"]["contents"], {"role": "model", "parts": [code]}, *SAID["gemini"]["contents"]]
        out, _ = converted("gemini", {"contents": turns}, "openai", "gpt-4o")
        assert out["messages"][1]["content"] == f"```{told}\n1\n```"


@pytest.mark.parametrize("detail", ["low", "original"])
@pytest.mark.parametrize(("api", "model"), [("anthropic", CLAUDE), ("gemini", FLASH)])
def test_how_closely_a_picture_is_looked_at_is_named_in_any_word(api: str, model: str, detail: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": detail}}
    _, lost = converted("openai", {"messages": [{"role": "user", "content": [picture]}]}, api, model)
    assert any("detail" in name for name in lost)


@pytest.mark.parametrize(("protocol", "choice"), [
    ("openai", {"type": "allowed_tools", "allowed_tools": {"mode": "zzunknown", "tools": [{"function": {"name": "f"}}]}}),
    ("responses", {"type": "allowed_tools", "mode": "zzunknown", "tools": [{"type": "function", "name": "f"}]}),
])  # fmt: skip
def test_a_choice_among_allowed_tools_in_an_unknown_mode_is_refused(protocol: str, choice: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="mode must be auto or required"):
        converted(protocol, {"tool_choice": choice}, "anthropic", CLAUDE)


@pytest.mark.parametrize(("body", "choice", "lost"), [
    ({"tool_choice": "auto", "function_call": {"name": "f"}}, {"type": "auto"}, ["function_call"]),
    ({"tool_choice": None, "function_call": {"name": "f"}}, {"type": "tool", "name": "f"}, []),
    ({"tool_choice": "auto", "function_call": "auto"}, {"type": "auto"}, []),
])  # fmt: skip
def test_of_a_tool_choice_and_the_older_field_for_it_the_newer_one_holds(
    body: dict[str, Any], choice: dict[str, Any], lost: list[str]
) -> None:
    out, named = converted("openai", {**OFFER, **body}, "anthropic", CLAUDE)
    assert (out["tool_choice"], named) == (choice, lost)


SPOKEN = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "r"}


@pytest.mark.parametrize(("said", "answered", "lost"), [
    (SPOKEN, [RESULT, {"type": "text", "text": "b"}], []),
    ([*SPOKEN, {"type": "text", "text": "b"}], [RESULT], ["messages.order"]),
    ([*SPOKEN, {"type": "text", "text": ""}], [RESULT], []),
    (SPOKEN, [{"type": "text", "text": "b"}, RESULT], []),  # every vendor has results first
])  # fmt: skip
def test_words_of_the_assistant_that_move_before_a_call_are_named(
    said: list[Any], answered: list[Any], lost: list[str]
) -> None:
    turns = [*SAID["anthropic"]["messages"], {"role": "assistant", "content": said}, {"role": "user", "content": answered}]
    assert converted("anthropic", {"messages": turns}, "openai", "gpt-4o")[1] == lost


@pytest.mark.parametrize(("api", "model"), [("openai", "gpt-4o"), ("responses", "gpt-4o"), ("gemini", FLASH)])
def test_the_mark_of_a_cache_at_a_call_is_named(api: str, model: str) -> None:
    call = {**SPOKEN[1], "cache_control": {"type": "ephemeral"}}
    turns = [*SAID["anthropic"]["messages"], {"role": "assistant", "content": [call]}, {"role": "user", "content": [RESULT]}]
    assert converted("anthropic", {"messages": turns}, api, model)[1] == ["cache_control"]


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "look"}, PICTURE]}


@pytest.mark.parametrize(("api", "model", "quirks"), [
    ("anthropic", CLAUDE, {}), ("gemini", FLASH, {}), ("responses", "gpt-4o", {}), ("openai", "gpt-4o", {}),
    ("openai", "gpt-4o", {"late_system": "system"}),
])  # fmt: skip
@pytest.mark.parametrize("late", [True, False])
def test_a_picture_of_the_systems_is_carried_or_named(api: str, model: str, quirks: dict[str, Any], late: bool) -> None:
    user = SAID["openai"]["messages"][0]
    found, lost = converted("openai", {"messages": [user, SYSTEM, user] if late else [SYSTEM, user]}, api, model, quirks)
    is_carried = late and not quirks
    assert ("AAAA" in str(found)) == is_carried and any(name.startswith("system.") for name in lost) == (not is_carried)
    assert "look" in str(found)


def test_a_picture_alone_of_the_systems_stays_without_a_reminder_around_nothing() -> None:
    user = SAID["openai"]["messages"][0]
    out, _ = converted("openai", {"messages": [user, {**SYSTEM, "content": [PICTURE]}, user]}, "openai", "gpt-4o")
    assert out["messages"][1] == {"role": "user", "content": [PICTURE]}


@pytest.mark.parametrize("part", [
    {"functionCall": {"name": "f", "args": {}}, "text": "and more"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"},
                                                                       "text": "and more"},
])  # fmt: skip
def test_a_second_content_of_one_part_is_named(part: dict[str, Any]) -> None:
    turns = [*SAID["gemini"]["contents"], {"role": "model" if "functionCall" in part else "user", "parts": [part]}]
    assert "text" in converted("gemini", {"contents": turns}, "anthropic", CLAUDE)[1]


@pytest.mark.parametrize(
    ("choice", "lost"), [({"type": "function", "name": "f"}, ["text.format"]), ("required", []), ("auto", [])]
)
def test_an_answers_form_gives_way_to_a_forced_call_and_is_named(choice: Any, lost: list[str]) -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]
    body = {"tools": tools, "tool_choice": choice, "text": {"format": {"type": "json_schema", "name": "n", "schema": PLAN}}}
    assert converted("responses", body, "openai", "gpt-4o")[1] == lost
