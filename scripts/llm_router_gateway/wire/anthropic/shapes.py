"""The objects of a Messages request and answer, and their known fields.

Read on 2026-11 from the types of the package anthropic (2.11, `anthropic.types` and `.beta`), docs.claude.com/en/api/messages.
Blocks that are not here (server tools and their results) stay whole: `ir.Opaque`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..shapes import Shape, shape, within

# ---------------------------------------------------------------------------------------------------------------- messages

MESSAGE = shape("role", "content")
SOURCE = shape("type", "media_type", "data", "url", "file_id")
TEXT = shape("type", "text", "cache_control")
IMAGE = shape("type", "cache_control", source=SOURCE)
DOCUMENT = shape("type", "cache_control", "title", source=SOURCE)
THINKING = shape("type", "thinking", "signature", "data")
CALL = shape("type", "id", "name", "input", "cache_control")
RESULT = shape("type", "tool_use_id", "content", "is_error", "cache_control")
TOOL_REFERENCE = shape("type", "tool_name")  # in a result: such a tool is offered from then on
# Blocks that other vendors get as text. The parts of a page that only Anthropic can read are of no use to them.
PLAIN_BLOCK = shape("type", "text")
TOLD: Mapping[str, Shape] = {
    "tool_reference": TOOL_REFERENCE,
    "search_result": shape("type", "title", "source", content=PLAIN_BLOCK),
    "compaction": shape("type", "encrypted_content", content=PLAIN_BLOCK),
    "web_search_tool_result": shape(
        "type", "tool_use_id", "caller", content=shape("type", "title", "url", "encrypted_content", "page_age", "error_code")
    ),
}  # fmt: skip
CONTENT_DOCUMENT = shape("type", source=shape("type", content=PLAIN_BLOCK))

# ------------------------------------------------------------------------------------------------------------------- tools

TOOL = shape("type", "name", "description", "input_schema", "strict", "cache_control")
# The search of the web, where another vendor's takes its place: other fields of user_location go with it.
SEARCH = shape("type", "name", "allowed_domains", "blocked_domains", "user_location", "max_uses")
TOOL_CHANGE = shape("type", tool=shape("type", "name", "tool_name", "definition"))  # tool_addition, tool_removal

# ----------------------------------------------------------------------------------------------------------------- request

FORMAT = shape("type", "schema")
REQUEST = shape(
    "model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "stream", "tools",
    "metadata", "service_tier",
    tool_choice=shape("type", "name", "disable_parallel_tool_use"), thinking=shape("type", "budget_tokens", "display"),
    output_config=within(format=FORMAT), output_format=FORMAT,
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------------------ answer

ANSWER = shape("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage")
# Of a stream: the beginnings of blocks that grow, the events around what is said, and the last one with its delta.
STARTS: Mapping[str, Shape] = {"text": shape("type", "text", "citations"), "thinking": THINKING}
BEGINNING = shape("type", "message")
START = shape("type", "index", "content_block")
PIECE = shape("type", "index", "delta")
STOP = shape("type", "index")
END = shape("type", "amazon-bedrock-invocationMetrics")  # the latter counts what `usage` does
# How many tokens a hidden thought has by now is a sign of life and no more.
DELTAS: Mapping[str, Shape] = {
    "text_delta": shape("type", "text"), "thinking_delta": shape("type", "thinking", "estimated_tokens"),
    "signature_delta": shape("type", "signature"), "input_json_delta": shape("type", "partial_json"),
    "citations_delta": shape("type", "citation"),
}  # fmt: skip
LAST_EVENT = shape("type", "delta", "usage", "context_management")
LAST_DELTA = shape("stop_reason", "stop_sequence", "stop_details", "container")
USAGE = shape(
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
    "output_tokens_details", "service_tier",
)  # fmt: skip
COUNTED: Mapping[str, frozenset[str]] = {  # of its details
    "cache_creation": frozenset({"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"}),
    "output_tokens_details": frozenset({"thinking_tokens"}),
}
