"""The home's side: every worker's link, what comes in over it, and what all workers must know.

    home = Home(parts)
    await loop.create_unix_server(home.accept, path)      a Link for each worker; `parts.expects(name)` lets it in
    home.push_keys(), home.push_sessions(), home.push_config()      to all workers, in order
    await home.in_force()                                 once all of them have it, or after IN_FORCE_S
    await home.refresh()                                  once all of them have reported, or after FRESH_S
    home.look()                                            every second: a worker that hangs is ended
    home.tend()                                            several times a second, where other gateways share with this one

The welcome of a worker: {"config": text, "keys": [rows, generation, sealed, unknown, expired], "sessions": [...],
"routing": {...}, "ledger": [name of the call log, whether it is common], "processes": how many share the limits,
"secret": text or null, "is_kept": whether conversations are}.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..access.authenticate import Authenticator
from ..access.sessions import Sessions
from ..errors import Conflict, Unavailable
from ..net.link import Link, LinkLost
from ..proxy.faults import fault_line
from ..proxy.log import Log
from ..routing.notes import Notes, keys_by_mark
from ..routing.state import RoutingState
from ..store.call import Call
from ..store.conversations import Conversations, Turn
from ..store.keys import Row
from ..store.owned import OwnedObjects, Wanted
from ..store.redaction import Bodies
from .leases import LeaseDesk
from .messages import pack_logins, pack_owned, pack_row, pack_turn, unpack_owned, unpack_record, unpack_turn
from .routing import SHARED, Changes, MemberViews, absorb, whole_state
from .silence import Doing, Silence

IN_FORCE_S = 0.5  # the longest that an administrator's response waits for a worker that does not acknowledge
FRESH_S = 0.5  # the longest that it waits for a worker's report
CONFIG_S = 60.0  # for a worker to read a configuration


class SharedSessions(Sessions):
    """Logins that every worker must know: `on_change` is called after each change."""

    __slots__ = ("on_change",)

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self.on_change = on_change

    def begin(self, digest: bytes, token: str, now: float) -> None:
        super().begin(digest, token, now)
        self.on_change()

    def end(self, token: str) -> None:
        super().end(token)
        self.on_change()


class SharedAuthenticator(Authenticator):
    """The home's: `on_keys` is called whenever the keys of the store changed, or whether they can be read."""

    on_keys: Callable[[], None] | None = None

    def take(self, rows: Iterable[Row], generation: int, is_new: bool = False, lost: str = "") -> None:
        super().take(rows, generation, is_new, lost)
        if self.on_keys is not None:
            self.on_keys()

    def judge(self, unknown: str, expired: str) -> None:
        super().judge(unknown, expired)
        if self.on_keys is not None:
            self.on_keys()


@dataclass(slots=True)
class HomeParts:
    """What the home owns."""

    authenticator: SharedAuthenticator
    leases: LeaseDesk
    routing_state: RoutingState
    conversations: Conversations | None
    owned: OwnedObjects | None
    log: Log
    keep: Callable[[Call, Bodies | None], None]  # a record
    count_attempts: Callable[[Sequence[Sequence[Any]]], None]  # requests to upstreams: management.metrics.add_attempts
    config_text: Callable[[], str]
    clock: Callable[[], float]
    expects: Callable[[str], bool]  # whether a worker of this name was started
    on_ready: Callable[[str], None]
    end_worker: Callable[[str, str], None]  # one that cannot go on, and why
    doing: Callable[[int], Doing | None] = lambda pid: None  # what the system says of a worker's process


@dataclass(slots=True, eq=False)
class Worker:
    """One worker that has introduced itself."""

    name: str
    link: Link
    seen: int = 0  # the number of its last batch
    open: int = 0  # requests that it is answering
    leased: Mapping[str, float] = field(default_factory=dict)  # what it has of limits and budgets, as it said last
    pid: int = 0
    is_ready: bool = False  # it accepts callers; until then it reads its configuration, which may be large
    is_heard: bool = True  # since the last look
    silence: Silence = field(default_factory=Silence)


