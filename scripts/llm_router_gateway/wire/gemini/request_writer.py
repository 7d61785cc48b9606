"""Gemini's generateContent: ir.Request -> the request body for an upstream."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import ir
from ..efforts import OFF_LOST, ORDER, lose_budget, lose_effort, nearest_effort
from ..fields import compact
from ..losses import lose_extras, lose_name, lose_settings, lose_tier, lose_unread, name_lost
from ..names import MINTED, safe_name
from ..pairing import pair_results
from ..schemas import object_at_root, with_description
from ..tools import FREE_TEXT, choice_among, visible_tools
from .common import (
    EFFORT_BUDGETS,
    LEVELS,
    MAX_BUDGET_FLASH,
    MAX_BUDGET_PRO,
    MAX_INT32,
    MAX_STOP_SEQUENCES,
    MIN_BUDGET_LITE,
    MIN_BUDGET_PRO,
    SAMPLING,
    SIGNATURE_UNKNOWN,
    USUAL_TYPES,
    VENDOR,
    Fields,
)
from .request_reader import type_of_url
from .schema import to_gemini


@dataclass(frozen=True, slots=True)
class Target:
    """What the model that gets the request accepts. Quirks of the provider come first:

    thinking_off whether a budget of 0 is taken
    thinking     "budget", "level" or "none": how its reasoning is limited (levels: the words it accepts)
    signatures   whether calls in its history must be signed
    json_schema  whether schemas go as they are (parametersJsonSchema, responseJsonSchema), not as Gemini's own Schema
    labels       whether there is a place for metadata (Vertex AI has one)
    format_with_tools  whether a request for JSON may have tools
    """

    thinking: str
    levels: Sequence[str]
    min_budget: int
    max_budget: int
    can_be_off: bool
    signatures: bool
    json_schema: bool
    labels: bool
    format_with_tools: bool


def target_of(model: str, quirks: Mapping[str, Any]) -> Target:
    """target_of("gemini-2.5-flash", {}) thinks by budget; target_of("gemini-3-pro", {}) by level, and wants signatures."""
    found = re.search(r"gemini-(\d+)(?:\.(\d+))?", model)
    version = (int(found[1][:3]), int((found[2] or "0")[:3])) if found else (2, 5)
    style = "level" if version >= (3, 0) else "budget" if version >= (2, 5) and "gemma" not in model else "none"
    return Target(
        thinking=str(quirks.get("thinking", style)),
        levels=LEVELS if "flash" in model else LEVELS[1:] if version > (3, 0) else ("low", "high"),
        min_budget=MIN_BUDGET_LITE if "lite" in model else 1 if "flash" in model else MIN_BUDGET_PRO,
        max_budget=MAX_BUDGET_FLASH if "flash" in model else MAX_BUDGET_PRO,
        can_be_off=bool(quirks.get("thinking_off", "flash" in model or version < (2, 5))),
        signatures=bool(quirks.get("signatures", version >= (3, 0))),
        json_schema=bool(quirks.get("json_schema", False)),
        labels=bool(quirks.get("labels", False)),
        format_with_tools=bool(quirks.get("format_with_tools", version >= (3, 0))),
    )


def wants_format_hint(request: ir.Request, target: Target) -> bool:
    """Models before 3 answer 400 to JSON beside tools."""
    wanted = request.response_format is not None and request.response_format.kind != "text"
    return wanted and bool(request.tools) and not target.format_with_tools


def note_text(part: ir.Text, lost: list[str]) -> None:
    """What a text has beside its words, and Gemini has no place for."""
    if part.cache_control is not None:
        name_lost(lost, "cache_control")
    if part.signature and part.vendor != VENDOR:
        name_lost(lost, "text.signature")
    if part.extras:
        lose_extras(part.extras, VENDOR, lost)


def format_hint(wanted: ir.ResponseFormat | None) -> str:
    if wanted is None or wanted.schema is None:
        return "Answer with one JSON object and nothing else."
    return (
        f"Answer, when no tool is called, with JSON that fits this schema and nothing else: {compact(with_description(wanted))}"
    )


def write_system(request: ir.Request, target: Target, lost: list[str]) -> list[Fields]:
    written = []
    for part in request.system:
        if isinstance(part, ir.Text):
            note_text(part, lost)
            written += [{"text": part.text}] if part.text else []
        else:
            name_lost(lost, f"system.{type(part).__name__.lower()}")
    if wants_format_hint(request, target):
        written.append({"text": format_hint(request.response_format)})
    return written


def write_text(part: ir.Text, lost: list[str]) -> list[Fields]:
    note_text(part, lost)
    signature = part.signature if part.vendor == VENDOR else ""
    if not (part.text or signature):
        return []
    return [{"text": part.text, "thoughtSignature": signature}] if signature else [{"text": part.text}]


def write_thinking(part: ir.Thinking, lost: list[str]) -> list[Fields]:
    """Only Gemini's own thoughts go back; whose they are shows the signature's vendor."""
    lose_unread(part.extras, lost)
    if part.vendor != VENDOR:
        if part.text or part.signature or part.data:
            name_lost(lost, "thinking")
        return []
    made: Fields = {"text": part.text, "thought": True}
    if part.signature:
        made["thoughtSignature"] = part.signature
    return [made] if part.text or part.signature else []


def write_media(part: ir.Media, lost: list[str]) -> list[Fields]:
    """data -> inlineData; a URL or a file of Gemini's -> fileData. Nothing is fetched here: the URL is the caller's."""
    if part.cache_control is not None:
        name_lost(lost, "cache_control")
    if part.detail not in ("", "auto"):
        name_lost(lost, f"{part.kind}.detail={part.detail}")
    lose_extras(part.extras, VENDOR, lost)
    if part.text is not None:
        return [{"text": f"{part.name}\n{part.text}" if part.name else part.text}] if part.text else []
    lose_name(part, lost)
    media_type = part.media_type or type_of_url(part.url) or USUAL_TYPES[part.kind]
    own = dict(part.extras.get(VENDOR, {}))
    if part.signature and part.vendor == VENDOR:
        own["thoughtSignature"] = part.signature
    if part.data:
        return [{"inlineData": {"mimeType": media_type, "data": part.data}, **own}]
    if part.file_id and part.vendor != VENDOR:
        name_lost(lost, f"{part.kind}.file_id")
        return []
    uri = part.url or part.file_id
    return [{"fileData": {"mimeType": media_type, "fileUri": uri}, **own}] if uri else []


def id_of(call: ir.ToolCall) -> Fields:
    """{"id": ...} where Gemini gave it: before 3 it refuses an id, from then on it wants its own back."""
    return {"id": call.id} if call.vendor == VENDOR and not call.id.startswith(MINTED) else {}


def write_call(part: ir.ToolCall, lost: list[str]) -> list[Fields]:
    if part.cache_control is not None:
        name_lost(lost, "cache_control")
    lose_extras(part.extras, VENDOR, lost)
    arguments = dict(part.arguments) if part.arguments is not None else {"input": part.arguments_text}
    if part.arguments is None and not part.custom:
        name_lost(lost, "tool_call.arguments=text")  # not an object: Gemini has no place for another text
    made: Fields = {"functionCall": {**id_of(part), "name": safe_name(part.name), "args": arguments}}
    if part.signature and part.vendor == VENDOR:
        made["thoughtSignature"] = part.signature
    elif part.signature:
        name_lost(lost, "tool_call.signature")
    return [made]


def words_of(result: ir.ToolResult, lost: list[str]) -> str:
    """A result's texts."""
    words = []
    for part in result.parts:
        if isinstance(part, ir.Text):
            note_text(part, lost)
            words.append(part.text)
        elif part.text:
            lose_extras(part.extras, VENDOR, lost)
            words.append(f"{part.name}\n{part.text}" if isinstance(part, ir.Media) and part.name else part.text)
        elif isinstance(part, ir.Opaque):
            name_lost(lost, part.kind)
    return "\n".join(words)


