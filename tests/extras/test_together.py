"""Where two features meet: routing, schemas and tools with cache, budget, usage log, conversations and --dry-run."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from raw_server import DONE, RawServer, completion, delta, http, stream

import llm_router_client as c
from llm_router_extras import cache

Serve = Callable[..., RawServer]
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
WISH = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
GOOD, BAD = http(completion('{"n": 1}')), http(completion('{"n": "x"}'))
PRICE = {"input": 2.0, "output": 8.0}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Any) -> Path:
    """Cache, usage log and configuration of this test, for the library and the command line."""
    (tmp_path / "config.json").write_text(json.dumps({"prices": dict.fromkeys(("gpt-4o", "m", "demo"), PRICE)}))
    for name, file in (("CACHE", "a.sqlite"), ("CONFIG", "config.json"), ("USAGE_LOG", "u.sqlite")):
        monkeypatch.setenv(f"LLM_ROUTER_{name}", str(tmp_path / file))
        cli.env[f"LLM_ROUTER_{name}"] = str(tmp_path / file)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return tmp_path


@pytest.fixture
def at(cli: Any) -> Callable[..., Any]:
    """at(server, "chat", ...) runs the command line with that server for an endpoint."""

    def run(server: Any, *words: Any) -> Any:
        cli.env["LLM_ROUTER_BASE_URL"] = server.base_url
        return cli(*words)

    return run


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"max_retries": 0, **options})


def listed(*names: str) -> bytes:
    return http({"data": [{"id": name} for name in names]})


def calling(name: str = "add") -> bytes:
    function = {"name": name, "arguments": "{}"}
    return http(completion(None, "tool_calls", tool_calls=[{"id": "1", "type": "function", "function": function}]))


def add() -> int:
    """Adds."""
    return 2


def query(file: Path, sql: str, *values: Any) -> List[Any]:
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        return list(database.execute(sql, values))


def asked(server: Any) -> List[str]:
    """The models that a server was asked for, in order."""
    return [json.loads(request["body"])["model"] for request in server.requests if request["body"]]


# ----------------------------------------------------------------------------------------------------------------- cache


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cached_answer_of_a_chosen_model_tells_the_choice_and_belongs_to_that_model(serve: Serve, streamed: bool) -> None:
    reply = stream(delta("yes"), delta(None, "stop"), DONE) if streamed else http(completion("yes"))
    server = serve(listed("gpt-4o", "gpt-4o-mini"), reply)
    asker, answers = client(server, cache_ttl_s=60), []
    for model in ("auto", "auto", "gpt-4o-mini", "gpt-4o"):
        call = asker.chat(model, HI, stream=streamed)
        answers.append(call.answer() if streamed else call)
    assert [answer.cached for answer in answers] == [False, True, True, False] and asked(server) == ["gpt-4o-mini", "gpt-4o"]
    assert answers[0].route == answers[1].route and answers[1].route["model"] == "gpt-4o-mini" and answers[2].route is None
    assert answers[1].model_requested == "auto" and answers[1].attempts == []


def test_an_answer_that_does_not_fit_is_never_kept_and_its_correction_is_kept_for_the_first_question(
    serve: Serve, files: Path
) -> None:
    server = serve(BAD, GOOD)
    asker = client(server, cache_ttl_s=60)
    answers = [asker.chat("m", HI, response_format=WISH) for _ in range(2)]
    assert [answer.cached for answer in answers] == [False, True] and len(server.requests) == 2
    assert answers[1].data == {"n": 1} and query(files / "a.sqlite", "SELECT COUNT(*) FROM answers") == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_two_misfits_leave_the_cache_empty(serve: Serve, files: Path, streamed: bool) -> None:
    server = serve(stream(delta('{"n": "x"}'), delta(None, "stop"), DONE) if streamed else BAD)
    for _ in range(2):
        with pytest.raises(c.BadUpstreamError):
            call = client(server, cache_ttl_s=60).chat("m", HI, response_format=WISH, stream=streamed)
            call.answer()
    assert len(server.requests) == (2 if streamed else 4) and query(files / "a.sqlite", "SELECT * FROM answers") == []


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_a_misfit_in_the_cache_is_fetched_anew_and_replaced(serve: Serve, files: Path, streamed: bool) -> None:
    good, bad = (
        stream(delta(text), delta(None, "stop"), DONE) if streamed else http(completion(text)) for text in ('{"n": 1}', "x")
    )
    server = serve(good)
    asker = client(server, cache_ttl_s=60, max_cost_usd=1)

    def ask() -> Any:
        call = asker.chat("m", HI, response_format=WISH, stream=streamed)
        return call.answer() if streamed else call

    ask()
    body = bad.partition(b"\r\n\r\n")[2]
    query(files / "a.sqlite", "UPDATE answers SET body = ?, checksum = ?", body, cache.digest(body))
    again, last = ask(), ask()
    assert (again.cached, again.data, again.text, len(again.attempts)) == (False, {"n": 1}, '{"n": 1}', 1)
    assert "was damaged" in again.warnings[0] and again.cost_source != "cache"
    assert (last.cached, last.data, last.warnings) == (True, {"n": 1}, []) and len(server.requests) == 2


def test_a_misfit_in_the_cache_and_one_from_the_model_are_corrected_once(serve: Serve, files: Path) -> None:
    server = serve(GOOD, BAD, GOOD)
    asker, body = client(server, cache_ttl_s=60), BAD.partition(b"\r\n\r\n")[2]
    asker.chat("m", HI, response_format=WISH)
    query(files / "a.sqlite", "UPDATE answers SET body = ?, checksum = ?", body, cache.digest(body))
    again = asker.chat("m", HI, response_format=WISH)
    assert again.data == {"n": 1} and len(again.warnings) == 2 and len(server.requests) == 3
    assert asker.chat("m", HI, response_format=WISH).cached


def test_what_failed_is_not_kept_because_the_next_models_answer_was(serve: Serve) -> None:
    server = serve(http(completion("b")), http(completion("")), http(completion("a")))
    asker = client(server, cache_ttl_s=60)
    asker.chat("b", HI)
    assert asker.chat("a", HI, fallback="b").text == "b"
    answer = asker.chat("a", HI)
    assert (answer.text, answer.cached, answer.warnings) == ("a", False, []) and len(server.requests) == 3


def test_rounds_of_tools_come_out_of_the_cache_too(serve: Serve) -> None:
    server = serve(calling(), http(completion("2")))
    asker = client(server, cache_ttl_s=60)
    answers = [asker.run_tools("m", HI, [add]) for _ in range(2)]
    assert [answer.cost for answer in answers] == [1.0, 0.0] and len(server.requests) == 2
    assert answers[1].cached and [call["result"] for call in answers[1].calls] == ["2"]


# ---------------------------------------------------------------------------------------------------------------- budget


def test_under_a_cap_only_models_with_a_price_are_chosen_from(serve: Serve) -> None:
    server = serve(listed("gpt-4o-mini", "gpt-4o", "claude-3-opus"), http(completion()))
    answer = client(server, max_cost_usd=1).chat("auto", HI)
    assert asked(server) == ["gpt-4o"] and (answer.route["model"], answer.route["fallback"]) == ("gpt-4o", [])
    assert client(server, max_cost_usd=1).preview("auto", HI)["body"]["model"] == "gpt-4o"
    bare = serve(listed("claude-3-opus"))
    with pytest.raises(c.SafetyError, match="no model to choose from has a price"):
        client(bare, max_cost_usd=1).chat("auto", HI)
    assert asked(bare) == []
    with pytest.raises(c.SafetyError, match="dear has no price"):
        client(serve(b""), max_cost_usd=1).chat("auto", HI, fallback="dear")


def test_a_chosen_model_is_called_within_the_cap_or_not_at_all(at: Any, serve: Serve) -> None:
    server = serve(listed("gpt-4o"), http(completion("x")))
    ran = at(server, "chat", "--message", "Hi", "--max-cost", "0.000001", "--json")
    assert (ran.code, ran.json["error"]["code"], ran.json["route"]["model"]) == (8, "over_budget", "gpt-4o")
    assert asked(server) == []


def test_both_rounds_of_a_correction_count_once_each(serve: Serve, files: Path) -> None:
    asker = client(serve(BAD, GOOD, BAD), max_cost_usd=5)
    answer = asker.chat("m", HI, response_format=WISH)
    assert answer.cost == 1.0 and asker.budget and asker.budget.spent == 1.0
    with pytest.raises(c.BadUpstreamError) as caught:
        asker.chat("m", HI, response_format=WISH)
    assert asker.budget.spent == 2.0 and asker.budget.reserved == 0.0
    assert caught.value.response is not None and caught.value.response.cost == 1.0
    assert query(files / "u.sqlite", "SELECT outcome, attempts, cost FROM calls") == [("ok", 2, 1.0), ("bad_upstream", 2, 1.0)]


def test_a_correction_that_the_cap_forbids_leaves_the_misfit_as_the_error(serve: Serve) -> None:
    server = serve(BAD)
    with pytest.raises(c.BadUpstreamError, match="does not fit") as caught:
        client(server, max_cost_usd=0.5).chat("m", HI, response_format=WISH)
    assert len(server.requests) == 1 and caught.value.response is not None and caught.value.response.text == '{"n": "x"}'
    assert "not sent again, as the request may cost" in caught.value.warnings[-1] and len(caught.value.attempts) == 1


def test_the_turns_of_a_correction_are_counted_before_they_are_sent(serve: Serve) -> None:
    long = http({**completion("x" * 300_000), "usage": {"cost": 0.0}})  # 100,000 tokens, 0.2 USD, when it goes back
    server = serve(long, GOOD)
    with pytest.raises(c.BadUpstreamError):
        client(server, max_cost_usd=0.1).chat("m", HI, response_format=WISH)
    assert len(server.requests) == 1


def test_a_cap_holds_for_the_whole_run_of_tools(serve: Serve) -> None:
    server = serve(calling())
    with pytest.raises(c.SafetyError) as caught:
        client(server, max_cost_usd=1.2).run_tools("m", HI, [add])
    assert caught.value.code == "over_budget" and len(server.requests) == 3 == len(caught.value.attempts)
    assert len(caught.value.calls) == 3


# ----------------------------------------------------------------------------------------------------------------- usage


def test_the_log_names_the_model_that_answered_not_auto(serve: Serve, files: Path) -> None:
    server = serve(listed("gpt-4o-mini", "gpt-4o"), http(b"", "503 Down"), http(completion()))
    client(server).chat("auto", HI)
    assert query(files / "u.sqlite", "SELECT model, outcome, attempts FROM calls") == [("gpt-4o", "ok", 2)]


def test_a_choice_that_failed_is_recorded_as_that_and_cost_nothing(serve: Serve, files: Path) -> None:
    with pytest.raises(c.UnknownModelError):
        client(serve(listed(*(f"other-{n}" for n in range(20))))).chat("auto", HI)
    assert query(files / "u.sqlite", "SELECT model, outcome, cost FROM calls") == [("auto", "model_not_found", 0.0)]


def test_usage_sums_chosen_calls_by_the_model_that_answered(at: Any, demo: Any) -> None:
    assert at(demo, "chat", "--message", "Hi", "--prefer", "cost").code == 0
    assert [row["model"] for row in at(demo, "usage", "--json").json["rows"]] == ["demo"]


# ---------------------------------------------------------------------------------------------------------- conversation


def test_a_conversation_holds_question_and_correction_and_not_the_turns_between(at: Any, serve: Serve, files: Path) -> None:
    words = ("chat", "--messages-file", "talk.json", "--append", "--system", "Be brief.", "--message", "Who?", "--json")
    first = at(serve(BAD, GOOD), *words, "--schema", "schema.json", "-m", "m")
    assert first.code == 0 and first.json["data"] == {"n": 1} and len(first.json["attempts"]) == 2
    turns = json.loads((files / "talk.json").read_text())
    assert [turn["role"] for turn in turns] == ["user", "assistant"] and turns[1]["content"] == first.json["text"]


def test_a_misfit_is_not_added_to_a_conversation(at: Any, serve: Serve, files: Path) -> None:
    words = ("chat", "-m", "m", "--messages-file", "talk.json", "--append", "--message", "Who?", "--schema", "schema.json")
    assert at(serve(BAD), *words).code == 9 and not (files / "talk.json").exists()
    assert not (files / "talk.json.part").exists()


@pytest.mark.slow
def test_a_chosen_model_continues_a_conversation(at: Any, demo: Any, files: Path) -> None:
    for number in (1, 2):
        ran = at(demo, "chat", "--messages-file", "talk.json", "--append", "--message", "Hi", "--task", "code", "--json")
        assert ran.code == 0 and ran.json["route"]["task"] == "code"
        assert len(json.loads((files / "talk.json").read_text())) == 2 * number


# ------------------------------------------------------------------------------------------------------- route, --dry-run


def test_prices_alone_do_not_change_the_choice(at: Any, serve: Serve, files: Path) -> None:
    server = serve(listed("gpt-4o-mini", "gpt-4o"))
    assert at(server, "route", "--message", "Hi", "--json").json["route"]["model"] == "gpt-4o-mini"
    assert asked(server) == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ("--task", "code", "--cache", "1h"), ("--max-cost", "1"), ("--max-cost", "1", "-m", "m", "--schema", "schema.json"),
    ("--append", "--messages-file", "talk.json", "--schema", "schema.json", "--prefer", "cost"),
    ("--usage-log", "--session", "s"), ("--cache", "1h", "--stream", "-m", "m"),
])  # fmt: skip
def test_a_dry_run_sends_writes_and_records_nothing(at: Any, serve: Serve, files: Path, words: Any) -> None:
    server, before = serve(b""), sorted(files.iterdir())
    ran = at(server, "chat", "--message", "Hi", "--dry-run", *words)
    body: Dict[str, Any] = ran.json["body"]
    assert ran.code == 0 and body["messages"][-1] == HI[0] and body["model"] not in ("auto", "")
    assert body["model"] in ("m", "gpt-4o") or "--max-cost" not in words
    assert set(body) <= {"model", "messages", "stream", "stream_options", "response_format"}
    assert server.requests == [] and sorted(files.iterdir()) == before


def test_route_and_compare_have_a_dry_run_that_sends_nothing(at: Any, serve: Serve) -> None:
    server = serve(b"")
    assert "not known" in at(server, "route", "--message", "Hi", "--dry-run", "--json").json["route"]["reason"]
    ran = at(server, "compare", "--models", "m,demo", "--message", "Hi", "--cache", "1h", "--max-cost", "1", "--dry-run")
    assert ran.code == 0 and server.requests == []
