"""What routing remembers from one request to the next, by name, so that it survives a reload; and one attempt.

    routing_state = RoutingState()             health, active requests, turns, conversations, keys that are cooling down
    attempt = Attempt(target, routing_state, rules, now)
    attempt.succeed(now) or attempt.fail(now, error) or attempt.end(now)
    routing_state.report(table, now)           -> the rows of GET /health/models

No clock: every call passes the time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..config.groups import Member
from ..config.kinds import Secret
from ..errors import GatewayError, RateLimited
from ..policy import circuit_breaker
from ..policy.circuit_breaker import HEALTHY, Health, Rules
from .resolve import Candidate
from .table import Table, Target, target_of

MAX_MODELS = 10_000  # with a stored health
MAX_SESSIONS = 10_000  # conversations remembered for affinity
MAX_NOTES = 1_000  # texts that are logged once
SESSION_S = 3_600.0  # the longest prompt caches live an hour
KEY_REFUSED_S = 300.0  # cooldown of a key that the provider rejects, or that has no credit
KEY_LIMITED_S = 30.0  # cooldown of a key that is rate-limited, or refused for one model


class RoutingState:
    """The state of members, keys and conversations, by name, so that it survives a reload."""

    def __init__(self) -> None:
        self.healths: dict[str, Health] = {}
        self.active: dict[str, int] = {}  # requests in progress, by model
        self.turns: dict[str, dict[str, float]] = {}  # smooth weighted round robin, by pool and model
        self.sessions: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self.key_cooldowns: dict[tuple[str, Secret], float] = {}  # (provider or model, key) -> until
        self.windows: dict[str, int] = {}  # tokens that a model takes, where an upstream said so, by model
        self.notes: list[str] = []
        self._noted: set[str] = set()

    def health(self, name: str) -> Health:
        return self.healths.get(name, HEALTHY)

    def keep(self, name: str, health: Health) -> None:
        """Stores a model's health; above MAX_MODELS the oldest idle model is dropped, since callers can name any model."""
        self.healths[name] = health
        if len(self.healths) > MAX_MODELS:
            idle = next((each for each in self.healths if not self.active.get(each)), name)
            del self.healths[idle]

    def learn_window(self, name: str, tokens: object) -> None:
        """Stores the context window that an upstream states in its list of models or in a refusal."""
        if isinstance(tokens, int) and tokens > 0 and (name in self.windows or len(self.windows) < MAX_MODELS):
            self.windows[name] = tokens

    def window(self, candidate: Candidate) -> int | None:
        """Tokens; the configuration takes precedence over the upstream."""
        configured = candidate.model.context_window if candidate.model is not None else None
        return configured or self.windows.get(candidate.name)

    def note(self, text: str) -> None:
        """Keeps a text for the log, once per text."""
        if text not in self._noted and len(self._noted) < MAX_NOTES:
            self._noted.add(text)
            self.notes.append(text)

    def take_notes(self) -> list[str]:
        taken, self.notes = self.notes, []
        return taken

    # -- keys of providers

    def key_available_at(self, candidate: Candidate, key: Secret) -> float:
        """When a key may be used again; 0 = it is not cooling down."""
        cooldowns = self.key_cooldowns
        return max(cooldowns.get((candidate.provider.name, key), 0.0), cooldowns.get((candidate.name, key), 0.0))

    def key_for(self, candidate: Candidate, now: float, excluded: Sequence[Secret] = ()) -> Secret | None:
        """The first key that is not cooling down, else the one that is available soonest; None without keys."""
        if not excluded and not self.key_cooldowns:  # as nearly always
            return candidate.provider.keys[0] if candidate.provider.keys else None
        keys = [key for key in candidate.provider.keys if key not in excluded]
        if len(keys) < 2 or not self.key_cooldowns:
            return keys[0] if keys else None
        return min(keys, key=lambda key: max(self.key_available_at(candidate, key) - now, 0.0))

    def keys_back_in_s(self, candidate: Candidate, now: float) -> float:
        """0 when some key is usable, or none is needed."""
        keys = candidate.provider.keys
        if not keys or not self.key_cooldowns:
            return 0.0
        return max(0.0, min(self.key_available_at(candidate, key) for key in keys) - now)

    def cool_key(self, candidate: Candidate, key: Secret, now: float, error: GatewayError) -> None:
        """401 and 402 concern the key everywhere, 403 and 429 perhaps only this model."""
        where = candidate.provider.name if error.status in (401, 402) else candidate.name
        cooldown_s = KEY_REFUSED_S if error.status in (401, 402) else error.retry_after_s or KEY_LIMITED_S
        self.key_cooldowns[where, key] = now + min(cooldown_s, circuit_breaker.MAX_COOL_S)
        if len(self.key_cooldowns) > MAX_MODELS:
            self.key_cooldowns = {name: until for name, until in self.key_cooldowns.items() if until > now}

    def clear_key_cooldown(self, candidate: Candidate, key: Secret) -> None:
        self.key_cooldowns.pop((candidate.provider.name, key), None)
        self.key_cooldowns.pop((candidate.name, key), None)

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
        """One row for every model that is listed, in a group, or was requested."""
        known = table.targets()
        lines = (self._report_line(table, name, known.get(name), now) for name in dict.fromkeys([*known, *self.healths]))
        return [line for line in lines if line is not None]

    def _report_line(self, table: Table, name: str, target: Target | None, now: float) -> dict[str, Any] | None:
        target = target or target_of(table.routes, Member(name))
        known, candidate = self.health(name), target.candidate
        if candidate is None and name not in table.targets():
            return None  # left over from an earlier configuration
        keyless = candidate is not None and candidate.provider.lacks_key
        return {
            "model": name, "provider": name.partition("/")[0],
            "state": "off" if candidate is None else "no_key" if keyless else circuit_breaker.state(known, now),
            "factor": round(circuit_breaker.factor(known, table.routing.health, now), 4), "active": self.active.get(name, 0),
            "consecutive_failures": known.in_a_row, "back_in_s": round(circuit_breaker.back_in_s(known, now), 3),
            "latency_s": known.latency_s, "successes": known.successes, "failures": known.failures,
            "last_error": known.last_error or None, "keys": self._key_report(candidate, now) if candidate else [],
            "groups": [group.name for group in table.groups if any(member.model == name for member in group.members)],
        }  # fmt: skip

    def _key_report(self, candidate: Candidate, now: float) -> list[dict[str, Any]]:
        """Each key's state, by its position; never the key."""
        backs = [max(0.0, self.key_available_at(candidate, key) - now) for key in candidate.provider.keys]
        return [{"key": place + 1, "state": "resting" if back else "ok", "back_in_s": round(back, 3)}
                for place, back in enumerate(backs)]  # fmt: skip


