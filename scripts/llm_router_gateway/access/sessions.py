"""Logins of the page: a cookie in exchange for an administrator's key. Pure: the token and `now` are arguments.

    sessions = Sessions()
    sessions.begin(digest, token, now)                 the browser keeps the token; only its hash is kept here
    sessions.digest_of(token, now)                     -> the digest of the key behind it; None when it ended
    check_csrf("POST", headers, allowed_hosts)         Forbidden when another page may have sent it

A session is worth no more than its key: it ends when that key is removed, with a restart, or after 12 h.
"""

from __future__ import annotations

import hmac
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from ..errors import Forbidden, RateLimited
from .credentials import host_name

COOKIE = "llm_router_session"
CSRF_HEADER = "x-llm-router-csrf"  # a page of another origin cannot send it without a CORS preflight
SESSION_S = 43_200.0
MAX_SESSIONS = 1_000
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FREE_TRIES = 5  # wrong logins of one address before it has to wait
FIRST_WAIT_S = 1.0  # then this long, doubled each time
LONGEST_WAIT_S = 900.0
MAX_ADDRESSES = 10_000


def token_digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def token_in(headers: Mapping[str, str]) -> str:
    """The session in a Cookie header; "" when there is none. RFC 6265 4.2.1."""
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def cookie_line(token: str, *, secure: bool) -> str:
    """Set-Cookie: out of reach of scripts, and never sent for another site's page. An empty token ends it."""
    age = int(SESSION_S) if token else 0
    return f"{COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"


def check_csrf(method: str, headers: Mapping[str, str], allowed_hosts: Sequence[str] = ()) -> None:
    """Forbidden when a request that came with a cookie changes something and may be another page's."""
    if method in SAFE:
        return
    if headers.get(CSRF_HEADER) != "1":
        raise Forbidden(f"a request with a session's cookie needs the header {CSRF_HEADER}: 1")
    origin = headers.get("origin", "")
    if (
        origin
        and origin.rpartition("://")[2].lower() != headers.get("host", "").lower()
        and (host_name(origin) not in allowed_hosts)
    ):
        raise Forbidden("a page of another origin may not use this session")


class Logins(NamedTuple):
    """All that one process knows of logins."""

    open: list[tuple[bytes, bytes, float]]  # the token's digest, the key's digest, until when
    secret: bytes
    ended: list[bytes]  # digests of tokens


@dataclass(slots=True)
class Sessions:
    """Those that are open, oldest first."""

    _open: OrderedDict[bytes, tuple[bytes, float]] = field(default_factory=OrderedDict)
    secret: bytes = b""  # what several gateways sign logins with, so that each knows those of all; empty: this one alone
    _ended: OrderedDict[bytes, float] = field(default_factory=OrderedDict)  # signed ones that were ended
    _news: list[bytes] = field(default_factory=list)  # of those, the ones that other gateways must hear of

    def issue(self, digest: bytes, token: str, now: float) -> str:
        """Begins a session and returns what the browser keeps: the token, signed where other gateways must know it."""
        self.begin(digest, token, now)
        if not self.secret:
            return token
        text = f"{token}.{int(now + SESSION_S)}"
        return f"{text}.{self._signature(text, digest)}"

    def _signature(self, text: str, digest: bytes) -> str:
        return hmac.new(self.secret, text.encode("utf-8", "surrogateescape") + digest, sha256).hexdigest()

    def signed_digest(self, text: str, digests: Iterable[bytes], now: float) -> bytes | None:
        """The key behind a login at another gateway; None where the signature is not this group's, or the session has ended."""
        head, _, signature = text.rpartition(".")
        token, _, until = head.rpartition(".")
        if not (self.secret and token and until.isdigit() and now < int(until)) or token_digest(token) in self._ended:
            return None
        return next((each for each in digests if hmac.compare_digest(self._signature(head, each), signature)), None)

    def end_named(self, name: bytes, now: float) -> None:
        """Ends a session by its token's digest: it was ended at another gateway."""
        self._open.pop(name, None)
        self._ended[name] = now + SESSION_S
        while len(self._ended) > MAX_SESSIONS:
            self._ended.popitem(last=False)

    def take_ended(self) -> list[bytes]:
        """The digests of tokens that were ended here since the last call."""
        news, self._news = self._news, []
        return news

    def begin(self, digest: bytes, token: str, now: float) -> None:
        """`token` is random text of the caller's making."""
        self._open[token_digest(token)] = (digest, now + SESSION_S)
        while len(self._open) > MAX_SESSIONS:
            self._open.popitem(last=False)

    def digest_of(self, token: str, now: float) -> bytes | None:
        name = token_digest(token.partition(".")[0])
        digest, until = self._open.get(name, (b"", 0.0))
        if now < until:
            return digest
        self._open.pop(name, None)
        return None

    def end(self, token: str) -> None:
        name = token_digest(token.partition(".")[0])
        self._open.pop(name, None)
        if self.secret:
            self._ended[name] = math.inf
            self._news.append(name)

    def all(self) -> Logins:
        """For another process of this gateway."""
        return Logins([(name, digest, until) for name, (digest, until) in self._open.items()], self.secret, list(self._ended))

    def adopt(self, found: Logins) -> None:
        """Replaces all sessions by those of another process."""
        self._open = OrderedDict((name, (digest, until)) for name, digest, until in found.open)
        self.secret, self._ended = found.secret, OrderedDict.fromkeys(found.ended, math.inf)

    def __len__(self) -> int:
        return len(self._open)


@dataclass(slots=True)
class LoginAttempts:
    """Failed logins, by address: after some of them the next has to wait, longer each time."""

    _wrong: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)  # address -> (how many, not before)

    def check(self, address: str, now: float) -> None:
        """RateLimited when it is too early; also for the right key, or the answer would reveal that it is right."""
        _, not_before = self._wrong.get(address, (0, 0.0))
        if now < not_before:
            raise RateLimited("too many failed logins from this address; try again later", retry_after_s=not_before - now)

    def record_failure(self, address: str, now: float) -> None:
        count, _ = self._wrong.pop(address, (0, 0.0))
        count += 1
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(count - FREE_TRIES, 20)) if count >= FREE_TRIES else 0.0
        self._wrong[address] = (count, now + wait_s)
        while len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)

    def record_success(self, address: str) -> None:
        self._wrong.pop(address, None)
