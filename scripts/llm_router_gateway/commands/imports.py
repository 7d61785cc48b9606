"""import: another router's configuration as a router.toml, with what could not be carried.

    llm-router-gateway import litellm config.yaml > router.toml
    llm-router-gateway import one-api channels.json -o router.toml
    llm-router-gateway import jq-server config.yaml

stdout: the file. stderr: what was lost, what behaves otherwise, and what the new file still lacks.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.config import ConfigError, parse
from ..config.imported import READERS, Imported, Wrong, toml_text
from ..config.sources import read_data_file
from .program import Parser, as_typed, program_name, say

NEEDED = {
    "litellm": "LiteLLM's config.yaml has models in model_list",
    "one-api": "what GET /api/channel/ answers has channels in data; the request needs an administrator's token",
    "jq-server": "the jq server's config.yaml has models in model_list",
}


def parser() -> argparse.ArgumentParser:
    made = Parser(
        f"{program_name()} import", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Prints another router's configuration as a router.toml; what cannot be carried over is listed on stderr.",
        epilog=as_typed("examples:\n"
        "  python3 scripts/llm_router_gateway import litellm config.yaml > router.toml\n"
        "  python3 scripts/llm_router_gateway import one-api channels.json -o router.toml\n\n"
        "one-api takes what GET /api/channel/ answers, or the channels as a JSON list.\n"
        "exit codes: 0 printed, 1 printed, but the file is not complete yet, 2 usage error or a file that cannot be read"),
    )  # fmt: skip
    made.add_argument("kind", choices=tuple(READERS), help="whose configuration it is")
    made.add_argument("file", metavar="FILE", help="YAML or JSON")
    made.add_argument("-o", "--output", metavar="FILE", default="", help="write to this new file, readable by its owner only")
    return made


def missing_in(document: Mapping[str, Any]) -> list[str]:
    """What the new file lacks to be a configuration, with every variable that it names taken as set."""
    tables = [*document.get("providers", ()), document.get("server", {})]
    names = {value for entry in tables for key, value in entry.items() if key.endswith("_env") and isinstance(value, str)}
    try:
        parse(document, env=dict.fromkeys(names, "set"))
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def write(path: str, text: str) -> None:
    """A new file for its owner alone: it may hold keys."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def print_report(found: Imported, problems: Sequence[str]) -> None:
    for title, lines in (("not carried", found.lost), ("otherwise here", found.notes), ("to be corrected", problems)):
        for line in lines:
            say(f"{title}: {line}")


def run(arguments: Sequence[str]) -> int:
    """The exit code of `import ...`."""
    options = parser().parse_args(arguments)
    try:
        found = READERS[options.kind](read_data_file(Path(options.file)))
        if not found.document.get("providers"):
            raise Wrong(f"there is nothing to import: {NEEDED[options.kind]}")
        text = toml_text(found.document)
        if options.output:
            write(options.output, text)
    except (ConfigError, Wrong) as error:
        for problem in error.problems if isinstance(error, ConfigError) else [f"{options.file}: {error}"]:
            say(str(problem))
        return 2
    except OSError as error:
        say(f"{options.output} cannot be written: {error.strerror}; name a new file in a folder of yours")
        return 2
    if not options.output:
        sys.stdout.write(text)
    problems = missing_in(found.document)
    print_report(found, problems)
    return 1 if problems else 0
