"""What OpenAI's Responses API refuses, as a function: for mock servers and for what our writer sends.

    refusal_of({"model": "m", "input": "hi"})                       -> None
    refusal_of({"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": ""}]})
        -> (400, "No tool call found for function call output with call_id c.")

Rules and words are those that the API was seen or is documented to have; `known` are ids of items and responses that it keeps.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

FIELDS = frozenset({
    "background", "client_metadata", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls", "previous_response_id",
    "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
})  # fmt: skip
PARTS = {
    "user": {"input_text", "input_image", "input_file", "input_audio"}, "assistant": {"output_text", "refusal"},
    "system": {"input_text"}, "developer": {"input_text"},
}  # fmt: skip
THINKERS = re.compile(r"^(gpt-[5-9](?!.*chat)|o[1-9])")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_CALL_ID, MIN_OUTPUT_TOKENS = 64, 16
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}

Refusal = tuple[int, str]


def refusal_of(body: Mapping[str, Any], known: Collection[str] = ()) -> Refusal | None:
    """(status, message), or None for a request that is taken."""
    checks = (settings_wrong(body), tools_wrong(body))
    found = next((each for each in checks if each), None)
    if found or isinstance(body.get("input"), str):
        return found
    items = body.get("input")
    if not isinstance(items, list) or (not items and not body.get("previous_response_id")):
        return 400, "Missing required parameter: 'input'."
    previous = body.get("previous_response_id")
    if previous and previous not in known:
        return 400, f"Previous response with id '{previous}' not found."
    for at, item in enumerate(items):
        wrong = item_wrong(item, at, body, known)
        if wrong:
            return wrong
    return None if previous else order_wrong(items)


def settings_wrong(body: Mapping[str, Any]) -> Refusal | None:
    for name in body:
        if name not in FIELDS:
            return 400, f"Unknown parameter: '{name}'."
    least = body.get("max_output_tokens")
    if least is not None and least < MIN_OUTPUT_TOKENS:
        return 400, f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {least}."
    thinks = bool(THINKERS.match(str(body.get("model"))))
    quiet = (body.get("reasoning") or {}).get("effort") == "none"
    for name in ("temperature", "top_p", "top_logprobs"):
        if thinks and not quiet and body.get(name) is not None:
            return 400, f"Unsupported parameter: '{name}' is not supported with this model."
    if not thinks and body.get("reasoning"):
        return 400, "Unsupported parameter: 'reasoning.effort' is not supported with this model."
    if not thinks and "reasoning.encrypted_content" in (body.get("include") or ()):
        return 400, "Encrypted content is not supported with this model."
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_object" and "json" not in str(body.get("input")).lower():
        return 400, "Response input messages must contain the word 'json' to use 'text.format' of type 'json_object'."
    if form.get("type") == "json_schema" and not NAME.fullmatch(str(form.get("name"))):
        return 400, "Invalid 'text.format.name': string does not match pattern."
    return None


def tools_wrong(body: Mapping[str, Any]) -> Refusal | None:
    tools = body.get("tools") or []
    names = set()
    for at, tool in enumerate(tools):
        if tool.get("type") not in ("function", "custom"):
            continue
        if not NAME.fullmatch(str(tool.get("name"))):
            return 400, f"Invalid 'tools[{at}].name': string does not match pattern."
        if tool["type"] == "function" and (tool.get("parameters") or {}).get("type") != "object":
            return 400, f"Invalid schema for function '{tool['name']}': schema must be a JSON Schema of 'type: \"object\"'."
        names.add(tool["name"])
    choice = body.get("tool_choice")
    if choice is not None and not tools and choice != "none" and choice != "auto":
        return 400, "Tool choices must be provided alongside tools."
    wanted = [choice, *choice.get("tools", ())] if isinstance(choice, dict) else []
    for each in wanted:
        if each.get("type") in ("function", "custom") and each.get("name") not in names:
            return 400, f"Tool choice '{each.get('name')}' not found in 'tools' parameter."
    return None


def item_wrong(item: Any, at: int, body: Mapping[str, Any], known: Collection[str]) -> Refusal | None:
    kind = item.get("type", "message")
    if kind == "item_reference" and item.get("id") not in known:
        return 404, f"Item with id '{item.get('id')}' not found."
    if kind == "reasoning" and not item.get("encrypted_content") and item.get("id") not in known:
        return 404, f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false."
    if kind == "reasoning" and not isinstance(item.get("summary"), list):
        return 400, f"Missing required parameter: 'input[{at}].summary'."
    call_id = item.get("call_id")
    if kind in CALLS or kind in CALLS.values():
        if not call_id:
            return 400, f"Missing required parameter: 'input[{at}].call_id'."
        if len(call_id) > MAX_CALL_ID:
            return 400, f"Invalid 'input[{at}].call_id': string too long. Expected a string with maximum length 64."
    if kind == "function_call" and not isinstance(item.get("arguments"), str):
        return 400, f"Missing required parameter: 'input[{at}].arguments'."
    return message_wrong(item, at) if kind == "message" else None


def message_wrong(item: Mapping[str, Any], at: int) -> Refusal | None:
    role, content = item.get("role"), item.get("content")
    if role not in PARTS:
        return 400, f"Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
    if isinstance(content, str):
        return None
    for place, part in enumerate(content if isinstance(content, list) else [{}]):
        if part.get("type") not in PARTS[role]:
            where = f"input[{at}].content[{place}]"
            return 400, f"Invalid value: '{part.get('type')}' in {where}. Supported values are: {sorted(PARTS[role])}."
    return None


def order_wrong(items: list[Any]) -> Refusal | None:
    """Every call before its output, every output behind its call, something behind every thought; ids once."""
    seen: set[str] = set()
    open_calls: dict[str, str] = {}
    for at, item in enumerate(items):
        kind, call_id = item.get("type", "message"), item.get("call_id")
        if item.get("id") in seen:
            return 400, f"Duplicate item found with id {item['id']}. Remove duplicate items from your input and try again."
        seen |= {item["id"]} if item.get("id") else set()
        if kind in CALLS:
            open_calls[call_id] = CALLS[kind]
        elif kind in CALLS.values() and open_calls.pop(call_id, None) != kind:
            return 400, f"No tool call found for {kind.replace('_', ' ')} with call_id {call_id}."
        if kind == "reasoning" and (at + 1 == len(items) or items[at + 1].get("role") in ("user", "system", "developer")):
            return 400, f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."
    for call_id in open_calls:
        return 400, f"No tool output found for function call {call_id}."
    return None
