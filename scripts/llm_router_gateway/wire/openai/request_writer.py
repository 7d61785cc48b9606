"""OpenAI chat completions: ir.Request -> the request body for an upstream."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import ir
from ..chat_parts import AUDIO_FORMATS, BILLING_LOSS, JSON_HINT, data_url, document_text, is_billing_line, short_user
from ..efforts import can_be_off, effort_of, efforts_of, lose_budget, lose_effort, nearest_effort
from ..fields import compact
from ..losses import lose_extras, lose_name, lose_settings, lose_unread, name_lost, with_value
from ..names import safe_id, safe_name
from ..pairing import pair_results
from ..schemas import fits_strict, object_at_root, with_description, with_hashes
from ..tools import FREE_TEXT, choice_among, speaks_after_call, visible_tools
from .common import (
    EFFORT_BUDGETS,
    FORMATS,
    NEXT_NOTE,
    OWN,
    REPLAYING_MODELS,
    SEARCH,
    THINKING_MODELS,
    own_fields,
)
from .request_reader import NUMBERS
from .spec import MODERN_MODELS, OWN_MODELS, UNSTEERED_MODELS

SEARCH_MODELS = re.compile(r"\bgpt-[\w.-]+-search\b")  # gpt-4o-search-preview, gpt-5-search-api: the chats that search the web

PLAIN_ROLES = frozenset({"user", "assistant"})


class Writing:
    """One request on its way to an upstream: for which model, with which quirks, and what was lost."""

    def __init__(self, request: ir.Request, model: str, quirks: Mapping[str, Any], lost: list[str]) -> None:
        self.request, self.model, self.quirks, self.lost = request, model, quirks, lost
        name = model.lower()
        self.thinks = bool(THINKING_MODELS.search(name)) or "reasoning" in quirks
        replay = "reasoning_content" if REPLAYING_MODELS.search(name) else ""
        self.thought_field = str(quirks.get("reasoning_field", replay))
        self.knows_custom = bool(quirks.get("custom_tools", MODERN_MODELS.search(name)))
        self.keeps_cache_control = quirks.get("cache_control") is True

    def lose(self, name: str) -> None:
        name_lost(self.lost, name)

    def lose_extras(self, extras: ir.Extras, where: str = "") -> None:
        lose_extras(extras, OWN, self.lost, where)

    def id(self, call: ir.ToolCall | ir.ToolResult) -> str:
        """A call's id as this upstream takes it; the same for call and result, on every turn."""
        if self.quirks.get("id_form") == "mistral":
            return call.id if re.fullmatch(r"[A-Za-z0-9]{9}", call.id) else hashlib.sha256(call.id.encode()).hexdigest()[:9]
        return safe_id(call.id)

    def kind_of(self, tool: ir.Tool | ir.ToolCall) -> str:
        """A custom tool is a function with one field for servers that know no custom ones."""
        return "custom" if tool.custom and self.knows_custom else "function"

    def with_cache_control(self, part: ir.Text | ir.Media | ir.Tool | ir.ToolResult, made: dict[str, Any]) -> dict[str, Any]:
        if part.cache_control is not None:
            if self.keeps_cache_control:
                return {**made, "cache_control": part.cache_control}
            self.lose("cache_control")
        return made


REFUSED_BY_THINKERS = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
                                 "stop"})  # fmt: skip


def rejects_sampling(to: Writing) -> bool:
    """Whether the model takes its own sampling only: o-series and GPT-5, unless their reasoning is off."""
    wanted = to.request.reasoning
    quiet = wanted is not None and effort_of(wanted) == "none" and can_be_off(to.model)
    return bool(UNSTEERED_MODELS.search(to.model.lower())) and not quiet and not to.quirks.get("sampling")


def write_sampling(to: Writing) -> dict[str, Any]:
    wanted = to.request
    body: dict[str, Any] = {}
    if wanted.max_tokens is not None:
        modern = MODERN_MODELS.search(to.model.lower())
        body[to.quirks.get("max_tokens_field") or ("max_completion_tokens" if modern else "max_tokens")] = wanted.max_tokens
    for name in (*NUMBERS, "seed", "logprobs", "top_logprobs"):
        if getattr(wanted, name) is not None:
            body[name] = getattr(wanted, name)
    if wanted.stop:
        most = int(to.quirks.get("max_stop", 4))
        body["stop"] = list(wanted.stop[:most])
        if len(wanted.stop) > most:
            to.lose(f"stop[{most}:]")
    for name in sorted(REFUSED_BY_THINKERS & body.keys()) if rejects_sampling(to) else ():
        del body[name]
        to.lose(name)
    if wanted.n is not None and wanted.n != 1:
        body["n"] = wanted.n
    if wanted.top_k is not None:
        if to.quirks.get("top_k") is True:
            body["top_k"] = wanted.top_k
        else:
            to.lose("top_k")
    return body


