"""Mistakes that people make, and the one line that says what to write."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.commands.serve import count_text
from llm_router_gateway.config import config, keys, presets
from llm_router_gateway.config.keys import read_json
from llm_router_gateway.config.quirks import fault_of
from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire.registry import UPSTREAMS

UP = {"name": "up", "api": "openai", "base_url": "http://127.0.0.1:1", "any_model": False}
KEY = {"name": "ci", "key": "k" + "ey-" * 8}


def problems(document: dict[str, Any]) -> list[str]:
    with pytest.raises(config.ConfigError) as told:
        config.parse(document)
    return [str(problem) for problem in told.value.problems]


def gone(name: str) -> str:
    """In the place of what reads a secret's file: there is none."""
    raise FileNotFoundError(2, "No such file or directory", name)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("requests_per_minute", "write max_requests with per_seconds = 60"),
        ("rpm", "write max_requests with per_seconds = 60"),
        ("requests_per_day", "write max_requests with per_seconds = 86400"),
        ("tpm", "write tokens_per_minute"),
        ("tokens_per_minutes", 'did you mean "tokens_per_minute"?'),
    ],
)
def test_a_limit_under_another_name_says_what_to_write(name: str, write: str) -> None:
    [problem] = problems({"providers": [{**UP, "limits": {name: 60}}]})
    assert f"limits.{name}: unknown key; {write}" in problem


def test_a_misspelt_protocol_is_one_problem() -> None:
    [problem] = problems({"providers": [{**UP, "api": "opnai"}]})
    assert "providers[0].api" in problem and "opnai" in problem
    assert len(problems({"providers": [{**UP, "api": "opnai", "type": "wrong"}]})) == 2


def test_a_provider_of_a_misspelt_type_is_one_problem_whatever_names_it() -> None:
    document: dict[str, Any] = {
        "providers": [UP, {"name": "off", "type": "opnai"}],
        "models": [{"name": "m", "provider": "off"}, {"name": "n", "provider": "up"}],
        "off": {"models": [{"name": "o"}]},
        "groups": [{"name": "g", "members": [{"model": "m"}, {"model": "off/o"}, {"model": "n"}], "fallbacks": ["off/any"]}],
        "server": {"files_provider": "off"},
        "routing": {"default_model": "m"},
    }
    [problem] = problems(document)
    assert problem.startswith('providers[1].type: "opnai" is not a type of provider; did you mean "openai"?')
    document["models"].append({"name": "p", "provider": "of"})
    assert problems(document)[1] == 'models[2].provider: there is no provider "of"'


@pytest.mark.parametrize("name", config.TABLE_NAMES)
def test_a_provider_may_be_named_as_a_table_is(name: str) -> None:
    made = config.parse({"providers": [{**UP, "name": name}], "models": [{"name": "m", "provider": name}], "keys": [KEY],
                         "groups": [{"name": "g", "members": [{"model": "m"}]}]})  # fmt: skip
    assert made.groups[0].members[0].model == f"{name}/m"


