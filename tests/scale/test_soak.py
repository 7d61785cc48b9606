"""Two gateways of two workers behind nginx, with Redis and PostgreSQL, under mixed load while every part is killed in turn.

    LLM_ROUTER_MATRIX=1                five minutes of faults instead of a third of one
    LLM_ROUTER_SOAK_SECONDS=60         so many
    LLM_ROUTER_SOAK_SEED=7             another order of faults

What holds at the end is in the tests of `Verdict`, a rule each; the summary is printed (pytest -s).
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from deployment import Deployment, Place, config_with, need_all
from running import made_up, until
from soak_faults import Fault, Faults
from soak_load import COST_USD, MAX_TOKENS, Answers, Load, Made

pytestmark = pytest.mark.slow

LONG = bool(os.environ.get("LLM_ROUTER_MATRIX"))
SECONDS = float(os.environ.get("LLM_ROUTER_SOAK_SECONDS") or (300.0 if LONG else 20.0))
SEED = int(os.environ.get("LLM_ROUTER_SOAK_SEED") or 1)
MICRO = 1_000_000
SMALL_USD, MIDDLE_USD = 0.003 * SECONDS, 0.008 * SECONDS  # a month; the load uses up the first, and not the second
TOKENS_A_MONTH = round(500 * SECONDS)
RATE = 20  # requests a second of the key `rated`
SLOTS = 3
HEALED_S = 90.0  # for everything to be as before the faults; leases of the dead end after half a minute
KILLS = ("worker killed", "gateway killed", "home killed")
BREAKS = (*KILLS, "nginx restarted")  # what may cut a connection; a restart in good order may not
STORES = ("redis frozen", "redis restarted", "redis flushed", "postgres frozen", "postgres killed", "postgres restarted")
# How old what a killed process had not handed over may be: a worker sends ten times a second, a home commits four times;
# while PostgreSQL does not answer, calls are in memory for five seconds (until it counts as away) and two more.
LATE_S, LATE_AWAY_S = 2.0, 9.0
GRACE_S = 2.0  # after a fault is over, on a busy machine
SLOWEST_S = 12.0  # of a call; one that no fault meets takes half a second at the most, on a machine that is not busy
REPLACED_S = 5.0  # until most killed workers have a successor; half a second on a machine that is not busy
MORE_KIB, GROWN = 12_288, 1.25  # of memory, over what a process had when it was SETTLED_S old
SETTLED_S = 20.0
MOST_FILES = 80  # open files of a process without load
PRICES = "input_usd_per_mtok = 1, output_usd_per_mtok = 10"
BUDGETS = {"small": SMALL_USD, "middle": MIDDLE_USD}  # US dollars
TERMS = {
    "free": "", "rated": f"limits = {{ max_requests = {RATE}, per_seconds = 1 }}",
    "slots": f"limits = {{ max_concurrent = {SLOTS} }}",
    **{name: f"budget = {{ usd_per_month = {usd} }}" for name, usd in BUDGETS.items()},
    "large": "budget = { usd_per_month = 1000 }", "tokens": f"budget = {{ tokens_per_month = {TOKENS_A_MONTH} }}",
}  # fmt: skip


def config(upstream: str, secrets: dict[str, str]) -> str:
    """With {store} and {state}, which the deployment knows."""
    models = "".join(f'[[o.models]]\nname = "{name}"\nconfig = {{ {PRICES} }}\n' for name in ("good", "slow", "bad", "cut"))
    keys = "".join(f'[[keys]]\nname = "{name}"\nkey = "{secrets[name]}"\n{terms}\n' for name, terms in TERMS.items())
    return config_with(upstream, models, keys, server="drain_s = 10")


# ------------------------------------------------------------------------------------------------- what is looked at


class Sizes:
    """The memory of every process, second by second."""

    def __init__(self, site: Deployment) -> None:
        self._site, self._stop = site, threading.Event()
        self.known: dict[int, list[tuple[float, int]]] = defaultdict(list)  # process -> (when, KiB)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            for pid in self._site.leftovers():
                with suppress(OSError, TypeError):
                    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                    self.known[pid].append((time.monotonic(), int(found[1])))  # type: ignore[index]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def grown(self, alive: list[int]) -> list[str]:
        """Processes that have more at the end than soon after their start."""
        found = []
        for pid in alive:
            rows = self.known[pid]
            settled = [kib for at, kib in rows if at >= rows[0][0] + SETTLED_S]
            if len(settled) > 5 and settled[-1] > settled[0] * GROWN + MORE_KIB:
                found.append(f"process {pid}: {settled[0]} KiB, {settled[-1]} at the end")
        return found


@dataclass
class Row:
    """A call of the log."""

    id: str
    status: int
    cost_usd: float
    key: str
    key_id: str
    tokens: int


@dataclass
class Verdict:
    """Everything that is known when it is over."""

    load: Load
    answers: Answers
    faults: list[Fault]
    rows: list[Row]
    ledgers: dict[str, tuple[float, int]]  # key's id -> US dollars and tokens, of this month
    engine: dict[str, tuple[int, int, tuple[Any, ...]]]  # key -> spent micro-USD, spent tokens, leases of the dead
    began: float
    losses: int  # of Redis's memory
    by_id: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_id = {row.id: row for row in self.rows}

    def course(self) -> list[str]:
        """The faults in their order, by the clock of the run, which calls in messages have as well."""
        rows = ((fault.began - self.began, fault.until - self.began, fault.kind, fault.place) for fault in self.faults)
        return [f"{began:.2f} to {until:.2f} s: {kind} {place if place >= 0 else ''}" for began, until, kind, place in rows]

    # -- the log

    def twice(self) -> list[str]:
        return [name for name, count in Counter(row.id for row in self.rows).items() if count > 1]

    def lost(self) -> list[Made]:
        """Calls that a gateway answered and that are not in the log."""
        return [made for made in self.load.calls if made.is_answered and made.id not in self.by_id]

    def is_excused(self, made: Made) -> bool:
        """Whether the process that answered it may have been killed before it had handed it over."""
        return any(fault.kind in KILLS and fault.place == made.place
                   and fault.began - (LATE_AWAY_S if self.is_store_away(fault.began) else LATE_S) <= made.ended
                   and made.ended <= (fault.until or fault.began) + GRACE_S
                   for fault in self.faults)  # fmt: skip

    def is_store_away(self, at: float) -> bool:
        return any(fault.kind.startswith("postgres") and fault.is_near(at, after_s=LATE_AWAY_S) for fault in self.faults)

    def lost_for_no_reason(self) -> list[Made]:
        return [made for made in self.lost() if not self.is_excused(made)]

    def different(self) -> list[tuple[Made, int]]:
        """Calls whose status in the log is not the one that the caller saw."""
        return [(made, self.by_id[made.id].status) for made in self.load.calls
                if made.is_answered and made.id in self.by_id and self.by_id[made.id].status != made.status]  # fmt: skip

    def invented(self) -> list[str]:
        known = {made.id for made in self.load.calls}
        return [row.id for row in self.rows if row.key and row.id not in known]

    # -- callers

    def hung(self) -> list[Made]:
        return [made for made in self.load.calls if made.how == "hung" or made.ended - made.began > SLOWEST_S]

    def broken(self) -> list[Made]:
        """Calls without a whole answer, though nothing between caller and worker was killed meanwhile."""
        return [made for made in self.load.calls
                if (made.how == "gone" or (made.how == "cut" and made.model != "cut"))
                and not any(fault.kind in BREAKS and fault.began - GRACE_S <= made.ended
                            and made.began <= (fault.until or fault.began) + GRACE_S for fault in self.faults)]  # fmt: skip

    def refused(self) -> list[Made]:
        """Calls that were refused with a status that their key and model do not explain."""
        return [made for made in self.load.calls if made.is_answered and not self.is_right(made)]

    def is_right(self, made: Made) -> bool:
        status = made.status
        if status == 503 and made.code in (
            "budget_unknown",
            "keys_out_of_reach",
            "store_unreadable",
            "key_unknown",
            "unavailable",
        ):
            return self.is_disturbed(made)
        if (made.key, status) in {("rated", 429), ("slots", 429), ("small", 402), ("middle", 402), ("tokens", 402)}:
            return True
        return status >= 500 if made.model == "bad" else status == 200

    def is_disturbed(self, made: Made) -> bool:
        """Whether an engine was away, or lost its memory, or a gateway began anew, within the time that leases live."""
        return any(fault.kind in (*STORES, *KILLS, "gateway restarted") and fault.is_near(made.ended, after_s=45.0)
                   for fault in self.faults)  # fmt: skip

    # -- budgets and limits

    def cost(self, key: str) -> float:
        return sum(row.cost_usd for row in self.rows if row.key == key)

    def over_spent(self) -> list[str]:
        """Budgets with more in the log than they allow."""
        found = [f"{key}: {self.cost(key):.6f} of {limit:.6f} USD" for key, limit in BUDGETS.items()
                 if self.cost(key) > limit + 1e-6]  # fmt: skip
        tokens = sum(row.tokens for row in self.rows if row.key == "tokens")
        return found + ([f"{tokens} of {TOKENS_A_MONTH} tokens"] if tokens > TOKENS_A_MONTH else [])

    def stranded(self, key: str) -> float:
        """What leases of processes that died hold of a budget, in US dollars."""
        return sum(usd for _, usd, _ in self.engine[key][2]) / MICRO

    def counted_twice(self, key: str) -> float:
        """What the engine counts as spent beyond the log, in US dollars."""
        return self.engine[key][0] / MICRO - self.cost(key)

    def under_spent(self) -> list[str]:
        """Budgets of which more is left than one hold, the leases of the dead, and what was counted for lost calls."""
        found = []
        hold = MAX_TOKENS * 10 / MICRO + 50 / MICRO
        for key, limit in BUDGETS.items():
            lost = sum(
                self.answers.paid[made.id] * COST_USD
                for made in self.load.calls
                if made.key == key and made.id not in self.by_id
            )
            # A call that is in progress while Redis loses its memory is in the ledger when it is read, and is reported, too.
            twice = self.losses * self.load.callers * COST_USD
            left = limit - self.cost(key) - self.stranded(key) - hold
            if left > lost + twice + 1e-6:
                found.append(f"{key}: {left:.6f} USD are left over; lost {lost:.6f}, at most {twice:.6f} twice")
        return found

    def rates(self) -> list[str]:
        """The key `rated` over the whole time: the limit, its burst, a second's refill, and a burst for each loss of memory."""
        served = [made for made in self.load.calls if made.key == "rated" and made.id in self.answers.paid]
        seconds = max((made.ended for made in served), default=self.began) - self.began
        most = RATE * (seconds + 2) + RATE * self.losses
        return [f"{len(served)} calls, at most {most:.0f}"] if len(served) > most else []

    def crowds(self) -> list[tuple[float, int]]:
        """Moments with more calls of `slots` at once than the limit, though Redis was there and no process had died."""
        kinds = (*KILLS, "redis frozen", "redis restarted", "redis flushed")
        return [(at - self.began, count) for at, count in self.answers.crowds if count > SLOTS
                and not any(fault.kind in kinds and fault.is_near(at, after_s=15.0) for fault in self.faults)]  # fmt: skip


