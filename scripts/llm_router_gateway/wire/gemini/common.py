"""Gemini's generateContent <-> the neutral request, answer and stream. JSON values in, JSON values out.

    {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}  <-> Request("m", (Message("user", (Text("hi"),)),))
    {"functionCall": {"name": "f", "args": {"a": 1}}}            <-> ToolCall("call_m_...", "f", '{"a":1}', {"a": 1})
    {"text": "Hm", "thought": true, "thoughtSignature": "c2ln"}  <-> Thinking("Hm", "c2ln", "gemini")

What Gemini is particular about, and where it is dealt with: fields come in camelCase or snake_case (`fields_of`); calls may
have no id, results then belong to them by name and order (`Calls`); all results of a turn in one content and nothing beside
them (`write_contents`); a schema of its own (`schema`); thought signatures, which must come back, also another vendor's
through a Gemini client (`pack_signature`); a stream that ends when the connection does, without a last word (`StreamReader`).

Sources: ai.google.dev/api/generate-content, ai.google.dev/gemini-api/docs/thought-signatures, google.rpc.Code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ...errors import GatewayError, of_status
from .. import ir
from ..envelope import open_envelope, pack_envelope
from ..fields import compact, integer, number, obj, truth
from ..retry_after import retry_after_s

VENDOR = "gemini"
MAX_STOP_SEQUENCES = 5  # of one request
MAX_INT32 = 2**31 - 1  # of a seed
MAX_BUDGET_FLASH = 24_576  # thinking tokens; more is answered with 400
MAX_BUDGET_PRO = 32_768
MIN_BUDGET_PRO = 128  # Pro's reasoning cannot be switched off: 400 for less; earendil-works/pi #3460, vercel/ai #8027
MIN_BUDGET_LITE = 512  # of Flash-Lite, which takes 0 as well
MAX_ARGUMENT_ITEMS = 10_000  # of an array in arguments that come piece by piece; an index above is a fault
SIGNATURE_UNKNOWN = "skip_thought_signature_validator"  # Google's own word for a call whose signature is lost

Fields = dict[str, Any]

# wire field of generationConfig -> (field of ir.Request, its reader)
SAMPLING: Mapping[str, tuple[str, Callable[[Any, str], Any]]] = {
    "temperature": ("temperature", number),
    "topP": ("top_p", number),
    "topK": ("top_k", integer),
    "maxOutputTokens": ("max_tokens", integer),
    "candidateCount": ("n", integer),
    "seed": ("seed", integer),
    "presencePenalty": ("presence_penalty", number),
    "frequencyPenalty": ("frequency_penalty", number),
    "responseLogprobs": ("logprobs", truth),
    "logprobs": ("top_logprobs", integer),
}
READ_CONFIG = frozenset({"stopSequences", "thinkingConfig", *SAMPLING})
READ_FIELDS = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "labels", "model",
                         "serviceTier"})  # fmt: skip
ROLES: Mapping[str, ir.Role] = {"user": "user", "model": "assistant", "function": "user", "system": "system"}

# finishReason -> why. With calls among the parts "end" becomes "tool_calls".
FINISH: Mapping[str, ir.Reason] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY",
         "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), "refusal",
    ),
    **dict.fromkeys(
        ("OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
         "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "NO_IMAGE", "IMAGE_OTHER"), "other",
    ),
}  # fmt: skip
FINISH_OF: Mapping[ir.Reason, str] = {
    "end": "STOP", "tool_calls": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "context": "MAX_TOKENS",
    "refusal": "SAFETY", "pause": "STOP", "other": "OTHER",
}  # fmt: skip
OMITTED_ZEROS = frozenset({"cachedContentTokenCount", "thoughtsTokenCount"})
UNTOLD: frozenset[ir.Reason] = frozenset({"end", "tool_calls", "length"})  # what a finishReason says as well

# HTTP status -> google.rpc.Code; others are UNKNOWN
STATUS_NAMES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "INVALID_ARGUMENT", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
STATUS_OF: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ABORTED": 409, "ALREADY_EXISTS": 409, "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499, "INTERNAL": 500, "UNKNOWN": 500, "DATA_LOSS": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
ANSWERED_AS: Mapping[int, int] = {529: 503}  # Anthropic's own status; Google's clients know 503

EFFORT_BUDGETS: Mapping[str, int] = {  # for models before 3; ai.google.dev/gemini-api/docs/openai#thinking
    "none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576,
}  # fmt: skip
LEVELS = ("minimal", "low", "medium", "high")  # thinkingLevel, from 3 on, where reasoning cannot be switched off;
# ai.google.dev/gemini-api/docs/thinking
MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "pdf": "application/pdf", "txt": "text/plain", "html": "text/html", "csv": "text/csv",
    "mp3": "audio/mpeg", "wav": "audio/wav", "ogg": "audio/ogg", "flac": "audio/flac", "mp4": "video/mp4",
    "mov": "video/quicktime", "webm": "video/webm",
}  # fmt: skip
USUAL_TYPES: Mapping[str, str] = {  # fileData wants one, a URL need not tell it
    "image": "image/jpeg", "document": "application/pdf", "audio": "audio/mpeg", "video": "video/mp4",
}  # fmt: skip
STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\[['\"]([^'\"]*)['\"]\]")  # of a path into arguments: .a [0] ['a']
FILE_ID = re.compile(r"https://generativelanguage\.googleapis\.com/[^/]+/files/.*")  # uploaded there, known only there


# --------------------------------------------------------------------------------------------------------------- spellings


@lru_cache(maxsize=512)
def camel(name: str) -> str:
    """camel("system_instruction") -> "systemInstruction"; camel("_responseJsonSchema") -> "responseJsonSchema"."""
    first, *rest = name.strip("_").split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def fields_of(value: Any, path: str) -> Fields:
    """An object's fields in camelCase, without those that are null."""
    return {camel(name) if "_" in name else name: each for name, each in obj(value, path).items() if each is not None}


