"""OpenAI chat completions: a whole answer <-> ir.Answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import BadRequest, GatewayError, UpstreamFailed
from .. import ir, verdict
from ..chat_parts import data_url, refusal_text
from ..citations import ANNOTATIONS, gather, write_annotations
from ..error_bodies import error_in, error_of
from ..fields import compact
from ..losses import lose_counts, lose_extras, lose_part, lose_stop, name_lost, unknown_word, with_value
from ..names import mint_id, own_names, pack_id
from ..shapes import both
from ..tools import custom_names, free_text, speaks_after_call
from .common import (
    ANSWER_TIERS,
    FINISH,
    OWN,
    REASON,
    chunk_usage,
    count,
    own,
    own_fields,
    write_usage,
)
from .request_reader import message_parts
from .request_writer import details_of
from .shapes import ANSWER, CHOICE, MESSAGE
from .stream_scanner import says

# -------------------------------------------------------------------------------------------------------- reading answers


def stop_of(native: Any, parts_called: bool, refused: bool, matched: Any = None) -> ir.Stop:
    """Why it ended, by what is really there: the word alone is wrong too often.

    "stop" with calls -> tool_calls;  "tool_calls" without any -> end;  "stop" with a refusal -> refusal
    """
    stated = native if isinstance(native, str) else ""
    reason: ir.Reason = FINISH.get(stated, "other" if stated else "end")
    extras = unknown_word(stated) if parts_called and reason == "other" else ir.NOTHING
    if parts_called and reason in ("end", "other", "stop_sequence"):
        reason = "tool_calls"
    elif reason == "tool_calls" and not parts_called:
        reason = "end"
    elif refused and reason == "end":
        reason = "refusal"
    sequence = matched if isinstance(matched, str) else ""
    if sequence and reason == "end":
        reason = "stop_sequence"
    return ir.Stop(reason, stated, sequence, extras)


def matched_in(choice: Mapping[str, Any]) -> Any:
    """The stop sequence that was met, as vLLM and SGLang say it; a number is a token of theirs."""
    return choice.get("stop_reason") or choice.get("matched_stop")


def choice_extras(choice: Mapping[str, Any], message: Mapping[str, Any]) -> ir.Extras:
    """logprobs, annotations, audio and the like."""
    return both(own(choice, CHOICE), own(message, MESSAGE))


def read_candidate(choice: Any, answer_id: str, number: int) -> ir.Candidate:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise UpstreamFailed("the upstream's answer has a choice without a message")
    parts = message_parts(message, f"choices[{number}].message")
    seen: set[str] = set()
    for at, part in enumerate(parts):
        if isinstance(part, ir.ToolCall):
            if not part.id or part.id in seen:
                made = mint_id(answer_id, number, at, part.name, part.arguments_text)
                parts[at] = part = replace(part, id=made)
            seen.add(part.id)
    refused = any(isinstance(part, ir.Refusal) for part in parts)
    stop = stop_of(choice.get("finish_reason"), bool(seen), refused, matched_in(choice))
    return ir.Candidate(tuple(parts), stop, choice_extras(choice, message))


def read_answer(body: Mapping[str, Any]) -> ir.Answer:
    """An upstream's answer -> ir.Answer. An error under status 200 is raised as the error that it is."""
    error = error_in(body)
    if error:
        raise error_of(error, 0)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamFailed("the upstream's answer holds no choices")
    answer_id = str(body.get("id") or "")
    try:
        candidates = tuple(read_candidate(choice, answer_id, number) for number, choice in enumerate(choices))
    except BadRequest as wrong:  # the reader of messages is that of requests; this message is not the caller's
        raise UpstreamFailed(f"the upstream's answer cannot be read: {wrong.message}") from None
    return ir.Answer(
        answer_id, str(body.get("model") or ""), candidates, chunk_usage(body), count(body, "created"),
        str(body.get("service_tier") or ""), own(body, ANSWER),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- writing answers


def image_of(part: ir.Media) -> dict[str, Any]:
    """A picture in an answer, as OpenRouter sends it."""
    return {"type": "image_url", "image_url": {"url": data_url(part, "image/png") if part.data else part.url}}


class Callers:
    """What a caller calls its tools, and which of them take free text."""

    __slots__ = ("customs", "names")

    def __init__(self, request: ir.Request) -> None:
        self.names, self.customs = own_names(request.tools), custom_names(request.tools)

    def name(self, call: ir.ToolCall) -> str:
        return self.names.get(call.name, call.name)

    def is_custom(self, call: ir.ToolCall) -> bool:
        """Whether it is written as free text: what was declared so comes back so, whatever the upstream supports."""
        return call.custom or self.name(call) in self.customs


def outgoing_call(call: ir.ToolCall, callers: Callers) -> dict[str, Any]:
    """A call for a caller: the name is its own again, the id carries what the upstream wants back."""
    if callers.is_custom(call):
        kind, field, given = "custom", "input", free_text(call)
    else:
        kind, field, given = "function", "arguments", call.arguments_text or compact(call.arguments or {})
    made: dict[str, Any] = {"id": pack_id(call), "type": kind, kind: {"name": callers.name(call), field: given}}
    if call.signature and call.vendor == "gemini":
        made["extra_content"] = {"google": {"thought_signature": call.signature}}
    return made


class Message:
    """One candidate as a message of the assistant; parts are added in their order."""

    def __init__(self, callers: Callers, lost: list[str]) -> None:
        self._callers, self._lost = callers, lost
        self._texts: list[str] = []
        self._thoughts: list[ir.Thinking] = []
        self._more: dict[str, Any] = {}

    def add(self, part: ir.Part) -> None:
        lose_part(part, OWN, self._lost)
        if isinstance(part, ir.Text):
            self._text(part)
        elif isinstance(part, ir.Thinking):
            self._thoughts.append(part)
        elif isinstance(part, ir.ToolCall):
            self._more.setdefault("tool_calls", []).append(outgoing_call(part, self._callers))
        elif isinstance(part, ir.Refusal):
            self._more["refusal"] = self._more.get("refusal", "") + part.text
        elif isinstance(part, ir.Media) and part.kind == "image":
            self._more.setdefault("images", []).append(image_of(part))
        elif isinstance(part, ir.Opaque) and part.text:
            self._texts.append(f"\n{part.text}\n")
        else:
            name_lost(self._lost, part.kind if isinstance(part, ir.Media | ir.Opaque) else "tool_result")

    def _text(self, part: ir.Text) -> None:
        self._texts.append(part.text)
        lose_extras(part.extras, OWN, self._lost)
        if part.signature and (part.vendor != "gemini" or "extra_content" in self._more):
            name_lost(self._lost, "signature")
        elif part.signature:
            self._more["extra_content"] = {"google": {"thought_signature": part.signature}}

    def finish(self, stop: ir.Stop) -> dict[str, Any]:
        refusal = refusal_text(stop) if stop.reason == "refusal" else None
        body: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts) if self._texts else None,
                                "refusal": refusal} | self._more  # fmt: skip
        said = "".join(thought.text for thought in self._thoughts)
        if said:
            body["reasoning_content"] = said
        if any(thought.signature or thought.data for thought in self._thoughts):
            body["reasoning_details"] = [made for at, each in enumerate(self._thoughts) for made in details_of(each, at)]
        return body


