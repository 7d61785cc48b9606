"""Calls that are answered as a whole: chat, a count of tokens, embeddings. One member's answer, in the caller's protocol.

plain = PlainAnswers(services, upstream, failover)
headers, data = await plain.chat(context)      the first member's that answers; the caller of this responds
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from time import time as unix_s
from typing import Any

from ..errors import GatewayError
from ..json_body import read_body
from ..routing.plan import Attempt
from ..wire import ir
from ..wire.pipes import MARK
from ..wire.registry import SPECS, UPSTREAMS, vectors, wire
from ..wire.sound import is_count
from ..wire.token_estimate import weight
from .answers import (
    add_unmet,
    assemble,
    broken,
    check_answer,
    check_key,
    is_error,
    looks_streamed,
    no_object,
    note_unmet,
    parse_answer,
    parse_or_none,
    read_answer,
    renamed,
    renaming_of,
    request_of,
    status_in,
)  # fmt: skip
from .failover import Failover
from .headers import mask_secrets
from .mask import mask_of
from .offload import LARGE_BYTES
from .outgoing import Outgoing, can_send_again, embedding_for, large_embedding_for, outgoing_for, relay_call
from .request import JSON_TYPE, RequestContext, dump_json
from .services import Services
from .streaming import Headers
from .upstream import Upstream, read_error

ESTIMATED = ("x-llm-router-estimated", "tokens")  # beside a count that no tokenizer made; wire/token_estimate says how far off
# Of an answer of embeddings: it is flat, and no other object there is called so.
USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*\})')


def estimated_tokens(usage: ir.Usage | None, answer: Mapping[str, Any], protocol: str) -> float:
    """The estimated tokens of an answer; 0 where it reports its usage."""
    return weight(answer.get(SPECS[protocol].answer_field)) if usage is None else 0.0


def embeddings_usage(data: bytes, protocol: str) -> ir.Usage | None:
    """What an answer of embeddings says that it used, found without reading its numbers by the thousand."""
    found = USAGE.search(data)
    try:
        return wire(protocol).usage_in({"usage": json.loads(found[1])}) if found else None
    except ValueError:
        return None


def with_alias(context: RequestContext, data: bytes) -> bytes:
    """The caller's name of the model in the answer, where that is wanted."""
    renaming = renaming_of(context)
    return data if renaming is None else renaming.whole(data)


