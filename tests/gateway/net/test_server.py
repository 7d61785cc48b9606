"""server: callers as bytes on loopback sockets; the application is a few lines."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from loops import run

from llm_router_gateway.errors import GatewayError
from llm_router_gateway.net import http1, server
from llm_router_gateway.net.connection import ServerTimeouts
from llm_router_gateway.net.exchange import App, Exchange, http_date
from llm_router_gateway.net.http1 import ResponseReader
from llm_router_gateway.net.server import Server

QUICK = ServerTimeouts(head_s=0.05, body_s=0.05, idle_s=0.05, stall_s=0.1, linger_s=0.2)
TEXT = [("content-type", "text/plain")]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(exchange: Exchange) -> None:
    """Says what it was asked, with the body."""
    body = await exchange.read_body(1_000_000)
    said = f"{exchange.method} {exchange.path}?{exchange.query} ".encode()
    await exchange.respond(200, TEXT, said + body)


@asynccontextmanager
async def serving(app: App = echo, **options: Any) -> AsyncIterator[tuple[Server, int]]:
    made = Server(app, **options)
    port = await made.start("127.0.0.1", 0)
    try:
        yield made, port
    finally:
        await made.drain(0.5)
        assert made.open == 0


async def talk(port: int, data: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


def post(path: str = "/", body: bytes = b"", *fields: str, close: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: h", f"content-length: {len(body)}", *fields]
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def answers(data: bytes, *methods: str) -> list[tuple[int, dict[str, str], bytes]]:
    """(status, headers, body) of each answer; the last one must be whole."""
    reader, out = ResponseReader(), []  # type: ResponseReader, list[tuple[int, dict[str, str], bytes]]
    reader.feed(data)
    reader.feed_end()
    pending = list(methods)
    while True:
        reader.expect(pending.pop(0) if pending else "GET")
        head = reader.next()
        if head is None:
            return out
        assert isinstance(head, http1.ResponseHead)
        body = b""
        while isinstance(piece := reader.next(), bytes):
            body += piece
        assert isinstance(piece, http1.End)
        out.append((head.status, dict(head.headers), body))


def statuses(data: bytes) -> list[int]:
    return [status for status, _, _ in answers(data)]


# ------------------------------------------------------------------------------------------------------------- answers


def test_a_request_and_its_answer() -> None:
    async def story() -> None:
        async with serving() as (_, port):
            [(status, headers, body)] = answers(await talk(port, post("/v1/x?a=1", b"hello")))
            assert (status, body) == (200, b"POST /v1/x?a=1 hello")
            assert headers["content-type"] == "text/plain"
            assert headers["connection"] == "close"
            assert headers["date"].endswith(" GMT")

    run(story())


def test_dates_are_those_of_the_standard_library() -> None:
    for at in (0, 784111777, 1_700_000_000, 951_826_554, 4_102_444_799):
        assert http_date(at) == formatdate(at, usegmt=True)


def test_an_exchange_shows_what_the_caller_sent() -> None:
    seen: list[Exchange] = []

    async def app(exchange: Exchange) -> None:
        seen.append(exchange)
        assert not exchange.started
        await exchange.respond(204, [], b"never sent")
        assert exchange.started

    async def story() -> None:
        async with serving(app) as (_, port):
            data = b"GET /a%20b?c=%26 HTTP/1.1\r\nHOST: h\r\nX-A: 1\r\nx-a: 2\r\nconnection: close\r\n\r\n"
            [(status, headers, body)] = answers(await talk(port, data))
            assert (status, body) == (204, b"")
            assert "content-length" not in headers

    run(story())
    [exchange] = seen
    assert (exchange.method, exchange.path, exchange.query) == ("GET", "/a%20b", "c=%26")
    assert exchange.headers == [("host", "h"), ("x-a", "1, 2"), ("connection", "close")]
    assert exchange.client == "127.0.0.1"


def test_a_connection_carries_many_requests_and_pipelined_ones_are_answered_in_order() -> None:
    running: list[str] = []

    async def app(exchange: Exchange) -> None:
        running.append(exchange.path)
        assert len(running) == 1, "one at a time"
        await asyncio.sleep(0)
        body = await exchange.read_body(10_000)
        await exchange.respond(200, [], exchange.path.encode() + body)
        running.remove(exchange.path)

    async def story() -> None:
        async with serving(app) as (_, port):
            data = b"".join(post(f"/{n}", b"x" * n, close=n == 49) for n in range(50))
            got = answers(await talk(port, data))
            assert [body for _, _, body in got] == [f"/{n}".encode() + b"x" * n for n in range(50)]

    run(story())


def test_a_request_that_drips_in_is_one_request() -> None:
    async def story() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in post("/a", b"hello"):
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert statuses(await reader.read()) == [200]
            writer.close()

    run(story())


def test_head_gets_the_length_and_no_body() -> None:
    async def story() -> None:
        async with serving() as (_, port):
            data = await talk(port, b"HEAD /a HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            assert data.endswith(b"\r\n\r\n")
            [(status, headers, _)] = answers(data, "HEAD")
            assert (status, headers["content-length"]) == (200, str(len(b"HEAD /a? ")))

    run(story())


def test_http_1_0_is_answered_closed_and_kept_when_it_asks() -> None:
    async def story() -> None:
        async with serving() as (_, port):
            [(_, headers, _)] = answers(await talk(port, b"GET / HTTP/1.0\r\n\r\n"))
            assert headers["connection"] == "close"
            twice = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n"
            first, second = answers(await talk(port, twice))
            assert first[1]["connection"] == "keep-alive"
            assert second[1]["connection"] == "close"

    run(story())


async def counting(exchange: Exchange) -> None:
    exchange.start(200, TEXT)
    for number in range(3):
        await exchange.send(b"%d\n" % number)
    await exchange.send(b"")
    await exchange.end()


def test_a_stream_comes_in_chunks_and_the_connection_stays() -> None:
    async def story() -> None:
        async with serving(counting) as (_, port):
            first, second = answers(await talk(port, post(close=False) + post()))
            assert first[1]["transfer-encoding"] == "chunked"
            assert first[2] == second[2] == b"0\n1\n2\n"

    run(story())


def test_a_stream_to_http_1_0_ends_with_the_connection_and_to_head_has_no_body() -> None:
    async def story() -> None:
        async with serving(counting) as (_, port):
            data = await talk(port, b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            [(_, headers, body)] = answers(data)
            assert body == b"0\n1\n2\n"
            assert "transfer-encoding" not in headers
            data = await talk(port, b"HEAD / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            assert data.endswith(b"\r\n\r\n")
            assert answers(data, "HEAD")[0][0] == 200

    run(story())


@pytest.mark.parametrize("how", ["aborted", "fault", "drain"])
def test_an_answer_to_http_1_0_that_breaks_off_ends_in_a_reset(how: str) -> None:
    """Its end is the connection's: closed as usual, half of it would be a whole one."""

    async def story() -> None:
        async def broken(exchange: Exchange) -> None:
            exchange.start(200, TEXT)
            await exchange.send(b"half of it")
            got.set_result(None)
            if how == "aborted":
                exchange.abort()
            elif how == "fault":
                raise KeyError("x")
            else:
                await asyncio.Event().wait()

        got: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        async with serving(broken) as (made, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\nhost: h\r\n\r\n")
            await got
            if how == "drain":
                await made.drain(0)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    run(story())


def test_an_empty_stream_is_an_answer_too() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.end()

    async def story() -> None:
        async with serving(app) as (_, port):
            assert answers(await talk(port, post()))[0][2] == b""

    run(story())


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01", 400),
        (post("/" + "a" * 10_000), 414),
        (post("/", b"", "x: " + "y" * 70_000), 431),
        (post("/", b"", *["x: y"] * 200), 431),
        (post().replace(b"1.1", b"3.0"), 505),
        (post("/", b"", "transfer-encoding: gzip").replace(b"content-length: 0\r\n", b""), 501),
        (post("/", b"hi", "transfer-encoding: chunked"), 400),
        (post("/", b"hi", "expect: tea"), 417),
    ],
)
def test_what_is_no_request_is_answered_plainly_and_closed(data: bytes, status: int) -> None:
    async def story() -> None:
        async with serving() as (_, port):
            [(got, headers, body)] = answers(await talk(port, data))
            assert (got, headers["connection"]) == (status, "close")
            assert body.endswith(b"\n")
            assert [*statuses(await talk(port, post(close=False) + data))] == [200, status]

    run(story())


