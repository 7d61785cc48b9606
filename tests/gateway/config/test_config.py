"""config: TOML text -> one immutable Config, or every problem with its path."""

import dataclasses

import pytest
from configs import ABC, in_group, member, parse, problems, provider

from llm_router_gateway.config import config, dotenv, kinds, presets, settings
from llm_router_gateway.policy import rate_limits
from llm_router_gateway.wire import registry

KEY = "k" + "ey-" * 4


# -- [server]


def test_an_empty_document_is_loopback_with_defaults() -> None:
    server = parse().server
    assert (server.host, server.port, server.log_level, server.tokens) == ("127.0.0.1", 8000, "info", ())


def test_flags_beat_the_environment_beats_the_file_beats_the_default() -> None:
    text = "[server]\nport = 3"
    assert parse(text, flags={"port": "1"}, LLM_ROUTER_PORT="2").server.port == 1
    assert parse(text, LLM_ROUTER_PORT="2").server.port == 2
    assert parse(text, LLM_ROUTER_PORT=" ").server.port == 3
    sources = dict(parse(text, LLM_ROUTER_HOST="::1", flags={"log_level": "warn"}).sources)
    assert [sources["server." + name] for name in ("port", "host", "log_level", "proxy")] == [
        "file", "LLM_ROUTER_HOST", "--log-level", "default",
    ]  # fmt: skip


def test_every_problem_is_reported_with_its_path() -> None:
    assert problems(
        """
        sever = 1
        [server]
        prot = 1
        port = 70000
        log_level = "loud"
        keepalive_s = true
        [[providers]]
        name = "a"
        type = "opnai"
        [[providers]]
        type = "openai"
        [[providers]]
        name = "vllm"
        base_url = "ftp://x"
        settings = {timeout = 0, headers = {"A\\nB" = "x"}}
        [[models]]
        name = "m"
        provider = "vlm"
        config = {context_window = "big"}
        [[models]]
        name = "two words "
        """,
    ).keys() == {
        "sever", "server.prot", "server.port", "server.log_level", "server.keepalive_s", "providers[0].type",
        "providers[1].name", "providers[2].base_url", "providers[2].settings.timeout",
        "providers[2].settings.headers", "models[0].provider", "models[0].config.context_window", "models[1].name",
    }  # fmt: skip


def test_an_error_says_what_was_there_and_what_was_meant() -> None:
    assert problems("[server]\nprot = 1") == {"server.prot": 'unknown key; did you mean "port"?'}
    assert problems("[server]\nport = 70000") == {"server.port": "70000 is above 65535"}
    assert problems("", LLM_ROUTER_PORT="many") == {"LLM_ROUTER_PORT": '"many" is not a whole number'}
    assert problems("", flags={"log_level": "loud"})["--log-level"].startswith('"loud" is not one of trace')
    assert (
        '"opnai" is not a type of provider; did you mean "openai"?'
        in (problems('[[providers]]\nname = "opnai"')["providers[0].type"])
    )


@pytest.mark.parametrize("text", ["server = 1", "providers = 3", "models = [1]", "[frontend]\n[openai]\nmodels = 1"])
def test_a_table_of_the_wrong_shape_is_a_problem_not_a_crash(text: str) -> None:
    assert problems(text)


def test_a_bind_that_others_can_reach_needs_a_token() -> None:
    public = ".".join("0000")
    for host in (public, "192.168.0.2", "::", "example.org"):
        assert "LLM_ROUTER_TOKEN" in problems("", flags={"host": host})["server.host"]
        assert parse("", flags={"host": host}, LLM_ROUTER_TOKEN=KEY).server.host == host
    for host in ("127.0.0.1", "127.8.9.1", "localhost", "::1"):
        assert parse("", flags={"host": host}).server.host == host


def test_tokens_come_from_the_first_place_that_names_any() -> None:
    text = '[server]\ntoken = "file"'
    assert parse(text).server.tokens == (kinds.Secret("file"),)
    assert parse(text, LLM_ROUTER_TOKEN="a,b").server.tokens == (kinds.Secret("a"), kinds.Secret("b"))
    assert parse(text, LLM_ROUTER_TOKEN="a", LLM_ROUTER_API_KEYS="b, c").server.tokens[2] == kinds.Secret("c")
    told = parse(text, flags={"token": "flag"}, LLM_ROUTER_TOKEN="a")
    assert told.server.tokens == (kinds.Secret("flag"),)
    assert "list of processes" in told.notes[0]
    assert parse('[server]\ntoken_env = "MINE"', MINE=KEY).server.tokens == (kinds.Secret(KEY),)


