"""queries against a computation in plain Python over the same calls: sums, groups and series are equal, percentiles near."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from logged import NOW_S, Shelf, call, random_calls
from quick import every

from llm_router_gateway.store import histogram, queries, rollups
from llm_router_gateway.store.call import Call, stamp, texts, view
from llm_router_gateway.store.query import BY, DAY_S, HOUR_S, LABELS, MINUTE_S, ORDERS, Page, Span, Where, split

DISJOINT = [by for by in BY if by not in LABELS]  # every call is in one group of these
WHOLE = {"calls", "success", "errors", "caller_errors", "client_gone", "input_tokens", "output_tokens", "cached_tokens",
         "reasoning_tokens", "total_tokens", "unpriced_calls"}  # fmt: skip


Shelves = Callable[..., Shelf]


@pytest.fixture(scope="module")
def shelf(shelves: Shelves) -> Shelf:
    return shelves(random_calls(1, 4_000, 40 * DAY_S) + random_calls(2, 2_000, 3 * HOUR_S))


# -- the same in plain Python


def is_by_caller(each: Call) -> bool:
    return each.error not in ("", "client_gone") and each.status < 500 and (each.status == 400 or not each.attempts)


def sums(calls: list[Call]) -> dict[str, Any]:
    timed = [each for each in calls if not each.error and each.kind != "count"]
    return {
        "calls": len(calls), "success": sum(not each.error for each in calls),
        "errors": sum(each.error not in ("", "client_gone") for each in calls),
        "client_gone": sum(each.error == "client_gone" for each in calls), "caller_errors": sum(map(is_by_caller, calls)),
        "input_tokens": sum(each.input_tokens or 0 for each in calls),
        "output_tokens": sum(each.output_tokens or 0 for each in calls),
        "cached_tokens": sum(each.cached_tokens or 0 for each in calls),
        "reasoning_tokens": sum(each.reasoning_tokens or 0 for each in calls),
        "total_tokens": sum((each.input_tokens or 0) + (each.output_tokens or 0) for each in calls),
        "unpriced_calls": sum(each.cost_usd is None for each in timed), "cost_usd": sum(each.cost_usd or 0 for each in calls),
        "latency_ms": [each.duration_ms for each in timed],
        "first_output_ms": [each.first_ms for each in timed if each.first_ms is not None],
    }  # fmt: skip


def whose(each: Call) -> str:
    return "caller" if is_by_caller(each) else "provider"


def fits(where: Where) -> Callable[[Call], bool]:
    def one(each: Call) -> bool:
        outcome = "success" if not each.error else "client_gone" if each.error == "client_gone" else "error"
        outcomes = ("", outcome, str(each.status), *([f"{whose(each)}_error"] if outcome == "error" else ()))
        told = " ".join((each.request_id, each.asked, each.served, each.key_name, each.error, each.message, each.client))
        model = where.model in ("", each.model, f"{each.provider}/{each.model}")
        return (
            model and where.provider in ("", each.provider) and (each.key_id == where.key or not (where.key or where.has_key))
            and where.status in outcomes and where.error in ("", each.error)
            and where.protocol in ("", each.protocol) and where.client in ("", each.client)
            and where.stream in (None, bool(each.stream)) and where.search.lower() in told.lower()
        )  # fmt: skip

    return one


def chosen(calls: list[Call], span: Span, where: Where) -> list[Call]:
    return [each for each in calls if span.from_s * 1_000 <= each.started_ms < span.to_s * 1_000 and fits(where)(each)]


def group(each: Call, by: str) -> str:
    return {"model": f"{each.provider}/{each.model}", "provider": each.provider, "key": each.key_id}[by]


def same(got: dict[str, Any], calls: list[Call], near: bool = True) -> None:
    want = sums(calls)
    assert {name: got[name] for name in WHOLE} == {name: want[name] for name in WHOLE}
    assert math.isclose(got["cost_usd"], want["cost_usd"], abs_tol=1e-8)
    judged = want["success"] + want["errors"]
    assert math.isclose(got["error_rate"], want["errors"] / judged if judged else 0, abs_tol=1e-6)
    for name in ("latency_ms", "first_output_ms"):
        times, told = sorted(want[name]), got[name]
        if not times:
            assert told == {"mean": None, "p50": None, "p95": None, "p99": None}
            continue
        assert math.isclose(told["mean"], sum(times) / len(times), abs_tol=0.01, rel_tol=1e-6)
        for key, share in queries.PERCENTILES if near else ():
            exact = times[math.ceil(share * len(times)) - 1]
            assert told[key] == round(histogram.middle(histogram.bin_of(exact)), 3)
            assert abs(told[key] - exact) <= max(1.05, 0.05 * exact)


SPANS = {
    "an hour in minutes": Span(NOW_S // 60 * 60 - 3_600, NOW_S // 60 * 60 + 60, MINUTE_S),
    "a day in hours": Span(NOW_S // HOUR_S * HOUR_S - DAY_S, NOW_S // HOUR_S * HOUR_S + HOUR_S, HOUR_S),
    "thirty days": Span((NOW_S // DAY_S - 30) * DAY_S, (NOW_S // DAY_S + 1) * DAY_S, DAY_S),
    "weeks that begin at any hour": Span(NOW_S // HOUR_S * HOUR_S - 20 * DAY_S - 5 * HOUR_S, NOW_S // HOUR_S * HOUR_S, HOUR_S),
}
SUMMED = [Where(), Where(model="openai/gpt-x"), Where(model="gpt-y"), Where(model="vendor/small"), Where(provider="openai"),
          Where(key="k1"), Where(has_key=True), Where(provider="openai", key="k2"), Where(model="claude-x", key="config:ci"),
          Where(model="nobody")]  # fmt: skip
LOOKED_AT = [Where(status="success"), Where(status="error"), Where(status="client_gone"), Where(status="429"),
             Where(status="caller_error"), Where(status="provider_error"),
             Where(error="rate_limited"), Where(protocol="gemini"), Where(stream=True), Where(stream=False, key="k1"),
             Where(client="::1"), Where(search="ann"), Where(search="50%_!"), Where(search="_"),
             Where(search="\u00fcber")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("where", SUMMED + LOOKED_AT, ids=str)
@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
def test_statistics_are_those_of_the_calls(shelf: Shelf, span: Span, where: Where) -> None:
    calls = chosen(shelf.calls, span, where)
    for by in DISJOINT:
        got = queries.statistics(shelf.db, span, where, by, 20)
        same(got["overall"], calls)
        names = {group(each, by) for each in calls}
        assert {one["id"] for one in got["groups"]} == names and got["is_whole"]
        for one in got["groups"]:
            same(one, [each for each in calls if group(each, by) == one["id"]])
        counts = [one["calls"] for one in got["groups"]]
        assert counts == sorted(counts, reverse=True)
    failed = [each for each in calls if each.error not in ("", "client_gone")]
    assert {one["error"]: one["count"] for one in got["errors"]} == {
        code: sum(each.error == code for each in failed) for code in {each.error for each in failed}}  # fmt: skip
    assert {one["error"]: one["caller_count"] for one in got["errors"]} == {
        code: sum(is_by_caller(each) for each in failed if each.error == code) for code in {each.error for each in failed}
    }
    newest = sorted((each.started_ms for each in failed), reverse=True)[:5]
    assert [one["started_at"] for one in got["recent_errors"]] == [stamp(each) for each in newest]


@pytest.mark.parametrize("where", every(4, [*SUMMED[::2], *LOOKED_AT[::4]]), ids=str)
@pytest.mark.parametrize("name", ["an hour in minutes", "a day in hours", "thirty days"])
def test_series_have_every_step_and_each_is_that_of_its_calls(shelf: Shelf, name: str, where: Where) -> None:
    span = SPANS[name]
    calls = chosen(shelf.calls, span, where)
    got = queries.series(shelf.db, span, where)
    assert [one["at"] for one in got["data"]] == [queries.second(at_s) for at_s in span.steps()]
    for at_s, one in zip(span.steps(), got["data"], strict=True):
        same(one, [each for each in calls if at_s * 1_000 <= each.started_ms < (at_s + span.step_s) * 1_000])


@pytest.mark.parametrize("by", DISJOINT)
@pytest.mark.parametrize("where", [Where(), Where(key="k1"), Where(provider="openai"), Where(protocol="openai")], ids=str)
def test_grouped_series_name_the_largest_and_sum_up_the_rest(shelf: Shelf, by: str, where: Where) -> None:
    span = SPANS["a day in hours"]
    calls = chosen(shelf.calls, span, where)
    got = queries.grouped_series(shelf.db, span, where, by, 2)
    names = {group(each, by) for each in calls}
    shown = [one["id"] for one in got["groups"]]
    assert len(shown) == min(len(names), 3) and (shown[-1] is None) == (len(names) > 2)
    for one in got["groups"]:
        mine = [each for each in calls if (group(each, by) not in shown if one["id"] is None else group(each, by) == one["id"])]
        for at_s, point in zip(span.steps(), one["data"], strict=True):
            same(point, [each for each in mine if at_s * 1_000 <= each.started_ms < (at_s + span.step_s) * 1_000])


def labelled(seed: int, count: int) -> list[Call]:
    rng = Random(seed)
    return [
        each._replace(
            tags=texts(rng.choice([(), ("search",), ("search", "beta"), ("\u00fcber, all",)])),
            end_user=rng.choice(["", "u-1", "u-2"]),
        )
        for each in random_calls(seed, count, 5 * DAY_S)
    ]


@pytest.fixture(scope="module")
def labelled_shelf(shelves: Shelves) -> Shelf:
    return shelves(labelled(7, 400))


def labels(each: Call, by: str) -> list[str]:
    return [label for kind, label in rollups.labels_of(each) if kind == by]


DAYS = Span((NOW_S // DAY_S - 4) * DAY_S, (NOW_S // DAY_S + 1) * DAY_S, DAY_S)


@pytest.mark.parametrize("span", [DAYS, SPANS["a day in hours"]], ids=["days", "hours"])
@pytest.mark.parametrize("where", [Where(), Where(tag="search"), Where(user="u-1"), Where(provider="openai"),
                                   Where(tag="beta", status="success")], ids=str)  # fmt: skip
def test_sums_of_tags_and_users_are_those_of_their_calls_and_tags_may_overlap(
    labelled_shelf: Shelf, span: Span, where: Where
) -> None:
    shelf = labelled_shelf
    calls = [each for each in chosen(shelf.calls, span, replace(where, tag="", user=""))
             if where.tag in ("", *labels(each, "tag")) and where.user in ("", each.end_user)]  # fmt: skip
    assert calls
    for by in LABELS:
        got = queries.statistics(shelf.db, span, where, by, 20)
        same(got["overall"], calls)
        assert {one["id"] for one in got["groups"]} == {label for each in calls for label in labels(each, by)}
        for one in got["groups"]:
            same(one, [each for each in calls if one["id"] in labels(each, by)])
        grouped = queries.grouped_series(shelf.db, span, where, by, 1)
        assert [one["id"] for one in grouped["groups"]] == [got["groups"][0]["id"]], "labels have no `other`"


def test_days_of_labels_are_read_from_sums_however_many_calls_there_are(
    labelled_shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = labelled_shelf
    monkeypatch.setattr(queries, "MAX_ROWS", 20)
    assert queries.statistics(shelf.db, DAYS, Where(), "tag", 20)["is_whole"]
    assert queries.statistics(shelf.db, DAYS, Where(user="u-1"), "user", 20)["is_whole"]
    assert not queries.statistics(shelf.db, DAYS, Where(provider="openai"), "tag", 20)["is_whole"]


def test_a_day_has_a_bounded_number_of_labels(shelves: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "MAX_LABELS", 2)
    shelf = shelves([call(end_user=f"u-{number}") for number in range(5)])
    shelf.add([call(end_user="u-0"), call(end_user="u-9"), call(tags=texts(["nightly"]))])
    found = {by: queries.statistics(shelf.db, DAYS, Where(), by, 20)["groups"] for by in LABELS}
    assert {one["id"]: one["calls"] for one in found["user"]} == {"u-0": 2, "u-1": 1, rollups.OTHER_LABELS: 4}
    assert {one["id"]: one["calls"] for one in found["tag"]} == {"nightly": 1}


@pytest.mark.parametrize("where", [Where(), Where(model="openai/gpt-x", key="k1"), Where(status="caller_error")], ids=str)
def test_errors_are_counted_without_reading_their_calls(tmp_path: Path, where: Where) -> None:
    """Of a million calls, fifty thousand that failed are read from one index of SQLite."""
    shelf, said = Shelf(tmp_path, random_calls(9, 300, DAY_S)), list[str]()
    shelf.db.set_trace_callback(said.append)
    assert queries.errors(shelf.db, SPANS["thirty days"], where)
    shelf.db.set_trace_callback(None)
    plan = shelf.db.execute(f"EXPLAIN QUERY PLAN {said[0]}").fetchall()
    assert any("USING COVERING INDEX calls_failed" in row[3] for row in plan), plan
    shelf.close()


def test_keys_are_called_by_their_names(shelf: Shelf) -> None:
    got = queries.statistics(shelf.db, SPANS["thirty days"], Where(), "key", 20)
    assert {one["id"]: one["name"] for one in got["groups"]} == {
        "": "", "k1": "Ann", "k2": "Ben", "config:ci": "ci", "k3": "Zo\u00eb"}  # fmt: skip


def test_too_many_calls_to_look_at_are_cut_and_the_answer_says_since_when(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_ROWS", 500)
    span, where = SPANS["thirty days"], Where(stream=True)
    got = queries.statistics(shelf.db, span, where, "model", 20)
    newest = sorted((each.started_ms for each in chosen(shelf.calls, span, Where())), reverse=True)
    since = newest[500] + 1
    assert not got["is_whole"] and got["range"]["from"] == stamp(since)
    same(got["overall"], [each for each in chosen(shelf.calls, span, where) if each.started_ms >= since])
    assert queries.statistics(shelf.db, span, Where(), "model", 20)["is_whole"]


def test_an_empty_store_has_every_step_and_no_calls(shelves: Shelves) -> None:
    empty = shelves()
    span = SPANS["a day in hours"]
    for where in (Where(), Where(stream=True)):
        got = queries.statistics(empty.db, span, where, "model", 20)
        same(got["overall"], [])
        assert (got["groups"], got["errors"], got["recent_errors"]) == ([], [], [])
        assert len(queries.series(empty.db, span, where)["data"]) == 25
        assert queries.grouped_series(empty.db, span, where, "key", 8)["groups"] == []
    assert queries.find_page(empty.db, Page(), Where(), float)["items"] == []


def test_a_row_belongs_to_the_step_that_it_begins_in(shelves: Shelves) -> None:
    at = NOW_S // DAY_S * DAY_S * 1_000
    made = shelves([call(started_ms=at + later) for later in (-1, 0, 59_999, 60_000)])
    span = Span(at // 1_000 - 60, at // 1_000 + 120, 60)
    assert [one["calls"] for one in queries.series(made.db, span, Where())["data"]] == [1, 2, 1]
    assert [one["calls"] for one in queries.series(made.db, span, Where(protocol="openai"))["data"]] == [1, 2, 1]


def test_a_clock_that_went_backwards_does_no_harm(shelves: Shelves) -> None:
    made = shelves([call(started_ms=(NOW_S + 7_200) * 1_000), call(duration_ms=-5.0, first_ms=-1.0), call()], batch=1)
    got = queries.statistics(made.db, Span(NOW_S - 60, NOW_S + 60, 60), Where(), "model", 5)
    assert got["overall"]["calls"] == 2 and got["overall"]["latency_ms"]["p99"] is not None
    listed = queries.find_page(made.db, Page(), Where(), float)["items"]
    assert [one["id"] for one in listed] == [1, 3, 2]  # by their time, not by when they were written


@pytest.mark.parametrize("seed", range(20))
def test_a_span_in_parts_is_the_same_time_once(seed: int) -> None:
    rng = Random(seed)
    for _ in range(50):
        begin = rng.randrange(10 * DAY_S) // 60 * 60
        end = begin + rng.randrange(20 * DAY_S) // 60 * 60
        parts = sorted(split(begin, end, (DAY_S, HOUR_S, MINUTE_S)), key=lambda part: part.from_s)
        at = begin
        for part in parts:
            assert part.from_s == at < part.to_s and part.from_s % part.step_s == part.to_s % part.step_s == 0
            at = part.to_s
        assert at == end
        assert sum((part.to_s - part.from_s) // part.step_s for part in parts) <= 2 * (59 + 23) + 30


# -- lists


def ordered(calls: list[Call], page: Page, where: Where) -> list[int]:
    value = {"started_at": lambda each: each.started_ms, "duration_ms": lambda each: each.duration_ms,
             "total_tokens": lambda each: (each.input_tokens or 0) + (each.output_tokens or 0),
             "cost_usd": lambda each: -1 if each.cost_usd is None else each.cost_usd}[page.order]  # fmt: skip
    rows = [(value(each), number) for number, each in enumerate(calls, 1) if fits(where)(each)
            and (page.from_ms is None or each.started_ms >= page.from_ms)
            and (page.to_ms is None or each.started_ms < page.to_ms)]  # fmt: skip
    return [number for _, number in sorted(rows, reverse=page.is_descending)]


@pytest.mark.slow
@pytest.mark.parametrize("is_descending", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_pages_one_after_the_other_are_the_whole_list(
    shelf: Shelf, order: str, is_descending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "FIRST_CHUNK_ROWS", 150)
    monkeypatch.setattr(queries, "CHUNK_ROWS", 400)
    for where, begin in (
        (Where(), None),
        (Where(search="ann"), None),
        (Where(model="openai/gpt-x", status="error"), None),
        (Where(client="::1"), (NOW_S - DAY_S) * 1_000),
        (Where(search="nothing like it"), None),
    ):
        page, got = Page(limit=333, order=order, is_descending=is_descending, from_ms=begin), list[int]()
        want = ordered(shelf.calls, page, where)
        while True:
            answer = queries.find_page(shelf.db, page, where, float)
            got += [one["id"] for one in answer["items"]]
            assert (answer["total"], answer["total_is_exact"]) == (len(want), True)
            if answer["next"] is None:
                break
            page = page.after(answer["next"])
        assert got == want


@pytest.mark.parametrize("from_s, to_s", [
    (None, None), (-5 * DAY_S, None), (-5 * DAY_S - 7, -3 * DAY_S + 9), (-90 * DAY_S, -DAY_S // 3), (-60, None),
    (None, -7 * DAY_S), (-(NOW_S % DAY_S), None), (-DAY_S, -DAY_S), (None, -60 * DAY_S), (-30, 30 * DAY_S),
])  # fmt: skip
def test_a_page_says_how_many_calls_there_are_in_its_time(shelf: Shelf, from_s: int | None, to_s: int | None) -> None:
    bounds = [None if each is None else (NOW_S + each) * 1_000 for each in (from_s, to_s)]
    page = Page(limit=1, from_ms=bounds[0], to_ms=bounds[1])
    answer = queries.find_page(shelf.db, page, Where(), float)
    assert (answer["total"], answer["total_is_exact"]) == (len(ordered(shelf.calls, page, Where())), True)


def test_a_search_that_takes_too_long_is_gone_on_with(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "FIRST_CHUNK_ROWS", 100)
    monkeypatch.setattr(queries, "CHUNK_ROWS", 100)
    page, where, got, short = Page(limit=50), Where(search="Zo\u00eb", status="error"), list[int](), 0
    clock = iter(range(100_000))  # every look at it is a second later
    while True:
        answer = queries.find_page(shelf.db, page, where, lambda: float(next(clock)))
        got += [one["id"] for one in answer["items"]]
        if answer["next"] is None:
            break
        short += len(answer["items"]) < 50
        page = page.after(answer["next"])
    assert got == ordered(shelf.calls, Page(), where) and short > 10


@pytest.mark.slow
@pytest.mark.parametrize("where", [Where(), Where(protocol="gemini"), Where(search="k")], ids=str)
@pytest.mark.parametrize("offset", [0, 1, 149, 150, 151, 1_999, 5_999, 6_000, 9_999])
def test_an_offset_leaves_so_many_out(shelf: Shelf, offset: int, where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "FIRST_CHUNK_ROWS", 150)
    for order in ("started_at", "cost_usd"):
        page = Page(limit=70, offset=offset, order=order)
        got = [one["id"] for one in queries.find_page(shelf.db, page, where, float)["items"]]
        assert got == ordered(shelf.calls, page, where)[offset : offset + 70]


def test_what_is_too_much_to_count_or_to_sort_says_so(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "COUNTED_ROWS", 1_000)
    monkeypatch.setattr(queries, "SORTED_ROWS", 1_000)
    newest = sorted(shelf.calls, key=lambda each: each.started_ms, reverse=True)[:1_000]
    answer = queries.find_page(shelf.db, Page(order="duration_ms"), Where(stream=True), float)
    assert not answer["total_is_exact"] and answer["covers_from"] is not None
    assert abs(answer["total"] - sum(each.stream for each in newest)) <= 2  # several at the same time
    assert answer["items"][0]["duration_ms"] == max(each.duration_ms for each in newest if each.stream)
    assert queries.find_page(shelf.db, Page(), Where(), float)["total_is_exact"]


def test_a_call_is_found_by_its_id_and_by_its_request_id(shelf: Shelf) -> None:
    third = shelf.calls[2]
    assert queries.one(shelf.db, "3") == queries.one(shelf.db, third.request_id) == (3, third)
    assert view(3, third)["request_id"] == third.request_id
    for name in ("", "0", "-1", "9" * 18, "9" * 40, "x' OR 1=1 --", "\u0663"):
        assert queries.one(shelf.db, name) is None
