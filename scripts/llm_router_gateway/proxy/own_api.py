"""Requests to the gateway itself, not to a model: health, list of models, management routes.

own = OwnApi(services, lists, receive)
await own.management(context, router)      `net/router` has the routes, this their reading and writing
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from .. import __version__
from ..access import browser
from ..errors import BadMethod, BadRequest, Forbidden, GatewayError
from ..json_body import read_body
from ..net.caller import Caller
from ..net.router import ADMIN, CALLER, MONITOR, OPEN, ManagementRequest, ManagementResponse, Router
from ..wire.registry import SPECS, wire
from . import model_list
from .model_list import LiveLists
from .request import JSON_TYPE, NO_STORE, Receive, RequestContext, dump_json
from .services import Services

MAX_BODY_BYTES = 1_048_576  # of a management request
WITH_BODY = frozenset({"POST", "PATCH", "PUT"})


class OwnApi:
    """Answers them."""

    def __init__(self, services: Services, lists: LiveLists, receive: Receive) -> None:
        """`receive` reads a body within the server's limits."""
        self._services, self._lists, self._receive = services, lists, receive

    async def preflight(self, context: RequestContext) -> None:
        headers = browser.preflight_headers(context.headers, context.cors_origins)
        await context.respond(204, [*headers, ("allow", browser.METHODS)], b"")

    async def health(self, context: RequestContext) -> None:
        await context.respond_json({"status": "ok", "name": "llm-router-gateway", "version": __version__})

    async def live(self, context: RequestContext) -> None:
        """That this is answered at all is the answer."""
        await context.respond(200, [JSON_TYPE, NO_STORE], dump_json({"status": "live"}))

    async def discard(self, context: RequestContext) -> None:
        """What some clients send and no model needs: taken, and thrown away."""
        await self._receive(context)
        await context.respond_json({})

    async def models(self, context: RequestContext) -> None:
        state = context.state
        found = model_list.entries(state.routes, await self._lists.names(state), state.table)
        found = model_list.entries_for_key(found, context.rights, state.table)
        await context.respond_json(wire(context.call.protocol).list_models(found, context.query))

    async def model(self, context: RequestContext) -> None:
        state = context.state
        found = model_list.entries(state.routes, await self._lists.names(state), state.table)
        entry = model_list.find_entry(found, context.call.model)
        if context.rights is not None and not model_list.may_use(entry, context.rights, state.table):
            raise context.rights.key.refuse(entry.name)
        await context.respond_json(wire(context.call.protocol).describe_model(entry))

    async def show(self, context: RequestContext) -> None:
        """A model that the body names, in either of the ways that callers have."""
        fields = read_body(await self._receive(context)).fields
        name = fields.get("model") or fields.get("name")
        if not isinstance(name, str) or not name:
            raise BadRequest("model is missing: name one; GET /v1/models lists them", details={"path": "model"})
        context.call = replace(context.call, model=name)
        await self.model(context)

    async def answer_fixed(self, context: RequestContext) -> None:
        """The fixed answer that the protocol's spec has for a path."""
        fixed = SPECS[context.call.protocol].fixed
        await context.respond_json(next(value for path, value in fixed.items() if context.exchange.path.endswith(path)))

    async def socket(self, context: RequestContext) -> None:
        """A websocket is refused with the one status after which callers fall back to POST at once."""
        if "upgrade" in context.headers:
            raise GatewayError("WebSockets are not supported: send a POST", status=426, code="no_websocket")
        raise BadMethod("this path takes POST", details={"allow": "POST, OPTIONS"})

    async def models_health(self, context: RequestContext) -> None:
        state, rights = context.state, context.rights
        lines = self._services.routing_state.report(state.table, self._services.clock())
        if rights is not None:
            lines = [line for line in lines if rights.may_see(state.routes.full.get(line["model"]), line["model"])]
        await context.respond_json({"models": lines})

    async def management(self, context: RequestContext, router: Router) -> None:
        """The monitor, keys, administration."""
        exchange, caller = context.exchange, context.caller
        route, args = router.find(exchange.method, context.call.model)
        check_access(route.access, caller)
        body = None
        if exchange.method in WITH_BODY:
            limit = min(MAX_BODY_BYTES, context.state.config.server.max_body_bytes)
            body = body_in(await exchange.read_body(limit))
        request = ManagementRequest(exchange.method, context.call.model, args, context.query, context.headers, body,
                      context.record.client, caller, caller.is_cookie, self._is_secure(context),
                      parse_qsl(exchange.query, keep_blank_values=True))  # fmt: skip
        await respond(context, await route.handler(request))

    def _is_secure(self, context: RequestContext) -> bool:
        """Whether a proxy that is trusted says that the caller came over TLS."""
        is_told = context.headers.get("x-forwarded-proto", "").strip().lower() == "https"
        return is_told and self._services.authenticator.is_proxy(context.exchange.client)


def check_access(access: str, caller: Caller) -> None:
    """Forbidden where a caller's key does not go as far as a route needs."""
    if access == OPEN or caller.is_admin:
        return
    if access == ADMIN:
        raise Forbidden(
            "this is for administrators: use an administrator's key (`keys create --admin`; references/gateway-keys.md)"
        )
    if access == MONITOR and not caller.is_monitor:
        raise Forbidden("this is for administrators and keys with is_monitor: references/gateway-keys.md describes both")
    if access == CALLER and caller.is_monitor:
        raise only_monitoring()


def only_monitoring() -> Forbidden:
    return Forbidden("this key may read statistics, /metrics and /health/models, and nothing else", code="not_allowed")


def body_in(data: bytes) -> Any:
    """The JSON value of a management request; None without a body."""
    if not data.strip():
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None


async def respond(context: RequestContext, reply: ManagementResponse) -> None:
    """A handler's reply: JSON, bytes, or a stream of them."""
    if not reply.is_stream:
        is_raw = isinstance(reply.body, bytes)
        data = reply.body if is_raw else b"" if reply.status == 204 else dump_json(reply.body)
        kind = [] if is_raw or reply.status == 204 else [JSON_TYPE]
        await context.respond(reply.status, [*kind, *reply.headers], data)
        return
    exchange = context.exchange
    context.record.status = reply.status
    pieces = aiter(reply.body)
    first = await anext(pieces, b"")  # an error before this gets a status
    exchange.start(reply.status, [*reply.headers, *context.own_headers])
    await exchange.send(first)
    async for piece in pieces:
        await exchange.send(piece)
    await exchange.end()