def test_a_token_that_is_named_and_empty_stops_the_start() -> None:
    assert problems('[server]\ntoken_env = "MINE"') == {"server.token_env": "the variable MINE that it names is not set"}


def test_secrets_are_read_from_files_by_the_given_reader() -> None:
    files = {"t": "one\ntwo\r\n", "k": f"{KEY}\n"}
    document = {
        "server": {"token_file": "t"},
        "providers": [{"name": "openai", "api_key_file": "k"}, {"name": "grok", "api_key_file": "gone"}],
    }

    def read(name: str) -> str:
        if name not in files:
            raise OSError("no such file")
        return files[name]

    with pytest.raises(config.ConfigError) as caught:
        config.parse(document, read_secret=read)
    assert [str(problem) for problem in caught.value.problems] == ["providers[1].api_key_file: cannot be read: no such file"]
    document["providers"].pop()  # type: ignore[attr-defined]
    read_config = config.parse(document, read_secret=read)
    assert read_config.server.tokens == (kinds.Secret("one"), kinds.Secret("two"))
    assert read_config.providers[0].keys == (kinds.Secret(KEY),)


def test_a_secret_is_never_shown() -> None:
    secret = kinds.Secret(KEY)
    assert KEY not in f"{secret} {secret!r} {[secret]} {dataclasses.replace(parse().server, tokens=(secret,))}"
    assert all(KEY not in text for text in problems(f'[[providers]]\nname="openai"\napi_key="{KEY} x"').values())


# -- [[providers]]


def test_a_type_brings_address_paths_and_key() -> None:
    kimi = provider('name = "kimi"', MOONSHOT_API_KEY=KEY)
    assert kimi.url("chat") == "https://api.moonshot.cn/v1/chat/completions"
    assert (kimi.api, kimi.keys, kimi.auth_header) == ("openai", (kinds.Secret(KEY),), "Authorization")


def test_the_name_may_differ_from_the_type_and_types_have_other_names() -> None:
    assert provider('name = "mine"\ntype = "anthropic"').url("chat") == "https://api.anthropic.com/v1/messages"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ('type = "openai"\nbase_url = "https://api.openai.com"', "https://api.openai.com/v1/chat/completions"),
        ('type = "openai"\nbase_url = "https://h/v1/"', "https://h/v1/chat/completions"),
        (
            'type = "glm"\nsettings = {endpoint = "/v4/chat/completions"}',
            "https://open.bigmodel.cn/api/paas/v4/chat/completions",
        ),
        ('type = "claude"\nbase_url = "https://h/v1"', "https://h/v1/messages"),
        ('type = "claude"\nbase_url = "https://h/api/anthropic"', "https://h/api/anthropic/v1/messages"),
        ('type = "gemini"\nbase_url = "https://h"', "https://h/v1beta/models/m:generateContent"),
        (
            'type = "gemini"\nbase_url = "https://h/x"\nsettings = {endpoint_template = "/m/{model}:generateContent"}',
            "https://h/x/m/m:generateContent",
        ),
        ('type = "custom_http"\nbase_url = "http://127.0.0.1:9"', "http://127.0.0.1:9/v1/chat/completions"),
        ('api = "anthropic"\nbase_url = "http://127.0.0.1:9"', "http://127.0.0.1:9/v1/messages"),
    ],
)
def test_addresses_are_joined_without_doubling_a_segment(text: str, url: str) -> None:
    assert provider(f'name = "p"\n{text}').url("chat", "m") == url


def test_gemini_streams_at_an_address_of_their_own() -> None:
    assert provider('name = "gemini"').url("stream", "m").endswith("/v1beta/models/m:streamGenerateContent?alt=sse")


def test_an_api_other_than_the_types_brings_its_own_credential_and_no_address() -> None:
    text = 'name = "kimi"\napi = "anthropic"\nbase_url = "https://api.moonshot.cn/anthropic"'
    assert (provider(text).auth_header, provider(text).auth_scheme) == ("x-api-key", "")
    assert "missing" in problems('[[providers]]\nname = "kimi"\napi = "anthropic"')["providers[0].base_url"]


