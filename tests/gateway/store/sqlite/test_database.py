"""The store: what is added is there, whatever happens to the disk, the file or the process; and traffic never waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from running import SCRIPTS, SUPPORT, until
from storing import AT_MS, call, differences, kept

from llm_router_gateway.config.keys import Key
from llm_router_gateway.errors import NotSaved, Unavailable
from llm_router_gateway.store import queries, recorder
from llm_router_gateway.store.call import Call
from llm_router_gateway.store.keep import Keep
from llm_router_gateway.store.query import Page, Where
from llm_router_gateway.store.redaction import Bodies
from llm_router_gateway.store.sql_keys import SqlKeys
from llm_router_gateway.store.sqlite import database, migrations, retention
from llm_router_gateway.store.sqlite import file as storefile
from llm_router_gateway.store.sqlite.database import Store
from llm_router_gateway.store.sqlite.file import APPLICATION_ID, connect
from llm_router_gateway.store.sqlite.rows import put

GATHER_S = recorder.GATHER_S  # as users have it

AT_S = AT_MS / 1000
DAY_S = 86_400
Opened = Callable[..., Store]
is_root = os.name != "nt" and os.geteuid() == 0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """opened(name, ...) -> a Store, closed with the test. Troubles are tried again at once, and time is what the test says."""
    stores: list[Store] = []

    def begin(name: str = "calls.db", **how: Any) -> Store:
        path = name if name == ":memory:" else str(tmp_path / name)
        stores.append(Store.open(path, **{"wall": lambda: AT_S, **how}))
        return stores[-1]

    yield begin
    for each in stores:
        each.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((recorder, "RETRY_S"), (recorder, "GATHER_S"), (database, "AGAIN_S")):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(storefile, "BUSY_S", 0.05)


def add(to: Store, count: int, first: int = 0, **changes: Any) -> None:
    for number in range(first, first + count):
        to.add(call(request_id=f"r{number}", **changes))


def ids(path: Path | str) -> list[str]:
    return [each.request_id for each in kept(path)]


def names(first: int, count: int) -> list[str]:
    return [f"r{number}" for number in range(first, first + count)]


def read(from_: Store, statement: str) -> list[Any]:
    return asyncio.run(from_.reading(lambda db: db.execute(statement).fetchall()))


# -- when all is well


def test_what_is_added_is_in_the_file_as_it_was(opened: Opened) -> None:
    made = [call(), call(first_ms=None, cost_usd=None, input_tokens=None, error="x", ended="error", message="é\u202e\x00")]
    kept_in = opened()
    for each in made:
        kept_in.add(each)
    assert kept_in.flush()
    assert kept(kept_in.path) == made
    assert not differences(kept_in.path)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 511, 512, 513, 2_000])
def test_batches_of_any_size(opened: Opened, count: int) -> None:
    kept_in = opened()
    add(kept_in, count)
    assert kept_in.flush()
    assert ids(kept_in.path) == names(0, count)
    assert not differences(kept_in.path)


def test_what_is_added_is_there_soon_without_a_word(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    assert GATHER_S < 0.5
    monkeypatch.setattr(recorder, "GATHER_S", GATHER_S)
    kept_in = opened()
    add(kept_in, 1)
    until(lambda: ids(kept_in.path) == ["r0"])


def test_closing_writes_what_waits(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "GATHER_S", 60.0)
    kept_in = opened()
    add(kept_in, 1_500)
    kept_in.close()
    assert ids(kept_in.path) == names(0, 1_500)
    assert (kept_in.health()["dropped"], kept_in.take_notes()) == (0, [])


def test_after_the_end_nothing_is_taken(opened: Opened) -> None:
    kept_in = opened()
    kept_in.close()
    kept_in.close()
    add(kept_in, 1)
    assert kept_in.dropped == 1
    with pytest.raises(Unavailable):
        kept_in.write(lambda db: None).result(20)
    assert not kept_in.flush(0.1) or kept_in.waiting == 0


@pytest.mark.slow
def test_many_threads_may_add(opened: Opened) -> None:
    kept_in = opened()
    threads = [threading.Thread(target=add, args=(kept_in, 500, first)) for first in range(0, 4_000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept_in.flush()
    assert sorted(ids(kept_in.path)) == sorted(names(0, 4_000))
    assert not differences(kept_in.path)


@pytest.mark.parametrize("name", ["calls.db", ":memory:", "a b%20c?d#é.db"])
def test_reading_sees_what_was_written_and_writes_nothing(opened: Opened, name: str) -> None:
    kept_in = opened(name)
    add(kept_in, 3)
    assert kept_in.flush()
    assert read(kept_in, "SELECT count(*), bins_sum(duration_bins) IS NULL FROM rollups") == [(3, 0)]
    with pytest.raises((Unavailable, sqlite3.Error)):
        read(kept_in, "DELETE FROM calls")
    assert read(kept_in, "SELECT count(*) FROM calls") == [(3,)]


@pytest.mark.parametrize("name", ["calls.db", ":memory:"])
def test_small_writes_are_whole_or_not_at_all(opened: Opened, name: str) -> None:
    kept_in = opened(name)

    def fails(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('a', '1')")
        raise KeyError("no")

    with pytest.raises(KeyError):
        kept_in.write(fails).result(20)
    assert kept_in.write(lambda db: db.execute("INSERT INTO meta VALUES ('b', '2')").rowcount).result(20) == 1
    assert read(kept_in, "SELECT name FROM meta WHERE name IN ('a', 'b')") == [("b",)]
    with pytest.raises(sqlite3.IntegrityError):
        kept_in.write(lambda db: db.execute("INSERT INTO meta VALUES ('b', '3')")).result(20)
    add(kept_in, 1)
    assert kept_in.flush() and not kept_in.broken


def test_only_this_user_may_read_it(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "old.db").touch(mode=0o644)
    for name in ("new.db", "old.db"):
        kept_in = opened(name)
        add(kept_in, 1)
        kept_in.flush()
    rights = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(rights.values()) == {0o600}, rights
    assert {"new.db-wal", "new.db-shm", "old.db-wal"} <= rights.keys()


def test_its_health(opened: Opened) -> None:
    kept_in = opened()
    add(kept_in, 5)
    kept_in.flush()
    health = kept_in.health()
    assert health.pop("bytes") > 4_096
    assert health == {"path": kept_in.path, "broken": "", "rows_waiting": 0, "written": 5, "dropped": 0, "last_error": ""}


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_a_mark_that_was_removed_while_it_was_taken_marks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for calls that wait is removed with its mark, by a gateway that ends while another begins."""
    import fcntl

    mark, flock, removed = Path(f"{tmp_path / 'calls.db'}.lock"), fcntl.flock, list[str]()

    def late(number: int, how: int) -> None:
        if not removed:
            removed.append("once")
            mark.unlink()
        flock(number, how)

    monkeypatch.setattr(fcntl, "flock", late)
    first = storefile.lock(str(tmp_path / "calls.db"))
    assert first is not None and os.fstat(first).st_ino == mark.stat().st_ino
    assert storefile.lock(str(tmp_path / "calls.db")) is None
    os.close(first)


