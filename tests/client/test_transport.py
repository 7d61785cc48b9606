"""Transport: bytes on real sockets, broken in every way a network breaks them."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import socket
import threading
import time
import zlib
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest
from listeners import stop_listening
from raw_server import DONE, RawServer, StillTransport, completion, delta, http, stream

import llm_router_client as c

ASK = [{"role": "user", "content": "x"}]
Serve = Callable[..., RawServer]


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"transport": StillTransport(), "max_retries": 0, **options})


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", head: str = "") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n".encode() + body + end


ANSWER = json.dumps(completion("hello")).encode()


class Loopback:
    """A server on loopback, with TLS or without, whose connections a function serves; they are closed after it."""

    def __init__(self, serve_one: Callable[[Any], None], certificate: Any = None) -> None:
        import ssl

        self._serve, self._tls = serve_one, None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*map(str, certificate))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.base_url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._work, daemon=True).start()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        stop_listening(self._socket)

    def _work(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: Any) -> None:
        try:
            connection = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            self._serve(connection)
        except OSError:
            pass
        finally:
            connection.close()


@pytest.mark.parametrize(
    "reply",
    [
        http(ANSWER),
        b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + http(ANSWER),
        chunked(ANSWER),
        chunked(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))),
        chunked(ANSWER, end=b"0;x=y\r\nTrailer: z\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%X ; ext=1\r\n%s\r\n0\r\n\r\n" % (len(ANSWER), ANSWER),
        http(gzip.compress(ANSWER), Content_Encoding="gzip"),
        http(zlib.compress(ANSWER), Content_Encoding="deflate"),
        http(zlib.compress(ANSWER)[2:-4], Content_Encoding="deflate"),
        chunked(gzip.compress(ANSWER), head="Content-Encoding: x-gzip\r\n"),
        http(gzip.compress(ANSWER[:9]) + gzip.compress(ANSWER[9:]) + b"\0", Content_Encoding="gzip"),
        http(b"  \n " + ANSWER + b"\n"),
        http(b"\xef\xbb\xbf" + ANSWER),
        http(ANSWER, **{f"X-Header-{number}": "x" for number in range(150)}),  # http.client stops at 100
        http(ANSWER, Long="x" * 100_000),  # and at lines of 65,536 bytes
        b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(ANSWER) + ANSWER,
    ],
)
def test_every_framing_and_coding_gives_the_answer(serve: Serve, reply: bytes) -> None:
    assert client(serve(reply)).chat("m", ASK) == completion("hello")


MEMBERS = (gzip.compress(ANSWER[:9]), gzip.compress(b""), gzip.compress(ANSWER[9:]))  # one behind the other: RFC 1952 2.2


def test_bare_deflate_is_whole_whatever_its_length() -> None:
    for size in range(16 * c.READ_BYTES - 2, 16 * c.READ_BYTES + 60):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(b" " * size) + packer.flush()
        assert sum(map(len, c.unpack(iter([packed])))) == size
        with pytest.raises(c.IncompleteError):
            list(c.unpack(iter([packed[:-1]])))


def test_compressed_data_in_any_pieces_is_unpacked_whole_and_what_is_junk_behind_it_is_ignored() -> None:
    plain = zlib.compressobj(wbits=-15)
    forms = (b"".join(MEMBERS), gzip.compress(ANSWER), zlib.compress(ANSWER), plain.compress(ANSWER) + plain.flush())
    for packed in forms:
        for behind in (b"", b"\0\0", b"\x1f", b"\x1fx", gzip.compress(b"x") if packed[:1] != b"\x1f" else b"junk"):
            body = packed + behind
            for at in range(1, len(body)):
                parts = list(c.unpack(iter([body[:at], body[at:]])))
                assert b"".join(parts) == ANSWER and all(parts)
        assert b"".join(c.unpack(iter([packed[at : at + 1] for at in range(len(packed))]))) == ANSWER
    assert list(c.unpack(iter([]))) == []


def test_compressed_data_that_is_cut_inside_a_member_is_incomplete() -> None:
    ends = [sum(map(len, MEMBERS[: number + 1])) for number in range(len(MEMBERS))]
    whole = {end + more for end in ends for more in (0, 1)}  # of two bytes the first alone does not begin a member
    packed = b"".join(MEMBERS)
    for at in range(1, len(packed)):
        if at not in whole:
            with pytest.raises(c.IncompleteError, match="ends too early"):
                list(c.unpack(iter([packed[:at]])))
    for broken in (MEMBERS[0] + b"\x1f\x8bjunk that is no member", MEMBERS[0][:-8] + b"wrong sum"):
        with pytest.raises(c.BadUpstreamError, match="broken"):
            list(c.unpack(iter([broken])))


def test_a_compressed_stream_arrives_piece_by_piece(serve: Serve) -> None:
    packed = gzip.compress(delta("a")) + gzip.compress(delta("b", "stop") + DONE)
    head = "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
    server = serve(chunked(*(packed[at : at + 1] for at in range(len(packed))), head=head))
    assert "".join(client(server).chat_stream("m", ASK)) == "ab"


BROKEN = [
    (b"", c.NetworkError),
    (b"HTTP/1.1 200 OK\r\nContent-", c.NetworkError),
    (b"SSH-2.0-OpenSSH\r\n\r\n", c.BadUpstreamError),
    (b"HTTP/1.1 2x0 OK\r\n\r\n", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nbroken line\r\n\r\n", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", c.IncompleteError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1a\r\n\r\n{}", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n{}", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", c.BadUpstreamError),
    (chunked(ANSWER, end=b""), c.IncompleteError),
    (chunked(ANSWER, end=b"0\r\n"), c.IncompleteError),
    (chunked(b"{", end=b"xyz\r\n"), c.BadUpstreamError),
    (chunked(b"{", end=b"-1\r\n"), c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}oops\r\n0\r\n\r\n", c.BadUpstreamError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", c.IncompleteError),
    (http(b"not gzip", Content_Encoding="gzip"), c.BadUpstreamError),
    (http(gzip.compress(ANSWER)[:-9], Content_Encoding="gzip"), c.IncompleteError),
    (http(ANSWER, Content_Encoding="br"), c.BadUpstreamError),
    (http(b"", "204 No Content"), c.BadUpstreamError),
]  # fmt: skip


@pytest.mark.parametrize("reply,kind", BROKEN)
def test_every_broken_response_is_an_error_of_its_kind(serve: Serve, reply: bytes, kind: Any) -> None:
    for streamed in (False, True):
        asked = client(serve(reply))
        with pytest.raises(kind):
            answer = asked.chat("m", ASK, stream=streamed)
            if streamed:
                list(answer)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [http(ANSWER), chunked(ANSWER[:40], ANSWER[40:])])
def test_a_plain_answer_that_breaks_at_byte_n_is_never_an_answer(serve: Serve, whole: bytes) -> None:
    for n in range(len(whole)):
        with pytest.raises(c.LLMRouterError):
            client(serve(whole[:n])).chat("m", ASK)
    assert client(serve(whole)).chat("m", ASK).text == "hello"


@pytest.mark.slow
def test_a_stream_that_breaks_at_byte_n_is_complete_only_after_its_finish_reason(serve: Serve) -> None:
    whole = stream(delta("he"), delta("llo"), delta(finish="stop"), DONE)
    finished = whole.index(b"data: [DONE]") - 2  # the JSON with the finish reason is whole
    for n in range(len(whole) + 1):
        asked = client(serve(whole[:n])).chat_stream("m", ASK)
        try:
            text = "".join(asked)
        except c.LLMRouterError as error:
            assert n < finished, n
            assert error.response is None or "hello".startswith(error.response.text)
        else:
            assert n >= finished and text == "hello" and asked.response and asked.response.complete, n


def test_a_chunked_stream_without_its_last_chunk_is_complete_when_the_server_said_so(serve: Serve) -> None:
    cut = chunked(delta("hi"), delta(finish="stop"), end=b"")
    assert "".join(client(serve(cut)).chat_stream("m", ASK)) == "hi"
    with pytest.raises(c.LLMRouterError):
        list(client(serve(chunked(delta("hi"), end=b""))).chat_stream("m", ASK))


def test_a_head_is_a_status_and_headers_whose_names_are_in_lower_case() -> None:
    assert c.parse_head([b"HTTP/1.1 200 OK", b"Vary: a", b"VARY:b ", b"X: \xe9"]) == (200, {"vary": "a, b", "x": "\xe9"})
    assert c.parse_head([b"HTTP/1.0 404"]) == (404, {})
    for first in (b"", b"HTTP/2 200", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1 \xb2\xb3\xb9 OK", b"ICY 200 OK"):
        with pytest.raises(c.BadUpstreamError):
            c.parse_head([first])
    for lines in ([], [b"HTTP/1.1 200 OK", b"no colon"], [b"HTTP/1.1 200 OK", b"Space : before"]):
        with pytest.raises(c.BadUpstreamError):
            c.parse_head(lines)


def test_a_hundred_hostile_bodies_end_in_our_own_errors(serve: Serve) -> None:
    dice = random.Random(7)
    seeds: List[bytes] = [
        ANSWER, delta("x"), DONE, b"data: {", b"[" * 5000, b"\x00\xff\xfe", b'{"choices":[{"delta":', b"<html>",
        b"event: error\ndata: x\n\n", b"1e999", b"\r\n\r\n",
    ]  # fmt: skip
    for _ in range(100):
        body = b"".join(dice.choice(seeds)[: dice.randrange(1, 200)] for _ in range(dice.randrange(1, 6)))
        for streamed in (False, True):
            with client(serve(http(body))) as asked:
                try:
                    answer = asked.chat("m", ASK, stream=streamed)
                    text = "".join(answer) if streamed else answer.text
                    assert text is not None
                except c.LLMRouterError as error:
                    assert error.next_step


@pytest.mark.slow
def test_bodies_streams_and_bombs_stay_under_their_limits(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "MAX_BODY_BYTES", 10_000)
    monkeypatch.setattr(c.SSEParser.__init__, "__defaults__", (10_000,))
    bomb = gzip.compress(b" " * 50_000_000)
    large = (http(b'{"a":"' + b"x" * 20_000), stream(b"data: " + b"x" * 20_000), stream(b"data: x\n" * 20_000))
    for reply in (*large, http(bomb, Content_Encoding="gzip")):
        with pytest.raises(c.BadUpstreamError):
            list(client(serve(reply)).chat_stream("m", ASK))


def test_events_that_are_held_until_the_answer_is_whole_stay_under_the_limit_of_a_body(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c, "MAX_BODY_BYTES", 10_000)
    server = serve(stream(delta("x") * 200, delta("x", "stop")))
    with pytest.raises(c.BadUpstreamError, match="longer than 10000 bytes"):
        client(server).chat("m", ASK)
    assert "".join(client(server).chat_stream("m", ASK)) == "x" * 201  # these are handed over


# ------------------------------------------------------------------------------------------------ connections


def test_one_connection_serves_many_calls(serve: Serve) -> None:
    refusal = http(b'{"error":{"message":"x"}}', "400 Bad")
    server = serve(http(ANSWER), chunked(delta("a", "stop") + DONE), refusal, http(ANSWER))
    asked = client(server)
    asked.chat("m", ASK)
    list(asked.chat_stream("m", ASK))
    with pytest.raises(c.BadRequestError):
        asked.chat("m", ASK)
    asked.chat("m", ASK)
    assert [request["connection"] for request in server.requests] == [1, 1, 1, 1]
    asked.close()


HTTP_1_0 = http(ANSWER).replace(b"HTTP/1.1", b"HTTP/1.0")


@pytest.mark.parametrize("last", [http(ANSWER, Connection="close"), b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER, HTTP_1_0])
def test_a_connection_that_ends_is_not_kept(serve: Serve, last: bytes) -> None:
    server = serve(last)
    asked = client(server)
    for _ in range(2):
        asked.chat("m", ASK)
    assert [request["connection"] for request in server.requests] == [1, 2]


@pytest.mark.parametrize(
    "status,message",
    [("304 Not Modified", "redirected to another path"), ("204 No Content", "the answer is empty")],
)
def test_a_response_that_has_no_body_is_not_waited_for(serve: Serve, status: str, message: str) -> None:
    server = serve(f"HTTP/1.1 {status}\r\n\r\n".encode(), hold=True)
    began = time.monotonic()
    with pytest.raises(c.BadUpstreamError, match=message):
        client(server).chat("m", ASK)
    assert time.monotonic() - began < 20


def test_a_connection_that_an_old_server_keeps_is_used_again(serve: Serve) -> None:
    server = serve(http(ANSWER, Connection="Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0"))
    asked = client(server)
    assert [asked.chat("m", ASK).text for _ in range(2)] == ["hello", "hello"]
    assert [request["connection"] for request in server.requests] == [1, 1]


def test_a_kept_connection_that_breaks_while_the_server_works_counts_as_an_attempt(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent over it may have been carried out: it is not sent again in silence."""
    monkeypatch.setattr(c, "STALE_S", 0.0)
    server = serve(http(ANSWER), b"", http(ANSWER))
    asked = client(server, max_retries=0)
    asked.chat("m", ASK)
    with pytest.raises(c.NetworkError) as caught:
        asked.chat("m", ASK)
    assert [attempt["maybe_billed"] for attempt in caught.value.attempts] == [True] and len(server.requests) == 2


