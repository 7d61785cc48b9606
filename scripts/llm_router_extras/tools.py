"""Python functions that a model may call: their schemas from signatures and docstrings, and the rounds of calls."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    Answer,
    BadUpstreamError,
    LLMRouterError,
    Reader,
    UsageError,
    at_once,
    check,
    check_messages,
    dicts,
    dump_json,
    is_amount,
    one_line,
    without,
)

from .message import message_of
from .schema import SCHEMA_TYPES, first_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llm_router_client import JSON, LLMRouterClient, Turns

MAX_WORKERS = 8  # threads for the tools that one answer calls
MAX_ROUNDS = 8  # of tool calls, before run_tools() gives up


def annotation_schema(kind: Any, place: str) -> JSON:
    """The schema of an annotation: list[int] -> {"type": "array", "items": {"type": "integer"}}; UsageError for what has none.

    str, int, float, bool, None, list, dict, Any, Optional, Union, Literal, and Annotated[int, "what it means"].
    """
    plain = {kinds: name for name, kinds in {**SCHEMA_TYPES, "number": float}.items()}
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return {}
    if isinstance(kind, type) and kind in plain:
        return {"type": plain[kind]}
    if hasattr(kind, "__metadata__"):
        return {**annotation_schema(inner[0], place), "description": str(inner[1])}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is typing.Union or type(kind).__name__ == "UnionType":
        return {"anyOf": [annotation_schema(each, place) for each in inner]}
    if origin is list:
        return {"type": "array", "items": annotation_schema(inner[0], place)}
    if origin is dict and inner[0] is str:
        return {"type": "object", "additionalProperties": annotation_schema(inner[1], place)}
    raise UsageError(f"{place}: a tool cannot take {one_line(kind, 60)}")


def tool_spec(function: Any) -> JSON:
    """A function as the API describes tools, from its signature and docstring; UsageError for what no model could call.

    def add(a: int): "Adds."  ->  {"name": "add", "description": "Adds.", "parameters": {"type": "object", ...}}

    A parameter is described by `name: text`, `name (type): text` or `:param name: text` on a line of its own.
    """
    name, text, properties = getattr(function, "__name__", ""), inspect.getdoc(function) or "", {}
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) or inspect.iscoroutinefunction(function):
        raise UsageError(f"{name or function!r} cannot be a tool: that is a function with a name, and not async")
    try:
        parameters = inspect.signature(function).parameters
        hints = typing.get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise UsageError(f"the signature of {name} cannot be read: {one_line(error, 100)}") from None
    for each, parameter in parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"{name}: the parameters of a tool have names; {each} has none")
        told = re.search(rf"(?m)^\s*(?::param (?:\w+ )?)?{each}(?: \([^)]*\))?: (.+)", text)
        properties[each] = annotation_schema(hints.get(each, typing.Any), f"{name}({each})")
        if told:
            properties[each]["description"] = told[1].strip()
    required = [each for each, parameter in parameters.items() if parameter.default is parameter.empty]
    shape = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"name": name, "description": text.split("\n\n")[0].strip(), "parameters": shape}


def tools_by_name(tools: Any) -> dict[str, tuple[Any, JSON]]:
    """Name -> (function, its tool_spec) of what run_tools() got; UsageError if there is none, or two have one name."""
    check("a list of functions", Iterable, tools=tools)
    specs = [(function, tool_spec(function)) for function in tools or ()]
    known_tools = {spec["name"]: (function, spec) for function, spec in specs}
    if not 0 < len(known_tools) == len(specs):
        raise UsageError("run_tools() takes one tool or more, each name once")
    return known_tools


def call_tool(call: JSON, known_tools: dict[str, tuple[Any, JSON]]) -> JSON:
    """Carry out one of an Answer's tool_calls -> {"id", "name", "arguments", "result" (text), "error" (None, or why not)}.

    `known_tools` is name -> (function, its tool_spec). Arguments that the model made up wrongly never reach the function.
    """
    function, spec = known_tools.get(call["name"], (None, {}))
    arguments, result, fault = call["parsed"], "", f"there is no tool of this name; there are {', '.join(known_tools)}"
    if function is not None:
        fault = first_fault(arguments, spec["parameters"], "arguments")
    if not fault:
        try:
            value = function(**arguments)
            result = value if isinstance(value, str) else dump_json(value).rstrip()
        except (Exception, SystemExit) as error:  # whatever it is: the model gets it, and may do better
            fault = f"{type(error).__name__}: {error}"
    return {"id": call["id"], "name": call["name"], "arguments": arguments, "result": result, "error": one_line(fault) or None}


def turns_of(answer: Answer, made: Sequence[JSON]) -> Turns:
    """What goes back to the model after an answer that called tools: its own message, mended, and what each call gave."""
    message = message_of(answer)
    known = {call.get("id"): call for call in dicts(message.get("tool_calls"))}
    calls = []
    for call in answer.tool_calls:  # every call with an id, and arguments that are JSON
        function = {"name": call["name"], "arguments": call["arguments"] if call["parsed"] else "{}"}
        calls.append({**known.get(call["id"], {}), "id": call["id"], "type": "function", "function": function})
        calls[-1].pop("index", None)
    kept = without(message, "tool_calls", "function_call")
    turns = [{"content": answer.text or None, **kept, "role": "assistant", **({"tool_calls": calls} if calls else {})}]
    for call in made:
        result = f"Error: {call['error']}" if call["error"] else call["result"]
        turns.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return turns


def answer_of(stream: Any, on_event: Callable[[JSON], None] | None) -> Answer:
    """A stream's whole answer; on_event is called with each of its events."""
    for event in stream.events():
        if on_event:
            on_event(event)
    return stream.response  # type: ignore[no-any-return]


