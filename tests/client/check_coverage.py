#!/usr/bin/env python3
"""Branch coverage of the client's pure sections by their own tests: exits 1 unless every line and branch is reached.

  python3 tests/client/check_coverage.py     needs pytest and coverage, both in the dev and test extras

The sections are those between the client file's ruled comments; the tests in TESTS that use no server and no command line
must reach all of them, so that a branch that only a socket could reach does not count as tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "scripts" / "llm_router_client.py"
PURE = ("errors", "server-sent events", "wire shapes", "policy")
TESTS = (
    "test_sse.py", "test_wire.py", "test_policy.py", "test_prices.py", "test_routing.py", "test_schema.py", "test_tools.py",
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


def measured(folder: Path) -> Any:
    """What coverage saw of the client file while its pure tests ran."""
    data, report = folder / "data", folder / "report.json"
    run = [sys.executable, "-m", "coverage"]
    tests = [str(ROOT / "tests" / "client" / name) for name in TESTS]
    options = ["run", f"--data-file={data}"]  # what else it takes is in pyproject.toml
    plugins = ["-p", "no:cacheprovider", "-p", Path(__file__).stem]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([*run, *options, "-m", "pytest", "-q", *plugins, *tests], check=True, cwd=ROOT, env=env)
    subprocess.run([*run, "json", "-q", f"--data-file={data}", "-o", str(report)], check=True, cwd=ROOT)
    files = json.loads(report.read_text())["files"]
    return next(facts for name, facts in files.items() if Path(name).name == CLIENT.name)


def main() -> int:
    """0 when every pure section is covered whole."""
    with tempfile.TemporaryDirectory() as folder:
        facts = measured(Path(folder))
    found = sections(CLIENT.read_text(encoding="utf-8"))
    missed = 0
    for name in PURE:
        first, last = found[name]
        lines = [line for line in facts["missing_lines"] if first <= line <= last]
        branches: List[str] = [f"{a}->{b}" for a, b in facts["missing_branches"] if first <= a <= last]
        missed += len(lines) + len(branches)
        print(f"{name:20} lines {first}-{last}: missing lines {lines or 'none'}, branches {', '.join(branches) or 'none'}")
    print("branch coverage of the pure sections: " + ("100 %" if not missed else f"{missed} lines and branches missing"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
