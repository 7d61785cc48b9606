"""One exchange with an upstream: the request goes out, a whole answer or a refusal comes back.

upstream = Upstream(pool)
headers, data = await upstream.fetch(outgoing)     200, and the headers that go on to the caller
response = await upstream.send("POST", outgoing)   whatever it is; the caller of this closes it
raise await refusal(outgoing, response)            what it said instead of an answer
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from ..errors import CONTEXT, GatewayError, UpstreamFailed
from ..net.client import Pool, Response, Timeouts
from ..net.unpacking import decompress
from ..wire.complaints import classify
from ..wire.registry import SPECS, wire
from .answers import parse_or_none
from .headers import caller_headers, mask_secrets
from .outgoing import Outgoing
from .streaming import Headers

MAX_ANSWER_BYTES = 134_217_728  # a plain answer; pictures come in base64
MAX_ERROR_BYTES = 1_048_576  # an upstream's refusal


class RelayedRefusal(GatewayError):
    """An upstream's refusal in the caller's own protocol: it is relayed unchanged."""

    def __init__(self, error: GatewayError, headers: Headers, data: bytes) -> None:
        super().__init__(
            error.message, status=error.status, code=error.code, retry_after_s=error.retry_after_s, details=error.details
        )
        self.headers, self.data, self.unpaid = headers, data, True


class Upstream:
    """All providers, through one pool of connections."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def _request(self, method: str, outgoing: Outgoing) -> Awaitable[Response]:
        provider = outgoing.candidate.provider
        timeouts = Timeouts(provider.connect_timeout_s, provider.timeout_s, provider.timeout_s)
        return self._pool.request(
            method, outgoing.url, outgoing.headers, outgoing.body, timeouts=timeouts, proxy=provider.proxy
        )

    async def send(self, method: str, outgoing: Outgoing) -> Response:
        return decompress(await self._request(method, outgoing))

    async def fetch(self, outgoing: Outgoing) -> tuple[Headers, bytes]:
        """A whole answer: the headers that go on, and the body. A refusal is raised."""
        response = decompress(await self._request("POST", outgoing))
        try:
            if response.status != 200:
                raise await refusal(outgoing, response)
            return caller_headers(response.headers, outgoing.candidate), await response.read(MAX_ANSWER_BYTES)
        finally:
            response.close()

    async def get(self, outgoing: Outgoing) -> bytes:
        """The body of a document that an upstream has: its list of models."""
        response = await self.send("GET", outgoing)
        try:
            if response.status != 200:
                raise UpstreamFailed(f"status {response.status}")
            data: bytes = await response.read(MAX_ANSWER_BYTES)
            return data
        finally:
            response.close()


async def refusal(outgoing: Outgoing, response: Response) -> GatewayError:
    """An upstream's response instead of an answer, without the gateway's key in it."""
    name, status = outgoing.candidate.name, response.status
    if not 400 <= status <= 599:
        wrong = UpstreamFailed(f"{name}: the upstream answered {status}, not 200; check base_url (redirects are not "
                               "followed)")  # fmt: skip
        wrong.unpaid = True
        return wrong
    try:
        data = mask_secrets(await response.read(MAX_ERROR_BYTES), outgoing.candidate)
    except GatewayError:
        data = b""  # the status counts, whatever became of its words: some close before the body of the request is there
    said = refusal_error(outgoing, status, dict(response.headers), data)
    error = classify(said, data)
    is_plain = error is said or (error.code == CONTEXT and SPECS[outgoing.candidate.provider.api].too_long_mark in data)
    if outgoing.request is None and is_plain and parse_or_none(data) is not None:
        return RelayedRefusal(error, caller_headers(response.headers, outgoing.candidate), data)
    return error


def read_error(outgoing: Outgoing, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
    """An upstream's error body, and what it means."""
    return classify(refusal_error(outgoing, status, headers, data), data)


def refusal_error(outgoing: Outgoing, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
    """An upstream's error body, as its protocol says it."""
    data = mask_secrets(data, outgoing.candidate)
    error: GatewayError = wire(outgoing.candidate.provider.api).read_error(status, headers, data)
    error.unpaid = True
    return error
