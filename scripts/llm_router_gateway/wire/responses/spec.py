"""OpenAI Responses: what is its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..demands import Demands, choice_demands
from ..spec import Line, Quirk, Spec, Upstream

UNSTEERED_MODELS = re.compile(r"(?:^|/)(?:gpt-[5-9](?!.*chat)|o[1-9])")  # 400 for temperature and top_p


def rejected_parameters(model: str, body: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({"temperature", "top_p"}) if UNSTEERED_MODELS.search(model.lower()) else frozenset()


COUNTED = frozenset({"model", "input", "instructions", "tools", "tool_choice", "reasoning", "text", "parallel_tool_calls"})


def count_request(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in COUNTED}


def demands(body: Mapping[str, Any]) -> Demands | None:
    return choice_demands(body.get("tool_choice"))


QUIRKS = {
    "store": Quirk("bool", "true: the upstream may keep the answer"),
    "encrypted": Quirk("bool", "whether encrypted reasoning is requested"),
    "unsigned_thinking": Quirk("bool", "true: unsigned reasoning is sent back as reasoning_text"),
    "summary": Quirk("text", 'value of reasoning.summary that shows reasoning; "" if the server refuses it'),
    "min_output_tokens": Quirk("whole", "smallest output limit that it accepts; 16 if not given"),
    "sampling": Quirk("bool", "true: temperature and the like go to models known to refuse them"),
    "local": Quirk("bool", "true: it accepts more of chat's fields"),
    "drop": Quirk("texts", "fields that the server refuses"),
}

SPEC = Spec(
    name="responses",
    title="OpenAI Responses",
    lines=(
        Line("POST", "responses", "chat"),
        Line("GET", "responses", "socket"),  # only websockets begin so; Codex tries one and takes POST after a 426
        Line("POST", "responses/input_tokens", "count"),
        Line("POST", "responses/compact", "compact"),
        Line("GET", "responses/{id}", "kept"),
        Line("DELETE", "responses/{id}", "forget"),
        Line("GET", "responses/{id}/input_items", "kept_input"),
        Line("POST", "responses/{id}/cancel", "cancel"),
    ),
    steering_headers=frozenset({"openai-beta"}),
    private_headers=frozenset({"openai-organization", "openai-project"}),
    answer_headers=frozenset({"openai-organization", "openai-version", "openai-processing-ms", "openai-model"}),
    turns="input",
    event_models=(("response", "model"),),
    # A comment: an event of an unknown type ends OpenAI's JavaScript helper.
    keepalive=b": keep-alive\n\n",
    too_long="This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
    "Please reduce the length of the messages.",
    too_long_mark=b'"context_length_exceeded"',
    too_long_words="This model's maximum context length is",  # litellm goes by them, not by the code
    end_user=("user", "safety_identifier"),
    answer_field="output",
    demands=demands,
    keeps_answers=True,
    kept_fields=frozenset({"previous_response_id", "conversation", "prompt"}),
    upstream=Upstream(
        root="/v1",
        quirks=QUIRKS,
        paths={"chat": "/responses", "count": "/responses/input_tokens", "compact": "/responses/compact", "models": "/models"},
        event_tokens=2,
        searches=True,
        parameters={
            "max_tokens": ("max_output_tokens", "max_completion_tokens", "max_tokens"),  # the latter two at compatible servers
            "temperature": ("temperature",),
            "top_p": ("top_p",),
        },
        rejected_parameters=rejected_parameters,
        count_request=count_request,
        counted="input_tokens",
    ),
)
