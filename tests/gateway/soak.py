#!/usr/bin/env python3
"""Minutes of mixed load on one gateway: nothing is lost from the log of calls, and nothing grows.

    python3 tests/gateway/soak.py                                ten minutes, twelve callers
    python3 tests/gateway/soak.py --minutes 1 --callers 4 --seed 7

Callers of four protocols ask for plain and streamed answers, relayed and converted, small and large, from models that answer,
refuse, break off, fall silent, and hang up; some callers leave in the middle; the configuration is reloaded every few seconds,
keys are made, used and deleted. Afterwards every request that was answered has one row with its status, every row was
asked for, sums are those of the rows, no request and no connection is left open, and memory and open files at the end are
those of the first third. What is wrong is printed; the exit code is 1. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]

from running import PLAIN, PROTOCOLS, ROOTS, STREAM, WAIT_S, Process, Upstream, ask, chunked, http, made_up, until  # noqa: E402
from storing import differences, kept  # noqa: E402

MINUTES, CALLERS = 10.0, 12
PAUSE_S = 0.1  # between two requests of one caller: a soak, no race
RELOAD_S, SAMPLE_S, KEY_S = 3.0, 1.0, 2.0
LARGE = "a sentence of several words. " * 40_000  # more than a worker process is worth
HELD_S = 0.4  # how long a silent upstream holds a caller that will leave
GROWN = 1.10  # times what it was in the first third; and MORE
MORE_KIB, MORE_FILES = 16_384, 24
TOKEN, ADMIN = made_up("caller"), made_up("admin")
# What callers do, by weight: model, stream, large, leaves in the middle, the token is right.
DEEDS: tuple[tuple[int, str, bool, bool, bool, bool], ...] = (
    (30, "good", False, False, False, True), (30, "good", True, False, False, True), (10, "pair", False, False, False, True),
    (6, "pair", True, False, False, True), (5, "bad", False, False, False, True), (5, "cut", True, False, False, True),
    (4, "held", True, False, True, True), (4, "held", False, False, True, True), (2, "good", False, True, False, True),
    (3, "good", False, False, False, False), (2, "none", False, False, False, True), (2, "reset", False, False, False, True),
)  # fmt: skip


def config(url: str, number: int) -> str:
    """A provider for each protocol, groups over them; `number` makes each reload one."""
    parts = [(f'[server]\ntoken = "{TOKEN}"\nadmin_token = "{ADMIN}"\nlog_level = "warn"\nretry_alone_s = 0\n'
             'drain_s = 5\n[health]\nfailures_to_open = 1000000\n')]  # fmt: skip
    for api in PROTOCOLS:
        parts.append(
            f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{url}{ROOTS[api]}"\napi_key = "{made_up(api)}"\n'
        )
        for name in ("good", "bad", "cut", "held", "reset", f"spare-{number}"):
            parts.append(f'[[models]]\nname = "{name}"\nprovider = "{api}"\n')
        members = f'[{{model = "{api}/bad", priority = 2}}, {{model = "{api}/good"}}]'
        parts.append(f'[[groups]]\nname = "pair-{api}"\nstrategy = "priority"\nmembers = {members}\n')
    return "".join(parts)


def act(sock: Any, asked: Any) -> bool:
    """What the upstream does, by the model; the protocol is that of the path."""
    path = asked.line.split(" ")[1]
    protocol = next(name for name, mark in (("gemini", ":"), ("anthropic", "messages"), ("responses", "responses"),
                                            ("openai", "completions")) if mark in path)  # fmt: skip
    model = path.rpartition("/")[2].partition(":")[0] if protocol == "gemini" else asked.json["model"]
    streams = "stream" in path.lower() if protocol == "gemini" else bool(asked.json.get("stream"))
    first, second, last = STREAM[protocol]
    if model == "bad":
        sock.sendall(http(b'{"error": {"message": "no", "type": "server_error", "code": "no"}}', status="500 X"))
    elif model == "reset":
        return False
    elif model == "cut":
        sock.sendall(chunked(*first, *second).removesuffix(b"0\r\n\r\n"))
        return False
    elif model == "held":
        sock.sendall(chunked(*first, *second).removesuffix(b"0\r\n\r\n") if streams else b"")
        sock.settimeout(WAIT_S)
        with suppress(OSError):
            sock.recv(1)  # until the gateway goes, because its caller has gone
        return False
    else:
        sock.sendall(chunked(*first, *second, *last) if streams else http(json.dumps(PLAIN[protocol]).encode()))
    return True


@dataclass
class Seen:
    """What the callers know."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: dict[str, tuple[int, bool]] = field(default_factory=dict)  # request id -> its status, whether it was read whole
    left: set[str] = field(default_factory=set)  # requests that their callers left, or whose connection broke
    errors: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def next_id(self) -> str:
        with self.lock:
            self.number += 1
            return f"soak-{self.number:07d}"


