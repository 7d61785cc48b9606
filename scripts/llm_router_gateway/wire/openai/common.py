"""OpenAI chat completions <-> ir: what OpenAI, OpenRouter, DeepSeek, Mistral, vLLM, Ollama and the like say under one name.

    read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}]})  -> ir.Request
    write_request(request, model="m", quirks={}, lost=lost)                        -> the body for an upstream
    read_answer(body) -> ir.Answer           write_answer(answer, request, lost)   -> the body for a caller
    StreamReader().feed(event) -> events     StreamWriter(request, lost=lost).feed(event) -> bytes

Quirks of an upstream (`quirks` of a provider in router.toml), each with what is done without it:

    max_tokens_field  "max_completion_tokens" for the models that demand it (spec.MODERN_MODELS), else "max_tokens"
    reasoning         how thinking is requested: "effort" (reasoning_effort; only models that think, THINKING_MODELS),
                      "openrouter", "thinking" (DeepSeek, GLM, Kimi), "enable_thinking" (Qwen), "none"
    reasoning_field   the field in which thoughts go back: "reasoning_content" for REPLAYING_MODELS, else "" (not sent);
                      "reasoning_details" sends the signatures too
    late_system       role of a system message inside the conversation: "user" (as a reminder), "system", "developer"
    system_role       role of the part before the conversation: "system"
    json_schema       false: the server takes only json_object; the schema goes into the system text
    forced_choice_with_thinking  false: a forced tool choice becomes "auto" while the model thinks
    custom_tools      true: tools that take free text are sent as such, as MODERN_MODELS take them; else as functions with one
                      field
    cache_control, top_k, video  true: sent; else lost
    id_form           "mistral": ids of calls have exactly nine letters and digits
    stream_usage      false: stream_options is not sent
    max_stop          4
    sampling          true: temperature and the like are sent to models known to refuse them (spec.UNSTEERED_MODELS)
    drop              fields that the server refuses: ["seed"]
    think_tags        true: <think> at the beginning of a text begins a thought (wire/think_tags); else it is text
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ...errors import GatewayError
from .. import ir
from ..error_bodies import error_body
from ..fields import compact
from ..shapes import EMPTY, Shape, both, knows_below, unread_details, with_unread
from ..sound import cost_in, is_count
from .shapes import COUNTED, USAGE

OWN = "openai"
SEARCH = "web_search_options"  # a field of the request that says what other vendors have a tool for
DONE = b"data: [DONE]\n\n"
ERROR_MARK = '"error"'  # in the JSON of every chunk that holds an error beside its choices; in a text the quotes are escaped

THINKING_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9]|gpt-oss|o[1-9]|codex|grok-3-mini|gemini-(?:2\.5|[3-9]))")
REPLAYING_MODELS = re.compile(r"deepseek|kimi|glm|minimax|qwen|mimo", re.IGNORECASE)  # want thoughts of tool turns back

EFFORT_BUDGETS = {"none": 0, "minimal": 512, "low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 65_536}

FINISH: Mapping[str, ir.Reason] = {
    **dict.fromkeys(("stop", "end_turn", "eos", "eos_token", "complete"), "end"),
    "length": "length", "max_tokens": "length", "model_length": "context", "model_context_window_exceeded": "context",
    "stop_sequence": "stop_sequence", "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "refusal", "refusal": "refusal", "sensitive": "refusal", "pause_turn": "pause",
}  # fmt: skip
REASON: Mapping[ir.Reason, str] = {
    "end": "stop", "length": "length", "stop_sequence": "stop", "tool_calls": "tool_calls", "refusal": "content_filter",
    "context": "length", "pause": "stop", "other": "stop",
}  # fmt: skip

ANSWER_TIERS = {"auto": "auto", "default": "default", "standard": "default", "flex": "flex", "scale": "scale",
                "priority": "priority"}  # fmt: skip  # "standard" is Anthropic's

# OpenRouter's names for whose thoughts they are.
FORMATS = {"anthropic": "anthropic-claude-v1", "gemini": "google-gemini-v1", "openai": "openai-responses-v1"}
VENDORS = {name: vendor for vendor, name in FORMATS.items()}

NEXT_NOTE = "[The {} that the tool returned {} in the next message.]"


# ------------------------------------------------------------------------------------------------------- reading requests


def own(fields: Mapping[str, Any], known: Shape) -> ir.Extras:
    """The fields that have no neutral place, under our name; nulls and empties say nothing.

    own({"model": "m", "logit_bias": {"5": 1}, "store": None}, REQUEST) -> {"openai": {"logit_bias": {"5": 1}}}
    """
    if known.fields.issuperset(fields):
        return ir.NOTHING if known.is_leaf or knows_below(known, fields) else with_unread(ir.NOTHING, fields, known)
    rest = {name: value for name, value in fields.items() if name not in known.fields and value not in EMPTY}
    return with_unread({OWN: rest} if rest else ir.NOTHING, fields, known)


def own_fields(extras: ir.Extras) -> dict[str, Any]:
    """Our own vendor's fields of extras, to be put back: own_fields({"openai": {"store": True}}) -> {"store": True}"""
    return {} if extras is ir.NOTHING else dict(extras.get(OWN, ir.NOTHING))


