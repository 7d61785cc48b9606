"""OpenAI chat completions: a caller's request body -> ir.Request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import ir
from ..chat_parts import read_audio, read_url, result_part
from ..fields import compact, integer, items, number, obj, refuse, text, truth
from ..losses import with_extras, with_value
from ..names import mint_id, unpack_id
from ..open_calls import OpenCalls
from ..shapes import EMPTY, all_unread, both, unread
from ..tools import mode_among
from .common import OWN, SEARCH, VENDORS, own
from .shapes import MESSAGE, PARTS, REQUEST, RESULT_MESSAGE, SEARCH_OPTIONS, SYSTEM_MESSAGE

NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")


def read_stop(value: Any) -> tuple[str, ...]:
    """stop: "###" -> ("###",); ["a", "b"] -> ("a", "b"); null -> ()"""
    if isinstance(value, str):
        return (value,)
    return tuple(text(each, f"stop[{at}]") for at, each in enumerate(items(value, "stop")))


def read_user(fields: Mapping[str, Any]) -> str:
    return text(fields.get("safety_identifier") or fields.get("user") or "", "user")


MODES_OF_THINKING = {"enabled": "on", "disabled": "off", "adaptive": "adaptive", "auto": "adaptive"}  # the last is Doubao's


def unread_words(fields: Mapping[str, Any]) -> ir.Extras:
    """Known fields that say what is not known, or twice."""
    found: dict[str, Any] = {}
    thinking = fields.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind is not None and str(kind) not in MODES_OF_THINKING:
        found[with_value("thinking.type", kind)] = True
    for name in ("reasoning", "thinking"):
        if fields.get(name) not in EMPTY and not isinstance(fields[name], dict):
            found[name] = True
    if fields.get("tool_choice") is not None and fields.get("function_call") not in (None, fields["tool_choice"]):
        found["function_call"] = True
    longest, most = fields.get("max_completion_tokens"), fields.get("max_tokens")
    if longest is not None and most not in (None, longest):
        found["max_tokens"] = True
    named, user = fields.get("safety_identifier"), fields.get("user")
    if named and user and named != user:  # other vendors have a place for one
        found["user"] = True
    return {ir.UNREAD: found} if found else ir.NOTHING


def read_reasoning(fields: Mapping[str, Any]) -> ir.Reasoning | None:
    """OpenAI's reasoning_effort, OpenRouter's reasoning, DeepSeek's thinking, Qwen's enable_thinking; None if none of them.

    {"reasoning_effort": "high"}                         -> Reasoning("", effort="high")
    {"reasoning": {"max_tokens": 9, "exclude": true}}    -> Reasoning("on", 9, shown=False)
    {"thinking": {"type": "disabled"}}                   -> Reasoning("off")
    """
    wanted = fields.get("reasoning")
    wanted = wanted if isinstance(wanted, dict) else {}
    thinking = fields.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    effort = text(fields.get("reasoning_effort") or wanted.get("effort") or "", "reasoning_effort")
    budget = wanted.get("max_tokens", fields.get("thinking_budget"))
    if budget is None and isinstance(thinking, dict):
        budget = thinking.get("budget_tokens")
    switch = wanted.get("enabled", fields.get("enable_thinking"))
    mode = MODES_OF_THINKING.get(str(kind), "")
    if not mode and isinstance(switch, bool):
        mode = "on" if switch else "off"
    if not mode and budget is not None:
        mode = "on"
    shown = None if wanted.get("exclude") is None else not wanted["exclude"]
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
    tools += [read_tool({"type": "function", "function": each}, f"functions[{at}]") for at, each in old]
    search = fields.get(SEARCH)
    return (*tools, read_search(obj(search, SEARCH))) if search is not None else tuple(tools)


def read_search(options: Mapping[str, Any]) -> ir.Tool:
    """web_search_options: a search of the web, which {} turns on."""
    location = options.get("user_location")
    place = location.get("approximate") if isinstance(location, dict) else None
    found = {name: each for name, each in place.items() if each} if isinstance(place, dict) else None
    search = ir.WebSearch(location=found or None)
    return ir.Tool(SEARCH, vendor=OWN, value=options, search=search, extras=unread(options, SEARCH_OPTIONS, f"{SEARCH}."))


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
    value = fields.get("tool_choice")
    value = fields.get("function_call") if value is None else value
    if value is None:
        return None
    if isinstance(value, str):
        return MODES.get(value) or refuse("tool_choice", "must be auto, none or required")
    kind = obj(value, "tool_choice").get("type", "")
    if kind == "allowed_tools":
        allowed = obj(value.get("allowed_tools"), "tool_choice.allowed_tools")
        names = tuple(name_in(obj(tool, "tool_choice.allowed_tools.tools")) for tool in items(allowed.get("tools"), "tools"))
        return ir.ToolChoice(mode_among(allowed, "tool_choice.allowed_tools"), names)
    return ir.ToolChoice("required", (name_in(value),))


class Conversation:
    """The messages as they are read: which calls are open, what their ids became, what they were called.

    Ids that are missing or come twice in one turn are minted; results find their call by id, or, without one, by order.
    """

    def __init__(self) -> None:
        self.system: list[ir.Part] = []
        self.messages: list[ir.Message] = []
        self.unread: ir.Extras = ir.NOTHING  # from the part before the conversation
        self._open: OpenCalls[ir.ToolCall] = OpenCalls()  # by their ids as they came
        self._taken: set[str] = set()  # the ids that they became
        self._results: list[ir.ToolResult] = []  # the run of results that goes on
        self._run_at = 0  # where its message will stand

    def add_plain(self, message: Any) -> bool:
        """Takes a message that is one text of a user or the assistant, as nearly all of a long conversation are."""
        if type(message) is not dict or len(message) != 2:
            return False
        text_, role = message.get("content"), message.get("role")
        if type(text_) is not str or not text_ or (role != "user" and role != "assistant"):  # in a set: slower
            return False
        self.end_results()
        if role == "assistant" and self._open and self.messages[-1].role != "assistant":
            self.forget()
        self.messages.append(ir.Message(role, (ir.Text(text_),)))
        return True

    def call(self, call: ir.ToolCall, place: str) -> ir.ToolCall:
        came, id_, vendor, signature = call.id, *unpack_id(call.id)
        if not id_ or id_ in self._taken:
            id_ = mint_id(place, call.name, call.arguments_text)
        if vendor or id_ != came:
            call = replace(call, id=id_, vendor=vendor or call.vendor, signature=call.signature or signature)
        self._open.add(call, [came])
        self._taken.add(id_)
        return call

    def call_for(self, came: str) -> ir.ToolCall:
        """The call that a result belongs to; one of its own making if there is none."""
        call = self._open.take(came) if came else self._open.take_first()
        if call is not None:
            self._taken.discard(call.id)
            return call
        id_, vendor, _ = unpack_id(came)
        return ir.ToolCall(id_ or mint_id("orphan", len(self.messages)), "", vendor=vendor)

    def add_result(self, result: ir.ToolResult) -> None:
        """A result joins the run of results before it; the run becomes one message when it ends."""
        if not self._results:
            self._run_at = len(self.messages)
            self.messages.append(ir.Message("user", ()))
        self._results.append(result)

    def end_results(self) -> None:
        if self._results:
            self.messages[self._run_at] = ir.Message("user", tuple(self._results))
            self._results = []

    def forget(self) -> None:
        """A new turn of the assistant: what is open now stays unanswered."""
        self._open.clear()
        self._taken.clear()


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


def read_image(part: Mapping[str, Any], path: str) -> ir.Part:
    """{"image_url": {"url": "data:image/png;base64,AA=="}} -> Media("image", "image/png", "AA==")"""
    given = part.get("image_url")
    given = {"url": given} if isinstance(given, str) else obj(given, f"{path}.image_url")
    where, detail = f"{path}.image_url.url", str(given.get("detail") or "")
    return read_url("image", text(given.get("url"), where), where, detail=detail, cache_control=part.get("cache_control"))


def read_video(part: Mapping[str, Any], path: str) -> ir.Part:
    given = part.get("video_url")
    given = {"url": given} if isinstance(given, str) else obj(given, f"{path}.video_url")
    return read_url("video", text(given.get("url"), f"{path}.video_url.url"), f"{path}.video_url.url")


def read_sound(part: Mapping[str, Any], path: str) -> ir.Part:
    return read_audio(part, path, part.get("cache_control"))


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
    return read_url("document", data, f"{path}.file.file_data", name=name, cache_control=cached)


PART_READERS: Mapping[str, Callable[[Mapping[str, Any], str], ir.Part]] = {
    "text": read_text, "input_text": read_text, "output_text": read_text, "refusal": read_refusal,
    "thinking": read_thinking, "image_url": read_image, "video_url": read_video, "input_audio": read_sound,
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
        reader = PART_READERS.get(kind)
        parts.append(with_extras(reader(part, place), own(part, PARTS[kind])) if reader else ir.Opaque(OWN, kind, part))
    return parts


def read_system(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    parts, extras = read_content(message.get("content"), path), all_unread(own(message, SYSTEM_MESSAGE))
    if made.messages:
        role: ir.Role = "developer" if message["role"] == "developer" else "system"
        made.messages.append(ir.Message(role, tuple(parts), extras=extras))
    else:
        made.system += parts
        made.unread = both(made.unread, extras)


def read_user_message(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    parts, name = read_content(message.get("content"), path), message.get("name")
    made.messages.append(ir.Message("user", tuple(parts), str(name or ""), own(message, MESSAGE)))


def google_signature(value: Mapping[str, Any]) -> str:
    """Gemini's signature where its own OpenAI surface puts it: extra_content.google.thought_signature"""
    extra = value.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else value.get("thought_signature")
    return found if isinstance(found, str) else ""


