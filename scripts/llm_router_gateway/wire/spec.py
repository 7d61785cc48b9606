"""The description of a protocol: everything in which it differs from the others, as data for the rest of the gateway.

    registry.SPECS["gemini"].actions["countTokens"]          -> Action("count")
    registry.UPSTREAMS["anthropic"].paths["chat"]            -> "/v1/messages"
    registry.wire("openai").read_request(body, model="m")    -> ir.Request

How to add a protocol:

1. A folder `wire/NAME/` whose `__init__` is a docstring. No protocol imports another; what they share is beside the folders.
2. `wire/NAME/spec.py` with `SPEC = Spec(name="NAME", ...)`. It is imported at start, so it imports only this module and what is
   cheap; it may contain regular expressions and small functions.
3. `wire/NAME/codec.py` with the functions of `Codec`, loaded when a request first needs them. A protocol that carries only text
   needs four of them; `simple` has a base for the rest.
4. One line in `wire/registry.PROTOCOLS`. Its position is that in lists, and decides between two protocols that claim one path.

A protocol that callers speak but no provider does has `upstream=None`, and its codec has no functions for the upstream's side
(see Codec). A protocol that is served on several paths has a `Line` for each; if their bodies differ, `read_request` tells them
apart. A provider type that speaks the new protocol is a line in `config/presets`; without one, `api = "NAME"` and `base_url`
in the configuration are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .demands import Demands, no_demands

if TYPE_CHECKING:  # only for types: this module is imported at every start
    from ..errors import GatewayError
    from . import ir
    from .listing import Entry

JSON = Mapping[str, Any]
RELAYED_KINDS = frozenset({"audio", "images", "moderations", "rerank"})  # of a Line; no other protocol has an equivalent
CREATING_KINDS = frozenset({"files", "batches"})  # of a Line; these create an object that belongs to the caller's key
Pairs = list[tuple[str, str]]

# ------------------------------------------------------------------------------------------------------------ the facts


@dataclass(frozen=True, slots=True)
class Line:
    """A request line: Line("POST", "messages", "chat"). The path has no version in front; "{id}" is any one part of it.

    `kind` is what the gateway does for it: chat, count, embeddings, models, ignored (accepted and discarded), show (a model
    that the body names), kept, kept_input, forget, cancel (of an earlier answer, by id), compact (summarize a conversation),
    fixed (always the same answer), socket (a websocket is refused so that callers fall back at once), one of
    RELAYED_KINDS (passed on as it is; its path is also the name of the call among the paths of `Upstream`), files and batches
    (create one), list_files, file, file_content, delete_file, list_batches, batch, cancel_batch (those of the caller), ...
    """

    method: str
    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Action:
    """What follows the model's name in POST /models/NAME:action; `stream`: the answer is a stream."""

    kind: str
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """A header without which upstreams refuse a request, and the provider's setting for its value."""

    header: str
    setting: str
    default: str


def same_path(chat_path: str) -> str:
    """The path of a streamed call, if only the body says that it is streamed."""
    return chat_path


def no_output_field(model: str, quirks: JSON) -> str:
    return ""


def nothing_rejected(model: str, body: JSON) -> frozenset[str]:
    return frozenset()


def no_more(body: JSON) -> dict[str, Any]:
    return {}


def no_count(body: JSON, model: str) -> dict[str, Any]:
    return dict(body)


def as_they_are(data: bytes, body: JSON) -> bytes:
    return data


def never(body: JSON) -> bool:
    return False


def seconds_text(seconds: float) -> str:
    """seconds_text(0.12) -> "120ms", seconds_text(61.5) -> "1m1.5s", as OpenAI's headers have it."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"


def limit_headers(what: str, limit: int, remaining: int, reset_s: float, now: float) -> Pairs:
    """What is left of one of the gateway's own limits, in the headers that most SDKs read. `now` is Unix seconds."""
    return [(f"x-ratelimit-limit-{what}", str(limit)), (f"x-ratelimit-remaining-{what}", str(remaining)),
            (f"x-ratelimit-reset-{what}", seconds_text(reset_s))]  # fmt: skip


def as_it_is(body: JSON) -> dict[str, Any]:
    return dict(body)


