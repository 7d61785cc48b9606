"""OpenAI chat completions: what passes in a relayed stream: whether it holds output, its usage, its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import GatewayError, UpstreamFailed
from .. import ir, verdict
from ..error_bodies import error_in, error_of
from ..sse import Event
from .common import chunk_usage

OUTPUTS = ("content", "reasoning_content", "reasoning", "tool_calls", "refusal", "reasoning_details", "function_call", "audio",
           "images")  # fmt: skip


def says(delta: Any) -> bool:
    """Whether a delta holds output: says({"content": ""}) -> False; says({"tool_calls": [{...}]}) -> True"""
    if isinstance(delta, dict):
        for name in OUTPUTS:  # no generator: this is done for every piece of a stream
            if delta.get(name):
                return True
    return False


def place_of(choice: Mapping[str, Any]) -> int:
    """Which of the choices a piece belongs to; the first where it does not say."""
    index = choice.get("index")
    return index if type(index) is int and index > 0 else 0


class Scanner:
    """Looks at a relayed stream: how often real output came, its usage, its true end, its error.

    The end is [DONE], or, for servers that send none, when every choice said why it ended.
    """

    __slots__ = ("_calls", "_choices", "_speaking", "done", "error", "fed", "finish", "flawed", "outputs", "usage")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.usage: ir.Usage | None = None
        self.finish = ""  # the first choice's finish_reason
        self.error: GatewayError | None = None
        self.flawed = False  # `error` is our verdict, no event of the upstream's own
        self.fed = 0  # events before the one that `error` came with, in the last feed
        self._speaking: set[int] = set()  # choices without a finish_reason
        self._choices: dict[int, bool] = {}  # whether each said something
        self._calls: dict[int, verdict.Calls] = {}

    def glance(self, event: bytes) -> bool:
        """Whether one whole event only adds text to a stream that has begun: by its bytes, without parsing it.

        A quote inside a JSON string has a backslash before it, so these marks cannot be part of what the model says.
        """
        if (
            self.outputs
            and self._speaking
            and b'"finish_reason":null' in event
            and b'"content":"' in event
            and b'"content":""' not in event
            and b'"error"' not in event
            and (b'"usage"' not in event or b'"usage":null' in event)
            and event.count(b'"index"') == 1
            and b'"index":0' in event
        ):
            self.outputs += 1
            return True
        return False

    @staticmethod
    def is_usage(data: str) -> bool:
        """Whether an event holds the usage and no choice: is_usage('{"choices":[],"usage":{...}}') -> True"""
        if '"usage"' not in data or "[]" not in data:
            return False
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            return False
        return isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)

    def feed(self, events: Iterable[Event]) -> None:
        for number, event in enumerate(events):
            if event.data.startswith("[DONE]"):
                self._end()
            elif len(event.data) > 8 or not verdict.carries_nothing(event.data):
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
        if not choices or "error" in chunk:
            error = error_in(chunk)
            if error:
                self.error = error_of(error, 0)
                return
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._choice(choice)
        if isinstance(chunk, dict):
            self.usage = chunk_usage(chunk) or self.usage

    def _choice(self, choice: dict[str, Any]) -> None:
        place, delta = place_of(choice), choice.get("delta")
        if isinstance(delta, dict) and says(delta):
            self.outputs += 1
            self._choices[place] = True
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                self._call(place, call)
        else:
            self._choices.setdefault(place, False)
        word = choice.get("finish_reason")
        if not word:
            self._speaking.add(place)
            self.done = False
            return
        self._judge(verdict.finish_failure(word, choice.get("native_finish_reason"), said=self._choices[place]))
        if place in self._calls:
            self._judge(self._calls[place].flaw(str(word)))
        self.finish = self.finish or str(word)
        self._speaking.discard(place)
        self.done = not self._speaking

    def _call(self, place: int, call: Any) -> None:
        inner = call.get("function") if isinstance(call, dict) else None
        if isinstance(inner, dict):
            self._calls.setdefault(place, verdict.Calls()).add(call.get("index"), inner.get("arguments"))

    def _end(self) -> None:
        """[DONE]: the turn is over, whatever it held."""
        self.done = True
        if not self._choices:
            self._judge(verdict.no_answer())

    def _judge(self, error: GatewayError | None) -> None:
        if error is not None and self.error is None:
            self.error, self.flawed = error, True
