"""Anthropic Messages: what a model takes, by its name; a provider's quirks have the last word.

abilities("claude-opus-4-7", {}).sampling   -> "none"
abilities("claude-fable-5", {}).thinking    -> "always"
abilities("glm-4.6", {}).thinking           -> "budget": a server that only speaks the protocol
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
NAMELESS = re.compile(r"(?:^|[/.:@])claude-[a-z]")  # and no version behind it: claude-mythos-preview
ALWAYS = re.compile(r"claude-(?:fable|mythos)")  # 400 for thinking that is disabled or has a budget
NEWEST = (99, 0)


def claude_version(model: str) -> tuple[int, int] | None:
    """claude-3-5-sonnet-20241022 -> (3, 5); claude-sonnet-4-20250514 -> (4, 0); claude-opus-5 -> (5, 0); glm-4.6 -> None"""
    match = VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model takes; the fields are the quirks of `common`'s docstring."""

    max_tokens: int = 8192
    sampling: str = "both"
    thinking: str = "budget"
    effort: tuple[str, ...] = ()
    schema: str = "tool"
    strict: bool = False
    web_search: bool = False
    system_messages: bool = False
    unsigned_thinking: bool = False
    prefill: bool = True
    repair: bool = True


# From this version on: what changed with it, as the API's own refusals show. An unknown name belongs to a server that
# only speaks the protocol: it gets what the protocol always had. A name of Claude's without a version is a new model.
SINCE: tuple[tuple[tuple[int, int], Mapping[str, Any]], ...] = (
    ((0, 0), {"max_tokens": 4096, "thinking": "none"}),
    ((3, 5), {"max_tokens": 8192, "web_search": True}),
    ((3, 7), {"max_tokens": 16384, "thinking": "budget"}),
    ((4, 1), {"sampling": "one"}),
    ((4, 5), {"schema": "native", "strict": True}),
    ((4, 6), {"thinking": "both", "effort": ("low", "medium", "high", "max"), "prefill": False}),
    ((4, 7), {"thinking": "adaptive", "effort": ("low", "medium", "high", "xhigh", "max"), "sampling": "none"}),
    (NEWEST, {"thinking": "always"}),
)


def abilities(model: str, quirks: Mapping[str, Any]) -> Abilities:
    version = claude_version(model) or (NEWEST if NAMELESS.search(model) else None)
    fields: dict[str, Any] = {}
    for since, change in SINCE:
        if version is not None and version >= since:
            fields.update(change)
    if ALWAYS.search(model):
        fields["thinking"] = "always"
    fields.update((name, value) for name, value in quirks.items() if name in Abilities.__slots__)
    fields["effort"] = tuple(fields.get("effort", ()))
    return Abilities(**fields)
