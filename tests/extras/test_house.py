"""The extras keep the laws of their house: what they import, how long their functions are, that they say what they do."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path
from typing import Dict, Iterator, Set

import pytest

import llm_router_client as c

FOLDER = Path(c.__file__).with_name("llm_router_extras")
TREES: Dict[str, ast.Module] = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.py"))}
FLOORS = (  # imports go up only
    "files", "output", "terminal", "database", "collaborator", "mending", "naming", "message", "unmet", "patterns",
    "schema", "config", "pricing", "routing", "tools", "conversation", "cache", "usage", "collaborators",
    "prices", "pages", "skill", "checkup", "waiting", "aliases", "fields", "mock", "talk", "mcp", "completion", "manual",
)  # fmt: skip


def imported(tree: ast.AST) -> Iterator[str]:
    """Module names, those of this package as ".name"; what only type checkers read is left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("name", TREES)
def test_a_module_of_the_extras_imports_the_standard_library_the_client_and_those_below_it(name: str) -> None:
    found = {module.replace("llm_router_extras.", ".", 1) for module in imported(TREES[name])}
    own = {module[1:] for module in found if module.startswith(".")}
    others: Set[str] = {module.split(".")[0] for module in found if not module.startswith(".")}
    demo = {"llm_router_demo"} if name == "mock" else set()
    assert others <= {*getattr(sys, "stdlib_module_names", others), "llm_router_client", "__future__", *demo}
    assert name == "__init__" or all(FLOORS.index(module) < FLOORS.index(name) for module in own), own


def test_functions_are_short() -> None:
    functions = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node in functions]
    assert statistics.median(lengths) <= 12 and max(lengths) < 40


def test_every_module_and_public_class_says_what_it_does() -> None:
    for name, tree in TREES.items():
        assert ast.get_docstring(tree), name
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert ast.get_docstring(node), f"{name}.{node.name}"


def test_the_client_names_the_extras_in_no_import() -> None:
    client = ast.parse(Path(c.__file__).read_text(encoding="utf-8"))
    assert not [module for module in imported(client) if module.startswith("llm_router_extras")]
