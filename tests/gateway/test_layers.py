"""The house's layers, read from the imports: a module knows only lower ones, and 0 to 3 touch no world."""

import ast
import sys
from itertools import combinations
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "scripts" / "llm_router_gateway"

LAYERS: list[set[str]] = [
    {"errors"},
    {"ir", "sse", "http1", "deadline", "presets", "settings", "splice", "surface", "estimate", "embeddings",
     "jq_values", "jq_parse", "jq_regex", "jq_dates", "jq_access", "jq_arithmetic", "jq_math", "jq_formats", "jq_defined",
     "jq_codes", "jq_reaching", "jq_operators", "jq_control", "jq_retries", "jq_functions", "jq_prices", "jq_plain",
     "jq_matching", "jq_updates", "jq_forms", "jq",
     "reading", "overrides", "tags", "histogram", "bodies", "migrations", "wire/gemini_schema", "budgets"},
    {"config", "wire", "wire/openai", "wire/anthropic", "wire/gemini", "auth", "limits", "health", "routing",
     "pricing", "calls", "keys", "caps"},
    {"policy", "describe", "groups", "pools", "strategy", "board", "choosing", "desk", "overlay",
     "rights", "keyrows", "sessions"},
    {"retention", "storefile", "storerows", "upstream", "log", "catalog", "forward", "streaming", "piping", "loading",
     "keyring", "allowance", "stats", "metrics"},
    {"store", "job"},
    {"failover", "recording", "keywatch"},
    {"keydesk"},
    {"gateway", "monitor", "admin", "page"},
    {"server"},
    {"check", "dryrun", "explain", "install", "keycli", "serving"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
JQ = [  # one module in parts
    "jq_values", "jq_parse", "jq_regex", "jq_dates", "jq_access", "jq_arithmetic", "jq_math", "jq_formats", "jq_defined",
    "jq_codes", "jq_reaching", "jq_operators", "jq_control", "jq_retries", "jq_functions", "jq_prices", "jq_plain",
    "jq_matching", "jq_updates", "jq_forms", "jq",
]  # fmt: skip
MAY = {
    *combinations(reversed(JQ), 2),
    ("settings", "presets"), ("reading", "settings"), ("routing", "limits"), ("routing", "health"), ("config", "routing"),
    ("config", "limits"), ("config", "keys"), ("keys", "limits"), ("keys", "routing"), ("keys", "caps"),
    ("rights", "policy"), ("groups", "rights"), ("pools", "policy"), ("strategy", "pools"), ("board", "policy"),
    ("board", "pools"), ("groups", "policy"), ("groups", "pools"), ("groups", "strategy"), ("groups", "board"),
}  # neighbours in one layer that may know each other, one way

# What would let a decision depend on when, where or on which machine it is made.
WORLD = {
    "time", "random", "secrets", "socket", "ssl", "select", "selectors", "asyncio", "threading", "multiprocessing",
    "concurrent", "subprocess", "signal", "os", "io", "pathlib", "shutil", "tempfile", "sqlite3", "dbm", "logging",
    "urllib.request", "http.client", "uuid", "platform", "getpass", "glob", "fileinput",
}  # fmt: skip


def modules() -> list[str]:
    names = [str(path.relative_to(PACKAGE).with_suffix("")) for path in sorted(PACKAGE.rglob("*.py"))]
    return [name.removesuffix("/__init__") for name in names]


def tree_of(name: str) -> ast.Module:
    path = PACKAGE / f"{name}.py"
    return ast.parse((path if path.exists() else PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))


def imports(name: str) -> set[str]:
    """Every module that a module names, ours as "config" or "wire/openai", others by their dotted name."""
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.ImportFrom):
            found |= ours(name, node)
    return {ours_absolute(each) for each in found}


def ours(name: str, node: ast.ImportFrom) -> set[str]:
    """Relative imports, resolved: `from ..errors import X` in wire/openai is "errors"."""
    is_package = (PACKAGE / name / "__init__.py").exists()
    home = [*name.split("/")] if is_package else name.split("/")[:-1]
    base = home[: len(home) - (node.level - 1)] if node.level > 1 else home
    parts = [*base, *(node.module.split(".") if node.module else [])]
    here = "/".join(parts)
    named = {alias.name: "/".join([*parts, alias.name]) for alias in node.names}
    return {path if path in modules() or not here else here for path in named.values()}


def ours_absolute(dotted: str) -> str:
    return dotted.removeprefix("llm_router_gateway.").replace(".", "/") if dotted.startswith("llm_router_g") else dotted


@pytest.mark.parametrize("name", [name for name in modules() if name != "__init__"])
def test_a_module_imports_only_lower_layers(name: str) -> None:
    assert name in LEVEL, f"{name} has no place in the house: add it to LAYERS and to the table of layers"
    for other in imports(name) & LEVEL.keys():
        package = name.startswith(other + "/")  # wire/openai may use what wire/__init__ holds
        assert LEVEL[other] < LEVEL[name] or (name, other) in MAY or package, f"{name} imports {other}"


@pytest.mark.parametrize("name", [name for name in modules() if LEVEL.get(name, 9) <= 3 and name != "__init__"])
def test_the_inner_layers_touch_no_world(name: str) -> None:
    used = {each for each in imports(name) if each in WORLD or each.split(".")[0] in WORLD}
    assert not used, f"{name} imports {sorted(used)}"


def test_the_package_runs_on_the_standard_library_and_the_client_file() -> None:
    allowed = sys.stdlib_module_names | {"llm_router_client", "llm_router_demo", "__future__"}
    for name in modules():
        outside = {each for each in imports(name) if each.split(".")[0].split("/")[0] not in allowed}
        assert outside <= LEVEL.keys() | {"PROGRAM", "__version__", "llm_router_gateway"}, f"{name} imports {sorted(outside)}"


def test_only_sse_knows_the_client_and_only_the_start_knows_the_stand_in() -> None:
    knows = {name: imports(name) for name in modules()}
    assert {name for name, used in knows.items() if "llm_router_client" in used} <= {"sse"}
    assert {name for name, used in knows.items() if "llm_router_demo" in used} <= {"__main__", "cli"}


def test_functions_are_short() -> None:
    for name in modules():
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, f"{name}.{node.name} has {lines} lines"


def test_every_module_says_what_it_is() -> None:
    for name in modules():
        assert ast.get_docstring(tree_of(name)), name


def test_no_module_is_named_like_a_standard_one() -> None:
    assert not {name for name in modules() if "/" not in name} & sys.stdlib_module_names
