"""[alerts] -> where a webhook is called when keys use up their budgets, or None.

read_alerts({"webhook": "https://hooks.example/T0/x"}, {}, reading)  -> Alerts(webhook=Secret(***), at=(0.8, 1.0))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .kinds import Secret
from .reader import Reading, check, read_settings
from .settings import ALERTS

DEFAULT_AT = (0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Alerts:
    """The address and the headers are credentials."""

    webhook: Secret
    at: tuple[float, ...] = DEFAULT_AT
    headers: Mapping[str, Secret] = field(default_factory=dict)
    proxy: str = ""


def read_alerts(table: Mapping[str, Any], env: Mapping[str, str], reading: Reading) -> Alerts | None:
    """The variable wins over the file."""
    values = read_settings(table, ALERTS, "alerts", reading)
    (name,) = ALERTS[0].env
    if env.get(name, "").strip():
        values["webhook"] = check(ALERTS[0], env[name].strip(), name, reading)
    if values["webhook"] is None:
        if table and "webhook" not in table:
            reading.bad("alerts.webhook", f"is missing: set it, or {name}")
        return None
    headers = {name.lower(): Secret(text) for name, text in values["headers"].items()}
    return Alerts(values["webhook"], values["at"] or DEFAULT_AT, headers, values["proxy"])
