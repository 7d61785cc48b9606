"""What OpenAI's two chat APIs, chat completions and Responses, have in common beside their errors (`error_bodies`).

read_url("image", "data:image/png;base64,AA==", path)  -> Media("image", "image/png", "AA==")
data_url(Media("image", data="AA=="), "image/png")     -> "data:image/png;base64,AA=="
is_billing_line(Text("x-anthropic-billing-header: a")) -> True
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from . import ir
from .fields import obj, refuse, text
from .losses import explanation_in
from .shapes import all_unread

MAX_USER_CHARS = 64  # a longer `user` is refused
AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}
JSON_HINT = "Answer with one JSON object and nothing else."  # json_object is refused when no message mentions JSON
# Claude Code's first line is a hash of the request, for Anthropic alone: with it no cached prefix ever matches.
BILLING_LINE = "x-anthropic-billing-header:"
BILLING_LOSS = "system.x-anthropic-billing-header"
REFUSED = "The upstream ended the answer: "  # where it gives no reason of its own


def read_url(kind: ir.Kind, url: str, path: str, **more: Any) -> ir.Media:
    """A URL as it is, a data: URL taken apart (RFC 2397). `more` are other fields of the medium.

    "data:image/png;base64,AA==" -> Media("image", "image/png", "AA==");  "data:,a%20b" -> text/plain, base64 of "a b"
    """
    if url[:5].lower() != "data:":
        return ir.Media(kind, url=url, **more)
    head, comma, data = url[5:].partition(",")
    if not comma:
        refuse(path, "is a data: URL without data")
    media_type, *parameters = head.split(";")
    if "base64" not in [parameter.strip().lower() for parameter in parameters]:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return ir.Media(kind, media_type.strip().lower() or "text/plain", data, **more)


def result_part(part: ir.Part) -> ir.Text | ir.Media | ir.Opaque:
    """A part of a tool's result, which holds what any message may: words of other kinds are text there."""
    if isinstance(part, ir.Text | ir.Media | ir.Opaque):
        return part
    said = part.text if isinstance(part, ir.Refusal | ir.Thinking) else ""
    return ir.Text(said, extras=all_unread(part.extras))


def read_audio(part: Mapping[str, Any], path: str, cache_control: ir.JSON | None) -> ir.Media:
    """{"input_audio": {"data": "AA==", "format": "mp3"}} -> Media("audio", "audio/mpeg", "AA==")"""
    given = obj(part.get("input_audio"), f"{path}.input_audio")
    kind = text(given.get("format") or "wav", f"{path}.input_audio.format")
    data = text(given.get("data"), f"{path}.input_audio.data")
    return ir.Media("audio", AUDIO_TYPES.get(kind, f"audio/{kind}"), data, cache_control=cache_control)


def data_url(part: ir.Media, media_type: str) -> str:
    return f"data:{part.media_type or media_type};base64,{part.data}"


def document_text(data: str) -> str:
    """The text of a document's base64."""
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return refuse("document.data", "is not base64")


def is_billing_line(part: ir.Part) -> bool:
    return isinstance(part, ir.Text) and part.text.startswith(BILLING_LINE)


def refusal_text(stop: ir.Stop) -> str:
    """Stop("refusal", "SAFETY") -> "The upstream ended the answer: SAFETY"; Anthropic's own explanation where there is one."""
    return explanation_in(stop) or REFUSED + (stop.native or "refusal")


def short_user(user: str) -> str:
    """A user's id as OpenAI takes it; one that is too long (Claude Code sends a JSON object) becomes its hash."""
    if len(user) <= MAX_USER_CHARS:
        return user
    return "user_" + hashlib.sha256(user.encode()).hexdigest()[:32]
