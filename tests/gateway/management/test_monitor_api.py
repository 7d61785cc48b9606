"""monitor_api: what its paths answer, what they refuse and how, exports row by row; over a store on disk, without a gateway."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from logged import NOW_S, Shelf, call, random_calls
from quick import every

from llm_router_gateway.errors import BadRequest, GatewayError, NotFound, Unavailable
from llm_router_gateway.management import monitor_api
from llm_router_gateway.management.metrics import Metrics
from llm_router_gateway.management.monitor_api import MonitorApi
from llm_router_gateway.net import caller
from llm_router_gateway.net.router import ManagementRequest, ManagementResponse, Router
from llm_router_gateway.store import queries
from llm_router_gateway.store.call import Call, texts, view
from llm_router_gateway.store.redaction import Bodies
from llm_router_gateway.store.sql_call_log import SqlCallLog
from llm_router_gateway.store.sqlite.database import Store

DAY_S = 86_400
MANY = 3_000


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    made = Shelf(tmp_path_factory.mktemp("shelf"), random_calls(3, MANY, 10 * DAY_S))
    yield made
    made.db.close()


def router_of(store: Any, **how: Any) -> Router:
    log = None if store is None else SqlCallLog(store)
    return Router(MonitorApi(log, Metrics(), now=lambda: NOW_S, **how).routes())


async def reply(router: Router, address: str) -> ManagementResponse:
    path, _, query = address.partition("?")
    route, args = router.find("GET", path)
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    request = ManagementRequest("GET", path, args, pairs, {}, None, "", caller.ANONYMOUS)
    return await route.handler(request)


async def body(answer: ManagementResponse) -> bytes:
    return b"".join([piece async for piece in answer.body]) if answer.is_stream else answer.body


def get(store: Any, address: str, **how: Any) -> bytes:
    async def run() -> bytes:
        return await body(await reply(router_of(store, **how), address))

    return asyncio.run(run())


def ask(store: Any, address: str) -> Any:
    return json.loads(get(store, address))


# -- what is answered


def test_calls_come_newest_first_and_page_by_page_to_the_last(shelf: Shelf) -> None:
    seen: list[dict[str, Any]] = []
    address = "monitor/invocations?limit=700"
    while True:
        answer = ask(shelf, address)
        assert set(answer) == {"items", "total", "total_is_exact", "limit", "offset", "next", "covers_from"}
        assert (answer["total"], answer["total_is_exact"], answer["limit"]) == (MANY, True, 700)
        seen += answer["items"]
        if answer["next"] is None:
            break
        address = "monitor/invocations?" + urlencode({"limit": 700, "before": answer["next"]})
    assert seen == [view(one["id"], shelf.calls[one["id"] - 1]) for one in seen] and len({one["id"] for one in seen}) == MANY
    assert [one["started_at"] for one in seen] == sorted((one["started_at"] for one in seen), reverse=True)


@pytest.mark.parametrize("order", every(3, ["cost_usd", "duration_ms", "total_tokens", "started_at"]))
@pytest.mark.parametrize("way", every(2, ["1", "0"]))
def test_a_cursor_survives_its_way_through_an_address(shelf: Shelf, order: str, way: str) -> None:
    query, seen = {"limit": "900", "order_by": order, "order_desc": way, "status": "success"}, []
    while True:
        answer = ask(shelf, "monitor/invocations?" + urlencode(query))
        seen += [one["id"] for one in answer["items"]]
        if answer["next"] is None:
            break
        query["before"] = answer["next"]
    assert sorted(seen) == [number for number, each in enumerate(shelf.calls, 1) if not each.error]


def test_one_call_has_its_texts_when_they_are_kept(tmp_path: Path) -> None:
    made = Shelf(tmp_path, [call(request_id="plain")])
    made.add([call(request_id="77", message="\u202e<script>")], Bodies(b'{"a": "caf\xc3\xa9"}', b"y" * 50, 20))
    plain, kept = ask(made, "monitor/invocations/plain"), ask(made, "monitor/invocations/77")
    assert plain["bodies"] == {"request": None, "response": None, "request_cut": False, "response_cut": False, "kept": False}
    assert kept["bodies"] == {"request": '{"a": "caf\u00e9"}', "response": "y" * 20, "request_cut": False, "response_cut": True,
                              "kept": True}  # fmt: skip
    assert kept == ask(made, "monitor/invocations/2") and kept["message"] == "\u202e<script>"
    assert get(made, "monitor/invocations/2").isascii()
    with pytest.raises(NotFound):
        ask(made, "monitor/invocations/none")
    made.db.close()


def test_statistics_and_series_of_the_same_range_are_the_same_calls(shelf: Shelf) -> None:
    for length, step_s in (("1h", 60), ("24h", 3_600), ("7d", 3_600), ("9d", 86_400)):
        whole, steps = ask(shelf, f"monitor/statistics?range={length}"), ask(shelf, f"monitor/time-series?range={length}")
        grouped = ask(shelf, f"monitor/grouped-time-series?range={length}&group_by=provider&limit=2")
        assert steps["step_s"] == step_s and whole["range"] == steps["range"] == grouped["range"]
        assert sum(one["calls"] for one in steps["data"]) == whole["overall"]["calls"]
        assert sum(one["calls"] for each in grouped["groups"] for one in each["data"]) == whole["overall"]["calls"]
        assert sum(one["calls"] for one in whole["groups"]) == whole["overall"]["calls"]
        assert [each["name"] for each in grouped["groups"]][2:] in ([], ["other"])
        assert whole["store"]["written"] == MANY


def test_a_range_is_widened_to_whole_steps_and_the_answer_says_so(shelf: Shelf) -> None:
    told = ask(shelf, "monitor/statistics?from=2026-10-21T05:17:30Z&to=2026-10-21T06:18:10%2B00:00")["range"]
    assert told == {"from": "2026-10-21T05:17:00Z", "to": "2026-10-21T06:19:00Z", "seconds": 62 * 60}
    told = ask(shelf, "monitor/statistics?from=2026-10-11T05:17:30&to=2026-10-20")["range"]
    assert told == {"from": "2026-10-11T05:00:00Z", "to": "2026-10-20T00:00:00Z", "seconds": 8 * 86_400 + 19 * 3_600}


def test_as_many_groups_are_shown_as_there_is_room_for(shelf: Shelf) -> None:
    for query, count in (("range=24h", 5), ("range=24h&granularity=minute", 2), ("range=10d&granularity=hour&limit=1", 2)):
        assert len(ask(shelf, f"monitor/grouped-time-series?{query}")["groups"]) == count


def test_old_names_mean_the_same(shelf: Shelf) -> None:
    for old, new in (("monitor/statistics?time_range_hours=24", "monitor/statistics?range=24h"),
                     ("monitor/invocations?status=SUCCESS", "monitor/invocations?status=success"),
                     ("monitor/invocations?status=Error&offset=10", "monitor/invocations?status=error&offset=10"),
                     ("monitor/invocations?start_time=2026-10-19&end_time=2026-10-20T01:00:00",
                      "monitor/invocations?from=2026-10-19T00:00:00Z&to=1792458000"),
                     ("monitor/invocations?model_name=gpt-x&provider_name=openai", "monitor/invocations?model=openai/gpt-x"),
                     ("monitor/invocations?key_id=k1", "monitor/invocations?key=k1")):  # fmt: skip
        assert ask(shelf, old) == ask(shelf, new), old
    assert ask(shelf, "monitor/invocations?key=")["total"] == sum(not each.key_id for each in shelf.calls)


def test_an_empty_store_answers_everywhere(tmp_path: Path) -> None:
    empty = Shelf(tmp_path)
    assert ask(empty, "monitor/invocations?search=x")["items"] == []
    assert ask(empty, "monitor/statistics")["overall"]["calls"] == 0
    assert len(ask(empty, "monitor/time-series?range=1h")["data"]) == 61
    assert ask(empty, "monitor/grouped-time-series")["groups"] == []
    assert get(empty, "monitor/export.jsonl") == b""
    assert get(empty, "monitor/export.csv").count(b"\n") == 1
    empty.db.close()


# -- what is refused

ANYWHERE = [
    ("x=1", "x"), ("range=0h", "range"), ("range=1w", "range"), ("range=401d", "range"), ("range=99999d", "range"),
    ("range=-1h", "range"),
    ("range=1h&from=2026-01-01", "range"), ("range=1h&time_range_hours=3", "range"), ("time_range_hours=0", "time_range_hours"),
    ("time_range_hours=9601", "time_range_hours"), ("time_range_hours=1e3", "time_range_hours"), ("from=yesterday", "from"),
    ("from=2026-02-30", "from"), ("from=-5", "from"), ("to=99999999999999", "to"), ("from=1960-01-01", "from"),
    ("from=nan", "from"),
    ("from=2026-10-02&to=2026-10-01", "from"), ("from=2026-10-01&to=2026-10-01", "from"), ("from=1&start_time=2", "start_time"),
    ("status=great", "status"), ("status=99", "status"), ("status=\u0663\u0663\u0663", "status"), ("protocol=soap", "protocol"),
    ("stream=perhaps", "stream"), ("search=" + "x" * 301, "search"), ("limit=0", "limit"), ("limit=1001", "limit"),
    ("limit=-1", "limit"),
    ("limit=\u0661", "limit"), ("limit=1.5", "limit"), ("limit=99999999999999999999", "limit"),
]  # fmt: skip
BY_PATH = [
    ("monitor/invocations?order_by=message", "order_by"), ("monitor/invocations?order_by=started_ms;drop", "order_by"),
    ("monitor/invocations?offset=10001", "offset"), ("monitor/invocations?offset=-1", "offset"),
    ("monitor/invocations?order_desc=down", "order_desc"), ("monitor/invocations?before=nonsense", "before"),
    ("monitor/invocations?before=started_at-1_2_3", "before"), ("monitor/invocations?before=duration_ms-1.5_3", "before"),
    ("monitor/invocations?before=started_at%2B1_3", "before"), ("monitor/invocations?before=started_at-nan_3", "before"),
    ("monitor/invocations?before=started_at-1_3&offset=5", "offset"), ("monitor/invocations?granularity=hour", "granularity"),
    ("monitor/invocations/1?limit=5", "limit"), ("monitor/statistics?group_by=client", "group_by"),
    ("monitor/statistics?limit=101", "limit"), ("monitor/statistics?from=2024-01-01&to=2026-01-01", "from"),
    ("monitor/statistics?from=2027-01-01", "from"), ("monitor/time-series?granularity=week", "granularity"),
    ("monitor/time-series?granularity=minute&range=400d", "granularity"),
    ("monitor/time-series?granularity=minute&from=2026-01-01&to=2026-01-02", "granularity"),
    ("monitor/time-series?granularity=hour&range=400d", "granularity"),
    ("monitor/grouped-time-series?granularity=minute&range=24h&limit=8", "granularity"),
    ("monitor/grouped-time-series?range=30d&granularity=day&limit=0", "limit"), ("monitor/export.csv?limit=5", "limit"),
    ("monitor/export.jsonl?before=started_at-1_3", "before"), ("metrics?x=1", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "name"), ANYWHERE)
@pytest.mark.parametrize("path", ["invocations", "statistics", "time-series", "grouped-time-series", "export.csv"])
def test_what_is_wrong_is_reported_by_its_name(shelf: Shelf, path: str, query: str, name: str) -> None:
    refused(shelf, f"monitor/{path}?{query}", name)


@pytest.mark.parametrize(("address", "name"), BY_PATH)
def test_what_a_path_does_not_take_is_reported_too(shelf: Shelf, address: str, name: str) -> None:
    refused(shelf, address, name)


def refused(shelf: Shelf, address: str, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        get(shelf, address)
    assert caught.value.status == 400 and caught.value.details["path"] == name
    assert caught.value.message.startswith(name) and len(caught.value.message) > len(name) + 10


@pytest.mark.parametrize("text", ["' OR 1=1 --", "x'); DROP TABLE calls; --", "%", "_", "!", "\x00", "\ud800", "*", "a/b/c"])
@pytest.mark.parametrize("name", ["model", "provider", "key", "error", "client", "search"])
def test_a_filter_is_a_text_and_never_a_query(shelf: Shelf, name: str, text: str) -> None:
    address = "?" + urlencode({name: text}, errors="surrogatepass")
    try:
        listed = ask(shelf, "monitor/invocations" + address)
        assert name == "search" or listed["items"] == []
        assert name == "search" or ask(shelf, "monitor/statistics" + address)["overall"]["calls"] == 0
    except GatewayError as error:
        assert error.status == 400
    assert ask(shelf, "monitor/invocations?limit=1")["total"] == MANY


def test_without_a_store_the_counters_are_there_and_the_rest_says_why() -> None:
    assert b"llm_router_open_requests 3\n" in get(None, "metrics", open_requests=lambda: 3)
    for path in ("invocations", "invocations/1", "statistics", "time-series", "grouped-time-series", "export.csv"):
        with pytest.raises(Unavailable, match="store"):
            get(None, f"monitor/{path}")


# -- exports


@pytest.mark.parametrize("query", every(3, ["?status=error", "", "?order_desc=0", "?search=ann&range=7d"]))
def test_an_export_holds_every_row_once(shelf: Shelf, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_api, "EXPORT_ROWS", 97)
    monkeypatch.setattr(queries, "SEARCH_S", 600.0)  # on a busy machine a search may give up before its page is full
    listed = ask(shelf, "monitor/invocations" + (query + "&" if query else "?") + "limit=1000")
    lines = [json.loads(line) for line in get(shelf, "monitor/export.jsonl" + query).splitlines()]
    assert lines[:1000] == listed["items"] and len({line["id"] for line in lines}) == len(lines) == listed["total"]
    rows = list(csv.DictReader(io.StringIO(get(shelf, "monitor/export.csv" + query).decode(), newline="")))
    assert [int(row["id"]) for row in rows] == [line["id"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert row["input_tokens"] == ("" if line["tokens"]["input"] is None else str(line["tokens"]["input"]))
        assert (row["model"], row["stream"], row["key_name"]) == (line["model"], str(int(line["stream"])), line["key_name"])


@pytest.mark.slow
def test_the_other_names_of_exports(shelf: Shelf) -> None:
    plain = get(shelf, "monitor/export.csv")
    assert get(shelf, "monitor/export/csv") == plain and get(shelf, "monitor/export/excel") == b"\xef\xbb\xbf" + plain
    assert get(shelf, "monitor/export/json") == get(shelf, "monitor/export.jsonl")
    answer = asyncio.run(reply(router_of(shelf), "monitor/export/excel"))
    assert dict(answer.headers)["content-type"] == "text/csv; charset=utf-8"
    assert dict(answer.headers)["content-disposition"] == 'attachment; filename="llm-router-calls.csv"'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "\uff1d1",
                                  '=cmd|"/c calc"!A1', "  @x"])  # fmt: skip
def test_no_cell_is_a_formula(text: str, tmp_path: Path) -> None:
    made = Shelf(tmp_path, [call(asked=text, message=text, key_name=text, failed=texts([text]), lost=texts([text, text]))])
    (row,) = csv.DictReader(io.StringIO(get(made, "monitor/export.csv").decode(), newline=""))
    for name in ("asked", "message", "key_name", "failed"):
        assert row[name] == "'" + text
    assert row["lost"] == f"'{text}; {text}"
    made.db.close()


@pytest.mark.parametrize("text", ['a"b', "a,b", "a\r\nb", "caf\u00e9", "x=1", "", "a\x00b"])
def test_other_cells_are_as_they_are(text: str, tmp_path: Path) -> None:
    made = Shelf(tmp_path, [call(message=text, cost_usd=-0.5)])
    (row,) = csv.DictReader(io.StringIO(get(made, "monitor/export.csv").decode(), newline=""))
    assert row["message"] == text and row["cost_usd"] == "-0.5"
    made.db.close()


def test_an_export_goes_on_while_calls_are_added_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_api, "EXPORT_ROWS", 10)
    made = Shelf(tmp_path, [call(started_ms=NOW_S * 1_000 + number) for number in range(100)])

    async def run() -> list[int]:
        found: list[int] = []
        answer = await reply(router_of(made), "monitor/export.jsonl")
        async for piece in answer.body:
            assert piece  # an empty piece would end the answer
            found += [json.loads(line)["id"] for line in piece.splitlines()]
            made.add([call(started_ms=(NOW_S + 9) * 1_000)])
        return found

    assert asyncio.run(run()) == list(range(100, 0, -1))
    made.db.close()


# -- over the real store


@pytest.mark.slow
def test_the_loop_is_never_held_up_and_memory_is_not_filled(tmp_path: Path) -> None:
    calls = [call(request_id=f"r{number}", started_ms=NOW_S * 1_000 - number) for number in range(20_000)]
    made = Shelf(tmp_path, calls, len(calls))
    made.db.close()
    store = Store.open(str(tmp_path / "calls.db"), now=NOW_S)
    waits: list[float] = []

    async def tick() -> None:
        while True:
            begun = time.thread_time()  # what others do on a busy machine does not count, nor what the reading thread does
            await asyncio.sleep(0.001)
            waits.append(time.thread_time() - begun)

    async def run() -> tuple[int, int]:
        ticking = asyncio.create_task(tick())
        answer = await reply(router_of(store), "monitor/export.csv")
        sizes = [len(piece) async for piece in answer.body]
        ticking.cancel()
        return max(sizes), sum(sizes)

    largest, whole = asyncio.run(run())
    store.close()
    assert largest < 200_000 < 2_000_000 < whole
    assert sorted(waits)[len(waits) // 2] < 0.05 and len(waits) > 20


def test_many_equal_questions_cost_one_answer_and_all_get_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = queries.statistics
    monkeypatch.setattr(queries, "statistics", lambda *words: asked.append(words) or real(*words))

    async def run() -> set[bytes]:
        now = [0.0]
        router = router_of(shelf, clock=lambda: now[0])
        answers = await asyncio.gather(*(reply(router, "monitor/statistics?range=7d") for _ in range(20)))
        assert len(asked) == 1
        now[0] = 3.0
        await reply(router, "monitor/statistics?range=7d")
        assert len(asked) == 2
        return {answer.body for answer in answers}

    assert len(asyncio.run(run())) == 1


def test_a_failure_is_not_remembered(shelf: Shelf) -> None:
    class Failing:
        left = 1
        add = None

        async def reading(self, function: Any) -> Any:
            self.left -= 1
            if self.left >= 0:
                raise Unavailable("the disk", code="store_unreadable")
            return function(shelf.db)

        def health(self) -> dict[str, Any]:
            return {}

    async def run() -> None:
        router = router_of(Failing())
        with pytest.raises(Unavailable):
            await reply(router, "monitor/statistics")
        assert json.loads((await reply(router, "monitor/statistics")).body)["overall"]["calls"] >= 0

    asyncio.run(run())


def test_a_stored_call_is_seen_after_the_flush(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "calls.db"), now=NOW_S)
    store.add(call())
    assert store.flush()

    async def run() -> Any:
        return json.loads((await reply(router_of(store), "monitor/statistics?range=1h")).body)

    answer = asyncio.run(run())
    store.close()
    assert answer["overall"]["calls"] == 1 and answer["groups"][0]["name"] == "openai/gpt-x"
    assert Call._make(call()) == call()
