"""Whatever the text and whatever the value: a program compiles or is a JqError, and a run ends in outputs or a JqError."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from jq_random import INPUTS, closed, mutated

from llm_router_gateway.jq import compiler as jq

PROGRAMS = [
    line
    for line in (Path(__file__).parents[2] / "corpus" / "jq" / "programs.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
LETTERS = ".[](){}|,;:?/\\\"'$@#=+-*%<>!&~ \n0123456789abcxyz_é\ud800\x00"
WORDS = ["def", "if", "then", "else", "end", "as", "reduce", "foreach", "try", "catch", "label", "break", "and", "or",
         "..", "?//",
         "|=", "//=", "$x", ".a", "[]", "map", "select", '"\\(', "1e309", "test", "@csv"]  # fmt: skip


def runs(program: str, text: str) -> int:
    """How many outputs; JqError is the only error there may be."""
    try:
        outputs = jq.compile(program).outputs(json.loads(text), max_steps=2000)
        return sum(1 for _ in outputs)
    except jq.JqError as error:
        assert str(error)
        assert error.position is None or 0 <= error.position <= len(program)
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_random_programs_end_in_outputs_or_a_jq_error(seed: int) -> None:
    dice = Random(1000 + seed)
    outputs = sum(runs(closed(dice, 4), dice.choice(INPUTS)) for _ in range(150))
    assert outputs > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_damaged_programs_end_in_outputs_or_a_jq_error(seed: int) -> None:
    dice = Random(2000 + seed)
    for _ in range(300):
        runs(mutated(dice, dice.choice(PROGRAMS)), dice.choice(INPUTS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_noise_is_a_jq_error_or_a_program(seed: int) -> None:
    dice = Random(3000 + seed)
    for _ in range(300):
        length = dice.randint(0, 40)
        runs("".join(dice.choice(LETTERS) for _ in range(length)), "null")
        runs(" ".join(dice.choice(WORDS) for _ in range(length)), "[1]")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_random_patterns_end_in_outputs_or_a_jq_error(seed: int) -> None:
    dice = Random(4000 + seed)
    for _ in range(400):
        pattern = "".join(dice.choice("ab.*+?()[]{}|^$\\dws12,-:=!<>P") for _ in range(dice.randint(1, 12)))
        text = "".join(dice.choice("ab1 ") for _ in range(20))
        runs(f"[match({json.dumps(pattern)}; \"g\")]", json.dumps(text))


def test_values_that_are_no_json_are_a_jq_error() -> None:
    for value in ((1, 2), {1}, b"x", object(), {"a": (1,)}, [1j]):
        for program in (". == 1", "tojson", "sort", ".a", ".[0]", ".. | length", "keys", ". + 1", "type", "tostring", "@csv"):
            try:
                list(jq.compile(program).outputs(value))
            except jq.JqError:
                pass


def test_half_a_surrogate_pair_in_a_value_is_no_crash() -> None:
    lone = json.loads('"\\ud800x"')
    for program in ("utf8bytelength", "@base64", "@uri", "tojson", "explode | implode", ". == \"x\"", "ascii_downcase", "error",
                    "test(\"x\")", ".[0:1]", "error({a: .})", "@sh", "split(\"\")", ". * {}", "tonumber"):  # fmt: skip
        try:
            list(jq.compile(program).outputs(lone))
        except jq.JqError as error:
            assert error.message
