"""ir.Request -> the body for an upstream that speaks Responses.

    write_request(request, model="gpt-5.5", quirks={}, lost=lost)  -> {"model": "gpt-5.5", "input": [...], "store": False, ...}

Quirks, each with what is done without it:

    store              true: the upstream may keep the answer; else "store": false
    encrypted          whether encrypted reasoning is requested: models that think (THINKING_MODELS)
    unsigned_thinking  true: unsigned thoughts go back as reasoning_text (local servers); else lost
    summary            the word that asks for thoughts to be shown: "auto"; "" where the upstream refuses it
    min_output_tokens  16: the API refuses less
    sampling           true: temperature and the like are sent to models known to refuse them (UNSTEERED_MODELS)
    local              true: a server with more of chat's fields (stop, seed, top_k, penalties); else they are lost
    drop               fields that the server refuses: ["include"]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from .. import ir
from ..chat_parts import AUDIO_FORMATS, BILLING_LOSS, JSON_HINT, data_url, document_text, is_billing_line, short_user
from ..efforts import LOW_TO_HIGH, can_be_off, effort_of, efforts_of, lose_budget, nearest_effort
from ..fields import compact
from ..losses import lose_extras, lose_name, lose_unread, name_lost, with_value
from ..names import mint_id, safe_id, safe_name
from ..pairing import pair_results
from ..schemas import fits_strict
from ..tools import choice_among, visible_tools
from .common import ENCRYPTED, LOGPROBS, OPENAI, OWN, TIERS, own_fields
from .items import FROM_CALLER
from .tools import write_choice, write_tool

THINKING_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9](?!.*chat)|gpt-oss|o[1-9]|codex)")
UNSTEERED_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9](?!.*chat)|o[1-9])")  # 400 for temperature and its like
MIN_OUTPUT_TOKENS = 16
REFUSED_BY_THINKERS = ("temperature", "top_p", "top_logprobs")
CHAT_ONLY = ("presence_penalty", "frequency_penalty", "seed", "top_k")

# Chat completions' fields that Responses have under the same name, or inside another.
SHARED = ("prompt_cache_retention", "moderation")

Item = dict[str, Any]


class Writing:
    """One request on its way to an upstream: for which model, with which quirks, and what was lost."""

    def __init__(self, request: ir.Request, model: str, quirks: Mapping[str, Any], lost: list[str]) -> None:
        self.request, self.model, self.quirks, self.lost = request, model, quirks, lost
        self.name = model.lower()
        self.thinks = bool(THINKING_MODELS.search(self.name))
        self.customs: set[str] = set()  # ids of custom calls, whose results have a type of their own
        self._ids: set[str] = set()  # of items: the API takes each once

    def item_id(self, kind: str, *facts: object, known: str = "") -> str:
        """An id for an item: the one it had, else one that the same conversation gets again."""
        made, count = known, 0
        while not made or made in self._ids:
            made = f"{kind}_{mint_id(*facts, *([count] if count else [])).rpartition('_')[2]}"
            count += 1
        self._ids.add(made)
        return made

    def lose(self, name: str) -> None:
        name_lost(self.lost, name)

    def lose_extras(self, extras: ir.Extras, where: str = "", shared: Collection[str] = ()) -> None:
        """The fields that this wire does not have. `shared`: those of chat completions that it has, too."""
        chat = extras.get(OPENAI)
        if chat and shared:
            extras = {**extras, OPENAI: {name: value for name, value in chat.items() if name not in shared}}
        lose_extras(extras, OWN, self.lost, where)

    def lose_unread(self, part: ir.Refusal | ir.Thinking | ir.Opaque) -> None:
        lose_unread(part.extras, self.lost)

    def lose_cache_control(self, part: ir.Text | ir.Media | ir.ToolCall | ir.ToolResult) -> None:
        if part.cache_control is not None:
            self.lose("cache_control")


# ------------------------------------------------------------------------------------------------------------------- parts


def cannot_send(to: Writing, part: ir.Media, why: str) -> list[Item]:
    """What cannot be sent is named in `lost`, and a note to the model says that it was there."""
    to.lose(f"{part.kind}.{why}")
    what = part.url or part.name or part.media_type
    return [{"type": "input_text", "text": f"[{part.kind} that could not be passed on: {what}]"}]


def write_image(to: Writing, part: ir.Media) -> list[Item]:
    is_ours = bool(part.file_id) and part.vendor == OPENAI
    if not is_ours and (part.file_id or not (part.data or part.url.startswith(("http:", "https:")))):
        return cannot_send(to, part, "file_id" if part.file_id else "url")
    lose_name(part, to.lost)
    source = {"file_id": part.file_id} if is_ours else {"image_url": data_url(part, "image/png") if part.data else part.url}
    return [{"type": "input_image", **source, "detail": part.detail or "auto"}]


def write_document(to: Writing, part: ir.Media) -> list[Item]:
    """Text documents as text, others as files, by URL too."""
    if part.text is not None:
        title = f' title="{part.name}"' if part.name else ""
        return [{"type": "input_text", "text": f"<document{title}>\n{part.text}\n</document>"}]
    if part.file_id and part.vendor == OPENAI:
        return [{"type": "input_file", "file_id": part.file_id}]
    if part.url.startswith(("http:", "https:")):
        lose_name(part, to.lost)
        return [{"type": "input_file", "file_url": part.url}]
    if not part.data:
        return cannot_send(to, part, "url" if part.url else "file_id")
    if part.media_type.startswith("text/"):
        return write_document(to, replace(part, text=document_text(part.data)))
    name = part.name or f"document.{part.media_type.rpartition('/')[2] or 'pdf'}"
    return [{"type": "input_file", "filename": name, "file_data": data_url(part, "application/pdf")}]


def write_audio(to: Writing, part: ir.Media) -> list[Item]:
    kind = AUDIO_FORMATS.get(part.media_type.partition(";")[0])
    if not part.data or kind is None:
        return cannot_send(to, part, "url" if part.url else part.media_type or "file_id")
    lose_name(part, to.lost)
    return [{"type": "input_audio", "input_audio": {"data": part.data, "format": kind}}]


MEDIA: Mapping[ir.Kind, Callable[[Writing, ir.Media], list[Item]]] = {
    "image": write_image, "audio": write_audio, "document": write_document,
    "video": lambda to, part: cannot_send(to, part, "video"),
}  # fmt: skip


def write_part(to: Writing, part: ir.Part) -> list[Item]:
    """A part of a user's message, or of a result; [] where it is lost."""
    if isinstance(part, ir.Text):
        to.lose_cache_control(part)
        to.lose_extras(part.extras)
        return [{"type": "input_text", "text": part.text}]
    if isinstance(part, ir.Media):
        to.lose_cache_control(part)
        to.lose_extras(part.extras)
        return MEDIA[part.kind](to, part)
    if isinstance(part, ir.Opaque):
        if part.vendor == OWN:
            return [dict(part.value)]
        if part.text:
            to.lose_unread(part)
            return [{"type": "input_text", "text": part.text}]
        to.lose(part.kind)
    elif isinstance(part, ir.Refusal):
        to.lose_unread(part)
        return [{"type": "input_text", "text": part.text}]
    elif isinstance(part, ir.Thinking):
        to.lose_unread(part)
        to.lose("thinking")
    return []


