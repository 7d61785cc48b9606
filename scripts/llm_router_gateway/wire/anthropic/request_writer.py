"""Anthropic Messages: ir.Request -> the request body for an upstream."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import ir
from ..efforts import OFF_LOST, ORDER, lose_effort, nearest_effort
from ..fields import compact, refuse
from ..losses import lose_extras, lose_settings, lose_unread, name_lost, with_value
from ..names import safe_id, safe_name
from ..pairing import pair_results
from ..schemas import object_at_root, with_description, with_hashes
from ..tools import FREE_TEXT, choice_among
from .abilities import Abilities, abilities
from .common import BILLING, EMPTY_TURN, GO_ON, MIN_BUDGET, NO_WORDS, SCHEMA_TOOL, VENDOR, Block, Lost, own_fields
from .schema import fit_schema

EFFORT_BUDGET: Mapping[str, int] = {  # tokens of thought, for models that take a budget and no word
    "minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768,
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------------- parts -> blocks


@dataclass(frozen=True, slots=True)
class Target:
    """The model that parts are written for, and the list of what it cannot have."""

    able: Abilities
    lost: Lost
    role: str = "user"

    def lose(self, name: str) -> None:
        name_lost(self.lost, name)

    def own(self, block: Block, control: ir.JSON | None, extras: ir.Extras) -> Block:
        """The block with its cache_control and its own extras; other vendors' are named."""
        if control is not None:
            block["cache_control"] = control
        if extras:
            block.update(own_fields(extras))
            lose_extras(extras, VENDOR, self.lost)
        return block


def write_text(part: ir.Text, to: Target) -> Block | None:
    """None for blank text: the API refuses it."""
    if part.signature:
        to.lose("signature")
    if not part.text.strip():
        lose_extras(part.extras, VENDOR, to.lost)
        return None
    return to.own({"type": "text", "text": part.text}, part.cache_control, part.extras)


def write_thinking(part: ir.Thinking, to: Target) -> Block | None:
    """Only what Anthropic signed; with unsigned_thinking, all that can be read."""
    lose_unread(part.extras, to.lost)
    if part.vendor == VENDOR and part.data:
        return {"type": "redacted_thinking", "data": part.data}
    if part.vendor == VENDOR and part.signature:  # with or without text: newer models keep theirs to themselves
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if to.able.unsigned_thinking and part.text:
        return {"type": "thinking", "thinking": part.text, "signature": ""}
    to.lose("thinking")
    return None


def document_text(part: ir.Media) -> str:
    """A document of text in its letters: the API takes only PDF as base64."""
    if part.text is not None:
        return part.text
    try:
        return base64.b64decode(part.data).decode("utf-8", "replace")
    except ValueError:
        return refuse("document.data", "is not base64")


def media_source(part: ir.Media) -> Block | None:
    """The source of a picture or document; None for what the API cannot take."""
    if part.file_id:
        return {"type": "file", "file_id": part.file_id} if part.vendor == VENDOR else None
    if part.url:
        return {"type": "url", "url": part.url} if part.url.startswith(("https:", "http:")) else None
    if part.kind == "document" and (part.text is not None or part.media_type.startswith("text/")):
        stated = document_text(part)
        return {"type": "text", "media_type": "text/plain", "data": stated} if stated.strip() else None
    return {"type": "base64", "media_type": part.media_type, "data": part.data} if part.data else None


def write_media(part: ir.Media, to: Target) -> Block | None:
    """What cannot be sent is named in `lost`, and a note to the model says that it was there."""
    source = media_source(part) if part.kind in ("image", "document") and to.role == "user" else None
    if source is None:
        to.lose(part.kind)
        what = part.url or part.name or part.media_type
        return {"type": "text", "text": f"[{part.kind} that could not be passed on: {what}]"}
    block: Block = {"type": part.kind, "source": source}
    if part.name and part.kind == "document":
        block["title"] = part.name
    elif part.name:
        to.lose(f"{part.kind}.name")
    if part.detail not in ("", "auto"):
        to.lose("detail")
    return to.own(block, part.cache_control, part.extras)


def call_input(part: ir.ToolCall, to: Target) -> ir.JSON:
    """The arguments as the object that the API demands; what is none goes in as one field."""
    if part.arguments is not None:
        return part.arguments
    if not part.custom:
        to.lose("arguments")
    return {"input": part.arguments_text}


