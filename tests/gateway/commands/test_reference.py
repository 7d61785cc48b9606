"""references/gateway.md says what the code does: tables printed from it, commands that parse, no trap for scanners."""

import re
import tomllib
from pathlib import Path

import pytest

from llm_router_gateway.commands import main
from llm_router_gateway.config import config, describe
from llm_router_gateway.proxy import paths

PAGE = (Path(__file__).parents[3] / "references" / "gateway.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert PAGE.endswith(describe.reference()), "print describe.reference() behind the marker of references/gateway.md"


def test_the_example_configuration_is_one() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    made = config.parse(tomllib.loads(example[1]), read_secret=lambda name: "k")
    assert [provider.name for provider in made.providers] == ["openai", "claude", "office"]


def toml_of(heading: str) -> list[str]:
    """The TOML examples of a chapter."""
    chapter = PAGE.partition(f"\n{heading}\n")[2].partition(f"\n{heading.partition(' ')[0]} ")[0].partition("\n## ")[0]
    return re.findall(r"```toml\n(.*?)```", chapter, re.DOTALL)


def test_the_parts_of_the_chapter_on_routing_make_one_file() -> None:
    parts, twin = toml_of("## Routing"), toml_of("### From the YAML of the jq server")
    made = config.parse(tomllib.loads("".join(part for part in parts if part not in twin)))
    assert [group.name for group in made.groups] == ["big", "by-need", "kept-together"]
    assert made.models[2].limit is not None


def test_the_twin_of_the_jq_servers_file_is_a_configuration() -> None:
    (twin,) = toml_of("### From the YAML of the jq server")
    made = config.parse(tomllib.loads(twin))
    assert [member.model for member in made.groups[0].members] == ["dashscope/model1", "bigmodel/model2"]
    assert "dashscope.aliyuncs.com" in made.providers[0].url("chat")


def test_every_command_parses() -> None:
    commands = re.findall(r"^python3 scripts/llm_router_gateway ?(.*?) *(?:#.*|<.*)?$", PAGE, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = command.split()
        if words[:1] == ["convert"]:
            from llm_router_gateway.commands import convert

            convert.parser().parse_args(words[1:])
        elif words[:1] == ["keys"]:
            from llm_router_gateway.commands import keys

            keys.parser().parse_args(words[1:])
        elif words[:1] == ["models"]:
            from llm_router_gateway.commands import models

            models.parser().parse_args(words[1:])
        elif words[:1] == ["import"]:
            from llm_router_gateway.commands import imports

            imports.parser().parse_args(words[1:])
        elif words[:1] == ["explain"]:
            from llm_router_gateway.commands import explain

            explain.parser().parse_args(words[1:])
        elif words[:1] == ["install"]:
            from llm_router_gateway.commands import install

            install.parser().parse_args(words[1:])
        else:
            main.parser().parse_args(words)


@pytest.mark.parametrize("path", [path for path in paths.FIXED if path not in ("", "api/event_logging/batch")])
def test_every_path_is_named(path: str) -> None:
    assert f"/{path.rpartition('/')[2]}" in PAGE


def test_every_exit_code_is_named() -> None:
    for code in main.EXIT_CODES:
        assert re.search(rf"\b{code} [a-z]", PAGE)


def test_no_link_leads_nowhere() -> None:
    anchors = {line.strip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors


def test_the_example_of_the_chapter_on_keys_is_one() -> None:
    (example,) = toml_of("## Keys")
    ((key, _),) = config.parse(tomllib.loads(example), env={"CI_KEY": "k"}).keys
    assert key.budget is not None and key.limits is not None and key.is_bound
