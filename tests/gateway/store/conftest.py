"""The engines that a store may stand on: what a seam promises is tested over each that is here.

Where PostgreSQL is not, `postgres/test_database.py` is skipped with the reason, once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from logged import PostgresShelf, Shelf
from postgres_server import missing
from postgres_server import postgres as postgres

from llm_router_gateway.store.call import Call

Shelves = Callable[..., Shelf]


ENGINES = ["sqlite"] if missing() else ["sqlite", "postgresql"]


@pytest.fixture(scope="module", params=ENGINES)
def shelves(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelves]:
    """shelves(calls, batch=97) -> logged.Shelf: an empty store with these calls, on one of the engines."""
    made: list[Shelf] = []

    def begin(calls: Iterable[Call] = (), **how: Any) -> Shelf:
        if request.param == "sqlite":
            made.append(Shelf(tmp_path_factory.mktemp("shelf"), calls, **how))
        else:
            made.append(PostgresShelf(request.getfixturevalue("postgres").database(), calls, **how))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What names an empty store: a path, or the address of a database."""
    if request.param == "sqlite":
        return str(tmp_path / "s.db")
    return str(request.getfixturevalue("postgres").database())
