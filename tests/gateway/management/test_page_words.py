"""The page's plain words: every state and every code of the gateway has some, and nothing there is a code of nothing."""

from __future__ import annotations

import re
from pathlib import Path

from llm_router_gateway.errors import BY_STATUS, CONTEXT
from llm_router_gateway.management.page.document import read_packaged
from llm_router_gateway.policy.circuit_breaker import NOT_ITS_FAULT
from llm_router_gateway.routing import plan

CODE = re.compile(r'\bcode ?= ?"([a-z_]+)"')
ROOM = Path(plan.__file__).parents[1]
PAGES_OWN = {"bad_answer", "client_gone", "stream_error", "unreachable"}  # made in the browser; the caller's, which is no error
OTHER_STATES = {"not_allowed", "limited", "full"}  # of explain, beside plan.STATES


def table(name: str) -> set[str]:
    text = read_packaged("words.js")
    begin = text.index(f"const {name} = {{")
    return set(re.findall(r"^  (\w+):", text[begin : text.index("\n};", begin)], re.MULTILINE))


def codes() -> set[str]:
    """What is given as `code` to an error, or is the `code` of its class."""
    found = {CONTEXT, *NOT_ITS_FAULT, *(kind.code for kind in BY_STATUS.values())}
    for path in ROOM.rglob("*.py"):
        if path.parts[-2] != "commands":
            found |= set(CODE.findall(path.read_text(encoding="utf-8")))
    return found


def test_every_state_of_a_member_has_plain_words() -> None:
    assert table("STATES") == {*plan.STATES, *OTHER_STATES}


def test_every_code_of_an_error_has_plain_words_and_there_are_no_others() -> None:
    known, words = codes(), table("ERRORS")
    assert len(known) > 40
    assert known - words == set(), "in words.js"
    assert words - known - PAGES_OWN == set()
