"""The gateways that gateway.py measures: ours, and its peers as their makers ship them; how each is got, started and asked.

    with Sides(bench, traffic, directory) as sides:     # directory: where the peers are, or will be, installed
        side = sides.start("Portkey")                   # Skipped, with the reason, where it cannot be had
        side.request(CHAT), side.address, side.cpu_s(), side.rss_bytes()

One worker each and no database; ours and LiteLLM have a token to check, ours and nginx write a log line for each request. The
bare relay is no peer: it shows what asyncio itself costs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

from measure import SCRIPTS, Bench, Failed
from prepared import CHAT, RESPONSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from traffic import Traffic

OURS, PORTKEY, LITELLM, NGINX, BARE = "ours", "Portkey", "LiteLLM", "nginx", "bare asyncio"
READY_S = 120.0  # the slowest peer takes a tenth of this to answer
LOOK_EVERY_S = 0.002  # between two looks whether it answers
INSTALL_S = 900
STOP_S = 10.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # it would ask the Internet for prices at the start

MESSAGES = "/v1/messages"
SYSTEM = "You answer in one or two plain sentences. Say so when you do not know."
TURNS = [
    {"role": "user", "content": "caller-0000: which small wallaby is said to smile?"},
    {"role": "assistant", "content": "The quokka, which lives on Rottnest Island."},
    {"role": "user", "content": "How large is it, and what does it eat?"},
]
BODIES: Dict[str, Dict[str, Any]] = {
    CHAT: {"messages": [{"role": "system", "content": SYSTEM}, *TURNS], "temperature": 0.5, "max_tokens": 300},
    MESSAGES: {"system": SYSTEM, "messages": TURNS, "temperature": 0.5, "max_tokens": 300},
    RESPONSES: {"instructions": SYSTEM, "input": TURNS, "temperature": 0.5, "max_output_tokens": 300},
}
ROUTER_TOML = """
[[providers]]
name = "upstream"
api = "openai"
base_url = "{base_url}"
api_key_env = "BENCH_UPSTREAM_KEY"

[[providers]]
name = "responses"
api = "responses"
base_url = "{base_url}"
api_key_env = "BENCH_UPSTREAM_KEY"
"""
LITELLM_YAML = """
model_list:
  - model_name: upstream/bench
    litellm_params: {{model: openai/bench, api_base: "{base_url}", api_key: "{key}"}}
  - model_name: responses/bench
    litellm_params: {{model: openai/bench, api_base: "{base_url}", api_key: "{key}"}}
  - model_name: chat/bench  # LiteLLM makes chats of Responses where it takes the provider for one without them
    litellm_params: {{model: deepinfra/bench, api_base: "{base_url}", api_key: "{key}"}}
litellm_settings: {{use_chat_completions_url_for_anthropic_messages: true}}
general_settings: {{master_key: "sk-{token}"}}
"""
PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "*"},
    # With the 1.x that npm would choose every stream is a 500: Portkey-AI/gateway issue 1389.
    "overrides": {"@hono/node-server": "2.1.8"},
}
NGINX_CONF = """
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log {scratch}/nginx-access.log;
  client_body_temp_path {scratch}/nginx-body; proxy_temp_path {scratch}/nginx-proxy; fastcgi_temp_path {scratch}/nginx-f;
  uwsgi_temp_path {scratch}/nginx-u; scgi_temp_path {scratch}/nginx-s;
  keepalive_requests 1000000;
  upstream upstream {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location = /health {{ return 200; }}
    location / {{
      proxy_pass http://upstream; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {key}";
    }}
  }}
}}
"""
BARE_RELAY = """
import asyncio, sys
class Up(asyncio.Protocol):
    def __init__(self, caller): self.caller = caller
    def data_received(self, data): self.caller.write(data)
    def connection_lost(self, exc): self.caller.close()
