"""Items of a Responses `input` -> parts and messages of ir; the table ITEMS has one function per type.

An output item of another vendor's answer is read by the same functions (`answer`, `stream_reader`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import BadRequest, NotFound
from .. import ir
from ..chat_parts import read_audio, read_url, result_part
from ..fields import compact, items, obj, refuse, text
from ..losses import with_extras
from ..names import mint_id, unpack_id
from ..open_calls import OpenCalls
from ..shapes import all_unread, both, unread
from .common import OPENAI, OWN, own
from .compaction import SUMMARY_HEAD, summary_in
from .seal import is_sealed
from .shapes import CALL, COMPACTION, MESSAGE, PARTS, REASONING, RESULT, TOOLS_ITEM
from .tools import Found, flat_name, read_tools

ROLES: Mapping[str, ir.Role] = {
    "user": "user", "assistant": "assistant", "system": "system", "developer": "developer",
}  # fmt: skip
# Items that the caller's side sends; of all others that only OpenAI knows the model is the author.
FROM_CALLER = frozenset({
    "computer_call_output", "local_shell_call_output", "shell_call_output", "apply_patch_call_output", "tool_search_output",
    "mcp_approval_response", "configuration_update", "program_output",
})  # fmt: skip

# ------------------------------------------------------------------------------------------------------------------- parts


def cache_breakpoint(part: Mapping[str, Any]) -> ir.JSON | None:
    """prompt_cache_breakpoint in Anthropic's words, which are the neutral ones."""
    mark = part.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict):
        return None
    return {"type": "ephemeral", "ttl": "1h"} if mark.get("ttl") == "12h" else {"type": "ephemeral"}


def read_text(part: Mapping[str, Any], path: str) -> ir.Part:
    """What the model quoted is kept for its vendor: {"type": "output_text", "text": "a", "annotations": [...]}"""
    notes = part.get("annotations")
    extras: ir.Extras = {OWN: {"annotations": notes}} if isinstance(notes, list) and notes else ir.NOTHING
    return ir.Text(text(part.get("text"), f"{path}.text"), cache_control=cache_breakpoint(part), extras=extras)


def read_refusal(part: Mapping[str, Any], path: str) -> ir.Part:
    return ir.Refusal(text(part.get("refusal"), f"{path}.refusal"))


def read_image(part: Mapping[str, Any], path: str) -> ir.Part:
    given = part.get("image_url")
    given = given.get("url") if isinstance(given, dict) else given  # chat's shape, as some send
    detail = str(part.get("detail") or "")
    if not given:
        found = text(part.get("file_id") or None, f"{path}.image_url")
        return ir.Media("image", file_id=found, detail=detail, vendor=OPENAI, cache_control=cache_breakpoint(part))
    where = f"{path}.image_url"
    return read_url("image", text(given, where), where, detail=detail, cache_control=cache_breakpoint(part))


def read_file(part: Mapping[str, Any], path: str) -> ir.Part:
    """{"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"} -> Media("document", ..., name="a.pdf")"""
    name, mark = text(part.get("filename") or "", f"{path}.filename"), cache_breakpoint(part)
    if part.get("file_id"):
        found = text(part["file_id"], f"{path}.file_id")
        return ir.Media("document", file_id=found, name=name, vendor=OPENAI, cache_control=mark)
    if part.get("file_url"):
        where = f"{path}.file_url"
        return read_url("document", text(part["file_url"], where), where, name=name, cache_control=mark)
    data = text(part.get("file_data"), f"{path}.file_data")
    if not data.startswith(("data:", "http:", "https:")):
        data = f"data:application/pdf;base64,{data}"
    return read_url("document", data, f"{path}.file_data", name=name, cache_control=mark)


def read_sound(part: Mapping[str, Any], path: str) -> ir.Part:
    return read_audio(part, path, cache_breakpoint(part))


PART_READERS: Mapping[str, Callable[[Mapping[str, Any], str], ir.Part]] = {
    "input_text": read_text, "output_text": read_text, "text": read_text, "summary_text": read_text, "refusal": read_refusal,
    "input_image": read_image, "image_url": read_image, "input_file": read_file, "input_audio": read_sound,
}  # fmt: skip


