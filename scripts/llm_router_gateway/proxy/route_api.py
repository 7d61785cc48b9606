"""POST /route and /route/invoke: JSON values in, JSON values out; RouteCalls answers them.

    read_route_query({"query": {"tags": ["coding"]}, "request": {"prompt": "Hi", "parameters": {"temperature": 0}}})
        -> RouteQuery(query=Query(...), name="tag:coding", body={"model": "tag:coding", "messages": [...], "temperature": 0})
    invoke_response({"choices": [{"message": {"content": "Hello"}}]}, "openai/gpt-4.1", charge)
        -> {"model": "openai/gpt-4.1", "output_text": "Hello", "usage": {...}, "cost": 0.0012, "cost_source": "prices", ...}

The request is rewritten as a body of OpenAI's protocol, whatever the provider behind it speaks, and `raw` is an answer of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import BadRequest
from ..json_body import read_body
from ..policy.tag_query import TAG, Query, read_query
from ..wire.registry import DEFAULT, wire
from . import paths
from .answers import parse_answer
from .charges import Charge, sum_charges
from .failover import Failover
from .files import OwnedFiles
from .plain_answer import PlainAnswers
from .refusals import for_caller
from .request import Receive, RequestContext, dump_json
from .services import Services
from .stream_answer import StreamAnswers

PARTS = ("prompt", "messages", "parameters", "stream")
OURS = ("model", "messages", "stream")


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """A routing query and the request for its models."""

    name: str
    query: Query | None
    body: Mapping[str, Any]
    stream: bool = False


def bad_field(path: str, text: str) -> BadRequest:
    return BadRequest(f"{path} {text}", details={"path": path})


def read_route_query(document: Mapping[str, Any], *, needs_request: bool) -> RouteQuery:
    """A whole body of either call. {"model": ...} may stand for {"query": ...}, and names one model or group.

    What has neither `query` nor `request` is an ordinary request itself.
    """
    if "query" not in document and "request" not in document and not needs_request:
        return RouteQuery(requested_name(document), None, document, document.get("stream") is True)
    for field in document:
        if field not in ("query", "model", "request"):
            raise bad_field(field, "is unknown; use query, model or request")
    query = read_query(document["query"]) if "query" in document else None
    name = f"{TAG}{query}" if query else requested_name(document)
    body = read_request(document.get("request", {}), name, needs_request)
    return RouteQuery(name, query, body, body.get("stream") is True)


def requested_name(document: Mapping[str, Any]) -> str:
    name = document.get("model")
    if not isinstance(name, str) or not name:
        raise bad_field("query", "is missing, and so is model")
    return name


def read_request(request: object, name: str, needed: bool) -> dict[str, Any]:
    """The body in OpenAI's protocol."""
    if not isinstance(request, Mapping):
        raise bad_field("request", "is not an object")
    for field in request:
        if field not in PARTS:
            raise bad_field(f"request.{field}", f"is unknown; use {', '.join(PARTS)}")
    parameters, stream = request.get("parameters") or {}, request.get("stream", False)
    if not isinstance(parameters, Mapping):
        raise bad_field("request.parameters", "is not an object")
    for field in OURS:
        if field in parameters:
            raise bad_field(f"request.parameters.{field}", "has a field of its own, outside parameters")
    if not isinstance(stream, bool):
        raise bad_field("request.stream", "is not true or false")
    body = {"model": name, **messages_in(request, needed), **parameters}
    return {**body, "stream": True} if stream else body


def messages_in(request: Mapping[str, Any], needed: bool) -> dict[str, Any]:
    """The messages, or the one that a prompt is; the prompt comes last where both are given."""
    messages, prompt = request.get("messages"), request.get("prompt")
    if messages is not None and not isinstance(messages, list):
        raise bad_field("request.messages", "is not a list")
    if prompt is not None and not isinstance(prompt, str):
        raise bad_field("request.prompt", "is not a text")
    if needed and not messages and not prompt:
        raise bad_field("request", "holds neither prompt nor messages")
    last = [{"role": "user", "content": prompt}] if prompt else []
    return {"messages": [*(messages or ()), *last]} if messages or last else {}


# -------------------------------------------------------------------------------------------------------------- answers


def invoke_response(raw: Mapping[str, Any], served: str, charge: Charge | None) -> dict[str, Any]:
    """The answer of /route/invoke; what it cost is what the log has, marked in the same way."""
    usage, cost, source = charge or (None, None, "")
    tokens = {"input_tokens": usage.total_input, "output_tokens": usage.output} if usage else None
    return {"model": served, "output_text": text_of(raw), "usage": tokens, "cost": cost, "cost_source": source, "raw": raw}


def text_of(raw: Mapping[str, Any]) -> str:
    """All that the model said, without its calls and thoughts."""
    choices = raw.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return content if isinstance(content, str) else ""


def decision(explained: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of /route: the chosen member and why. No address, no key."""
    chosen = explained.get("chosen")
    provider = chosen.partition("/")[0] if isinstance(chosen, str) else None
    return {"model": chosen, "provider": provider, "explain": explained}


# ----------------------------------------------------------------------------------------------------------- the calls


class RouteCalls:
    """The two calls, answered."""

    def __init__(
        self, services: Services, failover: Failover, plain: PlainAnswers, streams: StreamAnswers,
        files: OwnedFiles, receive: Receive,
    ) -> None:  # fmt: skip
        """`receive` reads a body within the server's limits."""
        self._clock, self._failover, self._plain, self._streams = services.clock, failover, plain, streams
        self._files, self._receive = files, receive

    async def route(self, context: RequestContext) -> None:
        """Decides as a request would, and sends nothing."""
        read_call(context, await self._receive(context), needs_request=False)
        await self._files.look_up(context, self._files.names_in(context))
        context.call = replace(context.call, protocol=paths.protocol_of(context.exchange.path, context.headers))
        plan = self._failover.choose(context)
        answer = decision(plan.explain(self._clock()))
        if plan.healthy():
            await context.respond_json(answer)
            return
        error = for_caller(plan.refusal(self._clock()), context)
        context.record.error, context.record.message = error.code, error.message
        status, headers, body = wire(DEFAULT).write_error(error, context.record.request_id)
        await context.respond(status, list(headers), dump_json({**body, **answer}))

    async def invoke(self, context: RequestContext) -> None:
        """As a chat request with the same query would be answered; plain answers in a shape of their own."""
        read_call(context, await self._receive(context), needs_request=True)
        await self._files.look_up(context, self._files.names_in(context))
        if context.record.stream:
            await self._streams.answer(context)
            return
        _, data = await self._plain.chat(context)
        raw = parse_answer(data, context.record.served)
        await context.respond_json(invoke_response(raw, context.record.served, sum_charges(context.charges)))


def read_call(context: RequestContext, data: bytes, *, needs_request: bool) -> None:
    """The body of a routing call, rewritten as a chat request's."""
    body = read_body(data)
    wish = read_route_query(body.fields, needs_request=needs_request)
    context.body = body if wish.body is body.fields else read_body(dump_json(wish.body))
    context.record.asked, context.record.stream, context.tags = wish.name, wish.stream, wish.query
