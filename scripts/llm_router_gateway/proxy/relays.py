"""Calls that no other protocol has an equal of, passed on as they are: audio, pictures, moderations, ranking.

relays = RelayedCalls(services, upstream, failover)
relays.read(context, data)
await relays.answer(context)      answers it; raises what went wrong, also in the middle of an answer

They go to members whose provider speaks the caller's protocol, under the same keys, limits, budgets, groups and failover as
chats, and into the same log. Changed is the model's name and nothing else. A body is JSON, or a form with files. An answer in
JSON or text is read whole, any other (audio, a stream of events) goes on piece by piece as it comes; one that breaks off ends
without its end, so that no caller takes it for whole. No event says so: not all of these calls have a place for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import BrokenAnswer, Unsupported, UpstreamFailed
from ..json_body import read_body
from ..net.client import Response
from ..routing.plan import Attempt
from ..routing.resolve import Candidate
from ..wire import ir
from ..wire.pipes import EventBytes
from ..wire.registry import SPECS, wire
from ..wire.sse import Event
from .answers import is_event_stream, media_type, parse_or_none, renaming_of
from .failover import Failover
from .headers import caller_headers, mask_secrets
from .mask import mask_of
from .outgoing import Outgoing, outgoing_for
from .request import RequestContext
from .services import Services
from .stream_mask import PieceMask, StreamMask
from .streaming import Headers
from .upstream import MAX_ANSWER_BYTES, Upstream, refusal
from .whole_answers import receive_relayed

FORM_TYPE = "multipart/form-data"
JSON_KINDS = ("application/json", "text/json")
PAGE_KINDS = ("text/html", "application/xhtml+xml")  # of a login or a proxy: none of these calls is answered with a page
TEXT_KINDS = ("text/plain", "text/vtt", "text/srt", "application/x-subrip")  # transcripts; of silence they are empty
USAGE_MARK = '"usage"'  # of the events of a stream, only one with this is read
UNBUFFERED = ("x-accel-buffering", "no")  # nginx would hold the pieces back


class RelayedCalls:
    """What passes through."""

    def __init__(self, services: Services, upstream: Upstream, failover: Failover) -> None:
        self._services, self._clock, self._upstream, self._failover = services, services.clock, upstream, failover

    def read(self, context: RequestContext, data: bytes) -> None:
        """Sets the context's body."""
        said = context.headers.get("content-type", "")
        if media_type(said) != FORM_TYPE:
            context.body = read_body(data)
            return
        from ..wire.multipart import FormBody, read_form  # with the parser of mail headers, which a start need not wait for

        context.body = FormBody(read_form(data, said), said)

    async def answer(self, context: RequestContext) -> None:
        whole = await self._failover.answer(context, partial(self._send, context))
        if whole is not None:
            await context.respond(200, *whole)
        else:
            await context.exchange.end()

    # -- send

    async def _send(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes] | None:
        """A member's whole answer, or None where it went on piece by piece."""
        outgoing = await self._outgoing(context, attempt)
        response = await self._upstream.send("POST", outgoing)
        try:
            if response.status != 200:
                raise await refusal(outgoing, response)
            headers = caller_headers(response.headers, outgoing.candidate)
            kind = media_type(response.header("content-type"))
            if kind in PAGE_KINDS:
                raise UpstreamFailed(f"{outgoing.candidate.name}: the upstream answered with a page of HTML; check base_url")
            if kind in TEXT_KINDS:
                text = mask_secrets(await response.read(MAX_ANSWER_BYTES), outgoing.candidate)
                attempt.mark_output(self._clock())
                return headers, text
            if kind in JSON_KINDS:
                data = await response.read(MAX_ANSWER_BYTES)
                made = await receive_relayed(self._services, context, outgoing, data)
                attempt.mark_output(self._clock())
                renaming = renaming_of(context)
                return headers, made if renaming is None else renaming.whole(made)
            await self._pour(context, outgoing, response, attempt, headers)
            return None
        finally:
            response.close()

    async def _outgoing(self, context: RequestContext, attempt: Attempt) -> Outgoing:
        """The caller's body with the member's name of the model; Unsupported where the member has no such call."""
        candidate, call = attempt.candidate.speaking(context.call.protocol), context.call.path
        if candidate.provider.api != context.call.protocol or call not in candidate.provider.paths:
            title = SPECS[context.call.protocol].title
            error = Unsupported(f"{candidate.name}: /{call} goes to providers of {title}'s protocol alone; name a model of one")
            context.not_sent = error  # another member may have it
            raise error
        return await outgoing_for(context, attempt, call)

    # -- receive

    async def _pour(
        self, context: RequestContext, outgoing: Outgoing, response: Response, attempt: Attempt, headers: Headers
    ) -> None:
        """Piece by piece. Until the first has come, another member may still answer."""
        exchange, record = context.exchange, context.record
        candidate = outgoing.candidate
        pieces: Events | Pieces = Events(candidate) if is_event_stream(response) else Pieces(candidate)
        async for piece in response.pieces():
            data = pieces.feed(piece)
            if not data:
                continue
            if not exchange.started:
                record.first_output_s = self._clock() - record.started_at
                attempt.mark_output(self._clock())
                self._start(context, headers)
            await exchange.send(data)
            record.usage = pieces.usage
        rest = pieces.close()
        if not exchange.started:
            if not rest:
                raise BrokenAnswer(f"{candidate.name}: the upstream's answer is empty", code="empty_answer")
            self._start(context, headers)
        await exchange.send(rest)
        record.usage = pieces.usage
        record.whole = True

    def _start(self, context: RequestContext, headers: Headers) -> None:
        context.answering, context.record.status = True, 200
        own = [*context.own_headers, UNBUFFERED]
        names = {name for name, _ in own}
        context.exchange.start(200, [pair for pair in headers if pair[0] not in names] + own)


class Pieces:
    """Bytes that nothing here reads on their way, without the provider's key."""

    usage: ir.Usage | None = None

    def __init__(self, candidate: Candidate) -> None:
        self._mask = PieceMask(mask_of(candidate.provider.secrets))

    def feed(self, piece: bytes) -> bytes:
        return self._mask(piece)

    def close(self) -> bytes:
        return self._mask.flush()


class Events:
    """A stream of events on its way: whole events, without the provider's key, and the usage that they tell."""

    def __init__(self, candidate: Candidate) -> None:
        self.usage: ir.Usage | None = None
        self._bytes, self._codec = EventBytes(), wire(candidate.provider.api)
        self._mask = StreamMask(mask_of(candidate.provider.secrets))

    def feed(self, piece: bytes) -> bytes:
        data, events = self._bytes.feed(piece)
        self._read(events)
        return self._mask(data)

    def close(self) -> bytes:
        """What is still held. StreamCut where the stream ended inside an event."""
        data, events = self._bytes.close()
        self._read(events)
        return self._mask(data) + self._mask.flush()

    def _read(self, events: Sequence[Event]) -> None:
        for event in events:
            fields = parse_or_none(event.data.encode()) if USAGE_MARK in event.data else None
            self.usage = (self._codec.usage_in(fields) if fields is not None else None) or self.usage
