"""The store in PostgreSQL: each call is there once, whatever happens to the server, the network or the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from logged import NOW_S
from postgres_server import PostgresServer, missing
from running import until
from storing import AT_MS, call

from llm_router_gateway.errors import Unavailable
from llm_router_gateway.store import recorder
from llm_router_gateway.store.keep import Keep
from llm_router_gateway.store.query import DAY_S, Page, Span, Where
from llm_router_gateway.store.redaction import Bodies
from llm_router_gateway.store.sql_call_log import SqlCallLog
from llm_router_gateway.store.sqlite.spill import SpillFile

if missing():
    pytest.skip(f"{missing()}; what a store promises is tested over SQLite alone", allow_module_level=True)

from llm_router_gateway.store.postgres import database, driver, ledgers, migrations, partitions, retention, rows
from llm_router_gateway.store.postgres.database import PostgresStore
from llm_router_gateway.store.postgres.ledgers import Elsewhere
from llm_router_gateway.store.postgres.session import CommandSession

AT_S = AT_MS / 1_000
Opened = Callable[..., PostgresStore]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((recorder, "RETRY_S"), (recorder, "GATHER_S"), (database, "SPILL_AFTER_S"), (driver, "LOOK_S")):
        monkeypatch.setattr(module, name, 0.02)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may end."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """opened(address, spill="name") -> a store, closed with the test."""
    stores: list[PostgresStore] = []

    def begin(address: str, spill: str = "", **how: Any) -> PostgresStore:
        file = SpillFile(str(tmp_path / spill)) if spill else None
        stores.append(PostgresStore.open(address, spill=file, **{"wall": lambda: AT_S, **how}))
        return stores[-1]

    yield begin
    for each in stores:
        each.close()


def add(to: PostgresStore, count: int, first: int = 0, **changes: Any) -> None:
    for number in range(first, first + count):
        to.add(call(request_id=f"r{number}", end_user=f"u-{number % 3}" if number % 2 else "", **changes))


def run(address: str, statement: str, *values: Any) -> list[Any]:
    """What a client beside the gateway is told."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as db:
        cursor = db.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def ids(address: str) -> list[str]:
    return [name for (name,) in run(address, "SELECT request_id FROM calls ORDER BY id")]


def names(first: int, count: int) -> list[str]:
    return [f"r{number}" for number in range(first, first + count)]


def sums_are_those_of_the_calls(address: str) -> None:
    counted = run(address, "SELECT count(*), sum(input_tokens), round(sum(cost_usd)::numeric, 6) FROM calls")[0]
    for step_s in (60, 3_600, 86_400):
        summed = run(address, "SELECT sum(calls), sum(input_tokens), round(sum(cost_usd)::numeric, 6) FROM totals "
                     "WHERE step_s = %s AND model = '*' AND key_id = '*'", step_s)[0]  # fmt: skip
        assert summed == counted, step_s
    spent = run(address, "SELECT round(sum(usd)::numeric, 6) FROM ledgers")[0]
    assert spent == (counted[2],)
    labelled = run(address, "SELECT coalesce(sum(calls), 0), "
                            "coalesce(sum((SELECT sum(n) FROM unnest(duration_bins) AS n)), 0) FROM label_sums")[0]  # fmt: skip
    assert labelled == run(address, "SELECT count(*), count(*) FROM calls WHERE end_user <> ''")[0]


def test_what_is_added_is_stored_as_it_was(postgres: PostgresServer, opened: Opened) -> None:
    store = opened(postgres.database())
    one = call(first_ms=None, cost_usd=None, lost='["top_k"]', asked="Z\u00fcrich \u2603")
    store.add(one, Bodies(b'{"a": 1}', b"whole", 100))
    store.add(call(request_id="r2"))
    assert store.flush(30) and store.health()["written"] == 2

    async def read() -> tuple[Any, Any]:
        log = SqlCallLog(store)
        return await log.call("r1", write=lambda found: found), await log.calls(Page(), Where(), write=lambda found: found)

    found, listed = asyncio.run(read())
    assert found["bodies"] == {"request": '{"a": 1}', "response": "whole", "request_cut": False, "response_cut": False,
                               "kept": True}  # fmt: skip
    assert {name: found[name] for name in ("asked", "cost_usd", "lost", "first_output_ms")} == {
        "asked": "Z\u00fcrich \u2603", "cost_usd": None, "lost": ["top_k"], "first_output_ms": None}  # fmt: skip
    assert [each["request_id"] for each in listed["items"]] == ["r2", "r1"] and listed["total"] == 2
    sums_are_those_of_the_calls(store.address)


