"""Routing: the user's tables, the score of a request, the choice with its fallback chain, `route` and --model auto."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from raw_server import RawServer, StillTransport, completion, http

import llm_router_client as c
from llm_router_extras import config, routing, schema
from llm_router_extras.config import CONFIG_RULES

WHOLE = {
    "tiers": {"cheap": ["small"], "middle": ["medium", "other/medium"], "strong": ["large"]},
    "tasks": {"code": ["coder"], "my task": ["large"]},
    "prices": {
        "small": {"input": 1, "output": 2.5},
        "large": {"input": 3, "output": 4, "cached_input": 0.5, "cache_write": 4, "cache_write_1h": 6},
        "long": {"input": 1, "output": 2, "long_context": [{"above": 200_000, "input": 2, "output": 4, "cached_input": 1}]},
    },
}
NOT_CONFIGURATIONS: Tuple[Tuple[Any, str], ...] = (
    ([], "the configuration must be object"),
    ({"tier": {}}, "the configuration.tier is not allowed"),
    ({"tiers": []}, "the configuration.tiers must be object"),
    ({"tiers": {"best": ["a"]}}, "tiers.best is not allowed"),
    ({"tiers": {"cheap": "a"}}, "tiers.cheap must be array"),
    ({"tiers": {"cheap": []}}, "tiers.cheap must have minItems 1"),
    ({"tiers": {"cheap": [1]}}, "tiers.cheap[0] must be string"),
    ({"tasks": {"code": ["a b"]}}, "tasks.code[0] must match the pattern"),
    ({"prices": {"a": 1}}, "prices.a must be object"),
    ({"prices": {"a": {"input": 1}}}, "prices.a.output is missing"),
    ({"prices": {"a": {"input": True, "output": 1}}}, "prices.a.input must be number"),
    ({"prices": {"a": {"input": -1, "output": 1}}}, "prices.a.input must have minimum 0"),
    ({"prices": {"a": {"input": 10**400, "output": 1}}}, "prices.a.input must have maximum 1000000000"),
    ({"prices": {"a": {"input": 1, "output": 1, "cached_input": "free"}}}, "prices.a.cached_input must be number"),
    ({"prices": {"a": {"input": 1, "output": 1, "cached": 1}}}, "prices.a.cached is not allowed"),
    ({"prices": {"a": {"input": 1, "output": 1, "cache_write": -1}}}, "prices.a.cache_write must have minimum 0"),
    ({"prices": {"a": {"input": 1, "output": 1, "long_context": []}}}, "prices.a.long_context must have minItems 1"),
    ({"prices": {"a": {"input": 1, "output": 1, "long_context": [{"input": 1, "output": 1}]}}}, "[0].above is missing"),
)


# ------------------------------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize("config", [{}, WHOLE, {"prices": {}}])
def test_a_configuration_is_taken_as_it_is(config: Any) -> None:
    assert schema.first_fault(config, CONFIG_RULES, "the configuration") == ""


@pytest.mark.parametrize("config,said", NOT_CONFIGURATIONS, ids=[said for _, said in NOT_CONFIGURATIONS])
def test_what_is_wrong_in_a_configuration_is_named_with_its_place(config: Any, said: str) -> None:
    assert said in schema.first_fault(config, CONFIG_RULES, "the configuration")


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_configuration_comes_from_the_named_file_else_from_the_users_directory(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.user_config() == {}
    monkeypatch.setenv("APPDATA" if c.os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path / "own"))
    assert config.user_config() == {}
    write(tmp_path / "own" / "llm-router" / "config.json", '\ufeff{"tasks": {"own": ["a"]}}')
    assert config.user_config() == {"tasks": {"own": ["a"]}}
    monkeypatch.setenv("LLM_ROUTER_CONFIG", write(tmp_path / "named.json", json.dumps(WHOLE)))
    assert config.user_config() == WHOLE


def test_no_configuration_is_read_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("", "llm-router", ".config/llm-router", "~/.config/llm-router"):
        write(tmp_path / folder / "config.json", '{"tasks": {"own": ["a"]}}')
    monkeypatch.chdir(tmp_path)
    for relative in ("", ".", ".config"):
        monkeypatch.setenv("XDG_CONFIG_HOME", relative)
        monkeypatch.setenv("APPDATA", relative)
        assert config.user_config() == {}
    monkeypatch.setattr(c.os.path, "expanduser", lambda path: path)  # what it does where no home is known
    assert config.user_config() == {}


@pytest.mark.parametrize("text,said", [
    ("{", "not JSON"), ('{"prices": NaN}', "not JSON"), ("", "not JSON"), ("[" * 100_000, "not JSON"),
    ("[]", "must be object"), ('{"tiers": {"best": []}}', "tiers.best is not allowed"), (None, "cannot read"),
])  # fmt: skip
def test_a_damaged_configuration_is_a_clear_error_that_names_the_file(
    text: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "c.json") if text is None else write(tmp_path / "c.json", text)
    monkeypatch.setenv("LLM_ROUTER_CONFIG", path)
    with pytest.raises(c.UsageError) as caught:
        config.user_config()
    assert said in caught.value.message and path in caught.value.message


def test_a_configuration_over_the_limit_or_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ROUTER_CONFIG", write(tmp_path / "c.json", " " * (config.MAX_CONFIG_BYTES + 1)))
    with pytest.raises(c.SafetyError):
        config.user_config()
    monkeypatch.setenv("LLM_ROUTER_CONFIG", str(tmp_path))
    with pytest.raises(c.SafetyError):
        config.user_config()


# --------------------------------------------------------------------------------------------------- score and choice


def asked(text: Any, **body: Any) -> Dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **body}


URL = "https://example.com/a.png"
IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": URL}}]
TIERS, TASKS = routing.TIERS, routing.TASKS
MODELS = [model for tier in TIERS.values() for model in tier]


@pytest.mark.parametrize("body,points", [
    (asked("Hello"), []),
    (asked(None), []),
    ({}, []),
    (asked("x" * 1_000), [(1, "1000 characters")]),
    (asked("x" * 6_000), [(2, "6000 characters")]),
    (asked("x" * 30_000), [(4, "30000 characters")]),
    (asked("def add(a):\n    return a"), [(2, "code")]),
    (asked("a();\nb();"), [(2, "code")]),
    (asked("Refactor the parser"), [(2, "about code")]),
    (asked("Prove it step by step"), [(3, "said to be hard")]),
    (asked("A simple question"), [(-2, "said to be easy")]),
    (asked("Hello", max_tokens=2_000), [(1, "up to 2000 tokens")]),
    (asked("Hello", max_completion_tokens=9_000), [(1, "up to 9000 tokens")]),
    (asked("Hello", max_tokens="many"), []),
    (asked("Hello", tools=[{}]), [(1, "tools")]),
    (asked("Hello", functions=[{}]), [(1, "tools")]),
    (asked("Hello", response_format={"json_schema": {"schema": {}}}), [(1, "a schema")]),
    (asked(IMAGE), [(1, "images")]),
    ({"messages": [{"role": "system", "content": "x" * 9_000}]}, []),
])  # fmt: skip
def test_what_counts_for_a_stronger_model_is_explained(body: Any, points: Any) -> None:
    assert routing.points_of(body) == points


@pytest.mark.slow
def test_the_score_takes_time_in_proportion_to_the_text() -> None:
    began = c.time.monotonic()
    for text in ("; " * 2_000_000, "\n" * 4_000_000, "def" * 1_000_000, "{ " * 2_000_000 + "x"):
        routing.points_of(asked(text))
    assert c.time.monotonic() - began < 10


@pytest.mark.parametrize("text,prefer,tier", [
    ("Hello", None, "cheap"), ("Refactor this", None, "middle"), ("Prove that this compiles", None, "strong"),
    ("Hello", "cost", "cheap"), ("Hello", "quality", "middle"), ("Refactor this", "cost", "cheap"),
    ("Prove that this compiles", "quality", "strong"), ("Prove that this compiles", "cost", "middle"),
])  # fmt: skip
def test_the_score_and_the_preference_choose_the_tier(text: str, prefer: Any, tier: str) -> None:
    route = routing.choose(asked(text), {}, MODELS, None, prefer)
    assert (route["tier"], route["task"], route["prefer"]) == (tier, None, prefer)
    assert route["model"] == TIERS[tier][0] and f"tier {tier} by score {route['score']}" in route["reason"]
    assert len(TIERS[tier]) >= routing.CHAIN and route["fallback"] == TIERS[tier][1 : routing.CHAIN]


def test_after_its_own_tier_come_the_stronger_then_the_weaker() -> None:
    tables = {"tiers": {"cheap": ["c"], "middle": ["m"], "strong": ["s"]}}
    chains = [routing.choose(asked(text), tables, ["c", "m", "s"]) for text in ("Hello", "Refactor", "Prove it, compiler")]
    assert [[route["model"], *route["fallback"]] for route in chains] == [["c", "m", "s"], ["m", "s", "c"], ["s", "m", "c"]]


def test_a_task_has_its_own_table_ordered_by_the_preference() -> None:
    tables = {"tiers": {"cheap": ["c"], "middle": ["m"], "strong": ["s"]}, "tasks": {"own": ["m", "s", "c"], "fast": ["s"]}}
    firsts = {prefer: routing.choose(asked("Hi"), tables, None, "own", prefer)["model"] for prefer in (None, *routing.PREFER)}
    assert firsts == {None: "m", "cost": "c", "quality": "s", "speed": "c"}
    route = routing.choose(asked("Hi"), tables, ["c"], "own")
    assert (route["model"], route["tier"], route["task"]) == ("c", None, "own") and "not offered here: m, s" in route["reason"]


def test_preferring_speed_without_a_task_chooses_the_fast_ones() -> None:
    assert routing.choose(asked("Prove it"), {}, None, None, "speed")["task"] == "fast"


def test_images_go_to_models_that_see_only() -> None:
    for task in (None, "code", "chinese"):
        route = routing.choose(asked(IMAGE), {}, None, task)
        assert {route["model"], *route["fallback"]} <= set(TASKS["vision"])
    assert routing.choose(asked(IMAGE), {}, None, "code")["model"] == "claude-sonnet-5-5"  # the first of both tables


def test_a_name_stands_for_the_one_with_its_maker_before_it() -> None:
    offered = ["openai/gpt-4o", "a/gpt-4o-mini", "b/gpt-4o-mini", "gpt-4o"]
    route = routing.choose(asked("Hello"), {}, offered)
    assert [route["model"], *route["fallback"]] == ["a/gpt-4o-mini", "gpt-4o"]


def test_the_built_in_tables_have_the_form_of_the_users() -> None:
    assert schema.first_fault({"tiers": TIERS, "tasks": TASKS}, CONFIG_RULES, "the tables") == ""


def test_the_constant_tables_agree_and_their_first_choices_are_still_served() -> None:
    gone = {"gpt-3.5-turbo", "gpt-4", "o1", "o1-mini", "o3-mini", "claude-3-opus", "claude-3-sonnet", "claude-3-5-sonnet"}
    first = {models[0] for models in (*TIERS.values(), *TASKS.values())}
    assert TIERS["cheap"][0] == c.DEFAULT_MODEL
    assert first | {c.DEFAULT_MODEL} <= set(c.BUILTIN_MODELS) and not gone & set(c.BUILTIN_MODELS)
    assert len(set(c.BUILTIN_MODELS)) == len(c.BUILTIN_MODELS) and "other" not in map(c.family_of, c.BUILTIN_MODELS)


def test_without_a_list_nothing_is_skipped_and_a_note_says_so() -> None:
    route = routing.choose(asked("Hello"), {}, None)
    assert route["model"] == TIERS["cheap"][0] and "the endpoint's models are not known" in route["reason"]
    assert "demo" not in [route["model"], *route["fallback"]]


def test_an_endpoint_of_few_models_needs_no_tables_and_one_of_many_does() -> None:
    route = routing.choose(asked("Hello"), {}, ["one", "two"])
    assert (route["model"], route["fallback"]) == ("one", ["two"]) and "not offered here" in route["reason"]
    for offered in ([], [f"m{number}" for number in range(routing.FEW_MODELS + 1)]):
        with pytest.raises(c.UnknownModelError) as caught:
            routing.choose(asked("Hello"), {}, offered)
        assert "LLM_ROUTER_CONFIG" in caught.value.next_step


@pytest.mark.parametrize("task,prefer,said", [("cooking", None, "no task is called 'cooking'"), (None, "fun", "no preference"),
                                              ("", None, "no task"), (5, None, "no task is called '5'")])  # fmt: skip
def test_an_unknown_wish_is_refused_with_the_known_ones(task: Any, prefer: Any, said: str) -> None:
    with pytest.raises(c.UsageError, match=said) as caught:
        routing.choose(asked("Hello"), {}, None, task, prefer)
    assert "Known are" in caught.value.next_step


# ------------------------------------------------------------------------------------------------------------ library

Serve = Callable[..., RawServer]
ASK = [{"role": "user", "content": "Hello"}]


def client(server: Any, **options: Any) -> c.LLMRouterClient:
    return c.LLMRouterClient(base_url=server.base_url, **{"transport": StillTransport(), **options})


def models(*names: Any) -> bytes:
    return http({"data": [{"id": name} for name in names]})


def test_auto_is_the_default_lists_once_and_tells_its_choice(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(models("gpt-4o-mini", "gpt-4o"), http(completion()))
    asking = client(server)
    answers = [asking.chat(messages=ASK), asking.chat("auto", ASK, prefer="quality"), asking.chat(None, ASK, task="vision")]
    assert [request["line"].split()[0] for request in server.requests] == ["GET", "POST", "POST", "POST"]
    bodies = [json.loads(request["body"]) for request in server.requests[1:]]
    used = ["gpt-4o-mini", "gpt-4o", "gpt-4o"]
    assert [body["model"] for body in bodies] == used and not {"task", "prefer"} & {name for body in bodies for name in body}
    assert [(answer.model_requested, answer.model_used) for answer in answers] == [("auto", name) for name in used]
    assert answers[0].route == routing.choose({"messages": ASK}, {}, ["gpt-4o-mini", "gpt-4o"])
    monkeypatch.setenv("LLM_ROUTER_MODEL", "mine")
    assert asking.chat(messages=ASK).model_requested == "mine" and asking.chat(messages=ASK).route is None


def test_a_named_model_costs_no_list(serve: Serve) -> None:
    server = serve(http(completion()))
    assert client(server).chat("m", ASK).route is None and len(server.requests) == 1


def test_the_list_is_fetched_again_after_a_while(serve: Serve, still: StillTransport) -> None:
    asking = client(serve(models("a"), models("b")), transport=still)
    assert [asking.route(ASK)["model"] for _ in range(2)] == ["a", "a"]
    still.monotonic = lambda: time.monotonic() + routing.LIST_FRESH_S  # type: ignore[method-assign, assignment]
    assert asking.route(ASK)["model"] == "b"


def test_the_chain_is_followed_where_the_first_fails_unless_the_caller_names_another(serve: Serve) -> None:
    busy = http({"error": {"message": "no"}}, "402 Pay")
    for given, used in ((None, "gpt-4o"), ("mine", "mine")):
        server = serve(models("gpt-4o-mini", "gpt-4o"), busy, http(completion()))
        answer = client(server).chat("auto", ASK, fallback=given)
        assert answer.model_used == used and [a["model"] for a in answer.attempts] == ["gpt-4o-mini", used]


def test_an_error_tells_the_choice_too_and_a_stream_chooses_with_its_first_step(serve: Serve, demo: Any) -> None:
    with pytest.raises(c.AuthenticationError) as caught:
        client(serve(models("one"), http({"error": {"message": "no"}}, "401 No"))).chat("auto", ASK)
    assert caught.value.route and caught.value.route["model"] == "one"
    stream = client(demo).chat_stream("auto", ASK)
    assert demo.requests == [] and "".join(stream) and stream.response.route["model"] == "demo"


@pytest.mark.parametrize("reply", [http({"error": {"message": "no such path"}}, "404 No"), http(b"<html>"), http({"data": 5}),
                                   http({}, "405 No")])  # fmt: skip
def test_an_endpoint_without_a_list_gets_the_models_of_the_tables(serve: Serve, reply: bytes) -> None:
    server = serve(reply, http(completion()))
    answer = client(server).chat("auto", ASK)
    assert answer.model_used == TIERS["cheap"][0] and "are not known" in answer.route["reason"]


def test_a_list_that_cannot_be_had_is_an_error_not_a_guess(serve: Serve) -> None:
    server = serve(http({"error": {"message": "wrong key"}}, "401 No"))
    with pytest.raises(c.AuthenticationError):
        client(server).chat("auto", ASK)
    assert len(server.requests) == 1


def test_names_that_no_server_has_are_never_chosen(serve: Serve) -> None:
    server = serve(models("evil\n/gpt-4o-mini", "\x1b[2J", "gpt-4o"))
    route = client(server).route(ASK)
    assert (route["model"], route["fallback"]) == ("gpt-4o", [])


def test_the_configuration_decides_and_a_broken_one_asks_nothing(serve: Serve, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LLM_ROUTER_CONFIG", write(tmp_path / "c.json", json.dumps(WHOLE)))
    server = serve(models("small", "coder", "large"), http(completion()))
    assert client(server).chat("auto", ASK).model_used == "small"
    assert client(server).route(ASK, task="my task", offline=True)["model"] == "large"
    monkeypatch.setenv("LLM_ROUTER_CONFIG", write(tmp_path / "d.json", "{"))
    with pytest.raises(c.UsageError, match="not JSON"):
        client(serve(models("small"))).chat("auto", ASK)


def test_a_wish_beside_a_model_is_refused_before_anything_is_sent(demo: Any) -> None:
    for call in (lambda: client(demo).chat("demo", ASK, task="code"), lambda: client(demo).vision("demo", URL, prefer="cost")):
        with pytest.raises(c.UsageError):
            call()
    with pytest.raises(c.UsageError, match="messages"):
        client(demo).chat("auto")
    assert demo.requests == []


def test_preview_chooses_without_the_list(demo: Any) -> None:
    shown = client(demo).preview("auto", ASK, prefer="quality")
    assert shown["body"]["model"] == TIERS["middle"][0] and "prefer" not in shown["body"] and demo.requests == []


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def at_demo(cli: Any, demo: Any) -> Any:
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    return cli


def paths(demo: Any) -> List[str]:
    return [request["path"].rpartition("/")[2] for request in demo.requests]


def test_route_says_which_model_and_why_and_asks_none(at_demo: Any, demo: Any) -> None:
    ran = at_demo("route", "--message", "Prove it", "--prefer", "quality")
    assert ran.code == 0 and ran.err == b"" and paths(demo) == ["models"]
    first, then, why = ran.out.decode().splitlines()
    assert (first, then) == ("demo", "then: demo-reasoning")
    assert why.startswith("why: tier strong by score 3 (said to be hard +3); ")
    shown = at_demo("route", "--message", "Hi", "--task", "code", "--json").json
    assert shown["ok"] and shown["route"]["task"] == "code" and shown["error"] is None
    asked = len(demo.requests)
    assert "are not known" in at_demo("route", "--message", "Hi", "--dry-run").out.decode() and len(demo.requests) == asked


@pytest.mark.slow
def test_auto_on_the_command_line_tells_its_choice(at_demo: Any, demo: Any) -> None:
    for words in (["-m", "auto"], [], ["--task", "code"], ["--prefer", "cost", "--stream"]):
        ran = at_demo("chat", "--message", "Hello", *words)
        assert ran.code == 0 and ran.out.decode().endswith("You said: Hello\n")
        assert ran.err.decode().startswith("llm-router: chosen: demo, ")
    result = at_demo("chat", "--message", "Hello", "--json").json
    assert (result["model_requested"], result["model_used"], result["route"]["model"]) == ("auto", "demo", "demo")


def test_a_model_named_anywhere_wins_over_the_choice(at_demo: Any, demo: Any) -> None:
    ran = at_demo("chat", "--message", "Hello", "--json", env={"LLM_ROUTER_MODEL": "demo-words-2"})
    assert ran.json["route"] is None and paths(demo) == ["completions"]
    chosen = at_demo("chat", "--message", "Hello", "--task", "code", "--json", env={"LLM_ROUTER_MODEL": "demo-words-2"})
    assert chosen.json["route"]["task"] == "code"


@pytest.mark.slow
@pytest.mark.parametrize("words,said", [
    (["chat", "--task", "cooking"], "no task is called 'cooking'"),
    (["route", "--prefer", "fun"], "no preference is called 'fun'"),
    (["chat", "-m", "demo", "--task", "code"], "task and prefer choose a model"), (["route"], "nothing to ask"),
])  # fmt: skip
def test_a_wrong_wish_is_wrong_usage(at_demo: Any, demo: Any, words: List[str], said: str) -> None:
    ran = at_demo(*words, *([] if words == ["route"] else ["--message", "Hello"]))
    assert ran.code == 2 and ran.out == b"" and said in ran.err.decode() and "completions" not in paths(demo)


def test_a_damaged_configuration_is_exit_2_with_its_path(at_demo: Any) -> None:
    path = write(at_demo.cwd / "c.json", '{"tiers": {"best": ["a"]}}')
    ran = at_demo("route", "--message", "Hello", env={"LLM_ROUTER_CONFIG": path})
    assert ran.code == 2 and ran.out == b"" and f"{path}: the configuration.tiers.best is not allowed" in ran.err.decode()
    assert at_demo("chat", "-m", "demo", "--message", "Hello", env={"LLM_ROUTER_CONFIG": path}).code == 0


def test_nothing_to_choose_from_is_exit_5(cli: Any, serve: Serve) -> None:
    server = serve(models(*(f"m{number}" for number in range(20))))
    ran = cli("chat", "--message", "Hello", "--json", env={"LLM_ROUTER_BASE_URL": server.base_url})
    assert ran.code == 5 and ran.json["error"]["code"] == "model_not_found" and len(server.requests) == 1
