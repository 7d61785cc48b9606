"""One version number for all parts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import llm_router_client

ROOT = Path(__file__).resolve().parents[2]
VERSION = llm_router_client.VERSION  # what pyproject.toml takes for the distribution


def constant(path: Path, name: str) -> object:
    """What a module sets NAME to, without an import: constant(path, "__version__") -> "1.0.0"."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id == name for each in node.targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path.name} sets no {name}")


def test_the_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_the_distribution_has_the_client_s_version() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in text and 'attr = "llm_router_client.VERSION"' in text
    assert not re.search(r"(?m)^version = \"", text)


def test_the_gateway_has_it() -> None:
    assert constant(ROOT / "scripts" / "llm_router_gateway" / "__init__.py", "__version__") == VERSION


def test_the_skill_has_it() -> None:
    assert f'version: "{VERSION}"' in (ROOT / "SKILL.md").read_text(encoding="utf-8")


def test_the_changelog_s_newest_entry_is_about_it_or_not_released() -> None:
    newest = re.search(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert newest and newest[1] in (VERSION, "Unreleased")


@pytest.mark.parametrize("program", ["llm_router_client.py", "llm_router_batch.py", "llm_router_gateway"])
def test_every_program_says_it(program: str) -> None:
    if program == "llm_router_gateway" and sys.version_info < (3, 11):
        pytest.skip("the gateway needs Python 3.11")
    words = [sys.executable, str(ROOT / "scripts" / program), "--version"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0 and run.stdout.split() == [run.stdout.split()[0], VERSION], run