@pytest.mark.parametrize("name", [None, "", " ", " x", "a\nb", 5])
def test_a_name_that_cannot_be_is_one_problem(name: object) -> None:
    given = {} if name is None else {"name": name}
    models = [{"name": "gpt-x", "provider": "up"}]
    tables: list[dict[str, Any]] = [
        {"providers": [UP, {"api": "openai", "base_url": "http://127.0.0.1:1/v1", **given}]},
        {"providers": [UP], "keys": [{"key": "a-key-of-the-file", **given}, {"key": "another-key-of-it", **given}]},
        {"providers": [UP], "models": [*models, {"provider": "up", **given}]},
        {"providers": [UP], "models": models, "groups": [{"members": [{"model": "gpt-x"}], **given}]},
    ]
    for table in tables:
        found = [problem.partition(": ")[0] for problem in problems(table)]
        assert found and len(set(found)) == len(found) and all(path.endswith("].name") for path in found), found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "is missing"), (" ", "is missing"), (5, "5 is not a text"), ("a\nb", '"a\\nb" holds a control character'),
        ("ci/cd", '"ci/cd" holds a slash'), (" ci", '" ci" begins or ends with white space'), ("x" * 101, "has 101 characters"),
    ],
)  # fmt: skip
def test_a_name_of_a_key_is_refused_with_its_reason_and_once(name: object, told: str) -> None:
    with pytest.raises(BadRequest) as wrong:
        read_json({"name": name})
    assert wrong.value.message.startswith(f"name: {told}") and wrong.value.message.count("name:") == 1
    assert keys.name_problem("ci.cd") == ""


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"allowed_models": ["up/gpt-*", "up/qwen"]}, 'allowed_models has "up/qwen"'),
        ({"allowed_models": ["gpt-x", "gtp-x"]}, 'allowed_models has "gtp-x"'),
        ({"allowed_groups": ["all", "al"]}, 'allowed_groups has "al"'),
        ({"allowed_providers": ["up", "upp"]}, 'allowed_providers has "upp"'),
        ({"allowed_tags": ["Cod*", "coling"]}, 'allowed_tags has "coling"'),
        ({"allowed_models": ["up/*"], "allowed_groups": ["*"], "allowed_providers": ["u*"], "allowed_tags": ["CODING"]}, ""),
        ({}, ""),
    ],
)
def test_a_pattern_that_nothing_fits_is_a_note(terms: dict[str, Any], said: str) -> None:
    models = [{"name": "gpt-x", "provider": "up", "tags": ["coding"]}]
    groups = [{"name": "all", "members": [{"model": "up/gpt-x"}]}]
    made = config.parse({"providers": [UP], "models": models, "groups": groups, "keys": [{**KEY, **terms}]})
    notes = [note for note in made.notes if "matches nothing in the configuration" in note]
    assert len(notes) == bool(said) and said in "".join(notes)


def test_a_provider_that_takes_any_name_fits_any_pattern() -> None:
    made = config.parse({"providers": [{**UP, "any_model": True}], "keys": [{**KEY, "allowed_models": ["up/new", "bare"]}]})
    assert not [note for note in made.notes if "matches nothing in the configuration" in note]


def test_one_is_not_said_in_the_plural() -> None:
    assert (count_text(1, "listed model"), count_text(0, "provider"), count_text(2, "provider")) == (
        "1 listed model", "0 providers", "2 providers",
    )  # fmt: skip


@pytest.mark.parametrize("value", ["1.5", "0.0005k", "1GB", "1e6", "9" * 400, "\u0663", "-1k", "k", "1.0005k"])
def test_a_size_that_is_no_whole_number_is_refused(value: str) -> None:
    [problem] = problems({"providers": [UP], "models": [{"name": "m", "provider": "up", "config": {"context_window": value}}]})
    assert 'is not a whole number, alone or with k or M behind it, as in "128k"' in problem


@pytest.mark.parametrize(
    ("value", "size"), [("1.5k", 1_500), ("1.001k", 1_001), ("1.1M", 1_100_000), ("12 k", 12_000), ("7", 7), ("2.0", 2)]
)
def test_a_size_is_counted_exactly(value: str, size: int) -> None:
    model = {"name": "m", "provider": "up", "config": {"context_window": value}}
    assert config.parse({"providers": [UP], "models": [model]}).models[0].context_window == size


def test_a_size_beyond_what_can_be_counted_is_refused() -> None:
    [problem] = problems(
        {"providers": [UP], "models": [{"name": "m", "provider": "up", "limits": {"tokens_per_minute": "99999999999999M"}}]}
    )
    assert "tokens_per_minute" in problem and "is too large; where it is a limit, leave it out to have none" in problem


