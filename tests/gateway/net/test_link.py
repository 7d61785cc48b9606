"""Calls and messages between two processes of a gateway: results, errors, cancelling, and the end of the other side."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError, RateLimited, Unavailable
from llm_router_gateway.net.frames import frame
from llm_router_gateway.net.link import Link, LinkLost, unpack_error
from llm_router_gateway.policy.rate_limits import NoSlot

LIMIT_S = 30.0


def over_a_link(
    body: Callable[[Link, Link], Awaitable[None]], handlers: dict[str, Any] | None,
    report: Callable[[str, Exception], None] | None = None,
) -> None:  # fmt: skip
    """Runs a test over two connected sides: the caller's and that of the handlers."""

    async def run() -> None:
        one, two = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(lambda: Link({}), sock=one)
        _, home = await loop.create_connection(lambda: Link(handlers, report=report), sock=two)
        try:
            async with asyncio.timeout(LIMIT_S):
                await body(caller, home)
        finally:
            caller.close()
            home.close()

    asyncio.run(run())


def test_a_call_gets_its_handlers_result_plain_or_awaited() -> None:
    async def slow(value: int) -> list[int]:
        await asyncio.sleep(0)
        return [value]

    async def body(caller: Link, _: Link) -> None:
        assert await caller.call("double", 21) == 42
        assert await asyncio.gather(*(caller.call("slow", number) for number in range(50))) == [[n] for n in range(50)]

    over_a_link(body, {"double": lambda value: value * 2, "slow": slow})


def test_what_comes_before_there_are_handlers_is_taken_in_order_once_there_are() -> None:
    taken: list[int] = []

    def double(value: int) -> int:
        taken.append(value)
        return value * 2

    async def body(caller: Link, home: Link) -> None:
        caller.handlers["is_there"] = lambda: True
        caller.send("note", 1)
        doubled = asyncio.ensure_future(caller.call("double", 2))
        await asyncio.sleep(0)  # its message is behind the first
        caller.send("note", 3)
        assert await home.call("is_there")  # comes behind these messages
        assert taken == []
        home.handle({"note": taken.append, "double": double})
        assert taken == [1, 2, 3]
        assert await doubled == 4

    over_a_link(body, None)


def test_an_error_keeps_its_class_status_code_and_facts() -> None:
    async def refuse(kind: str) -> None:
        if kind == "slot":
            raise NoSlot("no slot", retry_after_s=2.5)
        raise RateLimited("slow down", code="mine", retry_after_s=7.0, details={"path": "x"})

    async def body(caller: Link, _: Link) -> None:
        with pytest.raises(RateLimited) as caught:
            await caller.call("refuse", "rate")
        error = caught.value
        assert (error.status, error.code, error.retry_after_s, error.details) == (429, "mine", 7.0, {"path": "x"})
        with pytest.raises(NoSlot):
            await caller.call("refuse", "slot")

    over_a_link(body, {"refuse": refuse})


def test_a_fault_of_a_handler_is_reported_there_and_an_error_here() -> None:
    faults: list[str] = []

    async def body(caller: Link, _: Link) -> None:
        caller.send("broken", 1)
        with pytest.raises(GatewayError, match="its log has the reason"):
            await caller.call("broken", 2)
        with pytest.raises(Unavailable, match="has no 'unknown'"):
            await caller.call("unknown")
        caller.send("unknown")
        assert await caller.call("fine") == "still here"

    handlers = {"broken": lambda value: 1 // 0, "fine": lambda: "still here"}
    over_a_link(body, handlers, lambda name, error: faults.append(f"{name}: {type(error).__name__}"))
    assert faults == ["broken: ZeroDivisionError"] * 2


def test_messages_arrive_in_the_order_in_which_they_were_sent() -> None:
    seen: list[int] = []

    async def body(caller: Link, _: Link) -> None:
        for number in range(1_000):
            caller.send("note", number)
        await caller.call("done")
        assert seen == list(range(1_000))

    over_a_link(body, {"note": seen.append, "done": lambda: None})


def test_a_caller_that_no_longer_waits_cancels_the_handler() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def body(caller: Link, _: Link) -> None:
        task = asyncio.create_task(caller.call("forever"))
        await begun.wait()
        task.cancel()
        await ended.wait()
        ended.clear()
        with pytest.raises(LinkLost, match="did not answer within"):
            await caller.call("forever", limit_s=0.01)
        await ended.wait()

    over_a_link(body, {"forever": forever})


def test_the_end_of_the_other_side_ends_what_waits_and_what_runs() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def body(caller: Link, home: Link) -> None:
        waiting = asyncio.create_task(home.call("nothing"))
        caller.handlers["nothing"] = lambda: asyncio.Event().wait()
        call = asyncio.create_task(caller.call("forever"))
        await begun.wait()
        caller.close()
        with pytest.raises(LinkLost):
            await call
        with pytest.raises(LinkLost):
            await waiting
        await ended.wait()
        assert home.is_lost
        home.send("into", "the void")
        with pytest.raises(LinkLost):
            await home.call("anything")

    over_a_link(body, {"forever": forever})


BROKEN = [
    frame({}), frame([]), frame([9, 1]), frame([0, 1, []]), frame([1, "x", "y", []]), frame([True, "a", []]), frame([0, "a"]),
    b"\xff\xff\xff\xff", b"\x00\x00\x00\x01{",
]  # fmt: skip


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_message_ends_the_connection_and_is_reported(data: bytes) -> None:
    faults: list[str] = []

    async def body(caller: Link, home: Link) -> None:
        lost = asyncio.get_running_loop().create_future()
        caller._on_lost = lambda link: lost.set_result(None)
        caller._transport.write(data)
        await lost
        assert home.is_lost

    over_a_link(body, {}, lambda name, error: faults.append(name))
    assert faults == ["a message"]


def test_an_unknown_error_is_an_error_all_the_same() -> None:
    assert type(unpack_error("?")) is GatewayError
    assert type(unpack_error(["Unheard", "m", 500, "c", None, {}])) is GatewayError
