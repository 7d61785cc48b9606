"""limiter/leases and lease_table: what one process keeps of a limit, what its home knows, and what a loss of either changes."""

from __future__ import annotations

import pytest

from llm_router_gateway.limiter.lease_table import PRESENT_MS, QUARANTINE_MS, SILENT_MS, SLOT_MS, LeaseTable, RateTable
from llm_router_gateway.limiter.leases import (
    FULL,
    GRANTED,
    LEASE_S,
    LOST,
    MICRO,
    REFUSED,
    REJOIN,
    REPORTED,
    UNLIMITED,
    UNSEEDED,
    WAITING,
    WRONG_PERIOD,
    Base,
    BeatAsk,
    Book,
    BudgetAsk,
    BudgetReply,
    Limits,
    Pair,
    Part,
    Presence,
    Purse,
    RatePart,
    Share,
    SlotPart,
    Slots,
    TakeAsk,
    limits_of,
    micro,
    periods_at,
)
from llm_router_gateway.policy.budgets import Budget

NOON = 1_790_000_000 // 86_400 * 86_400 + 43_200
NOW_MS = NOON * 1_000
DAY = periods_at(NOON)
ACCOUNT = f"k:{DAY.day}"
DOLLAR = Limits(MICRO, UNLIMITED, UNLIMITED, UNLIMITED)


def opened(*holders: str, ledger: str = "l") -> LeaseTable:
    """A table in an epoch that grants leases, in which these holders show life; the day is seeded."""
    table = LeaseTable()
    for holder in holders or ("l/a",):
        table.beat(BeatAsk(holder, 0, 0, True, 0, ()), NOW_MS - QUARANTINE_MS)
    assert table.epoch is not None
    for holder in holders or ("l/a",):
        table.beat(BeatAsk(holder, table.epoch.number, 0, True, 0, ()), NOW_MS)
    table.seed(table.epoch.number, ledger, [Base(ACCOUNT, DAY.day_until, 0, 0)])
    return table


def exchange(
    table: LeaseTable, holder: str = "l/a", *, need: int = 0, want: int = 0, number: int = 1, known: int = 0, spent: int = 0,
    kept: int = 0, limit: int = MICRO, now_ms: int = NOW_MS, epoch: int | None = None, tick: int = 0, run: str = "",
    ledger: str = "l",
) -> BudgetReply:  # fmt: skip
    part = Part(ACCOUNT, DAY.day_since, DAY.day_until, limit, UNLIMITED, number, known, spent, 0, kept, 0)
    number_of_epoch = table.epoch.number if epoch is None and table.epoch is not None else epoch or 0
    return table.exchange(BudgetAsk(holder, number_of_epoch, tick, ledger, need, 0, max(need, want), 0, (part,)), now_ms, run)


# -- the arithmetic of a lease


def test_a_lease_is_at_most_half_of_what_is_free_for_each_holder() -> None:
    table = opened("l/a", "l/b")
    assert exchange(table, "l/a", need=10_000, want=MICRO).grant_usd == 500_000
    assert exchange(table, "l/b", need=10_000, want=MICRO).grant_usd == 125_000
    assert exchange(table, "l/b", need=10_000, want=20_000, number=2, kept=125_000).grant_usd == 20_000


def test_near_the_end_a_lease_is_what_one_call_needs_and_then_a_refusal() -> None:
    table = opened()
    table.seed(1, "l", ())
    assert exchange(table, need=900_000, want=MICRO).grant_usd == 900_000
    assert exchange(table, need=90_000, want=MICRO, number=2, kept=900_000).grant_usd == 90_000
    refused = exchange(table, need=20_000, want=20_000, number=3, kept=990_000)
    assert (refused.status, refused.at, refused.states[0]) == (REFUSED, 0, (0, 0, 990_000, 0))


def test_amounts_are_rounded_up_once_in_a_sum_and_not_for_each_call() -> None:
    assert (micro(0.1 + 0.2), micro(0.0200001), micro(0)) == (300_000, 20_001, 0)
    purse = Purse("a", 0, 1)
    for _ in range(1_000):
        purse.spend(0.25, 0)
    assert (purse.spent_usd, purse.room_usd) == (250, -250)