@pytest.mark.parametrize("value", ["9999-12-31", date(9999, 12, 31), "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"])
def test_the_end_of_time_is_the_last_second_that_can_be_written(value: object) -> None:
    [(key, _)] = config.parse({"providers": [UP], "keys": [{**KEY, "expires_at": value}]}).keys
    assert keys.terms_json(key)["expires_at"] == "9999-12-31T23:59:59Z"
    assert read_json({"name": "ci", "expires_at": str(value)}).expires == key.expires


def test_a_time_before_1970_is_refused() -> None:
    [problem] = problems({"providers": [UP], "keys": [{**KEY, "expires_at": "0001-01-01T00:00:00+14:00"}]})
    assert problem == 'keys[0].expires_at: "0001-01-01T00:00:00+14:00" is before 1970'


CANARIES = ["sk-canary-" + "x" * 20, "gsk_canary" + "x" * 20, "llmr_" + "canaRy12345" * 4, "0123456789abcdef" * 2]
NAMED = [  # a table, the setting in it that names where a key is, and its path
    ({"server": {"token_env": ""}, "providers": [UP]}, "server.token_env"),
    ({"server": {"admin_token_file": ""}, "providers": [UP]}, "server.admin_token_file"),
    ({"providers": [{**UP, "api_key_env": ""}]}, "providers[0].api_key_env"),
    ({"providers": [{**UP, "api_key_file": ""}]}, "providers[0].api_key_file"),
    ({"providers": [{**UP, "api_key_command": ""}]}, "providers[0].api_key_command"),
    ({"providers": [UP], "keys": [{"name": "ci", "key_env": ""}]}, "keys[0].key_env"),
]


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("document", "path"), NAMED, ids=[path for _, path in NAMED])
def test_a_key_in_place_of_its_variable_file_or_program_is_refused_and_not_repeated(
    document: dict[str, Any], path: str, canary: str
) -> None:
    text = json.dumps(document).replace('""', json.dumps(canary))
    with pytest.raises(config.ConfigError) as told:
        config.parse(json.loads(text), read_secret=gone)
    assert [problem.path for problem in told.value.problems if problem.path != "keys[0].key"] == [path]
    assert "is apparently a key: " in str(told.value) and canary not in str(told.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "openai_key", "team-2.key", "_K", "OpenAI_Key_For_The_Second_Team_2026"])
def test_names_of_variables_and_files_of_any_habit_are_taken(name: str) -> None:
    made = config.parse({"providers": [{**UP, "api_key_env": name}]}, env={name: "a-key"})
    assert made.providers[0].keys
    for path in (f"/run/secrets/{name}", f"sk-{name.lower()}-for-production.txt"):
        files = {"providers": [{**UP, "api_key_file": path}]}
        assert config.parse(files, read_secret=lambda path: "a-key\r\n").providers[0].keys


@pytest.mark.parametrize(
    "text", ["${OPENAI_API_KEY}", "${KEY:-none}", "$OPENAI_API_KEY", "os.environ/KEY", "{{ env.KEY }}", "{env:KEY}", "env:KEY"]
)
def test_the_name_of_a_variable_in_place_of_a_value_is_refused(text: str) -> None:
    [of_key] = problems({"providers": [{**UP, "api_key": text}]})
    assert of_key == ("providers[0].api_key: holds the name of a variable, which is not looked up: "
        "give the key itself, or that name as the setting in _env")  # fmt: skip
    [of_header] = problems({"providers": [{**UP, "settings": {"headers": {"authorization": f"Bearer {text}"}}}]})
    assert "holds the name of a variable for the header 'authorization'" in of_header
    [of_address] = problems({"providers": [{**UP, "base_url": text}]})
    assert of_address.startswith("providers[0].base_url: ") and "holds the name of a variable" in of_address
    with pytest.raises(config.ConfigError, match="LLM_ROUTER_TOKEN: holds the name of a variable"):
        config.parse({"providers": [UP]}, env={"LLM_ROUTER_TOKEN": text})


