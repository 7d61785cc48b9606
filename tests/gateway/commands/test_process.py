"""Sockets that a process is started with, and systems that have no workers."""

import asyncio
import os
import socket
from typing import Any

import pytest

from llm_router_gateway.commands import process, workers


def test_sockets_for_another_process_are_left_alone() -> None:
    for env in ({}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": "7", "LISTEN_FDS": "x"}):
        assert process.inherited_sockets(env, 7) == []
        assert "LISTEN_FDS" not in env, "it is meant for one process alone"


@pytest.mark.skipif(os.name != "posix", reason="systemd is not there")
def test_what_is_no_listening_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        number = os.dup(sock.fileno())
        monkeypatch.setattr(process, "FIRST_INHERITED", number)
        with pytest.raises(ValueError, match="not a listening stream socket"):
            process.inherited_sockets({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7)


def test_a_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(workers, "UNIX", False)
    nothing: Any = None
    assert asyncio.run(workers.serve_with_workers(nothing, nothing)) == 2
    assert "leave it at 1" in capsys.readouterr().err
