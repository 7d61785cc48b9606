"""Streamed answers: the first member that gives one; its head, its pieces, and its end, however it comes.

await StreamAnswers(services, upstream, failover).answer(context)     raises only errors from before the first byte
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import time as unix_s
from typing import Any

from ..errors import BrokenAnswer, GatewayError, StreamCut
from ..net.client import Response
from ..routing.plan import Attempt
from ..wire import ir
from ..wire.complaints import classify
from ..wire.pipes import Array, ConvertPipe, RelayPipe
from ..wire.registry import SPECS, wire
from ..wire.renaming import Renaming
from ..wire.unmet import Seen, Watcher
from . import headers
from .answers import is_event_stream, looks_streamed, note_unmet, splits_thoughts, stream_reader, with_alias_name
from .conversations import HERE, place_of
from .failover import Failover
from .large_conversations import Place
from .mask import mask_of
from .outgoing import Outgoing, can_send_again, outgoing_for
from .refusals import for_caller
from .request import RequestContext, dump_json
from .services import Services
from .stream_mask import StreamMask
from .streaming import Headers, Limits, StreamedAnswer
from .upstream import MAX_ANSWER_BYTES, RelayedRefusal, Upstream, refusal
from .whole_answers import keep_answer, receive, replay

USAGE_WISH = b"stream_options"  # in the refusal of a server that does not know it
NEVER_S = float("inf")
PIECE_BYTES = 65_536  # of a stream that came as a whole
STREAM_HEADERS: Headers = [
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),  # nginx would hold the events back
]


class Stream:
    """One streamed answer's head, pipe, keep-alives and error events."""

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self.pipe: RelayPipe | ConvertPipe | None = None
        self._module = wire(context.call.protocol)
        self._array = Array() if context.call.array else None
        self._array_writer: Any = None  # of a converted array, which knows what it has written
        self._passed: Headers = []
        self._spec = SPECS[context.call.protocol]
        self.keepalive = b"\n" if self._array else self._spec.keepalive

    def head(self) -> Headers:
        kind = "application/json" if self._array else self._spec.stream_type
        own = [("content-type", kind), *STREAM_HEADERS, *self.context.own_headers]
        names = {name for name, _ in own}
        return own + [pair for pair in self._passed if pair[0] not in names]

    def open(self, response: Response, outgoing: Outgoing) -> RelayPipe | ConvertPipe:
        """The pipe for an upstream's event stream."""
        if outgoing.request is None:
            candidate = outgoing.candidate
            self._passed = headers.caller_headers(response.headers, candidate)
            scanner, mask = self._module.Scanner(), StreamMask(mask_of(candidate.provider.secrets))
            alias = self.context.alias
            self.pipe = RelayPipe(
                scanner, self._array, mask, hides_usage=outgoing.hides_usage, watcher=self._watcher(),
                renaming=Renaming(alias, self._spec.event_models) if alias else None,
            )  # fmt: skip
            self._keep_at_its_end(lambda: with_alias_name(scanner.response, alias), outgoing, place_of(candidate, outgoing.key))
        else:
            reader = stream_reader(outgoing.candidate.provider.api, splits_thoughts(outgoing.candidate))
            writer = self._writer(outgoing.request)
            mask = StreamMask(mask_of(outgoing.candidate.provider.secrets))
            seen = Seen() if self.context.demands is not None else None
            self.pipe = ConvertPipe(reader, writer, int(unix_s()), mask, seen=seen, alias=self.context.alias)
            self._keep_at_its_end(lambda: writer.response(), outgoing)
        return self.pipe

    def _watcher(self) -> Watcher | None:
        """A watcher for a request whose answer must meet demands."""
        reader = getattr(self._module, "StreamReader", None) or getattr(self._module, "StreamChoices", None)
        return Watcher(reader()) if reader is not None and self.context.demands is not None else None

    def _keep_at_its_end(self, response: Callable[[], Mapping[str, Any]], outgoing: Outgoing, place: Place = HERE) -> None:
        """Before its last event goes out, since the caller may build on it at once."""
        conversation, secrets = self.context.conversation, outgoing.candidate.provider.secrets
        if conversation is not None and self.pipe is not None:
            self.pipe.on_done = lambda: conversation.keep(response(), secrets, place)

    def _writer(self, request: ir.Request) -> Any:
        writer = self._module.StreamWriter(request, lost=self.context.record.lost, array=self.is_array)
        self._array_writer = writer if self.is_array else None
        return writer

    @property
    def is_array(self) -> bool:
        """Whether the stream is one JSON array."""
        return self._array is not None

    def fail(self, error: GatewayError) -> bytes:
        """The stream's error event after a failure, behind what was held back."""
        return (self.pipe.flush() if self.pipe is not None else b"") + self._error_event(error)

    def _error_event(self, error: GatewayError) -> bytes:
        request_id = self.context.record.request_id
        end = self.pipe.failure(error, request_id) if self.pipe is not None else None
        if end is not None:
            return end
        if self.pipe is not None and self.pipe.error_passed:
            return b""  # the upstream's own error event went on already
        if self._array_writer is not None:
            last: bytes = self._array_writer.fail(error, request_id)
            return last
        if self._array is not None:
            return self._array.failure(dump_json(self._module.write_error(error, request_id)[2]).decode())
        data: bytes = self._module.error_event(error, request_id)
        return data

    def bare_error(self, error: GatewayError) -> bytes:
        """What follows the last event, for SDKs that look for an error outside of events; b"" in most protocols."""
        if not self._spec.bare_errors or self._array is not None:
            return b""
        return dump_json(self._module.write_error(error, self.context.record.request_id)[2]) + b"\r\n"


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    """A body in memory, as the pieces of a stream: between two of them the loop does other things."""
    for at in range(0, len(data), PIECE_BYTES):
        yield data[at : at + PIECE_BYTES]
        await asyncio.sleep(0)


