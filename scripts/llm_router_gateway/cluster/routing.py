"""What several processes know of members, keys and conversations, brought together. Pure: `now` and the changes are arguments.

    state = SharedRoutingState(on_urgent)     in a worker: as RoutingState, and it remembers what changed
    state.take_changes(now)                   -> {"members": {...}, "cool": [...], ...}; None when nothing did
    absorb(state, changes, keys, now)         in a worker: what others found
    views = MemberViews(); views.take("w1", changes["members"], now); views.fill(state, now)     in the home

A worker's own failures count in it at once. That a breaker opened, that a member or a key cools down, goes to the others with
the next message; everything else only to the home, whose page and metrics show all workers together. Each worker lets one trial
request through when a breaker's time is over.

The changes, all of them optional; times are durations:

    members    {name: [factor, age_s, in_a_row, opens, open_s, cool_s, latency_s, latency_age_s, successes, failures, error,
               requests in progress]}
    cool       [[provider or model, mark of a key, for how long]]         clear   [[provider or model, mark of a key]]
    sessions   [[group, conversation, member]]                            windows {model: tokens}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..config.kinds import Secret
from ..errors import GatewayError
from ..policy.circuit_breaker import HEALTHY, Health
from ..routing.notes import mark_of
from ..routing.resolve import Candidate
from ..routing.state import RoutingState

SESSION_AGAIN_S = 300.0  # after it a conversation that goes on is passed on again, so that the others do not forget it
SHARED = ("members", "cool", "clear", "sessions", "windows")

Changes = Mapping[str, Any]


def pack_health(health: Health, active: int, now: float) -> list[Any]:
    return [
        health.factor, now - health.at, health.in_a_row, health.opens, max(0.0, health.open_until - now),
        max(0.0, health.cool_until - now), health.latency_s, now - health.latency_at, health.successes, health.failures,
        health.last_error, active,
    ]  # fmt: skip


class View:
    """One worker's report on one member. Times are the reader's."""

    __slots__ = ("active", "health", "is_open")

    def __init__(self, values: Sequence[Any], now: float) -> None:
        factor, age_s, in_a_row, opens, open_s, cool_s, latency_s, latency_age_s, successes, failures, error, active = values
        until = now + open_s if open_s > 0 else 0.0
        cool = now + cool_s if cool_s > 0 else 0.0
        self.health = Health(
            factor, now - age_s, in_a_row, opens, until, cool, False, latency_s, now - latency_age_s, successes, failures, error
        )
        self.active: int = active
        self.is_open = opens > 0

    @property
    def signature(self) -> tuple[bool, int, bool]:
        """What is sent to others when it changes."""
        return self.is_open, self.health.opens, self.health.cool_until > 0


class SharedRoutingState(RoutingState):
    """A worker's. `on_urgent` is called when a change must reach others at once."""

    def __init__(self, on_urgent: Callable[[], None]) -> None:
        super().__init__()
        self._on_urgent = on_urgent
        self._members: set[str] = set()
        self._cool: list[tuple[str, Secret, float]] = []
        self._clear: list[list[str]] = []
        self._sessions: dict[tuple[str, str], str] = {}
        self._windows: dict[str, int] = {}

    def keep(self, name: str, health: Health) -> None:
        before = self.healths.get(name, HEALTHY)
        super().keep(name, health)
        self._members.add(name)
        if health.opens != before.opens or health.cool_until != before.cool_until:
            self._on_urgent()

    def learn_window(self, name: str, tokens: object) -> None:
        before = self.windows.get(name)
        super().learn_window(name, tokens)
        if self.windows.get(name) != before:
            self._windows[name] = self.windows[name]

    def cool_key(self, candidate: Candidate, key: Secret, now: float, error: GatewayError) -> None:
        super().cool_key(candidate, key, now, error)
        for where in (candidate.provider.name, candidate.name):
            until = self.key_cooldowns.get((where, key), 0.0)
            if until > now:
                self._cool.append((where, key, until))
        self._on_urgent()

    def clear_key_cooldown(self, candidate: Candidate, key: Secret) -> None:
        for where in (candidate.provider.name, candidate.name):
            if (where, key) in self.key_cooldowns:
                self._clear.append([where, mark_of(key)])
        super().clear_key_cooldown(candidate, key)

    def keep_session(self, key: tuple[str, str], name: str, now: float) -> None:
        known, at = self.sessions.get(key, ("", 0.0))
        super().keep_session(key, name, now)
        if known != name or now - at > SESSION_AGAIN_S:
            self._sessions[key] = name

    def take_changes(self, now: float) -> dict[str, Any] | None:
        """What changed since the last call."""
        found: dict[str, Any] = {}
        if self._members:
            found["members"] = {name: pack_health(self.health(name), self.active.get(name, 0), now) for name in self._members}
            self._members = {name for name in self._members if self.active.get(name)}  # whose number changes without a verdict
        if self._cool:
            found["cool"] = [[where, mark_of(key), until - now] for where, key, until in self._cool]
        if self._clear:
            found["clear"] = self._clear
        if self._sessions:
            found["sessions"] = [[*key, name] for key, name in self._sessions.items()]
        if self._windows:
            found["windows"] = self._windows
        self._cool, self._clear, self._sessions, self._windows = [], [], {}, {}
        return found or None