def test_a_secret_is_one_problem_wherever_it_is() -> None:
    for table, path in (({"server": {"token": 5}}, "server.token"), ({"server": {"admin_token": "a b"}}, "server.admin_token"),
                        ({"providers": [{**UP, "api_key": ["a", 1]}]}, "providers[0].api_key")):  # fmt: skip
        [problem] = problems({"providers": [UP], **table})
        assert problem.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("where", "given"), [("--token-file", {"flags": {"token_file": "gone"}}),
                         ("LLM_ROUTER_TOKEN_FILE", {"env": {"LLM_ROUTER_TOKEN_FILE": "gone"}})])  # fmt: skip
def test_a_secrets_file_is_reported_by_the_name_that_was_typed(where: str, given: dict[str, Any]) -> None:
    with pytest.raises(config.ConfigError, match=f"^{where}: cannot be read: .*'gone'$"):
        config.parse({"providers": [UP]}, read_secret=gone, **given)


def test_an_empty_file_of_a_key_is_named_and_not_some_variable() -> None:
    document = {"providers": [{"name": "openai", "api_key_file": "key"}]}  # pragma: allowlist secret
    with pytest.raises(config.ConfigError, match=r"^providers\[0\]\.api_key_file: holds no key: the file is empty$"):
        config.parse(document, read_secret=lambda path: " \n")


@pytest.mark.parametrize(
    ("api", "quirks", "fault"),
    [
        ("openai", {"max_stop": "x"}, '.max_stop: "x" is not a whole number'),
        ("openai", {"max_stop": -1}, ".max_stop: -1 is below 0"),
        ("openai", {"drop": "seed"}, '.drop: "seed" is not a list of texts'),
        ("openai", {"resoning": "thinking"}, '.resoning: unknown quirk; did you mean "reasoning"?'),
        (
            "openai",
            {"reasoning": "deep"},
            '.reasoning: "deep" is not one of effort, openrouter, thinking, enable_thinking, none',
        ),
        ("openai", {"stream_usage": 0}, ".stream_usage: 0 is not true or false"),
        ("openai", {"sampling": "none"}, '.sampling: "none" is not true or false'),
        ("anthropic", {"sampling": True}, ".sampling: true is not one of both, one, none"),
        ("anthropic", {"effort": "high"}, '.effort: "high" is not a list of texts'),
        ("responses", {"min_output_tokens": "16"}, '.min_output_tokens: "16" is not a whole number'),
        ("gemini", {"thinking": "always"}, '.thinking: "always" is not one of budget, level, none'),
    ],
)
def test_a_quirk_that_is_none_is_refused_and_fails_no_request_later(api: str, quirks: dict[str, Any], fault: str) -> None:
    assert problems({"providers": [{**UP, "api": api, "settings": {"quirks": quirks}}]}) == [
        f"providers[0].settings.quirks{fault}"
    ]


def test_quirks_of_every_protocol_that_a_provider_speaks_are_taken() -> None:
    settings = {"also": ["anthropic"], "quirks": {"sampling": "none", "summary": "", "reasoning_field": "", "effort": []}}
    made = config.parse({"providers": [{**UP, "settings": settings}]}).providers[0]
    assert made.quirks == settings["quirks"] == made.also["anthropic"].quirks


def test_what_is_known_of_each_type_is_made_of_quirks() -> None:
    for name, preset in presets.PRESETS.items():
        for quirk, value in preset.quirks.items():
            given = list(value) if isinstance(value, tuple) else value
            assert not fault_of(UPSTREAMS[preset.api].quirks[quirk], given), (name, quirk)


def test_a_misspelt_price_is_a_note_and_what_is_only_shown_is_none() -> None:
    info = {"input_usd_per_mtk": 3, "contxt_window": "128k", "owner": "team", "supports_streaming": True, "released": "2026"}
    [one, two] = config.parse({"providers": [UP], "models": [{"name": "m", "provider": "up", "config": info}]}).notes
    assert one == 'models[0].config.input_usd_per_mtk is only shown; did you mean "input_usd_per_mtok"?'
    assert two == 'models[0].config.contxt_window is only shown; did you mean "context_window"?'


