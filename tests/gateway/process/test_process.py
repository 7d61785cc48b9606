"""The gateway as a process in front of the mock server: flags, exit codes, endpoints, credentials, signals, changed files.

What a module does is in its own tests; here is what only the whole shows.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from running import (
    PAIRS,
    PLAIN,
    PROTOCOLS,
    ROOTS,
    WAIT_S,
    Process,
    Upstream,
    ask,
    chunked,
    command,
    data_event,
    http,
    is_error,
    made_up,
    openai_event,
    streamed_text,
    text_of,
    until,
    verdict,
)

Start = Callable[..., Process]

KEYS = {protocol: made_up(f"key-{protocol}") for protocol in PROTOCOLS}
TOKEN = made_up("token")
TEAM = made_up("team")
ENV = {"LLM_ROUTER_TOKEN": TOKEN, **{f"KEY_{protocol.upper()}": key for protocol, key in KEYS.items()}}
SERVER = "[server]\nretry_alone_s = 0\nkeepalive_s = 60\n"
MODELS = """
[[models]]
name = "listed"
provider = "listing"
remote_identifier = "demo"
[models.config]
context_window = "128k"
max_output_tokens = 4096
supports_vision = true
input_usd_per_mtok = 2.5
"""


def provider(name: str, api: str, url: str, more: str = "") -> str:
    root = url + ROOTS[api]
    key = f'api_key_env = "KEY_{api.upper()}"'
    return f'[[providers]]\nname = "{name}"\napi = "{api}"\nbase_url = "{root}"\n{key}\nany_model = true\n{more}\n'


def config(url: str, server: str = SERVER) -> str:
    """The mock server's three sides as the providers openai, anthropic and gemini, and one that lists a model."""
    sides = "".join(provider(f"to-{api}", api, url) for api in PROTOCOLS)
    return server + sides + provider("listing", "openai", url).replace("any_model = true", "any_model = false") + MODELS


@pytest.fixture(scope="module")
def gateway(module_start: Start, mock_server: Any) -> Process:
    """One for all tests that change nothing about it."""
    made = module_start(config(mock_server.url), env=ENV)
    made.token = TOKEN
    return made


@pytest.fixture
def asked(mock_server: Any) -> list[dict[str, Any]]:
    """What reaches the mock server in this test."""
    mock_server.requests.clear()
    found: list[dict[str, Any]] = mock_server.requests
    return found


@pytest.fixture(scope="module")
def secrets_shown(mock_server: Any) -> Iterator[list[str]]:
    """Everything that anybody was told in this file is kept here; at the end no key may be in it."""
    told: list[str] = []
    yield told
    for text in told:
        assert not [key for key in KEYS.values() if key in text], text


# ----------------------------------------------------------------------------------------------------- flags and exits


