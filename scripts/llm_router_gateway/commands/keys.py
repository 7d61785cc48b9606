"""keys: callers' keys in the store, on the command line; the gateway may run meanwhile and follows at once.

    KEY=$(python3 scripts/llm_router_gateway keys create --name laptop)     the key on standard output, and nothing else there
    python3 scripts/llm_router_gateway keys list --json
    python3 scripts/llm_router_gateway keys disable laptop

A key is printed once, when it is made: the store keeps its hash alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from ..access.authenticate import fixed_names
from ..config.addresses import is_postgres
from ..config.config import Config, ConfigError
from ..config.keys import Key, digest_of, hint_of, key_json, past_expiry, read_json, reset_now
from ..config.numbers import LAST_TIME
from ..config.sources import Source
from ..errors import GatewayError, NotFound
from ..limiter.budgets import LocalBudgets, logged_budgets
from ..management.keys_api import new_secret, stored_key
from ..policy.budgets import utc_text
from ..proxy.log import escape
from ..store.keys import KeyRepository, Row
from ..store.recorder import StoreUnusable
from ..store.sql_keys import SqlKeys
from ..store.sqlite.file import StoreBroken, store_path
from ..store.sqlite.keys import KeyFile
from .program import Parser, as_typed, program_name, report_unusable, say

DONE, NOT_DONE, USAGE = 0, 1, 2
EPILOG = """\
examples:
  KEY=$(python3 scripts/llm_router_gateway keys create --name laptop --models 'openai/*' --usd-per-day 5)
  python3 scripts/llm_router_gateway keys list -c router.toml

Without -c the store of router.toml in the working directory is used.

