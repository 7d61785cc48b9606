"""A call that has ended -> its spans and measurements, in OpenTelemetry's words.

    tracing = Tracing(telemetry, exporter, os.urandom, clock=time.monotonic, wall=time.time)
    context.trace = tracing.begin(context.headers)        None where traces are not sent
    tracing.finish(context, call)                         the spans are in the exporter's queue

One SERVER span for the call and under it one CLIENT span for each request to an upstream. Tokens and cost are on the attempt
that used them and nowhere else: receivers add up what is on a parent and its children. Names are those of the conventions for
generative AI; beside them stand those that receivers look for instead (`mlflow.llm.cost`, `openinference.span.kind`, ...).
The messages of request and answer is left out unless the configuration says otherwise.
https://github.com/open-telemetry/semantic-conventions-genai, https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from ..config.base_urls import host_and_port
from ..config.presets import vendor_of
from ..config.telemetry import Telemetry
from ..store import pricing
from ..store.call import CUT, Call
from ..telemetry import instruments
from ..telemetry.instruments import Instruments, Labels
from ..telemetry.otlp import CLIENT, MAX_INT, SERVER, Attributes, Span, Value
from ..telemetry.trace import Trace, Tracer
from ..wire import ir
from ..wire.registry import SPECS
from .attempts import CLIENT_GONE, AttemptRecord
from .trace_content import Content, content_of

if TYPE_CHECKING:
    from .request import RequestContext

# Kind of call -> gen_ai.operation.name. Receivers take no other words; a count of tokens is none of these.
OPERATIONS: Mapping[str, str] = {"chat": "chat", "invoke": "chat", "compact": "chat", "embeddings": "embeddings"}
KNOWN_ADDRESSES = 256
SERVER_ERROR = 500
NS = 1_000_000_000
PARAMETERS = {  # bounded parameter -> its attribute
    "temperature": "gen_ai.request.temperature", "top_p": "gen_ai.request.top_p", "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens", "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}  # fmt: skip


class Sink(Protocol):
    """Takes spans and measurements: `telemetry.exporter.Exporter`."""

    @property
    def instruments(self) -> Instruments: ...
    def add(self, spans: Sequence[Span]) -> None: ...


address_of = lru_cache(maxsize=KNOWN_ADDRESSES)(host_and_port)  # of an attempt's base_url


def session_of(context: RequestContext, names: Sequence[str]) -> str:
    """The session that a call belongs to, as its client says it; "" where it does not."""
    for name in names:
        if context.headers.get(name):
            return context.headers[name]
    labels = context.fields.get(SPECS[context.call.protocol].labels)
    said = labels.get("session_id") if isinstance(labels, Mapping) else None
    said = said or context.fields.get("prompt_cache_key")
    return said if isinstance(said, str) else ""


def parameters_of(context: RequestContext) -> Attributes:
    """What the caller requested, as far as the conventions have a name for it."""
    upstream, fields = SPECS[context.call.protocol].upstream, context.fields
    found: dict[str, Value] = {}
    for name, paths in (upstream.parameters if upstream is not None else {}).items():
        for path in paths:
            value: Any = fields
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if name in PARAMETERS and is_writable(value):
                whole = name in ("max_tokens", "top_k")
                found[PARAMETERS[name]] = int(value) if whole else float(value)
                break
    return found


def is_writable(value: object) -> bool:
    """Whether it is a number that a span can hold: callers send 1e999, too."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_INT


def usage_of(attempt: AttemptRecord) -> Attributes:
    """Tokens as whole numbers, which alone all receivers take; the cost in the two places where it is read."""
    charge = attempt.charge
    if charge is None:
        return {}
    usage = charge.usage
    found: dict[str, Value] = {"gen_ai.usage.input_tokens": usage.total_input, "gen_ai.usage.output_tokens": usage.output}
    if usage.cache_read:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cache_read
    written = usage.cache_write + usage.cache_write_1h
    if written:  # renamed from one to the other; receivers know either
        found["gen_ai.usage.cache_creation.input_tokens"] = found["gen_ai.usage.cache_write.input_tokens"] = written
    if usage.reasoning:
        found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
        found["llm.token_count.completion_details.reasoning"] = usage.reasoning
    if charge.cost_usd is not None:
        found["gen_ai.usage.cost"] = float(charge.cost_usd)
        found["llm_router.cost_source"] = charge.source
        found["mlflow.llm.cost"] = json.dumps(cost_parts(attempt, charge.cost_usd))
    return found


