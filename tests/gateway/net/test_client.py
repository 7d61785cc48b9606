"""client: scripted servers on loopback sockets; every way an answer can fail to come."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from loops import run
from scripted import (
    CHUNKED,
    CLOSING,
    OK,
    PATIENT,
    Peer,
    always_ok,
    gone,
    mute,
    pool_of,
    post,
    saying,
    server_tls,
    trusting,
    upstream_of,
    whole,
)

from llm_router_gateway.errors import BadRequest, StreamCut, Unavailable, UpstreamFailed, UpstreamTimeout
from llm_router_gateway.net import client
from llm_router_gateway.net.client import Pool, Response, Timeouts
from llm_router_gateway.net.http1 import ResponseHead
from llm_router_gateway.net.origin import Origin

# ---------------------------------------------------------------------------------------------------- requests, answers


def test_a_request_as_the_server_sees_it() -> None:
    async def story() -> None:
        async with upstream_of(always_ok) as server, pool_of() as pool:
            response = await post(pool, server.url + "/v1/x?a=%20", b"hello")
            assert (response.status, response.headers) == (200, [("content-length", "2")])
            assert response.header("content-length") == "2"
            assert response.header("other", "none") == "none"
            assert await response.read(10) == b"ok"
            response.close()
            response.close()
            [(head, body)] = server.peers[0].seen
            assert (head.method, head.path, head.query, body) == ("POST", "/v1/x", "a=%20", b"hello")
            assert head.headers == [("host", f"127.0.0.1:{server.port}"), ("content-length", "5"), ("x-a", "b")]
            await (await pool.request("GET", server.url, [], b"", timeouts=PATIENT)).read(10)
            assert dict(server.peers[0].seen[1][0].headers) == {"host": f"127.0.0.1:{server.port}"}

    run(story())


def test_one_connection_serves_many_requests_and_many_at_once_take_as_many() -> None:
    async def story() -> None:
        async with upstream_of(always_ok) as server, pool_of() as pool:
            for _ in range(20):
                assert await whole(pool, server.url) == b"ok"
            assert len(server.peers) == pool.open == 1
            assert await asyncio.gather(*(whole(pool, server.url) for _ in range(5))) == [b"ok"] * 5
            assert len(server.peers) == 5

    run(story())


@pytest.mark.parametrize("data", [CLOSING, OK.replace(b"1.1", b"1.0"), OK + b"extra"])
def test_a_connection_that_cannot_be_reused_is_not(data: bytes) -> None:
    async def story() -> None:
        async with upstream_of(saying(data)) as server, pool_of() as pool:
            for _ in range(3):
                assert await whole(pool, server.url) == b"ok"
            assert len(server.peers) == 3

    run(story())


def test_pieces_come_as_they_come() -> None:
    async def story() -> None:
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(CHUNKED)
            for piece in (b"1\r\na\r\n2\r\nbc\r\n", b"3\r\nd", b"ef\r\n0\r\n\r\n"):
                await peer.say(piece)
                await go_on.wait()
                go_on.clear()

        async with upstream_of(script) as server, pool_of() as pool:
            response, got = await post(pool, server.url), []
            async for piece in response.pieces():
                got.append(piece)
                go_on.set()
            assert got == [b"abc", b"d", b"ef"]
            assert await response.read(10) == b""
            response.close()

    run(story())


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def story() -> None:
        async with (
            upstream_of(saying(b"HTTP/1.1 200 OK\r\n\r\nall of it", then="close")) as server,
            pool_of() as pool,
        ):
            assert await whole(pool, server.url) == b"all of it"
            await gone(pool)

    run(story())


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 304 N\r\n\r\n"])
def test_answers_without_a_body(head: bytes) -> None:
    async def story() -> None:
        async with upstream_of(saying(head)) as server, pool_of() as pool:
            assert await whole(pool, server.url) == b""

    run(story())


def test_an_answer_longer_than_the_limit_is_refused() -> None:
    async def story() -> None:
        async with upstream_of(always_ok) as server, pool_of() as pool:
            response = await post(pool, server.url)
            with pytest.raises(UpstreamFailed, match="more than 1 bytes"):
                await response.read(1)
            response.close()

    run(story())


# -------------------------------------------------------------------------------------------------- dead connections


def test_a_kept_connection_that_died_is_replaced() -> None:
    async def story() -> None:
        async with upstream_of(saying(OK, then="close")) as server, pool_of() as pool:
            for _ in range(5):
                assert await whole(pool, server.url) == b"ok"
            assert len(server.peers) == 5

    run(story())


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_kept_connection_that_dies_under_a_request_is_replaced_once(how: str) -> None:
    async def story() -> None:
        async def script(peer: Peer) -> None:
            if len(server.peers) == 1:
                await peer.request()
                await peer.say(OK)
                await peer.request()  # this one goes unanswered
                if how == "reset":
                    peer.reset()
            else:
                await always_ok(peer)

        async with upstream_of(script) as server, pool_of() as pool:
            assert await whole(pool, server.url) == b"ok"
            assert await whole(pool, server.url, body=b"again") == b"ok"
            assert [body for peer in server.peers for _, body in peer.seen] == [b"{}", b"again", b"again"]

    run(story())


def test_a_kept_connection_that_ends_long_after_a_request_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "STALE_S", 0.0)

    async def story() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(OK)
            await peer.request()  # this one was worked on

        async with upstream_of(script) as server, pool_of() as pool:
            assert await whole(pool, server.url) == b"ok"
            with pytest.raises(UpstreamFailed, match="closed without an answer"):
                await post(pool, server.url, b"again")
            assert [body for peer in server.peers for _, body in peer.seen] == [b"{}", b"again"]

    run(story())


def test_a_new_connection_that_dies_is_not_replaced() -> None:
    async def story() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()

        async with upstream_of(script) as server, pool_of() as pool:
            with pytest.raises(UpstreamFailed, match="without an answer"):
                await post(pool, server.url)
            assert len(server.peers) == 1

    run(story())


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]
)
def test_once_a_byte_was_answered_nothing_is_sent_again(begun: bytes) -> None:
    async def story() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(OK)
            await peer.request()
            await peer.say(begun)

        async with upstream_of(script) as server, pool_of() as pool:
            await whole(pool, server.url)
            with pytest.raises(UpstreamFailed):
                await post(pool, server.url)
            assert len(server.peers) == 1

    run(story())


def test_bytes_that_came_unrequested_end_a_kept_connection() -> None:
    async def story() -> None:
        spoken = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(OK)
            if len(server.peers) == 1:
                await spoken.wait()
                await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
            await peer.until_gone()

        async with upstream_of(script) as server, pool_of() as pool:
            assert await whole(pool, server.url) == b"ok"
            spoken.set()
            await gone(pool)
            assert await whole(pool, server.url) == b"ok"

    run(story())


# ---------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"\x00\xff\x00garbage",
        b"SSH-2.0-x\r\n",
        OK.replace(b"\r\n", b"\n"),
        OK.replace(b"ok", b"ok").replace(b"content", b"content-length: 3\r\ncontent"),
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000,
        b"HTTP/1.1 101 Switching\r\n\r\n",
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
def test_what_is_no_answer_is_an_upstream_failure(data: bytes, then: str) -> None:
    async def story() -> None:
        async with upstream_of(saying(data, then=then)) as server, pool_of() as pool:
            with pytest.raises(UpstreamFailed) as caught:
                await post(pool, server.url + "/path?key=secret")
            assert "secret" not in str(caught.value)
            assert "/path" not in str(caught.value)
            await gone(pool)

    run(story())


@pytest.mark.parametrize(
    "data",
    [
        OK[:-1],
        CHUNKED + b"5\r\nhel",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
        CHUNKED + b"5\r\nhello\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
def test_what_breaks_off_is_cut_after_the_pieces_that_came(data: bytes, then: str) -> None:
    async def story() -> None:
        async with upstream_of(saying(data, then=then)) as server, pool_of() as pool:
            response = await post(pool, server.url)
            got = b""
            with pytest.raises(StreamCut):
                async for piece in response.pieces():
                    got += piece
            if then == "close":
                assert got and data.removesuffix(b"zz\r\n").find(got) > 0
            response.close()
            await gone(pool)

    run(story())


def test_every_byte_of_an_answer_may_be_the_last() -> None:
    data = CHUNKED.replace(b"HTTP", b"HTTP") + b"2\r\nhi\r\n0\r\n\r\n"

    async def story() -> None:
        for end in range(len(data)):
            async with upstream_of(saying(data[:end], then="close")) as server, pool_of() as pool:
                with pytest.raises((UpstreamFailed, StreamCut)):
                    await whole(pool, server.url)

    run(story())


def test_nothing_listens() -> None:
    async def story() -> None:
        async with upstream_of(always_ok) as server:
            url = server.url
        async with pool_of() as pool:
            with pytest.raises(UpstreamFailed, match="connection refused"):
                await post(pool, url)

    run(story())


def test_a_name_that_is_unknown() -> None:
    async def story() -> None:
        async with pool_of() as pool:
            with pytest.raises(UpstreamFailed, match=r"no\.such\.name\.invalid"):
                await post(pool, "http://no.such.name.invalid/")

    run(story())


@pytest.mark.parametrize("url", ["ftp://h/", "http:///x", "http://h:99999/", "h/x"])
def test_an_address_that_is_none(url: str) -> None:
    async def story() -> None:
        async with pool_of() as pool:
            with pytest.raises(UpstreamFailed, match="base_url"):
                await post(pool, url)

    run(story())


@pytest.mark.parametrize(("path", "headers"), [("/a b", []), ("/\r\nx: y", []), ("/", [("a", "b\r\nc: d")])])
def test_what_cannot_be_sent_is_not(path: str, headers: list[tuple[str, str]]) -> None:
    async def story() -> None:
        async with upstream_of(always_ok) as server, pool_of() as pool:
            with pytest.raises(BadRequest):
                await pool.request("POST", server.url + path, headers, b"", timeouts=PATIENT)
            assert server.peers == []

    run(story())


# ----------------------------------------------------------------------------------------------------------------- time


def test_the_first_byte_has_its_own_time() -> None:
    async def story() -> None:
        for script in (mute, saying(b"HTTP/1.1 200 OK\r\n")):
            async with upstream_of(script) as server, pool_of() as pool:
                with pytest.raises(UpstreamTimeout, match="no answer began"):
                    await post(pool, server.url, timeouts=Timeouts(5, 0.05, 5))
                await gone(pool)

    run(story())


class ByHand:
    """A Deadline whose time is up when a test says so; `seconds` is what it was set to, one after the other."""

    def __init__(self, call_at: Any, clock: Any, on_timeout: Callable[[], None]) -> None:
        self.on_timeout = on_timeout
        self.seconds: list[float] = []
        self.runs = False

    def set(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.runs = True

    def clear(self) -> None:
        self.runs = False

    stop = clear


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> list[ByHand]:
    """The deadlines of connections, in the order in which they were opened."""
    made: list[ByHand] = []

    def make(*how: Any) -> ByHand:
        made.append(ByHand(*how))
        return made[-1]

    monkeypatch.setattr(client, "Deadline", make)
    return made


def test_the_time_between_two_reads_starts_anew_with_each(deadlines: list[ByHand]) -> None:
    async def story() -> None:
        taken = asyncio.Semaphore(0)

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(CHUNKED)
            for count in range(1, 11):
                await peer.say(b"1\r\nx\r\n")
                await taken.acquire()
                assert deadlines[0].seconds.count(7.0) >= count
            deadlines[0].on_timeout()
            await peer.until_gone()

        async with upstream_of(script) as server, pool_of() as pool:
            response = await post(pool, server.url, timeouts=Timeouts(5, 5, 7.0))
            got = b""
            with pytest.raises(UpstreamTimeout, match="nothing came for 7 s"):
                async for piece in response.pieces():
                    got += piece
                    taken.release()
            assert got == b"x" * 10
            response.close()
            await gone(pool)

    run(story())


def test_a_connection_has_its_own_time() -> None:
    async def silent(peer: Peer) -> None:  # speaks no TLS
        await peer.until_gone()

    async def story() -> None:
        async with upstream_of(silent) as server, pool_of() as pool:
            with pytest.raises(UpstreamTimeout, match="no connection"):
                await post(pool, server.url.replace("http:", "https:"), timeouts=Timeouts(0.05, 5, 5))
            await gone(pool)

    run(story())


def test_a_slow_caller_is_not_a_silent_upstream_and_slows_it(deadlines: list[ByHand]) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(CHUNKED)
        while sent < 100_000_000:
            await peer.say(b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000))
            sent += 100_000

    async def story() -> None:
        async with upstream_of(script) as server, pool_of() as pool:
            response = await post(pool, server.url)
            before = -1
            while deadlines[0].runs or sent != before:  # until reading is paused, and the server held back
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 20_000_000
            pieces = response.pieces()
            for _ in range(5):
                assert 0 < len(await pieces.__anext__()) <= 2 * client.READ_AHEAD + client.READ_BYTES
            response.close()
            await gone(pool)

    run(story())


def test_a_long_request_is_not_a_late_answer(deadlines: list[ByHand]) -> None:
    """The time for an answer is up again and again while the request still moves; then once more while nothing moves."""

    async def story() -> None:
        async def script(peer: Peer) -> None:
            connection: Any = deadlines[0].on_timeout.__self__  # type: ignore[attr-defined]  # a bound method
            await peer.reader.read(1)
            for count in range(2, 7):
                while connection._transport.get_write_buffer_size() >= connection._unsent:
                    assert await peer.reader.read(1_000_000)
                deadlines[0].on_timeout()
                assert deadlines[0].seconds == [PATIENT.first_byte_s] * count
            deadlines[0].on_timeout()

        async with upstream_of(script) as server, pool_of() as pool:
            with pytest.raises(UpstreamTimeout):
                await post(pool, server.url, body=b"x" * 30_000_000)
            await gone(pool)

    run(story())


# --------------------------------------------------------------------------------------------------------- cancellation


def test_a_cancelled_request_closes_its_connection() -> None:
    async def story() -> None:
        seen, gone_too = asyncio.Event(), asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            seen.set()
            await peer.until_gone()
            gone_too.set()

        async with upstream_of(script) as server, pool_of() as pool:
            asking = asyncio.ensure_future(post(pool, server.url))
            await seen.wait()
            asking.cancel()
            await gone_too.wait()
            await gone(pool)
            with pytest.raises(asyncio.CancelledError):
                await asking

    run(story())


@pytest.mark.parametrize("is_answered_first", [True, False])
def test_a_request_that_is_cancelled_as_its_answer_comes_takes_no_connection_from_another(
    is_answered_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one turn of the loop: its answer, its cancellation, and another request, which runs before it ends."""
    receive = client.Connection.buffer_updated

    async def story() -> None:
        async with upstream_of(always_ok) as server, pool_of() as pool:
            assert await whole(pool, server.url) == b"ok"
            first = asyncio.ensure_future(whole(pool, server.url))
            others: list[asyncio.Task[bytes]] = []

            def turn(connection: client.Connection, nbytes: int) -> None:
                monkeypatch.undo()
                others.append(asyncio.ensure_future(whole(pool, server.url)))
                if not is_answered_first:
                    first.cancel()
                receive(connection, nbytes)
                first.cancel()

            monkeypatch.setattr(client.Connection, "buffer_updated", turn)
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await others[0] == b"ok"
            assert sum(len(peer.seen) for peer in server.peers) == 3

    run(story())