TIERS = {"auto": "auto", "default": "default", "standard_only": "default", "standard": "default", "flex": "flex",
         "priority": "priority", "scale": "scale"}  # fmt: skip


def write_rest(to: Writing) -> dict[str, Any]:
    """user, service_tier, cache key, metadata."""
    wanted = to.request
    body: dict[str, Any] = {}
    if wanted.user:
        body["user"] = short_user(wanted.user)
    if wanted.service_tier:
        if wanted.service_tier in TIERS:
            body["service_tier"] = TIERS[wanted.service_tier]
        else:
            to.lose(with_value("service_tier", wanted.service_tier))
    if wanted.cache_key:
        body["prompt_cache_key"] = wanted.cache_key
    if wanted.metadata:
        if own_fields(wanted.extras).get("store"):
            body["metadata"] = dict(wanted.metadata)
        else:
            to.lose("metadata")  # refused without `store`
    return body


def openai_effort(to: Writing, wanted: ir.Reasoning, effort: str) -> dict[str, Any]:
    """The nearest word that the model knows."""
    if wanted.effort:
        lose_budget(wanted, to.lost)
    known = efforts_of(to.model)
    if known is not None and not to.quirks.get("reasoning"):
        effort = nearest_effort(effort, known, to.lost)
    return {"reasoning_effort": effort} if effort else {}


def openrouter_reasoning(to: Writing, wanted: ir.Reasoning, effort: str) -> dict[str, Any]:
    """Of an effort and a budget it takes one."""
    body: dict[str, Any] = {}
    if effort == "none":
        body["effort"] = "none"
    elif wanted.budget_tokens is not None and wanted.budget_tokens > 0:
        body["max_tokens"] = wanted.budget_tokens
        lose_effort(wanted, to.lost)
    elif effort:
        body["effort"] = "xhigh" if effort == "max" else effort
    else:
        body["enabled"] = True
    return body | ({"exclude": not wanted.shown} if wanted.shown is not None else {})


def switch_thinking(to: Writing, wanted: ir.Reasoning, effort: str) -> dict[str, Any]:
    """For servers that only switch thinking on and off: neither effort nor budget goes further."""
    if effort != "none":
        lose_effort(wanted, to.lost)
        lose_budget(wanted, to.lost)
    return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}


def lose_shown(to: Writing, wanted: ir.Reasoning) -> None:
    """Whether thoughts are shown no request can say here. OpenAI's own models show none."""
    if wanted.shown:
        to.lose("reasoning.shown")
    elif wanted.shown is False and effort_of(wanted) != "none" and not OWN_MODELS.search(to.model.lower()):
        to.lose("reasoning.shown=false")


def write_reasoning(to: Writing) -> dict[str, Any]:
    wanted = to.request.reasoning
    if wanted is None:
        return {}
    style = to.quirks.get("reasoning", "effort")
    effort = effort_of(wanted)
    if style == "openrouter":
        return {"reasoning": openrouter_reasoning(to, wanted, effort)}
    lose_shown(to, wanted)
    if style == "thinking" and (wanted.mode or effort):
        return switch_thinking(to, wanted, effort)
    if style == "enable_thinking" and (wanted.mode or effort):
        budget = wanted.budget_tokens if wanted.budget_tokens is not None else EFFORT_BUDGETS.get(effort)
        if effort and effort not in EFFORT_BUDGETS:
            lose_effort(wanted, to.lost)
        return {"enable_thinking": effort != "none"} | ({"thinking_budget": budget} if budget else {})
    if style != "effort" or not to.thinks:
        if effort != "none":
            to.lose("reasoning")
        return {}
    return openai_effort(to, wanted, effort)


def system_role(to: Writing) -> str:
    return str(to.quirks.get("system_role", "system"))


def add_hint(to: Writing, messages: list[dict[str, Any]], hint: str) -> None:
    role = system_role(to)
    if messages and messages[0]["role"] == role and isinstance(messages[0]["content"], str):
        messages[0]["content"] += "\n\n" + hint
    else:
        messages.insert(0, {"role": role, "content": hint})


