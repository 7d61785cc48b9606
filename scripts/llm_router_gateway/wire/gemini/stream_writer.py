"""Gemini's generateContent: events of `ir` -> bytes of a caller's stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...errors import GatewayError
from .. import ir
from ..citations import GROUNDING, Quoted, grounding
from ..fields import compact
from ..losses import lose_counts, lose_extras, lose_part, lose_tier, name_lost
from ..names import own_names
from .answer import UNCOUNTED, answer_call, answer_part, shows_thoughts, write_stop, write_usage
from .common import VENDOR, Fields, frame, pack_signature, write_error


class Waiting:
    """The open part of a candidate, with what has to wait for its end: a call's text, a signature."""

    __slots__ = ("part", "signature", "texts")

    def __init__(self, part: ir.Part) -> None:
        self.part = part
        self.texts: list[str] = []
        self.signature = ""

    def whole(self) -> ir.Part:
        return ir.longer(self.part, ir.PartDelta(0, "".join(self.texts), self.signature))


METHODS: Mapping[type, str] = {  # of the writer, by what it is fed
    ir.Started: "_on_start", ir.PartStart: "_part_start", ir.PartEnd: "_part_end", ir.Stopped: "_on_stop",
    ir.UsageSeen: "_usage_seen", ir.Finished: "_on_finish", ir.Failed: "_on_failure",
}  # fmt: skip


