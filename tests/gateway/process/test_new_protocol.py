"""A protocol more is one folder and one line of the registry: a copy of the gateway gets both, and speaks it on both sides."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import PLAIN, SCRIPTS, SUPPORT, WAIT_S, Process, Upstream, chunked, data_event, http, made_up, openai_event, sends

# The same without a side for providers, with streams of another type that come unless they are refused.
INBOUND = """
from dataclasses import replace
from ..spec import Line
from ..toy.spec import SPEC as TOY
SPEC = replace(TOY, name="inbound", title="Inbound", lines=(Line("POST", "inbound", "chat"),), marks=frozenset(), upstream=None,
               streams_by_default=True, stream_type="application/x-ndjson")
"""
KEY, TOKEN = made_up("upstream"), made_up("caller")
ASK = {"model": "openai/m", "say": "hi"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
SAID = {"said": "yes", "why": "done", "spent": [3, 2]}
TOY_STREAM = chunked(data_event({"said": "y"}), data_event({"said": "es"}), data_event({"why": "done", "spent": [3, 2]}))
OPENAI_STREAM = chunked(openai_event("y"), openai_event("es", "stop"), data_event({"choices": [], "usage": USAGE}),
                        b"data: [DONE]\n\n")  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of scripts/ with the folder, and the line."""
    scripts = tmp_path_factory.mktemp("copy") / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    wire = scripts / "llm_router_gateway" / "wire"
    shutil.copytree(SUPPORT / "toy", wire / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    before = (wire / "registry.py").read_text()
    after = before.replace('    "gemini",\n', '    "gemini",\n    "toy",\n')
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    (wire / "inbound").mkdir()
    for name, text in (("__init__", ""), ("spec", INBOUND), ("codec", "from ..toy.codec import *")):
        (wire / "inbound" / f"{name}.py").write_text(text)
    (wire / "registry.py").write_text(after.replace('    "toy",\n', '    "toy",\n    "inbound",\n'))
    return scripts / "llm_router_gateway"


@pytest.fixture(scope="module")
def gateway(package: Path, module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Process]:
    config = f'[server]\ntoken = "{TOKEN}"\n'
    for api, root in (("openai", "/v1"), ("toy", "")):
        config += f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{upstream.url}{root}"\napi_key = "{KEY}"\n'
        config += f'[[models]]\nname = "m"\nprovider = "{api}"\n'
    config += '[[keys]]\nname = "short"\nkey = "short-of-all"\nparameter_limits = { max_tokens = 20, temperature = 0.5 }\n'
    yield module_start(config, gateway=package)


def call(gateway: Process, body: dict[str, Any], *, path: str = "/v1/toy", key: str = TOKEN) -> Any:
    return gateway.send("POST", path, json.dumps(body).encode(), x_toy_key=key, authorization="")


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def values_of(data: bytes) -> list[Any]:
    return [json.loads(part[6:]) for part in data.split(b"\n\n") if part.startswith(b"data: {")]


def test_its_callers_are_answered_by_another_protocol(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps({**PLAIN["openai"], "usage": USAGE}).encode())))
    answer = call(gateway, ASK)
    assert (answer.status, answer.json) == (200, SAID)
    asked = upstream.requests[0]
    assert asked.line.startswith("POST /v1/chat/completions ") and asked.json["messages"] == [{"role": "user", "content": "hi"}]
    assert asked.headers["authorization"] == f"Bearer {KEY}" and "x-toy-key" not in asked.headers