def test_limits_are_whole_numbers() -> None:
    assert limits_of(Budget(usd_per_day=0.29, tokens_per_month=7)) == Limits(290_000, UNLIMITED, UNLIMITED, 7)


def test_a_day_and_a_month_have_their_names_and_ends() -> None:
    assert periods_at(0) == ("1970-01-01", 0, 86_400, "1970-01", 0, 31 * 86_400)
    leap = periods_at(1_709_210_000)
    assert (leap.day, leap.month, leap.month_until - leap.month_since) == ("2024-02-29", "2024-02", 29 * 86_400)


# -- reports


def test_a_report_that_arrives_twice_or_late_counts_once() -> None:
    table = opened()
    exchange(table, need=100_000, number=1)
    assert exchange(table, number=2, spent=60_000, kept=40_000).states[0] == (60_000, 0, 40_000, 0)
    assert exchange(table, number=2, spent=60_000, kept=40_000).states[0] == (60_000, 0, 40_000, 0)
    late = exchange(table, number=1, spent=0, kept=0, need=500_000)
    assert late.status == REPORTED and late.states[0] == (60_000, 0, 40_000, 0)


def test_a_lease_whose_answer_was_lost_is_free_again_with_the_next_report() -> None:
    table = opened()
    assert exchange(table, need=400_000, number=1).status == GRANTED  # and nobody hears it
    again = exchange(table, need=700_000, number=2, kept=0)
    assert (again.status, again.states[0]) == (GRANTED, (0, 0, 700_000, 0))


def booked(table: LeaseTable, need: Pair, now_s: float = 0.0) -> tuple[Book, BudgetReply]:
    book = Book("k", limits=DOLLAR)
    book.turn(DAY)
    part = book.day.part(MICRO, UNLIMITED)
    assert table.epoch is not None
    ask = BudgetAsk("l/a", table.epoch.number, 0, "l", *need, *book.next_size(need, need, now_s, 0, 1), (part,))
    reply = table.exchange(ask, NOW_MS)
    book.take([book.day], [part], reply, need, now_s)
    return book, reply


def test_a_book_holds_from_its_lease_and_gets_back_what_a_call_did_not_use() -> None:
    book, reply = booked(opened(), (20_000, 0))
    assert reply.grant_usd == 20_000 + MICRO // 32  # its part of what may be spare
    assert book.hold(DOLLAR, 20_000, 0) and book.hold(DOLLAR, 31_250, 0) and not book.hold(DOLLAR, 1, 0)
    assert book.missing(DOLLAR, 500, 0) == (500, 0)
    book.day.release(20_000, 0)
    book.day.spend(4_000, 0)
    assert book.hold(DOLLAR, 16_000, 0)


def test_what_a_call_cost_over_its_hold_is_reported_as_spent_and_leaves_no_debt() -> None:
    book, _ = booked(opened(), (20_000, 0))
    book.hold(DOLLAR, 51_250, 0)
    book.day.release(51_250, 0)
    book.day.spend(80_000, 0)
    part = book.day.part(MICRO, UNLIMITED)
    assert (part.spent_usd, part.kept_usd, book.day.room_usd) == (80_000, 0, 0)


def test_idle_room_is_given_back_after_a_second_and_is_gone_before_the_message_leaves() -> None:
    book, _ = booked(opened(), (20_000, 0))
    book.used_at = 10.0
    assert book.news(10.9, 1) == [] or book.day.room_usd > 0
    assert [purse.account for purse in book.news(11.0, 1)] == [ACCOUNT]
    assert book.day.room_usd == 0


def test_a_refusal_is_remembered_for_a_tenth_of_a_second_for_as_much_or_more() -> None:
    table = opened()
    exchange(table, "l/b", need=MICRO)
    book, reply = booked(table, (20_000, 0), now_s=5.0)
    assert reply.status == REFUSED
    assert book.is_refused((20_000, 0), 5.09) and not book.is_refused((19_999, 0), 5.09)
    assert not book.is_refused((20_000, 0), 5.1)


