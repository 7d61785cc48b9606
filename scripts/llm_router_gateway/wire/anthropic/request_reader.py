"""Anthropic Messages: a caller's request body -> ir.Request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from ...errors import BadRequest
from .. import ir
from ..envelope import is_envelope, open_envelope
from ..fields import compact, integer, items, number, obj, refuse, text, truth
from ..losses import with_value
from ..names import mint_id, unpack_id
from ..shapes import all_unread, both, unread
from .common import BILLING, VENDOR, Block, own, own_fields
from .shapes import (
    CALL,
    CONTENT_DOCUMENT,
    DOCUMENT,
    IMAGE,
    MESSAGE,
    REQUEST,
    RESULT,
    SEARCH,
    TEXT,
    THINKING,
    TOOL,
    TOOL_CHANGE,
)
from .shapes import TOLD as TOLD_BLOCKS

# ------------------------------------------------------------------------------------------------------- blocks -> parts


def cache_of(block: Mapping[str, Any]) -> ir.JSON | None:
    found = block.get("cache_control")
    return found if isinstance(found, dict) else None


def read_text(block: Block, path: str) -> ir.Text:
    words, cited = text(block.get("text"), f"{path}.text"), block.get("citations")
    if isinstance(cited, list):  # a placeholder for another vendor's pages came back, and means nothing to any upstream
        kept = [each for each in cited if not (isinstance(each, dict) and is_envelope(each.get("encrypted_index")))]
        block = {**block, "citations": kept or None}
    return ir.Text(words, cache_control=cache_of(block), extras=own(block, TEXT))


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
    where = f"{path}.source"
    fields = source_fields(obj(block.get("source"), where), where)
    return ir.Media("image", cache_control=cache_of(block), extras=own(block, IMAGE), **fields)


def plain_text(content: Any) -> str:
    """What can be read in content: its text, and that of its blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    found = [block.get("text") for block in blocks if isinstance(block, dict)]
    return "\n".join(each for each in found if isinstance(each, str) and each)


def read_document(block: Block, path: str) -> ir.Media | ir.Opaque:
    source = obj(block.get("source"), f"{path}.source")
    if source.get("type") == "content":  # a document of blocks: only Anthropic has that
        return ir.Opaque(VENDOR, "document", block, plain_text(source.get("content")), unread(block, CONTENT_DOCUMENT))
    fields = source_fields(source, f"{path}.source")
    name = text(block.get("title") or "", f"{path}.title")
    return ir.Media("document", name=name, cache_control=cache_of(block), extras=own(block, DOCUMENT), **fields)


def search_hits(content: Any) -> str:
    """[{"title": "T", "url": "https://h"}] -> "T https://h", a line each."""
    hits = [hit for hit in content if isinstance(hit, dict)] if isinstance(content, list) else []
    return "\n".join(f"{hit.get('title') or ''} {hit.get('url') or ''}".strip() for hit in hits)


# The text for other vendors of a block that only Anthropic has; of all other blocks only that they were there.
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
    stated = TOLD.get(kind)
    if stated is None:
        return ir.Opaque(VENDOR, kind, block)
    return ir.Opaque(VENDOR, kind, block, stated(block), unread(block, TOLD_BLOCKS[kind]))


def read_call(block: Block, path: str) -> ir.ToolCall:
    wire_id, name = text(block.get("id"), f"{path}.id"), text(block.get("name"), f"{path}.name")
    arguments = obj(block.get("input"), f"{path}.input") if block.get("input") is not None else {}
    call_id, vendor, signature = unpack_id(wire_id)
    return ir.ToolCall(
        call_id or mint_id(path, name), name, compact(arguments), arguments, vendor=vendor, signature=signature,
        cache_control=cache_of(block), extras=own(block, CALL),
    )  # fmt: skip


def read_thinking(block: Block, path: str) -> ir.Thinking:
    signature = text(block.get("signature") or "", f"{path}.signature")
    thought = text(block.get("thinking") or "", f"{path}.thinking")
    return ir.Thinking(thought, signature, VENDOR if signature else "", extras=unread(block, THINKING))


