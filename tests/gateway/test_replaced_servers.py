"""The servers this one replaces, row by row: what they did, and the right behaviour of ours.

TOML is the server with router.toml and a database, JQ the one with YAML and jq selectors. ELSEWHERE names the test
of each row that has one in another file (and a test here sees that it is there); the rows below have theirs here.

Rows of other parts, and where they are shown:
    bodies between protocols: system turns, generationConfig, tools, streams   wire/, proxy/test_streaming.py
    errors in each protocol's shape, model lists, health, CORS, request ids    proxy/test_gateway.py, process/
    jq itself                                                                  jq/
    the client's key, its recipes and fallbacks                                tests/client/test_policy.py, test_client.py
    callers' keys with allow-lists and parameter limits, the database, costs, statistics and the pages that show
    them are no part of configuration and routing: they are tested where they are made
Not here, and so without a test: guessing from the words of a prompt whether it is hard, with the roles and the
strong/weak pairs that need it; proxy variables of the environment (HTTPS_PROXY), which JQ honoured.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from choices import PROVIDER, World, group, listed, parse
from configs import ABC, member, problems, provider
from fakes import Upstream
from routed import Hosts, Story, Ways, chat, ok, play, refusal, streamed, trio
from routed import group as group_table

from llm_router_gateway.access.authenticate import Authenticator
from llm_router_gateway.config import config
from llm_router_gateway.config.kinds import Secret
from llm_router_gateway.config.sources import Source
from llm_router_gateway.errors import GatewayError, RateLimited, Unauthorized, UnknownModel
from llm_router_gateway.jq import compiler as jq
from llm_router_gateway.policy import circuit_breaker, rate_limits
from llm_router_gateway.proxy import headers
from llm_router_gateway.proxy.gateway import prepare
from llm_router_gateway.routing import resolve

HERE = Path(__file__).parent
KEY, OTHER = "k" + "ey-" * 4, "other" + "-key" * 3
Run = Callable[..., Ways]

ELSEWHERE = {
    # Configuration, TOML
    "flags, environment, file, default: in this order": "config.flags_beat_the_environment_beats_the_file_beats_the_default",
    "the same in a process": "process.flags_win_over_the_environment_over_the_file_over_defaults",
    "open to others without a token (0.0.0.0, auth off): refused": "config.a_bind_that_others_can_reach_needs_a_token",
    "several tokens, comma list": "config.tokens_come_from_the_first_place_that_names_any",
    "the log level was read and not applied": "process.every_flag_in_its_short_form",
    "host and port alone could be set in the file": "config.every_problem_is_reported_with_its_path",
    "a path segment doubled (GLM)": "config.addresses_are_joined_without_doubling_a_segment",
    "settings.proxy broke every call": "tunnels.a_plain_request_goes_to_an_http_proxy_with_its_whole_address",
    "settings.headers": "headers.configured_headers_replace_and_never_double",
    "name unique per provider": "config.a_model_twice_is_a_problem",
    "remote_identifier, else config.model, else name": (
        "config.the_remote_name_is_remote_identifier_else_config_model_else_the_name"
    ),
    "[[PROVIDER.models]]": "config.models_nest_under_their_provider_too",
    "[models.config]: known keys used, the rest shown": (
        "config.what_is_known_of_a_model_is_read_and_the_rest_is_kept_to_be_shown"
    ),
    "default_params merged under the request's": "gateway.a_listed_model_has_its_own_name_upstream_and_its_defaults",
    "[models.rate_limit], burst >= max": "config.a_rate_limit_is_checked_and_read",
    "keys in clear in a file of ours or an answer": "main.the_whole_configuration_is_printed_and_no_key_is",
    "a removed model stayed": "plan.what_a_new_configuration_leaves_out_is_gone",
    "a reload refilled every bucket": "routing.a_new_configuration_does_not_refill_a_bucket",
    "a broken file keeps the old state": "process.a_changed_file_is_taken_over_and_a_bad_one_is_not",
    "a request under way keeps what it began with": "plan.an_old_request_keeps_its_plan_over_a_swap",
    "the file's name, and LLM_ROUTER_MODEL_CONFIG": "sources.without_a_file_the_environment_decides",
    "is_active = false": "plan.a_member_that_is_switched_off_or_has_no_key_is_not_tried",
    "a key with a line end": "config.secrets_are_read_from_files_by_the_given_reader",
    "a key in an error": "config.a_secret_is_never_shown",
    # Configuration, JQ
    "every flag": "process.every_flag_in_its_long_form",
    "no hot reload": "process.sighup_reads_the_file_again_and_open_streams_do_not_notice",
    "an unparsable rewrite was ignored": "config.an_unreadable_patch_says_where_it_is_broken_and_a_header_is_not_repeated",
    "one strategy for all groups": "config.each_group_has_a_strategy_of_its_own",
    "a member that is no model passed, as did one twice": "config.every_wrong_member_is_a_problem_with_its_path",
    "group names unique": "config.every_wrong_group_is_a_problem_with_its_path",
    "weight 100 by default": "config.a_group_has_a_weight_of_100_and_round_robin_unless_it_says_otherwise",
    "unknown keys were ignored": "config.an_error_says_what_was_there_and_what_was_meant",
    "its YAML has a twin": "reference.the_twin_of_the_jq_servers_file_is_a_configuration",
    "Anthropic without a version": "headers.a_version_is_sent_to_anthropic_when_the_caller_sent_none",
    "no time-outs": "client.the_first_byte_has_its_own_time",
    "up to ten redirects followed": "failover.a_member_that_fails_is_followed_by_the_next",
    "the log cut in mid-line at its cap": "process.the_log_file_is_turned_over_at_10_mb",
    "shutdown without a limit": "process.what_is_open_at_the_limit_ends_with_its_protocols_error",
    # Routing, TOML
    "a model's name may hold a slash": "resolve.listed_models_by_full_name_and_by_unambiguous_bare_name",
    "bare names": "resolve.a_bare_name_that_two_providers_have_is_ambiguous_and_the_error_says_what_to_write",
    "tags: AND only, case mattered, no or, no exclusion": "tag_query.all_any_none_and_tasks_in_a_models_name",
    "no tags matched every model": "tag_query.a_text_that_asks_for_nothing_or_too_much_is_refused",
    "provider_types, name": "tag_query.a_query_beside_the_request",
    "always the same one of the matches": "tag_query.matches_share_the_work_and_stand_in_for_each_other",
    "the highest priority first": "tag_query.the_higher_priority_is_tried_first_and_the_next_when_it_fails",
    "ties went Z to A": "plan.priority_is_a_ladder_and_equal_ones_share",
    "a dead first key was tried first each time": ("failover.a_refused_key_is_followed_by_the_next_and_not_tried_first_again"),
    "no match was a 400": "routing.no_match_is_a_404_that_names_what_there_is",
    "inactive was a 400": "routing.what_is_switched_off_or_unhealthy_is_a_503",
    "/route decides without calling, and showed the provider's key": "routing.route_decides_and_says_why_and_calls_none",
    "/route/invoke": "routing.invoke_answers_in_its_own_shape",
    "/route/invoke never streamed": "routing.invoke_streams_as_chat_does_and_fails_over",
    "listed names that the chat endpoint refused": "model_list.every_listed_name_is_one_that_a_call_accepts",
    # Routing, JQ
    "a group comes before a model of its name and is listed": (
        "plan.a_group_is_a_name_in_every_list_and_comes_before_a_model_of_the_same_name"
    ),
    "a model by its own name had no health": (
        "plan.a_plain_name_is_a_plan_of_one_that_is_always_tried_and_whose_health_is_known"
    ),
    "no selector true was a 404, no fallbacks": (
        "plan.when_no_selector_is_true_the_fallbacks_are_tried_and_without_any_it_is_a_503_that_says_so"
    ),
    "when every breaker is open, all are candidates": "plan.the_last_member_is_always_tried_soonest_back_first",
    "one attempt only": "failover.so_is_one_that_fails_before_the_first_output_of_a_stream",
    "no member left: fallbacks": "failover.fallbacks_are_tried_when_no_member_is_left",
    "selectors saw a body printed anew, without what the structs drop": (
        "routing.a_selector_sees_the_body_as_it_came_and_the_headers_without_credentials"
    ),
    "model and stream not seen for Gemini, other expressions per protocol": (
        "routing.a_selector_knows_the_protocol_the_stream_and_the_name"
    ),
    'the text "true" selected': "plan.only_true_selects",
    "errors, empty output, length of nothing; the first output decides": "plan.selectors_over_the_body_as_received",
    "an error in a selector": "routing.an_error_in_a_selector_does_not_select_and_is_logged_once",
    "a syntax error stops the start": "config.a_selector_that_is_no_jq_stops_the_start_and_says_where",
    "no time limit": "plan.a_selector_without_end_is_stopped_and_does_not_select",
    "halved by a failure, 1 at least": "circuit_breaker.a_failure_halves_the_weight_and_never_to_nothing",
    "+10 points by a success": "circuit_breaker.successes_restore_it",
    "no recovery by time": "circuit_breaker.time_restores_it_too",
    "shares by weight, under each strategy": "simulation.the_shares_are_those_of_the_weights",
    "a failing member's share, and no request lost": (
        "simulation.a_failing_members_share_falls_and_comes_back_and_no_request_is_lost"
    ),
    "weight 0 only when no other is left": "plan.weight_0_is_tried_only_when_no_other_is_left",
    "smooth round robin": "plan.smooth_weighted_round_robin_never_sends_a_burst_to_one",
    "a failure favoured the one that failed": "plan.a_failure_does_not_bring_its_members_turn_forward",
    "leastconn forgot streams and leaked who left": (
        "plan.leastconn_counts_a_stream_until_it_ends_and_one_that_left_until_then"
    ),
    "leastconn by active / weight": "plan.leastconn_keeps_open_requests_in_the_ratio_of_the_weights",
    "random ignored health": "plan.random_honours_health_and_breaker",
    "3 in a row open for 30 s": "circuit_breaker.a_breaker_opens_after_failures_in_a_row_and_only_in_a_row",
    "half-open let all through": "plan.half_open_one_probe_at_a_time",
    "a failed probe opens again": (
        "circuit_breaker.a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_for_twice_as_long"
    ),
    "a caller's 4xx opened the breaker for all": (
        "failover.the_callers_own_fault_is_reported_at_once_and_counts_against_no_member"
    ),
    "a wrong key opened the breaker": "failover.a_wrong_key_or_an_unknown_model_moves_on_and_is_no_illness",
    "a stream that breaks was a success": "failover.after_the_first_output_no_other_is_tried",
    "nested tables of a rewrite were replaced whole": "overrides.a_nested_table_is_merged_not_replaced",
    "null was sent, not deleted": "routing.null_removes_a_field_or_a_header",
    "a rewrite of stream put both sides out of step": "config.every_wrong_override_is_a_problem_with_its_path",
    "a rewritten header was sent twice": "overrides.headers_are_replaced_not_added_and_null_removes",
    "--check always ended with 0": "process.check_tells_of_each_model_what_failed_and_what_to_do",
    # Limits
    "an empty bucket made the call wait without end": (
        "local.an_empty_bucket_is_a_429_with_the_seconds_to_wait_not_a_wait_without_end"
    ),
    "429 and Retry-After in each protocol": "routing.a_reached_limit_is_a_429_in_the_callers_protocol",
    "it applies to routed calls too": "routing.a_limit_holds_for_the_model_however_it_is_called",
    "no limit per caller's key": "routing.each_key_of_callers_has_its_own_limit",
    "no limit of tokens": "routing.tokens_are_counted_as_they_were_used",
}


@pytest.mark.parametrize("row", ELSEWHERE)
def test_a_row_that_is_shown_elsewhere_is(row: str) -> None:
    file, _, name = ELSEWHERE[row].partition(".")
    texts = [path.read_text() for path in HERE.rglob(f"test_{file}.py")]
    assert any(re.search(rf"^def test_{name}\(", text, re.MULTILINE) for text in texts)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def runs(story: Story, document: dict[str, Any] | None = None, **scripts: Any) -> Ways:
        return play(story, document or trio(), Hosts(**scripts), tmp_path)

    return runs


# ------------------------------------------------------------------------------------------------ configuration, TOML


def test_the_env_file_is_the_one_beside_the_configuration_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """It was that of the working directory, read once at import."""
    beside, elsewhere = tmp_path / "etc", tmp_path / "anywhere"
    for folder, port in ((beside, 1), (elsewhere, 2)):
        folder.mkdir()
        (folder / ".env").write_text(f"LLM_ROUTER_PORT={port}\n")
    (beside / "router.toml").touch()
    monkeypatch.chdir(elsewhere)
    source = Source(str(beside / "router.toml"), flags={}, env={"LLM_ROUTER_LOG_LEVEL": "warn"})
    assert source.load().server.port == 1
    (beside / ".env").write_text("LLM_ROUTER_PORT=30\nLLM_ROUTER_LOG_LEVEL=debug\n")
    assert source.has_changed()
    again = source.load().server
    assert (again.port, again.log_level) == (30, "warn"), "and it never overrides a variable that is set"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("LLM_ROUTER_HOST", "::1", "host", "::1"), ("LLM_ROUTER_PORT", "18000", "port", 18_000),
        ("LLM_ROUTER_API_KEYS", f"{KEY}, {OTHER}", "tokens", (Secret(KEY), Secret(OTHER))),
        ("LLM_ROUTER_DEFAULT_TIMEOUT", "60", "timeout_s", 60), ("LLM_ROUTER_LOG_LEVEL", "warn", "log_level", "warn"),
    ],
)  # fmt: skip
def test_its_variables_mean_here_what_they_meant_there(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(config.parse({}, env={variable: text}).server, name) == value


def test_no_variable_switches_tokens_off() -> None:
    """LLM_ROUTER_REQUIRE_AUTH did, and keys of the file alone were not asked for."""
    for document, env in (({}, {"LLM_ROUTER_API_KEYS": KEY}), ({"server": {"token": KEY}}, {})):
        ring = Authenticator(config.parse(document, env={**env, "LLM_ROUTER_REQUIRE_AUTH": "false"}))
        with pytest.raises(Unauthorized):
            ring.admit({}, {}, "127.0.0.1", 0.0)


@pytest.mark.parametrize(
    "kind", ["openai", "claude", "gemini", "grok", "deepseek", "qwen", "kimi", "glm", "openrouter", "ollama", "vllm",
             "transformers", "remote_http", "custom_http"],
)  # fmt: skip
def test_each_of_its_types_of_provider_is_one(kind: str) -> None:
    assert provider(f'name = "p"\ntype = "{kind}"\nbase_url = "https://h.example/x"').type == kind


def test_a_key_in_the_file_comes_before_its_variable() -> None:
    made = provider(f'name = "p"\ntype = "openai"\napi_key = "{KEY}"\napi_key_env = "MINE"', MINE=OTHER)
    assert made.keys[0] == Secret(KEY)


def test_each_of_its_settings_of_a_provider_is_one() -> None:
    made = provider(
        'name = "claude"\nbase_url = "https://h.example"\n[providers.settings]\nendpoint = "/chat"\ntimeout = 7\n'
        'headers = {X-Org = "o"}\nauth_header = "X-Key"\nauth_scheme = "Key"\nanthropic_version = "2024-01-01"\n'
        'proxy = "http://127.0.0.1:1"'
    )
    assert (made.url("chat"), made.timeout_s, dict(made.headers)) == ("https://h.example/chat", 7, {"X-Org": "o"})
    assert (made.auth_header, made.auth_scheme, made.versions) == ("X-Key", "Key", {"anthropic_version": "2024-01-01"})
    assert made.proxy == "http://127.0.0.1:1"


def test_a_model_of_its_file_is_read_whole() -> None:
    made = parse(
        PROVIDER + listed("m", m='display_name = "M"\ndescription = "d"\nis_active = true\ntags = ["chat"]\n'
        'default_params = {temperature = 0}\ndownload_uri = "x"\nlocal_path = "y"\nconfig = {priority = 7}\n'
        'rate_limit = {max_requests = 5, per_seconds = 60, burst_size = 10, notes = "n", config = {}}')
    ).models[0]  # fmt: skip
    assert (made.display_name, made.description, made.tags, made.priority) == ("M", "d", ("chat",), 7)
    assert made.overrides.defaults == {"temperature": 0}
    assert made.limit == rate_limits.Limit(5, 60, 10)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[routing]\nanalyzer_model = "x"', "routing.analyzer_model"),
        ('[routing]\nload_balance_strategy = "weighted"', "routing.load_balance_strategy"),
        ("[routing.circuit_breaker]\nenabled = true", "routing.circuit_breaker"),
        (f'[[api_keys]]\nkey = "{KEY}"', "api_keys"),
        ('[[providers]]\nname = "ollama"\nsettings = {accounts = []}', "providers[0].settings.accounts"),
    ],
)
def test_what_it_knew_and_this_does_not_is_reported_and_not_passed_over(text: str, path: str) -> None:
    assert path in problems(text)


def test_its_pages_settings_are_reported_as_unused() -> None:
    assert parse("[frontend]\nport = 1").notes == ("[frontend] is a section of an older server, and is ignored",)


def test_the_breaker_is_as_it_was_by_default_and_can_be_set() -> None:
    assert parse("").routing.health == circuit_breaker.Rules(failures_to_open=3, open_s=30)
    rules = circuit_breaker.Rules(failures_to_open=5, open_s=9)
    assert parse("[health]\nfailures_to_open = 5\nopen_s = 9").routing.health == rules


# -- a changed file


def test_a_renamed_model_is_no_longer_there_by_its_old_name() -> None:
    made = World(PROVIDER + listed("old", "stays"))
    made.swap(PROVIDER + listed("new", "stays"))
    assert made.ask("new") == ["p/new"]
    with pytest.raises(UnknownModel):
        made.plan("old")


def test_a_removed_token_admits_no_caller(run: Run) -> None:
    """A deleted key kept working until the server was started again."""

    async def story(ways: Ways) -> None:
        for token, statuses in ((KEY, (200, 401)), (OTHER, (401, 200))):
            ways.gateway.swap(prepare(config.parse(trio(server={"token": token}))))
            for key, status in zip((KEY, OTHER), statuses, strict=True):
                assert (await ways.ask(chat(headers=[("x-api-key", key)]))).status == status

    run(story, a=ok())


def test_a_file_with_a_model_of_an_unknown_provider_is_refused_whole(tmp_path: Path) -> None:
    """The providers before it were taken over, the models not."""
    path = tmp_path / "router.toml"
    path.write_text(PROVIDER + listed("a"))
    source = Source(str(path), flags={}, env={})
    source.load()
    path.write_text('[[providers]]\nname = "q"\ntype = "ollama"\n' + '[[models]]\nname = "m"\nprovider = "nobody"\n')
    assert source.has_changed()
    with pytest.raises(config.ConfigError, match=r"models\[0\]\.provider"):
        source.load()


# -------------------------------------------------------------------------------------------------- configuration, JQ


@pytest.mark.parametrize(("flag", "value"), [("log_level", "loud"), ("proxy", "ftp://h:1"), ("proxy", "h"), ("port", "x")])
def test_a_flag_that_cannot_be_used_stops_the_start_with_a_sentence(flag: str, value: str) -> None:
    """An unknown level was INFO, and a bad proxy a panic."""
    (path,) = problems("", flags={flag: value})
    assert path.startswith("--" + flag.replace("_", "-"))


@pytest.mark.parametrize(
    ("api", "chat_url", "stream_url", "header"),
    [
        ("openai", "/chat/completions", "/chat/completions", ("authorization", f"Bearer {KEY}")),
        ("anthropic", "/v1/messages", "/v1/messages", ("x-api-key", KEY)),
        ("gemini", "/models/m:generateContent", "/models/m:streamGenerateContent?alt=sse", ("x-goog-api-key", KEY)),
    ],
)
def test_each_apis_paths_are_as_they_were_and_no_key_is_in_them(
    api: str, chat_url: str, stream_url: str, header: tuple[str, str]
) -> None:
    """Gemini's key was in the address, hence in the log and in error messages."""
    made = config.parse({"providers": [{"name": "p", "api": api, "base_url": "https://h.example/x", "api_key": KEY}]})
    one = resolve.candidates(resolve.routes_of(made), "p/m")[0]
    assert one.provider.url("chat", "m") == f"https://h.example/x{chat_url}"
    assert one.provider.url("stream" if api == "gemini" else "chat", "m") == f"https://h.example/x{stream_url}"
    assert header in headers.upstream_headers(one, [], "r", same=True)


