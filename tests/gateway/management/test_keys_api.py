"""keys_api: keys over HTTP, the login of the page, and that no answer holds a secret. In a real process, but for its clock."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Answer, Process, made_up

from llm_router_gateway.access.authenticate import Authenticator, entries_of
from llm_router_gateway.config.config import parse
from llm_router_gateway.config.keys import Key
from llm_router_gateway.errors import BadRequest
from llm_router_gateway.limiter.budgets import LocalBudgets
from llm_router_gateway.management.keys_api import KeysApi
from llm_router_gateway.net import caller
from llm_router_gateway.net.router import ManagementRequest, Router
from llm_router_gateway.policy.budgets import Spent
from llm_router_gateway.store.sql_keys import SqlKeys
from llm_router_gateway.store.sqlite.keys import KeyFile

ADMIN, TOKEN, FILE = made_up("admin"), made_up("token"), made_up("file")
CONFIG = """
[[providers]]
name = "up"
api = "openai"
base_url = "{url}/v1"
any_model = true

[[keys]]
name = "of-file"
key_env = "FILE_KEY"
allowed_models = ["up/demo"]
"""
ENV = {"LLM_ROUTER_ADMIN_TOKEN": ADMIN, "LLM_ROUTER_TOKEN": TOKEN, "FILE_KEY": FILE}


@pytest.fixture(scope="module")
def gateway(module_start: Callable[..., Process], mock_server: Any) -> Iterator[Process]:
    made = module_start(CONFIG.format(url=mock_server.url), env=ENV)
    made.token = ADMIN
    yield made


def send(gateway: Process, method: str, path: str, body: object = None, **headers: str) -> Answer:
    return gateway.send(method, path, None if body is None else json.dumps(body).encode(), **headers)


def made(gateway: Process, **terms: Any) -> tuple[str, dict[str, Any]]:
    answer = send(gateway, "POST", "/api-keys", {"name": made_up("key"), **terms})
    assert answer.status == 201, answer.data
    return answer.json["key"], answer.json["item"]


def works(gateway: Process, key: str) -> int:
    return gateway.get("/v1/models", authorization=f"Bearer {key}").status


# -- keys


def test_a_key_lives_from_its_making_to_its_end(gateway: Process) -> None:
    """In the seed making one answered 500, and a deleted one went on working."""
    key, item = made(gateway, owner="me", allowed_models=["up/*"], budget={"usd_per_day": 5})
    assert key.startswith("llmr_") and item["hint"] == key[:9] + "..." and item["source"] == "store"
    assert works(gateway, key) == 200
    path = f"/api-keys/{item['id']}"
    assert send(gateway, "GET", path).json == {**item, "last_used_at": send(gateway, "GET", path).json["last_used_at"]}
    changed = send(gateway, "PATCH", path, {"is_active": False, "allowed_models": None, "note": "off"}).json
    assert (changed["is_active"], changed["allowed_models"], changed["note"], changed["owner"]) == (False, None, "off", "me")
    assert works(gateway, key) == 403
    send(gateway, "PATCH", path, {"is_active": True})
    other = send(gateway, "POST", f"{path}/rotate").json["key"]
    assert (works(gateway, key), works(gateway, other)) == (401, 200)
    assert send(gateway, "DELETE", path).status == 204
    assert works(gateway, other) == 401 and send(gateway, "GET", path).status == 404


def test_the_list_has_every_key_and_no_secret(gateway: Process) -> None:
    key, item = made(gateway)
    for path in ("/api-keys", "/v1/api-keys", f"/api-keys/{item['id']}", f"/api-keys/{item['name']}", "/monitor/me"):
        answer = send(gateway, "GET", path)
        assert answer.status == 200
        for secret in (key, ADMIN, TOKEN, FILE, key[9:], FILE[10:]):
            assert secret.encode() not in answer.data
    items = {each["name"]: each for each in send(gateway, "GET", "/api-keys").json["items"]}
    assert items["of-file"]["source"] == "config" and items["of-file"]["allowed_models"] == ["up/demo"]
    assert item["name"] in items and set(item["spent"]) == {"usd_day", "usd_month", "tokens_day", "tokens_month"}
    assert key not in gateway.log


def test_what_was_spent_and_when_is_reported(gateway: Process) -> None:
    key, item = made(gateway, is_admin=True)
    assert item["last_used_at"] is None
    gateway.token = key
    gateway.chat("openai", "up/demo")
    gateway.token = ADMIN
    now = send(gateway, "GET", f"/api-keys/{item['id']}").json
    assert now["spent"]["tokens_day"] > 0 and now["last_used_at"].endswith("Z")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "where"),
    [
        ("POST", "", {"name": ""}, 400, "name"), ("POST", "", [], 400, None), ("POST", "", None, 400, None),
        ("POST", "", {"name": "x", "allowed_models": "a"}, 400, "allowed_models"),
        ("POST", "", {"name": "x", "id": "mine"}, 400, "id"),
        ("POST", "", {"name": "x", "expires_at": "2025-01-31"}, 400, "expires_at"),
        ("GET", "/nobody", None, 404, None), ("PATCH", "/nobody", {}, 404, None), ("DELETE", "/nobody", None, 404, None),
        ("PATCH", "/of-file", {"note": "x"}, 409, None), ("DELETE", "/of-file", None, 409, None),
        ("POST", "/of-file/rotate", None, 409, None), ("PUT", "", {}, 405, None),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(
    method: str, path: str, body: object, status: int, where: object, gateway: Process
) -> None:
    answer = send(gateway, method, f"/api-keys{path}", body)
    assert answer.status == status, answer.data
    assert answer.json["error"]["message"] and answer.json["error"].get("param") == where


def test_a_pattern_that_nothing_fits_is_a_warning_in_the_answer(gateway: Process) -> None:
    answer = send(gateway, "POST", "/api-keys", {"name": made_up("key"), "allowed_models": ["up/new", "upp/*"]})
    assert answer.status == 201 and answer.json["key"].startswith("llmr_")
    assert [each.partition(": ")[2] for each in answer.json["warnings"]] == [
        'allowed_models has "upp/*", which matches nothing in the configuration'
    ]
    changed = send(gateway, "PATCH", f"/api-keys/{answer.json['item']['id']}", {"allowed_groups": ["fast"]}).json
    assert len(changed["warnings"]) == 2 and "warnings" not in send(gateway, "GET", f"/api-keys/{changed['id']}").json
    assert (
        send(gateway, "PATCH", f"/api-keys/{changed['id']}", {"allowed_models": None, "allowed_groups": None}).json["warnings"]
        == []
    )


def test_a_name_is_taken_once(gateway: Process) -> None:
    _, first = made(gateway)
    _, second = made(gateway)
    assert send(gateway, "POST", "/api-keys", {"name": first["name"]}).status == 409
    assert send(gateway, "PATCH", f"/api-keys/{second['id']}", {"name": first["name"]}).status == 409
    assert send(gateway, "PATCH", f"/api-keys/{second['id']}", {"name": second["name"]}).status == 200


def test_a_name_of_the_configuration_is_not_to_be_had(gateway: Process) -> None:
    """Logs, statistics and series tell keys apart by their names."""
    _, item = made(gateway)
    for name in ("of-file", "admin", "token-1"):
        for method, path in (("POST", "/api-keys"), ("PATCH", f"/api-keys/{item['id']}")):
            answer = send(gateway, method, path, {"name": name})
            assert (answer.status, answer.json["error"]["code"]) == (409, "conflict"), (method, name)
    assert send(gateway, "POST", "/api-keys", {"name": made_up("token-2")}).status == 201


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_on_a_full_disk_no_key_is_made_and_the_reason_is_reported(start: Callable[..., Process], mock_server: Any) -> None:
    import resource

    gateway = start(CONFIG.format(url=mock_server.url), env=ENV)
    gateway.token = ADMIN
    key, item = made(gateway)
    resource.prlimit(gateway._process.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    one = f"/api-keys/{item['id']}"
    for method, path, body in (("POST", "/api-keys", {"name": "new"}), ("PATCH", one, {"note": "n"}),
                               ("POST", f"{one}/rotate", None), ("DELETE", one, None)):  # fmt: skip
        answer = send(gateway, method, path, body)
        assert (answer.status, answer.json["error"]["code"]) == (507, "not_saved"), (method, answer.data)
        assert "nothing was changed" in answer.json["error"]["message"] and "router.db" in answer.json["error"]["message"]
    assert works(gateway, key) == 200 and len(send(gateway, "GET", "/api-keys").json["items"]) == 2


def test_a_key_for_monitoring_reads_statistics_and_does_nothing_else(gateway: Process) -> None:
    key, item = made(gateway, is_monitor=True)
    as_monitor = {"authorization": f"Bearer {key}"}
    assert item["is_monitor"] and not item["is_admin"]
    for path in ("/metrics", "/monitor/statistics", "/monitor/statistics?group_by=key", "/monitor/time-series",
                 "/monitor/grouped-time-series", "/health/models", "/monitor/me"):  # fmt: skip
        assert gateway.get(path, **as_monitor).status == 200, path
    chat = json.dumps({"model": "up/demo", "messages": [{"role": "user", "content": "hi"}]}).encode()
    refused = [
        ("GET", "/v1/models", None), ("GET", "/models?tags=a", None), ("POST", "/v1/chat/completions", chat),
        ("POST", "/v1/messages", chat), ("POST", "/v1/responses", chat), ("POST", "/v1/embeddings", chat),
        ("POST", "/route", chat), ("POST", "/route/invoke", chat),
        ("POST", "/v1beta/models/up/demo:generateContent", chat), ("POST", "/api/chat", chat),
        ("GET", "/monitor/invocations", None), ("GET", "/monitor/invocations/x", None), ("GET", "/monitor/export.csv", None),
        ("GET", "/api-keys", None), ("POST", "/api-keys", b'{"name": "n"}'), ("PATCH", f"/api-keys/{item['id']}", b"{}"),
        ("GET", "/providers", None), ("POST", "/config/sync", None), ("POST", "/models", b"{}"),
    ]  # fmt: skip
    for method, path, body in refused:
        answer = gateway.send(method, path, body, **as_monitor)
        assert answer.status == 403, (method, path, answer.data)
    login = gateway.send("POST", "/monitor/login", json.dumps({"key": key}).encode())
    assert login.status == 403


def test_other_keys_do_not_read_statistics_and_no_key_is_both(gateway: Process) -> None:
    key, item = made(gateway)
    for path in ("/metrics", "/monitor/statistics", "/monitor/time-series"):
        assert gateway.get(path, authorization=f"Bearer {key}").status == 403
    answer = send(gateway, "POST", "/api-keys", {"name": made_up("both"), "is_admin": True, "is_monitor": True})
    assert answer.status == 400 and "is_monitor" in answer.json["error"]["message"]
    assert send(gateway, "PATCH", f"/api-keys/{item['id']}", {"is_monitor": True}).json["is_monitor"]
    assert gateway.get("/metrics", authorization=f"Bearer {key}").status == 200


@pytest.mark.parametrize("path", ["/api-keys", "/api-keys/x"])
def test_only_administrators_see_or_change_keys(path: str, gateway: Process) -> None:
    key, _ = made(gateway)
    for credential, status in ((TOKEN, 403), (FILE, 403), (key, 403), ("nobody", 401), ("", 401)):
        for method in ("GET", "DELETE", "PATCH"):
            if (method, path) in (("DELETE", "/api-keys"), ("PATCH", "/api-keys")):
                continue
            answer = send(gateway, method, path, {} if method == "PATCH" else None, authorization=f"Bearer {credential}")
            assert answer.status == status, (method, credential)


# -- logins


def login(gateway: Process, key: str, **headers: str) -> Answer:
    return send(gateway, "POST", "/monitor/login", {"key": key}, authorization="", **headers)


def cookie_of(answer: Answer) -> str:
    assert answer.status == 204, answer.data
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_login_lets_the_page_do_what_its_key_may(gateway: Process) -> None:
    key, item = made(gateway, is_admin=True)
    answer = login(gateway, key)
    assert all(each in answer.headers["set-cookie"] for each in ("HttpOnly", "SameSite=Strict")) and key not in str(answer)
    page = {"cookie": cookie_of(answer), "authorization": ""}
    me = send(gateway, "GET", "/monitor/me", **page).json
    assert me["caller"] == {"name": item["name"], "is_admin": True} and not me["needs_login"]
    assert send(gateway, "GET", "/api-keys", **page).status == 200
    chat = {"model": "up/demo", "messages": [{"role": "user", "content": "hi"}]}
    assert send(gateway, "POST", "/v1/chat/completions", chat, **page).status == 403, "without the page's header"
    assert send(gateway, "POST", "/v1/chat/completions", chat, **page, x_llm_router_csrf="1").status == 200
    evil = {**page, "x_llm_router_csrf": "1", "origin": "http://localhost:9"}
    assert send(gateway, "POST", "/api-keys", {"name": "x"}, **evil).status == 403
    send(gateway, "PATCH", f"/api-keys/{item['id']}", {"is_active": False})
    assert send(gateway, "GET", "/api-keys", **page).status == 403
    send(gateway, "DELETE", f"/api-keys/{item['id']}")
    assert send(gateway, "GET", "/api-keys", **page).status == 401


def test_a_logout_ends_it(gateway: Process) -> None:
    page = {"cookie": cookie_of(login(gateway, ADMIN)), "authorization": ""}
    assert send(gateway, "GET", "/api-keys", **page).status == 200
    assert send(gateway, "POST", "/monitor/logout", **page).status == 403
    assert "Max-Age=0" in send(gateway, "POST", "/monitor/logout", **page, x_llm_router_csrf="1").headers["set-cookie"]
    assert send(gateway, "GET", "/api-keys", **page).status == 401


def test_the_page_learns_whether_it_has_to_log_in(gateway: Process) -> None:
    me = send(gateway, "GET", "/monitor/me", authorization="").json
    assert me["needs_login"] and me["can_login"] and me["caller"] == {"name": "", "is_admin": False} and me["store"] == "file"
    mine = send(gateway, "GET", "/monitor/me").json
    assert mine["caller"]["is_admin"] and mine["store"].endswith("router.db") and mine["version"]


@pytest.mark.slow
def test_only_an_administrators_key_logs_in_and_wrong_ones_are_slowed(start: Callable[..., Process], mock_server: Any) -> None:
    gateway = start(CONFIG.format(url=mock_server.url), env=ENV)
    assert login(gateway, TOKEN).status == 403
    assert send(gateway, "POST", "/auth/login", {}).status == 401
    assert send(gateway, "POST", "/auth/login", {"api_key": ADMIN}).status == 204
    answers = [login(gateway, f"wrong-{number}") for number in range(8)]
    assert [answer.status for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert login(gateway, ADMIN).status == 429, "or the answer would tell that it is the right one"
    assert send(gateway, "GET", "/api-keys", authorization=f"Bearer {ADMIN}").status == 200


# -- with a clock of the test


class Direct:
    """The routes of keys over a store in a file, at the time that a test says; as an administrator."""

    def __init__(self, file: KeyFile) -> None:
        self.now = 1_800_000_000.0
        self.logged: list[Spent] = []  # what the call log has, of all gateways
        self._authenticator = authenticator = Authenticator(parse({"providers": [{"name": "ollama"}]}))

        async def transact(work: Callable[[Any], Any]) -> Any:
            await asyncio.sleep(0)  # as of a store in a thread
            return await file.transact(work)

        keys = SqlKeys(transact, "router.db", spent=lambda db, now: self.logged)
        self._router = Router(KeysApi(authenticator, keys, LocalBudgets(), lambda: self.now).routes())

    def key_of(self, key_id: str) -> Key:
        key = self._authenticator.key_by_id(key_id)
        assert key is not None
        return key

    def demand_keys(self) -> None:
        """Local programs need a key, too."""
        config = parse({"providers": [{"name": "ollama"}], "server": {"loopback_without_key": False}})
        self._authenticator.configure(config, entries_of(config))

    def handle(self, method: str, path: str, body: Any = None) -> Awaitable[Any]:
        route, args = self._router.find(method, path)
        return route.handler(ManagementRequest(method, path, args, {}, {}, body, "", caller.ANONYMOUS))

    def send(self, method: str, path: str, body: Any = None) -> Any:
        async def answer() -> Any:
            return (await self.handle(method, path, body)).body

        return asyncio.run(answer())


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    with KeyFile(str(tmp_path / "router.db"), creates=True) as file:
        yield Direct(file)


@pytest.mark.parametrize("method, body", [("DELETE", None), ("PATCH", {"is_active": False}), ("PATCH", {"is_admin": False})])
def test_of_two_changes_at_once_one_leaves_an_administrator(direct: Direct, method: str, body: Any) -> None:
    direct.demand_keys()
    ids = [direct.send("POST", "/api-keys", {"name": name, "is_admin": name != "c"})["item"]["id"] for name in "abc"]

    async def both() -> list[Any]:
        work = [direct.handle(method, f"/api-keys/{each}", body) for each in ids[:2]]
        return await asyncio.gather(*work, return_exceptions=True)

    found = asyncio.run(both())
    assert [getattr(each, "code", "done") for each in found] == ["done", "last_admin"]


def test_half_of_a_character_is_no_name_and_stays_in_a_note(direct: Direct) -> None:
    with pytest.raises(BadRequest, match=r"^name: .* holds a lone surrogate, half of a character"):
        direct.send("POST", "/api-keys", {"name": "a\ud83d", "is_admin": True})
    made = direct.send("POST", "/api-keys", {"name": "a\U0001f600", "is_admin": True, "note": "\ud83d"})["item"]
    assert direct.send("GET", f"/api-keys/{made['id']}")["note"] == "\ud83d"


def test_a_reset_takes_in_what_only_the_call_log_knows_of_other_gateways(direct: Direct) -> None:
    key = direct.send("POST", "/api-keys", {"name": "ci", "is_admin": True, "budget": {"usd_per_day": 5}})["item"]["id"]
    direct.logged = [(key, "day", 4.5, 900.0), (key, "month", 7.5, 1_500.0)]
    direct.send("POST", f"/api-keys/{key}/reset")
    reset = direct.key_of(key).reset
    assert reset is not None and (reset.usd_day, reset.usd_month) == (4.5, 7.5)
    assert (reset.tokens_day, reset.tokens_month) == (900, 1_500)


def test_a_key_that_has_expired_is_edited_and_does_not_expire_in_another_past(direct: Direct) -> None:
    terms = {"name": "ci", "is_admin": True, "expires_at": "2027-01-31"}
    path = f"/api-keys/{direct.send('POST', '/api-keys', terms)['item']['id']}"
    direct.now += 365 * 86_400
    for harmless in ({"note": "old"}, {"note": "older", "expires_at": "2027-01-31"}):
        assert direct.send("PATCH", path, harmless)["expires_at"] == "2027-02-01T00:00:00Z"
    with pytest.raises(BadRequest, match=r"^expires_at: is in the past: it is 2028-01-15T08:00:00Z now\.") as refused:
        direct.send("PATCH", path, {"expires_at": "2027-03-31"})
    assert refused.value.details == {"path": "expires_at"} and direct.send("GET", path)["note"] == "older"
    assert direct.send("PATCH", path, {"expires_at": "2028-01-15"})["expires_at"] == "2028-01-16T00:00:00Z"


# -- the first key, and the last


@pytest.mark.slow
def test_the_first_key_must_be_an_administrators_and_the_last_one_stays(
    start: Callable[..., Process], mock_server: Any
) -> None:
    gateway = start(CONFIG.format(url=mock_server.url).partition("[[keys]]")[0])
    assert send(gateway, "GET", "/monitor/me").json["caller"]["is_admin"], "nobody else is there"
    refused = send(gateway, "POST", "/api-keys", {"name": "first"})
    assert (refused.status, refused.json["error"]["code"]) == (409, "first_key")
    key, item = made(gateway, name="boss", is_admin=True)
    assert gateway.get("/v1/models").status == 401, "from now on a key is needed"
    gateway.token = key
    made(gateway, name="other")
    for method, body in (("DELETE", None), ("PATCH", {"is_admin": False}), ("PATCH", {"is_active": False})):
        assert send(gateway, method, "/api-keys/boss", body).json["error"]["code"] == "last_admin"
    assert send(gateway, "DELETE", "/api-keys/other").status == 204
    assert send(gateway, "DELETE", f"/api-keys/{item['id']}").status == 204
    assert gateway.get("/v1/models").status == 401, "a deleted key is nobody's"
    gateway.token = ""
    assert gateway.get("/v1/models").status == 200


@pytest.mark.slow
def test_without_a_store_keys_are_those_of_the_file(start: Callable[..., Process], mock_server: Any) -> None:
    gateway = start('[server]\nstore = "off"\n' + CONFIG.format(url=mock_server.url), env=ENV)
    gateway.token = ADMIN
    answer = send(gateway, "POST", "/api-keys", {"name": "x"})
    assert (answer.status, answer.json["error"]["code"]) == (409, "no_store")
    assert [each["name"] for each in send(gateway, "GET", "/api-keys").json["items"]] == ["of-file"]
    assert send(gateway, "GET", "/monitor/me").json["store"] == "off"


@pytest.mark.slow
def test_a_store_in_memory_keeps_keys_until_the_stop(start: Callable[..., Process], mock_server: Any) -> None:
    gateway = start('[server]\nstore = "memory"\n' + CONFIG.format(url=mock_server.url), env=ENV)
    gateway.token = ADMIN
    key, _ = made(gateway)
    assert works(gateway, key) == 200
