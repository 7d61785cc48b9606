"""llm_router.py: which of the two parts `llm-router` and `python3 -m llm_router` start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from running import environment

import llm_router
import llm_router_client
from llm_router_gateway.commands import main as cli

SCRIPTS = Path(llm_router.__file__).parent
SHARED = {"-h", "--help", "--version", "--demo"}  # the client has them as well


def test_the_flags_are_all_those_of_the_gateway_and_begin_no_command_line_of_the_client() -> None:
    assert {flag for action in cli.parser()._actions for flag in action.option_strings} - SHARED == llm_router.GATEWAY_FLAGS
    assert not llm_router.GATEWAY_FLAGS & {*llm_router_client.COMMANDS, "--version", "-V", "--help", "-h", "help"}


@pytest.mark.parametrize(
    ("words", "gateway"),
    [
        (["--ip", "0.0.0.0", "--port", "8000"], True),
        (["--config=config.yaml", "--check"], True),
        (["-p", "1"], True),
        (["chat", "--message", "x"], False),
        (["what is --port?"], False),
        (["--help"], False),
        (["--version"], False),
        (["--prot", "1"], False),
        ([], False),
    ],
)
def test_the_first_word_decides(words: list[str], gateway: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(llm_router.FILE_VARIABLE, raising=False)
    assert llm_router.is_for_gateway(words) is gateway


def test_without_a_word_a_file_of_the_gateway_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(llm_router.FILE_VARIABLE, raising=False)
    assert llm_router.is_for_gateway([], is_module=True)
    assert not llm_router.is_for_gateway([])
    monkeypatch.setenv(llm_router.FILE_VARIABLE, "elsewhere.toml")
    assert llm_router.is_for_gateway([])
    monkeypatch.setenv(llm_router.FILE_VARIABLE, " ")
    (tmp_path / "router.toml").touch()
    assert llm_router.is_for_gateway([])
    assert not llm_router.is_for_gateway(["models"])


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**environment(folder, {}), "PYTHONPATH": str(SCRIPTS)}
    argv = [sys.executable, "-m", "llm_router", *words]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_module_starts_both(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"llm-router {llm_router_client.VERSION}\n"
    assert "Hello" in run(tmp_path, "chat", "--demo", "--message", "Hello").stdout
    (tmp_path / "router.toml").write_text('[[providers]]\nname = "ollama"\n')
    assert 'name = "ollama"' in run(tmp_path, "--print-config").stdout
    wrong = run(tmp_path, "--port", "x")
    assert wrong.returncode == 2
    assert "port" in wrong.stderr
    usage = run(tmp_path, "--port", "1", "--nope")
    assert usage.stderr.startswith("usage: llm-router-gateway "), usage