def test_a_local_server_needs_no_key_and_is_sent_none() -> None:
    """Its key had to be given, be it empty."""
    one = resolve.candidates(resolve.routes_of(parse(PROVIDER)), "p/m")[0]
    assert "authorization" not in dict(headers.upstream_headers(one, [], "r", same=True))


def test_no_provider_is_waited_for_without_a_limit() -> None:
    made = parse(PROVIDER).providers[0]
    for seconds in (made.connect_timeout_s, made.timeout_s, made.first_output_timeout_s, made.output_gap_timeout_s):
        assert 0 < seconds <= 600


# ------------------------------------------------------------------------------------------------------ routing, TOML


def test_a_match_is_followed_by_the_next_match_and_the_answer_names_it(run: Run) -> None:
    """The failure of the one with the highest priority was the caller's, and no answer said who had given it."""
    document = trio()
    for place, model in enumerate(document["models"]):
        model |= {"tags": ["Coding"], "config": {"priority": 3 - place}}

    async def story(ways: Ways) -> None:
        answer = await ways.ask(chat("tag:coding"))
        named = [answer.out_headers[f"x-llm-router-{each}"] for each in ("model", "attempts")]
        assert (answer.status, named) == (200, ["b/m", "2"])

    run(story, document, a=refusal(503), b=ok())


