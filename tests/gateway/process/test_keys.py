"""Keys against a real process: every protocol and every refusal, bounds, revocation under load, budgets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import (
    PAIRS,
    PLAIN,
    PROTOCOLS,
    Answer,
    Asked,
    Process,
    Upstream,
    ask,
    begun_stream,
    command,
    hold,
    http,
    is_error,
    made_up,
    sends,
    until,
    verdict,
    whole_stream,
)
from storing import kept

from llm_router_gateway.store.sqlite import key_watch

NAMES = ("plain", "off", "over", "far", "narrow", "grouped", "tagged", "short", "poor", "broke", "slow", "old")
SECRETS = {name: made_up(name) for name in NAMES}
ADMIN, TOKEN = made_up("admin"), made_up("token")
ENV = {"LLM_ROUTER_ADMIN_TOKEN": ADMIN, "LLM_ROUTER_TOKEN": TOKEN, "UP_KEY": made_up("up"),
       **{f"KEY_{name}": SECRETS[name] for name in NAMES}}  # fmt: skip
TERMS = {
    "plain": "", "off": "is_active = false", "over": 'expires_at = "2020-01-01"', "far": 'networks = ["10.0.0.0/8"]',
    "narrow": 'allowed_models = ["openai/m*"]\nallowed_providers = ["openai"]', "grouped": 'allowed_groups = ["all"]',
    "tagged": 'allowed_tags = ["cheap"]', "short": "parameter_limits = { max_tokens = 20, temperature = 0.5, n = 2 }",
    "poor": "budget = { tokens_per_day = 1 }", "broke": "budget = { usd_per_day = 1.0 }",
    "slow": "limits = { max_requests = 1, per_seconds = 1000, burst_size = 1 }",
    "old": "",
}  # fmt: skip
MODELS = """
[[{api}.models]]
name = "m"
tags = ["{tag}"]
[[{api}.models]]
name = "free"
config = {{ input_usd_per_mtok = 0, output_usd_per_mtok = 0 }}
"""
GROUPS = """
[[groups]]
name = "all"
members = [{ model = "openai/m" }, { model = "anthropic/m" }, { model = "gemini/m" }]
[[groups]]
name = "other"
members = [{ model = "anthropic/m" }, { model = "gemini/m" }]
"""


def config_of(url: str, server: str = "") -> str:
    providers = "".join(
        f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{url}"\napi_key_env = "UP_KEY"\n' for api in PROTOCOLS
    )
    models = "".join(MODELS.format(api=api, tag="cheap" if api == "gemini" else "dear") for api in PROTOCOLS)
    keys = "".join(f'[[keys]]\nname = "{name}"\nkey_env = "KEY_{name}"\n{terms}\n' for name, terms in TERMS.items())
    return f"[server]\n{server}\n{providers}{models}{GROUPS}{keys}"


def protocol_of(asked: Asked) -> str:
    path = asked.line.split()[1]
    endings = {"/messages": "anthropic", "/responses": "responses"}
    return "gemini" if "enerateContent" in path else endings.get(path[path.rindex("/") :], "openai")


def answers(sock: Any, asked: Asked) -> bool:
    """A whole answer, in the protocol that was asked in."""
    protocol = protocol_of(asked)
    is_stream = "stream" in asked.line.lower() or asked.json.get("stream") is True
    sock.sendall(whole_stream(protocol) if is_stream else http(json.dumps(PLAIN[protocol]).encode()))
    return True


@pytest.fixture(scope="module")
def gateway(module_start: Callable[..., Process], upstream: Upstream) -> Iterator[Process]:
    yield module_start(config_of(upstream.url), env=ENV)


@pytest.fixture(autouse=True)
def well(upstream: Upstream) -> None:
    upstream.does(answers)


def chat(gateway: Process, key: str, protocol: str, model: str, **more: Any) -> Answer:
    asked = ask(protocol, model, stream=more.pop("stream", False))
    body = json.dumps({**asked.body, **more}).encode()
    return gateway.send("POST", asked.path, body, authorization=f"Bearer {SECRETS.get(key, key)}")


# -- every protocol, every refusal


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("key", "model", "status", "told"),
    [
        ("nobody", "openai/m", 401, "not known"), ("", "openai/m", 401, "no key"), ("off", "openai/m", 403, "disabled"),
        ("over", "openai/m", 403, "expired at 2020-01-02"), ("far", "openai/m", 403, "127.0.0.1"),
        ("narrow", "anthropic/m", 403, "openai/m*"), ("narrow", "other", 403, "openai"), ("narrow", "tag:cheap", 403, "openai"),
        ("grouped", "openai/m", 403, "the groups all"), ("grouped", "other", 403, "all"), ("grouped", "tag:cheap", 403, "all"),
        ("tagged", "openai/m", 403, "the tags cheap"), ("narrow", "openai/none", 404, "none"),
        ("narrow", "nobody/m", 404, "nobody"),
        ("poor", "openai/m", 402, "1 tokens a day"), ("broke", "openai/m", 402, "input_usd_per_mtok"),
        ("broke", "all", 402, "input_usd_per_mtok"), ("plain", "openai/none", 404, "none"),
    ],
)  # fmt: skip
def test_a_refusal_is_reported_in_the_callers_protocol_with_its_reason(
    key: str, model: str, status: int, told: str, protocol: str, stream: bool, gateway: Process, upstream: Upstream
) -> None:
    answer = chat(gateway, key, protocol, model, stream=stream)
    assert answer.status == status, answer.data
    assert is_error(protocol, answer.json) and told in answer.data.decode(), answer.data
    assert SECRETS.get(key, "-" * 9) not in answer.data.decode()
    assert not upstream.requests
    if told.endswith("a day"):
        assert 0 < int(answer.headers["retry-after"]) <= 86_400 and "resets at 20" in answer.data.decode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_too_many_requests_of_one_key_get_a_time_to_retry(protocol: str, gateway: Process) -> None:
    answers_ = [chat(gateway, "slow", protocol, "openai/m") for _ in range(2)]
    assert answers_[-1].status == 429 and is_error(protocol, answers_[-1].json)
    assert 1 <= int(answers_[-1].headers["retry-after"]) <= 1000
    assert chat(gateway, "plain", protocol, "openai/m").status == 200, "others have their own"


@pytest.mark.parametrize(("protocol", "to"), PAIRS)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_allowed_goes_through(protocol: str, to: str, stream: bool, gateway: Process, upstream: Upstream) -> None:
    for key, model in (("plain", f"{to}/m"), ("narrow", "all"), ("grouped", "all"), ("tagged", "all"), ("broke", f"{to}/free")):
        answer = chat(gateway, key, protocol, model, stream=stream)
        assert answer.status == 200, answer.data
        assert not stream or verdict(protocol, answer.data) == "whole"
    used = [protocol_of(asked) for asked in upstream.requests]
    assert used[1] == "openai" and used[3] == "gemini", "of a group the members that are for the key"


def test_a_group_is_narrowed_to_the_members_that_are_for_the_key(gateway: Process) -> None:
    for name, chosen in (("narrow", "openai/m"), ("tagged", "gemini/m")):
        answer = gateway.send("POST", "/route", b'{"model": "all"}', authorization=f"Bearer {SECRETS[name]}")
        assert answer.json["model"] == chosen
        why = {row["model"]: row["why"] for row in answer.json["explain"]["candidates"]}
        assert [text for model, text in why.items() if model != chosen] == ["not allowed for this key"] * 2
    refused = gateway.send("POST", "/route", b'{"model": "other"}', authorization=f"Bearer {SECRETS['narrow']}")
    assert refused.status == 403


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("narrow", {"all", "openai/m"}), ("grouped", {"all"}), ("tagged", {"all", "other", "gemini/m"}),
        ("plain", {"all", "other", *(f"{api}/{model}" for api in PROTOCOLS for model in ("m", "free"))}),
    ],
)  # fmt: skip
def test_lists_hold_what_the_key_may_ask_for(key: str, names: set[str], gateway: Process) -> None:
    listed = gateway.get("/v1/models", authorization=f"Bearer {SECRETS[key]}").json["data"]
    assert {each["id"] for each in listed} == names
    for name in ("openai/m", "anthropic/m", "all", "openai/none"):
        status = 404 if name == "openai/none" else 200 if name in names else 403
        assert gateway.get(f"/v1/models/{name}", authorization=f"Bearer {SECRETS[key]}").status == status
    health = gateway.get("/health/models", authorization=f"Bearer {SECRETS[key]}").json["models"]
    if key == "narrow":
        assert {each["model"] for each in health} == {"openai/m"}


# -- bounds


def output_in(body: dict[str, Any]) -> Any:
    box = body.get("generationConfig", body)
    names = ("maxOutputTokens", "max_output_tokens", "max_completion_tokens", "max_tokens")
    return next((box[name] for name in names if box.get(name)), None)


@pytest.mark.parametrize(("protocol", "to"), PAIRS)
@pytest.mark.parametrize("stream", [False, True])
def test_bounds_hold_whatever_the_caller_says_and_however_it_is_converted(
    protocol: str, to: str, stream: bool, gateway: Process, upstream: Upstream
) -> None:
    """In the seed they were skipped where a request had no parameters, and knew one name of the limit."""
    more: list[dict[str, Any]] = [{}]
    if protocol == "gemini":
        more += [{"generationConfig": {"maxOutputTokens": 9000}}, {"generation_config": {"max_output_tokens": 9000}}]
    else:
        more += [{"max_tokens": 9000, "temperature": 1.0}]
    if protocol == "responses":
        more += [{"max_output_tokens": 9000}, {"max_output_tokens": -1}]
    if protocol == "openai":
        more += [{"max_completion_tokens": 9000}, {"n": 2, "max_tokens": 9000}, {"max_tokens": -1}]
    for fields in more:
        answer = chat(gateway, "short", protocol, f"{to}/m", stream=stream, **fields)
        assert answer.status in (200, 400), answer.data  # -1 is no number of tokens for a conversion
        if answer.status == 200:
            sent = upstream.requests[-1].json
            box = {**sent.get("generationConfig", {}), **sent.get("generation_config", {}), **sent}
            found = [box[name] for name in ("maxOutputTokens", "max_output_tokens", "max_completion_tokens", "max_tokens")
                     if name in box]  # fmt: skip
            assert found and max(found) * box.get("n", 1) <= 20, sent
            assert box["temperature"] == 0.5
            assert "max" in answer.headers["x-llm-router-limited"].lower()


def test_routed_requests_are_bounded_too(gateway: Process, upstream: Upstream) -> None:
    body = {"model": "openai/m", "request": {"prompt": "hi", "parameters": {}}}
    answer = gateway.send("POST", "/route/invoke", json.dumps(body).encode(), authorization=f"Bearer {SECRETS['short']}")
    assert answer.status == 200 and upstream.requests[-1].json["max_tokens"] == 20


def test_a_request_within_its_bounds_is_relayed_to_the_byte(gateway: Process, upstream: Upstream) -> None:
    body = b'{ "model":"m",  "messages": [{"role":"user","content":"\\u0068i"}],"max_tokens":1e1 , "temperature": 0.50}'
    sent = body.replace(b'"m"', b'"openai/m"')
    for key in ("short", "plain", "narrow"):
        gateway.send("POST", "/v1/chat/completions", sent, authorization=f"Bearer {SECRETS[key]}")
        assert upstream.requests[-1].body == body


def test_a_number_given_twice_does_not_pass_twice(gateway: Process, upstream: Upstream) -> None:
    body = b'{"model": "openai/m", "messages": [], "max_tokens": 9999, "max_tokens": 5}'
    gateway.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {SECRETS['short']}")
    assert b"9999" not in upstream.requests[-1].body
    text = body.replace(b"5}", b'"5"}')
    refused = gateway.send("POST", "/v1/chat/completions", text, authorization=f"Bearer {SECRETS['short']}")
    assert refused.status == 400 and len(upstream.requests) == 1


# -- who is in front


@pytest.mark.slow
def test_claimed_addresses_count_only_behind_trusted_proxies(start: Callable[..., Process], upstream: Upstream) -> None:
    trusting = start(config_of(upstream.url, 'trusted_proxies = ["127.0.0.1"]'), env=ENV)
    key = f"Bearer {SECRETS['far']}"
    for claimed, status in (("10.1.1.1", 200), ("10.1.1.1, 9.9.9.9", 403), ("9.9.9.9, 10.1.1.1", 200), ("", 403)):
        assert trusting.get("/v1/models", authorization=key, x_forwarded_for=claimed).status == status, claimed


@pytest.mark.slow
def test_a_forwarded_header_never_makes_a_caller_local(start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url, 'loopback_without_key = true\ntrusted_proxies = ["127.0.0.1"]'), env=ENV)
    assert gateway.get("/v1/models").status == 200 and gateway.get("/api-keys").status == 200
    for header in ("x_forwarded_for", "forwarded", "x_real_ip", "via"):
        assert gateway.get("/v1/models", **{header: "127.0.0.1"}).status == 401
    assert gateway.get("/v1/models", authorization=f"Bearer {SECRETS['off']}").status == 403, "a known key keeps its limits"


# -- revocation, by another process and under load


@pytest.mark.slow
def test_a_key_that_another_process_changes_is_followed_at_once(start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)

    def keys(*words: str) -> bytes:
        done = command(gateway.folder, "keys", *words, **ENV)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(key: str) -> int:
        return gateway.get("/v1/models", authorization=f"Bearer {key}").status

    key = keys("create", "--name", "cli").decode().strip()
    until(lambda: status(key) == 200, "the new key works")
    assert key_watch.LOOK_S <= 0.1, "all that passes before a change is known, on a machine that does nothing else"
    for words, expected in (("disable", 403), ("enable", 200), ("delete", 401)):
        keys(words, "cli")
        until(lambda expected=expected: status(key) == expected, words)


def test_a_key_that_is_revoked_while_it_calls_gets_nothing_after_the_answer(gateway: Process) -> None:
    answer = gateway.send("POST", "/api-keys", b'{"name": "busy"}', authorization=f"Bearer {ADMIN}")
    key, path = answer.json["key"], f"/api-keys/{answer.json['item']['id']}"
    seen: list[tuple[float, int]] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            began = time.monotonic()
            seen.append((began, chat(gateway, key, "openai", "openai/m").status))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for each in callers:
        each.start()
    until(lambda: len(seen) > 50)
    assert gateway.send("DELETE", path, authorization=f"Bearer {ADMIN}").status == 204
    gone = time.monotonic()
    until(lambda: len([1 for began, _ in list(seen) if began > gone]) > 50)
    stop.set()
    for each in callers:
        each.join()
    assert {status for began, status in seen if began > gone} == {401}
    assert {status for _, status in seen} == {200, 401}


@pytest.mark.slow
def test_keys_of_the_file_change_with_a_reload(start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url), env=ENV)
    old = f"Bearer {SECRETS['old']}"
    assert gateway.get("/v1/models", authorization=old).status == 200
    gateway.write(config_of(upstream.url).replace('[[keys]]\nname = "old"\nkey_env = "KEY_old"\n', ""))
    until(lambda: gateway.get("/v1/models", authorization=old).status == 401, "the key is gone")
    assert gateway.get("/v1/models", authorization=f"Bearer {TOKEN}").status == 200


# -- budgets


def usage_of(body: dict[str, Any]) -> dict[str, int]:
    """The most that a request allows, used up."""
    made = int(output_in(body) or 0) * int(body.get("n", 1))
    return {"prompt_tokens": 5, "completion_tokens": made, "total_tokens": 5 + made}


def slow_and_dear(sock: Any, asked: Asked) -> bool:
    time.sleep(0.02)
    sock.sendall(http(json.dumps({**PLAIN["openai"], "usage": usage_of(asked.json)}).encode()))
    return True


def test_parallel_calls_never_spend_more_than_the_budget(gateway: Process, upstream: Upstream) -> None:
    terms = {"name": "team", "budget": {"tokens_per_day": 6000}}
    key = gateway.send("POST", "/api-keys", json.dumps(terms).encode(), authorization=f"Bearer {ADMIN}").json["key"]
    upstream.does(slow_and_dear)
    seen: list[int] = []

    def call(number: int) -> None:
        for _ in range(6):
            more = {"n": 2} if number % 3 == 0 else {}
            seen.append(chat(gateway, key, "openai", "openai/m", max_tokens=300 + number, **more).status)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    spent = sum(usage_of(asked.json)["total_tokens"] for asked in upstream.requests)
    assert 4500 < spent <= 6000 and set(seen) == {200, 402} and seen.count(200) == len(upstream.requests)
    items = gateway.get("/api-keys", authorization=f"Bearer {ADMIN}").json["items"]
    assert next(each for each in items if each["name"] == "team")["spent"]["tokens_day"] == spent


@pytest.mark.slow
def test_what_was_spent_survives_a_restart(start: Callable[..., Process], upstream: Upstream) -> None:
    upstream.does(slow_and_dear)
    first = start(config_of(upstream.url), env=ENV)
    terms = {"name": "team", "budget": {"tokens_per_day": 2000}}
    key = first.send("POST", "/api-keys", json.dumps(terms).encode(), authorization=f"Bearer {ADMIN}").json["key"]
    assert chat(first, key, "openai", "openai/m", max_tokens=1500).status == 200
    first.end()
    second = start(config_of(upstream.url), env=ENV)
    item = second.get("/api-keys/team", authorization=f"Bearer {ADMIN}").json
    assert item["spent"]["tokens_day"] == 1505 and item["last_used_at"]
    assert chat(second, key, "openai", "openai/m", max_tokens=1500).status == 200  # bounded by what is left
    assert output_in(upstream.requests[-1].json) < 500
    assert chat(second, key, "openai", "openai/m", max_tokens=1500).status == 402


def test_a_stream_that_is_given_up_is_not_free(gateway: Process, upstream: Upstream) -> None:
    terms = {"name": "leaver", "budget": {"tokens_per_day": 100_000}}
    key = gateway.send("POST", "/api-keys", json.dumps(terms).encode(), authorization=f"Bearer {ADMIN}").json["key"]
    upstream.does(sends(begun_stream("openai"), hold))
    asked = ask("openai", "openai/m", stream=True)
    with gateway.opened("POST", asked.path, asked.data, authorization=f"Bearer {key}") as response:
        response.read(10)

    def spent() -> int:
        return int(gateway.get("/api-keys/leaver", authorization=f"Bearer {ADMIN}").json["spent"]["tokens_day"])

    assert until(spent, "something was booked") < 1000


# -- a store that is not there


@pytest.mark.slow
def test_without_a_place_for_a_store_calls_go_on(start: Callable[..., Process], upstream: Upstream) -> None:
    text = config_of(upstream.url, 'store = "none/such/router.db"').partition("[[keys]]")[0]
    gateway = start(text, env={"UP_KEY": ENV["UP_KEY"]})
    assert gateway.get("/v1/models").status == 200


@pytest.mark.slow
def test_a_store_that_is_lost_while_it_runs_does_not_open_the_door(start: Callable[..., Process], upstream: Upstream) -> None:
    gateway = start(config_of(upstream.url).partition("[[keys]]")[0], env={"UP_KEY": ENV["UP_KEY"]})
    key = gateway.send("POST", "/api-keys", b'{"name": "boss", "is_admin": true}').json["key"]
    until(lambda: gateway.get("/v1/models", authorization=f"Bearer {key}").status == 200)
    time.sleep(0.3)  # the next looks have seen it
    for each in gateway.folder.glob("router.db*"):
        each.unlink()
    until(lambda: chat(gateway, key, "openai", "openai/m").status == 401, "the key is gone with its store")
    assert gateway.get("/v1/models").status == 401


@pytest.mark.slow
def test_keys_that_cannot_be_read_at_the_start_admit_no_caller(
    start: Callable[..., Process], upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "router.toml").write_text('[[providers]]\nname = "ollama"\n')
    assert command(tmp_path, "keys", "create", "--name", "boss", "--admin").returncode == 0
    (tmp_path / "router.db").write_bytes(b"\0" * 100_000)
    gateway = start(config_of(upstream.url).partition("[[keys]]")[0], env={"UP_KEY": ENV["UP_KEY"]})
    refused = gateway.get("/v1/models")
    assert refused.status == 401 and "lost" in refused.data.decode()


def test_whose_calls_are_requested_is_no_credential(gateway: Process) -> None:
    """The monitor's `key` is a filter: with a session the page goes on working, and without one it lets nobody in."""
    login = gateway.send("POST", "/monitor/login", json.dumps({"key": ADMIN}).encode())
    cookie = login.headers["set-cookie"].partition(";")[0]
    assert gateway.get("/monitor/statistics?range=1h&key=config:plain", cookie=cookie).status == 200
    assert gateway.get(f"/monitor/statistics?range=1h&key={ADMIN}").status == 401


