"""Keys over HTTP, for administrators, and the login of the page. Routes for `net/router`.

    GET    /api-keys                       {"items": [key, ...]}, those of the file too
    POST   /api-keys                       201 {"key": "llmr_...", "item": key, "warnings": [text, ...]}: the only response
                                           that shows the key
    GET    /api-keys/{id}                  PATCH (null takes a limit away; the key with "warnings"), DELETE (204)
    POST   /api-keys/{id}/reset            its spending is set to zero; the changed key
    POST   /api-keys/{id}/rotate           {"key", "item"}: the old one ends at once
    GET    /monitor/me                     the caller, and whether a login is needed
    POST   /monitor/login, /monitor/logout also /auth/login, /auth/logout

A change is on disk and in effect before the response is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any

from .. import __version__
from ..access.authenticate import Authenticator
from ..access.credentials import credential
from ..access.sessions import COOKIE, cookie_line, token_in
from ..config.keys import SECRET_BYTES, Key, digest_of, hint_of, key_json, past_expiry, read_json, reset_now, secret_of
from ..errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from ..limiter.budgets import logged_budgets
from ..net.router import OPEN, ManagementRequest, ManagementResponse, Route
from ..policy.budgets import Budgets
from ..store.keys import Change, KeyRepository

ID_BYTES = 6
NO_STORE = "keys cannot be saved without a store: set [server] store, or write [[keys]] into the file"
OF_FILE = "is in the configuration file: change it there"
FIRST = ("the first key must be an administrator's (\"is_admin\": true): once a key exists callers need one, and the gateway "
         "could no longer be administered; or set LLM_ROUTER_ADMIN_TOKEN")  # fmt: skip
LAST = ("this is the last administrator's key: create another one first, set LLM_ROUTER_ADMIN_TOKEN, or use "
        "`llm-router-gateway keys`")  # fmt: skip
NO_CACHE = [("cache-control", "no-store")]


def new_secret() -> str:
    return secret_of(token_bytes(SECRET_BYTES))


def stored_key(key: Key, secret: str, now: float) -> Key:
    """A described key with the id, time and hint that the store needs."""
    return replace(key, id=f"key_{token_hex(ID_BYTES)}", created=float(int(now)), hint=hint_of(secret))


class KeysApi:
    """The routes of keys and logins."""

    def __init__(
        self, authenticator: Authenticator, keys: KeyRepository | None, budgets: Budgets, wall: Callable[[], float], *,
        demo: bool = False,
    ) -> None:  # fmt: skip
        self._authenticator, self._keys, self._budgets, self._wall, self._demo = authenticator, keys, budgets, wall, demo
        self._changing = asyncio.Lock()  # of two changes at once each might leave the other's administrator as the last one

    def routes(self) -> list[Route]:
        return [
            Route("GET", "api-keys", self.list_all), Route("POST", "api-keys", self.create),
            Route("GET", "api-keys/{id}", self.show), Route("PATCH", "api-keys/{id}", self.change),
            Route("DELETE", "api-keys/{id}", self.delete), Route("POST", "api-keys/{id}/rotate", self.rotate),
            Route("POST", "api-keys/{id}/reset", self.reset),
            Route("GET", "monitor/me", self.me, OPEN),
            Route("POST", "monitor/login", self.login, OPEN), Route("POST", "monitor/logout", self.logout, OPEN),
            Route("POST", "auth/login", self.login, OPEN), Route("POST", "auth/logout", self.logout, OPEN),
        ]  # fmt: skip

    # -- keys

    def _item(self, key: Key) -> dict[str, Any]:
        now = self._wall()
        return key_json(key, self._budgets.spent(key.id, now), self._authenticator.last_used(key.id), now)

    def _key(self, request: ManagementRequest) -> Key:
        """The key that a path names, by id or by name."""
        name = request.args["id"]
        known = [*(row.key for row in self._authenticator.rows.values()), *(key for key, _ in self._authenticator.file_keys)]
        for key in known:
            if key.id == name:
                return key
        found = next((key for key in known if key.name == name), None)
        if found is None:
            raise NotFound(f"there is no key {name[:100]!r}")
        return found

    def _stored(self, request: ManagementRequest) -> Key:
        key = self._key(request)
        if key.id not in self._authenticator.rows:
            raise Conflict(f"the key {key.name!r} {OF_FILE}")
        return key

    @property
    def _stored_keys(self) -> KeyRepository:
        if self._keys is None:
            raise Conflict(NO_STORE, code="no_store")
        return self._keys

    def _in_force(self, change: Change) -> Key:
        """Applies a stored change to this process before the response is sent."""
        self._authenticator.take(*change.keys)
        return change.row.key

    async def list_all(self, request: ManagementRequest) -> ManagementResponse:
        stored = sorted((row.key for row in self._authenticator.rows.values()), key=lambda key: (key.created or 0.0, key.name))
        in_file = [key for key, _ in self._authenticator.file_keys]
        return ManagementResponse({"items": [self._item(key) for key in [*in_file, *stored]]})

    async def create(self, request: ManagementRequest) -> ManagementResponse:
        described = read_json(request.body)
        async with self._changing:
            return await self._create(described)

    async def _create(self, described: Key) -> ManagementResponse:
        if not (described.is_admin or self._authenticator.can_administer()):
            raise Conflict(FIRST, code="first_key", details={"path": "is_admin"})
        self._check_name(described)
        self._check_expiry(described)
        secret = new_secret()
        key = stored_key(described, secret, self._wall())
        self._in_force(await self._stored_keys.insert(key, digest_of(secret)))
        answer = {"key": secret, "item": self._item(key), "warnings": self._warnings(key)}
        return ManagementResponse(answer, 201, list(NO_CACHE))

    async def show(self, request: ManagementRequest) -> ManagementResponse:
        return ManagementResponse(self._item(self._key(request)))

    async def change(self, request: ManagementRequest) -> ManagementResponse:
        async with self._changing:
            key = self._stored(request)
            changed = read_json(request.body, key)
            self._check_name(changed)
            self._check_expiry(changed, key)
            if not (changed.is_admin and changed.is_active):
                self._keep_an_admin(key)
            key = self._in_force(await self._stored_keys.change(key.id, request.body))
        return ManagementResponse({**self._item(key), "warnings": self._warnings(key)})

    async def delete(self, request: ManagementRequest) -> ManagementResponse:
        async with self._changing:
            key = self._stored(request)
            self._keep_an_admin(key)
            self._in_force(await self._stored_keys.delete(key.id))
        self._budgets.forget(key.id)
        return ManagementResponse(None, 204)

    async def rotate(self, request: ManagementRequest) -> ManagementResponse:
        key, secret = self._stored(request), new_secret()
        key = self._in_force(await self._stored_keys.rotate(key.id, digest_of(secret), hint_of(secret)))
        return ManagementResponse({"key": secret, "item": self._item(key)}, 200, list(NO_CACHE))

    async def reset(self, request: ManagementRequest) -> ManagementResponse:
        """Its spending is set to zero; calls in progress count from here on. The call log stays."""
        key, now, keys = self._key(request), self._wall(), self._stored_keys
        change = reset_now(await self._spent(key.id, now, keys), now)
        if not key.is_of_file:
            return ManagementResponse(self._item(self._in_force(await keys.change(key.id, change))))
        self._in_force(await keys.reset_of_file(key.id, change))
        return ManagementResponse(self._item(self._authenticator.key_by_id(key.id) or key))

    async def _spent(self, key_id: str, now: float, keys: KeyRepository) -> dict[str, float | int]:
        """What a key has spent: by this process, or by the call log, which may have more of other gateways."""
        found = self._budgets.spent(key_id, now)
        logged = logged_budgets(await keys.spent(now), now).spent(key_id, now)
        return {name: max(amount, logged[name]) for name, amount in found.items()}

    def _check_name(self, key: Key) -> None:
        """Conflict for the name of a credential of the configuration: logs and statistics could not distinguish the two."""
        if key.name in self._authenticator.fixed_names:
            raise Conflict(f"the configuration already has a key named {key.name!r}", details={"path": "name"})

    def _check_expiry(self, key: Key, before: Key | None = None) -> None:
        """BadRequest for a key that would be refused from its first call on; one that has expired may be edited."""
        wrong = past_expiry(key, self._wall(), before)
        if wrong:
            raise BadRequest(f"expires_at: {wrong}", details={"path": "expires_at"})

    def _warnings(self, key: Key) -> list[str]:
        return self._authenticator.config.unmatched_patterns(key)

    def _keep_an_admin(self, key: Key) -> None:
        """Conflict when keys would be left, but no administrator."""
        authenticator = self._authenticator
        if key.is_admin and key.is_active and authenticator.has_others(key.id) and not authenticator.can_administer(but=key.id):
            raise Conflict(LAST, code="last_admin")

    # -- logins

    async def me(self, request: ManagementRequest) -> ManagementResponse:
        caller, server = request.caller, self._authenticator.config.server
        place = "off" if self._keys is None else self._keys.place
        if place not in ("off", "memory") and not caller.is_admin:
            place = "file"
        return ManagementResponse({
            "caller": {"name": caller.name, "is_admin": caller.is_admin}, "needs_login": not caller.is_admin,
            "can_login": self._authenticator.can_login, "by_cookie": request.is_cookie, "version": __version__,
            "demo": self._demo, "log_bodies": server.log_bodies, "store": place,
        }, headers=list(NO_CACHE))  # fmt: skip

    async def login(self, request: ManagementRequest) -> ManagementResponse:
        """Opens a session for an administrator's key: {"key": ...}, or the key as in any other request."""
        authenticator, now = self._authenticator, self._wall()
        authenticator.tries.check(request.client, now)
        entry = authenticator.entry(login_key(request))
        if entry is None:
            authenticator.tries.record_failure(request.client, now)
            raise Unauthorized("the key is not known to this gateway")
        if not entry.caller.is_admin:
            authenticator.tries.record_failure(request.client, now)
            raise Forbidden("this key is not an administrator's")
        entry.check(request.client, now)
        authenticator.tries.record_success(request.client)
        token = token_urlsafe(SECRET_BYTES)
        token = authenticator.sessions.issue(entry.digest, token, now)
        return ManagementResponse(None, 204, [("set-cookie", cookie_line(token, secure=request.secure)), *NO_CACHE])

    async def logout(self, request: ManagementRequest) -> ManagementResponse:
        token = token_in(request.headers)
        if token:
            self._authenticator.sessions.end(token)
        return ManagementResponse(None, 204, [("set-cookie", cookie_line("", secure=request.secure)), *NO_CACHE])


def login_key(request: ManagementRequest) -> str:
    """The key of a login."""
    body = request.body if isinstance(request.body, dict) else {}
    shown = body.get("key", body.get("api_key"))
    if shown is not None and not isinstance(shown, str):
        raise BadRequest("key is not a text", details={"path": "key"})
    text = (shown or credential(request.headers, {})).strip()
    if not text:
        raise Unauthorized(f'no key: send {{"key": ...}}; the answer sets the cookie {COOKIE}')
    return text
