"""The configuration files, command lines and calls of the servers that this one replaces, as they printed them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from material import files_in, needs
from quick import every
from running import GATEWAY, WAIT_S, Process, command, environment, until

pytestmark = needs("LLM_ROUTER_SEEDS")
NAMES = ("server-jq-protocols.txt", "server-toml-tags-sqlite.txt")
PAGES = {path.name: path.read_text("utf-8") for path in files_in("LLM_ROUTER_SEEDS", "server-*.txt")}
SCRIPTS = GATEWAY.parent
# What an installer writes for `llm-router`, and what is left of `uv run` once its environment is there.
LAUNCHER = """#!{python}
import sys
sys.path.insert(0, {scripts!r})
from llm_router import main
sys.exit(main())
"""
UV = '#!/bin/sh\n[ "$1" = run ] && shift && exec "$@"\n'
KEYS = dict.fromkeys((f"{name}_API_KEY" for name in ("OPENAI", "DEEPSEEK", "GLM", "GLM_Z")), "made-up")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGES[page])


@pytest.fixture
def jq_file(tmp_path: Path, mock_server: Any) -> Path:
    """Its config.yaml with the mock server in the place of the providers; nothing else is changed."""
    pytest.importorskip("yaml")
    [text] = blocks(NAMES[0], "yaml")
    addresses = {"openai": mock_server.base_url, "anthropic": mock_server.url, "gemini": f"{mock_server.url}/v1beta"}

    def here(entry: re.Match[str]) -> str:
        kind = entry[0].split("api_type: ")[1].split()[0]
        moved = re.sub(r"api_base: \S+", f"api_base: {addresses[kind]}", entry[0])
        return re.sub(r"(?m)^(      model:) \S+", r"\1 demo", moved)

    path = tmp_path / "config.yaml"
    path.write_text(re.sub(r"(?ms)^  - model_name:.*?api_key: \S+", here, text), "utf-8")
    return path


def test_its_yaml_is_a_configuration_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    [text] = blocks(NAMES[0], "yaml")
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    words = "--ip 0.0.0.0 --port 8000 --config config.yaml --token your-secret-token"
    assert f"llm-router {words}" in PAGES[NAMES[0]]
    shown = command(tmp_path, *words.split(), "--print-config")
    assert shown.returncode == 0 and b'name = "gpt_models2"' in shown.stdout, shown.stderr


def test_every_call_that_it_prints_is_answered(jq_file: Path, start: Callable[..., Process]) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not on this machine")
    gateway = start("", "--config", "config.yaml", "--token", "your-secret-token", folder=jq_file.parent)
    calls = [line for text in blocks(NAMES[0], "bash") for line in re.split(r"\n\n+", text) if line.strip().startswith("curl")]
    assert len(calls) == 4
    for call in calls:
        here = call.replace("localhost:8000", f"127.0.0.1:{gateway.port}")
        done = subprocess.run(["bash", "-c", here], capture_output=True, timeout=30, env=environment(jq_file.parent, {}))
        assert b"gpt_models" in done.stdout or b"mock server" in done.stdout, (call, done)


@pytest.mark.slow
def test_its_check_asks_every_model(jq_file: Path) -> None:
    assert "llm-router --config config.yaml --check" in PAGES[NAMES[0]]
    done = command(jq_file.parent, "--config", "config.yaml", "--check")
    assert done.returncode == 0 and done.stdout.count(b"\n") >= 3, (done.stdout, done.stderr)


def test_the_tables_that_the_toml_server_prints_are_a_configuration(tmp_path: Path) -> None:
    text = "\n".join(block for block in blocks(NAMES[1], "toml") if "[[api_keys]]" not in block)
    (tmp_path / "router.toml").write_text(text, "utf-8")
    done = command(tmp_path, "--print-config", LLM_ROUTER_TOKEN="made-up", **KEYS)  # it listens on 0.0.0.0
    assert done.returncode == 0 and b'name = "gpt-4o"' in done.stdout, done.stderr


def test_without_pyyaml_the_gateway_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model_list: []\n", "utf-8")
    program = "import sys; sys.modules['yaml'] = None; sys.path.insert(0, {!r}); from {} import main; sys.exit(main({!r}))"
    words = ["--config", "config.yaml", "--print-config"]
    argv = [sys.executable, "-c", program.format(str(GATEWAY.parent), "llm_router_gateway.commands.main", words)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=30, env=environment(tmp_path, {}))
    assert done.returncode == 2 and b"pip install PyYAML" in done.stderr and b"Traceback" not in done.stderr


# ----------------------------------------------------------------------------------------------- commands, as they are typed

TESTED = {  # a line of theirs -> where it runs here
    r"llm-router --ip 0\.0\.0\.0 --port 8000 --config config\.yaml --token your-secret-token": "started below",
    r"llm-router --config config\.yaml --check": "started below",
    r"uv run llm-router": "started below",
    r"python -m llm_router": "started below",
    r"curl .*": "every call of both pages, here",
    r"uv sync": "installs what [project.scripts] of pyproject.toml names",
    r"cd llm-router": "",
    r"touch \.env": "",
}
NOT_OURS = {
    r"curl -LsSf https://astral\.sh/uv/install\.sh \| sh": "installs another program",
    r"cd frontend|npm install.*|npm run dev": "a page that needed a server of its own: it is at /monitor here, and needs none",
    r"uv run pytest": "their tests",
    r"Usage: .*|Options:|\s*-\w, --.*|\s*--log-file.*|\s+--.*": "the text of --help",
}


def command_lines(page: str) -> list[str]:
    """Each command of the shell blocks in one line, without comments."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    joined = re.sub(r"'\{\n.*?\n  \}'", "'{}'", lines, flags=re.DOTALL)  # a body over several lines
    return [line.rstrip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("page", NAMES)
def test_every_command_line_that_they_print_is_known(page: str) -> None:
    for line in command_lines(page):
        assert any(re.fullmatch(pattern, line) for pattern in (*NOT_OURS, *TESTED)), line


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell with the commands that an installation puts there."""
    place = tmp_path / "bin"
    place.mkdir()
    python = f'#!/bin/sh\nPYTHONPATH={SCRIPTS} exec {sys.executable} "$@"\n'
    texts = {"llm-router": LAUNCHER.format(python=sys.executable, scripts=str(SCRIPTS)), "uv": UV, "python": python}
    for name, text in texts.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    clean = environment(tmp_path, KEYS)
    return {**clean, "PATH": f"{place}{os.pathsep}{clean['PATH']}", "LLM_ROUTER_TOKEN": "made-up-token"}


def started(line: str, folder: Path, env: dict[str, str]) -> str:
    """What a command line that serves says until it listens; it is ended again."""
    log = folder / "said"
    with log.open("wb") as err:
        process = subprocess.Popen(["sh", "-c", f"exec {line}"], cwd=folder, env=env, stderr=err, stdout=subprocess.DEVNULL)
    try:
        until(lambda: "listening on" in log.read_text("utf-8") or process.poll() is not None, line)
        return log.read_text("utf-8")
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0, log.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("line", ["uv run llm-router", "python -m llm_router"])
def test_the_toml_servers_start_is_one(line: str, tmp_path: Path, shell: dict[str, str]) -> None:
    """Its file says 0.0.0.0, which needs a token here; only the port is another, for it may be in use."""
    assert line in command_lines(NAMES[1])
    text = "\n".join(block for block in blocks(NAMES[1], "toml") if "[[api_keys]]" not in block)
    (tmp_path / "router.toml").write_text(re.sub(r"(?m)^port = 8000", "port = 0", text), "utf-8")
    assert re.search(r"listening on http://0\.0\.0\.0:\d+: \d providers?, 1 listed model", started(line, tmp_path, shell))


@pytest.mark.slow
def test_the_jq_servers_start_and_check_work(jq_file: Path, shell: dict[str, str]) -> None:
    start, check = (line for line in command_lines(NAMES[0]) if line.startswith("llm-router "))
    folder = jq_file.parent
    assert "listening on http://0.0.0.0:" in started(start.replace("--port 8000", "--port 0"), folder, shell)
    done = subprocess.run(["sh", "-c", check], cwd=folder, env=shell, capture_output=True, timeout=WAIT_S)
    assert (done.returncode, done.stdout.count(b"ok ")) == (0, 3), done


def test_every_call_that_the_toml_server_prints_is_answered(
    start: Callable[..., Process], mock_server: Any, tmp_path: Path
) -> None:
    """On this machine without a key, as there."""
    if not shutil.which("curl"):
        pytest.skip("curl is not on this machine")
    file = f"""
[server]
loopback_without_key = true
[[providers]]
name = "openai"
base_url = "{mock_server.base_url}"
[[models]]
name = "gpt-5.1"
provider = "openai"
remote_identifier = "demo"
tags = ["coding", "high-quality"]
"""
    gateway = start(file, env={"OPENAI_API_KEY": "made-up", "LLM_ROUTER_TOKEN": "YOUR_API_KEY"})
    calls = [
        call
        for text in blocks(NAMES[1], "bash")
        for call in re.findall(r"(?ms)^curl (?:-X POST )?http://.*?(?:\n$|\Z|\n(?=curl))", text)
    ]
    assert len(calls) == 4
    for call in calls:
        here = re.sub(r"localhost:\d+", f"127.0.0.1:{gateway.port}", call).replace("curl ", "curl -sS --fail-with-body ", 1)
        done = subprocess.run(["bash", "-c", here], capture_output=True, timeout=WAIT_S, env=environment(tmp_path, {}))
        assert done.returncode == 0, (call, done)
        answer = json.loads(done.stdout)
        assert answer.get("status") == "ok" or "mock server" in done.stdout.decode(), (call, answer)


# ------------------------------------------------------------------------------------------------- calls of the replaced skill

SKILLS = {path.name: path.read_text("utf-8") for path in files_in("LLM_ROUTER_SEEDS", "skill-*.txt")}
OTHERS = {  # lines of theirs that are no call and not the client's command line, which tests/skill runs
    r'export AISA_API_KEY="your-key"': "sets the key",  # pragma: allowlist secret
    r"npm install -g @aisa-one/cli|aisa skills install llm-router": "their installer; ours is `skill install`",
}


@pytest.fixture(scope="module")
def any_model() -> Any:
    from llm_router_demo import DemoServer

    with DemoServer(any_model=True) as server:
        yield server


@pytest.mark.parametrize("page", every(2, SKILLS))
def test_every_call_that_the_skill_prints_is_answered_by_the_gateway(
    page: str, start: Callable[..., Process], any_model: Any, tmp_path: Path
) -> None:
    """It calls its vendor; the gateway in the vendor's place takes the same calls with the same key."""
    if not shutil.which("curl"):
        pytest.skip("curl is not on this machine")
    gateway = start(
        f'[[providers]]\nname = "aisa"\nbase_url = "{any_model.base_url}"\n',
        env={"AISA_API_KEY": "made-up", "LLM_ROUTER_TOKEN": "your-key"},  # pragma: allowlist secret
    )
    calls = re.findall(r"(?ms)^curl -X POST \"https://api\.aisa\.one/.*?^  \}'$", SKILLS[page])
    assert len(calls) == 5
    for call in calls:
        here = call.replace("https://api.aisa.one", f"http://127.0.0.1:{gateway.port}")
        here = here.replace("curl ", "curl -sS --fail-with-body ", 1)
        env = {**environment(tmp_path, {}), "AISA_API_KEY": "your-key"}  # pragma: allowlist secret
        done = subprocess.run(["bash", "-c", here], capture_output=True, timeout=WAIT_S, env=env)
        assert done.returncode == 0, (call, done)
        expected = "data: [DONE]" if '"stream": true' in call else '"candidates"' if "generateContent" in call else '"choices"'
        assert expected in done.stdout.decode(), (call, done)


@pytest.mark.parametrize("page", SKILLS)
def test_every_other_command_line_of_the_skill_is_known(page: str) -> None:
    starts = r"(?m)^ *((?:export|npm|pip|aisa|uv|npx|brew|sh|bash|python3?|curl|git) .*)$"
    for line in re.findall(starts, SKILLS[page]):
        is_tested = line.startswith(('curl -X POST "https://api.aisa.one/', "python3 ")) and "example.com:" not in line
        assert is_tested or any(re.fullmatch(pattern, line) for pattern in OTHERS), line


@pytest.mark.parametrize("page", [*SKILLS, NAMES[1]])
def test_their_program_with_the_vendors_sdk_runs(
    page: str, start: Callable[..., Process], any_model: Any, tmp_path: Path
) -> None:
    pytest.importorskip("openai")
    text = {**SKILLS, **PAGES}[page]
    [program] = re.findall(r"(?ms)^((?:import os\n)?from openai import OpenAI\n.*?^print\([^\n]*\)$)", text)
    gateway = start(
        f'[[providers]]\nname = "openai"\nbase_url = "{any_model.base_url}"\n',
        env={"OPENAI_API_KEY": "made-up", "LLM_ROUTER_TOKEN": "your-api-key"},  # pragma: allowlist secret
    )
    here = re.sub(r"https://api\.aisa\.one|http://localhost:8000", f"http://127.0.0.1:{gateway.port}", program)
    env = {**environment(tmp_path, {}), "AISA_API_KEY": "your-api-key"}  # pragma: allowlist secret
    done = subprocess.run([sys.executable, "-c", here], capture_output=True, timeout=WAIT_S, env=env)
    assert (done.returncode, b"mock server" in done.stdout) == (0, True), done
