"""What stands behind the seams of memory, by `[server] store`: SQLite in a file or in memory, or PostgreSQL.

    stores = open_stores(config, source, fingerprint, warn)      None: nothing is stored
    stores.calls, stores.conversations, stores.keys, stores.owned
    watch = stores.watch(authenticator, budgets)     the keys, now and whenever another process changes them

StoreUnusable if a driver is missing or an address is invalid. A server that is away is waited for.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..access.authenticate import Authenticator
from ..config.addresses import is_postgres
from ..config.config import Config
from ..config.sources import Source
from ..policy.budgets import Budgets
from ..store.keep import Keep
from ..store.replicas import Replica
from ..store.sql_call_log import SqlCallLog
from ..store.sql_conversations import SqlConversations
from ..store.sql_keys import SqlKeys
from ..store.sql_owned import SqlOwned
from ..store.sqlite.database import Store
from ..store.sqlite.file import MEMORY, store_path
from ..store.sqlite.key_watch import KeyWatch

if TYPE_CHECKING:
    from ..store.postgres.ledgers import Elsewhere
    from ..store.postgres.overlay import SharedOverlay

SPILL_OFF = "off"
UNSHARED = (
    "without [state], gateways on this database see each other's spending after about a second: budgets may be exceeded by "
    "what the others spend until then, and by their calls in progress; rate limits and max_concurrent count in each gateway"
)  # said at the start and by --check


class Watch(Protocol):
    """What follows the keys, in a thread of its own."""

    def close(self) -> None: ...


@runtime_checkable
class Replicas(Protocol):
    """What follows the other gateways, too: `store.postgres.watch.ReplicaWatch`."""

    on_overlay: Callable[[], None]

    @property
    def replicas(self) -> tuple[Replica, ...]: ...
    @property
    def alive(self) -> int: ...
    def say(self, report: Mapping[str, Any]) -> None: ...


@dataclass(slots=True)
class Stores:
    """One engine behind all seams."""

    engine: Any  # a Recorder, with `keeps`, `health` and `place`
    calls: SqlCallLog
    conversations: SqlConversations
    keys: SqlKeys
    owned: SqlOwned
    watch: Callable[[Authenticator, Budgets], Watch | None]
    overlay: SharedOverlay | None = None
    elsewhere: Elsewhere | None = None  # of a database that other gateways write to: what they have spent


def keep_of(config: Config) -> Keep:
    """How long calls and conversations are kept, as `store` takes it."""
    server = config.server
    return Keep(server.keep_days, server.keep_bodies_days, server.max_store_bytes, server.keep_conversations_hours,
                server.max_conversations_bytes, server.keep_files_days)  # fmt: skip


def open_stores(config: Config, source: Source, fingerprint: Callable[[], str], warn: Callable[[str], None]) -> Stores | None:
    """`fingerprint` is that of the current configuration, `warn` what the log takes; both only for what others must know."""
    if is_postgres(config.server.store):
        return postgres_stores(config, source, fingerprint, warn)
    place = store_path(config.server.store, str(source.path or ""))
    return sqlite_stores(place, keep_of(config)) if place else None


def of_engine(engine: Any, watch: Callable[[Authenticator, Budgets], Watch | None], **keys: Any) -> Stores:
    stored_keys = SqlKeys(engine.transact, engine.place, engine.write, **keys)
    return Stores(engine, SqlCallLog(engine), SqlConversations(engine), stored_keys, SqlOwned(engine), watch)


def sqlite_stores(place: str, keep: Keep) -> Stores:
    store = Store.open(place, keep=keep)

    def watch(authenticator: Authenticator, budgets: Budgets) -> Watch | None:
        if store.path == MEMORY:
            return None  # no other process can change those
        deliver = asyncio.get_running_loop().call_soon_threadsafe
        made = KeyWatch(authenticator, store.path, budgets, deliver=deliver, wall=time.time)
        made.load(keys_lost=store.keys_lost)
        made.start()
        return made

    return of_engine(store, watch)


def spill_path(config: Config, source: Source) -> str:
    """Where calls wait while the server is away; "" for memory alone.

    Beside the configuration, unless it is named; without a file there is no place for one.
    """
    named = config.server.spill_file
    if named == SPILL_OFF or not (named or source.path):
        return ""
    path = str(source.path or "")
    return os.path.join(
        os.path.dirname(path), os.path.expanduser(named) or f"{os.path.splitext(os.path.basename(path))[0]}.spill.db"
    )


def replica_id() -> str:
    """A name that an operator finds again: the host's (a pod's), and the process."""
    return f"{socket.gethostname()}-{os.getpid()}-{token_hex(2)}"


def postgres_stores(config: Config, source: Source, fingerprint: Callable[[], str], warn: Callable[[str], None]) -> Stores:
    from ..store.postgres.database import PostgresStore
    from ..store.postgres.ledgers import Elsewhere, spent
    from ..store.postgres.overlay import SharedOverlay
    from ..store.postgres.watch import ReplicaWatch
    from ..store.sqlite.spill import SpillFile

    path = spill_path(config, source)
    store = PostgresStore.open(config.server.store, keep_of(config), spill=SpillFile(path) if path else None)

    def watch(authenticator: Authenticator, budgets: Budgets) -> Watch:
        made = ReplicaWatch(
            store.address, store.guard, authenticator, budgets, replica_id=replica_id(),
            valid_s=config.server.keys_valid_offline_s, deliver=asyncio.get_running_loop().call_soon_threadsafe,
            wall=time.time, clock=time.monotonic, fingerprint=fingerprint, warn=warn,
        )  # fmt: skip
        made.load()
        if stores.overlay is not None:
            made.on_overlay = following(stores.overlay, warn)
        made.start()
        return made

    stores = of_engine(store, watch, spent=spent)
    stores.elsewhere = Elsewhere(store)
    if source.overlay_path is not None:
        stores.overlay = SharedOverlay(store, source.overlay_path)
        source.share = stores.overlay.push
    return stores


def following(shared: SharedOverlay, warn: Callable[[str], None]) -> Callable[[], None]:
    """What takes over a change of another gateway; it begins with what there is now. In the event loop."""
    from ..store.postgres.overlay import follow

    tasks = set[asyncio.Task[None]]()

    def start() -> None:
        task = asyncio.ensure_future(follow(shared, warn))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    start()
    return start