def write_lone_result(part: ir.ToolResult, lost: list[str]) -> list[Fields]:
    """A result where none can be: in the model's own turn."""
    lose_extras(part.extras, VENDOR, lost)
    name_lost(lost, "tool_result=orphan")
    return [{"text": words_of(part, lost)}]


def write_refusal(part: ir.Refusal, lost: list[str]) -> list[Fields]:
    lose_unread(part.extras, lost)
    return [{"text": part.text}] if part.text else []


def write_opaque(part: ir.Opaque, lost: list[str]) -> list[Fields]:
    if part.vendor == VENDOR:
        return [dict(part.value)]
    name_lost(lost, part.kind)
    return [{"text": f"\n{part.text}\n"}] if part.text else []  # set off from its neighbours: they are put together


PART_WRITERS: Mapping[type, Callable[[Any, list[str]], list[Fields]]] = {
    ir.Text: write_text,
    ir.Thinking: write_thinking,
    ir.Media: write_media,
    ir.ToolCall: write_call,
    ir.ToolResult: write_lone_result,
    ir.Refusal: write_refusal,
    ir.Opaque: write_opaque,
}


def write_part(part: ir.Part, lost: list[str]) -> list[Fields]:
    """One part for the upstream: a list of one, or of none where Gemini would refuse it."""
    return PART_WRITERS[type(part)](part, lost)