def attach_signature(parts: list[ir.Part], message: Mapping[str, Any]) -> list[ir.Part]:
    """A message's signature belongs to its last text; to an empty one if there is none."""
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


THOUGHTS = frozenset({"reasoning_details", "thinking_blocks", "reasoning_content", "reasoning"})


def thoughts_in(message: Mapping[str, Any]) -> list[ir.Thinking]:
    """The thoughts of a message or delta, from the first place that has any: OpenRouter's details with their signatures,
    LiteLLM's blocks, DeepSeek's reasoning_content, Groq's and vLLM's reasoning. The places repeat each other.
    """
    if THOUGHTS.isdisjoint(message):  # as most
        return []
    for found in (details_in(message.get("reasoning_details")), blocks_in(message.get("thinking_blocks"))):
        if found:
            return found
    plain = message.get("reasoning_content") or message.get("reasoning")
    return [ir.Thinking(plain)] if isinstance(plain, str) and plain else []


def message_parts(message: Mapping[str, Any], path: str) -> list[ir.Part]:
    """The content of an assistant's message: thoughts, text, refusal, images, calls, in this order."""
    parts: list[ir.Part] = [*thoughts_in(message)]
    content = read_content(message.get("content"), path)
    said: list[ir.Part] = [part for part in content if not isinstance(part, ir.Thinking)]
    parts += [*(part for part in content if isinstance(part, ir.Thinking)), *attach_signature(said, message)]
    if message.get("refusal"):
        parts.append(ir.Refusal(text(message["refusal"], f"{path}.refusal")))
    for at, image in enumerate(items(message.get("images"), f"{path}.images")):
        parts.append(read_image(obj(image, f"{path}.images[{at}]"), f"{path}.images[{at}]"))
    for at, call in enumerate(items(message.get("tool_calls"), f"{path}.tool_calls")):
        parts.append(read_call(obj(call, f"{path}.tool_calls[{at}]"), f"{path}.tool_calls[{at}]"))
    if message.get("function_call") and not message.get("tool_calls"):  # some clients send the call in both forms
        parts.append(read_call({"function": message["function_call"]}, f"{path}.function_call"))
    return parts


