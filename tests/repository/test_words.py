"""The field's terms, as far as a machine can hold them: words that no name, message or page may have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GATEWAY, EXTRAS = ROOT / "scripts" / "llm_router_gateway", ROOT / "scripts" / "llm_router_extras"
PAGES = [ROOT / f"{name}.md" for name in ("README", "SKILL", "CONTRIBUTING", "SECURITY")] + sorted(
    (ROOT / "references").glob("*.md")
)

# People where there are programs, and words for which the field has others: usage error, mock server, timeout, rng.
NOT_IN_TEXTS = re.compile(
    r"\b(?:nobody|somebody|anybody|wrong usage|stand-in|time-out|dice|stands? alone"
    r"|(?:is|are|was|were|be|being) (?:asked|told))\b",
    re.IGNORECASE,
)
# Functions are verbs or nouns: read, not asked; mint_id, not minted_id.
NOT_IN_NAMES = re.compile(r"(?:^|_)(?:asked|told|made|wished|heard|wrote|took|nobody|somebody|who)(?:_|$)")
NOT_IN_TESTS = re.compile(r"_(?:asked|told|nobody|somebody|anybody|who|he|his)(?:_|$)")
THEIRS = {"connection_made"}  # asyncio's
PARTICIPLES = re.compile(r"^_?(?:minted|packed|unpacked|sealed|signed|fitted|loaded|offered|cited|written|charged|failed)_")
FORMS = ("wire", "jq")  # where whole names that begin with a participle are held, too
# A public function whose whole name is a participle; these are amounts and rows, which a verb would not say.
PARTICIPLE = re.compile(
    r"^(?!embed|feed|need|seed|speed|succeed)[a-z]+ed(?:_(?:back|on|out|over|up))?$"
    r"|^(?:begun|broken|built|drawn|given|hidden|lost|mine|shown|taken|written)(?:_(?:back|on|out|over|up))?$"
)
AMOUNTS = {"leased", "owned", "stranded", "unlimited"}


def messages(path: Path) -> Iterator[str]:
    """The texts of a module that people read: those with a space, docstrings left out. Of modules with such words only."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text if NOT_IN_TEXTS.search(text) else "")
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value and id(node) not in notes:
            yield node.value


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_have_the_field_s_terms(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [found[0] for found in NOT_IN_TEXTS.finditer(text)] == []


def test_messages_of_the_gateway_have_them() -> None:
    found = [(path.name, text) for path in GATEWAY.rglob("*.py") for text in messages(path) if NOT_IN_TEXTS.search(text)]
    assert found == []


def test_functions_of_the_gateway_are_verbs_or_nouns() -> None:
    for path in GATEWAY.rglob("*.py"):
        names = set(re.findall(r"(?m)^ *(?:async )?def (\w+)\(", path.read_text(encoding="utf-8"))) - THEIRS
        assert not [name for name in names if NOT_IN_NAMES.search(name)], path
        if path.relative_to(GATEWAY).parts[0] in FORMS:
            assert not [name for name in names if PARTICIPLES.search(name)], path


def test_public_functions_are_not_named_by_a_participle() -> None:
    for path in [*GATEWAY.rglob("*.py"), *EXTRAS.glob("*.py")]:
        code = re.sub(r"@(?:cached_)?property\n *def \w+", "", path.read_text(encoding="utf-8"))
        names = set(re.findall(r"(?m)^ *(?:async )?def ([a-z]\w*)\(", code)) - AMOUNTS
        assert not [name for name in names if PARTICIPLE.search(name)], path


def test_names_of_tests_have_no_people_where_there_are_programs() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        names = re.findall(r"(?m)^def (test_\w+)\(", path.read_text(encoding="utf-8"))
        assert not [name for name in names if NOT_IN_TESTS.search(name)], path


def test_the_lists_find_what_they_are_for() -> None:
    assert NOT_IN_TEXTS.search("the server is asked again") and not NOT_IN_TEXTS.search("standalone, asked for")
    assert NOT_IN_NAMES.search("told_cost") and NOT_IN_NAMES.search("_asked") and not NOT_IN_NAMES.search("whole")
