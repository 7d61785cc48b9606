"""A fault of the gateway itself as its log has it: where it was, what came of it, what to do about it. On one line.

    log.error(fault_line("request 7f3", error, "its caller was answered with an error"))
        -> internal error in request 7f3: KeyError at pipes.py:88 feed < gateway.py:214 _answer; its caller was answered with
           an error. Please report this line (llm-router-gateway 1.0.0); it holds no prompt and no key
    loop.set_exception_handler(to_log(log))        what nothing else catches

The message of an exception is left out, for it may hold a prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from .. import PROGRAM, __version__
from .log import Log

MAX_PLACES = 8  # of a fault's way through the code
REPORT = f"Please report this line ({PROGRAM} {__version__}); it holds no prompt and no key"


class WorkerFault(Exception):
    """A fault in a process that reads large bodies; `location` is what fault_location says of it there."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


def fault_location(error: BaseException) -> str:
    """The type of a fault and its way through the code, innermost first."""
    places, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{at.tb_lineno} {code.co_name}")
        at = at.tb_next
    what = error.location if isinstance(error, WorkerFault) else type(error).__name__
    return f"{what} at {' < '.join(reversed(places[-MAX_PLACES:]))}" if places else what


def fault_line(where: str, error: BaseException, effect: str) -> str:
    return f"internal error in {where}: {fault_location(error)}; {effect}. {REPORT}"


def to_log(log: Log) -> Callable[[asyncio.AbstractEventLoop, Mapping[str, Any]], None]:
    """A handler for an event loop. Without it, a traceback of many lines would stand between the lines of the log."""

    def handle(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        message, error = str(context.get("message", "")), context.get("exception")
        if isinstance(error, OSError):  # the system's, such as too many open files: nothing to report
            log.error(f"{message}: {error.strerror or type(error).__name__}")
        elif isinstance(error, BaseException):
            log.error(fault_line("the event loop", error, message))
        else:
            log.error(f"internal error in the event loop: {message}. {REPORT}")
        log.flush()

    return handle
