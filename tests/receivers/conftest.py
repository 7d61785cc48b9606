"""Gateways that end with their test, and an upstream that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Process, Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """start(config, env={...}) -> running.Process; it is ended with the test, and its log must hold no internal error."""
    started: list[Process] = []

    def begin(config: str, **how: Any) -> Process:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Process(folder, config, **how))
        return started[-1]

    yield begin
    for each in started:
        each.end()
        assert not each.faults(), each.log