def test_a_misspelt_parameter_in_a_bound_is_a_note_and_any_other_field_is_none() -> None:
    bounds = {"tempratur": 1, "max_token": 5, "thinking.budget_tokens": 9, "seed": 3, "temperature": 1}
    notes = config.parse({"providers": [UP], "keys": [{**KEY, "parameter_limits": bounds}]}).notes
    assert notes == (
        'the key "ci": parameter_limits has "tempratur"; did you mean "temperature"?',
        'the key "ci": parameter_limits has "max_token"; did you mean "max_tokens"?',
    )


def test_a_value_that_is_no_table_or_list_is_one_problem() -> None:
    model = {"name": "m", "provider": "up"}
    group = {"name": "g", "members": [{"model": "m"}]}
    tables: list[dict[str, Any]] = [
        {"models": [{**model, "config": 5}]},
        {"models": [{**model, "limits": "none"}]},
        {"models": [{**model, "rate_limit": 5}]},
        {"models": [model], "groups": [{**group, "members": "m"}]},
        {"models": [model], "groups": [{**group, "members": []}]},
        {"providers": [{**UP, "settings": []}]},
        *({"keys": [{**KEY, name: 5}]} for name in ("budget", "soft_budget", "limits", "parameter_limits", "reset", "key")),
    ]
    for table in tables:
        assert len(problems({"providers": [UP], **table})) == 1, table


def test_what_kubernetes_says_of_a_service_named_llm_router_is_no_port() -> None:
    made = config.parse({"server": {"port": 9}, "providers": [UP]}, env={"LLM_ROUTER_PORT": "tcp://10.3.240.9:8000"})
    assert made.server.port == 9 and dict(made.sources)["server.port"] == "file"
    [note] = made.notes
    assert note.startswith("LLM_ROUTER_PORT is tcp://10.3.240.9:8000: Kubernetes sets it") and "enableServiceLinks" in note
    with pytest.raises(config.ConfigError, match=r"LLM_ROUTER_PORT: .*is not a whole number"):
        config.parse({"providers": [UP]}, env={"LLM_ROUTER_PORT": "http://10.3.240.9:8000"})


MODEL = {"name": "m", "provider": "up"}
MEMBERS = {"name": "g", "members": [{"model": "m"}]}


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"models": [{**MODEL, "context_window": "1M"}]}, "it belongs in config: config = { context_window = ... }"),
        ({"models": [{**MODEL, "input_usd_per_mtok": 3}]}, "it belongs in config: config = { input_usd_per_mtok = ... }"),
        ({"models": [{**MODEL, "max_requests": 3}]}, "it belongs in limits: limits = { max_requests = ... }"),
        ({"providers": [{**UP, "timeout": 3}]}, "it belongs in settings: settings = { timeout = ... }"),
        ({"providers": [{**UP, "auth_header": "x"}]}, "it belongs in settings: settings = { auth_header = ... }"),
        ({"keys": [{**KEY, "usd_per_day": 3}]}, "it belongs in budget: budget = { usd_per_day = ... }"),
        ({"server": {"max_concurrent": 3}}, "it belongs in key_limits: key_limits = { max_concurrent = ... }"),
        ({"providers": [{**UP, "api_base": "http://h"}]}, 'did you mean "base_url"?'),
        ({"providers": [{**UP, "enabled": True}]}, 'did you mean "is_active"?'),
        ({"models": [{**MODEL, "model": "x"}]}, 'did you mean "remote_identifier"?'),
        ({"models": [MODEL], "groups": [{**MEMBERS, "models": ["m"]}]}, 'did you mean "members"?'),
        ({"models": [MODEL], "groups": [{"name": "g", "members": [{"model": "m", "order": 1}]}]}, 'did you mean "priority"?'),
        ({"server": {"request_timeout": 5}}, 'did you mean "timeout_s"?'),
        ({"health": {"cooldown_time": 5}}, 'did you mean "open_s"?'),
        ({"keys": [{**KEY, "models": ["up/*"]}]}, 'did you mean "allowed_models"?'),
    ],
)
def test_a_setting_in_the_wrong_place_or_by_another_routers_name_says_where_and_what(table: dict[str, Any], hint: str) -> None:
    [problem] = problems({"providers": [UP], **table})
    assert problem.endswith(f"; {hint}"), problem


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"server": {"token_env": "NOT_SET"}}, "server.token_env: the variable NOT_SET that it names is not set"),
        ({"server": {"admin_token_env": "NOT_SET"}}, "server.admin_token_env: the variable NOT_SET that it names is not set"),
        ({"server": {"admin_token": ","}}, "server.admin_token: is set but holds no token"),
        ({"keys": [{"name": "ci", "key_env": "NOT_SET"}]}, "keys[0].key_env: the variable NOT_SET that it names is not set"),
        ({"keys": [{"name": "ci"}]}, "keys[0].key: has no key: set key_env, key_file or key"),
    ],
)
def test_a_secret_that_is_named_and_not_there_opens_nothing(table: dict[str, Any], problem: str) -> None:
    assert problems({"providers": [UP], **table}) == [problem]


