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


def quotes_foreign(block: Any) -> bool:
    """Whether a text rests on pages that another vendor's model found: Anthropic would refuse their index."""
    cited = block.get("citations") if isinstance(block, dict) else None
    return isinstance(cited, list) and any(map(is_enclosed, cited))


def is_enclosed(citation: Any) -> bool:
    return isinstance(citation, dict) and is_envelope(citation.get("encrypted_index"))


def own_citations(block: Block) -> Block:
    """The text without such pages."""
    kept = [each for each in block["citations"] if not is_enclosed(each)]
    rest = {name: value for name, value in block.items() if name != "citations"}
    return rest | ({"citations": kept} if kept else {})


def remove_foreign(fields: Mapping[str, Any], lost: Lost) -> Block:
    """The same body without other vendors' thoughts and pages; a message that held nothing else is left out."""
    given, messages = fields.get("messages"), []
    for message in given if isinstance(given, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(map(is_foreign, content)):
            name_lost(lost, "thinking")
            kept = [block for block in content if not is_foreign(block)]
            message = {**message, "content": kept} if kept else None
        if isinstance(content, list) and message is not None and any(map(quotes_foreign, content)):
            kept = [own_citations(block) if quotes_foreign(block) else block for block in message["content"]]
            message = {**message, "content": kept}
        messages += [message] if message is not None else []
    return {**fields, "messages": messages} if isinstance(given, list) else dict(fields)
