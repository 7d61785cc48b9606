"""What a batch survives: kill -9 at any moment, a second process, a full disk; and what memory 10,000 lines take."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from typing import Any, Dict, List, Set

import pytest

FILES = ("--input", "in.jsonl", "--output", "out.jsonl")
ECHO = "This is the mock server, not a model. You said: "
AT_ONCE = 8
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals, limits and rusage as POSIX has them")]


def whole_ids(data: bytes) -> Set[str]:
    """Ids of the whole lines of an output that may be torn."""
    return {json.loads(line)["id"] for line in data.split(b"\n")[:-1]}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_random_moments_nothing_is_lost_sent_again_or_written_twice(
    batch: Any, prompts: Any, answers: Any, demo: Any, seed: int
) -> None:
    dice, path = random.Random(seed), batch.cwd / "out.jsonl"
    prompts(400)
    words = ["run", "-m", "demo-sleep-50", *FILES, "--ordered", "--concurrency", str(AT_ONCE)]
    kills, code = 0, -9
    while code == -9:
        held = whole_ids(path.read_bytes()) if path.exists() else set()
        before = len(demo.requests)
        running = batch.start(*words)
        if kills < 12:  # then it may end
            time.sleep(0.1 + dice.random() * 0.25)
            running.kill()
        kills += 1
        running.communicate(timeout=60)
        code = running.returncode
        again = {request["body"]["messages"][-1]["content"] for request in demo.requests[before:]}
        assert not again & {f"Say {name[1:]}." for name in held}  # what the output holds is not asked
        assert held <= whole_ids(path.read_bytes() if path.exists() else b"")
    assert code == 0
    assert [record["id"] for record in answers()] == [f"a{n}" for n in range(1, 401)]
    assert all(record["ok"] and record["text"] == f"{ECHO}Say {record['line']}." for record in answers())
    assert len(demo.requests) <= 400 + kills * AT_ONCE  # only what was underway
    keys: Dict[str, Set[str]] = {}
    for request in demo.requests:
        keys.setdefault(request["body"]["messages"][-1]["content"], set()).add(request["headers"]["Idempotency-Key"])
    assert all(len(each) == 1 for each in keys.values())  # what was underway came back under the key it had
    assert sorted(os.listdir(batch.cwd)) == ["in.jsonl", "out.jsonl"]


def test_killed_while_failed_lines_are_retried_the_next_start_goes_on(batch: Any, prompts: Any, answers: Any) -> None:
    prompts(60)
    assert batch("run", "-m", "fail-400", *FILES).code == 1
    running = batch.start("run", "-m", "demo-sleep-50", *FILES, "--retry-failed", "--concurrency", "4")
    until = time.monotonic() + 20
    while len(whole_ids((batch.cwd / "out.jsonl").read_bytes())) and time.monotonic() < until:
        if sum(1 for record in answers_so_far(batch) if record["ok"]) > 5:
            break
        time.sleep(0.02)
    running.kill()
    running.communicate(timeout=30)
    kept = {record["id"]: record["text"] for record in answers_so_far(batch) if record["ok"]}
    assert 5 < len(kept) < 60
    assert batch("run", "-m", "demo", *FILES, "--retry-failed", "--ordered").code == 0
    assert [record["id"] for record in answers()] == [f"a{n}" for n in range(1, 61)]
    assert all(record["text"] == kept.get(record["id"], record["text"]) for record in answers())
    assert {record["model_used"] for record in answers() if record["id"] in kept} == {"demo-sleep-50"}


def answers_so_far(batch: Any) -> List[Any]:
    return [json.loads(line) for line in (batch.cwd / "out.jsonl").read_bytes().split(b"\n")[:-1]]


def test_a_second_process_on_the_same_output_is_refused_and_disturbs_nothing(
    batch: Any, prompts: Any, answers: Any, demo: Any
) -> None:
    prompts(100)
    first = batch.start("run", "-m", "demo-sleep-20", *FILES, "--json")
    until = time.monotonic() + 20
    while not demo.requests and time.monotonic() < until:  # it has locked its output by then
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # it is at work until the second has ended, however slow this machine is
    second = batch("run", "-m", "demo", *FILES)
    first.send_signal(signal.SIGCONT)
    assert second.code == 8 and b"is being written by another process" in second.err
    out, err = first.communicate(timeout=30)
    assert first.returncode == 0, err
    asked = sorted(int(request["body"]["messages"][-1]["content"][4:-1]) for request in demo.requests)
    records = sorted(answers(), key=lambda record: record["line"])  # type: ignore[no-any-return]
    odd = [record for record in records if asked.count(record["line"]) != 1]
    told = {"summary": json.loads(out), "err": err, "connections": demo.connections, "asked": len(asked), "not once": odd}
    assert len({record["run"] for record in records}) == 1, told
    assert [record["line"] for record in records] == list(range(1, 101)) and told["summary"]["left"] == 0, told
    assert all(record["text"] == f"{ECHO}Say {record['line']}." for record in records), told
    assert asked == list(range(1, 101)), told  # each once


def test_two_processes_started_at_once_one_works_and_the_other_says_so(batch: Any, prompts: Any, demo: Any) -> None:
    for number in range(5):
        prompts(20)
        name = f"out{number}.jsonl"
        words = ["run", "-m", "demo-sleep-30", "--input", "in.jsonl", "--output", name]
        both = [batch.start(*words), batch.start(*words)]
        for each in both:
            each.communicate(timeout=30)
        codes = sorted(each.returncode for each in both)
        lines = (batch.cwd / name).read_bytes().splitlines()
        assert codes in ([0, 8], [0, 0]) and len(lines) == 20  # both 0: the second began after the first's end
        assert len(demo.requests) == 20 * (number + 1)


def test_a_full_disk_ends_with_a_clear_error_and_only_whole_records(batch: Any, prompts: Any, answers: Any) -> None:
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    prompts(200)
    running = batch.start("run", "-m", "demo", *FILES, preexec_fn=small_files)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 1 and b"could not be written: File too large" in err and b"Traceback" not in err
    assert b"continues where it stopped" in err
    kept = answers()
    unwritten = [json.loads(line) for line in out.splitlines()]
    assert len(kept) < 30 and unwritten  # what could not be written is printed: it was paid for
    assert not {record["id"] for record in kept} & {record["id"] for record in unwritten}
    assert batch("run", "-m", "demo", *FILES).code == 0 and len(answers()) == 200


def test_really_no_space_left(batch: Any, prompts: Any) -> None:
    """A file system of 64 KiB, where this user may mount one."""
    disk = batch.cwd / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount")
    try:
        prompts(500)
        ran = batch("run", "-m", "demo", "--input", "in.jsonl", "--output", "disk/out.jsonl")
        assert ran.code == 1 and b"No space left on device" in ran.err
        records = [json.loads(line) for line in (disk / "out.jsonl").read_bytes().splitlines()]
        assert 20 < len(records) < 200 and len({record["id"] for record in records}) == len(records)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def peak_kib(batch: Any, *words: str) -> int:
    """The most memory that a command held, in KiB; it must end well. Not its ru_maxrss, which begins with its parent's."""
    program = "import sys, llm_router_batch as b; assert not b.main(sys.argv[1:]); print(open('/proc/self/status').read())"
    env = {**batch.env, "PYTHONPATH": os.path.dirname(batch.words()[1])}
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, cwd=batch.cwd, env=env, timeout=120)
    assert ran.returncode == 0, ran
    return int(re.findall(rb"VmHWM:\s+(\d+) kB", ran.stdout)[0])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc/self/status here, which tells the peak")
