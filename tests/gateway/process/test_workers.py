"""Several workers behind one address: what one of them learns all of them know, and what happens when one of them dies."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from running import (
    GATEWAY,
    PLAIN,
    WAIT_S,
    Process,
    Upstream,
    begun_stream,
    environment,
    hold,
    http,
    made_up,
    sends,
    until,
    verdict,
    whole_stream,
)
from spread import Kept, connections, recorded, to_every_worker, total, workers_of
from vendor import Vendor, acts, form

from llm_router_gateway import PROGRAM
from llm_router_gateway.commands.workers import remove_stale, unix_listener

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")

Start = Callable[..., Process]
ADMIN, TOKEN = made_up("admin"), made_up("token")
SECRETS = {name: made_up(name) for name in ("slow", "poor", "plain")}
AS_ADMIN = {"authorization": f"Bearer {ADMIN}"}
ENV = {"LLM_ROUTER_ADMIN_TOKEN": ADMIN, "LLM_ROUTER_TOKEN": TOKEN, **{f"KEY_{each}": key for each, key in SECRETS.items()}}
CONFIG = """
[server]
workers = {workers}
{server}
[health]
failures_to_open = 2
[[providers]]
name = "a"
api = "openai"
base_url = "{url}/v1"
any_model = true
[[providers]]
name = "r"
api = "responses"
base_url = "{url}/v1"
any_model = true
[[providers]]
name = "sick"
api = "openai"
base_url = "{url}/v1"
any_model = true
{more}
[[keys]]
name = "slow"
key_env = "KEY_slow"
limits = {{ max_requests = 5, per_seconds = 100000, burst_size = 5 }}
[[keys]]
name = "poor"
key_env = "KEY_poor"
budget = {{ tokens_per_day = 10000 }}
[[keys]]
name = "plain"
key_env = "KEY_plain"
"""
USAGE = {"prompt_tokens": 100, "completion_tokens": 900, "total_tokens": 1000}


def config_of(url: str, *, server: str = "", more: str = "", workers: int = 2) -> str:
    return CONFIG.format(url=url, server=server, more=more, workers=workers)


def answers(sock: Any, asked: Any) -> bool:
    protocol = "responses" if "/responses" in asked.line else "openai"
    body = {**PLAIN[protocol], "usage": USAGE} if protocol == "openai" else PLAIN[protocol]
    sock.sendall(http(json.dumps(body).encode()))
    return True


@pytest.fixture(autouse=True)
def well(upstream: Upstream) -> None:
    upstream.does(answers)


@pytest.fixture(scope="module")
def gateway(module_start: Start, upstream: Upstream) -> Iterator[Process]:
    yield module_start(config_of(upstream.url), env=ENV)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ExitStack, list[Kept]]]:
    """The connections of `both`, and what closes them."""
    with ExitStack() as stack:
        yield stack, []


@pytest.fixture
def both(gateway: Process, shared: tuple[ExitStack, list[Kept]]) -> list[Kept]:
    """A connection to each worker: those of the test before while they are open, for it may take dozens until each has one."""
    stack, ways = shared
    if not (ways and all(way.is_open for way in ways)):
        stack.close()
        ways[:] = stack.enter_context(to_every_worker(gateway))
    return ways


def chat(way: Kept, key: str = TOKEN, model: str = "a/m", **more: Any) -> int:
    """The status of one call over a connection."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    return way.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {SECRETS.get(key, key)}").status


# ------------------------------------------------------------------------------- what one of them learns all of them know


def test_calls_of_all_workers_are_in_one_log_one_page_and_one_sum(gateway: Process, both: list[Kept]) -> None:
    before = int(total(gateway, "llm_router_requests_total", **AS_ADMIN))
    assert [chat(way) for way in both * 3] == [200] * 6
    assert total(gateway, "llm_router_requests_total", **AS_ADMIN) == before + 6
    ids = [str(row["request_id"]) for row in recorded(gateway, before + 6, **AS_ADMIN)[:6]]
    for each in ids:
        gateway.logged(f"id={each}")


@pytest.mark.slow
def test_any_worker_speaks_for_the_gateway(both: list[Kept]) -> None:
    for way in both:
        assert way.send("GET", "/health").json["status"] == "ok"
        assert way.send("HEAD", "/health").headers["content-length"] != "0"
        assert way.send("GET", "/health/models", **AS_ADMIN).status == 200
        assert way.send("GET", "/monitor").status == 200
        assert way.send("GET", "/metrics").status == 401
        assert way.send("GET", "/no-such-path").status == 404


