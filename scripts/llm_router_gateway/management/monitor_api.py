"""The API of the monitor page, scripts and Prometheus: lists of calls, statistics, series, exports, counters.

    monitor = MonitorApi(call_log, metrics, open_requests=lambda: gateway.open, members=lambda: [...], version="1.0")
    Router([*monitor.routes(), ...])

Every parameter is checked; an invalid one is named with what is allowed. All reading is done beside
the loop, and the JSON is written there too; the loop passes bytes on. An export is read in small pieces, each asked for when
the one before it has gone out.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..errors import BadRequest, NotFound, Unavailable
from ..net.router import MONITOR, ManagementRequest, ManagementResponse, Route
from ..store.call_log import CallLog
from ..store.query import BY, DAY_S, HOUR_S, LABELS, MINUTE_S, MINUTES_KEPT_S, ORDERS, OUTCOMES, Cursor, Page, Span, Where
from ..store.replicas import Replica, summary
from ..wire.registry import SPECS
from .metrics import CONTENT_TYPE, Gauges, Metrics

MAX_RANGE_S = 400 * DAY_S
MAX_TIME_S = 253_402_300_800  # the year 10000
MAX_LIMIT, MAX_GROUPS = 1_000, 100
GROUPS = 8  # of grouped series, when no limit is given and they are not too long
MAX_OFFSET = 10_000  # above it a cursor is quicker, and misses nothing
MAX_TEXT = 300  # characters of a filter
MAX_POINTS = 3_000  # of one series
MAX_ALL_POINTS = 3_000  # of grouped series together
MINUTES_UP_TO_S, HOURS_UP_TO_S = 6 * HOUR_S, 8 * DAY_S  # granularity=auto
EXPORT_ROWS = 250  # of one piece: some milliseconds of a thread
SAME_S = 2.0  # for so long the same question has the same answer
MAX_SAME = 64
STEPS = {"minute": MINUTE_S, "hour": HOUR_S, "day": DAY_S}
UNITS = {"m": MINUTE_S, "h": HOUR_S, "d": DAY_S}
OLD_NAMES = {"start_time": "from", "end_time": "to", "model_name": "model", "provider_name": "provider", "key_id": "key"}
FILTERS = frozenset({"model", "provider", "key", "status", "error", "protocol", "stream", "client", "search", "tag", "user"})
TIMES = frozenset({"from", "to", "range", "time_range_hours"})
RANGE = re.compile(r"([1-9]\d{0,5})([mhd])", re.A)
WHOLE = re.compile(r"\d{1,9}", re.A)
SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.A)
OFFSET_LOST = re.compile(r"(T[\d:.]+) (\d\d:?\d\d)", re.A)  # a plus sign that was not escaped
CURSOR = re.compile(r"([a-z_]+)([-+])(-?\d{1,20}(?:\.\d{1,20})?(?:e[-+]?\d{1,3})?)_(\d{1,18})", re.A)
FORMULA = re.compile(r"[\t\r\n]|\s*[=+@\uff1d\uff0b\uff0d\uff20-]")  # what spreadsheets compute, in any width
TRUE, FALSE = ("1", "true", "yes"), ("0", "false", "no")
PRIVATE = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
JSON_HEADERS = [("content-type", "application/json"), *PRIVATE]
BOM = "\ufeff"
CSV_COLUMNS = (
    "id", "request_id", "started_at", "first_output_ms", "duration_ms", "kind", "protocol", "upstream_protocol", "stream",
    "asked", "served", "provider", "model", "attempts", "failed", "status", "error", "message", "ended", "finish",
    "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "total_tokens", "cost_usd",
    "cost_source", "key_id", "key_name", "client", "lost", "tags", "end_user",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ parameters (pure)


def bad_parameter(name: str, text: str) -> BadRequest:
    return BadRequest(f"{name} {text}", details={"path": name})


def read_query(query: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """The parameters by their names of today; none that is unknown, none twice, nothing endless. Empty ones are left out."""
    found: dict[str, str] = {}
    known = frozenset(allowed)
    for given, value in query.items():
        name = OLD_NAMES.get(given, given)
        if name not in known:
            raise bad_parameter(given[:50], f"is not a parameter of this path; use {', '.join(sorted(known))}")
        if name in found:
            raise bad_parameter(given, f"is the same as {name}, which is also given")
        if len(value) > MAX_TEXT:
            raise bad_parameter(given, f"is longer than {MAX_TEXT} characters")
        if value or name == "key":  # an empty key: calls without one
            found[name] = value
    return found


def read_integer(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not WHOLE.fullmatch(text) or not low <= int(text) <= high:
        raise bad_parameter(name, f"must be a whole number from {low} to {high}")
    return int(text)


def read_choice(query: Mapping[str, str], name: str, default: str, allowed: Iterable[str]) -> str:
    text = query.get(name, default)
    if text not in (names := tuple(allowed)):
        raise bad_parameter(name, f"must be one of {', '.join(names)}")
    return text


def read_flag(query: Mapping[str, str], name: str, default: bool | None) -> bool | None:
    text = query.get(name, "").lower()
    if not text:
        return default
    if text not in TRUE + FALSE:
        raise bad_parameter(name, "must be 1 or 0")
    return text in TRUE


def read_time(text: str, name: str) -> float:
    """Unix seconds: read_time("2026-10-21T07:28:00Z", "from"), read_time("1792567680", "from"). Without a zone: UTC."""
    if SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            at = datetime.fromisoformat(OFFSET_LOST.sub(r"\1+\2", text))
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise bad_parameter(name, "is not a time: write 2026-10-21T07:28:00Z, a date, or Unix seconds") from None
    if not 0 <= seconds < MAX_TIME_S:
        raise bad_parameter(name, "must be between the years 1970 and 9999")
    return seconds


def read_times(query: Mapping[str, str], now: float) -> tuple[float | None, float | None, bool]:
    """(from, to, whether they were given as such and not as a range that ends now)."""
    ranges = [name for name in ("range", "time_range_hours") if name in query]
    if ranges and ("from" in query or "to" in query or len(ranges) > 1):
        raise bad_parameter(ranges[0], "and from, to exclude each other")
    if "range" in query:
        match = RANGE.fullmatch(query["range"])
        length_s = int(match[1]) * UNITS[match[2]] if match else 0
        if not 0 < length_s <= MAX_RANGE_S:
            raise bad_parameter("range", "must be a number followed by m, h or d, up to 400d: 1h, 24h, 7d, 30d")
        return now - length_s, None, False
    if "time_range_hours" in query:
        return now - read_integer(query, "time_range_hours", 1, 1, MAX_RANGE_S // HOUR_S) * HOUR_S, None, False
    begin, end = (read_time(query[name], name) if name in query else None for name in ("from", "to"))
    if begin is not None and end is not None and begin >= end:
        raise bad_parameter("from", "must be before to")
    return begin, end, begin is not None or end is not None


def read_span(query: Mapping[str, str], now: float, granularity: str = "auto") -> Span:
    """Whole steps that cover the requested time; the last day by default."""
    begin, end, is_given = read_times(query, now)
    to_s = now if end is None else end
    from_s = max(0.0, to_s - DAY_S) if begin is None else begin
    if from_s >= to_s:
        raise bad_parameter("from", "must be in the past" if end is None else "must be before to")
    if to_s - from_s > MAX_RANGE_S:
        raise bad_parameter("from" if is_given else "range", "and to must not be further apart than 400 days")
    has_minutes = from_s >= now - MINUTES_KEPT_S + MINUTE_S
    if granularity == "auto":
        length_s = to_s - from_s
        is_short = length_s <= MINUTES_UP_TO_S and has_minutes
        granularity = "minute" if is_short else "hour" if length_s <= HOURS_UP_TO_S else "day"
    if granularity == "minute" and not has_minutes:
        raise bad_parameter("granularity", f"minute covers the last {MINUTES_KEPT_S // HOUR_S} hours; use hour or day")
    step_s = STEPS[granularity]
    first_s = int(from_s // step_s) * step_s
    last_s = int(now // step_s + 1) * step_s if end is None else int(-(-to_s // step_s)) * step_s  # now is in its step
    return Span(first_s, max(last_s, first_s + step_s), step_s)


def read_where(query: Mapping[str, str]) -> Where:
    status = query.get("status", "").lower()
    if status and status not in OUTCOMES and not (WHOLE.fullmatch(status) and 100 <= int(status) <= 999):
        raise bad_parameter("status", f"must be {', '.join(OUTCOMES)}, or a status such as 429")
    return Where(
        model=query.get("model", ""), provider=query.get("provider", ""), key=query.get("key", ""), has_key="key" in query,
        status=status, error=query.get("error", ""), client=query.get("client", ""), search=query.get("search", ""),
        protocol=read_choice(query, "protocol", "", ("", *SPECS)), stream=read_flag(query, "stream", None),
        tag=query.get("tag", ""), user=query.get("user", ""),
    )  # fmt: skip


def read_page(query: Mapping[str, str], now: float) -> Page:
    begin, end, _ = read_times(query, now)
    order = read_choice(query, "order_by", "started_at", ORDERS)
    is_descending = read_flag(query, "order_desc", True) is not False
    offset = read_integer(query, "offset", 0, 0, MAX_OFFSET)
    if offset and "before" in query:
        raise bad_parameter("offset", "and before exclude each other")
    return Page(
        limit=read_integer(query, "limit", 50, 1, MAX_LIMIT), offset=offset, order=order, is_descending=is_descending,
        from_ms=None if begin is None else -int(-begin * 1_000 // 1), to_ms=None if end is None else -int(-end * 1_000 // 1),
        before=read_cursor(query["before"], order, is_descending) if "before" in query else None,
    )  # fmt: skip


def cursor_text(cursor: Cursor | None, page: Page) -> str | None:
    """The cursor of the next page, as the caller sends it back."""
    return None if cursor is None else f"{page.order}{'-' if page.is_descending else '+'}{cursor[0]!r}_{cursor[1]}"


def read_cursor(text: str, order: str, is_descending: bool) -> Cursor:
    text = text.replace(" ", "+", 1)  # a plus sign that was not escaped
    match = CURSOR.fullmatch(text)
    if not match or (match[1], match[2]) != (order, "-" if is_descending else "+"):
        raise bad_parameter("before", "is not a cursor of this list: use the `next` of a response to the same query")
    return float(match[3]) if "." in match[3] or "e" in match[3] else int(match[3]), int(match[4])


# -------------------------------------------------------------------------------------------------------- writing (pure)


def dump_ascii(value: object) -> bytes:
    """JSON in ASCII: names chosen by callers cannot control a terminal."""
    return json.dumps(value, separators=(",", ":")).encode()


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: harmless("=1+1") -> "'=1+1"."""
    return "'" + text if FORMULA.match(text) else text