def test_an_unread_answer_closes_its_connection_and_a_read_one_keeps_it() -> None:
    async def story() -> None:
        async with upstream_of(saying(CHUNKED + b"1\r\na\r\n")) as server, pool_of() as pool:
            response = await post(pool, server.url)
            response.close()
            await gone(pool)
        async with upstream_of(always_ok) as server, pool_of() as pool:
            response = await post(pool, server.url)
            response.close()  # unread, but all here
            assert pool.open == 1

    run(story())


# ----------------------------------------------------------------------------------------------------------------- TLS, origins


def test_tls_is_verified(certificate: Path) -> None:
    async def story() -> None:
        async with upstream_of(always_ok, server_tls(certificate)) as server:
            url = f"https://localhost:{server.port}/"
            async with pool_of() as pool:
                with pytest.raises(UpstreamFailed, match="certificate is not trusted"):
                    await post(pool, url)
            async with pool_of(tls=trusting(certificate)) as pool:
                for _ in range(3):
                    assert await whole(pool, url) == b"ok"
                assert pool.open == 1
                with pytest.raises(UpstreamFailed, match="certificate is not trusted"):
                    await post(pool, url.replace("localhost", "127.0.0.1"))
                with pytest.raises(UpstreamFailed):
                    await post(pool, url.replace("https", "http"))

    run(story())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "a.localhost"])
