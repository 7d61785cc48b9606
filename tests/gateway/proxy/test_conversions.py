"""A request through the whole gateway into another protocol, and the answer back: what the caller and the upstream see.

Names of providers here: `o` speaks OpenAI's protocol, `a` Anthropic's, `g` Gemini's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import DONE, FIRST, LAST, STREAM, TEXT, Exchange, Upstream
from routed import Hosts, Ways, play, provider

Body = dict[str, Any]
APIS = {"o": "openai", "a": "anthropic", "g": "gemini"}
FROM_ANTHROPIC = [("anthropic-version", "2023-06-01")]
HI = [{"role": "user", "content": "hi"}]
ANSWERS: dict[str, Body] = {
    "o": {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
          "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}},
    "a": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "ok"}],
          "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5}},
    "g": {"candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP", "index": 0}],
          "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}},
}  # fmt: skip

Through = Callable[..., tuple[Body, Exchange]]


@pytest.fixture
def through(tmp_path: Path) -> Through:
    """through("a", path, body, answer, headers=...) -> (the body that provider `a` was sent, what the caller got)"""

    def run(
        name: str, path: str, body: Body | bytes, answer: Body | Upstream | None = None, headers: Any = None, **more: Any
    ) -> tuple[Body, Exchange]:
        found = answer if isinstance(answer, Upstream) else Upstream(200, json.dumps(answer or ANSWERS[name]).encode())
        hosts = Hosts(**{name: found})
        how = {"api": APIS[name], "base_url": f"http://{name}.example", "any_model": True, **more.pop("owner", {})}
        owner = provider(name, **how)
        got: list[Exchange] = []

        async def story(ways: Ways) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            got.append(await ways.ask(Exchange("POST", path, data, headers)))

        play(story, {"providers": [owner], **more}, hosts, tmp_path)
        return json.loads(hosts.sent[0]["body"]) if hosts.sent else {}, got[0]

    return run


def lost(answer: Exchange) -> str:
    return answer.out_headers.get("x-llm-router-lost", "")


def chat(model: str, **fields: Any) -> Body:
    return {"model": model, "messages": HI, **fields}


def messages(model: str, **fields: Any) -> Body:
    return {"model": model, "max_tokens": 1000, "messages": HI, **fields}


CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


# --------------------------------------------------------------------------------------------------------------- effort


@pytest.mark.parametrize("path_and_body", [
    (CHAT, chat("g/gemini-2.5-pro", reasoning_effort="none")),
    (MESSAGES, messages("g/gemini-2.5-pro", thinking={"type": "disabled"})),
])  # fmt: skip
def test_gemini_25_pro_thinks_at_least_a_little(through: Through, path_and_body: tuple[str, Body]) -> None:
    sent, answer = through("g", *path_and_body)
    assert sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 128 and lost(answer) == "reasoning=off"


@pytest.mark.parametrize(("path", "body"), [
    (CHAT, chat("a/claude-fable-5", reasoning_effort="none")),
    ("/v1beta/models/a/claude-mythos-5:generateContent",
     {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
])  # fmt: skip
def test_models_that_always_think_are_not_made_to_stop(through: Through, path: str, body: Body) -> None:
    sent, answer = through("a", path, body)
    assert "thinking" not in sent and lost(answer) == "reasoning=off"


def test_each_model_of_openai_gets_an_effort_that_it_knows(through: Through) -> None:
    thinks = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}
    sent, answer = through("o", MESSAGES, messages("o/o3", **thinks), headers=FROM_ANTHROPIC)
    assert sent["reasoning_effort"] == "high" and lost(answer) == "reasoning.effort=xhigh"
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"thinkingConfig": {"thinkingLevel": "minimal"}}}
    sent, answer = through("o", "/v1beta/models/o/gpt-5.1:generateContent", body)
    assert sent["reasoning_effort"] == "low" and lost(answer) == "reasoning.effort=minimal"


# ---------------------------------------------------------------------------------------------------------------- tools

EITHER = {"type": "object", "properties": {"v": {"type": "string"}, "w": {"type": "string"}},
          "anyOf": [{"required": ["v"]}, {"required": ["w"]}]}  # fmt: skip


def test_a_union_at_the_root_of_a_tools_schema_becomes_one_object(through: Through) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": EITHER}}
    sent, answer = through("a", CHAT, chat("a/claude-sonnet-4-6", tools=[tool]))
    schema = sent["tools"][0]["input_schema"]
    assert schema["properties"] == EITHER["properties"] and not {"anyOf", "required"} & schema.keys()
    assert '{"required":["v"]}' in schema["description"] and lost(answer) == "tools.anyOf"
    declared = {"name": "f", "parametersJsonSchema": EITHER}
    body = {"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"functionDeclarations": [declared]}]}
    sent, answer = through("a", "/v1beta/models/a/claude-sonnet-4-6:generateContent", body)
    assert "anyOf" not in sent["tools"][0]["input_schema"] and lost(answer) == "tools.anyOf"


def test_a_choice_names_only_a_tool_that_is_sent(through: Through) -> None:
    tools = [{"type": "web_search_20260209", "name": "web_search", "max_uses": 5},
             {"name": "f", "input_schema": {"type": "object"}}]  # fmt: skip
    body = messages("o/gpt-4.1", tools=tools, tool_choice={"type": "tool", "name": "web_search"})
    sent, answer = through("o", MESSAGES, body, headers=FROM_ANTHROPIC)
    assert "tool_choice" not in sent and lost(answer) == "tools=web_search, tool_choice"


CUSTOM = [{"type": "custom", "custom": {"name": "code", "description": "d"}}]
CODE_CALL = {"id": "tu_1", "type": "custom", "custom": {"name": "code", "input": "print(1)"}}


def test_what_was_declared_custom_is_called_as_custom(through: Through) -> None:
    called = {**ANSWERS["a"], "stop_reason": "tool_use",
              "content": [{"type": "tool_use", "id": "tu_1", "name": "code", "input": {"input": "print(1)"}}]}  # fmt: skip
    _, answer = through("a", CHAT, chat("a/claude-sonnet-4-6", tools=CUSTOM), called)
    assert answer.json["choices"][0]["message"]["tool_calls"] == [CODE_CALL]


def test_a_custom_call_in_a_stream_comes_as_its_text(through: Through) -> None:
    events: list[tuple[str, Body]] = [
        ("message_start", {"message": {**ANSWERS["a"], "content": []}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "tool_use", "id": "tu_1", "name": "code", "input": {}}}),
        *(("content_block_delta", {"index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}})
          for piece in ('{"inp', 'ut":"print(1)"', "}")),
        ("content_block_stop", {"index": 0}), ("message_delta", {"delta": {"stop_reason": "tool_use"}}), ("message_stop", {}),
    ]  # fmt: skip
    data = "".join(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n" for kind, fields in events)
    upstream = Upstream(200, data.encode(), content_type="text/event-stream")
    _, answer = through("a", CHAT, chat("a/claude-sonnet-4-6", tools=CUSTOM, stream=True), upstream)
    chunks = [json.loads(line[6:]) for line in answer.out.decode().splitlines() if line.startswith("data: {")]
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert {**calls[0], "custom": None} == {"index": 0, "id": "tu_1", "type": "custom", "custom": None}
    assert "".join(call["custom"].get("input", "") for call in calls) == "print(1)"


@pytest.mark.parametrize(("required", "strict"), [([], None), (["a"], True)])
def test_strict_goes_to_openai_only_where_the_schema_is_one_that_it_takes(
    through: Through, required: list[str], strict: bool | None
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": required, "additionalProperties": False}
    body = messages("o/gpt-4.1", tools=[{"name": "f", "strict": True, "input_schema": schema}])
    sent, answer = through("o", MESSAGES, body, headers=FROM_ANTHROPIC)
    assert sent["tools"][0]["function"].get("strict") is strict
    assert lost(answer) == ("" if strict else "tools.strict")


def test_const_and_enum_are_written_as_json(through: Through) -> None:
    schema = {"type": "object", "properties": {"b": {"const": True}, "c": {"enum": [None, 1.5, False]}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    sent, _ = through("g", CHAT, chat("g/m", tools=[tool]))
    properties = sent["tools"][0]["functionDeclarations"][0]["parameters"]["properties"]
    assert (properties["b"]["description"], properties["c"]["description"]) == ("One of: true", "One of: 1.5, false")


@pytest.mark.parametrize("ref", ["#/$defs/A", "$defs/A", "/$defs/A", "A"])
def test_a_reference_is_followed_without_its_hash_too(through: Through, ref: str) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": ref}}, "$defs": {"A": {"type": "integer"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    sent, _ = through("g", CHAT, chat("g/m", tools=[tool]))
    assert sent["tools"][0]["functionDeclarations"][0]["parameters"]["properties"]["a"] == {"type": "integer"}
    sent, _ = through("a", CHAT, chat("a/claude-sonnet-4-6", tools=[tool]))
    assert sent["tools"][0]["input_schema"]["properties"]["a"] == {"$ref": "#/$defs/A"}


# ---------------------------------------------------------------------------------------------- tools that come on the way

LATE = {"name": "late", "description": "d", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}


def names_of(sent: Body) -> list[str]:
    return [tool["function"]["name"] for tool in sent.get("tools", [])]


def test_a_tool_that_a_system_message_defines_reaches_the_model(through: Through) -> None:
    added = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": LATE}}
    body = messages("o/m", messages=[*HI, {"role": "system", "content": [added]}])
    sent, answer = through("o", MESSAGES, body, headers=FROM_ANTHROPIC)
    assert names_of(sent) == ["late"] and [message["role"] for message in sent["messages"]] == ["user"]
    assert lost(answer) == ""
    removed = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "late"}}
    body["messages"].append({"role": "system", "content": [removed, {"type": "text", "text": "so it is"}]})
    sent, _ = through("o", MESSAGES, body, headers=FROM_ANTHROPIC)
    assert names_of(sent) == [] and "so it is" in sent["messages"][-1]["content"]


def test_a_tool_to_be_loaded_later_is_offered_once_it_is_loaded(through: Through) -> None:
    tools = [{**LATE, "defer_loading": True}, {"name": "search", "input_schema": {"type": "object"}}]
    sent, _ = through("o", MESSAGES, messages("o/m", tools=tools), headers=FROM_ANTHROPIC)
    assert names_of(sent) == ["search"]
    found = [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "search", "input": {}}]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                                           "content": [{"type": "tool_reference", "tool_name": "late"}]}]}]  # fmt: skip
    sent, _ = through("o", MESSAGES, messages("o/m", tools=tools, messages=[*HI, *found]), headers=FROM_ANTHROPIC)
    assert names_of(sent) == ["late", "search"]
    server = [*tools, {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}]  # loads by itself, there
    sent, _ = through("o", MESSAGES, messages("o/m", tools=server), headers=FROM_ANTHROPIC)
    assert names_of(sent) == ["late", "search"]


# ------------------------------------------------------------------------------------------------------------ conversation


@pytest.mark.parametrize(("model", "roles"), [
    ("claude-opus-4-7", ["user", "assistant", "user"]), ("claude-sonnet-4-6", ["user", "assistant", "user"]),
    ("claude-mythos-preview", ["user", "assistant", "user"]), ("claude-sonnet-4-5", ["user", "assistant"]),
    ("glm-4.6", ["user", "assistant"]),
])  # fmt: skip
def test_newer_claudes_get_a_request_to_go_on_where_they_refuse_a_beginning(
    through: Through, model: str, roles: list[str]
) -> None:
    body = chat(f"a/{model}", messages=[*HI, {"role": "assistant", "content": "{"}])
    sent, answer = through("a", CHAT, body)
    assert [message["role"] for message in sent["messages"]] == roles
    assert lost(answer) == ("prefill" if len(roles) == 3 else "")


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
def test_half_of_a_surrogate_pair_is_replaced_and_named(through: Through, path: str) -> None:
    where = "input" if path.endswith("responses") else "messages"
    raw = f'{{"model":"a/m","{where}":[{{"role":"user","content":"bad \\ud83d half, \\ud83d\\ude00 whole"}}]}}'
    sent, answer = through("a", path, raw.encode())
    assert sent["messages"][0]["content"][0]["text"] == "bad \ufffd half, \U0001f600 whole"
    assert lost(answer) == "lone surrogate=U+FFFD"


def test_a_document_that_a_tool_returned_is_called_a_document(through: Through) -> None:
    def result(*content: Body) -> str:
        turns = [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [*content]}]}]  # fmt: skip
        sent, _ = through("o", MESSAGES, messages("o/m", messages=[*HI, *turns]), headers=FROM_ANTHROPIC)
        told: str = sent["messages"][2]["content"]
        return told

    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    assert result(pdf) == "[The document that the tool returned is in the next message.]"
    assert result(picture, picture) == "[The images that the tool returned are in the next message.]"
    assert result(picture, pdf) == "[The files that the tool returned are in the next message.]"


@pytest.mark.parametrize("name", ["o", "g"])
def test_what_a_server_tool_found_stands_on_a_line_of_its_own(through: Through, name: str) -> None:
    hit = {"type": "web_search_result", "url": "https://example.com", "title": "T", "encrypted_content": "x"}
    turn = [{"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [hit]},
            {"type": "text", "text": "A"}]  # fmt: skip
    body = messages(f"{name}/m", messages=[*HI, {"role": "assistant", "content": turn}, *HI])
    sent, _ = through(name, MESSAGES, body, headers=FROM_ANTHROPIC)
    if name == "o":
        assert sent["messages"][1]["content"] == "T https://example.com\nA"
    else:
        told = "".join(part["text"] for part in sent["contents"][1]["parts"])
        assert told.strip() == "T https://example.com\nA"


# ----------------------------------------------------------------------------------------------------------------- answers


def test_what_an_answer_loses_is_named_for_every_caller(through: Through) -> None:
    candidate = {**ANSWERS["g"]["candidates"][0], "groundingMetadata": {"webSearchQueries": ["h"]},
                 "citationMetadata": {"citationSources": [{"uri": "https://h"}]}}  # fmt: skip
    found = {**ANSWERS["g"], "candidates": [candidate]}
    for path, body, headers in ((CHAT, chat("g/m"), None), (MESSAGES, messages("g/m"), FROM_ANTHROPIC)):
        _, answer = through("g", path, body, found, headers)
        assert lost(answer) == "groundingMetadata, citationMetadata", path


@pytest.mark.parametrize(("path", "body", "prefix"), [(CHAT, chat("g/m"), "chatcmpl-"), (MESSAGES, messages("g/m"), "msg_")])
def test_an_answer_without_an_id_gets_one_that_no_other_has(through: Through, path: str, body: Body, prefix: str) -> None:
    ids = [through("g", path, body)[1].json["id"] for _ in range(3)]
    assert len(set(ids)) == 3 and all(each.startswith(prefix) and len(each) > len(prefix) + 8 for each in ids)


@pytest.mark.parametrize(("theirs", "ours", "named"), [
    ("default", "standard", ""), ("priority", "priority", ""), ("flex", None, "service_tier=flex"), ("auto", None, ""),
])  # fmt: skip
def test_the_tier_of_an_answer_is_reported_in_the_callers_word(
    through: Through, theirs: str, ours: str | None, named: str
) -> None:
    _, answer = through("o", MESSAGES, messages("o/m"), {**ANSWERS["o"], "service_tier": theirs}, FROM_ANTHROPIC)
    assert answer.json["usage"].get("service_tier") == ours and lost(answer) == named


def test_an_anthropic_answers_tier_is_reported_in_openais_word(through: Through) -> None:
    usage = {**ANSWERS["a"]["usage"], "service_tier": "standard"}
    _, answer = through("a", CHAT, chat("a/claude-sonnet-4-5"), {**ANSWERS["a"], "usage": usage})
    assert answer.json["service_tier"] == "default"


def test_a_stream_for_an_anthropic_caller_begins_with_an_estimate_and_ends_with_the_figure(through: Through) -> None:
    head = '"id":"c","object":"chat.completion.chunk","created":1,"model":"m"'
    chunks = [f'{{{head},"choices":[{{"index":0,"delta":{{"role":"assistant","content":"x"}},"finish_reason":null}}]}}',
              f'{{{head},"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}',
              f'{{{head},"choices":[],"usage":{{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}}}',
              "[DONE]"]  # fmt: skip
    upstream = Upstream(200, "".join(f"data: {each}\n\n" for each in chunks).encode(), content_type="text/event-stream")
    _, answer = through("o", MESSAGES, messages("o/m", stream=True), upstream, FROM_ANTHROPIC)
    events = [json.loads(line[6:]) for line in answer.out.decode().splitlines() if line.startswith("data: {")]
    _, counted = through("o", "/v1/messages/count_tokens", {"model": "o/m", "messages": HI}, headers=FROM_ANTHROPIC)
    start = next(event for event in events if event["type"] == "message_start")
    end = next(event for event in events if event["type"] == "message_delta")
    assert start["message"]["usage"]["input_tokens"] == counted.json["input_tokens"] > 0
    assert end["usage"]["input_tokens"] == 11


def test_servers_that_ignore_fields_are_not_sent_them(through: Through) -> None:
    body = messages("o/m", top_k=5, tool_choice={"type": "any"}, tools=[LATE])
    sent, answer = through("o", MESSAGES, body, headers=FROM_ANTHROPIC, owner={"type": "transformers"})
    assert not {"top_k", "tool_choice"} & sent.keys() and lost(answer) == "tool_choice, top_k"


# ------------------------------------------------------------------------------------------------------------ counted tokens


def test_tokens_are_counted_by_an_upstream_that_can_whatever_its_protocol(through: Through) -> None:
    body = {"model": "g/m", "system": "be brief", "messages": HI}
    sent, answer = through("g", "/v1/messages/count_tokens", body, {"totalTokens": 77}, FROM_ANTHROPIC)
    assert answer.json == {"input_tokens": 77} and "x-llm-router-estimated" not in answer.out_headers
    assert sent["generateContentRequest"]["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    asked = {"contents": [{"parts": [{"text": "hi"}]}]}
    sent, answer = through("a", "/v1beta/models/a/claude-sonnet-4-5:countTokens", asked, {"input_tokens": 9})
    assert answer.json == {"totalTokens": 9} and sent.keys() == {"model", "messages"}


@pytest.mark.parametrize(("name", "found"), [
    ("o", None), ("g", Upstream(404, b"{}")), ("g", Upstream(400, b'{"error":{"message":"no"}}')), ("g", {"totalTokens": -1}),
])  # fmt: skip
def test_a_count_that_no_upstream_made_says_so(through: Through, name: str, found: Any) -> None:
    body = {"model": f"{name}/m", "messages": HI}
    _, answer = through(name, "/v1/messages/count_tokens", body, found, FROM_ANTHROPIC)
    assert answer.status == 200 and answer.json["input_tokens"] > 0
    assert answer.out_headers["x-llm-router-estimated"] == "tokens" and lost(answer) == ""


# ---------------------------------------------------------------------------------------------------------- names of models

CATCHES = {"routing": {"default_model": "o/m"}, "models": [{"name": "m", "provider": "o"}], "owner": {"any_model": False}}


def test_the_default_model_answers_for_names_that_no_provider_has(through: Through) -> None:
    sent, answer = through("o", CHAT, chat("gpt-helper-9"), **CATCHES)
    assert sent["model"] == "m" and answer.out_headers["x-llm-router-model"] == "o/m"
    group = {"name": "spare", "members": [{"model": "o/m"}]}
    spare = {**CATCHES, "routing": {"default_model": "spare"}, "groups": [group]}
    sent, answer = through("o", CHAT, chat("gpt-helper-9"), **spare)
    assert sent["model"] == "m" and answer.status == 200


def test_the_default_model_does_not_answer_for_what_is_switched_off(through: Through) -> None:
    models = [*CATCHES["models"], {"name": "off", "provider": "o", "is_active": False}]
    _, answer = through("o", CHAT, chat("o/off"), **{**CATCHES, "models": models})
    assert answer.status == 404


@pytest.mark.parametrize(("name", "status"), [
    ("o//models/x.gguf", 200), ("o/My Model [Q4]", 200), ("o/模型", 200), ("o/bad\ud83d", 404),
])  # fmt: skip
def test_every_name_goes_out_as_it_is_listed_and_what_cannot_be_sent_is_404(through: Through, name: str, status: int) -> None:
    sent, answer = through("o", CHAT, json.dumps(chat(name)).encode())
    assert answer.status == status
    assert sent.get("model") == (name.partition("/")[2] if status == 200 else None)


def test_a_name_stands_in_geminis_path_escaped(tmp_path: Path) -> None:
    hosts = Hosts(g=Upstream(200, json.dumps(ANSWERS["g"]).encode()))

    async def story(ways: Ways) -> None:
        await ways.post(CHAT, chat("g/my model?#ü"))

    play(story, {"providers": [provider("g", api="gemini", base_url="http://g.example")]}, hosts, tmp_path)
    assert hosts.sent[0]["url"] == "http://g.example/v1beta/models/my%20model%3F%23%C3%BC:generateContent"


# -- a text completion whose upstream has chats only, as it says in the stream itself

NO_COMPLETIONS = (
    b'data: {"error":{"message":"This is a chat model and not supported in the v1/completions endpoint","code":404}}\n\n'
)


def text_piece(text: str) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c-1", "object": "text_completion", "choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize(("first", "sent"), [("", 2), ("It ", 1)])
def test_a_stream_has_one_answer_though_its_upstream_refuses_the_form(first: str, sent: int, tmp_path: Path) -> None:
    """What came before the first output is as if it had never been; after it nothing else can answer."""
    exchange = Exchange("POST", "/v1/completions", b'{"model":"o/m","prompt":"hi","stream":true}')
    hosts = Hosts(
        o=[Upstream(200, [text_piece(first), NO_COMPLETIONS], **STREAM), Upstream(200, [FIRST, TEXT, LAST, DONE], **STREAM)]
    )

    async def story(ways: Ways) -> None:
        await ways.ask(exchange)

    play(story, {"providers": [provider("o", any_model=True)]}, hosts, tmp_path)
    assert len(hosts.sent) == sent and (b"c-1" in exchange.out) == (sent == 1)
    assert (b'"text":"hi"' in exchange.out) == (sent == 2) and (b"error" in exchange.out) == (sent == 1)