@pytest.mark.slow
def test_every_flag_in_its_long_form(start: Start, mock_server: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    flags = ["--ip", "127.0.0.1", "--port", "0", "--log-level", "debug", "--log-file", "out.log", "--token-file", "token",
             "--proxy", "http://127.0.0.1:1"]  # fmt: skip
    gateway = start(config(mock_server.url), *flags, env={key: ENV[key] for key in ENV if key.startswith("KEY_")})
    assert gateway.get("/v1/models").status == 401
    gateway.token = TOKEN
    assert gateway.chat("openai", "to-openai/demo").status == 200  # nobody on loopback is reached through a proxy
    until(lambda: "POST /v1/chat/completions 200" in (tmp_path / "out.log").read_text(), "a line in the log file")
    assert gateway.end() == 0


@pytest.mark.slow
def test_every_flag_in_its_short_form(start: Start, mock_server: Any, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(config(mock_server.url))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["-c", "other.toml", "-i", "127.0.0.1", "-p", str(port), "-l", "warn", "-t", TOKEN]
    gateway = start("", *words, env=ENV | {"LLM_ROUTER_TOKEN": "", "LLM_ROUTER_PORT": "1", "LLM_ROUTER_LOG_LEVEL": "debug"})
    gateway.token = TOKEN
    assert gateway.port == port
    assert gateway.chat("openai", "to-openai/demo").status == 200
    assert "--token is visible in the list of processes" in gateway.log
    assert gateway.end() == 0
    assert "POST" not in gateway.log  # info is below warn


@pytest.mark.slow
def test_a_proxy_is_used_for_addresses_that_are_not_on_this_machine(start: Start, mock_server: Any, asked: list[Any]) -> None:
    gateway = start(config("http://upstream.invalid"), "--proxy", mock_server.url, env=ENV)
    gateway.token = TOKEN
    assert gateway.chat("openai", "to-openai/demo").status == 404  # the mock server is no proxy; what it was asked is the point
    assert asked[0]["path"] == "http://upstream.invalid/v1/chat/completions"


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[server]\nport = 1\nlog_level = 'warn'\nproxy = 'http://p:1'\n")
    done = command(tmp_path, "--print-config", "-p", "3", LLM_ROUTER_PORT="2", LLM_ROUTER_LOG_LEVEL="error")
    text = done.stdout.decode()
    assert "port = 3  # --port" in text
    assert 'log_level = "error"  # LLM_ROUTER_LOG_LEVEL' in text
    assert 'proxy = "http://p:1"  # file' in text
    assert 'host = "127.0.0.1"  # default' in text


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_log_file_that_is_a_link_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text(config("http://127.0.0.1:9"))
    (tmp_path / "router.log").symlink_to(tmp_path / "elsewhere")
    done = command(tmp_path, "--log-file", "router.log", "-p", "0", **ENV)
    assert done.returncode == 2 and b"server.log_file: router.log is a symbolic link" in done.stderr, done.stderr
    assert not (tmp_path / "elsewhere").exists() and b"Traceback" not in done.stderr


@pytest.mark.slow
def test_the_address_is_taken_exit_code_3(tmp_path: Path, mock_server: Any) -> None:
    (tmp_path / "router.toml").write_text(config(mock_server.url))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = command(tmp_path, "-p", port, **ENV)
    assert (done.returncode, done.stdout) == (3, b"")
    assert f"cannot listen on 127.0.0.1:{port}: " in done.stderr.decode()
    itself = command(tmp_path, "-p", str(mock_server.port), **ENV)
    assert itself.returncode == 2
    assert b"is this gateway itself" in itself.stderr


@pytest.mark.slow
def test_every_problem_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("""
[server]
port = "high"
log_level = "loud"
keepalive = 3
[[providers]]
name = "a"
api = "openapi"
base_url = "ftp://h"
[[providers]]
name = "b c"
api = "openai"
base_url = "http://127.0.0.1:1"
[[providers]]
name = "claude"
api_key_file = "none"
[providers.settings]
timeout = -1
headers = { Host = "x" }
[[models]]
name = "m"
provider = "nobody"
[elsewhere]
""")
    done = command(tmp_path)
    told = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    for path in ("server.port", "server.log_level", "server.keepalive", "providers[0].api", "providers[0].base_url",
                 "providers[1].name", "providers[2].api_key_file", "providers[2].settings.timeout",
                 "providers[2].settings.headers", "models[0].provider", "elsewhere"):  # fmt: skip
        assert f"\n  {path}: " in told, told
    assert told.startswith("router.toml: 1")  # the count


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[server", "\udcff", "[server]\nport = 1\nport = 2\n"])
def test_what_is_no_toml_is_one_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = command(tmp_path)
    assert done.returncode == 2
    assert b"router.toml: 1 problem\n  router.toml: is not TOML: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("host", [".".join("0000"), "::", "192.0.2.1", "example.com"])
def test_whoever_others_reach_needs_a_token(host: str, tmp_path: Path, mock_server: Any) -> None:
    (tmp_path / "router.toml").write_text(config(mock_server.url))
    keys = {name: value for name, value in ENV.items() if name.startswith("KEY_")}
    refused = command(tmp_path, "-i", host, "--print-config", **keys)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert f"server.host: {host} can be reached by others".encode() in refused.stderr
    assert b"LLM_ROUTER_TOKEN or --token-file" in refused.stderr
    assert command(tmp_path, "-i", host, "--print-config", **ENV).returncode == 0


@pytest.mark.slow
def test_no_provider_at_all_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 11434)) == 0:
            pytest.skip("an Ollama is on this machine")
    done = command(tmp_path)
    assert done.returncode == 2
    assert b"OPENAI_API_KEY" in done.stderr and b"--demo" in done.stderr


@pytest.mark.slow
def test_without_a_file_the_keys_in_the_environment_are_the_providers(start: Start) -> None:
    gateway = start("", env={"OPENAI_API_KEY": KEYS["openai"], "GEMINI_API_KEY": KEYS["gemini"]})
    assert "2 providers" in gateway.log or "3 providers" in gateway.log  # with an Ollama, three
    assert gateway.get("/health").status == 200


@pytest.mark.slow
def test_the_demo_answers_every_protocol_without_a_key(start: Start) -> None:
    gateway = start("", "--demo")
    assert "--demo: request the model `demo`, or any gpt, claude or gemini" in gateway.log
    for protocol in PROTOCOLS:
        for model in ("demo", "demo-anthropic/demo", "demo-gemini/demo", "gpt-5.4", "claude-sonnet-5-5", "gemini-4-argon"):
            assert "You said: hi" in text_of(protocol, gateway.chat(protocol, model).json)
    assert gateway.chat("openai", "demo/fail-429").status == 429


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["convert", "--help"]])
def test_what_needs_no_configuration(words: list[str], tmp_path: Path) -> None:
    done = command(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, b"")
    first = done.stdout.splitlines()[0]
    assert first.startswith((b"llm-router-gateway ", b"usage: python3 ")) and b"gateway" in first


# ------------------------------------------------------------------------------------------------ check, print, convert


@pytest.mark.slow
def test_check_tells_of_each_model_what_failed_and_what_to_do(tmp_path: Path, mock_server: Any) -> None:
    models = "".join(f'[[models]]\nname = "{name}"\nprovider = "to-{api}"\n'
                     for api in PROTOCOLS for name in ("demo", "fail-401", "fail-429"))  # fmt: skip
    (tmp_path / "router.toml").write_text(config(mock_server.url) + models)
    done = command(tmp_path, "--check", **ENV)
    lines = {line.split()[1]: line for line in done.stdout.decode().splitlines()}
    assert done.returncode == 1
    assert len(lines) == 3 * len(PROTOCOLS) + 1  # with listing/listed
    for api in PROTOCOLS:
        assert lines[f"to-{api}/demo"].startswith("ok ") and " ms" in lines[f"to-{api}/demo"]
        assert lines[f"to-{api}/fail-401"].startswith("FAIL ") and "check the key" in lines[f"to-{api}/fail-401"]
        assert "429 rate_limited" in lines[f"to-{api}/fail-429"]
    assert done.stderr.endswith(f"{len(PROTOCOLS) + 1} of {3 * len(PROTOCOLS) + 1} answered\n".encode())


