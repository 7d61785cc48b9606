"""A forced tool_choice that is not obeyed, and fewer answers than `n`: named, in every protocol, plain and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Exchange, Upstream
from routed import Hosts, Ways, play, provider

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.registry import wire

Body = dict[str, Any]
APIS = {"o": "openai", "a": "anthropic", "g": "gemini", "r": "responses"}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "gemini": "/v1beta/models/{}:generateContent",
         "responses": "/v1/responses", "completions": "/v1/completions"}  # fmt: skip
USAGE = {"prompt_tokens": 1, "completion_tokens": 1}
SCHEMA = {"type": "object", "properties": {}}


def openai_answer(*calls: str, choices: int = 1) -> Body:
    message: Body = {"role": "assistant", "content": None if calls else "no"}
    if calls:
        message["tool_calls"] = [{"id": f"c{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
                                 for name in calls]  # fmt: skip
    word = "tool_calls" if calls else "stop"
    made = [{"index": place, "message": message, "finish_reason": word} for place in range(choices)]
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": made, "usage": USAGE}


ANSWERS: dict[str, Callable[..., Body]] = {
    "o": openai_answer,
    "a": lambda *calls: {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1},
        "stop_reason": "tool_use" if calls else "end_turn",
        "content": [{"type": "tool_use", "id": name, "name": name, "input": {}} for name in calls] or
                   [{"type": "text", "text": "no"}]},
    "g": lambda *calls, choices=1: {"candidates": [
        {"index": place, "finishReason": "STOP", "content": {"role": "model", "parts":
            [{"functionCall": {"name": name, "args": {}}} for name in calls]
            or [{"text": "no"}]}} for place in range(choices)]},
    "r": lambda *calls: {
        "id": "r", "object": "response", "status": "completed", "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1},
        "output": [{"type": "function_call", "id": f"f{name}", "call_id": name, "name": name, "arguments": "{}",
                    "status": "completed"} for name in calls] or
                  [{"type": "message", "id": "x", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "no", "annotations": []}]}]},
}  # fmt: skip


def wish(protocol: str, model: str, choice: str = "", n: int = 1) -> tuple[str, Body]:
    """(path, body): two tools, of which one or any (`*`) must be called; so many answers."""
    path = PATHS[protocol].format(model)
    names = ("f", "g")
    if protocol == "gemini":
        config: Body = {"mode": "ANY"} | ({"allowedFunctionNames": [choice]} if choice != "*" else {})
        body: Body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"candidateCount": n}}
        declared = [{"functionDeclarations": [{"name": name} for name in names]}]
        return path, body | ({"tools": declared, "toolConfig": {"functionCallingConfig": config}} if choice else {})
    if protocol == "completions":
        return path, {"model": model, "prompt": "hi", "n": n}
    if protocol == "anthropic":
        tools = [{"name": name, "input_schema": SCHEMA} for name in names]
        forced: Body = {"type": "any"} if choice == "*" else {"type": "tool", "name": choice}
        body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        return path, body | ({"tools": tools, "tool_choice": forced} if choice else {})
    inner = [{"name": name, "parameters": SCHEMA} for name in names]
    if protocol == "responses":
        flat = [{"type": "function", **each} for each in inner]
        forced = {"type": "function", "name": choice}
        body = {"model": model, "input": "hi"}
        return path, body | ({"tools": flat, "tool_choice": "required" if choice == "*" else forced} if choice else {})
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | ({"n": n} if n > 1 else {})
    deep = [{"type": "function", "function": each} for each in inner]
    named = "required" if choice == "*" else {"type": "function", "function": {"name": choice}}
    return path, body | ({"tools": deep, "tool_choice": named} if choice else {})


def streamed(api: str, answer: Body) -> Upstream:
    """The same answer as the stream that it could have been, in pieces."""
    request = wire("openai").read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True})
    writer = wire(api).StreamWriter(request, lost=[])
    data = b"".join(map(writer.feed, ir.events_of(wire(api).read_answer(answer))))
    return Upstream(200, [data[at : at + 50] for at in range(0, len(data), 50)], content_type="text/event-stream")


Send = Callable[..., tuple[Exchange, str]]


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """send("openai", "o", answer, choice="f") -> (what the caller got, the log's line)"""

    def run(protocol: str, name: str, answer: Body, *, streams: bool = False, **wanted: Any) -> tuple[Exchange, str]:
        path, body = wish(protocol, f"{name}/m", **wanted)
        if streams and protocol == "gemini":
            path = path.replace(":generateContent", ":streamGenerateContent") + "?alt=sse"
        elif streams:
            body["stream"] = True
        got: list[Exchange] = []

        async def story(ways: Ways) -> None:
            got.append(await ways.ask(Exchange("POST", path, json.dumps(body).encode())))

        hosts = Hosts(**{name: streamed(APIS[name], answer) if streams else Upstream(200, json.dumps(answer).encode())})
        root = "" if APIS[name] == "anthropic" else "/v1"
        owner = provider(name, api=APIS[name], base_url=f"http://{name}.example{root}", any_model=True)
        ways = play(story, {"providers": [owner]}, hosts, tmp_path)
        line = ways.path.read_text()
        ways.path.unlink()
        return got[0], line

    return run


def lost(answer: Exchange) -> str:
    """What was lost of the demands; other losses of a conversion are not the matter here."""
    names = answer.out_headers.get("x-llm-router-lost", "").split(", ")
    return ", ".join(name for name in names if name.startswith(("tool_choice", "n=")) or name == "n")


PAIRS = [(protocol, name) for protocol in ("openai", "anthropic", "gemini", "responses") for name in APIS]


@pytest.mark.parametrize(("protocol", "name"), PAIRS)
def test_a_forced_tool_choice_that_is_not_obeyed_is_named(send: Send, protocol: str, name: str) -> None:
    for choice, called, named in (("*", (), "tool_choice=required"), ("f", ("g",), "tool_choice=f"), ("f", (), "tool_choice=f"),
                                  ("*", ("g",), ""), ("f", ("g", "f"), ""), ("", (), "")):  # fmt: skip
        answer, line = send(protocol, name, ANSWERS[name](*called), choice=choice)
        assert answer.status == 200, answer.out
        assert lost(answer) == named and bool(named and named in line) == bool(named), (choice, called, line)


@pytest.mark.parametrize(("protocol", "name"), [("openai", "o"), ("gemini", "g"), ("openai", "g"), ("gemini", "o")])
def test_fewer_answers_than_n_are_named(send: Send, protocol: str, name: str) -> None:
    for came, named in ((1, "n=3"), (2, "n=3"), (3, "")):
        answer, _ = send(protocol, name, ANSWERS[name](choices=came), n=3)
        assert answer.status == 200 and lost(answer) == named, came


@pytest.mark.parametrize(("protocol", "name"), PAIRS)
def test_streams_name_it_in_the_log_for_their_head_has_gone(send: Send, protocol: str, name: str) -> None:
    for choice, called, named in (("*", (), "tool_choice=required"), ("f", ("g",), "tool_choice=f"), ("f", ("f",), "")):
        answer, line = send(protocol, name, ANSWERS[name](*called), streams=True, choice=choice)
        assert answer.status == 200 and "error" not in line, line
        assert bool(named and named in line) == bool(named), (choice, called, line)


@pytest.mark.parametrize(("protocol", "name"), [("openai", "o"), ("gemini", "g"), ("openai", "g"), ("gemini", "o")])
def test_streams_of_fewer_answers_than_n_too(send: Send, protocol: str, name: str) -> None:
    for came in (1, 3):
        _, line = send(protocol, name, ANSWERS[name](choices=came), streams=True, n=3)
        assert ("lost=n=3" in line) == (came == 1), (came, line)


@pytest.mark.parametrize("streams", [False, True])
def test_text_completions_too(send: Send, streams: bool) -> None:
    for came in (1, 2):
        body = {"id": "c", "object": "text_completion", "model": "m", "usage": USAGE,
                "choices": [{"index": place, "text": "x", "finish_reason": "stop"} for place in range(came)]}  # fmt: skip
        _, line = send("completions", "o", body, n=2)
        assert ("lost=n=2" in line) == (came == 1)


def test_an_answer_that_was_cut_or_refused_is_held_against_no_demand(send: Send) -> None:
    answer = openai_answer()
    answer["choices"][0]["finish_reason"] = "length"
    assert not lost(send("openai", "o", answer, choice="f")[0])


def test_what_the_upstream_was_not_sent_is_named_once(send: Send) -> None:
    answer, _ = send("openai", "a", ANSWERS["a"](), n=3)
    assert lost(answer) == "n"