def write_call(part: ir.ToolCall, to: Target) -> Block | None:
    if part.signature:
        to.lose("signature")
    block = {"type": "tool_use", "id": safe_id(part.id), "name": safe_name(part.name), "input": call_input(part, to)}
    return to.own(block, part.cache_control, part.extras)


def write_refusal(part: ir.Refusal, to: Target) -> Block | None:
    lose_unread(part.extras, to.lost)
    return {"type": "text", "text": part.text} if part.text.strip() else None


def write_opaque(part: ir.Opaque, to: Target) -> Block | None:
    """Anthropic's own unchanged; of others their text."""
    if part.vendor == VENDOR:
        return dict(part.value)
    to.lose(part.kind)
    return {"type": "text", "text": f"\n{part.text}\n"} if part.text.strip() else None  # set off from its neighbours


WritePart = Callable[[Any, Target], Block | None]
WRITE_IN_RESULTS: Mapping[type, WritePart] = {ir.Text: write_text, ir.Media: write_media, ir.Opaque: write_opaque}
FOREIGN: Mapping[str, frozenset[type]] = {  # what a turn of this role cannot hold
    "user": frozenset({ir.Thinking, ir.ToolCall}), "assistant": frozenset({ir.ToolResult}),
}  # fmt: skip


def write_blocks(parts: Iterable[ir.Part], to: Target, table: Mapping[type, WritePart]) -> list[Block]:
    blocks = []
    for part in parts:
        if type(part) in FOREIGN[to.role]:
            to.lose(f"{to.role}.{type(part).__name__}")
        elif (block := table[type(part)](part, to)) is not None:
            blocks.append(block)
    return blocks


def content_of(blocks: list[Block]) -> Any:
    """One plain text is a string, as people write it."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


def write_result(part: ir.ToolResult, to: Target) -> Block | None:
    content = write_blocks(part.parts, to, WRITE_IN_RESULTS)
    block: Block = {"type": "tool_result", "tool_use_id": safe_id(part.id)}
    if content or part.is_error:  # an empty result is taken, an empty error is not
        block["content"] = content_of(content or [{"type": "text", "text": NO_WORDS}])
    if part.is_error:
        block["is_error"] = True
    return to.own(block, part.cache_control, part.extras)


WRITE_PARTS: Mapping[type, WritePart] = {
    **WRITE_IN_RESULTS, ir.Thinking: write_thinking, ir.ToolCall: write_call, ir.ToolResult: write_result,
    ir.Refusal: write_refusal,
}  # fmt: skip


# -------------------------------------------------------------------------------------------------------- messages -> turns


@dataclass(slots=True)
class Turn:
    role: str
    blocks: list[Block]

    def of_type(self, kind: str) -> list[Block]:
        return [block for block in self.blocks if block.get("type") == kind]


def reminder(blocks: list[Block]) -> list[Block]:
    """A system message in the middle of a conversation, for a model that accepts it only as the user's."""
    return [{**block, "text": f"<system-reminder>\n{block['text']}\n</system-reminder>"} if "text" in block else block
            for block in blocks]  # fmt: skip


def write_turn(message: ir.Message, able: Abilities, lost: Lost) -> Turn:
    plain = ir.plain_text(message)
    if plain is not None and message.role in ("user", "assistant"):
        return Turn(message.role, [] if not plain or plain.isspace() else [{"type": "text", "text": plain}])
    role = "assistant" if message.role == "assistant" else "user"
    blocks = write_blocks(message.parts, Target(able, lost, role), WRITE_PARTS)
    if message.name:
        name_lost(lost, "name")
    lose_extras(message.extras, VENDOR, lost)
    if message.role in ("user", "assistant"):
        return Turn(role, blocks)
    return Turn("system", blocks) if able.system_messages else Turn("user", reminder(blocks))


def merge_turns(turns: Iterable[Turn]) -> list[Turn]:
    """No two turns of one role in a row, none without blocks, results before all else."""
    out: list[Turn] = []
    for turn in turns:
        if turn.blocks and out and out[-1].role == turn.role:
            out[-1].blocks += turn.blocks
        elif turn.blocks:
            out.append(turn)
    for turn in out:
        if len(turn.blocks) > 1:
            turn.blocks.sort(key=lambda block: block.get("type") != "tool_result")  # stable
    return out


