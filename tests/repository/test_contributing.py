"""CONTRIBUTING.md and what stands beside it name things that exist, in the versions and sizes that are in force."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
GATE = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
GATEWAY = ROOT / "scripts" / "llm_router_gateway"


def paths() -> List[str]:
    """What stands in backticks and is a path: `tests/client`, `wire/spec.py` (of the gateway), not `tests/gateway/<room>`."""
    words = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", CONTRIBUTING)
    return sorted({word for word in words if "NAME" not in word})


def test_there_is_something_to_look_at() -> None:
    assert len(paths()) > 25


@pytest.mark.parametrize("path", paths())
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists() or (GATEWAY / path).exists()


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", CONTRIBUTING)
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_every_room_has_its_line() -> None:
    rooms = {path.parent.name for path in GATEWAY.glob("*/__init__.py")} - {"jq", "limiter", "policy"}
    assert not {room for room in rooms if f"`scripts/llm_router_gateway/{room}/" not in CONTRIBUTING}


def test_a_whole_protocol_has_fifty_lines() -> None:
    toy = sorted((ROOT / "tests" / "support" / "toy").glob("*.py"))
    assert "whole protocol in fifty lines" in " ".join(CONTRIBUTING.split()) and len(toy) == 3
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in toy) <= 50


def test_the_first_command_is_the_readme_s() -> None:
    [command] = re.findall(r"(?m)^python3 -m venv .*$", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert command in CONTRIBUTING.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="the gate is a shell script")
def test_every_step_that_is_named_is_one() -> None:
    run = subprocess.run([str(ROOT / ".ci" / "run"), "--list"], capture_output=True, text=True, timeout=60, check=True)
    steps = [line.split() for line in run.stdout.splitlines()]
    assert {size for _, size, *_ in steps} == {"gate", "all"}
    assert not {function for _, _, function, *_ in steps if f"\n{function}() {{" not in GATE}
    named = {word for words in re.findall(r"`\.ci/run ((?:\w+ ?)+)`", CONTRIBUTING) for word in words.split()}
    assert named and named <= {name for name, *_ in steps}


def test_a_step_that_does_not_exist_is_a_usage_error() -> None:
    if sys.platform == "win32":
        pytest.skip("the gate is a shell script")
    run = subprocess.run([str(ROOT / ".ci" / "run"), "no-such-step"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2 and "no-such-step" in run.stdout


def test_the_hooks_have_the_gate_s_version_of_ruff() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"ruff==[\d.]+", hooks)) == set(re.findall(r"ruff==[\d.]+", PYPROJECT))
    assert {"ruff check", "ruff format"} == set(re.findall(r"entry: (ruff \w+)", hooks))


def test_editors_break_lines_where_ruff_does() -> None:
    [limit] = re.findall(r"(?m)^line-length = (\d+)$", PYPROJECT)
    assert f"max_line_length = {limit}\n" in (ROOT / ".editorconfig").read_text(encoding="utf-8")


def test_the_workflow_runs_the_gate_and_nothing_of_its_own() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    gate = workflow.partition("\n  gate:")[2].partition("\n  client:")[0]
    assert [line.split()[2] for line in gate.splitlines() if "- run:" in line] == [".ci/run"]
    supported = re.findall(r"Python :: (3\.\d+)", PYPROJECT)
    assert sorted(re.findall(r"(?m)^ +(3\.\d+)$", gate)) == sorted(supported)
