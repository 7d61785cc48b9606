"""What one vendor signed or encrypted, on its way through a client of another vendor's protocol.

    pack_envelope("anthropic", "s")  -> base64 of llm-router1:{"v":"anthropic","s":"s","d":""}
    open_envelope(that)            -> Enclosed("anthropic", "s", "");  None for anything else

The client brings it back unopened, as it would a signature of its own vendor. There is no seal on it: whoever signed or
encrypted what is inside refuses it when it was changed. Base64, since Google's clients decode signatures.

An upstream of the client's own protocol must not see an envelope, and refuses it: `MARK` tells a body that may hold one.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import NamedTuple

from .fields import compact

MAGIC = b"llm-router1:"  # 12 bytes are 16 base64 characters
MARK = base64.b64encode(MAGIC).decode()


class Enclosed(NamedTuple):
    """What an envelope holds."""

    vendor: str
    signature: str
    data: str


def pack_envelope(vendor: str, signature: str, data: str = "") -> str:
    stated = compact({"v": vendor, "s": signature, "d": data})
    return base64.b64encode(MAGIC + stated.encode("utf-8", "surrogatepass")).decode()


def is_envelope(text: object) -> bool:
    """Whether a text looks like an envelope; clients may have turned it to the URL-safe alphabet."""
    return isinstance(text, str) and text.startswith(MARK)


def open_envelope(text: str) -> Enclosed | None:
    """None for what is none, or was damaged on the way."""
    if not is_envelope(text):
        return None
    try:
        plain = text.replace("-", "+").replace("_", "/").rstrip("=")
        stated = json.loads(base64.b64decode(plain + "=" * (-len(plain) % 4))[len(MAGIC) :])
        return Enclosed(str(stated["v"]), str(stated["s"]), str(stated["d"]))
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return None
