"""tunnels: HTTP and SOCKS5 proxies on loopback sockets, with TLS to them, through them, and both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from loops import run
from scripted import PATIENT, Peer, Script, always_ok, gone, mute, pool_of, post, server_tls, trusting, upstream_of, whole

from llm_router_gateway.errors import GatewayError, UpstreamFailed, UpstreamTimeout


async def shovel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def tunnel(peer: Peer, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(shovel(peer.reader, writer), shovel(reader, peer.writer))


def proxy_to(port: Callable[[], int], answer: bytes = b"HTTP/1.1 200 Fine\r\n\r\n") -> Script:
    """An HTTP proxy which takes every name for one port of this machine."""

    async def script(peer: Peer) -> None:
        peer.asked = await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(answer)
        if b" 200 " in answer:
            await tunnel(peer, port())

    return script


def socks_to(port: Callable[[], int], *, code: int = 0, user: bytes = b"", kind: bytes = b"\x01\0\0\0\0\0\0") -> Script:
    async def script(peer: Peer) -> None:
        read = peer.reader.readexactly
        await read((await read(2))[1])
        await peer.say(b"\x05\x02" if user else b"\x05\x00")
        if user:
            name = await read((await read(2))[1])
            word = await read((await read(1))[0])
            await peer.say(b"\x01\x00" if name + b":" + word == user else b"\x01\x01")
        assert await read(3) == b"\x05\x01\x00"
        address = await read(1)
        address += await read(4) if address == b"\x01" else bytes([length := (await read(1))[0]]) + await read(length)
        peer.asked = address + await read(2)
        await peer.say(bytes([5, code, 0]) + kind)
        if code == 0:
            await tunnel(peer, port())

    return script


def test_tls_through_an_http_proxy(certificate: Path) -> None:
    async def story() -> None:
        async with (
            upstream_of(always_ok, server_tls(certificate)) as server,
            upstream_of(proxy_to(lambda: server.port)) as proxy,
            pool_of(tls=trusting(certificate)) as pool,
        ):
            address = "http://{}@127.0.0.1:{}".format("me:p%40ss", proxy.port)
            for _ in range(3):
                assert await whole(pool, "https://upstream.test/x?key=1", proxy=address) == b"ok"
            assert len(proxy.peers) == 1
            assert proxy.peers[0].asked == (
                b"CONNECT upstream.test:443 HTTP/1.1\r\nhost: upstream.test:443\r\n"
                b"proxy-authorization: Basic bWU6cEBzcw==\r\n\r\n"
            )
            seen = dict(server.peers[0].seen[0][0].headers)
            assert seen["host"] == "upstream.test"
            assert "proxy-authorization" not in seen

    run(story())


def test_tls_in_tls_through_an_https_proxy(certificate: Path) -> None:
    async def story() -> None:
        async with (
            upstream_of(always_ok, server_tls(certificate)) as server,
            upstream_of(proxy_to(lambda: server.port), server_tls(certificate)) as proxy,
            pool_of(tls=trusting(certificate)) as pool,
        ):
            for _ in range(2):
                address = f"https://localhost:{proxy.port}"
                assert await whole(pool, "https://upstream.test/", proxy=address) == b"ok"

    run(story())


def test_a_plain_request_goes_to_an_http_proxy_with_its_whole_address() -> None:
    async def story() -> None:
        async with upstream_of(always_ok) as proxy, pool_of() as pool:
            address = "http://{}@127.0.0.1:{}".format("me:pw", proxy.port)
            assert await whole(pool, "http://upstream.test:81/x?a", proxy=address) == b"ok"
            [(head, _)] = proxy.peers[0].seen
            assert (head.path, head.query) == ("/x", "a")
            assert dict(head.headers)["host"] == "upstream.test:81"
            assert dict(head.headers)["proxy-authorization"] == "Basic bWU6cHc="

    run(story())


@pytest.mark.parametrize("user", [b"", b"me:pw"])
@pytest.mark.parametrize("kind", [b"\x01" + bytes(6), b"\x04" + bytes(18), b"\x03\x02ab" + bytes(2)])
def test_socks5_with_and_without_a_password(user: bytes, kind: bytes, certificate: Path) -> None:
    async def story() -> None:
        async with (
            upstream_of(always_ok, server_tls(certificate)) as server,
            upstream_of(socks_to(lambda: server.port, user=user, kind=kind)) as proxy,
            pool_of(tls=trusting(certificate)) as pool,
        ):
            sign_in = user.decode() + "@" if user else ""
            for _ in range(2):
                address = f"socks5://{sign_in}127.0.0.1:{proxy.port}"
                assert await whole(pool, "https://upstream.test/", proxy=address) == b"ok"
            assert proxy.peers[0].asked == b"\x03\x0dupstream.test\x01\xbb"

    run(story())


def test_a_plain_request_through_socks5() -> None:
    async def story() -> None:
        async with (
            upstream_of(always_ok) as server,
            upstream_of(socks_to(lambda: server.port)) as proxy,
            pool_of() as pool,
        ):
            assert await whole(pool, "http://10.9.8.7:88/", proxy=f"socks5h://127.0.0.1:{proxy.port}") == b"ok"
            assert proxy.peers[0].asked == b"\x01\x0a\x09\x08\x07\x00\x58"
            assert server.peers[0].seen[0][0].path == "/"

    run(story())


@pytest.mark.parametrize(
    ("script", "scheme", "told"),
    [
        (proxy_to(lambda: 0, b"HTTP/1.1 407 Who\r\n\r\n"), "http", "status 407"),
        (proxy_to(lambda: 0, b"garbage\r\n\r\n"), "http", "no HTTP|cannot connect"),
        (proxy_to(lambda: 0, b""), "http", "connection reset"),
        (proxy_to(lambda: 0, b"HTTP/1.1 299 Fine\r\n\r\nearly"), "http", "before it was sent anything"),
        (socks_to(lambda: 0, code=5), "socks5", "connection refused"),
        (socks_to(lambda: 0, user=b"x:y"), "socks5", "none of the available"),
        (mute, "socks5", "no connection within"),
        (mute, "http", "no connection within"),
    ],
)
def test_a_proxy_that_refuses_is_reported(script: Script, scheme: str, told: str) -> None:
    async def story() -> None:
        async with upstream_of(script) as proxy, pool_of() as pool:
            with pytest.raises(GatewayError, match=told) as caught:
                address = f"{scheme}://127.0.0.1:{proxy.port}"
                connect_s = 0.2 if script is mute else PATIENT.connect_s
                await post(pool, "https://upstream.test/", proxy=address, timeouts=PATIENT._replace(connect_s=connect_s))
            assert isinstance(caught.value, UpstreamFailed | UpstreamTimeout)
            await gone(pool)

    run(story())
