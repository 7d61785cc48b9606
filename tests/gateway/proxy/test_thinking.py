"""A local model's thinking tags reach callers of another protocol as thoughts; relays stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import DONE, LAST, STREAM, Exchange, Upstream, chunk
from routed import Hosts, Ways, model, play

TEXT = "<think>Hm, 2 + 2.</think>\n\n4"
WHOLE = {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}
STREAMED = [*(chunk({"content": TEXT[at : at + 4]}) for at in range(0, len(TEXT), 4)), LAST, DONE]


def answer(folder: Path, path: str, *, stream: bool, **provider: object) -> Exchange:
    body = {"model": "local/m", "max_tokens": 99, "stream": stream, "messages": [{"role": "user", "content": "2+2?"}]}
    exchange = Exchange("POST", path, json.dumps(body).encode())
    upstream = Upstream(200, list(STREAMED), **STREAM) if stream else Upstream(200, json.dumps(WHOLE).encode())
    table = {"name": "local", "type": "vllm", "base_url": "http://local.example/v1", **provider}

    async def story(ways: Ways) -> None:
        await ways.ask(exchange)

    play(story, {"providers": [table], "models": [model("local")]}, Hosts(local=upstream), folder)
    assert exchange.status == 200, exchange.out
    return exchange


def test_a_converted_answer_has_its_thoughts_apart(tmp_path: Path) -> None:
    content = answer(tmp_path, "/v1/messages", stream=False).json["content"]
    assert [(block["type"], block.get("thinking") or block.get("text")) for block in content] == [
        ("thinking", "Hm, 2 + 2."), ("text", "4"),
    ]  # fmt: skip


def test_a_converted_stream_has_them_too(tmp_path: Path) -> None:
    out = answer(tmp_path, "/v1/messages", stream=True).out.decode()
    deltas = [
        json.loads(line[6:])["delta"] for line in out.splitlines() if '"content_block_delta"' in line and line[:5] == "data:"
    ]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "Hm, 2 + 2."
    assert "".join(delta.get("text", "") for delta in deltas) == "4"


@pytest.mark.parametrize("stream", [False, True])
def test_a_relay_and_a_provider_without_the_switch_keep_the_tags(stream: bool, tmp_path: Path) -> None:
    relayed = answer(tmp_path, "/v1/chat/completions", stream=stream).out
    assert relayed == (b"".join(STREAMED) if stream else json.dumps(WHOLE).encode())
    out = answer(tmp_path, "/v1/messages", stream=stream, settings={"quirks": {"think_tags": False}}).out
    assert b'"thinking"' not in out