# --------------------------------------------------------------------------------------------------- from begin to end


def month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


def read_rows(url: str) -> tuple[list[Row], dict[str, tuple[float, int]], int]:
    """The log; the ledgers of this month; and how many calls the sums of days have."""
    import psycopg

    with psycopg.connect(url) as db:
        found = db.execute("SELECT request_id, status, coalesce(cost_usd, 0), key_name, key_id, coalesce(input_tokens, 0) + "
                           "coalesce(output_tokens, 0) FROM calls").fetchall()  # fmt: skip
        sums = db.execute("SELECT key_id, sum(usd), sum(tokens)::bigint FROM ledgers WHERE day LIKE %s GROUP BY key_id",
                          (month() + "%",)).fetchall()  # fmt: skip
        total = db.execute("SELECT sum(calls) FROM totals WHERE step_s = 86400 AND model = '*' AND key_id = '*'").fetchone()
    assert total is not None
    return [Row(*each) for each in found], {key: (usd, int(tokens)) for key, usd, tokens in sums}, int(total[0] or 0)


async def read_engine(url: str, key_ids: dict[str, str]) -> dict[str, tuple[int, int, tuple[Any, ...]]]:
    """What Redis counts of each key's month."""
    from llm_router_gateway.commands.replica import COMMON
    from llm_router_gateway.limiter.redis import RedisEngine

    engine = RedisEngine(url, timeout_s=20.0)
    try:
        epoch = int(await engine._run("HGET", "{llm-router:budgets}:epoch", "number"))
        found = {}
        for key, key_id in key_ids.items():
            (usd, tokens), silent = await engine.stranded(f"{key_id}:{month()}", epoch, COMMON)
            found[key] = (usd, tokens, silent)
        return found
    finally:
        await engine.close()


