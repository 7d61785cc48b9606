"""limiter/local: buckets and slots of one process; an acquire that need not wait never gives way to the event loop."""

import asyncio
from collections.abc import Coroutine
from contextlib import contextmanager
from typing import Any

import pytest
from loops import JumpingLoop

from llm_router_gateway.errors import RateLimited
from llm_router_gateway.limiter.local import FREE, LocalLimiter, Meters, Permit
from llm_router_gateway.policy.rate_limits import Limit, NoSlot


def take(meters: Meters, limit: Limit, now: float, tokens: float = 0, name: str = "model:p/m") -> Permit:
    return meters.take([(name, limit)], lambda: tokens, now)


def refused(meters: Meters, limit: Limit, now: float, tokens: float = 0) -> float | None:
    with pytest.raises(RateLimited) as caught:
        take(meters, limit, now, tokens)
    return caught.value.retry_after_s


# -- requests


def test_an_empty_bucket_is_a_429_with_the_seconds_to_wait_not_a_wait_without_end() -> None:
    meters, limit = Meters(), Limit(2, 4)
    for _ in range(2):
        assert take(meters, limit, 0).wait_s == 0
    assert refused(meters, limit, 0) == 2
    assert refused(meters, limit, 1.9) == 1  # whole seconds, rounded up
    assert take(meters, limit, 2).wait_s == 0


def test_a_refusal_takes_nothing_from_the_bucket() -> None:
    meters, limit = Meters(), Limit(1, 10)
    take(meters, limit, 0)
    for _ in range(5):
        assert refused(meters, limit, 0) == 10


def test_a_burst_is_as_large_as_it_says() -> None:
    meters, limit = Meters(), Limit(1, 1, burst_size=3)
    for _ in range(3):
        take(meters, limit, 0)
    assert refused(meters, limit, 0) == 1


def test_a_bounded_wait_is_served_in_turn_and_refused_beyond_its_bound() -> None:
    meters, limit = Meters(), Limit(1, 1, wait_s=2.5)
    assert [take(meters, limit, 0).wait_s for _ in range(3)] == [0, 1, 2]
    assert refused(meters, limit, 0) == 3
    assert take(meters, limit, 1).wait_s == 2


def test_over_a_window_no_more_goes_through_than_its_rate_and_one_burst() -> None:
    meters, limit, went = Meters(), Limit(5, 10), 0
    for tenth in range(1000):
        try:
            take(meters, limit, tenth / 10)
            went += 1
        except RateLimited:
            pass
    assert went == 5 + 49  # 100 s less one step


def test_a_caller_that_leaves_while_waiting_gives_its_turn_back() -> None:
    meters, limit = Meters(), Limit(1, 1, wait_s=5)
    take(meters, limit, 0)
    waiting = take(meters, limit, 0)
    waiting.end(0.5)
    assert take(meters, limit, 0.5).wait_s == 0.5
    waiting.end(0.5)
    assert take(meters, limit, 0.5).wait_s == 1.5  # ended twice is ended once


def test_a_caller_that_was_served_does_not_get_it_back() -> None:
    meters, limit = Meters(), Limit(1, 10)
    take(meters, limit, 0).end(1)
    assert refused(meters, limit, 1) == 9


# -- tokens


def test_tokens_are_estimated_before_and_counted_after() -> None:
    meters, limit = Meters(), Limit(tokens_per_minute=600)
    permit = take(meters, limit, 0, tokens=500)
    assert refused(meters, limit, 0, tokens=200) == 10
    permit.settle(0, 100)
    permit.end(0)
    assert take(meters, limit, 0, tokens=200).wait_s == 0
    assert meters.buckets["model:p/m tokens"].level == 300


def test_more_tokens_than_estimated_are_owed() -> None:
    meters, limit = Meters(), Limit(tokens_per_minute=60)
    permit = take(meters, limit, 0, tokens=10)
    permit.settle(1, 100)
    assert refused(meters, limit, 1, tokens=1) == 40


def test_tokens_are_only_counted_where_a_limit_asks_for_them() -> None:
    def never() -> float:
        raise AssertionError("counted")

    Meters().take([("a", Limit(1, 1)), ("b", Limit(max_concurrent=1))], never, 0)


# -- slots


def test_only_so_many_at_once() -> None:
    meters, limit = Meters(), Limit(max_concurrent=2)
    first, _ = take(meters, limit, 0), take(meters, limit, 0)
    assert refused(meters, limit, 0) == 1
    first.end(5)
    assert not take(meters, limit, 5).queued


def test_the_queue_is_bounded_and_first_come_first_served() -> None:
    meters, limit, told = Meters(), Limit(max_concurrent=1, queue=2, wait_s=9), []
    running = take(meters, limit, 0)
    waiting = [take(meters, limit, 0) for _ in range(2)]
    for place, permit in enumerate(waiting):
        assert (permit.queued, permit.queue_wait_s) == (True, 9)
        permit.on_slot(lambda place=place: told.append(place))
    assert refused(meters, limit, 0) == 1
    running.end(1)
    assert (told, [permit.queued for permit in waiting]) == ([0], [False, True])
    waiting[0].end(2)
    waiting[0].end(2)
    assert told == [0, 1]
    waiting[1].end(3)
    assert (meters.gauges["model:p/m"].active, meters.gauges["model:p/m"].waiting) == (0, [])


