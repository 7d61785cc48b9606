"""The home over real links: what it lets in, takes once, tells all, and whom it ends."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from configs import parse
from storing import call

from llm_router_gateway import __version__
from llm_router_gateway.cluster.home import Home, HomeParts, SharedAuthenticator, SharedSessions
from llm_router_gateway.cluster.leases import LeaseDesk, own_engine
from llm_router_gateway.cluster.messages import pack_record, unpack_logins
from llm_router_gateway.cluster.silence import SILENT_LOOKS
from llm_router_gateway.config.keys import digest_of, read_json
from llm_router_gateway.errors import BadRequest, Conflict
from llm_router_gateway.net.link import Link
from llm_router_gateway.proxy.log import Log
from llm_router_gateway.routing.state import RoutingState
from llm_router_gateway.store.keys import Row

LIMIT_S = 30.0


class House:
    """A home, its workers' links, and what came of them."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.ready: list[str] = []
        self.log = Log(stream=-1)
        self.authenticator = SharedAuthenticator(parse())
        self.home = Home(HomeParts(
            authenticator=self.authenticator, leases=LeaseDesk(own_engine(lambda: 0.0), None), routing_state=RoutingState(),
            conversations=None, owned=None, log=self.log, keep=lambda call, bodies: self.kept.append(call.request_id),
            config_text=lambda: "the configuration", clock=lambda: 0.0, expects=lambda name: name.startswith("worker"),
            on_ready=self.ready.append, count_attempts=lambda *_: None,
            end_worker=lambda name, why: self.ended.append((name, why)),
        ))  # fmt: skip
        self.authenticator.on_keys = self.home.push_keys
        self.authenticator.sessions = SharedSessions(self.home.push_sessions)
        self.links: list[Link] = []

    async def connect(self, **handlers: Callable[..., Any]) -> Link:
        one, two = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: Link(handlers), sock=one)
        await loop.create_connection(self.home.accept, sock=two)
        self.links.append(link)
        return link

    async def worker(self, name: str, **handlers: Callable[..., Any]) -> tuple[Link, Any]:
        link = await self.connect(**handlers)
        return link, await link.call("hello", name, 1, __version__)


def in_a_house(body: Callable[[House], Awaitable[None]]) -> None:
    async def run() -> None:
        house = House()
        try:
            async with asyncio.timeout(LIMIT_S):
                await body(house)
        finally:
            for link in house.links:
                link.close()
            house.home.close()
            await asyncio.sleep(0)

    asyncio.run(run())


def test_only_a_worker_that_was_started_is_let_in_once_and_of_the_same_version() -> None:
    async def body(house: House) -> None:
        for name, version, why in (("stranger", __version__, "is expected"), ("worker-1", "0.0.1", "restart the service")):
            with pytest.raises(Conflict, match=why):
                await (await house.connect()).call("hello", name, 1, version)
        _, welcome = await house.worker("worker-1")
        assert welcome["config"] == "the configuration" and welcome["is_kept"] is False
        with pytest.raises(Conflict):
            await house.worker("worker-1")

    in_a_house(body)


def test_before_its_name_a_connection_can_do_nothing() -> None:
    async def body(house: House) -> None:
        link = await house.connect()
        link.send("batch", 1, [pack_record((call(), None))], [], {})
        with pytest.raises(Exception, match="has no 'batch'"):
            await link.call("batch", 1, [], [], {})
        assert house.kept == []

    in_a_house(body)


def test_a_batch_counts_once_and_a_record_that_cannot_be_read_costs_no_other() -> None:
    async def body(house: House) -> None:
        link, _ = await house.worker("worker-1")
        records = [pack_record((call(request_id="a"), None)), ["nonsense"], pack_record((call(request_id="b"), None))]
        for _ in range(2):
            assert await link.call("batch", 1, records, ["a line\n"], {})
        assert await link.call("batch", 2, [pack_record((call(request_id="c"), None))], [], {})
        assert house.kept == ["a", "b", "c"]

    in_a_house(body)


def test_what_workers_have_leased_is_summed_up_and_goes_with_them() -> None:
    async def body(house: House) -> None:
        assert house.home.leased == {}
        links = []
        for name, usd in (("worker-1", 0.1), ("worker-2", 0.2)):
            link, welcome = await house.worker(name)
            assert welcome["processes"] == 1 and await link.call("settle") is True
            link.send("leased", {"keys": 1, "usd": usd, "tokens": 0, "slots": 2})
            assert await link.call("sums", 0) == {}  # messages are handled in their order
            links.append(link)
        assert house.home.leased == {"keys": 2, "usd": 0.3, "tokens": 0, "slots": 4}
        links[0].close()
        while len(house.home.workers) == 2:
            await asyncio.sleep(0)
        assert house.home.leased["usd"] == 0.2

    in_a_house(body)


