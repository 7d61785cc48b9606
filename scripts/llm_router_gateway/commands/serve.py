"""The process while it serves: what is there from the first line to the drain, and what signals, files and time do to it.

    exit_code = asyncio.run(serve(config, source))     until SIGTERM or Ctrl-C; 3 when the address cannot be bound

`Backends` outlives a request: it chooses the implementations of the interfaces (`Limiter`, `Budgets`, `CallLog`,
`KeyRepository`). `GatewayProcess` is the whole process.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import PROGRAM, __version__
from ..access.authenticate import Authenticator
from ..config.addresses import is_postgres
from ..config.config import Config, ConfigError, Problem
from ..config.describe import fingerprint
from ..config.sources import Source
from ..errors import GatewayError, Unavailable
from ..limiter.budgets import LocalBudgets
from ..limiter.local import LocalLimiter
from ..management.alerts import SpendAlerts
from ..management.keys_api import KeysApi
from ..management.metrics import Metrics
from ..management.monitor_api import MonitorApi
from ..management.page.document import Page
from ..management.providers_api import ProvidersApi
from ..net.client import Pool
from ..net.router import Route, Router
from ..net.server import Server, listeners
from ..policy.budgets import Budgets, day_of, utc_text
from ..policy.rate_limits import Limiter
from ..proxy.faults import fault_line, to_log
from ..proxy.gateway import Gateway, prepare
from ..proxy.log import Log, event_line
from ..store import key_rows
from ..store.call import Call
from ..store.recorder import StoreUnusable
from ..store.redaction import Bodies
from ..store.replicas import Replica
from ..store.sqlite.file import MEMORY
from .process import Watchdog, inherited_sockets, new_id, notify, on_signals, raise_file_limit
from .program import say
from .stores import UNSHARED, Replicas, Stores, keep_of, open_stores
from .telemetry import Sending

if TYPE_CHECKING:
    from .replica import Replica as Share

RELOAD_S = 1.0  # how often the files are checked for changes
FLUSH_S = 0.2  # how long a log line may wait
MAX_SAID = 50  # members that do not work as they should, for other gateways
SAY_S = 1.0  # how often what other gateways may know is gathered
USED_S = 5.0  # how often the last use of keys is stored
SPENDING_S = 0.5  # how often a gateway reads what others on its database have spent
SHOWN_S = 5.0  # the same for administrators alone, where [state] counts budgets for all
LEDGER_S = 10.0  # for the store to say what its file is called; it does so in milliseconds
CLOSE_S = 10.0  # for the calls that wait to be written at the end
NO_RESTART = "SIGUSR2 replaces workers, but this gateway has none: nothing was done"  # without it, it would be ended
STOPS = ("SIGTERM", "SIGINT", "SIGBREAK")  # the last is Windows's: Ctrl-Break, and what service wrappers send
UNUSABLE = (ConfigError, StoreUnusable)  # what a process cannot begin with
AT_START = (
    "host",
    "port",
    "log_file",
    "log_level",
    "log_format",
    "max_connections",
    "max_connections_per_address",
    "store",
    "spill_file",
    "keys_valid_offline_s",
    "workers",
    "reuse_port",
)  # what a reload cannot change


def count_text(number: int, noun: str) -> str:
    """count_text(1, "model") -> "1 model", count_text(2, "model") -> "2 models" """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ready_lines(config: Config, port: int, demo: bool, is_open: bool) -> list[str]:
    """What to do next, once the address is open."""
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    url = f"http://{host}:{port}"
    active = sum(provider.is_active for provider in config.providers)
    counts = f"{count_text(active, 'provider')}, {count_text(len(config.models), 'listed model')}"
    lines = [
        f"{PROGRAM} {__version__} listening on {url}: {counts}",
        f"  OpenAI clients     OPENAI_BASE_URL={url}/v1",
        f"  Claude Code        ANTHROPIC_BASE_URL={url}",
        f"  Gemini CLI         GOOGLE_GEMINI_BASE_URL={url}",
        f"  monitor page       {url}/monitor",
    ]
    if is_open:
        lines.append("  no token is set: every program on this machine may call; clients may send any key")
    return [*lines, "  --demo: request the model `demo`, or any gpt, claude or gemini"] if demo else lines


def listed_names(config: Config) -> frozenset[str]:
    """The full names of the models that the configuration lists."""
    return frozenset(f"{model.provider}/{model.name}" for model in config.models)


def log_of(config: Config) -> Log:
    """ConfigError where its file cannot be opened."""
    server = config.server
    try:
        return Log(server.log_level, path=os.path.expanduser(server.log_file), as_json=server.log_format == "json")
    except OSError as wrong:
        why = (
            "is a symbolic link: name the file itself" if wrong.errno == errno.ELOOP else f"cannot be opened: {wrong.strerror}"
        )
        raise ConfigError([Problem("server.log_file", f"{server.log_file} {why}")]) from None


class Backends:
    """What outlives a request: the store with its calls and keys, the limiter, the budgets, the metrics."""

    def __init__(self, config: Config, source: Source, log: Log, authenticator: Authenticator | None = None) -> None:
        self._log = log
        self.config = config
        self._fingerprint: tuple[Config | None, str] = (None, "")
        stores = open_stores(config, source, self.fingerprint, log.warn)
        self.store = stores.engine if stores is not None else None
        self.calls = stores.calls if stores is not None else None
        self.conversations = stores.conversations if stores is not None else None
        self.keys = stores.keys if stores is not None else None
        self.owned = stores.owned if stores is not None else None
        self.replica = self._join(config, stores)
        self.limiter: Limiter = self.replica.limiter if self.replica is not None else LocalLimiter(time.monotonic)
        self.budgets: Budgets = self.replica.budgets if self.replica is not None else LocalBudgets()
        # Where nothing counts budgets for all gateways at once, each reads what the others have spent.
        self._elsewhere = stores.elsewhere if stores is not None and self.replica is None else None
        self.on_spent = [self.budgets.load]
        self.authenticator = authenticator or Authenticator(config)
        self._listed = listed_names(config)
        self.metrics = Metrics(lambda name: name in self._listed)
        # The keys of the store are there before the first request, and followed from then on.
        self._watch = stores.watch(self.authenticator, self.budgets) if stores is not None else None
        self._used_at = time.monotonic()
        self.others: Replicas | None = self._watch if isinstance(self._watch, Replicas) else None
        self.report: Callable[[], Mapping[str, Any]] = dict  # what other gateways may know of this one
        self._said_at = self._used_at

    def _join(self, config: Config, stores: Stores | None) -> Share | None:
        """This process's part in what several gateways share; None where nothing is."""
        if config.state is None:
            return None
        from .replica import COMMON, KeyLedger  # and redis-py with it
        from .replica import Replica as Share

        ledger = None
        if stores is not None and is_postgres(config.server.store):
            ledger = KeyLedger(stores.keys, stores.engine, COMMON)
        elif stores is not None and stores.engine.path != MEMORY:
            with suppress(Exception):  # a disk that fails: the store says so itself, and tries again
                name = stores.engine.write(key_rows.ledger_name).result(LEDGER_S)
                ledger = KeyLedger(stores.keys, stores.engine, name)
        return Share(config.state, ledger=ledger, log=self._log, guess=self.count_processes)

    def count_processes(self) -> int:
        """How many processes share the limits, by the configuration and the database of gateways."""
        return self.config.server.workers * (self.others.alive if self.others is not None else 1)

    def keep(self, call: Call, bodies: Bodies | None) -> None:
        """Counts and stores one finished call."""
        self.metrics.observe(call)
        if self.calls is not None:
            self.calls.append(call, bodies)

    def fingerprint(self) -> str:
        """Of the current configuration. Not in the event loop: a large one takes its time."""
        config = self.config
        if self._fingerprint[0] is not config:
            self._fingerprint = config, fingerprint(config)
        return self._fingerprint[1]

    def replicas(self) -> tuple[Replica, ...]:
        return self.others.replicas if self.others is not None else ()

    def configure(self, config: Config) -> None:
        self.config, self._listed = config, listed_names(config)
        if self.store is not None:
            self.store.keeps(keep_of(config))

    def tend(self, *, at_the_end: bool = False) -> None:
        """Periodic work: logs the store's notes and stores when keys were last used."""
        if self.store is None:
            return
        for note in self.store.take_notes():
            self._log.warn(note)
        if self.others is not None and time.monotonic() >= self._said_at:
            self._said_at = time.monotonic() + SAY_S
            self.others.say(self.report())
        if not at_the_end and time.monotonic() < self._used_at + USED_S:
            return
        self._used_at = time.monotonic()
        used = self.authenticator.take_used()
        if used and self.keys is not None:
            self.keys.mark_used(used)

    async def follow_spending(self) -> None:
        """Reads what keys spend at other gateways on the same database. Runs until it is cancelled, where there may be any."""
        if self._elsewhere is not None:
            self._log.info(UNSHARED)
            read, every_s = self._elsewhere.news, SPENDING_S
        elif self.replica is not None and self.keys is not None:
            read, every_s = self.keys.spent, SHOWN_S
        else:
            return
        while True:
            now = time.time()
            try:
                found = await read(now)
                for take in self.on_spent if day_of(time.time()) == day_of(now) else ():
                    take(found, now)
            except GatewayError:
                pass  # the database is away: the store says so, and goes on
            except Exception as error:
                where, effect = "reading what other gateways have spent", f"it is tried again in {every_s:g} s"
                self._log.error(fault_line(where, error, effect))
            await asyncio.sleep(every_s)

    def close(self, limit_s: float = CLOSE_S) -> None:
        if self.store is None:
            return
        self.tend(at_the_end=True)
        if self._watch is not None:
            self._watch.close()
        if self.conversations is not None:
            self.conversations.flush()
        self.store.close(limit_s)
        for note in self.store.take_notes():
            self._log.warn(note)


