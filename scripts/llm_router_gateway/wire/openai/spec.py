"""OpenAI chat completions: what is its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..demands import Demands, choice_demands
from ..spec import Line, Quirk, Spec, Upstream

# GPT-5, o-series: 400 for max_tokens. The others take both or know only max_tokens.
MODERN_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9]|o[1-9]|codex|computer-use)")
UNSTEERED_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9](?!.*chat)|o[1-9])")  # 400 for temperature and its like
OWN_MODELS = re.compile(r"(?:^|/)(?:gpt-(?!oss)|chatgpt|o[1-9]|codex|computer-use)")  # of OpenAI itself, wherever they run
# Calls that are passed on as they are. `rerank` is not OpenAI's: Jina, Cohere, vLLM and llama.cpp have it under this path.
RELAYED = (
    "audio/speech", "audio/transcriptions", "audio/translations", "images/generations", "images/edits", "images/variations",
    "moderations", "rerank",
)  # fmt: skip
STEERING = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})


def output_field(model: str, quirks: Mapping[str, Any]) -> str:
    """output_field("gpt-5", {}) -> "max_completion_tokens"."""
    named = quirks.get("max_tokens_field")
    return str(named) if named else "max_completion_tokens" if MODERN_MODELS.search(model.lower()) else "max_tokens"


def rejected_parameters(model: str, body: Mapping[str, Any]) -> frozenset[str]:
    return STEERING if UNSTEERED_MODELS.search(model.lower()) else frozenset()


def usage_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """Streams state their usage only on request."""
    if body.get("stream") is not True:
        return {}
    options = body.get("stream_options")
    return {"stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}


def demands(body: Mapping[str, Any]) -> Demands | None:
    if "tool_choice" not in body and "n" not in body:  # as most
        return None
    return choice_demands(body.get("tool_choice"), body.get("n"))


def wants_base64(body: Mapping[str, Any]) -> bool:
    return body.get("encoding_format") == "base64"


def embeddings(data: bytes, body: Mapping[str, Any]) -> bytes:
    from .embeddings import in_requested_format  # not needed for anything else

    return in_requested_format(data, body.get("encoding_format"))


QUIRKS = {
    "max_tokens_field": Quirk("text", "name of the output limit, if it does not follow from the model's name"),
    "reasoning": Quirk(("effort", "openrouter", "thinking", "enable_thinking", "none"), "how thinking is requested"),
    "reasoning_field": Quirk("text", 'field in which reasoning is sent back; "" for none'),
    "late_system": Quirk(("user", "system", "developer"), "role of a system message inside the conversation"),
    "system_role": Quirk("text", "role of the system text before it"),
    "json_schema": Quirk("bool", "false: it takes no schema; the schema goes into the system text"),
    "forced_choice_with_thinking": Quirk("bool", "false: a forced tool choice is lost while the model thinks"),
    "custom_tools": Quirk("bool", "whether tools that take free text are sent as such"),
    "cache_control": Quirk("bool", "true: cache_control is sent"),
    "top_k": Quirk("bool", "true: top_k is sent"),
    "video": Quirk("bool", "true: videos are sent"),
    "id_form": Quirk(("mistral",), "mistral: ids of calls have nine letters and digits"),
    "stream_usage": Quirk("bool", "false: stream_options is not sent"),
    "max_stop": Quirk("whole", "most stop sequences; 4 if not given"),
    "sampling": Quirk("bool", "true: temperature and the like go to models known to refuse them"),
    "drop": Quirk("texts", "fields that the server refuses"),
    "think_tags": Quirk("bool", "true: `<think>` at the beginning of a text marks reasoning"),
}

SPEC = Spec(
    name="openai",
    title="OpenAI",
    prefixes=frozenset({"v1"}),
    lines=(
        Line("POST", "chat/completions", "chat"),
        Line("POST", "embeddings", "embeddings"),
        *(Line("POST", path, path.partition("/")[0]) for path in RELAYED),
        Line("POST", "files", "files"),
        Line("GET", "files", "list_files"),
        Line("GET", "files/{id}", "file"),
        Line("GET", "files/{id}/content", "file_content"),
        Line("DELETE", "files/{id}", "delete_file"),
        Line("POST", "batches", "batches"),
        Line("GET", "batches", "list_batches"),
        Line("GET", "batches/{id}", "batch"),
        Line("POST", "batches/{id}/cancel", "cancel_batch"),
    ),
    steering_headers=frozenset({"openai-beta"}),
    acting_fields=frozenset({"tools", "functions", "web_search_options", "plugins"}),
    private_headers=frozenset({"openai-organization", "openai-project"}),
    answer_headers=frozenset({"openai-organization", "openai-version", "openai-processing-ms", "openai-model"}),
    keepalive=b"\n",  # a bare blank line is the one sign of life that every SDK takes; comments break some
    too_long="This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
             "Please reduce the length of the messages.",
    too_long_mark=b'"context_length_exceeded"',
    too_long_words="This model's maximum context length is",  # litellm goes by them, not by the code
    answer_field="choices",
    answer_prefix="chatcmpl-",
    demands=demands,
    end_user=("user", "safety_identifier"),
    embeddings=embeddings,
    reshapes=wants_base64,
    embeds=True,
    upstream=Upstream(
        root="/v1", quirks=QUIRKS,
        paths={
            "chat": "/chat/completions", "embeddings": "/embeddings", "completions": "/completions", "models": "/models",
            "files": "/files", "batches": "/batches", **{path: f"/{path}" for path in RELAYED},
        },
        event_tokens=2,
        parameters={
            "n": ("n",),
            "best_of": ("best_of",),
            "max_tokens": (
                "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "n_predict", "num_predict",
            ),
            "temperature": ("temperature",),
            "top_p": ("top_p",),
            "top_k": ("top_k",),
            "frequency_penalty": ("frequency_penalty",),
            "presence_penalty": ("presence_penalty",),
        },
        output_field=output_field,
        rejected_parameters=rejected_parameters,
        usage_request=usage_request,
    ),
)  # fmt: skip
