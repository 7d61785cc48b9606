"""Reasoning over turns: what an upstream signed goes through a Responses caller and comes back to it to the letter."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from collected import answer_of
from responding import SEAL, events_in, read, written

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.anthropic import codec as anthropic
from llm_router_gateway.wire.envelope import MARK, open_envelope, pack_envelope
from llm_router_gateway.wire.gemini import codec as gemini
from llm_router_gateway.wire.gemini.common import SIGNATURE_UNKNOWN
from llm_router_gateway.wire.ir import Text, Thinking, ToolCall
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.responses import codec as responses
from llm_router_gateway.wire.sse import SSEParser

CORPUS = Path(__file__).resolve().parents[3] / "corpus" / "wire"
USER = {"role": "user", "content": "q"}


def told(module: Any, data: bytes) -> list[ir.StreamEvent]:
    parser, reader = SSEParser(), module.StreamReader()
    events = [out for each in [*parser.feed(data), *parser.close()] for out in reader.feed(each)]
    return [*events, *reader.close()]


def streams(protocol: str) -> list[Path]:
    found = sorted(CORPUS.glob(f"{protocol}/*.sse")) or sorted(
        path for path in CORPUS.glob(f"{protocol}/stream-*") if path.suffix != ".json")  # fmt: skip
    assert found
    return found


def through_a_caller(events: list[ir.StreamEvent]) -> list[dict[str, Any]]:
    """The items that a Responses caller gets of a stream, and sends back."""
    writer = responses.StreamWriter(read())
    data = b"".join(map(writer.feed, events))
    output: list[dict[str, Any]] = json.loads(json.dumps(events_in(data)[-1]["response"]["output"]))
    return output


def results(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "function_call_output", "call_id": item["call_id"], "output": "1"}
            for item in items if item["type"] == "function_call"]  # fmt: skip


def signed(parts: tuple[ir.Part, ...]) -> list[ir.Part]:
    """What must be the same: thoughts of the vendor's, signatures, calls."""
    kept = [part for part in parts if isinstance(part, Thinking) and (part.signature or part.data)]
    calls = [ir.ToolCall(part.id, part.name, "", part.arguments, signature=part.signature)
             for part in parts if isinstance(part, ToolCall) and part.arguments is not None]  # fmt: skip
    texts = [part.signature for part in parts if isinstance(part, Text) and part.signature]
    return [*kept, *calls, *map(Text, texts)]


@pytest.mark.parametrize("protocol", ["anthropic", "gemini"])
def test_every_signed_stream_of_the_corpus(protocol: str) -> None:
    module, seen = {"anthropic": anthropic, "gemini": gemini}[protocol], 0
    for path in streams(protocol):
        events = told(module, path.read_bytes())
        if not isinstance(events[-1], ir.Finished):
            continue
        parts = answer_of(events).candidates[0].parts if answer_of(events).candidates else ()
        items = through_a_caller(events)
        request = read([USER, *items, *results(items), USER])
        back = tuple(part for message in request.messages if message.role == "assistant" for part in message.parts)
        assert signed(back) == signed(parts), path.name
        seen += bool(signed(parts))
    assert seen > 3


