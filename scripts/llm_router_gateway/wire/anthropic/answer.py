"""Anthropic Messages: a whole answer <-> ir.Answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import BadRequest, GatewayError, UpstreamFailed
from .. import ir, verdict
from ..citations import Citation, gather, stretches
from ..envelope import pack_envelope
from ..losses import lose_counts, lose_extras, lose_part, lose_unread, name_lost, unknown_word, with_value
from ..names import own_names, pack_id
from ..shapes import both
from .common import (
    SCHEMA_TOOL,
    STOP_REASON,
    VENDOR,
    WIRE_STOP,
    Block,
    Lost,
    error_of,
    own,
    own_fields,
    usage_in,
    write_tier,
    write_usage,
)
from .request_reader import PARTS, read_blocks
from .shapes import ANSWER

# ------------------------------------------------------------------------------------------------------- answer: wire -> ir


def read_stop(fields: Mapping[str, Any], called: bool) -> ir.Stop:
    """Why it ended. Whether a tool is called decides between "end" and "tool_calls", whatever the upstream says.

    {"stop_reason": "end_turn"}, called=True -> Stop("tool_calls", "end_turn")
    """
    native = fields.get("stop_reason")
    native = native if isinstance(native, str) else ""
    reason = STOP_REASON.get(native, "other")
    unknown = unknown_word(native) if called and native and reason == "other" else ir.NOTHING
    if reason in ("end", "tool_calls", "other"):
        reason = "tool_calls" if called else "end" if reason == "tool_calls" else reason
    details = fields.get("stop_details")
    extras: ir.Extras = {VENDOR: {"stop_details": details}} if isinstance(details, dict) else ir.NOTHING
    sequence = fields.get("stop_sequence")
    return ir.Stop(reason, native, sequence if isinstance(sequence, str) else "", both(extras, unknown))


def answer_part(part: ir.Part) -> ir.Part:
    """A part of an answer: its thoughts are Anthropic's; what a server tool found is not what the model said; the call that
    only gives the answer's form is the answer."""
    if isinstance(part, ir.ToolCall) and part.name == SCHEMA_TOOL:
        return ir.Text(part.arguments_text)
    if isinstance(part, ir.Opaque):
        return replace(part, text="")
    return replace(part, vendor=VENDOR) if isinstance(part, ir.Thinking) else part


def tier_of(fields: Mapping[str, Any]) -> str:
    usage = fields.get("usage")
    return str(usage.get("service_tier") or "") if isinstance(usage, dict) else ""


