"""offload: large bodies are read and converted by worker processes, and come out as small ones would."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fakes import DONE, FIRST, LAST, Exchange, Upstream, chunk
from quick import every
from routed import Hosts, Ways, ok, play, provider, refusal

from llm_router_gateway.errors import BadRequest, GatewayError, Unavailable
from llm_router_gateway.proxy import offload
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


def story_of(
    body: Body | bytes, hosts: Hosts, folder: Path, document: Body | None = None, headers: Any = None, path: str = CHAT
) -> Exchange:  # fmt: skip
    got: list[Exchange] = []

    async def story(ways: Ways) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            got.append(await ways.ask(Exchange("POST", path, data, headers)))
            assert len(ways.gateway.offload._all) == 1 and ways.gateway.bodies.bytes == 0
            assert not any(worker.keys for worker in ways.gateway.offload._all)
        finally:
            await ways.gateway.offload.close()

    play(story, document or {"providers": providers()}, hosts, folder)
    assert len(body if isinstance(body, bytes) else json.dumps(body)) > LARGE_BYTES or len(got[0].out) > LARGE_BYTES
    return got[0]


def test_a_large_body_is_relayed_to_the_byte_but_for_the_models_name(tmp_path: Path) -> None:
    hosts = Hosts(o=ok())
    data = json.dumps(large(model="o/m", temperature=1.0), indent=1).encode()
    assert story_of(data, hosts, tmp_path).status == 200
    assert hosts.sent[0]["body"] == data.replace(b'"model": "o/m"', b'"model": "m"')


@pytest.mark.slow
def test_a_large_body_is_converted_as_a_small_one_is(tmp_path: Path) -> None:
    hosts = Hosts(a=Upstream(200, json.dumps(CLAUDE).encode()))
    tools = [{"type": "function", "function": {"name": "9f", "parameters": {"type": "object", "anyOf": [{}]}}}]
    answer = story_of(large(model="a/claude-sonnet-4-5", tools=tools, top_k=3, seed=1), hosts, tmp_path)
    sent = json.loads(hosts.sent[0]["body"])
    assert answer.json["choices"][0]["message"]["content"] == "ok"
    assert sent["model"] == "claude-sonnet-4-5" and sent["messages"][-1]["content"][0]["text"].endswith("the end \u00fc")
    assert sent["tools"][0]["name"].startswith("_9f_") and sent["top_k"] == 3
    assert answer.out_headers["x-llm-router-lost"] == "tools.anyOf, seed"


@pytest.mark.slow
def test_a_callers_bounds_and_overrides_hold_for_large_bodies(tmp_path: Path) -> None:
    key = {"name": "k", "key": "k" * 24, "parameter_limits": {"max_tokens": {"max": 7}}}
    document = {"providers": providers(default_params={"temperature": 0.5}, drop_params=["seed"]), "keys": [key]}
    bearer = [("authorization", "Bearer " + "k" * 24)]
    for name, hosts in (("o", Hosts(o=ok())), ("a", Hosts(a=Upstream(200, json.dumps(CLAUDE).encode())))):
        answer = story_of(large(model=f"{name}/m", max_tokens=99, seed=3), hosts, tmp_path, document, bearer)
        sent = json.loads(hosts.sent[0]["body"])
        assert answer.status == 200, answer.out
        assert (sent["max_tokens"], sent["temperature"], "seed" in sent) == (7, 0.5, False)


@pytest.mark.slow
def test_a_field_given_twice_does_not_get_round_a_bound_in_a_large_body(tmp_path: Path) -> None:
    key = {"name": "k", "key": "k" * 24, "parameter_limits": {"n": {"max": 1}}}
    data = json.dumps(large(model="o/m", n=1)).encode()
    hosts, bearer = Hosts(o=ok()), [("authorization", "Bearer " + "k" * 24)]
    for more, status in ((b',"n":9}', 200), (b',"N":9}', 400)):
        answer = story_of(data[:-1] + more, hosts, tmp_path, {"providers": providers(), "keys": [key]}, bearer)
        assert answer.status == status
    assert b'"n":9' not in hosts.sent[0]["body"] and len(hosts.sent) == 1


@pytest.mark.slow
def test_selectors_see_a_large_body_whole(tmp_path: Path) -> None:
    first, second = '.messages[-1].content | startswith("no")', '.messages[-1].content == "the end \u00fc"'
    members = [{"model": "o/m", "selector": first}, {"model": "a/m", "selector": f"{second} and (.messages | length) > 1000"}]
    document = {"providers": providers(), "groups": [{"name": "g", "members": members}]}
    hosts = Hosts(a=Upstream(200, json.dumps(CLAUDE).encode()), o=ok())
    assert story_of(large(model="g"), hosts, tmp_path, document).status == 200
    assert hosts.hosts == ["a"]


@pytest.mark.slow
def test_the_next_member_gets_a_large_body_too(tmp_path: Path) -> None:
    members = [{"model": "o/m", "priority": 2}, {"model": "a/m", "priority": 1}]
    document = {"providers": providers(), "groups": [{"name": "g", "strategy": "priority", "members": members}]}
    hosts = Hosts(o=refusal(500), a=Upstream(200, json.dumps(CLAUDE).encode()))
    assert story_of(large(model="g"), hosts, tmp_path, document).status == 200
    assert hosts.hosts == ["o", "a"] and json.loads(hosts.sent[1]["body"])["max_tokens"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", every(3, [b"[" + b"1," * 400_000 + b"1]", b'{"messages":[' + b"1," * 400_000, b'{"a":' * 200_000])
)
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


@pytest.mark.slow
def test_a_worker_that_dies_fails_one_request_and_is_replaced() -> None:
    async def story() -> None:
        offload = Offload(1)
        try:
            body = await offload.open(DATA)
            (worker,) = offload._all
            os.kill(worker.process.pid, signal.SIGKILL)
            with pytest.raises(GatewayError) as caught:
                await body.edit({"model": "x"}, frozenset(), [], "openai")
            assert caught.value.status == 500 and caught.value.code == "worker_died"
            assert b'"x"' in await body.edit({"model": "x"}, frozenset(), [], "openai")  # by another one
        finally:
            await offload.close()

    asyncio.run(story())


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_body_that_a_worker_no_longer_has_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        offload = Offload(1)
        try:
            bodies = [await offload.open(DATA) for _ in range(3)]
            (worker,) = offload._all
            worker.drops.append(bodies[0].key)  # as if it had been pushed out
            assert b'"x"' in await bodies[0].edit({"model": "x"}, frozenset(), [], "openai")
            for each in bodies:
                each.close()
            assert not worker.keys
        finally:
            await offload.close()

    asyncio.run(story())


@pytest.mark.slow
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


@pytest.mark.parametrize("path", [CHAT, "/route", "/route/invoke", "/api/show", "/v1/embeddings", "/v1/audio/speech"])
def test_a_request_for_which_there_is_no_room_is_503(path: str, tmp_path: Path) -> None:
    async def story(ways: Ways) -> None:
        ways.gateway.bodies.reserve(1_000, 2_000)
        body = b'{"model":"o/m","messages":[{"role":"user","content":"' + b"x" * 2_000 + b'"}]}'
        answer = await ways.ask(Exchange("POST", path, body, [("content-length", str(len(body)))]))
        assert answer.status == 503 and answer.out_headers["retry-after"] == "1"
        assert ways.gateway.bodies.bytes == 1_000

    play(story, {"server": {"max_bytes_in_flight": 2_000}, "providers": providers()}, Hosts(o=ok()), tmp_path)


# ---------------------------------------------------------------------------------------------------- Responses callers

RESPONSES = "/v1/responses"
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
            "output": [{"type": "message", "id": "m1", "role": "assistant", "status": "completed",
                        "content": [{"type": "output_text", "text": "ok", "annotations": []}]}],
            "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip


def inputs(**fields: Any) -> Body:
    return {"input": [{"type": "message", **each} for each in large()["messages"]], "store": False, **fields}


def with_responses(**more: Any) -> Body:
    return {"providers": [*providers(**more), provider("r", api="responses", **more)]}


@pytest.mark.slow
def test_a_large_body_of_responses_is_relayed_to_the_byte(tmp_path: Path) -> None:
    hosts = Hosts(r=Upstream(200, json.dumps(RESPONSE).encode()))
    data = json.dumps(inputs(model="r/m", temperature=1.0), indent=1).encode()
    assert story_of(data, hosts, tmp_path, with_responses(), path=RESPONSES).json["id"] == "resp_1"
    assert hosts.sent[0]["body"] == data.replace(b'"model": "r/m"', b'"model": "m"')


@pytest.mark.slow
def test_a_large_body_of_responses_loses_what_the_gateway_put_into_it(tmp_path: Path) -> None:
    hosts = Hosts(r=Upstream(200, json.dumps(RESPONSE).encode()))
    body = inputs(model="r/m")
    body["input"].append({"type": "function_call", "call_id": "c1__gemini_c2ln", "name": "f", "arguments": "{}"})
    assert story_of(body, hosts, tmp_path, with_responses(), path=RESPONSES).status == 200
    sent = json.loads(hosts.sent[0]["body"])
    assert sent["input"][-1]["call_id"] == "c1" and sent["input"][:-1] == body["input"][:-1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "answer"), [("o", ok()), ("a", Upstream(200, json.dumps(CLAUDE).encode()))])
def test_a_large_body_of_responses_is_converted_as_a_small_one_is(tmp_path: Path, name: str, answer: Upstream) -> None:
    body = inputs(model=f"{name}/m", instructions="be brief", tools=[{"type": "function", "name": "9f", "parameters": {}}])
    sent = []
    for limit in (LARGE_BYTES, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offload, "LARGE_BYTES", limit)
            hosts = Hosts(**{name: answer})
            if limit == LARGE_BYTES:
                got = story_of(body, hosts, tmp_path, with_responses(), path=RESPONSES)
            else:
                got = at_once(body, hosts, tmp_path)
        assert got.status == 200 and got.json["output"][0]["content"][0]["text"] in ("ok", "hi")
        assert got.json["instructions"] == "be brief"
        sent.append(json.loads(hosts.sent[0]["body"]))
    assert sent[0] == sent[1]


def at_once(body: Body, hosts: Hosts, folder: Path, path: str = RESPONSES, document: Body | None = None) -> Exchange:
    """The same without a worker."""
    got: list[Exchange] = []

    async def story(ways: Ways) -> None:
        got.append(await ways.ask(Exchange("POST", path, json.dumps(body).encode())))
        assert not ways.gateway.offload._all

    play(story, document or with_responses(), hosts, folder)
    return got[0]


@pytest.mark.slow
def test_what_builds_on_an_answer_that_is_not_kept_here_is_the_upstreams_to_find(tmp_path: Path) -> None:
    hosts = Hosts(r=Upstream(200, json.dumps(RESPONSE).encode()))
    body = inputs(model="r/m", previous_response_id="resp_0")
    assert story_of(body, hosts, tmp_path, with_responses(), path=RESPONSES).status == 200
    assert json.loads(hosts.sent[0]["body"]) == {**body, "model": "m"}


# -------------------------------------------------------------------------------------------------------- large answers

LONG = "a word and another, \u00fc. " * 30_000
ANSWERS: dict[str, Body] = {
    "o": {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
          "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": LONG}}],
          "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    "a": {**CLAUDE, "content": [{"type": "text", "text": LONG}]},
}  # fmt: skip
ASK = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.slow
def test_a_large_answer_is_relayed_to_the_byte_but_for_a_key(tmp_path: Path) -> None:
    key = "sk-of-the-provider"
    document = {"providers": [provider("o", any_model=True, api_key=key)]}
    for said, wanted in ((b"xyz", b"xyz"), (key.encode(), b"***")):
        data = json.dumps(ANSWERS["o"]).encode().replace(b"a word", said, 1)
        answer = story_of({"model": "o/m", **ASK}, Hosts(o=Upstream(200, data)), tmp_path, document)
        assert answer.out == data.replace(said, wanted)
    assert "in=3 out=4" in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", RESPONSES, "/api/chat"])
def test_a_large_answer_is_converted_as_a_small_one_is(tmp_path: Path, path: str, name: str) -> None:
    body = {"model": f"{name}/m", "max_tokens": 9, **ASK, "input": "hi", "store": False, "stream": False}
    answers = []
    for limit in (LARGE_BYTES, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offload, "LARGE_BYTES", limit)
            hosts = Hosts(**{name: Upstream(200, json.dumps(ANSWERS[name]).encode())})
            got = (story_of if limit == LARGE_BYTES else at_once)(body, hosts, tmp_path, path=path)
            found = json.loads(got.out)
        for field in (
            "id",
            "created",
            "created_at",
            "total_duration",
            "eval_duration",
            "load_duration",
            "prompt_eval_duration",
        ):
            found.pop(field, None)
        answers.append((got.status, found if path != RESPONSES else found["output"][0]["content"]))
    assert answers[0] == answers[1] and answers[0][0] == 200


@pytest.mark.slow
@pytest.mark.parametrize(("change", "status", "word"), [
    (lambda fields: {**fields, "error": {"message": "no", "type": "t", "code": "c"}}, 502, "no"),
    (lambda fields: {**fields, "choices": [], "more": LONG}, 502, "empty"),
    (lambda fields: {**fields, "choices": [{**fields["choices"][0], "finish_reason": "abort"}]}, 502, "abort"),
    (lambda fields: [fields], 502, "not a JSON object"),
])  # fmt: skip
def test_a_large_answer_that_is_none_is_an_error(tmp_path: Path, change: Any, status: int, word: str) -> None:
    data = json.dumps(change(ANSWERS["o"])).encode()
    document = {"server": {"retry_alone_s": 0}, "providers": providers()}
    for path in (CHAT, "/v1/messages"):
        answer = at_worker({"model": "o/m", "max_tokens": 9, **ASK}, Hosts(o=Upstream(200, data)), tmp_path, document, path)
        assert answer.status == status and word in answer.out.decode(), answer.out


def at_worker(body: Body, hosts: Hosts, folder: Path, document: Body, path: str) -> Exchange:
    got: list[Exchange] = []

    async def story(ways: Ways) -> None:
        got.append(await ways.ask(Exchange("POST", path, json.dumps(body).encode())))
        assert len(ways.gateway.offload._all) == 1
        await ways.gateway.offload.close()

    play(story, document, hosts, folder)
    return got[0]


@pytest.mark.slow
def test_events_in_the_place_of_a_large_plain_answer_are_put_together(tmp_path: Path) -> None:
    data = b"".join((FIRST, *(chunk({"content": "x" * 1_000}) for _ in range(700)), LAST, DONE))
    document = {"providers": providers()}
    for body in ({"model": "o/m", **ASK}, large(model="o/m")):
        answer = at_worker(body, Hosts(o=Upstream(200, data)), tmp_path, document, CHAT)
        assert answer.json["choices"][0]["message"]["content"] == "x" * 700_000


@pytest.mark.slow
def test_a_large_answer_is_converted(tmp_path: Path) -> None:
    hosts = Hosts(a=Upstream(200, json.dumps(ANSWERS["a"]).encode()))
    assert story_of({"model": "a/m", **ASK}, hosts, tmp_path).json["choices"][0]["message"]["content"] == LONG


@pytest.mark.slow
def test_an_unmet_demand_is_named_of_a_large_answer_too(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = {"model": "o/m", "tools": [tool], "tool_choice": "required", **ASK}
    answer = story_of(body, Hosts(o=Upstream(200, json.dumps(ANSWERS["o"]).encode())), tmp_path)
    assert answer.out_headers["x-llm-router-lost"] == "tool_choice=required"


# ----------------------------------------------------------------------------------------------------------- embeddings

TEXTS = [f"text number {at}, not very long" for at in range(20_000)]
NUMBERS = [0.25, -1.5, 0.5]
VECTORS = {"object": "list", "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7},
           "data": [{"object": "embedding", "index": at, "embedding": NUMBERS} for at in range(len(TEXTS))]}  # fmt: skip
GEMINI_VECTORS = {"embeddings": [{"values": NUMBERS} for _ in TEXTS]}
GOOGLE: Body = {"providers": [*providers(), provider("g", api="gemini", base_url="http://g.example/v1beta", any_model=True)]}


def embed(folder: Path, body: Body, hosts: Hosts, path: str = "/v1/embeddings") -> Any:
    answer = story_of(body, hosts, folder, GOOGLE, path=path)
    assert answer.status == 200, answer.out[:200]
    return answer.json


@pytest.mark.slow
def test_large_embeddings_are_relayed_and_reshaped(tmp_path: Path) -> None:
    hosts = Hosts(o=Upstream(200, json.dumps(VECTORS).encode()))
    assert embed(tmp_path, {"model": "o/m", "input": TEXTS}, hosts) == VECTORS
    assert json.loads(hosts.sent[0]["body"]) == {"model": "m", "input": TEXTS}
    found = embed(tmp_path, {"model": "o/m", "input": TEXTS, "encoding_format": "base64"}, hosts)
    assert found["data"][-1]["embedding"] == "AACAPgAAwL8AAAA/" and "in=7" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_large_embeddings_are_converted_both_ways(tmp_path: Path) -> None:
    hosts = Hosts(g=Upstream(200, json.dumps(GEMINI_VECTORS).encode()))
    found = embed(tmp_path, {"model": "g/m", "input": TEXTS, "dimensions": 3}, hosts)
    assert [each["embedding"] for each in found["data"]] == [NUMBERS] * len(TEXTS)
    sent = json.loads(hosts.sent[0]["body"])["requests"]
    assert sent[-1] == {"model": "models/m", "content": {"parts": [{"text": TEXTS[-1]}]}, "outputDimensionality": 3}
    hosts = Hosts(o=Upstream(200, json.dumps(VECTORS).encode()))
    requests = [{"model": "models/o/m", "content": {"parts": [{"text": text}]}, "taskType": "X"} for text in TEXTS]
    found = embed(tmp_path, {"requests": requests}, hosts, "/v1beta/models/o/m:batchEmbedContents")
    assert found == GEMINI_VECTORS and json.loads(hosts.sent[0]["body"])["input"] == TEXTS


@pytest.mark.slow
def test_large_embeddings_of_ollamas_callers(tmp_path: Path) -> None:
    hosts = Hosts(o=Upstream(200, json.dumps(VECTORS).encode()))
    found = embed(tmp_path, {"model": "o/m", "input": TEXTS}, hosts, "/api/embed")
    assert found["embeddings"] == [NUMBERS] * len(TEXTS) and json.loads(hosts.sent[0]["body"])["input"] == TEXTS


@pytest.mark.slow
def test_large_embeddings_for_a_vendor_without_any_are_refused(tmp_path: Path) -> None:
    answer = story_of({"model": "a/m", "input": TEXTS}, Hosts(a=ok()), tmp_path, GOOGLE, path="/v1/embeddings")
    assert answer.status == 400 and answer.out_headers["x-should-retry"] == "false"


@pytest.mark.slow
def test_an_estimate_of_tokens_counts_a_large_body_whole(tmp_path: Path) -> None:
    body = {**large(model="o/m"), "max_tokens": 5}
    answer = story_of(body, Hosts(o=ok()), tmp_path, path="/v1/messages/count_tokens")
    assert answer.json["input_tokens"] > 50_000 and answer.out_headers["x-llm-router-estimated"] == "tokens"
