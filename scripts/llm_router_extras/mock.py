"""The option --demo: the mock server, for as long as the command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_router_client import UsageError, system_error

if TYPE_CHECKING:
    from llm_router_client import Console


def start(console: Console) -> str:
    """Start the mock server of llm_router_demo.py; its base URL."""
    try:
        from llm_router_demo import DemoServer

        server = DemoServer(any_model=True)
    except ImportError:
        raise UsageError("--demo needs llm_router_demo.py beside llm_router_client.py") from None
    except OSError as error:
        raise system_error("the mock server cannot start", error) from None
    console.closers.append(server.close)
    return server.base_url
