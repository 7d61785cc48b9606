"""rate_limits: the arithmetic of token buckets."""

from llm_router_gateway.policy.rate_limits import Bucket, Rate, give_back, level_of, take, wait_for

RATE = Rate(2, 0.5)


def test_a_bucket_is_full_at_first_and_fills_at_its_rate_and_never_over() -> None:
    first, wait_s = take(None, RATE, 1, 0)
    assert (first, wait_s) == (Bucket(1, 0), 0)
    assert level_of(first, RATE, 1) == 1.5
    assert level_of(first, RATE, 100) == 2


def test_what_is_not_there_is_promised_for_the_time_it_will_be() -> None:
    empty = Bucket(0, 0)
    second, wait_s = take(empty, RATE, 1, 0)
    assert (second, wait_s) == (Bucket(-1, 0), 2)
    assert take(second, RATE, 1, 0)[1] == 4  # behind the first


def test_more_than_a_full_bucket_goes_when_it_is_full_and_is_owed_afterwards() -> None:
    assert wait_for(None, RATE, 10, 0) == 0
    after, _ = take(None, RATE, 10, 0)
    assert wait_for(after, RATE, 1, 0) == 18


def test_what_a_call_gives_back_after_its_limit_was_raised_cuts_nothing_of_the_new_one() -> None:
    large = Rate(1_000, 100)
    bucket, _ = take(None, large, 5, 0)
    for amount in (1, -1):
        assert level_of(give_back(bucket, RATE, amount, 1), large, 1) >= 990
    assert level_of(give_back(Bucket(1, 0), large, 5, 0), RATE, 0) == 2, "nor does it fill a smaller one above its size"


def test_a_clock_that_goes_back_takes_nothing() -> None:
    assert level_of(Bucket(1, 100), RATE, 50) == 1


def test_what_is_given_back_does_not_overflow() -> None:
    assert give_back(Bucket(1, 0), RATE, 5, 0) == Bucket(2, 0)