def test_its_callers_get_its_stream_from_another_protocol(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(OPENAI_STREAM))
    answer = call(gateway, {**ASK, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream"
    said = values_of(answer.data)
    assert "".join(value.get("said", "") for value in said) == "yes" and said[-1] == {"why": "done", "spent": [3, 2]}


@pytest.mark.parametrize("stream", [False, True])
def test_callers_of_another_protocol_are_answered_by_it(stream: bool, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(TOY_STREAM if stream else http(json.dumps(SAID).encode())))
    gateway.token = TOKEN
    body = chat("toy/m", stream=stream, stream_options={"include_usage": True}) if stream else chat("toy/m")
    answer = gateway.send("POST", "/v1/chat/completions", json.dumps(body).encode())
    if stream:
        values = values_of(answer.data)
        words = "".join(choice["delta"].get("content") or "" for value in values for choice in value["choices"])
        assert words == "yes" and values[-1]["usage"]["completion_tokens"] == 2 and b"data: [DONE]" in answer.data
    else:
        assert answer.json["choices"][0]["message"]["content"] == "yes" and answer.json["choices"][0]["finish_reason"] == "stop"
    asked = upstream.requests[0]
    assert asked.line.startswith("POST /toy ") and asked.json["say"] == "hi" and asked.json["stream"] is stream
    assert asked.headers["x-toy-key"] == KEY and "authorization" not in asked.headers


@pytest.mark.parametrize("stream", [False, True])
def test_between_its_own_sides_it_is_relayed(stream: bool, gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(TOY_STREAM if stream else http(json.dumps(SAID).encode())))
    answer = call(gateway, {**ASK, "model": "toy/m", "stream": stream, "unread": [1]})
    assert values_of(answer.data)[-1]["why"] == "done" if stream else answer.json == SAID
    assert upstream.requests[0].json == {"model": "m", "say": "hi", "stream": stream, "unread": [1]}


def test_one_that_only_callers_speak_is_answered_by_providers_of_another(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps({**PLAIN["openai"], "usage": USAGE}).encode())))
    assert call(gateway, {**ASK, "stream": False}, path="/v1/inbound").json == SAID
    upstream.does(sends(OPENAI_STREAM))
    answer = call(gateway, ASK, path="/v1/inbound")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert values_of(answer.data)[-1] == {"why": "done", "spent": [3, 2]}


def test_its_lists_and_its_count_have_its_shape(gateway: Process) -> None:
    for path in ("/v1/models", "/v1/toy/models"):
        assert gateway.get(path, x_toy="1", x_toy_key=TOKEN).json == {"toys": ["openai/m", "toy/m"]}
    assert gateway.get("/v1/models/toy/m", x_toy="1", x_toy_key=TOKEN).json["id"] == "toy/m"
    assert call(gateway, {"model": "toy/m", "say": "hello"}, path="/v1/toy/count").json["count"] > 0


def test_a_part_of_its_path_may_be_anything_and_have_several_methods(gateway: Process) -> None:
    gateway.token = TOKEN
    for method, status in (("GET", 200), ("DELETE", 200), ("PUT", 405)):
        answer = gateway.send(method, "/v1/toy/some%2Fid/state")
        assert answer.status == status
    assert answer.headers["allow"] == "GET, HEAD, DELETE, OPTIONS"
    assert gateway.get("/v1/toy/a/b/state").status == gateway.get("/v1/toy/a").status == 404


def test_its_errors_have_its_shape(gateway: Process, upstream: Upstream) -> None:
    assert call(gateway, ASK, key="of nobody").json["wrong"].startswith("the key is not known")
    assert set(call(gateway, {**ASK, "model": "none/such"}).json) == {"wrong"}
    gateway.token = TOKEN
    upstream.does(sends(http(b'{"wrong": "too much"}', status="400 Bad Request")))
    answer = gateway.send("POST", "/v1/chat/completions", json.dumps(chat("toy/m")).encode())
    assert (answer.status, answer.json["error"]["message"]) == (400, "too much")


def test_limits_on_parameters_hold_under_its_names(gateway: Process, upstream: Upstream) -> None:
    upstream.does(sends(http(json.dumps(SAID).encode())))
    answer = call(gateway, {**ASK, "model": "toy/m", "longest": 500, "heat": 2}, key="short-of-all")
    assert upstream.requests[0].json == {"model": "m", "say": "hi", "longest": 20, "heat": 0.5}
    assert answer.headers["x-llm-router-limited"] == "heat=0.5, longest=20"


@pytest.mark.slow
def test_commands_page_and_log_know_it(gateway: Process, package: Path) -> None:
    argv = [sys.executable, str(package), "convert", "--from", "toy", "--to", "openai"]
    done = subprocess.run(argv, input=json.dumps(ASK).encode(), capture_output=True, timeout=WAIT_S, check=True)
    assert json.loads(done.stdout)["request"]["body"]["messages"][0]["content"] == "hi"
    argv = [sys.executable, str(package), "convert", "--from", "openai", "--to", "toy"]
    done = subprocess.run(argv, input=json.dumps(chat("m")).encode(), capture_output=True, timeout=WAIT_S, check=True)
    assert json.loads(done.stdout)["request"]["body"]["say"] == "hi"
    config = '[[providers]]\nname = "x"\nbase_url = "http://127.0.0.1:1"\napi = "inbound"\n'
    (gateway.folder / "wrong.toml").write_text(config)
    argv = [sys.executable, str(package), "-c", str(gateway.folder / "wrong.toml"), "--check"]
    refused = subprocess.run(argv, capture_output=True, timeout=WAIT_S, check=False)
    assert refused.returncode == 2 and b'"inbound" is not one of openai' in refused.stderr
    assert '["toy", "Toy"]' in gateway.get("/monitor").data.decode()
