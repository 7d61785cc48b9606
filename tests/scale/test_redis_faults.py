"""A Redis that answers and refuses: a wrong password, missing rights, a full memory, a replica, a cluster that is gone."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from engines import PATIENT_S, RedisServer, free_port, need_redis, use
from listeners import stop_listening
from replicas import Replicas
from running import command, until

from llm_router_gateway.limiter.leases import BeatAsk, EngineAway
from llm_router_gateway.limiter.redis import RedisEngine

pytestmark = pytest.mark.slow
PAGE = Path(__file__).resolve().parents[2] / "references" / "scaling.md"
FULL, ROOM = "1000", "0"  # values of maxmemory: less than an empty server has, and no limit


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    need_redis()
    with RedisServer.start(tmp_path / "engine") as started:
        yield started


def with_engine(url: str, work: Callable[[RedisEngine], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = RedisEngine(url, timeout_s=PATIENT_S)
        try:
            await work(engine)
        finally:
            await engine.close()

    asyncio.run(run())


async def refusal_of(engine: RedisEngine, ask: BeatAsk | None = None) -> str:
    with pytest.raises(EngineAway) as caught:
        await engine.beat(ask or BeatAsk("l/a", 0, 0, True, 0, ()))
    return str(caught.value)


def test_a_full_memory_is_said_and_leaves_nothing_half_done(server: RedisServer) -> None:
    async def work(engine: RedisEngine) -> None:
        first = await engine.beat(BeatAsk("l/a", 0, 0, True, 0, ()))
        server.say("CONFIG", "SET", "maxmemory", FULL)
        text = await refusal_of(engine, BeatAsk("l/a", first.epoch, first.tick, True, 0, ()))
        assert "refuses: OutOfMemoryError" in text and "it is full: raise its maxmemory" in text
        # A script that has deleted something before it writes is carried out whole, memory or not: here, a new epoch.
        other = await engine.beat(BeatAsk("l/b", first.epoch + 5, 0, True, 0, ()))
        assert (other.epoch, other.tick, other.holders) == (max(other.epoch, first.epoch + 6), 1, ("l/b",))
        server.say("CONFIG", "SET", "maxmemory", ROOM)
        again = await engine.beat(BeatAsk("l/b", other.epoch, other.tick, True, 0, ()))
        assert (again.epoch, again.tick) == (other.epoch, other.tick + 1)

    with_engine(server.url, work)


def test_a_wrong_password_is_said_as_one(server: RedisServer) -> None:
    server.say("CONFIG", "SET", "requirepass", "pass-word")

    async def work(engine: RedisEngine) -> None:
        text = await refusal_of(engine)
        assert "refuses: AuthenticationError" in text and "check user and password in [state] url" in text
        assert "wrong-word" not in text

    with_engine(f"redis://:wrong-word@127.0.0.1:{server.port}/0", work)


class Address:
    """One address behind which the server changes, as a name does in a fail-over."""

    def __init__(self, port: int) -> None:
        self.port, self._listening = port, socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection(("127.0.0.1", self.port))
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError), one, other:
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        stop_listening(self._listening)


def test_a_primary_that_became_a_replica_is_left_for_the_one_that_its_address_leads_to_now(
    server: RedisServer, tmp_path: Path
) -> None:
    with RedisServer.start(tmp_path / "second") as second:
        address = Address(server.port)

        async def work(engine: RedisEngine) -> None:
            first = await engine.beat(BeatAsk("l/a", 0, 0, True, 0, ()))
            assert server.say("REPLICAOF", "127.0.0.1", str(second.port)) == "+OK"
            address.port = second.port
            text = await refusal_of(engine)
            assert "refuses: ReadOnlyError" in text and "it is a replica: name the primary" in text
            after = await engine.beat(BeatAsk("l/a", first.epoch, first.tick, True, 0, ()))  # the next one arrives
            assert after.epoch > first.epoch

        with_engine(address.url, work)
        address.close()


def test_a_cluster_that_is_gone_is_away_like_any_other_engine(tmp_path: Path) -> None:
    need_redis()
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with RedisServer.start(tmp_path / "engine", *options) as server:
        server.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        until(lambda: server.say("SET", "x", "1") == "+OK", "the cluster is up")

        async def work(engine: RedisEngine) -> None:
            await engine.beat(BeatAsk("l/a", 0, 0, True, 0, ()))
            server.say("CLUSTER", "DELSLOTS", "1")  # it refuses everything then
            assert "refuses" in await refusal_of(engine) or "does not answer" in await refusal_of(engine)
            server.kill()
            for _ in range(3):
                assert "does not answer" in await refusal_of(engine)

        with_engine(f"redis+cluster://127.0.0.1:{server.port}", work)


# -- rights


def acl_of_the_page() -> list[str]:
    found = re.search(r"^ACL SETUSER gateway .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[0].replace("PASSWORD", "pass-word").split(" ")


def test_the_rights_that_the_page_names_are_enough_and_no_more_than_the_prefix(server: RedisServer) -> None:
    assert server.say(*acl_of_the_page()) == "+OK"
    url = f"redis://gateway:pass-word@127.0.0.1:{server.port}/0"  # pragma: allowlist secret
    assert asyncio.run(use(url))

    async def work(engine: RedisEngine) -> None:
        assert await engine.probe() == ""

    with_engine(url, work)

    async def elsewhere() -> str:
        engine = RedisEngine(url, prefix="another", timeout_s=PATIENT_S)
        try:
            return await refusal_of(engine)
        finally:
            await engine.close()

    assert "give its user the rights that references/scaling.md names" in asyncio.run(elsewhere())


@pytest.mark.parametrize("missing", ["+@stream", "+time", "+set", "+@hash"])
def test_check_finds_a_right_that_is_missing(server: RedisServer, missing: str, tmp_path: Path) -> None:
    server.say(*(word for word in acl_of_the_page() if word != missing))
    code, out, _ = check(tmp_path, f"redis://gateway:pass-word@127.0.0.1:{server.port}/0")
    assert code == 1 and f"FAIL  redis://127.0.0.1:{server.port}/0" in out and "give its user the rights" in out, out
    assert "pass-word" not in out


def check(folder: Path, url: str) -> tuple[int, str, str]:
    """`--check` of a configuration without a provider that would answer."""
    (folder / "router.toml").write_text(
        f'[server]\nstore = "router.db"\n[state]\nurl = "{url}"\ntimeout_s = 5\n'
        '[[providers]]\nname = "o"\napi = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "x"\nany_model = true\n'
    )
    done = command(folder, "-c", "router.toml", "--check")
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_check_finds_a_full_one_a_replica_and_one_that_may_forget(server: RedisServer, tmp_path: Path) -> None:
    server.say("CONFIG", "SET", "maxmemory", FULL)
    assert "it is full: raise its maxmemory" in check(tmp_path, server.url)[1]
    server.say("CONFIG", "SET", "maxmemory", "1000000000")
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    _, out, err = check(tmp_path, server.url)
    assert f"ok    {server.url}" in out and "its maxmemory-policy is allkeys-lru" in err and "Set noeviction" in err
    server.say("REPLICAOF", "127.0.0.1", "9")
    assert "it is a replica: name the primary" in check(tmp_path, server.url)[1]


# -- gateways


def test_a_gateway_goes_on_beside_a_full_engine_as_beside_one_that_is_away(tmp_path: Path) -> None:
    with Replicas(tmp_path, count=1, key="budget = { usd_per_day = 5 }") as group:
        assert group.chat(0).status == 200
        group.server.say("CONFIG", "SET", "maxmemory", FULL)
        until(lambda: not group.is_up(0), "the gateway says so")
        assert "refuses: OutOfMemoryError" in group.shared(0)["why"]
        group.first.logged("it is full: raise its maxmemory: leased parts of budgets are spent")
        answer = until(lambda: (now := group.chat(0)).status != 200 and now, "the lease is spent")
        assert answer.status == 503 and "it is full" in answer.json["error"]["message"]
        group.server.say("CONFIG", "SET", "maxmemory", ROOM)
        until(lambda: group.chat(0).status == 200, "budgets are granted again", limit_s=40)
        group.first.logged("answers again")