exit codes: 0 done, 1 no such key, a name already in use, an invalid value, or an unusable store,
2 usage or configuration error, or an --expires in the past
"""
LISTS = {"models": "allowed_models", "groups": "allowed_groups", "providers": "allowed_providers", "tags": "allowed_tags"}
ONE = {"show": "show all fields of a key", "disable": "refuse a key from now on", "enable": "accept a disabled key again",
       "delete": "delete a key; its calls stay in the log", "rotate": "give a key a new secret; the old one stops working",
       "reset": "set a key's spending of the day and month to zero"}  # fmt: skip
BUDGETS = {"usd_per_day": "budget in US dollars, each day (UTC)", "usd_per_month": "budget in US dollars, each calendar month",
           "tokens_per_day": "budget in tokens, input and output, each day (UTC)",
           "tokens_per_month": "budget in tokens, each calendar month"}  # fmt: skip


class CommandFailed(Exception):
    """The command failed; the text gives the reason."""

    exit_code = NOT_DONE


class UsageError(CommandFailed):
    """The command line asks for what cannot be meant."""

    exit_code = USAGE


# ----------------------------------------------------------------------------------------------------------- arguments


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    made = Parser(f"{program_name()} keys", allow_abbrev=False, formatter_class=raw, epilog=as_typed(EPILOG),
                                   description="Callers' keys in the gateway's store.")  # fmt: skip
    shared = Parser(add_help=False)
    shared.add_argument("-c", "--config", default="", metavar="FILE", help="configuration whose store is used")
    shared.add_argument("--store", default="", metavar="FILE", help="the store itself: a file, or postgresql://...")
    shared.add_argument("--json", action="store_true", help="print JSON")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", parents=[shared], allow_abbrev=False, help="create a key and print it")
    add_terms(create)
    commands.add_parser("list", parents=[shared], allow_abbrev=False, help="print a line for each key")
    for name, text in ONE.items():
        one = commands.add_parser(name, parents=[shared], allow_abbrev=False, help=text)
        one.add_argument("key", metavar="KEY", help="its name or id")
    return made


def add_terms(create: argparse.ArgumentParser) -> None:
    """The flags of what a key may do."""
    create.add_argument("--name", required=True, help="its name in logs and statistics")
    for name, text in (("owner", "shown only"), ("note", "shown only")):
        create.add_argument(f"--{name}", default="", help=text)
    create.add_argument("--expires", default=None, metavar="TIME", help="2027-01-31, 2027-01-31T18:00:00Z, or 30d, 12h")
    create.add_argument("--batches", action="store_true",
                        help="may start batches although its models or spending are limited")  # fmt: skip
    create.add_argument("--monitor", action="store_true", help="may read statistics and /metrics, and nothing else")
    create.add_argument("--admin", action="store_true", help="may see the monitor and change keys, providers, models")
    for name in LISTS:
        create.add_argument(f"--{name}", default=None, metavar="A,B", help=f"{name} it may use; * stands for any characters")
    create.add_argument(
        "--param", action="append", default=[], metavar="NAME=MAX", help="bound of a parameter: NAME=MAX or NAME=MIN..MAX"
    )
    create.add_argument("--requests", default=None, metavar="N/SECONDS", help="rate limit: 60/60 is 60 requests in 60 seconds")
    create.add_argument(
        "--tokens-per-minute", default=None, metavar="N", help="rate limit on tokens, input and output together"
    )
    create.add_argument("--max-concurrent", type=int, default=None, metavar="N", help="most requests at the same time")
    for name, text in BUDGETS.items():
        kind: Callable[[str], Any] = float if name.startswith("usd") else str
        create.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None, metavar="N", help=text)
    create.add_argument(
        "--network", action="append", default=[], metavar="CIDR", help="network it may be used from (repeatable)"
    )


def number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def parameter(text: str) -> tuple[str, Any]:
    """parameter("max_tokens=1000") -> ("max_tokens", 1000); parameter("temperature=0..0.7") -> (..., {"min": 0, "max": 0.7})"""
    name, _, value = text.partition("=")
    low, dots, high = value.partition("..")
    try:
        if not dots:
            return name, number(value)
        return name, {end: number(part) for end, part in (("min", low), ("max", high)) if part}
    except ValueError:
        raise CommandFailed(f"--param {text}: write NAME=MAX or NAME=MIN..MAX") from None


def window(text: str) -> dict[str, Any]:
    """window("60/60") -> {"max_requests": 60, "per_seconds": 60}"""
    count, _, seconds = text.partition("/")
    try:
        return {"max_requests": int(count), "per_seconds": float(seconds or 60)}
    except ValueError:
        raise CommandFailed(f"--requests {text}: write N/SECONDS") from None


def expiry(text: str, now: float) -> str:
    """expiry("30d", now) -> the time in 30 days; other texts as they are."""
    match = re.fullmatch(r"([0-9]{1,15})([dh])", text)
    if match is None:
        return text
    return utc_text(min(now + int(match[1]) * {"d": 86_400, "h": 3_600}[match[2]], LAST_TIME))


def parameters(texts: Sequence[str]) -> dict[str, Any]:
    """The bounds of all --param. CommandFailed."""
    found = list(map(parameter, texts))
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise CommandFailed(f"--param {twice} is given twice: write {twice}=MIN..MAX for both ends")
    return dict(found)


def size(text: str | None) -> Any:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,15}", text) else text


def terms_of(options: argparse.Namespace, now: float) -> dict[str, Any]:
    """The flags as the JSON that POST /api-keys takes."""
    given = vars(options)
    limits = window(options.requests) if options.requests is not None else {}
    if options.tokens_per_minute is not None:
        limits["tokens_per_minute"] = size(options.tokens_per_minute)
    if options.max_concurrent is not None:
        limits["max_concurrent"] = options.max_concurrent
    budget = {name: size(given[name]) if isinstance(given[name], str) else given[name]
              for name in BUDGETS if given[name] is not None}  # fmt: skip
    lists = {field: [part.strip() for part in given[name].split(",") if part.strip()]
             for name, field in LISTS.items() if given[name] is not None}  # fmt: skip
    return {
        "name": options.name, "owner": options.owner, "note": options.note, "is_admin": options.admin,
        "is_monitor": options.monitor, "allow_batches": options.batches,
        "expires_at": None if options.expires is None else expiry(options.expires, now), **lists,
        "parameter_limits": parameters(options.param), "limits": limits, "budget": budget,
        "networks": options.network,
    }  # fmt: skip


def described_key(options: argparse.Namespace, now: float) -> Key:
    """The key that the flags describe. UsageError, CommandFailed, BadRequest."""
    key = read_json(terms_of(options, now))
    wrong = past_expiry(key, now)
    if wrong:
        raise UsageError(f"--expires {options.expires} {wrong}")
    return key


# ----------------------------------------------------------------------------------------------------------- the store


def place_of(options: argparse.Namespace) -> tuple[str, Config | None]:
    """The store's file, or the address of its database, and the configuration that names it, if it was not named itself.

    ConfigError, and CommandFailed for a name that the file has.
    """
    if options.store:
        return str(options.store), None
    source = Source(options.config, flags={}, env=os.environ)
    config = source.load()
    if options.command == "create" and options.name in fixed_names(config):
        raise CommandFailed(f"{source.name} already has a key named {options.name!r}: choose another name")
    if is_postgres(config.server.store):
        return config.server.store, config
    place = store_path(config.server.store, str(source.path or ""))
    if place in ("", ":memory:"):
        raise CommandFailed(
            "there is no store in a file: write a router.toml or name one with -c FILE, or name the store with --store FILE"
        )
    return place, config


# ----------------------------------------------------------------------------------------------------------- commands


class Opened(NamedTuple):
    """What a command works on."""

    keys: KeyRepository
    config: Config | None  # where the store was named itself, nothing is known of models


async def read_books(opened: Opened, now: float) -> LocalBudgets:
    """What each key has spent, by the call log. Read before anything is changed: a command that fails changes nothing."""
    return logged_budgets(await opened.keys.spent(now), now)


def item_of(row: Row, books: LocalBudgets, now: float) -> dict[str, Any]:
    """`books`: empty ones for a key that is new."""
    return key_json(row.key, books.spent(row.key.id, now), row.last_used, now)


def state_of(item: Mapping[str, Any], now_text: str) -> str:
    if not item["is_active"]:
        return "disabled"
    return "expired" if item["expires_at"] is not None and item["expires_at"] <= now_text else "active"


def role_of(item: Mapping[str, Any]) -> str:
    return " admin" if item["is_admin"] else " monitor" if item["is_monitor"] else ""


def line(item: Mapping[str, Any], now: float) -> list[str]:
    now_text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    spent = item["spent"]
    return [item["name"], item["id"], item["hint"], state_of(item, now_text) + role_of(item),
            f"{spent['usd_month']:.2f} USD and {spent['tokens_month']} tokens this month",
            f"last used {item['last_used_at'] or 'never'}"]  # fmt: skip


async def run_create(options: argparse.Namespace, opened: Opened, now: float) -> int:
    described, secret = described_key(options, now), new_secret()
    row = (await opened.keys.insert(stored_key(described, secret, now), digest_of(secret))).row
    warnings = opened.config.unmatched_patterns(row.key) if opened.config else []
    created_text(options, {"key": secret, "item": item_of(row, LocalBudgets(), now), "warnings": warnings})
    for warning in warnings:
        say(f"warning: {warning}")
    say(f"created {row.key.name} ({row.key.id}) in {opened.keys.place}; the key is shown only this once")
    return DONE


def created_text(options: argparse.Namespace, created: Mapping[str, Any]) -> None:
    """The key alone on its line, or as JSON with its description."""
    sys.stdout.write(json.dumps(created, indent=2) + "\n" if options.json else f"{created['key']}\n")


async def run_list(options: argparse.Namespace, opened: Opened, now: float) -> int:
    books = await read_books(opened, now)
    found = [item_of(row, books, now) for row in (await opened.keys.all()).rows if not row.key.is_of_file]
    if options.json:
        sys.stdout.write(json.dumps({"items": found}, indent=2) + "\n")
        return DONE
    cells = [line(item, now) for item in found]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    for each in cells:
        sys.stdout.write(escape("  ".join(map(str.ljust, each, widths)).rstrip()) + "\n")
    if not found:
        say(f"{opened.keys.place} contains no key")
    return DONE


async def run_show(options: argparse.Namespace, opened: Opened, now: float) -> int:
    row = await opened.keys.find(options.key)
    item = item_of(row, await read_books(opened, now), now)
    if options.json:
        sys.stdout.write(json.dumps(item, indent=2) + "\n")
        return DONE
    for name, value in item.items():
        sys.stdout.write(escape(f"{name}: {value if isinstance(value, str) else json.dumps(value)}") + "\n")
    return DONE


async def run_switch(options: argparse.Namespace, opened: Opened, now: float) -> int:
    """disable and enable."""
    books = await read_books(opened, now) if options.json else LocalBudgets()
    row = (await opened.keys.change(options.key, {"is_active": options.command == "enable"})).row
    if options.json:
        sys.stdout.write(json.dumps(item_of(row, books, now), indent=2) + "\n")
    say(f"{options.command}d {row.key.name} ({row.key.id})")
    return DONE


async def run_delete(options: argparse.Namespace, opened: Opened, now: float) -> int:
    key = (await opened.keys.delete(options.key)).row.key
    if options.json:
        sys.stdout.write(json.dumps({"deleted": key.id}) + "\n")
    say(f"deleted {key.name} ({key.id})")
    return DONE


async def run_rotate(options: argparse.Namespace, opened: Opened, now: float) -> int:
    secret, books = new_secret(), await read_books(opened, now) if options.json else LocalBudgets()
    row = (await opened.keys.rotate(options.key, digest_of(secret), hint_of(secret))).row
    created_text(options, {"key": secret, "item": item_of(row, books, now)})
    say(f"rotated {row.key.name} ({row.key.id}); the key is shown only this once")
    return DONE


async def run_reset(options: argparse.Namespace, opened: Opened, now: float) -> int:
    """By the sums of the call log, to which the last half second of a running gateway may be missing."""
    books = await read_books(opened, now)
    fixed = key_of_file(options.key, opened.config)
    if fixed is None:
        key = await key_of_store(options.key, opened)
        row = (await opened.keys.change(key.id, reset_now(books.spent(key.id, now), now))).row
    else:
        made = (await opened.keys.reset_of_file(fixed.id, reset_now(books.spent(fixed.id, now), now))).row
        row = made._replace(key=replace(fixed, reset=made.key.reset))
    if options.json:
        sys.stdout.write(json.dumps(item_of(row, books, now), indent=2) + "\n")
    say(f"reset {row.key.name} ({row.key.id}): its spending is set to zero")
    return DONE


async def key_of_store(name: str, opened: Opened) -> Key:
    try:
        return (await opened.keys.find(name)).key
    except NotFound as error:
        if opened.config is not None:
            raise
        raise CommandFailed(f"{error.message}; for a key of a configuration file, name that with -c FILE") from None


def key_of_file(name: str, config: Config | None) -> Key | None:
    """The key of the configuration file that a name or an id means; no key of the store has such a one."""
    return next((key for key, _ in config.keys if name in (key.id, key.name)), None) if config is not None else None


Command = Callable[[argparse.Namespace, Opened, float], Coroutine[Any, Any, int]]
COMMANDS: Mapping[str, Command] = {
    "create": run_create, "list": run_list, "show": run_show, "disable": run_switch, "enable": run_switch,
    "delete": run_delete, "rotate": run_rotate, "reset": run_reset,
}  # fmt: skip


@contextmanager
def open_keys(place: str, *, creates: bool) -> Iterator[KeyRepository]:
    """The keys of a store. StoreBroken, StoreUnusable."""
    if is_postgres(place):
        from ..store.postgres.ledgers import spent
        from ..store.postgres.session import CommandSession

        with CommandSession(place, creates=creates) as session:
            yield SqlKeys(session.transact, session.place, spent=spent)
        return
    with KeyFile(place, creates=creates) as file:
        yield SqlKeys(file.transact, place)


def run(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    try:
        place, config = place_of(options)
        with open_keys(place, creates=options.command == "create") as keys:
            return asyncio.run(COMMANDS[options.command](options, Opened(keys, config), time.time()))
    except ConfigError as error:
        report_unusable(error)
        return USAGE
    except CommandFailed as error:
        say(str(error))
        return error.exit_code
    except GatewayError as error:
        say(error.message)
    except (StoreBroken, StoreUnusable) as error:
        say(str(error))
    return NOT_DONE
