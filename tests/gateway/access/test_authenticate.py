"""authenticate, sessions: who is calling, who may in without a key, and what ends at once."""

from typing import Any

import pytest

from llm_router_gateway.access.authenticate import FORWARDED, Authenticator, entries_of
from llm_router_gateway.config import config
from llm_router_gateway.config.keys import Key, digest_of, secret_of
from llm_router_gateway.errors import Forbidden, GatewayError, Unauthorized
from llm_router_gateway.net.caller import Caller
from llm_router_gateway.policy.budgets import Reset
from llm_router_gateway.store.keys import Row

TOKEN, ADMIN, FILE = "to" + "ken" * 8, "ad" + "min" * 8, "fi" + "le" * 9
OTHER = "ot" + "her" * 8
STORED = secret_of(bytes(range(32)))
HOME, AWAY = "127.0.0.1", "203.0.113.7"


def authenticator(*keys: Key, document: dict[str, Any] | None = None, **server: Any) -> Authenticator:
    made = Authenticator(config.parse({"server": server, **(document or {})}))
    made.take([Row(key, digest_of(STORED + str(place or "")), None) for place, key in enumerate(keys)], 1)
    return made


def key(**terms: Any) -> Key:
    return Key(**{"id": "key_1", "name": "ci", **terms})


def asked(made: Authenticator, secret: str = "", peer: str = HOME, now: float = 0.0, **headers: str) -> Caller:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return made.admit({**given, **({"x-api-key": secret} if secret else {})}, {}, peer, now)


def refused(made: Authenticator, *words: Any, **how: Any) -> GatewayError:
    with pytest.raises((Unauthorized, Forbidden)) as caught:
        asked(made, *words, **how)
    return caught.value


# -- with a key


def test_each_kind_of_credential_is_known_by_its_own_name() -> None:
    document = {"keys": [{"name": "laptop", "key": FILE, "is_admin": True}]}
    made = authenticator(key(), document=document, token=TOKEN, admin_token=ADMIN)
    assert asked(made, TOKEN) == Caller("token-1", "token-1")
    assert asked(made, ADMIN) == Caller("admin", "admin", True)
    assert asked(made, FILE).key_id == "config:laptop" and asked(made, FILE).is_admin
    assert asked(made, STORED).name == "ci" and not asked(made, STORED).is_admin


@pytest.mark.parametrize("secret", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "o\udcffne", "ö", STORED[:-1]])
def test_any_other_key_is_unauthorized_and_not_repeated(secret: str) -> None:
    error = refused(authenticator(key(), token=TOKEN), secret)
    assert error.status == 401 and (len(secret) < 3 or secret not in error.message)


def test_no_secret_is_kept_in_clear() -> None:
    made = authenticator(key(), token=TOKEN, admin_token=ADMIN)
    assert not any(secret in repr(made._by_id) for secret in (TOKEN, ADMIN, STORED))


@pytest.mark.parametrize(
    ("terms", "now", "peer", "code"),
    [
        ({"is_active": False}, 0, HOME, "key_disabled"),
        ({"expires": 100.0}, 100, HOME, "key_expired"),
        ({"networks": ("10.0.0.0/8",)}, 0, AWAY, "key_network"),
        ({"networks": ("10.0.0.0/8",)}, 0, "", "key_network"),
        ({"expires": 100.0}, 99, HOME, ""),
        ({"networks": ("203.0.113.0/24",)}, 0, AWAY, ""),
        ({"networks": ("203.0.113.0/24",)}, 0, f"::ffff:{AWAY}", ""),
    ],
)  # fmt: skip
def test_a_key_is_refused_when_it_is_off_over_or_elsewhere(terms: dict[str, Any], now: float, peer: str, code: str) -> None:
    made = authenticator(key(**terms), token=TOKEN)
    if not code:
        assert asked(made, STORED, peer=peer, now=now).name == "ci"
        return
    error = refused(made, STORED, peer=peer, now=now)
    assert (error.status, error.code) == (403, code)


def test_networks_look_at_what_is_behind_a_trusted_proxy_and_never_at_what_others_claim() -> None:
    made = authenticator(key(networks=("203.0.113.0/24",)), token=TOKEN, trusted_proxies=["10.0.0.0/8"])
    assert asked(made, STORED, peer="10.0.0.1", x_forwarded_for=f"9.9.9.9, {AWAY}").name == "ci"
    assert refused(made, STORED, peer="10.0.0.1", x_forwarded_for=f"{AWAY}, 9.9.9.9").code == "key_network"
    assert refused(made, STORED, peer="9.9.9.9", x_forwarded_for=AWAY).code == "key_network"


