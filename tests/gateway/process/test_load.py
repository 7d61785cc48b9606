"""Five thousand calls, with reloads, revoked keys, a kill -9 and a restart among them: the log has what the callers saw."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from running import PLAIN, STREAM, Process, Upstream, chunked, http, made_up, openai_event, until
from storing import differences, kept

from llm_router_gateway.store.sqlite.file import connect

pytestmark = pytest.mark.slow

CALLS, CALLERS = 5_000, 12
KILLED_AFTER, RELOAD_EVERY = 2_600, 400
LAST_SECOND_S = 1.0
TOKEN, ADMIN, UPSTREAM_KEY = made_up("caller"), made_up("admin"), made_up("upstream")
USAGE = {"usage": {"prompt_tokens": 11, "completion_tokens": 7}}
# (model, stream, token is right) -> status, how it ends; in turns
WISHES = (
    ("up/good", False, True), ("up/good", True, True), ("pair", False, True), ("up/bad", False, True), ("up/cut", True, True),
    ("up/good", False, False), ("up/none", False, True), ("up/good", False, True),
)  # fmt: skip
ENDS = {("up/bad", 400): "error", ("up/cut", 200): "cut", ("up/good", 401): "refused", ("up/none", 404): "error"}


def config(url: str, number: int) -> str:
    """`number` makes each reload one."""
    names = "".join(f'[[models]]\nname = "{name}"\nprovider = "up"\n' for name in ("good", "bad", "cut", f"spare-{number}"))
    return (
        f'[server]\ntoken = "{TOKEN}"\nadmin_token = "{ADMIN}"\n[health]\nfailures_to_open = 1000000\n'
        '[[providers]]\nname = "up"\napi = "openai"\n'
        f'base_url = "{url}/v1"\napi_key = "{UPSTREAM_KEY}"\n{names}'
        '[[groups]]\nname = "pair"\nstrategy = "priority"\nmembers = [{model = "up/bad", priority = 2}, {model = "up/good"}]\n'
    )


def act(sock: Any, asked: Any) -> bool:
    """By the model: an answer, a refusal, a stream that breaks off."""
    body = asked.json
    if body["model"] == "bad":
        status = "503 Service Unavailable" if body.get("user") == "group" else "400 Bad Request"
        sock.sendall(http(b'{"error": {"message": "no", "type": "server_error", "code": "no"}}', status=status))
        return True
    if body["model"] == "cut":
        sock.sendall(chunked(openai_event("y")).removesuffix(b"0\r\n\r\n"))
        return False
    if body.get("stream"):
        first, second, last = STREAM["openai"]
        sock.sendall(chunked(*first, *second, *last))
    else:
        sock.sendall(http(json.dumps({**PLAIN["openai"], **USAGE}).encode()))
    return True


@dataclass
class Seen:
    """What the callers know of their calls."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: dict[str, tuple[str, int, float]] = field(default_factory=dict)  # id -> model, status, when
    unknown: set[str] = field(default_factory=set)  # sent, and the connection broke
    next_number: int = 0

    def take(self) -> int | None:
        with self.lock:
            self.next_number += 1
            return self.next_number - 1 if self.next_number <= CALLS else None


class Traffic:
    """Callers at a gateway that may be gone for a while."""

    def __init__(self, seen: Seen) -> None:
        self.seen, self.address = seen, ("", 0)
        self.threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]

    def _call(self) -> None:
        connection: HTTPConnection | None = None
        at = ("", 0)
        while (number := self.seen.take()) is not None:
            if connection is None or at != self.address:
                at = self.address
                connection = HTTPConnection(*at, timeout=15)
            if not self._one(connection, number):
                connection.close()
                connection = None
                until(lambda at=at: self.address != at)
        if connection is not None:
            connection.close()

    def _one(self, connection: HTTPConnection, number: int) -> bool:
        """Whether there was an answer; without one the gateway is gone."""
        model, stream, is_right = WISHES[number % len(WISHES)]
        user = "group" if model == "pair" else "x"
        wish = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}], "user": user}
        name = f"load-{number:05d}"
        headers = {"authorization": f"Bearer {TOKEN if is_right else UPSTREAM_KEY}", "x-request-id": name}
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(wish), headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            self.seen.unknown.add(name)
            return False
        self.seen.answered[name] = (model, response.status, time.monotonic())
        return True