REASONS = frozenset(REASON)  # all are told, as the native word is


def native_reason(stop: ir.Stop, lost: list[str]) -> dict[str, Any]:
    """The upstream's own word beside ours, under OpenRouter's name for it, and the stop sequence under vLLM's."""
    if stop.extras is not ir.NOTHING:
        lose_stop(stop, REASONS, lost, explained=stop.reason == "refusal", native=True)
    if stop.sequence:
        return {"native_finish_reason": stop.native, "stop_reason": stop.sequence}
    return {"native_finish_reason": stop.native} if stop.native else {}


def write_tier(tier: str, lost: list[str]) -> dict[str, Any]:
    """{"service_tier": ...} of an answer, in a word of OpenAI's."""
    if tier and tier not in ANSWER_TIERS:
        name_lost(lost, with_value("service_tier", tier))
    return {"service_tier": ANSWER_TIERS[tier]} if tier in ANSWER_TIERS else {}


def write_candidate(candidate: ir.Candidate, number: int, callers: Callers, lost: list[str]) -> dict[str, Any]:
    message, (candidate, cited) = Message(callers, lost), gather(candidate, OWN)
    for part in candidate.parts:
        message.add(part)
    if speaks_after_call(candidate.parts):
        name_lost(lost, "message.order")
    lose_extras(candidate.extras, OWN, lost)
    extras = own_fields(candidate.extras)
    made = {"index": number, "message": message.finish(candidate.stop), "logprobs": extras.pop("logprobs", None)}
    if cited:
        extras[ANNOTATIONS] = [*(extras.get(ANNOTATIONS) or ()), *write_annotations(cited)]
    made["message"] |= extras
    return made | {"finish_reason": REASON[candidate.stop.reason]} | native_reason(candidate.stop, lost)


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]:
    """The body that answers `request`."""
    callers = Callers(request)
    choices = [write_candidate(each, number, callers, lost) for number, each in enumerate(answer.candidates)]
    body: dict[str, Any] = {
        "id": answer.id or request.answer_id or mint_id(answer.model), "object": "chat.completion", "created": answer.created,
        "model": answer.model or request.model, "choices": choices,
    }  # fmt: skip
    if answer.usage is not None:
        body["usage"] = write_usage(answer.usage)
        lose_counts(answer.usage, OWN, lost, "cache_write_1h")
    body |= write_tier(answer.service_tier, lost)
    lose_extras(answer.extras, OWN, lost)
    return body | own_fields(answer.extras)


def flaw_in(answer: Mapping[str, Any]) -> GatewayError | None:
    """Why a whole answer is none: no choices, a word that says not finished, a call that breaks off."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return verdict.no_answer()
    for choice in choices:
        if isinstance(choice, dict):
            flaw = choice_flaw(choice)
            if flaw is not None:
                return flaw
    ended = {bool(choice.get("finish_reason")) for choice in choices if isinstance(choice, dict)}
    return verdict.half_choices() if len(ended) == 2 else None  # some did and some did not


def choice_flaw(choice: Mapping[str, Any]) -> GatewayError | None:
    message, word, native = choice.get("message"), choice.get("finish_reason"), choice.get("native_finish_reason")
    message = message if isinstance(message, dict) else {}
    said = native is None or says(message) or bool(choice.get("text"))  # counts beside a vendor's own word alone
    flaw = verdict.finish_failure(word, native, said=said)
    if flaw is None and (message.get("tool_calls") or message.get("function_call")):
        calls = verdict.Calls()
        for place, call in enumerate(message.get("tool_calls") or [{"function": message["function_call"]}]):
            inner = call.get("function") if isinstance(call, dict) else None
            calls.add(place, inner.get("arguments") if isinstance(inner, dict) else None)
        flaw = calls.flaw(str(word))
    return flaw


def finish_in(answer: Mapping[str, Any]) -> str:
    """Why a whole answer stopped, as its first choice says."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return str(first.get("finish_reason") or "") if isinstance(first, dict) else ""
