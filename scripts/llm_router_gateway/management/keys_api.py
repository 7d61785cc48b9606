"""Keys over HTTP, for administrators, and the login of the page. Routes for `net/router`.

    GET    /api-keys                       {"items": [key, ...]}, those of the file too
    POST   /api-keys                       201 {"key": "llmr_...", "item": key}: the only time that the key itself is told
    GET    /api-keys/{id}                  PATCH (null takes a limit away), DELETE (204)
    POST   /api-keys/{id}/rotate           {"key", "item"}: the old one ends at once
    GET    /monitor/me                     who is asking, and whether a login is needed
    POST   /monitor/login, /monitor/logout also /auth/login, /auth/logout

A change is on disk and in force before it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any

from .. import __version__
from ..access.authenticate import Keyring
from ..access.credentials import credential
from ..access.sessions import COOKIE, cookie_line, token_in
from ..config.keys import SECRET_BYTES, Key, digest_of, hint_of, key_json, read_json, secret_of
from ..errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from ..net.router import OPEN, Reply, Route, Visit
from ..policy.budgets import Budgets
from ..store.keys import Change, KeyRepository

ID_BYTES = 6
NO_STORE = 'keys cannot be kept, for there is no store: set [server] store, or write [[keys]] into the file'
OF_FILE = "is in the configuration file: change it there"
FIRST = ("the first key must be an administrator's (\"is_admin\": true), for with it callers need one, and nobody could "
         "administer any more; or set LLM_ROUTER_ADMIN_TOKEN")  # fmt: skip
LAST = ("this is the last administrator's key: make another one first, set LLM_ROUTER_ADMIN_TOKEN, or use "
        "`llm-router-gateway keys`")  # fmt: skip
NO_CACHE = [("cache-control", "no-store")]


def new_secret() -> str:
    return secret_of(token_bytes(SECRET_BYTES))


def named(key: Key, secret: str, now: float) -> Key:
    """A key that was described, made one of the store."""
    return replace(key, id=f"key_{token_hex(ID_BYTES)}", created=float(int(now)), hint=hint_of(secret))


class KeyDesk:
    """The routes of keys and logins."""

    def __init__(
        self, ring: Keyring, keys: KeyRepository | None, budgets: Budgets, wall: Callable[[], float], *, demo: bool = False
    ) -> None:  # fmt: skip
        self._ring, self._keys, self._budgets, self._wall, self._demo = ring, keys, budgets, wall, demo

    def routes(self) -> list[Route]:
        return [
            Route("GET", "api-keys", self.list_all), Route("POST", "api-keys", self.create),
            Route("GET", "api-keys/{id}", self.show), Route("PATCH", "api-keys/{id}", self.change),
            Route("DELETE", "api-keys/{id}", self.delete), Route("POST", "api-keys/{id}/rotate", self.rotate),
            Route("GET", "monitor/me", self.me, OPEN),
            Route("POST", "monitor/login", self.login, OPEN), Route("POST", "monitor/logout", self.logout, OPEN),
            Route("POST", "auth/login", self.login, OPEN), Route("POST", "auth/logout", self.logout, OPEN),
        ]  # fmt: skip

    # -- keys

    def _item(self, key: Key) -> dict[str, Any]:
        return key_json(key, self._budgets.spent(key.id, self._wall()), self._ring.last_used(key.id))

    def _key(self, visit: Visit) -> Key:
        """The one that a path names, by its id or its name."""
        name = visit.args["id"]
        known = [*(row.key for row in self._ring.rows.values()), *(key for key, _ in self._ring.file_keys)]
        for key in known:
            if key.id == name:
                return key
        found = next((key for key in known if key.name == name), None)
        if found is None:
            raise NotFound(f"no key {name[:100]!r}")
        return found

    def _stored(self, visit: Visit) -> Key:
        key = self._key(visit)
        if key.id not in self._ring.rows:
            raise Conflict(f"the key {key.name!r} {OF_FILE}")
        return key

    @property
    def _stored_keys(self) -> KeyRepository:
        if self._keys is None:
            raise Conflict(NO_STORE, code="no_store")
        return self._keys

    def _in_force(self, change: Change) -> Key:
        """A change that is in the store, taken over here: whoever is answered may rely on it."""
        self._ring.take(*change.keys)
        return change.row.key

    async def list_all(self, visit: Visit) -> Reply:
        stored = sorted((row.key for row in self._ring.rows.values()), key=lambda key: (key.created or 0.0, key.name))
        return Reply({"items": [self._item(key) for key in [*(key for key, _ in self._ring.file_keys), *stored]]})

    async def create(self, visit: Visit) -> Reply:
        described = read_json(visit.body)
        if not (described.is_admin or self._ring.can_administer()):
            raise Conflict(FIRST, code="first_key", details={"path": "is_admin"})
        secret = new_secret()
        key = named(described, secret, self._wall())
        self._in_force(await self._stored_keys.insert(key, digest_of(secret)))
        return Reply({"key": secret, "item": self._item(key)}, 201, list(NO_CACHE))

    async def show(self, visit: Visit) -> Reply:
        return Reply(self._item(self._key(visit)))

    async def change(self, visit: Visit) -> Reply:
        key = self._stored(visit)
        changed = read_json(visit.body, key)
        if not (changed.is_admin and changed.is_active):
            self._keep_an_admin(key)
        return Reply(self._item(self._in_force(await self._stored_keys.change(key.id, visit.body))))

    async def delete(self, visit: Visit) -> Reply:
        key = self._stored(visit)
        self._keep_an_admin(key)
        self._in_force(await self._stored_keys.delete(key.id))
        self._budgets.forget(key.id)
        return Reply(None, 204)

    async def rotate(self, visit: Visit) -> Reply:
        key, secret = self._stored(visit), new_secret()
        key = self._in_force(await self._stored_keys.rotate(key.id, digest_of(secret), hint_of(secret)))
        return Reply({"key": secret, "item": self._item(key)}, 200, list(NO_CACHE))

    def _keep_an_admin(self, key: Key) -> None:
        """Conflict when others would be left with keys and nobody who may administer them."""
        ring = self._ring
        if key.is_admin and key.is_active and ring.has_others(key.id) and not ring.can_administer(but=key.id):
            raise Conflict(LAST, code="last_admin")

    # -- logins

    async def me(self, visit: Visit) -> Reply:
        caller, server = visit.caller, self._ring.config.server
        place = "off" if self._keys is None else self._keys.place
        if place not in ("off", "memory") and not caller.is_admin:
            place = "file"
        return Reply({
            "caller": {"name": caller.name, "is_admin": caller.is_admin}, "needs_login": not caller.is_admin,
            "can_login": self._ring.can_login, "by_cookie": visit.is_cookie, "version": __version__, "demo": self._demo,
            "log_bodies": server.log_bodies, "store": place,
        }, headers=list(NO_CACHE))  # fmt: skip

    async def login(self, visit: Visit) -> Reply:
        """A session for whoever shows an administrator's key: {"key": ...}, or the key as a call would show it."""
        ring, now = self._ring, self._wall()
        ring.tries.check(visit.client, now)
        entry = ring.entry(shown_in(visit))
        if entry is None:
            ring.tries.failed(visit.client, now)
            raise Unauthorized("the key is not known to this gateway")
        if not entry.caller.is_admin:
            ring.tries.failed(visit.client, now)
            raise Forbidden("this key is no administrator's")
        entry.check(visit.client, now)
        ring.tries.succeeded(visit.client)
        token = token_urlsafe(SECRET_BYTES)
        ring.sessions.begin(entry.digest, token, now)
        return Reply(None, 204, [("set-cookie", cookie_line(token, secure=visit.secure)), *NO_CACHE])

    async def logout(self, visit: Visit) -> Reply:
        token = token_in(visit.headers)
        if token:
            self._ring.sessions.end(token)
        return Reply(None, 204, [("set-cookie", cookie_line("", secure=visit.secure)), *NO_CACHE])


def shown_in(visit: Visit) -> str:
    """The key of a login."""
    body = visit.body if isinstance(visit.body, dict) else {}
    shown = body.get("key", body.get("api_key"))
    if shown is not None and not isinstance(shown, str):
        raise BadRequest("key is not a text", details={"path": "key"})
    text = (shown or credential(visit.headers, {})).strip()
    if not text:
        raise Unauthorized(f'no key: send {{"key": ...}}; the answer sets the cookie {COOKIE}')
    return text
