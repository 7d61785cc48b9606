"""Shares: which members a request tries first and how often, which are fallbacks, and what a group's members show."""

import pytest
from choices import PROVIDER, World, group, listed

from llm_router_gateway.policy import circuit_breaker
from llm_router_gateway.routing import plan as groups


def world(*members: str, lines: str = "", models: str = PROVIDER + listed("a", "b", "c")) -> World:
    return World(models + group("g", *members, lines=lines))


def parts(made: World, name: str = "g") -> dict[str, tuple[float, bool]]:
    return {row["model"]: (row["share"], row["is_fallback"]) for row in made.plan(name).explain(made.now)["candidates"]}


def test_shares_are_of_those_that_are_tried_first_and_the_others_are_called_fallbacks() -> None:
    made = world("a weight=30; priority=1", "b weight=10; priority=1", lines='fallbacks = ["p/c"]')
    assert parts(made) == {"p/a": (0.75, False), "p/b": (0.25, False), "p/c": (0.0, True)}
    for name in ("p/a", "p/b"):
        made.routing_state.healths[name] = circuit_breaker.Health(open_until=made.now + 5, in_a_row=37)
    assert parts(made) == {"p/a": (0.0, False), "p/b": (0.0, False), "p/c": (1.0, True)}
    made = world("a priority=1", "b", "c weight=0")
    assert [row["why"] for row in made.plan("g").explain(made.now)["candidates"]] == [
        "chosen",
        groups.FALLBACK,
        groups.FALLBACK,
    ]
    assert parts(made) == {"p/a": (1.0, False), "p/b": (0.0, True), "p/c": (0.0, True)}
    made = world("a", "b weight=0")
    assert parts(made) == {"p/a": (1.0, False), "p/b": (0.0, True)}
    made = world("a weight=0", "b weight=0")
    assert parts(made) == {"p/a": (0.5, False), "p/b": (0.5, False)}


def test_where_the_cheapest_is_taken_the_dearer_ones_are_fallbacks() -> None:
    prices = {name: f"config={{input_usd_per_mtok={usd}}}" for name, usd in (("a", 1), ("b", 1), ("c", 9))}
    made = world("a", "b", "c", lines='strategy = "cost"', models=PROVIDER + listed("a", "b", "c", **prices))
    assert parts(made) == {"p/a": (0.5, False), "p/b": (0.5, False), "p/c": (0.0, True)}


def test_the_members_of_a_group_are_shown_with_the_weight_that_counts_now() -> None:
    made = world('a weight=40; selector=".x"', "b weight=40", "c weight=20")
    health = circuit_breaker.HEALTHY
    for _ in range(37):
        made.now += circuit_breaker.back_in_s(health, made.now)  # its trial requests fail, too
        health = circuit_breaker.record_failure(health, circuit_breaker.RULES, made.now, "503 unavailable")
    made.routing_state.healths["p/b"] = health
    made.now += 200  # of the 240 s that its circuit stays open: the factor alone would have come back whole
    told = {row["model"]: row for row in groups.member_rows(made.table, made.routing_state, "g", made.now)}
    assert [told[name]["state"] for name in told] == ["ok", "open", "ok"]
    assert [told[name]["effective_weight"] for name in told] == [40, 0, 20]
    assert [told[name]["share"] for name in told] == [pytest.approx(2 / 3, abs=1e-4), 0, pytest.approx(1 / 3, abs=1e-4)]
    assert told["p/b"]["back_in_s"] == 40