class Caller(threading.Thread):
    """One that asks again and again, by its own dice, until it is told to stop."""

    def __init__(self, gateway: Process, seen: Seen, seed: int) -> None:
        super().__init__(daemon=True)
        self._gateway, self._seen, self._rng = gateway, seen, random.Random(seed)
        self.stop = threading.Event()
        self._connection: HTTPConnection | None = None

    def run(self) -> None:
        while not self.stop.wait(PAUSE_S * self._rng.uniform(0.5, 1.5)):
            _, model, stream, large, leaves, is_right = self._rng.choices(DEEDS, [deed[0] for deed in DEEDS])[0]
            caller, upstream = self._rng.choice(PROTOCOLS), self._rng.choice(PROTOCOLS)
            named = f"pair-{upstream}" if model == "pair" else f"{upstream}/{model}"
            asked = ask(caller, named, stream=stream, text=LARGE if large else "hi")
            self._one(asked.path, asked.data, leaves, TOKEN if is_right else "a-wrong-one")
        if self._connection is not None:
            self._connection.close()

    def _one(self, path: str, data: bytes, leaves: bool, token: str) -> None:
        seen, request_id = self._seen, self._seen.next_id()
        headers = {"authorization": f"Bearer {token}", "x-request-id": request_id, "content-type": "application/json"}
        connection = self._connection or HTTPConnection(self._gateway.host, self._gateway.port, timeout=WAIT_S)
        self._connection = connection
        try:
            connection.request("POST", path, data, headers)
            if leaves:
                seen.left.add(request_id)
                self.stop.wait(HELD_S * self._rng.random())
                raise OSError
            response = connection.getresponse()
            body = response.read()
            seen.answered[request_id] = (response.status, True)
            if response.status >= 500 and b'"error"' not in body:
                seen.errors[f"a {response.status} without an error in it"] += 1
        except (OSError, HTTPException) as wrong:
            if not leaves:
                seen.left.add(request_id)
                seen.errors[f"{type(wrong).__name__} instead of an answer"] += 1
            connection.close()
            self._connection = None


class Keeper(threading.Thread):
    """Makes keys, uses them and takes them away; reloads the configuration."""

    def __init__(self, gateway: Process, url: str, seen: Seen) -> None:
        super().__init__(daemon=True)
        self._gateway, self._url, self._seen = gateway, url, seen
        self.stop = threading.Event()
        self.reloads = self.keys = 0

    def run(self) -> None:
        next_reload = time.monotonic()
        while not self.stop.wait(KEY_S):
            self._one_key()
            if time.monotonic() >= next_reload:
                next_reload = time.monotonic() + RELOAD_S
                self.reloads += 1
                self._gateway.write(config(self._url, self.reloads))
                self._gateway.signal(signal.SIGHUP)

    def _one_key(self) -> None:
        status, made = self._send("POST", "/api-keys", {"name": f"soak-{self.keys}"}, ADMIN)
        if status != 201:
            self._seen.errors[f"a key was not made: {status}"] += 1
            return
        self.keys += 1
        wish = {"model": "openai/good", "messages": [{"role": "user", "content": "x"}]}
        for wanted in (200, 401):
            request_id = self._seen.next_id()
            status, _ = self._send("POST", "/v1/chat/completions", wish, made["key"], request_id)
            self._seen.answered[request_id] = (status, True)
            if status != wanted:
                self._seen.errors[f"a key gave {status}, not {wanted}"] += 1
            if wanted == 200:
                self._send("DELETE", f"/api-keys/{made['item']['id']}", None, ADMIN)

    def _send(self, method: str, path: str, body: Any, secret: str, request_id: str = "") -> tuple[int, Any]:
        with closing(HTTPConnection(self._gateway.host, self._gateway.port, timeout=WAIT_S)) as connection:
            headers = {"authorization": f"Bearer {secret}", **({"x-request-id": request_id} if request_id else {})}
            connection.request(method, path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")


@dataclass
class Sample:
    """What the gateway's processes have at a moment."""

    at: float
    kib: int  # resident, of the gateway itself
    workers_kib: int
    files: int
    threads: int


def children(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(each) for each in (task / "children").read_text().split()]
    return found


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def kib_of(pid: int) -> int:
    try:
        return int(status_of(pid).get("VmRSS", "0").split()[0])
    except OSError:
        return 0


def sample(gateway: Process) -> Sample:
    pid = gateway._process.pid
    workers = sum(map(kib_of, children(pid)))
    return Sample(time.monotonic(), kib_of(pid), workers, gateway.open_files(), int(status_of(pid)["Threads"]))


def median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]


