"""Coding agents as their users run them, through the gateway to an upstream of each protocol."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest
from agents import AGENTS, Agent
from conftest import UPSTREAMS, Run, Workplace

from llm_router_demo import Step

MATRIX = bool(os.environ.get("LLM_ROUTER_MATRIX"))
SMALL_GATE = {"codex": "openai", "claude": "gemini", "gemini": "anthropic", "opencode": "responses", "qwen": "anthropic"}
NOTES = "The password of the day is plum."
PROMPT = "Read notes.txt, write answer.txt, count its bytes, and tell me the password."
TURNS = 4
# Hosts that an agent wants although everything that its maker lets one switch off is off; it works without an answer.
REACHES = {
    "codex": {"api.github.com:443", "chatgpt.com:443", "github.com:443"},  # its list of plugins
    "opencode": {"registry.npmjs.org:443"},  # the package for plugins of its configuration folder
}
ANSWER = "All done: the password is plum."


def task(agent: Agent, run_in: Workplace, **first: str) -> list[Step]:
    """Four turns: a file is read, one is written, a command is run, an answer is given."""
    notes, answer, count = (str(run_in.work / name) for name in ("notes.txt", "answer.txt", "count.txt"))
    return [
        Step(calls=[agent.read(notes)]),
        Step(calls=[agent.write(answer, "plum")], **first),
        Step(calls=[agent.run(f"wc -c < {answer} | tr -d ' ' > {count}")]),
        Step(ANSWER),
    ]


def perform(name: str, upstream: str, workplace: Workplace, **first: str) -> Run:
    (workplace.work / "notes.txt").write_text(NOTES)
    agent = AGENTS[name]
    return workplace.run(agent, upstream, PROMPT, task(agent, workplace, **first))


def is_begun(run: Run) -> bool:
    """Whether anything was written."""
    return (run.work / "answer.txt").exists()


def is_finished(run: Run) -> bool:
    """Whether every file is there, the model was told what it wanted to read, and its answer was printed."""
    files = [run.work / "answer.txt", run.work / "count.txt"]
    written = [each.read_text().strip() for each in files if each.exists()]
    return written == ["plum", "4"] and any(NOTES in str(each) for each in run.turns) and ANSWER in run.stdout


def assert_finished(run: Run) -> None:
    assert run.exit_code == 0 and is_finished(run), run.report()


CELLS = [(name, upstream) for name in AGENTS for upstream in UPSTREAMS if MATRIX or SMALL_GATE[name] == upstream]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "upstream"), CELLS)
def test_a_task_of_several_turns_is_finished(name: str, upstream: str, workplace: Workplace) -> None:
    run = perform(name, upstream, workplace)
    assert_finished(run)
    assert len(run.turns) == TURNS, run.report()
    assert run.hosts <= REACHES.get(name, set()), run.report()


class Reaction(NamedTuple):
    """What an agent makes of a fault in its second turn."""

    exit_code: int
    finished: bool  # all files are there, and the answer was printed
    turns: tuple[int, int]  # requests with tools, at least and at most
    pause_s: float = 0.0  # before it asked again, at least
    says: str = ""  # on stdout or stderr


GOES_ON = (TURNS + 1, TURNS + 1)  # the turn is asked for once more
GIVES_UP = (2, 2)
REACTIONS = {  # fault of the upstream -> agent -> what it does; the same whatever the upstream speaks
    "fail-429": {  # with Retry-After: 1
        "codex": Reaction(0, True, GOES_ON, 0.9, "Reconnecting... 1/5"),
        "claude": Reaction(0, True, GOES_ON, 0.9),
        "gemini": Reaction(0, True, GOES_ON, 3.0, "Suggested retry after 1s"),  # and waits five times as long
        "opencode": Reaction(0, True, GOES_ON, 0.9),
        "qwen": Reaction(0, True, GOES_ON, 0.9),
    },
    "fail-503": {
        "codex": Reaction(0, True, GOES_ON, 0.1), "claude": Reaction(0, True, GOES_ON, 0.3),
        "gemini": Reaction(0, True, GOES_ON, 3.0), "opencode": Reaction(0, True, GOES_ON, 1.0),
        "qwen": Reaction(0, True, GOES_ON, 0.3),
    },
    "fail-529": {  # which only Anthropic's callers see as that; the others get 503
        "codex": Reaction(0, True, GOES_ON, 0.1), "claude": Reaction(0, True, GOES_ON, 0.3),
        "gemini": Reaction(0, True, GOES_ON, 3.0), "opencode": Reaction(0, True, GOES_ON, 1.0),
        "qwen": Reaction(0, True, GOES_ON, 0.3),
    },
    "fail-cut": {  # after some text
        "codex": Reaction(0, True, GOES_ON, 0.1, "Reconnecting... 1/5"),
        "claude": Reaction(0, True, GOES_ON),  # this one without a stream
        "gemini": Reaction(0, True, GOES_ON, 0.9, NOTES),  # what was printed of the broken answer stays
        "opencode": Reaction(0, True, GOES_ON, 1.0),
        "qwen": Reaction(0, True, GOES_ON, 0.9, "Retrying provider attempt"),
    },
    "fail-context": {
        "codex": Reaction(1, False, GIVES_UP, says="ran out of room in the model's context window"),
        "claude": Reaction(0, True, (TURNS + 2, 2 * TURNS)),  # summarizes, and goes on from the summary
        "gemini": Reaction(1, False, GIVES_UP, says="exceeds the maximum number of tokens allowed"),
        "opencode": Reaction(1, True, (TURNS + 1, TURNS + 2)),  # as claude; 1 although all went well
        "qwen": Reaction(0, True, (TURNS + 1, 2 * TURNS)),  # as claude
    },
    "fail-400": {
        "codex": Reaction(1, False, GIVES_UP, says="The mock server answers 400."),
        "claude": Reaction(0, True, GOES_ON),  # asks again at once
        "gemini": Reaction(1, False, GIVES_UP, says="The mock server answers 400."),
        "opencode": Reaction(1, False, GIVES_UP, says="The mock server answers 400."),
        "qwen": Reaction(1, False, GIVES_UP, says="The mock server answers 400."),
    },
}  # fmt: skip
FAULTS = [(name, fault, upstream) for fault in REACTIONS for name in AGENTS for upstream in UPSTREAMS]


@pytest.mark.slow
@pytest.mark.skipif(not MATRIX, reason="LLM_ROUTER_MATRIX is not set: the matrix belongs to the large gate")
@pytest.mark.parametrize(("name", "fault", "upstream"), FAULTS)
def test_a_fault_in_the_second_turn(name: str, fault: str, upstream: str, workplace: Workplace) -> None:
    expected, run = REACTIONS[fault][name], perform(name, upstream, workplace, first=fault)
    assert run.exit_code == expected.exit_code, run.report()
    assert (is_finished(run), is_begun(run)) == (expected.finished, expected.finished), run.report()
    least, most = expected.turns
    assert least <= len(run.turns) <= most, run.report()
    assert run.pause_s >= expected.pause_s, run.report()
    assert expected.says in run.stdout + run.stderr, run.report()


@pytest.mark.slow
@pytest.mark.skipif(not MATRIX, reason="LLM_ROUTER_MATRIX is not set: the matrix belongs to the large gate")
def test_gemini_cli_ends_with_the_status_modulo_256_where_its_output_is_json(workplace: Workplace) -> None:
    gemini = AGENTS["gemini"]
    as_json = gemini._replace(command=lambda model, prompt: [*gemini.command(model, prompt), "--output-format", "json"])
    run = workplace.run(as_json, "openai", PROMPT, [Step(ANSWER, first="fail-context")])
    assert run.exit_code == 400 % 256, run.report()
    assert len(run.requests) == 1, run.report()
