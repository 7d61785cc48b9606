"""What a request, an answer and a stream say, in no vendor's words. Each module in `wire` reads into it and writes from it.

    {"role": "user", "content": "hi"}                      OpenAI    -> Message("user", (Text("hi"),))
    {"type": "tool_use", "id": "t1", "name": "f", ...}     Anthropic -> ToolCall("t1", "f", '{"a":1}', {"a": 1})
    {"functionResponse": {"name": "f", "response": ...}}   Gemini    -> ToolResult("t1", (Text("..."),), name="f")

Rules that every reader keeps and every writer may rely on:

Roles       "system", "developer", "user", "assistant"; no "tool": a ToolResult is a part of a "user" message. A run of
            OpenAI tool messages is one Message; user text behind it is the next one. Request.system is what stands before the
            conversation (Anthropic `system`, Gemini `systemInstruction`, OpenAI's leading system and developer messages);
            a system message further down stays in `messages`, where it was.
Parts       in the order they came. An empty text is kept where it was sent: what an upstream refuses, its writer omits.
ToolCall    arguments_text is what came, to the byte (or compact JSON where the wire has an object); arguments is the object
            in it, None where it is not one. "" is {} too. Writers of text send arguments_text, writers of objects arguments.
            `id` is never empty: readers mint one where the wire has none. `vendor` is set where that vendor issued the id
            and wants it back (Gemini); `names.pack_id` carries vendor and signature through callers that know nothing of it.
Signatures  `signature` with `vendor`, whose it is. Only that vendor gets it back; to others it is lost, and named so.
            Thinking.data is what is encrypted (Anthropic redacted_thinking); with it, text is "".
Opaque      a part or tool that only one vendor has (server tools and their results): its own JSON under its own name.
extras      {"openai": {"logit_bias": {...}}}: fields with no neutral place, under the vendor's name, in the vendor's own shape.
            A writer puts its own vendor's back and names the others' in `lost`. {"unread": {"image_url.x": True}} are paths of
            fields that nothing reads (`shapes`): every writer names them.
cache_control  the JSON object that the wire had ({"type": "ephemeral", "ttl": "1h"}); None without.
None        the field was not sent. A writer sends nothing for it.

Lost        `lost` holds names: "top_k", "service_tier=flex", "messages[2].parts[0].signature"; never content.

A stream is, per answer: Started, then per candidate (PartStart PartDelta* PartEnd)* Stopped, then UsageSeen, then Finished:

    Started("a1", "m")  PartStart(0, Text(""))  PartDelta(0, "Hel")  PartDelta(0, "lo")  PartEnd(0)
    PartStart(1, ToolCall("t1", "f"))  PartDelta(1, '{"a"')  PartDelta(1, ":1}")  PartEnd(1)
    Stopped(Stop("tool_calls", "tool_use"))  UsageSeen(Usage(input=9, text=7))  Finished()

- exactly one Started, first; exactly one of Finished and Failed, last. UsageSeen may come any number of times and any time
  between; it holds the whole of what is known (cumulative), the last one counts.
- per candidate at most one part is open; `index` counts its parts from 0. Readers put in order what upstreams interleave.
- PartStart holds the part as far as it is known: Text(""), Thinking(""), ToolCall(id, name, "") grow by PartDelta.text (text,
  thinking, arguments_text) and PartDelta.signature (appended); Media and Opaque come whole. No delta is empty.
- a connection that ends before the terminal event is Failed(StreamCut), never Finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar, dataclass_transform

from ..errors import GatewayError

JSON = Mapping[str, Any]
Extras = Mapping[str, Mapping[str, Any]]  # vendor -> its field -> its value


class Nothing(Mapping[str, Any]):
    """The empty object, equal to {}. Hashable, as defaults of dataclasses must be, and immutable."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, name: str, default: Any = None) -> Any:  # Mapping's own raises and catches a KeyError for each call
        return default

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()
UNREAD = "unread"  # in extras, in a vendor's place: paths of fields that nothing reads and no writer puts back

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(made: type[T]) -> type[T]:
    """A dataclass that is never changed, as types see to. It is not frozen when it runs: that makes each four times as slow to
    make, and a long conversation has a hundred thousand of them.
    """
    return dataclass(slots=True, unsafe_hash=True)(made)


Role = Literal["system", "developer", "user", "assistant"]
Kind = Literal["image", "document", "audio", "video"]

