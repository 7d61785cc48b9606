"""Choose, acquire, send, settle: the members that may answer a request, one after the other until one has.

    failover = Failover(services)
    answer = await failover.answer(context, send, idle)

`send(attempt)` sends the request to one member and returns its answer, or raises what went wrong. If a member fails before the
caller was sent anything, the next one is tried; if a key is refused, the provider's next key; as long as the request has time.
Output that was sent cannot be taken back: after the first output, a failure ends the answer with an error.

    failover.end_form(context, attempt, refusal)

`send` calls this before it sends the same member the request in another form: each of the two is an attempt.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import TypeVar

from ..config.kinds import Secret
from ..errors import CONTEXT, NO_SUCH_CALL, GatewayError, RateLimited, Unavailable
from ..limiter.local import FREE
from ..policy.budgets import Amount
from ..policy.circuit_breaker import allows_failover
from ..policy.rate_limits import Idle, NoSlot, Permit, Scope
from ..policy.tag_query import TAG, TASK
from ..routing.plan import Attempt, Plan, RoutingRequest, Target, plan, scopes_of, served_name
from ..routing.resolve import candidates
from ..wire.registry import SPECS
from .attempts import record_of
from .charges import Charge, charge_of
from .request import RequestContext
from .services import Services
from .streaming import Headers

KEY_REFUSALS = frozenset({401, 402, 403, 429})  # another key of the same provider may succeed
PASSING = frozenset({502, 503, 529})  # often pass within a moment
MAX_AGAIN_S = 2.0  # of a Retry-After, for the second attempt at the only member
EXPIRED = re.compile(r"\bexpired\b|^authentication failed", re.I)
SMALL_ERRORS = frozenset({"no_key", "unsupported"})

MAX_KNOWN = 1_000  # cached names that mean a single model

Answer = TypeVar("Answer")
Send = Callable[[Attempt], Awaitable[Answer]]


class SingleAttempt:
    """The single attempt at a model without limits that the request names: most requests, with the least work."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt: Attempt | None = attempt

    def next(self, now: float) -> Attempt | None:
        attempt, self._attempt = self._attempt, None
        return attempt

    def refusal(self, now: float) -> GatewayError:
        """None: a SingleAttempt is never empty at first."""
        return Unavailable("no model was left to answer", code="no_member")