@pytest.mark.slow
def test_check_of_what_works_is_exit_code_0(tmp_path: Path, mock_server: Any) -> None:
    (tmp_path / "router.toml").write_text(config(mock_server.url))
    done = command(tmp_path, "--check", **ENV)
    assert done.returncode == 0, done
    assert done.stdout.decode().count("ok ") == len(PROTOCOLS) + 1


@pytest.mark.slow
def test_check_of_a_provider_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text(config("http://127.0.0.1:1"))
    done = command(tmp_path, "--check", **ENV)
    assert done.returncode == 1
    assert done.stdout.decode().count("connection refused") == len(PROTOCOLS) + 1


@pytest.mark.slow
def test_the_printed_configuration_holds_no_secret_and_is_one(tmp_path: Path, mock_server: Any) -> None:
    words = {name: made_up(name) for name in ("inline", "file", "header", "proxy", "token", "env")}
    (tmp_path / "claude.key").write_text(words["file"])
    (tmp_path / ".env").write_text(f"KEY_GEMINI={words['env']}\n")
    (tmp_path / "router.toml").write_text(
        f'[server]\ntoken = "{words["token"]}"\nproxy = "http://me:{words["proxy"]}@proxy.example:1"\n'
        f'[[providers]]\nname = "openai"\napi_key = "{words["inline"]}"\n[providers.settings]\n'
        f'headers = {{ X-Secret = "{words["header"]}" }}\nproxy = "socks5://me:{words["proxy"]}@p:1"\n'
        '[[providers]]\nname = "claude"\napi_key_file = "claude.key"\n' + provider("g", "gemini", mock_server.url)
    )
    done = command(tmp_path, "--print-config")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().count("keys: 1 set") == 3
    for word in words.values():
        assert word.encode() not in done.stdout + done.stderr
    (tmp_path / "again.toml").write_bytes(done.stdout)
    again = command(tmp_path, "-c", "again.toml", "--print-config")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("caller", "target"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_a_dry_run_prints_the_request_and_sends_nothing(
    caller: str, target: str, tmp_path: Path, mock_server: Any, asked: list[Any]
) -> None:
    rewritten = f'rewrite_header = {{ X-Team = "{TEAM}" }}\n'
    (tmp_path / "router.toml").write_text(SERVER + provider(f"to-{target}", target, mock_server.url, rewritten))
    body = ask(caller, "demo").body | {"temperature": 0.5} | ({"top_k": 5} if caller == "anthropic" else {})
    words = ["convert", "--from", caller, "--to", f"to-{target}/demo", "-c", "router.toml", "-m", "demo"]
    done = command(tmp_path, *words, stdin=json.dumps(body).encode(), **ENV)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["request"]["url"].startswith(mock_server.url)
    assert KEYS[target] not in done.stdout.decode() and "***" in done.stdout.decode()
    assert TEAM not in done.stdout.decode() and made["request"]["headers"]["x-team"] == "***"
    assert "hi" in json.dumps(made["request"]["body"])
    assert made["lost"] == (["top_k"] if caller == "anthropic" and target in ("openai", "responses") else
                            ["temperature"] if caller == "gemini" else [])  # fmt: skip
    assert asked == []
    bare = command(tmp_path, "convert", "--from", caller, "--to", target, "-m", "some", stdin=json.dumps(body).encode())
    assert bare.returncode == 0, bare.stderr


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"messages": 5}', b'{"contents": 5}'])
def test_a_dry_run_of_what_is_no_request_is_exit_code_1(data: bytes, tmp_path: Path) -> None:
    done = command(tmp_path, "convert", "--from", "openai", "--to", "gemini", "-m", "m", stdin=data)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"400 bad_request: ")


# ----------------------------------------------------------------------------------------------------------- endpoints


@pytest.mark.slow
def test_health_needs_no_token(gateway: Process) -> None:
    for path in ("/health", "/v1/health", "/"):
        answer = gateway.get(path, authorization="")
        assert (answer.status, answer.json["status"]) == (200, "ok")


@pytest.mark.slow
def test_probes_need_no_token_and_say_nothing_that_is_not_for_everybody(gateway: Process) -> None:
    live, ready = (gateway.get(f"/health/{name}", authorization="") for name in ("live", "ready"))
    assert (live.status, live.json) == (200, {"status": "live"})
    assert (ready.status, ready.json["status"], ready.json["reasons"]) == (200, "ready", [])
    assert gateway.send("HEAD", "/health/ready", authorization="").status == 200
    for answer in (live, ready):
        assert answer.headers["cache-control"] == "no-store"
        assert not [word for word in (str(gateway.folder), TOKEN, "to-openai") if word in answer.data.decode()]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_list_of_models_comes_in_the_callers_shape(prefix: str, gateway: Process) -> None:
    listed = gateway.get(f"{prefix}/models").json
    entry = next(each for each in listed["data"] if each["id"] == "listing/listed")
    assert listed["object"] == "list"
    assert entry["context_length"] == 128_000 and entry["pricing"] == {"prompt": "0.0000025"}
    assert entry["architecture"] == {"input_modalities": ["text", "image"]}
    listed = gateway.get(f"{prefix}/models?limit=1000", anthropic_version="2023-06-01").json
    assert next(each for each in listed["data"] if each["id"] == "listed")["max_input_tokens"] == 128_000
    listed = gateway.get("/v1beta/models?pageSize=1000").json
    entry = next(each for each in listed["models"] if each["name"] == "models/listing/listed")
    assert (entry["inputTokenLimit"], entry["outputTokenLimit"]) == (128_000, 4096)
    assert gateway.get(f"{prefix}/models/listing/listed").json["id"] == "listing/listed"
    assert gateway.get(f"{prefix}/models/listed", anthropic_version="2023-06-01").json["type"] == "model"
    assert gateway.get("/v1beta/models/listing/listed").json["name"] == "models/listing/listed"


