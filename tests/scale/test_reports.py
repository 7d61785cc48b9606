"""The table of reports in README.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
GATEWAY = HERE.parent / "gateway"
REPORTS = 18


def test_every_report_has_its_test() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8").partition("## How others failed")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ") and "test_" in line]
    assert len(rows) == REPORTS
    for row in rows:
        file = ""
        found = re.findall(r"`([\w/.]*)::(test_\w+)`", row)
        assert found, row
        for name, test in found:
            file = name or file
            path = HERE / file if "/" not in file else GATEWAY / file
            assert f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"