def absorb(state: RoutingState, changes: Changes, keys: Mapping[str, Secret], now: float) -> None:
    """Takes over what others found. Nothing of it counts as a change of this process."""
    for name, values in changes.get("members", {}).items():
        RoutingState.keep(state, name, merge(state.health(name), View(values, now)))
    for where, mark, cool_s in changes.get("cool", ()):
        if mark in keys:
            place = where, keys[mark]
            state.key_cooldowns[place] = max(now + cool_s, state.key_cooldowns.get(place, 0.0))
    for where, mark in changes.get("clear", ()):
        if mark in keys:
            state.key_cooldowns.pop((where, keys[mark]), None)
    for group, conversation, name in changes.get("sessions", ()):
        RoutingState.keep_session(state, (group, conversation), name, now)
    for name, tokens in changes.get("windows", {}).items():
        RoutingState.learn_window(state, name, tokens)


def merge(own: Health, other: View) -> Health:
    """A breaker that opened elsewhere is open here, one that closed elsewhere is closed; the longer cooldown counts."""
    theirs = other.health
    cool_until = max(own.cool_until, theirs.cool_until)
    if other.is_open:
        return own._replace(
            open_until=max(own.open_until, theirs.open_until), opens=max(own.opens, theirs.opens),
            in_a_row=max(own.in_a_row, theirs.in_a_row), cool_until=cool_until, last_error=theirs.last_error,
        )  # fmt: skip
    if own.opens:
        return own._replace(open_until=0.0, opens=0, in_a_row=0, probing=False, cool_until=cool_until)
    return own._replace(cool_until=cool_until)


# ---------------------------------------------------------------------------------------------------------- the home's


class MemberViews:
    """Every worker's reports on every member."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, View]] = {}  # member -> worker -> view
        self._gone: dict[str, tuple[int, int]] = {}  # successes and failures that workers counted before they ended
        self._closed: set[str] = set()  # members whose breaker a worker has closed since `fill`

    def take(self, worker: str, members: Mapping[str, Sequence[Any]], now: float) -> dict[str, Sequence[Any]]:
        """The reports that the other workers need."""
        news = {}
        for name, values in members.items():
            views = self._views.setdefault(name, {})
            before, views[worker] = views.get(worker), View(values, now)
            if before is not None and before.is_open and not views[worker].is_open:
                self._closed.add(name)
            if (before.signature if before else (False, 0, False)) != views[worker].signature:
                news[name] = values
        return news

    def forget(self, worker: str) -> list[str]:
        """The worker is gone: what it counted stays. The members that it reported on."""
        names = []
        for name, views in self._views.items():
            view = views.pop(worker, None)
            if view is not None:
                successes, failures = self._gone.get(name, (0, 0))
                self._gone[name] = successes + view.health.successes, failures + view.health.failures
                names.append(name)
        return names

    def fill(self, state: RoutingState, names: Iterable[str]) -> None:
        """The sums of all workers, in the home's state: what the page, the metrics and new workers see."""
        for name in names:
            views = list(self._views.get(name, {}).values())
            known = state.health(name)
            together = self._together(known, views, self._gone.get(name, (0, 0)))
            if known.opens and not together.opens and name not in self._closed:
                # Another gateway opened it, which no worker has heard of yet.
                together = together._replace(opens=known.opens, open_until=known.open_until, in_a_row=known.in_a_row)
            self._closed.discard(name)
            RoutingState.keep(state, name, together)
            active = sum(view.active for view in views)
            if active:
                state.active[name] = active
            else:
                state.active.pop(name, None)

    @staticmethod
    def _together(known: Health, views: list[View], gone: tuple[int, int]) -> Health:
        successes, failures = (gone[0] + sum(view.health.successes for view in views),
                               gone[1] + sum(view.health.failures for view in views))  # fmt: skip
        if not views:
            return known._replace(successes=successes, failures=failures)
        healths = [view.health for view in views]
        measured = [health for health in healths if health.latency_s is not None]
        latest = max(healths, key=lambda health: health.at)
        failed = max((health for health in healths if health.last_error), key=lambda health: health.at, default=known)
        return Health(
            factor=sum(health.factor for health in healths) / len(healths), at=latest.at,
            in_a_row=max(health.in_a_row for health in healths), opens=max(health.opens for health in healths),
            open_until=max(health.open_until for health in healths), cool_until=max(health.cool_until for health in healths),
            latency_s=sum(health.latency_s or 0.0 for health in measured) / len(measured) if measured else None,
            latency_at=max((health.latency_at for health in measured), default=0.0), successes=successes, failures=failures,
            last_error=failed.last_error,
        )  # fmt: skip


def whole_state(state: RoutingState, now: float) -> dict[str, Any]:
    """All that the home knows and a new worker should: open breakers, cooldowns, conversations, windows."""
    members = {name: pack_health(health, 0, now) for name, health in state.healths.items() if health.opens or health.cool_until}
    return {
        "members": members,
        "cool": [[where, mark_of(key), until - now] for (where, key), until in state.key_cooldowns.items() if until > now],
        "sessions": [[*key, name] for key, (name, _) in state.sessions.items()],
        "windows": dict(state.windows),
    }
