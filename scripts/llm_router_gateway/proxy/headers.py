"""Which headers go on: the caller's to the upstream, the upstream's to the caller. Pure.

    upstream_headers(candidate, caller, request_id, same=True)   what a relayed request carries
    caller_headers(upstream)                                     what a relayed answer carries

Never passed: credentials, what belongs to one connection (RFC 9110 7.6.1), the caller's identity, what browsers add.
Of an upstream's answer a list of names passes, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ..config.config import Provider
from ..config.kinds import Secret
from ..errors import GatewayError
from ..json_body import Body
from ..policy import overrides
from ..routing.resolve import Candidate
from ..wire.registry import ANSWER_HEADERS, CALLERS_ACCOUNT, PRIVATE_HEADERS, UPSTREAMS
from .mask import mask_of

ONE_CONNECTION = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "content-length", "expect", "http2-settings",
})  # fmt: skip
CALLERS_OWN = frozenset({
    "accept-encoding",  # a stream has to be readable on its way
    "forwarded", "via", "x-real-ip", "true-client-ip", "origin", "referer", "access-control-request-method",
    "access-control-request-headers", "x-request-id", "content-encoding",
})  # fmt: skip
CALLERS_OWN_STARTS = ("x-forwarded-", "sec-", "cf-", "x-llm-router-", "proxy-")
NOT_SENT_ON = PRIVATE_HEADERS | ONE_CONNECTION | CALLERS_OWN | CALLERS_ACCOUNT
# Of an upstream's answer: the headers that SDKs and usage monitors read. All others are dropped.
SENT_BACK = ANSWER_HEADERS | frozenset({
    "content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "apim-request-id", "x-ms-request-id",
    "x-groq-request-id", "x-goog-request-id", "cf-ray", "x-envoy-upstream-service-time", "server-timing", "x-generation-id",
})  # fmt: skip
SENT_BACK_STARTS = ("x-ratelimit-", "ratelimit-", "x-ms-ratelimit-", "x-rate-limit-", *(
    name for name in ANSWER_HEADERS if name.endswith("-")
))  # fmt: skip
KNOWN_NAMES = 512  # of headers that are remembered with whether they go on
REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


@lru_cache(maxsize=KNOWN_NAMES)
def is_private(name: str) -> bool:
    return name in NOT_SENT_ON or name.startswith(CALLERS_OWN_STARTS)


def is_request_id(value: str) -> bool:
    """Whether a caller's x-request-id can be used: short, and nothing that a log or header could trip over."""
    return REQUEST_ID.fullmatch(value) is not None


def upstream_headers(
    candidate: Candidate,
    caller: Iterable[tuple[str, str]],
    request_id: str,
    *,
    same: bool,
    key: Secret | None = None,
    trace: Sequence[tuple[str, str]] = (),
    content_type: str = Body.content_type,
) -> list[tuple[str, str]]:
    """The headers of an upstream request, lower-case, each once. Without a `key` it is the provider's first. `trace` has
    traceparent and tracestate, in place of the caller's.

    The same protocol on both sides passes the caller's on (anthropic-beta and whatever comes next); a conversion
    does not, for they speak of a body that is no longer there. The provider's own come last and win.
    """
    provider = candidate.provider
    headers = {name: value for name, value in caller if not is_private(name)} if same else {}
    if trace:
        headers.update(trace)
    headers.setdefault("accept", "*/*")
    headers["content-type"] = content_type
    headers["accept-encoding"] = "identity"
    headers["x-request-id"] = request_id
    version = UPSTREAMS[provider.api].version
    if version is not None:
        headers.setdefault(version.header, provider.versions[version.setting])
    if provider.keys:
        name, prefix = provider.key_header
        headers[name] = prefix + (key or provider.keys[0]).reveal()
    headers.update(provider.sent_headers)
    spec = candidate.overrides
    return overrides.headers(headers.items(), spec) if spec.headers else list(headers.items())


@lru_cache(maxsize=KNOWN_NAMES)
def is_passed_back(name: str) -> bool:
    return name in SENT_BACK or name.startswith(SENT_BACK_STARTS)


def caller_headers(upstream: Iterable[tuple[str, str]], candidate: Candidate | None = None) -> list[tuple[str, str]]:
    """The headers of an upstream answer that its caller's SDK reads: rate limits, retry-after, content-type, ..."""
    mask = mask_of(candidate.provider.secrets) if candidate else None
    return [(name, value) for name, value in upstream
            if is_passed_back(name) and not (mask is not None and mask.holds(value))]  # fmt: skip


def mask_secrets(data: bytes, candidate: Candidate) -> bytes:
    """An upstream's bytes without the gateway's credentials: some upstreams echo what they received."""
    return mask_of(candidate.provider.secrets)(data)


def without_secrets(error: GatewayError, providers: Iterable[Provider]) -> GatewayError:
    """The same error without any provider's key or other credential in its text, whatever its origin."""
    for provider in providers:
        mask = mask_of(provider.secrets)
        error.message, error.code = mask.text(error.message), mask.text(error.code)
    return error
