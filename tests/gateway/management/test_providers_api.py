"""providers_api: providers and models changed while the gateway runs, as handlers of the router."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from llm_router_gateway.config.config import Config, ConfigError
from llm_router_gateway.config.sources import Source
from llm_router_gateway.errors import GatewayError
from llm_router_gateway.management.providers_api import ProvidersApi
from llm_router_gateway.net.caller import Caller
from llm_router_gateway.net.router import ManagementRequest, ManagementResponse, Router
from llm_router_gateway.routing.snapshot import Snapshot, snapshot_of
from llm_router_gateway.routing.state import RoutingState

KEY = "k" + "ey-" * 6
OTHER = "o" + "ther-" * 5
THEIRS = "t" + "heirs-" * 5
FILE = f"""
[[providers]]
name = "openai"
api_key = "{KEY}"
[providers.settings]
headers = {{ X-Team = "secret-team" }}

[[providers]]
name = "office"
api = "openai"
base_url = "http://10.0.0.7:9000"

[[models]]
name = "big"
provider = "openai"
display_name = "The big one"
tags = ["Coding", "slow"]
default_params = {{ temperature = 0.2 }}
rate_limit = {{ max_requests = 5, per_seconds = 1, burst_size = 7, notes = "as agreed" }}
[models.config]
context_window = "200k"
input_usd_per_mtok = 2.5
since = 2024-05-01

[[office.models]]
name = "vendor/small"
tags = ["coding"]

[[office.models]]
name = "off"
is_active = false

