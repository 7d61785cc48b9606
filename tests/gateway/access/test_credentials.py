"""credentials, browser: the caller's key from any of its places, and browsers that were tricked into calling."""

import pytest

from llm_router_gateway.access import browser, credentials
from llm_router_gateway.errors import Forbidden


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({"authorization": "Bearer two"}, {}, "two"),
        ({"authorization": "bearer  two "}, {}, "two"),
        ({"x-api-key": "two"}, {}, "two"),
        ({"x-goog-api-key": "two"}, {}, "two"),
        ({}, {"key": "two"}, "two"),
        ({"authorization": "Basic two", "x-api-key": "one"}, {}, "one"),
        ({"authorization": "Bearer ", "x-api-key": "one"}, {}, "one"),
        ({}, {}, ""),
    ],
)
def test_the_key_is_taken_from_every_place_that_clients_use(headers: dict[str, str], query: dict[str, str], key: str) -> None:
    assert credentials.credential(headers, query) == key


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.1.2.3", "box.lan:80", ""])
def test_our_own_names_pass(host: str) -> None:
    browser.check_host({"host": host}, ("box.lan",))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil:1", "10.0.0.1"]
)
def test_a_foreign_host_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        browser.check_host({"host": host}, ("box.lan",))


@pytest.mark.parametrize("origin", ["", "http://localhost:3000", "http://127.0.0.1", "http://box.lan", "https://app.example"])
def test_pages_of_this_machine_and_configured_ones_may_call(origin: str) -> None:
    browser.check_origin({"origin": origin}, ("box.lan",), ("https://app.example",))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "https://app.example:1"])
def test_other_pages_may_not(origin: str) -> None:
    with pytest.raises(Forbidden):
        browser.check_origin({"origin": origin}, ("box.lan",), ("https://app.example",))
    browser.check_origin({"origin": origin}, (), ("*",))


def test_browsers_may_read_answers_only_where_it_is_configured() -> None:
    page = {"origin": "https://app.example", "access-control-request-headers": "x-api-key"}
    assert browser.cors_headers(page, ()) == []
    assert browser.preflight_headers(page, ()) == []
    assert ("access-control-allow-origin", "https://app.example") in browser.cors_headers(page, ("https://app.example",))
    assert ("access-control-allow-headers", "x-api-key") in browser.preflight_headers(page, ("*",))
    assert browser.cors_headers({}, ("*",)) == []