def test_a_missing_key_is_a_note_and_names_where_it_was_looked_for() -> None:
    assert "OPENAI_API_KEY is not set" in parse('[[providers]]\nname = "openai"').notes[0]
    text = '[[providers]]\nname = "openai"\napi_key_env = "MINE"'
    assert "MINE is not set" in parse(text, OPENAI_API_KEY=KEY).notes[0]
    assert parse('[[providers]]\nname = "ollama"').notes == ()


def test_limits_are_the_servers_unless_the_provider_has_its_own() -> None:
    text = '[server]\ntimeout_s = 5\nproxy = "http://p:1"\n'
    text += '[[providers]]\nname = "lmstudio"\n[[providers]]\nname = "ollama"\n'
    first, second = parse(text + 'settings = {timeout = 7, proxy = ""}').providers
    assert (first.timeout_s, first.proxy, second.timeout_s, second.proxy) == (5, "http://p:1", 7, "")


def test_a_provider_at_our_own_address_is_refused() -> None:
    assert "this gateway itself" in problems('[[providers]]\nname = "vllm"')["providers[0].base_url"]


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_makes_a_provider(name: str) -> None:
    made = provider(f'name = "{name}"\nbase_url = "https://other.example/x"')
    assert made.url("chat", "m").startswith("https://other.example/x/")
    preset = presets.PRESETS[name]
    assert preset.api in registry.UPSTREAMS
    assert preset.base_url.startswith(("https://", "http://127.0.0.1:")) or name.endswith("_http")


# -- [[models]]


def model(text: str) -> config.Model:
    return parse(f'[[providers]]\nname = "ollama"\n[[models]]\nname = "m"\nprovider = "ollama"\n{text}').models[0]


def test_the_remote_name_is_remote_identifier_else_config_model_else_the_name() -> None:
    assert model('remote_identifier = "r"\nconfig = {model = "c"}').remote_id == "r"
    assert model('config = {model = "c"}').remote_id == "c"
    assert model("").remote_id == "m"


def test_what_is_known_of_a_model_is_read_and_the_rest_is_kept_to_be_shown() -> None:
    text = 'context_window = "128k", supports_vision = true, cost_per_1k_tokens = 0.0025, languages = ["en"]'
    known = model(f"config = {{{text}}}")
    assert (known.context_window, known.modalities) == (128_000, ("text", "image"))
    assert (known.input_usd_per_mtok, known.output_usd_per_mtok) == (2.5, None)
    assert known.extra == {"languages": ["en"]}


def test_models_nest_under_their_provider_too() -> None:
    read = parse('[[providers]]\nname = "ollama"\n[[ollama.models]]\nname = "a/b"')
    assert (read.models[0].provider, read.models[0].name) == ("ollama", "a/b")


def test_a_provider_takes_any_model_until_one_is_listed_for_it() -> None:
    bare, listed = '[[providers]]\nname = "ollama"\n', '[[ollama.models]]\nname = "a"'
    texts = (bare, bare + listed, bare + "any_model = true\n" + listed)
    assert [parse(text).providers[0].any_model for text in texts] == [True, False, True]


def test_a_model_twice_is_a_problem() -> None:
    text = '[[providers]]\nname = "ollama"\n' + '[[models]]\nname = "m"\nprovider = "ollama"\n' * 2
    assert problems(text) == {"models[1].name": '"ollama/m" exists already'}


def test_a_rate_limit_is_checked_and_read() -> None:
    base = '[[providers]]\nname = "ollama"\n[[models]]\nname = "m"\nprovider = "ollama"\n[models.rate_limit]\n'
    assert parse(base + "max_requests = 5\nper_seconds = 1").models[0].limit == rate_limits.Limit(5, 1)
    wrong = problems(base + "max_requests = 5\nper_seconds = 1\nburst_size = 2")
    assert wrong.keys() == {"models[0].rate_limit.burst_size"}


# -- without a file


