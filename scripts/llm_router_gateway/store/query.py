"""Queries of the call log, whatever stores it: a span of time, a filter, a page. Values only.

Span(from_s, to_s, step_s)      whole steps, for sums and series
Where(model="openai/gpt-x")     which calls; what is left open is not looked at
Page(limit=50, before=cursor)   which part of a list, in which order
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
MINUTES_KEPT_S = 2 * DAY_S  # sums of minutes: the chart of a day needs them; older times have hours
LABELS = ("tag", "user")  # what callers say about their calls
BY = ("model", "provider", "key", *LABELS)  # what sums may be grouped by
OUTCOMES = ("success", "error", "caller_error", "provider_error", "client_gone")  # what `Where.status` may say besides a number
ORDERS = ("started_at", "duration_ms", "total_tokens", "cost_usd")  # of lists
SEARCH_S = 0.1  # of reading for one response; then a page is shorter than requested, with a cursor for the rest

Cursor = tuple[float, int]  # the value that a list is ordered by, and the id


@dataclass(frozen=True, slots=True)
class Span:
    """Whole steps: from_s and to_s are multiples of step_s; to_s is not in it."""

    from_s: int
    to_s: int
    step_s: int
    since_ms: int = 0  # calls before it are left out: there are too many to look at

    @property
    def bounds_ms(self) -> tuple[int, int]:
        return max(self.from_s * 1_000, self.since_ms), self.to_s * 1_000

    def steps(self) -> range:
        return range(self.from_s, self.to_s, self.step_s)

    def parts(self) -> Iterator[Span]:
        """The same time in the largest steps that fit: whole days as days, the rest as hours or minutes."""
        yield from split(self.from_s, self.to_s, [step for step in (DAY_S, HOUR_S, MINUTE_S) if step >= self.step_s])


def split(from_s: int, to_s: int, steps: Sequence[int]) -> Iterator[Span]:
    """split(3540, 90060, [86400, 3600, 60]) -> [3540, 3600) in minutes, [3600, 86400) in hours, [86400, 90000) in hours, ..."""
    if from_s >= to_s:
        return
    step, finer = steps[0], steps[1:]
    low, high = -(-from_s // step) * step, to_s // step * step
    if not finer or (low < high and (low, high) == (from_s, to_s)):
        yield Span(from_s, to_s, step)
    elif low >= high:
        yield from split(from_s, to_s, finer)
    else:
        yield from split(from_s, low, finer)
        yield Span(low, high, step)
        yield from split(high, to_s, finer)


@dataclass(frozen=True, slots=True)
class Where:
    """Which calls; "" and None leave it open."""

    model: str = ""  # "provider/model", or what is behind the slash
    provider: str = ""
    key: str = ""  # its id
    status: str = ""  # one of OUTCOMES, or a number
    error: str = ""
    protocol: str = ""
    client: str = ""
    search: str = ""
    stream: bool | None = None
    has_key: bool = False  # `key` is meant even when it is empty: calls without a key
    tag: str = ""
    user: str = ""  # the end user that a caller names

    @property
    def of_sums(self) -> bool:
        """Whether the sums of models and keys can answer the query."""
        return not (self.of_calls or self.tag or self.user)

    @property
    def of_calls(self) -> bool:
        """Whether no stored sum can answer it."""
        return bool(self.status or self.error or self.protocol or self.client or self.search or self.stream is not None)

    def of_labels(self, by: str) -> str:
        """The one kind of label whose sums can answer the query, grouped by `by`; "" if there is none."""
        kinds = {kind for kind, is_meant in (("tag", self.tag), ("user", self.user), (by, by in LABELS)) if is_meant}
        is_more = self.of_calls or self.model or self.provider or self.key or self.has_key or by not in ("", *kinds)
        is_more = is_more or (by == "tag" and self.tag)  # the other tags of its calls are in no sum
        return kinds.pop() if len(kinds) == 1 and not is_more else ""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    limit: int = 50
    offset: int = 0
    order: str = "started_at"
    is_descending: bool = True
    from_ms: int | None = None
    to_ms: int | None = None
    before: Cursor | None = None  # the last one of the page before

    def after(self, cursor: Cursor) -> Page:
        """The page that follows the call at the cursor."""
        return replace(self, offset=0, before=cursor)
