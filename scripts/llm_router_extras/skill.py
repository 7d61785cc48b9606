"""The agent skill as a folder that loaders take: what is in it, and where each agent looks for it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import llm_router_client
from llm_router_client import VERSION, SafetyError, UsageError, dump_json, extra, near

from .pages import page_folder

if TYPE_CHECKING:
    from llm_router_client import Console

NAME = "llm-router"
TEXTS = ("SKILL.md", "LICENSE")
SCRIPTS = ("llm_router_client.py", "llm_router_batch.py", "llm_router_demo.py")
LAUNCHER = "scripts/llm-router"
# Of the extras: what only people and other programs use.
LEFT_OUT = ("talk.py", "completion.py", "manual.py", "waiting.py", "mcp.py", "prices.py", "checkup.py")

# agent -> folder of skills in the home directory, folder of skills in a project ("" where it has none), and the variable that
# moves its own folder, the first of the path. Claude Code 2.1, Codex 0.171, Gemini CLI 0.61, opencode 1.18, Hermes 0.19 and
# OpenClaw 2026.9 read these; .agents/skills is also read by most of the others.
AGENTS = {
    "claude": (".claude/skills", ".claude/skills", "CLAUDE_CONFIG_DIR"),
    "codex": (".agents/skills", ".agents/skills", ""),
    "gemini": (".gemini/skills", ".gemini/skills", ""),
    "opencode": (".config/opencode/skills", ".opencode/skills", "XDG_CONFIG_HOME"),
    "hermes": (".hermes/skills", "", "HERMES_HOME"),
    "openclaw": (".openclaw/skills", "skills", "OPENCLAW_STATE_DIR"),
}
CLAUDE_RULE = "Bash(python3 *llm_router_client.py *)"  # tried with Claude Code 2.1.332
TRY = "python3 {} chat --demo --message Hello"


# --------------------------------------------------------------------------------------------------------------- bundle


def bundle() -> dict[str, str]:
    """Path inside the skill's folder -> the file it is copied from: {"SKILL.md": "/.../SKILL.md", ...}.

    The references are those that SKILL.md links to; the scripts lie beside the client that is running, in a checkout, in
    an installed package or in an installed skill alike.
    """
    texts, scripts = page_folder(), os.path.dirname(os.path.realpath(str(llm_router_client.__file__)))
    with open(os.path.join(texts, "SKILL.md"), encoding="utf-8") as file:
        linked = re.findall(r"\]\((references/[\w.-]+)\)", file.read())
    found = {name: os.path.join(texts, *name.split("/")) for name in (*TEXTS, *dict.fromkeys(linked), LAUNCHER)}
    found.update((f"scripts/{name}", os.path.join(scripts, name)) for name in SCRIPTS)
    extras = os.path.join(scripts, "llm_router_extras")
    names = sorted(name for name in os.listdir(extras) if name.endswith(".py") and name not in LEFT_OUT)
    found.update((f"scripts/llm_router_extras/{name}", os.path.join(extras, name)) for name in names)
    missing = [name for name, path in found.items() if not os.path.isfile(path)]
    if missing:
        step = "Reinstall the package llm-router-client, or run this from a checkout."
        raise UsageError(f"the skill is incomplete here: {', '.join(missing)} missing", next_step=step)
    return found


def contents(files: dict[str, str]) -> dict[str, bytes]:
    """Path inside the skill's folder -> its bytes."""
    found = {}
    for name, path in files.items():
        with open(path, "rb") as file:
            found[name] = file.read()
    return found


def files_under(folder: str) -> dict[str, str]:
    """As bundle(), of a folder that is there; what Python and the system leave behind is passed over."""
    found = {}
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(where, name)
            if name != ".DS_Store":
                found[os.path.relpath(path, folder).replace(os.sep, "/")] = path
    return found


def as_extension(files: dict[str, bytes]) -> dict[str, bytes]:
    """The bundle as an extension of the Gemini CLI, which looks for skills in the folder `skills` beside its manifest."""
    about = {"name": NAME, "version": VERSION, "description": frontmatter(files["SKILL.md"].decode())["description"]}
    manifest = {"gemini-extension.json": dump_json(about, indent=2).encode()}
    return {**manifest, **{f"skills/{NAME}/{name}": data for name, data in files.items()}}


def write_folder(target: str, new: dict[str, bytes], force: bool) -> str:
    """Write files to a folder, whole or not at all: "written", "unchanged" or "replaced".

    SafetyError where something else is there, and without force also where another version of the skill is: a file that
    someone changed would be lost.
    """
    what = "written"
    if os.path.lexists(target):
        what = check_replaceable(target, new, force)
    if what == "unchanged":
        return what
    parent = os.path.dirname(target)
    try:
        os.makedirs(parent, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=f".{NAME}-", dir=parent)
        try:
            fill_folder(os.path.join(beside, "new"), new)
            if what == "replaced":
                os.replace(target, os.path.join(beside, "old"))
            os.replace(os.path.join(beside, "new"), target)
        finally:
            if what == "replaced" and not os.path.lexists(target):  # the second of the two failed
                os.replace(os.path.join(beside, "old"), target)
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        step = "Choose a folder that you can write to, or correct its permissions."
        raise UsageError(f"{target} cannot be written: {error.strerror or error}", next_step=step) from None
    return what


