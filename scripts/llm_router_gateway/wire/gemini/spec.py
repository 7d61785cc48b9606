"""Gemini's generateContent: what is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..demands import Demands, demands_of
from ..spec import Action, Quirk, Spec, Upstream


def both_spellings(camel: str, snake: str) -> tuple[str, ...]:
    """Google's servers read both spellings of every name."""
    return tuple(f"{box}.{name}" for box in ("generationConfig", "generation_config") for name in (camel, snake))


def stream_path(chat_path: str) -> str:
    return chat_path.replace(":generateContent", ":streamGenerateContent") + "?alt=sse"


def count_request(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """With the system instruction and the tools: contents alone would count neither."""
    return {"generateContentRequest": {"model": f"models/{model}", **body}}


def demands(body: Mapping[str, Any]) -> Demands | None:
    config = inner(inner(body, "toolConfig", "tool_config"), "functionCallingConfig", "function_calling_config")
    names = config.get("allowedFunctionNames", config.get("allowed_function_names"))
    generation = inner(body, "generationConfig", "generation_config")
    count = generation.get("candidateCount", generation.get("candidate_count"))
    return demands_of(str(config.get("mode")).upper() == "ANY", names if isinstance(names, list) else (), count)


def inner(fields: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first object under one of the names; {} if there is none."""
    return next((fields[name] for name in names if isinstance(fields.get(name), dict)), {})


QUIRKS = {
    "thinking": Quirk(("budget", "level", "none"), "how its reasoning is limited"),
    "thinking_off": Quirk("bool", "whether it accepts a thinking budget of 0"),
    "signatures": Quirk("bool", "whether calls in its history must be signed"),
    "json_schema": Quirk("bool", "true: schemas are sent as they are"),
    "labels": Quirk("bool", "true: it accepts metadata as labels"),
    "format_with_tools": Quirk("bool", "whether a request for JSON may also have tools"),
}

SPEC = Spec(
    name="gemini",
    title="Gemini",
    actions={
        "generateContent": Action("chat"),
        "streamGenerateContent": Action("chat", stream=True),
        "countTokens": Action("count"),
        "embedContent": Action("embeddings"),
        "batchEmbedContents": Action("embeddings"),
    },
    prefixes=frozenset({"v1", "v1beta", "v1beta1", "v1alpha"}),
    marks=frozenset({"x-goog-api-key", "x-goog-api-client"}),
    acting_fields=frozenset({"tools", "cachedContent"}),
    key_headers=("x-goog-api-key",),
    key_query="key",
    turns="contents",
    events_query=("alt", "sse"),
    bare_errors=True,  # as the API sends them; Google's SDKs for JavaScript and Go pass over an error inside an event
    keepalive=b"\r\n",  # a blank line: Google's Python SDK takes a comment for a broken answer
    too_long="The input token count ({tokens}) exceeds the maximum number of tokens allowed ({window}).",
    too_long_mark=b"exceeds the maximum number of tokens allowed",
    encloses=True,
    answer_field="candidates",
    labels="labels",
    packs_ids=True,
    demands=demands,
    embeds=True,
    model_field="modelVersion",
    event_models=(("modelVersion",),),
    kept_fields=frozenset({"cachedContent"}),
    upstream=Upstream(
        root="/v1beta",
        quirks=QUIRKS,
        paths={
            "chat": "/models/{model}:generateContent",
            "stream": "/models/{model}:streamGenerateContent?alt=sse",
            "count": "/models/{model}:countTokens",
            "embedContent": "/models/{model}:embedContent",
            "batchEmbedContents": "/models/{model}:batchEmbedContents",
            "models": "/models",
        },
        auth_header="x-goog-api-key",
        auth_scheme="",
        stream_path=stream_path,
        count_request=count_request,
        counted="totalTokens",
        event_tokens=64,
        searches=True,
        parameters={
            "n": both_spellings("candidateCount", "candidate_count"),
            "max_tokens": both_spellings("maxOutputTokens", "max_output_tokens"),
            "temperature": both_spellings("temperature", "temperature"),
            "top_p": both_spellings("topP", "top_p"),
            "top_k": both_spellings("topK", "top_k"),
            "frequency_penalty": both_spellings("frequencyPenalty", "frequency_penalty"),
            "presence_penalty": both_spellings("presencePenalty", "presence_penalty"),
        },
    ),
)
