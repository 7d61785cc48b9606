"""A whole answer of an upstream: what is known of it, and its bytes in the caller's protocol, without the gateway's keys.

    said, made = await receive(services, context, outgoing, data)            relayed or converted
    said, made = await receive(services, context, outgoing, data, replay)    as the stream that was requested

`answer`, `assemble`, `replay`, `check` and `rewrite` do the work. They are pure: a worker process does it where the answer is
large, so that it holds up no other request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import time as unix_s
from typing import Any, NamedTuple

from ..config.kinds import Secret
from ..errors import GatewayError
from ..wire import ir
from ..wire.demands import Demands
from ..wire.error_bodies import stated_error
from ..wire.pipes import MARK, ConvertPipe
from ..wire.registry import SPECS, vectors, wire
from ..wire.renaming import Renaming
from ..wire.think_tags import split_answer
from ..wire.token_estimate import weight
from ..wire.unmet import seen_in, unmet
from ..wire.verdict import EMPTY
from .answers import (
    EventCollector,
    add_unmet,
    broken_answer,
    is_error,
    looks_streamed,
    no_object,
    parse_or_none,
    request_of,
    splits_thoughts,
    status_in,
    stream_reader,
    unmet_in,
    with_alias_name,
)  # fmt: skip
from .conversations import HERE, Conversation, place_of
from .headers import mask_secrets
from .mask import mask_of
from .offload import is_large
from .outgoing import Outgoing
from .request import RequestContext, dump_json
from .services import Services
from .upstream import read_error


class Said(NamedTuple):
    """What is known of an answer."""

    kind: str  # answer; error: a status of 200 over one; flawed; streamed: events; unreadable
    flaw: GatewayError | None = None
    status: int = 0  # that an error names itself
    model: Any = None  # that the answer comes from, as it says
    usage: ir.Usage | None = None
    finish: ir.Stop | str = ""
    tokens: float = 0.0  # estimated, where there is no usage
    lost: tuple[str, ...] = ()
    answer: Mapping[str, Any] | bytes | None = None  # in the caller's protocol, to be kept; a worker gives its bytes
    is_relayed: bool = False


class Reading(NamedTuple):
    """What an answer is read and written by."""

    protocol: str  # the caller's
    api: str  # the upstream's
    request: ir.Request | None  # None: it is relayed
    demands: Demands | None
    lost: tuple[str, ...]  # before
    secrets: tuple[Secret, ...]  # of the provider
    now_s: int
    splits: bool = False  # thoughts stand in tags among the text: see wire/think_tags
    relays: bool = False  # to `replay`: the answer is in the caller's protocol already
    array: bool = False  # to `replay`: the stream is one JSON array
    alias: str = ""  # the model's name that the answer is to have; "" for the upstream's own


def answer(data: bytes, how: Reading) -> tuple[Said, bytes]:
    """Relayed or converted."""
    fields = parse_or_none(data)
    if fields is None:
        return Said("streamed" if looks_streamed(data) else "unreadable"), b""
    wrong = judge(fields, how.api)
    if wrong is not None:
        return wrong, b""
    if how.request is not None:
        result = wire(how.api).read_answer(fields)
        return convert(fields, split_answer(result) if how.splits else result, how, fields.get(SPECS[how.api].model_field))
    own, lost, spec = wire(how.protocol), how.lost, SPECS[how.protocol]
    if how.demands is not None:
        added = list(lost)
        add_unmet(added, unmet_in(how.demands, how.protocol, fields))
        lost = tuple(added)
    usage = own.usage_in(fields)
    tokens = weight(fields.get(spec.answer_field)) if usage is None else 0.0
    model, finish = fields.get(SPECS[how.api].model_field), own.finish_in(fields)
    kept: Mapping[str, Any] = fields
    made = mask_of(how.secrets)(data.removeprefix(MARK))
    if how.alias:
        kept = with_alias_name(fields, how.alias, spec.model_field)
        made = Renaming(how.alias, ((spec.model_field,),)).whole(made)
    return Said("answer", None, 0, model, usage, finish, tokens, lost, kept, True), made


def judge(fields: Mapping[str, Any], api: str) -> Said | None:
    """Why it is no answer; None for one."""
    if is_error(fields):
        return Said("error", status=status_in(fields))
    codec = wire(api)
    flaw = codec.flaw_in(fields)
    if flaw is not None and flaw.code == EMPTY and stated_error(fields):
        return Said("error", status=status_in(fields))  # without a field `error`
    if flaw is not None:
        return Said("flawed", flaw, usage=codec.usage_in(fields))
    return None


def convert(fields: Mapping[str, Any], result: ir.Answer, how: Reading, model: Any) -> tuple[Said, bytes]:
    """A neutral answer in the caller's protocol; `fields`: as the upstream gave it; `model`: that it comes from."""
    if how.request is None:
        raise RuntimeError("an answer is written by its request")
    lost, own = list(how.lost), wire(how.protocol)
    if how.demands is not None:
        add_unmet(lost, unmet(how.demands, seen_in(result)))
    result = result if result.created else replace(result, created=how.now_s)
    result = replace(result, model=how.alias) if how.alias else result
    made = own.write_answer(result, how.request, lost)
    tokens = weight(fields.get(SPECS[how.api].answer_field)) if result.usage is None else 0.0
    said = Said("answer", None, 0, model, result.usage, own.finish_in(made), tokens, tuple(lost), made)
    return said, mask_of(how.secrets)(dump_json(made))