def write_turns(request: ir.Request, able: Abilities, lost: Lost) -> list[Turn]:
    """The conversation as the API takes it."""
    messages = pair_results(request.messages, lost) if able.repair else request.messages
    turns = merge_turns(write_turn(message, able, lost) for message in messages)
    if not turns and not request.messages and not request.system:
        return refuse("messages", "must hold some text, picture or document")
    if not turns:  # other vendors answer to a system text alone, and to a blank one
        name_lost(lost, "messages=empty")
        turns = [Turn("user", [{"type": "text", "text": EMPTY_TURN}])]
    last = turns[-1]
    if last.role == "assistant" and not able.prefill:
        name_lost(lost, "prefill")
        turns.append(Turn("user", [{"type": "text", "text": GO_ON}]))
    elif last.role == "assistant" and last.blocks[-1].get("type") == "text":
        last.blocks[-1] = {**last.blocks[-1], "text": last.blocks[-1]["text"].rstrip()}  # refused at the end of a beginning
    return turns


# -------------------------------------------------------------------------------------------------- request: ir -> wire

NOT_HERE = ("presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs")
JSON_HINT = "Answer with one JSON object and nothing else: no introduction, no code fence."


WEB_SEARCH = "web_search_20250305"  # the oldest that is still taken, and so the one that every model knows


def write_search(search: ir.WebSearch, to: Target) -> Block:
    """Anthropic's search of the web in place of another vendor's; of both lists of domains it takes one."""
    block: Block = {"type": WEB_SEARCH, "name": "web_search"}
    if search.allowed_domains:
        block["allowed_domains"] = list(search.allowed_domains)
        lose_settings(search, ("blocked_domains",), to.lost)
    elif search.blocked_domains:
        block["blocked_domains"] = list(search.blocked_domains)
    if search.location:
        block["user_location"] = {"type": "approximate", **search.location}
    return block | ({"max_uses": search.max_uses} if search.max_uses else {})


def write_tool(tool: ir.Tool, to: Target) -> Block | None:
    if tool.vendor:
        if tool.vendor == VENDOR and tool.value is not None:
            return dict(tool.value)
        if tool.search is not None and to.able.web_search:
            lose_unread(tool.extras, to.lost)
            return write_search(tool.search, to)
        to.lose(f"tools={tool.name}")
        return None
    schema: Any = FREE_TEXT if tool.custom else object_at_root(tool.parameters, to.lost) if tool.parameters else None
    strict = bool(tool.strict) and to.able.strict
    if strict:
        schema = fit_schema(schema, to.lost)
    elif tool.strict:
        to.lose("tools.strict")
    block: Block = {"name": safe_name(tool.name), "input_schema": {"type": "object", **(schema or {"properties": {}})}}
    if tool.description:
        block["description"] = tool.description
    if strict:
        block["strict"] = True
    return to.own(block, tool.cache_control, tool.extras)


def tools_in(turns: Iterable[Turn]) -> list[Block]:
    """The tools that a conversation used: the API wants them declared even when none may be called any more."""
    names = dict.fromkeys(block["name"] for turn in turns for block in turn.of_type("tool_use"))
    return [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in names]


def write_choice(choice: ir.ToolChoice | None, parallel: bool | None) -> Block | None:
    """(ToolChoice("required", ("f",)), False) -> {"type": "tool", "name": "f", "disable_parallel_tool_use": True}"""
    if choice is None and parallel is not False:
        return None
    mode = "auto" if choice is None else choice.mode
    out: Block = {"type": "any" if mode == "required" else mode}
    if choice is not None and mode == "required" and len(choice.names) == 1:
        out = {"type": "tool", "name": safe_name(choice.names[0])}
    if parallel is False and mode != "none":
        out["disable_parallel_tool_use"] = True
    return out


def write_tools(request: ir.Request, turns: list[Turn], able: Abilities, lost: Lost) -> Block:
    """tools and tool_choice."""
    choice = request.tool_choice
    only = frozenset(choice.names if choice is not None and (choice.mode == "auto" or len(choice.names) > 1) else ())
    wanted = [tool for tool in request.tools if not only or tool.name in only]
    sent = [(tool.name, block) for tool in wanted if (block := write_tool(tool, Target(able, lost))) is not None]
    tools = [block for _, block in sent]
    if not tools:
        used = tools_in(turns)
        if choice is not None and choice.mode == "required":
            name_lost(lost, "tool_choice")
        return {"tools": used, "tool_choice": {"type": "none"}} if used else {}
    choice = choice_among(choice, {name for name, _ in sent}, lost)
    written = write_choice(choice, request.parallel_tool_calls)
    return {"tools": tools, "tool_choice": written} if written else {"tools": tools}


