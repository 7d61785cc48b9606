"""Who answers one request, and who does when that one fails: groups, tags and plain names, by strategy, health and limits.

    table = table_of(config, routes_of(config))          once per Config
    board = Board()                                      once per process: what is remembered, by name
    made = plan(table, board, Ask("gpt_models", body, "openai"), now, rng)
    attempt = made.next(now)                             -> Attempt(candidate, key, ...) or None when nobody is left
    attempt.succeeded(now) or attempt.failed(now, error) or attempt.end(now)
    made.explain(now)                                    -> every candidate, and why it was taken or not

Pure but for the board, which is handed in; time and dice are arguments. The order of choosing:

1. members whose selector is true, that are well, that have a key and room in their limits; the strategy decides
2. the fallbacks' members, in the same way
3. who has to be waited for, shortest wait first; then who is not well, soonest back first: the last is always tried
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import health as healths
from .auth import PRIVATE_HEADERS
from .config import Config
from .errors import BadRequest, GatewayError, RateLimited, Unavailable, UnknownModel
from .health import WELL, Health, Rules
from .limits import GO, Forecast, Limit, Meters, Permit, Scope, refusal
from .policy import Candidate, Routes, candidates
from .routing import Group, Member, Routing, Selector
from .settings import Secret
from .tags import TAG, Query, query_in

MAX_SESSIONS = 10_000       # conversations remembered for affinity
SESSION_S = 3_600.0         # the longest prompt caches live an hour
MAX_SESSION_CHARS = 256     # of what names a conversation
KEY_REFUSED_S = 300.0       # a key that the provider does not know, or that has no credit
KEY_LIMITED_S = 30.0        # a key that is limited, or refused for one model
INPUTS_PER_OUTPUT = 3.0     # tokens, for comparing prices
NEAR = {"latency": (0.1, 0.005)}  # strategy -> what counts as equal: part of the best, and seconds
EQUAL = (0.0, 1e-9)
MAX_NAMED = 24              # tags or names in one error text


class Dice(Protocol):
    """random.Random, as far as it is needed."""

    def random(self) -> float: ...


def no_tokens() -> float:
    return 0.0


@dataclass(slots=True)
class Ask:
    """One request as far as a choice may look at it. Header names in lower case."""

    name: str
    body: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "openai"
    stream: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    key_name: str = ""
    tokens: Callable[[], float] = no_tokens  # called when a limit counts tokens
    query: Query | None = None

    def variables(self) -> dict[str, Any]:
        """What a selector may name: $model, $protocol, $stream, $headers (no credentials), $key."""
        public = {name: value for name, value in self.headers.items() if name not in PRIVATE_HEADERS}
        return {"model": self.name, "protocol": self.protocol, "stream": self.stream, "headers": public,
                "key": self.key_name}  # fmt: skip


# ---------------------------------------------------------------------------------------- the configuration, looked up


@dataclass(frozen=True, slots=True)
class Target:
    """One model in one group, with all that its choice needs."""

    name: str
    candidate: Candidate | None  # None: switched off
    weight: float = 100
    priority: float = 0
    selector: Selector | None = None
    scopes: tuple[Scope, ...] = ()
    price: float = float("inf")  # USD for a million tokens, mixed


@dataclass(frozen=True, slots=True)
class Pool:
    """Targets among which one strategy chooses. `name` is that of its counters."""

    name: str
    strategy: str
    targets: tuple[Target, ...]
    group: Group | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed model, as tag queries see it."""

    target: Target
    tags: frozenset[str]
    provider_type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A Config turned into look-ups for routing."""

    routes: Routes
    routing: Routing
    chains: Mapping[str, tuple[Pool, ...]]  # a group and, behind it, its fallbacks
    listed: tuple[Listed, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(chain[0].group for chain in self.chains.values() if chain[0].group)

    def targets(self) -> dict[str, Target]:
        """Every model of the configuration, by name."""
        found = {target.name: target for chain in self.chains.values() for pool in chain for target in pool.targets}
        return found | {each.target.name: each.target for each in self.listed}


def price_of(candidate: Candidate) -> float:
    model = candidate.model
    if model is None or (model.input_usd_per_mtok is None and model.output_usd_per_mtok is None):
        return float("inf")  # unknown: after everything that has a price
    given, made = model.input_usd_per_mtok or 0.0, model.output_usd_per_mtok
    return (INPUTS_PER_OUTPUT * given + (given if made is None else made)) / (INPUTS_PER_OUTPUT + 1)


def scopes_of(candidate: Candidate) -> tuple[Scope, ...]:
    model, provider = candidate.model, candidate.provider
    found: list[tuple[str, Limit | None]] = [
        (f"model:{candidate.name}", model.limit if model else None), (f"provider:{provider.name}", provider.limit),
    ]  # fmt: skip
    return tuple((name, limit) for name, limit in found if limit is not None)


def target_of(routes: Routes, member: Member) -> Target:
    try:
        candidate = candidates(routes, member.model)[0]
    except UnknownModel:
        return Target(member.model, None, member.weight, member.priority, member.selector)
    return Target(
        candidate.name, candidate, member.weight, member.priority, member.selector, scopes_of(candidate),
        price_of(candidate),
    )  # fmt: skip


def pool_of(routes: Routes, group: Group) -> Pool:
    targets = tuple(target_of(routes, member) for member in group.members)
    return Pool(f"group:{group.name}", group.strategy, targets, group)


def alone(routes: Routes, name: str) -> Pool:
    return Pool(f"model:{name}", "priority", (target_of(routes, Member(name)),))


def chain_of(name: str, groups: Mapping[str, Group], routes: Routes, seen: set[str]) -> list[Pool]:
    """The pools of a name and of its fallbacks, each once, in the order they are asked."""
    if name in seen:
        return []
    seen.add(name)
    if name not in groups:
        return [alone(routes, name)]
    chain = [pool_of(routes, groups[name])]
    for fallback in groups[name].fallbacks:
        chain += chain_of(fallback, groups, routes, seen)
    return chain


def listed_of(config: Config, routes: Routes) -> tuple[Listed, ...]:
    types = {provider.name: provider.type for provider in config.providers}
    return tuple(
        Listed(target_of(routes, Member(f"{model.provider}/{model.name}", priority=model.priority)),
               frozenset(map(str.casefold, model.tags)), types[model.provider])
        for model in config.models
    )  # fmt: skip


def table_of(config: Config, routes: Routes) -> Table:
    groups = {group.name: group for group in config.groups}
    chains = {name: tuple(chain_of(name, groups, routes, set())) for name in groups}
    return Table(routes, config.routing, chains, listed_of(config, routes))


# --------------------------------------------------------------------------------------------------- what is remembered


class Board:
    """What is known of members, keys, conversations and limits: by name, so that it outlives a configuration."""

    def __init__(self) -> None:
        self.healths: dict[str, Health] = {}
        self.active: dict[str, int] = {}                  # requests under way, by model
        self.turns: dict[str, dict[str, float]] = {}      # smooth weighted round robin, by pool and model
        self.sessions: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self.key_rests: dict[tuple[str, Secret], float] = {}  # (provider or model, key) -> until
        self.meters = Meters()
        self.complaints: list[str] = []
        self._complained: set[str] = set()

    def health(self, name: str) -> Health:
        return self.healths.get(name, WELL)

    def complain(self, text: str) -> None:
        """Kept for the log, once per text."""
        if text not in self._complained and len(self._complained) < MAX_SESSIONS:
            self._complained.add(text)
            self.complaints.append(text)

    def take_complaints(self) -> list[str]:
        taken, self.complaints = self.complaints, []
        return taken

    def admit_key(self, config: Config, key_name: str, tokens: Callable[[], float], now: float) -> Permit:
        """What a caller's key may use; RateLimited when that is used up."""
        limit = config.server.key_limits
        return self.meters.take(((f"key:{key_name}", limit),) if limit else (), tokens, now)

    # -- keys of providers

    def key_back(self, candidate: Candidate, key: Secret) -> float:
        """When a key may be used again; 0 = always could."""
        rests = self.key_rests
        return max(rests.get((candidate.provider.name, key), 0.0), rests.get((candidate.name, key), 0.0))

    def key_for(self, candidate: Candidate, now: float, but: Iterable[Secret] = ()) -> Secret | None:
        """The first key that is not resting, else the one that rests least; None without keys."""
        keys = [key for key in candidate.provider.keys if key not in but]
        if not self.key_rests or len(keys) < 2:
            return keys[0] if keys else None
        return min(keys, key=lambda key: max(self.key_back(candidate, key) - now, 0.0))

    def keys_back_in_s(self, candidate: Candidate, now: float) -> float:
        """0 when some key is usable, or none is needed."""
        keys = candidate.provider.keys
        return max(0.0, min(self.key_back(candidate, key) for key in keys) - now) if keys and self.key_rests else 0.0

    def rest_key(self, candidate: Candidate, key: Secret, now: float, error: GatewayError) -> None:
        """401 and 402 concern the key everywhere, 403 and 429 perhaps only this model."""
        where = candidate.provider.name if error.status in (401, 402) else candidate.name
        rest_s = KEY_REFUSED_S if error.status in (401, 402) else error.retry_after_s or KEY_LIMITED_S
        self.key_rests[where, key] = now + min(rest_s, healths.MAX_COOL_S)

    def wake_key(self, candidate: Candidate, key: Secret) -> None:
        self.key_rests.pop((candidate.provider.name, key), None)
        self.key_rests.pop((candidate.name, key), None)

    # -- conversations

    def session(self, key: tuple[str, str], now: float) -> str:
        name, at = self.sessions.get(key, ("", 0.0))
        return name if now - at < SESSION_S else ""

    def keep_session(self, key: tuple[str, str], name: str, now: float) -> None:
        self.sessions[key] = (name, now)
        self.sessions.move_to_end(key)
        while len(self.sessions) > MAX_SESSIONS:
            self.sessions.popitem(last=False)

    # -- /health/models

    def report(self, table: Table, now: float) -> list[dict[str, Any]]:
        """How every model does that is listed, in a group, or was asked for."""
        known = table.targets()
        lines = (self._report_line(table, name, known.get(name), now) for name in dict.fromkeys([*known, *self.healths]))
        return [line for line in lines if line is not None]

    def _report_line(self, table: Table, name: str, target: Target | None, now: float) -> dict[str, Any] | None:
        target = target or target_of(table.routes, Member(name))
        known, candidate = self.health(name), target.candidate
        if candidate is None and name not in table.targets():
            return None  # of an earlier configuration
        keyless = candidate is not None and candidate.provider.needs_key and not candidate.provider.keys
        return {
            "model": name, "provider": name.partition("/")[0],
            "state": "off" if candidate is None else "no_key" if keyless else healths.state(known, now),
            "factor": round(healths.factor(known, table.routing.health, now), 4), "active": self.active.get(name, 0),
            "consecutive_failures": known.in_a_row, "back_in_s": round(healths.back_in_s(known, now), 3),
            "latency_s": known.latency_s, "successes": known.successes, "failures": known.failures,
            "last_error": known.last_error or None, "keys": self._key_report(candidate, now) if candidate else [],
            "groups": [group.name for group in table.groups if any(member.model == name for member in group.members)],
        }  # fmt: skip

    def _key_report(self, candidate: Candidate, now: float) -> list[dict[str, Any]]:
        """Each key's state, by its place; never the key."""
        backs = [max(0.0, self.key_back(candidate, key) - now) for key in candidate.provider.keys]
        return [{"key": place + 1, "state": "resting" if back else "ok", "back_in_s": round(back, 3)}
                for place, back in enumerate(backs)]  # fmt: skip