# Why a candidate ended. "end": said all. "length": max_tokens. "context": the window is full. "refusal": the model or a filter
# would not. "pause": the vendor's server tools want to be called again. "other": see Stop.native.
Reason = Literal["end", "length", "stop_sequence", "tool_calls", "refusal", "context", "pause", "other"]

# ------------------------------------------------------------------------------------------------------------------ parts


@value
class Text:
    """Text("hi"). Citations and annotations are in extras, in their vendor's shape."""

    text: str
    signature: str = ""  # Gemini signs any part
    vendor: str = ""  # whose signature
    cache_control: JSON | None = None
    extras: Extras = NOTHING


@value
class Thinking:
    """What the model thought: text, or encrypted data, with the signature that its vendor wants back.

    {"type": "thinking", "thinking": "Hm", "signature": "s"}  -> Thinking("Hm", "s", "anthropic")
    {"type": "redacted_thinking", "data": "x"}                -> Thinking("", "", "anthropic", data="x")
    {"reasoning_content": "Hm"}                               -> Thinking("Hm")
    """

    text: str
    signature: str = ""
    vendor: str = ""
    data: str = ""
    extras: Extras = NOTHING


@value
class Media:
    """A picture, document, sound or film: exactly one of data, url, file_id, text is set.

    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}  -> Media("image", "image/png", data="AA==")
    {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}                  -> Media("audio", "audio/wav", data="AA==")
    {"type": "document", "source": {"type": "text", "data": "hi", ...}}        -> Media("document", "text/plain", text="hi")
    """

    kind: Kind
    media_type: str = ""  # "" = not said, as with most URLs
    data: str = ""  # base64, as it came
    url: str = ""  # https:, gs:, and what else the vendor takes; never data:
    file_id: str = ""  # of a file uploaded at `vendor`
    text: str | None = None
    name: str = ""  # file name or title
    detail: str = ""  # OpenAI: low, high, auto
    vendor: str = ""  # where file_id or signature is known
    signature: str = ""
    cache_control: JSON | None = None
    extras: Extras = NOTHING


@value
class Opaque:
    """A part that only `vendor` knows: {"type": "web_search_tool_result", ...}, {"executableCode": ...}.

    `text` is what other vendors get of it; "" = it can only be named as lost. `extras` are what the text leaves out.
    """

    vendor: str
    kind: str  # the vendor's name for it, for `lost`
    value: JSON
    text: str = ""
    extras: Extras = NOTHING


@value
class ToolCall:
    """The model calls one of the caller's tools. `custom` ones (OpenAI) take free text: arguments is then None."""

    id: str
    name: str
    arguments_text: str = ""
    arguments: JSON | None = None
    custom: bool = False
    signature: str = ""
    vendor: str = ""  # issued the id and the signature
    cache_control: JSON | None = None
    extras: Extras = NOTHING


@value
class ToolResult:
    """What a tool answered. `name` is the tool's, found by its call where the wire does not say it; "" if there is none.

    `data` is Gemini's `response` object where it is more than one text; parts then holds its JSON as text.
    """

    id: str
    parts: tuple[Text | Media | Opaque, ...]
    is_error: bool = False
    name: str = ""
    vendor: str = ""  # as ToolCall.vendor
    data: JSON | None = None
    cache_control: JSON | None = None
    extras: Extras = NOTHING


@value
class Refusal:
    """Why the model would not (OpenAI `refusal`); other wires show it as text."""

    text: str
    extras: Extras = NOTHING


Part = Text | Thinking | Media | ToolCall | ToolResult | Refusal | Opaque

# ---------------------------------------------------------------------------------------------------------------- request


@value
class Message:
    role: Role
    parts: tuple[Part, ...]
    name: str = ""  # OpenAI: the speaker's name
    extras: Extras = NOTHING


@value
class WebSearch:
    """A web search that runs at the vendor, with the settings that each vendor has for it. `location` is of the user:
    {"city": ..., "region": ..., "country": ..., "timezone": ...}
    """

    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    location: JSON | None = None
    max_uses: int | None = None


@value
class Tool:
    """A tool of the caller's; with `vendor`, one that runs at the vendor's: `value` is its whole declaration.

    `search` says of such a one that it searches the web, so that another vendor's search can take its place.
    """

    name: str
    description: str = ""
    parameters: JSON | None = None  # JSON schema of the arguments, as it came; None = none given
    strict: bool | None = None
    custom: bool = False  # OpenAI: takes free text; its format is in extras
    vendor: str = ""
    value: JSON | None = None
    cache_control: JSON | None = None
    extras: Extras = NOTHING  # {"anthropic": {"defer_loading": True}}
    search: WebSearch | None = field(default=None, compare=False)  # what `value` says, in no vendor's words
    deferred: bool = field(default=False, compare=False)  # to be loaded later, and not yet: only its own vendor gets it