def test_every_listed_name_can_be_requested(gateway: Process) -> None:
    for entry in gateway.get("/v1/models").json["data"]:
        if entry["id"].endswith(("/demo", "/listed")):
            assert gateway.chat("openai", entry["id"]).status == 200, entry


def test_head_is_get_without_a_body(gateway: Process) -> None:
    for path in ("/health", "/v1/models", "/v1/models/listing/listed", "/nowhere"):
        head, full = gateway.send("HEAD", path), gateway.get(path)
        assert (head.status, head.data) == (full.status, b"")
        assert head.headers["content-length"] == full.headers["content-length"] == str(len(full.data))


@pytest.mark.slow
def test_options_lists_what_is_allowed_and_lets_no_page_in(gateway: Process, start: Start, mock_server: Any) -> None:
    answer = gateway.send("OPTIONS", "/v1/chat/completions", authorization="")
    assert (answer.status, answer.data) == (204, b"")
    assert "POST" in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    page = "https://app.example"
    open_to_it = start(config(mock_server.url, f'{SERVER}cors_origins = ["{page}"]\n'), env=ENV)
    asks = {"origin": page, "access_control_request_method": "POST", "access_control_request_headers": "x-api-key"}
    answer = open_to_it.send("OPTIONS", "/v1/messages", **asks)
    assert answer.headers["access-control-allow-origin"] == page
    assert answer.headers["access-control-allow-headers"] == "x-api-key"
    asked = ask("openai", "to-openai/demo")
    answer = open_to_it.send("POST", asked.path, asked.data, origin=page, authorization=f"Bearer {TOKEN}")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, page)
    assert open_to_it.get("/health", origin="https://other.example").status == 403


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 403), ("PUT", "/v1/models", 405),
    ("DELETE", "/v1/models", 405), ("PUT", "/v1/messages", 405), ("GET", "/nowhere", 404),
    ("GET", "/v1/responses", 405), ("DELETE", "/v1/completions", 405),
    ("POST", "/v1beta/models/demo:dance", 404),
    ("GET", "/../etc/passwd", 404), ("GET", "/v1/models/..%2f..%2fetc", 404),
])  # fmt: skip
def test_what_is_not_served(method: str, path: str, status: int, gateway: Process) -> None:
    answer = gateway.send(method, path, b"{}" if method in ("POST", "PUT") else None)
    assert answer.status == status
    protocol = "gemini" if path.startswith("/v1beta") else "anthropic" if path == "/v1/messages" else "openai"
    assert is_error(protocol, answer.json), answer.data


@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_every_protocol_in_every_protocol_out_plain_and_streamed(
    caller: str, target: str, gateway: Process, asked: list[Any], secrets_shown: list[str]
) -> None:
    answer = gateway.chat(caller, f"to-{target}/demo", text="hello")
    assert text_of(caller, answer.json).endswith("You said: hello")
    streams = {"stream": gateway.chat(caller, f"to-{target}/demo", text="hello", stream=True)}
    if caller == "gemini":
        streams["array"] = gateway.chat(caller, f"to-{target}/demo", text="hello", stream=True, array=True)
        assert streams["array"].headers["content-type"].startswith("application/json")
    for each in streams.values():
        assert (each.status, verdict(caller, each.data)) == (200, "whole")
        assert streamed_text(caller, each.data).endswith("You said: hello")
    assert streams["stream"].headers["content-type"].startswith("text/event-stream")
    header = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(target, "authorization")
    shown = ("Bearer " if header == "authorization" else "") + KEYS[target]
    assert all(each["headers"][header] == shown for each in asked)
    secrets_shown += [str(each) for each in (answer, *streams.values())]


def test_paths_without_their_prefix_too(gateway: Process) -> None:
    for protocol in PROTOCOLS:
        asked = ask(protocol, "to-openai/demo")
        for path in (asked.path.removeprefix("/v1beta").removeprefix("/v1"), asked.path.replace("/v1beta/", "/v1/")):
            assert gateway.send("POST", path, asked.data).status == 200, path


def test_tokens_are_counted_and_embeddings_relayed_or_converted(gateway: Process) -> None:
    body = ask("anthropic", "to-anthropic/demo").body
    del body["max_tokens"]
    assert gateway.send("POST", "/v1/messages/count_tokens", json.dumps(body).encode()).json["input_tokens"] > 0
    body["model"] = "to-openai/demo"
    assert gateway.send("POST", "/v1/messages/count_tokens", json.dumps(body).encode()).json["input_tokens"] > 0
    counted = ask("gemini", "to-gemini/demo")
    assert gateway.send("POST", counted.path.replace("generateContent", "countTokens"), counted.data).json["totalTokens"] > 0
    asked = json.dumps({"model": "to-openai/demo-embed", "input": ["a", "b"]}).encode()
    assert gateway.send("POST", "/v1/embeddings", asked).status in (200, 404)  # what the mock server says
    asked = json.dumps({"model": "to-gemini/demo", "input": "a"}).encode()
    assert len(gateway.send("POST", "/v1/embeddings", asked).json["data"][0]["embedding"]) > 1
    asked = json.dumps({"model": "to-anthropic/demo", "input": "a"}).encode()
    refused = gateway.send("POST", "/v1/embeddings", asked)
    assert (refused.status, refused.headers["x-should-retry"]) == (400, "false")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"model": 5}', b"[" * 100_000, b'{"a":' * 50_000])
def test_what_is_no_request_is_400_in_the_callers_protocol(protocol: str, data: bytes, gateway: Process) -> None:
    answer = gateway.send("POST", ask(protocol, "to-anthropic/demo").path, data)
    assert answer.status == 400
    assert is_error(protocol, answer.json)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_that_no_provider_has_is_404_in_the_callers_protocol(protocol: str, gateway: Process) -> None:
    answer = gateway.chat(protocol, "listing/no-such")
    assert answer.status == 404
    assert is_error(protocol, answer.json)


# --------------------------------------------------------------------------------------------- credentials, ids, headers


PLACES: list[tuple[dict[str, str], str]] = [
    ({"authorization": "Bearer {}"}, ""), ({"authorization": "bearer {}"}, ""), ({"x_api_key": "{}"}, ""),
    ({"x_goog_api_key": "{}"}, ""), ({}, "key={}"), ({}, "%6Bey={}"), ({"authorization": "Basic eA==", "x_api_key": "{}"}, ""),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(PLACES)))
