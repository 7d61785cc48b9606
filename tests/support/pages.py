"""Commands of documentation pages, run as pasted: in a shell, in a folder where `scripts` is the repository's.

shell = Shell(tmp_path, LLM_ROUTER_PORT="0")
for command in commands_of(page):
    shell.run(command)                 fails the test where the command fails, or where a server does not start
shell.connect(port)                    from here on curl's 127.0.0.1:8000 is that port
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

ROOT = Path(__file__).resolve().parents[2]
PASSED_ON = ("SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "PYTHONPYCACHEPREFIX")
LIMIT_S = 60.0  # for one command; reached only by a failure
POLL_S = 0.01
SERVER = re.compile(r"(?:^|\s)python3 scripts/llm_router_(?:gateway|demo\.py)(?P<words>[^\n]*)")
READY = re.compile(r"listening on|is a mock model API")  # what the gateway and the mock server say
ENDS = re.compile(r"\s(?:convert|explain|install|keys|store|--check|--print-config|--help|--version)\b")


def commands_of(page: str) -> List[str]:
    """The lines of the page's shell blocks, those that a backslash continues with what follows."""
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```", page)
    lines = re.findall(r"(?:[^\n]*\\\n)*[^\n]+", "\n".join(blocks))
    return [line for line in lines if line.strip() and not line.startswith("#")]


def serves(command: str) -> bool:
    """Whether it starts a gateway or a mock server, which run until they are stopped."""
    found = SERVER.search(command)
    return bool(found) and not ENDS.search(found["words"].partition("#")[0])


class Shell:
    """A shell in a folder of its own; `env` is all that its commands see beside PATH and HOME."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder, self.home = folder, folder / "home"
        binaries = self.home / ".local" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "python3").symlink_to(sys.executable)
        (folder / "scripts").symlink_to(ROOT / "scripts")
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
        self.env: Dict[str, str] = {**kept, "PATH": path, "HOME": str(self.home), **env}

    def connect(self, port: int) -> None:
        """curl reaches that port under the address that the pages name, and fails where the status is an error."""
        lines = ["silent", "show-error", "fail-with-body", 'noproxy = "*"', f'connect-to = "127.0.0.1:8000:127.0.0.1:{port}"']
        (self.home / ".curlrc").write_text("\n".join(lines) + "\n")

    def run(self, command: str) -> str:
        """What it printed on stdout; AssertionError with all of its output where it fails."""
        if serves(command):
            return self._serve(command)
        argv = ["bash", "-o", "pipefail", "-c", command]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S
        )
        assert done.returncode == 0, (command, done)
        return done.stdout.decode()

    def _serve(self, command: str) -> str:
        """Until it listens; then Ctrl-C, at which it must end as one that did its work."""
        log = self.folder / "served.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        try:
            limit = time.monotonic() + LIMIT_S
            while not READY.search(log.read_text()) and process.poll() is None and time.monotonic() < limit:
                time.sleep(POLL_S)
            assert READY.search(log.read_text()), (command, log.read_text())
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(LIMIT_S) == 0, (command, log.read_text())
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return log.read_text()