def content_of(parts: list[Item]) -> Any:
    """One text is a string, as most clients write it."""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def write_instructions(to: Writing, parts: tuple[ir.Part, ...]) -> str:
    """The text of system messages; `instructions` hold nothing else."""
    if any(map(is_billing_line, parts)):
        to.lose(BILLING_LOSS)
    items = [item for part in parts if not is_billing_line(part) for item in write_part(to, part)]
    for item in items:
        if not is_text(item):
            to.lose(f"system.{item['type']}")
    return joined_texts(items)


def is_text(item: Item) -> bool:
    return isinstance(item.get("text"), str)


def joined_texts(items: list[Item]) -> str:
    return "\n\n".join(item["text"] for item in items if is_text(item))


def write_late_system(to: Writing, message: ir.Message) -> Item:
    """A system message inside the conversation stays in place: moving it to the front would spoil the cached prefix."""
    items = [item for part in message.parts for item in write_part(to, part)]
    content = joined_texts(items) if all(map(is_text, items)) else items
    return {"type": "message", "role": message.role, "content": content}


# ---------------------------------------------------------------------------------------------------------------- messages


def write_result(to: Writing, result: ir.ToolResult) -> Item:
    """Text, or parts: this wire takes images in results. An error has no mark of its own: its text begins with "Error: "."""
    to.lose_cache_control(result)
    to.lose_extras(result.extras)
    parts = [made for part in result.parts for made in write_part(to, part)]
    output = content_of(parts) if parts else ""
    if result.is_error and not (isinstance(output, str) and output.lower().startswith("error")):
        output = f"Error: {output}" if isinstance(output, str) else [{"type": "input_text", "text": "Error:"}, *output]
    kind = "custom_tool_call_output" if result.id in to.customs else "function_call_output"
    return {"type": kind, "call_id": safe_id(result.id), "output": output}


