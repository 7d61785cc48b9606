"""Coding agents as their users run them, through the gateway to an upstream of each protocol."""

from __future__ import annotations

import os

import pytest
from agents import AGENTS, Agent
from conftest import UPSTREAMS, Run, Workplace

from llm_router_demo import Step

MATRIX = bool(os.environ.get("LLM_ROUTER_MATRIX"))
SMALL_GATE = {"codex": "openai", "claude": "gemini", "gemini": "anthropic", "opencode": "responses", "qwen": "anthropic"}
NOTES = "The password of the day is plum."
PROMPT = "Read notes.txt, write answer.txt, count its bytes, and tell me the password."
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


def assert_finished(run: Run) -> None:
    assert run.exit_code == 0, run.report()
    assert ANSWER in run.stdout, run.report()
    assert (run.work / "answer.txt").read_text() == "plum", run.report()
    assert (run.work / "count.txt").read_text().strip() == "4", run.report()
    assert any(NOTES in str(each) for each in run.models_turns), run.report()


CELLS = [(name, upstream) for name in AGENTS for upstream in UPSTREAMS if MATRIX or SMALL_GATE[name] == upstream]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "upstream"), CELLS)
def test_a_task_of_several_turns_is_finished(name: str, upstream: str, workplace: Workplace) -> None:
    run = perform(name, upstream, workplace)
    assert_finished(run)
