"""What all commands share: the name that was typed, for usage and examples, and a parser whose errors say what to write."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from .. import PROGRAM
from ..config.reader import ConfigError
from ..proxy.log import escape

AS_A_FOLDER = "python3 scripts/llm_router_gateway"  # how examples are written
INSTALLED = (PROGRAM, "llm-router", "llm_router.py")  # the last: `python3 -m llm_router`


def program_name() -> str:
    """The command as it was typed: "llm-router-gateway" (also as .exe), else "python3 scripts/llm_router_gateway"."""
    given = (sys.argv[0] if sys.argv else "").rstrip("/")
    name = os.path.basename(given)
    if name.removesuffix(".exe") in INSTALLED:
        return PROGRAM
    return f"python3 {given}" if name == "llm_router_gateway" else AS_A_FOLDER


def write_utf8() -> None:
    """What goes to a file or pipe is UTF-8 with plain line ends on every system; a terminal keeps its own, and nothing fails.

    Windows would write its code page there, which lacks most of what a model's name may hold.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):  # there is none, or somebody else's
            continue
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


class Parser(argparse.ArgumentParser):
    """An error names the nearest option and the command's --help, and never the value of an unknown option: it may be a key."""

    def flags(self) -> Iterator[str]:
        """The options of this command and of those below it."""
        yield from self._option_string_actions
        for action in self._subparsers._group_actions if self._subparsers else ():
            for command in set((action.choices or {}).values()):  # type: ignore[attr-defined]  # a dict, of parsers
                yield from command.flags()

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            from difflib import get_close_matches  # 8 ms, only when something is wrong

            word = rest[0].partition("=")[0][:40]
            near = get_close_matches(word, list(self.flags()), n=1)
            self.error(f"unknown argument {word!r}{f'; did you mean {near[0]}?' if near else ''}")
        return found

    def error(self, message: str) -> Any:
        super().error(f"{message}{' See' if message.endswith('?') else '; see'} {self.prog} --help.")


def say(text: str) -> None:
    """One line on standard error; escaped, for names from a file and words of a provider could steer a terminal."""
    sys.stderr.write(escape(text) + "\n")
    sys.stderr.flush()


def report_unusable(error: ConfigError) -> None:
    """Says on standard error that a configuration cannot be used: every problem has a line of its own."""
    head = "the configuration cannot be used:"
    lines = [f"{head} {error}"] if len(error.problems) == 1 else [head, *(f"  {problem}" for problem in error.problems)]
    for line in lines:
        say(line)


def read_request() -> bytes:
    """Standard input; a terminal is told that it is waited for."""
    if sys.stdin.isatty():
        sys.stderr.write("reading a request, as JSON, from this terminal; end it with Ctrl-D on a line of its own\n")
    return sys.stdin.buffer.read()


def as_typed(text: str) -> str:
    """Examples under the name that was typed."""
    return text.replace(AS_A_FOLDER, program_name())
