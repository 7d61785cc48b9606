"""An exchange around another one, for what has to know what goes out over it: the log of bodies, the cache of answers.

    class Taped(HeardExchange):
        def hear(self, data: bytes) -> None: ...     each piece of a stream

Everything is passed on; what a subclass overrides, it passes on itself.
"""

from __future__ import annotations

from .request import Exchange
from .streaming import Headers


class HeardExchange:
    """Passes everything on, and hears the pieces of a stream."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.method, self.path, self.query = exchange.method, exchange.path, exchange.query
        self.headers, self.client = exchange.headers, exchange.client

    def hear(self, data: bytes) -> None:
        """A piece that goes out."""
        raise NotImplementedError

    @property
    def started(self) -> bool:
        return self._exchange.started

    @property
    def is_free(self) -> bool:
        return self._exchange.is_free

    async def read_body(self, limit: int) -> bytes:
        return await self._exchange.read_body(limit)

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        await self._exchange.respond(status, headers, body)

    def start(self, status: int, headers: Headers) -> None:
        self._exchange.start(status, headers)

    async def send(self, data: bytes) -> None:
        self.hear(data)
        await self._exchange.send(data)

    def write(self, data: bytes) -> None:
        self._exchange.write(data)
        self.hear(data)

    async def end(self) -> None:
        await self._exchange.end()

    def abort(self) -> None:
        self._exchange.abort()
