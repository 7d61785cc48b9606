"""OpenAI chat completions <-> ir: what OpenAI, OpenRouter, DeepSeek, Mistral, vLLM, Ollama and the like say under one name.

    read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}]})  -> ir.Request
    write_request(request, model="m", quirks={}, lost=lost)                        -> the body for an upstream
    read_answer(body) -> ir.Answer           write_answer(answer, request, lost)   -> the body for a caller
    StreamReader().feed(event) -> events     StreamWriter(request, lost=lost).feed(event) -> bytes

Quirks of an upstream (`quirks` of a provider in router.toml), each with what is done without it:

    max_tokens_field  "max_completion_tokens" for the models that demand it (MODERN_MODELS), else "max_tokens"
    reasoning         how thinking is asked for: "effort" (reasoning_effort; only models that think, THINKING_MODELS),
                      "openrouter", "thinking" (DeepSeek, GLM, Kimi), "enable_thinking" (Qwen), "none"
    reasoning_field   the field in which thoughts go back: "reasoning_content" for REPLAYING_MODELS, else "" (not sent);
                      "reasoning_details" sends the signatures too
    late_system       role of a system message inside the conversation: "user" (as a reminder), "system", "developer"
    system_role       role of what stands before the conversation: "system"
    json_schema       false: the server takes only json_object; the schema goes into the system text
    forced_choice_with_thinking  false: a forced tool choice becomes "auto" while the model thinks
    cache_control, top_k, video  true: sent; else lost
    id_form           "mistral": ids of calls have exactly nine letters and digits
    stream_usage      false: stream_options is not sent
    max_stop          4
    sampling          true: temperature and the like are sent to models known to refuse them (UNSTEERED_MODELS)
    drop              fields that the server refuses: ["seed"]
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from json.encoder import encode_basestring as quoted
from typing import Any
from urllib.parse import unquote_to_bytes

from .. import ir
from ..errors import BadRequest, GatewayError, StreamCut, UpstreamFailed, of_status
from ..sse import Event
from . import (
    compact,
    integer,
    items,
    lose_extras,
    minted_id,
    name_lost,
    number,
    obj,
    own_names,
    packed_id,
    paired,
    refuse,
    retry_after_s,
    safe_id,
    safe_name,
    text,
    truth,
    unpacked_id,
)  # fmt: skip

OWN = "openai"
KEEPALIVE = b"\n"  # a bare blank line is the one sign of life that every SDK takes; comments break some
DONE = b"data: [DONE]\n\n"

# GPT-5, o-series: 400 for max_tokens. The others take both or know only max_tokens.
MODERN_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9]|o[1-9]|codex|computer-use)")
THINKING_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9]|gpt-oss|o[1-9]|codex|grok-3-mini|gemini-(?:2\.5|[3-9]))")
MINIMAL_MODELS = re.compile(r"(?:^|/)gpt-5(?!\.)")        # know "minimal", not "none"
NONE_MODELS = re.compile(r"(?:^|/)gpt-5\.[1-9]")          # can be told not to think
UNSTEERED_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9](?!.*chat)|o[1-9])")  # 400 for temperature and its like
REPLAYING_MODELS = re.compile(r"deepseek|kimi|glm|minimax|qwen|mimo", re.IGNORECASE)  # want thoughts of tool turns back

EFFORT_BUDGETS = {"none": 0, "minimal": 512, "low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 65_536}
LOW_BELOW, MEDIUM_BELOW = 4_096, 16_384  # tokens of a thinking budget -> the effort that comes closest
MAX_USER_CHARS = 64                      # OpenAI refuses a longer `user`
MAX_MESSAGE_CHARS = 2_000                # of an upstream's error text

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

# OpenRouter's names for whose thoughts they are.
FORMATS = {"anthropic": "anthropic-claude-v1", "gemini": "google-gemini-v1", "openai": "openai-responses-v1"}
VENDORS = {name: vendor for vendor, name in FORMATS.items()}

AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}

BILLING_LINE = "x-anthropic-billing-header:"  # changes with every request: no cache of a prefix would ever hit
JSON_HINT = "Answer with one JSON object and nothing else."  # OpenAI refuses json_object when no message says JSON
IMAGES_NOTE = "[The images that the tool returned are in the next message.]"

REQUEST_FIELDS = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
    "presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs", "stop", "n", "tools", "tool_choice",
    "functions", "function_call", "parallel_tool_calls", "response_format", "reasoning_effort", "reasoning", "thinking",
    "enable_thinking", "thinking_budget", "user", "safety_identifier", "metadata", "service_tier", "prompt_cache_key",
})  # fmt: skip
MESSAGE_FIELDS = frozenset({
    "role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "reasoning_content", "reasoning",
    "reasoning_details", "thinking_blocks", "extra_content", "thought_signature", "images", "index",
})  # fmt: skip
# Of an answer: read, or of no use to anybody but this upstream.
ANSWER_FIELDS = frozenset({
    "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint", "obfuscation", "x_groq",
    "request_id", "time_info", "usage_breakdown", "sla_metrics", "prompt_filter_results", "error", "nvext",
})  # fmt: skip
CHOICE_FIELDS = frozenset({
    "index", "message", "delta", "finish_reason", "native_finish_reason", "stop_reason", "seed", "usage", "text",
    "content_filter_results", "content_filter_result", "matched_stop", "token_ids",
})  # fmt: skip
USAGE_FIELDS = frozenset({
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details", "cost",
    "cached_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "prompt_time", "completion_time", "queue_time",
    "total_time", "is_byok",
})  # fmt: skip

# ------------------------------------------------------------------------------------------------------- reading requests


def own(fields: Mapping[str, Any], known: frozenset[str]) -> ir.Extras:
    """The fields that have no neutral place, under our name; nulls and empties say nothing.

    own({"model": "m", "logit_bias": {"5": 1}, "store": None}, REQUEST_FIELDS) -> {"openai": {"logit_bias": {"5": 1}}}
    """
    if known.issuperset(fields):
        return ir.NOTHING
    rest = {name: value for name, value in fields.items() if name not in known and value not in (None, [], {}, "")}
    return {OWN: rest} if rest else ir.NOTHING


def mine(extras: ir.Extras) -> dict[str, Any]:
    """Our own vendor's fields of extras, to be put back: mine({"openai": {"store": True}}) -> {"store": True}"""
    return dict(extras.get(OWN, ir.NOTHING))


NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")


def read_stop(value: Any) -> tuple[str, ...]:
    """stop: "###" -> ("###",); ["a", "b"] -> ("a", "b"); null -> ()"""
    if isinstance(value, str):
        return (value,)
    return tuple(text(each, f"stop[{at}]") for at, each in enumerate(items(value, "stop")))


def read_user(fields: Mapping[str, Any]) -> str:
    return text(fields.get("safety_identifier") or fields.get("user") or "", "user")


def read_reasoning(fields: Mapping[str, Any]) -> ir.Reasoning | None:
    """OpenAI's reasoning_effort, OpenRouter's reasoning, DeepSeek's thinking, Qwen's enable_thinking; None if none of them.

    {"reasoning_effort": "high"}                         -> Reasoning("", effort="high")
    {"reasoning": {"max_tokens": 9, "exclude": true}}    -> Reasoning("on", 9, shown=False)
    {"thinking": {"type": "disabled"}}                   -> Reasoning("off")
    """
    asked = fields.get("reasoning")
    asked = asked if isinstance(asked, dict) else {}
    thinking = fields.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    effort = text(fields.get("reasoning_effort") or asked.get("effort") or "", "reasoning_effort")
    budget = asked.get("max_tokens", fields.get("thinking_budget"))
    if budget is None and isinstance(thinking, dict):
        budget = thinking.get("budget_tokens")
    switch = asked.get("enabled", fields.get("enable_thinking"))
    mode = {"enabled": "on", "disabled": "off", "adaptive": "adaptive"}.get(str(kind), "")
    if not mode and isinstance(switch, bool):
        mode = "on" if switch else "off"
    if not mode and budget is not None:
        mode = "on"
    shown = None if asked.get("exclude") is None else not asked["exclude"]
    made = ir.Reasoning(mode, integer(budget, "reasoning.max_tokens"), effort, shown)  # type: ignore[arg-type]  # of the table
    return None if made == ir.Reasoning() else made


def read_format(value: Any) -> ir.ResponseFormat | None:
    """{"type": "json_schema", "json_schema": {"name": "n", "schema": {...}}} -> ResponseFormat("schema", {...}, "n")"""
    if value is None:
        return None
    kind = obj(value, "response_format").get("type")
    if kind == "json_schema":
        given = obj(value.get("json_schema"), "response_format.json_schema")
        schema = obj(given.get("schema") or {}, "response_format.json_schema.schema")
        name, description = given.get("name") or "", given.get("description") or ""
        strict = truth(given.get("strict"), "response_format.json_schema.strict")
        return ir.ResponseFormat("schema", schema, str(name), str(description), strict)
    if kind in ("json_object", "text"):
        return ir.ResponseFormat("json" if kind == "json_object" else "text")
    return refuse("response_format.type", "must be text, json_object or json_schema")


TOOL_FIELDS = frozenset({"name", "description", "parameters", "strict", "cache_control"})


def read_tool(tool: Any, path: str) -> ir.Tool:
    """{"type": "function", "function": {"name": "f", "parameters": {...}}} -> Tool("f", parameters={...})

    {"type": "openrouter:web_search", ...} -> Tool("openrouter:web_search", vendor="openai", value=all of it)
    """
    kind = text(obj(tool, path).get("type", "function"), f"{path}.type")
    if kind not in ("function", "custom"):
        return ir.Tool(kind, vendor=OWN, value=tool)
    given = obj(tool.get(kind), f"{path}.{kind}")
    schema = given.get("parameters")
    rest = {name: value for name, value in given.items() if name not in TOOL_FIELDS}
    rest |= {name: value for name, value in tool.items() if name not in ("type", "function", "custom", "cache_control")}
    return ir.Tool(
        text(given.get("name"), f"{path}.{kind}.name"),
        text(given.get("description") or "", f"{path}.{kind}.description"),
        None if schema in (None, []) else obj(schema, f"{path}.{kind}.parameters"),
        truth(given.get("strict"), f"{path}.{kind}.strict"),
        custom=kind == "custom",
        cache_control=tool.get("cache_control") or given.get("cache_control"),
        extras={OWN: rest} if rest else ir.NOTHING,
    )