class Failover:
    """Tries members until one answers."""

    def __init__(self, services: Services) -> None:
        self._services, self._clock, self._routing_state = services, services.clock, services.routing_state
        self._limiter, self._budgets = services.limiter, services.budgets

    async def answer(self, context: RequestContext, send: Send[Answer], idle: Idle = nullcontext) -> Answer:
        """The first answer of a member, within the caller's budget and limit; its cost is booked."""
        if context.allowance is not None and context.call.kind != "count":
            context.allowance.check()
        scope = key_scope(context)
        if scope is None:
            return await self._first_answer(context, send, idle)
        permit = await self._acquire_key(context, scope, idle, lambda: context.input_tokens)
        try:
            return await self._first_answer(context, send, idle)
        finally:
            await settle(context, permit)
            await permit.release()

    @asynccontextmanager
    async def within_limits(self, context: RequestContext) -> AsyncIterator[None]:
        """For a call that goes to no model: it counts among the requests of the caller's key, and has no tokens."""
        scope = key_scope(context)
        if scope is None:
            yield
            return
        permit = await self._acquire_key(context, scope, nullcontext, no_tokens)
        try:
            yield
        finally:
            await permit.release()

    async def _first_answer(self, context: RequestContext, send: Send[Answer], idle: Idle) -> Answer:
        """Tries one member after the other; raises the last one's error if none answers."""
        clock, members = self._clock, self._lone(context) or self.choose(context)
        is_unhealthy = context.plan is not None and context.is_query and not context.plan.healthy()
        last: GatewayError | None = None
        tried: list[Attempt] = []
        while last is None or clock() < context.give_up_at:
            attempt = members.next(clock())
            if attempt is None and len(tried) == 1:
                attempt = await self._again(context, tried[0], last, idle)
            if attempt is None:
                break
            tried.append(attempt)
            permit: Permit | None = None
            try:
                permit = await self._acquire(context, attempt, idle) if attempt.target.scopes else FREE
                if permit is not None:
                    answer = await self._with_keys(context, attempt, send, idle)
                    attempt.succeed(clock())
                    if permit is not FREE:
                        await settle(context, permit)
                    return answer
            except GatewayError as error:
                if not self._goes_on(context, attempt, error):
                    raise (no_healthy_member(context, error) if is_unhealthy else error) from None
                last = error if last is None or not is_small(context, error) else last
            except asyncio.CancelledError:
                if context.record.whole:  # some SDKs hang up at the last event
                    attempt.succeed(clock())
                    if permit is not None and permit is not FREE:
                        await settle(context, permit)
                raise
            finally:
                if not attempt.ended:
                    attempt.end(clock())
                if permit is not None and permit is not FREE:
                    await permit.release()
        last = last or members.refusal(clock())
        raise no_healthy_member(context, last) if is_unhealthy else last

    # -- choose

    def choose(self, context: RequestContext) -> Plan:
        """The plan of the members that may answer; the first is chosen when the request is sent."""
        files = context.named_files
        request = RoutingRequest(
            name="" if context.tags else context.record.asked, body=context.fields, protocol=context.call.protocol,
            stream=context.record.stream, headers=context.headers, key_name=context.key_name,
            tokens=lambda: context.input_tokens, query=context.tags, rights=context.rights,
            text=context.body.text if context.body and context.large is None else "",
            size=len(context.large.data) if context.large is not None else 0,
            verdicts=context.verdicts, session_names=context.session_names,
            home=context.conversation.home if context.conversation is not None else "",
            provider=files.provider if files is not None else "",
        )  # fmt: skip
        context.plan = chosen = plan(
            context.state.table, self._routing_state, request, self._clock(), self._services.rng, self._limiter.forecast
        )
        if files is not None:
            files.check(request.name or str(request.query), chosen.providers)
        if self._routing_state.notes:
            for note in self._routing_state.take_notes():
                self._services.log.warn(note)
        return chosen

    def _lone(self, context: RequestContext) -> SingleAttempt | None:
        """None for groups, queries and limits, which need a Plan; UnknownModel and Forbidden as of a Plan."""
        target = None if context.tags is not None else lone_target(context)
        if target is None or target.candidate is None:
            return None
        if context.rights is not None:
            context.rights.check_named(target.candidate)
        if context.named_files is not None:
            context.named_files.check(target.candidate.name, (target.candidate.provider.name,))
        return SingleAttempt(Attempt(target, self._routing_state, context.state.table.routing.health, self._clock()))

    # -- acquire and settle

    async def _acquire_key(self, context: RequestContext, scope: Scope, idle: Idle, tokens: Callable[[], int]) -> Permit:
        """A permit under the limit of the caller's key."""
        try:
            return await self._limiter.acquire((scope,), tokens, idle)
        except NoSlot as error:
            raise RateLimited("this key has no slot left for another request", retry_after_s=error.retry_after_s) from None
        finally:
            context.limit_headers = self._limit_headers(context, scope)

    def _limit_headers(self, context: RequestContext, scope: Scope) -> Headers:
        """What is left of a limit, in the words of the caller's protocol."""
        write, now = SPECS[context.call.protocol].limit_headers, self._services.wall()
        levels = self._limiter.levels(scope)
        return [pair for each in levels for pair in write(each.what, each.limit, each.remaining, each.reset_s, now)]

    async def _acquire(self, context: RequestContext, attempt: Attempt, idle: Idle) -> Permit | None:
        """A permit under the member's limits; None when they refuse after all and the next member may answer."""
        try:
            return await self._limiter.acquire(attempt.target.scopes, lambda: context.input_tokens, idle)
        except RateLimited as error:
            attempt.limited = error
            return None

    async def _book(self, context: RequestContext, charge: Charge | None) -> None:
        """Charges the cost of an attempt to the caller's key."""
        if context.allowance is not None:
            await context.allowance.settle(charge)
        if charge is not None and context.caller.key.budget is None:
            amount = Amount(charge.cost_usd or 0.0, charge.usage.total)
            await self._budgets.spend(context.caller.key.id, amount, self._services.wall())

    def _learn_window(self, context: RequestContext, attempt: Attempt, error: GatewayError) -> None:
        """Only a member with a larger window may take a prompt that was too long for this one."""
        self._routing_state.learn_window(attempt.candidate.name, error.details.get("window"))
        window = error.details.get("window") or self._routing_state.window(attempt.candidate)
        if context.plan is not None and isinstance(window, int):
            context.plan.needs_larger(window)

    # -- send

    async def _again(self, context: RequestContext, before: Attempt, error: GatewayError | None, idle: Idle) -> Attempt | None:
        """A second attempt at the only member after a short wait: most such failures have passed by then."""
        wait_s = context.state.config.server.retry_alone_s
        if error is None or error.status not in PASSING or not wait_s or error is context.not_sent:
            return None
        if error.code in SMALL_ERRORS or is_long_wait(error) or self._clock() + wait_s >= context.give_up_at:
            return None
        if context.plan is None:
            context.record.failed.append(f"{before.candidate.name} {error.code}")
        with idle():
            await asyncio.sleep(max(wait_s, error.retry_after_s or 0.0))
        return Attempt(before.target, self._routing_state, context.state.table.routing.health, self._clock())

    async def _with_keys(self, context: RequestContext, attempt: Attempt, send: Send[Answer], idle: Idle) -> Answer:
        """A member's answer, with the first of its provider's keys that is accepted; the one that has the conversation before
        the others."""
        home_key: Secret | None = None
        if context.conversation is not None:
            home_key = context.conversation.home_key(attempt.candidate)
        if context.named_files is not None:  # another account's key does not reach them
            home_key = context.named_files.key_of(attempt.candidate) or home_key
        if home_key is not None:
            attempt.prefer_key(home_key, self._clock())
        while True:
            started_at = self._clock()
            context.begin_attempt(attempt.candidate, started_at)
            attempt.mark_sent(started_at)
            failure: BaseException | None = None
            try:
                provider = attempt.candidate.provider
                if provider.key_command is not None and not provider.keys:
                    await self._print_key(context, attempt, idle)
                return await send(attempt)
            except GatewayError as error:
                failure = error
                is_ours = context.answering or error is context.not_sent
                if is_ours or error.status not in KEY_REFUSALS or not await self._other_key(context, attempt, error, idle):
                    raise
                context.record.failed.append(f"{attempt.candidate.name} {error.code}, next key")
            except BaseException as error:
                failure = error
                raise
            finally:
                charge: Charge | None = None
                try:
                    charge = charge_of(context, failure)
                finally:  # whatever goes wrong, nothing stays on hold
                    if context.caller.key is not None:
                        await self._book(context, charge)
                if charge is not None:
                    context.charges.append(charge)
                ended = record_of(context, self._clock(), failure, charge)
                if ended is not None:
                    context.attempts.append(ended)

    def end_form(self, context: RequestContext, attempt: Attempt, refusal: GatewayError, then: str = "in another form") -> None:
        """Ends the attempt in a form of the request that a member has refused, which costs nothing; the next form is a
        separate attempt. `then`: what follows, for the log."""
        now = self._clock()
        ended = record_of(context, now, refusal, None)
        if ended is None:  # it was never sent
            return
        # A call that it does not have is no failure of the provider.
        context.attempts.append(ended._replace(is_caller_error=ended.is_caller_error or refusal.status in NO_SUCH_CALL))
        context.record.failed.append(f"{ended.name} {refusal.code}, {then}")
        context.begin_attempt(ended.candidate, now)
        attempt.mark_sent(now)

    async def _print_key(self, context: RequestContext, attempt: Attempt, idle: Idle) -> None:
        """The key of a provider that has a command in its place; latency is measured from then on."""
        with idle():
            attempt.candidate = await self._services.key_commands.with_key(attempt.candidate)
        context.printed_keys += attempt.candidate.provider.keys
        attempt.mark_sent(self._clock())

    async def _other_key(self, context: RequestContext, attempt: Attempt, error: GatewayError, idle: Idle) -> bool:
        """Whether there is another key after a refusal: the provider's next one, or, once, a new one of its command."""
        if attempt.candidate.provider.key_command is None:
            return attempt.switch_key(self._clock(), error)
        if attempt.is_renewed or not is_expiry(error):
            return False
        attempt.is_renewed = True
        with idle():
            other = await self._services.key_commands.with_other_key(attempt.candidate)
        if other is None:
            return False
        attempt.candidate = other
        context.printed_keys += other.provider.keys
        return True

    def _goes_on(self, context: RequestContext, attempt: Attempt, error: GatewayError) -> bool:
        """Records a failure; True when another member may answer."""
        if error is context.ending:
            return False  # the gateway is shutting down: no member's fault
        if error is not context.not_sent:
            attempt.fail(self._clock(), error)
        if context.answering or not (allows_failover(error) or error is context.not_sent):
            return False
        if error.code == CONTEXT:
            self._learn_window(context, attempt, error)
        if context.plan is not None:
            context.record.failed.append(f"{attempt.candidate.name} {error.code}")
        return True


