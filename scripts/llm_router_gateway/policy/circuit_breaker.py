"""One member's health: its weight factor, its circuit breaker, its cooldown. Pure: a Health and `now` in, a Health out.

    record_failure(Health(), Rules(), now, "503")     -> factor 0.5, one failure in a row
    factor(health, rules, now + 60)           -> 1.0: time restores what failures took, and so do successes
    state(health, now)                        -> "ok", "cooling", "open", "probe" or "probing"

A breaker opens after `failures_to_open` consecutive failures. When `open_s` is over one request may try (half-open): its
success closes the breaker, its failure opens it for twice as long. Only failures of the member itself count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import CONTEXT, GatewayError

MIN_FACTOR = 1 / 64  # the least part of a weight that failures leave: enough traffic to notice a recovery
SUCCESS_GAIN = 0.1  # of the whole, for each success: ten undo everything
MAX_OPENS = 4  # doublings stop at open_s * 8
MAX_COOL_S = 3_600.0  # longest Retry-After that is honoured
LATENCY_WEIGHT = 0.2  # of the newest measurement in the moving average
LATENCY_HALVES_S = 60.0  # an old measurement counts half: a slow member is looked at again
TRY_ANOTHER = frozenset({401, 402, 403, 404, 501})  # not a matter of health, but another member may succeed
# The same by its code: what another model may be able to, with a larger window or with eyes.
NOT_ITS_FAULT = frozenset({"no_key", "unsupported", CONTEXT, "image_unsupported"})


@dataclass(frozen=True, slots=True)
class Rules:
    """[health] of the configuration."""

    failures_to_open: int = 3
    open_s: float = 30.0
    recover_s: float = 120.0


class Health(NamedTuple):
    """The health of one member. Times are those of the caller's clock."""

    factor: float = 1.0  # of its weight, at `at`
    at: float = 0.0
    in_a_row: int = 0  # failures since the last success
    opens: int = 0  # times the breaker opened since then
    open_until: float = 0.0  # 0 = closed
    cool_until: float = 0.0
    probing: bool = False  # the trial request is in progress
    latency_s: float | None = None  # to the first output, moving average
    latency_at: float = 0.0
    successes: int = 0
    failures: int = 0
    last_error: str = ""


HEALTHY, RULES = Health(), Rules()


def factor(health: Health, rules: Rules, now: float) -> float:
    """The factor on its weight, 0 < factor <= 1."""
    if health.factor >= 1.0:
        return 1.0
    return min(1.0, health.factor + max(0.0, now - health.at) / rules.recover_s)


def state(health: Health, now: float) -> str:
    """ok; cooling (Retry-After); open; probe (one trial request allowed); probing (the trial is in progress)."""
    if now < health.cool_until:
        return "cooling"
    if not health.open_until:
        return "ok"
    if now < health.open_until:
        return "open"
    return "probing" if health.probing else "probe"


def back_in_s(health: Health, now: float) -> float:
    return max(0.0, health.cool_until - now, health.open_until - now)


def freshness(health: Health, now: float) -> float:
    """The weight of a measured latency: 1 at first, half after LATENCY_HALVES_S."""
    return float(0.5 ** (max(0.0, now - health.latency_at) / LATENCY_HALVES_S))


def latency(health: Health, now: float) -> float:
    """The expected time to the first output; 0 when it was never measured, so that it will be."""
    return 0.0 if health.latency_s is None else health.latency_s * freshness(health, now)


def record_success(health: Health, rules: Rules, now: float) -> Health:
    """After a complete answer. A cooldown continues: Retry-After outweighs one success."""
    if health.factor >= 1.0 and not (health.in_a_row or health.opens or health.open_until or health.probing):
        return Health(  # as nearly always: the rest is that of a healthy member
            at=health.at, cool_until=health.cool_until, latency_s=health.latency_s, latency_at=health.latency_at,
            successes=health.successes + 1, failures=health.failures, last_error=health.last_error,
        )  # fmt: skip
    return health._replace(
        factor=min(1.0, factor(health, rules, now) + SUCCESS_GAIN), at=now, in_a_row=0, opens=0, open_until=0.0,
        probing=False, successes=health.successes + 1,
    )  # fmt: skip


def record_failure(health: Health, rules: Rules, now: float, why: str, retry_after_s: float | None = None) -> Health:
    """After a failure of the member itself."""
    half_open = bool(health.open_until) and now >= health.open_until
    opening = half_open or (not health.open_until and health.in_a_row + 1 >= rules.failures_to_open)
    opens = min(health.opens + 1, MAX_OPENS) if opening else health.opens
    cooled = now + min(retry_after_s, MAX_COOL_S) if retry_after_s else 0.0
    return health._replace(
        factor=max(MIN_FACTOR, factor(health, rules, now) / 2), at=now,
        in_a_row=health.in_a_row + 1, opens=opens,
        open_until=now + rules.open_s * 2 ** (opens - 1) if opening else health.open_until,
        cool_until=max(health.cool_until, cooled),
        probing=health.probing and not half_open,
        failures=health.failures + 1, last_error=why,
    )  # fmt: skip


def record_latency(health: Health, latency_s: float, now: float) -> Health:
    """Adds a time to first output to the average; the older the average, the more the new value counts."""
    old, part = health.latency_s, 1 - (1 - LATENCY_WEIGHT) * freshness(health, now)
    new = latency_s if old is None else old + part * (latency_s - old)
    return health._replace(latency_s=new, latency_at=now)


def start_probe(health: Health) -> Health:
    return health._replace(probing=True)


def end_probe(health: Health) -> Health:
    """The trial ended without a verdict, or has its first output: the next request may try."""
    return health._replace(probing=False) if health.probing else health


# --------------------------------------------------------------------------------------------- what an error means


def is_own_fault(error: GatewayError) -> bool:
    """Whether the member is at fault: network, timeouts, 408, 429, 5xx, broken answers; never the caller's 4xx."""
    if error.code in NOT_ITS_FAULT or error.status == 501:
        return False
    return error.status in (408, 429) or error.status >= 500


def allows_failover(error: GatewayError) -> bool:
    """Whether another member may answer what this one did not: own faults, rejected keys, unknown models."""
    return is_own_fault(error) or error.status in TRY_ANOTHER or error.code in NOT_ITS_FAULT