@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_the_callers_key_is_taken_from_four_places_and_never_goes_on(
    caller: str, target: str, place: int, gateway: Process, asked: list[Any]
) -> None:
    headers, query = PLACES[place]
    sent = ask(caller, f"to-{target}/demo")
    for key, status in ((TOKEN, 200), (made_up("other"), 401), ("", 401)):
        given = {"authorization": "", **{name: value.format(key) for name, value in headers.items()}}
        path = f"{sent.path}?{query.format(key)}" if query else sent.path
        answer = gateway.send("POST", path, sent.data, cookie=f"session={key}", proxy_authorization=key, **given)
        assert answer.status == status, answer
        assert status == 200 or is_error(caller, answer.json)
        assert key == "" or key.encode() not in answer.data
    assert len(asked) == 1
    assert TOKEN not in str(asked)
    assert TOKEN not in gateway.log


@pytest.mark.slow
def test_several_tokens(start: Start, mock_server: Any) -> None:
    other = made_up("other")
    gateway = start(config(mock_server.url), env=ENV | {"LLM_ROUTER_TOKEN": f"{TOKEN}, {other}"})
    statuses = [gateway.get("/v1/models", x_api_key=key).status for key in (TOKEN, other, f"{TOKEN},{other}", "", TOKEN[:-1])]
    assert statuses == [200, 200, 401, 401, 401]


@pytest.mark.slow
@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_a_request_id_is_taken_or_made_sent_on_echoed_and_logged(
    caller: str, target: str, gateway: Process, asked: list[Any]
) -> None:
    mine = made_up("id")
    for stream in (False, True):
        for model, given in (("demo", mine), ("demo", ""), ("fail-500", mine), ("demo", 'a"b ' + "x" * 200)):
            sent = ask(caller, f"to-{target}/{model}", stream=stream)
            answer = gateway.send("POST", sent.path, sent.data, x_request_id=given)
            told = answer.headers["x-request-id"]
            assert told == mine if given == mine else told and told != given
            assert asked[-1]["headers"]["x-request-id"] == told
    gateway.logged(f"id={told}")


@pytest.mark.parametrize(("caller", "target"), PAIRS)
def test_when_to_come_back_is_kept(caller: str, target: str, gateway: Process) -> None:
    for stream in (False, True):
        for model, after in (("fail-429", "1"), ("fail-429-long", "3600")):
            answer = gateway.chat(caller, f"to-{target}/{model}", stream=stream)
            assert (answer.status, answer.headers["retry-after"]) == (429, after)
            assert is_error(caller, answer.json)


AGAIN = [pytest.param(status, marks=pytest.mark.slow) for status in (502, 529)]  # tried twice, 0.3 s for each pair


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 504, 599, *AGAIN])
def test_an_upstreams_refusal_keeps_its_status_in_the_callers_protocol(status: int, gateway: Process) -> None:
    for caller, target in PAIRS:
        answer = gateway.chat(caller, f"to-{target}/fail-{status}")
        told = 503 if status == 529 and caller not in ("anthropic", target) else status  # 529 is Anthropic's alone
        assert answer.status == told, (caller, target)
        assert is_error(caller, answer.json), (caller, target, answer.data)


@pytest.mark.parametrize("name", ["evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]"])
def test_an_unknown_host_name_is_refused_as_rebinding(name: str, gateway: Process) -> None:
    for protocol in PROTOCOLS:
        asked = ask(protocol, "to-openai/demo")
        for header in ({"host": name}, {"origin": f"http://{name}"}, {"origin": "null"}):
            answer = gateway.send("POST", asked.path, asked.data, **header)
            assert answer.status == 403, header
            assert is_error(protocol, answer.json)
            assert not [each for each in answer.headers if each.startswith("access-control")]
        for own in ("localhost", "127.0.0.1:1", "[::1]:8000"):
            assert gateway.send("POST", asked.path, asked.data, host=own).status == 200, own


@pytest.mark.slow
def test_an_allowed_host_name_is_served(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url, SERVER + 'allowed_hosts = ["router.example"]\n'), env=ENV)
    assert gateway.get("/health", host="router.example:80").status == 200
    assert gateway.get("/health", host="other.example").status == 403


TEAM_HEADER = f'[providers.settings]\nheaders = {{ X-Team-Token = "Token {TEAM}" }}\n'
CREDENTIAL_HEADERS = {"key": ("authorization", "x-api-key", "x-goog-api-key"), "configured header": ("x-team-token",)}


def repeating(shape: Callable[[str], bytes], headers: Sequence[str]) -> Callable[..., bool]:
    """An upstream that repeats the credential which it was sent in one of these headers."""

    def act(sock: socket.socket, asked: Any) -> bool:
        sent = next(value for name, value in asked.headers.items() if name in headers)
        sock.sendall(shape(sent.rpartition(" ")[2]))
        return True

    return act


