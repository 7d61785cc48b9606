"""serve: the configuration read anew while requests are served."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

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


def running(folder: Path, more: str = "") -> GatewayProcess:
    path = folder / "router.toml"
    path.write_text(FILE + more)
    source = Source(path, flags={}, env={})
    return GatewayProcess(source.load(), source)


def test_a_fault_in_the_periodic_work_is_in_the_log_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FLUSH_S", 0.001)

    async def story() -> None:
        made, again = running(tmp_path), asyncio.Event()
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
        made.backends.close()
        await made.pool.close()

    asyncio.run(story())


def test_a_fault_in_a_reload_is_in_the_log_and_the_configuration_before_stays(tmp_path: Path) -> None:
    async def story() -> None:
        made, lines = running(tmp_path), Lines()
        made.log.error = lines.error  # type: ignore[method-assign]
        load, before = made.source.load, made.gateway.state

        def faulty() -> Any:
            raise KeyError("a fault")

        for each, is_refused in ((faulty, True), (load, False)):
            made.source.load = each  # type: ignore[method-assign]
            made.reload()
            assert made._reloading is not None
            await made._reloading
            assert made.gateway.is_config_refused is is_refused and (made.gateway.state is before) is is_refused
        (line,) = lines.lines
        assert line.startswith("internal error in reloading ") and "router.toml: KeyError" in line and "stays in effect" in line
        made.backends.close()
        await made.pool.close()

    asyncio.run(story())


def test_reloads_that_are_requested_at_once_are_one_or_two(tmp_path: Path) -> None:
    async def story() -> None:
        made = running(tmp_path)
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
        made.backends.close()
        await made.pool.close()

    asyncio.run(story())


def test_what_only_a_start_changes_is_named_until_it_is_as_at_the_start(tmp_path: Path) -> None:
    async def story() -> list[str]:
        made = running(tmp_path)
        said: list[str] = []
        made.log.info = said.append  # type: ignore[method-assign, assignment]
        late = 'spill_file = "x.db"\nkeys_valid_offline_s = 5\nport = 9'
        for server in (late, late + "\ntimeout_s = 5", "timeout_s = 6"):
            (tmp_path / "router.toml").write_text(FILE.replace("[server]", f"[server]\n{server}"))
            made.reload()
            assert made._reloading is not None
            await made._reloading
        made.backends.close()
        await made.pool.close()
        return [line.partition("; at the next start: ")[2] for line in said]

    assert asyncio.run(story()) == [*["port, spill_file, keys_valid_offline_s"] * 2, ""]


def test_a_change_through_the_api_does_not_make_a_refused_file_a_good_one(tmp_path: Path) -> None:
    async def story() -> list[bool]:
        made = running(tmp_path)
        found = []

        async def reload(text: str) -> None:
            (tmp_path / "router.toml").write_text(text)
            made.reload()
            assert made._reloading is not None
            await made._reloading
            found.append(made.gateway.is_config_refused)

        await reload(FILE + "[none]")
        said: list[str] = []
        made.log.info = said.append  # type: ignore[method-assign, assignment]
        await made.take_over(made.source.adopt({"o": Entry(CHANGED, {"is_active": False})}))
        assert "router.toml not reloaded, only changed through the API: 1 provider" in said[0]
        found.append(made.gateway.is_config_refused)
        await reload(FILE)
        made.backends.close()
        await made.pool.close()
        return found

    assert asyncio.run(story()) == [True, True, False]


@pytest.mark.parametrize("error", [ConfigError([Problem("server.port", "is wrong")]), KeyError("canary")])
def test_a_reload_that_fails_changes_nothing_and_says_so(tmp_path: Path, error: Exception) -> None:
    async def story() -> list[str]:
        made = running(tmp_path)
        before, said = made.config, list[str]()
        made.log.error = said.append  # type: ignore[method-assign, assignment]

        def fail() -> Any:
            raise error

        made.source.load = fail  # type: ignore[method-assign]
        made.reload()
        assert made._reloading is not None
        await made._reloading
        assert made.config is before and made.gateway.is_config_refused
        made.backends.close()
        await made.pool.close()
        return said

    [line] = asyncio.run(story())
    path = tmp_path / "router.toml"
    assert line == f"{path} not reloaded: server.port: is wrong" or line.startswith(
        f"internal error in reloading {path}: KeyError at "
    )
    assert "canary" not in line


@pytest.mark.slow
def test_a_large_configuration_is_taken_over_without_holding_the_loop(tmp_path: Path) -> None:
    if sys.gettrace() is not None:
        pytest.skip("every line is traced, so that times say nothing")

    async def story() -> float:
        made = running(tmp_path, MODELS + KEYS)
        worst = 0.0
        made.reload()
        while made._reloading is not None and not made._reloading.done():
            began = time.thread_time()  # of this thread alone: what else the machine does is not ours
            await asyncio.sleep(0)
            worst = max(worst, time.thread_time() - began)
        made.backends.close()
        await made.pool.close()
        return worst

    # Loading, look-ups and entries are computed in a thread; a fifth of this is left. Twice, because the collector may run
    # in any slice, and this process has more objects than a gateway.
    assert min(asyncio.run(story()) for _ in range(2)) < 0.020
