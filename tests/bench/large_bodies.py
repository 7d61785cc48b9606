"""Whether one caller's large bodies stop the others, and what conversions cost: this gateway beside the build before.

    python3.11 tests/bench/large_bodies.py [--baseline DIRECTORY] [--seconds N]

Four callers post bodies of 30 MB for conversion, one after the other without a pause, while another asks for /health and for
small chats; what is told is how long those took. Then what conversions and relays cost in CPU, the gateway's worker processes
included. The build before is the commit BASELINE, out of this repository's history unless --baseline (or LLM_ROUTER_BASELINE)
names a checkout of it. Callers and upstream are processes of their own. Linux only.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from measure import Failed, Row, median, report
from sides import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
BASELINE = "2098594"
LARGE_BYTES, MIDDLE_BYTES = 30_000_000, 5_000_000
CALLERS, SECONDS = 4, 20.0
QUIET_S = 3.0  # of small requests alone, for comparison
PAUSE_S = 0.01  # between two small requests
LIMIT_P99_S = 0.050
LIMIT_CPU_MIDDLE, LIMIT_CPU_SMALL = 0.4, 1.05
ROUNDS, SMALL_REQUESTS, MIDDLE_REQUESTS = 7, 400, 3
TIMEOUT_S = 60.0  # of one request; the build before may need minutes, and counts as this long then
TICKS = os.sysconf("SC_CLK_TCK")
CONFIG = """
[server]
port = 0
[[providers]]
name = "o"
api = "openai"
base_url = "{url}/v1"
[[providers]]
name = "a"
api = "anthropic"
base_url = "{url}"
"""
CHAT = "/v1/chat/completions"
ANSWERS = {
    CHAT: {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
           "usage": {"prompt_tokens": 1, "completion_tokens": 1},
           "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]},
    "/v1/messages": {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                     "content": [{"type": "text", "text": "ok"}], "usage": {"input_tokens": 1, "output_tokens": 1}},
}  # fmt: skip


# --------------------------------------------------------------------------------------------------- upstream and callers


def small_messages(size: int) -> List[Dict[str, str]]:
    turns, length = [], 0
    while length < size:
        turn = {"role": ("user", "assistant")[len(turns) % 2], "content": f"message number {len(turns)}: how are you today?"}
        length += len(json.dumps(turn, separators=(",", ":"))) + 1
        turns.append(turn)
    return turns


def body(model: str, size: int, *, unknown: int = 0) -> bytes:
    fields: Dict[str, Any] = {"model": model, "messages": small_messages(size)}
    fields.update((f"unknown_{at}", at) for at in range(unknown))
    return json.dumps(fields, separators=(",", ":")).encode()


async def upstream(port: int) -> None:
    """Reads a request to its end and gives a short answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                left = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]  # our client sends it
                while left:
                    left -= len(await reader.read(min(left, 1_048_576)))
                data = json.dumps(ANSWERS[head.split(b" ", 2)[1].decode()]).encode()
                kind = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                writer.write(kind + b"content-length: %d\r\n\r\n" % len(data) + data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=4_194_304)
    await server.serve_forever()


