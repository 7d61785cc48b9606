"""The objects of a Responses request and answer, and their known fields.

Read on 2026-11 from the types of the package openai (3.52, `openai.types.responses`), and from what Codex sends.

Items that are not here (searches, shells, computers) stay whole: `ir.Opaque`. Chat completions' tools, formats and pictures,
which have an inner object, are taken as well, as some clients send them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..shapes import Shape, shape, within

# ------------------------------------------------------------------------------------------------------------------- items

# Ids, states and what Codex notes for itself say nothing to a model.
NOTED = ("type", "id", "status", "internal_chat_message_metadata_passthrough")

MARK = shape("type", "mode", "ttl")  # prompt_cache_breakpoint
TEXT_PART = shape("type", "text", "annotations", "logprobs", prompt_cache_breakpoint=MARK)
IMAGE_PART = shape("type", "detail", "file_id", image_url=shape("url", "detail"), prompt_cache_breakpoint=MARK)
PARTS: Mapping[str, Shape] = {
    "input_text": TEXT_PART, "output_text": TEXT_PART, "text": TEXT_PART, "summary_text": TEXT_PART,
    "input_image": IMAGE_PART, "image_url": IMAGE_PART, "refusal": shape("type", "refusal"),
    "input_file": shape("type", "filename", "file_id", "file_url", "file_data", prompt_cache_breakpoint=MARK),
    "input_audio": shape("type", input_audio=shape("data", "format"), prompt_cache_breakpoint=MARK),
}  # fmt: skip

MESSAGE = shape(*NOTED, "role", "content")
THOUGHT = shape("type", "text")
REASONING = shape(*NOTED, "encrypted_content", summary=THOUGHT, content=THOUGHT)
CALL = shape(*NOTED, "call_id", "name", "namespace", "arguments", "input")
RESULT = shape(*NOTED, "call_id", "output", "name", "namespace")
COMPACTION = shape(*NOTED, "encrypted_content")
TOOLS_ITEM = shape(*NOTED, "role", "tools")  # additional_tools

# ------------------------------------------------------------------------------------------------------------------- tools

TOOL = shape("type", "name", "description", "parameters", "strict", "format", "cache_control")
OUTER_TOOL = shape("type", "function", "custom")  # of a tool in chat completions' shape
NAMESPACE = shape("type", "name", "description", "tools")
# The search of the web, where another vendor's takes its place: other fields of user_location go with it.
# external_web_access is true for all others, too; false is named.
SEARCH = shape("type", "user_location", "external_web_access", filters=shape("allowed_domains", "blocked_domains"))
NAMED = shape(
    "type", "name", "namespace", function=shape("name", "namespace"), custom=shape("name", "namespace")
)  # a tool, where it is only named

# ------------------------------------------------------------------------------------------------------------ items, answered

# Of an answer; others are named by their type. What is quoted and logged of a text is read with it.
OUTPUTS: Mapping[str, Shape] = {
    "message": shape(*NOTED, "role", content=shape("type", "text", "refusal", "annotations", "logprobs")),
    "reasoning": REASONING, "function_call": CALL, "custom_tool_call": CALL,
    "image_generation_call": shape(
        *NOTED, "result", "output_format", "revised_prompt", "background", "quality", "size", "action"
    ),
}  # fmt: skip

# -------------------------------------------------------------------------------------------------------- events of a stream

# Around what is said; an item, its last event, and the response come whole and are looked into by themselves.
FRAME = shape(
    "type", "sequence_number", "response", "item", "item_id", "output_index", "content_index", "summary_index", "delta", "text",
    "refusal", "arguments", "input", "name", "logprobs", "obfuscation", "annotation", "annotation_index",
    "code", "command", "command_index", "output", "partial_image_b64", "partial_image_index", "background", "output_format",
    "quality", "size", part=shape("type", "text", "refusal", "annotations", "logprobs"),
)  # fmt: skip
# Events whose content comes once more, with the item or with the end of its piece; without the last word of their type.
REPEATED = frozenset(f"response.{name}" for name in (
    "content_part", "reasoning_part", "reasoning_summary_part", "output_text.annotation", "refusal", "web_search_call",
    "file_search_call", "code_interpreter_call", "code_interpreter_call_code", "image_generation_call", "mcp_call",
    "mcp_call_arguments", "mcp_list_tools", "shell_call_command", "shell_call_output_content", "compaction",
))  # fmt: skip
SIGNS_OF_LIFE = frozenset({"ping", "keepalive", "message"})  # the last names events without a type

# ----------------------------------------------------------------------------------------------------------------- request

SCHEMA_FORMAT = ("name", "description", "schema", "strict")
FORMAT = shape("type", *SCHEMA_FORMAT, json_schema=shape(*SCHEMA_FORMAT))
REQUEST = shape(
    "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "top_logprobs", "tools",
    "parallel_tool_calls", "reasoning", "user", "safety_identifier", "metadata", "service_tier", "prompt_cache_key", "include",
    "store", "background", "truncation",
    # Taken by some servers beside OpenAI's own.
    "frequency_penalty", "presence_penalty", "top_k", "seed", "stop",
    # Of these the neutral place is chat completions' own field of the same name.
    "prompt_cache_retention", "moderation",
    stream_options=shape("include_usage", "include_obfuscation"), text=within(format=FORMAT),
    tool_choice=shape(*NAMED.fields, "mode", function=shape("name", "namespace"), custom=shape("name", "namespace"),
                      tools=NAMED, allowed_tools=shape("mode", tools=NAMED)),
)  # fmt: skip
SHARED = frozenset({"prompt_cache_retention", "moderation"})

# ------------------------------------------------------------------------------------------------------------------ answer

# Read, or what it only repeats of the request.
ANSWER = shape(
    "id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "model", "output", "usage",
    "service_tier", "instructions", "metadata", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p",
    "background", "conversation", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_retention", "prompt_cache_options", "reasoning", "safety_identifier", "text", "top_logprobs", "truncation",
    "user", "store", "billing", "frequency_penalty", "presence_penalty", "output_text", "moderation", "access_programs",
)  # fmt: skip
USAGE = shape(
    "input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens", "cost", "is_byok"
)
COUNTED: Mapping[str, frozenset[str]] = {  # of its details
    "input_tokens_details": frozenset({"cached_tokens", "cache_write_tokens", "text_tokens"}),
    "output_tokens_details": frozenset({"reasoning_tokens", "text_tokens"}),
}
