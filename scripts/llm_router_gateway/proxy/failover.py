"""One request's way through those who could answer it: one after the other, until one has said something.

    result = await asked(job, plan, once, limiter, clock, idle)

A member is chosen, then what its limits ask for is acquired. `once(attempt)` asks one member and returns its answer, or
raises what went wrong. A member that fails before the caller was sent anything is followed by the next one, a refused key by
the provider's next key, for as long as the request may go on looking. What was sent cannot be taken back: after the first
output a failure is the answer's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ..errors import GatewayError, RateLimited
from ..policy.circuit_breaker import moves_on
from ..policy.rate_limits import Idle, Limiter, Permit
from ..policy.tag_query import TAG, TASK
from ..routing.permissions import Rights
from ..routing.plan import Attempt, Board, Plan, Table, Target, scopes_of
from ..routing.resolve import candidates
from ..wire.token_estimate import input_tokens
from .request import Job

KEY_REFUSALS = frozenset({401, 402, 403, 429})  # what another key of the same provider may mend
SMALL_ERRORS = frozenset({"no_key", "unsupported"})

MAX_KNOWN = 1_000  # names that were found to stand for one model alone

Clock = Callable[[], float]
Answer = TypeVar("Answer")


async def with_keys(
    job: Job, attempt: Attempt, once: Callable[[Attempt], Awaitable[Answer]], clock: Clock
) -> Answer:
    """A member's answer, by whichever of its provider's keys it takes."""
    while True:
        job.candidate = attempt.candidate
        job.record.served = attempt.candidate.name
        job.record.attempts += 1
        attempt.sent(clock())
        try:
            return await once(attempt)
        except GatewayError as error:
            is_ours = job.answering or error is job.unasked
            if is_ours or error.status not in KEY_REFUSALS or not attempt.key_failed(clock(), error):
                raise
            job.record.failed.append(f"{attempt.candidate.name} {error.code}, next key")


def lone_attempt(
    table: Table, board: Board, known: dict[str, Target], name: str, now: float, rights: Rights | None = None
) -> Attempt | None:
    """The attempt at a model that was named itself and has no limits: most requests, and the least work for each.

    None for groups, queries and limits, which need a Plan. UnknownModel for what there is not, Forbidden for what is not for
    this caller. `known` is kept for as long as `table` is.
    """
    target = known.get(name)
    if target is None:
        plain = name.removeprefix("models/")
        if plain in table.chains or plain.startswith((TAG, TASK)):
            return None
        candidate = candidates(table.routes, plain)[0]
        if scopes_of(candidate):
            return None
        target = Target(candidate.name, candidate)
        if len(known) < MAX_KNOWN:
            known[name] = target
    if rights is not None and target.candidate is not None:
        rights.check_named(target.candidate)
    return Attempt(target, board, table.routing.health, now)


async def asked_alone(job: Job, attempt: Attempt, once: Callable[[Attempt], Awaitable[Answer]], clock: Clock) -> Answer:
    """The answer of the one who was named."""
    try:
        answer = await with_keys(job, attempt, once, clock)
        attempt.succeeded(clock())
        return answer
    except GatewayError as error:
        if error is not job.ending and error is not job.unasked:
            attempt.failed(clock(), error)
        raise
    except asyncio.CancelledError:
        if job.record.whole:
            attempt.succeeded(clock())
        raise
    finally:
        attempt.end(clock())


def judged(job: Job, attempt: Attempt, error: GatewayError, now: float) -> None:
    """Counts a failure. Raises it again when no other member may be asked."""
    if error is job.ending:
        raise error  # we are going down: nobody's fault
    if error is not job.unasked:
        attempt.failed(now, error)
    if job.answering or not (moves_on(error) or error is job.unasked):
        raise error
    job.record.failed.append(f"{attempt.candidate.name} {error.code}")


def is_small(job: Job, error: GatewayError) -> bool:
    """Whether nobody was asked: told only when nobody was at all, for it hides what others answered."""
    return error.code in SMALL_ERRORS or error is job.unasked


async def asked(
    job: Job, plan: Plan, once: Callable[[Attempt], Awaitable[Answer]], limiter: Limiter, clock: Clock, idle: Idle
) -> Answer:
    """The first answer that any member gives; the last member's error when none does."""
    last: GatewayError | None = None
    while last is None or clock() < job.give_up_at:
        attempt = plan.next(clock())
        if attempt is None:
            break
        permit: Permit | None = None
        try:
            permit = await acquired(job, attempt, limiter, idle)
            if permit is not None:
                answer = await with_keys(job, attempt, once, clock)
                attempt.succeeded(clock())
                await settled(job, permit)
                return answer
        except GatewayError as error:
            judged(job, attempt, error, clock())
            last = error if last is None or not is_small(job, error) else last
        except asyncio.CancelledError:
            if job.record.whole:  # some SDKs hang up at the last event
                attempt.succeeded(clock())
                await settled(job, permit)
            raise
        finally:
            attempt.end(clock())
            if permit is not None:
                await permit.release()
    raise last or plan.refusal(clock())


async def acquired(job: Job, attempt: Attempt, limiter: Limiter, idle: Idle) -> Permit | None:
    """What the member's limits let through; None when they do not after all, and the next one may be asked."""
    try:
        return await limiter.acquire(attempt.target.scopes, partial(input_tokens, job.fields), idle)
    except RateLimited as error:
        attempt.limited = error
        return None


async def settled(job: Job, permit: Permit | None) -> None:
    """The true number of tokens, where it is known."""
    if permit is not None and job.tokens is not None:
        await permit.settle(job.tokens)
