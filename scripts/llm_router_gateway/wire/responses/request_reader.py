"""A Responses caller's body -> ir.Request.

    read_request({"model": "m", "input": "hi"})  -> Request("m", (Message("user", (Text("hi"),)),))

Items of `input` become messages: what the assistant said, thought and called in a row is one message; results of tools in a row
are one user message. A tool in a namespace gets one name of both ("ns__f"); `reply.namespaces` leads back. Reasoning comes in
three kinds of items: sealed by us (opened, to the letter), OpenAI's own encrypted ones, and plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import BadRequest
from .. import ir
from ..fields import integer, items, number, obj, refuse, text, truth
from ..losses import with_value
from ..shapes import both
from .common import ENCRYPTED, LOGPROBS, OPENAI, OWN, own
from .compaction import summary_request
from .items import ITEMS, Conversation, read_content, say_plain
from .shapes import REQUEST, SHARED
from .tools import flat_name, read_choice, read_tools

# What an answer repeats of its request.
ECHOED = (
    "background", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "store", "temperature", "text",
    "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip


def read_input(value: Any, made: Conversation) -> None:
    """The items of `input`, or the one text that it is."""
    if isinstance(value, str):
        made.say("user", [ir.Text(value)])
        return
    given = items(value, "input")
    if not given:
        refuse("input", "must hold at least one item")
    for at, item in enumerate(given):
        if type(item) is dict and item.get("type", "message") == "message" and say_plain(item, made):
            continue
        path = f"input[{at}]"
        kind = obj(item, path).get("type") or ("item_reference" if item.keys() == {"id"} else "message")
        reader = ITEMS.get(text(kind, f"{path}.type"))
        if reader is not None:
            reader(item, path, made)
        elif kind == "compaction_trigger":
            made.trigger(at == len(given) - 1, path)
        else:
            made.opaque(item)


def read_format(fields: Mapping[str, Any]) -> ir.ResponseFormat | None:
    """text.format: {"type": "json_schema", "name": "n", "schema": {...}} -> ResponseFormat("schema", {...}, "n")"""
    value = obj(fields.get("text") or {}, "text").get("format")
    if value is None:
        return None
    kind = obj(value, "text.format").get("type")
    if kind == "json_schema":
        given = value.get("json_schema") if isinstance(value.get("json_schema"), dict) else value  # chat's shape, as some send
        schema = obj(given.get("schema") or {}, "text.format.schema")
        strict = truth(given.get("strict"), "text.format.strict")
        return ir.ResponseFormat("schema", schema, str(given.get("name") or ""), str(given.get("description") or ""), strict)
    if kind in ("json_object", "text"):
        return ir.ResponseFormat("json" if kind == "json_object" else "text")
    return refuse("text.format.type", "must be text, json_object or json_schema")


def read_reasoning(fields: Mapping[str, Any]) -> ir.Reasoning | None:
    """{"effort": "high", "summary": "auto"} -> Reasoning("", effort="high", shown=True); {} -> None"""
    given = obj(fields.get("reasoning") or {}, "reasoning")
    if not given:
        return None
    effort = text(given.get("effort") or "", "reasoning.effort")
    summary = given.get("summary") or given.get("generate_summary")
    made = ir.Reasoning("", None, effort, True if summary and summary != "none" else None)
    return None if made == ir.Reasoning() else made


def read_include(fields: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """(whether logprobs are requested, the rest that only OpenAI knows). Encrypted reasoning always comes."""
    wanted = [text(each, f"include[{at}]") for at, each in enumerate(items(fields.get("include"), "include"))]
    return LOGPROBS in wanted, [each for each in wanted if each not in (ENCRYPTED, LOGPROBS)]


def read_extras(fields: Mapping[str, Any], include: list[str], choice: Any) -> ir.Extras:
    """What has no neutral place; what is inside `text` and `reasoning` under "reasoning.context" and the like."""
    known = own(fields, REQUEST)
    rest = dict(known.get(OWN, {}))
    shared = {name: fields[name] for name in sorted(SHARED) if fields.get(name)}
    shown = obj(fields.get("text") or {}, "text")
    if shown.get("verbosity") not in (None, "medium"):
        shared["verbosity"] = shown["verbosity"]
    reasoning = obj(fields.get("reasoning") or {}, "reasoning")
    inner = {f"text.{name}": value for name, value in shown.items() if name not in ("format", "verbosity")}
    inner |= {f"reasoning.{name}": value for name, value in reasoning.items()
              if name not in ("effort", "summary", "generate_summary")}  # fmt: skip
    rest |= {name: value for name, value in inner.items() if value is not None}
    words = reasoning.get("summary") or reasoning.get("generate_summary")
    if include:
        rest["include"] = include
    if choice is not None:
        rest["tool_choice"] = choice
    if fields.get("truncation") not in (None, "disabled"):
        rest["truncation"] = fields["truncation"]
    found = {name: True for name in known.get(ir.UNREAD, ()) if choice is None or not name.startswith("tool_choice.")}
    if words not in (None, "auto", "none"):  # how long a summary is to be; others only show thoughts or do not
        found[with_value("reasoning.summary", words)] = True
    if fields.get("user") and fields.get("safety_identifier") not in (None, "", fields["user"]):
        found["user"] = True
    made = {vendor: value for vendor, value in ((OWN, rest), (OPENAI, shared), (ir.UNREAD, found)) if value}
    return made or ir.NOTHING


def refuse_unsupported(fields: Mapping[str, Any]) -> None:
    """What no member can do through the gateway, relayed or not: an answer that is fetched later."""
    if fields.get("background"):
        raise BadRequest(
            "background: true is not supported: the gateway keeps no connection open for an answer that is fetched later. "
            "Leave it out, and set stream: true for a long answer",
            details={"path": "background"},
        )


def read_stop(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(text(each, f"stop[{at}]") for at, each in enumerate(items(value, "stop")))


def echo_of(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the answer repeats, as they came; `more` wins."""
    return {name: fields[name] for name in ECHOED if fields.get(name) is not None} | dict(more)


