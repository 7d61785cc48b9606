"""budgets, request_budget: what is held before a call and booked after it; parallel calls never spend more than there is."""

import json
from collections.abc import Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from llm_router_gateway.config import config
from llm_router_gateway.config.keys import Key
from llm_router_gateway.errors import NoCredit
from llm_router_gateway.json_body import read_body
from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.policy.budgets import (
    Amount,
    Budget,
    Price,
    Remaining,
    Reset,
    affordable_output,
    day_of,
    next_start,
    raise_by_reset,
    since_reset,
    utc_text,
)
from llm_router_gateway.proxy.charges import Charge
from llm_router_gateway.proxy.request_budget import Allowance, allowance_of
from llm_router_gateway.routing.resolve import Candidate, candidates, routes_of
from llm_router_gateway.wire.ir import Usage

NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z
DAY = 86_400.0
PRICED = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 10.0}


def model(**info: Any) -> Candidate:
    made = config.parse({"providers": [{"name": "ollama"}], "ollama": {"models": [{"name": "m", "config": info}]}})
    return candidates(routes_of(made), "ollama/m")[0]


def now_of(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of what must not wait: no loop runs here."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waited")


class Purse:
    """A key with a budget, and its calls."""

    def __init__(self, now: float = NOON, candidate: Candidate | None = None, **budget: Any) -> None:
        self.books, self.now = LocalBudgets(), now
        self.key = Key("k", "k", budget=Budget(**budget))
        self.candidate = candidate or model(**PRICED)

    def ask(self, **fields: Any) -> tuple[Allowance, dict[str, Any]]:
        allowance = allowance_of(self.key, self.books, lambda: self.now)
        assert allowance is not None
        allowance.check()
        body = {"messages": [{"role": "user", "content": "hi"}], **fields}
        changes = allowance.fit(self.candidate, "chat", body)
        now_of(allowance.hold())
        return allowance, {**body, **changes}

    @property
    def spent(self) -> dict[str, float | int]:
        return self.books.spent("k", self.now)


def done(allowance: Allowance, usage: Usage | None, cost: float | None = None) -> None:
    """The end of a call; without a usage it was refused."""
    now_of(allowance.settle(None if usage is None else Charge(usage, cost, "prices")))


def test_days_and_months_are_those_of_utc() -> None:
    assert day_of(NOON) == "2026-11-21" and utc_text(next_start("day", NOON)) == "2026-11-22T00:00:00Z"
    assert utc_text(next_start("month", NOON)) == "2026-12-01T00:00:00Z"
    assert utc_text(next_start("month", NOON + 20 * DAY)) == "2027-01-01T00:00:00Z"


def test_what_is_on_hold_counts_until_it_is_settled() -> None:
    books, budget = LocalBudgets(), Budget(tokens_per_day=100)
    hold = now_of(books.hold("k", budget, Amount(tokens=60), NOON))
    assert books.left("k", budget, NOON).tokens == 40 and books.spent("k", NOON)["tokens_day"] == 0
    now_of(hold.settle(Amount(tokens=10)))
    now_of(hold.settle(Amount(tokens=10)))  # once is enough
    now_of(hold.release())
    assert books.left("k", budget, NOON).tokens == 90
    now_of(now_of(books.hold("k", budget, Amount(tokens=60), NOON)).release())
    assert books.left("k", budget, NOON).tokens == 90


def test_a_new_day_begins_with_nothing_spent_and_the_month_goes_on() -> None:
    books, budget = LocalBudgets(), Budget(tokens_per_day=100, tokens_per_month=150)
    now_of(books.spend("k", Amount(tokens=90), NOON))
    late = now_of(books.hold("k", budget, Amount(tokens=10), NOON))
    assert books.left("k", budget, NOON + DAY).tokens == 50
    now_of(late.settle(Amount(tokens=5)))  # belongs to the day that it began in
    assert books.spent("k", NOON + DAY) == {"usd_day": 0, "usd_month": 0, "tokens_day": 0, "tokens_month": 95}
    assert books.left("k", budget, NOON + 20 * DAY).tokens == 100


