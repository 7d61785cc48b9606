"""The usage log, costs that are estimated, and --max-cost: recorded when asked for, never invented, never exceeded."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
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
from llm_router_extras.database import in_file
from llm_router_extras.usage import USAGE_PUT, USAGE_SUMS

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes, links and limits as POSIX has them")
SCRIPTS = Path(c.__file__).parent
HI = [{"role": "user", "content": "Hi"}]
TOKENS = {"prompt_tokens": 1000, "completion_tokens": 500}
PRICES = {"m": {"input": 2.0, "output": 8.0}, "demo": {"input": 2.0, "output": 8.0}, "fail-500": {"input": 2.0, "output": 8.0}}
FIELDS = (
    "at", "model", "endpoint", "session", "outcome", "cached", "attempts", "prompt_tokens", "completion_tokens", "cost",
    "cost_source", "latency_s",
)  # fmt: skip


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_ROUTER_USAGE_LOG", str(tmp_path / "log" / "u.sqlite"))
    return tmp_path / "log" / "u.sqlite"


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with PRICES, for the library and the command line alike."""
    (tmp_path / "config.json").write_text(json.dumps({"prices": PRICES}))
    monkeypatch.setenv("LLM_ROUTER_CONFIG", str(tmp_path / "config.json"))
    return tmp_path / "config.json"


@pytest.fixture
def at_demo(cli: Any, demo: Any, log: Path, prices: Path) -> Callable[..., Any]:
    cli.env.update(LLM_ROUTER_BASE_URL=demo.base_url, LLM_ROUTER_USAGE_LOG=str(log), LLM_ROUTER_CONFIG=str(prices))
    return cli  # type: ignore[no-any-return]


def rows(log: Path) -> List[Dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(log)) as database:
        return [dict(zip(FIELDS, row)) for row in database.execute("SELECT * FROM calls")]


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"max_retries": 0, **options})


def told(**usage: Any) -> bytes:
    return http({**completion(), "usage": usage})


# ------------------------------------------------------------------------------------------------------------------ cost


def test_what_the_endpoint_says_counts_and_else_tokens_times_prices(serve: Any, prices: Path) -> None:
    server = serve(told(**TOKENS, cost=0.25), told(**TOKENS), told(**TOKENS, cost=0))
    costs = [(answer.cost, answer.cost_source) for answer in (client(server).chat("m", HI) for _ in range(3))]
    assert costs == [(0.25, "endpoint"), (0.006, "estimated"), (0, "endpoint")]


@pytest.mark.parametrize("model,usage", [
    ("other", TOKENS), ("m", {}), ("m", {"total_tokens": 9}), ("m", {"prompt_tokens": "9", "completion_tokens": 1}),
])  # fmt: skip
def test_an_unknown_cost_stays_unknown(serve: Any, prices: Path, model: str, usage: Any) -> None:
    answer = client(serve(told(**usage))).chat(model, HI)
    assert (answer.cost, answer.cost_source, answer.warnings) == (None, None, [])


def test_a_damaged_configuration_is_a_warning_where_only_a_cost_depends_on_it(serve: Any, prices: Path) -> None:
    prices.write_text("{")
    answer = client(serve(told(**TOKENS))).chat("m", HI)
    assert answer.text == "hello" and answer.cost is None
    assert "could not be estimated" in answer.warnings[0] and str(prices) in answer.warnings[0]
    assert client(serve(told(**TOKENS, cost=1))).chat("m", HI).warnings == []  # nobody asked for it


def test_an_estimate_is_marked_wherever_it_is_shown(cli: Any, serve: Any, prices: Path) -> None:
    cli.env.update(LLM_ROUTER_BASE_URL=serve(told(**TOKENS)).base_url, LLM_ROUTER_CONFIG=str(prices))
    ran = cli("chat", "-m", "m", "--message", "Hi", "--json", "-v")
    assert (ran.json["cost"], ran.json["cost_source"], ran.json["cached"]) == (0.006, "estimated", False)
    assert b"cost $0.006 (estimated)" in ran.err
    result = cli("compare", "--models", "m,n", "--message", "Hi", "--json").json["results"]
    assert [(row["cost"], row["cost_source"]) for row in result] == [(0.006, "estimated"), (None, None)]


# ------------------------------------------------------------------------------------------------------------------- log


