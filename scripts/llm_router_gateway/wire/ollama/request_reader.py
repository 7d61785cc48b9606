"""The bodies of /api/chat and /api/generate -> ir.Request.

Results carry no ids: ollama's own examples and agent-framework name the tool, langchain-ollama and strands not even that. They
belong to the calls before them by name where there is one, else in order.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import ir
from ..chat_parts import result_part
from ..fields import compact, integer, items, number, obj, refuse, text, truth
from ..names import mint_id, unpack_id
from ..shapes import both, shape, unread

OWN = "ollama"
FIELDS = frozenset({
    "model", "messages", "prompt", "system", "images", "tools", "format", "options", "stream", "think", "keep_alive",
    "suffix",
})  # fmt: skip
OPTIONS = frozenset({
    "num_predict", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty",
})  # fmt: skip
# How the model is loaded, which is the upstream's own business here.
LOADING = frozenset({
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "use_mmap", "use_mlock", "num_thread", "num_keep", "numa",
    "f16_kv", "logits_all", "vocab_only", "embedding_only",
})  # fmt: skip
# Messages and tools, as github.com/ollama/ollama, docs/api.md has them (2026-11), and what its clients add.
CALL = shape("id", "type", "index", function=shape("index", "name", "arguments"))
MESSAGE = shape("role", "content", "thinking", "images", "tool_name", "name", "tool_call_id", tool_calls=CALL)
TOOL = shape("type", function=shape("name", "description", "parameters"))
MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))
ROLES: Mapping[str, ir.Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def image_type(data: str) -> str:
    """What kind of picture base64 holds, by its first bytes; PNG where they tell nothing."""
    try:
        head = base64.b64decode(data[:16] + "=" * (-len(data[:16]) % 4))
    except (binascii.Error, ValueError):
        return "image/png"
    return next((kind for magic, kind in MAGIC if head.startswith(magic)), "image/png")


def read_images(value: Any, path: str) -> list[ir.Part]:
    """Bare base64; a data: URL, which some send, is taken apart."""
    made: list[ir.Part] = []
    for at, image in enumerate(items(value, path)):
        data = text(image, f"{path}[{at}]")
        head, comma, rest = data.partition(",")
        if data.startswith("data:") and comma:
            made.append(ir.Media("image", head[5:].partition(";")[0] or "image/png", rest))
        else:
            made.append(ir.Media("image", image_type(data), data))
    return made


class Conversation:
    """The messages as they are read, and which calls wait for their results."""

    def __init__(self) -> None:
        self.system: list[ir.Part] = []
        self.messages: list[ir.Message] = []
        self.unread: ir.Extras = ir.NOTHING  # from the part before the conversation
        self._open: list[ir.ToolCall] = []

    def add(self, message: Mapping[str, Any], path: str) -> None:
        role = text(message.get("role"), f"{path}.role")
        if role == "tool":
            self._result(message, path)
            return
        known = ROLES.get(role) or refuse(f"{path}.role", "must be system, user, assistant or tool")
        parts: list[ir.Part] = []
        thought = text(message.get("thinking") or "", f"{path}.thinking")
        if thought:
            parts.append(ir.Thinking(thought))
        said = text(message.get("content") or "", f"{path}.content")
        images = read_images(message.get("images"), f"{path}.images")
        calls = items(message.get("tool_calls"), f"{path}.tool_calls")
        if said or not (images or calls or thought):
            parts.append(ir.Text(said))
        parts += images
        parts += [
            self._call(obj(call, f"{path}.tool_calls[{at}]"), f"{path}.tool_calls[{at}]") for at, call in enumerate(calls)
        ]
        extras = unread(message, MESSAGE)
        if known == "system" and not self.messages:
            self.system += parts
            self.unread = both(self.unread, extras)
        else:
            self.messages.append(ir.Message(known, tuple(parts), str(message.get("name") or ""), extras))

    def _call(self, call: Mapping[str, Any], path: str) -> ir.ToolCall:
        inner = obj(call.get("function"), f"{path}.function")
        name, given = text(inner.get("name"), f"{path}.function.name"), inner.get("arguments")
        arguments = given if isinstance(given, dict) else ir.object_in(given) if isinstance(given, str) else {}
        stated = given if isinstance(given, str) else compact(given or {})
        came, vendor, signature = unpack_id(text(call.get("id") or "", f"{path}.id"))
        id_ = came if came and all(came != other.id for other in self._open) else mint_id(path, name, stated)
        made = ir.ToolCall(id_, name, stated, arguments, signature=signature, vendor=vendor)
        self._open.append(made)
        return made

    def _result(self, message: Mapping[str, Any], path: str) -> None:
        call = self._match_call(message)
        parts = [ir.Text(text(message.get("content") or "", f"{path}.content"))]
        pictures = tuple(map(result_part, read_images(message.get("images"), f"{path}.images")))
        result = ir.ToolResult(
            call.id, (*parts, *pictures), name=call.name, vendor=call.vendor, extras=unread(message, MESSAGE)
        )
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "user" and last.parts and isinstance(last.parts[-1], ir.ToolResult):
            self.messages[-1] = replace(last, parts=(*last.parts, result))
        else:
            self.messages.append(ir.Message("user", (result,)))

    def _match_call(self, message: Mapping[str, Any]) -> ir.ToolCall:
        """By id, else by name, else the first that waits."""
        id_, name = str(message.get("tool_call_id") or ""), str(message.get("tool_name") or message.get("name") or "")
        id_ = unpack_id(id_)[0]
        for at, call in enumerate(self._open):
            if call.id == id_ or (not id_ and name in ("", call.name)):
                del self._open[at]
                return call
        return ir.ToolCall(id_ or mint_id("orphan", len(self.messages)), name)


def read_format(value: Any) -> ir.ResponseFormat | None:
    """ "json" -> any object; a schema -> one that fits; "" and null -> None"""
    if value in (None, ""):
        return None
    if value == "json":
        return ir.ResponseFormat("json")
    return ir.ResponseFormat("schema", obj(value, "format"), "response")


def read_think(value: Any) -> ir.Reasoning | None:
    """true -> thoughts are wanted and shown; false -> none; "low" -> that effort."""
    if value is None:
        return None
    if isinstance(value, str):
        return ir.Reasoning("", None, value, True)
    on = truth(value, "think")
    return ir.Reasoning("on", shown=True) if on else ir.Reasoning("off")


def read_tools(value: Any) -> tuple[ir.Tool, ...]:
    made = []
    for at, tool in enumerate(items(value, "tools")):
        path = f"tools[{at}].function"
        given = obj(obj(tool, f"tools[{at}]").get("function"), path)
        schema = given.get("parameters")
        made.append(ir.Tool(
            text(given.get("name"), f"{path}.name"), text(given.get("description") or "", f"{path}.description"),
            None if schema in (None, []) else obj(schema, f"{path}.parameters"), extras=unread(tool, TOOL),
        ))  # fmt: skip
    return tuple(made)


def read_options(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the settings of ir, those that only ollama has). Nulls say nothing; num_predict -1 and -2 are no limit."""
    given = {name: each for name, each in obj(value or {}, "options").items() if each is not None}
    most = integer(given.get("num_predict"), "options.num_predict")
    stop = given.get("stop")
    made: dict[str, Any] = {
        "max_tokens": most if most is not None and most >= 0 else None,
        "stop": (stop,) if isinstance(stop, str) else tuple(text(each, "options.stop") for each in items(stop, "options.stop")),
    }  # fmt: skip
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        made[name] = number(given.get(name), f"options.{name}")
    for name in ("top_k", "seed"):
        made[name] = integer(given.get(name), f"options.{name}")
    return made, {f"options.{name}": each for name, each in given.items() if name not in OPTIONS | LOADING}


