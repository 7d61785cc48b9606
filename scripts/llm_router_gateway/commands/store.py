"""store: a backup of calls, keys and conversations, and the way back.

python3 scripts/llm_router_gateway store backup copy.db -c router.toml      while the gateway runs
python3 scripts/llm_router_gateway store restore copy.db -c router.toml     once it is stopped
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

from ..config.addresses import is_postgres
from ..config.config import ConfigError
from ..config.sources import Source
from ..store.sqlite.backup import Facts, back_up, restore
from ..store.sqlite.file import MEMORY, StoreBroken, store_path
from .program import Parser, as_typed, program_name, report_unusable, say

DONE, NOT_DONE, USAGE = 0, 1, 2
EPILOG = """\
examples:
  python3 scripts/llm_router_gateway store backup copy.db -c router.toml
  python3 scripts/llm_router_gateway store restore copy.db -c router.toml

A backup is taken while the gateway runs, and checked. A restore needs the gateway stopped, and keeps the store that was there.
Keys are as they were when the backup was made: one that was deleted since works again.

exit codes: 0 done, 1 there is no such store or copy, it cannot be used, or the gateway runs, 2 usage or configuration error
"""
POSTGRES = "calls and keys are in PostgreSQL: use its own tools (pg_dump, pg_restore)"
NO_FILE = "there is no store in a file: write a router.toml or name one with -c FILE, or name the store with --store FILE"


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    made = Parser(f"{program_name()} store", allow_abbrev=False, formatter_class=raw, epilog=as_typed(EPILOG),
                                   description="Backup and restore of the gateway's store; a copy to PostgreSQL.")  # fmt: skip
    shared = Parser(add_help=False)
    shared.add_argument("file", metavar="FILE", help="the copy")
    shared.add_argument("-c", "--config", default="", metavar="FILE", help="configuration whose store is used")
    shared.add_argument("--store", default="", metavar="FILE", help="the store itself")
    shared.add_argument("--json", action="store_true", help="print JSON")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    backup = commands.add_parser("backup", parents=[shared], allow_abbrev=False, help="copy the store, also while it is in use")
    backup.add_argument("--force", action="store_true", help="replace a copy of this name")
    commands.add_parser(
        "restore", parents=[shared], allow_abbrev=False, help="restore the store from a copy; keeps the previous one"
    )
    commands.add_parser("copy", add_help=False, help="copy a SQLite store into PostgreSQL: see copy --help")
    return made


def place_of(options: argparse.Namespace) -> str:
    """The store's file. ConfigError, StoreBroken."""
    if options.store:
        return str(options.store)
    source = Source(options.config, flags={}, env=os.environ)
    named = source.load().server.store
    if is_postgres(named):
        raise StoreBroken(POSTGRES)
    place = store_path(named, str(source.path or ""))
    if place in ("", MEMORY):
        raise StoreBroken(NO_FILE)
    return place


def summary(facts: Facts) -> str:
    counts = ((facts.calls, "call"), (facts.keys, "key"))
    return ", ".join((*(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts), f"{facts.bytes} bytes"))


def run(argv: Sequence[str]) -> int:
    if argv[:1] == ["copy"]:
        from . import store_copy

        return store_copy.run(argv)
    options = parser().parse_args(argv)
    try:
        place = place_of(options)
        aside = ""
        if options.command == "backup":
            facts = back_up(place, options.file, replaces=options.force)
            say(f"{place} is copied to {options.file}, and checked: {summary(facts)}")
        else:
            facts, aside = restore(options.file, place, time.time())
            kept = f"; the store that was there is kept as {aside}" if aside else ""
            say(f"{place} is restored from {options.file}: {summary(facts)}{kept}")
    except ConfigError as error:
        report_unusable(error)
        return USAGE
    except StoreBroken as error:
        say(str(error))
        return NOT_DONE
    if options.json:
        result = {"store": place, "file": options.file, **facts._asdict(), **({"kept_as": aside} if aside else {})}
        sys.stdout.write(json.dumps(result) + "\n")
    return DONE
