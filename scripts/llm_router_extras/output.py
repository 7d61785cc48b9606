"""The options --output, a whole answer's text in a file or nothing of it, and --markdown, a comparison as a table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llm_router_client import SafetyError, UsageError, check_inside, on_one_line, usd

from .files import move_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_router_client import JSON, Console


def check_output(args: Any) -> str:
    """The resolved --output path, checked before anything is sent (and billed)."""
    if not args.output:
        raise UsageError("--force goes with --output", next_step="Add --output FILE, or leave out --force.")
    folder, name = os.path.split(os.path.abspath(args.output))
    path = os.path.join(os.path.realpath(folder), name)
    check_inside(args.output, path, args.allow_path or ())
    if os.path.isdir(path):
        raise UsageError(f"{args.output} is a directory, not a file", next_step="Name a new file in it.")
    if os.path.lexists(path) and not args.force:
        raise SafetyError(f"{args.output} exists", next_step="Choose another name, or replace it with --force.")
    if not os.path.isdir(os.path.dirname(path)):
        step = f"Create its directory first; a relative path starts in {os.getcwd()}."
        raise UsageError(f"{args.output} cannot be written: no such directory", next_step=step)
    return str(path)


def write_output(path: str, text: str, force: bool, console: Console) -> int:
    """Write the whole text or nothing: to a new file beside the target, moved there. A link is replaced, not followed."""
    part, data = f"{path}.{os.getpid()}.part", text.encode("utf-8", "replace")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb") as file:
            file.write(data)
        (os.replace if force else move_new)(part, path)  # the latter refuses what has come into being meanwhile
    except OSError:
        console.text("" if console.as_json else text)  # it was paid for
        raise
    finally:
        if os.path.lexists(part):
            os.unlink(part)
    return len(data)


def table_for(args: Any) -> Callable[[dict[str, JSON]], str]:
    """What shows the results of a comparison under --markdown."""
    if args.json:
        raise UsageError("--json and --markdown cannot be combined", next_step="Leave one of them out.")
    return results_table


def results_table(results: dict[str, JSON]) -> str:
    """What compare_models() found, as the rows of a Markdown table."""
    streamed = any(result["ttft"] is not None for result in results.values())
    first, line = (" first text s |", " ---: |") if streamed else ("", "")
    text = f"| model | latency s |{first} tokens | cost USD | finish | answer |\n"
    text += f"| --- | ---: |{line} ---: | ---: | --- | --- |\n"
    for name, result in results.items():
        error, cost = result["error"], usd(result["cost"]) or None
        said = f"failed: {error['message']}" if error else " ".join(result["response"].split())
        times = (result["latency"], result["ttft"]) if streamed else (result["latency"],)
        cells = (name, *times, result["tokens"], cost, result["finish_reason"], said)
        shown = ("" if cell is None else on_one_line(cell).replace("|", "\\|") for cell in cells)
        text += f"| {' | '.join(shown)} |\n"
    return text
