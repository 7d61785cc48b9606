"""The store's keys as they are now, also when another program changed them: a look at their generation, ten times a second.

    watch = KeyWatch(authenticator, "router.db", budgets, deliver=loop.call_soon_threadsafe, wall=time.time)
    watch.load()       at the start, before anybody may call: the keys, and what they have spent
    watch.start()      in a thread of its own, which no long query delays; a key that was disabled is refused within LOOK_S
    watch.close()

A read error changes nothing: the known keys stay valid, and anonymous callers are refused. A file that cannot be read at the
start is read as soon as it can be; what keys have spent comes with it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...policy.budgets import Budgets
from ..key_rows import look, spent, spent_before
from ..keys import KeyHolder
from .file import connect, identity

LOOK_S = 0.1
UNREADABLE = "the store with the keys cannot be read: access without a key is refused until it can"
LOST = "the store with the keys was lost while in use: access without a key is refused until the next start"


class KeyWatch:
    """Of one file, for the code that admits callers by it."""

    def __init__(
        self, authenticator: KeyHolder, path: str, budgets: Budgets, *, deliver: Callable[..., Any], wall: Callable[[], float]
    ) -> None:  # fmt: skip
        self._authenticator, self._path, self._budgets, self._deliver, self._wall = authenticator, path, budgets, deliver, wall
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._known: str | None = None
        self._had_keys = False
        self._began, self._has_spending = wall(), False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def load(self, *, keys_lost: bool = False) -> None:
        """Once, at the start. `keys_lost`: the file was damaged, and perhaps not all keys are in the new one."""
        authenticator = self._authenticator
        if identity(self._path) is None:
            return  # no file, no keys: what is wrong with the disk is the store's to tell
        authenticator.sealed, authenticator.is_unread = UNREADABLE, True
        if self._look(lambda function, *args: function(*args), at_start=True):
            authenticator.sealed = LOST if keys_lost else ""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._let_go()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            with suppress(RuntimeError):  # the loop is closed: we are going down
                self._look(self._deliver)

    def _look(self, deliver: Callable[..., Any], *, at_start: bool = False) -> bool:
        """Takes over what changed; whether the file could be read. `at_start`: no call of this process is in it."""
        try:
            is_new = self._open()
            generation, rows = look(self._db, None if is_new else self._known)
            number = int(generation or 0)
        except Exception:  # whatever is in the file: the thread goes on, and sees the next change of a key
            self._let_go()
            return False
        if rows is not None:
            is_lost = is_new and self._had_keys and not rows
            deliver(self._authenticator.take, rows, number, is_new, LOST if is_lost else "")
            self._had_keys = self._had_keys or bool(rows)
        self._known = generation
        if not self._has_spending:
            with suppress(sqlite3.Error):  # tried again with the next look
                now = self._wall()
                found = spent(self._db, now) if at_start else spent_before(self._db, now, self._began)
                deliver(self._budgets.load, found, now)
                self._has_spending = True
        return True

    def _open(self) -> bool:
        """Whether the file is another one than at the last look."""
        here = identity(self._path)
        if self._db is not None and here == self._identity:
            return False
        self._let_go()
        self._db, self._identity = connect(self._path, reads=True), here
        return True

    def _let_go(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None
