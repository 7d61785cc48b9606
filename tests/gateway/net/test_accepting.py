"""Accepting from a socket that other processes share: what is cancelled takes nothing, and a new caller is not cut off."""

import asyncio
import socket

import pytest

from llm_router_gateway.net.exchange import Exchange
from llm_router_gateway.net.server import Server, accept_from, listeners

LIMIT_S = 30.0


async def serve(exchange: Exchange) -> None:
    await exchange.respond(200, [], b"served")


def test_an_accept_that_is_cancelled_leaves_the_connection_for_the_next() -> None:
    """In the same turn of the loop in which the connection comes: the loop's own sock_accept loses it then."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            task = asyncio.create_task(accept_from(listening))
            await asyncio.sleep(0)
            with socket.create_connection(listening.getsockname()):
                asyncio.get_running_loop().call_soon(task.cancel)
                outcomes: list[object] = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(outcomes[0], asyncio.CancelledError)
                async with asyncio.timeout(LIMIT_S):
                    accepted, _ = await accept_from(listening)
                accepted.close()

    asyncio.run(run())


def test_a_caller_is_refused_until_there_is_a_server_to_accept_it() -> None:
    """So that a proxy takes another gateway while this one starts."""

    async def run() -> None:
        server, late = Server(serve), Server(serve)
        sockets = await listeners("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        others = await listeners("127.0.0.1", port)  # none of them listens yet
        server.listen(sockets)
        with socket.create_connection(("127.0.0.1", port)):
            with pytest.raises(OSError, match="in use"):
                late.listen(others)
            for each in others:
                each.close()
        await server.drain(LIMIT_S)

    asyncio.run(run())


def test_callers_that_the_system_has_connected_are_answered_though_the_server_drains() -> None:
    async def run() -> None:
        server = Server(serve)
        port = await server.start("127.0.0.1", 0)
        async with asyncio.timeout(LIMIT_S):
            await asyncio.sleep(0)  # it accepts
            callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]  # the loop has no turn in between
            for each in callers:
                each.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await server.drain(LIMIT_S)
            for each in callers:
                with each:
                    each.settimeout(LIMIT_S)
                    assert b"connection: close" in each.recv(65_536)

    asyncio.run(run())


def test_a_connection_that_has_just_answered_takes_one_more_request_while_the_server_drains() -> None:
    go_on = asyncio.Event()

    async def app(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.send(b"begun")
        await go_on.wait()
        await exchange.end()

    async def run() -> None:
        server = Server(app)
        port = await server.start("127.0.0.1", 0)
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"connection: close" not in await reader.readuntil(b"begun\r\n")  # it has promised to stay
            draining = asyncio.create_task(server.drain(LIMIT_S))
            await asyncio.sleep(0)
            go_on.set()
            await reader.readuntil(b"0\r\n\r\n")
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"connection: close" in await reader.read()
            await draining
            writer.close()

    asyncio.run(run())


def test_a_caller_that_has_just_come_is_still_answered_while_the_server_drains() -> None:
    async def run() -> None:
        server = Server(serve)
        port = await server.start("127.0.0.1", 0)
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while not server.open:
                await asyncio.sleep(0)
            draining = asyncio.create_task(server.drain(LIMIT_S))
            await asyncio.sleep(0)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            reply = await reader.read()
            assert reply.endswith(b"served") and b"connection: close" in reply
            await draining
            writer.close()

    asyncio.run(run())