@pytest.mark.parametrize("path", ["/route", "/route/invoke"])
@pytest.mark.parametrize("query", [{"tags": ["nobody-has-this"]}, {"tags": ["x"], "task": "nobody"}])
def test_what_matches_no_member_is_not_answered(run: Run, path: str, query: dict[str, Any]) -> None:
    """One version took all models then, another the first of the table."""
    document = trio()
    document["models"][0]["tags"] = ["x"]

    async def story(ways: Ways) -> None:
        assert (await ways.post(path, {"query": query, "request": {"prompt": "hi"}})).status == 404

    assert run(story, document).hosts.hosts == []


def test_an_upstreams_failure_keeps_its_status(run: Run) -> None:
    """All of them were 400, a lost connection a 500 that was noted as a success."""

    async def story(ways: Ways) -> None:
        for status in (401, 429, 503):
            assert (await ways.ask(chat("a/m"))).status == status
        assert (await ways.get("/health/models"))["models"][0]["successes"] == 0

    run(story, a=[refusal(401), refusal(429), refusal(503)])


# -------------------------------------------------------------------------------------------------------- routing, JQ


@pytest.mark.parametrize("selector", ["", "  "])
def test_a_blank_selector_is_a_problem_and_not_true_for_all(selector: str) -> None:
    assert member(f'model = "b", selector = "{selector}"').keys() == {"groups[0].members[1].selector"}