class StreamAnswers:
    """The streamed answer of the first member that gives one."""

    def __init__(self, services: Services, upstream: Upstream, failover: Failover) -> None:
        self._services, self._upstream, self._failover = services, upstream, failover
        self._clock, self._watch = services.clock, services.watch
        self._wordless: set[str] = set()  # models whose upstream rejects the parameter for a stream's usage

    async def answer(self, context: RequestContext) -> None:
        """Sends the answer to its end, or to an error event; an error before the first byte is raised."""
        record, exchange = context.record, context.exchange
        streams: list[Stream] = []  # one for each member that was sent to
        try:
            await self._failover.answer(context, partial(self._send, context, streams), partial(self._signs_of_life, context))
        except Exception as error:
            if not exchange.started:
                raise
            shown = error if isinstance(error, GatewayError) else self._services.internal_error(record.request_id, error)
            for_caller(shown, context)
            record.error, record.message = shown.code, shown.message
            last = streams[-1] if context.answering else Stream(context)  # what was held back is discarded
            await exchange.send(last.fail(shown))
            await exchange.send(last.bare_error(shown))  # alone in its chunk: some SDKs see it only so
        finally:
            record.status = 200 if exchange.started else 0
        await exchange.end()

    async def _send(self, context: RequestContext, streams: list[Stream], attempt: Attempt) -> None:
        """One member's stream; sent once more if its upstream rejects the added request for usage."""
        context.wordless, context.converted = self._wordless, self._services.converted
        outgoing = await outgoing_for(context, attempt)
        try:
            await self._stream(context, streams, attempt, outgoing)
        except GatewayError as error:
            text = error.data if isinstance(error, RelayedRefusal) else error.message.encode()
            if not outgoing.hides_usage or context.answering or error.status not in (400, 422) or USAGE_WISH not in text:
                raise
            self._wordless.add(attempt.candidate.name)
            self._failover.end_form(context, attempt, error)
            await self._stream(context, streams, attempt, await outgoing_for(context, attempt))

    async def _stream(self, context: RequestContext, streams: list[Stream], attempt: Attempt, outgoing: Outgoing) -> None:
        """Send, then relay or convert to the end."""
        record, provider = context.record, attempt.candidate.provider
        first_s = (context.plan and context.plan.first_output_timeout_s) or provider.first_output_timeout_s
        limits = Limits(first_s, provider.output_gap_timeout_s, context.state.config.server.keepalive_s)
        stream = Stream(context)
        streams.append(stream)

        def on_output(now: float) -> None:
            context.answering = True
            attempt.mark_output(now)

        answer = self._answer_of(stream, limits, on_output)
        try:
            with self._watch.over(answer):
                try:
                    await self._run(stream, answer, outgoing)
                except GatewayError as error:
                    if answer.released or not can_send_again(context, outgoing, error):
                        raise
                    self._failover.end_form(context, attempt, error)
                    await self._run(stream, answer, await outgoing_for(context, attempt))
                    self._services.learn_converted(context.converts_for)
        except GatewayError as wrong:
            if stream.pipe is None or wrong is not stream.pipe.error:
                raise
            if not stream.pipe.outputs:  # a refusal under status 200
                wrong.unpaid = not isinstance(wrong, StreamCut | BrokenAnswer)
            raise classify(wrong) from None
        finally:
            context.answering, context.last_sent_at = answer.released, answer.last_sent_at
            if stream.pipe is not None:
                self._services.check_model(outgoing.candidate, stream.pipe.model)
                record.answered_by = stream.pipe.model if isinstance(stream.pipe.model, str) else ""
                record.usage, record.finish = stream.pipe.usage, stream.pipe.finish
                record.whole = stream.pipe.done and stream.pipe.error is None
                if record.whole:
                    note_unmet(context, stream.pipe.seen)
                context.outputs = stream.pipe.outputs
            if answer.first_output_at is not None:
                record.first_output_s = answer.first_output_at - record.started_at

    async def _run(self, stream: Stream, answer: StreamedAnswer, outgoing: Outgoing) -> None:
        response = await self._upstream.send("POST", outgoing)
        try:
            if response.status != 200:
                raise await refusal(outgoing, response)
            if is_event_stream(response):
                response.tap = answer.tap
                await answer.run(response.pieces(), stream.open(response, outgoing))
                return
            data = await response.read(MAX_ANSWER_BYTES)
            if looks_streamed(data):
                await answer.run(in_pieces(data), stream.open(response, outgoing))
            else:
                await answer.whole(await self._replay(stream, outgoing, data))
        finally:
            response.close()

    async def _replay(self, stream: Stream, outgoing: Outgoing, data: bytes) -> bytes:
        """Turns a plain answer that came instead of a stream into the stream that was requested."""
        context = stream.context
        said, made = await receive(self._services, context, outgoing, data, replay, array=stream.is_array)
        if context.conversation is not None:
            keep_answer(context.conversation, said, outgoing)
            await context.conversation.wait_settled()
        return made

    def _answer_of(self, stream: Stream, limits: Limits, on_output: Callable[[float], None] | None = None) -> StreamedAnswer:
        """The stream on its way; its silence began when the caller last got anything."""
        context = stream.context
        answer = StreamedAnswer(context.exchange, stream.head, stream.keepalive, limits, self._clock, on_output)
        if context.last_sent_at is not None:
            answer.last_sent_at = context.last_sent_at
        if context.conversation is not None and context.conversation.large is not None:
            answer.settle = context.conversation.wait_settled
        return answer

    @contextmanager
    def _signs_of_life(self, context: RequestContext) -> Iterator[None]:
        """Keeps a caller's stream alive while it waits for its turn."""
        limits = Limits(NEVER_S, NEVER_S, context.state.config.server.keepalive_s)
        answer = self._answer_of(Stream(context), limits)
        try:
            with self._watch.over(answer):
                yield
        finally:
            context.last_sent_at = answer.last_sent_at
