"""keys, parameter_limits: what a key may use, how it is written and read, and numbers that stay within their bounds."""

import json
import tomllib
from typing import Any

import pytest

from llm_router_gateway.config import config, describe, keys
from llm_router_gateway.config.keys import Key, read_json
from llm_router_gateway.errors import BadRequest
from llm_router_gateway.json_body import read_body
from llm_router_gateway.policy import parameter_limits

FULL = {
    "name": "ci", "owner": "team", "note": "nightly", "expires_at": "2027-01-31T18:00:00Z", "is_active": False,
    "is_admin": True, "allowed_models": ["openai/*", "gpt-4.1"], "allowed_groups": ["fast"],
    "allowed_providers": ["o*"], "allowed_tags": ["cheap"],
    "parameter_limits": {"max_tokens": 1000, "temperature": {"min": 0, "max": 0.7}},
    "limits": {"max_requests": 10, "per_seconds": 60, "tokens_per_minute": 1000, "max_concurrent": 2},
    "budget": {"usd_per_day": 5, "tokens_per_month": 1000}, "networks": ["10.0.0.0/8", "2001:db8::/32"],
}  # fmt: skip


# -- what it is


def test_what_is_written_is_what_was_read() -> None:
    key = read_json(FULL)
    assert read_json(keys.terms_json(key)) == key
    assert read_json(json.loads(json.dumps(keys.terms_json(Key("", "plain"))))) == Key("", "plain")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("name", "", "name"), ("name", "a/b", "name"), ("name", "a\nb", "name"), ("name", "x" * 101, "name"),
        ("nam", "x", "name"),
        ("allowed_models", [], "switch the key off"), ("allowed_models", "openai/*", "list"), ("allowed_tags", [1], "list"),
        ("expires_at", "soon", "time"), ("expires_at", 5, "time"), ("networks", ["10.0.0.0/99"], "network"),
        ("budget", {"usd_per_day": float("inf")}, "too large"), ("soft_budget", {"tokens_per_day": 10**23}, "too large"),
        ("limits", {"max_requests": 1, "per_seconds": 1e300}, "too large"),
        ("budget", {"usd_per_day": -1}, "below"), ("budget", {"usd_per_year": 1}, "usd_per_day"),
        ("limits", {"max_requests": 5}, "per_seconds"), ("limits", {"burst": 5}, "burst_size"),
        ("parameter_limits", {"max_tokens": "many"}, "number"), ("parameter_limits", {"max_tokens": 0}, "below 1"),
        ("parameter_limits", {"max_tokens": 10**400}, "number"), ("parameter_limits", {"top_k": {"min": 10**400}}, "number"),
        ("parameter_limits", {"top_p": {"min": 2, "max": 1}}, "above max"), ("parameter_limits", {"top_p": {}}, "no limit"),
        ("parameter_limits", {"model": 1}, "cannot be limited"), ("is_admin", "yes", "true or false"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_is_named(field: str, value: object, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_json({"name": "ci", field: value})
    assert told in caught.value.message
    assert str(caught.value.details["path"]).startswith(field[:3])


def test_null_takes_a_limit_away_and_what_is_not_named_stays() -> None:
    key = read_json(FULL)
    gone = ("allowed_models", "limits", "budget", "expires_at", "parameter_limits")
    changed = read_json(dict.fromkeys(gone), key)
    assert (changed.allowed_models, changed.limits, changed.budget, changed.expires) == (None, None, None, None)
    assert changed.parameter_limits == {} and changed.allowed_groups == ("fast",) and changed.name == "ci"
    assert read_json({"owner": ""}, key).owner == ""
    assert read_json({"is_active": True}, key).is_active


def test_a_date_lasts_until_its_end_in_utc() -> None:
    for text, at in (("1970-01-01", 86_400), ("1970-01-02T00:00:00", 86_400), ("1970-01-02T01:00:00+01:00", 86_400)):
        assert read_json({"name": "a", "expires_at": text}).expires == at


def test_a_key_holds_256_bits_in_letters_that_a_double_click_takes() -> None:
    secret = keys.secret_of(bytes(range(32)))
    assert secret.startswith("llmr_") and len(secret) == 48 and secret[5:].isalnum() and secret.isascii()
    assert keys.secret_of(b"\xff" * 32) != keys.secret_of(b"\xfe" * 32)
    assert len(keys.secret_of(bytes(32))) == 48
    with pytest.raises(ValueError, match="32"):
        keys.secret_of(b"short")


def test_a_hint_never_tells_half_of_a_key() -> None:
    assert keys.hint_of("llmr_" + "a" * 43) == "llmr_aaaa..."
    assert keys.hint_of("secret") == "..."


# -- what it may use


@pytest.mark.parametrize(
    ("pattern", "name", "is_fit"),
    [
        ("openai/*", "openai/gpt-4.1", True), ("openai/*", "xopenai/gpt", False), ("*", "a/b", True), ("a*c", "abc", True),
        ("a*c", "ac", True), ("a*a", "a", False), ("a*b*c", "a-b-b-c", True), ("a*b*c", "acb", False), ("a.c", "abc", False),
        ("**", "", True), ("gpt-*-mini", "gpt-4.1-mini", True), ("gpt-*-mini", "gpt--mini-x", False),
        ("*a" * 50 + "b", "a" * 256, False),
    ],
)  # fmt: skip
def test_a_star_stands_for_any_characters(pattern: str, name: str, is_fit: bool) -> None:
    assert keys.fits(pattern, name) is is_fit


@pytest.mark.parametrize(
    ("terms", "allowed", "refused"),
    [
        ({}, ["openai/a", "x/y"], []),
        ({"allowed_models": ["openai/gpt-*"]}, ["openai/gpt-4.1"], ["openai/o3", "router/openai/gpt-4.1"]),
        ({"allowed_models": ["gpt-4.1"]}, ["openai/gpt-4.1", "azure/gpt-4.1"], ["openai/gpt-4.1-mini", "r/openai/gpt-4.1"]),
        ({"allowed_providers": ["open*"]}, ["openai/a", "openrouter/b"], ["claude/a"]),
        ({"allowed_models": ["*/a"], "allowed_providers": ["x"]}, ["x/a"], ["y/a", "x/b"]),
    ],
)
def test_lists_narrow_what_a_key_may_use(terms: dict[str, Any], allowed: list[str], refused: list[str]) -> None:
    key = read_json({"name": "k", **terms})
    assert key.is_bound is bool(terms)
    assert [name for name in [*allowed, *refused] if key.may_model(name)] == allowed


def test_tags_are_compared_without_case_and_a_model_without_any_has_none_of_them() -> None:
    key = read_json({"name": "k", "allowed_tags": ["Cheap*"]})
    assert key.may_model("a/b", ("CHEAPEST",)) and not key.may_model("a/b", ("fast",)) and not key.may_model("a/b")


def test_groups_alone_mean_that_models_are_reached_through_them() -> None:
    key = read_json({"name": "k", "allowed_groups": ["fast*"]})
    assert key.may_group("fast-1") and not key.may_group("big")
    assert key.may_model("openai/a") and not key.may_name("openai/a")
    both = read_json({"name": "k", "allowed_groups": ["fast"], "allowed_models": ["*"]})
    assert both.may_name("openai/a")


def test_a_refusal_names_what_may_be_used() -> None:
    error = read_json({"name": "k", "allowed_groups": ["fast"], "allowed_models": ["openai/*"]}).refuse("claude/x")
    assert (error.status, error.code) == (403, "not_allowed")
    assert "claude/x" in error.message and "openai/*" in error.message and "fast" in error.message


# -- from where


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),                 # what the caller wrote itself is not read
        ("10.0.0.1", "127.0.0.1, 1.2.3.4, 10.0.0.2", "1.2.3.4"),     # two proxies of ours
        ("10.0.0.1", "", "10.0.0.1"),
        ("9.9.9.9", "127.0.0.1", "9.9.9.9"),                         # not a proxy of ours
        ("10.0.0.1", "rubbish", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, rubbish, 10.0.0.2", "10.0.0.2"),
        ("::ffff:10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
        ("10.0.0.1", "[2001:db8::7]:99", "2001:db8::7"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
    ],
)  # fmt: skip
def test_forwarded_addresses_are_read_from_the_right_as_far_as_they_are_trusted(peer: str, forwarded: str, client: str) -> None:
    proxies = keys.networks_of(["10.0.0.0/8"])
    assert keys.client_of(peer, {"x-forwarded-for": forwarded} if forwarded else {}, proxies) == client
    assert keys.client_of(peer, {"x-forwarded-for": forwarded}, ()) == peer


@pytest.mark.parametrize(
    ("address", "network", "is_in"),
    [
        ("10.1.2.3", "10.0.0.0/8", True), ("::ffff:10.1.2.3", "10.0.0.0/8", True), ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::1", "2001:db8::/32", True), ("10.1.2.3", "::/0", False), ("rubbish", "0.0.0.0/0", False),
        ("fe80::1%eth0", "fe80::/10", True), ("10.1.2.3:80", "10.1.2.3", True), ("", "0.0.0.0/0", False),
    ],
)  # fmt: skip
def test_an_address_is_inside_a_network(address: str, network: str, is_in: bool) -> None:
    assert keys.is_inside(keys.address_of(address), keys.networks_of([network])) is is_in


# -- in the file


def test_keys_of_the_file_have_a_name_terms_and_a_secret_from_the_environment() -> None:
    text = """
        providers = [{ name = "ollama" }]
        [[keys]]
        name = "ci"
        key_env = "CI_KEY"
        expires_at = 2027-01-31
        allowed_models = ["ollama/*"]
        budget = { tokens_per_day = "10k" }
    """
    made = config.parse(tomllib.loads(text), env={"CI_KEY": "a" * 30})
    ((key, secrets),) = made.keys
    assert (key.id, key.source, key.hint, key.expires) == ("config:ci", "config", "aaaaaaaaa...", 1_801_440_000)
    assert secrets[0].reveal() == "a" * 30 and key.budget is not None and key.budget.tokens_per_day == 10_000
    shown = describe.config_text(made)
    assert "a" * 10 not in shown and 'allowed_models = ["ollama/*"]' in shown and "# key: 1 set" in shown


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ([{"name": "a"}], "keys[0].key"),
        ([{"key": "k"}], "keys[0].name"),
        ([{"name": "a", "key": "k"}, {"name": "a", "key": "l"}], "keys[1].name"),
        ([{"name": "a", "key": "k"}, {"name": "b", "key": "k"}], "keys"),
        ([{"name": "a", "key": "token"}], "keys"),
        ([{"name": "a", "key": "k", "allowed": []}], "keys[0].allowed"),
        ([{"name": "a", "key": "k", "budget": {"x": 1}}], "keys[0].budget.x"),
    ],
)
def test_a_key_that_is_not_whole_is_a_problem_with_its_place(tables: list[dict[str, Any]], path: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.parse({"server": {"token": "token"}, "keys": tables})
    assert path in [problem.path for problem in caught.value.problems]


def test_a_key_of_the_file_lets_the_gateway_listen_for_others() -> None:
    config.parse({"server": {"host": "::"}, "keys": [{"name": "a", "key": "k"}]})
    config.parse({"server": {"host": "::", "admin_token": "k"}})
    with pytest.raises(config.ConfigError):
        config.parse({"server": {"host": "::"}})


def test_both_kinds_of_token_are_there_together() -> None:
    """In the seed the keys of the file replaced the one of the environment."""
    made = config.parse({"keys": [{"name": "a", "key": "k"}]}, env={"LLM_ROUTER_TOKEN": "t", "LLM_ROUTER_ADMIN_TOKEN": "r"})
    assert len(made.keys) == len(made.server.tokens) == len(made.server.admin_tokens) == 1


# -- numbers within bounds


def capped(limits: dict[str, Any], api: str, fields: dict[str, Any], **how: Any) -> Any:
    changes, _ = parameter_limits.enforce(parameter_limits.read_limits(limits), api, fields, **how)
    return {**fields, **changes}


BOX = "generationConfig"


@pytest.mark.parametrize(
    ("api", "fields", "result"),
    [
        ("openai", {}, {"max_tokens": 100}),
        ("openai", {"max_tokens": 50}, {"max_tokens": 50}),
        ("openai", {"max_tokens": 5000}, {"max_tokens": 100}),
        ("openai", {"max_tokens": None}, {"max_tokens": 100}),
        ("openai", {"max_tokens": -1}, {"max_tokens": 100}),  # "without end" to some servers
        ("openai", {"max_completion_tokens": 5000}, {"max_completion_tokens": 100}),
        ("openai", {"max_tokens": 9, "max_completion_tokens": 5000}, {"max_tokens": 9, "max_completion_tokens": 100}),
        ("openai", {"max_output_tokens": 5000}, {"max_output_tokens": 100}),
        ("openai", {"n_predict": 5000}, {"n_predict": 100}),
        ("openai", {"n": 4, "max_tokens": 90}, {"n": 4, "max_tokens": 25}),
        ("openai", {"n": 2, "best_of": 10}, {"n": 2, "best_of": 10, "max_tokens": 10}),
        ("openai", {"n": 1000}, {"n": 100, "max_tokens": 1}),
        ("anthropic", {"max_tokens": 5000}, {"max_tokens": 100}),
        ("anthropic", {}, {"max_tokens": 100}),
        ("gemini", {}, {BOX: {"maxOutputTokens": 100}}),
        ("gemini", {BOX: {"maxOutputTokens": 5000, "topK": 1}}, {BOX: {"maxOutputTokens": 100, "topK": 1}}),
        ("gemini", {"generation_config": {"max_output_tokens": 5000}}, {"generation_config": {"max_output_tokens": 100}}),
        ("gemini", {BOX: {"max_output_tokens": 5000}}, {BOX: {"max_output_tokens": 100}}),
        ("gemini", {BOX: {"candidateCount": 4}}, {BOX: {"candidateCount": 4, "maxOutputTokens": 25}}),
        ("gemini", {"generation_config": {"topK": 1}}, {"generation_config": {"topK": 1, "maxOutputTokens": 100}}),
    ],
)  # fmt: skip
def test_the_length_of_answers_is_bounded_whatever_it_is_called_or_not_said(api: str, fields: Any, result: Any) -> None:
    before = json.dumps(fields)
    for name in ("max_tokens", "max_completion_tokens", "maxOutputTokens"):
        assert capped({name: 100}, api, fields) == result
    assert json.dumps(fields) == before, "the caller's request is its own"


@pytest.mark.parametrize(
    ("limits", "api", "fields", "result"),
    [
        ({"temperature": 0.5}, "openai", {}, {"temperature": 0.5}),       # the usual 1 is too much
        ({"temperature": 1.5}, "openai", {}, {}),
        ({"temperature": 0.5}, "openai", {"temperature": 0.2}, {"temperature": 0.2}),
        ({"temperature": 0.5}, "gemini", {BOX: {"temperature": 2}}, {BOX: {"temperature": 0.5}}),
        ({"temperature": {"min": 0.3}}, "openai", {"temperature": 0}, {"temperature": 0.3}),
        ({"top_p": 0.9}, "gemini", {}, {BOX: {"topP": 0.9}}),
        ({"presence_penalty": 0.5}, "openai", {}, {}),
        ({"presence_penalty": 0.5}, "openai", {"presence_penalty": 2}, {"presence_penalty": 0.5}),
        ({"presence_penalty": 0.5}, "anthropic", {}, {}),
        ({"temperature": 0.5}, "anthropic", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}}),
        ({"temperature": 0.5, "top_p": 0.5}, "anthropic", {}, {"temperature": 0.5}),
        ({"n": 1}, "openai", {"n": 8}, {"n": 1}),
        ({"n": 1}, "gemini", {BOX: {"candidateCount": 8}}, {BOX: {"candidateCount": 1}}),
        ({"top_k": 10}, "openai", {}, {}),
        ({"top_k": 10}, "anthropic", {"top_k": 50}, {"top_k": 10}),
        ({"seed": 10}, "openai", {"seed": 50}, {"seed": 10}),
        ({"seed": 10}, "openai", {}, {}),
        ({"thinking.budget_tokens": 10}, "anthropic", {"thinking": {"budget_tokens": 50, "type": "enabled"}},
         {"thinking": {"budget_tokens": 10, "type": "enabled"}}),
    ],
)  # fmt: skip
def test_other_numbers_are_bounded_and_put_in_where_their_usual_value_is_out_of_bounds(
    limits: Any, api: str, fields: Any, result: Any
) -> None:
    assert capped(limits, api, fields) == result


