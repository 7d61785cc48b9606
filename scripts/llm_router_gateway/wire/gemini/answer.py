"""Gemini's generateContent: a whole answer <-> ir.Answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...errors import BadRequest, GatewayError, UpstreamFailed
from .. import ir, verdict
from ..citations import GROUNDING, gather, grounding
from ..losses import MAX_LOST, explanation_in, lose_counts, lose_extras, lose_part, lose_stop, lose_tier, name_lost, with_value
from ..names import own_names
from ..shapes import EMPTY, Shape, both, knows_below
from .common import FINISH, FINISH_OF, OMITTED_ZEROS, UNTOLD, VENDOR, Fields, dicts, error_in, fields_of, many, pack_signature
from .request_reader import Calls, own, read_part
from .request_writer import write_part
from .shapes import ANSWER, CANDIDATE, COUNTED, DETAIL, DETAILS, TEXTS, USUAL_TRAFFIC

# ----------------------------------------------------------------------------------------------------------- answer, read


def count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def usage_of(value: Any, *, whole: bool = True) -> ir.Usage | None:
    """usageMetadata, in disjoint classes; None where it counts nothing yet.

    {"promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2,
     "thoughtsTokenCount": 5}  -> Usage(input=9, cache_read=4, text=2, reasoning=5)

    The prompt's count holds the cached ones, but not those of tools' results at Google; the answer's holds no thoughts.
    `whole`: it is the last, and what nothing reads of it is named.
    """
    if not isinstance(value, dict) or not ("promptTokenCount" in value or "totalTokenCount" in value):
        return None
    prompt, cached = count(value.get("promptTokenCount")), count(value.get("cachedContentTokenCount"))
    tools = count(value.get("toolUsePromptTokenCount"))
    extras: ir.Extras = {VENDOR: {"toolUsePromptTokenCount": tools}} if tools else ir.NOTHING
    return ir.Usage(
        input=max(0, prompt - cached) + tools,
        cache_read=cached,
        text=count(value.get("candidatesTokenCount")),
        reasoning=count(value.get("thoughtsTokenCount")),
        extras=both(extras, unread_counts(value)) if whole else extras,
    )


def unread_counts(usage: Mapping[str, Any]) -> ir.Extras:
    """What nothing reads of usageMetadata: tokens that are no text, other counts, how the request was served.

    {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}]}  -> {"unread": {"promptTokensDetails=AUDIO": True}}
    """
    found: Fields = {}
    for name, value in usage.items():
        if name in DETAILS:
            found |= {with_value(name, each.get("modality")): True for each in dicts(value)
                      if each.get("modality") not in TEXTS and each.get("tokenCount")}  # fmt: skip
            found |= {f"{name}.{inner}": True for each in dicts(value) for inner in each if inner not in DETAIL}
        elif name not in COUNTED and value and value not in USUAL_TRAFFIC:
            found[name] = True
    return {ir.UNREAD: dict(list(found.items())[:MAX_LOST])} if found else ir.NOTHING


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """The usage of a whole answer that is relayed unread."""
    return usage_of(answer.get("usageMetadata"))


def stop_of(native: str, has_calls: bool) -> ir.Stop:
    """stop_of("STOP", True) -> Stop("tool_calls", "STOP"); a word that is not known is "other"."""
    reason = FINISH.get(native, "other")
    if has_calls and reason == "end":
        reason = "tool_calls"
    return ir.Stop(reason, native)


def extras_in(fields: Fields, known: Shape) -> ir.Extras:
    """What an answer or a candidate says beside what is read of it."""
    if known.fields.issuperset(fields) and (known.is_leaf or knows_below(known, fields)):
        return ir.NOTHING
    found = {name: value for name, value in fields.items() if name in known.fields or value not in EMPTY}
    return own(found, known)


def created_at(value: Any) -> int:
    """Unix seconds of a createTime; 0 if there is none."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) and "T" in value else 0
    except (ValueError, OverflowError):
        return 0


