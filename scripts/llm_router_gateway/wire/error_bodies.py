"""Errors as OpenAI words them, in every one of its APIs: read from an upstream, written for a caller.

read_error(429, {"retry-after": "7"}, b'{"error": {"message": "slow down"}}') -> RateLimited("slow down"), retry_after_s 7.0
error_body(BadRequest("bad", details={"path": "tools[0]"}))
    -> {"error": {"message": "bad", "type": "invalid_request_error", "param": "tools[0]", "code": "bad_request"}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ..errors import CONTEXT, GatewayError, of_status
from .complaints import is_too_long
from .fields import compact
from .retry_after import retry_after_s

MAX_MESSAGE_CHARS = 2_000  # of an upstream's error text
TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_quota", 403: "permission_error",
    404: "invalid_request_error", 408: "timeout_error", 413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
CODES = {"unauthorized": "invalid_api_key", "no_credit": "insufficient_quota", "rate_limited": "rate_limit_exceeded"}
OVERLOADED = 529  # Anthropic's own; OpenAI's clients know 503
STATUSES = {
    "invalid_request_error": 400, "authentication_error": 401, "permission_error": 403, "rate_limit_error": 429,
    "insufficient_quota": 429, "server_error": 500, "overloaded_error": 503,
}  # fmt: skip
CODE_STATUSES = {
    "rate_limit_exceeded": 429, "insufficient_quota": 429, "server_error": 500, "server_is_overloaded": 503,
    "invalid_prompt": 400, "context_length_exceeded": 400, "model_not_found": 404,
}  # fmt: skip
KEPT_CODES = ("model_not_found", "previous_response_not_found", "invalid_encrypted_content")
WHOLE = ("choices", "output")  # fields of an answer; beside a non-empty one, other words are not an error
STATED = ("message", "Message", "msg", "detail", "errors")
# MiniMax's own codes, platform.minimax.io/docs/api-reference/errorcode -> the status that others use.
BASE_STATUSES = {
    1001: 504, 1002: 429, 1004: 401, 1008: 402, 1039: 429, 1041: 429, 2013: 400, 2045: 429, 2049: 401, 2056: 429,
}  # fmt: skip


def error_in(value: Any) -> Mapping[str, Any]:
    """The error in what an upstream said, whatever shape it has; {} if there is none.

    {"error": {"message": "m"}}, {"type": "error", "message": "m", "code": "c"}, {"response": {"error": {...}}},
    {"error": "m"}, {"detail": "m"}, {"msg": "m"} (GLM's), {"Message": "m"} (Amazon's), {"object": "error", "message": "m"}
    (vLLM's), {"base_resp": {"status_code": 1008, "status_msg": "m"}} (MiniMax's); and beside an answer, or instead of one,
    {"x_groq": {"error": "m"}} (Groq's) and {"choices": [{"error": {"message": "m"}}]} (OpenRouter's)
    """
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return {}
    error = own_error(value) or error_beside(value)
    if error:
        return error
    if isinstance(value.get("response"), dict):
        return error_in(value["response"])
    if any(value.get(name) for name in WHOLE) and value.get("object") != "error":
        return {}
    return stated_error(value)


def own_error(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of the field `error`: own_error({"error": "m", "code": 5}) -> {"error": "m", "code": 5, "message": "m"}"""
    error = value.get("error")
    if isinstance(error, dict):
        return error
    return {**value, "message": error} if isinstance(error, str) and error else {}


def error_beside(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """An error inside an answer: in one of its choices, or in Groq's own field."""
    choices = value.get("choices")
    for place in (value.get("x_groq"), *(choices if isinstance(choices, list) else ())):
        error = own_error(place) if isinstance(place, dict) else {}
        if error:
            return error
    return {}


def is_visible(value: Any) -> bool:
    """Whether clients of OpenAI's protocols see the error of an event: they read only `error`; other forms are converted."""
    return isinstance(value, dict) and bool(value.get("error"))


def stated_error(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error of a body that replaces an answer but has no field `error`; {} for code 0, a success."""
    base = value.get("base_resp")
    if isinstance(base, dict):
        code, stated = base.get("status_code"), base.get("status_msg")
        if code == 0 or not stated:
            return {}
        return {"message": str(stated), "code": code, "status": BASE_STATUSES.get(code) if isinstance(code, int) else None}
    if value.get("code") == 0:
        return {}
    found = (value[name] for name in STATED if value.get(name))
    stated = next((each for each in found if not (isinstance(each, dict) and "role" in each)), None)  # a turn is not an error
    if stated:
        return {**value, "message": stated if isinstance(stated, str) else compact(stated)}
    return value if named_status(value) else {}


def named_status(error: Mapping[str, Any]) -> int:
    """The HTTP status that an error names, in `code` or in `status`; 0 without one."""
    named = (error.get(name) for name in ("code", "status"))
    return next((each for each in named if isinstance(each, int) and 400 <= each < 600), 0)


def message_in(error: Mapping[str, Any]) -> str:
    """Its text; with OpenRouter also what the provider behind it said."""
    message = error.get("message")
    message = message if isinstance(message, str) and message.strip() else compact(error)
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f"{message}: {raw}"[:MAX_MESSAGE_CHARS] if isinstance(raw, str) and raw else message[:MAX_MESSAGE_CHARS]


def status_of(error: Mapping[str, Any]) -> int:
    """The status of an error that came inside a stream, from its own fields."""
    stated = CODE_STATUSES.get(str(error.get("code"))) or STATUSES.get(str(error.get("type")))
    return named_status(error) or stated or 502


def error_of(error: Mapping[str, Any], status: int, wait_s: float | None = None) -> GatewayError:
    """With status 0 the error's own status, or else 502."""
    message, code = message_in(error), error.get("code")
    status = status or status_of(error)
    named = None
    if code in (CONTEXT, "string_above_max_length") or (status in (400, 413) and is_too_long(message)):
        named = CONTEXT
    elif code == "insufficient_quota" or error.get("type") == "insufficient_quota":
        named = "no_credit"
    elif code in KEPT_CODES:
        named = str(code)
    details = {name: error[name] for name in ("type", "code", "param") if error.get(name) is not None}
    return of_status(status, message, code=named, retry_after_s=wait_s, details=details)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An upstream's refusal -> our error, with its status, its wait and its words."""
    try:
        error = error_in(json.loads(body))
    except (ValueError, RecursionError):
        error = {}
    if not error:
        plain = " ".join(body[: 4 * MAX_MESSAGE_CHARS].decode("utf-8", "replace").split())
        error = {"message": plain[:300] or f"the provider answered {status} and gave no reason"}
    return error_of(error, status, retry_after_s(headers))


def error_body(error: GatewayError) -> dict[str, Any]:
    """{"error": {"message", "type", "param", "code"}}"""
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    param = error.details.get("param", error.details.get("path"))
    return {"error": {"message": error.message, "type": kind, "param": param, "code": CODES.get(error.code, error.code)}}


def write_error(error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
    """(status, headers, body) for a caller."""
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
    return 503 if error.status == OVERLOADED else error.status, headers, error_body(error)
