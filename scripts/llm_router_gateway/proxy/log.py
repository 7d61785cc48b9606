"""Log lines: collected, written together, turned over at 10 MB. One line per request, one write for many.

    log = Log(level="info", stream=2, path="router.log", wall=time.time)
    log.event("info", "listening", "...")        -> a line of JSON, for what is no request and no note
    log.info("POST /v1/messages 200 812ms ...")  -> "2026-10-21T07:28:00.123Z info  POST /v1/messages 200 812ms ..."
    log.request(record)                          -> the same of a Record
    Log(as_json=True).request(record, cost_usd=0.01)
        -> {"at": "2026-10-21T07:28:00.123Z", "level": "info", "event": "request", "status": 200, "duration_ms": 812, ...}

The owner of the loop calls flush() regularly and close() at the end. Callers pass no key and no prompt.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from ..config.settings import LOG_LEVELS

INFO = LOG_LEVELS.index("info")
MAX_FILE_BYTES = 10_000_000  # then the file becomes PATH.1 and a new one begins
MAX_WAITING = 1_000  # lines; then they are written at once
MAX_LINE = 4_000  # characters
MAX_VALUE = 2_000  # characters of one text in a line of JSON
MAX_VALUES = 20  # of a list in it
PIPE_BYTES = 4_096  # a pipe that is writable takes this many without blocking (POSIX PIPE_BUF)
WINDOWS = sys.platform == "win32"
DEVICES = "/dev/"  # /dev/stdout is a link to what the process was given
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # line ends, terminal codes, bidi


def escape(text: str) -> str:
    """One printable line: escape("a\\nb") -> "a\\\\x0ab"."""
    if len(text) <= MAX_LINE and text.isascii() and text.isprintable():  # the common case needs no search
        return text
    return UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text[:MAX_LINE])


class Usage(Protocol):
    """The token counts of an answer that are logged."""

    @property
    def total_input(self) -> int: ...
    @property
    def output(self) -> int: ...


class Request(Protocol):
    """The fields of a finished request that are logged: request.Record."""

    request_id: str
    method: str
    path: str
    client: str
    protocol: str
    asked: str
    served: str
    stream: bool
    status: int
    first_output_s: float | None
    seconds: float
    attempts: int
    failed: list[str]
    lost: list[str]
    error: str
    message: str

    @property
    def usage(self) -> Usage | None: ...
    def line(self) -> str: ...


def as_object(**values: object) -> str:
    """One line of JSON in ASCII, which commands no terminal; None and what is empty are left out, long texts are cut."""
    kept = {name: shorten(value) for name, value in values.items() if value is not None and value != "" and value != []}
    return json.dumps(kept, default=str).replace("\x7f", "\\u007f")


def shorten(value: object) -> object:
    if isinstance(value, str):
        return value[:MAX_VALUE]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no name for the others
    return [str(each)[:MAX_VALUE] for each in value[:MAX_VALUES]] if isinstance(value, (list, tuple)) else value


def ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 1)


def timestamp(now: float) -> str:
    """timestamp(0.0) -> "1970-01-01T00:00:00.000Z" """
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def event_line(level: str, event: str, message: str, **more: object) -> str:
    """One line of JSON from before there is a Log."""
    return as_object(at=timestamp(time.time()), level=level, event=event, message=message, **more) + "\n"


class Log:
    """Lines to a stream (stderr), and to a file when it has a path; as text, or each a JSON object."""

    def __init__(
        self, level: str = "info", *, stream: int = 2, path: str = "", wall: Callable[[], float] = time.time,
        as_json: bool = False,
    ) -> None:  # fmt: skip
        self.threshold = LOG_LEVELS.index(level)
        self.as_json = as_json
        self._stream, self._wall, self._path = stream, wall, path
        self._waiting: list[str] = []
        self._second, self._stamp = -1, ""
        self._file = self._open() if path else -1

    def _open(self) -> int:
        """OSError for a symbolic link, which somebody else may have put there; those of /dev are the system's."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        if not self._path.startswith(DEVICES):
            flags |= getattr(os, "O_NOFOLLOW", 0)
        return os.open(self._path, flags, 0o600)

    def _now(self) -> str:
        now = self._wall()
        if int(now) != self._second:  # the timestamp is rendered once a second
            self._second = int(now)
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second))
        return f"{self._stamp}.{int(now * 1000) % 1000:03d}Z"

    def write(self, level: str, text: str) -> None:
        if LOG_LEVELS.index(level) < self.threshold:
            return
        if self.as_json:
            line = as_object(at=self._now(), level=level, event="note", message=text)
        else:
            line = f"{self._now()} {level:5} {escape(text)}"
        self._keep(line, level)

    def _keep(self, line: str, level: str) -> None:
        self._waiting.append(line + "\n")
        if len(self._waiting) >= MAX_WAITING or level == "error":
            self.flush()

    def event(self, level: str, event: str, message: str, **more: object) -> None:
        """A line of the JSON form with an event of its own, written at once."""
        self._keep(as_object(at=self._now(), level=level, event=event, message=message, **more), level)
        self.flush()

    def request(self, record: Request, **more: object) -> None:
        """The line of a finished request; `more` has fields of the JSON form only: key_id, cost_usd."""
        if self.threshold > INFO:
            return
        if not self.as_json:
            self._keep(f"{self._now()} info  {escape(record.line())}", "info")
            return
        usage = record.usage
        self._keep(as_object(
            at=self._now(), level="info", event="request", request_id=record.request_id, method=record.method,
            path=record.path, status=record.status, duration_ms=ms(record.seconds),
            first_output_ms=ms(record.first_output_s), protocol=record.protocol, stream=record.stream, asked=record.asked,
            served=record.served, attempts=record.attempts, failed=record.failed,
            input_tokens=usage and usage.total_input, output_tokens=usage and usage.output, lost=record.lost,
            error=record.error, message=record.message, client=record.client, **more,
        ), "info")  # fmt: skip

    def debug(self, text: str) -> None:
        self.write("debug", text)

    def info(self, text: str) -> None:
        self.write("info", text)

    def warn(self, text: str) -> None:
        self.write("warn", text)

    def error(self, text: str) -> None:
        self.write("error", text)

    def pass_on(self, lines: Iterable[str]) -> None:
        """Lines that another process of this gateway has made, each with its end."""
        self._waiting.extend(lines)
        if len(self._waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """Writes what waits. A full disk or a closed terminal loses lines, never requests."""
        if not self._waiting:
            return
        data = "".join(self._waiting).encode("utf-8", "backslashreplace")
        self._waiting.clear()
        if self._stream >= 0:
            self._to_stream(data)
        if self._file >= 0:
            with suppress(OSError):
                os.write(self._file, data)
            self._turn_over()

    def _to_stream(self, data: bytes) -> None:
        """Writes to the terminal or pipe without blocking: one that is not read must not stop the gateway."""
        with suppress(OSError, ValueError):
            if WINDOWS:  # select() takes sockets alone there, so that a pipe has to be read
                os.write(self._stream, data)
                return
            while data and select.select((), (self._stream,), (), 0)[1]:
                data = data[os.write(self._stream, data[:PIPE_BYTES]) :]

    def _turn_over(self) -> None:
        try:
            if os.fstat(self._file).st_size < MAX_FILE_BYTES or self._path.startswith(DEVICES):
                return
            if WINDOWS:  # an open file cannot be renamed there
                self._reopen()
                return
            os.replace(self._path, self._path + ".1")
            new = self._open()
        except OSError:
            return  # the old file grows on; better than no log
        os.close(self._file)
        self._file = new

    def _reopen(self) -> None:
        """The same where the file has to be closed first. One that another program holds open grows on."""
        os.close(self._file)
        self._file = -1
        with suppress(OSError):
            os.replace(self._path, self._path + ".1")
        self._file = self._open()

    def close(self) -> None:
        self.flush()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