def effort_word(effort: str, able: Abilities, lost: Lost) -> str:
    """The caller's word, or the nearest that the model knows; "" where it knows none."""
    if not able.effort or effort == "none" or (effort not in able.effort and effort not in ORDER):
        return ""
    return nearest_effort(effort, able.effort, lost)


def budget_of(reasoning: ir.Reasoning) -> int:
    if reasoning.budget_tokens is not None and reasoning.budget_tokens > 0:
        return max(MIN_BUDGET, reasoning.budget_tokens)
    return EFFORT_BUDGET.get(reasoning.effort, EFFORT_BUDGET["medium"])


def write_thinking_mode(reasoning: ir.Reasoning, able: Abilities, lost: Lost) -> Block | None:
    """The `thinking` field, in the form that the model takes."""
    if reasoning.mode == "off" or (not reasoning.mode and (reasoning.effort == "none" or reasoning.budget_tokens == 0)):
        if able.thinking == "always":
            name_lost(lost, OFF_LOST)
        return {"type": "disabled"} if able.thinking not in ("none", "always") else None
    if able.thinking == "none":
        name_lost(lost, "reasoning")
        return None
    exact = (reasoning.budget_tokens or 0) > 0 and reasoning.mode != "adaptive"
    if able.thinking in ("adaptive", "always") or (able.thinking == "both" and not exact):
        if exact:
            name_lost(lost, "reasoning.budget_tokens")
        out: Block = {"type": "adaptive"}
    else:
        if reasoning.mode == "adaptive":
            name_lost(lost, "reasoning.mode=adaptive")
        out = {"type": "enabled", "budget_tokens": budget_of(reasoning)}
    if reasoning.shown is not None:
        out["display"] = "summarized" if reasoning.shown else "omitted"
    return out


def write_reasoning(request: ir.Request, able: Abilities, lost: Lost) -> Block:
    """thinking and output_config.effort."""
    reasoning = request.reasoning
    if reasoning is None:
        return {}
    word = effort_word(reasoning.effort, able, lost)
    if not word and ((reasoning.budget_tokens or 0) > 0 or reasoning.effort not in ORDER):
        lose_effort(reasoning, lost)
    out: Block = {"output_config": {"effort": word}} if word else {}
    thinking = write_thinking_mode(reasoning, able, lost)
    return {**out, "thinking": thinking} if thinking is not None else out


def thoughts_missing(turns: list[Turn]) -> bool:
    """Whether a call that is being answered now lacks the thought that led to it: refused while thinking is on."""
    if len(turns) < 2 or not turns[-1].of_type("tool_result"):
        return False
    before = turns[-2]
    return bool(before.of_type("tool_use")) and before.blocks[0].get("type") not in ("thinking", "redacted_thinking")


def with_budget(body: Block, given: int | None, turns: list[Turn], lost: Lost) -> None:
    """thinking.budget_tokens below max_tokens, or no thinking."""
    budget = body["thinking"]["budget_tokens"]
    if thoughts_missing(turns) or (given is not None and given <= MIN_BUDGET):
        name_lost(lost, "reasoning")
        del body["thinking"]
    elif given is None:
        body["max_tokens"] += budget
    elif budget >= given:
        name_lost(lost, f"reasoning.budget_tokens={budget}")
        body["thinking"] = {**body["thinking"], "budget_tokens": max(MIN_BUDGET, given - MIN_BUDGET)}


def while_thinking(body: Block, lost: Lost) -> None:
    """What the API refuses beside thinking: a call that must come, and other sampling than its own."""
    choice = body.get("tool_choice")
    if choice and choice["type"] in ("any", "tool") and body["thinking"]["type"] == "enabled":
        name_lost(lost, "tool_choice=required")
        kept = {name: value for name, value in choice.items() if name not in ("type", "name")}
        body["tool_choice"] = {"type": "auto", **kept}
    for name, refused in (("temperature", lambda x: x != 1), ("top_k", lambda x: True), ("top_p", lambda x: x < 0.95)):
        if name in body and refused(body[name]):
            name_lost(lost, name)
            del body[name]


def write_sampling(request: ir.Request, able: Abilities, lost: Lost) -> Block:
    fields = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    out: Block = {name: value for name, value in fields.items() if value is not None}
    dropped = list(out) if able.sampling == "none" else []
    if able.sampling == "one" and "temperature" in out and "top_p" in out:
        dropped = ["top_p"]
    for name in dropped:
        name_lost(lost, name)
        del out[name]
    if out.get("temperature", 0) > 1:
        name_lost(lost, f"temperature={out['temperature']}")
        out["temperature"] = 1  # ours ends there, others' at 2
    stop = [each for each in request.stop if each.strip()]  # blank ones are refused
    if len(stop) < len(request.stop):
        name_lost(lost, "stop")
    return {**out, "stop_sequences": stop} if stop else out


