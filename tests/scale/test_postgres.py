"""Gateways on one PostgreSQL, as processes: what one knows all know, and what an outage does to keys, calls and pages.

Each of the public reports of how others fail here is named by its rule; the tests need psycopg and a PostgreSQL (apt).
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer, missing
from running import Process, made_up, until

pytestmark = pytest.mark.slow

ADMIN = made_up("adm")
CONFIG = """[server]
store = "{store}"
admin_token = "{admin}"
keys_valid_offline_s = {valid_s}
{more}
[[providers]]
name = "up"
api = "openai"
base_url = "{upstream}/v1"
api_key = "{key}"
any_model = true
"""
Replicas = Callable[..., Process]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may end."""
    why = missing()
    if why:
        pytest.skip(why)
    with PostgresServer() as made:
        yield made


@pytest.fixture
def upstream() -> Iterator[Any]:
    from llm_router_demo import DemoServer

    with DemoServer() as made:
        yield made


@pytest.fixture
def replica(tmp_path: Path, upstream: Any) -> Iterator[Replicas]:
    """replica("a", address, valid_s=3600, more="") -> a gateway that runs in a folder of its own; ended with the test."""
    started: list[Process] = []

    def begin(name: str, address: str, *, valid_s: float = 3_600, more: str = "") -> Process:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        text = CONFIG.format(store=address, admin=ADMIN, valid_s=valid_s, more=more, upstream=upstream.url, key=made_up("k"))
        started.append(Process(folder, text))
        started[-1].token = ADMIN
        return started[-1]

    yield begin
    for each in started:
        each.end()
        assert not each.faults(), each.log


def post(gateway: Process, path: str, value: Any, method: str = "POST") -> Any:
    answer = gateway.send(method, path, json.dumps(value).encode(), content_type="application/json")
    assert answer.status < 300, answer
    return answer.json if answer.data else None


def chat_as(gateway: Process, key: str, text: str = "hi") -> Any:
    body = {"model": "up/demo", "messages": [{"role": "user", "content": text}]}
    return gateway.send("POST", "/v1/chat/completions", json.dumps(body).encode(), authorization=f"Bearer {key}")


def replicas_of(gateway: Process) -> Any:
    return gateway.get("/monitor/replicas").json


def calls_in(address: str) -> int:
    import psycopg

    with psycopg.connect(address) as db:
        row = db.execute("SELECT count(*) FROM calls WHERE status = 200").fetchone()  # refusals are there, too
        assert row is not None
        return int(row[0])


def test_a_key_that_is_revoked_at_one_gateway_is_refused_by_the_other_within_half_a_second(
    server: PostgresServer, replica: Replicas
) -> None:
    address = server.database()
    one, two = replica("one", address), replica("two", address)
    times = []
    for number in range(5):
        made = post(one, "/api-keys", {"name": f"laptop-{number}"})
        until(lambda key=made["key"]: chat_as(two, key).status == 200, "the new key is known")
        began = time.monotonic()
        post(one, f"/api-keys/{made['item']['id']}", {"is_active": False}, "PATCH")
        changed = time.monotonic()
        until(lambda key=made["key"]: chat_as(two, key).status == 403, "the key is refused")
        times.append(time.monotonic() - changed)
        assert changed >= began
    assert min(times) < 0.5, times  # on a machine that does other things; each is polled for at least every 0.4 s
    deleted = post(one, "/api-keys", {"name": "gone"})
    until(lambda: chat_as(two, deleted["key"]).status == 200)
    assert one.send("DELETE", f"/api-keys/{deleted['item']['id']}").status == 204
    until(lambda: chat_as(two, deleted["key"]).status == 401)


def test_a_change_of_keys_that_nothing_notifies_of_is_found_by_looking(server: PostgresServer, replica: Replicas) -> None:
    """A message that is lost, or a pool that does not pass it on."""
    import psycopg

    address = server.database()
    one = replica("one", address)
    made = post(one, "/api-keys", {"name": "laptop"})
    assert chat_as(one, made["key"]).status == 200
    with psycopg.connect(address) as db:
        db.execute("SET session_replication_role = replica")  # without triggers, and so without NOTIFY
        db.execute("DELETE FROM api_keys WHERE id = %s", (made["item"]["id"],))
        db.execute("UPDATE meta SET value = (value::bigint + 1)::text WHERE name = 'keys_generation'")
    until(lambda: chat_as(one, made["key"]).status == 401, "the key is refused")


