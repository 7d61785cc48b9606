"""`llm-router` and `python3 -m llm_router`, as installed: the client's commands, and the gateway by its flags.

    llm-router chat "hello"                            the client
    llm-router --config config.yaml --check            the gateway, as `llm-router-gateway` with the same words
    llm-router                                         the gateway where there is a router.toml here, else the client's usage
    python3 -m llm_router                              the gateway, with a file or without

Servers whose files the gateway reads are started by this name and these flags, so that scripts and units around them go on.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Optional, Sequence

# With one of these only a command line of the gateway begins; tests hold them against both parsers.
GATEWAY_FLAGS = frozenset({
    "-c", "--config", "-i", "--ip", "-p", "--port", "-w", "--workers", "-t", "--token", "--token-file", "-l", "--log-level",
    "--log-file", "--proxy", "--check", "--print-config",
})  # fmt: skip
CONFIGURATION = "router.toml"  # the gateway reads it where no other file is named
FILE_VARIABLE = "LLM_ROUTER_MODEL_CONFIG"


def is_for_gateway(words: Sequence[str], *, is_module: bool = False) -> bool:
    """Whether a command line is the gateway's: is_for_gateway(["--port=80"]) -> True, is_for_gateway(["chat"]) -> False."""
    if words:
        return words[0].partition("=")[0] in GATEWAY_FLAGS
    return is_module or bool(os.environ.get(FILE_VARIABLE, "").strip()) or os.path.exists(CONFIGURATION)


def main(argv: Optional[Sequence[str]] = None, *, is_module: bool = False) -> int:
    """The exit code of one command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not is_for_gateway(words, is_module=is_module):
        from llm_router_client import main as client

        return client(words)
    # By name: a checker for the client's oldest Python need not read the gateway, which says itself what it needs.
    return int(import_module("llm_router_gateway.__main__").main(words))


if __name__ == "__main__":
    sys.exit(main(is_module=True))