def cost_parts(attempt: AttemptRecord, cost_usd: float) -> dict[str, float]:
    """The total, and how it is divided where the configured prices say so."""
    usage = attempt.charge.usage if attempt.charge is not None else None
    share = pricing.input_share(usage, attempt.candidate.model) if usage is not None else None
    if share is None:
        return {"total_cost": cost_usd}
    return {"input_cost": cost_usd * share, "output_cost": cost_usd * (1 - share), "total_cost": cost_usd}


class Tracing:
    """The calls of one process. `clock` is the gateway's, `wall` Unix seconds."""

    def __init__(
        self, settings: Telemetry, sink: Sink, new_bytes: Callable[[int], bytes], *, clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self.settings = settings
        self._sink, self._clock, self._wall = sink, clock, wall
        self._tracer = Tracer(settings, new_bytes)

    def begin(self, headers: Mapping[str, str]) -> Trace | None:
        return self._tracer.begin(headers) if self.settings.traces else None

    def finish(self, context: RequestContext, call: Call) -> None:
        """Never waits; a call that is not sampled is measured all the same."""
        for number, attempt in enumerate(context.attempts):
            self._measure(context, attempt, is_last=number == len(context.attempts) - 1)
        served = (("http.request.method", context.exchange.method), ("url.scheme", "http"), ("llm_router.kind", call.kind),
                  ("http.response.status_code", call.status))  # fmt: skip
        self._sink.instruments.record(instruments.SERVED, call.duration_ms / 1_000, served)
        if context.trace is not None and context.trace.is_sampled:
            self._sink.add(self._spans(context, context.trace, call))

    # -- measurements

    def _measure(self, context: RequestContext, attempt: AttemptRecord, *, is_last: bool) -> None:
        operation = OPERATIONS.get(context.call.kind)
        if operation is None:
            return
        sink, labels = self._sink.instruments, labels_of(attempt, operation, context.record.answered_by if is_last else "")
        ended: Labels = (*labels, ("error.type", attempt.cause)) if attempt.cause else labels
        sink.record(instruments.DURATION, attempt.ended_at - attempt.started_at, ended)
        if attempt.first_output_s is not None:
            sink.record(instruments.FIRST_OUTPUT, attempt.first_output_s, labels)
        if attempt.charge is not None:
            usage = attempt.charge.usage
            sink.record(instruments.TOKEN_USAGE, usage.total_input, (*labels, ("gen_ai.token.type", "input")))
            sink.record(instruments.TOKEN_USAGE, usage.output, (*labels, ("gen_ai.token.type", "output")))
            if attempt.charge.cost_usd:
                sink.record(instruments.COST, attempt.charge.cost_usd, labels)

    # -- spans

    def _spans(self, context: RequestContext, trace: Trace, call: Call) -> list[Span]:
        offset = self._wall() - self._clock()  # from the clock of durations to the one on the wall

        def at(seconds: float) -> int:
            return int((seconds + offset) * NS)

        content = content_of(context, self.settings.max_content_bytes) if self.settings.content else Content()
        identity = self._identity(context, call)
        started_at = context.record.started_at
        is_failed = call.status >= SERVER_ERROR or call.ended == CUT
        root = Span(
            trace.trace_id, trace.root_id, trace.parent_id, trace.state, f"{context.exchange.method} {context.exchange.path}",
            SERVER, at(started_at), at(started_at + context.record.seconds), self._root(context, call, identity, content),
            (call.message or call.error) if is_failed else None,
        )  # fmt: skip
        spans = [root]
        for number, attempt in enumerate(context.attempts):
            is_last = number == len(context.attempts) - 1
            attributes = self._attempt(context, attempt, identity, number, content, is_last=is_last)
            operation = OPERATIONS.get(context.call.kind, context.call.kind)
            spans.append(
                Span(trace.trace_id, attempt.span_id, trace.root_id, trace.state, f"{operation} {attempt.candidate.remote_id}",
                     CLIENT, at(attempt.started_at), at(attempt.ended_at), attributes,
                     (attempt.message or attempt.cause) if attempt.cause not in ("", CLIENT_GONE) else None)
            )  # fmt: skip
        return spans

    def _identity(self, context: RequestContext, call: Call) -> dict[str, Value]:
        """Session and user: on every span, for receivers look in different places."""
        session, user = session_of(context, self.settings.session_headers), call.end_user or call.key_name
        return {**({"session.id": session} if session else {}), **({"user.id": user} if user else {})}

    def _root(self, context: RequestContext, call: Call, identity: Attributes, content: Content) -> Attributes:
        found: dict[str, Value] = {
            "openinference.span.kind": "CHAIN", "http.request.method": context.exchange.method,
            "url.path": context.exchange.path, "http.response.status_code": call.status, **identity,
            "llm_router.request_id": call.request_id, "llm_router.model": call.asked, "llm_router.attempts": call.attempts,
            "llm_router.protocol": call.protocol, "llm_router.ended": call.ended,
        }  # fmt: skip
        tags = json.loads(call.tags) if call.tags != "[]" else []
        lost = json.loads(call.lost) if call.lost != "[]" else []
        more: dict[str, Value] = {
            "llm_router.served": call.served, "llm_router.key.name": call.key_name, "llm_router.tags": tags,
            "llm_router.lost": lost, "input.value": content.question, "output.value": content.answer,
        }  # fmt: skip
        found |= {name: value for name, value in more.items() if value}
        if call.status >= SERVER_ERROR or call.ended == CUT:
            found["error.type"] = call.error
        return found

    def _attempt(
        self, context: RequestContext, attempt: AttemptRecord, identity: Attributes, number: int, content: Content, *,
        is_last: bool,
    ) -> Attributes:  # fmt: skip
        candidate, operation = attempt.candidate, OPERATIONS.get(context.call.kind)
        host, port = address_of(candidate.provider.base_url)
        found: dict[str, Value] = {
            "server.address": host,
            "server.port": port,
            **identity,
            "llm_router.provider": candidate.provider.name,
        }
        if number:
            found["http.request.resend_count"] = number
        if attempt.cause and attempt.cause != CLIENT_GONE:
            found["error.type"] = attempt.cause
        if operation is None:
            return found
        found |= {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": vendor_of(candidate.provider.type, candidate.provider.name),
            "gen_ai.request.model": candidate.remote_id, **parameters_of(context), **usage_of(attempt),
        }  # fmt: skip
        if "session.id" in identity:
            found["gen_ai.conversation.id"] = identity["session.id"]
        if context.record.stream:
            found["gen_ai.request.stream"] = True
        if attempt.first_output_s is not None:
            found["gen_ai.response.time_to_first_chunk"] = attempt.first_output_s
        if is_last:
            found |= self._answer(context, content)
        return found

    def _answer(self, context: RequestContext, content: Content) -> Attributes:
        """Of the attempt whose answer the caller has."""
        finish = context.record.finish
        word = finish.reason if isinstance(finish, ir.Stop) else finish
        found: dict[str, Value] = {"gen_ai.response.finish_reasons": [word]} if word else {}
        if context.record.answered_by:
            found["gen_ai.response.model"] = context.record.answered_by
        return {**found, **content.attributes}


def labels_of(attempt: AttemptRecord, operation: str, answered_by: str) -> Labels:
    provider = attempt.candidate.provider
    host, port = address_of(provider.base_url)
    model = (("gen_ai.response.model", answered_by),) if answered_by else ()
    return (
        ("gen_ai.operation.name", operation), ("gen_ai.provider.name", vendor_of(provider.type, provider.name)),
        ("gen_ai.request.model", attempt.candidate.remote_id), *model, ("server.address", host), ("server.port", port),
    )  # fmt: skip