def check_replaceable(target: str, new: dict[str, bytes], force: bool) -> str:
    """ "unchanged" where the bundle is there already, "replaced" where another version is and force allows it."""
    if os.path.islink(target) or not os.path.isdir(target):
        raise SafetyError(f"{target} is a link or a file", next_step="Move it away, or choose another folder.")
    old = contents(files_under(target))
    if old == new:
        return "unchanged"
    page = old.get("SKILL.md") or old.get(f"skills/{NAME}/SKILL.md") or b""
    if old and not re.search(rb"(?m)^name: llm-router\r?$", page):
        raise SafetyError(f"{target} holds something else", next_step="Move it away, or choose another folder.")
    differ = sum(old.get(name) != new.get(name) for name in {*old, *new})
    said = "1 file differs" if differ == 1 else f"{differ} files differ"
    if old and not force:
        step = "Replace it with --force; changes made there are lost."
        raise SafetyError(f"{target} holds another version of the skill: {said}", next_step=step)
    return "replaced"


def fill_folder(folder: str, files: dict[str, bytes]) -> None:
    """Write files into a new folder; the launcher alone may be executed."""
    for name, data in files.items():
        path = os.path.join(folder, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
        os.chmod(path, 0o755 if name.endswith(LAUNCHER) else 0o644)


def frontmatter(text: str) -> dict[str, str]:
    """The fields of a SKILL.md at its left margin: {"name": "llm-router", ..., "metadata": ""}; {} if there is none."""
    parts = text.replace("\r\n", "\n").split("---\n", 2)
    if len(parts) < 3 or parts[0]:
        return {}
    return {name: value.strip() for name, value in re.findall(r"(?m)^([\w-]+):(.*)$", parts[1])}


# ------------------------------------------------------------------------------------------------------------- commands


def skills_folder(agent: str, project: bool) -> str:
    """Where an agent looks for skills: of this user, or of the project in the working directory."""
    of_user, of_project, variable = AGENTS[agent]
    if project and not of_project:
        raise UsageError(f"{agent} reads no skills from a project", next_step="Use --user.")
    if project:
        return os.path.join(os.getcwd(), *of_project.split("/"))
    own, *rest = of_user.split("/")
    moved = os.getenv(variable, "") if variable else ""
    return os.path.join(os.path.expanduser(moved or f"~/{own}"), *rest)


def run_install(args: Any, console: Console) -> int:
    """`skill install --agent NAME [--user | --project]`: the bundle, where that agent looks for skills."""
    if args.agent not in AGENTS:
        said = f"there is no agent {args.agent[:40]!r} here" if args.agent else "no agent named"
        known = f"Write --agent with one of {', '.join(AGENTS)}; for another, skill export DIR."
        step = f"{near(args.agent or '', list(AGENTS))}{known}"
        raise UsageError(said, next_step=step)
    if args.extension:
        raise UsageError("--extension goes with export", next_step="Write skill export DIR --extension.")
    if args.user and args.project:
        raise UsageError("give --user or --project, not both")
    target = os.path.join(skills_folder(args.agent, args.project), NAME)
    return write_skill(target, args, console, {"agent": args.agent})


def run_export(args: Any, console: Console) -> int:
    """`skill export DIR`: the bundle in DIR/llm-router, or in DIR where that is its name."""
    if not args.dir:
        raise UsageError("no folder named", next_step="Write skill export DIR; the skill is put in DIR/llm-router.")
    target = os.path.abspath(os.path.expanduser(args.dir))
    target = target if os.path.basename(target) == NAME else os.path.join(target, NAME)
    return write_skill(target, args, console, {})


def write_skill(target: str, args: Any, console: Console, facts: dict[str, str]) -> int:
    files = contents(bundle())
    files = as_extension(files) if args.extension else files
    what = write_folder(target, files, args.force)
    size = sum(map(len, files.values()))
    text = f"{what}: {target} ({len(files)} files, {size} bytes)\n"
    value = {**facts, "folder": target, "outcome": what, "files": len(files), "bytes": size}
    console.show(value, text)
    if args.extension:
        console.note(f"try: gemini extensions install {target}")
        return 0
    console.note(f"try: {TRY.format(os.path.join(target, 'scripts', 'llm_router_client.py'))}")
    if facts.get("agent") == "claude":
        console.note(f'to allow it without questions, add to permissions.allow: "{CLAUDE_RULE}"; see docs install')
    return 0


def run_check(args: Any, console: Console) -> int:
    """`skill check [DIR]`: see llm_router_extras.checkup, which is not part of an installed skill."""
    return int(extra("checkup", "skill check").run_check(args, console))


ACTIONS = {"install": run_install, "export": run_export, "check": run_check}


def add_arguments(parser: Any) -> None:
    """Options of the command `skill`, for an argparse parser."""
    parser.words = {
        "install": "put it where an agent looks for skills",
        "export": "write it to DIR/llm-router",
        "check": "look for faults in DIR, else here and where the skill is installed",
    }
    parser.add_argument("action", nargs="?", choices=parser.words, help="; ".join(map(": ".join, parser.words.items())))
    parser.add_argument("--agent", metavar="NAME", help=f"install for {', '.join(AGENTS)}")
    parser.add_argument("--user", action="store_true", help="install for all of your projects (the default)")
    parser.add_argument("--project", action="store_true", help="install for the project in the working directory")
    parser.add_argument("--dir", metavar="DIR", help="the same as DIR alone")
    parser.add_argument("--extension", action="store_true", help="export it as an extension of the Gemini CLI")
    parser.add_argument("--force", action="store_true", help="replace another version of the skill")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.free = "--dir"


def run(args: Any, console: Console) -> int:
    """The command `skill`: args.action is one of ACTIONS, or None."""
    if args.action is None:
        raise UsageError("say what to do with the skill", next_step="Write skill install, skill export DIR or skill check.")
    return ACTIONS[args.action](args, console)
