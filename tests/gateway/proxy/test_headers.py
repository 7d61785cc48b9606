"""headers: which headers go on, in both directions."""

import pytest

from llm_router_gateway.config import config
from llm_router_gateway.errors import GatewayError
from llm_router_gateway.proxy import headers as forward
from llm_router_gateway.routing import resolve

KEY, CALLERS = "up" + "-key" * 3, "caller" + "-key" * 3


def candidate(name: str = "claude", **settings: object) -> resolve.Candidate:
    table = {"name": name, "api_key": KEY, "settings": settings}
    return resolve.candidates(resolve.routes_of(config.parse({"providers": [table]})), f"{name}/m")[0]


CALLER = [
    ("authorization", f"Bearer {CALLERS}"), ("x-api-key", CALLERS), ("x-goog-api-key", CALLERS), ("cookie", CALLERS),
    ("host", "127.0.0.1:8000"), ("content-length", "5"), ("connection", "keep-alive"), ("accept-encoding", "gzip"),
    ("x-forwarded-for", "10.0.0.1"), ("sec-fetch-mode", "cors"), ("openai-organization", "org"),
    ("anthropic-version", "2099-01-01"), ("anthropic-beta", "a,b"), ("x-new-thing", "1"), ("user-agent", "sdk/1"),
    ("x-request-id", "theirs"),
]  # fmt: skip


def test_the_same_protocol_passes_on_what_is_not_the_callers_own() -> None:
    sent = dict(forward.upstream_headers(candidate(), CALLER, "r1", same=True))
    assert CALLERS not in str(sent)
    assert sent == {
        "anthropic-version": "2099-01-01", "anthropic-beta": "a,b", "x-new-thing": "1", "user-agent": "sdk/1",
        "accept": "*/*", "content-type": "application/json", "accept-encoding": "identity", "x-request-id": "r1",
        "x-api-key": KEY,
    }  # fmt: skip


def test_a_conversion_passes_on_nothing_of_the_callers() -> None:
    sent = dict(forward.upstream_headers(candidate("openai"), CALLER, "r1", same=False))
    assert sent == {
        "accept": "*/*", "content-type": "application/json", "accept-encoding": "identity", "x-request-id": "r1",
        "authorization": f"Bearer {KEY}",
    }  # fmt: skip


def test_a_version_is_sent_to_anthropic_when_the_caller_sent_none() -> None:
    assert dict(forward.upstream_headers(candidate(), [], "r1", same=True))["anthropic-version"] == "2023-06-01"


def test_configured_headers_replace_and_never_double() -> None:
    one = candidate("claude", headers={"Anthropic-Beta": "mine", "X-Api-Key": "other"}, auth_header="X-Key", auth_scheme="K")
    sent = forward.upstream_headers(one, CALLER, "r1", same=True)
    assert len({name for name, _ in sent}) == len(sent)
    assert dict(sent)["anthropic-beta"] == "mine"
    assert (dict(sent)["x-key"], dict(sent)["x-api-key"]) == (f"K {KEY}", "other")


def test_an_answer_keeps_rate_limits_and_loses_what_is_not_the_callers_to_see() -> None:
    upstream = [
        ("content-type", "application/json"), ("retry-after", "7"), ("anthropic-ratelimit-tokens-remaining", "1"),
        ("request-id", "up1"), ("set-cookie", "x"), ("openai-organization", "org"), ("transfer-encoding", "chunked"),
        ("content-length", "3"), ("server", "x"), ("x-request-id", "up2"), ("x-llm-router-model", "theirs"),
        ("x-internal", "h1"),
        ("x-content-type-options", "maybe"), ("openai-processing-ms", "9"), ("x-should-retry", "false"),
    ]  # fmt: skip
    assert [name for name, _ in forward.caller_headers(upstream)] == [
        "content-type", "retry-after", "anthropic-ratelimit-tokens-remaining", "request-id", "openai-organization",
        "openai-processing-ms", "x-should-retry",
    ]  # fmt: skip


def test_our_key_is_taken_out_of_what_an_upstream_repeats() -> None:
    assert forward.mask_secrets(f"bad key {KEY}!".encode(), candidate()) == b"bad key ***!"


def test_so_is_a_credential_in_a_header_that_the_configuration_adds() -> None:
    team, model = "team" + "-token" * 2, "model" + "-token" * 2
    headers = {"X-Team-Token": f"Bearer {team}", "X-Region": "frankfurt", "X-Key": "eu"}
    table = {"name": "openai", "settings": {"headers": headers}}
    listed = {"name": "m", "provider": "openai", "rewrite_header": {"Cookie": model, "X-Token": None}}
    one = resolve.candidates(resolve.routes_of(config.parse({"providers": [table], "models": [listed]})), "openai/m")[0]
    assert forward.mask_secrets(f"{team} {model} of eu in frankfurt".encode(), one) == b"*** *** of eu in frankfurt"
    told = [("request-id", f"you sent {team}"), ("cf-ray", "frankfurt")]
    assert forward.caller_headers(told, one) == [("cf-ray", "frankfurt")]


def test_a_short_key_is_never_taken_out_of_a_text() -> None:
    """api_key = "x" once made conte***t_length_e***ceeded of a code that clients compact by."""
    table = {"name": "openai", "api_key": "x", "settings": {"headers": {"X-Token": "ab"}}}
    one = resolve.candidates(resolve.routes_of(config.parse({"providers": [table]})), "openai/m")[0]
    data = b'{"error": {"code": "context_length_exceeded", "message": "about abc"}}'
    assert forward.mask_secrets(data, one) == data
    error = forward.without_secrets(GatewayError("x ab", code="context_length_exceeded"), [one.provider])
    assert (error.message, error.code) == ("x ab", "context_length_exceeded")
    assert forward.caller_headers([("request-id", "x-1")], one) == [("request-id", "x-1")]


@pytest.mark.parametrize("written", [
    KEY, KEY.replace("-", "\\u002d"), KEY.replace("k", "\\u006B"), "".join(f"\\u{ord(letter):04x}" for letter in KEY),
])  # fmt: skip
def test_a_long_key_is_taken_out_however_json_writes_it(written: str) -> None:
    data = f'{{"message": "you sent {written} \\u003c"}}'.encode()
    assert forward.mask_secrets(data, candidate()) == b'{"message": "you sent *** \\u003c"}'


@pytest.mark.parametrize(("value", "taken"), [("abc-1", True), ("", False), ("a b", False), ("a\nb", False), ("é", False),
                                              ("x" * 129, False)])  # fmt: skip
def test_a_request_id_is_taken_only_when_it_is_harmless(value: str, taken: bool) -> None:
    assert forward.is_request_id(value) is taken