def test_the_home_sees_the_callers_host_and_address(both: list[Kept]) -> None:
    for way in both:
        assert way.send("GET", "/monitor", host="evil.example").status == 403
        forged = {"x_llm_router_peer": "9.9.9.9", "x_llm_router_host": "evil.example"}
        assert way.send("GET", "/monitor/me", **forged).status == 200


def test_a_login_of_the_page_holds_on_every_worker_and_ends_on_every_worker(both: list[Kept]) -> None:
    login = both[0].send("POST", "/monitor/login", {"key": ADMIN})
    cookie = login.headers["set-cookie"].partition(";")[0]
    for way in both:
        assert way.send("GET", "/v1/models", cookie=cookie).status == 200
        assert way.send("GET", "/monitor/me", cookie=cookie).json["by_cookie"]
    both[1].send("POST", "/monitor/logout", cookie=cookie, x_llm_router_csrf="1")
    assert [way.send("GET", "/v1/models", cookie=cookie).status for way in both] == [401, 401]


def test_a_key_is_valid_everywhere_once_it_is_made_and_nowhere_once_it_is_gone(both: list[Kept]) -> None:
    made = both[0].send("POST", "/api-keys", {"name": "made"}, **AS_ADMIN).json
    for method, path, body, status in (
        ("PATCH", f"/api-keys/{made['item']['id']}", {"is_active": False}, 403),
        ("PATCH", f"/api-keys/{made['item']['id']}", {"is_active": True}, 200),
        ("DELETE", f"/api-keys/{made['item']['id']}", None, 401),
    ):
        assert [chat(way, made["key"]) for way in both] == [200 if status != 200 else 403] * 2
        assert both[1].send(method, path, body, **AS_ADMIN).status in (200, 204)
        assert [chat(way, made["key"]) for way in both] == [status] * 2


def test_a_limit_holds_for_all_workers_together(both: list[Kept]) -> None:
    """A part that one worker has and does not use is the others' after a second."""
    statuses = [chat(way, "slow") for way in both * 5]
    assert 3 <= statuses.count(200) <= 5 and set(statuses) == {200, 429}
    until(lambda: statuses.append(chat(both[0], "slow")) or statuses.count(200) == 5, "the whole limit is used")
    assert [chat(way, "slow") for way in both * 5] == [429] * 10


def test_a_budget_is_never_over_spent_by_workers_at_the_same_time(gateway: Process, both: list[Kept]) -> None:
    """Ten calls of 1,000 tokens fit. More would, if each worker counted its own."""
    statuses: list[int] = []

    def spend(way: Kept) -> None:
        statuses.extend(chat(way, "poor", max_tokens=950) for _ in range(15))

    threads = [threading.Thread(target=spend, args=(way,)) for way in both]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(statuses) == {200, 402}
    assert 8 <= statuses.count(200) <= 10
    until(lambda: spent_by(gateway, "poor") == 1_000 * statuses.count(200), "the page shows what was spent")


def spent_by(gateway: Process, name: str) -> int:
    items = gateway.get("/api-keys", **AS_ADMIN).json["items"]
    return next(int(item["spent"]["tokens_day"]) for item in items if item["name"] == name)


@pytest.mark.slow
def test_a_conversation_goes_on_at_another_worker(both: list[Kept], upstream: Upstream) -> None:
    plain = {"authorization": f"Bearer {SECRETS['plain']}"}
    first = both[0].send("POST", "/v1/responses", {"model": "a/m", "input": "What is it?"}, **plain).json
    body = {"model": "a/m", "input": "Really?", "previous_response_id": first["id"]}
    assert both[1].send("POST", "/v1/responses", body, **plain).status == 200
    assert "What is it?" in upstream.requests[-1].body.decode()
    assert both[1].send("GET", f"/v1/responses/{first['id']}", **plain).json["id"] == first["id"]
    assert both[1].send("DELETE", f"/v1/responses/{first['id']}", **plain).status == 200
    assert both[0].send("GET", f"/v1/responses/{first['id']}", **plain).status == 404