class GatewayProcess:
    """The process while it serves: what signals, changed files and the timer do to it."""

    def __init__(self, config: Config, source: Source, *, demo: bool = False) -> None:
        """ConfigError where the log file cannot be opened."""
        server = config.server
        self.config, self.source, self.log = config, source, log_of(config)
        self._at_start = config
        self._reloading: asyncio.Task[None] | None = None
        self._is_stale = False  # another reload was requested since it was read last
        self._changing = asyncio.Lock()  # the administrators', once there are routes for them
        self.pool = Pool()
        self.backends = Backends(config, source, self.log, self.make_authenticator())
        self.gateway = Gateway(
            config, self.pool, self.log, clock=time.monotonic, call_later=asyncio.get_running_loop().call_later,
            new_id=new_id, authenticator=self.backends.authenticator, limiter=self.backends.limiter,
            budgets=self.backends.budgets, kept=self.backends.conversations, owned=self.backends.owned,
        )  # fmt: skip
        self.gateway.on_call = self.keep
        self._started_at, self._watchdog = time.time(), Watchdog(os.environ, os.getpid(), time.monotonic)
        self.backends.report = self.report
        self.gateway.on_attempts = self.backends.metrics.observe_attempts
        self.gateway.store_health = self.backends.store.health if self.backends.store is not None else None
        self.sending = Sending(config, self.gateway, self.pool, self.log)
        self.alerts = self._alerts(config)
        self.gateway.router = Router(self.routes(demo))
        self.server = Server(
            self.gateway, max_connections=server.max_connections, max_per_address=server.max_connections_per_address
        )
        self.stop = asyncio.Event()

    def make_authenticator(self) -> Authenticator:
        return Authenticator(self.config)

    @property
    def shown_budgets(self) -> Budgets:
        """What administrators see of spending."""
        return self.backends.budgets

    def count_workers(self) -> Mapping[str, int]:
        """{} of a single process."""
        return {}

    @property
    def open(self) -> int:
        """Requests being answered."""
        return self.gateway.open

    @property
    def leased(self) -> Mapping[str, float]:
        """What this gateway has of shared limits and budgets; {} where nothing is shared."""
        return self.backends.replica.leased() if self.backends.replica is not None else {}

    def routes(self, demo: bool) -> Iterable[Route]:
        """The routes of the management API and the monitor page."""
        gateway, backends = self.gateway, self.backends
        monitor = MonitorApi(
            backends.calls, backends.metrics, open_requests=lambda: self.open, version=__version__,
            members=lambda: gateway.routing_state.report(gateway.state.table, time.monotonic()), replicas=backends.replicas,
            telemetry=self.telemetry_health,
            shared=backends.replica.view if backends.replica is not None else dict, workers=self.count_workers,
        )  # fmt: skip
        admin = ProvidersApi(
            self.source, state=lambda: gateway.state, routing_state=gateway.routing_state, take_over=self.take_over,
            clock=time.monotonic, new_id=new_id, warn=self.log.warn, info=self.log.info, refuse=self.refuse,
        )  # fmt: skip
        self._changing = admin.lock
        keys = KeysApi(backends.authenticator, backends.keys, self.shown_budgets, time.time, demo=demo)
        return [*Page().routes(), *monitor.routes(), *keys.routes(), *admin.routes()]

    def _alerts(self, config: Config) -> SpendAlerts | None:
        """Where the configuration has a webhook."""
        if config.alerts is None:
            return None
        backends = self.backends
        return SpendAlerts(config.alerts, self.pool, backends.authenticator.key_by_id, self.shown_budgets, wall=time.time,
                           warn=self.log.warn)  # fmt: skip

    def keep(self, call: Call, bodies: Bodies | None) -> None:
        """One finished call, of this process or of a worker; it is booked by now."""
        self.backends.keep(call, bodies)
        if self.alerts is not None:
            self.alerts.observe(call)

    def telemetry_health(self) -> Mapping[str, int]:
        """Of the spans of this gateway."""
        return self.sending.health()

    def say_at_start(self, level: str, event: str, lines: list[str], **more: object) -> None:
        """To people on the terminal; to programs one object, where the log is JSON, from its first line on."""
        if self.log.as_json:
            self.log.event(level, event, lines[0], **more)
            return
        for line in lines:
            say(line)

    def report(self) -> Mapping[str, Any]:
        """What other gateways on the same database may know of this one."""
        lines = self.gateway.routing_state.report(self.gateway.state.table, time.monotonic())
        health = self.backends.store.health() if self.backends.store is not None else {}
        return {
            "version": __version__, "address": f"{self.config.server.host}:{self.config.server.port}",
            "started_at": utc_text(self._started_at), "open_requests": self.open,
            "rows_waiting": health.get("rows_waiting", 0), "dropped": health.get("dropped", 0), "leases": self.leased,
            "members": [{name: line[name] for name in ("model", "state", "factor", "active", "back_in_s")}
                        for line in lines if line["factor"] < 1 or line["state"] != "ok"][:MAX_SAID],
        }  # fmt: skip

    def reload(self) -> None:
        """Reloads the configuration. Any number of requests meanwhile cause one more reload."""
        if self._reloading is not None and not self._reloading.done():
            self._is_stale = True
            return
        self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        """A new Config, whole, or none: a bad file changes nothing and every problem is in the log.

        In a thread: a thousand models take longer to read than any request should wait.
        """
        self._is_stale = True
        while self._is_stale:
            self._is_stale = False
            async with self._changing:
                try:
                    await self.take_over(await asyncio.to_thread(self.load))
                except ConfigError as error:
                    self.refuse(error)
                except Exception as error:
                    self.gateway.is_config_refused = True
                    effect = "the configuration before it stays in effect"
                    self.log.error(fault_line(f"reloading {self.source.name}", error, effect))

    def refuse(self, error: ConfigError) -> None:
        """What was read cannot be used: the log and /health/ready say so, and the Config stays."""
        self.gateway.is_config_refused = True
        for problem in error.problems:
            self.log.error(f"{self.source.name} not reloaded: {problem}")

    def load(self) -> Config:
        """The configuration as it is now. In a thread. ConfigError."""
        return self.source.load()

    async def take_over(self, config: Config) -> None:
        """Swaps the Config in; requests in progress keep the one they began with."""
        self.gateway.swap(await asyncio.to_thread(prepare, config))
        self.gateway.is_config_refused = self.source.is_refused  # it stays so when the API changes what was read before
        self.backends.configure(config)
        late = ", ".join(self._late(config))
        self.config = config
        for note in config.notes:
            self.log.warn(f"note: {note}")
        count = f"{count_text(len(config.providers), 'provider')}, {count_text(len(config.models), 'listed model')}"
        what = "not reloaded, only changed through the API" if self.source.is_refused else "reloaded"
        self.log.info(f"{self.source.name} {what}: {count}{late and f'; at the next start: {late}'}")

    def _late(self, config: Config) -> Iterator[str]:
        """What a configuration says otherwise than the one at the start, and nothing but a start changes."""
        old, new = self._at_start, config
        yield from (name for name in AT_START if getattr(old.server, name) != getattr(new.server, name))
        yield from (f"[{name}]" for name in ("telemetry", "alerts", "state") if getattr(old, name) != getattr(new, name))

    async def look_after(self) -> None:
        """The periodic work: changed files, buffered log lines, the backends. Runs until it is cancelled."""
        next_look = time.monotonic() + RELOAD_S
        beside = [asyncio.create_task(self.backends.follow_spending())]
        if self.alerts is not None:
            beside.append(asyncio.create_task(self.alerts.run()))
        try:
            await self._look(next_look)
        finally:
            for task in beside:
                task.cancel()

    async def _look(self, next_look: float) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._watchdog.beat()
            try:
                self.backends.tend()
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + RELOAD_S
                    busy = self._reloading is not None and not self._reloading.done()
                    if not busy and self.source.has_changed():
                        self.reload()
            except Exception as error:
                self.log.error(fault_line("the periodic work", error, f"it is tried again in {FLUSH_S:g} s"))
            self.log.flush()

    async def drain(self) -> None:
        """Refuses new requests; open ones may finish until the limit, then their streams get an error event."""
        self.log.info(f"stopping: {self.gateway.open} open requests, waiting up to {self.config.server.drain_s:g} s")
        limit = asyncio.get_running_loop().call_later(
            self.config.server.drain_s, self.gateway.end_all, Unavailable("the gateway is shutting down")
        )
        await self.server.drain(self.config.server.drain_s + 1)
        limit.cancel()

    def end_now(self) -> None:
        """Stops without draining; the log and the store are still flushed."""
        self.backends.close(FLUSH_S)
        self.log.close()
        os._exit(0)


