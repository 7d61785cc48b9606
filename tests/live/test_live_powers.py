"""Routing, schemas, tools, conversations, the cache, usage and batches on a real model; how to run it is in README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from llm_router_client import LLMRouterClient

BASE_URL, MODEL, KEY = (os.environ.get(f"LLM_ROUTER_LIVE_{name}", "") for name in ("BASE_URL", "MODEL", "API_KEY"))
if not (BASE_URL and MODEL):
    why = "no real server: set LLM_ROUTER_LIVE_BASE_URL and LLM_ROUTER_LIVE_MODEL (tests/live/README.md)"
    pytest.skip(why, allow_module_level=True)
CAPITAL = "What is the capital of France? Answer in one sentence."
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ASK = ("-t", "0", "--max-tokens", "60")
BATCH = str(Path(__file__).resolve().parents[2] / "scripts" / "llm_router_batch.py")


@pytest.fixture
def env() -> Dict[str, str]:
    """What a user would set in a shell: no model, so that one has to be found."""
    named = {"LLM_ROUTER_BASE_URL": BASE_URL, "LLM_ROUTER_API_KEY": KEY}
    return {name: value for name, value in named.items() if value}


@pytest.fixture
def client() -> Iterator[LLMRouterClient]:
    with LLMRouterClient(KEY or None, BASE_URL) as client:
        yield client


def test_the_only_model_is_found_where_none_is_named(cli: Any, env: Dict[str, str]) -> None:
    ran = cli("route", "--message", CAPITAL, "--json", env=env)
    print(ran.out.decode())
    assert ran.code == 0 and ran.json["route"]["model"] == MODEL and ran.json["route"]["reason"]
    answer = cli("chat", "--message", CAPITAL, *ASK, "--json", env=env).json
    print(answer["text"], answer["route"])
    assert "Paris" in answer["text"] and answer["model_used"] == MODEL and answer["route"]["model"] == MODEL


@pytest.mark.parametrize("how", [(), ("--stream",)])
def test_an_answer_fits_its_schema(cli: Any, env: Dict[str, str], how: Any) -> None:
    (cli.cwd / "person.json").write_text(json.dumps(PERSON))
    wish = "Give me the name and age of a person called Anna who is 30."
    ran = cli("chat", "-m", MODEL, "--message", wish, "--schema", "person.json", *ASK, *how, "--json", env=env)
    envelope = ran.events[-1] if how else ran.json
    print(envelope["text"], envelope["data"])
    assert ran.code == 0 and set(envelope["data"]) == {"name", "age"} and isinstance(envelope["data"]["age"], int)


def test_functions_are_offered_and_an_answer_comes(client: LLMRouterClient) -> None:
    asked = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return f"Sunny in {city}."

    answer = client.run_tools(MODEL, [{"role": "user", "content": "How is the weather in Paris?"}], tools=[get_weather],
                              max_rounds=3, temperature=0, max_tokens=80)  # fmt: skip
    print(f"{answer.text!r}, calls: {answer.calls}")
    assert answer.complete and len(answer.calls) == len(asked)
    if not asked:
        pytest.skip(f"this model calls no tools, it answered in words: {answer.text[:80]!r}")


def test_a_conversation_goes_on_in_its_file(cli: Any, env: Dict[str, str]) -> None:
    turns = [{"role": "user", "content": "The word is 'apple'. Remember it."},
             {"role": "assistant", "content": "OK, the word is 'apple'."}]  # fmt: skip
    (cli.cwd / "talk.json").write_text(json.dumps(turns))
    talk = ("chat", "-m", MODEL, "--messages-file", "talk.json", "--append", "-t", "0", "--max-tokens", "200")
    ran = cli(*talk, "--message", "What is the word?", env=env)
    print(ran.out.decode())
    kept = json.loads((cli.cwd / "talk.json").read_text(encoding="utf-8"))
    assert ran.code == 0 and b"apple" in ran.out
    assert kept[:2] == turns and [turn["role"] for turn in kept[2:]] == ["user", "assistant"]


def test_the_same_question_is_answered_from_the_cache(cli: Any, env: Dict[str, str]) -> None:
    wish = ("chat", "-m", MODEL, "--message", CAPITAL, *ASK, "--cache", "1h")
    first, second = (cli(*wish, "--json", env=env).json for _ in range(2))
    print(f"{first['latency_s']} s, then {second['latency_s']} s")
    assert not first["cached"] and second["cached"] and second["cost"] == 0 and second["text"] == first["text"]
    streamed = cli(*wish, "--stream", env=env)
    assert streamed.code == 0 and b"Paris" in streamed.out
    again = cli(*wish, "--stream", env=env)
    assert again.out == streamed.out
    assert json.loads(cli("cache", "stats", "--json", env=env).out)["answers"] == 2


def test_calls_are_summed_up_without_their_words(cli: Any, env: Dict[str, str]) -> None:
    env = {**env, "LLM_ROUTER_USAGE_LOG": "1"}
    for _ in range(2):
        assert cli("chat", "-m", MODEL, "--message", CAPITAL, *ASK, "--session", "live", env=env).code == 0
    told = cli("usage", "--by", "model", "--json", env=env).json
    print(told)
    assert told["total"]["calls"] == 2 and told["total"]["completion_tokens"] > 0 and told["rows"][0]["model"] == MODEL


def test_a_batch_is_answered_line_by_line(cli: Any, env: Dict[str, str]) -> None:
    lines = [{"id": f"q{number}", "message": f"What is {number} plus 1? Answer with one number."} for number in range(20)]
    (cli.cwd / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = [sys.executable, BATCH, "run", "-m", MODEL, "--input", "prompts.jsonl", "--output", "answers.jsonl",
             "--concurrency", "4", *ASK]  # fmt: skip
    ran = subprocess.run(words, cwd=cli.cwd, env={**cli.env, **env}, capture_output=True, stdin=subprocess.DEVNULL, timeout=240)
    print(ran.stdout.decode(), ran.stderr.decode())
    answers = [json.loads(line) for line in (cli.cwd / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ran.returncode == 0 and sorted(each["id"] for each in answers) == sorted(line["id"] for line in lines)
    assert all(each["ok"] and each["text"] for each in answers)
