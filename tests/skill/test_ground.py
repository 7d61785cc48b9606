"""The ground agrees with itself: README's commands and snippet work as printed, versions and links are right."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("tests/*/README.md"))]
FIRST_COMMAND = 'python3 scripts/llm_router_client.py chat --demo --message "Hello, world!"'
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/python -m pip install -q -e '.[test]' && .venv/bin/python -m pytest -q"


def blocks(language: str) -> List[str]:
    """README's fenced blocks in a language."""
    return [block.strip() for block in re.findall(rf"(?ms)^```{language}\n(.*?)^```", README)]


def test_the_readme_begins_with_the_first_call_and_the_tests() -> None:
    assert blocks("bash")[:2] == [FIRST_COMMAND, TEST_COMMAND]


def test_the_readme_is_short_and_has_one_picture() -> None:
    assert len(README.splitlines()) < 150 and README.count("![") == 1


def test_ci_takes_the_test_command_from_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "grep -m 1 '^python3 -m venv ' README.md" in script
    assert re.findall(r"(?m)^python3 -m venv .*$", README) == [TEST_COMMAND]


def test_the_first_command_answers_with_no_key_and_names_the_mock_server(cli: Any) -> None:
    words = [sys.executable, *shlex.split(FIRST_COMMAND)[1:]]
    done = subprocess.run(words, capture_output=True, cwd=ROOT, env=cli.env, stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode == 0, done.stderr
    assert b"mock server" in done.stdout and b"Hello, world!" in done.stdout


def test_the_python_snippet_runs_as_printed(cli: Any, demo: Any) -> None:
    [snippet] = blocks("python")
    code = re.sub(r'"(?:gpt|qwen)-[\w.-]+"', '"demo"', snippet)
    env = {**cli.env, "LLM_ROUTER_BASE_URL": demo.base_url, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=cli.cwd, env=env, timeout=30)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert done.stdout.count(b"mock server") >= 2


def test_every_module_in_scripts_is_packed() -> None:
    [packed] = re.findall(r"(?m)^py-modules = \[(.*)\]$", PYPROJECT)
    assert sorted(re.findall(r'"(\w+)"', packed)) == sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
