"""Answers that are given again, that name the model as their caller did, and that cite pages: through a gateway that runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from running import (
    PLAIN,
    PROTOCOLS,
    ROOTS,
    Process,
    Upstream,
    ask,
    chunked,
    data_event,
    http,
    made_up,
    openai_event,
    sends,
    streamed_text,
    until,
    verdict,
    whole_stream,
)

ADMIN = made_up("admin")
SECRETS = {name: made_up(name) for name in ("ann", "ben")}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
URL = "https://a.org/p"


@pytest.fixture(scope="module")
def gateway(module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Process]:
    config = f'[server]\ncache_ttl_s = 600\nanswer_with_alias = true\nadmin_token = "{ADMIN}"\n'
    for api in PROTOCOLS:
        config += f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{upstream.url}{ROOTS[api]}"\napi_key = "k"\n'
        config += f'[[models]]\nname = "m"\nprovider = "{api}"\nremote_identifier = "real"\n'
        config += f'[[groups]]\nname = "fast-{api}"\nmembers = [{{ model = "{api}/m" }}]\n'
    config += "".join(f'[[keys]]\nname = "{name}"\nkey = "{secret}"\n' for name, secret in SECRETS.items())
    yield module_start(config)


def call(
    gateway: Process, caller: str, model: str, text: str, who: str = "ann", *, stream: bool = False, **headers: str
) -> Any:  # fmt: skip
    asked = ask(caller, model, stream=stream, text=text)
    body = {**asked.body, "store": False} if caller == "responses" else asked.body
    return gateway.send("POST", asked.path, json.dumps(body).encode(), authorization=f"Bearer {SECRETS[who]}", **headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("caller", PROTOCOLS)
def test_the_same_request_of_the_same_key_is_answered_once(
    caller: str, stream: bool, gateway: Process, upstream: Upstream
) -> None:
    upstream.does(sends(whole_stream("openai") if stream else http(json.dumps({**PLAIN["openai"], "usage": USAGE}).encode())))
    text = f"{caller} {stream}"
    first, again = (call(gateway, caller, "fast-openai", text, stream=stream) for _ in range(2))
    assert (first.status, first.headers["x-llm-router-cache"]) == (200, "miss"), first.data
    assert (again.status, again.headers["x-llm-router-cache"]) == (200, "hit") and again.data == first.data
    assert again.headers["content-type"] == first.headers["content-type"] and len(upstream.requests) == 1
    if stream:
        assert verdict(caller, again.data) == "whole" and streamed_text(caller, again.data) == "yes"
    other = call(gateway, caller, "fast-openai", text, "ben", stream=stream)
    fresh = call(gateway, caller, "fast-openai", text, stream=stream, cache_control="no-cache")
    assert [each.headers["x-llm-router-cache"] for each in (other, fresh)] == ["miss", "miss"] and len(upstream.requests) == 3


def test_a_hit_is_in_the_log_and_in_the_metrics_and_costs_nothing(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps({**PLAIN["openai"], "usage": USAGE}).encode())))
    for _ in range(2):
        call(gateway, "openai", "openai/m", "once more")
    admin = {"authorization": f"Bearer {ADMIN}"}
    limits = count(2)  # the same question has the same answer for two seconds

    def rows() -> Any:
        found = gateway.get(f"/monitor/invocations?limit={next(limits)}", **admin).json["items"]
        return found if [row["cost_source"] for row in found[:1]] == ["cache"] else None

    row = until(rows, "the call is stored")[0]
    assert (row["cost_usd"], row["served"], row["status"], row["attempts"]) == (0.0, "openai/m", 200, 0)
    assert 'llm_router_cached_answers_total{model="openai/m"}' in gateway.get("/metrics", **admin).data.decode()
    gateway.logged("cache=hit")


@pytest.mark.parametrize("api", PROTOCOLS)
def test_an_answer_has_the_callers_name_of_the_model(api: str, gateway: Process, upstream: Upstream) -> None:
    name = "modelVersion" if api == "gemini" else "model"
    upstream.does(sends(http(json.dumps({**PLAIN[api], name: "real"}).encode())))
    for caller in PROTOCOLS:
        answer = call(gateway, caller, f"fast-{api}", "who")
        assert answer.json["modelVersion" if caller == "gemini" else "model"] == f"fast-{api}", answer.data


NOTE = {"type": "url_citation", "url_citation": {"url": URL, "title": "A page", "start_index": 0, "end_index": 3}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("caller", [each for each in PROTOCOLS if each != "openai"])
def test_pages_that_an_answer_cites_arrive(caller: str, stream: bool, gateway: Process, upstream: Upstream) -> None:
    message = {"role": "assistant", "content": "yes", "annotations": [NOTE]}
    plain = {**PLAIN["openai"], "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    late = data_event({"id": "c", "choices": [{"index": 0, "delta": {"annotations": [NOTE]}, "finish_reason": None}]})
    streamed = chunked(openai_event("yes"), late, openai_event("", "stop"), b"data: [DONE]\n\n")
    upstream.does(sends(streamed if stream else http(json.dumps(plain).encode())))
    answer = call(gateway, caller, "openai/m", f"cite {stream}", stream=stream)
    assert answer.status == 200 and URL.encode() in answer.data, answer.data
    assert "annotations" not in answer.headers.get("x-llm-router-lost", "")