@pytest.mark.parametrize("more", ["", "workers = 2"])
def test_without_redis_a_budget_that_is_spent_at_one_gateway_is_used_up_at_the_others(
    server: PostgresServer, replica: Replicas, more: str
) -> None:
    address = server.database()
    one, two = replica("one", address), replica("two", address, more=more)
    made = post(one, "/api-keys", {"name": "laptop", "budget": {"tokens_per_day": 3_000}})
    key, name = made["key"], made["item"]["id"]
    until(lambda: chat_as(two, key).status == 200, "the new key is known")
    while (answer := chat_as(one, key)).status == 200:  # all that is left, at one
        pass
    assert answer.status == 402 and "3000 tokens a day" in answer.data.decode()
    until(lambda: chat_as(two, key).status == 402, "the other has heard of it")
    until(lambda: len({each.get(f"/api-keys/{name}").json["spent"]["tokens_day"] for each in (one, two)}) == 1, "both show it")
    three = replica("three", address)
    until(lambda: chat_as(three, key).status == 402, "one that starts later knows it")


def test_any_gateway_shows_the_page_for_all_and_marks_the_silent_and_the_different(
    server: PostgresServer, replica: Replicas
) -> None:
    address = server.database()
    one, two = replica("one", address), replica("two", address)
    key = post(one, "/api-keys", {"name": "team"})["key"]
    for gateway in (one, two):
        until(lambda gateway=gateway: chat_as(gateway, key).status == 200)
    for gateway in (one, two):
        until(lambda gateway=gateway: gateway.get("/monitor/invocations").json["total"] >= 2)
        assert gateway.get("/monitor/statistics?range=1h").json["overall"]["success"] == 2
        assert len(gateway.get("/monitor/export.jsonl").data.splitlines()) >= 2
        until(lambda gateway=gateway: replicas_of(gateway)["alive"] == 2)
        shown = replicas_of(gateway)
        assert [each["is_self"] for each in shown["items"]] == [True, False] and shown["configurations"] == 1
        assert not shown["differences"] and all(each["version"] and each["config"] for each in shown["items"])
        assert all("leases" in each for each in shown["items"])
    until(lambda: 'llm_router_replicas{state="alive"} 2' in one.get("/metrics").data.decode())
    three = replica("three", address, more="drain_s = 7")
    one.logged("different configurations")
    until(lambda: replicas_of(two)["configurations"] == 2)
    assert two.get("/monitor/statistics?range=1h").json["store"]["replicas"]["differences"]
    three.end()
    until(lambda: replicas_of(two)["alive"] == 2 and replicas_of(two)["configurations"] == 1)  # it said good-bye
    assert not replicas_of(two)["silent"]
    one.signal(signal.SIGKILL)
    one.ended()
    until(lambda: len(replicas_of(two)["silent"]) == 1, "the killed gateway is marked")
    assert 'llm_router_replicas{state="silent"} 1' in two.get("/metrics").data.decode()
    assert [(each["is_self"], each["is_silent"]) for each in replicas_of(two)["items"]] == [(True, False), (False, True)]
    assert two.get("/monitor/statistics?range=1h").json["store"]["replicas"]["silent"] == replicas_of(two)["silent"]
    assert server.password not in two.log and server.password not in json.dumps(replicas_of(two))


def test_an_outage_loses_no_call_keeps_known_keys_and_refuses_unknown_ones(server: PostgresServer, replica: Replicas) -> None:
    address = server.database()
    one, two = replica("one", address), replica("two", address)
    key = post(one, "/api-keys", {"name": "team"})["key"]
    until(lambda: chat_as(two, key).status == 200)
    until(lambda: calls_in(address) == 1)
    until(lambda: replicas_of(one)["alive"] == 2, "they know each other")
    server.kill()
    one.logged("calls cannot be stored")
    until(lambda: chat_as(one, f"{key[:-6]}abcdef").status == 503, "an unknown key cannot be judged")
    refused = chat_as(one, f"{key[:-6]}abcdef")
    assert "cannot be reached" in refused.data.decode() and refused.headers["retry-after"]
    for gateway in (one, two):
        for _ in range(5):
            assert chat_as(gateway, key).status == 200
    assert one.get("/monitor/invocations").status == 503
    until(lambda: replicas_of(one)["silent"], "what was heard before the outage is not shown as news")
    assert replicas_of(one)["alive"] == 1 and replicas_of(one)["items"][0]["is_self"]
    assert (one.get("/health/ready").status, one.get("/health/ready").json["checks"]["store"]) == (200, "away")
    answer = one.send("POST", "/api-keys", json.dumps({"name": "new"}).encode(), content_type="application/json")
    assert answer.status == 503 and server.password not in answer.data.decode()
    server.start()
    until(lambda: calls_in(address) == 11, "every call of the outage is stored")
    until(lambda: chat_as(one, f"{key[:-6]}abcdef").status == 401)
    assert chat_as(two, key).status == 200
    until(lambda: calls_in(address) == 12)
    assert one.get("/monitor/invocations?status=200").json["total"] == 12


