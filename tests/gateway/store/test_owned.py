"""Whose files and batches are: found by their owner alone, in order, after a restart, until they are deleted or too old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from storing import beside, open_store

from llm_router_gateway.store import owned_rows
from llm_router_gateway.store.owned import Owned, Wanted
from llm_router_gateway.store.sql_owned import SqlOwned

Result = TypeVar("Result")
ONE = Owned("key_1", "file", "file-1", 100.0, "openai", "mark", {"id": "file-1", "n": [1, "ä"]}, "batch")


def in_store(place: str, work: Callable[[SqlOwned], Awaitable[Result]]) -> Result:
    async def run() -> Any:
        store = open_store(place)
        try:
            return await work(SqlOwned(store))
        finally:
            await asyncio.to_thread(store.close)

    return asyncio.run(run())  # type: ignore[no-any-return]


def test_an_object_is_its_owners_also_after_a_restart(place: str) -> None:
    async def put(owned: SqlOwned) -> None:
        await owned.put([ONE, replace(ONE, owner="key_2", provider="other")])

    async def find(owned: SqlOwned) -> list[Any]:
        wanted = [("key_1", "file", "file-1"), ("key_2", "file", "file-1"), ("key_3", "file", "file-1"),
                  ("key_1", "batch", "file-1"), ("key_1", "file", "file-2")]  # fmt: skip
        return [await owned.find(*each) for each in wanted]

    in_store(place, put)
    assert in_store(place, find) == [ONE, replace(ONE, owner="key_2", provider="other"), None, None, None]


def test_an_id_has_the_owners_that_it_has(place: str) -> None:
    async def work(owned: SqlOwned) -> list[list[str]]:
        await owned.put([ONE, replace(ONE, owner="key_2"), replace(ONE, owner="key_3", kind="batch")])
        return [sorted(await owned.owners("file", name)) for name in ("file-1", "file-2")]

    assert in_store(place, work) == [["key_1", "key_2"], []]


def test_what_is_known_anew_takes_no_other_place(place: str) -> None:
    async def work(owned: SqlOwned) -> list[Owned]:
        await owned.put([ONE, replace(ONE, id="file-2", created=200.0)])
        await owned.put([replace(ONE, created=300.0, value={"id": "file-1", "status": "processed"})])
        return await owned.page(Wanted("key_1", "file"))

    found = in_store(place, work)
    assert [each.id for each in found] == ["file-2", "file-1"] and found[1].value["status"] == "processed"


def test_pages_are_in_order_and_begin_behind_an_id(place: str) -> None:
    objects = [replace(ONE, id=f"file-{at}", created=float(at // 2), label="even" if at % 2 == 0 else "odd") for at in range(5)]

    async def work(owned: SqlOwned) -> list[list[str]]:
        await owned.put([*objects, replace(ONE, owner="key_2", id="other")])
        pages = [
            Wanted("key_1", "file"), Wanted("key_1", "file", limit=2), Wanted("key_1", "file", "file-3", limit=2),
            Wanted("key_1", "file", is_ascending=True, limit=3), Wanted("key_1", "file", "file-1", 9, True),
            Wanted("key_1", "file", label="odd"), Wanted("key_1", "file", "other"), Wanted("key_1", "batch"),
        ]  # fmt: skip
        return [[each.id.removeprefix("file-") for each in await owned.page(page)] for page in pages]

    assert in_store(place, work) == [
        ["4", "3", "2", "1", "0"], ["4", "3"], ["2", "1"], ["0", "1", "2"], ["2", "3", "4"], ["3", "1"], [], [],
    ]  # fmt: skip


def test_what_is_deleted_is_gone_for_its_owner_alone(place: str) -> None:
    async def work(owned: SqlOwned) -> list[Any]:
        await owned.put([ONE, replace(ONE, owner="key_2")])
        gone = [await owned.delete("key_3", "file", "file-1"), await owned.delete("key_1", "file", "file-1"),
                await owned.delete("key_1", "file", "file-1")]  # fmt: skip
        return [*gone, await owned.find("key_1", "file", "file-1"), (await owned.find("key_2", "file", "file-1")) is not None]

    assert in_store(place, work) == [False, True, False, None, True]


def test_what_is_too_old_is_forgotten_oldest_first(place: str) -> None:
    async def work(owned: SqlOwned) -> None:
        await owned.put([replace(ONE, id=f"file-{at}", created=float(at)) for at in range(4)])

    in_store(place, work)
    with beside(place) as db:
        assert owned_rows.forget_owned(db, 3.0, 2) == 2
        assert [each.id for each in owned_rows.page(db, Wanted("key_1", "file"))] == ["file-3", "file-2"]
        assert owned_rows.forget_owned(db, 3.0, 2) == 1 and owned_rows.forget_owned(db, float("-inf"), 9) == 0
