"""Calls that are answered as a whole: chat, a count of tokens, embeddings. One member's answer, in the caller's protocol.

plain = PlainAnswers(services, upstream, failover)
headers, data = await plain.chat(context)      the first member's that answers; the caller of this responds
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any

from ..errors import GatewayError
from ..json_body import read_body
from ..routing.plan import Attempt
from ..wire import ir
from ..wire.registry import SPECS, UPSTREAMS, vectors, wire
from ..wire.sound import is_count
from .answers import check_key, parse_answer, renaming_of
from .failover import Failover
from .headers import mask_secrets
from .offload import is_large
from .outgoing import Outgoing, can_send_again, embedding_for, large_embedding_for, outgoing_for, relay_call
from .request import JSON_TYPE, RequestContext, dump_json
from .services import Services
from .streaming import Headers
from .upstream import Upstream
from .whole_answers import keep_answer, raise_wrong, receive, receive_relayed, rewrite

ESTIMATED = ("x-llm-router-estimated", "tokens")  # marks a count that is estimated; wire/token_estimate says how accurate it is
# The usage of an embeddings answer: a flat object, and the only one of this name.
USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*\})')
END_BYTES = 4_096  # where servers write it: behind their vectors, megabytes of them


def embeddings_usage(data: bytes, protocol: str) -> ir.Usage | None:
    """The usage of an embeddings answer, found without parsing its thousands of numbers."""
    found = USAGE.search(data, max(0, len(data) - END_BYTES)) or USAGE.search(data)
    try:
        return wire(protocol).usage_in({"usage": json.loads(found[1])}) if found else None
    except ValueError:
        return None


def is_clean(data: bytes) -> bool:
    """Whether an answer of embeddings is one whole object without an error, by its bytes alone; in doubt it is not."""
    text = data.strip()
    is_object = text.startswith(b"{") and text.endswith(b"}") and text.count(b"{") == text.count(b"}")
    return is_object and b'"error"' not in text


def with_alias(context: RequestContext, data: bytes) -> bytes:
    """Puts the caller's name of the model into the answer, if that is configured."""
    renaming = renaming_of(context)
    return data if renaming is None else renaming.whole(data)


