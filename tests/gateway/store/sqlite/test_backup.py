"""backup: copies of a store in use, and the way back; what is refused leaves everything as it was."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from storing import AT_MS, call, differences, kept

from llm_router_gateway.store.sqlite import backup, migrations
from llm_router_gateway.store.sqlite import file as storefile
from llm_router_gateway.store.sqlite.backup import back_up, restore
from llm_router_gateway.store.sqlite.database import Store
from llm_router_gateway.store.sqlite.file import StoreBroken, connect

NOW_S = AT_MS / 1000


def filled(path: Path, count: int = 3) -> Path:
    store = Store.open(str(path), now=NOW_S)
    for number in range(count):
        store.add(call(request_id=f"r{number}", tags='["team"]', end_user="u"))
    assert store.flush(30)
    store.close(30)
    return path


def left(folder: Path) -> set[str]:
    """What is there beside locks, and what SQLite puts beside a file that is read."""
    return {path.name for path in folder.iterdir() if not path.name.endswith((".lock", ".db-wal", ".db-shm"))}


def test_a_copy_of_a_store_in_use_is_whole_and_private(tmp_path: Path) -> None:
    path, copy = tmp_path / "router.db", tmp_path / "copy.db"
    store = Store.open(str(path), now=NOW_S)
    for number in range(300):
        store.add(call(request_id=f"r{number}"))
    assert store.flush(30)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.add(call(request_id="later"))
            store.flush(30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        facts = back_up(str(path), str(copy))
    finally:
        stop.set()
        writer.join()
        store.close(30)
    assert facts.calls >= 300 and len(kept(copy)) == facts.calls and not differences(copy)
    assert not (tmp_path / "copy.db-wal").exists() and facts.bytes == copy.stat().st_size
    assert os.name == "nt" or copy.stat().st_mode & 0o077 == 0


def test_a_restore_gives_back_what_was_copied_and_keeps_what_was_there(tmp_path: Path) -> None:
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    back_up(str(path), str(copy))
    filled(path, 5)
    facts, aside = restore(str(copy), str(path), NOW_S)
    assert facts.calls == len(kept(path)) == 3 and not differences(path)
    assert aside == f"{path}.before-20261021T072800Z" and len(kept(aside)) == 8
    assert restore(str(copy), str(path), NOW_S)[1] != aside, "of the same second: neither is overwritten"
    Store.open(str(path), now=NOW_S).close(30)


def test_a_copy_of_an_older_version_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:4])
        with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as db:
            db.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
            migrations.apply(db, 0)
    facts, aside = restore(str(tmp_path / "old.db"), str(tmp_path / "new.db"), NOW_S)
    assert (facts.calls, facts.keys, aside) == (0, 0, "")
    filled(tmp_path / "new.db")
    assert kept(tmp_path / "new.db")[0].end_user == "u"


def rubbish(path: Path) -> Path:
    path.write_text("no database")
    return path


def foreign(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    return path


def newer(path: Path) -> Path:
    with closing(sqlite3.connect(filled(path), isolation_level=None)) as db:
        db.execute("INSERT INTO migrations VALUES ('m999_more', 0)")
    return path


@pytest.mark.parametrize(
    "make, why",
    [
        (rubbish, "not an SQLite file"),
        (foreign, "another program's"),
        (newer, "newer version"),
        (lambda path: path, "No such file"),
    ],
)
def test_what_is_no_copy_of_a_store_changes_nothing(tmp_path: Path, make: Callable[[Path], Path], why: str) -> None:
    path = filled(tmp_path / "router.db")
    with pytest.raises(StoreBroken, match=why):
        restore(str(make(tmp_path / "copy.db")), str(path), NOW_S)
    assert len(kept(path)) == 3 and not [name for name in left(tmp_path) if "before" in name or "tmp" in name]


def test_a_store_in_use_is_not_replaced(tmp_path: Path) -> None:
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    back_up(str(path), str(copy))
    store = Store.open(str(path), now=NOW_S)
    try:
        with pytest.raises(StoreBroken, match="stop it first"):
            restore(str(copy), str(path), NOW_S)
    finally:
        store.close(30)
    assert len(kept(path)) == 3


def test_a_copy_replaces_nothing_without_the_option(tmp_path: Path) -> None:
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    copy.write_text("older")
    with pytest.raises(StoreBroken, match="--force"):
        back_up(str(path), str(copy))
    assert copy.read_text() == "older"
    assert back_up(str(path), str(copy), replaces=True).calls == 3
    for target, why in ((path, "the store itself"), (tmp_path, "exists"), (tmp_path / "no" / "copy.db", "cannot be copied")):
        with pytest.raises(StoreBroken, match=why):
            back_up(str(path), str(target), replaces=True)
    with pytest.raises(StoreBroken, match="there is no store"):
        back_up(str(tmp_path / "none.db"), str(tmp_path / "c.db"))
    assert left(tmp_path) == {"router.db", "copy.db"}


def test_a_copy_that_turns_out_damaged_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "router.db")

    def broken(name: str) -> None:
        raise StoreBroken("the copy is damaged")

    monkeypatch.setattr(backup, "facts_of", broken)
    with pytest.raises(StoreBroken, match="damaged"):
        back_up(str(path), str(tmp_path / "copy.db"))
    assert left(tmp_path) == {"router.db"}


def ended_by_force(path: Path) -> Path:
    """A store whose last calls are in the file beside it: its gateway was killed, or a reader was the last to close it."""
    with closing(connect(str(path), reads=True)) as reader:
        reader.execute("SELECT count(*) FROM calls").fetchone()
        filled(path, 5)
    assert Path(f"{path}-wal").stat().st_size > 0
    return path


def test_what_a_restore_keeps_is_one_file_and_complete(tmp_path: Path) -> None:
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    back_up(str(path), str(copy))
    facts, aside = restore(str(copy), str(ended_by_force(path)), NOW_S)
    beside = {each.name for each in tmp_path.iterdir()}
    assert beside == {"router.db", "router.db.lock", "copy.db", Path(aside).name}
    assert facts.calls == len(kept(path)) == 3
    alone = tmp_path / "elsewhere.db"
    os.replace(aside, alone)
    assert len(kept(alone)) == 8


def test_a_store_that_another_program_has_open_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storefile, "BUSY_S", 0.05)
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    back_up(str(path), str(copy))
    with closing(connect(str(path))) as other:
        other.execute("SELECT count(*) FROM calls").fetchone()
        with pytest.raises(StoreBroken, match="open in another program"):
            restore(str(copy), str(path), NOW_S)
        other.execute("INSERT INTO meta (name, value) VALUES ('later', '1')")
    assert left(tmp_path) == {"router.db", "copy.db"}
    with closing(connect(str(path), reads=True)) as db:
        assert db.execute("SELECT value FROM meta WHERE name = 'later'").fetchone() == ("1",)


def test_a_damaged_store_is_kept_as_it_is(tmp_path: Path) -> None:
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    back_up(str(path), str(copy))
    path.write_bytes(b"damaged")
    facts, aside = restore(str(copy), str(path), NOW_S)
    assert (facts.calls, Path(aside).read_bytes()) == (3, b"damaged")


@pytest.mark.parametrize("fails", ["open_writer", "replace"])
def test_a_restore_that_fails_late_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    path, copy = filled(tmp_path / "router.db"), tmp_path / "copy.db"
    back_up(str(path), str(copy))
    filled(path, 2)
    rename = os.replace

    def fail(source: str, *target: object) -> None:
        if fails == "open_writer" or ".tmp" in source:
            raise OSError(28, "No space left on device")
        rename(source, *target)  # type: ignore[arg-type]

    with monkeypatch.context() as full:
        full.setattr(*((backup, "open_writer") if fails == "open_writer" else (os, "replace")), fail)
        with pytest.raises(StoreBroken, match="No space left"):
            restore(str(copy), str(path), NOW_S)
    assert len(kept(path)) == 5 and left(tmp_path) == {"router.db", "copy.db"}