@value
class ToolChoice:
    """May, must, must not call; with names, only these.

    {"type": "function", "function": {"name": "f"}}  OpenAI    -> ToolChoice("required", ("f",))
    {"type": "any"}                                  Anthropic -> ToolChoice("required")
    {"mode": "ANY", "allowedFunctionNames": [..]}    Gemini    -> ToolChoice("required", (..))
    """

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()


@value
class Reasoning:
    """How much the model should think, as far as the caller said it; writers translate between effort and budget.

    {"thinking": {"type": "enabled", "budget_tokens": 9}}  -> Reasoning("on", budget_tokens=9)
    {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}  -> Reasoning("adaptive", effort="low")
    {"reasoning_effort": "high"}                           -> Reasoning("", effort="high")
    {"thinkingConfig": {"thinkingBudget": 0}}              -> Reasoning("off", budget_tokens=0)
    """

    mode: Literal["", "on", "off", "adaptive"] = ""  # "" = not said
    budget_tokens: int | None = None
    effort: str = ""  # none, minimal, low, medium, high, xhigh, max: the caller's word
    shown: bool | None = None  # whether the thoughts should be in the answer


@value
class ResponseFormat:
    """ "json": any object; "schema": one that fits."""

    kind: Literal["text", "json", "schema"]
    schema: JSON | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None


class Seal(Protocol):
    """Carries what one vendor signed through a caller, which returns it unchanged, and recognises it."""

    def close(self, value: JSON) -> str:
        """The value as a text that only its owner may bring back."""

    def open(self, text: str) -> JSON | None:
        """What a text holds; None for one that was not sealed here. BadRequest if it was changed, or is another owner's."""


@value
class Reply:
    """What the answer must carry beside what the model says; only Responses callers need it.

    id          of the answer, where the gateway keeps answers under it; "" = made from the upstream's
    echo        fields of the request that the answer repeats, in the caller's own shape
    namespaces  name of a tool as the model knows it -> (its namespace, its name in there)
    compaction  the answer is a summary of the conversation, to be sealed
    """

    id: str = ""
    echo: JSON = NOTHING
    namespaces: Mapping[str, tuple[str, str]] = NOTHING
    compaction: bool = False
    seal: Seal | None = None


NO_REPLY = Reply()


@value
class Request:
    model: str
    messages: tuple[Message, ...]
    system: tuple[Part, ...] = ()  # Text, mostly; each with its own cache_control
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None  # Anthropic: not disable_parallel_tool_use
    stream: bool = False
    include_usage: bool = False  # OpenAI: stream_options.include_usage; the others always send it
    max_tokens: int | None = None  # of the answer, thinking included
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None  # candidates
    reasoning: Reasoning | None = None
    response_format: ResponseFormat | None = None
    user: str = ""  # OpenAI user and safety_identifier, Anthropic metadata.user_id
    metadata: Mapping[str, str] = NOTHING  # OpenAI metadata, Gemini (Vertex) labels
    service_tier: str = ""  # the caller's word
    cache_key: str = ""  # OpenAI prompt_cache_key
    extras: Extras = NOTHING
    reply: Reply = field(default=NO_REPLY, compare=False)  # about the caller, not about the question
    answer_id: str = field(default="", compare=False)  # of the answer, where the upstream gives it none
    input_estimate: int = field(default=0, compare=False)  # tokens; 0 = not needed before the upstream states it


# ----------------------------------------------------------------------------------------------------------------- answer


