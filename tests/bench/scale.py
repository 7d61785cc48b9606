"""Workers beside one process of the same build, in one run: answers per second, CPU per answer, shares, cost of a limit.

    python3.11 tests/bench/scale.py              everything; needs wrk and nginx (apt-get install wrk nginx-light), Linux
    python3.11 tests/bench/scale.py --quick      fewer rounds

Load (wrk) and upstream (nginx, a fixed answer) run on the same cores as the gateways, so answers per second are those of the
whole machine: their ratios count, and only where nothing else runs. CPU is user and system time of a gateway and its children.
Sides take turns within each round; the median round counts. Exit code 1 where a limit is missed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from running import Process, made_up, until
from spread import Kept, connections, workers_of

ROUNDS, ROUND_S, CONNECTIONS = 7, 3, 16
STARTS, KEPT = 60, 16
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes " * 20}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
}  # fmt: skip
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ default_type application/json; return 200 '{answer}'; }} }}
}}
"""
LUA = """\
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {key}"
wrk.body = '{body}'
"""
CONFIG = """\
[server]
workers = {workers}
log_level = "warn"
[[providers]]
name = "up"
api = "openai"
base_url = "http://127.0.0.1:{port}/v1"
any_model = true
[[keys]]
name = "free"
key_env = "KEY_FREE"
[[keys]]
name = "limited"
key_env = "KEY_LIMITED"
limits = {{ max_requests = 1000000000, per_seconds = 60 }}
budget = {{ tokens_per_day = 1000000000000 }}
"""
KEYS = {"KEY_FREE": made_up("free"), "KEY_LIMITED": made_up("limited")}


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """nginx with one fixed answer; its port."""
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, answer=json.dumps(ANSWER)))
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: (folder / "nginx.pid").exists(), "nginx is there")
        yield port
    finally:
        process.terminate()
        process.wait()


def cpu_s(pids: list[int]) -> float:
    """User and system time of some processes."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_S


class Side:
    """One way to run the gateway: one or several processes, which wrk calls in turn."""

    def __init__(self, name: str, gateways: list[Process]) -> None:
        self.name, self.gateways = name, gateways
        self.rates: list[float] = []
        self.cpu_us: list[float] = []

    def pids(self) -> list[int]:
        return [pid for each in self.gateways for pid in (each.pid, *workers_of(each.pid))]

    def round(self, lua: Path, seconds: float) -> None:
        pids = self.pids()
        before = cpu_s(pids)
        answers, took = load([each.port for each in self.gateways], lua, seconds)
        used = cpu_s(pids) - before
        self.rates.append(answers / took)
        self.cpu_us.append(used / answers * 1e6)


def load(ports: list[int], lua: Path, seconds: float) -> tuple[int, float]:
    """(answers, seconds) of a wrk for each port at the same time."""
    share = max(1, CONNECTIONS // len(ports))
    argv = ["wrk", "-t1", f"-c{share}", f"-d{seconds:g}s", "-s", str(lua)]
    running = [subprocess.Popen([*argv, f"http://127.0.0.1:{port}/v1/chat/completions"], stdout=subprocess.PIPE, text=True)
               for port in ports]  # fmt: skip
    answers, longest = 0, 0.0
    for each in running:
        text = each.communicate()[0]
        found = re.search(r"(\d+) requests in ([\d.]+)(m?)s", text)
        if found is None or "Non-2xx" in text:
            raise SystemExit(f"wrk failed:\n{text}")
        answers += int(found[1])
        longest = max(longest, float(found[2]) / (1000 if found[3] else 1))
    return answers, longest


def start(stack: ExitStack, folder: Path, port: int, workers: int) -> Process:
    place = Path(tempfile.mkdtemp(dir=folder))
    gateway = Process(place, CONFIG.format(workers=workers, port=port), env=KEYS)
    stack.callback(gateway.end)
    return gateway


def script(folder: Path, key: str) -> Path:
    body = json.dumps({"model": "up/m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50})
    path = folder / f"{key}.lua"
    path.write_text(LUA.format(key=KEYS[key], body=body))
    return path


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the rounds' ratios: each was measured within seconds of the other."""
    return statistics.median(one / two for one, two in zip(above, below, strict=True))


