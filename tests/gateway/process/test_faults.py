"""What goes wrong around the gateway: upstreams that break in every way, callers that vanish, drip or flood, no files left.

Every test ends with a look at what is left over: no connection to the upstream, no file more than before. The last one asks
the process itself how many requests it believes to be open.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from running import (
    PAIRS,
    PLAIN,
    PROTOCOLS,
    ROOTS,
    STREAM,
    WAIT_S,
    Act,
    Answer,
    Process,
    Upstream,
    ask,
    begun_stream,
    chunked,
    close,
    drips,
    half_close,
    hold,
    http,
    is_error,
    reset,
    sends,
    text_of,
    until,
    verdict,
    whole_stream,
)

pytestmark = pytest.mark.slow

Start = Callable[..., Process]

LONG_S = 30.0  # the timeouts of the providers called to-..., which only a failure reaches
SHORT_S = 0.6  # those that run out: nothing has to happen within it
BODY_LIMIT = 1_000_000
GIGABYTE = 1_000_000_000
SOON_S = LONG_S / 2  # for what must happen at once, on a very busy machine
SERVER = ("[server]\nretry_alone_s = 0\nkeepalive_s = 60\nconnect_timeout_s = 15\ndrain_s = 0.1\n"
          f"max_body_bytes = {BODY_LIMIT}\n")  # fmt: skip
SPOKEN = [(caller, target, stream) for caller, target in PAIRS for stream in (False, True)]
PLAIN_DATA = {protocol: http(json.dumps(value).encode()) for protocol, value in PLAIN.items()}
STREAM_DATA = {protocol: whole_stream(protocol) for protocol in PROTOCOLS}


def provider(name: str, api: str, url: str, first_s: float, gap_s: float) -> str:
    limits = f"timeout = {first_s}\nfirst_output_timeout_s = {first_s}\noutput_gap_timeout_s = {gap_s}\n"
    root = url + ROOTS[api]
    return f'[[providers]]\nname = "{name}"\napi = "{api}"\nbase_url = "{root}"\napi_key = "k"\n[providers.settings]\n{limits}'


# Time until the first output, and between two: to-X has enough of both, late-X too little of the first, gap-X of the second.
TIMES = {"to": (LONG_S, LONG_S), "late": (SHORT_S, LONG_S), "gap": (LONG_S, SHORT_S)}


def config(url: str, server: str = SERVER) -> str:
    return server + "".join(provider(f"{name}-{api}", api, url, *times) for name, times in TIMES.items() for api in PROTOCOLS)


@pytest.fixture(scope="module")
def process(module_start: Start, upstream: Upstream) -> Iterator[Process]:
    made = module_start(config(upstream.url))
    upstream.does(sends(PLAIN_DATA["openai"]))
    assert made.chat("openai", "to-openai/m").status == 200  # what is loaded late is loaded
    until(lambda: upstream.open == 0)
    yield made
    made.signal(signal.SIGTERM)
    assert made.ended() == 0
    assert "stopping: 0 open requests" in made.log


@pytest.fixture
def gateway(process: Process, upstream: Upstream) -> Iterator[Process]:
    """The process of this file; when the test is over it has no connection and no file more than before."""
    before = process.open_files()
    yield process
    until(lambda: upstream.open == 0, "no connection to the upstream is left")
    until(lambda: process.open_files() <= before, "no file is left open")
    upstream.does(sends(PLAIN_DATA["openai"]))
    assert text_of("openai", process.chat("openai", "to-openai/m").json) == "yes"  # it goes on serving
    until(lambda: upstream.open == 0)


def outcome(caller: str, answer: Answer, stream: bool) -> str:
    """ "whole" or "error"; anything else, and anything that is not in the caller's protocol, fails."""
    if answer.status != 200:
        assert is_error(caller, answer.json), answer
        return "error"
    if not stream:
        assert text_of(caller, answer.json) == "yes", answer
        return "whole"
    told = verdict(caller, answer.data)
    assert told in ("whole", "error"), answer
    return told


