"""Tools and tool_choice of a Responses body <-> ir: flat functions, custom tools, tools in a namespace, OpenAI's own.

{"type": "function", "name": "f", "parameters": {...}}           <-> Tool("f", parameters={...})
{"type": "namespace", "name": "ns", "tools": [{... "name": "f"}]} -> Tool("ns__f", ...), ("ns", "f") leads back
{"type": "web_search"}                                           <-> Tool("web_search", vendor="responses", value={...})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from .. import ir
from ..fields import items, obj, refuse, text, truth
from ..losses import lose_settings, lose_unread, name_lost
from ..names import safe_name
from ..schemas import fits_strict, object_at_root
from ..shapes import both, unread
from ..tools import mode_among
from .common import OPENAI, OWN, own, own_fields
from .shapes import NAMESPACE, OUTER_TOOL, SEARCH, TOOL

MODES = {"auto": ir.ToolChoice("auto"), "none": ir.ToolChoice("none"), "required": ir.ToolChoice("required")}
CALLER_TOOLS = ("function", "custom")


def domains(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def read_search(tool: Mapping[str, Any]) -> ir.WebSearch | None:
    """What a web_search tool says, in no vendor's words; None for other tools."""
    if not str(tool.get("type")).startswith("web_search"):
        return None
    filters, location = tool.get("filters"), tool.get("user_location")
    given = filters if isinstance(filters, dict) else {}
    place = {name: each for name, each in location.items() if name != "type" and each} if isinstance(location, dict) else None
    return ir.WebSearch(domains(given.get("allowed_domains")), domains(given.get("blocked_domains")), place or None)


def search_extras(tool: Mapping[str, Any], search: ir.WebSearch | None) -> ir.Extras:
    """What another vendor's search does not say of this one."""
    if search is None:
        return ir.NOTHING
    offline: ir.Extras = {ir.UNREAD: {"external_web_access=false": True}}
    return both(unread(tool, SEARCH), offline if tool.get("external_web_access") is False else ir.NOTHING)


def write_search(search: ir.WebSearch, lost: list[str]) -> dict[str, Any]:
    """OpenAI's search of the web in place of another vendor's."""
    made: dict[str, Any] = {"type": "web_search"}
    if search.allowed_domains:
        made["filters"] = {"allowed_domains": list(search.allowed_domains)}
    if search.location:
        made["user_location"] = {"type": "approximate", **search.location}
    lose_settings(search, ("blocked_domains", "max_uses"), lost)
    return made


class Found(NamedTuple):
    """A tool as it was read, and in which namespace: "" for none."""

    tool: ir.Tool
    namespace: str = ""


def chat_format(value: Any) -> Any:
    """A custom tool's format as chat completions have it: {"type": "grammar", "grammar": {"syntax", "definition"}}"""
    if isinstance(value, dict) and value.get("type") == "grammar" and "grammar" not in value:
        return {"type": "grammar", "grammar": {name: each for name, each in value.items() if name != "type"}}
    return value


def own_format(value: Any) -> Any:
    """The same as Responses have it: {"type": "grammar", "syntax": "lark", "definition": "..."}"""
    if isinstance(value, dict) and isinstance(value.get("grammar"), dict):
        return {**{name: each for name, each in value.items() if name != "grammar"}, **value["grammar"]}
    return value


def read_own_tool(tool: Mapping[str, Any], kind: str, path: str) -> ir.Tool:
    """A function or custom tool; chat's shape, with an inner object, is taken as well."""
    inner = tool.get(kind)
    given = inner if isinstance(inner, dict) else tool
    schema = given.get("parameters")
    extras = own(given, TOOL) if given is tool else both(own(given, TOOL), own(tool, OUTER_TOOL))
    if given.get("format") is not None:
        extras = {**extras, OPENAI: {"format": chat_format(given["format"])}}
    return ir.Tool(
        text(given.get("name"), f"{path}.name"),
        text(given.get("description") or "", f"{path}.description"),
        None if schema in (None, []) else obj(schema, f"{path}.parameters"),
        truth(given.get("strict"), f"{path}.strict"),
        custom=kind == "custom",
        cache_control=given.get("cache_control") if isinstance(given.get("cache_control"), dict) else None,
        extras=extras,
    )


def read_namespace(tool: Mapping[str, Any], path: str) -> list[Found]:
    """Its tools; what the namespace is for is said with the first of them."""
    name = text(tool.get("name"), f"{path}.name")
    stated = text(tool.get("description") or "", f"{path}.description")
    found = [Found(each.tool, name) for each in read_tools(tool.get("tools"), f"{path}.tools")]
    if found:
        first = found[0].tool
        words = "\n\n".join(each for each in (first.description, stated and f"[{name}: {stated}]") if each)
        found[0] = Found(replace(first, description=words, extras=both(first.extras, unread(tool, NAMESPACE))), name)
    return found


def read_tools(value: Any, path: str) -> list[Found]:
    found: list[Found] = []
    for at, tool in enumerate(items(value, path)):
        where = f"{path}[{at}]"
        kind = text(obj(tool, where).get("type") or "function", f"{where}.type")
        if kind == "namespace":
            found += read_namespace(tool, where)
        elif kind in CALLER_TOOLS:
            found.append(Found(read_own_tool(tool, kind, where)))
        else:
            search = read_search(tool)
            found.append(Found(ir.Tool(kind, vendor=OWN, value=tool, extras=search_extras(tool, search), search=search)))
    return found


