"""A gateway's workers as the system sees them: which processes they are, and which of them has which connection. Linux."""

from __future__ import annotations

import json
import os
import re
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

from running import WAIT_S, Answer, Process, until, whole

ESTABLISHED = "01"  # the state of a connection in /proc/net/tcp
MOST = 64  # connections that are opened until every worker has one


def workers_of(pid: int) -> list[int]:
    """The worker processes of a home."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"commands.worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return sorted(found)


def connections(pids: list[int], port: int) -> dict[int, int]:
    """How many callers' connections each process has."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == ESTABLISHED:
            inodes.add(f"socket:[{fields[9]}]")
    counts = dict.fromkeys(pids, 0)
    for pid in pids:
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    counts[pid] += os.readlink(f"/proc/{pid}/fd/{name}") in inodes
    return counts


class Kept:
    """A connection that stays open, and so stays with one worker."""

    def __init__(self, gateway: Process) -> None:
        self._connection = HTTPConnection(gateway.host.strip("[]"), gateway.port, timeout=WAIT_S)
        self._connection.connect()

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, given)
        return whole(self._connection.getresponse())

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it; the next request would open another, to any worker."""
        sock = self._connection.sock
        return sock is not None and not select.select([sock], [], [], 0)[0]

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def to_every_worker(gateway: Process, workers: int = 2) -> Iterator[list[Kept]]:
    """A connection to each worker."""
    pids = until(lambda: len(found := workers_of(gateway.pid)) == workers and found, "all workers are there")
    kept: list[Kept] = []
    chosen: list[Kept] = []
    before = connections(pids, gateway.port)
    missing = set(pids)
    try:
        while missing:
            assert len(kept) < MOST, f"of {len(kept)} connections none went to {missing}"
            kept.append(Kept(gateway))
            owner = until(lambda: grown(before, connections(pids, gateway.port)), "a worker accepts it")
            before[owner] += 1
            if owner in missing:
                missing.discard(owner)
                chosen.append(kept[-1])
        yield chosen
    finally:
        for each in kept:
            each.close()


def grown(before: Mapping[int, int], now: Mapping[int, int]) -> int | None:
    """The process that has more connections than before."""
    return next((pid for pid, count in now.items() if count > before[pid]), None)


NUMBERS = count(1)  # equal questions share an answer for a while: no two are equal


def rows(gateway: Process, **headers: str) -> list[dict[str, object]]:
    """The call log, the latest first, as far as it is written."""
    path = f"/monitor/invocations?limit=1000&from={next(NUMBERS)}"
    found: list[dict[str, object]] = gateway.get(path, **headers).json["items"]
    return found


def recorded(gateway: Process, number: int, **headers: str) -> list[dict[str, object]]:
    """The call log once it has that many."""
    found: list[dict[str, object]] = until(
        lambda: len(now := rows(gateway, **headers)) >= number and now, f"{number} calls are in the log"
    )
    assert len(found) == number
    return found


def total(gateway: Process, name: str, **headers: str) -> float:
    """The sum of a metric over all its labels."""
    text = gateway.get("/metrics", **headers).data.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))