def post(connection: http.client.HTTPConnection, data: bytes) -> int:
    connection.request("POST", CHAT, data, {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def large_callers(port: int, kind: str) -> None:
    """Posts one large body after the other, until it is ended; prints a line for each answer."""
    data = body("a/m", LARGE_BYTES, unknown=40_000 if kind == "unknown" else 0)
    print("ready", flush=True)
    while True:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            while True:
                print(post(connection, data), flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# ---------------------------------------------------------------------------------------------------------------- gateways


class Side:
    """A gateway that runs from one checkout."""

    def __init__(self, name: str, checkout: Path, scratch: Path, url: str) -> None:
        self.name, self.folder = name, scratch / name
        self.folder.mkdir()
        (self.folder / "router.toml").write_text(CONFIG.format(url=url))
        self._log = (self.folder / "log").open("wb")
        command = [sys.executable, str(checkout / "scripts" / "llm_router_gateway"), "-c", "router.toml", "-p", "0"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self._log, stderr=self._log)
        self.port = self._port()

    def _port(self) -> int:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            found = re.search(r"listening on http://\S+:(\d+): ", (self.folder / "log").read_text())
            if found:
                return int(found[1])
            time.sleep(0.05)
        raise Failed(f"{self.name} did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def cpu_s(self) -> float:
        """User and system time of the gateway and its worker processes."""
        found = 0
        for pid in tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += int(fields[11]) + int(fields[12])
        return found / TICKS

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def small_latencies(side: Side, seconds: float) -> Tuple[List[float], List[float]]:
    """How long /health and small chats took, asked for in turn for so long. One that is late holds back the next ones; one
    without an answer in TIMEOUT_S is the last one, and counts as that long."""
    health, chats = [], []
    data = body("o/m", 50)
    connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=TIMEOUT_S)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = between = time.monotonic()
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
            between = time.monotonic()
            status = post(connection, data)
        except TimeoutError:
            print(f"{side.name}: no answer in {TIMEOUT_S:g} s", file=sys.stderr)
            return [*health, between - began or TIMEOUT_S], [*chats, TIMEOUT_S]
        if status != 200:
            raise Failed(f"{side.name}: a small chat failed")
        health.append(between - began)
        chats.append(time.monotonic() - between)
        time.sleep(PAUSE_S)
    return health, chats


def under_load(side: Side, kind: str, seconds: float) -> Tuple[List[float], List[float], int]:
    """The same while CALLERS post large bodies, and how many of those were answered."""
    command = [sys.executable, __file__, "--callers", str(side.port), kind]
    callers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(CALLERS)]
    try:
        for caller in callers:
            (caller.stdout or sys.stdin.buffer).readline()  # its body is made
        health, chats = small_latencies(side, seconds)
    finally:
        for caller in callers:
            caller.kill()
    statuses = [line for caller in callers for line in (caller.communicate()[0] or b"").split()]
    return health, chats, statuses.count(b"200")


def cpu_of(sides: Sequence[Side], data: bytes, count: int) -> Dict[str, float]:
    """CPU seconds of one request, by side, asked in turn."""
    found: Dict[str, List[float]] = {side.name: [] for side in sides}
    for round_ in range(ROUNDS + 1):
        for side in sides:
            connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=TIMEOUT_S)
            before = side.cpu_s()
            if any(post(connection, data) != 200 for _ in range(count)):
                raise Failed(f"{side.name}: a request failed")
            if round_:  # the first one starts what has to be started
                found[side.name].append((side.cpu_s() - before) / count)
            connection.close()
    return {name: median(values) for name, values in found.items()}


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def latency_rows(sides: Sequence[Side], seconds: float) -> List[Row]:
    rows = []
    told: Dict[Tuple[str, str, str], float] = {}
    for side in sides:
        for kind in ("alone", "messages", "unknown"):
            if kind == "alone":
                health, chats = small_latencies(side, QUIET_S)
            else:
                health, chats, done = under_load(side, kind, seconds)
                print(f"{side.name}, {kind}: {done} large bodies answered", file=sys.stderr)
            told[side.name, kind, "/health"], told[side.name, kind, "small chat"] = (
                percentile(health, 0.99), percentile(chats, 0.99))  # fmt: skip
    whiles = {"alone": "", "messages": f" while {CALLERS} callers post 30 MB of small messages",
              "unknown": f" while {CALLERS} callers post 30 MB with 40,000 unknown fields"}  # fmt: skip
    ours, before = (side.name for side in sides)
    for kind, words in whiles.items():
        for what in ("/health", "small chat"):
            mine, theirs = told[ours, kind, what], told[before, kind, what]
            limit = "" if kind == "alone" else f"<= {ms(LIMIT_P99_S)}"
            ok = None if kind == "alone" else mine <= LIMIT_P99_S
            rows.append(Row(f"{what}, 99th percentile{words}; peer {BASELINE}", ms(mine), ms(theirs), mine / theirs, limit, ok))
    return rows


def cpu_rows(sides: Sequence[Side]) -> List[Row]:
    rows = []
    ours, before = (side.name for side in sides)
    for what, model, size, count, most in (
        ("conversion of 5 MB of small messages", "a/m", MIDDLE_BYTES, MIDDLE_REQUESTS, LIMIT_CPU_MIDDLE),
        ("relay of 5 MB of small messages", "o/m", MIDDLE_BYTES, MIDDLE_REQUESTS, None),
        ("small conversion", "a/m", 300, SMALL_REQUESTS, LIMIT_CPU_SMALL),
        ("small relay", "o/m", 300, SMALL_REQUESTS, LIMIT_CPU_SMALL),
    ):
        found = cpu_of(sides, body(model, size), count)
        ratio = found[ours] / found[before]
        limit, ok = ("", None) if most is None else (f"<= {most:g} x", ratio <= most)
        rows.append(Row(f"{what}, CPU; peer {BASELINE}", ms(found[ours]), ms(found[before]), ratio, limit, ok))
    return rows


def checkout_of(directory: str, scratch: Path) -> Path:
    """The build before: `directory`, else out of the history."""
    if directory:
        return Path(directory)
    place = scratch / "baseline"
    place.mkdir()
    unpack = 'git -C "$1" archive "$2" scripts | tar -x -C "$3"'
    subprocess.run(["sh", "-c", unpack, "sh", str(ROOT), BASELINE, str(place)], check=False)
    if not (place / "scripts" / "llm_router_gateway").is_dir():
        raise Failed(f"the history does not reach back to {BASELINE}; name a checkout of it with --baseline")
    return place


def main(argv: Optional[Sequence[str]] = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--upstream"]:
        asyncio.run(upstream(int(words[1])))
    if words[:1] == ["--callers"]:
        large_callers(int(words[1]), words[2])
    given = dict(zip(words[::2], words[1::2]))
    if len(words) % 2 or set(given) - {"--baseline", "--seconds"}:
        raise SystemExit("usage: large_bodies.py [--baseline DIRECTORY] [--seconds N]")
    seconds = float(given.get("--seconds", SECONDS))
    with tempfile.TemporaryDirectory(prefix="llm-router-large-") as directory:
        scratch, port = Path(directory), free_port()
        before = checkout_of(given.get("--baseline", os.getenv("LLM_ROUTER_BASELINE", "")), scratch)
        served = subprocess.Popen([sys.executable, __file__, "--upstream", str(port)])
        sides: List[Side] = []
        try:
            for name, checkout in (("ours", ROOT), ("before", before)):
                sides.append(Side(name, checkout, scratch, f"http://127.0.0.1:{port}"))
            rows = cpu_rows(sides)
            return report([*latency_rows(sides, seconds), *rows])
        finally:
            for side in sides:
                side.stop()
            served.kill()
            served.wait()


if __name__ == "__main__":
    raise SystemExit(main())
