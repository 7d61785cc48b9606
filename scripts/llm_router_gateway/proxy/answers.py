"""What an upstream's answer is: a success or an error, JSON or a stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import BadRequest, GatewayError, Unavailable, UpstreamFailed
from ..json_body import WHITE, read_any
from ..net.client import Response
from ..routing.resolve import Candidate
from ..wire import ir
from ..wire.demands import Demands
from ..wire.error_bodies import error_beside, error_in, status_of
from ..wire.losses import name_lost
from ..wire.pipes import MARK
from ..wire.registry import SPECS, wire
from ..wire.renaming import Renaming
from ..wire.think_tags import ThinkTags
from ..wire.unmet import Seen, seen_in, unmet
from .request import Record, RequestContext


def check_key(candidate: Candidate) -> None:
    provider = candidate.provider
    if provider.needs_key and not provider.keys:
        raise Unavailable(f"{candidate.name}: {provider.name} has no key: set {provider.key_hint}", code="no_key")


def parse_answer(data: bytes, name: str) -> dict[str, Any]:
    """An upstream's JSON object; UpstreamFailed when it is none."""
    value = parse_or_none(data)
    if value is None:
        raise no_object(name)
    return value


def no_object(name: str) -> UpstreamFailed:
    return UpstreamFailed(f"{name}: the upstream answered with something that is not a JSON object; check base_url")


def parse_or_none(data: bytes) -> dict[str, Any] | None:
    try:
        if not data.startswith((b'{"', b"{\n")):  # it may be in another encoding than UTF-8: json looks at it
            value = json.loads(data)
            return value if isinstance(value, dict) else None
        text = data.decode("utf-8", "surrogatepass")
        value, end = read_any(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    return None if text[end:].strip(WHITE) else value


def splits_thoughts(candidate: Candidate) -> bool:
    """Whether an upstream's thoughts stand in tags among its text."""
    return bool(candidate.provider.quirks.get("think_tags"))


def stream_reader(api: str, splits: bool) -> Any:
    """What reads an upstream's events."""
    reader = wire(api).StreamReader()
    return ThinkTags(reader) if splits else reader


def with_alias_name(answer: Mapping[str, Any], alias: str, name: str = "model") -> Mapping[str, Any]:
    """An answer with the caller's name of the model, where that is wanted and the answer names one."""
    return {**answer, name: alias} if alias and name in answer else answer


def renaming_of(context: RequestContext) -> Renaming | None:
    """Of a whole answer in the caller's protocol that passes."""
    return Renaming(context.alias, ((SPECS[context.call.protocol].model_field,),)) if context.alias else None


def is_error(answer: Mapping[str, Any]) -> bool:
    """An error under status 200, perhaps beside an answer or in a part of it: some servers and proxies send that."""
    return bool(answer.get("error") or answer.get("object") == "error" or error_beside(answer))


def status_in(answer: Mapping[str, Any]) -> int:
    """The status that such an error names itself, else 502."""
    return status_of(error_in(answer))


def is_event_stream(response: Response) -> bool:
    return media_type(response.header("content-type")) == "text/event-stream"


def media_type(content_type: str) -> str:
    """media_type("Application/JSON; charset=utf-8") -> "application/json" """
    return content_type.partition(";")[0].strip().lower()


def broken_answer(flaw: GatewayError, usage: ir.Usage | None, candidate: Candidate, record: Record) -> GatewayError:
    """A flaw with its model's name. The answer is paid all the same."""
    record.usage, flaw.message = usage, f"{candidate.name}: {flaw.message}"
    return flaw


def note_unmet(context: RequestContext, answer: Mapping[str, Any] | ir.Answer | Seen | None) -> None:
    """Names what the request demanded of its answer and did not get, beside what was lost of it."""
    demands, lost = context.demands, context.record.lost
    if demands is None or answer is None:
        return
    if isinstance(answer, Mapping):
        add_unmet(lost, unmet_in(demands, context.call.protocol, answer))
    else:
        add_unmet(lost, unmet(demands, seen_in(answer) if isinstance(answer, ir.Answer) else answer))


def unmet_in(demands: Demands, protocol: str, answer: Mapping[str, Any]) -> list[str]:
    """Of a relayed answer."""
    try:
        return unmet(demands, seen_in(wire(protocol).read_answer(answer)))
    except GatewayError:
        return []  # it is passed on unread


def add_unmet(lost: list[str], names: Iterable[str]) -> None:
    known = {name.partition("=")[0] for name in lost}
    for name in names:
        if name.partition("=")[0] not in known:  # else the upstream was not sent it
            name_lost(lost, name)


def request_of(context: RequestContext, model: str, stream: bool | None) -> ir.Request:
    """The request by which an answer to a relayed request is written, if it has to be rewritten after all."""
    more = context.conversation.reading if context.conversation is not None else {}
    try:
        return wire(context.call.protocol).read_request(context.fields, model=model, stream=stream, **more)
    except BadRequest:
        if context.large is None:
            raise
        return ir.Request(model, (), stream=bool(stream))  # of a large body only the head is here


def looks_streamed(data: bytes) -> bool:
    """Whether a body is server-sent events, whatever its content-type says."""
    return data.removeprefix(MARK).lstrip()[:6].startswith((b"data:", b"event:", b":"))


class EventCollector:
    """A writer for ConvertPipe that keeps the neutral events."""

    def __init__(self) -> None:
        self.collector = ir.Collector()

    def feed(self, event: ir.StreamEvent) -> bytes:
        self.collector.feed(event)
        return b""