@pytest.mark.parametrize(
    ("selector", "position"), [("no_such(1)", 0), (".a | nope", 5), (".a == $b", 6), ("[.a[] | input]", 8)]
)
def test_what_is_unknown_in_a_selector_is_refused_at_the_start_with_its_position(selector: str, position: int) -> None:
    """It passed the start and was a panic with the first request."""
    with pytest.raises(jq.JqError) as caught:
        jq.compile(selector)
    assert caught.value.position == position
    told = member(f'model = "b", selector = "{selector}"')["groups[0].members[1].selector"]
    assert told.endswith(f" at character {position}")


def test_a_selector_is_read_once_not_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    made = World(PROVIDER + listed("a") + group("g", 'a selector=".x"'))
    monkeypatch.setattr(jq, "compile", None)
    assert made.ask("g", {"x": True}) == ["p/a"]


def test_ten_minutes_of_one_member_down_cost_no_caller_anything() -> None:
    """Two models, a request each second: nine failed, and the whole share took 115 s and successes to return."""
    made = World(PROVIDER + listed("a", "b") + group("g", "a", "b"))
    assert made.shares("g", 600, every_s=1, fail={"p/a"}) == {"p/b": 1}
    made.shares("g", 240 + 120, every_s=1)  # the longest breaker, and the time that restores the weight
    assert made.shares("g", 100, every_s=1) == {"p/a": pytest.approx(0.5, abs=0.02), "p/b": pytest.approx(0.5, abs=0.02)}


