"""The skill in real agents: they show its description, load its body, and its script works from the user's project.

The model is the mock server with a script. Every other address is behind a proxy that is not there, so nothing leaves this
machine. The agents come from npm, exactly these versions, or from the node_modules of the folder
that LLM_ROUTER_AGENTS names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

if sys.version_info < (3, 10):  # one Python is enough: these run for minutes
    pytest.skip("agents are tried under Python 3.10 and newer", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("@anthropic-ai/claude-code@2.1.332", "@openai/codex@0.171.0", "opencode-ai@1.18.33")
SCRIPTS_TO_RUN = {"claude": "@anthropic-ai/claude-code/install.cjs", "opencode": "opencode-ai/postinstall.mjs"}
READY = os.environ.get("LLM_ROUTER_AGENTS", "")  # read now: tests run without the user's variables
INSTALL_TIMEOUT_S, RUN_TIMEOUT_S = 600, 180
DESCRIPTION, BODY = "should answer, check or compare", "## When to Use"  # words of SKILL.md's frontmatter and of its body
QUESTION = "Ask another model what is on shot.png."
PIXEL = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"  # as much of a PNG as is looked at

pytestmark = [pytest.mark.slow]


CLOSED = "http://127.0.0.1:9"  # where everything but this machine leads to
NO_WAY_OUT = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), CLOSED),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}


@pytest.fixture(scope="session")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder node_modules of the agents; skipped, with what npm said, where they cannot be had."""
    if READY:
        return Path(READY) / "node_modules"
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("npm is not on this machine")
    home = tmp_path_factory.mktemp("agents")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(home), *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, cwd=home)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not end in time")
    if done.returncode:
        pytest.skip(f"the agents cannot be had: {done.stderr.strip()[-200:]}")
    for script in SCRIPTS_TO_RUN.values():  # they put the program for this system in its place
        path = home / "node_modules" / script
        subprocess.run([node, str(path)], capture_output=True, timeout=INSTALL_TIMEOUT_S, cwd=path.parent)
    return home / "node_modules"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of a user's with one picture in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "shot.png").write_bytes(PIXEL)
    return folder


def install(agent: str, project: Path, env: Dict[str, str]) -> Tuple[Path, str]:
    """(the installed skill, the command line that a model takes from it)."""
    client = ROOT / "scripts" / "llm_router_client.py"
    words = [sys.executable, str(client), "skill", "install", "--agent", agent, "--project", "--json"]
    done = subprocess.run(words, capture_output=True, cwd=project, env=env, timeout=30)
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["folder"])
    script = folder / "scripts" / "llm_router_client.py"
    return folder, f"python3 {script} vision --demo --image shot.png --output said.txt"


def environment(tmp_path: Path, agents: Path, **more: str) -> Dict[str, str]:
    """A clean home, the programs that the agents need, and no way out."""
    home = tmp_path / "home"
    home.mkdir()
    # opencode, too, wants ripgrep, which Codex brings
    folders = [str(path.parent) for path in agents.glob("@openai/codex-*/vendor/*/codex-path/rg")]
    path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    return {"PATH": path, "HOME": str(home), **NO_WAY_OUT, **more}


def run(program: Path, words: List[str], project: Path, env: Dict[str, str]) -> None:
    if not program.exists():
        pytest.skip(f"{program.name} has no program for this system")
    done = subprocess.run(
        [str(program), *words], cwd=project, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=RUN_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0 and "all done" in done.stdout, (done.stdout[-2000:], done.stderr[-2000:])


def check(server: Any, project: Path) -> None:
    """The description came first and the body on demand; the call worked from the project, and wrote into it alone."""
    bodies = [json.dumps(each["body"]) for each in server.requests if each["method"] == "POST"]
    bodies = [body for body in bodies if DESCRIPTION in body]  # opencode asks for a title, too
    assert len(bodies) == 3
    assert [BODY in body for body in bodies] == [False, True, True]
    assert "image/png" in bodies[2]  # what the script said of the picture, handed to the model
    assert "PNG, 1x1 pixels" in (project / "said.txt").read_text(encoding="utf-8")


def test_claude_code_loads_the_skill_and_runs_it_from_the_project(agents: Path, project: Path, tmp_path: Path) -> None:
    from llm_router_demo import DemoServer, Step

    env = environment(tmp_path, agents, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", ANTHROPIC_AUTH_TOKEN="x" * 12)
    _, command = install("claude", project, env)
    calls = [("Skill", {"skill": "llm-router"})], [("Bash", {"command": command, "description": "ask"})]
    with DemoServer(script=[*(Step(calls=each) for each in calls), Step(text="all done")]) as server:
        words = ["-p", QUESTION, "--model", "scripted", "--allowedTools", "Bash(python3 *llm_router_client.py *)"]
        program = agents / "@anthropic-ai" / "claude-code" / "bin" / "claude.exe"
        run(program, words, project, {**env, "ANTHROPIC_BASE_URL": server.url})
        check(server, project)


def test_codex_loads_the_skill_and_runs_it_from_the_project(agents: Path, project: Path, tmp_path: Path) -> None:
    from llm_router_demo import DemoServer, Step

    env = environment(tmp_path, agents, MOCK_KEY="x" * 12)
    folder, command = install("codex", project, env)
    calls = [("exec_command", {"cmd": f"cat {folder}/SKILL.md"})], [("exec_command", {"cmd": command})]
    with DemoServer(script=[*(Step(calls=each) for each in calls), Step(text="all done")]) as server:
        provider = f'name = "mock"\nbase_url = "{server.base_url}"\nenv_key = "MOCK_KEY"\nwire_api = "responses"\n'
        settings = tmp_path / "home" / ".codex" / "config.toml"
        settings.parent.mkdir()
        chosen = 'model = "scripted"\nmodel_provider = "mock"\n[model_providers.mock]\n'
        settings.write_text(chosen + provider, encoding="utf-8")
        words = ["exec", "--dangerously-bypass-approvals-and-sandbox", QUESTION]
        run(agents / "@openai" / "codex" / "bin" / "codex.js", words, project, env)
        check(server, project)


def test_opencode_loads_the_skill_and_runs_it_from_the_project(agents: Path, project: Path, tmp_path: Path) -> None:
    from llm_router_demo import DemoServer, Step

    env = environment(tmp_path, agents, OPENCODE_DISABLE_MODELS_FETCH="1", OPENCODE_DISABLE_AUTOUPDATE="1")
    _, command = install("opencode", project, env)
    calls = [("skill", {"name": "llm-router"})], [("bash", {"command": command, "description": "ask"})]
    with DemoServer(script=[*(Step(calls=each) for each in calls), Step(text="all done")], any_model=True) as server:
        options = {"baseURL": server.base_url, "apiKey": "x" * 12}
        mock = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"scripted": {}}}
        settings = {"provider": {"mock": mock}, "share": "disabled", "autoupdate": False, "permission": {"bash": "allow"}}
        (project / "opencode.json").write_text(json.dumps(settings), encoding="utf-8")
        run(agents / "opencode-ai" / "bin" / "opencode.exe", ["run", "-m", "mock/scripted", QUESTION], project, env)
        check(server, project)
