"""The call log in a store that speaks SQL: `store.call_log.CallLog` over its `add` and `reading`, which has threads for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from . import queries
from .call import Call, view
from .query import SEARCH_S, Cursor, Page, Span, Where
from .redaction import Bodies
from .rollups import unpack

Written = TypeVar("Written")
Values = Mapping[str, Any]


class Reads(Protocol):
    """What is needed of the store."""

    def add(self, call: Call, bodies: Bodies | None = None) -> None: ...
    async def reading(self, function: Callable[[Any], Any]) -> Any: ...
    def health(self) -> dict[str, Any]: ...


class SqlCallLog:
    """See `store.call_log.CallLog`."""

    def __init__(self, store: Reads, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self.append = store.add  # of every call: without a step between

    async def _read(self, make: Callable[[Any], Written]) -> Written:
        found: Written = await self._store.reading(make)
        return found

    async def summary(self, span: Span, where: Where, by: str, limit: int, *, write: Callable[[Values], Written]) -> Written:
        return await self._read(lambda db: write(queries.statistics(db, span, where, by, limit)))

    async def series(self, span: Span, where: Where, *, write: Callable[[Values], Written]) -> Written:
        return await self._read(lambda db: write(queries.series(db, span, where)))

    async def grouped_series(
        self, span: Span, where: Where, by: str, limit: int, *, write: Callable[[Values], Written]
    ) -> Written:
        return await self._read(lambda db: write(queries.grouped_series(db, span, where, by, limit)))

    async def calls(self, page: Page, where: Where, *, write: Callable[[Values], Written]) -> Written:
        return await self._read(lambda db: write(queries.find_page(db, page, where, self._clock)))

    async def call(self, name: str, *, write: Callable[[Values], Written]) -> Written | None:
        def read(db: Any) -> Written | None:
            found = whole_call(db, name)
            return None if found is None else write(found)

        return await self._read(read)

    async def export(
        self, page: Page, where: Where, *, write: Callable[[Iterable[Values]], bytes]
    ) -> tuple[bytes, Cursor | None]:
        def read(db: Any) -> tuple[bytes, Cursor | None]:
            give_up = self._clock() + SEARCH_S
            rows, go_on = queries.by_time(db, page, where, lambda: self._clock() > give_up)
            return write(view(row[1], Call._make(row[2:])) for row in rows), go_on

        return await self._read(read)

    def health(self) -> dict[str, Any]:
        return self._store.health()


def whole_call(db: Any, name: str) -> dict[str, Any] | None:
    """One call with its texts."""
    found = queries.one(db, name)
    if found is None:
        return None
    kept = queries.bodies_of(db, found[0])
    request, response, request_cut, response_cut = kept or (None, None, 0, 0)
    texts = {"request": unpack(request), "response": unpack(response), "request_cut": bool(request_cut),
             "response_cut": bool(response_cut), "kept": kept is not None}  # fmt: skip
    return {**view(*found), "bodies": texts}