@pytest.mark.parametrize(
    "broken",
    [Upstream(200, b"<html>", content_type="text/html"), Upstream(200, b'{"error":{"message":"no"}}')],
)
def test_an_answer_that_is_none_is_a_failure_and_another_is_tried(run: Run, broken: Upstream) -> None:
    """200 was a success whatever came with it."""

    async def story(ways: Ways) -> None:
        assert (await ways.ask(chat())).status == 200
        first, second = (await ways.get("/health/models"))["models"][:2]
        assert (first["successes"], first["failures"], second["successes"]) == (0, 1, 1)

    run(story, a=broken, b=ok())


def test_a_member_with_an_open_breaker_is_not_tried_under_any_strategy() -> None:
    for strategy in ("roundrobin", "random", "leastconn", "latency", "cost", "priority"):
        made = World(PROVIDER + listed("a", "b") + group("g", "a", "b", lines=f'strategy = "{strategy}"'))
        rules = circuit_breaker.Rules()
        for _ in range(3):
            known = made.routing_state.health("p/a")
            made.routing_state.healths["p/a"] = circuit_breaker.record_failure(known, rules, made.now, "x")
        assert made.shares("g", 20) == {"p/b": 1}, strategy


@pytest.mark.parametrize("field", ["model", "stream"])
def test_a_rewrite_changes_neither_the_model_nor_the_stream(field: str) -> None:
    """A model's other name is its remote_identifier; the stream is the caller's to ask for."""
    assert problems(f"{ABC}rewrite_body = {{{field} = 'x'}}").keys() == {"ollama.models[2].rewrite_body"}