def test_the_tightest_limit_is_the_one_that_is_reported() -> None:
    books = LocalBudgets()
    now_of(books.spend("k", Amount(usd=3, tokens=10), NOON))
    left = books.left("k", Budget(usd_per_day=4, usd_per_month=3.5, tokens_per_day=1000), NOON)
    assert (left.usd, left.tokens, left.why) == (0.5, 990, "3.5 USD a month")
    assert utc_text(left.again_at) == "2026-12-01T00:00:00Z"


def test_a_restart_begins_with_what_the_log_says_was_spent() -> None:
    books = LocalBudgets()
    books.load([("k", "day", 1.5, 100.0), ("k", "month", 4.0, 900.0)], NOON)
    assert books.spent("k", NOON) == {"usd_day": 1.5, "usd_month": 4.0, "tokens_day": 100, "tokens_month": 900}


def test_news_of_what_others_spend_counts_once() -> None:
    books = LocalBudgets()
    now_of(books.spend("k", Amount(usd=1, tokens=10), NOON))
    for usd in (1.5, 2.0, 2.0):
        books.load([("k", "day", usd, 100.0), ("k", "month", usd, 100.0)], NOON)
    assert books.spent("k", NOON)["usd_day"] == 3.0 and books.spent("k", NOON)["tokens_month"] == 110
    assert books.left("k", Budget(usd_per_day=4, tokens_per_month=110), NOON) == Remaining(
        usd=1.0, tokens=0, why="110 tokens a month", again_at=next_start("month", NOON))  # fmt: skip
    assert books.spent("k", NOON + DAY)["usd_day"] == 0.0


@pytest.mark.parametrize(
    ("left", "given", "wanted", "price", "room"),
    [
        (Remaining(tokens=1000), 300, 4096, None, 700), (Remaining(tokens=1000), 300, 50, None, 50),
        (Remaining(tokens=100), 300, 50, None, -200),
        (Remaining(usd=1.0), 100, 4096, Price(0.001, 0.01), 90), (Remaining(usd=0.05), 100, 10, Price(0.001, 0.01), -1),
        (Remaining(usd=1.0), 100, 4096, Price(0.0, 0.0), 4096),
        (Remaining(usd=1.0, tokens=150), 100, 4096, Price(0.001, 0.01), 50),
    ],
)  # fmt: skip
def test_there_is_room_for_what_is_left(left: Remaining, given: float, wanted: float, price: Price | None, room: float) -> None:
    assert affordable_output(left, given, wanted, price) == pytest.approx(room)


# -- one call


def test_a_call_is_bounded_by_what_is_left_and_reported_so() -> None:
    purse = Purse(tokens_per_day=1000)
    allowance, sent = purse.ask(max_tokens=5000)
    assert 900 < sent["max_tokens"] < 1000 and allowance.clamped == [f"max_tokens={sent['max_tokens']}"]
    done(allowance, Usage(input=6, text=100))
    assert purse.spent["tokens_day"] == 106
    assert purse.ask(max_tokens=300)[1]["max_tokens"] == 300


def test_a_call_without_a_length_gets_the_models_or_the_default() -> None:
    assert "max_tokens" not in Purse(candidate=model(max_output_tokens=8000), tokens_per_day=10**6).ask()[1]
    assert Purse(candidate=model(), tokens_per_day=10**6).ask()[1]["max_tokens"] == 16_384
    assert Purse(candidate=model(max_output_tokens=8000), tokens_per_day=5000).ask()[1]["max_tokens"] < 5000


def test_what_is_not_worth_a_call_is_refused_with_the_time_at_which_it_begins_anew() -> None:
    purse = Purse(tokens_per_day=1000)
    done(purse.ask(max_tokens=900)[0], Usage(input=6, text=900))
    with pytest.raises(NoCredit) as caught:
        purse.ask(max_tokens=5000)
    assert (caught.value.status, caught.value.code) == (402, "budget_used_up")
    assert caught.value.details == {"resets_at": "2026-11-22T00:00:00Z"} and caught.value.retry_after_s == DAY / 2
    assert "1000 tokens a day" in caught.value.message
    assert purse.ask(max_tokens=50)[1]["max_tokens"] == 50, "a short one still fits"


