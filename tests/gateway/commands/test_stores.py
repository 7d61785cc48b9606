"""Where calls wait while PostgreSQL is away, by the setting and the configuration's place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_router_gateway.commands.stores import spill_path


@pytest.mark.parametrize(
    ("setting", "config", "place"),
    [
        ("", "/etc/llm/router.toml", "/etc/llm/router.spill.db"),
        ("other.db", "/etc/llm/router.toml", "/etc/llm/other.db"),
        ("/var/lib/llm/calls.db", "/etc/llm/router.toml", "/var/lib/llm/calls.db"),
        ("/var/lib/llm/calls.db", None, "/var/lib/llm/calls.db"),
        ("off", "/etc/llm/router.toml", ""),
        ("", None, ""),  # without a file of its own it has no place
    ],
)
def test_calls_wait_beside_the_configuration_or_where_it_says(setting: str, config: str | None, place: str) -> None:
    given: Any = SimpleNamespace(server=SimpleNamespace(spill_file=setting))
    source: Any = SimpleNamespace(path=Path(config) if config else None)
    assert spill_path(given, source) == place
