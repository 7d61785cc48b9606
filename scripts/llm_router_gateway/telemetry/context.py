"""The context that traces of several programs share: W3C traceparent and tracestate, read and written, and sampling. Pure.

    read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "v=1")  -> Context(trace_id, span_id, True, "v=1")
    traceparent(trace_id, span_id, True)                                    -> "00-0af7...-b7ad...-01"
    is_sampled("parentbased_traceidratio", 0.1, trace_id, None)             -> True for a tenth of all

https://www.w3.org/TR/trace-context/, https://opentelemetry.io/docs/specs/otel/trace/sdk/#sampling
"""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.A)
TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}", re.A)
SAMPLED = 0x01
WHOLE = 1 << 64
SAMPLERS = ("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
            "parentbased_traceidratio")  # fmt: skip


class Context(NamedTuple):
    """The span that a caller is in."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""


def read(traceparent: str, state: str = "") -> Context | None:
    """None for a header that is missing or wrong: then a trace begins here."""
    match = TRACEPARENT.fullmatch(traceparent.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    is_state = TRACESTATE.fullmatch(state.strip()) is not None
    return Context(trace_id, span_id, bool(int(flags, 16) & SAMPLED), state.strip() if is_state else "")


def traceparent(trace_id: str, span_id: str, is_sampled: bool) -> str:
    return f"00-{trace_id}-{span_id}-{'01' if is_sampled else '00'}"


def is_sampled(sampler: str, ratio: float, trace_id: str, parent: Context | None) -> bool:
    """Whether a trace is recorded. One that came from elsewhere is as its beginning was, for a sampler that is parentbased."""
    kind = sampler.removeprefix("parentbased_")
    if parent is not None and kind != sampler:
        return parent.is_sampled
    if kind == "traceidratio":
        return int(trace_id[16:], 16) < round(ratio * WHOLE)
    return kind == "always_on"