def test_every_call_is_a_row_without_its_text(serve: Any, log: Path, prices: Path) -> None:
    refusal = http({"error": "a secret in an error"}, "500 No")
    server = serve(told(**TOKENS), refusal, stream(delta("a"), delta("b", "stop"), DONE))
    asker = client(server, session="night")
    asker.chat("m", [{"role": "user", "content": "a secret question"}])
    with pytest.raises(c.ServerError):
        asker.chat("m", HI)
    list(asker.chat_stream("m", HI))
    first, failed, streamed = rows(log)
    assert abs(first.pop("at") - time.time()) < 60 and first.pop("latency_s") >= 0
    assert first == {
        "model": "m", "endpoint": "127.0.0.1", "session": "night", "outcome": "ok", "cached": 0, "attempts": 1,
        "prompt_tokens": 1000, "completion_tokens": 500, "cost": 0.006, "cost_source": "estimated",
    }  # fmt: skip
    assert (failed["outcome"], failed["cost"], failed["prompt_tokens"]) == ("server_error", None, None)
    assert (streamed["outcome"], streamed["cost"]) == ("ok", None)
    data = b"".join(path.read_bytes() for path in log.parent.iterdir())
    assert b"secret" not in data and b"hello" not in data


def test_the_row_of_a_fallback_names_the_model_that_answered_and_the_number_of_attempts(serve: Any, log: Path) -> None:
    server = serve(http({"error": "x"}, "500 No"), http(completion()))
    client(server).chat("m", HI, fallback=["n"])
    assert [(row["model"], row["attempts"], row["outcome"]) for row in rows(log)] == [("n", 2, "ok")]


def test_a_call_that_was_left_or_cut_is_recorded_as_that(serve: Any, log: Path) -> None:
    server = serve(stream(delta("a"), delta("b", "stop"), DONE))
    with client(server).chat_stream("m", HI) as call:
        next(call)
    with pytest.raises(c.IncompleteError):
        list(client(serve(stream(delta("a")))).chat_stream("m", HI))
    client(server).chat_stream("m", HI).close()  # nothing was asked
    assert [row["outcome"] for row in rows(log)] == ["interrupted", "stream_cut"]


def test_a_cached_answer_is_a_row_that_cost_nothing(serve: Any, log: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LLM_ROUTER_CACHE", str(tmp_path / "a.sqlite"))
    server = serve(told(**TOKENS, cost=0.25))
    for _ in range(2):
        client(server, cache_ttl_s=60).chat("m", HI)
    _, hit = rows(log)
    assert (hit["cached"], hit["cost"], hit["cost_source"], hit["attempts"], hit["prompt_tokens"]) == (1, 0.0, "cache", 0, None)


def test_what_was_refused_before_it_was_sent_cost_nothing(serve: Any, log: Path, prices: Path) -> None:
    asker = client(serve(told(**TOKENS)), max_cost_usd=0.007)
    asker.chat("m", HI, max_tokens=500)
    with pytest.raises(c.SafetyError):
        asker.chat("m", HI, max_tokens=500)
    found = [(row["outcome"], row["attempts"], row["cost"]) for row in rows(log)]
    assert found == [("ok", 1, 0.006), ("over_budget", 0, 0.0)]


@pytest.mark.parametrize("variable,argument,recorded", [
    ("", None, False), ("0", None, False), ("1", None, True), ("1", False, False), ("", True, True), ("0", True, True),
])  # fmt: skip
def test_it_is_off_until_it_is_turned_on(
    serve: Any, tmp_path: Path, monkeypatch: Any, variable: str, argument: Any, recorded: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LLM_ROUTER_USAGE_LOG", variable)
    client(serve(http(completion())), usage_log=argument).chat("m", HI)
    assert (tmp_path / "llm-router" / "usage.sqlite").exists() is recorded


@posix_only
def test_the_file_is_its_owners_alone_in_the_users_state_directory(cli: Any, demo: Any, tmp_path: Path) -> None:
    words = ["chat", "-m", "demo", "--base-url", demo.base_url, "--message", "Hi", "--usage-log"]
    assert cli(*words, env={"HOME": str(tmp_path / "me")}).err == b""
    file = tmp_path / "me" / ".local" / "state" / "llm-router" / "usage.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("path", ["/dev/full", "/proc/nobody/u", "relative.sqlite", "true", "LINK", "FOLDER"])
def test_a_log_that_cannot_be_written_is_a_warning(at_demo: Any, tmp_path: Path, path: str) -> None:
    (tmp_path / "LINK").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "FOLDER").mkdir()
    path = str(tmp_path / path) if path.isupper() else path
    ran = at_demo("chat", "-m", "demo", "--message", "Hi", "--json", env={"LLM_ROUTER_USAGE_LOG": path})
    assert ran.code == 0 and ran.json["ok"] and path in ran.json["warnings"][0] and b"could not be used" in ran.err
    failed = at_demo("chat", "-m", "fail-401", "--message", "Hi", env={"LLM_ROUTER_USAGE_LOG": path})
    assert failed.code == 3 and b"could not be used" in failed.err
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "relative.sqlite").exists()