@pytest.mark.parametrize("more", ["", "workers = 2"])
def test_known_keys_end_when_the_store_has_been_away_for_too_long(server: PostgresServer, replica: Replicas, more: str) -> None:
    address = server.database()
    one = replica("one", address, valid_s=2, more=more)
    key = post(one, "/api-keys", {"name": "team"})["key"]
    assert chat_as(one, key).status == 200
    server.kill()
    unheard = f"llmr_{made_up('unheard')}"  # perhaps another gateway made it just now
    until(lambda: [chat_as(one, unheard).json["error"]["code"] for _ in range(6)] == ["keys_out_of_reach"] * 6)
    until(lambda: {chat_as(one, key).status for _ in range(6)} == {503}, "the key is not taken any more")
    assert "keys_valid_offline_s" in chat_as(one, key).data.decode()
    assert chat_as(one, ADMIN).status == 200  # of the configuration: it needs no store
    server.start()
    until(lambda: {chat_as(one, key).status for _ in range(6)} == {200})
    until(lambda: {chat_as(one, unheard).status for _ in range(6)} == {401})


def test_a_right_that_is_taken_away_is_in_the_log_once_and_known_keys_go_on(
    server: PostgresServer, replica: Replicas, tmp_path: Path
) -> None:
    import psycopg
    from running import command

    owner = server.database()
    with psycopg.connect(owner, autocommit=True) as db:
        db.execute("CREATE ROLE plain LOGIN PASSWORD 'gate-way'")
        db.execute(f"ALTER DATABASE {owner.rpartition('/')[2]} OWNER TO plain")  # type: ignore[arg-type]
        address = f"postgresql://plain:gate-way@{owner.rpartition('@')[2]}"  # pragma: allowlist secret
        one = replica("one", address)
        key = post(one, "/api-keys", {"name": "team"})["key"]
        assert chat_as(one, key).status == 200
        db.execute("REVOKE ALL ON api_keys FROM plain")
        post(replica("two", owner), "/api-keys", {"name": "other"})  # so that there is something to read
        one.logged(
            "keys and messages of other gateways cannot be read from the database: permission denied for table api_keys (42501)"
        )
        assert (chat_as(one, key).status, chat_as(one, f"{key[:-6]}abcdef").status) == (200, 503)
        until(lambda: calls_in(owner) == 2, "calls are stored all the same")
        db.execute("ALTER TABLE api_keys OWNER TO CURRENT_USER")
        done = command(tmp_path / "one", "-c", "router.toml", "--check")
        assert done.returncode == 1 and b"plain does not own api_keys" in done.stdout and b"gate-way" not in done.stdout
        db.execute("ALTER TABLE api_keys OWNER TO plain")
        db.execute("GRANT ALL ON api_keys TO plain")
        until(lambda: chat_as(one, f"{key[:-6]}abcdef").status == 401, "keys are read again")
    assert one.log.count("permission denied for table api_keys") == 1


def test_a_gateway_starts_without_the_server_and_has_its_keys_when_it_is_back(
    server: PostgresServer, replica: Replicas
) -> None:
    address = server.database()
    first = replica("one", address)
    key = post(first, "/api-keys", {"name": "team"})["key"]
    first.end()
    server.kill()
    one = replica("one", address)
    assert chat_as(one, key).status == 503 and chat_as(one, ADMIN).status == 200
    server.start()
    until(lambda: chat_as(one, key).status == 200)
    until(lambda: calls_in(address) == 2)


