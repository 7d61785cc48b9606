"""Tools where all protocols agree: which are offered to the model, what a choice may name, how free text goes as arguments.

visible_tools(request)                                    -> its tools, without those that were not loaded yet
choice_among(ToolChoice("required", ("f",)), {"g"}, lost)  -> None, and lost == ["tool_choice"]
free_text(ToolCall("t", "code", '{"input":"1+1"}', {"input": "1+1"}))  -> "1+1"
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any, Literal

from . import ir
from .fields import refuse
from .losses import name_lost

# A custom tool, which takes free text, where a vendor knows only arguments that are an object.
FREE_TEXT: Mapping[str, Any] = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def visible_tools(request: ir.Request) -> tuple[ir.Tool, ...]:
    """The tools that the model may know of: one that is declared to be loaded later is none of them before it is."""
    tools = request.tools
    return tuple(tool for tool in tools if not tool.deferred) if any(tool.deferred for tool in tools) else tools


def choice_among(choice: ir.ToolChoice | None, sent: Set[str], lost: list[str]) -> ir.ToolChoice | None:
    """The choice, unless none of the tools that it names is sent: such a one is refused with the whole request."""
    if choice is None or not choice.names or not sent.isdisjoint(choice.names):
        return choice
    name_lost(lost, "tool_choice")
    return None if choice.mode == "required" else ir.ToolChoice(choice.mode)


def mode_among(given: Mapping[str, Any], path: str) -> Literal["auto", "required"]:
    """The mode of a choice among allowed tools; "auto" where it is left out."""
    mode = given.get("mode") or "auto"
    if mode not in ("auto", "required"):
        refuse(f"{path}.mode", "must be auto or required")
    return "required" if mode == "required" else "auto"


def speaks_after_call(parts: Iterable[ir.Part]) -> bool:
    """Whether words stand behind a call, for a vendor that has texts and calls apart and so not their order."""
    called = False
    for part in parts:
        if isinstance(part, ir.ToolCall):
            called = True
        elif called and not isinstance(part, ir.Thinking) and getattr(part, "text", "x") != "":
            return True
    return False


def custom_names(tools: Collection[ir.Tool]) -> frozenset[str]:
    return frozenset(tool.name for tool in tools if tool.custom)


def free_text(call: ir.ToolCall) -> str:
    """What a call of a custom tool says, also where its vendor could only say it as an object."""
    if call.custom:
        return call.arguments_text
    value = call.arguments if call.arguments is not None else ir.object_in(call.arguments_text)
    found = value.get("input") if value is not None else None
    return found if isinstance(found, str) else call.arguments_text
