"""Cumulative histograms and sums since the start of the process, as in OTLP: a point for each set of attributes. Pure.

    instruments = Instruments(start_ns)
    instruments.record(DURATION, 0.8, (("gen_ai.operation.name", "chat"), ...))
    instruments.collect(now_ns)     -> [{"name": "gen_ai.client.operation.duration", "histogram": {...}}, ...]

Names and bounds of `gen_ai.*` are those of the semantic conventions for generative AI; cost has no name there.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .otlp import key_values

CUMULATIVE = 2  # aggregationTemporality
MAX_SERIES = 1_000  # of one instrument: what callers and upstreams make up must not fill the memory
OVERFLOW = (("otel.metric.overflow", True),)  # the one series of all that come after them (OTel SDK, cardinality limits)
SECONDS = tuple(0.01 * 2**step for step in range(14))  # to 81.92 s
TOKENS = tuple(float(4**step) for step in range(14))  # to 67,108,864

Labels = tuple[tuple[str, str | int | bool], ...]


class Instrument(NamedTuple):
    """What is measured; a sum has no bounds."""

    name: str
    unit: str
    help: str
    bounds: tuple[float, ...] = ()


DURATION = Instrument("gen_ai.client.operation.duration", "s", "From sending a request to a provider to its end.", SECONDS)
FIRST_OUTPUT = Instrument(
    "gen_ai.client.operation.time_to_first_chunk", "s", "From sending a request to the first output of its stream.", SECONDS
)
TOKEN_USAGE = Instrument("gen_ai.client.token.usage", "{token}", "Tokens of a request, input and output separately.", TOKENS)
SERVED = Instrument("http.server.request.duration", "s", "From a call's arrival to its real end.", SECONDS)
COST = Instrument("llm_router.cost", "{USD}", "Known cost in US dollars.")


@dataclass(slots=True)
class Point:
    """What was recorded with one set of attributes."""

    counts: list[int]
    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float, bounds: tuple[float, ...]) -> None:
        if bounds:
            self.counts[bisect_left(bounds, value)] += 1
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)


@dataclass(slots=True)
class Instruments:
    """All of them. `start_ns` is Unix nanoseconds."""

    start_ns: int
    _points: dict[Instrument, dict[Labels, Point]] = field(default_factory=dict)

    def record(self, instrument: Instrument, value: float, labels: Labels) -> None:
        """One value; what is negative or no number is a clock or an upstream gone wrong, and is left out."""
        if not 0 <= value < math.inf:
            return
        points = self._points.get(instrument)
        if points is None:
            points = self._points[instrument] = {}
        point = points.get(labels)
        if point is None:
            if len(points) >= MAX_SERIES:
                labels = OVERFLOW
            point = points.setdefault(labels, Point([0] * (len(instrument.bounds) + 1)))
        point.add(value, instrument.bounds)

    def collect(self, now_ns: int) -> list[dict[str, Any]]:
        """Every instrument that has a point, as a Metric of OTLP."""
        return [self._metric(instrument, points, now_ns) for instrument, points in self._points.items()]

    def _metric(self, instrument: Instrument, points: Mapping[Labels, Point], now_ns: int) -> dict[str, Any]:
        made: dict[str, Any] = {"name": instrument.name, "description": instrument.help, "unit": instrument.unit}
        times = {"startTimeUnixNano": str(self.start_ns), "timeUnixNano": str(now_ns)}
        if not instrument.bounds:
            sums = [{**times, "asDouble": point.total, "attributes": key_values(dict(labels))}
                    for labels, point in points.items()]  # fmt: skip
            made["sum"] = {"dataPoints": sums, "aggregationTemporality": CUMULATIVE, "isMonotonic": True}
            return made
        spread = [
            {**times, "count": str(point.count), "sum": point.total, "bucketCounts": [str(count) for count in point.counts],
             "explicitBounds": list(instrument.bounds), "attributes": key_values(dict(labels)), "min": point.low,
             "max": point.high}
            for labels, point in points.items()
        ]  # fmt: skip
        made["histogram"] = {"dataPoints": spread, "aggregationTemporality": CUMULATIVE}
        return made
