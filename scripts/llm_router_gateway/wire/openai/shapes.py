"""The objects of a chat completions request and answer, and their known fields.

Read on 2026-11 from the types of the package openai (3.52, `openai.types.chat`), and from what servers of the protocol add:

    cache_control, reasoning, reasoning_details, images      OpenRouter     openrouter.ai/docs/api-reference
    reasoning_content, thinking                              DeepSeek, GLM  api-docs.deepseek.com, docs.z.ai
    enable_thinking, thinking_budget                         Qwen           help.aliyun.com/zh/model-studio
    thinking_blocks                                          LiteLLM        docs.litellm.ai/docs/reasoning_content
    extra_content.google, thought_signature                  Gemini         ai.google.dev/gemini-api/docs/openai
    {"type": "thinking"}, tool_choice "any"                  Mistral        docs.mistral.ai/api
    video_url                                                vLLM           docs.vllm.ai, multimodal inputs
"""

from __future__ import annotations

from collections.abc import Mapping

from ..shapes import Shape, shape

# ---------------------------------------------------------------------------------------------------------------- messages

SIGNED = shape(google=shape("thought_signature"))  # extra_content
FUNCTION = shape("name", "arguments")
CALL = shape("id", "type", "index", "thought_signature", function=FUNCTION, custom=shape("name", "input"), extra_content=SIGNED)

TEXT_PART = shape("type", "text", "cache_control")
IMAGE_PART = shape("type", "cache_control", image_url=shape("url", "detail"))
IMAGE = shape("type", "index", "cache_control", image_url=shape("url", "detail"))  # among a message's `images`
PARTS: Mapping[str, Shape] = {
    "text": TEXT_PART, "input_text": TEXT_PART, "output_text": TEXT_PART, "image_url": IMAGE_PART,
    "refusal": shape("type", "refusal"),
    "thinking": shape("type", thinking=shape("type", "text")),
    "video_url": shape("type", "cache_control", video_url=shape("url")),
    "input_audio": shape("type", "cache_control", input_audio=shape("data", "format")),
    "file": shape("type", "cache_control", file=shape("filename", "file_data", "file_id")),
}  # fmt: skip

SYSTEM_MESSAGE = shape("role", "content")
RESULT_MESSAGE = shape("role", "content", "name", "tool_call_id", "cache_control")
MESSAGE = shape(
    "role", "content", "name", "tool_call_id", "refusal", "reasoning_content", "reasoning", "thought_signature", "index",
    tool_calls=CALL, function_call=FUNCTION, images=IMAGE, extra_content=SIGNED,
    reasoning_details=shape("type", "text", "summary", "data", "signature", "id", "format", "index"),
    thinking_blocks=shape("type", "thinking", "signature", "data"),
)  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------- request

NAMED = shape("type", "name", function=shape("name"), custom=shape("name"))  # a tool, where it is only named
REQUEST = shape(
    "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "presence_penalty",
    "frequency_penalty", "seed", "logprobs", "top_logprobs", "stop", "n", "tools", "functions", "parallel_tool_calls",
    "reasoning_effort", "enable_thinking", "thinking_budget", "user", "safety_identifier", "metadata", "service_tier",
    "prompt_cache_key", "web_search_options",
    stream_options=shape("include_usage", "include_obfuscation"),
    tool_choice=shape("type", "name", function=shape("name"), custom=shape("name"), allowed_tools=shape("mode", tools=NAMED)),
    function_call=shape("name"),
    response_format=shape("type", json_schema=shape("name", "description", "schema", "strict")),
    reasoning=shape("effort", "max_tokens", "enabled", "exclude"), thinking=shape("type", "budget_tokens"),
)  # fmt: skip
# Its location is all that another vendor's search has a place for.
SEARCH_OPTIONS = shape(user_location=shape("type", approximate=shape("city", "country", "region", "timezone")))

# ------------------------------------------------------------------------------------------------------------------ answer

# Read, or of no use outside this upstream.
ANSWER = shape(
    "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint", "obfuscation", "x_groq",
    "request_id", "time_info", "usage_breakdown", "sla_metrics", "error", "nvext",
)  # fmt: skip
CHOICE = shape(
    "index", "message", "delta", "finish_reason", "native_finish_reason", "stop_reason", "seed", "usage", "text",
    "matched_stop", "token_ids",
)  # fmt: skip
# Azure's verdicts come with each piece; those that count come with the last.
STREAMED_CHOICE = shape(*CHOICE.fields, "logprobs", "content_filter_results", "content_filter_result")
LAST_CHOICE = shape(*CHOICE.fields, "logprobs")
USAGE = shape(
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details", "cost",
    "cached_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "prompt_time", "completion_time", "queue_time",
    "total_time", "is_byok",
)  # fmt: skip
# Of its details: what is read, and the rest of what is.
COUNTED: Mapping[str, frozenset[str]] = {
    "prompt_tokens_details": frozenset({"cached_tokens", "cache_write_tokens", "cache_creation_tokens", "text_tokens"}),
    "completion_tokens_details": frozenset({"reasoning_tokens", "text_tokens"}),
}
