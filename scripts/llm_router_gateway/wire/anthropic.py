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
    thinking           "none", "budget", "both", "adaptive": which of its two forms it takes
    effort             the words for output_config.effort, [] for none
    schema             "native" (output_config.format), "tool" (a tool that must be called), "prompt"
    strict             whether tools may say "strict"
    system_messages    true: role "system" further down in `messages` is taken
    unsigned_thinking  true: thoughts without a signature are taken back
    repair             false: calls without result and results without call are sent as they are
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

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

VENDOR = "anthropic"
KEEPALIVE = b'event: ping\ndata: {"type":"ping"}\n\n'  # what the API itself sends; its SDKs skip it

SCHEMA_TOOL = "llm_router_answer"  # the answer's shape, where only a tool can demand one; its call is read as text
MIN_BUDGET = 1024                  # thinking.budget_tokens: the API refuses less
MAX_ERROR_CHARS = 500              # of a body that is no JSON; the rest of an HTML page tells nothing
NO_WORDS = "The tool failed and said nothing."
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


def own(fields: Mapping[str, Any], known: frozenset[str]) -> ir.Extras:
    """What has no neutral place: {"type": "text", "text": "a", "x": 1} -> {"anthropic": {"x": 1}}; null says nothing."""
    if fields.keys() <= known:
        return ir.NOTHING
    rest = {name: value for name, value in fields.items() if name not in known and value is not None}
    return {VENDOR: rest} if rest else ir.NOTHING


def mine(extras: ir.Extras) -> dict[str, Any]:
    """The fields that go back to where they came from."""
    return dict(extras.get(VENDOR, ir.NOTHING))


# ------------------------------------------------------------------------------------------------------- blocks -> parts

TEXT_FIELDS = frozenset({"type", "text", "cache_control"})
IMAGE_FIELDS = frozenset({"type", "source", "cache_control"})
DOCUMENT_FIELDS = IMAGE_FIELDS | {"title"}
CALL_FIELDS = frozenset({"type", "id", "name", "input", "cache_control"})
RESULT_FIELDS = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
THINKING_FIELDS = frozenset({"type", "thinking", "signature", "data"})


def cache_of(block: Mapping[str, Any]) -> ir.JSON | None:
    found = block.get("cache_control")
    return found if isinstance(found, dict) else None


def read_text(block: Block, path: str) -> ir.Text:
    return ir.Text(text(block.get("text"), f"{path}.text"), cache_control=cache_of(block), extras=own(block, TEXT_FIELDS))


def url_fields(url: str) -> dict[str, Any]:
    """A data: URL is no URL: {"media_type": ..., "data": ...}."""
    head, comma, data = url.partition(",")
    if head.startswith("data:") and comma and head.endswith(";base64"):
        return {"media_type": head[5:].partition(";")[0], "data": data}
    return {"url": url}


