"""A whole gateway whose provider's key is printed by a command: in every worker, and anew after a refusal and a reload."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import PLAIN, Process, Upstream, close, command, http, made_up, sends, until
from spread import to_every_worker

Start = Callable[..., Process]
YES = http(json.dumps(PLAIN["openai"]).encode())
NO = http(b'{"error":{"message":"the token has expired","code":"c"}}', status="401 Unauthorized")
SECRET = made_up("argument")
# Each run prints another key and leaves a line behind.
PRINTER = f"""
import os, sys
assert sys.argv[1] == "{SECRET}"
with open("runs", "a") as runs:
    runs.write(str(os.getppid()) + chr(10))
with open("runs") as runs:
    number = len(runs.readlines())
print('{{"token": "printed-key-%d", "expires_in": 3600}}' % number)
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the printer is started by a script")


def config(folder: Path, url: str, server: str = "") -> str:
    (folder / "printer.py").write_text(PRINTER)
    argv = json.dumps([sys.executable, "printer.py", SECRET])
    return f"""
[server]
{server}
[[providers]]
name = "a"
api = "openai"
base_url = "{url}/v1"
any_model = true
api_key_command = {argv}
"""


def keys_sent(upstream: Upstream) -> list[str]:
    return [dict(asked.headers)["authorization"].removeprefix("Bearer ") for asked in list(upstream.requests)]


def test_it_is_run_when_needed_once_more_after_a_refusal_and_after_a_reload(
    start: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.does(sends(YES))
    gateway = start(config(tmp_path, upstream.url))
    assert not (tmp_path / "runs").exists()
    assert [gateway.chat("openai", "a/m").status for _ in range(3)] == [200] * 3
    assert keys_sent(upstream) == ["printed-key-1"] * 3

    def refuses_the_first(sock: Any, asked: Any) -> Any:
        is_old = dict(asked.headers)["authorization"].endswith("-1")
        return sends(NO if is_old else YES, close)(sock, asked)

    upstream.does(refuses_the_first)
    assert gateway.chat("openai", "a/m").status == 200
    assert keys_sent(upstream) == ["printed-key-1", "printed-key-2"]
    gateway.signal(signal.SIGHUP)
    gateway.logged("router.toml reloaded")
    assert gateway.chat("openai", "a/m").status == 200
    assert keys_sent(upstream)[-1] == "printed-key-3"
    assert "printed-key" not in gateway.log
    assert SECRET not in gateway.log


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")
def test_every_worker_runs_it_for_itself(start: Start, upstream: Upstream, tmp_path: Path) -> None:
    upstream.does(sends(YES))
    gateway = start(config(tmp_path, upstream.url, "workers = 2"))
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
    with to_every_worker(gateway) as both:
        for way in both * 3:
            assert way.send("POST", "/v1/chat/completions", body).status == 200
    assert sorted(keys_sent(upstream)) == ["printed-key-1"] * 3 + ["printed-key-2"] * 3
    assert len(set((tmp_path / "runs").read_text().split())) == 2


@pytest.mark.slow
def test_check_runs_it_and_says_what_is_wrong_with_it(upstream: Upstream, tmp_path: Path) -> None:
    upstream.does(sends(http(b'{"object": "list", "data": [{"id": "x"}]}')))
    (tmp_path / "router.toml").write_text(config(tmp_path, upstream.url))
    done = command(tmp_path, "--check")
    assert (done.returncode, b"accepts any name; lists 1" in done.stdout) == (0, True), done
    (tmp_path / "printer.py").write_text("import sys\nprint('half-a-key', file=sys.stderr)\nsys.exit(4)")
    done = command(tmp_path, "--check")
    assert done.returncode == 1
    assert b"FAIL  a  503 no_key: a: api_key_command: " in done.stdout
    assert b"failed with exit code 4: run it by hand" in done.stdout
    shown = done.stdout + done.stderr
    assert b"half-a-key" not in shown
    assert SECRET.encode() not in shown


@pytest.mark.slow
def test_a_dry_run_does_not_run_it(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text(config(tmp_path, upstream.url))
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    done = command(tmp_path, "convert", "--from", "openai", "--to", "a", "-c", "router.toml", stdin=body)
    assert json.loads(done.stdout)["request"]["headers"]["authorization"] == "Bearer ***", done
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_stop_does_not_wait_for_it(start: Start, upstream: Upstream, tmp_path: Path) -> None:
    import threading

    gateway = start(config(tmp_path, upstream.url, "drain_s = 0"))
    (tmp_path / "printer.py").write_text("import time\nopen('runs', 'w').close()\ntime.sleep(600)")
    threading.Thread(target=gateway.chat, args=("openai", "a/m"), daemon=True).start()
    until(lambda: (tmp_path / "runs").exists(), "the command runs")
    gateway.signal(signal.SIGTERM)
    assert gateway.ended() == 0