def test_without_a_file_the_providers_with_a_key_in_the_environment_are_there() -> None:
    env = {"OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY, "XAI_API_KEY": ""}
    document = config.implied_document(env, local_server=True)
    assert [table["name"] for table in document["providers"]] == ["openai", "gemini", "ollama"]
    assert all(made.any_model for made in config.parse(document, env=env).providers)


def test_dotenv_lines() -> None:
    text = "\ufeff# top\r\nexport A=1\r\nB = \"x y\" # note\nC='#'\nD=v#w # n\nE=\nnot a line\nF=a=b\n"
    assert dotenv.read_dotenv(text) == {"A": "1", "B": "x y", "C": "#", "D": "v#w", "E": "", "F": "a=b"}


# -- the table


def every_setting() -> list[settings.Setting]:
    return [setting for table in settings.TABLES.values() for setting in table]


def test_the_table_is_complete_and_the_defaults_pass_their_own_checks() -> None:
    fields = {field.name for field in dataclasses.fields(config.Server)}
    names = {setting.name for setting in settings.SERVER}
    assert names - fields == {f"{kind}{place}" for kind in ("token", "admin_token") for place in ("", "_env", "_file")}
    assert fields - names == {"tokens", "admin_tokens"}
    for setting in every_setting():
        assert setting.help
        assert setting.kind in kinds.KINDS
        if setting.default not in (None, "", (), {}):
            assert setting.read(setting.default) == setting.default, setting.name


# -- groups, tags, tasks


def test_a_group_has_a_weight_of_100_and_round_robin_unless_it_says_otherwise() -> None:
    group = parse(f'{ABC}[[groups]]\nname = "g"\n[[groups.members]]\nmodel = "a"').groups[0]
    assert (group.strategy, group.fallbacks, group.affinity) == ("roundrobin", (), None)
    assert (group.members[0].model, group.members[0].weight, group.members[0].priority) == ("ollama/a", 100, 0)


@pytest.mark.parametrize("strategy", settings.STRATEGIES)
def test_each_group_has_a_strategy_of_its_own(strategy: str) -> None:
    text = f'{ABC}[[groups]]\nname = "g"\nstrategy = "{strategy}"\nmembers = [{{model = "a"}}]'
    assert parse(text).groups[0].strategy == strategy


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ('model = "aa"', "model"), ('model = "a"', "model"), ("weight = 1", "model"), ('model = "b", weight = -1', "weight"),
        ('model = "b", weight = "x"', "weight"), ('model = "b", wieght = 1', "wieght"),
        ('model = "b", priority = true', "priority"), ('model = "b", selector = 1', "selector"),
    ],
)  # fmt: skip
def test_every_wrong_member_is_a_problem_with_its_path(fields: str, path: str) -> None:
    assert member(fields).keys() == {f"groups[0].members[1].{path}"}


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ('strategy = "fastest"', "groups[0].strategy"), ('fallbacks = ["zzz"]', "groups[0].fallbacks[0]"),
        ('fallbacks = ["b", "g"]', "groups[0].fallbacks[1]"), ("affinity = 1", "groups[0].affinity"),
        ("first_output_timeout_s = 0", "groups[0].first_output_timeout_s"), ("membres = 1", "groups[0].membres"),
        ('[[groups]]\nname = "g"\nmembers = [{model = "b"}]', "groups[1].name"),
        ('[[groups]]\nmembers = [{model = "b"}]', "groups[1].name"),
        ('[[groups]]\nname = "h"', "groups[1].members"), ('[[groups]]\nname = "h"\nmembers = 3', "groups[1].members"),
        ('[[groups]]\nname = "tag:x"\nmembers = [{model = "b"}]', "groups[1].name"),
        ('[[groups]]\nname = "ollama/c"\nmembers = [{model = "b"}]', "groups[1].name"),
        ('[routing]\ntag_strategy = "x"', "routing.tag_strategy"), ("[routing]\nx = 1", "routing.x"),
        ("[health]\nfailures_to_open = 0", "health.failures_to_open"), ("[health]\nopen_s = 0", "health.open_s"),
        ('[tasks]\ncode = ""', "tasks.code"), ("[tasks]\ncode = 1", "tasks.code"), ('[tasks]\n"a b" = "x"', "tasks.a b"),
        ("groups = 1", "groups[0].groups"),
    ],
)  # fmt: skip
def test_every_wrong_group_is_a_problem_with_its_path(lines: str, path: str) -> None:
    assert path in in_group(lines)


def test_members_are_named_as_callers_name_models() -> None:
    text = ABC + '[[providers]]\nname = "openai"\n[[providers]]\nname = "x"\ntype = "lmstudio"\n[[x.models]]\nname = "a"\n'
    made = parse(text + '[[groups]]\nname = "g"\nmembers = [{model = "b"}, {model = "gpt-9"}, {model = "openai/x/y"}]')
    assert [each.model for each in made.groups[0].members] == ["ollama/b", "openai/gpt-9", "openai/x/y"]
    wrong = problems(text + '[[groups]]\nname = "g"\nmembers = [{model = "a"}]')["groups[0].members[0].model"]
    assert wrong == '"a" is ambiguous: write one of ollama/a, x/a'