def test_a_file_is_its_owners_at_every_worker(gateway: Process, both: list[Kept], upstream: Upstream) -> None:
    upstream.does(acts(Vendor()))
    owner, other = ({"authorization": f"Bearer {key}"} for key in (SECRETS["plain"], TOKEN))
    sent = {"content-type": "multipart/form-data; boundary=b", "x-llm-router-provider": "a"}
    file = gateway.send("POST", "/v1/files", form(b"{}"), **owner, **sent).json
    assert both[1].send("GET", f"/v1/files/{file['id']}", **owner).json == file
    assert [each["id"] for each in both[0].send("GET", "/v1/files", **owner).json["data"]] == [file["id"]]
    assert both[0].send("GET", f"/v1/files/{file['id']}", **other).status == 404
    assert both[1].send("DELETE", f"/v1/files/{file['id']}", **owner).json["deleted"]
    assert both[0].send("GET", "/v1/files", **owner).json["data"] == []


def test_a_breaker_that_opened_in_one_worker_is_open_in_the_other_within_a_second(
    gateway: Process, both: list[Kept], upstream: Upstream
) -> None:
    upstream.does(sends(http(b"{}", status="500 Oops")))
    assert [chat(both[0], model="sick/m") for _ in range(2)] == [500, 500]
    began = time.monotonic()
    until(lambda: other_knows(both[1]), "the other worker knows", limit_s=15)
    states = {each["model"]: each for each in gateway.get("/health/models", **AS_ADMIN).json["models"]}
    assert (states["sick/m"]["state"], states["sick/m"]["failures"]) == ("open", 2)
    assert time.monotonic() - began < 20


def other_knows(way: Kept) -> bool:
    """Whether a worker says that it would not send to the member now."""
    body = {"model": "sick/m", "messages": [{"role": "user", "content": "hi"}]}
    reply = way.send("POST", "/route", body, authorization=f"Bearer {TOKEN}")
    return '"open"' in reply.data.decode()


@pytest.mark.slow
def test_a_stream_passes_and_is_recorded_once(gateway: Process, both: list[Kept], upstream: Upstream) -> None:
    upstream.does(sends(whole_stream("openai")))
    before = int(total(gateway, "llm_router_requests_total", **AS_ADMIN))
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    for way in both:
        reply = way.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {TOKEN}")
        assert verdict("openai", reply.data) == "whole"
    assert [row["stream"] for row in recorded(gateway, before + 2, **AS_ADMIN)[:2]] == [True, True]


@pytest.mark.slow
def test_an_export_streams_through(gateway: Process, both: list[Kept]) -> None:
    assert chat(both[0]) == 200
    count = int(total(gateway, "llm_router_requests_total", **AS_ADMIN))
    recorded(gateway, count, **AS_ADMIN)
    for way in both:
        assert len(way.send("GET", "/monitor/export.jsonl", **AS_ADMIN).data.splitlines()) == count


def test_a_bad_file_changes_nothing_and_a_good_one_every_worker(gateway: Process, both: list[Kept], upstream: Upstream) -> None:
    gateway.write("[server]\nworkers = 'many'\n")
    gateway.signal(signal.SIGHUP)
    gateway.logged("not reloaded")
    assert [chat(way) for way in both] == [200, 200]
    gateway.write(config_of(upstream.url, more='[[models]]\nname = "fresh"\nprovider = "a"\n'))
    gateway.signal(signal.SIGHUP)
    for way in both:
        until(lambda way=way: b"a/fresh" in way.send("GET", "/v1/models", authorization=f"Bearer {TOKEN}").data, "it is there")
    gateway.write(config_of(upstream.url))
    gateway.signal(signal.SIGHUP)


def test_a_model_that_is_added_over_http_is_there_before_the_answer_is(both: list[Kept]) -> None:
    added = both[0].send("POST", "/models", {"name": "added", "provider": "a"}, **AS_ADMIN)
    assert added.status == 201, added.data
    for way in both:
        assert b"a/added" in way.send("GET", "/v1/models", authorization=f"Bearer {TOKEN}").data


def test_connections_are_shared_out(gateway: Process, shared: tuple[ExitStack, list[Kept]]) -> None:
    stack, ways = shared
    stack.close()  # only these sixteen count
    ways.clear()
    pids = workers_of(gateway.pid)
    kept = [Kept(gateway) for _ in range(16)]
    counts = until(lambda: sum((now := connections(pids, gateway.port)).values()) >= 16 and now, "all are accepted")
    for each in kept:
        each.close()
    assert min(counts.values()) >= 2, counts


# --------------------------------------------------------------------------------------------------- the ends of processes