class Quirk(NamedTuple):
    """How a server may differ from its protocol, by `quirks` of its provider: "bool", "whole", "text", "texts", or words."""

    values: str | tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """How the gateway calls a provider that speaks the protocol."""

    root: str = ""  # follows a base_url that is only a host: "https://api.openai.com" + "/v1"
    paths: Mapping[str, str]  # call -> path below base_url: chat, stream (where it has its own), count, models
    auth_header: str = "Authorization"  # carries the key, unless the provider's preset names another
    auth_scheme: str = "Bearer"  # the word before the key; "" for none
    version: Version | None = None
    stream_path: Callable[[str], str] = same_path  # a configured chat path -> that of streams, if `paths` has "stream"
    event_tokens: int = 2  # roughly the most tokens in one event, to estimate a stream that broke off
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # bounded parameter -> its names in a body, dotted if nested; a missing one is added under the first name
    output_field: Callable[[str, JSON], str] = no_output_field
    # (model, the provider's quirks) -> the name of the output limit that this model accepts; "" = the first
    rejected_parameters: Callable[[str, JSON], frozenset[str]] = nothing_rejected
    # (model, body) -> the parameters that this model refuses, so that none of them is added
    count_request: Callable[[JSON, str], dict[str, Any]] = no_count
    # (a chat body, model) -> the body of the call "count", if `paths` has one
    counted: str = ""  # the field of that call's answer with the number of tokens
    searches: bool = False  # the vendor's own search of the web is a tool like any other
    usage_request: Callable[[JSON], dict[str, Any]] = no_more
    # body -> fields to set so that a stream ends with its usage
    quirks: Mapping[str, Quirk] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One protocol. Header names are in lower case."""

    name: str  # in configuration, API and log: "anthropic"; also the folder's name
    title: str  # for people: "Anthropic"

    # -- a caller's request
    lines: Sequence[Line] = ()
    actions: Mapping[str, Action] = field(default_factory=dict)  # if any: the path names model and form of answer, not the body
    prefixes: frozenset[str] = frozenset({"v1"})  # versions that may stand before any path
    marks: frozenset[str] = frozenset()  # headers that identify its callers on a shared path (GET /v1/models)
    key_headers: tuple[str, ...] = ()  # in which callers send their key, besides Authorization: Bearer
    key_query: str = ""  # the same in the query: "key"
    steering_headers: frozenset[str] = frozenset()  # that may change an answer
    acting_fields: frozenset[str] = frozenset({"tools"})  # fields of a body that let an answer act or search
    private_headers: frozenset[str] = frozenset()  # the caller's own account: not for the upstream
    turns: str = "messages"  # the body's field that holds the conversation
    streams_by_default: bool = False  # a body without `stream` requests a stream
    counts_first: bool = False  # its streams begin with the number of the request's tokens
    answer_prefix: str = ""  # prefix of the id of an answer without one from its upstream
    carried: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # kind of call -> (protocol of upstreams that accept its bodies unconverted, their name of the call)
    embeddings_request: Callable[[JSON], dict[str, Any]] = as_it_is  # a body -> in the form of the protocol in `carried`

    # -- an answer to a caller
    stream_type: str = "text/event-stream"
    events_query: tuple[str, str] | None = None  # ("alt", "sse"): a streaming action without it is answered as one JSON array
    bare_errors: bool = False  # a broken event stream repeats the error's JSON at its end, outside of any event
    keepalive: bytes = b"\n"  # sent on a waiting stream; every client skips it
    answer_headers: frozenset[str] = frozenset()  # headers of an answer that SDKs read; one that ends in - is a prefix
    too_long: str = ""  # message for a prompt longer than the window, with {tokens} and {window}
    too_long_mark: bytes = b""  # what clients look for in an error's body in order to compact
    too_long_words: str = ""  # what some clients look for in the message, if the mark is a code
    model_field: str = "model"  # field of a whole answer with the model that gave it
    event_models: tuple[tuple[str, ...], ...] = (("model",),)  # where it is in a stream's events
    answer_field: str = ""  # a field that every whole answer has and no error: "choices"
    embeddings: Callable[[bytes, JSON], bytes] = as_they_are  # (an upstream's vectors, the body) -> as the body requests
    demands: Callable[[JSON], Demands | None] = no_demands  # what a body requires of its answer: see wire/demands
    reshapes: Callable[[JSON], bool] = never  # whether `embeddings` may change an answer to this body
    keeps_answers: bool = False  # a request may build on an earlier answer by its id: `state` of the codec, and more
    limit_headers: Callable[[str, int, int, float, float], Pairs] = limit_headers
    # (requests or tokens, limit, remaining, seconds until it is full, Unix seconds) -> headers of an answer
    fixed: Mapping[str, JSON] = field(default_factory=dict)  # path of a Line of the kind "fixed" -> its answer

    # -- what a caller says about its call: for statistics, never for an upstream
    end_user: tuple[str, ...] = ()  # dotted names of the body's fields that name the end user; the first present counts
    labels: str = "metadata"  # the body's field with the caller's own labels
    attributes: frozenset[str] = field(init=False)  # all top-level fields that may hold either

    # -- conversion
    encloses: bool = False  # its callers return other vendors' reasoning in envelopes (wire/envelope)
    packs_ids: bool = False  # its calls' issuer and signature travel inside their ids (wire/names)
    kept_fields: frozenset[str] = frozenset()  # name something kept by its vendor: refused elsewhere, not lost

    embeds: bool = False  # there is a module `embeddings` beside the codec: see wire/embeddings

    upstream: Upstream | None = None  # None: callers speak it, no provider does

    def __post_init__(self) -> None:
        fields = frozenset({self.labels, *(path.partition(".")[0] for path in self.end_user)})
        object.__setattr__(self, "attributes", fields)  # it is frozen from here on

    @property
    def chat_action(self) -> str:
        """The action of a plain chat request; "" if the body says everything."""
        return next((name for name, each in self.actions.items() if each.kind == "chat" and not each.stream), "")

    def wants_stream(self, body: JSON) -> bool:
        """Whether a body asks for a stream, in a protocol whose bodies do."""
        if self.actions:
            return False
        return body.get("stream") is True or (self.streams_by_default and body.get("stream") is None)


# -------------------------------------------------------------------------------------------------------- the functions


class Codec(Protocol):
    """The functions of a protocol's `codec` module. Those below "upstream" are missing if no provider speaks it.

    `Scanner`, `StreamReader` (both only if providers speak it) and `StreamWriter` are described in `pipes`.
    """

    FINISH_WORDS: Mapping[ir.Reason, str]  # why an answer stopped, in the protocol's word

    StreamWriter: Callable[..., Any]  # (request, lost=[...], array=False)

    def read_request(self, fields: JSON, *, model: str | None = None, stream: bool | None = None, **more: Any) -> ir.Request:
        """A caller's body, read; BadRequest with details["path"]. `more`: from the conversation, if answers are kept."""

    def write_answer(self, answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]: ...
    def write_error(self, error: GatewayError, request_id: str) -> tuple[int, Pairs, dict[str, Any]]:
        """(status, headers, body)."""

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """The last event of a stream that failed."""

    def write_count(self, tokens: int) -> dict[str, Any]:
        """The answer to a count call."""

    def describe_model(self, entry: Entry) -> dict[str, Any]:
        """The answer to GET /v1/models/NAME."""

    def list_models(self, found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
        """The answer to GET /v1/models, a page of it where the protocol has pages."""

    def finish_in(self, answer: JSON) -> str:
        """Why a whole answer in this protocol stopped, in its own word; "" if it does not say."""

    # -- of a protocol whose bodies some upstreams accept unconverted (`carried`)

    def lacks_call(self, error: GatewayError) -> bool:
        """Whether such an upstream's error means that it does not accept them, so that they have to be converted."""

    def only_upstream(self, fields: JSON) -> str:
        """The field that cannot be converted; "" if all can."""

    # -- of a protocol whose callers carry envelopes (`encloses`)

    def remove_foreign(self, fields: JSON, lost: list[str]) -> dict[str, Any]:
        """A body for an upstream of the same protocol, without what other vendors signed."""

    # -- of a protocol that keeps answers; see wire/responses for what they are

    state: Any
    relay: Any
    compaction: Any
    Seal: Callable[[bytes, str], ir.Seal]

    def refuse_unsupported(self, fields: JSON) -> None:
        """Refuses what no upstream could do through the gateway."""

    # -- of a protocol with files and batches; see wire/openai/files for what is in it

    files: Any

    # -- upstream

    Scanner: Callable[[], Any]
    StreamReader: Callable[[], Any]

    def write_request(self, request: ir.Request, *, model: str, quirks: JSON, lost: list[str]) -> dict[str, Any]: ...
    def read_answer(self, body: JSON) -> ir.Answer:
        """A whole answer, read; UpstreamFailed if it is not one."""

    def flaw_in(self, answer: JSON) -> GatewayError | None:
        """Why an upstream's answer does not count as one; None if it does. See `verdict`."""

    def usage_in(self, answer: JSON) -> ir.Usage | None: ...
    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError: ...
