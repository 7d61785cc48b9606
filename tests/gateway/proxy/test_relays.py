"""Audio, pictures, moderations and ranking: passed on as they are, under keys, limits, groups and the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Exchange, Upstream
from routed import Hosts, Ways, model, play, provider, refusal, trio

from llm_router_gateway.errors import StreamCut
from llm_router_gateway.proxy.recording import call_of

KIND = ("content-type", "multipart/form-data; boundary=b")
SPEECH = b'{"voice":"alloy", "model":"%s","input":"Hello", "odd":1.0e0}'
PICTURE = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 7, "output_tokens": 20, "total_tokens": 27}}


def form(name: str, **more: str) -> bytes:
    fields = "".join(f'--b\r\nContent-Disposition: form-data; name="{each}"\r\n\r\n{value}\r\n' for each, value in more.items())
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\0\1\2\r\n'
    return f'{file}--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{name}\r\n{fields}--b--\r\n'.encode()


def post(path: str, body: bytes | dict[str, Any], *headers: tuple[str, str]) -> Exchange:
    return Exchange("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), list(headers))


def answer(folder: Path, exchange: Exchange, document: dict[str, Any] | None = None, **hosts: Any) -> Ways:
    async def story(ways: Ways) -> None:
        await ways.ask(exchange)

    return play(story, document or trio(), Hosts(**{"a": Upstream(), "b": Upstream(), "c": Upstream(), **hosts}), folder)


JSON_CALLS = [
    ("/v1/images/generations", {"prompt": "a cat"}, PICTURE),
    ("/v1/moderations", {"input": "x"}, {"id": "modr-1", "results": [{"flagged": False}]}),
    ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, {"results": [{"index": 0, "relevance_score": 0.5}]}),
    ("/rerank", {"query": "q", "documents": ["a", "b"]}, {"results": []}),
]


@pytest.mark.parametrize(("path", "body", "said"), JSON_CALLS)
def test_json_passes_but_for_the_models_name(path: str, body: dict[str, Any], said: dict[str, Any], tmp_path: Path) -> None:
    exchange = post(path, {**body, "model": "a/m"})
    ways = answer(tmp_path, exchange, a=Upstream(200, json.dumps(said).encode()))
    assert exchange.status == 200 and exchange.json == said and exchange.out_headers["x-llm-router-model"] == "a/m"
    (sent,) = ways.hosts.sent
    assert sent["url"] == f"http://a.example/v1/{path.removeprefix('/v1').lstrip('/')}"
    assert json.loads(sent["body"]) == {**body, "model": "m"} and sent["headers"]["authorization"] == "Bearer key-a"


def test_sound_passes_piece_by_piece_to_the_byte(tmp_path: Path) -> None:
    exchange = post("/v1/audio/speech", SPEECH % b"a/m")
    ways = answer(tmp_path, exchange, a=Upstream(200, [b"ID3\0", b"", b"\xff\xfb"], content_type="audio/mpeg"))
    assert exchange.out == b"ID3\0\xff\xfb" and exchange.out_headers["content-type"] == "audio/mpeg" and exchange.ended
    assert ways.hosts.sent[0]["body"] == SPEECH % b"m"
    assert "POST /v1/audio/speech 200" in ways.lines


@pytest.mark.parametrize("path", ["audio/transcriptions", "audio/translations", "images/edits", "images/variations"])
def test_a_form_passes_but_for_the_models_name(path: str, tmp_path: Path) -> None:
    exchange = post(f"/v1/{path}", form("a/m", language="en"), KIND)
    ways = answer(tmp_path, exchange, a=Upstream(200, b'{"text":"Hello"}'))
    assert exchange.json == {"text": "Hello"}
    assert ways.hosts.sent[0]["body"] == form("m", language="en")
    assert ways.hosts.sent[0]["headers"]["content-type"] == KIND[1]


TRACE = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")  # pragma: allowlist secret


@pytest.mark.parametrize("body", [form("a/m"), SPEECH % b"a/m"])
def test_the_trace_of_the_caller_goes_on(body: bytes, tmp_path: Path) -> None:
    exchange = post("/v1/audio/transcriptions", body, TRACE, *([KIND] if body.startswith(b"--b") else []))
    ways = answer(tmp_path, exchange, a=Upstream(200, b'{"text":"Hi"}'))
    assert ways.hosts.sent[0]["headers"]["traceparent"] == TRACE[1]


@pytest.mark.parametrize("body", [form("g"), SPEECH % b"g"])
def test_the_next_member_answers_after_a_failure_before_the_first_piece(body: bytes, tmp_path: Path) -> None:
    exchange = post("/v1/audio/transcriptions", body, *([KIND] if body.startswith(b"--b") else []))
    ways = answer(tmp_path, exchange, a=refusal(503), b=StreamCut("gone"), c=Upstream(200, b'{"text":"Hi"}'))
    assert exchange.json == {"text": "Hi"} and ways.hosts.hosts == ["a", "b", "c"]
    assert exchange.out_headers["x-llm-router-attempts"] == "3"


def test_an_answer_that_breaks_off_ends_without_its_end(tmp_path: Path) -> None:
    exchange = post("/v1/audio/speech", SPEECH % b"g")
    pieces = [b"RIFF", StreamCut("the upstream closed the connection")]
    ways = answer(tmp_path, exchange, a=Upstream(200, pieces, content_type="audio/wav"))
    (broken,) = ways.hosts.given
    assert exchange.out == b"RIFF" and exchange.aborted and not exchange.ended and broken.closed
    assert "error=stream_cut" in ways.lines


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", "audio/mpeg", "answer is empty"),
        ([], "text/event-stream", "answer is empty"),
        (b"<html>", "text/html", "base_url"),
    ],
)
def test_no_sound_and_a_page_are_no_answer(body: Any, kind: str, message: str, tmp_path: Path) -> None:
    exchange = post("/v1/audio/speech", SPEECH % b"g")
    answer(tmp_path, exchange, a=Upstream(200, body, content_type=kind), b=Upstream(200, b"RIFF", content_type="audio/wav"))
    assert exchange.status == 200 and exchange.out == b"RIFF"
    alone = post("/v1/audio/speech", SPEECH % b"a/m")
    answer(tmp_path, alone, a=Upstream(200, body, content_type=kind))
    assert alone.status == 502 and message in alone.json["error"]["message"]


@pytest.mark.parametrize(("pieces", "said"), [([b"", b""], b""), ([b"say key-a-0123", b"456789\n"], b"say ***\n")])
def test_a_transcript_in_text_may_be_empty_and_holds_no_key(pieces: list[bytes], said: bytes, tmp_path: Path) -> None:
    exchange = post("/v1/audio/transcriptions", form("a/m", response_format="text"), KIND)
    document = {"providers": [provider("a", api_key="key-a-0123456789")], "models": [model("a")]}  # pragma: allowlist secret
    answer(tmp_path, exchange, document, a=Upstream(200, pieces, content_type="text/plain; charset=utf-8"))
    assert (exchange.status, exchange.out) == (200, said) and exchange.out_headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("kind", ["", "application/x-ndjson", "audio/wav"])
def test_a_key_in_bytes_that_are_not_read_is_masked_wherever_they_are_cut(kind: str, tmp_path: Path) -> None:
    exchange = post("/v1/audio/speech", SPEECH % b"a/m")
    document = {"providers": [provider("a", api_key="key-a-0123456789")], "models": [model("a")]}  # pragma: allowlist secret
    pieces = [b"RIFF key-a-", b"0123", b"456789 key-a-01"]
    answer(tmp_path, exchange, document, a=Upstream(200, pieces, content_type=kind))
    assert exchange.out == b"RIFF *** key-a-01" and exchange.ended


def test_events_pass_and_their_usage_is_kept(tmp_path: Path) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
    last = {"type": "transcript.text.done", "text": "Hello", "usage": usage}
    events = [b'data: {"type":"transcript.text.delta","delta":"Hel', b'lo"}\n\n', b"data: %b\n\n" % json.dumps(last).encode()]
    exchange = post("/v1/audio/transcriptions", form("a/m", stream="true"), KIND)
    ways = answer(tmp_path, exchange, a=Upstream(200, events, content_type="text/event-stream"))
    assert exchange.out == b"".join(events) and "in=14 out=45" in ways.lines


def test_a_key_that_is_spread_over_events_is_masked(tmp_path: Path) -> None:
    events = [b'data: {"type":"transcript.text.delta","delta":"%s"}\n\n' % part for part in (b"key-a-", b"0123", b"456789 ok")]
    exchange = post("/v1/audio/transcriptions", form("a/m", stream="true"), KIND)
    document = {"providers": [provider("a", api_key="key-a-0123456789")], "models": [model("a")]}  # pragma: allowlist secret
    answer(tmp_path, exchange, document, a=Upstream(200, events, content_type="text/event-stream"))
    said = "".join(json.loads(line[6:])["delta"] for line in exchange.out.decode().splitlines() if line)
    assert said == "*** ok"


def test_a_picture_s_usage_is_on_the_record(tmp_path: Path) -> None:
    exchange = post("/v1/images/generations", {"prompt": "a cat", "model": "a/m"})
    calls: list[Any] = []

    async def story(ways: Ways) -> None:
        ways.gateway.on_call = lambda call, bodies: calls.append(call)
        await ways.ask(exchange)

    play(story, trio(), Hosts(a=Upstream(200, json.dumps(PICTURE).encode())), tmp_path)
    assert call_of is not None and calls[0].kind == "images" and calls[0].protocol == "openai"
    assert (calls[0].input_tokens, calls[0].output_tokens) == (7, 20)


REFUSED = [
    (post("/v1/audio/speech", b'{"input":"x"}'), 400, "model is missing"),
    (post("/v1/audio/transcriptions", b"--b--", ("content-type", "multipart/form-data")), 400, "boundary"),
    (post("/v1/images/generations", b"{"), 400, "not a JSON object"),
    (post("/v1/rerank", {"model": "nobody/m"}), 404, "nobody/m"),
    (post("/v1/rerank", {"model": "claude/m"}), 400, "providers of OpenAI's protocol alone"),
    (Exchange("GET", "/v1/audio/speech"), 405, "this path takes POST"),
]


@pytest.mark.parametrize(("exchange", "status", "message"), REFUSED)
def test_what_cannot_be_passed_on_is_refused_with_its_reason(
    exchange: Exchange, status: int, message: str, tmp_path: Path
) -> None:
    document = {"providers": [provider("claude", api="anthropic"), provider("a")], "models": [model("claude"), model("a")]}
    answer(tmp_path, exchange, document, claude=Upstream())
    assert exchange.status == status and message in exchange.json["error"]["message"], exchange.out


def test_an_error_of_the_upstream_goes_on_as_it_is_and_without_a_key(tmp_path: Path) -> None:
    exchange = post("/v1/images/generations", {"prompt": "x", "model": "a/m"})
    body = b'{"error":{"message":"bad key key-a-0123456789","type":"invalid_request_error","code":"moderation_blocked"}}'
    document = {"providers": [provider("a", api_key="key-a-0123456789")], "models": [model("a")]}  # pragma: allowlist secret
    answer(tmp_path, exchange, document, a=Upstream(400, body))
    assert exchange.status == 400 and exchange.json["error"]["code"] == "moderation_blocked"
    assert b"key-a-0123456789" not in exchange.out
    again = post("/v1/images/generations", {"prompt": "x", "model": "a/m"})
    answer(tmp_path, again, document, a=Upstream(200, body))
    assert again.status >= 400 and b"key-a-0123456789" not in again.out


KEYS = [{"name": "small", "key": "sk-small-0123456789", "parameter_limits": {"n": 2}, "allowed_models": ["a/*"]}]
AS_SMALL = ("authorization", "Bearer sk-small-0123456789")


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        (b'{"prompt":"x","model":"a/m","n":9}', (), b'"n":2'),
        (b'{"prompt":"x","model":"a/m","n":1}', (), b'"n":1'),
        (form("a/m", n="9"), (KIND,), b'name="n"\r\n\r\n2\r\n'),
        (form("a/m", n="1"), (KIND,), b'name="n"\r\n\r\n1\r\n'),
    ],
)
def test_bounds_of_a_key_hold_for_pictures(body: bytes, kind: Any, sent: bytes, tmp_path: Path) -> None:
    exchange = post("/v1/images/edits", body, AS_SMALL, *kind)
    ways = answer(tmp_path, exchange, trio(keys=KEYS), a=Upstream(200, json.dumps(PICTURE).encode()))
    assert exchange.status == 200, exchange.out
    assert sent in ways.hosts.sent[0]["body"]


NO_FILE = form("a/m", n="9").replace(b'name="n"', b'name="n"; filename=""')  # some servers take it for a text


@pytest.mark.parametrize("body", [NO_FILE, form("a/m", n="9" + " " * 70_000)])
def test_a_bounded_field_that_servers_read_differently_is_bounded_or_refused(body: bytes, tmp_path: Path) -> None:
    exchange = post("/v1/images/edits", body, AS_SMALL, KIND)
    ways = answer(tmp_path, exchange, trio(keys=KEYS), a=Upstream(200, json.dumps(PICTURE).encode()))
    assert exchange.status == 400 or b"\r\n\r\n2\r\n" in ways.hosts.sent[0]["body"], exchange.out


@pytest.mark.parametrize("body", [form("b/m"), form("a/m", models="b/m"), form("a/m", N="9")])
def test_a_form_cannot_widen_what_a_key_may_do(body: bytes, tmp_path: Path) -> None:
    exchange = post("/v1/images/edits", body, AS_SMALL, KIND)
    ways = answer(tmp_path, exchange, trio(keys=KEYS))
    assert exchange.status in (400, 403) and not ways.hosts.sent, exchange.out