def grown(samples: list[Sample]) -> list[str]:
    """What is more in the last third than in the first; what a start needs is not counted, for the first tenth is left out."""
    kept_ones = samples[len(samples) // 10 :]
    third = max(1, len(kept_ones) // 3)
    found = []
    for name, more in (("kib", MORE_KIB), ("workers_kib", 4 * MORE_KIB), ("files", MORE_FILES), ("threads", 4)):
        before = median([getattr(each, name) for each in kept_ones[:third]])
        after = median([getattr(each, name) for each in kept_ones[-third:]])
        print(f"{name}: {before} in the first third, {after} in the last", flush=True)
        if after > before * GROWN + more:
            found.append(f"{name} grew from {before} to {after}")
    return found


def missing(path: Path, seen: Seen) -> list[str]:
    """Where the log of calls is not what the callers saw."""
    rows = kept(path)
    times = Counter(row.request_id for row in rows)
    found = [f"{name} is there {count} times" for name, count in times.items() if count > 1]
    found += [f"{name} was never sent" for name in times if name not in seen.answered and name not in seen.left]
    found += [
        f"{name} was answered {status} and has no row" for name, (status, _) in seen.answered.items() if name not in times
    ]
    for row in rows:
        told = seen.answered.get(row.request_id)
        if told is not None and row.status != told[0]:
            found.append(f"{row.request_id} was answered {told[0]} and its row says {row.status}")
    print(f"{len(rows)} rows, {len(seen.answered)} answered, {len(seen.left)} left by their callers", flush=True)
    return [*found, *differences(path)]


def soak(minutes: float, callers: int, seed: int) -> list[str]:
    """What is wrong after so long; [] for nothing."""
    seen, samples = Seen(), list[Sample]()
    with tempfile.TemporaryDirectory(prefix="llm-router-soak-") as folder, Upstream() as upstream:
        upstream.does(act)
        gateway = Process(Path(folder), config(upstream.url, 0))
        keeper = Keeper(gateway, upstream.url, seen)
        threads: list[Caller | Keeper] = [keeper, *(Caller(gateway, seen, seed + number) for number in range(callers))]
        for thread in threads:
            thread.start()
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end and gateway.is_running:
            time.sleep(SAMPLE_S)
            samples.append(sample(gateway))
            upstream.requests.clear()
        for thread in threads:
            thread.stop.set()
        for thread in threads:
            thread.join(WAIT_S)
        wrong = [f"{text}: {count} times" for text, count in seen.errors.items()]
        if not gateway.is_running:
            return [*wrong, f"the gateway ended: {gateway.log[-2000:]}"]
        gateway.token = ADMIN
        until(lambda: open_requests(gateway) <= 1, "no request is open any more")  # but the one that asks
        wrong += grown(samples)
        print(f"{keeper.reloads} reloads, {keeper.keys} keys", flush=True)
        if gateway.end() != 0:
            wrong.append("the gateway did not end well")
        return [*wrong, *gateway.faults()[:5], *missing(Path(folder) / "router.db", seen)[:20]]


def open_requests(gateway: Process) -> int:
    text = gateway.get("/metrics").data.decode()
    return int(float(next(line.split()[-1] for line in text.splitlines() if line.startswith("llm_router_open_requests "))))


def main() -> int:
    parser = argparse.ArgumentParser(description="Minutes of mixed load on one gateway.")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--callers", type=int, default=CALLERS)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("a soak needs /proc")
        return 77
    print(f"seed {options.seed}", flush=True)
    wrong = soak(options.minutes, options.callers, options.seed)
    for text in wrong:
        print(f"wrong: {text}")
    print(f"{len(wrong)} things are wrong after {options.minutes:g} minutes" if wrong else
          f"nothing is lost and nothing grows in {options.minutes:g} minutes")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
