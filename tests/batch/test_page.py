"""references/batch.md tells the truth: its commands run as printed, its fields and options are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import llm_router_batch as b
import llm_router_client as c

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "references" / "batch.md").read_text(encoding="utf-8")
OURS = ("--output", "--strict", "--stream", "--json", "--verbose", "--models", "--markdown", "--dry-run")  # in words of our own
COMMANDS = re.findall(r"python3 scripts/llm_router_batch\.py ([^`\n]+)", PAGE)


@pytest.mark.slow
def test_every_command_of_the_page_runs_as_printed(batch: Any, demo: Any) -> None:
    [lines] = re.findall(r"(?ms)^```json\n(.*?)^```", PAGE)
    (batch.cwd / "prompts.jsonl").write_text(lines.replace("MODEL2", "demo-reasoning"))
    price = {"input": 2.0, "output": 8.0}
    (batch.cwd / "config.json").write_text(json.dumps({"prices": {"demo": price, "demo-reasoning": price}}))
    batch.env["LLM_ROUTER_CONFIG"] = str(batch.cwd / "config.json")
    assert len(COMMANDS) >= 8
    for command in COMMANDS:
        ran = batch(*shlex.split(command.replace("MODEL2", "demo-reasoning").replace("MODEL", "demo")))
        assert ran.code == 0 and ran.out, (command, ran)
    assert len((batch.cwd / "answers.jsonl").read_bytes().splitlines()) == 3


def test_every_field_of_the_summary_and_the_figures_is_named(batch: Any, prompts: Any) -> None:
    prompts(1)
    summary = batch("run", "-m", "demo", "--input", "in.jsonl", "--output", "out.jsonl", "--json").json
    figures = batch("evaluate", "--models", "demo", "--input", "in.jsonl", "--json").json["results"][0]
    assert not [name for name in {*summary, *figures} - {"model"} if f"`{name}`" not in PAGE]


def test_every_option_of_our_own_is_explained_there_or_in_help() -> None:
    named = set(re.findall(r"--[a-z-]+", PAGE))
    client = {flag for name in ("chat", "compare") for flag in c.parser_of(name).options}
    options = [option for name in b.COMMANDS for option in b.parser_of(name).options.values()]
    own = [option for option in options if option.option_strings[-1] not in client or option.option_strings[-1] in OURS]
    assert {option.option_strings[-1] for option in own} - named <= {"--strict", "--stream", "--verbose", "--dry-run"}
    assert all(option.help for option in own)
