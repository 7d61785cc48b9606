"""`run` as its users run it: what is asked, what is written, what is told, and the exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

import llm_router_batch as b
import llm_router_client as c

FILES = ("--input", "in.jsonl", "--output", "out.jsonl")
ECHO = "This is the mock server, not a model. You said: "
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals, terminals and limits as POSIX has them")


def asked(demo: Any) -> List[str]:
    """The last message of every request, in the order in which they came."""
    return [request["body"]["messages"][-1]["content"] for request in demo.requests]


# ---------------------------------------------------------------------------------------------------------- the answers


def test_every_line_gets_its_answer_under_its_id(batch: Any, prompts: Any, answers: Any) -> None:
    prompts(50)
    ran = batch("run", "-m", "demo", *FILES)
    assert ran.code == 0 and ran.err == b"", ran
    assert b"50 answered, 0 failed, 0 bad lines, 0 left of 50" in ran.out
    assert {record["id"]: record["text"] for record in answers()} == {f"a{n}": f"{ECHO}Say {n}." for n in range(1, 51)}
    first = answers()[0]
    assert first["ok"] and first["error"] is None and first["usage"]["total_tokens"] and first["line"] == int(first["id"][1:])


def test_a_record_is_the_client_s_envelope_with_the_line_s_own_fields(batch: Any, prompts: Any, answers: Any) -> None:
    prompts({"id": "x", "message": "Hi", "metadata": {"row": [1]}})
    batch("run", "-m", "demo", *FILES)
    [record] = answers()
    assert list(record)[:6] == ["id", "line", "request", "run", "tries", "metadata"] and record["metadata"] == {"row": [1]}
    assert list(record)[6:] == list(c.envelope(None))


def test_settings_of_the_command_reach_every_request(batch: Any, prompts: Any, demo: Any) -> None:
    few = [{"role": "user", "content": "2"}, {"role": "assistant", "content": "4"}]
    prompts({"messages": few, "name": "body.json"}, name="x.jsonl")
    (batch.cwd / "body.json").write_text(json.dumps({"messages": few, "seed": 7}))
    prompts({"message": "Hi"}, {"message": "Ho", "body": {"temperature": 1}, "model": "demo-words-3"})
    words = ["-m", "demo", "-s", "Be brief.", "-t", "0.5", "--max-tokens", "9", "--body-file", "body.json"]
    assert batch("run", *words, *FILES, "--concurrency", "1").code == 0
    first, second = (request["body"] for request in demo.requests)
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, *few, {"role": "user", "content": "Hi"}]
    assert (first["temperature"], first["max_tokens"], first["seed"], first["model"]) == (0.5, 9, 7, "demo")
    assert (second["temperature"], second["max_tokens"], second["model"]) == (1, 9, "demo-words-3")


@pytest.mark.slow
def test_the_model_is_the_line_s_the_command_s_or_the_environment_s(batch: Any, prompts: Any, answers: Any) -> None:
    prompts({"message": "Hi"})
    assert batch("run", *FILES, env={"LLM_ROUTER_MODEL": "demo-words-3"}).code == 0
    assert answers()[0]["model_used"] == "demo-words-3"
    prompts({"message": "Hi", "model": "demo-words-2"}, {"message": "Hi"}, name="two.jsonl")
    ran = batch("run", "--input", "two.jsonl", "--output", "two-out.jsonl")
    assert ran.code == 2 and b"two.jsonl: line 2 names no model" in ran.err
    assert [record["model_used"] for record in answers("two-out.jsonl")] == ["demo-words-2"]


@pytest.mark.slow
def test_ordered_brings_the_answers_into_the_input_s_order(batch: Any, prompts: Any, answers: Any) -> None:
    slow = {"id": "slow", "message": "Hi", "model": "demo-sleep-300"}
    prompts(slow, 30)
    assert batch("run", "-m", "demo", *FILES).code == 0
    assert answers()[-1]["id"] == "slow"
    assert batch("run", "-m", "demo", *FILES, "--ordered").code == 0
    assert [record["id"] for record in answers()] == ["slow", *(f"a{n}" for n in range(1, 31))]


def test_streams_measure_the_first_piece(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    prompts(1)
    assert batch("run", "-m", "demo", *FILES, "--stream").code == 0
    assert answers()[0]["first_s"] is not None and demo.requests[0]["body"]["stream"] is True


@pytest.mark.slow
def test_the_stand_in_needs_no_endpoint(batch: Any, prompts: Any) -> None:
    prompts(3)
    assert batch("run", "--demo", *FILES, env={"LLM_ROUTER_BASE_URL": ""}).code == 0


def test_it_runs_from_any_folder_in_isolated_mode(batch: Any, prompts: Any) -> None:
    prompts(2)
    words = [sys.executable, "-I", *batch.words("run", "--demo", *FILES)[1:]]
    ran = subprocess.run(words, capture_output=True, cwd=batch.cwd, timeout=30, env={})
    assert ran.returncode == 0 and b"2 answered" in ran.stdout, ran


def test_json_prints_one_object(batch: Any, prompts: Any) -> None:
    prompts(4, {"id": "no", "message": "Hi", "model": "fail-400"})
    ran = batch("run", "-m", "demo", *FILES, "--json")
    result = ran.json
    assert ran.code == 10 and not result["ok"] and result["error"] is None
    counts = [result[name] for name in ("total", "answered", "failed", "bad_lines", "left", "asked")]
    assert counts == [5, 4, 1, 0, 0, 5] and result["failures"] == {"bad_request": 1} and result["cost"] > 0


# -------------------------------------------------------------------------------------------------------- going on


@pytest.mark.slow
def test_started_again_nothing_is_sent_or_written_twice(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    prompts(20)
    assert batch("run", "-m", "demo", *FILES).code == 0
    before = (batch.cwd / "out.jsonl").read_bytes()
    assert batch("run", "-m", "demo", *FILES).code == 0
    assert len(demo.requests) == 20 and (batch.cwd / "out.jsonl").read_bytes() == before


@pytest.mark.slow
def test_lines_added_to_the_input_are_sent_and_lines_taken_out_are_kept(
    batch: Any, prompts: Any, answers: Any, demo: Any
) -> None:
    prompts(3)
    batch("run", "-m", "demo", *FILES)
    prompts({"id": "new", "message": "Hi"}, {"id": "a2", "message": "Say 2."})
    assert batch("run", "-m", "demo", *FILES).code == 0
    assert len(demo.requests) == 4 and sorted(record["id"] for record in answers()) == ["a1", "a2", "a3", "new"]


@pytest.mark.slow
def test_a_changed_line_under_an_answered_id_is_refused_before_anything_is_sent(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(3)
    batch("run", "-m", "demo", *FILES)
    before = (batch.cwd / "out.jsonl").read_bytes()
    prompts({"id": "a1", "message": "Say 1."}, {"id": "a2", "message": "Something else"}, {"id": "n", "message": "New"})
    ran = batch("run", "-m", "demo", *FILES)
    assert ran.code == 2 and b"under the ids of lines 2" in ran.err and b"new ids" in ran.err
    assert len(demo.requests) == 3 and (batch.cwd / "out.jsonl").read_bytes() == before


@pytest.mark.slow
def test_failed_lines_stay_failed_until_retry_failed_asks_them_again(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    words = ["run", *FILES, "--retries", "0"]
    prompts(5)
    assert batch(*words, "-m", "fail-500").code == 6
    assert {record["error"]["code"] for record in answers()} == {"server_error"}
    assert batch(*words, "-m", "demo").code == 10 and len(demo.requests) == 5
    ran = batch(*words, "-m", "demo", "--retry-failed")
    assert ran.code == 0 and len(demo.requests) == 10
    found = sorted((record["id"], record["ok"], record["tries"]) for record in answers())
    assert found == [(f"a{n}", True, 2) for n in range(1, 6)]
    keys = {request["headers"]["Idempotency-Key"] for request in demo.requests}
    assert len(keys) == 10


@pytest.mark.slow
def test_a_failed_line_that_was_corrected_is_sent_again(batch: Any, prompts: Any, answers: Any) -> None:
    prompts({"id": 1, "message": "Hi", "model": "fail-400"})
    assert batch("run", *FILES).code == 1
    prompts({"id": 1, "message": "Hi", "model": "demo"})
    assert batch("run", *FILES).code == 0 and [record["ok"] for record in answers()] == [True]


@pytest.mark.slow
def test_a_torn_last_line_is_reported_and_sent_again(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    prompts(5)
    batch("run", "-m", "demo", *FILES)
    path = batch.cwd / "out.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    ran = batch("run", "-m", "demo", *FILES)
    assert ran.code == 0 and b"the last line was cut off" in ran.err and len(demo.requests) == 6
    assert sorted(record["id"] for record in answers()) == ["a1", "a2", "a3", "a4", "a5"]
    keys: Dict[str, set] = {}
    for request, text in zip(demo.requests, asked(demo)):
        keys.setdefault(text, set()).add(request["headers"]["Idempotency-Key"])
    assert all(len(each) == 1 for each in keys.values()) and len(keys) == 5  # the server can tell that it is the same


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.slow
def test_bad_lines_are_reported_with_their_number_and_lose_nothing(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    good = {"id": "ok", "message": "Hi"}
    twice, torn = {"id": "a1", "message": "Twice"}, b'{"id": "torn", "mes'
    prompts(2, b"nonsense\n", b"\n", twice, b"\xff\xfe\n", {"mesage": "x"}, good, torn)
    ran = batch("run", "-m", "demo", *FILES)
    told = re.findall(r"in\.jsonl: line (\d+) (.*)", ran.err.decode())
    assert [int(number) for number, _ in told] == [3, 5, 6, 7, 9] and "'a1' of line 1" in told[1][1]
    assert ran.code == 2 and b"3 answered, 0 failed, 5 bad lines" in ran.out
    assert sorted(record["id"] for record in answers()) == ["a1", "a2", "ok"] and len(demo.requests) == 3
    prompts(2, b"\n", b"\n", good)
    assert batch("run", "-m", "demo", *FILES).code == 0 and len(demo.requests) == 3


def test_of_many_bad_lines_twenty_are_reported(batch: Any, prompts: Any) -> None:
    prompts(b"a,b,c\n" * 500)
    ran = batch("run", "-m", "demo", *FILES)
    assert ran.code == 2 and len(ran.err.splitlines()) == 22 and b"and 480 more bad lines" in ran.err


def test_an_empty_input_is_no_error(batch: Any, prompts: Any) -> None:
    prompts()
    assert batch("run", "-m", "demo", *FILES).code == 0


USAGE = {
    "run": "no output named",
    "run --output out.jsonl": "no input named",
    "run --input missing --output out.jsonl": "Check the path; a relative one starts in ",
    "run missing --output out.jsonl": "cannot read missing",
    "run --input . --output out.jsonl": ". is a directory",
    "run --input .. --output out.jsonl": "outside the working directory",
    "run --input in.jsonl --output in.jsonl": "the same file",
    "run --input in.jsonl --output no/such/x": "cannot be written",
    "run --input in.jsonl --output out.jsonl --concurrency 0": "--concurrency is a number from 1",
    "run --input in.jsonl --output out.jsonl --concurrency many": "--concurrency takes a whole number",
    "run --input in.jsonl --output out.jsonl --patience -1": "--patience is",
    "run --input in.jsonl --output out.jsonl --patience 1e9": "less than 10,000,000",
    "run --input in.jsonl --output out.jsonl --retries 11": "max_retries",
    "run --input in.jsonl --output out.jsonl --outputt x": "unknown argument '--outputt'",
    "run --input in.jsonl --output": "--output needs a value",
    "run --input in.jsonl --input in.jsonl --output out.jsonl": "--input would replace",
    "run --input in.jsonl --output out.jsonl --output out.jsonl": "--output would replace",
    "run --input in.jsonl --output out.jsonl --api-key x": "no option takes a key",
    "run --input in.jsonl --output out.jsonl --header Authorization:x": "no credentials",
    "evaluate --input in.jsonl": "name 1 to 8 models",
    "evaluate --input in.jsonl --models a,a": "each once",
    "evaluate --input in.jsonl --models a,b,c,d,e,f,g,h,i": "name 1 to 8",
    "evaluate --input in.jsonl --models demo --csv --markdown": "cannot be combined",
    "evaluate --input in.jsonl --models demo --repeat 0": "--repeat is a number from 1",
    "evaluate --input empty.jsonl --models demo": "no lines to send",
    "": "no command given",
    "rum": "Did you mean run?",
}


@pytest.mark.slow
@pytest.mark.parametrize("typed", USAGE)
def test_a_usage_error_comes_before_anything_is_sent_or_written(batch: Any, prompts: Any, demo: Any, typed: str) -> None:
    prompts(2)
    prompts(name="empty.jsonl")
    ran = batch(*typed.split())
    assert ran.code in (2, 8) and ran.out == b"" and USAGE[typed] in ran.err.decode() and b"Traceback" not in ran.err, ran
    assert demo.requests == [] and not (batch.cwd / "out.jsonl").exists()


@pytest.mark.slow
def test_files_outside_the_working_directory_need_allow_path(batch: Any, prompts: Any, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    prompts(1).rename(other / "in.jsonl")
    words = ["run", "-m", "demo", "--input", str(other / "in.jsonl"), "--output", str(other / "out.jsonl")]
    assert batch(*words).code == 8 and not (other / "out.jsonl").exists()
    assert batch(*words, "--allow-path", str(other)).code == 0


@posix_only
def test_a_pipe_is_no_input_and_a_link_no_output(batch: Any, prompts: Any, demo: Any) -> None:
    os.mkfifo(batch.cwd / "pipe")
    assert batch("run", "-m", "demo", "--input", "pipe", "--output", "out.jsonl").code == 8
    prompts(1)
    (batch.cwd / "out.jsonl").symlink_to(batch.cwd / "elsewhere")
    ran = batch("run", "-m", "demo", *FILES)
    assert ran.code == 1 and b"could not be written" in ran.err and not (batch.cwd / "elsewhere").exists()
    assert demo.requests == []


def test_a_foreign_output_is_refused_and_left_alone(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(1)
    (batch.cwd / "out.jsonl").write_text("my notes")
    ran = batch("run", "-m", "demo", *FILES)
    assert ran.code == 2 and b"line 1 is not an answer of this command" in ran.err and demo.requests == []
    assert (batch.cwd / "out.jsonl").read_text() == "my notes"


@pytest.mark.slow
def test_an_input_that_changes_meanwhile_stops_the_batch_and_keeps_what_is_done(batch: Any, prompts: Any, answers: Any) -> None:
    prompts(400)
    running = batch.start("run", "-m", "demo-sleep-20", *FILES, "--concurrency", "2")
    wait_for(lambda: (batch.cwd / "out.jsonl").exists() and len(answers()) > 3)
    with open(batch.cwd / "in.jsonl", "ab") as file:
        file.write(b'{"message": "late"}\n')
    _, err = running.communicate(timeout=20)
    assert running.returncode == 2 and b"the input was changed" in err
    done = len(answers())
    assert 3 < done < 400
    assert batch("run", "-m", "demo", *FILES).code == 0 and len(answers()) == 401


def test_without_a_key_nothing_is_made(batch: Any, prompts: Any) -> None:
    prompts(1)
    ran = batch("run", "-m", "x", *FILES, env={"LLM_ROUTER_BASE_URL": ""})
    assert ran.code == 3 and b"Set AISA_API_KEY" in ran.err and not (batch.cwd / "out.jsonl").exists()


@pytest.mark.slow
def test_a_dry_run_shows_what_would_be_sent_and_sends_and_writes_nothing(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(3, b"bad\n")
    key = "canary" * 4
    ran = batch("run", "-m", "demo", *FILES, "--dry-run", env={"LLM_ROUTER_API_KEY": key})
    assert ran.code == 2 and b"line 4 is not JSON" in ran.err and key.encode() not in ran.out
    assert ran.json["to_ask"] == 3 and ran.json["first"]["body"]["messages"][0]["content"] == "Say 1."
    assert demo.requests == [] and not (batch.cwd / "out.jsonl").exists()
    shown = batch("evaluate", "--models", "demo,demo-reasoning", "--input", "in.jsonl", "--repeat", "4", "--dry-run").json
    assert shown["questions"] == 24 and len(shown["first"]) == 2 and demo.requests == []


# --------------------------------------------------------------------------------------------------- limits and failures


@pytest.mark.slow
def test_limits_that_come_once_fail_nothing(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    for number, model in enumerate(("fail-429-once", "fail-529-once", "fail-503-once")):
        prompts(8)
        name = f"out{number}.jsonl"
        assert batch("run", "-m", model, "--input", "in.jsonl", "--output", name).code == 0
        assert len(answers(name)) == 8 and all(record["ok"] for record in answers(name))
        assert len(demo.requests) == 16 * (number + 1)


@pytest.mark.slow
def test_a_limit_slows_the_whole_batch_down_instead_of_failing_it(
    batch: Any, prompts: Any, answers: Any, limiting: Any
) -> None:
    server = limiting(most=10, closed_s=0.4, answer_s=0.005)
    prompts(60)
    batch.env["LLM_ROUTER_BASE_URL"] = server.base_url
    ran = batch("run", "-m", "demo", *FILES, "--concurrency", "16")
    assert ran.code == 0 and len(answers()) == 60 and all(record["ok"] for record in answers())
    refused = [(closing, message) for closing, status, message, _ in server.seen if status == 429]
    assert {closing for closing, _ in refused} == {1, 2, 3, 4, 5} == {*range(1, server.closings + 1)}
    assert len(refused) == len({*refused}), "a line was sent again before the time was over"
    for closing in range(1, 6):  # what was underway meets the limit, and nothing is sent behind it
        assert len([1 for each, _ in refused if each == closing]) <= 16
    for line in range(1, 61):
        assert len({seen[3] for seen in server.seen if seen[2] == f"Say {line}."}) == 1
        assert [seen[1] for seen in server.seen if seen[2] == f"Say {line}."].count(200) == 1


@pytest.mark.slow
def test_a_limit_longer_than_the_patience_stops_the_batch_and_leaves_its_lines_open(
    batch: Any, prompts: Any, answers: Any
) -> None:
    prompts(3, {"id": "no", "message": "Hi", "model": "fail-429-long"})
    ran = batch("run", "-m", "demo", *FILES, "--patience", "5", "--concurrency", "1")
    assert ran.code == 6 and b"[rate_limited]" in ran.err and b"continues where it stopped" in ran.err
    assert len(answers()) == 3 and b"1 left of 4" in ran.out
    prompts(3, {"id": "no", "message": "Hi", "model": "demo"})
    assert batch("run", "-m", "demo", *FILES).code == 0 and len(answers()) == 4


def test_under_a_limit_a_fallback_answers(batch: Any, prompts: Any, answers: Any) -> None:
    prompts(2)
    assert batch("run", "-m", "fail-429-long", "--fallback", "demo", *FILES).code == 0
    assert {record["model_used"] for record in answers()} == {"demo"}


@pytest.mark.slow
@pytest.mark.parametrize("model, code, exit_code", [("fail-401", "key_refused", 3), ("fail-402", "no_credit", 4)])
def test_a_refused_key_or_an_empty_account_stops_the_batch_with_its_lines_open(
    batch: Any, prompts: Any, answers: Any, demo: Any, model: str, code: str, exit_code: int
) -> None:
    prompts(100)
    ran = batch("run", "-m", model, *FILES, "--concurrency", "4")
    assert ran.code == exit_code and f"[{code}]" in ran.err.decode() and len(demo.requests) < 20
    assert answers() == [] and b"100 left of 100" in ran.out
    ran = batch("run", "-m", model, *FILES, "--keep-going")
    assert ran.code == exit_code and len(answers()) == 100
    assert batch("run", "-m", "demo", *FILES, "--retry-failed").code == 0


@pytest.mark.slow
def test_an_outage_stops_the_batch_before_every_line_has_failed(batch: Any, prompts: Any, answers: Any) -> None:
    prompts(200)
    ran = batch("run", "-m", "fail-500", *FILES, "--retries", "0", "--concurrency", "4")
    assert ran.code == 6 and b.OUTAGES_IN_A_ROW <= len(answers()) < b.OUTAGES_IN_A_ROW + 10
    assert batch("run", "-m", "demo", *FILES, "--retry-failed").code == 0 and len(answers()) == 200


@pytest.mark.slow
def test_failed_lines_carry_their_error_and_what_had_come(batch: Any, prompts: Any, answers: Any) -> None:
    models = ["fail-400", "fail-context", "fail-filter-mid", "fail-cut", "fail-html", "fail-404", "demo"]
    prompts(*({"id": model, "message": "Hi", "model": model} for model in models))
    ran = batch("run", *FILES, "--retries", "0", "--stream", "-v")
    found = {record["id"]: record for record in answers()}
    codes = {name: record["error"]["code"] for name, record in found.items() if record["error"]}
    assert codes == {
        "fail-400": "bad_request", "fail-context": "context_too_long", "fail-filter-mid": "content_filter",
        "fail-cut": "stream_cut", "fail-html": "bad_upstream", "fail-404": "model_not_found",
    }  # fmt: skip
    assert ran.code == 10 and found["fail-cut"]["text"] == f"{ECHO}Hi" and not found["fail-cut"]["finish"]["complete"]
    assert all(f"line {n} (fail-" in ran.err.decode() for n in range(1, 7)) and b"--retry-failed" in ran.err


@pytest.mark.slow
def test_strict_counts_a_cut_answer_as_failed(batch: Any, prompts: Any, answers: Any) -> None:
    prompts({"id": 1, "message": "Hi", "model": "fail-length"}, {"id": 2, "message": "Hi", "model": "demo"})
    assert batch("run", *FILES).code == 0
    assert batch("run", "--input", "in.jsonl", "--output", "strict.jsonl", "--strict").code == 10
    assert [r["error"]["code"] for r in answers("strict.jsonl") if r["error"]] == ["length"]


# ------------------------------------------------------------------------------------------------- terminals and signals


def wait_for(ready: Any, limit_s: float = 20.0) -> None:
    until = time.monotonic() + limit_s
    while not ready() and time.monotonic() < until:
        time.sleep(0.01)
    assert ready()


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_the_end_is_quick_and_what_is_done_is_kept(
    batch: Any, prompts: Any, answers: Any, demo: Any, number: int
) -> None:
    prompts(40, {"id": "hangs", "message": "Hi", "model": "fail-stall"}, 0)
    slow = [{"id": f"s{n}", "message": "Hi", "model": "demo-sleep-60000"} for n in range(30)]
    prompts(*({"id": f"a{n}", "message": "Hi"} for n in range(40)), *slow)
    running = batch.start("run", "-m", "demo", *FILES, "--concurrency", "4")
    wait_for(lambda: len(demo.requests) == 44)
    began = time.monotonic()
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and time.monotonic() - began < 20
    assert b"interrupted" in err and b"Traceback" not in err and b"40 answered" in out and b"30 left of 70" in out
    assert len(answers()) == 40


@pytest.mark.slow
@posix_only
def test_interrupted_while_limited_the_end_is_quick(batch: Any, prompts: Any, demo: Any) -> None:
    prompts(10)
    running = batch.start("run", "-m", "fail-429-long", *FILES)
    wait_for(lambda: demo.requests)
    time.sleep(0.1)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130 and time.monotonic() - began < 20 and b"Traceback" not in err


def on_terminal(batch: Any, *words: str) -> str:
    """What a command shows on a terminal as its stderr."""
    leader, follower = pty.openpty()
    running = batch.start(*words, stderr=follower)
    os.close(follower)
    shown = b""
    while running.poll() is None or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.05)[0]:
            try:
                shown += os.read(leader, 65536)
            except OSError:
                break
    os.close(leader)
    running.communicate(timeout=30)
    return shown.decode()


@pytest.mark.slow
@posix_only
def test_progress_with_rate_cost_and_time_left_is_for_terminals_only(batch: Any, prompts: Any) -> None:
    prompts(60)
    shown = on_terminal(batch, "run", "-m", "demo-sleep-100", *FILES, "--concurrency", "4")
    cost = r"\$[\d.]+ \(about \$[\d.]+ in all\)"
    lines = re.findall(rf"\r(\d+)/60, ([\d.]+)/s, {cost}, (\d+:\d\d) left, (\d) at once *(?=\r)", shown)
    assert lines, shown
    assert float(lines[-1][1]) > 15 and re.search(r"\r +\r$", shown) and "\x1b" not in shown


@pytest.mark.slow
@posix_only
def test_progress_says_when_it_waits(batch: Any, prompts: Any) -> None:
    prompts(2)
    shown = on_terminal(batch, "run", "-m", "fail-429", *FILES, "--patience", "2.5")
    assert re.search(r"0/2, 0\.0/s, limited: waiting 0:0\d", shown), shown


def test_spans_of_time_read_like_a_clock() -> None:
    assert [b.span(s) for s in (0.4, 75, 3599.6, 3700)] == ["0:00", "1:15", "1:00:00", "1:01:40"]


@pytest.mark.slow
def test_help_is_short_shows_two_commands_that_parse_and_every_exit_code(batch: Any) -> None:
    for command in b.COMMANDS:
        ran = batch(command, "--help")
        text = ran.out.decode()
        assert ran.code == 0 and ran.err == b"" and len(text.splitlines()) < 90
        examples = re.findall(rf"(?m)^  python3 \S*llm_router_batch\.py {command} (.*)", text)
        assert len(examples) == 2 and all(b.parser_of(command).parse(example.split()) for example in examples)
        assert all(re.search(rf"(?<!\d){code} ", text) for code in c.EXIT_CODES)
    assert batch("--help").code == 0 and c.VERSION.encode() in batch("--version").out


def test_options_have_the_client_s_names_and_meaning() -> None:
    theirs = {flag: option for name in c.COMMANDS for flag, option in c.parser_of(name).options.items()}
    own = {"--input", "--ordered", "--retry-failed", "--keep-going", "--concurrency", "--patience", "--repeat", "--csv"}
    for command in b.COMMANDS:
        for flag, option in b.parser_of(command).options.items():
            assert flag in own or (option.option_strings, option.metavar, option.type) == (
                theirs[flag].option_strings, theirs[flag].metavar, theirs[flag].type
            )  # fmt: skip
    groups = c.Parser("groups")
    groups.take("API parameters", "endpoint", "output", "model")
    assert set(groups.options) - {"--task", "--prefer"} <= set(b.parser_of("run").options)


@posix_only
def test_a_closed_pipe_ends_quietly(batch: Any, prompts: Any) -> None:
    prompts(2)
    words = " ".join(f"'{word}'" for word in batch.words("run", "-m", "demo", *FILES))
    ran = subprocess.run(["bash", "-c", f"{words} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, env=batch.env,
                         cwd=batch.cwd, timeout=30)  # fmt: skip
    assert ran.returncode in (0, 141) and ran.stderr == b""


def test_the_key_is_in_no_output(batch: Any, prompts: Any) -> None:
    key = "canary" * 4
    prompts({"id": 1, "message": f"my key is {key}"})
    batch("run", "-m", "demo", *FILES, env={"LLM_ROUTER_API_KEY": key})
    assert key.encode() not in Path(batch.cwd / "out.jsonl").read_bytes()


@pytest.mark.slow
def test_a_key_that_looks_like_json_breaks_no_record(batch: Any, prompts: Any, answers: Any, demo: Any) -> None:
    prompts(3)
    for number, word in enumerate(("null", "true", "text", "error", "demo")):
        words = ["run", "-m", "demo", "--input", "in.jsonl", "--output", f"out{number}.jsonl"]
        for _ in range(2):
            assert batch(*words, env={"LLM_ROUTER_API_KEY": word}).code == 0
        assert [record["ok"] for record in answers(f"out{number}.jsonl")] == [True] * 3
    assert len(demo.requests) == 15
