"""What replicas send each other about members, keys and conversations. Pure: notes are values, `now` is an argument.

    notes = Notes("replica-1")
    notes.changes(routing_state, now)                    -> [{"kind": "member", ...}, ...] since the last call
    notes.absorb(routing_state, note, age_s, keys, now)  what another replica wrote `age_s` ago

    {"from": "replica-1", "kind": "member", "name": "p/m", "open_s": 30.0, "cool_s": 0.0, "opens": 1, "why": "503 ..."}
    {"from": ..., "kind": "key", "name": "p", "mark": "1f0c...", "cool_s": 300.0}        a provider's key, by its digest
    {"from": ..., "kind": "session", "group": "g", "session": "...", "name": "p/m"}      a conversation's member

Times are durations, since each machine's clocks are its own. A replica counts its own failures at once. From others it learns
that a breaker is open, or closed again by a trial request, and that a member or a key cools down; weights are not shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..config.config import Config
from ..config.kinds import Secret
from .state import SESSION_S, RoutingState

SESSION_AGAIN_S = 600.0  # a conversation that goes on is sent again after this
MAX_SESSIONS = 500  # conversations in one round of notes
MIN_CHANGE_S = 1.0  # a shift of a cooldown's end that is worth a note

Note = dict[str, Any]


def mark_of(key: Secret) -> str:
    """The name of a provider's key in notes; the key cannot be derived from it."""
    return hashlib.sha256(b"llm-router key " + key.reveal().encode()).hexdigest()[:24]


def keys_by_mark(config: Config) -> dict[str, Secret]:
    return {mark_of(key): key for provider in config.providers for key in provider.keys}


class Notes:
    """The notes of one replica, and what it has sent and received."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._members: dict[str, tuple[float, float]] = {}  # until when each is open and cools down, as sent or received
        self._keys: dict[tuple[str, Secret], float] = {}
        self._sessions: dict[tuple[str, str], tuple[str, float]] = {}
        self._sessions_at = 0.0

    def forget(self) -> None:
        """Sends everything again, since the engine that kept the notes lost them."""
        self._members, self._keys, self._sessions, self._sessions_at = {}, {}, {}, 0.0

    # -- what to send

    def changes(self, state: RoutingState, now: float) -> list[Note]:
        found = [*self._member_changes(state, now), *self._key_changes(state, now), *self._session_changes(state, now)]
        return [{"from": self._name, **note} for note in found]

    def _member_changes(self, state: RoutingState, now: float) -> list[Note]:
        found = []
        for name, health in state.healths.items():
            if not (health.open_until or health.cool_until > now or name in self._members):
                continue
            ends = (health.open_until, health.cool_until if health.cool_until > now else 0.0)
            told = self._members.get(name, (0.0, 0.0))
            if all(abs(end - before) < MIN_CHANGE_S for end, before in zip(ends, told, strict=True)):
                continue
            self._members[name] = ends
            found.append({
                "kind": "member", "name": name, "open_s": max(0.0, ends[0] - now) if ends[0] else 0.0,
                "cool_s": max(0.0, ends[1] - now) if ends[1] else 0.0, "opens": health.opens, "why": health.last_error,
                "is_closed": not ends[0],
            })  # fmt: skip
        return found

    def _key_changes(self, state: RoutingState, now: float) -> list[Note]:
        found = []
        cooling = {key: until for key, until in state.key_cooldowns.items() if until > now}
        for (name, key), until in cooling.items():
            if abs(until - self._keys.get((name, key), 0.0)) >= MIN_CHANGE_S:
                found.append({"kind": "key", "name": name, "mark": mark_of(key), "cool_s": until - now})
        for name, key in self._keys.keys() - cooling.keys():
            if self._keys[name, key] > now:  # before its time: the key was accepted again
                found.append({"kind": "key", "name": name, "mark": mark_of(key), "cool_s": 0.0})
        self._keys = cooling
        return found

    def _session_changes(self, state: RoutingState, now: float) -> list[Note]:
        found: list[Note] = []
        for key in reversed(state.sessions):
            name, at = state.sessions[key]
            if at <= self._sessions_at or len(found) >= MAX_SESSIONS:
                break
            told, told_at = self._sessions.get(key, ("", 0.0))
            if told != name or now - told_at > SESSION_AGAIN_S:
                self._sessions[key] = (name, now)
                found.append({"kind": "session", "group": key[0], "session": key[1], "name": name})
        self._sessions_at = now
        if len(self._sessions) > 2 * MAX_SESSIONS:
            self._sessions = {key: row for key, row in self._sessions.items() if now - row[1] <= SESSION_AGAIN_S}
        return found

    # -- what others send

    def absorb(
        self, state: RoutingState, note: Mapping[str, Any], age_s: float, keys: Mapping[str, Secret], now: float
    ) -> None:
        """A note of another replica; its own ones and unknown kinds are passed over."""
        if note.get("from") == self._name:
            return
        kind, name = note.get("kind"), str(note.get("name", ""))
        if kind == "member":
            self._absorb_member(state, name, note, age_s, now)
        elif kind == "key":
            self._absorb_key(state, name, keys.get(str(note.get("mark"))), float(note["cool_s"]) - age_s, now)
        elif kind == "session" and age_s < SESSION_S:
            key = (str(note["group"]), str(note["session"]))
            if state.sessions.get(key, ("", 0.0))[1] < now - age_s:
                state.keep_session(key, name, now - age_s)
                self._sessions[key] = (name, now)

    def _absorb_member(self, state: RoutingState, name: str, note: Mapping[str, Any], age_s: float, now: float) -> None:
        health = state.health(name)
        open_s, cool_s = float(note["open_s"]) - age_s, float(note["cool_s"]) - age_s
        if note.get("is_closed"):
            if name in self._members and health.open_until:
                health = health._replace(open_until=0.0, opens=0, in_a_row=0, probing=False)
        elif open_s > 0:
            health = health._replace(
                open_until=max(health.open_until, now + open_s), opens=max(health.opens, int(note["opens"])),
                last_error=str(note["why"])[:200] or health.last_error,
            )  # fmt: skip
        if cool_s > 0:
            health = health._replace(cool_until=max(health.cool_until, now + cool_s))
        if health != state.health(name):
            state.keep(name, health)
        self._members[name] = (health.open_until, health.cool_until if health.cool_until > now else 0.0)

    def _absorb_key(self, state: RoutingState, name: str, key: Secret | None, cool_s: float, now: float) -> None:
        if key is None:
            return
        if cool_s <= 0:
            if state.key_cooldowns.pop((name, key), None) is not None:
                self._keys.pop((name, key), None)
            return
        until = max(state.key_cooldowns.get((name, key), 0.0), now + cool_s)
        state.key_cooldowns[name, key] = self._keys[name, key] = until
