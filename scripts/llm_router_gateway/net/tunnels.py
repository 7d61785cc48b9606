"""The way to an origin through a proxy: HTTP with CONNECT, or SOCKS5; with TLS to the proxy, through it, or both.

    await open_through_proxy(origin, protocol, tls_for)   protocol.connection_made: all that it sends goes to the origin
    proxy_credentials(origin.proxy)                       the header for a proxy that passes plain requests on

UpstreamFailed names the origin and what the proxy said; never the proxy's user or password. Errors of the socket are raised as
they are.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import ssl
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote, urlsplit

from ..errors import UpstreamFailed
from . import http1
from .http1 import Headers, ResponseHead
from .origin import DEFAULT_PORTS, Origin, address_of

MAX_PROXY_ANSWER = 65_536  # bytes a proxy may send before the tunnel is open
SOCKS_REFUSALS = {  # RFC 1928 6
    1: "general failure", 2: "not allowed", 3: "network unreachable", 4: "host unreachable", 5: "connection refused",
    6: "too slow", 7: "command not supported", 8: "kind of address not supported",
}  # fmt: skip


def proxy_credentials(proxy: str) -> Headers:
    """[("proxy-authorization", "Basic ...")] for a proxy address with a name in it."""
    user, password = proxy_user(proxy)
    if not user:
        return []
    return [("proxy-authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())]


def proxy_user(proxy: str) -> tuple[str, str]:
    """User name and password in a proxy's URL, unescaped: "me:p%40ss" before the host -> ("me", "p@ss")."""
    parts = urlsplit(proxy)
    return unquote(parts.username or ""), unquote(parts.password or "")


def socks_address(host: str, port: int) -> bytes:
    """An address as SOCKS5 writes it; names go as names, so that the proxy looks them up. RFC 1928 5."""
    address = address_of(host)
    if address is None:
        name = host.encode("idna")
        return b"\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big")
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed + port.to_bytes(2, "big")


class Handshake(asyncio.Protocol):
    """A connection to a proxy until its tunnel is open: a buffer with awaited reads."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._over = False
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._over = self._over or len(self._data) > MAX_PROXY_ANSWER
        self._news.set()

    def eof_received(self) -> bool:
        self._over = True
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()

    async def some(self) -> bytes:
        """All buffered bytes, at least one."""
        await self._wait_for(1)
        return self._taken(len(self._data))

    async def exactly(self, count: int) -> bytes:
        await self._wait_for(count)
        return self._taken(count)

    def _taken(self, count: int) -> bytes:
        data = bytes(self._data[:count])
        del self._data[:count]
        return data

    async def _wait_for(self, count: int) -> None:
        while len(self._data) < count:
            if self._over:
                raise ConnectionResetError(errno.ECONNRESET, "the proxy closed the connection")
            self._news.clear()
            await self._news.wait()

    @property
    def rest(self) -> bytes:
        return bytes(self._data)


async def open_tunnel(handshake: Handshake, transport: asyncio.Transport, origin: Origin) -> None:
    """CONNECT host:port. RFC 9110 9.3.6."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    address = f"{host}:{origin.port}"
    head = [("host", address), *proxy_credentials(origin.proxy)]
    transport.write(http1.request_head("CONNECT", address, head))
    reader = http1.ResponseReader()
    reader.expect("CONNECT")
    while (item := reader.next()) is None:
        reader.feed(await handshake.some())
    status = cast(ResponseHead, item).status
    if not 200 <= status < 300:
        raise UpstreamFailed(f"{origin.name}: the proxy refused the connection with status {status}")
    if reader.buffered:
        raise UpstreamFailed(f"{origin.name}: the proxy sent bytes before it was sent anything")


async def open_socks_tunnel(handshake: Handshake, transport: asyncio.Transport, origin: Origin) -> None:
    """SOCKS5, with name and password when the proxy's address has them. RFC 1928, RFC 1929."""
    user, password = proxy_user(origin.proxy)
    transport.write(b"\x05\x02\x00\x02" if user else b"\x05\x01\x00")
    version, method = await handshake.exactly(2)
    if version != 5 or method not in ((0, 2) if user else (0,)):
        raise UpstreamFailed(f"{origin.name}: the SOCKS5 proxy accepts none of the available authentication methods")
    if method == 2:
        name, word = user.encode()[:255], password.encode()[:255]
        transport.write(b"\x01" + bytes([len(name)]) + name + bytes([len(word)]) + word)
        if (await handshake.exactly(2))[1] != 0:
            raise UpstreamFailed(f"{origin.name}: the SOCKS5 proxy rejected the user name or password")
    transport.write(b"\x05\x01\x00" + socks_address(origin.host, origin.port))
    _, code, _, kind = await handshake.exactly(4)
    if code != 0:
        raise UpstreamFailed(f"{origin.name}: the SOCKS5 proxy refused: {SOCKS_REFUSALS.get(code, code)}")
    length = {1: 4, 4: 16}.get(kind) or (await handshake.exactly(1))[0]
    await handshake.exactly(length + 2)


async def open_through_proxy(
    origin: Origin, protocol: asyncio.BaseProtocol, tls_for: Callable[[str], ssl.SSLContext | None]
) -> None:
    """Connects `protocol` to the origin; `tls_for` gives a scheme its TLS context."""
    loop = asyncio.get_running_loop()
    proxy = urlsplit(origin.proxy)
    transport, handshake = await loop.create_connection(
        Handshake, proxy.hostname or "", proxy.port or DEFAULT_PORTS[proxy.scheme], ssl=tls_for(proxy.scheme)
    )
    try:
        if proxy.scheme.startswith("socks"):
            await open_socks_tunnel(handshake, transport, origin)
        elif origin.scheme == "https":
            await open_tunnel(handshake, transport, origin)
        if handshake.rest:
            raise UpstreamFailed(f"{origin.name}: the proxy sent bytes before it was sent anything")
        transport.set_protocol(protocol)
        tls = tls_for(origin.scheme)
        if tls is not None:
            upgraded = await loop.start_tls(transport, protocol, tls, server_hostname=origin.host)
            if upgraded is None:
                raise UpstreamFailed(f"{origin.name}: the connection was lost before TLS began")
            transport = upgraded
    except BaseException:
        transport.abort()
        raise
    if transport.is_closing():
        raise ConnectionResetError(errno.ECONNRESET, "gone before it was used")
    protocol.connection_made(transport)