def test_a_call_that_no_column_takes_is_dropped_alone(opened: Opened) -> None:
    kept_in = opened()
    add(kept_in, 10)
    kept_in.add(call(message="\ud800"))
    kept_in.add(call(status=10**30))
    kept_in.add(call(message=object()))
    kept_in.add(call(asked=None))
    add(kept_in, 10, 10)
    assert kept_in.flush()
    assert ids(kept_in.path) == names(0, 20)
    assert (kept_in.written, kept_in.dropped) == (20, 4)
    assert not differences(kept_in.path)


def test_a_call_that_is_forgotten_while_a_list_is_read_is_left_out(tmp_path: Path) -> None:
    class Forgetting:
        """A connection under which the retention removes a call between two statements."""

        def __init__(self, db: sqlite3.Connection) -> None:
            self._db = db

        def execute(self, sql: str, values: Any = ()) -> Any:
            if sql.endswith("WHERE id = ?"):
                self._db.execute("DELETE FROM calls WHERE id = 2")
            return self._db.execute(sql, values)

    with closing(storefile.open_writer(str(tmp_path / "calls.db"), 0)) as db:
        put(db, [(call(request_id=f"r{number}", cost_usd=float(number)), None) for number in range(1, 5)])
        page = Page(limit=3, order="cost_usd")
        found = queries.find_page(Forgetting(db), page, Where(), lambda: 0.0)
        assert [item["request_id"] for item in found["items"]] == ["r4", "r3"] and found["next"] == (2.0, 2)
        again = queries.find_page(db, page.after(found["next"]), Where(), lambda: 0.0)
        assert [item["request_id"] for item in again["items"]] == ["r1"] and again["next"] is None