def read_assistant(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    if not (made.messages and made.messages[-1].role == "assistant"):
        made.forget()
    parts = message_parts(message, path)
    parts = [made.call(part, f"{path}.{at}") if isinstance(part, ir.ToolCall) else part for at, part in enumerate(parts)]
    made.messages.append(ir.Message("assistant", tuple(parts), str(message.get("name") or ""), own(message, MESSAGE)))


def read_result(message: Mapping[str, Any], path: str, made: Conversation) -> None:
    """A tool's message joins the results before it: {"role": "tool", "tool_call_id": "t1", "content": "42"}"""
    call = made.call_for(text(message.get("tool_call_id") or "", f"{path}.tool_call_id"))
    content = read_content(message.get("content"), path)
    parts = tuple(result_part(part) for part in content)
    name = call.name or str(message.get("name") or "")
    made.add_result(ir.ToolResult(
        call.id, parts, name=name, vendor=call.vendor, cache_control=message.get("cache_control"),
        extras=unread(message, RESULT_MESSAGE),
    ))  # fmt: skip


ROLES: Mapping[str, Callable[[Mapping[str, Any], str, Conversation], None]] = {
    "system": read_system, "developer": read_system, "user": read_user_message, "assistant": read_assistant,
    "tool": read_result, "function": read_result,
}  # fmt: skip


RESULTS = frozenset({"tool", "function"})  # the roles of results


def read_messages(messages: Sequence[Any]) -> Conversation:
    if not messages:
        refuse("messages", "must hold at least one message")
    made = Conversation()
    for at, message in enumerate(messages):
        if made.add_plain(message):
            continue
        path = f"messages[{at}]"
        role = text(obj(message, path).get("role"), f"{path}.role")
        if role not in RESULTS:
            made.end_results()
        reader = ROLES.get(role) or refuse(f"{path}.role", "must be system, developer, user, assistant or tool")
        reader(message, path, made)
    made.end_results()
    return made


def read_request(fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A caller's body -> ir.Request; BadRequest says which field is wrong. `model` and `stream` win over the body's."""
    made = read_messages(items(fields.get("messages"), "messages"))
    options = obj(fields.get("stream_options") or {}, "stream_options")
    longest = fields.get("max_completion_tokens")
    return ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=tuple(made.messages),
        system=tuple(made.system),
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
        extras=both(both(own(fields, REQUEST), unread_words(fields)), made.unread),
        temperature=number(fields.get("temperature"), "temperature"),
        top_p=number(fields.get("top_p"), "top_p"),
        presence_penalty=number(fields.get("presence_penalty"), "presence_penalty"),
        frequency_penalty=number(fields.get("frequency_penalty"), "frequency_penalty"),
    )