# ------------------------------------------------------------------------------------------------ upstreams that break


def test_an_upstream_that_is_not_there(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    gateway = start(config(url))
    for caller, target, stream in SPOKEN:
        answer = gateway.chat(caller, f"to-{target}/m", stream=stream)
        assert answer.status == 502 and is_error(caller, answer.json)
        assert b"connection refused" in answer.data


def test_an_upstream_that_accepts_no_connection(start: Start) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # what the system queues all the same
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        hasty = SERVER.replace("connect_timeout_s = 15", "connect_timeout_s = 0.3")
        gateway = start(config(f"http://127.0.0.1:{full.getsockname()[1]}", hasty))
        before = gateway.open_files()
        answers = at_once(lambda kind: gateway.chat(kind[0], f"to-{kind[1]}/m", stream=kind[2]), SPOKEN)
        for (caller, *_), answer in answers.items():
            assert answer.status == 504 and is_error(caller, answer.json), answer
            assert b"no connection within 0.3 s" in answer.data
        until(lambda: gateway.open_files() <= before)


def at_once(ask_one: Callable[[Any], Any], kinds: list[Any]) -> dict[Any, Any]:
    """What each gives, all asked together."""
    found: dict[Any, Any] = {}

    def run(kind: Any) -> None:
        found[kind] = ask_one(kind)

    threads = [threading.Thread(target=run, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(found) == len(kinds)
    return found


EVENTS_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\ncontent-", EVENTS_HEAD, EVENTS_HEAD + b"9\r\ndata"])
def test_an_upstream_that_falls_silent_before_it_said_anything(data: bytes, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(data, hold))
    answers = at_once(lambda kind: gateway.chat(kind[0], f"late-{kind[1]}/m", stream=kind[2]), SPOKEN)
    for (caller, *_), answer in answers.items():
        assert answer.status == 504 and is_error(caller, answer.json), answer


def target_of(asked: Any) -> str:
    """Whose protocol a request is in."""
    path = asked.line.split()[1]
    known = {"messages": "anthropic", "responses": "responses"}
    return "gemini" if ":" in path else known.get(path.rpartition("/")[2], "openai")


def begins(sock: socket.socket, asked: Any) -> None:
    """The first word of a stream, then silence."""
    sock.sendall(begun_stream(target_of(asked)))
    hold(sock)


STREAMED = [(caller, target, array) for caller, target in PAIRS for array in (False, True) if caller == "gemini" or not array]


def test_an_upstream_that_falls_silent_in_mid_stream(gateway: Process, upstream: Upstream) -> None:
    upstream.does(begins)
    answers = at_once(lambda kind: gateway.chat(kind[0], f"gap-{kind[1]}/m", stream=True, array=kind[2]), STREAMED)
    for (caller, *_), answer in answers.items():
        assert (answer.status, verdict(caller, answer.data)) == (200, "error"), answer


def test_signs_of_life_are_no_output(gateway: Process, upstream: Upstream) -> None:
    def lives(begun: bool) -> Act:
        def act(sock: socket.socket, asked: Any) -> None:
            sock.sendall(begun_stream(target_of(asked)) if begun else chunked().removesuffix(b"0\r\n\r\n"))
            sock.settimeout(0.02)
            while True:
                sock.sendall(b"9\r\n: alive\n\n\r\n")
                with suppress(TimeoutError):
                    if not sock.recv(1):
                        return

        return act

    for begun, name, status in ((False, "late", 504), (True, "gap", 200)):
        upstream.does(lives(begun))
        answers = at_once(lambda pair, name=name: gateway.chat(pair[0], f"{name}-{pair[1]}/m", stream=True), PAIRS)
        for (caller, _), answer in answers.items():
            assert (answer.status, outcome(caller, answer, True)) == (status, "error"), answer


@pytest.mark.parametrize("name", ["to", "late"])
def test_a_caller_that_waits_gets_signs_of_life_and_then_the_error(name: str, start: Start, upstream: Upstream) -> None:
    """The upstream is silent until every caller has had two signs, and breaks off then; or until the gateway gives it up."""
    gateway = start(config(upstream.url, SERVER.replace("keepalive_s = 60", "keepalive_s = 0.03")))
    had_two, over = threading.Semaphore(0), threading.Event()
    upstream.does(sends(b"", (lambda sock: over.wait(WAIT_S)) if name == "to" else hold))

    def listen(kind: tuple[str, str, bool]) -> Answer:
        caller, target, array = kind
        sign, data = {"anthropic": b"event: ping"}.get(caller, b"\n"), b""
        with gateway.streaming(caller, f"{name}-{target}/m", array=array) as response:
            while data.count(sign) < 2 and (piece := response.read1()):
                data += piece
            had_two.release()
            if name == "to":
                assert data.count(sign) > 1, data
            return Answer(response.status, {}, data + response.read())

    def break_off() -> None:
        if all(had_two.acquire(timeout=WAIT_S) for _ in STREAMED):
            over.set()

    threading.Thread(target=break_off, daemon=True).start()
    for (caller, _, array), answer in at_once(listen, STREAMED).items():
        if name == "late" and answer.status == 504:  # the gateway had no turn for a sign before the time was up
            assert is_error(caller, answer.json), answer
            continue
        assert (answer.status, verdict(caller, answer.data)) == (200, "error"), answer
        assert not array or json.loads(answer.data)


BREAKS = {"reset": reset, "close": close, "half-close": half_close}
EVERY_BYTE = [(caller, target, 1 if caller == target == "openai" else 3) for caller, target in PAIRS]


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize(("caller", "target", "step"), EVERY_BYTE)
def test_a_plain_answer_that_breaks_at_any_byte(
    how: str, caller: str, target: str, step: int, gateway: Process, upstream: Upstream
) -> None:
    data = PLAIN_DATA[target]
    for cut in [*range(0, len(data), step), len(data) - 1, len(data)]:
        upstream.does(sends(data[:cut], BREAKS[how]))
        answer = gateway.chat(caller, f"to-{target}/m")
        assert answer.status == (200 if cut == len(data) else 502), (cut, answer)
        outcome(caller, answer, False)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize(("caller", "target", "step"), EVERY_BYTE)
def test_a_stream_that_breaks_at_any_byte(
    how: str, caller: str, target: str, step: int, gateway: Process, upstream: Upstream
) -> None:
    data = STREAM_DATA[target]
    first, second, last = STREAM[target]
    had_word = data.index(first[-1]) + len(first[-1])
    mark = (last or second)[-1]
    said_all = data.index(mark) + len(mark)
    spoken = data.index(b"0\r\n\r\n", said_all)
    for cut in [*range(0, len(data), step * 2 - 1), said_all, spoken, len(data)]:
        upstream.does(sends(data[:cut], BREAKS[how]))
        answer = gateway.chat(caller, f"to-{target}/m", stream=True, array=caller == "gemini" and cut % 2 == 1)
        told = outcome(caller, answer, True)
        if cut < had_word - 2:
            assert answer.status == 502, (cut, answer)
        elif cut >= had_word:
            assert answer.status == 200, (cut, answer)
        if cut < said_all - len(b"".join(last or second)):
            assert told == "error", (cut, answer)
        elif cut >= said_all:
            assert told == "whole", (cut, answer)  # it had said so: nothing of the answer is missing


@pytest.mark.parametrize("target", PROTOCOLS)
def test_a_broken_stream_of_gemini_ends_in_the_error_alone_in_a_chunk_of_its_own(
    target: str, gateway: Process, upstream: Upstream
) -> None:
    """Google's SDKs for JavaScript and Go look for errors outside of events: Gemini CLI took half an answer for a whole one."""
    first, _, _ = STREAM[target]
    upstream.does(sends(chunked(*first)[: -len(b"0\r\n\r\n")], close))
    with gateway.streaming("gemini", f"to-{target}/m") as response:
        pieces = []
        while piece := response.read1():  # a chunk each
            pieces.append(piece)
    assert [is_error("gemini", json.loads(piece)) for piece in pieces if piece.startswith(b"{")] == [True]
    assert pieces[-1].startswith(b"{")
    assert verdict("gemini", b"".join(pieces)) == "error"


HEAD = b"HTTP/1.1 200 OK\r\n"
GARBAGE: dict[str, bytes] = {
    "bytes": bytes(range(256)) * 4,
    "zeros": b"\0" * 5_000,
    "TLS": b"\x15\x03\x01\x00\x02\x02\x28",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status 99": b"HTTP/1.1 099 What\r\n\r\n",
    "switches protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "interim without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100,
    "head without end": HEAD + b"x-a: b\r\n" * 20_000,
    "line without end": HEAD + b"x-a: " + b"b" * 200_000,
    "two lengths": HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}}",
    "length and chunked": HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no number as chunk": EVENTS_HEAD + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunk longer than told": EVENTS_HEAD + b"2\r\n{}}\r\n0\r\n\r\n",
    "no body": http(b""),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "206": http(b"{}", status="206 Partial"),
    "HTML": http(b"<!doctype html><title>Log in</title>", kind="text/html"),
    "text": http(b"no healthy upstream", kind="text/plain"),
    "gzip": http(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", content_encoding="gzip"),
    "half JSON": http(b'{"choices": [{"mess'),
    "null": http(b"null"), "number": http(b"5"), "list": http(b"[]"), "text as JSON": http(b'"hi"'),
    "empty object": http(b"{}"),
    "no UTF-8": http(b'{"choices": "\xff\xfe"}'),
    "nested": http(b"[" * 100_000), "nested objects": http(b'{"a":' * 50_000),
    "NaN": http(b'{"choices": NaN}'),
    "error as text": http(b'{"error": "broken"}'), "error as number": http(b'{"error": 5}'),
    "error as list": http(b'{"error": [{"error": {"message": "m", "code": "x"}}]}'),
    "refusal without a body": http(b"", status="500 No"), "refusal in HTML": http(b"<h1>502</h1>", status="502 Bad"),
    "refusal of a list": http(b'[{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}]', status="429 No"),
    "refusal of binary": http(bytes(range(256)), status="400 No"), "status 999": http(b"{}", status="999 What"),
    "empty stream": chunked(), "stream of spaces": chunked(b"\n\n\n\n"), "stream of comments": chunked(b": hi\n\n"),
    "stream of bytes": chunked(bytes(range(256)) * 10), "stream of no JSON": chunked(b"data: {\n\n"),
    "stream of null": chunked(b"data: null\n\n"),
    "stream of lists": chunked(b"data: [[]]\n\n"), "stream of numbers": chunked(b"data: 5\n\n", b"data: 1e999\n\n"),
    "stream of nesting": chunked(b"data: " + b"[" * 100_000 + b"\n\n"), "stream that only ends": chunked(b"data: [DONE]\n\n"),
    "stream of strange fields": chunked(b'data: {"choices": [5], "candidates": [5], "type": 5}\n\n'),
    "stream of nulls": chunked(b'data: {"choices": null, "candidates": null, "type": null, "error": null}\n\n'),
    "stream of odd deltas": chunked(b'data: {"choices": [{"delta": 5}], "candidates": [{"content": 5}], '
                                    b'"type": "content_block_delta", "index": "x", "delta": 7}\n\n'),
    "JSON as a stream": http(b'{"choices": []}', kind="text/event-stream"),
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_an_upstream_that_answers_garbage(name: str, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(GARBAGE[name]))
    for caller, target, stream in SPOKEN:
        answer = gateway.chat(caller, f"to-{target}/m", stream=stream)
        if answer.status == 200 and caller == target and (not stream or name == "stream that only ends"):
            continue  # a JSON object, or an end, in the caller's own protocol is the upstream's word
        assert outcome(caller, answer, stream) == "error", (caller, target, stream, answer)
        assert answer.status < 600 and answer.status != 504  # it was over, and nothing waited for more


def test_an_event_without_end_is_not_kept(gateway: Process, upstream: Upstream) -> None:
    piece = b"%x\r\n%b\r\n" % (65_536, b"x" * 65_536)

    def act(sock: socket.socket, asked: Any) -> None:
        sock.sendall(begun_stream(target_of(asked)) + b"6\r\ndata: \r\n")
        for _ in range(1_000):  # 64 MB, when nobody stops it
            sock.sendall(piece)

    upstream.does(act)
    for caller in ("openai", "anthropic"):
        answer = gateway.chat(caller, "to-openai/m", stream=True)
        assert (answer.status, verdict(caller, answer.data)) == (200, "error")


@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_an_upstream_that_drips(caller: str, target: str, gateway: Process, upstream: Upstream) -> None:
    upstream.does(drips(PLAIN_DATA[target], 0.0002))
    assert outcome(caller, gateway.chat(caller, f"to-{target}/m"), False) == "whole"
    upstream.does(drips(STREAM_DATA[target], 0.0002))
    assert outcome(caller, gateway.chat(caller, f"to-{target}/m", stream=True), True) == "whole"


def test_a_half_closed_upstream_that_said_all_is_believed_and_let_go(gateway: Process, upstream: Upstream) -> None:
    for caller, target in PAIRS:
        upstream.does(sends(PLAIN_DATA[target], half_close))
        assert outcome(caller, gateway.chat(caller, f"to-{target}/m"), False) == "whole"
        upstream.does(sends(STREAM_DATA[target], half_close))
        assert outcome(caller, gateway.chat(caller, f"to-{target}/m", stream=True), True) == "whole"


def test_a_kept_connection_that_died_is_replaced_once_and_nothing_is_sent_twice(gateway: Process, upstream: Upstream) -> None:
    upstream.does(lambda sock, asked: sock.sendall(PLAIN_DATA["openai"]) or True)
    assert gateway.chat("openai", "to-openai/m").status == 200
    assert upstream.open == 1  # kept

    def dies_then_answers(sock: socket.socket, asked: Any) -> None:
        if len(upstream.requests) > 1:
            sock.sendall(PLAIN_DATA["openai"])

    upstream.does(dies_then_answers)
    assert gateway.chat("openai", "to-openai/m").status == 200
    assert len(upstream.requests) == 2
    upstream.does(sends(b""))
    assert gateway.chat("openai", "to-openai/m").status == 502
    assert len(upstream.requests) == 1  # a new connection that dies is no reason to ask again


def test_an_answer_before_the_request_was_read(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(PLAIN_DATA["openai"] + PLAIN_DATA["openai"]))  # and one that nobody asked for
    for _ in range(3):
        assert outcome("openai", gateway.chat("openai", "to-openai/m"), False) == "whole"
        assert text_of("openai", gateway.chat("openai", "to-openai/m").json) == "yes"


# ----------------------------------------------------------------------------------------------------- callers that go


def request_bytes(caller: str, model: str, *, stream: bool = False, text: str = "hi", length: int | None = None) -> bytes:
    asked = ask(caller, model, stream=stream, text=text)
    size = len(asked.data) if length is None else length
    head = f"POST {asked.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    return head.encode() + asked.data


def vanish(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


VANISH = ("close", "reset")


@pytest.mark.parametrize("how", VANISH)
def test_a_caller_gone_within_its_request_reaches_no_upstream(how: str, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(PLAIN_DATA["openai"]))
    data = request_bytes("openai", "to-openai/m")
    for cut in range(0, len(data), 7):
        with gateway.connect() as sock:
            sock.sendall(data[:cut])
            vanish(sock, how)
    assert gateway.get("/health").status == 200
    assert upstream.requests == []


@pytest.mark.parametrize("how", VANISH)
@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_a_caller_gone_while_it_waits_ends_the_upstream_at_once(
    how: str, caller: str, target: str, gateway: Process, upstream: Upstream
) -> None:
    half, begun = PLAIN_DATA[target][:-9], EVENTS_HEAD + b"9\r\nda"
    for stream, said in ((False, b""), (False, half), (True, b""), (True, EVENTS_HEAD), (True, begun)):
        upstream.does(sends(said, hold))
        with gateway.connect() as sock:
            sock.sendall(request_bytes(caller, f"to-{target}/m", stream=stream))
            until(lambda: len(upstream.requests) == 1, "the upstream is asked")
            vanish(sock, how)
        until(lambda: upstream.open == 0, "the upstream is let go", SOON_S)


@pytest.mark.parametrize("how", VANISH)
@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_a_caller_gone_in_mid_stream_ends_the_upstream_at_once(
    how: str, caller: str, target: str, gateway: Process, upstream: Upstream
) -> None:
    upstream.does(sends(begun_stream(target), hold))
    with gateway.connect() as sock:
        sock.settimeout(WAIT_S)
        sock.sendall(request_bytes(caller, f"to-{target}/m", stream=True))
        data = b""
        while b"y" not in data.partition(b"\r\n\r\n")[2]:
            data += sock.recv(65536)
        assert upstream.open == 1
        vanish(sock, how)
    until(lambda: upstream.open == 0, "the upstream is let go", SOON_S)


def test_many_callers_gone_together(gateway: Process, upstream: Upstream) -> None:
    upstream.does(begins)
    with ExitStack() as stack:
        socks = [stack.enter_context(gateway.connect()) for _ in range(100)]
        for number, sock in enumerate(socks):
            caller, target = PAIRS[number % len(PAIRS)]
            sock.sendall(request_bytes(caller, f"to-{target}/m", stream=number % 2 == 0))
        until(lambda: upstream.open == 100)
        for number, sock in enumerate(socks):
            vanish(sock, VANISH[number % 2])
    until(lambda: upstream.open == 0, "all are let go", SOON_S)
    until(lambda: gateway.log.count("error=client_gone") >= 100, "all are logged")


@pytest.mark.parametrize(("caller", "target"), [("openai", "openai"), ("anthropic", "openai")])
def test_a_caller_that_reads_nothing_slows_the_upstream_and_fills_no_memory(
    caller: str, target: str, gateway: Process, upstream: Upstream
) -> None:
    """The upstream has 100 MB to say; what it gets rid of is what the buffers of two connections hold."""
    sent = [0]
    event = STREAM["openai"][0][0].replace(b'"y"', b'"' + b"y" * 10_000 + b'"')
    block = b"%x\r\n%b\r\n" % (len(event), event)

    def act(sock: socket.socket, _: Any) -> None:
        sock.sendall(chunked().removesuffix(b"0\r\n\r\n"))
        for _ in range(10_000):
            sock.sendall(block)
            sent[0] += len(block)

    upstream.does(act)
    before = gateway.peak_kib()
    with gateway.connect() as sock:
        sock.sendall(request_bytes(caller, f"to-{target}/m", stream=True))
        stalled(sent)
        assert sent[0] < 40_000_000
        assert gateway.peak_kib() - before < 4_096
        assert gateway.get("/health").status == 200
    until(lambda: upstream.open == 0, "the upstream is let go", SOON_S)


def stalled(count: list[int]) -> None:
    """Until the count has begun and stands still for a while."""
    seen, since = 0, time.monotonic()

    def stands() -> bool:
        nonlocal seen, since
        if count[0] != seen or not seen:
            seen, since = count[0], time.monotonic()
        return time.monotonic() - since > 0.2

    until(stands, "the upstream is slowed")


# ---------------------------------------------------------------------------------------------- callers that drip or flood


def received(sock: socket.socket) -> bytes:
    """All until the other side closes, whatever way."""
    sock.settimeout(WAIT_S)
    data = b""
    with suppress(ConnectionError):
        while more := sock.recv(65536):
            data += more
    return data


def test_what_comes_too_slowly_is_answered_408_and_closed(start: Start, upstream: Upstream) -> None:
    upstream.does(sends(PLAIN_DATA["openai"]))
    gateway = start(config(upstream.url), timeouts=f"1,1,1,{WAIT_S},{WAIT_S}")
    before = gateway.open_files()
    head, _, body = request_bytes("anthropic", "to-openai/m", length=5_000).partition(b"\r\n\r\n")
    dripping = {"head": (b"", head), "body": (head + b"\r\n\r\n", body * 9), "nothing": (b"", b"")}
    found: dict[str, bytes] = {}

    def drip(name: str) -> None:
        at_once_, slowly = dripping[name]
        with gateway.connect() as sock:
            sock.sendall(at_once_)
            sock.settimeout(0.02)
            data, answer = list(slowly), b""
            give_up = time.monotonic() + WAIT_S
            while time.monotonic() < give_up:
                with suppress(TimeoutError):
                    answer += sock.recv(65536)
                    break
                if data:
                    sock.sendall(bytes([data.pop(0)]))
            found[name] = answer + received(sock)

    threads = [threading.Thread(target=drip, args=(name,)) for name in dripping]
    for thread in threads:
        thread.start()
    with gateway.connect() as sock:
        sock.sendall(request_bytes("openai", "to-openai/m"))  # whole at once: this caller has a second, too
        assert received(sock).startswith(b"HTTP/1.1 200 ")  # the others do not wait
    for thread in threads:
        thread.join(WAIT_S)
    assert found["head"].startswith(b"HTTP/1.1 408 ")
    assert found["body"].startswith(b"HTTP/1.1 408 ")
    assert is_error("anthropic", json.loads(found["body"].partition(b"\r\n\r\n")[2]))
    assert found["nothing"] == b""
    until(lambda: gateway.open_files() <= before)
    assert len(upstream.requests) == 1


def test_bodies_of_a_gigabyte_are_refused_and_not_kept(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(PLAIN_DATA["openai"]))
    before = gateway.peak_kib()
    kinds = [(protocol, framing) for protocol in PROTOCOLS for framing in ("length", "chunked")]
    for (protocol, _), (sent, answer) in at_once(lambda kind: flood(gateway, *kind), kinds).items():
        assert sent < 64_000_000  # it is not read to its end
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert is_error(protocol, json.loads(answer.partition(b"\r\n\r\n")[2]))
    assert gateway.peak_kib() - before < 12_288  # for six of them: the limit of a body each, and what sockets hold
    assert upstream.requests == []


def flood(gateway: Process, protocol: str, framing: str) -> tuple[int, bytes]:
    """(bytes that could be sent, the answer) of a caller that goes on sending, whatever it is told."""
    piece = b" " * 262_144
    told, block = f"content-length: {GIGABYTE}", piece
    if framing == "chunked":
        told, block = "transfer-encoding: chunked", b"%x\r\n%b\r\n" % (len(piece), piece)
    answers: list[bytes] = []
    sent = 0
    with gateway.connect() as sock:
        sock.sendall(f"POST {ask(protocol, 'to-openai/m').path} HTTP/1.1\r\nhost: localhost\r\n{told}\r\n\r\n".encode())
        reading = threading.Thread(target=lambda: answers.append(received(sock)))
        reading.start()
        with suppress(ConnectionError):
            while sent < GIGABYTE:
                sock.sendall(block)
                sent += len(piece)
        reading.join(WAIT_S)
    return sent, answers[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
def test_a_body_over_the_limit_is_answered_413(protocol: str, framing: str, gateway: Process) -> None:
    path = ask(protocol, f"to-{protocol}/m").path
    size = BODY_LIMIT + 1
    body, told = b" " * size, f"content-length: {size}"
    if framing == "chunked":
        body, told = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body), "transfer-encoding: chunked"
    elif framing == "expect":
        body, told = b"", told + "\r\nexpect: 100-continue"
    with gateway.connect() as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{told}\r\n\r\n".encode() + body)
        answer = received(sock)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert is_error(protocol, json.loads(answer.partition(b"\r\n\r\n")[2]))


@pytest.mark.parametrize(("name", "data", "status"), [
    ("line", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
    ("header", b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    ("headers", b"GET / HTTP/1.1\r\nhost: h\r\n" + b"x: a\r\n" * 5_000 + b"\r\n", 431),
    ("bytes", bytes(range(256)) * 100, 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
])  # fmt: skip
def test_a_head_that_is_none(name: str, data: bytes, status: int, gateway: Process) -> None:
    with gateway.connect() as sock:
        with suppress(ConnectionError):
            sock.sendall(data)
        answer = received(sock)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) or (name == "HTTP/2" and answer.startswith(b"HTTP/1.1 505 "))


# ---------------------------------------------------------------------------------------------------- no descriptors left


def test_callers_beyond_the_last_descriptor_are_informed_and_the_rest_is_served(start: Start, upstream: Upstream) -> None:
    upstream.does(begins)
    gateway = start(config(upstream.url), files=100)
    before = gateway.open_files()
    began = time.monotonic()
    cpu = gateway.cpu_s()
    answers: dict[int, bytes] = {}
    with ExitStack() as stack:
        socks = [stack.enter_context(gateway.connect()) for _ in range(150)]
        for number, sock in enumerate(socks):
            sock.settimeout(0.05)
            with suppress(OSError):
                sock.sendall(request_bytes("openai", "to-openai/m", stream=number % 2 == 0))
        give_up = time.monotonic() + WAIT_S
        while len(answers) < len(socks) and time.monotonic() < give_up and (len(answers) < 100 or time.monotonic() - began < 1):
            for number, sock in enumerate(socks):
                with suppress(TimeoutError, BlockingIOError):
                    sock.settimeout(0.001)
                    with suppress(ConnectionError):
                        answers.setdefault(number, sock.recv(65536) if number not in answers else b"")
        kinds = {answer[9:12] for answer in answers.values()}
        assert kinds <= {b"200", b"503", b""}, kinds
        assert b"200" in kinds and b"503" in kinds
        assert gateway.cpu_s() - cpu < 0.8 * (time.monotonic() - began)  # it does not spin
        assert gateway.is_running
    until(lambda: upstream.open == 0, "all upstreams are let go")
    upstream.does(sends(PLAIN_DATA["openai"]))
    until(lambda: gateway.chat("openai", "to-openai/m").status == 200, "those still at the door are through", SOON_S)
    until(lambda: gateway.open_files() <= before, "every descriptor is back")
    for caller in PROTOCOLS:
        assert outcome(caller, gateway.chat(caller, "to-openai/m"), False) == "whole"


def test_idle_callers_make_room(start: Start, upstream: Upstream) -> None:
    gateway = start(config(upstream.url), files=100)
    upstream.does(sends(PLAIN_DATA["openai"]))
    with ExitStack() as stack:
        for number in range(150):
            sock = stack.enter_context(gateway.connect())
            if number < 10:
                sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: gateway.chat("openai", "to-openai/m").status == 200, "silent callers are closed", SOON_S)
        for caller in PROTOCOLS:
            assert outcome(caller, gateway.chat(caller, "to-openai/m"), False) == "whole"


def test_a_thousand_connections_come_and_go(gateway: Process, upstream: Upstream) -> None:
    for number in range(1_000):
        with gateway.connect() as sock:
            if number % 3:
                sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"[: number % 47 or 47])
            vanish(sock, VANISH[number % 2])
    assert gateway.get("/health").status == 200


def test_no_prompt_and_no_key_is_in_the_log(gateway: Process) -> None:
    assert '"content"' not in gateway.log
    assert os.path.getsize(gateway.folder / "stderr") > 0
