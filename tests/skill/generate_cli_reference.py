#!/usr/bin/env python3
"""Renders the generated sections of the reference pages from the client's own parsers and tables.

  python3 tests/skill/generate_cli_reference.py           exits 1 and names the sections that have drifted
  python3 tests/skill/generate_cli_reference.py --write   rewrites them

A generated section is a level-2 heading named in SECTIONS, up to the next level-2 heading: nothing else in the pages is
touched. The option table comes from the parsers that read the command line, so that a page cannot promise what is not there.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import llm_router_client as client  # noqa: E402  (the path above is what makes it importable)

CODES_OF = {  # class name -> its codes; the tests hold this against the client
    "BadRequestError": ("bad_request", "context_too_long"),
    "UsageError": ("usage",),
    "AuthenticationError": ("missing_key", "key_refused", "key_malformed"),
    "CreditsError": ("no_credit",),
    "UnknownModelError": ("model_not_found",),
    "RateLimitError": ("rate_limited",),
    "ServerError": ("server_error", "overloaded"),
    "NetworkError": ("network",),
    "RequestTimeout": ("timeout",),
    "SafetyError": ("refused_locally", "over_budget"),
    "BadUpstreamError": ("bad_upstream", "empty_answer"),
    "IncompleteError": ("stream_cut", "length"),
    "ContentFilterError": ("content_filter",),
    "LLMRouterError": ("interrupted", "not_written"),
}


def cell(text: str) -> str:
    """One line that cannot break out of its table cell: cell("a | b\\n c") -> "a \\\\| b c"."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def table(head: Tuple[str, ...], rows: Sequence[Tuple[str, ...]]) -> str:
    """A Markdown table; table(("A", "B"), [("1", "2")]) -> three lines."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def options_of(command: str) -> List[Tuple[str, str]]:
    """What a command takes, in the order of its --help: ("`-m`, `--model NAME`", help text); words without a dash, too."""
    found = []
    parser = client.parser_of(command)
    for option in dict.fromkeys(parser.options.values()):
        value = f" {option.metavar}" if option.nargs != 0 else ""
        name = ", ".join(f"`{flag}`" for flag in option.option_strings[:-1]) + ", " * (len(option.option_strings) > 1)
        found.append((f"{name}`{option.option_strings[-1]}{value}`", option.help or ""))
    return [(f"`{word}`", text) for word, text in parser.words.items()] + found


def options() -> Dict[Tuple[str, str], List[str]]:
    """(option as typed, help text) -> the commands where it reads so, in the order of the commands."""
    found: Dict[Tuple[str, str], List[str]] = {}
    for command in client.COMMANDS:
        for name, text in options_of(command):
            found.setdefault((name, text or "as the API defines it"), []).append(command)
    return found


def options_section() -> str:
    """One table, a row for each option; those that say the same of the same commands share theirs."""
    rows: Dict[Tuple[str, str], List[str]] = {}
    asking = [name for name in client.COMMANDS if "--base-url" in client.parser_of(name).options]
    for (name, text), commands in options().items():
        where = "all that use an endpoint" if commands == asking else " ".join(commands)
        rows.setdefault((where, text), []).append(name)
    cells = [(cell(", ".join(names)), where, cell(text)) for (where, text), names in rows.items()]
    return table(("Option", "Commands", "Meaning"), cells)


def commands_section() -> str:
    """What each command does, from COMMANDS."""
    return table(("Command", "Does"), [(f"`{name}`", cell(entry.summary)) for name, entry in client.COMMANDS.items()])


def settings_section() -> str:
    """The environment variables the client reads, from SETTINGS."""
    return table(("Variable", "Meaning"), [(f"`{name}`", cell(text)) for name, text in client.SETTINGS.items()])


def exits_section() -> str:
    """Exit codes, from EXIT_CODES."""
    return table(("Exit", "Meaning"), [(str(code), cell(text)) for code, text in client.EXIT_CODES.items()])


def errors_section() -> str:
    """Error codes with their class, exit code and next step, from ERRORS."""
    class_of = {code: name for name, codes in CODES_OF.items() for code in codes}
    facts = ((code, class_of[code], number, step) for code, (number, step) in client.ERRORS.items())
    rows = [(f"`{code}`", f"`{name}`", str(number), cell(step)) for code, name, number, step in facts]
    return table(("Code", "Class", "Exit", "`next_step`"), rows)


SECTIONS: Dict[Tuple[str, str], Callable[[], str]] = {
    ("references/cli.md", "Commands"): commands_section,
    ("references/cli.md", "Options"): options_section,
    ("references/cli.md", "Environment variables"): settings_section,
    ("references/errors.md", "Exit codes"): exits_section,
    ("references/errors.md", "Error codes"): errors_section,
}


def with_section(page: str, heading: str, body: str) -> str:
    """The page with that section's body replaced; KeyError when the page has no such heading."""
    pattern = re.compile(rf"(?ms)^## {re.escape(heading)}\n.*?(?=^## |\Z)")
    found = pattern.search(page)
    if found is None:
        raise KeyError(heading)
    tail = "\n" if found.end() < len(page) else ""
    return page[: found.start()] + f"## {heading}\n\n{body}{tail}" + page[found.end() :]


def drifted() -> Dict[str, Any]:
    """Pages that differ from what the code says: name -> (the text they should have, the headings that differ)."""
    wrong: Dict[str, Any] = {}
    for (name, heading), render in SECTIONS.items():
        page, headings = wrong.get(name, ((ROOT / name).read_text(encoding="utf-8"), []))
        fresh = with_section(page, heading, render())
        wrong[name] = (fresh, headings + ([heading] if fresh != page else []))
    return {name: (page, headings) for name, (page, headings) in wrong.items() if headings}


def main() -> int:
    """0 when every page agrees with the code (or now does, with --write), else 1."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", action="store_true", help="rewrite the sections that differ")
    arguments = parser.parse_args()
    wrong = drifted()
    for name, (page, headings) in wrong.items():
        print(f"{name}: {', '.join(headings)}")
        if arguments.write:
            (ROOT / name).write_text(page, encoding="utf-8")
    return 0 if arguments.write or not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
