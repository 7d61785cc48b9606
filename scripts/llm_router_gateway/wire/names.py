"""Names of functions and ids of calls: they cross from one vendor's rules to another's and must come back as they went.

safe_name("9lives")              -> "_9lives_3f1c2a7b"     sent up; own_name(it, request.tools) -> "9lives" coming back
safe_id("call:1")                -> "call_1_0b9f3c1e"      the same on every turn, so that pairs and caches hold
pack_id(ToolCall("x", "f", vendor="gemini", signature="c2ln"))  -> "x__gemini_c2ln"
unpack_id("x__gemini_c2ln")    -> ("x", "gemini", "c2ln")
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable

from . import ir
from .registry import SPECS

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what all three take as a function's name
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # Anthropic's characters, the shortest of the limits
HASH_CHARS = 8
MINTED = "call_m_"  # begins every id that no vendor issued: it need not, and for Gemini must not, go back
PACKERS = frozenset(name for name, spec in SPECS.items() if spec.packs_ids)
PACKED = re.compile(rf"(.*?)__({'|'.join(sorted(PACKERS))})(?:_([A-Za-z0-9_-]+))?", re.DOTALL)


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]


def safe_name(name: str) -> str:
    """A function's name that every vendor takes; itself where it is one already."""
    if NAME.fullmatch(name):
        return name
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)[: 62 - HASH_CHARS]
    return f"{'' if clean[:1].isalpha() else '_'}{clean}_{short_hash(name)}"


def own_names(tools: Iterable[ir.Tool]) -> dict[str, str]:
    """For every tool whose name had to change: the name as sent -> the caller's. own_names(...).get(name, name)."""
    return {safe: tool.name for tool in tools if (safe := safe_name(tool.name)) != tool.name}


def safe_id(text: str) -> str:
    """A call's id that every vendor takes: cleaned, with a hash of what it was; itself where it is one already."""
    if ID.fullmatch(text):
        return text
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', text)[: 63 - HASH_CHARS]}_{short_hash(text)}"


def mint_id(*facts: object) -> str:
    """An id for a call that came without one. `facts` make it unique: the answer's id, the call's place and text.

    mint_id("resp-1", 0, "f", "{}") -> "call_m_" and 20 characters; the same for the same facts
    """
    stated = "\0".join(map(str, facts)).encode("utf-8", "surrogatepass")
    return MINTED + hashlib.sha256(stated).hexdigest()[:20]


def _url_base64(signature: str) -> str:
    return signature.replace("+", "-").replace("/", "_").rstrip("=")


def pack_id(call: ir.ToolCall) -> str:
    """The id for a caller of another protocol: it brings the issuer and its signature back without knowing of them."""
    if call.vendor not in PACKERS:
        return call.id
    return f"{call.id}__{call.vendor}" + (f"_{_url_base64(call.signature)}" if call.signature else "")


def unpack_id(text: str) -> tuple[str, str, str]:
    """(id, vendor, signature) of an id that pack_id made; (text, "", "") of any other."""
    match = PACKED.fullmatch(text) if "__" in text else None
    if match is None or not match[1]:
        return text, "", ""
    signature = (match[3] or "").replace("-", "+").replace("_", "/")
    signature += "=" * (-len(signature) % 4)
    try:
        base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return text, "", ""
    return match[1], match[2], signature
