"""The sign on a terminal that an answer is waited for: after half a second model and seconds, until the first output."""

from __future__ import annotations

import os
import sys
import threading
import time

from llm_router_client import on_one_line

AFTER_S = 0.5  # most short answers have begun by then
TICK_S = 0.5
MOST = 48  # characters of a model's name
SECONDS = 12  # characters for " ... 600 s" and the cursor behind it


def columns() -> int:
    """Of the terminal on standard error; 80 where it does not say."""
    try:
        return os.get_terminal_size(2).columns or 80
    except (OSError, ValueError):
        return 80


class Sign:
    """Drawn by a thread of its own on standard error; close() takes it away, and is followed by output."""

    def __init__(self, what: str) -> None:
        self._what = on_one_line(what)[: min(MOST, max(columns() - SECONDS, 0))]  # a sign of two lines could not be taken away
        self._began = time.monotonic()
        self._drawn = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        if os.getenv("TERM") != "dumb":
            self._thread.start()

    def _draw(self) -> None:
        wait_s = AFTER_S
        while not self._ended.wait(wait_s):
            text = f"{self._what} ... {time.monotonic() - self._began:.0f} s"
            self._write("\r" + text.ljust(self._drawn))
            self._drawn, wait_s = max(self._drawn, len(text)), TICK_S

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError, UnicodeError):
            self._ended.set()  # it cannot be seen

    def close(self) -> None:
        """Take the sign away: the line is as it was."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0