def test_the_day_that_is_over_is_reported_until_its_calls_have_ended() -> None:
    book, _ = booked(opened(), (20_000, 0))
    book.hold(DOLLAR, 20_000, 0)
    yesterday = book.day
    book.turn(periods_at(NOON + 86_400))
    assert book.old == [yesterday] and not book.hold(DOLLAR, 1, 0)
    assert yesterday in book.news(0.0, 1)
    yesterday.release(20_000, 0)
    yesterday.confirm(yesterday.part(MICRO, UNLIMITED), None)
    yesterday.room_usd = 0
    assert yesterday not in book.news(0.0, 1) and book.old == []


def test_yesterdays_refusal_does_not_lock_today() -> None:
    book = Book("k", limits=DOLLAR, refused_until=1e9, refused=(1, 0))
    book.turn(DAY)
    assert not book.is_refused((1, 0), 0.0)


# -- epochs


def test_nothing_is_granted_before_the_quarantine_is_over_and_the_ledger_was_read() -> None:
    table = LeaseTable()
    reply = table.beat(BeatAsk("l/a", 0, 0, True, 0, ()), NOW_MS)
    assert not reply.is_open
    assert exchange(table, need=1, now_ms=NOW_MS + QUARANTINE_MS - 1).status == WAITING
    assert exchange(table, need=1, number=2, now_ms=NOW_MS + QUARANTINE_MS).status == UNSEEDED
    table.seed(reply.epoch, "l", [Base(ACCOUNT, DAY.day_until, 999_999, 0)])
    table.seed(reply.epoch, "l", [Base(ACCOUNT, DAY.day_until, 0, 0)])  # whoever is second changes nothing
    assert exchange(table, need=2, number=3, now_ms=NOW_MS + QUARANTINE_MS).status == REFUSED
    assert exchange(table, need=1, number=4, now_ms=NOW_MS + QUARANTINE_MS).status == GRANTED


@pytest.mark.parametrize("sign", ["flushed", "another process", "a lower epoch", "fewer exchanges", "my last report is gone"])
def test_every_sign_of_a_lost_memory_is_seen(sign: str) -> None:
    table = opened()
    assert exchange(table, need=10, number=1).status == GRANTED
    assert table.epoch is not None
    epoch, tick = table.epoch.number, table.epoch.tick
    if sign == "flushed":
        table = LeaseTable()
    terms = {"another process": {"run": "other"}, "a lower epoch": {"epoch": epoch + 1}, "fewer exchanges": {"tick": tick + 1},
             "my last report is gone": {"known": 2}}  # fmt: skip
    assert exchange(table, need=10, number=3, **terms.get(sign, {"epoch": epoch})).status == LOST  # type: ignore[arg-type]


def test_a_worker_of_an_earlier_epoch_has_to_report_again() -> None:
    table = opened()
    assert table.epoch is not None
    assert exchange(table, need=10, epoch=table.epoch.number - 1).status == REJOIN


def test_a_new_epoch_waits_for_every_holder_that_anyone_knows_of_and_at_most_as_long_as_leases_are_valid() -> None:
    table = LeaseTable()
    began = table.beat(BeatAsk("l/a", 7, 0, True, 0, ("l/b",)), NOW_MS)
    assert began.epoch > 7 and not began.is_open

    def beat(holder: str, after_ms: int, is_complete: bool = True) -> bool:
        return table.beat(BeatAsk(holder, began.epoch, 0, is_complete, 0, ()), NOW_MS + after_ms).is_open

    assert not beat("l/a", QUARANTINE_MS)
    assert not beat("l/b", QUARANTINE_MS, is_complete=False)
    assert beat("l/b", QUARANTINE_MS + 1)
    silent = LeaseTable()
    epoch = silent.beat(BeatAsk("l/a", 7, 0, True, 0, ("l/dead",)), NOW_MS).epoch
    assert not silent.beat(BeatAsk("l/a", epoch, 0, True, 0, ()), NOW_MS + SILENT_MS - 1).is_open
    assert silent.beat(BeatAsk("l/a", epoch, 0, True, 0, ()), NOW_MS + SILENT_MS).is_open
    assert SILENT_MS > LEASE_S * 1_000


