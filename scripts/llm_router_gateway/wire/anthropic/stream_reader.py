"""Anthropic Messages: events of an upstream's stream -> events of `ir`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ...errors import GatewayError, StreamCut, UpstreamFailed
from .. import ir, verdict
from ..fields import compact
from ..names import mint_id
from ..shapes import Shape, both, unread
from ..sse import Event
from .answer import answer_part, read_stop, tier_of
from .common import SCHEMA_TOOL, VENDOR, Block, error_of, own, read_usage
from .request_reader import read_opaque
from .shapes import ANSWER, BEGINNING, CALL, END, LAST_DELTA, LAST_EVENT, PIECE, START, STARTS, STOP, THINKING
from .shapes import DELTAS as KNOWN_DELTAS

Events = Sequence[ir.StreamEvent]

# type of delta -> (type of block, field)
DELTAS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"), "input_json_delta": ("tool_use", "partial_json"),
}  # fmt: skip
SIGNS_OF_LIFE = frozenset({"ping", "message"})  # the latter names events without a type
GROWING: Mapping[str, ir.Part] = {"text": ir.Text(""), "thinking": ir.Thinking("", "", VENDOR)}


def parse_event(event: Event) -> Block | None:
    """The object in an event; None for anything else."""
    try:
        fields = json.loads(event.data)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def with_usage(known: Block, fields: Mapping[str, Any]) -> bool:
    """Adds what a message_start or message_delta says: the first is the base, the next ones hold running totals."""
    usage = fields.get("usage")
    if not isinstance(usage, dict):
        return False
    known.update((name, value) for name, value in usage.items() if value is not None)
    return True


class Held:
    """A block that only Anthropic knows, until it is whole."""

    __slots__ = ("_block", "_input")

    def __init__(self, block: Block) -> None:
        self._block, self._input = dict(block), ""

    def feed(self, delta: Mapping[str, Any]) -> None:
        if delta.get("type") == "input_json_delta":
            self._input += str(delta.get("partial_json") or "")
        else:
            self._block.update((name, value) for name, value in delta.items() if name != "type")

    def part(self) -> ir.Part:
        if self._input:
            self._block["input"] = ir.object_in(self._input) or {}
        return answer_part(read_opaque(self._block, ""))


class StreamReader:
    """An upstream's events -> neutral ones, one answer: feed() each, close() at the end of the connection.

    Blocks are taken as the API sends them, one after the other. Servers that only resemble it leave out the start or the
    stop of a block, start twice, change the kind inside one, or let two calls grow at once: all that is put in order.
    """

    __slots__ = (
        "_answer_id", "_block", "_called", "_citations", "_held", "_index", "_input", "_kind", "_late", "_open", "_over",
        "_started", "_stopped", "_unread", "_usage", "_waiting",
    )  # fmt: skip
    done = False  # message_stop becomes Finished

    def __init__(self) -> None:
        self._started = self._stopped = self._over = self._called = False
        self._open = False
        self._block: Any = None  # the upstream's index of the open block
        self._kind = ""  # and its type
        self._index = -1  # ours, of the last part
        self._input = ""  # of a call, where it came with the start
        self._held: Held | None = None
        self._citations: list[Any] = []
        self._waiting: list[Block] = []  # events of blocks that began while a call was open
        self._usage: Block = {}
        self._late: dict[str, Any] = {}  # for Finished
        self._unread: ir.Extras = ir.NOTHING  # the same
        self._answer_id = ""

    def feed(self, event: Event) -> Events:
        if self._over:
            return ()
        data = parse_event(event)
        if data is None:
            is_nothing = event.data.startswith("[DONE]") or verdict.carries_nothing(event.data)
            return () if is_nothing else self._on_failure(UpstreamFailed("the upstream sent an event that is "
                                                                                           "not a JSON object"))  # fmt: skip
        return self._take(data, event.event)

    def _take(self, data: Block, name: str) -> Events:
        stated = data.get("type")
        if stated == "content_block_delta" and self._started and not self._stopped and "error" not in data:
            return self._delta(data)
        kind = "error" if isinstance(data.get("error"), dict) else str(stated or name)
        handle = self._HANDLERS.get(kind)
        if handle is None:
            self._lose({} if kind in SIGNS_OF_LIFE else {kind: True})
            return ()
        if self._started or kind in ("message_start", "error"):
            return handle(self, data)
        return [*self._begin({}), *handle(self, data)]

    def _lose(self, names: Mapping[str, Any]) -> None:
        if names:
            self._unread = both(self._unread, {ir.UNREAD: names})

    def _look_in(self, event: Mapping[str, Any], known: Shape) -> None:
        """Names what nothing reads of an event, or of a piece in one."""
        self._unread = both(self._unread, unread(event, known))

    def _look_in_delta(self, data: Block, delta: Block) -> None:
        self._look_in(data, PIECE)
        known = KNOWN_DELTAS.get(str(delta.get("type")))
        if known is not None:
            self._look_in(delta, known)

    def close(self) -> Events:
        """Nothing when all came; else StreamCut."""
        if self._over:
            return ()
        return self._on_failure(StreamCut("the upstream ended the stream before its final event"))

    def _on_failure(self, error: GatewayError) -> Events:
        self._over = True
        return (ir.Failed(error),)

    def _error(self, data: Block) -> Events:
        return self._on_failure(error_of(data, 200))

    def _begin(self, data: Block) -> Events:
        """message_start; a second one only brings its usage."""
        message = data.get("message")
        fields = message if isinstance(message, dict) else {}
        self._look_in(data, BEGINNING)
        stated = with_usage(self._usage, fields)
        usage = [ir.UsageSeen(read_usage(self._usage))] if stated else []
        if self._started:
            is_other = bool(self._answer_id and fields.get("id")) and fields["id"] != self._answer_id
            return self._on_failure(verdict.second_start()) if is_other else usage
        self._started = True
        self._answer_id = str(fields.get("id") or "")
        extras = own(fields, ANSWER)
        start = ir.Started(self._answer_id, str(fields.get("model") or ""), 0, tier_of(fields), extras)
        return [start, *usage]

    # ------------------------------------------------------------------------------------------------------------- blocks

    def _waits(self, data: Block) -> bool:
        """Whether an event belongs to a block that began while a call was open: calls must not run into each other."""
        if self._open and self._kind == "tool_use" and data.get("index", self._block) != self._block:
            self._waiting.append(data)
            return True
        return False

    def _block_start(self, data: Block) -> Events:
        if self._stopped or self._waits(data):
            return ()
        block = data.get("content_block")
        block = block if isinstance(block, dict) else {}
        kind = str(block.get("type"))
        events = [*self._end_part()]
        self._open, self._block, self._kind = True, data.get("index"), kind
        self._look_in(data, START)
        if kind in GROWING:
            self._look_in(block, STARTS[kind])
            return [*events, *self._grow(block, kind)]
        if kind == "tool_use":
            return [*events, self._call(block)]
        if kind == "redacted_thinking":
            self._look_in(block, THINKING)
            return [*events, self._part(ir.Thinking("", "", VENDOR, str(block.get("data") or "")))]
        self._held = Held({**block, "type": kind})
        return events

    def _part(self, part: ir.Part) -> ir.StreamEvent:
        self._index += 1
        return ir.PartStart(self._index, part)

    def _grow(self, block: Block, kind: str) -> list[ir.StreamEvent]:
        """A text or thought; what the start says already is its first delta."""
        events: list[ir.StreamEvent] = [self._part(GROWING[kind])]
        said, signature = block.get(kind) or "", block.get("signature") or ""
        if said or signature:
            events.append(ir.PartDelta(self._index, str(said), str(signature)))
        cited = block.get("citations")
        if isinstance(cited, list) and cited:  # the API sends them in deltas
            self._citations = list(cited)
            events.append(self._quote())
        return events

    def _quote(self) -> ir.StreamEvent:
        """What the open text quotes, all of it so far."""
        return ir.PartDelta(self._index, extras={VENDOR: {"citations": list(self._citations)}})

    def _call(self, block: Block) -> ir.StreamEvent:
        name = str(block.get("name") or "")
        given = block.get("input")
        self._input = compact(given) if isinstance(given, dict) and given else ""
        if name == SCHEMA_TOOL:
            return self._part(ir.Text(""))
        self._called = True
        call_id = str(block.get("id") or "") or mint_id(self._answer_id, self._index, name)
        return self._part(ir.ToolCall(call_id, name, extras=own(block, CALL)))

    def _delta(self, data: Block) -> Events:
        delta = data.get("delta")
        if not isinstance(delta, dict) or (data.get("index") != self._block and self._waits(data)):
            return ()
        if len(data) > 3 or len(delta) > 2 or "index" not in data:  # nearly all hold their three fields and two in them
            self._look_in_delta(data, delta)
        known = DELTAS.get(str(delta.get("type")))
        if known is None or self._held is not None:
            return self._other_delta(delta)
        kind, name = known
        piece = delta.get(name)
        if not piece or not isinstance(piece, str):
            self._look_in_delta(data, delta)
            return ()
        if self._open and kind == self._kind and data.get("index") == self._block:
            self._input = ""
            return (ir.PartDelta(self._index, "", piece) if name == "signature" else ir.PartDelta(self._index, piece),)
        return self._begin_unannounced(kind, name, piece, data)

    def _begin_unannounced(self, kind: str, name: str, piece: str, data: Block) -> Events:
        """A delta without its block: a block of its kind begins with it. A call without a name is none."""
        if kind not in GROWING:
            return self._on_failure(UpstreamFailed("the upstream sent arguments of a call that it did not begin"))
        events = [*self._end_part(), self._part(GROWING[kind])]
        self._open, self._block, self._kind = True, data.get("index"), kind
        signed = name == "signature"
        return [*events, ir.PartDelta(self._index, "" if signed else piece, piece if signed else "")]

    def _untyped_delta(self, data: Block) -> Events:
        """An event whose type is only in its name, or that comes too early or too late."""
        delta = data.get("delta")
        if self._stopped or not isinstance(delta, dict):
            return ()
        self._look_in_delta(data, delta)
        return self._delta(data)

    def _other_delta(self, delta: Block) -> Events:
        if self._held is not None:
            self._held.feed(delta)  # the block goes on whole, and with it what this says
        elif delta.get("type") == "citations_delta" and self._open and self._kind == "text":
            self._citations.append(delta.get("citation"))
            self._look_in(delta, KNOWN_DELTAS["citations_delta"])
            return (self._quote(),)
        else:
            self._lose({str(delta.get("type")): True})
        return ()

    def _end_part(self) -> list[ir.StreamEvent]:
        if not self._open:
            return []
        events: list[ir.StreamEvent] = []
        if self._held is not None:
            events.append(self._part(self._held.part()))
        elif self._input:
            events.append(ir.PartDelta(self._index, self._input))
        events.append(ir.PartEnd(self._index))
        self._open, self._held, self._input, self._kind = False, None, "", ""
        self._citations = []
        return events

    def _block_stop(self, data: Block) -> Events:
        if self._waits(data) or not self._open or data.get("index", self._block) != self._block:
            return ()
        self._look_in(data, STOP)
        return [*self._end_part(), *self._release_held()]

    def _release_held(self) -> list[ir.StreamEvent]:
        """What waited for the end of a call: one block after the other now."""
        waiting, self._waiting = self._waiting, []
        first = waiting[0].get("index") if waiting else None
        ordered = sorted(waiting, key=lambda data: data.get("index") != first)  # stable: the first block's go first
        events: list[ir.StreamEvent] = []
        for data in ordered:
            if not self._over:  # one of them may be the end of all
                events += self._take(data, "")
        return events

    # ---------------------------------------------------------------------------------------------------------------- end

    def _close_open(self) -> list[ir.StreamEvent]:
        events = self._end_part()
        while self._waiting:
            events += self._release_held()
            events += [] if self._over else self._end_part()
        return events

    def _message_delta(self, data: Block) -> Events:
        delta = data.get("delta")
        fields = delta if isinstance(delta, dict) else {}
        events = self._stop(fields) if fields.get("stop_reason") else []
        if self._over:
            return events
        if fields.get("container"):
            self._late["container"] = fields["container"]
        self._look_in(fields, LAST_DELTA)
        self._look_in(data, LAST_EVENT)
        if data.get("context_management"):
            self._late["context_management"] = data["context_management"]
        if with_usage(self._usage, data):
            events.append(ir.UsageSeen(read_usage(self._usage)))
        return events

    def _stop(self, fields: Block) -> list[ir.StreamEvent]:
        if self._stopped:
            return []
        events = self._close_open()
        if self._over:
            return events
        stop = read_stop(fields, self._called)
        self._stopped = True
        return [*events, ir.Stopped(stop)]

    def _message_stop(self, data: Block) -> Events:
        self._look_in(data, END)
        events = self._stop({})
        if self._over:
            return events
        self._over = True
        return [*events, ir.Finished(both({VENDOR: self._late} if self._late else ir.NOTHING, self._unread))]

    _HANDLERS: ClassVar[Mapping[str, Callable[[Any, Block], Events]]] = {
        "message_start": _begin, "content_block_start": _block_start, "content_block_delta": _untyped_delta,
        "content_block_stop": _block_stop, "message_delta": _message_delta, "message_stop": _message_stop, "error": _error,
    }  # fmt: skip
