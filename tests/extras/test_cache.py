"""The cache: --cache AGE, cache_ttl_s=, `cache stats` and `cache clear`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from raw_server import DONE, completion, delta, http, stream

import llm_router_client as c
from llm_router_extras import cache

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes, links, signals and limits as POSIX has them")
SCRIPTS = Path(c.__file__).parent
HI = [{"role": "user", "content": "Hi"}]
OTHER = "another-" + "account"  # no key at all
USAGE = b'data: {"choices": [], "usage": {"total_tokens": 5, "cost": 0.25, "credits_remaining": 7}}\n\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache file of this test, for the library and (through the fixture `cached`) for the command line."""
    monkeypatch.setenv("LLM_ROUTER_CACHE", str(tmp_path / "cache" / "a.sqlite"))
    return tmp_path / "cache" / "a.sqlite"


@pytest.fixture
def client(file: Path) -> Callable[..., c.LLMRouterClient]:
    def make(server: Any, **options: Any) -> c.LLMRouterClient:
        return c.LLMRouterClient(base_url=server.base_url, **{"cache_ttl_s": 60.0, "max_retries": 0, **options})

    return make


@pytest.fixture
def cached(cli: Any, demo: Any, file: Path) -> Callable[..., Any]:
    """cached("Hi", ...) runs chat with --cache 1h against the mock server."""
    cli.env.update(LLM_ROUTER_BASE_URL=demo.base_url, LLM_ROUTER_CACHE=str(file))

    def run(text: str, *more: str, **options: Any) -> Any:
        return cli("chat", "-m", "demo", "--message", text, "--cache", "1h", *more, **options)

    return run


def asked(server: Any) -> int:
    return len(server.requests)


def query(file: Path, sql: str, *values: Any) -> List[Any]:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        return database.execute(sql, values).fetchall()


# ------------------------------------------------------------------------------------------------------------------ hits


def test_the_same_question_is_answered_again_for_nothing(client: Any, serve: Any) -> None:
    server = serve(http({**completion("one"), "credits_remaining": 5}), http(completion("two")))
    first, again = (client(server).chat("m", HI) for _ in range(2))
    assert asked(server) == 1 and (first.text, first.cached, first.cost, first.cost_source) == ("one", False, 0.5, "endpoint")
    assert (again.text, again.cached, again.cost, again.cost_source) == ("one", True, 0.0, "cache")
    assert dict(again) == dict(first) and again.raw == first.raw and again.usage == first.usage
    assert (first.credits_remaining, again.credits_remaining) == (5, None)  # what was left then is not what is left now
    assert len(first.attempts) == 1 and again.attempts == [] and again.warnings == []


def test_a_stream_comes_again_with_the_same_text_and_events(client: Any, serve: Any) -> None:
    pieces = [delta("caf\u00e9 "), delta(None, reasoning_content="hm"), delta("\U0001f600"), delta(None, "stop"), USAGE, DONE]
    server = serve(stream(*pieces), stream(delta("other", "stop"), DONE))
    calls = [client(server).chat_stream("m", HI) for _ in range(2)]
    first, again = (list(call.events()) for call in calls)
    assert first == again and asked(server) == 1
    assert "".join(event.get("text", "") for event in first if event["type"] == "text") == "caf\u00e9 \U0001f600"
    assert dict(calls[0].response) == dict(calls[1].response) and calls[1].response.cached
    assert calls[1].response.cost == 0.0 and calls[1].response.first_s is not None


def test_a_model_that_a_group_of_the_gateway_chose_is_no_surprise_where_the_answer_is_kept(client: Any, serve: Any) -> None:
    body = {**completion("one"), "model": "qwen-max"}
    for headers, warnings in (({"x-llm-router-model": "qwen/qwen-max"}, 0), ({}, 1)):
        server = serve(http(body, **headers))
        for cached in (False, True):
            answer = client(server).chat("gpt-4.1", HI)
            assert len(answer.warnings) == warnings and answer.cached is cached