# ------------------------------------------------------------------------------------------------- choosing among some


@dataclass(slots=True)
class Option:
    """A target that can be asked now, and what its weight is worth."""

    target: Target
    weight: float
    factor: float
    active: int
    latency_s: float


def rank_none(option: Option) -> float:
    return 0.0


def rank_leastconn(option: Option) -> float:
    return option.active / option.weight


def rank_latency(option: Option) -> float:
    """Never measured: first, but by one request at a time."""
    if not option.latency_s:
        return 0.0 if not option.active else 1e9
    return option.latency_s / option.factor


def rank_cost(option: Option) -> float:
    return option.target.price


RANKS: Mapping[str, Callable[[Option], float]] = {
    "roundrobin": rank_none, "random": rank_none, "leastconn": rank_leastconn, "latency": rank_latency,
    "cost": rank_cost, "priority": rank_none,
}  # fmt: skip


def best_of(options: list[Option], strategy: str) -> list[Option]:
    """The options that the strategy holds to be equally good."""
    top = max(option.target.priority for option in options)
    first = [option for option in options if option.target.priority == top]
    rank = RANKS[strategy]
    if rank is rank_none or len(first) == 1:
        return first
    ranks = [rank(option) for option in first]
    part, absolute = NEAR.get(strategy, EQUAL)
    limit = min(ranks) * (1 + part) + absolute
    return [option for option, value in zip(first, ranks, strict=True) if value <= limit]