@dataclass(slots=True)
class Home:
    """See the module."""

    parts: HomeParts
    workers: dict[str, Worker] = field(default_factory=dict)
    telemetry: dict[str, Mapping[str, int]] = field(default_factory=dict)  # spans of each worker; "": of those that have ended
    _views: MemberViews = field(default_factory=MemberViews)
    _outside: Notes = field(default_factory=lambda: Notes("home"))  # what workers know of what other gateways found
    _logins: list[Any] = field(default_factory=list)  # as last sent to the workers
    _pushes: set[asyncio.Task[None]] = field(default_factory=set)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def open(self) -> int:
        """Requests that all workers are answering."""
        return sum(worker.open for worker in self.workers.values())

    @property
    def leased(self) -> dict[str, float]:
        """What all workers have of limits and budgets."""
        total: dict[str, float] = {}
        for worker in self.workers.values():
            for name, value in worker.leased.items():
                total[name] = round(total.get(name, 0) + value, 6)
        return total

    # -- links

    def accept(self) -> Link:
        """For a connection that has come: all that it may do is to say its name."""
        link = Link({}, on_lost=self._lost, report=self._fault)

        def hello(name: str, pid: int, version: str) -> dict[str, Any]:
            if name in self.workers or not self.parts.expects(name):
                raise Conflict(f"no worker {name!r} is expected")
            if version != __version__:
                raise Conflict(f"the program on disk is version {version}, this process {__version__}: restart the service")
            worker = Worker(name, link, pid=pid)
            self.workers[name] = worker
            link.handlers = self._handlers(worker)
            return self._welcome()

        link.handlers["hello"] = hello
        return link

    def _handlers(self, worker: Worker) -> dict[str, Callable[..., Any]]:
        return {
            "ready": lambda: self._ready(worker),
            "alive": lambda: setattr(worker, "is_heard", True),
            "batch": lambda number, calls, lines, used: self._batch(worker, number, calls, lines, used),
            "open": lambda count: setattr(worker, "open", count),
            "leased": lambda sums: setattr(worker, "leased", sums),
            "attempts": self.parts.count_attempts,
            "telemetry": lambda health: self.telemetry.__setitem__(worker.name, health),
            "routing": lambda changes: self._routing(worker, changes),
            "kept": self._kept, "keep": self._keep, "owned": self._owned,
            "lease": lambda name, values: self._lease(worker, name, values),
            "sums": self.parts.leases.sums, "settle": self.parts.leases.settle,
        }  # fmt: skip

    def _ready(self, worker: Worker) -> None:
        worker.is_ready = True
        self.parts.on_ready(worker.name)

    def _welcome(self) -> dict[str, Any]:
        parts = self.parts
        kept = parts.conversations
        sessions = pack_logins(parts.authenticator.sessions.all())
        return {
            "config": parts.config_text(), "keys": self._keys(), "sessions": sessions,
            "routing": whole_state(parts.routing_state, parts.clock()), "ledger": parts.leases.ledger,
            "processes": parts.leases.processes(),
            "secret": kept.secret.hex() if kept is not None else None, "is_kept": kept is not None,
        }  # fmt: skip

    def _lost(self, link: Link) -> None:
        worker = next((each for each in self.workers.values() if each.link is link), None)
        if worker is None:
            return
        del self.workers[worker.name]
        ended, last = self.telemetry.get("", {}), self.telemetry.pop(worker.name, {})
        if last:
            self.telemetry[""] = {name: ended.get(name, 0) + count for name, count in last.items() if name != "waiting"}
        self._views.fill(self.parts.routing_state, self._views.forget(worker.name))
        self._start(self.parts.leases.leave(worker.name))

    def _fault(self, name: str, error: Exception) -> None:
        self.parts.log.error(fault_line(f"the message {name} between the processes", error, "it was not handled"))

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def look(self) -> None:
        """Every second: ends a worker that hangs; another takes its place."""
        for worker in [each for each in self.workers.values() if each.is_ready]:
            is_heard, worker.is_heard = worker.is_heard, False
            why = worker.silence.look(is_heard, None if is_heard else self.parts.doing(worker.pid))
            if why:
                self.parts.end_worker(worker.name, f"{why}, and was ended")

    # -- what workers say

    async def _lease(self, worker: Worker, name: str, values: Sequence[Any]) -> Any:
        worker.is_heard = True
        return await self.parts.leases.handle(name, values)

    def _batch(
        self, worker: Worker, number: int, calls: Sequence[Any], lines: Sequence[str], used: dict[str, float]
    ) -> bool:  # fmt: skip
        """Records and log lines, once: one that comes again was taken before."""
        if number <= worker.seen:
            return True
        worker.seen = number
        for values in calls:
            try:
                self.parts.keep(*unpack_record(values))
            except Exception as error:  # one record that is not readable costs no other
                self._fault("a call", error)
        self.parts.log.pass_on(lines)
        if used:
            self.parts.authenticator.note_used(used)
        return True

    def _routing(self, worker: Worker, changes: Changes) -> None:
        parts, now = self.parts, self.parts.clock()
        members = changes.get("members", {})
        shared = {name: changes[name] for name in SHARED if name in changes and name != "members"}
        absorb(parts.routing_state, shared, keys_by_mark(parts.authenticator.config), now)
        news = self._views.take(worker.name, members, now)
        self._views.fill(parts.routing_state, members)
        if news:
            shared["members"] = news
        if shared:
            self._tell(shared, worker)

    def _tell(self, changes: Changes, but: Worker) -> None:
        for each in self.workers.values():
            if each is not but:
                each.link.send("routing", changes)

    async def _kept(self, name: str, arguments: Sequence[Any]) -> Any:
        kept = self.parts.conversations
        if kept is None:
            return None
        if name == "delete":
            return await kept.delete(*arguments)
        if name == "find":
            turn = await kept.find(*arguments)
            return None if turn is None else pack_turn(turn)
        found: list[Turn] = await (kept.chain if name == "chain" else kept.holding)(*arguments)
        return [pack_turn(turn) for turn in found]

    def _keep(self, turn: Sequence[Any]) -> None:
        if self.parts.conversations is not None:
            self.parts.conversations.append(unpack_turn(turn))

    async def _owned(self, name: str, arguments: Sequence[Any]) -> Any:
        owned = self.parts.owned
        if owned is None:
            raise Unavailable("this gateway keeps nothing")
        if name == "put":
            await owned.put([unpack_owned(each) for each in arguments[0]])
            return True
        if name == "page":
            return [pack_owned(each) for each in await owned.page(Wanted(*arguments))]
        if name in ("delete", "owners"):
            return await (owned.delete if name == "delete" else owned.owners)(*arguments)
        found = await owned.find(*arguments)
        return None if found is None else pack_owned(found)

    # -- what all workers must know

    def _keys(self) -> list[Any]:
        found = self.parts.authenticator
        return [[pack_row(row) for row in found.all_rows], found.generation, found.sealed, *found.judgement]

    def push_keys(self) -> None:
        self._push("keys", *self._keys())

    def push_sessions(self) -> None:
        self._logins = pack_logins(self.parts.authenticator.sessions.all())
        self._push("sessions", self._logins)

    def push_config(self) -> None:
        self._push("config", self.parts.config_text(), limit_s=CONFIG_S)

    def _push(self, name: str, *arguments: object, limit_s: float = CONFIG_S) -> None:
        for worker in self.workers.values():
            task = asyncio.get_running_loop().create_task(self._push_to(worker, name, arguments, limit_s))
            self._pushes.add(task)
            task.add_done_callback(self._pushes.discard)

    async def _push_to(self, worker: Worker, name: str, arguments: Sequence[object], limit_s: float) -> None:
        """A worker that cannot take over what all have must not go on with what was."""
        try:
            await worker.link.call(name, *arguments, limit_s=limit_s)
        except LinkLost:
            if not worker.link.is_lost:
                self.parts.end_worker(worker.name, f"it did not take over the {name} within {limit_s:g} s")
        except Exception as error:
            self.parts.end_worker(worker.name, f"it could not take over the {name}: {error}")

    async def refresh(self) -> None:
        """Has every worker report what it knows and the home does not: what an administrator reads is as of now."""
        if not self.workers:
            return
        reports = [asyncio.create_task(worker.link.call("report", limit_s=FRESH_S)) for worker in self.workers.values()]
        await asyncio.gather(*reports, return_exceptions=True)  # one that does not answer is shown as it was last

    async def in_force(self) -> None:
        """Waits until every worker has what was pushed so far."""
        if self._pushes:
            await asyncio.wait(tuple(self._pushes), timeout=IN_FORCE_S)

    def tend(self) -> None:
        """Several times a second, where other gateways share with this one: passes on to the workers what these found."""
        if pack_logins(self.parts.authenticator.sessions.all()) != self._logins:
            self.push_sessions()
        notes = self._outside.changes(self.parts.routing_state, self.parts.clock())
        if notes:
            for worker in self.workers.values():
                worker.link.send("notes", notes)

    async def wait_settled(self) -> None:
        """Waits until what dead workers held is given back."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def close(self) -> None:
        for worker in tuple(self.workers.values()):
            with suppress(RuntimeError):
                worker.link.close()
