"""What came of each request to an upstream: counted by provider, model and cause, and a span each where traces are sent.

record_of(context, now, error, charge)  -> AttemptRecord(candidate, ..., cause="rate_limited")
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from ..errors import GatewayError
from ..routing.resolve import Candidate
from ..store.call import blames_caller

if TYPE_CHECKING:
    from .charges import Charge
    from .request import RequestContext

SUCCESS = ""
CLIENT_GONE = "client_gone"
INTERNAL = "internal"


class AttemptRecord(NamedTuple):
    """One attempt at its end. Times are of the gateway's clock."""

    candidate: Candidate
    name: str  # of the candidate
    provider: str  # its name
    started_at: float
    ended_at: float
    cause: str  # the error's code; "" is success
    message: str
    charge: Charge | None
    first_output_s: float | None  # after its start; streams
    span_id: str
    is_caller_error: bool  # it failed for what the caller sent, or for the form that it was sent in


def cause_of(error: BaseException) -> tuple[str, str]:
    """(code, message)."""
    if isinstance(error, GatewayError):
        return error.code, error.message
    return (CLIENT_GONE, "the caller disconnected") if isinstance(error, asyncio.CancelledError) else (INTERNAL, "")


def record_of(context: RequestContext, now: float, error: BaseException | None, charge: Charge | None) -> AttemptRecord | None:
    """Of the attempt that has ended now; None where nothing was sent."""
    record, candidate, started_at = context.record, context.candidate, context.attempt_started_at
    if candidate is None or not context.sent:
        return None
    failure = None if error is None or record.whole else context.cut or error
    cause, message = (SUCCESS, "") if failure is None else cause_of(failure)
    first_s = record.first_output_s
    if first_s is not None:  # from the call's start to the attempt's
        first_s += record.started_at - started_at
        first_s = first_s if first_s >= 0 else None
    span_id = context.trace.span_id if context.trace is not None else ""
    is_callers = isinstance(failure, GatewayError) and blames_caller(failure.status)
    names = candidate.name, candidate.provider.name
    return AttemptRecord(candidate, *names, started_at, now, cause, message, charge, first_s, span_id, is_callers)