def run_tools(
    client: LLMRouterClient, model: str | None, messages: Sequence[JSON], tools: Sequence[Callable[..., Any]], *,
    max_rounds: int = MAX_ROUNDS, stream: bool = False, on_event: Callable[[JSON], None] | None = None, **parameters: Any,
) -> Answer:  # fmt: skip
    """As client.chat(), with Python functions that the model may call, until it answers in words -> Answer with .calls.

    Schemas come from signatures and docstrings (tool_spec). The calls of an answer run at once, in threads; results and
    exceptions go back to the model. Over max_rounds it is a BadUpstreamError; every error's .calls holds what was called.
    """
    check("a whole number from 1", int, lambda most: most > 0, max_rounds=max_rounds)
    check("a function", object, callable, on_event=on_event)
    known_tools, max_rounds = tools_by_name(tools), max_rounds or MAX_ROUNDS
    specs = [{"type": "function", "function": spec} for _, spec in known_tools.values()]
    request = {**parameters, "tools": specs, "stream": stream}
    turns, calls, past = check_messages(messages), [], Answer(Reader())
    past.cost = 0.0
    try:
        for number in range(1, max_rounds + 2):
            given: Any = client.chat(model, turns, **request)
            answer = answer_of(given, on_event) if stream else given
            todo = answer.tool_calls if number <= max_rounds else []
            made = at_once(lambda call: call_tool(call, known_tools), todo, MAX_WORKERS)
            calls += [{"round": number, **call} for call in made]
            turns += turns_of(answer, made)
            answer.attempts, answer.warnings = past.attempts + answer.attempts, past.warnings + answer.warnings
            answer.cost = past.cost + answer.cost if is_amount(past.cost) and is_amount(answer.cost) else None
            answer.calls, answer.messages, past = calls, turns, answer
            if not answer.tool_calls:
                return answer
            model = answer.model_used  # the one that began goes on
            request.update(task=None, prefer=None)
            request.setdefault("fallback", answer.route and answer.route["fallback"])
        error = BadUpstreamError(f"the model still calls tools after {max_rounds} rounds", next_step="Raise max_rounds.")
        error.model, error.response = past.model_used, past
        raise error
    except LLMRouterError as error:
        error.calls, error.attempts = calls, past.attempts + error.attempts
        raise
