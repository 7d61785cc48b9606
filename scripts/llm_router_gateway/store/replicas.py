"""Gateways on one database, by their last signs of life. Values only.

replica.line()       -> {"id": ..., "is_self": True, "is_silent": False, "age_s": 0.4, **what it says of itself}
summary(replicas)    -> {"alive": 2, "silent": ["gw-b-17"], "configurations": 2, "versions": 1, "differences": ["..."]}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SILENT_S = 5.0  # a gateway that said nothing for so long is marked


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


def summary(replicas: Iterable[Replica]) -> dict[str, Any]:
    """What all of them together show. Silent ones are not compared."""
    known = tuple(replicas)
    alive = [each for each in known if not each.is_silent]
    configurations = {str(each.report.get("config", "")) for each in alive}
    versions = {str(each.report.get("version", "")) for each in alive}
    return {
        "alive": len(alive), "silent": [each.id for each in known if each.is_silent],
        "open_requests": sum(int(each.report.get("open_requests", 0)) for each in alive),
        "rows_waiting": sum(int(each.report.get("rows_waiting", 0)) for each in alive),
        "configurations": len(configurations), "versions": len(versions), "differences": differences(alive),
    }  # fmt: skip


def differences(alive: Iterable[Replica]) -> list[str]:
    """In what gateways differ that should be the same, a line each."""
    found = []
    for name, title in (("config", "configurations"), ("version", "versions")):
        groups: dict[str, list[str]] = {}
        for each in alive:
            groups.setdefault(str(each.report.get(name, "")), []).append(each.id)
        if len(groups) > 1:
            parts = "; ".join(f"{value or 'unknown'}: {', '.join(sorted(ids))}" for value, ids in sorted(groups.items()))
            found.append(f"the gateways on this database have different {title} ({parts})")
    return found
