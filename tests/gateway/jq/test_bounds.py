"""A run stays inside its budget whatever the body: what a program goes through is paid for before, or while, it is done.

Every pair here took from half a second to for ever when only what came out was paid for. CPU time is the measure because
the work is done inside Python's own matcher, sort and writer, where no step of ours is counted. Its unit is a run that counts
until its budget is spent, measured beside each: so a slow or busy machine, or one that traces every line, changes nothing.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from quick import every

from llm_router_gateway.jq import compiler as jq

COUNTING = "reduce range(1000000000) as $i (0; . + 1)"
MOST = 25.0  # times the cost of counting; the dearest here costs four times

LETTERS, PAIRS = "a" * 1_000_000, "ab" * 500_000
NUMBERS = list(range(300_000))
MESSAGES = [{"role": "user", "content": "hi " * 30} for _ in range(50_000)]
DOUBLED = "reduce range(26) as $i (1; [., .])"  # 67 million values in 26 arrays
DOUBLED_FIELDS = "reduce range(26) as $i (1; {a: ., b: .})"

MATCHING = [
    '[scan(".")] | length', '[scan("(a)(b)?")] | length', 'gsub("a"; "b") | length', '[splits("a")] | length',
    'split("a"; null) | length', '[match("."; "g")] | length', '[limit(3; scan("a"))] | length', 'sub("(?<x>a+)b"; "c")',
    'test("(ab){500}c")', 'test("((ab){30}){30}c")', 'test("[ab]{1000}c")',
    'test("(?:a|b){900}c")', 'test("(?:a|b|c|d|e){1000}$")', 'capture("(?<x>a{1000})b")',
]  # fmt: skip
GOING_THROUGH = [
    ". - .", "sort | length", "unique | length", "tojson | length", ". == .", "index([5, 6])", "group_by(.) | length",
    'join(",") | length', "[.[] | tostring] | length", "transpose?", "del(.[range(0; 1000)]) | length", "contains([1, 2])",
    "{a: .} | reduce range(3000) as $i (.; .a[$i] = 1) | length", ". as $x | [range(1000) | $x == $x] | length",
    "try (. + 1) catch .", "[limit(30000; repeat([]))] | transpose | length", "walk(.)", "[.[range(1000):]] | length",
    "del(.[].role?)", "INDEX(.role?)", "[.] | unique", "@json | length", '"\\(.)" | length', "min_by(.)", "bsearch(7)",
]  # fmt: skip
SHARED = [
    "tojson", ". == .", "flatten", "contains(.)",
    "[., .] | unique", "[., .] | sort", "[.] - [.]", "tostream", "index([1])", "@text",
    '[.] | join(",")', "ltrimstr(.)", "{(.): 1}", ". + 1", "[., .] | group_by(.)", ". as $x | [$x] | bsearch($x)",
    ". as $x | delpaths([[$x], [$x]])", ". as $x | [1] | .[$x]",
    ". as $x | getpath([$x])", "error", "INDEX(.)", "tojson | fromjson",
]  # fmt: skip


def spent(program: str, value: Any) -> float:
    """CPU seconds of a run in this thread, however it ends; JqError is the only error there may be."""
    chosen = jq.compile(program)
    begun = time.thread_time()
    try:
        chosen.name_of(value)
    except jq.JqFault:
        raise
    except jq.JqError:
        pass
    return time.thread_time() - begun


def cost(*runs: tuple[str, Any]) -> float:
    """That of the dearest of the runs, in times of counting until the budget is spent."""
    before = spent(COUNTING, None)
    dearest = max(spent(program, value) for program, value in runs)
    return dearest / max(before, spent(COUNTING, None))


def test_the_unit_is_a_run_that_ends_with_its_budget() -> None:
    with pytest.raises(jq.JqError, match="too many steps"):
        jq.compile(COUNTING).name_of(None)


@pytest.mark.parametrize("program", every(7, MATCHING))
def test_matching_is_paid_for_by_matches_and_by_the_width_of_the_pattern(program: str) -> None:
    assert cost((program, LETTERS), (program, PAIRS)) < MOST


@pytest.mark.parametrize("program", every(9, GOING_THROUGH))
def test_going_through_a_large_body_is_paid_for(program: str) -> None:
    assert cost((program, NUMBERS), (program, MESSAGES)) < MOST


@pytest.mark.parametrize("program", every(15, SHARED))
def test_a_value_that_holds_itself_many_times_is_as_large_as_it_is_written(program: str) -> None:
    assert cost((f"{DOUBLED} | {program}", None), (f"{DOUBLED_FIELDS} | {program}", None)) < MOST


def test_the_budget_leaves_room_for_what_selectors_do_with_ordinary_bodies() -> None:
    body = {"model": "m", "max_tokens": 5, "messages": MESSAGES[:2000], "tools": [{"name": "t", "x": NUMBERS[:500]}] * 20}
    for program in ("tojson | length > 1000", '[.messages[].content | test("(hi ){3}")] | all',
                    "[.messages[].role] | unique | length == 1", "contains({model: \"m\"})",
                    '[.messages[].content | scan("(hi )+")] | length > 9', ".messages[-20:] | tojson | length > 9",
                    '.messages | map(select(.role == "user")) | length == 2000', '(.messages | length) == 2000',
                    ".messages[1000:] == .messages[:1000]", '.tools | tostring | test("name")'):  # fmt: skip
        assert jq.compile(program).selects(body) is True, program
