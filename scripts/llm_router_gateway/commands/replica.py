"""One gateway among several: limits, budgets, health and logins shared through the engine of [state].

    replica = Replica.of(config, ledger, log)           ConfigError text where redis-py is missing
    await replica.start(routing_state, authenticator)   before the first request
    replica.limiter, replica.budgets                    what stands behind the seams
    await replica.close()                               gives leases and slots back

Without [state] nothing of this is imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from ..access.authenticate import Authenticator
from ..config.config import Config, State
from ..limiter.leased_budgets import REPORT_EVERY_S
from ..limiter.leases import EngineAway
from ..limiter.membership import BEAT_S, Ledger, Membership, NoLedger
from ..limiter.participant import Participant, clock_s
from ..limiter.redis import RedisEngine
from ..proxy.faults import fault_line
from ..proxy.log import Log
from ..routing.notes import Notes, keys_by_mark
from ..routing.state import RoutingState
from ..store.keys import KeyRepository
from ..store.recorder import Recorder

START_S = 5.0  # how long a start waits for an engine that has to collect its memory; then the gateway serves without leases
NOTES_S = 0.2  # how often replicas read each other's notes
REFUSALS = 10  # in a row, of an engine that answers, until the log says what it costs
SECRET_BYTES = 32  # of what signs the page's logins
COMMON = "common"  # the name of a ledger that all replicas write to


class KeyLedger:
    """`limiter.membership.Ledger` over the store's sums."""

    def __init__(self, keys: KeyRepository, store: Recorder, name: str) -> None:
        self.name, self.is_common, self._keys, self._store = name, name == COMMON, keys, store

    async def sums(self, since: int) -> Mapping[str, tuple[float, float]]:
        if not self._store.is_current:
            raise OSError("calls of an outage are not stored yet")
        try:
            rows = await self._keys.spent(float(since))  # its day begins at `since`, and has no end
        except Exception as wrong:
            raise OSError(f"{type(wrong).__name__}: {wrong}") from None
        return {key_id: (usd, tokens) for key_id, span, usd, tokens in rows if span == "day"}

    async def settle(self) -> None:
        await self._store.settle()


def replica_name() -> str:
    """As pages and logs show it; a name that no other process ever has."""
    host = "".join(each if each.isalnum() or each in "-." else "-" for each in socket.gethostname()[:64])
    return f"{host}-{os.getpid()}-{os.urandom(4).hex()}"