def write_parts(parts: Iterable[ir.Part], lost: list[str]) -> list[Fields]:
    return [made for part in parts for made in write_part(part, lost)]


def reminder(message: ir.Message, lost: list[str]) -> list[Fields]:
    """A system message in the middle becomes the user's: moved to the front it would spoil every prompt cache."""
    name_lost(lost, f"role={message.role}")
    return [{"text": f"<system-reminder>\n{made['text']}\n</system-reminder>"} if "text" in made else made
            for made in write_parts(message.parts, lost)]  # fmt: skip


def sign_calls(written: list[Fields]) -> list[Fields]:
    """The first call of a turn must be signed from Gemini 3 on."""
    first = next((made for made in written if "functionCall" in made), None)
    if first is not None and "thoughtSignature" not in first:
        first["thoughtSignature"] = SIGNATURE_UNKNOWN
    return written


def write_response(call: ir.ToolCall, result: ir.ToolResult, lost: list[str]) -> Fields:
    """ToolResult("t1", (Text("42"),)) -> {"functionResponse": {"name": "f", "response": {"output": "42"}}}"""
    if result.cache_control is not None:
        name_lost(lost, "cache_control")
    lose_extras(result.extras, VENDOR, lost)
    words = words_of(result, lost)
    response = dict(result.data) if result.data is not None else {"error" if result.is_error else "output": words}
    return {"functionResponse": {**id_of(call), "name": safe_name(call.name), "response": response}}


def write_result_media(name: str, result: ir.ToolResult, lost: list[str]) -> list[Fields]:
    """Pictures in a result follow it as the user's: few models take them inside."""
    media_ = [part for part in result.parts if isinstance(part, ir.Media) and part.text is None]
    written = write_parts(media_, lost)
    return [{"text": f"[from the result of {name}]"}, *written] if written else []


def write_results(calls: Sequence[ir.ToolCall], parts: Sequence[ir.Part], lost: list[str]) -> tuple[list[Fields], list[Fields]]:
    """(as many responses as there were calls, in their order, since there may be no ids; the pictures in them)."""
    results = {part.id: part for part in parts if isinstance(part, ir.ToolResult)}
    responses, pictures = [], []
    for call in calls:
        responses.append(write_response(call, results[call.id], lost))
        pictures += write_result_media(call.name, results[call.id], lost)
    return responses, pictures


def write_plain(role: str, text: str, contents: list[Fields]) -> None:
    """A message that is one text, joined to what the same side said before."""
    part: Fields = {"text": text}
    if contents and contents[-1]["role"] == role and "functionResponse" not in contents[-1]["parts"][0]:
        if text:
            contents[-1]["parts"].append(part)
    elif text:
        contents.append({"role": role, "parts": [part]})


def write_contents(request: ir.Request, target: Target, lost: list[str]) -> list[Fields]:
    """The turns. The results of a turn's calls are one content with nothing beside them; others of one side are joined."""
    contents: list[Fields] = []
    calls: list[ir.ToolCall] = []  # of the turn before
    for message in pair_results(request.messages, lost):
        plain = ir.plain_text(message)
        if plain is not None and not calls and message.role in ("user", "assistant"):
            write_plain("model" if message.role == "assistant" else "user", plain, contents)
            continue
        lose_extras(message.extras, VENDOR, lost)
        if message.name:
            name_lost(lost, "name")
        if calls:  # `pair_results` has put all their results, and nothing else, right behind them
            responses, parts = write_results(calls, message.parts, lost)
            contents.append({"role": "user", "parts": responses})
        elif message.role in ("system", "developer"):
            parts = reminder(message, lost)
        else:
            parts = write_parts(message.parts, lost)
        calls = [part for part in message.parts if isinstance(part, ir.ToolCall)] if message.role == "assistant" else []
        role = "model" if message.role == "assistant" else "user"
        last: Fields = contents[-1] if contents else {"role": "", "parts": [{}]}
        if last["role"] == role and "functionResponse" not in last["parts"][0]:
            last["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": sign_calls(parts) if calls and target.signatures else parts})
    return contents


