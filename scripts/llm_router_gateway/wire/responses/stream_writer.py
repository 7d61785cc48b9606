"""Neutral events -> the events of a Responses stream, and the response that they make.

    writer = StreamWriter(request, lost=lost)
    writer.feed(PartDelta(0, "Hi"))  -> b'event: response.output_text.delta\\ndata: {...,"delta":"Hi","logprobs":[]}\\n\\n'
    writer.failure(error)            -> response.failed and the nested error, with all that is whole so far
    writer.response()                -> the response object, as in the last event: for a plain answer, and to be kept

No single event serves every client, so each thing is said everywhere it belongs: text as deltas, in the item's end and in the
completed response; calls when they begin, as deltas, when they are whole, in the item's end and in the completed response. An
item has one id and one output_index in all its events. Which client reads what: references/, "Clients".

Texts in a row become one message; it stays open until another kind of part begins, since annotations come late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.encoder import encode_basestring as quoted
from typing import Any, ClassVar

from ...errors import GatewayError, UpstreamFailed
from .. import ir
from ..chat_parts import refusal_text
from ..citations import GROUNDING, unread_of
from ..fields import compact
from ..losses import lose_counts, lose_extras, lose_part, lose_stop, name_lost, with_value
from ..names import own_names, pack_id
from .common import (
    CALL,
    COMPACTION,
    CUSTOM_CALL,
    IMAGE,
    MESSAGE,
    OPENAI,
    OWN,
    REASONING,
    SEARCH,
    TIERS,
    bare_response,
    failure_events,
    item_id,
    response_id,
    write_usage,
)  # fmt: skip
from .compaction import compaction_item
from .outputs import (
    INCOMPLETE,
    TOLD,
    annotations_in,
    citations_in,
    grounding_annotations,
    seal_signature,
    seal_thought,
)

Fields = dict[str, Any]
TEXT = "response.output_text.delta"
EMPTY_TEXT = '{"type":"output_text","annotations":[],"logprobs":[],"text":""}'
VARYING = ("id", "object", "created_at", "status", "error", "incomplete_details", "model", "usage")
FIXED = ("parallel_tool_calls", "tool_choice", "tools")  # what the answer says where its request does not


class Item:
    """The output item that is open: its id, what it holds so far."""

    __slots__ = ("annotations", "call", "content", "encrypted", "id", "index", "kind", "logprobs", "texts")

    def __init__(self, kind: str, id: str, index: int) -> None:
        self.kind, self.id, self.index = kind, id, index
        self.texts: list[str] = []  # of the open content part, summary or call
        self.content: list[Fields] = []  # content parts or summaries that are whole
        self.annotations: list[Fields] = []  # of the open text
        self.logprobs: list[Any] = []
        self.call: ir.ToolCall | None = None
        self.encrypted = ""


class StreamWriter:
    """Neutral events -> the bytes that answer `request`; one answer."""

    __slots__ = (
        "_base", "_customs", "_echo", "_echo_text", "_growing", "_item", "_items", "_lost", "_names", "_part",
        "_prefix", "_quiet", "_quotes", "_refused", "_request", "_seal", "_sequence", "_signatures", "_start_at", "_stop",
        "_summary", "_texts", "_usage",
    )  # fmt: skip

    def __init__(self, request: ir.Request, *, lost: list[str] | None = None, array: bool = False, quiet: bool = False) -> None:
        """quiet: no events are written; only response() is wanted."""
        self._request, self._quiet = request, quiet
        self._lost: list[str] = lost if lost is not None else []
        self._names = own_names(request.tools)
        self._customs = {tool.name for tool in request.tools if tool.custom}
        self._seal = request.reply.seal
        self._base: Fields = {}  # what varies of the response
        self._echo: Fields = {}  # what is the same in all its events
        self._echo_text = ""
        self._sequence = 0
        self._items: list[Fields] = []
        self._texts: list[str] = []  # of the items, as JSON: written once, sent twice
        self._item: Item | None = None
        self._part: ir.Part = ir.Text("")
        self._start_at = 0  # where in the open text a part began
        self._prefix = ""  # of a delta of the open text; "" = it has none yet
        self._growing: list[str] = []  # the texts of its item
        self._signatures: list[str] = []  # of the open part: pieces
        self._quotes: list[Fields] = []  # what the open part quotes
        self._summary: list[str] | None = [] if request.reply.compaction else None
        self._refused = False  # by the model itself
        self._stop = ir.Stop("end")
        self._usage: ir.Usage | None = None

    def feed(self, event: ir.StreamEvent) -> bytes:
        if (
            type(event) is ir.PartDelta
            and self._prefix
            and event.text
            and not (event.candidate or event.signature or event.extras)
        ):
            return self._more_text(event.text).encode("utf-8", "backslashreplace")  # as most come
        kind = type(event)
        if getattr(event, "candidate", 0):
            name_lost(self._lost, "n")
            return b""
        if kind is ir.PartDelta:
            out = self._delta(event)  # type: ignore[arg-type]  # is its type
        else:
            handler = self._HANDLERS.get(kind)
            out = handler(self, event) if handler is not None else ""
        return out.encode("utf-8", "backslashreplace") if out else b""

    # -- events

    def _event(self, name: str, fields: str) -> str:
        """One event; `fields` is JSON without its braces, "" for none."""
        if self._quiet:
            return ""
        self._sequence += 1
        more = f",{fields}" if fields else ""
        return f'event: {name}\ndata: {{"type":"{name}","sequence_number":{self._sequence - 1}{more}}}\n\n'

    def _of_item(self, name: str, item: Item, fields: str) -> str:
        return self._event(name, f'"item_id":"{item.id}","output_index":{item.index},{fields}')

    def _response_event(self, name: str) -> str:
        return self._event(name, f'"response":{self._response_text()}') if not self._quiet else ""

    def _response_text(self) -> str:
        """The response as JSON; its items and what it repeats of the request were written before."""
        return f'{compact(self._base)[:-1]},"output":[{",".join(self._texts)}],{self._echo_text[1:]}'

    def response(self) -> Fields:
        """The current response: what the last event holds."""
        return {**self._base, "output": list(self._items), **self._echo}

    def _lose(self, extras: ir.Extras) -> None:
        """Names what only another vendor's answer has a place for."""
        if extras:
            lose_extras(extras, OWN, self._lost)

    # -- begin and end

    def _start(self, event: ir.Started) -> str:
        request = self._request
        model = event.model or request.model
        made = request.reply.id or response_id(event.id, model, event.created)
        head = bare_response(made, model, event.created)
        self._base = {name: head[name] for name in VARYING}
        self._echo = {name: head[name] for name in FIXED}
        self._echo |= {"text": {"format": {"type": "text"}}, "metadata": {}, **request.reply.echo}
        self._echo_text = "" if self._quiet else compact(self._echo)
        if event.service_tier in TIERS:
            self._base["service_tier"] = TIERS[event.service_tier]
        elif event.service_tier:
            name_lost(self._lost, with_value("service_tier", event.service_tier))
        self._lose(event.extras)
        return self._response_event("response.created") + self._response_event("response.in_progress")

    def _usage_seen(self, event: ir.UsageSeen) -> str:
        self._usage = event.usage
        return ""

    def _on_stop(self, event: ir.Stopped) -> str:
        """Why it ended; what the answer quoted comes with it, and belongs to the last text."""
        self._stop = event.stop
        out = ""
        if event.extras:
            out = self._late_extras(event.extras)
        return out + self._close()

    def _late_extras(self, extras: ir.Extras) -> str:
        shared, google = dict(extras.get(OPENAI, {})), dict(extras.get("gemini", {}))
        notes = annotations_in(shared.pop("annotations", None))
        if GROUNDING in google and self._text_length():
            said = "".join(self._item.texts) if self._item is not None else ""
            found = grounding_annotations(google[GROUNDING], said)
            notes += found
            if found:
                self._lose(unread_of(GROUNDING, google.pop(GROUNDING)))
        self._lose({vendor: fields for vendor, fields in extras.items() if vendor not in (OPENAI, "gemini")})
        self._lose({"gemini": google})
        logprobs = shared.pop("logprobs", None)
        for name in shared:
            name_lost(self._lost, name)
        item = self._item
        if item is None or item.kind != MESSAGE or not item.texts:
            for name, found in (("annotations", notes), ("logprobs", logprobs)):
                if found:
                    name_lost(self._lost, name)
            return ""
        if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
            item.logprobs = logprobs["content"]
        return "".join(self._annotate(item, note) for note in notes)

    def _on_finish(self, event: ir.Finished) -> str:
        self._lose(event.extras)
        out = self._close()
        if self._summary is not None:
            out += self._write_compaction()
        stop = self._stop
        reason, explained = INCOMPLETE.get(stop.reason), False
        if stop.reason == "refusal":
            reason = None if self._refused else reason  # the model's own refusal is an answer, and complete
            explained = bool(reason) and not any(item.get("type") == "message" for item in self._items)
            if explained:
                out += self._refuse(refusal_text(stop)) + self._close()
        lose_stop(stop, TOLD, self._lost, explained=explained)
        self._base["status"] = "incomplete" if reason else "completed"
        if reason:
            self._base["incomplete_details"] = {"reason": reason}
        if self._usage is not None:
            self._base["usage"] = write_usage(self._usage)
            lose_counts(self._usage, OWN, self._lost, "cache_write_1h")
        return out + self._response_event("response.incomplete" if reason else "response.completed")

    def _write_compaction(self) -> str:
        """The summary as the one item of the answer."""
        summary, seal = "".join(self._summary or ()).strip(), self._seal
        if not summary or seal is None:
            raise UpstreamFailed("the model wrote no summary: the conversation cannot be compacted; try again, or start over")
        made = item_id(self._base["id"], COMPACTION, 0)
        return self._whole_item(compaction_item(made, summary, seal))

    def failure(self, error: GatewayError, request_id: str = "") -> bytes:
        """The end of a stream that broke. What is whole of it stays in the failed response."""
        reply, model = self._request.reply, self._request.model
        known = self.response() if self._base else bare_response(reply.id or response_id(request_id, model), model)
        return failure_events(known, self._sequence, error)

    # -- parts

    def _part_start(self, event: ir.PartStart) -> str:
        part = self._part = event.part
        self._signatures, self._quotes, self._prefix = [], [], ""
        lose_part(part, OWN, self._lost)
        if self._summary is not None:
            if isinstance(part, ir.Text):
                self._summary.append(part.text)
            return ""
        if isinstance(part, ir.Text):
            self._start_at = self._text_length()
            self._quote(part.extras)
            return self._text(part.text) if part.text else ""
        if isinstance(part, ir.Thinking):
            out = "" if self._item is not None and self._item.kind == REASONING and not self._item.encrypted else self._close()
            return out + (self._think(part.text) if part.text else "")
        if isinstance(part, ir.Refusal):
            self._refused = True
            return self._refuse(part.text)
        out = self._close()
        return out + (self._call(part) if isinstance(part, ir.ToolCall) else self._whole(part))

    def _delta(self, event: ir.PartDelta) -> str:
        said, part = event.text, self._part
        if self._summary is not None:
            if isinstance(part, ir.Text):
                self._summary.append(said)
            return ""
        if event.signature:
            self._signatures.append(event.signature)
        if isinstance(part, ir.Text):
            self._quote(event.extras)
            return self._text(said) if said else ""
        if not said:
            return ""
        if isinstance(part, ir.Thinking):
            return self._think(said)
        return self._arguments(said) if isinstance(part, ir.ToolCall) else ""

    def _part_end(self, event: ir.PartEnd) -> str:
        part, signature = self._part, "".join(self._signatures)
        self._prefix = ""
        if self._summary is not None:
            return ""
        if isinstance(part, ir.ToolCall):
            return self._call_end()
        if isinstance(part, ir.Thinking):
            return self._thought_end(part, part.signature + signature)
        if isinstance(part, ir.Text):
            out = self._write_quotes() if self._quotes else ""
            signed = part.signature + signature
            return out + (self._sign_text(part, signed) if signed else "")
        return ""

    # -- items

    def _open(self, kind: str, id: str = "") -> Item:
        index = len(self._items)
        self._item = Item(kind, id or item_id(self._base["id"], kind, index), index)
        return self._item

    def _add_item(self, item: Item, fields: Fields) -> str:
        if self._quiet:
            return ""
        return self._event("response.output_item.added", f'"output_index":{item.index},"item":{compact(fields)}')

    def _end_item(self, fields: Fields) -> str:
        """An item is whole."""
        self._items.append(fields)
        self._item = None
        if self._quiet:
            return ""
        self._texts.append(compact(fields))
        return self._event("response.output_item.done", f'"output_index":{len(self._items) - 1},"item":{self._texts[-1]}')

    def _whole_item(self, fields: Fields) -> str:
        """An item that comes in one."""
        out = self._event("response.output_item.added", f'"output_index":{len(self._items)},"item":{compact(fields)}')
        return out + self._end_item(fields)

    def _close(self) -> str:
        item = self._item
        if item is None:
            return ""
        if item.kind == MESSAGE:
            return self._message_end(item)
        return self._reasoning_end(item) if item.kind == REASONING else ""

    # -- messages

    def _message(self) -> tuple[Item, str]:
        if self._item is not None and self._item.kind == MESSAGE:
            return self._item, ""
        out = self._close()
        item = self._open(MESSAGE)
        fields = {"id": item.id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        return item, out + self._add_item(item, fields)

    def _text_length(self) -> int:
        item = self._item
        return sum(map(len, item.texts)) if item is not None and item.kind == MESSAGE else 0

    def _text(self, said: str) -> str:
        item, out = self._message()
        if not item.texts:
            out += self._of_item(
                "response.content_part.added", item, f'"content_index":{len(item.content)},"part":{EMPTY_TEXT}'
            )
        if self._quiet:
            item.texts.append(said)
            return ""
        self._growing = item.texts
        self._prefix = (f'event: {TEXT}\ndata: {{"type":"{TEXT}","item_id":"{item.id}","output_index":{item.index},'
                        f'"content_index":{len(item.content)},"delta":')  # fmt: skip
        return out + self._more_text(said)

    def _more_text(self, said: str) -> str:
        """A delta of the open text, whose part has begun to grow."""
        self._growing.append(said)
        self._sequence += 1
        return f'{self._prefix}{quoted(said)},"logprobs":[],"sequence_number":{self._sequence - 1}}}\n\n'

    def _annotate(self, item: Item, note: Fields) -> str:
        at, place = len(item.annotations), len(item.content)
        item.annotations.append(note)
        fields = f'"content_index":{place},"annotation_index":{at},"annotation":{compact(note)}'
        return self._of_item("response.output_text.annotation.added", item, fields)

    def _quote(self, extras: ir.Extras) -> None:
        """What the open part quotes, all of it so far."""
        if extras:
            found, rest = citations_in(extras)
            self._quotes = found or self._quotes
            lose_extras(rest, OWN, self._lost)

    def _write_quotes(self) -> str:
        """The part that quotes is the quotation's place."""
        item, end = self._item, self._text_length()
        if item is None or item.kind != MESSAGE or end == self._start_at:
            name_lost(self._lost, "citations")
            return ""
        place = {"start_index": self._start_at, "end_index": end}
        return "".join(self._annotate(item, {**note, **place}) for note in self._quotes)

    def _text_end(self, item: Item) -> str:
        """The open text of a message is whole."""
        if not item.texts:
            return ""
        said, at = "".join(item.texts), len(item.content)
        part = {"type": "output_text", "annotations": item.annotations, "logprobs": item.logprobs, "text": said}
        item.content.append(part)
        item.texts, item.annotations, item.logprobs = [], [], []
        if self._quiet:
            return ""
        done = f'"content_index":{at},"text":{quoted(said)},"logprobs":{compact(part["logprobs"])}'
        out = self._of_item("response.output_text.done", item, done)
        return out + self._of_item("response.content_part.done", item, f'"content_index":{at},"part":{compact(part)}')

    def _message_end(self, item: Item) -> str:
        out = self._text_end(item)
        status = "incomplete" if self._stop.reason in INCOMPLETE and self._stop.reason != "refusal" else "completed"
        return out + self._end_item(
            {"id": item.id, "type": "message", "status": status, "role": "assistant", "content": item.content}
        )

    def _refuse(self, why: str) -> str:
        """A refusal is a part of a message, behind its text."""
        item, out = self._message()
        out += self._text_end(item)
        at, part = len(item.content), {"type": "refusal", "refusal": why}
        out += self._of_item(
            "response.content_part.added", item, f'"content_index":{at},"part":{compact({**part, "refusal": ""})}'
        )
        out += self._of_item("response.refusal.delta", item, f'"content_index":{at},"delta":{quoted(why)}')
        out += self._of_item("response.refusal.done", item, f'"content_index":{at},"refusal":{quoted(why)}')
        item.content.append(part)
        return out + self._of_item("response.content_part.done", item, f'"content_index":{at},"part":{compact(part)}')

    def _sign_text(self, part: ir.Text, signature: str) -> str:
        """A signed text ends its message; an item without a thought carries the signature to the next turn."""
        out = self._close()
        if self._seal is None:
            name_lost(self._lost, "signature")
            return out
        made = item_id(self._base["id"], REASONING, len(self._items))
        encrypted = seal_signature(self._seal, part.vendor, signature)
        return out + self._whole_item({"id": made, "type": "reasoning", "status": "completed", "summary": [],
                                       "encrypted_content": encrypted})  # fmt: skip

    # -- thoughts

    def _reasoning(self, id: str = "") -> tuple[Item, str]:
        if self._item is not None and self._item.kind == REASONING:
            return self._item, ""
        out = self._close()
        item = self._open(REASONING, id)
        return item, out + self._add_item(item, {"id": item.id, "type": "reasoning", "status": "in_progress", "summary": []})

    def _think(self, said: str) -> str:
        item, out = self._reasoning()
        at = len(item.content)
        if not item.texts:
            part = '{"type":"summary_text","text":""}'
            out += self._of_item("response.reasoning_summary_part.added", item, f'"summary_index":{at},"part":{part}')
        item.texts.append(said)
        return out + self._of_item(
            "response.reasoning_summary_text.delta", item, f'"summary_index":{at},"delta":{quoted(said)}'
        )

    def _summary_end(self, item: Item) -> str:
        if not item.texts:
            return ""
        said, at = "".join(item.texts), len(item.content)
        item.texts = []
        part = {"type": "summary_text", "text": said}
        item.content.append(part)
        out = self._of_item("response.reasoning_summary_text.done", item, f'"summary_index":{at},"text":{quoted(said)}')
        return out + self._of_item("response.reasoning_summary_part.done", item, f'"summary_index":{at},"part":{compact(part)}')

    def _thought_end(self, part: ir.Thinking, signature: str) -> str:
        """A signed thought ends its item, which holds it to the letter; others may get more summaries."""
        said = "".join(self._item.texts) if self._item is not None and self._item.kind == REASONING else ""
        out = self._summary_end(self._item) if said and self._item is not None else ""
        if not (signature or part.data):
            return out
        item, begun = self._reasoning()
        if part.vendor == OPENAI and part.data:
            item.encrypted = part.data
        elif self._seal is not None:
            item.encrypted = seal_thought(self._seal, part, said, signature)
        else:
            name_lost(self._lost, "thinking.signature" if signature else "thinking.data")
        return out + begun + self._close()

    def _reasoning_end(self, item: Item) -> str:
        out = self._summary_end(item)
        made: Fields = {"id": item.id, "type": "reasoning", "status": "completed", "summary": item.content}
        return out + self._end_item(made | ({"encrypted_content": item.encrypted} if item.encrypted else {}))

    # -- calls

    def _call(self, part: ir.ToolCall) -> str:
        """A call begins. One of a custom tool that another vendor made is held until its text can be taken out."""
        name = self._names.get(part.name, part.name)
        custom = part.custom or name in self._customs
        item = self._open(CUSTOM_CALL if custom else CALL)
        item.call = part
        if part.signature and part.vendor != "gemini":
            name_lost(self._lost, "signature")
        out = ""
        if part.custom or not custom:
            out = self._add_item(item, self._call_fields(item, "", done=False))
        return out + (self._arguments(part.arguments_text) if part.arguments_text else "")

    def _call_fields(self, item: Item, given: str, *, done: bool) -> Fields:
        call = item.call or ir.ToolCall("", "")
        name = self._names.get(call.name, call.name)
        namespace, inner = self._request.reply.namespaces.get(name, ("", name))
        custom = item.kind == CUSTOM_CALL
        made: Fields = {"id": item.id, "type": "custom_tool_call" if custom else "function_call"}
        made |= {"status": "completed" if done else "in_progress", "call_id": pack_id(call), "name": inner}
        made["input" if custom else "arguments"] = given
        return made | ({"namespace": namespace} if namespace else {})

    def _arguments(self, said: str) -> str:
        item = self._item
        if item is None or item.call is None:
            return ""
        item.texts.append(said)
        if item.kind == CUSTOM_CALL and not item.call.custom:
            return ""
        name = "custom_tool_call_input" if item.kind == CUSTOM_CALL else "function_call_arguments"
        return self._of_item(f"response.{name}.delta", item, f'"delta":{quoted(said)}')

    def _call_end(self) -> str:
        item = self._item
        if item is None or item.call is None:
            return ""
        given, out = "".join(item.texts), ""
        if item.kind == CUSTOM_CALL:
            if not item.call.custom:
                value = ir.object_in(given)
                found = value.get("input") if value is not None else None
                given = found if isinstance(found, str) else given
                out = self._add_item(item, self._call_fields(item, "", done=False))
                out += self._of_item("response.custom_tool_call_input.delta", item, f'"delta":{quoted(given)}')
            out += self._of_item("response.custom_tool_call_input.done", item, f'"input":{quoted(given)}')
            return out + self._end_item(self._call_fields(item, given, done=True))
        if not given:
            given = "{}"
            out = self._arguments(given)
        out += self._of_item("response.function_call_arguments.done", item, f'"arguments":{quoted(given)}')
        return out + self._end_item(self._call_fields(item, given, done=True))

    # -- parts that come whole

    def _whole(self, part: ir.Part) -> str:
        """Pictures, and what only one vendor knows."""
        if isinstance(part, ir.Media) and part.kind == "image" and part.data:
            made = item_id(self._base["id"], IMAGE, len(self._items))
            fields = {"id": made, "type": "image_generation_call", "status": "completed", "result": part.data}
            kind = part.media_type.removeprefix("image/")
            return self._whole_item(fields | ({"output_format": kind} if kind not in ("", "png") else {}))
        if isinstance(part, ir.Opaque):
            return self._opaque(part)
        name_lost(self._lost, part.kind if isinstance(part, ir.Media) else "tool_result")
        return ""

    def _opaque(self, part: ir.Opaque) -> str:
        if part.vendor == OWN and isinstance(part.value.get("type"), str):
            made = dict(part.value)
            made.setdefault("id", item_id(self._base["id"], MESSAGE, len(self._items)))
            return self._whole_item(made)
        if part.kind == "server_tool_use" and part.value.get("name") == "web_search":
            wanted = part.value.get("input")
            query = wanted.get("query") if isinstance(wanted, dict) else None
            action = {"type": "search", "query": query if isinstance(query, str) else "", "queries": [query] if query else []}
            made = {"id": item_id(self._base["id"], SEARCH, len(self._items)), "type": "web_search_call",
                    "status": "completed", "action": action}  # fmt: skip
            return self._whole_item(made)
        if part.text:
            return self._text(part.text)
        name_lost(self._lost, part.kind)
        return ""

    _HANDLERS: ClassVar[Mapping[type, Callable[[Any, Any], str]]] = {
        ir.Started: _start, ir.PartStart: _part_start, ir.PartEnd: _part_end, ir.Stopped: _on_stop, ir.UsageSeen: _usage_seen,
        ir.Finished: _on_finish,
    }  # fmt: skip
