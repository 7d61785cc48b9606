"""Anthropic Messages: what is its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..demands import Demands, demands_of
from ..spec import Line, Quirk, Spec, Upstream, Version


def rejected_parameters(model: str, body: Mapping[str, Any]) -> frozenset[str]:
    """Thinking goes with no sampling at all, and newer models take one of temperature and top_p."""
    names: set[str] = set()
    thinking = body.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive"):
        names |= {"temperature", "top_p", "top_k"}
    if body.get("temperature") is not None:
        names.add("top_p")
    return frozenset(names)


COUNTED = frozenset({"model", "messages", "system", "tools", "tool_choice", "thinking"})  # of a chat body; others are refused


def count_request(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in COUNTED}


def demands(body: Mapping[str, Any]) -> Demands | None:
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else ""
    return demands_of(kind in ("any", "tool"), [choice.get("name")] if isinstance(choice, dict) and kind == "tool" else ())


def limit_headers(what: str, limit: int, remaining: int, reset_s: float, now: float) -> list[tuple[str, str]]:
    """Its resets are times: "2026-10-21T07:28:00Z"."""
    at = datetime.fromtimestamp(math.ceil(now + reset_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    start = f"anthropic-ratelimit-{what}"
    return [(f"{start}-limit", str(limit)), (f"{start}-remaining", str(remaining)), (f"{start}-reset", at)]


QUIRKS = {
    "max_tokens": Quirk("whole", "sent when the caller gave none"),
    "sampling": Quirk(("both", "one", "none"), "whether temperature and top_p are sent"),
    "thinking": Quirk(("none", "budget", "both", "adaptive", "always"), "the form of thinking that it accepts"),
    "effort": Quirk("texts", "accepted values of output_config.effort; [] for none"),
    "schema": Quirk(("native", "tool", "prompt"), "how a schema for the answer is sent"),
    "strict": Quirk("bool", "whether tools may be strict"),
    "web_search": Quirk("bool", "true: another vendor's web search becomes Anthropic's"),
    "system_messages": Quirk("bool", "true: it accepts system messages inside the conversation"),
    "unsigned_thinking": Quirk("bool", "true: it accepts thinking without a signature"),
    "prefill": Quirk("bool", "false: a conversation may not end with the assistant"),
    "repair": Quirk("bool", "false: calls without results, and results without calls, are sent as they are"),
}

SPEC = Spec(
    name="anthropic",
    title="Anthropic",
    lines=(
        Line("POST", "messages", "chat"),
        Line("POST", "messages/count_tokens", "count"),
        Line("POST", "api/event_logging/batch", "ignored"),  # Claude Code's telemetry
    ),
    marks=frozenset({"anthropic-version"}),
    steering_headers=frozenset({"anthropic-version", "anthropic-beta"}),
    acting_fields=frozenset({"tools", "mcp_servers", "container"}),
    event_models=(("message", "model"),),
    key_headers=("x-api-key",),
    answer_headers=frozenset({"anthropic-organization-id", "anthropic-ratelimit-"}),
    keepalive=b'event: ping\ndata: {"type":"ping"}\n\n',  # what the API itself sends; its SDKs skip it
    too_long="prompt is too long: {tokens} tokens > {window} maximum",
    too_long_mark=b"prompt is too long",
    encloses=True,
    answer_field="content",
    answer_prefix="msg_",
    limit_headers=limit_headers,
    demands=demands,
    end_user=("metadata.user_id",),
    counts_first=True,
    upstream=Upstream(
        quirks=QUIRKS,
        paths={"chat": "/v1/messages", "count": "/v1/messages/count_tokens", "models": "/v1/models"},
        auth_header="x-api-key",
        auth_scheme="",
        version=Version("anthropic-version", "anthropic_version", "2023-06-01"),
        event_tokens=8,
        searches=True,
        parameters={
            "max_tokens": ("max_tokens", "max_tokens_to_sample"),
            "temperature": ("temperature",),
            "top_p": ("top_p",),
            "top_k": ("top_k",),
        },
        rejected_parameters=rejected_parameters,
        count_request=count_request,
        counted="input_tokens",
    ),
)