def read_redacted(block: Block, path: str) -> ir.Thinking:
    return ir.Thinking("", "", VENDOR, text(block.get("data"), f"{path}.data"), unread(block, THINKING))


def open_thought(part: ir.Thinking) -> ir.Thinking:
    """A thought that a caller brings back: another vendor's, where its signature or data is an envelope."""
    found = open_envelope(part.data or part.signature)
    return ir.Thinking(part.text, found.signature, found.vendor, found.data, part.extras) if found is not None else part


ReadPart = Callable[[Block, str], Any]
IN_RESULTS: Mapping[str, ReadPart] = {"text": read_text, "image": read_image, "document": read_document}


def read_blocks(content: Any, path: str, table: Mapping[str, ReadPart]) -> list[Any]:
    """Text or blocks -> parts; a block that is not in the table stays as it is."""
    if isinstance(content, str):
        return [ir.Text(content)]
    parts = []
    for number_, block in enumerate(items(content, path)):
        if type(block) is dict and len(block) == 2 and block.get("type") == "text" and type(block.get("text")) is str:
            parts.append(ir.Text(block["text"]))
            continue
        where = f"{path}[{number_}]"
        kind = text(obj(block, where).get("type"), f"{where}.type")
        parts.append(table.get(kind, read_opaque)(block, where))
    return parts


def read_result(block: Block, path: str) -> ir.ToolResult:
    call_id, vendor, _ = unpack_id(text(block.get("tool_use_id"), f"{path}.tool_use_id"))
    parts = tuple(read_blocks(block.get("content"), f"{path}.content", IN_RESULTS))
    return ir.ToolResult(
        call_id, parts, truth(block.get("is_error"), f"{path}.is_error") or False, vendor=vendor,
        cache_control=cache_of(block), extras=own(block, RESULT),
    )  # fmt: skip