def block_reason(fields: Mapping[str, Any]) -> str:
    feedback = fields.get("promptFeedback")
    return str(feedback.get("blockReason") or "") if isinstance(feedback, dict) else ""


def seed_of(fields: Mapping[str, Any]) -> str:
    """What distinguishes this answer from others of its conversation: its id, else its length so far."""
    usage = fields.get("usageMetadata")
    return str(fields.get("responseId") or (usage.get("promptTokenCount") if isinstance(usage, dict) else "") or "")


def read_candidate(value: Any, path: str, calls: Calls) -> ir.Candidate:
    fields = fields_of(value, path)
    content = fields_of(fields.get("content", {}), f"{path}.content")
    where = enumerate(many(content.get("parts"), f"{path}.content.parts"))
    parts = tuple(read_part(part, f"{path}.content.parts[{index}]", calls) for index, part in where)
    has_calls = any(isinstance(part, ir.ToolCall) for part in parts)
    stop = stop_of(str(fields.get("finishReason", "")), has_calls)
    return ir.Candidate(parts, stop, extras_in(fields, CANDIDATE))


def answer_in(body: Mapping[str, Any]) -> ir.Answer:
    if "error" in body:
        raise error_in(body["error"], 502)
    fields = fields_of(body, "answer")
    id, candidates = str(fields.get("responseId", "")), many(fields.get("candidates"), "candidates")
    calls = Calls(seed_of(fields))
    read = tuple(read_candidate(each, f"candidates[{index}]", calls) for index, each in enumerate(candidates))
    blocked = block_reason(fields)
    if not read and not blocked:
        raise UpstreamFailed("the upstream's answer has no candidates")
    return ir.Answer(
        id=id, model=str(fields.get("modelVersion", "")), usage=usage_of(fields.get("usageMetadata")),
        candidates=read or (ir.Candidate((), ir.Stop("refusal", blocked)),),
        created=created_at(fields.get("createTime")), extras=extras_in(fields, ANSWER),
    )  # fmt: skip


def read_answer(body: Mapping[str, Any]) -> ir.Answer:
    """A whole answer. A prompt that was blocked is one candidate that refuses; an error under status 200 is raised."""
    try:
        return answer_in(body)
    except BadRequest as wrong:  # said of the upstream's fields, not of the caller's
        raise UpstreamFailed(f"the upstream's answer cannot be read: {wrong.message}") from None


# -------------------------------------------------------------------------------------------------------- answer, written


def shows_thoughts(request: ir.Request) -> bool:
    """Gemini shows them only on request."""
    return request.reasoning is not None and request.reasoning.shown is True


UNCOUNTED = ("cache_write", "cache_write_1h", "cost")  # the first two are in the prompt's count


def write_usage(usage: ir.Usage) -> Fields:
    """Gemini's counts: the prompt's with what a cache gave, the answer's without thoughts."""
    made = {
        "promptTokenCount": usage.total_input,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.text,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.total,
    }
    return {name: value for name, value in made.items() if value or name not in OMITTED_ZEROS}


REASONS = frozenset(FINISH_OF)


