"""The two ways through for a stream: relayed as it is, or rebuilt in the other protocol. Bytes in, bytes out, no I/O.

    RelayPipe(scanner).feed(b'data: {"x"')   -> b""                        only whole events go on
    RelayPipe(scanner).feed(b':1}\\n\\n')      -> b'data: {"x":1}\\n\\n'       to the byte
    ConvertPipe(reader, writer).feed(...)    -> the writer's bytes

Both know when real output came, when the upstream said that it was done, and what it said instead of an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from ..errors import GatewayError, StreamCut, UpstreamFailed
from . import ir, verdict
from .error_bodies import error_in
from .fields import compact
from .renaming import Renaming
from .sse import Event, SSEParser
from .unmet import Seen, Watcher

MAX_EVENT_BYTES = 16_777_216  # one event; pictures come in one
BLANK_LINES = (b"\n\n",)
MARK = b"\xef\xbb\xbf"  # U+FEFF in UTF-8
MODEL = re.compile(r'"model(?:Version)?"\s*:\s*"([^"\\]{1,200})"')  # in a stream's event
BEGINNINGS = (b"data: {", b"event: ")
BLANK_LINES_CR = (b"\r\n\r\n", b"\n\r\n", b"\r\r")
BARE_JSON = re.compile(rb"(?:\A|(?<=[\r\n]))\{.*?(?:\n\r?\n|\r\n?\r|\Z)", re.DOTALL)  # to the end of its event


class Scanner(Protocol):
    """What a relayed stream says, read beside it; each protocol in `wire` has one."""

    outputs: int
    done: bool
    usage: ir.Usage | None
    finish: str  # the first choice's reason for its end, in the protocol's word; "" until it is said
    error: GatewayError | None

    @property
    def flawed(self) -> bool:
        """Whether `error` is the gateway's own verdict, for which the upstream sent no event."""

    @property
    def fed(self) -> int:
        """Events of the last feed before the one that `error` came with."""

    def feed(self, events: Sequence[Event]) -> None: ...


class Reader(Protocol):
    """An upstream's events -> neutral ones; each protocol in `wire` has one.

    done: the upstream said all that an answer needs, though a usage may follow.
    """

    @property
    def done(self) -> bool: ...
    def feed(self, event: Event) -> Iterable[ir.StreamEvent]: ...
    def close(self) -> Iterable[ir.StreamEvent]: ...


