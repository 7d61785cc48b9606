"""Neutral events -> the chunks of a text completion.

feed(PartDelta(0, "Hi")) -> b'data: {"id":...,"choices":[{"text":"Hi","index":0,"logprobs":null,"finish_reason":null}]}\\n\\n'
"""

from __future__ import annotations

from json.encoder import encode_basestring as quoted

from .. import ir
from ..citations import lose_all_extras
from ..fields import compact
from ..losses import lose_counts, lose_stop, lose_tier, name_lost, only_text
from .answer import REASON, TOLD, UNCOUNTED, head_of, write_usage

DONE = "data: [DONE]\n\n"


class StreamWriter:
    """The chunks that answer `request`."""

    __slots__ = ("_base", "_lost", "_parts", "_request", "_usage")

    def __init__(self, request: ir.Request, *, lost: list[str] | None = None, array: bool = False) -> None:
        self._request = request
        self._lost: list[str] = lost if lost is not None else []
        self._base = ""
        self._parts: dict[int, ir.Part] = {}
        self._usage: ir.Usage | None = None

    def feed(self, event: ir.StreamEvent) -> bytes:
        return self._write_event(event).encode("utf-8", "backslashreplace")

    def _write_event(self, event: ir.StreamEvent) -> str:
        if not isinstance(event, ir.PartDelta) or event.extras:
            lose_all_extras(event, self._lost)
        if isinstance(event, ir.PartDelta):
            if not isinstance(self._parts[event.candidate], ir.Text):
                return ""
            if event.signature:
                name_lost(self._lost, "signature")
            return self._write_choice(event.candidate, event.text)
        if isinstance(event, ir.PartStart):
            return self._part(event)
        if isinstance(event, ir.Started):
            lose_tier(event.service_tier, self._lost)
            head = head_of(event.id, event.model or self._request.model, event.created)
            self._base = f'data: {compact(head)[:-1]},"choices":['
        elif isinstance(event, ir.Stopped):
            lose_stop(event.stop, TOLD, self._lost)
            return self._write_choice(event.candidate, "", REASON[event.stop.reason])
        elif isinstance(event, ir.UsageSeen):
            self._usage = event.usage
        elif isinstance(event, ir.Finished):
            return self._on_finish()
        return ""

    def _part(self, event: ir.PartStart) -> str:
        self._parts[event.candidate] = event.part
        said = only_text(event.part, self._lost)
        return self._write_choice(event.candidate, said) if said else ""

    def _write_choice(self, number: int, said: str, reason: str = "") -> str:
        if not (said or reason):
            return ""
        end = f'"{reason}"' if reason else "null"
        return f'{self._base}{{"text":{quoted(said)},"index":{number},"logprobs":null,"finish_reason":{end}}}]}}\n\n'

    def _on_finish(self) -> str:
        usage = self._usage if self._request.include_usage else None
        lose_counts(usage, "", self._lost, *UNCOUNTED)
        return (f'{self._base}],"usage":{compact(write_usage(usage))}}}\n\n' if usage is not None else "") + DONE
