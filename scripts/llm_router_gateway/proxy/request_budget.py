"""What one request of a key with bounds may still do: its numbers within bounds, its cost within the budget.

    allowance = allowance_of(key, budgets, unix_s)           None for keys without either and without lists of models
    allowance.check()                                        402 before anybody is looked for
    changes = allowance.fit(candidate, "chat", fields, body) the top-level fields to change; reserves nothing
    await allowance.hold()                                   the most that such a body may cost is on hold from now on
    await allowance.settle(charge)                           what it was in truth; None: nothing was spent

`fit` sees what goes to the provider, after every conversion and override, in that provider's protocol: what it says is what
is sent. Before the next member after a failure the hold of the first one is released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..config.keys import Key
from ..json_body import Body
from ..policy import parameter_limits
from ..policy.budgets import (
    Amount,
    Budget,
    Budgets,
    Hold,
    Remaining,
    affordable_output,
    budget_exhausted,
    is_enough,
    no_price,
    raise_by_reset,
)
from ..policy.parameter_limits import OUTPUT, Bound
from ..policy.widening import check_body
from ..routing.resolve import Candidate
from ..store import pricing
from ..wire.registry import UPSTREAMS
from ..wire.token_estimate import input_tokens
from .charges import Charge, cache_lifetime

DEFAULT_OUTPUT = 16_384  # tokens held where neither the request nor the model's entry says how long an answer may be


class Allowance:
    """One request's."""

    __slots__ = ("_budgets", "_hold", "_input", "_key", "_output", "_unix_s", "_wanted", "clamped", "measured")

    def __init__(self, key: Key, budgets: Budgets, unix_s: Callable[[], float]) -> None:
        self._key, self._budgets, self._unix_s = key, budgets, unix_s
        self._hold: Hold | None = None
        self._wanted: Amount | None = None  # what the body that was fitted last may cost at most
        self._input = self._output = 0.0  # tokens on hold
        self.clamped: list[str] = []  # what was changed: "max_tokens=1000"
        self.measured: tuple[int, str] | None = None  # tokens and cache of a body that is not here whole: see large_jobs.Head

    def check(self) -> None:
        """NoCredit when nothing is left at all."""
        if self._key.budget is None:
            return
        now = self._unix_s()
        left = self._left(self._key.budget, now)
        if left.usd <= 0 or left.tokens <= 0:
            raise budget_exhausted(left, now)

    def _left(self, budget: Budget, now: float) -> Remaining:
        """What is left since the last reset, in the words of the configured budget."""
        left = self._budgets.left(self._key.id, raise_by_reset(budget, self._key.reset, now), now)
        if self._key.reset is None or not left.why:
            return left
        _, unit, _, span = left.why.split()
        limit = getattr(budget, f"{unit.lower()}_per_{span}")
        return replace(left, why=f"{limit:.12g} {unit} a {span}")

    def fit(self, candidate: Candidate, call: str, fields: Mapping[str, Any], body: Body | None = None) -> dict[str, Any]:
        """Changes for a body that goes to `candidate`; BadRequest, or NoCredit when the budget has no room."""
        self.clamped, self._wanted = [], None
        if call == "count":
            return {}
        if body is not None:
            self._check_body(body, candidate.provider.api)
        is_chat = call in ("chat", "stream")
        changes: dict[str, Any] = {}
        api = candidate.provider.api
        enforce = partial(parameter_limits.enforce, body=body, model=candidate.remote_id, quirks=candidate.provider.quirks)
        limits = self._key.parameter_limits
        if not is_chat:  # of the others only pictures have a number to bound: how many
            limits = {name: limits[name] for name in parameter_limits.CHOICES if name in limits and name in fields}
        if limits:
            changes, self.clamped = enforce(limits, api, fields)
        if self._key.budget is None:
            return changes
        most = self._room(candidate, {**fields, **changes}, is_chat, body)
        if is_chat:
            bound = {OUTPUT: Bound(most)} if most < parameter_limits.INF else {}
            more, clamped = enforce(bound, api, {**fields, **changes})
            changes |= more
            self.clamped += clamped
            changes |= UPSTREAMS[api].usage_request(fields)  # else its end would not say what it cost
        return changes

    def _check_body(self, body: Body, api: str) -> None:
        """BadRequest for what an upstream may read more into than the key allows."""
        caps = self._key.parameter_limits
        written = frozenset(path[0] for name in caps for path in parameter_limits.paths_of(name, api))
        check_body(body, api, (name for name in caps if name not in parameter_limits.DEFAULTS), written)

    def _room(self, candidate: Candidate, fields: Mapping[str, Any], is_chat: bool, body: Body | None) -> float:
        """How many output tokens there are for it, INF where the model knows; what it may cost at most is remembered."""
        budget = self._key.budget
        if budget is None:
            return parameter_limits.INF
        api, now = candidate.provider.api, self._unix_s()
        tokens, kept = self.measured or (input_tokens(fields), cache_lifetime(body.text if body else str(fields)))
        given = float(tokens)
        price = pricing.highest_price(candidate.model, given, kept)
        if price is None and budget.in_usd:
            raise no_price(candidate.name)
        said = parameter_limits.output_of(fields, api) if is_chat else 0.0
        own = candidate.model.max_output_tokens if candidate.model else None
        wanted = float(own or DEFAULT_OUTPUT) * parameter_limits.choices_of(fields, api) if said is None else said
        left = self._left(budget, now)
        room = affordable_output(left, given, wanted, price)
        if room < 0 or not is_enough(room, wanted):
            raise budget_exhausted(left, now)
        room = float(int(room))
        usd = given * price.input + room * price.output if price else 0.0
        self._wanted = Amount(usd, given + room)
        self._input, self._output = given, room
        return parameter_limits.INF if said is None and own is not None and room >= wanted else room

    async def hold(self) -> None:
        """Reserves what the body that was fitted may cost at most; NoCredit where others were quicker."""
        await self.release()
        wanted, self._wanted = self._wanted, None
        if wanted is not None and self._key.budget is not None:
            now = self._unix_s()
            self._hold = await self._budgets.hold(
                self._key.id, raise_by_reset(self._key.budget, self._key.reset, now), wanted, now
            )

    # -- afterwards

    async def release(self) -> None:
        """Nothing was spent."""
        hold, self._hold = self._hold, None
        if hold is not None:
            await hold.release()

    async def settle(self, charge: Charge | None) -> None:
        """What an attempt cost; None where it cost nothing."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        if charge is None:
            await hold.release()
        else:
            usd = hold.amount.usd if charge.cost_usd is None else charge.cost_usd
            await hold.settle(Amount(usd, charge.usage.total))

    @property
    def input_held(self) -> int:
        """The input's share of what is on hold, in tokens."""
        return 0 if self._hold is None else int(self._input)

    def within_hold(self, output: float) -> float:
        """An estimate of output tokens: never more than were held."""
        return output if self._hold is None else min(output, self._output)


def allowance_of(key: Key | None, budgets: Budgets, unix_s: Callable[[], float]) -> Allowance | None:
    if key is None or not (key.budget is not None or key.parameter_limits or key.is_bound):
        return None
    return Allowance(key, budgets, unix_s)
