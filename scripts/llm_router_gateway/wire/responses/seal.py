"""Texts that a caller keeps for us and brings back unchanged: signed, bound to the caller, readable by all.

    seal = Seal(secret, "key-1")
    seal.close({"kind": "thinking", "vendor": "anthropic", "text": "Hm", "signature": "c2ln"})  -> "llmr1.eyJ...._x9..."
    seal.open("llmr1.eyJ...._x9...")  -> the value, to the letter
    seal.open("gAAAAAB...")           -> None: another's encrypted content

What another vendor signed must reach it to the letter, or it refuses the whole conversation; so a changed text is refused here,
with a reason. The text is not encrypted: it holds nothing that the caller has not been shown. `secret` must outlive a restart
and be the same on every worker; `owner` names the caller's key, so that a text taken from another caller is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from ...errors import BadRequest
from .. import ir
from ..fields import compact

MAGIC = "llmr1"  # the version: another one gets another name, and this one stays readable
MIN_SECRET_BYTES = 16
WRONG = "encrypted_content cannot be used: it was changed on the way, or belongs to another key. Leave out the item"


def encode(data: bytes) -> str:
    """URL-safe base64 without padding: survives JSON, headers and query strings."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def refusal() -> BadRequest:
    return BadRequest(WRONG, code="invalid_encrypted_content", details={"path": "input.encrypted_content"})


def is_sealed(text: Any) -> bool:
    """Whether a text looks sealed: is_sealed("llmr1.e30.AA") -> True"""
    return isinstance(text, str) and text.startswith(MAGIC + ".")


class Seal:
    """Closes and opens texts of one owner; `ir.Seal` is its type for the rest of the gateway."""

    __slots__ = ("_owner", "_secret")

    def __init__(self, secret: bytes, owner: str) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret must have at least {MIN_SECRET_BYTES} bytes")
        self._secret, self._owner = secret, owner.encode("utf-8", "surrogatepass")

    def _mac(self, payload: bytes) -> bytes:
        # The owner's length is in it, so that no owner and payload can pass for another pair.
        head = b"%s:%d:%s:" % (MAGIC.encode(), len(self._owner), self._owner)
        return hmac.new(self._secret, head + payload, hashlib.sha256).digest()

    def close(self, value: ir.JSON) -> str:
        payload = compact(value).encode("utf-8", "surrogatepass")
        return f"{MAGIC}.{encode(payload)}.{encode(self._mac(payload))}"

    def open(self, text: str) -> ir.JSON | None:
        if not is_sealed(text):
            return None
        try:
            _, payload_text, mac_text = text.split(".")
            payload, mac = decode(payload_text), decode(mac_text)
            if not hmac.compare_digest(mac, self._mac(payload)):
                raise refusal()
            value = json.loads(payload.decode("utf-8", "surrogatepass"))
        except (ValueError, binascii.Error, RecursionError):
            raise refusal() from None
        if not isinstance(value, dict):
            raise refusal()
        return value