def by_turn(options: Sequence[Option], turns: Mapping[str, float]) -> tuple[Option, dict[str, float]]:
    """Smooth weighted round robin: the option whose turn it is, and the counters afterwards.

    Each option's counter grows by its weight, the largest is taken and pays for all (nginx's algorithm): weights
    5, 1, 1 give a a b a c a a, never five of a in a row. No dice: the shares are exact.
    """
    after: dict[str, float] = {}
    total, best, most = 0.0, options[0], float("-inf")
    for option in options:
        value = turns.get(option.target.name, 0.0) + option.weight
        after[option.target.name] = value
        total += option.weight
        if value > most + 1e-9:
            best, most = option, value
    after[best.target.name] -= total
    return best, after


def by_dice(options: Sequence[Option], rng: Dice) -> Option:
    """One of them, as likely as its weight."""
    place = rng.random() * sum(option.weight for option in options)
    for option in options:
        place -= option.weight
        if place < 0:
            return option
    return options[-1]


def weighted(options: list[Option]) -> list[Option]:
    """Without those of weight 0; when all have that, all of them alike."""
    if all(option.weight > 0 for option in options):
        return options
    heavy = [option for option in options if option.weight > 0]
    for option in options:
        option.weight = option.weight or option.factor
    return heavy or options


