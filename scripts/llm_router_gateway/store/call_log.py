"""The interface of the call log, whatever stores it (by default `store/sql_call_log` over SQLite).

    log.append(call, bodies)                                      at once; never waits, never raises
    data = await log.summary(span, where, "model", 20, write=dumped)   sums, and what `write` makes of them

Whatever takes time is done beside the event loop, `write` too: it gets the values and gives what the caller is sent.
Unavailable where the log cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from .call import Call
from .query import Cursor, Page, Span, Where
from .redaction import Bodies

Written = TypeVar("Written")
Values = Mapping[str, Any]


class CallLog(Protocol):
    """Every call that ended, and the sums of them."""

    def append(self, call: Call, bodies: Bodies | None = None) -> None:
        """One call at its end. Never waits, never raises."""

    async def summary(self, span: Span, where: Where, by: str, limit: int, *, write: Callable[[Values], Written]) -> Written:
        """{"range", "is_whole", "overall": STATS, "groups": [{"name", "id", **STATS}], "errors", "recent_errors"}"""

    async def series(self, span: Span, where: Where, *, write: Callable[[Values], Written]) -> Written:
        """{"range", "is_whole", "step_s", "data": [{"at", **STATS}]}, every step, empty ones too."""

    async def grouped_series(
        self, span: Span, where: Where, by: str, limit: int, *, write: Callable[[Values], Written]
    ) -> Written:
        """The same for the largest groups, and for the rest together: {..., "groups": [{"name", "id", "data"}]}"""

    async def calls(self, page: Page, where: Where, *, write: Callable[[Values], Written]) -> Written:
        """{"items": [call.view, ...], "total", "total_is_exact", "next": Cursor or None, ...}"""

    async def call(self, name: str, *, write: Callable[[Values], Written]) -> Written | None:
        """The call of an id or a request id, with its "bodies"; None if there is none."""

    async def export(
        self, page: Page, where: Where, *, write: Callable[[Iterable[Values]], bytes]
    ) -> tuple[bytes, Cursor | None]:
        """Some rows as they are written, and where to go on."""

    def health(self) -> dict[str, Any]:
        """{"path", "broken", "rows_waiting", "written", "dropped", "last_error", "bytes"}"""
