"""A whole deployment as processes on loopback: nginx, gateways with workers, Redis, PostgreSQL.

    with Deployment(folder, upstream.url) as site:
        site.port                       nginx; its answers name the gateway in x-served-by
        site.places[0].kill_worker()    kill -9 of one of its workers
        site.places[0].kill(), .start() kill -9 of the gateway and its workers; the same port and files again
        site.engine, site.store         see engines.RedisServer, postgres_server.PostgresServer
        site.nginx.restart()

Every process of a gateway has the variable MARK in its environment: `site.leftovers()` finds those that outlive it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from engines import RedisServer, free_port, need_redis
from postgres_server import PostgresServer
from postgres_server import missing as missing_postgres
from running import Process, made_up, until
from spread import workers_of

MARK = "DEPLOYMENT_OF_A_TEST"
START_S = 60.0  # reached only by a failure
NGINX = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream gateways {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
      proxy_next_upstream error;
      add_header x-served-by $upstream_addr always;
    }}
  }}
}}
"""


def nginx_program() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def need_all() -> None:
    """Skips the test with the reason where a part is missing."""
    need_redis()
    if why := missing_postgres():
        pytest.skip(why)
    if nginx_program() is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")


CONFIG = """\
[server]
store = "{store}"
workers = 2
log_level = "warn"
retry_alone_s = 0
{server}
[state]
url = "{state}"
[health]
failures_to_open = 1000000
[[providers]]
name = "o"
api = "openai"
base_url = "{upstream}/v1"
api_key = "x"
{models}
[[groups]]
name = "pair"
strategy = "priority"
members = [{ model = "o/bad", priority = 2 }, { model = "o/good" }]
{keys}
"""


def config_with(upstream: str, models: str, keys: str, server: str = "") -> str:
    """A gateway's configuration with one provider; {store} and {state} are the deployment's to fill in."""
    filled = CONFIG
    for name, text in (("upstream", upstream), ("models", models), ("keys", keys), ("server", server)):
        filled = filled.replace(f"{{{name}}}", text)
    return filled


class Nginx:
    """In front of the gateways: round robin, connections kept, nothing sent twice."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=self.port, servers=servers))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = nginx_program()
        assert program is not None
        argv = [program, "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(self._listens, "nginx listens", START_S)

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self.folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 5.0).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()  # at once: open requests are cut
            self._process.wait(START_S)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


class Place:
    """One gateway's port and files, and the process that has them now."""

    def __init__(self, folder: Path, config: str, env: dict[str, str]) -> None:
        self.folder, self.config, self.port = folder, config, free_port()
        self.env = {**env, "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir(parents=True)
        self.process: Process | None = None
        self.logs: list[str] = []  # of the processes before

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Tried again while the port is not free: workers of a killed gateway leave it a moment later."""
        give_up = time.monotonic() + START_S
        while True:
            try:
                self.process = Process(self.folder, self.config, "-p", str(self.port), env=self.env)
                self.process.token = self.env["LLM_ROUTER_ADMIN_TOKEN"]
                return
            except AssertionError as error:
                assert "cannot listen" in str(error) and time.monotonic() < give_up, error
                time.sleep(0.05)

    def workers(self) -> list[int]:
        return workers_of(self.pid)

    def kill(self, *, home_only: bool = False) -> None:
        """kill -9. The workers of a dead home end by themselves."""
        assert self.process is not None
        workers = [] if home_only else self.workers()
        self.process.signal(signal.SIGKILL)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.ended()
        self.logs.append(self.process.log)
        self.process = None

    def end(self) -> int | None:
        """Its exit code after SIGTERM; None where there is no process."""
        if self.process is None:
            return None
        code = self.process.end()
        self.logs.append(self.process.log)
        self.process = None
        return code

    def get(self, path: str) -> Any:
        assert self.process is not None
        return self.process.get(path).json

    def metrics(self) -> dict[str, float]:
        """Every line of /metrics: its name with labels, and its value."""
        assert self.process is not None
        text = self.process.get("/metrics").data.decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def faults(self) -> list[str]:
        """What its logs say of faults of its own."""
        logs = [*self.logs, self.process.log if self.process is not None else ""]
        marks = ("Please report this line", "Traceback", "never retrieved", "was not handled")
        return [line for log in logs for line in log.splitlines() if any(mark in line for mark in marks)]


class Deployment:
    """All of it."""

    def __init__(self, folder: Path, config: str, *, gateways: int = 2, env: dict[str, str] | None = None) -> None:
        """`config` has {store} and {state} where the addresses of the engines go."""
        self.folder, self.mark = folder, made_up("mark")
        self.admin = made_up("admin")
        self.places: list[Place] = []
        self.nginx: Nginx | None = None
        self.engine = RedisServer(need_redis(), folder / "engine")
        self.store = PostgresServer()
        try:
            self.store.start()
            self.engine.run()
            self.url = self.store.database()
            text = config.replace("{store}", self.url).replace("{state}", self.engine.url)
            given = {**(env or {}), MARK: self.mark, "LLM_ROUTER_ADMIN_TOKEN": self.admin}
            for number in range(gateways):
                self.places.append(Place(folder / f"gateway-{number}", text, given))
                self.places[-1].start()
            self.nginx = Nginx(folder / "nginx", [place.port for place in self.places])
            self.nginx.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def port(self) -> int:
        assert self.nginx is not None
        return self.nginx.port

    def place_at(self, address: str) -> int:
        """Which gateway an x-served-by names; -1 where it is none."""
        port = address.rpartition(",")[2].rpartition(":")[2].strip()
        return next((number for number, place in enumerate(self.places) if str(place.port) == port), -1)

    def leftovers(self) -> list[int]:
        """The processes of its gateways that are there."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            self.engine.thaw() if self.engine.process is not None and self.engine.process.poll() is None else None
        for place in self.places:
            place.end()
        if self.nginx is not None:
            self.nginx.stop()
        self.engine.__exit__(kind, error, trace)
        self.store.__exit__(kind, error, trace)