def test_texts_of_calls_that_were_stored_one_by_one_wait_no_more(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(recorder, "MAX_WAITING_BYTES", 500)
    kept_in = opened()
    for _ in range(3):
        kept_in.add(call(status=10**30))
        kept_in.add(call(), Bodies(b"x" * 400, None, 1_000))
        assert kept_in.flush()
    assert read(kept_in, "SELECT count(*) FROM bodies") == [(3,)]


def test_texts_are_kept_beside_their_call(opened: Opened) -> None:
    kept_in = opened()
    kept_in.add(call())
    kept_in.add(call(), Bodies(b"asked", b"answered", 100))
    kept_in.flush()
    assert read(kept_in, "SELECT call_id FROM bodies") == [(2,)]


# -- what goes wrong at the start


def gone(path: Path) -> None:
    """A directory that is not there."""
    path.parent.rmdir()


def directory(path: Path) -> None:
    path.mkdir()


def foreign(path: Path) -> None:
    """Another program's database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        migrations.apply(db, 0)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("INSERT INTO migrations VALUES ('m999_more', 1)")
        db.commit()


def text(path: Path) -> None:
    path.write_text("[server]\nport = 1\n" * 100)


@pytest.mark.slow
@pytest.mark.parametrize("make, name, said", [
    (gone, "x/calls.db", "No such file"), (directory, "x/calls.db", "is a directory"),
    (foreign, "x/calls.db", "another program's"), (newer, "x/calls.db", "newer version (m999_more)"),
    (text, "x/router.toml", "not an SQLite file and was not touched"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_not_touched_and_said_once(
    opened: Opened, tmp_path: Path, make: Callable[[Path], None], name: str, said: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    kept_in = opened(name)
    add(kept_in, 10)
    assert said in kept_in.broken
    time.sleep(0.2)  # several attempts
    notes = kept_in.take_notes()
    assert len(notes) == 1 and said in notes[0], notes
    kept_in.close()
    assert (path.read_bytes() if path.is_file() else None) == before
    assert (kept_in.written, kept_in.dropped) == (0, 10)
    with pytest.raises(Unavailable):
        kept_in.write(lambda db: None).result(20)


def test_what_waited_is_stored_when_the_directory_comes(opened: Opened, tmp_path: Path) -> None:
    kept_in = opened("x/calls.db")
    add(kept_in, 100)
    (tmp_path / "x").mkdir()
    until(lambda: kept_in.written == 100)
    assert ids(kept_in.path) == names(0, 100)
    before, after = kept_in.take_notes()
    assert "cannot be stored" in before and "stored again" in after


def test_what_waits_is_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 50)
    kept_in = opened("x/calls.db")
    add(kept_in, 80)
    assert (kept_in.health()["rows_waiting"], kept_in.health()["dropped"]) == (50, 30)


def test_texts_that_wait_are_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING_BYTES", 1_000)
    kept_in = opened()
    for _ in range(5):
        for _ in range(20):
            kept_in.add(call(), Bodies(b"x" * 90, None, 100))
        assert kept_in.flush()
    count = read(kept_in, "SELECT count(*) FROM bodies")[0][0]
    assert 5 * 11 <= count <= 5 * 20 and len(kept(kept_in.path)) == 100


@pytest.mark.skipif(is_root, reason="root may write everything")
def test_a_directory_that_cannot_be_written(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir(mode=0o500)
    kept_in = opened("x/calls.db")
    add(kept_in, 1)
    assert "Permission denied" in kept_in.broken
    (tmp_path / "x").chmod(0o700)
    until(lambda: kept_in.written == 1)


# -- damage


def filled(path: Path, count: int = 3_000) -> None:
    made = Store.open(str(path))
    add(made, count)
    made.write(lambda db: db.execute("INSERT INTO meta VALUES ('mine', 'precious')")).result(20)
    made.close()


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3 + 100)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(4096 * 20))


def no_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 200)


def rubbish(path: Path) -> None:
    path.write_bytes(os.urandom(30_000))


@pytest.mark.parametrize("harm", [cut_short, overwritten, no_head, rubbish])
def test_a_damaged_file_is_moved_aside_whole(opened: Opened, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = tmp_path / "calls.db"
    filled(path)
    harm(path)
    data = path.read_bytes()
    kept_in = opened()
    add(kept_in, 5)
    assert kept_in.flush() and not kept_in.broken
    aside = tmp_path / "calls.db.damaged-20261021T072800Z"
    assert aside.read_bytes() == data and aside.stat().st_mode & 0o077 == 0
    assert ids(path) == names(0, 5) and not differences(path)
    notes = kept_in.take_notes()
    assert "is damaged" in notes[0] and str(aside) in notes[0]


def test_keys_and_the_like_come_along_from_a_damaged_file(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'calls'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    kept_in = opened()
    assert read(kept_in, "SELECT value FROM meta WHERE name = 'mine'") == [("precious",)]
    assert not kept_in.keys_lost and any("recovered from" in note for note in kept_in.take_notes())


def test_keys_that_could_not_be_taken_over_are_reported(opened: Opened, tmp_path: Path) -> None:
    filled(tmp_path / "calls.db")
    rubbish(tmp_path / "calls.db")
    kept_in = opened()
    assert kept_in.keys_lost and "check your keys" in " ".join(kept_in.take_notes())


def test_damage_while_it_runs_is_found_and_costs_no_call_that_waits(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    kept_in = opened()
    add(kept_in, 3_000)
    kept_in.flush()
    with closing(connect(str(path))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with suppress(Unavailable):
        read(kept_in, "SELECT sum(duration_ms) FROM calls")
    add(kept_in, 600, 3_000)
    until(lambda: list(tmp_path.glob("*.damaged-*")) and kept_in.waiting == 0, str(kept_in.health()))
    assert ids(path) == names(3_000, 600) and not differences(path)
    assert not kept_in.broken


def test_only_the_process_that_records_moves_a_damaged_file(opened: Opened, tmp_path: Path) -> None:
    rubbish(tmp_path / "calls.db")
    line = opened(owner=False)
    assert "start the gateway" in line.broken and not list(tmp_path.glob("*.damaged-*"))


def test_damage_again_and_again_is_a_broken_disk(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    rubbish(path)
    kept_in = opened(clock=lambda: 1_000.0)
    kept_in.flush()
    kept_in.close()
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    wrong = sqlite3.DatabaseError("again")
    wrong.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    kept_in._failed(wrong)
    assert "check the disk" in kept_in.broken
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


# -- a file that goes away, a disk that is full, others at the same file


def test_a_file_that_is_deleted_is_begun_anew(opened: Opened, tmp_path: Path) -> None:
    kept_in = opened()
    add(kept_in, 10)
    kept_in.flush()
    assert read(kept_in, "SELECT count(*) FROM calls") == [(10,)]
    for path in tmp_path.glob("calls.db*"):
        path.unlink()
    add(kept_in, 10, 10)
    kept_in.flush()
    assert ids(kept_in.path) == names(10, 10)
    assert read(kept_in, "SELECT count(*) FROM calls") == [(10,)]
    assert any("was deleted or replaced" in note for note in kept_in.take_notes())


FULL = """\
import resource, sys, time
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[2])
from llm_router_gateway.store import recorder
from llm_router_gateway.store.sqlite.database import Store
from storing import call
recorder.RETRY_S = recorder.GATHER_S = 0.02
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
made = Store.open(sys.argv[3])
size = made.health()["bytes"]
for number in range(10):
    made.add(call(request_id=f"r{number}"))