def test_keys_and_logins_are_in_force_everywhere_once_in_force_returns() -> None:
    async def body(house: House) -> None:
        heard: list[Any] = []

        async def take_keys(rows: list[Any], generation: int, *_: str) -> bool:
            await asyncio.sleep(0)
            heard.append((len(rows), generation))
            return True

        def take_sessions(logins: Any) -> bool:
            heard.append(len(unpack_logins(logins).open))
            return True

        for name in ("worker-1", "worker-2"):
            await house.worker(name, keys=take_keys, sessions=take_sessions)
        house.authenticator.take([Row(read_json({"name": "ci"}), digest_of("s"), None)], 7)
        house.authenticator.sessions.begin(b"d", "token", 0.0)
        await house.home.in_force()
        assert sorted(map(str, heard)) == ["(1, 7)", "(1, 7)", "1", "1"]

    in_a_house(body)


def test_workers_know_when_the_keys_cannot_be_read_those_that_begin_then_too() -> None:
    async def body(house: House) -> None:
        heard: list[tuple[str, str]] = []

        def take_keys(rows: list[Any], generation: int, sealed: str, unknown: str, expired: str) -> bool:
            heard.append((unknown, expired))
            return True

        await house.worker("worker-1", keys=take_keys)
        house.authenticator.judge("try again", "")
        await house.home.in_force()
        _, welcome = await house.worker("worker-2", keys=take_keys)
        assert heard == [("try again", "")] and welcome["keys"][3:] == ["try again", ""]
        house.authenticator.judge("", "")
        await house.home.in_force()
        assert heard[1:] == [("", "")] * 2

    in_a_house(body)


def test_a_worker_that_cannot_take_over_what_all_have_is_ended() -> None:
    async def body(house: House) -> None:
        def refuse(text: str) -> bool:
            raise BadRequest("providers[0]: no")

        await house.worker("worker-1", config=refuse)
        await house.worker("worker-2", config=lambda text: True)
        house.home.push_config()
        await house.home.in_force()
        assert house.ended == [("worker-1", "it could not take over the config: providers[0]: no")]

    in_a_house(body)


def test_a_worker_without_a_sign_of_life_is_ended_and_one_with_is_not() -> None:
    async def body(house: House) -> None:
        alive, _ = await house.worker("worker-1")
        silent, _ = await house.worker("worker-2")
        await house.worker("worker-3")  # it still reads its configuration
        for link in (alive, silent):
            link.send("ready")
            await link.call("batch", 1, [], [], {})
        for _ in range(SILENT_LOOKS):
            alive.send("alive")
            await alive.call("lease", "leave", ["another"])
            house.home.look()
        assert house.ended == []
        alive.send("alive")
        await alive.call("lease", "leave", ["another"])
        house.home.look()
        assert house.ended == [("worker-2", f"showed no sign of life for {SILENT_LOOKS} s, and was ended")]

    in_a_house(body)


def test_spans_of_workers_that_ended_are_one_sum_however_many_there_were() -> None:
    async def body(house: House) -> None:
        for number in range(3):
            link, _ = await house.worker(f"worker-{number}")
            link.send("telemetry", {"exported": 10, "dropped": number, "waiting": 5})
            await link.call("batch", 1, [], [], {})
            assert len(house.home.telemetry) == 1 + (number > 0)
            link.close()
            while house.home.workers:
                await asyncio.sleep(0)
        assert house.home.telemetry == {"": {"exported": 30, "dropped": 3}}, "what waited in them is gone"

    in_a_house(body)


def test_what_one_worker_finds_goes_to_the_others_alone() -> None:
    async def body(house: House) -> None:
        heard: list[Any] = []
        got = asyncio.Event()

        def take(changes: Any) -> None:
            heard.append(changes)
            got.set()

        one, _ = await house.worker("worker-1", routing=lambda changes: heard.append("echo"))
        await house.worker("worker-2", routing=take)
        opened = [0.5, 0.0, 3, 1, 30.0, 0.0, None, 0.0, 0, 3, "503", 2]
        one.send("routing", {"members": {"p/m": opened, "p/well": [1.0, 0.0, 0, 0, 0.0, 0.0, 0.2, 0.0, 9, 0, "", 0]}})
        await got.wait()
        assert [list(each["members"]) for each in heard] == [["p/m"]]
        one.send("open", 4)
        await one.call("sums", 0)
        assert house.home.open == 4 and house.home.parts.routing_state.active == {"p/m": 2}
        one.close()
        while "worker-1" in house.home.workers:
            await asyncio.sleep(0)
        assert house.home.open == 0 and house.home.parts.routing_state.active == {}

    in_a_house(body)