@pytest.mark.slow
def test_all_drain_and_the_exit_code_is_0(start: Start, upstream: Upstream) -> None:
    """SIGTERM while both workers stream; Ctrl-C reaches every process of a terminal."""
    gateway = start(config_of(upstream.url), env=ENV)
    upstream.does(
        sends(whole_stream("openai").removesuffix(b"0\r\n\r\n"), lambda sock: released.wait() and sock.sendall(b"0\r\n\r\n"))
    )
    released = threading.Event()
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    replies: list[bytes] = []
    with to_every_worker(gateway) as both:
        pids = workers_of(gateway.pid)
        threads = [
            threading.Thread(target=lambda way=way: replies.append(
                way.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {TOKEN}").data))
            for way in both
        ]  # fmt: skip
        for each in threads:
            each.start()
        until(lambda: len(upstream.requests) == 2, "both stream")
        for pid in (*pids, gateway.pid):
            os.kill(pid, signal.SIGINT)
        gateway.logged("stopping: 2 open requests")
        released.set()
        for each in threads:
            each.join()
    assert [verdict("openai", reply) for reply in replies] == ["whole", "whole"]
    assert gateway.ended() == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_records_stay(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    with to_every_worker(gateway) as both:
        pids = workers_of(gateway.pid)
        assert [chat(way, "plain") for way in both * 5] == [200] * 10
        recorded(gateway, 10, **AS_ADMIN)  # they were handed over
        upstream.does(sends(begun_stream("openai"), hold))
        victim = next(pid for pid, count in connections(pids, gateway.port).items() if count)
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: len(now := workers_of(gateway.pid)) == 2 and victim not in now, "another is there")
        assert time.monotonic() - began < 20
    gateway.logged(f"(process {victim}) was ended by signal 9: another is started")
    upstream.does(answers)
    until(lambda: ready(gateway) == 2, "it accepts callers")
    with to_every_worker(gateway) as both:
        assert [chat(way, "plain") for way in both] == [200, 200]
    recorded(gateway, 12, **AS_ADMIN)
    assert gateway.end() == 0


@pytest.mark.slow
def test_a_worker_that_hangs_holds_up_its_own_callers_alone_and_is_replaced_in_seconds(
    start: Start, upstream: Upstream
) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    with to_every_worker(gateway) as both:
        pids = workers_of(gateway.pid)
        count = connections(pids, gateway.port)
        assert [chat(way, "plain") for way in both] == [200, 200] and min(count.values()) >= 1
        victim = pids[0]
        os.kill(victim, signal.SIGSTOP)
        stopped = time.monotonic()
        outcomes: list[str] = []
        threads = [threading.Thread(target=lambda way=way: outcomes.append(outcome(way))) for way in both]
        for each in threads:
            each.start()
        assert [once(gateway) for _ in range(10)] == [200] * 10, "new connections go to the other one"
        gateway.logged("in which it was stopped, and was ended: another is started")
        assert time.monotonic() - stopped < 20, "some five seconds, and not half a minute"
        until(lambda: len(now := workers_of(gateway.pid)) == 2 and victim not in now, "another is there")
        for each in threads:
            each.join()
    assert sorted(outcomes) == ["200", "cut"]
    assert gateway.end() == 0


@pytest.mark.slow
def test_while_the_home_hangs_calls_are_answered_and_afterwards_recorded_once(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    with to_every_worker(gateway) as both:
        assert [chat(way, "plain") for way in both] == [200, 200]
        gateway.signal(signal.SIGSTOP)
        try:
            assert [chat(way, "plain") for way in both * 5] == [200] * 10
        finally:
            gateway.signal(signal.SIGCONT)
    rows = recorded(gateway, 12, **AS_ADMIN)
    assert len({row["request_id"] for row in rows}) == 12
    assert gateway.end() == 0


def outcome(way: Kept) -> str:
    """What a caller sees that has a connection to a worker."""
    try:
        return str(chat(way, "plain"))
    except (OSError, HTTPException):
        return "cut"


@pytest.mark.slow
def test_what_a_dead_worker_had_on_hold_is_spent_and_its_slots_are_free(start: Start, upstream: Upstream) -> None:
    limits = "[providers.limits]\nmax_concurrent = 2\n"
    gateway = start(config_of(upstream.url, more=limits), env=ENV)
    upstream.does(sends(begun_stream("openai"), hold))
    with to_every_worker(gateway) as both:
        pids = workers_of(gateway.pid)
        body = {"model": "sick/m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 3000}
        threads = [threading.Thread(target=ignore, args=(way, body), daemon=True) for way in both]
        for each in threads:
            each.start()
        until(lambda: len(upstream.requests) == 2, "both slots are taken")
        until(lambda: once(gateway, "sick/m") == 429, "no third is let in")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for each in threads:
            each.join()
    until(lambda: len(now := workers_of(gateway.pid)) == 2 and not set(now) & set(pids), "both are replaced")
    upstream.does(answers)
    until(lambda: once(gateway, "sick/m") == 200, "the slots are free")
    with Kept(gateway) as way:
        assert chat(way, "poor", max_tokens=5_000) == 402
        assert chat(way, "plain", max_tokens=5_000) == 200


def once(gateway: Process, model: str = "a/m") -> int:
    """One call over a connection of its own."""
    with Kept(gateway) as way:
        return chat(way, "plain", model)


def ignore(way: Kept, body: Any) -> None:
    """A call whose worker dies."""
    try:
        way.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {SECRETS['poor']}")
    except (OSError, HTTPException):
        return


@pytest.mark.slow
def test_new_workers_take_over_and_no_connection_is_refused(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    failures: list[str] = []
    done = threading.Event()
    served: list[int] = []

    def call() -> None:
        while not done.is_set():
            try:
                status = once(gateway)
                served.append(1)
                if status != 200:
                    failures.append(str(status))
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        for round_ in range(2):
            old = workers_of(gateway.pid)
            before = len(served)
            gateway.signal(signal.SIGUSR2)
            until(lambda old=old: len(now := workers_of(gateway.pid)) == 2 and not set(now) & set(old), f"round {round_}")
            until(lambda before=before: len(served) > before + 20, "calls go on")
    finally:
        done.set()
        for each in threads:
            each.join()
    assert not failures
    assert total(gateway, "llm_router_requests_total", **AS_ADMIN) == len(served)
    gateway.write(config_of(upstream.url, workers=3))
    gateway.signal(signal.SIGHUP)
    gateway.logged("at the next start: workers")
    gateway.signal(signal.SIGUSR2)  # which new workers are, too
    until(lambda: len(workers_of(gateway.pid)) == 3 and ready(gateway) == 3, "as many as it says now")
    assert gateway.end() == 0


@pytest.mark.slow
def test_a_worker_that_gets_sigterm_finishes_its_stream_and_another_takes_its_place(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    released = threading.Event()
    upstream.does(
        sends(whole_stream("openai").removesuffix(b"0\r\n\r\n"), lambda sock: released.wait() and sock.sendall(b"0\r\n\r\n"))
    )
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    replies: list[bytes] = []
    with Kept(gateway) as way:
        pids = workers_of(gateway.pid)
        until(lambda: sum(connections(pids, gateway.port).values()) == 1, "it is accepted")
        victim = next(pid for pid, count in connections(pids, gateway.port).items() if count)
        caller = threading.Thread(
            target=lambda: replies.append(
                way.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {TOKEN}").data
            )
        )  # fmt: skip
        caller.start()
        until(lambda: len(upstream.requests) == 1, "it streams")
        os.kill(victim, signal.SIGTERM)
        until(lambda: not connections_waiting(victim, gateway.port), "it accepts no more")
        released.set()
        caller.join()
    gateway.logged(f"(process {victim}) ended with code 0: another is started")
    until(lambda: len(now := workers_of(gateway.pid)) == 2 and victim not in now and ready(gateway) == 2, "another is there")
    assert [verdict("openai", reply) for reply in replies] == ["whole"]
    assert gateway.end() == 0


def connections_waiting(pid: int, port: int) -> bool:
    """Whether a process still has the listening socket of a port."""
    try:
        listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
                     if int(line.split()[1].rpartition(":")[2], 16) == port and line.split()[3] == "0A"}  # fmt: skip
        return any(os.readlink(each).removeprefix("socket:[").rstrip("]") in listening
                   for each in Path(f"/proc/{pid}/fd").iterdir())  # fmt: skip
    except OSError:
        return False


@pytest.mark.slow
def test_a_second_signal_ends_the_home_and_all_workers_at_once(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url, server="drain_s = 600"), env=ENV)
    upstream.does(sends(begun_stream("openai"), hold))
    with Kept(gateway) as way:
        pids = workers_of(gateway.pid)
        body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        caller = threading.Thread(target=ignore, args=(way, body), daemon=True)
        caller.start()
        until(lambda: len(upstream.requests) == 1, "it streams")
        gateway.signal(signal.SIGTERM)
        gateway.logged("stopping: 1 open requests")
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
        until(lambda: not any(is_running(pid) for pid in pids), "none is left")
        caller.join()


SOAK_S, PAUSE_S = 20.0, 1.0  # how long workers are killed, and how long both are left in peace
LATE_S = 3.0  # a batch is sent within a tenth of a second, on a busy machine within some


@pytest.mark.slow
def test_whatever_dies_nothing_is_recorded_twice_and_only_the_last_batch_is_missing(start: Start, upstream: Upstream) -> None:
    """Callers at work while one worker after the other is killed."""
    gateway = start(config_of(upstream.url), env=ENV)
    served: list[tuple[float, float, str]] = []
    kills: list[float] = []
    done = threading.Event()
    threads = [threading.Thread(target=call_until, args=(gateway, done, served)) for _ in range(3)]
    for each in threads:
        each.start()
    give_up = time.monotonic() + SOAK_S
    while time.monotonic() < give_up:
        victim = random.choice(until(lambda: ready(gateway) == 2 and workers_of(gateway.pid), "both are there"))
        kills.append(time.monotonic())
        os.kill(victim, signal.SIGKILL)
        done.wait(PAUSE_S)
    until(lambda: ready(gateway) == 2, "both are there again")
    done.set()
    for each in threads:
        each.join()
    assert gateway.end() == 0
    with closing(sqlite3.connect(gateway.folder / "router.db")) as db:
        stored = [row[0] for row in db.execute("SELECT request_id FROM calls")]
    assert len(stored) == len(set(stored)), "a call is in the log twice"
    missing = {each for _, _, each in served} - set(stored)
    late = {each for begun, at, each in served if any(begun <= kill <= at + LATE_S for kill in kills)}
    assert len(served) > 50 and missing <= late, f"{len(missing - late)} of {len(served)} are missing"


def ready(gateway: Process) -> float:
    """The workers that answer calls; 0 where the one that was called died."""
    try:
        return total(gateway, "llm_router_workers", **AS_ADMIN)
    except (OSError, HTTPException):
        return 0


def call_until(gateway: Process, done: threading.Event, served: list[tuple[float, float, str]]) -> None:
    """Calls, one after the other; of those that were answered when they began, and when they were read whole."""
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
    while not done.is_set():
        begun = time.monotonic()
        try:
            with Kept(gateway) as way:
                reply = way.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {SECRETS['plain']}")
                served.append((begun, time.monotonic(), reply.headers["x-request-id"]))
        except (OSError, HTTPException):
            continue


@pytest.mark.slow
def test_workers_end_when_the_home_is_killed(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    with to_every_worker(gateway):
        pids = workers_of(gateway.pid)
        gateway.signal(signal.SIGKILL)
        until(lambda: not any(is_running(pid) for pid in pids), "they end")


def test_folders_of_homes_that_were_killed_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{PROGRAM}-{each}" for each in ("dead", "alive", "starting")] + ["another"]
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)  # short paths for the sockets
    with unix_listener(f"{names[0]}/link"), unix_listener(f"{names[3]}/link"):
        pass  # closed without a word, as by a kill
    with unix_listener(f"{names[1]}/link"):
        remove_stale(".")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_each_worker_may_have_a_listening_socket_of_its_own(start: Start, upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url, server="reuse_port = true"), env=ENV)
    with to_every_worker(gateway) as both:
        assert [chat(way) for way in both] == [200, 200]
    assert gateway.end() == 0


ACTIVATED = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_from_the_socket_that_it_was_started_with(workers: int, tmp_path: Path, upstream: Upstream) -> None:
    """What systemd does: a caller that comes before there is a gateway waits for it, and one between two as well."""
    (tmp_path / "router.toml").write_text(config_of(upstream.url, workers=workers))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(2):
            with socket.create_connection(listening.getsockname(), WAIT_S) as early:
                early.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                process = activated(tmp_path, listening)
                reply = b"".join(iter(lambda early=early: early.recv(65536), b""))
            assert reply.startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0


def activated(folder: Path, listening: socket.socket) -> subprocess.Popen[bytes]:
    """A gateway that gets its listening socket as systemd would pass it."""
    argv = [sys.executable, "-c", ACTIVATED, str(listening.fileno()), str(GATEWAY), "-c", "router.toml"]
    with (folder / "stderr").open("ab") as err:
        return subprocess.Popen(
            argv, cwd=folder, env=environment(folder, ENV), pass_fds=(listening.fileno(),), stdin=subprocess.DEVNULL, stderr=err
        )