@pytest.mark.slow
@posix_only
def test_on_a_full_disk_the_answer_comes_with_a_warning(at_demo: Any, tmp_path: Path, log: Path) -> None:
    at_demo("chat", "-m", "demo", "--message", "Hi")
    words = ["chat", "-m", "demo", "--message", "Hi", "--stream", "--json"]
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    code = f"{limited}; sys.path.insert(0, {str(SCRIPTS)!r}); import llm_router_client as c; sys.exit(c.main({words!r}))"
    ran = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=at_demo.env, capture_output=True, timeout=30)
    assert ran.returncode == 0 and str(log) in json.loads(ran.stdout.splitlines()[-1])["warnings"][0]
    at_demo("chat", "-m", "demo", "--message", "Hi")
    assert len(rows(log)) == 2


@pytest.mark.slow
def test_a_damaged_log_is_moved_aside_and_the_next_call_is_recorded(at_demo: Any, log: Path) -> None:
    log.parent.mkdir()
    log.write_bytes(b"no database at all\n" * 100)
    assert b"moved to" in at_demo("chat", "-m", "demo", "--message", "Hi").err
    assert at_demo("chat", "-m", "demo", "--message", "Hi").err == b"" and len(rows(log)) == 1
    assert next(log.parent.glob("*.damaged-*")).read_bytes().startswith(b"no database")


