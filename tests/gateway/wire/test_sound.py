"""Numbers from an upstream that cannot be right: the cost of an answer, and whole numbers too large for a float or a date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rich_answers import ANSWERS, STREAMS, sse
from rich_requests import objects_in, steps, with_field

from llm_router_gateway.errors import UpstreamFailed
from llm_router_gateway.wire import ir
from llm_router_gateway.wire.ollama.answer import date_of
from llm_router_gateway.wire.registry import UPSTREAMS, wire
from llm_router_gateway.wire.sound import is_count, sound
from llm_router_gateway.wire.sse import SSEParser

HUGE = 10**400  # JSON has whole numbers of any length; a float ends at 309 digits
CALLERS = ("openai", "anthropic", "gemini", "responses", "ollama", "completions")
REQUEST = ir.Request("m", (ir.Message("user", (ir.Text("hi"),)),), include_usage=True)


def by_own_key(cost: Any, paid: Any) -> dict[str, Any]:
    return {"cost": cost, "is_byok": True, "cost_details": {"upstream_inference_cost": paid}}


@pytest.mark.parametrize("protocol", ["openai", "responses"])
@pytest.mark.parametrize(("stated", "cost"), [
    ({}, None), ({"cost": 0.5}, 0.5), ({"cost": 0}, 0.0), ({"cost": None}, None), ({"cost": "0.5"}, None),
    ({"cost": True}, None), ({"cost": -1}, None), ({"cost": float("nan")}, None), ({"cost": float("inf")}, None),
    ({"cost": 10_001}, None),
    ({"cost": HUGE}, None), (by_own_key(0.25, 0.5), 0.75), (by_own_key(0.25, None), None), (by_own_key(0.25, HUGE), None),
    (by_own_key(HUGE, 0.5), None), (by_own_key(9_000, 9_000), None), ({"cost": 0.5, "is_byok": False}, 0.5),
    ({"cost": 0.5, "is_byok": True, "cost_details": [1]}, None),
])  # fmt: skip
def test_every_protocol_that_states_a_cost_reads_it_by_one_rule(
    protocol: str, stated: dict[str, Any], cost: float | None
) -> None:
    usage = wire(protocol).usage_in({"usage": {"input_tokens": 5, "output_tokens": 7, **stated}})
    assert usage is not None and (usage.input, usage.text) == (5, 7) and usage.cost == cost
    assert "is_byok" not in usage.extras.get(protocol, {})


@pytest.mark.parametrize(("count", "is_one"), [
    (0, True), (1.0, True), (10**9, True), (10**9 + 1, False), (HUGE, False), (-HUGE, False), (-1, False),
    (float("nan"), False), (float("inf"), False), (True, False), ("5", False),
])  # fmt: skip
def test_what_counts_tokens(count: object, is_one: bool) -> None:
    assert is_count(count) is is_one


def test_a_cost_too_large_for_a_float_leaves_the_tokens_believed() -> None:
    assert sound(ir.Usage(5, text=7, cost=HUGE)) == ir.Usage(5, text=7)
    assert sound(ir.Usage(HUGE)) is None


def with_huge_numbers(protocol: str, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, the body) with each of its numbers replaced by a huge one."""
    for path in objects_in(protocol, body):
        place: Any = body
        for step in steps(path):
            place = place[step]
        for name, value in place.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{path}.{name}", with_field(body, path, name, HUGE)


@pytest.mark.parametrize("protocol", UPSTREAMS)
def test_a_huge_number_breaks_no_answer(protocol: str) -> None:
    written = set[str]()
    for body in ANSWERS[protocol]:
        for where, changed in with_huge_numbers(protocol, body):
            try:
                found = wire(protocol).read_answer(changed)
            except UpstreamFailed:
                continue
            sound(found.usage)
            for caller in CALLERS:
                wire(caller).write_answer(found, REQUEST, [])
            written.add(where)
    assert any("usage" in where.lower() for where in written)


@pytest.mark.parametrize("protocol", UPSTREAMS)
def test_a_huge_number_breaks_no_stream(protocol: str) -> None:
    ends = set[type]()
    for _, changed in with_huge_numbers(protocol, {"events": STREAMS[protocol]}):
        events = stream(protocol, changed["events"])
        for caller in CALLERS:
            writer = wire(caller).StreamWriter(REQUEST, lost=[])
            assert b"".join(map(writer.feed, events))
        ends.add(type(events[-1]))
    assert ir.Finished in ends <= {ir.Finished, ir.Failed}


def stream(protocol: str, said: list[dict[str, Any]]) -> list[ir.StreamEvent]:
    reader = wire(protocol).StreamReader()
    events = [event for each in SSEParser().feed(sse(protocol, said)) for event in reader.feed(each)]
    return [*events, *reader.close()]


@pytest.mark.parametrize("created", [pytest.param(HUGE, id="400 digits"), pytest.param(1_700_000_000_000, id="ms")])
def test_a_time_that_no_calendar_has_is_no_time(created: int) -> None:
    assert date_of(created) == date_of(0) == "1970-01-01T00:00:00Z" and date_of(253_402_300_799) == "9999-12-31T23:59:59Z"
