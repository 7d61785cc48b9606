"""Which worker processes there are to be: after deaths, restarts, starts that fail, and at the end.

The processes are real and do nothing; the test says for them that they are ready.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from lines import Lines

from llm_router_gateway.cluster.silence import STOPPED, WAITING
from llm_router_gateway.commands import workers as module
from llm_router_gateway.commands.process import doing_of
from llm_router_gateway.commands.workers import Child, Workers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not module.UNIX, reason="there are no workers on this system")]

LIMIT_S = 60.0
IDLE, BROKEN, DEAF = "import time; time.sleep(600)", "raise SystemExit(3)", "import signal; signal.pause()"


class Crew(Workers):
    """Workers of a home without anything else."""

    def __init__(self, count: int) -> None:
        self.notes = Lines()
        config = SimpleNamespace(server=SimpleNamespace(workers=count, drain_s=1.0))
        home: Any = SimpleNamespace(log=self.notes, config=config, home=SimpleNamespace(workers={}))
        super().__init__(home, [[]], "")

    @property
    def children(self) -> list[Child]:
        return [child for child in self._children.values() if not child.is_leaving]

    def turns(self) -> list[int]:
        return sorted(child.turn for child in self.children)

    async def all_ready(self, count: int) -> list[Child]:
        """Once there are so many that are to stay; they are ready then."""
        await self.until(lambda: len(self.children) == count)
        for child in self.children:
            self.is_ready(child.name)
        return self.children

    async def begin(self) -> None:
        begun = asyncio.create_task(self.start_all())
        await self.all_ready(self.count)
        assert await begun

    async def until(self, happened: Callable[[], Any]) -> None:
        while not happened():
            await asyncio.sleep(0.005)

    async def said(self, text: str) -> None:
        await self.until(lambda: any(text in line for line in self.notes.lines))


def with_crew(body: Callable[[Crew], Awaitable[None]], count: int = 2) -> None:
    async def run() -> None:
        crew = Crew(count)
        try:
            async with asyncio.timeout(LIMIT_S):
                await body(crew)
                await crew.end()
            assert not crew._children
        finally:
            crew.kill()
            await crew.end()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START", IDLE)


def test_a_worker_that_dies_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEADY_S", 0.0)

    async def body(crew: Crew) -> None:
        await crew.begin()
        victim = crew.children[0]
        victim.process.kill()
        await victim.ended.wait()
        await crew.all_ready(2)
        assert crew.turns() == [0, 1] and crew.ended == 1
        assert f"{victim.name} (process {victim.process.pid}) was ended by signal 9: another is started" in crew.notes.lines

    with_crew(body)


def test_a_worker_that_dies_at_every_start_is_started_again_after_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was ready for a moment: it would take a processor for itself."""
    monkeypatch.setattr(module, "AGAIN_S", (0.0, 0.01, 0.02, 1.0, 2.0))

    async def body(crew: Crew) -> None:
        await crew.begin()
        for _ in range(2):
            for child in crew.children:
                child.process.kill()
                await child.ended.wait()
            await crew.all_ready(2)
        monkeypatch.setattr(module, "START", BROKEN)
        crew.children[0].process.kill()
        await crew.said("ended with code 3: another is started in 2 s")
        pauses = [line.rpartition("started")[2] for line in crew.notes.lines]
        assert pauses[:4] == ["", "", " in 1 s", " in 2 s"], "the two first pauses are too short to be named"
        monkeypatch.setattr(module, "START", IDLE)
        await crew.all_ready(2)
        monkeypatch.setattr(module, "STEADY_S", 0.0)
        crew.children[0].process.kill()  # of one that had served: it begins anew
        await crew.until(lambda: crew.notes.lines[-1].endswith("another is started"))

    with_crew(body)


def test_a_worker_that_does_not_become_ready_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(crew: Crew) -> None:
        await crew.begin()
        monkeypatch.setattr(module, "READY_S", 0.2)
        crew.children[0].process.kill()
        await crew.said("did not accept callers within 0.2 s and was ended: another is started")
        monkeypatch.setattr(module, "READY_S", LIMIT_S)
        await crew.all_ready(2)

    with_crew(body)


def test_a_gateway_whose_workers_do_not_become_ready_says_so_and_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READY_S", 0.2)

    async def body(crew: Crew) -> None:
        assert not await crew.start_all()
        await crew.said("did not accept callers within 0.2 s and was ended: the gateway cannot start")

    with_crew(body)


def test_after_a_restart_there_are_as_many_workers_as_before_whatever_died_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that died before, and is started after its pause; one that dies while the new ones begin."""
    monkeypatch.setattr(module, "AGAIN_S", (0.3,))

    async def body(crew: Crew) -> None:
        await crew.begin()
        first, second = crew.children
        first.process.kill()
        await first.ended.wait()
        crew.restart()
        await crew.until(lambda: len(crew.children) == 3)
        second.process.kill()
        await second.ended.wait()
        await crew.all_ready(2)
        await crew.until(lambda: crew._restarting is not None and crew._restarting.done())
        await asyncio.sleep(0.4)  # the pauses are over
        assert crew.turns() == [0, 1] and {child.generation for child in crew.children} == {1}
        crew.children[0].process.kill()
        await crew.until(lambda: crew.ended == 3)
        await crew.all_ready(2)
        assert crew.turns() == [0, 1]

    with_crew(body)


def test_if_new_workers_cannot_be_started_the_old_ones_stay_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", (0.0,))

    async def body(crew: Crew) -> None:
        await crew.begin()
        old = [child.name for child in crew.children]
        monkeypatch.setattr(module, "START", BROKEN)
        crew.restart()
        await crew.said("new workers did not become ready: the old ones stay")
        await crew.until(lambda: len(crew._children) == 2)
        assert [child.name for child in crew.children] == old
        await crew.said("ended with code 3: the restart of the workers is given up")
        monkeypatch.setattr(module, "START", IDLE)
        crew.restart()  # the next one is as good as the first
        await crew.until(lambda: len(crew.children) == 4)
        for child in crew.children:
            crew.is_ready(child.name)
        await crew.until(lambda: len(crew._children) == 2)
        assert not {child.name for child in crew.children} & set(old)

    with_crew(body)


@pytest.mark.parametrize("moment", ["pause", "start", "restart"])
def test_the_end_waits_for_no_worker_that_is_still_to_come(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(crew: Crew) -> None:
        await crew.begin()
        monkeypatch.setattr(module, "AGAIN_S", (LIMIT_S if moment == "pause" else 0.0,))
        if moment == "restart":
            crew.restart()
            await asyncio.sleep(0)
        else:
            crew.children[0].process.kill()
            await crew.said("another is started")
        await crew.end()  # it would take as long as the pause, or for ever

    with_crew(body)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say what a process does")
def test_what_a_process_does_is_read_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(crew: Crew) -> None:
        monkeypatch.setattr(module, "START", DEAF)
        await crew.begin()
        pid = crew.children[0].process.pid
        await crew.until(lambda: (now := doing_of(pid)) is not None and now.state == WAITING)
        os.kill(pid, signal.SIGSTOP)
        await crew.until(lambda: (now := doing_of(pid)) is not None and now.state == STOPPED)
        own = doing_of(os.getpid())
        assert own is not None and own.state == "R" and own.cpu_s > 0
        os.kill(pid, signal.SIGKILL)
        await crew.until(lambda: doing_of(pid) is None)

    with_crew(body)