class StreamWriter:
    """Neutral events -> a Gemini client's stream: server-sent events, or the items of one JSON array.

    A text goes on as it comes; a call waits until it is whole, since Gemini has no pieces of one; so does a signature. The last
    chunk holds the reason for the end and the usage, and nothing follows: the stream ends with the connection.
    """

    __slots__ = ("_answer_id", "_array", "_began", "_head", "_lost", "_malformed", "_model", "_names", "_open", "_quoted",
                 "_shown", "_stops", "_tails", "_usage")  # fmt: skip

    def __init__(self, request: ir.Request, *, lost: list[str], array: bool = False) -> None:
        self._lost, self._array, self._began = lost, array, False
        self._names, self._shown = own_names(request.tools), shows_thoughts(request)
        self._model, self._answer_id = request.model, request.answer_id
        self._head: Fields = {"modelVersion": request.model}
        self._tails: dict[int, str] = {}
        self._open: dict[int, Waiting] = {}  # candidate -> its part
        self._quoted: dict[int, Quoted] = {}
        self._stops: dict[int, ir.Stopped] = {}
        self._malformed: dict[int, str] = {}
        self._usage: ir.Usage | None = None

    def feed(self, event: ir.StreamEvent) -> bytes:
        if type(event) is ir.PartDelta:
            return self._delta(event)
        written: bytes = getattr(self, METHODS[type(event)])(event)
        return written

    def fail(self, error: GatewayError, request_id: str = "") -> bytes:
        """The last words of a stream that failed, in the form that this one has."""
        return self._frame(compact(write_error(error, request_id)[2])) + (b"]" if self._array else b"")

    def _frame(self, data: str) -> bytes:
        if not self._array:
            return frame(data)
        mark = ",\r\n" if self._began else "["
        self._began = True
        return (mark + data).encode("utf-8", "backslashreplace")

    def _chunk(self, part: Fields, candidate: int) -> bytes:
        return self._frame(f'{{"candidates":[{{"content":{{"parts":[{compact(part)}{self._tail(candidate)}')

    def _tail(self, candidate: int) -> str:
        """What follows the parts in every chunk, written once."""
        tail = self._tails.get(candidate)
        if tail is None:
            tail = f'],"role":"model"}},"index":{candidate}}}],{compact(self._head)[1:]}'
            self._tails[candidate] = tail
        return tail

    def _on_start(self, event: ir.Started) -> bytes:
        id = event.id or self._answer_id
        self._head = {"modelVersion": event.model or self._model, **({"responseId": id} if id else {})}
        lose_tier(event.service_tier, self._lost)
        lose_extras(event.extras, VENDOR, self._lost)
        return b""

    def _part_start(self, event: ir.PartStart) -> bytes:
        part = event.part
        self._open[event.candidate] = Waiting(part)
        lose_part(part, VENDOR, self._lost)
        if isinstance(part, ir.Text):
            quoted = self._quoted.setdefault(event.candidate, Quoted(VENDOR))
            lose_extras(quoted.begin(part.extras), VENDOR, self._lost)
            quoted.say(part.text)
        if isinstance(part, ir.Text) and part.text:
            return self._chunk({"text": part.text}, event.candidate)
        if isinstance(part, ir.Text | ir.Thinking | ir.ToolCall):
            return b""
        made = answer_part(part, self._names, self._shown, self._lost)
        return self._chunk(made, event.candidate) if made is not None else b""

    def _delta(self, event: ir.PartDelta) -> bytes:
        waiting = self._open.get(event.candidate)
        if waiting is None:
            return b""
        waiting.signature += event.signature
        kind, extras = type(waiting.part), event.extras
        if kind is ir.Text:
            self._quoted[event.candidate].say(event.text)
            extras = self._quoted[event.candidate].more(extras) if extras else extras
        if extras:
            lose_extras(extras, VENDOR, self._lost)
        if kind is ir.Text and event.text:
            return self._chunk({"text": event.text}, event.candidate)
        if kind is ir.ToolCall:
            waiting.texts.append(event.text)
        elif kind is ir.Thinking and self._shown and event.text:
            return self._chunk({"text": event.text, "thought": True}, event.candidate)
        return b""

    def _part_end(self, event: ir.PartEnd) -> bytes:
        waiting = self._open.pop(event.candidate, None)
        if waiting is None:
            return b""
        part = waiting.whole()
        if isinstance(part, ir.Text):
            self._quoted[event.candidate].end()
        made: Fields | None = None
        if isinstance(part, ir.ToolCall):
            made = answer_call(part, self._names, self._lost)
            if made is None:
                self._malformed[event.candidate] = self._names.get(part.name, part.name)
        elif isinstance(part, ir.Text) and part.signature:
            made = {"text": "", "thoughtSignature": pack_signature(part)}
        elif isinstance(part, ir.Thinking) and (part.signature or part.data) and not self._shown:
            name_lost(self._lost, "thinking.signature")
        elif isinstance(part, ir.Thinking) and (part.signature or part.data):
            made = {"text": "", "thought": True, "thoughtSignature": pack_signature(part)}
        return self._chunk(made, event.candidate) if made is not None else b""

    def _on_stop(self, event: ir.Stopped) -> bytes:
        quoted = self._quoted.get(event.candidate)
        cited, rest = quoted.close(event.extras) if quoted is not None else ([], event.extras)
        lose_extras(rest, VENDOR, self._lost)
        if cited and quoted is not None:
            rest = ir.merge_extras(rest, {VENDOR: {GROUNDING: grounding(cited, quoted.text)}})
        self._stops[event.candidate] = replace(event, extras=rest)
        return b""

    def _usage_seen(self, event: ir.UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _on_finish(self, event: ir.Finished) -> bytes:
        lose_extras(event.extras, VENDOR, self._lost)
        candidates = []
        for place, stopped in sorted(self._stops.items()):
            stop = write_stop(stopped.stop, self._malformed.get(place, ""), self._lost)
            own = stopped.extras.get(VENDOR, {})
            candidates.append({"content": {"parts": [{"text": ""}], "role": "model"}, **stop, "index": place, **own})
        chunk: Fields = {"candidates": candidates}
        if self._usage is not None:
            chunk["usageMetadata"] = write_usage(self._usage)
            lose_counts(self._usage, VENDOR, self._lost, *UNCOUNTED)
        return self._frame(compact({**chunk, **self._head})) + (b"]" if self._array else b"")

    def _on_failure(self, event: ir.Failed) -> bytes:
        return self.fail(event.error)
