"""overlay: what gateways change of providers and models, between one database and the files of several; without a server."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.store.postgres import overlay
from llm_router_gateway.store.postgres.overlay import SharedOverlay


class Database:
    """The rows that overlays are in."""

    def __init__(self) -> None:
        self.meta = {"overlay_version": "0"}
        self._found: list[tuple[str, ...]] = []

    def write(self, function: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(self))
        return done

    def execute(self, sql: str, values: tuple[str, ...] = ()) -> Database:
        self._found = []
        if sql == overlay.READ:
            self._found = list(self.meta.items())
        elif sql == overlay.NEXT and values == (self.meta["overlay_version"],):
            self.meta["overlay_version"] = str(int(values[0]) + 1)
            self._found = [(self.meta["overlay_version"],)]
        elif sql == overlay.KEEP:
            self.meta["overlay"] = values[0]
        return self

    def fetchall(self) -> list[tuple[str, ...]]:
        return self._found

    def fetchone(self) -> tuple[str, ...] | None:
        return self._found[0] if self._found else None


def test_a_gateway_whose_disk_was_full_replaces_nothing_of_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    database: Any = Database()
    files = tmp_path / "one.json", tmp_path / "two.json"
    one, two = (SharedOverlay(database, path) for path in files)
    one.pull()
    two.pull()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    one.push(b"a")
    with monkeypatch.context() as disk:
        disk.setattr(overlay, "put", full)
        with pytest.raises(OSError, match="No space"):
            two.pull()
    with pytest.raises(OSError, match="another gateway changed"):
        two.push(b"b")
    assert database.meta["overlay"] == "a" and files[1].read_bytes() == b"a", "it has what it lacked now"
    two.push(b"ab")
    one.pull()
    assert files[0].read_bytes() == b"ab"
