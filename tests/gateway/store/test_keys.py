"""Keys of the store over each engine: names are unique, a change is told by its generation, spending is the calls' own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from storing import AT_MS, call

from llm_router_gateway.config.addresses import is_postgres
from llm_router_gateway.config.keys import Key, digest_of, read_json, reset_now
from llm_router_gateway.errors import BadRequest, Conflict, NotFound
from llm_router_gateway.policy.budgets import Reset
from llm_router_gateway.store.key_rows import row_of
from llm_router_gateway.store.sql_keys import SqlKeys
from llm_router_gateway.store.sqlite.database import Store

AT_S = AT_MS / 1_000
Work = Callable[[SqlKeys, Any], Awaitable[Any]]


def with_keys(place: str, work: Work) -> Any:
    """What `work(keys, store)` gives over a store that is opened for it."""

    async def run() -> Any:
        how: dict[str, Any] = {"wall": lambda: AT_S}
        if is_postgres(place):
            from llm_router_gateway.store.postgres.database import PostgresStore
            from llm_router_gateway.store.postgres.ledgers import spent

            store: Any = PostgresStore.open(place, **how)
            keys = SqlKeys(lambda job: asyncio.wrap_future(store.write(job)), store.place, store.write, spent)
        else:
            store = Store.open(place, **how)
            keys = SqlKeys(lambda job: asyncio.wrap_future(store.write(job)), store.place, store.write)
        try:
            return await work(keys, store)
        finally:
            await asyncio.to_thread(store.close)

    return asyncio.run(run())


def key(name: str, **terms: Any) -> Key:
    made = read_json({"name": name, **terms})
    return Key(**{**{field: getattr(made, field) for field in made.__dataclass_fields__}, "id": f"key_{name}", "created": 5.0})


@pytest.mark.parametrize("terms", ["no json", "[1]", "[" * 100_000, '{"parameter_limits": {"n": ' + "9" * 400 + "}}"])
def test_a_row_that_cannot_be_read_is_a_key_that_is_refused(terms: str) -> None:
    row = row_of(("key_1", "ann", digest_of("one"), "llmr_...1", 5.0, terms, None))
    assert (row.key.name, row.key.is_active, row.key.note) == ("ann", False, "its row in the store cannot be read")


def test_a_key_is_inserted_found_changed_rotated_and_deleted(place: str) -> None:
    async def work(keys: SqlKeys, store: Any) -> None:
        first = await keys.insert(key("ann", allowed_models=["openai/*"]), digest_of("one"))
        assert first.row.key.name == "ann" and [row.digest for row in first.keys.rows] == [digest_of("one")]
        assert (await keys.find("ann")).key == (await keys.find("key_ann")).key == first.row.key
        changed = await keys.change("ann", {"name": "anna", "is_active": False})
        assert changed.keys.generation > first.keys.generation and not changed.row.key.is_active
        rotated = await keys.rotate("key_ann", digest_of("two"), "llmr_...2")
        assert rotated.row.digest == digest_of("two") and rotated.keys.rows[0].key.hint == "llmr_...2"
        gone = await keys.delete("anna")
        assert gone.keys.rows == [] and gone.keys.generation > rotated.keys.generation
        for wrong in (keys.find("anna"), keys.change("anna", {}), keys.rotate("x", b"", ""), keys.delete("x")):
            with pytest.raises(NotFound):
                await wrong

    with_keys(place, work)


def test_of_a_key_of_a_file_the_last_reset_is_kept_and_nothing_else(place: str) -> None:
    async def work(keys: SqlKeys, store: Any) -> None:
        first = await keys.reset_of_file("config:ci", reset_now({"usd_day": 4.0, "tokens_day": 9}, int(AT_S)))
        again = await keys.reset_of_file("config:ci", reset_now({"usd_day": 5.5, "tokens_day": 12}, int(AT_S) + 60))
        assert again.keys.generation > first.keys.generation
        (row,) = (await keys.all()).rows
        assert row.key.is_of_file and not row.key.is_active and (row.key.id, row.key.name) == ("config:ci", "ci")
        assert row.key.reset == Reset(int(AT_S) + 60, 5.5, 0.0, 12.0, 0.0)
        for name in ("ci", "config:ci", "config:ci/reset"):
            for wrong in (
                keys.find(name),
                keys.change(name, {"is_active": True}),
                keys.rotate(name, b"", ""),
                keys.delete(name),
            ):
                with pytest.raises(NotFound):
                    await wrong
        await keys.insert(key("ci"), digest_of("one"))  # once the file has no such key
        assert (await keys.find("ci")).key.id == "key_ci" and len((await keys.all()).rows) == 2

    with_keys(place, work)


def test_a_name_that_is_taken_and_a_bad_change_leave_everything_as_it_was(place: str) -> None:
    async def work(keys: SqlKeys, store: Any) -> None:
        await keys.insert(key("ann"), digest_of("one"))
        before = (await keys.insert(key("ben"), digest_of("two"))).keys
        for wrong, error in (
            (keys.insert(Key("key_x", "ann"), digest_of("three")), Conflict), (keys.change("ben", {"name": "ann"}), Conflict),
            (keys.change("ben", {"is_active": "perhaps"}), BadRequest),
        ):  # fmt: skip
            with pytest.raises(error):
                await wrong
        assert await keys.all() == before

    with_keys(place, work)


def test_the_last_use_of_a_key_is_no_change_of_it_and_never_goes_back(place: str) -> None:
    async def work(keys: SqlKeys, store: Any) -> None:
        before = (await keys.insert(key("ann"), digest_of("one"))).keys
        for at in (100.0, 50.0):
            keys.mark_used({"key_ann": at, "key_gone": 1.0})
        row = await keys.find("ann")
        assert row.last_used == 100.0 and (await keys.all()).generation == before.generation

    with_keys(place, work)


def test_what_keys_spent_is_what_their_calls_cost(place: str) -> None:
    async def work(keys: SqlKeys, store: Any) -> None:
        day_ms = 86_400_000
        for at_ms, usd in ((AT_MS, 0.25), (AT_MS - 1_000, 0.5), (AT_MS - day_ms, 1.0), (AT_MS - 31 * day_ms, 2.0)):
            store.add(call(key_id="key_a", started_ms=at_ms, cost_usd=usd))
        store.add(call(key_id="", cost_usd=9.0))
        store.add(call(key_id="key_b", cost_usd=None))
        assert await asyncio.to_thread(store.flush, 30)
        found = {(key_id, span): (usd, tokens) for key_id, span, usd, tokens in await keys.spent(AT_S)}
        assert found == {("key_a", "day"): (0.75, 30), ("key_a", "month"): (1.75, 45), ("key_b", "day"): (0, 15),
                         ("key_b", "month"): (0, 15)}  # fmt: skip

    with_keys(place, work)
