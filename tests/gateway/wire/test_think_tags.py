"""Thoughts in tags at the beginning of a local model's text become thoughts, wherever the stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.registry import wire
from llm_router_gateway.wire.sse import Event
from llm_router_gateway.wire.think_tags import ThinkTags, split_answer

SPLIT = [
    ("<think>Hm.</think>Hello", "Hm.", "Hello"),
    ("<think>\nHm.\n</think>\n\nHello\n", "Hm.\n", "Hello\n"),
    (" \n<think>Hm.</think> Hello", "Hm.", "Hello"),
    ("<think></think>Hello", "", "Hello"),
    ("<think>cut in the mid", "cut in the mid", ""),
    ("<think>a < b </thin k></think>x", "a < b </thin k>", "x"),
    ("<think>Hm.</think>", "Hm.", ""),
    ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
]
PLAIN = ["Hello", "", "<thinking>Hm.</thinking>", "Say <think>x</think>", "<thi", "<", " ", "```<think>```"]


def answer(text: str, *more: ir.Part) -> ir.Answer:
    return ir.Answer("1", "m", (ir.Candidate((ir.Text(text), *more), ir.Stop("end")),), ir.Usage(input=1, text=2))


def collected(events: Iterable[ir.StreamEvent]) -> ir.Answer:
    collector = ir.Collector()
    for event in events:
        collector.feed(event)
    return collector.answer()


def seen(parts: tuple[ir.Part, ...]) -> tuple[str, str]:
    thought = "".join(part.text for part in parts if isinstance(part, ir.Thinking))
    return thought, "".join(part.text for part in parts if isinstance(part, ir.Text))


@pytest.mark.parametrize(("text", "thought", "rest"), SPLIT)
def test_a_whole_answer_is_split(text: str, thought: str, rest: str) -> None:
    call = ir.ToolCall("t1", "f", "{}", {})
    found = split_answer(answer(text, call))
    assert seen(found.candidates[0].parts) == (thought, rest)
    assert found.candidates[0].parts[-1] == call and found.usage == ir.Usage(input=1, text=2)


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert split_answer(answer(text)) == collected(ir.events_of(answer(text)))


def streamed(pieces: list[str]) -> ir.Answer:
    reader = ThinkTags(wire("openai").StreamReader())
    events: list[Any] = []
    for piece in pieces:
        chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
        events += reader.feed(Event("message", json.dumps(chunk)))
    last = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events += reader.feed(Event("message", json.dumps(last)))
    events += reader.feed(Event("message", "[DONE]"))
    events += reader.close()
    return collected(events)


@pytest.mark.parametrize(("text", "thought", "rest"), SPLIT)
def test_a_stream_is_split_wherever_it_is_cut(text: str, thought: str, rest: str) -> None:
    for size in (1, 2, 3, 5, 7, len(text)):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert seen(streamed(pieces).candidates[0].parts) == (thought, rest), size


@pytest.mark.parametrize("text", PLAIN)
def test_a_stream_without_tags_loses_nothing(text: str) -> None:
    assert seen(streamed(list(text)).candidates[0].parts) == ("", text)


def test_text_that_cannot_be_a_tag_is_not_held_back() -> None:
    reader = ThinkTags(wire("openai").StreamReader())
    chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    events = list(reader.feed(Event("message", json.dumps(chunk))))
    assert any(isinstance(event, ir.PartDelta) and event.text == "Hi" for event in events)


def test_candidates_are_split_each_for_itself() -> None:
    both = tuple(ir.Candidate((ir.Text(text),), ir.Stop("end")) for text in ("<think>a</think>b", "c"))
    found = split_answer(ir.Answer("1", "m", both))
    assert [seen(candidate.parts) for candidate in found.candidates] == [("a", "b"), ("", "c")]
