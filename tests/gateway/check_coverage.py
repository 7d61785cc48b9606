#!/usr/bin/env python3
"""Branch coverage of the gateway's pure rooms by the tests that start no process: exits 1 when a room is under its floor.

  python3 tests/gateway/check_coverage.py     needs pytest, coverage and the package jq, whose library is the measure of ours

The figure is coverage.py's own with branches counted: (lines + branches reached) / (lines + branches there are).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "scripts/llm_router_gateway"
ROOMS = ("jq", "wire", "policy", "routing", "config")
FLOOR_PERCENT = 95.0
ELSEWHERE = (  # what reaches these rooms from outside, and what costs minutes and reaches nothing more
    "tests/gateway/process", "tests/gateway/management", "tests/gateway/store", "tests/gateway/wire/test_recordings.py",
)  # fmt: skip


def measured(folder: Path) -> dict[str, Any]:
    """What coverage saw of each file of the rooms: {"scripts/.../jq/values.py": {"summary": {...}, ...}}."""
    data, report = folder / "data", folder / "report.json"
    run = [sys.executable, "-m", "coverage"]
    source = f"--source={','.join(f'{PACKAGE}/{room}' for room in ROOMS)}"
    tests = ["-q", "-p", "no:cacheprovider", "--slow", "tests/gateway", *(f"--ignore={each}" for each in ELSEWHERE)]
    subprocess.run([*run, "run", "--branch", source, f"--data-file={data}", "-m", "pytest", *tests], check=True, cwd=ROOT)
    subprocess.run([*run, "json", "-q", f"--data-file={data}", "-o", str(report)], check=True, cwd=ROOT)
    files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    return files


def percent_of(files: dict[str, Any], room: str) -> float:
    """What is reached of a room."""
    total: Counter[str] = Counter()
    for name, facts in files.items():
        if f"{PACKAGE}/{room}/" in Path(name).as_posix():
            total.update({key: value for key, value in facts["summary"].items() if isinstance(value, int)})
    there_are = total["num_statements"] + total["num_branches"]
    return 100.0 * (total["covered_lines"] + total["covered_branches"]) / there_are if there_are else 0.0


def main() -> int:
    """0 when every room is at its floor or above."""
    with tempfile.TemporaryDirectory() as folder:
        files = measured(Path(folder))
    low = []
    for name, facts in sorted(files.items(), key=lambda each: float(each[1]["summary"]["percent_covered"])):
        if facts["summary"]["percent_covered"] < FLOOR_PERCENT:
            missing = " ".join(f"{a}->{b}" for a, b in facts.get("missing_branches", ())[:12])
            print(f"{facts['summary']['percent_covered']:6.1f} %  {name}: branches {missing}")
    for room in ROOMS:
        percent = percent_of(files, room)
        low += [room] if percent < FLOOR_PERCENT else []
        print(f"{percent:6.1f} %  {room}")
    print(f"under {FLOOR_PERCENT:g} %: {', '.join(low) or 'none'} of {', '.join(ROOMS)}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
