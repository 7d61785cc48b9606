"""The client file keeps the laws of its house: order, no forward references, short functions, a size that can be read."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path
from typing import Dict, List, Set, Union

import llm_router_client as c

SOURCE = Path(c.__file__).read_text(encoding="utf-8")
TREE = ast.parse(SOURCE)
Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
MOST_LINES = 2_955


def test_the_sections_come_in_the_order_of_the_plan() -> None:
    found = re.findall(r"(?m)^# -{3,} (.+)$", SOURCE)
    pure = ["constants", "errors", "server-sent events", "wire shapes", "policy"]
    assert found == [*pure, "transport", "client", "command line", "guard"]


class Uses(ast.NodeVisitor):
    """The names that a statement reads when it runs, annotations left out: nothing evaluates those."""

    def __init__(self) -> None:
        self.names: Set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.names.add(node.id)

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in (node.target, node.value):
            self.visit(part) if part else None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        inner = Uses()
        for part in (*node.decorator_list, node.args, *node.body):
            inner.visit(part)
        own = {argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        self.names |= inner.names - own


def names_of(statement: ast.stmt) -> List[str]:
    """What a top-level statement defines."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_no_top_level_name_is_used_above_its_definition() -> None:
    defined: Dict[str, int] = {name: node.lineno for node in TREE.body for name in names_of(node)}
    wrong = []
    for statement in TREE.body:
        uses = Uses()
        uses.visit(statement)
        wrong += [f"{statement.lineno}: {name}" for name in uses.names if defined.get(name, 0) > statement.lineno]
    assert not wrong


def test_functions_are_short() -> None:
    functions = [node for node in ast.walk(TREE) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node in functions]
    assert statistics.median(lengths) <= 8 and max(lengths) < 40


def test_the_events_of_a_call_pass_five_generators() -> None:
    """One each for the call, its models, their attempts, a response, its events: a sixth would be a layer without a name."""
    call = next(node for node in TREE.body if isinstance(node, ast.ClassDef) and node.name == "Call")
    methods = [node for node in call.body if isinstance(node, ast.FunctionDef)]
    generators = [node.name for node in methods if any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in ast.walk(node))]
    assert generators == ["_run", "_models", "_attempts", "_response", "_events"]


def test_the_file_can_still_be_read_in_one_sitting() -> None:
    assert len(SOURCE.splitlines()) < MOST_LINES


def test_every_public_class_and_method_says_what_it_does() -> None:
    for node in ast.walk(TREE):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
    for node in ast.walk(next(n for n in TREE.body if isinstance(n, ast.ClassDef) and n.name == "LLMRouterClient")):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in ("send", "attempt", "work"):
            assert ast.get_docstring(node), node.name
