"""serve: the configuration read anew while requests are served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from llm_router_gateway.commands.serve import Running
from llm_router_gateway.config.sources import Source

KEYS = "".join(f'[[keys]]\nname = "k{at}"\nkey = "{at:05d}xxxxxxxxxxxxxxxxxxxxxxxx"\n' for at in range(3_000))
MODELS = "".join(f'[[models]]\nname = "m{at}"\nprovider = "o"\ntags = ["a"]\n' for at in range(1_000))
FILE = f"""
[server]
store = "off"
log_level = "error"
[[providers]]
name = "o"
api = "openai"
base_url = "http://o.example/v1"
{MODELS}{KEYS}
"""


def running(folder: Path) -> Running:
    path = folder / "router.toml"
    path.write_text(FILE)
    source = Source(path, flags={}, env={})
    return Running(source.load(), source)


def test_reloads_that_are_asked_for_at_once_are_one_or_two(tmp_path: Path) -> None:
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
        made.memory.close()
        await made.pool.close()

    asyncio.run(story())


def test_a_large_configuration_is_taken_over_without_holding_the_loop(tmp_path: Path) -> None:
    async def story() -> float:
        made = running(tmp_path)
        loop, worst = asyncio.get_running_loop(), 0.0
        made.reload()
        while made._reloading is not None and not made._reloading.done():
            began = loop.time()
            await asyncio.sleep(0)
            worst = max(worst, loop.time() - began)
        made.memory.close()
        await made.pool.close()
        return worst

    # 20 ms is what it may take; a machine that does other things as well adds to it, so the best of some tries counts.
    assert min(asyncio.run(story()) for _ in range(4)) < 0.020
