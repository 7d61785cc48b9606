"""Other routers' configurations become ours, and nothing of them is lost without a word."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.config import config
from llm_router_gateway.config.imported import Wrong, from_jq_server, from_litellm, from_one_api, toml_text
from llm_router_gateway.config.sources import Source, read_data_file

KEY = "k" + "ey-" * 4


def jq_file(**params: Any) -> dict[str, Any]:
    one = {"api_type": "openai", "model": "remote", "api_base": "https://api.example.com/v1", "api_key": KEY, **params}
    group = {"name": "all", "models": [{"name": "one", "weight": 30, "selector": ".tools | length == 0"}]}
    return {"model_list": [{"model_name": "one", "llm_params": one}],
            "router_settings": {"strategy": "leastconn", "model_groups": [group]}}  # fmt: skip


def test_a_group_of_the_jq_server_keeps_strategy_weight_and_selector() -> None:
    found = from_jq_server(jq_file())
    made = config.parse(found.document)
    [group] = made.groups
    assert (group.name, group.strategy) == ("all", "leastconn")
    assert [(member.weight, member.selector is not None) for member in group.members] == [(30, True)]
    assert found.lost == []


def test_a_model_of_the_jq_server_keeps_address_name_and_patches() -> None:
    found = from_jq_server(jq_file(rewrite_body='{"max_tokens": 5}', rewrite_header={"X-Team": "a"}))
    [model] = found.document["models"]
    assert model["remote_identifier"] == "remote"
    assert (model["rewrite_body"], model["rewrite_header"]) == ({"max_tokens": 5}, {"X-Team": "a"})
    assert found.document["providers"] == [
        {"name": "example", "api": "openai", "base_url": "https://api.example.com/v1", "api_key": KEY}
    ]


@pytest.mark.parametrize(
    ("params", "note"),
    [
        ({"rewrite_body": {"user": None}}, "removes it here"),
        ({"rewrite_body": {"generationConfig": {"topK": 1}}}, "merges generationConfig"),
    ],
)
def test_what_a_patch_does_otherwise_is_reported(params: dict[str, Any], note: str) -> None:
    assert note in " ".join(from_jq_server(jq_file(**params)).notes)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file["model_list"][0]["llm_params"].update(rewrite_body="{no"), "rewrite_body is not JSON"),
        (lambda file: file["model_list"].append(file["model_list"][0]), "occurs twice"),
        (lambda file: file["router_settings"]["model_groups"][0]["models"][0].update(name="two"), "is not in model_list"),
        (lambda file: file.update(model_list="none"), "model_list is not a list of tables"),
    ],
)
def test_what_the_jq_server_passed_over_in_silence_is_an_error_with_its_place(spoil: Any, said: str) -> None:
    file = jq_file()
    spoil(file)
    with pytest.raises(Wrong, match=said):
        from_jq_server(file)


def test_unknown_keys_of_a_file_are_listed() -> None:
    assert from_jq_server({**jq_file(), "cache": {"ttl": 3}}).lost == ["the file: cache"]


def from_env(name: str) -> str:
    return f"os.environ/{name}"


LITELLM = {
    "model_list": [
        {"model_name": "gpt", "litellm_params": {"model": "openai/gpt-big", "api_key": from_env("OPENAI_API_KEY"), "rpm": 60,
                                                "tpm": 9000, "temperature": 0.2},
         "model_info": {"input_cost_per_token": 2.5e-06, "max_input_tokens": 128000}},
        {"model_name": "gpt", "litellm_params": {"model": "azure/gpt-big", "api_base": "https://x.example.com/v1",
                                                "api_key": KEY, "api_version": "2024", "weight": 3}},
        {"model_name": "sonnet", "litellm_params": {"model": "anthropic/claude-big", "api_key": from_env("CLAUDE_KEY")}},
        {"model_name": "cloud", "litellm_params": {"model": "bedrock/claude"}},
    ],
    "router_settings": {"routing_strategy": "least-busy", "fallbacks": [{"gpt": ["sonnet"]}],
                        "model_group_alias": {"best": "gpt"}},
    "litellm_settings": {"drop_params": True},
    "general_settings": {"master_key": KEY},
}  # fmt: skip


def litellm_document() -> dict[str, Any]:
    return from_litellm(LITELLM).document


def test_litellms_deployments_of_one_name_are_a_group_with_fallbacks() -> None:
    document = litellm_document()
    groups = {group["name"]: group for group in document["groups"]}
    assert set(groups) == {"gpt", "best"}
    members = [(member["model"], member["weight"]) for member in groups["gpt"]["members"]]
    assert members == [("openai/gpt", 60), ("azure/gpt", 3)]
    assert (groups["gpt"]["strategy"], groups["gpt"]["fallbacks"]) == ("leastconn", ["sonnet"])
    assert groups["best"] == {**groups["gpt"], "name": "best"}


def test_litellms_prices_limits_parameters_and_keys_are_carried() -> None:
    document = litellm_document()
    first = document["models"][0]
    assert first["config"] == {"input_usd_per_mtok": 2.5, "context_window": 128000}
    assert first["limits"] == {"max_requests": 60, "per_seconds": 60, "tokens_per_minute": 9000}
    assert first["default_params"] == {"temperature": 0.2}
    assert document["providers"][0]["api_key_env"] in {"OPENAI_API_KEY"} and document["server"] == {"token": KEY}


def test_what_litellm_has_and_we_do_not_is_listed() -> None:
    lost = from_litellm(LITELLM).lost
    assert any(line.startswith("litellm_settings: drop_params; conversions leave out") for line in lost)
    assert any("cloud, as bedrock does not serve claude in a known protocol" in line for line in lost)


def pattern(name: str, key: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": name, "api_key": from_env(key), **params}}


def test_litellms_pattern_for_all_models_of_a_provider_is_one_that_takes_any() -> None:
    listed = {"model_name": "gpt", "litellm_params": {"model": "openai/gpt-big", "api_key": from_env("A")}}
    made = from_litellm({"model_list": [listed, pattern("openai/*", "A"), pattern("openrouter/*", "B", rpm=9)]})
    assert [(each["name"], each["any_model"]) for each in made.document["providers"]] == [
        ("openai", True),
        ("openrouter", True),
    ]
    assert [each["name"] for each in made.document["models"]] == ["gpt"] and made.lost == ["model_list[2] openrouter/*: rpm"]
    made = from_litellm({"model_list": [listed, pattern("openai/*", "B")]})
    assert [each.get("any_model") for each in made.document["providers"]] == [None, True]
    assert made.notes == ["what was openai/MODEL is openai-2/MODEL here, as another provider has that name"]


@pytest.mark.parametrize("asked, model", [("*", "openai/*"), ("mine/*", "openai/*"), ("openai/gpt-*", "openai/gpt-*"),
                                          ("azure/*", "azure/*")])  # fmt: skip
def test_litellms_other_patterns_are_listed_as_lost(asked: str, model: str) -> None:
    row = {"model_name": asked, "litellm_params": {"model": model, "api_key": KEY, "api_base": "https://x.example.com/v1"}}
    made = from_litellm({"model_list": [row]})
    assert made.document == {} and "a pattern" in made.lost[0]


ONE = {"model_name": "one", "litellm_params": {"model": "openai/gpt-one", "api_key": KEY}}
TWO = {"model_name": "two", "litellm_params": {"model": "openai/gpt-two", "api_key": KEY}}


def litellm_file(*models: Any, **parts: Any) -> dict[str, Any]:
    return {"model_list": list(models or (ONE, TWO)), **parts}


def test_litellms_timeouts_cooldowns_and_log_have_their_settings_here() -> None:
    router = {"timeout": 30, "stream_timeout": "2.5", "allowed_fails": 2, "cooldown_time": 60.0}
    found = from_litellm(litellm_file(router_settings=router, litellm_settings={"json_logs": True, "request_timeout": 9}))
    assert found.document["server"] == {"timeout_s": 30, "first_output_timeout_s": 2.5, "log_format": "json"}
    assert found.document["health"] == {"failures_to_open": 3, "open_s": 60.0}
    assert not found.lost and len(found.notes) == 3
    named = ("router_settings.timeout bounds", "router_settings.allowed_fails counts", "after router_settings.cooldown_time")
    assert [note.startswith(name) for note, name in zip(found.notes, named, strict=True)] == [True] * 3
    made = config.parse(tomllib.loads(toml_text(found.document)))
    assert (made.server.timeout_s, made.routing.health.failures_to_open, made.routing.health.open_s) == (30, 3, 60)
    of_module = from_litellm(litellm_file(litellm_settings={"request_timeout": "600", "allowed_fails": 0}))
    assert of_module.document["server"] == {"timeout_s": 600} and of_module.document["health"] == {"failures_to_open": 1}


def test_a_deployments_timeouts_are_its_providers() -> None:
    params = {**ONE["litellm_params"], "timeout": "30", "stream_timeout": 5}  # type: ignore[dict-item]
    found = from_litellm(litellm_file({"model_name": "one", "litellm_params": params}))
    assert found.document["providers"][0]["settings"] == {"timeout": 30, "first_output_timeout_s": 5} and not found.lost


@pytest.mark.parametrize(
    "value", [from_env("T"), "soon", [1], True, float("nan"), float("inf"), pytest.param(10**400, id="400 digits")]
)
def test_a_number_of_litellms_that_is_none_is_named(value: Any) -> None:
    params = {**ONE["litellm_params"], "timeout": value, "order": value}  # type: ignore[dict-item]
    lost = from_litellm(litellm_file({"model_name": "one", "litellm_params": params}, router_settings={"timeout": value})).lost
    why = f"which comes from {value}; write the number" if value == from_env("T") else "which is not a number; write the number"
    assert lost == [
        f"openai openai/gpt-one: timeout, {why}",
        f"model_list[0] one: order, {why}",
        f"router_settings.timeout, {why}",
    ]


@pytest.mark.parametrize(
    ("said", "strategy"),
    [("latency-based-routing", "latency"), ("cost-based-routing", "cost"), ("usage-based-routing", "random")],
)
def test_litellms_strategies_are_those_that_do_the_same(said: str, strategy: str) -> None:
    found = from_litellm(litellm_file(ONE, {**TWO, "model_name": "one"}, router_settings={"routing_strategy": said}))
    [group] = found.document["groups"]
    assert group["strategy"] == strategy
    assert bool(found.lost) == (said == "usage-based-routing") and bool(found.notes) == (strategy == "cost")


def test_settings_of_litellms_that_have_no_place_here_come_with_what_to_do() -> None:
    router = {"num_retries": 3, "redis_host": "h", "context_window_fallbacks": [{"one": ["two"]}], "some_new_thing": 1}
    general = {"database_url": "postgresql://u:canary@h/d", "alerting": ["slack"]}  # pragma: allowlist secret
    file = litellm_file(router_settings=router, general_settings=general, environment_variables={"A": "canary"})
    lost = from_litellm(file).lost
    places = ["router_settings: num_retries; ", "router_settings: redis_host; ", "router_settings: context_window_fallbacks; ",
              "router_settings: some_new_thing", "general_settings: database_url; ", "general_settings: alerting; ",
              "the file: environment_variables; "]  # fmt: skip
    assert [line.startswith(place) for line, place in zip(lost, places, strict=True)] == [True] * len(places)
    assert all(line.endswith("some_new_thing") or len(line.partition("; ")[2]) > 20 for line in lost)
    assert "canary" not in "".join(lost)


def test_litellms_fallbacks_for_all_are_those_of_every_model_without_its_own() -> None:
    for settings in ({"default_fallbacks": ["two"]}, {"fallbacks": [{"*": ["two"]}]}):
        for part in ("router_settings", "litellm_settings"):
            found = from_litellm(litellm_file(**{part: settings}))
            assert [(group["name"], group["fallbacks"]) for group in found.document["groups"]] == [("one", ["two"])]
            assert config.parse(found.document).groups and not found.lost
    own = from_litellm(litellm_file(litellm_settings={"default_fallbacks": ["two"], "fallbacks": [{"one": "best"}]},
                                    router_settings={"model_group_alias": {"best": "two"}}))  # fmt: skip
    assert own.document["groups"][0]["fallbacks"] == ["best"] and config.parse(own.document).groups


def test_a_fallback_of_litellms_that_is_nowhere_is_named_and_no_crash() -> None:
    settings = {"fallbacks": [{"one": ["gone", {"model": "two"}, "two", "openrouter/x/y"]}]}
    found = from_litellm(litellm_file(ONE, TWO, pattern("openrouter/*", "B"), router_settings=settings))
    assert found.lost == [
        "fallback of one: gone, which is not a model_name",
        'fallback of one: {"model": "two"}, which is not a model_name',
    ]
    assert found.document["groups"][0]["fallbacks"] == ["two", "openrouter/x/y"]
    env = {"B": "a-key"}
    assert config.parse(found.document, env=env).groups[0].fallbacks == ("openai/two", "openrouter/x/y")


@pytest.mark.parametrize(
    ("entry", "what"), [({"litellm_params": {"model": "a/b"}}, "model_name"), ({"model_name": "a"}, "model")]
)
def test_a_deployment_without_its_names_is_named(entry: dict[str, Any], what: str) -> None:
    assert from_litellm({"model_list": [entry]}).lost == [f"model_list[0]: it has no {what}"]


CLOUDS = {
    "azure/mine": ({"api_base": "https://my-resource.openai.azure.com/", "api_version": "2024-10-21"},
                   {"type": "azure", "resource": "my-resource"}, "mine"),
    "azure/other": ({"api_base": "https://my-resource.services.ai.azure.com"},
                    {"type": "azure", "base_url": "https://my-resource.services.ai.azure.com/openai/v1"}, "other"),
    "azure/proxied": ({"api_base": "https://x.example.com/v1"}, {"type": "azure", "base_url": "https://x.example.com/v1"},
                      "proxied"),
    "bedrock/openai.gpt-oss-120b-1:0": ({"aws_region_name": "us-west-2"}, {"type": "bedrock", "region": "us-west-2"},
                                        "openai.gpt-oss-120b-1:0"),
    "bedrock/converse/us.openai.gpt-5.4": ({"aws_region_name": "us-east-2"}, {"type": "bedrock", "region": "us-east-2"},
                                           "us.openai.gpt-5.4"),
    "vertex_ai/gemini-3.5-flash": ({"vertex_project": "p", "vertex_location": "global"},
                                   {"type": "vertex", "project": "p", "region": "global"}, "google/gemini-3.5-flash"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOUDS)
def test_litellms_clouds_are_called_by_their_compatible_endpoints(name: str) -> None:
    params, settings, remote = CLOUDS[name]
    found = from_litellm({"model_list": [{"model_name": "x", "litellm_params": {"model": name, "api_key": KEY, **params}}]})
    [provider], [model] = found.document["providers"], found.document["models"]
    assert provider == {"name": name.partition("/")[0], "api_key": KEY, **settings}
    assert (model["remote_identifier"], found.lost, len(found.notes)) == (remote, [], 1)
    assert config.parse(found.document).providers[0].url("chat").endswith("/chat/completions")


def test_a_part_of_a_clouds_address_in_a_variable_of_litellms_is_named_as_missing() -> None:
    params = {
        "model": "bedrock/openai.gpt-oss-20b-1:0",
        "aws_region_name": from_env("MY_REGION"),
        "aws_access_key_id": "made-up",
    }
    lost = from_litellm({"model_list": [{"model_name": "x", "litellm_params": params}]}).lost
    assert lost[0].endswith("aws_region_name, which comes from os.environ/MY_REGION; set AWS_REGION or AWS_DEFAULT_REGION")
    assert "aws_access_key_id" in lost[1]


@pytest.mark.parametrize("name", ["vertex_ai/claude-sonnet-4-5", "bedrock/anthropic.claude-sonnet-4-5"])
def test_what_a_cloud_does_not_serve_in_this_protocol_is_listed(name: str) -> None:
    assert "does not serve" in from_litellm({"model_list": [{"model_name": "x", "litellm_params": {"model": name}}]}).lost[0]


def test_one_apis_channel_of_azure_is_its_v1_api() -> None:
    channel = {"id": 2, "type": 3, "name": "eu", "key": KEY, "base_url": "https://mine.openai.azure.com", "models": "gpt-4o"}
    [provider] = from_one_api([channel]).document["providers"]
    assert provider == {"name": "eu", "type": "azure", "resource": "mine", "api_key": KEY}


ONE_API = {"success": True, "data": [
    {"id": 1, "type": 1, "key": KEY, "name": "main one", "status": 1, "models": "gpt-a,gpt-b", "weight": 3, "priority": 9,
     "model_mapping": '{"gpt-b": "gpt-real"}', "base_url": "", "group": "default"},
    {"id": 2, "type": 8, "key": "", "name": "proxy", "status": 2, "models": "gpt-a", "base_url": "https://p.example.com",
     "group": "vip"},
    {"id": 3, "type": 33, "name": "aws", "models": "claude"},
]}  # fmt: skip


def test_one_apis_channels_are_providers_and_what_several_have_is_a_group() -> None:
    found = from_one_api(ONE_API)
    main, proxy = found.document["providers"]
    assert (main["name"], main["type"], main["api_key"]) == ("main-one", "openai", KEY)
    assert (proxy["base_url"], proxy["is_active"], proxy["api_key_env"]) == ("https://p.example.com/v1", False, "PROXY_API_KEY")
    assert {(model["name"], model.get("remote_identifier")) for model in found.document["models"]} == {
        ("gpt-a", None), ("gpt-b", "gpt-real")
    }  # fmt: skip
    [group] = found.document["groups"]
    assert group["members"] == [{"model": "main-one/gpt-a", "weight": 3, "priority": 9}, {"model": "proxy/gpt-a"}]


def test_one_apis_groups_and_unknown_channels_are_listed() -> None:
    found = from_one_api(ONE_API)
    assert found.lost == ["channel proxy: group vip", "channel aws: type 33 has no known address"]
    assert found.notes == ["channel proxy: its key is not in the file; set PROXY_API_KEY"]


def test_channels_without_a_weight_beside_some_with_one_are_for_failures_alone() -> None:
    def members(*channels: tuple[int, int]) -> list[Any]:
        rows = [{"type": 1, "name": f"c{at}", "key": KEY, "models": "m", "weight": weight, "priority": priority}
                for at, (weight, priority) in enumerate(channels)]  # fmt: skip
        [group] = from_one_api(rows).document["groups"]
        return [member.get("weight") for member in group["members"]]

    assert members((0, 0), (0, 0)) == [None, None]
    assert members((3, 0), (0, 0), (0, 5)) == [3, 0, None]


BAD = (None, 0, -1, 1.5, "x", "", [], [1], {}, {"a": 1}, True, float("nan"), ["a", "b"])
ENTRY = {"model_name": "m", "litellm_params": {"model": "openai/x", "api_key": KEY}, "model_info": {"max_tokens": 5}}


def spoilt(file: Any) -> Iterator[Any]:
    """The file with each of its values replaced by each that cannot stand there."""
    yield from BAD
    inner = file.items() if isinstance(file, dict) else enumerate(file) if isinstance(file, list) else ()
    for place, value in inner:
        for other in spoilt(value):
            made = dict(file) if isinstance(file, dict) else list(file)
            made[place] = other
            yield made


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (from_jq_server, jq_file()),
        (from_one_api, [{"type": 1, "key": KEY, "name": "n", "status": 1, "models": "a", "weight": 1, "model_mapping": "{}"}]),
        (from_litellm, {"model_list": [ENTRY], "router_settings": {"routing_strategy": "x", "fallbacks": [{"m": ["n"]}]}}),
        (from_litellm, {"model_list": [{"model_name": "m", "litellm_params": {
            "model": "x", "custom_llm_provider": "openai", "rpm": 1, "order": 1, "temperature": 1, "extra_body": {"a": 1}}}]}),
    ],
)  # fmt: skip
def test_a_file_of_any_shape_becomes_toml_or_an_error_in_words(read: Any, file: Any) -> None:
    for given in spoilt(file):
        try:
            document = read(given).document
        except Wrong:
            continue
        tomllib.loads(toml_text(document))


def test_names_that_yaml_takes_for_numbers_are_those_of_the_models() -> None:
    file = jq_file()
    file["model_list"][0]["model_name"] = file["router_settings"]["model_groups"][0]["models"][0]["name"] = 4.1
    assert from_jq_server(file).document["groups"][0]["members"][0]["model"].endswith("/4.1")


@pytest.mark.parametrize(("read", "file"), [(from_jq_server, jq_file()), (from_litellm, LITELLM), (from_one_api, ONE_API)])
def test_what_is_generated_is_a_configuration_and_its_text_says_the_same(read: Any, file: Any) -> None:
    document = read(file).document
    assert tomllib.loads(toml_text(document)) == document
    names = [entry[key] for entry in document["providers"] for key in entry if key.endswith("_env")]
    assert config.parse(document, env=dict.fromkeys(names, "set")).providers


def test_a_yaml_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(jq_file()), encoding="utf-8")
    source = Source(str(path), flags={}, env={})
    first = source.load()
    assert [model.name for model in first.models] and any("next member" in note for note in first.notes)
    path.write_text(yaml.safe_dump(jq_file(model="another")), encoding="utf-8")
    assert source.has_changed()
    [model] = source.load().models
    assert model.remote_id == "another"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "the file is not a table"),
        ("model_list: 3", "model_list"),
        ("model_list: []\nrouter_settings: {}\nmodel_list: []", "the key 'model_list' occurs twice in one table at line 3"),
        ("model_list:\n- {model_name: a, llm_params: {}, model_name: b}", "the key 'model_name' occurs twice"),
    ],
)
def test_a_yaml_file_that_is_none_is_reported_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "config.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(config.ConfigError, match=said):
        Source(str(path), flags={}, env={}).load()


def test_tables_of_a_yaml_file_may_replace_what_they_take_from_others(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "config.yaml"
    path.write_text(
        "x: {deep: {er: &both {<<: &base {a: 1, b: 2}, b: 3}}}\nmade: {<<: *both, b: 4, c: 5}\ntwice: {<<: *base, <<: *both}\n",
        encoding="utf-8",
    )
    found = read_data_file(path)
    assert (found["made"], found["x"]["deep"]["er"]) == ({"a": 1, "b": 4, "c": 5}, {"a": 1, "b": 3})


def test_keys_of_yaml_are_texts_and_a_table_that_holds_itself_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "config.yaml"
    path.write_text("a: &a [{2: x, true: y, 2026-01-01: z, ~: n}]\nb: *a\n", encoding="utf-8")
    rows = [{"2": "x", "True": "y", "2026-01-01": "z", "None": "n"}]
    assert read_data_file(path) == {"a": rows, "b": rows}
    path.write_text("a: &a [*a]", encoding="utf-8")
    with pytest.raises(config.ConfigError, match="is not YAML: RecursionError"):
        read_data_file(path)


def test_a_key_that_stands_twice_in_json_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "channels.json"
    path.write_text('{"data": [{"name": "a", "models": "x", "name": "b"}]}', encoding="utf-8")
    with pytest.raises(config.ConfigError, match="is not JSON: the key 'name' occurs twice in one object"):
        read_data_file(path)
    assert read_data_file(path, last_wins=True)["data"][0]["name"] == "b"  # a price list, which others keep


def test_without_pyyaml_the_command_that_installs_it_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    path = tmp_path / "config.yaml"
    path.write_text("model_list: []", encoding="utf-8")
    with pytest.raises(config.ConfigError, match="pip install PyYAML"):
        Source(str(path), flags={}, env={}).load()


def test_a_name_in_the_written_file_cannot_steer_a_terminal() -> None:
    name = "m\x9b2J\u202e\x7f\x1b[2J"
    text = toml_text({"models": [{"name": name, "groups": [name]}]})
    assert text.replace("\n", "").isprintable() and tomllib.loads(text) == {"models": [{"name": name, "groups": [name]}]}