class Down(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.up, self.waiting = transport, None, b""
        asyncio.ensure_future(self.connect())
    async def connect(self):
        made = asyncio.get_running_loop().create_connection(lambda: Up(self.transport), "127.0.0.1", int(sys.argv[2]))
        self.up, _ = await made
        self.up.write(self.waiting)
    def data_received(self, data):
        if self.up: self.up.write(data)
        else: self.waiting += data
    def connection_lost(self, exc):
        if self.up: self.up.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Down, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


class Skipped(Exception):
    """A peer cannot be had here; the reason is for people."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def installed(command: List[str], cwd: Optional[Path] = None) -> None:
    """Run an installer in this user's own environment, which knows where packages are. Skipped when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, cwd=cwd, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as wrong:
        raise Skipped(f"{command[0]}: {wrong}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise Skipped(f"{Path(command[0]).name} ended with {done.returncode}: {last[:200]}")


def tree(pid: int) -> List[int]:
    """A process and all that come from it."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(each for child in children for each in tree(child))]


def cpu_clock_s(pid: int) -> float:
    """User and system time of another process, all its threads, to the nanosecond: clock_getcpuclockid(3) on Linux."""
    return time.clock_gettime((~pid << 3) | 2)


class Side:
    """A gateway that runs."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, ready_s: float, headers: Dict[str, str]) -> None:
        self.name, self.process, self.ready_s = name, process, ready_s
        self.address = ("127.0.0.1", port)
        self._headers = headers

    def request(self, path: str, model: str, stream: bool = False, **more: Any) -> bytes:
        """One whole request, as bytes."""
        fields = {"model": model, **BODIES[path], **more}
        if stream:
            fields["stream"] = True
            if path == CHAT:
                fields["stream_options"] = {"include_usage": True}
        body = json.dumps(fields, separators=(",", ":")).encode()
        head = {"Host": f"127.0.0.1:{self.address[1]}", "Content-Type": "application/json", "Content-Length": str(len(body))}
        head.update(self._headers, Accept="*/*")
        head.update({"Anthropic-Version": "2023-06-01"} if path == MESSAGES else {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def cpu_s(self) -> float:
        return sum(map(cpu_clock_s, tree(self.process.pid)))

    def rss_bytes(self) -> int:
        """Resident memory, its children's included."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in tree(self.process.pid))
        return sum(pages) * PAGE_BYTES

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sides:
    """Starts gateways, and ends them all at its own end."""

    def __init__(self, bench: Bench, traffic: Traffic, directory: Path) -> None:
        self._bench, self._traffic, self._directory = bench, traffic, directory
        self._key = f"sk-{os.urandom(16).hex()}"  # the upstream's, of the usual form
        self._token = os.urandom(16).hex()  # of our callers
        self._running: List[Side] = []
        self.versions = {OURS: f"Python {sys.version.split()[0]}"}
        self._commands: Dict[str, Callable[[int], Tuple[List[str], Dict[str, str], str]]] = {
            OURS: self._ours, PORTKEY: self._portkey, LITELLM: self._litellm, NGINX: self._nginx,
            BARE: self._bare,
        }  # fmt: skip

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *_: object) -> None:
        for side in self._running:
            side.stop()

    def log(self, name: str) -> Path:
        """What the side of this name wrote to stderr and stdout."""
        return self._bench.scratch / f"{name}.log"

    def start(self, name: str) -> Side:
        """Started and answering. Skipped when it cannot be installed."""
        port = free_port()
        command, headers, path = self._commands[name](port)
        env = {**self._bench.env, "BENCH_UPSTREAM_KEY": self._key, "LLM_ROUTER_TOKEN": self._token, **OFFLINE}
        with open(self.log(name), "wb") as log, open(os.devnull, "rb") as nothing:
            began_s = time.perf_counter()
            process = subprocess.Popen(command, env=env, stdin=nothing, stdout=log, stderr=log, cwd=self._bench.scratch)
        side = Side(name, process, port, 0.0, headers)
        self._running.append(side)
        self._wait(side, path)
        side.ready_s = time.perf_counter() - began_s
        return side

    def stop(self, side: Side) -> None:
        self._running.remove(side)
        side.stop()

    def _wait(self, side: Side, path: str) -> None:
        """Until it answers."""
        url, limit_s = f"http://127.0.0.1:{side.address[1]}{path}", time.perf_counter() + READY_S
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.perf_counter() < limit_s:
            if side.process.poll() is not None:
                break
            try:
                if not path:  # all that can be asked of it
                    socket.create_connection(side.address, READY_S).close()
                    return
                with direct.open(url, timeout=READY_S):
                    return
            except OSError:
                time.sleep(LOOK_EVERY_S)
        said = self.log(side.name).read_text(errors="replace")[-2000:]
        raise Failed(f"{side.name} does not answer\n{said}")

    # -- how each is got and started: its command, what its callers send, a path that answers when it is ready ("" for none)

    def _ours(self, port: int) -> Tuple[List[str], Dict[str, str], str]:
        config = self._bench.scratch / "router.toml"
        config.write_text(ROUTER_TOML.format(base_url=self._traffic.base_url))
        command = [sys.executable, str(SCRIPTS / "llm_router_gateway"), "--config", str(config), "--port", str(port)]
        return command, {"Authorization": f"Bearer {self._token}"}, "/health"

    def _portkey(self, port: int) -> Tuple[List[str], Dict[str, str], str]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            raise Skipped("it needs node and npm")
        home = self._directory / "portkey"
        package = home / "node_modules" / "@portkey-ai" / "gateway"
        if not package.exists():
            home.mkdir(parents=True, exist_ok=True)
            (home / "package.json").write_text(json.dumps(PORTKEY_PACKAGE))
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps", "--loglevel", "error"]
            installed([npm, "install", "--prefix", str(home), *options], cwd=home)
        self.versions[PORTKEY] = f"@portkey-ai/gateway {json.loads((package / 'package.json').read_text())['version']}"
        headers = {
            "Authorization": f"Bearer {self._key}",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": self._traffic.base_url,
        }
        return [node, str(package / "build" / "start-server.js"), f"--port={port}", "--headless"], headers, "/"

    def _litellm(self, port: int) -> Tuple[List[str], Dict[str, str], str]:
        home = self._directory / "litellm"
        python = home / "bin" / "python"
        if not (home / "bin" / "litellm").exists():
            venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
            installed([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "litellm[proxy]"])
        asked = [str(python), "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
        self.versions[LITELLM] = f"litellm {subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()}"
        config = self._bench.scratch / "litellm.yaml"
        config.write_text(LITELLM_YAML.format(base_url=self._traffic.base_url, key=self._key, token=self._token))
        options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        headers = {"Authorization": f"Bearer sk-{self._token}"}
        return [str(python), str(home / "bin" / "litellm"), *options], headers, "/health/liveliness"

    def _nginx(self, port: int) -> Tuple[List[str], Dict[str, str], str]:
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or self._unpacked_nginx()
        asked = subprocess.run([nginx, "-v"], capture_output=True, text=True)
        self.versions[NGINX] = asked.stderr.strip().replace("nginx version: ", "").replace("/", " ")
        config = self._bench.scratch / "nginx.conf"
        upstream = "{}:{}".format(*self._traffic.address)
        config.write_text(NGINX_CONF.format(scratch=self._bench.scratch, port=port, key=self._key, upstream=upstream))
        return [nginx, "-c", str(config), "-p", str(self._bench.scratch)], {}, "/health"

    def _bare(self, port: int) -> Tuple[List[str], Dict[str, str], str]:
        """No gateway at all: bytes from one socket to the other in Python. Nothing on asyncio is cheaper."""
        return [sys.executable, "-c", BARE_RELAY, str(port), str(self._traffic.address[1])], {}, ""

    def _unpacked_nginx(self) -> str:
        """Debian's package, unpacked and not installed."""
        home = self._directory / "nginx"
        binary = home / "usr" / "sbin" / "nginx"
        if not binary.exists():
            home.mkdir(parents=True, exist_ok=True)
            installed(["apt-get", "download", "nginx"], cwd=home)
            for package in home.glob("nginx_*.deb"):
                installed(["dpkg", "-x", str(package), str(home)])
        if not binary.exists():
            raise Skipped("the package has no nginx in it")
        if subprocess.run([str(binary), "-v"], capture_output=True).returncode:
            raise Skipped("the unpacked package does not run: a library is missing")
        return str(binary)