def read_tools(fields: Mapping[str, Any]) -> tuple[ir.Tool, ...]:
    tools = [read_tool(tool, f"tools[{at}]") for at, tool in enumerate(items(fields.get("tools"), "tools"))]
    old = enumerate(items(fields.get("functions"), "functions"))  # before 2023-12; some clients never changed
    return (*tools, *(read_tool({"type": "function", "function": each}, f"functions[{at}]") for at, each in old))


MODES = {"auto": ir.ToolChoice("auto"), "none": ir.ToolChoice("none"), "required": ir.ToolChoice("required"),
         "any": ir.ToolChoice("required")}  # fmt: skip  # the last is Mistral's word


def name_in(tool: Mapping[str, Any]) -> str:
    """The name in {"type": "function", "function": {"name": "f"}} and its shorter forms."""
    inner = tool.get("function") or tool.get("custom") or tool
    return text(inner.get("name") if isinstance(inner, dict) else None, "tool_choice.function.name")


def read_tool_choice(fields: Mapping[str, Any]) -> ir.ToolChoice | None:
    """tool_choice, or the older function_call.

    "required" -> ToolChoice("required");  {"type": "function", "function": {"name": "f"}} -> ToolChoice("required", ("f",))
    {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [...]}}           -> ToolChoice("auto", (...))
    """
    value = fields.get("tool_choice", fields.get("function_call"))
    if value is None:
        return None
    if isinstance(value, str):
        return MODES.get(value) or refuse("tool_choice", "must be auto, none or required")
    kind = obj(value, "tool_choice").get("type", "")
    if kind == "allowed_tools":
        allowed = obj(value.get("allowed_tools"), "tool_choice.allowed_tools")
        names = tuple(name_in(obj(tool, "tool_choice.allowed_tools.tools")) for tool in items(allowed.get("tools"), "tools"))
        return ir.ToolChoice("required" if allowed.get("mode") == "required" else "auto", names)
    return ir.ToolChoice("required", (name_in(value),))


class Conversation:
    """The messages as they are read: which calls are open, what their ids became, what they were called.

    Ids that are missing or come twice in one turn are minted; results find their call by id, or, without one, by order.
    """

    def __init__(self) -> None:
        self.system: list[ir.Part] = []
        self.messages: list[ir.Message] = []
        self._open: list[tuple[str, ir.ToolCall]] = []  # (id as it came, call), unanswered, in order

    def call(self, call: ir.ToolCall, place: str) -> ir.ToolCall:
        came, id_, vendor, signature = call.id, *unpacked_id(call.id)
        if not id_ or any(id_ == other.id for _, other in self._open):
            id_ = minted_id(place, call.name, call.arguments_text)
        call = replace(call, id=id_, vendor=vendor or call.vendor, signature=call.signature or signature)
        self._open.append((came, call))
        return call

    def answered(self, came: str) -> ir.ToolCall:
        """The call that a result belongs to; one of its own making where there is none."""
        for at, (id_, call) in enumerate(self._open):
            if came in ("", id_):
                del self._open[at]
                return call
        id_, vendor, _ = unpacked_id(came)
        return ir.ToolCall(id_ or minted_id("orphan", len(self.messages)), "", vendor=vendor)

    def forget(self) -> None:
        """A new turn of the assistant: what is open now stays unanswered."""
        self._open.clear()


def read_text(part: Mapping[str, Any], path: str) -> ir.Part:
    return ir.Text(text(part.get("text"), f"{path}.text"), cache_control=part.get("cache_control"))


def read_refusal(part: Mapping[str, Any], path: str) -> ir.Part:
    return ir.Refusal(text(part.get("refusal"), f"{path}.refusal"))


def read_thinking(part: Mapping[str, Any], path: str) -> ir.Part:
    """Mistral's: {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]} -> Thinking("Hm")"""
    inner = part.get("thinking")
    if isinstance(inner, list):
        inner = "".join(str(each.get("text") or "") for each in inner if isinstance(each, dict))
    return ir.Thinking(text(inner or "", f"{path}.thinking"))


def read_url(kind: ir.Kind, url: str, path: str) -> ir.Media:
    """A URL as it is, a data: URL taken apart (RFC 2397).

    "data:image/png;base64,AA==" -> Media("image", "image/png", "AA==");  "data:,a%20b" -> text/plain, base64 of "a b"
    """
    if url[:5].lower() != "data:":
        return ir.Media(kind, url=url)
    head, comma, data = url[5:].partition(",")
    if not comma:
        refuse(path, "is a data: URL without data")
    media_type, *parameters = head.split(";")
    if "base64" not in [parameter.strip().lower() for parameter in parameters]:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return ir.Media(kind, media_type.strip().lower() or "text/plain", data)


def read_image(part: Mapping[str, Any], path: str) -> ir.Part:
    """{"image_url": {"url": "data:image/png;base64,AA=="}} -> Media("image", "image/png", "AA==")"""
    given = part.get("image_url")
    given = {"url": given} if isinstance(given, str) else obj(given, f"{path}.image_url")
    made = read_url("image", text(given.get("url"), f"{path}.image_url.url"), f"{path}.image_url.url")
    return replace(made, detail=str(given.get("detail") or ""), cache_control=part.get("cache_control"))


def read_video(part: Mapping[str, Any], path: str) -> ir.Part:
    given = part.get("video_url")
    given = {"url": given} if isinstance(given, str) else obj(given, f"{path}.video_url")
    return read_url("video", text(given.get("url"), f"{path}.video_url.url"), f"{path}.video_url.url")


def read_audio(part: Mapping[str, Any], path: str) -> ir.Part:
    given = obj(part.get("input_audio"), f"{path}.input_audio")
    kind = text(given.get("format") or "wav", f"{path}.input_audio.format")
    data = text(given.get("data"), f"{path}.input_audio.data")
    return ir.Media("audio", AUDIO_TYPES.get(kind, f"audio/{kind}"), data, cache_control=part.get("cache_control"))


def read_file(part: Mapping[str, Any], path: str) -> ir.Part:
    """{"file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
    -> Media("document", "application/pdf", "AA==", name="a.pdf")
    """
    given = obj(part.get("file"), f"{path}.file")
    name = text(given.get("filename") or "", f"{path}.file.filename")
    cached = part.get("cache_control")
    if given.get("file_id"):
        found = text(given["file_id"], f"{path}.file.file_id")
        return ir.Media("document", file_id=found, name=name, vendor=OWN, cache_control=cached)
    data = text(given.get("file_data"), f"{path}.file.file_data")
    if not data.startswith(("data:", "http:", "https:")):
        data = f"data:application/pdf;base64,{data}"
    return replace(read_url("document", data, f"{path}.file.file_data"), name=name, cache_control=cached)


PARTS: Mapping[str, Callable[[Mapping[str, Any], str], ir.Part]] = {
    "text": read_text, "input_text": read_text, "output_text": read_text, "refusal": read_refusal,
    "thinking": read_thinking, "image_url": read_image, "video_url": read_video, "input_audio": read_audio,
    "file": read_file,
}  # fmt: skip


def read_content(content: Any, path: str) -> list[ir.Part]:
    """content: "hi" -> [Text("hi")]; a list of parts, each by its type; null and "" -> []"""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [ir.Text(content)]
    parts: list[ir.Part] = []
    for at, part in enumerate(items(content, f"{path}.content")):
        place = f"{path}.content[{at}]"
        if isinstance(part, str):
            parts.append(ir.Text(part))
            continue
        kind = text(obj(part, place).get("type"), f"{place}.type")
        reader = PARTS.get(kind)
        parts.append(reader(part, place) if reader else ir.Opaque(OWN, kind, part))
    return parts


