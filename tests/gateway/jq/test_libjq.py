"""Against libjq 1.8 itself: the same outputs to the letter and the same errors, or a refusal; never another answer.

Skipped unless the package `jq` from PyPI is installed; .ci/run installs it into an environment of its own.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from jq_random import INPUTS, MORE_INPUTS, closed, retrying, wide

from llm_router_gateway.jq import compiler as jq

pytestmark = pytest.mark.slow
libjq = pytest.importorskip("jq", reason="the package jq (libjq) is not installed")

PROGRAMS = Path(__file__).parents[2] / "corpus" / "jq" / "programs.txt"
OUTPUTS = 200  # of one run that are compared
OURS_ONLY = ("leaf_paths", "toarray", "ascii ", "GROUP_BY")  # of jq's manual, and not in this libjq
Result = tuple[list[str], str]  # outputs as JSON text, and how it ended: "" or an error's message


def programs() -> list[str]:
    lines = PROGRAMS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def of_libjq(program: str, text: str) -> Result | None:
    """None where it does not compile."""
    outputs: list[str] = []
    try:
        compiled = libjq.compile(f"({program}\n) | tojson")
    except ValueError:
        return None
    try:
        for output in compiled.input_text(text):
            outputs.append(output)
            if len(outputs) > OUTPUTS:
                return outputs, "more"
    except ValueError as error:
        return outputs, str(error)
    return outputs, ""


def of_ours(program: str, text: str) -> Result | str | None:
    """None where it does not compile, "refused" where it says that it cannot answer."""
    outputs: list[str] = []
    try:
        compiled = jq.compile(f"({program}\n) | tojson")
    except jq.JqRefused:
        return "refused"
    except jq.JqError:
        return None
    try:
        for output in compiled.outputs(jq.read(text), max_steps=30_000):
            outputs.append(output)
            if len(outputs) > OUTPUTS:
                return outputs, "more"
    except jq.JqRaised as error:
        return outputs, error.text
    except (jq.JqRefused, jq.JqBudget):
        return "refused"
    return outputs, ""


def same(ours: Any, theirs: Any) -> bool:
    """Errors that are no strings come back in the spelling of libjq's Python side; some have words that only jq knows."""
    if ours == theirs:
        return True
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return False
    unknown_text = ours[1][:1] in '[{"0123456789' or ours[1] == jq.JqUnknownError().text
    return bool(ours[1]) and bool(theirs[1]) and unknown_text


def test_the_table_of_programs_gives_what_libjq_gives() -> None:
    pairs = refused = 0
    for program in programs():
        if any(name in program for name in OURS_ONLY):
            continue
        for text in INPUTS:
            ours = of_ours(program, text)
            if ours == "refused":
                refused += 1
                continue
            assert same(ours, of_libjq(program, text)), (program, text, ours, of_libjq(program, text))
            pairs += 1
    assert pairs > 10_000
    assert refused < pairs / 50
    print(f"{pairs} pairs the same, {refused} refused")


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_give_what_libjq_gives(seed: int) -> None:
    rng = Random(seed)
    pairs = 0
    for _ in range(500):
        program, text = closed(rng, 3), rng.choice(INPUTS)
        ours = of_ours(program, text)
        if ours != "refused":
            assert same(ours, of_libjq(program, text)), (program, text, ours, of_libjq(program, text))
            pairs += 1
    assert pairs > 350


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_out_of_nearly_every_function_give_what_libjq_gives(seed: int) -> None:
    rng = Random(100 + seed)
    pairs = 0
    for _ in range(400):
        program, text = wide(rng, 3), rng.choice(INPUTS + MORE_INPUTS)
        ours = of_ours(program, text)
        if ours != "refused":
            assert same(ours, of_libjq(program, text)), (program, text, ours, of_libjq(program, text))
            pairs += 1
    assert pairs > 250


@pytest.mark.parametrize("seed", range(4))
def test_errors_behind_alternative_patterns_go_where_libjq_sends_them(seed: int) -> None:
    rng = Random(200 + seed)
    pairs = 0
    for _ in range(400):
        program, text = retrying(rng, 4), rng.choice(["[3]", "[[3],4]", '{"a":1}', '[{"a":[1]},2]', "null", '["1","x"]'])
        ours = of_ours(program, text)
        if ours != "refused":
            assert same(ours, of_libjq(program, text)), (program, text, ours, of_libjq(program, text))
            pairs += 1
    assert pairs > 250
