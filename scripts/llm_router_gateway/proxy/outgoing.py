"""What goes to the upstream for a request: the caller's own bytes, or the body in the upstream's protocol.

    relayed(job, candidate, "chat")  -> Outgoing(url, headers, body)   the caller's own bytes, but for the model's name
    converted(job, candidate)        -> Outgoing(...)                  written anew; what was lost is on job.record.lost
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

from ..config.settings import Secret
from ..policy import overrides
from ..routing.resolve import Candidate
from ..wire import ir
from ..wire.registry import wire
from . import headers as forward
from .request import Job, dumped
from .streaming import Headers

KNOWN_MODELS = 1_024    # names that are remembered with how they stand in a path
CHATS = frozenset({"chat", "stream"})  # the calls whose bodies are overridden


class Outgoing(NamedTuple):
    """What goes to an upstream, complete."""

    candidate: Candidate
    url: str
    headers: Headers
    body: bytes
    request: ir.Request | None = None  # None: relayed unread

    @property
    def same(self) -> bool:
        return self.request is None


def relayed(job: Job, candidate: Candidate, call: str, key: Secret | None = None) -> Outgoing:
    """The caller's own body, with the model's name and what the configuration overrides changed where needed."""
    fields, spec = job.read.fields, candidate.overrides
    changes: dict[str, Any] = {}
    dropped: frozenset[str] = frozenset()
    if not job.call.action and fields.get("model") != candidate.remote_id:
        changes["model"] = candidate.remote_id
    if not spec.empty and call in CHATS:
        more, dropped = overrides.edits({**fields, **changes}, spec)
        changes |= more
    if job.allowance is not None:
        sent = {name: value for name, value in {**fields, **changes}.items() if name not in dropped}
        changes |= job.allowance.fit(candidate, call, sent, job.read, **manners(candidate))
    body = job.read.changed(changes, {}, dropped) if changes or dropped else job.read.text.encode()
    url = with_query(candidate.url(call, quoted(candidate.remote_id)), job.exchange.query)
    headers = forward.upstream_headers(candidate, job.exchange.headers, job.record.request_id, same=True, key=key)
    return Outgoing(candidate, url, headers, body)


def converted(job: Job, candidate: Candidate, key: Secret | None = None) -> Outgoing:
    """The body in the upstream's protocol; what has no place there goes on the record."""
    provider = candidate.provider
    request = wire(job.call.protocol).read_request(
        job.read.fields, model=job.record.asked, stream=job.record.stream or None
    )
    out = wire(provider.api).write_request(
        request, model=candidate.remote_id, quirks=provider.quirks, lost=job.record.lost
    )
    if not candidate.overrides.empty:
        out = overrides.applied(out, candidate.overrides)
    if job.allowance is not None:
        out = {**out, **job.allowance.fit(candidate, "chat", out, **manners(candidate))}
    url = candidate.url("stream" if job.record.stream and provider.api == "gemini" else "chat", quoted(candidate.remote_id))
    headers = forward.upstream_headers(candidate, (), job.record.request_id, same=False, key=key)
    return Outgoing(candidate, url, headers, dumped(out), request)


def manners(candidate: Candidate) -> dict[str, Any]:
    """What its protocol's module knows of a model: the name of the output limit, whether it can be steered."""
    if candidate.provider.api != "openai":
        return {}
    module, name = wire("openai"), candidate.remote_id.lower()
    modern = "max_completion_tokens" if module.MODERN_MODELS.search(name) else "max_tokens"
    return {"field": candidate.provider.quirks.get("max_tokens_field") or modern,
            "steered": not module.UNSTEERED_MODELS.search(name)}  # fmt: skip


@lru_cache(maxsize=KNOWN_MODELS)
def quoted(remote_id: str) -> str:
    """The upstream's name of a model as it stands in a path."""
    return quote(remote_id, safe="/:@-._~")


def with_query(url: str, query: str) -> str:
    """The caller's query behind the upstream's own, without the caller's key and what we decide ourselves."""
    if not query:
        return url
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in ("key", "alt")]
    return url + ("&" if "?" in url else "?") + "&".join(kept) if kept else url
