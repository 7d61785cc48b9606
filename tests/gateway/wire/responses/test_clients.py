"""What particular clients send and need, as they were seen: Codex in both of its dialects, @ai-sdk,
agent-framework, chatlas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from responding import SEAL, answer, events_in, read, streamed

from llm_router_gateway.errors import RateLimited
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.ir import Text, ToolCall
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.responses import state

OTHERS = {
    "openai": (openai, "deepseek-chat"),
    "anthropic": (anthropic, "claude-sonnet-4-5"),
    "gemini": (gemini, "gemini-2.5-pro"),
}

# Codex for a name that it does not know: plain functions, the system text as the first developer message, nothing stored.
CODEX: dict[str, Any] = {
    "model": "oai/m", "stream": True, "store": False, "tool_choice": "auto", "parallel_tool_calls": False,
    "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
    "client_metadata": {"a": "b"},
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
        {"type": "message", "role": "user", "id": "u1", "content": [{"type": "input_text", "text": "List files."}],
         "internal_chat_message_metadata_passthrough": {"x": 1}},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "arguments": '{"command":["ls"]}'},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "a.txt"}]},
    ],
    "tools": [
        {"type": "function", "name": "shell", "description": "d", "strict": False,
         "parameters": {"type": "object", "properties": {}}},
        {"type": "namespace", "name": "multi_agent_v1", "description": "Agents.", "tools": [
            {"type": "function", "name": "close_agent", "description": "d", "parameters": {"type": "object",
             "properties": {}}}]},
        {"type": "web_search", "external_web_access": True}, {"type": "tool_search", "execution": "client", "parameters": {}},
    ],
}  # fmt: skip
# Codex for the newest names: no tools, but an item that has them; one custom tool in a namespace.
NEWEST: dict[str, Any] = {
    "model": "gpt-6.2-sol", "stream": True, "store": False, "tool_choice": "auto", "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "context": "all_turns"},
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "namespace",
         "name": "functions", "description": "x",
            "tools": [{"type": "custom", "name": "exec", "description": "Run JavaScript.",
                       "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}]}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go."}]},
        {"type": "custom_tool_call", "call_id": "call_1", "namespace": "functions", "name": "exec", "input": "ls()"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "a.txt"}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("to", OTHERS)
@pytest.mark.parametrize("body", [CODEX, NEWEST])
def test_codexs_request_reaches_every_upstream(body: dict[str, Any], to: str) -> None:
    module, model = OTHERS[to]
    lost: list[str] = []
    request = responses.read_request(body, seal=SEAL)
    sent = json.dumps(module.write_request(request, model=model, quirks={}, lost=lost))
    assert "a.txt" in sent and ("shell" in sent or "functions__exec" in sent)
    assert "close_agent" in sent or body is NEWEST
    searched = to == "anthropic"  # the one that takes a search beside functions
    known = {"client_metadata", "tools=tool_search", "tools[3]=tool_search", "tools.format", "format",
     "reasoning.context", "reasoning",
             "parallel_tool_calls=false", "reasoning.shown", "cache_key", "prompt_cache_key"}  # fmt: skip
    known |= set() if searched else {"tools=web_search", "tools[2]=web_search"}
    assert set(lost) <= known, set(lost) - known


def test_codex_gets_its_namespaced_and_custom_calls_as_it_offered_them() -> None:
    one = events_in(streamed(answer(ToolCall("t", "multi_agent_v1__close_agent", "{}", {})), responses.read_request(CODEX)))
    item = next(event["item"] for event in one if event["type"] == "response.output_item.done")
    assert (item["type"], item["namespace"], item["name"]) == ("function_call", "multi_agent_v1", "close_agent")
    call = ToolCall("t", "functions__exec", '{"input":"ls()"}', {"input": "ls()"})
    two = events_in(streamed(answer(call), responses.read_request(NEWEST)))
    item = next(event["item"] for event in two if event["type"] == "response.output_item.done")
    assert (item["type"], item["namespace"], item["name"], item["input"]) == ("custom_tool_call", "functions", "exec", "ls()")


def test_codexs_warm_up_is_an_answerable_request() -> None:
    request = responses.read_request({"model": "m", "input": "", "max_output_tokens": 1})
    for module, model in OTHERS.values():
        assert module.write_request(request, model=model, quirks={}, lost=[])


def test_codex_waits_as_long_as_the_answer_says() -> None:
    failed = events_in(responses.StreamWriter(read()).failure(RateLimited("Slow down.", retry_after_s=2.0)))[0]
    assert "try again in 2s" in failed["response"]["error"]["message"]


def test_agent_frameworks_tool_loop_sends_outputs_alone() -> None:
    first = {"model": "m", "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]}],
             "tools": [{"type": "function", "name": "f"}]}  # fmt: skip
    request = responses.read_request(first, reply_id="resp_1", seal=SEAL)
    kept = state.turn_to_keep(first, responses.write_answer(answer(ToolCall("t1", "f", "{}", {})), request, []))
    second = {"model": "m", "previous_response_id": "resp_1", "input": [
        {"type": "function_call_output", "call_id": "t1", "output": "42"}]}  # fmt: skip
    whole = responses.read_request(state.unfold(second, [kept]), echo={"previous_response_id": "resp_1"})
    body = openai.write_request(whole, model="gpt-4o", quirks={}, lost=[])
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]
    assert responses.write_answer(answer(Text("a")), whole, [])["previous_response_id"] == "resp_1"


def test_the_ai_sdk_sends_references_for_words_and_thoughts() -> None:
    first = {"model": "m", "input": "q"}
    request = responses.read_request(first, reply_id="resp_1", seal=SEAL)
    output = responses.write_answer(answer(ir.Thinking("Hm", "s", "anthropic"), Text("a")), request, [])["output"]
    kept = state.turn_to_keep(first, {"id": "resp_1", "output": output})
    second = {"model": "m", "input": [{"role": "user", "content": "q"}, *({"type": "item_reference",
     "id": each["id"]} for each in output),
                                      {"role": "user", "content": "more"}]}  # fmt: skip
    whole = responses.read_request(state.unfold(second, [], state.by_id([kept])), seal=SEAL)
    assert whole.messages[1].parts == (ir.Thinking("Hm", "s", "anthropic"), Text("a"))


def test_chatlas_answers_a_kept_call_by_the_items_id() -> None:
    items = [{"role": "user", "content": "q"}, {"type": "function_call", "id": "fc_1", "call_id": "t1",
     "name": "f", "arguments": "{}"},
             {"type": "function_call_output", "call_id": "fc_1", "output": "42"}]  # fmt: skip
    lost: list[str] = []
    body = openai.write_request(read(items), model="gpt-4o", quirks={}, lost=lost)
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "t1", "content": "42"} and not lost
