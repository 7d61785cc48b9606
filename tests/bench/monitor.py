"""What the monitor answers over 1,000,000 calls, how long each answer takes, and what live traffic feels of it.

    python3.11 tests/bench/monitor.py             stores of 30 days and of one day are made, measured and removed
    python3.11 tests/bench/monitor.py DIRECTORY   they stay there for the next run; they are made anew after a day

Prints one table; exit code 1 where a limit is missed. Answers are timed in this process, over the store's own threads, from
the parameters to the bytes; the live part talks to a gateway that has the store of 30 days beside its configuration.
Linux only.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import parse_qsl

from measure import SCRIPTS, Bench, Failed, Row, median, mib, ms, report
from sides import CHAT, OURS, Sides
from traffic import Traffic

sys.path.insert(0, str(SCRIPTS))

from llm_router_gateway.errors import NotFound
from llm_router_gateway.management.metrics import Metrics
from llm_router_gateway.management.monitor_api import MonitorApi
from llm_router_gateway.net import caller
from llm_router_gateway.net.router import ManagementRequest, Router
from llm_router_gateway.store.call import Call
from llm_router_gateway.store.query import MINUTES_KEPT_S
from llm_router_gateway.store.sql_call_log import SqlCallLog
from llm_router_gateway.store.sqlite import file
from llm_router_gateway.store.sqlite import rows as storerows
from llm_router_gateway.store.sqlite.database import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence

ROWS = 1_000_000
BATCH = 20_000
DAY_S = 86_400
SHAPES = {"30 days": 30 * DAY_S, "one day": DAY_S}
TIMES = 7  # each answer
LIMIT_S = 0.3
MODELS, KEYS = 12, 25  # a few of each have most of the calls
ERRORS = ("rate_limited", "upstream_failed", "upstream_timeout", "model_not_found", "client_gone")
LIVE_ANSWERS, LIVE_ROUNDS, CALLERS = 8_000, 5, 16
PAGES = (1, 5, 20)  # open monitor pages, each of which asks anew
PAGE_EVERY_S = 5.0  # so often
LIMIT_LIVE = 0.9

QUESTIONS = (
    "statistics?range=1h", "statistics?range=24h", "statistics?range=7d&group_by=provider", "statistics?range=30d",
    "statistics?range=30d&group_by=key", "statistics?range=24h&group_by=key&model=provider-1/model-1",
    "statistics?range=30d&status=error", "statistics?range=30d&stream=1", "statistics?range=30d&search=team-3",
    "time-series?range=1h", "time-series?range=24h", "time-series?range=24h&granularity=minute", "time-series?range=7d",
    "time-series?range=30d", "time-series?range=30d&granularity=hour",
    "time-series?range=30d&granularity=hour&key=key-3&provider=provider-1", "time-series?range=30d&protocol=gemini",
    "grouped-time-series?range=24h", "grouped-time-series?range=7d&group_by=key", "grouped-time-series?range=30d",
    "grouped-time-series?range=30d&granularity=hour&group_by=key",
    "grouped-time-series?range=24h&granularity=minute&limit=1", "grouped-time-series?range=30d&status=error",
    "invocations", "invocations?range=24h", "invocations?limit=1000", "invocations?offset=9900&limit=100",
    "invocations?status=error", "invocations?status=429", "invocations?model=provider-3/model-11", "invocations?key=key-24",
    "invocations?client=10.0.3.77", "invocations?search=team-7", "invocations?search=nothing-like-it",
    "invocations?range=7d&search=0123", "invocations?order_by=duration_ms", "invocations?order_by=total_tokens",
    "invocations?order_by=cost_usd&range=24h", "invocations?order_by=cost_usd&model=model-3", "invocations/777777",
    "invocations/no-such-call",
)  # fmt: skip
PAGE_ASKS = (
    "statistics?range=24h", "time-series?range=24h", "grouped-time-series?range=24h", "invocations?limit=50",
    "invocations?search=team-7",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- the rows


def made(rng: random.Random, started_ms: int) -> Call:
    """A call as they come: five of a hundred fail, sixty are streamed, few models and keys have most of them."""
    model, key = min(int(rng.expovariate(0.35)), MODELS - 1), min(int(rng.expovariate(0.12)), KEYS - 1)
    provider, name = f"provider-{model % 4}", f"model-{model}"
    error = rng.choice(ERRORS) if rng.random() < 0.05 else ""
    gone, stream = error == "client_gone", rng.random() < 0.6
    duration_ms = round(rng.lognormvariate(7.5, 1), 3)
    tokens_in, tokens_out = (None, None) if error else (int(rng.expovariate(1 / 900)), int(rng.expovariate(1 / 300)))
    return Call(
        f"{rng.getrandbits(64):016x}", started_ms, round(duration_ms * rng.random(), 3) if stream else None, duration_ms,
        "chat", rng.choice(("openai", "anthropic", "gemini")), "openai", int(stream), name, f"{provider}/{name}", provider,
        name, 1, "[]", 200 if not error else 499 if gone else 429, error,
        f"{provider}/{name}: the upstream refused it, request {rng.getrandbits(32)}" if error else "",
        "complete" if not error else "client_gone" if gone else "error", "" if error else "stop", tokens_in, tokens_out,
        tokens_in and tokens_in // 3, 0, 0, None if error else ((tokens_in or 0) * 3 + (tokens_out or 0) * 15) / 1e6,
        "" if error else "prices", f"key-{key}", f"team-{key}", f"10.0.{key}.{rng.randrange(250)}", "[]",
    )  # fmt: skip


def build(path: Path, length_s: int, end_s: float) -> None:
    """A store with ROWS calls until end_s, written as the gateway writes them, in larger batches."""
    for tail in ("", "-wal", "-shm", ".lock"):
        Path(f"{path}{tail}").unlink(missing_ok=True)
    db, rng = file.open_writer(str(path), int(end_s * 1_000)), random.Random(1)
    db.execute("PRAGMA synchronous = OFF")
    step_ms = length_s * 1_000 / ROWS
    for at in range(0, ROWS, BATCH):
        calls = [made(rng, int((end_s - length_s) * 1_000 + number * step_ms)) for number in range(at, at + BATCH)]
        db.execute("BEGIN")
        storerows.put(db, [(call, None) for call in calls])
        db.execute("DELETE FROM rollups WHERE step_s = 60 AND at_s < ?", (calls[-1].started_ms / 1_000 - MINUTES_KEPT_S,))
        db.execute("COMMIT")
    db.execute("PRAGMA incremental_vacuum").fetchall()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def stores(directory: Path) -> Dict[str, Path]:
    """The stores, made unless they are there and of today."""
    found = {name: directory / f"{name.replace(' ', '-')}.db" for name in SHAPES}
    for name, path in found.items():
        if not path.exists() or time.time() - path.stat().st_mtime > DAY_S / 4:
            print(f"making the store of {name}", file=sys.stderr, flush=True)
            build(path, SHAPES[name], time.time())
    return found


# ---------------------------------------------------------------------------------------------------------- the answers


async def seconds_of(desk: Router, monitor: MonitorApi, question: str) -> float:
    """One answer, made anew."""
    monitor._same.clear()
    path, _, query = f"monitor/{question}".partition("?")
    began_s = time.perf_counter()
    route, args = desk.find("GET", path)
    try:
        request = ManagementRequest("GET", path, args, dict(parse_qsl(query)), {}, None, "", caller.ANONYMOUS)
        answer = await route.handler(request)
    except NotFound:
        return time.perf_counter() - began_s
    took_s = time.perf_counter() - began_s
    if not isinstance(answer.body, bytes) or len(answer.body) < 100:
        raise Failed(f"{question}: {answer.body!r}")
    return took_s


async def answered(path: Path) -> Dict[str, List[float]]:
    """Each question several times, in turns."""
    end_s = path.stat().st_mtime
    store = Store.open(str(path))
    monitor = MonitorApi(SqlCallLog(store), Metrics(), now=lambda: end_s)
    desk = Router(monitor.routes())
    found: Dict[str, List[float]] = {question: [] for question in QUESTIONS}
    try:
        for _ in range(TIMES):
            for question in QUESTIONS:
                found[question].append(await seconds_of(desk, monitor, question))
    finally:
        store.close()
    return found


def answer_rows(paths: Dict[str, Path]) -> List[Row]:
    """For each question the median, and the worst of all, which is what is judged."""
    found = {name: asyncio.run(answered(path)) for name, path in paths.items()}
    rows = []
    for question in QUESTIONS:
        for name, times in found.items():
            worst = max(times[question])
            what = f"`{question.replace('|', ' ')}`, {name}"
            rows.append(Row(what, ms(median(times[question])), ms(worst), None, f"<= {ms(LIMIT_S)}", worst <= LIMIT_S))
    return rows


# --------------------------------------------------------------------------------------------------------- live traffic


class Readers:
    """Open monitor pages: each asks all of PAGE_ASKS, then waits. They begin spread over the time."""

    def __init__(self, base_url: str, token: str, count: int) -> None:
        self._base_url, self._token, self._count = base_url, token, count
        self._over = threading.Event()
        self.answers, self.worst_s = 0, 0.0
        self.errors: List[str] = []
        self._threads = [threading.Thread(target=self._page, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _page(self, number: int) -> None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        wait_s = PAGE_EVERY_S * number / self._count
        while not self._over.wait(wait_s):
            began_s = time.perf_counter()
            for question in PAGE_ASKS:
                asked_s = time.perf_counter()
                request = urllib.request.Request(f"{self._base_url}/monitor/{question}")
                request.add_header("authorization", f"Bearer {self._token}")
                try:
                    with direct.open(request, timeout=60) as response:
                        response.read()
                except OSError as wrong:
                    self.errors.append(f"{question}: {wrong}")
                self.answers += 1
                self.worst_s = max(self.worst_s, time.perf_counter() - asked_s)
            wait_s = max(0.0, PAGE_EVERY_S - (time.perf_counter() - began_s))


def pages(base_url: str, count: int) -> int:
    """The process of the readers, until its stdin ends: apart from the callers, whose speed is measured."""
    with Readers(base_url, os.environ["BENCH_TOKEN"], count) as readers:
        sys.stdin.read()
    print(json.dumps([readers.answers, readers.errors[:3], readers.worst_s]))
    return 0


def speed(traffic: Traffic, side: Any) -> float:
    """Answers per second of wall."""
    done = traffic.run(side.address, [side.request(CHAT, stream=False)] * CALLERS, LIVE_ANSWERS).checked()
    return done.answers / done.wall_s


def live_rows(path: Path, directory: Path) -> List[Row]:
    """The speed of ordinary requests with and without readers, in turns; every call is recorded all the while."""
    with Bench() as bench, Traffic() as traffic, Sides(bench, traffic, directory) as sides:
        copy(path, bench.scratch / "router.db")
        token = os.urandom(16).hex()
        bench.env["LLM_ROUTER_ADMIN_TOKEN"] = token
        side = sides.start(OURS)
        speed(traffic, side)
        env = {**bench.env, "BENCH_TOKEN": token}
        return [row for count in PAGES for row in beside_pages(traffic, side, env, count)]


def beside_pages(traffic: Traffic, side: Any, env: Dict[str, str], count: int) -> List[Row]:
    """The same for so many open pages."""
    alone: List[float] = []
    beside: List[float] = []
    answers, worst_s = 0, 0.0
    command = [sys.executable, __file__, "--pages", f"http://127.0.0.1:{side.address[1]}", str(count)]
    for number in range(LIVE_ROUNDS):
        alone.append(speed(traffic, side))
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as readers:
            time.sleep(2.0)
            beside.append(speed(traffic, side))
            told = json.loads(readers.communicate(timeout=60)[0])
        if told[1]:
            raise Failed(f"answers failed: {told[1]}")
        answers, worst_s = answers + told[0], max(worst_s, told[2])
        print(f"{count} pages, live round {number + 1} of {LIVE_ROUNDS}", file=sys.stderr, flush=True)
    share = median(beside) / median(alone)
    what = f"live answers per second beside {count} open pages, each asking {len(PAGE_ASKS)} times in {PAGE_EVERY_S:g} s"
    return [
        Row(f"{what}; peer without them", f"{median(beside):,.0f}", f"{median(alone):,.0f}", share, f">= {LIMIT_LIVE} x",
            share >= LIMIT_LIVE),
        Row(f"the slowest of {answers} answers to {count} pages under full load", ms(worst_s)),
    ]  # fmt: skip


def copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Make the stores, measure, print the table."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--pages"]:
        return pages(words[1], int(words[2]))
    if len(words) > 1 or words[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0 if len(words) == 1 else 2
    with tempfile.TemporaryDirectory(prefix="llm-router-monitor-") as temporary:
        directory = Path(words[0] if words else temporary).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        paths = stores(directory)
        rows = [Row(f"file of {ROWS:,} calls, {name}; peer each call", mib(path.stat().st_size),
                    f"{path.stat().st_size / ROWS:,.0f} bytes") for name, path in paths.items()]  # fmt: skip
        rows += live_rows(paths["30 days"], directory) + answer_rows(paths)
        return report(rows)


if __name__ == "__main__":
    sys.exit(main())
