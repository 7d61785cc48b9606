"""Kept conversations: found at once and after a restart, by their owner alone, for as long and as many as are kept."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest
from storing import beside, open_store

from llm_router_gateway.errors import Unavailable
from llm_router_gateway.store import sql_conversations, turn_rows
from llm_router_gateway.store.conversations import Turn, Unkept, text_of
from llm_router_gateway.store.keep import Keep
from llm_router_gateway.store.sql_conversations import SqlConversations
from llm_router_gateway.store.sqlite.file import connect, open_writer
from llm_router_gateway.store.sqlite.retention import care

Result = TypeVar("Result")


@pytest.fixture(autouse=True)
def looked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not found is looked for twice; what another process writes meanwhile is written between the two, not timed."""
    monkeypatch.setattr(sql_conversations, "AGAIN_S", (0.0,))


def turn(id: str, previous: str = "", *, created: float = 100.0, items: tuple[str, ...] = (), text: str = "") -> Turn:
    return Turn(id, "key_1", previous, created, "p/m", "mark", text_of({"id": id, "text": text}), items)


def in_store(place: Path | str, work: Callable[[SqlConversations], Awaitable[Result]]) -> Result:
    """What `work` gives with a store that is opened for it and closed after it."""

    async def run() -> Any:
        store = open_store(str(place))
        kept = SqlConversations(store)
        try:
            return await work(kept)
        finally:
            kept.flush()
            await asyncio.to_thread(store.close)

    return asyncio.run(run())


def ids(turns: list[Turn]) -> list[str]:
    return [each.id for each in turns]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_conversation_is_found_with_all_its_turns(restarts: bool, place: str) -> None:
    async def write(kept: SqlConversations) -> list[Turn]:
        for each in (turn("r1"), turn("r2", "r1"), turn("r3", "r2"), turn("x", "r1")):
            kept.append(each)
        return await kept.chain("key_1", "r3")

    async def read(kept: SqlConversations) -> list[Turn]:
        return await kept.chain("key_1", "r3")

    now = in_store(place, write)
    found = in_store(place, read) if restarts else now
    assert ids(found) == ["r1", "r2", "r3"] and found[0].value == {"id": "r1", "text": ""} and found[0].member == "p/m"


@pytest.mark.parametrize(("text", "is_squeezed"), [("caf\u00e9 \ud83d", False), ("long \ud83d " * 2_000, True)])
def test_a_turn_comes_back_to_the_letter_and_only_a_long_one_is_squeezed(text: str, is_squeezed: bool) -> None:
    value = {"id": "r1", "text": text}
    data = turn_rows.squeeze(text_of(value))
    assert turn_rows.turn_of(("r1", "key_1", "", 1.0, "p/m", "", data)).value == value
    assert (len(data) < len(text.encode("utf-8", "surrogatepass"))) == is_squeezed


def test_another_callers_turn_and_a_broken_chain_are_not_found(place: str) -> None:
    async def work(kept: SqlConversations) -> list[list[Turn]]:
        for each in (turn("r1"), turn("r2", "r1", items=("msg_1",)), turn("orphan", "gone")):
            kept.append(each)
        return [await kept.chain("key_2", "r2"), await kept.chain("key_1", "orphan"), await kept.chain("key_1", ""),
                await kept.holding("key_2", ["msg_1"])]  # fmt: skip

    assert in_store(place, work) == [[], [], [], []]


def test_items_lead_to_their_turns(place: str) -> None:
    async def write(kept: SqlConversations) -> list[str]:
        kept.append(turn("r1", items=("msg_1", "fc_1")))
        return ids(await kept.holding("key_1", ["fc_1", "unknown"]))

    async def read(kept: SqlConversations) -> list[str]:
        return ids(await kept.holding("key_1", ["msg_1", "fc_1"]))

    assert in_store(place, write) == in_store(place, read) == ["r1"]


