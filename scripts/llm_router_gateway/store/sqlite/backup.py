"""A copy of the store's file, made while a gateway writes to it; and the way back.

    back_up("router.db", "copy.db")          -> Facts(bytes=..., calls=12, keys=3): whole, checked, and on disk
    restore("copy.db", "router.db", now_s)   -> (Facts, "router.db.before-20261021T072800Z"): what was there is kept

Both copy by SQLite's own means into a file beside the target, check every page of it, and only then give it its name. A copy
holds what was committed when it began. StoreBroken says why there is none; then nothing has changed.
https://www.sqlite.org/backup.html
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from secrets import token_hex
from typing import NamedTuple

from .file import MAGIC, StoreBroken, connect, is_busy, lock, make_private, open_writer, reason, refuse_links
from .migrations import APPLICATION_ID, unknown_steps

TAILS = ("", "-wal", "-shm")
COUNTED = ("calls", "api_keys")


class Facts(NamedTuple):
    """What a copy holds."""

    bytes: int
    calls: int
    keys: int


def check_ours(path: str) -> None:
    """StoreBroken for what is no store of this program."""
    try:
        with open(path, "rb") as file:
            if file.read(16) != MAGIC:
                raise StoreBroken(f"{path} is not an SQLite file")
        with closing(connect(path, reads=True)) as db:
            if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreBroken(f"{path} is another program's database")
            newer = unknown_steps(db)
            if newer:
                raise StoreBroken(f"{path} was written by a newer version ({newer[-1]}): use that version")
    except (OSError, sqlite3.Error) as wrong:
        raise StoreBroken(f"{path} cannot be read: {reason(wrong)}") from None


def facts_of(path: str) -> Facts:
    """StoreBroken where a page is damaged or an index disagrees with its table."""
    with closing(connect(path, reads=True)) as db:
        found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreBroken(f"the copy is damaged ({found}): it was removed")
        calls, keys = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in COUNTED)  # nosec B608
    return Facts(os.stat(path).st_size, calls, keys)


@contextmanager
def temporary_copy(source: str, target: str) -> Iterator[tuple[str, Facts]]:
    """A checked copy under another name beside the target, on disk; it is removed unless it was renamed."""
    new = f"{target}.{token_hex(4)}.tmp"
    try:
        make_private(new)
        with closing(connect(source, reads=True)) as old, closing(sqlite3.connect(new)) as fresh:
            old.backup(fresh)  # in one step: what is written meanwhile is not in it, and waits for nothing
            fresh.execute("PRAGMA journal_mode = DELETE")  # one file, complete without others beside it
        facts = facts_of(new)
        sync(new)
        yield new, facts
    finally:
        for tail in TAILS:
            with suppress(OSError):
                os.unlink(new + tail)


def sync(path: str) -> None:
    """What was written is on disk. A folder that cannot be opened (Windows) keeps its own time."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def back_up(path: str, target: str, *, replaces: bool = False) -> Facts:
    """`replaces`: an older copy of that name may go."""
    if not os.path.exists(path):
        raise StoreBroken(f"there is no store {path}")
    if os.path.lexists(target) and (not replaces or os.path.isdir(target)):
        raise StoreBroken(f"{target} exists: name another file, or add --force")
    if os.path.lexists(target) and os.path.samefile(target, path):
        raise StoreBroken(f"{target} is the store itself: name another file")
    check_ours(path)
    try:
        with temporary_copy(path, target) as (new, facts):
            os.replace(new, target)
            sync(os.path.dirname(os.path.abspath(target)))
        return facts
    except (OSError, sqlite3.Error) as wrong:
        raise StoreBroken(f"{path} cannot be copied to {target}: {reason(wrong)}") from None


def restore(copy: str, path: str, now_s: float) -> tuple[Facts, str]:
    """The copy as the store; what was there is kept under another name, "" where there was nothing."""
    check_ours(copy)
    if os.path.exists(path) and os.path.samefile(copy, path):
        raise StoreBroken(f"{copy} is the store itself: name another file")
    refuse_links(path)
    try:
        held = lock(path)
        if held is None:
            raise StoreBroken(f"{path} is in use by a gateway: stop it first")
        try:
            with temporary_copy(copy, path) as (new, facts):
                open_writer(new, int(now_s * 1000)).close()  # brings one of an older version up to date
                sync(new)
                take_in(path)
                aside = put_aside(path, now_s)
                try:
                    os.replace(new, path)
                except OSError:
                    if aside:
                        move(aside, path)
                    raise
            sync(os.path.dirname(os.path.abspath(path)))
            return facts, aside
        finally:
            os.close(held)
    except (OSError, sqlite3.Error) as wrong:
        raise StoreBroken(f"{path} cannot be restored from {copy}: {reason(wrong)}") from None


def take_in(path: str) -> None:
    """What was written last is in a file beside a store whose gateway was killed, or was read while it ended: takes it into the
    store, so that what is kept is one file. StoreBroken while another program has the store open."""
    try:
        with closing(connect(path)) as db:
            if db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
                db.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as wrong:  # one that is not there or damaged is kept as it is, with what is beside it
        if is_busy(wrong):
            raise StoreBroken(f"{path} is open in another program, such as `keys`, a backup or sqlite3: end it first") from None


def move(source: str, target: str) -> None:
    for tail in TAILS:
        with suppress(FileNotFoundError):
            os.replace(source + tail, target + tail)


def put_aside(path: str, now_s: float) -> str:
    """The present store under another name; "" if there is none."""
    if not os.path.lexists(path):
        return ""
    aside = f"{path}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_s))}"
    if os.path.lexists(aside):
        aside = f"{aside}-{token_hex(2)}"
    move(path, aside)
    return aside