def write_user(to: Writing, message: ir.Message) -> list[Item]:
    """Results as items of their own, in their places; the rest as one message."""
    out: list[Item] = []
    said: list[Item] = []
    for part in message.parts:
        if isinstance(part, ir.ToolResult):
            out.append(write_result(to, part))
        elif isinstance(part, ir.Opaque) and part.vendor == OWN and part.kind in FROM_CALLER:
            out.append(dict(part.value))  # an item, not a part of a message
        else:
            said += write_part(to, part)
    if message.name:
        to.lose("name")
    if said or not out:
        out.append({"type": "message", "role": "user", "content": content_of(said) if said else ""})
    return out


def write_call(to: Writing, call: ir.ToolCall) -> Item:
    to.lose_cache_control(call)
    to.lose_extras(call.extras)
    if call.signature:
        to.lose("signature")
    if call.custom:
        to.customs.add(call.id)
        made = {"type": "custom_tool_call", "call_id": safe_id(call.id), "name": safe_name(call.name)}
        return made | {"input": call.arguments_text}
    given = call.arguments_text or compact(call.arguments or {})
    return {"type": "function_call", "call_id": safe_id(call.id), "name": safe_name(call.name), "arguments": given}


class Thoughts:
    """A run of thoughts as reasoning items: OpenAI's summaries go with the encrypted text behind them."""

    def __init__(self, to: Writing) -> None:
        self._to = to
        self._summaries: list[str] = []

    def add(self, thought: ir.Thinking) -> list[Item]:
        self._to.lose_unread(thought)
        if thought.vendor == OPENAI and thought.data:
            id_ = self._to.item_id("rs", thought.data, known=thought.extras.get(OPENAI, {}).get("id") or "")
            summary = [{"type": "summary_text", "text": each} for each in self._summaries]
            self._summaries = []
            return [{"type": "reasoning", "id": id_, "summary": summary, "encrypted_content": thought.data}]
        if thought.vendor in ("", OPENAI) and thought.text and self._to.quirks.get("unsigned_thinking"):
            id_ = self._to.item_id("rs", thought.text)
            return [{"type": "reasoning", "id": id_, "summary": [],
                     "content": [{"type": "reasoning_text", "text": thought.text}]}]  # fmt: skip
        if thought.vendor in ("", OPENAI) and thought.text:
            self._summaries.append(thought.text)
        elif thought.text or thought.signature or thought.data:
            self._to.lose("thinking")
        return []

    def end(self) -> None:
        """Summaries without their encrypted text: the API takes none of them."""
        if self._summaries:
            self._to.lose("thinking")
            self._summaries = []


def spoken(to: Writing, parts: list[Item], at: int) -> Item:
    """A message of the assistant: one text, as every server takes it; whole, with an id, where it refuses or quotes."""
    if all(part.keys() == {"type", "text"} for part in parts):
        return {"type": "message", "role": "assistant", "content": "".join(part["text"] for part in parts)}
    content = [{"annotations": [], **part} if part["type"] == "output_text" else part for part in parts]
    made = to.item_id("msg", at, compact(parts))
    return {"type": "message", "role": "assistant", "id": made, "status": "completed", "content": content}


