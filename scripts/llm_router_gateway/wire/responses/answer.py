"""Whole answers: an upstream's body -> ir.Answer, ir.Answer -> the body for a caller.

read_answer({"id": "resp_1", "status": "completed", "output": [...], ...})  -> Answer("resp_1", ...)
write_answer(answer, request, lost)                                         -> {"id": ..., "object": "response", ...}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import BadRequest, GatewayError, UpstreamFailed
from .. import ir, verdict
from ..error_bodies import error_in, error_of
from ..names import mint_id
from ..shapes import both, unread
from .common import OPENAI, OWN, count, own, read_usage
from .items import read_call, read_content, read_thoughts
from .outputs import chat_annotations, other_quotations
from .shapes import ANSWER, OUTPUTS
from .stream_writer import StreamWriter

REASONS: Mapping[str, ir.Reason] = {"max_output_tokens": "length", "content_filter": "refusal", "max_messages": "pause"}
ENDS = ("completed", "incomplete")


def stop_of(response: Mapping[str, Any], parts: Iterable[ir.Part]) -> ir.Stop:
    """Why it ended, by what is really there.

    {"status": "completed"} with a call -> Stop("tool_calls", "completed")
    {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}} -> Stop("length", "max_output_tokens")
    """
    status = str(response.get("status") or "completed")
    if status == "incomplete":
        details = response.get("incomplete_details")
        native = str(details.get("reason") or status) if isinstance(details, dict) else status
        return ir.Stop(REASONS.get(native, "other"), native)
    kinds = {type(part) for part in parts}
    if ir.ToolCall in kinds:
        return ir.Stop("tool_calls", status)
    return ir.Stop("refusal" if ir.Refusal in kinds else "end", status)


def read_message(item: Mapping[str, Any], path: str) -> list[ir.Part]:
    parts = read_content(item.get("content"), f"{path}.content")
    return [replace(part, extras=ir.NOTHING) if isinstance(part, ir.Text) else part for part in parts]


def read_item(item: Any, path: str) -> list[ir.Part]:
    """The parts of an output item. Pictures come as media; what runs at OpenAI stays as it is."""
    if not isinstance(item, dict):
        raise UpstreamFailed("the upstream's answer holds an item that is not an object")
    kind = item.get("type")
    if kind == "message":
        return read_message(item, path)
    if kind == "reasoning":
        return read_thoughts(item, path, None)
    if kind in ("function_call", "custom_tool_call"):
        return [read_call(item, path)]
    if kind == "image_generation_call" and isinstance(item.get("result"), str) and item["result"]:
        return [ir.Media("image", f"image/{item.get('output_format') or 'png'}", item["result"])]
    return [ir.Opaque(OWN, str(kind), item)]


def texts_of(item: Any) -> list[Mapping[str, Any]]:
    """The output_text parts of a message."""
    content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") == "output_text"]


def candidate_extras(output: Iterable[Any]) -> ir.Extras:
    """Quotations and logprobs of all texts, as chat completions have them: places counted from the answer's beginning; and what
    nothing reads of the items."""
    unsaid: ir.Extras = ir.NOTHING
    notes: list[Any] = []
    logprobs: list[Any] = []
    offset = 0
    for item in output:
        known = OUTPUTS.get(str(item.get("type"))) if isinstance(item, dict) else None
        unsaid = both(unsaid, unread(item, known)) if known is not None else unsaid
        for part in texts_of(item):
            notes += chat_annotations(part.get("annotations"), offset)
            unsaid = both(unsaid, other_quotations(part.get("annotations")))
            found = part.get("logprobs")
            logprobs += found if isinstance(found, list) else []
            offset += len(part["text"]) if isinstance(part.get("text"), str) else 0
    made: dict[str, Any] = {"annotations": notes} if notes else {}
    if logprobs:
        made["logprobs"] = {"content": logprobs, "refusal": None}
    return both({OPENAI: made} if made else ir.NOTHING, unsaid)


def with_ids(parts: list[ir.Part], answer_id: str) -> tuple[ir.Part, ...]:
    """Every call with an id of its own."""
    seen: set[str] = set()
    for at, part in enumerate(parts):
        if isinstance(part, ir.ToolCall):
            if not part.id or part.id in seen:
                parts[at] = part = replace(part, id=mint_id(answer_id, at, part.name, part.arguments_text))
            seen.add(part.id)
    return tuple(parts)


def read_answer(body: Mapping[str, Any]) -> ir.Answer:
    """An upstream's answer. A failed one under status 200 is raised as the error that it is."""
    error = error_in(body)
    if error:
        raise error_of(error, 0)
    output, status = body.get("output"), body.get("status")
    if not isinstance(output, list):
        raise UpstreamFailed("the upstream's answer has no output; check that its api is responses")
    if status not in (None, *ENDS):
        raise UpstreamFailed(f"the upstream's answer is not complete: its status is {status}")
    answer_id = str(body.get("id") or "")
    try:
        parts = [part for at, item in enumerate(output) for part in read_item(item, f"output[{at}]")]
    except BadRequest as wrong:  # the reader of items is that of requests; these are not the caller's
        raise UpstreamFailed(f"the upstream's answer cannot be read: {wrong.message}") from None
    made = with_ids(parts, answer_id)
    candidate = ir.Candidate(made, stop_of(body, made), candidate_extras(output))
    return ir.Answer(
        answer_id, str(body.get("model") or ""), (candidate,), read_usage(body.get("usage")), count(body, "created_at"),
        str(body.get("service_tier") or ""), own(body, ANSWER),
    )  # fmt: skip


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]:
    """The body that answers `request`: what the last event of a stream would hold."""
    writer = StreamWriter(request, lost=lost, quiet=True)
    for event in ir.events_of(answer):
        writer.feed(event)
    return writer.response()


def finish_in(answer: Mapping[str, Any]) -> str:
    """Why a whole answer stopped: its status, or why it is incomplete."""
    details = answer.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return str(reason or answer.get("status") or "")


def flaw_in(answer: Mapping[str, Any]) -> GatewayError | None:
    """Why a whole answer is none: a status that says not finished."""
    return verdict.finish_failure(answer.get("status"))
