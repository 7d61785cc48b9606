"""Queries over the call log: sums, groups, series, percentiles, lists of calls. SQL in, values out; the clock is an argument.

`db` is a connection to SQLite, or what executes the same statements on another engine and has its `Dialect`.

    statistics(db, Span(from_s, to_s, step_s), Where(model="openai/gpt-x"), by="key", limit=20)   -> overall, groups, errors
    series(db, span, where)                    -> [{"at": "2026-10-21T07:00:00Z", **STATS}, ...]   every step, empty ones too
    grouped_series(db, span, where, "model", 8)
    find_page(db, Page(...), where)                -> a page of calls, their number, the cursor of what comes next

Sums of tags and end users are in `label_sums`, a row for each day: whole days are read there, anything else from calls.
Sums are read from `rollups` (model and key together) and `totals` (all, each model, each key), which hold a row for each
minute, hour and day: a million calls are some hundred rows. What they do not know (status, client, text, ...) is read from
the newest MAX_ROWS calls of the range; the answer says where it begins. Every value from outside is a parameter.

Latency percentiles are `histogram`'s, right to 5 %; those are of successes, as `call.is_timed` says.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import add, sub
from typing import Any

from . import histogram
from .call import CLIENT_GONE, COLUMNS, PROVIDER_4XX, REFUSED, SUMS, Call, stamp, view
from .query import DAY_S, LABELS, SEARCH_S, Cursor, Page, Span, Where
from .rollups import ALL, STEPS_S

MAX_ROWS = 40_000  # calls that are looked at for what the sums do not know
SORTED_ROWS = 150_000  # calls that are put into another order than that of time
COUNTED_ROWS = 50_000  # calls that are looked at to count those that fit
CHUNK_ROWS = 20_000  # calls of one step of a search; between two of them the time is looked at
FIRST_CHUNK_ROWS = 2_000
MAX_ERRORS = 20  # kinds of errors in an answer
COUNTED_ERRORS = 200_000
RECENT_ERRORS = 5
NAMED_CALLS = 3_000  # key names are taken from the newest calls
PERCENTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
# call.is_caller_error, of those that failed.
BY_CALLER = (f"(ended = '{REFUSED}' OR (status BETWEEN 400 AND 499 AND "
             f"(attempts = 0 OR status NOT IN ({', '.join(map(str, PROVIDER_4XX))}))))")  # fmt: skip
FAILED = "error <> '' AND error <> ?"
OUTCOME_SQL = {"success": "error = ''", "error": FAILED, "caller_error": f"{FAILED} AND {BY_CALLER}",
               "provider_error": f"{FAILED} AND NOT {BY_CALLER}", CLIENT_GONE: "error = ?"}  # fmt: skip
SEARCHED = ("request_id", "asked", "served", "key_name", "error", "message", "client", "end_user", "tags")

# The same numbers as `call.counts_of` makes of one call, for the calls of a query.
TIMED = "error = '' AND kind <> 'count'"
OF_CALLS = (
    "count(*)", "count(CASE WHEN error = '' THEN 1 END)",
    f"count(CASE WHEN error <> '' AND ended <> '{CLIENT_GONE}' THEN 1 END)",
    f"count(CASE WHEN error <> '' AND ended = '{CLIENT_GONE}' THEN 1 END)", "total(input_tokens)", "total(output_tokens)",
    "total(cached_tokens)", "total(cache_write_tokens)", "total(reasoning_tokens)", "total(cost_usd)",
    f"count(CASE WHEN {TIMED} AND cost_usd IS NULL THEN 1 END)", f"count(CASE WHEN {TIMED} THEN 1 END)",
    f"total(CASE WHEN {TIMED} THEN duration_ms END)", f"count(CASE WHEN {TIMED} THEN first_ms END)",
    f"total(CASE WHEN {TIMED} THEN first_ms END)",
    f"count(CASE WHEN error <> '' AND ended <> '{CLIENT_GONE}' AND {BY_CALLER} THEN 1 END)",
)  # fmt: skip
OF_SUMS = tuple(f"total({name})" for name in SUMS)
NAME_OF = {"": "''", "model": "provider || '/' || model", "provider": "provider", "key": "key_id"}
NAME_OF_CALLS = {**NAME_OF, "tag": "label.value", "user": "end_user"}

MIDDLES = [round(histogram.middle(number), 3) for number in range(histogram.LAST_BIN + 1)]
NO_TIMES: dict[str, float | None] = {"mean": None, **{name: None for name, _ in PERCENTILES}}

Row = Sequence[Any]


# --------------------------------------------------------------------------------------------------------- the engines


@dataclass(frozen=True, slots=True)
class Summed:
    """What a query sums up: the rows of a table in a span, by a name and, if so, by its steps."""

    table: str
    part: Span
    stored_s: int  # the step of the rows, which may be smaller than that of the span
    by: str  # the expression of the name
    each_step: bool
    condition: str
    values: Sequence[Any]

    @property
    def at(self) -> str:
        if not self.each_step:
            return "0"
        return "at_s" if self.stored_s == self.part.step_s else f"at_s / {self.part.step_s} * {self.part.step_s}"

    @property
    def bounded(self) -> str:
        return f"step_s = ? AND at_s >= ? AND at_s < ? AND {self.condition}"

    @property
    def bounds(self) -> list[Any]:
        return [self.stored_s, self.part.from_s, self.part.to_s, *self.values]


@dataclass(frozen=True, slots=True)
class Dialect:
    """In what an engine's SQL and tables differ from SQLite's."""

    bin_of: Callable[[Any, str], str]  # histogram.bin_of of a column
    spreads: Callable[[Any, Summed], Iterable[tuple[str, int, int, int]]]
    like: str = "LIKE"  # whatever the case of letters
    pair_steps: tuple[int, ...] = STEPS_S  # of the sums of a model and a key together
    has_key_index: bool = False  # calls of one key are found without looking at others
    tags: str = "json_each(calls.tags)"  # a row for each tag of a call, in the column `value`
    count: Callable[[Any, Page], int] = lambda db, page: count_rows(db, page)  # the calls within a page's bounds


def bin_of(db: Any, column: str) -> str:
    """histogram.bin_of in SQL; SQLite may be built without logarithms."""
    try:
        db.execute("SELECT ln(2.0)")
    except Exception:
        db.create_function("ln", 1, math.log, deterministic=True)
    growth = math.log(histogram.RATIO)
    return (f"CASE WHEN {column} > 1.0 THEN min({histogram.LAST_BIN}, CAST(ln({column}) / {growth!r} + 1e-9 AS INTEGER)) "
            "ELSE 0 END")  # fmt: skip


def spreads_of_rows(db: Any, summed: Summed) -> Iterator[tuple[str, int, int, int]]:
    """(name, step, how durations are spread, how first outputs are), as whole numbers."""
    sql = f"SELECT {summed.by}, {summed.at}, duration_bins, first_bins FROM {summed.table} WHERE {summed.bounded}"  # nosec B608
    for named, at_s, durations, firsts in db.execute(sql, summed.bounds):
        yield named, at_s, histogram.number_of(durations), histogram.number_of(firsts)


SQLITE = Dialect(bin_of, spreads_of_rows)


def dialect_of(db: Any) -> Dialect:
    """SQLite's own connections have no attribute for it."""
    found: Dialect = getattr(db, "dialect", SQLITE)
    return found