[[groups]]
name = "all"
fallbacks = ["office/vendor/small"]
[[groups.members]]
model = "openai/big"
weight = 70
"""


class Office:
    """A ProvidersApi over a file, and what it did."""

    def __init__(self, path: Path, env: dict[str, str] | None = None, file: str = FILE) -> None:
        path.write_text(file)
        self.source = Source(str(path), flags={}, env=env or {})
        self.state: Snapshot = snapshot_of(self.source.load())
        self.taken: list[Config] = []
        self.told: list[str] = []
        self.refused: list[ConfigError] = []
        self.logged: list[str] = []
        self.routing_state = RoutingState()
        self.admin = ProvidersApi(
            self.source, state=lambda: self.state, routing_state=self.routing_state, take_over=self.take_over,
            clock=lambda: 0.0,
            new_id=lambda: "run", warn=self.told.append, info=self.logged.append, refuse=self.refused.append,
        )  # fmt: skip
        self.router = Router(self.admin.routes())

    async def take_over(self, config: Config) -> None:
        self.taken.append(config)
        self.state = snapshot_of(config)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> ManagementResponse:
        path, _, query = path.partition("?")
        route, args = self.router.find(method, path)
        pairs = parse_qsl(query, keep_blank_values=True)
        body = json.loads(json.dumps(body)) if body is not None else None
        headers = more.get("headers", {})
        caller = more.get("caller", Caller(is_admin=True))
        request = ManagementRequest(method, path, args, dict(pairs), headers, body, "127.0.0.1", caller, pairs=pairs)
        try:
            return await route.handler(request)
        except GatewayError as error:
            return ManagementResponse({"error": {"code": error.code, "message": error.message}}, error.status)

    def does(self, method: str, path: str, body: Any = None, **more: Any) -> ManagementResponse:
        return asyncio.run(self.ask(method, path, body, **more))

    @property
    def config(self) -> Config:
        return self.state.config

    @property
    def kept(self) -> Any:
        path = self.source.overlay_path
        return json.loads(path.read_text()) if path and path.exists() else None


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "router.toml", {"XAI_API_KEY": OTHER})
    yield made
    assert KEY not in str(made.told)
    assert OTHER not in str(made.told)


def names(reply: ManagementResponse) -> list[str]:
    return [each["name"] for each in reply.body]


def problems(reply: ManagementResponse) -> list[str]:
    assert reply.status == 422, reply
    assert reply.body["error"]["code"] == "impossible_config"
    return [problem["path"] for problem in reply.body["error"]["problems"]]


# ------------------------------------------------------------------------------------------------------------ providers


def test_providers_are_listed_without_what_is_secret(office: Office) -> None:
    listed = office.does("GET", "providers")
    assert names(listed) == ["openai", "office"]
    assert listed.body[0]["has_key"] is True
    assert listed.body[0]["settings"] == {"headers": {"X-Team": "***"}}
    assert (listed.body[1]["source"], listed.body[1]["changed"]) == ("file", [])
    assert KEY not in json.dumps(listed.body)
    assert "secret-team" not in json.dumps(listed.body)
    assert office.does("GET", "providers/openai").body == listed.body[0]
    assert office.does("GET", "providers/none").status == 404


def test_a_provider_is_added_and_answers_at_once_and_after_a_restart(office: Office) -> None:
    made = office.does("POST", "providers", {"name": "mine", "type": "vllm", "base_url": "http://10.1.1.1:1", "api_key": OTHER})
    assert made.status == 201
    assert (made.body["source"], made.body["has_key"], made.body["base_url"]) == ("overlay", True, "http://10.1.1.1:1/v1")
    assert OTHER not in json.dumps(made.body)
    assert office.config.providers[2].keys[0].reveal() == OTHER
    assert "mine" in office.state.routes.open
    assert office.kept["providers"]["mine"]["fields"]["api_key"] == OTHER  # kept here and nowhere else
    again = Source(str(office.source.path), flags={}, env={}).load()
    assert again.providers[2].keys[0].reveal() == OTHER
    assert office.does("POST", "providers", {"name": "mine", "type": "vllm"}).status == 409
    assert office.does("POST", "providers", {"name": "openai"}).status == 409


def test_a_switch_goes_off_and_on_and_null_takes_the_files_word(office: Office) -> None:
    off = office.does("PATCH", "providers/office", {"is_active": False})
    assert (off.status, off.body["is_active"], off.body["changed"]) == (200, False, ["is_active"])
    assert "office/vendor/small" not in office.state.routes.full
    assert office.does("PATCH", "providers/office", {"is_active": True}).body["is_active"] is True
    back = office.does("PATCH", "providers/office", {"is_active": None})
    assert (back.body["is_active"], back.body["changed"]) == (True, [])
    assert office.kept["providers"] == {}


def test_one_that_is_removed_is_gone_until_the_removal_is_taken_back(office: Office) -> None:
    assert problems(office.does("DELETE", "providers/openai")) == ["groups[0].members[0].model"]
    assert office.does("PATCH", "models/openai/big", {"is_active": False}).status == 200
    office.source.path.write_text(FILE.partition("[[groups]]")[0])  # type: ignore[union-attr]  # it has one
    assert office.does("POST", "config/sync").body["success"] is True
    assert office.does("DELETE", "providers/openai").status == 204
    assert office.does("GET", "providers/openai").status == 404
    assert office.does("DELETE", "providers/openai").status == 404
    assert names(office.does("GET", "models?include_inactive=1")) == ["vendor/small", "off"]
    assert office.does("POST", "config/sync").body["success"] is True  # a reload brings it not back
    assert names(office.does("GET", "providers")) == ["office"]
    assert office.does("DELETE", "providers/openai?only=changes").status == 204
    assert names(office.does("GET", "providers")) == ["openai", "office"]
    assert names(office.does("GET", "models")) == ["big", "vendor/small"]


def test_a_change_that_makes_no_configuration_is_refused_whole_with_every_problem(office: Office) -> None:
    before = office.kept
    wrong = {"name": "new", "type": "opnai", "base_url": "ftp://x", "setings": {}, "settings": {"timeout": 0}}
    told = problems(office.does("POST", "providers", wrong))
    assert sorted(told) == sorted(
        f"providers.new.{field}" for field in ("setings", "base_url", "settings.timeout", "type")
    )  # fmt: skip
    wrong = {"is_active": False, "base_url": "x"}
    assert problems(office.does("PATCH", "providers/office", wrong)) == ["providers.office.base_url"]
    assert problems(office.does("PATCH", "models/openai/big", {"tags": "x"})) == ["models.openai/big.tags"]
    assert problems(office.does("DELETE", "models/office/vendor/small")) == ["groups[0].fallbacks[0]"]
    assert (office.kept, office.taken) == (before, [])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "providers", None, 400), ("POST", "providers", [], 400), ("POST", "providers", {}, 422),
        ("POST", "providers", {"name": "a b", "type": "vllm"}, 422),
        ("POST", "providers", {"name": "a/b", "type": "vllm"}, 422),
        ("POST", "models", {"name": "m"}, 422), ("POST", "models", {"name": "m", "provider": "none"}, 422),
        ("POST", "models", {"name": "m\n", "provider": "openai"}, 422), ("PATCH", "providers/none", {}, 404),
        ("PATCH", "models/openai/none", {}, 404), ("DELETE", "models/openai/none", None, 404),
        ("PATCH", "providers/openai", {"name": "other"}, 422), ("PATCH", "models/openai/big", {"provider": "office"}, 422),
        ("PATCH", "providers/openai", {"limits": {"max_concurrent": float("inf")}}, 422),
        ("PATCH", "providers/openai", {"type": "\ud800"}, 422), ("DELETE", "providers/openai?only=x", None, 400),
        ("PATCH", "providers/openai", {"a": json.loads("[" * 60 + "]" * 60)}, 400),
        ("GET", "models?provider_type=nobody", None, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(office: Office, method: str, path: str, body: Any, status: int) -> None:
    assert office.does(method, path, body).status == status
    assert office.kept is None


# --------------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "body",
    [
        {"base_url": "https://thief.example"},
        {"base_url": "http://api.openai.com/v1"},           # in the clear
        {"type": "grok", "base_url": None},                 # another vendor
        {"base_url": "http://10.9.9.9", "settings": {"proxy": "http://thief.example:1"}},
        {"base_url": "https://thief.example", "is_active": False},
    ],
)  # fmt: skip
def test_a_key_does_not_go_to_another_address_because_the_address_was_changed(office: Office, body: Any) -> None:
    assert problems(office.does("PATCH", "providers/openai", body)) == ["providers.openai.api_key"]
    assert office.kept is None


def test_with_a_key_of_its_own_the_address_may_be_any(office: Office) -> None:
    elsewhere = {"base_url": "https://other.example", "api_key": THEIRS}
    assert problems(office.does("PATCH", "providers/openai", elsewhere)) == ["providers.openai.api_key"]  # the header still
    elsewhere["settings"] = {"headers": {"X-Team": "ours"}}  # type: ignore[assignment]  # a table among texts
    assert office.does("PATCH", "providers/openai", elsewhere).status == 200
    assert problems(office.does("PATCH", "providers/openai", {"api_key": None})) == ["providers.openai.api_key"]
    assert problems(office.does("PATCH", "providers/openai", {"settings": None})) == ["providers.openai.api_key"]
    assert office.does("PATCH", "providers/openai", {"base_url": None, "api_key": None, "settings": None}).status == 200
    assert office.config.providers[0].keys[0].reveal() == KEY
    same = {"base_url": "https://api.openai.com/v1/more", "is_active": False}  # the same host
    assert office.does("PATCH", "providers/openai", same).status == 200


def test_a_variables_key_goes_to_its_own_vendor_only(office: Office) -> None:
    stolen = {"name": "mine", "type": "grok", "base_url": "https://thief.example"}
    assert problems(office.does("POST", "providers", stolen)) == ["providers.mine.api_key"]
    assert office.does("POST", "providers", {"name": "grok"}).body["has_key"] is True
    assert office.config.providers[2].keys[0].reveal() == OTHER


def test_variables_files_and_commands_of_this_machine_are_named_in_the_file_alone(office: Office) -> None:
    for field, value in (("api_key_file", "/etc/hostname"), ("api_key_env", "XAI_API_KEY"), ("api_key_command", ["id"])):
        body = {"name": "mine", "api": "openai", "base_url": "https://thief.example", field: value}
        assert problems(office.does("POST", "providers", body)) == [field]
        assert problems(office.does("PATCH", "providers/office", {field: value})) == [field]


def test_what_a_command_prints_goes_to_its_own_address_only(tmp_path: Path) -> None:
    office = Office(tmp_path / "router.toml", file='[[providers]]\nname = "claude"\napi_key_command = "print-it"\n')
    assert office.does("GET", "providers/claude").body["has_key"] is True
    assert "print-it" not in json.dumps(office.does("GET", "providers/claude").body)
    moved = office.does("PATCH", "providers/claude", {"base_url": "https://thief.example"})
    assert problems(moved) == ["providers.claude.api_key"]
    # In the place of the command:
    own = {"base_url": "https://thief.example", "api_key": "of-its-own"}  # pragma: allowlist secret
    assert office.does("PATCH", "providers/claude", own).status == 200
    assert office.config.providers[0].key_command is None


def test_a_provider_in_a_cloud_is_added_with_the_parts_of_its_address(office: Office) -> None:
    made = office.does("POST", "providers", {"name": "azure", "resource": "mine", "api_key": "of-its-own"})
    assert (made.status, made.body["base_url"]) == (201, "https://mine.openai.azure.com/openai/v1")
    assert made.body["fields"]["resource"] == "mine"
    assert problems(office.does("PATCH", "providers/azure", {"resource": "thief"})) == ["providers.azure.api_key"]
    assert problems(office.does("POST", "providers", {"name": "bedrock", "api_key": "x"})) == ["providers.bedrock.region"]
    moved = office.does("PATCH", "providers/azure", {"base_url": "https://thief.example/v1"})
    assert problems(moved) == ["providers.azure.api_key"]


def test_a_variables_key_goes_to_no_resource_that_a_request_names(tmp_path: Path) -> None:
    """Anybody may register a resource of Azure's: its address is no proof of whose it is."""
    office = Office(tmp_path / "router.toml", env={"AZURE_OPENAI_API_KEY": KEY})
    assert problems(office.does("POST", "providers", {"name": "azure", "resource": "thief"})) == ["providers.azure.api_key"]


