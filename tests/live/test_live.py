"""The main job on a real model behind a server that is not ours; how to run it is in README.md beside this file.

The questions are ones that a very small model gets right at temperature 0; what is asserted is what a caller relies on.
Each test prints what was asked and what came back: `pytest tests/live -rP` shows it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from llm_router_client import BadRequestError, LLMRouterClient, UnknownModelError

CAPITAL = "What is the capital of France? Answer in one sentence."
STORY = "Tell me a very long story about a sailor."
UNKNOWN = "no-such-model"
REMEMBERED = [
    {"role": "user", "content": "The word is 'apple'. Remember it."},
    {"role": "assistant", "content": "OK, the word is 'apple'."},
    {"role": "user", "content": "What is the word?"},
]
PERSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        },
    },
}
ABOUT_ANNA = "Give me the name and age of a person called Anna who is 30."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Live(NamedTuple):
    """The server under test: where it is, which model it has, and its key ("" where none is wanted)."""

    base_url: str
    model: str
    key: str


NAMED = Live(*(os.environ.get(f"LLM_ROUTER_LIVE_{name}", "") for name in ("BASE_URL", "MODEL", "API_KEY")))
if not (NAMED.base_url and NAMED.model):
    why = "no real server: set LLM_ROUTER_LIVE_BASE_URL and LLM_ROUTER_LIVE_MODEL (tests/live/README.md)"
    pytest.skip(why, allow_module_level=True)


@pytest.fixture
def live() -> Live:
    return NAMED


@pytest.fixture
def client(live: Live) -> Iterator[LLMRouterClient]:
    with LLMRouterClient(live.key or None, live.base_url) as client:
        yield client


@pytest.fixture
def env(live: Live) -> Dict[str, str]:
    """What a user would set in a shell."""
    named = {"LLM_ROUTER_BASE_URL": live.base_url, "LLM_ROUTER_MODEL": live.model, "LLM_ROUTER_API_KEY": live.key}
    return {name: value for name, value in named.items() if value}


def user(text: str) -> List[Dict[str, Any]]:
    return [{"role": "user", "content": text}]


def told(asked: str, answer: Any) -> None:
    """For the report: what was asked, what came back, what it took."""
    facts = {name: getattr(answer, name) for name in ("finish_reason", "usage", "latency_s", "first_s")}
    print(f"{asked!r} -> {answer.text!r}\n  {facts}")


# ------------------------------------------------------------------------------------------------------------- library


def test_chat_answers_and_counts(live: Live, client: LLMRouterClient) -> None:
    answer = client.chat(live.model, user(CAPITAL), temperature=0, max_tokens=60)
    told(CAPITAL, answer)
    assert "Paris" in answer.text and answer["choices"][0]["message"]["content"] == answer.text
    assert answer.complete and answer.finish_reason == "stop"
    assert answer.usage["total_tokens"] == answer.usage["prompt_tokens"] + answer.usage["completion_tokens"] > 0
    assert [attempt["cause"] for attempt in answer.attempts] == ["ok"]


def test_a_stream_gives_the_same_answer_in_pieces(live: Live, client: LLMRouterClient) -> None:
    with client.chat_stream(live.model, user(CAPITAL), temperature=0, max_tokens=60) as stream:
        pieces = list(stream)
    answer = stream.response
    told(f"{CAPITAL} ({len(pieces)} pieces)", answer)
    assert len(pieces) > 1 and "".join(pieces) == answer.text and "Paris" in answer.text
    assert answer.complete and answer.finish_reason == "stop"
    assert answer.usage["completion_tokens"] >= len(pieces) - 1
    assert 0 < answer.first_s < answer.latency_s


def test_events_end_with_usage_and_finish(live: Live, client: LLMRouterClient) -> None:
    kinds = [event["type"] for event in client.chat_stream(live.model, user(CAPITAL), temperature=0).events()]
    assert kinds[0] in ("text", "reasoning") and set(kinds[-2:]) == {"usage", "finish"}


def test_closing_a_stream_early_keeps_the_client_usable(live: Live, client: LLMRouterClient) -> None:
    with client.chat_stream(live.model, user(STORY), temperature=0, max_tokens=1000) as stream:
        next(stream)
    answer = client.chat(live.model, user(CAPITAL), temperature=0, max_tokens=60)
    assert "Paris" in answer.text


def test_several_turns_are_remembered(live: Live, client: LLMRouterClient) -> None:
    answer = client.chat(live.model, REMEMBERED, temperature=0, max_tokens=30)
    told(REMEMBERED[-1]["content"], answer)
    assert "apple" in answer.text


def test_a_json_schema_is_kept(live: Live, client: LLMRouterClient) -> None:
    answer = client.chat(live.model, user(ABOUT_ANNA), response_format=PERSON, temperature=0, max_tokens=60)
    told(ABOUT_ANNA, answer)
    assert not answer.warnings  # the format was taken as sent
    person = json.loads(answer.text)
    assert set(person) == {"name", "age"} and isinstance(person["name"], str) and isinstance(person["age"], int)


def test_a_tool_is_called_and_its_result_used(live: Live, client: LLMRouterClient) -> None:
    messages = user("What is the weather in Paris?")
    answer = client.chat(live.model, messages, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=60)
    told(messages[0]["content"], answer)
    if not answer.tool_calls:
        pytest.skip(f"this model calls no tools, it answered in words: {answer.text[:80]!r}")
    [call, *_] = answer.tool_calls
    assert call["name"] == "get_weather" and isinstance(call["parsed"]["city"], str)
    messages += [answer["choices"][0]["message"]]
    messages += [{"role": "tool", "tool_call_id": each["id"], "content": "21 degrees"} for each in answer.tool_calls]
    assert "21" in client.chat(live.model, messages, tools=[WEATHER], temperature=0, max_tokens=60).text


def test_the_token_limit_ends_an_answer_and_says_so(live: Live, client: LLMRouterClient) -> None:
    answer = client.chat(live.model, user(STORY), temperature=0, max_tokens=5)
    told(STORY, answer)
    assert answer.complete and answer.finish_reason == "length" and 0 < answer.usage["completion_tokens"] <= 5


def test_the_model_is_listed(live: Live, client: LLMRouterClient) -> None:
    models = client.list_models()
    print([model["id"] for model in models][:20])
    assert models.source == "live" and live.model in [model["id"] for model in models]


def test_one_client_serves_several_threads(live: Live, client: LLMRouterClient) -> None:
    texts: List[str] = []

    def ask() -> None:
        texts.append(client.chat(live.model, user(CAPITAL), temperature=0, max_tokens=60).text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(texts)
    assert len(texts) == 4 and all("Paris" in text for text in texts)


def test_an_input_beyond_the_models_window_is_distinguished_from_other_refusals(live: Live, client: LLMRouterClient) -> None:
    [entry] = [model for model in client.list_models() if model["id"] == live.model]
    window = (entry.get("meta") or {}).get("n_ctx", 0)
    if not 0 < window <= 10_000:
        pytest.skip("this server does not tell a window small enough to overrun cheaply")
    with pytest.raises(BadRequestError) as refused:
        client.chat(live.model, user("word " * window), max_tokens=5)
    print(refused.value)
    assert refused.value.code == "context_too_long" and not refused.value.retryable


# ------------------------------------------------------------------------------- a model that the server does not have


class Doorkeeper(BaseHTTPRequestHandler):
    """Hands requests for the one real model to the server and answers 404 for every other name.

    Some servers, llama-server among them, answer to any name with the model they have. So that a fallback to the real
    model can be seen, this stands in front: the 404 is ours, every answer is the real model's.
    """

    live: Live

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if json.loads(body)["model"] != self.live.model:
            self.reply(404, b'{"error": {"message": "no such model", "code": "model_not_found"}}')
            return
        kept = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        request = urllib.request.Request(f"{self.live.base_url}/chat/completions", body, kept)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                self.reply(response.status, response.read())
        except urllib.error.HTTPError as refusal:
            self.reply(refusal.code, refusal.read())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def picky(live: Live) -> Iterator[str]:
    """The base URL of a server that has live.model and not UNKNOWN: the real one, or a Doorkeeper before it."""
    try:
        with LLMRouterClient(live.key or None, live.base_url) as client:
            client.chat(UNKNOWN, user("Hello"), max_tokens=1)
    except UnknownModelError:
        print("the server itself refuses unknown names")
        yield live.base_url
        return
    print("the server answers to any name: a doorkeeper says 404 in its place")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("DoorkeeperOfThis", (Doorkeeper,), {"live": live}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_fallback_goes_from_an_unknown_model_to_the_real_one(live: Live, picky: str) -> None:
    with LLMRouterClient(live.key or None, picky) as client:
        answer = client.chat(UNKNOWN, user(CAPITAL), fallback=[live.model], temperature=0, max_tokens=60)
    told(CAPITAL, answer)
    print(answer.attempts)
    assert "Paris" in answer.text
    assert (answer.model_requested, answer.model_used) == (UNKNOWN, live.model)
    assert [(attempt["model"], attempt["cause"]) for attempt in answer.attempts] == [
        (UNKNOWN, "model_not_found"),
        (live.model, "ok"),
    ]


def test_an_unknown_model_alone_is_an_error(picky: str, live: Live) -> None:
    with LLMRouterClient(live.key or None, picky) as client, pytest.raises(UnknownModelError) as missing:
        client.chat(UNKNOWN, user(CAPITAL))
    assert missing.value.status == 404


def test_compare_shows_the_answer_beside_the_failure(live: Live, picky: str) -> None:
    with LLMRouterClient(live.key or None, picky) as client:
        results = client.compare_models([UNKNOWN, live.model], CAPITAL, temperature=0, max_tokens=60)
    print(results)
    assert list(results) == [UNKNOWN, live.model]
    assert not results[UNKNOWN]["success"] and results[UNKNOWN]["error"]["code"] == "model_not_found"
    assert results[live.model]["success"] and "Paris" in results[live.model]["response"]
    assert results[live.model]["tokens"] > 0 and results[live.model]["error"] is None


def test_compare_and_fallback_on_the_command_line(cli: Any, env: Dict[str, str], live: Live, picky: str) -> None:
    at = {**env, "LLM_ROUTER_BASE_URL": picky}
    words = ("--message", CAPITAL, "-t", "0", "--max-tokens", "60")
    ran = cli("compare", "--models", f"{UNKNOWN},{live.model}", *words, "--json", env=at)
    print(ran.out.decode())
    assert ran.code == 0 and [result["success"] for result in ran.json["results"]] == [False, True]
    table = cli("compare", "--models", f"{UNKNOWN},{live.model}", *words, "--markdown", env=at)
    assert table.code == 0 and b"Paris" in table.out
    ran = cli("chat", "-m", UNKNOWN, "--fallback", live.model, *words, "--json", env=at)
    assert ran.code == 0 and ran.json["model_used"] == live.model and "Paris" in ran.json["text"]
    ran = cli("chat", "-m", UNKNOWN, *words, env=at)
    print(ran.err.decode())
    assert ran.code == 5 and ran.out == b""


# -------------------------------------------------------------------------------------------------------- command line


def test_chat_prints_the_answer_and_nothing_else(cli: Any, env: Dict[str, str]) -> None:
    bounds = ("-t", "0", "--max-tokens", "60")
    ran = cli("chat", "--message", CAPITAL, *bounds, env=env)
    print(ran.out.decode())
    assert ran.code == 0 and b"Paris" in ran.out and ran.out.endswith(b"\n") and ran.err == b""
    streamed = cli("chat", "--message", "-", *bounds, "--stream", stdin=CAPITAL.encode(), env=env)
    assert streamed.code == 0 and b"Paris" in streamed.out


def test_the_envelope_holds_what_the_server_said(cli: Any, env: Dict[str, str], live: Live) -> None:
    ran = cli("chat", "--message", CAPITAL, "-t", "0", "--json", env=env)
    print(ran.out.decode())
    envelope = ran.json
    assert ran.code == 0 and envelope["ok"] and "Paris" in envelope["text"] and envelope["error"] is None
    assert envelope["finish"] == {"reason": "stop", "complete": True} and envelope["model_used"] == live.model
    assert envelope["usage"]["completion_tokens"] > 0


def test_stream_and_json_give_events_and_then_the_envelope(cli: Any, env: Dict[str, str]) -> None:
    ran = cli("chat", "--message", CAPITAL, "-t", "0", "--stream", "--json", env=env)
    *events, result = ran.events
    assert ran.code == 0 and result["type"] == "result" and result["ok"]
    assert "".join(event["text"] for event in events if event["type"] == "text") == result["text"]


def test_turns_and_schema_come_from_files_and_options(cli: Any, env: Dict[str, str]) -> None:
    (cli.cwd / "turns.json").write_text(json.dumps(REMEMBERED))
    ran = cli("chat", "--messages-file", "turns.json", "-t", "0", "--max-tokens", "30", env=env)
    print(ran.out.decode())
    assert ran.code == 0 and b"apple" in ran.out
    ran = cli("chat", "--message", ABOUT_ANNA, "--response-format", json.dumps(PERSON), "-t", "0", env=env)
    print(ran.out.decode())
    assert ran.code == 0 and set(json.loads(ran.out)) == {"name", "age"}


def test_the_token_limit_is_reported_and_strict_refuses_it(cli: Any, env: Dict[str, str]) -> None:
    ran = cli("chat", "--message", STORY, "-t", "0", "--max-tokens", "5", env=env)
    print(ran.out.decode(), ran.err.decode())
    assert ran.code == 0 and ran.out.strip() and b"token limit" in ran.err
    assert cli("chat", "--message", STORY, "-t", "0", "--max-tokens", "5", "--strict", env=env).code == 10


def test_models_and_doctor_find_the_server(cli: Any, env: Dict[str, str], live: Live) -> None:
    listed = cli("models", "--json", env=env).json
    assert listed["ok"] and listed["source"] == "live" and live.model in [model["id"] for model in listed["models"]]
    ran = cli("doctor", "--json", env=env)
    print(ran.out.decode())
    assert ran.code == 0 and ran.json["ok"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_an_interrupt_ends_a_stream_at_once_and_keeps_what_came(cli: Any, env: Dict[str, str], sent: Any) -> None:
    child = cli.start("chat", "--message", STORY, "-t", "0", "--max-tokens", "1500", "--stream", env=env)
    first = os.read(child.stdout.fileno(), 1)  # the model has begun
    child.send_signal(sent)
    begun = time.monotonic()
    out, err = child.communicate(timeout=30)
    print(f"{sent.name}: {time.monotonic() - begun:.3f} s, {first + out!r}, {err!r}")
    assert child.returncode == 130 and time.monotonic() - begun < 15
    assert (first + out).decode("utf-8").strip() and b"Traceback" not in err
