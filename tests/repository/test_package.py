"""What is installed: a name that is free, every page, and help under the name that was typed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import llm_router_client as c

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_distribution_has_a_name_of_its_own_and_the_commands_keep_theirs() -> None:
    from llm_router_extras import pages

    assert re.search(r'(?m)^name = "llm-router-client"', PYPROJECT) and pages.DISTRIBUTION == "llm-router-client"
    assert re.findall(r'(?m)^(llm-router[\w-]*) = "', PYPROJECT) == ["llm-router", "llm-router-batch", "llm-router-gateway"]


def test_every_page_and_the_launcher_are_packed() -> None:
    [section] = re.findall(r"(?ms)^\[tool\.setuptools\.data-files\].*?\n(.*?)^\[", PYPROJECT)
    packed = set()
    for folder, names in re.findall(r'(?m)^"share/llm-router-client/?([^"]*)" = \[(.*)\]', section):
        for pattern in re.findall(r'"([^"]+)"', names):
            found = list(ROOT.glob(pattern))
            assert found, pattern
            packed.update(path.relative_to(ROOT).as_posix() for path in found)
            assert all(path.relative_to(ROOT).parent.as_posix() in (folder, ".") for path in found)
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "references").iterdir() if path.suffix in (".md", ".json")}
    assert pages | {"SKILL.md", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "scripts/llm-router"} == packed


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("/usr/bin/llm-router", "llm-router"),
        ("llm-router.exe", "llm-router"),
        ("scripts/llm_router_client.py", "python3 scripts/llm_router_client.py"),
        ("/usr/lib/pytest", "python3 llm_router_client.py"),
    ],
)
def test_help_names_the_command_that_was_typed(monkeypatch: pytest.MonkeyPatch, typed: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [typed])
    assert c.typed_name("llm_router_client.py") == name
    assert c.parser_of("chat").format_help().startswith(f"usage: {name} chat [options]\n")
    assert f"  {name} chat --demo" in c.help_text()


def test_the_launcher_and_the_scripts_say_their_own_names(cli: Any, tmp_path: Path) -> None:
    launcher = tmp_path / "llm-router"
    launcher.symlink_to(ROOT / "scripts" / "llm-router")
    asked = {str(launcher): "llm-router doctor", str(ROOT / "scripts" / "llm_router_batch.py"): "llm_router_batch.py run"}
    for script, shown in asked.items():
        words = [sys.executable, script, shown.split()[1], "--help"]
        done = subprocess.run(words, capture_output=True, text=True, env=cli.env, timeout=30)
        assert shown in done.stdout.splitlines()[0], done


@pytest.mark.slow
def test_the_wheel_carries_its_pages_and_the_skill(tmp_path: Path, cli: Any) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", "build"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "site"), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the build tools cannot be had: {done.stderr[-200:]}")
    env = {**cli.env, "PYTHONPATH": str(tmp_path / "site")}
    assert all((tmp_path / "site" / package / "py.typed").is_file() for package in ("llm_router_extras", "llm_router_gateway"))
    for words in (["docs", "cli"], ["skill", "check"], ["skill", "export", "out"], ["skill", "install", "--agent", "codex"]):
        program = [sys.executable, "-c", "import sys, llm_router_client as c; sys.exit(c.main(sys.argv[1:]))", *words]
        done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60)
        assert done.returncode == 0, (words, done)


def test_what_only_the_gateway_needs_is_not_required_on_the_clients_older_pythons() -> None:
    """uv resolves a project for all of them, and refuses it where one cannot be had."""
    [cluster] = re.findall(r"(?m)^cluster = \[(.*)\]", PYPROJECT)
    requirements = re.findall(r'"([^"]+)"', cluster)
    assert requirements
    assert all(each.endswith("; python_version >= '3.11'") for each in requirements)