# ---------------------------------------------------------------------------------------------------------- one attempt


class Attempt:
    """One member asked once. Tell it what happened; whatever comes last ends it, and ending twice does no harm."""

    __slots__ = ("_board", "_permit", "_rules", "_started_at", "_tried_keys", "candidate", "ended", "key", "target")

    def __init__(self, target: Target, permit: Permit, board: Board, rules: Rules, now: float) -> None:
        assert target.candidate is not None
        self.target, self.candidate = target, target.candidate
        self._board, self._permit, self._rules = board, permit, rules
        self._started_at = now + permit.wait_s
        self._tried_keys: list[Secret] = []
        self.key = board.key_for(self.candidate, now)
        self.ended = False
        board.active[target.name] = board.active.get(target.name, 0) + 1
        known = board.healths.get(target.name)
        if known is not None and healths.state(known, now) == "probe":
            board.healths[target.name] = healths.probed(known)

    @property
    def wait_s(self) -> float:
        """To be waited before sending: the limit's next turn, which is ours."""
        return self._permit.wait_s

    @property
    def queued(self) -> bool:
        return self._permit.queued

    @property
    def queue_wait_s(self) -> float:
        return self._permit.queue_wait_s

    def on_slot(self, callback: Callable[[], None]) -> None:
        """Calls it once when the slot is ours."""
        self._permit.on_slot(callback)

    def sent(self, now: float) -> None:
        """The request goes out now: latency is measured from here."""
        self._started_at = now

    def output(self, now: float) -> None:
        """The first output is there."""
        known = healths.measured(self._board.health(self.target.name), max(0.0, now - self._started_at), now)
        self._board.healths[self.target.name] = healths.released(known)

    def key_failed(self, now: float, error: GatewayError) -> bool:
        """After 401, 402, 403 or 429: whether another key is there; `key` is that one then."""
        if self.key is None or error.status not in (401, 402, 403, 429):
            return False
        alone = len(self.candidate.provider.keys) == 1
        if not (alone and error.status == 429):  # then it is the member that rests, if it was asked to
            self._board.rest_key(self.candidate, self.key, now, error)
        self._tried_keys.append(self.key)
        other = self._board.key_for(self.candidate, now, self._tried_keys)
        self.key = other or self.key
        return other is not None

    def succeeded(self, now: float, tokens: float | None = None) -> None:
        """The answer is whole; `tokens` are those it cost, input and output."""
        if self.ended:
            return
        name = self.target.name
        self._board.healths[name] = healths.succeeded(self._board.health(name), self._rules, now)
        if self.key is not None and self._board.key_rests:
            self._board.wake_key(self.candidate, self.key)
        if tokens is not None:
            self._permit.settle(now, tokens)
        self.end(now)

    def failed(self, now: float, error: GatewayError) -> None:
        """It did not answer. Only its own fault is held against it."""
        if self.ended:
            return
        if healths.is_own_fault(error):
            name, why = self.target.name, f"{error.status} {error.code}"
            known = self._board.health(name)
            self._board.healths[name] = healths.failed(known, self._rules, now, why, error.retry_after_s)
        self.end(now)

    def end(self, now: float) -> None:
        """Without a verdict when none was given: the caller left, or asked for what nobody can answer."""
        if self.ended:
            return
        self.ended = True
        name, board = self.target.name, self._board
        board.active[name] -= 1
        known = board.healths.get(name)
        if known is not None and known.probing:
            board.healths[name] = healths.released(known)
        self._permit.end(now)