def test_loopback_never_goes_through_a_proxy(host: str) -> None:
    assert client.origin_of(f"http://{host}:1", "http://proxy.test:3128").proxy == ""
    assert client.origin_of("http://127.0.0.1.example:1", "http://proxy.test:3128").proxy


def test_the_names_of_origins() -> None:
    assert Origin("https", "h.test", 443).name == "h.test"
    assert Origin("https", "h.test", 80).name == "h.test:80"
    assert Origin("http", "::1", 80).name == "[::1]"
    assert client.origin_of("https://[::1]:8443", "") == Origin("https", "::1", 8443)


def test_urls_are_split_without_a_loss() -> None:
    assert client.split_url("http://h/a?b/c") == ("http://h", "/a?b/c")
    assert client.split_url("http://h") == ("http://h", "/")


def test_an_address_with_a_query_is_not_remembered() -> None:
    origin, before = Origin("http", "h.test", 80), client.cached_head_start.cache_info()
    data = client.request_bytes("POST", origin, "/a?key=secret", [("x", "1")], b"hi")
    assert data == b"POST /a?key=secret HTTP/1.1\r\nhost: h.test\r\ncontent-length: 2\r\nx: 1\r\n\r\nhi"
    assert client.cached_head_start.cache_info() == before
    first = client.request_bytes("POST", origin, "/remembered", [], b"hi")
    assert client.request_bytes("POST", origin, "/remembered", [], b"hi") == first
    assert client.cached_head_start.cache_info().hits == before.hits + 1