# ------------------------------------------------------------------------------------------------------------------ usage


def count(fields: Any, *names: str) -> int:
    """The first of `names` that is a count in `fields`; 0 without."""
    if isinstance(fields, dict):
        for name in names:
            value = fields.get(name)
            if not value:
                continue
            if type(value) is int and value > 0:  # as nearly always
                return value
            if isinstance(value, (int, float)) and value is not True and 0 < value < math.inf:  # 1e999 is inf
                return int(value)
    return 0


def read_usage(usage: Any) -> ir.Usage | None:
    """A usage object -> disjoint classes; None where it says nothing.

    {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}
        -> Usage(input=6, cache_read=4, text=7)

    Some (Gemini, Grok) leave the thoughts out of completion_tokens: they are what total_tokens has more.
    """
    if not isinstance(usage, dict) or not ("prompt_tokens" in usage or "completion_tokens" in usage):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    prompt, completion = 0 if prompt is None else prompt, 0 if completion is None else completion
    if not (is_count(prompt) and is_count(completion)):
        return None  # nothing can be believed of it
    prompt, completion = int(prompt), int(completion)
    before, after = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    read = count(usage, "prompt_cache_hit_tokens", "cached_tokens")
    written = thought = 0
    if before:
        read = count(before, "cached_tokens") or read
        written = count(before, "cache_write_tokens", "cache_creation_tokens")
    if after:
        thought = count(after, "reasoning_tokens")
    read = min(prompt, read)
    written = min(prompt - read, written)
    output = max(completion, count(usage, "total_tokens") - prompt)
    reasoning = min(output, max(thought, output - completion))
    extras = own(usage, USAGE)
    if before or after:
        extras = both(extras, unread_details(usage, COUNTED))
    return ir.Usage(
        prompt - read - written, read, written, 0, output - reasoning, reasoning,
        cost_in(usage) if "cost" in usage else None, extras,
    )  # fmt: skip


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """What a relayed answer says of its usage; pictures and audio name the two sides input_tokens and output_tokens."""
    usage = answer.get("usage")
    if isinstance(usage, dict) and "input_tokens" in usage and "prompt_tokens" not in usage:
        usage = {**usage, "prompt_tokens": usage["input_tokens"], "completion_tokens": usage.get("output_tokens", 0)}
    return read_usage(usage) or chunk_usage(answer)


def chunk_usage(chunk: Mapping[str, Any]) -> ir.Usage | None:
    """What a chunk of a stream says of usage: as answers do, in its choice (Moonshot), or under x_groq (Groq)."""
    found = chunk.get("usage")
    if not found and isinstance(chunk.get("x_groq"), dict):
        found = chunk["x_groq"].get("usage")
    if not found:
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            found = choice.get("usage") if isinstance(choice, dict) else None
            if found:
                break
    return read_usage(found) if found else None


def write_usage(usage: ir.Usage) -> dict[str, Any]:
    """Usage(input=6, cache_read=4, text=7) -> prompt_tokens 10, of them cached 4; completion_tokens 7; total_tokens 17"""
    before = {"cached_tokens": usage.cache_read}
    written = usage.cache_write + usage.cache_write_1h
    made: dict[str, Any] = {
        "prompt_tokens": usage.total_input, "completion_tokens": usage.output, "total_tokens": usage.total,
        "prompt_tokens_details": before | ({"cache_write_tokens": written} if written else {}),
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }  # fmt: skip
    return made | ({"cost": usage.cost} if usage.cost is not None else {}) | own_fields(usage.extras)


def write_count(tokens: int) -> dict[str, Any]:
    """OpenAI has no such call; the shape is Anthropic's, which its callers know."""
    return {"input_tokens": tokens}


# ----------------------------------------------------------------------------------------------------------------- errors


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last words of a stream that failed; no [DONE] follows, for nothing is done."""
    return b"data: " + compact(error_body(error)).encode("utf-8", "backslashreplace") + b"\n\n"
