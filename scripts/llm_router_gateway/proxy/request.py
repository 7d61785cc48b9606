"""One request while it is answered: what is known of it.

context.record.line()  -> "POST /v1/messages 200 812ms ..."
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .. import json_body
from ..access import browser
from ..config.kinds import Secret
from ..errors import GatewayError
from ..json_body import Body
from ..net.caller import ANONYMOUS, Caller
from ..policy.tag_query import TAG, TASK, Query
from ..routing.permissions import Rights
from ..routing.plan import Plan
from ..routing.resolve import Candidate
from ..routing.snapshot import Snapshot
from ..telemetry.trace import HEADERS as TRACE_HEADERS
from ..telemetry.trace import Trace
from ..wire import ir
from ..wire.demands import Demands
from ..wire.losses import header_of, rank_losses
from ..wire.registry import DEFAULT, SPECS
from ..wire.sound import sound
from ..wire.token_estimate import input_tokens
from . import paths
from .attempts import AttemptRecord
from .charges import Charge, cache_lifetime
from .request_budget import Allowance
from .streaming import Exchange as StreamExchange
from .streaming import Headers

if TYPE_CHECKING:
    from .conversations import Conversation
    from .named_files import NamedFiles
    from .offload import LargeBody

NOSNIFF = ("x-content-type-options", "nosniff")
NO_STORE = ("cache-control", "no-store")
JSON_TYPE = ("content-type", "application/json")


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
    def abort(self) -> None: ...


@dataclass(slots=True)
class Record:
    """What is known of one request at its end: a line of the log."""

    request_id: str
    method: str
    path: str
    client: str
    started_at: float
    protocol: str = DEFAULT
    asked: str = ""
    served: str = ""
    stream: bool = False
    whole: bool = False  # of a stream: its last event went out
    finish: ir.Stop | str = ""  # why the answer stopped, where that is known without a look for it
    status: int = 0
    first_output_s: float | None = None
    seconds: float = 0.0
    attempts: int = 0  # requests sent to upstreams
    failed: list[str] = field(default_factory=list)  # members that failed, and why: "openai/gpt-x 503"
    usage: ir.Usage | None = None
    lost: list[str] = field(default_factory=list)
    cached: str = ""  # "hit", "miss"; "" where the cache of answers has no part in it
    answered_by: str = ""  # the model that the upstream names
    error: str = ""  # the code
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
        if self.cached:
            parts.append(f"cache={self.cached}")
        if self.lost:
            parts.append(f"lost={header_of(rank_losses(self.lost))}".replace(", ", ","))
        if self.error:
            parts.append(f"error={self.error} ({self.message})")
        parts.append(f"id={self.request_id}")
        return " ".join(parts)


@dataclass(slots=True)
class RequestContext:
    """All that the steps of one request's life hand on."""

    exchange: Exchange
    state: Snapshot
    record: Record
    headers: Mapping[str, str]
    query: Mapping[str, str]
    call: paths.Call
    body: Body | None = None  # of a large one only the head: see large_jobs.Head
    large: LargeBody | None = None  # the whole of it, in a worker
    verdicts: Mapping[str, tuple[bool, str]] = ir.NOTHING  # what selectors say of a large body
    session_names: Mapping[str, tuple[str, str]] = ir.NOTHING  # what affinity expressions say of it
    reserved: int = 0  # bytes in flight
    plan: Plan | None = None
    candidate: Candidate | None = None  # the member that was sent to last
    attempt_started_at: float = 0.0  # when the attempt at it began
    key_name: str = ""  # of the caller's key
    caller: Caller = ANONYMOUS
    rights: Rights | None = None  # what the caller's key may use; None: everything
    allowance: Allowance | None = None  # what bounds and budgets leave of it; None: there are none
    conversation: Conversation | None = None  # what an earlier answer is to be built on, and how this one is kept
    named_files: NamedFiles | None = None  # at the one provider that may answer
    outputs: int = 0  # pieces of an answer that a stream has brought
    answer_tokens: float = 0.0  # of a plain answer, estimated where it has no usage
    wordless: Collection[str] = ()  # models whose upstream rejects the parameter for a stream's usage
    converts_for: str = ""  # the member that refused the body as it is, and gets it converted
    converted: Collection[str] = ()  # models that are known to refuse it
    sent: bool = False  # to the last member, as far as is known
    cache_key: bytes | None = None  # of its answer, where that may be given again
    printed_keys: tuple[Secret, ...] = ()  # of providers whose key a command prints
    charges: list[Charge] = field(default_factory=list)  # what each attempt cost that was not free
    attempts: list[AttemptRecord] = field(default_factory=list)  # those that reached an upstream, at their ends
    trace: Trace | None = None  # where traces are sent
    limit_headers: Sequence[tuple[str, str]] = ()  # what is left of the limits of the caller's key
    tags: Query | None = None  # a query in the place of a name
    cut: GatewayError | None = None  # why we end it before it is answered
    ending: GatewayError | None = None  # the same, and also of streams, which end themselves
    not_sent: GatewayError | None = None  # why it could not be written for a member: another may take it
    answering: bool = False  # something of an answer went out: no other member may give one
    last_sent_at: float | None = None  # a sign of life of a stream that waits

    def begin_attempt(self, candidate: Candidate, now: float) -> None:
        """Resets what is known of the answer, for the next member or another form of the request."""
        self.candidate, self.record.served, self.attempt_started_at = candidate, candidate.name, now
        self.record.usage, self.outputs, self.answer_tokens, self.sent = None, 0, 0.0, False
        if self.trace is not None:
            self.trace.next_attempt()

    def mark_sent(self) -> None:
        """From here on the member counts as one that was sent to; what is refused before is no attempt."""
        if not self.sent:
            self.sent = True
            self.record.attempts += 1

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
    def input_tokens(self) -> int:
        """An estimate of the whole body."""
        return self.large.head.tokens if self.large is not None else input_tokens(self.fields)

    @property
    def kept(self) -> str:
        """How long the body may ask a cache to keep its input: "", "5m" or "1h"."""
        if self.large is not None:
            return self.large.head.kept
        return cache_lifetime(self.body.text) if self.body is not None else ""

    @property
    def alias(self) -> str:
        """The model's name that the answer is to have: as the caller wrote it. "" for the upstream's own."""
        if not self.state.config.server.answer_with_alias:
            return ""
        named = self.call.model or self.fields.get("model")
        return named if isinstance(named, str) and named else self.record.asked

    @property
    def demands(self) -> Demands | None:
        """What the body demands of its answer, where upstreams may not obey."""
        return SPECS[self.call.protocol].demands(self.fields)

    @property
    def give_up_at(self) -> float:
        """The time after which no further member is tried."""
        return self.record.started_at + self.state.config.server.timeout_s

    @property
    def trace_headers(self) -> Sequence[tuple[str, str]]:
        """The trace that a request to an upstream belongs to: the gateway's, or the caller's own where no trace is kept."""
        if self.trace is not None:
            return self.trace.headers()
        if TRACE_HEADERS.isdisjoint(self.headers):  # as of most
            return ()
        return [(name, self.headers[name]) for name in TRACE_HEADERS if name in self.headers]

    @property
    def tokens(self) -> int | None:
        """The total cost of the answer; None when unknown."""
        usage = sound(self.record.usage)
        return None if usage is None else usage.total

    @property
    def own_headers(self) -> Headers:
        """The headers of every answer."""
        own = [("x-request-id", self.record.request_id), NOSNIFF, *self.limit_headers]
        if self.record.lost:
            own.append(("x-llm-router-lost", header_of(map(printable, rank_losses(self.record.lost)))))
        if self.allowance is not None and self.allowance.clamped and not self.is_open:
            own.append(("x-llm-router-limited", header_of(map(printable, self.allowance.clamped))))
        if self.record.cached:
            own.append(("x-llm-router-cache", self.record.cached))
        if self.record.cached == "hit":
            own.append(("x-llm-router-model", printable(self.record.served)))
        if self.record.attempts and not (self.record.stream and self.is_open):
            own += [("x-llm-router-model", printable(self.record.served)),
                    ("x-llm-router-attempts", str(self.record.attempts))]  # fmt: skip
        return own + browser.cors_headers(self.headers, self.cors_origins) if "origin" in self.headers else own

    @property
    def cors_origins(self) -> Sequence[str]:
        """The pages that may read the answer; those of "*" never read what management answers."""
        allowed = self.state.config.server.cors_origins
        return browser.listed_origins(allowed) if paths.is_management(self.exchange.path, self.call) else allowed

    def respond(self, status: int, headers: Headers, body: bytes) -> Awaitable[None]:
        """The whole answer; where an upstream's headers name what the gateway's own do, these count."""
        self.record.status = status
        own = self.own_headers
        names = dict(own)
        return self.exchange.respond(status, [pair for pair in headers if pair[0] not in names] + own, body)

    def respond_json(self, value: object) -> Awaitable[None]:
        return self.respond(200, [JSON_TYPE], dump_json(value))

    @property
    def is_open(self) -> bool:
        """Whether a stream's head goes out while another member may still come to answer it."""
        if not self.record.stream or self.answering:
            return False
        return self.is_query or (self.plan is not None and self.plan.group is not None)

    @property
    def is_query(self) -> bool:
        """Whether the request selects models by a query."""
        return self.tags is not None or self.record.asked.startswith((TAG, TASK))


Receive = Callable[[RequestContext], Awaitable[bytes]]  # reads a request's body, within the server's limits


def printable(text: str) -> str:
    """As a header can hold it."""
    return text if text.isascii() and text.isprintable() else "".join(c if " " <= c <= "~" else "?" for c in text)


def dump_json(value: object) -> bytes:
    return json_body.dump(value).encode("utf-8", "backslashreplace")
