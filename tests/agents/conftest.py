"""The agents' packages, the gateway as a process, a mock server with a script behind it, and one run of an agent between.

The packages come from the folder that LLM_ROUTER_AGENTS names, else from npm into a temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # --import-mode=importlib leaves a test's neighbours unfindable
from agents import Agent
from started import StartedGateway

HERE = Path(__file__).parent
UPSTREAMS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "responses": "/v1"}  # and the root of their paths
PASSED_ON = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG")
INSTALL_LIMIT_S = 600.0
SUMMARY = "So far: the task is to read notes.txt, write answer.txt, count its bytes and tell the password. Nothing is done yet."
# One of these stands in the body for each tool result, in each protocol; inside of texts the quotation marks are escaped.
RESULTS = re.compile(r'"role": "tool"|"type": "tool_result"|"functionResponse":|"type": "function_call_output"')
SUMMARY_WANTED = r"create a detailed summary|anchored summary from|<state_snapshot>"
RUN_LIMIT_S = 240.0  # of one agent's task
SERVER = """\
[server]
drain_s = 1
retry_alone_s = 0
"""
PROVIDER = """
[[providers]]
name = "to-{api}"
api = "{api}"
base_url = "{url}{root}"
api_key = "none"  # pragma: allowlist secret

[[models]]
name = "agent-{api}"
provider = "to-{api}"
remote_identifier = "demo-script"
"""

collect_ignore = [] if sys.version_info >= (3, 11) else ["test_agents.py"]  # the gateway needs 3.11


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the agents' programs; the tests are skipped where there is none."""
    given = os.environ.get("LLM_ROUTER_AGENTS")
    folder = Path(given) if given else install(tmp_path_factory.mktemp("agents"))
    found = folder / "node_modules" / ".bin"
    if not found.is_dir():
        pytest.skip(f"the agents are not installed in {folder}")
    return found


def install(folder: Path) -> Path:
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("Node.js with npm is not here, so the agents cannot be installed")
    shutil.copy(HERE / "package.json", folder)
    words = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    if done.returncode:
        pytest.skip(f"the agents cannot be had from npm: {done.stderr[-300:]}")
    return folder


class Nobody(socketserver.ThreadingTCPServer):
    """The proxy for all that is not loopback: it notes which host was wanted and hangs up."""

    daemon_threads = True

    def __init__(self) -> None:
        self.wanted: list[str] = []
        super().__init__(("127.0.0.1", 0), self.Hangup)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Hangup(socketserver.StreamRequestHandler):
        server: Nobody

        def handle(self) -> None:
            self.server.wanted.append(self.rfile.readline(1000).decode("latin-1").strip())


def configuration(mock: str) -> str:
    """A router.toml with the mock server as the upstream of each protocol."""
    return SERVER + "".join(PROVIDER.format(api=api, url=mock, root=root) for api, root in UPSTREAMS.items())


def follow_the_results(run_step: Callable[..., Any]) -> Callable[..., Any]:
    """A script's next turn, by the results that the conversation holds: some agents keep half an answer as a turn, some do not.

    Where the agent wants its conversation summarized, to go on with less of it, the answer is a text.
    """
    from llm_router_demo import text_answer

    def answer(prompt: Any, is_first: Callable[[str], bool]) -> Any:
        if re.search(SUMMARY_WANTED, prompt.text, re.DOTALL):
            return text_answer(SUMMARY)
        results = RESULTS.findall(json.dumps(prompt.request.body))
        return run_step(prompt._replace(model_turns=len(results)), is_first)

    return answer


class Run(NamedTuple):
    """What one run of an agent left behind."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    work: Path  # the folder it worked in
    requests: list[dict[str, Any]]  # that the upstream received, each one that has a body
    log: str  # the gateway's
    wanted: list[str]  # what it asked of other hosts

    @property
    def hosts(self) -> set[str]:
        """Those of `wanted`: {"github.com:443"}"""
        return {line.partition(" ")[2].partition(" ")[0] for line in self.wanted if line}

    @property
    def pause_s(self) -> float:
        """Seconds between the first request that failed and the next one, by the gateway's log; 0.0 where there is none."""
        asked = [line for line in self.log.splitlines() if " POST " in line]
        failed = next((number for number, line in enumerate(asked) if " error=" in line), len(asked))
        times = [datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")) for line in asked[failed : failed + 2]]
        return (times[1] - times[0]).total_seconds() if len(times) == 2 else 0.0

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The bodies that offered tools: the task itself, without titles and summaries."""
        return [each["body"] for each in self.requests if each["body"].get("tools")]

    def report(self) -> str:
        """For a test that fails: everything."""
        asked = "\n".join(f"{each['path']} {str(each['body'])[:1500]}" for each in self.requests)
        return f"exit {self.exit_code}\n{self.stdout}\n{self.stderr}\n{self.log}\n{asked}\n{self.wanted}"


class Workplace:
    """Where an agent runs: an empty home, a folder to work in, and a gateway."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.work, self.home = folder / "work", folder / "home"
        self.work.mkdir()
        self.home.mkdir()

    def run(self, agent: Agent, upstream: str, prompt: str, script: Sequence[Any]) -> Run:
        """Give the agent a prompt; the upstream plays the script."""
        from llm_router_demo import DemoServer

        with DemoServer(script=script) as mock, Nobody() as nobody:
            place = self.folder / "gateway"
            place.mkdir()
            gateway = StartedGateway(place, configuration(mock.url))
            begun = time.monotonic()
            try:
                done = self._start(agent, gateway, f"agent-{upstream}", prompt, nobody.server_address[1])
            finally:
                seconds = time.monotonic() - begun
                gateway.close()
                nobody.shutdown()
            requests = [each for each in mock.requests if each["method"] == "POST"]
        out, err, log = done.stdout, done.stderr, "".join(gateway.lines)
        return Run(done.returncode, out, err, seconds, self.work, requests, log, nobody.wanted)

    def _start(self, agent: Agent, gateway: StartedGateway, model: str, prompt: str, nobody: int) -> Any:
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env["PATH"] = f"{self.programs}{os.pathsep}{env['PATH']}"  # with the Node.js among the packages
        env |= {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"), "NO_COLOR": "1", "TERM": "dumb"}
        env |= dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"), f"http://127.0.0.1:{nobody}")
        env |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "DO_NOT_TRACK": "1"}
        env |= agent.configure(self.home, gateway.url, gateway.token, model)
        words = [str(self.programs / agent.program), *agent.command(model, prompt)]
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        process = subprocess.Popen(
            words, cwd=self.work, env=env, stdin=quiet, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        try:
            out, err = process.communicate(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            kill_group(process)
            out, err = process.communicate()
            err += f"\n(stopped after {RUN_LIMIT_S:.0f} s)"
        return subprocess.CompletedProcess(words, process.returncode, out, err)


def kill_group(process: subprocess.Popen[str]) -> None:
    """An agent starts programs of its own; they end with it."""
    import signal

    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def workplace(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    import llm_router_demo

    monkeypatch.setattr(llm_router_demo, "run_step", follow_the_results(llm_router_demo.run_step))
    return Workplace(tmp_path, programs)
