"""Every case of jq's manual, read where it is; those refused when compiling are listed here with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from material import material, needs

from llm_router_gateway.jq import compiler as jq

CASES = material("LLM_ROUTER_JQ_MANUAL")
OUTSIDE = "reaches outside the program"
DECIMALS = "numbers are kept as written but compared as doubles"
REFUSED = {  # how the case's program begins -> part of the message
    "$ENV.PAGER": OUTSIDE,
    "env.PAGER": OUTSIDE,
    "[., tojson] == if have_decnum": DECIMALS,
    "[1234567890987654321,-1234567890987654321 | tojson] == if have_decnum": DECIMALS,
    "map([., . == 1]) | tojson == if have_decnum": DECIMALS,
    ". as $big | [$big, $big + 1]": DECIMALS,
}


def cases() -> list[dict[str, Any]]:
    return json.loads(CASES.read_text(encoding="utf-8")) if CASES else []


@needs("LLM_ROUTER_JQ_MANUAL")
def test_the_manual_is_read() -> None:
    assert len(cases()) > 200
    assert all(any(case["program"].startswith(begin) for case in cases()) for begin in REFUSED)


@needs("LLM_ROUTER_JQ_MANUAL")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_a_case_of_the_manual(case: dict[str, Any]) -> None:
    program = case["program"]
    why = next((reason for begin, reason in REFUSED.items() if program.startswith(begin)), None)
    if why is not None:
        with pytest.raises(jq.JqRefused, match=why):
            jq.compile(program)
        return
    outputs = list(jq.compile(program).outputs(json.loads(case["input"])))
    assert outputs == [json.loads(text) for text in case["expected"]]
    kinds = json.dumps([json.loads(text) for text in case["expected"]], sort_keys=True)
    assert json.dumps(outputs, sort_keys=True).replace(".0", "") == kinds.replace(".0", "")  # 1 == True in Python