def test_no_answer_repeats_a_secret(office: Office) -> None:
    hidden = "very" + "-hidden" * 3
    asked = [
        ("PATCH", "providers/office", {"api_key": hidden + " x"}), ("PATCH", "providers/office", {"api_key": {"a": hidden}}),
        ("PATCH", "providers/office", {"base_url": f"http://me:{hidden}@h"}),
        ("PATCH", "providers/office", {"settings": {"proxy": f"http://me:{hidden}@h:x/y z"}}),
        ("PATCH", "providers/office", {"settings": {"headers": {"X-Key": [hidden]}}}),
        ("PATCH", "providers/office", {"settings": {"headers": {"X-Key": hidden + "\n"}}}),
        ("PATCH", "providers/office", {"rewrite_header": json.dumps({"X-Key": hidden + "\n"})}),
        ("PATCH", "providers/office", {"rewrite_header": json.dumps({"X-Key": hidden})}),
        ("PATCH", "providers/office", {"settings": {"headers": {"X-Key": hidden}, "proxy": f"http://me:{hidden}@h:1"}}),
        ("PATCH", "providers/office", {"api_key": hidden}), ("GET", "providers", None), ("GET", "monitor/models", None),
        ("GET", "models?include_inactive=1", None), ("POST", "config/sync", None), ("DELETE", "models/office/off", None),
    ]  # fmt: skip
    for method, path, body in asked:
        assert hidden not in json.dumps(office.does(method, path, body).body), (method, path, body)
    assert hidden in json.dumps(office.kept)


