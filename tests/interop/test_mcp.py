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
