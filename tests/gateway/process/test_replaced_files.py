"""The configuration files and command lines of the servers that this one replaces, as they printed them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from material import files_in, needs
from running import GATEWAY, Process, command, environment

pytestmark = needs("LLM_ROUTER_SEEDS")
NAMES = ("server-jq-protocols.txt", "server-toml-tags-sqlite.txt")
PAGES = {path.name: path.read_text("utf-8") for path in files_in("LLM_ROUTER_SEEDS", "server-*.txt")}
KEYS = dict.fromkeys((f"{name}_API_KEY" for name in ("OPENAI", "DEEPSEEK", "GLM", "GLM_Z")), "made-up")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGES[page])


@pytest.fixture
def jq_file(tmp_path: Path, stand_in: Any) -> Path:
    """Its config.yaml with the mock server in the place of the providers; nothing else is changed."""
    pytest.importorskip("yaml")
    [text] = blocks(NAMES[0], "yaml")
    addresses = {"openai": stand_in.base_url, "anthropic": stand_in.url, "gemini": f"{stand_in.url}/v1beta"}

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
