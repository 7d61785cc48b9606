"""The errors that end a request: status, code, Retry-After; independent of any vendor's format.

Anything that ends a request raises a GatewayError. The wire modules turn it into the caller's
protocol (`write_error`) and read an upstream's refusal into one (`read_error`):

    raise UnknownModel("gpt-9: no provider has it; GET /v1/models lists what there is")
    of_status(429, "slow down", retry_after_s=7.0)  ->  RateLimited, .status 429, .code "rate_limited"

A message names what happened, to which model, and what to do next. It never holds a key or a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping

CONTEXT = "context_length_exceeded"  # the code of a prompt that is longer than the model's window
NO_SUCH_CALL = frozenset({404, 405, 501})  # an upstream's statuses for a call that it does not have


class GatewayError(Exception):
    """One request fails; `status` is what the caller gets."""

    status = 500
    code = "internal"  # for programs; never reworded once released
    unpaid = False  # of an upstream: nothing was used, since it was not reached, or refused the request with a status

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = type(self).status if status is None else status
        self.code = code or type(self).code
        self.retry_after_s = retry_after_s
        self.details = dict(details or {})  # facts for programs: {"path": "messages[2].role"}


class BadRequest(GatewayError):
    """The request itself is wrong; the same bytes fail again. details["path"] says where."""

    status = 400
    code = "bad_request"


class Unauthorized(GatewayError):
    """No credential, or an unknown one."""

    status = 401
    code = "unauthorized"


class NoCredit(GatewayError):
    """The account behind the upstream key has nothing left."""

    status = 402
    code = "no_credit"


class Forbidden(GatewayError):
    """The caller is known, but not allowed to do this."""

    status = 403
    code = "forbidden"


class NotFound(GatewayError):
    """No such path here."""

    status = 404
    code = "not_found"


class UnknownModel(NotFound):
    """No provider has a model of this name, or several have it."""

    code = "model_not_found"


class BadMethod(GatewayError):
    """The path exists, the method does not. details["allow"] lists those that do."""

    status = 405
    code = "method_not_allowed"


class Conflict(GatewayError):
    """The change conflicts with the current state."""

    status = 409
    code = "conflict"


class RequestTooSlow(GatewayError):
    """The caller did not finish sending its request in time."""

    status = 408
    code = "request_timeout"


class TooLarge(GatewayError):
    """The request is longer than the limit. details["limit_bytes"] is the limit."""

    status = 413
    code = "too_large"


class RateLimited(GatewayError):
    """Too much too fast, here or upstream; retry_after_s when it is known."""

    status = 429
    code = "rate_limited"


class Unsupported(GatewayError):
    """Understood, but not supported: a retry of the same request fails too."""

    status = 400
    code = "unsupported"


class UpstreamFailed(GatewayError):
    """The upstream could not be reached, broke off, or sent an invalid answer."""

    status = 502
    code = "upstream_failed"


class BrokenAnswer(UpstreamFailed):
    """The upstream's answer came but does not count: it calls itself unfinished, holds no turn, or breaks off inside a call."""

    code = "broken_answer"


class StreamCut(UpstreamFailed):
    """The upstream's stream ended before its final event: what came is not the answer."""

    code = "stream_cut"


class Unavailable(GatewayError):
    """Overloaded or shutting down; the same request may work soon."""

    status = 503
    code = "unavailable"


class UpstreamTimeout(GatewayError):
    """The upstream was silent for longer than the limit."""

    status = 504
    code = "upstream_timeout"


class NotSaved(GatewayError):
    """A change was not made, because it cannot be saved: the disk is full or fails."""

    status = 507
    code = "not_saved"


class Overloaded(Unavailable):
    """The upstream says that it is overloaded (Anthropic's own status for that)."""

    status = 529
    code = "overloaded"


BY_STATUS: Mapping[int, type[GatewayError]] = {
    kind.status: kind
    for kind in (
        BadRequest, Unauthorized, NoCredit, Forbidden, NotFound, BadMethod, RequestTooSlow, Conflict, TooLarge,
        RateLimited, GatewayError, UpstreamFailed, Unavailable, UpstreamTimeout, Overloaded,
    )
}  # fmt: skip


def of_status(
    status: int,
    message: str,
    *,
    code: str | None = None,
    retry_after_s: float | None = None,
    details: Mapping[str, object] | None = None,
) -> GatewayError:
    """The error of an HTTP status, which it keeps.

    of_status(404, "no such model")  -> NotFound, status 404
    of_status(422, "bad field")      -> BadRequest, status 422
    of_status(520, "origin broke")   -> UpstreamFailed, status 520
    """
    kind = BY_STATUS.get(status) or (BadRequest if 400 <= status < 500 else UpstreamFailed)
    return kind(message, status=status, code=code, retry_after_s=retry_after_s, details=details)
