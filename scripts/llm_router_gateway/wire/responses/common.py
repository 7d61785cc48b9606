"""What readers and writers of the Responses protocol share: field names, ids, usage, errors.

    item_id("resp_abc", "msg", 2) -> "msg_abc_2"      an item's id names its answer

Shapes are those of OpenAI's SDK (openai 3.57, openai.types.responses) and of what its API was seen to send.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from ...errors import GatewayError
from .. import ir
from ..error_bodies import error_body
from ..fields import compact
from ..names import mint_id, short_hash
from ..shapes import EMPTY, Shape, both, knows_below, unread_details, with_unread
from ..sound import cost_in
from .shapes import COUNTED, USAGE

OWN = "responses"
OPENAI = "openai"  # whose files, signatures and fields are the same in chat completions
ENCRYPTED = "reasoning.encrypted_content"  # of `include`
LOGPROBS = "message.output_text.logprobs"

# The vendors' words for how fast and dear -> OpenAI's.
TIERS = {"auto": "auto", "default": "default", "standard_only": "default", "standard": "default", "flex": "flex",
         "priority": "priority", "scale": "scale", "fast": "fast", "ultrafast": "ultrafast"}  # fmt: skip

# ------------------------------------------------------------------------------------------------------------------- fields


def own(fields: Mapping[str, Any], known: Shape) -> ir.Extras:
    """The fields that have no neutral place, under our name; null, false and empties say nothing.

    own({"type": "function", "name": "f", "defer_loading": True}, TOOL) -> {"responses": {"defer_loading": True}}
    """
    if known.fields.issuperset(fields):
        return ir.NOTHING if known.is_leaf or knows_below(known, fields) else with_unread(ir.NOTHING, fields, known)
    stated = {name: value for name, value in fields.items() if name not in known.fields and value is not False}
    rest = {name: value for name, value in stated.items() if value not in EMPTY}
    return with_unread({OWN: rest} if rest else ir.NOTHING, fields, known)


def own_fields(extras: ir.Extras) -> dict[str, Any]:
    """Our own fields of extras, to be put back."""
    return dict(extras.get(OWN, ir.NOTHING))


def count(fields: Any, name: str) -> int:
    """A count in `fields`; 0 if there is none."""
    value = fields.get(name) if isinstance(fields, dict) else None
    if type(value) is int:  # as they come
        return max(value, 0)
    if isinstance(value, (int, float)) and value is not True and 0 < value < math.inf:  # 1e999 is inf
        return int(value)
    return 0


# --------------------------------------------------------------------------------------------------------------------- ids

# The kinds of items, as OpenAI begins their ids.
MESSAGE, REASONING, CALL, CUSTOM_CALL, IMAGE, SEARCH, COMPACTION = "msg", "rs", "fc", "ctc", "ig", "ws", "cmp"
RESPONSE = "resp_"


def response_id(text: str, *facts: object) -> str:
    """An id for an answer, made from the upstream's own; the same for the same facts.

    response_id("chatcmpl-1", "m") -> "resp_" and 24 letters and digits;  response_id("resp_a") -> "resp_a"
    """
    if re.fullmatch(r"resp_[A-Za-z0-9_-]+", text):
        return text
    return RESPONSE + mint_id(text, *facts).rpartition("_")[2] + short_hash(text)[:4]


def item_id(of_response: str, kind: str, index: int) -> str:
    """The id of an answer's item: item_id("resp_abc", "msg", 2) -> "msg_abc_2"."""
    return f"{kind}_{of_response.removeprefix(RESPONSE).replace('_', '-')}_{index}"


# ------------------------------------------------------------------------------------------------------------------- usage


def read_usage(usage: Any) -> ir.Usage | None:
    """A usage object -> disjoint classes; None where it says nothing.

    {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7,
     "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 17} -> Usage(input=6, cache_read=4, text=2, reasoning=5)
    """
    if not isinstance(usage, dict) or not ("input_tokens" in usage or "output_tokens" in usage):
        return None
    before, after = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    prompt, output = count(usage, "input_tokens"), count(usage, "output_tokens")
    read = min(prompt, count(before, "cached_tokens"))
    written = min(prompt - read, count(before, "cache_write_tokens"))
    reasoning = min(output, count(after, "reasoning_tokens"))
    return ir.Usage(
        prompt - read - written, read, written, 0, output - reasoning, reasoning, cost_in(usage),
        both(own(usage, USAGE), unread_details(usage, COUNTED)),
    )  # fmt: skip


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """What a relayed answer says of its usage."""
    return read_usage(answer.get("usage"))


def write_usage(usage: ir.Usage) -> dict[str, Any]:
    """Always whole: clients fail on details that are null, and one of them invents what is missing."""
    written = usage.cache_write + usage.cache_write_1h
    made: dict[str, Any] = {
        "input_tokens": usage.total_input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": written},
        "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }  # fmt: skip
    return made | ({"cost": usage.cost} if usage.cost is not None else {}) | own_fields(usage.extras)


def write_count(tokens: int) -> dict[str, Any]:
    """The answer of POST /v1/responses/input_tokens."""
    return {"object": "response.input_tokens", "input_tokens": tokens}


# ------------------------------------------------------------------------------------------------------- the end of a stream

FAILURES = {"context_length_exceeded": "context_length_exceeded", "rate_limited": "rate_limit_exceeded",
            "no_credit": "insufficient_quota"}  # fmt: skip


def failure_of(error: GatewayError) -> dict[str, Any]:
    """`error` of a failed response. Codex acts on the code, and reads the seconds to wait from the words.

    RateLimited("slow down", retry_after_s=1.5)
        -> {"code": "rate_limit_exceeded", "message": "slow down. Please try again in 1.5s."}

    Everything of status 500 and more is "server_error": Codex tries that again, and ends at "server_is_overloaded".
    """
    code = FAILURES.get(error.code) or ("server_error" if error.status >= 500 else "invalid_prompt")
    message = error.message
    if code == "rate_limit_exceeded" and error.retry_after_s is not None and "try again in" not in message:
        message = f"{message.rstrip('. ')}. Please try again in {error.retry_after_s:g}s."
    return {"code": code, "message": message}


def event_bytes(name: str, fields: Mapping[str, Any]) -> str:
    """One event."""
    return f"event: {name}\ndata: {compact(fields)}\n\n"


def failure_events(response: Mapping[str, Any], sequence: int, error: GatewayError, stated: Collection[str] = ()) -> bytes:
    """The last two events of a stream that broke: response.failed, then a nested error; without those in `stated`.

    Codex reads the first alone, agent-framework, agno and haystack only the second: together they reach every client.
    """
    out = ""
    if "response.failed" not in stated:
        failed = {**response, "status": "failed", "error": failure_of(error)}
        out += event_bytes("response.failed", {"type": "response.failed", "sequence_number": sequence, "response": failed})
        sequence += 1
    if "error" not in stated:
        out += event_bytes("error", {"type": "error", "sequence_number": sequence, **error_body(error)})
    return out.encode("utf-8", "backslashreplace")


def bare_response(id: str, model: str = "", created: int = 0) -> dict[str, Any]:
    """A response of which nothing more is known, with all that clients cannot do without."""
    return {
        "id": id, "object": "response", "created_at": created, "status": "in_progress", "error": None,
        "incomplete_details": None, "model": model, "output": [], "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": [], "usage": None,
    }  # fmt: skip


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The end of a stream of which nothing is known; StreamWriter.failure and Scanner.failure tell more."""
    return failure_events(bare_response(response_id(request_id)), 0, error)