async def telling(exchange: Exchange) -> None:
    """The gateway's manner: an error of the body becomes an answer."""
    try:
        body = await exchange.read_body(1_000)
    except GatewayError as error:
        await exchange.respond(error.status, [], error.code.encode())
    else:
        await exchange.respond(200, [], body)


def chunked(*pieces: bytes) -> bytes:
    head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    return head + b"".join(map(http1.chunk, pieces))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (post("/", b"x" * 1_000), 200),
        (post("/", b"x" * 1_001), 413),
        (chunked(b"x" * 1_000) + http1.LAST_CHUNK, 200),
        (chunked(b"x" * 600, b"x" * 600) + http1.LAST_CHUNK, 413),
        (chunked(b"x" * 600, b"x" * 600), 413),
        (chunked(b"x") + b"nonsense\r\n", 400),
    ],
)
def test_a_body_has_a_limit_and_a_broken_one_a_status(data: bytes, status: int) -> None:
    async def story() -> None:
        async with serving(telling) as (_, port):
            assert statuses(await talk(port, data))[0] == status

    run(story())


def test_a_caller_that_sends_for_ever_gets_its_413_and_is_let_go() -> None:
    async def story() -> None:
        async with serving(telling, timeouts=QUICK) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000\r\n\r\n")
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
            writer.close()
            data = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000\r\n\r\n" + b"x" * 500_000
            [(status, headers, _)] = answers(await talk(port, data))
            assert (status, headers["connection"]) == (413, "close")
            assert reader is not None

    run(story())