# --------------------------------------------------------------------------------------------------------- one request


class Plan:
    """The candidates of one request, one after the other."""

    def __init__(
        self, table: Table, board: Board, ask: Ask, now: float, rng: Dice, pools: Sequence[Pool]
    ) -> None:  # fmt: skip
        self._table, self._board, self._ask, self._rng, self._pools = table, board, ask, rng, pools
        self._now = now
        self._tried: dict[str, Attempt] = {}
        self._selections: dict[str, tuple[Target, ...]] = {}  # by pool
        self._verdicts: dict[str, tuple[bool, str]] = {}      # by selector
        self._variables: dict[str, Any] | None = None
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
        """(is it true, what went wrong); evaluated once per request."""
        if selector.text not in self._verdicts:
            self._verdicts[selector.text] = self._evaluated(selector)
        return self._verdicts[selector.text]

    def _outputs(self, selector: Selector) -> tuple[Any, str]:
        """The first output, None when there is none; and what went wrong."""
        from .jq import JqError  # there since the expression was compiled

        if self._variables is None:
            self._variables = self._ask.variables()
        try:
            return next(iter(selector.filter.outputs(self._ask.body, self._variables)), None), ""
        except JqError as wrong:
            return None, str(wrong)
        except RecursionError:
            return None, "the body is nested too deeply"

    def _evaluated(self, selector: Selector) -> tuple[bool, str]:
        value, wrong = self._outputs(selector)
        if wrong:
            self._board.complain(f"selector {selector.text!r}: {wrong[:200]}")
        return value is True, wrong

    def _selected(self, pool: Pool) -> tuple[Target, ...]:
        if pool.name not in self._selections:
            self._selections[pool.name] = tuple(
                target for target in pool.targets
                if target.candidate is not None and (target.selector is None or self._verdict(target.selector)[0])
            )  # fmt: skip
        return self._selections[pool.name]

    # -- who can be asked now

    def _state(self, target: Target, now: float) -> str:
        """ok, probe, or why not: off, no_key, cooling, open, probing."""
        candidate = target.candidate
        if candidate is None:
            return "off"
        if candidate.provider.needs_key and not candidate.provider.keys:
            return "no_key"
        if self._board.key_rests and self._board.keys_back_in_s(candidate, now):
            return "cooling"
        known = self._board.healths.get(target.name)
        return "ok" if known is None else healths.state(known, now)

    def _option(self, target: Target, now: float) -> Option:
        known = self._board.healths.get(target.name)
        active = self._board.active.get(target.name, 0)
        if known is None:
            return Option(target, target.weight, 1.0, active, 0.0)
        factor = healths.factor(known, self._table.routing.health, now)
        return Option(target, target.weight * factor, factor, active, healths.latency(known, now))

    def _forecast(self, target: Target, now: float) -> Forecast:
        return self._board.meters.forecast(target.scopes, self._ask.tokens, now) if target.scopes else GO

    def _options(self, pool: Pool, now: float) -> list[Option]:
        return [
            self._option(target, now)
            for target in self._selected(pool)
            if target.name not in self._tried and self._state(target, now) in ("ok", "probe")
            and self._forecast(target, now).state == "go"
        ]  # fmt: skip

    # -- the choice

    def _session(self, pool: Pool) -> tuple[str, str] | None:
        """What the conversation is called, when the group keeps conversations together."""
        affinity = pool.group.affinity if pool.group else None
        if affinity is None:
            return None
        value: object = self._ask.headers.get(affinity.header) if affinity.header else None
        if affinity.expression is not None:
            value = self._outputs(affinity.expression)[0]
        return (pool.name, str(value)[:MAX_SESSION_CHARS]) if value not in (None, "", False) else None

    def _choose(self, pool: Pool, options: list[Option], now: float, *, keep: bool) -> Target:
        """The one that the conversation or the strategy wants; `keep` = remember the choice."""
        session = self._session(pool)
        home = self._board.session(session, now) if session else ""
        chosen = next((option for option in options if option.target.name == home), None) if home else None
        if chosen is None:
            best = best_of(weighted(options), pool.strategy)
            if pool.strategy == "random":
                chosen = by_dice(best, self._rng)
            else:
                counters = self._board.turns.setdefault(pool.name, {}) if keep else self._board.turns.get(pool.name, {})
                chosen, after = by_turn(best, counters)
                if keep:
                    counters.update(after)
        if session and keep:
            self._board.keep_session(session, chosen.target.name, now)
        return chosen.target

    def _last_resorts(self, now: float) -> list[Target]:
        """Who has to be waited for, shortest first; then who is not well, soonest back first."""
        waits: list[tuple[int, float, int, Target]] = []
        for pool in self._pools:
            for target in self._selected(pool):
                state, forecast = self._state(target, now), self._forecast(target, now)
                if target.name in self._tried or state in ("off", "no_key") or forecast.state == "refuse":
                    continue
                well = state in ("ok", "probe")
                back_s = forecast.wait_s if well else self._back_in_s(target, now)
                waits.append((0 if well else 1, back_s, len(waits), target))
        return [target for *_, target in sorted(waits, key=lambda each: each[:3])]

    def _back_in_s(self, target: Target, now: float) -> float:
        keys_s = self._board.keys_back_in_s(target.candidate, now) if target.candidate else 0.0
        return max(keys_s, healths.back_in_s(self._board.health(target.name), now))

    def _pick(self, now: float, *, keep: bool) -> Target | None:
        for pool in self._pools:
            options = self._options(pool, now)
            if options:
                return self._choose(pool, options, now, keep=keep)
        waiting = self._last_resorts(now)
        return waiting[0] if waiting else None

    def next(self, now: float) -> Attempt | None:
        """The next one to ask, counted as asked; None when nobody is left."""
        target = self._pick(now, keep=True)
        if target is None:
            return None
        permit = self._board.meters.take(target.scopes, self._ask.tokens, now)
        attempt = Attempt(target, permit, self._board, self._table.routing.health, now)
        self._tried[target.name] = attempt
        return attempt

    def healthy(self) -> bool:
        """Whether somebody who is well could be asked when this was planned, at once or after a wait."""
        now = self._now
        return any(
            self._state(target, now) in ("ok", "probe") and self._forecast(target, now).state != "refuse"
            for pool in self._pools for target in self._selected(pool)
        )  # fmt: skip

    # -- what it says

    def refusal(self, now: float) -> GatewayError:
        """Why nobody was asked, or could be."""
        what = self._ask.name or str(self._ask.query)
        targets = [target for pool in self._pools for target in self._selected(pool)]
        refused = [forecast for target in targets if (forecast := self._forecast(target, now)).state == "refuse"]
        timed_out = [attempt.target for attempt in self._tried.values() if attempt.queue_wait_s]
        if refused:
            return refusal(min(refused, key=lambda forecast: forecast.wait_s))
        if timed_out:
            return RateLimited(f"{what}: no slot became free in time; try again", retry_after_s=1.0)
        states = {self._state(target, now) for pool in self._pools for target in pool.targets}
        if states <= {"off"}:
            return Unavailable(f"{what}: every model behind it is switched off", code="no_member")
        if not targets:
            return Unavailable(f"{what}: no member takes this request: no selector is true", code="no_member")
        if {self._state(target, now) for target in targets} <= {"off", "no_key"}:
            hint = next(target.candidate.provider for target in targets if target.candidate)
            return Unavailable(f"{what}: {hint.name} has no key: set {hint.key_hint}", code="no_key")
        back_s = min(self._back_in_s(target, now) for target in targets)
        return Unavailable(f"{what}: no member is well now", retry_after_s=back_s or None, code="no_member")

    def explain(self, now: float) -> dict[str, Any]:
        """Every candidate and why it is or was taken or not, as JSON; nothing changes by it."""
        dice = getattr(self._rng, "getstate", None)
        before = dice() if dice else None
        chosen = self._pick(now, keep=False)
        if before is not None:
            self._rng.setstate(before)  # type: ignore[attr-defined]  # what has getstate has it
        rows = [row for pool in self._pools for row in self._rows(pool, chosen, now)]
        session = self._session(self._pools[0])
        return {
            "model": self._ask.name, "group": self.group.name if self.group else None,
            "query": str(self._ask.query) if self._ask.query else None,
            "strategy": self._pools[0].strategy, "chosen": chosen.name if chosen else None,
            "attempts": list(self._tried),
            "affinity": {"conversation": session[1], "member": self._board.session(session, now) or None}
            if session else None,
            "candidates": rows,
        }  # fmt: skip

    def _rows(self, pool: Pool, chosen: Target | None, now: float) -> list[dict[str, Any]]:
        options = {option.target.name: option for option in self._options(pool, now)}
        total = sum(option.weight for option in options.values())
        return [self._row(pool, target, options.get(target.name), total, chosen, now) for target in pool.targets]

    def _row(
        self, pool: Pool, target: Target, option: Option | None, total: float, chosen: Target | None, now: float
    ) -> dict[str, Any]:
        selected, wrong = self._verdict(target.selector) if target.selector else (True, "")
        state, forecast = self._state(target, now), self._forecast(target, now)
        known = self._board.health(target.name)
        rules = self._table.routing.health
        why = self._why(target, state, forecast, selected, wrong, chosen)
        return {
            "model": target.name, "provider": target.name.partition("/")[0],
            "group": pool.group.name if pool.group else None, "weight": target.weight, "priority": target.priority,
            "effective_weight": round(target.weight * healths.factor(known, rules, now), 3),
            "share": round(option.weight / total, 4) if option and total else 0.0,
            "state": {"wait": "limited", "queue": "full", "refuse": "limited"}.get(forecast.state, state)
            if state in ("ok", "probe") else state,
            "back_in_s": round(self._back_in_s(target, now), 3), "active": self._board.active.get(target.name, 0),
            "latency_s": known.latency_s, "price": None if target.price == float("inf") else target.price,
            "selector": target.selector.text if target.selector else None, "selected": selected,
            "selector_error": wrong or None, "why": why,
        }  # fmt: skip

    def _why(
        self, target: Target, state: str, forecast: Forecast, selected: bool, wrong: str, chosen: Target | None
    ) -> str:
        if target.name in self._tried:
            return "asked already"
        if chosen is not None and target.name == chosen.name:
            return "chosen" if state in ("ok", "probe") else f"chosen: nobody better is left ({STATES[state]})"
        if not selected:
            return f"its selector failed: {wrong}" if wrong else "its selector is not true"
        if state not in ("ok", "probe"):
            return STATES[state]
        if forecast.state != "go":
            return f"limited: {forecast.why}"
        return "another one was better or had its turn"