PARTS: Mapping[str, ReadPart] = {
    **IN_RESULTS, "tool_use": read_call, "tool_result": read_result, "thinking": read_thinking,
    "redacted_thinking": read_redacted,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------- request: wire -> ir

ROLES: Mapping[str, ir.Role] = {"user": "user", "assistant": "assistant", "system": "system"}
CHOICES: Mapping[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": "required"}


def plain_message(item: Any) -> ir.Message | None:
    """A message that is one text, as nearly all of a long conversation are; None for others."""
    if type(item) is not dict or len(item) != 2:
        return None
    role, content = item.get("role"), item.get("content")
    if type(content) is list and len(content) == 1 and type(content[0]) is dict and len(content[0]) == 2:
        content = content[0].get("text") if content[0].get("type") == "text" else None
    if type(content) is not str or (role != "user" and role != "assistant"):  # in a set: slower
        return None
    return ir.Message(role, (ir.Text(content),))


def read_messages(value: Any) -> list[ir.Message]:
    """Every result knows its tool's name: that of the call with its id."""
    names: dict[str, str] = {}
    messages = []
    for index, item in enumerate(items(value, "messages")):
        plain = plain_message(item)
        if plain is not None:
            messages.append(plain)
            continue
        path = f"messages[{index}]"
        fields = obj(item, path)
        role = ROLES.get(str(fields.get("role"))) or refuse(f"{path}.role", "must be user, assistant or system")
        parts = read_blocks(fields.get("content"), f"{path}.content", PARTS)
        for place, part in enumerate(parts):
            if isinstance(part, ir.ToolCall):
                names[part.id] = part.name
            elif isinstance(part, ir.Thinking):
                parts[place] = open_thought(part)
            elif isinstance(part, ir.ToolResult):
                parts[place] = replace(part, name=names.get(part.id, ""))
        messages.append(ir.Message(role, tuple(parts), extras=own(fields, MESSAGE)))
    return messages


def without_billing(parts: list[ir.Part]) -> tuple[list[ir.Part], str]:
    """The system text without the line that differs in every request, and that line."""
    first = parts[0] if parts else None
    if not isinstance(first, ir.Text) or not first.text.startswith(BILLING):
        return parts, ""
    line, _, rest = first.text.partition("\n")
    return ([replace(first, text=rest)] if rest.strip() else []) + parts[1:], line


def read_search(fields: Mapping[str, Any]) -> ir.WebSearch | None:
    """What a web search tool says, in no vendor's words; None for other tools."""
    if not str(fields.get("type")).startswith("web_search_"):
        return None
    lists = [fields.get(name) for name in ("allowed_domains", "blocked_domains")]
    texts = [[each for each in found if isinstance(each, str)] if isinstance(found, list) else [] for found in lists]
    allowed, blocked = map(tuple, texts)
    place, uses = fields.get("user_location"), fields.get("max_uses")
    location = {name: each for name, each in place.items() if name != "type" and each} if isinstance(place, dict) else None
    return ir.WebSearch(allowed, blocked, location or None, uses if type(uses) is int else None)


def read_tool(item: Any, path: str) -> ir.Tool:
    fields = obj(item, path)
    kind = fields.get("type")
    if kind not in (None, "custom"):  # runs at Anthropic, or Anthropic knows its schema
        name, search = str(fields.get("name") or kind), read_search(fields)
        extras = unread(fields, SEARCH) if search is not None else ir.NOTHING
        return ir.Tool(name, vendor=VENDOR, value=fields, cache_control=cache_of(fields), extras=extras, search=search)
    schema = fields.get("input_schema")
    return ir.Tool(
        text(fields.get("name"), f"{path}.name"),
        text(fields.get("description") or "", f"{path}.description"),
        None if schema is None else obj(schema, f"{path}.input_schema"),
        truth(fields.get("strict"), f"{path}.strict"),
        cache_control=cache_of(fields),
        extras=own(fields, TOOL),
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
SHOWN: Mapping[str, bool] = {"summarized": True, "omitted": False, "updates": True}
SHOWN_ELSEWHERE = ("summarized", "omitted")  # updates on the work are Anthropic's own


def unread_display(thinking: Any) -> ir.Extras:
    """A word of thinking.display that no other protocol has an equal of, known or not."""
    word = thinking.get("display") if isinstance(thinking, dict) else None
    return ir.NOTHING if word is None or word in SHOWN_ELSEWHERE else {ir.UNREAD: {with_value("thinking.display", word): True}}


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


# ------------------------------------------------------------------------------------------- tools that come and go on the way

CHANGES = frozenset({"tool_addition", "tool_removal"})
SEARCHES = "tool_search_tool"  # the types of the search that runs at Anthropic begin so: it loads what it finds by itself


@dataclass(slots=True)
class Loading:
    """What a conversation says of its tools: which were loaded or taken away on the way, which were defined there."""

    loaded: dict[str, bool]  # name -> whether it is there at the end
    defined: dict[str, ir.Tool]
    unread: ir.Extras = ir.NOTHING


def read_tool_change(block: Mapping[str, Any], path: str, found: Loading) -> None:
    """{"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {...}}}, or with {"type": "tool_reference",
    "name": "f"}; tool_removal alike.
    """
    tool = obj(block.get("tool"), f"{path}.tool")
    found.unread = both(found.unread, unread(block, TOOL_CHANGE, f"{block.get('type')}."))
    definition = tool.get("definition")
    name = tool.get("name") or tool.get("tool_name")
    if block.get("type") == "tool_addition" and isinstance(definition, dict):
        made = read_tool(definition, f"{path}.tool.definition")
        found.defined[made.name] = made
        name = made.name
    if isinstance(name, str):
        found.loaded[name] = block.get("type") == "tool_addition"


def references_in(parts: Iterable[ir.Part]) -> list[str]:
    """The tools that results of a search name: they are loaded from then on."""
    opaque = [part for part in parts if isinstance(part, ir.Opaque) and part.kind == "tool_reference"]
    return [str(part.value.get("tool_name")) for part in opaque]


def is_change(part: ir.Part) -> TypeGuard[ir.Opaque]:
    return isinstance(part, ir.Opaque) and part.kind in CHANGES


def without_changes(messages: list[ir.Message], found: Loading) -> list[ir.Message]:
    """The messages without what only says that a tool is there now; those that said nothing else are gone."""
    kept = []
    for index, message in enumerate(messages):
        if len(message.parts) == 1 and type(message.parts[0]) is ir.Text:
            kept.append(message)
            continue
        changes = [part for part in message.parts if is_change(part)]
        for at, change in enumerate(changes):
            read_tool_change(change.value, f"messages[{index}].content[{at}]", found)
        for part in message.parts:
            if isinstance(part, ir.ToolCall):
                found.loaded.setdefault(part.name, True)
            elif isinstance(part, ir.ToolResult):
                found.loaded.update((name, True) for name in references_in(part.parts))
        rest = tuple(part for part in message.parts if not is_change(part)) if changes else message.parts
        if rest or not changes:
            kept.append(replace(message, parts=rest) if changes else message)
        else:
            found.unread = both(found.unread, all_unread(message.extras))
    return kept


def apply_tool_changes(tools: list[ir.Tool], found: Loading) -> tuple[ir.Tool, ...]:
    """The tools with those that were defined on the way; those that are not there (yet, or any more) are marked."""
    named = {tool.name for tool in tools}
    everything = [*tools, *(tool for name, tool in found.defined.items() if name not in named)]
    searched = any(tool.value is not None and str(tool.value.get("type")).startswith(SEARCHES) for tool in tools)

    def is_deferred(tool: ir.Tool) -> bool:
        later = own_fields(tool.extras).get("defer_loading") is True and not searched
        return not found.loaded.get(tool.name, not later)

    return tuple(replace(tool, deferred=True) if is_deferred(tool) else tool for tool in everything)


def request_extras(fields: Mapping[str, Any], config: Mapping[str, Any], billing: str, unread_: ir.Extras) -> ir.Extras:
    """What only Anthropic knows at the top: context_management, container, the rest of output_config."""
    extras = both(both(own(fields, REQUEST), unread_display(fields.get("thinking"))), unread_)
    rest = own_fields(extras)
    config_rest = {name: value for name, value in config.items() if name not in ("effort", "format") and value is not None}
    if config_rest:
        rest["output_config"] = config_rest
    metadata = fields.get("metadata")
    more = {name: value for name, value in metadata.items() if name != "user_id"} if isinstance(metadata, dict) else {}
    if more:
        rest["metadata"] = more
    if billing:
        rest[BILLING.rstrip(":")] = billing
    return {**extras, VENDOR: rest} if rest else extras


def refuse_thread(thread: Any) -> None:
    """A conversation that the server keeps, so that requests hold only what is new: nothing but its upstream has the rest.

    Anthropic's SDKs know `error_code` and send the whole conversation instead (anthropic 2.11, `tool_runner`).
    """
    if thread is not None:
        facts = {"path": "thread", "error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        raise BadRequest("thread cannot be kept for this model: send the whole conversation", details=facts)


def read_request(fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A caller's body. Raises BadRequest with the path of what is wrong; unknown fields are kept in extras."""
    refuse_thread(fields.get("thread"))
    changes = Loading({}, {})
    messages = without_changes(read_messages(fields.get("messages")), changes)
    tools = [read_tool(tool, f"tools[{at}]") for at, tool in enumerate(items(fields.get("tools"), "tools"))]
    system, billing = without_billing(read_blocks(fields.get("system"), "system", PARTS))
    first = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    for message in messages[:first]:
        system.extend(message.parts)
        changes.unread = both(changes.unread, all_unread(message.extras))
    config = obj(fields.get("output_config") or {}, "output_config")
    choice, parallel = read_choice(fields.get("tool_choice"))
    found_format = read_format(config.get("format"), "output_config.format")
    metadata = obj(fields.get("metadata") or {}, "metadata")
    return ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=tuple(messages[first:]),
        system=tuple(system),
        tools=apply_tool_changes(tools, changes),
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
        extras=request_extras(fields, config, billing, changes.unread),
    )