def test_an_answer_before_the_body_was_read_closes_the_connection() -> None:
    async def app(exchange: Exchange) -> None:
        await exchange.respond(401, [], b"no")

    async def story() -> None:
        async with serving(app) as (_, port):
            data = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 300000\r\n\r\n" + b"x" * 200_000
            [(status, headers, _)] = answers(await talk(port, data))
            assert (status, headers["connection"]) == (401, "close")
            assert statuses(await talk(port, post("/", b"here", close=False) + post())) == [401, 401]

    run(story())


def test_expect_is_answered_when_the_body_is_wanted_and_only_then() -> None:
    async def app(exchange: Exchange) -> None:
        if exchange.path == "/no":
            await exchange.respond(403, [], b"")
        else:
            await echo(exchange)

    async def story() -> None:
        async with serving(app) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post("/yes", b"hello", "expect: 100-continue")[:-5])
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert answers(await reader.read())[0][2] == b"POST /yes? hello"
            writer.close()
            [(status, headers, _)] = answers(await talk(port, post("/no", b"x", "expect: 100-continue")[:-1]))
            assert (status, headers["connection"]) == (403, "close")
            data = await talk(port, post("/yes", b"hello", "expect: 100-continue"))
            assert b"100 Continue" not in data  # the body was here already

    run(story())


# ------------------------------------------------------------------------------------------------------------- timeouts


@pytest.mark.slow
def test_an_unfinished_head_is_408_and_a_silent_connection_is_closed_without_a_word() -> None:
    async def story() -> None:
        async with serving(timeouts=QUICK) as (_, port):
            assert statuses(await talk(port, b"GET / HTTP/1.1\r\nhos")) == [408]
            assert await talk(port, b"") == b""
            assert statuses(await talk(port, post(close=False))) == [200]
            assert statuses(await talk(port, post(close=False) + b"GET")) == [200, 408]

    run(story())


