"""ir.Answer -> the body of a text completion; what its parts become is the stream's business too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GatewayError, UpstreamFailed
from .. import ir
from ..citations import lose_all_extras
from ..error_bodies import error_body
from ..fields import compact
from ..losses import lose_counts, lose_stop, lose_tier, only_text
from ..names import mint_id

REASON: Mapping[str, str] = {
    **dict.fromkeys(("end", "stop_sequence", "tool_calls", "pause", "other"), "stop"), "length": "length", "context": "length",
    "refusal": "content_filter",
}  # fmt: skip


TOLD: frozenset[ir.Reason] = frozenset({"end", "length", "refusal", "tool_calls"})  # calls are named by themselves
UNCOUNTED = ("cache_write", "cache_write_1h", "cost")


def count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return int(value) if isinstance(value, (int, float)) and value is not True and 0 < value < math.inf else 0


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """What a relayed answer says of its usage."""
    usage = answer.get("usage")
    if not isinstance(usage, dict) or "prompt_tokens" not in usage:
        return None
    prompt, read = count(usage, "prompt_tokens"), count(usage.get("prompt_tokens_details"), "cached_tokens")
    read = min(prompt, read)
    return ir.Usage(prompt - read, read, text=count(usage, "completion_tokens"))


def write_usage(usage: ir.Usage) -> dict[str, Any]:
    """As chat completions have it; details only where they say something, as servers of text completions do."""
    made: dict[str, Any] = {
        "prompt_tokens": usage.total_input, "completion_tokens": usage.output, "total_tokens": usage.total,
    }  # fmt: skip
    if usage.cache_read:
        made["prompt_tokens_details"] = {"cached_tokens": usage.cache_read}
    if usage.reasoning:
        made["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return made


def write_count(tokens: int) -> dict[str, Any]:
    return {"input_tokens": tokens}


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last words of a stream that failed; no [DONE] follows."""
    return b"data: " + compact(error_body(error)).encode("utf-8", "backslashreplace") + b"\n\n"


def head_of(id: str, model: str, created: int) -> dict[str, Any]:
    return {
        "id": id or "cmpl-" + mint_id(model).rpartition("_")[2],
        "object": "text_completion",
        "created": created,
        "model": model,
    }


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]:
    """The body that answers `request`."""
    choices = [
        {"text": "".join(only_text(part, lost) for part in each.parts), "index": number, "logprobs": None,
         "finish_reason": REASON[each.stop.reason]}
        for number, each in enumerate(answer.candidates)
    ]  # fmt: skip
    lose_all_extras(answer, lost)
    lose_tier(answer.service_tier, lost)
    lose_counts(answer.usage, "", lost, *UNCOUNTED)
    for each in answer.candidates:
        lose_all_extras(each, lost)
        lose_stop(each.stop, TOLD, lost)
    body = head_of(answer.id, answer.model or request.model, answer.created) | {"choices": choices}
    return body | ({"usage": write_usage(answer.usage)} if answer.usage is not None else {})


REASONS: Mapping[str, ir.Reason] = {"stop": "end", "length": "length", "content_filter": "refusal"}


def read_answer(body: Mapping[str, Any]) -> ir.Answer:
    """A relayed answer, for a request with `stream`. UpstreamFailed if it is none."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamFailed("the upstream's answer has no choices")
    found = []
    for choice in choices:
        given = choice if isinstance(choice, dict) else {}
        said, word = given.get("text"), str(given.get("finish_reason") or "stop")
        parts = (ir.Text(said),) if isinstance(said, str) and said else ()
        found.append(ir.Candidate(parts, ir.Stop(REASONS.get(word, "other"), word)))
    created = count(body, "created")
    return ir.Answer(str(body.get("id") or ""), str(body.get("model") or ""), tuple(found), usage_in(body), created)


def finish_in(answer: Mapping[str, Any]) -> str:
    """Why a whole answer stopped, as its first choice says."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return str(first.get("finish_reason") or "") if isinstance(first, dict) else ""