def read_content(content: Any, path: str) -> list[ir.Part]:
    """A text, or parts, each by its type; null and "" -> []"""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [ir.Text(content)]
    parts: list[ir.Part] = []
    for at, part in enumerate(items(content, path)):
        place = f"{path}[{at}]"
        kind = text(obj(part, place).get("type"), f"{place}.type")
        reader = PART_READERS.get(kind)
        parts.append(with_extras(reader(part, place), own(part, PARTS[kind])) if reader else ir.Opaque(OWN, kind, part))
    return parts


def read_output(output: Any, path: str) -> tuple[ir.Text | ir.Media | ir.Opaque, ...]:
    """What a tool answered: text, parts, or (as some send) any JSON."""
    if isinstance(output, list) and output and all(isinstance(each, dict) and "type" in each for each in output):
        return tuple(map(result_part, read_content(output, path)))
    if output is None:
        refuse(path, "must be text or a list of parts")
    return (ir.Text(output if isinstance(output, str) else compact(output)),) if output != "" else ()


# ----------------------------------------------------------------------------------------------------------------- thoughts


def texts_in(item: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a reasoning item's `summary` or `content`."""
    found = item.get(name)
    given = [each.get("text") for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [each for each in given if isinstance(each, str) and each]


def unseal_thought(value: ir.JSON) -> ir.Part | None:
    """The thought, or the signature of a text, in what we sealed."""
    vendor, said, signature, data = (str(value.get(name) or "") for name in ("vendor", "text", "signature", "data"))
    if value.get("kind") == "thinking":
        return ir.Thinking(said, signature, vendor, data)
    return ir.Text("", signature, vendor) if value.get("kind") == "signature" else None


def read_thoughts(item: Mapping[str, Any], path: str, seal: ir.Seal | None) -> list[ir.Part]:
    """A reasoning item -> what is in it.

    sealed by us           -> the other vendor's thought, to the letter
    OpenAI's own           -> Thinking(summary, vendor="openai") each, then Thinking("", data=..., with its id)
    without encrypted text -> Thinking(text) without a vendor: for servers that accept plain thoughts
    """
    encrypted = text(item.get("encrypted_content") or "", f"{path}.encrypted_content")
    summary = texts_in(item, "summary")
    if is_sealed(encrypted):
        value = seal.open(encrypted) if seal is not None else None
        part = unseal_thought(value) if value is not None else None
        return [part] if part is not None else [ir.Thinking(each) for each in summary]
    if not encrypted:
        return [ir.Thinking(each) for each in texts_in(item, "content") or summary]
    id_ = item.get("id")
    extras: ir.Extras = {OPENAI: {"id": id_}} if isinstance(id_, str) and id_ else ir.NOTHING
    return [*(ir.Thinking(each, vendor=OPENAI) for each in summary), ir.Thinking("", "", OPENAI, encrypted, extras)]


# -------------------------------------------------------------------------------------------------------------------- calls


def read_call(item: Mapping[str, Any], path: str) -> ir.ToolCall:
    """A call as it came; its id is "" where it has none."""
    custom = item.get("type") == "custom_tool_call"
    given = item.get("input" if custom else "arguments")
    given = "" if given is None else given if isinstance(given, str) else compact(given)
    name, namespace = text(item.get("name"), f"{path}.name"), item.get("namespace")
    name = flat_name(text(namespace, f"{path}.namespace"), name) if namespace else name
    came = text(item.get("call_id") or item.get("id") or "", f"{path}.call_id")
    id_, vendor, signature = unpack_id(came)
    return ir.ToolCall(id_, name, given, None if custom else ir.object_in(given), custom, signature, vendor)


class Conversation:
    """The messages as they are read: which calls are open, which tools there are."""

    def __init__(self, seal: ir.Seal | None) -> None:
        self.seal = seal
        self.system: list[ir.Part] = []
        self.messages: list[ir.Message] = []
        self.tools: list[ir.Tool] = []
        self.namespaces: dict[str, tuple[str, str]] = {}
        self.compacting = False
        self.unread: ir.Extras = ir.NOTHING  # of what became no message
        self._places: dict[str, int] = {}  # name of a tool of the caller's -> its position
        self._calls: OpenCalls[ir.ToolCall] = OpenCalls()  # by the ids that a result may call them by
        self._taken: set[str] = set()  # the ids of those
        self._growing: ir.Role | None = None  # whose message grows by items; it is not among the others yet
        self._parts: list[ir.Part] = []  # of it
        self._extras: ir.Extras = ir.NOTHING
        self._has_spoken = False  # there is a text among its parts

    # -- tools

    def add_tools(self, found: list[Found]) -> None:
        """Tools of the body, and those that an item brings; one that came before under its name is replaced."""
        for tool, namespace in found:
            made = tool
            if namespace and tool.value is None:
                made = replace(tool, name=flat_name(namespace, tool.name))
                self.namespaces[made.name] = (namespace, tool.name)
            place = self._places.get(made.name) if made.value is None else None
            if place is not None:
                self.tools[place] = made
                continue
            if made.value is None:
                self._places[made.name] = len(self.tools)
            self.tools.append(made)

    # -- messages

    def lose(self, extras: ir.Extras) -> None:
        """What is unknown of an object that becomes no part and no message."""
        self.unread = both(self.unread, all_unread(extras))

    def say(self, role: ir.Role, parts: list[ir.Part], extras: ir.Extras = ir.NOTHING) -> None:
        """A message of the user or the system; the system's first ones stand before the conversation."""
        if role in ("system", "developer") and not self.messages and self._growing is None:
            self.system += parts
            self.lose(extras)
        else:
            self.end()
            self.messages.append(ir.Message(role, tuple(parts), extras=extras))

    def assistant(self, parts: list[ir.Part], extras: ir.Extras = ir.NOTHING, *, speaks: bool = False) -> None:
        """More of what the assistant did. A second text in a row is another message: one never speaks twice in one."""
        if self._growing != "assistant" or (speaks and self._has_spoken):
            self._begin("assistant", extras)
        elif extras:
            self._extras = both(self._extras, extras)
        self._has_spoken = self._has_spoken or any(isinstance(part, ir.Text | ir.Refusal) for part in parts)
        self._parts += parts

    def _begin(self, role: ir.Role, extras: ir.Extras = ir.NOTHING) -> None:
        """A message that grows by items, until another one begins."""
        self.end()
        self._growing, self._extras = role, extras

    def end(self) -> None:
        """No more parts of the message that grew."""
        if self._growing is not None:
            self.messages.append(ir.Message(self._growing, tuple(self._parts), extras=self._extras))
            self._growing, self._parts, self._has_spoken = None, [], False

    def call(self, item: Mapping[str, Any], path: str) -> None:
        call = read_call(item, path)
        known = [name for name in (item.get("call_id"), item.get("id")) if name and isinstance(name, str)]
        if not call.id or call.id in self._taken:
            call = replace(call, id=mint_id(path, call.name, call.arguments_text))
        self._calls.add(call, known)
        self._taken.add(call.id)
        self.assistant([call], unread(item, CALL))

    def result(self, item: Mapping[str, Any], path: str) -> None:
        """A result joins the results before it; its call is the one of that call_id, or of that item id (as chatlas sends)."""
        came = text(item.get("call_id") or item.get("id") or "", f"{path}.call_id")
        call = self._match_call(came)
        output = read_output(item.get("output"), f"{path}.output")
        result = ir.ToolResult(call.id, output, name=call.name, vendor=call.vendor, extras=unread(item, RESULT))
        if not (self._parts and isinstance(self._parts[-1], ir.ToolResult)):
            self._begin("user")
        self._parts.append(result)

    def _match_call(self, came: str) -> ir.ToolCall:
        call = self._calls.take(came) if came else self._calls.take_first()
        if call is not None:
            self._taken.discard(call.id)
            return call
        id_, vendor, _ = unpack_id(came)
        place = len(self.messages) + (self._growing is not None)
        return ir.ToolCall(id_ or mint_id("orphan", place), "", vendor=vendor)

    def opaque(self, item: Mapping[str, Any]) -> None:
        """An item that only OpenAI knows."""
        kind = str(item.get("type"))
        part = ir.Opaque(OWN, kind, item)
        if kind in FROM_CALLER:
            self.end()
            self.messages.append(ir.Message("user", (part,)))
        else:
            self.assistant([part])

    def trigger(self, is_last: bool, path: str) -> None:
        if not is_last:
            refuse(path, "must be the last item: a compaction_trigger asks for a summary of everything before it")
        self.compacting = True


# -------------------------------------------------------------------------------------------------------------------- items


def say_plain(item: Mapping[str, Any], made: Conversation) -> bool:
    """A message that is one text and nothing else, as nearly all of a long conversation are; False for other items."""
    content = item.get("content")
    if type(content) is not str or not content or len(item) != 2 + ("type" in item):
        return False
    role = item.get("role")
    if role == "assistant":
        made.assistant([ir.Text(content)], speaks=True)
    elif role == "user" or role == "system" or role == "developer":  # in a set: slower
        made.say(role, [ir.Text(content)])
    else:
        return False
    return True


def read_message(item: Mapping[str, Any], path: str, made: Conversation) -> None:
    """A message, with or without its type. Ids, states and what Codex notes for itself say nothing to the model."""
    role = ROLES.get(text(item.get("role"), f"{path}.role")) or refuse(
        f"{path}.role", "must be user, assistant, system or developer"
    )  # fmt: skip
    content = item.get("content")
    parts: list[ir.Part] = [ir.Text("")] if content == "" else read_content(content, f"{path}.content")
    extras = own(item, MESSAGE)
    if role == "assistant":
        made.assistant(parts, extras, speaks=True)
    else:
        made.say(role, parts, extras)


def read_reasoning(item: Mapping[str, Any], path: str, made: Conversation) -> None:
    thoughts, extras = read_thoughts(item, path, made.seal), unread(item, REASONING)
    if thoughts:
        made.assistant(thoughts, extras)
    else:
        made.lose(extras)


def read_compaction(item: Mapping[str, Any], path: str, made: Conversation) -> None:
    """The summary that replaces earlier turns. One that only OpenAI can read cannot be left out in silence."""
    encrypted = text(item.get("encrypted_content"), f"{path}.encrypted_content")
    value = made.seal.open(encrypted) if made.seal is not None else None
    summary = summary_in(value) if value is not None else None
    if summary is None:
        raise BadRequest(
            f"{path}: this compaction can be read only by the provider that made it: continue with its models, or start over",
            code="invalid_encrypted_content", details={"path": path},
        )  # fmt: skip
    made.say("user", [ir.Text(f"{SUMMARY_HEAD}\n\n{summary}", extras=unread(item, COMPACTION))])


def read_additional(item: Mapping[str, Any], path: str, made: Conversation) -> None:
    """Tools that came with the conversation (Codex's newest models) or that a search for tools found."""
    made.add_tools(read_tools(item.get("tools"), f"{path}.tools"))
    made.lose(unread(item, TOOLS_ITEM))


def read_tool_search(item: Mapping[str, Any], path: str, made: Conversation) -> None:
    made.add_tools(read_tools(item.get("tools"), f"{path}.tools"))
    made.opaque(item)


def refuse_reference(item: Mapping[str, Any], path: str, made: Conversation) -> None:
    """One that was not unfolded: to leave it out would leave out the model's own words."""
    raise NotFound(
        f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. Try again with "
        "`store` set to true, or remove this item from your input.",
        details={"path": f"{path}.id"},
    )


ITEMS: Mapping[str, Callable[[Mapping[str, Any], str, Conversation], None]] = {
    "message": read_message, "reasoning": read_reasoning, "compaction": read_compaction,
    "function_call": lambda item, path, made: made.call(item, path),
    "custom_tool_call": lambda item, path, made: made.call(item, path),
    "function_call_output": lambda item, path, made: made.result(item, path),
    "custom_tool_call_output": lambda item, path, made: made.result(item, path),
    "additional_tools": read_additional, "tool_search_output": read_tool_search, "item_reference": refuse_reference,
}  # fmt: skip