# ----------------------------------------------------------------------------------------------------------------- models


def test_models_are_reported_as_the_older_server_did_and_whether_they_are_on(office: Office) -> None:
    big = office.does("GET", "models?tags=coding,SLOW").body[0]
    assert big == {
        "id": "openai/big", "name": "big", "display_name": "The big one", "description": None, "provider_id": "openai",
        "provider_name": "openai", "provider_type": "openai", "tags": ["Coding", "slow"],
        "default_params": {"temperature": 0.2},
        "config": {"context_window": "200k", "input_usd_per_mtok": 2.5, "since": "2024-05-01"},  # a date is no 500
        "rate_limit": {"max_requests": 5, "per_seconds": 1, "burst_size": 7, "notes": "as agreed", "config": {}},
        "local_path": None, "is_active": True, "provider_is_active": True, "remote_identifier": "big", "source": "file",
        "changed": [], "limits": {"max_requests": 5, "per_seconds": 1, "burst_size": 7, "tokens_per_minute": None,
                                  "wait_s": 0.0, "max_concurrent": None, "queue": 0},
    }  # fmt: skip
    json.dumps(office.does("GET", "models?include_inactive=1").body)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("tag=coding", ["big", "vendor/small"]), ("tag=coding&tag=slow", ["big"]), ("tags=coding,slow", ["big"]),
        ("tag=none", []), ("provider_type=openai", ["big"]), ("provider_types=openai,custom_http", ["big", "vendor/small"]),
        ("provider_type=custom_http&include_inactive=yes", ["vendor/small", "off"]),
        ("include_inactive=0", ["big", "vendor/small"]),
        ("include_inactive=true", ["big", "vendor/small", "off"]),
    ],
)  # fmt: skip
def test_models_are_found_by_tags_types_and_switches(office: Office, query: str, found: list[str]) -> None:
    assert names(office.does("GET", f"models?{query}")) == found


def test_a_caller_whose_key_has_bounds_sees_what_is_inside_them(office: Office) -> None:
    from llm_router_gateway.config.keys import Key

    caller = Caller("id", "ci", key=Key("id", "ci", allowed_models=("office/*",)))
    assert names(office.does("GET", "models?include_inactive=1", caller=caller)) == ["vendor/small", "off"]


