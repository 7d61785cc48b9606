"""Anthropic Messages: its JSON and stream <-> the neutral request, answer and events of `ir`.

    read_request({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
        -> Request("m", (Message("user", (Text("hi"),)),), max_tokens=9)
    write_request(request, model="claude-sonnet-4-5", quirks={}, lost=lost)  -> the body; `lost` names what has no place in it
    read_answer, StreamReader: an upstream's answer -> ir;  write_answer, StreamWriter: ir -> the caller's answer

What the API demands and other protocols do not: max_tokens; turns of user and assistant by turns; results of tools first in
the turn after their calls, one for each; no blank text; signed thoughts or none. The writer makes it so.

Quirks, for what a server does differently (the defaults follow from the model's name, see `abilities`):

    max_tokens         sent when the caller gave none
    sampling           "both" (temperature and top_p), "one", "none"
    thinking           "none", "budget", "both", "adaptive": which of its two forms it takes; "always": adaptive, and never off
    effort             the words for output_config.effort, [] for none
    schema             "native" (output_config.format), "tool" (a tool that must be called), "prompt"
    strict             whether tools may say "strict"
    web_search         true: another vendor's search of the web becomes Anthropic's
    system_messages    true: role "system" further down in `messages` is taken
    unsigned_thinking  true: thoughts without a signature are taken back
    prefill            false: a conversation that ends with the assistant is refused; the model gets a request to go on instead
    repair             false: calls without result and results without call are sent as they are
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ...errors import GatewayError, of_status
from .. import ir
from ..fields import compact
from ..losses import name_lost, with_value
from ..retry_after import retry_after_s
from ..shapes import Shape, both, knows_below, unread_details, with_unread
from .shapes import COUNTED, USAGE

VENDOR = "anthropic"

SCHEMA_TOOL = "llm_router_answer"  # the answer's shape, where only a tool can demand one; its call is read as text
MIN_BUDGET = 1024  # thinking.budget_tokens: the API refuses less
MAX_ERROR_CHARS = 500  # of a body that is not JSON; the rest of an HTML page says nothing useful
NO_WORDS = "The tool failed and said nothing."
GO_ON = "Go on from exactly where your last message ends. Write only what comes next and repeat nothing of it."
EMPTY_TURN = "(The user said nothing.)"
BILLING = "x-anthropic-billing-header:"  # Claude Code's first system line: differs each time, so no prefix is ever cached

Block = dict[str, Any]
Lost = list[str]

STOP_REASON: Mapping[str, ir.Reason] = {
    "end_turn": "end", "max_tokens": "length", "stop_sequence": "stop_sequence", "tool_use": "tool_calls",
    "refusal": "refusal", "pause_turn": "pause", "model_context_window_exceeded": "context",
}  # fmt: skip
WIRE_STOP: Mapping[str, str] = {reason: native for native, reason in STOP_REASON.items()}

ERROR_STATUS: Mapping[str, int] = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip
ERROR_TYPE: Mapping[int, str] = {
    **{status: name for name, status in ERROR_STATUS.items()}, 408: "timeout_error", 503: "overloaded_error",
}  # fmt: skip


def own(fields: Mapping[str, Any], known: Shape) -> ir.Extras:
    """What has no neutral place: {"type": "text", "text": "a", "x": 1} -> {"anthropic": {"x": 1}}; null says nothing."""
    if known.fields.issuperset(fields):
        return ir.NOTHING if known.is_leaf or knows_below(known, fields) else with_unread(ir.NOTHING, fields, known)
    rest = {name: value for name, value in fields.items() if name not in known.fields and value is not None}
    return with_unread({VENDOR: rest} if rest else ir.NOTHING, fields, known)


def own_fields(extras: ir.Extras) -> dict[str, Any]:
    """The fields that go back to where they came from."""
    return {} if extras is ir.NOTHING else dict(extras.get(VENDOR, ir.NOTHING))


# -------------------------------------------------------------------------------------------------------------------- usage


def count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if type(value) is int and value > 0 else 0


def read_usage(fields: Mapping[str, Any]) -> ir.Usage:
    """{"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 7} -> Usage(input=6, cache_read=4, text=7)"""
    kept = fields.get("cache_creation")
    hour = count(kept, "ephemeral_1h_input_tokens")
    written = count(fields, "cache_creation_input_tokens") or hour + count(kept, "ephemeral_5m_input_tokens")
    hour = min(hour, written)
    output = count(fields, "output_tokens")
    thought = min(output, count(fields.get("output_tokens_details"), "thinking_tokens"))
    return ir.Usage(
        count(fields, "input_tokens"), count(fields, "cache_read_input_tokens"), written - hour, hour, output - thought,
        thought, extras=both(own(fields, USAGE), unread_details(fields, COUNTED)),
    )  # fmt: skip


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """Of a whole answer; None where it says nothing."""
    usage = answer.get("usage")
    return read_usage(usage) if isinstance(usage, dict) else None


TIERS = frozenset({"standard", "priority", "batch"})  # other vendors' words are not those of the SDKs' types


def write_tier(tier: str, lost: Lost) -> Block:
    """{"service_tier": ...} of an answer; nothing where the upstream said none."""
    stated = "standard" if tier == "default" else tier  # OpenAI's word for the same
    if stated in TIERS:
        return {"service_tier": stated}
    if tier and tier != "auto":
        name_lost(lost, with_value("service_tier", tier))
    return {}


def write_usage(usage: ir.Usage | None, estimate: int = 0) -> Block:
    """input_tokens without what came from or went to the cache; an estimate or zeros where nothing is known, for the SDKs
    demand numbers.
    """
    if usage is None:
        return {"input_tokens": estimate, "output_tokens": 0}
    out: Block = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }  # fmt: skip
    if usage.reasoning:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return {**out, **own_fields(usage.extras)}