def write_format(to: Writing, wanted: ir.ResponseFormat, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """response_format; a hint goes into the messages where the server would refuse or not know it."""
    if wanted.kind == "schema" and to.quirks.get("json_schema", True):
        schema = with_hashes(wanted.schema or {})
        inner: dict[str, Any] = {"name": safe_name(wanted.name or "response"), "schema": schema}
        inner |= strictness(to, wanted.strict, schema, "response_format.strict")
        inner |= {"description": wanted.description} if wanted.description else {}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}
    if wanted.kind == "schema":
        add_hint(to, messages, f"{JSON_HINT} It must fit this JSON schema:\n{compact(with_description(wanted))}")
        to.lose("response_format.schema=in the system text")
    elif "json" not in compact(messages).lower():
        add_hint(to, messages, JSON_HINT)
    return {"response_format": {"type": "json_object"}}


def strictness(to: Writing, strict: bool | None, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`strict` if requested and the schema is one that OpenAI accepts so: else the whole request is refused."""
    if strict and not fits_strict(schema):
        to.lose(name)
        return {}
    return {"strict": strict} if strict is not None else {}


def parameters_of(to: Writing, tool: ir.Tool) -> Mapping[str, Any]:
    if tool.parameters is None:
        return {"type": "object", "properties": {}}
    return object_at_root(tool.parameters, to.lost) if OWN_MODELS.search(to.model.lower()) else with_hashes(tool.parameters)


def write_tool(to: Writing, tool: ir.Tool) -> list[dict[str, Any]]:
    if tool.value is not None:
        if tool.vendor == OWN:
            return [dict(tool.value)]
        to.lose(f"tools={tool.name}")
        return []
    to.lose_extras(tool.extras, "tools.")
    kind = to.kind_of(tool)
    inner: dict[str, Any] = {"name": safe_name(tool.name)}
    if tool.description:
        inner["description"] = tool.description
    if tool.custom and kind == "function":
        for name in own_fields(tool.extras):
            to.lose(f"tools.{name}")
        return [to.with_cache_control(tool, {"type": kind, kind: inner | {"parameters": FREE_TEXT}})]
    if not tool.custom:
        inner["parameters"] = parameters = parameters_of(to, tool)
        inner |= strictness(to, tool.strict, parameters, "tools.strict")
    return [to.with_cache_control(tool, {"type": kind, kind: inner | own_fields(tool.extras)})]


def write_choice(to: Writing, choice: ir.ToolChoice) -> Any:
    """One named tool is forced by name; several are forced by having left out the others."""
    wanted = to.request.reasoning
    forced = choice.mode == "required"
    if forced and to.quirks.get("forced_choice_with_thinking") is False and wanted and effort_of(wanted) != "none":
        to.lose("tool_choice=auto while thinking")
        return "auto"
    if not forced or len(choice.names) != 1:
        return choice.mode
    tool = next((tool for tool in to.request.tools if tool.name == choice.names[0]), None)
    kind = to.kind_of(tool) if tool is not None else "function"
    return {"type": kind, kind: {"name": safe_name(choice.names[0])}}


def search_of(to: Writing, tool: ir.Tool) -> ir.JSON | None:
    """web_search_options for a search of the web: the caller's own, or another vendor's where the model has one."""
    if tool.vendor == OWN and tool.name == SEARCH:
        return tool.value
    if tool.search is None or not SEARCH_MODELS.search(to.model.lower()):
        return None
    lose_unread(tool.extras, to.lost)
    lose_settings(tool.search, ("allowed_domains", "blocked_domains", "max_uses"), to.lost)
    place = tool.search.location
    return {"user_location": {"type": "approximate", "approximate": dict(place)}} if place else {}


def write_tools(to: Writing) -> dict[str, Any]:
    """tools, web_search_options; tool_choice and parallel_tool_calls only where there are tools, else they are refused."""
    choice = to.request.tool_choice
    names = set(choice.names) if choice is not None else set()
    only = names if choice is not None and (len(names) > 1 or (names and choice.mode == "auto")) else set()
    offered = [tool for tool in visible_tools(to.request) if not only or tool.name in only]
    sent, search = [], {}
    for tool in offered:
        options = search_of(to, tool)
        if options is not None:
            search = {SEARCH: options}
        else:
            sent += [(tool.name, made) for made in write_tool(to, tool)]
    tools = [made for _, made in sent]
    if not tools:
        if choice is not None and choice.mode == "required":
            to.lose("tool_choice")
        return search
    body: dict[str, Any] = {"tools": tools, **search}
    choice = choice_among(choice, {name for name, _ in sent}, to.lost)
    if choice is not None:
        body["tool_choice"] = write_choice(to, choice)
    if to.request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = to.request.parallel_tool_calls
    return body


def cannot_send(to: Writing, part: ir.Media, why: str) -> list[dict[str, Any]]:
    """What cannot be sent is named in `lost`, and a note to the model says that it was there."""
    to.lose(f"{part.kind}.{why}")
    return [{"type": "text", "text": f"[{part.kind} that could not be passed on: {part.url or part.name or part.media_type}]"}]


def write_image(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    if part.file_id or not (part.data or part.url.startswith(("http:", "https:"))):
        return cannot_send(to, part, "file_id" if part.file_id else "url")
    lose_name(part, to.lost)
    made = {"url": data_url(part, "image/png") if part.data else part.url}
    return [{"type": "image_url", "image_url": made | ({"detail": part.detail} if part.detail else {})}]


def write_audio(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    kind = AUDIO_FORMATS.get(part.media_type.partition(";")[0])
    if not part.data or kind is None:
        return cannot_send(to, part, "url" if part.url else part.media_type or "file_id")
    lose_name(part, to.lost)
    return [{"type": "input_audio", "input_audio": {"data": part.data, "format": kind}}]


def write_video(to: Writing, part: ir.Media) -> list[dict[str, Any]]:
    if to.quirks.get("video") is True and (part.data or part.url):
        lose_name(part, to.lost)
        return [{"type": "video_url", "video_url": {"url": part.url or data_url(part, "video/mp4")}}]
    return cannot_send(to, part, "video")


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
        return write_document(to, replace(part, text=document_text(part.data)))
    name = part.name or f"document.{part.media_type.rpartition('/')[2] or 'pdf'}"
    return [{"type": "file", "file": {"filename": name, "file_data": data_url(part, "application/pdf")}}]


MEDIA: Mapping[ir.Kind, Callable[[Writing, ir.Media], list[dict[str, Any]]]] = {
    "image": write_image, "audio": write_audio, "video": write_video, "document": write_document,
}  # fmt: skip


def write_part(to: Writing, part: ir.Part) -> list[dict[str, Any]]:
    """A part of a user's message, or of a result; [] where it is lost."""
    if isinstance(part, ir.Text):
        to.lose_extras(part.extras)
        return [to.with_cache_control(part, {"type": "text", "text": part.text})]
    if isinstance(part, ir.Media):
        to.lose_extras(part.extras)
        return [to.with_cache_control(part, made) for made in MEDIA[part.kind](to, part)]
    if isinstance(part, ir.Opaque):
        if part.vendor == OWN:
            return [dict(part.value)]
        if part.text:
            lose_unread(part.extras, to.lost)
            return [{"type": "text", "text": part.text}]
        to.lose(part.kind)
    elif isinstance(part, ir.Refusal):
        lose_unread(part.extras, to.lost)
        return [{"type": "text", "text": part.text}]
    elif isinstance(part, ir.Thinking):
        lose_unread(part.extras, to.lost)
        to.lose("thinking")
    return []


def write_system(to: Writing) -> Any:
    """One text, which every server takes; a list where the marks of a cache are kept."""
    parts = [part for part in to.request.system if not is_billing_line(part)]
    if len(parts) < len(to.request.system):
        to.lose(BILLING_LOSS)
    made = [each for part in parts for each in write_part(to, part)]
    if any(isinstance(part, ir.Text) and part.cache_control for part in parts) and to.keeps_cache_control:
        return made
    stated, others = texts_apart(made)
    lose_others(to, others)
    return stated


def texts_apart(made: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The texts of a system message as one, and its other parts."""
    texts = [each["text"] for each in made if each["type"] == "text"]
    return "\n\n".join(texts), [each for each in made if each["type"] != "text"]


def lose_others(to: Writing, others: list[dict[str, Any]]) -> None:
    for each in others:
        to.lose(f"system.{each['type']}")


def write_late_system(to: Writing, message: ir.Message) -> list[dict[str, Any]]:
    """A system message inside the conversation stays in place: moving it to the front would spoil the cached prefix."""
    stated, others = texts_apart([each for part in message.parts for each in write_part(to, part)])
    role = str(to.quirks.get("late_system", "user"))
    if role != "user":  # only users may send pictures
        lose_others(to, others)
        others = []
    if not (stated.strip() or others):
        return []
    if role == "user":
        stated = f"<system-reminder>\n{stated}\n</system-reminder>" if stated.strip() else ""
    return [{"role": role, "content": content_of([*([{"type": "text", "text": stated}] if stated else []), *others])}]


def content_of(parts: list[dict[str, Any]]) -> Any:
    """One text is a string: some servers take nothing else."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def next_note(kinds: Sequence[str]) -> str:
    """What a tool's message says of what follows it: next_note(["image", "image"]) -> "[The images that ...]"."""
    kind = kinds[0] if len(set(kinds)) == 1 else "file"
    return NEXT_NOTE.format(kind if len(kinds) == 1 else f"{kind}s", "is" if len(kinds) == 1 else "are")


def write_result(to: Writing, result: ir.ToolResult) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the tool's message, the images and files in it, which only a user may send)

    An error has no mark of its own on this wire: its text begins with "Error: ".
    """
    texts: list[str] = []
    media: list[dict[str, Any]] = []
    kinds: list[str] = []
    for part in result.parts:
        for made in write_part(to, part):
            if made["type"] == "text":
                texts.append(made["text"])
            else:
                media.append(made)
                kinds.append(part.kind if isinstance(part, ir.Media | ir.Opaque) else "file")
    stated = "\n".join(texts + ([next_note(kinds)] if media else []))
    if result.is_error and not stated.lower().startswith("error"):
        stated = f"Error: {stated}"
    to.lose_extras(result.extras)
    return to.with_cache_control(result, {"role": "tool", "tool_call_id": to.id(result), "content": stated}), media


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
        out.append(made | ({"name": message.name} if message.name else {}) | own_fields(message.extras))
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
    kind = to.kind_of(call)
    given = call.arguments_text or ("" if call.custom else compact(call.arguments or {}))
    if call.custom and kind == "function":
        given = compact({"input": given})
    inner = {"name": safe_name(call.name), "input" if kind == "custom" else "arguments": given}
    to.lose_extras(call.extras)
    if call.cache_control is not None:
        to.lose("cache_control")
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
    return [made | {"format": FORMATS.get(thought.vendor, "unknown"), "index": index} | own_fields(thought.extras)]


def write_thoughts(to: Writing, thoughts: Sequence[ir.Thinking], with_calls: bool) -> dict[str, Any]:
    """Thoughts go back to upstreams that want them: signed ones as details, plain ones on tool turns."""
    for thought in thoughts:
        lose_unread(thought.extras, to.lost)
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
    told_apart = False
    for part in message.parts:
        if isinstance(part, ir.Refusal):
            lose_unread(part.extras, to.lost)
            made["refusal"] = made.get("refusal", "") + part.text
        elif not isinstance(part, ir.ToolCall | ir.Thinking):
            said = assistant_texts(to, part)
            set_off = isinstance(part, ir.Opaque) and bool(said)  # from its neighbours: an address would run into a word
            texts += ["\n", *said, "\n"] if set_off else said
            told_apart = told_apart or set_off
    if texts or not (calls or "refusal" in made):
        made["content"] = "".join(texts).strip("\n") if told_apart else "".join(texts)
    if calls:
        if speaks_after_call(message.parts):
            to.lose("messages.order")
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
        plain = ir.plain_text(message)
        if plain is not None and message.role in PLAIN_ROLES:
            out.append({"role": message.role, "content": plain})
            continue
        to.lose_extras(message.extras)
        if message.role == "assistant":
            out.append(write_assistant(to, message) | own_fields(message.extras))
        elif message.role == "user":
            out += write_user(to, message)
        else:
            out += write_late_system(to, message)
    return out


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: list[str]) -> dict[str, Any]:
    """The body for an upstream; what it has no place for is named in `lost`."""
    to = Writing(request, model, quirks, lost)
    body: dict[str, Any] = {"model": model, "messages": write_messages(to, pair_results(request.messages, lost))}
    body |= write_tools(to) | write_sampling(to) | write_reasoning(to) | write_rest(to)
    if request.response_format is not None and request.response_format.kind != "text":
        body |= write_format(to, request.response_format, body["messages"])
    if request.stream:
        body["stream"] = True
        if quirks.get("stream_usage", True):
            body["stream_options"] = {"include_usage": True}  # always: the caller's own wish is the writer's business
    body |= own_fields(request.extras)
    to.lose_extras(request.extras)
    for name in [name for name in quirks.get("drop", ()) if name in body]:
        del body[name]
        to.lose(name)
    return body