def write_choice(choice: ir.ToolChoice, declared: Collection[str]) -> Fields:
    """AUTO takes no names: the tools that are not among them are not declared."""
    if choice.mode == "required":
        names = [safe_name(name) for name in choice.names if name in declared]
        return {"mode": "ANY", **({"allowedFunctionNames": names} if names else {})}
    return {"mode": "NONE" if choice.mode == "none" else "AUTO"}


def write_declaration(tool: ir.Tool, path: str, target: Target, lost: list[str]) -> Fields:
    made: Fields = {"name": safe_name(tool.name), **({"description": tool.description} if tool.description else {})}
    if tool.strict:
        name_lost(lost, "strict")
    if tool.cache_control is not None:
        name_lost(lost, "cache_control")
    lose_extras(tool.extras, VENDOR, lost)
    schema: Any = FREE_TEXT if tool.custom else object_at_root(tool.parameters or {}, lost)
    if schema.get("properties") or schema.keys() - {"type", "properties", "required", "$schema", "additionalProperties"}:
        name = "parametersJsonSchema" if target.json_schema else "parameters"
        made[name] = schema if target.json_schema else to_gemini(schema, f"{path}.parameters", lost)
    return {**made, **tool.extras.get(VENDOR, {})}  # without parameters: an object without properties is refused


def write_search(search: ir.WebSearch, lost: list[str]) -> Fields:
    """Google's search in place of another vendor's; it has no setting for where to look."""
    lose_settings(search, ("allowed_domains", "blocked_domains", "location", "max_uses"), lost)
    return {"googleSearch": {}}


def write_tools(body: Fields, request: ir.Request, target: Target, lost: list[str]) -> None:
    choice = request.tool_choice
    chosen = frozenset(choice.names if choice is not None and choice.mode == "auto" else ())  # AUTO takes no names
    declared: list[Fields] = []
    others: list[Fields] = []
    tools = visible_tools(request)
    functions = any(not tool.vendor for tool in tools)  # beside which most models refuse a search
    names: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if tool.vendor == VENDOR:
            others.append(dict(tool.value or {}))
        elif tool.search is not None and not functions:
            lose_unread(tool.extras, lost)
            others.append(write_search(tool.search, lost))
        elif tool.vendor:
            name_lost(lost, f"{path}={tool.name}")
        elif not chosen or tool.name in chosen:
            declared.append(write_declaration(tool, path, target, lost))
            names.add(tool.name)
    if declared or others:
        body["tools"] = [*([{"functionDeclarations": declared}] if declared else []), *others]
    if declared:
        choice = choice_among(choice, names, lost)
    if choice is not None and declared:
        body["toolConfig"] = {"functionCallingConfig": write_choice(choice, names)}
    elif choice is not None and choice.mode == "required":
        name_lost(lost, "tool_choice")
    if request.parallel_tool_calls is False and declared:
        name_lost(lost, "parallel_tool_calls=false")


def budget_of(reasoning: ir.Reasoning) -> int | None:
    """Tokens; 0 is none, -1 is as the model thinks fit."""
    if reasoning.mode == "off":
        return 0
    if reasoning.budget_tokens is not None:
        return reasoning.budget_tokens
    if reasoning.effort:
        return EFFORT_BUDGETS.get(reasoning.effort, -1)
    return -1 if reasoning.mode else None


def level_of(reasoning: ir.Reasoning, levels: Sequence[str], lost: list[str]) -> str:
    """A level that the model knows; "" leaves it to the model.

    level_of(Reasoning("", effort="medium"), ("low", "high"), lost) -> "high";  ... budget_tokens=1024 -> "low"
    """
    level = "none" if reasoning.mode == "off" else reasoning.effort
    if not level and reasoning.budget_tokens is not None:
        level = "low" if reasoning.budget_tokens <= EFFORT_BUDGETS["medium"] else "high"
    return nearest_effort(level, levels, lost) if level in ORDER else ""


