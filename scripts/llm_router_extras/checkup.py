"""The command `skill check`: what would fail in a loader, or for an agent that uses the skill."""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING, Any

from llm_router_client import LLMRouterError, UsageError

from .skill import AGENTS, LAUNCHER, NAME, SCRIPTS, bundle, contents, files_under, frontmatter, skills_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_router_client import Console

MAX_BUNDLE_BYTES = 500_000  # what goes into an agent's folder; the strictest loader's guard warns above 1 MiB
MAX_FILE_BYTES = 262_144  # one file, by the same guard
MAX_FILES = 50  # by the same guard
FIELDS = ("name", "description", "license", "compatibility", "metadata")  # agentskills.io; any other is an error there
MOST_CHARACTERS = {"name": 64, "description": 1024, "compatibility": 500}  # agentskills.io


def faults_of(files: dict[str, bytes], folder: str) -> Iterator[str]:
    """What would fail in a loader, or for an agent that uses the skill; nothing if it is correct."""
    page = files.get("SKILL.md", b"").decode("utf-8", "replace")
    fields = frontmatter(page)
    yield from (f"SKILL.md has no {name}" for name in ("name", "description") if not fields.get(name))
    yield from (f"SKILL.md has a field that is not in the specification: {name}" for name in fields if name not in FIELDS)
    for name, most in MOST_CHARACTERS.items():
        if len(fields.get(name, "")) > most:
            yield f"SKILL.md: {name} has {len(fields[name])} characters, more than {most}"
    if fields.get("name") and fields["name"] != folder:
        yield f"the folder is named {folder}, but the skill {fields['name']}: loaders expect the same name"
    wanted = {*re.findall(r"\]\(([\w./-]+)\)", page), LAUNCHER, *(f"scripts/{name}" for name in SCRIPTS)}
    yield from (f"{name} is missing" for name in sorted(wanted) if name not in files)
    for name, data in files.items():
        if len(data) > MAX_FILE_BYTES:
            yield f"{name} has {len(data)} bytes, more than {MAX_FILE_BYTES}"
        if name.endswith(".py") or name == LAUNCHER:
            try:
                ast.parse(data)
            except (SyntaxError, ValueError) as error:
                yield f"{name} is not Python: {error}"
    total = sum(map(len, files.values()))
    if total > MAX_BUNDLE_BYTES or len(files) > MAX_FILES:
        yield f"{len(files)} files with {total} bytes exceed {MAX_FILES} files or {MAX_BUNDLE_BYTES} bytes"


def run_check(args: Any, console: Console) -> int:
    """`skill check [DIR]`: a folder, else the skill here and every place where it is installed."""
    if args.dir:
        folder = os.path.abspath(os.path.expanduser(args.dir))
        if not os.path.isdir(folder):
            raise UsageError(f"{args.dir} is not a folder", next_step="Name the folder that holds SKILL.md.")
        inside = os.path.join(folder, NAME)  # as `skill export` writes it
        folder = folder if os.path.isfile(f"{folder}/SKILL.md") or not os.path.isfile(f"{inside}/SKILL.md") else inside
        checked = {folder: (contents(files_under(folder)), os.path.basename(folder))}
    else:
        checked = {"the skill here": (contents(bundle()), NAME), **installed_skills()}
    here = contents(bundle())
    rows: list[dict[str, Any]] = []
    for where, (files, name) in checked.items():
        found = list(faults_of(files, name))
        size = sum(map(len, files.values()))
        rows.append({"where": where, "files": len(files), "bytes": size, "faults": found, "current": files == here})
    lines = "".join(line_of(row) for row in rows)
    wrong = sum(len(row["faults"]) for row in rows)
    said = f"{wrong} {'fault' if wrong == 1 else 'faults'} in the skill"
    error = LLMRouterError(said, code="bad_request", next_step="Write it again with skill install or skill export.")
    console.show({"checked": rows}, lines, error.to_dict() if wrong else None)
    return 1 if wrong else 0


def line_of(row: dict[str, Any]) -> str:
    age = "" if row["current"] else ", not the version here"
    head = f"{'FAIL' if row['faults'] else 'ok  '} {row['where']}: {row['files']} files, {row['bytes']} bytes{age}\n"
    return head + "".join(f"     {fault}\n" for fault in row["faults"])


def installed_skills() -> dict[str, tuple[dict[str, bytes], str]]:
    """The skill in the folders of all agents, of this user and of the project in the working directory."""
    places = [skills_folder(agent, project) for agent in AGENTS for project in (False, True) if AGENTS[agent][project]]
    folders = dict.fromkeys(os.path.join(place, NAME) for place in places)
    return {folder: (contents(files_under(folder)), NAME) for folder in folders if os.path.isfile(f"{folder}/SKILL.md")}
