"""A real PostgreSQL on loopback, of its own directory, for tests and benchmarks; and the reason where there can be none.

    with PostgresServer() as server:
        url = server.database()       "postgresql://llm_router:...@127.0.0.1:PORT/db_1", empty
        server.kill(); server.start()

A conftest.py that imports `postgres` gives its tests one server for the whole run, or skips them with the reason.

A cluster refuses to run as root: then it runs as the user `postgres`, which its package creates.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from running import until

PLACES = "/usr/lib/postgresql"
USER = "llm_router"
START_S, STOP_S = 60.0, 30.0


def programs() -> Path | None:
    """The folder of the newest PostgreSQL that is installed."""
    found = sorted(Path(PLACES).glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).parent if path else None


def missing() -> str:
    """Why there is no server here; "" when there can be one."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'psycopg[binary]>=3.2'"
    if programs() is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    return ""


class PostgresServer:
    """`settings` are lines of postgresql.conf; without them nothing is synced, which only a power failure would notice."""

    def __init__(self, *settings: str) -> None:
        found = programs()
        assert found is not None, missing()
        self._programs, self._settings = found, settings or ("fsync = off", "full_page_writes = off")
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="llm-router-postgres-"))
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.password = f"pw-{secrets.token_hex(8)}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._make()

    def _run(self, *words: str) -> None:
        how: dict[str, Any] = {"cwd": self._folder, "capture_output": True, **self._user}
        done = subprocess.run([str(self._programs / words[0]), *words[1:]], timeout=START_S, check=False, **how)
        assert done.returncode == 0, done.stderr.decode()

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(self.password)
        for each in (self._folder, password):
            if self._user:
                shutil.chown(each, "postgres", "postgres")
        self._run("initdb", "-D", str(self._folder / "data"), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}",
                  "--encoding=UTF8", "--no-locale", "--no-sync")  # fmt: skip
        lines = ("listen_addresses = '127.0.0.1'", f"port = {self.port}", "unix_socket_directories = ''",
                 "max_connections = 200", *self._settings)  # fmt: skip
        with (self._folder / "data" / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        how: dict[str, Any] = {"cwd": self._folder, "stdout": log, "stderr": log, **self._user}
        argv = [str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        self._process = subprocess.Popen(argv, start_new_session=True, **how)
        log.close()
        until(self.is_ready, "PostgreSQL is ready", START_S)

    def is_ready(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self._folder / "log").read_text()
        words = [str(self._programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(words, check=False, timeout=START_S).returncode == 0

    def stop(self) -> None:
        """At once, and in good order: clients lose their connections."""
        self.resume()
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a machine that is switched off: every process of it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for pid in self._children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _children(self) -> list[int]:
        """The processes of the cluster: each leads a session of its own."""
        assert self._process is not None
        found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(word) for word in found.read_text().split()] if found.exists() else []

    def _signal_all(self, number: int) -> None:
        if self._process is None:
            return
        for pid in (self._process.pid, *self._children()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause(self) -> None:
        """It takes connections and does not answer."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{name}"

    def database(self) -> str:
        """The address of a new and empty database."""
        import psycopg

        self._count += 1
        name = f"db_{self._count}"
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    why = missing()
    if why:
        pytest.skip(why)
    with PostgresServer() as server:
        yield server