def test_an_account_of_an_earlier_epoch_is_as_good_as_absent() -> None:
    table = opened()
    exchange(table, need=MICRO)
    assert table.epoch is not None
    table.beat(BeatAsk("l/a", table.epoch.number, 0, True, table.epoch.number, ()), NOW_MS)  # proof of a loss
    reply = exchange(table, number=1, kept=5, now_ms=NOW_MS)
    assert reply.states[0] == (0, 0, 5, 0)


def test_a_period_is_the_one_of_the_engines_clock() -> None:
    assert exchange(opened(), need=1, now_ms=DAY.day_until * 1_000).status == WRONG_PERIOD
    assert exchange(opened(), need=1, now_ms=DAY.day_until * 1_000 - 1).status == GRANTED


# -- the dead


def test_a_dead_holders_lease_counts_as_spent_until_the_log_has_said_what_of_it_was() -> None:
    table = opened("l/a", "l/dead")
    exchange(table, "l/dead", need=600_000)
    assert table.epoch is not None
    epoch, later = table.epoch.number, NOW_MS + SILENT_MS + 1
    assert table.stranded(ACCOUNT, epoch, "l") == ((0, 0), ())
    table.write_off(ACCOUNT, epoch, "l/dead", (0, 0))  # it shows life: nothing happens
    assert exchange(table, need=500_000, number=1).status == REFUSED
    table.beat(BeatAsk("l/a", epoch, 0, True, 0, ()), later)
    assert table.stranded(ACCOUNT, epoch, "l") == ((0, 0), (("l/dead", 600_000, 0),))
    assert table.stranded(ACCOUNT, epoch, "other") == ((0, 0), ())
    table.write_off(ACCOUNT, epoch, "l/dead", (150_000, 0))
    table.write_off(ACCOUNT, epoch, "l/dead", (150_000, 0))
    assert exchange(table, number=2).states[0] == (150_000, 0, 0, 0)


def test_processes_are_counted_by_their_signs_of_life() -> None:
    table = opened("l/a", "l/b")
    assert table.epoch is not None
    ask = BeatAsk("l/a", table.epoch.number, 0, True, 0, ())
    assert table.beat(ask, NOW_MS + PRESENT_MS).processes == 2
    assert table.beat(ask, NOW_MS + PRESENT_MS + 1).processes == 1
    table.leave("l/a")
    assert table.beat(ask._replace(holder="l/c"), NOW_MS + PRESENT_MS + 1).holders == ("l/b", "l/c")


# -- rates and slots


def take(
    table: RateTable, holder: str, now_us: int, *, need: int = 1, want: int = 1, back: int = 0, wait_us: int = 0
) -> tuple[str, int, int]:
    part = RatePart("key:k requests", 10 * MICRO, MICRO, need * MICRO, want * MICRO, back * MICRO, wait_us)
    reply = table.take(TakeAsk(holder, (part,), ()), now_us)
    return reply.status, reply.wait_us, sum(reply.rates) // MICRO


def test_a_bucket_is_shared_and_refills_by_the_engines_clock_alone() -> None:
    table = RateTable()
    assert take(table, "a", 0, want=8) == (GRANTED, 0, 5)
    assert take(table, "b", 0, want=8) == (GRANTED, 0, 1)  # 5 are left, for two
    assert take(table, "b", 0, need=5) == (REFUSED, MICRO, 0)
    assert take(table, "b", -3_600_000_000, need=5) == (REFUSED, MICRO, 0)  # an older clock refills nothing
    assert take(table, "b", -3_599_000_000, need=5) == (GRANTED, 0, 5)  # and does not stop the bucket


