"""Whatever the text and whatever the value: a program compiles or is a JqError, and a run ends in outputs or a JqError."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from jq_random import INPUTS, MORE_INPUTS, closed, mutated, wide
from quick import every

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
    """How many outputs; JqError is the only error there may be, and none that the one guard had to make."""
    try:
        outputs = jq.compile(program).outputs(json.loads(text), max_steps=2000)
        return sum(1 for _ in outputs)
    except jq.JqError as error:
        assert str(error)
        assert not isinstance(error, jq.JqFault), (program, text)
        assert error.position is None or 0 <= error.position <= len(program)
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", every(4, range(10)))
def test_random_programs_end_in_outputs_or_a_jq_error(seed: int) -> None:
    rng = Random(1000 + seed)
    outputs = sum(runs(closed(rng, 4), rng.choice(INPUTS)) for _ in range(150))
    assert outputs > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", every(4, range(10)))
def test_damaged_programs_end_in_outputs_or_a_jq_error(seed: int) -> None:
    rng = Random(2000 + seed)
    for _ in range(300):
        runs(mutated(rng, rng.choice(PROGRAMS)), rng.choice(INPUTS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", every(4, range(10)))
def test_noise_is_a_jq_error_or_a_program(seed: int) -> None:
    rng = Random(3000 + seed)
    for _ in range(300):
        length = rng.randint(0, 40)
        runs("".join(rng.choice(LETTERS) for _ in range(length)), "null")
        runs(" ".join(rng.choice(WORDS) for _ in range(length)), "[1]")


@pytest.mark.slow
@pytest.mark.parametrize("seed", every(4, range(5)))
def test_random_patterns_end_in_outputs_or_a_jq_error(seed: int) -> None:
    rng = Random(4000 + seed)
    for _ in range(400):
        pattern = "".join(rng.choice("ab.*+?()[]{}|^$\\dws12,-:=!<>P") for _ in range(rng.randint(1, 12)))
        text = "".join(rng.choice("ab1 ") for _ in range(20))
        runs(f'[match({json.dumps(pattern)}; "g")]', json.dumps(text))


@pytest.mark.parametrize("seed", every(4, range(10)))
def test_random_programs_out_of_nearly_every_function_end_in_outputs_or_a_jq_error(seed: int) -> None:
    rng = Random(5000 + seed)
    for _ in range(200):
        text = rng.choice(INPUTS + MORE_INPUTS)
        program = wide(rng, 4)
        try:
            chosen = jq.compile(program)
            assert chosen.selects(jq.read(text), max_steps=5000) in (True, False)
            assert isinstance(chosen.name_of(json.loads(text)), str)
        except jq.JqFault as fault:
            raise AssertionError(f"{program} on {text}: {fault}") from fault
        except jq.JqError as error:
            assert str(error)


NO_JSON = ((1, 2), {1}, b"x", object(), 1j, range(2))
LOOKING = (". == 1", "tojson", "tostring", "sort", ".a", ".[0]", "keys", ". + 1", "type", "@csv", "length", "has(0)", '"\\(.)"')


@pytest.mark.parametrize("program", LOOKING)
def test_values_that_are_no_json_are_a_jq_error(program: str) -> None:
    for value in NO_JSON:
        with pytest.raises(jq.JqError) as caught:
            list(jq.compile(program).outputs(value))
        assert not isinstance(caught.value, jq.JqFault), (program, value)


def test_values_that_are_no_json_inside_others_are_a_jq_error_where_they_are_looked_at() -> None:
    for value in ({"a": (1,)}, [b"x"], [[{1}]]):
        assert list(jq.compile("length").outputs(value)) == [1]
        for program in ("tojson", "[.. | type]", ". == .", "tostream | tojson", "@json", "[paths(type == 1)]"):
            with pytest.raises(jq.JqError, match="not a JSON value"):
                list(jq.compile(program).outputs(value))


def test_half_a_surrogate_pair_in_a_value_is_no_crash() -> None:
    lone = json.loads('"\\ud800x"')
    for program in ("utf8bytelength", "@base64", "@uri", "tojson", "explode | implode", ". == \"x\"", "ascii_downcase", "error",
                    "test(\"x\")", ".[0:1]", "error({a: .})", "@sh", "split(\"\")", ". * {}", "tonumber"):  # fmt: skip
        try:
            list(jq.compile(program).outputs(lone))
        except jq.JqError as error:
            assert error.message
