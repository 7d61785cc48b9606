"""Gemini's native format: LLMRouterClient.generate_content(), and how its answers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llm_router_client import (
    Call,
    Reader,
    UsageError,
    as_dict,
    check_model,
    dicts,
    model_names,
    text_of,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_router_client import JSON, LLMRouterClient, Names, Turns

# ai.google.dev, FinishReason; others are passed on in lower case
FILTERED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY")
FINISH = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(FILTERED, "content_filter")}


def first_candidate(chunk: JSON) -> JSON:
    return next(iter(dicts(chunk.get("candidates"))), {})


def openai_chunk(chunk: JSON) -> JSON:
    """A Gemini answer or chunk as the OpenAI chunk that says the same; for the reader's view only, never handed out."""
    candidate = first_candidate(chunk)
    delta: JSON = {"content": "", "reasoning_content": "", "tool_calls": []}
    for part in dicts(as_dict(candidate.get("content")).get("parts")):
        delta["reasoning_content" if part.get("thought") else "content"] += text_of([part])
        call = part.get("functionCall")
        if isinstance(call, dict):
            function = {"name": call.get("name"), "arguments": call.get("args") or {}}
            delta["tool_calls"].append({"id": call.get("id"), "function": function})
    blocked = as_dict(chunk.get("promptFeedback")).get("blockReason")
    finish = "SAFETY" if blocked else str(candidate.get("finishReason") or "")
    choice = {"delta": delta, "finish_reason": FINISH.get(finish, finish.lower())}
    choices = [choice] if candidate or blocked else []
    return {"choices": choices, "usage": chunk.get("usageMetadata"), "error": chunk.get("error")}


class GeminiReader(Reader):
    """A Reader of Gemini's answers; body() has Gemini's shape, of a stream with its first candidate alone."""

    answers = "candidates"

    def __init__(self) -> None:
        super().__init__()
        self._answer: JSON = {}
        self._parts: Turns = []

    def take(self, chunk: Any) -> Turns:
        if not isinstance(chunk, dict):
            return super().take(chunk)  # which says what is wrong with it
        self._answer.update(chunk if self.raw else without(chunk, "candidates"))
        candidate = first_candidate(chunk)
        if candidate and not self.raw:
            self._add(candidate)
        return super().take(openai_chunk(chunk))

    def _add(self, candidate: JSON) -> None:
        """Keep what body() needs of a chunk: consecutive pieces of text become one part."""
        for part in dicts(as_dict(candidate.get("content")).get("parts")):
            last = self._parts[-1] if self._parts else {}
            if isinstance(part.get("text"), str) and last and {**part, "text": ""} == {**last, "text": ""}:
                last["text"] += part["text"]
            else:
                self._parts.append(dict(part))
        kept = self._answer.setdefault("candidates", [{}])[0]
        kept.update(candidate, content={"role": "model", "parts": self._parts})

    def body(self) -> JSON:
        return self._answer


class GeminiCall(Call):
    """A Call in Gemini's format, whose path names the model."""

    reader = GeminiReader

    def path_of(self, model: str) -> str:
        return self.path.replace("{model}", quote(model, safe="-_.~"))


def generate_content(
    client: LLMRouterClient, model: str, contents: str | Sequence[JSON], *, generation_config: JSON | None = None,
    stream: bool = False, api_version: str = "v1beta", fallback: Names = None, deadline_s: float | None = None, **body: Any,
) -> Any:  # fmt: skip
    """As client.chat(): contents [{"role", "parts"}], or a text -> Answer of Gemini's JSON; stream=True -> Call.

    POST {base_url without /v1}/{api_version}/models/{model}:generateContent; api_version "v1" is the older path.
    """
    turns = [{"role": "user", "parts": [{"text": contents}]}] if isinstance(contents, str) else list(contents)
    if api_version not in ("v1beta", "v1") or not turns:
        raise UsageError("contents must not be empty, and api_version is v1beta or v1")
    request = {"contents": turns, **({"generationConfig": generation_config} if generation_config else {}), **body}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    path = f"{client.endpoint.path.removesuffix('/v1')}/{api_version}/models/{{model}}:{method}"
    call = GeminiCall(client, [check_model(model), *model_names(fallback)], request, path, deadline_s=deadline_s, stream=stream)
    return call if stream else call.answer()
