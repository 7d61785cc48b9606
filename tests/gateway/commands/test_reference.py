"""The gateway's reference pages agree with the code: tables, paths, exit codes, examples, links."""

import re
import tomllib
from pathlib import Path

import generate_settings_reference as settings_reference
import pytest

from llm_router_gateway.commands import convert, explain, imports, install, keys, main, models, store, store_copy
from llm_router_gateway.config import config
from llm_router_gateway.proxy import paths

REFERENCES = Path(__file__).parents[3] / "references"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(REFERENCES.glob("gateway*.md"))}
ALL = "\n".join(PAGES.values())
PARSERS = {
    "convert": convert.parser, "keys": keys.parser, "explain": explain.parser, "install": install.parser,
    "models": models.parser, "import": imports.parser, "store": store.parser, "store copy": store_copy.parser,
}  # fmt: skip
MAX_LINES = 320  # of a page that is read, not looked things up in


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGES["gateway-configuration.md"]
    assert page == settings_reference.rendered(page), "run: python3 tests/support/generate_settings_reference.py --write"


def test_the_contents_page_names_every_page() -> None:
    assert set(re.findall(r"\]\((gateway-[a-z]+\.md)\)", PAGES["gateway.md"])) == set(PAGES) - {"gateway.md"}


def toml_of(name: str, heading: str = "") -> list[str]:
    """The TOML examples of a page, or of one chapter of it."""
    page = PAGES[name]
    chapter = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0] if heading else page
    return re.findall(r"```toml\n(.*?)```", chapter, re.DOTALL)


def test_the_example_configuration_is_one() -> None:
    (example,) = toml_of("gateway-start.md")
    made = config.parse(tomllib.loads(example), read_secret=lambda name: "k")
    assert [provider.name for provider in made.providers] == ["openai", "claude", "office"]


def test_the_parts_of_the_page_on_routing_make_one_file() -> None:
    parts, twin = toml_of("gateway-routing.md"), toml_of("gateway-migration.md", "## The jq server")
    made = config.parse(tomllib.loads("".join(part for part in parts if part not in twin)))
    assert [group.name for group in made.groups] == ["big", "by-need", "kept-together"]
    assert made.models[2].limit is not None


def test_the_twin_of_the_jq_servers_file_is_a_configuration() -> None:
    (twin,) = toml_of("gateway-migration.md", "## The jq server")
    made = config.parse(tomllib.loads(twin))
    assert [member.model for member in made.groups[0].members] == ["dashscope/model1", "bigmodel/model2"]
    assert "dashscope.aliyuncs.com" in made.providers[0].url("chat")


def test_the_example_of_the_page_on_keys_is_one() -> None:
    (example,) = toml_of("gateway-keys.md")
    ((key, _),) = config.parse(tomllib.loads(example), env={"CI_KEY": "k"}).keys
    assert key.budget is not None and key.limits is not None and key.is_bound


def test_every_command_parses() -> None:
    commands = re.findall(r"python3 scripts/llm_router_gateway ?([^\n)#<`]*)", ALL)
    assert len(commands) >= 20
    for command in commands:
        words = [word.strip("'") for word in command.split()]
        parser = PARSERS.get(words[0]) if words else None
        if words[:2] == ["store", "copy"]:
            parser = PARSERS["store copy"]  # which has the word itself
        (parser or main.parser)().parse_args(words[1:] if parser else words)


@pytest.mark.parametrize("path", [path for path in paths.FIXED if path not in ("", "api/event_logging/batch")])
def test_every_path_is_named(path: str) -> None:
    assert f"/{path.rpartition('/')[2]}" in PAGES["gateway-api.md"]


def test_every_exit_code_is_named() -> None:
    rows = re.findall(r"(?m)^\| (\d+) \| [a-z]", PAGES["gateway-start.md"])
    assert rows == [str(code) for code in main.EXIT_CODES]


def anchors_of(name: str) -> set[str]:
    """What a link to a heading of the page ends in: "## The jq server" -> "the-jq-server"."""
    text = (REFERENCES / name).read_text(encoding="utf-8")
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"(?m)^#+ (.*)$", text)}


@pytest.mark.parametrize("name", PAGES)
def test_no_link_leads_nowhere(name: str) -> None:
    for page, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[name]):
        target = page or name
        assert (REFERENCES / target).exists(), target
        assert not anchor or anchor in anchors_of(target), f"{target}#{anchor}"


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("gateway.md", "gateway-configuration.md")])
def test_a_page_is_short_and_begins_with_its_contents(name: str) -> None:
    assert len(PAGES[name].splitlines()) <= MAX_LINES
    contents = PAGES[name].partition("\n## ")[0]
    headings = re.findall(r"(?m)^## (.*)$", PAGES[name])
    assert re.findall(r"\[([^\]]*)\]\(#", contents) == headings


def test_no_key_is_put_on_a_command_line() -> None:
    """What is in a command's arguments, every user of the machine can see."""
    assert not re.findall(r"curl[^\n]*\$|--token [^-\s]", ALL)
