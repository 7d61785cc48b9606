#!/usr/bin/env python3
"""Branch coverage of what is pure in the client and its extras, by its own tests: exits 1 unless all of it is reached.

  python3 tests/client/check_coverage.py     needs pytest and coverage, both in the dev and test extras

The sections are those between the client file's ruled comments, and of a module of the extras what stands above its first
class or function that calls a model; the tests in TESTS that use no server and no command line must reach all of them, so
that a branch that only a socket could reach does not count as tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "scripts" / "llm_router_client.py"
EXTRAS = ROOT / "scripts" / "llm_router_extras"
PURE = ("errors", "server-sent events", "wire shapes", "policy")
PURE_MODULES = {  # module of the extras -> the first line that is not pure, "" where all of it is
    "mending": "def mend", "message": "", "naming": "def check", "pricing": "def prices_of", "routing": "class Router",
    "schema": "class SchemaCheck", "tools": "def answer_of", "unmet": "",
}  # fmt: skip
TESTS = (
    "client/test_sse.py", "client/test_wire.py", "client/test_policy.py", "client/test_gemini.py", "extras/test_mending.py",
    "extras/test_naming.py", "extras/test_pricing.py", "extras/test_routing.py", "extras/test_schema.py",
    "extras/test_tools.py", "extras/test_unmet.py",
)  # fmt: skip
IMPURE = {"demo", "serve", "cli"}  # fixtures


def pytest_collection_modifyitems(items: List[Any]) -> None:
    """What pytest asks this file when it is its plugin: which tests to run."""
    items[:] = [item for item in items if not IMPURE & set(item.fixturenames)]


def sections(source: str) -> Dict[str, Tuple[int, int]]:
    """Name -> (first line, last line), counted from 1; sections("# --- a\\nx\\n# --- b\\n") -> {"a": (1, 2), "b": (3, 3)}."""
    lines = source.splitlines()
    rules = [(number, match[1]) for number, line in enumerate(lines, 1) for match in [re.match(r"# -{3,} (.+)", line)] if match]
    ends = [number - 1 for number, _ in rules[1:]] + [len(lines)]
    return {name: (start, end) for (start, name), end in zip(rules, ends)}


def measured(folder: Path) -> Dict[str, Any]:
    """What coverage saw of each file while the pure tests ran, by folder and name."""
    data, report = folder / "data", folder / "report.json"
    run = [sys.executable, "-m", "coverage"]
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    options = ["run", f"--data-file={data}"]  # what else it takes is in pyproject.toml
    plugins = ["-p", "no:cacheprovider", "-p", Path(__file__).stem]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([*run, *options, "-m", "pytest", "-q", *plugins, *tests], check=True, cwd=ROOT, env=env)
    subprocess.run([*run, "json", "-q", f"--data-file={data}", "-o", str(report)], check=True, cwd=ROOT)
    files = json.loads(report.read_text())["files"]
    return {"/".join(Path(name).parts[-2:]): facts for name, facts in files.items()}


def pure_parts() -> Iterator[Tuple[str, str, int, int]]:
    """(what, file, first line, last line) of all that is to be covered."""
    found = sections(CLIENT.read_text(encoding="utf-8"))
    yield from ((name, f"scripts/{CLIENT.name}", *found[name]) for name in PURE)
    for module, mark in PURE_MODULES.items():
        lines = (EXTRAS / f"{module}.py").read_text(encoding="utf-8").splitlines()
        last = next((number for number, line in enumerate(lines) if mark and line.startswith(mark)), len(lines))
        yield module, f"llm_router_extras/{module}.py", 1, last


def main() -> int:
    """0 when all that is pure is covered whole."""
    with tempfile.TemporaryDirectory() as folder:
        files = measured(Path(folder))
    missed = 0
    for what, name, first, last in pure_parts():
        lines = [line for line in files[name]["missing_lines"] if first <= line <= last]
        branches: List[str] = [f"{a}->{b}" for a, b in files[name]["missing_branches"] if first <= a <= last]
        missed += len(lines) + len(branches)
        print(f"{what:20} lines {first}-{last}: missing lines {lines or 'none'}, branches {', '.join(branches) or 'none'}")
    print("branch coverage of what is pure: " + ("100 %" if not missed else f"{missed} lines and branches missing"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
