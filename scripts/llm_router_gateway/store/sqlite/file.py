"""The file of the store: made for one user, marked as one process's, checked, and moved aside when it is damaged.

db = open_writer("router.db", now_ms)          the connection that writes; sqlite3.Error, OSError or StoreBroken
db = connect("router.db", reads=True)     one that only reads
mark = lock("router.db")                  None: another gateway records its calls there
move_aside("router.db", now_s)           -> "router.db.damaged-20261021T072800Z"
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from .. import histogram
from .migrations import APPLICATION_ID, apply, unknown_steps

MEMORY = ":memory:"
BUSY_S = 2.0  # for a program that has the file locked
CHECKED_BYTES = 33_554_432  # files up to this size are read through when opened
WAL_BYTES = 33_554_432  # what its file is cut to after a burst
MAGIC = b"SQLite format 3\0"
OWN_NAMES = (".db", ".sqlite", ".sqlite3")  # a file that is no database is moved aside only when it is named like one
# Not recovered from a damaged file.
BULKY = frozenset({"calls", "bodies", "rollups", "totals", "label_sums", "turns", "turn_items", "migrations"})

NOT_THROUGH_LINKS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
FILES = ("", "-wal", "-shm", "-journal", ".lock")  # of a store, by the ends of their names

Database = sqlite3.Connection


class StoreBroken(Exception):
    """The file cannot be used as it is; the text says why and what to do. It was not touched."""


def refuse_links(path: str) -> None:
    """StoreBroken where a file of the store is a symbolic link: what it leads to would be written."""
    for tail in FILES:
        if os.path.islink(path + tail):
            raise StoreBroken(f"{path}{tail} is a symbolic link and was not opened: name the file itself in store")


def lock(path: str) -> int | None:
    """Marks the store as this process's, until it ends; None when another has it. OSError when there can be no such mark."""
    refuse_links(path)
    name = path + ".lock"
    found = os.open(name, os.O_RDWR | os.O_CREAT | NOT_THROUGH_LINKS, 0o600)
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(found, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(found)
        return None
    here = os.fstat(found)
    if identity(name) != (here.st_dev, here.st_ino):  # the one before has removed it meanwhile: it marks nothing any more
        os.close(found)
        return lock(path)
    return found


def make_private(path: str) -> None:
    """The file, made for this user alone; what SQLite puts beside it has the same rights. StoreBroken for a link."""
    refuse_links(path)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if os.name != "nt" and os.stat(path).st_mode & 0o077:
        os.chmod(path, 0o600)


def identity(path: str) -> tuple[int, int] | None:
    """Which file it is; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_damage(wrong: BaseException) -> bool:
    code = getattr(wrong, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_of_disk(wrong: BaseException) -> bool:
    """Whether the disk failed, not the statement."""
    code = getattr(wrong, "sqlite_errorcode", None)
    return is_damage(wrong) or (code is not None and code & 0xFF in (
        sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY))  # fmt: skip


def is_busy(wrong: BaseException) -> bool:
    code = getattr(wrong, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_passing(wrong: BaseException) -> bool:
    """Whether the connection is as good as before: a full disk, a file that is locked."""
    code = getattr(wrong, "sqlite_errorcode", None)
    return is_busy(wrong) or (code is not None and code & 0xFF == sqlite3.SQLITE_FULL)


def reason(wrong: BaseException) -> str:
    """reason(sqlite3.OperationalError("disk I/O error")) -> "disk I/O error (SQLITE_IOERR_WRITE)" """
    name = getattr(wrong, "sqlite_errorname", "")
    text = getattr(wrong, "strerror", None) or str(wrong) or type(wrong).__name__
    return f"{text} ({name})" if name else text


def connect(path: str, *, reads: bool = False) -> Database:
    """A connection that any thread may use, one at a time. StoreBroken for a link."""
    if path != MEMORY:
        refuse_links(path)  # SQLite itself follows them
    place = f"{Path(path).absolute().as_uri()}?mode={'ro' if reads else 'rw'}" if path != MEMORY else path
    db = sqlite3.connect(
        place, uri=path != MEMORY, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    db.create_function("bins_add", 2, histogram.add_counts, deterministic=True)
    db.create_aggregate("bins_sum", 1, histogram.Sum)  # type: ignore[arg-type]
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def claim_file(db: Database, path: str) -> None:
    """Marks a new file as a store; StoreBroken for one that is another program's."""
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    if mark == APPLICATION_ID:
        return
    if mark or db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreBroken(f"{path} is another program's database and was not touched: name another file in store")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def check_pages(db: Database, path: str, *, any_size: bool = False) -> None:
    """sqlite3.DatabaseError for a file with a damaged page, as far as a start may take time to look for it."""
    if path == MEMORY or (os.stat(path).st_size > CHECKED_BYTES and not any_size):
        return
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        wrong = sqlite3.DatabaseError(found)
        wrong.sqlite_errorcode, wrong.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
        raise wrong


def open_writer(path: str, now_ms: int) -> Database:
    """The connection that writes. sqlite3.Error, OSError or StoreBroken where there can be none."""
    if path != MEMORY:
        if os.path.isdir(path):
            raise StoreBroken(f"{path} is a directory: name a file in store")
        make_private(path)
    db = connect(path)
    try:
        claim_file(db, path)
        newer = unknown_steps(db)
        if newer:
            raise StoreBroken(f"{path} was written by a newer version ({newer[-1]}) and was not touched: use that version, "
                              "or name another file in store")  # fmt: skip
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        db.execute("PRAGMA secure_delete = FAST")
        db.execute("PRAGMA temp_store = MEMORY")
        check_pages(db, path)
        apply(db, now_ms)
    except BaseException:
        db.close()
        raise
    return db


def move_aside(path: str, now_s: float) -> str:
    """Takes a damaged file, and what belongs to it, out of the way; its new name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(max(0.0, now_s)))
    new, count = f"{path}.damaged-{stamp}", 1
    while os.path.lexists(new):
        count += 1
        new = f"{path}.damaged-{stamp}-{count}"
    os.replace(path, new)
    for tail in ("-wal", "-shm"):
        with suppress(OSError):
            os.replace(path + tail, new + tail)
    return new


def may_be_moved(path: str) -> bool:
    """Whether a file that SQLite cannot read is a store, and no file that was named by mistake."""
    with open(path, "rb") as file:
        return file.read(16) == MAGIC or path.endswith(OWN_NAMES)


def rescue_rows(db: Database, old_path: str) -> tuple[int, bool]:
    """What can be read of a damaged file's small tables (keys and the like) comes along: (rows, whether all was readable)."""
    count, whole = 0, True
    try:
        old = connect(old_path)
    except sqlite3.Error:
        return 0, False
    try:
        db.execute("BEGIN")
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table in BULKY or table.startswith("sqlite_"):
                continue
            try:
                count += copy_rows(old, db, table)
            except sqlite3.Error:
                whole = False
        db.execute("COMMIT")
    finally:
        old.close()
    return count, whole


def copy_rows(old: Database, new: Database, table: str) -> int:
    """The rows of one table; those before an unreadable one at least."""
    names = [row[1] for row in new.execute("SELECT * FROM pragma_table_info(?)", (table,))]
    have = {row[1] for row in old.execute("SELECT * FROM pragma_table_info(?)", (table,))}
    shared = ", ".join(f'"{name}"' for name in names if name in have)
    if not shared:
        return 0
    count, marks = 0, ", ".join("?" * (shared.count(",") + 1))
    insert = f'INSERT OR REPLACE INTO "{table}" ({shared}) VALUES ({marks})'  # nosec B608
    for row in old.execute(f'SELECT {shared} FROM "{table}"'):  # nosec B608  # names of our own schema
        new.execute(insert, row)
        count += 1
    return count


def store_path(named: str, config_path: str) -> str:
    """Where the store is: beside the configuration, in memory, or "" for nowhere.

    store_path("", "/etc/router.toml")        -> "/etc/router.db"
    store_path("calls.db", "/etc/router.toml") -> "/etc/calls.db"      "~/calls.db": in the home folder
    store_path("", "")                         -> ":memory:"   without a file there is no place for one
    """
    if named == "off":
        return ""
    if named == "memory" or not (named or config_path):
        return ":memory:"
    name = os.path.expanduser(named)
    return os.path.join(os.path.dirname(config_path), name or f"{os.path.splitext(os.path.basename(config_path))[0]}.db")
