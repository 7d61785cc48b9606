"""Servers on loopback sockets that do as a script says, and a pool of connections to them that leaves none open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from llm_router_gateway.net.client import Pool, Response, Timeouts
from llm_router_gateway.net.http1 import END, RequestHead, RequestReader

PATIENT = Timeouts(20, 20, 20)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSING = OK.replace(b"content", b"connection: close\r\ncontent")
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection to a scripted server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.parser = reader, writer, RequestReader()
        self.seen: list[tuple[RequestHead, bytes]] = []
        self.asked = b""  # of a proxy

    async def _next(self) -> Any:
        while (item := self.parser.next()) is None:
            data = await self.reader.read(65_536)
            if not data:
                raise ConnectionResetError
            self.parser.feed(data)
        return item

    async def request(self) -> tuple[RequestHead, bytes]:
        head, body = await self._next(), b""
        while (item := await self._next()) is not END:
            body += item
        self.seen.append((head, body))
        return head, body

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Until the other side has closed."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        self.writer.transport.abort()


class Upstream:
    """A scripted server: what each connection does, and what was seen."""

    def __init__(self, script: Script) -> None:
        self.script, self.peers, self.port = script, [], 0  # type: Script, list[Peer], int
        self.running: set[asyncio.Task[None]] = set()

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.running.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            await self.script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def upstream_of(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    made = Upstream(script)
    server = await asyncio.start_server(made.begin, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for peer in made.peers:
            peer.writer.close()
        await asyncio.gather(*made.running)


@asynccontextmanager
async def pool_of(**options: Any) -> AsyncIterator[Pool]:
    pool = Pool(**options)
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.open == 0


async def post(pool: Pool, url: str, body: bytes = b"{}", *, timeouts: Timeouts = PATIENT, proxy: str = "") -> Response:
    return await pool.request("POST", url, [("x-a", "b")], body, timeouts=timeouts, proxy=proxy)


async def whole(pool: Pool, url: str, **how: Any) -> bytes:
    response = await post(pool, url, **how)
    try:
        return await response.read(100_000_000)
    finally:
        response.close()


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.say(OK)


def saying(data: bytes, *, then: str = "wait") -> Script:
    """A server that answers everything so, then waits, closes, or resets."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(data)
        if then == "wait":
            await peer.until_gone()
        elif then == "reset":
            peer.reset()

    return script


async def mute(peer: Peer) -> None:
    await peer.until_gone()


async def gone(pool: Pool, left: int = 0) -> None:
    while pool.open > left:
        await asyncio.sleep(0)


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cafile=str(certificate))
