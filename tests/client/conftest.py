"""Fixtures of the client's tests."""

from __future__ import annotations

from typing import Callable, Iterator, List

import pytest
from raw_server import RawServer, Reply, StillTransport


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """serve(*replies) -> a RawServer, closed with the test."""
    servers: List[RawServer] = []

    def start(*replies: Reply, hold: bool = False) -> RawServer:
        servers.append(RawServer(*replies, hold=hold))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def still() -> StillTransport:
    return StillTransport()
