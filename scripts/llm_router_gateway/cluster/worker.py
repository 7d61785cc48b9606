"""A worker's side: what it hands to the home, and what stands behind its seams.

    outbox = Outbox(link, authenticator)
    outbox.add(call, bodies)          a record; never waits, never raises
    outbox.add_lines(lines)           of the log
    await outbox.run()                a batch as soon as there is something, GATHER_S after it; until it is cancelled
    await outbox.flush()              everything; returns the records that could not be handed over

    RemoteLog(config, outbox)         as `proxy.log.Log`; the lines are written by the home
    RemoteConversations(link, secret) as `store.conversations.Conversations`
    RemoteOwned(link)                 as `store.owned.OwnedObjects`

One batch is under way at a time and is kept until the home has acknowledged it. A worker that is killed loses what it had
gathered: a tenth of a second's.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Any

from ..config.config import Server
from ..errors import GatewayError
from ..net.frames import FrameTooLarge
from ..net.link import Link, LinkLost
from ..proxy.log import Log
from ..store.call import Call
from ..store.conversations import Turn
from ..store.owned import Owned, Wanted
from ..store.redaction import Bodies
from .messages import Record, pack_owned, pack_record, pack_turn, unpack_owned, unpack_turn

GATHER_S = 0.1  # what comes within it goes in one batch
MAX_BATCH = 1_000  # records
MAX_BATCH_BYTES = 16_777_216  # of bodies in one batch
MAX_BATCH_CHARS = 4_194_304  # of log lines in one batch
MAX_WAITING = 50_000  # records that the home does not take; what comes then is lost, and counted


class Outbox:
    """Records, log lines and uses of keys on their way to the home."""

    def __init__(self, link: Link, take_used: Callable[[], Mapping[str, float]]) -> None:
        self._link, self._take_used = link, take_used
        self._records: deque[Record] = deque()
        self._lines: list[str] = []
        self._number = 0
        self._woken = asyncio.Event()
        self._busy = asyncio.Lock()
        self.lost = 0

    def add(self, call: Call, bodies: Bodies | None) -> None:
        if len(self._records) >= MAX_WAITING:
            self.lost += 1
            return
        self._records.append((call, bodies))
        self._woken.set()

    def add_lines(self, lines: Iterable[str]) -> None:
        self._lines.extend(lines)
        self._woken.set()

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            await self.flush()

    async def flush(self) -> int:
        """Hands over all there is. The number of records that the home did not take, because it is gone."""
        async with self._busy:
            self._woken.clear()
            used = self._take_used()
            while (self._records or self._lines or used) and not self._link.is_lost:
                await self._hand_over(self._next_batch(), used)
                used = {}
        return len(self._records)

    def _next_batch(self) -> list[Record]:
        batch: list[Record] = []
        size = 0
        while self._records and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            call, bodies = self._records.popleft()
            size += 2 * bodies.limit if bodies is not None else 0
            batch.append((call, bodies))
        return batch

    def _next_lines(self) -> list[str]:
        """The oldest, as many as a message takes with its records."""
        count = size = 0
        while count < len(self._lines) and size < MAX_BATCH_CHARS:
            size += len(self._lines[count])
            count += 1
        lines, self._lines = self._lines[:count], self._lines[count:]
        return lines

    async def _hand_over(self, batch: list[Record], used: Mapping[str, float]) -> None:
        """One batch, again until it is acknowledged: the home knows one that it has seen by its number."""
        lines = self._next_lines()
        self._number += 1
        calls = [pack_record(record) for record in batch]
        while True:
            try:
                await self._link.call("batch", self._number, calls, lines, used)
                return
            except FrameTooLarge:  # bodies of a size that no batch takes: the calls count more
                calls = [[call, None] for call, _ in calls]
            except LinkLost:
                if self._link.is_lost:
                    self._records.extendleft(reversed(batch))
                    self._lines[:0] = lines
                    return
            except GatewayError:  # the home has the batch, and its log says what it could not handle of it
                return

    def spill(self) -> None:
        """The home is gone: what the log still had to say goes to stderr."""
        with suppress(OSError, ValueError):
            sys.stderr.write("".join(self._lines))
        self._lines = []


class RemoteLog(Log):
    """Lines are made here and written by the home."""

    def __init__(self, server: Server, outbox: Outbox) -> None:
        super().__init__(server.log_level, stream=-1, as_json=server.log_format == "json")
        self._outbox = outbox

    def flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if lines:
            self._outbox.add_lines(lines)


class RemoteConversations:
    """Turns that the home keeps."""

    def __init__(self, link: Link, secret: bytes) -> None:
        self._link, self.secret = link, secret

    def append(self, turn: Turn) -> None:
        with suppress(FrameTooLarge):  # it is not kept, as when the disk is full
            self._link.send("keep", pack_turn(turn))

    async def find(self, owner: str, turn_id: str) -> Turn | None:
        found: Any = await self._link.call("kept", "find", [owner, turn_id])
        return None if found is None else unpack_turn(found)

    async def chain(self, owner: str, turn_id: str) -> list[Turn]:
        return [unpack_turn(each) for each in await self._link.call("kept", "chain", [owner, turn_id])]

    async def holding(self, owner: str, items: Collection[str]) -> list[Turn]:
        return [unpack_turn(each) for each in await self._link.call("kept", "holding", [owner, sorted(items)])]

    async def delete(self, owner: str, turn_id: str) -> bool:
        return bool(await self._link.call("kept", "delete", [owner, turn_id]))


class RemoteOwned:
    """Whose files and batches are, as the home's store has it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def put(self, objects: Sequence[Owned]) -> None:
        await self._link.call("owned", "put", [[pack_owned(each) for each in objects]])

    async def find(self, owner: str, kind: str, name: str) -> Owned | None:
        found: Any = await self._link.call("owned", "find", [owner, kind, name])
        return None if found is None else unpack_owned(found)

    async def owners(self, kind: str, name: str) -> list[str]:
        return list(await self._link.call("owned", "owners", [kind, name]))

    async def page(self, wanted: Wanted) -> list[Owned]:
        return [unpack_owned(each) for each in await self._link.call("owned", "page", list(astuple(wanted)))]

    async def delete(self, owner: str, kind: str, name: str) -> bool:
        return bool(await self._link.call("owned", "delete", [owner, kind, name]))