STATES: Mapping[str, str] = {
    "ok": "well", "probe": "half-open: one request may try", "probing": "half-open: one request tries",
    "open": "its breaker is open after failures in a row", "cooling": "it asked to be left alone for a while",
    "no_key": "its provider has no key", "off": "switched off",
}  # fmt: skip


# ------------------------------------------------------------------------------------------------- what is asked for


def query_of(ask: Ask, routing: Routing) -> Query | None:
    """The query that a request asks by, its task put in; None when it asks for a name."""
    query = ask.query if ask.query is not None else query_in(ask.name)
    if query is None or not query.task:
        return query
    if query.task not in routing.tasks:
        named = ", ".join(sorted(routing.tasks)[:MAX_NAMED]) or "none: see [tasks]"
        raise UnknownModel(f"no task is called {query.task[:100]!r}; there are {named}", details={"task": query.task[:100]})
    return query & routing.tasks[query.task]


def tagged(table: Table, query: Query) -> Pool:
    """The models that a query means; UnknownModel, naming what there is, when it means none."""
    found = [each.target for each in table.listed if each_fits(each, query)]
    if not found:
        raise no_match(table, query)
    return Pool(TAG, table.routing.tag_strategy, tuple(found))


def each_fits(each: Listed, query: Query) -> bool:
    return query.fits(each.tags, each.target.name, each.provider_type)


