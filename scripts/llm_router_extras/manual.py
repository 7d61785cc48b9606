"""The command `man`: the manual page of the command line, written from its parsers and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_router_client import COMMANDS, EXIT_CODES, SETTINGS, VERSION

from .completion import flags_of, words_of

if TYPE_CHECKING:
    from llm_router_client import Console


def roff(text: str) -> str:
    """A text that troff takes as it is: no line of it a request, no hyphen a dash, no backslash an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def item(head: str, text: str) -> list[str]:
    return [".TP", f"\\fB{roff(head)}\\fR", roff(text) or "As the API defines it."]


def command_lines(command: str) -> list[str]:
    """One command: what it does, its words, its options, two examples."""
    entry = COMMANDS[command]
    lines = [f".SS {roff(command)}", roff(f"{entry.summary[:1].upper()}{entry.summary[1:]}.")]
    for word, text in words_of(command).items():
        lines += item(word, text)
    for flag in flags_of(command):
        lines += item(", ".join(flag.spelled) + (f" {flag.value}" if flag.value else ""), flag.help)
    examples = [f"llm-router {command} {words}".strip() for words in entry.examples]
    return [*lines, ".PP", "Examples:", ".nf", *(f"    {roff(each)}" for each in examples), ".fi"]


def page() -> str:
    """The page in the macros of man(7)."""
    lines = [
        f'.TH LLM\\-ROUTER 1 "" "llm\\-router {VERSION}" "User Commands"',
        ".SH NAME", "llm\\-router \\- ask any large language model through one endpoint and one key",
        ".SH SYNOPSIS", ".B llm\\-router", "\\fIcommand\\fR [\\fIoptions\\fR]", ".br",
        ".B llm\\-router", '"\\fIa question\\fR"',
        ".SH DESCRIPTION",
        "Standard output holds the answer and nothing else; all other text goes to standard error.",
        "A question of several words may stand alone; one word is a command.",
        ".SH COMMANDS",
    ]  # fmt: skip
    for command in COMMANDS:
        lines += command_lines(command)
    lines.append(".SH ENVIRONMENT")
    for name, text in SETTINGS.items():
        lines += item(name, text)
    lines.append(".SH EXIT STATUS")
    for code, text in EXIT_CODES.items():
        lines += item(str(code), text)
    lines += [".SH SEE ALSO", "llm\\-router docs lists the pages that come with it, llm\\-router docs cli shows one."]
    return "\n".join(lines) + "\n"


def add_arguments(parser: Any) -> None:
    """The command `man` takes no options of its own."""


def run(args: Any, console: Console) -> int:
    """The command `man`: prints the page; `llm-router man | man -l -` shows it."""
    console.out(page())
    return 0
