"""README, SKILL.md and the client's reference pages: every command on them runs as pasted, against the mock server.

MODEL, TEXT and FILE stand for a reader's own; each becomes a name, a text or a file of the right kind, nothing else is changed.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from pages import Shell, commands_of

ROOT = Path(__file__).resolve().parents[2]
# Commands of clients.md and mcp.md are other programs': tests/agents runs those. The gateway's: gateway/process/test_pages.py.
OF_THE_CLIENT = re.compile(r"(?!gateway|clients|mcp|scaling)[a-z-]+\.md")
PAGES = [ROOT / "README.md", ROOT / "SKILL.md"]
PAGES += sorted(path for path in (ROOT / "references").glob("*.md") if OF_THE_CLIENT.fullmatch(path.name))
SEPARATELY = ("-m venv", "run_scanners", "pip install .")  # the gate's first step, and those that install tools or packages
PLACEHOLDERS = (  # first those of one option
    ("--schema FILE", "--schema person.json"), ("--messages-file FILE", "--messages-file talk.json"),
    ("--output FILE", "--output answer.txt"), ("--message-file FILE", "--message-file question.txt"),
    ("FILE_OR_URL", "photo.jpg"), ("FILE", "question.txt"), ("NAME", "demo"),
)  # fmt: skip
PIXEL = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
PROMPT_LINES = '{"id": "a", "message": "Name three colours."}\n'


def inline_commands(page: str) -> List[str]:
    """What tables and sentences hold in backticks: "`python3 scripts/x.py chat`" -> ["python3 scripts/x.py chat"]."""
    outside = re.sub(r"(?ms)^```.*?^```", "", page)
    return re.findall(r"`(?:[A-Z_]+=\S+ )?(python3 \S*scripts/[^`]+)`", outside)


def filled_in(command: str) -> str:
    """The command with a reader's own names in place of the placeholders, and scripts/ where an agent puts a full path."""
    for placeholder, own in PLACEHOLDERS:
        command = re.sub(rf"(?<![\w-]){re.escape(placeholder)}(?!\w)", own, command)
    return re.sub(r"python3 \S*scripts/", "python3 scripts/", command)


@pytest.fixture
def any_model() -> Iterator[Any]:
    from llm_router_demo import DemoServer

    with DemoServer(any_model=True) as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path, any_model: Any) -> Shell:
    """A project of a reader's: a repository with a change, and the files that the pages speak of."""
    made = Shell(tmp_path, LLM_ROUTER_BASE_URL=any_model.base_url, LLM_ROUTER_PORT="0", OPENAI_API_KEY="k")
    files: Dict[str, Any] = {
        "question.txt": "Name three colours.", "prompts.jsonl": PROMPT_LINES, "person.json": json.dumps(PERSON),
        "names.json": json.dumps(PERSON), "config.json": json.dumps({"prices": prices()}), "photo.jpg": PIXEL,
    }  # fmt: skip
    (tmp_path / "notes").mkdir()
    for name, content in {**files, "notes/a.txt": "A note."}.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    made.env["LLM_ROUTER_CONFIG"] = str(tmp_path / "config.json")
    for words in (["init", "-q"], ["add", "question.txt"]):
        subprocess.run(["git", *words], cwd=tmp_path, env=made.env, check=True, timeout=60)
    (tmp_path / "question.txt").write_text("Name four colours.")
    return made


def is_free(command: str) -> bool:
    """Whether the port that the command names can be listened on; somebody else's server is not this test's concern."""
    port = re.search(r"--port (\d+)", command)
    with socket.socket() as probe:
        return not port or probe.connect_ex(("127.0.0.1", int(port[1]))) != 0


def prices() -> Dict[str, Any]:
    return {name: {"input": 2.0, "output": 8.0} for name in ("MODEL", "MODEL2", "demo")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("git"), reason="the commands are for a POSIX shell with git")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_runs_as_pasted(shell: Shell, path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    if path.name == "install.md":  # which speaks of the installed command
        (shell.home / ".local" / "bin" / "llm-router").symlink_to(ROOT / "scripts" / "llm-router")
    for command in [*commands_of(page), *inline_commands(page)]:
        needs_newer = "llm_router_gateway" in command and sys.version_info < (3, 11)
        if not needs_newer and not any(words in command for words in SEPARATELY) and is_free(command):
            shell.run(filled_in(command))


def test_a_placeholder_is_filled_in_and_nothing_else() -> None:
    assert filled_in('python3 X/scripts/a.py --schema FILE --message "FILENAME" -m MODEL') == (
        'python3 scripts/a.py --schema person.json --message "FILENAME" -m MODEL'
    )


def test_the_pages_hold_commands_of_both_kinds() -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    assert len(commands_of(pages["README.md"])) > 10 and len(inline_commands(pages["SKILL.md"])) > 10
    assert len(inline_commands(pages["cost.md"])) > 5


@pytest.mark.parametrize("words", [
    ["compare", "--models", "gpt-5.4,qwen-max"], ["chat", "-m", "auto", "--stream"],
    ["chat", "-m", "fail-404", "--fallback", "nonsense"],
], ids=lambda words: words[0] + words[2])  # fmt: skip
def test_the_demo_answers_under_any_name(cli: Any, words: List[str]) -> None:
    ran = cli(*words, "--demo", "--message", "Name three colours.")
    assert ran.code == 0 and b"You said: Name three colours." in ran.out and b"failed: " not in ran.out, ran


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("git"), reason="the commands are for a POSIX shell with git")
def test_readme_s_examples_run_with_demo_added_to_them(shell: Shell) -> None:
    del shell.env["LLM_ROUTER_BASE_URL"]
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    asking = [line for line in commands_of(page) if re.search(r"(client|batch)\.py (chat|vision|compare|run) ", line)]
    for command in asking:
        assert shell.run(re.sub(r" (chat|vision|compare|run) ", r" \1 --demo ", command)), command
    assert len(asking) > 6
