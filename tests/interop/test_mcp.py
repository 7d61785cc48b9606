"""The client's command `mcp`, driven by the protocol's own SDK: by handshake, and by the stateless revision."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

mcp = pytest.importorskip("mcp", reason="the SDK of the Model Context Protocol is not installed (tests/interop/README.md)")

pytestmark = pytest.mark.slow
LAUNCHER = Path(__file__).parents[2] / "scripts" / "llm-router"


async def tour(mode: str, folder: Path) -> dict[str, Any]:
    """What each tool gives to the SDK's client."""
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    program = StdioServerParameters(command=sys.executable, args=[str(LAUNCHER), "mcp", "--demo"], cwd=str(folder))
    reported: list[float] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reported.append(progress)

    async with Client(stdio_client(program), mode=mode) as client:
        found: dict[str, Any] = {"tools": [tool.name for tool in (await client.list_tools()).tools]}
        found["chat"] = await client.call_tool("chat", {"message": "Hi there"})
        found["vision"] = await client.call_tool("vision", {"images": ["a.png"]})
        found["compare"] = await client.call_tool("compare", {"models": ["demo", "demo-reasoning"], "message": "Hi"})
        found["models"] = await client.call_tool("models", {"limit": 2})
        found["failed"] = await client.call_tool("chat", {"message": "Hi", "model": "fail-401"})
        await client.call_tool("chat", {"message": "Hi", "model": "demo-slow-300"}, progress_callback=report)
        with pytest.raises(mcp.MCPError, match="there is no tool"):
            await client.call_tool("no-such-tool", {})
    return {**found, "progress": reported}


async def strain(mode: str, folder: Path) -> dict[str, Any]:
    """Arguments that do not fit, an answer of a megabyte, calls at once, one that is cancelled and one that takes too long."""
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    program = StdioServerParameters(command=sys.executable, args=[str(LAUNCHER), "mcp", "--demo"], cwd=str(folder))
    begun = asyncio.Event()

    async def report(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async with Client(stdio_client(program), mode=mode) as client:
        wrong: list[dict[str, Any]] = [{}, {"message": 7}, {"message": "Hi", "mesage": "Hi"}, {"message": " "}]
        found: dict[str, Any] = {"wrong": [await client.call_tool("chat", arguments) for arguments in wrong]}
        found["large"] = await client.call_tool("chat", {"message": "Hi", "model": "demo-words-200000"})
        both = (client.call_tool("chat", {"message": f"number {each}", "model": "demo-sleep-300"}) for each in range(3))
        found["at once"] = await asyncio.gather(*both)
        slow = client.call_tool("chat", {"message": "Hi", "model": "demo-slow-400"}, progress_callback=report)
        cancelled = asyncio.create_task(slow)
        await asyncio.wait_for(begun.wait(), 30)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(mcp.MCPError, match="timed out"):
            await client.call_tool("chat", {"message": "Hi", "model": "demo-sleep-20000"}, read_timeout_seconds=0.5)
        found["after"] = await client.call_tool("chat", {"message": "still there"})
    return found


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_what_the_sdk_makes_of_faults_large_answers_and_cancelled_calls(mode: str, tmp_path: Path) -> None:
    found = asyncio.run(strain(mode, tmp_path))
    assert all(each.is_error and "correct the arguments" in each.content[0].text for each in found["wrong"])
    assert len(found["large"].content[0].text.split()) == 200_000 and not found["large"].is_error
    assert [each.content[0].text.rpartition(" ")[2] for each in found["at once"]] == ["0", "1", "2"]
    assert "You said: still there" in found["after"].content[0].text


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
def test_the_sdk_lists_calls_and_reads_the_tools(mode: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(32))
    found = asyncio.run(tour(mode, tmp_path))
    assert found["tools"] == ["chat", "vision", "compare", "models"]
    texts = {name: found[name].content[0].text for name in ("chat", "vision", "compare", "models", "failed")}
    assert "You said: Hi there" in texts["chat"] and "Describe this image" in texts["vision"]
    assert "== demo-reasoning (" in texts["compare"] and len(texts["models"].splitlines()) == 2
    assert found["failed"].is_error and "next: " in texts["failed"] and not found["chat"].is_error
    assert found["progress"] == sorted(set(found["progress"])) and found["progress"]
