"""How many tokens a request may have, when nobody who could count them is asked. Pure, and a bit high.

    input_tokens({"messages": [{"role": "user", "content": "Hello, world!"}]}) -> 12

Clients use the figure to decide when to shorten a conversation: too high costs a little, too low breaks it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .registry import TURNS

ASCII_CHARS_PER_TOKEN = 3.2  # prose has about 4.2 and code 3.3 with the vendors' tokenizers; newer ones have fewer
OTHER_CHARS_PER_TOKEN = 0.9  # Chinese and emoji: one token or more for each character
PICTURE_TOKENS = 1_600       # what the largest accepted picture costs at Anthropic; others cost less
PAGE_BYTES = 40_000          # base64 characters of a document that stand for one picture's worth of tokens
TOKENS_PER_MESSAGE = 5       # role and separators
TEXT_TOKENS_PER_KEY = 1.0    # names of fields in schemas and tool arguments
BASE64_KEYS = frozenset({"data", "file_data"})
BASE64_ENOUGH = 256          # a shorter "data" is text
SKIPPED = frozenset({"model", "stream", "metadata", "signature", "thoughtSignature", "encrypted_content"})


def input_tokens(body: Mapping[str, Any]) -> int:
    """An estimate for a body of any protocol."""
    turns = next((turns for name in TURNS if (turns := body.get(name))), ())
    base = TOKENS_PER_MESSAGE * (len(turns) if isinstance(turns, list) else 1)
    return max(1, math.ceil(base + weight(dict(body))))


def weight(value: object) -> float:
    """Tokens of a JSON value: its texts, its pictures, its field names."""
    total, waiting = 0.0, [value]
    while waiting:  # a loop, not recursion: callers choose the depth
        item = waiting.pop()
        if isinstance(item, str):
            total += text_tokens(item)
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            for name, inner in item.items():
                if name in SKIPPED:
                    continue
                total += TEXT_TOKENS_PER_KEY
                if isinstance(inner, str) and is_base64(name, inner):
                    total += PICTURE_TOKENS * max(1, len(inner) // PAGE_BYTES if is_document(item) else 1)
                elif name == "images" and isinstance(inner, list):  # Ollama's: bare base64
                    total += PICTURE_TOKENS * len(inner)
                else:
                    waiting.append(inner)
        elif item is not None:
            total += 1
    return total


def text_tokens(text: str) -> float:
    other = len(text) if not text.isascii() else 0
    if other:
        other = sum(char > "\x7f" for char in text)
    return (len(text) - other) / ASCII_CHARS_PER_TOKEN + other / OTHER_CHARS_PER_TOKEN


def is_base64(name: str, text: str) -> bool:
    return text.startswith("data:") or (name in BASE64_KEYS and len(text) >= BASE64_ENOUGH and " " not in text[:256])


def is_document(item: dict[str, Any]) -> bool:
    kind = item.get("media_type") or item.get("mimeType") or item.get("mime_type") or ""
    return isinstance(kind, str) and kind.startswith(("application/", "text/"))
