"""The SQLite files of cache and usage log: made whole or not at all, moved aside where they are damaged."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from llm_router_client import one_line

from .files import move_new, private_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_router_client import Call

DATABASE = """PRAGMA journal_mode = WAL;
CREATE TABLE answers (key BLOB PRIMARY KEY, stored_at REAL, body BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE INDEX answers_by_age ON answers (stored_at);
CREATE TABLE calls (at REAL, model TEXT, endpoint TEXT, session TEXT, outcome TEXT, cached INTEGER, attempts INTEGER,
  prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL, cost_source TEXT, latency_s REAL)"""


def make_database(path: str, connect: Callable[..., Any]) -> None:
    """A new database under another name, and then, whole, under its own.

    What is there is opened by SQLite alone: a close() here would end the locks that it has in other threads (fcntl(2)).
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = f"{path}.{os.urandom(4).hex()}"
    os.close(private_file(new, os.O_EXCL))
    try:
        db = connect(new)
        try:
            db.executescript(DATABASE)
        finally:
            db.close()
        move_new(new, path)
    except FileExistsError:
        pass  # another process or thread was faster
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            if os.path.exists(new + end):
                os.unlink(new + end)


def in_file(path: str, sql: str, *values: Any) -> list[Any]:
    """The rows of one statement on such a database; OSError where it fails, also after a damaged file was moved aside."""
    try:
        import sqlite3
    except ImportError:
        raise OSError("this Python was built without sqlite3") from None
    db: Any = None
    opened: Any = None
    try:
        if not os.path.lexists(path) and os.path.isabs(path):
            make_database(path, sqlite3.connect)
        if os.path.islink(path) or not os.path.isfile(path) or not os.path.isabs(path):
            raise OSError("it is not a regular file, named by an absolute path")
        db, opened = sqlite3.connect(path, timeout=5.0, isolation_level=None), os.stat(path)
        db.execute("PRAGMA synchronous = NORMAL")
        return list(db.execute(sql, values))
    except sqlite3.Error as error:
        why, aside = one_line(error, 100), f"{path}.damaged-{int(time.time())}"
        if opened and type(error) is sqlite3.DatabaseError and os.path.samestat(os.stat(path), opened):  # no subclass: busy
            db.close()
            for end in ("-wal", "-shm", ""):  # what belongs to the damaged file must not be taken for the new one's
                if os.path.exists(path + end):
                    os.replace(path + end, aside + end)
            why += f"; it was moved to {aside}, and a new one was created"
        raise OSError(why) from None
    finally:
        if db is not None:
            db.close()


def try_in_file(call: Call, path: str, sql: str, *values: Any) -> list[Any]:
    """in_file() for a Call, which gets no rows and a warning where that fails: no answer is lost for its sake."""
    try:
        return in_file(path, sql, *values)
    except OSError as error:
        warning = f"{path} could not be used: {error.strerror or error}"
        if warning not in call.warnings:
            call.warnings.append(warning)
        return []
