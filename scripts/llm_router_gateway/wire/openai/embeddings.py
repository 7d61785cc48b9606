"""Embeddings in the form that was asked for: some upstreams ignore `encoding_format`.

    as_asked(b'{"data":[{"embedding":[0.5]}]}', "base64") -> b'{"data":[{"embedding":"AAAAPw=="}]}'

OpenAI's SDKs ask for base64 when their user named no format, and the JavaScript one reads a list of numbers
as an empty vector without a word.
"""

from __future__ import annotations

import binascii
import json
from array import array
from sys import byteorder


def packed(numbers: list[float]) -> str:
    """Little-endian 32-bit floats in base64: packed([0.5]) -> "AAAAPw=="."""
    floats = array("f", numbers)
    if byteorder == "big":
        floats.byteswap()
    return binascii.b2a_base64(floats.tobytes(), newline=False).decode()


def as_asked(data: bytes, encoding_format: object) -> bytes:
    """The answer's bytes; unchanged unless base64 was asked for and lists of numbers came."""
    if encoding_format != "base64" or b"[" not in data:
        return data
    try:
        answer = json.loads(data)
        items = [item for item in answer["data"] if isinstance(item["embedding"], list)]
        for item in items:
            item["embedding"] = packed(item["embedding"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return data  # not the answer that we know: the caller gets it as it is
    return json.dumps(answer, separators=(",", ":")).encode() if items else data