made.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * 30, hard))
for number in range(10, 3010):
    made.add(call(request_id=f"r{number}"))
made.flush(0.5)
print(bool(made.broken), made.health()["rows_waiting"] > 0, len(made.take_notes()))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(made.flush(10), made.broken, made.health()["rows_waiting"], made.dropped, len(made.take_notes()))
made.close()
"""


def script(code: str, *words: str, limit_s: float = 30) -> str:
    argv = [sys.executable, "-c", code, str(SCRIPTS), str(SUPPORT), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of a file's size")
def test_a_limit_of_file_sizes_loses_nothing_once_it_is_lifted(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    assert script(FULL, str(path)).splitlines() == ["True True 1", "True  0 0 1"]
    assert ids(path) == names(0, 3_010) and not differences(path)


@pytest.mark.slow
def test_a_full_disk_loses_nothing_once_there_is_room(opened: Opened) -> None:
    kept_in = opened()
    pages = kept_in.write(lambda db: db.execute("PRAGMA max_page_count").fetchone()[0]).result(20)
    limit_pages(kept_in, 40)
    add(kept_in, 2_000)
    until(lambda: "full" in kept_in.broken)
    assert kept_in.waiting > 0 and len(kept_in.take_notes()) == 1
    limit_pages(kept_in, pages)
    until(lambda: kept_in.written == 2_000)
    assert ids(kept_in.path) == names(0, 2_000) and not differences(kept_in.path)
    assert (kept_in.dropped, kept_in.broken) == (0, "")


def limit_pages(to: Store, pages: int) -> None:
    """SQLITE_FULL, as a full disk gives it."""
    to.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()).result(20)


def test_a_full_disk_at_the_end_is_reported(opened: Opened) -> None:
    kept_in = opened()
    limit_pages(kept_in, 40)
    add(kept_in, 2_000)
    kept_in.close()
    assert kept_in.written + kept_in.dropped == 2_000 and kept_in.dropped > 0
    assert str(kept_in.dropped) in kept_in.take_notes()[-1]


@pytest.mark.slow
def test_a_program_that_holds_the_file_is_waited_for(opened: Opened) -> None:
    kept_in = opened()
    with closing(sqlite3.connect(kept_in.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        add(kept_in, 100)
        until(lambda: "locked" in kept_in.broken)
        other.execute("COMMIT")
    until(lambda: kept_in.written == 100)
    assert not kept_in.broken and ids(kept_in.path) == names(0, 100)


def test_two_gateways_do_not_share_a_file_and_the_second_takes_over(opened: Opened) -> None:
    first, second = opened(), opened()
    add(first, 50)
    add(second, 50, 50)
    assert first.flush()
    assert "in use by another gateway" in second.broken
    assert read(second, "SELECT count(*) FROM calls") == [(50,)]
    assert ids(first.path) == names(0, 50)
    first.close()
    until(lambda: second.written == 50)
    assert ids(first.path) == names(0, 100) and not differences(first.path)


def test_a_command_line_may_write_beside_a_gateway(opened: Opened) -> None:
    gateway, line = opened(), opened(owner=False)
    line.write(lambda db: db.execute("INSERT INTO meta VALUES ('key', 'new')")).result(20)
    assert read(gateway, "SELECT value FROM meta WHERE name = 'key'") == [("new",)]
    add(gateway, 10)
    assert gateway.flush() and not line.broken


# -- killed


VICTIM = """\
import sys, time
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[2])
from llm_router_gateway.store.sqlite.database import Store
from storing import call
made = Store.open(sys.argv[3])
number = int(sys.argv[4])
while True:
    for _ in range(20):
        made.add(call(request_id=f"r{number}", started_ms=int(time.time() * 1000)))
        number += 1
    sys.stdout.write(f"{number} {time.monotonic()}\\n")
    sys.stdout.flush()
    time.sleep(0.002)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_loses_the_last_second_at_most_and_doubles_nothing(tmp_path: Path) -> None:
    path, first = tmp_path / "calls.db", 0
    for round_ in range(5):
        argv = [sys.executable, "-c", VICTIM, str(SCRIPTS), str(SUPPORT), str(path), str(first)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as victim:
            output = victim.stdout
            assert output is not None
            begun = output.readline()  # by now it is at work, however long a start takes here
            time.sleep(0.9 + 0.07 * round_)
            victim.kill()
            killed_at = time.monotonic()
            told = [line.split() for line in (begun + output.read()).splitlines()]
        told = [line for line in told if len(line) == 2]
        safe = max((int(number) for number, at in told if float(at) < killed_at - 1.0), default=first)
        have = {int(name[1:]) for name in ids(path)} if path.exists() else set()
        assert len(have) == len(ids(path)), "a call is there twice"
        assert set(range(first, safe)) <= have, f"round {round_}: calls older than a second are missing"
        assert have and not differences(path), differences(path)
        first = max(have) + 1_000_000
    assert not list(tmp_path.glob("*.damaged*"))


# -- older files


def test_an_older_file_is_brought_up_to_date(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS)
        older = opened()
        add(older, 5)
        older.close()
    later = (*migrations.MIGRATIONS, ("m900_colour", ("ALTER TABLE calls ADD COLUMN colour TEXT NOT NULL DEFAULT ''",)))
    with closing(sqlite3.connect(tmp_path / "calls.db", isolation_level=None)) as db:
        monkeypatch.setattr(migrations, "MIGRATIONS", later)
        assert migrations.apply(db, 7) == ["m900_colour"]
        assert migrations.apply(db, 8) == []
        assert db.execute("SELECT count(*), max(colour) FROM calls").fetchone() == (5, "")


def test_a_step_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = (*migrations.MIGRATIONS, ("m900_bad", ("CREATE TABLE half (x)", "CREATE NONSENSE")))
    monkeypatch.setattr(migrations, "MIGRATIONS", bad)
    with closing(sqlite3.connect(tmp_path / "calls.db", isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            migrations.apply(db, 0)
        assert "m900_bad" not in migrations.applied_steps(db)
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()


def test_each_step_has_a_name_of_its_own() -> None:
    known = [name for name, _ in migrations.MIGRATIONS]
    assert len(set(known)) == len(known) and all(name[0] == "m" and name[1:4].isdigit() for name in known)


# -- what is too old or too much


def cared(for_: Store, keep: Keep, now_s: float) -> None:
    """All steps of forgetting, one after the other."""

    def steps(db: sqlite3.Connection) -> bool:
        db.execute("COMMIT")  # each step is a transaction of its own
        more = retention.care(db, keep, now_s)
        db.execute("BEGIN")
        return more

    while for_.write(steps).result(20):
        pass


def test_calls_go_by_age_and_their_sums_with_them(opened: Opened) -> None:
    kept_in = opened()
    for day in range(10):
        kept_in.add(call(request_id=f"r{day}", started_ms=AT_MS - day * DAY_S * 1000), Bodies(b"x", b"y", 10))
    kept_in.flush()
    cared(kept_in, Keep(days=5.5, bodies_days=2.5), AT_S)
    assert ids(kept_in.path) == names(0, 6)
    assert read(kept_in, "SELECT count(*) FROM bodies") == [(3,)]
    assert read(kept_in, "SELECT step_s, count(*) FROM rollups GROUP BY 1") == [(60, 2), (3_600, 6), (86_400, 7)]


@pytest.mark.slow
def test_a_store_that_is_too_large_loses_its_oldest_calls_and_shrinks(opened: Opened) -> None:
    kept_in = opened()
    for _ in range(6):
        add(kept_in, 2_000)
        kept_in.flush()
    before = kept_in.write(lambda db: retention.used_bytes(db)[0]).result(20)
    cared(kept_in, Keep(max_bytes=before // 2), AT_S)
    size, free = kept_in.write(retention.used_bytes).result(20)
    count = read(kept_in, "SELECT count(*) FROM calls")[0][0]
    assert size <= before * 0.55 and free <= size * 0.25
    assert 2_000 < count < 8_000
    assert ids(kept_in.path)[-1] == "r1999"
    assert read(kept_in, "SELECT sum(calls) FROM rollups WHERE step_s = 3600") == [(12_000,)]  # sums outlive their calls


@pytest.mark.slow
def test_steps_of_forgetting_are_short(opened: Opened) -> None:
    kept_in = opened()
    add(kept_in, 5_000, started_ms=AT_MS - 100 * DAY_S * 1000)
    kept_in.flush()

    def slowest(db: sqlite3.Connection) -> float:
        db.execute("COMMIT")
        times, more = [], True
        while more:
            began = time.thread_time()
            more = retention.care(db, Keep(days=1), AT_S)
            times.append(time.thread_time() - began)
        db.execute("BEGIN")
        return max(times)

    assert kept_in.write(slowest).result(20) < 0.1
    assert ids(kept_in.path) == []


def test_forgetting_goes_on_beside_the_writing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CARE_S", 0.02)
    monkeypatch.setattr(database, "CARE_PAUSE_S", 0.001)
    kept_in = opened(keep=Keep(days=1))
    add(kept_in, 3_000, started_ms=AT_MS - 2 * DAY_S * 1000)
    add(kept_in, 100, 3_000)
    until(lambda: kept_in.written == 3_100 and len(ids(kept_in.path)) == 100)
    assert ids(kept_in.path) == names(3_000, 100)


def test_a_clock_that_jumps_forward_forgets_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CARE_S", 0.01)
    now = [AT_S]
    kept_in = opened(keep=Keep(days=3), wall=lambda: now[0])
    add(kept_in, 10)
    kept_in.flush()
    now[0] += 3_650 * DAY_S
    time.sleep(0.1)
    add(kept_in, 10, 10, started_ms=int(now[0] * 1000))
    kept_in.flush()
    assert ids(kept_in.path) == names(0, 20)


def test_a_clock_that_goes_backwards_harms_nothing(opened: Opened) -> None:
    kept_in = opened()
    for number, at_ms in enumerate((AT_MS, AT_MS - 10 * DAY_S * 1000, 0, -5, AT_MS)):
        kept_in.add(call(request_id=f"r{number}", started_ms=at_ms))
    kept_in.flush()
    assert ids(kept_in.path) == names(0, 5) and not differences(kept_in.path)


def test_a_store_in_memory_stays_small(opened: Opened) -> None:
    assert opened(":memory:", keep=Keep(max_bytes=1 << 40)).keep.max_bytes == database.MEMORY_BYTES


def test_work_in_order_and_none_forgotten(opened: Opened) -> None:
    kept_in = opened()
    done: list[int] = []
    futures: list[Future[Any]] = [kept_in.write(lambda db, number=number: done.append(number)) for number in range(200)]
    kept_in.close()
    for future in futures:
        with suppress(Unavailable):
            future.result(20)
    assert done == sorted(done) and all(future.done() for future in futures)


def test_a_reader_does_not_stop_the_writer(opened: Opened) -> None:
    kept_in = opened()
    add(kept_in, 500)
    kept_in.flush()
    begun, go = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> int:
        cursor = db.execute("SELECT id FROM calls")
        cursor.fetchone()
        begun.set()
        go.wait(30)
        return 1 + len(cursor.fetchall())

    async def both() -> tuple[int, bool]:
        reading = asyncio.ensure_future(kept_in.reading(slow))
        assert await asyncio.to_thread(begun.wait, 30)
        add(kept_in, 500, 500)
        written = await asyncio.to_thread(kept_in.flush)
        go.set()
        return await reading, written

    assert asyncio.run(both()) == (500, True)


def test_calls_are_tuples_in_the_order_of_their_columns() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrations.apply(db, 0)
        assert [row[1] for row in db.execute("PRAGMA table_info(calls)")] == ["id", *Call._fields]


@pytest.mark.slow
def test_a_process_that_gets_the_signal_to_end_is_not_held_by_its_store(tmp_path: Path) -> None:
    code = VICTIM.replace("while True:", "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True:")
    argv = [sys.executable, "-c", code, str(SCRIPTS), str(SUPPORT), str(tmp_path / "calls.db"), "0"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        until(lambda: (tmp_path / "calls.db").exists() and kept_or_none(tmp_path / "calls.db"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not differences(tmp_path / "calls.db")


def kept_or_none(path: Path) -> list[Call]:
    try:
        return kept(path)
    except sqlite3.Error:
        return []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("tail", ["", "-wal", "-shm", "-journal", ".lock"])
def test_no_link_in_the_place_of_a_file_of_the_store_is_followed(opened: Opened, tmp_path: Path, tail: str) -> None:
    """A store is opened by whoever runs the gateway, a link may have been made by somebody else."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"precious")
    theirs.chmod(0o644)
    (tmp_path / f"calls.db{tail}").symlink_to(theirs)
    kept_in = opened()
    add(kept_in, 1)
    assert f"calls.db{tail} is a symbolic link" in kept_in.broken and kept_in.waiting == 1
    assert theirs.read_bytes() == b"precious" and theirs.stat().st_mode & 0o777 == 0o644
    with pytest.raises(Unavailable, match="symbolic link"):
        asyncio.run(kept_in.reading(lambda db: None))
    (tmp_path / f"calls.db{tail}").unlink()
    until(lambda: kept_in.written == 1)


def test_a_change_of_keys_on_a_full_disk_is_refused_with_the_reason(opened: Opened) -> None:
    kept_in = opened()
    keys = SqlKeys(kept_in.transact, kept_in.path)
    made = asyncio.run(keys.insert(Key("key_1", "one", created=1.0), b"1" * 32))
    limit_pages(kept_in, 1)
    with pytest.raises(NotSaved, match=r"nothing was changed: .*calls\.db accepts no changes: .*full") as wrong:
        asyncio.run(keys.insert(Key("key_2", "two", created=2.0, note="x" * 100_000), b"2" * 32))
    assert (wrong.value.status, wrong.value.code) == (507, "not_saved")
    limit_pages(kept_in, 10_000)
    assert asyncio.run(keys.all()).rows == made.keys.rows


def test_a_change_of_keys_while_another_program_holds_the_file_may_be_tried_again(opened: Opened) -> None:
    kept_in = opened()
    with closing(sqlite3.connect(kept_in.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="nothing was changed: another program holds"):
            asyncio.run(SqlKeys(kept_in.transact, kept_in.path).insert(Key("key_1", "one", created=1.0), b"1" * 32))
        other.execute("ROLLBACK")
    assert (
        asyncio.run(SqlKeys(kept_in.transact, kept_in.path).insert(Key("key_1", "one", created=1.0), b"1" * 32)).row.key.name
        == "one"
    )
