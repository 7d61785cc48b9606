"""Readiness: what makes a gateway ready, what it says when it is not, and what it never says."""

from __future__ import annotations

from typing import Any

import pytest
from configs import parse

from llm_router_gateway.proxy.readiness import NO_PROVIDER, NO_STORE, readiness

LOCAL = '[[providers]]\nname = "ollama"\n'
KEYED = '[[providers]]\nname = "openai"\n'
OFF = '[[providers]]\nname = "grok"\nis_active = false\n'
WELL: dict[str, Any] = {"broken": "", "path": "/secret/place.db"}
BROKEN: dict[str, Any] = {"broken": "/secret/place.db: disk I/O error"}


@pytest.mark.parametrize(
    "text, env, store, providers, reasons",
    [
        (LOCAL, {}, WELL, "1 of 1 usable", []),
        (KEYED, {"OPENAI_API_KEY": "k" * 20}, WELL, "1 of 1 usable", []),
        (KEYED, {}, WELL, "0 of 1 usable", [NO_PROVIDER]),
        (KEYED + OFF, {"XAI_API_KEY": "k" * 20}, None, "0 of 2 usable", [NO_PROVIDER]),
        (KEYED + LOCAL, {}, None, "1 of 2 usable", []),
        (LOCAL, {}, BROKEN, "1 of 1 usable", [NO_STORE]),
        (KEYED, {}, BROKEN, "0 of 1 usable", [NO_STORE, NO_PROVIDER]),
    ],
)
def test_a_usable_provider_and_a_store_that_works_make_it_ready(
    text: str, env: dict[str, str], store: dict[str, Any] | None, providers: str, reasons: list[str]
) -> None:
    found = readiness(parse(text, **env), store, is_refused=False)
    assert (found.reasons, found.is_ready, found.status) == (reasons, not reasons, 503 if reasons else 200)
    assert found.checks["providers"] == providers
    assert found.checks["store"] == ("off" if store is None else "failing" if store["broken"] else "ok")
    for secret in ("/secret", "openai", "ollama", "k" * 20):
        assert secret not in str(found.view())


def test_a_refused_change_is_reported_and_does_not_take_a_working_gateway_away() -> None:
    found = readiness(parse(LOCAL), None, is_refused=True)
    assert found.is_ready and found.checks["config"] != "ok"


def test_a_store_that_is_away_and_bridged_does_not_take_every_gateway_away_at_once() -> None:
    found = readiness(parse(LOCAL), {"broken": "connection refused", "bridged": True}, is_refused=False)
    assert found.is_ready and found.checks["store"] == "away"