class PlainAnswers:
    """What is read whole before anything of it goes out."""

    def __init__(self, services: Services, upstream: Upstream, failover: Failover) -> None:
        self._clock, self._upstream, self._failover, self._services = services.clock, upstream, failover, services

    def chat(self, context: RequestContext) -> Awaitable[tuple[Headers, bytes]]:
        return self._failover.answer(context, partial(self._chat, context))

    async def _chat(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """Send, then relay or convert."""
        context.converted = self._services.converted
        outgoing = await outgoing_for(context, attempt)
        try:
            headers, data = await self._upstream.fetch(outgoing)
        except GatewayError as error:
            outgoing, headers, data = await self._fetch_again(context, attempt, outgoing, error)
        said, made = await receive(self._services, context, outgoing, data)
        if context.plan is not None:  # a lone model is never compared
            attempt.mark_output(self._clock())
        if context.conversation is not None:
            keep_answer(context.conversation, said, outgoing)
            await context.conversation.wait_settled()
        return (headers if said.is_relayed else [JSON_TYPE]), made

    async def _fetch_again(
        self, context: RequestContext, attempt: Attempt, refused: Outgoing, error: GatewayError
    ) -> tuple[Outgoing, Headers, bytes]:
        """The answer to the same request in another form, after the upstream has refused the first; else the error."""
        if not can_send_again(context, refused, error):
            raise error
        self._failover.end_form(context, attempt, error)
        outgoing = await outgoing_for(context, attempt)
        headers, data = await self._upstream.fetch(outgoing)
        self._services.learn_converted(context.converts_for)
        return outgoing, headers, data

    async def compact(self, context: RequestContext) -> tuple[Headers, bytes]:
        """Compacts a conversation into what must be kept of it."""
        return await self._failover.answer(context, partial(self._compact, context))

    async def _compact(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """By an upstream that has such a call in the caller's protocol, else as a summary written by the model."""
        candidate = attempt.candidate.speaking(context.call.protocol)
        if relay_call(context.call.protocol, candidate, "compact", stream=False):
            try:
                outgoing = await outgoing_for(context, attempt, "compact")
                headers, data = await self._upstream.fetch(outgoing)
                return headers, await receive_relayed(self._services, context, outgoing, data)
            except GatewayError as error:
                if error.status not in (404, 405):
                    raise  # compatible servers often lack this call
                self._failover.end_form(context, attempt, error)
        return await self._summarize(context, attempt)

    async def _summarize(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        protocol, large, offload = context.call.protocol, context.large, self._services.offload
        compaction = wire(protocol).compaction
        if large is None:
            fields = compaction.compact_request(context.fields)
            response = await self._fetch_summary(context, await outgoing_for(context, attempt, "summary", fields))
            return [JSON_TYPE], dump_json(compaction.compaction_response(response, fields["input"]))
        wish = await offload.derive(large, "summarize", protocol, wants_text=context.allowance is not None)
        try:
            response = await self._fetch_summary(context, await outgoing_for(context, attempt, "summary", wish))
            return [JSON_TYPE], (await offload.run(wish, "compaction", protocol, response))[1]
        finally:
            wish.close()

    async def _fetch_summary(self, context: RequestContext, outgoing: Outgoing) -> Mapping[str, Any]:
        """An answer in the caller's protocol that holds a summary."""
        if outgoing.request is None:
            raise RuntimeError("a summary is converted, never relayed")
        _, data = await self._upstream.fetch(outgoing)
        said, made = await receive(self._services, context, outgoing, data)
        return said.answer if isinstance(said.answer, Mapping) else parse_answer(made, outgoing.candidate.name)

    async def count(self, context: RequestContext) -> tuple[Headers, bytes]:
        return await self._failover.answer(context, partial(self._count, context))

    async def _count(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """By an upstream that counts, in the caller's protocol or converted; else an estimate, marked as one."""
        provider = attempt.candidate.speaking(context.call.protocol).provider
        own, is_same = wire(context.call.protocol), provider.api == context.call.protocol
        if "count" in provider.paths:
            try:
                outgoing = await outgoing_for(context, attempt, "count")
                headers, data = await self._upstream.fetch(outgoing)
                if is_same:
                    return headers, await receive_relayed(self._services, context, outgoing, data)
                found = parse_answer(data, attempt.candidate.name).get(UPSTREAMS[provider.api].counted)
                if isinstance(found, int) and is_count(found):
                    return [JSON_TYPE], dump_json(own.write_count(found))
            except GatewayError as error:
                if is_same and error.status != 404:
                    raise  # compatible servers often lack this call: an estimate serves better than a refusal
                self._failover.end_form(context, attempt, error, then="estimated")
        attempt.end(self._clock())  # nothing was sent, or nothing was learnt
        context.record.lost.clear()
        return [JSON_TYPE, ESTIMATED], dump_json(own.write_count(context.input_tokens))

    async def embeddings(self, context: RequestContext) -> tuple[Headers, bytes]:
        """The vectors of texts, in the form that the caller's protocol and body request."""
        spec, wanted = SPECS[context.call.protocol], context.fields
        if "embeddings" in spec.carried and context.large is not None:
            await context.large.carry(context.call.protocol)
            context.body = context.large.head_body
        elif "embeddings" in spec.carried:
            context.body = read_body(dump_json(spec.embeddings_request(wanted)))
        headers, data = await self._failover.answer(context, partial(self._embeddings, context))
        if is_large(len(data)) and spec.reshapes(wanted):
            data = (await self._services.offload.once(data, "form", context.call.protocol, dict(wanted)))[1]
        else:
            data = spec.embeddings(data, wanted)
        return headers, with_alias(context, data)

    async def _embeddings(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        candidate, call = attempt.candidate, context.call.action or "embeddings"
        check_key(candidate)
        if relay_call(context.call.protocol, candidate, call, stream=False):
            outgoing = await outgoing_for(context, attempt, call)
            headers, data = await self._upstream.fetch(outgoing)
            if not is_clean(data):
                return headers, await receive_relayed(self._services, context, outgoing, data)
            context.record.usage = embeddings_usage(data, candidate.provider.api)
            return headers, mask_secrets(data, candidate)
        carrier = SPECS[context.call.protocol].carried.get("embeddings", (context.call.protocol, ""))[0]
        own, action = vectors(carrier), context.call.action
        if context.large is not None:
            outgoing = await large_embedding_for(context, attempt, context.large, (carrier, action))
        else:
            outgoing = await embedding_for(context, attempt, own.read_texts(context.fields, action))
        _, data = await self._upstream.fetch(outgoing)
        said, made = await self._services.offload.work(
            data, rewrite, candidate.provider.api, carrier, context.record.asked, action
        )
        raise_wrong(said, outgoing, data)
        context.record.usage = said.usage or context.record.usage
        return [JSON_TYPE], made
