"""Environments for the frameworks, and one script of theirs between the gateway and the mock server, all of them processes.

The environments come from the folder that LLM_ROUTER_FRAMEWORKS names (main/ and apart/ for Python, js/ for JavaScript), else
from PyPI and npm into a temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from started import StartedGateway

sys.path.insert(0, str(Path(__file__).parent))  # --import-mode=importlib leaves a test's neighbours unfindable

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
ROOTS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "responses": "/v1"}  # of each upstream protocol's paths
MODELS = {  # what the scripts ask for -> what the mock server does
    "chat": "demo", "tools": "demo-tools", "limited": "fail-429", "long": "fail-context", "thinking": "demo-reasoning",
    "cut": "fail-cut",
}  # fmt: skip
REQUIREMENTS = {"main": "requirements.txt", "apart": "requirements-apart.txt"}
PASSED_ON = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG")
NOWHERE = "http://127.0.0.1:9"  # the proxy for other hosts: the discard port, where no server listens
OFF = {  # telemetry, update checks and downloads, by the variables that their makers document
    "DO_NOT_TRACK": "1", "LANGSMITH_TRACING": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "AI_SDK_LOG_WARNINGS": "false",
    "OTEL_SDK_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore",
}  # fmt: skip
INSTALL_LIMIT_S = 900.0
RUN_LIMIT_S = 240.0
PROVIDER = """
[[providers]]
name = "to-{api}"
api = "{api}"
base_url = "{url}{root}"
api_key = "none"  # pragma: allowlist secret
{more}"""
# As of the models since Claude 4.5, which the mock server's name does not tell: schemas are its own, also where it thinks.
MORE = {"anthropic": 'settings = { quirks = { schema = "native" } }\n'}
MODEL = """
[[models]]
name = "{kind}-{api}"
provider = "to-{api}"
remote_identifier = "{model}"
"""

collect_ignore = [] if sys.version_info >= (3, 11) else ["test_frameworks.py"]  # the gateway needs 3.11


class Environments:
    """The interpreters: main and apart (Python), js (Node.js). Each is made when a test first wants it."""

    def __init__(self, folder: Path, given: bool) -> None:
        self._folder, self._given = folder, given
        self._missing: dict[str, str] = {}

    def program(self, name: str) -> Path:
        """The interpreter of an environment; the test is skipped where there is none."""
        place = self._folder / name
        path = place / "node_modules" / ".bin" / "node" if name == "js" else place / "bin" / "python"
        if not path.exists() and name not in self._missing:
            self._missing[name] = f"{path} is not there" if self._given else self._make(name, place)
        if not path.exists() or self._missing.get(name):
            pytest.skip(f"the frameworks cannot be had: {self._missing.get(name)}")
        return path

    def _make(self, name: str, place: Path) -> str:
        """ "" or why it could not be made."""
        if name == "js":
            npm = shutil.which("npm")
            if not npm:
                return "npm is not here"
            place.mkdir()
            shutil.copy(HERE / "package.json", place)
            return run_quietly([npm, "install", "--no-audit", "--no-fund", "--loglevel=error"], place)
        made = run_quietly([sys.executable, "-m", "venv", str(place)], self._folder)
        wanted = HERE / REQUIREMENTS[name]
        return made or run_quietly([str(place / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(wanted)], place)


def run_quietly(words: list[str], folder: Path) -> str:
    """ "" or the end of what it printed when it failed."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    return (done.stderr or done.stdout)[-300:] or "failed" if done.returncode else ""


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    given = os.environ.get("LLM_ROUTER_FRAMEWORKS")
    return Environments(Path(given) if given else tmp_path_factory.mktemp("frameworks"), bool(given))


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedGateway]:
    """One process in front of one mock server, for all scripts; its log holds no fault at the end."""
    from llm_router_demo import DemoServer

    with DemoServer() as mock:
        parts = [PROVIDER.format(api=api, url=mock.url, root=root, more=MORE.get(api, "")) for api, root in ROOTS.items()]
        parts += [MODEL.format(kind=kind, api=api, model=model) for kind, model in MODELS.items() for api in ROOTS]
        gateway = StartedGateway(tmp_path_factory.mktemp("gateway"), "[server]\ndrain_s = 1\n" + "".join(parts))
        try:
            yield gateway
        finally:
            gateway.close()
    assert [line for line in gateway.lines if "Please report this line" in line or "Traceback" in line] == []


@pytest.fixture
def outcomes(environments: Environments, gateway: StartedGateway, tmp_path: Path) -> Any:
    """Runs a script and reads what it reports: outcomes("main", "litellm_any.py", (), "gemini") -> {"chat": "...", ...}"""

    def run(environment: str, script: str, words: tuple[str, ...], upstream: str) -> dict[str, Any]:
        program = environments.program(environment)
        folder = tmp_path / "scripts"
        shutil.copytree(SCRIPTS, folder)
        if environment == "js":  # Node.js looks for packages beside the script
            (folder / "node_modules").symlink_to(program.parents[1])
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | OFF
        env |= {"HOME": str(tmp_path), "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
        env |= {"GATEWAY_URL": gateway.url, "GATEWAY_KEY": gateway.token, "GATEWAY_UPSTREAM": upstream}
        words = (str(program), str(folder / script), *words)
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        lines = done.stdout.strip().splitlines()
        assert done.returncode == 0 and lines, f"{done.stdout}\n{done.stderr}"
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    return run