class Replica:
    """This process's part in a group of replicas."""

    def __init__(
        self, state: State, *, ledger: Ledger | None, log: Log, name: str = "", guess: Callable[[], int] = lambda: 1
    ) -> None:  # fmt: skip
        """`guess`: how many processes there are, for a start without the engine."""
        self.name = name or replica_name()
        self.engine = RedisEngine(state.url.reveal(), prefix=state.prefix, timeout_s=state.timeout_s)
        self._log = log
        ledger = ledger or NoLedger(self.name)
        self.membership = Membership(
            self.engine, holder=f"{ledger.name}/{self.name}", ledger=ledger, clock=clock_s, wall=time.time, tell=log.warn,
            guess=guess,
        )  # fmt: skip
        self._part = part = Participant(self.membership)
        self.limiter, self.budgets = part.limiter, part.budgets
        self._notes = Notes(self.name)
        self._logouts: list[str] = []  # names of logins that ended here, until the others can know
        self._routing_state: RoutingState | None = None
        self._config: Callable[[], Config] | None = None
        self._authenticator: Authenticator | None = None
        self._has_secret = False
        self.membership.on_epoch.append(self._send_all_again)

    # -- begin and end

    async def start(self, routing_state: RoutingState, authenticator: Authenticator, config: Callable[[], Config]) -> None:
        """Joins the others; where the engine is away, the gateway serves as it would if it went away later."""
        self._routing_state, self._authenticator, self._config = routing_state, authenticator, config
        authenticator.sessions.secret = os.urandom(SECRET_BYTES)
        give_up, is_told = clock_s() + START_S, False
        while clock_s() < give_up and not self.membership.presence.is_away and not self.membership.is_open:
            with suppress(EngineAway):
                await self._beat()
            if not self.membership.is_open and self.membership.epoch and not is_told:
                is_told = True
                self._log.info("the engine of [state] is new or has lost its memory: replicas report their leases first")
            if not self.membership.is_open:
                await asyncio.sleep(BEAT_S / 5)
        loop = asyncio.get_running_loop()
        self._part.tasks = [
            loop.create_task(self._repeat(BEAT_S, self._beat, "logins of the page")),
            loop.create_task(self._repeat(REPORT_EVERY_S, self._part.report, "parts of limits that are not needed")),
            loop.create_task(self._repeat(NOTES_S, self._exchange_notes, "health, conversations, logouts")),
        ]

    async def close(self) -> None:
        await self._part.leave()
        await self.engine.close()

    async def _repeat(self, every_s: float, work: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        """`what` other gateways do not learn of while it fails."""
        failures = 0
        while True:
            try:
                await work()
                if failures >= REFUSALS:
                    self._log.info(f"shared with other gateways again: {what}")
                failures = 0
            except EngineAway as away:
                # One that is away is counted and logged by the membership, which keeps looking for it. Another may refuse this.
                failures += not self.membership.presence.is_away
                if failures == REFUSALS:
                    self._log.warn(f"{away}. Not shared with other gateways: {what}")
            except Exception as error:
                self._log.error(fault_line("what is shared by [state]", error, f"it is tried again in {every_s:g} s"))
            await asyncio.sleep(every_s)

    # -- periodic work

    async def _beat(self) -> None:
        await self._part.beat()
        if not self._has_secret and self._authenticator is not None:
            secret = self._authenticator.sessions.secret or os.urandom(SECRET_BYTES)
            self._authenticator.sessions.secret = await self.engine.common_secret(secret)
            self._has_secret = True

    async def _exchange_notes(self) -> None:
        if self.membership.presence.is_away or self._routing_state is None or self._config is None:
            return
        now = time.monotonic()  # the clock of routing
        if self._authenticator is not None:
            self._logouts += [login.hex() for login in self._authenticator.sessions.take_ended()]
        notes = [*self._notes.changes(self._routing_state, now),
                 *({"from": self.name, "kind": "logout", "login": login} for login in self._logouts)]  # fmt: skip
        try:
            await self.engine.publish([json.dumps(note) for note in notes])
        except EngineAway:
            self._notes.forget()  # what did not arrive is told again, with the times as they are then
            raise
        self._logouts.clear()
        keys = keys_by_mark(self._config())
        for age_s, text in await self.engine.notes(round(self.membership.engine_time(time.time()) * 1_000)):
            with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):  # of another version
                self._absorb(json.loads(text), age_s, keys, now)

    def _absorb(self, note: dict[str, Any], age_s: float, keys: Any, now: float) -> None:
        if note.get("kind") == "logout" and self._authenticator is not None:
            self._authenticator.sessions.end_named(bytes.fromhex(note["login"]), time.time())
        elif self._routing_state is not None:
            self._notes.absorb(self._routing_state, note, age_s, keys, now)

    def _send_all_again(self) -> None:
        self._notes.forget()
        if self._authenticator is not None:  # a gateway that begins later reads of logouts in the notes alone
            self._logouts = [login.hex() for login in self._authenticator.sessions.all().ended]
        self.engine.reread_notes()
        self._has_secret = False

    # -- what is shown

    def leased(self) -> dict[str, float]:
        return self._part.leased()

    def view(self) -> dict[str, Any]:
        """For the page, /health and /metrics."""
        presence, membership = self.membership.presence, self.membership
        away_s = clock_s() - presence.away_since if presence.away_since is not None else 0.0
        return {
            "engine": self.engine.where, "is_up": not presence.is_away, "away_s": round(away_s, 1),
            "why": presence.why if presence.is_away else "", "is_open": membership.is_open, "replicas": membership.count,
            "outages": presence.outages, "memory_losses": membership.losses, "messages": self.engine.messages,
            "name": self.name, "has_common_ledger": membership.ledger.is_common,
        }  # fmt: skip
