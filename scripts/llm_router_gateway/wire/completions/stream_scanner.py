"""A relayed stream of text completions: how often text came, its usage, its true end, its error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import GatewayError, UpstreamFailed
from .. import ir
from ..error_bodies import error_in, error_of, is_visible
from ..sse import Event
from ..verdict import carries_nothing, finish_failure
from .answer import usage_in


class Scanner:
    """The end is [DONE], or, for servers that send none, a reason in every choice. If text follows a reason, the server
    sends one with every chunk: then the end is [DONE], or the response's own end after a last reason."""

    __slots__ = ("_choices", "_early", "done", "error", "fed", "finish", "flawed", "outputs", "usage")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.usage: ir.Usage | None = None
        self.finish = ""
        self.error: GatewayError | None = None
        self.flawed = False  # `error` is our verdict, no event of the upstream's own
        self.fed = 0  # events before the one that `error` came with, in the last feed
        self._choices: dict[int, bool] = {}  # whether each has ended
        self._early = False  # text followed a reason

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
        error = error_in(chunk)
        if isinstance(chunk, dict):
            self.usage = usage_in(chunk) or self.usage
        if error:
            self.error, self.flawed = error_of(error, 0), not is_visible(chunk)
            return
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> None:
        index, said, word = choice.get("index"), bool(choice.get("text")), choice.get("finish_reason")
        place = index if type(index) is int else 0
        self.outputs += said
        self._early = self._early or (said and self._choices.get(place, False))
        self._choices[place] = bool(word) or (self._choices.get(place, False) and not said)
        if word and (not self.finish or (self._early and place == 0)):
            self.finish = str(word)
        self.done = all(self._choices.values()) and not self._early
        flaw = finish_failure(word)
        if flaw is not None:
            self.error, self.flawed = flaw, True

    def close(self) -> None:
        """The response has ended properly by the rules of HTTP."""
        self.done = self.done or (bool(self._choices) and all(self._choices.values()))


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