@pytest.fixture
def busy(upstream: Upstream) -> Iterator[Upstream]:
    upstream.does(act)
    yield upstream


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_the_log_is_what_the_callers_saw(start: Callable[..., Process], busy: Upstream, tmp_path: Path) -> None:
    seen = Seen()
    traffic = Traffic(seen)
    process = start(config(busy.url, 0))
    traffic.address = (process.host, process.port)
    for thread in traffic.threads:
        thread.start()
    reloads = reloaded(seen, process, busy.url, KILLED_AFTER)
    process.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    process.ended()
    assert not differences(tmp_path / "router.db")
    process = start(config(busy.url, 1))
    traffic.address = (process.host, process.port)
    reloads += reloaded(seen, process, busy.url, CALLS)
    for thread in traffic.threads:
        thread.join(30)
    assert process.end() == 0 and reloads >= 8
    compare(tmp_path / "router.db", seen, killed_at)


def reloaded(seen: Seen, process: Process, url: str, limit: int) -> int:
    """Reloads until so many calls were made; how often."""
    count = 0
    while seen.next_number < limit:
        at = min(limit, seen.next_number + RELOAD_EVERY)
        until(lambda at=at: seen.next_number >= at, limit_s=60)
        process.write(config(url, seen.next_number))
        process.signal(signal.SIGHUP)
        revoked(seen, process, f"{process.port}-{count}")
        count += 1
    return count


def revoked(seen: Seen, process: Process, name: str) -> None:
    """A key is made, used, taken away, and used in vain: both calls are in the log."""

    def send(method: str, path: str, body: Any, secret: str, request_id: str = "") -> tuple[int, Any]:
        with closing(HTTPConnection(process.host, process.port, timeout=15)) as connection:
            headers = {"authorization": f"Bearer {secret}", **({"x-request-id": request_id} if request_id else {})}
            connection.request(method, path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    status, made = send("POST", "/api-keys", {"name": name}, ADMIN)
    assert status == 201, made
    wish = {"model": "up/good", "messages": [{"role": "user", "content": "x"}]}
    for used, expected in (("used", 200), ("gone", 401)):
        request_id = f"key-{used}-{name}"
        status, answer = send("POST", "/v1/chat/completions", wish, made["key"], request_id)
        assert status == expected, answer
        seen.answered[request_id] = ("up/good", status, time.monotonic())
        if used == "used":
            assert send("DELETE", f"/api-keys/{made['item']['id']}", None, ADMIN)[0] == 204


def compare(path: Path, seen: Seen, killed_at: float) -> None:
    assert not differences(path)
    rows = kept(path)
    times = Counter(row.request_id for row in rows)
    assert not [name for name, count in times.items() if count > 1], "calls that are there twice"
    assert times.keys() <= seen.answered.keys() | seen.unknown, "calls that nobody made"
    missing = {name: told for name, told in seen.answered.items() if name not in times}
    early = [told for told in missing.values() if not killed_at - LAST_SECOND_S <= told[2] <= killed_at + 0.1]
    assert not early, f"{len(early)} calls are missing that were answered more than a second before the kill"
    assert len(seen.answered) >= CALLS - CALLERS and len(seen.unknown) <= CALLERS
    for row in rows:
        if row.request_id in seen.answered:
            model, status, _ = seen.answered[row.request_id]
            assert (row.asked if status != 401 else model, row.status) == (model, status), row
            assert row.ended == ENDS.get((model, status), "complete"), row
            assert row.attempts == (2 if model == "pair" else 0 if status in (401, 404) else 1), row
    with closing(connect(str(path), reads=True)) as db:
        told = db.execute("SELECT count(*) FROM calls WHERE input_tokens = 11 AND output_tokens = 7").fetchone()[0]
    plain = sum(row.ended == "complete" and not row.stream for row in rows)
    assert told == plain
