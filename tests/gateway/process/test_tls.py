"""references/gateway-tls.md as pasted: certificates, nginx, the gateway behind it, and clients that trust that authority.

Only ports and the provider's address are others. nginx is the installed one; without it these tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from pages import Shell
from running import WAIT_S, Process, Upstream, begun_stream, made_up, sends, until, whole_stream

PAGE = (Path(__file__).parents[3] / "references" / "gateway-tls.md").read_text(encoding="utf-8")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = [pytest.mark.slow]


def block(language: str) -> str:
    [text] = re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGE)
    return str(text)


def commands(title: str) -> list[str]:
    """The commands of one section."""
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [line for text in re.findall(r"(?ms)^```sh\n(.*?)^```", section) for line in text.splitlines()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Site:
    """The folder that the page fills, with nginx running in it."""

    def __init__(self, folder: Path, start: Callable[..., Process], base_url: str) -> None:
        self.folder, self.port = folder, free_port()
        self.shell = Shell(folder, OPENAI_API_KEY=made_up("openai"))
        self.shell.env["PATH"] += f":{Path(str(NGINX)).parent}"
        (folder / "server.ext").write_text(block("ini"))
        toml = block("toml").replace('name = "openai"\n', f'name = "openai"\nbase_url = "{base_url}"\n')
        (folder / "router.toml").write_text(toml)
        certificates, (key, show, check) = commands("A certificate"), commands("Starting both")[:3]
        for command in (*certificates, key, show):
            self.shell.run(command)
        self.gateway = start(toml, folder=folder, env={"OPENAI_API_KEY": made_up("openai")})
        self.gateway.token = (folder / "caller.key").read_text().strip()
        conf = block("nginx").replace("127.0.0.1:8000", f"127.0.0.1:{self.gateway.port}")
        (folder / "nginx.conf").write_text(conf.replace("127.0.0.1:8443", f"127.0.0.1:{self.port}"))
        self.shell.run(check)
        serve, front = commands("Starting both")[3:]
        assert serve == "python3 scripts/llm_router_gateway --config router.toml"  # as above, on a free port
        self.process = subprocess.Popen(
            ["sh", "-c", f"exec {front}"], cwd=folder, env=self.shell.env, stderr=subprocess.DEVNULL
        )
        until(self.is_open, "nginx listens")

    def is_open(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def connection(self, name: str = "localhost") -> HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as newer Pythons have it
        return HTTPSConnection(name, self.port, timeout=WAIT_S, context=context)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)


@pytest.fixture
def behind(tmp_path: Path, start: Callable[..., Process]) -> Iterator[Callable[[str], Site]]:
    made: list[Site] = []

    def begin(base_url: str) -> Site:
        if NGINX is None or not shutil.which("openssl") or not shutil.which("curl"):
            pytest.skip("nginx, openssl or curl is not on this machine")
        made.append(Site(tmp_path, start, base_url))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def test_every_command_of_the_page_runs_as_pasted(behind: Callable[[str], Site]) -> None:
    from llm_router_demo import DemoServer

    with DemoServer(any_model=True) as provider:
        site = behind(provider.base_url)
        lines = [line.replace("localhost:8443", f"localhost:{site.port}") for line in commands("Clients")]
        assert len(lines) == 6
        settings = lines[3]
        assert settings.startswith("export SSL_CERT_FILE=ca.pem ")
        assert site.shell.run(lines[0]) == ""
        assert json.loads(site.shell.run(f"{lines[1]} --fail-with-body -sS"))["status"] == "ready"
        assert json.loads(site.shell.run(f"{lines[2]} --fail-with-body -sS"))["object"] == "list"
        assert "ok" in site.shell.run(f"{settings}; {lines[4]}")
        assert "Count to ten." in site.shell.run(f"{settings}; {lines[5]}")
        refused = subprocess.run(
            ["bash", "-c", f"{settings}; unset SSL_CERT_FILE; {lines[5]}"], cwd=site.folder, env=site.shell.env,
            capture_output=True, timeout=WAIT_S,
        )  # fmt: skip
        assert (refused.returncode, b"certificate of localhost was refused" in refused.stderr) == (7, True), refused


def test_a_stream_comes_through_piece_by_piece(behind: Callable[[str], Site], upstream: Upstream) -> None:
    """The first words are there while the provider still holds the rest."""
    import threading

    gate = threading.Event()
    begun, whole = begun_stream("openai"), whole_stream("openai")

    def two_halves(sock: Any, asked: Any) -> Any:
        sock.sendall(begun)
        assert gate.wait(WAIT_S)
        sock.sendall(whole[len(begun) :])

    assert whole.startswith(begun)
    upstream.does(two_halves)
    site = behind(f"{upstream.url}/v1")
    body = {"model": "gpt-5.4", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    given = {"authorization": f"Bearer {site.gateway.token}", "content-type": "application/json"}
    with closing(site.connection()) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), given)
        response = connection.getresponse()
        first = response.readline()
        assert first.startswith(b"data: ")
        assert not gate.is_set()
        gate.set()
        assert b"[DONE]" in response.read()


def test_callers_are_distinguished_and_names_are_checked(behind: Callable[[str], Site], upstream: Upstream) -> None:
    upstream.does(sends(b""))
    site = behind(f"{upstream.url}/v1")
    with socket.create_connection(("127.0.0.1", site.port), WAIT_S) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 400 " in plain.recv(4_096), "nothing but TLS"
    for host, status in (("llm.example", 401), ("localhost", 401), ("evil.example", 403)):
        with closing(site.connection()) as connection:
            connection.request("GET", "/v1/models", headers={"Host": host})  # no key: no caller is local behind a proxy
            answer = connection.getresponse()
            assert (answer.status, answer.read() != b"") == (status, True), host
