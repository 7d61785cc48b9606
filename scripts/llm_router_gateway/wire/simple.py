"""The base of a protocol that carries text only: one JSON object is an answer, and a stream is events of such objects.

    class Toy(SimpleCodec):
        def read_request(self, fields, *, model=None, stream=None): ...          a caller's body        -> ir.Request
        def write_request(self, request, *, model, quirks, lost): ...            ir.Request             -> an upstream's body
        def read_piece(self, body): ...                                          an answer or an event  -> Piece
        def write_piece(self, piece): ...                                        Piece                  -> an answer or an event

    CODEC = Toy(finish_words={"end": "done", "length": "full"})     what `wire/registry` takes from the module `codec`

Everything else in `spec.Codec` follows from these four. What is not text (thoughts, calls, pictures) is named as lost. A
protocol with more of its own overrides a method, or has a codec of functions, as those in the folders beside this module.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BrokenAnswer, GatewayError, UpstreamFailed
from . import error_bodies, ir, verdict
from .citations import lose_all_extras
from .fields import compact
from .listing import Entry
from .losses import lose_counts, lose_stop, lose_tier, name_lost, only_text
from .model_objects import describe_model, list_models
from .names import mint_id
from .spec import JSON, Pairs
from .sse import Event


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole answer, or what one event of a stream adds to it. A reason ends the answer; None = it goes on."""

    text: str = ""
    reason: ir.Reason | None = None
    usage: ir.Usage | None = None


