"""What the tests of the whole process share: the mock server, an upstream that does as it is told, and gateways that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def mock_server() -> Iterator[Any]:
    from llm_router_demo import DemoServer

    with DemoServer() as server:
        yield server


@pytest.fixture(scope="module")
def upstream() -> Iterator[Any]:
    from running import Upstream

    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def module_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """As `start`, for gateways that live as long as the tests of one file."""
    yield from starter(lambda: tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """start(config, *flags, **how) -> running.Process; it is ended with the test, and its log must hold no internal error."""
    yield from starter(lambda: tmp_path)


def starter(folder: Callable[[], Path]) -> Iterator[Callable[..., Any]]:
    from running import Process

    started: list[Process] = []

    def begin(config: str = "", *words: str, **how: Any) -> Process:
        started.append(Process(how.pop("folder", None) or folder(), config, *words, **how))
        return started[-1]

    yield begin
    for each in started:
        each.end()
        assert not each.faults(), each.log
