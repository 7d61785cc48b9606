"""describe: the effective configuration as text, without a secret in it."""

import dataclasses
import tomllib
from typing import Any

import pytest

from llm_router_gateway.access.authenticate import Authenticator
from llm_router_gateway.config import config, describe, settings
from llm_router_gateway.errors import Unauthorized

KEY = "k" + "ey-" * 4
TEXT = f"""
[server]
port = 9
proxy = "http://user:{KEY}@proxy:1"
token = "{KEY}"
[[providers]]
name = "openai"
api_key = "{KEY}"
settings = {{headers = {{"X-Secret" = "{KEY}"}}, proxy = "socks5://u:{KEY}@p:1"}}
[[openai.models]]
name = "m"
tags = ["a", "b"]
default_params = {{temperature = 0.5, stop = ["x"]}}
"""


def test_the_effective_config_is_shown_without_secrets_and_with_its_sources() -> None:
    text = describe.config_text(config.parse(tomllib.loads(TEXT), env={"LLM_ROUTER_HOST": "::1"}))
    assert KEY not in text
    assert "port = 9  # file" in text
    assert 'host = "::1"  # LLM_ROUTER_HOST' in text
    assert "keys: 1 set" in text
    assert "https://api.openai.com/v1/chat/completions" in text


ODD = "a\x1b[2J\n[server]\x7f\x9b\u202e"


def test_names_from_a_file_or_variable_neither_steer_a_terminal_nor_begin_a_line() -> None:
    document = {
        "providers": [{"name": "up", "type": "openai", "base_url": "http://127.0.0.1:1/v1"}],
        "models": [{"name": "m", "provider": "up", "config": {ODD: ODD, "input_usd_per_mtok\x1b\n": 1.0}}],
    }
    made = config.parse(document, env={"LLM_ROUTER_PORT\x1b\n": "1"})
    removed = dataclasses.replace(made, sources=((f"models.up/{ODD}", "overlay: removed"),))
    assert sum("\x1b\n" in note for note in made.notes) == 2
    text = describe.config_text(removed)
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\n[server]") == 0 and text.count("# note: ") == len(made.notes)
    assert "# note: LLM_ROUTER_PORT\\u001b\\u000a is not a variable" in text and "# models.up/a\\u001b[2J\\u000a" in text
    [model] = tomllib.loads(text)["models"]
    assert model["config"][ODD] == ODD


def test_numbers_that_json_lacks_are_printed_as_toml_has_them() -> None:
    text = TEXT.replace('tags = ["a", "b"]', "config = {score = nan, most = inf, at = 10:30:00, dated = 2026-05-01}")
    printed = describe.config_text(config.parse(tomllib.loads(text)))
    [model] = tomllib.loads(printed)["models"]
    assert model["config"] == {"priority": 0, "at": "10:30:00", "dated": "2026-05-01"}
    assert tomllib.loads(f"x = {describe.toml([float('inf'), -float('inf')])}")["x"] == [float("inf"), -float("inf")]


def test_what_is_printed_gives_the_same_config_again() -> None:
    first = config.parse(tomllib.loads(TEXT.replace("socks5", "http").replace(f"u:{KEY}@", "").replace(f"user:{KEY}@", "")))
    again = config.parse(tomllib.loads(describe.config_text(first)))
    assert again.models == first.models
    hidden: dict[str, Any] = {"keys": (), "secrets": (), "headers": {}, "also": {}}
    assert again.providers[0].also.keys() == first.providers[0].also.keys()
    assert dataclasses.replace(again.providers[0], **hidden) == dataclasses.replace(first.providers[0], **hidden)
    assert dataclasses.replace(again.server, tokens=first.server.tokens) == first.server


def test_the_reference_names_every_setting_and_every_preset() -> None:
    page = describe.reference()
    for table in settings.TABLES.values():
        for setting in table:
            assert f"| `{setting.name}` |" in page
    assert "| `kimi`, `moonshot` | openai | https://api.moonshot.cn/v1 |" in page