def test_a_caller_that_leaves_the_queue_makes_room_in_it_and_gets_no_slot() -> None:
    meters, limit, told = Meters(), Limit(max_concurrent=1, queue=1, wait_s=9), []
    running, waiting = take(meters, limit, 0), take(meters, limit, 0)
    waiting.on_slot(lambda: told.append(1))
    waiting.end(1)
    after = take(meters, limit, 1)
    running.end(2)
    assert (told, after.queued) == ([], False)
    assert meters.gauges["model:p/m"].active == 1


def test_without_time_to_wait_there_is_no_queue() -> None:
    meters, limit = Meters(), Limit(max_concurrent=1, queue=5)
    take(meters, limit, 0)
    assert refused(meters, limit, 0) == 1


def test_a_slot_is_given_when_every_scope_has_one() -> None:
    meters, told = Meters(), []
    model, provider = Limit(max_concurrent=1, queue=5, wait_s=9), Limit(max_concurrent=2, queue=5, wait_s=9)
    one = meters.take([("m", model), ("p", provider)], lambda: 0, 0)
    two = meters.take([("p", provider)], lambda: 0, 0)
    three = meters.take([("m", model), ("p", provider)], lambda: 0, 0)
    three.on_slot(lambda: told.append(3))
    two.end(1)
    assert told == []  # the model is still taken
    one.end(2)
    assert told == [3]
    three.end(3)
    assert {name: gauge.active for name, gauge in meters.gauges.items()} == {"m": 0, "p": 0}


def test_on_slot_after_the_slot_is_reported_at_once() -> None:
    told: list[int] = []
    take(Meters(), Limit(max_concurrent=1), 0).on_slot(lambda: told.append(1))
    assert told == [1]


# -- several scopes


def test_the_longest_wait_decides_and_one_refusal_refuses_all_and_takes_nothing() -> None:
    meters = Meters()
    fast, slow = Limit(1, 1, wait_s=60), Limit(1, 10, wait_s=60)
    meters.take([("a", fast), ("b", slow)], lambda: 0, 0)
    assert meters.take([("a", fast), ("b", slow)], lambda: 0, 0).wait_s == 10
    strict = Limit(1, 10)
    before = dict(meters.buckets)
    with pytest.raises(RateLimited, match="b: 1 request in 10 s"):
        meters.take([("a", fast), ("b", strict)], lambda: 0, 0)
    assert meters.buckets == before


def test_a_forecast_changes_nothing() -> None:
    meters, limit = Meters(), Limit(1, 1, max_concurrent=1)
    for _ in range(3):
        assert meters.forecast([("a", limit)], lambda: 0, 0).state == "go"
    assert not meters.buckets and not meters.gauges


def test_a_new_configuration_refills_nothing_and_a_smaller_bucket_spills() -> None:
    meters = Meters()
    for _ in range(10):
        take(meters, Limit(10, 100), 0)
    assert refused(meters, Limit(10, 100), 0) == 10
    assert refused(meters, Limit(20, 100), 0) == 5  # the same bucket, filled faster
    other = Meters()
    take(other, Limit(100, 100), 0)
    take(other, Limit(1, 100), 0)
    assert refused(other, Limit(1, 100), 0) == 100


def test_no_limit_no_bookkeeping() -> None:
    meters = Meters()
    meters.take([], lambda: 0, 0).end(0)
    assert (meters.buckets, meters.gauges) == ({}, {})


# -- the seam: acquired, settled, released


def step(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of what must not wait: no loop runs here."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return ended.value.value


def test_an_acquire_that_need_not_wait_costs_no_turn_of_the_event_loop() -> None:
    limiter, limit = LocalLimiter(lambda: 0.0), Limit(2, 60, max_concurrent=2, tokens_per_minute=100)
    assert step(limiter.acquire((), lambda: 0)) is FREE
    permit = step(limiter.acquire([("a", limit)], lambda: 90))
    step(permit.settle(10))
    step(permit.release())
    step(permit.release())
    assert limiter.meters.buckets["a tokens"].level == 90 and limiter.meters.gauges["a"].active == 0


def test_a_refusal_is_raised_and_takes_nothing() -> None:
    limiter, limit = LocalLimiter(lambda: 0.0), Limit(1, 60)
    step(limiter.acquire([("a", limit)], float))
    before = dict(limiter.meters.buckets)
    with pytest.raises(RateLimited):
        step(limiter.acquire([("a", limit)], float))
    assert limiter.meters.buckets == before


def test_a_wait_for_a_slot_shows_signs_of_life_and_ends_in_time() -> None:
    alive: list[str] = []

    @contextmanager
    def idle() -> Any:
        alive.append("begun")
        yield
        alive.append("ended")

    async def story() -> None:
        limiter = LocalLimiter(asyncio.get_running_loop().time)
        scopes = [("a", Limit(max_concurrent=1, queue=5, wait_s=0.05))]
        first = await limiter.acquire(scopes, float, idle)
        second = asyncio.create_task(limiter.acquire(scopes, float, idle))
        await asyncio.sleep(0)
        await first.release()
        held = await second
        assert alive == ["begun", "ended"]
        with pytest.raises(NoSlot) as caught:
            await limiter.acquire(scopes, float)
        assert caught.value.retry_after_s == 0.05
        leaving = asyncio.create_task(limiter.acquire(scopes, float))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert limiter.meters.gauges["a"].waiting == []
        await held.release()
        assert limiter.meters.gauges["a"].active == 0

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story())