# ------------------------------------------------------------------------------------------------------- conditions


def names_condition(where: Where) -> tuple[str, list[Any]]:
    """The condition on provider, model and key; "" when there is none."""
    parts, values = [], []
    if where.model:
        provider, slash, model = where.model.partition("/")
        parts.append("(model = ? OR (provider = ? AND model = ?))" if slash else "model = ?")
        values += [where.model, provider, model] if slash else [where.model]
    if where.provider:
        parts.append("provider = ?")
        values.append(where.provider)
    if where.key or where.has_key:
        parts.append("key_id = ?")
        values.append(where.key)
    return " AND ".join(parts), values


def calls_condition(db: Any, where: Where) -> tuple[str, list[Any]]:
    """The whole condition on calls, behind another one: "" or " AND ..."."""
    condition, values = names_condition(where)
    parts = [condition] if condition else []
    if where.status in OUTCOME_SQL:
        parts.append(OUTCOME_SQL[where.status])
        values += [CLIENT_GONE] if "?" in OUTCOME_SQL[where.status] else []
    elif where.status:
        parts.append("status = ?")
        values.append(int(where.status))
    for name, value in (("error", where.error), ("protocol", where.protocol), ("client", where.client),
                        ("end_user", where.user)):  # fmt: skip
        if value:
            parts.append(f"{name} = ?")
            values.append(value)
    if where.tag:
        parts.append(f"EXISTS (SELECT 1 FROM {dialect_of(db).tags} AS label WHERE label.value = ?)")  # nosec B608
        values.append(where.tag)
    if where.stream is not None:
        parts.append("stream = ?")
        values.append(int(where.stream))
    if where.search:
        parts.append("(" + " OR ".join(f"{name} {dialect_of(db).like} ? ESCAPE '!'" for name in SEARCHED) + ")")
        values += [like(where.search)] * len(SEARCHED)
    return "".join(f" AND {part}" for part in parts), values


