"""OpenAI chat completions: what passes in a relayed stream: whether it holds output, its usage, its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import GatewayError, UpstreamFailed
from .. import ir, verdict
from ..error_bodies import error_in, error_of, is_visible
from ..sse import Event
from .common import ERROR_MARK, chunk_usage

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

    The end is [DONE], or, for servers that send none, when every choice said why it ended. Where output follows such a word,
    the server sends one with every chunk: then only [DONE], or the end of the response behind a last word, is an end.
    """

    __slots__ = ("_calls", "_choices", "_doubtful", "_early", "_speaking", "done", "error", "fed", "finish", "flawed",
                 "outputs", "usage")  # fmt: skip

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
        self._early = False  # output followed a finish_reason
        self._doubtful: dict[int, GatewayError] = {}  # an unfinished call in the same chunk as a finish_reason

    def glance(self, event: bytes) -> bool:
        """Whether one whole event only adds text to a stream that has begun: by its bytes, without parsing it.

        A quote inside a JSON string has a backslash before it, so these marks cannot be part of what the model says. That the
        rest of such an event is JSON is not checked.
        """
        if (
            self.outputs
            and 0 in self._speaking
            and not self.done
            and b'"finish_reason":null' in event
            and event.count(b'"finish_reason"') == 1
            and b'"content":"' in event
            and b'"content":""' not in event
            and b'"error"' not in event
            and b'"arguments"' not in event
            and (b'"usage"' not in event or event.count(b'"usage"') == event.count(b'"usage":null'))
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
            data = event.data
            if data.startswith("[DONE]"):
                self._end()
            elif not (self.glance(data.encode("utf-8", "replace")) or verdict.carries_nothing(data)):
                self._chunk(data)
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
        if not choices or ERROR_MARK in data:
            error = error_in(chunk)
            if error:
                self.usage = (chunk_usage(chunk) if isinstance(chunk, dict) else None) or self.usage
                self.error, self.flawed = error_of(error, 0), not is_visible(chunk)
                return
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._choice(choice)
        if isinstance(chunk, dict):
            self.usage = chunk_usage(chunk) or self.usage

    def _choice(self, choice: dict[str, Any]) -> None:
        place, called = place_of(choice), False
        delta: Any = choice.get("delta")
        is_new, said = place not in self._choices, says(delta)
        if said:
            self.outputs += 1
            if not is_new and place not in self._speaking:
                self._early = True
                self._doubtful.pop(place, None)
            self._choices[place] = True
            if "tool_calls" in delta or "function_call" in delta:
                called = self._add_calls(place, delta)
        elif is_new:
            self._choices[place] = False
        if choice.get("finish_reason"):
            self._finish(place, choice, called=called)
        elif said or is_new:
            self._speaking.add(place)
            self.done = False

    def _add_calls(self, place: int, delta: Any) -> bool:
        """Reads the pieces of calls in a delta, perhaps in the older form as well; whether there are any."""
        calls, older = delta.get("tool_calls"), delta.get("function_call")
        if isinstance(calls, list) and calls:
            for call in calls:
                self._call(place, call)
        elif isinstance(older, dict):
            self._call(place, {"index": "function_call", "function": older})
        else:
            return False
        return True

    def _call(self, place: int, call: Any) -> None:
        inner = call.get("function") if isinstance(call, dict) else None
        if isinstance(inner, dict):
            self._calls.setdefault(place, verdict.Calls()).add(call.get("index"), inner.get("arguments"))

    def _finish(self, place: int, choice: Mapping[str, Any], *, called: bool) -> None:
        """A finish_reason. Beside a piece of a call it may be from a server that sends one with every chunk."""
        word = choice["finish_reason"]
        self._judge(verdict.finish_failure(word, choice.get("native_finish_reason"), said=self._choices[place]))
        flaw = self._calls[place].flaw(str(word)) if place in self._calls else None
        if flaw is not None and called:
            self._doubtful[place] = flaw
        else:
            self._judge(flaw)
        if not self.finish or (self._early and place == 0):
            self.finish = str(word)
        self._speaking.discard(place)
        self.done = not (self._speaking or self._early or self._doubtful)

    def close(self) -> None:
        """The response has ended properly by the rules of HTTP."""
        if self._choices and not self._speaking:
            self._end()

    def _end(self) -> None:
        """[DONE]: the turn is over, whatever it held."""
        for flaw in self._doubtful.values():
            self._judge(flaw)
        self.done = True
        if not self._choices:
            self._judge(verdict.no_answer())

    def _judge(self, error: GatewayError | None) -> None:
        if error is not None and self.error is None:
            self.error, self.flawed = error, True
