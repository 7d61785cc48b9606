"""Requests about the gateway itself, which workers pass on to the home over a Unix socket, in HTTP/1.1.

    app = WorkerApp(gateway, Forward(path), new_id)       in a worker: `gateway` answers calls to models
    app = HomeApp(gateway, home.refresh, home.in_force)   in the home: the caller's address and Host as the worker saw them

The management API and the page, metrics, and /health with what is below it, so that any worker speaks for the whole gateway.
Answers of a known length pass as a whole, others stream through. What is read is as of the request, and a change is in force on
every worker before its answer goes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from ..errors import GatewayError, Unavailable
from ..net.client import Connection, Pool, Response, Timeouts
from ..net.origin import Origin
from ..proxy import paths
from ..proxy.own_api import MAX_BODY_BYTES
from ..proxy.request import Exchange, dump_json
from ..proxy.streaming import Headers
from ..wire.registry import DEFAULT, wire

FORWARDED = frozenset({"management", "models_health", "health", "ready", "live", "root"})
PROBES = ("/", "/health", "/health/live", "/health/ready")  # which wait for nothing
PEER, HOST = "x-llm-router-peer", "x-llm-router-host"  # between worker and home; from callers they are dropped
OF_THIS_HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "expect",
    "host", PEER, HOST,
})  # fmt: skip
NOT_PASSED_BACK = frozenset({"connection", "transfer-encoding", "content-length", "date", "keep-alive"})
TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=120.0, between_bytes_s=120.0)
MAX_ANSWER_BYTES = 268_435_456  # of one that comes with its length

App = Callable[[Exchange], Awaitable[None]]


def is_forwarded(exchange: Exchange) -> bool:
    """Whether the home answers a request."""
    known = paths.KNOWN.get((exchange.method, exchange.path))
    if known is not None:
        return known.kind in FORWARDED
    if exchange.method == "OPTIONS":
        return False
    query = dict(parse_qsl(exchange.query, keep_blank_values=True)) if exchange.query else {}
    try:
        return paths.read_call(exchange.method, exchange.path, query, dict(exchange.headers)).kind in FORWARDED
    except GatewayError:
        return False  # the worker refuses it


class UnixPool(Pool):
    """Connections to one Unix socket, whatever the address says."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    async def _open(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(self, origin, loop)
        await loop.create_unix_connection(lambda: connection, self._path)
        return connection


class Forward:
    """Passes requests on to the home."""

    def __init__(self, path: str, new_id: Callable[[], str]) -> None:
        self.pool = UnixPool(path)
        self._new_id = new_id

    async def __call__(self, exchange: Exchange) -> None:
        try:
            response = await self._response(exchange)
            try:
                await relay(exchange, response)
            finally:
                response.close()
        except GatewayError as error:
            if exchange.started:  # the home ended in the middle of its answer
                exchange.abort()
            else:
                await self._refuse(exchange, error)

    async def _response(self, exchange: Exchange) -> Response:
        body = await exchange.read_body(MAX_BODY_BYTES)
        headers = [(name, value) for name, value in exchange.headers if name not in OF_THIS_HOP]
        headers += [(HOST, value) for name, value in exchange.headers if name == "host"]
        headers.append((PEER, exchange.client))
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        method = "GET" if exchange.method == "HEAD" else exchange.method  # the exchange leaves the body out
        try:
            return await self.pool.request(method, f"http://gateway{target}", headers, body, timeouts=TIMEOUTS)
        except GatewayError as error:
            if error.status < 500:
                raise
            raise Unavailable(f"the gateway's main process cannot be reached: {error.message}", retry_after_s=1) from None

    async def _refuse(self, exchange: Exchange, error: GatewayError) -> None:
        status, headers, body = wire(DEFAULT).write_error(error, self._new_id())
        await exchange.respond(status, list(headers), dump_json(body))


async def relay(exchange: Exchange, response: Response) -> None:
    """An answer of the home, as it comes."""
    headers = [(name, value) for name, value in response.headers if name not in NOT_PASSED_BACK]
    if response.header("content-length") or response.status in (204, 304):
        await exchange.respond(response.status, headers, await response.read(MAX_ANSWER_BYTES))
        return
    exchange.start(response.status, headers)
    async for piece in response.pieces():
        await exchange.send(piece)
    await exchange.end()


class WorkerApp:
    """What a worker's server calls for each request."""

    def __init__(self, gateway: App, forward: Forward) -> None:
        self._gateway, self._forward = gateway, forward

    async def __call__(self, exchange: Exchange) -> None:
        if is_forwarded(exchange):
            await self._forward(exchange)
        else:
            await self._gateway(exchange)


class Forwarded:
    """A request that a worker passed on, as its caller sent it. Everything else is the exchange's."""

    def __init__(self, exchange: Exchange, in_force: Callable[[], Awaitable[None]]) -> None:
        self._exchange, self._in_force = exchange, in_force
        self.method, self.path, self.query = exchange.method, exchange.path, exchange.query
        given = dict(exchange.headers)
        self.client = given.get(PEER, "")
        self.headers: Headers = [(name, value) for name, value in exchange.headers if name not in (PEER, HOST, "host")]
        if HOST in given:
            self.headers.append(("host", given[HOST]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        await self._in_force()
        await self._exchange.respond(status, headers, body)


class HomeApp:
    """What the home's server calls for each request that a worker passed on."""

    def __init__(
        self, gateway: App, refresh: Callable[[], Awaitable[None]], in_force: Callable[[], Awaitable[None]]
    ) -> None:  # fmt: skip
        self._gateway, self._refresh, self._in_force = gateway, refresh, in_force

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.path.endswith(PROBES):
            await self._refresh()
        await self._gateway(Forwarded(exchange, self._in_force))
