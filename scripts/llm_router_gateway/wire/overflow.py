"""A conversation that is too long. Vendors tell it in words of their own, and their clients know it by these words.

is_overflow(400, "prompt is too long: 9000 tokens > 8192 maximum")  -> True
worded(error, "prompt is too long")  -> "prompt is too long: This model's maximum context length is 8192 tokens."
worded(other_error, ...)             -> its message, as it is
"""

from __future__ import annotations

import re

from ..errors import GatewayError

CODE = "context_length_exceeded"  # OpenAI's, and ours
STATUSES = (400, 413)
WORDS = re.compile(
    r"maximum context length|context[_ ]length|context window|prompt is too long|input is too long|available context size"
    r"|exceeds the maximum number of tokens",  # Google's
    re.IGNORECASE,
)


def is_overflow(status: int, message: str) -> bool:
    """Whether an upstream's refusal says that the conversation is too long for the model."""
    return status in STATUSES and WORDS.search(message) is not None


def worded(error: GatewayError, words: str, mark: str = "") -> str:
    """The message of an error; where it tells of an overflow in another vendor's words, `words` stand before it.

    `mark` is the part of them that tells the vendor's own words; "": all of them.
    """
    if error.code != CODE or (mark or words).lower() in error.message.lower():
        return error.message
    return f"{words}: {error.message}"
