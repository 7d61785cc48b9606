"""A caller's body for an upstream of Anthropic's own, where another vendor answered earlier in the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..envelope import is_envelope
from ..losses import name_lost
from .common import Block, Lost


def is_foreign(block: Any) -> bool:
    """Whether a thought is another vendor's: its signature or data is an envelope, which Anthropic would refuse."""
    return isinstance(block, dict) and (is_envelope(block.get("signature")) or is_envelope(block.get("data")))


def remove_foreign(fields: Mapping[str, Any], lost: Lost) -> Block:
    """The same body without other vendors' thoughts; a message that held nothing else is left out."""
    given, messages = fields.get("messages"), []
    for message in given if isinstance(given, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(map(is_foreign, content)):
            name_lost(lost, "thinking")
            kept = [block for block in content if not is_foreign(block)]
            message = {**message, "content": kept} if kept else None
        messages += [message] if message is not None else []
    return {**fields, "messages": messages} if isinstance(given, list) else dict(fields)
