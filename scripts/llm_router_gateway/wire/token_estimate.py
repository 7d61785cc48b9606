"""How many tokens a request may have, when no upstream counts them. Pure.

    input_tokens({"messages": [{"role": "user", "content": "Hello, world!"}]}) -> 14

Clients use the figure to decide when to shorten a conversation: too high costs a little, too low breaks it. How far off it is,
measured with the vendors' published tokenizers (gpt-tokenizer 4, cl100k_base): prose, code, JSON, German, Russian, Chinese,
Japanese, emoji and rows of numbers from 3 % below to 30 % above; hexadecimal and base64 text up to 15 % below. Newer ones
(o200k_base) have up to half as many tokens in other scripts than Latin, so that the estimate is up to twice theirs. Anthropic's
and Google's are not published. Pictures and documents are counted by their size alone and may be off by several times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .registry import TURNS

CHARS_PER_TOKEN = 3.7  # of letters and spaces
TOKENS_PER_DIGIT = 0.6  # they come in threes at best
TOKENS_PER_MARK = 0.62  # of what JSON and code are made of
TOKENS_BY_BYTES = (0.6, 1.15, 2.6)  # of a character with two, three or four bytes: Cyrillic, Chinese, emoji
DIGITS, MARKS = "0123456789", '{}[]":,\n'
SHORT = 64  # characters up to which a text is not looked at closely
SHORT_CHARS_PER_TOKEN = 3.2
PICTURE_TOKENS = 1_600  # what the largest accepted picture costs at Anthropic; others cost less
PAGE_BYTES = 40_000  # base64 characters of a document that stand for one picture's worth of tokens
TOKENS_PER_MESSAGE = 5  # role and separators
TEXT_TOKENS_PER_KEY = 1.0  # names of fields in schemas and tool arguments
BASE64_KEYS = frozenset({"data", "file_data"})
BASE64_ENOUGH = 256  # a shorter "data" is text
SKIPPED = frozenset({"model", "stream", "metadata", "signature", "thoughtSignature", "encrypted_content"})


def input_tokens(body: Mapping[str, Any]) -> int:
    """An estimate for a body of any protocol."""
    turns = next((turns for name in TURNS if (turns := body.get(name))), ())
    base = TOKENS_PER_MESSAGE * (len(turns) if isinstance(turns, list) else 1)
    read = {name: value for name, value in body.items() if isinstance(value, str | list | dict)}  # max_tokens is not read to it
    return max(1, math.ceil(base + weight(read)))


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
    """Each look at the text is one of the interpreter's own, for texts may be long."""
    others, ascii_chars = 0.0, len(text)
    if not text.isascii():
        ascii_chars = len(text.encode("ascii", "ignore"))
        others = other_tokens(text, len(text) - ascii_chars)
    if ascii_chars <= SHORT:
        return others + ascii_chars / SHORT_CHARS_PER_TOKEN
    digits, marks = sum(map(text.count, DIGITS)), sum(map(text.count, MARKS))
    letters = ascii_chars - digits - marks
    return others + letters / CHARS_PER_TOKEN + digits * TOKENS_PER_DIGIT + marks * TOKENS_PER_MARK


def other_tokens(text: str, others: int) -> float:
    """Tokens of the `others` characters of a text that are not ASCII; the number of bytes of each shows its script."""
    of_four = len(text.encode("utf-16-le", "surrogatepass")) // 2 - len(text)
    bytes_left = len(text.encode("utf-8", "surrogatepass")) - (len(text) - others) - 4 * of_four
    of_three = bytes_left - 2 * (others - of_four)
    by_two, by_three, by_four = TOKENS_BY_BYTES
    return (others - of_four - of_three) * by_two + of_three * by_three + of_four * by_four


def is_base64(name: str, text: str) -> bool:
    return text.startswith("data:") or (name in BASE64_KEYS and len(text) >= BASE64_ENOUGH and " " not in text[:256])


def is_document(item: dict[str, Any]) -> bool:
    kind = item.get("media_type") or item.get("mimeType") or item.get("mime_type") or ""
    return isinstance(kind, str) and kind.startswith(("application/", "text/"))
