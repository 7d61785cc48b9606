"""failover: a member that fails before it said something is followed by the next; never after. Fakes on both rims."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import DONE, FIRST, LAST, TEXT, Exchange, Upstream
from routed import Hosts, Story, Ways, chat, group, model, ok, play, provider, refusal, stream, streamed, trio

from llm_router_gateway.errors import Unavailable, UpstreamFailed, UpstreamTimeout
from llm_router_gateway.proxy.gateway import prepare

Run = Callable[..., Ways]
FAILURES: dict[str, Any] = {
    "network": UpstreamFailed("a: cannot connect"),
    "time-out": UpstreamTimeout("a: no answer began within 1 s"),
    "no answer": Upstream(200, b"<html>", content_type="text/html"),
    "an error under 200": Upstream(200, b'{"error":{"message":"no luck"}}'),
    "a redirect": Upstream(302, b"", location="https://elsewhere.example"),
    **{str(status): refusal(status) for status in (408, 429, 500, 502, 503, 504, 520, 529)},
    "unknown model": refusal(404, "model_not_found"),
    "a wrong key": refusal(401, "invalid_api_key"),
    "no credit": refusal(402),
    "no permission": refusal(403),
}
STREAM_FAILURES: dict[str, Any] = {
    **FAILURES,
    "an error event": streamed(FIRST, b'data: {"error":{"message":"overloaded"}}\n\n'),
    "an error event at once": streamed(b'data: {"error":{"message":"overloaded","code":503}}\n\n'),
    "cut before output": streamed(FIRST),
    "nothing": streamed(b""),
}
OTHERS = {
    "anthropic": ("/v1/messages", {"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "gemini": ("/v1beta/models/g:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def runs(story: Story, document: dict[str, Any] | None = None, **scripts: Any) -> Ways:
        return play(story, document or trio(), Hosts(**scripts), tmp_path)

    return runs


# -- what moves on


@pytest.mark.parametrize("failure", FAILURES)
def test_a_member_that_fails_is_followed_by_the_next(run: Run, failure: str) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(chat())
        assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "b")
        assert answer.out_headers["x-llm-router-model"] == "b/m"
        assert answer.out_headers["x-llm-router-attempts"] == "2"

    ways = run(story, a=FAILURES[failure], b=ok("b"))
    assert ways.hosts.hosts == ["a", "b"]
    assert "g -> b/m attempts=2 (failed: a/m " in ways.lines


@pytest.mark.parametrize("failure", STREAM_FAILURES)
def test_so_is_one_that_fails_before_the_first_output_of_a_stream(run: Run, failure: str) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(stream())
        assert (answer.status, answer.ended) == (200, True)
        assert answer.out == FIRST + TEXT + LAST + DONE  # nothing of the first member's
        assert answer.out_headers["x-llm-router-model"] == "b/m"
        assert answer.out_headers["x-llm-router-attempts"] == "2"

    assert run(story, a=STREAM_FAILURES[failure], b=streamed()).hosts.hosts == ["a", "b"]


@pytest.mark.parametrize("ask", [chat, stream])
def test_a_request_is_not_lost_while_one_member_stands(run: Run, ask: Callable[[], Exchange]) -> None:
    async def story(ways: Ways) -> None:
        for _ in range(12):
            answer = await ways.ask(ask())
            assert (answer.status, answer.out_headers["x-llm-router-model"]) == (200, "c/m")

    good = streamed() if ask is stream else ok()
    ways = run(story, a=refusal(500), b=UpstreamFailed("b: cannot connect"), c=good)
    assert ways.hosts.hosts[:3] == ["a", "b", "c"]
    assert ways.hosts.hosts.count("a") == 3  # then its breaker is open
    assert ways.hosts.hosts.count("c") == 12


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("ask", [chat, stream])
def test_the_callers_own_fault_is_reported_at_once_and_counts_against_no_member(
    run: Run, status: int, ask: Callable[[], Exchange]
) -> None:
    async def story(ways: Ways) -> None:
        for _ in range(5):
            assert (await ways.ask(ask())).status == status
        health = (await ways.get("/health/models"))["models"]
        assert [(each["state"], each["factor"]) for each in health] == [("ok", 1.0)] * 3

    assert run(story, a=refusal(status)).hosts.hosts == ["a"] * 5


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_an_unknown_model_moves_on_and_is_no_illness(run: Run, status: int) -> None:
    async def story(ways: Ways) -> None:
        for _ in range(5):
            assert (await ways.ask(chat())).status == 200
        first = (await ways.get("/health/models"))["models"][0]
        assert (first["factor"], first["consecutive_failures"]) == (1.0, 0)

    run(story, a=refusal(status), b=ok())


def test_the_last_error_is_the_callers_when_none_answers(run: Run) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(chat())
        assert (answer.status, answer.out_headers["x-llm-router-attempts"]) == (429, "3")
        assert answer.json["error"]["message"] == "no luck 429"
        assert answer.out_headers["retry-after"] == "7"

    run(story, a=refusal(500), b=UpstreamTimeout("b: silent"), c=refusal(429, retry_after="7"))


def test_each_protocol_gets_the_last_error_in_its_own_shape(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for path, body in OTHERS.values():
            answer = await ways.post(path, body)
            assert answer.status == 503
            assert "no luck 503" in answer.json["error"]["message"]

    run(story, a=refusal(500), b=refusal(502), c=refusal(503))


@pytest.mark.parametrize("protocol", OTHERS)
def test_members_of_different_protocols_stand_in_for_one_another(run: Run, protocol: str) -> None:
    document = trio()
    document["providers"][0] = provider("a", api="anthropic", base_url="http://a.example")

    async def story(ways: Ways) -> None:
        path, body = OTHERS[protocol]
        answer = await ways.post(path, {**body, **({"top_k": 3} if protocol == "anthropic" else {})})
        assert (answer.status, answer.out_headers["x-llm-router-model"]) == (200, "b/m")
        assert "from b" in answer.out.decode()
        lost = answer.out_headers.get("x-llm-router-lost", "")
        assert lost == ("top_k, odd, usage.cost" if protocol == "anthropic" else "odd, usage.cost")  # of the one that answered

    busy = Upstream(529, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}')
    run(story, document, a=busy, b=ok("from b"))


def test_what_one_member_cannot_do_another_may(run: Run) -> None:
    """A request that cannot be converted for one member is relayed to one that speaks its protocol."""
    document = trio()
    document["providers"][0] = provider("a", api="anthropic", base_url="http://a.example")

    async def story(ways: Ways) -> None:
        answer = await ways.post("/v1/embeddings", {"model": "g", "input": "hi"})
        assert answer.status == 200

    assert run(story, document, b=Upstream(200, b'{"data":[]}')).hosts.hosts == ["b"]


def test_what_cannot_be_said_in_one_members_protocol_goes_to_another(run: Run) -> None:
    document = trio()
    document["providers"][0] = provider("a", api="gemini", base_url="http://a.example/v1beta")
    odd = [{"role": "narrator", "content": "hi"}]

    async def story(ways: Ways) -> None:
        answer = await ways.post("/v1/chat/completions", {"model": "g", "messages": odd})
        assert (answer.status, answer.out_headers["x-llm-router-model"]) == (200, "b/m")
        alone = await ways.post("/v1/chat/completions", {"model": "a/m", "messages": odd})
        assert alone.status == 400

    assert run(story, document, b=ok()).hosts.hosts == ["b"]


# -- never after output


@pytest.mark.parametrize(
    "broken",
    [
        streamed(FIRST, TEXT, LAST[:20]),
        streamed(FIRST, TEXT, b'data: {"error":{"message":"overloaded"}}\n\n'),
    ],
)
def test_after_the_first_output_no_other_is_tried(run: Run, broken: Upstream) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(stream())
        assert (answer.status, answer.ended) == (200, True)
        assert answer.out.startswith(FIRST + TEXT)
        assert b"[DONE]" not in answer.out
        assert answer.out.count(b'"error"') == 1
        first = (await ways.get("/health/models"))["models"][0]
        assert first["consecutive_failures"] == 1

    assert run(story, a=broken).hosts.hosts == ["a"]


# -- time


def test_a_first_output_that_comes_late_is_not_waited_for(run: Run) -> None:
    document = trio()
    document["groups"][0]["first_output_timeout_s"] = 0.05

    async def story(ways: Ways) -> None:
        answer = await ways.ask(stream())
        assert answer.out == FIRST + TEXT + LAST + DONE
        assert answer.out_headers["x-llm-router-model"] == "b/m"

    ways = run(story, document, a=streamed(FIRST, None), b=streamed())
    assert "failed: a/m upstream_timeout" in ways.lines


def test_the_caller_is_kept_alive_over_all_attempts_and_the_early_head_names_no_member(run: Run) -> None:
    document = trio(server={"keepalive_s": 0.04})

    async def slow(sent: Any) -> Upstream:
        await asyncio.sleep(0.03)
        return refusal(500)

    async def story(ways: Ways) -> None:
        answer = await ways.ask(stream())
        assert answer.out == b"\n" + FIRST + TEXT + LAST + DONE  # silent for 0.06 s, no attempt for more than 0.03
        assert "x-llm-router-model" not in answer.out_headers

    run(story, document, a=lambda sent: slow(sent), b=lambda sent: slow(sent), c=streamed())


def test_when_all_fail_after_a_sign_of_life_the_last_error_is_an_event(run: Run) -> None:
    document = trio(server={"keepalive_s": 0.02})

    async def slow() -> Upstream:
        await asyncio.sleep(0.03)
        return refusal(503)

    async def story(ways: Ways) -> None:
        answer = await ways.ask(stream())
        assert (answer.status, answer.ended) == (200, True)
        assert answer.out.count(b"data:") == 1
        assert b"no luck 503" in answer.out
        path = "/v1beta/models/g:streamGenerateContent"
        array = await ways.post(path, OTHERS["gemini"][1])
        assert json.loads(array.out)[0]["error"]["code"] == 503

    run(story, document, a=lambda sent: slow(), b=lambda sent: slow(), c=lambda sent: slow())


def test_a_request_does_not_look_for_members_for_ever(run: Run) -> None:
    document = trio(server={"timeout_s": 10})

    async def story(ways: Ways) -> None:
        def late(sent: Any) -> Any:
            ways.skip(11)
            return refusal(500)

        ways.hosts.scripts["a"] = [late]
        assert (await ways.ask(chat())).status == 500

    assert run(story, document, a=ok()).hosts.hosts == ["a"]


def test_a_caller_that_leaves_ends_it_all(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for ask in (chat(), stream()):
            task = asyncio.create_task(ways.ask(ask))
            for _ in range(20):
                await asyncio.sleep(0)
            assert max(each["active"] for each in (await ways.get("/health/models"))["models"]) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        health = (await ways.get("/health/models"))["models"]
        assert [(each["active"], each["factor"]) for each in health] == [(0, 1.0)] * 3

    assert run(story, a=streamed(None)).hosts.hosts == ["a", "a"]


def test_at_the_drains_limit_no_other_is_tried(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for ask in (chat(), stream()):
            task = asyncio.create_task(ways.ask(ask))
            for _ in range(20):
                await asyncio.sleep(0)
            ways.gateway.end_all(Unavailable("the gateway is shutting down"))
            assert (await task).status == 503
        health = (await ways.get("/health/models"))["models"]
        assert [each["factor"] for each in health] == [1.0] * 3

    assert run(story, a=streamed(None), b=ok()).hosts.hosts == ["a", "a"]


# -- several keys of one provider


@pytest.mark.parametrize("status", [401, 403, 429])
@pytest.mark.parametrize("ask", [chat, stream])
def test_a_refused_key_is_followed_by_the_next_and_not_tried_first_again(
    run: Run, status: int, ask: Callable[..., Exchange]
) -> None:
    document = trio()
    document["providers"][0]["api_key"] = ",".join(("key-1", "key-2", "key-3"))
    good = streamed() if ask is stream else ok()

    async def story(ways: Ways) -> None:
        answer = await ways.ask(ask())
        assert (answer.status, answer.out_headers["x-llm-router-model"]) == (200, "a/m")
        assert answer.out_headers["x-llm-router-attempts"] == "3"
        assert (await ways.ask(ask())).out_headers["x-llm-router-attempts"] == "1"

    ways = run(story, document, a=[refusal(status), refusal(status), good])
    assert ways.hosts.keys[:3] == ["key-1", "key-2", "key-3"]
    assert ways.hosts.keys[3] == "key-3"
    assert "key-1" not in ways.lines


def test_keys_rotate_for_a_single_model_too_and_all_refused_is_reported(run: Run) -> None:
    document = trio()
    document["providers"][0]["api_key"] = ",".join(("key-1", "key-2"))

    async def story(ways: Ways) -> None:
        assert (await ways.ask(chat("a/m"))).status == 200
        assert (await ways.ask(chat("a/m"))).status == 429

    ways = run(story, document, a=[refusal(401), ok(), refusal(429)])
    assert ways.hosts.keys[:2] == ["key-1", "key-2"]


def test_a_refusal_for_another_reason_costs_no_key(run: Run) -> None:
    document = trio()
    document["providers"][0]["api_key"] = ",".join(("key-1", "key-2"))

    async def story(ways: Ways) -> None:
        assert (await ways.ask(chat("a/m"))).status == 400

    assert run(story, document, a=refusal(400)).hosts.keys == ["key-1"]


# -- health and cooling


def test_retry_after_keeps_a_member_out_for_that_long(run: Run) -> None:
    async def story(ways: Ways) -> None:
        assert [(await ways.ask(chat())).out_headers["x-llm-router-model"] for _ in range(3)] == ["b/m"] * 3
        ways.skip(8)
        assert (await ways.ask(chat())).out_headers["x-llm-router-model"] == "a/m"

    assert run(story, a=[refusal(429, retry_after="7"), ok()], b=ok()).hosts.hosts == ["a", "b", "b", "b", "a"]


def test_an_open_breaker_lets_one_probe_through(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for _ in range(4):
            await ways.ask(chat())
        states = {each["model"]: each["state"] for each in (await ways.get("/health/models"))["models"]}
        assert states == {"a/m": "open", "b/m": "ok", "c/m": "ok"}
        ways.skip(31)
        probe, others = asyncio.create_task(ways.ask(chat())), []
        for _ in range(10):
            await asyncio.sleep(0)
        others = [await ways.ask(chat()) for _ in range(3)]
        assert {each.out_headers["x-llm-router-model"] for each in others} == {"b/m"}
        gate.set()
        assert (await probe).out_headers["x-llm-router-model"] == "a/m"
        assert (await ways.ask(chat())).out_headers["x-llm-router-model"] == "a/m"

    gate = asyncio.Event()

    async def waits() -> Upstream:
        await gate.wait()
        return ok()

    run(story, a=[refusal(500)] * 3 + [lambda sent: waits(), ok()], b=ok())


def test_the_last_member_is_always_tried(run: Run) -> None:
    async def story(ways: Ways) -> None:
        for _ in range(6):
            assert (await ways.ask(chat())).status == 500
        assert (await ways.ask(chat())).status == 200

    document = trio(groups=[group("a/m")])
    run(story, document, a=[refusal(500)] * 6 + [ok()])


def test_fallbacks_are_tried_when_no_member_is_left(run: Run) -> None:
    async def story(ways: Ways) -> None:
        answer = await ways.ask(chat())
        assert (answer.status, answer.out_headers["x-llm-router-model"]) == (200, "c/m")

    document = trio(groups=[group("a/m", "b/m", fallbacks=["c/m"])])
    assert run(story, document, a=refusal(500), b=refusal(500), c=ok()).hosts.hosts == ["a", "b", "c"]


def test_a_new_configuration_keeps_what_is_known_by_name(run: Run) -> None:
    from llm_router_gateway.config import config

    async def story(ways: Ways) -> None:
        for _ in range(3):
            await ways.ask(chat())
        ways.gateway.swap(prepare(config.parse(trio(models=[*map(model, "abc"), model("a", name="new")]))))
        states = {each["model"]: each["state"] for each in (await ways.get("/health/models"))["models"]}
        assert states == {"a/m": "open", "a/new": "ok", "b/m": "ok", "c/m": "ok"}
        assert (await ways.ask(chat())).out_headers["x-llm-router-attempts"] == "1"

    run(story, a=refusal(500), b=ok())


@pytest.mark.parametrize("ask", [chat, stream])
def test_a_stream_counts_until_it_ends(tmp_path: Path, ask: Callable[..., Exchange]) -> None:
    """Least connections: a member that is still talking is not the free one."""
    document = trio(groups=[group("a/m", "b/m", strategy="leastconn")])
    gate = asyncio.Event()

    class Talking(Upstream):
        async def pieces(self) -> Any:
            for piece in (FIRST, TEXT):
                yield piece
            await gate.wait()
            for piece in (LAST, DONE):
                yield piece

    async def story(ways: Ways) -> None:
        first = asyncio.create_task(ways.ask(stream()))
        for _ in range(20):
            await asyncio.sleep(0)
        busy = ways.hosts.hosts[0]
        for _ in range(4):
            assert (await ways.ask(ask())).status == 200
        assert busy not in ways.hosts.hosts[1:]
        gate.set()
        assert (await first).ended

    class Mixed(Hosts):
        async def request(self, method: str, url: str, headers: Any, body: bytes, **how: Any) -> Upstream:
            given = await super().request(method, url, headers, body, **how)
            if len(self.sent) == 1:
                talking = Talking(200, [], content_type="text/event-stream")
                self.given[-1] = talking
                return talking
            return given

    good = streamed() if ask is stream else ok()
    play(story, document, Mixed(a=good, b=good), tmp_path)