def is_healed(site: Deployment) -> bool:
    """Whether both gateways say that everything is there."""
    for place in site.places:
        with suppress(OSError, KeyError, ValueError):
            metrics = place.metrics()
            names = ("llm_router_state_engine_up", "llm_router_state_engine_open")
            if (
                all(metrics[name] == 1 for name in names)
                and metrics["llm_router_workers"] == 2
                and metrics['llm_router_replicas{state="alive"}'] == 2
                and metrics["llm_router_store_rows_spilled"] == 0
                and metrics["llm_router_store_ok"] == 1
            ):
                continue
        return False
    return True


def use_up(load: Load, key: str) -> None:
    """Calls of one key until its budget has refused every call for two seconds: spare leases go back after one."""
    refused_since: float | None = None
    give_up = time.monotonic() + HEALED_S
    count = 0
    while refused_since is None or time.monotonic() < refused_since + 2.0:
        assert time.monotonic() < give_up, f"the budget of {key} is not used up"
        count += 1
        made = load.call(f"{key}-last-{count}", "good")
        refused_since = (refused_since or time.monotonic()) if made.status == 402 else None


def agree(site: Deployment) -> None:
    """Both gateways show the same numbers; and count a call on their own counters, the log, and each other's page."""
    before = [place.metrics() for place in site.places]
    for place in site.places:
        assert place.process is not None
        for _ in range(3):
            assert place.process.get("/v1/models").status == 200

    def overall() -> list[Any]:
        found = [place.get(f"/monitor/statistics?range=6h&limit={number}") for number, place in enumerate(site.places, 20)]
        return [each["overall"] for each in found]

    until(lambda: (found := overall())[0] == found[1], f"the same statistics: {overall()}", 15.0)
    for place, metrics in zip(site.places, before, strict=True):
        now = place.metrics()
        for name, value in metrics.items():
            if re.match(r"llm_router_(requests|cost_usd|input_tokens)_total", name):
                assert now[name] >= value, f"{name} went back"
        assert now["llm_router_open_requests"] <= 1, "a request is left open"  # the one that asks
        assert now["llm_router_store_rows_dropped_total"] == 0


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


