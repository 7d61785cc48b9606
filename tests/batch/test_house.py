"""The batch script keeps the laws of the house: order, no forward references, short functions; nobody imports it."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path
from typing import List, Set

import llm_router_batch as b

SOURCE = Path(b.__file__).read_text(encoding="utf-8")
TREE = ast.parse(SOURCE)
MOST_LINES = 1_350


def names_of(statement: ast.stmt) -> List[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [name.id for target in targets for name in ast.walk(target or ast.Pass()) if isinstance(name, ast.Name)]


def uses(statement: ast.stmt) -> Set[str]:
    """Names that a statement reads when it runs: annotations are not evaluated, locals are not top-level names."""
    unread: Set[ast.AST] = set()
    for node in ast.walk(statement):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            unread.update(ast.walk(part) if isinstance(part, ast.AST) else ())
    stored = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored |= {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    loads = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n not in unread}
    return loads - stored


def test_no_top_level_name_is_used_above_its_definition() -> None:
    defined = {name: statement.lineno for statement in TREE.body for name in names_of(statement)}
    parsers = {"COMMANDS"}  # endings() and parser_of() are below it; run() is
    wrong = [
        f"{statement.lineno}: {name}" for statement in TREE.body for name in uses(statement) - parsers
        if defined.get(name, 0) > statement.lineno
    ]  # fmt: skip
    assert not wrong


def test_functions_are_short() -> None:
    functions = [node for node in ast.walk(TREE) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert statistics.median(lengths.values()) <= 12 and max(lengths.values()) < 40, max(lengths, key=lambda n: lengths[n])


def test_every_class_says_what_it_is() -> None:
    assert all(ast.get_docstring(node) for node in ast.walk(TREE) if isinstance(node, ast.ClassDef))
    assert len(SOURCE.splitlines()) < MOST_LINES


def test_nothing_imports_it_and_it_imports_only_the_client_and_the_standard_library() -> None:
    scripts = Path(b.__file__).parent
    others = [path for path in scripts.rglob("*.py") if path.name != "llm_router_batch.py"]
    assert others and not [path for path in others if "import llm_router_batch" in path.read_text(encoding="utf-8")]
    imports = [node for node in ast.walk(TREE) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imports for alias in node.names if isinstance(node, ast.Import)}
    assert {name for name in names if name.startswith("llm_router")} == {"llm_router_client"}
