"""Gateways on one database, by their last signs of life. Values only.

replica.line()       -> {"id": ..., "is_self": True, "is_silent": False, "age_s": 0.4, **what it says of itself}
summary(replicas)    -> {"alive": 2, "silent": ["gw-b-17"], "configurations": 2, "versions": 1, "differences": ["..."]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SILENT_S = 5.0  # a gateway that said nothing for so long is marked
COUNTS = ("open_requests", "rows_waiting")  # of a report


class Replica(NamedTuple):
    """One gateway."""

    id: str
    age_s: float  # since its last sign of life, by the database's clock
    is_self: bool
    report: Mapping[str, Any]

    @property
    def is_silent(self) -> bool:
        return self.age_s > SILENT_S

    def line(self) -> dict[str, Any]:
        own = {"id": self.id, "is_self": self.is_self, "is_silent": self.is_silent, "age_s": round(self.age_s, 1)}
        return {**self.report, **own}


def read_report(text: str) -> dict[str, Any]:
    """What a gateway said of itself; ValueError where that is not such a report."""
    try:
        report = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(report, dict) or not all(type(report.get(name, 0)) is int for name in COUNTS):
        raise ValueError("is not a report")
    return report


def summary(replicas: Iterable[Replica]) -> dict[str, Any]:
    """What all of them together show. Silent ones are not compared, nor are those whose report cannot be read."""
    known = tuple(replicas)
    alive = [each for each in known if not each.is_silent]
    configurations = {str(each.report.get("config", "")) for each in alive if each.report}
    versions = {str(each.report.get("version", "")) for each in alive if each.report}
    return {
        "alive": len(alive), "silent": [each.id for each in known if each.is_silent],
        **{name: sum(each.report.get(name, 0) for each in alive) for name in COUNTS},
        "configurations": len(configurations), "versions": len(versions), "differences": differences(alive),
    }  # fmt: skip


def differences(alive: Iterable[Replica]) -> list[str]:
    """In what gateways differ that should be the same, a line each."""
    found = []
    for name, title in (("config", "configurations"), ("version", "versions")):
        groups: dict[str, list[str]] = {}
        for each in (each for each in alive if each.report):
            groups.setdefault(str(each.report.get(name, "")), []).append(each.id)
        if len(groups) > 1:
            parts = "; ".join(f"{value or 'unknown'}: {', '.join(sorted(ids))}" for value, ids in sorted(groups.items()))
            found.append(f"the gateways on this database have different {title} ({parts})")
    return found
