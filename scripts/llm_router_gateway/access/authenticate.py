"""Authentication: tokens, admin tokens, [[keys]], keys of the store, sessions; anonymous callers where those are allowed.

    authenticator = Authenticator(config)
    authenticator.take(rows, generation)             the keys of the store, whenever they changed
    authenticator.admit(headers, query, peer, now)   -> Caller; Unauthorized (401) or Forbidden (403)
    authenticator.client(peer, headers)              -> the caller's address, behind trusted proxies

Only SHA-256 digests are kept, looked up by value and compared in constant time. `take` replaces all entries at once, so that
the next request of a disabled key is refused. No clock, no file: `keys_api` and the process supply the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import Any

from ..config.config import Config
from ..config.keys import PREFIX, Key, address_of, client_of, digest_of, is_inside, networks_of
from ..config.kinds import LOOPBACK, Secret
from ..errors import Forbidden, Unauthorized, Unavailable
from ..net.caller import Caller
from ..policy.budgets import utc_text
from ..store.keys import Row
from ..wire.registry import KEY_HEADERS, KEY_QUERIES
from . import browser, credentials
from .sessions import LoginAttempts, Sessions, token_in

ADMIN_NAME = "admin"
# A request with one of these headers came through a proxy, or claims to: it is not from a local program.
FORWARDED = (
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-server",
    "x-forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "via",
)  # fmt: skip
PLACES = [*KEY_HEADERS, *(f"?{name}=" for name in KEY_QUERIES)]
NO_KEY = f"no key: send this gateway's token as Authorization: Bearer, {', '.join(PLACES[:-1])} or {PLACES[-1]}"
UNKNOWN_KEY = "the key is not known to this gateway"
OUT_OF_REACH = "keys_out_of_reach"


@dataclass(slots=True)
class Entry:
    """The caller that one secret authenticates."""

    digest: bytes
    caller: Caller
    is_free: bool  # nothing to check beyond the secret
    networks: tuple[Any, ...] = ()
    last_used: float | None = None

    def check(self, client: str, now: float) -> None:
        """Forbidden if the key is disabled, expired, or not valid for this address."""
        key: Key | None = self.caller.key
        if self.is_free or key is None:
            return
        if not key.is_active:
            raise Forbidden(f"the key {key.name!r} is disabled", code="key_disabled")
        if key.expires is not None and now >= key.expires:
            raise Forbidden(f"the key {key.name!r} expired at {utc_text(key.expires)}", code="key_expired")
        if self.networks and not is_inside(address_of(client), self.networks):
            raise Forbidden(f"the key {key.name!r} may not be used from {client[:64]}", code="key_network")


def entry_of(digest: bytes, caller: Caller, last_used: float | None = None) -> Entry:
    key: Key | None = caller.key
    is_free = key is None or (key.is_active and key.expires is None and not key.networks)
    return Entry(digest, caller, is_free, networks_of(key.networks) if key else (), last_used)


class Entries:
    """Entries by digest, and by the id of their key: of a key with two secrets, the later one."""

    __slots__ = ("by_digest", "by_id")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.by_digest = {entry.digest: entry for entry in entries}
        self.by_id = {entry.caller.key_id: entry for entry in self.by_digest.values()}


def entries_of(config: Config) -> Entries:
    """The credentials of the configuration. Thousands take longer than a request should wait: see Authenticator.configure."""
    server = config.server
    found = [(token, Caller(ADMIN_NAME, ADMIN_NAME, True)) for token in server.admin_tokens]
    for key, secrets in config.keys:
        caller = Caller(key.id, key.name, key.is_admin, key)
        found += [(secret, caller) for secret in secrets]
    found += [(token, Caller(f"token-{number}", f"token-{number}")) for number, token in enumerate(server.tokens, 1)]
    return Entries([entry_of(digest_of(secret.reveal()), caller) for secret, caller in found])


def is_loopback(peer: str) -> bool:
    address = address_of(peer)
    return address is not None and bool(address.is_loopback)


def fixed_names(config: Config) -> frozenset[str]:
    """The names by which logs and statistics know the credentials of a configuration."""
    tokens = {f"token-{number}" for number in range(1, len(config.server.tokens) + 1)}
    return frozenset({key.name for key, _ in config.keys} | tokens | ({ADMIN_NAME} if config.server.admin_tokens else set()))


class Authenticator:
    """Every credential by its digest, and the sessions that were opened with some of them."""

    def __init__(self, config: Config) -> None:
        self.sessions, self.tries = Sessions(), LoginAttempts()
        self.rows: dict[str, Row] = {}  # keys of the store, by id
        self.resets: dict[str, Row] = {}  # of keys of the file, as the store has them, by id
        self._generation = -1
        self.is_unread = False  # the last attempt to read the store failed
        self.sealed = ""  # why anonymous callers are refused: the store's keys are unknown
        self._unknown = ""  # why an unknown key cannot be called invalid: the store is out of reach
        self._expired = ""  # why the keys of the store are not accepted: it has been out of reach for too long
        self._stored, self._fixed = Entries(), Entries()
        self._entries: dict[bytes, Entry] = {}
        self._by_id: dict[str, Entry] = {}
        self._used: dict[str, float] = {}
        self.configure(config, entries_of(config))

    # -- credentials

    def configure(self, config: Config, entries: Entries) -> None:
        """The credentials of a new Config, which entries_of() found in a thread; those of the store stay."""
        self._config, self._fixed, self._file_keys = config, entries, config.keys
        self._is_local = LOOPBACK.fullmatch(config.server.host) is not None
        self._proxies = networks_of(config.server.trusted_proxies)
        self._merge()

    def take(self, rows: Iterable[Row], generation: int, is_new: bool = False, lost: str = "") -> None:
        """Replaces the keys of the store by those of a generation; an older generation of the same file is ignored."""
        if generation < self._generation and not is_new:
            return
        self._generation = generation
        found = {row.key.id: row for row in rows}
        self.rows = {key_id: row for key_id, row in found.items() if not row.key.is_of_file}
        self.resets = {key_id: row for key_id, row in found.items() if row.key.is_of_file}
        self.sealed = lost or ("" if self.is_unread else self.sealed)
        self.is_unread = False
        self._stored = Entries(
            entry_of(row.digest, Caller(row.key.id, row.key.name, row.key.is_admin, row.key), row.last_used)
            for row in self.rows.values()
        )
        self._merge()

    def judge(self, unknown: str, expired: str) -> None:
        """While the store is out of reach: the messages for callers with an unknown key, and with one of the store (503)."""
        self._unknown, self._expired = unknown, expired

    @property
    def judgement(self) -> tuple[str, str]:
        """As `judge` takes it."""
        return self._unknown, self._expired

    def _merge(self) -> None:
        """All entries: those of the configuration before those of the store, each as lately used as it was."""
        if self.resets:
            self._reset_file_keys()
        used = [(key_id, entry.last_used) for key_id, entry in self._by_id.items() if entry.last_used is not None]
        self._entries = self._stored.by_digest | self._fixed.by_digest
        self._by_id = self._stored.by_id | self._fixed.by_id
        for key_id, last_used in used:
            entry = self._by_id.get(key_id)
            if entry is not None:
                entry.last_used = max(last_used, entry.last_used or last_used)

    def _reset_file_keys(self) -> None:
        """Gives the keys of the file the resets that the store has of them; a later one in the file itself stays."""
        known: dict[str, Key] = {}
        for key, _ in self._config.keys:
            row = self.resets.get(key.id)
            reset = row.key.reset if row is not None else None
            is_later = reset is not None and (key.reset is None or key.reset.at < reset.at)
            known[key.id] = replace(key, reset=reset) if is_later else key
        self._file_keys = tuple((known[key.id], secrets) for key, secrets in self._config.keys)
        for entry in self._fixed.by_digest.values():
            if entry.caller.key is not None:
                entry.caller = replace(entry.caller, key=known[entry.caller.key_id])

    @property
    def all_rows(self) -> list[Row]:
        """What the store has, as `take` takes it."""
        return [*self.rows.values(), *self.resets.values()]

    @property
    def is_open(self) -> bool:
        """Whether no credential of any kind exists."""
        return not self._entries and not self.sealed

    @property
    def config(self) -> Config:
        return self._config

    def key_by_id(self, key_id: str) -> Key | None:
        """Of the store or of the file."""
        row = self.rows.get(key_id)
        if row is not None:
            return row.key
        return next((key for key, _ in self.file_keys if key.id == key_id), None)

    @property
    def file_keys(self) -> tuple[tuple[Key, Sequence[Secret]], ...]:
        """[[keys]], each since its last reset."""
        return self._file_keys

    @property
    def fixed_names(self) -> frozenset[str]:
        """The names of all credentials that the configuration has."""
        return fixed_names(self._config)

    def _admins(self, but: str = "") -> bool:
        return any(entry.caller.is_admin and (entry.caller.key is None or entry.caller.key.is_active)
                   for entry in self._entries.values() if entry.caller.key_id != but)  # fmt: skip

    @property
    def can_login(self) -> bool:
        """Whether there is a key to log in with."""
        return self._admins()

    def can_administer(self, but: str = "") -> bool:
        """Whether administration stays possible once keys are needed, without the key `but`."""
        return self._admins(but) or (self._config.server.loopback_without_key and self._is_local)

    def has_others(self, but: str) -> bool:
        return any(entry.caller.key_id != but for entry in self._entries.values())

    def last_used(self, key_id: str) -> float | None:
        entry = self._by_id.get(key_id)
        return entry.last_used if entry else None

    def take_used(self) -> dict[str, float]:
        """The keys of the store that were used since the last call, and when."""
        return {key_id: at for key_id, at in self.take_all_used().items() if key_id in self.rows}

    def take_all_used(self) -> dict[str, float]:
        """The same with the keys of the file."""
        used, self._used = self._used, {}
        return used

    def note_used(self, used: Mapping[str, float]) -> None:
        """Notes the use of keys that another process of this gateway reports."""
        for key_id, at in used.items():
            self._used[key_id] = max(at, self._used.get(key_id, 0.0))
            entry = self._by_id.get(key_id)
            if entry is not None:
                entry.last_used = max(at, entry.last_used or 0.0)

    @property
    def generation(self) -> int:
        """Of the keys that were taken last."""
        return self._generation

    # -- authentication

    def is_proxy(self, peer: str) -> bool:
        return is_inside(address_of(peer), self._proxies)

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        return client_of(peer, headers, self._proxies) if self._proxies else peer

    def admit(self, headers: Mapping[str, str], query: Mapping[str, str], peer: str, now: float) -> Caller:
        """The caller; Unauthorized without a key that is known, Forbidden when it may not be used (any more, or here)."""
        given = credentials.credential(headers, query)
        if given:
            entry = self.entry(given)
            if entry is not None:
                return self._used_now(entry, headers, peer, now)
            if given.startswith(PREFIX):
                if self._unknown:
                    raise Unavailable(self._unknown, code=OUT_OF_REACH, retry_after_s=1.0)
                raise Unauthorized(UNKNOWN_KEY)  # a deleted key of this gateway stays invalid, on this machine too
        elif "cookie" in headers:
            caller = self._session(headers, peer, now)
            if caller is not None:
                return caller
        return self._anonymous(headers, peer, bool(given))

    def entry(self, secret: str) -> Entry | None:
        digest = digest_of(secret)
        entry = self._entries.get(digest)
        return entry if entry is not None and compare_digest(entry.digest, digest) else None

    def _used_now(self, entry: Entry, headers: Mapping[str, str], peer: str, now: float) -> Caller:
        if not entry.is_free:
            entry.check(self.client(peer, headers), now)
        if self._expired:
            self._check_reach(entry)
        entry.last_used = now
        if entry.caller.key is not None:
            self._used[entry.caller.key_id] = now
        return entry.caller

    def _check_reach(self, entry: Entry) -> None:
        """Unavailable for a key of the store while it is unknown whether it is still good."""
        if self._expired and entry.caller.key_id in self.rows:
            raise Unavailable(self._expired, code=OUT_OF_REACH, retry_after_s=1.0)

    def _session(self, headers: Mapping[str, str], peer: str, now: float) -> Caller | None:
        """The caller of a session cookie; None when the session ended, or its key is no longer an administrator's."""
        token = token_in(headers)
        digest = self.sessions.digest_of(token, now) if token else None
        if digest is None and token and self.sessions.secret:
            admins = [each for each, entry in self._entries.items() if entry.caller.is_admin]
            digest = self.sessions.signed_digest(token, admins, now)
        entry = self._entries.get(digest) if digest else None
        if entry is None or not entry.caller.is_admin:
            return None
        entry.check(self.client(peer, headers), now)
        self._check_reach(entry)
        return replace(entry.caller, is_cookie=True)

    def _anonymous(self, headers: Mapping[str, str], peer: str, was_given: bool) -> Caller:
        """The anonymous caller, where it is allowed: no credential exists, or local programs need none."""
        server = self._config.server
        is_direct = is_loopback(peer) and not any(name in headers for name in FORWARDED)
        if not (server.loopback_without_key and is_direct) and not (self.is_open and is_loopback(peer)):
            raise Unauthorized(self.sealed or (UNKNOWN_KEY if was_given else NO_KEY))
        if not self._is_local:  # else the gateway has checked already
            browser.check_host(headers, server.allowed_hosts)
            browser.check_origin(headers, server.allowed_hosts, server.cors_origins)
        return Caller(is_admin=is_direct and self._is_local)
