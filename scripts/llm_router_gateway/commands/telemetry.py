"""Starts and ends the sending of spans and metrics: of the one process, or of each worker, which sends its own.

sending = Sending(config, gateway, pool, log)     sets gateway.tracing where the configuration names a collector
sending.start()                                   from here on in the loop
await sending.close()                             what waits goes out, as far as TELEMETRY_S allows
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

from .. import __version__
from ..config.config import Config
from ..net.client import Pool
from ..proxy.gateway import Gateway
from ..proxy.log import Log
from ..proxy.tracing import Tracing
from ..telemetry.exporter import Exporter

TELEMETRY_S = 3.0  # for what waits to be sent at the end


class Sending:
    """Nothing happens where the configuration names no collector."""

    def __init__(self, config: Config, gateway: Gateway, pool: Pool, log: Log) -> None:
        self._exporter: Exporter | None = None
        self._task: asyncio.Task[None] | None = None
        if config.telemetry is not None:
            self._exporter = Exporter(config.telemetry, pool, version=__version__, warn=log.warn, info=log.info)
            gateway.tracing = Tracing(config.telemetry, self._exporter, os.urandom, clock=time.monotonic, wall=time.time)

    def health(self) -> Mapping[str, int]:
        return self._exporter.health() if self._exporter is not None else {}

    def start(self) -> None:
        if self._exporter is not None:
            self._task = asyncio.create_task(self._exporter.run())

    async def close(self) -> None:
        if self._exporter is None or self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._exporter.close(TELEMETRY_S)