def normalize(fields: Mapping[str, Any]) -> Fields:
    """The same of what is an object."""
    return fields_of(fields, "")


def many(value: Any, path: str) -> list[Any]:
    """A repeated field; as Google does, one object stands for a list of one."""
    return value if isinstance(value, list) else [] if value is None else [obj(value, path)]


def dicts(value: Any) -> list[Fields]:
    """The objects in a list from upstream, where what is none is passed over."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def standard_base64(data: str) -> str:
    """Base64 in the alphabet and with the padding that the others insist on: standard_base64("_-8") -> "/+8=".

    JSON of protocol buffers may come in either alphabet; Google's Python SDK sends the URL-safe one. RFC 4648 4 and 5.
    """
    plain = data.replace("-", "+").replace("_", "/").rstrip("=")
    return plain + "=" * (-len(plain) % 4)


def pack_signature(part: ir.Thinking | ir.Text | ir.ToolCall | ir.Media) -> str:
    """A thoughtSignature for a Gemini client: Gemini's own, or what another vendor wants back, in an envelope.

    Thinking("", "c2ln", "gemini") -> "c2ln";  Thinking("Hm", "s", "anthropic") -> pack_envelope("anthropic", "s")
    """
    data = part.data if isinstance(part, ir.Thinking) else ""
    if not (part.signature or data) or part.vendor in ("", VENDOR):
        return part.signature
    return pack_envelope(part.vendor, part.signature, data)


def unpack_signature(signature: str) -> tuple[str, str, str]:
    """(vendor, signature, data) of a thoughtSignature."""
    return open_envelope(signature) or ((VENDOR if signature else ""), signature, "")


# ----------------------------------------------------------------------------------------------------------------- errors

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
REQUEST_INFO = "type.googleapis.com/google.rpc.RequestInfo"
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def seconds(value: Any) -> float | None:
    """seconds("34.5s") -> 34.5; None where it is no duration."""
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else None


def error_in(value: Any, status: int, wait_s: float | None = None) -> GatewayError:
    """The error that {"code": 429, "message": ..., "status": "RESOURCE_EXHAUSTED", "details": [RetryInfo]} stands for.

    `status` and `wait_s` are HTTP's, used where the body has none.
    """
    stated = value if isinstance(value, dict) else {"message": value} if isinstance(value, str) else {}
    code, name = stated.get("code"), str(stated.get("status") or "")
    in_body = code if isinstance(code, int) and 400 <= code <= 599 else STATUS_OF.get(name)
    details = dicts(stated.get("details"))
    delays = [delay for each in details if (delay := seconds(each.get("retryDelay"))) is not None]
    if any(each.get("reason") == "API_KEY_INVALID" for each in details):
        in_body = 401  # Google says 400
    message = str(stated.get("message") or name or f"the provider answered {in_body or status} and gave no reason")
    return of_status(
        in_body or status, message, retry_after_s=delays[0] if delays else wait_s,
        details={"status": name} if name else None,
    )  # fmt: skip


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An upstream's refusal. The streaming call answers with a list of one error."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict) and "error" in first:
        return error_in(first["error"], status, retry_after_s(headers))
    return of_status(status, f"the upstream answered with status {status}", retry_after_s=retry_after_s(headers))


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], Fields]:
    """(status, headers, body) for a Gemini client."""
    status = ANSWERED_AS.get(error.status, error.status)
    details: list[Fields] = [{"@type": ERROR_INFO, "reason": error.code.upper(), "domain": "llm-router"}]
    headers = [("content-type", "application/json; charset=UTF-8")]
    if error.retry_after_s is not None:
        details.append({"@type": RETRY_INFO, "retryDelay": f"{error.retry_after_s:g}s"})
        headers.append(("retry-after", str(max(1, -int(-error.retry_after_s // 1)))))
    if request_id:
        details.append({"@type": REQUEST_INFO, "requestId": request_id})
    name = STATUS_NAMES.get(status, "UNKNOWN")
    return status, headers, {"error": {"code": status, "message": error.message, "status": name, "details": details}}


def frame(data: str) -> bytes:
    # A lone surrogate cannot be UTF-8; as \ud83d, which JSON knows, it goes through.
    return f"data: {data}\r\n\r\n".encode("utf-8", "backslashreplace")


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The last words of a stream that failed: Google's SDKs raise what it holds."""
    return frame(compact(write_error(error, request_id)[2]))
