"""What the store in PostgreSQL costs and takes: its writer, and the page's queries over a million calls.

python3 tests/bench/scale_postgres.py [CALLS]      a table; 1 when a limit is missed

It starts a PostgreSQL of its own with the settings of a real one (everything is synced), and needs psycopg and the server's
package. Times are the shortest of several, since other programs have the machine, too; CPU times are this process's alone.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from logged import call
from postgres_server import PostgresServer, missing

from llm_router_gateway.store import queries
from llm_router_gateway.store.call import Call
from llm_router_gateway.store.postgres import driver, migrations, partitions, rows
from llm_router_gateway.store.postgres.database import PostgresStore
from llm_router_gateway.store.query import DAY_S, HOUR_S, Page, Span, Where

CALLS, DAYS, MODELS, KEYS = 1_000_000, 30, 20, 40
BURST = 7_500  # a quarter second of 30,000 calls a second
BURSTS = 16
ROUNDS = 7
NOW_S = 1_792_567_680 // DAY_S * DAY_S + 15 * HOUR_S
SETTINGS = ("shared_buffers = 256MB", "max_wal_size = 4GB")  # all else as the package has it: fsync and synchronous_commit on


def some(rng: random.Random, started_ms: int) -> Call:
    model, key = int(rng.triangular(0, MODELS, 0)), int(rng.triangular(0, KEYS, 0))
    failed = rng.random() < 0.05
    return call(
        request_id=f"{rng.getrandbits(64):016x}", started_ms=started_ms, provider=f"up-{model % 4}", model=f"model-{model}",
        key_id=f"key-{key}", key_name=f"team-{key}",
        duration_ms=rng.lognormvariate(6.5, 1), first_ms=rng.lognormvariate(5, 0.7),
        error="upstream_failed" if failed else "", status=502 if failed else 200, ended="error" if failed else "complete",
        input_tokens=rng.randrange(4_000), output_tokens=rng.randrange(1_000), cost_usd=rng.random() / 100,
    )  # fmt: skip


def fill(address: str, count: int) -> None:
    """So many calls, evenly over DAYS days until NOW_S."""
    rng, gap_ms = random.Random(1), DAYS * DAY_S * 1_000 / count
    with driver.Guard() as guard:
        session, ids = driver.connect(address, "fill", guard), (rows.Ids(), rows.Labels())
        migrations.apply(session)
        for statement in rows.STAGING:
            session.execute(statement)
        for first in range(0, count, 20_000):
            batch = [
                some(rng, int(NOW_S * 1_000 - (count - number) * gap_ms)) for number in range(first, min(count, first + 20_000))
            ]
            with session.raw.transaction():
                partitions.ensure(session, rows.days_of(batch))
                rows.put(session, *ids, batch, [])
        session.execute("VACUUM ANALYZE")
        session.close()


def writer(address: str) -> list[tuple[str, float, str, float, bool]]:
    """Bursts as the gateway's own thread writes them: from the hand-over until they are stored."""
    rng = random.Random(2)
    bursts = [[some(rng, NOW_S * 1_000 + at * 250 + each // 30) for each in range(BURST)] for at in range(BURSTS)]
    store = PostgresStore.open(address)
    for each in bursts[0]:
        store.add(each)
    assert store.flush(60)  # the partition, the plans
    rates, costs = [], []
    for burst in bursts[1:]:
        began, cpu = time.perf_counter(), time.process_time()
        with_gil = time.thread_time()
        for each in burst:
            store.add(each)
        handed = time.thread_time() - with_gil
        assert store.flush(60), store.health()
        rates.append(BURST / (time.perf_counter() - began))
        costs.append((time.process_time() - cpu) / BURST * 1e6)
    store.close()
    print(f"(handed over: {handed / BURST * 1e6:.1f} us a call; median {sorted(rates)[len(rates) // 2]:,.0f} calls/s, "
          f"{sorted(costs)[len(costs) // 2]:.1f} us)")  # fmt: skip
    return [("writer, calls a second, roll-ups included", max(rates), ">=", 30_000, max(rates) >= 30_000),
            ("writer, client CPU us a call", min(costs), "<=", 15, min(costs) <= 15)]  # fmt: skip


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds, the shortest of ROUNDS after one that warms up."""
    work()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return min(times)


def reads(address: str) -> list[tuple[str, float, str, float, bool]]:
    span = {name: Span(NOW_S - length, NOW_S, step) for name, length, step in (
        ("1 h", HOUR_S, 60), ("24 h", DAY_S, HOUR_S), ("7 d", 7 * DAY_S, HOUR_S), ("30 d", 30 * DAY_S, DAY_S))}  # fmt: skip
    span["30 d"] = Span((NOW_S // DAY_S - 29) * DAY_S, (NOW_S // DAY_S + 1) * DAY_S, DAY_S)
    with driver.Guard() as guard:
        db = driver.connect(address, "bench", guard, reads=True)
        named = [row[0] for row in db.execute("SELECT request_id FROM calls WHERE id % 1000 = 7 LIMIT 200").fetchall()]
        turn, newest = iter(named * 10), Page(limit=50)
        works: list[tuple[str, Callable[[], Any], float]] = [
            *((f"statistics, {name}, by {by}", lambda each=each, by=by: queries.statistics(db, each, Where(), by, 20), 60.0)
              for name, each in span.items() for by in ("model", "key")),
            ("series, 30 d", lambda: queries.series(db, span["30 d"], Where()), 60.0),
            ("by request id", lambda: queries.one(db, next(turn)), 1.0),
            *((f"{name}, and their number", lambda where=where: queries.find_page(db, newest, where, time.monotonic), limit)
              for name, where, limit in (("latest 50", Where(), 5.0), ("latest 50 of one key", Where(key="key-35"), 100.0),
                                         ("latest 50 of a key without calls", Where(key="none"), 100.0))),
        ]  # fmt: skip
        found = []
        for name, work, limit in works:
            if name == "by request id":
                for _ in range(20):
                    work()
            ms = timed(work)
            found.append((f"{name}, ms", ms, "<=", limit, ms <= limit))
        db.close()
    return found


def main() -> int:
    why = missing()
    if why:
        print(why)
        return 2
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    with PostgresServer(*SETTINGS) as server:
        lines = writer(server.database())
        address = server.database()
        began = time.perf_counter()
        fill(address, count)
        print(f"({count:,} calls over {DAYS} days in {time.perf_counter() - began:.0f} s)")
        lines += reads(address)
    print("| what | measured | limit | ok |\n| --- | ---: | --- | --- |")
    for name, value, sign, limit, is_met in lines:
        print(f"| {name} | {value:,.1f} | {sign} {limit:,g} | {'yes' if is_met else '**no**'} |")
    return 0 if all(line[-1] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
