"""One request while it is answered: what is known of it, and what goes to the upstream for it.

    relayed(job, candidate, "chat")  -> Outgoing(url, headers, body)   the caller's own bytes, but for the model's name
    converted(job, candidate)        -> Outgoing(...)                  written anew; what was lost is on job.record.lost
    job.record.line()                -> "POST /v1/messages 200 812ms ..."
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote_plus

from . import forward, splice, surface
from .access import browser
from .allowance import Allowance
from .config.settings import Secret
from .errors import GatewayError
from .net.caller import NOBODY, Caller
from .policy import overrides
from .policy.tag_query import TAG, TASK, Query
from .routing.permissions import Rights
from .routing.plan import Plan
from .routing.resolve import Candidate
from .routing.snapshot import State
from .splice import Body
from .streaming import Exchange as StreamExchange
from .streaming import Headers
from .wire import ir
from .wire.registry import wire

MAX_LOST_CHARS = 2_000  # of the x-llm-router-lost header
KNOWN_MODELS = 1_024    # names that are remembered with how they stand in a path
CHATS = frozenset({"chat", "stream"})  # the calls whose bodies are overridden


class Exchange(StreamExchange, Protocol):
    """What `server` hands over for each request. Header names in lower case; path and query as they came."""

    method: str
    path: str
    query: str
    headers: Headers
    client: str

    async def read_body(self, limit: int) -> bytes: ...
    async def respond(self, status: int, headers: Headers, body: bytes) -> None: ...
    async def end(self) -> None: ...


@dataclass(slots=True)
class Record:
    """What is known of one request at its end: a line of the log."""

    request_id: str
    method: str
    path: str
    client: str
    started_at: float
    protocol: str = "openai"
    asked: str = ""
    served: str = ""
    stream: bool = False
    whole: bool = False  # of a stream: its last event went out
    finish: ir.Stop | str = ""  # why the answer stopped, where that is known without a look for it
    status: int = 0
    first_output_s: float | None = None
    seconds: float = 0.0
    attempts: int = 0  # how often an upstream was asked
    failed: list[str] = field(default_factory=list)  # those who were asked in vain, and why: "openai/gpt-x 503"
    usage: ir.Usage | None = None
    lost: list[str] = field(default_factory=list)
    error: str = ""    # the code
    message: str = ""  # for people; no key, no prompt

    def line(self) -> str:
        """POST /v1/messages 200 812ms first=320ms claude-x -> openai/gpt-x in=12 out=34 id=..."""
        parts = [f"{self.method} {self.path} {self.status} {self.seconds * 1000:.0f}ms"]
        if self.first_output_s is not None:
            parts.append(f"first={self.first_output_s * 1000:.0f}ms")
        if self.asked:
            parts.append(f"{self.asked} -> {self.served}" if self.served not in ("", self.asked) else self.asked)
        if self.failed:
            parts.append(f"attempts={self.attempts} (failed: {', '.join(self.failed)})")
        if self.usage is not None:
            parts.append(f"in={self.usage.total_input} out={self.usage.output}")
        if self.lost:
            parts.append(f"lost={','.join(self.lost)}")
        if self.error:
            parts.append(f"error={self.error} ({self.message})")
        parts.append(f"id={self.request_id}")
        return " ".join(parts)


@dataclass(slots=True)
class Job:
    """One request while it is answered."""

    exchange: Exchange
    state: State
    record: Record
    headers: Mapping[str, str]
    query: Mapping[str, str]
    call: surface.Call
    body: Body | None = None
    plan: Plan | None = None
    candidate: Candidate | None = None  # who was asked last
    key_name: str = ""  # of the caller's key
    caller: Caller = NOBODY
    rights: Rights | None = None        # what the caller's key may use; None: everything
    allowance: Allowance | None = None  # what bounds and budgets leave of it; None: there are none
    outputs: int = 0  # pieces of an answer that a stream has brought
    tags: Query | None = None  # what is asked for in the place of a name
    cut: GatewayError | None = None  # why we end it before it is answered
    ending: GatewayError | None = None  # the same, and also of streams, which end themselves
    unasked: GatewayError | None = None  # why somebody could not be asked in its own protocol: others may
    answering: bool = False  # something of an answer went out: nobody else may give one
    last_sent_at: float | None = None  # a sign of life of a stream that waits

    @property
    def read(self) -> Body:
        """The body, of a call that has one."""
        if self.body is None:
            raise RuntimeError("the body was not read yet")
        return self.body

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body's fields; {} before it was read."""
        return self.body.fields if self.body is not None else {}

    @property
    def give_up_at(self) -> float:
        """When it is too late to ask one more member."""
        return self.record.started_at + self.state.config.server.timeout_s

    @property
    def tokens(self) -> int | None:
        """All that the answer cost; None when nobody said so."""
        usage = self.record.usage
        return None if usage is None else usage.total_input + usage.output

    @property
    def own_headers(self) -> Headers:
        """What every answer of ours carries."""
        own = [("x-request-id", self.record.request_id)]
        if self.record.lost:
            own.append(("x-llm-router-lost", lost_header(self.record.lost)))
        if self.allowance is not None and self.allowance.told and not self.is_open:
            own.append(("x-llm-router-limited", lost_header(self.allowance.told)))
        if self.record.attempts and not self.is_open:
            own += [("x-llm-router-model", printable(self.record.served)),
                    ("x-llm-router-attempts", str(self.record.attempts))]  # fmt: skip
        return own + browser.cors_headers(self.headers, self.state.config.server.cors_origins)

    @property
    def is_open(self) -> bool:
        """Whether a stream's head goes out while another member may still come to answer it."""
        if not self.record.stream or self.answering:
            return False
        return self.is_query or (self.plan is not None and self.plan.group is not None)

    @property
    def is_query(self) -> bool:
        """Whether models are asked for by what they can do."""
        return self.tags is not None or self.record.asked.startswith((TAG, TASK))


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


def printable(text: str) -> str:
    """As a header can hold it."""
    return text if text.isascii() and text.isprintable() else "".join(c if " " <= c <= "~" else "?" for c in text)


def lost_header(lost: list[str]) -> str:
    """Printable, one line, not endless: the names of what was lost, the longest lists cut."""
    text = ", ".join(map(printable, lost))
    return text if len(text) <= MAX_LOST_CHARS else text[: MAX_LOST_CHARS - 3] + "..."


def dumped(value: object) -> bytes:
    return splice.dumped(value).encode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------------------- what goes to the upstream (pure)


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
