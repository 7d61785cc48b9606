"""context and trace: what callers' headers say, what upstreams are sent, which traces are recorded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from llm_router_gateway.config.settings import TELEMETRY
from llm_router_gateway.config.telemetry import Telemetry
from llm_router_gateway.telemetry.context import SAMPLERS, Context, is_sampled, read, traceparent
from llm_router_gateway.telemetry.trace import Tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # pragma: allowlist secret
GIVEN = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text, state, found",
    [
        (GIVEN, "", Context(TRACE, SPAN, True)),
        (f" 00-{TRACE}-{SPAN}-00 ", "a=1,b=2", Context(TRACE, SPAN, False, "a=1,b=2")),
        (f"00-{TRACE}-{SPAN}-03", "", Context(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", "", Context(TRACE, SPAN, True)),
        (GIVEN, "\u00fc=1", Context(TRACE, SPAN, True)),
        (GIVEN, "a=" + "1" * 511, Context(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-more", "", None),
        (f"ff-{TRACE}-{SPAN}-01", "", None),
        (f"00-{'0' * 32}-{SPAN}-01", "", None),
        (f"00-{TRACE}-{'0' * 16}-01", "", None),
        (GIVEN.upper(), "", None),
        (GIVEN[:-1], "", None),
        ("", "a=1", None),
    ],
)
def test_a_callers_trace_goes_on_and_anything_else_begins_one(text: str, state: str, found: Context | None) -> None:
    assert read(text, state) == found
    if found is not None:
        again = read(traceparent(found.trace_id, found.span_id, found.is_sampled), found.state)
        assert again == found


FIRST, LAST = "f" * 16 + "0" * 16, "0" * 16 + "f" * 16  # by their last 8 bytes


@pytest.mark.parametrize(
    "sampler, ratio, trace_id, parent, yes",
    [
        ("always_on", 0.0, TRACE, False, True), ("always_off", 1.0, TRACE, True, False),
        ("traceidratio", 0.5, FIRST, None, True), ("traceidratio", 0.5, LAST, True, False),
        ("traceidratio", 0.0, FIRST, None, False), ("traceidratio", 1.0, LAST, None, True),
        ("parentbased_always_on", 0.0, TRACE, None, True), ("parentbased_always_on", 0.0, TRACE, False, False),
        ("parentbased_always_off", 0.0, TRACE, None, False), ("parentbased_always_off", 0.0, TRACE, True, True),
        ("parentbased_traceidratio", 0.5, LAST, None, False), ("parentbased_traceidratio", 0.0, FIRST, True, True),
    ],
)  # fmt: skip
def test_samplers(sampler: str, ratio: float, trace_id: str, parent: bool | None, yes: bool) -> None:
    context = None if parent is None else Context(trace_id, SPAN, parent)
    assert is_sampled(sampler, ratio, trace_id, context) is yes


def test_the_settings_name_the_samplers_that_are_there() -> None:
    assert next(setting.choices for setting in TELEMETRY if setting.name == "sampler") == SAMPLERS


def counted() -> Callable[[int], bytes]:
    """Bytes that differ: 1, 2, 3, ..."""
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def test_upstreams_get_the_span_of_their_attempt_in_the_callers_trace() -> None:
    tracer = Tracer(Telemetry(traces_url="http://127.0.0.1/v1/traces"), counted())
    trace = tracer.begin({"traceparent": GIVEN, "tracestate": "a=1"})
    assert (trace.trace_id, trace.parent_id, trace.is_sampled) == (TRACE, SPAN, True)
    sent = []
    for _ in range(2):
        trace.next_attempt()
        sent.append(dict(trace.headers()))
    assert sent == [{"traceparent": f"00-{TRACE}-{number:016x}-01", "tracestate": "a=1"} for number in (2, 3)]


def test_a_trace_that_is_not_recorded_goes_on_and_says_so() -> None:
    trace = Tracer(Telemetry(traces_url="http://x/v1/traces", sampler="always_off"), counted()).begin({})
    trace.next_attempt()
    assert dict(trace.headers()) == {"traceparent": f"00-{1:032x}-{3:016x}-00"}