def stored_key(site: Deployment) -> str:
    """A key that only the store has."""
    import json

    process = site.places[0].process
    assert process is not None
    made = process.send("POST", "/api-keys", json.dumps({"name": "stored"}).encode(), content_type="application/json")
    return str(made.json["key"])


def test_whatever_part_is_killed_calls_are_logged_once_and_budgets_hold(tmp_path: Path, answers: Answers) -> None:
    need_all()
    secrets = {name: made_up(name) for name in TERMS}
    with Deployment(tmp_path, config(answers.server.url, secrets)) as site:
        secrets["stored"] = stored_key(site)
        until(lambda: is_healed(site), "both gateways are ready", HEALED_S)
        sizes = Sizes(site)
        load = Load(site.port, secrets, site.place_at, seed=SEED)
        began = time.monotonic()
        load.start()
        faults = Faults(site, Random(SEED))
        faults.run(SECONDS)
        faults_s = time.monotonic() - began
        until(lambda: is_healed(site), "everything is found again", HEALED_S)
        healed_s = time.monotonic() - began - faults_s
        load.stop()
        for key in ("small", "middle", "tokens"):
            use_up(load, key)
        verdict = settle(site, load, answers, faults, began)
        say(verdict, faults, faults_s, healed_s)
        judge(verdict, site, sizes)
    assert not site.leftovers(), "processes are left over"
    left = [str(path.relative_to(tmp_path)) for place in site.places for path in place.folder.rglob("*")
            if path.name.startswith("llm-router-") or ".spill" in path.name]  # fmt: skip
    assert not left, left
    assert faults.replaced_s and sorted(faults.replaced_s)[len(faults.replaced_s) // 2] < REPLACED_S, faults.replaced_s


def settle(site: Deployment, load: Load, answers: Answers, faults: Faults, began: float) -> Verdict:
    """Once everything is written: what log and engine say."""
    agree(site)
    until(lambda: all(place.metrics()["llm_router_store_rows_waiting"] == 0 for place in site.places), "all is written")
    rows, ledgers, total = read_rows(site.url)
    assert total == len(rows), f"the sums have {total} calls, the log {len(rows)}"
    shown = site.places[1].get("/monitor/statistics?range=6h&limit=31")["overall"]["calls"]
    assert shown == len(rows), f"the page shows {shown} calls, the log has {len(rows)}"
    key_ids = {row.key: row.key_id for row in rows if row.key in ("small", "middle", "large", "tokens")}
    engine = asyncio.run(read_engine(site.engine.url, key_ids))
    losses = sum(fault.kind in ("redis flushed", "redis restarted") for fault in faults.done)
    verdict = Verdict(load, answers, faults.done, rows, ledgers, engine, began, losses)
    for key, key_id in key_ids.items():
        assert ledgers[key_id][0] == pytest.approx(verdict.cost(key)), f"the ledger of {key}"
    spent = {key: ledgers[key_id][0] for key, key_id in key_ids.items()}
    for place in site.places:
        until(lambda place=place: spending(place, spent) == pytest.approx(spent), f"{spending(place, spent)} is {spent}", 20.0)
    return verdict


def spending(place: Place, keys: Iterable[str]) -> dict[str, float]:
    """What a gateway shows of what keys have spent in this month, in US dollars."""
    items = place.get("/api-keys")["items"]
    return {item["name"]: item["spent"]["usd_month"] for item in items if item["name"] in keys}


def judge(verdict: Verdict, site: Deployment, sizes: Sizes) -> None:
    """Every rule, the plain ones first."""
    wrong: dict[str, Sequence[object]] = {
        "faults of our own": [line for place in site.places for line in place.faults()][:5],
        "twice in the log": verdict.twice()[:5], "answered, not logged": verdict.lost_for_no_reason()[:5],
        "another status in the log": verdict.different()[:5], "logged, never sent": verdict.invented()[:5],
        "hung": verdict.hung()[:5], "cut for no reason": verdict.broken()[:5], "refused for no reason": verdict.refused()[:5],
        "over-spent": verdict.over_spent(), "under-spent": verdict.under_spent(), "rate": verdict.rates(),
        "slots": verdict.crowds()[:5],
    }  # fmt: skip
    sizes.stop()
    alive = [pid for place in site.places for pid in (place.pid, *place.workers())]
    wrong["processes"] = [] if sorted(alive) == sorted(site.leftovers()) else [f"{site.leftovers()}, not {alive}"]
    wrong["memory"] = sizes.grown(alive)
    files = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in alive}
    wrong["open files"] = [f"process {pid}: {count}" for pid, count in files.items() if count > MOST_FILES]
    found = {rule: [shown(case, verdict.began) for case in cases] for rule, cases in wrong.items() if cases}
    assert not found, "\n".join([*(f"{rule}: {cases}" for rule, cases in found.items()), *verdict.course()])