def test_a_refusal_by_what_others_hold_says_that_it_may_work_soon() -> None:
    purse = Purse(tokens_per_day=1000)
    held, _ = purse.ask(max_tokens=900)
    with pytest.raises(NoCredit) as caught:
        purse.ask(max_tokens=500)
    assert "in progress" in caught.value.message and caught.value.retry_after_s == 1
    done(held, Usage(input=6, text=10))
    purse.ask(max_tokens=500)


def test_a_model_without_a_price_is_refused_under_a_budget_of_dollars_with_what_to_do() -> None:
    with pytest.raises(NoCredit) as caught:
        Purse(candidate=model(), usd_per_day=1).ask()
    assert (caught.value.status, caught.value.code) == (402, "no_price") and "input_usd_per_mtok" in caught.value.message
    Purse(candidate=model(input_usd_per_mtok=0, output_usd_per_mtok=0), usd_per_day=1).ask()


@pytest.mark.parametrize(("usage", "spent"), [(Usage(input=6, text=100), 106), (None, 0)])
def test_what_is_booked_is_what_the_attempt_cost(usage: Usage | None, spent: int) -> None:
    purse = Purse(tokens_per_day=10_000)
    allowance, _ = purse.ask(max_tokens=500)
    done(allowance, usage)
    done(allowance, Usage(input=9))  # once is enough
    assert purse.spent["tokens_day"] == spent


def test_an_estimate_is_never_more_than_was_held() -> None:
    allowance, _ = Purse(tokens_per_day=10_000).ask(max_tokens=500)
    assert (allowance.within_hold(20), allowance.within_hold(10_000)) == (20, 500)


def test_the_next_member_after_a_failure_holds_for_itself_alone() -> None:
    purse = Purse(tokens_per_day=1000)
    allowance, _ = purse.ask(max_tokens=900)
    for _ in range(5):
        now_of(allowance.release())
        allowance.fit(purse.candidate, "chat", {"max_tokens": 900})
        now_of(allowance.hold())
    done(allowance, Usage(input=1, text=1))
    assert purse.spent["tokens_day"] == 2 and purse.books.left("k", purse.key.budget or Budget(), NOON).tokens == 998


def test_answers_are_counted_and_caches_cost_more() -> None:
    purse = Purse(usd_per_day=1.0)
    assert Purse(usd_per_day=1.0).ask(n=10, max_tokens=10**6)[1]["max_tokens"] < 10_000, "1 USD buys 100,000 tokens of output"
    body = read_body(json.dumps({"messages": [{"content": "hi " * 9000, "cache_control": {"type": "ephemeral"}}]}).encode())
    allowance = Allowance(purse.key, purse.books, lambda: NOON)
    allowance.fit(purse.candidate, "chat", {**body.fields, "max_tokens": 1}, body)
    assert purse.books.left("k", Budget(usd_per_day=1.0), NOON).usd == 1.0, "nothing is reserved before it is awaited"
    now_of(allowance.hold())
    held = 1.0 - purse.books.left("k", Budget(usd_per_day=1.0), NOON).usd
    plain = Purse(usd_per_day=1.0)
    plain.ask(messages=[{"content": "hi " * 9000}], max_tokens=1)
    assert held > 1.2 * (1.0 - plain.books.left("k", Budget(usd_per_day=1.0), NOON).usd)


def test_streams_carry_a_request_to_state_what_they_cost() -> None:
    assert Purse(tokens_per_day=1000).ask(stream=True)[1]["stream_options"] == {"include_usage": True}
    assert "stream_options" not in Purse(tokens_per_day=1000).ask()[1]


def test_counting_tokens_is_free_and_embeddings_cost_their_input() -> None:
    purse = Purse(tokens_per_day=1000)
    allowance = Allowance(purse.key, purse.books, lambda: NOON)
    assert allowance.fit(purse.candidate, "count", {"messages": []}) == {}
    assert allowance.fit(purse.candidate, "embeddings", {"input": "word " * 100}) == {}
    now_of(allowance.hold())
    assert 800 < purse.books.left("k", Budget(tokens_per_day=1000), NOON).tokens < 1000


@pytest.mark.parametrize("budget", [{"tokens_per_day": 5000}, {"usd_per_month": 0.05},
                                    {"usd_per_day": 0.02, "tokens_per_month": 9000}])  # fmt: skip