@pytest.mark.parametrize("name", ["Authorization", "X-Request-ID", "User-Agent"])
def test_a_rewritten_header_is_sent_once(name: str) -> None:
    document = trio()
    document["providers"][0]["rewrite_header"] = {name: "mine"}
    one = resolve.candidates(resolve.routes_of(config.parse(document)), "a/m")[0]
    caller = [("x-request-id", "theirs"), ("user-agent", "theirs")]
    sent = headers.upstream_headers(one, caller, "r", same=True)
    assert [value for each, value in sent if each == name.lower()] == ["mine"]


@pytest.mark.parametrize(("value", "sent"), [("3", "3"), ("0.5", "0.5"), ('"null"', "null")])
def test_numbers_of_a_rewritten_header_are_text(value: str, sent: str) -> None:
    assert provider(f'name = "ollama"\nrewrite_header = {{X-A = {value}}}').overrides.headers == {"x-a": sent}


def test_a_groups_members_may_speak_different_protocols_under_one_selector(run: Run) -> None:
    document = trio(groups=[group_table({"model": "a/m", "selector": "$stream | not"}, "b/m")])

    async def story(ways: Ways) -> None:
        said = {"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        for path in ("/v1/chat/completions", "/v1/messages"):
            assert (await ways.post(path, said)).status == 200
        content = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        assert (await ways.post("/v1beta/models/g:generateContent", content)).status == 200
        assert (await ways.post("/v1beta/models/g:streamGenerateContent?alt=sse", content)).status == 200

    assert run(story, document, a=ok(), b=streamed()).hosts.hosts[-1] == "b"


# -------------------------------------------------------------------------------------------------------------- limits


def test_five_calls_at_two_in_four_seconds_are_two_answers_and_three_times_when_to_come_back() -> None:
    """All five were answered, after nine seconds together."""
    made = World(PROVIDER + listed("m", m="rate_limit = {max_requests = 2, per_seconds = 4}"))
    told: list[float | None] = []
    for _ in range(5):
        try:
            told.append(0 if made.ask("m") == ["p/m"] else None)
        except RateLimited as limited:
            told.append(limited.retry_after_s)
    assert told == [0, 0, 2, 2, 2]
    made.now += 2
    assert made.ask("m") == ["p/m"]


def test_a_limit_of_one_model_is_not_anothers() -> None:
    made = World(PROVIDER + listed("a", "b", a="rate_limit = {max_requests = 1, per_seconds = 60}"))
    made.ask("a")
    with pytest.raises(GatewayError):
        made.ask("a")
    assert made.ask("b") == ["p/b"]
