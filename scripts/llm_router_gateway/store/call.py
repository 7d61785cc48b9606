"""One call as the log keeps it: made at its true end, a row of the table `calls`, a JSON object for people and programs. Pure.

    view(7, call)         -> {"id": 7, "request_id": ..., "started_at": "2026-10-21T07:28:00.123Z", ...}
    Call._make(row[1:])   -> the Call of a row of `SELECT id, {COLUMNS} FROM calls`
    counts_of(call)       -> what it adds to the sums of its minute, hour and day

Tokens: `input` is all that was read, `cached` and `cache_write` are parts of it; `output` is all that was written, `reasoning`
a part of it. None: unknown. A call is a success when `error` is empty; a caller that went away is neither that nor an
error. Latency is that of successes, without those that only count tokens and those that the cache answered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..wire.ir import Usage
from ..wire.spec import CREATING_KINDS, RELAYED_KINDS
from .pricing import CACHE

KINDS = frozenset({"chat", "compact", "count", "embeddings", "invoke"}) | RELAYED_KINDS | CREATING_KINDS
# Of a provider these are no fault of the caller: a refused key, an empty account, an unknown model, a limit, its own timeout.
PROVIDER_4XX = (401, 402, 403, 404, 408, 429)
COMPLETE, ERROR, CLIENT_GONE, CUT, REFUSED = "complete", "error", "client_gone", "cut", "refused"  # how a call ended
MAX_NAME = 200  # characters of a name that callers choose
MAX_MESSAGE = 1_000  # of an error's text


class Call(NamedTuple):
    """One row, in the order of its columns."""

    request_id: str
    started_ms: int  # Unix milliseconds
    first_ms: float | None  # from the start to the first output; streams
    duration_ms: float
    kind: str  # one of KINDS
    protocol: str
    upstream_protocol: str  # "" when no upstream was called
    stream: int  # 0 or 1
    asked: str
    served: str  # "provider/model"; "" when no upstream was called
    provider: str
    model: str
    attempts: int
    failed: str  # JSON list of texts
    status: int
    error: str  # the code; "" is success
    message: str
    ended: str  # complete, error, client_gone, cut, refused
    finish: str  # why the answer stopped, in the caller's protocol's words; "" when that is not known
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    cost_source: str  # upstream, prices, estimated, cache, ""
    key_id: str
    key_name: str
    client: str
    lost: str  # JSON list of texts
    tags: str = "[]"  # JSON list of texts: the caller's own labels for its spend
    end_user: str = ""  # the person or account that the caller names, in its own words

    @property
    def is_timed(self) -> bool:
        """Whether its times are among the latencies."""
        return not self.error and self.kind != "count" and self.cost_source != CACHE

    @property
    def is_caller_error(self) -> bool:
        """Whether it failed for what the caller sent or may do: refused here, or sent back by a provider as wrong."""
        if not self.error or self.ended == CLIENT_GONE:
            return False
        is_4xx = 400 <= self.status < 500 if not self.attempts else blames_caller(self.status)
        return self.ended == REFUSED or is_4xx


def blames_caller(status: int) -> bool:
    """Whether a provider's status says that the request itself is wrong, and not the provider, its key or its limits."""
    return 400 <= status < 500 and status not in PROVIDER_4XX


COLUMNS = ", ".join(Call._fields)


def texts(items: Sequence[str]) -> str:
    """A list as its column holds it."""
    return json.dumps(items, ensure_ascii=False) if items else "[]"


def stamp(ms: int) -> str:
    """stamp(0) -> "1970-01-01T00:00:00.000Z"; for times outside the calendar too."""
    days, rest = divmod(ms, 86_400_000)
    seconds, millis = divmod(rest, 1_000)
    year, month, day = civil(days)
    return f"{year:04d}-{month:02d}-{day:02d}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millis:03d}Z"


def civil(days: int) -> tuple[int, int, int]:
    """Days since 1970-01-01 -> (year, month, day). Howard Hinnant, chrono-compatible low-level date algorithms."""
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def view(number: int, call: Call) -> dict[str, Any]:
    """The call as JSON."""
    both = (call.input_tokens, call.output_tokens)
    known = [count for count in both if count is not None]
    return {
        "id": number, "request_id": call.request_id, "started_at": stamp(call.started_ms),
        "first_output_ms": call.first_ms, "duration_ms": call.duration_ms, "kind": call.kind, "protocol": call.protocol,
        "upstream_protocol": call.upstream_protocol, "stream": bool(call.stream), "asked": call.asked,
        "served": call.served, "provider": call.provider, "model": call.model, "attempts": call.attempts,
        "failed": json.loads(call.failed), "status": call.status, "error": call.error, "message": call.message,
        "is_caller_error": call.is_caller_error, "ended": call.ended, "finish": call.finish,
        "tokens": {"input": call.input_tokens, "output": call.output_tokens, "cached": call.cached_tokens,
                   "cache_write": call.cache_write_tokens, "reasoning": call.reasoning_tokens,
                   "total": sum(known) if known else None},
        "cost_usd": call.cost_usd, "cost_source": call.cost_source, "key_id": call.key_id, "key_name": call.key_name,
        "client": call.client, "lost": json.loads(call.lost), "tags": json.loads(call.tags), "end_user": call.end_user,
    }  # fmt: skip


# The sums of `rollups`, in the order of its columns behind (step_s, at_s, provider, model, key_id), without the two histograms.
SUMS = (
    "calls", "success", "errors", "client_gone", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "cost_usd", "unpriced", "timed", "duration_ms", "firsts", "first_ms",
    "caller_errors",
)  # fmt: skip


def counts_of(call: Call) -> tuple[float, ...]:
    """What a call adds to each of SUMS."""
    success, gone, timed = not call.error, call.ended == CLIENT_GONE, call.is_timed
    has_first = timed and call.first_ms is not None
    return (
        1, success, not success and not gone, gone and not success,
        call.input_tokens or 0, call.output_tokens or 0, call.cached_tokens or 0, call.cache_write_tokens or 0,
        call.reasoning_tokens or 0, call.cost_usd or 0.0, timed and call.cost_usd is None,
        timed, call.duration_ms if timed else 0.0, has_first, (call.first_ms or 0.0) if has_first else 0.0,
        call.is_caller_error,
    )  # fmt: skip


def ended_of(error: str, *, refused: bool, output_began: bool) -> str:
    """ended_of("", ...) -> "complete"; ended_of("stream_cut", refused=False, output_began=True) -> "cut" """
    if not error:
        return COMPLETE
    if error == CLIENT_GONE:
        return CLIENT_GONE
    if refused:
        return REFUSED
    return CUT if output_began else ERROR


def tokens_of(usage: Usage | None) -> tuple[int | None, int | None, int | None, int | None, int | None]:
    """(input, output, cached, cache_write, reasoning) of an ir.Usage; all None when unknown."""
    if usage is None:
        return None, None, None, None, None
    return (
        usage.total_input, usage.output, usage.cache_read, usage.cache_write + usage.cache_write_1h,
        usage.reasoning,
    )  # fmt: skip
