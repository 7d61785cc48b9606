"""Anthropic Messages: events of `ir` -> bytes of a caller's stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .. import ir
from ..citations import Quoted
from ..fields import compact
from ..losses import lose_counts, lose_extras, lose_part, name_lost
from ..names import own_names, pack_id
from .answer import citation_of, enclose, thinking_block, write_stop, write_whole_block
from .common import VENDOR, Block, Lost, error_event, event_bytes, own_fields, write_tier, write_usage

as_json = json.JSONEncoder(ensure_ascii=False).encode  # of a text: no parse of options each time


def citations_in(extras: ir.Extras) -> list[Any]:
    found = extras.get(VENDOR, ir.NOTHING).get("citations")
    return found if isinstance(found, list) else []


class StreamWriter:
    """Neutral events -> the caller's stream: feed() each. One message_start, one message_delta and message_stop.

    message_start waits for the first block, so that the usage that came by then is in it. A block begins with its first
    content: an empty one would come back in the next request and be refused.
    """

    __slots__ = (
        "_begun", "_block", "_called", "_cited", "_foreign", "_held", "_lost", "_names", "_over", "_part", "_prefix", "_quoted",
        "_request", "_started", "_stop", "_usage",
    )  # fmt: skip

    def __init__(self, request: ir.Request, lost: Lost | None = None, array: bool = False) -> None:
        self._request, self._lost = request, [] if lost is None else lost
        self._names = own_names(request.tools)
        self._started = ir.Started("", "")
        self._begun = self._called = self._over = False
        self._usage: ir.Usage | None = None
        self._stop = ir.Stop("end")
        self._block = -1  # index of the last block
        self._part: ir.Part | None = None  # open, and where it has no block yet, its kind
        self._prefix = ""  # of a delta in the open block; "" = there is no block yet
        self._cited = 0
        self._held = b""  # the end of a text, which waits for what other vendors' models say late: the pages that it rests on
        self._quoted = Quoted(VENDOR)
        self._foreign: list[str] = []  # another vendor's signature of the open thought: pieces

    def feed(self, event: ir.StreamEvent) -> bytes:
        if type(event) is ir.PartDelta and event.candidate == 0 and self._prefix and event.text and not event.extras:
            delta = f"{self._prefix}{as_json(event.text)}}}}}\n\n".encode("utf-8", "backslashreplace")
            return delta + self._signature(event.signature) if event.signature else delta
        handle = self._HANDLERS.get(type(event))
        if handle is None or self._over:
            return b""
        if getattr(event, "candidate", 0):
            name_lost(self._lost, "n")
            return b""
        if self._held and type(event) is not ir.UsageSeen and type(event) is not ir.Stopped:
            held, self._held = self._held, b""
            return held + handle(self, event)
        return handle(self, event)

    def _start(self, event: ir.Started) -> bytes:
        self._started = event
        lose_extras(event.extras, VENDOR, self._lost)
        return b""

    def _note_usage(self, event: ir.UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _head(self) -> bytes:
        """message_start, once."""
        if self._begun:
            return b""
        self._begun = True
        start = self._started
        usage = {**write_usage(self._usage, self._request.input_estimate), **write_tier(start.service_tier, self._lost),
                 "output_tokens": 0}  # fmt: skip
        return event_bytes("message_start", {"type": "message_start", "message": {
            "id": start.id or self._request.answer_id, "type": "message", "role": "assistant",
            "model": start.model or self._request.model, "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": usage, **own_fields(start.extras),
        }})  # fmt: skip

    def _open_block(self, block: Block, delta: str = "", field: str = "") -> bytes:
        """A block begins; `delta` and `field` are those of the deltas that it grows by."""
        self._block += 1
        index = self._block
        self._prefix = delta and (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},'
            f'"delta":{{"type":"{delta}","{field}":'
        )
        fields = {"type": "content_block_start", "index": index, "content_block": block}
        return self._head() + event_bytes("content_block_start", fields)

    def _part_start(self, event: ir.PartStart) -> bytes:
        part = event.part
        self._part, self._cited = part, 0
        lose_part(part, VENDOR, self._lost)
        if isinstance(part, ir.Text):
            self._quoted.say("")  # its words are not needed: pages are listed at its end
            return self._more(part.text, "", part.extras)
        if isinstance(part, ir.Thinking) and not part.data:
            return self._more(part.text, part.signature) if part.text or part.signature else b""
        if isinstance(part, ir.ToolCall):
            return self._call(part)
        block = thinking_block(part) if isinstance(part, ir.Thinking) else write_whole_block(part, self._lost)
        return self._whole(block) if block is not None else b""

    def _whole(self, block: Block) -> bytes:
        """A block that comes at once; text and calls of servers in the form that clients put together."""
        kind = block["type"]
        if kind == "text":
            return self._open_block({"type": "text", "text": ""}, "text_delta", "text") + self._piece(block["text"])
        if kind == "server_tool_use":
            head = self._open_block({**block, "input": {}}, "input_json_delta", "partial_json")
            return head + self._piece(compact(block.get("input") or {}))
        return self._open_block(block)

    def _call(self, part: ir.ToolCall) -> bytes:
        self._called = True
        name = self._names.get(part.name, part.name)
        block = {"type": "tool_use", "id": pack_id(part), "name": name, "input": {}, **own_fields(part.extras)}
        head = self._open_block(block, "input_json_delta", "partial_json")
        return head + self._piece(part.arguments_text) if part.arguments_text else head

    def _piece(self, piece: str) -> bytes:
        return f"{self._prefix}{as_json(piece)}}}}}\n\n".encode("utf-8", "backslashreplace")

    def _signature(self, signature: str) -> bytes:
        part = self._part
        if not isinstance(part, ir.Thinking):
            name_lost(self._lost, "signature")
            return b""
        if part.vendor != VENDOR:  # it goes in an envelope, when it is whole
            self._foreign.append(signature)
            return b""
        return self._signature_delta(signature)

    def _signature_delta(self, signature: str) -> bytes:
        delta = {"type": "signature_delta", "signature": signature}
        return event_bytes("content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": delta})

    def _part_delta(self, event: ir.PartDelta) -> bytes:
        return self._more(event.text, event.signature, event.extras)

    def _more(self, piece: str, signature: str, extras: ir.Extras = ir.NOTHING) -> bytes:
        """What a part grows by; the first of it begins the block."""
        part, head = self._part, b""
        if not self._prefix and isinstance(part, ir.Text) and (piece or citations_in(extras)):
            head = self._open_block({"type": "text", "text": ""}, "text_delta", "text")
        elif not self._prefix and isinstance(part, ir.Thinking) and (piece or signature):
            block = {"type": "thinking", "thinking": "", "signature": ""}
            head = self._open_block(block, "thinking_delta", "thinking")
        if piece and self._prefix:
            head += self._piece(piece)
        if signature:
            head += self._signature(signature)
        if extras:
            lose_extras(extras, VENDOR, self._lost)
        return head + self._citations(extras) if extras and self._prefix else head

    def _citations(self, extras: ir.Extras) -> bytes:
        """Those that are new: a delta holds all so far."""
        found = citations_in(extras)
        new, self._cited = found[self._cited :], len(found)
        return b"".join(map(self._citation, new))

    def _citation(self, citation: Any) -> bytes:
        delta = {"type": "citations_delta", "citation": citation}
        return event_bytes("content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": delta})

    def _part_end(self, event: ir.PartEnd) -> bytes:
        part, opened, signed = self._part, bool(self._prefix) or self._has_block(), b""
        if self._foreign and isinstance(part, ir.Thinking):
            signed = self._signature_delta(enclose(part.vendor, "".join(self._foreign)))
        self._part, self._prefix, self._foreign = None, "", []
        if not opened:
            return b""
        stop = event_bytes("content_block_stop", {"type": "content_block_stop", "index": self._block})
        if isinstance(part, ir.Text):
            self._held = stop
            return signed
        return signed + stop

    def _has_block(self) -> bool:
        """Whether the open part, which does not grow, has a block."""
        part = self._part
        if isinstance(part, ir.Thinking):
            return bool(part.data)
        return isinstance(part, ir.Opaque) and part.vendor == VENDOR

    def _on_stop(self, event: ir.Stopped) -> bytes:
        self._stop = event.stop
        cited, rest = self._quoted.close(event.extras)
        lose_extras(rest, VENDOR, self._lost)
        if cited and not self._held:
            name_lost(self._lost, "citations")
            return b""
        if any(page.start is not None for page in cited):
            name_lost(self._lost, "citations.position")  # the text is written already
        held, self._held = self._held, b""
        return b"".join(self._citation(citation_of(page)) for page in cited) + held

    def _on_finish(self, event: ir.Finished) -> bytes:
        self._over = True
        if self._usage is None:
            name_lost(self._lost, "usage")
        lose_counts(self._usage, VENDOR, self._lost, "cost")
        lose_extras(event.extras, VENDOR, self._lost)
        delta = {**write_stop(self._stop, self._called, self._lost), **own_fields(event.extras)}
        fields = {"type": "message_delta", "delta": delta, "usage": write_usage(self._usage, self._request.input_estimate)}
        return self._head() + event_bytes("message_delta", fields) + event_bytes("message_stop", {"type": "message_stop"})

    def _on_failure(self, event: ir.Failed) -> bytes:
        self._over = True
        return error_event(event.error, "")

    _HANDLERS: ClassVar[Mapping[type, Callable[[Any, Any], bytes]]] = {
        ir.Started: _start, ir.UsageSeen: _note_usage, ir.PartStart: _part_start, ir.PartDelta: _part_delta,
        ir.PartEnd: _part_end, ir.Stopped: _on_stop, ir.Finished: _on_finish, ir.Failed: _on_failure,
    }  # fmt: skip
