"""Whether an answer meets what its request demanded: see `demands`. Pure.

    seen = Seen(); seen.feed(event), ...     an answer's neutral events; `seen_in(answer)` for a whole one
    unmet(demands, seen)                     -> ["tool_choice=f"]: nothing called f

Many servers accept a forced tool_choice or `n` and do not obey: their answer is passed on, and what is missing is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..errors import GatewayError
from . import ir
from .demands import Demands
from .names import safe_name
from .sse import Event

CUT = frozenset({"length", "context", "refusal", "other"})  # an answer that ended so may have been about to call


class Seen:
    """What came of an answer, as far as a demand may concern it."""

    __slots__ = ("calls", "candidates", "is_cut")

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self.candidates: set[int] = set()
        self.is_cut = False  # it ended where a call may have been about to come

    def feed(self, event: ir.StreamEvent) -> None:
        if isinstance(event, ir.PartStart):
            self._part(event.part)
        elif isinstance(event, ir.Stopped):
            self.candidates.add(event.candidate)
            self.is_cut = self.is_cut or event.stop.reason in CUT

    def _part(self, part: ir.Part) -> None:
        if isinstance(part, ir.ToolCall):
            self.calls.add(part.name)
        elif isinstance(part, ir.Opaque):  # a vendor's own tool at work
            self.is_cut = True


def seen_in(answer: ir.Answer) -> Seen:
    seen = Seen()
    for event in ir.events_of(answer):
        seen.feed(event)
    return seen


class EventReader(Protocol):
    def feed(self, event: Event) -> Iterable[ir.StreamEvent]: ...
    def close(self) -> Iterable[ir.StreamEvent]: ...


class Watcher:
    """Looks at a relayed stream's events for what was demanded. What it cannot read it does not judge."""

    __slots__ = ("_reader", "_seen")

    def __init__(self, reader: EventReader) -> None:
        self._reader: EventReader | None = reader
        self._seen = Seen()

    def feed(self, events: Sequence[Event]) -> None:
        if self._reader is None:
            return
        try:
            for event in events:
                for found in self._reader.feed(event):
                    self._seen.feed(found)
        except GatewayError:
            self._reader, self._seen.is_cut = None, True

    def close(self) -> Seen:
        """All that came, at the stream's end."""
        if self._reader is not None:
            for found in self._reader.close():
                self._seen.feed(found)
            self._reader = None
        return self._seen


def unmet(demands: Demands, seen: Seen) -> list[str]:
    """The demands that an answer does not meet, as they are named to the caller."""
    found = []
    if demands.must_call and not seen.is_cut:
        wanted = {each for name in demands.names for each in (name, safe_name(name))}
        if not seen.calls or (wanted and not wanted & seen.calls):
            found.append(f"tool_choice={'|'.join(demands.names) or 'required'}")
    if demands.n > 1 and 0 < len(seen.candidates) < demands.n:
        found.append(f"n={demands.n}")
    return found
