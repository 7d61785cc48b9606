"""Conversations whose bodies, turns or answers are large: workers do what the gateway does with small ones, and the same comes
out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes import STREAM, Exchange, Upstream
from quick import every, slow
from routed import Hosts, Shelf, Ways, play, provider
from running import PLAIN, ROOTS
from running import STREAM as STREAMS

from llm_router_gateway.errors import GatewayError
from llm_router_gateway.proxy import offload
from llm_router_gateway.wire.envelope import pack_envelope

Body = dict[str, Any]
RESPONSES = "/v1/responses"
KEY = "sk-of-the-provider"
NEVER = 10**9
MADE = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{24})")  # in ids of the gateway
APIS = {"openai": "o", "anthropic": "a", "gemini": "g", "responses": "r"}
DOCUMENT: Body = {
    "server": {"retry_alone_s": 0},
    "providers": [
        provider(name, api=api, base_url=f"http://{name}.example{ROOTS[api]}", api_key=KEY, any_model=True)
        for api, name in (*APIS.items(), ("responses", "s"))
    ],
}  # fmt: skip


def hosts_for(stream: bool = False, **more: Any) -> Hosts:
    """An upstream of each protocol, and a second of Responses; each of their answers has an id of its own."""
    numbers = count(1)

    def replies(api: str) -> Callable[[Any], Upstream]:
        def reply(_: Any) -> Upstream:
            own = f"_theirs{next(numbers)}".encode()
            pieces = (
                [piece for part in STREAMS[api] for piece in part] if stream else [json.dumps({**PLAIN[api], **more}).encode()]
            )
            made = [re.sub(rb'"(resp|msg)_\w+"', rb'"\1' + own + b'"', piece) for piece in pieces]
            return Upstream(200, made, **STREAM) if stream else Upstream(200, made[0])

        return reply

    return Hosts(s=replies("responses"), **{name: replies(api) for api, name in APIS.items()})


class Talk:
    """Calls of one caller, one after the other, and what came of them."""

    def __init__(self, ways: Ways) -> None:
        self.ways, self.answers = ways, list[tuple[int, str]]()

    async def say(self, path: str = RESPONSES, method: str = "POST", **body: Any) -> str:
        """The id of the answer."""
        exchange = await self.ways.ask(Exchange(method, path, json.dumps(body).encode() if method == "POST" else b""))
        text = exchange.out.decode()
        self.answers.append((exchange.status, text))
        ids = re.findall(r'"id": ?"(resp_\w+)"', text)
        return ids[-1] if ids else ""


def told(text: str) -> str:
    """Without what differs from one run to the next."""
    names = list(dict.fromkeys(MADE.findall(text)))
    return re.sub(r'"created_at": ?\d+', '"created_at":0', MADE.sub(lambda found: f"<{names.index(found[0])}>", text))


def both_ways(story: Any, hosts: Any, folder: Path) -> list[tuple[list[str], Any]]:
    """(bodies that were sent, answers) by workers and without one."""
    found = []
    for limit in (0, NEVER):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offload, "LARGE_BYTES", limit)
            made: Hosts = hosts()
            said: list[str] = []

            async def talk(ways: Ways, limit: int = limit, said: list[str] = said) -> None:
                one = Talk(ways)
                try:
                    await story(one)
                    assert bool(ways.gateway.offload._all) == (limit == 0) and ways.gateway.bodies.bytes == 0
                    assert not any(worker.keys for worker in ways.gateway.offload._all)
                finally:
                    await ways.gateway.offload.close()
                said += [told(f"{status} {text}") for status, text in one.answers]

            play(talk, DOCUMENT, made, folder, Shelf())
            found.append(([told(sent["body"].decode()) for sent in made.sent], said))
    return found


@pytest.mark.parametrize("stream", [False, *slow(True)])
@pytest.mark.parametrize(("first", "second"), every(14, [(one, two) for one in "roag" for two in "ogars"]))
def test_a_large_conversation_is_kept_and_built_on_as_a_small_one_is(
    first: str, second: str, stream: bool, tmp_path: Path
) -> None:
    async def story(talk: Talk) -> None:
        tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
        one = await talk.say(model=f"{first}/m", input="What is it?", stream=stream)
        two = await talk.say(model=f"{second}/m", input="Really?", previous_response_id=one, tools=tools, stream=stream)
        item = re.findall(r'"id": ?"(msg_\w+)"', talk.answers[-1][1])[-1]
        named = [{"type": "item_reference", "id": item}, {"role": "user", "content": "And now?"}]
        await talk.say(model=f"{first}/m", input=named, stream=stream)
        await talk.say(model="s/m", input=named, previous_response_id=two, stream=stream)
        await talk.say(model="o/m", input=[{"type": "item_reference", "id": "msg_unknown"}])
        await talk.say(f"{RESPONSES}/{two}", "GET")
        await talk.say(f"{RESPONSES}/{two}/input_items", "GET")

    large, small = both_ways(story, lambda: hosts_for(stream), tmp_path)
    assert large == small
    statuses = [answer[:3] for answer in small[1]]
    assert statuses == ["200", "200", "200", "200", "404", "200", "200"], small[1]
    last = small[0][-1]
    if second == "s":
        assert "previous_response_id" in last and "Really?" not in last
    else:
        assert last.index("What is it?") < last.index("Really?") < last.index("And now?")


@pytest.mark.slow
@pytest.mark.parametrize("name", every(3, "org"))
def test_a_large_conversation_is_compacted_as_a_small_one_is(name: str, tmp_path: Path) -> None:
    async def story(talk: Talk) -> None:
        given = [{"role": "user", "content": "one"}, {"type": "message", "role": "assistant", "content": "two"}]
        await talk.say(f"{RESPONSES}/compact", model=f"{name}/m", input=given, instructions="be brief")
        await talk.say(model=f"{name}/m", input=[*given, {"type": "compaction_trigger"}])

    usage = {"input_tokens": 1, "output_tokens": 1}
    large, small = both_ways(story, lambda: hosts_for(usage=usage) if name == "r" else hosts_for(), tmp_path)
    assert [json.loads(each) for each in large[0]] == [json.loads(each) for each in small[0]]
    sealed = re.compile(r'"encrypted_content":"[^"]*"')  # by a secret of each run
    assert [sealed.sub("", each) for each in large[1]] == [sealed.sub("", each) for each in small[1]]
    assert all(each.startswith("200") for each in small[1])


@pytest.mark.slow
@pytest.mark.parametrize("path", every(4, [RESPONSES, "/v1/chat/completions", "/v1/messages", "/api/chat"]))
@pytest.mark.parametrize("api", every(3, APIS))
def test_a_large_answer_in_the_place_of_a_stream_is_streamed_as_a_small_one_is(path: str, api: str, tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "input": "hi", "max_tokens": 9, "stream": True}

    async def story(talk: Talk) -> None:
        await talk.say(path, model=f"{APIS[api]}/m", **body)

    large, small = both_ways(story, hosts_for, tmp_path)
    if path == "/api/chat":  # with times in it
        large, small = [(sent, re.sub(r"\d+", "", str(answers))) for sent, answers in (large, small)]
    elif path == "/v1/chat/completions":
        large, small = [(sent, re.sub(r'"created":\d+', "", str(answers))) for sent, answers in (large, small)]
    assert large == small and "yes" in str(small[1])


@pytest.mark.slow
def test_a_large_error_in_the_place_of_a_stream_is_a_status(tmp_path: Path) -> None:
    async def story(talk: Talk) -> None:
        await talk.say(model="r/m", input="hi", stream=True)

    large, small = both_ways(story, lambda: hosts_for(error={"message": "no luck"}), tmp_path)
    assert large == small and small[1][0].startswith("502") and "no luck" in small[1][0]


@pytest.mark.parametrize("limit", [NEVER, *slow(0)])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_kept_before_its_last_event_goes_out_and_without_a_key(
    stream: bool, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "LARGE_BYTES", limit)
    shelf = Shelf()

    class Watching(Exchange):
        """Looks into the store when the end comes."""

        async def send(self, data: bytes) -> None:
            assert b"response.completed" not in data or shelf.turns
            await super().send(data)

        async def respond(self, status: int, headers: Any, body: bytes) -> None:
            assert shelf.turns
            await super().respond(status, headers, body)

    async def story(ways: Ways) -> None:
        body = json.dumps({"model": "r/m", "input": "hi", "stream": stream}).encode()
        try:
            exchange = await ways.ask(Watching("POST", RESPONSES, body))
        finally:
            await ways.gateway.offload.close()
        assert exchange.status == 200 and KEY.encode() not in exchange.out

    pieces = [piece.replace(b"yes", KEY.encode()) for part in STREAMS["responses"] for piece in part]
    whole = json.dumps(PLAIN["responses"]).replace("yes", KEY).encode()
    play(story, DOCUMENT, Hosts(r=Upstream(200, pieces, **STREAM) if stream else Upstream(200, whole)), tmp_path, shelf)
    (turn,) = shelf.turns.values()
    assert KEY.encode() not in turn.text and "***" in str(turn.value["output"])


@pytest.mark.slow
def test_an_answer_that_cannot_be_kept_goes_out_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "LARGE_BYTES", 0)
    run = offload.Offload.run

    async def dies(self: offload.Offload, large: offload.LargeBody, job: str, *arguments: Any) -> Any:
        if job == "keep":
            raise GatewayError("the process that was reading a large body ended", code="worker_died")
        return await run(self, large, job, *arguments)

    monkeypatch.setattr(offload.Offload, "run", dies)
    shelf = Shelf()

    async def story(ways: Ways) -> None:
        talk = Talk(ways)
        await talk.say(model="r/m", input="hi")
        await ways.gateway.offload.close()
        assert talk.answers[0][0] == 200 and not shelf.turns and "was not kept" in ways.lines

    play(story, DOCUMENT, hosts_for(), tmp_path, shelf)


@pytest.mark.parametrize("limit", [NEVER, 0])
def test_what_another_vendor_signed_does_not_go_to_the_callers_own(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "LARGE_BYTES", limit)
    hosts = hosts_for()
    thought = {"type": "thinking", "thinking": "Hm", "signature": pack_envelope("gemini", "c2ln")}
    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": [thought, {"type": "text", "text": "two"}]},
             {"role": "user", "content": "three"}]  # fmt: skip

    async def story(ways: Ways) -> None:
        talk = Talk(ways)
        await talk.say("/v1/messages", model="a/m", max_tokens=9, messages=turns)
        await ways.gateway.offload.close()
        assert talk.answers[0][0] == 200, talk.answers

    play(story, DOCUMENT, hosts, tmp_path)
    said = json.loads(hosts.sent[0]["body"])["messages"]
    assert [each["content"] for each in said] == ["one", [{"type": "text", "text": "two"}], "three"]


PICTURES = {"created": 1, "data": [{"b64_json": KEY}], "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
VECTORS = {"embeddings": [{"values": [0.5, -1.0]}]}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body", "name", "answer", "wanted"), every(3, [
    ("/v1/images/generations", {"prompt": "a cat"}, "o", PICTURES, '"b64_json": "***"'),
    ("/v1/images/generations", {"prompt": "a cat"}, "o", {"error": {"message": "no luck"}}, "no luck"),
    ("/v1/embeddings", {"input": ["a"]}, "g", VECTORS, '"embedding":[0.5,-1.0]'),
    ("/v1/embeddings", {"input": ["a"]}, "g", {"error": {"message": "no luck"}}, "no luck"),
    ("/v1/embeddings", {"input": ["a"]}, "g", [VECTORS], "not a JSON object"),
]))  # fmt: skip
def test_a_large_answer_that_is_no_chats_is_read_as_a_small_one_is(
    path: str, body: Body, name: str, answer: Any, wanted: str, tmp_path: Path
) -> None:
    async def story(talk: Talk) -> None:
        await talk.say(path, model=f"{name}/m", **body)

    large, small = both_ways(story, lambda: Hosts(**{name: Upstream(200, json.dumps(answer).encode())}), tmp_path)
    assert large == small and wanted in small[1][0], small
