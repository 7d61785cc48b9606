"""Gemini's generateContent: events of an upstream's stream -> events of `ir`."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from ...errors import BadRequest, GatewayError, StreamCut, UpstreamFailed
from .. import ir, verdict
from ..fields import compact
from ..shapes import all_unread, both, unread
from ..sse import Event
from .answer import (
    block_reason,
    count,
    created_at,
    extras_in,
    seed_of,
    stop_of,
    usage_of,
)
from .common import MAX_ARGUMENT_ITEMS, STEP, VENDOR, Fields, dicts, error_in, fields_of, normalize
from .request_reader import Calls, read_call, read_part
from .shapes import ANSWER, CANDIDATE, CONTENT, STREAMED_CALL

PLAIN_CANDIDATE = frozenset({"content", "index"})  # of a chunk on the way


class ArgumentPieces:
    """Arguments that come as {"jsonPath": "$.a[0].b", "stringValue": "x"}; texts of one path are joined."""

    __slots__ = ("_more", "value")

    def __init__(self) -> None:
        self.value: Fields = {}
        self._more: set[str] = set()  # paths whose text goes on

    def add(self, piece: Fields) -> None:
        path = str(piece.get("jsonPath") or "")
        steps: list[str | int] = [int(index) if index else name or quoted for name, index, quoted in STEP.findall(path)]
        if not path.startswith("$") or not steps:
            return
        place, last = self._place(steps)
        text_ = piece.get("stringValue")
        if isinstance(text_, str):
            before = self._at(place, last) if path in self._more else ""
            self._set(place, last, (before if isinstance(before, str) else "") + text_)
        else:
            self._set(place, last, piece.get("numberValue", piece.get("boolValue")))
        (self._more.add if piece.get("willContinue") else self._more.discard)(path)

    def _place(self, steps: list[str | int]) -> tuple[Any, str | int]:
        """The object or list that the last step is in, made on the way."""
        place: Any = self.value
        for step, following in pairwise(steps):
            found = self._at(place, step)
            if not isinstance(found, list if isinstance(following, int) else dict):
                found = [] if isinstance(following, int) else {}
                self._set(place, step, found)
            place = found
        return place, steps[-1]

    @staticmethod
    def _at(place: Any, step: str | int) -> Any:
        if isinstance(place, list):
            return place[step] if isinstance(step, int) and step < len(place) else None
        return place.get(step)

    @staticmethod
    def _set(place: Any, step: str | int, value: Any) -> None:
        if isinstance(place, list) and isinstance(step, int):
            if step > MAX_ARGUMENT_ITEMS:
                raise UpstreamFailed(f"the upstream sent an argument with more than {MAX_ARGUMENT_ITEMS} items")
            place.extend([None] * (step + 1 - len(place)))
        place[step] = value


class Side:
    """One candidate of a stream: its parts so far, the one that is open, and why it ended."""

    __slots__ = ("arguments", "extras", "has_calls", "index", "native", "number", "open", "signed", "unread")

    def __init__(self, candidate: int) -> None:
        self.number = candidate
        self.index = -1  # of the last part
        self.open: type | None = None  # Text, Thinking or ToolCall
        self.signed = False  # the open part has its signature: another one is another part's
        self.arguments: ArgumentPieces | None = None  # of the open call
        self.has_calls = False
        self.native: str | None = None
        self.extras: Fields = {}
        self.unread: ir.Extras = ir.NOTHING

    def close_part(self) -> list[ir.StreamEvent]:
        if self.open is None:
            return []
        events: list[ir.StreamEvent] = []
        if self.arguments is not None:
            events.append(ir.PartDelta(self.index, compact(self.arguments.value), "", self.number))
            self.arguments = None
        self.open = None
        return [*events, ir.PartEnd(self.index, self.number)]

    def start(self, part: ir.Part) -> list[ir.StreamEvent]:
        events = self.close_part()
        self.index += 1
        self.open, self.signed = type(part), False
        return [*events, ir.PartStart(self.index, part, self.number)]

    def whole(self, part: ir.Part) -> list[ir.StreamEvent]:
        return [*self.start(part), *self.close_part()]

    def grow(self, kind: type, words: str, signature: str, vendor: str = VENDOR) -> list[ir.StreamEvent]:
        """Text or a thought: more of the open part, or the next one."""
        events: list[ir.StreamEvent] = []
        if self.open is not kind or (self.signed and (words or signature)):
            if not (words or signature):
                return events
            events = self.start(kind("", vendor=vendor))
        if words or signature:
            events.append(ir.PartDelta(self.index, words, signature, self.number))
            self.signed = bool(signature)
        return events

    def call(self, part: Fields, calls: Calls) -> list[ir.StreamEvent]:
        """A call: whole, or (Vertex AI) beginning, going on, or with {} at its end."""
        own = part["functionCall"] if isinstance(part["functionCall"], dict) else {}
        goes_on = "willContinue" in own or "partialArgs" in own
        if not goes_on and not (self.open is ir.ToolCall and not own):
            return self._whole_call(part, calls)
        events: list[ir.StreamEvent] = []
        if own.get("name"):
            events, _ = self._start_call(part, calls)
            self.arguments = ArgumentPieces()
        if self.arguments is not None:
            for piece in dicts(own.get("partialArgs")):
                self.arguments.add(piece)
        return events if goes_on and own.get("willContinue") else [*events, *self.close_part()]

    def _start_call(self, part: Fields, calls: Calls) -> tuple[list[ir.StreamEvent], str]:
        """(the events that begin a call, the arguments that came with it)."""
        fields = fields_of(part, "part")
        found = read_call(fields, f"parts[{self.index + 1}]", calls)
        self.unread = both(self.unread, unread(fields, STREAMED_CALL, spell=normalize))
        self.has_calls = True
        begun = ir.ToolCall(found.id, found.name, signature=found.signature, vendor=found.vendor)
        return self.start(begun), found.arguments_text

    def _whole_call(self, part: Fields, calls: Calls) -> list[ir.StreamEvent]:
        events, arguments = self._start_call(part, calls)
        return [*events, ir.PartDelta(self.index, arguments, "", self.number), *self.close_part()]

    def finish(self) -> list[ir.StreamEvent]:
        extras = both({VENDOR: self.extras} if self.extras else ir.NOTHING, self.unread)
        return [*self.close_part(), ir.Stopped(stop_of(self.native or "", self.has_calls), self.number, extras)]


class StreamReader:
    """An upstream's stream -> neutral events. feed() each event, close() when the connection has ended.

    Gemini says no last word: a stream is whole when each candidate has its finishReason and the connection then ends.
    Some models repeat finishReason on every chunk, so it ends nothing by itself; `done` says that nothing more is needed.
    """

    __slots__ = ("_blocked", "_calls", "_extras", "_over", "_sides", "_started", "_usage")

    def __init__(self) -> None:
        self._started = self._over = False
        self._sides: dict[int, Side] = {}
        self._calls = Calls()
        self._usage: Any = None
        self._extras: Fields = {}  # of the answer; what came last counts
        self._blocked = ""

    @property
    def done(self) -> bool:
        """Whether the end of the connection would be the end of the answer."""
        ended = [side.native for side in self._sides.values()]
        return all(ended) if ended else bool(self._blocked)

    def feed(self, event: Event) -> list[ir.StreamEvent]:
        if self._over:
            return []
        if len(event.data) < 8 and verdict.carries_nothing(event.data):
            return []
        try:
            chunk = json.loads(event.data)
        except (ValueError, RecursionError):
            # OpenAI's last word, which some proxies add to every protocol.
            return [] if event.data.strip() == "[DONE]" else self._fail(UpstreamFailed("the upstream's stream is not JSON"))
        if not isinstance(chunk, dict):
            return self._fail(UpstreamFailed("the upstream's stream holds what is not an object"))
        if "error" in chunk:
            return self._fail(error_in(chunk["error"], 502))
        try:
            return self._chunk(chunk)
        except BadRequest as wrong:  # said of the upstream's fields, not of the caller's
            return self._fail(UpstreamFailed(f"the upstream's stream cannot be read: {wrong.message}"))
        except UpstreamFailed as wrong:
            return self._fail(wrong)

    def _chunk(self, chunk: Fields) -> list[ir.StreamEvent]:
        events: list[ir.StreamEvent] = [] if self._started else self._start(chunk)
        for candidate in dicts(chunk.get("candidates")):
            events += self._candidate(candidate)
        if not ANSWER.fields.issuperset(chunk):
            self._blocked = block_reason(chunk) or self._blocked
            self._extras.update(extras_in(chunk, ANSWER).get(VENDOR, {}))
        usage = chunk.get("usageMetadata")
        if usage is not None and usage != self._usage:
            self._usage = usage
            seen = usage_of(usage, whole=False)  # most chunks of a stream repeat the count
            if seen is not None:
                events.append(ir.UsageSeen(seen))
        return events

    def _start(self, chunk: Fields) -> list[ir.StreamEvent]:
        self._started = True
        self._calls.seed = seed_of(chunk)
        model, created = str(chunk.get("modelVersion", "")), created_at(chunk.get("createTime"))
        return [ir.Started(str(chunk.get("responseId", "")), model, created)]

    def _candidate(self, candidate: Fields) -> list[ir.StreamEvent]:
        place = count(candidate.get("index"))
        side = self._sides.get(place)
        if side is None:
            side = self._sides[place] = Side(place)
        content = candidate.get("content")
        content = content if isinstance(content, dict) else {}
        events: list[ir.StreamEvent] = []
        parts = dicts(content.get("parts"))
        if side.native and any(part.get("text") != "" for part in parts):
            side.native = ""  # output followed: that was not the end
        for part in parts:
            events += self._part(part, side)
        if PLAIN_CANDIDATE.issuperset(candidate) and CONTENT.fields.issuperset(content):  # as nearly all
            return events
        side.native = str(candidate.get("finishReason") or "") or side.native
        found = extras_in(candidate, CANDIDATE)
        if found is not ir.NOTHING:
            side.extras.update(found.get(VENDOR, {}))
            side.unread = both(side.unread, {ir.UNREAD: found.get(ir.UNREAD, {})})
        return events

    def _part(self, part: Fields, side: Side) -> list[ir.StreamEvent]:
        words = part.get("text")
        if len(part) == 1 and side.open is ir.Text and type(words) is str:  # as nearly all come
            return side.grow(ir.Text, words, "")
        if part.get("functionCall") is not None:
            return side.call(part, self._calls)
        found = read_part(part, "part", self._calls)
        if isinstance(found, ir.Text | ir.Thinking):
            side.unread = both(side.unread, all_unread(found.extras))
            return side.grow(type(found), found.text, found.signature)
        return side.whole(found)

    def close(self) -> list[ir.StreamEvent]:
        """The end of the connection: the end of the answer where it was said why, else a failure."""
        if self._over:
            return []
        if not self.done:
            what = "before it said why" if self._started else "without an answer"
            return self._fail(StreamCut(f"the upstream ended the stream {what}"))
        self._over = True
        events: list[ir.StreamEvent] = []
        for side in self._sides.values():
            events += side.finish()
        if not self._sides:
            events.append(ir.Stopped(ir.Stop("refusal", self._blocked)))
        usage = usage_of(self._usage)
        if usage is not None and ir.UNREAD in usage.extras:
            events.append(ir.UsageSeen(usage))
        return [*events, ir.Finished({VENDOR: self._extras} if self._extras else ir.NOTHING)]

    def _fail(self, error: GatewayError) -> list[ir.StreamEvent]:
        self._over = True
        return [ir.Failed(error)]
