"""The command `completion`: completion for bash, zsh and fish, written from the parsers that read the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_router_client import COMMANDS, UsageError, parser_of

from .routing import PREFER, TASKS
from .skill import AGENTS
from .usage import GROUPS

if TYPE_CHECKING:
    from llm_router_client import Console

PROGRAM = "llm-router"
FILES, FOLDERS = ("FILE",), ("DIR",)  # values that are paths, by their metavars
CHOICES = {"--agent": tuple(AGENTS), "--task": tuple(TASKS), "--prefer": tuple(PREFER), "--by": GROUPS}  # of a few words each


class Flag(NamedTuple):
    """One option: how it is written, short forms first, its value ("" for a switch), its help."""

    spelled: tuple[str, ...]
    value: str
    help: str


def flags_of(command: str) -> list[Flag]:
    options = dict.fromkeys(parser_of(command).options.values())
    return [Flag(tuple(o.option_strings), "" if o.nargs == 0 else str(o.metavar), o.help or "") for o in options]


def choices_of(flag: Flag) -> str:
    """The values of an option that takes one of a few words, "" of another."""
    return " ".join(word for name in flag.spelled for word in CHOICES.get(name, ()))


def words_of(command: str) -> dict[str, str]:
    return dict(parser_of(command).words)


def free_of(command: str) -> str:
    """What the value that may stand without its option is, "" for none: of chat TEXT, of prices FILE."""
    parser = parser_of(command)
    return str(parser.options[parser.free].metavar) if parser.free else ""


def quote(text: str) -> str:
    """A text in single quotes of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def bash_choices() -> str:
    """The cases of options that take one of a few words."""
    rows = ((name, quote(" ".join(words))) for name, words in CHOICES.items())
    return "\n".join(f'        {name}) COMPREPLY=($(compgen -W {words} -- "$current")); return ;;' for name, words in rows)


def bash() -> str:
    rows, valued = [], {}
    for command in COMMANDS:
        flags = flags_of(command)
        names = [name for flag in flags for name in flag.spelled]
        valued.update({name: flag.value for flag in flags if flag.value for name in flag.spelled})
        rows.append(f"        {command}) words={quote(' '.join([*words_of(command), *names, '--help']))} ;;")
    files, folders = ("|".join(name for name, value in valued.items() if value in kind) for kind in (FILES, FOLDERS))
    others = "|".join(name for name, value in valued.items() if value not in FILES + FOLDERS and name not in CHOICES)
    table = "\n".join(rows)
    return f"""# bash completion for {PROGRAM}: source <({PROGRAM} completion bash)
_llm_router() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words="" paths=""
    if [ "$current" = "=" ]; then current=""; fi
    if [ "$previous" = "=" ]; then previous="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W {quote(" ".join([*COMMANDS, "help", "--version", "--help"]))} -- "$current"))
        return
    fi
    case "$previous" in
        {files}) paths=-f ;;
        {folders}) paths=-d ;;
{bash_choices()}
        {others}) return ;;
    esac
    if [ -n "$paths" ]; then
        local IFS=$'\\n'  # a name may have spaces
        compopt -o filenames 2>/dev/null  # for these alone: a folder named docs does not make a path of the command
        COMPREPLY=($(compgen "$paths" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{table}
        help) words={quote(" ".join(COMMANDS))} ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _llm_router {PROGRAM}
"""


def zsh() -> str:
    def plain(text: str) -> str:
        return re.sub(r"([\[\]:\\])", r"\\\1", text)

    def action(value: str, choices: str = "") -> str:
        return ":file:_files" if value in FILES else ":folder:_files -/" if value in FOLDERS else f":{plain(value)}:({choices})"

    rows = []
    for command in COMMANDS:
        specs = []
        for flag in flags_of(command):
            value = action(flag.value, choices_of(flag)) if flag.value else ""
            specs += [quote(f"*{name}[{plain(flag.help)}]{value}") for name in flag.spelled]
        words = " ".join(f"{word}\\:{quote(plain(text))}" for word, text in words_of(command).items())
        specs += [quote(f"1:action:(({words}))")] if words else []
        free = free_of(command)
        specs += [quote(f"*{action(free)}")] if free else []  # without it, nothing is completed after a question
        rows.append(f"        {command}) _arguments {' '.join(specs)} ;;")
    names = " ".join(quote(f"{name}:{command.summary}") for name, command in COMMANDS.items())
    table = "\n".join(rows)
    return f"""#compdef {PROGRAM}
# zsh completion for {PROGRAM}: put it into a folder of $fpath as _{PROGRAM}
_llm_router() {{
    local -a commands
    commands=({names})
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command="$words[2]"
    shift words
    (( CURRENT-- ))
    case "$command" in
{table}
        help) _describe command commands ;;
    esac
}}
if [ "$funcstack[1]" = "_{PROGRAM}" ]; then _llm_router "$@"; else compdef _llm_router {PROGRAM}; fi
"""


# Not fish's own __fish_seen_subcommand_from: a word of a question may be the name of a command, too.
FISH_CONDITION = """function __llm_router_command --description 'whether the command is this one, or still to be typed'
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end"""


def fish() -> str:
    lines = [f"# fish completion for {PROGRAM}: {PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish"]
    lines += [FISH_CONDITION, f"complete -c {PROGRAM} -f"]
    for name, entry in COMMANDS.items():
        for condition in ("__llm_router_command", "__llm_router_command help"):
            lines.append(f"complete -c {PROGRAM} -n {quote(condition)} -a {name} -d {quote(entry.summary)}")
    for command in COMMANDS:
        seen = f"complete -c {PROGRAM} -n {quote(f'__llm_router_command {command}')}"
        lines += [f"{seen} -a {word} -d {quote(text)}" for word, text in words_of(command).items()]
        for flag in flags_of(command):
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.spelled)
            value = "" if not flag.value else " -r -F" if flag.value in FILES + FOLDERS else " -x"
            value += f" -a {quote(choices)}" if (choices := choices_of(flag)) else ""
            lines.append(f"{seen} {names}{value} -d {quote(flag.help)}")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def add_arguments(parser: Any) -> None:
    """Options of the command `completion`, for an argparse parser."""
    parser.words = {"bash": "source <(llm-router completion bash)", "zsh": "a file of $fpath", "fish": "a file for fish"}
    parser.add_argument("shell", nargs="?", choices=parser.words, help="; ".join(map(": ".join, parser.words.items())))


def run(args: Any, console: Console) -> int:
    """The command `completion`: prints a script."""
    if args.shell is None:
        raise UsageError("no shell named", next_step=f"Write completion with one of {', '.join(SHELLS)}.")
    console.out(SHELLS[args.shell]())
    return 0