def test_no_order_of_calls_spends_more_than_there_is(budget: dict[str, Any]) -> None:
    rng, purse = Random(5), Purse(**budget)
    waiting: list[tuple[Allowance, dict[str, Any]]] = []
    refused = 0
    for _ in range(2000):
        if rng.random() < 0.55:
            try:
                waiting.append(purse.ask(max_tokens=rng.choice([1, 50, 400, 4000]), n=rng.choice([1, 1, 3])))
            except NoCredit:
                refused += 1
        elif waiting:
            allowance, sent = waiting.pop(rng.randrange(len(waiting)))
            made = rng.randrange(sent["max_tokens"] * sent["n"] + 1)
            usage = Usage(input=5, text=made)
            done(allowance, usage if rng.random() < 0.9 else None, (5 * 1.0 + made * 10.0) / 1e6)
        left = purse.books.left("k", purse.key.budget or Budget(), NOON)
        assert left.usd >= -1e-9 and left.tokens >= 0
    assert refused > 100


def test_a_hold_that_others_were_quicker_for_is_refused() -> None:
    purse = Purse(tokens_per_day=1000)
    one, other = (allowance_of(purse.key, purse.books, lambda: NOON) for _ in range(2))
    for allowance in (one, other):
        assert allowance is not None
        allowance.fit(purse.candidate, "chat", {"max_tokens": 900})
    now_of(one.hold())
    with pytest.raises(NoCredit, match="in progress"):
        now_of(other.hold())
    assert purse.books.left("k", purse.key.budget or Budget(), NOON).tokens < 100


def test_keys_without_bounds_and_budget_pay_nothing() -> None:
    assert allowance_of(None, LocalBudgets(), lambda: NOON) is None
    assert allowance_of(replace(Key("k", "k"), networks=("10.0.0.0/8",)), LocalBudgets(), lambda: NOON) is None


# -- resets


AT = 1_795_946_400.0  # 2026-11-29T10:00:00Z
SPENT = Reset(AT, usd_day=4.0, usd_month=20.0, tokens_day=100, tokens_month=900)


@pytest.mark.parametrize(
    "later_s, day, month",
    [(0, 9.0, 70.0), (13 * 3_600, 9.0, 70.0), (14 * 3_600, 5.0, 70.0), (2 * 86_400, 5.0, 50.0), (366 * 86_400, 5.0, 50.0)],
)
def test_what_was_spent_before_a_reset_does_not_count_in_its_day_and_its_month(later_s: int, day: float, month: float) -> None:
    budget = Budget(usd_per_day=5.0, usd_per_month=50.0)
    assert raise_by_reset(budget, SPENT, AT + later_s) == Budget(usd_per_day=day, usd_per_month=month)
    assert raise_by_reset(budget, SPENT, AT + later_s) is raise_by_reset(budget, SPENT, AT + later_s)
    assert raise_by_reset(budget, None, AT) is budget


def test_spending_is_shown_from_the_reset_on() -> None:
    spent = {"usd_day": 4.5, "usd_month": 20.5, "tokens_day": 130, "tokens_month": 930}
    assert since_reset(spent, SPENT, AT) == {"usd_day": 0.5, "usd_month": 0.5, "tokens_day": 30, "tokens_month": 30}
    assert since_reset(spent, SPENT, AT + 86_400)["usd_day"] == 4.5
    assert since_reset(spent, None, AT) == spent
    assert since_reset(dict.fromkeys(spent, 0), SPENT, AT) == dict.fromkeys(spent, 0)


def test_a_call_goes_on_after_a_reset_and_a_refusal_names_the_configured_budget() -> None:
    books, now = LocalBudgets(), AT + 60
    books.load([("key_1", "day", 0.0, 100), ("key_1", "month", 0.0, 900)], now)
    key = Key("key_1", "ci", budget=Budget(tokens_per_day=100))
    with pytest.raises(NoCredit, match="100 tokens a day"):
        Allowance(key, books, lambda: now).check()
    fresh = replace(key, reset=SPENT)
    Allowance(fresh, books, lambda: now).check()
    books.load([("key_1", "day", 0.0, 200)], now)
    with pytest.raises(NoCredit, match="100 tokens a day"):
        Allowance(fresh, books, lambda: now).check()