def cells(call: Mapping[str, Any]) -> list[Any]:
    tokens = call["tokens"]
    row = [tokens[name.removesuffix("_tokens")] if name.endswith("_tokens") else call[name] for name in CSV_COLUMNS]
    texts = ["; ".join(map(str, cell)) if isinstance(cell, list) else cell for cell in row]
    return [harmless(cell) if isinstance(cell, str) else int(cell) if isinstance(cell, bool) else cell for cell in texts]


def as_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(map(cells, rows))
    return out.getvalue().encode("utf-8", "backslashreplace")


def as_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(dump_ascii(row) + b"\n" for row in rows)


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing all rows."""

    content_type: str
    name: str
    head: bytes
    write: Callable[[Iterable[Mapping[str, Any]]], bytes]

    def headers(self) -> list[tuple[str, str]]:
        return [("content-type", self.content_type), ("content-disposition", f'attachment; filename="{self.name}"'), *PRIVATE]


HEAD = (",".join(CSV_COLUMNS) + "\r\n").encode()
LINES = Format("application/x-ndjson", "llm-router-calls.jsonl", b"", as_lines)
PLAIN_CSV = Format("text/csv; charset=utf-8", "llm-router-calls.csv", HEAD, as_csv)
EXCEL_CSV = Format("text/csv; charset=utf-8", "llm-router-calls.csv", BOM.encode() + HEAD, as_csv)


# ---------------------------------------------------------------------------------------------------------- the routes


class MonitorApi:
    """The routes. `log` None: calls are not stored, which the errors say; the counters work all the same."""

    def __init__(
        self, log: CallLog | None, metrics: Metrics, *, open_requests: Callable[[], int] = lambda: 0,
        members: Callable[[], Iterable[Mapping[str, Any]]] = tuple, version: str = "",
        telemetry: Callable[[], Mapping[str, int]] = dict,
        now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
        replicas: Callable[[], Sequence[Replica]] = tuple, shared: Callable[[], Mapping[str, Any]] = dict,
        workers: Callable[[], Mapping[str, int]] = dict,
    ) -> None:  # fmt: skip
        """`shared`: what several gateways share, and whether its engine answers; {} where nothing is shared."""
        self.metrics, self._shared = metrics, shared
        self._replicas, self._workers = replicas, workers
        self._log, self._open, self._members, self._version = log, open_requests, members, version
        self._now, self._clock, self._telemetry = now, clock, telemetry
        self._started_at = now()
        self._same: dict[tuple[Any, ...], tuple[float, asyncio.Task[bytes]]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("GET", "monitor/invocations", self._invocations),
            Route("GET", "monitor/invocations/{id}", self._invocation),
            Route("GET", "monitor/statistics", self._statistics, MONITOR),
            Route("GET", "monitor/time-series", self._time_series, MONITOR),
            Route("GET", "monitor/grouped-time-series", self._grouped, MONITOR),
            Route("GET", "monitor/export.csv", partial(self._export, PLAIN_CSV)),
            Route("GET", "monitor/export.jsonl", partial(self._export, LINES)),
            Route("GET", "monitor/export/csv", partial(self._export, PLAIN_CSV)),
            Route("GET", "monitor/export/json", partial(self._export, LINES)),
            Route("GET", "monitor/export/excel", partial(self._export, EXCEL_CSV)),
            Route("GET", "monitor/replicas", self._list_replicas),
            Route("GET", "metrics", self._metrics, MONITOR),
        ]

    # -- reading

    @property
    def _there(self) -> CallLog:
        if self._log is None:
            raise Unavailable('calls are not stored: the configuration has store = "off"', code="store_off")
        return self._log

    async def _once(self, request: ManagementRequest, read: Callable[[], Coroutine[Any, Any, bytes]]) -> ManagementResponse:
        """Shares one result among equal requests within a short time: many open pages cost no more than one."""
        now, key = self._clock(), (request.path, *sorted(request.query.items()))
        known = self._same.get(key)
        if known is None or not 0 <= now - known[0] < SAME_S:
            self._same = {each: (at, task) for each, (at, task) in self._same.items() if now - at < SAME_S or not task.done()}
            known = (now, asyncio.ensure_future(read()))
            if len(self._same) < MAX_SAME:
                self._same[key] = known
        try:
            return ManagementResponse(await asyncio.shield(known[1]), headers=list(JSON_HEADERS))
        except Exception:
            self._same.pop(key, None)
            raise

    # -- the answers

    async def _invocations(self, request: ManagementRequest) -> ManagementResponse:
        query = read_query(request.query, FILTERS | TIMES | {"limit", "offset", "before", "order_by", "order_desc"})
        page, where, log = read_page(query, self._now()), read_where(query), self._there

        def write_page(found: Mapping[str, Any]) -> bytes:
            return dump_ascii({**found, "next": cursor_text(found["next"], page)})

        return await self._once(request, lambda: log.calls(page, where, write=write_page))

    async def _invocation(self, request: ManagementRequest) -> ManagementResponse:
        read_query(request.query, ())
        name = request.args["id"]
        data = await self._there.call(name, write=dump_ascii)
        if data is None:
            raise NotFound(f"no call has the id {name[:100]}; it may no longer be kept")
        return ManagementResponse(data, headers=list(JSON_HEADERS))

    async def _statistics(self, request: ManagementRequest) -> ManagementResponse:
        query = read_query(request.query, FILTERS | TIMES | {"group_by", "limit"})
        by, limit = read_choice(query, "group_by", "model", BY), read_integer(query, "limit", 20, 1, MAX_GROUPS)
        span, where, log = self._statistics_span(query, by), read_where(query), self._there
        health = log.health()
        if self._replicas():
            health = {**health, "replicas": summary(self._replicas())}
        more = {"store": health, **({"shared": shared} if (shared := self._shared()) else {})}
        return await self._once(
            request, lambda: log.summary(span, where, by, limit, write=lambda found: dump_ascii({**found, **more}))
        )

    def _statistics_span(self, query: Mapping[str, str], by: str) -> Span:
        """The span of the same query's series; with from and to, steps of an hour at the most. Of labels, days from two on."""
        span = read_span(query, self._now())
        if (by in LABELS or "tag" in query or "user" in query) and span.to_s - span.from_s >= 2 * DAY_S:
            return read_span(query, self._now(), "day")
        if span.step_s == DAY_S and ("from" in query or "to" in query):
            return read_span(query, self._now(), "hour")
        return span

    async def _time_series(self, request: ManagementRequest) -> ManagementResponse:
        query = read_query(request.query, FILTERS | TIMES | {"granularity"})
        span, where, log = self._series_span(query, 1), read_where(query), self._there
        names = {"granularity": name_of(span)}
        return await self._once(request, lambda: log.series(span, where, write=lambda found: dump_ascii({**names, **found})))

    async def _grouped(self, request: ManagementRequest) -> ManagementResponse:
        query = read_query(request.query, FILTERS | TIMES | {"granularity", "group_by", "limit"})
        by, limit = read_choice(query, "group_by", "model", BY), read_integer(query, "limit", 0, 1, MAX_GROUPS)
        span, where, log = self._series_span(query, limit + 1), read_where(query), self._there
        limit = limit or max(1, min(GROUPS, MAX_ALL_POINTS // len(span.steps()) - 1))
        names = {"granularity": name_of(span), "group_by": by}
        return await self._once(
            request, lambda: log.grouped_series(span, where, by, limit, write=lambda found: dump_ascii({**names, **found}))
        )

    def _series_span(self, query: Mapping[str, str], count: int) -> Span:
        span = read_span(query, self._now(), read_choice(query, "granularity", "auto", ("auto", *STEPS)))
        points = len(span.steps())
        if points > MAX_POINTS or points * count > MAX_ALL_POINTS:
            most = min(MAX_POINTS, MAX_ALL_POINTS // count)
            raise bad_parameter("granularity" if "granularity" in query else "limit",
                        f"makes {points} steps for each of {count} series; at most {most}: take larger steps, a shorter range"
                        f"{' or a smaller limit' if count > 1 else ''}")  # fmt: skip
        return span

    async def _export(self, form: Format, request: ManagementRequest) -> ManagementResponse:
        query = read_query(request.query, FILTERS | TIMES | {"order_desc"})
        page, where = read_page({**query, "limit": str(EXPORT_ROWS)}, self._now()), read_where(query)
        return ManagementResponse(self._pieces(form, page, where, self._there), headers=form.headers())

    async def _pieces(self, form: Format, page: Page, where: Where, log: CallLog) -> AsyncIterator[bytes]:
        """All rows, some at a time, from one to the next by the time and the id of the last."""
        head = form.head
        while True:
            data, go_on = await log.export(page, where, write=form.write)
            if head or data:
                yield head + data
            if go_on is None:
                return
            head, page = b"", page.after(go_on)

    async def _list_replicas(self, request: ManagementRequest) -> ManagementResponse:
        """The gateways on the same database, this one first; none if there is no such database."""
        read_query(request.query, ())
        known = self._replicas()
        lines = [each.line() for each in known]
        return ManagementResponse({"items": lines, **summary(known)}, headers=list(PRIVATE))

    async def _metrics(self, request: ManagementRequest) -> ManagementResponse:
        read_query(request.query, ())
        health = {} if self._log is None else self._log.health()
        gauges = Gauges(self._open(), self._members(), health, self._telemetry(), self._version, self._started_at,
                        summary(self._replicas()), self._shared(), self._workers())  # fmt: skip
        text = self.metrics.render(gauges).encode("utf-8", "replace")
        return ManagementResponse(text, headers=[("content-type", CONTENT_TYPE), *PRIVATE])


def name_of(span: Span) -> str:
    return next(name for name, step_s in STEPS.items() if step_s == span.step_s)