class Attempt:
    """One try of one member. `succeed`, `fail` or `end` ends it; ending twice does no harm."""

    __slots__ = (
        "_routing_state", "_rules", "_started_at", "_tried_keys", "candidate", "ended", "is_renewed", "key", "limited",
        "target",
    )  # fmt: skip

    def __init__(self, target: Target, routing_state: RoutingState, rules: Rules, now: float) -> None:
        if target.candidate is None:
            raise RuntimeError(f"{target.name} is not a model that can be called")
        self.target, self.candidate = target, target.candidate
        self._routing_state, self._rules = routing_state, rules
        self._started_at = now
        self._tried_keys: list[Secret] = []
        self.key = routing_state.key_for(self.candidate, now)
        self.ended = self.is_renewed = False  # is_renewed: its command has printed another key
        self.limited: RateLimited | None = None  # set when its limits refused the request after all
        active, name = routing_state.active, target.name
        active[name] = active.get(name, 0) + 1
        known = routing_state.healths.get(name)
        if known is not None and known.open_until and circuit_breaker.state(known, now) == "probe":
            routing_state.keep(name, circuit_breaker.start_probe(known))

    def mark_sent(self, now: float) -> None:
        """The request is being sent: latency is measured from here."""
        self._started_at = now

    def mark_output(self, now: float) -> None:
        """The first output has arrived."""
        known = self._routing_state.health(self.target.name)
        known = circuit_breaker.record_latency(known, max(0.0, now - self._started_at), now)
        self._routing_state.keep(self.target.name, circuit_breaker.end_probe(known))

    def prefer_key(self, key: Secret, now: float) -> None:
        """Takes one of the provider's keys, unless it is cooling down."""
        if self._routing_state.key_available_at(self.candidate, key) <= now:
            self.key = key

    def switch_key(self, now: float, error: GatewayError) -> bool:
        """After 401, 402, 403 or 429: True when another key is left, which `key` is then."""
        if self.key is None or error.status not in (401, 402, 403, 429):
            return False
        is_only_key = len(self.candidate.provider.keys) == 1
        if not (is_only_key and error.status == 429):  # then the member itself cools down, by its Retry-After
            self._routing_state.cool_key(self.candidate, self.key, now, error)
        self._tried_keys.append(self.key)
        other = self._routing_state.key_for(self.candidate, now, self._tried_keys)
        self.key = other or self.key
        return other is not None

    def succeed(self, now: float) -> None:
        """The answer is complete."""
        if self.ended:
            return
        name = self.target.name
        self._routing_state.keep(name, circuit_breaker.record_success(self._routing_state.health(name), self._rules, now))
        if self.key is not None and self._routing_state.key_cooldowns:
            self._routing_state.clear_key_cooldown(self.candidate, self.key)
        self.end(now)

    def fail(self, now: float, error: GatewayError) -> None:
        """It did not answer. Its health changes only when the failure is its own."""
        if self.ended:
            return
        if circuit_breaker.is_own_fault(error):
            name, why = self.target.name, f"{error.status} {error.code}"
            known = self._routing_state.health(name)
            self._routing_state.keep(name, circuit_breaker.record_failure(known, self._rules, now, why, error.retry_after_s))
        self.end(now)

    def end(self, now: float) -> None:
        """Ends without a verdict when none was given: the caller left, or sent what no member can answer."""
        if self.ended:
            return
        self.ended = True
        name, routing_state = self.target.name, self._routing_state
        left = routing_state.active[name] - 1
        if left:
            routing_state.active[name] = left
        else:
            del routing_state.active[name]
        known = routing_state.healths.get(name)
        if known is not None and known.probing:
            routing_state.keep(name, circuit_breaker.end_probe(known))