def test_a_member_that_is_switched_off_is_a_note() -> None:
    made = parse(ABC + 'is_active = false\n[[groups]]\nname = "g"\nmembers = [{model = "c"}, {model = "a"}]')
    assert made.notes == ("groups[0].members[0].model: ollama/c is switched off",)


def test_a_group_that_hides_a_model_is_a_note() -> None:
    made = parse(ABC + '[[groups]]\nname = "a"\nmembers = [{model = "b"}]')
    assert "takes precedence over the model" in made.notes[0]


def test_a_selector_that_is_no_jq_stops_the_start_and_says_where() -> None:
    wrong = member('model = "b", selector = "has("')["groups[0].members[1].selector"]
    assert '"has(" is not a supported jq expression' in wrong and "4" in wrong
    assert in_group('affinity = ".x | has("').keys() == {"groups[0].affinity"}


@pytest.mark.parametrize("selector", ["no_such(1)", "input", "env", "$nobody", ".a |", "if . then", '"x'])
def test_what_would_fail_at_the_first_request_fails_at_the_start(selector: str) -> None:
    wrong = problems(f'{ABC}[[groups]]\nname = "g"\nmembers = [{{model = "a", selector = \'{selector}\'}}]')
    assert wrong.keys() == {"groups[0].members[0].selector"}
    assert "not a supported jq expression" in wrong["groups[0].members[0].selector"]


def test_an_affinity_is_a_header_or_an_expression() -> None:
    text = ABC + '[[groups]]\nname = "g"\nmembers = [{model = "a"}]\naffinity = '
    header, expression = parse(text + '"X-Session"').groups[0].affinity, parse(text + '".user"').groups[0].affinity
    assert header is not None and (header.header, header.expression) == ("x-session", None)
    assert expression is not None and expression.expression is not None and expression.header == ""


def test_tasks_are_tag_queries() -> None:
    made = parse('[tasks]\nCode = "coding,cheap|fast,-slow"')
    assert str(made.routing.tasks["code"]) == "coding,cheap|fast,-slow"


# -- limits


@pytest.mark.parametrize("where", ["limits", "rate_limit"])
def test_a_models_limits(where: str) -> None:
    text = f"{ABC}{where} = {{max_requests = 2, per_seconds = 4, burst_size = 3, wait_s = 1, max_concurrent = 5, queue = 6}}"
    assert parse(text).models[2].limit == rate_limits.Limit(2, 4, 3, None, 1, 5, 6)


def test_limits_of_providers_and_of_callers_keys() -> None:
    provider_lines = '[[providers]]\nname = "ollama"\nlimits = {max_concurrent = 2}'
    made = parse('[server]\nkey_limits = {tokens_per_minute = "1k"}\n' + provider_lines)
    assert made.server.key_limits == rate_limits.Limit(tokens_per_minute=1000)
    assert made.providers[0].limit == rate_limits.Limit(max_concurrent=2)


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ("max_requests = 1", ".per_seconds"), ("per_seconds = 1", ".max_requests"), ("burst_size = 3", ".max_requests"),
        ("max_requests = 0, per_seconds = 1", ".max_requests"), ("max_requests = 1, per_seconds = 0", ".per_seconds"),
        ("max_requests = 5, per_seconds = 1, burst_size = 4", ".burst_size"), ("wait_s = 1", ""),
        ("max_concurrent = 1, queue = 5", ".queue"), ("max_concurrent = 1, wait_s = 9999", ".wait_s"),
        ('tokens_per_minute = "many"', ".tokens_per_minute"), ("max_request = 1", ".max_request"),
    ],
)  # fmt: skip
def test_every_wrong_limit_is_a_problem_with_its_path(table: str, path: str) -> None:
    for place, text in {
        "ollama.models[2].limits": f"{ABC}limits = {{{table}}}",
        "providers[0].limits": f'[[providers]]\nname = "ollama"\nlimits = {{{table}}}',
        "server.key_limits": f"[server]\nkey_limits = {{{table}}}",
    }.items():
        assert f"{place}{path}" in problems(text), text


def test_both_names_of_limits_are_one_too_many() -> None:
    both = "limits = {max_concurrent = 1}\nrate_limit = {max_concurrent = 1}"
    assert problems(ABC + both).keys() == {"ollama.models[2].rate_limit"}