def prompt_messages(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """/api/generate as a chat; what comes before and after a gap (`suffix`) no chat can fill."""
    if fields.get("suffix"):
        refuse("suffix", "needs a model that fills gaps; chat models do not: use /v1/completions with an upstream that has it")
    user = {"role": "user", "content": fields.get("prompt") or "", "images": fields.get("images")}
    system = fields.get("system")
    return [*([{"role": "system", "content": system}] if system else []), user]


def read_request(fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """A body of /api/chat, or, without `messages`, of /api/generate. A missing `stream` is true."""
    generates = "messages" not in fields
    made = Conversation()
    given = prompt_messages(fields) if generates else items(fields.get("messages"), "messages")
    if not given:
        refuse("messages", "must hold at least one message")
    for at, message in enumerate(given):
        made.add(obj(message, f"messages[{at}]"), f"messages[{at}]")
    settings, rest = read_options(fields.get("options"))
    rest |= {name: value for name, value in fields.items() if name not in FIELDS and value not in (None, [], {}, "", False)}
    wanted, extras = truth(fields.get("stream"), "stream"), both({OWN: rest} if rest else ir.NOTHING, made.unread)
    return ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=tuple(made.messages), system=tuple(made.system), tools=read_tools(fields.get("tools")),
        stream=stream if stream is not None else wanted is not False, include_usage=True,
        reasoning=read_think(fields.get("think")), response_format=read_format(fields.get("format")),
        extras=extras, reply=ir.Reply(echo={"generates": generates}), **settings,
    )  # fmt: skip