@pytest.mark.parametrize("per_s", [12, 58, 2_778])  # one a day, five a day, ten an hour: millionths of a request
def test_a_slow_bucket_fills_however_often_it_is_looked_at(per_s: int) -> None:
    table, part = RateTable(), RatePart("key:k requests", MICRO, per_s, MICRO, MICRO, 0, 0)
    table.take(TakeAsk("a", (part,), ()), 0)
    early_us = MICRO * MICRO // per_s - 1_000_000
    for step in range(1, 1_001):  # at last every 25 ms, in which less than a millionth or a few come
        assert table.take(TakeAsk("a", (part,), ()), early_us - 25_000 * (1_000 - step)).status == REFUSED
    assert table.take(TakeAsk("a", (part,), ()), early_us + 1_100_000).status == GRANTED


def test_more_than_was_taken_is_owed_and_what_was_not_used_comes_back() -> None:
    table = RateTable()
    take(table, "a", 0, need=10)
    assert take(table, "a", 0, back=4)[0] == GRANTED
    assert take(table, "a", 0, need=1, back=-8) == (REFUSED, 6 * MICRO, 0)
    assert take(table, "a", 0, need=1, wait_us=6 * MICRO) == (GRANTED, 6 * MICRO, 1)


def test_a_part_of_a_bucket_is_valid_for_a_second() -> None:
    share = Share()
    share.take(5, 1, now_s=10.0)
    assert share.has(4, 10.99) and not share.has(5, 10.0) and not share.has(4, 11.0)
    assert (share.back(), share.room) == (4, 0)


def test_a_part_grows_with_its_use() -> None:
    share = Share()
    assert [share.next_size(1, 0.01 * number) for number in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]
    assert share.next_size(1, 10.0) == 128


def slots(table: RateTable, holder: str, now_ms: int, have: int, need: int, want: int = 0) -> tuple[str, int]:
    reply = table.take(TakeAsk(holder, (), (SlotPart("key:k", 4, have, need, want),)), now_ms * 1_000)
    return reply.status, sum(reply.slots)


def test_slots_are_rows_that_end_by_themselves_and_never_a_bare_counter() -> None:
    table = RateTable()
    assert slots(table, "a", 0, 0, 1, 4) == (GRANTED, 2)
    assert slots(table, "b", 0, 0, 1, 4) == (GRANTED, 1)
    assert slots(table, "b", 0, 1, 1) == (GRANTED, 1)
    assert slots(table, "c", 0, 0, 1) == (FULL, 0)
    assert slots(table, "b", SLOT_MS - 1, 2, 0) == (GRANTED, 0)  # renewed
    assert slots(table, "c", SLOT_MS, 0, 1) == (GRANTED, 1)  # those of `a` have ended


def test_spare_slots_go_back_when_they_are_idle_or_needed_elsewhere() -> None:
    mine = Slots()
    mine.most, mine.have, mine.used, mine.used_at = 4, 4, 1, 10.0
    assert not mine.shrink(10.9) and mine.shrink(11.0) and mine.have == 1
    mine.have, mine.is_tight = 2, True
    assert mine.shrink(11.0) and not mine.shrink(11.0)


def test_more_slots_than_a_lowered_limit_has_go_back_at_once() -> None:
    mine = Slots()
    mine.most, mine.have, mine.used, mine.used_at = 2, 6, 1, 10.0
    assert mine.spare() == 1 and mine.shrink(10.0) and mine.have == 2
    mine.have = mine.used = 5
    assert mine.spare() < 0 and not mine.shrink(11.0) and mine.have == 5


# -- the presence of the home


def test_after_three_failures_the_home_is_away_until_it_answers() -> None:
    presence = Presence()
    assert [(presence.fail(float(number), "no"), presence.away_since) for number in range(4)] == [
        (False, None),
        (False, None),
        (True, 2.0),
        (False, 2.0),
    ]
    assert [(presence.answer(at), presence.is_away) for at in (5.0, 6.0)] == [(True, False), (False, False)]
    assert presence.leases_are_valid(6.0 + LEASE_S - 0.1) and not presence.leases_are_valid(6.0 + LEASE_S)
