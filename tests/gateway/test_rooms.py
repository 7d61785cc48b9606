"""The gateway's rooms, read from the imports: one ordered list, no exceptions; pure rooms touch no world; nothing is long."""

import ast
import gc
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from llm_router_gateway.wire import registry

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scripts" / "llm_router_gateway"
MAX_FILE_LINES, MAX_FUNCTION_LINES = 700, 60

# Lowest first. A module imports its own room and those before it in this list.
ROOMS = (
    "errors", "jq", "json_body", "net", "wire", "policy", "config", "limiter", "store", "telemetry", "routing", "access",
    "management", "proxy", "cluster", "commands", "__main__",
)  # fmt: skip
ROOT_NAMES = {"PROGRAM", "__version__"}  # of the package itself, for everybody
PURE = {"errors", "jq", "json_body", "wire", "policy", "routing", "config", "telemetry"}
AT_THE_RIM = {"config/sources", "telemetry/exporter"}  # read files and environment for their rooms, and send
PROTOCOLS = {path.parent.name for path in PACKAGE.glob("wire/*/__init__.py")}

# What would let a decision depend on when, where or on which machine it is made.
WORLD = {
    "time", "random", "secrets", "socket", "ssl", "select", "selectors", "asyncio", "threading", "multiprocessing",
    "concurrent", "subprocess", "signal", "os", "io", "pathlib", "shutil", "tempfile", "sqlite3", "dbm", "logging",
    "urllib.request", "http.client", "uuid", "platform", "getpass", "glob", "fileinput",
}  # fmt: skip

BUILTINS = {"open", "input", "print", "breakpoint", "exec", "eval", "__import__"}
CLOCKS = {"now", "utcnow", "today", "import_module"}  # of datetime, whose arithmetic is pure; and of importlib


