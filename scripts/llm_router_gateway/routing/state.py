"""What is remembered from one request to the next, by name, so that it outlives a configuration; and one attempt.

    board = Board()                            health, requests under way, turns, conversations, resting keys
    attempt = Attempt(target, board, rules, now)
    attempt.succeeded(now) or attempt.failed(now, error) or attempt.end(now)
    board.report(table, now)                   -> what GET /health/models shows

No clock: every call says when it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from ..config.groups import Member
from ..config.settings import Secret
from ..errors import GatewayError, RateLimited
from ..policy import circuit_breaker
from ..policy.circuit_breaker import WELL, Health, Rules
from .resolve import Candidate
from .table import Table, Target, target_of

MAX_MODELS = 10_000      # whose health is remembered
MAX_SESSIONS = 10_000    # conversations remembered for affinity
MAX_COMPLAINTS = 1_000   # texts that are told once
SESSION_S = 3_600.0      # the longest prompt caches live an hour
KEY_REFUSED_S = 300.0    # a key that the provider does not know, or that has no credit
KEY_LIMITED_S = 30.0     # a key that is limited, or refused for one model


class Board:
    """What is known of members, keys and conversations: by name, so that it outlives a configuration."""

    def __init__(self) -> None:
        self.healths: dict[str, Health] = {}
        self.active: dict[str, int] = {}                  # requests under way, by model
        self.turns: dict[str, dict[str, float]] = {}      # smooth weighted round robin, by pool and model
        self.sessions: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self.key_rests: dict[tuple[str, Secret], float] = {}  # (provider or model, key) -> until
        self.windows: dict[str, int] = {}  # tokens that a model takes, where an upstream said so, by model
        self.complaints: list[str] = []
        self._complained: set[str] = set()

    def health(self, name: str) -> Health:
        return self.healths.get(name, WELL)

    def keep(self, name: str, health: Health) -> None:
        """What is known of a model now. Callers choose names where a provider takes any: the oldest idle one makes room."""
        self.healths[name] = health
        if len(self.healths) > MAX_MODELS:
            idle = next((each for each in self.healths if not self.active.get(each)), name)
            del self.healths[idle]

    def learn_window(self, name: str, tokens: object) -> None:
        """What an upstream says of a model's context window: its list of models, or a refusal."""
        if isinstance(tokens, int) and tokens > 0 and (name in self.windows or len(self.windows) < MAX_MODELS):
            self.windows[name] = tokens

    def window(self, candidate: Candidate) -> int | None:
        """Tokens; the configuration's word counts before the upstream's."""
        configured = candidate.model.context_window if candidate.model is not None else None
        return configured or self.windows.get(candidate.name)

    def complain(self, text: str) -> None:
        """Kept for the log, once per text."""
        if text not in self._complained and len(self._complained) < MAX_COMPLAINTS:
            self._complained.add(text)
            self.complaints.append(text)

    def take_complaints(self) -> list[str]:
        taken, self.complaints = self.complaints, []
        return taken

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
        self.key_rests[where, key] = now + min(rest_s, circuit_breaker.MAX_COOL_S)
        if len(self.key_rests) > MAX_MODELS:
            self.key_rests = {name: until for name, until in self.key_rests.items() if until > now}

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
            "state": "off" if candidate is None else "no_key" if keyless else circuit_breaker.state(known, now),
            "factor": round(circuit_breaker.factor(known, table.routing.health, now), 4), "active": self.active.get(name, 0),
            "consecutive_failures": known.in_a_row, "back_in_s": round(circuit_breaker.back_in_s(known, now), 3),
            "latency_s": known.latency_s, "successes": known.successes, "failures": known.failures,
            "last_error": known.last_error or None, "keys": self._key_report(candidate, now) if candidate else [],
            "groups": [group.name for group in table.groups if any(member.model == name for member in group.members)],
        }  # fmt: skip

    def _key_report(self, candidate: Candidate, now: float) -> list[dict[str, Any]]:
        """Each key's state, by its place; never the key."""
        backs = [max(0.0, self.key_back(candidate, key) - now) for key in candidate.provider.keys]
        return [{"key": place + 1, "state": "resting" if back else "ok", "back_in_s": round(back, 3)}
                for place, back in enumerate(backs)]  # fmt: skip


class Attempt:
    """One member asked once. Tell it what happened; whatever comes last ends it, and ending twice does no harm."""

    __slots__ = ("_board", "_rules", "_started_at", "_tried_keys", "candidate", "ended", "key", "limited", "target")

    def __init__(self, target: Target, board: Board, rules: Rules, now: float) -> None:
        if target.candidate is None:
            raise RuntimeError(f"{target.name} is no model that can be asked")
        self.target, self.candidate = target, target.candidate
        self._board, self._rules = board, rules
        self._started_at = now
        self._tried_keys: list[Secret] = []
        self.key = board.key_for(self.candidate, now)
        self.ended = False
        self.limited: RateLimited | None = None  # why its limits did not let the request through after all
        board.active[target.name] = board.active.get(target.name, 0) + 1
        known = board.healths.get(target.name)
        if known is not None and circuit_breaker.state(known, now) == "probe":
            board.keep(target.name, circuit_breaker.probed(known))

    def sent(self, now: float) -> None:
        """The request goes out now: latency is measured from here."""
        self._started_at = now

    def output(self, now: float) -> None:
        """The first output is there."""
        known = circuit_breaker.measured(self._board.health(self.target.name), max(0.0, now - self._started_at), now)
        self._board.keep(self.target.name, circuit_breaker.released(known))

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

    def succeeded(self, now: float) -> None:
        """The answer is whole."""
        if self.ended:
            return
        name = self.target.name
        self._board.keep(name, circuit_breaker.succeeded(self._board.health(name), self._rules, now))
        if self.key is not None and self._board.key_rests:
            self._board.wake_key(self.candidate, self.key)
        self.end(now)

    def failed(self, now: float, error: GatewayError) -> None:
        """It did not answer. Only its own fault is held against it."""
        if self.ended:
            return
        if circuit_breaker.is_own_fault(error):
            name, why = self.target.name, f"{error.status} {error.code}"
            known = self._board.health(name)
            self._board.keep(name, circuit_breaker.failed(known, self._rules, now, why, error.retry_after_s))
        self.end(now)

    def end(self, now: float) -> None:
        """Without a verdict when none was given: the caller left, or asked for what nobody can answer."""
        if self.ended:
            return
        self.ended = True
        name, board = self.target.name, self._board
        board.active[name] -= 1
        if not board.active[name]:
            del board.active[name]
        known = board.healths.get(name)
        if known is not None and known.probing:
            board.keep(name, circuit_breaker.released(known))
