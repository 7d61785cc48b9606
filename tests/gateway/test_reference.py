"""references/gateway.md says what the code does: tables printed from it, commands that parse, no trap for scanners."""

import re
import tomllib
from pathlib import Path

import pytest

from llm_router_gateway import cli, config, describe, surface

PAGE = (Path(__file__).parents[2] / "references" / "gateway.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert PAGE.endswith(describe.reference()), "print describe.reference() behind the marker of references/gateway.md"


def test_the_example_configuration_is_one() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    made = config.parse(tomllib.loads(example[1]), read_secret=lambda name: "k")
    assert [provider.name for provider in made.providers] == ["openai", "claude", "office"]


def test_every_command_parses() -> None:
    commands = re.findall(r"^python3 scripts/llm_router_gateway ?(.*?) *(?:#.*|<.*)?$", PAGE, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = command.split()
        if words[:1] == ["convert"]:
            from llm_router_gateway import dryrun

            dryrun.parser().parse_args(words[1:])
        else:
            cli.parser().parse_args(words)


@pytest.mark.parametrize("path", [path for path in surface.FIXED if path not in ("", "api/event_logging/batch")])
def test_every_path_is_named(path: str) -> None:
    assert f"/{path.rpartition('/')[2]}" in PAGE


def test_every_exit_code_is_named() -> None:
    for code in cli.EXIT_CODES:
        assert re.search(rf"\b{code} [a-z]", PAGE)


def test_no_link_leads_nowhere() -> None:
    anchors = {line.strip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors
