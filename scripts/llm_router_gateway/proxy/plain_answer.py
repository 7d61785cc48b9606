"""Calls that are answered as a whole: chat, a count of tokens, embeddings. One member's answer, in the caller's protocol.

    plain = PlainAnswers(services, upstream, failover)
    headers, data = await plain.chat(context)      the first member's that answers; the caller of this responds
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import time as unix_s

from ..errors import GatewayError, Unsupported
from ..json_body import read_body
from ..routing.plan import Attempt
from ..wire.registry import SPECS, wire
from ..wire.token_estimate import input_tokens
from .answers import check_key, is_error, parsed, status_in
from .failover import Failover
from .outgoing import outgoing_for, relayed_call
from .request import JSON_TYPE, RequestContext, dumped
from .services import Services
from .streaming import Headers
from .upstream import Upstream, read_error


class PlainAnswers:
    """What is read whole before anything of it goes out."""

    def __init__(self, services: Services, upstream: Upstream, failover: Failover) -> None:
        self._clock, self._upstream, self._failover = services.clock, upstream, failover

    async def chat(self, context: RequestContext) -> tuple[Headers, bytes]:
        return await self._failover.answer(context, partial(self._chat, context))

    async def _chat(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """Send, then relay or convert."""
        outgoing = await outgoing_for(context, attempt)
        headers, data = await self._upstream.fetch(outgoing)
        answer = parsed(data, outgoing.candidate.name)
        if is_error(answer):
            raise read_error(outgoing, status_in(answer), {}, data)
        if context.plan is not None:  # a lone model is never compared
            attempt.output(self._clock())
        record, own = context.record, wire(context.call.protocol)
        if outgoing.request is None:
            record.usage, record.finish = own.usage_in(answer), own.finish_in(answer)
            return headers, data
        result = wire(outgoing.candidate.provider.api).read_answer(answer)
        result = result if result.created else replace(result, created=int(unix_s()))
        record.usage = result.usage
        written = own.write_answer(result, outgoing.request, record.lost)
        record.finish = own.finish_in(written)
        return [JSON_TYPE], dumped(written)

    async def count(self, context: RequestContext) -> tuple[Headers, bytes]:
        return await self._failover.answer(context, partial(self._count, context))

    async def _count(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """By an upstream that speaks the caller's protocol, else estimated."""
        provider = attempt.candidate.speaking(context.call.protocol).provider
        if provider.api == context.call.protocol and "count" in provider.paths:
            try:
                return await self._upstream.fetch(await outgoing_for(context, attempt, "count"))
            except GatewayError as error:
                if error.status != 404:
                    raise  # compatible servers often lack this call: an estimate serves better than a refusal
        attempt.end(self._clock())  # nothing was sent, or nothing was learnt
        return [JSON_TYPE], dumped(wire(context.call.protocol).write_count(input_tokens(context.fields)))

    async def embeddings(self, context: RequestContext) -> tuple[Headers, bytes]:
        """Of texts; the answer in the form that the caller's protocol and its body want."""
        spec, wanted = SPECS[context.call.protocol], context.fields
        if "embeddings" in spec.carried:
            context.body = read_body(dumped(spec.embeddings_request(wanted)))
        headers, data = await self._failover.answer(context, partial(self._embeddings, context))
        return headers, spec.embeddings(data, wanted)

    async def _embeddings(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        candidate, call = attempt.candidate, context.call.action or "embeddings"
        check_key(candidate)
        if not relayed_call(context.call.protocol, candidate, call, stream=False):
            name = candidate.provider.name
            raise Unsupported(f"{candidate.name}: embeddings are relayed, and {name} speaks another protocol")
        return await self._upstream.fetch(await outgoing_for(context, attempt, call))
