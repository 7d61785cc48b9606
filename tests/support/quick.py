"""Values of a parametrised test of which a few are tried at once and the others with --slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Values of one argument that are tried with --slow."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def every(step: int, values: Iterable[Any]) -> list[Any]:
    """The values for parametrize; all but each `step`th, from the first on, are slow: every(2, "abc") has a slow "b"."""
    sets = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*each, marks=[pytest.mark.slow] if at % step else []) for at, each in enumerate(sets)]