def assemble(data: bytes, how: Reading) -> tuple[Said, bytes]:
    """Events that came where none were wanted, as the answer that they make; what is wrong with them is raised."""
    writer = EventCollector()
    pipe = ConvertPipe(stream_reader(how.api, how.splits), writer)
    pipe.feed(data)
    if pipe.error is None:
        pipe.close()
    if pipe.error is not None:
        raise pipe.error
    return convert(ir.NOTHING, writer.collector.answer(), how, pipe.model or None)


def replay(data: bytes, how: Reading) -> tuple[Said, bytes]:
    """A whole answer that came in the place of a stream, as the stream that was requested."""
    fields, own, lost = parse_or_none(data), wire(how.protocol), list(how.lost)
    if fields is None:
        return Said("unreadable"), b""
    wrong = judge(fields, how.api)
    if wrong is not None:
        return wrong, b""
    result = wire(how.protocol if how.relays else how.api).read_answer(fields)
    result = split_answer(result) if how.splits and not how.relays else result
    if how.demands is not None:
        add_unmet(lost, unmet(how.demands, seen_in(result)))
    writer = own.StreamWriter(how.request, lost=lost, array=how.array)
    result = replace(result, model=how.alias) if how.alias else result
    stream = b"".join(map(writer.feed, ir.events_of(result)))
    tokens = weight(fields.get(SPECS[how.api].answer_field)) if result.usage is None else 0.0
    kept = writer.response() if SPECS[how.protocol].keeps_answers else None
    model = fields.get(SPECS[how.api].model_field)
    said = Said("answer", None, 0, model, result.usage, "", tokens, tuple(lost), kept)
    return said, mask_of(how.secrets)(stream)


def check(data: bytes, api: str) -> tuple[Said, bytes]:
    """What is relayed unread: whether it is an answer, and what it used."""
    fields = parse_or_none(data)
    if fields is None:
        return Said("unreadable"), b""
    if is_error(fields):
        return Said("error", status=status_in(fields)), b""
    return Said("answer", usage=wire(api).usage_in(fields)), b""


def rewrite(data: bytes, api: str, carrier: str, model: str, action: str) -> tuple[Said, bytes]:
    """Vectors of an upstream as the caller's protocol has them."""
    fields = parse_or_none(data)
    if fields is None:
        return Said("unreadable"), b""
    if is_error(fields):
        return Said("error", status=status_in(fields)), b""
    found = vectors(api).read_vectors(fields)
    usage = None if found.tokens is None else ir.Usage(input=found.tokens)
    return Said("answer", usage=usage), dump_json(vectors(carrier).write_vectors(found, model, action))


# --------------------------------------------------------------------------------------------------------- in the gateway


def reading_of(context: RequestContext, outgoing: Outgoing, *, anew: bool = False, array: bool = False) -> Reading:
    """`anew`: it is written even where the answer is in the caller's protocol."""
    candidate, request, record = outgoing.candidate, outgoing.request, context.record
    if anew and request is None:
        request = request_of(context, record.asked, record.stream or None)
    return Reading(
        context.call.protocol, candidate.provider.api, request, context.demands, tuple(record.lost), candidate.provider.secrets,
        int(unix_s()), splits_thoughts(candidate), outgoing.request is None, array, context.alias,
    )  # fmt: skip


async def receive(
    services: Services, context: RequestContext, outgoing: Outgoing, data: bytes,
    work: Callable[[bytes, Reading], tuple[Said, bytes]] = answer, *, array: bool = False,
) -> tuple[Said, bytes]:  # fmt: skip
    """What `work` makes of an answer, which goes on the record; an error if it is not one."""
    candidate, record = outgoing.candidate, context.record
    how = reading_of(context, outgoing, anew=work is not answer, array=array)
    if is_large(len(data)):
        said, made = await services.offload.once(data, work.__name__, how)
    else:
        said, made = work(data, how)
    if said.kind == "streamed":
        return await receive(services, context, outgoing, data, assemble)
    if said.kind != "answer":
        raise_wrong(said, outgoing, data)
    if said.flaw is not None:
        raise broken_answer(said.flaw, said.usage, candidate, record)
    services.check_model(candidate, said.model)
    record.answered_by = said.model if isinstance(said.model, str) else ""
    record.usage, record.finish, context.answer_tokens = said.usage, said.finish, said.tokens
    record.lost[:] = said.lost
    return said, made


async def receive_relayed(services: Services, context: RequestContext, outgoing: Outgoing, data: bytes) -> bytes:
    """An answer that is no chat's, for a caller of the same protocol."""
    said, _ = await services.offload.work(data, check, outgoing.candidate.provider.api)
    raise_wrong(said, outgoing, data)
    context.record.usage = said.usage
    return mask_secrets(data, outgoing.candidate)


def raise_wrong(said: Said, outgoing: Outgoing, data: bytes) -> None:
    if said.kind == "unreadable":
        raise no_object(outgoing.candidate.name)
    if said.kind == "error":
        raise read_error(outgoing, said.status, {}, data)


def keep_answer(conversation: Conversation, said: Said, outgoing: Outgoing) -> None:
    """An upstream that gave an answer in the caller's own protocol knows it by its id."""
    place = place_of(outgoing.candidate, outgoing.key) if said.is_relayed else HERE
    conversation.keep(said.answer, outgoing.candidate.provider.secrets, place)
