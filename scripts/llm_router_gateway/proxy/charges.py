"""What an attempt at a member used and cost: one figure for the log, the metrics, and the account of the caller's key.

    charge_of(context, error)      -> Charge(usage, 0.0105, "prices"); None where nothing was used
    sum_charges(context.charges)      -> one Charge of all attempts of a request; None where there was none

What was sent and not refused by a status is paid: an attempt that was cancelled, timed out or cut, before or inside its answer,
costs the input, estimated, and the output that was seen. So does an answer that does not say what it used. Such figures are
marked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, NamedTuple

from ..errors import GatewayError
from ..store import pricing
from ..wire.ir import Usage
from ..wire.registry import UPSTREAMS
from ..wire.sound import sound

if TYPE_CHECKING:
    from .request import RequestContext

ESTIMATED = "estimated"  # the `cost_source` of figures that the gateway estimated
COUNTS = tuple(each.name for each in fields(Usage) if each.type == "int")


class Charge(NamedTuple):
    """Usage, cost, and the source of the cost: upstream, prices, estimated, or "" where there is no price."""

    usage: Usage
    cost_usd: float | None
    source: str


def charge_of(context: RequestContext, error: BaseException | None) -> Charge | None:
    """Of the attempt that has ended now, whole without an error."""
    candidate = context.candidate
    if candidate is None or not context.sent or context.call.kind == "count":
        return None
    if isinstance(error, GatewayError) and error.unpaid:
        return None
    usage = sound(context.record.usage)
    if usage is not None and (error is None or context.record.whole):
        return Charge(usage, *pricing.cost(usage, candidate.model))
    guess = estimate_usage(context, usage)
    return Charge(guess, pricing.cost(guess, candidate.model)[0], ESTIMATED)


def estimate_usage(context: RequestContext, reported: Usage | None) -> Usage:
    """The input that was sent and the output that arrived; the upstream's figures so far, where those are higher."""
    base = reported if reported is not None and reported.total_input else input_of(context)
    seen = max(context.answer_tokens, context.outputs * event_tokens(context))
    output = math.ceil(seen if context.allowance is None else context.allowance.within_hold(seen))
    return base if base.output >= output else replace(base, text=output, reasoning=0, cost=None)


def input_of(context: RequestContext) -> Usage:
    """The estimate of the input, in the class that it may have to be paid as."""
    held = context.allowance.input_held if context.allowance is not None else 0
    tokens = max(context.input_tokens, held)
    kept = context.kept
    if kept == "1h":
        return Usage(cache_write_1h=tokens)
    return Usage(cache_write=tokens) if kept else Usage(input=tokens)


def cache_lifetime(text: str) -> str:
    """The longest cache lifetime that a request sets for its input: "", "5m" or "1h"."""
    if "cache_control" not in text:
        return ""
    return "1h" if '"1h"' in text or "'1h'" in text else "5m"


def event_tokens(context: RequestContext) -> int:
    return UPSTREAMS[context.candidate.provider.api].event_tokens if context.candidate is not None else 0


def sum_charges(charges: Sequence[Charge]) -> Charge | None:
    """All attempts of one request: what they used and cost together."""
    if len(charges) < 2:  # as nearly always
        return charges[0] if charges else None
    counts = {name: sum(getattr(charge.usage, name) for charge in charges) for name in COUNTS}
    known = [charge.cost_usd for charge in charges if charge.cost_usd is not None]
    source = ESTIMATED if any(charge.source == ESTIMATED for charge in charges) else charges[-1].source
    return Charge(Usage(**counts), sum(known) if known else None, source)