def test_the_limit_has_the_name_that_the_model_knows() -> None:
    assert capped({"max_tokens": 9}, "openai", {}, model="gpt-5") == {"max_completion_tokens": 9}
    assert capped({"temperature": 0.5}, "openai", {}, model="o3") == {}


@pytest.mark.parametrize("value", ["5000", True, [1], {"a": 1}])
def test_what_has_bounds_and_is_no_number_is_refused(value: object) -> None:
    for limits, api, fields in (
        ({"max_tokens": 100}, "openai", {"max_completion_tokens": value}),
        ({"temperature": 1}, "gemini", {BOX: {"temperature": value}}),
        ({"max_tokens": 100}, "openai", {"n": value}),
        ({"seed": 1}, "anthropic", {"seed": value}),
    ):
        with pytest.raises(BadRequest):
            capped(limits, api, fields)
    with pytest.raises(BadRequest):
        capped({"max_tokens": 100}, "gemini", {BOX: "none"})


@pytest.mark.parametrize(
    ("api", "text"),
    [
        ("openai", '{"max_tokens": 99999, "max_tokens": 5}'),
        ("gemini", '{"generationConfig": {"maxOutputTokens": 99999, "maxOutputTokens": 5}}'),
        ("gemini", '{"generationConfig": {"maxOutputTokens": 99999}, "generationConfig": {"maxOutputTokens": 5}}'),
    ],
)
def test_a_number_that_is_given_twice_is_written_once(api: str, text: str) -> None:
    body = read_body(text.encode())
    changes, _ = parameter_limits.enforce(parameter_limits.read_limits({"max_tokens": 100}), api, body.fields, body=body)
    assert b"99999" not in body.edit(changes)


def test_a_body_within_bounds_is_not_changed_by_a_byte() -> None:
    body = read_body(b'{ "max_tokens" : 5e1,"temperature":0.50 }')
    caps = parameter_limits.read_limits({"max_tokens": 100, "temperature": 1})
    assert parameter_limits.enforce(caps, "openai", body.fields, body=body) == ({}, [])


def test_what_was_changed_is_reported() -> None:
    caps = parameter_limits.read_limits({"max_tokens": 100, "temperature": 0.5})
    told = parameter_limits.enforce(caps, "openai", {"n": 3, "max_tokens": 7000})[1]
    assert told == ["temperature=0.5", "max_tokens=33"]


def test_a_text_that_is_too_long_for_an_address_is_none_and_not_remembered() -> None:
    before = keys.parse_address.cache_info().currsize
    assert keys.address_of("1" * (keys.MAX_ADDRESS + 1)) is None
    assert keys.parse_address.cache_info().currsize == before
