"""The limits of a caller's key in the headers that its SDK reads: what is left of them, and when they are full again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Exchange, Upstream
from routed import Hosts, Ways, model, ok, play, provider, streamed

from llm_router_gateway.wire.registry import SPECS
from llm_router_gateway.wire.spec import seconds_text

ASK = {
    "openai": ("/v1/chat/completions", {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}),
    "anthropic": ("/v1/messages", {"model": "a/m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "gemini": ("/v1beta/models/a/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}
OWN = {"key_limits": {"max_requests": 2, "per_seconds": 60, "tokens_per_minute": 600}}


def limited(**server: Any) -> dict[str, Any]:
    return {"server": server or OWN, "providers": [provider("a")], "models": [model("a")]}


def headers_of(tmp_path: Path, protocol: str, count: int, document: dict[str, Any], answer: Callable[[], Upstream] = ok) -> Any:
    path, body = ASK[protocol]
    found: list[Exchange] = []

    async def story(ways: Ways) -> None:
        for _ in range(count):
            found.append(await ways.ask(Exchange("POST", path, json.dumps(body).encode())))

    play(story, document, Hosts(a=answer()), tmp_path)
    return [(each.status, {name: value for name, value in each.out_headers.items() if "ratelimit" in name}) for each in found]


@pytest.mark.parametrize("protocol", ["openai", "gemini"])
def test_what_is_left_in_the_names_that_most_sdks_read(tmp_path: Path, protocol: str) -> None:
    first, second, refused = headers_of(tmp_path, protocol, 3, limited())
    assert (first[0], first[1]["x-ratelimit-limit-requests"], first[1]["x-ratelimit-remaining-requests"]) == (200, "2", "1")
    assert first[1]["x-ratelimit-reset-requests"] == "30s"
    assert first[1]["x-ratelimit-limit-tokens"] == "600" and int(first[1]["x-ratelimit-remaining-tokens"]) < 600
    assert second[1]["x-ratelimit-remaining-requests"] == "0"
    assert (refused[0], refused[1]["x-ratelimit-remaining-requests"]) == (429, "0")


def test_anthropics_names_and_times(tmp_path: Path) -> None:
    (first,) = headers_of(tmp_path, "anthropic", 1, limited())
    assert first[1]["anthropic-ratelimit-requests-limit"] == "2" and first[1]["anthropic-ratelimit-requests-remaining"] == "1"
    assert first[1]["anthropic-ratelimit-tokens-limit"] == "600"
    assert first[1]["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert not [name for name in first[1] if name.startswith("x-")]
    write = SPECS["anthropic"].limit_headers
    assert dict(write("tokens", 9, 1, 1.2, 0.0))["anthropic-ratelimit-tokens-reset"] == "1970-01-01T00:00:02Z"


def test_they_take_the_place_of_an_upstreams_and_streams_have_them_too(tmp_path: Path) -> None:
    theirs = Upstream(200, ok().pieces_, x_ratelimit_limit_requests="9999", x_ratelimit_limit_project="5")
    ((_, found),) = headers_of(tmp_path, "openai", 1, limited(), lambda: theirs)
    assert (found["x-ratelimit-limit-requests"], found["x-ratelimit-limit-project"]) == ("2", "5")
    path, body = ASK["openai"]
    answers: list[Exchange] = []

    async def story(ways: Ways) -> None:
        answers.append(await ways.ask(Exchange("POST", path, json.dumps({**body, "stream": True}).encode())))

    play(story, limited(), Hosts(a=streamed()), tmp_path)
    assert answers[0].out_headers["x-ratelimit-remaining-requests"] == "1"


def test_without_a_limit_there_are_none(tmp_path: Path) -> None:
    ((_, found),) = headers_of(tmp_path, "openai", 1, limited(retry_alone_s=0))
    assert not found
    ((_, found),) = headers_of(tmp_path, "openai", 1, limited(key_limits={"max_concurrent": 5}))
    assert not found, "slots are no rate"


@pytest.mark.parametrize(
    "seconds, text", [(0.0, "0ms"), (0.12, "120ms"), (1.0, "1s"), (59.96, "1m0s"), (61.5, "1m1.5s"), (360, "6m0s")]
)
def test_times_as_openai_writes_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
