"""Policy: is it worth a retry, how long to wait, which model next, which key to which host."""

from __future__ import annotations

from typing import Any, Dict

import pytest

import llm_router_client as c

NOW = 1_792_567_668.0  # Wed, 21 Oct 2026 07:27:48 GMT


@pytest.mark.parametrize(
    "headers,seconds",
    [
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 12.0),
        ({"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT"}, 0.0),
        ({"retry-after": "tomorrow"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_the_order_of_the_sdks(headers: Dict[str, str], seconds: Any) -> None:
    assert c.retry_after_s(headers, NOW) == seconds


def failure(**facts: Any) -> c.LLMRouterError:
    return c.RateLimitError("x", **{"retryable": True, **facts})


@pytest.mark.parametrize(
    "error,retries,left,rng,wait",
    [
        (failure(), 0, 600, 0.0, 0.5),
        (failure(), 1, 600, 0.0, 1.0),
        (failure(), 9, 600, 0.0, None),
        (failure(), 0, 600, 0.999999, 0.375),
        (failure(retry_after_s=7.0), 0, 600, 0.5, 7.0),
        (failure(retry_after_s=120.0), 0, 600, 0.5, 120.0),
        (failure(retry_after_s=120.1), 0, 600, 0.5, None),
        (failure(retry_after_s=7.0), 0, 6.9, 0.5, None),
        (failure(), 0, 0.4, 0.0, None),
        (failure(retryable=False), 0, 600, 0.0, None),
    ],
)
def test_how_long_to_wait(error: Any, retries: int, left: float, rng: float, wait: Any) -> None:
    got = c.retry_wait_s(error, retries, 2, left, rng)
    assert got == (pytest.approx(wait, abs=1e-3) if wait is not None else None)


def test_back_off_is_capped_at_eight_seconds() -> None:
    assert c.retry_wait_s(failure(), 9, 10, 600, 0.0) == 8.0


# ------------------------------------------------------------------------------------------------- endpoints


@pytest.mark.parametrize(
    "url,expected",
    [
        ("https://api.aisa.one/v1", ("https", "api.aisa.one", 443, "/v1", False, "https://api.aisa.one/v1")),
        ("https://API.Example.:8443/v1/", ("https", "api.example", 8443, "/v1", False, "https://api.example:8443/v1")),
        ("http://127.0.0.1:8099/v1", ("http", "127.0.0.1", 8099, "/v1", True, "http://127.0.0.1:8099/v1")),
        ("https://a.example/v1/chat/completions/", ("https", "a.example", 443, "/v1", False, "https://a.example/v1")),
        ("http://localhost", ("http", "localhost", 80, "", True, "http://localhost")),
        ("http://[::1]:80/x", ("http", "::1", 80, "/x", True, "http://[::1]/x")),
    ],
)
def test_endpoints(url: str, expected: Any) -> None:
    end = c.Endpoint(url)
    assert (end.scheme, end.host, end.port, end.path, end.loopback, end.url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.aisa.one",
        "https://",
        "https://a b/",
        "https://a/v1?x=1",
        "https://a/#f",
        "https://a:port/",
        "https://a\\@b/",
        "https://[::1",
        "https://é.example/",
    ],
)
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(c.UsageError):
        c.Endpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/x",
        "ftp://a/x",
        "http://example.com/v1",
        "http://127.0.0.1.evil.example/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://127.1/",
        "http://127.0.0.256/",
        "https://u:p@a/v1",
        "http://localhost.evil.example/",
    ],
)
def test_schemes_and_hosts_that_would_leak_are_refused(url: str) -> None:
    with pytest.raises((c.SafetyError, c.UsageError)):
        c.Endpoint(url)


# ------------------------------------------------------------------------------------------------------ keys

AISA, OTHER = "aisa" + "-canary" * 3, "other" + "-canary" * 3
HOME = "https://llm.example/v1"


@pytest.mark.parametrize(
    "url,env,in_file,expected",
    [
        ("https://api.aisa.one/v1", {"AISA_API_KEY": AISA}, "", (AISA, "AISA_API_KEY")),
        ("https://api.aisa.one/v1", {}, AISA, (AISA, "~/.aisa/credentials")),
        ("https://api.aisa.one/v1", {"AISA_API_KEY": AISA}, OTHER, (AISA, "AISA_API_KEY")),
        ("https://api.aisa.one/v1", {"LLM_ROUTER_API_KEY": OTHER}, "", c.AuthenticationError),
        ("https://api.aisa.one/v1", {}, "", c.AuthenticationError),
        ("https://api.aisa.one:444/v1", {"AISA_API_KEY": AISA}, "", c.SafetyError),
        ("https://api.aisa.one.evil.example/v1", {"AISA_API_KEY": AISA}, "", c.SafetyError),
        (HOME, {"AISA_API_KEY": AISA}, "", c.SafetyError),
        (HOME, {}, AISA, c.SafetyError),
        (HOME, {}, "", c.AuthenticationError),
        (HOME, {"LLM_ROUTER_API_KEY": OTHER}, "", (OTHER, "LLM_ROUTER_API_KEY")),
        (
            HOME,
            {"LLM_ROUTER_API_KEY": OTHER, "AISA_API_KEY": AISA, "LLM_ROUTER_BASE_URL": HOME},
            "",
            (OTHER, "LLM_ROUTER_API_KEY"),
        ),
        ("https://evil.example/v1", {"LLM_ROUTER_API_KEY": OTHER, "LLM_ROUTER_BASE_URL": HOME}, "", c.SafetyError),
        ("http://127.0.0.1:1/v1", {"AISA_API_KEY": AISA}, AISA, None),
        ("http://127.0.0.1:1/v1", {"LLM_ROUTER_API_KEY": OTHER}, "", (OTHER, "LLM_ROUTER_API_KEY")),
        ("http://127.0.0.1:1/v1", {"LLM_ROUTER_API_KEY": OTHER, "LLM_ROUTER_BASE_URL": HOME}, "", None),
    ],
)
def test_a_key_goes_to_its_own_host_only(url: str, env: Dict[str, str], in_file: str, expected: Any) -> None:
    full = {**dict.fromkeys(c.SETTINGS, ""), **env}
    if isinstance(expected, type):
        with pytest.raises(c.LLMRouterError) as caught:
            c.choose_key(c.Endpoint(url), full, in_file)
        assert isinstance(caught.value, expected)
        assert "canary" not in str(caught.value) + caught.value.next_step
    else:
        key = c.choose_key(c.Endpoint(url), full, in_file)
        assert (key and (key.value, key.source)) == expected