# ------------------------------------------------------------------------------------------------------------------- errors


def error_of(fields: Mapping[str, Any], status: int, retry_s: float | None = None) -> GatewayError:
    """{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 200 -> Overloaded, status 529"""
    inner = fields.get("error")
    error = inner if isinstance(inner, dict) else {"message": inner or fields.get("message")}
    kind = str(error.get("type") or "")
    if status < 400:  # inside an answer that began well: only the type shows it
        status = ERROR_STATUS.get(kind, 502)
    details = {"type": kind} if kind else {}
    request_id = fields.get("request_id")
    if isinstance(request_id, str):
        details["request_id"] = request_id
    message = str(error.get("message") or kind or f"the upstream answered {status}")
    return of_status(status, message, retry_after_s=retry_s, details=details)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An upstream's refusal. Header names are in lower case."""
    retry_s = retry_after_s(headers)
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict) and (fields.get("error") or fields.get("message")):
        return error_of(fields, status, retry_s)
    stated = " ".join(body[: MAX_ERROR_CHARS * 4].decode("utf-8", "replace").split())[:MAX_ERROR_CHARS]
    return of_status(status if status >= 400 else 502, stated or f"the upstream answered {status}", retry_after_s=retry_s)


def error_body(error: GatewayError, request_id: str) -> Block:
    kind = ERROR_TYPE.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    stated: Block = {"type": kind, "message": error.message}
    facts = {name: error.details[name] for name in ("error_code", "unsupported") if name in error.details}
    if facts:
        stated["details"] = facts
    return {"type": "error", "error": stated, "request_id": request_id}


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], Block]:
    """(status, headers, body) for a caller."""
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
    return error.status, headers, error_body(error, request_id)


def event_bytes(name: str, fields: Mapping[str, Any]) -> bytes:
    """One event; the SDKs skip those without an `event:` line."""
    return f"event: {name}\ndata: {compact(fields)}\n\n".encode("utf-8", "backslashreplace")


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last event of a stream that broke."""
    return event_bytes("error", error_body(error, request_id))


def write_count(tokens: int) -> Block:
    return {"input_tokens": tokens}