ROUTED = """
[server]
key_limits = {max_requests = 5, per_seconds = 1}
[[providers]]
name = "ollama"
rename = {big = "big:70b"}
drop_params = ["top_k"]
rewrite_body = '{"metadata": null, "a": {"b": 1}}'
limits = {max_concurrent = 3, queue = 2, wait_s = 1.5}
[[ollama.models]]
name = "m"
limits = {tokens_per_minute = "1k"}
config = {priority = 3, cache_write_usd_per_mtok = 4, long_context = [
    {above = "200k", input_usd_per_mtok = 6, output_usd_per_mtok = 22.5, cached_input_usd_per_mtok = 0.6},
]}
default_params = {temperature = 0}
[[ollama.models]]
name = "n"
[[groups]]
name = "g"
description = "both"
strategy = "leastconn"
fallbacks = ["h"]
affinity = "x-session"
first_output_timeout_s = 3
members = [{model = "m", weight = 0}, {model = "n", priority = 2}]
[[groups]]
name = "h"
members = [{model = "n"}]
[routing]
tag_strategy = "cost"
[health]
open_s = 5
[tasks]
code = "coding,cheap|fast,-slow"
"""


def test_a_configuration_with_groups_is_printed_and_reads_back() -> None:
    first = config.parse(tomllib.loads(ROUTED))
    again = config.parse(tomllib.loads(describe.config_text(first)))
    assert again.groups == first.groups
    assert again.routing == first.routing
    assert again.models == first.models
    assert again.server == first.server
    assert (again.providers[0].limit, again.providers[0].overrides, again.providers[0].rename) == (
        first.providers[0].limit, first.providers[0].overrides, first.providers[0].rename,
    )  # fmt: skip


def test_the_values_of_replaced_headers_are_not_printed() -> None:
    text = f'[[providers]]\nname = "ollama"\nrewrite_header = {{Authorization = "Bearer {KEY}"}}'
    printed = describe.config_text(config.parse(tomllib.loads(text)))
    assert KEY not in printed and "authorization" in printed


KEY_OF_FILE = '[[keys]]\nname = "k"\nkey = "a-key-of-the-file"\n'


@pytest.mark.parametrize(("server", "keys", "stored", "lines"), [
    ("", "", 0, ["# who may call, without a key: all on this machine, a proxy included; administer: all but proxies"]),
    ('token = "t1,t2"', "", 0, ["# who may call: callers with a key: 2 tokens",
                                "# who may administer: administrators' keys of the store, if there are any"]),
    ('admin_token = "a1"', KEY_OF_FILE, 3,
     ["# who may call: callers with a key: 1 administrator token, 1 key of the file, 3 keys of the store"]),
    ("loopback_without_key = true", "", 1, [
      "# who may call: callers with a key: 1 key of the store",
      "# and without one: programs on this machine, which may administer; not through a proxy"]),
    ('loopback_without_key = true\nhost = "0.0.0.0"\nadmin_token = "a"', "", 0,
     ["# who may call: callers with a key: 1 administrator token",
      "# and without one: programs on this machine; not through a proxy"]),
    ('admin_token = "a"', "", None,
     ["# who may call: callers with a key: 1 administrator token, keys of a store that cannot be read here"]),
])  # fmt: skip
def test_the_printed_access_is_the_one_in_force(server: str, keys: str, stored: int | None, lines: list[str]) -> None:
    made = config.parse(tomllib.loads(f"[server]\n{server}\n[[providers]]\nname = 'ollama'\n{keys}"))
    text = "\n".join(line for line in describe.config_text(made, stored).splitlines() if line.startswith("# "))
    assert [line for line in text.splitlines() if line.startswith(("# who may", "# and without"))] == lines
    if stored == 0:  # as callers find it
        admits = Authenticator(made)
        for headers in ({}, {"via": "1.1 proxy"}):
            try:
                caller = admits.admit({"host": "127.0.0.1:8000", **headers}, {}, "127.0.0.1", 0.0)
            except Unauthorized:
                assert "without" not in text or (headers and "not through a proxy" in text)
                continue
            assert "without" in text and (not headers or "a proxy included" in text)
            assert caller.is_admin == (not headers and ("which may administer" in text or "administer: all but" in text))