def key_scope(context: RequestContext) -> Scope | None:
    """The limit of the caller's key; None if there is none."""
    key = context.caller.key
    limit = (key.limits if key is not None else None) or context.state.config.server.key_limits
    return None if limit is None else (f"key:{context.caller.key_id}", limit)


def no_tokens() -> int:
    return 0


def is_expiry(error: GatewayError) -> bool:
    """Whether an upstream refused a key that may have expired: most say 401, Amazon's 403 in words like these."""
    return error.status == 401 or (error.status == 403 and EXPIRED.search(error.message) is not None)


def is_long_wait(error: GatewayError) -> bool:
    """Whether an upstream's Retry-After is more than a short wait."""
    return error.retry_after_s is not None and error.retry_after_s > MAX_AGAIN_S


def lone_target(context: RequestContext) -> Target | None:
    """The model that a name stands for, where it is one and has no limits. Remembered for as long as the table is."""
    name, known, table = context.record.asked, context.state.lone, context.state.table
    target = known.get(name)
    if target is None:
        plain = name.removeprefix("models/")
        if plain.startswith((TAG, TASK)):
            return None
        plain = served_name(table, plain)
        if plain in table.chains:
            return None
        candidate = candidates(table.routes, plain)[0]
        if scopes_of(candidate):
            return None
        target = Target(candidate.name, candidate)
        if len(known) < MAX_KNOWN:
            known[name] = target
    return target


async def settle(context: RequestContext, permit: Permit) -> None:
    """The true number of tokens, where it is known."""
    if context.tokens is not None:
        await permit.settle(context.tokens)


def is_small(context: RequestContext, error: GatewayError) -> bool:
    """Whether nothing was sent: reported only where no member was reached, for it would hide other members' errors."""
    return error.code in SMALL_ERRORS or error is context.not_sent


def no_healthy_member(context: RequestContext, error: GatewayError) -> GatewayError:
    """The error of a query for which no healthy model was available when it began."""
    if context.answering or error.status in (429, 503) or not allows_failover(error):
        return error
    return Unavailable(f"{context.record.asked}: no matching model is healthy: {error.message}", code="no_member")
