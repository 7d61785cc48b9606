"""GET /health/ready and /health/live: whether requests can be answered, for load balancers and supervisors. Pure.

    readiness(config, store.health(), is_refused=False)
        -> Readiness(is_ready=True, checks={"config": "ok", "store": "ok", "providers": "2 of 3 usable"}, reasons=[])

Anybody may call them, so they name no provider, path, address or key: the log and `GET /health/models` do.
A store that is away and bridged (its calls wait on this machine, its keys are known) is no reason: every gateway would be
taken away at once, and each could go on. A provider is usable when it is switched on and has the key that it needs. Whether it
answers at this moment is not checked: with every upstream down, a gateway that is still reachable gives its callers a better
error than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.config import Config

NO_PROVIDER = "no provider is usable: no active one has the key that it needs; --check lists them"
NO_STORE = "calls and keys cannot be stored at present; the log says why, and requests are still answered"


@dataclass(frozen=True, slots=True)
class Readiness:
    """The outcome, what was looked at, and why it is not ready."""

    is_ready: bool
    checks: Mapping[str, str]
    reasons: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        return 200 if self.is_ready else 503

    def view(self) -> dict[str, Any]:
        return {"status": "ready" if self.is_ready else "not_ready", "checks": self.checks, "reasons": self.reasons}


def readiness(config: Config, store: Mapping[str, Any] | None, *, is_refused: bool) -> Readiness:
    """`store`: its health, None where nothing is stored. `is_refused`: a newer configuration is invalid, this one is in use."""
    usable = sum(provider.is_active and not provider.lacks_key for provider in config.providers)
    is_bridged = store is not None and bool(store.get("bridged"))
    is_broken = store is not None and bool(store.get("broken")) and not is_bridged
    checks = {
        "config": "the last change is invalid and was not loaded" if is_refused else "ok",
        "store": "off" if store is None else "failing" if is_broken else "away" if store.get("broken") else "ok",
        "providers": f"{usable} of {len(config.providers)} usable",
    }
    reasons = [*([NO_STORE] if is_broken else []), *([] if usable else [NO_PROVIDER])]
    return Readiness(not reasons, checks, reasons)
