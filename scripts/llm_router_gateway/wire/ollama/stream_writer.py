"""Neutral events -> one JSON object a line.

    feed(PartDelta(0, "Hi")) -> b'{"model":"m","created_at":...,"message":{"role":"assistant","content":"Hi"},"done":false}\\n'

A call goes out when it is whole, for it has no pieces here.
"""

from __future__ import annotations

from typing import Any

from .. import ir
from ..citations import lose_all_extras
from ..fields import compact
from ..losses import lose_part, lose_tier, name_lost
from ..names import own_names
from .answer import call_of, date_of, end_of, lose_signature, message_of, text_of


class StreamWriter:
    """The lines that answer `request`."""

    __slots__ = ("_head", "_lost", "_names", "_part", "_request", "_stop", "_texts", "_usage")

    def __init__(self, request: ir.Request, *, lost: list[str] | None = None, array: bool = False) -> None:
        self._request = request
        self._lost: list[str] = lost if lost is not None else []
        self._names = own_names(request.tools)
        self._head: dict[str, Any] = {}
        self._part: ir.Part = ir.Text("")
        self._texts: list[str] = []  # of an open call
        self._stop = ir.Stop("end")
        self._usage: ir.Usage | None = None

    def feed(self, event: ir.StreamEvent) -> bytes:
        if getattr(event, "candidate", 0):
            name_lost(self._lost, "n")
            return b""
        return self._write_event(event).encode("utf-8", "backslashreplace")

    def _write_event(self, event: ir.StreamEvent) -> str:
        if not isinstance(event, ir.PartDelta) or event.extras:
            lose_all_extras(event, self._lost)
        if isinstance(event, ir.PartDelta):
            if event.signature:
                lose_signature(ir.longer(self._part, event), self._lost)
            return self._delta(event.text)
        if isinstance(event, ir.PartStart):
            return self._begun(event.part)
        if isinstance(event, ir.PartEnd):
            return self._on_end()
        if isinstance(event, ir.Started):
            lose_tier(event.service_tier, self._lost)
            self._head = {"model": event.model or self._request.model, "created_at": date_of(event.created)}
        elif isinstance(event, ir.Stopped):
            self._stop = event.stop
        elif isinstance(event, ir.UsageSeen):
            self._usage = event.usage
        elif isinstance(event, ir.Finished):
            return self._line(message_of(self._request), end_of(self._stop, self._usage, self._lost))
        return ""

    def _line(self, message: dict[str, Any], end: dict[str, Any] | None = None) -> str:
        return compact({**self._head, **message, **(end or {"done": False})}) + "\n"

    def _begun(self, part: ir.Part) -> str:
        self._part, self._texts = part, []
        lose_part(part, "", self._lost)
        lose_signature(part, self._lost)
        if isinstance(part, ir.Text | ir.Thinking):
            return self._delta(part.text)
        if isinstance(part, ir.ToolCall):
            self._texts.append(part.arguments_text)
            return ""
        said = text_of(part, self._lost)
        return self._line(message_of(self._request, said)) if said else ""

    def _delta(self, said: str) -> str:
        if isinstance(self._part, ir.ToolCall):
            self._texts.append(said)
        elif said and isinstance(self._part, ir.Text):
            return self._line(message_of(self._request, said))
        elif said and isinstance(self._part, ir.Thinking):
            return self._line(message_of(self._request, thought=said))
        return ""

    def _on_end(self) -> str:
        part = self._part
        if not isinstance(part, ir.ToolCall):
            return ""
        if self._request.reply.echo.get("generates"):
            name_lost(self._lost, "tool_calls")
            return ""
        whole = ir.ToolCall(part.id, part.name, "".join(self._texts), None, part.custom, part.signature, part.vendor)
        return self._line(message_of(self._request, calls=[call_of(whole, self._names, self._lost)]))
