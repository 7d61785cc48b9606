"""sessions: cookies that scripts cannot read, requests that another page may have sent, logins that are slowed."""

import pytest

from llm_router_gateway.access import sessions
from llm_router_gateway.access.sessions import LoginAttempts, Sessions, check_csrf, cookie_line, token_in
from llm_router_gateway.errors import Forbidden, RateLimited

OURS = {"host": "router.example:8000", "x-llm-router-csrf": "1"}


def test_only_a_hash_of_the_cookie_is_kept() -> None:
    made = Sessions()
    made.begin(b"d", "random-text", 0.0)
    assert "random-text" not in repr(made) and made.digest_of("random-text", 1.0) == b"d"
    made.end("random-text")
    assert made.digest_of("random-text", 1.0) is None and len(made) == 0


def test_sessions_are_bounded_in_number_and_forgotten_when_they_end() -> None:
    made = Sessions()
    for number in range(sessions.MAX_SESSIONS + 5):
        made.begin(b"d", f"t{number}", 0.0)
    assert len(made) == sessions.MAX_SESSIONS and made.digest_of("t0", 0.0) is None
    assert made.digest_of("t9", sessions.SESSION_S) is None and len(made) == sessions.MAX_SESSIONS - 1


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    line = cookie_line("t", secure=True)
    assert all(each in line for each in ("HttpOnly", "SameSite=Strict", "Path=/", "Secure", "Max-Age=43200"))
    assert "Secure" not in cookie_line("t", secure=False) and "Max-Age=0" in cookie_line("", secure=False)
    assert token_in({"cookie": f"a=1; {line.partition(';')[0]}"}) == "t" and token_in({}) == ""


def test_a_request_of_our_page_passes() -> None:
    check_csrf("GET", {})
    check_csrf("POST", OURS)
    check_csrf("DELETE", {**OURS, "origin": "https://router.example:8000"})
    check_csrf("POST", {**OURS, "origin": "https://public.example"}, ("public.example",))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "router.example"}, {**OURS, "x-llm-router-csrf": "0"}, {**OURS, "origin": "https://evil.example"},
        {**OURS, "origin": "null"}, {**OURS, "origin": "http://router.example"}, {**OURS, "origin": "http://router.example:8000.evil"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_a_request_that_another_page_may_have_sent_is_refused(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        check_csrf(method, headers)


def test_wrong_logins_make_an_address_wait_longer_each_time() -> None:
    tries, now, waits = LoginAttempts(), 0.0, []
    for _ in range(sessions.FREE_TRIES - 1):
        tries.check("a", now)
        tries.record_failure("a", now)
    for _ in range(12):
        tries.check("a", now)
        tries.record_failure("a", now)
        with pytest.raises(RateLimited) as caught:
            tries.check("a", now)
        waits.append(caught.value.retry_after_s or 0.0)
        tries.check("b", now)  # others do not wait
        now += waits[-1]
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0] and waits[-1] == sessions.LONGEST_WAIT_S
    tries.record_success("a")
    tries.check("a", 0.0)


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    tries = LoginAttempts()
    for number in range(sessions.MAX_ADDRESSES + 100):
        tries.record_failure(str(number), 0.0)
    assert len(tries._wrong) == sessions.MAX_ADDRESSES


# -- several gateways


def signed(secret: bytes = b"common") -> Sessions:
    made = Sessions()
    made.secret = secret
    return made


def test_a_signed_login_holds_at_every_gateway_with_the_same_secret() -> None:
    one, other, stranger = signed(), signed(), signed(b"another")
    cookie = one.issue(b"digest", "token", 100.0)
    assert one.digest_of(cookie, 101.0) == b"digest" and b"digest".hex() not in cookie
    assert other.digest_of(cookie, 101.0) is None
    assert other.signed_digest(cookie, [b"x", b"digest"], 101.0) == b"digest"
    assert stranger.signed_digest(cookie, [b"digest"], 101.0) is None
    assert other.signed_digest(cookie, [b"x"], 101.0) is None  # the key is gone, or no administrator's any more
    assert other.signed_digest(cookie, [b"digest"], 100.0 + sessions.SESSION_S) is None


@pytest.mark.parametrize("change", ["token", "until", "signature", "dots"])
def test_a_login_that_was_changed_is_refused(change: str) -> None:
    cookie = signed().issue(b"digest", "token", 100.0)
    token, until, signature = cookie.split(".")
    changed = {"token": f"taken.{until}.{signature}", "until": f"{token}.{int(until) + 9}.{signature}",
               "signature": f"{token}.{until}.{'0' * len(signature)}", "dots": token}  # fmt: skip
    assert signed().signed_digest(changed[change], [b"digest"], 101.0) is None


def test_a_login_that_was_ended_at_one_gateway_ends_at_the_others() -> None:
    one, other = signed(), signed()
    cookie = one.issue(b"digest", "token", 100.0)
    one.end(cookie)
    assert one.digest_of(cookie, 101.0) is None and one.signed_digest(cookie, [b"digest"], 101.0) is None
    names = one.take_ended()
    assert len(names) == 1 and one.take_ended() == [] and b"token" not in names[0]
    other.end_named(names[0], 101.0)
    assert other.signed_digest(cookie, [b"digest"], 102.0) is None


def test_one_gateway_alone_signs_nothing() -> None:
    made = Sessions()
    assert made.issue(b"digest", "token", 0.0) == "token"
    made.end("token")
    assert made.take_ended() == []
