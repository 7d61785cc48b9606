"""A connection for a command line: opened, brought up to date where it may be, closed; every trouble as StoreUnusable.

with CommandSession(address, creates=True) as found:
    await SqlKeys(found.transact, found.place, spent=ledgers.spent).all()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...config.addresses import without_password
from ..recorder import StoreUnusable
from . import migrations
from .driver import Guard, Session, connect, psycopg, reason
from .rows import STAGING

LIMIT_S = 60.0  # of one command's transaction


class CommandSession:
    """See the module."""

    def __init__(self, address: str, *, creates: bool, is_new: bool = False) -> None:
        """`creates`: makes the tables where they are missing; `is_new`: or does without them."""
        self._address, self._creates, self._is_new, self.place = address, creates, is_new, without_password(address)
        self._guard = Guard()

    def __enter__(self) -> CommandSession:
        psycopg()
        self._guard.__enter__()
        try:
            self.session: Session = connect(self._address, "command", self._guard)
            if self._creates:
                migrations.apply(self.session)
            elif not self._is_new and migrations.missing_steps(self.session):
                raise StoreUnusable(f"{self.place} has no tables of this version: start a gateway on it, or `keys create`")
        except Exception as wrong:
            self._guard.__exit__()
            raise self._unusable(wrong) from None
        return self

    def __exit__(self, *exc: object) -> None:
        self.session.close()
        self._guard.__exit__()

    def _unusable(self, wrong: Exception) -> Exception:
        if not isinstance(wrong, (psycopg().Error, OSError)):
            return wrong
        return StoreUnusable(f"{self.place} cannot be used: {reason(wrong, self._address)}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What goes wrong inside, as StoreUnusable."""
        try:
            yield
        except Exception as wrong:
            raise self._unusable(wrong) from None

    def stage(self) -> None:
        """What adding sums needs."""
        for statement in STAGING:
            self.session.execute(statement)

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        """`work` in one transaction, on the server's disk when it is done."""
        try:
            with self.session.within(LIMIT_S), self.session.raw.transaction():
                return work(self.session)
        except Exception as wrong:
            raise self._unusable(wrong) from None
