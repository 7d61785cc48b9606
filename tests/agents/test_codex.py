"""Codex, which speaks Responses alone, does its work through the gateway, whatever protocol the upstream speaks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from material import material
from running import PASSED_ON, ROOTS, Process

from llm_router_demo import DemoServer, Step

FOLDER = material("LLM_ROUTER_AGENTS")
PROGRAM = FOLDER / "node_modules" / ".bin" / "codex" if FOLDER else None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PROGRAM is None or not PROGRAM.exists(), reason="Codex is not installed: LLM_ROUTER_AGENTS (tests/agents/README.md)"
    ),
]
LIMIT_S = 120.0
TOKEN = "token-of-the-caller"
CONFIG = """\
[server]
token = "{token}"
[[providers]]
name = "up"
api = "{api}"
base_url = "{url}"
api_key = "key-of-the-upstream"
[[models]]
name = "demo-script"
provider = "up"
"""
CODEX = """\
model = "demo-script"
model_provider = "router"
[model_providers.router]
name = "router"
base_url = "http://127.0.0.1:{port}/v1"
env_key = "ROUTER_KEY"
wire_api = "responses"
"""
RUN = "exec_command"
TASK = (
    Step(calls=[(RUN, {"cmd": "cat in.txt"})]),
    Step(calls=[(RUN, {"cmd": "tr a-z A-Z < in.txt > out.txt"}), (RUN, {"cmd": "wc -c in.txt"})]),
    Step(text="All done."),
)


class Done(NamedTuple):
    """What a run of the agent left."""

    code: int
    out: str
    err: str
    files: dict[str, str]
    requests: list[Any]


Work = Callable[..., Done]


@pytest.fixture
def work(tmp_path: Path, start: Callable[..., Process]) -> Iterator[Work]:
    """Runs Codex in an empty home and a folder with in.txt."""

    def run(api: str, *steps: Step) -> Done:
        home, folder = tmp_path / "home", tmp_path / "work"
        home.mkdir()
        folder.mkdir()
        (folder / "in.txt").write_text("seven\n")
        with DemoServer(strict=True, script=steps) as server:
            gateway = start(CONFIG.format(token=TOKEN, api=api, url=server.url + ROOTS[api]))
            (home / "config.toml").write_text(CODEX.format(port=gateway.port))
            env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            env |= {"HOME": str(home), "CODEX_HOME": str(home), "ROUTER_KEY": TOKEN}
            words = [str(PROGRAM), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Do it."]
            done = subprocess.run(
                words, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S,
                check=False,
            )  # fmt: skip
            files = {path.name: path.read_text() for path in folder.iterdir()}
            return Done(done.returncode, done.stdout, done.stderr, files, list(server.requests))

    yield run


@pytest.mark.parametrize("api", ROOTS)
def test_it_reads_writes_runs_and_answers(api: str, work: Work) -> None:
    done = work(api, *TASK)
    assert (done.code, done.out.strip()) == (0, "All done."), done.err
    assert done.files == {"in.txt": "seven\n", "out.txt": "SEVEN\n"}
    assert len(done.requests) == len(TASK)
    assert "seven" in str(done.requests[1]["body"]) and "6 in.txt" in str(done.requests[2]["body"])


# The failure of its second request -> how it ends: exit code, words among its errors, requests.
REACTIONS = {
    "fail-429": (0, "Reconnecting", 3), "fail-503": (0, "", 3), "fail-529": (0, "", 3), "fail-401": (0, "Reconnecting", 3),
    "fail-cut": (0, "Reconnecting", 3), "fail-error-mid": (0, "Reconnecting", 3), "fail-400": (1, "answers 400", 2),
    "fail-context": (1, "ran out of room", 2), "fail-length": (1, "max_output_tokens", 2),
}  # fmt: skip


@pytest.mark.parametrize("failure", REACTIONS)
def test_it_reacts_to_a_failure_as_it_does_at_its_own_vendor(failure: str, work: Work) -> None:
    code, words, requests = REACTIONS[failure]
    first = Step(calls=[(RUN, {"cmd": "cp in.txt out.txt"})])
    done = work("anthropic", first, Step(text="All done.", first=failure))
    assert (done.code, len(done.requests)) == (code, requests), done.err
    assert words in done.err and done.files["out.txt"] == "seven\n"
    assert (done.out.strip() == "All done.") == (code == 0)
