"""Which tests run: slow ones only when asked for, and the run says what it left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """\
import pytest

def test_quick(): pass

@pytest.mark.slow
@pytest.mark.parametrize("value", ["a", "b/c"])
def test_lengthy(value): pass
"""
SETTINGS = """\
[pytest]
markers = slow
addopts = --strict-markers --import-mode=importlib -p no:cacheprovider
"""
LEFT_OUT = "2 slow tests were left out"


def outcome(folder: Path, *words: str, **variables: str) -> List[str]:
    """What pytest prints about two tests, of which one is slow and has two values."""
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "pytest.ini").write_text(SETTINGS)
    (folder / "test_some.py").write_text(TESTS)
    env = {**os.environ, **variables}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()


def test_slow_tests_are_left_out_and_one_line_says_how_to_run_them(tmp_path: Path) -> None:
    lines = outcome(tmp_path)
    assert [line for line in lines if "slow" in line] == [f"{LEFT_OUT}; the option --slow runs them, too"]
    assert lines[-1].startswith("1 passed, 2 deselected")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words,passed",
    [
        (["--slow"], 3),
        (["-m", "slow"], 2),
        (["-m", "not slow"], 1),
        (["test_some.py::test_lengthy"], 2),
        (["test_some.py::test_lengthy[b/c]"], 1),
    ],
    ids=str,
)
def test_slow_tests_run_when_they_are_requested(tmp_path: Path, words: List[str], passed: int) -> None:
    lines = outcome(tmp_path, *words)
    assert lines[-1].startswith(f"{passed} passed") and not any(LEFT_OUT in line for line in lines)


@pytest.mark.slow
def test_a_variable_asks_for_slow_tests_too(tmp_path: Path) -> None:
    assert outcome(tmp_path, LLM_ROUTER_SLOW="1")[-1].startswith("3 passed")
    assert outcome(tmp_path, LLM_ROUTER_SLOW="0")[-1].startswith("1 passed")