def test_a_kept_connection_that_died_is_replaced_once_without_a_word(serve: Serve) -> None:
    transport = StillTransport()
    server = serve(http(ANSWER))
    asked = client(server, transport=transport)
    asked.chat("m", ASK)
    kept = transport.idle[asked.base_url][0]
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert [attempt["cause"] for attempt in asked.chat("m", ASK).attempts] == ["ok"]
    server = serve(http(ANSWER), b"", http(ANSWER))  # it dies only after the request was sent
    asked = client(server)
    asked.chat("m", ASK)
    assert len(asked.chat("m", ASK).attempts) == 1
    assert [request["connection"] for request in server.requests] == [1, 1, 2]


def test_an_answer_with_too_many_bytes_is_not_kept_for_the_next_call(serve: Serve) -> None:
    server = serve(
        http(ANSWER) + http(b'{"choices":[{"message":{"content":"smuggled"},"finish_reason":"stop"}]}'), http(ANSWER)
    )
    asked = client(server)
    assert [asked.chat("m", ASK).text for _ in range(2)] == ["hello", "hello"]


def test_closing_a_stream_hangs_up() -> None:
    gone = threading.Event()

    def begins(connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(stream(delta("a")))
        if connection.recv(1) == b"":
            gone.set()

    with Loopback(begins) as server:
        with client(server).chat_stream("m", ASK) as answer:
            assert next(answer) == "a"
        assert gone.wait(15)


def test_nothing_is_sent_before_the_first_step_of_a_stream(serve: Serve) -> None:
    server = serve(stream(delta("a", "stop")))
    answer = client(server).chat_stream("m", ASK)
    assert server.requests == []
    assert list(answer) == ["a"] and len(server.requests) == 1
    client(server).chat_stream("m", ASK).close()


def test_an_early_refusal_is_read_although_the_request_was_not_taken_whole() -> None:
    def refuses(connection: Any) -> None:
        connection.recv(1000)
        connection.sendall(http(b'{"error":{"message":"too big"}}', "413 Too Large"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with Loopback(refuses) as server, pytest.raises(c.BadRequestError, match="too big"):
        client(server).chat("m", [{"role": "user", "content": "x" * 3_000_000}])


# ----------------------------------------------------------------------------------------------------- clocks


@pytest.mark.slow
def test_each_clock_ends_what_it_watches(serve: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    cases: List[Any] = [
        (b"", {"first_event_timeout_s": 0.1}, "the answer"),
        (head + b": ping\n\n", {"first_event_timeout_s": 0.1}, "the answer"),
        (head + delta("a"), {"progress_timeout_s": 0.1}, "the next event"),
        (head + delta("a") + b": ping\n\n", {"progress_timeout_s": 0.1}, "the next event"),
        (head + b'{"choices"', {"progress_timeout_s": 0.1}, "the rest of the answer"),
        (head + delta("a"), {"deadline_s": 0.1}, "total timeout"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\n", {"connect_timeout_s": 0.1}, "HTTP 500"),
    ]
    for reply, clocks, waiting in cases:
        began = time.monotonic()
        with pytest.raises(c.LLMRouterError, match=waiting) as caught:
            list(client(serve(reply, hold=True), **clocks).chat_stream("m", ASK))
        assert time.monotonic() - began < 20
        assert caught.value.code in ("timeout", "server_error")


@pytest.mark.slow
def test_what_the_caller_spends_on_an_event_is_not_the_server_s_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, spent_s = serve(stream(delta("a"), delta("b", "stop"))), 0.0
    clock = {**vars(time), "monotonic": lambda: time.monotonic() + spent_s}
    monkeypatch.setattr(c, "time", SimpleNamespace(**clock))
    answer = client(server, progress_timeout_s=20).chat_stream("m", ASK)
    assert next(answer) == "a"
    spent_s = 30.0
    assert list(answer) == ["b"]


def test_the_wait_after_the_finish_reason_is_short(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "FINISH_GRACE_S", 0.1)
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n" + delta("a", "stop"), hold=True)
    began = time.monotonic()
    assert list(client(server).chat_stream("m", ASK)) == ["a"]
    assert time.monotonic() - began < 20


# ------------------------------------------------------------------------------------------ connecting, proxies


def test_a_refused_connection_is_retryable_and_says_where() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    transport = StillTransport()
    asked = c.LLMRouterClient(base_url=f"http://127.0.0.1:{port}", transport=transport)
    with pytest.raises(c.NetworkError, match=r"no connection to 127\.0\.0\.1") as caught:
        asked.chat("m", ASK)
    assert len(caught.value.attempts) == 3 and transport.slept == [0.5, 1.0]
    assert not any(attempt["maybe_billed"] for attempt in caught.value.attempts)


def test_an_address_that_is_silent_leaves_time_for_the_next(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(http(completion()))
    shares: List[float] = []
    tcp = c.socket_classes()[0]

    def connect(sock: Any, address: Any) -> None:
        if address[0] != "127.0.0.1":
            shares.append(sock.gettimeout())
            raise TimeoutError
        socket.socket.connect(sock, address)

    here = socket.getaddrinfo("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]), type=socket.SOCK_STREAM)
    silent = [(*each[:4], ("192.0.2.1", 9)) for each in here]
    monkeypatch.setattr(tcp, "connect", connect, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*silent, *here])
    assert client(server, connect_timeout_s=30).chat("m", ASK).text == "hello"
    assert len(shares) == 1 and 14 < shares[0] <= 15
    unknown = [(-1, *each[1:]) for each in here]  # a family that this system does not have
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*unknown, *here])
    assert client(server).chat("m", ASK).text == "hello"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: silent)
    with pytest.raises(c.RequestTimeout):
        client(server, max_retries=0).chat("m", ASK)


NO_SOCKETS = """
import socket

class Refused(socket.socket):
    def __init__(self, *arguments, **named):
        raise PermissionError(1, "Operation not permitted")

def refuse(*arguments, **named):
    if arguments[0] in (b"127.0.0.1", "127.0.0.1"):
        return look_up(*arguments, **named)
    raise socket.gaierror(-3, "Temporary failure in name resolution")

look_up, socket.getaddrinfo, socket.socket = socket.getaddrinfo, refuse, Refused
"""  # as a filter of system calls shows itself to Python


def fail_to_dial(asked: c.LLMRouterClient, error: BaseException) -> None:
    def dial(*_: Any) -> Any:
        raise error

    asked.transport.dial = dial  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(
    "error,kind,text",
    [
        (socket.gaierror(8, "nodename"), c.NetworkError, "not found"),
        (TimeoutError(), c.RequestTimeout, "within"),
        (OSError(113, "No route to host"), c.NetworkError, "No route"),
        (c.UsageError("the CA file cannot be used"), c.UsageError, "CA file"),
    ],
)
def test_why_no_connection_came_about(error: BaseException, kind: Any, text: str) -> None:
    asked = c.LLMRouterClient("key", "https://llm.example/v1", transport=StillTransport(), max_retries=0)
    fail_to_dial(asked, error)
    with pytest.raises(kind, match=text) as caught:
        asked.chat("m", ASK)
    assert caught.value.retryable is (kind is not c.UsageError)


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["chat", "-m", "m"], ["chat", "-m", "m", "--stream"], ["compare", "--models", "m,n"], ["chat", "--demo"],
])  # fmt: skip
@pytest.mark.parametrize("host", ["http://127.0.0.1:9/v1", "https://llm.example/v1"])
def test_in_a_sandbox_without_sockets_the_next_step_is_clear(cli: Any, tmp_path: Any, words: List[str], host: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_SOCKETS)
    env = {"PYTHONPATH": str(tmp_path), "LLM_ROUTER_BASE_URL": host, "LLM_ROUTER_API_KEY": "key-0123456789"}
    for more in ([], ["--json"]):
        ran = cli(*words, "--message", "hi", *more, env=env)
        assert ran.code == 7 and b"could not be written" not in ran.err, ran
        told = ran.out.decode() if more else ran.err.decode() + ran.out.decode()
        assert "this sandbox forbids network access; ask for it" in told
        if more and words[0] == "chat":
            error = ran.json["error"]
            assert (error["code"], error["retryable"]) == ("network", False) and "outside the sandbox" in error["next_step"]
            assert len(ran.json["attempts"]) <= 1


def test_a_name_look_up_that_hangs_ends_with_the_connect_clock() -> None:
    asked = c.LLMRouterClient("key", "https://llm.example/v1", connect_timeout_s=0.1, max_retries=0)
    asked.transport.dial = lambda *_: time.sleep(5)  # type: ignore[method-assign, assignment, return-value]
    began = time.monotonic()
    with pytest.raises(c.RequestTimeout, match=r"within 0\.1 s"):
        asked.chat("m", ASK)
    assert time.monotonic() - began < 20


class Proxy(Loopback):
    """A CONNECT proxy that records what it was told and answers with fixed bytes."""

    def __init__(self, answer: bytes) -> None:
        self.heads: List[bytes] = []

        def answers(connection: Any) -> None:
            self.heads.append(connection.recv(65536))
            connection.sendall(answer)

        super().__init__(answers)
        self.url = f"127.0.0.1:{self.port}"


def test_https_goes_through_the_proxy_by_connect_and_shows_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    login = base64.b64encode(b"user:p@ss")
    with Proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", "http://user:{}@{}".format("p%40ss", proxy.url))
        asked = c.LLMRouterClient("canary-key", "https://llm.example/v1", max_retries=0)
        with pytest.raises(c.NetworkError, match="407") as caught:
            asked.chat("m", ASK)
    assert proxy.heads[0].startswith(b"CONNECT llm.example:443 HTTP/1.1\r\nHost: llm.example:443\r\n")
    assert b"Proxy-Authorization: Basic " + login in proxy.heads[0] and b"canary" not in proxy.heads[0]
    assert "p@ss" not in str(caught.value) and "user" not in str(caught.value)


def test_no_proxy_and_loopback_go_direct(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(b"") as proxy:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.url}")
        assert client(serve(http(ANSWER))).chat("m", ASK).text == "hello"
    monkeypatch.setenv("NO_PROXY", "llm.example")
    assert c.proxy_for(c.Endpoint("https://llm.example/v1")) == ("", 0, "")
    assert c.proxy_for(c.Endpoint("https://other.example/v1"))[0] == "127.0.0.1"
    monkeypatch.setenv("NO_PROXY", "other.example:8443, .inside.example")
    for name, host in (("other.example:8443", ""), ("a.inside.example", ""), ("other.example", "127.0.0.1")):
        assert c.proxy_for(c.Endpoint(f"https://{name}/v1"))[0] == host
    assert c.proxy_for(c.Endpoint("https://127.0.0.1/v1")) == ("", 0, "")
    assert proxy.heads == []


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://127.0.0.1:1", "http://", "http://127.0.0.1:port"])
def test_other_kinds_of_proxies_are_one_clear_usage_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(c.UsageError, match="HTTPS_PROXY"):
        c.LLMRouterClient("key", "https://llm.example/v1").chat("m", ASK)


def test_all_proxy_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert c.proxy_for(c.Endpoint("https://llm.example/v1")) == ("", 0, "")


# -------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(certificate file, key file) for 127.0.0.1 and llm.example, made now; skipped where there is no openssl command."""
    import shutil
    import subprocess

    if not shutil.which("openssl"):
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    more = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:llm.example", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*words.split(), *more], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_port(certificate: Any) -> Any:
    def answers(connection: Any) -> None:
        while connection.recv(65536):
            connection.sendall(http(ANSWER))

    with Loopback(answers, certificate) as server:
        yield server.port


@pytest.mark.slow
def test_tls_is_verified_and_there_is_no_way_around(tls_port: int, certificate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://127.0.0.1:{tls_port}/v1"
    trusting = c.LLMRouterClient(base_url=url, ca_file=str(certificate[0]))
    assert [trusting.chat("m", ASK).text for _ in range(2)] == ["hello", "hello"]
    with pytest.raises(c.NetworkError, match=r"certificate of 127\.0\.0\.1 was refused") as caught:
        c.LLMRouterClient(base_url=url).chat("m", ASK)
    assert not caught.value.retryable and "--ca-file" in caught.value.next_step
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert c.LLMRouterClient(base_url=url).chat("m", ASK).text == "hello"
    with pytest.raises(c.NetworkError, match="certificate of localhost was refused"):
        c.LLMRouterClient(base_url=f"https://localhost:{tls_port}/v1").chat("m", ASK)


def test_a_ca_file_that_is_none_is_a_usage_error(tls_port: int, tmp_path: Any) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("")
    wrong: List[Any] = [str(empty), os.fspath(tmp_path / "missing"), 5, [5]]
    for path in wrong:
        with pytest.raises(c.UsageError, match="CA file"):
            c.LLMRouterClient(base_url=f"https://127.0.0.1:{tls_port}/v1", ca_file=path).chat("m", ASK)


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> Any:
    """None, and then a certificate: a rule for both schemes."""
    return request.getfixturevalue("certificate") if request.param == "https" else None


@pytest.mark.slow
@pytest.mark.parametrize("drip", [b": keep-alive\n\n", b"d"])
def test_dripping_bytes_and_comments_do_not_hold_the_clock_up(tls: Any, drip: bytes) -> None:
    def drips(connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(drip)
            time.sleep(0.02)

    began = time.monotonic()
    with Loopback(drips, tls) as server:
        asked = c.LLMRouterClient(base_url=server.base_url, ca_file=tls and str(tls[0]), first_event_timeout_s=0.15)
        with pytest.raises(c.RequestTimeout):
            list(asked.chat_stream("m", ASK))
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_server_that_takes_the_request_drop_by_drop_is_bounded_by_the_deadline(tls: Any) -> None:
    def sips(connection: Any) -> None:
        while connection.recv(50_000):
            time.sleep(0.02)

    began = time.monotonic()
    with Loopback(sips, tls) as server:
        asked = c.LLMRouterClient(base_url=server.base_url, ca_file=tls and str(tls[0]), deadline_s=2.0, max_retries=0)
        with pytest.raises(c.RequestTimeout, match="the request to be sent"):
            asked.chat("m", [{"role": "user", "content": "x" * 20_000_000}])
    assert time.monotonic() - began < 20


def test_calls_through_a_proxy_share_one_tunnel(certificate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: List[bytes] = []

    def answers(connection: Any) -> None:
        while connection.recv(65536):
            connection.sendall(http(ANSWER))

    def relays(connection: Any) -> None:
        heads.append(connection.recv(65536))
        with socket.create_connection(("127.0.0.1", server.port)) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pour, args=(upstream, connection), daemon=True)
            back.start()
            pour(connection, upstream)

    def pour(source: Any, target: Any) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
        except OSError:  # the other direction has ended
            pass

    with Loopback(answers, certificate) as server, Loopback(relays) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        asked = c.LLMRouterClient("canary-key", "https://llm.example/v1", ca_file=str(certificate[0]))
        assert [asked.chat("m", ASK).text for _ in range(2)] == ["hello", "hello"]
        asked.close()
    assert heads == [b"CONNECT llm.example:443 HTTP/1.1\r\nHost: llm.example:443\r\n\r\n"]
