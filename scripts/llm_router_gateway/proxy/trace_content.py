"""The messages of request and answer, as attributes of spans: only if the configuration says so.

    content_of(context, 65_536)  -> Content({"gen_ai.input.messages": '[{"role": "user", ...}]', ...}, asked, answered)

Messages are JSON texts in the form of the conventions: {"role", "parts": [{"type", "content"}]}, an answer with its
`finish_reason`; some receivers show nothing else. Pictures and other media are named, never sent. What cannot be read, or is
too long, is left out: a span without content is better than one with half of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..telemetry.otlp import Attributes, Long
from ..wire import ir
from ..wire.pipes import ConvertPipe
from ..wire.registry import SPECS, wire
from .answers import EventCollector
from .recording import RecordedExchange

if TYPE_CHECKING:
    from .request import RequestContext

FINISH: Mapping[str, str] = {"end": "stop", "stop_sequence": "stop", "tool_calls": "tool_call", "refusal": "content_filter"}
KINDS = frozenset({"chat", "invoke"})


class Content(NamedTuple):
    """For the attempt, and as plain text for the whole call."""

    attributes: Attributes = ir.NOTHING
    question: str = ""
    answer: str = ""


def json_text(value: object) -> Long:
    return Long(json.dumps(value, ensure_ascii=False))


def part_object(part: ir.Part) -> dict[str, Any]:
    """part_object(Text("hi")) -> {"type": "text", "content": "hi"}"""
    if isinstance(part, ir.Text | ir.Refusal):
        return {"type": "text", "content": part.text}
    if isinstance(part, ir.Thinking):
        return {"type": "reasoning", "content": part.text}
    if isinstance(part, ir.ToolCall):
        arguments = part.arguments if part.arguments is not None else part.arguments_text
        return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": arguments}
    if isinstance(part, ir.ToolResult):
        return {"type": "tool_call_response", "id": part.id, "response": text_of(part.parts)}
    return {"type": "text", "content": f"[{part.kind}]"}


def text_of(parts: Iterable[ir.Part]) -> str:
    """The text in them, and the names of what is none."""
    return "\n".join(str(part_object(part).get("content", "")) for part in parts if not isinstance(part, ir.ToolCall))


def message_object(message: ir.Message) -> dict[str, Any]:
    is_tool = any(isinstance(part, ir.ToolResult) for part in message.parts)
    return {"role": "tool" if is_tool else message.role, "parts": [part_object(part) for part in message.parts]}


def request_content(request: ir.Request) -> dict[str, Long]:
    found = {"gen_ai.input.messages": json_text([message_object(message) for message in request.messages])}
    if request.system:
        found["gen_ai.system_instructions"] = json_text([part_object(part) for part in request.system])
    tools = [{"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
             for tool in request.tools if not tool.vendor]  # fmt: skip
    if tools:
        found["gen_ai.tool.definitions"] = json_text(tools)
    return found


def answer_content(candidates: Sequence[ir.Candidate]) -> Long:
    return json_text([{"role": "assistant", "parts": [part_object(part) for part in each.parts],
                    "finish_reason": FINISH.get(each.stop.reason, each.stop.reason)} for each in candidates])  # fmt: skip


def answer_in(context: RequestContext, data: bytes) -> ir.Answer | None:
    """The answer that the caller was sent, read back."""
    protocol = context.call.protocol
    if SPECS[protocol].upstream is None or context.call.array:
        return None
    codec = wire(protocol)
    if not context.record.stream:
        return codec.read_answer(json.loads(data))
    writer = EventCollector()
    pipe = ConvertPipe(codec.StreamReader(), writer)
    pipe.feed(data)
    if pipe.error is None:
        pipe.close()
    return writer.collector.answer() if pipe.error is None else None


def content_of(context: RequestContext, limit: int) -> Content:
    """Of a chat; empty where nothing can be said of it."""
    exchange = context.exchange
    if context.call.kind not in KINDS or context.large is not None or context.body is None:
        return Content()
    try:
        more = context.conversation.reading if context.conversation is not None else {}
        request = wire(context.call.protocol).read_request(context.fields, model=context.record.asked, stream=None, **more)
        found: dict[str, Long] = request_content(request)
        asked = text_of(request.messages[-1].parts) if request.messages else ""
    except Exception:  # whatever a caller sent: the answer does not depend on it
        return Content()
    answer = None
    try:
        data = exchange.response if isinstance(exchange, RecordedExchange) else b""
        if data and len(data) <= limit and not context.record.error:
            answer = answer_in(context, data)
    except Exception:  # half an answer
        answer = None
    if answer is not None:
        found["gen_ai.output.messages"] = answer_content(answer.candidates)
    answered = text_of(answer.candidates[0].parts) if answer is not None and answer.candidates else ""
    return Content(found, asked, answered)