Row = tuple[str, str, str, bool]


def traffic(folder: Path, port: int, rounds: int, seconds: float) -> list[Row]:
    with ExitStack() as stack:
        one = Side("1 worker", [start(stack, folder, port, 1)])
        two = Side("2 workers", [start(stack, folder, port, 2)])
        apart = Side("2 gateways", [start(stack, folder, port, 1) for _ in range(2)])
        limited = Side("2 workers, limited", two.gateways)
        alone = Side("1 worker, limited", one.gateways)
        free, bound = script(folder, "KEY_FREE"), script(folder, "KEY_LIMITED")
        for each in (one, two, apart):
            each.round(free, 1)
            each.rates.clear()
            each.cpu_us.clear()
        for _ in range(rounds):
            for each in (one, two, apart):
                each.round(free, seconds)
            for each in (alone, limited):
                each.round(bound, seconds)
    rate, unconnected = ratio(two.rates, one.rates), ratio(two.rates, apart.rates)
    cpu = ratio(two.cpu_us, one.cpu_us)
    sharing = statistics.median(
        (shared - plain) - (own - single)
        for shared, plain, own, single in zip(limited.cpu_us, two.cpu_us, alone.cpu_us, one.cpu_us, strict=True)
    )
    medians = {
        side.name: (statistics.median(side.rates), statistics.median(side.cpu_us)) for side in (one, two, apart, limited)
    }
    for name, (answers, micro) in medians.items():
        print(f"  {name:20} {answers:8.0f} answers/s {micro:7.0f} us CPU each", file=sys.stderr)
    return [
        ("answers per second, 2 workers : 1 worker", f"{rate:.2f}", ">= 1.5", rate >= 1.5),
        ("the same : 2 unconnected processes", f"{unconnected:.2f}", ">= 0.97", unconnected >= 0.97),
        ("CPU per answer, 2 workers : 1 worker", f"{cpu:.2f}", "<= 1.05", cpu <= 1.05),
        ("sharing a limit and a budget, CPU per request", f"{sharing:.0f} us", "<= 70 us", sharing <= 70),
    ]


def shares(folder: Path, port: int, starts: int) -> list[Row]:
    """How many of the connections the busier of two workers has."""
    found = []
    for _ in range(starts):
        with ExitStack() as stack:
            gateway = start(stack, folder, port, 2)
            for _ in range(KEPT):
                stack.callback(Kept(gateway).close)
            found.append(max(spread_of(gateway)) / KEPT)
    worst = sorted(found)[max(0, round(0.95 * len(found)) - 1)]
    print(f"  busier of two: median {statistics.median(found):.0%}, worst {max(found):.0%}", file=sys.stderr)
    return [(f"busier of two workers at {KEPT} kept connections, in 95 % of {starts} starts", f"{worst:.0%}", "<= 65 %",
             worst <= 0.65)]  # fmt: skip


def spread_of(gateway: Process) -> list[int]:
    """How many connections each worker has, once all are accepted."""
    pids = workers_of(gateway.pid)
    counts = until(lambda: sum((now := connections(pids, gateway.port)).values()) >= KEPT and now, "all are accepted")
    return list(counts.values())


def main() -> int:
    missing = [name for name in ("wrk", "nginx") if shutil.which(name) is None]
    if missing:
        print(f"scale.py needs {' and '.join(missing)}", file=sys.stderr)
        return 2
    quick = "--quick" in sys.argv[1:]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llm-router-scale-") as name, upstream(Path(name)) as port:
        rows = traffic(Path(name), port, 3 if quick else ROUNDS, 2 if quick else ROUND_S)
        rows += shares(Path(name), port, 6 if quick else STARTS)
    print("| what | measured | limit | ok |\n| --- | ---: | --- | --- |")
    for what, value, limit, is_met in rows:
        print(f"| {what} | {value} | {limit} | {'yes' if is_met else 'NO'} |")
    print(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