def test_half_a_head_makes_room_for_another_caller() -> None:
    async def story() -> None:
        async with serving(max_connections=2) as (made, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for _, writer in held:
                writer.write(b"GET / HTTP/1.1\r\nhos")
            while len(made._silent) < 2:
                await asyncio.sleep(0)
            for connection in made._silent:
                made._silent[connection] -= server.SILENT_S  # as if it had been so for a second
            assert statuses(await talk(port, post())) == [200]
            for _, writer in held:
                writer.close()

    run(story())


def test_one_address_has_as_many_connections_as_it_may_and_gets_them_back() -> None:
    async def story() -> None:
        async with serving(max_per_address=2) as (made, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            while len(made._connections) < 2:
                await asyncio.sleep(0)
            assert statuses(await talk(port, b"")) == [503]
            held[0][1].close()
            while len(made._connections) > 1:
                await asyncio.sleep(0)
            assert statuses(await talk(port, post())) == [200]
            held[1][1].close()
            while made._connections:
                await asyncio.sleep(0)
            assert not made._addresses

    run(story())


@pytest.mark.slow
def test_dripping_does_not_buy_time() -> None:
    async def story() -> None:
        async with serving(timeouts=QUICK) as (_, port):
            for data in (b"GET / HTTP/1.1\r\nx: ", post("/", b"x" * 100_000)[:100]):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                answer = asyncio.ensure_future(reader.read())
                while not answer.done():
                    writer.write(b"a")
                    await asyncio.wait([answer], timeout=0.01)
                assert b" 408 " in await answer or b" 500 " in await answer
                writer.close()

    run(story())


def test_a_body_that_does_not_come_is_the_applications_to_tell() -> None:
    async def story() -> None:
        async with serving(telling, timeouts=QUICK) as (_, port):
            [(status, headers, body)] = answers(await talk(port, post("/", b"hello")[:-1]))
            assert (status, headers["connection"], body) == (408, "close", b"request_timeout")

    run(story())


# -------------------------------------------------------------------------------------------------------- callers that go


def test_a_caller_that_vanishes_cancels_the_task() -> None:
    async def story() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def app(exchange: Exchange) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        for way in ("close", "reset"):
            begun.clear()
            ended.clear()
            async with serving(app) as (_, port):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(post())
                await begun.wait()
                writer.close() if way == "close" else writer.transport.abort()
                await ended.wait()

    run(story())


def test_a_caller_that_vanishes_in_mid_stream_or_mid_body_cancels_the_task() -> None:
    async def story() -> None:
        ended = asyncio.Event()

        async def app(exchange: Exchange) -> None:
            try:
                if exchange.path == "/body":
                    await exchange.read_body(1_000)
                exchange.start(200, [])
                while True:
                    await exchange.send(b"x" * 1_000)
                    await asyncio.sleep(0)
            finally:
                ended.set()

        async with serving(app) as (_, port):
            for data in (post(), post("/body", b"hello")[:-1]):
                ended.clear()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                if b"/body" not in data:
                    await reader.readuntil(b"\r\n\r\n")
                writer.close()
                await ended.wait()

    run(story())


def test_a_slow_caller_holds_the_application_back_and_one_that_reads_nothing_is_let_go() -> None:
    async def story() -> None:
        sent, was_held, over = 0, False, asyncio.Event()

        async def app(exchange: Exchange) -> None:
            nonlocal sent, was_held
            exchange.start(200, [])
            try:
                while True:
                    await exchange.send(b"x" * 10_000)
                    sent += 10_000
                    was_held = was_held or not exchange.is_free
            finally:
                over.set()

        async with serving(app, timeouts=QUICK) as (_, port):
            with socket.socket() as caller:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                caller.connect(("127.0.0.1", port))
                caller.sendall(post())
                await over.wait()  # the stall was seen: nobody read a byte
        assert was_held
        assert sent < 20_000_000  # what the system's buffers take

    run(story())


# ---------------------------------------------------------------------------------------------------- faulty applications


def test_a_fault_is_500_before_the_answer_and_a_cut_within_it() -> None:
    async def broken(exchange: Exchange) -> None:
        raise KeyError("x")

    async def broken_later(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.send(b"some")
        raise KeyError("x")

    async def forgetful(exchange: Exchange) -> None:
        pass

    async def careless(exchange: Exchange) -> None:
        await exchange.respond(200, [("x", "a\r\nb: c")], b"")

    async def story() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        for app, status in ((broken, 500), (forgetful, 500), (careless, 500)):
            async with serving(app) as (_, port):
                assert statuses(await talk(port, post(close=False) + post())) == [status, status]
        async with serving(broken_later) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post())
            with pytest.raises(http1.Malformed):
                answers(await cut_short(reader))
            writer.close()
        assert len(told) == 7
        assert all("exception" in context for context in told)

    run(story())


async def cut_short(reader: asyncio.StreamReader) -> bytes:
    """What came before the connection was reset or closed."""
    data = b""
    try:
        while piece := await reader.read(1_000):
            data += piece
    except ConnectionResetError:
        pass
    return data or b"HTTP/1.1 2"


# ---------------------------------------------------------------------------------------------------------------- drain


def test_drain_closes_idle_connections_finishes_open_ones_and_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENT_S", 0.02)  # the moment that one gets which has just come

    async def story() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def app(exchange: Exchange) -> None:
            begun.set()
            await go_on.wait()
            await echo(exchange)

        made = Server(app)
        port = await made.start("127.0.0.1", 0)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(close=False))
        await begun.wait()
        draining = asyncio.ensure_future(made.drain(10))
        assert await idle_reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        go_on.set()
        [(status, headers, _)] = answers(await reader.read())
        assert (status, headers["connection"]) == (200, "close")
        await draining
        assert made.open == 0
        writer.close()
        idle_writer.close()

    run(story())


def test_drain_cancels_what_is_open_at_its_limit() -> None:
    async def story() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def app(exchange: Exchange) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        made = Server(app)
        port = await made.start("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post())
        await begun.wait()
        await made.drain(0.01)
        assert cancelled.is_set()
        assert made.open == 0
        writer.close()

    run(story())


# --------------------------------------------------------------------------------------------------------------- budget


def test_the_budget_leaves_descriptors_for_the_upstreams() -> None:
    assert server.budget(4_096, 1_024) == 480
    assert server.budget(100, 1_024) == 100
    assert server.budget(100, 16) == 1


async def hold(port: int, count: int) -> list[Streams]:
    return [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]


def test_above_the_budget_a_caller_is_informed_and_the_longest_idle_makes_room() -> None:
    async def story() -> None:
        go_on = asyncio.Event()
        waiting = asyncio.Semaphore(0)

        async def app(exchange: Exchange) -> None:
            if exchange.path == "/wait":
                waiting.release()
                await go_on.wait()
            await echo(exchange)

        async with serving(app, max_connections=3) as (_, port):
            held = await hold(port, 3)
            for reader, writer in held:
                writer.write(post("/", close=False))
                await reader.readuntil(b"POST /? ")
            assert statuses(await talk(port, post())) == [200]
            assert await held[0][0].read() == b""  # the one idle longest
            [third] = await hold(port, 1)
            for _, writer in [*held[1:], third]:
                writer.write(post("/wait"))
                await waiting.acquire()
            [(status, headers, _)] = answers(await talk(port, post()))
            assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
            go_on.set()
            assert statuses(await third[0].read()) == [200]
            for _, writer in [*held, third]:
                writer.close()

    run(story())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="descriptor limits are a POSIX matter")
def test_without_descriptors_callers_are_turned_away_and_served_again_later() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> None:
        async with serving(max_connections=1_000) as (_, port):
            caller = socket.socket()
            caller.setblocking(False)
            waiting: list[socket.socket] = []
            lowest = socket.socket()
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, before[1]))
            lowest.close()
            try:
                waiting.append(socket.socket())
            except OSError:
                pass
            try:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(caller, ("127.0.0.1", port))
                data = b"-"
                while data:
                    data = await loop.sock_recv(caller, 1_000)
                    if b" 503 " in data:
                        break
                assert b" 503 " in data
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                caller.close()
                for each in waiting:
                    each.close()
            assert statuses(await talk(port, post())) == [200]

    try:
        run(story())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_hundreds_of_callers_at_once_leave_nothing_behind() -> None:
    async def story() -> None:
        async with serving() as (made, port):
            got = await asyncio.gather(*(talk(port, post(f"/{n}", b"x" * n)) for n in range(300)))
            assert all(statuses(data) == [200] for data in got)
            while made.open:
                await asyncio.sleep(0)

    run(story())