def like(text: str) -> str:
    """like("50%") -> "%50!%%": the text anywhere, and nothing in it is a sign."""
    return "%" + text.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"


# ------------------------------------------------------------------------------------------------------------- sums


@dataclass(slots=True)
class Tally:
    """What is known of some calls: the numbers of SUMS, and how their times are spread."""

    numbers: Sequence[float]
    durations: int = 0  # histogram.number_of
    firsts: int = 0

    def without(self, others: Iterable[Tally]) -> Tally:
        """What is left when the calls of others, which are among these, are taken away."""
        numbers = list(self.numbers)
        durations, firsts = self.durations, self.firsts
        for other in others:
            numbers = list(map(sub, numbers, other.numbers))
            durations, firsts = durations - other.durations, firsts - other.firsts
        if not numbers[0]:  # calls
            return nothing()
        return Tally([max(0, number) for number in numbers], max(0, durations), max(0, firsts))

    def plus(self, other: Tally) -> Tally:
        return Tally(list(map(add, self.numbers, other.numbers)), self.durations + other.durations, self.firsts + other.firsts)

    def stats(self) -> dict[str, Any]:
        """STATS as JSON. Rates without calls are 0, times without times null."""
        (calls, success, failed, gone, tokens_in, tokens_out, cached, _, reasoning, cost_usd, unpriced, timed, duration_ms,
         firsts, first_ms, by_caller) = self.numbers  # fmt: skip
        judged = success + failed
        return {
            "calls": int(calls), "success": int(success), "errors": int(failed), "caller_errors": int(by_caller),
            "client_gone": int(gone),
            "error_rate": round(failed / judged, 6) if judged else 0.0, "input_tokens": int(tokens_in),
            "output_tokens": int(tokens_out), "cached_tokens": int(cached), "reasoning_tokens": int(reasoning),
            "total_tokens": int(tokens_in + tokens_out), "cost_usd": round(cost_usd, 9), "unpriced_calls": int(unpriced),
            "latency_ms": times(duration_ms, timed, self.durations), "first_output_ms": times(first_ms, firsts, self.firsts),
        }  # fmt: skip


def nothing() -> Tally:
    return Tally((0,) * len(SUMS))


