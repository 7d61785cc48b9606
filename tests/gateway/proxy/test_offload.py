"""offload: large bodies are read and converted by worker processes, and come out as small ones would."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fakes import Exchange, Upstream
from routed import Hosts, Ways, ok, play, provider, refusal

from llm_router_gateway.errors import BadRequest, GatewayError, Unavailable
from llm_router_gateway.proxy.in_flight import BytesInFlight
from llm_router_gateway.proxy.offload import LARGE_BYTES, Offload

Body = dict[str, Any]
CHAT = "/v1/chat/completions"
CLAUDE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "ok"}],
          "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip


def large(**fields: Any) -> Body:
    """A body above the size at which a worker takes it."""
    count = LARGE_BYTES // 60
    turns = [{"role": ("user", "assistant")[at % 2], "content": f"message number {at}, not very long"} for at in range(count)]
    return {"messages": [*turns, {"role": "user", "content": "the end \u00fc"}], **fields}


def providers(**more: Any) -> list[Body]:
    return [provider("o", **more), provider("a", api="anthropic", base_url="http://a.example", **more)]


def story_of(body: Body | bytes, hosts: Hosts, folder: Path, document: Body | None = None, headers: Any = None) -> Exchange:
    got: list[Exchange] = []

    async def story(ways: Ways) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert len(data) > LARGE_BYTES
        try:
            got.append(await ways.ask(Exchange("POST", CHAT, data, headers)))
            assert len(ways.gateway.offload._all) == 1 and ways.gateway.bodies.bytes == 0
        finally:
            await ways.gateway.offload.close()

    play(story, document or {"providers": providers()}, hosts, folder)
    return got[0]


def test_a_large_body_is_relayed_to_the_byte_but_for_the_models_name(tmp_path: Path) -> None:
    hosts = Hosts(o=ok())
    data = json.dumps(large(model="o/m", temperature=1.0), indent=1).encode()
    assert story_of(data, hosts, tmp_path).status == 200
    assert hosts.sent[0]["body"] == data.replace(b'"model": "o/m"', b'"model": "m"')


def test_a_large_body_is_converted_as_a_small_one_is(tmp_path: Path) -> None:
    hosts = Hosts(a=Upstream(200, json.dumps(CLAUDE).encode()))
    tools = [{"type": "function", "function": {"name": "9f", "parameters": {"type": "object", "anyOf": [{}]}}}]
    answer = story_of(large(model="a/claude-sonnet-4-5", tools=tools, top_k=3, seed=1), hosts, tmp_path)
    sent = json.loads(hosts.sent[0]["body"])
    assert answer.json["choices"][0]["message"]["content"] == "ok"
    assert sent["model"] == "claude-sonnet-4-5" and sent["messages"][-1]["content"][0]["text"].endswith("the end \u00fc")
    assert sent["tools"][0]["name"].startswith("_9f_") and sent["top_k"] == 3
    assert answer.out_headers["x-llm-router-lost"] == "tools.anyOf, seed"


def test_a_callers_bounds_and_overrides_hold_for_large_bodies(tmp_path: Path) -> None:
    key = {"name": "k", "key": "k" * 24, "parameter_limits": {"max_tokens": {"max": 7}}}
    document = {"providers": providers(default_params={"temperature": 0.5}, drop_params=["seed"]), "keys": [key]}
    bearer = [("authorization", "Bearer " + "k" * 24)]
    for name, hosts in (("o", Hosts(o=ok())), ("a", Hosts(a=Upstream(200, json.dumps(CLAUDE).encode())))):
        answer = story_of(large(model=f"{name}/m", max_tokens=99, seed=3), hosts, tmp_path, document, bearer)
        sent = json.loads(hosts.sent[0]["body"])
        assert answer.status == 200, answer.out
        assert (sent["max_tokens"], sent["temperature"], "seed" in sent) == (7, 0.5, False)


def test_a_field_given_twice_does_not_get_round_a_bound_in_a_large_body(tmp_path: Path) -> None:
    key = {"name": "k", "key": "k" * 24, "parameter_limits": {"n": {"max": 1}}}
    data = json.dumps(large(model="o/m", n=1)).encode()
    hosts, bearer = Hosts(o=ok()), [("authorization", "Bearer " + "k" * 24)]
    for more, status in ((b',"n":9}', 200), (b',"N":9}', 400)):
        answer = story_of(data[:-1] + more, hosts, tmp_path, {"providers": providers(), "keys": [key]}, bearer)
        assert answer.status == status
    assert b'"n":9' not in hosts.sent[0]["body"] and len(hosts.sent) == 1


def test_selectors_see_a_large_body_whole(tmp_path: Path) -> None:
    first, second = '.messages[-1].content | startswith("no")', '.messages[-1].content == "the end \u00fc"'
    members = [{"model": "o/m", "selector": first}, {"model": "a/m", "selector": f"{second} and (.messages | length) > 1000"}]
    document = {"providers": providers(), "groups": [{"name": "g", "members": members}]}
    hosts = Hosts(a=Upstream(200, json.dumps(CLAUDE).encode()), o=ok())
    assert story_of(large(model="g"), hosts, tmp_path, document).status == 200
    assert hosts.hosts == ["a"]


def test_the_next_member_gets_a_large_body_too(tmp_path: Path) -> None:
    members = [{"model": "o/m", "priority": 2}, {"model": "a/m", "priority": 1}]
    document = {"providers": providers(), "groups": [{"name": "g", "strategy": "priority", "members": members}]}
    hosts = Hosts(o=refusal(500), a=Upstream(200, json.dumps(CLAUDE).encode()))
    assert story_of(large(model="g"), hosts, tmp_path, document).status == 200
    assert hosts.hosts == ["o", "a"] and json.loads(hosts.sent[1]["body"])["max_tokens"] > 0


@pytest.mark.parametrize("data", [b"[" + b"1," * 400_000 + b"1]", b'{"messages":[' + b"1," * 400_000, b'{"a":' * 200_000])
def test_a_large_body_that_is_no_object_is_refused(data: bytes, tmp_path: Path) -> None:
    answer = story_of(data, Hosts(o=ok()), tmp_path)
    assert (answer.status == 400 and "JSON" in answer.out.decode()) or "nested" in answer.out.decode()


def test_a_small_body_starts_no_process(tmp_path: Path) -> None:
    async def story(ways: Ways) -> None:
        await ways.post(CHAT, {"model": "o/m", "messages": [{"role": "user", "content": "hi"}]})
        assert len(ways.gateway.offload._all) == 0

    play(story, {"providers": providers()}, Hosts(o=ok()), tmp_path)


# -------------------------------------------------------------------------------------------------------------- processes

DATA = json.dumps(large(model="m")).encode()


def test_a_worker_that_dies_fails_one_request_and_is_replaced() -> None:
    async def story() -> None:
        offload = Offload(1)
        try:
            body = await offload.open(DATA)
            (worker,) = offload._all
            os.kill(worker.process.pid, signal.SIGKILL)
            with pytest.raises(GatewayError) as caught:
                await body.changed({"model": "x"}, frozenset())
            assert caught.value.status == 500 and caught.value.code == "worker_died"
            assert b'"x"' in await body.changed({"model": "x"}, frozenset())  # by another one
        finally:
            await offload.close()

    asyncio.run(story())


def test_a_caller_that_goes_away_leaves_the_worker_for_the_next() -> None:
    async def story() -> None:
        offload = Offload(1)
        try:
            first = asyncio.ensure_future(offload.open(DATA))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            waiting = [asyncio.ensure_future(offload.open(DATA)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            assert [each.head.fields["model"] for each in await asyncio.gather(*waiting[1:])] == ["m", "m"]
            assert len(offload._all) == 1 and offload._busy == 0
        finally:
            await offload.close()

    asyncio.run(story())


def test_a_body_that_a_worker_no_longer_has_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        offload = Offload(1)
        try:
            bodies = [await offload.open(DATA) for _ in range(3)]
            (worker,) = offload._all
            worker.drops.append(bodies[0].key)  # as if it had been pushed out
            assert b'"x"' in await bodies[0].changed({"model": "x"}, frozenset())
            for each in bodies:
                each.close()
            assert not worker.keys
        finally:
            await offload.close()

    asyncio.run(story())


def test_an_error_of_a_job_comes_back_as_it_was() -> None:
    async def story() -> None:
        offload = Offload(1)
        try:
            with pytest.raises(BadRequest) as caught:
                await offload.open(b'{"a":' + b"1" * LARGE_BYTES)
            assert caught.value.status == 400
        finally:
            await offload.close()

    asyncio.run(story())


# --------------------------------------------------------------------------------------------------------- bytes in flight


def test_bytes_in_flight_have_a_budget() -> None:
    bodies = BytesInFlight()
    assert bodies.reserve(150, 100) == 150  # alone, it may be larger
    with pytest.raises(Unavailable) as caught:
        bodies.reserve(1, 100)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    assert bodies.reserve(0, 100) == 0
    bodies.give_back(150)
    assert bodies.reserve(60, 100) + bodies.reserve(40, 100) == 100


def test_a_request_for_which_there_is_no_room_is_503(tmp_path: Path) -> None:
    async def story(ways: Ways) -> None:
        ways.gateway.bodies.reserve(1_000, 2_000)
        body = b'{"model":"o/m","messages":[{"role":"user","content":"' + b"x" * 2_000 + b'"}]}'
        answer = await ways.ask(Exchange("POST", CHAT, body, [("content-length", str(len(body)))]))
        assert answer.status == 503 and answer.out_headers["retry-after"] == "1"
        assert ways.gateway.bodies.bytes == 1_000

    play(story, {"server": {"max_bytes_in_flight": 2_000}, "providers": providers()}, Hosts(o=ok()), tmp_path)
