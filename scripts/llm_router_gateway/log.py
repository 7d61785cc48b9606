"""Log lines: collected, written together, turned over at 10 MB. One line per request, one write for many.

    log = Log(level="info", stream=2, path="router.log", wall=time.time)
    log.info("POST /v1/messages 200 812ms ...")  -> "2026-10-21T07:28:00.123Z info  POST /v1/messages 200 812ms ..."

Whoever owns the loop calls flush() now and then and close() at the end. Callers give no key and no prompt.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable
from contextlib import suppress

from .settings import LOG_LEVELS

MAX_FILE_BYTES = 10_000_000  # then the file becomes PATH.1 and a new one begins
MAX_WAITING = 1_000          # lines; then they are written at once
MAX_LINE = 4_000             # characters
PIPE_BYTES = 4_096           # a pipe that is writable takes this many without blocking (POSIX PIPE_BUF)
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # line ends, terminal codes, bidi


def escaped(text: str) -> str:
    """One printable line: escaped("a\\nb") -> "a\\\\x0ab"."""
    return UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text[:MAX_LINE])


class Log:
    """Lines to a stream (stderr), and to a file when it has a path."""

    def __init__(
        self, level: str = "info", *, stream: int = 2, path: str = "", wall: Callable[[], float] = time.time
    ) -> None:
        self.threshold = LOG_LEVELS.index(level)
        self._stream, self._wall, self._path = stream, wall, path
        self._waiting: list[str] = []
        self._second, self._stamp = -1, ""
        self._file = self._open() if path else -1

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def wants(self, level: str) -> bool:
        """Whether a line of this level is written: ask before making a costly one."""
        return LOG_LEVELS.index(level) >= self.threshold

    def write(self, level: str, text: str) -> None:
        if LOG_LEVELS.index(level) < self.threshold:
            return
        now = self._wall()
        if int(now) != self._second:  # the stamp is made once a second
            self._second = int(now)
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second))
        line = f"{self._stamp}.{int(now * 1000) % 1000:03d}Z {level:5} "
        self._waiting.append(line + (escaped(text) if UNSAFE.search(text) or len(text) > MAX_LINE else text) + "\n")
        if len(self._waiting) >= MAX_WAITING or level == "error":
            self.flush()

    def debug(self, text: str) -> None:
        self.write("debug", text)

    def info(self, text: str) -> None:
        self.write("info", text)

    def warn(self, text: str) -> None:
        self.write("warn", text)

    def error(self, text: str) -> None:
        self.write("error", text)

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
        """To the terminal or pipe as far as it takes it: one that nobody reads must not stop the gateway."""
        with suppress(OSError, ValueError):
            while data and select.select((), (self._stream,), (), 0)[1]:
                data = data[os.write(self._stream, data[:PIPE_BYTES]) :]

    def _turn_over(self) -> None:
        try:
            if os.fstat(self._file).st_size < MAX_FILE_BYTES:
                return
            os.replace(self._path, self._path + ".1")
            new = self._open()
        except OSError:
            return  # the old file grows on; better than no log
        os.close(self._file)
        self._file = new

    def close(self) -> None:
        self.flush()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
