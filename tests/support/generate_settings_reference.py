#!/usr/bin/env python3
"""Renders the tables of references/gateway-configuration.md from the gateway's table of settings and its presets.

python3 tests/support/generate_settings_reference.py           exits 1 when the page has drifted from the code
python3 tests/support/generate_settings_reference.py --write   rewrites everything below the marker
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from llm_router_gateway.config import describe  # noqa: E402  (the path above is what makes it importable)

PAGE = ROOT / "references" / "gateway-configuration.md"
MARKER = "<!-- Generated: python3 tests/support/generate_settings_reference.py --write -->\n\n"


def rendered(page: str) -> str:
    """The page with what follows the marker replaced; ValueError where the page has no marker."""
    head, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"{PAGE.name} has no line {MARKER.strip()}")
    return head + marker + describe.reference()


def main(words: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    fresh = rendered(page)
    if words == ["--write"]:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    if fresh != page:
        print(f"{PAGE.relative_to(ROOT)} has drifted from the code: run this with --write")
    return int(fresh != page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
