"""Routing over thousands of requests: seeded, without a clock. The shares, the falling and coming back, nothing lost."""

from heapq import heappop, heappush
from random import Random

import pytest
from choices import PROVIDER, World, group, listed
from quick import every

from llm_router_gateway.errors import GatewayError, of_status

STRATEGIES = ("roundrobin", "random", "leastconn", "latency", "cost", "priority")
WEIGHTS = {"p/a": 500, "p/b": 300, "p/c": 150, "p/d": 50}
REQUESTS = 20_000
PRICE = "config={input_usd_per_mtok=1}"


def fleet(strategy: str) -> World:
    members = [f"{name[2:]} weight={weight}" for name, weight in WEIGHTS.items()]
    models = listed(*(name[2:] for name in WEIGHTS), **{name[2:]: PRICE for name in WEIGHTS})
    return World(PROVIDER + models + group("g", *members, lines=f'strategy = "{strategy}"'))


def expected(names: tuple[str, ...] = tuple(WEIGHTS)) -> dict[str, float]:
    total = sum(WEIGHTS[name] for name in names)
    return {name: WEIGHTS[name] / total for name in names}


def near(found: dict[str, float], wanted: dict[str, float]) -> bool:
    return all(abs(found.get(name, 0) - part) <= 0.02 for name, part in wanted.items()) and found.keys() <= wanted.keys()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_shares_are_those_of_the_weights(strategy: str) -> None:
    found = fleet(strategy).shares("g", REQUESTS, every_s=0.1, latency_s=lambda name: 1.0)
    assert near(found, expected()), found


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_shares_hold_with_many_requests_at_once(strategy: str) -> None:
    """Requests that overlap, each for as long as the rng decides, 40 a second."""
    made, rng, running, counts = fleet(strategy), Random(9), [], dict.fromkeys(WEIGHTS, 0)
    for number in range(REQUESTS):
        made.now += 1 / 40
        while running and running[0][0] <= made.now:
            heappop(running)[2].succeed(made.now)
        attempt = made.plan("g").next(made.now)
        assert attempt is not None
        attempt.mark_output(made.now + 1.0)
        counts[attempt.candidate.name] += 1
        heappush(running, (made.now + rng.uniform(0.5, 3.0), number, attempt))
    assert near({name: count / REQUESTS for name, count in counts.items()}, expected()), counts


@pytest.mark.parametrize("strategy", every(3, STRATEGIES))
def test_a_failing_members_share_falls_and_comes_back_and_no_request_is_lost(strategy: str) -> None:
    made = fleet(strategy)
    asked_before = made.shares("g", 2000, every_s=0.5)
    calls = {"p/a": 0}
    for _ in range(1200):  # ten minutes in which it is down, two requests a second
        for name in made.ask("g", fail={"p/a"})[:-1]:
            calls[name] += 1
        made.now += 0.5
    back = 0.0
    while made.ask("g")[-1] != "p/a" and back < 600:  # it is well again
        made.now += 0.5
        back += 0.5
    made.shares("g", 400, every_s=0.5)
    after = made.shares("g", 4000, every_s=0.5)
    assert near(asked_before, expected())
    assert 3 <= calls["p/a"] <= 12, "one probe at a time, and seldom"
    assert back <= 240 + 60  # the longest breaker, and a turn
    assert near(after, expected()), after


@pytest.mark.slow
@pytest.mark.parametrize("strategy", every(3, STRATEGIES))
def test_no_request_is_lost_while_one_member_is_healthy(strategy: str) -> None:
    """Members go down and come back at random; one of them, never the same for long, is always up."""
    made, rng, lost = fleet(strategy), Random(5), 0
    names = list(WEIGHTS)
    down: set[str] = set()
    for _ in range(6000):
        made.now += rng.uniform(0, 2)
        if rng.random() < 0.05:
            down = set(rng.sample(names, rng.randint(0, len(names) - 1)))
        try:
            made.ask("g", fail=down, status=rng.choice([408, 429, 500, 502, 503, 504, 529]),
                     retry_after_s=rng.choice([None, 5.0, 600.0]))  # fmt: skip
        except GatewayError:
            lost += 1
    assert lost == 0


@pytest.mark.slow
def test_a_member_that_fails_now_and_then_has_a_smaller_share_and_the_others_the_rest() -> None:
    made, rng, counts = fleet("roundrobin"), Random(3), dict.fromkeys(WEIGHTS, 0)
    for _ in range(REQUESTS):
        made.now += 0.2
        for name in made.ask("g", fail={"p/a"} if rng.random() < 0.3 else ()):
            counts[name] += 1
    assert counts["p/a"] / REQUESTS < 0.45
    assert counts["p/a"] > 0
    assert counts["p/b"] / counts["p/c"] == pytest.approx(2, rel=0.1)


def test_time_alone_brings_a_share_back() -> None:
    made = fleet("roundrobin")
    for name in ("p/a", "p/a"):
        attempt = made.plan(name).next(made.now)
        assert attempt is not None
        attempt.fail(made.now, of_status(500, "x"))
    shares = []
    for _ in range(4):
        plan = made.plan("g").explain(made.now)
        shares.append(next(row["share"] for row in plan["candidates"] if row["model"] == "p/a"))
        made.now += 30
    assert shares == pytest.approx([0.2, 1 / 3, 0.4286, 0.5], abs=0.001)


def test_the_same_seed_gives_the_same_choices() -> None:
    runs = []
    for _ in range(2):
        made = fleet("random")
        runs.append([made.ask("g")[0] for _ in range(200)])
    assert runs[0] == runs[1]