def write_system(request: ir.Request, able: Abilities, hint: str, lost: Lost) -> Block:
    """`system` as one text where that says it all, else as blocks."""
    billing = request.extras.get(VENDOR, ir.NOTHING).get(BILLING.rstrip(":"))
    parts = request.system if not billing else (ir.Text(billing), *request.system)
    blocks = []
    for block in write_blocks(parts, Target(able, lost), WRITE_PARTS):
        if block["type"] == "text":
            blocks.append(block)
        else:
            name_lost(lost, f"system.{block['type']}")
    if hint:
        blocks.append({"type": "text", "text": hint})
    return {"system": content_of(blocks)} if blocks else {}


def schema_way(request: ir.Request, able: Abilities) -> str:
    """How the request states the answer's form: "", native, tool or prompt."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return ""
    if wanted.kind == "json" or not wanted.schema:
        return "prompt"
    if able.schema != "tool":
        return able.schema
    reasoning = request.reasoning
    thinks = able.thinking != "none" and reasoning is not None and reasoning.mode != "off" and reasoning.effort != "none"
    return "prompt" if thinks or request.tools else "tool"  # a call that must come leaves no room for others, nor for thought


def schema_hint(wanted: ir.ResponseFormat, lost: Lost) -> str:
    name_lost(lost, f"response_format={wanted.kind}")  # requested, not enforced
    return JSON_HINT if not wanted.schema else f"{JSON_HINT} It must fit this JSON schema:\n{compact(with_description(wanted))}"


def write_schema(wanted: ir.ResponseFormat, way: str, lost: Lost) -> Block:
    if way == "native":
        schema = fit_schema(with_hashes(with_description(wanted)), lost)
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    if way != "tool":
        return {}
    stated = wanted.description or "Gives the answer in the requested form."
    schema = {"type": "object", **object_at_root(wanted.schema or {}, lost)}
    tool = {"name": SCHEMA_TOOL, "description": stated, "input_schema": schema}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": SCHEMA_TOOL}}


def write_rest(request: ir.Request, lost: Lost) -> Block:
    """User and service tier; Anthropic's own fields go back, others' are named as lost."""
    out: Block = {"stream": True} if request.stream else {}
    if request.user:
        out["metadata"] = {"user_id": request.user}
    tier = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}.get(request.service_tier)
    if tier:
        out["service_tier"] = tier
    elif request.service_tier:
        name_lost(lost, with_value("service_tier", request.service_tier))
    stated = {
        "seed": request.seed is not None,  # 0 is a seed like any other
        "n": (request.n or 1) > 1, "metadata": request.metadata, "prompt_cache_key": request.cache_key,
    }  # fmt: skip
    for name, value in {**{name: getattr(request, name) for name in NOT_HERE}, **stated}.items():
        if value:
            name_lost(lost, name)
    lose_extras(request.extras, VENDOR, lost)
    return out


def merge_fields(body: Block, more: Mapping[str, Any]) -> None:
    """More fields; objects that are there already get them inside."""
    for name, value in more.items():
        old = body.get(name)
        body[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value


def write_request(request: ir.Request, *, model: str, quirks: Mapping[str, Any], lost: Lost) -> Block:
    """The body for an upstream. `lost` gets the names of what could not be carried."""
    able = abilities(model, quirks)
    turns = write_turns(request, able, lost)
    way = schema_way(request, able)
    wanted = request.response_format
    hint = schema_hint(wanted, lost) if wanted is not None and way == "prompt" else ""
    limit = request.max_tokens if request.max_tokens is not None else able.max_tokens
    body: Block = {"model": model, "max_tokens": limit, **write_system(request, able, hint, lost)}
    body["messages"] = [{"role": turn.role, "content": turn.blocks} for turn in turns]
    extras = {name: value for name, value in own_fields(request.extras).items() if name != BILLING.rstrip(":")}
    for more in (
        write_tools(request, turns, able, lost), write_sampling(request, able, lost), write_reasoning(request, able, lost),
        write_schema(wanted, way, lost) if wanted is not None else {}, write_rest(request, lost), extras,
    ):  # fmt: skip
        merge_fields(body, more)
    if body.get("thinking", {}).get("type") == "enabled":
        with_budget(body, request.max_tokens, turns, lost)
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        while_thinking(body, lost)
    return body