class Masking(Protocol):
    """Takes out of the bytes what no caller may see; it may hold some until it knows."""

    def __call__(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Unmasked:
    """There is nothing to hide."""

    def __call__(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


UNMASKED = Unmasked()


class Writer(Protocol):
    """Neutral events -> the caller's bytes; each protocol in `wire` has one."""

    def feed(self, event: ir.StreamEvent) -> bytes: ...


def whole(data: bytes | bytearray, start: int = 0) -> int:
    """How many bytes of `data` are whole events: up to the last blank line that ends after `start`.

    whole(b"data: a\\n\\ndata: b") -> 9;  whole(b"data: a\\n") -> 0
    """
    first = max(0, start - 3)  # a blank line may have begun in the bytes before
    marks = BLANK_LINES + BLANK_LINES_CR if data.find(b"\r", first) >= 0 else BLANK_LINES
    return max((at + len(mark) for mark in marks if (at := data.rfind(mark, first)) >= 0), default=0)


def has_bare_json(data: bytes) -> bool:
    """Whether a line begins as JSON does, which no line of an event stream does."""
    return data.startswith(b"{") or b"\n{" in data or b"\r{" in data


def frame_error(data: bytes) -> bytes:
    """The same bytes, with an error outside of any event turned into one: Google's API ends a broken stream like that.

    frame_error(b'data: {"a":1}\\n\\n{"error": {"code": 503}}\\n') -> b'data: {"a":1}\\n\\ndata: {"error":{"code":503}}\\n\\n'
    """
    return BARE_JSON.sub(lambda found: frame_if_bare(found[0]), data)


def frame_if_bare(data: bytes) -> bytes:
    """A bare error as an event; anything else as it is."""
    if b'"' not in data:  # it has no fields
        return data
    try:
        value = json.loads(data)
        return b"data: " + compact(value).encode("utf-8", "backslashreplace") + b"\n\n" if error_in(value) else data
    except (ValueError, RecursionError):
        return data


class EventBytes:
    """Bytes -> (whole events as bytes, the same parsed). Anything else that comes is an UpstreamFailed.

    A byte order mark at the beginning is left out: not every client knows it.
    """

    __slots__ = ("_at_start", "_parser", "_tail")

    def __init__(self) -> None:
        self._parser = SSEParser(MAX_EVENT_BYTES)
        self._tail = bytearray()
        self._at_start = True

    def feed(self, piece: bytes) -> tuple[bytes, list[Event]]:
        if self._at_start:
            piece = self._skip_mark(piece)
        if not self._tail and whole(piece) == len(piece):  # as most come: one or more whole events
            piece = frame_error(piece) if has_bare_json(piece) else piece
            return piece, self._parse(piece)
        start = len(self._tail)
        self._tail += piece
        end = whole(self._tail, start)
        head = bytes(self._tail[:end])
        head = frame_error(head) if has_bare_json(head) else head
        del self._tail[:end]
        if len(self._tail) > MAX_EVENT_BYTES:
            raise UpstreamFailed(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")
        return head, self._parse(head)

    def _skip_mark(self, piece: bytes) -> bytes:
        """The first bytes without a mark, which may come in pieces itself."""
        data = bytes(self._tail) + piece
        self._tail.clear()
        if len(data) < len(MARK) and MARK.startswith(data):
            self._tail += data
            return b""
        self._at_start = False
        return data.removeprefix(MARK)

    def is_one(self, piece: bytes) -> bool:
        """Whether a piece is one whole event, with nothing before it left over."""
        return not self._tail and piece.startswith(BEGINNINGS) and piece.find(b"\n\n") == len(piece) - 2

    def _parse(self, data: bytes) -> list[Event]:
        try:
            return self._parser.feed(data) if data else []
        except ValueError as wrong:
            raise UpstreamFailed(f"the upstream's stream cannot be read: {wrong}") from None

    def close(self) -> tuple[bytes, list[Event]]:
        """The last event, when only its blank line is missing: whole JSON or [DONE]. StreamCut in the middle of one."""
        tail = bytes(self._tail)
        self._tail.clear()
        if has_bare_json(tail):
            tail = frame_error(tail)
        events = [*self._parse(tail), *self._parser.close()]
        if self._parser.cut:
            raise verdict.cut_inside()
        return (tail.rstrip(b"\r\n") + b"\n\n" if events else b""), events


class RelayPipe:
    """The caller's protocol is the upstream's: the bytes go on as they are and are only looked at."""

    __slots__ = (
        "_bytes", "_glance", "_is_usage", "_masked", "_model", "_renaming", "_scanner", "_watcher", "_wrap", "done", "error",
        "error_passed", "on_done", "outputs",
    )  # fmt: skip

    def __init__(
        self, scanner: Scanner, wrap: Array | None = None, masked: Masking = UNMASKED, *,
        hides_usage: bool = False, watcher: Watcher | None = None, renaming: Renaming | None = None,
    ) -> None:  # fmt: skip
        """`masked` takes out of the bytes what no caller may see. `hides_usage`: an event that holds nothing but the usage does
        not go on, for its caller did not ask for it. `watcher`: of a request whose answer has to hold certain things.
        `renaming` puts the caller's name of the model into the events."""
        self._watcher, self._renaming = watcher, renaming
        self._is_usage: Callable[[str], bool] | None = getattr(scanner, "is_usage", None) if hides_usage else None
        self._bytes, self._scanner, self._wrap, self._masked = EventBytes(), scanner, wrap, masked
        # Recognises a piece that only adds text without parsing it. OpenAI's only: others have more in each event.
        self._glance: Callable[[bytes], bool] | None = None if wrap or watcher or renaming else getattr(scanner, "glance", None)
        self.outputs, self.done = 0, False
        self.on_done: Callable[[], None] | None = None  # called once, before the last event goes on
        self._model = ""
        self.error: GatewayError | None = None
        self.error_passed = False  # the upstream's own error event is among the bytes

    @property
    def usage(self) -> ir.Usage | None:
        return self._scanner.usage

    @property
    def model(self) -> str:
        """The model that the stream says it comes from; "" where the first events do not say."""
        return self._model

    @property
    def finish(self) -> str:
        return self._scanner.finish

    def feed(self, piece: bytes) -> bytes:
        if self._glance is not None and self._bytes.is_one(piece) and self._glance(piece):
            self.outputs = self._scanner.outputs
            return self._masked(piece)
        return self._scan(*self._bytes.feed(piece))

    def _scan(self, data: bytes, events: list[Event]) -> bytes:
        scanner = self._scanner
        if events:
            if not self._model and not self.outputs:
                found = MODEL.search(events[0].data)
                self._model = found[1] if found else ""
            scanner.feed(events)
            if self._watcher is not None:
                self._watcher.feed(events)
            self.outputs, self.done, self.error = scanner.outputs, scanner.done, scanner.error
            if self.done and self.on_done is not None and self.error is None:
                self.on_done()
                self.on_done = None
        if self.error is not None and not self.outputs:
            return b""  # nothing was said yet: the caller gets a status, not an event
        if events and self.error is not None:  # a flaw itself does not go on, an error event does, and nothing behind them
            count = scanner.fed + (not scanner.flawed)
            data, events = verdict.first_events(data, count), events[:count]
        if self._is_usage is not None and any(self._is_usage(event.data) for event in events):
            data = self._without_usage(data)
        if self._renaming is not None:
            data, events = self._renaming.events(data), [self._renaming.event(event) for event in events]
        if self._wrap is not None:
            try:
                data = self._wrap.items(events)
            except UpstreamFailed:
                self.done = False  # the end may be among what is lost with it
                raise
        self.error_passed = self.error_passed or not (self.error is None or scanner.flawed)
        data = self._masked(data)
        return data + self._masked.flush() if self.done or self.error is not None else data

    def _without_usage(self, data: bytes) -> bytes:
        kept = []
        for raw in verdict.raw_events(data):
            found = SSEParser(MAX_EVENT_BYTES).feed(raw)
            if self._is_usage is None or not any(self._is_usage(event.data) for event in found):
                kept.append(raw)
        return b"".join(kept)

    @property
    def seen(self) -> Seen | None:
        """What came of what a watcher looks for."""
        return self._watcher.close() if self._watcher is not None else None

    def failure(self, error: GatewayError, request_id: str) -> bytes | None:
        """The end of a stream that broke, by what was seen of it; None where the protocol needs to know nothing of it."""
        end = getattr(self._scanner, "failure", None)
        return end(error, request_id) if end is not None else None

    def close(self) -> bytes:
        try:
            data = self._scan(*self._bytes.close())
        except StreamCut as error:
            data, self.error = b"", None if self.done else error
        end = getattr(self._scanner, "close", None)
        if end is not None and self.error is None:
            end()
            self.done, self.error = self._scanner.done, self._scanner.error
        if self.error is None and not self.done:
            self.error = stream_cut(self.outputs > 0)
        data += self._masked.flush()
        return data + self._wrap.end() if self._wrap is not None and self.error is None else data

    def flush(self) -> bytes:
        """What is held back of the events that came."""
        return self._masked.flush()


class ConvertPipe:
    """Two protocols: events are read into neutral ones, and these are written anew."""

    __slots__ = (
        "_alias", "_bytes", "_calls", "_created", "_finished", "_masked", "_reader", "_writer", "done", "error",
        "error_passed", "finish", "model", "on_done", "outputs", "seen", "usage",
    )  # fmt: skip

    def __init__(
        self, reader: Reader, writer: Writer, created: int = 0, masked: Masking = UNMASKED, *,
        seen: Seen | None = None, alias: str = "",
    ) -> None:  # fmt: skip
        self._alias = alias  # that the answer names as its model; "" for the upstream's own name
        self.seen = seen  # of a request whose answer has to hold certain things
        self._masked = masked  # takes out of the bytes what no caller may see
        self._bytes, self._reader, self._writer = EventBytes(), reader, writer
        self.on_done: Callable[[], None] | None = None  # called once, before the last event goes on
        self._created = created  # Unix seconds, for upstreams that do not tell them
        self._calls: dict[tuple[int, int], list[str]] = {}  # arguments by candidate and part, as far as they came
        self.outputs, self.done, self._finished = 0, False, False  # after `done` more may come, after `finished` not
        self.error: GatewayError | None = None
        self.error_passed = False
        self.usage: ir.Usage | None = None
        self.finish: ir.Stop | str = ""  # of the first candidate
        self.model = ""  # that the stream says it comes from

    def feed(self, piece: bytes) -> bytes:
        out = []
        for event in self._bytes.feed(piece)[1]:
            out.append(self._write_event(self._reader.feed(event)))
            if self.error is not None:
                break
        self.done = self._finished or self._reader.done
        data = self._masked(b"".join(out))
        return data + self._masked.flush() if self.done or self.error is not None else data

    def flush(self) -> bytes:
        """What is held back of the events that came."""
        return self._masked.flush()

    def _write_event(self, events: Iterable[ir.StreamEvent]) -> bytes:
        out = []
        for event in events:
            if isinstance(event, ir.Failed):
                self.error = event.error
                break
            if ir.is_output(event):
                self.outputs += 1
                if self._calls and isinstance(event, ir.PartDelta) and (event.candidate, event.index) in self._calls:
                    self._calls[event.candidate, event.index].append(event.text)
                elif isinstance(event, ir.PartStart) and isinstance(event.part, ir.ToolCall) and not event.part.custom:
                    self._calls[event.candidate, event.index] = [event.part.arguments_text]
            elif isinstance(event, ir.UsageSeen):
                self.usage = event.usage
            elif isinstance(event, ir.Finished):
                self.done = self._finished = True
            elif isinstance(event, ir.Stopped):
                self.error = self._flaw(event)
                if self.error is not None:
                    break
                self.finish = self.finish or event.stop
            elif isinstance(event, ir.Started):
                self.model = event.model
                event = replace(event, model=self._alias) if self._alias else event
                event = event if event.created else replace(event, created=self._created)
            if self.seen is not None:
                self.seen.feed(event)
            out.append(self._writer.feed(event))
            if self.on_done is not None and isinstance(event, ir.Finished):
                self.on_done()
                self.on_done = None
        return b"".join(out)

    def _flaw(self, stopped: ir.Stopped) -> GatewayError | None:
        """Why a candidate that has ended is no answer."""
        calls = verdict.Calls()
        for (candidate, index), pieces in self._calls.items():
            if candidate == stopped.candidate:
                calls.add(index, "".join(pieces))
        is_cut = stopped.stop.reason in ("length", "context", "refusal")
        return verdict.finish_failure(stopped.stop.native) or (None if is_cut else calls.flaw(""))

    def failure(self, error: GatewayError, request_id: str) -> bytes | None:
        """As RelayPipe.failure, by what was written of it."""
        end = getattr(self._writer, "failure", None)
        return end(error, request_id) if end is not None else None

    def close(self) -> bytes:
        try:
            data = b"".join(self._write_event(self._reader.feed(event)) for event in self._bytes.close()[1])
        except StreamCut as error:
            data, self.error = b"", None if self.done else error
        if self.error is None:
            data += self._write_event(self._reader.close())
        if self.error is None and not self.done:
            self.error = stream_cut(self.outputs > 0)
        return self._masked(data) + self._masked.flush()


class Array:
    """Gemini's other stream form: one JSON array, its items the data of the events, to the byte."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = False

    def items(self, events: Sequence[Event]) -> bytes:
        """UpstreamFailed for an event that is not JSON: among events it would go on, here it would spoil the whole. Signs of
        life, and the [DONE] that proxies add in any protocol, are no items."""
        said = [event.data for event in events if not (verdict.carries_nothing(event.data) or event.data.strip() == "[DONE]")]
        for text in said:
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                raise UpstreamFailed("the upstream sent an event that is not JSON") from None
        return b"".join(map(self.item, said))

    def item(self, text: str) -> bytes:
        mark = b",\r\n" if self._began else b"["
        self._began = True
        return mark + text.encode()

    def end(self) -> bytes:
        return b"]" if self._began else b"[]"

    def failure(self, text: str) -> bytes:
        """An error as the last item: the array is whole JSON all the same."""
        return self.item(text) + self.end()


def stream_cut(answered: bool) -> StreamCut:
    """The error for an upstream that went away before it said that it was done."""
    what = "before its final event" if answered else "without an answer"
    return StreamCut(f"the upstream ended the stream {what}")