def read_system(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    parts = read_content(message.get("content"), path)
    if made.messages:
        made.messages.append(ir.Message("developer" if message["role"] == "developer" else "system", tuple(parts)))
    else:
        made.system += parts


def read_user_message(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    parts, name = read_content(message.get("content"), path), message.get("name")
    made.messages.append(ir.Message("user", tuple(parts), str(name or ""), own(message, MESSAGE_FIELDS)))


def google_signature(value: Mapping[str, Any]) -> str:
    """Gemini's signature where its own OpenAI surface puts it: extra_content.google.thought_signature"""
    extra = value.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else value.get("thought_signature")
    return found if isinstance(found, str) else ""


def signed(parts: list[ir.Part], message: Mapping[str, Any]) -> list[ir.Part]:
    """A message's signature belongs to its last text; to an empty one where there is none."""
    signature = google_signature(message)
    if not signature:
        return parts
    last = parts[-1] if parts and isinstance(parts[-1], ir.Text) else ir.Text("")
    kept = parts[:-1] if parts and parts[-1] is last else parts
    return [*kept, replace(last, signature=signature, vendor="gemini")]


def read_call(call: Mapping[str, Any], path: str) -> ir.ToolCall:
    """{"id": "t1", "function": {"name": "f", "arguments": "{}"}} -> ToolCall("t1", "f", "{}", {}); id "" where it has none"""
    custom = call.get("type") == "custom"
    inner = obj(call.get("custom" if custom else "function"), f"{path}.function")
    given = inner.get("input" if custom else "arguments")
    given = "" if given is None else given if isinstance(given, str) else compact(given)  # some servers send the object
    signature = google_signature(call)
    return ir.ToolCall(
        text(call.get("id") or "", f"{path}.id"), text(inner.get("name"), f"{path}.function.name"), given,
        None if custom else ir.object_in(given), custom, signature, "gemini" if signature else "",
    )  # fmt: skip


def details_in(details: Any) -> list[ir.Thinking]:
    """[{"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"}]
    -> [Thinking("Hm", "s", "anthropic")]; reasoning.encrypted -> Thinking(data=...), reasoning.summary -> its text
    """
    found = []
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        said = detail.get("text") or detail.get("summary") or ""
        data, signature = detail.get("data") or "", detail.get("signature") or ""
        if not all(isinstance(each, str) for each in (said, data, signature)) or not (said or data or signature):
            continue
        kept = {name: detail[name] for name in ("id", "format") if isinstance(detail.get(name), str)} if data else {}
        vendor = VENDORS.get(str(detail.get("format")), "")
        found.append(ir.Thinking(said, signature, vendor, data, {OWN: kept} if kept else ir.NOTHING))
    return found


def blocks_in(blocks: Any) -> list[ir.Thinking]:
    """[{"type": "thinking", "thinking": "Hm", "signature": "s"}] -> [Thinking("Hm", "s", "anthropic")]"""
    found = []
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            made = [str(block.get(name) or "") for name in ("thinking", "signature", "data")]
            if any(made):
                found.append(ir.Thinking(made[0], made[1], "anthropic", made[2]))
    return found


def thoughts_in(message: Mapping[str, Any]) -> list[ir.Thinking]:
    """The thoughts of a message or delta, from the first place that has any: OpenRouter's details with their signatures,
    LiteLLM's blocks, DeepSeek's reasoning_content, Groq's and vLLM's reasoning. The places repeat each other.
    """
    for found in (details_in(message.get("reasoning_details")), blocks_in(message.get("thinking_blocks"))):
        if found:
            return found
    plain = message.get("reasoning_content") or message.get("reasoning")
    return [ir.Thinking(plain)] if isinstance(plain, str) and plain else []


def message_parts(message: Mapping[str, Any], path: str) -> list[ir.Part]:
    """What an assistant said, asked or answered: thoughts, text, refusal, images, calls, in this order."""
    parts: list[ir.Part] = [*thoughts_in(message)]
    content = read_content(message.get("content"), path)
    said: list[ir.Part] = [part for part in content if not isinstance(part, ir.Thinking)]
    parts += [*(part for part in content if isinstance(part, ir.Thinking)), *signed(said, message)]
    if message.get("refusal"):
        parts.append(ir.Refusal(text(message["refusal"], f"{path}.refusal")))
    for at, image in enumerate(items(message.get("images"), f"{path}.images")):
        parts.append(read_image(obj(image, f"{path}.images[{at}]"), f"{path}.images[{at}]"))
    for at, call in enumerate(items(message.get("tool_calls"), f"{path}.tool_calls")):
        parts.append(read_call(obj(call, f"{path}.tool_calls[{at}]"), f"{path}.tool_calls[{at}]"))
    if message.get("function_call"):
        parts.append(read_call({"function": message["function_call"]}, f"{path}.function_call"))
    return parts


def read_assistant(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    if not (made.messages and made.messages[-1].role == "assistant"):
        made.forget()
    parts = message_parts(message, path)
    parts = [made.call(part, f"{path}.{at}") if isinstance(part, ir.ToolCall) else part for at, part in enumerate(parts)]
    made.messages.append(ir.Message("assistant", tuple(parts), str(message.get("name") or ""), own(message, MESSAGE_FIELDS)))


def read_result(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    """A tool's message joins the results before it: {"role": "tool", "tool_call_id": "t1", "content": "42"}"""
    call = made.answered(text(message.get("tool_call_id") or "", f"{path}.tool_call_id"))
    content = read_content(message.get("content"), path)
    parts = tuple(part for part in content if isinstance(part, ir.Text | ir.Media | ir.Opaque))
    name = call.name or str(message.get("name") or "")
    result = ir.ToolResult(call.id, parts, name=name, vendor=call.vendor, cache_control=message.get("cache_control"))
    last = made.messages[-1] if made.messages else None
    if last is not None and last.role == "user" and last.parts and isinstance(last.parts[-1], ir.ToolResult):
        made.messages[-1] = replace(last, parts=(*last.parts, result))
    else:
        made.messages.append(ir.Message("user", (result,)))


ROLES: Mapping[str, Callable[[Mapping[str, Any], str, Conversation], None]] = {
    "system": read_system, "developer": read_system, "user": read_user_message, "assistant": read_assistant,
    "tool": read_result, "function": read_result,
}  # fmt: skip


def read_messages(messages: Sequence[Any]) -> tuple[tuple[ir.Part, ...], tuple[ir.Message, ...]]:
    """(what stands before the conversation, the conversation)"""
    if not messages:
        refuse("messages", "must hold at least one message")
    made = Conversation()
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        role = text(obj(message, path).get("role"), f"{path}.role")
        reader = ROLES.get(role) or refuse(f"{path}.role", "must be system, developer, user, assistant or tool")
        reader(message, path, made)
    return tuple(made.system), tuple(made.messages)


def read_request(fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A caller's body -> ir.Request; BadRequest says which field is wrong. `model` and `stream` win over the body's."""
    system, messages = read_messages(items(fields.get("messages"), "messages"))
    options = obj(fields.get("stream_options") or {}, "stream_options")
    longest = fields.get("max_completion_tokens")
    return ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=messages,
        system=system,
        tools=read_tools(fields),
        tool_choice=read_tool_choice(fields),
        parallel_tool_calls=truth(fields.get("parallel_tool_calls"), "parallel_tool_calls"),
        stream=stream if stream is not None else truth(fields.get("stream"), "stream") or False,
        include_usage=truth(options.get("include_usage"), "stream_options.include_usage") or False,
        max_tokens=integer(fields.get("max_tokens") if longest is None else longest, "max_tokens"),
        top_k=integer(fields.get("top_k"), "top_k"),
        seed=integer(fields.get("seed"), "seed"),
        top_logprobs=integer(fields.get("top_logprobs"), "top_logprobs"),
        n=integer(fields.get("n"), "n"),
        logprobs=truth(fields.get("logprobs"), "logprobs"),
        stop=read_stop(fields.get("stop")),
        reasoning=read_reasoning(fields),
        response_format=read_format(fields.get("response_format")),
        user=read_user(fields),
        metadata=obj(fields.get("metadata") or {}, "metadata"),
        service_tier=text(fields.get("service_tier") or "", "service_tier"),
        cache_key=text(fields.get("prompt_cache_key") or "", "prompt_cache_key"),
        extras=own(fields, REQUEST_FIELDS),
        **{name: number(fields.get(name), name) for name in NUMBERS},
    )


# ------------------------------------------------------------------------------------------------------- writing requests


class Writing:
    """One request on its way to an upstream: for which model, with which quirks, and what was lost."""

    def __init__(self, request: ir.Request, model: str, quirks: Mapping[str, Any], lost: list[str]) -> None:
        self.request, self.model, self.quirks, self._lost = request, model, quirks, lost
        name = model.lower()
        self.thinks = bool(THINKING_MODELS.search(name)) or "reasoning" in quirks
        replay = "reasoning_content" if REPLAYING_MODELS.search(name) else ""
        self.thought_field = str(quirks.get("reasoning_field", replay))
        self.keeps_cache_control = quirks.get("cache_control") is True

    def lose(self, name: str) -> None:
        name_lost(self._lost, name)

    def lose_extras(self, extras: ir.Extras, where: str = "") -> None:
        lose_extras(extras, OWN, self._lost, where)

    def id(self, call: ir.ToolCall | ir.ToolResult) -> str:
        """A call's id as this upstream takes it; the same for call and result, on every turn."""
        if self.quirks.get("id_form") == "mistral":
            return call.id if re.fullmatch(r"[A-Za-z0-9]{9}", call.id) else hashlib.sha256(call.id.encode()).hexdigest()[:9]
        return safe_id(call.id)

    def cached(self, part: ir.Text | ir.Media | ir.Tool | ir.ToolResult, made: dict[str, Any]) -> dict[str, Any]:
        if part.cache_control is not None:
            if self.keeps_cache_control:
                return {**made, "cache_control": part.cache_control}
            self.lose("cache_control")
        return made


def effort_of(reasoning: ir.Reasoning) -> str:
    """Reasoning("on", 10_000) -> "medium"; Reasoning("", effort="low") -> "low"; Reasoning("off") -> "none"; else "" """
    if reasoning.mode == "off" or reasoning.budget_tokens == 0:
        return "none"
    if reasoning.effort or reasoning.budget_tokens is None or reasoning.budget_tokens < 0:
        return reasoning.effort
    if reasoning.budget_tokens < LOW_BELOW:
        return "low"
    return "medium" if reasoning.budget_tokens < MEDIUM_BELOW else "high"


REFUSED_BY_THINKERS = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
                                 "stop"})  # fmt: skip


def unsteered(to: Writing) -> bool:
    """Whether the model takes its own sampling only: o-series and GPT-5, unless it is told not to think."""
    asked = to.request.reasoning
    quiet = asked is not None and effort_of(asked) == "none" and NONE_MODELS.search(to.model.lower())
    return bool(UNSTEERED_MODELS.search(to.model.lower())) and not quiet and not to.quirks.get("sampling")


def write_sampling(to: Writing) -> dict[str, Any]:
    asked = to.request
    body: dict[str, Any] = {}
    if asked.max_tokens is not None:
        modern = MODERN_MODELS.search(to.model.lower())
        body[to.quirks.get("max_tokens_field") or ("max_completion_tokens" if modern else "max_tokens")] = asked.max_tokens
    for name in (*NUMBERS, "seed", "logprobs", "top_logprobs"):
        if getattr(asked, name) is not None:
            body[name] = getattr(asked, name)
    if asked.stop:
        most = int(to.quirks.get("max_stop", 4))
        body["stop"] = list(asked.stop[:most])
        if len(asked.stop) > most:
            to.lose(f"stop[{most}:]")
    for name in sorted(REFUSED_BY_THINKERS & body.keys()) if unsteered(to) else ():
        del body[name]
        to.lose(name)
    if asked.n is not None and asked.n != 1:
        body["n"] = asked.n
    if asked.top_k is not None:
        if to.quirks.get("top_k") is True:
            body["top_k"] = asked.top_k
        else:
            to.lose("top_k")
    return body


TIERS = {"auto": "auto", "default": "default", "standard_only": "default", "standard": "default", "flex": "flex",
         "priority": "priority", "scale": "scale"}  # fmt: skip


def write_rest(to: Writing) -> dict[str, Any]:
    """user, service_tier, cache key, metadata."""
    asked = to.request
    body: dict[str, Any] = {}
    if asked.user:  # too long a one (Claude Code sends a record of itself) keeps what it is for: one user, one value
        long = len(asked.user) > MAX_USER_CHARS
        body["user"] = "user_" + hashlib.sha256(asked.user.encode()).hexdigest()[:32] if long else asked.user
    if asked.service_tier:
        if asked.service_tier in TIERS:
            body["service_tier"] = TIERS[asked.service_tier]
        else:
            to.lose(f"service_tier={asked.service_tier}")
    if asked.cache_key:
        body["prompt_cache_key"] = asked.cache_key
    if asked.metadata:
        if mine(asked.extras).get("store"):
            body["metadata"] = dict(asked.metadata)
        else:
            to.lose("metadata")  # refused without `store`
    return body


def openai_effort(to: Writing, effort: str) -> dict[str, Any]:
    """The nearest word that the model knows."""
    name = to.model.lower()
    if effort == "max" and not to.quirks.get("reasoning"):
        effort = "xhigh" if NONE_MODELS.search(name) else "high"
    if effort == "none" and not NONE_MODELS.search(name) and not to.quirks.get("reasoning"):
        to.lose("reasoning=off")  # this model cannot but think
        effort = "minimal" if MINIMAL_MODELS.search(name) else "low"
    return {"reasoning_effort": effort} if effort else {}


def openrouter_reasoning(asked: ir.Reasoning, effort: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if effort == "none":
        body["effort"] = "none"
    elif asked.budget_tokens is not None and asked.budget_tokens > 0:
        body["max_tokens"] = asked.budget_tokens
    elif effort:
        body["effort"] = "xhigh" if effort == "max" else effort
    else:
        body["enabled"] = True
    return body | ({"exclude": not asked.shown} if asked.shown is not None else {})


def write_reasoning(to: Writing) -> dict[str, Any]:
    asked = to.request.reasoning
    if asked is None:
        return {}
    style = to.quirks.get("reasoning", "effort")
    effort = effort_of(asked)
    if asked.shown and style != "openrouter":
        to.lose("reasoning.shown")
    if style == "openrouter":
        return {"reasoning": openrouter_reasoning(asked, effort)}
    if style == "thinking" and (asked.mode or effort):
        return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}
    if style == "enable_thinking" and (asked.mode or effort):
        budget = asked.budget_tokens if asked.budget_tokens is not None else EFFORT_BUDGETS.get(effort)
        return {"enable_thinking": effort != "none"} | ({"thinking_budget": budget} if budget else {})
    if style != "effort" or not to.thinks:
        if effort != "none":
            to.lose("reasoning")
        return {}
    return openai_effort(to, effort)


def system_role(to: Writing) -> str:
    return str(to.quirks.get("system_role", "system"))


def add_hint(to: Writing, messages: list[dict[str, Any]], hint: str) -> None:
    role = system_role(to)
    if messages and messages[0]["role"] == role and isinstance(messages[0]["content"], str):
        messages[0]["content"] += "\n\n" + hint
    else:
        messages.insert(0, {"role": role, "content": hint})


def write_format(to: Writing, asked: ir.ResponseFormat, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """response_format; a hint goes into the messages where the server would refuse or not know it."""
    if asked.kind == "schema" and to.quirks.get("json_schema", True):
        inner: dict[str, Any] = {"name": safe_name(asked.name or "response"), "schema": asked.schema or {}}
        inner |= {"strict": asked.strict} if asked.strict is not None else {}
        inner |= {"description": asked.description} if asked.description else {}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}
    if asked.kind == "schema":
        add_hint(to, messages, f"{JSON_HINT} It must fit this JSON schema:\n{compact(asked.schema)}")
        to.lose("response_format.schema=in the system text")
    elif "json" not in compact(messages).lower():
        add_hint(to, messages, JSON_HINT)
    return {"response_format": {"type": "json_object"}}


def write_tool(to: Writing, tool: ir.Tool) -> list[dict[str, Any]]:
    if tool.value is not None:
        if tool.vendor == OWN:
            return [dict(tool.value)]
        to.lose(f"tools={tool.name}")
        return []
    to.lose_extras(tool.extras, "tools.")
    kind = "custom" if tool.custom else "function"
    inner: dict[str, Any] = {"name": safe_name(tool.name)}
    if tool.description:
        inner["description"] = tool.description
    if not tool.custom:
        inner["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
        inner |= {"strict": tool.strict} if tool.strict is not None else {}
    return [to.cached(tool, {"type": kind, kind: inner | mine(tool.extras)})]


def write_choice(to: Writing, choice: ir.ToolChoice) -> Any:
    """One named tool is forced by name; several are forced by having left out the others."""
    asked = to.request.reasoning
    forced = choice.mode == "required"
    if forced and to.quirks.get("forced_choice_with_thinking") is False and asked and effort_of(asked) != "none":
        to.lose("tool_choice=auto while thinking")
        return "auto"
    if not forced or len(choice.names) != 1:
        return choice.mode
    tool = next((tool for tool in to.request.tools if tool.name == choice.names[0]), None)
    kind = "custom" if tool is not None and tool.custom else "function"
    return {"type": kind, kind: {"name": safe_name(choice.names[0])}}


def write_tools(to: Writing) -> dict[str, Any]:
    """tools, tool_choice, parallel_tool_calls: the last two only where there are tools, else they are refused."""
    choice = to.request.tool_choice
    names = set(choice.names) if choice is not None else set()
    only = names if choice is not None and (len(names) > 1 or (names and choice.mode == "auto")) else set()
    tools = [made for tool in to.request.tools if not only or tool.name in only for made in write_tool(to, tool)]
    if not tools:
        if choice is not None and choice.mode == "required":
            to.lose("tool_choice")
        return {}
    body: dict[str, Any] = {"tools": tools}
    if choice is not None:
        body["tool_choice"] = write_choice(to, choice)
    if to.request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = to.request.parallel_tool_calls
    return body


def told_to_anthropic(to: Writing, part: ir.Part) -> bool:
    """Claude Code's first line is a hash of the request, for Anthropic alone: with it no cached prefix ever matches."""
    if isinstance(part, ir.Text) and part.text.startswith(BILLING_LINE):
        to.lose("system.x-anthropic-billing-header")
        return True
    return False


def data_url(part: ir.Media, media_type: str) -> str:
    return f"data:{part.media_type or media_type};base64,{part.data}"


def cannot_send(to: Writing, part: ir.Media, why: str) -> list[dict[str, Any]]:
    """What cannot be sent is named in `lost`, and the model is told that there was something."""
    to.lose(f"{part.kind}.{why}")
    return [{"type": "text", "text": f"[{part.kind} that could not be passed on: {part.url or part.name or part.media_type}]"}]


def write_image(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    if part.file_id or not (part.data or part.url.startswith(("http:", "https:"))):
        return cannot_send(to, part, "file_id" if part.file_id else "url")
    made = {"url": data_url(part, "image/png") if part.data else part.url}
    return [{"type": "image_url", "image_url": made | ({"detail": part.detail} if part.detail else {})}]


def write_audio(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    kind = AUDIO_FORMATS.get(part.media_type.partition(";")[0])
    if not part.data or kind is None:
        return cannot_send(to, part, "url" if part.url else part.media_type or "file_id")
    return [{"type": "input_audio", "input_audio": {"data": part.data, "format": kind}}]


def write_video(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    if to.quirks.get("video") is True and (part.data or part.url):
        return [{"type": "video_url", "video_url": {"url": part.url or data_url(part, "video/mp4")}}]
    return cannot_send(to, part, "video")


def decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return refuse("document.data", "is no base64")


def write_document(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    """Text documents as text, others as files; this wire takes none by URL."""
    if part.text is not None:
        title = f' title="{part.name}"' if part.name else ""
        return [{"type": "text", "text": f"<document{title}>\n{part.text}\n</document>"}]
    if part.file_id and part.vendor == OWN:
        return [{"type": "file", "file": {"file_id": part.file_id}}]
    if not part.data:
        return cannot_send(to, part, "url" if part.url else "file_id")
    if part.media_type.startswith("text/"):
        return write_document(to, replace(part, text=decoded(part.data)))
    name = part.name or f"document.{part.media_type.rpartition('/')[2] or 'pdf'}"
    return [{"type": "file", "file": {"filename": name, "file_data": data_url(part, "application/pdf")}}]


MEDIA: Mapping[ir.Kind, Callable[[Writing, ir.Media], list[dict[str, Any]]]] = {
    "image": write_image, "audio": write_audio, "video": write_video, "document": write_document,
}  # fmt: skip


def write_part(to: Writing, part: ir.Part) -> list[dict[str, Any]]:
    """A part of a user's message, or of a result; [] where it is lost."""
    if isinstance(part, ir.Text):
        to.lose_extras(part.extras)
        return [to.cached(part, {"type": "text", "text": part.text})]
    if isinstance(part, ir.Media):
        to.lose_extras(part.extras)
        return [to.cached(part, made) for made in MEDIA[part.kind](to, part)]
    if isinstance(part, ir.Opaque):
        if part.vendor == OWN:
            return [dict(part.value)]
        if part.text:
            return [{"type": "text", "text": part.text}]
        to.lose(part.kind)
    elif isinstance(part, ir.Refusal):
        return [{"type": "text", "text": part.text}]
    elif isinstance(part, ir.Thinking):
        to.lose("thinking")
    return []


def write_system(to: Writing) -> Any:
    """One text, which every server takes; a list where the marks of a cache are kept."""
    parts = [part for part in to.request.system if not told_to_anthropic(to, part)]
    if any(isinstance(part, ir.Text) and part.cache_control for part in parts) and to.keeps_cache_control:
        return [made for part in parts for made in write_part(to, part)]
    texts = [made["text"] for part in parts for made in write_part(to, part) if made["type"] == "text"]
    return "\n\n".join(texts)


def write_late_system(to: Writing, message: ir.Message) -> list[dict[str, Any]]:
    """A system message inside the conversation stays where it is: hoisting it would spoil the cached prefix."""
    told = "\n\n".join(made["text"] for part in message.parts for made in write_part(to, part) if made["type"] == "text")
    role = str(to.quirks.get("late_system", "user"))
    if role == "user":
        told = f"<system-reminder>\n{told}\n</system-reminder>"
    return [{"role": role, "content": told}]


def content_of(parts: list[dict[str, Any]]) -> Any:
    """One text is a string: some servers take nothing else."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def write_result(to: Writing, result: ir.ToolResult) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the tool's message, the images and files in it, which only a user may send)

    An error has no mark of its own on this wire: its text begins with "Error: ".
    """
    parts = [made for part in result.parts for made in write_part(to, part)]
    texts = [made["text"] for made in parts if made["type"] == "text"]
    media = [made for made in parts if made["type"] != "text"]
    told = "\n".join(texts + ([IMAGES_NOTE] if media else []))
    if result.is_error and not told.lower().startswith("error"):
        told = f"Error: {told}"
    to.lose_extras(result.extras)
    return to.cached(result, {"role": "tool", "tool_call_id": to.id(result), "content": told}), media


def write_user(to: Writing, message: ir.Message) -> list[dict[str, Any]]:
    """Results as messages of their own, first; then what the user said, with the images that came in results."""
    out: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ir.ToolResult):
            result, images = write_result(to, part)
            out.append(result)
            said += images
        else:
            said += write_part(to, part)
    if said or not out:
        made: dict[str, Any] = {"role": "user", "content": content_of(said)}
        out.append(made | ({"name": message.name} if message.name else {}) | mine(message.extras))
    return out


def assistant_texts(to: Writing, part: ir.Part) -> list[str]:
    made = write_part(to, part)
    if any(each["type"] != "text" for each in made):
        to.lose(f"assistant.{part.kind if isinstance(part, ir.Media) else type(part).__name__}")  # users alone may send it
    if isinstance(part, ir.Text) and part.signature:
        to.lose("signature")
    return [each["text"] for each in made if each["type"] == "text"]


def write_call(to: Writing, call: ir.ToolCall) -> dict[str, Any]:
    """A call in the history. Gemini's signature goes where its own OpenAI surface wants it."""
    kind = "custom" if call.custom else "function"
    given = call.arguments_text or ("" if call.custom else compact(call.arguments or {}))
    inner = {"name": safe_name(call.name), "input" if call.custom else "arguments": given}
    made: dict[str, Any] = {"id": to.id(call), "type": kind, kind: inner}
    if call.signature and "gemini" in to.model.lower():
        made["extra_content"] = {"google": {"thought_signature": call.signature}}
    elif call.signature:
        to.lose("signature")
    return made


def details_of(thought: ir.Thinking, index: int) -> list[dict[str, Any]]:
    """Thinking("Hm", "s", "anthropic")
    -> [{"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]
    """
    made: dict[str, Any] = {"type": "reasoning.encrypted" if thought.data else "reasoning.text"}
    made |= {"data": thought.data} if thought.data else {"text": thought.text}
    made |= {"signature": thought.signature} if thought.signature else {}
    return [made | {"format": FORMATS.get(thought.vendor, "unknown"), "index": index} | mine(thought.extras)]


def write_thoughts(to: Writing, thoughts: Sequence[ir.Thinking], with_calls: bool) -> dict[str, Any]:
    """Thoughts go back to those who ask for them: signed ones as details, plain ones on tool turns."""
    if not thoughts:
        return {}
    if to.thought_field == "reasoning_details":
        return {"reasoning_details": [each for at, thought in enumerate(thoughts) for each in details_of(thought, at)]}
    if not to.thought_field or not with_calls:
        to.lose("thinking")
        return {}
    if any(thought.signature or thought.data for thought in thoughts):
        to.lose("thinking.signature")
    return {to.thought_field: "".join(thought.text for thought in thoughts)}


def write_assistant(to: Writing, message: ir.Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": "assistant", "content": None}
    calls = [part for part in message.parts if isinstance(part, ir.ToolCall)]
    thoughts = [part for part in message.parts if isinstance(part, ir.Thinking)]
    texts: list[str] = []
    for part in message.parts:
        if isinstance(part, ir.Refusal):
            made["refusal"] = made.get("refusal", "") + part.text
        elif not isinstance(part, ir.ToolCall | ir.Thinking):
            texts += assistant_texts(to, part)
    if texts or not (calls or "refusal" in made):
        made["content"] = "".join(texts)
    if calls:
        made["tool_calls"] = [write_call(to, call) for call in calls]
    if message.name:
        made["name"] = message.name
    return made | write_thoughts(to, thoughts, bool(calls))


def write_messages(to: Writing, messages: Iterable[ir.Message]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    system = write_system(to)
    if system:
        out.append({"role": system_role(to), "content": system})
    for message in messages:
        to.lose_extras(message.extras)
        if message.role == "assistant":
            out.append(write_assistant(to, message) | mine(message.extras))
        elif message.role == "user":
            out += write_user(to, message)
        else:
            out += write_late_system(to, message)
    return out


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: list[str]) -> dict[str, Any]:
    """The body for an upstream; what it has no place for is named in `lost`."""
    to = Writing(request, model, quirks, lost)
    body: dict[str, Any] = {"model": model, "messages": write_messages(to, paired(request.messages, lost))}
    body |= write_tools(to) | write_sampling(to) | write_reasoning(to) | write_rest(to)
    if request.response_format is not None and request.response_format.kind != "text":
        body |= write_format(to, request.response_format, body["messages"])
    if request.stream:
        body["stream"] = True
        if quirks.get("stream_usage", True):
            body["stream_options"] = {"include_usage": True}  # always: the caller's own wish is the writer's business
    body |= mine(request.extras)
    to.lose_extras(request.extras)
    for name in [name for name in quirks.get("drop", ()) if name in body]:
        del body[name]
        to.lose(name)
    return body


# ------------------------------------------------------------------------------------------------------------------ usage


def count(fields: Any, *names: str) -> int:
    """The first of `names` that is a count in `fields`; 0 without."""
    if isinstance(fields, dict):
        for name in names:
            value = fields.get(name)
            if value and isinstance(value, (int, float)) and value is not True and 0 < value < math.inf:  # 1e999 is inf
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
    before, after = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt, completion = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    read = min(prompt, count(before, "cached_tokens") or count(usage, "prompt_cache_hit_tokens", "cached_tokens"))
    written = min(prompt - read, count(before, "cache_write_tokens", "cache_creation_tokens"))
    output = max(completion, count(usage, "total_tokens") - prompt)
    reasoning = min(output, max(count(after, "reasoning_tokens"), output - completion))
    cost = usage.get("cost")
    return ir.Usage(
        prompt - read - written, read, written, 0, output - reasoning, reasoning,
        float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None, own(usage, USAGE_FIELDS),
    )  # fmt: skip


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """What a relayed answer says of its usage."""
    return read_usage(answer.get("usage"))


def chunk_usage(chunk: Mapping[str, Any]) -> ir.Usage | None:
    """What a chunk of a stream says of usage: as answers do, in its choice (Moonshot), or under x_groq (Groq)."""
    found = chunk.get("usage")
    if not found and isinstance(chunk.get("x_groq"), dict):
        found = chunk["x_groq"].get("usage")
    if not found:
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        found = first.get("usage") if isinstance(first, dict) else None
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
    return made | ({"cost": usage.cost} if usage.cost is not None else {}) | mine(usage.extras)


def write_count(tokens: int) -> dict[str, Any]:
    """OpenAI has no such call; the shape is Anthropic's, which those who ask for it know."""
    return {"input_tokens": tokens}


# ----------------------------------------------------------------------------------------------------------------- errors

CONTEXT = re.compile(r"maximum context length|context[_ ]length|context window|prompt is too long|input is too long", re.I)
TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_quota", 403: "permission_error",
         404: "invalid_request_error", 408: "timeout_error", 413: "invalid_request_error", 429: "rate_limit_error"}  # fmt: skip
CODES = {"unauthorized": "invalid_api_key", "no_credit": "insufficient_quota", "rate_limited": "rate_limit_exceeded"}
OVERLOADED = 529  # Anthropic's own; OpenAI's clients know 503


def error_in(value: Any) -> Mapping[str, Any]:
    """The error in what an upstream said, whatever shape it has; {} if there is none.

    {"error": {"message": "m"}}, [{"error": {...}}], {"error": "m"}, {"detail": "m"}, {"object": "error", "message": "m"}
    """
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return {}
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {**value, "message": error}
    if "choices" in value:
        return {}
    told = value.get("message") or value.get("detail") or value.get("errors")
    return {**value, "message": told if isinstance(told, str) else compact(told)} if told else {}


def told_in(error: Mapping[str, Any]) -> str:
    """Its text; with OpenRouter also what the provider behind it said."""
    message = error.get("message")
    message = message if isinstance(message, str) and message.strip() else compact(error)
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f"{message}: {raw}"[:MAX_MESSAGE_CHARS] if isinstance(raw, str) and raw else message[:MAX_MESSAGE_CHARS]


STATUSES = {"invalid_request_error": 400, "authentication_error": 401, "permission_error": 403, "rate_limit_error": 429,
            "rate_limit_exceeded": 429, "insufficient_quota": 429, "server_error": 500, "overloaded_error": 503}  # fmt: skip


def error_of(error: Mapping[str, Any], status: int, wait_s: float | None = None) -> GatewayError:
    """status 0: as the error says itself (`code`: 429), else 502."""
    message, code = told_in(error), error.get("code")
    if not status:
        status = code if isinstance(code, int) and 400 <= code < 600 else STATUSES.get(str(error.get("type")), 502)
    named = None
    if code in ("context_length_exceeded", "string_above_max_length") or (status in (400, 413) and CONTEXT.search(message)):
        named = "context_length_exceeded"
    elif code == "insufficient_quota" or error.get("type") == "insufficient_quota":
        named = "no_credit"
    elif code == "model_not_found":
        named = "model_not_found"
    details = {name: error[name] for name in ("type", "code", "param") if error.get(name) is not None}
    return of_status(status, message, code=named, retry_after_s=wait_s, details=details)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An upstream's refusal -> our error, with its status, its wait and its words.

    read_error(429, {"retry-after": "7"}, b'{"error": {"message": "slow down"}}') -> RateLimited("slow down"), retry_after_s 7.0
    """
    try:
        error = error_in(json.loads(body))
    except (ValueError, RecursionError):
        error = {}
    if not error:
        plain = " ".join(body[: 4 * MAX_MESSAGE_CHARS].decode("utf-8", "replace").split())
        error = {"message": plain[:300] or "the upstream gave no reason"}
    return error_of(error, status, retry_after_s(headers))


def error_body(error: GatewayError) -> dict[str, Any]:
    """BadRequest("bad", details={"path": "tools[0]"})
    -> {"error": {"message": "bad", "type": "invalid_request_error", "param": "tools[0]", "code": "bad_request"}}
    """
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    param = error.details.get("param", error.details.get("path"))
    code = CODES.get(error.code, error.code)
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
    """(status, headers, body) for a caller."""
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
    return 503 if error.status == OVERLOADED else error.status, headers, error_body(error)


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last words of a stream that failed; no [DONE] follows, for nothing is done."""
    return b"data: " + compact(error_body(error)).encode("utf-8", "backslashreplace") + b"\n\n"


# -------------------------------------------------------------------------------------------------------- reading answers


def stop_of(native: Any, parts_called: bool, refused: bool, matched: Any = None) -> ir.Stop:
    """Why it ended, by what is really there: the word alone is wrong too often.

    "stop" with calls -> tool_calls;  "tool_calls" without any -> end;  "stop" with a refusal -> refusal
    """
    told = native if isinstance(native, str) else ""
    reason: ir.Reason = FINISH.get(told, "other" if told else "end")
    if parts_called and reason in ("end", "other", "stop_sequence"):
        reason = "tool_calls"
    elif reason == "tool_calls" and not parts_called:
        reason = "end"
    elif refused and reason == "end":
        reason = "refusal"
    sequence = matched if isinstance(matched, str) else ""
    if sequence and reason == "end":
        reason = "stop_sequence"
    return ir.Stop(reason, told, sequence)


def choice_extras(choice: Mapping[str, Any], message: Mapping[str, Any]) -> ir.Extras:
    """logprobs, annotations, audio and the like."""
    rest = mine(own(choice, CHOICE_FIELDS)) | mine(own(message, MESSAGE_FIELDS))
    return {OWN: rest} if rest else ir.NOTHING


def read_candidate(choice: Any, answer_id: str, number: int) -> ir.Candidate:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise UpstreamFailed("the upstream's answer has a choice without a message")
    parts = message_parts(message, f"choices[{number}].message")
    seen: set[str] = set()
    for at, part in enumerate(parts):
        if isinstance(part, ir.ToolCall):
            if not part.id or part.id in seen:
                made = minted_id(answer_id, number, at, part.name, part.arguments_text)
                parts[at] = part = replace(part, id=made)
            seen.add(part.id)
    refused = any(isinstance(part, ir.Refusal) for part in parts)
    stop = stop_of(choice.get("finish_reason"), bool(seen), refused, choice.get("stop_reason"))
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
        answer_id, str(body.get("model") or ""), candidates, read_usage(body.get("usage")), count(body, "created"),
        str(body.get("service_tier") or ""), own(body, ANSWER_FIELDS),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- writing answers

REFUSED = "The upstream ended the answer: "  # where it gives no reason of its own


def refusal_text(stop: ir.Stop) -> str:
    """Stop("refusal", "SAFETY") -> "The upstream ended the answer: SAFETY"; Anthropic's own explanation where there is one."""
    details = stop.extras.get("anthropic", {}).get("stop_details")
    explained = details.get("explanation") if isinstance(details, dict) else None
    return explained if isinstance(explained, str) and explained else REFUSED + (stop.native or "refusal")


def image_of(part: ir.Media) -> dict[str, Any]:
    """A picture in an answer, as OpenRouter sends it."""
    return {"type": "image_url", "image_url": {"url": data_url(part, "image/png") if part.data else part.url}}


def outgoing_call(call: ir.ToolCall, names: Mapping[str, str]) -> dict[str, Any]:
    """A call for a caller: the name is its own again, the id carries what the upstream wants back."""
    kind, field = ("custom", "input") if call.custom else ("function", "arguments")
    given = call.arguments_text or ("" if call.custom else compact(call.arguments or {}))
    made: dict[str, Any] = {"id": packed_id(call), "type": kind, kind: {"name": names.get(call.name, call.name), field: given}}
    if call.signature and call.vendor == "gemini":
        made["extra_content"] = {"google": {"thought_signature": call.signature}}
    return made


class Message:
    """One candidate as a message of the assistant; parts are added in their order."""

    def __init__(self, names: Mapping[str, str], lost: list[str]) -> None:
        self._names, self._lost = names, lost
        self._texts: list[str] = []
        self._thoughts: list[ir.Thinking] = []
        self._more: dict[str, Any] = {}

    def add(self, part: ir.Part) -> None:
        if isinstance(part, ir.Text):
            self._text(part)
        elif isinstance(part, ir.Thinking):
            self._thoughts.append(part)
        elif isinstance(part, ir.ToolCall):
            self._more.setdefault("tool_calls", []).append(outgoing_call(part, self._names))
        elif isinstance(part, ir.Refusal):
            self._more["refusal"] = self._more.get("refusal", "") + part.text
        elif isinstance(part, ir.Media) and part.kind == "image":
            self._more.setdefault("images", []).append(image_of(part))
        elif isinstance(part, ir.Opaque) and part.text:
            self._texts.append(part.text)
        else:
            name_lost(self._lost, part.kind if isinstance(part, ir.Media | ir.Opaque) else "tool_result")

    def _text(self, part: ir.Text) -> None:
        self._texts.append(part.text)
        lose_extras(part.extras, OWN, self._lost)
        if part.signature and part.vendor == "gemini":
            self._more["extra_content"] = {"google": {"thought_signature": part.signature}}

    def made(self, stop: ir.Stop) -> dict[str, Any]:
        refusal = refusal_text(stop) if stop.reason == "refusal" else None
        body: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts) if self._texts else None,
                                "refusal": refusal} | self._more  # fmt: skip
        said = "".join(thought.text for thought in self._thoughts)
        if said:
            body["reasoning_content"] = said
        if any(thought.signature or thought.data for thought in self._thoughts):
            body["reasoning_details"] = [made for at, each in enumerate(self._thoughts) for made in details_of(each, at)]
        return body


def native_reason(stop: ir.Stop, lost: list[str]) -> dict[str, Any]:
    """The upstream's own word beside ours, under OpenRouter's name for it, and the stop sequence under vLLM's."""
    if stop.sequence:
        return {"native_finish_reason": stop.native, "stop_reason": stop.sequence}
    return {"native_finish_reason": stop.native} if stop.native else {}


def write_choice_of(candidate: ir.Candidate, number: int, names: Mapping[str, str], lost: list[str]) -> dict[str, Any]:
    message = Message(names, lost)
    for part in candidate.parts:
        message.add(part)
    lose_extras(candidate.extras, OWN, lost)
    extras = mine(candidate.extras)
    made = {"index": number, "message": message.made(candidate.stop), "logprobs": extras.pop("logprobs", None)}
    made["message"] |= extras
    return made | {"finish_reason": REASON[candidate.stop.reason]} | native_reason(candidate.stop, lost)


def write_answer(answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]:
    """The body for the caller who sent `request`."""
    names = own_names(request.tools)
    choices = [write_choice_of(each, number, names, lost) for number, each in enumerate(answer.candidates)]
    body: dict[str, Any] = {
        "id": answer.id or minted_id(answer.model), "object": "chat.completion", "created": answer.created,
        "model": answer.model or request.model, "choices": choices,
    }  # fmt: skip
    if answer.usage is not None:
        body["usage"] = write_usage(answer.usage)
    if answer.service_tier:
        body["service_tier"] = answer.service_tier
    lose_extras(answer.extras, OWN, lost)
    return body | mine(answer.extras)


# ----------------------------------------------------------------------------------------------------------- relayed streams

OUTPUTS = ("content", "reasoning_content", "reasoning", "tool_calls", "refusal", "reasoning_details", "function_call", "audio",
           "images")  # fmt: skip


def says(delta: Any) -> bool:
    """Whether a delta holds output: says({"content": ""}) -> False; says({"tool_calls": [{...}]}) -> True"""
    return isinstance(delta, dict) and any(delta.get(name) for name in OUTPUTS)


def place_of(choice: Mapping[str, Any]) -> int:
    """Which of the choices a piece belongs to; the first where it does not say."""
    index = choice.get("index")
    return index if type(index) is int and index > 0 else 0


class Scanner:
    """Looks at a relayed stream: how often real output came, its usage, its true end, its error.

    The end is [DONE], or, for servers that send none, when every choice said why it ended.
    """

    __slots__ = ("_speaking", "done", "error", "finish", "outputs", "usage")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.usage: ir.Usage | None = None
        self.finish = ""  # the first choice's finish_reason
        self.error: GatewayError | None = None
        self._speaking: set[int] = set()  # choices without a finish_reason

    def glance(self, event: bytes) -> bool:
        """Whether one whole event only adds text to a stream that has begun: told by its bytes, without parsing it.

        A quote inside a JSON string has a backslash before it, so these marks cannot be part of what the model says.
        """
        if (
            self.outputs
            and self._speaking
            and b'"finish_reason":null' in event
            and b'"content":"' in event
            and b'"content":""' not in event
            and b'"error"' not in event
            and (b'"usage"' not in event or b'"usage":null' in event)
            and event.count(b'"index"') == 1
            and b'"index":0' in event
        ):
            self.outputs += 1
            return True
        return False

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.data.startswith("[DONE]"):
                self.done = True
            elif event.data:
                self._chunk(event.data)

    def _chunk(self, data: str) -> None:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self.error = UpstreamFailed("the upstream sent an event that is not JSON")
            return
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not choices or "error" in chunk:
            error = error_in(chunk)
            if error:
                self.error = error_of(error, 0)
                return
        if isinstance(choices, list):
            self._choices(choices)
        if isinstance(chunk, dict):
            self.usage = chunk_usage(chunk) or self.usage

    def _choices(self, choices: list[Any]) -> None:
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            self.outputs += says(choice.get("delta"))
            if choice.get("finish_reason"):
                self.finish = self.finish or str(choice["finish_reason"])
                self._speaking.discard(place_of(choice))
                self.done = not self._speaking
            else:
                self._speaking.add(place_of(choice))
                self.done = False


# ---------------------------------------------------------------------------------------------------------- reading streams

# The common fields: where a delta has no other, there are no thoughts to look for.
PLAIN_DELTA = frozenset({"role", "content", "tool_calls", "refusal", "images", "function_call"})


class Slot:
    """One part on its way: what it is, what it holds that was not passed on yet, whether it may end."""

    __slots__ = ("checked", "ended", "index", "kind", "part", "pending", "texts")

    def __init__(self, kind: str, part: ir.Part) -> None:
        self.kind, self.part = kind, part
        self.index = -1                           # not begun
        self.ended = False
        self.pending: list[tuple[str, str]] = []  # (text, signature) that came before its turn
        self.texts: list[str] = []                # of a call: all of its arguments so far
        self.checked = -1                         # how many of them were looked at last time

    def complete(self) -> bool:
        """Whether nothing more is to come when another part begins: for a call, when its arguments are whole JSON."""
        if self.kind != "call" or (isinstance(self.part, ir.ToolCall) and self.part.custom):
            return True
        if self.checked == len(self.texts) or not self.texts:
            return False
        self.checked = len(self.texts)
        return ir.object_in("".join(self.texts)) is not None


class Turn:
    """One choice of a stream: which part is open, which wait for it, which call an index means.

    Parts go on one after the other. A call that begins before the last one is whole waits; so does what comes behind it.
    """

    __slots__ = ("_calls", "_last", "_names", "_next", "_open", "_refusal", "_waiting", "answer_id", "extras", "logprobs",
                 "matched", "native", "number")  # fmt: skip

    def __init__(self, number: int, answer_id: str) -> None:
        self.number, self.answer_id = number, answer_id
        self.native: str | None = None  # finish_reason; the last one counts, for some send it with every chunk
        self.matched: Any = None
        self.extras: ir.Extras = ir.NOTHING
        self.logprobs: dict[str, Any] = {}
        self._open: Slot | None = None
        self._waiting: list[Slot] = []
        self._calls: dict[object, Slot] = {}
        self._last: Slot | None = None
        self._names = 0
        self._next = 0
        self._refusal: list[str] = []

    # -- one delta

    def delta(self, delta: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        """Thoughts, text, refusal, pictures, calls of one delta. Empty ones say nothing."""
        content = delta.get("content")
        if delta.keys() - PLAIN_DELTA:
            self._thoughts(delta, out)
            rest = own(delta, MESSAGE_FIELDS)
            self.extras = ir.joined(self.extras, rest) if rest else self.extras
        if content:
            self._content(content, out)
        if delta.get("refusal"):
            self._refusal.append(str(delta["refusal"]))
        for image in delta.get("images") or ():
            self._whole(read_image(image, "delta.images"), out)
        for call in delta.get("tool_calls") or ():
            self._call(call, out)
        if delta.get("function_call"):
            self._call({"index": 0, "function": delta["function_call"]}, out)

    def _content(self, content: Any, out: list[ir.StreamEvent]) -> None:
        if isinstance(content, str):
            self._grow("text", content, "", out)
            return
        for part in read_content(content, "delta"):  # Mistral's list
            if isinstance(part, ir.Text | ir.Thinking):
                self._grow("text" if isinstance(part, ir.Text) else "thinking", part.text, "", out)
            else:
                self._whole(part, out)

    def _thoughts(self, delta: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        for thought in thoughts_in(delta):
            if thought.data:
                self._whole(thought, out)
            else:
                self._grow("thinking", thought.text, thought.signature, out, thought.vendor)
        signature = "" if delta.get("tool_calls") else google_signature(delta)
        if signature:
            self._grow("text", "", signature, out, "gemini")

    # -- calls

    def _call(self, call: Any, out: list[ir.StreamEvent]) -> None:
        inner = call.get("function") or call.get("custom") or {}
        given = inner.get("arguments", inner.get("input"))
        given = "" if given is None else given if isinstance(given, str) else compact(given)
        slot = self._slot_of(call, inner, given)
        if slot is None:
            slot = self._begin(call, inner, given)
            self._put(slot, out)
        if given:
            if slot.ended and given.strip():
                raise UpstreamFailed("the upstream went on with a call that was whole already")
            slot.texts.append(given)
            self._add(slot, given, "", out)

    def _slot_of(self, call: Mapping[str, Any], inner: Mapping[str, Any], given: str) -> Slot | None:
        """The call that a delta goes on with; None when it begins one.

        By index, unless a new id and a name come under it, or without any id a new name; without an index by id, else by
        name: a new name begins a call, and so does the same name again once its arguments are whole.
        """
        index, name, id_ = call.get("index"), inner.get("name"), call.get("id")
        slot = self._calls.get(index) if index is not None else self._calls.get(id_) if id_ else self._last
        if slot is None or not name:
            return slot or (self._last if not name else None)
        begun = slot.part
        if not isinstance(begun, ir.ToolCall):
            return None
        if id_ and id_ != begun.extras.get("came", {}).get("id"):
            return None
        if not id_ and (name != begun.name or (index is None and slot.complete())):
            return None
        return slot

    def _begin(self, call: Mapping[str, Any], inner: Mapping[str, Any], given: str) -> Slot:
        came, name = call.get("id"), inner.get("name")
        if not isinstance(name, str) or not name:
            raise UpstreamFailed("the upstream began a call without a name")
        self._names += 1
        taken = {slot.part.id for slot in self._calls.values() if isinstance(slot.part, ir.ToolCall)}
        id_ = came if isinstance(came, str) and came and came not in taken else ""
        id_ = id_ or minted_id(self.answer_id, self.number, self._names, name)
        signature = google_signature(call)
        vendor = "gemini" if signature else ""
        custom = call.get("type") == "custom"
        part = ir.ToolCall(id_, name, custom=custom, signature=signature, vendor=vendor, extras={"came": {"id": came}})
        slot = self._last = Slot("call", part)
        index = call.get("index")
        self._calls[index if index is not None else came or ("nameless", self._names)] = slot
        return slot

    # -- one part after the other

    def _grow(self, kind: str, text: str, signature: str, out: list[ir.StreamEvent], vendor: str = "") -> None:
        """More of the text or thought that is open or waits last, else a new one."""
        slot = self._waiting[-1] if self._waiting else self._open
        if slot is None or slot.kind != kind:
            made = ir.Text("", vendor=vendor) if kind == "text" else ir.Thinking("", vendor=vendor)
            slot = Slot(kind, made)
            self._put(slot, out)
        self._add(slot, text, signature, out)

    def _whole(self, part: ir.Part, out: list[ir.StreamEvent]) -> None:
        self._put(Slot("whole", part), out)

    def _put(self, slot: Slot, out: list[ir.StreamEvent]) -> None:
        self._waiting.append(slot)
        self._advance(out)

    def _add(self, slot: Slot, text: str, signature: str, out: list[ir.StreamEvent]) -> None:
        if slot is self._open:
            out.append(ir.PartDelta(slot.index, text, signature, self.number))
            if self._waiting:
                self._advance(out)
        else:
            slot.pending.append((text, signature))

    def _advance(self, out: list[ir.StreamEvent], *, all_of_it: bool = False) -> None:
        """Opens what waits, as long as what is open is whole."""
        while self._waiting and (self._open is None or all_of_it or self._open.complete()):
            self._end(out)
            slot = self._open = self._waiting.pop(0)
            slot.index, self._next = self._next, self._next + 1
            part = slot.part
            part = replace(part, extras=ir.NOTHING) if isinstance(part, ir.ToolCall) else part
            out.append(ir.PartStart(slot.index, part, self.number))
            out += [ir.PartDelta(slot.index, text, signature, self.number) for text, signature in slot.pending]
            slot.pending.clear()

    def _end(self, out: list[ir.StreamEvent]) -> None:
        if self._open is not None:
            out.append(ir.PartEnd(self._open.index, self.number))
            self._open.ended = True
            self._open = None

    def finish(self, out: list[ir.StreamEvent]) -> None:
        """What waits goes out, then why the choice ended."""
        if self._refusal:
            self._whole(ir.Refusal("".join(self._refusal)), out)
        self._advance(out, all_of_it=True)
        self._end(out)
        extras = ir.joined(self.extras, {OWN: {"logprobs": self.logprobs}}) if self.logprobs else self.extras
        stop = stop_of(self.native, bool(self._calls), bool(self._refusal), self.matched)
        out.append(ir.Stopped(stop, self.number, extras))

    def add_logprobs(self, found: Mapping[str, Any]) -> None:
        """{"content": [...], "refusal": null}: the lists of all chunks, one behind the other."""
        for name, entries in found.items():
            if isinstance(entries, list):
                self.logprobs.setdefault(name, []).extend(entries)


class StreamReader:
    """An upstream's chunks -> neutral events.

    feed(Event("message", '{"choices": [{"delta": {"content": "Hi"}}], ...}'))
        -> [Started(...), PartStart(0, Text("")), PartDelta(0, "Hi")]
    feed(Event("message", "[DONE]")) -> [PartEnd(0), Stopped(...), Finished()]
    close()                          -> [] after the end; else [Failed(StreamCut)], or the end of one that sends no [DONE]
    """

    __slots__ = ("_extras", "_over", "_started", "_turns", "_usage")
    done = False  # [DONE] is told by Finished

    def __init__(self) -> None:
        self._turns: dict[int, Turn] = {}
        self._started: ir.Started | None = None
        self._usage: ir.Usage | None = None
        self._extras: dict[str, Any] = {}
        self._over = False

    def feed(self, event: Event) -> list[ir.StreamEvent]:
        if self._over:
            return []
        data = event.data
        if data.startswith("[DONE]"):
            return self._finished()
        if not data.strip():
            return []
        try:
            return self._chunk(json.loads(data))
        except GatewayError as error:  # BadRequest: a reader of requests met it; it is the upstream's all the same
            wrong = UpstreamFailed(error.message) if isinstance(error, BadRequest) else error
        except (ValueError, RecursionError):
            wrong = UpstreamFailed("the upstream sent an event that is not JSON")
        except (TypeError, AttributeError):
            wrong = UpstreamFailed("the upstream sent an event of an unknown shape")
        return self._failed(wrong)

    def _failed(self, error: GatewayError) -> list[ir.StreamEvent]:
        self._over = True
        return [ir.Failed(error)]

    def _chunk(self, chunk: Any) -> list[ir.StreamEvent]:
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not choices or "error" in chunk:
            error = error_in(chunk)
            if error:
                return self._failed(error_of(error, 0))
        if not isinstance(chunk, dict):
            return self._failed(UpstreamFailed("the upstream sent an event that is no object"))
        out: list[ir.StreamEvent] = []
        for choice in choices or ():
            self._choice(choice, chunk, out)
        if chunk.keys() - ANSWER_FIELDS:
            self._extras |= mine(own(chunk, ANSWER_FIELDS))
        usage = chunk_usage(chunk)
        if usage is not None and usage != self._usage:  # the last one counts, wherever it comes; it never ends anything
            self._usage = usage
            if self._started is not None:
                out.append(ir.UsageSeen(usage))
        return out

    def _choice(self, choice: Any, chunk: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        if self._started is None:
            self._start(chunk, out)
        number = place_of(choice)
        turn = self._turns.get(number)
        if turn is None:
            turn = self._turns[number] = Turn(number, str(chunk.get("id") or ""))
        delta = choice.get("delta") or choice.get("message")
        if delta:
            turn.delta(delta, out)
        if choice.get("finish_reason"):
            turn.native, turn.matched = choice["finish_reason"], choice.get("stop_reason")
        if choice.get("logprobs"):
            turn.add_logprobs(choice["logprobs"])

    def _start(self, chunk: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        id_, model, tier = (str(chunk.get(name) or "") for name in ("id", "model", "service_tier"))
        self._started = ir.Started(id_, model, count(chunk, "created"), tier)
        out.append(self._started)
        if self._usage is not None:
            out.append(ir.UsageSeen(self._usage))

    def _finished(self) -> list[ir.StreamEvent]:
        if not self._turns:
            return self._failed(UpstreamFailed("the upstream ended the stream without an answer"))
        out: list[ir.StreamEvent] = []
        for _, turn in sorted(self._turns.items()):
            turn.finish(out)
        self._over = True
        return [*out, ir.Finished({OWN: self._extras} if self._extras else ir.NOTHING)]

    def close(self) -> list[ir.StreamEvent]:
        """The connection has ended. Without [DONE] it is an answer only if every choice said why it ended."""
        if self._over:
            return []
        if self._turns and all(turn.native for turn in self._turns.values()):
            return self._finished()
        what = "before its final event" if self._turns else "without an answer"
        return self._failed(StreamCut(f"the upstream ended the stream {what}"))


# ---------------------------------------------------------------------------------------------------------- writing streams


class Voice:
    """One choice on its way to the caller: its frame, the part that is open, how many calls it has made."""

    __slots__ = ("calls", "custom", "head", "kind", "part", "sent", "signatures", "texts", "thoughts")

    def __init__(self, head: str) -> None:
        self.head = head
        self.calls = 0      # begun so far: the next one's index
        self.thoughts = 0
        self.kind: type = type(None)
        self.part: ir.Part = ir.Text("")
        self.custom = False
        self.sent = False   # the open part's content
        self.texts: list[str] = []  # of an open thought, for its signature
        self.signatures: list[str] = []


TAIL = '},"finish_reason":null}]}\n\n'


class StreamWriter:
    """Neutral events -> chunks for the caller who sent `request`.

    feed(PartDelta(0, "Hi")) -> b'data: {"id":...,"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\\n\\n'
    feed(Finished())         -> the usage, if it was asked for, and b"data: [DONE]\\n\\n"
    """

    __slots__ = ("_base", "_handlers", "_lost", "_names", "_request", "_usage", "_voices")

    def __init__(self, request: ir.Request, *, lost: list[str] | None = None, array: bool = False) -> None:
        self._request = request
        self._lost: list[str] = lost if lost is not None else []
        self._names = own_names(request.tools)
        self._base = ""
        self._voices: dict[int, Voice] = {}
        self._usage: ir.Usage | None = None
        self._handlers: Mapping[type, Callable[[Any], str]] = {
            ir.Started: self._start, ir.PartStart: self._part, ir.PartEnd: self._part_end,
            ir.Stopped: self._stopped, ir.UsageSeen: self._usage_seen, ir.Finished: self._finished,
        }  # fmt: skip

    def feed(self, event: ir.StreamEvent) -> bytes:
        kind = type(event)
        if kind is ir.PartDelta:
            return self._delta(event)  # type: ignore[arg-type]  # is its type
        handler = self._handlers.get(kind)
        return handler(event).encode("utf-8", "backslashreplace") if handler is not None else b""

    def _start(self, event: ir.Started) -> str:
        made = event.id or minted_id(event.model, self._request.model)
        model = event.model or self._request.model
        tier = f'"service_tier":{quoted(event.service_tier)},' if event.service_tier else ""
        self._base = (f'data: {{"id":{quoted(made)},"object":"chat.completion.chunk","created":{event.created},'
                      f'"model":{quoted(model)},{tier}"choices":[')  # fmt: skip
        lose_extras(event.extras, OWN, self._lost)
        return ""

    def _voice(self, number: int) -> tuple[Voice, str]:
        """A choice, and the chunk that introduces it when it is new."""
        voice = self._voices.get(number)
        if voice is not None:
            return voice, ""
        voice = self._voices[number] = Voice(f'{self._base}{{"index":{number},"delta":{{')
        return voice, f'{voice.head}"role":"assistant","content":""{TAIL}'

    def _part(self, event: ir.PartStart) -> str:
        voice, out = self._voice(event.candidate)
        part = event.part
        voice.kind, voice.part, voice.sent = type(part), part, False
        voice.texts, voice.signatures = [], []
        if isinstance(part, ir.ToolCall):
            return out + self._call(voice, part)
        if isinstance(part, ir.Text | ir.Thinking):
            first = ir.PartDelta(event.index, part.text, part.signature, event.candidate)
            return out + (self._delta(first).decode() if part.text or part.signature else "")
        return out + self._whole(voice, part)

    def _call(self, voice: Voice, part: ir.ToolCall) -> str:
        made = outgoing_call(replace(part, arguments_text="", arguments=None), self._names)
        made["custom" if part.custom else "function"]["input" if part.custom else "arguments"] = part.arguments_text
        voice.custom, voice.sent = part.custom, bool(part.arguments_text)
        voice.calls += 1
        return f'{voice.head}"tool_calls":[{compact({"index": voice.calls - 1, **made})}]{TAIL}'

    def _whole(self, voice: Voice, part: ir.Part) -> str:
        """Refusals, pictures and what only one vendor knows come in one."""
        if isinstance(part, ir.Refusal):
            return f'{voice.head}"refusal":{quoted(part.text)}{TAIL}'
        if isinstance(part, ir.Media) and part.kind == "image":
            return f'{voice.head}"images":[{compact({"index": 0, **image_of(part)})}]{TAIL}'
        if isinstance(part, ir.Opaque) and part.text:
            return f'{voice.head}"content":{quoted(part.text)}{TAIL}'
        name_lost(self._lost, part.kind if isinstance(part, ir.Media | ir.Opaque) else "tool_result")
        return ""

    def _delta(self, event: ir.PartDelta) -> bytes:
        voice = self._voices[event.candidate]
        kind, said = voice.kind, event.text
        if kind is ir.Text:
            out = f'{voice.head}"content":{quoted(said)}{TAIL}' if said else self._text_signature(voice, event)
        elif kind is ir.ToolCall:
            out = self._more_arguments(voice, said)
        elif kind is ir.Thinking:
            out = self._thought(voice, event)
        else:
            out = ""
        if event.extras:
            lose_extras(event.extras, OWN, self._lost)
        return out.encode("utf-8", "backslashreplace")

    def _text_signature(self, voice: Voice, event: ir.PartDelta) -> str:
        if not event.signature or not isinstance(voice.part, ir.Text) or voice.part.vendor != "gemini":
            return ""
        return f'{voice.head}"extra_content":{compact({"google": {"thought_signature": event.signature}})}{TAIL}'

    def _more_arguments(self, voice: Voice, said: str) -> str:
        voice.sent = voice.sent or bool(said)
        kind, field = ("custom", "input") if voice.custom else ("function", "arguments")
        return f'{voice.head}"tool_calls":[{{"index":{voice.calls - 1},"{kind}":{{"{field}":{quoted(said)}}}}}]{TAIL}'

    def _thought(self, voice: Voice, event: ir.PartDelta) -> str:
        if event.signature:
            voice.signatures.append(event.signature)
        if not event.text:
            return ""
        voice.texts.append(event.text)
        return f'{voice.head}"reasoning_content":{quoted(event.text)}{TAIL}'

    def _part_end(self, event: ir.PartEnd) -> str:
        """A call without arguments says so; a signed thought comes once more as a whole, for those who send it back."""
        voice = self._voices[event.candidate]
        part = voice.part
        voice.kind = type(None)
        if isinstance(part, ir.ToolCall) and not voice.sent and not part.custom:
            return self._more_arguments(voice, "{}")
        if isinstance(part, ir.Thinking) and (voice.signatures or part.data):
            whole = replace(part, text="".join(voice.texts), signature="".join(voice.signatures))
            voice.thoughts += 1
            return f'{voice.head}"reasoning_details":{compact(details_of(whole, voice.thoughts - 1))}{TAIL}'
        return ""

    def _stopped(self, event: ir.Stopped) -> str:
        voice, out = self._voice(event.candidate)
        lose_extras(event.extras, OWN, self._lost)
        extras = mine(event.extras)
        logprobs = extras.pop("logprobs", None)
        if event.stop.reason == "refusal" and not isinstance(voice.part, ir.Refusal):
            extras["refusal"] = refusal_text(event.stop)
        last = {"index": event.candidate, "delta": extras, "finish_reason": REASON[event.stop.reason]}
        last |= native_reason(event.stop, self._lost) | ({"logprobs": logprobs} if logprobs else {})
        return f"{out}{self._base}{compact(last)}]}}\n\n"

    def _usage_seen(self, event: ir.UsageSeen) -> str:
        self._usage = event.usage
        return ""

    def _finished(self, event: ir.Finished) -> str:
        """Usage once, at the end, and only for those who asked: others do not expect a chunk without choices."""
        lose_extras(event.extras, OWN, self._lost)
        usage = self._usage if self._request.include_usage else None
        told = f'{self._base}],"usage":{compact(write_usage(usage))}}}\n\n' if usage is not None else ""
        return told + DONE.decode()
