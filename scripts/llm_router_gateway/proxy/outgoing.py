"""What goes to the upstream for a request: the caller's own bytes, or a body in the upstream's protocol.

await outgoing_for(context, attempt) -> one of these two, by the protocol of the attempt's provider
relay_request(context, candidate, "chat")  -> Outgoing(url, headers, body)   the caller's bytes, but for the model's name
convert_request(context, candidate, fields) -> Outgoing(...)                 rewritten; context.record.lost has the losses
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

from ..config.kinds import Secret
from ..errors import GatewayError, NoCredit, Unsupported
from ..json_body import Body, dump
from ..policy import overrides
from ..routing.plan import Attempt
from ..routing.resolve import Candidate
from ..wire import ir
from ..wire.conversion import Wish, as_utf8, encode_body, read_as, without_ours, write_as
from ..wire.embeddings import Texts
from ..wire.registry import OWN_QUERY, SPECS, UPSTREAMS, vectors, wire
from .answers import check_key
from .headers import upstream_headers
from .offload import LargeBody
from .request import RequestContext
from .streaming import Headers

ID_BYTES = 12  # of an answer's id that is made here
KNOWN_MODELS = 1_024  # names that are remembered with how they stand in a path
CARRIED_CHATS = (spec.carried["chat"][1] for spec in SPECS.values() if "chat" in spec.carried)
CHATS = frozenset({"chat", "stream", *CARRIED_CHATS})  # the calls that overrides apply to


NO_REQUEST = ir.Request("", ())  # of rewritten answers that are no chat


class Outgoing(NamedTuple):
    """What goes to an upstream, complete."""

    candidate: Candidate
    url: str
    headers: Headers
    body: bytes
    request: ir.Request | None = None  # None: relayed unread
    key: Secret | None = None  # that is shown
    hides_usage: bool = False  # the request was changed to include a usage that the caller did not request

    @property
    def same(self) -> bool:
        return self.request is None


async def outgoing_for(
    context: RequestContext, attempt: Attempt, call: str = "chat", instead: Mapping[str, Any] | LargeBody | None = None
) -> Outgoing:
    """What a member is sent; fields lost for an earlier member no longer count. `instead` is converted in place of the body."""
    protocol, record = context.call.protocol, context.record
    candidate = attempt.candidate.speaking(protocol)
    check_key(candidate)
    record.lost.clear()
    same = relay_call(protocol, candidate, call, record.stream)
    if same and candidate.provider.api != protocol and is_converted(context, candidate):
        same = ""
    try:
        whole = instead if instead is not None else context.large or context.fields
        if isinstance(whole, LargeBody) and same:
            outgoing = await large_relayed(context, whole, candidate, same, attempt.key)
        elif isinstance(whole, LargeBody):
            outgoing = await large_converted(context, whole, candidate, attempt.key, call)
        elif same:
            outgoing = relay_request(context, candidate, same, attempt.key)
        else:
            outgoing = convert_request(context, candidate, whole, attempt.key, call)
        context.candidate = outgoing.candidate  # in the protocol that is spoken after all
        if context.allowance is not None:
            await context.allowance.hold()
        context.mark_sent()
        return outgoing
    except GatewayError as error:
        if not same or isinstance(error, NoCredit):  # another member may do it, or for less
            context.not_sent = error
        raise


def is_converted(context: RequestContext, candidate: Candidate) -> bool:
    """Whether a member does not take the bodies that its protocol's upstreams take elsewhere."""
    return candidate.name == context.converts_for or candidate.name in context.converted


def can_send_again(context: RequestContext, outgoing: Outgoing, error: GatewayError) -> bool:
    """Whether the same member gets the request once more, in another form: with the whole conversation, where it has forgotten
    what was named to it; converted, where it does not take the body of another protocol as it is."""
    if context.conversation is not None:
        return context.conversation.forgets(error)
    if not outgoing.same or outgoing.candidate.provider.api == context.call.protocol:
        return False
    codec = wire(context.call.protocol)
    if not codec.lacks_call(error) or codec.only_upstream(context.fields):
        return False
    context.converts_for = outgoing.candidate.name
    return True


class Edits(NamedTuple):
    """What is changed in a body before it goes out."""

    changes: dict[str, Any]
    dropped: frozenset[str] = frozenset()
    hides_usage: bool = False


def relay_edits(context: RequestContext, candidate: Candidate, call: str, read: Body) -> Edits:
    """The model's name, what the configuration overrides, the usage of a stream, the bounds of the caller's key."""
    fields, spec = read.fields, candidate.overrides
    changes: dict[str, Any] = {}
    dropped: frozenset[str] = frozenset()
    if not context.call.action and fields.get("model") != candidate.remote_id:
        changes["model"] = candidate.remote_id
    if not spec.empty and call in CHATS:
        more, dropped = overrides.edits({**fields, **changes}, spec)
        changes |= more
    hides_usage = False
    if context.record.stream and call in CHATS:
        more, hides_usage = usage_request(candidate, {**fields, **changes}, context.wordless)
        changes |= more
    if context.allowance is not None:
        sent = {name: value for name, value in {**fields, **changes}.items() if name not in dropped}
        changes |= context.allowance.fit(candidate, "chat" if call in CHATS else call, sent, read)
    return Edits(changes, dropped, hides_usage)