def test_a_change_is_in_force_with_the_next_request() -> None:
    """In the seed a deleted key went on working, and a new one did not work until the next reload."""
    made = authenticator(token=TOKEN)
    refused(made, STORED)
    made.take([Row(key(), digest_of(STORED), None)], 2)
    asked(made, STORED)
    made.take([Row(key(is_active=False), digest_of(STORED), None)], 3)
    assert refused(made, STORED).status == 403
    made.take([], 4)
    assert refused(made, STORED).status == 401


def test_an_older_look_at_the_store_does_not_bring_a_key_back() -> None:
    made = authenticator(token=TOKEN)
    made.take([], 5)
    made.take([Row(key(), digest_of(STORED), None)], 4)
    refused(made, STORED)
    made.take([Row(key(), digest_of(STORED), None)], 0, True)  # another file: its own count
    asked(made, STORED)


def reload(made: Authenticator, token: str) -> None:
    new = config.parse({"server": {"token": token}})
    made.configure(new, entries_of(new))


def of_file(name: str, at: float) -> Row:
    return Row(
        Key(id=f"config:{name}", name=name, is_active=False, reset=Reset(at, usd_day=4.0)), b"config:" + name.encode(), None
    )


def test_a_key_of_the_file_has_the_reset_that_the_store_knows_or_the_files_own_if_that_is_later() -> None:
    own = {"at": "2026-11-29T10:00:00Z", "usd_day": 1.0}
    tables = [{"name": "laptop", "key": FILE}, {"name": "own", "key": OTHER, "reset": own}]
    made = authenticator(key(), document={"keys": tables})
    at = 1_796_000_000.0
    made.take([Row(key(), digest_of(STORED), None), of_file("laptop", at), of_file("own", 5.0), of_file("gone", at)], 2)
    assert asked(made, FILE).key.reset == Reset(at, usd_day=4.0) and asked(made, OTHER).key.reset.usd_day == 1.0
    assert [each.reset for each, _ in made.file_keys] == [asked(made, name).key.reset for name in (FILE, OTHER)]
    assert made.key_by_id("config:laptop") == asked(made, FILE).key and made.key_by_id("config:gone") is None
    assert list(made.rows) == ["key_1"] and {row.key.id for row in made.all_rows} == {"key_1", *made.resets}
    changed = config.parse({"keys": [{**tables[0], "note": "changed"}]})
    made.configure(changed, entries_of(changed))
    assert (asked(made, FILE).key.reset, asked(made, FILE).key.note) == (Reset(at, usd_day=4.0), "changed")
    made.take([of_file("laptop", at + 60)], 3)
    assert asked(made, FILE).key.reset == Reset(at + 60, usd_day=4.0)
    assert refused(made, STORED).status == refused(made, "config:laptop").status == 401


def test_a_reload_changes_what_the_file_says_and_keeps_the_store() -> None:
    made = authenticator(key(), token=TOKEN)
    reload(made, TOKEN + "2")
    refused(made, TOKEN)
    assert asked(made, TOKEN + "2").name == "token-1" and asked(made, STORED).name == "ci"


def test_when_a_key_was_used_last_is_known_and_outlives_changes() -> None:
    made = authenticator(key(), token=TOKEN)
    asked(made, STORED, now=7.0)
    made.take([Row(key(note="x"), digest_of(STORED), 3.0)], 2)
    assert made.last_used("key_1") == 7.0
    assert made.take_used() == {"key_1": 7.0} and made.take_used() == {}


# -- without one


def test_without_any_credential_this_machine_may_call_and_administer() -> None:
    for secret in ("", "any-key-that-a-client-insists-on"):
        assert asked(authenticator(), secret) == Caller(is_admin=True)


@pytest.mark.parametrize("name", FORWARDED)
@pytest.mark.parametrize("server", [{}, {"loopback_without_key": True, "token": TOKEN}])
def test_what_came_through_a_proxy_never_administers_for_coming_from_this_machine(name: str, server: dict[str, Any]) -> None:
    """In the seed X-Forwarded-For: 127.0.0.1 was enough, and a proxy on the same machine made every visitor local."""
    made = authenticator(**server)
    if server:
        assert refused(made, **{name: HOME}).status == 401
    else:
        assert not asked(made, **{name: HOME}).is_admin


