"""A worker's process: what comes with the welcome, and reports that fail."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lines import Lines

from llm_router_gateway.commands import worker as module
from llm_router_gateway.commands.worker import Start, WorkerProcess
from llm_router_gateway.net.link import Link

LIMIT_S = 30.0


class Quiet:
    """In the place of WorkerProcess: takes over what comes, until it is to stop."""

    def __init__(self, start: Start, link: Link, welcome: Any) -> None:
        self.stop, self.taken = asyncio.Event(), list[Any]()
        link.handle({"routing": self.taken.append, "keys": self.take, "report": self.report})

    async def take(self, keys: Any) -> bool:
        self.taken.append(keys)
        return True

    def report(self) -> list[Any]:
        return self.taken

    async def run(self) -> int:
        await self.stop.wait()
        return 0


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no workers on a system without Unix sockets")
def test_what_comes_together_with_the_welcome_is_taken_over_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WorkerProcess", Quiet)

    async def run() -> list[Any]:
        links, said = list[Link](), list[asyncio.Task[Any]]()

        def hello(name: str, pid: int, version: str) -> dict[str, Any]:
            (link,) = links
            said.append(asyncio.ensure_future(link.call("keys", "first")))  # these leave with the answer
            link.send("routing", "second")
            said.append(asyncio.ensure_future(link.call("keys", "third")))
            return {}

        def accept() -> Link:
            links.append(Link({"hello": hello}))
            return links[-1]

        path = str(tmp_path / "link")
        async with asyncio.timeout(LIMIT_S):
            server = await asyncio.get_running_loop().create_unix_server(accept, path)
            worker = asyncio.create_task(module.serve(Start("worker-1", path, "", [], -1, 0, 1)))
            while len(said) < 2:
                await asyncio.sleep(0)
            assert await asyncio.gather(*said) == [True, True]
            found: list[Any] = await links[0].call("report")
            links[0].close()
            await worker
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)
            return found

    assert sorted(asyncio.run(run())) == ["first", "second", "third"]


def test_a_report_that_fails_is_in_the_log_and_the_next_is_made() -> None:
    async def run() -> list[str]:
        log, made, faults = Lines(), asyncio.Event(), iter([KeyError("a fault")])
        log.flush = lambda: None  # type: ignore[attr-defined]

        def report() -> None:
            for fault in faults:
                raise fault
            made.set()

        process: Any = SimpleNamespace(_urgent=asyncio.Event(), report_now=report, log=log)
        process._urgent.set()
        reporting = asyncio.create_task(WorkerProcess.keep_reporting(process))
        async with asyncio.timeout(LIMIT_S):
            while not log.lines:
                await asyncio.sleep(0)
            process._urgent.set()
            await made.wait()
        reporting.cancel()
        return log.lines

    (line,) = asyncio.run(run())
    assert "internal error in what a worker reports: KeyError" in line
