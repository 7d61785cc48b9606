"""What is changed through the API at one gateway, applied by all: the overlay's file of each is a copy of the database's.

    shared = SharedOverlay(store, path)
    shared.pull()          the file as the database has it, or the database as the file, where it has none yet; blocks
    shared.push(data)      before the file is written: OSError, and nothing changed, when another gateway was first; blocks

A gateway reloads its file when it changes, as it does after an editor. Without a file there is nothing to share.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as TookTooLong
from pathlib import Path
from typing import Any

from ...config.sources import put
from ...errors import GatewayError
from .database import PostgresStore
from .driver import Session
from .migrations import CHANNEL

LIMIT_S = 10.0  # of a change
FIRST = "0"  # the version of a database that has no overlay yet
READ = "SELECT name, value FROM meta WHERE name IN ('overlay', 'overlay_version')"
NEXT = "UPDATE meta SET value = (value::bigint + 1)::text WHERE name = 'overlay_version' AND value = ? RETURNING value"
KEEP = "INSERT INTO meta (name, value) VALUES ('overlay', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
WAS_FIRST = "another gateway changed providers or models a moment ago: read them again, and repeat the change"


class SharedOverlay:
    """See the module. Every method runs in a thread."""

    def __init__(self, store: PostgresStore, path: Path) -> None:
        self._store, self._path = store, path
        self._version = ""

    def _work(self, function: Any) -> Any:
        try:
            return self._store.write(function).result(LIMIT_S)
        except (GatewayError, TookTooLong) as wrong:
            raise OSError(getattr(wrong, "message", "") or "the store does not answer") from None

    def push(self, data: bytes) -> None:
        """Keeps it in the database and notifies the others."""
        known = self._version or FIRST

        def change(db: Session) -> str:
            row = db.execute(NEXT, (known,)).fetchone()
            if row is None:
                return ""
            db.execute(KEEP, (data.decode(),))
            db.execute("SELECT pg_notify(?, 'overlay')", (CHANNEL,))
            return str(row[0])

        version = self._work(change)
        if not version:
            self.pull()  # for the repetition: this gateway may not have been able to write its file
            raise OSError(WAS_FIRST)
        self._version = version

    def pull(self) -> None:
        """OSError where the database or the file cannot be used; then the file is as it was."""
        found = self._work(lambda db: dict(db.execute(READ).fetchall()))
        version, text = found.get("overlay_version", FIRST), found.get("overlay")
        if version == self._version:
            return
        here = self._path.read_bytes() if self._path.exists() else b""
        if text is not None and text.encode() != here:
            put(self._path, text.encode())
        self._version = version  # not before: with it `push` would replace what this file lacks
        if text is None and here:
            self.push(here)


async def follow(shared: SharedOverlay, warn: Any) -> None:
    """Applies what another gateway changed; a failure is reported, and tried again with the next change."""
    try:
        await asyncio.to_thread(shared.pull)
    except OSError as wrong:
        warn(f"changes of providers and models at other gateways cannot be applied: {wrong}")