@cache
def modules() -> frozenset[str]:
    """Every module as "errors" or "wire/openai/common"; a folder stands for its __init__."""
    names = [str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py")]
    return frozenset(name.removesuffix("/__init__") for name in names) - {"__init__"}


def path_of(name: str) -> Path:
    path = PACKAGE / f"{name}.py"
    return path if path.exists() else PACKAGE / name / "__init__.py"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(name: str) -> tuple[ast.AST, ...]:
    """Every node of a module's tree."""
    return tuple(ast.walk(tree_of(path_of(name))))


@pytest.fixture(autouse=True, scope="module")
def trees_for_these_tests_alone() -> Iterator[None]:
    """Their million objects would slow down every round of the garbage collector, in these tests and after them."""
    gc.disable()
    yield
    tree_of.cache_clear()
    nodes_of.cache_clear()
    gc.enable()


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement at any depth; expressions, nearly all of a tree, are left out."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, ())
            waiting += inner if isinstance(inner, list) else ()


@cache
def imports(name: str) -> frozenset[str]:
    """Every module that a module names, ours as "wire/openai", others by their dotted name."""
    found: set[str] = set()
    for node in statements(tree_of(path_of(name))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(PACKAGE.name)):
            found |= ours(name, node)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def ours(name: str, node: ast.ImportFrom) -> set[str]:
    """What an import from the package names: `from ...errors import X` in wire/openai/common is "errors"."""
    named = (node.module or "").split(".") if node.module else []
    home = name.split("/") if path_of(name).name == "__init__.py" else name.split("/")[:-1]
    base = home[: len(home) + 1 - node.level] + named if node.level else named[1:]
    here = "/".join(base)
    paths = {alias.name: "/".join([*base, alias.name]) for alias in node.names}
    return {path if path in modules() else here for each, path in paths.items() if here or each not in ROOT_NAMES}


def room_of(name: str) -> str:
    return name.split("/")[0]


def reached(name: str) -> set[str]:
    """The modules of ours that come along with one, itself included."""
    found, waiting = set(), [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += imports(each) & modules()
    return found


PURE_MODULES = sorted(name for name in modules() if room_of(name) in PURE and name not in AT_THE_RIM)


def test_a_module_imports_its_own_room_and_lower_ones() -> None:
    homeless = [name for name in modules() if room_of(name) not in ROOMS]
    assert not homeless, "in no room: see ROOMS"
    found = [(name, other) for name in sorted(modules()) for other in sorted(imports(name) & modules())]
    upwards = [f"{name} imports {other}" for name, other in found if is_above(room_of(other), room_of(name))]
    assert found, "nothing is imported at all"
    assert not upwards


def is_above(room: str, other: str) -> bool:
    return ROOMS.index(room) > ROOMS.index(other)


def test_pure_rooms_touch_no_world_and_import_no_module_that_does() -> None:
    used = {each: sorted(other for other in imports(each) if {other, other.split(".")[0]} & WORLD) for each in modules()}
    found = [f"{name}: {each} imports {used[each]}" for name in PURE_MODULES for each in reached(name) if used[each]]
    assert PURE_MODULES, "no module is in a pure room"
    assert not found


def test_pure_rooms_reach_the_world_by_no_builtin_either() -> None:
    calls = [(name, node) for name in PURE_MODULES for node in nodes_of(name) if isinstance(node, ast.Call)]
    assert calls, "nothing is called at all"
    assert not [f"{name}:{node.lineno}: {called(node)}()" for name, node in calls if is_of_the_world(node)]


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def is_of_the_world(call: ast.Call) -> bool:
    return called(call) in (BUILTINS if isinstance(call.func, ast.Name) else CLOCKS)


def test_only_store_sqlite_and_the_commands_that_choose_it_import_sqlite() -> None:
    for name in modules():
        if not name.startswith("store/sqlite"):
            assert "sqlite3" not in imports(name), name
            if room_of(name) != "commands":
                assert not {other for other in imports(name) if other.startswith("store/sqlite")}, name


# What changes the state behind the seams of limits and budgets (policy/rate_limits, policy/budgets).
RESERVING = {"acquire", "hold", "settle", "release", "spend"}


def test_what_reserves_or_books_is_awaited_and_pure_rooms_do_neither() -> None:
    seen = 0
    for name in sorted(name for name in modules() if room_of(name) not in ("limiter", "store", "net")):
        awaited = {id(node.value) for node in nodes_of(name) if isinstance(node, ast.Await)}
        for node in nodes_of(name):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RESERVING:
                assert id(node) in awaited, f"{name}:{node.lineno}: {node.func.attr} is not awaited"
                assert room_of(name) not in PURE, f"{name}:{node.lineno}: {node.func.attr} in a pure room"
                seen += 1
    assert seen, "nothing is reserved at all"


def test_no_protocol_imports_another() -> None:
    for name in modules():
        room, _, rest = name.partition("/")
        if room == "wire" and (own := rest.split("/")[0]) in PROTOCOLS:
            others = {f"wire/{each}" for each in PROTOCOLS - {own}}
            assert not [other for other in imports(name) if other.startswith(tuple(others))], name


def mentions(text: str) -> bool:
    """Whether one of the words is a protocol's name: "openai", "chat/completions", "anthropic-version"."""
    return not PROTOCOLS.isdisjoint(re.split(r"[^a-z0-9]+", text.lower()))


def test_only_wire_and_the_presets_name_a_protocol() -> None:
    """No key of a table, no operand, no default, no argument, no import: what a protocol is like, its spec says. Texts may."""
    folders = tuple(f"wire/{name}" for name in PROTOCOLS)
    for module in sorted(modules()):
        if room_of(module) == "wire" or module == "config/presets":
            continue
        assert not [each for each in imports(module) if each.startswith(folders)], module
        told = {id(text) for node in nodes_of(module) for text in texts_for_people(node, module)}
        for node in nodes_of(module):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in told:
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                assert not mentions(text), f"{module}:{node.lineno}: {text!r}"


def texts_for_people(node: ast.AST, module: str) -> Iterator[ast.AST]:
    """Docstrings, sentences where nothing is compared or looked up by them, and the configuration of --demo."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr):
        yield node.body[0].value
    if module == "commands/main" and isinstance(node, ast.FunctionDef) and node.name == "demo_document":
        yield from ast.walk(node)
    if not isinstance(node, ast.Compare | ast.Dict | ast.Set | ast.Subscript | ast.MatchValue):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and " " in child.value.strip():
                yield child


def test_no_script_of_the_page_names_a_protocol() -> None:
    for path in (PACKAGE / "management" / "page").glob("*.js"):
        code = re.sub(r"^\s*(?://|\*|/\*).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        texts = re.findall(r"""(["'`])([^\s"'`]+)\1""", code)
        assert PROTOCOLS.isdisjoint(text for _, text in texts), path.name


def test_every_protocol_is_a_folder_with_a_spec_in_the_registry() -> None:
    assert set(registry.PROTOCOLS) == PROTOCOLS
    for name, spec in registry.SPECS.items():
        assert spec.name == name and {f"wire/{name}/spec", f"wire/{name}/codec"} <= modules()


def test_the_package_runs_on_the_standard_library_and_the_client_file() -> None:
    allowed = sys.stdlib_module_names | {"llm_router_client", "llm_router_demo"}
    for name in modules():
        outside = {each for each in imports(name) - modules() if each.split(".")[0] not in allowed}
        assert not outside, f"{name} imports {sorted(outside)}"


def test_only_sse_imports_the_client_and_only_the_start_imports_the_mock_server() -> None:
    assert {name for name in modules() if "llm_router_client" in imports(name)} == {"wire/sse"}
    assert {name for name in modules() if "llm_router_demo" in imports(name)} == {"commands/main"}


def test_files_are_short() -> None:
    long = {name for name in modules() if len(path_of(name).read_text(encoding="utf-8").splitlines()) > MAX_FILE_LINES}
    assert not long


@pytest.mark.parametrize("folder", ["scripts", pytest.param("tests", marks=pytest.mark.slow)])
def test_functions_are_short_those_of_tests_too(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in statements(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= MAX_FUNCTION_LINES, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_every_module_says_what_it_is() -> None:
    for name in modules():
        assert ast.get_docstring(tree_of(path_of(name))), name


def test_no_module_is_named_like_a_standard_one() -> None:
    assert not {name for name in modules() if "/" not in name} & sys.stdlib_module_names
