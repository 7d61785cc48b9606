"""A request at its real end -> the call that the log keeps, and its texts if the configuration says so.

exchange = RecordedExchange(exchange, limit)     only if texts are kept: it records what passes
call_of(context, unix_s())                    -> Call, when nothing more can happen to the request
bodies_of(context)                            -> Bodies, or None
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..access import credentials
from ..config.config import Config
from ..store import pricing
from ..store.call import KINDS, MAX_MESSAGE, MAX_NAME, Call, ended_of, texts, tokens_of
from ..store.redaction import MARGIN_BYTES, Bodies
from ..wire import ir
from ..wire.registry import SPECS, wire
from .attribution import attribution_of
from .charges import sum_charges
from .heard_exchange import HeardExchange
from .request import Exchange, RequestContext
from .streaming import Headers

REFUSALS = frozenset({401, 402, 403, 429})  # the gateway's own, before any member was tried
REFUSED = frozenset({"unauthorized", "forbidden", "no_credit", "rate_limited"})  # the same, where a stream had begun
MAX_FINISH = 60


class RecordedExchange(HeardExchange):
    """An exchange that records the request and the beginning of the answer."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        super().__init__(exchange)
        self.limit = limit
        self.request: bytes | None = None
        self._room = limit + MARGIN_BYTES
        self._sent: list[bytes] = []

    @property
    def response(self) -> bytes:
        return b"".join(self._sent)

    def hear(self, data: bytes) -> None:
        """Streams: pieces until there is no more room. One whole answer: as it is, for a picture in it may be long."""
        if self._room > 0:
            self._sent.append(data)
            self._room -= len(data)

    async def read_body(self, limit: int) -> bytes:
        self.request = data = await super().read_body(limit)
        return data

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.hear(body)
        await super().respond(status, headers, body)


def is_call(context: RequestContext) -> bool:
    """Whether a request is one that the log of calls has."""
    return context.call.kind in KINDS


def call_of(context: RequestContext, now_s: float) -> Call:
    """The row of a request that has ended now."""
    record, candidate = context.record, context.candidate
    header = context.state.config.server.labels_header
    said = attribution_of(SPECS[context.call.protocol], context.fields, context.headers, header)
    usage, cost, source = sum_charges(context.charges) or (None, None, pricing.UNKNOWN)
    if record.cached == "hit":
        cost, source = 0.0, pricing.CACHE
    served = clean(record.served, MAX_NAME)
    provider, _, model = served.partition("/")
    refused = not record.attempts and (record.status in REFUSALS or record.error in REFUSED)
    first_s = record.first_output_s
    error = message = ""
    if record.error:
        error, message = clean(record.error, MAX_NAME), clean(record.message, MAX_MESSAGE)
    return Call(
        record.request_id, int((now_s - record.seconds) * 1000),
        None if first_s is None else round(first_s * 1000, 3), round(record.seconds * 1000, 3),
        context.call.kind, context.call.protocol, candidate.provider.api if candidate else "", int(record.stream),
        clean(record.asked, MAX_NAME), served, provider, model,
        record.attempts, clean_list(record.failed),
        record.status, error, message,
        ended_of(record.error, refused=refused, output_began=context.answering), clean(finish_of(context), MAX_FINISH),
        *tokens_of(usage), cost, source,
        context.caller.key_id, context.caller.name, clean(record.client, MAX_NAME), clean_list(record.lost),
        clean_list(said.tags), clean(said.end_user, MAX_NAME) if said.end_user else "",
    )  # fmt: skip


def clean(text: str, limit: int) -> str:
    """Text that any program can read: half of a surrogate pair cannot be encoded."""
    if len(text) <= limit and text.isascii():
        return text
    return text[:limit].encode("utf-8", "replace").decode()


def clean_list(items: Sequence[str]) -> str:
    if not items:
        return "[]"
    return texts([clean(text, MAX_NAME) for text in items])


def finish_of(context: RequestContext) -> str:
    """Why the answer stopped, in the caller's protocol; "" when unknown."""
    stop = context.record.finish
    if isinstance(stop, ir.Stop):
        return wire(context.call.protocol).FINISH_WORDS.get(stop.reason, "")
    return stop


def bodies_of(context: RequestContext) -> Bodies | None:
    """The recorded texts; None if none are kept."""
    heard, server = context.exchange, context.state.config.server
    if not server.log_bodies or not isinstance(heard, RecordedExchange):
        return None
    own = credentials.credential(context.headers, context.query)
    keys = {key.reveal() for key in (*secrets_in(context.state.config), *context.printed_keys)} | {own, own.strip()}
    secrets = tuple(key.encode() for key in sorted(keys, key=len, reverse=True) if key)
    return Bodies(heard.request, heard.response, server.log_body_bytes, secrets)


def secrets_in(config: Config) -> list[Any]:
    """Every key of the configuration, and every other credential."""
    server = config.server
    keys = [*server.tokens, *server.admin_tokens]
    for provider in config.providers:
        keys.extend(provider.secrets)
    return keys