def no_match(table: Table, query: Query) -> UnknownModel:
    known = sorted({tag for each in table.listed for tag in each.tags})
    wanted = [*query.every, *(tag for group in query.any for tag in group)]
    missing = [tag for tag in wanted if tag not in known]
    hint = f"; no model has {', '.join(missing[:8])}" if missing else ""
    tags = ", ".join(known[:MAX_NAMED]) or "none"
    text = f"no model fits {str(query)[:300]}{hint}; there are the tags {tags}"
    return UnknownModel(text, details={"tags": known[:MAX_NAMED]})


def pools_of(table: Table, ask: Ask) -> Sequence[Pool]:
    query = query_of(ask, table.routing)
    if query is not None:
        if query.empty:
            raise BadRequest("the query asks for nothing", details={"path": "query"})
        return (tagged(table, query),)
    name = ask.name.removeprefix("models/")
    if name in table.chains:
        return table.chains[name]
    candidate = candidates(table.routes, name)[0]
    target = Target(candidate.name, candidate, scopes=scopes_of(candidate))
    return (Pool(f"model:{candidate.name}", "priority", (target,)),)


def plan(table: Table, board: Board, ask: Ask, now: float, rng: Dice) -> Plan:
    """The plan of one request; UnknownModel or BadRequest when it asks for nothing there is."""
    return Plan(table, board, ask, now, rng, pools_of(table, ask))
