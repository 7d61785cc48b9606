"""Answers that are given again: to the same request of the same key alone, complete ones alone, and at no cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes import ANSWER, DONE, FIRST, LAST, STREAM, TEXT, Exchange, Upstream, chunk
from routed import Hosts, Ways, chat, group, model, ok, play, provider, refusal, stream, streamed

from llm_router_gateway.config import config
from llm_router_gateway.proxy.gateway import prepare
from llm_router_gateway.store.call import Call

ANN, BEN = (("authorization", f"Bearer sk-{name}-0123456789") for name in ("ann", "ben"))
KEYS = [{"name": name, "key": f"sk-{name}-0123456789"} for name in ("ann", "ben")]
Story = Callable[[Ways], Coroutine[Any, Any, None]]


def document(server: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "server": {"cache_ttl_s": 60, **(server or {})}, "providers": [provider("a"), provider("b")],
        "models": [model("a"), model("b")], "groups": [group("a/m")], "keys": KEYS, **more,
    }  # fmt: skip


def ask(body: str = "", name: str = "a/m", *headers: tuple[str, str]) -> Exchange:
    return chat(name, body, [ANN, *headers])


def states(exchanges: list[Exchange]) -> list[str]:
    return [each.out_headers.get("x-llm-router-cache", "") for each in exchanges]


def asked(folder: Path, exchanges: list[Exchange], settings: dict[str, Any] | None = None, *answers: Any) -> Ways:
    async def story(ways: Ways) -> None:
        for each in exchanges:
            await ways.ask(each)

    script = list(answers) or [ok("one"), ok("two"), ok("three")]
    return play(story, settings or document(), Hosts(a=script, b=script), folder)


def test_the_same_request_gets_the_same_answer_and_costs_nothing(tmp_path: Path) -> None:
    calls: list[Call] = []
    exchanges = [ask() for _ in range(3)]

    async def story(ways: Ways) -> None:
        ways.gateway.on_call = lambda call, bodies: calls.append(call)
        for each in exchanges:
            await ways.ask(each)
        ways.skip(61)
        await ways.ask(exchanges[0].__class__("POST", "/v1/chat/completions", exchanges[0].body_in, [ANN]))

    ways = play(story, document(), Hosts(a=[ok("one"), ok("two")]), tmp_path)
    assert states(exchanges) == ["miss", "hit", "hit"] and len(ways.hosts.sent) == 2  # one more after its time
    assert {each.out for each in exchanges} == {exchanges[0].out} and b"one" in exchanges[0].out
    assert exchanges[1].out_headers["x-llm-router-model"] == "a/m" and exchanges[1].out_headers["x-request-id"] == "made"
    assert "x-llm-router-attempts" not in exchanges[1].out_headers
    assert [(call.cost_usd, call.cost_source, call.attempts, call.served, call.input_tokens) for call in calls[:2]] == [
        (0.1, "upstream", 1, "a/m", 3), (0.0, "cache", 0, "a/m", None),
    ]  # fmt: skip
    assert [call.is_timed for call in calls[:2]] == [True, False] and "cache=hit" in ways.lines


DIFFERENT = [
    chat("a/m", "", [BEN]), ask(', "temperature": 0'), ask("", "b/m"), ask("", "m2"), stream("a/m", "", [ANN]),
    ask("", "a/m", ("x-tier", "gold")), ask("", "a/m", ("openai-beta", "x")),
    Exchange("POST", "/v1/chat/completions?mode=1", ask().body_in, [ANN]),
]  # fmt: skip


@pytest.mark.parametrize("other", DIFFERENT, ids=str)
def test_anything_else_is_another_request(other: Exchange, tmp_path: Path) -> None:
    settings = document(models=[model("a"), model("b"), {"name": "m2", "provider": "a"}])
    ways = asked(tmp_path, [ask(), other], settings)
    assert states([other]) == ["miss"] and len(ways.hosts.sent) == 2


SAME = [
    Exchange("POST", "/chat/completions", b'{"model" : "a/m", "messages":[{"content":"hi","role":"user"}]}', [ANN]),
    ask("", "a/m", ("x-request-id", "r2"), ("x-stainless-retry-count", "1"), ("x-llm-router-labels", "job")),
]


@pytest.mark.parametrize("other", SAME, ids=str)
def test_how_a_request_is_written_makes_no_difference(other: Exchange, tmp_path: Path) -> None:
    ways = asked(tmp_path, [ask(), other])
    assert states([other]) == ["hit"] and len(ways.hosts.sent) == 1


def test_it_is_off_without_a_setting(tmp_path: Path) -> None:
    exchanges = [ask(), ask()]
    ways = asked(tmp_path, exchanges, document({"cache_ttl_s": 0}))
    assert states(exchanges) == ["", ""] and len(ways.hosts.sent) == 2


TIMES = [  # of the server, the model, the key -> whether an answer is given again
    (0, None, None, False), (60, None, None, True), (0, 60, None, True), (60, 0, None, False), (0, None, 60, True),
    (60, None, 0, False), (60, 0, 60, False), (0, 60, 0, False), (0, 0, 60, False),
]  # fmt: skip


@pytest.mark.parametrize(("server", "of_model", "of_key", "is_given"), TIMES)
def test_key_model_and_server_say_how_long_and_each_can_forbid_it(
    server: int, of_model: int | None, of_key: int | None, is_given: bool, tmp_path: Path
) -> None:
    models = [model("a", config={} if of_model is None else {"cache_ttl_s": of_model})]
    keys = [{**KEYS[0], **({} if of_key is None else {"cache_ttl_s": of_key})}]
    exchanges = [ask(), ask()]
    ways = asked(tmp_path, exchanges, document({"cache_ttl_s": server}, models=models, keys=keys, groups=[]))
    assert len(ways.hosts.sent) == (1 if is_given else 2) and (states(exchanges)[1] == "hit") is is_given


CONTROLS = [  # of the first, the second and a third request without -> their states, and what was sent
    ("", "no-cache", ["miss", "miss", "hit"], 2), ("", "max-age=0", ["miss", "miss", "hit"], 2),
    ("no-store", "", ["", "miss", "hit"], 2), ("", "NO-STORE, x", ["miss", "", "hit"], 2),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "seen", "count"), CONTROLS)
def test_a_caller_may_ask_for_a_new_answer(first: str, second: str, seen: list[str], count: int, tmp_path: Path) -> None:
    exchanges = [ask("", "a/m", *([("cache-control", said)] if said else [])) for said in (first, second, "")]
    ways = asked(tmp_path, exchanges)
    assert states(exchanges) == seen and len(ways.hosts.sent) == count
    if second == "no-cache":
        assert b"two" in exchanges[2].out  # the new answer took the old one's place


ACTING = [
    ', "tools": [{"type":"function","function":{"name":"f","parameters":{}}}]', ', "functions": [{"name":"f"}]',
    ', "web_search_options": {"x": 1}',
]  # fmt: skip


@pytest.mark.parametrize("body", ACTING)
def test_requests_with_tools_are_not_kept(body: str, tmp_path: Path) -> None:
    exchanges = [ask(body), ask(body)]
    assert len(asked(tmp_path, exchanges).hosts.sent) == 2 and states(exchanges) == ["", ""]


def test_only_complete_answers_are_kept(tmp_path: Path) -> None:
    for folder, answer in enumerate((refusal(400), Upstream(200, b'{"error":{"message":"x"}}'))):
        place = tmp_path / str(folder)
        place.mkdir()
        exchanges = [ask(), ask()]
        ways = asked(place, exchanges, document({"retry_alone_s": 0}), answer, ok())
        assert exchanges[0].status >= 400 and exchanges[1].status == 200 and len(ways.hosts.sent) == 2


@pytest.mark.parametrize("name", ["a/m", "g"])
def test_a_stream_is_given_again_as_a_stream(name: str, tmp_path: Path) -> None:
    exchanges = [stream(name, "", [ANN]), stream(name, "", [ANN])]
    ways = asked(tmp_path, exchanges, None, streamed())
    first, second = exchanges
    assert len(ways.hosts.sent) == 1 and states(exchanges)[1] == "hit"
    assert second.out == first.out and second.ended and second.out.endswith(DONE)
    assert second.out_headers["content-type"] == first.out_headers["content-type"]
    assert second.out_headers["x-llm-router-model"] == "a/m"


def test_a_stream_that_broke_off_is_not(tmp_path: Path) -> None:
    exchanges = [stream("a/m", "", [ANN]), stream("a/m", "", [ANN])]
    ways = asked(tmp_path, exchanges, None, Upstream(200, [FIRST, TEXT], **STREAM), streamed())
    assert b"error" in exchanges[0].out and exchanges[1].out.endswith(DONE) and len(ways.hosts.sent) == 2


def test_callers_of_every_protocol(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hi"}]
    bodies = [
        ("/v1/messages", {"model": "a/m", "max_tokens": 9, "messages": said}),
        ("/v1/messages", {"model": "a/m", "max_tokens": 9, "messages": said, "stream": True}),
        ("/v1/responses", {"model": "a/m", "input": "hi", "store": False}),
        ("/v1beta/models/a/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ("/v1beta/models/a/m:streamGenerateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ("/v1beta/models/a/m:streamGenerateContent?alt=sse", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ("/api/chat", {"model": "a/m", "messages": said}),
        ("/v1/embeddings", {"model": "a/m", "input": "hi"}),
    ]  # fmt: skip
    seen: list[tuple[Exchange, Exchange]] = []

    def answer(sent: dict[str, Any]) -> Upstream:
        if sent["url"].endswith("/embeddings"):
            return Upstream(200, b'{"object":"list","data":[{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":1}}')
        return streamed() if json.loads(sent["body"]).get("stream") else ok()

    async def story(ways: Ways) -> None:
        for path, body in bodies:
            pair = [Exchange("POST", path, json.dumps(body).encode(), [ANN]) for _ in range(2)]
            for each in pair:
                await ways.ask(each)
            seen.append((pair[0], pair[1]))

    ways = play(story, document(), Hosts(a=answer), tmp_path)
    for (path, _), (first, second) in zip(bodies, seen, strict=True):
        assert (first.status, first.out_headers["x-llm-router-cache"]) == (200, "miss"), (path, first.out)
        assert second.out_headers["x-llm-router-cache"] == "hit" and second.out == first.out, path
    assert len(ways.hosts.sent) == len(bodies)


def test_answers_that_are_kept_as_conversations_are_not_given_again(tmp_path: Path) -> None:
    from llm_router_gateway.store.conversations import Unkept

    exchanges = [Exchange("POST", "/v1/responses", b'{"model":"a/m","input":"hi"}', [ANN]) for _ in range(2)]

    async def story(ways: Ways) -> None:
        for each in exchanges:
            await ways.ask(each)

    ways = play(story, document(), Hosts(a=ok()), tmp_path, kept=Unkept())
    assert len(ways.hosts.sent) == 2 and exchanges[0].json["id"] != exchanges[1].json["id"]


def test_a_hit_counts_as_a_request_of_its_key_and_holds_nothing_of_its_budget(tmp_path: Path) -> None:
    low = {**KEYS[0], "limits": {"max_requests": 2, "per_seconds": 60, "tokens_per_minute": 40_000}}
    exchanges = [ask(), ask(), ask()]
    ways = asked(tmp_path, exchanges, document(keys=[low]))
    assert [each.status for each in exchanges] == [200, 200, 429] and len(ways.hosts.sent) == 1
    poor = {**KEYS[0], "budget": {"tokens_per_day": 100}}
    place = tmp_path / "poor"
    place.mkdir()
    exchanges = [ask(', "max_tokens": 1'), ask(', "max_tokens": 1'), ask(', "max_tokens": 2')]
    dear = Upstream(200, ANSWER.replace(b'"completion_tokens":4', b'"completion_tokens":97'))
    ways = asked(place, exchanges, document(keys=[poor]), dear)
    assert [each.status for each in exchanges][::2] == [200, 402] and len(ways.hosts.sent) == 1
    assert exchanges[1].status == 200 and states(exchanges)[1] == "hit"


def test_a_new_configuration_and_new_terms_begin_anew(tmp_path: Path) -> None:
    exchanges = [ask("", "g") for _ in range(3)]

    async def story(ways: Ways) -> None:
        await ways.ask(exchanges[0])
        ways.gateway.swap(prepare(config.parse(document(groups=[group("b/m")]))))
        await ways.ask(exchanges[1])
        narrow = [{**KEYS[0], "allowed_models": ["a/*"]}]
        narrower = config.parse(document(keys=narrow))
        ways.gateway.authenticator.configure(narrower, prepare(narrower).entries)
        await ways.ask(exchanges[2])

    ways = play(story, document(), Hosts(a=ok("of a"), b=ok("of b")), tmp_path)
    assert b"of a" in exchanges[0].out and b"of b" in exchanges[1].out and exchanges[2].status == 403
    assert ways.hosts.hosts == ["a", "b"]


@pytest.mark.parametrize("when", ["body", "answer"])
@pytest.mark.parametrize("extra", ["", ', "stream": true'])
def test_what_began_under_an_older_configuration_is_not_kept_for_the_new_one(when: str, extra: str, tmp_path: Path) -> None:
    class Swapping(Exchange):
        async def read_body(self, limit: int) -> bytes:
            if when == "body":
                self.swap()
            return await super().read_body(limit)

        def swap(self) -> None: ...

    first, second = Swapping("POST", "/v1/chat/completions", ask(extra, "g").body_in, [ANN]), ask(extra, "g")

    async def story(ways: Ways) -> None:
        def swap() -> None:
            ways.gateway.swap(prepare(config.parse(document(groups=[group("b/m")]))))

        def of_a(sent: dict[str, Any]) -> Upstream:
            if when == "answer":
                swap()
            return streamed(FIRST, chunk({"content": "of a"}), LAST, DONE) if extra else ok("of a")

        first.swap, ways.hosts.scripts["a"] = swap, [of_a]  # type: ignore[method-assign]
        await ways.ask(first)
        await ways.ask(second)

    of_b = streamed(FIRST, chunk({"content": "of b"}), LAST, DONE) if extra else ok("of b")
    play(story, document(groups=[group("a/m")]), Hosts(a=[], b=of_b), tmp_path)
    assert b"of a" in first.out and b"of b" in second.out and states([second]) == ["miss"]


def test_the_longest_unused_answers_go_first_and_long_ones_are_not_kept(tmp_path: Path) -> None:
    small = document({"max_cache_bytes": 65_536})
    text = "x" * 6_500  # of which 8 fit, with what they need beside
    names = [ask(f', "user": "{at}"') for at in (*range(8), 0, 8, 0, 1)]
    ways = asked(tmp_path, names, small, ok(text))
    assert states(names)[8] == "hit" and states(names)[-2:] == ["hit", "miss"]
    cache = ways.gateway._answers
    assert cache.bytes <= 65_536 and cache.bytes == sum(each.size for each in cache._entries.values())
    place = tmp_path / "long"
    place.mkdir()
    exchanges = [ask(), ask(), stream("a/m", "", [ANN]), stream("a/m", "", [ANN])]
    asked(place, exchanges, small, ok("x" * 9_000), ok("x" * 9_000), streamed(FIRST, TEXT * 200, DONE))
    assert states(exchanges) == ["miss"] * 4