def write_assistant(to: Writing, message: ir.Message) -> list[Item]:
    """Thoughts, texts and calls as items, in their order; texts in a row are one message."""
    out: list[Item] = []
    said: list[Item] = []
    thoughts = Thoughts(to)

    def speak() -> None:
        if said:
            out.append(spoken(to, list(said), len(out)) | own_fields(message.extras))
            said.clear()

    for part in message.parts:
        if isinstance(part, ir.Thinking):
            made = thoughts.add(part)
            if made:
                speak()
                out += made
            continue
        thoughts.end()
        if isinstance(part, ir.ToolCall):
            speak()
            out.append(write_call(to, part))
        elif isinstance(part, ir.Opaque) and part.vendor == OWN:
            speak()
            out.append(dict(part.value))
        else:
            said += assistant_content(to, part)
    thoughts.end()
    speak()
    return out


def assistant_content(to: Writing, part: ir.Part) -> list[Item]:
    """What the assistant said, as output parts. Pictures only users may send."""
    if isinstance(part, ir.Refusal):
        to.lose_unread(part)
        return [{"type": "refusal", "refusal": part.text}]
    if isinstance(part, ir.Text):
        to.lose_cache_control(part)
        if part.signature:
            to.lose("signature")
        to.lose_extras(part.extras)
        notes = own_fields(part.extras).get("annotations")
        return [{"type": "output_text", "text": part.text} | ({"annotations": notes} if notes else {})] if part.text else []
    made = write_part(to, part)
    if any(each["type"] != "input_text" for each in made):
        to.lose(f"assistant.{part.kind if isinstance(part, ir.Media) else type(part).__name__}")
    return [{"type": "output_text", "text": each["text"]} for each in made if each["type"] == "input_text"]


def write_input(to: Writing) -> list[Item]:
    out: list[Item] = []
    for message in pair_results(to.request.messages, to.lost):
        to.lose_extras(message.extras)
        if message.role == "assistant":
            out += write_assistant(to, message)
        elif message.role == "user":
            out += write_user(to, message)
        else:
            out.append(write_late_system(to, message))
    return out


# ------------------------------------------------------------------------------------------------------------------ settings


def write_reasoning(to: Writing) -> Item:
    """reasoning, and that its encrypted text comes along, without which the model would think anew in every turn."""
    wanted = to.request.reasoning
    body: Item = {}
    if to.quirks.get("encrypted", to.thinks):
        body["include"] = [ENCRYPTED]
    if wanted is None:
        return body
    if not to.thinks and "summary" not in to.quirks and "encrypted" not in to.quirks:
        if effort_of(wanted) != "none":
            to.lose("reasoning")
        return body
    if wanted.effort:
        lose_budget(wanted, to.lost)
    made: Item = {}
    effort = effort_of(wanted)
    if effort:
        made["effort"] = nearest_effort(effort, efforts_of(to.name) or LOW_TO_HIGH, to.lost)
    shown = wanted.shown if wanted.shown is not None else wanted.mode in ("on", "adaptive")
    word = to.quirks.get("summary", "auto")
    if shown and word and made.get("effort") != "none":
        made["summary"] = word
    elif wanted.shown and made.get("effort") != "none":
        to.lose("reasoning.shown")
    if wanted.shown is False and to.quirks.get("local"):  # such servers show what a model thinks
        to.lose("reasoning.shown=false")
    return body | ({"reasoning": made} if made else {})


def write_format(to: Writing, given: list[Item]) -> Item:
    """text: the answer's form, and how much is said."""
    wanted = to.request.response_format
    made: Item = {}
    if wanted is not None and wanted.kind == "schema":
        inner: Item = {"type": "json_schema", "name": safe_name(wanted.name or "response"), "schema": wanted.schema or {}}
        if wanted.strict and not fits_strict(wanted.schema):
            to.lose("response_format.strict")
        elif wanted.strict is not None:
            inner["strict"] = wanted.strict
        made["format"] = inner | ({"description": wanted.description} if wanted.description else {})
    elif wanted is not None and wanted.kind == "json":
        made["format"] = {"type": "json_object"}
        if "json" not in compact(given).lower():
            given.insert(0, {"type": "message", "role": "developer", "content": JSON_HINT})
    verbosity = to.request.extras.get(OPENAI, {}).get("verbosity")
    if verbosity:
        made["verbosity"] = verbosity
    return {"text": made} if made else {}


