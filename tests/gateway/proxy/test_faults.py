"""faults: what the log says of the gateway's own, on one line, with what to do about it and nothing that is secret."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from routed import Hosts, Ways, chat, ok, stream, trio

from llm_router_gateway import __version__
from llm_router_gateway.proxy.faults import WorkerFault, fault_line, fault_location, to_log
from llm_router_gateway.proxy.log import Log

PROMPT = "what the caller said"


def failed(error: Exception) -> Exception:
    """The error, as it is caught."""

    def inner() -> None:
        raise error

    try:
        inner()
    except Exception as caught:
        return caught
    raise AssertionError


def lines(folder: Path, work: Callable[[asyncio.AbstractEventLoop], None]) -> list[str]:
    """What a loop with the handler logs while `work` is done in it."""
    log = Log(stream=-1, path=str(folder / "log"))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(to_log(log))
        work(loop)
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(run())
    log.close()
    return (folder / "log").read_text().splitlines()


def test_a_line_says_where_it_was_what_came_of_it_and_what_to_do() -> None:
    line = fault_line("request 7f3", failed(KeyError(PROMPT)), "its caller got an error")
    assert line.startswith("internal error in request 7f3: KeyError at test_faults.py:")
    assert " inner < test_faults.py:" in line and "; its caller got an error. Please report this line" in line
    assert __version__ in line and PROMPT not in line and "\n" not in line


def test_a_fault_in_a_worker_keeps_the_place_where_it_was() -> None:
    there = fault_location(failed(ValueError(PROMPT)))
    here = fault_location(failed(WorkerFault(there)))
    assert here.startswith(f"{there} at test_faults.py:") and PROMPT not in here


def test_what_nothing_catches_is_one_line_of_the_log(tmp_path: Path) -> None:
    async def fails() -> None:
        raise KeyError(PROMPT)

    (line,) = lines(tmp_path, lambda loop: [loop.create_task(fails())].clear())
    assert "error" in line and "internal error in the event loop: KeyError at test_faults.py:" in line
    assert "Task exception was never retrieved. Please report this line" in line and PROMPT not in line


def test_what_the_system_refuses_is_nothing_to_report(tmp_path: Path) -> None:
    context = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    (line,) = lines(tmp_path, lambda loop: loop.call_exception_handler(context))
    assert line.endswith("socket.accept() out of system resource: Too many open files")


@pytest.mark.parametrize("ask", [chat, stream])
def test_the_caller_gets_the_request_id_under_which_the_log_says_more(ask: Callable[..., Any], tmp_path: Path) -> None:
    async def run() -> Ways:
        ways = Ways(trio(), Hosts(a=ok()), tmp_path)

        def breaks(*args: Any, **how: Any) -> Any:
            raise KeyError(PROMPT)

        ways.gateway._handlers["chat"] = breaks
        exchange = await ways.ask(ask("a/m"))
        error = exchange.json["error"]
        assert exchange.status == 500 and "under the request id made" in error["message"] and PROMPT not in error["message"]
        assert exchange.out_headers["x-request-id"] == "made"
        return ways

    ways = asyncio.run(run())
    assert "internal error in request made: KeyError at test_faults.py:" in ways.lines and PROMPT not in ways.lines
    ways.log.close()


def test_a_fault_in_the_record_of_a_call_leaves_its_answer(tmp_path: Path) -> None:
    async def run() -> Ways:
        ways = Ways(trio(), Hosts(a=ok()), tmp_path)

        def breaks(*args: Any) -> None:
            raise KeyError(PROMPT)

        ways.gateway.on_call = breaks
        assert (await ways.ask(chat("a/m"))).status == 200
        return ways

    ways = asyncio.run(run())
    assert "internal error in the record of request made: KeyError" in ways.lines and "its caller has the answer" in ways.lines
    ways.log.close()
