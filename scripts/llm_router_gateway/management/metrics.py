"""Prometheus metrics: counters since the start, current gauges, in the text format.

    metrics = Metrics()
    metrics.observe(call)                  once at each call's end
    metrics.render(Gauges(open_requests=3, members=routing_state.report(...), store=store.health()))
        -> '# HELP llm_router_requests_total Calls ...\\n...llm_router_requests_total{kind="chat",...} 1\\n'

Counters only grow. Names that callers make up get no series of their own: a model has one once it has answered, or when the
configuration lists it, and of each label there are only so many; what is left is summed up as "other". Callers make up no
provider: each comes from the configuration, and keeps its name where its model is "other".
The text format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
MAX_MODELS = 200  # with series of their own; a dozen families times twenty buckets each
MAX_PROVIDERS = 200
MAX_KEYS = 500
MAX_CODES = 100  # including upstreams' own codes
MAX_MEMBERS = 500  # of the report on health
MAX_LABEL = 120  # characters
DURATION_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
FIRST_OUTPUT_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60)
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
GONE = "client_gone"
UNPAID = "count"  # the kind of calls that only count tokens
FROM_CACHE = "cache"  # the `cost_source` of a call that the cache answered
SUCCESS = "success"
LEFT_OUT = frozenset({"open", "cooling"})  # states of a model that gets no request now

Labels = tuple[tuple[str, str], ...]


class CallRecord(Protocol):
    """The fields of a call that are counted."""

    @property
    def kind(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def served(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def ended(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def duration_ms(self) -> float: ...
    @property
    def first_ms(self) -> float | None: ...
    @property
    def cost_source(self) -> str: ...
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def cached_tokens(self) -> int | None: ...
    @property
    def reasoning_tokens(self) -> int | None: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def key_name(self) -> str: ...
    @property
    def is_caller_error(self) -> bool: ...


class Attempt(Protocol):
    """The fields of a request to an upstream that are counted."""

    @property
    def name(self) -> str:
        """ "provider/model" """

    @property
    def provider(self) -> str: ...
    @property
    def cause(self) -> str:
        """The error's code; "" is success."""

    @property
    def is_caller_error(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Gauges:
    """Values that are read at scrape time and not counted here."""

    open_requests: int = 0
    members: Iterable[Mapping[str, Any]] = ()  # lines of GET /health/models
    store: Mapping[str, Any] = field(default_factory=dict)  # store.health()
    telemetry: Mapping[str, int] = field(default_factory=dict)  # exporter.health(); nothing where none is sent
    version: str = ""
    started_at: float = 0.0  # Unix seconds
    replicas: Mapping[str, Any] = field(default_factory=dict)  # store.replicas.summary
    shared: Mapping[str, Any] = field(default_factory=dict)  # what several gateways share: Replica.view()
    workers: Mapping[str, int] = field(default_factory=dict)  # "ready" and "ended"; {} of one process


@lru_cache(maxsize=MAX_MODELS)
def clean(text: str) -> str:
    """As a label's value: printable, UTF-8, not endless. Done before counting: what looks the same is one series."""
    text = text[:MAX_LABEL]
    return UNSAFE.sub("?", text) if not text.isascii() or not text.isprintable() else text


# ------------------------------------------------------------------------------------------------------ the text (pure)

Sample = tuple[str, Labels, float]  # suffix of the name, labels, value


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name. Nothing is written of one that has none."""

    name: str
    kind: str  # counter, gauge, histogram
    help: str
    samples: list[Sample]

    def lines(self) -> Iterator[str]:
        if not self.samples:
            return
        name = f"llm_router_{self.name}"
        yield f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n"
        for suffix, which, value in self.samples:
            yield f"{name}{suffix}{labels_text(which)} {number(value)}\n"


def labels(**values: str) -> Labels:
    return tuple(values.items())


def labels_text(which: Labels) -> str:
    """(("model", 'a"b'),) -> '{model="a\\\\"b"}'"""
    return "{" + ",".join(f'{name}="{escape_label(value)}"' for name, value in which) + "}" if which else ""


def escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """1 -> "1", 0.25 -> "0.25", inf -> "+Inf"."""
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


# ------------------------------------------------------------------------------------------------------------ counting


class Names:
    """The values of a label: a limited number, the rest becomes "other"."""

    __slots__ = ("_limit", "_seen")

    def __init__(self, limit: int) -> None:
        self._limit, self._seen = limit, {"": ""}

    def of(self, name: str, may_begin: bool = True) -> str:
        found = self._seen.get(name)
        if found is not None:
            return found
        if not may_begin or len(self._seen) > self._limit:
            return OTHER
        self._seen[name] = value = clean(name)
        return value


class Histogram:
    """How many values fall into each bucket; not yet cumulative."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        value = value if value > 0 else 0.0  # a clock that went backwards
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Series:
    """The counters of one model in one protocol."""

    __slots__ = ("cached", "caller_errors", "cost_usd", "duration", "first_output", "input", "outcomes", "output", "reasoning",
                 "unpriced")  # fmt: skip

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.input = self.output = self.cached = self.reasoning = self.unpriced = self.caller_errors = 0
        self.cost_usd = 0.0
        self.duration = Histogram(DURATION_S)
        self.first_output = Histogram(FIRST_OUTPUT_S)


class Spent:
    """What one key has used."""

    __slots__ = ("cost_usd", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = self.tokens = 0
        self.cost_usd = 0.0


def outcome_of(call: CallRecord) -> str:
    if call.ended == GONE or call.error == GONE:
        return GONE
    return "error" if call.error else SUCCESS


def buckets(which: Labels, histogram: Histogram) -> Iterator[Sample]:
    """Each bound with all that lies at or under it, then sum and count."""
    if not any(histogram.counts):
        return
    below = 0
    for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
        below += count
        yield "_bucket", (*which, ("le", number(bound))), below
    yield "_sum", which, histogram.total
    yield "_count", which, below


TOKENS: tuple[tuple[str, str, Callable[[Series], float]], ...] = (
    ("input_tokens_total", "Input tokens, cached ones included.", lambda one: one.input),
    ("output_tokens_total", "Output tokens, reasoning included.", lambda one: one.output),
    ("cached_tokens_total", "Input tokens that were read from a cache.", lambda one: one.cached),
    ("reasoning_tokens_total", "Output tokens that were reasoning.", lambda one: one.reasoning),
    ("cost_usd_total", "Known cost in US dollars.", lambda one: one.cost_usd),
    ("unpriced_requests_total", "Calls that succeeded and whose cost is unknown.", lambda one: one.unpriced),
)
STORE = (
    ("store_rows_written_total", "written", "counter", "Rows of the call log that are on disk."),
    ("store_rows_dropped_total", "dropped", "counter", "Rows of the call log that were lost for lack of memory or disk."),
    ("store_rows_waiting", "rows_waiting", "gauge", "Rows of the call log that are not yet on disk."),
    ("store_bytes", "bytes", "gauge", "Size of the store."),
    ("store_rows_spilled", "spilled", "gauge", "Rows that wait in the spill file while the store is away."),
)
TELEMETRY = (
    ("telemetry_spans_exported_total", "exported", "counter", "Spans that the collector accepted."),
    ("telemetry_spans_dropped_total", "dropped", "counter", "Spans that were lost: the collector was away or refused them."),
    ("telemetry_spans_waiting", "waiting", "gauge", "Spans that are not yet sent."),
)
SHARED = (
    ("state_engine_up", "is_up", "gauge", "0 while the engine of [state] does not answer."),
    ("state_engine_open", "is_open", "gauge", "0 while it restores its memory and grants no budgets."),
    ("state_engine_outages_total", "outages", "counter", "Number of its outages."),
    ("state_engine_memory_losses_total", "memory_losses", "counter", "Number of its losses of memory."),
    ("state_engine_messages_total", "messages", "counter", "Messages to it."),
    ("state_replicas", "replicas", "gauge", "Processes that share limits, by the latest report."),
)
WORKERS = (
    ("workers", "ready", "gauge", "Worker processes that answer calls."),
    ("workers_ended_total", "ended", "counter", "Worker processes that ended and were replaced, restarts not counted."),
)
MEMBER = (
    ("member_health_factor", "factor", "The share of its weight that a model's health leaves it, 0 while it is left out."),
    ("member_active_requests", "active", "Requests in progress at a model."),
    ("member_consecutive_failures", "consecutive_failures", "Consecutive failures of a model."),
    ("member_back_in_seconds", "back_in_s", "How much longer a model is left out."),
)


def as_number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0


def gauge_of(line: Mapping[str, Any], name: str) -> float:
    """A figure of a model's health. What is left of its weight counts only while it gets requests."""
    is_left_out = name == "factor" and line.get("state") in LEFT_OUT
    return 0 if is_left_out else as_number(line.get(name))


def member_families(lines: Iterable[Mapping[str, Any]]) -> Iterator[Family]:
    """The health of models, configured ones first; above MAX_MEMBERS they are left out and counted."""
    shown: dict[str, Mapping[str, Any]] = {}
    left = 0
    for line in lines:
        name = clean(str(line.get("model", "")))
        if name in shown or len(shown) >= MAX_MEMBERS:
            left += 1
        else:
            shown[name] = line
    for name, field_name, text in MEMBER:
        yield Family(
            name, "gauge", text, [("", labels(model=model), gauge_of(line, field_name)) for model, line in shown.items()]
        )
    yield Family(
        "member_state",
        "gauge",
        "Always 1; the state is in the label.",
        [("", labels(model=model, state=clean(str(line.get("state", "")))), 1) for model, line in shown.items()],
    )
    yield Family("members_left_out", "gauge", "Models of which no health is shown here.", [("", (), left)])


def store_families(health: Mapping[str, Any]) -> Iterator[Family]:
    for name, field_name, kind, text in STORE:
        if field_name in health:
            yield Family(name, kind, text, [("", (), as_number(health[field_name]))])
    if health:
        yield Family("store_ok", "gauge", "0 while rows cannot be written.", [("", (), int(not health.get("broken")))])


def replica_families(known: Mapping[str, Any]) -> Iterator[Family]:
    """Gateways on the same database; nothing if there is none."""
    if not known.get("alive"):
        return
    counts = [("alive", known["alive"]), ("silent", len(known["silent"]))]
    yield Family("replicas", "gauge", "Gateways on the same database, as this one sees them.",
                 [("", labels(state=state), count) for state, count in counts])  # fmt: skip
    yield Family("replica_configurations", "gauge", "Different configurations among them; it should be 1.",
                 [("", (), known["configurations"])])  # fmt: skip


def telemetry_families(health: Mapping[str, int]) -> Iterator[Family]:
    for name, field_name, kind, text in TELEMETRY:
        if field_name in health:
            yield Family(name, kind, text, [("", (), health[field_name])])


def shared_families(view: Mapping[str, Any]) -> Iterator[Family]:
    for name, field_name, kind, text in SHARED:
        if field_name in view:
            yield Family(name, kind, text, [("", (), int(as_number(view[field_name])))])


def gauge_families(moment: Gauges) -> Iterator[Family]:
    yield Family("open_requests", "gauge", "Requests being answered.", [("", (), moment.open_requests)])
    yield from member_families(moment.members)
    yield from store_families(moment.store)
    yield from replica_families(moment.replicas)
    yield from telemetry_families(moment.telemetry)
    yield from shared_families(moment.shared)
    for name, field_name, kind, text in WORKERS:
        if field_name in moment.workers:
            yield Family(name, kind, text, [("", (), moment.workers[field_name])])
    yield Family(
        "build_info", "gauge", "Always 1; the version is in the label.", [("", labels(version=clean(moment.version)), 1)]
    )
    yield Family("start_time_seconds", "gauge", "When this process began, in Unix seconds.", [("", (), moment.started_at)])


class Metrics:
    """The counters of this process. `is_listed(name)`: whether the configuration lists a model."""

    def __init__(self, is_listed: Callable[[str], bool] | None = None) -> None:
        self._is_listed = is_listed or (lambda _: False)
        self._models, self._providers = Names(MAX_MODELS), Names(MAX_PROVIDERS)
        self._keys, self._codes = Names(MAX_KEYS), Names(MAX_CODES)
        self._series: dict[tuple[str, str, str, str], Series] = {}  # kind, protocol, provider, model
        self._spent: dict[str, Spent] = {}
        self._errors: dict[tuple[str, str], int] = {}  # model, code
        self._attempts = 0
        self._tried: dict[tuple[str, str, str], int] = {}  # provider, model, cause
        self._sent_back: dict[tuple[str, str], int] = {}  # provider, model: attempts that failed for what the caller sent
        self._replayed: dict[str, int] = {}  # by model

    def observe(self, call: CallRecord) -> None:
        """One call, at its end."""
        outcome, cost_usd = outcome_of(call), call.cost_usd
        model = self._models.of(call.served, outcome == SUCCESS or self._is_listed(call.served))
        name = (call.kind, call.protocol, self._providers.of(call.provider), model)
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = Series()
        series.outcomes[outcome] = series.outcomes.get(outcome, 0) + 1
        series.caller_errors += call.is_caller_error
        tokens_in, tokens_out = call.input_tokens or 0, call.output_tokens or 0
        series.input += tokens_in
        series.output += tokens_out
        if call.cached_tokens:
            series.cached += call.cached_tokens
        if call.reasoning_tokens:
            series.reasoning += call.reasoning_tokens
        if cost_usd is None:
            series.unpriced += outcome == SUCCESS and call.kind != UNPAID  # as in the statistics of the store
        elif 0 < cost_usd < math.inf:
            series.cost_usd += cost_usd
        series.duration.add(call.duration_ms / 1_000)
        if call.first_ms is not None:
            series.first_output.add(call.first_ms / 1_000)
        if call.cost_source == FROM_CACHE:
            self._replayed[model] = self._replayed.get(model, 0) + 1
        self._attempts += call.attempts
        if outcome == "error":
            code = (model, self._codes.of(call.error))
            self._errors[code] = self._errors.get(code, 0) + 1
        self._spend(call.key_name, tokens_in + tokens_out, cost_usd)

    def observe_attempts(self, attempts: Iterable[Attempt]) -> None:
        """Those of one call, at its end."""
        for attempt in attempts:
            self._add_attempts(attempt.name, attempt.provider, attempt.cause, attempt.is_caller_error, 1)

    def add_attempts(self, counted: Iterable[Sequence[Any]]) -> None:
        """Those that another process counted: (model, provider, cause, whether it is the caller's, how many)."""
        for name, provider, cause, is_callers, count in counted:
            self._add_attempts(name, provider, cause, is_callers, count)

    def _add_attempts(self, name: str, provider: str, cause: str, is_callers: bool, count: int) -> None:
        model = self._models.of(name, not cause or self._is_listed(name))
        place = (self._providers.of(provider), model)
        key = (*place, self._codes.of(cause) if cause else SUCCESS)
        self._tried[key] = self._tried.get(key, 0) + count
        self._sent_back[place] = self._sent_back.get(place, 0) + (count if is_callers else 0)

    def _spend(self, key_name: str, tokens: int, cost_usd: float | None) -> None:
        name = self._keys.of(key_name)
        spent = self._spent.get(name)
        if spent is None:
            spent = self._spent[name] = Spent()
        spent.requests += 1
        spent.tokens += tokens
        if cost_usd is not None and 0 < cost_usd < math.inf:
            spent.cost_usd += cost_usd

    def render(self, moment: Gauges) -> str:
        """The whole text."""
        families = (*self._counted(), *gauge_families(moment))
        return "".join(line for family in families for line in family.lines())

    def _counted(self) -> Iterator[Family]:
        series = [(labels(kind=kind, protocol=protocol, provider=provider, model=model), one)
                  for (kind, protocol, provider, model), one in self._series.items()]  # fmt: skip
        yield Family(
            "requests_total",
            "counter",
            "Calls that ended, by outcome.",
            [(("", (*which, ("outcome", outcome)), count)) for which, one in series for outcome, count in one.outcomes.items()],
        )
        # Beside the outcomes and not among them: a new outcome would change what rules on "error" count. From the first call on
        # a series is here with 0, for what is missing cannot be subtracted.
        yield Family(
            "caller_errors_total",
            "counter",
            "Calls that ended in an error because of what the caller sent or is allowed; part of those with the outcome error.",
            [("", which, one.caller_errors) for which, one in series],
        )
        yield Family(
            "request_duration_seconds",
            "histogram",
            "From a call's arrival to its real end.",
            [sample for which, one in series for sample in buckets(which, one.duration)],
        )
        yield Family(
            "first_output_seconds",
            "histogram",
            "From a call's arrival to the first output of its stream.",
            [sample for which, one in series for sample in buckets(which, one.first_output)],
        )
        for name, text, value in TOKENS:
            yield Family(name, "counter", text, [("", which, value(one)) for which, one in series])
        yield Family(
            "errors_total",
            "counter",
            "Calls that ended in an error, by its code.",
            [("", labels(model=model, code=code), count) for (model, code), count in self._errors.items()],
        )
        yield Family(
            "cached_answers_total",
            "counter",
            "Calls that were answered from the answer cache.",
            [("", labels(model=model), count) for model, count in self._replayed.items()],
        )
        yield from self._tried_families()
        spent = [(labels(key=name), one) for name, one in self._spent.items()]
        yield Family("key_requests_total", "counter", "Calls by key.", [("", which, one.requests) for which, one in spent])
        yield Family(
            "key_tokens_total", "counter", "Input and output tokens by key.", [("", which, one.tokens) for which, one in spent]
        )
        yield Family(
            "key_cost_usd_total",
            "counter",
            "Known cost in US dollars by key.",
            [("", which, one.cost_usd) for which, one in spent],
        )

    def _tried_families(self) -> Iterator[Family]:
        yield Family(
            "upstream_attempts_total", "counter", "Requests to upstreams, failed ones included.", [("", (), self._attempts)]
        )
        yield Family(
            "attempts_total",
            "counter",
            "Requests to upstreams, by outcome: success, or the error's code.",
            [
                ("", labels(provider=provider, model=model, cause=cause), count)
                for (provider, model, cause), count in self._tried.items()
            ],
        )
        yield Family(
            "attempt_caller_errors_total",
            "counter",
            "Requests to upstreams that failed because of what the caller sent, or the form it was sent in.",
            [("", labels(provider=provider, model=model), count) for (provider, model), count in self._sent_back.items()],
        )