def shown(case: object, began: float) -> object:
    """A call by the clock of the run."""
    call = case[0] if isinstance(case, tuple) and isinstance(case[0], Made) else case
    if not isinstance(call, Made):
        return case
    times = f"{call.began - began:.2f} to {call.ended - began:.2f} s"
    return f"{call.id} of {call.model} at {call.place}, {times}: {call.how} {call.status} {call.code}"


def say(verdict: Verdict, faults: Faults, faults_s: float, healed_s: float) -> None:
    calls = verdict.load.calls
    hows = Counter(made.how for made in calls)
    statuses = Counter(made.status for made in calls if made.is_answered)
    slowest = sorted(calls, key=lambda made: made.began - made.ended)[:3]
    slow = [f"{made.id} of {made.model}, {made.how}, at {made.began - verdict.began:.1f} s: {made.ended - made.began:.2f} s"
            for made in slowest]  # fmt: skip
    replaced = sorted(faults.replaced_s)
    print(f"\nseed {SEED}: {len(calls)} calls in {faults_s:.0f} s and {healed_s:.1f} s more, {dict(hows)}, {dict(statuses)}; "
          f"slowest {slow}\n{len(faults.done)} faults: {dict(faults.count())}\n"
          f"in the log {len(verdict.rows)}; lost with killed processes {len(verdict.lost())}; "
          f"a killed worker's successor answers after {[round(each, 2) for each in replaced]} s")  # fmt: skip
    print("\n".join(verdict.course()))
    for key, limit in BUDGETS.items():
        print(f"{key}: {verdict.cost(key):.4f} of {limit:.4f} USD in the log; leased by the dead {verdict.stranded(key):.4f}; "
              f"counted beyond the log {verdict.counted_twice(key):.4f}")  # fmt: skip