# ----------------------------------------------------------------------------------------------------- out of descriptors


def test_without_descriptors_unused_connections_make_room_first() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> None:
        async with upstream_of(always_ok) as first, upstream_of(always_ok) as second, pool_of() as pool:
            await whole(pool, first.url)
            second_pool = Pool()
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            try:
                with pytest.raises(Unavailable):
                    await post(second_pool, second.url)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert await whole(second_pool, second.url) == b"ok"
            await second_pool.close()

    try:
        run(story())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_tap_takes_what_comes_while_its_reader_waits_and_its_error_reaches_the_reader() -> None:
    taken: list[bytes] = []

    def tap(piece: bytes) -> bool:
        taken.append(piece)
        return piece != b"mine"

    class Reading:
        def go_on_reading(self) -> None: ...

    async def story() -> list[bytes]:
        head = ResponseHead(200, [], 1, 0, True)
        response = Response(Origin("http", "127.0.0.1", 9), head, cast(client.Connection, Reading()))
        response.tap = tap
        response.take(b"early")  # nobody waits: it is kept
        seen = [await response.__anext__()]
        waiting = asyncio.ensure_future(response.__anext__())
        await asyncio.sleep(0)
        response.take(b"tapped")
        response.take(b"mine")
        seen.append(await waiting)
        response.finish(StreamCut("cut"))
        with pytest.raises(StreamCut):
            await response.__anext__()
        return seen

    assert asyncio.run(story()) == [b"early", b"mine"] and taken == [b"tapped", b"mine"]
