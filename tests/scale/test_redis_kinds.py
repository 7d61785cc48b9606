"""The other ways to reach Redis: a cluster, sentinels, TLS, a Unix socket, a password; and scripts that were flushed."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
from pathlib import Path

import pytest
from engines import PATIENT_S, RedisServer, free_port, need_redis, use
from running import until

from llm_router_gateway.limiter.leases import BeatAsk, EngineAway
from llm_router_gateway.limiter.redis import RedisEngine

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _redis() -> None:
    need_redis()


def test_a_password_and_a_database(tmp_path: Path) -> None:
    with RedisServer.start(tmp_path / "engine") as server:
        server.say("CONFIG", "SET", "requirepass", "pass-word")
        assert asyncio.run(use(f"redis://:pass-word@127.0.0.1:{server.port}/3"))
        with pytest.raises(EngineAway) as caught:
            asyncio.run(use(f"redis://:wrong-word@127.0.0.1:{server.port}/3"))
        assert "wrong-word" not in str(caught.value) and f"127.0.0.1:{server.port}" in str(caught.value)


def test_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with RedisServer.start(tmp_path / "engine", "--unixsocket", str(socket)):
        assert asyncio.run(use(f"unix://{socket}"))


def test_a_cluster(tmp_path: Path) -> None:
    options = [
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        str(free_port()),
    ]  # by default 10,000 above the first, if that is one
    with RedisServer.start(tmp_path / "engine", *options) as server:
        assert server.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
        until(lambda: server.say("SET", "x", "1") == "+OK", "the cluster is up")
        assert asyncio.run(use(f"redis+cluster://127.0.0.1:{server.port}"))


def test_sentinels(tmp_path: Path) -> None:
    sentinel = shutil.which("redis-sentinel")
    if sentinel is None:
        pytest.skip("redis-sentinel is not installed: apt install redis-sentinel")
    with RedisServer.start(tmp_path / "engine") as server:
        port, file = free_port(), tmp_path / "sentinel.conf"
        file.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
        with subprocess.Popen([sentinel, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                watch = RedisServer("", tmp_path)
                watch.port = port
                until(lambda: watch.say("PING") == "+PONG", "the sentinel is up")
                assert asyncio.run(use(f"redis+sentinel://127.0.0.1:{port}/main/0"))
            finally:
                process.kill()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file",
               str(certificate), "--tls-auth-clients", "no"]  # fmt: skip
    with RedisServer.start(tmp_path / "engine", *options):
        assert asyncio.run(use(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"))
        with pytest.raises(EngineAway):
            asyncio.run(use(f"rediss://127.0.0.1:{port}/0"))  # a certificate that nothing vouches for
        gc.collect()  # redis-py leaves the transport of a refused handshake to the collector: here, and not in a later test


def test_scripts_that_were_flushed_are_loaded_again_within_the_same_message(tmp_path: Path) -> None:
    async def flushed(server: RedisServer) -> None:
        engine = RedisEngine(server.url, timeout_s=PATIENT_S)
        try:
            first = await engine.beat(BeatAsk("l/a", 0, 0, True, 0, ()))
            server.say("SCRIPT", "FLUSH")
            second = await engine.beat(BeatAsk("l/a", first.epoch, first.tick, True, 0, ()))
            assert (second.epoch, second.tick) == (first.epoch, first.tick + 1)
        finally:
            await engine.close()

    with RedisServer.start(tmp_path / "engine") as server:
        asyncio.run(flushed(server))


def test_a_restart_is_seen_even_where_nothing_was_lost(tmp_path: Path) -> None:
    async def restarted(server: RedisServer) -> None:
        engine = RedisEngine(server.url, timeout_s=PATIENT_S)
        try:
            first = await engine.beat(BeatAsk("l/a", 0, 0, True, 0, ()))
            server.say("SAVE")
            server.restart()
            second = await engine.beat(BeatAsk("l/a", first.epoch, first.tick, True, 0, ("l/b",)))
            assert second.epoch > first.epoch and not second.is_open
        finally:
            await engine.close()

    with RedisServer.start(tmp_path / "engine") as server:
        asyncio.run(restarted(server))
