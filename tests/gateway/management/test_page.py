"""The monitor page as a document: whole, held by its policy, with no address of anybody else; and packed."""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llm_router_gateway.management.page.document import SCRIPTS, Page, assemble, join_scripts, read_packaged
from llm_router_gateway.net.caller import Caller
from llm_router_gateway.net.router import OPEN, ManagementRequest, ManagementResponse, Router

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "scripts" / "llm_router_gateway" / "management" / "page"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js"))
MAX_BYTES = 256_000  # all of it; a first look over a slow line takes two or three seconds
FORBIDDEN = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc", "DOMParser", ".cookie",
    "createContextualFragment", "javascript:", 'setAttribute("style"', "unsafe",
)  # fmt: skip
NAMESPACES = {"http://www.w3.org/2000/svg"}  # names, never asked for


def asked(**headers: str) -> ManagementResponse:
    request = ManagementRequest("GET", "monitor", {}, {}, headers, None, "127.0.0.1", Caller())
    route, _ = Router(Page().routes()).find("GET", "monitor")
    return asyncio.run(route.handler(request))  # type: ignore[arg-type]


def header(reply: ManagementResponse, name: str) -> str:
    return next(value for each, value in reply.headers if each == name)


def between(text: str, tag: str) -> str:
    (found,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL)
    return str(found)


def test_the_policy_names_the_hashes_of_what_stands_between_the_tags() -> None:
    reply = asked()
    text, policy = reply.body.decode(), header(reply, "content-security-policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for tag in ("script", "style"):
        digest = b64encode(sha256(between(text, tag).encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'" and rules["img-src"] == "data: 'self'"
    assert rules["require-trusted-types-for"] == "'script'" and rules["trusted-types"] == "'none'"
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy


def test_the_answer_is_not_to_be_guessed_at_framed_or_reported() -> None:
    reply = asked()
    assert header(reply, "x-content-type-options") == "nosniff"
    assert header(reply, "referrer-policy") == "no-referrer"
    assert header(reply, "x-frame-options") == "DENY"
    assert header(reply, "content-type") == "text/html; charset=utf-8"


def test_a_browser_that_has_it_gets_a_304() -> None:
    reply = asked()
    again = asked(**{"if-none-match": header(reply, "etag")})
    assert (again.status, again.body) == (304, b"")
    assert asked(**{"if-none-match": '"another"'}).status == 200


def test_it_is_for_everybody_under_both_addresses() -> None:
    router = Router(Page().routes())
    for path in ("monitor", "monitor/"):
        assert router.find("GET", path)[0].access == OPEN


def test_it_is_put_together_once_and_whole() -> None:
    read: list[str] = []

    def counted(name: str) -> str:
        read.append(name)
        return read_packaged(name)

    page = Page(counted)
    request = ManagementRequest("GET", "monitor", {}, {}, {}, None, "", Caller())
    for _ in range(3):
        text = asyncio.run(page.routes()[0].handler(request)).body.decode()  # type: ignore[arg-type]
    assert sorted(read) == FILES, "every file of the folder, and each once"
    assert "style.css */" not in text and "the scripts */" not in text
    assert "<!doctype html>" in text and text.rstrip().endswith("</html>")


def test_all_files_together_stay_small() -> None:
    assert sum((FOLDER / name).stat().st_size for name in FILES) < MAX_BYTES
    assert len(assemble(read_packaged).body) < MAX_BYTES


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_an_address_elsewhere(name: str) -> None:
    text = read_packaged(name)
    assert set(re.findall(r"(?:https?|wss?|ftp):/?/?[^\s\"'`)]+", text)) <= NAMESPACES
    assert not re.search(r"[\"'(`]//[a-z]", text), "an address without its scheme"
    assert not re.search(r"@import|url\(|importScripts|<iframe|<object|<embed", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_text(name: str) -> None:
    text = read_packaged(name)
    for word in FORBIDDEN:
        assert word not in text, word
    assert not re.search(r"setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]", text)


def test_scripts_import_only_those_before_them_and_what_those_export() -> None:
    exported: dict[str, set[str]] = {}
    for name in SCRIPTS:
        text = read_packaged(name)
        for names, source in re.findall(r"^import \{([^}]*)\} from \"\./([^\"]+)\";$", text, re.MULTILINE):
            wanted = {each.strip() for each in names.split(",")} - {""}
            assert wanted <= exported[source], f"{name} imports {wanted - exported[source]} from {source}"
            unused = {each for each in wanted if len(re.findall(rf"\b{re.escape(each)}\b", text)) < 2}
            assert not unused, f"{name} imports {unused} and does not use it"
        exported[name] = set(re.findall(r"^export (?:async )?(?:function\*?|class|const|let) (\w+)", text, re.MULTILINE))


def test_no_name_stands_twice_in_the_one_script_that_they_become() -> None:
    names = re.findall(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", join_scripts(read_packaged), re.MULTILINE)
    assert sorted(names) == sorted(set(names))
    assert not re.search(r"^(?:import|export)\b", join_scripts(read_packaged), re.MULTILINE)
    assert "</script" not in join_scripts(read_packaged).lower() and "<!--" not in join_scripts(read_packaged)


def test_the_document_has_no_style_and_no_script_in_its_tags() -> None:
    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                assert name != "style" and not name.startswith("on"), (tag, name)
                assert name not in ("src", "srcset", "action") or (value or "").startswith("data:"), (tag, name, value)

    Reader().feed(read_packaged("index.html"))


def test_the_wheel_holds_the_files() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = tables["package-data"]["llm_router_gateway.management.page"]
    assert sorted(path.name for pattern in patterns for path in FOLDER.glob(pattern)) == FILES
    assert sys.version_info >= (3, 11)