def relay_request(context: RequestContext, candidate: Candidate, call: str, key: Secret | None = None) -> Outgoing:
    """The caller's own body, with what has to be changed in it."""
    if context.conversation is not None:
        read = context.conversation.body_for(candidate, key, context.record.lost)
    else:
        read = without_ours(context.read, context.call.protocol, None, context.record.lost)
    edits = relay_edits(context, candidate, call, read)
    is_same = not (edits.changes or edits.dropped)
    body = read.encode() if is_same else read.edit(edits.changes, {}, edits.dropped)
    return relay_of(context, candidate, call, key, body, edits, read.content_type)


async def large_relayed(
    context: RequestContext, large: LargeBody, candidate: Candidate, call: str, key: Secret | None
) -> Outgoing:
    """The same of a body that a worker has."""
    if context.allowance is not None:
        context.allowance.measured = (large.head.tokens, large.head.kept)
    talk, lost, protocol = context.conversation, context.record.lost, context.call.protocol
    if talk is None or talk.large is None:
        edits = relay_edits(context, candidate, call, large.head_body)
        data = await large.edit(edits.changes, edits.dropped, lost, protocol)
    elif talk.passes(candidate, key):
        edits = relay_edits(context, candidate, call, talk.given)
        data = await talk.large.edit(edits.changes, edits.dropped, lost, protocol, talk.seal)
    else:
        edits = relay_edits(context, candidate, call, large.head_body)
        data = await talk.carry_over(candidate, key, edits.changes, edits.dropped, lost)
    return relay_of(context, candidate, call, key, data, edits)


def relay_of(
    context: RequestContext, candidate: Candidate, call: str, key: Secret | None, body: bytes, edits: Edits,
    content_type: str = Body.content_type,
) -> Outgoing:  # fmt: skip
    url = candidate.url(call, quote_id(candidate.remote_id))
    if context.exchange.query:
        url = with_query(url, context.exchange.query)
    headers = upstream_headers(
        candidate, context.exchange.headers, context.record.request_id, same=True, key=key, trace=context.trace_headers,
        content_type=content_type,
    )  # fmt: skip
    return Outgoing(candidate, url, headers, body, key=key, hides_usage=edits.hides_usage)


def usage_request(candidate: Candidate, fields: Mapping[str, Any], wordless: Collection[str]) -> tuple[dict[str, Any], bool]:
    """Changes that make a stream include its usage, and whether the caller did not request that.

    `wordless`: the models whose upstream rejects that parameter.
    """
    provider = candidate.provider
    if candidate.name in wordless or not provider.quirks.get("stream_usage", True):
        return {}, False
    wish = UPSTREAMS[provider.api].usage_request(fields)
    changes = {name: value for name, value in wish.items() if fields.get(name) != value}
    return changes, bool(changes)


def wish_of(context: RequestContext, candidate: Candidate) -> Wish:
    provider, spec = candidate.provider, SPECS[context.call.protocol]
    answer_id = spec.answer_prefix + token_hex(ID_BYTES)
    return Wish(spec.name, provider.api, context.record.asked, candidate.remote_id, context.record.stream or None,
                dict(provider.quirks), answer_id)  # fmt: skip


def conversion_edits(context: RequestContext, candidate: Candidate, out: Mapping[str, Any]) -> Edits:
    """What the configuration overrides in a converted body, and the bounds of the caller's key."""
    changes, dropped = overrides.edits(out, candidate.overrides) if not candidate.overrides.empty else ({}, frozenset())
    if context.allowance is not None:
        sent = {name: value for name, value in {**out, **changes}.items() if name not in dropped}
        changes |= context.allowance.fit(candidate, "chat", sent)
    return Edits(changes, dropped)


def convert_request(
    context: RequestContext, candidate: Candidate, fields: Mapping[str, Any], key: Secret | None = None, call: str = "chat"
) -> Outgoing:
    """The body in the upstream's protocol; what has no place there goes on the record. `call` is chat or count."""
    more = context.conversation.reading if context.conversation is not None else ir.NOTHING
    lost = context.record.lost
    request = read_as(fields, wish_of(context, candidate), more)
    candidate = capable_candidate(candidate, request)
    wish = wish_of(context, candidate)
    out = write_as(request, wish, lost)
    edits = conversion_edits(context, candidate, out)
    data = encode_body(out, edits.changes, edits.dropped, lost, wish if call == "count" else None)
    return conversion_of(context, candidate, key, request, call, data)


