"""gateway: one request's life, from the exchange to the upstream and back. No socket: both rims are lists of bytes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes import ANSWER, DONE, FIRST, LAST, STREAM, TEXT, Exchange, Headers, Pool, Upstream
from loops import JumpingLoop
from routed import SOON_S

from llm_router_gateway.config import config
from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.net.router import ManagementRequest, ManagementResponse, Route, Router
from llm_router_gateway.proxy.gateway import Gateway, prepare
from llm_router_gateway.proxy.log import Log
from llm_router_gateway.wire.registry import SPECS

KEY, TOKEN = "up" + "-key" * 4, "our" + "-token" * 4

PROVIDERS = [
    {"name": "openai", "api_key": KEY, "any_model": True},
    {"name": "claude", "api_key": KEY},
    {"name": "gemini", "api_key": KEY},
    {"name": "grok"},
]
MODELS = [{"name": "tuned", "provider": "openai", "remote_identifier": "gpt-x", "default_params": {"seed": 7}}]


class Room:
    """A gateway, its pool and its log."""

    def __init__(self, pool: Pool, tmp: Path, **server: Any) -> None:
        self.pool, self.path = pool, tmp / "log"
        self.log = Log("debug", stream=-1, path=str(self.path))
        self.config = config.parse({"server": {"retry_alone_s": SOON_S, **server}, "providers": [*PROVIDERS], "models": MODELS})
        loop = asyncio.get_running_loop()
        self.gateway = Gateway(
            self.config, pool, self.log, clock=loop.time, call_later=loop.call_later, new_id=lambda: "made"  # type: ignore[arg-type]
        )  # fmt: skip

    async def ask(self, exchange: Exchange) -> Exchange:
        await self.gateway(exchange)
        return exchange

    @property
    def lines(self) -> str:
        self.log.flush()
        return self.path.read_text()


Story = Callable[[Room], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Room]:
    """Runs one story against a gateway whose upstream answers as scripted."""

    def run(story: Story, *answers: Upstream | Exception, **server: Any) -> Room:
        async def all_of_it() -> Room:
            room = Room(Pool(*(answers or (Upstream(),))), tmp_path, **server)
            await story(room)
            return room

        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            room = runner.run(all_of_it())
        room.log.close()
        assert all(answer.closed for answer in answers if isinstance(answer, Upstream) and not room.pool.answers[1:])
        for secret in (KEY, TOKEN):
            assert secret not in room.path.read_text()
        return room

    return run


def chat(model: str = "openai/gpt-x", extra: str = "", headers: Headers | None = None) -> Exchange:
    body = f'{{ "messages":[{{"role":"user","content":"h\\u00e9"}}], "model" : "{model}"{extra}}}'
    return Exchange("POST", "/v1/chat/completions", body.encode(), headers)


# -- the same protocol


def test_a_relayed_request_changes_in_model_and_credentials_only(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        mine = [("authorization", f"Bearer {TOKEN}"), ("openai-beta", "x"), ("x-request-id", "mine-1")]
        exchange = await room.ask(chat(extra=', "odd" : 1.0e0', headers=mine))
        assert (exchange.status, exchange.out) == (200, ANSWER)
        assert (exchange.out_headers["x-request-id"], exchange.out_headers["x-ratelimit-remaining"]) == ("mine-1", "5")

    room = play(story, Upstream(200, ANSWER, x_ratelimit_remaining="5", set_cookie="no"), token=TOKEN)
    sent = room.pool.sent[0]
    assert sent["url"] == "https://api.openai.com/v1/chat/completions"
    assert sent["body"] == b'{ "messages":[{"role":"user","content":"h\\u00e9"}], "model" : "gpt-x", "odd" : 1.0e0}'
    assert sent["headers"]["authorization"] == f"Bearer {KEY}"
    assert (sent["headers"]["openai-beta"], sent["headers"]["x-request-id"]) == ("x", "mine-1")
    assert TOKEN not in str(sent)
    assert re.search(r"POST /v1/chat/completions 200 \d+ms openai/gpt-x in=3 out=4 id=mine-1\n", room.lines)


def test_a_listed_model_has_its_own_name_upstream_and_its_defaults(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        await room.ask(chat("tuned"))
        await room.ask(chat("tuned", ', "seed": 1'))

    first, second = play(story, Upstream(200, ANSWER)).pool.sent
    assert json.loads(first["body"]) == json.loads(second["body"]) | {"seed": 7}
    assert json.loads(second["body"])["model"] == "gpt-x"


def test_the_callers_query_goes_on_without_key(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        target = f"/v1/messages?beta=true&key={TOKEN}"
        await room.ask(Exchange("POST", target, b'{"model":"claude/claude-x","messages":[]}', [("anthropic-beta", "b1,b2")]))

    sent = play(
        story, Upstream(200, b'{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}')
    ).pool.sent[0]
    assert sent["url"] == "https://api.anthropic.com/v1/messages?beta=true"
    assert (sent["headers"]["anthropic-beta"], sent["headers"]["x-api-key"]) == ("b1,b2", KEY)


def test_an_upstreams_refusal_keeps_status_body_and_retry_after_and_loses_our_key(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(chat())
        assert exchange.status == 429
        assert exchange.out == b'{"error":{"message":"slow, ***","code":"rate_limit_exceeded"}}'
        assert exchange.out_headers["retry-after"] == "7"

    body = f'{{"error":{{"message":"slow, {KEY}","code":"rate_limit_exceeded"}}}}'.encode()
    play(story, Upstream(429, body, retry_after="7"))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Upstream(502, b"<html>bad gateway</html>", content_type="text/html"), 502),
        (Upstream(200, b"<html>", content_type="text/html"), 502),
        (Upstream(200, b"[]"), 502),
        (Upstream(302, b"", location="https://elsewhere.example"), 502),
        (UpstreamFailed("cannot connect"), 502),
    ],
)
def test_what_is_no_answer_becomes_an_error_in_the_callers_shape(
    play: Callable[..., Room], answer: Upstream | Exception, status: int
) -> None:
    async def story(room: Room) -> None:
        for extra in ("", ', "stream": true'):
            exchange = await room.ask(chat(extra=extra))
            assert exchange.status == status
            assert exchange.json["error"]["message"]

    play(story, answer)


@pytest.mark.parametrize(("code", "status"), [("429", 429), ('"x"', 502), ("1", 502)])
def test_an_error_under_status_200_is_an_error(play: Callable[..., Room], code: str, status: int) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(chat())
        assert exchange.status == status
        assert "no luck" in exchange.json["error"]["message"]

    play(story, Upstream(200, f'{{"error":{{"message":"no luck","code":{code}}}}}'.encode()))


# -- streams


def test_a_relayed_stream_is_the_upstreams_bytes(play: Callable[..., Room]) -> None:
    pieces = [FIRST, TEXT[:9], TEXT[9:] + LAST[:3], LAST[3:], DONE]

    async def story(room: Room) -> None:
        exchange = await room.ask(chat(extra=', "stream": true'))
        assert (exchange.status, exchange.ended) == (200, True)
        assert exchange.out == b"".join(pieces)
        assert exchange.out_headers["content-type"].startswith("text/event-stream")
        assert exchange.out_headers["cache-control"] == "no-cache, no-transform"

    room = play(story, Upstream(200, list(pieces), **STREAM))
    assert "first=" in room.lines


def test_an_upstream_that_fails_before_output_is_answered_with_a_status(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(chat(extra=', "stream": true'))
        assert exchange.status >= 500
        assert "error" in exchange.json

    play(story, Upstream(200, [FIRST, b'data: {"error":{"message":"overloaded"}}\n\n'], **STREAM))
    play(story, Upstream(200, [FIRST], **STREAM))


def test_a_stream_that_breaks_after_output_ends_in_an_error_event(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(chat(extra=', "stream": true'))
        assert (exchange.status, exchange.ended) == (200, True)
        assert exchange.out.startswith(FIRST + TEXT)
        last = exchange.out.removeprefix(FIRST + TEXT)
        assert last.count(b"data:") == 1
        assert b'"error"' in last
        assert b"[DONE]" not in last

    room = play(story, Upstream(200, [FIRST, TEXT, LAST[:20]], **STREAM))
    assert "error=stream_cut" in room.lines
    play(story, Upstream(200, [FIRST, TEXT, b'data: {"error":{"message":"overloaded"}}\n\n'], **STREAM))


def test_a_silent_upstream_is_kept_alive_and_a_late_refusal_is_an_event(play: Callable[..., Room]) -> None:
    async def late(*how: Any, **more: Any) -> Upstream:
        await asyncio.sleep(0.05)
        return Upstream(503, b'{"error":{"message":"busy"}}')

    async def story(room: Room) -> None:
        room.pool.request = late  # type: ignore[method-assign]
        exchange = await room.ask(chat(extra=', "stream": true'))
        assert (exchange.status, exchange.ended) == (200, True)
        assert exchange.out.startswith(b"\n")
        assert b"busy" in exchange.out

    play(story, keepalive_s=0.01)


@pytest.mark.parametrize("pieces,told", [([FIRST, TEXT, None], True), ([FIRST, TEXT, LAST, DONE, None], False)])
def test_a_caller_that_goes_away_closes_the_upstream(play: Callable[..., Room], pieces: Any, told: bool) -> None:
    """Going away after the last event is no fault: some SDKs do not wait for the end of the stream."""
    upstream = Upstream(200, pieces, **STREAM)

    async def story(room: Room) -> None:
        task = asyncio.create_task(room.ask(chat(extra=', "stream": true')))
        for _ in range(20):
            await asyncio.sleep(0)
        assert room.pool.sent
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert room.gateway.open == 0

    assert ("client_gone" in play(story, upstream).lines) is told
    assert upstream.closed


# -- who, which, what else


def test_without_the_token_nothing_but_health_is_answered(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        for exchange in (chat(), chat(headers=[("x-api-key", "wrong")]), Exchange("GET", "/v1/models")):
            assert (await room.ask(exchange)).status == 401
        assert (await room.ask(Exchange("GET", "/health"))).json["status"] == "ok"
        assert (await room.ask(chat(headers=[("x-goog-api-key", TOKEN)]))).status == 200

    play(story, Upstream(200, ANSWER), token=TOKEN)


def test_a_store_that_fails_makes_it_unready_and_not_silent(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        room.gateway.store_health = lambda: {"broken": "/secret: disk full"}
        answer = await room.ask(Exchange("GET", "/health/ready"))
        assert (answer.status, answer.json["status"], answer.json["checks"]["store"]) == (503, "not_ready", "failing")
        assert "/secret" not in str(answer.json) and len(answer.json["reasons"]) == 1
        assert (await room.ask(chat(headers=[("x-goog-api-key", TOKEN)]))).status == 200

    play(story, Upstream(200, ANSWER), token=TOKEN)


def test_each_protocol_gets_errors_in_its_own_shape(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        openai = await room.ask(chat("none/such"))
        anthropic = await room.ask(Exchange("POST", "/v1/messages", b'{"model":"none/such"}'))
        gemini = await room.ask(Exchange("POST", "/v1beta/models/none/such:generateContent", b"{}"))
        assert [each.status for each in (openai, anthropic, gemini)] == [404, 404, 404]
        assert "message" in openai.json["error"]
        assert (anthropic.json["type"], anthropic.json["error"]["type"]) == ("error", "not_found_error")
        assert (gemini.json["error"]["code"], gemini.json["error"]["status"]) == (404, "NOT_FOUND")

    play(story)


ERRORS = {  # a request that fails, in every protocol that callers speak
    "openai": ("/v1/chat/completions", b'{"model":"none/such"}'),
    "anthropic": ("/v1/messages", b'{"model":"none/such"}'),
    "gemini": ("/v1beta/models/none/such:generateContent", b"{}"),
    "responses": ("/v1/responses", b'{"model":"none/such"}'),
    "completions": ("/v1/completions", b'{"model":"none/such"}'),
    "ollama": ("/api/chat", b'{"model":"none/such"}'),
}


def test_every_error_says_that_it_is_json_and_no_browser_guesses(play: Callable[..., Room]) -> None:
    assert ERRORS.keys() == SPECS.keys()

    async def story(room: Room) -> None:
        for path, body in ERRORS.values():
            for data in (body, b"{", b"[" * 100_000):
                answer = await room.ask(Exchange("POST", path, data))
                assert 400 <= answer.status < 500 and answer.json["error"], path
                assert answer.out_headers["content-type"].startswith("application/json"), path
                assert answer.out_headers["x-content-type-options"] == "nosniff", path

    play(story)


@pytest.mark.parametrize(
    ("exchange", "status"),
    [
        (Exchange("POST", "/v1/chat/completions", b"not json"), 400),
        (Exchange("POST", "/v1/chat/completions", b'{"messages":[]}'), 400),
        (Exchange("POST", "/v1/chat/completions", b'{"model":5}'), 400),
        (chat("grok/x"), 503),
        (Exchange("GET", "/nowhere"), 404),
        (Exchange("GET", "/v1/messages"), 405),
        (Exchange("GET", "/health", headers=[("host", "evil.example")]), 403),
        (Exchange("GET", "/health", headers=[("origin", "https://evil.example")]), 403),
        (Exchange("POST", "/v1/embeddings", b'{"model":"claude/x","input":"a"}'), 400),
    ],
)
def test_what_cannot_be_answered_says_so_before_any_is_tried(
    play: Callable[..., Room], exchange: Exchange, status: int
) -> None:
    async def story(room: Room) -> None:
        assert (await room.ask(exchange)).status == status
        assert exchange.json["error"]
        assert exchange.out_headers["x-request-id"] == "made"
        if status == 405:
            assert exchange.out_headers["allow"] == "POST, OPTIONS"

    assert play(story).pool.sent == []


def test_browsers_are_answered_as_configured(play: Callable[..., Room]) -> None:
    page = [("origin", "https://app.example")]

    async def story(room: Room) -> None:
        asked = await room.ask(Exchange("OPTIONS", "/v1/chat/completions", headers=page))
        assert (asked.status, asked.out_headers["access-control-allow-origin"]) == (204, "https://app.example")
        answer = await room.ask(chat(headers=page))
        assert answer.out_headers["access-control-allow-origin"] == "https://app.example"

    play(story, Upstream(200, ANSWER), cors_origins=["https://app.example"])


def test_the_list_holds_what_providers_say_and_asks_them_once(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        for _ in range(2):
            names = [entry["id"] for entry in (await room.ask(Exchange("GET", "/v1/models"))).json["data"]]
            assert names == ["openai/tuned", "openai/a", "claude/a", "gemini/a"]
        one = await room.ask(Exchange("GET", "/v1/models/claude%2Fa", headers=[("anthropic-version", "1")]))
        assert one.json["type"] == "model"
        gemini = await room.ask(Exchange("GET", "/v1beta/models"))
        assert gemini.json["models"][0]["name"] == "models/openai/tuned"

    assert len(play(story, Upstream(200, b'{"data":[{"id":"a"}]}')).pool.sent) == 3  # grok has no key


def test_tokens_are_counted_upstream_or_estimated(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        same = await room.ask(Exchange("POST", "/v1/messages/count_tokens", b'{"model":"claude/c","messages":[]}'))
        assert same.out == b'{"input_tokens":5}'
        other = Exchange(
            "POST", "/v1/messages/count_tokens", b'{"model":"openai/c","messages":[{"role":"user","content":"hello"}]}'
        )
        assert 3 < (await room.ask(other)).json["input_tokens"] < 20

    assert len(play(story, Upstream(200, b'{"input_tokens":5}')).pool.sent) == 1


def test_an_upstream_that_cannot_count_is_estimated_for(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        body = b'{"model":"claude/c","messages":[{"role":"user","content":"hello"}]}'
        assert (await room.ask(Exchange("POST", "/v1/messages/count_tokens", body))).json["input_tokens"] > 3

    play(story, Upstream(404, b'{"error":{"message":"no such path"}}'))


def test_embeddings_come_in_the_form_that_was_requested(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        body = b'{"model":"openai/e","input":"a","encoding_format":"base64"}'
        assert (await room.ask(Exchange("POST", "/v1/embeddings", body))).json["data"][0]["embedding"] == "AAAAPw=="

    sent = play(story, Upstream(200, b'{"data":[{"embedding":[0.5]}]}')).pool.sent
    assert sent[0]["url"] == "https://api.openai.com/v1/embeddings"


RELAYED = {"/v1/embeddings": b"openai/e", "/v1/messages/count_tokens": b"claude/c"}  # path -> a model of its protocol


def relayed(path: str) -> Exchange:
    return Exchange("POST", path, b'{"model":"%s","input":"a","messages":[]}' % RELAYED[path])


NO_ANSWERS = [
    (b"<html>sign in</html>", 502, "not a JSON object"),
    (b'{"data":[{"embedding":[0.5,0.', 502, "not a JSON object"),
    (b'{"data":[{"embedding":[0.5]}', 502, "not a JSON object"),
    (b'{"error":{"message":"no such plan","code":403}}', 403, "no such plan"),
]


@pytest.mark.parametrize(("data", "status", "message"), NO_ANSWERS)
@pytest.mark.parametrize("path", RELAYED)
def test_a_relayed_count_or_embedding_is_an_answer_or_an_error(
    play: Callable[..., Room], path: str, data: bytes, status: int, message: str
) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(relayed(path))
        assert exchange.status == status and message in exchange.json["error"]["message"]

    play(story, Upstream(200, data))


@pytest.mark.parametrize(
    "data", [b'{"data":[{"embedding":[0.5]}],"note":"%s"}\n', b'{"data":[{"embedding":[0.5]}],"note":"{%s"}']
)
@pytest.mark.parametrize("path", RELAYED)
def test_a_relayed_count_or_embedding_holds_no_key(play: Callable[..., Room], path: str, data: bytes) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(relayed(path))
        assert exchange.status == 200 and exchange.out == data % b"***"

    play(story, Upstream(200, data % KEY.encode()))


@pytest.mark.parametrize("wrong", [UpstreamFailed("the disk is gone"), KeyError("x")])
def test_an_answer_in_pieces_that_breaks_off_has_no_second_answer_in_it(play: Callable[..., Room], wrong: Exception) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"first\n"
        raise wrong

    async def export(request: ManagementRequest) -> ManagementResponse:
        return ManagementResponse(rows(), headers=[("content-type", "text/csv")])

    async def story(room: Room) -> None:
        room.gateway.router = Router([Route("GET", "monitor/export.csv", export)])
        exchange = await room.ask(Exchange("GET", "/monitor/export.csv"))
        assert exchange.status == 200 and exchange.out == b"first\n" and exchange.aborted and not exchange.ended

    play(story)


def test_a_request_keeps_the_config_that_it_began_with(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        class Swapping(Exchange):
            async def read_body(self, limit: int) -> bytes:
                room.gateway.swap(prepare(config.parse({})))
                return await super().read_body(limit)

        old = chat()
        exchange = Swapping("POST", "/v1/chat/completions", old.body_in)
        assert (await room.ask(exchange)).status == 200
        assert (await room.ask(chat())).status == 404

    play(story, Upstream(200, ANSWER))


def test_an_internal_fault_is_a_500_without_its_text(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        exchange = await room.ask(chat())
        assert exchange.status == 500
        assert "prompt" not in exchange.out.decode()

    room = play(story, RuntimeError("a prompt"))
    assert "RuntimeError at fakes.py" in room.lines
    assert "a prompt" not in room.lines


# -- pages of other origins

OWN_PAGE = ("origin", "http://127.0.0.1:8000")
OTHER_PAGES = ("http://localhost:3000", "https://app.example", "null")


@pytest.mark.parametrize("origins", [[], ["*"], ["https://app.example"]])
@pytest.mark.parametrize("origin", OTHER_PAGES)
def test_a_page_of_another_origin_never_manages_without_a_key(
    play: Callable[..., Room], origin: str, origins: list[str]
) -> None:
    async def handler(request: ManagementRequest) -> ManagementResponse:
        return ManagementResponse({"made": True})

    async def story(room: Room) -> None:
        room.gateway.router = Router([Route("POST", "api-keys", handler), Route("GET", "monitor/summary", handler)])
        for method, path in (("POST", "/api-keys"), ("GET", "/v1/monitor/summary")):
            exchange = await room.ask(Exchange(method, path, b"{}", [("origin", origin)]))
            assert exchange.status == 403, path
            assert (await room.ask(Exchange(method, path, b"{}", [OWN_PAGE]))).status == 200
            assert (await room.ask(Exchange(method, path, b"{}"))).status == 200, "programs send no Origin"

    play(story, cors_origins=origins)


def test_a_star_never_lets_a_page_read_what_management_answers(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        for path, allowed in (("/v1/models", True), ("/api-keys", False), ("/v1/api-keys", False), ("/monitor/summary", False)):
            headers = [("origin", "https://app.example"), ("access-control-request-method", "POST")]
            exchange = await room.ask(Exchange("OPTIONS", path, b"", headers))
            assert ("access-control-allow-origin" in exchange.out_headers) is allowed, path

    play(story, cors_origins=["*"])


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere"])
def test_no_browser_guesses_what_an_answer_is(play: Callable[..., Room], path: str) -> None:
    async def story(room: Room) -> None:
        assert (await room.ask(Exchange("GET", path))).out_headers["x-content-type-options"] == "nosniff"

    play(story)


def test_our_own_headers_count_where_an_upstream_sends_them_too(play: Callable[..., Room]) -> None:
    async def story(room: Room) -> None:
        for extra in ("", ', "stream": true'):
            told = (await room.ask(chat(extra=extra))).out_headers
            assert told["x-llm-router-model"] == "openai/gpt-x" and told["x-request-id"] != "theirs"
            assert "x-internal" not in told

    theirs = {"x_llm_router_model": "theirs", "x_internal": "host-7", "x_request_id": "theirs"}
    play(story, Upstream(200, ANSWER, **theirs), Upstream(200, [FIRST, TEXT, LAST, DONE], **STREAM, **theirs))


@pytest.mark.parametrize("extra", ["", ', "stream": true'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_key_that_an_upstream_repeats_in_its_answer_is_masked(play: Callable[..., Room], path: str, extra: str) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY).encode()

    async def story(room: Room) -> None:
        for _ in range(2):
            body = f'{{"model":"openai/gpt-x","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]{extra}}}'
            exchange = await room.ask(Exchange("POST", path, body.encode()))
            assert b"***" in exchange.out and KEY.encode() not in exchange.out and escaped not in exchange.out

    def told(key: bytes) -> Upstream:
        if extra:
            return Upstream(200, [FIRST, TEXT.replace(b"hi", b"your key is " + key), LAST, DONE], **STREAM)
        return Upstream(200, ANSWER.replace(b"hi", b"your key is " + key))

    play(story, told(KEY.encode()), told(escaped))