def test_geminis_format_is_cached_too(client: Any, serve: Any) -> None:
    part = {"candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}]}
    server = serve(http(part))
    answers = [client(server).generate_content("m", "Hi") for _ in range(2)]
    assert asked(server) == 1 and [answer.cached for answer in answers] == [False, True] and answers[1].text == "yes"


def test_each_call_may_bring_its_own_age_or_none(file: Path, serve: Any) -> None:
    server = serve(http(completion()))
    plain = c.LLMRouterClient(base_url=server.base_url)
    plain.chat("m", HI)
    assert not file.exists()
    plain.chat("m", HI, cache_ttl_s=60)
    assert plain.chat("m", HI, cache_ttl_s=60).cached and "cache_ttl_s" not in server.bodies()[-1]
    always = c.LLMRouterClient(base_url=server.base_url, cache_ttl_s=60)
    assert not always.chat("m", HI, cache_ttl_s=None).cached and asked(server) == 3


def test_an_answer_that_is_too_old_or_from_the_future_is_fetched_anew(client: Any, serve: Any) -> None:
    server, now = serve(http(completion())), [1000.0]
    asker = client(server, cache_ttl_s=60)
    asker.transport.unix = lambda: now[0]
    for moment, hit in ((1000.0, False), (1060.0, True), (1060.1, False), (1120.0, True), (900.0, False), (950.0, True)):
        now[0] = moment
        assert asker.chat("m", HI).cached is hit, moment


def test_a_fallback_is_fetched_anew_only_after_the_first_model(client: Any, serve: Any) -> None:
    server = serve(http({"error": "no"}, "500 No"), http(completion("b")), http({"error": "no"}, "500 No"))
    for hit in (False, True):
        answer = client(server).chat("a", HI, fallback=["b"])
        assert (answer.text, answer.cached, answer.model_used) == ("b", hit, "b")
        assert [record["cause"] for record in answer.attempts] == ["server_error"] + ["ok"] * (not hit)
    assert asked(server) == 3


def test_a_repaired_request_is_kept_as_it_was_answered(client: Any, serve: Any) -> None:
    refusal = http({"error": {"message": "max_tokens is not supported"}}, "400 Bad Request")
    server = serve(refusal, http(completion()), refusal)
    answers = [client(server).chat("m", HI, max_tokens=5) for _ in range(2)]
    assert [answer.cached for answer in answers] == [False, True] and answers[1].warnings == answers[0].warnings != []


# ---------------------------------------------------------------------------------------------------------- what it is by


def test_another_request_endpoint_account_or_header_never_gets_it(client: Any, serve: Any, monkeypatch: Any) -> None:
    server, other = serve(http(completion())), serve(http(completion()))
    assert not client(server).chat("m", HI).cached and client(server).chat("m", HI).cached
    variants: List[Dict[str, Any]] = [
        {"model": "n"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"temperature": 0},
        {"temperature": 1},
        {"seed": 1},
        {"max_tokens": 9},
        {"stop": ["x"]},
        {"n": 1},
        {"messages": [{"role": "system", "content": "s"}, *HI]},
    ]
    for variant in variants:
        assert not client(server).chat(**{"model": "m", "messages": HI, **variant}).cached, variant
    assert not client(other).chat("m", HI).cached
    assert not client(server, headers={"X-Team": "a"}).chat("m", HI).cached
    assert not client(server, headers={"X-Team": "b"}).chat("m", HI).cached
    assert not c.LLMRouterClient(OTHER, server.base_url, cache_ttl_s=60).chat("m", HI).cached
    assert not c.LLMRouterClient(OTHER[::-1], server.base_url, cache_ttl_s=60).chat("m", HI).cached
    monkeypatch.setattr(cache, "VERSION", "0.0.0")
    assert not client(server).chat("m", HI).cached
    monkeypatch.undo()


def test_a_plain_and_a_streamed_answer_are_two(client: Any, serve: Any) -> None:
    server = serve(http(completion("plain")), stream(delta("streamed", "stop"), DONE))
    assert client(server).chat("m", HI).text == "plain"
    assert "".join(client(server).chat_stream("m", HI)) == "streamed"


def test_neither_key_nor_prompt_is_in_the_file(file: Path, serve: Any) -> None:
    with c.LLMRouterClient(OTHER, serve(http(completion("an answer"))).base_url, cache_ttl_s=60) as asker:
        asker.chat("m", [{"role": "user", "content": "a very private question"}])
    data = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert data and OTHER.encode() not in data and b"private question" not in data


# ------------------------------------------------------------------------------------------------------ what is never kept


@pytest.mark.parametrize("replies", [
    [http({"error": "x"}, "500 No")], [http({"error": "x"}, "400 No")], [http({"error": {"message": "inside"}})],
    [http(b"<html>")], [http(completion("half", None))], [http(completion("cut", "length"))], [http(completion("", "stop"))],
    [http(completion("no", "content_filter"))], [http(completion("no"))[:-9]],
])  # fmt: skip
def test_no_error_and_no_incomplete_answer_is_kept(client: Any, serve: Any, replies: List[bytes]) -> None:
    server = serve(*replies, http(completion("whole")))
    for _ in range(2):
        try:
            assert not client(server).chat("m", HI).cached
        except c.LLMRouterError:
            pass
    assert asked(server) == 2


@pytest.mark.parametrize("pieces", [
    [delta("cut")], [delta("cut", "length"), DONE], [delta("a"), b'data: {"error": {"message": "x"}}\n\n', DONE],
    [delta("a"), b"data: {broken\n\n", DONE], [delta("no finish reason"), DONE], [delta("x", "content_filter"), DONE],
])  # fmt: skip
def test_no_cut_or_failed_stream_is_kept(client: Any, serve: Any, pieces: List[bytes]) -> None:
    server = serve(stream(*pieces))
    for _ in range(2):
        try:
            list(client(server, lenient_end=True).chat_stream("m", HI))
        except c.LLMRouterError:
            pass
    assert asked(server) == 2


def test_a_stream_that_its_reader_left_is_not_kept(client: Any, serve: Any) -> None:
    server = serve(stream(delta("a"), delta("b", "stop"), DONE))
    for _ in range(2):
        with client(server).chat_stream("m", HI) as call:
            assert next(call) == "a"
    assert asked(server) == 2


def test_an_answer_over_the_limit_is_handed_over_and_not_kept(client: Any, serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cache, "MAX_CACHED_BYTES", 400)
    server = serve(http(completion("x" * 500)), http(completion("y" * 500)), http(completion("z")))
    assert [client(server).chat("m", HI).text[0] for _ in range(4)] == ["x", "y", "z", "z"] and asked(server) == 3


# ---------------------------------------------------------------------------------------------------- damaged, full, shared


def damage(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "no database":
        data[:] = b"this is my shopping list\n" * 40
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "zeros":
        data[100:] = bytes(len(data) - 100)
    else:
        data[:100] = os.urandom(100)
    file.write_bytes(data)


@pytest.mark.parametrize("how", ["no database", "cut", "zeros", "noise"])
def test_a_damaged_file_is_moved_aside_with_a_note_and_replaced(client: Any, serve: Any, file: Path, how: str) -> None:
    server = serve(http(completion()))
    client(server).chat("m", HI)
    damage(file, how)
    damaged = file.read_bytes()
    answer = client(server).chat("m", HI)
    assert answer.text == "hello" and not answer.cached and asked(server) == 2
    [warning] = answer.warnings
    assert "moved to" in warning and str(file) in warning
    [aside] = [path for path in file.parent.glob("*.damaged-*") if path.name[-1].isdigit()]
    assert aside.read_bytes() == damaged
    again = client(server).chat("m", HI)
    assert again.cached and again.warnings == []


def test_a_changed_answer_is_noticed_and_fetched_anew(client: Any, serve: Any, file: Path) -> None:
    server = serve(http(completion()))
    client(server).chat("m", HI)
    for body in (b"not what was kept", "text", 7):
        query(file, "UPDATE answers SET body = ?", body)
        answer = client(server).chat("m", HI)
        assert not answer.cached and "was damaged" in answer.warnings[0]
    assert client(server).chat("m", HI).cached


def test_another_programs_database_is_not_harmed(client: Any, serve: Any, file: Path) -> None:
    file.parent.mkdir()
    query(file, "CREATE TABLE answers (question TEXT)")
    query(file, "INSERT INTO answers VALUES ('mine')")
    before = file.read_bytes()
    answer = client(serve(http(completion()))).chat("m", HI)
    assert answer.text == "hello" and "could not be used" in answer.warnings[0]
    assert file.read_bytes() == before


@posix_only
def test_a_file_that_cannot_be_used_is_a_warning(client: Any, serve: Any, file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    server = serve(http(completion()))
    (tmp_path / "real").touch()
    for make in (lambda: file.mkdir(), lambda: file.symlink_to(tmp_path / "real"), lambda: os.mkfifo(file),
                 lambda: file.symlink_to("/dev/full")):  # fmt: skip
        make()
        answer = client(server).chat("m", HI)
        assert answer.text == "hello" and len(answer.warnings) == 1 and str(file) in answer.warnings[0], answer.warnings
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    assert (tmp_path / "real").read_bytes() == b""


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("limit", [0, 100, 8192])
def test_on_a_full_disk_the_answer_comes_with_a_warning(cached: Any, cli: Any, tmp_path: Path, limit: int) -> None:
    words = ["chat", "-m", "demo", "--message", "word " * 9000, "--cache", "1h", "--json"]
    limited = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    code = f"{limited}; sys.path.insert(0, {str(SCRIPTS)!r}); import llm_router_client as c; sys.exit(c.main({words!r}))"
    ran = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=cli.env, capture_output=True, timeout=30)
    result = json.loads(ran.stdout)
    assert ran.returncode == 0 and result["ok"] and len(result["text"]) > 9000 and result["warnings"], ran
    assert cached("Hi").code == 0 and cached("Hi", "--json").json["cached"]  # room again: nothing is broken


def test_a_file_that_another_process_holds_is_a_warning(client: Any, serve: Any, file: Path, monkeypatch: Any) -> None:
    server = serve(http(completion()))
    client(server).chat("m", HI)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout, **more: real(path, timeout=0.05, **more))
    holder = real(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    answer = client(server).chat("n", HI)
    assert answer.text == "hello" and "locked" in answer.warnings[0]
    holder.close()


def test_a_python_without_sqlite_answers_with_a_warning(client: Any, serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    answer = client(serve(http(completion()))).chat("m", HI)
    assert answer.text == "hello" and "without sqlite3" in answer.warnings[0]


@pytest.mark.slow
def test_the_older_half_goes_when_the_file_is_full(client: Any, serve: Any, file: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(cache, "CACHE_TRIM", cache.CACHE_TRIM.replace("61440", "64"))  # 256 KiB
    server = serve(lambda request: http(completion(os.urandom(10_000).hex())))
    asker = client(server)
    for number in range(40):
        asker.transport.unix = lambda number=number: 1000.0 + number
        assert asker.chat("m", HI, seed=number).warnings == []
    assert file.stat().st_size < 600_000
    asker.transport.unix = lambda: 1040.0
    hits = [asker.chat("m", HI, seed=number, cache_ttl_s=1e6).cached for number in (39, 38, 0)]
    assert hits == [True, True, False]


def test_threads_share_it(client: Any, serve: Any) -> None:
    server = serve(http(completion()))
    asker, answers = client(server), []
    threads = [threading.Thread(target=lambda n=n: answers.append(asker.chat("m", HI, seed=n % 5))) for n in range(40)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    assert len(answers) == 40 and not [answer.warnings for answer in answers if answer.warnings]
    assert all(asker.chat("m", HI, seed=n).cached for n in range(5))


@pytest.mark.slow
def test_processes_that_begin_it_together_share_it(cli: Any, cached: Any, demo: Any) -> None:
    words = ["chat", "-m", "demo", "--cache", "1h", "--json", "--message"]
    running = [cli.start(*words, f"number {number % 3}") for number in range(9)]
    results = [json.loads(each.communicate(timeout=30)[0]) for each in running]
    assert [result["warnings"] for result in results] == [[]] * 9
    assert all(cached(f"number {number}", "--json").json["cached"] for number in range(3))


@pytest.mark.slow
@posix_only
def test_killed_while_it_writes_it_is_whole(cli: Any, cached: Any, file: Path) -> None:
    code = f"""import os, sys; sys.path.insert(0, {str(SCRIPTS)!r}); from llm_router_extras import cache, database
for number in range(10**6):
    database.in_file(cache.cache_file(), cache.CACHE_PUT, os.urandom(32), 1.0, os.urandom(20000), b"")
    print(number, flush=True)"""
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", code], env=cli.env, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"0\n"
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert cached("Hi", "--json").json["warnings"] == [] and cached("Hi", "--json").json["cached"]
    assert query(file, "PRAGMA integrity_check") == [("ok",)]


# ---------------------------------------------------------------------------------------------------------- command line


@pytest.mark.slow
def test_the_command_line_says_what_came_out_of_the_cache(cached: Any, demo: Any) -> None:
    plain = [cached("Hi", "-v") for _ in range(2)]
    assert plain[0].out == plain[1].out and [run.code for run in plain] == [0, 0] and asked(demo) == 1
    assert b"(endpoint), credits left" in plain[0].err and b"cost $0 (cache)" in plain[1].err and b"credits" not in plain[1].err
    streams = [cached("Hi", "--stream", "--json").events for _ in range(2)]
    assert streams[0][:-1] == streams[1][:-1] and [events[-1]["cached"] for events in streams] == [False, True]
    assert cached("Hi", "--raw").out == cached("Hi", "--raw").out and asked(demo) == 2


@pytest.mark.slow
def test_compare_and_vision_take_it_too(cli: Any, cached: Any, demo: Any) -> None:
    words = ["compare", "--models", "demo,demo-reasoning", "--message", "Hi", "--cache", "1h", "--json"]
    for hit in (False, True):
        rows = cli(*words).json["results"]
        assert [(row["cached"], row["cost_source"]) for row in rows] == [(hit, "cache" if hit else "endpoint")] * 2
    words = ["vision", "-m", "demo", "--image", "https://example.com/a.png", "--prompt", "What?", "--cache", "1h", "--json"]
    assert [cli(*words).json["cached"] for _ in range(2)] == [False, True]


@posix_only
def test_it_lies_in_the_users_cache_directory_readable_by_its_owner_alone(cli: Any, demo: Any, tmp_path: Path) -> None:
    words = ["chat", "-m", "demo", "--base-url", demo.base_url, "--message", "Hi", "--cache", "1h"]
    homes = {"HOME": str(tmp_path / "me"), "XDG_CACHE_HOME": "relative/counts/not"}
    assert cli(*words, env=homes).err == b""
    assert cli(*words, env={**homes, "XDG_CACHE_HOME": str(tmp_path / "xdg")}).err == b""
    for folder in (tmp_path / "me" / ".cache", tmp_path / "xdg"):
        file = folder / "llm-router" / "answers.sqlite"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [path.name for path in file.parent.iterdir()] == ["answers.sqlite"]


def test_without_the_option_nothing_is_written_and_sqlite_is_not_imported(cli: Any, demo: Any, tmp_path: Path) -> None:
    words = ["chat", "-m", "demo", "--base-url", demo.base_url, "--message", "Hi"]
    code = f"""import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import llm_router_client as c
code = c.main({words!r}); sys.exit(code or "sqlite3" in sys.modules)"""
    home = tmp_path / "me"
    home.mkdir()
    environment = {**cli.env, "HOME": str(home)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=30)
    assert ran.returncode == 0, ran
    assert list(home.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("age", ["", "24", "1y", "-1h", "0s"])
def test_an_age_that_is_none_is_wrong_usage(cli: Any, demo: Any, age: str) -> None:
    ran = cli("chat", "-m", "demo", "--base-url", demo.base_url, "--message", "Hi", f"--cache={age}")
    assert ran.code == 2 and b"--cache" in ran.err and not demo.requests


@pytest.mark.parametrize("age", [0, -1, "24h", float("nan"), True])
def test_an_age_that_is_none_is_refused_in_python(serve: Any, file: Path, age: Any) -> None:
    server = serve(http(completion()))
    with pytest.raises(c.UsageError):
        c.LLMRouterClient(base_url=server.base_url, cache_ttl_s=age).chat("m", HI)
    with pytest.raises(c.UsageError):
        c.LLMRouterClient(base_url=server.base_url).chat("m", HI, cache_ttl_s=age)
    assert asked(server) == 0


@pytest.mark.slow
def test_stats_and_clear(cli: Any, cached: Any, file: Path) -> None:
    empty = cli("cache", "stats", "--json").json
    assert (empty["answers"], empty["bytes"], empty["oldest"], empty["cleared"]) == (0, 0, None, False) and not file.exists()
    assert cli("cache", "clear").code == 0 and not file.exists()
    cached("Hi")
    cached("Ho")
    told = cli("cache", "stats", "--json").json
    assert told["answers"] == 2 and told["bytes"] > 0 and told["file"] == str(file)
    assert time.time() - 60 < told["oldest"] <= told["newest"] <= time.time()
    assert cli("cache", "stats").out.decode().startswith(f"{file}: 2 answers, ")
    assert cli("cache", "clear").out.decode().startswith(f"{file}: 2 answers taken out, ")
    assert cli("cache", "stats", "--json").json["answers"] == 0 and not cached("Hi", "--json").json["cached"]


def test_clear_takes_answers_from_the_disk(cli: Any, client: Any, serve: Any, cached: Any, file: Path) -> None:
    mark = os.urandom(3000).hex()
    client(serve(http(completion(mark)))).chat("m", HI)
    [(body,)] = query(file, "SELECT body FROM answers")
    blob = body[20:200]
    assert blob in file.read_bytes() + b"".join(path.read_bytes() for path in file.parent.glob("*-wal"))
    assert cli("cache", "clear").code == 0
    assert blob not in b"".join(path.read_bytes() for path in file.parent.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("words,hint", [
    ((), b"cache stats"), (("stats", "clear"), b"cache stats"), (("claer",), b"clear"), (("--clear",), b"See cache --help"),
    (("stats", "--cache", "1h"), b"unknown argument"),
])  # fmt: skip
def test_cache_says_what_it_takes(cli: Any, words: Any, hint: bytes) -> None:
    ran = cli("cache", *words)
    assert ran.code == 2 and hint in ran.err


@pytest.mark.slow
def test_stats_of_a_damaged_file_fail_once_and_say_where_it_is(cli: Any, cached: Any, file: Path) -> None:
    cached("Hi")
    damage(file, "no database")
    ran = cli("cache", "stats", "--json")
    assert ran.code == 1 and b"moved to" in ran.err
    assert cli("cache", "stats").code == 0
