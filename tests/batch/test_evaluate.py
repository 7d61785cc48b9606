"""`evaluate`: figures for each model, in four forms."""

from __future__ import annotations

import csv
import io
import os
import signal
import time
from typing import Any

import pytest

import llm_router_batch as b

WORDS = ("evaluate", "--input", "in.jsonl")


def test_the_figures_are_what_the_answers_add_up_to(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(4)
    ran = batch(*WORDS, "--models", "demo,demo-sleep-50,fail-400", "--repeat", "3", "--json")
    fast, slow, none = ran.json["results"]
    assert len(demo.requests) == 36 and [row["asked"] for row in ran.json["results"]] == [12, 12, 12]
    assert (fast["success_rate"], none["success_rate"], none["failures"]) == (1.0, 0.0, {"bad_request": 12})
    assert slow["latency_p95_s"] >= slow["latency_median_s"] >= 0.05 and fast["latency_p95_s"] >= fast["latency_median_s"] > 0
    assert slow["first_median_s"] >= 0.05 and fast["tokens"] > fast["answer_tokens"] > 0
    assert fast["cost_per_answer"] > 0 and abs(fast["cost"] - 12 * fast["cost_per_answer"]) < 1e-6
    unknown = [none[name] for name in ("latency_median_s", "first_p95_s", "tokens", "cost_per_answer", "cost")]
    assert unknown == [None] * 5
    assert ran.code == 1 and ran.json["error"]["code"] == "bad_request"  # a model that never answered is not compared


@pytest.mark.slow
def test_as_text_markdown_and_csv(batch: Any, prompts: Any) -> None:
    prompts(2)
    words = [*WORDS, "--models", "demo,demo-reasoning"]
    text = batch(*words).out.decode().splitlines()
    assert text[0].split()[:3] == ["model", "asked", "success"]
    assert [line.split()[0] for line in text[1:]] == ["demo", "demo-reasoning"]
    table = batch(*words, "--markdown").out.decode().splitlines()
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1 and table[2].startswith("| demo | 2 | 1 |")
    rows = list(csv.DictReader(io.StringIO(batch(*words, "--csv").out.decode())))
    assert [row["model"] for row in rows] == ["demo", "demo-reasoning"] and rows[0]["success_rate"] == "1"


def test_every_question_is_a_request_of_its_own_and_models_take_turns(batch: Any, prompts: Any, demo: Any) -> None:
    prompts({"message": "Hi", "model": "ignored"}, {"message": "Ho"})
    assert batch(*WORDS, "--models", "demo,demo-reasoning", "--repeat", "2", "--concurrency", "1").code == 0
    assert [request["body"]["model"] for request in demo.requests] == ["demo", "demo-reasoning"] * 4
    assert len({request["headers"]["Idempotency-Key"] for request in demo.requests}) == 8


@pytest.mark.slow
def test_some_failures_lower_the_rate_and_nothing_else(batch: Any, prompts: Any) -> None:
    prompts(3, {"body": {"seed": 1}, "message": "Hi"})
    ran = batch(*WORDS, "--models", "fail-strict-seed", "--json")
    assert ran.code == 0 and ran.json["ok"] and ran.json["results"][0]["success_rate"] == 0.75


def test_limits_fail_no_question(batch: Any, prompts: Any) -> None:
    prompts(10)
    ran = batch(*WORDS, "--models", "fail-429-once", "--json")
    assert ran.code == 0 and ran.json["results"][0]["answered"] == 10


def test_bad_lines_are_reported_and_the_others_measured(batch: Any, prompts: Any) -> None:
    prompts(2, b"bad\n")
    ran = batch(*WORDS, "--models", "demo", "--json")
    assert ran.code == 2 and b"line 3 is not JSON" in ran.err and ran.json["results"][0]["answered"] == 2


def test_an_empty_account_ends_the_run(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(100)
    ran = batch(*WORDS, "--models", "fail-402", "--json")
    assert ran.code == 4 and len(demo.requests) < 60 and ran.json["error"]["code"] == "no_credit"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_interrupted_it_prints_what_was_measured(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(5)
    running = batch.start(*WORDS, "--models", "demo,demo-sleep-9000", "--concurrency", "2", "--json")
    until = time.monotonic() + 20
    while len(demo.requests) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and b'"model": "demo", "asked": ' in out and b"Traceback" not in err


def test_quantiles_are_by_nearest_rank() -> None:
    assert b.quantile([3.0, 1.0, 2.0], 0.5) == 2.0 and b.quantile([], 0.5) is None
    assert b.quantile([float(n) for n in range(1, 101)], 0.95) == 95.0 and b.quantile([7.0], 0.95) == 7.0