def test_no_caller_elsewhere_gets_in_without_a_key() -> None:
    """In the seed keys in the file or the database alone were never asked for."""
    shown = {"x_forwarded_for": HOME, "x_real_ip": HOME, "forwarded": "for=127.0.0.1"}
    for made in (
        authenticator(key(), token=TOKEN, loopback_without_key=True), authenticator(key(), admin_token=ADMIN),
        authenticator(key()), authenticator(), authenticator(document={"keys": [{"name": "a", "key": FILE}]}),
        authenticator(key(), token=TOKEN, trusted_proxies=[AWAY]),
    ):  # fmt: skip
        for peer in (AWAY, "", "::ffff:203.0.113.7", "localhost.evil"):
            assert refused(made, peer=peer).status == 401
            assert refused(made, peer=peer, **shown).status == 401


@pytest.mark.parametrize("peer", [HOME, "::1", "::ffff:127.0.0.1", "127.9.9.9"])
def test_callers_of_this_machine_go_without_a_key_where_the_file_says_so(peer: str) -> None:
    made = authenticator(key(), token=TOKEN, loopback_without_key=True)
    assert asked(made, peer=peer) == Caller(is_admin=True)
    assert refused(authenticator(key(), token=TOKEN), peer=peer).status == 401
    assert refused(authenticator(key()), peer=peer).status == 401, "a key in the store is a key"


def test_on_an_address_that_others_reach_this_machine_may_call_but_not_administer() -> None:
    made = authenticator(token=TOKEN, host="0.0.0" + ".0", loopback_without_key=True)
    assert asked(made, host="localhost:8000") == Caller()
    assert refused(made, host="evil.example").status == 403, "a page that points its own name here"
    assert refused(made, host="localhost", origin="https://evil.example").status == 403


def test_a_deleted_key_is_refused_on_this_machine_too() -> None:
    for made in (authenticator(token=TOKEN, loopback_without_key=True), authenticator()):
        assert refused(made, STORED).status == 401
        asked(made, "a-clients-dummy")


def test_a_disabled_key_keeps_the_door_closed() -> None:
    assert refused(authenticator(key(is_active=False))).status == 401
    assert refused(authenticator(key(expires=1.0)), now=5.0).status == 401


def test_keys_that_cannot_be_read_admit_no_caller_without_one() -> None:
    made = authenticator()
    made.sealed = "the store cannot be read"
    assert "cannot be read" in refused(made).message
    made = authenticator(key())
    made.take([], 0, True, "lost")
    assert refused(made).message == "lost"


# -- sessions


def session(made: Authenticator, secret: str = ADMIN, now: float = 0.0) -> str:
    entry = made.entry(secret)
    assert entry is not None
    made.sessions.begin(entry.digest, "random", now)
    return "a=b; llm_router_session=random; c=d"


def test_a_session_is_its_key_for_twelve_hours() -> None:
    made = authenticator(admin_token=ADMIN)
    cookie = session(made)
    assert asked(made, cookie=cookie) == Caller("admin", "admin", True, is_cookie=True)
    asked(made, cookie=cookie, now=43_199)
    refused(made, cookie=cookie, now=43_200)


@pytest.mark.parametrize("after", [[], [key(is_active=False, is_admin=True)], [key(is_admin=False)]])
def test_a_session_ends_with_its_key(after: list[Key]) -> None:
    made = authenticator(key(is_admin=True), token=TOKEN)
    cookie = session(made, STORED)
    assert asked(made, cookie=cookie).is_admin
    made.take([Row(each, digest_of(STORED), None) for each in after], 2)
    refused(made, cookie=cookie)


def test_a_session_ends_when_its_key_is_rotated_or_gone_from_the_file() -> None:
    made = authenticator(key(is_admin=True), token=TOKEN, admin_token=ADMIN)
    cookie = session(made, STORED)
    made.take([Row(key(is_admin=True), digest_of(STORED + "new"), None)], 2)
    refused(made, cookie=cookie)
    cookie = session(made)
    reload(made, TOKEN)
    refused(made, cookie=cookie)


def test_a_key_that_is_shown_comes_before_a_cookie() -> None:
    made = authenticator(key(), admin_token=ADMIN)
    assert not asked(made, STORED, cookie=session(made)).is_admin
    refused(made, "wrong", cookie=session(made))


def test_another_cookie_is_nothing() -> None:
    made = authenticator(admin_token=ADMIN)
    session(made)
    for cookie in ("llm_router_session=other", "llm_router_session=", "random", "x" * 5000, ";;;=;"):
        refused(made, cookie=cookie)