@value
class Usage:
    """Tokens in disjoint classes, each counted once: their sum is everything.

    OpenAI    {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens": 7,
               "completion_tokens_details": {"reasoning_tokens": 5}}      -> Usage(input=6, cache_read=4, text=2, reasoning=5)
    Anthropic {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 7}  -> Usage(input=6, cache_read=4, text=7)
    Gemini    {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 5}
                                                                          -> Usage(input=6, cache_read=4, text=2, reasoning=5)
    """

    input: int = 0  # neither read from nor written to a cache
    cache_read: int = 0
    cache_write: int = 0  # kept for the usual time (5 minutes)
    cache_write_1h: int = 0  # kept for an hour
    text: int = 0  # output without reasoning (Anthropic does not tell them apart: all of it)
    reasoning: int = 0
    cost: float | None = None  # US dollars, where the upstream says it
    extras: Extras = NOTHING  # audio tokens, server tool uses, ... in their vendor's shape

    @property
    def total_input(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def output(self) -> int:
        return self.text + self.reasoning

    @property
    def total(self) -> int:
        return self.total_input + self.output


@value
class Stop:
    """Why it ended; `native` is the upstream's own word, "" where it said none. `sequence` is the stop sequence it met."""

    reason: Reason
    native: str = ""
    sequence: str = ""
    extras: Extras = NOTHING


@value
class Candidate:
    """One of `n` answers. extras: logprobs, safety ratings, grounding."""

    parts: tuple[Part, ...]
    stop: Stop
    extras: Extras = NOTHING


@value
class Answer:
    id: str
    model: str
    candidates: tuple[Candidate, ...]  # at least one; a prompt that was blocked is one without parts and a refusal
    usage: Usage | None = None  # None = unknown; never treated as 0
    created: int = 0  # Unix seconds; 0 = unknown
    service_tier: str = ""
    extras: Extras = NOTHING


# ----------------------------------------------------------------------------------------------------------------- stream


@value
class Started:
    id: str
    model: str
    created: int = 0
    service_tier: str = ""
    extras: Extras = NOTHING


@value
class PartStart:
    index: int
    part: Part
    candidate: int = 0


@value
class PartDelta:
    """More of a part. `extras` are citations and the like, in their vendor's shape: all of them so far."""

    index: int
    text: str = ""
    signature: str = ""
    candidate: int = 0
    extras: Extras = NOTHING


@value
class PartEnd:
    index: int
    candidate: int = 0


@value
class Stopped:
    """One candidate is whole. extras: as Candidate.extras."""

    stop: Stop
    candidate: int = 0
    extras: Extras = NOTHING


@value
class UsageSeen:
    """All that is known by now; replaces what was seen before."""

    usage: Usage


@value
class Finished:
    """The upstream said that this was all. extras: as Answer.extras, what came late."""

    extras: Extras = NOTHING


@value
class Failed:
    """No answer, or not the rest of it."""

    error: GatewayError


StreamEvent = Started | PartStart | PartDelta | PartEnd | Stopped | UsageSeen | Finished | Failed

# -------------------------------------------------------------------------------------------------------------- functions


def is_output(event: StreamEvent) -> bool:
    """Whether the model said something: text, thought, call. Starts, ends, usage and empty parts are no output.

    is_output(PartDelta(0, "a")) -> True;  is_output(PartStart(0, Text(""))) -> False
    is_output(PartStart(0, ToolCall("t", "f"))) -> True
    """
    if isinstance(event, PartStart):
        part = event.part
        if isinstance(part, Text | Thinking):
            return bool(part.text or part.signature or (isinstance(part, Thinking) and part.data))
        return True
    return isinstance(event, PartDelta)


def plain_text(message: Message) -> str | None:
    """The text of a message that holds one and nothing else, as most of a long conversation does; None for others."""
    parts = message.parts
    if len(parts) != 1 or message.name or message.extras is not NOTHING:
        return None
    part = parts[0]
    if type(part) is not Text or part.signature or part.cache_control is not None or part.extras is not NOTHING:
        return None
    return part.text


def object_in(text: str) -> JSON | None:
    """The arguments in a call's text: '{"a":1}' -> {"a": 1}; "" -> {}; '{"a"' or '[1]' -> None."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _events_of_part(index: int, part: Part, candidate: int) -> Iterator[StreamEvent]:
    if isinstance(part, Text | Thinking):
        is_plain = type(part) is Text and part.cache_control is None  # `replace` takes several times as long
        bare = Text("", "", part.vendor, extras=part.extras) if is_plain else replace(part, text="", signature="")
        yield PartStart(index, bare, candidate)
        if part.text:
            yield PartDelta(index, part.text, "", candidate)
        if part.signature:
            yield PartDelta(index, "", part.signature, candidate)
    elif isinstance(part, ToolCall):
        yield PartStart(index, replace(part, arguments_text="", arguments=None), candidate)
        if part.arguments_text:
            yield PartDelta(index, part.arguments_text, "", candidate)
    else:
        yield PartStart(index, part, candidate)
    yield PartEnd(index, candidate)


def events_of(answer: Answer) -> list[StreamEvent]:
    """A whole answer as the stream that it could have been; a Collector turns it back."""
    events: list[StreamEvent] = [Started(answer.id, answer.model, answer.created, answer.service_tier, answer.extras)]
    for number, candidate in enumerate(answer.candidates):
        for index, part in enumerate(candidate.parts):
            events += _events_of_part(index, part, number)
        events.append(Stopped(candidate.stop, number, candidate.extras))
    if answer.usage is not None:
        events.append(UsageSeen(answer.usage))
    return [*events, Finished()]


def merge_extras(old: Extras, new: Extras) -> Extras:
    """Both; of one field the lists are put together, anything else is replaced.

    merge_extras({"v": {"a": [1], "b": 1}}, {"v": {"a": [2], "b": 2}}) -> {"v": {"a": [1, 2], "b": 2}}
    """
    made = {vendor: dict(fields) for vendor, fields in old.items()}
    for vendor, fields in new.items():
        mine = made.setdefault(vendor, {})
        for name, value in fields.items():
            both = isinstance(value, list) and isinstance(mine.get(name), list)
            mine[name] = [*mine[name], *value] if both else value
    return made


def update_extras(old: Extras, new: Extras) -> Extras:
    """As merge_extras, where a list may hold all that came so far: it takes the place of the one that it begins with.

    update_extras({"v": {"a": [1], "b": 1}}, {"v": {"a": [1, 2]}}) -> {"v": {"a": [1, 2], "b": 1}}
    """
    left = {}
    for vendor, fields in old.items():
        later = new.get(vendor, NOTHING)
        left[vendor] = {name: value for name, value in fields.items() if not begins_with(later.get(name), value)}
    return merge_extras(left, new)


def begins_with(items: object, first: object) -> bool:
    """Whether both are lists, and one begins with the other: begins_with([1, 2], [1]) -> True"""
    return isinstance(items, list) and isinstance(first, list) and items[: len(first)] == first


def longer(part: Part, *deltas: PartDelta) -> Part:
    """The part with what deltas add to it."""
    if not deltas or not isinstance(part, ToolCall | Text | Thinking):
        return part
    said, signature = "".join(delta.text for delta in deltas), "".join(delta.signature for delta in deltas)
    if isinstance(part, ToolCall):
        return replace(part, arguments_text=part.arguments_text + said, signature=part.signature + signature)
    extras = part.extras
    for delta in deltas:
        extras = update_extras(extras, delta.extras) if delta.extras else extras
    return replace(part, text=part.text + said, signature=part.signature + signature, extras=extras)


def _whole(part: Part) -> Part:
    """A ToolCall with its arguments read, now that they are all there."""
    if isinstance(part, ToolCall) and not part.custom:
        return replace(part, arguments=object_in(part.arguments_text))
    return part


class Collector:
    """Stream events -> the Answer they make: feed() each, then answer(). Raises what Failed holds.

    One that was not Finished has no answer: answer() raises ValueError.
    """

    __slots__ = ("_ended", "_finished", "_more", "_parts", "_started", "_usage")

    def __init__(self) -> None:
        self._started = Started("", "")
        self._parts: dict[int, dict[int, Part]] = {}
        self._more: dict[tuple[int, int], list[PartDelta]] = {}  # of a part, by candidate and index; put together once
        self._ended: dict[int, Stopped] = {}
        self._usage: Usage | None = None
        self._finished: Finished | None = None

    def feed(self, event: StreamEvent) -> None:
        if isinstance(event, PartStart):
            self._parts.setdefault(event.candidate, {})[event.index] = event.part
        elif isinstance(event, PartDelta):
            self._more.setdefault((event.candidate, event.index), []).append(event)
        elif isinstance(event, Stopped):
            self._ended[event.candidate] = event
        elif isinstance(event, UsageSeen):
            self._usage = event.usage
        elif isinstance(event, Started):
            self._started = event
        elif isinstance(event, Finished):
            self._finished = event
        elif isinstance(event, Failed):
            raise event.error

    def answer(self) -> Answer:
        if self._finished is None:
            raise ValueError("the stream is not finished")
        start, extras = self._started, merge_extras(self._started.extras, self._finished.extras)
        numbers = sorted(self._parts.keys() | self._ended.keys())
        made = tuple(self._candidate(number) for number in numbers)
        return Answer(start.id, start.model, made, self._usage, start.created, start.service_tier, extras)

    def _candidate(self, number: int) -> Candidate:
        stopped = self._ended.get(number, Stopped(Stop("other")))
        parts = tuple(_whole(longer(part, *self._more.get((number, index), ())))
                      for index, part in sorted(self._parts.get(number, {}).items()))  # fmt: skip
        return Candidate(parts, stopped.stop, stopped.extras)
