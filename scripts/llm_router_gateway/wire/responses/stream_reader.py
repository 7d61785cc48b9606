"""An upstream's Responses stream -> events of `ir`.

Everything is sent several times: as deltas, when a piece is whole, when its item is whole, in the last event. Servers leave out
one or the other, so each of them adds what the earlier ones lacked: a call whose arguments come only with
function_call_arguments.done, a text that is only in the completed response.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import BadRequest, GatewayError, StreamCut, UpstreamFailed
from .. import ir
from ..error_bodies import error_in, error_of
from ..losses import late_tier
from ..names import mint_id
from ..shapes import all_unread, both, unread
from ..sse import Event
from .answer import candidate_extras, read_item, stop_of
from .common import count, own, read_usage
from .items import read_call
from .shapes import ANSWER, FRAME, OUTPUTS, REPEATED, SIGNS_OF_LIFE

Fields = Mapping[str, Any]


class Slot:
    """One part on its way: what it is, what came of it before its turn, whether it is whole."""

    __slots__ = ("done", "ended", "index", "part", "pending", "said")

    def __init__(self, part: ir.Part, done: bool = False) -> None:
        self.part = part
        self.index = -1  # not begun
        self.done, self.ended = done, False
        self.pending: list[str] = []
        self.said: list[str] = []

    def complete(self) -> bool:
        """Whether it may end when another begins: a call only when it is whole, all else at once."""
        if self.done or not isinstance(self.part, ir.ToolCall):
            return True
        return not self.part.custom and bool(self.said) and ir.object_in("".join(self.said)) is not None


class Line:
    """Parts go on one after the other; what begins before the open one is whole waits."""

    __slots__ = ("_next", "_open", "_waiting", "kinds")

    def __init__(self) -> None:
        self._open: Slot | None = None
        self._waiting: list[Slot] = []
        self._next = 0
        self.kinds: list[ir.Part] = []  # the parts that were begun

    def put(self, slot: Slot, out: list[ir.StreamEvent]) -> Slot:
        self._waiting.append(slot)
        self.kinds.append(slot.part)
        self.advance(out)
        return slot

    def add(self, slot: Slot, said: str, out: list[ir.StreamEvent]) -> Slot:
        """More of a part; the slot that holds it now: one that has ended goes on as another."""
        if slot.ended:
            if isinstance(slot.part, ir.ToolCall):
                if said.strip():
                    raise UpstreamFailed("the upstream continued a tool call that was already complete")
                return slot
            slot = self.put(Slot(slot.part), out)
        slot.said.append(said)
        if slot is self._open:
            out.append(ir.PartDelta(slot.index, said))
            if self._waiting:
                self.advance(out)
        else:
            slot.pending.append(said)
        return slot

    def advance(self, out: list[ir.StreamEvent], *, all_of_it: bool = False) -> None:
        """Opens what waits, as long as what is open may end."""
        while self._waiting and (self._open is None or all_of_it or self._open.complete()):
            self._end(out)
            slot = self._open = self._waiting.pop(0)
            slot.index, self._next = self._next, self._next + 1
            out.append(ir.PartStart(slot.index, slot.part))
            out += [ir.PartDelta(slot.index, said) for said in slot.pending]
            slot.pending.clear()

    def _end(self, out: list[ir.StreamEvent]) -> None:
        if self._open is not None:
            out.append(ir.PartEnd(self._open.index))
            self._open.ended = True
            self._open = None

    def finish(self, out: list[ir.StreamEvent]) -> None:
        self.advance(out, all_of_it=True)
        self._end(out)


class Item:
    """An output item on its way, and which of its pieces are parts."""

    __slots__ = ("call", "finished", "kind", "refusals", "slots", "thought_in")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.slots: dict[tuple[str, int], Slot] = {}  # ("text", content_index) and the like
        self.refusals: set[int] = set()  # content_index of those that went out
        self.thought_in = ""  # summary or content: where its thoughts come; not both
        self.finished = False
        self.call: Slot | None = None


class StreamReader:
    """Events of one answer: feed() each, close() at the end of the connection."""

    __slots__ = ("_answer_id", "_by_id", "_by_index", "_ids", "_last", "_line", "_outputs", "_over", "_started",
                 "_tier", "_unread")  # fmt: skip
    done = False  # the end becomes Finished

    def __init__(self) -> None:
        self._line = Line()
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}
        self._last: Item | None = None
        self._outputs: list[Any] = []  # items that came whole
        self._ids: set[str] = set()  # of calls
        self._answer_id = self._tier = ""
        self._unread: ir.Extras = ir.NOTHING  # for Finished
        self._started = self._over = False

    def feed(self, event: Event) -> list[ir.StreamEvent]:
        data = event.data
        if self._over or (data[:1] != "{" and (not data.strip() or data.startswith("[DONE]"))):
            return []
        out: list[ir.StreamEvent] = []
        try:
            fields = json.loads(data)
            if not isinstance(fields, dict):
                raise UpstreamFailed("the upstream sent an event that is not an object")
            self._take(str(fields.get("type") or event.event), fields, out)
            return out
        except GatewayError as error:  # BadRequest: a reader of requests met it; it is the upstream's all the same
            wrong = UpstreamFailed(error.message) if isinstance(error, BadRequest) else error
        except (ValueError, RecursionError):
            wrong = UpstreamFailed("the upstream sent an event that is not JSON")
        except (TypeError, AttributeError, KeyError):
            wrong = UpstreamFailed("the upstream sent an event of an unknown shape")
        self._over = True
        return [*out, ir.Failed(wrong)]

    def close(self) -> list[ir.StreamEvent]:
        """The connection has ended: nothing where the last event came, else StreamCut."""
        if self._over:
            return []
        self._over = True
        what = "before its final event" if self._started else "without an answer"
        return [ir.Failed(StreamCut(f"the upstream ended the stream {what}"))]

    def _take(self, kind: str, fields: Fields, out: list[ir.StreamEvent]) -> None:
        handler = self._HANDLERS.get(kind)
        if handler is None:
            self._other_event(kind, fields, out)
            return
        if not FRAME.fields.issuperset(fields):
            self._lose(unread(fields, FRAME))
        if not self._started:
            self._start(fields.get("response"), out)
        handler(self, fields, out)

    def _lose(self, names: ir.Extras) -> None:
        self._unread = both(self._unread, names)

    def _other_event(self, kind: str, fields: Fields, out: list[ir.StreamEvent]) -> None:
        """An error, or an event of which nothing becomes part of the answer."""
        if kind in ("error", "response.failed") or (kind == "message" and error_in(fields)):
            self._over = True
            out.append(ir.Failed(error_of(error_in(fields) or {"message": "the upstream's answer failed"}, 0)))
        elif kind.rpartition(".")[0] in REPEATED:
            self._lose(unread(fields, FRAME))
        elif kind not in SIGNS_OF_LIFE:
            self._lose({ir.UNREAD: {kind: True}})

    def _start(self, response: Any, out: list[ir.StreamEvent]) -> None:
        given = response if isinstance(response, dict) else {}
        self._started = True
        self._answer_id = str(given.get("id") or "")
        model, tier = str(given.get("model") or ""), str(given.get("service_tier") or "")
        self._tier = tier
        self._lose(all_unread(own(given, ANSWER)))
        out.append(ir.Started(self._answer_id, model, count(given, "created_at"), tier))

    def _begun(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        """response.created and in_progress only start the answer."""

    # -- items

    def _find_item(self, id_: Any, index: Any) -> Item | None:
        """An item by its id, else by its place: some servers send the one wrong, some the other."""
        found = self._by_id.get(id_) if isinstance(id_, str) and id_ else None
        return found or (self._by_index.get(index) if type(index) is int else None)

    def _item(self, fields: Fields, kind: str) -> Item:
        """The item that a piece belongs to; a new one where it was not announced."""
        found = self._find_item(fields.get("item_id"), fields.get("output_index"))
        if found is None and self._last is not None and self._last.kind == kind and not self._last.finished:
            found = self._last
        return found or self._new(kind, fields.get("item_id"), fields.get("output_index"))

    def _new(self, kind: str, id_: Any, index: Any) -> Item:
        made = self._last = Item(kind)
        if isinstance(id_, str) and id_:
            self._by_id[id_] = made
        if type(index) is int and (index not in self._by_index or self._by_index[index].finished):
            self._by_index[index] = made
        return made

    def _add_item(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        item = fields["item"]
        id_, index, kind = item.get("id"), fields.get("output_index"), str(item.get("type"))
        known = self._by_id.get(id_) if isinstance(id_, str) else None
        made = known or self._new(kind, id_, index)
        if kind in OUTPUTS:
            self._lose(unread(item, OUTPUTS[kind]))
        if kind in ("function_call", "custom_tool_call"):
            self._call(made, item, out)

    def _item_done(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        item = fields["item"]
        known = self._find_item(item.get("id"), fields.get("output_index"))
        if known is None or (known.finished and item.get("id") not in self._by_id):
            known = self._new(str(item.get("type")), item.get("id"), fields.get("output_index"))
        self._whole(known, item, out)

    def _whole(self, made: Item, item: Fields, out: list[ir.StreamEvent]) -> None:
        """An item is there in full: what did not come in pieces comes now."""
        if made.finished:
            return
        made.finished = True
        self._outputs.append(item)
        kind = item.get("type")
        if kind == "message":
            self._whole_message(made, item, out)
        elif kind == "reasoning":
            self._whole_reasoning(made, item, out)
        elif kind in ("function_call", "custom_tool_call"):
            self._call(made, item, out)
            self._whole_call(made, item.get("input" if kind == "custom_tool_call" else "arguments"), out)
        else:
            for part in read_item(item, "item"):
                self._line.put(Slot(part, done=True), out)
        for slot in made.slots.values():
            slot.done = True

    def _whole_message(self, made: Item, item: Fields, out: list[ir.StreamEvent]) -> None:
        content = item.get("content")
        given = [{"type": "output_text", "text": content}] if isinstance(content, str) else content or ()
        for at, part in enumerate(given):
            if part.get("type") == "refusal":
                self._refuse(made, at, part.get("refusal"), out)
            elif isinstance(part.get("text"), str):
                self._complete(made, "text", at, part["text"], out)

    def _whole_reasoning(self, made: Item, item: Fields, out: list[ir.StreamEvent]) -> None:
        encrypted = item.get("encrypted_content")
        names = ("summary",) if encrypted else ("content", "summary")
        for name in names:
            for at, part in enumerate(item.get(name) or ()):
                if isinstance(part.get("text"), str) and made.thought_in in ("", name):
                    self._complete(made, name, at, part["text"], out)
        if encrypted:
            thought = read_item({**item, "summary": []}, "item")
            for part in thought:
                self._line.put(Slot(part, done=True), out)

    # -- pieces

    def _grow(self, made: Item, name: str, at: int, said: str, out: list[ir.StreamEvent]) -> None:
        """More of a text, a summary or a thought. Thoughts come as summaries or in full; one that sends both repeats itself."""
        if not said:
            return
        if name != "text":
            made.thought_in = made.thought_in or name
            if made.thought_in != name:
                return
        slot = made.slots.get((name, at))
        if slot is None:
            slot = self._line.put(Slot(ir.Text("") if name == "text" else ir.Thinking("")), out)
        kept = self._line.add(slot, said, out)
        if kept is not slot:
            kept.said = [*slot.said, said]
        made.slots[name, at] = kept

    def _complete(self, made: Item, name: str, at: int, whole: Any, out: list[ir.StreamEvent]) -> None:
        """A piece is whole: what of it did not come yet."""
        slot = made.slots.get((name, at))
        sent = "".join(slot.said) if slot is not None else ""
        if isinstance(whole, str) and whole.startswith(sent):
            self._grow(made, name, at, whole[len(sent) :], out)

    def _text(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        self._grow(self._item(fields, "message"), "text", count(fields, "content_index"), str(fields.get("delta") or ""), out)

    def _text_done(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        self._complete(self._item(fields, "message"), "text", count(fields, "content_index"), fields.get("text"), out)

    def _summary(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        said = str(fields.get("delta") or "")
        self._grow(self._item(fields, "reasoning"), "summary", count(fields, "summary_index"), said, out)

    def _summary_done(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        self._complete(self._item(fields, "reasoning"), "summary", count(fields, "summary_index"), fields.get("text"), out)

    def _thought(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        said = str(fields.get("delta") or "")
        self._grow(self._item(fields, "reasoning"), "content", count(fields, "content_index"), said, out)

    def _thought_done(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        self._complete(self._item(fields, "reasoning"), "content", count(fields, "content_index"), fields.get("text"), out)

    def _refusal_done(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        self._refuse(self._item(fields, "message"), count(fields, "content_index"), fields.get("refusal"), out)

    def _refuse(self, made: Item, at: int, why: Any, out: list[ir.StreamEvent]) -> None:
        if isinstance(why, str) and at not in made.refusals:
            made.refusals.add(at)
            self._line.put(Slot(ir.Refusal(why), done=True), out)

    # -- calls

    def _call(self, made: Item, item: Fields, out: list[ir.StreamEvent]) -> None:
        """A call begins, once its name is known."""
        if made.call is not None or not item.get("name"):
            return
        call = read_call({**item, "arguments": "", "input": ""}, "item")
        id_ = call.id if call.id not in self._ids else ""
        id_ = id_ or mint_id(self._answer_id, len(self._ids), call.name)
        self._ids.add(id_)
        begun = ir.ToolCall(id_, call.name, custom=call.custom, vendor=call.vendor, signature=call.signature)
        made.call = self._line.put(Slot(begun), out)

    def _arguments(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        made, said = self._item(fields, "function_call"), str(fields.get("delta") or "")
        if made.call is None:
            raise UpstreamFailed("the upstream sent arguments of a call that has no name")
        if said:
            made.call = self._line.add(made.call, said, out)

    def _arguments_done(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        made = self._item(fields, "function_call")
        self._call(made, {"type": "function_call", **fields, "id": fields.get("item_id")}, out)
        self._whole_call(made, fields.get("arguments", fields.get("input")), out)

    def _whole_call(self, made: Item, whole: Any, out: list[ir.StreamEvent]) -> None:
        """The arguments are whole: what of them did not come yet."""
        if made.call is None:
            return  # its name comes with its item
        slot, sent = made.call, "".join(made.call.said)
        if isinstance(whole, str) and whole.startswith(sent) and len(whole) > len(sent):
            made.call = slot = self._line.add(slot, whole[len(sent) :], out)
        slot.done = True
        self._line.advance(out)

    # -- the end

    def _on_end(self, fields: Fields, out: list[ir.StreamEvent]) -> None:
        response = fields["response"]
        output = response.get("output") or ()
        for at, item in enumerate(output):
            known = self._find_item(item.get("id"), at)
            if known is None:
                known = self._new(str(item.get("type")), item.get("id"), at)
            self._whole(known, item, out)
        self._line.finish(out)
        extras = candidate_extras(output or self._outputs)
        out.append(ir.Stopped(stop_of(response, self._line.kinds), 0, extras))
        usage = read_usage(response.get("usage"))
        if usage is not None:
            out.append(ir.UsageSeen(usage))
        self._lose(late_tier(self._tier, str(response.get("service_tier") or "")))
        rest = {name: True for name in self._unread.get(ir.UNREAD, ()) if name not in extras.get(ir.UNREAD, ())}
        out.append(ir.Finished(both(own(response, ANSWER), {ir.UNREAD: rest} if rest else ir.NOTHING)))
        self._over = True

    _HANDLERS: Mapping[str, Callable[[StreamReader, Fields, list[ir.StreamEvent]], None]] = {
        "response.created": _begun, "response.in_progress": _begun, "response.queued": _begun,
        "response.output_item.added": _add_item, "response.output_item.done": _item_done,
        "response.output_text.delta": _text, "response.output_text.done": _text_done,
        "response.reasoning_summary_text.delta": _summary, "response.reasoning_summary_text.done": _summary_done,
        "response.reasoning_text.delta": _thought, "response.reasoning_text.done": _thought_done,
        "response.refusal.done": _refusal_done,
        "response.function_call_arguments.delta": _arguments, "response.function_call_arguments.done": _arguments_done,
        "response.custom_tool_call_input.delta": _arguments, "response.custom_tool_call_input.done": _arguments_done,
        "response.completed": _on_end, "response.incomplete": _on_end,
    }  # fmt: skip