def test_text_that_postgresql_cannot_hold_is_mended_and_takes_no_other_call_with_it(
    postgres: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "GATHER_S", 0.5)  # all in one batch
    store = opened(postgres.database())
    add(store, 3)
    store.add(call(request_id="zero", asked="a\0b", message="\udc80"))
    store.add(call(request_id="old", started_ms=-5))
    store.add(call(request_id="large", input_tokens=1 << 70))
    add(store, 3, 3)
    assert store.flush(30)
    assert ids(store.address) == [*names(0, 3), "zero", "old", *names(3, 3)]
    assert run(store.address, "SELECT asked, message FROM calls WHERE request_id = 'zero'") == [("a\ufffdb", "?")]
    assert (store.written, store.dropped) == (8, 1) and not store.broken
    sums_are_those_of_the_calls(store.address)


def test_a_batch_that_comes_again_is_known(postgres: PostgresServer, opened: Opened) -> None:
    store = opened(postgres.database())
    with driver.Guard() as guard:
        db = driver.connect(store.address, "test", guard)
        for statement in rows.STAGING:
            db.execute(statement)
        for number, is_new in ((1, True), (1, False), (3, True), (2, False), (4, True)):
            store._store(db, "w", number, [call(request_id=f"n{number}")], [])
            assert (ids(store.address)[-1] == f"n{number}") or not is_new
        db.close()
    assert ids(store.address) == ["n1", "n3", "n4"]


