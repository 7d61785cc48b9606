"""What every benchmark shares: a command timed as a whole process, medians, and the table.

    with Bench() as bench:
        runs = bench.interleaved({"ours": bench.client("--help"), "peer": [bench.python, "-c", "import json"]}, rounds=15)
        cpu_s = bench.median(run.cpu_s for run in runs["ours"])

This module stays lean on purpose: on Linux the peak memory of a child begins with what its parent had at the moment of the
start, so a fat parent would hide a lean child. peak_bytes() refuses to answer where that could be so.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Sequence

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
CLIENT = SCRIPTS / "llm_router_client.py"
LAUNCHER = SCRIPTS / "llm-router"
DEMO = SCRIPTS / "llm_router_demo.py"
PASSED_ON = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")  # all that a measured process gets of this user's environment
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
MIB = 1_048_576
HEADING = "| what | ours | peer | ratio | limit | ok |\n| --- | ---: | ---: | ---: | --- | --- |"


class Failed(Exception):
    """A measured command did not do what it was started for: its figures mean nothing."""


class Run:
    """One finished process: cpu_s (user and system), wall_s, peak_bytes, out (stdout as bytes)."""

    def __init__(self, cpu_s: float, wall_s: float, peak_bytes: int, out: bytes) -> None:
        self.cpu_s, self.wall_s, self.peak_bytes, self.out = cpu_s, wall_s, peak_bytes, out


class Row:
    """One line of the table; ok None is a figure without a limit."""

    def __init__(
        self, what: str, ours: str, peer: str = "", ratio: Optional[float] = None, limit: str = "", ok: Optional[bool] = None
    ) -> None:
        self.what, self.ours, self.peer, self.limit, self.ok = what, ours, peer, limit, ok
        self.ratio = "" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}"

    def __str__(self) -> str:
        verdict = {True: "yes", False: "**no**", None: ""}[self.ok]
        return f"| {self.what} | {self.ours} | {self.peer} | {self.ratio} | {self.limit} | {verdict} |"


def report(rows: Sequence[Row]) -> int:
    """Print the table; the exit code is 1 where a limit is missed."""
    print(HEADING, *rows, sep="\n", flush=True)
    return int(any(row.ok is False for row in rows))


def median(values: Iterable[float]) -> float:
    """The middle one; of an even number the mean of the middle two. median([3, 1, 2]) -> 2"""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def cpu_s(runs: Iterable[Run]) -> float:
    """Median CPU seconds."""
    return median(run.cpu_s for run in runs)


def wall_s(runs: Iterable[Run]) -> float:
    """Median seconds from start to end."""
    return median(run.wall_s for run in runs)


def peak_bytes(runs: Iterable[Run]) -> float:
    """Median peak memory. Failed where it could be this process's own, inherited at the start."""
    import resource

    peak = median(run.peak_bytes for run in runs)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
    if peak <= own:
        raise Failed(f"a peak of {peak / MIB:.1f} MiB cannot be told from this process's own {own / MIB:.1f} MiB")
    return peak


def ms(seconds: float) -> str:
    """ms(0.0123) -> "12.3 ms" """
    return f"{seconds * 1000:.1f} ms"


def mib(size_bytes: float) -> str:
    """mib(1048576) -> "1.0 MiB" """
    return f"{size_bytes / MIB:.1f} MiB"


class Bench:
    """A scratch directory, a clean environment with a key made up now, and processes that end with it.

    python is the interpreter of both sides: the one that runs this, from an environment that has the peers.
    """

    def __init__(self) -> None:
        self.python = sys.executable
        self._scratch = tempfile.TemporaryDirectory(prefix="llm-router-bench-")
        self.scratch = Path(self._scratch.name)
        home = self.scratch / "home"  # no credentials file of this user
        home.mkdir()
        self.env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self.env.update(HOME=str(home), LANG="C.UTF-8", PYTHONPYCACHEPREFIX=str(self.scratch / "pycache"))
        self.env.update(LLM_ROUTER_API_KEY=os.urandom(16).hex(), PYTHONPATH=str(SCRIPTS))
        self._servers: List[int] = []

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        import signal

        for pid in self._servers:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        self._scratch.cleanup()

    def client(self, *words: str) -> List[str]:
        """The client's command line as people start it: a script, compiled at every run."""
        return [self.python, str(CLIENT), *words]

    def launcher(self, *words: str) -> List[str]:
        """The same command line from compiled bytecode."""
        return [self.python, str(LAUNCHER), *words]

    def mock_server(self, *words: str) -> str:
        """Start the mock server in a process of its own, with these options; its base URL."""
        reading, writing = os.pipe()
        self._servers.append(self.start([self.python, str(DEMO), "--port", "0", *words], writing))
        os.close(writing)
        line = os.read(reading, 4096).decode()
        os.close(reading)
        if not line.startswith(("http://127.0.0.1:", "https://127.0.0.1:")):
            raise Failed(f"the mock server did not start: {line}")
        return line.split()[0]

    def certificate(self) -> tuple[str, str]:
        """(certificate, key) for 127.0.0.1, made now by the openssl command; every side trusts it by SSL_CERT_FILE."""
        cert, key = str(self.scratch / "cert.pem"), str(self.scratch / "key.pem")
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
        more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
        self.run(["/usr/bin/env", "openssl", *words.split(), *more])
        self.env["SSL_CERT_FILE"] = cert
        return cert, key

    def start(self, command: List[str], stdout: int) -> int:
        """Start a process with this stdout, an empty stdin and stderr in a file; its process id."""
        stderr, flags = str(self.scratch / "stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_OPEN, 2, stderr, flags, 0o600),
        ]
        return os.posix_spawn(command[0], command, self.env, file_actions=actions)

    def run(self, command: List[str], keep_output: bool = True) -> Run:
        """Run to the end. Failed unless it exits with 0; a stdout that is not kept goes to the null device."""
        path = str(self.scratch / "stdout") if keep_output else os.devnull
        stdout = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            began_s = time.perf_counter()
            _, status, used = os.wait4(self.start(command, stdout), 0)
            wall = time.perf_counter() - began_s
            out = os.pread(stdout, 1_000_000, 0) if keep_output else b""
        finally:
            os.close(stdout)
        if status:
            said = (self.scratch / "stderr").read_text()[-2000:]
            raise Failed(f"wait status {status} from {' '.join(command)[:200]}\n{said}")
        return Run(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * MAXRSS_BYTES, out)

    def interleaved(self, commands: Dict[str, List[str]], rounds: int) -> Dict[str, List[Run]]:
        """Every command once a round, so that a noisy moment hits all alike; a first round, to fill caches, is dropped."""
        runs: Dict[str, List[Run]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, command in commands.items():
                run = self.run(command)
                runs[name] += [run] if number else []
        return runs
