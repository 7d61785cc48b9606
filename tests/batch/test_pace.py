"""The pace at which a batch asks, as limits and answers teach it: pure, the clock is an argument."""

from __future__ import annotations

import pytest

import llm_router_batch as b


def test_a_limit_closes_the_gate_for_as_long_as_the_server_says_and_halves_the_width() -> None:
    pace = b.Pace(8, now=0.0)
    assert pace.wait_s(0.0, 7) == 0.0 and pace.wait_s(0.0, 8) is None
    assert pace.limited(1.0, 0.5, 7.0, 0.0) == 7.0
    assert pace.wait_s(2.0, 0) == 6.0 and pace.wait_s(8.0, 3) == 0.0 and pace.wait_s(8.0, 4) is None


def test_limits_of_requests_sent_before_the_gate_closed_are_one_limit() -> None:
    pace = b.Pace(8, now=0.0)
    for _ in range(8):
        pace.limited(1.0, 0.5, 2.0, 0.0)
    assert (pace.width, pace.strikes) == (4.0, 1)
    assert pace.limited(1.5, 0.5, 5.0, 0.0) == 5.0  # but the longest time asked for counts
    pace.limited(7.0, 6.6, 2.0, 0.0)
    assert (pace.width, pace.strikes) == (2.0, 2)


def test_without_a_time_the_waits_double_up_to_a_minute() -> None:
    pace, now, waits = b.Pace(64, now=0.0), 0.0, []
    for _ in range(8):
        waits.append(pace.limited(now, now, None, 0.0))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert pace.width == 1.0 and pace.wait_s(now, 0) == 0.0


def test_the_dice_shorten_a_wait_by_up_to_a_quarter() -> None:
    assert 0.75 <= b.Pace(8, 0.0).limited(0.0, 0.0, None, 0.999) < 0.76


def test_answers_widen_the_gate_again_up_to_the_requested_size() -> None:
    pace = b.Pace(8, now=0.0)
    for at in (1.0, 2.0, 3.0):
        pace.limited(at, at, 0.0, 0.0)
    assert int(pace.width) == 1
    needed = 0
    while pace.width < 8.0:
        pace.answered(4.0)
        needed += 1
    assert 25 < needed < 40 and pace.strikes == 0


def test_a_server_that_always_says_zero_gets_no_tight_loop() -> None:
    pace, now = b.Pace(8, now=0.0), 0.0
    for _ in range(10):
        now += pace.limited(now, now, 0.0, 0.0)
    assert now > 10.0


def test_the_gate_says_when_the_patience_is_over_and_stop_lets_everyone_out() -> None:
    gate = b.Gate(2, patience_s=100.0)
    now = gate.pace.answered_at
    assert gate.limited(now, 60.0) and not gate.limited(now, 200.0)
    gate.stop()
    assert not gate.enter() and gate.closed_s() > 100.0


def test_a_wait_of_just_the_patience_is_waited_for_on_every_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """(now + 3600.0) - now is more than 3600.0 for one clock in twelve."""
    for tenths in range(10_000, 11_000):
        monkeypatch.setattr(b.time, "monotonic", lambda now=tenths / 10.0: now)
        assert b.Gate(4, 3600.0).limited(tenths / 10.0, 3600.0)
