"""serve: the configuration read anew while requests are served."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest
from lines import Lines

from llm_router_gateway.commands import serve
from llm_router_gateway.commands.serve import GatewayProcess
from llm_router_gateway.config.config import ConfigError, Problem
from llm_router_gateway.config.overlay import CHANGED, Entry
from llm_router_gateway.config.sources import Source

KEYS = "".join(f'[[keys]]\nname = "k{at}"\nkey = "{at:05d}xxxxxxxxxxxxxxxxxxxxxxxx"\n' for at in range(3_000))
MODELS = "".join(f'[[models]]\nname = "m{at}"\nprovider = "o"\ntags = ["a"]\n' for at in range(1_000))
FILE = """
[server]
store = "off"
log_level = "error"
[[providers]]
name = "o"
api = "openai"
base_url = "http://o.example/v1"
"""
Told = TypeVar("Told")


def run(story: Callable[[GatewayProcess], Coroutine[Any, Any, Told]], folder: Path, more: str = "") -> Told:
    """What the story tells of the process of a gateway that serves nothing; closed afterwards."""
    path = folder / "router.toml"
    path.write_text(FILE + more)

    async def all_of_it() -> Told:
        source = Source(path, flags={}, env={})
        made = GatewayProcess(source.load(), source)
        told = await story(made)
        made.backends.close()
        await made.pool.close()
        return told

    return asyncio.run(all_of_it())


async def reload(made: GatewayProcess) -> None:
    """Until the configuration has been read anew, or refused."""
    made.reload()
    assert made._reloading is not None
    await made._reloading


def test_a_fault_in_the_periodic_work_is_in_the_log_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FLUSH_S", 0.001)

    async def story(made: GatewayProcess) -> None:
        again = asyncio.Event()
        lines, turns = Lines(), iter([OSError("a fault")])
        made.log.error = lines.error  # type: ignore[method-assign]

        def tend() -> None:
            for fault in turns:
                raise fault
            again.set()

        made.backends.tend = tend  # type: ignore[assignment]
        care = asyncio.create_task(made.look_after())
        async with asyncio.timeout(30):
            await again.wait()
        care.cancel()
        assert len(lines.lines) == 1 and "internal error in the periodic work: OSError" in lines.lines[0]

    run(story, tmp_path)


def test_a_fault_in_a_reload_is_in_the_log_and_the_configuration_before_stays(tmp_path: Path) -> None:
    async def story(made: GatewayProcess) -> None:
        lines = Lines()
        made.log.error = lines.error  # type: ignore[method-assign]
        load, before = made.source.load, made.gateway.state

        def faulty() -> Any:
            raise KeyError("a fault")

        for each, is_refused in ((faulty, True), (load, False)):
            made.source.load = each  # type: ignore[method-assign]
            await reload(made)
            assert made.gateway.is_config_refused is is_refused and (made.gateway.state is before) is is_refused
        (line,) = lines.lines
        assert line.startswith("internal error in reloading ") and "router.toml: KeyError" in line and "stays in effect" in line

    run(story, tmp_path)


def test_reloads_that_are_requested_at_once_are_one_or_two(tmp_path: Path) -> None:
    async def story(made: GatewayProcess) -> None:
        loads: list[None] = []
        load = made.source.load

        def counted() -> Any:
            loads.append(None)
            return load()

        made.source.load = counted  # type: ignore[method-assign]
        for _ in range(50):
            made.reload()
        while not loads:
            await asyncio.sleep(0)
        for _ in range(50):
            made.reload()
        assert made._reloading is not None
        await made._reloading
        assert len(loads) == 2  # the first, and one for all that came while it went on

    run(story, tmp_path)


def test_what_only_a_start_changes_is_named_until_it_is_as_at_the_start(tmp_path: Path) -> None:
    async def story(made: GatewayProcess) -> list[str]:
        said: list[str] = []
        made.log.info = said.append  # type: ignore[method-assign, assignment]
        late = 'spill_file = "x.db"\nkeys_valid_offline_s = 5\nport = 9'
        for server in (late, late + "\ntimeout_s = 5", "timeout_s = 6"):
            (tmp_path / "router.toml").write_text(FILE.replace("[server]", f"[server]\n{server}"))
            await reload(made)
        return [line.partition("; at the next start: ")[2] for line in said]

    assert run(story, tmp_path) == [*["port, spill_file, keys_valid_offline_s"] * 2, ""]


def test_a_change_through_the_api_does_not_make_a_refused_file_a_good_one(tmp_path: Path) -> None:
    async def story(made: GatewayProcess) -> list[bool]:
        found = []

        async def reload_as(text: str) -> None:
            (tmp_path / "router.toml").write_text(text)
            await reload(made)
            found.append(made.gateway.is_config_refused)

        await reload_as(FILE + "[none]")
        said: list[str] = []
        made.log.info = said.append  # type: ignore[method-assign, assignment]
        await made.take_over(made.source.adopt({"o": Entry(CHANGED, {"is_active": False})}))
        assert "router.toml not reloaded, only changed through the API: 1 provider" in said[0]
        found.append(made.gateway.is_config_refused)
        await reload_as(FILE)
        return found

    assert run(story, tmp_path) == [True, True, False]


@pytest.mark.parametrize("error", [ConfigError([Problem("server.port", "is wrong")]), KeyError("canary")])
def test_a_reload_that_fails_changes_nothing_and_says_so(tmp_path: Path, error: Exception) -> None:
    async def story(made: GatewayProcess) -> list[str]:
        before, said = made.config, list[str]()
        made.log.error = said.append  # type: ignore[method-assign, assignment]

        def fail() -> Any:
            raise error

        made.source.load = fail  # type: ignore[method-assign]
        await reload(made)
        assert made.config is before and made.gateway.is_config_refused
        return said

    [line] = run(story, tmp_path)
    path = tmp_path / "router.toml"
    assert line == f"{path} not reloaded: server.port: is wrong" or line.startswith(
        f"internal error in reloading {path}: KeyError at "
    )
    assert "canary" not in line


MOST_LINES = 20_000  # of our code in one turn of the loop; it runs some 4,000, one for each key and model


@pytest.mark.slow
def test_a_large_configuration_is_taken_over_without_holding_the_loop(tmp_path: Path) -> None:
    """Loading runs four million lines, look-ups and entries 150,000: in a thread. Lines, as no busy machine adds to them."""
    if sys.gettrace() is not None:
        pytest.skip("coverage traces the lines")
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    async def story(made: GatewayProcess) -> int:
        nonlocal lines
        worst = 0
        made.reload()
        sys.settrace(trace)  # of this thread alone
        try:
            while made._reloading is not None and not made._reloading.done():
                lines = 0
                await asyncio.sleep(0)
                worst = max(worst, lines)
        finally:
            sys.settrace(None)
        return worst

    assert 1_000 < run(story, tmp_path, MODELS + KEYS) < MOST_LINES