def test_a_model_is_added_changed_and_removed(office: Office) -> None:
    new = {"provider_name": "office", "name": "a/b:c", "tags": ["new"], "config": {"priority": 3}}
    made = office.does("POST", "models", new)
    assert (made.status, made.body["id"], made.body["source"]) == (201, "office/a/b:c", "overlay")
    assert "office/a/b:c" in office.state.routes.full
    assert office.does("POST", "models", {"provider": "office", "name": "a/b:c"}).status == 409
    patch = {"name": "a/b:c", "config": {"context_window": 5}, "is_active": False}
    changed = office.does("PATCH", "models/office/a/b:c", patch)
    assert (changed.body["config"], changed.body["is_active"]) == ({"priority": 3, "context_window": 5}, False)
    assert office.does("DELETE", "models/office/a/b:c").status == 204
    assert office.kept["models"] == {}
    assert office.does("DELETE", "models/openai/big?only=changes").status == 204  # nothing was changed, nothing is
    assert office.does("PATCH", "models/office/vendor/small", {"display_name": "S"}).body["display_name"] == "S"


def test_a_limit_of_the_file_can_be_lifted_and_put_back(office: Office) -> None:
    assert office.does("PATCH", "models/openai/big", {"limits": {}}).body["rate_limit"] is None
    assert office.does("PATCH", "models/openai/big", {"limits": None}).body["rate_limit"]["max_requests"] == 5


def test_a_model_more_leaves_a_provider_open_for_other_names(office: Office) -> None:
    assert office.does("POST", "providers", {"name": "mine", "type": "lmstudio"}).body["any_model"] is True
    office.does("POST", "models", {"provider": "mine", "name": "m"})
    assert "mine" in office.state.routes.open
    office.does("PATCH", "providers/mine", {"any_model": False})
    assert "mine" not in office.state.routes.open