@pytest.mark.slow
def test_any_bytes_are_answered_or_closed_and_leave_nothing_behind() -> None:
    rng = random.Random("server")
    words = [b"POST / HTTP/1.1\r\nhost: h\r\n", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"\r\n",
             b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"expect: 100-continue\r\n", b"connection: close\r\n",
             b"\x00", b"GET /"]  # fmt: skip

    async def rude(port: int, data: bytes) -> None:
        try:
            answer = await talk(port, data)
        except ConnectionResetError:
            return
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")

    async def story() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with serving(telling, timeouts=QUICK) as (made, port):
            for _ in range(10):
                many = [b"".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(50)]
                await asyncio.gather(*(rude(port, data) for data in many))
            assert statuses(await talk(port, post())) == [200]
            while made.open:
                await asyncio.sleep(0)
        assert told == []

    run(story())


def test_an_address_that_is_taken_is_an_os_error() -> None:
    async def story() -> None:
        async with serving() as (_, port):
            with pytest.raises(OSError):
                await Server(echo).start("127.0.0.1", port)
        with pytest.raises(OSError):
            await Server(echo).start("203.0.113.1", 0)

    run(story())


def test_localhost_is_every_loopback_address_under_one_port() -> None:
    async def story() -> None:
        made = Server(echo)
        port = await made.start("localhost", 0)
        assert statuses(await talk(port, post())) == [200]
        await made.drain(1)

    run(story())
