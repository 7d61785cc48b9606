"""Which member answers a request, and which one when that fails: groups, tags and plain names, by strategy, health, limits.

    table = table_of(config, routes_of(config))          once per Config
    routing_state = RoutingState()                       once per process: health, turns, conversations, by name
    made = plan(table, routing_state, RoutingRequest("gpt_models", body, "openai"), now, rng, limiter.forecast)
    choice = made.choose(now)                            -> Choice, or None when no candidate is left; changes nothing
    attempt = made.begin(choice, now)                    -> Attempt(candidate, key, ...), counted as active
    attempt = made.next(now)                             choose and begin
    attempt.succeed(now) or attempt.fail(now, error) or attempt.end(now)
    made.explain(now)                                    -> every candidate, and why it was taken or not

Choosing is pure: routing state, limits and time are read, the random number generator is an argument. The sender
(proxy/failover) then acquires what the choice may use. The order of choosing:

1. members whose selector matches, that are healthy and have a key and room in their limits; the strategy decides
2. the fallbacks' members, in the same way
3. members whose limits require a wait, shortest wait first; then unhealthy ones, soonest recovery first: the last one is
   always tried
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.groups import Group, Routing, Selector
from ..errors import BadRequest, GatewayError, RateLimited, Unavailable, UnknownModel
from ..policy import circuit_breaker
from ..policy.rate_limits import GO, Forecast, NoSlot, Scope, refusal, unlimited
from ..policy.tag_query import TAG, Query, query_in
from ..wire.registry import DEFAULT, PRIVATE_HEADERS
from .permissions import Rights
from .resolve import candidates
from .state import Attempt as Attempt
from .state import RoutingState as RoutingState
from .strategies import Option, Rng, best_options, positive_weights, round_robin, shares, weighted_random
from .table import ListedModel, Pool, is_fallback
from .table import Table as Table
from .table import Target as Target
from .table import scopes_of as scopes_of
from .table import served_name as served_name
from .table import table_of as table_of

MAX_SESSION_CHARS = 256  # of a conversation's name
MAX_NAMED = 24  # tags or names in one error text
NO_VARIABLES: Mapping[str, Any] = {}
SELECTABLE = frozenset({"ok", "probe"})
LOWER, FALLBACK = "another candidate ranked higher or was next in turn", "a fallback: it answers only when the others do not"


def no_tokens() -> float:
    return 0.0


@dataclass(slots=True)
class RoutingRequest:
    """What a choice may depend on in one request. Header names in lower case."""

    name: str
    body: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = DEFAULT
    stream: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    key_name: str = ""
    tokens: Callable[[], float] = no_tokens  # called only when a limit counts tokens
    query: Query | None = None
    rights: Rights | None = None  # of the caller's key; None when it may use everything
    text: str = ""  # the body as it was sent, for expressions that distinguish 1.10 from 1.1
    size: int = 0  # of a body whose text is not at hand
    verdicts: Mapping[str, tuple[bool, str]] = field(default_factory=dict)  # selectors that were evaluated elsewhere
    session_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # and affinity expressions; by their texts
    home: str = ""  # the member that holds the conversation so far
    provider: str = ""  # the only one that may answer: it has the files that the body names
    _spelled: Any = None

    def variables(self) -> dict[str, Any]:
        """The variables of a selector: $model, $protocol, $stream, $headers (no credentials), $key."""
        public = {name: value for name, value in self.headers.items() if name not in PRIVATE_HEADERS}
        return {"model": self.name, "protocol": self.protocol, "stream": self.stream, "headers": public,
                "key": self.key_name}  # fmt: skip

    def body_for(self, expression: Selector) -> Mapping[str, Any]:
        """The body; with its numbers as the caller wrote them, if the expression distinguishes them. Read once."""
        if not expression.spells or not self.text:
            return self.body
        if self._spelled is None:
            self._spelled = expression.read(self.text)
        return self.body if self._spelled is None else self._spelled


Forecasting = Callable[[Sequence[Scope], Callable[[], float], float], Forecast]


@dataclass(frozen=True, slots=True)
class Choice:
    """The member to try next, and what to store once the attempt begins."""

    target: Target
    pool: str = ""
    turns: Mapping[str, float] | None = None  # the pool's counters after this choice
    session: tuple[str, str] | None = None  # the conversation that stays with this member


class Plan:
    """The candidates of one request, one after the other."""

    def __init__(
        self, table: Table, routing_state: RoutingState, request: RoutingRequest, now: float, rng: Rng,
        pools: Sequence[Pool], forecast: Forecasting,
    ) -> None:  # fmt: skip
        self._table, self._routing_state, self._request, self._rng, self._pools = table, routing_state, request, rng, pools
        self._limits = forecast
        self._now = now
        self._tried: dict[str, Attempt] = {}
        self._selections: dict[str, list[Target]] = {}  # by pool
        self._verdicts: dict[str, tuple[bool, str]] = {}  # by selector
        self._variables: dict[str, Any] | None = None
        self._estimate: float | None = None  # of the prompt's tokens
        self._refused_window = 0  # the largest window that was too small for this prompt already
        self._selected(pools[0])

    @property
    def group(self) -> Group | None:
        return self._pools[0].group

    @property
    def attempts(self) -> int:
        return len(self._tried)

    @property
    def first_output_timeout_s(self) -> float | None:
        return self.group.first_output_timeout_s if self.group else None

    # -- selectors

    def _verdict(self, selector: Selector) -> tuple[bool, str]:
        """(did it match, error text); evaluated once per request."""
        known = self._verdicts.get(selector.text)
        if known is None and selector.text in self._request.verdicts:
            known = self._verdicts[selector.text] = self._request.verdicts[selector.text]
            if known[1]:
                self._routing_state.note(f"selector {selector.text!r}: {known[1][:200]}")
        if known is None:
            if selector.names and self._variables is None:
                self._variables = self._request.variables()
            body = self._request.body_for(selector) if selector.spells else self._request.body
            known = self._verdicts[selector.text] = selector.verdict(body, self._variables or NO_VARIABLES)
            if known[1]:
                self._routing_state.note(f"selector {selector.text!r}: {known[1][:200]}")
        return known

    def _selected(self, pool: Pool) -> list[Target]:
        chosen = self._selections.get(pool.name)
        if chosen is None:
            chosen = self._selections[pool.name] = [
                target for target in pool.targets
                if target.candidate is not None and (target.selector is None or self._verdict(target.selector)[0])
                and not self._denial(target) and not self._is_elsewhere(target)
            ]  # fmt: skip
        return chosen

    def _denial(self, target: Target) -> str:
        """Why the caller may not use it; "" when it may."""
        rights = self._request.rights
        return rights.denial(target.candidate) if rights is not None and target.candidate is not None else ""

    def _is_elsewhere(self, target: Target) -> bool:
        """Whether its provider is not the one that has the files of the request."""
        wanted = self._request.provider
        return bool(wanted) and target.candidate is not None and target.candidate.provider.name != wanted

    @property
    def providers(self) -> set[str]:
        """Of all candidates, whether they may be chosen or not."""
        return {
            target.candidate.provider.name for pool in self._pools for target in pool.targets if target.candidate is not None
        }

    # -- context windows

    def needs_larger(self, window: int) -> None:
        """A member refused the prompt as longer than its window of so many tokens."""
        self._refused_window = max(self._refused_window, window)

    def _is_small(self, target: Target) -> bool:
        """Whether the prompt does not fit into its window, as far as that is known and the estimate goes."""
        window = self._routing_state.window(target.candidate) if target.candidate is not None else None
        if window is None:
            return False
        if window <= self._refused_window:
            return True
        if max(len(self._request.text), self._request.size) <= window:  # as nearly always: a token is a character at the least
            return False
        if self._estimate is None:
            self._estimate = self._request.tokens()
        return self._estimate > window

    # -- availability

    def _state(self, target: Target, now: float) -> str:
        """ok, probe, or why not: off, no_key, cooling, open, probing."""
        candidate = target.candidate
        if candidate is None:
            return "off"
        if candidate.provider.lacks_key:
            return "no_key"
        if self._routing_state.key_cooldowns and self._routing_state.keys_back_in_s(candidate, now):
            return "cooling"
        known = self._routing_state.healths.get(target.name)
        return "ok" if known is None else circuit_breaker.state(known, now)

    def _option(self, target: Target, now: float) -> Option | None:
        """None when it is not available now."""
        routing_state, name = self._routing_state, target.name
        if name in self._tried or self._state(target, now) not in SELECTABLE:
            return None
        if target.scopes and self._forecast(target, now).state != "go":
            return None
        known = routing_state.healths.get(name)
        if known is None:
            return Option(target, target.weight, 1.0, routing_state.active.get(name, 0), 0.0)
        factor = circuit_breaker.factor(known, self._table.routing.health, now)
        active, latency_s = routing_state.active.get(name, 0), circuit_breaker.latency(known, now)
        return Option(target, target.weight * factor, factor, active, latency_s)

    def _forecast(self, target: Target, now: float) -> Forecast:
        return self._limits(target.scopes, self._request.tokens, now) if target.scopes else GO

    def _options(self, pool: Pool, now: float) -> list[Option]:
        targets = self._selected(pool)
        if len(targets) > 1 or self._refused_window:
            targets = [target for target in targets if not self._is_small(target)]
        return [option for target in targets if (option := self._option(target, now)) is not None]

    # -- the choice

    def _session(self, pool: Pool) -> tuple[str, str] | None:
        """(pool, conversation), when the group keeps conversations on one member."""
        affinity = pool.group.affinity if pool.group else None
        if affinity is None:
            return None
        name = self._request.headers.get(affinity.header, "") if affinity.header else ""
        if affinity.expression is not None:
            expression = affinity.expression
            name, wrong = self._request.session_names.get(expression.text) or expression.name(
                self._request.body_for(expression), self._request.variables())  # fmt: skip
            if wrong:
                self._routing_state.note(f"affinity {expression.text!r}: {wrong[:200]}")
        return (pool.name, name[:MAX_SESSION_CHARS]) if name else None

    def _choose(self, pool: Pool, options: list[Option], now: float) -> Choice:
        """The conversation's member if it is available, else the strategy's choice."""
        session = self._session(pool)
        home = self._request.home or (self._routing_state.session(session, now) if session else "")
        chosen = next((option for option in options if option.target.name == home), None) if home else None
        turns = None
        if chosen is None:
            best = best_options(positive_weights(options), pool.strategy)
            if pool.strategy == "random":
                chosen = weighted_random(best, self._rng)
            else:
                chosen, turns = round_robin(best, self._routing_state.turns.get(pool.name, {}))
        return Choice(chosen.target, pool.name, turns, session)

    def _last_resorts(self, now: float) -> list[Target]:
        """Members whose limits require a wait, shortest first; then unhealthy ones, soonest recovery first."""
        waits: list[tuple[int, float, int, Target]] = []
        for pool in self._pools:
            for target in self._selected(pool):
                state, forecast = self._state(target, now), self._forecast(target, now)
                if target.name in self._tried or state in ("off", "no_key") or forecast.state == "refuse":
                    continue
                if self._refused_window and self._is_small(target):
                    continue
                is_healthy = state in SELECTABLE
                back_s = forecast.wait_s if is_healthy else self._back_in_s(target, now)
                rank = 2 if self._is_small(target) else 0 if is_healthy else 1
                waits.append((rank, back_s, len(waits), target))
        return [target for *_, target in sorted(waits, key=lambda each: each[:3])]

    def _back_in_s(self, target: Target, now: float) -> float:
        keys_s = self._routing_state.keys_back_in_s(target.candidate, now) if target.candidate else 0.0
        return max(keys_s, circuit_breaker.back_in_s(self._routing_state.health(target.name), now))

    def choose(self, now: float) -> Choice | None:
        """The next member to try; None when none is left. Changes nothing."""
        for pool in self._pools:
            options = self._options(pool, now)
            if options:
                return self._choose(pool, options, now)
        waiting = self._last_resorts(now)
        return Choice(waiting[0]) if waiting else None

    def begin(self, choice: Choice, now: float) -> Attempt:
        """The attempt at a choice: it counts as active from now on, and its turn as used."""
        target, routing_state = choice.target, self._routing_state
        if choice.turns is not None:
            routing_state.turns.setdefault(choice.pool, {}).update(choice.turns)
        if choice.session is not None:
            routing_state.keep_session(choice.session, target.name, now)
        attempt = self._tried[target.name] = Attempt(target, routing_state, self._table.routing.health, now)
        return attempt

    def next(self, now: float) -> Attempt | None:
        """The attempt at the next member; None when none is left."""
        choice = self.choose(now)
        return None if choice is None else self.begin(choice, now)

    def healthy(self) -> bool:
        """Whether a healthy member was available when this was planned, at once or after a wait."""
        now = self._now
        return any(
            self._state(target, now) in SELECTABLE and self._forecast(target, now).state != "refuse"
            for pool in self._pools for target in self._selected(pool)
        )  # fmt: skip

    # -- refusals and explanations

    def refusal(self, now: float) -> GatewayError:
        """The error when no member could be tried."""
        what = self._request.name or str(self._request.query)
        targets = [target for pool in self._pools for target in self._selected(pool)]
        over_limit = [forecast for target in targets if (forecast := self._forecast(target, now)).state == "refuse"]
        limited = [attempt.limited for attempt in self._tried.values() if attempt.limited is not None]
        if over_limit:
            return refusal(min(over_limit, key=lambda forecast: forecast.wait_s))
        if limited and all(isinstance(each, NoSlot) for each in limited):
            return RateLimited(f"{what}: no slot became free in time; try again", retry_after_s=1.0)
        if limited:
            return min(limited, key=lambda each: each.retry_after_s or 0.0)
        states = {self._state(target, now) for pool in self._pools for target in pool.targets}
        if states <= {"off"}:
            return Unavailable(f"{what}: all of its models are switched off", code="no_member")
        if not targets:
            failed = {each.selector.text for pool in self._pools for each in pool.targets
                      if each.selector is not None and self._verdict(each.selector)[1]}  # fmt: skip
            more = f", and {len(failed)} of them failed on it (the gateway's log says why)" if failed else ""
            return Unavailable(f"{what}: no member accepts this request: no selector matched{more}", code="no_member")
        if {self._state(target, now) for target in targets} <= {"off", "no_key"}:
            hint = next(target.candidate.provider for target in targets if target.candidate)
            return Unavailable(f"{what}: {hint.name} has no key: set {hint.key_hint}", code="no_key")
        back_s = min(self._back_in_s(target, now) for target in targets)
        return Unavailable(f"{what}: no healthy member available", retry_after_s=back_s or None, code="no_member")

    def explain(self, now: float) -> dict[str, Any]:
        """Every candidate and why it was chosen or not, as JSON. Changes nothing."""
        getstate = getattr(self._rng, "getstate", None)
        before = getstate() if getstate else None
        choice = self.choose(now)
        chosen = choice.target if choice else None
        if before is not None:
            self._rng.setstate(before)  # type: ignore[attr-defined]  # what has getstate has it
        rows = self.rows(chosen, now)
        session = self._session(self._pools[0])
        return {
            "model": self._request.name, "group": self.group.name if self.group else None,
            "query": str(self._request.query) if self._request.query else None,
            "strategy": self._pools[0].strategy, "chosen": chosen.name if chosen else None,
            "attempts": list(self._tried),
            "affinity": {"conversation": session[1], "member": self._routing_state.session(session, now) or None}
            if session else None,
            "candidates": rows,
        }  # fmt: skip

    def rows(self, chosen: Target | None, now: float) -> list[dict[str, Any]]:
        """Every candidate. Those that are tried first have shares: of the first pool in which one is available."""
        found: list[dict[str, Any]] = []
        parts: dict[str, float] = {}
        for pool in self._pools:
            own = {} if parts else shares(self._options(pool, now), pool.strategy)
            parts = parts or own
            found += [self._row(pool, target, own.get(target.name, 0.0), chosen, now) for target in pool.targets]
        return found

    def _row(self, pool: Pool, target: Target, share: float, chosen: Target | None, now: float) -> dict[str, Any]:
        selected, wrong = self._verdict(target.selector) if target.selector else (True, "")
        state, forecast = self._state(target, now), self._forecast(target, now)
        known = self._routing_state.health(target.name)
        factor = circuit_breaker.factor(known, self._table.routing.health, now) if state in SELECTABLE else 0.0
        is_reserve = pool is not self._pools[0] or is_fallback(pool, target)
        why = self._why(target, state, forecast, selected, wrong, chosen)
        if why == LOWER and is_reserve:
            why = FALLBACK
        return {
            "model": target.name, "provider": target.name.partition("/")[0],
            "group": pool.group.name if pool.group else None, "weight": target.weight, "priority": target.priority,
            "effective_weight": round(target.weight * factor, 3),
            "share": round(share, 4), "is_fallback": is_reserve,
            "state": "not_allowed" if self._denial(target)
            else {"wait": "limited", "queue": "full", "refuse": "limited"}.get(forecast.state, state)
            if state in SELECTABLE else state,
            "back_in_s": round(self._back_in_s(target, now), 3), "active": self._routing_state.active.get(target.name, 0),
            "latency_s": known.latency_s, "price": None if target.price == float("inf") else target.price,
            "selector": target.selector.text if target.selector else None, "selected": selected,
            "selector_error": wrong or None, "why": why,
        }  # fmt: skip

    def _mismatch(self, selector: Selector | None) -> str:
        """Why it did not match. An output that is neither true nor false is probably a mistake in the selector."""
        kind = ""
        if selector is not None and selector.text not in self._request.verdicts:  # a large body was evaluated elsewhere
            kind = selector.kind(self._request.body_for(selector), self._variables or NO_VARIABLES)
        return f"selector returned {kind}; only true selects" if kind else "selector did not match"

    def _why(self, target: Target, state: str, forecast: Forecast, selected: bool, wrong: str, chosen: Target | None) -> str:
        if target.name in self._tried:
            return "already tried"
        if denial := self._denial(target):
            return denial
        if self._is_elsewhere(target):
            return f"the file that the request names is at {self._request.provider}"
        if chosen is not None and target.name == chosen.name:
            return "chosen" if state in SELECTABLE else f"chosen: no better candidate left ({STATES[state]})"
        if not selected:
            return f"selector failed: {wrong}" if wrong else self._mismatch(target.selector)
        if state not in SELECTABLE:
            return STATES[state]
        if forecast.state != "go":
            return f"limited: {forecast.why}"
        if self._is_small(target):
            return "the prompt is longer than its context window"
        return LOWER


STATES: Mapping[str, str] = {
    "ok": "healthy", "probe": "circuit breaker half-open: one trial request allowed",
    "probing": "circuit breaker half-open: trial request in progress",
    "open": "circuit breaker open after consecutive failures", "cooling": "cooling down (Retry-After)",
    "no_key": "its provider has no key", "off": "switched off",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- queries


def query_of(request: RoutingRequest, routing: Routing) -> Query | None:
    """The query of a request, with its task merged in; None when the request names a model or group."""
    query = request.query if request.query is not None else query_in(request.name)
    if query is None or not query.task:
        return query
    if query.task not in routing.tasks:
        named = ", ".join(sorted(routing.tasks)[:MAX_NAMED]) or "none: see [tasks]"
        raise UnknownModel(f"unknown task {query.task[:100]!r}; configured: {named}", details={"task": query.task[:100]})
    return query & routing.tasks[query.task]


def tag_pool(table: Table, query: Query) -> Pool:
    """The models that match a query; UnknownModel, naming the tags there are, when none does."""
    found = [each.target for each in table.listed if matches(each, query)]
    if not found:
        raise no_match(table, query)
    return Pool(TAG, table.routing.tag_strategy, tuple(found))


def matches(each: ListedModel, query: Query) -> bool:
    return query.fits(each.tags, each.target.name, each.provider_type)


def no_match(table: Table, query: Query) -> UnknownModel:
    known = sorted({tag for each in table.listed for tag in each.tags})
    wanted = [*query.every, *(tag for group in query.any for tag in group)]
    missing = [tag for tag in wanted if tag not in known]
    hint = f"; no model has {', '.join(missing[:8])}" if missing else ""
    tags = ", ".join(known[:MAX_NAMED]) or "none"
    text = f"no model matches {str(query)[:300]}{hint}; configured tags: {tags}"
    return UnknownModel(text, details={"tags": known[:MAX_NAMED]})


def pools_of(table: Table, request: RoutingRequest) -> Sequence[Pool]:
    query = query_of(request, table.routing)
    if query is not None:
        if query.empty:
            raise BadRequest("the query is empty: give tags, any, none, name or task", details={"path": "query"})
        return (tag_pool(table, query),)
    name = served_name(table, request.name.removeprefix("models/"))
    if name in table.chains:
        return table.chains[name]
    candidate = candidates(table.routes, name)[0]
    target = Target(candidate.name, candidate, scopes=scopes_of(candidate))
    return (Pool(f"model:{candidate.name}", "priority", (target,)),)


def plan(
    table: Table, routing_state: RoutingState, request: RoutingRequest, now: float, rng: Rng, forecast: Forecasting = unlimited
) -> Plan:
    """The plan of one request; UnknownModel or BadRequest when nothing matches, Forbidden when the key may not use it."""
    pools = pools_of(table, request)
    if request.rights is not None:
        group = pools[0].group.name if pools[0].group else None
        found = [target.candidate for pool in pools for target in pool.targets if target.candidate is not None]
        request.rights.check_some(request.name or str(request.query), group, found)
    return Plan(table, routing_state, request, now, rng, pools, forecast)


class NoChance:
    """In the place of a random number generator where nothing is chosen."""

    def random(self) -> float:
        return 0.0


def member_rows(table: Table, routing_state: RoutingState, name: str, now: float) -> list[dict[str, Any]]:
    """A group's members as the next request would find them if every selector matched and no limit were reached."""
    pool = table.chains[name][0]
    bare = replace(pool, targets=tuple(replace(target, selector=None) for target in pool.targets))
    made = Plan(table, routing_state, RoutingRequest(name), now, NoChance(), (bare,), unlimited)
    return made.rows(None, now)
