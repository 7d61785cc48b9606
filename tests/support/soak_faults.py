"""Faults of every part of a deployment, at moments that a seed decides; what lasts is mended beside the next ones.

    faults = Faults(site, Random(7), config)
    faults.run(300.0)                 each kind once, in a random order, then any of them; everything runs when it returns
    faults.done                       what was done, when, and until when it lasted

Times are those of time.monotonic().
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from random import Random

from deployment import Deployment, Place
from running import until

SHORTEST_S, LONGEST_S, SEVERAL = 0.1, 1.0, 2.0  # between two faults; later on, when each was there, so many times that
REPLACED_S = 60.0  # reached only by a failure


@dataclass(slots=True)
class Fault:
    """One of them. `place` is the gateway that it was about; -1 for none."""

    kind: str
    began: float
    until: float = 0.0  # when everything ran again
    place: int = -1
    was_store_away: bool = False  # PostgreSQL did not answer when it began

    def is_near(self, at: float, before_s: float = 0.0, after_s: float = 0.0) -> bool:
        return self.began - before_s <= at <= (self.until or self.began) + after_s


def workers_ready(place: Place) -> float:
    """As /metrics says; 0 where the worker that was called died."""
    try:
        return place.metrics()["llm_router_workers"]
    except (OSError, HTTPException):
        return 0


@dataclass
class Faults:
    """See the module."""

    site: Deployment
    rng: Random
    done: list[Fault] = field(default_factory=list)
    replaced_s: list[float] = field(default_factory=list)  # how long it took until a killed worker's successor answered calls
    wrong: list[BaseException] = field(default_factory=list)
    _busy: set[str] = field(default_factory=set)  # parts that are down or frozen
    _mending: list[threading.Thread] = field(default_factory=list)
    _reloads: int = 0

    @property
    def kinds(self) -> dict[str, Callable[[Fault], None]]:
        return {
            "worker killed": self.kill_worker, "gateway killed": self.kill_gateway, "home killed": self.kill_home,
            "gateway restarted": self.restart_gateway, "workers replaced": self.replace_workers,
            "reload": self.reload, "bad reload": self.reload_badly,
            "redis frozen": self.freeze_redis, "redis restarted": self.restart_redis, "redis flushed": self.flush_redis,
            "postgres frozen": self.freeze_postgres, "postgres killed": self.kill_postgres,
            "postgres restarted": self.restart_postgres, "nginx restarted": self.restart_nginx,
        }  # fmt: skip

    def run(self, seconds: float) -> None:
        kinds = self.kinds
        plan = list(kinds)
        self.rng.shuffle(plan)
        end = time.monotonic() + seconds
        while time.monotonic() < end or plan:
            kind = plan.pop() if plan else self.rng.choice(list(kinds))
            if not self.do(kind) and kind not in self.count():
                plan.insert(0, kind)  # its part was down
            time.sleep(self.rng.uniform(SHORTEST_S, LONGEST_S) * (1.0 if plan else SEVERAL))
        for each in self._mending:
            each.join()
        assert not self.wrong, self.wrong

    def do(self, kind: str) -> bool:
        """Whether it could be done."""
        fault = Fault(kind, time.monotonic(), place=self._place(kind), was_store_away="postgres" in self._busy)
        part = kind.split(" ")[0]
        if part in self._busy:
            return False
        self.done.append(fault)
        self.kinds[kind](fault)
        if part not in self._busy:
            fault.until = time.monotonic()
        return True

    def count(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.done)

    def _place(self, kind: str) -> int:
        about = (
            "worker killed",
            "gateway killed",
            "home killed",
            "gateway restarted",
            "workers replaced",
            "reload",
            "bad reload",
        )
        return self.rng.randrange(len(self.site.places)) if kind in about else -1

    def _later(self, fault: Fault, part: str, after_s: float, mend: Callable[[], None]) -> None:
        """Mends a part some time later, while other faults go on."""
        self._busy.add(part)

        def work() -> None:
            time.sleep(after_s)
            try:
                mend()
            except BaseException as error:
                self.wrong.append(error)
            fault.until = time.monotonic()
            self._busy.discard(part)

        self._mending.append(threading.Thread(target=work, daemon=True))
        self._mending[-1].start()

    # -- gateways

    def _of(self, fault: Fault) -> Place:
        return self.site.places[fault.place]

    def kill_worker(self, fault: Fault) -> None:
        place = self._of(fault)
        pids = until(lambda: len(found := place.workers()) >= 2 and found, "there are workers", REPLACED_S)
        victim = self.rng.choice(pids)
        fault.began = time.monotonic()
        with suppress(ProcessLookupError):  # it was draining, and has ended
            os.kill(victim, signal.SIGKILL)
            until(lambda: set(place.workers()) - set(pids), "another has its place", REPLACED_S)
            until(lambda: workers_ready(place) == 2, "it answers calls", REPLACED_S)
            self.replaced_s.append(time.monotonic() - fault.began)

    def kill_gateway(self, fault: Fault) -> None:
        fault.began = time.monotonic()
        self._of(fault).kill()
        time.sleep(self.rng.uniform(0.0, 1.0))
        self._of(fault).start()

    def kill_home(self, fault: Fault) -> None:
        fault.began = time.monotonic()
        self._of(fault).kill(home_only=True)
        self._of(fault).start()

    def restart_gateway(self, fault: Fault) -> None:
        """In good order: it drains, and nothing of it is lost."""
        code = self._of(fault).end()
        assert code == 0, (code, self._of(fault).logs[-1])
        self._of(fault).start()

    def replace_workers(self, fault: Fault) -> None:
        place = self._of(fault)
        old = until(lambda: len(found := place.workers()) == 2 and found, "both workers are there", REPLACED_S)
        os.kill(place.pid, signal.SIGUSR2)
        until(lambda: len(now := place.workers()) == 2 and not set(now) & set(old), "new workers are there", REPLACED_S)

    def reload(self, fault: Fault) -> None:
        self._reloads += 1
        self._write(fault, f'\n[[o.models]]\nname = "spare-{self._reloads}"\n')

    def reload_badly(self, fault: Fault) -> None:
        self._write(fault, "\n[server\n")

    def _write(self, fault: Fault, more: str) -> None:
        place = self._of(fault)
        assert place.process is not None
        place.process.write(place.config + more)
        place.process.signal(signal.SIGHUP)
        time.sleep(0.2)  # so that the process has read it, as a rule, before the next fault; either is right
        place.process.write(place.config)

    # -- engines and nginx

    def freeze_redis(self, fault: Fault) -> None:
        self.site.engine.freeze()
        self._later(fault, "redis", self.rng.uniform(0.1, 3.0), self.site.engine.thaw)

    def restart_redis(self, fault: Fault) -> None:
        if self.rng.random() < 0.5:
            self.site.engine.say("SAVE")  # it comes back with an old snapshot
        self.site.engine.kill()
        self._later(fault, "redis", self.rng.uniform(0.0, 2.0), self.site.engine.run)

    def flush_redis(self, fault: Fault) -> None:
        self.site.engine.say("FLUSHALL")

    def freeze_postgres(self, fault: Fault) -> None:
        self.site.store.pause()
        self._later(fault, "postgres", self.rng.choice((0.3, 1.0, 3.0, 7.0)), self.site.store.resume)

    def kill_postgres(self, fault: Fault) -> None:
        self.site.store.kill()
        self._later(fault, "postgres", self.rng.choice((0.0, 1.0, 4.0)), self.site.store.start)

    def restart_postgres(self, fault: Fault) -> None:
        self.site.store.stop()
        self._later(fault, "postgres", self.rng.uniform(0.0, 2.0), self.site.store.start)

    def restart_nginx(self, fault: Fault) -> None:
        assert self.site.nginx is not None
        self.site.nginx.restart()