def fit_budget(budget: int, target: Target, lost: list[str]) -> int:
    """Tokens between the least and the most that the model takes; 0 only where its reasoning can be switched off."""
    if budget < 0 or (budget == 0 and target.can_be_off):
        return budget
    fit = min(max(budget, target.min_budget), target.max_budget)
    if fit != budget:
        name_lost(lost, OFF_LOST if budget == 0 else f"reasoning.budget_tokens={budget}")
    return fit


def write_thinking_config(reasoning: ir.Reasoning, target: Target, lost: list[str]) -> Fields:
    """Effort and budget are turned into the one that the model knows."""
    if target.thinking == "none":
        if reasoning.mode != "off" and reasoning.effort != "none":
            name_lost(lost, "reasoning")
        return {}
    shown = reasoning.shown if reasoning.shown is not None else reasoning.mode in ("on", "adaptive")
    made: Fields = {"includeThoughts": True} if shown else {}
    if reasoning.effort not in ORDER or (target.thinking == "budget" and reasoning.budget_tokens is not None):
        lose_effort(reasoning, lost)
    if target.thinking == "level":
        if reasoning.effort:
            lose_budget(reasoning, lost)
        level = level_of(reasoning, target.levels, lost)
        return {**made, "thinkingLevel": level} if level else made
    budget = budget_of(reasoning)
    return made if budget is None else {**made, "thinkingBudget": fit_budget(budget, target, lost)}


def write_format(request: ir.Request, target: Target, lost: list[str]) -> Fields:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return {}
    if wants_format_hint(request, target):
        name_lost(lost, "response_format=system")  # stated in words instead
        return {}
    made: Fields = {"responseMimeType": "application/json"}
    if wanted.schema is not None and target.json_schema:
        made["responseJsonSchema"] = with_description(wanted)
    elif wanted.schema is not None:
        made["responseSchema"] = to_gemini(with_description(wanted), "response_format", lost)
    return made


def write_config(request: ir.Request, target: Target, lost: list[str]) -> Fields:
    config: Fields = {wire: value for wire, (name, _) in SAMPLING.items() if (value := getattr(request, name)) is not None}
    if not -MAX_INT32 <= config.get("seed", 0) <= MAX_INT32:
        name_lost(lost, "seed")
        del config["seed"]
    if request.stop:
        config["stopSequences"] = list(request.stop[:MAX_STOP_SEQUENCES])
        if len(request.stop) > MAX_STOP_SEQUENCES:
            name_lost(lost, f"stop[{MAX_STOP_SEQUENCES}:]")
    if request.reasoning is not None:
        thinking = write_thinking_config(request.reasoning, target, lost)
        if thinking:
            config["thinkingConfig"] = thinking
    config.update(write_format(request, target, lost))
    return config


TIERS = frozenset({"flex", "priority"})  # ai.google.dev/gemini-api/docs/optimization


def write_rest(body: Fields, request: ir.Request, target: Target, lost: list[str]) -> None:
    """Metadata, and what has no place in any Gemini body."""
    if request.metadata and target.labels:
        body["labels"] = dict(request.metadata)
    for name in ("user", "cache_key", *(() if target.labels else ("metadata",))):
        if getattr(request, name):
            name_lost(lost, name)
    tier = request.service_tier
    if tier in TIERS:
        body["serviceTier"] = tier
    else:
        lose_tier(tier, lost)


def put(body: Fields, path: str, value: Any) -> None:
    """put(body, "generationConfig.speechConfig", {...})"""
    *way, last = path.split(".")
    for name in way:
        body = body.setdefault(name, {})
    body[last] = value


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: list[str]) -> Fields:
    """The body for the upstream; the model is in the path. What cannot be expressed is named in `lost`."""
    target = target_of(model, quirks)
    system = write_system(request, target, lost)
    contents = write_contents(request, target, lost)
    if not contents:  # Gemini wants something to answer to
        contents, system = [{"role": "user", "parts": system or [{"text": " "}]}], []
    if contents[0]["role"] == "model":  # a call must follow a user's turn
        contents.insert(0, {"role": "user", "parts": [{"text": "(The conversation goes on.)"}]})
    body: Fields = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    write_tools(body, request, target, lost)
    config = write_config(request, target, lost)
    if config:
        body["generationConfig"] = config
    write_rest(body, request, target, lost)
    for path, value in request.extras.get(VENDOR, {}).items():
        put(body, path, value)
    lose_extras(request.extras, VENDOR, lost)
    return body