class SimpleCodec(ABC):
    """See above."""

    def __init__(
        self, *, finish_words: Mapping[ir.Reason, str], error_field: str = "error", count_field: str = "tokens"
    ) -> None:
        """`finish_words` has one for "end" at least; `error_field` of an error's body holds its message, `count_field` of the
        answer to a count call the tokens."""
        self.FINISH_WORDS, self.error_field, self.count_field = finish_words, error_field, count_field

    @abstractmethod
    def read_request(self, fields: JSON, *, model: str | None = None, stream: bool | None = None) -> ir.Request: ...
    @abstractmethod
    def write_request(self, request: ir.Request, *, model: str, quirks: JSON, lost: list[str]) -> dict[str, Any]: ...
    @abstractmethod
    def read_piece(self, body: JSON) -> Piece: ...
    @abstractmethod
    def write_piece(self, piece: Piece) -> dict[str, Any]: ...

    def word(self, reason: ir.Reason | None) -> str | None:
        """The protocol's word for a reason; that of "end" for one that it has no word for; None while the answer goes on."""
        return None if reason is None else self.FINISH_WORDS.get(reason) or self.FINISH_WORDS["end"]

    def reason(self, word: object) -> ir.Reason | None:
        """The reason that a word means; "other" for an unknown word, None without one."""
        known = next((reason for reason, each in self.FINISH_WORDS.items() if each == word), None)
        return known or ("other" if word else None)

    # -- whole answers

    def read_answer(self, body: JSON) -> ir.Answer:
        piece = self.read_piece(body)
        parts = (ir.Text(piece.text),) if piece.text else ()
        candidate = ir.Candidate(parts, ir.Stop(piece.reason or "other"))
        return ir.Answer(mint_id(piece.text), "", (candidate,), piece.usage)

    def write_answer(self, answer: ir.Answer, request: ir.Request, lost: list[str]) -> dict[str, Any]:
        first, *others = answer.candidates
        if others:
            name_lost(lost, "n")
        text = "".join(only_text(part, lost) for part in first.parts)
        for said in (first, answer):
            lose_all_extras(said, lost)
        self.lose_end(first.stop, answer.usage, lost)
        lose_tier(answer.service_tier, lost)
        return self.write_piece(Piece(text, first.stop.reason, answer.usage))

    def lose_end(self, stop: ir.Stop, usage: ir.Usage | None, lost: list[str]) -> None:
        """Names why an answer ended if there is no word for it, and vendors' own counts. Calls are named elsewhere."""
        lose_stop(stop, frozenset((*self.FINISH_WORDS, "tool_calls")), lost)
        lose_counts(usage, "", lost)

    def flaw_in(self, body: JSON) -> BrokenAnswer | None:
        piece = self.read_piece(body)
        return None if piece.text or piece.reason else verdict.no_answer()

    def usage_in(self, body: JSON) -> ir.Usage | None:
        return self.read_piece(body).usage

    def finish_in(self, body: JSON) -> str:
        return self.word(self.read_piece(body).reason) or ""

    # -- errors, counts, lists

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        try:
            message = json.loads(body)[self.error_field]
        except (ValueError, RecursionError, LookupError, TypeError):
            return error_bodies.read_error(status, headers, body)
        return error_bodies.read_error(status, headers, compact({"error": {"message": message}}).encode())

    def write_error(self, error: GatewayError, request_id: str) -> tuple[int, Pairs, dict[str, Any]]:
        status, headers, _ = error_bodies.write_error(error, request_id)
        return status, headers, {self.error_field: error.message}

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return event_bytes({self.error_field: error.message})

    def write_count(self, tokens: int) -> dict[str, Any]:
        return {self.count_field: tokens}

    def describe_model(self, entry: Entry) -> dict[str, Any]:
        return describe_model(entry)

    def list_models(self, found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
        return list_models(found, query)

    # -- streams

    def read_event(self, event: Event) -> Piece | GatewayError | None:
        """What an event says: more of the answer, an error in its place, or nothing (a sign of life)."""
        if verdict.carries_nothing(event.data):
            return None
        try:
            body = json.loads(event.data)
        except (ValueError, RecursionError):
            return UpstreamFailed("the upstream sent an event that is not JSON")
        if not isinstance(body, dict):
            return UpstreamFailed("the upstream sent an event that is not an object")
        return self.read_error(502, {}, event.data.encode()) if body.get(self.error_field) else self.read_piece(body)

    def Scanner(self) -> Scanner:
        return Scanner(self)

    def StreamReader(self) -> StreamReader:
        return StreamReader(self)

    def StreamWriter(self, request: ir.Request, *, lost: list[str] | None = None, array: bool = False) -> StreamWriter:
        return StreamWriter(self, [] if lost is None else lost)


def event_bytes(body: JSON) -> bytes:
    return b"data: " + compact(body).encode("utf-8", "backslashreplace") + b"\n\n"


class Scanner:
    """A relayed stream, as pipes.Scanner."""

    flawed = False  # every error of it is an event of the upstream's own

    def __init__(self, codec: SimpleCodec) -> None:
        self._codec = codec
        self.outputs, self.fed, self.done, self.finish = 0, 0, False, ""
        self.usage: ir.Usage | None = None
        self.error: GatewayError | None = None

    def feed(self, events: Iterable[Event]) -> None:
        for number, event in enumerate(events):
            piece = self._codec.read_event(event)
            if isinstance(piece, GatewayError):
                self.error, self.fed = piece, number
                return
            if piece is not None:
                self.outputs += bool(piece.text)
                self.finish = self.finish or self._codec.word(piece.reason) or ""
                self.usage = piece.usage or self.usage
                self.done = bool(self.finish)


class StreamReader:
    """An upstream's stream, as pipes.Reader."""

    done = False  # the end is an event: ir.Finished

    def __init__(self, codec: SimpleCodec) -> None:
        self._codec, self._has_begun = codec, False

    def feed(self, event: Event) -> Iterator[ir.StreamEvent]:
        piece = self._codec.read_event(event)
        if isinstance(piece, GatewayError):
            yield ir.Failed(piece)
        elif piece is not None:
            if not self._has_begun:
                self._has_begun = True
                yield from (ir.Started(mint_id(event.data), ""), ir.PartStart(0, ir.Text("")))
            if piece.text:
                yield ir.PartDelta(0, piece.text)
            if piece.usage is not None:
                yield ir.UsageSeen(piece.usage)
            if piece.reason is not None:
                yield from (ir.PartEnd(0), ir.Stopped(ir.Stop(piece.reason)), ir.Finished())

    def close(self) -> Iterator[ir.StreamEvent]:
        return iter(())


class StreamWriter:
    """A stream for a caller, as pipes.Writer: each text as it comes, then one event with reason and usage."""

    def __init__(self, codec: SimpleCodec, lost: list[str]) -> None:
        self._codec, self._lost = codec, lost
        self._texts: set[int] = set()  # the parts that are text, whose deltas go on
        self._stop = ir.Stop("end")
        self._usage: ir.Usage | None = None

    def feed(self, event: ir.StreamEvent) -> bytes:
        text = ""
        if getattr(event, "candidate", 0):
            name_lost(self._lost, "n")
            return b""
        if not isinstance(event, ir.PartDelta) or event.extras:
            lose_all_extras(event, self._lost)
        if isinstance(event, ir.PartStart):
            self._texts |= {event.index} if isinstance(event.part, ir.Text) else set()
            text = only_text(event.part, self._lost)
        elif isinstance(event, ir.PartDelta) and event.index in self._texts:
            text = event.text
            if event.signature:
                name_lost(self._lost, "signature")
        elif isinstance(event, ir.Started):
            lose_tier(event.service_tier, self._lost)
        elif isinstance(event, ir.Stopped):
            self._stop = event.stop
        elif isinstance(event, ir.UsageSeen):
            self._usage = event.usage
        elif isinstance(event, ir.Finished):
            self._codec.lose_end(self._stop, self._usage, self._lost)
            return event_bytes(self._codec.write_piece(Piece("", self._stop.reason, self._usage)))
        return event_bytes(self._codec.write_piece(Piece(text))) if text else b""
