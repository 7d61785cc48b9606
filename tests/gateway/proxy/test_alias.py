"""Answers that name the model as their caller did: in every protocol, plain and streamed, relayed and converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import STREAM as AS_STREAM
from fakes import Exchange, Upstream
from routed import Hosts, Ways, play, provider
from running import PLAIN, PROTOCOLS, STREAM, RoutingRequest, ask, events_of

REAL = "real-2026-11-01"
NAMES = {"openai": ("model",), "anthropic": ("model",), "gemini": ("modelVersion",), "responses": ("model",)}
IN_EVENTS = {**NAMES, "anthropic": ("message", "model"), "responses": ("response", "model")}


def document(with_alias: bool = True) -> dict[str, Any]:
    return {
        "server": {"answer_with_alias": with_alias, "keep_conversations_hours": 0},
        "providers": [provider(api, api=api) for api in PROTOCOLS],
        "models": [{"name": "m", "provider": api, "remote_identifier": REAL} for api in PROTOCOLS],
        "groups": [{"name": f"fast-{api}", "members": [{"model": f"{api}/m"}]} for api in PROTOCOLS],
    }  # fmt: skip


def put(value: dict[str, Any], path: tuple[str, ...], name: str) -> dict[str, Any]:
    first, *rest = path
    if rest and first not in value:
        return value
    return {**value, first: put(value[first], tuple(rest), name) if rest else name}


def at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def plain(api: str) -> Upstream:
    return Upstream(200, json.dumps(put(PLAIN[api], NAMES[api], REAL)).encode())


def streamed(api: str) -> Upstream:
    pieces: list[bytes | None] = []
    for raw in b"".join(piece for part in STREAM[api] for piece in part).split(b"\n\n"):
        head, mark, text = raw.rpartition(b"data: ")
        value = json.loads(text) if text.startswith(b"{") else None
        pieces.append(head + mark + (json.dumps(put(value, IN_EVENTS[api], REAL)).encode() if value else text) + b"\n\n")
    return Upstream(200, pieces[:-1], **AS_STREAM)


def exchange_of(request: RoutingRequest) -> Exchange:
    return Exchange("POST", request.path, request.data)


def answered(folder: Path, exchange: Exchange, api: str, upstream: Upstream, *, with_alias: bool = True) -> Exchange:
    async def story(ways: Ways) -> None:
        try:
            await ways.ask(exchange)
        finally:
            await ways.gateway.offload.close()

    hosts = Hosts(**{each: upstream if each == api else Upstream() for each in PROTOCOLS})
    ways = play(story, document(with_alias), hosts, folder)
    assert exchange.status == 200, exchange.out
    (sent,) = ways.hosts.sent
    assert REAL.encode() in sent["body"] or REAL in sent["url"]
    return exchange


@pytest.mark.parametrize("api", PROTOCOLS)
@pytest.mark.parametrize("caller", PROTOCOLS)
@pytest.mark.parametrize("name", ["{}/m", "fast-{}"])
def test_a_whole_answer(name: str, caller: str, api: str, tmp_path: Path) -> None:
    asked = name.format(api)
    exchange = answered(tmp_path, exchange_of(ask(caller, asked)), api, plain(api))
    assert at(exchange.json, NAMES[caller]) == asked
    assert exchange.out_headers["x-llm-router-model"] == f"{api}/m"


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("api", PROTOCOLS)
@pytest.mark.parametrize("caller", PROTOCOLS)
def test_a_stream(caller: str, api: str, array: bool, tmp_path: Path) -> None:
    if array and caller != "gemini":
        return
    asked = f"fast-{api}"
    exchange = answered(tmp_path, exchange_of(ask(caller, asked, stream=True, array=array)), api, streamed(api))
    named = [found for event in events_of(exchange.out) if (found := at(event, IN_EVENTS[caller])) is not None]
    assert named and set(named) == {asked}, exchange.out
    assert REAL.encode() not in exchange.out


@pytest.mark.parametrize("caller", PROTOCOLS)
def test_a_plain_answer_in_the_place_of_a_stream(caller: str, tmp_path: Path) -> None:
    exchange = answered(tmp_path, exchange_of(ask(caller, "fast-openai", stream=True)), "openai", plain("openai"))
    named = [found for event in events_of(exchange.out) if (found := at(event, IN_EVENTS[caller])) is not None]
    assert named and set(named) == {"fast-openai"}


@pytest.mark.parametrize("caller", PROTOCOLS)
def test_a_relayed_answer_changes_by_the_name_alone_and_only_if_that_is_wanted(caller: str, tmp_path: Path) -> None:
    for with_alias in (True, False):
        folder = tmp_path / str(with_alias)
        folder.mkdir()
        exchange = answered(folder, exchange_of(ask(caller, f"{caller}/m")), caller, plain(caller), with_alias=with_alias)
        sent = plain(caller).pieces_[0]
        assert sent is not None
        assert exchange.out == (sent.replace(REAL.encode(), f"{caller}/m".encode()) if with_alias else sent)


@pytest.mark.slow
def test_a_large_answer_too(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "long " * 120_000}
    large = {**PLAIN["openai"], "model": REAL, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    for caller in ("openai", "anthropic"):
        folder = tmp_path / caller
        folder.mkdir()
        upstream = Upstream(200, json.dumps(large).encode())
        exchange = answered(folder, exchange_of(ask(caller, "fast-openai")), "openai", upstream)
        assert exchange.json["model"] == "fast-openai" and len(exchange.out) > 524_288


OTHERS = [
    ("/v1/embeddings", {"input": "hi"}, {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": REAL}),
    ("/v1/moderations", {"input": "hi"}, {"id": "1", "model": REAL, "results": []}),
    ("/v1/completions", {"prompt": "hi"},
     {"id": "1", "model": REAL, "choices": [{"index": 0, "text": "y", "finish_reason": "stop"}]}),
    ("/api/embed", {"input": "hi"}, {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": REAL}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "said"), OTHERS)
def test_other_calls(path: str, body: dict[str, Any], said: dict[str, Any], tmp_path: Path) -> None:
    exchange = Exchange("POST", path, json.dumps({"model": "fast-openai", **body}).encode())
    answered(tmp_path, exchange, "openai", Upstream(200, json.dumps(said).encode()))
    assert exchange.json["model"] == "fast-openai"
