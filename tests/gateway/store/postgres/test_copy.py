"""store copy: all that a SQLite store holds is in the database once, however often the copy was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from logged import NOW_S, Shelf, call, random_calls
from postgres_server import PostgresServer, missing

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from llm_router_gateway.commands import store_copy as store
from llm_router_gateway.store import owned_rows, queries, turn_rows
from llm_router_gateway.store.conversations import Turn, text_of
from llm_router_gateway.store.owned import Owned
from llm_router_gateway.store.postgres import driver, target
from llm_router_gateway.store.query import BY, DAY_S, Page, Span, Where
from llm_router_gateway.store.redaction import Bodies
from llm_router_gateway.store.sqlite import file

KEY = "INSERT INTO api_keys (id, name, digest, hint, created_s, terms) VALUES (?, ?, ?, 'llmr_', 5.0, '{}')"
FILE = Owned("key_ann", "file", "file-1", 5.0, "openai", "mark", {"id": "file-1"}, "batch")
SPAN = Span((NOW_S // DAY_S - 30) * DAY_S, (NOW_S // DAY_S + 1) * DAY_S, DAY_S)


def origin(folder: Path, count: int = 3_000) -> Shelf:
    """A file with calls, texts, keys and a conversation; closed."""
    made = Shelf(folder, random_calls(3, count, 20 * DAY_S), batch=500)
    made.add([call(request_id="text", tags='["nightly"]'), call(request_id="zero", asked="a\0b", end_user="u-1")],
             Bodies(b"question", b"answer", 100))  # fmt: skip
    for name in ("ann", "ben"):
        made.db.execute(KEY, (f"key_{name}", name, name.encode()))
    turn = Turn("resp_1", "key_ann", "", 5.0, "p/m", "mark", text_of({"id": "resp_1"}), ("msg_1",))
    turn_rows.put(made.db, [turn])
    turn_rows.kept_secret(made.db)
    owned_rows.put(made.db, [FILE])
    made.close()
    return made


def copied(folder: Path, address: str) -> int:
    return store.run(["copy", "--from", f"sqlite:{folder / 'calls.db'}", "--to", address])


def read(address: str, work: Any) -> Any:
    with driver.Guard() as guard:
        session = driver.connect(address, "test", guard, reads=True)
        try:
            return work(session)
        finally:
            session.close()


def answers(db: Any) -> list[Any]:
    """What the page would show, without the ids."""
    shown: list[Any] = [queries.statistics(db, SPAN, Where(), by, 20) for by in BY]
    shown.append(queries.series(db, SPAN, Where(key="k1")))
    listed = queries.find_page(db, Page(limit=50), Where(), float)
    for each in [*listed["items"], *(one for answer in shown[: len(BY)] for one in answer["recent_errors"])]:
        each["id"] = 0
        each["asked"] = each["asked"].replace("\0", "\ufffd")
    return [*shown, sorted(map(str, listed["items"])), listed["total"]]


def in_file(folder: Path) -> list[Any]:
    db = file.connect(str(folder / "calls.db"), reads=True)
    try:
        return answers(db)
    finally:
        db.close()


def test_everything_is_there_and_the_page_shows_the_same(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, made = postgres.database(), origin(tmp_path)
    assert copied(tmp_path, address) == 0
    told = capsys.readouterr()
    assert f"copied {len(made.calls) + 2:,} calls" in told.out and "2 keys" in told.out
    assert postgres.password not in told.out + told.err
    here, there = in_file(tmp_path), read(address, answers)
    for one, other in zip(here, there, strict=True):
        assert str(other)[:2_000] == str(one)[:2_000] and round_costs(other) == round_costs(one)
    assert read(address, lambda db: turn_rows.find(db, "key_ann", "resp_1").value) == {"id": "resp_1"}
    assert read(address, lambda db: turn_rows.turn_of_item(db, "key_ann", "msg_1")) == "resp_1"
    assert read(address, lambda db: owned_rows.find(db, "key_ann", "file", "file-1")) == FILE
    with psycopg.connect(address) as db:
        assert db.execute("SELECT count(*) FROM bodies").fetchone() == (2,)
        assert db.execute("SELECT name FROM api_keys ORDER BY name").fetchall() == [("ann",), ("ben",)]
        month, calls = (db.execute(sql).fetchone()[0] for sql in (
            "SELECT round(sum(usd)::numeric, 4) FROM ledgers",
            "SELECT round(sum(cost_usd)::numeric, 4) FROM calls WHERE key_id <> ''"))  # fmt: skip
        assert month == calls


def round_costs(value: Any) -> Any:
    """Sums of fractions in another order differ in their last digits."""
    if isinstance(value, dict):
        return {key: round_costs(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round_costs(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value


def test_a_copy_that_was_interrupted_goes_on_and_nothing_is_there_twice(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address, made = postgres.database(), origin(tmp_path)
    for name, limit in (("add_sums", 2), ("add_calls", 1), ("add_calls", 1)):
        with monkeypatch.context() as patch:
            add, seen = getattr(target.CopyTarget, name), list[int]()

            def cut(self: Any, *args: Any, add: Any = add, seen: list[int] = seen, limit: int = limit) -> Any:
                seen.append(1)
                if len(seen) > limit:
                    raise psycopg.OperationalError("server closed the connection unexpectedly")
                return add(self, *args)

            patch.setattr(target.CopyTarget, name, cut)
            assert copied(tmp_path, address) == 1
    for _ in range(2):
        assert copied(tmp_path, address) == 0
    with psycopg.connect(address) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone() == (len(made.calls) + 2,)
        total = "SELECT sum(calls) FROM totals WHERE step_s = 86400 AND model = '*' AND key_id = '*'"
        assert db.execute(total).fetchone() == (len(made.calls) + 2,)
    assert "the same" in capsys.readouterr().out


def test_what_differs_is_reported(postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = postgres.database()
    origin(tmp_path, 50)
    assert copied(tmp_path, address) == 0
    with psycopg.connect(address, autocommit=True) as db:
        db.execute("DELETE FROM calls WHERE request_id = 'text'")
    assert copied(tmp_path, address) == 1 and "the copy is not the same" in capsys.readouterr().err


def test_a_file_that_was_changed_after_its_copy_began_is_not_added_twice(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = postgres.database()
    origin(tmp_path, 50)
    assert copied(tmp_path, address) == 0
    db = file.open_writer(str(tmp_path / "calls.db"), 0)
    db.execute("INSERT INTO calls SELECT id + 1000, request_id, " + ", ".join(call()._fields[1:]) + " FROM calls LIMIT 1")
    db.close()
    assert copied(tmp_path, address) == 1 and "was changed since its copy" in capsys.readouterr().err


@pytest.mark.parametrize("words, code, text", [
    (["--from", "sqlite:none.db", "--to", "postgresql://x@127.0.0.1:1/y"], 1, "there is no store none.db"),
    (["--from", "postgresql://x/y", "--to", "z"], 1, "pg_dump"),
    (["--from", "sqlite:calls.db", "--to", "other.db"], 1, "name the database"),
    (["--from", "sqlite:calls.db", "--to", "postgresql://u:PASSWORD@127.0.0.1:1/y"], 1, "cannot be used: connection"),
])  # fmt: skip
def test_errors_say_what_to_do(
    words: list[str], code: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Shelf(tmp_path).close()
    monkeypatch.chdir(tmp_path)
    assert store.run(["copy", *words]) == code
    told = capsys.readouterr()
    assert text in told.err and not told.out and "PASSWORD" not in told.err


def test_a_store_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llm_router_gateway.store.sqlite.database import Store

    used = Store.open(str(tmp_path / "calls.db"))
    assert copied(tmp_path, "postgresql://x@127.0.0.1:1/y") == 1 and "is in use by a gateway" in capsys.readouterr().err
    used.close()