@pytest.mark.parametrize("key", ["a b", "a\nb", "a\r\nX: y", "caf\u00e9", "a\u2019b", "x" * 5000])
def test_a_key_with_characters_that_no_key_has_is_refused_unseen(key: str) -> None:
    with pytest.raises(c.AuthenticationError) as caught:
        c.Secret(key, "AISA_API_KEY")
    assert caught.value.code == "key_malformed" and key not in str(caught.value)


def test_a_key_is_stripped_and_never_shows_itself() -> None:
    key = c.Secret(f"  {AISA}\n", "x")
    assert key.value == AISA and AISA not in repr(key) + str(key) and repr(key).endswith(AISA[-4:])
    assert repr(c.Secret("short", "x")) == "********"
    import base64

    echoed = f"{AISA} and {base64.b64encode(AISA.encode()).decode()}"
    assert "canary" not in key.hide(echoed) and "YWlzY" not in key.hide(echoed)
    assert c.Secret("", "x").hide("abc") == "abc"


@pytest.mark.parametrize("word", ["ollama", "EMPTY", "test", "none", "text"])
def test_a_key_that_is_a_word_is_left_in_answers(word: str) -> None:
    key = c.Secret(word, "x")
    assert key.hide(f'{{"text": "{word} and b2xsYW1h"}}') == f'{{"text": "{word} and b2xsYW1h"}}' and word not in repr(key)
    assert key.begins_at(word[:2]) == 2 and c.Secret("12345678", "x").hide("12345678") == "[key]"


@pytest.mark.parametrize(("text", "rest"), [
    ("no part of it", ""), ("the key is ke", "ke"), ("kkey-", "key-"), ("key-12345 and more", ""), ("k", "k"), ("", ""),
    ("key-1234 key-12", "key-12"), ("in base64: a2V5LTEy", "a2V5LTEy"),
])  # fmt: skip
def test_the_beginning_of_a_key_at_the_end_of_a_text(text: str, rest: str) -> None:
    secret = c.Secret("key-12345", "x")
    assert text[secret.begins_at(text) :] == rest
    assert c.Secret("", "x").begins_at(text) == len(text)


@pytest.mark.parametrize(
    "data,key",
    [
        (b"AISA_API_KEY=v", "v"),
        (b"export AISA_API_KEY=v\n", "v"),
        (b"\xef\xbb\xbfAISA_API_KEY = v\r\n", "v"),
        (b"AISA_API_KEY=" + b'"v w"  # note', "v w"),
        (b"AISA_API_KEY=" + b"'v'", "v"),
        (b"AISA_API_KEY=v # note", "v"),
        (b"AISA_API_KEY=v#not-a-note", "v#not-a-note"),
        (b"# AISA_API_KEY=x\nOTHER=1\nAISA_API_KEY=a\nAISA_API_KEY=b\n", "b"),
        (b"AISA_API_KEY=ok\nAISA_API_KEY=\xff\xfe\n", "ok"),
        (b"AISA_API_KEY=ok\nAISA_API_KEY=\n", "ok"),
        (b"AISA_API_KEY= # nothing", ""),
        (b"MY_AISA_API_KEY=v\nAISA_API_KEY_2=v", ""),
        (b"", ""),
    ],
)
def test_the_shapes_of_the_credentials_file(data: bytes, key: str) -> None:
    assert c.key_in_file(data) == key


@pytest.mark.parametrize(
    "headers",
    [
        {"": "x"},
        {"a b": "x"},
        {"a": "x\r\nb: c"},
        {"a": "\u2019"},
        {"a": 5},
        {"Authorization": "x"},
        {"Host": "x"},
        {"\u00e9": "x"},
    ],
)
def test_headers_that_cannot_stand_in_a_request_are_refused(headers: Any) -> None:
    with pytest.raises(c.UsageError):
        c.check_headers(headers)
    assert c.check_headers({"X-Title": "caf\u00e9"}) == {"X-Title": "caf\u00e9"}


def test_settings_are_the_only_variables_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ROUTER_MODEL", " m ")
    monkeypatch.setenv("LLM_ROUTER_ELSE", "x")
    assert c.setting("LLM_ROUTER_MODEL") == "m" and c.setting("LLM_ROUTER_ELSE") == ""


def test_every_error_code_has_an_exit_code_that_is_documented() -> None:
    assert {exit_code for exit_code, _ in c.ERRORS.values()} <= set(c.EXIT_CODES)
    assert set(c.ERRORS) >= c.FALLBACK_CODES
    kinds = c.LLMRouterError.__subclasses__()
    assert {kind.code for kind in kinds} <= set(c.ERRORS) and len(kinds) == 13
    error = c.RateLimitError("slow", retry_after_s=2.0)
    error.model = "m"
    assert str(error) == "m: slow" and error.exit_code == 6
    assert set(error.to_dict()) == {"code", "message", "status", "retryable", "retry_after_s", "next_step", "request_id"}