def test_ten_thousand_lines_run_in_flat_memory(batch: Any, prompts: Any) -> None:
    from llm_router_demo import DemoServer

    with DemoServer(record=False) as server:
        batch.env["LLM_ROUTER_BASE_URL"] = server.base_url
        prompts(500, name="few.jsonl")
        few = peak_kib(batch, "run", "-m", "demo", "--input", "few.jsonl", "--output", "few-out.jsonl")
        prompts(10_000)
        many = peak_kib(batch, "run", "-m", "demo", *FILES, "--ordered")
        again = peak_kib(batch, "run", "-m", "demo", *FILES)
    data = (batch.cwd / "out.jsonl").read_bytes()
    print(f"peak of 500 lines {few} KiB, of 10,000 lines {many} KiB, started again {again} KiB; output {len(data)} bytes")
    assert len(data.splitlines()) == 10_000 and len(data) > 6_000_000
    assert many - few < 4_096 and again - few < 4_096


def test_signals_are_the_only_things_that_interrupt(batch: Any, prompts: Any, answers: Any) -> None:
    """A hangup kills as kill -9 does: the next start goes on."""
    prompts(60)
    running = batch.start("run", "-m", "demo-sleep-30", *FILES)
    until = time.monotonic() + 20
    while not (batch.cwd / "out.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGHUP)
    running.communicate(timeout=30)
    assert running.returncode == -signal.SIGHUP
    assert batch("run", "-m", "demo", *FILES).code == 0 and len(answers()) == 60
