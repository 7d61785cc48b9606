"""Material outside the repository, named by environment variables; tests look nowhere else and skip where one is unset.

    LLM_ROUTER_RECORDINGS   folder: recorded exchanges with real providers, one JSON file each
    LLM_ROUTER_SEEDS        folder: what the systems that this one replaces printed about themselves
    LLM_ROUTER_CASES        folder: exchanges that went wrong elsewhere, one folder each
    LLM_ROUTER_SSE_CASES    file: server-sent events collected from other parsers' tests
    LLM_ROUTER_AGENTS       folder: coding agents from npm, `npm install --prefix FOLDER` (tests/agents/README.md)
    LLM_ROUTER_RECEIVERS    folder: environments of servers that take traces (tests/receivers/test_receivers.py)
    LLM_ROUTER_JQ_MANUAL    file: the cases of jq's manual

`.ci/run` sets those that it finds in a folder `shared` beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional

import pytest

NAMED = {**os.environ}  # read now: tests run in an environment without the user's variables (tests/conftest.py)


def material(name: str) -> Optional[Path]:
    """The file or folder that the variable `name` names; None where it is unset, an error where nothing is there."""
    value = NAMED.get(name)
    if not value:
        return None
    path = Path(value)
    if not path.exists():
        raise FileNotFoundError(f"{name} names {value}, which does not exist; correct it or unset it")
    return path.resolve()


def needs(name: str) -> pytest.MarkDecorator:
    """The mark of a test that reads what `name` names: skipped, with the variable in the reason, where it is unset."""
    return pytest.mark.skipif(material(name) is None, reason=f"{name} is not set (tests/support/material.py)")


def files_in(name: str, pattern: str) -> List[Path]:
    """The files in the folder that `name` names, sorted; empty where it is unset: files_in("LLM_ROUTER_SEEDS", "*.txt")."""
    folder = material(name)
    return sorted(folder.glob(pattern)) if folder else []