Names = list[tuple[str, str]]  # (namespace, name)


def name_in(tool: Mapping[str, Any], path: str) -> tuple[str, str]:
    """(namespace, name) of {"type": "function", "name": "f"}, or of chat's shape."""
    inner = tool.get(str(tool.get("type")))
    given = inner if isinstance(inner, dict) else tool
    return text(given.get("namespace") or "", f"{path}.namespace"), text(given.get("name"), f"{path}.name")


def read_choice(value: Any) -> tuple[ir.ToolChoice | None, Names, Any]:
    """tool_choice -> (the choice, the names in it, the whole of it where only OpenAI knows what it says).

    "required"                                                 -> (ToolChoice("required"), [], None)
    {"type": "function", "name": "f"}                          -> (ToolChoice("required", ("f",)), [("", "f")], None)
    {"type": "allowed_tools", "mode": "auto", "tools": [...]}  -> (ToolChoice("auto", (...)), [...], None)
    {"type": "web_search_preview"}                             -> (None, [], all of it)
    """
    if value is None:
        return None, [], None
    if isinstance(value, str):
        return MODES.get(value) or refuse("tool_choice", "must be auto, none or required"), [], None
    kind = text(obj(value, "tool_choice").get("type") or "", "tool_choice.type")
    if kind in CALLER_TOOLS:
        found = [name_in(value, "tool_choice")]
        return ir.ToolChoice("required", (found[0][1],)), found, None
    if kind == "allowed_tools":
        return read_allowed(value)
    return None, [], value


def read_allowed(value: Mapping[str, Any]) -> tuple[ir.ToolChoice | None, Names, Any]:
    """Only some tools; where OpenAI's own are among them the whole goes to OpenAI alone."""
    inner = value.get("allowed_tools")
    given = inner if isinstance(inner, dict) else value
    tools = [obj(tool, "tool_choice.tools") for tool in items(given.get("tools"), "tool_choice.tools")]
    names = [name_in(tool, "tool_choice.tools") for tool in tools if tool.get("type") in CALLER_TOOLS]
    if not names:
        return None, [], value
    mode = mode_among(given, "tool_choice")
    return ir.ToolChoice(mode, tuple(name for _, name in names)), names, value if len(names) < len(tools) else None


def flat_name(namespace: str, name: str) -> str:
    """One name for both: flat_name("ns", "f") -> "ns__f"; flat_name("", "f") -> "f" """
    return f"{namespace}__{name}" if namespace else name


# ----------------------------------------------------------------------------------------------------------------- writing


def write_tool(tool: ir.Tool, lost: list[str], lose_extras: Any) -> list[dict[str, Any]]:
    """A tool for a Responses upstream; [] for another vendor's own."""
    if tool.value is not None:
        if tool.vendor == OWN:
            return [dict(tool.value)]
        if tool.search is not None:
            lose_unread(tool.extras, lost)
            return [write_search(tool.search, lost)]
        name_lost(lost, f"tools={tool.name}")
        return []
    if tool.cache_control is not None:
        name_lost(lost, "cache_control")
    lose_extras(tool.extras, "tools.", ("format",) if tool.custom else ())
    made: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": safe_name(tool.name)}
    if tool.description:
        made["description"] = tool.description
    if tool.custom:
        found = tool.extras.get(OPENAI, {}).get("format")
        return [made | ({"format": own_format(found)} if found is not None else {}) | own_fields(tool.extras)]
    parameters: Any = {"type": "object", "properties": {}} if tool.parameters is None else object_at_root(tool.parameters, lost)
    is_strict = tool.strict is True and fits_strict(parameters)
    if tool.strict and not is_strict:
        name_lost(lost, "tools.strict")
    made |= {"parameters": parameters, "strict": is_strict}  # left out, the API takes it for true
    return [made | own_fields(tool.extras)]


Sent = list[tuple[ir.Tool, dict[str, Any]]]  # tools with what they became


def named_tool(tool: ir.Tool, made: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as a choice names it: the caller's by its name, OpenAI's own by its type.

    Tool("f") -> {"type": "function", "name": "f"};  a search of the web -> {"type": "web_search"}
    """
    names = ("type", "server_label") if tool.value is not None else ("type", "name")
    return {name: made[name] for name in names if name in made}


def write_choice(choice: ir.ToolChoice, sent: Sent) -> Any:
    """One tool of the caller's by its name; several, and one that runs at OpenAI, as allowed_tools."""
    if choice.mode == "none" or not choice.names:
        return choice.mode
    known = {tool.name: (tool, made) for tool, made in sent}
    found = [known[name] for name in choice.names if name in known]
    named = [named_tool(tool, made) for tool, made in found]
    if choice.mode == "required" and len(named) == 1 and found[0][0].value is None:
        return named[0]
    if len(sent) == 1 and found[0][0].value is not None:  # there is no other
        return choice.mode
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}