def test_a_turn_that_another_process_is_about_to_write_is_found(place: str) -> None:
    async def work(kept: SqlConversations) -> list[str]:
        with beside(place) as db:
            turn_rows.put(db, [turn("r0")])
        looked: list[int] = []
        reading = kept._store.reading

        async def counted(read: Any) -> Any:
            looked.append(1)
            if len(looked) == 2:
                with beside(place) as db:
                    turn_rows.put(db, [turn("r1", "r0")])
            return await reading(read)

        kept._store.reading = counted  # type: ignore[method-assign, assignment]
        return ids(await kept.chain("key_1", "r1"))

    assert in_store(place, work) == ["r0", "r1"]


def test_a_turn_that_the_store_could_not_take_is_written_later_without_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it is found at this gateway alone."""
    monkeypatch.setattr(sql_conversations, "GATHER_S", 0.0)
    monkeypatch.setattr(sql_conversations, "RETRY_S", 0.0)

    class Away:
        def __init__(self) -> None:
            self.tries = 0

        def write(self, function: Callable[[Any], Any], *, durable: bool = True) -> Future[Any]:
            self.tries += 1
            done: Future[Any] = Future()
            if self.tries < 3:
                done.set_exception(Unavailable("the store cannot be used"))
            else:
                done.set_result({"r1": first})
            return done

        async def reading(self, function: Callable[[Any], Any]) -> Any:
            raise Unavailable("the store cannot be read")

    first = turn("r1")

    async def run() -> None:
        store = Away()
        kept = SqlConversations(store)
        kept.append(first)
        async with asyncio.timeout(15):
            while store.tries < 3 or kept._waiting:
                assert await kept.find("key_1", "r1") == first or store.tries == 3
                await asyncio.sleep(0)
        assert store.tries == 3

    asyncio.run(run())


def test_what_is_deleted_is_gone_for_its_owner_only(place: str) -> None:
    async def work(kept: SqlConversations) -> Any:
        kept.append(turn("r1", items=("msg_1",)))
        told = [await kept.delete("key_2", "r1"), await kept.delete("key_1", "r1"), await kept.delete("key_1", "r1")]
        return told, await kept.chain("key_1", "r1"), await kept.holding("key_1", ["msg_1"])

    assert in_store(place, work) == ([False, True, False], [], [])


def test_the_secret_outlives_a_restart_and_only_this_user_reads_the_file(tmp_path: Path) -> None:
    async def secret(kept: SqlConversations) -> bytes:
        return kept.secret

    first = in_store(tmp_path / "s.db", secret)
    assert first == in_store(tmp_path / "s.db", secret) and len(first) == 32
    assert first != in_store(tmp_path / "other.db", secret)
    assert os.name == "nt" or (tmp_path / "s.db").stat().st_mode & 0o077 == 0


def left(path: Path, keep: Keep, now_s: float) -> list[str]:
    db = open_writer(str(path), 0)
    try:
        while care(db, keep, now_s):
            pass
        return [name for (name,) in db.execute("SELECT id FROM turns ORDER BY created_s")]
    finally:
        db.close()


def test_turns_go_by_their_age_and_the_oldest_when_they_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    db = open_writer(str(path), 0)
    turns = [turn(f"r{at}", created=at * 3600.0, items=(f"msg_{at}",), text=os.urandom(500).hex()) for at in range(60)]
    turn_rows.put(db, turns)
    db.close()
    assert left(path, Keep(turns_hours=24), 60 * 3600.0) == [f"r{at}" for at in range(36, 60)]
    kept = left(path, Keep(turns_bytes=5_000), 60 * 3600.0)
    assert kept == [f"r{at}" for at in range(56, 60)]  # steps of 20
    db = connect(str(path), reads=True)
    assert db.execute("SELECT count(*) FROM turn_items").fetchone() == (4,)
    db.close()
    assert left(path, Keep(turns_hours=0), 60 * 3600.0) == []


def test_without_a_store_nothing_is_kept() -> None:
    kept = Unkept()
    kept.append(turn("r1"))
    assert asyncio.run(kept.chain("key_1", "r1")) == [] and len(kept.secret) == 32
