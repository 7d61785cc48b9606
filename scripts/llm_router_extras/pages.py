"""The pages that come with the program: README, SKILL.md, references, CHANGELOG, SECURITY; `docs` shows them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import llm_router_client
from llm_router_client import UsageError, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_router_client import Console

DISTRIBUTION = "llm-router-client"
TOP_PAGES = {"readme": "README.md", "skill": "SKILL.md", "changelog": "CHANGELOG.md", "reporting": "SECURITY.md"}  # if there


def installed_folders(here: str) -> Iterator[str]:
    """Where an installer may have put the package's pages: where its record says, else below the usual prefixes."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files(DISTRIBUTION) or []
    except PackageNotFoundError:
        listed = []
    yield from (os.path.dirname(str(entry.locate())) for entry in listed if entry.parts[-2:] == (DISTRIBUTION, "SKILL.md"))
    for prefix in (here, sys.prefix):  # `pip install --target` has a record that is wrong
        yield os.path.join(prefix, "share", DISTRIBUTION)


def page_folder() -> str:
    """The folder that holds SKILL.md and references/: of a checkout or an installed skill, else of the installed package."""
    here = os.path.dirname(os.path.realpath(str(llm_router_client.__file__)))
    if os.path.isfile(os.path.join(here, os.pardir, "SKILL.md")):
        return os.path.dirname(here)
    for folder in installed_folders(here):
        if os.path.isfile(os.path.join(folder, "SKILL.md")):
            return os.path.realpath(folder)
    step = f"Install the package {DISTRIBUTION} (pip install . in a checkout), or run the client of a checkout."
    raise UsageError("the pages are not installed with this program", next_step=step)


def page_files() -> dict[str, str]:
    """The name of each page -> its file: {"readme": ".../README.md", "cli": ".../references/cli.md"}."""
    folder = page_folder()
    references = os.path.join(folder, "references")
    pages = {name: os.path.join(folder, file) for name, file in TOP_PAGES.items()}
    pages.update((name[:-3], os.path.join(references, name)) for name in sorted(os.listdir(references)) if name.endswith(".md"))
    return {name: path for name, path in pages.items() if os.path.isfile(path)}


def title_of(path: str) -> str:
    """The first heading of a page, "" where it has none."""
    with open(path, encoding="utf-8") as file:
        return next((line[2:].strip() for line in file if line.startswith("# ")), "")


def add_arguments(parser: Any) -> None:
    """Options of the command `docs`, for an argparse parser."""
    parser.add_argument("--page", metavar="NAME", help="the page to show, the same as NAME alone; without it, a list of pages")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.free = "--page"


def run(args: Any, console: Console) -> int:
    """The command `docs`: a list of the pages, or one of them."""
    pages = page_files()
    if args.page is None:
        rows = {name: {"page": name, "title": title_of(path), "file": path} for name, path in pages.items()}
        text = "".join(f"{name:<22} {row['title']}\n" for name, row in rows.items())
        console.show({"pages": list(rows.values())}, text)
        return 0
    name = args.page.lower()
    name = name[:-3] if name.endswith(".md") else name
    if name not in pages:
        step = f"{near(name, list(pages))}Pages: {', '.join(pages)}."
        raise UsageError(f"there is no page {args.page[:40]!r}", next_step=step)
    with open(pages[name], encoding="utf-8") as file:
        text = file.read()
    console.show({"page": name, "file": pages[name], "text": text}, text)
    return 0
