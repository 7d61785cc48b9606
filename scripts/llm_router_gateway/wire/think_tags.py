"""Thoughts that a local model writes into its text, as thoughts: <think>...</think> at the very beginning of an answer. Pure.

    ThinkTags(reader)         a Reader whose events have them apart
    split_answer(answer)      the same for a whole answer

Servers that know a model's template do this themselves; one started without it (vLLM without --reasoning-parser, `transformers
serve`, older llama.cpp) passes on what the model wrote. Only the first text of an answer is looked at, and only where it begins
with the tag: a text that speaks about tags stays as it is. What a stream holds back is a beginning that may become a tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from . import ir
from .sse import Event

BEGIN, END = "<think>", "</think>"


class Splitter:
    """The events of one candidate, renumbered as its parts begin."""

    __slots__ = ("_candidate", "_held", "_index", "_next", "_part", "_places", "_state")

    def __init__(self, candidate: int) -> None:
        self._candidate = candidate
        self._state = "unseen"  # unseen, undecided, opened (no thought yet), thinking, after, plain
        self._part: ir.Part = ir.Text("")
        self._index = -1  # of the text that is looked at, as the reader counts
        self._held = ""
        self._next = 0
        self._places: dict[int, int] = {}  # the reader's index -> ours

    def feed(self, event: ir.PartStart | ir.PartDelta | ir.PartEnd) -> Iterator[ir.StreamEvent]:
        if self._state == "unseen" and isinstance(event, ir.PartStart):
            if isinstance(event.part, ir.Text):
                self._state, self._index, self._part = "undecided", event.index, replace(event.part, text="")
                yield from self._more(event.part.text)
                return
            if not isinstance(event.part, ir.Thinking) or event.part.text:
                self._state = "plain"
        if event.index != self._index or self._state == "plain":
            yield from self._pass(event)
        elif isinstance(event, ir.PartEnd):
            yield from self._end(event)
        elif isinstance(event, ir.PartDelta):
            if event.signature or event.extras:
                yield from self._decide_plain()
                yield from self._pass(event)
            else:
                yield from self._more(event.text)

    def _pass(self, event: ir.PartStart | ir.PartDelta | ir.PartEnd) -> Iterator[ir.StreamEvent]:
        if isinstance(event, ir.PartStart):
            yield self._start(event.index, event.part)
        elif event.index in self._places:
            yield replace(event, index=self._places[event.index])

    def _start(self, index: int, part: ir.Part) -> ir.PartStart:
        self._places[index] = self._next
        self._next += 1
        return ir.PartStart(self._places[index], part, self._candidate)

    def _delta(self, text: str) -> Iterator[ir.StreamEvent]:
        if text:
            yield ir.PartDelta(self._places[self._index], text, "", self._candidate)

    def _more(self, text: str) -> Iterator[ir.StreamEvent]:
        self._held += text
        if self._state == "undecided":
            begun = self._held.lstrip()
            if begun.startswith(BEGIN):
                self._state, self._held = "opened", begun.removeprefix(BEGIN)
                yield self._start(self._index, ir.Thinking(""))
            elif not BEGIN.startswith(begun):
                yield from self._decide_plain()
        if self._state == "opened":
            self._held = self._held.lstrip("\n")
            self._state = "thinking" if self._held else "opened"
        if self._state == "thinking":
            yield from self._think()
        elif self._state == "after" and self._held.strip():
            yield self._start(self._index, self._part)
            self._state = "plain"
            held, self._held = self._held.lstrip(), ""
            yield from self._delta(held)

    def _think(self) -> Iterator[ir.StreamEvent]:
        thought, tag, rest = self._held.partition(END)
        if not tag:
            kept = next(size for size in range(len(END) - 1, -1, -1) if not size or self._held.endswith(END[:size]))
            thought, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
            yield from self._delta(thought)
            return
        yield from self._delta(thought)
        yield ir.PartEnd(self._places.pop(self._index), self._candidate)
        self._state, self._held = "after", ""
        yield from self._more(rest)

    def _decide_plain(self) -> Iterator[ir.StreamEvent]:
        """The text is one, with all that was held back of it."""
        if self._state in ("undecided", "after"):
            self._state, held, self._held = "plain", self._held, ""
            yield self._start(self._index, self._part)
            yield from self._delta(held)

    def _end(self, event: ir.PartEnd) -> Iterator[ir.StreamEvent]:
        if self._state == "undecided":
            yield from self._decide_plain()
        elif self._state in ("opened", "thinking"):
            yield from self._delta(self._held)
        self._held, self._state = "", "plain"
        yield from self._pass(event)


class Splitters:
    """The events of a whole answer, of each candidate for itself."""

    def __init__(self) -> None:
        self._candidates: dict[int, Splitter] = {}

    def feed(self, events: Iterable[ir.StreamEvent]) -> Iterator[ir.StreamEvent]:
        for event in events:
            if isinstance(event, ir.PartStart | ir.PartDelta | ir.PartEnd):
                if event.candidate not in self._candidates:
                    self._candidates[event.candidate] = Splitter(event.candidate)
                yield from self._candidates[event.candidate].feed(event)
            else:
                yield event


class ThinkTags:
    """`pipes.Reader` around one."""

    def __init__(self, reader: Any) -> None:
        self._reader, self._splitters = reader, Splitters()

    @property
    def done(self) -> bool:
        return bool(self._reader.done)

    def feed(self, event: Event) -> Iterable[ir.StreamEvent]:
        return list(self._splitters.feed(self._reader.feed(event)))

    def close(self) -> Iterable[ir.StreamEvent]:
        return list(self._splitters.feed(self._reader.close()))


def split_answer(answer: ir.Answer) -> ir.Answer:
    collector = ir.Collector()
    for event in Splitters().feed(ir.events_of(answer)):
        collector.feed(event)
    return collector.answer()