def test_the_page_gets_models_groups_and_providers(office: Office) -> None:
    office.does("PATCH", "providers/office", {"is_active": False})
    told = office.does("GET", "monitor/models").body
    big, small, off = told["models"]
    assert (big["name"], big["prices"], big["health"]["state"]) == (
        "openai/big", {"input": 2.5, "output": None, "cached_input": None}, "ok")  # fmt: skip
    assert (small["health"]["state"], small["is_active"], small["provider_is_active"]) == ("off", True, False)
    assert (off["is_active"], off["limits"]) == (False, None)
    assert told["groups"] == [{
        "name": "all", "description": "", "strategy": "roundrobin", "fallbacks": ["office/vendor/small"],
        "members": [{"model": "openai/big", "weight": 70, "priority": 0, "selector": None, "effective_weight": 70.0,
                     "share": 1.0, "is_fallback": False, "state": "ok", "back_in_s": 0.0}],
    }]  # fmt: skip
    assert told["providers"][1] == {
        "name": "office", "type": "custom_http", "api": "openai", "base_url": "http://10.0.0.7:9000/v1", "is_active": False,
        "has_key": False, "needs_key": False, "source": "file", "changed": ["is_active"],
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- syncing


def test_a_sync_says_what_is_wrong_and_changes_nothing_then(office: Office) -> None:
    path = office.source.path
    assert path
    path.write_text(FILE + "[server]\nport = 70000\nprot = 1\n")
    told = office.does("POST", "config/sync")
    assert (told.status, told.body["success"], told.body["config_file"]) == (422, False, str(path))
    assert [problem["path"] for problem in told.body["problems"]] == ["server.prot", "server.port"]
    assert [len(error.problems) for error in office.refused] == [2]  # for the log and /health/ready
    assert office.taken == []
    assert office.does("PATCH", "providers/office", {"is_active": False}).status == 200  # over what is in force
    path.write_text(FILE.replace("The big one", "Big"))
    told = office.does("POST", "config/sync")
    assert (told.status, told.body["success"], told.body["problems"]) == (200, True, [])
    assert (office.config.models[0].display_name, office.config.providers[1].is_active) == ("Big", False)


def test_a_model_of_an_unknown_provider_takes_nothing_over_by_halves(office: Office) -> None:
    path = office.source.path
    assert path
    path.write_text('[[providers]]\nname = "claude"\n[[models]]\nname = "m"\nprovider = "none"\n')
    assert office.does("POST", "config/sync").status == 422
    assert names(office.does("GET", "providers")) == ["openai", "office"]


def test_what_the_file_loses_is_lost(office: Office) -> None:
    path = office.source.path
    assert path
    path.write_text('[[providers]]\nname = "office"\ntype = "lmstudio"\n')
    office.does("POST", "config/sync")
    assert (names(office.does("GET", "providers")), names(office.does("GET", "models"))) == (["office"], [])


# ------------------------------------------------------------------------------------------------- changes side by side


def test_the_log_says_which_administrator_changed_what_without_the_values(office: Office) -> None:
    caller = Caller("id", "ann", is_admin=True)
    office.does("PATCH", "providers/office", {"api_key": OTHER, "settings": {"timeout": 5}}, caller=caller)
    office.does("DELETE", "models/office/off")
    office.does("PATCH", "providers/office", {"base_url": "x"}, caller=caller)  # refused
    nobody = "a caller without a key: DELETE models/office/off"
    assert office.logged == ["ann: PATCH providers/office: api_key, settings", nobody]


def test_changes_at_once_are_made_one_after_the_other_and_none_is_lost(office: Office) -> None:
    async def all_at_once() -> list[ManagementResponse]:
        asked = [office.ask("POST", "models", {"provider": "office", "name": f"m{place}"}) for place in range(20)]
        return await asyncio.gather(*asked, office.ask("PATCH", "providers/office", {"is_active": False}))

    assert {reply.status for reply in asyncio.run(all_at_once())} == {200, 201}
    assert len(office.config.models) == 3 + 20
    assert len(office.kept["models"]) == 20
    assert not office.config.providers[1].is_active


def test_a_change_of_an_older_state_does_not_overwrite_a_newer_one_on_request(office: Office) -> None:
    read = office.does("GET", "providers/office")
    etag = dict(read.headers)["etag"]
    assert office.does("PATCH", "providers/office", {"is_active": False}, headers={"if-match": etag}).status == 200
    late = office.does("PATCH", "providers/office", {"is_active": True}, headers={"if-match": etag})
    assert (late.status, late.body["error"]["code"]) == (412, "changed_meanwhile")
    assert office.does("PATCH", "providers/office", {"is_active": True}, headers={"if-match": "*"}).status == 200


def test_a_caller_that_leaves_leaves_no_change_half_done(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def leaves() -> None:
        asked = asyncio.ensure_future(office.ask("PATCH", "providers/office", {"is_active": False}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        async with office.admin.lock:
            pass

    asyncio.run(leaves())
    assert not office.config.providers[1].is_active
    assert office.kept["providers"]["office"]["fields"] == {"is_active": False}


@pytest.mark.parametrize("fails", ["open", "fsync", "replace"])
def test_what_cannot_be_kept_is_not_done(office: Office, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    assert office.does("PATCH", "models/openai/big", {"display_name": "x"}).status == 200
    before, taken = office.kept, len(office.taken)
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        told = office.does("PATCH", "providers/office", {"is_active": False})
    assert (told.status, told.body["error"]["code"]) == (507, "not_saved")
    assert "No space left" in told.body["error"]["message"]
    assert (office.kept, len(office.taken)) == (before, taken)
    assert office.config.providers[1].is_active
    assert "No space left" in office.told[-1]
    assert office.does("PATCH", "providers/office", {"is_active": False}).status == 200


def test_what_another_hand_wrote_is_kept_by_a_change_here(office: Office) -> None:
    path = office.source.overlay_path
    assert path
    path.write_text('{"format": 1, "models": {"openai/big": {"state": "changed", "fields": {"display_name": "By hand"}}}}')
    assert office.does("PATCH", "providers/office", {"is_active": False}).status == 200
    assert office.config.models[0].display_name == "By hand"
    assert set(office.kept["models"]) == {"openai/big"}


def test_every_route_is_an_administrators_but_the_list(office: Office) -> None:
    routes: list[Any] = office.admin.routes()
    assert [(route.method, route.path) for route in routes if route.access != "admin"] == [("GET", "models")]


@pytest.mark.parametrize("body", [
    {"api_key": "***"}, {"api_key": "*"}, {"api_key": f"{OTHER},***"}, {"settings": {"headers": {"X-Team": "***"}}},
    {"rewrite_header": {"x-a": "***"}}, {"settings": {"proxy": "http://user:***@proxy.example:1"}},
])  # fmt: skip
def test_a_mask_is_no_secret(office: Office, body: Any) -> None:
    """What was read is sent back as it was: the key would be lost, and every later call refused."""
    answer = office.does("PATCH", "providers/openai", body)
    assert answer.status == 422 and office.kept is None
    assert "stands for a hidden secret" in json.dumps(answer.body)