def test_a_commit_whose_answer_was_lost_is_not_stored_twice(
    postgres: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    store, lost = opened(postgres.database()), list[int]()
    put = store._store

    def cut(*args: Any) -> None:
        put(*args)
        if not lost:
            lost.append(1)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(store, "_store", cut)
    add(store, 5)
    assert store.flush(30) and lost
    assert ids(store.address) == names(0, 5)
    sums_are_those_of_the_calls(store.address)


def test_while_the_server_is_away_calls_go_to_a_file_and_come_back_once(
    own_server: PostgresServer, opened: Opened, tmp_path: Path
) -> None:
    store = opened(own_server.database(), "spill.db")
    add(store, 10)
    assert store.flush(30)
    own_server.kill()
    add(store, 10, 10)
    store.add(call(request_id="with-text"), Bodies(b"request", b"response", 100))
    until(lambda: store.health()["spilled"] == 11)
    assert store.broken and store.health()["rows_waiting"] == 11 and store.health()["bridged"]
    with pytest.raises(Unavailable, match="store cannot be read"):
        asyncio.run(store.reading(lambda db: db.execute("SELECT 1").fetchone()))
    with pytest.raises(Unavailable, match="store cannot be used"):
        store.write(lambda db: db.execute("SELECT 1")).result(30)
    own_server.start()
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    add(store, 5, 20)
    assert store.flush(30)
    assert sorted(ids(store.address)) == sorted([*names(0, 25), "with-text"])
    assert run(store.address, "SELECT count(*) FROM bodies") == [(1,)]
    sums_are_those_of_the_calls(store.address)
    notes = " ".join(store.take_notes())
    assert "calls cannot be stored" in notes and "calls are stored again" in notes and own_server.password not in notes
    store.close()
    assert not list(tmp_path.glob("spill.db*"))  # nothing is left of it


def test_what_the_server_did_not_take_before_the_stop_is_carried_over_by_the_next_start(
    own_server: PostgresServer, opened: Opened
) -> None:
    address = own_server.database()
    store = opened(address, "spill.db")
    add(store, 3)
    assert store.flush(30)
    own_server.kill()
    add(store, 4, 3)
    until(lambda: store.broken)
    store.close()
    assert store.dropped == 0
    first = opened(address, "spill.db")  # the server is still away: a gateway starts all the same
    add(first, 2, 7)
    until(lambda: first.health()["spilled"] == 6)
    own_server.start()
    until(lambda: not first.health()["rows_waiting"] and not first.broken)
    assert sorted(ids(address)) == names(0, 9)
    sums_are_those_of_the_calls(address)


def test_a_file_that_fails_while_the_server_is_away_costs_no_batch_that_it_has(
    own_server: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, tried = SpillFile.put, list[int]()

    def fails_from_the_second_on(file: SpillFile, writer: str, number: int, batch: Any) -> None:
        tried.append(number)
        if len(tried) > 1:
            raise OSError("no space left on device")
        put(file, writer, number, batch)

    monkeypatch.setattr(SpillFile, "put", fails_from_the_second_on)
    monkeypatch.setattr(database, "BATCH", 2)
    store = opened(own_server.database(), "spill.db")
    own_server.kill()
    add(store, 6)
    until(lambda: store.health()["spilled"] == 2 and len(tried) > 2)
    own_server.start()
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    assert sorted(ids(store.address)) == names(0, 6)
    sums_are_those_of_the_calls(store.address)


# A full disk, a lost right and a lost table, as the server reports them; each with what ends it.
FULL = """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON writers FOR EACH ROW EXECUTE FUNCTION full_disk()"""
UNFIT = {
    "no space left": (FULL, "DROP TRIGGER full_disk ON writers", "53100"),
    "no table": ("ALTER TABLE ledgers RENAME TO gone", "ALTER TABLE gone RENAME TO ledgers", "42P01"),
    "no rights": ("REVOKE ALL ON ledgers FROM gateway", "GRANT ALL ON ledgers TO gateway", "42501"),
}


def as_gateway(address: str) -> str:
    """A user without special rights, that owns what it makes in a database; its address."""
    run(address, "DROP OWNED BY gateway CASCADE" if run(address, "SELECT 1 FROM pg_roles WHERE rolname = 'gateway'")
        else "CREATE ROLE gateway LOGIN PASSWORD 'gate-way'")  # fmt: skip
    run(address, f"ALTER DATABASE {address.rpartition('/')[2]} OWNER TO gateway")
    return f"postgresql://gateway:gate-way@{address.rpartition('@')[2]}"  # pragma: allowlist secret


@pytest.mark.parametrize("what", UNFIT)
def test_what_a_database_cannot_take_as_it_is_waits_in_the_file_and_is_said_once(
    what: str, own_server: PostgresServer, opened: Opened
) -> None:
    breaks, mends, code = UNFIT[what]
    owner = own_server.database()
    store = opened(as_gateway(owner), "spill.db")
    add(store, 2)
    assert store.flush(30)
    store.take_notes()
    run(owner, breaks)
    add(store, 3, 2)
    until(lambda: store.health()["spilled"] == 3)
    for number in range(3):  # each comes when nothing waits in memory: that is not the end of it
        add(store, 1, 5 + number)
        until(lambda number=number: store.health()["spilled"] == 4 + number)
    assert store.broken and code in store.broken and store.dropped == 0
    assert [note.partition(" in ")[0] for note in store.take_notes()] == ["calls cannot be stored"]
    run(owner, mends)
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    assert sorted(ids(owner)) == names(0, 8) and store.dropped == 0
    sums_are_those_of_the_calls(owner)
    assert [note.partition(" in ")[0].partition(" of ")[0] for note in store.take_notes()] == [
        "calls are stored again",
        "all calls",
    ]


def test_a_call_that_the_server_cannot_hold_keeps_no_other_in_the_file(own_server: PostgresServer, opened: Opened) -> None:
    store = opened(own_server.database(), "spill.db")
    add(store, 1)
    assert store.flush(30)
    own_server.kill()
    add(store, 2, 1)
    store.add(call(request_id=token_hex(6_000)))  # more than an index takes
    store.add(call(request_id="with-text"), Bodies(b"request", b"response", 100))
    until(lambda: store.health()["spilled"] == 4)
    own_server.start()
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    assert sorted(ids(store.address)) == [*names(0, 3), "with-text"] and store.dropped == 1
    assert run(store.address, "SELECT c.request_id FROM bodies b JOIN calls c ON c.id = b.call_id") == [("with-text",)]
    sums_are_those_of_the_calls(store.address)


def test_without_a_file_calls_wait_in_memory_and_what_is_too_much_is_counted(
    own_server: PostgresServer, opened: Opened
) -> None:
    store = opened(own_server.database())
    assert store.most_waiting == 100_000
    own_server.kill()
    add(store, 1)
    until(lambda: store.broken)
    store.most_waiting = 5
    add(store, 7, 1)
    kept = store.health()["rows_waiting"]
    assert kept in (5, 6), "one of them may be on its way already"
    assert store.dropped == 8 - kept and not store.health()["bridged"]
    own_server.start()
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    assert sorted(ids(store.address)) == names(0, kept)
    assert f"{8 - kept} were dropped" in " ".join(store.take_notes())
    sums_are_those_of_the_calls(store.address)


def test_rights_that_are_missing_are_known_beforehand(own_server: PostgresServer, opened: Opened) -> None:
    def lacking(address: str) -> str:
        with CommandSession(address, creates=False, is_new=True) as found:
            return migrations.missing_rights(found.session)

    owner = own_server.database()
    plain = as_gateway(owner)
    assert lacking(owner) == lacking(plain) == ""
    store = opened(plain)
    store.close()
    made = run(owner, "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
                      "AND relnamespace = 'public'::regnamespace")  # fmt: skip
    assert {name for (name,) in made} == {*migrations.TABLES, "totals_spread"}  # the last is not used any more
    assert lacking(plain) == ""
    run(owner, "ALTER TABLE ledgers OWNER TO CURRENT_USER")
    assert lacking(plain).startswith("gateway does not own ledgers: ALTER TABLE ... OWNER TO gateway, or connect as ")
    run(owner, f"ALTER DATABASE {owner.rpartition('/')[2]} OWNER TO CURRENT_USER")
    run(owner, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    assert lacking(plain).startswith("gateway may not create tables in the schema public")


def test_calls_of_an_outage_may_be_with_another_gateway_for_some_seconds(
    own_server: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CARRY_S", 1.0)
    store = opened(own_server.database(), "spill.db")
    add(store, 2)
    asyncio.run(store.settle())
    assert sorted(ids(store.address)) == names(0, 2)
    own_server.kill()
    add(store, 2, 2)
    until(lambda: store.health()["spilled"] == 2)
    with pytest.raises(OSError, match="calls wait to be stored"):
        asyncio.run(store.settle())
    own_server.start()
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    assert not store.is_current, "another gateway may have a file, too"
    until(lambda: store.is_current)
    asyncio.run(store.settle())


def test_calls_are_on_the_servers_disk_whatever_its_default_is(postgres: PostgresServer, opened: Opened) -> None:
    address = postgres.database()
    run(address, f"ALTER DATABASE {address.rpartition('/')[2]} SET synchronous_commit = off")
    store = opened(address)
    assert store.write(lambda db: db.execute("SHOW synchronous_commit").fetchone()[0]).result(30) == "on"


def test_calls_of_a_quarter_second_are_one_batch_and_one_commit(
    postgres: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorder.GATHER_S < 0.25, "what the fixture made of it"
    monkeypatch.setattr(recorder, "GATHER_S", 15.0)  # reached only by a failure: small work does not wait for it
    store = opened(postgres.database())
    add(store, 500)
    store.write(lambda db: None).result(30)
    assert run(store.address, "SELECT last FROM writers") == [(1,)]
    assert run(store.address, "SELECT count(DISTINCT xmin::text) FROM calls") == [(1,)]
    assert run(store.address, "SELECT count(*) FROM calls, totals WHERE calls.xmin::text <> totals.xmin::text") == [(0,)]


def test_two_gateways_with_one_configuration_have_a_file_each(tmp_path: Path) -> None:
    path = str(tmp_path / "spill.db")
    one, two = SpillFile(path), SpillFile(path)
    one.put("a", 1, [(call(request_id="r1"), None)])
    two.put("b", 1, [(call(request_id="r2"), None)])
    assert (one.waiting, two.waiting) == (1, 1)
    two.put("b", 1, [(call(request_id="again"), None)])  # the same batch: a stop in between
    assert two.waiting == 1
    two.close()
    one.close()
    both = SpillFile(path)
    found = []
    while (batch := both.oldest()) is not None:
        found += [each.request_id for each in batch.calls]
        both.forget(batch)
    both.close()
    assert sorted(found) == ["r1", "r2"] and not list(tmp_path.iterdir())


def test_a_server_that_is_frozen_blocks_no_caller_for_ever(
    own_server: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BATCH_S", "WORK_S", "READ_S"):
        monkeypatch.setattr(database, name, 0.3)
    monkeypatch.setattr(driver, "CONNECT_S", 2)
    store = opened(own_server.database(), "spill.db")
    add(store, 3)
    assert store.flush(30)
    asyncio.run(store.reading(lambda db: db.execute("SELECT 1").fetchone()))
    own_server.pause()
    add(store, 3, 3)
    with pytest.raises(Unavailable):
        asyncio.run(store.reading(lambda db: db.execute("SELECT 1").fetchone()))
    until(lambda: store.health()["spilled"] == 3)
    own_server.resume()
    until(lambda: not store.health()["rows_waiting"] and not store.broken)
    assert sorted(ids(store.address)) == names(0, 6)
    sums_are_those_of_the_calls(store.address)


def test_gateways_that_write_at_the_same_moment_wait_for_none_and_sum_up_right(
    postgres: PostgresServer, opened: Opened
) -> None:
    address = postgres.database()
    stores = [opened(address) for _ in range(4)]
    threads = [threading.Thread(target=add, args=(each, 500, 1_000 * at)) for at, each in enumerate(stores)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(each.flush(30) for each in stores)
    assert len(set(ids(address))) == 2_000 and run(address, "SELECT count(DISTINCT id) FROM calls") == [(2_000,)]
    sums_are_those_of_the_calls(address)


def test_a_gateway_hears_what_the_others_and_its_earlier_runs_have_spent_and_not_its_own(
    postgres: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.database()

    def news(at: Elsewhere) -> dict[str, float]:
        return {span: usd for key_id, span, usd, _ in asyncio.run(at.news(AT_S)) if key_id == "k"}

    earlier = opened(address)
    add(earlier, 4)  # a quarter of a dollar each
    add(earlier, 8, 100, started_ms=AT_MS - 86_400_000)
    assert earlier.flush(30)
    one, two = opened(address), opened(address)
    here = Elsewhere(one)
    assert news(here) == {"day": 1.0, "month": 3.0} and news(here) == {}
    add(one, 3, 200)
    add(two, 2, 300)
    assert one.flush(30) and two.flush(30)
    assert news(here) == {"day": 1.5, "month": 3.5} and news(Elsewhere(two)) == {"day": 1.75, "month": 3.75}
    add(one, 4, 400, started_ms=AT_MS - 86_400_000)  # as they come from a file
    add(two, 4, 500, started_ms=AT_MS - 86_400_000)
    assert one.flush(30) and two.flush(30)
    assert news(here) == {}, "earlier days are read now and then"
    monkeypatch.setattr(ledgers, "MONTH_EVERY_S", 0.0)
    assert news(here) == {"month": 4.5}


def test_a_batch_that_is_carried_over_is_the_gateways_own_and_booked_once(
    own_server: PostgresServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(own_server.database(), spill="calls.db")
    add(store, 2)
    assert store.flush(30)
    own_server.kill()
    add(store, 2, 10)
    until(lambda: store.health()["spilled"] == 2, "the calls are in the file")
    forget = store._spill.forget

    def fail(batch: Any) -> None:
        monkeypatch.setattr(store._spill, "forget", forget)
        raise OSError("no space left on device")

    monkeypatch.setattr(store._spill, "forget", fail)
    own_server.start()
    until(lambda: not store.health()["spilled"] and not store.broken, "they are in the database")
    assert [usd for _, _, usd, _ in asyncio.run(Elsewhere(store).news(AT_S))] == [0.0, 0.0]
    assert len(ids(store.address)) == 4
    sums_are_those_of_the_calls(store.address)


def test_migrations_are_made_once_by_gateways_that_start_together(postgres: PostgresServer) -> None:
    address, done, wrong = postgres.database(), list[str](), list[BaseException]()

    def start() -> None:
        with driver.Guard() as guard:
            db = driver.connect(address, "test", guard)
            try:
                done.extend(migrations.apply(db).done)
            except BaseException as why:
                wrong.append(why)
            db.close()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong and sorted(done) == [name for name, _ in migrations.MIGRATIONS]


def test_a_newer_versions_steps_are_reported_and_left_alone(postgres: PostgresServer, opened: Opened) -> None:
    address = postgres.database()
    opened(address)
    run(address, "INSERT INTO migrations (name, applied) VALUES ('m999_later', now())")
    run(address, "ALTER TABLE calls ADD COLUMN mood text NOT NULL DEFAULT ''")  # as a step may: with a default
    store = opened(address)
    assert any("m999_later" in note for note in store.take_notes())
    add(store, 2)
    assert store.flush(30) and ids(address) == names(0, 2)


def test_days_are_dropped_whole_and_what_is_young_stays(postgres: PostgresServer, opened: Opened) -> None:
    store = opened(postgres.database(), keep=Keep(days=3, bodies_days=1))
    for age in range(6):
        at_ms = AT_MS - age * DAY_S * 1_000
        store.add(call(request_id=f"d{age}", started_ms=at_ms, tags='["nightly"]'), Bodies(b"x", b"y", 10))
    assert store.flush(30)
    with driver.Guard() as guard:
        db = driver.connect(store.address, "test", guard)
        while retention.care(db, store.keep, AT_S).more:
            pass
        db.close()
    assert sorted(ids(store.address)) == ["d0", "d1", "d2", "d3"]
    assert run(store.address, "SELECT count(*) FROM bodies") == [(2,)]
    assert run(store.address, "SELECT count(DISTINCT at_s) FROM totals WHERE step_s = 60") == [(2,)]
    assert run(store.address, "SELECT count(DISTINCT at_s) FROM label_sums") == [(4,)]
    store.add(call(request_id="late", started_ms=AT_MS - 5 * DAY_S * 1_000))  # its day is made again
    assert store.flush(30) and "late" in ids(store.address)


def test_the_oldest_days_go_when_the_store_is_too_large_and_today_stays(postgres: PostgresServer, opened: Opened) -> None:
    store = opened(postgres.database())
    for age in range(4):
        store.add(call(request_id=f"d{age}", started_ms=AT_MS - age * DAY_S * 1_000))
    assert store.flush(30)
    with driver.Guard() as guard:
        db = driver.connect(store.address, "test", guard)
        while retention.care(db, Keep(max_bytes=1), AT_S).more:
            pass
        assert partitions.size(db) > 1
        db.close()
    assert ids(store.address) == ["d0"]


def test_statistics_of_a_store_that_is_read_are_those_of_sqlite(postgres: PostgresServer, opened: Opened) -> None:
    store = opened(postgres.database())
    add(store, 7)
    assert store.flush(30)
    span = Span(NOW_S // DAY_S * DAY_S, (NOW_S // DAY_S + 1) * DAY_S, DAY_S)
    got = asyncio.run(SqlCallLog(store).summary(span, Where(), "key", 5, write=lambda found: found))
    assert got["overall"]["calls"] == 7 and [(each["id"], each["name"]) for each in got["groups"]] == [("k", "team")]


WITH_PASSWORD = (
    "postgresql://u:s3cret-pw@127.0.0.1:1/x",  # pragma: allowlist secret
    "postgresql://u:s3cret-pw@[::bad/x?a=b",  # pragma: allowlist secret
    "postgres://u:s3cret%2Dpw@h:port/x",  # pragma: allowlist secret
    "postgresql://u@127.0.0.1:1/x?password=s3cret-pw",
)  # fmt: skip


@pytest.mark.parametrize("address", WITH_PASSWORD)
def test_no_trouble_shows_a_password(address: str, opened: Opened) -> None:
    store = opened(address)
    until(lambda: store.broken)
    told = " ".join([*store.take_notes(), store.broken, store.last_error, str(store.health())])
    with pytest.raises(Unavailable) as wrong:
        asyncio.run(store.reading(lambda db: None))
    assert "s3cret" not in told + str(wrong.value)
