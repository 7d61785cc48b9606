"""OpenAI chat completions: events of an upstream's stream -> events of `ir`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import BadRequest, GatewayError, StreamCut, UpstreamFailed
from .. import ir, verdict
from ..error_bodies import error_in, error_of
from ..fields import compact
from ..losses import late_tier
from ..names import mint_id
from ..shapes import both, unread
from ..sse import Event
from .answer import matched_in, stop_of
from .common import ERROR_MARK, OWN, chunk_usage, count, own
from .request_reader import google_signature, read_content, read_image, thoughts_in
from .shapes import ANSWER, CALL, FUNCTION, IMAGE, LAST_CHOICE, MESSAGE, STREAMED_CHOICE
from .stream_scanner import place_of, says

# The common fields: where a delta has no other, there are no thoughts to look for.
PLAIN_DELTA = frozenset({"role", "content", "tool_calls", "refusal", "images", "function_call"})


class Slot:
    """One part on its way: what it is, what it holds that was not passed on yet, whether it may end."""

    __slots__ = ("checked", "ended", "index", "kind", "part", "pending", "texts")

    def __init__(self, kind: str, part: ir.Part) -> None:
        self.kind, self.part = kind, part
        self.index = -1  # not begun
        self.ended = False
        self.pending: list[tuple[str, str]] = []  # (text, signature) that came before its turn
        self.texts: list[str] = []  # of a call: all of its arguments so far
        self.checked = -1  # how many of them were looked at last time

    def complete(self) -> bool:
        """Whether nothing more is to come when another part begins: for a call, when its arguments are whole JSON."""
        if self.kind != "call" or (isinstance(self.part, ir.ToolCall) and self.part.custom):
            return True
        if self.checked == len(self.texts) or not self.texts or "}" not in self.texts[-1]:
            return False
        self.checked = len(self.texts)
        return ir.object_in("".join(self.texts)) is not None


class Turn:
    """One choice of a stream: which part is open, which wait for it, which call an index means.

    Parts go on one after the other. A call that begins before the last one is whole waits; so does what comes behind it.
    """

    __slots__ = ("_calls", "_last", "_names", "_next", "_open", "_refusal", "_waiting", "answer_id", "early", "extras",
                 "logprobs", "matched", "native", "number")  # fmt: skip

    def __init__(self, number: int, answer_id: str) -> None:
        self.number, self.answer_id = number, answer_id
        self.native: str | None = None  # finish_reason; output after it shows that it was not the end
        self.early = False  # true after such output: the server sends one with every chunk, and the last one counts
        self.matched: Any = None
        self.extras: ir.Extras = ir.NOTHING
        self.logprobs: dict[str, Any] = {}
        self._open: Slot | None = None
        self._waiting: list[Slot] = []
        self._calls: dict[object, Slot] = {}
        self._last: Slot | None = None
        self._names = 0
        self._next = 0
        self._refusal: list[str] = []

    @property
    def says(self) -> bool:
        """Whether anything came of it."""
        return bool(self._next or self._waiting or self._refusal)

    # -- one delta

    def delta(self, delta: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        """Thoughts, text, refusal, pictures, calls of one delta. Empty ones say nothing."""
        content = delta.get("content")
        if delta.keys() - PLAIN_DELTA:
            self._thoughts(delta, out)
            self.extras = both(self.extras, own(delta, MESSAGE))
        if content:
            self._content(content, out)
        if delta.get("refusal"):
            self._refusal.append(str(delta["refusal"]))
        for image in delta.get("images") or ():
            self.extras = both(self.extras, unread(image, IMAGE, "images."))
            self._whole(read_image(image, "delta.images"), out)
        for call in delta.get("tool_calls") or ():
            self._call(call, out)
        if delta.get("function_call") and not delta.get("tool_calls"):  # some servers send each call in both forms
            self.extras = both(self.extras, unread(delta["function_call"], FUNCTION, "function_call."))
            self._call({"index": 0, "function": delta["function_call"]}, out)

    def _content(self, content: Any, out: list[ir.StreamEvent]) -> None:
        if isinstance(content, str):
            self._grow("text", content, "", out)
            return
        for part in read_content(content, "delta"):  # Mistral's list
            if isinstance(part, ir.Text | ir.Thinking):
                self.extras = both(self.extras, part.extras)
                self._grow("text" if isinstance(part, ir.Text) else "thinking", part.text, "", out)
            else:
                self._whole(part, out)

    def _thoughts(self, delta: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        for thought in thoughts_in(delta):
            if thought.data:
                self._whole(thought, out)
            else:
                self._grow("thinking", thought.text, thought.signature, out, thought.vendor)
        signature = "" if delta.get("tool_calls") else google_signature(delta)
        if signature:
            self._grow("text", "", signature, out, "gemini")

    # -- calls

    def _call(self, call: Any, out: list[ir.StreamEvent]) -> None:
        inner = call.get("function") or call.get("custom") or {}
        given = inner.get("arguments", inner.get("input"))
        given = "" if given is None else given if isinstance(given, str) else compact(given)
        if len(call) > 2 or len(inner) > 1:  # more than index and arguments
            self.extras = both(self.extras, unread(call, CALL, "tool_calls."))
        slot = self._slot_of(call, inner)
        if slot is None:
            slot = self._begin(call, inner)
            self._put(slot, out)
        if given:
            if slot.ended and given.strip():
                raise UpstreamFailed("the upstream continued a tool call that was already complete")
            slot.texts.append(given)
            self._add(slot, given, "", out)

    def _slot_of(self, call: Mapping[str, Any], inner: Mapping[str, Any]) -> Slot | None:
        """The call that a delta goes on with; None when it begins one.

        By index, unless a new id and a name come under it, or without any id a new name; without an index by id, else by
        name: a new name begins a call, and so does the same name again once its arguments are whole.
        """
        index, name, id_ = call.get("index"), inner.get("name"), call.get("id")
        slot = self._calls.get(index) if index is not None else self._calls.get(id_) if id_ else self._last
        if slot is None or not name:
            return slot or (self._last if not name else None)
        begun = slot.part
        if not isinstance(begun, ir.ToolCall):
            return None
        if id_ and id_ != begun.extras.get("came", {}).get("id"):
            return None
        if not id_ and (name != begun.name or (index is None and slot.complete())):
            return None
        return slot

    def _begin(self, call: Mapping[str, Any], inner: Mapping[str, Any]) -> Slot:
        came, name = call.get("id"), inner.get("name")
        if not isinstance(name, str) or not name:
            raise UpstreamFailed("the upstream began a call without a name")
        self._names += 1
        taken = {slot.part.id for slot in self._calls.values() if isinstance(slot.part, ir.ToolCall)}
        id_ = came if isinstance(came, str) and came and came not in taken else ""
        id_ = id_ or mint_id(self.answer_id, self.number, self._names, name)
        signature = google_signature(call)
        vendor = "gemini" if signature else ""
        custom = call.get("type") == "custom"
        part = ir.ToolCall(id_, name, custom=custom, signature=signature, vendor=vendor, extras={"came": {"id": came}})
        slot = self._last = Slot("call", part)
        index = call.get("index")
        self._calls[index if index is not None else came or ("nameless", self._names)] = slot
        return slot

    # -- one part after the other

    def _grow(self, kind: str, text: str, signature: str, out: list[ir.StreamEvent], vendor: str = "") -> None:
        """More of the text or thought that is open or waits last, else a new one."""
        slot = self._waiting[-1] if self._waiting else self._open
        if slot is None or slot.kind != kind:
            made = ir.Text("", vendor=vendor) if kind == "text" else ir.Thinking("", vendor=vendor)
            slot = Slot(kind, made)
            self._put(slot, out)
        self._add(slot, text, signature, out)

    def _whole(self, part: ir.Part, out: list[ir.StreamEvent]) -> None:
        self._put(Slot("whole", part), out)

    def _put(self, slot: Slot, out: list[ir.StreamEvent]) -> None:
        self._waiting.append(slot)
        self._advance(out)

    def _add(self, slot: Slot, text: str, signature: str, out: list[ir.StreamEvent]) -> None:
        if slot is self._open:
            out.append(ir.PartDelta(slot.index, text, signature, self.number))
            if self._waiting:
                self._advance(out)
        else:
            slot.pending.append((text, signature))

    def _advance(self, out: list[ir.StreamEvent], *, all_of_it: bool = False) -> None:
        """Opens what waits, as long as what is open is whole."""
        while self._waiting and (self._open is None or all_of_it or self._open.complete()):
            self._end(out)
            slot = self._open = self._waiting.pop(0)
            slot.index, self._next = self._next, self._next + 1
            part = slot.part
            part = replace(part, extras=ir.NOTHING) if isinstance(part, ir.ToolCall) else part
            out.append(ir.PartStart(slot.index, part, self.number))
            out += [ir.PartDelta(slot.index, text, signature, self.number) for text, signature in slot.pending]
            slot.pending.clear()

    def _end(self, out: list[ir.StreamEvent]) -> None:
        if self._open is not None:
            out.append(ir.PartEnd(self._open.index, self.number))
            self._open.ended = True
            self._open = None

    def finish(self, out: list[ir.StreamEvent]) -> None:
        """What waits goes out, then why the choice ended."""
        if self._refusal:
            self._whole(ir.Refusal("".join(self._refusal)), out)
        self._advance(out, all_of_it=True)
        self._end(out)
        extras = ir.merge_extras(self.extras, {OWN: {"logprobs": self.logprobs}}) if self.logprobs else self.extras
        stop = stop_of(self.native, bool(self._calls), bool(self._refusal), self.matched)
        out.append(ir.Stopped(stop, self.number, extras))

    def add_logprobs(self, found: Mapping[str, Any]) -> None:
        """{"content": [...], "refusal": null}: the lists of all chunks, one behind the other."""
        for name, entries in found.items():
            if isinstance(entries, list):
                self.logprobs.setdefault(name, []).extend(entries)


class StreamReader:
    """An upstream's chunks -> neutral events.

    feed(Event("message", '{"choices": [{"delta": {"content": "Hi"}}], ...}'))
        -> [Started(...), PartStart(0, Text("")), PartDelta(0, "Hi")]
    feed(Event("message", "[DONE]")) -> [PartEnd(0), Stopped(...), Finished()]
    close()                          -> [] after the end; else [Failed(StreamCut)], or the end of one that sends no [DONE]
    """

    __slots__ = ("_extras", "_over", "_started", "_tier", "_turns", "_usage", "done")

    def __init__(self) -> None:
        self.done = False  # every choice has a finish_reason and none went on after it; [DONE] becomes Finished
        self._turns: dict[int, Turn] = {}
        self._started: ir.Started | None = None
        self._usage: ir.Usage | None = None
        self._tier = ""  # as the last chunks say
        self._extras: ir.Extras = ir.NOTHING
        self._over = False

    def feed(self, event: Event) -> list[ir.StreamEvent]:
        if self._over:
            return []
        data = event.data
        if data.startswith("[DONE]"):
            return self._on_finish()
        if len(data) < 8 and verdict.carries_nothing(data):
            return []
        try:
            return self._chunk(json.loads(data), ERROR_MARK in data)
        except GatewayError as error:  # BadRequest: a reader of requests met it; it is the upstream's all the same
            wrong = UpstreamFailed(error.message) if isinstance(error, BadRequest) else error
        except (ValueError, RecursionError):
            wrong = UpstreamFailed("the upstream sent an event that is not JSON")
        except (TypeError, AttributeError):
            wrong = UpstreamFailed("the upstream sent an event of an unknown shape")
        return self._on_failure(wrong)

    def _on_failure(self, error: GatewayError) -> list[ir.StreamEvent]:
        self._over = True
        return [ir.Failed(error)]

    def _chunk(self, chunk: Any, is_suspect: bool) -> list[ir.StreamEvent]:
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        out: list[ir.StreamEvent] = []
        if not choices or is_suspect:
            error = error_in(chunk)
            if error:
                self._count(chunk, out)
                return [*out, *self._on_failure(error_of(error, 0))]
        if not isinstance(chunk, dict):
            return self._on_failure(UpstreamFailed("the upstream sent an event that is not an object"))
        for choice in choices or ():
            try:
                self._choice(choice, chunk, out)
            except UpstreamFailed as error:
                return [*out, *self._on_failure(error)]
        if not ANSWER.fields.issuperset(chunk):
            self._extras = both(self._extras, own(chunk, ANSWER), ir.update_extras)  # some repeat their lists in every chunk
        self._count(chunk, out)
        return out

    def _count(self, chunk: Any, out: list[ir.StreamEvent]) -> None:
        usage = chunk_usage(chunk) if isinstance(chunk, dict) else None
        if usage is not None and usage != self._usage:  # the last one counts, wherever it comes; it never ends anything
            self._usage = usage
            if not chunk.get("choices"):  # the last chunk; some servers report usage in each
                self._tier = str(chunk.get("service_tier") or "") or self._tier
            if self._started is not None:
                out.append(ir.UsageSeen(usage))

    def _choice(self, choice: Any, chunk: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        if self._started is None:
            self._start(chunk, out)
        number = place_of(choice)
        turn = self._turns.get(number)
        if turn is None:
            turn = self._turns[number] = Turn(number, str(chunk.get("id") or ""))
            self.done = False
        delta = choice.get("delta") or choice.get("message")
        if delta:
            if turn.native and says(delta):
                turn.native, turn.early, self.done = None, True, False
            turn.delta(delta, out)
        known = LAST_CHOICE if choice.get("finish_reason") else STREAMED_CHOICE
        if not known.fields.issuperset(choice):
            turn.extras = both(turn.extras, own(choice, known))
        if choice.get("finish_reason"):
            self._finish(turn, choice)
            self._tier = str(chunk.get("service_tier") or "") or self._tier
            flaw = verdict.finish_failure(choice["finish_reason"], choice.get("native_finish_reason"), said=turn.says)
            if flaw is not None:
                raise flaw
        if choice.get("logprobs"):
            turn.add_logprobs(choice["logprobs"])

    def _finish(self, turn: Turn, choice: Mapping[str, Any]) -> None:
        if turn.native and not turn.early:
            return  # the first word counts
        turn.native, turn.matched = choice["finish_reason"], matched_in(choice)
        self.done = all(each.native and not each.early for each in self._turns.values())

    def _start(self, chunk: Mapping[str, Any], out: list[ir.StreamEvent]) -> None:
        id_, model, tier = (str(chunk.get(name) or "") for name in ("id", "model", "service_tier"))
        self._started = ir.Started(id_, model, count(chunk, "created"), tier)
        out.append(self._started)
        if self._usage is not None:
            out.append(ir.UsageSeen(self._usage))

    def _on_finish(self) -> list[ir.StreamEvent]:
        if not self._turns:
            return self._on_failure(verdict.no_answer())
        out: list[ir.StreamEvent] = []
        for _, turn in sorted(self._turns.items()):
            turn.finish(out)
        self._over = True
        first = self._started.service_tier if self._started is not None else ""
        return [*out, ir.Finished(both(self._extras, late_tier(first, self._tier)))]

    def close(self) -> list[ir.StreamEvent]:
        """The connection has ended. Without [DONE] it is an answer only if every choice said why it ended."""
        if self._over:
            return []
        if self._turns and all(turn.native for turn in self._turns.values()):
            return self._on_finish()
        what = "before its final event" if self._turns else "without an answer"
        return self._on_failure(StreamCut(f"the upstream ended the stream {what}"))
