"""The gateway as a process: see tests/support/running.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

collect_ignore = [] if sys.version_info >= (3, 11) else ["test_codex.py"]  # the gateway needs 3.11


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """start(config) -> running.Process; it is ended with the test, and its log must hold no fault of ours."""
    from running import Process

    started: list[Process] = []

    def begin(config: str) -> Process:
        started.append(Process(tmp_path, config))
        return started[-1]

    yield begin
    for each in started:
        each.end()
        assert not each.faults(), each.log