CI = """
[server]
admin_token = "{admin}"
workers = {workers}
[[providers]]
name = "up"
api = "openai"
base_url = "{url}/v1"
api_key = "x"
[[models]]
name = "m"
provider = "up"
"""
CI_OF_FILE = """
[[keys]]
name = "ci"
key = "{key}"
budget = {{ tokens_per_day = 700 }}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("is_of_file", "workers"), [(False, 1), (True, 1), (True, 2), (False, 2)])
def test_a_reset_lets_spending_begin_at_nothing_by_api_and_by_command(
    start: Callable[..., Process], upstream: Upstream, is_of_file: bool, workers: int
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 495}  # no more than is held for it
    upstream.does(sends(http(json.dumps({**PLAIN["openai"], "usage": usage}).encode())))
    admin, key = made_up("admin"), made_up("ci")
    tables = CI.format(admin=admin, workers=workers, url=upstream.url)
    gateway = start(tables + (CI_OF_FILE.format(key=key) if is_of_file else ""))
    as_admin = {"authorization": f"Bearer {admin}"}
    if not is_of_file:
        made = gateway.send("POST", "/api-keys", b'{"name": "ci", "budget": {"tokens_per_day": 700}}', **as_admin).json
        key = made["key"]
    body = json.dumps({"model": "up/m", "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]}).encode()

    def call() -> int:
        return gateway.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {key}").status

    def spent(of: Process) -> int:
        return of.get("/api-keys/ci", **as_admin).json["spent"]["tokens_day"]

    def spends_once() -> None:
        assert call() == 200
        until(lambda: spent(gateway) == 500, "what a worker spent is known to all")
        assert call() == 402

    spends_once()
    item = gateway.send("POST", "/api-keys/ci/reset", **as_admin).json
    assert (item["name"], item["spent"]["tokens_day"], item["reset"]["tokens_day"]) == ("ci", 0, 500)
    spends_once()
    until(lambda: len(kept(gateway.folder / "router.db")) == 4, "the rows")
    done = command(gateway.folder, "keys", "reset", "ci", "--json")
    assert (done.returncode, json.loads(done.stdout)["spent"]["tokens_day"]) == (0, 0)
    until(lambda: call() == 200, "the running gateway follows")
    assert command(gateway.folder, "keys", "reset", "nobody").returncode == 1
    listed = json.loads(command(gateway.folder, "keys", "list", "--json").stdout)["items"]
    assert [each["name"] for each in listed] == ([] if is_of_file else ["ci"])
    assert gateway.end() == 0
    again = start(config="", folder=gateway.folder)
    assert spent(again) == 500, "also after a restart"