@pytest.mark.parametrize("name", ["LLM_ROUTER_API_KEYS", "LLM_ROUTER_TOKEN", "LLM_ROUTER_ADMIN_TOKEN", "LLM_ROUTER_ADMIN_KEY"])
def test_a_wrong_token_of_a_variable_is_reported_by_its_name(name: str) -> None:
    with pytest.raises(config.ConfigError, match=f"^{name}: holds a key with a space"):
        config.parse({"providers": [UP]}, env={name: "\u00e9"})


@pytest.mark.parametrize("host", ["https://llm.example", "llm.example:8000", "LLM.example", "*.example", "*", "llm.example/"])
def test_a_host_that_no_caller_could_send_is_refused(host: str) -> None:
    [problem] = problems({"providers": [UP], "server": {"allowed_hosts": ["llm.example", host]}})
    assert problem.startswith(f'server.allowed_hosts[1]: "{host}" is not a lower-case host name without scheme and port')


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://App.example", "https://*.example", "https://"]
)
def test_an_origin_that_no_browser_could_send_is_refused(origin: str) -> None:
    [problem] = problems({"providers": [UP], "server": {"cors_origins": [origin]}})
    assert problem.startswith(f'server.cors_origins[0]: "{origin}" is not an origin in lower case')


def test_hosts_and_origins_of_every_kind_are_taken() -> None:
    hosts = ["llm.example", "llm", "10.0.0.1", "::1", "2001:db8::7", "b\u00fccher.example"]
    origins = ["*", "null", "http://localhost:3000", "https://app.example", "chrome-extension://abcdef", "https://[::1]:8443"]
    made = config.parse({"providers": [UP], "server": {"allowed_hosts": hosts, "cors_origins": origins}})
    assert (made.server.allowed_hosts, made.server.cors_origins) == (tuple(hosts), tuple(origins))


@pytest.mark.parametrize(("text", "is_noted"), [("user", True), (".user", False), ("session_id", False), ("x-user", False)])
def test_an_affinity_that_names_a_field_of_the_body_as_a_header_is_a_note(text: str, is_noted: bool) -> None:
    made = config.parse({"providers": [UP], "models": [MODEL], "groups": [{**MEMBERS, "affinity": text}]})
    assert [note for note in made.notes if "is taken as the name of a header" in note] == (
        [f'groups[0].affinity: "{text}" is taken as the name of a header; for the field of the body write ".{text}"'] * is_noted
    )


def test_a_wrong_address_of_a_cloud_is_one_problem() -> None:
    [problem] = problems({"providers": [{"name": "azure", "base_url": "mine.openai.azure.com"}]})
    assert problem.startswith('providers[0].base_url: "mine.openai.azure.com" is not an http or https address')