def say_unusable(config: Config, wrong: Exception) -> None:
    """What is wrong with the log file or the store, as the log would say it."""
    if config.server.log_format == "json":
        sys.stderr.write(event_line("error", "problem", str(wrong)))
    else:
        say(str(wrong))


async def sockets_of(config: Config) -> list[socket.socket]:
    """The listening sockets: those that the process was started with, else new ones. OSError, ValueError."""
    server = config.server
    return inherited_sockets(os.environ, os.getpid()) or await listeners(server.host, server.port)


async def serve(config: Config, source: Source, *, demo: bool = False) -> int:
    """Serves until a signal, then drains. Returns 3 when the address cannot be bound, 2 without its log file."""
    raise_file_limit()
    try:
        process = GatewayProcess(config, source, demo=demo)
    except UNUSABLE as wrong:
        say_unusable(config, wrong)
        return 2
    try:
        sockets = await sockets_of(config)
    except (OSError, ValueError) as wrong:
        process.backends.close()
        process.say_at_start("error", "problem", [cannot_listen(config, wrong)])
        return 3
    replica = process.backends.replica
    if replica is not None:
        await replica.start(process.gateway.routing_state, process.backends.authenticator, lambda: process.config)
    try:
        process.server.listen(sockets)
    except OSError as wrong:  # another process was quicker
        process.backends.close()
        process.say_at_start("error", "problem", [cannot_listen(config, wrong)])
        return 3
    port = int(sockets[0].getsockname()[1])
    gc.freeze()  # what is here now stays: the collector need not look at it again
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(to_log(process.log))
    on_signals(loop, {
        **dict.fromkeys(STOPS, process.stop.set), "SIGHUP": process.reload, "SIGUSR2": lambda: process.log.warn(NO_RESTART)
    })  # fmt: skip
    lines = ready_lines(config, port, demo, process.backends.authenticator.is_open)
    process.say_at_start("info", "listening", lines, host=config.server.host, port=port, version=__version__)
    care = asyncio.create_task(process.look_after())
    process.sending.start()
    notify("READY=1")
    await process.stop.wait()
    notify("STOPPING=1")
    on_signals(loop, dict.fromkeys(STOPS, process.end_now))  # a second signal stops at once
    await process.drain()
    care.cancel()
    await process.sending.close()
    await process.gateway.offload.close()
    await process.gateway.key_commands.close()
    await process.pool.close()
    if replica is not None:
        await replica.close()
    process.backends.close()
    process.log.close()
    return 0


def cannot_listen(config: Config, wrong: Exception) -> str:
    reason = (wrong.strerror if isinstance(wrong, OSError) else None) or wrong
    return f"cannot listen on {config.server.host}:{config.server.port}: {reason}"
