"""circuit_breaker: a member's share of its weight, its breaker, its cooling."""

import pytest

from llm_router_gateway.errors import BadRequest, GatewayError, Unavailable, Unsupported, UpstreamFailed, of_status
from llm_router_gateway.policy import circuit_breaker
from llm_router_gateway.policy.circuit_breaker import Health, Rules, factor, record_failure, record_success, state

RULES = Rules(failures_to_open=3, open_s=30, recover_s=120)


def after(count: int, now: float = 0.0, known: Health = circuit_breaker.HEALTHY) -> Health:
    for _ in range(count):
        known = record_failure(known, RULES, now, "503")
    return known


def test_a_failure_halves_the_weight_and_never_to_nothing() -> None:
    assert [factor(after(count), RULES, 0) for count in (0, 1, 2, 3)] == [1, 0.5, 0.25, 0.125]
    assert factor(after(99), RULES, 0) == circuit_breaker.MIN_FACTOR > 0


def test_successes_restore_it() -> None:
    known = after(2)
    factors = []
    for _ in range(8):
        known = record_success(known, RULES, 0)
        factors.append(round(factor(known, RULES, 0), 3))
    assert factors == [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1]


def test_time_restores_it_too() -> None:
    known = after(1)
    assert [factor(known, RULES, now) for now in (0, 30, 60, 1e6)] == [0.5, 0.75, 1, 1]
    assert factor(after(99), RULES, RULES.recover_s) == 1
    assert factor(known, RULES, -50) == 0.5  # a clock that goes back


def test_a_breaker_opens_after_failures_in_a_row_and_only_in_a_row() -> None:
    assert [state(after(count), 0) for count in (0, 1, 2, 3)] == ["ok", "ok", "ok", "open"]
    known = record_success(after(2), RULES, 0)
    assert state(after(2, known=known), 0) == "ok"


def test_after_its_time_one_may_try_and_no_second_one_meanwhile() -> None:
    known = after(3)
    assert (state(known, 29.9), state(known, 30)) == ("open", "probe")
    trying = circuit_breaker.start_probe(known)
    assert state(trying, 30) == "probing"
    assert state(circuit_breaker.end_probe(trying), 30) == "probe"


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_for_twice_as_long() -> None:
    known = circuit_breaker.start_probe(after(3))
    assert state(record_success(known, RULES, 31), 31) == "ok"
    waits = []
    now = 30.0
    for _ in range(6):
        known = record_failure(circuit_breaker.start_probe(known), RULES, now, "503")
        assert state(known, now) == "open"
        waits.append(known.open_until - now)
        now = known.open_until
    assert waits == [60, 120, 240, 240, 240, 240]


def test_after_it_closed_the_next_opening_is_short_again() -> None:
    known = record_failure(circuit_breaker.start_probe(after(3)), RULES, 30, "503")
    known = after(3, 100, record_success(known, RULES, 100))
    assert known.open_until == 130


def test_failures_that_were_on_their_way_do_not_keep_it_open_for_longer() -> None:
    assert after(9).open_until == 30


def test_a_success_on_its_way_closes_it() -> None:
    assert state(record_success(after(3), RULES, 1), 1) == "ok"


def test_retry_after_cools_for_that_long_whatever_else_happens() -> None:
    known = record_failure(circuit_breaker.HEALTHY, RULES, 0, "429", retry_after_s=7)
    assert (state(known, 6.9), state(known, 7)) == ("cooling", "ok")
    assert state(record_success(known, RULES, 1), 1) == "cooling"
    assert circuit_breaker.back_in_s(known, 2) == 5
    shorter = record_failure(known, RULES, 1, "429", retry_after_s=1)
    assert state(shorter, 6) == "cooling"


def test_no_member_is_cooled_for_a_day() -> None:
    known = record_failure(circuit_breaker.HEALTHY, RULES, 0, "429", retry_after_s=1e9)
    assert circuit_breaker.back_in_s(known, 0) == circuit_breaker.MAX_COOL_S


def test_what_is_counted() -> None:
    known = record_success(after(2), RULES, 0)
    assert (known.failures, known.successes, known.in_a_row, known.last_error) == (2, 1, 0, "503")


def test_a_member_that_fails_one_time_in_ten_keeps_most_of_its_weight_and_one_in_two_little() -> None:
    def settled(every: int) -> float:
        known, total = circuit_breaker.HEALTHY, 0.0
        for number in range(2000):
            known = record_failure(known, RULES, 0, "x") if number % every == 0 else record_success(known, RULES, 0)
            total += factor(known, RULES, 0)
        return total / 2000

    assert settled(10) > 0.75
    assert settled(2) < 0.3


def test_latency_is_a_moving_average_and_is_forgotten_with_time() -> None:
    known = circuit_breaker.record_latency(circuit_breaker.HEALTHY, 1.0, 0)
    known = circuit_breaker.record_latency(known, 2.0, 0)
    assert known.latency_s == pytest.approx(1.2)
    assert circuit_breaker.latency(known, circuit_breaker.LATENCY_HALVES_S) == pytest.approx(0.6)
    assert circuit_breaker.latency(circuit_breaker.HEALTHY, 0) == 0


# -- whose fault

STATUSES = {  # status -> (its own fault, another may be asked)
    400: (False, False), 401: (False, True), 402: (False, True), 403: (False, True), 404: (False, True),
    405: (False, False), 408: (True, True), 409: (False, False), 413: (False, False), 415: (False, False),
    422: (False, False), 429: (True, True), 500: (True, True), 501: (False, True), 502: (True, True),
    503: (True, True), 504: (True, True), 520: (True, True), 529: (True, True),
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_whose_fault_a_status_is(status: int) -> None:
    error = of_status(status, "x")
    assert (circuit_breaker.is_own_fault(error), circuit_breaker.allows_failover(error)) == STATUSES[status]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (UpstreamFailed("cannot be reached"), (True, True)),
        (Unavailable("no key", code="no_key"), (False, True)),
        (Unsupported("no embeddings there"), (False, True)),
        (BadRequest("cannot be converted"), (False, False)),
    ],
)
def test_which_errors_are_the_gateways_own_fault(error: GatewayError, answer: tuple[bool, bool]) -> None:
    assert (circuit_breaker.is_own_fault(error), circuit_breaker.allows_failover(error)) == answer
