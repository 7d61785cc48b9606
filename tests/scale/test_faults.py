"""Real gateways and a real engine, with kills at random moments: a budget is never over-spent, and comes back to use.

Each run lasts some seconds. Two gateways answer calls of one key at once, while a seeded sequence of faults goes on beside
them. What a killed gateway had in progress or had not yet logged is known to no log: as many calls are allowed for as the
upstream had in the second before each kill, however many a machine answers in that time.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from engines import need_redis
from replicas import Replicas, answer_of
from running import Asked, sends, until

pytestmark = pytest.mark.slow

RUNS = 20 if os.environ.get("LLM_ROUTER_MATRIX") else 3  # with --all of the gate, and without
COST_USD = 0.0005
CALLERS = 4
LIMIT_USD = 1.0
SECONDS = 6.0
UNLOGGED_S = 1.0  # twice as long as a call may wait to be logged


@pytest.fixture(autouse=True)
def _redis() -> None:
    need_redis()


class Traffic:
    """Callers that go on until they are stopped, each at its gateway."""

    def __init__(self, group: Replicas) -> None:
        self.group, self.seen = group, Counter[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                answer = self.group.chat(number % 2)
                self.seen[str(answer.status)] += 1
                pause_s = 0.0 if answer.status == 200 else 0.02
            except OSError:
                self.seen["gone"] += 1
                pause_s = 0.05
            self._stop.wait(pause_s)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def faults(group: Replicas, rng: Random) -> list[float]:
    """Some faults, one after the other; when gateways were killed."""
    kills = []
    began = time.monotonic()
    while time.monotonic() < began + SECONDS:
        deed = rng.choice(["kill", "freeze", "flush", "save", "restart", "outage"])
        if deed == "kill":
            kills.append(time.monotonic())
            group.restart(rng.randrange(2))
        elif deed == "freeze":
            group.server.freeze()
            time.sleep(rng.uniform(0.1, 1.5))
            group.server.thaw()
        elif deed == "flush":
            group.server.say("FLUSHALL")
        elif deed == "save":
            group.server.say("SAVE")  # what a later restart comes back with: an old snapshot
        elif deed == "restart":
            group.server.restart()
        else:
            group.server.kill()
            time.sleep(rng.uniform(0.1, 1.0))
            group.server.run()
        time.sleep(rng.uniform(0.1, 1.5))
    return kills


@pytest.mark.parametrize("seed", range(RUNS))
def test_no_fault_makes_two_gateways_spend_more_than_the_budget(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    paid: list[float] = []  # when each call reached the upstream
    with Replicas(tmp_path, state="timeout_s = 0.5\n", key=f"budget = {{ usd_per_day = {LIMIT_USD} }}") as group:
        pay = sends(answer_of(cost_usd=COST_USD))

        def act(sock: object, asked: Asked) -> object:
            paid.append(time.monotonic())
            return pay(sock, asked)  # type: ignore[arg-type]

        group.upstream.act = act
        traffic = Traffic(group)
        kills = faults(group, rng)
        until(lambda: group.is_up(0) and group.is_up(1), "the engine is found again", limit_s=60)
        until(lambda: group.metrics(0)["llm_router_state_engine_open"] == 1, "and grants leases", limit_s=60)
        until(lambda: traffic.seen["402"] > 20, f"the budget is spent: {traffic.seen}", limit_s=180)
        traffic.stop()
        spent = len(paid) * COST_USD
        unknown = sum(any(kill - UNLOGGED_S < at < kill + UNLOGGED_S for kill in kills) for at in paid) * COST_USD
        logged = sum(group.statistics(place)["overall"]["cost_usd"] for place in (0, 1))
        said = f"{spent:.4f} of {LIMIT_USD}, {logged:.4f} logged, {len(kills)} kills, {dict(traffic.seen)}"
        assert logged <= LIMIT_USD + 1e-9, said
        assert spent <= LIMIT_USD + unknown + 1e-9, said
        assert all("Please report this line" not in process.log for process in group.gateways), group.first.log
        print(f"spent {said}")


def test_a_gateway_that_was_stopped_for_longer_than_a_lease_lives_spends_none_of_it(tmp_path: Path) -> None:
    """SIGSTOP of a gateway, a flush meanwhile, and the budget spent by the other: its old lease is worth nothing."""
    with Replicas(tmp_path, key=f"budget = {{ usd_per_day = {LIMIT_USD} }}") as group:
        group.upstream.act = sends(answer_of(cost_usd=COST_USD))
        assert group.chat(0).status == 200 and group.chat(1).status == 200
        group.first.signal(signal.SIGSTOP)
        group.server.say("FLUSHALL")
        until(lambda: group.chat(1).status == 503, "the loss is noticed")
        until(lambda: group.chat(1).status == 402, "the other one spends it all, once the lease is void", limit_s=180)
        group.first.signal(signal.SIGCONT)
        assert group.chat(0).status in (402, 503)
        spent = len(group.upstream.requests) * COST_USD
        assert spent <= LIMIT_USD + 1e-9
