"""What every failure of the mock server comes to, through the library; the command line's outcome follows from it."""

from __future__ import annotations

from typing import Dict, Optional, Tuple

Outcome = Tuple[str, Optional[int], bool, int]  # code ("" answered), status, whether text was kept, requests made


def same(code: str, status: Optional[int] = None, requests: int = 1) -> Tuple[Outcome, Outcome]:
    """A failure before any text: the same, streamed or not."""
    return (code, status, False, requests), (code, status, False, requests)


def mid(code: str, plain: Outcome) -> Tuple[Outcome, Outcome]:
    """A stream that fails after text: never asked again, the text kept."""
    return plain, (code, None, True, 1)


OK = ("", None, True, 1)
OUTCOMES: Dict[str, Tuple[Outcome, Outcome]] = {  # model -> plain, streamed
    "fail-401": same("key_refused", 401), "fail-402": same("no_credit", 402), "fail-403": same("key_refused", 403),
    "fail-403-credits": same("no_credit", 403), "fail-404": same("model_not_found", 404), "fail-408": same("timeout", 408, 3),
    "fail-413": same("context_too_long", 413), "fail-429": same("rate_limited", 429, 3),
    "fail-429-long": same("rate_limited", 429), "fail-429-quota": same("no_credit", 429),
    "fail-500": same("server_error", 500, 3), "fail-503": same("overloaded", 503, 3),
    "fail-503-channels": same("model_not_found", 503), "fail-529": same("overloaded", 529, 3),
    "fail-context": same("context_too_long", 400), "fail-418": same("bad_request", 418), "fail-599": same("server_error", 599),
    "fail-strict-max_tokens": (("", None, True, 2), ("", None, True, 2)),
    "fail-filter": same("content_filter"), "fail-refusal": same("content_filter"), "fail-length": (OK, OK),
    "fail-filter-mid": (("content_filter", None, True, 1), ("content_filter", None, True, 1)),
    "fail-empty": same("empty_answer"), "fail-empty-body": same("bad_upstream"), "fail-html": same("bad_upstream"),
    "fail-text": same("bad_upstream"), "fail-choices-empty": same("bad_upstream"),
    "fail-badjson": mid("bad_upstream", ("bad_upstream", None, False, 1)),
    "fail-json-for-stream": (OK, OK), "fail-nofinish": (OK, OK), "fail-nodone": (OK, OK),
    "fail-error-200": same("server_error", None, 3), "fail-error-first": same("server_error", None, 3),
    "fail-error-choice": mid("server_error", ("server_error", None, True, 3)),
    "fail-error-mid": mid("server_error", ("server_error", None, True, 3)),
    "fail-cut": mid("stream_cut", ("bad_upstream", None, False, 1)),
    "fail-cut-plain": mid("stream_cut", ("stream_cut", None, False, 1)),
    "fail-reset": mid("stream_cut", ("stream_cut", None, False, 1)),
    "fail-drop": same("network", None, 3), "fail-stall": same("timeout"), "fail-comments": same("timeout"),
    "fail-drip": same("timeout"), "fail-stall-mid": mid("timeout", ("timeout", None, False, 1)),
    "fail-comments-mid": mid("timeout", ("timeout", None, False, 1)),
    "fail-context-llamacpp": same("context_too_long", 400), "fail-context-vllm": same("context_too_long", 400),
    "fail-context-openrouter": same("context_too_long", 400), "fail-422-max_tokens": (("", None, True, 2), ("", None, True, 2)),
    "fail-image-500": (OK, OK), "fail-prefill": (OK, OK), "fail-tools-half": (OK, OK), "fail-start-twice": (OK, OK),
    "fail-finish-error": same("stream_cut", None, 3), "fail-native-MALFORMED_FUNCTION_CALL": same("stream_cut", None, 3),
    "fail-error-beside": mid("server_error", ("server_error", None, True, 3)),
    "fail-event-rate_limit_exceeded": same("rate_limited", None, 3),
    **dict.fromkeys((f"fail-400-{word}" for word in ("credits", "balance", "limit", "organization", "location")),
                    same("no_credit", 400)),
    "fail-context-vllm-output": same("context_too_long", 400),
    **{f"fail-redirect-{status}": same("bad_upstream", status) for status in (301, 302, 303, 307, 308)},
}  # fmt: skip
PATTERNS = {"fail-N": "fail-418", "fail-strict-FIELD": "fail-strict-max_tokens", "fail-redirect-N": "fail-redirect-302",
            "fail-422-FIELD": "fail-422-max_tokens", "fail-image-N": "fail-image-500", "fail-finish-FIELD": "fail-finish-error",
            "fail-native-FIELD": "fail-native-MALFORMED_FUNCTION_CALL",
            "fail-event-FIELD": "fail-event-rate_limit_exceeded"}  # fmt: skip
BAD_ANSWERS = (  # what clients have been seen to print as an answer, with exit code 0
    "error-200", "error-choice", "error-first", "error-mid", "html", "text", "empty-body", "choices-empty", "empty", "badjson",
    "cut", "cut-plain", "reset", "filter", "refusal", "stall-mid", "redirect-302",
)  # fmt: skip