def read_request(
    fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None, seal: ir.Seal | None = None,
    reply_id: str = "", echo: Mapping[str, Any] = ir.NOTHING,
) -> ir.Request:  # fmt: skip
    """A caller's body -> ir.Request; BadRequest says which field is wrong. `model` and `stream` win over the body's.

    seal      opens what the gateway closed in earlier answers, and closes what must come back; None: such things are lost
    reply_id  the id that the answer is to have: "resp_" and letters and digits
    echo      what the answer repeats beside the body's own fields: {"previous_response_id": ...} once it is unfolded

    `previous_response_id` and item references must be unfolded before (`state.unfolded`): here they are refused.
    """
    refuse_unsupported(fields)
    choice, names, foreign = read_choice(fields.get("tool_choice"))
    made = Conversation(seal)
    made.add_tools(read_tools(fields.get("tools"), "tools"))
    made.system += read_content(text(fields.get("instructions") or "", "instructions"), "instructions")
    read_input(fields.get("input"), made)
    logprobs, include = read_include(fields)
    top_logprobs = integer(fields.get("top_logprobs"), "top_logprobs") or None
    found_format = read_format(fields)
    if choice is not None and choice.mode == "required" and choice.names and found_format is not None:
        # A call is forced: an answer in that form is impossible, and on some upstreams it would take precedence.
        made.lose({ir.UNREAD: {"text.format": True}} if found_format.kind != "text" else ir.NOTHING)
        found_format = None
    made.end()
    request = ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=tuple(made.messages),
        system=tuple(made.system),
        tools=tuple(made.tools),
        tool_choice=replace(choice, names=tuple(flat_name(*each) for each in names)) if choice is not None else None,
        parallel_tool_calls=truth(fields.get("parallel_tool_calls"), "parallel_tool_calls"),
        stream=stream if stream is not None else truth(fields.get("stream"), "stream") or False,
        include_usage=True,
        max_tokens=integer(fields.get("max_output_tokens"), "max_output_tokens"),
        top_k=integer(fields.get("top_k"), "top_k"),
        seed=integer(fields.get("seed"), "seed"),
        logprobs=True if logprobs or top_logprobs else None,
        top_logprobs=top_logprobs,
        stop=read_stop(fields.get("stop")),
        reasoning=read_reasoning(fields),
        response_format=found_format,
        user=text(fields.get("safety_identifier") or fields.get("user") or "", "user"),
        metadata=obj(fields.get("metadata") or {}, "metadata"),
        service_tier=text(fields.get("service_tier") or "", "service_tier"),
        cache_key=text(fields.get("prompt_cache_key") or "", "prompt_cache_key"),
        extras=both(read_extras(fields, include, foreign), made.unread),
        reply=ir.Reply(reply_id, echo_of(fields, echo), made.namespaces, made.compacting, seal),
        temperature=number(fields.get("temperature"), "temperature"),
        top_p=number(fields.get("top_p"), "top_p"),
        presence_penalty=number(fields.get("presence_penalty"), "presence_penalty"),
        frequency_penalty=number(fields.get("frequency_penalty"), "frequency_penalty"),
    )
    return summary_request(request) if made.compacting else request
