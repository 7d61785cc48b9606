"""What an upstream's refusal means, in whatever dialect it comes: whose fault it is, and what the caller's clients look for.

    classify(BadRequest("Your credit balance is too low ..."), b"")         -> NoCredit: the account's, not the caller's
    classify(BadRequest("request (9000 tokens) exceeds the available context size (8192 tokens)"), data)
        -> BadRequest, code context_length_exceeded, details tokens 9000, window 8192
    classify(GatewayError("image input is not supported ..."), data)        -> BadRequest, code image_unsupported

Sources: the vendors' error pages, the sources of llama.cpp, vLLM, mlx-lm and OpenRouter's observed answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import CONTEXT, BadRequest, GatewayError, NoCredit, UnknownModel

IMAGE = "image_unsupported"
MAX_SCANNED = 4_000  # characters of a message: what says why comes first

IMAGE_WORDS = re.compile(
    r"image input is not supported"  # llama.cpp, status 500
    r"|only 'text' content type is supported"  # mlx-lm, status 404
    r"|image_url is only supported by certain models|does not support images?\b|no support for image",
    re.IGNORECASE,
)
CREDIT_WORDS = re.compile(
    r"pre-deduction failed|billing[ _](?:error|not[ _]active|hard[ _]limit)|insufficient[ _](?:quota|credit|balance|funds)"
    r"|exceeded your current quota|credit balance is too low|specified api usage limit"
    r"|organi[sz]ation (?:has been|is) disabled"
    r"|user location is not supported|unsupported_country_region_territory|country, region, or territory not supported",
    re.IGNORECASE,
)
CONTEXT_WORDS = re.compile(
    r"context[_ ]?(?:length|window|size|limit)|exceed_context|prompt is too long|maximum context|\bn_ctx\b"
    r"|maximum number of (?:input )?tokens|maximum (?:prompt|model|sequence) length|input is too long|reduce the length of"
    r"|range of input length|prompt exceeds|model token limit|`?inputs`? (?:tokens \+|must have less than)"
    r"|number of tokens in the prompt",
    re.IGNORECASE,
)
MODEL_WORDS = re.compile(r"model_not_found|^model: |models/\S+ is not found|unknown model|not a valid model", re.IGNORECASE)
WINDOW = re.compile(
    r"> (\d+) maximum|tokens allowed \((\d+)\)|context size \((\d+) tokens\)|\"n_ctx\"\s*:\s*(\d+)"
    r"|(?:maximum context length|context window|context length|context limit|max_model_len)\D{0,12}(\d{3,9})",
    re.IGNORECASE,
)
TOKENS = re.compile(
    r"too long: (\d+) tokens|token count \((\d+)\)|request \((\d+) tokens\)|\"n_prompt_tokens\"\s*:\s*(\d+)"
    r"|requested (?:about )?(\d+) tokens|resulted in (\d+) tokens"
    r"|prompt (?:has|contains)(?: at least)? (\d+) (?:input )?tokens",
    re.IGNORECASE,
)
REFUSALS = frozenset({400, 403, 404, 413, 422, 500, 501})  # statuses under which servers say such things


def is_too_long(words: str) -> bool:
    """Whether a refusal is about a prompt that is longer than the model's window.

    is_too_long("prompt is too long: 9000 tokens > 8192 maximum") -> True
    """
    return CONTEXT_WORDS.search(words) is not None


def number_in(pattern: re.Pattern[str], *texts: str) -> int | None:
    """The first number that the pattern finds: number_in(WINDOW, "9 tokens > 8 maximum") -> 8"""
    for text in texts:
        found = pattern.search(text)
        if found is not None:
            return int(next(group for group in found.groups() if group))
    return None


def classify(error: GatewayError, data: bytes = b"") -> GatewayError:
    """The error that a refusal is; itself in most cases. `data` is the body that it was read from."""
    if error.status not in REFUSALS:
        return error
    stated = error.details.get
    words = f"{error.message[:MAX_SCANNED]}\n{stated('code')}\n{stated('type')}"
    if IMAGE_WORDS.search(words):
        return remake(BadRequest, error, 400, IMAGE)
    if CREDIT_WORDS.search(words):
        return remake(NoCredit, error, 402, NoCredit.code)
    if error.status in (400, 413, 422, 500) and (error.code == CONTEXT or is_too_long(words)):
        raw = data[:MAX_SCANNED].decode("utf-8", "replace")
        numbers = {"tokens": number_in(TOKENS, error.message[:MAX_SCANNED], raw),
                   "window": number_in(WINDOW, error.message[:MAX_SCANNED], raw)}  # fmt: skip
        return remake(BadRequest, error, 400, CONTEXT, {name: each for name, each in numbers.items() if each is not None})
    if error.status == 404 and MODEL_WORDS.search(words):
        return remake(UnknownModel, error, 404, UnknownModel.code)
    return error


def remake(
    kind: type[GatewayError], error: GatewayError, status: int, code: str, facts: Mapping[str, object] | None = None
) -> GatewayError:
    made = kind(
        error.message, status=status, code=code, retry_after_s=error.retry_after_s, details={**error.details, **(facts or {})}
    )
    made.unpaid = error.unpaid
    return made