def source_fields(source: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The fields of Media that a source sets.

    {"type": "base64", "media_type": "image/png", "data": "AA=="}  -> {"media_type": "image/png", "data": "AA=="}
    {"type": "file", "file_id": "f"}                               -> {"file_id": "f", "vendor": "anthropic"}
    """
    kind = source.get("type")
    if kind == "base64":
        return {"media_type": text(source.get("media_type"), f"{path}.media_type"), "data": text(source.get("data"), path)}
    if kind == "url":
        return url_fields(text(source.get("url"), f"{path}.url"))
    if kind == "text":
        return {"media_type": "text/plain", "text": text(source.get("data"), f"{path}.data")}
    if kind == "file":
        return {"file_id": text(source.get("file_id"), f"{path}.file_id"), "vendor": VENDOR}
    return refuse(f"{path}.type", "must be base64, url, text or file")


def read_image(block: Block, path: str) -> ir.Media:
    fields = source_fields(obj(block.get("source"), f"{path}.source"), f"{path}.source")
    return ir.Media("image", cache_control=cache_of(block), extras=own(block, IMAGE_FIELDS), **fields)


def plain_text(content: Any) -> str:
    """What can be read in content: its text, and that of its blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    found = [block.get("text") for block in blocks if isinstance(block, dict)]
    return "\n".join(each for each in found if isinstance(each, str) and each)


def read_document(block: Block, path: str) -> ir.Media | ir.Opaque:
    source = obj(block.get("source"), f"{path}.source")
    if source.get("type") == "content":  # a document of blocks: nobody else has that
        return ir.Opaque(VENDOR, "document", block, plain_text(source.get("content")))
    fields = source_fields(source, f"{path}.source")
    name = text(block.get("title") or "", f"{path}.title")
    return ir.Media("document", name=name, cache_control=cache_of(block), extras=own(block, DOCUMENT_FIELDS), **fields)


def search_hits(content: Any) -> str:
    """[{"title": "T", "url": "https://h"}] -> "T https://h", a line each."""
    hits = [hit for hit in content if isinstance(hit, dict)] if isinstance(content, list) else []
    return "\n".join(f"{hit.get('title') or ''} {hit.get('url') or ''}".strip() for hit in hits)


# What other vendors can be told of a block that only Anthropic knows; of all others only that it was there.
TOLD: Mapping[str, Callable[[Block], str]] = {
    "tool_reference": lambda block: f"[tool {block.get('tool_name')} is loaded]",
    "search_result": lambda block: "\n".join(
        str(each) for each in (block.get("title"), block.get("source"), plain_text(block.get("content"))) if each
    ),
    "compaction": lambda block: plain_text(block.get("content")),
    "web_search_tool_result": lambda block: search_hits(block.get("content")),
}


def read_opaque(block: Block, path: str) -> ir.Opaque:
    kind = str(block.get("type"))
    told = TOLD.get(kind)
    return ir.Opaque(VENDOR, kind, block, told(block) if told is not None else "")


def read_call(block: Block, path: str) -> ir.ToolCall:
    wire_id, name = text(block.get("id"), f"{path}.id"), text(block.get("name"), f"{path}.name")
    arguments = obj(block.get("input"), f"{path}.input") if block.get("input") is not None else {}
    call_id, vendor, signature = unpacked_id(wire_id)
    return ir.ToolCall(
        call_id or minted_id(path, name), name, compact(arguments), arguments, vendor=vendor, signature=signature,
        cache_control=cache_of(block), extras=own(block, CALL_FIELDS),
    )  # fmt: skip


def read_thinking(block: Block, path: str) -> ir.Thinking:
    signature = text(block.get("signature") or "", f"{path}.signature")
    thought = text(block.get("thinking") or "", f"{path}.thinking")
    return ir.Thinking(thought, signature, VENDOR if signature else "", extras=own(block, THINKING_FIELDS))


def read_redacted(block: Block, path: str) -> ir.Thinking:
    return ir.Thinking("", "", VENDOR, text(block.get("data"), f"{path}.data"), own(block, THINKING_FIELDS))


ReadPart = Callable[[Block, str], Any]
IN_RESULTS: Mapping[str, ReadPart] = {"text": read_text, "image": read_image, "document": read_document}


def read_blocks(content: Any, path: str, table: Mapping[str, ReadPart]) -> list[Any]:
    """Text or blocks -> parts; a block that is not in the table stays as it is."""
    if isinstance(content, str):
        return [ir.Text(content)]
    parts = []
    for number_, block in enumerate(items(content, path)):
        where = f"{path}[{number_}]"
        kind = text(obj(block, where).get("type"), f"{where}.type")
        parts.append(table.get(kind, read_opaque)(block, where))
    return parts


def read_result(block: Block, path: str) -> ir.ToolResult:
    call_id, vendor, _ = unpacked_id(text(block.get("tool_use_id"), f"{path}.tool_use_id"))
    parts = tuple(read_blocks(block.get("content"), f"{path}.content", IN_RESULTS))
    return ir.ToolResult(
        call_id, parts, truth(block.get("is_error"), f"{path}.is_error") or False, vendor=vendor,
        cache_control=cache_of(block), extras=own(block, RESULT_FIELDS),
    )  # fmt: skip


PARTS: Mapping[str, ReadPart] = {
    **IN_RESULTS, "tool_use": read_call, "tool_result": read_result, "thinking": read_thinking,
    "redacted_thinking": read_redacted,
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------- request: wire -> ir

MESSAGE_FIELDS = frozenset({"role", "content"})
ROLES: Mapping[str, ir.Role] = {"user": "user", "assistant": "assistant", "system": "system"}
TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
REQUEST_FIELDS = frozenset({
    "model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "stream", "tools",
    "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier",
})  # fmt: skip
CHOICES: Mapping[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": "required"}


def read_messages(value: Any) -> list[ir.Message]:
    """Every result knows its tool's name: that of the call with its id."""
    names: dict[str, str] = {}
    messages = []
    for index, item in enumerate(items(value, "messages")):
        path = f"messages[{index}]"
        fields = obj(item, path)
        role = ROLES.get(str(fields.get("role"))) or refuse(f"{path}.role", "must be user, assistant or system")
        parts = read_blocks(fields.get("content"), f"{path}.content", PARTS)
        for place, part in enumerate(parts):
            if isinstance(part, ir.ToolCall):
                names[part.id] = part.name
            elif isinstance(part, ir.ToolResult):
                parts[place] = replace(part, name=names.get(part.id, ""))
        messages.append(ir.Message(role, tuple(parts), extras=own(fields, MESSAGE_FIELDS)))
    return messages


def without_billing(parts: list[ir.Part]) -> tuple[list[ir.Part], str]:
    """The system text without the line that differs in every request, and that line."""
    first = parts[0] if parts else None
    if not isinstance(first, ir.Text) or not first.text.startswith(BILLING):
        return parts, ""
    line, _, rest = first.text.partition("\n")
    return ([replace(first, text=rest)] if rest.strip() else []) + parts[1:], line


def read_tool(item: Any, path: str) -> ir.Tool:
    fields = obj(item, path)
    kind = fields.get("type")
    if kind not in (None, "custom"):  # runs at Anthropic, or Anthropic knows its schema
        return ir.Tool(str(fields.get("name") or kind), vendor=VENDOR, value=fields, cache_control=cache_of(fields))
    schema = fields.get("input_schema")
    return ir.Tool(
        text(fields.get("name"), f"{path}.name"),
        text(fields.get("description") or "", f"{path}.description"),
        None if schema is None else obj(schema, f"{path}.input_schema"),
        truth(fields.get("strict"), f"{path}.strict"),
        cache_control=cache_of(fields),
        extras=own(fields, TOOL_FIELDS),
    )


def read_choice(value: Any) -> tuple[ir.ToolChoice | None, bool | None]:
    """tool_choice -> (the choice, whether calls may be parallel).

    {"type": "tool", "name": "f", "disable_parallel_tool_use": true} -> (ToolChoice("required", ("f",)), False)
    """
    if value is None:
        return None, None
    fields = obj(value, "tool_choice")
    kind = fields.get("type")
    mode = CHOICES.get(kind if isinstance(kind, str) else "") or refuse("tool_choice.type", "must be auto, any, tool or none")
    names = (text(fields.get("name"), "tool_choice.name"),) if kind == "tool" else ()
    single = truth(fields.get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use")
    return ir.ToolChoice(mode, names), None if single is None else not single


THINKING_MODE: Mapping[str, Any] = {"enabled": "on", "disabled": "off", "adaptive": "adaptive"}
SHOWN: Mapping[str, bool] = {"summarized": True, "omitted": False}


def read_reasoning(thinking: Any, effort: Any) -> ir.Reasoning | None:
    """thinking and output_config.effort together; None where neither is there."""
    if thinking is None and effort is None:
        return None
    fields = {} if thinking is None else obj(thinking, "thinking")
    kind = fields.get("type")
    mode: Any = "" if thinking is None else THINKING_MODE.get(str(kind)) or refuse(
        "thinking.type", "must be enabled, disabled or adaptive"
    )  # fmt: skip
    budget = integer(fields.get("budget_tokens"), "thinking.budget_tokens")
    return ir.Reasoning(mode, budget, text(effort or "", "output_config.effort"), SHOWN.get(str(fields.get("display"))))


def read_format(value: Any, path: str) -> ir.ResponseFormat | None:
    if value is None:
        return None
    fields = obj(value, path)
    if fields.get("type") != "json_schema":
        return refuse(f"{path}.type", "must be json_schema")
    return ir.ResponseFormat("schema", obj(fields.get("schema"), f"{path}.schema"), strict=True)


def request_extras(fields: Mapping[str, Any], config: Mapping[str, Any], billing: str) -> ir.Extras:
    """What only Anthropic knows at the top: context_management, container, the rest of output_config."""
    rest = mine(own(fields, REQUEST_FIELDS))
    config_rest = {name: value for name, value in config.items() if name not in ("effort", "format") and value is not None}
    if config_rest:
        rest["output_config"] = config_rest
    metadata = fields.get("metadata")
    more = {name: value for name, value in metadata.items() if name != "user_id"} if isinstance(metadata, dict) else {}
    if more:
        rest["metadata"] = more
    if billing:
        rest[BILLING.rstrip(":")] = billing
    return {VENDOR: rest} if rest else ir.NOTHING


def refuse_thread(thread: Any) -> None:
    """A conversation that the server keeps, so that requests hold what is new alone: nobody but its upstream has the rest.

    Anthropic's SDKs know `error_code` and send the whole conversation instead (anthropic 2.11, `tool_runner`).
    """
    if thread is not None:
        facts = {"path": "thread", "error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        raise BadRequest("thread cannot be kept for this model: send the whole conversation", details=facts)


def read_request(fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A caller's body. Raises BadRequest with the path of what is wrong; fields that nobody knows are kept in extras."""
    refuse_thread(fields.get("thread"))
    messages = read_messages(fields.get("messages"))
    system, billing = without_billing(read_blocks(fields.get("system"), "system", PARTS))
    while messages and messages[0].role == "system":
        system.extend(messages.pop(0).parts)
    config = obj(fields.get("output_config") or {}, "output_config")
    choice, parallel = read_choice(fields.get("tool_choice"))
    found_format = read_format(config.get("format"), "output_config.format")
    metadata = obj(fields.get("metadata") or {}, "metadata")
    return ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=tuple(messages),
        system=tuple(system),
        tools=tuple(read_tool(tool, f"tools[{at}]") for at, tool in enumerate(items(fields.get("tools"), "tools"))),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        stream=bool(truth(fields.get("stream"), "stream") if stream is None else stream),
        max_tokens=integer(fields.get("max_tokens"), "max_tokens"),
        temperature=number(fields.get("temperature"), "temperature"),
        top_p=number(fields.get("top_p"), "top_p"),
        top_k=integer(fields.get("top_k"), "top_k"),
        stop=tuple(text(each, "stop_sequences") for each in items(fields.get("stop_sequences"), "stop_sequences")),
        reasoning=read_reasoning(fields.get("thinking"), config.get("effort")),
        response_format=found_format or read_format(fields.get("output_format"), "output_format"),
        user=text(metadata.get("user_id") or "", "metadata.user_id"),
        service_tier=text(fields.get("service_tier") or "", "service_tier"),
        extras=request_extras(fields, config, billing),
    )


# ------------------------------------------------------------------------------------------------ what a model can be asked

VERSION = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
EFFORT_BUDGET: Mapping[str, int] = {  # tokens of thought, for models that take a budget and no word
    "minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768,
}  # fmt: skip


def claude_version(model: str) -> tuple[int, int] | None:
    """claude-3-5-sonnet-20241022 -> (3, 5); claude-sonnet-4-20250514 -> (4, 0); claude-opus-5 -> (5, 0); glm-4.6 -> None"""
    match = VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model takes; the fields are the quirks of the module's docstring."""

    max_tokens: int = 8192
    sampling: str = "both"
    thinking: str = "budget"
    effort: tuple[str, ...] = ()
    schema: str = "tool"
    strict: bool = False
    system_messages: bool = False
    unsigned_thinking: bool = False
    repair: bool = True


# From this version on: what changed with it, as the API's own refusals tell. A name without a version is a server that only
# speaks the protocol: it gets what the protocol always had.
SINCE: tuple[tuple[tuple[int, int], Mapping[str, Any]], ...] = (
    ((0, 0), {"max_tokens": 4096, "thinking": "none"}),
    ((3, 5), {"max_tokens": 8192}),
    ((3, 7), {"max_tokens": 16384, "thinking": "budget"}),
    ((4, 1), {"sampling": "one"}),
    ((4, 5), {"schema": "native", "strict": True}),
    ((4, 6), {"thinking": "both", "effort": ("low", "medium", "high", "max")}),
    ((4, 7), {"thinking": "adaptive", "effort": ("low", "medium", "high", "xhigh", "max"), "sampling": "none"}),
)


def abilities(model: str, quirks: Mapping[str, Any]) -> Abilities:
    """abilities("claude-opus-4-7", {}).sampling -> "none"; quirks have the last word."""
    version = claude_version(model)
    fields: dict[str, Any] = {}
    for since, change in SINCE:
        if version is not None and version >= since:
            fields.update(change)
    fields.update((name, value) for name, value in quirks.items() if name in Abilities.__slots__)
    fields["effort"] = tuple(fields.get("effort", ()))
    return Abilities(**fields)


# ---------------------------------------------------------------------------------------------------------- parts -> blocks


@dataclass(frozen=True, slots=True)
class Target:
    """For whom parts are written, and where what they cannot have is named."""

    able: Abilities
    lost: Lost
    role: str = "user"

    def lose(self, name: str) -> None:
        name_lost(self.lost, name)

    def own(self, block: Block, control: ir.JSON | None, extras: ir.Extras) -> Block:
        """The block with its cache_control and its own extras; other vendors' are named."""
        if control is not None:
            block["cache_control"] = control
        if extras:
            block.update(mine(extras))
            lose_extras(extras, VENDOR, self.lost)
        return block


def write_text(part: ir.Text, to: Target) -> Block | None:
    """None for blank text: the API refuses it."""
    if part.signature:
        to.lose("signature")
    if not part.text.strip():
        return None
    return to.own({"type": "text", "text": part.text}, part.cache_control, part.extras)


def write_thinking(part: ir.Thinking, to: Target) -> Block | None:
    """Only what Anthropic signed; with unsigned_thinking, all that can be read."""
    if part.vendor == VENDOR and part.data:
        return {"type": "redacted_thinking", "data": part.data}
    if part.vendor == VENDOR and part.signature:  # with or without text: newer models keep theirs to themselves
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if to.able.unsigned_thinking and part.text:
        return {"type": "thinking", "thinking": part.text, "signature": ""}
    to.lose("thinking")
    return None


def document_text(part: ir.Media) -> str:
    """A document of text in its letters: the API takes only PDF as base64."""
    if part.text is not None:
        return part.text
    try:
        return base64.b64decode(part.data).decode("utf-8", "replace")
    except ValueError:
        return refuse("document.data", "is no base64")


def media_source(part: ir.Media) -> Block | None:
    """The source of a picture or document; None for what the API cannot take."""
    if part.file_id:
        return {"type": "file", "file_id": part.file_id} if part.vendor == VENDOR else None
    if part.url:
        return {"type": "url", "url": part.url} if part.url.startswith(("https:", "http:")) else None
    if part.kind == "document" and (part.text is not None or part.media_type.startswith("text/")):
        told = document_text(part)
        return {"type": "text", "media_type": "text/plain", "data": told} if told.strip() else None
    return {"type": "base64", "media_type": part.media_type, "data": part.data} if part.data else None


def write_media(part: ir.Media, to: Target) -> Block | None:
    """What cannot be sent is named in `lost`, and the model is told that there was something."""
    source = media_source(part) if part.kind in ("image", "document") and to.role == "user" else None
    if source is None:
        to.lose(part.kind)
        what = part.url or part.name or part.media_type
        return {"type": "text", "text": f"[{part.kind} that could not be passed on: {what}]"}
    block: Block = {"type": part.kind, "source": source}
    if part.name and part.kind == "document":
        block["title"] = part.name
    if part.detail not in ("", "auto"):
        to.lose("detail")
    return to.own(block, part.cache_control, part.extras)


def call_input(part: ir.ToolCall, to: Target) -> ir.JSON:
    """The arguments as the object that the API demands; what is none goes in as one field."""
    if part.arguments is not None:
        return part.arguments
    if not part.custom:
        to.lose("arguments")
    return {"input": part.arguments_text}


def write_call(part: ir.ToolCall, to: Target) -> Block | None:
    if part.signature:
        to.lose("signature")
    block = {"type": "tool_use", "id": safe_id(part.id), "name": safe_name(part.name), "input": call_input(part, to)}
    return to.own(block, part.cache_control, part.extras)


def write_refusal(part: ir.Refusal, to: Target) -> Block | None:
    return {"type": "text", "text": part.text} if part.text.strip() else None


def write_opaque(part: ir.Opaque, to: Target) -> Block | None:
    """Anthropic's own as it was; of others what can be told."""
    if part.vendor == VENDOR:
        return dict(part.value)
    to.lose(part.kind)
    return {"type": "text", "text": part.text} if part.text.strip() else None


WritePart = Callable[[Any, Target], Block | None]
WRITE_IN_RESULTS: Mapping[type, WritePart] = {ir.Text: write_text, ir.Media: write_media, ir.Opaque: write_opaque}
FOREIGN: Mapping[str, frozenset[type]] = {  # what a turn of this role cannot hold
    "user": frozenset({ir.Thinking, ir.ToolCall}), "assistant": frozenset({ir.ToolResult}),
}  # fmt: skip


def write_blocks(parts: Iterable[ir.Part], to: Target, table: Mapping[type, WritePart]) -> list[Block]:
    blocks = []
    for part in parts:
        if type(part) in FOREIGN[to.role]:
            to.lose(f"{to.role}.{type(part).__name__}")
        elif (block := table[type(part)](part, to)) is not None:
            blocks.append(block)
    return blocks


def content_of(blocks: list[Block]) -> Any:
    """One plain text is a string, as people write it."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


def write_result(part: ir.ToolResult, to: Target) -> Block | None:
    content = write_blocks(part.parts, to, WRITE_IN_RESULTS)
    block: Block = {"type": "tool_result", "tool_use_id": safe_id(part.id)}
    if content or part.is_error:  # an empty result is taken, an empty error is not
        block["content"] = content_of(content or [{"type": "text", "text": NO_WORDS}])
    if part.is_error:
        block["is_error"] = True
    return to.own(block, part.cache_control, part.extras)


WRITE_PARTS: Mapping[type, WritePart] = {
    **WRITE_IN_RESULTS, ir.Thinking: write_thinking, ir.ToolCall: write_call, ir.ToolResult: write_result,
    ir.Refusal: write_refusal,
}  # fmt: skip

# -------------------------------------------------------------------------------------------------------- messages -> turns


@dataclass(slots=True)
class Turn:
    role: str
    blocks: list[Block]

    def of_type(self, kind: str) -> list[Block]:
        return [block for block in self.blocks if block.get("type") == kind]


def reminder(blocks: list[Block]) -> list[Block]:
    """What the system says in the middle of a conversation, for a model that hears it only from the user."""
    return [{**block, "text": f"<system-reminder>\n{block['text']}\n</system-reminder>"} for block in blocks if "text" in block]


def written_turn(message: ir.Message, able: Abilities, lost: Lost) -> Turn:
    role = "assistant" if message.role == "assistant" else "user"
    blocks = write_blocks(message.parts, Target(able, lost, role), WRITE_PARTS)
    if message.name:
        name_lost(lost, "name")
    lose_extras(message.extras, VENDOR, lost)
    if message.role in ("user", "assistant"):
        return Turn(role, blocks)
    return Turn("system", blocks) if able.system_messages else Turn("user", reminder(blocks))


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """No two turns of one role in a row, none without blocks, results before all else."""
    out: list[Turn] = []
    for turn in turns:
        if turn.blocks and out and out[-1].role == turn.role:
            out[-1].blocks += turn.blocks
        elif turn.blocks:
            out.append(Turn(turn.role, list(turn.blocks)))
    for turn in out:
        turn.blocks.sort(key=lambda block: block.get("type") != "tool_result")  # stable
    return out


def write_turns(request: ir.Request, able: Abilities, lost: Lost) -> list[Turn]:
    """The conversation as the API takes it."""
    messages = paired(request.messages, lost) if able.repair else request.messages
    turns = merged(written_turn(message, able, lost) for message in messages)
    if not turns and not request.messages and not request.system:
        return refuse("messages", "must hold some text, picture or document")
    if not turns:  # other vendors answer to a system text alone, and to a blank one
        name_lost(lost, "messages=empty")
        turns = [Turn("user", [{"type": "text", "text": EMPTY_TURN}])]
    last = turns[-1]
    if last.role == "assistant" and last.blocks[-1].get("type") == "text":
        last.blocks[-1] = {**last.blocks[-1], "text": last.blocks[-1]["text"].rstrip()}  # refused at the end of a beginning
    return turns


# ------------------------------------------------------------------------------------------------------------ JSON schemas

# What the constrained decoder takes; the rest is told in the description, as the vendor's own SDK does.
SCHEMA_KEYS = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "anyOf", "allOf", "$ref", "$defs", "definitions",
    "description", "title", "enum", "const", "default",
})  # fmt: skip
SCHEMA_FORMATS = frozenset({
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
})  # fmt: skip
SCHEMA_MAPS = ("properties", "$defs", "definitions")
SCHEMA_SILENT = frozenset({"$schema", "$id", "$comment", "examples"})  # constrain nothing
MAX_SCHEMA_DEPTH = 64  # deeper is no one's answer, and would end the interpreter's stack


def keeps(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in SCHEMA_FORMATS
    return name in SCHEMA_KEYS or (name == "minItems" and value in (0, 1))


def fitted_value(name: str, value: Any, fit: Callable[[Any], Any]) -> Any:
    """What a keyword holds, with `fit` done to the schemas in it."""
    if name in SCHEMA_MAPS and isinstance(value, dict):
        return {key: fit(each) for key, each in value.items()}
    if name in ("anyOf", "allOf") and isinstance(value, list):
        return [fit(each) for each in value]
    return fit(value) if name == "items" else value


def fitted_schema(schema: Any, lost: Lost, depth: int = 0) -> Any:
    """A schema that the API takes: closed objects, known keywords; the others in the description and in `lost`.

    {"type": "number", "minimum": 0} -> {"type": "number", "description": "{minimum: 0}"}
    """
    if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH:
        return schema
    fields = {("anyOf" if name == "oneOf" else name): value for name, value in schema.items() if name not in SCHEMA_SILENT}

    def fit(inner: Any) -> Any:
        return fitted_schema(inner, lost, depth + 1)

    out = {name: fitted_value(name, value, fit) for name, value in fields.items() if keeps(name, value)}
    dropped = {name: value for name, value in fields.items() if not keeps(name, value)}
    if dropped:
        for name in dropped:
            name_lost(lost, f"schema.{name}")
        told = "{" + ", ".join(f"{name}: {compact(value)}" for name, value in dropped.items()) + "}"
        out["description"] = f"{out['description']}\n\n{told}" if out.get("description") else told
    if out.get("type") == "object" or "properties" in out:
        out["additionalProperties"] = False
    return out


# -------------------------------------------------------------------------------------------------- request: ir -> wire

NOT_HERE = ("presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs")
JSON_HINT = "Answer with one JSON object and nothing else: no introduction, no code fence."


def write_tool(tool: ir.Tool, to: Target) -> Block | None:
    if tool.vendor:
        if tool.vendor == VENDOR and tool.value is not None:
            return dict(tool.value)
        to.lose(f"tools={tool.name}")
        return None
    schema: Any = tool.parameters
    if tool.custom:  # free text: one field of it
        schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    strict = bool(tool.strict) and to.able.strict
    if strict:
        schema = fitted_schema(schema, to.lost)
    elif tool.strict:
        to.lose("tools.strict")
    block: Block = {"name": safe_name(tool.name), "input_schema": {"type": "object", **(schema or {"properties": {}})}}
    if tool.description:
        block["description"] = tool.description
    if strict:
        block["strict"] = True
    return to.own(block, tool.cache_control, tool.extras)


def tools_in(turns: Iterable[Turn]) -> list[Block]:
    """The tools that a conversation used: the API wants them declared even when none may be called any more."""
    names = dict.fromkeys(block["name"] for turn in turns for block in turn.of_type("tool_use"))
    return [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in names]


def write_choice(choice: ir.ToolChoice | None, parallel: bool | None) -> Block | None:
    """(ToolChoice("required", ("f",)), False) -> {"type": "tool", "name": "f", "disable_parallel_tool_use": True}"""
    if choice is None and parallel is not False:
        return None
    mode = "auto" if choice is None else choice.mode
    out: Block = {"type": "any" if mode == "required" else mode}
    if choice is not None and mode == "required" and len(choice.names) == 1:
        out = {"type": "tool", "name": safe_name(choice.names[0])}
    if parallel is False and mode != "none":
        out["disable_parallel_tool_use"] = True
    return out


def write_tools(request: ir.Request, turns: list[Turn], able: Abilities, lost: Lost) -> Block:
    """tools and tool_choice."""
    choice = request.tool_choice
    only = choice.names if choice is not None and (choice.mode == "auto" or len(choice.names) > 1) else ()
    wanted = [tool for tool in request.tools if not only or tool.name in only]
    tools = [block for tool in wanted if (block := write_tool(tool, Target(able, lost))) is not None]
    if not tools:
        used = tools_in(turns)
        return {"tools": used, "tool_choice": {"type": "none"}} if used else {}
    written = write_choice(choice, request.parallel_tool_calls)
    return {"tools": tools, "tool_choice": written} if written else {"tools": tools}


def effort_word(effort: str, able: Abilities) -> str:
    """The caller's word, or the next lower that the model knows; "" where it knows none."""
    if effort in able.effort or effort not in EFFORTS or not able.effort:
        return effort if effort in able.effort else ""
    lower = [word for word in EFFORTS[: EFFORTS.index(effort)] if word in able.effort]
    return lower[-1] if lower else able.effort[0]


def budget_of(reasoning: ir.Reasoning) -> int:
    if reasoning.budget_tokens is not None and reasoning.budget_tokens > 0:
        return max(MIN_BUDGET, reasoning.budget_tokens)
    return EFFORT_BUDGET.get(reasoning.effort, EFFORT_BUDGET["medium"])


def write_thinking_mode(reasoning: ir.Reasoning, able: Abilities, lost: Lost) -> Block | None:
    """The `thinking` field, in the form that the model takes."""
    if reasoning.mode == "off" or (not reasoning.mode and (reasoning.effort == "none" or reasoning.budget_tokens == 0)):
        return {"type": "disabled"} if able.thinking != "none" else None
    if able.thinking == "none":
        name_lost(lost, "reasoning")
        return None
    exact = (reasoning.budget_tokens or 0) > 0 and reasoning.mode != "adaptive"
    if able.thinking == "adaptive" or (able.thinking == "both" and not exact):
        if exact:
            name_lost(lost, "reasoning.budget_tokens")
        out: Block = {"type": "adaptive"}
    else:
        if reasoning.mode == "adaptive":
            name_lost(lost, "reasoning.mode=adaptive")
        out = {"type": "enabled", "budget_tokens": budget_of(reasoning)}
    if reasoning.shown is not None:
        out["display"] = "summarized" if reasoning.shown else "omitted"
    return out


def write_reasoning(request: ir.Request, able: Abilities, lost: Lost) -> Block:
    """thinking and output_config.effort."""
    reasoning = request.reasoning
    if reasoning is None:
        return {}
    word = effort_word(reasoning.effort, able)
    out: Block = {"output_config": {"effort": word}} if word else {}
    thinking = write_thinking_mode(reasoning, able, lost)
    return {**out, "thinking": thinking} if thinking is not None else out


def thoughts_missing(turns: list[Turn]) -> bool:
    """Whether a call that is being answered now stands without the thought that led to it: refused while thinking is on."""
    if len(turns) < 2 or not turns[-1].of_type("tool_result"):
        return False
    before = turns[-2]
    return bool(before.of_type("tool_use")) and before.blocks[0].get("type") not in ("thinking", "redacted_thinking")


def with_budget(body: Block, asked: int | None, turns: list[Turn], lost: Lost) -> None:
    """thinking.budget_tokens below max_tokens, or no thinking."""
    budget = body["thinking"]["budget_tokens"]
    if thoughts_missing(turns) or (asked is not None and asked <= MIN_BUDGET):
        name_lost(lost, "reasoning")
        del body["thinking"]
    elif asked is None:
        body["max_tokens"] += budget
    elif budget >= asked:
        name_lost(lost, f"reasoning.budget_tokens={budget}")
        body["thinking"] = {**body["thinking"], "budget_tokens": max(MIN_BUDGET, asked - MIN_BUDGET)}


def while_thinking(body: Block, lost: Lost) -> None:
    """What the API refuses beside thinking: a call that must come, and other sampling than its own."""
    choice = body.get("tool_choice")
    if choice and choice["type"] in ("any", "tool") and body["thinking"]["type"] == "enabled":
        name_lost(lost, "tool_choice=required")
        kept = {name: value for name, value in choice.items() if name not in ("type", "name")}
        body["tool_choice"] = {"type": "auto", **kept}
    for name, refused in (("temperature", lambda x: x != 1), ("top_k", lambda x: True), ("top_p", lambda x: x < 0.95)):
        if name in body and refused(body[name]):
            name_lost(lost, name)
            del body[name]


def write_sampling(request: ir.Request, able: Abilities, lost: Lost) -> Block:
    fields = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    out: Block = {name: value for name, value in fields.items() if value is not None}
    dropped = list(out) if able.sampling == "none" else []
    if able.sampling == "one" and "temperature" in out and "top_p" in out:
        dropped = ["top_p"]
    for name in dropped:
        name_lost(lost, name)
        del out[name]
    if out.get("temperature", 0) > 1:
        name_lost(lost, f"temperature={out['temperature']}")
        out["temperature"] = 1  # ours ends there, others' at 2
    stop = [each for each in request.stop if each.strip()]  # blank ones are refused
    if len(stop) < len(request.stop):
        name_lost(lost, "stop")
    return {**out, "stop_sequences": stop} if stop else out


def write_system(request: ir.Request, able: Abilities, hint: str, lost: Lost) -> Block:
    """`system` as one text where that says it all, else as blocks."""
    billing = request.extras.get(VENDOR, ir.NOTHING).get(BILLING.rstrip(":"))
    parts = request.system if not billing else (ir.Text(billing), *request.system)
    blocks = []
    for block in write_blocks(parts, Target(able, lost), WRITE_PARTS):
        if block["type"] == "text":
            blocks.append(block)
        else:
            name_lost(lost, f"system.{block['type']}")
    if hint:
        blocks.append({"type": "text", "text": hint})
    return {"system": content_of(blocks)} if blocks else {}


def schema_way(request: ir.Request, able: Abilities) -> str:
    """How the answer's form is asked for: "", native, tool or prompt."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return ""
    if wanted.kind == "json" or not wanted.schema:
        return "prompt"
    if able.schema != "tool":
        return able.schema
    reasoning = request.reasoning
    thinks = able.thinking != "none" and reasoning is not None and reasoning.mode != "off" and reasoning.effort != "none"
    return "prompt" if thinks or request.tools else "tool"  # a call that must come leaves no room for others, nor for thought


def schema_hint(wanted: ir.ResponseFormat, lost: Lost) -> str:
    name_lost(lost, f"response_format={wanted.kind}")  # asked for, not enforced
    return JSON_HINT if not wanted.schema else f"{JSON_HINT} It must fit this JSON schema:\n{compact(wanted.schema)}"


def write_schema(wanted: ir.ResponseFormat, way: str, lost: Lost) -> Block:
    if way == "native":
        schema = fitted_schema(wanted.schema, lost)
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    if way != "tool":
        return {}
    told = wanted.description or "Gives the answer in the form that was asked for."
    tool = {"name": SCHEMA_TOOL, "description": told, "input_schema": {"type": "object", **(wanted.schema or {})}}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": SCHEMA_TOOL}}


def write_rest(request: ir.Request, lost: Lost) -> Block:
    """Who asks and how fast; what only Anthropic knows goes back, what it does not know is named."""
    out: Block = {"stream": True} if request.stream else {}
    if request.user:
        out["metadata"] = {"user_id": request.user}
    tier = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}.get(request.service_tier)
    if tier:
        out["service_tier"] = tier
    elif request.service_tier:
        name_lost(lost, f"service_tier={request.service_tier}")
    told = {"n": (request.n or 1) > 1, "metadata": request.metadata, "prompt_cache_key": request.cache_key}
    for name, value in {**{name: getattr(request, name) for name in NOT_HERE}, **told}.items():
        if value:
            name_lost(lost, name)
    lose_extras(request.extras, VENDOR, lost)
    return out


def joined(body: Block, more: Mapping[str, Any]) -> None:
    """More fields; objects that are there already get them inside."""
    for name, value in more.items():
        old = body.get(name)
        body[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: Lost) -> Block:
    """The body for an upstream. `lost` gets the names of what could not be carried."""
    able = abilities(model, quirks)
    turns = write_turns(request, able, lost)
    way = schema_way(request, able)
    wanted = request.response_format
    hint = schema_hint(wanted, lost) if wanted is not None and way == "prompt" else ""
    limit = request.max_tokens if request.max_tokens is not None else able.max_tokens
    body: Block = {"model": model, "max_tokens": limit, **write_system(request, able, hint, lost)}
    body["messages"] = [{"role": turn.role, "content": turn.blocks} for turn in turns]
    own_fields = {name: value for name, value in mine(request.extras).items() if name != BILLING.rstrip(":")}
    for more in (
        write_tools(request, turns, able, lost), write_sampling(request, able, lost), write_reasoning(request, able, lost),
        write_schema(wanted, way, lost) if wanted is not None else {}, write_rest(request, lost), own_fields,
    ):  # fmt: skip
        joined(body, more)
    if body.get("thinking", {}).get("type") == "enabled":
        with_budget(body, request.max_tokens, turns, lost)
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        while_thinking(body, lost)
    return body


# -------------------------------------------------------------------------------------------------------------------- usage

USAGE_FIELDS = frozenset({
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
    "output_tokens_details", "service_tier",
})  # fmt: skip


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
        thought, extras=own(fields, USAGE_FIELDS),
    )  # fmt: skip


def usage_in(answer: Mapping[str, Any]) -> ir.Usage | None:
    """Of a whole answer; None where it says nothing."""
    usage = answer.get("usage")
    return read_usage(usage) if isinstance(usage, dict) else None


TIERS = frozenset({"standard", "priority", "batch"})  # other vendors' words are not those of the SDKs' types


def write_usage(usage: ir.Usage | None, tier: str = "") -> Block:
    """input_tokens without what came from or went to the cache; zeros where nothing is known, for the SDKs demand numbers."""
    told = {"service_tier": tier} if tier in TIERS else {}
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0, **told}
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
    return {**out, **mine(usage.extras), **told}


# ------------------------------------------------------------------------------------------------------------------- errors


def error_of(fields: Mapping[str, Any], status: int, retry_s: float | None = None) -> GatewayError:
    """{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 200 -> Overloaded, status 529"""
    inner = fields.get("error")
    error = inner if isinstance(inner, dict) else {"message": inner or fields.get("message")}
    kind = str(error.get("type") or "")
    if status < 400:  # inside an answer that began well: only the type tells
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
    told = " ".join(body[: MAX_ERROR_CHARS * 4].decode("utf-8", "replace").split())[:MAX_ERROR_CHARS]
    return of_status(status if status >= 400 else 502, told or f"the upstream answered {status}", retry_after_s=retry_s)


def error_body(error: GatewayError, request_id: str) -> Block:
    kind = ERROR_TYPE.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    told: Block = {"type": kind, "message": error.message}
    facts = {name: error.details[name] for name in ("error_code", "unsupported") if name in error.details}
    if facts:
        told["details"] = facts
    return {"type": "error", "error": told, "request_id": request_id}


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], Block]:
    """(status, headers, body) for a caller."""
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
    return error.status, headers, error_body(error, request_id)


def sent(name: str, fields: Mapping[str, Any]) -> bytes:
    """One event; the SDKs skip those without an `event:` line."""
    return f"event: {name}\ndata: {compact(fields)}\n\n".encode("utf-8", "backslashreplace")


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last event of a stream that broke."""
    return sent("error", error_body(error, request_id))


def write_count(tokens: int) -> Block:
    return {"input_tokens": tokens}


# ------------------------------------------------------------------------------------------------------- answer: wire -> ir


def read_stop(fields: Mapping[str, Any], called: bool) -> ir.Stop:
    """Why it ended. Whether a tool is called decides between "end" and "tool_calls", whatever the upstream says.

    {"stop_reason": "end_turn"}, called=True -> Stop("tool_calls", "end_turn")
    """
    native = fields.get("stop_reason")
    native = native if isinstance(native, str) else ""
    reason = STOP_REASON.get(native, "other")
    if reason in ("end", "tool_calls", "other"):
        reason = "tool_calls" if called else "end" if reason == "tool_calls" else reason
    details = fields.get("stop_details")
    extras: ir.Extras = {VENDOR: {"stop_details": details}} if isinstance(details, dict) else ir.NOTHING
    sequence = fields.get("stop_sequence")
    return ir.Stop(reason, native, sequence if isinstance(sequence, str) else "", extras)


def answer_part(part: ir.Part) -> ir.Part:
    """A part of an answer: its thoughts are Anthropic's; what a server tool found is not what the model said; the call that
    only gives the answer's form is the answer."""
    if isinstance(part, ir.ToolCall) and part.name == SCHEMA_TOOL:
        return ir.Text(part.arguments_text)
    if isinstance(part, ir.Opaque):
        return replace(part, text="")
    return replace(part, vendor=VENDOR) if isinstance(part, ir.Thinking) else part


ANSWER_FIELDS = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"})


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
        service_tier=tier_of(fields), extras=own(fields, ANSWER_FIELDS),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- answer: ir -> wire


def write_stop(stop: ir.Stop, called: bool, lost: Lost) -> Block:
    """stop_reason and stop_sequence; tool_use exactly when a tool is called."""
    native = WIRE_STOP.get(stop.reason, "end_turn")
    if stop.reason in ("end", "tool_calls", "other"):
        native = "tool_use" if called else "end_turn"
    if stop.reason == "other" and stop.native:
        name_lost(lost, f"stop_reason={stop.native}")
    out: Block = {"stop_reason": native, "stop_sequence": stop.sequence or None}
    out.update(mine(stop.extras))
    return out


def thinking_block(part: ir.Thinking, lost: Lost) -> Block | None:
    """A thought; only Anthropic's own signatures are worth sending back."""
    if part.data:
        if part.vendor == VENDOR:
            return {"type": "redacted_thinking", "data": part.data}
        name_lost(lost, "thinking.data")
        return None
    if part.signature and part.vendor != VENDOR:
        name_lost(lost, "thinking.signature")
    return {"type": "thinking", "thinking": part.text, "signature": part.signature if part.vendor == VENDOR else ""}


def told_block(part: ir.Part, lost: Lost) -> Block | None:
    """The block of a part that comes whole; None for what the protocol cannot show."""
    if isinstance(part, ir.Refusal):
        return {"type": "text", "text": part.text} if part.text else None
    if isinstance(part, ir.Opaque) and part.vendor == VENDOR:
        return dict(part.value)
    name_lost(lost, part.kind if isinstance(part, ir.Opaque | ir.Media) else "tool_result")
    return {"type": "text", "text": part.text} if isinstance(part, ir.Opaque) and part.text else None


def answer_block(part: ir.Part, names: Mapping[str, str], lost: Lost) -> Block | None:
    if isinstance(part, ir.Text):
        if part.signature:
            name_lost(lost, "signature")
        return {"type": "text", "text": part.text, **mine(part.extras)} if part.text else None
    if isinstance(part, ir.Thinking):
        return thinking_block(part, lost)
    if not isinstance(part, ir.ToolCall):
        return told_block(part, lost)
    if part.arguments is None:
        name_lost(lost, "tool_use.input")
    name, arguments = names.get(part.name, part.name), part.arguments or {}
    return {"type": "tool_use", "id": packed_id(part), "name": name, "input": arguments, **mine(part.extras)}


def write_answer(answer: ir.Answer, request: ir.Request, lost: Lost) -> Block:
    """For a caller: the first candidate, for the protocol has one."""
    if len(answer.candidates) > 1:
        name_lost(lost, "n")
    names = own_names(request.tools)
    first = answer.candidates[0]
    content = [block for part in first.parts if (block := answer_block(part, names, lost)) is not None]
    called = any(block["type"] == "tool_use" for block in content)
    usage = write_usage(answer.usage, answer.service_tier)
    if answer.usage is None:
        name_lost(lost, "usage")
    return {
        "id": answer.id, "type": "message", "role": "assistant", "model": answer.model or request.model,
        "content": content, **write_stop(first.stop, called, lost), "usage": usage, **mine(answer.extras),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- stream: read

Events = Sequence[ir.StreamEvent]

# type of delta -> (type of block, field)
DELTAS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"), "input_json_delta": ("tool_use", "partial_json"),
}  # fmt: skip
GROWING: Mapping[str, ir.Part] = {"text": ir.Text(""), "thinking": ir.Thinking("", "", VENDOR)}


def parsed(event: Event) -> Block | None:
    """The object in an event; None for anything else."""
    try:
        fields = json.loads(event.data)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def with_usage(known: Block, fields: Mapping[str, Any]) -> bool:
    """Adds what a message_start or message_delta says: the first is the base, the next ones hold running totals."""
    usage = fields.get("usage")
    if not isinstance(usage, dict):
        return False
    known.update((name, value) for name, value in usage.items() if value is not None)
    return True


class Held:
    """A block that only Anthropic knows, until it is whole."""

    __slots__ = ("_block", "_input")

    def __init__(self, block: Block) -> None:
        self._block, self._input = dict(block), ""

    def feed(self, delta: Mapping[str, Any]) -> None:
        if delta.get("type") == "input_json_delta":
            self._input += str(delta.get("partial_json") or "")
        else:
            self._block.update((name, value) for name, value in delta.items() if name != "type")

    def part(self) -> ir.Part:
        if self._input:
            self._block["input"] = ir.object_in(self._input) or {}
        return answer_part(read_opaque(self._block, ""))


class StreamReader:
    """An upstream's events -> neutral ones, one answer: feed() each, close() at the end of the connection.

    Blocks are taken as the API sends them, one after the other. Servers that only resemble it leave out the start or the
    stop of a block, start twice, change the kind inside one, or let two calls grow at once: all that is put in order.
    """

    __slots__ = (
        "_answer_id", "_block", "_called", "_citations", "_held", "_index", "_input", "_kind", "_late", "_open", "_over",
        "_started", "_stopped", "_usage", "_waiting",
    )  # fmt: skip
    done = False  # message_stop is told by Finished

    def __init__(self) -> None:
        self._started = self._stopped = self._over = self._called = False
        self._open = False
        self._block: Any = None                 # the upstream's index of the open block
        self._kind = ""                         # and its type
        self._index = -1                        # ours, of the last part
        self._input = ""                        # of a call, where it came with the start
        self._held: Held | None = None
        self._citations: list[Any] = []
        self._waiting: list[Block] = []         # events of blocks that began while a call was open
        self._usage: Block = {}
        self._late: dict[str, Any] = {}         # for Finished
        self._answer_id = ""

    def feed(self, event: Event) -> Events:
        if self._over:
            return ()
        data = parsed(event)
        if data is None:
            return () if event.data.startswith("[DONE]") else self._failed(UpstreamFailed("the upstream sent an event that is "
                                                                                           "no JSON object"))  # fmt: skip
        return self._take(data, event.event)

    def _take(self, data: Block, name: str) -> Events:
        kind = data.get("type") or name
        if kind == "content_block_delta" and self._started and not self._stopped:
            return self._delta(data)
        handle = self._HANDLERS.get(str(kind))
        if handle is None:
            return ()
        if self._started or kind in ("message_start", "error"):
            return handle(self, data)
        return [*self._begin({}), *handle(self, data)]

    def close(self) -> Events:
        """Nothing when all came; else StreamCut."""
        if self._over:
            return ()
        return self._failed(StreamCut("the upstream ended the stream before its final event"))

    def _failed(self, error: GatewayError) -> Events:
        self._over = True
        return (ir.Failed(error),)

    def _error(self, data: Block) -> Events:
        return self._failed(error_of(data, 200))

    def _begin(self, data: Block) -> Events:
        """message_start; a second one only brings its usage."""
        message = data.get("message")
        fields = message if isinstance(message, dict) else {}
        told = with_usage(self._usage, fields)
        usage = [ir.UsageSeen(read_usage(self._usage))] if told else []
        if self._started:
            return usage
        self._started = True
        self._answer_id = str(fields.get("id") or "")
        extras = own(fields, ANSWER_FIELDS)
        start = ir.Started(self._answer_id, str(fields.get("model") or ""), 0, tier_of(fields), extras)
        return [start, *usage]

    # ------------------------------------------------------------------------------------------------------------- blocks

    def _waits(self, data: Block) -> bool:
        """Whether an event belongs to a block that began while a call was open: calls must not run into each other."""
        if self._open and self._kind == "tool_use" and data.get("index", self._block) != self._block:
            self._waiting.append(data)
            return True
        return False

    def _block_start(self, data: Block) -> Events:
        if self._stopped or self._waits(data):
            return ()
        block = data.get("content_block")
        block = block if isinstance(block, dict) else {}
        kind = str(block.get("type"))
        events = [*self._end_part()]
        self._open, self._block, self._kind = True, data.get("index"), kind
        if kind in GROWING:
            return [*events, *self._grow(block, kind)]
        if kind == "tool_use":
            return [*events, self._call(block)]
        if kind == "redacted_thinking":
            return [*events, self._part(ir.Thinking("", "", VENDOR, str(block.get("data") or "")))]
        self._held = Held({**block, "type": kind})
        return events

    def _part(self, part: ir.Part) -> ir.StreamEvent:
        self._index += 1
        return ir.PartStart(self._index, part)

    def _grow(self, block: Block, kind: str) -> list[ir.StreamEvent]:
        """A text or thought; what the start says already is its first delta."""
        events: list[ir.StreamEvent] = [self._part(GROWING[kind])]
        said, signature = block.get(kind) or "", block.get("signature") or ""
        if said or signature:
            events.append(ir.PartDelta(self._index, str(said), str(signature)))
        return events

    def _call(self, block: Block) -> ir.StreamEvent:
        name = str(block.get("name") or "")
        given = block.get("input")
        self._input = compact(given) if isinstance(given, dict) and given else ""
        if name == SCHEMA_TOOL:
            return self._part(ir.Text(""))
        self._called = True
        call_id = str(block.get("id") or "") or minted_id(self._answer_id, self._index, name)
        return self._part(ir.ToolCall(call_id, name, extras=own(block, CALL_FIELDS)))

    def _delta(self, data: Block) -> Events:
        delta = data.get("delta")
        if not isinstance(delta, dict) or (data.get("index") != self._block and self._waits(data)):
            return ()
        known = DELTAS.get(str(delta.get("type")))
        if known is None or self._held is not None:
            return self._other_delta(delta)
        kind, name = known
        piece = delta.get(name)
        if not piece or not isinstance(piece, str):
            return ()
        if self._open and kind == self._kind and data.get("index") == self._block:
            self._input = ""
            return (ir.PartDelta(self._index, "", piece) if name == "signature" else ir.PartDelta(self._index, piece),)
        return self._unannounced(kind, name, piece, data)

    def _unannounced(self, kind: str, name: str, piece: str, data: Block) -> Events:
        """A delta without its block: a block of its kind begins with it. A call without a name is none."""
        if kind not in GROWING:
            return self._failed(UpstreamFailed("the upstream sent arguments of a call that it did not begin"))
        events = [*self._end_part(), self._part(GROWING[kind])]
        self._open, self._block, self._kind = True, data.get("index"), kind
        signed = name == "signature"
        return [*events, ir.PartDelta(self._index, "" if signed else piece, piece if signed else "")]

    def _other_delta(self, delta: Block) -> Events:
        if self._held is not None:
            self._held.feed(delta)
        elif delta.get("type") == "citations_delta" and self._open and self._kind == "text":
            self._citations.append(delta.get("citation"))
            return (ir.PartDelta(self._index, extras={VENDOR: {"citations": list(self._citations)}}),)
        return ()

    def _end_part(self) -> list[ir.StreamEvent]:
        if not self._open:
            return []
        events: list[ir.StreamEvent] = []
        if self._held is not None:
            events.append(self._part(self._held.part()))
        elif self._input:
            events.append(ir.PartDelta(self._index, self._input))
        events.append(ir.PartEnd(self._index))
        self._open, self._held, self._input, self._kind = False, None, "", ""
        self._citations = []
        return events

    def _block_stop(self, data: Block) -> Events:
        if self._waits(data) or not self._open or data.get("index", self._block) != self._block:
            return ()
        return [*self._end_part(), *self._released()]

    def _released(self) -> list[ir.StreamEvent]:
        """What waited for the end of a call: one block after the other now."""
        waiting, self._waiting = self._waiting, []
        first = waiting[0].get("index") if waiting else None
        ordered = sorted(waiting, key=lambda data: data.get("index") != first)  # stable: the first block's go first
        events: list[ir.StreamEvent] = []
        for data in ordered:
            if not self._over:  # one of them may be the end of all
                events += self._take(data, "")
        return events

    # ---------------------------------------------------------------------------------------------------------------- end

    def _closed(self) -> list[ir.StreamEvent]:
        events = self._end_part()
        while self._waiting:
            events += self._released()
            events += [] if self._over else self._end_part()
        return events

    def _message_delta(self, data: Block) -> Events:
        delta = data.get("delta")
        fields = delta if isinstance(delta, dict) else {}
        events = self._stop(fields) if fields.get("stop_reason") else []
        if self._over:
            return events
        if fields.get("container"):
            self._late["container"] = fields["container"]
        if data.get("context_management"):
            self._late["context_management"] = data["context_management"]
        if with_usage(self._usage, data):
            events.append(ir.UsageSeen(read_usage(self._usage)))
        return events

    def _stop(self, fields: Block) -> list[ir.StreamEvent]:
        if self._stopped:
            return []
        events = self._closed()
        if self._over:
            return events
        stop = read_stop(fields, self._called)
        self._stopped = True
        return [*events, ir.Stopped(stop)]

    def _message_stop(self, data: Block) -> Events:
        events = self._stop({})
        if self._over:
            return events
        self._over = True
        return [*events, ir.Finished({VENDOR: self._late} if self._late else ir.NOTHING)]

    _HANDLERS: ClassVar[Mapping[str, Callable[[Any, Block], Events]]] = {
        "message_start": _begin, "content_block_start": _block_start, "content_block_delta": lambda reader, data: (
            () if reader._stopped else reader._delta(data)
        ), "content_block_stop": _block_stop, "message_delta": _message_delta, "message_stop": _message_stop, "error": _error,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- stream: scan

SPOKEN = frozenset({"tool_use", "server_tool_use", "mcp_tool_use", "redacted_thinking"})  # a start that says something itself
SHORT_CHARS = 160  # an event longer than this has something in it


class Scanner:
    """What a relayed stream says: how much output, whether it is whole, what it cost, what went wrong."""

    __slots__ = ("_known", "done", "error", "finish", "outputs", "usage")

    def __init__(self) -> None:
        self.outputs, self.done = 0, False
        self.usage: ir.Usage | None = None
        self.finish = ""  # the stop_reason
        self.error: GatewayError | None = None
        self._known: Block = {}

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            name, data = event.event, event.data
            if name == "content_block_delta":  # nearly all: not worth a parse
                self.outputs += len(data) > SHORT_CHARS or ':""' not in data.replace(" ", "")
            elif name != "ping":
                self._look(name, data)

    def _look(self, name: str, data: str) -> None:
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(fields, dict):
            self._told(fields.get("type") or name, fields)

    def _told(self, kind: str, fields: Block) -> None:
        if kind == "content_block_delta":
            self.outputs += 1
        elif kind == "content_block_start":
            block = fields.get("content_block")
            self.outputs += isinstance(block, dict) and str(block.get("type")) in SPOKEN
        elif kind in ("message_start", "message_delta"):
            said = fields.get("message") if kind == "message_start" else fields
            if isinstance(said, dict) and with_usage(self._known, said):
                self.usage = read_usage(self._known)
            delta = fields.get("delta")
            if isinstance(delta, dict) and delta.get("stop_reason"):
                self.finish = str(delta["stop_reason"])
        elif kind == "message_stop":
            self.done = True
        elif kind == "error" and self.error is None:
            self.error = error_of(fields, 200)


# ------------------------------------------------------------------------------------------------------------ stream: write

as_json = json.JSONEncoder(ensure_ascii=False).encode  # of a text: no parse of options each time


def cited_in(extras: ir.Extras) -> list[Any]:
    found = extras.get(VENDOR, ir.NOTHING).get("citations")
    return found if isinstance(found, list) else []


class StreamWriter:
    """Neutral events -> the caller's stream: feed() each. One message_start, one message_delta and message_stop.

    message_start waits for the first block, so that the usage that came by then is in it. A block begins with its first
    content: an empty one would come back in the next request and be refused.
    """

    __slots__ = (
        "_begun", "_block", "_called", "_cited", "_lost", "_names", "_over", "_part", "_prefix", "_request", "_started",
        "_stop", "_usage",
    )  # fmt: skip

    def __init__(self, request: ir.Request, lost: Lost | None = None, array: bool = False) -> None:
        self._request, self._lost = request, [] if lost is None else lost
        self._names = own_names(request.tools)
        self._started = ir.Started("", "")
        self._begun = self._called = self._over = False
        self._usage: ir.Usage | None = None
        self._stop = ir.Stop("end")
        self._block = -1                     # index of the last block
        self._part: ir.Part | None = None    # open, and where it has no block yet, its kind
        self._prefix = ""                    # of a delta in the open block; "" = there is no block yet
        self._cited = 0

    def feed(self, event: ir.StreamEvent) -> bytes:
        if type(event) is ir.PartDelta and event.candidate == 0 and self._prefix and event.text and not event.extras:
            delta = f"{self._prefix}{as_json(event.text)}}}}}\n\n".encode("utf-8", "backslashreplace")
            return delta + self._signature(event.signature) if event.signature else delta
        handle = self._HANDLERS.get(type(event))
        if handle is None or self._over:
            return b""
        if getattr(event, "candidate", 0):
            name_lost(self._lost, "n")
            return b""
        return handle(self, event)

    def _start(self, event: ir.Started) -> bytes:
        self._started = event
        return b""

    def _seen(self, event: ir.UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _head(self) -> bytes:
        """message_start, once."""
        if self._begun:
            return b""
        self._begun = True
        start = self._started
        return sent("message_start", {"type": "message_start", "message": {
            "id": start.id, "type": "message", "role": "assistant", "model": start.model or self._request.model, "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": {**write_usage(self._usage, start.service_tier), "output_tokens": 0}, **mine(start.extras),
        }})  # fmt: skip

    def _opened(self, block: Block, delta: str = "", field: str = "") -> bytes:
        """A block begins; `delta` and `field` are those of the deltas that it grows by."""
        self._block += 1
        index = self._block
        self._prefix = delta and (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},'
            f'"delta":{{"type":"{delta}","{field}":'
        )
        fields = {"type": "content_block_start", "index": index, "content_block": block}
        return self._head() + sent("content_block_start", fields)

    def _part_start(self, event: ir.PartStart) -> bytes:
        part = event.part
        self._part, self._cited = part, 0
        if isinstance(part, ir.Text):
            return self._more(part.text, "", part.extras)
        if isinstance(part, ir.Thinking) and not part.data:
            return self._more(part.text, part.signature) if part.text or part.signature else b""
        if isinstance(part, ir.ToolCall):
            return self._call(part)
        block = thinking_block(part, self._lost) if isinstance(part, ir.Thinking) else told_block(part, self._lost)
        return self._whole(block) if block is not None else b""

    def _whole(self, block: Block) -> bytes:
        """A block that comes at once; text and calls of servers in the form that clients put together."""
        kind = block["type"]
        if kind == "text":
            return self._opened({"type": "text", "text": ""}, "text_delta", "text") + self._piece(block["text"])
        if kind == "server_tool_use":
            head = self._opened({**block, "input": {}}, "input_json_delta", "partial_json")
            return head + self._piece(compact(block.get("input") or {}))
        return self._opened(block)

    def _call(self, part: ir.ToolCall) -> bytes:
        self._called = True
        name = self._names.get(part.name, part.name)
        block = {"type": "tool_use", "id": packed_id(part), "name": name, "input": {}, **mine(part.extras)}
        head = self._opened(block, "input_json_delta", "partial_json")
        return head + self._piece(part.arguments_text) if part.arguments_text else head

    def _piece(self, piece: str) -> bytes:
        return f"{self._prefix}{as_json(piece)}}}}}\n\n".encode("utf-8", "backslashreplace")

    def _signature(self, signature: str) -> bytes:
        part = self._part
        if not isinstance(part, ir.Thinking) or part.vendor != VENDOR:
            name_lost(self._lost, "thinking.signature" if isinstance(part, ir.Thinking) else "signature")
            return b""
        delta = {"type": "signature_delta", "signature": signature}
        return sent("content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": delta})

    def _part_delta(self, event: ir.PartDelta) -> bytes:
        return self._more(event.text, event.signature, event.extras)

    def _more(self, piece: str, signature: str, extras: ir.Extras = ir.NOTHING) -> bytes:
        """What a part grows by; the first of it begins the block."""
        part, head = self._part, b""
        mine_only = not (signature and isinstance(part, ir.Thinking) and part.vendor != VENDOR)
        if not self._prefix and isinstance(part, ir.Text) and (piece or cited_in(extras)):
            head = self._opened({"type": "text", "text": ""}, "text_delta", "text")
        elif not self._prefix and isinstance(part, ir.Thinking) and (piece or mine_only):
            block = {"type": "thinking", "thinking": "", "signature": ""}
            head = self._opened(block, "thinking_delta", "thinking")
        if piece and self._prefix:
            head += self._piece(piece)
        if signature:
            head += self._signature(signature)
        return head + self._citations(extras) if extras and self._prefix else head

    def _citations(self, extras: ir.Extras) -> bytes:
        """Those that are new: a delta holds all so far."""
        found = cited_in(extras)
        new, self._cited = found[self._cited :], len(found)
        return b"".join(
            sent("content_block_delta", {
                "type": "content_block_delta", "index": self._block, "delta": {"type": "citations_delta", "citation": each},
            }) for each in new
        )  # fmt: skip

    def _part_end(self, event: ir.PartEnd) -> bytes:
        opened = bool(self._prefix) or (self._part is not None and self._wrote_whole())
        self._part, self._prefix = None, ""
        if not opened:
            return b""
        return sent("content_block_stop", {"type": "content_block_stop", "index": self._block})

    def _wrote_whole(self) -> bool:
        """Whether the open part, which does not grow, has a block."""
        part = self._part
        if isinstance(part, ir.Thinking):
            return bool(part.data) and part.vendor == VENDOR
        return isinstance(part, ir.Opaque) and part.vendor == VENDOR

    def _stopped(self, event: ir.Stopped) -> bytes:
        self._stop = event.stop
        return b""

    def _finished(self, event: ir.Finished) -> bytes:
        self._over = True
        if self._usage is None:
            name_lost(self._lost, "usage")
        delta = {**write_stop(self._stop, self._called, self._lost), **mine(event.extras)}
        fields = {"type": "message_delta", "delta": delta, "usage": write_usage(self._usage)}
        return self._head() + sent("message_delta", fields) + sent("message_stop", {"type": "message_stop"})

    def _failed(self, event: ir.Failed) -> bytes:
        self._over = True
        return error_event(event.error, "")

    _HANDLERS: ClassVar[Mapping[type, Callable[[Any, Any], bytes]]] = {
        ir.Started: _start, ir.UsageSeen: _seen, ir.PartStart: _part_start, ir.PartDelta: _part_delta, ir.PartEnd: _part_end,
        ir.Stopped: _stopped, ir.Finished: _finished, ir.Failed: _failed,
    }  # fmt: skip
