"""One request's place in a trace: its ids, and the headers that take them on to an upstream.

    trace = Tracer(telemetry, os.urandom).begin(headers)      a new trace, or the caller's
    trace.next_attempt()                                      a span id for the next request to an upstream
    trace.headers()                                           [("traceparent", "00-..."), ("tracestate", "...")]

A trace that is not sampled has ids all the same: those behind this gateway learn that it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..config.telemetry import Telemetry
from . import context

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
HEADERS = frozenset({TRACEPARENT, TRACESTATE})


@dataclass(slots=True)
class Trace:
    """Of one request."""

    trace_id: str
    parent_id: str  # the caller's span; "" where the trace begins here
    root_id: str
    is_sampled: bool
    state: str
    new_bytes: Callable[[int], bytes]
    span_id: str = ""  # of the attempt that is under way

    def next_attempt(self) -> None:
        self.span_id = self.new_bytes(8).hex()

    def headers(self) -> list[tuple[str, str]]:
        """What an upstream is sent of it."""
        own = [(TRACEPARENT, context.traceparent(self.trace_id, self.span_id or self.root_id, self.is_sampled))]
        return [*own, (TRACESTATE, self.state)] if self.state else own


class Tracer:
    """Begins traces. `new_bytes` gives that many random bytes."""

    def __init__(self, settings: Telemetry, new_bytes: Callable[[int], bytes]) -> None:
        self._settings, self._new_bytes = settings, new_bytes

    def begin(self, headers: Mapping[str, str]) -> Trace:
        given = headers.get(TRACEPARENT)
        parent = context.read(given, headers.get(TRACESTATE, "")) if given else None
        trace_id = parent.trace_id if parent is not None else self._new_bytes(16).hex()
        settings = self._settings
        is_sampled = settings.traces and context.is_sampled(settings.sampler, settings.sampler_ratio, trace_id, parent)
        parent_id, state = (parent.span_id, parent.state) if parent is not None else ("", "")
        return Trace(trace_id, parent_id, self._new_bytes(8).hex(), is_sampled, state, self._new_bytes)
