"""Every way a call can end is one row of the log, written at its true end, and never two."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from running import (
    PAIRS,
    PLAIN,
    PROTOCOLS,
    ROOTS,
    STREAM,
    Process,
    Upstream,
    ask,
    begun_stream,
    chunked,
    close,
    data_event,
    hold,
    http,
    made_up,
    reset,
    sends,
    until,
    whole_stream,
)
from storing import differences, kept

from llm_router_gateway.store.call import Call
from llm_router_gateway.store.rollups import unpack
from llm_router_gateway.store.sqlite import file
from llm_router_gateway.store.sqlite.file import connect

KEY, TOKEN = made_up("upstream"), made_up("caller")
STOPS = {"openai": "stop", "anthropic": "end_turn", "gemini": "STOP", "responses": "completed"}


def config(url: str, *, server: str = "") -> str:
    """A provider for each protocol, with a model "m"; a group whose first member is nobody."""
    tables = [f'[server]\ntoken = "{TOKEN}"\nkeepalive_s = 5\n{server}']
    for name in PROTOCOLS:
        base = url + ROOTS[name]
        tables.append(f'[[providers]]\nname = "{name}-up"\napi = "{name}"\nbase_url = "{base}"\napi_key = "{KEY}"\n'
                      f'[[models]]\nname = "m"\nprovider = "{name}-up"\n[models.config]\ninput_usd_per_mtok = 1000\n'
                      'output_usd_per_mtok = 2000\n')  # fmt: skip
    tables.append('[[providers]]\nname = "gone"\napi = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "x"\n'
                  '[[models]]\nname = "x"\nprovider = "gone"\n'
                  '[[groups]]\nname = "pair"\nstrategy = "priority"\nmembers = [{model = "gone/x", priority = 2}, '
                  '{model = "openai-up/m"}]\n')  # fmt: skip
    return "\n".join(tables)


class Logged:
    """A gateway, and what its store has of the calls made since it was looked at last."""

    def __init__(self, process: Process) -> None:
        self.process = process
        process.token = TOKEN
        self.path = process.folder / "router.db"
        self.seen = 0

    def calls(self, count: int = 1) -> list[Call]:
        """The next `count`; that there are no more shows at the next look."""
        until(lambda: len(kept(self.path)) >= self.seen + count, f"{self.seen + count} calls in the store: {self.process.log}")
        found = kept(self.path)[self.seen :]
        assert len(found) == count, found
        self.seen += count
        return found

    def call(self) -> Call:
        return self.calls(1)[0]


@pytest.fixture(scope="module")
def gateway(module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Logged]:
    logged = Logged(module_start(config(upstream.url), at_once=True))
    yield logged
    logged.process.end()
    assert len(kept(logged.path)) == logged.seen, "more calls than were made"
    assert not differences(logged.path)


def answers(upstream: Upstream, protocol: str, **more: Any) -> None:
    upstream.does(sends(http(json.dumps({**PLAIN[protocol], **more}).encode())))


@pytest.mark.slow
@pytest.mark.parametrize("caller, provider", PAIRS)
def test_a_plain_answer(gateway: Logged, upstream: Upstream, caller: str, provider: str) -> None:
    answers(upstream, provider)
    began_ms = time.time() * 1000
    answer = gateway.process.chat(caller, f"{provider}-up/m")
    call = gateway.call()
    assert (call.status, call.error, call.ended, call.finish) == (200, "", "complete", STOPS[caller])
    assert (call.kind, call.protocol, call.upstream_protocol, call.stream) == ("chat", caller, provider, 0)
    assert (call.asked, call.served, call.provider, call.model) == (f"{provider}-up/m",) * 2 + (f"{provider}-up", "m")
    assert (call.request_id, call.attempts, call.failed) == (answer.headers["x-request-id"], 1, "[]")
    assert (call.client, call.first_ms) == ("127.0.0.1", None)
    assert began_ms - 100 < call.started_ms < time.time() * 1000 + 100
    assert 0 < call.duration_ms < 15_000


@pytest.mark.slow
@pytest.mark.parametrize("caller, provider", PAIRS)
def test_a_whole_stream(gateway: Logged, upstream: Upstream, caller: str, provider: str) -> None:
    upstream.does(sends(whole_stream(provider)))
    with gateway.process.streaming(caller, f"{provider}-up/m") as response:
        response.read()
    call = gateway.call()
    assert (call.status, call.error, call.ended, call.finish, call.stream) == (200, "", "complete", STOPS[caller], 1)
    assert call.first_ms is not None and 0 < call.first_ms <= call.duration_ms


USAGES = {
    "openai": {"usage": {"prompt_tokens": 100, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 40},
                         "completion_tokens_details": {"reasoning_tokens": 20}}},
    "gemini": {"usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 30,
                                 "thoughtsTokenCount": 20}},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("provider", USAGES)
def test_tokens_and_the_price_of_the_configuration(gateway: Logged, upstream: Upstream, provider: str) -> None:
    answers(upstream, provider, **USAGES[provider])
    gateway.process.chat("anthropic", f"{provider}-up/m")
    call = gateway.call()
    assert (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens) == (100, 50, 40, 20)
    assert (call.cost_usd, call.cost_source) == (pytest.approx(0.1 + 0.1), "prices")


@pytest.mark.slow
def test_a_cost_that_the_upstream_tells(gateway: Logged, upstream: Upstream) -> None:
    answers(upstream, "openai", usage={"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.125})
    gateway.process.chat("openai", "openai-up/m")
    assert gateway.call()[24:26] == (0.125, "upstream")


@pytest.mark.slow
@pytest.mark.parametrize("cost", ["1e999", "NaN", "-1", '"free"', "1e400", "[]"])
def test_a_cost_that_is_none_breaks_no_sum(gateway: Logged, upstream: Upstream, cost: str) -> None:
    text = json.dumps({**PLAIN["openai"], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    upstream.does(sends(http(text.replace('"completion_tokens": 1', f'"completion_tokens": 1, "cost": {cost}').encode())))
    gateway.process.chat("openai", "openai-up/m")
    assert gateway.call().cost_usd in (None, pytest.approx(0.003))


@pytest.mark.slow
def test_tokens_that_cannot_be_are_not_believed_but_estimated(gateway: Logged, upstream: Upstream) -> None:
    answers(upstream, "openai", usage={"prompt_tokens": 10**30, "completion_tokens": 1})
    gateway.process.chat("openai", "openai-up/m")
    call = gateway.call()
    assert call.input_tokens is not None and call.input_tokens < 100 and call.cost_source == "estimated"


@pytest.mark.slow
def test_without_a_usage_it_is_estimated_and_marked(gateway: Logged, upstream: Upstream) -> None:
    answers(upstream, "openai")
    gateway.process.chat("openai", "openai-up/m")
    call = gateway.call()
    assert call.input_tokens and call.output_tokens and call.cost_source == "estimated"
    assert call.cost_usd == pytest.approx(call.input_tokens / 1_000 + call.output_tokens / 500)


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_refuses(gateway: Logged, upstream: Upstream, stream: bool) -> None:
    body = json.dumps({"error": {"message": "no such thing", "type": "invalid_request_error", "code": "bad"}}).encode()
    upstream.does(sends(http(body, status="400 Bad Request")))
    assert gateway.process.chat("openai", "openai-up/m", stream=stream).status == 400
    call = gateway.call()
    assert (call.status, call.ended, call.served, call.attempts) == (400, "error", "openai-up/m", 1)
    assert call.error and "no such thing" in call.message


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("then", [close, reset], ids=["end", "reset"])
def test_a_stream_that_breaks_off(gateway: Logged, upstream: Upstream, provider: str, then: Any) -> None:
    upstream.does(sends(begun_stream(provider), then))
    with gateway.process.streaming("openai", f"{provider}-up/m") as response:
        response.read()
    call = gateway.call()
    assert (call.status, call.ended, call.stream) == (200, "cut", 1)
    assert call.error and call.message and call.first_ms is not None


@pytest.mark.slow
def test_a_stream_with_an_error_in_it(gateway: Logged, upstream: Upstream) -> None:
    error = data_event({"error": {"message": "overloaded", "type": "server_error", "code": 529}})
    upstream.does(sends(chunked(*STREAM["openai"][0], error)))
    with gateway.process.streaming("openai", "openai-up/m") as response:
        response.read()
    assert gateway.call().ended == "cut"


@pytest.mark.slow
def test_a_caller_that_goes_away_in_a_stream(gateway: Logged, upstream: Upstream) -> None:
    upstream.does(sends(begun_stream("openai"), hold))
    with gateway.process.streaming("openai", "openai-up/m") as response:
        response.read1(10)
    call = gateway.call()
    assert (call.status, call.error, call.ended) == (200, "client_gone", "client_gone")


@pytest.mark.slow
def test_a_caller_that_goes_away_before_the_answer(gateway: Logged, upstream: Upstream) -> None:
    upstream.does(sends(b"", hold))
    asked = ask("openai", "openai-up/m")
    with gateway.process.connect() as sock:
        head = [f"POST {asked.path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {TOKEN}"]
        sock.sendall("\r\n".join([*head, f"content-length: {len(asked.data)}", "", ""]).encode() + asked.data)
        until(lambda: upstream.requests)
    call = gateway.call()
    assert (call.status, call.error, call.ended, call.attempts) == (499, "client_gone", "client_gone", 1)


@pytest.mark.slow
def test_a_caller_that_hangs_up_at_the_last_event_has_the_whole_answer(gateway: Logged, upstream: Upstream) -> None:
    upstream.does(sends(whole_stream("openai").removesuffix(b"0\r\n\r\n"), hold))
    with gateway.process.streaming("openai", "openai-up/m") as response:
        data = b""
        while b"[DONE]" not in data:
            data += response.read1(65536)
    assert gateway.call()[15:18:2] == ("", "complete")


def test_a_member_that_fails_is_named_and_the_call_is_one(gateway: Logged, upstream: Upstream) -> None:
    answers(upstream, "openai")
    for _ in range(2):
        assert gateway.process.chat("openai", "pair").status == 200
    for call in gateway.calls(2):
        assert (call.asked, call.served, call.error, call.attempts) == ("pair", "openai-up/m", "", 2)
        assert json.loads(call.failed)[0].startswith("gone/x ")


@pytest.mark.slow
def test_what_we_refuse(gateway: Logged) -> None:
    asked = ask("anthropic", "openai-up/m")
    assert gateway.process.send("POST", asked.path, asked.data, authorization=f"Bearer {made_up('wrong')}").status == 401
    call = gateway.call()
    assert (call.status, call.error, call.ended, call.protocol) == (401, "unauthorized", "refused", "anthropic")
    assert (call.served, call.attempts, call.key_id) == ("", 0, "")


@pytest.mark.slow
@pytest.mark.parametrize("body, status, asked", [
    (b'{"model": "nobody/none", "messages": []}', 404, "nobody/none"), (b"{", 400, ""), (b'{"messages": []}', 400, ""),
])  # fmt: skip
def test_what_has_no_upstream(gateway: Logged, body: bytes, status: int, asked: str) -> None:
    assert gateway.process.send("POST", "/v1/chat/completions", body).status == status
    call = gateway.call()
    assert (call.status, call.ended, call.asked, call.attempts) == (status, "error", asked, 0)


@pytest.mark.slow
def test_names_that_no_database_takes_are_kept_as_far_as_they_can_be(gateway: Logged) -> None:
    body = json.dumps({"model": "\ud800 \x00 \u202e" + "x" * 5_000, "messages": []}).encode()
    assert gateway.process.send("POST", "/v1/chat/completions", body).status in (400, 404)
    assert len(gateway.call().asked) == 200


def test_counting_and_embeddings_and_routing(gateway: Logged, upstream: Upstream) -> None:
    upstream.does(sends(http(b'{"input_tokens": 7}')))
    body = ask("anthropic", "anthropic-up/m").data
    assert gateway.process.send("POST", "/v1/messages/count_tokens", body).status == 200
    assert gateway.process.send("POST", "/v1/messages/count_tokens", ask("anthropic", "openai-up/m").data).status == 200
    upstream.does(sends(http(b'{"object": "list", "data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}}')))
    assert gateway.process.send("POST", "/v1/embeddings", b'{"model": "openai-up/m", "input": "x"}').status == 200
    answers(upstream, "openai")
    request = {"messages": [{"role": "user", "content": "x"}]}
    wish = json.dumps({"query": {"task": "chat"}, "model_hint": "openai-up/m", "request": request}).encode()
    answer = gateway.process.send("POST", "/route/invoke", wish)
    found = gateway.calls(4)
    assert [call.kind for call in found] == ["count", "count", "embeddings", "invoke"]
    assert [call.error for call in found[:3]] == ["", "", ""]
    assert (found[2].input_tokens, found[2].output_tokens, found[2].cost_source) == (3, 0, "prices")
    assert (found[3].error == "") == (answer.status == 200)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/models", "/health", "/", "/nothing", "/health/models"])
def test_what_is_no_call_is_not_in_the_log(gateway: Logged, upstream: Upstream, path: str) -> None:
    gateway.process.get(path)
    answers(upstream, "openai")
    gateway.process.chat("openai", "openai-up/m")
    assert gateway.call().kind == "chat"


# -- gateways of their own


def bodies(path: Path) -> list[tuple[str | None, str | None, int, int]]:
    with closing(connect(str(path), reads=True)) as db:
        rows = db.execute("SELECT request, response, request_cut, response_cut FROM bodies ORDER BY call_id").fetchall()
    return [(unpack(row[0]), unpack(row[1]), row[2], row[3]) for row in rows]


@pytest.mark.slow
def test_no_text_is_kept_by_default(start: Callable[..., Process], upstream: Upstream) -> None:
    logged = Logged(start(config(upstream.url), at_once=True))
    for protocol in (name for name in PROTOCOLS if name != "responses"):  # answers that callers may build on are kept
        answers(upstream, protocol)
        assert logged.process.chat(protocol, f"{protocol}-up/m").status == 200
    logged.calls(len(PROTOCOLS) - 1)
    with closing(connect(str(logged.path), reads=True)) as db:
        assert db.execute("SELECT count(*) FROM bodies").fetchone() == (0,)
    for path in logged.process.folder.glob("router.db*"):
        data = path.read_bytes()
        assert KEY.encode() not in data and TOKEN.encode() not in data and b'"role"' not in data
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.slow
def test_texts_are_kept_when_the_configuration_says_so(start: Callable[..., Process], upstream: Upstream) -> None:
    logged = Logged(start(config(upstream.url, server="log_bodies = true\nlog_body_bytes = 300\n")))
    answers(upstream, "openai")
    logged.process.chat("openai", "openai-up/m", text=f"is {KEY} or {TOKEN} a key?")
    upstream.does(sends(whole_stream("anthropic")))
    with logged.process.streaming("openai", "anthropic-up/m", text="x" * 1_000) as response:
        sent = response.read()
    logged.process.chat("openai", "nobody/none")
    logged.calls(3)
    first, second, third = bodies(logged.path)
    assert first[0] is not None and "is *** or *** a key?" in first[0] and first[2:] == (0, 0)
    assert json.loads(first[1] or "")["choices"][0]["message"]["content"] == "yes"
    assert (len(second[0] or ""), second[2]) == (300, 1)
    assert second[1] == sent[:300].decode()
    assert "nobody/none" in (third[0] or "") and json.loads((third[1] or "").split("}}")[0] + "}}")["error"]


@pytest.mark.slow
def test_texts_of_callers_that_leave_are_what_was_sent_until_then(start: Callable[..., Process], upstream: Upstream) -> None:
    logged = Logged(start(config(upstream.url, server="log_bodies = true\n")))
    upstream.does(sends(begun_stream("openai"), hold))
    with logged.process.streaming("openai", "openai-up/m") as response:
        seen = response.read1(65536)
    logged.call()
    assert (bodies(logged.path)[0][1] or "").encode() == seen


@pytest.mark.slow
def test_nothing_is_lost_or_double_when_it_stops(start: Callable[..., Process], upstream: Upstream) -> None:
    logged = Logged(start(config(upstream.url, server="drain_s = 0.3\n")))
    answers(upstream, "openai")
    for _ in range(5):
        logged.process.chat("openai", "openai-up/m")
    upstream.does(sends(begun_stream("openai"), hold))
    with logged.process.streaming("openai", "openai-up/m") as response:
        response.read1(10)
        logged.process.signal(signal.SIGTERM)
        response.read()
        assert logged.process.ended() == 0
    assert sorted(path.name for path in logged.path.parent.glob("router.db*")) == ["router.db", "router.db.lock"]
    found = logged.calls(6)
    assert [call.ended for call in found] == ["complete"] * 5 + ["cut"]
    assert not differences(logged.path)


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once_and_keeps_what_ended(start: Callable[..., Process], upstream: Upstream) -> None:
    logged = Logged(start(config(upstream.url)))
    answers(upstream, "openai")
    logged.process.chat("openai", "openai-up/m")
    upstream.does(sends(begun_stream("openai"), hold))
    with logged.process.streaming("openai", "openai-up/m") as response:
        response.read1(10)
        logged.process.signal(signal.SIGTERM)
        logged.process.logged("stopping")
        logged.process.signal(signal.SIGTERM)
        assert logged.process.ended() == 0
    assert [call.ended for call in logged.calls(1)] == ["complete"]


@pytest.mark.slow
@pytest.mark.parametrize("named, expected", [("off", []), ("memory", []), ("calls.db", ["calls.db", "calls.db.lock"])])
def test_where_calls_are_kept(start: Callable[..., Process], upstream: Upstream, named: str, expected: list[str]) -> None:
    logged = Logged(start(config(upstream.url, server=f'store = "{named}"\n')))
    answers(upstream, "openai")
    assert logged.process.chat("openai", "openai-up/m").status == 200
    logged.process.end()
    assert sorted(path.name for path in logged.process.folder.glob("*.db*")) == expected


@pytest.mark.parametrize("named, config_path, expected", [
    ("", "/etc/router.toml", "/etc/router.db"), ("calls.db", "/etc/router.toml", "/etc/calls.db"),
    ("/var/calls.db", "/etc/router.toml", "/var/calls.db"), ("", "router.toml", "router.db"), ("", "", ":memory:"),
    ("memory", "/etc/router.toml", ":memory:"), ("off", "/etc/router.toml", ""), ("x.db", "", "x.db"),
])  # fmt: skip
def test_the_place_of_the_store(named: str, config_path: str, expected: str) -> None:
    assert file.store_path(named, config_path) == expected


def test_a_store_may_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ops")
    assert file.store_path("~/calls.db", "/etc/router.toml") == "/home/ops/calls.db"


def test_the_callers_labels_are_in_the_row_and_group_the_statistics(gateway: Logged, upstream: Upstream) -> None:
    answers(upstream, "anthropic", usage={"input_tokens": 10, "output_tokens": 5})
    body = {**ask("openai", "anthropic-up/m").body, "user": "u-17", "metadata": {"team": "search"}}
    data = json.dumps(body).encode()
    answer = gateway.process.send("POST", "/v1/chat/completions", data, x_llm_router_labels="beta, nightly")
    assert answer.status == 200
    call = gateway.call()
    assert (json.loads(call.tags), call.end_user) == (["beta", "nightly", "team:search"], "u-17")
    assert "nightly" not in str(upstream.requests[-1]), "the header is for the gateway alone"