@pytest.mark.parametrize(
    ("url", "host", "is_it"),
    [
        ("http://localhost:8000/v1", "127.0.0.1", True),
        ("http://127.0.0.1:8000", "localhost", True),
        ("http://localhost:8000", "0.0.0.0", True),
        ("http://10.0.0.7:8000", "10.0.0.7", True),
        ("http://127.0.0.2:8000", "127.0.0.1", False),
        ("http://[::1]:8000", "127.0.0.1", False),
        ("http://localhost:8001", "127.0.0.1", False),
        ("http://localhost", "127.0.0.1", False),
        ("http://llm.example:8000", "0.0.0.0", False),
    ],
)
def test_a_provider_that_is_the_gateway_itself_is_refused_by_each_of_its_names(url: str, host: str, is_it: bool) -> None:
    document = {"providers": [{**UP, "base_url": url}], "server": {"host": host, "token": "a-token"}}
    if not is_it:
        assert config.parse(document).providers
        return
    [problem] = problems(document)
    assert problem.startswith("providers[0].base_url: ") and "is this gateway itself: give one of them another port" in problem


@pytest.mark.parametrize(
    "place", ["h.example:99999", "h.example:x", "h.example:0", "h.example:", ":8000", "[::1", "h.example:8000:9"]
)
def test_an_address_without_a_host_or_with_no_port_is_refused(place: str) -> None:
    said = "has no host, or a port that is not a number from 1 to 65535"
    assert problems({"providers": [{**UP, "base_url": f"http://{place}/v1"}]})[0].endswith(said)
    assert problems({"providers": [UP], "server": {"proxy": f"socks5://{place}"}})[0].endswith(said)


def test_a_price_of_one_token_is_a_note_and_a_low_or_no_price_is_none() -> None:
    info = {"input_usd_per_mtok": 2.5e-06, "output_usd_per_mtok": 0.01, "cached_input_usd_per_mtok": 0}
    assert config.parse({"providers": [UP], "models": [{**MODEL, "config": info}]}).notes == (
        "models[0].config.input_usd_per_mtok is 2.5e-06 US dollars per million tokens: is it the price of one token?",
    )


@pytest.mark.parametrize("at", [[80, 100], [0], ["80%"], [-1], []])
def test_parts_of_a_budget_in_percent_are_refused_with_what_they_are(at: list[Any]) -> None:
    [problem] = problems({"providers": [UP], "alerts": {"webhook": "https://hooks.example/x", "at": at}})
    assert problem.endswith("is not a list of fractions above 0 and up to 10: [0.8, 1.0] is 80 and 100 percent")


def test_a_misspelt_variable_is_a_note_and_those_of_others_are_none() -> None:
    near = {"LLM_ROUTER_PROT": "PORT", "LLM_ROUTER_LOGLEVEL": "LOG_LEVEL", "LLM_ROUTER_TOKENS": "TOKEN"}
    scripts = Path(config.__file__).parents[2]
    sources = [scripts / "llm_router_client.py", *(scripts / "llm_router_extras").glob("*.py")]
    client = {name for path in sources for name in re.findall(r"LLM_ROUTER_[A-Z_]+", path.read_text("utf-8"))}
    others = {
        *client,
        "LLM_ROUTER_SERVICE_HOST",
        "LLM_ROUTER_SERVICE_PORT",
        "LLM_ROUTER_PORT_8000_TCP",
        "LLM_ROUTER_RECORDINGS",
    }
    env = dict.fromkeys([*near, *others], "x") | {"LLM_ROUTER_MODEL_CONFIG": "x"}
    assert sorted(config.parse({"providers": [UP]}, env=env).notes) == sorted(
        f"{name} is not a variable of the gateway; did you mean LLM_ROUTER_{word}?" for name, word in near.items()
    )
