"""Providers and models changed in a running gateway: live, over reloads and restarts, with a damaged file and a full disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import (
    PLAIN,
    Answer,
    Process,
    Upstream,
    begun_stream,
    command,
    environment,
    hold,
    http,
    made_up,
    sends,
    text_of,
    until,
)

from llm_router_gateway.commands import install

Start = Callable[..., Process]
YES = sends(http(json.dumps(PLAIN["openai"]).encode()))


@pytest.fixture
def other() -> Iterator[Upstream]:
    with Upstream() as server:
        server.does(YES)
        yield server


@pytest.fixture(autouse=True)
def answering(upstream: Upstream) -> None:
    upstream.does(YES)


def provider(name: str, url: str, more: str = "") -> str:
    return f'[[providers]]\nname = "{name}"\napi = "openai"\nbase_url = "{url}/v1"\nany_model = true\n{more}\n'


# Beside others, so that a name whose provider is gone is nobody's: one alone would take it for a model of its own.
Z = provider("z", "http://127.0.0.1:1") + provider("y", "http://127.0.0.1:1")


def ask(gateway: Process, method: str, path: str, body: Any = None) -> Answer:
    return gateway.send(method, path, None if body is None else json.dumps(body).encode())


def kept(gateway: Process) -> Any:
    return json.loads((gateway.folder / "router.overlay.json").read_text())


def again(start: Start, gateway: Process, config: str = "", **how: Any) -> Process:
    """The same gateway, started anew over the same files."""
    if gateway.is_running:
        gateway.end()
    text = config or (gateway.folder / "router.toml").read_text()
    return start(text, folder=gateway.folder, **how)


# ------------------------------------------------------------------------------------------------------------------ live


@pytest.mark.slow
def test_an_address_changes_under_calls_and_none_of_them_fails(start: Start, upstream: Upstream, other: Upstream) -> None:
    gateway = start(provider("a", upstream.url))
    statuses: list[int] = []
    over = threading.Event()

    def calls() -> None:
        while not over.is_set():
            statuses.append(gateway.chat("openai", "a/m").status)

    callers = [threading.Thread(target=calls) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for place in range(30):
            url = (upstream, other)[place % 2 == 0].url + "/v1"
            assert ask(gateway, "PATCH", "/providers/a", {"base_url": url}).json["base_url"] == url
        seen = len(upstream.requests)
        assert ask(gateway, "PATCH", "/providers/a", {"base_url": other.url + "/v1"}).status == 200
        assert gateway.chat("openai", "a/m").status == 200
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert set(statuses) == {200}
    assert seen
    assert other.requests
    upstream.requests.clear()
    assert gateway.chat("anthropic", "a/m").status == 200
    assert upstream.requests == []


@pytest.mark.slow
def test_a_stream_that_is_open_ends_as_it_began(start: Start, upstream: Upstream) -> None:
    gateway = start(provider("a", upstream.url))
    upstream.does(sends(begun_stream("openai"), hold))
    with gateway.streaming("openai", "a/m") as response:
        assert response.status == 200
        assert ask(gateway, "DELETE", "/providers/a").status == 204
        assert gateway.chat("openai", "a/m").status == 404
        assert upstream.open == 1  # the stream goes on


def test_a_switch_a_new_provider_and_a_new_model_are_in_force_at_once(start: Start, upstream: Upstream) -> None:
    gateway = start(provider("a", upstream.url))
    assert ask(gateway, "PATCH", "/v1/providers/a", {"is_active": False}).json["is_active"] is False
    assert gateway.chat("openai", "a/m").status == 404
    new = {"name": "mine", "api": "openai", "base_url": upstream.url + "/v1", "api_key": made_up("new")}
    assert ask(gateway, "POST", "/providers", new).status == 201
    assert ask(gateway, "POST", "/models", {"provider": "mine", "name": "llama3:8b", "tags": ["local"]}).status == 201
    assert text_of("openai", gateway.chat("openai", "tag:local").json) == "yes"
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {new['api_key']}"
    assert gateway.chat("gemini", "mine/llama3:8b").status == 200  # POST below /models is still Gemini's
    assert [each["id"] for each in ask(gateway, "GET", "/models?tags=local").json] == ["mine/llama3:8b"]
    assert len(ask(gateway, "GET", "/models?tag=local&tag=local,&provider_types=custom_http").json) == 1
    assert ask(gateway, "GET", "/models?tag=local&tag=other").json == []
    assert ask(gateway, "PATCH", "/models/mine/llama3%3A8b", {"is_active": False}).status == 200
    assert ask(gateway, "GET", "/models?tags=local").json == []
    assert gateway.chat("openai", "tag:local").status == 503
    assert ask(gateway, "DELETE", "/models/mine/llama3:8b").status == 204
    assert gateway.chat("openai", "tag:local").status == 404


@pytest.mark.slow
def test_a_change_fills_no_bucket_and_closes_no_breaker(start: Start, upstream: Upstream) -> None:
    gateway = start(provider("a", upstream.url, "limits = { max_requests = 2, per_seconds = 3600 }"))
    assert [gateway.chat("openai", "a/m").status for _ in range(3)] == [200, 200, 429]
    assert ask(gateway, "PATCH", "/providers/a", {"settings": {"timeout": 5}}).status == 200
    assert gateway.chat("openai", "a/m").status == 429
    assert ask(gateway, "POST", "/config/sync").json["success"] is True
    assert gateway.chat("openai", "a/m").status == 429
    assert ask(gateway, "PATCH", "/providers/a", {"limits": {}}).status == 200
    assert gateway.chat("openai", "a/m").status == 200


@pytest.mark.slow
def test_changes_at_once_all_hold(start: Start, upstream: Upstream) -> None:
    gateway = start(provider("a", upstream.url))
    statuses: list[int] = []

    def add(place: int) -> None:
        statuses.append(ask(gateway, "POST", "/models", {"provider": "a", "name": f"m{place % 12}"}).status)

    adders = [threading.Thread(target=add, args=(place,)) for place in range(24)]
    for each in adders:
        each.start()
    for each in adders:
        each.join()
    assert sorted(statuses) == [201] * 12 + [409] * 12
    assert set(kept(gateway)["models"]) == {f"a/m{place}" for place in range(12)}


# --------------------------------------------------------------------------------------------------- reloads, restarts


@pytest.mark.slow
def test_a_reload_and_a_restart_keep_what_the_api_changed(start: Start, upstream: Upstream, other: Upstream) -> None:
    one, two = provider("a", upstream.url), provider("b", upstream.url)
    gateway = start(one + two)
    ask(gateway, "PATCH", "/providers/a", {"base_url": other.url + "/v1"})
    ask(gateway, "DELETE", "/providers/b")
    gateway.write(one + two + provider("c", upstream.url))
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.chat("openai", "c/m").status == 200, "the new file is in force")
    for _ in range(2):
        assert [each["name"] for each in ask(gateway, "GET", "/providers").json] == ["a", "c"]
        before = len(other.requests)
        assert gateway.chat("openai", "a/m").status == 200
        assert len(other.requests) == before + 1
        gateway = again(start, gateway)
    gateway.write(provider("c", upstream.url))  # a goes: what was changed of it is told, and waits
    gateway.signal(signal.SIGHUP)
    gateway.logged("a was changed through the API, and the file has no a")
    assert gateway.chat("openai", "c/m").status == 200
    assert ask(gateway, "GET", "/providers/a").status == 404


@pytest.mark.slow
def test_what_the_file_renames_or_removes_is_gone(start: Start, upstream: Upstream) -> None:
    gateway = start(Z + provider("a", upstream.url) + '[[models]]\nname = "m"\nprovider = "a"\n')
    ask(gateway, "PATCH", "/models/a/m", {"tags": ["x"]})
    gateway.write(Z + provider("renamed", upstream.url))
    assert ask(gateway, "POST", "/config/sync").json["success"] is True
    assert gateway.chat("openai", "a/m").status == 404
    assert ask(gateway, "GET", "/models?include_inactive=1").json == []


@pytest.mark.slow
def test_a_sync_of_a_bad_file_says_so_and_nothing_changes(start: Start, upstream: Upstream) -> None:
    gateway = start(Z + provider("a", upstream.url))
    gateway.write(provider("b", upstream.url) + '[[models]]\nname = "m"\nprovider = "none"\n[server]\nprot = 1\n')
    told = ask(gateway, "POST", "/config/sync")
    assert (told.status, told.json["success"], told.json["config_file"]) == (422, False, "router.toml")
    assert [problem["path"] for problem in told.json["problems"]] == ["server.prot", "models[0].provider"]
    assert gateway.chat("openai", "a/m").status == 200
    assert gateway.chat("openai", "b/m").status == 404
    gateway.write("this is no TOML")
    assert ask(gateway, "POST", "/config/sync").status == 422
    assert ask(gateway, "PATCH", "/providers/a", {"is_active": False}).status == 200  # over what is in force


@pytest.mark.slow
def test_an_answered_change_survives_a_kill(start: Start, upstream: Upstream) -> None:
    gateway = start(provider("a", upstream.url))
    for place in range(5):
        assert ask(gateway, "POST", "/models", {"provider": "a", "name": f"m{place}"}).status == 201
        gateway.signal(signal.SIGKILL)
        gateway.ended()
        gateway = again(start, gateway)
        assert len(ask(gateway, "GET", "/models?include_inactive=1").json) == place + 1


@pytest.mark.slow
def test_a_hand_that_writes_the_overlay_is_followed(start: Start, upstream: Upstream) -> None:
    gateway = start(Z + provider("a", upstream.url))
    new = gateway.folder / "new"
    new.write_text('{"format": 1, "providers": {"a": {"state": "changed", "fields": {"is_active": false}}}}')
    new.replace(gateway.folder / "router.overlay.json")
    until(lambda: gateway.chat("openai", "a/m").status == 404, "it is taken over like the file")


# ------------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.slow
def test_a_damaged_overlay_is_moved_aside_and_traffic_goes_on(start: Start, upstream: Upstream) -> None:
    gateway = start(Z + provider("a", upstream.url) + provider("b", upstream.url))
    ask(gateway, "PATCH", "/providers/b", {"is_active": False})
    overlay = gateway.folder / "router.overlay.json"
    overlay.write_bytes(overlay.read_bytes()[:-20])
    gateway.logged("is damaged")
    gateway.logged("stay in effect and were saved again")
    assert (gateway.chat("openai", "a/m").status, gateway.chat("openai", "b/m").status) == (200, 404)
    assert kept(gateway)["providers"]["b"]["fields"] == {"is_active": False}
    gateway.end()
    overlay.write_bytes(b"\0\0\0")
    gateway = again(start, gateway)
    gateway.logged("moved aside to")
    assert gateway.chat("openai", "b/m").status == 200
    assert len(list(gateway.folder.glob("router.overlay.json.damaged-*"))) == 2
    assert ask(gateway, "PATCH", "/providers/b", {"is_active": False}).status == 200


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_disk_that_takes_no_more_refuses_the_change_and_nothing_else(start: Start, upstream: Upstream) -> None:
    import resource

    gateway = start(Z + provider("a", upstream.url) + provider("b", upstream.url))
    assert ask(gateway, "PATCH", "/providers/b", {"is_active": False}).status == 200
    before = (gateway.folder / "router.overlay.json").read_bytes()
    free = resource.prlimit(gateway._process.pid, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    long = {"provider": "a", "name": "m", "description": "x" * 250_000}
    told = ask(gateway, "POST", "/models", long)
    assert (told.status, told.json["error"]["code"]) == (507, "not_saved")
    assert "File too large" in told.json["error"]["message"]
    assert (gateway.folder / "router.overlay.json").read_bytes() == before
    assert not list(gateway.folder.glob(".router*"))
    assert ask(gateway, "GET", "/models?include_inactive=1").json == []
    assert (gateway.chat("openai", "a/m").status, gateway.chat("openai", "b/m").status) == (200, 404)
    gateway.logged("cannot be written: File too large")
    resource.prlimit(gateway._process.pid, resource.RLIMIT_FSIZE, free)
    assert ask(gateway, "POST", "/models", long).status == 201


@pytest.mark.slow
def test_what_makes_no_configuration_is_refused_with_every_problem(start: Start, upstream: Upstream) -> None:
    gateway = start(provider("a", upstream.url) + '[[groups]]\nname = "g"\nmembers = [{ model = "a/m" }]\n')
    told = ask(gateway, "POST", "/providers", {"name": "b", "type": "nobody", "settings": {"timeout": 0}})
    assert told.status == 422
    assert [each["path"] for each in told.json["error"]["problems"]] == ["providers.b.settings.timeout", "providers.b.type"]
    told = ask(gateway, "DELETE", "/providers/a")
    assert [each["path"] for each in told.json["error"]["problems"]] == ["groups[0].members[0].model"]
    assert gateway.chat("openai", "g").status == 200
    assert not (gateway.folder / "router.overlay.json").exists()


# ----------------------------------------------------------------------------------------------------------- who, secrets


@pytest.mark.slow
def test_only_administrators_may(start: Start, upstream: Upstream) -> None:
    token, admin = made_up("caller"), made_up("admin")
    env = {"LLM_ROUTER_TOKEN": token, "LLM_ROUTER_ADMIN_TOKEN": admin}
    gateway = start(provider("a", upstream.url), env=env)
    asked = [("GET", "/providers"), ("POST", "/providers"), ("GET", "/providers/a"), ("PATCH", "/providers/a"),
             ("DELETE", "/providers/a"), ("POST", "/models"), ("PATCH", "/models/a/m"), ("DELETE", "/models/a/m"),
             ("GET", "/monitor/models"), ("POST", "/config/sync")]  # fmt: skip
    for method, path in asked:
        assert gateway.send(method, path).status == 401, path
        assert gateway.send(method, path, authorization=f"Bearer {token}").status == 403, path
    assert gateway.send("GET", "/models?tags=x", authorization=f"Bearer {token}").status == 200
    assert gateway.send("GET", "/providers", authorization=f"Bearer {admin}").status == 200


@pytest.mark.slow
def test_no_secret_is_in_any_answer_log_or_print(start: Start, upstream: Upstream, tmp_path: Path) -> None:
    in_file, written, header = made_up("file"), made_up("written"), made_up("header")
    text = provider("a", upstream.url, f'api_key = "{in_file}"')
    gateway = start(text, "-l", "debug")
    answers = [
        ask(gateway, method, path, body).data.decode()
        for method, path, body in [
            ("POST", "/providers", {"name": "b", "api": "openai", "base_url": upstream.url, "api_key": written}),
            ("PATCH", "/providers/b", {"settings": {"headers": {"x-more": header}}}),
            ("PATCH", "/providers/b", {"api_key": written + "\n"}),
            ("PATCH", "/providers/a", {"base_url": "http://127.0.0.1:1"}),  # its key would go there
            ("GET", "/providers", None), ("GET", "/providers/b", None), ("GET", "/models?include_inactive=1", None),
            ("GET", "/monitor/models", None), ("POST", "/config/sync", None), ("GET", "/health/models", None),
            ("POST", "/v1/chat/completions", {"model": "b/m", "messages": []}),
        ]
    ]  # fmt: skip
    assert "is not sent to a different address" in answers[3]
    printed = command(gateway.folder, "-c", "router.toml", "--print-config")
    assert b"# overlay: added" in printed.stdout
    told = "\n".join([*answers, gateway.log, gateway.out, printed.stdout.decode(), printed.stderr.decode()])
    assert "has_key" in told
    for secret in (in_file, written, header):
        assert secret not in told
    assert upstream.requests[-1].headers["x-more"] == header  # and yet it is sent
    assert (gateway.folder / "router.overlay.json").stat().st_mode & 0o777 == 0o600
    assert written in (gateway.folder / "router.overlay.json").read_text()
    gateway.logged("reloaded")


@pytest.mark.slow
def test_without_a_file_changes_last_until_the_stop(start: Start, upstream: Upstream, tmp_path: Path) -> None:
    gateway = start("", "--demo")
    assert ask(gateway, "PATCH", "/providers/demo-gemini", {"is_active": False}).status == 200
    assert gateway.chat("openai", "demo-gemini/demo").status == 404
    assert ask(gateway, "POST", "/config/sync").json["config_file"] is None
    assert gateway.chat("openai", "demo-gemini/demo").status == 404
    assert not list(gateway.folder.glob("*overlay*"))


@pytest.mark.slow
def test_the_health_check_of_the_container_is_one(start: Start, upstream: Upstream, tmp_path: Path) -> None:
    gateway = start(provider("a", upstream.url))
    for port, code in ((gateway.port, 0), (1, 1)):
        env = environment(tmp_path, {"LLM_ROUTER_PORT": str(port), "http_proxy": "http://127.0.0.1:1"})
        argv = [sys.executable, "-c", install.HEALTH]
        assert subprocess.run(argv, env=env, capture_output=True, timeout=30, check=False).returncode == code
