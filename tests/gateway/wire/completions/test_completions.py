"""POST /v1/completions for callers: a text prompt as a chat, its answer as text again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router_gateway.errors import BadRequest, RateLimited
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.completions import codec as completions
from llm_router_gateway.wire.ir import Message, Text, Thinking, ToolCall
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.sse import SSEParser

ANSWER = ir.Answer(
    "cmpl-1", "m-1", (ir.Candidate((Thinking("Hm"), Text("Hel"), Text("lo")), ir.Stop("length")),), ir.Usage(5, 3, text=6), 7,
)  # fmt: skip


def read(**fields: Any) -> ir.Request:
    return completions.read_request({"model": "m", "prompt": "Once", **fields})


def test_a_prompt_is_a_message_of_the_user() -> None:
    assert read() == ir.Request("m", (Message("user", (Text("Once"),)),))
    assert read(prompt=["Once"]) == read() and read(prompt=None).messages[0].parts == (Text(""),)


def test_the_settings_are_those_of_a_chat() -> None:
    found = read(max_tokens=9, temperature=0.5, top_p=0.9, stop="x", n=2, seed=1, user="u", stream=True, best_of=1, echo=False,
                 logprobs=None, suffix="", stream_options={"include_usage": True}, logit_bias={"5": 1})  # fmt: skip
    assert found == ir.Request(
        "m", read().messages, max_tokens=9, temperature=0.5, top_p=0.9, stop=("x",), n=2, seed=1, user="u", stream=True,
        include_usage=True, extras={"openai": {"logit_bias": {"5": 1}}},
    )  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), [
    ({"suffix": "end"}, "suffix"), ({"echo": True}, "echo"), ({"logprobs": 3}, "logprobs"), ({"logprobs": 0}, "logprobs"),
    ({"prompt": [1, 2]}, "prompt"), ({"prompt": [[1, 2]]}, "prompt"),
])  # fmt: skip
def test_what_only_such_an_upstream_can_do_is_refused(fields: dict[str, Any], name: str) -> None:
    assert completions.only_upstream({"prompt": "a", **fields}) == name
    with pytest.raises(BadRequest, match=f"{name} needs an upstream") as caught:
        read(**fields)
    assert caught.value.details["path"] == name


@pytest.mark.parametrize(("fields", "path"), [
    ({"prompt": ["a", "b"]}, "prompt"), ({"best_of": 3}, "best_of"), ({"temperature": "x"}, "temperature"),
    ({"model": 5}, "model"),
])  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.details["path"] == path


def test_an_answer() -> None:
    lost: list[str] = []
    assert completions.write_answer(ANSWER, read(), lost) == {
        "id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m-1",
        "choices": [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 6, "total_tokens": 14,
                  "prompt_tokens_details": {"cached_tokens": 3}},
    }  # fmt: skip
    assert lost == ["thinking"]


@pytest.mark.parametrize("include", [True, False])
def test_a_stream_says_what_the_answer_says(include: bool) -> None:
    lost: list[str] = []
    request = read(stream_options={"include_usage": include})
    writer = completions.StreamWriter(request, lost=lost)
    data = b"".join(map(writer.feed, ir.events_of(ANSWER)))
    events = SSEParser().feed(data)
    assert events[-1].data == "[DONE]" and lost == ["thinking"]
    chunks = [json.loads(event.data) for event in events[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == "Hello" and choices[-1]["finish_reason"] == "length"
    assert all(chunk["object"] == "text_completion" and chunk["id"] == "cmpl-1" for chunk in chunks)
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if "usage" in chunk] == ([14] if include else [])
    scanner = completions.Scanner()
    scanner.feed(events)
    assert scanner.outputs == 2 and scanner.done and scanner.finish == "length"
    assert scanner.usage == (ir.Usage(5, 3, text=6) if include else None) and scanner.error is None


def test_two_answers_have_their_places() -> None:
    one = ir.Candidate((Text("a"),), ir.Stop("end"))
    writer = completions.StreamWriter(read())
    data = b"".join(map(writer.feed, ir.events_of(ir.Answer("", "m", (one, one)))))
    chunks = [json.loads(event.data) for event in SSEParser().feed(data)[:-1]]
    assert [choice["index"] for chunk in chunks for choice in chunk["choices"]] == [0, 0, 1, 1]
    assert chunks[0]["id"].startswith("cmpl-")


def test_calls_have_no_place_and_are_named() -> None:
    lost: list[str] = []
    given = ir.Answer("", "m", (ir.Candidate((ToolCall("t", "f", "{}", {}),), ir.Stop("tool_calls")),))
    assert completions.write_answer(given, read(), lost)["choices"][0]["text"] == "" and lost == ["tool_calls"]


@pytest.mark.parametrize("data", ["not json", '{"error": {"message": "m", "code": 429}}', '{"message": "m"}'])
def test_a_relayed_failure_is_seen(data: str) -> None:
    scanner = completions.Scanner()
    scanner.feed(SSEParser().feed(f"data: {data}\n\n".encode()))
    assert scanner.error is not None and not scanner.done


def test_a_failure_in_a_stream_has_openais_shape() -> None:
    (event,) = SSEParser().feed(completions.error_event(RateLimited("slow"), "r"))
    assert json.loads(event.data) == {
        "error": {"message": "slow", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}}  # fmt: skip


def test_the_chat_that_goes_up() -> None:
    body = openai.write_request(read(max_tokens=9), model="m", quirks={}, lost=[])
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Once"}], "max_tokens": 9}
