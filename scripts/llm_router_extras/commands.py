"""The commands route, cache and usage of the client's command line: add_NAME(parser) and run_NAME(args, console) for each."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import llm_router_client as c

from .cache import cache_file, seconds_in
from .database import in_file
from .usage import USAGE_GET, USAGE_SUMS, usage_file

if TYPE_CHECKING:
    from argparse import Namespace

    from llm_router_client import Console, Parser, Turns


def add_route(parser: Parser) -> None:
    for add in (c.add_routing, c.add_input, c.add_parameters, c.add_endpoint, c.add_output):
        add(parser)


def run_route(args: Namespace, console: Console) -> int:
    args.model = c.AUTO
    request = c.request_of(args)
    route = c.open_client(args, console).route(**request, offline=args.dry_run)
    text = f"{route['model']}\nthen: {', '.join(route['fallback']) or 'none'}\nwhy: {route['reason']}\n"
    console.show({"route": route}, c.clean(text))
    return 0


def add_cache(parser: Parser) -> None:
    parser.add_argument("action", nargs="?", choices={"stats": "how much the cache holds", "clear": "take every answer out"})
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run_cache(args: Namespace, console: Console) -> int:
    if args.action is None:
        raise c.UsageError("say what to do with the cache", next_step="Write `cache stats` or `cache clear`.")
    path, cleared = cache_file(), args.action == "clear"
    facts = {"file": path, "answers": 0, "oldest": None, "newest": None, "cleared": cleared, "bytes": 0}
    if os.path.exists(path):
        [row] = in_file(path, "SELECT COUNT(*), MIN(stored_at), MAX(stored_at) FROM answers")
        for sql in ("DELETE FROM answers", "VACUUM") if cleared else ():  # from the disk, too
            in_file(path, sql)
        facts.update(zip(("answers", "oldest", "newest"), row), bytes=os.path.getsize(path))
    text = f"{path}: {facts['answers']} answers{' taken out' if cleared else ''}, {facts['bytes']} bytes\n"
    console.show(facts, c.clean(text))
    return 0


def add_usage(parser: Parser) -> None:
    parser.add_argument("--by", metavar="NAME", help="model (default), day or session")
    parser.add_argument("--since", metavar="AGE", help="only what is not older: 24h, 7d")
    parser.add_argument("--csv", action="store_true", help="as CSV")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def sums_of(path: str, by: str, since: float) -> Turns:
    """One row for each model, day or session, and the total as the last; none where nothing is recorded."""
    rows: Turns = []
    for what in (by, "total") if os.path.exists(path) else ():
        for name, *sums in in_file(path, USAGE_GET, what, since):
            numbers = [int(number) if number == int(number) else round(number, 8) for number in sums]
            rows.append({by: name or "none", **dict(zip(USAGE_SUMS, numbers))})
    return rows


def quoted(cell: str) -> str:
    """A cell of a CSV file: RFC 4180 2.5-2.7."""
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"') else cell


def run_usage(args: Namespace, console: Console) -> int:
    by, path = args.by or "model", usage_file()
    if by not in ("model", "day", "session") or (args.json and args.csv):
        raise c.UsageError("usage is told --by model, day or session, and as a table, --json or --csv")
    rows = sums_of(path, by, 0.0 if args.since is None else time.time() - seconds_in(args.since, "--since"))
    if args.json:
        total = rows.pop() if rows else None
        console.result({"ok": True, "by": by, "file": path, "rows": rows, "total": total, "error": None})
        return 0
    cells = [[by, *USAGE_SUMS], *([" ".join(c.clean(c.usd(value)).split()) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        console.out((",".join(map(quoted, line)) if args.csv else "  ".join(map(str.ljust, line, widths)).rstrip()) + "\n")
    if not rows:
        console.note(f"{path} holds no calls; LLM_ROUTER_USAGE_LOG=1 or --usage-log records them")
    return 0
