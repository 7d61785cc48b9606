"""--max-cost in a batch: one cap for all its lines, counted over restarts; what does not fit stays open."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

WORDS = ("run", "-m", "demo", "--input", "in.jsonl", "--output", "out.jsonl", "--max-tokens", "20")


@pytest.fixture
def priced(batch: Any) -> Any:
    """The batch with a price for demo: a line's answer of ten tokens costs about $0.0001, and at most $0.0003."""
    price = {"input": 1.0, "output": 10.0}
    (batch.cwd / "config.json").write_text(json.dumps({"prices": {"demo": price, "fail-500": price, "demo-words-5": price}}))
    batch.env["LLM_ROUTER_CONFIG"] = str(batch.cwd / "config.json")
    return batch


def test_a_batch_stops_at_its_cap_and_goes_on_under_a_higher_one(priced: Any, prompts: Any, answers: Any, demo: Any) -> None:
    prompts(60)
    ran = priced(*WORDS, "--max-cost", "0.001", "--json")
    assert ran.code == 8 and ran.json["error"]["code"] == "over_budget", ran
    done = ran.json["answered"]
    assert 0 < done < 60 and ran.json["left"] == 60 - done and ran.json["failed"] == 0
    assert ran.json["cost"] <= 0.001 and len(demo.requests) == done == len(answers())
    again = priced(*WORDS, "--max-cost", "0.001", "--json")  # what is in the output has been spent
    assert again.code == 8 and len(demo.requests) - done <= 1
    last = priced(*WORDS, "--max-cost", "0.1", "--json")
    assert last.code == 0 and last.json["left"] == 0 and len(demo.requests) == 60
    assert {row["cost_source"] for row in answers()} == {"endpoint"}


@pytest.mark.slow
def test_many_at_once_wait_for_what_comes_back_instead_of_stopping_too_early(priced: Any, prompts: Any) -> None:
    prompts(20)  # all twenty cost less than the cap, though twenty times the most that one may cost is more than it
    ran = priced(*WORDS[:-2], "--max-tokens", "100", "--concurrency", "16", "--max-cost", "0.003", "--json")
    assert ran.code == 0 and ran.json["answered"] == 20 and ran.json["cost"] < 0.003, ran


def test_keep_going_does_not_go_over_the_cap(priced: Any, prompts: Any) -> None:
    prompts(60)
    ran = priced(*WORDS, "--max-cost", "0.001", "--keep-going", "--json")
    assert ran.code == 8 and ran.json["failed"] == 0 and ran.json["cost"] <= 0.001


@pytest.mark.slow
def test_a_model_without_a_price_is_refused_before_any_line_is_sent(priced: Any, prompts: Any, demo: Any) -> None:
    prompts(3)
    for more in (("-m", "demo-reasoning"), ("--fallback", "demo-reasoning")):
        ran = priced(*WORDS, *more, "--max-cost", "1", "--json")
        assert ran.code == 8 and "demo-reasoning has no price" in ran.json["error"]["message"] and not demo.requests


def test_a_lines_own_model_without_a_price_fails_alone(priced: Any, prompts: Any, answers: Any) -> None:
    prompts({"id": 1, "message": "a"}, {"id": 2, "message": "b", "model": "demo-reasoning"})
    ran = priced(*WORDS, "--max-cost", "1")
    told = {row["id"]: row["error"] and row["error"]["code"] for row in answers()}
    assert ran.code == 10 and told == {1: None, 2: "refused_locally"}


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--max-cost", "-1"), ("--max-cost", "nan"), ("--max-cost", "much"), ("--cache", "1y")])
def test_bad_amounts_and_ages_are_wrong_usage(priced: Any, prompts: Any, demo: Any, words: Any) -> None:
    prompts(2)
    ran = priced(*WORDS, *words)
    assert ran.code == 2 and not demo.requests and b"Traceback" not in ran.err


@pytest.mark.slow
def test_evaluate_stops_at_the_cap_with_the_figures_so_far(priced: Any, prompts: Any, demo: Any) -> None:
    prompts(30)
    words = ("evaluate", "--models", "demo,demo-words-5", "--input", "in.jsonl", "--max-tokens", "20", "--max-cost", "0.002")
    ran = priced(*words, "--json")
    assert ran.code == 8 and ran.json["error"]["code"] == "over_budget" and ran.json["ok"] is False
    figures = ran.json["results"]
    assert 0 < sum(row["answered"] for row in figures) < 60 and [row["failures"] for row in figures] == [{}, {}]
    assert sum(row["cost"] or 0 for row in figures) <= 0.002 and not any(row["cost_estimated"] for row in figures)
    refused = priced("evaluate", "--models", "demo,demo-tools", "--input", "in.jsonl", "--max-cost", "1")
    assert refused.code == 8 and b"demo-tools has no price" in refused.err


def test_evaluate_takes_no_answers_out_of_a_cache(priced: Any, prompts: Any) -> None:
    prompts(2)
    ran = priced("evaluate", "--models", "demo", "--input", "in.jsonl", "--cache", "1h")
    assert ran.code == 2 and b"unknown argument" in ran.err


@pytest.mark.slow
def test_run_takes_answers_out_of_the_cache_and_records_calls(
    priced: Any, prompts: Any, answers: Callable[..., Any], demo: Any, tmp_path: Path
) -> None:
    priced.env.update(LLM_ROUTER_CACHE=str(tmp_path / "a.sqlite"), LLM_ROUTER_USAGE_LOG=str(tmp_path / "u.sqlite"))
    prompts(20)
    assert priced(*WORDS, "--cache", "1h", "--session", "night").code == 0
    os.unlink(tmp_path / "out.jsonl")
    ran = priced(*WORDS, "--cache", "1h", "--max-cost", "0", "--json")
    assert ran.code == 0 and ran.json["cost"] == 0 and len(demo.requests) == 20
    assert all(row["cached"] and row["cost_source"] == "cache" and not row["warnings"] for row in answers())
    client = priced.words()[:1] + [str(Path(priced.words()[1]).with_name("llm_router_client.py"))]
    told = subprocess.run([*client, "usage", "--json"], capture_output=True, env=priced.env, timeout=30)
    assert (lambda total: (total["calls"], total["cached"]))(json.loads(told.stdout)["total"]) == (40, 20)