class PlainAnswers:
    """What is read whole before anything of it goes out."""

    def __init__(self, services: Services, upstream: Upstream, failover: Failover) -> None:
        self._clock, self._upstream, self._failover, self._services = services.clock, upstream, failover, services

    async def chat(self, context: RequestContext) -> tuple[Headers, bytes]:
        return await self._failover.answer(context, partial(self._chat, context))

    async def _chat(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """Send, then relay or convert."""
        outgoing, headers, data = await self._fetch_chat(context, attempt)
        if len(data) > LARGE_BYTES and not (context.conversation is not None and context.conversation.keeps):
            return await self._large(context, attempt, outgoing, headers, data)
        answer, record, own = parse_or_none(data), context.record, wire(context.call.protocol)
        api = outgoing.candidate.provider.api
        if answer is None and looks_streamed(data):
            return self._assemble(context, outgoing, data)
        answer = answer if answer is not None else parse_answer(data, outgoing.candidate.name)
        if is_error(answer):
            raise read_error(outgoing, status_in(answer), {}, data)
        check_answer(answer, outgoing.candidate, record)
        self._came(context, attempt, outgoing, answer.get(SPECS[api].model_field))
        if outgoing.request is None:
            record.usage, record.finish = own.usage_in(answer), own.finish_in(answer)
            context.answer_tokens = estimated_tokens(record.usage, answer, context.call.protocol)
            note_unmet(context, answer)
            if context.conversation is not None:
                context.conversation.keep(renamed(answer, context.alias), outgoing.candidate, outgoing.key)
            return headers, with_alias(context, mask_secrets(data.removeprefix(MARK), outgoing.candidate))
        result = read_answer(answer, outgoing.candidate)
        context.answer_tokens = estimated_tokens(result.usage, answer, api)
        return self._write(context, result, outgoing.request)

    def _came(self, context: RequestContext, attempt: Attempt, outgoing: Outgoing, model: object) -> None:
        """`model`: that the answer says it comes from."""
        if context.plan is not None:  # a lone model is never compared
            attempt.mark_output(self._clock())
        self._services.check_model(outgoing.candidate, model)
        context.record.answered_by = model if isinstance(model, str) else ""

    async def _large(
        self, context: RequestContext, attempt: Attempt, outgoing: Outgoing, headers: Headers, data: bytes
    ) -> tuple[Headers, bytes]:  # fmt: skip
        """The same of an answer that is read in a worker process, where it holds up no other request."""
        from .large_answers import Reading  # what it needs is for the workers

        candidate, record, request = outgoing.candidate, context.record, outgoing.request
        secrets = tuple(secret.reveal() for secret in candidate.provider.secrets)
        how = Reading(context.call.protocol, candidate.provider.api, request, context.demands, tuple(record.lost), secrets,
                      int(unix_s()), bool(candidate.provider.quirks.get("think_tags")), context.alias)  # fmt: skip
        said, made = await self._services.offload.once(data, "answer", how)
        if said.kind == "streamed":
            return self._assemble(context, outgoing, data)
        if said.kind == "unreadable":
            raise no_object(candidate.name)
        if said.kind == "error":
            raise read_error(outgoing, said.status, {}, data)
        if said.flaw is not None:
            raise broken(said.flaw, said.usage, candidate, record)
        self._came(context, attempt, outgoing, said.model)
        record.usage, record.finish, context.answer_tokens = said.usage, said.finish, said.tokens
        record.lost[:] = said.lost
        add_unmet(record.lost, said.unmet)
        return (headers if request is None else [JSON_TYPE]), made

    async def _fetch_chat(self, context: RequestContext, attempt: Attempt) -> tuple[Outgoing, Headers, bytes]:
        """In another form where the upstream refuses the first."""
        context.converted = self._services.converted
        outgoing = await outgoing_for(context, attempt)
        try:
            return outgoing, *await self._upstream.fetch(outgoing)
        except GatewayError as error:
            if not can_send_again(context, outgoing, error):
                raise
        outgoing = await outgoing_for(context, attempt)
        headers, data = await self._upstream.fetch(outgoing)
        self._services.learn_converted(context.converts_for)
        return outgoing, headers, data

    def _assemble(self, context: RequestContext, outgoing: Outgoing, data: bytes) -> tuple[Headers, bytes]:
        """Events that came where none were wanted, as the answer that they make."""
        result = assemble(data, outgoing.candidate)
        return self._write(context, result, outgoing.request or request_of(context, context.record.asked, None))

    def _write(self, context: RequestContext, result: ir.Answer, request: ir.Request) -> tuple[Headers, bytes]:
        """In the caller's protocol."""
        note_unmet(context, result)
        written = self._written(context, result, request)
        context.record.finish = wire(context.call.protocol).finish_in(written)
        if context.conversation is not None:
            context.conversation.keep(written)
        secrets = context.candidate.provider.secrets if context.candidate is not None else ()
        return [JSON_TYPE], mask_of(secrets)(dump_json(written))

    def _written(self, context: RequestContext, result: ir.Answer, request: ir.Request) -> dict[str, Any]:
        """A neutral answer in the caller's protocol."""
        context.record.usage = result.usage
        result = result if result.created else replace(result, created=int(unix_s()))
        result = replace(result, model=context.alias) if context.alias else result
        written: dict[str, Any] = wire(context.call.protocol).write_answer(result, request, context.record.lost)
        return written

    async def compact(self, context: RequestContext) -> tuple[Headers, bytes]:
        """A conversation as what must be known of it."""
        return await self._failover.answer(context, partial(self._compact, context))

    async def _compact(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """By an upstream that has such a call in the caller's protocol, else a summary that the model writes."""
        candidate = attempt.candidate.speaking(context.call.protocol)
        if relay_call(context.call.protocol, candidate, "compact", stream=False):
            try:
                headers, data = await self._upstream.fetch(await outgoing_for(context, attempt, "compact"))
                context.record.usage = wire(context.call.protocol).usage_in(parse_or_none(data) or {})
                return headers, data
            except GatewayError as error:
                if error.status not in (404, 405):
                    raise  # compatible servers often lack this call
        compaction = wire(context.call.protocol).compaction
        fields = compaction.compact_request(context.fields)
        outgoing = await outgoing_for(context, attempt, "summary", fields)
        if outgoing.request is None:
            raise RuntimeError("a summary is converted, never relayed")
        _, data = await self._upstream.fetch(outgoing)
        result = read_answer(parse_answer(data, candidate.name), outgoing.candidate)
        written = self._written(context, result, outgoing.request)
        return [JSON_TYPE], dump_json(compaction.compaction_response(written, fields["input"]))

    async def count(self, context: RequestContext) -> tuple[Headers, bytes]:
        return await self._failover.answer(context, partial(self._count, context))

    async def _count(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        """By an upstream that counts, in the caller's protocol or converted; else an estimate, marked as one."""
        provider = attempt.candidate.speaking(context.call.protocol).provider
        own, is_same = wire(context.call.protocol), provider.api == context.call.protocol
        if "count" in provider.paths:
            try:
                headers, data = await self._upstream.fetch(await outgoing_for(context, attempt, "count"))
                if is_same:
                    return headers, data
                found = parse_answer(data, attempt.candidate.name).get(UPSTREAMS[provider.api].counted)
                if isinstance(found, int) and is_count(found):
                    return [JSON_TYPE], dump_json(own.write_count(found))
            except GatewayError as error:
                if is_same and error.status != 404:
                    raise  # compatible servers often lack this call: an estimate serves better than a refusal
        attempt.end(self._clock())  # nothing was sent, or nothing was learnt
        context.record.lost.clear()
        return [JSON_TYPE, ESTIMATED], dump_json(own.write_count(context.input_tokens))

    async def embeddings(self, context: RequestContext) -> tuple[Headers, bytes]:
        """Of texts; the answer in the form that the caller's protocol and its body want."""
        spec, wanted = SPECS[context.call.protocol], context.fields
        if "embeddings" in spec.carried and context.large is not None:
            await context.large.carry(context.call.protocol)
            context.body = context.large.head_body
        elif "embeddings" in spec.carried:
            context.body = read_body(dump_json(spec.embeddings_request(wanted)))
        headers, data = await self._failover.answer(context, partial(self._embeddings, context))
        if len(data) > LARGE_BYTES and spec.reshapes(wanted):
            data = (await self._services.offload.once(data, "form", context.call.protocol, dict(wanted)))[1]
            return headers, with_alias(context, data)
        return headers, with_alias(context, spec.embeddings(data, wanted))

    async def _embeddings(self, context: RequestContext, attempt: Attempt) -> tuple[Headers, bytes]:
        candidate, call = attempt.candidate, context.call.action or "embeddings"
        check_key(candidate)
        if relay_call(context.call.protocol, candidate, call, stream=False):
            headers, data = await self._upstream.fetch(await outgoing_for(context, attempt, call))
            context.record.usage = embeddings_usage(data, candidate.provider.api)
            return headers, data
        carrier = SPECS[context.call.protocol].carried.get("embeddings", (context.call.protocol, ""))[0]
        own, action = vectors(carrier), context.call.action
        if context.large is not None:
            outgoing = await large_embedding_for(context, attempt, context.large, (carrier, action))
        else:
            outgoing = await embedding_for(context, attempt, own.read_texts(context.fields, action))
        _, data = await self._upstream.fetch(outgoing)
        if len(data) > LARGE_BYTES:
            return await self._large_vectors(context, outgoing, data, carrier)
        answer = parse_answer(data, candidate.name)
        if is_error(answer):
            raise read_error(outgoing, status_in(answer), {}, data)
        found = vectors(candidate.provider.api).read_vectors(answer)
        if found.tokens is not None:
            context.record.usage = ir.Usage(input=found.tokens)
        return [JSON_TYPE], dump_json(own.write_vectors(found, context.record.asked, action))

    async def _large_vectors(
        self, context: RequestContext, outgoing: Outgoing, data: bytes, carrier: str
    ) -> tuple[Headers, bytes]:  # fmt: skip
        """Many vectors, in a worker process."""
        candidate, record = outgoing.candidate, context.record
        how = (candidate.provider.api, carrier, record.asked, context.call.action)
        said, made = await self._services.offload.once(data, "rewrite", *how)
        if said.kind == "unreadable":
            raise no_object(candidate.name)
        if said.kind == "error":
            raise read_error(outgoing, said.status, {}, data)
        record.usage = said.usage or record.usage
        return [JSON_TYPE], made