def read_answer(fields: Mapping[str, Any]) -> ir.Answer:
    """A whole answer. Raises the error that it holds instead, UpstreamFailed when it is none."""
    if fields.get("type") == "error" or isinstance(fields.get("error"), dict):
        raise error_of(fields, 200)
    if not isinstance(fields.get("content"), list):
        raise UpstreamFailed("the upstream's answer has no content; check that its api is anthropic")
    try:
        parts = tuple(answer_part(part) for part in read_blocks(fields["content"], "content", PARTS))
    except BadRequest as wrong:
        raise UpstreamFailed(f"the upstream's answer cannot be read: {wrong.message}") from None
    stop = read_stop(fields, any(isinstance(part, ir.ToolCall) for part in parts))
    candidate = ir.Candidate(parts, stop)
    return ir.Answer(
        str(fields.get("id") or ""), str(fields.get("model") or ""), (candidate,), usage_in(fields),
        service_tier=tier_of(fields), extras=own(fields, ANSWER),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- answer: ir -> wire


def write_stop(stop: ir.Stop, called: bool, lost: Lost) -> Block:
    """stop_reason and stop_sequence; tool_use exactly when a tool is called."""
    native = WIRE_STOP.get(stop.reason, "end_turn")
    if stop.reason in ("end", "tool_calls", "other"):
        native = "tool_use" if called else "end_turn"
    if stop.reason == "other" and stop.native:
        name_lost(lost, with_value("stop_reason", stop.native))
    out: Block = {"stop_reason": native, "stop_sequence": stop.sequence or None}
    lose_unread(stop.extras, lost)
    out.update(own_fields(stop.extras))
    return out


def thinking_block(part: ir.Thinking) -> Block:
    """A thought; what another vendor signed or encrypted goes in an envelope, and comes back to it."""
    if part.data:
        return {"type": "redacted_thinking", "data": enclose(part.vendor, part.signature, part.data)}
    return {"type": "thinking", "thinking": part.text, "signature": enclose(part.vendor, part.signature)}


def enclose(vendor: str, signature: str, data: str = "") -> str:
    """A signature or data for the caller: Anthropic's own as it is, any other in an envelope."""
    if vendor == VENDOR:
        return data or signature
    return pack_envelope(vendor, signature, data) if signature or data else ""


def write_whole_block(part: ir.Part, lost: Lost) -> Block | None:
    """The block of a part that comes whole; None for what the protocol cannot show."""
    if isinstance(part, ir.Refusal):
        return {"type": "text", "text": part.text} if part.text else None
    if isinstance(part, ir.Opaque) and part.vendor == VENDOR:
        return dict(part.value)
    name_lost(lost, part.kind if isinstance(part, ir.Opaque | ir.Media) else "tool_result")
    return {"type": "text", "text": part.text} if isinstance(part, ir.Opaque) and part.text else None


def answer_block(part: ir.Part, names: Mapping[str, str], lost: Lost) -> Block | None:
    lose_part(part, VENDOR, lost)
    if isinstance(part, ir.Text):
        if part.signature:
            name_lost(lost, "signature")
        lose_extras(part.extras, VENDOR, lost)
        return {"type": "text", "text": part.text, **own_fields(part.extras)} if part.text else None
    if isinstance(part, ir.Thinking):
        return thinking_block(part)
    if not isinstance(part, ir.ToolCall):
        return write_whole_block(part, lost)
    if part.arguments is None:
        name_lost(lost, "tool_use.input")
    name, arguments = names.get(part.name, part.name), part.arguments or {}
    return {"type": "tool_use", "id": pack_id(part), "name": name, "input": arguments, **own_fields(part.extras)}


def citation_of(page: Citation) -> Block:
    """A page of the web that another vendor's model found: what only Anthropic could read of it later is an envelope."""
    return {
        "type": "web_search_result_location", "url": page.url, "title": page.title or None, "cited_text": page.quote,
        "encrypted_index": pack_envelope("", "", "citation"),
    }  # fmt: skip


def blocks_with_citations(
    parts: Sequence[ir.Part], cited: Sequence[Citation], names: Mapping[str, str], lost: Lost
) -> list[Block]:
    """The blocks of an answer; each stretch of text that rests on pages is one of its own."""
    content: list[Block] = []
    texts: list[Block] = []
    offset = 0
    for part in parts:
        block = answer_block(part, names, lost)
        made = [block] if block is not None else []
        if block is not None and isinstance(part, ir.Text):
            made = [{**block, "text": piece.text, **({"citations": [*map(citation_of, piece.pages)]} if piece.pages else {})}
                    for piece in stretches(part.text, offset, cited)]  # fmt: skip
            texts += made
        offset += len(part.text) if isinstance(part, ir.Text) else 0
        content += made
    whole = [citation_of(page) for page in cited if page.start is None]
    if whole and texts:
        texts[-1]["citations"] = [*texts[-1].get("citations", ()), *whole]
    return content


def write_answer(answer: ir.Answer, request: ir.Request, lost: Lost) -> Block:
    """For a caller: the first candidate, for the protocol has one."""
    if len(answer.candidates) > 1:
        name_lost(lost, "n")
    names = own_names(request.tools)
    first, cited = gather(answer.candidates[0], VENDOR)
    if cited:
        content = blocks_with_citations(first.parts, cited, names, lost)
    else:
        content = [block for part in first.parts if (block := answer_block(part, names, lost)) is not None]
    called = any(block["type"] == "tool_use" for block in content)
    usage = write_usage(answer.usage) | write_tier(answer.service_tier, lost)
    if answer.usage is None:
        name_lost(lost, "usage")
    lose_counts(answer.usage, VENDOR, lost, "cost")
    lose_extras(first.extras, VENDOR, lost)
    lose_extras(answer.extras, VENDOR, lost)
    return {
        "id": answer.id or request.answer_id, "type": "message", "role": "assistant", "model": answer.model or request.model,
        "content": content, **write_stop(first.stop, called, lost), "usage": usage, **own_fields(answer.extras),
    }  # fmt: skip


def finish_in(answer: Mapping[str, Any]) -> str:
    """Why a whole answer stopped, in the protocol's own word."""
    return str(answer.get("stop_reason") or "")


def flaw_in(answer: Mapping[str, Any]) -> GatewayError | None:
    """Why a whole answer is none: a word that says not finished."""
    return verdict.finish_failure(answer.get("stop_reason"))
