"""ir.Answer -> the one object that ollama's clients read.

    {"model": "m", "created_at": "2023-11-14T22:13:20Z", "message": {"role": "assistant", "content": "Hi"}, "done": true, ...}

Every object has a message with a role and a content that is text, a date that is text, counts and durations that are whole:
without one of them some client ends in an error. /api/generate has `response` in place of the message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...errors import GatewayError
from .. import ir
from ..citations import lose_all_extras
from ..fields import compact
from ..losses import lose_counts, lose_part, lose_stop, lose_tier, name_lost
from ..names import own_names, pack_id
from ..tools import speaks_after_call

REASON: Mapping[str, str] = {
    **dict.fromkeys(("end", "stop_sequence", "tool_calls", "pause", "other"), "stop"), "length": "length", "context": "length",
    "refusal": "stop",
}  # fmt: skip
TOLD: frozenset[ir.Reason] = frozenset({"end", "tool_calls", "length"})  # all others look like one of these
UNCOUNTED = ("cache_read", "cache_write", "cache_write_1h", "reasoning", "cost")
SOME_TIME_NS = 1  # a duration that was not measured: strands divides by it
LAST_TIME = 253_402_300_799  # the end of the year 9999
OVERLOADED = 529  # Anthropic's own


def date_of(created: int) -> str:
    """Unix seconds as text: date_of(1_700_000_000) -> "2023-11-14T22:13:20Z"; what no calendar has is no time."""
    return datetime.fromtimestamp(created if 0 <= created <= LAST_TIME else 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def call_of(call: ir.ToolCall, names: Mapping[str, str], lost: list[str]) -> dict[str, Any]:
    """A call; its arguments are an object, as all of these clients demand."""
    arguments = call.arguments if call.arguments is not None else ir.object_in(call.arguments_text)
    if arguments is None:
        name_lost(lost, "tool_calls.arguments")
        arguments = {"input": call.arguments_text}
    return {"id": pack_id(call), "function": {"name": names.get(call.name, call.name), "arguments": arguments}}


def message_of(
    request: ir.Request, said: str = "", thought: str = "", calls: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """{"message": {...}} of a chat, {"response": ...} of a completion."""
    more = {"thinking": thought} if thought else {}
    if request.reply.echo.get("generates"):
        return {"response": said, **more}
    return {"message": {"role": "assistant", "content": said, **more, **({"tool_calls": calls} if calls else {})}}


def end_of(stop: ir.Stop, usage: ir.Usage | None, lost: list[str]) -> dict[str, Any]:
    """What the last object has beside its message."""
    lose_stop(stop, TOLD, lost)
    lose_counts(usage, "", lost, *UNCOUNTED)
    used = usage or ir.Usage()
    return {
        "done": True, "done_reason": REASON[stop.reason], "total_duration": SOME_TIME_NS, "load_duration": 0,
        "prompt_eval_count": used.total_input, "prompt_eval_duration": SOME_TIME_NS, "eval_count": used.output,
        "eval_duration": SOME_TIME_NS,
    }  # fmt: skip


def text_of(part: ir.Part, lost: list[str]) -> str:
    """What of a part that comes whole is text."""
    if isinstance(part, ir.Refusal) or (isinstance(part, ir.Opaque) and part.text):
        return part.text
    name_lost(lost, part.kind if isinstance(part, ir.Media | ir.Opaque) else "tool_result")
    return ""


def lose_signature(part: ir.Part, lost: list[str]) -> None:
    """Names what a vendor wants back of a text or a thought; of a call it goes in the id."""
    if isinstance(part, ir.Text | ir.Thinking) and (part.signature or (isinstance(part, ir.Thinking) and part.data)):
        name_lost(lost, "signature" if isinstance(part, ir.Text) else "thinking.signature")


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]:
    """The body that answers `request`: the first candidate, since the protocol has one."""
    if len(answer.candidates) > 1:
        name_lost(lost, "n")
    names, first = own_names(request.tools), answer.candidates[0]
    said = thought = ""
    calls = []
    for part in first.parts:
        lose_part(part, "", lost)
        lose_signature(part, lost)
        if isinstance(part, ir.Text):
            said += part.text
        elif isinstance(part, ir.Thinking):
            thought += part.text
        elif isinstance(part, ir.ToolCall):
            calls.append(call_of(part, names, lost))
        else:
            said += text_of(part, lost)
    if speaks_after_call(first.parts):
        name_lost(lost, "message.order")
    lose_all_extras(first, lost)
    lose_all_extras(answer, lost)
    lose_tier(answer.service_tier, lost)
    head = {"model": answer.model or request.model, "created_at": date_of(answer.created)}
    if calls and request.reply.echo.get("generates"):
        name_lost(lost, "tool_calls")
    return head | message_of(request, said, thought, calls) | end_of(first.stop, answer.usage, lost)


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    counts = [answer.get(name) for name in ("prompt_eval_count", "eval_count")]
    if not all(isinstance(each, int) for each in counts):
        return None
    return ir.Usage(max(0, counts[0] or 0), text=max(0, counts[1] or 0))


def finish_in(answer: Mapping[str, Any]) -> str:
    """Why a whole answer stopped."""
    return str(answer.get("done_reason") or "")


def write_count(tokens: int) -> dict[str, Any]:
    """Ollama has no such call."""
    return {"prompt_eval_count": tokens}


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
    """The error is a text, not an object."""
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
    return 503 if error.status == OVERLOADED else error.status, headers, {"error": error.message}


def error_event(error: GatewayError, request_id: str) -> bytes:
    """A line with an error is raised by every client."""
    return compact({"error": error.message}).encode("utf-8", "backslashreplace") + b"\n"