def told(key: str) -> dict[str, Any]:
    """An error that says more than it should."""
    return {"error": {"message": f"bad {key}", "code": key, "type": key}}


REPEATS: dict[str, Callable[[str], bytes]] = {
    "refusal": lambda key: http(json.dumps(told(key)).encode(), status="401 No"),
    "refusal, no JSON": lambda key: http(f"bad {key}".encode(), status="401 No", kind="text/plain"),
    "refusal, in a header": lambda key: http(b'{"error": {"message": "m"}}', status="401 No", x_key=key, retry_after=key),
    "answer, in a header": lambda key: http(json.dumps(PLAIN["openai"]).encode(), x_key=f"it is {key}"),
    "200 with an error": lambda key: http(json.dumps(told(key)).encode()),
    "redirect": lambda key: http(b"", status="307 Go", location=f"http://127.0.0.1:1/?key={key}"),
    "error before the text": lambda key: chunked(data_event(told(key))),
    "error event": lambda key: chunked(openai_event("y"), data_event(told(key))),
    "error event, named": lambda key: chunked(openai_event("y"), b"event: error\n" + data_event(told(key))),
    "no HTTP": lambda key: f"key {key}\r\n\r\n".encode(),
    "status line": lambda key: f"HTTP/1.1 401 {key}\r\ncontent-length: 0\r\n\r\n".encode(),
}


@pytest.mark.slow
@pytest.mark.parametrize("credential", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("shape", REPEATS)
def test_an_upstreams_credential_is_never_shown(shape: str, credential: str, start: Start, upstream: Upstream) -> None:
    sides = "".join(provider(f"to-{api}", api, upstream.url, TEAM_HEADER) for api in PROTOCOLS)
    gateway = start(SERVER + sides, "-l", "trace", "--log-file", "out.log", env=ENV)
    gateway.token = TOKEN
    upstream.does(repeating(REPEATS[shape], CREDENTIAL_HEADERS[credential]))
    for caller, target in PAIRS:
        for stream in (False, True):
            answer = gateway.chat(caller, f"to-{target}/m", stream=stream)
            assert KEYS[target] not in str(answer) and TEAM not in str(answer), (caller, target, stream)
    gateway.end()
    for text in (gateway.log, gateway.out, (gateway.folder / "out.log").read_text()):
        assert not [secret for secret in (TEAM, *KEYS.values()) if secret in text], text


# --------------------------------------------------------------------------------------------------------------- HTTP


def received(sock: socket.socket) -> bytes:
    """All until the other side closes."""
    sock.settimeout(WAIT_S)
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def test_requests_of_one_connection_are_answered_in_order(gateway: Process) -> None:
    data = b""
    for number in range(20):
        asked = ask("openai", f"to-openai/{'demo-sleep-20' if number % 4 == 0 else 'demo'}", text=f"number {number};").data
        fate = "close" if number == 19 else "keep-alive"
        data += (f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: {TOKEN}\r\nconnection: {fate}\r\n"
                 f"content-length: {len(asked)}\r\n\r\n").encode() + asked  # fmt: skip
    with gateway.connect() as sock:
        sock.sendall(data)
        answers = received(sock)
    assert answers.count(b"HTTP/1.1 200 ") == 20
    places = [answers.index(f"number {number};".encode()) for number in range(20)]
    assert places == sorted(places)


def test_a_body_that_waits_to_be_requested(gateway: Process) -> None:
    asked = ask("openai", "to-openai/demo").data
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: {{}}\r\nexpect: 100-continue\r\n"
            f"content-length: {len(asked)}\r\nconnection: close\r\n\r\n")  # fmt: skip
    with gateway.connect() as sock:
        sock.sendall(head.format(TOKEN).encode())
        sock.settimeout(WAIT_S)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(asked)
        assert received(sock).startswith(b"HTTP/1.1 200 OK\r\n")
    with gateway.connect() as sock:
        sock.sendall(head.format("wrong").encode())
        assert received(sock).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("head", [
    b"content-length: 2\r\ncontent-length: 2", b"content-length: 2\r\ntransfer-encoding: chunked", b"content-length: 2, 2",
    b"x: a\rb", b"x: a\nb: c", b"x: a\r\n b", b"x : a", b"(x): a", b": a", b"host: b", b"transfer-encoding: chunked, chunked",
    b"content-length: +2", b"x: a\x00b",
])  # fmt: skip
def test_what_has_two_meanings_is_refused_and_the_connection_closed(head: bytes, gateway: Process) -> None:
    with gateway.connect() as sock:
        sock.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n\r\n{}")
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = received(sock)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1") == 1 and b"\r\nconnection: close\r\n" in answer


def test_a_body_in_chunks_and_one_that_is_compressed(gateway: Process) -> None:
    asked = ask("openai", "to-openai/demo")
    head = (f"POST {asked.path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {TOKEN}\r\nconnection: close\r\n"
            "transfer-encoding: chunked\r\n")  # fmt: skip
    with gateway.connect() as sock:
        sock.sendall(head.encode() + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in asked.data) + b"0\r\n\r\n")
        assert received(sock).startswith(b"HTTP/1.1 200 ")
    answer = gateway.send("POST", asked.path, gzip.compress(asked.data), content_encoding="gzip")
    assert answer.status in (400, 415) and is_error("openai", answer.json)


