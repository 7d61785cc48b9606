"""A relayed stream of text completions: how often text came, its usage, its true end, its error."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ...errors import GatewayError, UpstreamFailed
from .. import ir
from ..error_bodies import error_in, error_of
from ..sse import Event
from ..verdict import carries_nothing
from .answer import usage_in


class Scanner:
    """The end is [DONE], or, for servers that send none, a reason in a choice."""

    __slots__ = ("done", "error", "fed", "finish", "flawed", "outputs", "usage")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.usage: ir.Usage | None = None
        self.finish = ""
        self.error: GatewayError | None = None
        self.flawed = False  # `error` is our verdict, no event of the upstream's own
        self.fed = 0  # events before the one that `error` came with, in the last feed

    def feed(self, events: Iterable[Event]) -> None:
        for number, event in enumerate(events):
            if event.data.startswith("[DONE]"):
                self.done = True
            elif not carries_nothing(event.data):
                self._chunk(event.data)
            if self.error is not None:
                self.fed = number
                return

    def _chunk(self, data: str) -> None:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self.error, self.flawed = UpstreamFailed("the upstream sent an event that is not JSON"), True
            return
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        error = error_in(chunk)
        if error:
            self.error = error_of(error, 0)
            return
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self.outputs += bool(choice.get("text"))
                self.finish = self.finish or str(choice.get("finish_reason") or "")
                self.done = self.done or bool(choice.get("finish_reason"))
        if isinstance(chunk, dict):
            self.usage = usage_in(chunk) or self.usage


class StreamChoices:
    """Which choices a relayed stream has, as neutral events: all that a watcher looks for here."""

    def feed(self, event: Event) -> Iterable[ir.StreamEvent]:
        try:
            chunk = json.loads(event.data)
        except (ValueError, RecursionError):
            return
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            index = choice.get("index") if isinstance(choice, dict) else None
            yield ir.Stopped(ir.Stop("end"), index if type(index) is int else 0)

    def close(self) -> Iterable[ir.StreamEvent]:
        return ()
