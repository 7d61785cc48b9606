"""What takes the place of an exporter of telemetry in tests in process."""

from __future__ import annotations

from typing import Any

from llm_router_gateway.telemetry.instruments import Instruments
from llm_router_gateway.telemetry.otlp import Span


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.instruments = Instruments(0)

    def add(self, spans: Any) -> None:
        self.spans += spans

    def metric(self, name: str) -> list[dict[str, Any]]:
        for each in self.instruments.collect(1):
            if each["name"] == name:
                return list((each.get("histogram") or each["sum"])["dataPoints"])
        return []