def write_tools(to: Writing) -> Item:
    sent = [(tool, made) for tool in visible_tools(to.request) for made in write_tool(tool, to.lost, to.lose_extras)]
    tools = [made for _, made in sent]
    choice = to.request.tool_choice
    if not tools:
        if choice is not None and choice.mode == "required":
            to.lose("tool_choice")
        return {}
    body: Item = {"tools": tools}
    choice = choice_among(choice, {tool.name for tool, _ in sent}, to.lost)
    if choice is not None:
        body["tool_choice"] = write_choice(choice, sent)
    if to.request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = to.request.parallel_tool_calls
    return body


def rejects_sampling(to: Writing) -> bool:
    """Whether the model takes its own sampling only: o-series and GPT-5, unless their reasoning is off."""
    wanted = to.request.reasoning
    quiet = wanted is not None and effort_of(wanted) == "none" and can_be_off(to.name)
    return bool(UNSTEERED_MODELS.search(to.name)) and not quiet and not to.quirks.get("sampling")


def write_sampling(to: Writing) -> Item:
    wanted = to.request
    body: Item = {}
    if wanted.max_tokens is not None:
        least = int(to.quirks.get("min_output_tokens", MIN_OUTPUT_TOKENS))
        is_less = 0 < wanted.max_tokens < least  # what is no number of tokens is the upstream's to refuse
        body["max_output_tokens"] = least if is_less else wanted.max_tokens
        if is_less:
            to.lose(f"max_tokens={least} at least")
    for name in ("temperature", "top_p", "top_logprobs"):
        if getattr(wanted, name) is not None:
            body[name] = getattr(wanted, name)
    for name in REFUSED_BY_THINKERS if rejects_sampling(to) else ():
        if body.pop(name, None) is not None:
            to.lose(name)
    for name in (*CHAT_ONLY, "stop"):
        value = getattr(wanted, name)
        if value not in (None, ()):
            if to.quirks.get("local"):
                body[name] = list(value) if name == "stop" else value
            else:
                to.lose(name)
    if wanted.n not in (None, 1):
        to.lose("n")
    return body


def write_rest(to: Writing) -> Item:
    """user, tier, cache key, metadata, whether the upstream may keep the answer."""
    wanted, extras = to.request, to.request.extras.get(OPENAI, {})
    body: Item = {"store": bool(to.quirks.get("store") or extras.get("store"))}
    if wanted.user:
        body["safety_identifier"] = short_user(wanted.user)
    if wanted.service_tier:
        if wanted.service_tier in TIERS:
            body["service_tier"] = TIERS[wanted.service_tier]
        else:
            to.lose(with_value("service_tier", wanted.service_tier))
    if wanted.cache_key:
        body["prompt_cache_key"] = wanted.cache_key
    if wanted.metadata:
        body["metadata"] = dict(wanted.metadata)
    return body | {name: extras[name] for name in SHARED if name in extras}


def write_extras(to: Writing, body: Item) -> None:
    """Our own fields go back to where they were; chat's that have no place here are named."""
    for name, value in own_fields(to.request.extras).items():
        outer, dot, inner = name.partition(".")
        if dot:
            body.setdefault(outer, {}).setdefault(inner, value)
        elif name == "include":
            body["include"] = [*body.get("include", ()), *(each for each in value if each not in body.get("include", ()))]
        else:
            body.setdefault(name, value)
    to.lose_extras(to.request.extras, shared=(*SHARED, "verbosity", "store"))


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: list[str]) -> Item:
    """The body for an upstream. What it has no place for is named in `lost`."""
    to = Writing(request, model, quirks, lost)
    given = write_input(to)
    body: Item = {"model": model}
    system = write_instructions(to, request.system)
    if system:
        body["instructions"] = system
    body["input"] = given
    body |= write_tools(to) | write_sampling(to) | write_reasoning(to) | write_format(to, given) | write_rest(to)
    if not given:  # a system text alone, which other vendors answer
        given.append({"type": "message", "role": "user", "content": ""})
    if request.logprobs and rejects_sampling(to):
        to.lose("logprobs")
    elif request.logprobs:
        body["include"] = [*body.get("include", ()), LOGPROBS]
    if request.stream:
        body["stream"] = True
    write_extras(to, body)
    for name in [name for name in quirks.get("drop", ()) if name in body]:
        del body[name]
        to.lose(name)
    return body