# -- overrides and keys


def test_overrides_of_a_model_and_its_provider() -> None:
    text = """
        [[providers]]
        name = "ollama"
        drop_params = ["top_k"]
        default_params = {temperature = 0}
        rewrite_body = '{"metadata": null}'
        rewrite_header = {X-Org = "a", X-Number = 3}
        rename = {big = "big:70b"}
        [[ollama.models]]
        name = "m"
        rewrite_body = {user = "gateway"}
        rewrite_header = '{"X-Org": null}'
        """
    made = parse(text)
    spec = made.providers[0].overrides
    assert (spec.drop, spec.defaults, spec.patches) == (("top_k",), {"temperature": 0}, ({"metadata": None},))
    assert spec.headers == {"x-org": "a", "x-number": "3"}
    assert made.providers[0].rename == {"big": "big:70b"}
    assert made.models[0].overrides.patches == ({"user": "gateway"},)
    assert made.models[0].overrides.headers == {"x-org": None}


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("rewrite_body = 1", "rewrite_body"), ("rewrite_body = '{\"a\": '", "rewrite_body"),
        ("rewrite_body = '[1]'", "rewrite_body"),
        ("rewrite_body = '{\"a\": NaN}'", "rewrite_body"), ("rewrite_body = {a = 2020-01-01}", "rewrite_body"),
        ("rewrite_body = {stream = true}", "rewrite_body"), ('default_params = {model = "x"}', "default_params"),
        ("default_params = {a = inf}", "default_params"), ('drop_params = ["stream"]', "drop_params"),
        ("rewrite_header = {a = {}}", "rewrite_header"), ("rewrite_header = '{\"Host\": \"x\"}'", "rewrite_header"),
        ('rewrite_header = {"a b" = "x"}', "rewrite_header"), ("rewrite_header = '{\"a\": [1]}'", "rewrite_header"),
    ],
)  # fmt: skip
def test_every_wrong_override_is_a_problem_with_its_path(line: str, key: str) -> None:
    assert problems(f'[[providers]]\nname = "ollama"\n{line}').keys() == {f"providers[0].{key}"}
    assert problems(f"{ABC}{line}").keys() == {f"ollama.models[2].{key}"}


def test_an_unreadable_patch_says_where_it_is_broken_and_a_header_is_not_repeated() -> None:
    wrong = problems('[[providers]]\nname = "ollama"\nrewrite_body = \'{"a": \'')
    assert "is not JSON" in wrong["providers[0].rewrite_body"] and "character 6" in wrong["providers[0].rewrite_body"]
    secret = problems('[[providers]]\nname = "ollama"\nrewrite_header = {a = "geheim\\n"}')
    assert "geheim" not in str(secret)


@pytest.mark.parametrize("line", ['api_key = "a, b"', 'api_key = "a,b,"', 'api_key_env = "MINE"'])
def test_a_provider_may_have_several_keys(line: str) -> None:
    made = provider(f'name = "openai"\n{line}', MINE="a,b")
    assert made.keys == (kinds.Secret("a"), kinds.Secret("b"))
    assert not parse(f'[[providers]]\nname = "openai"\n{line}', MINE="a,b").notes


@pytest.mark.parametrize("tier, path", [
    ("{above = 5, input_usd_per_mtok = 1}", "output_usd_per_mtok"),
    ("{input_usd_per_mtok = 1, output_usd_per_mtok = 1}", "above"),
    ("{above = 0, input_usd_per_mtok = 1, output_usd_per_mtok = 1}", "above"),
    ("{above = 5, input_usd_per_mtok = -1, output_usd_per_mtok = 1}", "input_usd_per_mtok"),
    ("{above = 5, input_usd_per_mtok = 1, output_usd_per_mtok = 1, more = 1}", "more"),
    ("{above = 9, input_usd_per_mtok = 1, output_usd_per_mtok = 1}", "above"),
])  # fmt: skip
def test_every_wrong_price_of_long_contexts_is_a_problem_with_its_path(tier: str, path: str) -> None:
    good = "{above = 9, input_usd_per_mtok = 1, output_usd_per_mtok = 1}"
    text = f'[[providers]]\nname = "ollama"\n[[ollama.models]]\nname = "m"\nconfig = {{long_context = [{good}, {tier}]}}'
    assert [each.partition(":")[0] for each in problems(text)] == [f"ollama.models[0].config.long_context[1].{path}"]
