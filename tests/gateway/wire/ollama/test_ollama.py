"""Ollama's own API for callers: messages without ids, one JSON object a line, what each client cannot do without."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router_gateway.errors import BadRequest, GatewayError, Overloaded
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.ir import Media, Message, Opaque, Reasoning, Refusal, Text, Thinking, ToolCall, ToolResult
from llm_router_gateway.wire.ollama import codec as ollama
from llm_router_gateway.wire.registry import SPECS

PNG = "iVBORw0KGgoAAAANSUhEUg=="
USER = {"role": "user", "content": "q"}
ANSWER = ir.Answer(
    "a", "m-1",
    (ir.Candidate((Thinking("Hm"), Text("Hel"), Text("lo"), ToolCall("t1", "f", '{"a":1}', {"a": 1})), ir.Stop("tool_calls")),),
    ir.Usage(5, 3, text=6, reasoning=1), 1_700_000_000,
)  # fmt: skip


def read(*messages: Any, **fields: Any) -> ir.Request:
    return ollama.read_request({"model": "m", "messages": list(messages) or [USER], **fields})


def parts(*messages: Any) -> list[list[ir.Part]]:
    return [list(message.parts) for message in read(*messages).messages]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


# ---------------------------------------------------------------------------------------------------------------- requests


def test_messages() -> None:
    found = read({"role": "system", "content": "s"}, {"role": "user", "content": "q", "images": [PNG]},
                 {"role": "assistant", "content": "a", "thinking": "Hm"}, {"role": "system", "content": "late"})  # fmt: skip
    assert found.system == (Text("s"),)
    assert found.messages == (
        Message("user", (Text("q"), Media("image", "image/png", PNG))), Message("assistant", (Thinking("Hm"), Text("a"))),
        Message("system", (Text("late"),)),
    )  # fmt: skip


@pytest.mark.parametrize(("image", "kind", "data"), [
    (PNG, "image/png", PNG), ("/9j/4AAQSkZJRg==", "image/jpeg", "/9j/4AAQSkZJRg=="),
    ("R0lGODlhAQABAIAAAP==", "image/gif", "R0lGODlhAQABAIAAAP=="),
    ("AAAA", "image/png", "AAAA"), (f"data:image/webp;base64,{PNG}", "image/webp", PNG), ("\u00e4", "image/png", "\u00e4"),
])  # fmt: skip
def test_pictures_are_bare_base64(image: str, kind: str, data: str) -> None:
    assert parts({"role": "user", "content": "", "images": [image]}) == [[Media("image", kind, data)]]


@pytest.mark.parametrize("results", [
    [{"tool_name": "f"}, {"tool_name": "g"}], [{"tool_name": "g"}, {"tool_name": "f"}],  # ollama's examples, agent-framework
    [{}, {}],                                                                              # langchain-ollama, strands
    [{"name": "f"}, {"name": "g"}],
])  # fmt: skip
@pytest.mark.parametrize("split", [True, False])
def test_results_find_their_calls_without_ids(results: list[dict[str, str]], split: bool) -> None:
    """strands sends parallel calls as two messages of the assistant, and both results behind them."""
    calls = [call("f"), call("g")]
    turns = (
        [{"role": "assistant", "tool_calls": [each]} for each in calls]
        if split
        else [{"role": "assistant", "tool_calls": calls}]
    )
    made = [part for each in parts(USER, *turns, *({"role": "tool", "content": str(at), **each} for at,
     each in enumerate(results)))
            for part in each]  # fmt: skip
    called = {part.name: part.id for part in made if isinstance(part, ToolCall)}
    answered = {part.name: part.id for part in made if isinstance(part, ToolResult)}
    assert called == answered and len(set(called.values())) == 2


def test_two_calls_of_one_tool_are_answered_in_order() -> None:
    made = parts(USER, {"role": "assistant", "tool_calls": [call("f", a=1), call("f", a=2)]},
                 {"role": "tool", "tool_name": "f", "content": "one"}, {"role": "tool", "tool_name": "f",
                 "content": "two"})  # fmt: skip
    ids = [part.id for part in made[1] if isinstance(part, ToolCall)]
    assert [(part.id, part.parts[0]) for part in made[2] if isinstance(part, ToolResult)] == [
        (ids[0], Text("one")), (ids[1], Text("two"))]  # fmt: skip


def test_ids_count_where_a_client_sends_them() -> None:
    made = parts({"role": "assistant", "tool_calls": [{"id": "x1", **call("f")}, {"id": "x2", **call("f")}]},
                 {"role": "tool", "tool_call_id": "x2", "content": "two"})  # fmt: skip
    result = made[1][0]
    assert isinstance(result, ToolResult) and result.id == "x2"


def test_settings() -> None:
    found = read(
        format={"type": "object"}, think="low", keep_alive="5m", stream=False,
        options={"num_predict": 9, "temperature": 0.5, "top_k": 4, "seed": 1, "stop": ["x"], "num_ctx": 4096,
        "mirostat": 1, "top_p": None},
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    )  # fmt: skip
    assert found == ir.Request(
        "m", (Message("user", (Text("q"),)),), include_usage=True, max_tokens=9, temperature=0.5, top_k=4, seed=1, stop=("x",),
        reasoning=Reasoning("", None, "low", True), response_format=ir.ResponseFormat("schema", {"type": "object"}, "response"),
        tools=(ir.Tool("f", "d", {"type": "object"}),), extras={"ollama": {"options.mirostat": 1}},
    )  # fmt: skip


@pytest.mark.parametrize(("fields", "name", "value"), [
    ({}, "stream", True), ({"stream": None}, "stream", True), ({"stream": False}, "stream", False),
    ({"think": True}, "reasoning", Reasoning("on", shown=True)), ({"think": False}, "reasoning", Reasoning("off")),
    ({"format": "json"}, "response_format", ir.ResponseFormat("json")), ({"format": ""}, "response_format", None),
    ({"options": {"num_predict": -1}}, "max_tokens", None), ({"options": {"stop": "x"}}, "stop", ("x",)),
    ({"tools": [], "options": {}}, "tools", ()),
])  # fmt: skip
def test_each_setting(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(read(**fields), name) == value


def test_generate_is_a_chat_of_one_message() -> None:
    found = ollama.read_request({"model": "m", "prompt": "q", "system": "s", "images": [PNG], "raw": False, "template": "{{}}"})
    assert found.system == (Text("s"),) and found.messages == (Message("user", (Text("q"), Media("image", "image/png", PNG))),)
    assert found.extras == {"ollama": {"template": "{{}}"}}


@pytest.mark.parametrize(("fields", "path"), [
    ({"messages": []}, "messages"), ({"messages": [5]}, "messages[0]"), ({"messages": [{"role": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
    ({"messages": [USER], "format": 5}, "format"),
    ({"messages": [USER], "options": {"temperature": "x"}}, "options.temperature"),
    ({"prompt": "a", "suffix": "b"}, "suffix"), ({"messages": [USER], "think": 5}, "think"),
    ({"messages": [{**USER, "images": [5]}]},
                                                                                              "messages[0].images[0]"),
])  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ollama.read_request({"model": "m", **fields})
    assert caught.value.details["path"] == path


# ----------------------------------------------------------------------------------------------------------------- answers


def lines(answer: ir.Answer, request: ir.Request) -> list[dict[str, Any]]:
    writer = ollama.StreamWriter(request)
    data = b"".join(map(writer.feed, ir.events_of(answer)))
    assert data.endswith(b"\n") and b"\n\n" not in data
    return [json.loads(line) for line in data.splitlines()]


def test_an_answer() -> None:
    assert ollama.write_answer(ANSWER, read(), []) == {
        "model": "m-1", "created_at": "2023-11-14T22:13:20Z", "done": True, "done_reason": "stop",
        "message": {"role": "assistant", "content": "Hello", "thinking": "Hm",
                    "tool_calls": [{"id": "t1", "function": {"name": "f", "arguments": {"a": 1}}}]},
        "total_duration": 1, "load_duration": 0, "prompt_eval_count": 8, "prompt_eval_duration": 1, "eval_count": 7,
        "eval_duration": 1,
    }  # fmt: skip


def test_a_stream_says_what_the_answer_says() -> None:
    found, whole = lines(ANSWER, read()), ollama.write_answer(ANSWER, read(), [])
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    assert "".join(line["message"]["content"] for line in found) == "Hello"
    assert "".join(line["message"].get("thinking", "") for line in found) == "Hm"
    assert [each for line in found for each in line["message"].get("tool_calls", ())] == whole["message"]["tool_calls"]
    assert {**found[-1], "message": 0} == {**whole, "message": 0}


def test_every_line_has_what_some_client_cannot_do_without() -> None:
    for line in lines(ANSWER, read()):
        assert line["message"]["role"] == "assistant" and isinstance(line["message"]["content"], str)
        assert isinstance(line["created_at"], str) and line["model"] == "m-1"
    last = lines(ANSWER, read())[-1]
    assert all(type(last[name]) is int for name in last if name.endswith(("_duration", "_count"))) and last["eval_duration"] > 0


def test_generate_answers_in_its_own_shape() -> None:
    request = ollama.read_request({"model": "m", "prompt": "q"})
    assert "".join(line["response"] for line in lines(ANSWER, request)) == "Hello"
    lost: list[str] = []
    assert ollama.write_answer(ANSWER, request, lost)["response"] == "Hello"
    assert lost == ["tool_calls", "usage.cache_read", "usage.reasoning"]


@pytest.mark.parametrize(("part", "said", "named"), [
    (Refusal("No."), "No.", []), (Opaque("v", "k", {}, "told"), "told", []), (Opaque("v", "k", {}), "", ["k"]),
    (Media("image", "image/png", PNG), "", ["image"]), (ToolCall("t", "f", "half"), "", ["tool_calls.arguments"]),
])  # fmt: skip
def test_other_parts(part: ir.Part, said: str, named: list[str]) -> None:
    lost: list[str] = []
    given = ir.Answer("a", "m", (ir.Candidate((part,), ir.Stop("end")),))
    assert ollama.write_answer(given, read(), lost)["message"]["content"] == said and lost == named
    lost = []
    writer = ollama.StreamWriter(read(), lost=lost)
    b"".join(map(writer.feed, ir.events_of(given)))
    assert lost == named


def test_length_is_the_one_other_reason() -> None:
    given = ir.Answer("a", "m", (ir.Candidate((Text("a"),), ir.Stop("length")),))
    assert lines(given, read())[-1]["done_reason"] == "length"


@pytest.mark.parametrize(("error", "status"), [(BadRequest("bad"), 400), (Overloaded("busy"), 503)])
def test_an_error_is_a_text(error: GatewayError, status: int) -> None:
    assert ollama.write_error(error, "r")[0] == status and ollama.write_error(error, "r")[2] == {"error": error.message}
    assert json.loads(ollama.error_event(error, "r")) == {"error": error.message}


# ---------------------------------------------------------------------------------------------------------------- listings


def test_the_models() -> None:
    found = ollama.tags(["p/a", "p/b"])["models"]
    assert [(each["name"], each["model"]) for each in found] == [("p/a", "p/a"), ("p/b", "p/b")]
    assert len({each["digest"] for each in found}) == 2
    shown = ollama.show("p/a", ["vision", "tools", "unknown"], 128_000)
    assert shown["capabilities"] == ["completion", "tools", "vision"]
    assert shown["model_info"]["gateway.context_length"] == 128_000
    assert SPECS["ollama"].fixed["api/version"]["version"]


@pytest.mark.parametrize(
    ("fields", "input"), [({"input": "a"}, "a"), ({"input": ["a", "b"]}, ["a", "b"]), ({"prompt": "a"}, "a")]
)
def test_embeddings(fields: dict[str, Any], input: Any) -> None:
    assert ollama.embeddings_request({"model": "m", "options": {}, **fields}) == {"model": "m", "input": input}
    answer = {"data": [{"embedding": [0.5]}, {"embedding": [1.0]}], "usage": {"prompt_tokens": 3}}
    made = ollama.write_embeddings(answer, fields, "m")
    assert made == {"embedding": [0.5]} if "prompt" in fields else made["embeddings"] == [[0.5], [1.0]]


@pytest.mark.parametrize("fields", [{}, {"input": []}, {"input": [5]}])
def test_embeddings_of_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        ollama.embeddings_request({"model": "m", **fields})