def test_a_stored_answer_is_built_upon_at_another_gateway(server: PostgresServer, replica: Replicas) -> None:
    address = server.database()
    one, two = replica("one", address), replica("two", address)
    first = post(one, "/v1/responses", {"model": "up/demo", "input": "first words"})
    second = post(two, "/v1/responses", {"model": "up/demo", "input": "and more", "previous_response_id": first["id"]})
    assert second["previous_response_id"] == first["id"]
    assert two.get(f"/v1/responses/{first['id']}").status == 200


def test_kills_of_gateways_and_of_the_server_leave_no_call_twice_and_only_the_last_batch_out(
    server: PostgresServer, replica: Replicas
) -> None:
    import psycopg

    address = server.database()
    gateways = {name: replica(name, address) for name in ("one", "two")}
    answered: list[str] = []
    stop = threading.Event()

    def traffic(name: str) -> None:
        while not stop.is_set():
            try:
                answer = chat_as(gateways[name], ADMIN)
            except OSError:
                continue
            if answer.status == 200:
                answered.append(answer.headers["x-request-id"])

    threads = [threading.Thread(target=traffic, args=(name,)) for name in ("one", "two", "one", "two")]
    for each in threads:
        each.start()
    lost = 0
    for turn in range(4):
        begun = len(answered)
        until(lambda begun=begun: len(answered) > begun + 100)
        if turn % 2:
            server.kill()
            begun = len(answered)
            until(lambda begun=begun: len(answered) > begun + 100)
            server.start()
        else:
            name = ("one", "two")[turn // 2]
            before = len(answered)
            gateways[name].signal(signal.SIGKILL)
            gateways[name].ended()
            lost += 1
            gateways[name] = replica(name, address)
            assert len(answered) >= before
    stop.set()
    for each in threads:
        each.join()
    for gateway in gateways.values():
        until(lambda gateway=gateway: not gateway.get("/monitor/statistics?range=1h").json["store"]["rows_waiting"])
        assert gateway.end() == 0
    with psycopg.connect(address) as db:
        stored = [row[0] for row in db.execute("SELECT request_id FROM calls").fetchall()]
        total = db.execute("SELECT sum(calls) FROM totals WHERE step_s = 86400 AND model = '*' AND key_id = '*'").fetchone()
    assert len(stored) == len(set(stored)), "a call is there twice"
    assert total is not None and int(total[0]) == len(stored)
    missed = set(answered) - set(stored)
    assert len(missed) <= lost * 200, (len(missed), len(answered))  # what a killed process had not handed over


def test_a_provider_that_is_changed_at_one_gateway_is_changed_at_all(server: PostgresServer, replica: Replicas) -> None:
    address = server.database()
    one, two = replica("one", address), replica("two", address)
    post(one, "/providers", {"name": "more", "api": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": made_up("k")})

    def names(gateway: Process) -> list[str]:
        return [each["name"] for each in gateway.get("/providers").json]

    assert names(one) == ["up", "more"]
    until(lambda: names(two) == ["up", "more"], "the other gateway has the provider")
    post(two, "/providers/more", {"is_active": False}, "PATCH")
    until(lambda: not one.get("/providers/more").json["is_active"])
    three = replica("three", address)
    until(lambda: names(three) == ["up", "more"], "a gateway that starts later has it, too")
    assert two.send("DELETE", "/providers/more").status < 300
    for gateway in (one, three):
        until(lambda gateway=gateway: names(gateway) == ["up"])
    until(lambda: replicas_of(one)["alive"] == 3 and replicas_of(one)["configurations"] == 1)
    server.kill()
    until(lambda: one.get("/monitor/invocations").status == 503)
    body = json.dumps({"name": "late", "api": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": made_up("k")}).encode()
    refused = one.send("POST", "/providers", body, content_type="application/json")
    assert refused.status >= 500 and "nothing was changed" in refused.data.decode() and names(one) == ["up"]


def test_the_password_is_shown_nowhere(server: PostgresServer, tmp_path: Path) -> None:
    from running import command

    (tmp_path / "router.toml").write_text(CONFIG.format(
        store=server.url().replace(server.password, "wrong-s3cret"), admin=ADMIN, valid_s=1, more="", upstream="http://127.0.0.1:9",
        key=made_up("k")))  # fmt: skip
    for words in (["--print-config"], ["keys", "list"], ["store", "copy", "--from", "sqlite:x.db"]):
        done = command(tmp_path, *words, "-c", "router.toml")
        assert b"wrong-s3cret" not in done.stdout + done.stderr, words