def test_claudes_turn_goes_back_block_by_block() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm \u2028\n", "signature": "EqQB+/="}, {"type": "redacted_thinking", "data": "enc=="},
        {"type": "text", "text": "Let me look."}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ]  # fmt: skip
    answer = anthropic.read_answer({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": content,
                                    "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}})  # fmt: skip
    items = through_a_caller(ir.events_of(answer))
    request = read([USER, *items, *results(items)], tools=[{"type": "function", "name": "f"}], reasoning={"effort": "high"})
    lost: list[str] = []
    body = anthropic.write_request(request, model="claude-sonnet-4-5", quirks={}, lost=lost)
    assert body["messages"][1]["content"] == content and body["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
    assert body["thinking"]["type"] == "enabled" and not lost


def test_geminis_signatures_go_back_in_their_places() -> None:
    call = {"functionCall": {"name": "f", "args": {}, "id": "x"}, "thoughtSignature": "c2ln"}
    parts = [{"text": "Hm", "thought": True}, call]
    answer = gemini.read_answer({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}]})
    items = through_a_caller(ir.events_of(answer))
    lost: list[str] = []
    request = read([USER, *items, *results(items)], tools=[{"type": "function", "name": "f"}])
    body = gemini.write_request(request, model="gemini-3-pro", quirks={}, lost=lost)
    assert body["contents"][1]["parts"][-1] == call


def test_a_caller_that_changes_members_takes_its_thoughts_nowhere_else() -> None:
    sealed = SEAL.close({"kind": "thinking", "vendor": "anthropic", "text": "Hm", "signature": "s"})
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    request = read([USER, item, {"role": "assistant", "content": "a"}, USER])
    for module, model in ((openai, "gpt-4o"), (gemini, "gemini-2.5-pro")):
        lost: list[str] = []
        body = json.dumps(module.write_request(request, model=model, quirks={}, lost=lost))
        assert "llmr1" not in body and "Hm" not in body and lost == ["thinking"]


def test_openais_encrypted_thoughts_go_through_a_chat_caller() -> None:
    """As OpenRouter has them: reasoning_details."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    answer = responses.read_answer({"id": "r", "status": "completed", "output": [item, call]})
    chat = openai.read_request({"model": "m", "messages": [{"role": "user", "content": "q"}]})
    message = openai.write_answer(answer, chat, [])["choices"][0]["message"]
    back = openai.read_request({"model": "m", "messages": [
        {"role": "user", "content": "q"}, message, {"role": "tool", "tool_call_id": "c1", "content": "1"}]})  # fmt: skip
    body, lost = written(back, "gpt-5.5")
    assert body["input"][1] == item and body["input"][2]["call_id"] == "c1" and not lost


def through_anthropics_caller(answer: ir.Answer, *, stream: bool) -> list[dict[str, Any]]:
    """The content that a caller of Anthropic's protocol gets of an answer, and sends back."""
    asked = anthropic.read_request({"model": "m", "max_tokens": 99, "messages": [USER]})
    if not stream:
        content: list[dict[str, Any]] = anthropic.write_answer(answer, asked, [])["content"]
        return content
    writer = anthropic.StreamWriter(asked)
    blocks: list[dict[str, Any]] = []
    for event in SSEParser().feed(b"".join(map(writer.feed, ir.events_of(answer)))):
        fields = json.loads(event.data)
        if fields["type"] == "content_block_start":
            blocks.append(fields["content_block"])
        elif fields["type"] == "content_block_delta":
            delta = {name: value for name, value in fields["delta"].items() if name != "type"}
            for name, value in delta.items():
                name = "input" if name == "partial_json" else name
                blocks[-1][name] = (blocks[-1].get(name) or "") + value
    return [{**each, "input": json.loads(each["input"])} if "input" in each else each for each in blocks]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("summaries", [["Hm"], ["Hm", "And so"], []])
def test_openais_encrypted_thoughts_go_through_a_caller_of_anthropics(summaries: list[str], stream: bool) -> None:
    summary = [{"type": "summary_text", "text": each} for each in summaries]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAA/+=="}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    answer = responses.read_answer({"id": "r", "status": "completed", "output": [item, call]})
    content = through_anthropics_caller(answer, stream=stream)
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "1"}
    conversation = [USER, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    body, lost = written(anthropic.read_request({"model": "m", "max_tokens": 99, "messages": conversation}), "gpt-5.5")
    thought, called = body["input"][1:3]
    assert {**thought, "id": "rs_1"} == item and called["call_id"] == "c1" and not lost


@pytest.mark.parametrize("stream", [False, True])
def test_geminis_signed_thoughts_go_through_a_caller_of_anthropics(stream: bool) -> None:
    parts = [
        {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {}, "id": "x"}},
    ]
    answer = gemini.read_answer({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}]})
    content = through_anthropics_caller(answer, stream=stream)
    conversation = [USER, {"role": "assistant", "content": content}, USER]
    request = anthropic.read_request({"model": "m", "max_tokens": 99, "messages": conversation})
    assert gemini.write_request(request, model="gemini-3-pro", quirks={}, lost=[])["contents"][1]["parts"][0] == parts[0]


def test_an_upstream_of_the_callers_protocol_gets_no_envelope() -> None:
    theirs = {"type": "thinking", "thinking": "Hm", "signature": pack_envelope("gemini", "c2ln")}
    hidden = {"type": "redacted_thinking", "data": pack_envelope("openai", "", "gAAA")}
    own = {"type": "thinking", "thinking": "Hm", "signature": "EqQB"}
    said, last = {"type": "text", "text": "a"}, {"role": "user", "content": "q"}
    lost: list[str] = []
    body = {
        "messages": [last, {"role": "assistant", "content": [theirs, hidden]}, {"role": "assistant", "content": [own, said]}]
    }
    assert anthropic.remove_foreign(body, lost)["messages"] == [last, {"role": "assistant", "content": [own, said]}]
    assert lost == ["thinking"]
    lost = []
    call, signed = {"functionCall": {"name": "f"}}, {"thoughtSignature": pack_envelope("anthropic", "s")}
    parts = [{"text": "Hm", "thought": True, **signed}, {"text": "", **signed}, {"text": "a", **signed}, {**call, **signed},
             {"text": "b", "thoughtSignature": "c2ln"}]  # fmt: skip
    found = gemini.remove_foreign({"contents": [{"role": "model", "parts": parts}, {"parts": parts[:1]}]}, lost)["contents"]
    assert found == [{"role": "model", "parts": [{"text": "a"}, {**call, "thoughtSignature": SIGNATURE_UNKNOWN}, parts[4]]}]
    assert lost == ["thinking", "signature"]


def test_an_envelope_opens_whatever_alphabet_a_client_gives_it_and_a_damaged_one_stays_shut() -> None:
    whole = pack_envelope("openai", "", "\u00ff\u00fe?>" * 9)
    for text in (whole, whole.replace("+", "-").replace("/", "_"), whole.rstrip("=")):
        assert open_envelope(text) == ("openai", "", "\u00ff\u00fe?>" * 9)
    deep = base64.b64encode(b'llm-router1:{"v":' + b"[" * 100_000).decode()
    for at in range(len(whole)):
        found = open_envelope(whole[:at] + "!" + whole[at + 1 :]), open_envelope(whole[:at])
        assert all(each is None or isinstance(each, tuple) for each in found)
    assert [open_envelope(text) for text in (deep, MARK, f"{MARK}\u00e9", "c2ln", "")] == [None] * 5
