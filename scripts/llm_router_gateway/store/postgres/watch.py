"""What a gateway follows of the others on its database, and what it says of itself: a thread with a connection of its own.

    watch = ReplicaWatch(address, guard, authenticator, budgets, deliver=loop.call_soon_threadsafe, ...)
    watch.load()        at the start: the keys, and what they have spent
    watch.start()       keys that are changed anywhere are here within POLL_S, as a rule within milliseconds (LISTEN)
    watch.say({...})    what the others may know of this gateway; sent every HEARTBEAT_S
    watch.replicas   -> what all of them said last, this one first

While the database is away the keys that are known stay good for `valid_s`; a key that is not known is refused with 503, since
it may be a new one. After `valid_s` no key of the store is taken.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...policy.budgets import Budgets
from .. import key_rows
from ..keys import KeyHolder
from ..replicas import Replica, differences, read_report
from . import ledgers
from .driver import Guard, Session, connect, is_away, reason
from .migrations import CHANNEL

POLL_S = 0.4  # between two looks, when no notification comes
LIMIT_S = 2.0  # of one look; a server that takes longer counts as away
HEARTBEAT_S = 1.0
AGAIN_S = 1.0  # between two attempts at a server that is away
UNREADABLE = "the store with the keys cannot be reached: access without a key is refused until it can"
LOST = "the store with the keys was replaced by another while in use: access without a key is refused until the next start"
UNKNOWN = "this key is not known here, and the store with the keys cannot be reached to look it up: try again"
EXPIRED = "the store with the keys has been out of reach for longer than keys_valid_offline_s: try again"
STATE = "SELECT name, value FROM meta WHERE name IN ('keys_generation', 'store_id', 'overlay_version')"
BEAT = """INSERT INTO replicas (id, seen, report) VALUES (?, clock_timestamp(), ?)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, report = excluded.report"""
OTHERS = "SELECT id, extract(epoch FROM clock_timestamp() - seen)::float8, report FROM replicas ORDER BY id"


@dataclass(slots=True)
class Known:
    """What the last look found."""

    generation: str = ""
    store_id: str = ""
    overlay: str = ""
    had_keys: bool = False
    at: float = field(default=float("-inf"))  # by the watch's clock


class ReplicaWatch:
    """See the module."""

    def __init__(
        self, address: str, guard: Guard, authenticator: KeyHolder, budgets: Budgets, *, replica_id: str, valid_s: float,
        deliver: Callable[..., Any], wall: Callable[[], float], clock: Callable[[], float],
        fingerprint: Callable[[], str] = str, warn: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self._address, self._guard, self._authenticator, self._budgets = address, guard, authenticator, budgets
        self._id, self.valid_s, self._deliver, self._wall, self._clock = replica_id, valid_s, deliver, wall, clock
        self._fingerprint, self._warn = fingerprint, warn
        self.on_overlay: Callable[[], None] = lambda: None
        self._seen: tuple[str, ...] = ()  # differences at the last heartbeat
        self._told: tuple[str, ...] = ()  # those that the log has
        self._found: tuple[Replica, ...] = ()  # as the database had them at `_beat_at`
        self._report: Mapping[str, Any] = {}
        self._session: Session | None = None
        self._refused = ""  # the reason that the log has
        self._unreadable = set[str]()  # gateways whose report cannot be read, as the log has it
        self._known = Known()
        self._began, self._beat_at = clock(), float("-inf")
        self._standing = ("", "")  # the last (unknown, expired) that the authenticator was given
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    def load(self) -> None:
        """Once, before anybody may call."""
        authenticator = self._authenticator
        authenticator.sealed, authenticator.is_unread = UNREADABLE, True

        def at_once(function: Callable[..., Any], *args: Any) -> Any:
            return function(*args)

        if self._look(at_once):
            authenticator.sealed = ""
        self._judge(at_once)

    def start(self) -> None:
        self._thread.start()

    def say(self, report: Mapping[str, Any]) -> None:
        self._report = report

    @property
    def alive(self) -> int:
        """Gateways with a recent sign of life, this one among them: limits that cannot be shared are divided by it."""
        return max(1, sum(not each.is_silent for each in self._found))

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """As they are known now: while the database is away, no sign of life of the others arrives."""
        late_s = max(0.0, self._clock() - self._beat_at - 2 * HEARTBEAT_S)
        return tuple(each if each.is_self else each._replace(age_s=each.age_s + late_s) for each in self._found)

    def close(self) -> None:
        """The others need not wait until this one is silent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LIMIT_S + POLL_S)
        if self._session is not None and not self._thread.is_alive():
            with suppress(Exception), self._session.within(LIMIT_S):
                self._session.execute("DELETE FROM replicas WHERE id = ?", (self._id,))
        self._let_go()

    # -- the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                is_there = self._look(self._deliver) and self._beat()
            except Exception as wrong:  # whatever another gateway has written there: keys are looked at again
                self._cannot(wrong)
                is_there = False
            with suppress(RuntimeError):  # the loop is closed: we are going down
                self._judge(self._deliver)
            if is_there:
                self._listen()
            else:
                self._stop.wait(AGAIN_S)

    def _listen(self) -> None:
        """Until a notification comes, or POLL_S."""
        session = self._session
        if session is None:
            return
        try:
            with session.within(POLL_S + LIMIT_S):
                for _ in session.raw.notifies(timeout=POLL_S, stop_after=1):
                    pass
        except Exception:
            self._let_go()

    def _look(self, deliver: Callable[..., Any]) -> bool:
        """Takes over what changed; whether the database could be read."""
        try:
            is_fresh = self._session is None
            session = self._session or connect(self._address, "replica", self._guard)
            self._session = session
            with session.within(LIMIT_S):
                if is_fresh:
                    session.execute(f"LISTEN {CHANNEL}")
                state = dict(session.execute(STATE).fetchall())
                found = key_rows.rows(session) if self._is_news(state, is_fresh) else None
                if self._known.at == float("-inf"):
                    now = self._wall()
                    deliver(self._budgets.load, ledgers.spent(session, now), now)
            self._take(state, found, deliver)
        except RuntimeError:  # the loop is closed
            return False
        except Exception as wrong:
            self._cannot(wrong)
            return False
        return True

    def _cannot(self, wrong: Exception) -> None:
        """A server that is away is in the log already; one that answers and refuses this thread may take all else."""
        self._let_go()
        text = reason(wrong, self._address)
        if text != self._refused and not is_away(wrong):
            self._refused = text
            with suppress(RuntimeError):
                self._deliver(self._warn, f"keys and messages of other gateways cannot be read from the database: {text}")

    def _is_news(self, state: Mapping[str, str], is_fresh: bool) -> bool:
        return is_fresh or state.get("keys_generation", "") != self._known.generation

    def _take(self, state: Mapping[str, str], found: list[Any] | None, deliver: Callable[..., Any]) -> None:
        known, store_id, overlay = self._known, state.get("store_id", ""), state.get("overlay_version", "")
        if found is not None:
            is_other = bool(known.store_id) and store_id != known.store_id
            lost = LOST if is_other and known.had_keys and not found else ""
            deliver(self._authenticator.take, found, int(state.get("keys_generation") or 0), is_other, lost)
            known.had_keys = known.had_keys or bool(found)
        if known.at != float("-inf") and overlay != known.overlay:
            deliver(self.on_overlay)
        known.generation, known.store_id, known.overlay = state.get("keys_generation", ""), store_id, overlay
        known.at = self._clock()

    def _judge(self, deliver: Callable[..., Any]) -> None:
        """What the authenticator makes of keys at the moment."""
        age = self._clock() - max(self._known.at, self._began)
        is_away = self._session is None
        standing = (UNKNOWN if is_away else "", EXPIRED if is_away and age > self.valid_s else "")
        if standing != self._standing:
            deliver(self._authenticator.judge, *standing)
            self._standing = standing

    def _beat(self) -> bool:
        """Publishes this gateway's row, and reads those of the others."""
        session = self._session
        if session is None or self._clock() < self._beat_at + HEARTBEAT_S:
            return session is not None
        try:
            with session.within(LIMIT_S):
                if self._report:
                    session.execute(BEAT, (self._id, json.dumps({**self._report, "config": self._fingerprint()})))
                rows = session.execute(OTHERS).fetchall()
        except Exception as wrong:
            self._cannot(wrong)
            return False
        found = [Replica(each, max(0.0, age), each == self._id, self._read(each, report)) for each, age, report in rows]
        self._unreadable &= {each.id for each in found}
        self._found = tuple(sorted(found, key=lambda replica: (not replica.is_self, replica.id)))
        self._beat_at = self._clock()
        self._report_differences()
        self._refused = ""
        return True

    def _read(self, replica_id: str, text: str) -> Mapping[str, Any]:
        """A gateway's report; nothing, and one line in the log, where it cannot be read: the gateway is alive all the same."""
        try:
            report = read_report(text)
        except ValueError:
            if replica_id not in self._unreadable:
                self._unreadable.add(replica_id)
                self._deliver(self._warn, f"the row of gateway {replica_id!r} in the table replicas cannot be read: "
                              "check that all gateways on this database have the same version")  # fmt: skip
            return {}
        self._unreadable.discard(replica_id)
        return report

    def _report_differences(self) -> None:
        """Once each, when they have lasted from one heartbeat to the next: in a roll-out they pass."""
        found = tuple(differences([each for each in self._found if not each.is_silent]))
        for text in found:
            if text in self._seen and text not in self._told:
                self._deliver(self._warn, text)
                self._told = (*self._told, text)
        self._seen = found
        if not found:
            self._told = ()

    def _let_go(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