def times(total_ms: float, count: float, bins: int) -> dict[str, float | None]:
    """Mean and percentiles; a percentile is the middle of the bin that it falls into, all in one pass."""
    if not count:
        return NO_TIMES
    spread = bins.to_bytes((bins.bit_length() + 31) // 32 * 4, "little")
    counts = struct.unpack(f"<{len(spread) // 4}I", spread)
    below = list(accumulate(counts))
    all_ = below[-1] if below else 0
    found: dict[str, float | None] = {"mean": round(total_ms / count, 3)}
    for name, share in PERCENTILES:
        found[name] = MIDDLES[bisect_left(below, max(1, math.ceil(share * all_)))] if all_ else None
    return found


def is_of_pairs(where: Where, by: str) -> bool:
    """Whether the sums of a model and a key together are needed."""
    return bool(where.model or where.provider or by in ("model", "provider")) and bool(
        where.key or where.has_key or by == "key"
    )


def has_sums(db: Any, span: Span, where: Where, by: str) -> bool:
    """Whether stored sums can answer a query; those of labels are of whole days."""
    if span.since_ms:
        return False
    if where.of_sums and by not in LABELS:
        return span.step_s >= min(dialect_of(db).pair_steps) or not is_of_pairs(where, by)
    is_of_days = not (span.from_s % DAY_S or span.to_s % DAY_S) and span.step_s == DAY_S
    return bool(where.of_labels(by)) and is_of_days


def source(where: Where, by: str) -> tuple[str, str, list[Any]]:
    """The table that has the sums, and the condition on its rows."""
    label = where.of_labels(by)
    if label:
        named = where.tag or where.user
        return "label_sums", "provider = ?" + (" AND model = ?" if named else ""), [label, named] if named else [label]
    condition, values = names_condition(where)
    of_model = bool(where.model or where.provider or by in ("model", "provider"))
    of_key = bool(where.key or where.has_key or by == "key")
    if of_model and of_key:
        return "rollups", condition or "1 = 1", values
    parts = [f"provider {'<>' if of_model else '='} '{ALL}'", f"key_id {'<>' if of_key else '='} '{ALL}'", condition]
    return "totals", " AND ".join(filter(None, parts)), values


def tallies(
    db: Any, span: Span, where: Where, by: str = "", *, each_step: bool = False, names: Sequence[str] | None = None
) -> dict[tuple[str, int], Tally]:
    """Sums by name and step; a single step, 0, unless `each_step`. `names` restricts the result."""
    if not has_sums(db, span, where, by):
        return tallies_of_calls(db, span, where, by, each_step=each_step, names=names)
    table, condition, values = source(where, by)
    name = "model" if by in LABELS else NAME_OF[by]
    if names is not None:
        condition += f" AND {name} IN ({', '.join('?' * len(names))})"
        values = [*values, *names]
    dialect, is_pair = dialect_of(db), table == "rollups"
    found: dict[tuple[str, int], Tally] = {}
    for part in [span] if each_step else span.parts():
        stored_s = max(step_s for step_s in dialect.pair_steps if step_s <= part.step_s) if is_pair else part.step_s
        summed = Summed(table, part, stored_s, name, each_step, condition, values)
        clause = f"FROM {table} WHERE {summed.bounded}"
        for row in db.execute(f"SELECT {name}, {summed.at}, {', '.join(OF_SUMS)} {clause} GROUP BY 1, 2", summed.bounds):  # nosec B608
            key, numbers = (row[0], row[1]), row[2:]
            if key in found:
                found[key].numbers = list(map(add, found[key].numbers, numbers))
            else:
                found[key] = Tally(numbers)
        if by and names is None:
            continue  # with all names the histograms come from a second query
        for named, at_s, durations, firsts in dialect.spreads(db, summed):
            tally = found[named, at_s]
            tally.durations += durations
            tally.firsts += firsts
    return {key: tally for key, tally in found.items() if tally.numbers[0]}


def tallies_of_calls(
    db: Any, span: Span, where: Where, by: str, *, each_step: bool, names: Sequence[str] | None
) -> dict[tuple[str, int], Tally]:
    """The same from the calls themselves."""
    condition, values = calls_condition(db, where)
    name, at = NAME_OF_CALLS[by], f"started_ms / {1_000 * span.step_s} * {span.step_s}" if each_step else "0"
    if names is not None:
        condition += f" AND {name} IN ({', '.join('?' * len(names))})"
        values = [*values, *names]
    table = f"calls, {dialect_of(db).tags} AS label" if by == "tag" else "calls"
    only = " AND end_user <> ''" if by == "user" else ""
    clause = f"FROM {table} WHERE started_ms >= ? AND started_ms < ?{only}{condition}"
    bounds = [*span.bounds_ms, *values]
    found = {
        (row[0], row[1]): Tally(row[2:])
        for row in db.execute(f"SELECT {name}, {at}, {', '.join(OF_CALLS)} {clause} GROUP BY 1, 2", bounds)
    }  # nosec B608
    for column, attribute in (("duration_ms", "durations"), ("first_ms", "firsts")):
        bins, known = dialect_of(db).bin_of(db, column), f"{clause} AND {TIMED} AND {column} IS NOT NULL"
        rows = db.execute(f"SELECT {name}, {at}, {bins}, count(*) {known} GROUP BY 1, 2, 3", bounds)  # nosec B608
        for key, at_s, number, count in rows:
            tally = found[key, at_s]
            setattr(tally, attribute, getattr(tally, attribute) + (count << (histogram.COUNT_BITS * number)))
    return found


def limit_span(db: Any, span: Span, where: Where, by: str = "") -> Span:
    """The span, or its newest part when the calls must be looked at one by one and are too many."""
    if has_sums(db, span, where, by):
        return span
    row = db.execute("SELECT started_ms FROM calls WHERE started_ms >= ? AND started_ms < ? ORDER BY started_ms DESC "
                     "LIMIT 1 OFFSET ?", (*span.bounds_ms, MAX_ROWS)).fetchone()  # fmt: skip
    return span if row is None else replace(span, since_ms=row[0] + 1)


def largest(found: Mapping[tuple[str, int], Tally], limit: int) -> list[str]:
    """The names with the most calls, equals by name."""
    return [name for name, _ in sorted(found, key=lambda key: (-found[key].numbers[0], key[0]))[:limit]]


# ---------------------------------------------------------------------------------------------------------- the answers


def groups(
    db: Any, span: Span, where: Where, by: str, limit: int, *, each_step: bool = False
) -> tuple[dict[int, Tally], dict[tuple[str, int], Tally], list[str], bool]:
    """All together by step; by name and step; the names with the most calls; whether there are more."""
    if has_sums(db, span, where, by) or by in LABELS:  # a call with two tags is in two groups, and once in all
        overall = tallies(db, span, where, each_step=each_step)
        sizes = tallies(db, span, where, by)
        names = largest(sizes, limit)
        found = tallies(db, span, where, by, each_step=each_step, names=names) if names else {}
        return {at_s: tally for (_, at_s), tally in overall.items()}, found, names, len(sizes) > len(names)
    found = tallies(db, span, where, by, each_step=each_step)
    together: dict[int, Tally] = {}
    by_name: dict[tuple[str, int], Tally] = {}
    for (name, at_s), tally in found.items():
        together[at_s] = together[at_s].plus(tally) if at_s in together else tally
        by_name[name, 0] = by_name[name, 0].plus(tally) if (name, 0) in by_name else tally
    names = largest(by_name, limit)
    return together, found, names, len(by_name) > len(names)


def statistics(db: Any, span: Span, where: Where, by: str, limit: int) -> dict[str, Any]:
    span = limit_span(db, span, where, by)
    overall, found, names, _ = groups(db, span, where, by, limit)
    called = key_names(db) if by == "key" else {}
    return {
        "range": range_clause(span), "is_whole": not span.since_ms, "overall": overall.get(0, nothing()).stats(),
        "groups": [{"name": called.get(name, name), "id": name, **found[name, 0].stats()} for name in names
                   if (name, 0) in found],
        "errors": errors(db, span, where), "recent_errors": recent_errors(db, span, where),
    }  # fmt: skip


def series(db: Any, span: Span, where: Where) -> dict[str, Any]:
    span = limit_span(db, span, where)
    found = tallies(db, span, where, each_step=True)
    data = points(stamps(span), {at_s: tally for (_, at_s), tally in found.items()})
    return {"range": range_clause(span), "is_whole": not span.since_ms, "step_s": span.step_s, "data": data}


def grouped_series(db: Any, span: Span, where: Where, by: str, limit: int) -> dict[str, Any]:
    """The largest groups, and the rest together as "other"; labels have no such rest: they overlap, and calls may lack them."""
    span = limit_span(db, span, where, by)
    overall, found, names, has_more = groups(db, span, where, by, limit, each_step=True)
    called = key_names(db) if by == "key" else {}
    by_name: dict[str, dict[int, Tally]] = {name: {} for name in names}
    for (name, at_s), tally in found.items():
        if name in by_name:
            by_name[name][at_s] = tally
    steps = stamps(span)
    shown: list[dict[str, Any]] = [
        {"name": called.get(name, name), "id": name, "data": points(steps, by_name[name])} for name in names
    ]
    if has_more and by not in LABELS:
        rest = {at_s: tally.without(mine[at_s] for mine in by_name.values() if at_s in mine)
                for at_s, tally in overall.items()}  # fmt: skip
        shown.append({"name": "other", "id": None, "data": points(steps, rest)})
    return {"range": range_clause(span), "is_whole": not span.since_ms, "step_s": span.step_s, "groups": shown}


NO_CALLS = nothing().stats()


def points(steps: Sequence[tuple[int, str]], found: Mapping[int, Tally]) -> list[dict[str, Any]]:
    """Every step, with calls or without."""
    return [{"at": at, **(found[at_s].stats() if at_s in found else NO_CALLS)} for at_s, at in steps]


def stamps(span: Span) -> list[tuple[int, str]]:
    """The steps, each with how its beginning is written."""
    return [(at_s, second(at_s)) for at_s in span.steps()]


def second(at_s: int) -> str:
    """second(0) -> "1970-01-01T00:00:00Z" """
    return stamp(at_s * 1_000)[:-5] + "Z"


def range_clause(span: Span) -> dict[str, Any]:
    from_ms, to_ms = span.bounds_ms
    begin = second(span.from_s) if from_ms == span.from_s * 1_000 else stamp(from_ms)
    return {"from": begin, "to": second(span.to_s), "seconds": (to_ms - from_ms) // 1_000}


def errors(db: Any, span: Span, where: Where) -> list[dict[str, Any]]:
    """The codes of those that failed, the most frequent first, and how many of each are the caller's own."""
    condition, values = calls_condition(db, where)
    rows = db.execute(
        f"SELECT error, count(*), count(CASE WHEN {BY_CALLER} THEN 1 END) FROM ("  # nosec B608
        f"SELECT error, ended, status, attempts FROM calls WHERE started_ms >= ? AND started_ms < ? AND {FAILED}{condition} "
        "ORDER BY started_ms DESC LIMIT ?) AS failed GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
        (*span.bounds_ms, CLIENT_GONE, *values, COUNTED_ERRORS, MAX_ERRORS),
    )  # fmt: skip
    return [{"error": error, "count": count, "caller_count": by_caller} for error, count, by_caller in rows]


def recent_errors(db: Any, span: Span, where: Where) -> list[dict[str, Any]]:
    condition, values = calls_condition(db, where)
    rows = db.execute(
        f"SELECT id, {COLUMNS} FROM calls WHERE started_ms >= ? AND started_ms < ? AND error <> '' "  # nosec B608
        f"AND error <> ?{condition} ORDER BY started_ms DESC, id DESC LIMIT ?",
        (*span.bounds_ms, CLIENT_GONE, *values, RECENT_ERRORS),
    )  # fmt: skip
    return [view(row[0], Call._make(row[1:])) for row in rows]


def key_names(db: Any) -> dict[str, str]:
    """How the keys of the newest calls are called."""
    newest = "SELECT key_id, key_name FROM calls ORDER BY started_ms DESC LIMIT ?"
    rows = db.execute(f"SELECT key_id, max(key_name) FROM ({newest}) AS newest WHERE key_name <> '' GROUP BY key_id",  # nosec B608
                      (NAMED_CALLS,))  # fmt: skip
    return dict(rows.fetchall())


# ------------------------------------------------------------------------------------------------------- lists of calls

TOKENS = "coalesce(input_tokens, 0) + coalesce(output_tokens, 0)"
COST = "coalesce(cost_usd, -1)"  # unknown is least
ORDER_SQL: Mapping[str, str] = {
    "started_at": "started_ms", "duration_ms": "duration_ms", "total_tokens": TOKENS, "cost_usd": COST,
}  # fmt: skip


def bounds_condition(page: Page) -> tuple[str, list[Any]]:
    parts = ["1 = 1"]
    values = []
    for sign, value in ((">=", page.from_ms), ("<", page.to_ms)):
        if value is not None:
            parts.append(f"started_ms {sign} ?")
            values.append(value)
    return " AND ".join(parts), values


def later_condition(page: Page) -> tuple[str, list[Any]]:
    """The condition on what comes behind the cursor."""
    if page.before is None:
        return "", []
    value, number = page.before
    if page.order == "started_at":
        value = int(value)  # a fraction would keep an index of whole numbers from being used
    order, sign = ORDER_SQL[page.order], "<" if page.is_descending else ">"
    return f" AND ({order} {sign}= ? AND ({order} {sign} ? OR id {sign} ?))", [value, value, number]


def order_by(page: Page) -> str:
    way = "DESC" if page.is_descending else "ASC"
    return f"ORDER BY {ORDER_SQL[page.order]} {way}, id {way}"


def find_page(db: Any, page: Page, where: Where, clock: Callable[[], float]) -> dict[str, Any]:
    """One page. With `next` it may be shorter than requested: then reading on would have taken too long."""
    give_up = clock() + SEARCH_S
    since = None
    if page.order == "started_at":
        rows, go_on = by_time(db, page, where, lambda: clock() > give_up)
    else:
        rows, go_on, since = by_value(db, page, where)
    total, is_exact = count_calls(db, page, where)
    items = [view(row[1], Call._make(row[2:])) for row in rows]
    return {"items": items, "total": total, "total_is_exact": is_exact, "limit": page.limit, "offset": page.offset,
            "next": go_on, "covers_from": None if since is None else stamp(since)}  # fmt: skip


def by_time(db: Any, page: Page, where: Where, is_late: Callable[[], bool]) -> tuple[list[Row], Cursor | None]:
    """Rows in the order of time, each with its value and id in front; a search goes in steps."""
    condition, values = calls_condition(db, where)
    select = f"SELECT started_ms, id, {COLUMNS} FROM calls WHERE "  # nosec B608  # the names of our own columns
    is_search = bool(condition) and not (dialect_of(db).has_key_index and (where.key or where.has_key))
    chunk, rows, at, skip = FIRST_CHUNK_ROWS, list[Row](), page, page.offset
    while True:
        bounds, given = bounds_condition(at)
        later, behind = later_condition(at)
        end = db.execute(f"SELECT started_ms, id FROM calls WHERE {bounds}{later} {order_by(page)} LIMIT 1 OFFSET ?",  # nosec B608
                         (*given, *behind, chunk)).fetchone() if is_search else None  # fmt: skip
        within = (*given, *behind)
        stop = ""
        if end is not None:
            sign = ">" if page.is_descending else "<"
            stop, within = f" AND started_ms {sign}= ? AND (started_ms {sign} ? OR id {sign}= ?)", (*within, end[0], *end)
        rows += db.execute(
            f"{select}{bounds}{later}{stop}{condition} {order_by(page)} LIMIT ? OFFSET ?",  # nosec B608
            (*within, *values, page.limit + 1 - len(rows) + skip, 0),
        ).fetchall()
        rows, skip = rows[skip:], max(0, skip - len(rows))
        if len(rows) > page.limit:
            rows = rows[: page.limit]
            return rows, (rows[-1][0], rows[-1][1])
        if end is None:
            return rows, None
        at = page.after((end[0], end[1]))
        if is_late():
            return rows, at.before
        chunk = CHUNK_ROWS


def by_value(db: Any, page: Page, where: Where) -> tuple[list[Row], Cursor | None, int | None]:
    """Rows in the order of a value, of the newest calls when there are too many; then from when on."""
    bounds, given = bounds_condition(page)
    since = db.execute(f"SELECT started_ms FROM calls WHERE {bounds} ORDER BY started_ms DESC LIMIT 1 OFFSET ?",  # nosec B608
                       (*given, SORTED_ROWS)).fetchone()  # fmt: skip
    if since is not None:
        bounds, given = bounds + " AND started_ms > ?", [*given, since[0]]
    later, behind = later_condition(page)
    condition, values = calls_condition(db, where)
    numbers = db.execute(f"SELECT {ORDER_SQL[page.order]}, id FROM calls WHERE {bounds}{later}{condition} {order_by(page)} "  # nosec B608
                         "LIMIT ? OFFSET ?", (*given, *behind, *values, page.limit + 1, page.offset)).fetchall()  # fmt: skip
    sql = f"SELECT {COLUMNS} FROM calls WHERE id = ?"  # nosec B608
    # Calls that were removed in the meantime are left out.
    rows: list[Row] = [(*number, *row) for number in numbers[: page.limit]
                       if (row := db.execute(sql, (number[1],)).fetchone()) is not None]  # fmt: skip
    last = numbers[page.limit - 1] if len(numbers) > page.limit else None
    go_on = (last[0], last[1]) if last is not None else None
    return rows, go_on, None if since is None else since[0] + 1


def count_rows(db: Any, page: Page) -> int:
    """The calls within a page's bounds, one by one."""
    bounds, given = bounds_condition(page)
    found = db.execute(f"SELECT count(*) FROM calls WHERE {bounds}" if given else "SELECT count(*) FROM calls", given)  # nosec B608
    return int(found.fetchone()[0])


def count_calls(db: Any, page: Page, where: Where) -> tuple[int, bool]:
    """How many fit, and whether that is all: of a filter only the newest calls are looked at."""
    bounds, given = bounds_condition(page)
    condition, values = calls_condition(db, where)
    if not condition:
        return dialect_of(db).count(db, page), True
    since = db.execute(f"SELECT started_ms FROM calls WHERE {bounds} ORDER BY started_ms DESC LIMIT 1 OFFSET ?",  # nosec B608
                       (*given, COUNTED_ROWS)).fetchone()  # fmt: skip
    if since is not None:
        bounds, given = bounds + " AND started_ms > ?", [*given, since[0]]
    row = db.execute(f"SELECT count(*) FROM calls WHERE {bounds}{condition}", (*given, *values)).fetchone()  # nosec B608
    return row[0], since is None


def one(db: Any, name: str) -> tuple[int, Call] | None:
    """The call of an id or of a request id; of several with the same request id the newest."""
    row = None
    if name.isascii() and name.isdigit() and len(name) < 19:
        row = db.execute(f"SELECT id, {COLUMNS} FROM calls WHERE id = ?", (int(name),)).fetchone()  # nosec B608
    if row is None:
        # By -id: for "the newest" alone a planner may read all calls from the newest on, and look at each one's request id.
        row = db.execute(f"SELECT id, {COLUMNS} FROM calls WHERE request_id = ? ORDER BY -id LIMIT 1",  # nosec B608
                         (name,)).fetchone()  # fmt: skip
    return None if row is None else (row[0], Call._make(row[1:]))


def bodies_of(db: Any, number: int) -> Row | None:
    """(request, response, request_cut, response_cut) as they are kept; None when they are not."""
    row: Row | None = db.execute("SELECT request, response, request_cut, response_cut FROM bodies WHERE call_id = ?",
                                 (number,)).fetchone()  # fmt: skip
    return row
