"""store copy: all that a SQLite store holds into a database of PostgreSQL, resumable and checked.

    llm-router-gateway store copy --from sqlite:router.db --to postgresql://gateway:...@db/llm
    llm-router-gateway store copy --from sqlite:router.db -c router.toml      into its [server] store: no password in `ps`

stdout: one line with what was copied. stderr: progress. A copy that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..config.addresses import is_postgres, without_password
from ..config.config import ConfigError
from ..config.sources import Source
from ..store.recorder import StoreUnusable
from ..store.sqlite.file import StoreBroken
from ..store.sqlite.source import StoreSource
from .program import Parser, as_typed, program_name, report_unusable, say

DONE, NOT_DONE, USAGE = 0, 1, 2
SUMS_AT_ONCE, TURNS_AT_ONCE = 2_000, 50
SAY_S = 2.0  # between two lines of progress
FROM = "sqlite:"
EPILOG = """\
examples:
  python3 scripts/llm_router_gateway store copy --from sqlite:router.db --to postgresql://gateway:PASSWORD@db/llm
  python3 scripts/llm_router_gateway store copy --from sqlite:router.db -c router.toml

exit codes: 0 copied and checked, 1 not copied or not the same, 2 usage error or configuration
"""


class NotCopied(Exception):
    """The copy failed; the text gives the reason."""


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    made = Parser(f"{program_name()} store", allow_abbrev=False, formatter_class=raw, epilog=as_typed(EPILOG),
                                   description="Stores of calls, keys and conversations.")  # fmt: skip
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    copy = commands.add_parser("copy", allow_abbrev=False, formatter_class=raw, epilog=as_typed(EPILOG),
                               help="copy a SQLite store into PostgreSQL")  # fmt: skip
    copy.add_argument(
        "--from", dest="origin", required=True, metavar="sqlite:FILE", help="the store to copy; no gateway may be using it"
    )
    copy.add_argument("--to", default="", metavar="ADDRESS", help="postgresql://USER:PASSWORD@HOST/NAME")
    copy.add_argument("-c", "--config", default="", metavar="FILE", help="router.toml whose [server] store it goes to")
    return made


def target_of(options: argparse.Namespace) -> str:
    """The address of the database. ConfigError, NotCopied."""
    address = str(options.to) or Source(options.config, flags={}, env=os.environ).load().server.store
    if not is_postgres(address):
        raise NotCopied("name the database: --to postgresql://..., or -c with a router.toml whose [server] store is one")
    return address


class Progress:
    """A line now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next = clock, clock() + SAY_S

    def show(self, what: str, done: int, total: int) -> None:
        if self._clock() >= self._next:
            say(f"{what}: {done:,} of {total:,}")
            self._next = self._clock() + SAY_S


def copy_all(source: StoreSource, target: Any, progress: Progress) -> str:
    """Everything; what was copied, in a line. NotCopied when it is not the same."""
    from ..store.postgres.target import CALLS_AT_ONCE, are_equal

    source.begin(target.id)
    refused = target.add_keys(source.keys())
    if refused:
        raise NotCopied(f"other keys in the database are named {', '.join(refused)}: rename or delete them on one side first")
    if not target.add_secret(source.secret):
        say("note: the database signs with its own secret: compactions that callers kept can no longer be read")
    for table in ("totals", "rollups", "label_sums"):
        number = 0
        for found in source.sums(table, SUMS_AT_ONCE):
            number += len(found)
            target.add_sums(table, number, found)
            progress.show(f"sums ({table})", number, number)
    for turns in source.turns(TURNS_AT_ONCE):
        target.add_turns(turns, source.items([turn[0] for turn in turns]))
    for objects in source.owned(TURNS_AT_ONCE):
        target.add_owned(objects)
    expected = source.totals()
    after = target.done("calls")
    for batch in source.calls(after, CALLS_AT_ONCE):
        target.add_calls(batch.last_id, batch.calls, batch.texts)
        progress.show("calls", batch.last_id, expected[0])
    found = target.totals()
    if not are_equal(expected, found):
        raise NotCopied(f"the copy is not the same: {totals_text(expected)} in the file, {totals_text(found)} in the database. "
                        "keep_days or max_store_bytes of a gateway on it may have removed the oldest days")  # fmt: skip
    return f"copied {totals_text(expected)} and {len(source.keys())} keys; counted again, they are the same"


def totals_text(counted: Sequence[Any]) -> str:
    calls, tokens_in, tokens_out, usd = counted
    return f"{calls:,} calls ({tokens_in:,} tokens in, {tokens_out:,} out, {usd:.6f} USD)"


def run_copy(options: argparse.Namespace) -> None:
    from ..store.postgres.session import CommandSession
    from ..store.postgres.target import CopyTarget

    if not options.origin.startswith(FROM):
        raise NotCopied(f"--from takes {FROM}FILE; a copy out of PostgreSQL is made with pg_dump")
    address = target_of(options)
    with StoreSource(options.origin.removeprefix(FROM)) as source, CommandSession(address, creates=True) as command:
        say(f"copying {source.path} to {without_password(address)}")
        with command.errors():
            command.stage()
            line = copy_all(source, CopyTarget(command.session, source.id), Progress())
    sys.stdout.write(line + "\n")


def run(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    try:
        run_copy(options)
        return DONE
    except ConfigError as error:
        report_unusable(error)
        return USAGE
    except KeyboardInterrupt:
        say("interrupted: run the same command again to continue")
    except (NotCopied, StoreBroken, StoreUnusable, OSError) as error:
        say(str(error))
    return NOT_DONE
