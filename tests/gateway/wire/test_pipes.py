"""Piping: what is told of a relayed event by its bytes alone is what parsing it tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.openai import codec as openai
from llm_router_gateway.wire.pipes import ConvertPipe, RelayPipe

CORPUS = Path(__file__).parents[2] / "corpus" / "wire" / "openai"
STREAMS = sorted(CORPUS.glob("*.sse"))


def chunk(delta: Any, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **more}, separators=(",", ":")).encode() + b"\n\n"


class Blind(openai.Scanner):
    """A scanner that parses every event."""

    def glance(self, event: bytes) -> bool:
        return False


def told(pipe: RelayPipe, events: list[bytes]) -> tuple[Any, ...]:
    seen = [(pipe.feed(event), pipe.outputs, pipe.done, pipe.usage, str(pipe.error)) for event in events]
    return seen, pipe.close(), pipe.outputs, pipe.done, pipe.usage, str(pipe.error)


def agree(events: list[bytes]) -> None:
    assert told(RelayPipe(openai.Scanner()), events) == told(RelayPipe(Blind()), events)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_glance_tells_what_parsing_tells(path: Path) -> None:
    assert STREAMS
    data = path.read_bytes()
    agree([piece + b"\n\n" for piece in data.split(b"\n\n")])
    agree([data[at : at + 1] for at in range(len(data))])


MARKS = '"finish_reason":"stop" "finish_reason":null "error" "usage":{} "index":1 "content":""'


def test_what_the_model_says_cannot_pass_for_a_mark() -> None:
    agree([chunk({"content": "a"}), chunk({"content": MARKS}), chunk({"content": json.dumps(MARKS)}), chunk({}, "stop")])


def test_what_only_looks_like_text_is_parsed() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    for event in (
        chunk({"content": "b"}, "stop"), chunk({"content": ""}), chunk({"content": "b"}, usage=usage),
        chunk({"role": "assistant"}), chunk({"content": "b"}, usage=None),
        b'data: {"error":{"message":"no"},"content":"x"}\n\n',
        b"data: [DONE]\n\n",
    ):  # fmt: skip
        agree([chunk({"content": "a"}), event])


class Told:
    """A reader whose upstream names no time."""

    done = False

    def feed(self, event: Any) -> list[ir.StreamEvent]:
        return [ir.Started("id", "m")]

    def close(self) -> list[ir.StreamEvent]:
        return []


def test_an_answer_without_a_time_gets_ours() -> None:
    class Kept:
        seen: Any = None

        def feed(self, event: ir.StreamEvent) -> bytes:
            self.seen = event
            return b""

    kept = Kept()
    ConvertPipe(Told(), kept, 1_700_000_000).feed(b"data: {}\n\n")
    assert kept.seen.created == 1_700_000_000