async def large_converted(
    context: RequestContext, large: LargeBody, candidate: Candidate, key: Secret | None, call: str
) -> Outgoing:
    """The same of a body that a worker has."""
    wish = wish_of(context, candidate)
    more = context.conversation.reading if context.conversation is not None else ir.NOTHING
    request, lost, out = await large.convert(wish, context.allowance, more)
    other = capable_candidate(candidate, request)
    if other is not candidate:
        candidate, wish = other, wish_of(context, other)
        request, lost, out = await large.convert(wish, context.allowance, more)
    context.record.lost[:] = lost
    edits = conversion_edits(context, candidate, out)
    data = await large.finish(wish, edits.changes, edits.dropped, context.record.lost, counts=call == "count", more=more)
    return conversion_of(context, candidate, key, request, call, data)


def conversion_of(
    context: RequestContext, candidate: Candidate, key: Secret | None, request: ir.Request, call: str, data: bytes
) -> Outgoing:
    name = call if call == "count" else chat_call(candidate, context.record.stream)
    headers = upstream_headers(candidate, (), context.record.request_id, same=False, key=key, trace=context.trace_headers)
    return Outgoing(candidate, candidate.url(name, quote_id(candidate.remote_id)), headers, data, request, key)


def capable_candidate(candidate: Candidate, request: ir.Request) -> Candidate:
    """The candidate in the protocol that a request needs, where its provider speaks more than one: for a search of the web."""
    also = candidate.provider.also
    if not also or UPSTREAMS[candidate.provider.api].searches or not any(tool.search for tool in request.tools):
        return candidate
    return candidate.speaking(next((api for api in also if UPSTREAMS[api].searches), ""))


async def embedding_for(context: RequestContext, attempt: Attempt, texts: Texts) -> Outgoing:
    """Texts to be embedded, for a member of another protocol; Unsupported where it has no such call."""
    candidate = attempt.candidate
    provider = candidate.provider
    call, body = vectors(provider.api).write_texts(texts, candidate.remote_id) if SPECS[provider.api].embeds else ("", {})
    if call not in provider.paths:
        raise Unsupported(f"{candidate.name}: {provider.name} has no embeddings; name a model of another provider")
    context.record.lost[:] = texts.lost
    if context.allowance is not None:
        body = {**body, **context.allowance.fit(candidate, call, body)}
        await context.allowance.hold()
    context.mark_sent()
    headers = upstream_headers(
        candidate, (), context.record.request_id, same=False, key=attempt.key, trace=context.trace_headers
    )
    data = as_utf8(dump(body), context.record.lost)
    return Outgoing(candidate, candidate.url(call, quote_id(candidate.remote_id)), headers, data, NO_REQUEST)


async def large_embedding_for(context: RequestContext, attempt: Attempt, large: LargeBody, reader: tuple[str, str]) -> Outgoing:
    """The same of a body that a worker has; `reader` is the caller's protocol and action."""
    candidate, provider = attempt.candidate, attempt.candidate.provider
    if not SPECS[provider.api].embeds:
        raise Unsupported(f"{candidate.name}: {provider.name} has no embeddings; name a model of another provider")
    writer = (provider.api, candidate.remote_id)
    call, lost, body, _ = await large.texts(reader, writer, None)
    if call not in provider.paths:
        raise Unsupported(f"{candidate.name}: {provider.name} has no embeddings; name a model of another provider")
    context.record.lost[:] = lost
    changes: Mapping[str, Any] = {}
    if context.allowance is not None:
        context.allowance.measured = (large.head.tokens, large.head.kept)
        changes = context.allowance.fit(candidate, call, body)
        await context.allowance.hold()
    *_, data = await large.texts(reader, writer, changes)
    context.mark_sent()
    headers = upstream_headers(
        candidate, (), context.record.request_id, same=False, key=attempt.key, trace=context.trace_headers
    )
    return Outgoing(candidate, candidate.url(call, quote_id(candidate.remote_id)), headers, data, NO_REQUEST)


def relay_call(protocol: str, candidate: Candidate, kind: str, stream: bool) -> str:
    """The upstream's name of a call that is relayed unchanged; "" where the call has to be converted.

    relay_call("openai", candidate, "chat", False) -> "chat"
    """
    provider = candidate.provider
    if provider.api == protocol:
        return chat_call(candidate, stream) if kind == "chat" else kind if kind in provider.paths else ""
    carrier, name = SPECS[protocol].carried.get(kind, ("", ""))
    return name if carrier == provider.api and name in provider.paths else ""


def chat_call(candidate: Candidate, stream: bool) -> str:
    """The call that a chat request is: a stream is one of its own where it has its own path."""
    return "stream" if stream and "stream" in candidate.provider.paths else "chat"


@lru_cache(maxsize=KNOWN_MODELS)
def quote_id(remote_id: str) -> str:
    """The upstream's name of a model, quoted for a path."""
    return quote(remote_id, safe="/:@-._~")


def with_query(url: str, query: str) -> str:
    """The caller's query behind the upstream's own, without the caller's key and what we decide ourselves."""
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in OWN_QUERY]
    return url + ("&" if "?" in url else "?") + "&".join(kept) if kept else url