# ------------------------------------------------------------------------------------------------------------- the end


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_stream_may_end_and_no_other_comes_in(number: int, start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.token = TOKEN
    with gateway.connect() as idle, gateway.streaming("openai", "to-openai/demo-slow-30") as response:
        first = response.read1(10)
        gateway.signal(number)
        gateway.logged("stopping: 1 open requests")
        assert received(idle) == b""  # a connection without a request is closed at once
        until(lambda: refuses(gateway), "no new connection is accepted")
        data = first + response.read()
    assert verdict("openai", data) == "whole"
    assert gateway.ended() == 0


def refuses(gateway: Process) -> bool:
    try:
        gateway.connect().close()
    except OSError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fail-stall-mid", "fail-comments-mid", "demo-slow-200"])
def test_what_is_open_at_the_limit_ends_with_its_protocols_error(model: str, start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url, "[server]\ndrain_s = 0.2\n"), env=ENV)
    gateway.token = TOKEN
    kinds = [(caller, target, False) for caller, target in PAIRS] + [("gemini", target, True) for target in PROTOCOLS]
    found: dict[tuple[str, str, bool], bytes] = {}

    def read_to_its_end(kind: tuple[str, str, bool]) -> None:
        caller, target, array = kind
        with gateway.streaming(caller, f"to-{target}/{model}", text="some words " * 200, array=array) as response:
            found[kind] = b""
            found[kind] = response.read(1) + response.read()  # IncompleteRead without HTTP's own end

    threads = [Thread(target=read_to_its_end, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    until(lambda: len(found) == len(kinds), "all streams are open")
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    for thread in threads:
        thread.join(WAIT_S)
    assert gateway.ended() == 0
    assert 0.2 <= time.monotonic() - began < 20
    for (caller, *_), data in found.items():
        assert verdict(caller, data) == "error", data
        assert b"the gateway is shutting down" in data


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_waits_for_a_first_word_at_the_limit_gets_a_status(stream: bool, start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url, "[server]\ndrain_s = 0.2\n"), env=ENV)
    gateway.token = TOKEN
    found: dict[tuple[str, str], Any] = {}

    def read(caller: str, target: str) -> None:
        found[caller, target] = gateway.chat(caller, f"to-{target}/demo-sleep-60000", stream=stream)

    mock_server.requests.clear()
    threads = [Thread(target=read, args=pair) for pair in PAIRS]
    for thread in threads:
        thread.start()
    until(lambda: len(mock_server.requests) == len(PAIRS), "all are asked")
    gateway.signal(signal.SIGTERM)
    for thread in threads:
        thread.join(WAIT_S)
    assert gateway.ended() == 0
    assert len(found) == len(PAIRS)
    for (caller, _), answer in found.items():
        assert answer.status == 503 and is_error(caller, answer.json), answer


@pytest.mark.slow
def test_a_second_signal_ends_at_once(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.token = TOKEN
    with gateway.streaming("openai", "to-openai/fail-stall-mid") as response:
        response.read1(1)
        assert gateway.get("/health", x_request_id="the-last").status == 200
        gateway.signal(signal.SIGINT)
        until(lambda: refuses(gateway), "no new connection is accepted")
        gateway.signal(signal.SIGINT)
        assert gateway.ended() == 0
    assert "stopping: 1 open requests, waiting up to 30 s" in gateway.log
    assert "id=the-last" in gateway.log


@pytest.mark.slow
def test_with_nothing_open_it_ends_at_once(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.get("/health")
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert gateway.ended() == 0
    assert time.monotonic() - began < 15  # and not the 30 s that open requests would have
    assert "stopping: 0 open requests" in gateway.log


# ------------------------------------------------------------------------------------------------------- changed files


@pytest.mark.slow
def test_a_changed_file_is_taken_over_and_a_bad_one_is_not(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.token = TOKEN
    gateway.write(config(mock_server.url) + '[[models]]\nname = "second"\nprovider = "listing"\n')
    gateway.logged("router.toml reloaded: 5 providers, 2 listed models")
    assert gateway.get("/v1/models/listing/second").status == 200
    gateway.write("[server]\nport = 'x'\ncolour = 'red'\n")
    gateway.logged("router.toml not reloaded: server.port: ")
    gateway.logged("router.toml not reloaded: server.colour: ")
    assert "invalid" in gateway.get("/health/ready").json["checks"]["config"]
    assert gateway.get("/v1/models/listing/second").status == 200
    assert gateway.log.count("not reloaded") == 2  # once, not with every look


@pytest.mark.slow
def test_sighup_reads_the_file_again_and_open_streams_do_not_notice(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.token = TOKEN
    with gateway.streaming("anthropic", "to-openai/demo-slow-20") as response:
        first = response.read1(10)
        gateway.write(provider("only", "gemini", mock_server.url))
        gateway.signal(signal.SIGHUP)
        gateway.logged("router.toml reloaded: 1 provider")
        assert gateway.chat("anthropic", "to-openai/demo").status != 401  # the lone provider takes any name
        assert gateway.chat("openai", "only/demo").status == 200
        data = first + response.read()
    assert verdict("anthropic", data) == "whole"
    (gateway.folder / "router.toml").unlink()
    gateway.signal(signal.SIGHUP)
    gateway.logged("not reloaded: router.toml: cannot be read: ")
    assert gateway.chat("openai", "only/demo").status == 200
    assert gateway.is_running


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="this system has no such signal")
def test_the_signal_that_replaces_workers_ends_no_gateway_that_has_none(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.signal(signal.SIGUSR2)
    gateway.logged("this gateway has none: nothing was done")
    assert gateway.get("/health").status == 200


@pytest.mark.slow
def test_a_changed_secret_is_taken_over(start: Start, mock_server: Any, tmp_path: Path) -> None:
    keys = [made_up("first"), made_up("second")]
    token = tmp_path / "token"
    token.write_text(keys[0])
    gateway = start(config(mock_server.url), "--token-file", "token", env=ENV | {"LLM_ROUTER_TOKEN": ""})
    token.write_text(keys[1])
    gateway.signal(signal.SIGHUP)
    gateway.logged("reloaded")
    assert [gateway.get("/v1/models", x_api_key=key).status for key in keys] == [401, 200]
    (tmp_path / ".env").write_text(f"KEY_OPENAI={keys[0]}\n")  # below the process's own environment
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.log.count("reloaded") >= 2)
    mock_server.requests.clear()
    gateway.token = keys[1]
    assert gateway.chat("openai", "to-openai/demo").status == 200
    assert mock_server.requests[0]["headers"]["authorization"] == f"Bearer {KEYS['openai']}"


@pytest.mark.slow
def test_a_change_of_what_is_set_at_the_start_is_reported(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.write(config(mock_server.url, SERVER + 'port = 1\nlog_file = "x.log"\n'))
    gateway.signal(signal.SIGHUP)
    gateway.logged("at the next start: log_file")
    assert gateway.get("/health").status == 200


@pytest.mark.slow
def test_the_log_file_is_turned_over_at_10_mb(start: Start, mock_server: Any, tmp_path: Path) -> None:
    log = tmp_path / "out.log"
    log.write_bytes(b"old\n" * 2_499_990)
    gateway = start(config(mock_server.url), "--log-file", "out.log", env=ENV)

    def turned() -> bool:
        gateway.get("/health")
        return (tmp_path / "out.log.1").exists()

    until(turned, "the log is turned over")
    assert (tmp_path / "out.log.1").stat().st_size >= 10_000_000
    gateway.get("/health", x_request_id="after")
    until(lambda: "id=after" in log.read_text(), "the new file is written to")
    assert oct(log.stat().st_mode & 0o777) == "0o600"
    assert sorted(each.name for each in tmp_path.glob("out*")) == ["out.log", "out.log.1"]


@pytest.mark.slow
def test_a_log_that_is_not_read_stops_nothing(tmp_path: Path, mock_server: Any, start: Start) -> None:
    gateway = start(config(mock_server.url), "--log-file", "/dev/full", env=ENV)
    for _ in range(50):
        assert gateway.get("/health").status == 200


@pytest.mark.slow
def test_one_line_for_each_request_with_what_is_needed_and_no_more(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.token = TOKEN
    asked = ask("anthropic", "to-openai/demo", text="my secret prompt", stream=True)
    body = json.dumps(asked.body | {"top_k": 3}).encode()
    answer = gateway.send("POST", f"{asked.path}?beta=true&key=hidden-query", body, x_request_id="r-1")
    assert answer.headers["x-llm-router-lost"].split(", ")[0] == "top_k"  # behind it what its usage has, if that came at once
    gateway.logged("id=r-1")
    line = next(line for line in gateway.log.splitlines() if "id=r-1" in line)
    for part in ("POST /v1/messages 200 ", "first=", "to-openai/demo", "in=", "out=", "lost=top_k"):
        assert part in line
    assert "secret prompt" not in gateway.log and "hidden-query" not in gateway.log
    assert gateway.out == ""


@pytest.mark.slow
def test_a_process_that_is_called_from_outside_keeps_no_files_open(start: Start, mock_server: Any) -> None:
    gateway = start(config(mock_server.url), env=ENV)
    gateway.token = TOKEN
    gateway.chat("openai", "to-openai/demo")
    before = gateway.open_files()
    for caller, target in PAIRS:
        for model in ("demo", "fail-500", "fail-drop", "fail-cut"):
            for stream in (False, True):
                gateway.chat(caller, f"to-{target}/{model}", stream=stream)
    until(lambda: gateway.open_files() <= before + 3, "callers' and broken connections are closed")


# -------------------------------------------------------------------------------------------------------- a log in JSON


@pytest.mark.slow
def test_every_line_of_a_json_log_is_an_object_from_the_first_on(start: Start, mock_server: Any) -> None:
    text = '[server]\nlog_format = "json"\nlog_file = "log"\n' + provider("only", "openai", mock_server.url)
    gateway = start(text + '[frontend]\ntheme = "old"\n')
    assert gateway.chat("openai", "only/demo").status == 200
    gateway.logged('"event": "request"')
    assert gateway.end() == 0
    lines = [json.loads(line) for line in gateway.log.splitlines()]
    assert [line["event"] for line in lines][:3] == ["note", "listening", "request"]
    assert (lines[1]["port"], lines[1]["level"]) == (gateway.port, "info")
    assert all({"at", "level", "event", "message"} <= line.keys() or line["event"] == "request" for line in lines)
    assert (gateway.folder / "log").read_text().splitlines()[0] == gateway.log.splitlines()[1], "notes come before the file"


@pytest.mark.slow
@pytest.mark.parametrize("by_variable", [True, False])
def test_so_are_the_problems_that_prevent_a_start(by_variable: bool, tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[server]\nport = 'x'\n" + ("" if by_variable else "log_format = 'json'\n"))
    done = command(tmp_path, **({"LLM_ROUTER_LOG_FORMAT": "json"} if by_variable else {}))
    (line,) = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert (done.returncode, line["event"], line["level"]) == (2, "problem", "error")
    assert line["message"].startswith("server.port: ")
    done = command(tmp_path, "--check", LLM_ROUTER_LOG_FORMAT="json")
    assert done.stderr.decode().startswith("router.toml: 1 problem\n"), "a command is for people"