@pytest.mark.slow
def test_processes_and_threads_that_begin_it_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "u.sqlite"
    code = f"""import sys, threading; sys.path.insert(0, {str(SCRIPTS)!r}); from llm_router_extras import database, usage
sys.stdin.readline()
threads = [threading.Thread(target=database.in_file, args=({str(path)!r}, usage.USAGE_PUT, *[1] * 12)) for _ in range(8)]
[step(thread) for step in (threading.Thread.start, threading.Thread.join) for thread in threads]"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    running = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(5)]  # type: ignore[call-overload]
    time.sleep(0.3)  # until they wait: the nearer together, the harder
    assert [each.communicate(b"go\n", timeout=30)[0] for each in running] == [b""] * 5
    assert len(rows(path)) == 40 and [each.name for each in tmp_path.iterdir()] == ["u.sqlite"]


@pytest.mark.slow
def test_processes_and_threads_share_it(at_demo: Any, log: Path, serve: Any) -> None:
    running = [at_demo.start("chat", "-m", "demo", "--message", "Hi") for _ in range(8)]
    asker = client(serve(http(completion())))
    threads = [threading.Thread(target=asker.chat, args=("m", HI)) for _ in range(24)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    assert [each.communicate(timeout=30)[1] for each in running] == [b""] * 8
    assert len(rows(log)) == 32


# ----------------------------------------------------------------------------------------------------------- usage command


def fill(log: Path) -> None:
    now = time.time()
    for days, model, session, outcome, cost, source in (
        (0, "b", "x", "ok", 0.5, "endpoint"), (0, "a", None, "ok", 0.25, "estimated"), (0, "a", "x", "timeout", None, None),
        (3, "a", "y", "ok", 1.0, "endpoint"), (30, "old", "y", "ok", 9.0, "endpoint"),
    ):  # fmt: skip
        values = (now - days * 86400, model, "h", session, outcome, False, 1, 10, 5, cost, source, 0.5)
        in_file(str(log), USAGE_PUT, *values)


def test_usage_says_which_calls_there_are_none_of(at_demo: Any, log: Path) -> None:
    assert b"holds no calls; " in at_demo("usage").err
    assert b"holds no calls of the last 24h; " in at_demo("usage", "--since", "24h").err


@pytest.mark.slow
def test_usage_sums_up_by_model_day_and_session(at_demo: Any, log: Path) -> None:
    fill(log)
    told = at_demo("usage", "--since", "7d", "--json").json
    assert (told["ok"], told["by"], told["file"]) == (True, "model", str(log))
    assert told["rows"][0] == {
        "model": "a", "calls": 3, "failed": 1, "cached": 0, "prompt_tokens": 30, "completion_tokens": 15, "cost": 1.25,
        "estimated": 0.25, "cost_unknown": 1, "latency_s": 0.5,
    }  # fmt: skip
    assert (told["total"]["calls"], told["total"]["cost"]) == (4, 1.75)
    assert [row["session"] for row in at_demo("usage", "--by", "session", "--json").json["rows"]] == ["none", "x", "y"]
    days = [row["day"] for row in at_demo("usage", "--by", "day", "--json").json["rows"]]
    assert days == sorted(days) and len(days) == 3 and days[-1] == time.strftime("%Y-%m-%d", time.gmtime())
    assert at_demo("usage", "--json").json["total"]["calls"] == 5
    assert at_demo("usage", "--since", "1h", "--json").json["total"]["calls"] == 3


@pytest.mark.slow
def test_usage_as_a_table_and_as_csv(at_demo: Any, log: Path) -> None:
    fill(log)
    in_file(str(log), USAGE_PUT, time.time(), "a", "h", 'me, "\x1b[31m', "ok", False, 1, 1, 1, 0.5, "endpoint", 0.5)
    table = at_demo("usage", "--by", "model", "--since", "7d").out.decode().splitlines()
    assert table[0].split() == ["model", *USAGE_SUMS] and table[1].split()[:3] == ["a", "4", "1"]
    assert table[-1].split()[0] == "total" and len({line.index(line.split()[1]) for line in table}) == 1
    read = list(csv.reader(io.StringIO(at_demo("usage", "--by", "session", "--csv").out.decode())))
    assert read[0] == ["session", *USAGE_SUMS] and {len(row) for row in read} == {10}
    assert [row[0] for row in read[1:]] == ["none", 'me, "', "x", "y", "total"]


@pytest.mark.slow
def test_usage_of_nothing_says_how_to_record(at_demo: Any, log: Path) -> None:
    ran = at_demo("usage")
    assert ran.code == 0 and b"LLM_ROUTER_USAGE_LOG=1" in ran.err and not log.exists()
    assert at_demo("usage", "--json").json["total"] is None
    assert at_demo("usage", "--csv").out.decode().strip() == ",".join(["model", *USAGE_SUMS])


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ("--by", "colour"), ("--since", "yesterday"), ("--since="), ("--json", "--csv"), ("--by",), ("today",), ("-m", "a"),
])  # fmt: skip
def test_usage_says_what_it_takes(at_demo: Any, words: Any) -> None:
    ran = at_demo("usage", *([words] if isinstance(words, str) else words))
    assert ran.code == 2 and b"Traceback" not in ran.err


def test_usage_of_a_damaged_file_fails_once_and_says_where_it_is(at_demo: Any, log: Path) -> None:
    log.parent.mkdir()
    log.write_bytes(b"\0" * 4096 + b"x")
    ran = at_demo("usage")
    assert ran.code == 1 and b"moved to" in ran.err and b"Traceback" not in ran.err
    assert at_demo("usage").code == 0


@pytest.mark.slow
def test_the_session_comes_from_the_option_else_the_environment(at_demo: Any, log: Path) -> None:
    at_demo("chat", "-m", "demo", "--message", "Hi", "--session", "one", env={"LLM_ROUTER_SESSION": "two"})
    at_demo("chat", "-m", "demo", "--message", "Hi", env={"LLM_ROUTER_SESSION": "two"})
    at_demo("compare", "--models", "demo", "--message", "Hi")
    assert [row["session"] for row in rows(log)] == ["one", "two", None]


# ---------------------------------------------------------------------------------------------------------------- budget


@pytest.mark.slow
def test_a_model_without_a_price_is_refused_under_a_cap_before_anything_is_sent(at_demo: Any, demo: Any) -> None:
    for words in (("-m", "demo-reasoning"), ("-m", "demo", "--fallback", "demo-reasoning")):
        ran = at_demo("chat", *words, "--message", "Hi", "--max-cost", "1", "--json")
        assert ran.code == 8 and ran.json["error"]["code"] == "refused_locally" and not demo.requests
        assert "demo-reasoning has no price" in ran.json["error"]["message"] and "prices" in ran.json["error"]["next_step"]
    assert at_demo("chat", "-m", "demo-reasoning", "--message", "Hi").code == 0


def test_a_damaged_configuration_is_an_error_under_a_cap(at_demo: Any, demo: Any, prices: Path) -> None:
    prices.write_text('{"prices": {"demo": {"input": "free", "output": 1}}}')
    ran = at_demo("chat", "-m", "demo", "--message", "Hi", "--max-cost", "1")
    assert ran.code == 2 and b"prices.demo.input" in ran.err and not demo.requests


@pytest.mark.slow
def test_what_may_cost_more_than_the_cap_is_not_sent(at_demo: Any, demo: Any) -> None:
    ran = at_demo("chat", "-m", "demo", "--message", "Hi", "--max-cost", "0.005", "--json")  # 1,000 tokens for $8 a million
    assert ran.code == 8 and ran.json["error"]["code"] == "over_budget" and not demo.requests
    assert ran.json["error"]["next_step"].startswith("Raise --max-cost, lower --max-tokens") and ran.json["attempts"] == []
    assert at_demo("chat", "-m", "demo", "--message", "Hi", "--max-cost", "0.005", "--max-tokens", "100").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("amount,code", [("0", 8), ("-1", 2), ("nan", 2), ("inf", 2), ("much", 2), ("1e9", 2), ("0.5", 0)])
def test_a_cap_is_an_amount(at_demo: Any, demo: Any, amount: str, code: int) -> None:
    ran = at_demo("chat", "-m", "demo", "--message", "Hi", f"--max-cost={amount}")
    assert ran.code == code and bool(demo.requests) == (code == 0) and b"Traceback" not in ran.err


def test_retries_that_may_have_been_billed_count_and_the_next_is_refused(serve: Any, prices: Path, still: Any) -> None:
    error = {"error": {"message": "overloaded"}}
    server = serve(http(error))  # inside a 200: the model ran
    asker = client(server, max_cost_usd=0.02, max_retries=9, transport=still)
    with pytest.raises(c.SafetyError) as caught:
        asker.chat("m", HI, max_tokens=1000)
    assert caught.value.code == "over_budget" and len(server.requests) == 2
    assert [record["cause"] for record in caught.value.attempts] == ["overloaded"] * 2
    assert asker.budget is not None and 0.016 < asker.budget.spent < 0.02 and asker.budget.reserved == 0.0


def test_refusals_cost_nothing_and_fallbacks_are_counted(serve: Any, prices: Path) -> None:
    server = serve(http({"error": "x"}, "500 No"), told(**TOKENS, cost=0.01))
    asker = client(server, max_cost_usd=0.02)
    answer = asker.chat("m", HI, fallback=["demo"])
    assert answer.model_used == "demo" and asker.budget is not None and asker.budget.spent == 0.01
    with pytest.raises(c.SafetyError):
        asker.chat("m", HI, max_tokens=1300)


def test_the_cap_is_for_all_calls_of_a_client_streams_and_threads_included(serve: Any, prices: Path) -> None:
    chunk = b'data: {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}\n\n'
    server = serve(stream(delta("a"), delta("b", "stop"), chunk, DONE))
    asker = client(server, max_cost_usd=0.02)
    assert [piece for _ in range(2) for piece in asker.chat_stream("m", HI)] == ["a", "b"] * 2
    assert asker.budget is not None and asker.budget.spent == pytest.approx(0.012)
    with pytest.raises(c.SafetyError):
        list(asker.chat_stream("m", HI, max_tokens=1200))
    results = asker.compare_models(["m", "demo"], "Hi", max_tokens=600)  # one fits, and then the other does not
    assert sorted(str(result["error"] and result["error"]["code"]) for result in results.values()) == ["None", "over_budget"]


def test_a_stream_that_was_left_costs_what_was_set_aside(serve: Any, prices: Path) -> None:
    asker = client(serve(stream(delta("a"), delta("b", "stop"), DONE)), max_cost_usd=1.0)
    with asker.chat_stream("m", HI, max_tokens=1000) as call:
        next(call)
        assert asker.budget is not None and asker.budget.reserved > 0.008
    assert asker.budget.reserved == 0.0 and asker.budget.spent > 0.008


def test_a_cached_answer_is_given_where_nothing_is_left(serve: Any, prices: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LLM_ROUTER_CACHE", str(tmp_path / "a.sqlite"))
    server = serve(told(**TOKENS, cost=0.25))
    client(server, cache_ttl_s=60).chat("m", HI)
    assert client(server, cache_ttl_s=60, max_cost_usd=0.0).chat("m", HI).cached


def test_listing_models_needs_no_price(at_demo: Any) -> None:
    with c.LLMRouterClient(base_url=at_demo.env["LLM_ROUTER_BASE_URL"], max_cost_usd=0.0) as asker:
        assert asker.list_models()


@pytest.mark.parametrize("amount", [-1, "1", True, float("nan"), 1e9])
def test_a_cap_that_is_no_amount_is_refused_in_python(amount: Any) -> None:
    with pytest.raises(c.UsageError, match="max_cost_usd"):
        c.LLMRouterClient(max_cost_usd=amount)