def write_stop(stop: ir.Stop, malformed: str, lost: list[str]) -> Fields:
    """finishReason, and in words what it cannot say. `malformed` names a call whose arguments are no object."""
    if malformed and stop.reason != "length":
        return {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": f"Malformed function call: {malformed}"}
    own = FINISH.get(stop.native) == stop.reason
    made: Fields = {"finishReason": stop.native if own else FINISH_OF[stop.reason]}
    explained = explanation_in(stop)
    if explained or (stop.reason not in UNTOLD and not own):
        made["finishMessage"] = explained or stop.native or stop.reason
    lose_stop(stop, REASONS if own else UNTOLD, lost, explained=True)
    return made


def answer_call(part: ir.ToolCall, names: Mapping[str, str], lost: list[str]) -> Fields | None:
    """A call for the caller, under the name that it gave its tool; None when the arguments are no object."""
    arguments = part.arguments if part.arguments is not None else ir.object_in(part.arguments_text)
    name = names.get(part.name, part.name)
    if part.custom or arguments is None:
        name_lost(lost, "functionCall.args")
        return None
    made: Fields = {"functionCall": {"id": part.id, "name": name, "args": arguments}}
    signature = pack_signature(part)
    return {**made, "thoughtSignature": signature} if signature else made


def answer_part(part: ir.Part, names: Mapping[str, str], shown: bool, lost: list[str]) -> Fields | None:
    """One part for the caller; None where there is nothing to show."""
    lose_part(part, VENDOR, lost)
    if isinstance(part, ir.ToolCall):
        return answer_call(part, names, lost)
    if isinstance(part, ir.Thinking):
        signature = pack_signature(part)
        if signature and not shown:
            name_lost(lost, "thinking.signature")
        if not shown or not (part.text or signature):
            return None
        return {"text": part.text, "thought": True, **({"thoughtSignature": signature} if signature else {})}
    if isinstance(part, ir.Text):
        signature = pack_signature(part)
        lose_extras(part.extras, VENDOR, lost)
        made = {"text": part.text, **({"thoughtSignature": signature} if signature else {})}
        return made if part.text or signature else None
    return next(iter(write_part(part, lost)), None)


def write_candidate(candidate: ir.Candidate, index: int, request: ir.Request, lost: list[str]) -> Fields:
    names, shown = own_names(request.tools), shows_thoughts(request)
    candidate, cited = gather(candidate, VENDOR)
    made, malformed = [], ""
    for part in candidate.parts:
        written = answer_part(part, names, shown, lost)
        if written is not None:
            made.append(written)
        elif isinstance(part, ir.ToolCall):
            malformed = names.get(part.name, part.name)
    lose_extras(candidate.extras, VENDOR, lost)
    stop = write_stop(candidate.stop, malformed, lost)
    content: Fields = {"parts": made or [{"text": ""}], "role": "model"}  # without a part Google's SDKs drop the turn
    extras = dict(candidate.extras.get(VENDOR, {}))
    if cited:
        said = "".join(part.text for part in candidate.parts if isinstance(part, ir.Text))
        extras[GROUNDING] = grounding(cited, said)
    return {"content": content, **stop, "index": index, **extras}


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> Fields:
    """The whole answer for a Gemini client."""
    candidates = [write_candidate(each, index, request, lost) for index, each in enumerate(answer.candidates)]
    made: Fields = {"candidates": candidates}
    if answer.usage is not None:
        made["usageMetadata"] = write_usage(answer.usage)
        lose_counts(answer.usage, VENDOR, lost, *UNCOUNTED)
    made["modelVersion"] = answer.model or request.model
    if answer.id or request.answer_id:
        made["responseId"] = answer.id or request.answer_id
    lose_tier(answer.service_tier, lost)
    lose_extras(answer.extras, VENDOR, lost)
    return made


def write_count(tokens: int) -> Fields:
    """The answer of countTokens."""
    return {"totalTokens": tokens}


def flaw_in(answer: Mapping[str, Any]) -> GatewayError | None:
    """Why a whole answer is none: no candidates, though nothing was blocked, or a word that says not finished."""
    candidates = answer.get("candidates")
    if not candidates:
        return None if block_reason(answer) else verdict.no_answer()
    found = [each for each in many(candidates, "candidates") if isinstance(each, dict)]
    flaws = (verdict.finish_failure(each.get("finishReason") or each.get("finish_reason")) for each in found)
    return next((flaw for flaw in flaws if flaw is not None), None)


def finish_in(answer: Mapping[str, Any]) -> str:
    """Why a whole answer stopped, as its first candidate says."""
    candidates = answer.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return str(first.get("finishReason") or "") if isinstance(first, dict) else ""
