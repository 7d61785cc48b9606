"""A gateway as its users start it, without this user's environment: `python3 scripts/llm_router_gateway -c router.toml -p 0`.

gateway = StartedGateway(folder, "[[providers]] ...", {"KEY": "..."})
gateway.url, gateway.token, gateway.lines     its address, the token that it wants, its log so far
gateway.close()                               -> its exit code after SIGTERM
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

GATEWAY = Path(__file__).parents[2] / "scripts" / "llm_router_gateway"
PASSED_ON = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
LIMIT_S = 20.0  # until it listens, and until it has ended


class StartedGateway:
    """Runs until close(); RuntimeError with its log where it does not start."""

    def __init__(self, folder: Path, configuration: str, env: Mapping[str, str] | None = None) -> None:
        self.token, self.url, self.lines = f"token-{secrets.token_hex(12)}", "", list[str]()
        self._listening = threading.Event()
        (folder / "router.toml").write_text(configuration)
        given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        given |= {"HOME": str(folder), "LLM_ROUTER_TOKEN": self.token, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        words = [sys.executable, str(GATEWAY), "-c", "router.toml", "-p", "0"]
        quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
        self._process = subprocess.Popen(words, cwd=folder, env=given, stdin=quiet, stderr=pipe, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(LIMIT_S) or not self.url:
            self.close()
            raise RuntimeError("the gateway did not start:\n" + "".join(self.lines))

    def _read(self) -> None:
        """Keeps every line of the log, and finds the address in one of the first."""
        assert self._process.stderr
        for line in self._process.stderr:
            self.lines.append(line)
            if not self.url and " listening on " in line:
                self.url = line.partition(" listening on ")[2].split(": ")[0]
                self._listening.set()
        self._listening.set()

    def close(self) -> int:
        self._process.terminate()
        try:
            return self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(LIMIT_S)
        finally:
            self._reader.join(LIMIT_S)
            assert self._process.stderr
            self._process.stderr.close()
